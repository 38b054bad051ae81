"""Preparing the clips of a data root: skeleton, alignment, crop, a few frames, into a `ClipStore`.

Preparing is done once, and again only for what changed: a clip is known by the hash of its source
files, and modification times merely spare the hashing. It can be killed at any time; finished shards
are found again. A clip that cannot be read is excluded with its reason, never replaced by another.
Clips with too few joints wait for a second pass, when it is known what is usual for their camera, and stand
last in the store; they are made again only where that has moved. The median alignment over the clips of the same
set-up and camera stands in: people stand where the set-up lets them, and the distance decides the offset. Where
those are fewer than ENOUGH, the camera's clips of all set-ups count; where those are too few as well, a Kinect
v2's nominal alignment. Medians are rounded (RATIO_STEP, OFFSET_STEP), well below what a fit is worth, so that one
clip more in the set seldom changes them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..alignment import Alignment, Size
from ..config import ClipConfig
from ..errors import LabError
from ..files import locked, sha256_file, sha256_json
from ..tools.machine import available_cores
from ..tools.parallel import ordered_map
from ..tools.progress import Progress
from .index import Entry, Index, Recording
from .media.video import Frames
from .modalities import NOMINAL, kinect_alignment, read_aligned, read_boxes, too_few
from .splits import find_dataset
from .store import (
    ARRAYS,
    INDEX,
    ClipStore,
    Pixels,
    Shard,
    content_hashes,
    find_shards,
    remove_leftovers,
    shard_name,
    write_sealed,
    write_shard,
)

PIXELS_VERSION = 5  # raise it when a change to this code alters what is stored for the same files
MAX_SHARD_CLIPS = 256
MAX_SHARD_BYTES = 128 << 20  # written at once; a kill loses no more than this
ENOUGH = 10  # clips, below which a median is not trusted
RATIO_STEP, OFFSET_STEP = 0.001, 0.1  # colour px per depth px; depth px: medians are rounded to these
VERIFY_BYTES = 1 << 30  # a larger store is verified shard by shard when read, not as a whole before


@dataclass(frozen=True)
class _Task:
    """One clip to look at; `known` are records of the same recipe, which may still hold."""

    entry: Entry
    config: ClipConfig
    recipe: str
    known: tuple[dict, ...]
    usual: tuple[Usual, ...] | None = None  # None: not known before all clips have been looked at


@dataclass(frozen=True)
class _Outcome:
    """A record, with pixels where they had to be made; or the reason why there is none; or not yet one."""

    record: dict | None = None
    pixels: Pixels | None = None
    reason: str = ""
    waits: bool = False


class _Waits(Exception):
    """A clip whose joints are too few, before it is known what is usual for its camera."""


def prepare(source: Index | str | os.PathLike, store_dir: str | os.PathLike, clips: ClipConfig, *,
            workers: int | None = None, progress: bool = True) -> ClipStore:  # fmt: skip
    """The store of all usable clips of an index, or of a data root, made or brought up to date.

    Per clip: `clips.stored_frames` evenly spaced frames over the shorter of RGB and depth, cropped to
    what both cameras see (`clips.alignment`) and resized to `clips.size`, in each of
    `clips.modalities`. `workers` processes share the work (one per core by default). Of two calls at
    once on one store, one waits. Clips that could not be read are in the store's `excluded`; `built`
    counts those whose pixels this call made.
    Raises LabError for an unknown modality, when no clip is left, or when a worker process dies.
    """
    _check_modalities(clips.modalities)
    index = source if isinstance(source, Index) else find_dataset(source).index(source)
    folder = Path(store_dir)
    with locked(folder / ".lock"):
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
    homes = {_content(record): (old, row) for old in shards.values() for row, record in enumerate(old.records)}
    outcomes = _outcomes(_tasks(index, config, shards), workers, progress)
    names, labels, excluded, built = [], [], dict(index.excluded), 0
    while chunk := list(islice(outcomes, _clips_per_shard(config))):
        excluded |= {entry.id: outcome.reason for entry, outcome in chunk if outcome.record is None}
        used = [(entry, outcome) for entry, outcome in chunk if outcome.record is not None]
        labels += [entry.label for entry, _ in used]
        built += sum(outcome.pixels is not None for _, outcome in used)
        if used:
            names.append(_keep(folder, [outcome for _, outcome in used], homes, shards))
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
    recipes = {recording: _recipe(config, recording) for recording in {entry.recording for entry in index.entries}}
    known: dict[tuple[str, str], list[dict]] = {}
    for shard in shards.values():
        for record in shard.records:
            if set(config.modalities) == set(record["sha256"]):
                known.setdefault((record["id"], record["recipe"]), []).append(record)
    of_entry = [(entry, recipes[entry.recording]) for entry in index.entries]
    return [_Task(entry, config, recipe, tuple(known.get((entry.id, recipe), ()))) for entry, recipe in of_entry]


def _recipe(config: ClipConfig, recording: Recording) -> str:
    """What decides a clip's pixels beside its files."""
    return sha256_json([
        PIXELS_VERSION, config.size, config.alignment, config.stored_frames,
        *([asdict(recording)] if recording != Recording() else []),
    ])  # fmt: skip


