"""Each comparison against the configurations of the trainings behind both its sides: it changes what it says."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import MemoryStore, tiny_lab

from labkit.analysis.claims import CLAIMS
from labkit.analysis.verdicts import GAPS
from labkit.data.splits import Split
from labkit.errors import LabError
from labkit.experiments import comparisons
from labkit.experiments.comparisons import BY_DIFFERENCE, DIFFERS, what_differs
from labkit.experiments.discrepancies import DISCREPANCIES
from labkit.experiments.targets import COMPARISONS, TARGETS
from labkit.experiments.trainings import TRAININGS, make
from labkit.runs import RunSpec

SOFTNESS = {f"lesson distill.{name}" for name in ("temperature", "student_temperature", "temperature_squared")}
FIELDS = {  # what stands for each difference in the configurations
    "what the stream sees": {"stream"},
    "what the source stream sees": {"source"},
    "which stream is the source": {"direction"},
    "which stream is missing at test": {"step3 distill.missing"},
    "connections of step 2": {"step2 model.connection"},
    "connections of step 3": {"step3 model.connection"},
    "connections of step 4": {"step4 model.connection"},
    "form of the connections": {"step2 model.connection", "step3 model.connection"},
    "loss of step 3": {"step3 lesson distill.objective"},
    "a teacher in step 3": {"step3 lesson"},
    "maps of step 3": {"step3 lesson distill.feature_form", "step3 lesson distill.feature_layers"},
    "start of step 3": {"step3 distill.start"},
    "teacher of step 3": {"step3 lesson teacher"},
    "epochs of step 3": {"step3 train.epochs"},
    "whose soft labels a clip is given": {"step3 shuffled"},
    "unlabelled pairs, in as many steps": {"step3 clips", "step3 train.epochs"},
    "unlabelled pairs of the test's camera, in as many steps": {"step3 clips", "step3 train.epochs"},
    "a teacher in step 4": {"step4 lesson"},
    "loss of the one stage": {"joint distill.objective"},
    "depth frozen in the one stage": {"joint reading"},
    "weights of the one stage": {"joint reading"},
    "epochs of the one stage": {"joint train.epochs"},
    "a teacher": {"lesson"},
    "who teaches": {"lesson teachers"},
    "temperature of the soft labels": SOFTNESS,
    "loss of the student": {"lesson distill.objective"},
    "weights of the teachers": {"lesson distill.weighting"},
    "which branch answers": {"reading"},
    "depth's signals at test": {"reading"},
    "RGB's signals at test": {"reading"},
    "signals at test": {"reading"},
    "batch statistics at test": {"reading"},
    "noise in depth": {"reading"},
}
ROLES = {"step2": ("source", "target"), "joint": ("depth", "rgb")}  # of a run's parents
READ_AGAIN = ("noise", "target-alone", "ladder")  # nothing is trained: another reading of the first parent
WITHIN = ("lesson", "step3 lesson", "step4 lesson")  # where one side alone has a teacher, its settings are one thing


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """(spec by run id, run id by training) of every training on a lab with all modalities; nothing is trained."""
    lab = replace(tiny_lab(tmp_path_factory.mktemp("lab"), epochs=6), dry=True)
    lab = replace(lab, split=Split(**{**vars(lab.split), "unlabelled": lab.split.train}))  # any will do
    with pytest.MonkeyPatch.context() as patch:  # a run's data then tell which clips it saw, not what of them
        patch.setattr(MemoryStore, "about", lambda store, ids: [{"split": "unlabelled", "camera": 1} for _ in ids])
        patch.setattr(MemoryStore, "fingerprint_of", lambda store, modalities, unlabelled=False: str(unlabelled))
        made = {}
        for name in TRAININGS:
            make(name, lab, made)
    return {run.id: run.spec for run in made.values()}, {name: run.id for name, run in made.items()}


def facts_of(name: str, specs) -> dict[str, frozenset]:
    """All that decides a target's number, by step and setting, parents included, and by role for single streams."""
    by_id, ids = specs
    facts = defaultdict(set)
    target = TARGETS[name]
    read, root = target.reading, by_id[ids[target.training]]
    if root.step in READ_AGAIN:
        read, root = f"{root.step} {read}", by_id[root.parents[0]]
    facts["reading"].add(read)
    facts["steps"].add("step1" if root.step == "student" else root.step)
    collect(root, "stream", by_id, facts)
    return {fact: frozenset(values) for fact, values in facts.items()}


