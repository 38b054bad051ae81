"""What lies in a data root: an index of its clips, one path per modality, and what is known of each.

An `Index` is a plain value, so another data set needs only its own way to fill it: see `sets`, and here any pair of
RGB and depth, in folders of a class each or listed in a table.

Folders: ROOT/<class>/<stem>_color.* and <stem>_depth.*, where a clip is two images, two folders of
images or two videos (`video.Frames`); ROOT/train, ROOT/validation and ROOT/test may stand before the
classes. A table: ROOT/clips.csv (or a CSV file given as the root) with the columns clip, label, rgb,
depth and, where known, split, skeleton, registered, subject, camera; paths are relative to the table. An
empty cell of these is as good as no column: a clip without a skeleton is not registered by joints, and
registered (true or false) says of one clip what labkit.json says of all.

Depth has 16 bits and 0 means no reading. ROOT/labkit.json may hold `Settings`. What names cannot tell, a sidecar
may: `boxes/<clip id>.json`, or `puppets/<clip id>.json` of the embedded set, with the keys of ABOUT, if known, and
"boxes" (see `modalities.read_boxes`).
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import LabError
from ..files import names_in, read_json, write_bytes, write_json
from .video import natural

ABOUT = ("object", "object_color", "handedness")  # keys of a sidecar that describe the clip
SIDECARS = ("puppets", "boxes")  # folders of the root; where both tell of a clip, the second counts
SETTINGS = "labkit.json"
DRAWN_FROM = {"skeleton": "skeleton", "layout": "boxes"}  # what a modality needs beside RGB and depth
CLIPS_TABLE = "clips.csv"
ENDINGS = {"color": "rgb", "rgb": "rgb", "depth": "depth"}  # what follows the last _ of a stem
WORDS = {"true": True, "false": False}  # of the column registered
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
REQUIRED, OPTIONAL = ("rgb", "depth"), ("skeleton",)  # modalities of a table
MAX_TABLE_BYTES = 256 << 20


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
    name: str,
    known: Mapping[str, str],
    optional: Mapping[str, Mapping[str, str]] | None = None,
    strangers: Iterable[str] = (),
    names: Mapping[str, ClipName] | None = None,
    facts: Mapping[str, dict] | None = None,
    registered: Mapping[str, bool] | None = None,
) -> Index:
    """An index of the clips in `found` (file by clip id, by modality), each of class `classes[keys[clip]]`.

    A clip that lacks a modality or has a reason in `known` or in labkit.json is excluded; what `optional` holds,
    in the form of `found`, it may lack. `registered` says of single clips what labkit.json says of all, and `name`
    how the data set is called, if that does not. Labels count the classes that have clips, in the order of `classes`.
    """
    settings, excluded, used = read_settings(root), {}, []
    for clip in sorted({*known, *settings.exclude}.intersection(keys).union(*found.values())):
        reasons = [f"no {modality}" for modality, files in found.items() if clip not in files]
        reasons += [why[clip] for why in (known, settings.exclude) if clip in why]
        if reasons:
            excluded[clip] = "; ".join(reasons)
        else:
            used.append(clip)
    present = {keys[clip] for clip in used}
    order = [key for key in classes if key in present]
    label_of, boxes = {key: label for label, key in enumerate(order)}, _sidecars(root)
    places, recording = {**found, **(optional or {}), "boxes": boxes}, settings.recording
    own = {clip: replace(recording, registered=value) for clip, value in (registered or {}).items()}
    entries = tuple(
        Entry(
            clip, names[clip] if names else None, label_of[keys[clip]],
            {modality: files[clip] for modality, files in places.items() if clip in files},
            facts[clip] if facts else {}, own.get(clip, recording),
        )
        for clip in used
    )  # fmt: skip
    class_names = tuple(classes[key] for key in order)
    return Index(root, entries, excluded, class_names, tuple(sorted(strangers)), settings.name or name, recording)


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


# -- folders of a class each ---------------------------------------------------------------------


def index_folders(root: str | os.PathLike) -> Index:
    """The clips of ROOT/<class>/ or ROOT/<split>/<class>/; reads names only, no clip.

    A clip's id is <class>/<stem>, behind the split where there is one. A stem that lacks RGB or depth
    is excluded; names without a known ending are strangers.
    """
    root = Path(root)
    found: dict[str, dict[str, str]] = {modality: {} for modality in REQUIRED}
    labels: dict[str, str] = {}
    facts: dict[str, dict[str, str]] = {}
    twice, strangers = {}, []
    for folder, split in class_folders(root):
        for name in sorted(names_in(folder), key=natural):
            path = os.path.join(folder, name)
            stem, _, ending = Path(name).stem.rpartition("_")
            modality = ENDINGS.get(ending)
            if not stem or modality is None:
                strangers.append(Path(path).relative_to(root).as_posix())
                continue
            clip = f"{Path(folder).relative_to(root).as_posix()}/{stem}"
            labels[clip] = folder.name
            facts[clip] = {"label": folder.name} | ({"split": split} if split else {})
            if found[modality].setdefault(clip, path) != path:
                twice[clip] = f"{modality} found twice"
    classes = {name: name for name in sorted(set(labels.values()), key=natural)}
    name = root.resolve().name
    return make_index(root, found, labels, classes, name=name, facts=facts, known=twice, strangers=strangers)


def class_folders(root: Path) -> Iterator[tuple[Path, str]]:
    """The folder of each class, and the split it stands in, "" where the root is not divided."""
    tops = _subfolders(root)
    divided = bool(tops) and all(path.name.lower() in SPLITS for path in tops)
    for top in tops:
        if not divided:
            yield top, ""
        else:
            yield from ((path, SPLITS[top.name.lower()]) for path in _subfolders(top))


def _subfolders(folder: Path) -> list[Path]:
    paths = [folder / name for name in sorted(names_in(folder), key=natural) if not name.startswith(".")]
    return [path for path in paths if path.is_dir()]


def looks_paired(root: Path) -> bool:
    """Whether some class folder holds both an RGB and a depth name of one stem."""
    for folder, _ in class_folders(root):
        seen: dict[str, str] = {}
        for name in names_in(folder):
            stem, _, ending = Path(name).stem.rpartition("_")
            modality = ENDINGS.get(ending)
            if stem and modality and seen.setdefault(stem, modality) != modality:
                return True
    return False


# -- a table of clips ----------------------------------------------------------------------------


def index_table(path: str | os.PathLike) -> Index:
    """The clips of a CSV file; a row that cannot be used is excluded with the reason.

    Raises LabError when the file is no table, lacks a column, or says neither true nor false where it must.
    """
    path = Path(path)
    root = path.parent
    found: dict[str, dict[str, str]] = {modality: {} for modality in (*REQUIRED, *OPTIONAL)}
    labels: dict[str, str] = {}
    facts: dict[str, dict[str, str]] = {}
    known, strangers, registered = {}, [], {}
    for number, row, surplus in _rows(path):
        clip, problems = row.pop("clip"), [f"{surplus} more cells than columns"] * bool(surplus)
        if not clip:
            strangers.append(f"{path.name} line {number}: no clip id")
            continue
        if clip in facts:
            known[clip] = f"listed twice in {path.name}"
            continue
        label, split = row.pop("label"), row.pop("split", "")
        if told := row.pop("registered", ""):
            registered[clip] = _truth(path, number, told)
        problems += ["no label"] * (not label)
        problems += [f"split {split!r}, not train, validation or test"] * (bool(split) and split.lower() not in SPLITS)
        for modality in found:
            value = row.pop(modality, "")
            if value and _there(root / value):
                found[modality][clip] = str(root / value)
            elif value:
                problems.append(f"no {modality}: {value} is not there")
        labels[clip] = label
        facts[clip] = {"label": label} | {key: value for key, value in row.items() if key and value}
        facts[clip] |= {"split": SPLITS[split.lower()]} if split.lower() in SPLITS else {}
        if problems:
            known[clip] = "; ".join(problems)
    optional = {modality: found.pop(modality) for modality in OPTIONAL}
    classes = {name: name for name in sorted({label for label in labels.values() if label}, key=natural)}
    return make_index(
        root, found, labels, classes, name=root.resolve().name, facts=facts, known=known, strangers=strangers,
        optional=optional, registered=registered,
    )  # fmt: skip


def _truth(path: Path, number: int, value: str) -> bool:
    """A cell of the column registered. A guess could shift one image against the other unseen: none is made."""
    if value.lower() in WORDS:
        return WORDS[value.lower()]
    fix = f"write {' or '.join(WORDS)}, or leave the cell empty for what {SETTINGS} says"
    raise LabError.mismatch(path, f"{' or '.join(WORDS)} as registered in line {number}", repr(value)[:80], fix)


def _there(path: Path) -> bool:
    """A path with a * counts when its folder is there; which frames there are is read later."""
    return path.exists() or ("*" in path.name and path.parent.is_dir())


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str], int]]:
    """(line, cells by column, cells beyond the columns), without blank lines.

    Columns are in lower case, cells without outer blanks.
    """
    needed = ("clip", "label", *REQUIRED)
    fix = f"write a CSV in UTF-8 whose first line names {', '.join(needed)} and, where known, split and subject"
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise LabError.mismatch(path, f"a table of at most {MAX_TABLE_BYTES} bytes", path.stat().st_size, fix)
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        _check_columns(path, columns, needed, fix)
        empty = True
        for row in reader:
            surplus = sum(bool(cell.strip()) for cell in row.pop(None, ()))
            cells = {key: (value or "").strip() for key, value in row.items()}
            if any(cells.values()) or surplus:
                empty = False
                yield reader.line_num, cells, surplus
        if empty:
            fix = "list the clips below the names of the columns"
            raise LabError.mismatch(path, "a row for each clip", "none", fix)
    except (OSError, ValueError, csv.Error) as error:
        raise LabError.mismatch(path, "a table of clips", error, fix) from error


def _check_columns(path: Path, columns: list[str], needed: tuple[str, ...], fix: str) -> None:
    missing = [name for name in needed if name not in columns]
    if missing:
        raise LabError.mismatch(path, f"a column {missing[0]}", ", ".join(columns)[:80] or "none", fix)
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        found = f"{columns.count(twice[0])} columns {twice[0]!r}"
        raise LabError.mismatch(path, "one column of each name", found, "remove or rename all but one of them")