def _content(record: dict) -> tuple:
    return (record["id"], *sorted(record["sha256"].items()))


def _with_pixels(outcome: _Outcome, homes: dict[tuple, tuple[Shard, int]]) -> tuple[dict, Pixels]:
    record = outcome.record
    if outcome.pixels is not None:
        return record, outcome.pixels
    shard, row = homes[_content(record)]
    return record, {modality: shard.array(modality)[row] for modality in record["sha256"]}


def _keep(folder: Path, clips: list[_Outcome], homes: dict[tuple, tuple[Shard, int]],
          shards: dict[str, Shard]) -> str:  # fmt: skip
    """The name of a shard of these clips: an old one, its records renewed where they differ, or a new one."""
    records = [outcome.record for outcome in clips]
    old = shards.get(shard_name(records))
    if old is None:
        return write_shard(folder, [_with_pixels(outcome, homes) for outcome in clips])
    if old.records != records:
        write_sealed(folder / f"{old.name}.json", {**old.manifest, "clips": records})
    return old.name


def _outcomes(tasks: list[_Task], workers: int, progress: bool) -> Iterator[tuple[Entry, _Outcome]]:
    """What became of each clip, in the order of the tasks, but for those that wait, which come last."""
    medians, waiting = Medians(), []
    for task, outcome in _look_at_all(tasks, "prepare", workers, progress):
        if outcome.waits:
            waiting.append(task)
            continue
        if outcome.record is not None:
            medians.add(outcome.record)
        yield task.entry, outcome
    again = [replace(task, usual=medians.of(View.of(task.entry.known))) for task in waiting]
    for task, outcome in _look_at_all(again, "crop as usual for their camera", workers, progress):
        yield task.entry, outcome


def _look_at_all(tasks: list[_Task], what: str, workers: int, progress: bool) -> Iterator[tuple[_Task, _Outcome]]:
    """Each task with its outcome, in order; only clips that changed are read."""
    current = {task.entry.id: outcome for task in tasks if (outcome := _untouched(task))}
    changed = [task for task in tasks if task.entry.id not in current]
    bar = Progress(what, len(changed), "clips", show=progress and bool(changed))
    with bar, closing(ordered_map(_look, changed, workers)) as results:
        for task in tasks:
            if task.entry.id in current:
                yield task, current[task.entry.id]
            else:
                yield task, next(results)
                bar.advance()


def _untouched(task: _Task) -> _Outcome | None:
    """From a record that still holds as far as sizes and times tell."""
    try:
        stamp = stamp_of(task.entry) if task.known else None
    except (OSError, LabError):
        return None
    same = [record for record in task.known if record["stamp"] == stamp]
    return _from_known(same, task)


def _from_known(same: list[dict], task: _Task, **changes: object) -> _Outcome | None:
    """What records of the very same files give; None where the clip is to be made again."""
    for record in same:
        alignment = record["alignment"]
        if not alignment["fallback"]:
            return _Outcome({**record, **changes})
        if task.usual is None:
            return _Outcome(waits=True)
        if source := still_stands(record, task.usual):
            notes = [note for note in record["notes"] if "too few tracked joints" not in note] + [too_few(source)]
            told = {"alignment": {**alignment, "source": source}, "notes": notes}
            return _Outcome({**record, **told, **changes})
    return None


