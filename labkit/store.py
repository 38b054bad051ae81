"""The clip store: aligned clips in memory-mapped shards that notice their own damage.

A shard is three files named by its content: `<name>.rgb.npy` uint8 (n,T,S,S,3), `<name>.depth.npy`
uint16 (n,T,S,S) in millimetres, and last `<name>.json` with the SHA-256 of both and a record of each
clip. `index.json` names the shards of a finished store. Shards are never changed, only replaced.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .errors import LabError
from .files import atomic_path, read_json, sha256_bytes, sha256_file, sha256_json, write_json

ARRAYS = {"rgb": np.dtype("uint8"), "depth": np.dtype("<u2")}
INDEX = "index.json"
_OURS = re.compile(r"\.?([0-9a-f]{16})\.(rgb\.npy|depth\.npy|json)(\.\d+\.tmp)?", re.ASCII)
_FIX = "prepare this data root again: only what is damaged is rebuilt"


@dataclass(frozen=True)
class Row:
    """One prepared clip: its record and its pixels."""

    record: dict[str, Any]
    rgb: np.ndarray  # uint8 (T,S,S,3)
    depth: np.ndarray  # uint16 (T,S,S), mm


def content_hash(rgb: np.ndarray, depth: np.ndarray) -> str:
    """SHA-256 of one clip's pixels."""
    return sha256_bytes(rgb.tobytes() + depth.astype(ARRAYS["depth"]).tobytes())


class Shard:
    """Clips stored together. Opening reads the records; arrays are verified and mapped on first use."""

    def __init__(self, folder: Path, name: str, *, verify: bool = True):
        self.folder, self.name, self.verify = folder, name, verify
        self.manifest = read_sealed(folder / f"{name}.json")
        self.records: list[dict] = self.manifest["clips"]

    @cached_property
    def rgb(self) -> np.ndarray:
        return self._map("rgb")

    @cached_property
    def depth(self) -> np.ndarray:
        return self._map("depth")

    def _map(self, kind: str) -> np.ndarray:
        path, known = self.folder / f"{self.name}.{kind}.npy", self.manifest[kind]
        try:
            if self.verify and (found := sha256_file(path)) != known["sha256"]:
                raise LabError.mismatch(path, f"SHA-256 {known['sha256'][:12]}", found[:12], _FIX)
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise LabError.mismatch(path, "a NumPy file", error, _FIX) from error
        if array.dtype != ARRAYS[kind] or list(array.shape) != known["shape"]:
            expected = f"{ARRAYS[kind]} {known['shape']}"
            raise LabError.mismatch(path, expected, f"{array.dtype} {list(array.shape)}", _FIX)
        return array


def write_shard(folder: Path, rows: Sequence[Row]) -> str:
    """Write a shard and return its name, which depends on its clips' ids and pixels alone.

    The manifest comes last, so that after a kill a shard is there as a whole or not at all.
    """
    name = shard_name([row.record for row in rows])
    manifest: dict[str, Any] = {"clips": [row.record for row in rows]}
    for kind, dtype in ARRAYS.items():
        array = np.stack([getattr(row, kind) for row in rows]).astype(dtype, copy=False)
        with atomic_path(folder / f"{name}.{kind}.npy") as temporary:
            with open(temporary, "wb") as file:
                np.save(file, array, allow_pickle=False)
            manifest[kind] = {"sha256": sha256_file(temporary), "shape": list(array.shape)}
    write_sealed(folder / f"{name}.json", manifest)
    return name


def shard_name(records: Iterable[dict]) -> str:
    """A hash of which clips a shard holds, and of their pixels."""
    return sha256_json([[record["id"], record["sha256"]] for record in records])[:16]


def find_shards(folder: Path, *, verify: bool) -> dict[str, Shard]:
    """The undamaged shards in a folder, whether or not its index names them."""
    shards = {}
    for path in sorted(folder.glob("*.json")):
        if not _OURS.fullmatch(path.name):
            continue
        try:
            shard = Shard(folder, path.stem, verify=verify)
            if len(shard.rgb) == len(shard.depth) == len(shard.records):
                shards[path.stem] = shard
        except (LabError, KeyError, TypeError):  # damaged: what it held is prepared again
            continue
    return shards


