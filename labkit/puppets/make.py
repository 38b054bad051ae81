"""The embedded RGB-D action set: puppets before two simulated Kinect v2 cameras, in NTU's own files.

    ROOT/nturgb+d_rgb/<name>_rgb.avi                           MPEG-4, a key frame every 12 frames
    ROOT/nturgb+d_depth_masked/<name>/MDepth-00000001.png ...  uint16 millimetres, background 0
    ROOT/nturgb+d_skeletons/<name>.skeleton
    ROOT/puppets/<name>.json                                   what a file name cannot say; written last
    ROOT/puppets.csv, ROOT/puppets.json                        the records as a table; the manifest
    ROOT/croissant.json                                        the set described for machines; licence

Every random draw is a function of the seed and of what it is for, so the set does not depend on the
number of workers or on interruptions.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from ..config import PuppetsConfig
from ..errors import LabError
from ..files import locked, read_json, sha256_bytes, sha256_file, sha256_json, write_json, write_text
from ..tools.machine import available_cores
from ..tools.parallel import ordered_map
from ..tools.progress import Progress
from .actions import ACTIONS
from .clips import PUPPETS_VERSION, clip_files, clip_name, make_performance, recipe
from .croissant import croissant
from .sensors import AZIMUTHS

NUM_SUBJECTS = 106  # as many as the numbers of NTU RGB+D 120 have room for; 40 of them stand for NTU RGB+D's people
# `index_sha256` of the set of profile `mini` when it was frozen. Another build of the codecs or of the maths library
# may give other bytes of the same scenes; such a set is as good, but not the same to the bit.
FROZEN_INDEX = "74e52216fc766db7d0858b54606d5030378e09bfb6cd0c8e20c3e48de4a3da5d"
_COLUMNS = (
    "name", "action", "action_name", "cue", "subject", "camera", "object", "object_color", "handedness",
    "frames",
)  # fmt: skip
_IN_A_RECORD = ("recipe", "bytes", "sha256", "geometry", "boxes")
_FIX = "name another folder, or delete this one and run the same command again"


def make_puppets(
    root: str | PathLike, config: PuppetsConfig, *, workers: int | None = None, progress: bool = True
) -> Path:
    """Make the set under `root`, or what is missing of it, and return `root`.

    1,440 clips by default: 12 actions x 40 subjects x 3 cameras; `mini` has 720 more, of 20 people without labels.
    A clip counts as made once its record in `puppets/` stands, which is written last. Raises LabError when `root`
    holds a set of another config or version, cannot be written, or the disk is full; then run it again to continue.
    """
    root = Path(root)
    _check(config)
    if _claim(root, config) and not _jobs(root, config)[0]:
        return root
    with locked(root / ".lock"):  # another that wants the same set waits for it
        _sweep(root)
        jobs, names = _jobs(root, config)
        done = len(names) - sum(len(job[-1]) for job in jobs)
        with Progress("puppets", len(names), "clips", done=done, show=progress) as bar:
            for count in ordered_map(make_performance, jobs, workers or available_cores()):
                bar.advance(count)
        _finish(root, config, names)
    return root


def _jobs(root: Path, config: PuppetsConfig) -> tuple[list[tuple], list[str]]:
    """What is left to do, one job a performance, and the names of all clips."""
    made_by, jobs, names = recipe(config), [], []
    for subject in (*config.subjects, *config.unlabelled):
        for action in ACTIONS:
            clips = {camera: clip_name(subject, camera, action.number) for camera in config.cameras}
            missing = tuple(camera for camera, name in clips.items() if not _is_made(root, name, made_by))
            names += clips.values()
            if missing:
                jobs.append((root, config, action.number, subject, missing))
    return jobs, sorted(names)


def _sweep(root: Path) -> None:
    """Remove what a killed process left half-written; whole files never carry such names."""
    for path in root.glob("*/.*.tmp"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _check(config: PuppetsConfig) -> None:
    """LabError for a config that names people or cameras there are not, or a scale too coarse to see."""
    for what, found, known in (
        ("subjects", (*config.subjects, *config.unlabelled), range(1, NUM_SUBJECTS + 1)),
        ("cameras", config.cameras, AZIMUTHS),
        ("scale", (config.scale,), range(1, 17)),
    ):
        if not found or not set(found) <= set(known) or len(set(found)) < len(found):
            expected = f"{what} among {list(known)}, each once"
            raise LabError.mismatch(None, expected, found, f"set PuppetsConfig.{what}")


def _claim(root: Path, config: PuppetsConfig) -> bool:
    """Whether this set was finished there; if it was not begun, its manifest is written.

    LabError when `root` holds something else.
    """
    path = root / "puppets.json"
    wanted = {"version": PUPPETS_VERSION, "config": asdict(config)}
    if not path.exists():
        if there := sorted(item.name for item in root.glob("[!.]*")):
            expected = "a new or an empty folder, or an embedded set"
            fix = "name another folder, such as a new one inside this"
            raise LabError.mismatch(root, expected, ", ".join(there[:5]), fix)
        write_json(path, wanted | {"complete": False})
        return False
    found = read_json(path)
    for key, value in wanted.items():
        if sha256_json(found.get(key)) != sha256_json(value):
            raise LabError.mismatch(path, f"a set of {key} {value}", found.get(key), _FIX)
    return found.get("complete") is True and (root / "puppets.csv").exists()


def _is_made(root: Path, name: str, made_by: str) -> bool:
    """The record stands and every part has the size it says."""
    files = clip_files(root, name)
    try:
        record = _record(files["record"])
        images = [image.stat().st_size for image in os.scandir(files["depth"])]
        sizes = {part: files[part].stat().st_size for part in ("rgb", "skeleton")} | {"depth": sum(images)}
    except (LabError, OSError):
        return False
    return record["recipe"] == made_by and record["bytes"] == sizes and record["frames"] == len(images)


def _finish(root: Path, config: PuppetsConfig, names: list[str]) -> None:
    """The table and the manifest, whose `index_sha256` covers the bytes of every clip."""
    import pandas as pd  # here, for every worker process imports this module

    records = [read_record(root, name) for name in names]
    table, row = pd.DataFrame(records, columns=_COLUMNS), {column: records[0][column] for column in _COLUMNS}
    write_text(root / "puppets.csv", table.to_csv(index=False, lineterminator="\n"))
    write_json(root / "croissant.json", croissant(row, len(table), sha256_file(root / "puppets.csv")))
    index = {record["name"]: record["sha256"] for record in records}
    manifest = {"version": PUPPETS_VERSION, "config": asdict(config), "complete": True, "clips": len(names)}
    write_json(root / "puppets.json", manifest | {"index_sha256": sha256_json(index)})


def read_record(root: str | PathLike, name: str) -> dict[str, Any]:
    """All that is known of a clip beyond its files.

    `boxes["depth"|"color"]["person"|"left_hand"|"right_hand"|"object"]` holds for each frame
    [left, top, right, bottom) in pixels, or None when hidden; `geometry` both cameras as arguments of
    `rendering.Camera`. Raises LabError when the record is missing or damaged.
    """
    return _record(clip_files(Path(root), name)["record"])


def _record(path: Path) -> dict[str, Any]:
    record = read_json(path)
    missing = sorted({*_COLUMNS, *_IN_A_RECORD} - {*record}) if isinstance(record, dict) else ["all"]
    if missing:
        fix = f"delete {path} and run the command that made the set again"
        raise LabError.mismatch(path, "a whole record of a clip", f"one without {', '.join(missing)}", fix)
    return record


def check_puppets(root: str | PathLike) -> str:
    """Read every byte of the set again; its index hash, or LabError naming the first file that differs."""
    root = Path(root)
    manifest = read_json(root / "puppets.json")
    index = {}
    for path in sorted((root / "puppets").glob("S*.json")):
        files, record = clip_files(root, path.stem), _record(path)
        index[path.stem] = record["sha256"]
        for part, expected in record["sha256"].items():
            if _hash(files[part]) != expected:
                fix = f"delete {path} and run the command that made the set again"
                raise LabError.mismatch(files[part], f"content of hash {expected[:12]}", "another", fix)
    expected, found = manifest.get("index_sha256"), sha256_json(index)
    if found != expected:
        raise LabError.mismatch(root / "puppets.json", f"index hash {expected}", found, _FIX)
    return found


def _hash(path: Path) -> str | None:
    try:
        if path.is_dir():
            return sha256_bytes(b"".join(image.read_bytes() for image in sorted(path.iterdir())))
        return sha256_file(path)
    except OSError:
        return None