def _look(task: _Task) -> _Outcome:
    """Hash a clip's files, and make its pixels unless a known record has the same hashes."""
    entry = task.entry
    try:
        now = {"stamp": stamp_of(entry), "sources": source_hashes(entry, task.config.modalities), "about": entry.about}
        same = [record for record in task.known if record["sources"] == now["sources"]]
        if outcome := _from_known(same, task, **now):
            return outcome
        usual = _wait if task.usual is None else partial(stand_in, task.usual)
        pixels, found = read_aligned(entry, task.config, usual)
    except _Waits:
        return _Outcome(waits=True)
    except LabError as error:
        where = f"{Path(error.path).name}: " if error.path else ""
        return _Outcome(reason=f"{where}{error.reason}")
    except OSError as error:
        return _Outcome(reason=f"{Path(error.filename or '').name}: {error.strerror or error}")
    record = {"id": entry.id, "recipe": task.recipe, "sha256": content_hashes(pixels), **now, **found}
    return _Outcome(record, pixels)


def _wait(*_: object) -> NoReturn:
    raise _Waits


# -- is a clip still the same? ------------------------------------------------------------------


def stamp_of(entry: Entry) -> str:
    """Names, sizes and modification times of a clip's files and what the index knows of it, as one hash."""
    seen: list = [entry.known]
    for modality, path in sorted(entry.files.items()):
        if os.path.isdir(path):
            files = sorted(os.scandir(path), key=lambda item: item.name)
        else:
            files = Frames(Path(path)).files if "*" in os.path.basename(path) else (Path(path),)
        stats = [(file.name, file.stat()) for file in files]
        seen.append([modality, [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]])
    return sha256_json(seen)


def source_hashes(entry: Entry, modalities: Collection[str]) -> dict[str, str]:
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
    return hashes | ({"boxes": sha256_json(read_boxes(boxes))} if boxes and "layout" in modalities else {})


# -- what is usual for each camera ----------------------------------------------------------------


Usual = tuple[Size, Alignment]  # what stands in for clips whose colour images have this size


class View(NamedTuple):
    """Where a clip was filmed, as far as it is known; "" for what is not."""

    setup: str
    camera: str

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> View:
        """From `index.Entry.about`, or the "about" of a store's record."""
        return cls(str(about.get("setup", "")), str(about.get("camera", "")))


class Medians:
    """What is usual in a set, from the records of its clips; their order does not matter."""

    def __init__(self) -> None:
        self._fits: dict[tuple[View, Size], list[tuple]] = {}

    def add(self, record: dict) -> None:
        """Count a record for its set-up and camera, and for its camera, unless it has no fit of its own."""
        found = record["alignment"]
        if not found["fallback"] and found["residual_px"] is not None:
            view, fit = View.of(record["about"]), (*found["scale"], *found["offset"])
            for near in {view, View("", view.camera)}:
                self._fits.setdefault((near, tuple(record["crop"]["of"])), []).append(fit)

    def of(self, view: View) -> tuple[Usual, ...]:
        """What may stand in for a clip of this view, the nearest first; ready when all records are added."""
        near = (view, View("", view.camera)) if view.setup else (view,)
        enough = [(key, fits) for key, fits in sorted(self._fits.items()) if len(fits) >= ENOUGH]
        return tuple((size, _median(at, fits)) for place in near for (at, size), fits in enough if at == place)


def _median(view: View, fits: list[tuple]) -> Alignment:
    """Of the well-fitted clips of a view, from scale and offset of each, rounded."""
    steps = np.array([RATIO_STEP, RATIO_STEP, OFFSET_STEP, OFFSET_STEP])
    middle = [round(float(value), 6) for value in np.round(np.median(fits, axis=0) / steps) * steps]
    whose = f"camera {view.camera}'s" if view.camera else "the set's"
    source = f"{whose} median of {len(fits)} clips" + (f" of setup {view.setup}" if view.setup else "")
    return Alignment("ratio", tuple(middle[:2]), tuple(middle[2:]), fallback=True, source=source)


def stand_in(usual: Sequence[Usual], depth_size: Size, color_size: Size) -> Alignment:
    """The first of `usual` that is for colour images of this size, else the nominal one.

    Raises LabError where there is neither: `modalities.kinect_alignment`.
    """
    chosen = [alignment for size, alignment in usual if size == tuple(color_size)]
    return chosen[0] if chosen else kinect_alignment(depth_size, color_size)


def still_stands(record: dict, usual: Sequence[Usual]) -> str | None:
    """What a record that was cropped by a stand-in is cropped by now; None where that has moved."""
    found = record["alignment"]
    for size, alignment in usual:
        if size == tuple(record["crop"]["of"]):
            same = (*found["scale"], *found["offset"]) == (*alignment.scale, *alignment.offset)
            return alignment.source if same else None
    return NOMINAL if found["source"] == NOMINAL else None
