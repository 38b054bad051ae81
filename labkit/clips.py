"""From stored frames to batches of what a stream sees: frame choice, flips, depth colouring.

A clip is T frames of one modality: RGB as uint8 (T,H,W,3), depth as uint16 (T,H,W) in millimetres
with 0 for "no reading" or background. All functions take further axes in front. Randomness is a
function of (seed, purpose, epoch, clip id): no generator state is carried from clip to clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from .config import ClipConfig
from .errors import LabError
from .files import sha256_json

if TYPE_CHECKING:  # torch takes a second to load, and the processes that prepare clips do not need it
    import torch
    from torch import Tensor

    from .lab import Lab

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's weights, 0..1
VGG_MEAN = (123.68, 116.78, 103.94)  # released code's writer; RGB in 0..255
STILL = 128  # level of no movement in the first two channels of a flow map
FIXED_RANGE = (0, 4500)  # millimetres, the reliable reach of a Kinect v2
UNLABELLED = -1  # the class of a clip that nobody labelled


def clip_seed(seed: int, purpose: str, epoch: int | None, clip_id: str) -> int:
    """63 bits that depend on all four and nothing else; `purpose` keeps, say, flips and frames apart."""
    return int(sha256_json([seed, purpose, epoch, clip_id])[:16], 16) >> 1


def clip_rng(seed: int, purpose: str, epoch: int | None, clip_id: str) -> np.random.Generator:
    """The generator of one clip for one purpose in one epoch; see `clip_seed`."""
    return np.random.Generator(np.random.Philox(clip_seed(seed, purpose, epoch, clip_id)))


def clip_uniform(seed: int, purpose: str, epoch: int | None, clip_id: str) -> float:
    """One number in [0, 1); see `clip_seed`."""
    return (clip_seed(seed, purpose, epoch, clip_id) >> 10) / 2**53


def sample_frames(num_available: int, num_frames: int = 5, mode: str = "uniform",
                  rng: np.random.Generator | None = None) -> np.ndarray:  # fmt: skip
    """Ascending indices (num_frames,) of the frames that stand for a clip.

    "uniform": evenly spaced, first and last included, fractions cut off (paper, section 4.1).
    "random": a subset drawn without replacement. "mixed": one or the other, half of the time (the
    released code's training). The last two need `rng`. A clip with fewer frames than asked for is
    spread evenly in every mode, so that each of its frames appears. Raises LabError for an empty clip.
    """
    if num_available < 1 or num_frames < 1:
        raise LabError.mismatch(None, "at least one frame, and one to choose",
                                f"{num_available} and {num_frames}", "leave this clip out")  # fmt: skip
    if mode not in ("uniform", "random", "mixed"):
        raise LabError.mismatch(None, 'mode "uniform", "random" or "mixed"', repr(mode), "use one of those")
    if mode != "uniform":
        if rng is None:
            raise LabError.mismatch(None, f'a generator for mode "{mode}"', "none", "pass rng=clip_rng(...)")
        if (mode == "random" or rng.random() < 0.5) and num_available >= num_frames:
            return np.sort(rng.choice(num_available, num_frames, replace=False))
    return np.arange(num_frames) * (num_available - 1) // max(num_frames - 1, 1)


def flip_clip(frames: np.ndarray, flip: np.ndarray | bool, modality: str = "rgb") -> np.ndarray:
    """Mirror clips left to right: (B,T,H,W) or (B,T,H,W,3), with `flip` (B,) bool or one for all.

    One decision per clip, for all of its frames; use the same `flip` for every modality. The result is
    the map of the mirrored scene: "flow" to the right becomes flow to the left, and of a "skeleton" the
    left limbs become right ones. Mirroring twice gives the very same pixels.
    """
    chosen = np.broadcast_to(np.asarray(flip, dtype=bool), len(frames))
    if not chosen.any():
        return frames
    flipped = frames.copy()
    flipped[chosen] = frames[chosen, :, :, ::-1]
    if modality == "flow":
        flipped[chosen, ..., 0] = -flipped[chosen, ..., 0]  # modulo 256, so 128 + dx becomes 128 - dx
    if modality == "skeleton":
        flipped[chosen, ..., :2] = flipped[chosen, ..., 1::-1]
    return flipped


_JET_NODES = (  # red, green, blue: (value, brightness) where each bends; linear between
    ((0, 0), (0.35, 0), (0.66, 1), (0.89, 1), (1, 0.5)),
    ((0, 0), (0.125, 0), (0.375, 1), (0.64, 1), (0.91, 0), (1, 0)),
    ((0, 0.5), (0.11, 1), (0.34, 1), (0.65, 0), (1, 0)),
)


def jet(value: np.ndarray | float) -> np.ndarray:
    """The jet colour map: values in 0..1 (...) to RGB in 0..1 (..., 3); 0 is dark blue, 1 dark red."""
    return np.stack([np.interp(value, *np.transpose(nodes)) for nodes in _JET_NODES], axis=-1)


def colorize_depth(depth: np.ndarray, encoding: str = "jet", depth_range: str = "frame") -> np.ndarray:
    """Depth uint16 (...,H,W) in millimetres to uint8 (...,H,W,3), the picture a depth stream sees.

    The paper colours masked depth with jet but gives no range. "frame": each frame's own nearest to
    farthest reading, as Eitel et al. do; "fixed": 0 to 4500 mm, so that equal distance is equal
    colour. Background, 0, takes the colour of the near end: dark blue (0,0,128) in jet, which is not the
    black of a missing depth image. `encoding` "grey" repeats the level in all three channels.
    """
    if encoding not in ("jet", "grey"):
        raise LabError.mismatch(None, 'depth encoding "jet" or "grey"', repr(encoding), "use one of those")
    levels = np.arange(256) / 255
    colors = jet(levels) if encoding == "jet" else np.repeat(levels[:, None], 3, axis=1)
    return np.take(np.floor(255 * colors + 0.5).astype(np.uint8), _levels(depth, depth_range), axis=0)


def _levels(depth: np.ndarray, depth_range: str) -> np.ndarray:
    """uint8 (...,H,W): position in the range in steps of 1/255, rounded; nothing outside 0..255."""
    if depth.dtype != np.uint16:
        raise LabError.mismatch(None, "depth as uint16 millimetres", depth.dtype, "read it with read_depth")
    if depth_range == "frame":
        # 0 - 1 wraps to 65535, so background never is the smallest
        near = (depth - np.uint16(1)).min(axis=(-2, -1), keepdims=True).astype(np.float32) + 1
        far = depth.max(axis=(-2, -1), keepdims=True).astype(np.float32)
    elif depth_range == "fixed":
        near, far = np.array(FIXED_RANGE, np.float32)
    else:
        raise LabError.mismatch(None, 'depth_range "frame" or "fixed"', repr(depth_range), "use one of those")
    levels = depth.astype(np.float32)
    levels -= near
    levels *= np.float32(255) / np.maximum(far - near, np.float32(1))
    levels += np.float32(0.5)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def saturate(values: np.ndarray) -> np.ndarray:
    """Real numbers to uint8 by cutting to 0..255 and dropping fractions, as the released code's cast does."""
    return np.clip(values, 0, 255).astype(np.uint8)


def to_clip(frames: np.ndarray, config: ClipConfig | None = None, modality: str = "rgb") -> Tensor:
    """Stored frames as a stream's input: float32 (B,T,3,H,W), its frames channels-last in memory.

    uint16 (B,T,H,W) is depth, whatever `modality` says, and is coloured first; uint8 (B,T,H,W,3) is RGB
    or a map. Maps are scaled so that 0 is nothing there, whatever `config.normalization` is: value / 255,
    but for dx and dy of "flow", value / 128 - 1, from -1 to 1. For coloured depth that was changed on
    the way, see `normalize`.
    """
    config = config or ClipConfig()
    if frames.dtype == np.uint16:
        colored = colorize_depth(frames, config.depth_encoding, config.depth_range)
        return normalize(colored, config.normalization, "depth")
    if modality in _MAP_SCALES:
        return _scaled(_checked(frames), *_MAP_SCALES[modality])
    return normalize(frames, config.normalization, "rgb")


_PER_LEVEL = (1 / 255, 1 / 255, 1 / 255)
_MAP_SCALES = {  # factor and shift of each channel
    "flow": ((1 / STILL, 1 / STILL, 1 / 255), (-1, -1, 0)),
    "skeleton": (_PER_LEVEL, (0, 0, 0)),
    "layout": (_PER_LEVEL, (0, 0, 0)),
}


def normalize(images: np.ndarray, normalization: str = "imagenet", modality: str = "rgb") -> Tensor:
    """uint8 (B,T,H,W,3) to float32 (B,T,3,H,W).

    "imagenet": (value/255 - mean) / std for all modalities. "vgg", as released: RGB minus the mean
    in 0..255, then cut to 0..255 again, which loses all that is darker than the mean; depth stays as
    it is.
    """
    import torch

    if normalization not in ("imagenet", "vgg"):
        expected = 'normalization "imagenet" or "vgg"'
        raise LabError.mismatch(None, expected, repr(normalization), "use one of those names")
    if normalization == "vgg":
        if modality == "rgb":
            images = saturate(_checked(images) - np.array(VGG_MEAN, np.float32))
        return torch.from_numpy(_checked(images).astype(np.float32)).permute(0, 1, 4, 2, 3)
    scales = [1 / (255 * std) for std in IMAGENET_STD]
    shifts = [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    return _scaled(_checked(images), scales, shifts)


def _checked(images: np.ndarray) -> np.ndarray:
    if images.dtype != np.uint8 or images.shape[-1] != 3:
        found = f"{images.dtype} {images.shape}"
        raise LabError.mismatch(None, "uint8 (B,T,H,W,3)", found, "encode the frames first")
    return images


def _scaled(images: np.ndarray, scales: Sequence[float], shifts: Sequence[float]) -> Tensor:
    """value * scale + shift of each channel: uint8 (B,T,H,W,3) to float32 (B,T,3,H,W)."""
    import torch

    # One long row of repeated constants per image row: far faster than a last axis of three.
    width = images.shape[-2]
    rows = torch.from_numpy(np.ascontiguousarray(images)).reshape(-1, 3 * width).to(torch.float32)
    rows.mul_(torch.tensor(scales, dtype=torch.float32).repeat(width))
    rows.add_(torch.tensor(shifts, dtype=torch.float32).repeat(width))
    return rows.reshape(images.shape).permute(0, 1, 4, 2, 3)


# -- batches -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Clips with their classes (B,), or UNLABELLED; `batch[modality]`, (B,T,3,H,W), is read when first asked for.

    `looks` (B,) tells which of a clip's two looks a batch holds: 0 as stored, 1 mirrored; None where frames
    are drawn afresh.
    """

    ids: list[str]
    labels: Tensor
    load: Callable[[str], Tensor]  # the clips in one modality
    looks: Tensor | None = None
    clips: dict[str, Tensor] = field(default_factory=dict)  # as far as they were asked for

    def __getitem__(self, modality: str) -> Tensor:
        if modality not in self.clips:
            self.clips[modality] = self.load(modality)
        return self.clips[modality]


class Batches:
    """One part of a split, as batches.

    `share` = (rank, count) gives each of several processes its own equal part of every batch.
    """

    def __init__(self, lab: Lab, ids: Sequence[str], *, device: torch.device | str = "cpu",
                 share: tuple[int, int] = (0, 1)):  # fmt: skip
        self.store, self.config, self.seed = lab.clips, lab.profile.clips, lab.seed
        self.ids, self.device, self.share = list(ids), device, share

    def order(self, epoch: int) -> list[str]:
        """The clips shuffled for an epoch: sorted by a keyed hash, so that no file listing's order enters."""
        return sorted(self.ids, key=lambda clip: (clip_uniform(self.seed, "shuffle", epoch, clip), clip))

    def epoch(self, epoch: int, batch_size: int) -> list[list[str]]:
        """Batches of clip ids. A last, smaller batch is left out: its batch statistics would be worse."""
        order = self.order(epoch)
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) < batch_size else batches

    def train_batch(self, ids: list[str], epoch: int, num_frames: int | None = None) -> Batch:
        """Clips as training sees them: one flip and one choice of frames per clip, shared by its modalities.

        `num_frames` less than the config's are drawn at random from those that are stored.
        """
        rank, count = self.share
        mine = ids[rank::count]
        flips = np.array([self._mirrored(clip, epoch) for clip in mine])
        few = num_frames is not None and num_frames < self.config.num_frames
        batch = self._batch(mine, flips, self._frames(mine, epoch, num_frames if few else None))
        return replace(batch, looks=None) if few or self.config.frame_mode == "mixed" else batch

    def _mirrored(self, clip: str, epoch: int) -> bool:
        if self.config.flip == "turns":
            return (clip_uniform(self.seed, "flip", None, clip) < 0.5) ^ bool(epoch % 2)
        return clip_uniform(self.seed, "flip", epoch, clip) < 0.5

    def view(self, ids: list[str], mirrored: bool = False) -> Batch:
        """Clips as they are stored, or all mirrored."""
        return self._batch(ids, np.full(len(ids), mirrored), self._frames(ids, None))

    def test_batches(self, batch_size: int) -> Iterator[Batch]:
        """All clips once, as they are, in the order of `ids`."""
        rank, count = self.share
        mine = self.ids[rank::count]
        for start in range(0, len(mine), batch_size):
            yield self.view(mine[start : start + batch_size])

    def _batch(self, ids: list[str], flips: np.ndarray, frames: np.ndarray) -> Batch:
        import torch

        rows = self.store.rows(ids)

        def load(modality: str) -> Tensor:
            stored = self.store.images(modality, rows)
            if stored.shape[1] != frames.shape[1]:
                stored = np.stack([clip[chosen] for clip, chosen in zip(stored, frames, strict=True)])
            flipped = flip_clip(stored, flips, modality)
            with torch.inference_mode(False):  # whoever asks first may want no gradients, and the next one may
                return to_clip(flipped, self.config, modality).to(self.device)

        labels = torch.as_tensor(self.store.labels[rows], device=self.device)
        return Batch(ids, labels, load, torch.from_numpy(flips).long())

    def _frames(self, ids: list[str], epoch: int | None, few: int | None = None) -> np.ndarray:
        """Which stored frames each clip shows, (B,T); evenly spaced where no epoch is given, `few` at random."""
        mode = "random" if few else "uniform" if epoch is None else self.config.frame_mode
        available, wanted = self.store.num_frames, few or self.config.num_frames
        rngs = (None if mode == "uniform" else clip_rng(self.seed, "frames", epoch, clip) for clip in ids)
        return np.stack([sample_frames(available, wanted, mode, rng) for rng in rngs])
