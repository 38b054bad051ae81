"""From the clip store to batches of a training or a test.

All randomness is a function of (seed, purpose, epoch, clip id): no generator state is carried, so a
resumed training meets the same clips in the same order with the same flips, whatever came before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .augment import apply_windows, blend, draw_partners, draw_windows
from .clips import clip_rng, clip_uniform, flip_clip, sample_frames, to_clip
from .config import TrainConfig
from .lab import Lab


@dataclass(frozen=True)
class Batch:
    """Clips of some modalities with their labels; `clips[modality]` is (B,T,3,H,W).

    Labels are classes (B,), or probabilities (B,K) of mixed clips. `views` (B,) tells which of a
    clip's fixed looks a batch holds: 0 as stored, 1 mirrored; None where looks are drawn afresh.
    """

    ids: list[str]
    labels: Tensor
    clips: dict[str, Tensor]
    views: Tensor | None = None

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
        train: TrainConfig | None = None,
    ):
        self.store, self.config, self.seed = lab.clips, lab.profile.clips, lab.seed
        self.ids, self.modalities, self.device, self.share = list(ids), modalities, device, share
        self.train, self.num_classes = train or TrainConfig(), lab.num_classes

    @property
    def fixed_views(self) -> bool:
        """Whether training shows each clip in two looks only, as stored and mirrored."""
        return self.train.augment == "flip" and not self.train.mix and self.config.frame_mode == "uniform"

    def order(self, epoch: int) -> list[str]:
        """The clips shuffled for an epoch: sorted by a keyed hash, so that no file listing's order enters."""
        return sorted(self.ids, key=lambda clip: (clip_uniform(self.seed, "shuffle", epoch, clip), clip))

    def epoch(self, epoch: int, batch_size: int) -> list[list[str]]:
        """Batches of clip ids. A last, smaller batch is left out: its batch statistics would be worse."""
        order = self.order(epoch)
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) < batch_size else batches

    def train_batch(self, ids: list[str], epoch: int) -> Batch:
        """Augmented clips: one flip, one choice of frames, one window per clip, shared by its modalities."""
        rank, count = self.share
        mine = ids[rank::count]
        flips = np.array([clip_uniform(self.seed, "flip", epoch, clip) < self.config.flip for clip in mine])
        batch = self._load(mine, flips, self._frames(mine, epoch))
        if self.train.augment == "strong":
            windows = draw_windows(self.seed, epoch, mine)
            batch = replace(batch, clips={m: apply_windows(c, windows, m) for m, c in batch.clips.items()})
        if self.train.mix:
            mixing = draw_partners(self.seed, epoch, mine, self.train.mix)
            labels = blend(F.one_hot(batch.labels, self.num_classes).float(), *mixing)
            batch = replace(batch, labels=labels, clips={m: blend(c, *mixing) for m, c in batch.clips.items()})
        return batch if self.fixed_views else replace(batch, views=None)

    def view(self, ids: list[str], mirrored: bool) -> Batch:
        """Clips in one of their two fixed looks."""
        return self._load(ids, np.full(len(ids), mirrored), self._frames(ids, None))

    def test_batches(self, batch_size: int) -> Iterator[Batch]:
        """All clips once, as they are, in the order of `ids`."""
        rank, count = self.share
        mine = self.ids[rank::count]
        for start in range(0, len(mine), batch_size):
            yield self.view(mine[start : start + batch_size], False)

    def _load(self, ids: list[str], flips: np.ndarray, frames: np.ndarray) -> Batch:
        rows = self.store.rows(ids)
        clips = {}
        for modality in self.modalities:
            stored = self.store.images(modality, rows)
            if stored.shape[1] != self.config.num_frames:
                stored = np.stack([clip[chosen] for clip, chosen in zip(stored, frames, strict=True)])
            flipped = flip_clip(stored, flips, modality)
            clips[modality] = to_clip(flipped, self.config, modality).to(self.device)
        labels = torch.as_tensor(self.store.labels[rows], device=self.device)
        return Batch(ids, labels, clips, torch.from_numpy(flips).long())

    def _frames(self, ids: list[str], epoch: int | None) -> np.ndarray:
        """Which stored frames each clip shows, (B,T); evenly spaced ones where no epoch is given."""
        mode = "uniform" if epoch is None else self.config.frame_mode
        available, wanted = self.store.num_frames, self.config.num_frames
        rngs = (clip_rng(self.seed, "frames", epoch, clip) if mode == "mixed" else None for clip in ids)
        return np.stack([sample_frames(available, wanted, mode, rng) for rng in rngs])
