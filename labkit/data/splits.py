"""Which clips train, validate and test; and which data set lies in a folder, so by which protocols it is divided.

A protocol divides the clips of an `Index` or of a `ClipStore` into a `Split`, by what is known of them
and nothing else: the same clips are always divided alike. Where no validation clips were published, `hold_out`
sets some of the training clips aside.

`find_dataset` knows NTU RGB+D 60 and 120 and the embedded set by their folders nturgb+d_rgb and so on; N-UCLA by
view_1, view_2, view_3; UTD-MHAD by RGB (or RGB-part1 and so on) full of a1_s1_t1_color.avi beside Depth; UWA3DII by
folders a01_s01_v01_e00; a table of clips by clips.csv; and any folder of classes by names that end in _color
and _depth.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from ..clips import UNLABELLED
from ..errors import LabError
from ..files import read_json, sha256_json
from .index import SIDECARS, UNLABELLED_PART, ClipName, Entry, Index, listed
from .own_sets import index_folders, index_table, lies_table_at, looks_paired
from .sets import NTU60, NTU120, TWO_PEOPLE, UCLA, UTD, UWA, NumberedSet

# Cross-subject trains on these 20 of the 40 people, cross-view on these two of the three cameras.
CS_TRAIN_SUBJECTS = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))
CV_TRAIN_CAMERAS = frozenset((2, 3))
CS_TRAIN_SUBJECTS_120 = CS_TRAIN_SUBJECTS | {  # 53 of 106 people (NTU RGB+D 120)
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94,
    95, 97, 98, 100, 103,
}  # fmt: skip
CS_VALIDATION_SUBJECT = 1  # paper's supplement; released code
CV_VALIDATION_SHARE = 0.05  # released code: int(0.05 * 37,646) // 60 = 31 clips per class
UTD_TRAIN_SUBJECTS = frozenset((1, 3, 5, 7))  # Chen et al., ICIP 2015
TEST_SHARE = 0.3  # of a "random" split, where nobody gave one
USUAL = "cross-subject"
PARTS = ("train", "validation", "test")
COMPOSITIONAL_OTHERS = 2  # objects that remain of an action, and actions that remain of an object


@dataclass(frozen=True)
class Split:
    """Clip ids of each part; no id is in two parts.

    Those in `unlabelled` have no label. None of them shows a person or a camera that is kept for the test.
    """

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    unlabelled: tuple[str, ...] = ()


class Clips(Protocol):
    """What a protocol divides, an Index or a ClipStore: clip ids, and what is known of each."""

    ids: Sequence[str]

    def about(self, ids: Iterable[str]) -> list[dict[str, Any]]: ...


Division = Callable[[Clips], Split]


# -- protocols by numbers in names ----------------------------------------------------------------


def cross_subject(clips: Clips) -> Split:
    """NTU RGB+D 60: 20 people train, 20 others test; of the training people, subject 1 validates (supplement)."""
    numbers = _numbers(clips, NTU60)
    train, test = _divide(numbers, lambda n: n.subject in CS_TRAIN_SUBJECTS)
    validation = [clip for clip in train if numbers[clip].subject == CS_VALIDATION_SUBJECT]
    return make_split("cross-subject", train, validation, test)


def cross_view(clips: Clips, dataset: NumberedSet = NTU60) -> Split:
    """Cameras 2 and 3 train, camera 1 tests; 5 % of the training clips, as many of each class, validate.

    As released: names of a class sorted, the generator seeded with 0 afresh for every class.
    """
    numbers = _numbers(clips, dataset)
    train, test = _divide(numbers, lambda n: n.camera in CV_TRAIN_CAMERAS)
    classes = sorted({n.action for n in numbers.values()})
    per_class = int(CV_VALIDATION_SHARE * len(train)) // max(len(classes), 1)
    validation = []
    for action in classes:
        mine = [clip for clip in train if numbers[clip].action == action]
        chosen = np.random.RandomState(0).choice(len(mine), min(per_class, len(mine)), replace=False)
        validation += [mine[number] for number in chosen]
    return make_split("cross-view", train, validation, test)


def _numbers(clips: Clips, dataset: NumberedSet) -> dict[str, ClipName]:
    """The numbers in each clip's name, in the order of the ids; LabError where a name is none of the set's."""
    numbers = {clip: dataset.parse(clip) for clip in sorted(clips.ids)}
    if strange := [clip for clip, found in numbers.items() if found is None]:
        fix = "use a protocol of the data set these clips belong to"
        raise LabError.mismatch(None, f"clips of {dataset.name}", repr(strange[0]), fix)
    return numbers


def _divide(numbers: Mapping[str, ClipName], trains: Callable[[ClipName], bool]) -> tuple[list[str], list[str]]:
    train = [clip for clip, found in numbers.items() if trains(found)]
    return train, [clip for clip, found in numbers.items() if not trains(found)]


def by_numbers(clips: Clips, *, name: str, dataset: NumberedSet, trains: Callable[[ClipName], bool],
               tests: Callable[[ClipName], bool] | None = None) -> Split:  # fmt: skip
    """A split by what the names say, with validation by `hold_out`; what does not train is tested, or what `tests`."""
    numbers = _numbers(clips, dataset)
    train, rest = _divide(numbers, trains)
    test = [clip for clip in rest if tests is None or tests(numbers[clip])]
    return make_split(name, train, hold_out({clip: numbers[clip].action for clip in train}), test)


def _protocol(name: str, dataset: NumberedSet, trains: Callable, tests: Callable | None = None) -> dict[str, Division]:
    return {name: partial(by_numbers, name=name, dataset=dataset, trains=trains, tests=tests)}


def _views(name: str, train: tuple[int, ...], test: int) -> dict[str, Division]:
    """Some of UWA3DII's four views train and one tests; clips of other views are in no part."""
    return _protocol(name, UWA, lambda n: n.camera in train, lambda n: n.camera == test)


