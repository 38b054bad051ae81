"""What lies in a data root: an index of its clips, one path per modality, and what is known of each.

An `Index` is a plain value, so another data set needs only its own way to fill it. Here: NTU RGB+D
(Shahroudy et al., CVPR 2016), whose file names carry all that most protocols need. What a name cannot
tell, a sidecar may: `boxes/<clip id>.json`, or `puppets/<clip id>.json` of the embedded set, with the
keys of ABOUT, if known, and "boxes" (see `maps.read_boxes`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .errors import LabError
from .files import read_json

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

ABOUT = ("object", "object_color", "handedness")  # keys of a sidecar that describe the clip
SIDECARS = ("puppets", "boxes")  # folders of the root; where both tell of a clip, the second counts
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

    @property
    def about(self) -> dict[str, str | int]:
        """What the name says, and of ABOUT what the sidecar adds; read when asked for.

        Raises LabError when the sidecar is damaged.
        """
        return self.name._asdict() | (_sidecar_facts(self.files["boxes"]) if "boxes" in self.files else {})


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

    def about(self, ids: Iterable[str]) -> list[dict[str, str | int]]:
        """`Entry.about` of each id. Raises LabError for an id that is not among the entries."""
        by_id, wanted = {entry.id: entry for entry in self.entries}, list(ids)
        missing = [clip for clip in wanted if clip not in by_id]
        if missing:
            reason = self.excluded.get(missing[0], "not in the data root")
            raise LabError.mismatch(self.root, "indexed clips", f"{missing[0]}: {reason}", "ask for ids of this index")
        return [by_id[clip].about for clip in wanted]

    def __len__(self) -> int:
        return len(self.entries)


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
        found["boxes"] = _sidecars(root)
        entries = tuple(
            Entry(
                clip, name, actions.index(name.action),
                {kind: files[clip] for kind, files in found.items() if clip in files},
            )
            for clip, name in names.items()
        )  # fmt: skip
        class_names = tuple(self.class_names[action - 1] for action in actions)
        return Index(root, entries, excluded, class_names, tuple(sorted(strangers)))

    def _scan(self, root: Path, modality: str, strangers: list[str], twice: dict[str, list[str]]) -> dict[str, str]:
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


def _sidecars(root: Path) -> dict[str, str]:
    """The sidecar of each clip that has one, by clip id."""
    found: dict[str, str] = {}
    for folder in SIDECARS:
        if (root / folder).is_dir():
            with os.scandir(root / folder) as listing:
                found |= {item.name[:-5]: item.path for item in listing if item.name.endswith(".json")}
    return found


def _sidecar_facts(path: str) -> dict[str, Any]:
    facts = read_json(path)
    if not isinstance(facts, dict):
        fix = "write it as the data guide says, or remove it"
        raise LabError.mismatch(path, "a JSON object", type(facts).__name__, fix)
    return {key: facts[key] for key in ABOUT if isinstance(facts.get(key), (str, int))}
