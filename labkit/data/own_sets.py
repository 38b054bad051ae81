"""Sets of one's own: any pairs of RGB and depth, in folders of a class each or listed in a table.

Folders: ROOT/<class>/<stem>_color.* and <stem>_depth.*, where a clip is two images, two folders of
images or two videos (`video.Frames`); ROOT/train, ROOT/validation and ROOT/test may stand before the
classes. A table: ROOT/clips.csv (or a CSV file given as the root) with the columns clip, label, rgb,
depth and, where known, split, skeleton, registered, subject, camera; paths are relative to the table. An
empty cell of these is as good as no column: a clip without a skeleton is not registered by joints, and
registered (true or false) says of one clip what labkit.json says of all.

Depth has 16 bits and 0 means no reading.
"""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from ..errors import LabError
from .index import REQUIRED, SETTINGS, SIDECARS, UNLABELLED_PART, Index, Scan, composed, listed, make_index, relative
from .media.video import MATLAB, OTHER_VIDEOS, PICTURES, VIDEOS

CLIPS_TABLE = "clips.csv"
ENDINGS = {"color": "rgb", "rgb": "rgb", "depth": "depth"}  # what follows the last _ of a stem
KINDS = (*VIDEOS, *OTHER_VIDEOS, *PICTURES, MATLAB)  # endings of files that may be RGB or depth
WORDS = {"true": True, "false": False}  # of the column registered
SPLITS = {
    "train": "train", "training": "train", "validation": "validation", "val": "validation", "valid": "validation",
    "dev": "validation", "test": "test", "testing": "test",
}  # fmt: skip


def index_folders(root: str | os.PathLike) -> Index:
    """The clips of ROOT/<class>/ or ROOT/<split>/<class>/; reads names only, no clip.

    A clip's id is <class>/<stem>, behind the split where there is one. A stem that lacks RGB or depth
    is excluded; names without a known ending are strangers.
    """
    scan = Scan(Path(root))
    folders, others = class_folders(scan.root)
    scan.strangers += others
    for folder, split in folders:
        for name, stem, modality in _pair_files(folder):
            if modality is None:
                scan.strange(folder / name)
                continue
            clip = f"{composed(relative(folder, scan.root))}/{stem}"
            scan.add(clip, modality, str(folder / name))
            scan.entry(clip).facts = {"label": composed(folder.name)} | ({"split": split} if split else {})
    return _made(scan)


def _made(scan: Scan) -> Index:
    """The index of a scan; LabError where two classes differ in nothing but capital letters."""
    known: dict[str, str] = {}
    for entry in scan.entries.values():
        label = str(entry.facts.get("label", ""))
        if (other := known.setdefault(label.casefold(), label)) != label:
            expected, found = "classes that differ in more than capital letters", f"{other!r} and {label!r}"
            raise LabError.mismatch(scan.root, expected, found, "write them alike, or give one another name")
    return make_index(scan, scan.root.resolve().name)


