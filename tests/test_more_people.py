"""More people: the kept networks answer to others' clips as they do in training, and claims count both."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_lab

from labkit.analysis import verdicts
from labkit.analysis.claims import CLAIMS
from labkit.analysis.verdicts import claims_table, judge, on_more_people
from labkit.config import SMOKE
from labkit.course.published import Numbers
from labkit.errors import LabError
from labkit.experiments.statistics import paired_difference
from labkit.experiments.studies import more_people
from labkit.experiments.studies.more_people import answer_more_people, with_more_people
from labkit.experiments.target_table import ON_MORE_PEOPLE, TARGETS, get_targets
from labkit.experiments.trainings import make
from labkit.runs import PREDICTIONS

BY_NAME = {claim.name: claim for claim in CLAIMS}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = tiny_lab(tmp_path_factory.mktemp("people"), epochs=1)
    lab.split.name = "cross-subject"
    return lab


@pytest.mark.parametrize("name", ["depth", "two_stream", "hallucination", "rgb_only", "joint_all"])
def test_a_kept_network_answers_as_it_did_when_it_was_trained(lab, monkeypatch, name):
    monkeypatch.setattr(more_people, "with_more_people", lambda lab: lab)
    trained = make(name, lab)
    again = make(f"{name}_more_people", lab)
    kept, _ = trained.load_tensors(PREDICTIONS)
    found, ids = again.load_tensors(PREDICTIONS)
    readings = {reading for reading in kept if reading.startswith("test/") and reading != "test/with_depth"}
    assert readings == {*found} and ids["test"] == list(lab.split.test)
    for reading in readings:
        np.testing.assert_allclose(found[reading], kept[reading], atol=1e-4)
    assert again.result["outputs"].keys() == {reading.removeprefix("test/") for reading in readings}


def test_they_are_others_and_all_of_them_are_tested(tmp_path):
    puppets = replace(SMOKE.puppets, subjects=(1,), unlabelled=(), scale=12)
    profile = replace(SMOKE, puppets=puppets, clips=replace(SMOKE.clips, size=32))
    found = with_more_people(replace(tiny_lab(tmp_path), profile=profile, root=tmp_path / "data" / "puppets-1"))
    assert len([*(tmp_path / "data").glob("puppets-*/puppets.csv")]) == 1
    assert {*found.people()} == {"61"} and len(found.split.test) == 12 == len(found.clips.class_names)
    assert not (*found.split.train, *found.split.validation, *found.split.unlabelled)
    assert sorted(found.clips.labels) == list(range(12))


@pytest.mark.parametrize("change", [{"data_name": "mine"}, {"split": SimpleNamespace(name="cross-view")}])
def test_other_sets_and_other_views_have_no_more_people(lab, change):
    with pytest.raises(LabError, match="cross-subject of the embedded set"):
        answer_more_people(replace(lab, **change), make("depth", lab))


def test_a_lab_that_only_looks_makes_no_clips(lab, monkeypatch):
    monkeypatch.setattr(more_people, "with_more_people", None)
    make("rgb", lab)
    assert not make("rgb_more_people", replace(lab, dry=True)).done


def test_targets_on_more_people_read_the_same_network_in_the_same_way():
    for name, beyond in ON_MORE_PEOPLE.items():
        first, second = TARGETS[name], TARGETS[beyond]
        assert second.training == f"{first.training}_more_people" and second.reading == first.reading
        assert not second.paper, "the paper has no such number"
    assert {target.group for target in get_targets(["everything"])} > {"people"}
    assert "people" not in {target.group for target in get_targets(["everything"], "cross-view")}
    asked = {claim.name for claim in CLAIMS if on_more_people(claim)}
    assert {"15 > 2", "15 > twin", "15 > 5", "15 > 15a"} <= asked
    assert not asked & {"fig. 4", "crossing", "15 > void", "none > 1e-3"}


def test_a_claim_counts_the_answers_of_both(lab, monkeypatch):
    rng = np.random.default_rng(0)
    shares = {"table2:15": (720, 0.8), "table2:5": (720, 0.79), "people:15": (1440, 0.8), "people:5": (1440, 0.76)}
    right = {name: rng.random((3, clips)) < share for name, (clips, share) in shares.items()}
    who, others = np.arange(720) // 36, 100 + np.arange(1440) // 36
    monkeypatch.setattr(verdicts, "answers_of_seeds", lambda lab, name, seeds: right[name])
    monkeypatch.setattr(verdicts, "complete_seeds", lambda lab, trainings: [0, 1, 2])
    monkeypatch.setattr(verdicts, "with_more_people", lambda lab: SimpleNamespace(people=lambda: others))
    monkeypatch.setattr(type(lab), "people", lambda lab: who)
    both = judge(BY_NAME["15 > 5"], lab, more_people=True)
    plus, minus = (np.hstack([right[f"table2:{row}"], right[f"people:{row}"]]) for row in (15, 5))
    expected = paired_difference(plus, minus, groups=np.concatenate([who, others]))
    assert (both.effect, both.low) == pytest.approx((100 * expected.value, 100 * expected.low))
    table = claims_table(lab, [BY_NAME["15 > 5"], BY_NAME["crossing"]], more_people=True)
    assert list(table["claim"]) == ["15 > 5 with more people"] and table["effect"][0] == both.effect


def test_counts_of_claims_take_the_verdict_with_more_people_where_it_is_asked_for(tmp_path):
    rows = pd.DataFrame({
        "protocol": "cross-subject", "name": ["1 > 2", "15 > 5", "fig. 4", "15 > 5 with more people"], "by": "paper",
        "verdict": ["holds", "undecided", "holds", "small"],
    })  # fmt: skip
    rows.to_csv(tmp_path / "comparisons.csv", index=False)
    pd.DataFrame(columns=["protocol", "target", "seed", "made on"]).to_csv(tmp_path / "tidy.csv", index=False)
    numbers = Numbers(tmp_path)
    asked = ("claims", "claims holds", "claims undecided", "claims undecided with more people",
             "claims small with more people", "claims holds with more people")  # fmt: skip
    assert [numbers.say(each) for each in asked] == ["3", "2", "1", "0", "1", "2"]
