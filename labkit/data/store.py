"""The clip store: aligned clips in memory-mapped shards that notice their own damage.

A shard is a few files named by its content: one array per modality, `<name>.rgb.npy`, `.flow.npy`,
`.skeleton.npy`, `.layout.npy` uint8 (n,T,S,S,3) and `<name>.depth.npy` uint16 (n,T,S,S) in millimetres,
and last `<name>.json` with the SHA-256 of each and a record of each clip. `index.json` names the shards
of a finished store. Arrays are never changed, only replaced.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..clips import UNLABELLED
from ..errors import LabError
from ..files import atomic_path, read_json, sha256_bytes, sha256_file, sha256_json, write_json

ARRAYS = {  # what a store may hold
    "rgb": np.dtype("uint8"), "depth": np.dtype("<u2"), "flow": np.dtype("uint8"),
    "skeleton": np.dtype("uint8"), "layout": np.dtype("uint8"),
}  # fmt: skip
INDEX = "index.json"
_OURS = re.compile(rf"\.?([0-9a-f]{{16}})\.((?:{'|'.join(ARRAYS)})\.npy|json)(\.\d+\.tmp)?", re.ASCII)
MAX_MAPPED = 64  # arrays at once; each holds a file open, and a process may have no more than 256 on some systems
_FIX = "prepare this data root again: only what is damaged is rebuilt"


Pixels = dict[str, np.ndarray]  # of one clip, by modality: (T,S,S,3), or (T,S,S) for depth


def content_hashes(pixels: Pixels) -> dict[str, str]:
    """SHA-256 of one clip's pixels, by modality."""
    return {m: sha256_bytes(images.astype(ARRAYS[m], copy=False).tobytes()) for m, images in pixels.items()}


class Shard:
    """Clips stored together. Opening reads the records; an array is verified when it is first read."""

    def __init__(self, folder: Path, name: str, *, verify: bool = True):
        self.folder, self.name = folder, name
        self.manifest = read_sealed(folder / f"{name}.json")
        self.records: list[dict] = self.manifest["clips"]
        self.unverified = set(self.manifest["arrays"]) if verify else set()

    def array(self, modality: str) -> np.ndarray:
        """All clips of the shard in one modality, mapped afresh."""
        path, known = self.folder / f"{self.name}.{modality}.npy", self.manifest["arrays"][modality]
        try:
            if modality in self.unverified and (found := sha256_file(path)) != known["sha256"]:
                raise LabError.mismatch(path, f"SHA-256 {known['sha256'][:12]}", found[:12], _FIX)
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise LabError.mismatch(path, "a NumPy file", error, _FIX) from error
        if array.dtype != ARRAYS[modality] or list(array.shape) != known["shape"]:
            expected = f"{ARRAYS[modality]} {known['shape']}"
            raise LabError.mismatch(path, expected, f"{array.dtype} {list(array.shape)}", _FIX)
        self.unverified.discard(modality)
        return array


