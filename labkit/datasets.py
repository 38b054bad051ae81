"""Preparing the clips of a data root: skeleton, alignment, crop, a few frames, into a `ClipStore`.

Preparing is done once, and again only for what changed: a clip is known by the hash of its source
files, and modification times merely spare the hashing. It can be killed at any time; finished shards
are found again. A clip that cannot be read is excluded with its reason, never replaced by another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from filelock import FileLock

from .catalog import find_dataset
from .config import ClipConfig
from .errors import LabError
from .files import sha256_file, sha256_json
from .frames import Frames
from .machine import available_cores
from .maps import read_boxes
from .parallel import ordered_map
from .progress import Progress
from .protocols import NTU60, Entry, Index, Split, compositional, cross_subject, cross_view, first_third
from .reading import read_aligned
from .roots import Recording
from .store import (
    ARRAYS,
    INDEX,
    ClipStore,
    Row,
    Shard,
    content_hashes,
    find_shards,
    remove_leftovers,
    shard_name,
    write_sealed,
    write_shard,
)

__all__ = [
    "NTU60", "ClipStore", "Entry", "Index", "Split", "compositional", "cross_subject", "cross_view",
    "first_third", "prepare", "read_aligned",
]  # fmt: skip

PIXELS_VERSION = 3  # raise it when a change to this code alters what is stored for the same files
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
    pixels: dict[str, np.ndarray] | None = None
    reason: str = ""


def prepare(source: Index | str | os.PathLike, store_dir: str | os.PathLike, clips: ClipConfig | None = None,
            *, workers: int | None = None, progress: bool = True) -> ClipStore:  # fmt: skip
    """The store of all usable clips of an index (or of a data root that `catalog` knows), made or brought up to date.

    Per clip: `clips.stored_frames` evenly spaced frames over the shorter of RGB and depth, cropped to
    what both cameras see (`clips.alignment`) and resized to `clips.size`, in each of
    `clips.modalities`. `workers` processes share the work (one per core by default). Of two calls at
    once on one store, one waits. Clips that could not be read are in the store's `excluded`; `built`
    counts those whose pixels this call made.
    Raises LabError for an unknown modality, when no clip is left, or when a worker process dies.
    """
    clips = clips or ClipConfig()
    _check_modalities(clips.modalities)
    index = source if isinstance(source, Index) else find_dataset(source).index(source)
    folder = Path(store_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        built = _update(index, folder, clips, workers or available_cores(), progress)
        store = ClipStore(folder)
    store.built = built
    return store


def _check_modalities(modalities: tuple[str, ...]) -> None:
    if not modalities or not set(modalities) <= set(ARRAYS) or len(set(modalities)) < len(modalities):
        expected = f"some of {', '.join(ARRAYS)}, each once"
        raise LabError.mismatch(None, expected, modalities, "correct ClipConfig.modalities")


def _update(index: Index, folder: Path, config: ClipConfig, workers: int, progress: bool) -> int:
    """Bring the shards and the index of a store up to date; returns how many clips were made."""
    size = sum(path.stat().st_size for path in folder.glob("*.npy"))
    shards = find_shards(folder, verify=size <= VERIFY_BYTES)
    pixels = {
        (record["id"], modality, sha256): (old, number)
        for old in shards.values()
        for number, record in enumerate(old.records)
        for modality, sha256 in record["sha256"].items()
    }
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
        "config": {
            "size": config.size, "alignment": config.alignment, "stored_frames": config.stored_frames,
            "modalities": list(config.modalities), "data_name": index.data_name, **asdict(index.recording),
        },
    })  # fmt: skip
    remove_leftovers(folder, names)
    return built


def _clips_per_shard(config: ClipConfig) -> int:
    pixel_bytes = sum(2 if modality == "depth" else 3 for modality in config.modalities)
    clip_bytes = config.stored_frames * config.size**2 * pixel_bytes
    return min(MAX_SHARD_CLIPS, max(1, MAX_SHARD_BYTES // clip_bytes))


def _tasks(index: Index, config: ClipConfig, shards: dict[str, Shard]) -> list[_Task]:
    recipe = sha256_json([
        PIXELS_VERSION, config.size, config.alignment, config.stored_frames,
        *([asdict(index.recording)] if index.recording != Recording() else []),
    ])  # fmt: skip
    known: dict[str, list[dict]] = {}
    for shard in shards.values():
        for record in shard.records:
            if record["recipe"] == recipe and set(config.modalities) <= set(record["sha256"]):
                known.setdefault(record["id"], []).append(record)
    return [_Task(entry, config, recipe, tuple(known.get(entry.id, ()))) for entry in index.entries]


def _row(outcome: _Outcome, pixels: dict[tuple[str, str, str], tuple[Shard, int]]) -> Row:
    if outcome.pixels is not None:
        return Row(outcome.record, outcome.pixels)
    homes = {m: pixels[outcome.record["id"], m, sha256] for m, sha256 in outcome.record["sha256"].items()}
    return Row(outcome.record, {m: shard.array(m)[number] for m, (shard, number) in homes.items()})


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
    """Names, sizes and modification times of a clip's files and what the index knows of it, as one hash."""
    seen: list = [entry.facts]
    for modality, path in sorted(entry.paths.items()):
        if path.is_dir():
            files = sorted(os.scandir(path), key=lambda item: item.name)
        else:
            files = Frames(path).files if "*" in path.name else (path,)
        stats = [(file.name, file.stat()) for file in files]
        seen.append([modality, [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]])
    return sha256_json(seen)


