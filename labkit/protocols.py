"""What lies in a data root, and which clips train, validate and test.

An `Index` lists clips with one path per modality; a protocol divides clip ids into a `Split`. Both
are plain values, so another data set needs only its own way to fill them. Here: NTU RGB+D
(Shahroudy et al., CVPR 2016), whose file names carry all a protocol needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from .errors import LabError

NTU_ACTIONS = (
    "drink water", "eat meal/snack", "brushing teeth", "brushing hair", "drop", "pickup", "throw",
    "sitting down", "standing up", "clapping", "reading", "writing", "tear up paper", "wear jacket",
    "take off jacket", "wear a shoe", "take off a shoe", "wear on glasses", "take off glasses",
    "put on a hat/cap", "take off a hat/cap", "cheer up", "hand waving", "kicking something",
    "reach into pocket", "hopping", "jump up", "make a phone call", "playing with phone/tablet",
    "typing on a keyboard", "pointing to something with finger", "taking a selfie",
    "check time (from watch)", "rub two hands together", "nod head/bow", "shake head", "wipe face",
    "salute", "put the palms together", "cross hands in front", "sneeze/cough", "staggering", "falling",
    "touch head (headache)", "touch chest", "touch back", "touch neck", "nausea or vomiting condition",
    "use a fan/feeling warm", "punching/slapping other person", "kicking other person",
    "pushing other person", "pat on back", "point finger at the other person", "hugging other person",
    "giving something to other person", "touch other person's pocket", "handshaking",
    "walking towards each other", "walking apart from each other",
)  # fmt: skip

# Cross-subject trains on these 20 of the 40 people, cross-view on these two of the three cameras.
CS_TRAIN_SUBJECTS = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))
CV_TRAIN_CAMERAS = frozenset((2, 3))
CS_VALIDATION_SUBJECT = 1  # paper's supplement; released code
CV_VALIDATION_SHARE = 0.05  # released code: int(0.05 * 37,646) // 60 = 31 clips per class

MISSING_LIST = "NTU_RGBD_samples_with_missing_skeletons.txt"  # published by the data set's authors


class ClipName(NamedTuple):
    """The five numbers of a name SsssCcccPpppRrrrAaaa, all counted from 1."""

    setup: int
    camera: int
    subject: int
    replication: int
    action: int


@dataclass(frozen=True)
class Entry:
    """One clip: its class, and where each modality lies (a file, or a folder of images)."""

    id: str
    name: ClipName
    label: int
    files: dict[str, str]  # by modality; plain strings, since a full index holds 170,000 of them

    @property
    def paths(self) -> dict[str, Path]:
        return {modality: Path(file) for modality, file in self.files.items()}


@dataclass(frozen=True)
class Index:
    """The clips of a data root. Every id found is either in `entries` or in `excluded`, with the reason.

    `strangers` are files and folders among the clips whose names are not clip names of this set.
    """

    root: Path
    entries: tuple[Entry, ...]  # in the order of their ids
    excluded: dict[str, str]
    class_names: tuple[str, ...]  # by label
    strangers: tuple[str, ...] = ()

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)


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


@dataclass(frozen=True)
class NTU:
    """A release of NTU RGB+D: the largest number of each part of a name, and where modalities lie."""

    limits: ClipName
    class_names: tuple[str, ...]
    missing_list: str
    modalities: dict[str, tuple[str, str]] = field(  # folder stem, and what follows the clip's name
        default_factory=lambda: {
            "rgb": ("nturgb+d_rgb", "_rgb.avi"),
            "depth": ("nturgb+d_depth_masked", ""),
            "skeleton": ("nturgb+d_skeletons", ".skeleton"),
        }
    )

    def parse(self, clip_id: str) -> ClipName | None:
        """The numbers in a clip's name, or None where it is not a name of this release."""
        match = _NAME.fullmatch(clip_id)
        if match is None:
            return None
        name = ClipName(*map(int, match.groups()))
        inside = all(1 <= value <= limit for value, limit in zip(name, self.limits, strict=True))
        return name if inside else None

    def index(self, root: str | os.PathLike) -> Index:
        """Scan a data root; reads folders and names only, no clip.

        Each modality lies in one folder, as in `nturgb+d_rgb/`, or in one per setup as in the
        official archives, `nturgb+d_rgb_s001/nturgb+d_rgb/`. Clips that lack a modality, occur
        twice, or stand on the published list of missing skeletons (if that file lies in the root)
        are excluded with the reason. Raises LabError when the root or a modality has no folder.
        """
        root, strangers, twice = Path(root), [], {}
        found = {modality: self._scan(root, modality, strangers, twice) for modality in self.modalities}
        listed = self._listed_as_missing(root)
        names, excluded = {}, {}
        for clip in sorted(set().union(*found.values())):
            reasons = [f"no {modality}" for modality, files in found.items() if clip not in files]
            reasons += [f"{modality} found twice" for modality in twice.get(clip, ())]
            reasons += ["on the published list of missing skeletons"] * (clip in listed)
            if reasons:
                excluded[clip] = "; ".join(reasons)
            else:
                names[clip] = self.parse(clip)
        actions = sorted({name.action for name in names.values()})
        entries = tuple(
            Entry(
                clip, name, actions.index(name.action), {kind: files[clip] for kind, files in found.items()}
            )
            for clip, name in names.items()
        )
        class_names = tuple(self.class_names[action - 1] for action in actions)
        return Index(root, entries, excluded, class_names, tuple(sorted(strangers)))

    def _scan(
        self, root: Path, modality: str, strangers: list[str], twice: dict[str, list[str]]
    ) -> dict[str, str]:
        """Files of one modality by clip id; other names go to `strangers`, second files to `twice`."""
        stem, suffix = self.modalities[modality]
        found: dict[str, str] = {}
        for folder in _folders(root, stem):
            with os.scandir(folder) as listing:
                for item in listing:
                    clip = item.name.removesuffix(suffix)
                    if (suffix and clip == item.name) or self.parse(clip) is None:
                        strangers.append(f"{folder.relative_to(root).as_posix()}/{item.name}")
                    elif found.setdefault(clip, item.path) != item.path:
                        twice.setdefault(clip, []).append(modality)
        return found

    def _listed_as_missing(self, root: Path) -> frozenset[str]:
        for folder in (root, *_folders(root, self.modalities["skeleton"][0])):
            if (folder / self.missing_list).is_file():
                text = (folder / self.missing_list).read_text(encoding="utf-8", errors="replace")
                return frozenset(filter(self.parse, text.split()))
        return frozenset()


