"""What lies in a data root: an index of its clips, one path per modality, and what is known of each.

A `Scan` collects files by clip, and `make_index` makes an `Index` of it, a plain value. So another data set needs only
its own way to fill a scan: see `sets` and `own_sets`.

ROOT/labkit.json may hold `Settings`. What names cannot tell, a sidecar may: `boxes/<clip id>.json`, or
`puppets/<clip id>.json` of the embedded set, with the keys of ABOUT, if known, and "boxes" (see
`modalities.read_boxes`). Names that begin with a dot do not count, and names that differ only in how
Unicode composes their letters are one name.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..clips import UNLABELLED
from ..errors import LabError
from ..files import write_bytes, write_json
from .media.video import natural

ABOUT = ("object", "object_color", "handedness")  # keys of a sidecar that describe the clip
SIDECARS = ("puppets", "boxes")  # folders of the root; where both tell of a clip, the second counts
SETTINGS = "labkit.json"
DRAWN_FROM = {"skeleton": "skeleton", "layout": "boxes"}  # what a modality needs beside RGB and depth
NO_CLIP = "names no clip here"  # said of an entry of a list or of the settings, among the strange names
_LETTERED = re.compile(r"([A-Za-z])[A-Za-z]*[_-]?(\d+)", re.ASCII)
_FILE_ENDING = re.compile(r"(_(rgb|color|depth|skeleton))?(\.[a-z]\w*)?$", re.IGNORECASE | re.ASCII)
REQUIRED = ("rgb", "depth")  # modalities, without which there is no clip
UNLABELLED_PART = "unlabelled"  # of clips without a label, which train where a teacher speaks of them


def listed(folder: Path) -> list[str]:
    """What lies in a folder, in the order of the numbers in the names; nothing where there is no such folder.

    Names that begin with a dot are left out. Raises LabError for a folder that may not be read.
    """
    try:
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
    except OSError as error:
        fix = "make it readable to you, or take it out of the data root"
        raise LabError.mismatch(folder, "a folder that can be read", error.strerror or error, fix) from error
    return sorted((name for name in names if not name.startswith(".")), key=natural)


def read_written(path: str | os.PathLike) -> Any:
    """JSON that a person wrote, in UTF-8 or UTF-16, with or without a mark in front; LabError for other text."""
    try:
        return json.loads(Path(path).read_bytes())
    except (ValueError, OSError) as error:
        raise LabError.mismatch(path, "JSON", f"something else ({error})", "correct this file") from error


class ClipName(NamedTuple):
    """The numbers in a clip's name; None for what a data set does not number."""

    setup: int | None
    camera: int | None
    subject: int
    replication: int
    action: int

    @property
    def facts(self) -> dict[str, int]:
        """What is known, by name."""
        return {key: number for key, number in self._asdict().items() if number is not None}


@dataclass(frozen=True)
class Recording:
    """How the images of a data set were taken, as far as the files do not say."""

    depth_unit: float = 1.0  # millimetres per count
    registered: bool = False  # one pixel of RGB and of depth show one point: images of one shape


@dataclass
class Entry:
    """One clip: its class, or UNLABELLED, and where each modality lies (what `video.Frames` reads)."""

    id: str
    name: ClipName | None = None  # of sets whose names are numbers
    label: int = UNLABELLED
    files: dict[str, str] = field(default_factory=dict)  # by modality; strings, since a full index holds 170,000 clips
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
        path = self.files.get("boxes")
        told = read_written(path) if path else {}
        if not isinstance(told, dict):
            raise LabError.mismatch(path, "a JSON object", type(told).__name__, "correct this file")
        return self.known | {key: told[key] for key in ABOUT if isinstance(told.get(key), (str, int))}

    @property
    def known(self) -> dict[str, str | int]:
        """What name and index say."""
        return (self.name.facts if self.name else {}) | self.facts


class Fault(NamedTuple):
    """Why a clip is left out."""

    kind: str  # as `labkit data check` counts it
    reason: str
    modality: str = ""
    file: str = ""  # that is not there


@dataclass(frozen=True)
class Index:
    """The clips of a data root. Every id found is either in `entries` or in `faults`.

    `strangers` are files and folders among the clips whose names are not clip names of this set.
    """

    root: Path
    entries: tuple[Entry, ...]  # in the order of their ids
    faults: dict[str, list[Fault]]
    class_names: tuple[str, ...]  # by label
    strangers: tuple[str, ...] = ()
    data_name: str = ""  # shown beside every result
    recording: Recording = Recording()

    @property
    def ids(self) -> list[str]:
        return [entry.id for entry in self.entries]

    @property
    def excluded(self) -> dict[str, str]:
        """The reason, by id, of each clip that is left out."""
        return {clip: "; ".join(fault.reason for fault in faults) for clip, faults in self.faults.items()}

    def about(self, ids: Iterable[str]) -> list[dict[str, str | int]]:
        """`Entry.about` of each id, which must be one of `ids`."""
        by_id = {entry.id: entry for entry in self.entries}
        return [by_id[clip].about for clip in ids]

    def __len__(self) -> int:
        return len(self.entries)

    def possible(self, modalities: Iterable[str]) -> tuple[str, ...]:
        """Those of the modalities that every clip has the files for."""
        needs = {modality: DRAWN_FROM.get(modality, "rgb") for modality in modalities}
        return tuple(m for m, need in needs.items() if all(need in entry.files for entry in self.entries))