def _untouched(task: _Task) -> dict | None:
    """The record that still holds as far as sizes and times tell."""
    try:
        stamp = _stamp(task.entry) if task.known else None
    except (OSError, LabError):
        return None
    found = next((record for record in task.known if record["stamp"] == stamp), None)
    return found and _renewed(found, task)


def _renewed(record: dict, task: _Task, **changes: object) -> dict:
    """A record that still holds, without modalities that are no longer asked for."""
    kept = {m: sha256 for m, sha256 in record["sha256"].items() if m in task.config.modalities}
    sources = {m: sha256 for m, sha256 in record["sources"].items() if m != "boxes" or "layout" in kept}
    return {**record, "sha256": kept, "sources": sources, **changes}


def _source_hashes(entry: Entry, config: ClipConfig) -> dict[str, str]:
    """SHA-256 of each file; of a folder, over the names and hashes of its images.

    Of a sidecar only the boxes count, and only for the layout: the rest makes no pixel.
    """
    paths = entry.paths
    boxes = paths.pop("boxes", None)
    hashes = {
        modality: sha256_file(path)
        if path.is_file()
        else sha256_json([[file.name, sha256_file(file)] for file in Frames(path).files])
        for modality, path in paths.items()
    }
    return hashes | ({"boxes": sha256_json(read_boxes(boxes))} if boxes and "layout" in config.modalities else {})


def _look(task: _Task) -> _Outcome:
    """Hash a clip's files, and make its pixels unless a known record has the same hashes."""
    entry = task.entry
    try:
        now = {"stamp": _stamp(entry), "sources": _source_hashes(entry, task.config), "about": entry.about}
        for record in task.known:
            if now["sources"].items() <= record["sources"].items():
                return _Outcome(_renewed(record, task, **now))
        pixels, found = read_aligned(entry, task.config)
    except LabError as error:
        where = f"{Path(error.path).name}: " if error.path else ""
        return _Outcome(reason=f"{where}{error.reason}")
    except OSError as error:
        return _Outcome(reason=f"{Path(error.filename or '').name}: {error.strerror or error}")
    record = {"id": entry.id, "recipe": task.recipe, "sha256": content_hashes(pixels), **now, **found}
    return _Outcome(record, pixels)