def write_shard(folder: Path, clips: Sequence[tuple[dict, Pixels]]) -> str:
    """Write a shard of clips, each a record and its pixels; returns its name, which depends on ids and pixels alone.

    The manifest comes last, so that after a kill a shard is there as a whole or not at all.
    """
    records = [record for record, _ in clips]
    name, arrays = shard_name(records), {}
    for kind in clips[0][1]:
        array = np.stack([pixels[kind] for _, pixels in clips]).astype(ARRAYS[kind], copy=False)
        with atomic_path(folder / f"{name}.{kind}.npy") as temporary:
            with open(temporary, "wb") as file:
                np.save(file, array, allow_pickle=False)
            arrays[kind] = {"sha256": sha256_file(temporary), "shape": list(array.shape)}
    write_sealed(folder / f"{name}.json", {"clips": records, "arrays": arrays})
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
            if all(len(shard.array(kind)) == len(shard.records) for kind in shard.manifest["arrays"]):
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
            with suppress(OSError):  # on a read-only disk, or mapped by another process, it does no harm
                path.unlink()


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

    Row r is clip `ids[r]` of class `labels[r]`, or UNLABELLED. Each shard is checked against its SHA-256 when it is
    first read. Raises LabError where a file is missing or damaged.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        index = read_sealed(self.path / INDEX)
        self.shards = [Shard(self.path, name) for name in index["shards"]]
        self.records = [record for shard in self.shards for record in shard.records]
        self.ids: list[str] = [record["id"] for record in self.records]
        self.labels = np.array(index["labels"], dtype=np.int64)
        self.class_names: tuple[str, ...] = tuple(index["class_names"])
        self.excluded: dict[str, str] = index["excluded"]  # reason by clip id
        self.config: dict[str, Any] = index["config"]
        self.modalities: tuple[str, ...] = tuple(self.config["modalities"])
        self._fingerprints: dict[tuple[tuple[str, ...], bool], str] = {}
        self.built = 0  # clips made by the call of `prepare` that returned this store
        self.num_frames: int = self.config["stored_frames"]
        self.size: int = self.config["size"]
        self._row_of = {clip: row for row, clip in enumerate(self.ids)}
        self._array = lru_cache(MAX_MAPPED)(lambda shard, modality: self.shards[shard].array(modality))
        self._ends = np.cumsum([len(shard.records) for shard in self.shards])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """`fingerprint_of` all modalities that the store holds."""
        return self.fingerprint_of(self.modalities)

    def fingerprint_of(self, modalities: Iterable[str], unlabelled: bool = False) -> str:
        """SHA-256 over ids, labels, class names and the pixels of these modalities, in any order.

        It covers the clips that have a label or, with `unlabelled`, those that have none. Equal stores are equal in
        any folder, and what else a store holds does not matter. Raises LabError for a modality that is not here.
        """
        chosen = tuple(sorted(set(modalities)))
        if (chosen, unlabelled) not in self._fingerprints:  # asked for each run of a table
            self._check(chosen)
            clips = sorted(
                (record["id"], label, *(record["sha256"][modality] for modality in chosen))
                for record, label in zip(self.records, self.labels.tolist(), strict=True)
                if (label == UNLABELLED) is unlabelled
            )
            self._fingerprints[chosen, unlabelled] = sha256_json([self.class_names, chosen, clips])
        return self._fingerprints[chosen, unlabelled]

    def about(self, ids: Iterable[str]) -> list[dict[str, str | int]]:
        """What is known of each clip beside its pixels: see `index.Entry.about`."""
        return [self.records[row]["about"] for row in self.rows(ids)]

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
        return self.images("rgb", rows)

    def depth(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint16 (len(rows),T,S,S), millimetres, 0 where there is no reading or background."""
        return self.images("depth", rows)

    def images(self, modality: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Clips in one modality: uint8 (len(rows),T,S,S,3); for "depth" uint16 (len(rows),T,S,S) in mm.

        Raises LabError for a modality that was not prepared.
        """
        self._check((modality,))
        chosen = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(self):
            expected, found = f"rows from 0 to {len(self) - 1}", f"{chosen.min()} to {chosen.max()}"
            raise LabError.mismatch(self.path, expected, found, "get row numbers from rows(ids)")
        channels = () if modality == "depth" else (3,)
        clips = np.empty((len(chosen), self.num_frames, self.size, self.size, *channels), ARRAYS[modality])
        homes = np.searchsorted(self._ends, chosen, side="right")
        for home in np.unique(homes):
            here, array = homes == home, self._array(int(home), modality)
            clips[here] = array[chosen[here] - (self._ends[home] - len(array))]
        return clips

    def _check(self, modalities: Iterable[str]) -> None:
        missing = [modality for modality in modalities if modality not in self.modalities]
        if missing:
            fix = f"add {missing[0]!r} to ClipConfig.modalities and prepare again"
            raise LabError.mismatch(self.path, f"modality {missing[0]!r}", ", ".join(self.modalities), fix)