class Scan:
    """What is found in a data root: clips by id, why some are left out, and the names of what is no clip."""

    def __init__(self, root: Path):
        self.root, self.settings = root, read_settings(root)
        self.recording = self.settings.recording
        self.entries: dict[str, Entry] = {}
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.strangers: list[str] = []

    def entry(self, clip: str) -> Entry:
        """That of a clip, made where it is the first time that something of it is found."""
        return self.entries.setdefault(clip, Entry(clip, recording=self.recording))

    def add(self, clip: str, modality: str, file: str) -> None:
        """A file of a clip; a second one of the same modality leaves the clip out."""
        first = self.entry(clip).files.setdefault(modality, file)
        if first != file:
            both = " and ".join(relative(path, self.root) for path in (first, file))
            self.leave_out(clip, "found twice", f"{modality} found twice: {both}")

    def leave_out(self, clip: str, *fault: str) -> None:
        """See `Fault` for what is told; twice the same is told once."""
        if (told := Fault(*fault)) not in self.faults[clip]:
            self.faults[clip].append(told)

    def strange(self, file: str | os.PathLike) -> None:
        self.strangers.append(relative(file, self.root))


def relative(path: str | os.PathLike, root: Path) -> str:
    """The path from a data root on; all of it where it lies elsewhere."""
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return str(path)


def make_index(scan: Scan, name: str, classes: Mapping[int, str] | None = None,
               needs: Iterable[str] = REQUIRED) -> Index:  # fmt: skip
    """The index of what was found; a clip that lacks a modality it `needs`, or has another fault, is left out.

    Labels count the classes that have clips, in the order of `classes` (by number), or else of their names. `name` is
    what the data set is called, if labkit.json does not say.
    """
    _exclude(scan, scan.settings.exclude)
    for clip, file in _sidecars(scan.root).items():
        if clip in scan.entries:
            scan.entries[clip].files["boxes"] = file
        else:
            scan.strangers.append(f"{relative(file, scan.root)}: {NO_CLIP}")
    for clip, entry in scan.entries.items():
        lacking = [] if clip in scan.faults else [modality for modality in needs if modality not in entry.files]
        for modality in lacking:
            scan.leave_out(clip, "missing", f"no {modality}", modality)
    used = tuple(entry for clip, entry in sorted(scan.entries.items()) if clip not in scan.faults)
    class_of = {entry.id: entry.name.action if entry.name else entry.facts.get("label") for entry in used}
    there = set(class_of.values()) - {None}
    classes = classes or {label: label for label in sorted(there, key=natural)}
    label_of = {key: label for label, key in enumerate(key for key in classes if key in there)}
    for entry in used:
        entry.label = label_of.get(class_of[entry.id], UNLABELLED)
    class_names, strangers = tuple(classes[key] for key in label_of), tuple(sorted(scan.strangers))
    name = scan.settings.name or name
    return Index(scan.root, used, dict(scan.faults), class_names, strangers, name, scan.recording)


def _exclude(scan: Scan, reasons: Mapping[str, str]) -> None:
    """Of the clips that labkit.json excludes, each named in any common form of its id."""
    numbered = {_numbers(clip): clip for clip, entry in scan.entries.items() if reasons and entry.name}
    for written, reason in reasons.items():
        bare = composed(written).replace("\\", "/")
        forms = (written, bare, _FILE_ENDING.sub("", bare), numbered.get(_numbers(bare)))
        if clip := next((form for form in forms if form in scan.entries), None):
            scan.leave_out(clip, "left out", reason)
        else:
            scan.strangers.append(f"{SETTINGS}, exclude, {written}: {NO_CLIP}")


@dataclass(frozen=True)
class Settings(Recording):
    """What ROOT/labkit.json may hold; every key may be left out."""

    name: str = ""  # shown beside every result; by default the data set's, or the folder's
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
    found = read_written(path)
    if isinstance(found, dict) and all(key in _LEGAL and _LEGAL[key](value) for key, value in found.items()):
        return Settings(**found)
    expected = f"an object of {', '.join(f.name for f in fields(Settings))}"
    fix = 'write for example {"depth_unit": 0.1, "registered": true}: millimetres per count, one pixel one point'
    raise LabError.mismatch(path, expected, str(found)[:80], fix)


_LEGAL = {  # by key of the settings: whether a value may stand there
    "name": lambda value: isinstance(value, str),
    "depth_unit": lambda value: type(value) in (int, float) and 0 < value < 1e6,
    "registered": lambda value: isinstance(value, bool),
    "depth_is": lambda value: isinstance(value, str),
    "exclude": lambda value: isinstance(value, dict) and all(isinstance(reason, str) for reason in value.values()),
}


@contextmanager
def changed_settings(root: str | os.PathLike, **changes: object) -> Iterator[None]:
    """Keep some settings in ROOT/labkit.json, and those that stand there; where the block fails, all is as it was."""
    path = Path(root) / SETTINGS
    before = path.read_bytes() if path.is_file() else None
    if changes:
        write_json(path, asdict(replace(read_settings(root), **changes)))
    try:
        yield
    except LabError:
        if before is None:
            path.unlink(missing_ok=True)
        else:
            write_bytes(path, before)
        raise


def _sidecars(root: Path) -> dict[str, str]:
    """The sidecar of each clip that has one, by clip id; boxes/wave/a.json is that of wave/a."""
    found = {}
    for base in (root / folder for folder in SIDECARS):
        for path in sorted(base.rglob("[!.]*.json")):
            found[composed(path.relative_to(base).as_posix().removesuffix(".json"))] = str(path)
    return found


def _numbers(clip: str) -> frozenset[tuple[str, int]]:
    """The numbers of a clip's name by their letters, in any order and behind any separator."""
    found = _LETTERED.findall(_FILE_ENDING.sub("", clip).replace("/", "_"))
    return frozenset((letter.lower(), int(number)) for letter, number in found)


def composed(name: str) -> str:
    """A name in Unicode's composed form: some systems take its letters apart."""
    return unicodedata.normalize("NFC", name)