# -- by objects -----------------------------------------------------------------------------------


def compositional(clips: Clips) -> Split:
    """Some pairs of action and object are tested and never trained; subject 1's other clips validate.

    Actions in the order of their numbers, objects in the order of their names: the i-th action holds out
    the i-th object (counted round and round), or the next one for which the clips of people other than
    subject 1 still show this action with two other objects, and this object with two other actions. An
    action without such an object holds out none. All clips of a held-out pair are test clips.

    Pairs are disjoint, and nothing else is: the same people, cameras and rooms train and test. So this
    measures whether an action is known apart from the object it was seen with, not whether it is
    known of strangers. Raises LabError when objects are not recorded, or too few to hold a pair out.
    """
    numbers = _numbers(clips, NTU60)
    pairs = {clip: (numbers[clip].action, thing) for clip, thing in _objects(clips, list(numbers)).items()}
    others = {pairs[clip] for clip, n in numbers.items() if n.subject != CS_VALIDATION_SUBJECT}
    held_out = held_out_pairs(set(pairs.values()), others)
    test = [clip for clip in numbers if pairs[clip] in held_out]
    train = [clip for clip in numbers if pairs[clip] not in held_out]
    validation = [clip for clip in train if numbers[clip].subject == CS_VALIDATION_SUBJECT]
    return make_split("compositional", train, validation, test)


def held_out_pairs(pairs: set[tuple[int, str]], trained: set[tuple[int, str]]) -> set[tuple[int, str]]:
    """The pairs (action, object) that `compositional` tests; `trained` are those that could be trained."""
    actions, things = sorted({action for action, _ in pairs}), sorted({thing for _, thing in pairs})
    left, held_out = set(trained), set()
    for turn, action in enumerate(actions):
        for thing in things[turn % len(things) :] + things[: turn % len(things)]:
            rest = left - {(action, thing)}
            with_action = sum(pair[0] == action for pair in rest)
            with_thing = sum(pair[1] == thing for pair in rest)
            if (action, thing) in pairs and min(with_action, with_thing) >= COMPOSITIONAL_OTHERS:
                left = rest
                held_out.add((action, thing))
                break
    return held_out