def class_folders(root: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """The folder of each class with the split it stands in, "" where the root is not divided; and other folders.

    A root is divided where a folder named as a split holds no pair itself, but folders in it do.
    """
    tops = [root / name for name in listed(root) if (root / name).is_dir()]
    tops = [top for top in tops if top.name not in SIDECARS or _holds_pair(top)]
    parts = [top for top in tops if top.name.lower() in SPLITS]
    inside = [(part / name, SPLITS[part.name.lower()]) for part in parts for name in listed(part)]
    inside = [pair for pair in inside if pair[0].is_dir()]
    if any(map(_holds_pair, parts)) or not any(_holds_pair(folder) for folder, _ in inside):
        return [(top, "") for top in tops], []
    return inside, [top.name for top in tops if top not in parts]


def _pair_files(folder: Path) -> Iterator[tuple[str, str, str | None]]:
    """Name, stem and modality of all that lies in a class folder; None for what is no RGB and no depth."""
    for name in listed(folder):
        path = folder / name
        folded = path.is_dir()
        stem, _, ending = (name if folded else path.stem).rpartition("_")
        readable = folded or path.suffix.lower() in KINDS
        yield name, composed(stem), ENDINGS.get(ending.lower()) if stem and readable else None


def _holds_pair(folder: Path) -> bool:
    seen: dict[str, str] = {}
    files = ((stem, modality) for _, stem, modality in _pair_files(folder) if modality)
    return any(seen.setdefault(stem, modality) != modality for stem, modality in files)


def looks_paired(root: Path) -> bool:
    """Whether some class folder holds both an RGB and a depth name of one stem."""
    return any(_holds_pair(folder) for folder, _ in class_folders(root)[0])


# -- a table of clips ----------------------------------------------------------------------------


def lies_table_at(root: Path) -> bool:
    """Whether the root is a CSV file, or has one that is named as such tables are."""
    return (root.suffix.lower() == ".csv" and root.is_file()) or (root / CLIPS_TABLE).is_file()


def index_table(root: str | os.PathLike) -> Index:
    """The clips of a CSV file, or of ROOT/clips.csv; a row that cannot be used is excluded with the reason.

    A row without a label, and without a split or in "train", is a pair of which only a teacher can speak.
    Raises LabError when the file is no table, lacks a column, or says neither true nor false where it must.
    """
    path = Path(root, CLIPS_TABLE) if os.path.isdir(root) else Path(root)
    scan, parts, bare = Scan(path.parent), set(), []
    for number, row, surplus in _rows(path):
        clip, label = composed(row.pop("clip")), composed(row.pop("label"))
        split, registered = row.pop("split", ""), row.pop("registered", "")
        if not clip:
            scan.strangers.append(f"{path.name} line {number}: no clip id")
            continue
        if clip in scan.entries:
            scan.leave_out(clip, "found twice", f"listed twice in {path.name}")
            continue
        entry = scan.entry(clip)
        part = SPLITS.get(split.lower(), "")
        if not label and (part == "train" or not split):
            part = UNLABELLED_PART
        parts.add(part)
        if label and not split:
            bare.append(clip)
        if surplus:
            scan.leave_out(clip, "wrong row", f"{surplus} more cells than columns")
        if not label and part != UNLABELLED_PART:
            scan.leave_out(clip, "wrong row", "no label, and not in train")
        if split and split.lower() not in SPLITS:
            scan.leave_out(clip, "no such split", f"split {split!r}, not train, validation or test")
        for modality in (*REQUIRED, "skeleton"):
            value = row.pop(modality, "")
            if value and (there := _there(scan.root, value)):
                entry.files[modality] = str(there)
            elif value:
                scan.leave_out(clip, "missing", f"no {modality}: {value} is not there", modality, value)
        facts = {"label": label, **row, "split": part}
        entry.facts = {key: value for key, value in facts.items() if key and value}
        if registered:
            entry.recording = replace(entry.recording, registered=_truth(path, number, registered))
    for clip in bare if parts & set(SPLITS.values()) else ():
        scan.leave_out(clip, "no such split", "no split, where other rows have one")
    return _made(scan)


def _truth(path: Path, number: int, value: str) -> bool:
    """A cell of the column registered. A guess could shift one image against the other unseen: none is made."""
    if value.lower() in WORDS:
        return WORDS[value.lower()]
    fix = f"write {' or '.join(WORDS)}, or leave the cell empty for what {SETTINGS} says"
    raise LabError.mismatch(path, f"{' or '.join(WORDS)} as registered in line {number}", repr(value)[:80], fix)


def _there(root: Path, value: str) -> Path | None:
    """The path of a cell, written with either slash and in any form of Unicode; None where there is no such file.

    One with a * counts when its folder is there; which frames there are is read later.
    """
    for form in (value, *(unicodedata.normalize(form, value.replace("\\", "/")) for form in ("NFC", "NFD"))):
        path = root / form
        if path.exists() or ("*" in path.name and path.parent.is_dir()):
            return path
    return None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str], int]]:
    """(line, cells by column, how many cells lie beyond the columns), without blank lines.

    Columns are in lower case, cells without outer blanks.
    """
    needed = ("clip", "label", *REQUIRED)
    names = f"{', '.join(needed)} and, where known, split and subject"
    fix = f"write a CSV in UTF-8, with commas, whose first line names {names}"
    try:
        reader = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise LabError.mismatch(path, "a table of clips", error, fix) from error
    columns = [name.lower() for name in rows[0][1]] if rows else []
    for name in needed:
        if name not in columns:
            raise LabError.mismatch(path, f"a column {name}", ", ".join(columns)[:80] or "none", fix)
    for name in filter(None, columns):
        if (count := columns.count(name)) > 1:
            fix = "remove or rename all but one of them"
            raise LabError.mismatch(path, "one column of each name", f"{count} columns {name!r}", fix)
    absent = {"split", "subject", "camera", "registered", "skeleton"}.difference(columns)
    for name in columns:  # `subjct` unread would put one person into training and test
        for meant in get_close_matches(name, absent, 1, 0.8):
            raise LabError.mismatch(path, f"the column {meant}", repr(name), "correct its name, or call it otherwise")
    filled = [(line, cells) for line, cells in rows[1:] if any(cells)]
    if not filled:
        raise LabError.mismatch(path, "a row for each clip", "none", "list the clips below the names of the columns")
    for line, cells in filled:
        surplus = sum(map(bool, cells[len(columns) :]))
        yield line, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False)), surplus
