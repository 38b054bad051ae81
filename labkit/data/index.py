"""What lies in a data root: an index of its clips, one path per modality, and what is known of each.

An `Index` is a plain value, so another data set needs only its own way to fill it: see `ntu`,
`other_sets` and `pairs`. What names cannot tell, a sidecar may: `boxes/<clip id>.json`, or
`puppets/<clip id>.json` of the embedded set, with the keys of ABOUT, if known, and "boxes" (see
`modalities.read_boxes`). ROOT/labkit.json may hold `Settings`.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import LabError
from ..files import names_in, read_json, write_bytes, write_json

ABOUT = ("object", "object_color", "handedness")  # keys of a sidecar that describe the clip
SIDECARS = ("puppets", "boxes")  # folders of the root; where both tell of a clip, the second counts
SETTINGS = "labkit.json"
DRAWN_FROM = {"skeleton": "skeleton", "layout": "boxes"}  # what a modality needs beside RGB and depth


class ClipName(NamedTuple):
    """The five numbers of a name SsssCcccPpppRrrrAaaa, all counted from 1."""

    setup: int
    camera: int
    subject: int
    replication: int
    action: int


@dataclass(frozen=True)
class Recording:
    """How the images of a data set were taken, as far as the files do not say."""

    depth_unit: float = 1.0  # millimetres per count
    registered: bool = False  # one pixel of RGB and of depth show one point: images of one shape


@dataclass(frozen=True)
class Entry:
    """One clip: its class, and where each modality lies (what `video.Frames` reads)."""

    id: str
    name: ClipName | None  # of NTU's clips
    label: int
    files: dict[str, str]  # by modality; plain strings, since a full index holds 170,000 of them
    facts: dict[str, str | int] = field(default_factory=dict)  # what the index knows beside the name
    recording: Recording = Recording()

    @property
    def paths(self) -> dict[str, Path]:
        return {modality: Path(file) for modality, file in self.files.items()}

    @property
    def about(self) -> dict[str, str | int]:
        """What name and index say, and of ABOUT what the sidecar adds; read when asked for.

        Raises LabError when the sidecar is damaged.
        """
        known = (self.name._asdict() if self.name else {}) | self.facts
        return known | (_sidecar_facts(self.files["boxes"]) if "boxes" in self.files else {})


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
    data_name: str = ""  # shown beside every result
    recording: Recording = Recording()

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

    def possible(self, modalities: Iterable[str]) -> tuple[str, ...]:
        """Those of the modalities that every clip has the files for."""
        needs = {modality: DRAWN_FROM.get(modality, "rgb") for modality in modalities}
        return tuple(m for m, need in needs.items() if all(need in entry.files for entry in self.entries))


def make_index(
    root: Path,
    found: Mapping[str, Mapping[str, str]],
    keys: Mapping[str, Hashable],
    classes: Mapping[Hashable, str],
    *,
    known: Mapping[str, str],
    optional: Mapping[str, Mapping[str, str]] | None = None,
    strangers: Iterable[str] = (),
    names: Mapping[str, ClipName] | None = None,
    facts: Mapping[str, dict] | None = None,
    data_name: str,
    recording: Recording | None = None,
    recordings: Mapping[str, Recording] | None = None,
) -> Index:
    """An index of the clips in `found` (file by clip id, by modality), each of class `classes[keys[clip]]`.

    A clip that lacks a modality or has a reason in `known` is excluded; what `optional` holds, in the form
    of `found`, it may lack. `recordings` are those of single clips, where they differ from `recording`.
    Labels count the classes that have clips, in the order of `classes`.
    """
    recording, excluded, used = recording or Recording(), {}, []
    for clip in sorted(set(known).intersection(keys).union(*found.values())):
        reasons = [f"no {modality}" for modality, files in found.items() if clip not in files]
        if clip in known:
            reasons.append(known[clip])
        if reasons:
            excluded[clip] = "; ".join(reasons)
        else:
            used.append(clip)
    present = {keys[clip] for clip in used}
    order = [key for key in classes if key in present]
    label_of, boxes = {key: label for label, key in enumerate(order)}, _sidecars(root)
    places, own = {**found, **(optional or {}), "boxes": boxes}, recordings or {}
    entries = tuple(
        Entry(
            clip, names[clip] if names else None, label_of[keys[clip]],
            {modality: files[clip] for modality, files in places.items() if clip in files},
            facts[clip] if facts else {}, own.get(clip, recording),
        )
        for clip in used
    )  # fmt: skip
    class_names = tuple(classes[key] for key in order)
    return Index(root, entries, excluded, class_names, tuple(sorted(strangers)), data_name, recording)


@dataclass(frozen=True)
class Settings:
    """What ROOT/labkit.json may hold; every key may be left out."""

    name: str = ""  # shown beside every result; by default the data set's, or the folder's
    depth_unit: float = 1.0  # as in Recording
    registered: bool = False
    depth_is: str = ""  # what the second image shows, where that is not depth: "thermal, tenths of a kelvin"
    exclude: dict[str, str] = field(default_factory=dict)  # reason by clip id

    @property
    def recording(self) -> Recording:
        return Recording(float(self.depth_unit), self.registered)


def read_settings(root: str | os.PathLike) -> Settings:
    """The settings of a data root; LabError for a key or a value that is none."""
    path = Path(root) / SETTINGS
    if not path.is_file():
        return Settings()
    found, kinds = read_json(path), {"name": str, "depth_unit": (int, float), "registered": bool, "exclude": dict}
    kinds["depth_is"] = str
    if isinstance(found, dict) and all(isinstance(found[key], kinds.get(key, ())) for key in found):
        settings = Settings(**found)
        unit_is_number = not isinstance(settings.depth_unit, bool) and 0 < settings.depth_unit < 1e6
        if unit_is_number and all(isinstance(reason, str) for reason in settings.exclude.values()):
            return settings
    expected = f"an object of {', '.join(f.name for f in fields(Settings))}"
    fix = 'write for example {"depth_unit": 0.1, "registered": true}: millimetres per count, one pixel one point'
    raise LabError.mismatch(path, expected, str(found)[:80], fix)


def write_settings(root: str | os.PathLike, **changes: object) -> None:
    """Keep some settings in ROOT/labkit.json; those that stand there and are not named stay."""
    settings = replace(read_settings(root), **changes)
    write_json(Path(root) / SETTINGS, asdict(settings))


@contextmanager
def changed_settings(root: str | os.PathLike, **changes: object) -> Iterator[None]:
    """`write_settings` for a block; where it ends in a LabError, the file is as it was."""
    path = Path(root) / SETTINGS
    before = path.read_bytes() if path.is_file() else None
    if changes:
        write_settings(root, **changes)
    try:
        yield
    except LabError:
        if changes and before is None:
            path.unlink(missing_ok=True)
        elif changes:
            write_bytes(path, before)
        raise


def _sidecars(root: Path) -> dict[str, str]:
    """The sidecar of each clip that has one, by clip id."""
    found: dict[str, str] = {}
    for folder in SIDECARS:
        if (root / folder).is_dir():
            names = [name for name in names_in(root / folder) if name.endswith(".json")]
            found |= {name[:-5]: os.path.join(root, folder, name) for name in names}
    return found


def _sidecar_facts(path: str) -> dict[str, Any]:
    facts = read_json(path)
    if not isinstance(facts, dict):
        fix = "write it as the data guide says, or remove it"
        raise LabError.mismatch(path, "a JSON object", type(facts).__name__, fix)
    return {key: facts[key] for key in ABOUT if isinstance(facts.get(key), (str, int))}