def remove_leftovers(folder: Path, keep: Iterable[str]) -> None:
    """Delete shards that are not in `keep` and what a kill left half written; touches no other file."""
    names = set(keep)
    for path in folder.iterdir():
        match = _OURS.fullmatch(path.name)
        if match and (match[1] not in names or match[3]):
            path.unlink(missing_ok=True)


def write_sealed(path: Path, value: dict) -> None:
    """JSON that carries the hash of its own content."""
    write_json(path, {"content": value, "sha256": sha256_json(value)})


def read_sealed(path: Path) -> dict:
    """What `write_sealed` wrote; LabError when it is missing or its hash does not hold."""
    sealed = read_json(path)
    try:
        intact = sealed["sha256"] == sha256_json(sealed["content"])
    except (KeyError, TypeError, ValueError):
        intact = False
    if not intact:
        raise LabError.mismatch(path, "content that matches its hash", "other content", _FIX)
    return sealed["content"]


class ClipStore:
    """Aligned clips of a data root, ready for training; made by `prepare`.

    Row r is clip `ids[r]` of class `labels[r]`. Each shard is checked against its SHA-256 when it is
    first read; `verify=False` leaves that out. Raises LabError where a file is missing or damaged.
    """

    def __init__(self, path: str | os.PathLike, *, verify: bool = True):
        self.path = Path(path)
        index = read_sealed(self.path / INDEX)
        self.shards = [Shard(self.path, name, verify=verify) for name in index["shards"]]
        self.records = [record for shard in self.shards for record in shard.records]
        self.ids: list[str] = [record["id"] for record in self.records]
        if len(self.ids) != len(index["labels"]):
            raise LabError.mismatch(self.path, f"{len(index['labels'])} clips", len(self.ids), _FIX)
        self.labels = np.array(index["labels"], dtype=np.int64)
        self.class_names: tuple[str, ...] = tuple(index["class_names"])
        self.excluded: dict[str, str] = index["excluded"]  # reason by clip id
        self.config: dict[str, Any] = index["config"]
        self.built = 0  # clips made by the call of `prepare` that returned this store
        self.num_frames: int = self.config["stored_frames"]
        self.size: int = self.config["size"]
        self._row_of = {clip: row for row, clip in enumerate(self.ids)}
        self._ends = np.cumsum([len(shard.records) for shard in self.shards])

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels, class names and pixels: equal stores are equal in any folder."""
        labels = self.labels.tolist()
        clips = sorted((r["id"], label, r["sha256"]) for r, label in zip(self.records, labels, strict=True))
        return sha256_json([self.class_names, clips])

    def rows(self, ids: Iterable[str]) -> np.ndarray:
        """Row numbers of clip ids; LabError names an id that is not here, and why if it was excluded."""
        wanted = list(ids)
        missing = [clip for clip in wanted if clip not in self._row_of]
        if missing:
            reason = self.excluded.get(missing[0], "not in the data root when it was prepared")
            found = f"{len(missing)} not in the store, {missing[0]}: {reason}"
            fix = "make the split from this store, not from the index"
            raise LabError.mismatch(self.path, "prepared clips", found, fix)
        return np.array([self._row_of[clip] for clip in wanted], dtype=np.int64)

    def rgb(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 (len(rows),T,S,S,3), RGB."""
        return self._gather("rgb", rows)

    def depth(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint16 (len(rows),T,S,S), millimetres, 0 where there is no reading or background."""
        return self._gather("depth", rows)

    def _gather(self, kind: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        chosen = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(self):
            expected, found = f"rows from 0 to {len(self) - 1}", f"{chosen.min()} to {chosen.max()}"
            raise LabError.mismatch(self.path, expected, found, "get row numbers from rows(ids)")
        channels = (3,) if kind == "rgb" else ()
        clips = np.empty((len(chosen), self.num_frames, self.size, self.size, *channels), ARRAYS[kind])
        homes = np.searchsorted(self._ends, chosen, side="right")
        for home in np.unique(homes):
            here, shard = np.flatnonzero(homes == home), self.shards[home]
            array, first = getattr(shard, kind), self._ends[home] - len(shard.records)
            for place in here:
                clips[place] = array[chosen[place] - first]
        return clips