def collect(spec: RunSpec, role: str, by_id: dict[str, RunSpec], facts: dict[str, set]) -> None:
    config, parents = flat(spec.config), spec.parents
    if spec.step in ("step1", "student"):
        facts[role].add(stream_of(spec))
    if spec.step in ("student", "ensemble"):
        facts["lesson teachers"].add(tuple(stream_of(by_id[parent]) for parent in parents))
        parents = ()
    if spec.step == "step3":
        if spec.config["distill"]["objective"] != "labels":
            facts["step3 lesson teacher"].add(parents[1:])
        facts["step3 clips"].add(spec.data)
        parents = parents[:1]
    if spec.step == "step4":
        for teacher in parents[2:]:
            facts["step4 lesson teacher"].add(teacher)
        parents = parents[:2]
    for setting, value in config.items():
        if (place := place_of(setting, spec)) is not None:
            facts[f"{place} {setting}"].add(repr(value))
    for parent, its_role in zip(parents, ROLES.get(spec.step, [role] * len(parents)), strict=True):
        collect(by_id[parent], its_role, by_id, facts)


def place_of(setting: str, spec: RunSpec) -> str | None:
    """Where a setting counts: in a step, or in its lesson; None where it follows from others or is not read."""
    step = "step1" if spec.step == "student" else spec.step
    if setting.startswith(("modalities.", "twin", "seed", "classes")):
        return None
    own = spec.step == "joint" or (spec.step == "step3" and setting in ("distill.start", "distill.missing"))
    if own or not setting.startswith("distill."):
        return step
    if spec.config["distill"]["objective"] == "labels":  # nobody teaches
        return None
    return "lesson" if spec.step == "student" else f"{step} lesson"


def stream_of(spec: RunSpec) -> str:
    """What a single stream sees, and which of two on RGB it is; elsewhere what a run sees follows from its parents."""
    seen = spec.config["modalities"]["stream"]
    return f"{seen} twin" if spec.config.get("twin") else seen


def flat(config: dict, above: str = "") -> dict:
    found = {}
    for key, value in config.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def differing(one: str, other: str, specs) -> set[str]:
    """The names of what two targets do not have in common."""
    first, second = facts_of(one, specs), facts_of(other, specs)
    for place in WITHIN:
        inside = [{fact for fact in facts if fact.startswith(f"{place} ")} for facts in (first, second)]
        if bool(inside[0]) != bool(inside[1]):
            for facts, names in zip((first, second), inside, strict=True):
                facts.update({place: frozenset(facts.pop(fact) for fact in names)})
    found = {fact for fact in {*first, *second} if first.get(fact) != second.get(fact)}
    swapped = [(facts.get("source"), facts.get("target")) for facts in (first, second)]
    if found >= {"source", "target"} and swapped[0] == swapped[1][::-1]:
        found = found - {"source", "target"} | {"direction"}
    return found


@pytest.mark.parametrize("pair", DIFFERS, ids=" - ".join)
def test_a_comparison_changes_what_it_says_and_nothing_else(pair, specs):
    said, found = DIFFERS[pair], differing(*pair, specs)
    if said.startswith("several: "):
        assert len(found) > 1, f"only {found} differs"
    else:
        assert found == FIELDS[said]