def _objects(clips: Clips, ids: list[str]) -> dict[str, str]:
    facts = dict(zip(ids, clips.about(ids), strict=True))
    missing = [clip for clip in ids if "object" not in facts[clip]]
    if missing:
        found = f"none for {len(missing)} of {len(ids)} clips, {missing[0]} first"
        fix = f'write "object" into {SIDECARS[-1]}/<clip id>.json in the data root, or choose cross-subject'
        raise LabError.mismatch(None, "the object of every clip for compositional", found, fix)
    return {clip: str(about["object"]) for clip, about in facts.items()}


# -- any clips ------------------------------------------------------------------------------------


def given_split(clips: Clips) -> Split:
    """The split that folders or table give. Without validation clips, some training clips are held out.

    Clips that no part claims are in none. Raises LabError when there is nothing to train or test on.
    """
    about = dict(zip(clips.ids, clips.about(clips.ids), strict=True))
    parts = {part: [clip for clip, facts in about.items() if facts.get("split") == part] for part in PARTS}
    validation = parts["validation"] or hold_out({clip: _label(about[clip]) for clip in parts["train"]})
    fix = "say train and test in the table's column split or by folders, or name the protocol random"
    return make_split("given", [*parts["train"], *parts["validation"]], validation, parts["test"], fix)


def random_split(clips: Clips) -> Split:
    """30 % of the clips of each class test, drawn by a hash of their ids; all others train.

    Where subjects are known, 30 % of the subjects test instead, so that nobody is in both parts; a clip of whom nobody
    knows stands for a subject then. Clips of one scene may well be in both: a split that somebody thought about is
    worth more than this one.
    """
    about = dict(zip(clips.ids, clips.about(clips.ids), strict=True))
    by_subject = any(facts.get("subject") for facts in about.values())
    groups: dict[str, dict[str, list[str]]] = {}
    for clip, facts in about.items():
        stratum, unit = ("", str(facts.get("subject") or clip)) if by_subject else (_label(facts), clip)
        groups.setdefault(stratum, {}).setdefault(unit, []).append(clip)
    test = [clip for units in groups.values() for unit in _drawn(units) for clip in units[unit]]
    train = sorted(set(about) - set(test))
    fix = "label three clips or more of each class, of two subjects or more where subjects are known"
    return make_split("random", train, hold_out({clip: _label(about[clip]) for clip in train}), test, fix)


def known_from_training(split: Split, clips: Clips) -> str:
    """A remark where a split of pairs has somebody in training and in test, "" elsewhere."""
    trained, tested = (
        {facts.get("subject") for facts in clips.about(ids)} - {None}
        for ids in ((*split.train, *split.validation), split.test)
    )
    both = sorted(trained & tested) if split.name in _PAIRS else []
    count = f"{len(both)} of {len(trained | tested)} subjects" if both else ""
    return count and f"{count} are both in training and in test, {both[0]} first: they are no strangers to the model"


def _drawn(units: Mapping[str, object]) -> list[str]:
    order = sorted(units, key=lambda unit: sha256_json(["test", unit]))
    return order[: max(1, round(TEST_SHARE * len(order)))] if len(order) > 1 else []


def _label(facts: Mapping[str, object]) -> str:
    return str(facts["label"])


def hold_out(keys: Mapping[str, Hashable]) -> list[str]:
    """Training clips to validate on, where nobody published which: 5 % of each class, one at least.

    `keys` is the class of each training clip. A class of one clip gives none. As in DMCL's code for
    N-UCLA, the generator is seeded with the number of the class.
    """
    classes = {key: [clip for clip in sorted(keys) if keys[clip] == key] for key in set(keys.values())}
    held = []
    for number, key in enumerate(sorted(classes, key=str)):
        mine = classes[key]
        count = max(1, int(CV_VALIDATION_SHARE * len(mine))) if len(mine) > 1 else 0
        held += [mine[place] for place in np.random.RandomState(number).choice(len(mine), count, replace=False)]
    return held


