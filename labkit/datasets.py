"""Preparing the clips of a data root: skeleton, alignment, crop, a few frames, into a `ClipStore`.

Preparing is done once, and again only for what changed: a clip is known by the hash of its source
files, and modification times merely spare the hashing. It can be killed at any time; finished shards
are found again. A clip that cannot be read is excluded with its reason, never replaced by another.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from filelock import FileLock

from .alignment import align_pair, fit_alignment
from .clips import sample_frames
from .config import ClipConfig
from .errors import LabError
from .files import sha256_file, sha256_json
from .machine import available_cores
from .media import count_frames, depth_files, read_depth_frames, read_video
from .parallel import ordered_map
from .progress import Progress
from .protocols import NTU60, Entry, Index, Split, cross_subject, cross_view, first_third
from .skeletons import read_skeleton
from .store import (
    INDEX,
    ClipStore,
    Row,
    Shard,
    content_hash,
    find_shards,
    remove_leftovers,
    shard_name,
    write_sealed,
    write_shard,
)

__all__ = [
    "NTU60", "ClipStore", "Entry", "Index", "Split", "cross_subject", "cross_view", "first_third", "prepare",
]  # fmt: skip

PIXELS_VERSION = 1  # raise it when a change to this code alters what is stored for the same files
MAX_SHARD_CLIPS = 256
MAX_SHARD_BYTES = 128 << 20  # written at once; a kill loses no more than this
VERIFY_BYTES = 1 << 30  # a larger store is verified shard by shard when read, not as a whole before


@dataclass(frozen=True)
class _Task:
    """One clip to look at; `known` are records of the same recipe, which may still hold."""

    entry: Entry
    config: ClipConfig
    recipe: str
    known: tuple[dict, ...]


@dataclass(frozen=True)
class _Outcome:
    """A record, with pixels where they had to be made; or the reason why there is none."""

    record: dict | None = None
    pixels: tuple[np.ndarray, np.ndarray] | None = None
    reason: str = ""


def prepare(source: Index | str | os.PathLike, store_dir: str | os.PathLike, clips: ClipConfig | None = None,
            *, workers: int | None = None, progress: bool = True) -> ClipStore:  # fmt: skip
    """The store of all usable clips of an index (or of an NTU data root), made or brought up to date.

    Per clip: `clips.stored_frames` evenly spaced frames over the shorter of RGB and depth, cropped to
    what both cameras see (`clips.alignment`) and resized to `clips.size`. `workers` processes share
    the work (one per core by default). Of two calls at once on one store, one waits. Clips that could
    not be read are in the store's `excluded`; `built` counts those whose pixels this call made.
    Raises LabError when no clip is left, or when a worker process dies.
    """
    index = source if isinstance(source, Index) else NTU60.index(source)
    folder = Path(store_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        built = _update(index, folder, clips or ClipConfig(), workers or available_cores(), progress)
        store = ClipStore(folder)
    store.built = built
    return store


def _update(index: Index, folder: Path, config: ClipConfig, workers: int, progress: bool) -> int:
    """Bring the shards and the index of a store up to date; returns how many clips were made."""
    size = sum(path.stat().st_size for path in folder.glob("*.npy"))
    shards = find_shards(folder, verify=size <= VERIFY_BYTES)
    pixels = {(r["id"], r["sha256"]): (old, n) for old in shards.values() for n, r in enumerate(old.records)}
    outcomes = _outcomes(_tasks(index, config, shards), workers, progress)
    names, labels, excluded, built = [], [], dict(index.excluded), 0
    while chunk := list(islice(outcomes, _clips_per_shard(config))):
        excluded |= {entry.id: outcome.reason for entry, outcome in chunk if outcome.record is None}
        used = [(entry, outcome) for entry, outcome in chunk if outcome.record is not None]
        labels += [entry.label for entry, _ in used]
        built += sum(outcome.pixels is not None for _, outcome in used)
        if used:
            names.append(_keep(folder, [_row(outcome, pixels) for _, outcome in used], shards))
    if not names:
        found = "; ".join(f"{clip}: {reason}" for clip, reason in list(excluded.items())[:3]) or "none"
        raise LabError.mismatch(index.root, "at least one usable clip", found, "mend the files named here")
    write_sealed(folder / INDEX, {
        "shards": names, "labels": labels, "class_names": list(index.class_names), "excluded": excluded,
        "config": {"size": config.size, "alignment": config.alignment, "stored_frames": config.stored_frames},
    })  # fmt: skip
    remove_leftovers(folder, names)
    return built


def _clips_per_shard(config: ClipConfig) -> int:
    clip_bytes = config.stored_frames * config.size**2 * 5  # 3 of RGB and 2 of depth per pixel
    return min(MAX_SHARD_CLIPS, max(1, MAX_SHARD_BYTES // clip_bytes))


def _tasks(index: Index, config: ClipConfig, shards: dict[str, Shard]) -> list[_Task]:
    recipe = sha256_json([PIXELS_VERSION, config.size, config.alignment, config.stored_frames])
    known: dict[str, list[dict]] = {}
    for shard in shards.values():
        for record in shard.records:
            if record["recipe"] == recipe:
                known.setdefault(record["id"], []).append(record)
    return [_Task(entry, config, recipe, tuple(known.get(entry.id, ()))) for entry in index.entries]


def _row(outcome: _Outcome, pixels: dict[tuple[str, str], tuple[Shard, int]]) -> Row:
    if outcome.pixels is not None:
        return Row(outcome.record, *outcome.pixels)
    shard, number = pixels[outcome.record["id"], outcome.record["sha256"]]
    return Row(outcome.record, shard.rgb[number], shard.depth[number])


def _keep(folder: Path, rows: list[Row], shards: dict[str, Shard]) -> str:
    """The name of a shard of these rows: an old one, its records renewed where they differ, or a new one."""
    records = [row.record for row in rows]
    old = shards.get(shard_name(records))
    if old is None:
        return write_shard(folder, rows)
    if old.records != records:
        write_sealed(folder / f"{old.name}.json", {**old.manifest, "clips": records})
    return old.name


def _outcomes(tasks: list[_Task], workers: int, progress: bool) -> Iterator[tuple[Entry, _Outcome]]:
    """What became of each clip, in the order of the tasks; only those that changed are read."""
    current = {task.entry.id: record for task in tasks if (record := _untouched(task))}
    waiting = [task for task in tasks if task.entry.id not in current]
    title = f"prepare {len(waiting)} of {len(tasks)} clips"
    bar = Progress(title, len(waiting), "clips", show=progress and bool(waiting))
    with bar, closing(ordered_map(_look, waiting, workers)) as results:
        for task in tasks:
            if task.entry.id in current:
                yield task.entry, _Outcome(current[task.entry.id])
            else:
                yield task.entry, next(results)
                bar.advance()


def _stamp(entry: Entry) -> str:
    """Names, sizes and modification times of a clip's files, as one hash."""
    seen = []
    for modality, path in sorted(entry.paths.items()):
        files = sorted(os.scandir(path), key=lambda item: item.name) if path.is_dir() else [path]
        stats = [(file.name, file.stat()) for file in files]
        seen.append([modality, [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]])
    return sha256_json(seen)


