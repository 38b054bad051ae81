"""The table of 32 points against config, and its variants against real, tiny trainings."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from tiny import tiny_lab

from labkit import config
from labkit.analysis.effects import effects_table
from labkit.experiments.discrepancies import DISCREPANCIES
from labkit.experiments.targets import TARGETS, get_targets
from labkit.experiments.trainings import make
from labkit.tools.settings import settings

TRIED = [point for point in DISCREPANCIES if point.tried]
DEFAULT = config.Profile("as the classes say")


def paths(profile: config.Profile) -> dict:
    """Every field of a profile's concerns, by path."""
    concerns = {f.name: getattr(profile, f.name) for f in fields(profile) if f.name != "name"}
    return {f"{concern}.{f.name}": getattr(value, f.name) for concern, value in concerns.items() for f in fields(value)}


def test_the_points_are_numbered_from_1_to_32():
    assert [point.number for point in DISCREPANCIES] == list(range(1, 33))
    assert all(point.point and point.text and point.code and point.ours for point in DISCREPANCIES)


@pytest.mark.parametrize("point", DISCREPANCIES, ids=lambda point: str(point.number))
def test_switches_are_fields_and_their_defaults_those_of_config(point):
    known = paths(DEFAULT)
    for path, default in point.switch:
        assert known[path] == default
    assert {path for path, _ in point.tried} <= {*known}


@pytest.mark.parametrize("profile", config.PROFILES.values(), ids=lambda profile: profile.name)
@pytest.mark.parametrize("point", TRIED, ids=lambda point: str(point.number))
def test_a_variant_changes_its_own_fields_and_no_other(profile, point):
    before, after = paths(profile), paths(point.otherwise(profile))
    changed = {path for path in before if before[path] != after[path]}
    assert changed
    assert changed <= {path for path, _ in point.tried}
    assert point.tried[0][0] in changed  # the point itself; what comes with it may be so already


def test_each_reading_tried_is_one_of_text_and_code():
    """From any profile a variant of a variant leads back, or stays where both readings were set together."""
    for point in TRIED:
        once = point.otherwise(config.PAPER)
        first, second, third = (settings(p)[point.tried[0][0]] for p in (config.PAPER, once, point.otherwise(once)))
        assert third == first != second


def test_the_dozen_points_that_may_move_accuracy_are_targets():
    measured = {point.number for point in DISCREPANCIES if point.pairs}
    assert {1, 4, 5, 9, 11, 14, 17, 18, 19, 24, 25, 28, 29, 30} <= measured
    assert all(bool(point.switched) == bool(point.tried) == bool(point.training) for point in DISCREPANCIES)
    for base, other in (pair for point in DISCREPANCIES for pair in point.pairs):
        assert {base, other} <= {*TARGETS}
    for base, other in (pair for point in DISCREPANCIES for pair in point.switched):
        assert TARGETS[other].reading == TARGETS[base].reading and not TARGETS[other].paper
    variants = {other for point in TRIED for _, other in point.switched}
    assert {target.name for target in get_targets(["switch"])} == variants
    assert not variants & {target.name for target in get_targets(["all"])}


def test_no_point_is_measured_where_nothing_can_show():
    """Row 13 is at chance and row 8 near the top: step 3's points are seen on row 14 and after step 4."""
    for point in TRIED:
        assert not {base for base, _ in point.switched} & {"table2:8", "table2:13"}
    by_number = {point.number: point for point in DISCREPANCIES}
    for number in (14, 17, 18):
        assert [base for base, _ in by_number[number].switched] == ["table2:14", "recipe:best"]
    assert [base for base, _ in by_number[19].switched] == ["switch:18", "switch:18-recipe"]
    assert [by_number[number].pairs[0][0] for number in (1, 24)] == ["recipe:best"] * 2


def test_the_table_tells_what_a_profile_has_and_what_is_tried():
    rows = {point.number: point.row(config.MINI) for point in DISCREPANCIES}
    assert (rows[9]["profile"], rows[9]["tried"]) == ("schedule='onecycle'", "schedule='constant'")
    assert rows[2]["switch"] == "structure" and rows[2]["tried"] == ""
    assert DISCREPANCIES[16].row(config.PAPER)["tried"] == "hall_weight=1.0"


def test_only_the_last_training_knows_of_a_switch(tmp_path):
    """The gated network starts from the very streams that the multiplied one starts from."""
    lab = tiny_lab(tmp_path)
    plain, gated = make("recipe", lab), make("switch:1", lab)
    assert gated.done and gated.id != plain.id
    assert gated.spec.parents == plain.spec.parents
    assert (plain.spec.config["model"]["connection"], gated.spec.config["model"]["connection"]) == ("multiply", "gated")


def test_after_step_3_step_4_is_as_it_is(tmp_path):
    """Step 3 decided otherwise, then the recipe's own step 4 over it, and the same RGB branch."""
    dry = replace(tiny_lab(tmp_path), dry=True)
    plain, switched, first = (make(name, dry) for name in ("recipe", "switch:17-recipe", "switch:17"))
    assert switched.spec.config == plain.spec.config
    assert switched.spec.parents == (first.id, plain.spec.parents[1])


def test_variants_come_to_runs_of_their_own(tmp_path):
    lab = tiny_lab(tmp_path)
    dry = replace(lab, dry=True)
    names = [other for point in TRIED for _, other in point.switched]
    names += ["depth", "rgb", "two_stream", "hallucination_unconnected", "recipe"]
    ids = {name: make(name, dry).id for name in names}
    assert len(set(ids.values())) == len(ids)
    assert not make("switch:11", dry).done  # its clips are prepared otherwise: here not at all


def test_effects_are_read_from_runs_and_never_trained(tmp_path):
    lab = tiny_lab(tmp_path)
    before = effects_table(lab).set_index("number")
    assert set(before["effect"]) == {"not measured", "not run"} and set(before.index) == {*range(1, 33)}
    assert before.loc[14, "measured on"].tolist() == [
        "hallucination, no connections (row 14)", "our recipe, no connections in step 3"
    ]  # fmt: skip
    assert not list(lab.runs.root.glob("*"))
    for name in ("depth", "switch:5"):
        make(name, lab)
    after = effects_table(lab).set_index("number")
    assert after.loc[5, "effect"] in ("raises accuracy", "lowers accuracy", "small", "not seen")
    right = [make(name, lab).result["outputs"]["stream"]["test"]["accuracy"] for name in ("switch:5", "depth")]
    assert after.loc[5, "difference"] == pytest.approx(100 * (right[0] - right[1]))
    assert after.loc[4, "effect"] == "not run"