def make_split(name: str, train: Sequence[str], validation: Sequence[str], test: Sequence[str],
               fix: str = "choose another protocol, or index clips of more subjects and cameras") -> Split:  # fmt: skip
    """A `Split` in which the validation clips do not train; LabError when nothing trains or is tested."""
    held_out = set(validation)
    kept = [clip for clip in train if clip not in held_out]
    if not kept or not test:
        found = f"{len(kept)} and {len(test)} clips"
        raise LabError.mismatch(None, f"training and test clips for {name}", found, fix)
    return Split(name, tuple(kept), tuple(sorted(validation)), tuple(test))


# -- data sets ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataSet:
    """A way to know a root and to index it, the protocols of its clips, and what was published about their number."""

    name: str
    lies_at: Callable[[Path], bool]  # told by names alone; not asked where a set before it in `DATA_SETS` lies
    index: Callable[[str | os.PathLike], Index]
    protocols: Mapping[str, Division]
    # "clips": found and usable; a protocol: training (with validation) and test clips that are usable
    published: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    actions_of_two: frozenset[int] = frozenset()

    def protocol(self, name: str) -> Division:
        """LabError with the names there are for another one."""
        if name not in self.protocols:
            expected = f"a protocol of {self.name}: {', '.join(self.protocols)}"
            raise LabError.mismatch(None, expected, repr(name), "use one of those names")
        return self.protocols[name]

    def split(self, name: str, clips: Clips) -> Split:
        """The clips that have a label as the protocol divides them, and those that have none."""
        divide, facts = self.protocol(name), dict(zip(clips.ids, clips.about(clips.ids), strict=True))
        unlabelled = [clip for clip, about in facts.items() if about.get("split") == UNLABELLED_PART]
        if not unlabelled:
            return divide(clips)
        labelled = [clip for clip, about in facts.items() if about.get("split") != UNLABELLED_PART]
        split = divide(SimpleNamespace(ids=labelled, about=clips.about))
        for key in ("subject", "camera"):
            trained = {facts[clip].get(key) for clip in (*split.train, *split.validation)}
            kept = {facts[clip].get(key) for clip in split.test}
            if not trained & kept:
                unlabelled = [clip for clip in unlabelled if facts[clip].get(key) not in kept]
        return replace(split, unlabelled=tuple(sorted(unlabelled)))

    def usual(self, clips: Clips) -> str:
        """The protocol where none is named: cross-subject, or the first of its own that can divide these clips.

        It is the given one as soon as one clip names its part: a division that lacks a part is told, not replaced.
        """
        if USUAL in self.protocols:
            return USUAL
        if "given" in self.protocols:
            return "given" if any(facts.get("split") in PARTS for facts in clips.about(clips.ids)) else "random"
        return next((name for name in self.protocols if self.divides(name, clips)), next(iter(self.protocols)))

    def divides(self, name: str, clips: Clips) -> bool:
        """Whether a protocol can divide these clips; "given" cannot where neither folders nor table do."""
        try:
            return bool(self.split(name, clips))
        except LabError:
            return False

    def two_people(self, entry: Entry) -> bool:
        """Whether the clip's action takes two."""
        return entry.name is not None and entry.name.action in self.actions_of_two


_NTU_PROTOCOLS = {"cross-subject": cross_subject, "cross-view": cross_view, "compositional": compositional}
_PAIRS = {"given": given_split, "random": random_split}


def index_puppets(root: str | os.PathLike) -> Index:
    """The embedded set; clips of its `puppets.unlabelled` people have no label. LabError for an older labkit's set."""
    path = Path(root, "puppets.json")
    try:
        unlabelled = read_json(path)["config"]["unlabelled"]
    except KeyError as error:
        fix = "delete this folder: labkit makes the set anew"
        raise LabError.mismatch(path, "the set of this labkit", f"that of another one, without {error}", fix) from None
    index = PUPPET_FILES.index(root)
    for entry in index.entries:
        if entry.name.subject in unlabelled:
            entry.label, entry.facts = UNLABELLED, {"split": UNLABELLED_PART}
    return index