_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)

NTU60 = NTU(ClipName(17, 3, 40, 2, 60), NTU_ACTIONS, MISSING_LIST)


def _folders(root: Path, stem: str) -> list[Path]:
    """The folders of one modality, in order: `stem`, or `stem_s...` with or without `stem` inside."""
    try:
        names = sorted(item.name for item in os.scandir(root) if item.is_dir())
    except OSError as error:
        fix = "give the folder that holds nturgb+d_rgb and its siblings"
        raise LabError.mismatch(root, "a data root", error.strerror, fix) from error
    chosen = [root / name for name in names if name == stem or name.startswith(f"{stem}_s")]
    if not chosen:
        fix = "unpack this modality into the root, or make the embedded set: labkit data make"
        raise LabError.mismatch(root, f"a folder {stem}", ", ".join(names[:8]) or "no folder", fix)
    return [folder / stem if (folder / stem).is_dir() else folder for folder in chosen]


def cross_subject(clips: HasIds, dataset: NTU = NTU60) -> Split:
    """20 people train, 20 others test; of the training people, subject 1 validates (supplement)."""
    names = _names(clips, dataset)
    train, test = _divide(names, lambda name: name.subject in CS_TRAIN_SUBJECTS)
    validation = [clip for clip in train if names[clip].subject == CS_VALIDATION_SUBJECT]
    return _split("cross-subject", train, validation, test)


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
    return _split("cross-view", train, validation, test)


def first_third(split: Split) -> Split:
    """ "ntu-mini" of the released code: a third of the training clips, after one shuffle with seed 0."""
    order = sorted(split.train)
    np.random.RandomState(0).shuffle(order)
    kept = tuple(sorted(order[: len(order) // 3]))
    return Split(f"{split.name}, first third", kept, split.validation, split.test)


def _names(clips: HasIds, dataset: NTU) -> dict[str, ClipName]:
    """Parsed names by id, in the order of the ids."""
    names = {clip: dataset.parse(clip) for clip in sorted(clips.ids)}
    strange = [clip for clip, name in names.items() if name is None]
    if strange:
        fix = "use a protocol of the data set these clips belong to"
        raise LabError.mismatch(None, "clip ids like S001C001P001R001A001", repr(strange[0]), fix)
    return names


def _divide(names: dict[str, ClipName], trains: Callable[[ClipName], bool]) -> tuple[list[str], list[str]]:
    train = [clip for clip, name in names.items() if trains(name)]
    return train, [clip for clip, name in names.items() if not trains(name)]


def _split(name: str, train: list[str], validation: list[str], test: list[str]) -> Split:
    held_out = set(validation)
    kept = [clip for clip in train if clip not in held_out]
    if not kept or not test:
        found = f"{len(kept)} and {len(test)} clips"
        fix = "choose another protocol, or index clips of more subjects and cameras"
        raise LabError.mismatch(None, f"training and test clips for {name}", found, fix)
    return Split(name, tuple(kept), tuple(sorted(validation)), tuple(test))
