"""Strong augmentation, alike in every modality of a clip: not the paper's, whose only one is the flip.

A student that is to follow its teacher must see what the teacher sees, so a clip's shift, zoom and
partner are drawn once and applied to all its modalities and frames; only the light is RGB's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .clips import clip_rng
from .types import Clip

SHIFT = 0.12  # of the picture's size, either way
ZOOM = 1.2  # either way, as a factor
LIGHT = 0.25  # standard deviations of the normalised picture: brightness by as much, contrast by that factor


def draw_windows(seed: int, epoch: int, ids: Sequence[str]) -> np.ndarray:
    """What each clip of an epoch is seen through: (B,5) of zoom, shift x, shift y, brightness, contrast."""
    drawn = np.stack([clip_rng(seed, "window", epoch, clip).uniform(-1, 1, 5) for clip in ids])
    drawn[:, 0] = ZOOM ** drawn[:, 0]
    drawn[:, 1:3] *= 2 * SHIFT  # pictures reach from -1 to 1
    drawn[:, 3] *= LIGHT
    drawn[:, 4] = (1 + LIGHT) ** drawn[:, 4]
    return drawn.astype(np.float32)


def apply_windows(clips: Clip, windows: np.ndarray, modality: str) -> Clip:
    """Clips through their windows; beyond the picture its edge goes on. Optical flow is zoomed in place only."""
    batch, time, channels, height, width = clips.shape
    zoom, shift_x, shift_y, light, contrast = torch.from_numpy(windows).to(clips.device).T
    grids = torch.zeros(batch, 2, 3, device=clips.device)
    grids[:, 0, 0] = grids[:, 1, 1] = zoom
    grids[:, 0, 2], grids[:, 1, 2] = shift_x, shift_y
    grid = F.affine_grid(grids, [batch, 1, height, width], align_corners=False)
    frames = clips.reshape(batch, time * channels, height, width)
    seen = F.grid_sample(frames, grid, padding_mode="border", align_corners=False).reshape(clips.shape)
    if modality == "rgb":
        seen = seen * contrast.view(-1, 1, 1, 1, 1) + light.view(-1, 1, 1, 1, 1)
    return seen


def draw_partners(seed: int, epoch: int, ids: Sequence[str], beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Mixup's partner (index into the batch) and the share that stays each clip's own (0.5 to 1)."""
    drawn = [clip_rng(seed, "mix", epoch, clip) for clip in ids]
    partners = np.argsort([rng.random() for rng in drawn], kind="stable")
    shares = np.array([rng.beta(beta, beta) for rng in drawn], dtype=np.float32)
    return partners, np.maximum(shares, 1 - shares)


def blend(values: Tensor, partners: np.ndarray, shares: np.ndarray) -> Tensor:
    """share * value + (1 - share) * partner's value, along the first axis."""
    own = torch.from_numpy(shares).to(values.device).view(-1, *[1] * (values.dim() - 1))
    return own * values + (1 - own) * values[torch.from_numpy(partners).to(values.device)]
