"""The noise study (Table 3): a finished two-stream network, clean RGB, and depth that gets worse.

Nothing is trained. A corruption changes one clip, on the depth in millimetres as stored or on the picture coloured
from it: the noise of Table 3, and what the paper leaves out. Its randomness is a function of (seed, kind and
severity, clip id), so that a clip looks the same in whatever batch it comes. The study is a run like any other, so
that a target can be a reading of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log10, sqrt
from typing import TYPE_CHECKING, Literal

import numpy as np

from ...clips import Batch, clip_rng, colorize_depth, normalize, sample_frames, saturate
from ...config import ClipConfig
from ...errors import LabError
from ...lab import Lab
from ...runs import Run
from ...trainers import load_network, modality_of
from .systems import answer

if TYPE_CHECKING:
    from torch import Tensor

HOLE_GRID = 9  # knots of the random field whose low parts are holes: about 8 patches across a frame


def add_speckle(images: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply encoded images, uint8 (...,H,W,3), by noise around 1 of that standard deviation: Table 3 of the paper.

    Every pixel and channel has its own number; products are cut to 0..255, fractions dropped.
    """
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    return saturate(images * (1 + np.float32(std) * noise))


@dataclass(frozen=True)
class Corruption:
    """One kind: `apply(frames, severity, rng)` returns the frames of a clip, changed, in the same form.

    Frames are depth uint16 (T,H,W) in mm, or the coloured picture uint8 (T,H,W,3), as `on` says.
    `severities` are written as in a target's name; none of them for what has no degrees.
    """

    kind: str
    on: Literal["millimetres", "picture"]
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    severities: tuple[str, ...]
    unit: str
    source: str
    log: bool = False  # severities are read on a logarithmic axis

    @property
    def readings(self) -> dict[str, float]:
        """Severity by name of reading: "holes:0.25", or the kind alone where it has no degrees."""
        return {f"{self.kind}:{written}": float(written) for written in self.severities} or {self.kind: 0.0}

    def place(self, severity: float) -> float:
        """Where a severity, 0 for none, stands on the kind's axis: linear, or decades.

        On a logarithmic axis "none" stands one decade before the first severity, linearly joined to it.
        """
        first = float(self.severities[0])
        if not self.log:
            return severity
        return log10(severity) if severity >= first else log10(first) - 1 + severity / first

    def severity_at(self, place: float) -> float:
        """The inverse of `place`."""
        first = float(self.severities[0])
        if not self.log:
            return place
        return 10**place if place >= log10(first) else first * (place - log10(first) + 1)


def speckle_depth(depth: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply depth (...,H,W) in mm by noise around 1, a number for each pixel that has a reading.

    Products are rounded to millimetres; one at or below zero is no reading, and so is the background.
    """
    noisy = depth * (1 + np.float32(std) * rng.standard_normal(depth.shape, dtype=np.float32))
    return np.clip(np.rint(noisy), 0, 65535).astype(np.uint16)


def punch_holes(depth: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Take the reading away from patches that cover `share` of each frame's readings, to the pixel.

    depth (T,H,W) in mm, masked, so that readings are the person. The patches are where a smooth random
    field, another one for each frame, is lowest.
    """
    frames, height, width = depth.shape
    rows, columns = (_hats(length) for length in (height, width))
    fields = rows @ rng.standard_normal((frames, HOLE_GRID, HOLE_GRID)) @ columns.T
    holed = depth.copy()
    for frame, field in zip(holed, fields, strict=True):
        person = np.flatnonzero(frame)
        order = np.argsort(field.ravel()[person], kind="stable")
        frame.reshape(-1)[person[order[: round(share * len(person))]]] = 0
    return holed


def _hats(length: int) -> np.ndarray:
    """Weights (length, HOLE_GRID) that interpolate linearly between evenly spaced knots."""
    at = np.linspace(0, HOLE_GRID - 1, length)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(HOLE_GRID)))


def quantise(depth: np.ndarray, step: float, rng: np.random.Generator) -> np.ndarray:
    """Depth in mm rounded to multiples of `step`; a reading stays one, at least a step away."""
    steps = np.maximum(np.rint(depth / step), 1)
    return np.where(depth > 0, np.minimum(steps * step, 65535), 0).astype(np.uint16)


def drop_frames(depth: np.ndarray, count: float, rng: np.random.Generator) -> np.ndarray:
    """`count` frames of a clip (T,...) show what the frame before them shows; the first is never dropped.

    At most T - 1 frames are, so that a clip of fewer frames shows its first one throughout.
    """
    shown = np.arange(len(depth))
    shown[1 + rng.permutation(len(depth) - 1)[: int(count)]] = 0
    return depth[np.maximum.accumulate(shown)]


