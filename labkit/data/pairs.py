"""Any pair of RGB and depth: folders of a class each, or a table of clips.

Folders: ROOT/<class>/<stem>_color.* and <stem>_depth.*, where a clip is two images, two folders of
images or two videos (`video.Frames`); ROOT/train, ROOT/validation and ROOT/test may stand before the
classes. A table: ROOT/clips.csv (or a CSV file given as the root) with the columns clip, label, rgb,
depth and, where known, split, skeleton, registered, subject, camera; paths are relative to the table. An
empty cell of these is as good as no column: a clip without a skeleton is not registered by joints, and
registered (true or false) says of one clip what labkit.json says of all.

Depth has 16 bits and 0 means no reading. ROOT/labkit.json may say more (`index.Settings`): millimetres per
count, whether the two images are registered, clips to leave out, the name of the data set.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import LabError
from ..files import names_in, sha256_json
from .index import SETTINGS, Index, Settings, make_index, read_settings
from .splits import HasFacts, Split, hold_out, make_split
from .video import natural

TABLE = "clips.csv"
ENDINGS = {"color": "rgb", "rgb": "rgb", "depth": "depth"}  # what follows the last _ of a stem
WORDS = {"true": True, "false": False}  # of the column registered
SPLITS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
REQUIRED, OPTIONAL = ("rgb", "depth"), ("skeleton",)  # modalities of a table
TEST_SHARE = 0.3  # of a "random" split, where nobody gave one
MAX_TABLE_BYTES = 256 << 20


# --------------------------------------------------------------------------- folders


def index_folders(root: str | os.PathLike) -> Index:
    """The clips of ROOT/<class>/ or ROOT/<split>/<class>/; reads names only, no clip.

    A clip's id is <class>/<stem>, behind the split where there is one. A stem that lacks RGB or depth
    is excluded; names without a known ending are strangers.
    """
    root, settings = Path(root), read_settings(root)
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
    return make_index(
        root, found, labels, classes, facts=facts, known=twice | settings.exclude, strangers=strangers,
        **_as_index(root, settings),
    )  # fmt: skip


def _as_index(root: Path, settings: Settings) -> dict[str, Any]:
    return {"data_name": settings.name or root.resolve().name, "recording": settings.recording}


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


# --------------------------------------------------------------------------- a table


def index_table(path: str | os.PathLike) -> Index:
    """The clips of a CSV file; a row that cannot be used is excluded with the reason.

    Raises LabError when the file is no table, lacks a column, or says neither true nor false where it must.
    """
    path = Path(path)
    root, settings = path.parent, read_settings(path.parent)
    found: dict[str, dict[str, str]] = {modality: {} for modality in (*REQUIRED, *OPTIONAL)}
    labels: dict[str, str] = {}
    facts: dict[str, dict[str, str]] = {}
    known, strangers, recordings = {}, [], {}
    for number, row, surplus in _rows(path):
        clip, problems = row.pop("clip"), [f"{surplus} more cells than columns"] * bool(surplus)
        if not clip:
            strangers.append(f"{path.name} line {number}: no clip id")
            continue
        if clip in facts:
            known[clip] = f"listed twice in {path.name}"
            continue
        label, split, registered = row.pop("label"), row.pop("split", ""), row.pop("registered", "")
        if registered:
            recordings[clip] = replace(settings.recording, registered=_truth(path, number, registered))
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
        root, found, labels, classes, facts=facts, known=known | settings.exclude, strangers=strangers,
        optional=optional, recordings=recordings, **_as_index(root, settings),
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


# --------------------------------------------------------------------------- protocols


def given_split(clips: HasFacts) -> Split:
    """The split that folders or table give. Without validation clips, some training clips are held out.

    Clips that no part claims are in none. Raises LabError when there is nothing to train or test on.
    """
    about = dict(zip(clips.ids, clips.about(clips.ids), strict=True))
    parts = {part: [clip for clip, facts in about.items() if facts.get("split") == part] for part in SPLITS.values()}
    validation = parts["validation"] or hold_out({clip: _label(about[clip]) for clip in parts["train"]})
    return make_split("given", [*parts["train"], *parts["validation"]], validation, parts["test"])


def random_split(clips: HasFacts) -> Split:
    """30 % of the clips of each class test, drawn by a hash of their ids; all others train.

    Where subjects are known, 30 % of the subjects test instead, so that nobody is in both parts. Clips
    of one scene may well be: a split that somebody thought about is worth more than this one.
    """
    about = dict(zip(clips.ids, clips.about(clips.ids), strict=True))
    by_subject = all(facts.get("subject") for facts in about.values())
    groups: dict[str, dict[str, list[str]]] = {}
    for clip, facts in about.items():
        stratum, unit = ("", str(facts["subject"])) if by_subject else (_label(facts), clip)
        groups.setdefault(stratum, {}).setdefault(unit, []).append(clip)
    test = [clip for units in groups.values() for unit in _drawn(units) for clip in units[unit]]
    train = sorted(set(about) - set(test))
    return make_split("random", train, hold_out({clip: _label(about[clip]) for clip in train}), test)


def _drawn(units: Mapping[str, object]) -> list[str]:
    order = sorted(units, key=lambda unit: sha256_json(["test", unit]))
    return order[: max(1, round(TEST_SHARE * len(order)))] if len(order) > 1 else []


def _label(facts: Mapping[str, object]) -> str:
    return str(facts["label"])


PROTOCOLS = {"given": given_split, "random": random_split}