def _untouched(task: _Task) -> dict | None:
    """The record that still holds as far as sizes and times tell."""
    try:
        stamp = _stamp(task.entry) if task.known else None
    except OSError:
        return None
    return next((record for record in task.known if record["stamp"] == stamp), None)


def _source_hashes(entry: Entry) -> dict[str, str]:
    """SHA-256 of each modality; of a folder, over the names and hashes of its images."""
    return {
        modality: sha256_json([[file.name, sha256_file(file)] for file in depth_files(path)])
        if path.is_dir()
        else sha256_file(path)
        for modality, path in entry.paths.items()
    }


def _look(task: _Task) -> _Outcome:
    """Hash a clip's files, and make its pixels unless a known record has the same hashes."""
    entry = task.entry
    try:
        now = {"stamp": _stamp(entry), "sources": _source_hashes(entry)}
        for record in task.known:
            if record["sources"] == now["sources"]:
                return _Outcome({**record, **now})
        rgb, depth, found = read_aligned(entry, task.config)
    except LabError as error:
        where = f"{Path(error.path).name}: " if error.path else ""
        return _Outcome(reason=f"{where}{error.reason}")
    except OSError as error:
        return _Outcome(reason=f"{Path(error.filename or '').name}: {error.strerror or error}")
    record = {"id": entry.id, "recipe": task.recipe, "sha256": content_hash(rgb, depth), **now, **found}
    return _Outcome(record, (rgb, depth))


def read_aligned(entry: Entry, config: ClipConfig) -> tuple[np.ndarray, np.ndarray, dict]:
    """One clip from its files: RGB uint8 (T,S,S,3), depth uint16 (T,S,S) in mm, and what was found.

    Frames are evenly spaced over the shorter of RGB and depth, since recordings differ by a frame or
    more. Raises LabError when a file is missing or damaged.
    """
    skeleton = read_skeleton(entry.paths["skeleton"], allow_nan=True)
    counts = {
        "rgb": count_frames(entry.paths["rgb"]),
        "depth": len(depth_files(entry.paths["depth"])),
        "skeleton": skeleton.num_frames,
    }
    frames = sample_frames(min(counts["rgb"], counts["depth"]), config.stored_frames)
    color = read_video(entry.paths["rgb"], frames)
    depth = read_depth_frames(entry.paths["depth"], frames)
    sizes = {"depth_size": depth.shape[2:0:-1], "color_size": color.shape[2:0:-1]}  # (width, height)
    alignment = fit_alignment(skeleton, config.alignment, **sizes)
    pairs = [align_pair(rgb, mm, alignment, config.size) for rgb, mm in zip(color, depth, strict=True)]
    notes = {
        "frame counts differ": len(set(counts.values())) > 1,
        "some frames are repeated": len(set(frames.tolist())) < len(frames),
        f"{skeleton.nan_joints} joints are not numbers": skeleton.nan_joints > 0,
        "too few tracked joints, the camera's usual alignment is used": alignment.fallback,
    }
    found = {
        "frames": frames.tolist(),
        "counts": counts,
        "alignment": {
            "method": alignment.method,
            "ratio": alignment.ratio,
            "scale": list(alignment.scale),
            "offset": list(alignment.offset),
            "residual_px": None if math.isnan(alignment.residual_px) else alignment.residual_px,
            "fallback": alignment.fallback,
        },
        "notes": [note for note, applies in notes.items() if applies],
    }
    rgb, depth = (np.stack(images) for images in zip(*pairs, strict=True))
    return rgb, depth, found
