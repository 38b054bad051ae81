"""What a model makes of each cue: counted by hand on a few clips, and read from a trained run."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import tiny_lab

from labkit.analysis import cues
from labkit.errors import LabError
from labkit.experiments import targets
from labkit.experiments.statistics import paired_difference, seed_interval, wilson_interval
from labkit.figures import gallery as figures
from labkit.figures.paper import TABLES_AND_FIGURES
from labkit.puppets.actions import ACTIONS, BY_NUMBER

# One clip an action, in the order of their labels: drink, eat, sit, stand, read, hat on, hat off, kick, hop, ...
SLIPS = {0: 1, 2: 7}  # drinking taken for eating, its partner; sitting down for kicking, which is not


def a_lab(subjects=(3, 6)):
    """A lab of test clips alone: each subject does each action once."""
    names = [f"S001C001P{subject:03d}R001A{action.number:03d}" for subject in subjects for action in ACTIONS]
    labels = np.tile(np.arange(len(ACTIONS)), len(subjects))
    classes = ("drink water", "eat meal/snack", "sitting down", "standing up", "reading", "put on a hat/cap",
               "take off a hat/cap", "kicking something", "hopping", "playing with phone/tablet",
               "pointing to something with finger", "touch chest")  # fmt: skip
    clips = SimpleNamespace(
        class_names=classes, labels=labels, rows=lambda ids: np.array([names.index(i) for i in ids])
    )
    lab = SimpleNamespace(clips=clips, split=SimpleNamespace(test=names), num_classes=len(classes), seed=0)
    lab.data_name = "puppets"
    lab.people = lambda: np.repeat([str(subject) for subject in subjects], len(ACTIONS))
    lab.with_seed = lambda seed: SimpleNamespace(**{**vars(lab), "seed": seed})
    return lab


@pytest.fixture
def answered(monkeypatch):
    """Row 1 slips as in SLIPS, row 2 is always right; seed 1 makes no slips at all. Seed 0 alone is finished."""

    def predictions(lab, name):
        labels = lab.clips.labels
        given = [SLIPS.get(label, label) if name == "table2:1" and lab.seed == 0 else label for label in labels]
        return np.eye(lab.num_classes)[given], labels

    monkeypatch.setattr(cues, "predictions", predictions)
    monkeypatch.setattr(targets, "predictions", predictions)
    for module in (cues, targets):
        monkeypatch.setattr(module, "complete_seeds", lambda lab, trainings: [0])
    return a_lab()


def test_actions_and_partners_follow_the_labels():
    lab = a_lab()
    assert [action.number for action in cues.actions_of(lab)] == sorted(BY_NUMBER)
    partner = cues.partners(lab)
    assert (partner[partner] == np.arange(12)).all() and (partner != np.arange(12)).all()
    assert partner[0] == 1 and partner[10] == 11


def test_partners_stand_side_by_side_in_the_order_of_pairs():
    lab = a_lab()
    order = cues.pair_order(lab)
    assert sorted(order) == list(range(12)) and (cues.partners(lab)[order[::2]] == order[1::2]).all()
    assert [cues.actions_of(lab)[label].cue for label in order[::4]] == ["colour", "depth", "order"]


def test_classes_that_are_no_embedded_actions_are_named():
    lab = a_lab()
    lab.clips.class_names = ("drink water", "brushing teeth")
    with pytest.raises(LabError, match="brushing teeth"):
        cues.actions_of(lab)


def test_outcomes_counted_by_hand(answered):
    table = cues.outcomes(answered, ["table2:1", "table2:2"]).set_index(["cue", "target"])
    assert table.loc[("colour", "table2:1"), ["right", "partner", "elsewhere"]].tolist() == [75, 25, 0]
    assert table.loc[("order", "table2:1"), ["right", "partner", "elsewhere"]].tolist() == [75, 0, 25]
    assert (table.xs("table2:2", level="target")["right"] == 100).all()
    assert (table["clips"] == 8).all()


def test_outcomes_count_every_seed(answered, monkeypatch):
    one = cues.outcomes(answered, ["table2:1"]).set_index("cue").loc["colour", ["low", "high"]].tolist()
    assert one == [100 * end for end in wilson_interval(6, 8)]
    monkeypatch.setattr(cues, "complete_seeds", lambda lab, trainings: [0, 1])
    table = cues.outcomes(answered, ["table2:1"]).set_index("cue")
    assert table.loc["colour", "partner"] == 12.5 and set(table["seeds"]) == {2}
    assert cues.confusions(answered, "table2:1").sum() == 48
    mean, low, high = seed_interval([0.75, 1.0])
    assert table.loc["colour", ["right", "low", "high"]].tolist() == [100 * mean, 100 * low, 100 * high]


def test_headline_rows_take_every_seed_that_they_have(answered, monkeypatch):
    """Each row its own: row 1 has two seeds, row 2 the second alone; rows without a run are left out."""
    there = {"depth": [0, 1], "rgb": [1]}
    monkeypatch.setattr(cues, "complete_seeds", lambda lab, trainings: there.get(trainings[0], []))
    table = cues.outcomes(answered, cues.HEADLINES)
    assert table.drop_duplicates("target").set_index("target")["seeds"].to_dict() == {"table2:1": 2, "table2:2": 1}
    figure = figures.cue_outcomes(table)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["depth alone (row 1)", "RGB alone (row 2)"]
    monkeypatch.setattr(cues, "complete_seeds", lambda *_: [])
    with pytest.raises(LabError, match="labkit reproduce cues"):
        cues.outcomes(answered, cues.HEADLINES)


def test_headlines_are_targets_and_the_figure_rests_on_all_of_them():
    assert {*cues.HEADLINES} <= {*targets.TARGETS}
    assert {*TABLES_AND_FIGURES["cues"].trainings} == {targets.TARGETS[name].training for name in cues.HEADLINES}


def test_a_comparison_by_cue_sees_the_clips_of_that_cue(answered):
    table = cues.comparison_by_cue(answered, "table2:2", "table2:1").set_index("cue")
    assert table["difference"].to_dict() == {"colour": 25.0, "depth": 0.0, "order": 25.0}
    colour = np.tile([False, True, True, True], 2)
    expected = paired_difference(np.ones(8), colour, groups=np.repeat([3, 6], 4))
    assert table.loc["colour", ["low", "high"]].tolist() == [100 * expected.low, 100 * expected.high]


def test_sentences_say_where_the_interval_lies(answered):
    table = targets.comparison_table(answered, pairs=[("table2:2", "table2:1")])
    for low, high, place in ((1, 9, "above"), (-9, -1, "below"), (-1, 9, "around"), (0, 5, "around")):
        (sentence,) = targets.in_words(table.assign(low=low, high=high))
        assert f"{place} zero" in sentence and sentence.startswith("RGB alone (row 2) minus depth alone (row 1):")
        assert sentence.endswith("(one seed: other trainings are not covered)")
        assert targets.in_words(table.assign(low=low, high=high, seeds=3))[0].endswith(f"{place} zero")


def test_predictions_are_those_of_the_run(tmp_path):
    lab = tiny_lab(tmp_path)
    run = targets.TARGETS["table2:1"].make(lab)
    logits, labels = targets.predictions(replace(lab, dry=True), "table2:1")
    assert logits.shape == (len(lab.split.test), lab.num_classes)
    assert (targets.answers(lab, "table2:1") == (logits.argmax(axis=1) == labels)).all()
    assert (logits.argmax(axis=1) == labels).mean() == run.result["outputs"]["stream"]["test"]["accuracy"]
