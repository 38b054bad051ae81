"""Which clips train, validate and test.

A protocol divides the clips of an `Index` or of a `ClipStore` into a `Split`, by what is known of them
and nothing else: the same clips are always divided alike.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import LabError
from .index import SIDECARS, ClipName, Entry, Index
from .ntu import MISSING_LIST, NTU, NTU60, NTU120, NTU_ACTIONS

__all__ = [
    "MISSING_LIST", "NTU", "NTU60", "NTU120", "NTU_ACTIONS", "ClipName", "Entry", "Index", "Split",
    "compositional", "cross_setup", "cross_subject", "cross_subject_120", "cross_view", "first_third",
]  # fmt: skip

# Cross-subject trains on these 20 of the 40 people, cross-view on these two of the three cameras.
CS_TRAIN_SUBJECTS = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))
CV_TRAIN_CAMERAS = frozenset((2, 3))
CS_TRAIN_SUBJECTS_120 = CS_TRAIN_SUBJECTS | {  # 53 of 106 people (NTU RGB+D 120)
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94,
    95, 97, 98, 100, 103,
}  # fmt: skip
CS_VALIDATION_SUBJECT = 1  # paper's supplement; released code
CV_VALIDATION_SHARE = 0.05  # released code: int(0.05 * 37,646) // 60 = 31 clips per class
COMPOSITIONAL_OTHERS = 2  # objects that remain of an action, and actions that remain of an object


@dataclass(frozen=True)
class Split:
    """Clip ids of each part; no id is in two parts."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


class HasIds(Protocol):
    """What a protocol divides: an Index or a ClipStore."""

    ids: Sequence[str]


class HasFacts(HasIds, Protocol):
    """And what is known of each clip."""

    def about(self, ids: Iterable[str]) -> list[dict[str, Any]]: ...


def cross_subject(clips: HasIds, dataset: NTU = NTU60) -> Split:
    """20 people train, 20 others test; of the training people, subject 1 validates (supplement)."""
    names = _names(clips, dataset)
    train, test = _divide(names, lambda name: name.subject in CS_TRAIN_SUBJECTS)
    validation = [clip for clip in train if names[clip].subject == CS_VALIDATION_SUBJECT]
    return make_split("cross-subject", train, validation, test)


def cross_view(clips: HasIds, dataset: NTU = NTU60) -> Split:
    """Cameras 2 and 3 train, camera 1 tests; 5 % of the training clips, as many of each class, validate.

    As released: names of a class sorted, the generator seeded with 0 afresh for every class.
    """
    names = _names(clips, dataset)
    train, test = _divide(names, lambda name: name.camera in CV_TRAIN_CAMERAS)
    classes = sorted({name.action for name in names.values()})
    per_class = int(CV_VALIDATION_SHARE * len(train)) // max(len(classes), 1)
    validation = []
    for action in classes:
        mine = [clip for clip in train if names[clip].action == action]
        chosen = np.random.RandomState(0).choice(len(mine), min(per_class, len(mine)), replace=False)
        validation += [mine[number] for number in chosen]
    return make_split("cross-view", train, validation, test)


def cross_subject_120(clips: HasIds) -> Split:
    """53 of the 106 people of NTU RGB+D 120 train; no validation clips were published, see `hold_out`."""
    return _split_120(clips, "cross-subject", lambda name: name.subject in CS_TRAIN_SUBJECTS_120)


def cross_setup(clips: HasIds) -> Split:
    """NTU RGB+D 120: setups with an even number train, the others test; validation by `hold_out`."""
    return _split_120(clips, "cross-setup", lambda name: name.setup % 2 == 0)


def _split_120(clips: HasIds, name: str, trains: Callable[[ClipName], bool]) -> Split:
    names = _names(clips, NTU120)
    train, test = _divide(names, trains)
    return make_split(name, train, hold_out({clip: names[clip].action for clip in train}), test)


def compositional(clips: HasFacts, dataset: NTU = NTU60) -> Split:
    """Some pairs of action and object are tested and never trained; subject 1's other clips validate.

    Actions in the order of their numbers, objects in the order of their names: the i-th action holds out
    the i-th object (counted round and round), or the next one for which the clips of people other than
    subject 1 still show this action with two other objects, and this object with two other actions. An
    action without such an object holds out none. All clips of a held-out pair are test clips.

    Pairs are disjoint, and nothing else is: the same people, cameras and rooms train and test. So this
    measures whether an action is known apart from the object it was seen with, not whether it is
    known of strangers. Raises LabError when objects are not recorded, or too few to hold a pair out.
    """
    names = _names(clips, dataset)
    pairs = {clip: (names[clip].action, thing) for clip, thing in _objects(clips, list(names)).items()}
    others = {pairs[clip] for clip, name in names.items() if name.subject != CS_VALIDATION_SUBJECT}
    held_out = held_out_pairs(set(pairs.values()), others)
    test = [clip for clip in names if pairs[clip] in held_out]
    train = [clip for clip in names if pairs[clip] not in held_out]
    validation = [clip for clip in train if names[clip].subject == CS_VALIDATION_SUBJECT]
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


def _objects(clips: HasFacts, ids: list[str]) -> dict[str, str]:
    facts = dict(zip(ids, clips.about(ids), strict=True))
    missing = [clip for clip in ids if "object" not in facts[clip]]
    if missing:
        found = f"none for {len(missing)} of {len(ids)} clips, {missing[0]} first"
        fix = f'write "object" into {SIDECARS[-1]}/<clip id>.json in the data root, or choose cross-subject'
        raise LabError.mismatch(None, "the object of every clip for compositional", found, fix)
    return {clip: str(about["object"]) for clip, about in facts.items()}


def first_third(split: Split) -> Split:
    """ "ntu-mini" of the released code: a third of the training clips, after one shuffle with seed 0."""
    order = sorted(split.train)
    np.random.RandomState(0).shuffle(order)
    kept = tuple(sorted(order[: len(order) // 3]))
    return Split(f"{split.name}, first third", kept, split.validation, split.test)


def _names(clips: HasIds, dataset: NTU) -> dict[str, ClipName]:
    """Parsed names by id, in the order of the ids."""
    names = {clip: dataset.parse(clip) for clip in sorted(clips.ids)}
    refuse_ids([clip for clip, name in names.items() if name is None], "clip ids like S001C001P001R001A001")
    return names


def refuse_ids(strange: Sequence[str], expected: str) -> None:
    """LabError when there is an id that does not belong to the data set of a protocol."""
    if strange:
        fix = "use a protocol of the data set these clips belong to"
        raise LabError.mismatch(None, expected, repr(strange[0]), fix)


def _divide(names: dict[str, ClipName], trains: Callable[[ClipName], bool]) -> tuple[list[str], list[str]]:
    train = [clip for clip, name in names.items() if trains(name)]
    return train, [clip for clip, name in names.items() if not trains(name)]


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


def make_split(name: str, train: Sequence[str], validation: Sequence[str], test: Sequence[str]) -> Split:
    """A `Split` in which the validation clips do not train; LabError when nothing trains or is tested."""
    held_out = set(validation)
    kept = [clip for clip in train if clip not in held_out]
    if not kept or not test:
        found = f"{len(kept)} and {len(test)} clips"
        fix = "choose another protocol, or index clips of more subjects and cameras"
        raise LabError.mismatch(None, f"training and test clips for {name}", found, fix)
    return Split(name, tuple(kept), tuple(sorted(validation)), tuple(test))
