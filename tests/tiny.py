"""A lab small enough to train in a second: random clips in memory, streams 8 channels wide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from labkit.config import SMOKE, Profile
from labkit.errors import LabError
from labkit.files import sha256_bytes
from labkit.lab import Lab
from labkit.runs import RunStore

CLASSES = ["wave", "clap", "kick"]


class MemoryStore:
    """What a ClipStore offers, from arrays: each class has its own bright band, in both modalities."""

    def __init__(self, count: int = 24, size: int = 32, frames: int = 5):
        rng = np.random.default_rng(0)
        self.ids = [f"clip{number:03d}" for number in range(count)]
        self.labels = np.arange(count) % len(CLASSES)
        self.class_names, self.num_frames = CLASSES, frames
        self._rgb = rng.integers(0, 90, (count, frames, size, size, 3), dtype=np.uint8)
        self._depth = rng.integers(2000, 3000, (count, frames, size, size), dtype=np.uint16)
        for row, label in enumerate(self.labels):
            self._rgb[row, :, label * 10 : label * 10 + 10] += 120  # a band, so that flips do not matter
            self._depth[row, :, label * 10 : label * 10 + 10] = 0
        self.fingerprint = sha256_bytes(self._rgb.tobytes() + self._depth.tobytes())

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids) -> np.ndarray:
        return np.array([self.ids.index(clip) for clip in ids], dtype=np.int64)

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("rgb", "depth")

    def images(self, modality: str, rows) -> np.ndarray:
        return {"rgb": self.rgb, "depth": self.depth}[modality](rows)

    def fingerprint_of(self, modalities, unlabelled=False) -> str:
        for modality in set(modalities) - set(self.modalities):
            raise LabError.mismatch(None, f"modality {modality!r}", ", ".join(self.modalities), "prepare it")
        return sha256_bytes(b"".join(getattr(self, f"_{modality}").tobytes() for modality in sorted(modalities)))

    def about(self, ids) -> list[dict]:
        return [{} for _ in ids]

    def rgb(self, rows) -> np.ndarray:
        return self._rgb[rows]

    def depth(self, rows) -> np.ndarray:
        return self._depth[rows]


def tiny_profile(**train) -> Profile:
    profile = replace(
        SMOKE,
        name="tiny",
        clips=replace(SMOKE.clips, size=32),
        model=replace(SMOKE.model, width=8),
    )
    return profile.steps(**{"epochs": 2, "batch_size": 6, "precision": "fp32", "selection": "best", **train})


def tiny_lab(root: str | Path, seed: int = 0, **train) -> Lab:
    store = MemoryStore()
    split = SimpleNamespace(name="tiny", train=store.ids[:12], validation=store.ids[12:15], test=store.ids[15:],
                            unlabelled=())  # fmt: skip
    return Lab(store, split, RunStore(Path(root) / "runs"), tiny_profile(**train), seed)