PUPPET_FILES = replace(NTU60, limits=NTU60.limits | {"subject": NTU120.limits["subject"]})
PUPPETS = DataSet(
    "puppets", lambda root: NTU60.lies_at(root) and (root / "puppets.json").is_file(), index_puppets, _NTU_PROTOCOLS,
    actions_of_two=TWO_PEOPLE,
)  # fmt: skip
# The paper's code trains on views 1 to 3 and tests on 4; others use pairs of views, 12 in all.
_UWA_PROTOCOLS = _views("cross-view", (1, 2, 3), 4)
for _one, _two in combinations(range(1, 5), 2):
    for _test in {1, 2, 3, 4} - {_one, _two}:
        _UWA_PROTOCOLS |= _views(f"views-{_one}{_two}-{_test}", (_one, _two), _test)
DATA_SETS = {known.name: known for known in (  # in the order in which a root is held against them
    PUPPETS,
    DataSet(
        "NTU120", NTU120.lies_at, NTU120.index,
        _protocol("cross-subject", NTU120, lambda n: n.subject in CS_TRAIN_SUBJECTS_120)
        | _protocol("cross-setup", NTU120, lambda n: n.setup % 2 == 0)
        | {"cross-view": partial(cross_view, dataset=NTU120)},
        {"clips": (114_480, 113_945), "cross-subject": (63_026, 50_919), "cross-setup": (54_468, 59_477)},
        TWO_PEOPLE,
    ),
    DataSet(
        "NTU60", NTU60.lies_at, NTU60.index, _NTU_PROTOCOLS,
        {"clips": (56_880, 56_578), "cross-subject": (40_091, 16_487), "cross-view": (37_646, 18_932)},
        TWO_PEOPLE,
    ),
    DataSet("table", lies_table_at, index_table, _PAIRS),
    DataSet(
        "N-UCLA", UCLA.lies_at, UCLA.index,
        _protocol("cross-view", UCLA, lambda n: n.camera != 3)  # Wang et al., CVPR 2014
        | _protocol("cross-view-1", UCLA, lambda n: n.camera != 1)
        | _protocol("cross-view-2", UCLA, lambda n: n.camera != 2),
        {"clips": (1494, 1494)},
    ),
    DataSet(
        "UTD-MHAD", UTD.lies_at, UTD.index,
        _protocol("cross-subject", UTD, lambda n: n.subject in UTD_TRAIN_SUBJECTS),
        {"clips": (861, 861), "cross-subject": (431, 430)},
    ),
    DataSet("UWA3DII", UWA.lies_at, UWA.index, _UWA_PROTOCOLS),  # which is looked for three levels deep
    DataSet("paired folders", looks_paired, index_folders, _PAIRS),
)}  # fmt: skip


def find_dataset(root: str | os.PathLike) -> DataSet:
    """The data set that lies at `root`, recognised by names alone.

    Raises LabError when there is nothing, or nothing that the lab knows.
    """
    root = Path(root)
    if found := next((known for known in DATA_SETS.values() if known.lies_at(root)), None):
        return found
    if not root.is_dir():
        fix = "give the folder of a data set, or a CSV file of clips"
        raise LabError.mismatch(root, "a data root", "something else" if root.exists() else "nothing", fix)
    expected = (
        "a data set: nturgb+d_rgb/, view_1/a01_s01_e00/, RGB/a1_s1_t1_color.avi, a01_s01_v01_e00/, clips.csv, "
        "or <class>/<stem>_color.* beside <stem>_depth.*"
    )
    shown = ", ".join(listed(root)[:8]) or "an empty folder"
    fix = "give the folder that holds these, or list the clips in clips.csv (clip, label, rgb, depth)"
    raise LabError.mismatch(root, expected, shown, fix)