def shift(depth: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Move depth (T,H,W) against RGB by `share` of its width, in one random direction for the whole clip.

    Whole pixels of the crop; what moves in from outside has no reading.
    """
    angle = rng.uniform(0, 2 * np.pi)
    height, width = depth.shape[1:]
    down, right = (round(share * width * part) for part in (np.sin(angle), np.cos(angle)))
    rows, columns = np.arange(height)[:, None] - down, np.arange(width) - right
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return depth[:, rows.clip(0, height - 1), columns.clip(0, width - 1)] * inside


def _of_variance(speckle: Callable) -> Callable[[np.ndarray, float, np.random.Generator], np.ndarray]:
    return lambda frames, variance, rng: speckle(frames, sqrt(variance), rng)


# The text writes N(1, sigma), the table's head sigma squared, the released code passes the value as deviation.
_TABLE3 = ("1e-3", "1e-2", "1e-1", "1e0", "1e1")
_VARIANCE, _STD = "variance of the noise", "standard deviation of the noise"

CORRUPTIONS: dict[str, Corruption] = {
    corruption.kind: corruption
    for corruption in (
        Corruption("none", "picture", lambda images, *_: images, (), "", "Table 3, no noise"),
        Corruption("speckle", "picture", _of_variance(add_speckle), _TABLE3, _VARIANCE,
                   "Table 3, its head read as sigma squared; each pixel and channel of the picture", log=True),
        Corruption("speckle-std", "picture", add_speckle, _TABLE3, _STD,
                   "Table 3, as the released code passes it; each pixel and channel of the picture", log=True),
        Corruption("void", "picture", lambda images, *_: np.zeros_like(images), (), "", "Table 3, a picture of zeros"),
        Corruption("speckle-mm", "millimetres", _of_variance(speckle_depth), _TABLE3, _VARIANCE,
                   "section 4.4's I * n on the readings themselves", log=True),
        Corruption("speckle-mm-std", "millimetres", speckle_depth, _TABLE3, _STD,
                   "section 4.4's I * n on the readings themselves", log=True),
        Corruption("holes", "millimetres", punch_holes, ("0.1", "0.25", "0.5", "0.75", "1"),
                   "share of the person lost", "ours; materials that swallow infrared light"),
        Corruption("quantisation", "millimetres", quantise, ("50", "100", "200", "400"),
                   "step (mm)", "ours; a coarser sensor"),
        Corruption("dropped", "millimetres", drop_frames, ("1", "2", "3", "4"),
                   "frames dropped", "ours; a stalling sensor repeats the frame before"),
        Corruption("shifted", "millimetres", shift, ("0.02", "0.05", "0.1", "0.2"),
                   "shift (widths of the crop)", "ours; a camera knocked after registration"),
    )
}  # fmt: skip


def corrupt(depth: np.ndarray, ids: Sequence[str], corruption: Corruption, reading: str, *, seed: int = 0,
            config: ClipConfig | None = None, pictures: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """Clips of depth uint16 (B,T,H,W) in mm as the pictures uint8 (B,T,H,W,3) that a worse camera gives.

    `reading` is one of `corruption.readings`. `pictures`, the clean ones, may be handed in to save
    colouring them again. Raises LabError for a reading there is not.
    """
    config = config or ClipConfig()
    if reading not in corruption.readings:
        expected = f"a reading among {', '.join(corruption.readings)}"
        raise LabError.mismatch(None, expected, repr(reading), "use one of those names")
    severity = corruption.readings[reading]

    def changed(clips: np.ndarray) -> np.ndarray:
        rngs = (clip_rng(seed, f"noise {reading}", None, clip) for clip in ids)
        return np.stack([corruption.apply(clip, severity, rng) for clip, rng in zip(clips, rngs, strict=True)])

    if corruption.on == "millimetres":
        return colorize_depth(changed(depth), config.depth_encoding, config.depth_range)
    return changed(colorize_depth(depth, config.depth_encoding, config.depth_range) if pictures is None else pictures)


# -- the study ---------------------------------------------------------------------------------------


def measure_noise(lab: Lab, two_stream: Run, corruptions: Sequence[Corruption] = tuple(CORRUPTIONS.values())) -> Run:
    """Score step 2's network on the test clips with every corruption of its depth, the other modality clean.

    `two_stream` is a run of step 2 whose source sees depth. The run keeps the fused logits of every test clip under
    each reading, "none", "speckle:1e-1", "void" and so on, with their accuracies. What the clean clip alone decides,
    up to the first connection, is computed once. Raises LabError where the source sees something else.
    """
    sees, clean = modality_of(two_stream, "source"), modality_of(two_stream, "target")
    if sees != "depth":
        fix = "take a two-stream run of depth and RGB"
        raise LabError.mismatch(None, "a source stream that sees depth", f"{sees} in {two_stream.id}", fix)
    about = {c.kind: {"severities": list(c.severities), "unit": c.unit, "source": c.source} for c in corruptions}
    parent, clips = two_stream.spec.config, lab.profile.clips
    config = {"model": parent["model"], "modalities": parent["modalities"], "corrupted": "source", "corruptions": about}
    run = lab.run("noise", config, (two_stream,))
    if not lab.needs(run):
        return run
    from ...model import at_connections

    pair = load_network(two_stream)

    def read(batch: Batch) -> dict[str, Tensor]:
        begun = pair.target.begin(batch[clean])
        depth = lab.clips.images("depth", lab.clips.rows(batch.ids))
        if depth.shape[1] != clips.num_frames:
            depth = depth[:, sample_frames(depth.shape[1], clips.num_frames)]
        pictures, logits = colorize_depth(depth, clips.depth_encoding, clips.depth_range), {}
        for corruption in corruptions:
            for reading in corruption.readings:
                seen = corrupt(depth, batch.ids, corruption, reading, seed=lab.seed, config=clips, pictures=pictures)
                source = pair.source(normalize(seen, clips.normalization, "depth").to(begun.device))
                target = pair.target.finish(begun, *at_connections(source.signals, pair.connection, pair.connect_at))
                logits[reading] = (target.logits + source.logits) / 2
        return logits

    return answer(run, lab, pair, read, parts=("test",), bn_at_test=parent["train"]["bn_at_test"])