def test_each_pair_stands_in_the_table_once():
    pairs = [frozenset(pair) for pairs in BY_DIFFERENCE.values() for pair in pairs]
    assert len(pairs) == len({*pairs}) and {name for pair in pairs for name in pair} <= {*TARGETS}
    assert what_differs("table2:2", "table2:15") == what_differs("table2:15", "table2:2") != ""
    assert what_differs("table2:2", "table2:2") == ""


def test_every_comparison_of_the_lab_is_in_the_table():
    asked = [*COMPARISONS, *GAPS]
    asked += [(*each.plus, *each.minus) for each in CLAIMS if each.kind != "faster" and len(each.plus) == 1]
    assert [pair for pair in asked if not what_differs(*pair)] == []
    assert all(each.differs for each in CLAIMS)


def test_every_model_beside_the_papers_is_compared_with_one_that_differs_in_one_thing():
    single = {name for pair, said in DIFFERS.items() if not said.startswith("several") for name in pair}
    beside = {name for name, target in TARGETS.items()
              if target.group in ("control", "untaught", "start", "reading", "ladder", "system", "student", "radevski",
                                  "recipe", "oracle", "lesson")}  # fmt: skip
    assert beside <= single


def test_comparisons_that_notebooks_show_are_in_the_table():
    pairs = set()
    for path in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        pairs |= {*re.findall(r'\("([a-z0-9]+:[\w-]+)", "([a-z0-9]+:[\w-]+)"\)', source)}
    assert len(pairs) > 20
    assert [pair for pair in pairs if not what_differs(*pair)] == []


@pytest.mark.parametrize("point", [point for point in DISCREPANCIES if point.switched], ids=lambda p: str(p.number))
def test_a_point_changes_its_own_fields_and_nothing_else(point, specs):
    """But for point 11, whose clips are prepared otherwise."""
    if point.number == 11:
        pytest.skip("its run is named when its clips are prepared")
    fields = {path.partition(".")[2] for path, _ in point.tried}
    for pair in point.switched:
        changed = {fact.rpartition(" ")[2].partition(".")[2] for fact in differing(*pair, specs)}
        assert changed and changed <= fields and len(changed) == 1


def test_the_check_sees_a_second_difference(specs):
    """The recipe with two things changed is told from the recipe with one."""
    assert differing("recipe:best", "recipe:seen-start", specs) == {"step3 distill.start"}
    assert differing("recipe:seen-start", "recipe:eq5", specs) == {
        "step3 distill.start", "step3 lesson distill.objective"}  # fmt: skip
    assert len(differing("table2:15", "control:15", specs)) == 3
    assert comparisons.what_differs("table2:15", "control:15").startswith("several")


def test_pairs_of_every_camera_are_all_that_nobody_labelled(tmp_path, monkeypatch):
    """The lesson sees those of the test's camera, too, and nobody of the test; else there are none to add."""
    lab = replace(tiny_lab(tmp_path), dry=True)
    _, near, far, tested = lab.clips.ids[11:15]
    facts = {near: {"split": "unlabelled", "camera": 1, "subject": 7},
             far: {"split": "unlabelled", "camera": 2, "subject": 7},
             tested: {"split": "unlabelled", "camera": 2, "subject": 9},
             lab.split.test[0]: {"camera": 2, "subject": 9}}  # fmt: skip
    monkeypatch.setattr(MemoryStore, "about", lambda store, ids: [facts.get(clip, {}) for clip in ids])
    known, every = (replace(lab, split=Split(**{**vars(lab.split), "unlabelled": pairs}))
                    for pairs in ((near,), (near, far)))  # fmt: skip
    assert make("lesson_every_camera", known).id == make("lesson_unlabelled", every).id
    assert make("lesson_every_camera", known).id != make("lesson_unlabelled", known).id
    with pytest.raises(LabError, match="unlabelled pairs of a camera kept for the test, found none"):
        make("lesson_every_camera", every)
