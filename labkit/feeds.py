"""From the clip store to batches of a training or a test.

All randomness is a function of (seed, purpose, epoch, clip id): no generator state is carried, so a
resumed training meets the same clips in the same order with the same flips, whatever came before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .clips import clip_rng, clip_uniform, flip_clip, sample_frames, to_clip
from .lab import Lab


@dataclass(frozen=True)
class Batch:
    """Clips of some modalities with their labels; `clips[modality]` is (B,T,3,H,W)."""

    ids: list[str]
    labels: Tensor
    clips: dict[str, Tensor]

    def __getitem__(self, modality: str) -> Tensor:
        return self.clips[modality]


class Feed:
    """One part of a split, as batches.

    `share` = (rank, count) gives each of several processes its own equal part of every batch.
    """

    def __init__(
        self,
        lab: Lab,
        ids: Sequence[str],
        modalities: tuple[str, ...],
        *,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
    ):
        self.store, self.config, self.seed = lab.clips, lab.profile.clips, lab.seed
        self.ids, self.modalities, self.device, self.share = list(ids), modalities, device, share

    def order(self, epoch: int) -> list[str]:
        """The clips shuffled for an epoch: sorted by a keyed hash, so that no file listing's order enters."""
        return sorted(self.ids, key=lambda clip: (clip_uniform(self.seed, "shuffle", epoch, clip), clip))

    def epoch(self, epoch: int, batch_size: int) -> list[list[str]]:
        """Batches of clip ids. A last, smaller batch is left out: its batch statistics would be worse."""
        order = self.order(epoch)
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) < batch_size else batches

    def train_batch(self, ids: list[str], epoch: int) -> Batch:
        """Augmented clips: one flip and one choice of frames per clip, shared by its modalities."""
        rank, count = self.share
        return self._load(ids[rank::count], epoch)

    def test_batches(self, batch_size: int) -> Iterator[Batch]:
        """All clips once, as they are, in the order of `ids`."""
        rank, count = self.share
        mine = self.ids[rank::count]
        for start in range(0, len(mine), batch_size):
            yield self._load(mine[start : start + batch_size], None)

    def _load(self, ids: list[str], epoch: int | None) -> Batch:
        rows = self.store.rows(ids)
        frames = np.stack([self._frames(clip, epoch) for clip in ids])
        flips = np.array(
            [
                epoch is not None and clip_uniform(self.seed, "flip", epoch, clip) < self.config.flip
                for clip in ids
            ]
        )
        clips = {}
        for modality in self.modalities:
            stored = self.store.depth(rows) if modality == "depth" else self.store.rgb(rows)
            if stored.shape[1] != self.config.num_frames:
                stored = np.stack([clip[chosen] for clip, chosen in zip(stored, frames, strict=True)])
            clips[modality] = to_clip(flip_clip(stored, flips), self.config).to(self.device)
        return Batch(ids, torch.as_tensor(self.store.labels[rows], device=self.device), clips)

    def _frames(self, clip: str, epoch: int | None) -> np.ndarray:
        mode = "uniform" if epoch is None else self.config.frame_mode
        rng = clip_rng(self.seed, "frames", epoch, clip) if mode == "mixed" else None
        return sample_frames(self.store.num_frames, self.config.num_frames, mode, rng)
