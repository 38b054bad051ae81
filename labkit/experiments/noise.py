"""The noise study (Table 3): a finished two-stream network, clean RGB, and depth that gets worse.

Nothing is trained. A corruption changes one clip, on the depth in millimetres as stored or on the picture coloured
from it: the noise of Table 3, and what the paper leaves out. Its randomness is a function of (seed, kind and
severity, clip id), so that a clip looks the same in whatever batch it comes. The study is a run like any other, so
that a target can be a reading of it.

What the clean clips alone decide is computed once for all corruptions: the RGB stream up to its first connection,
or the whole of it where there is none. The void picture is the same for every clip, so its depth stream runs once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import log10
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..clips import Batches, clip_rng, colorize_depth, normalize, sample_frames, saturate
from ..config import ClipConfig
from ..errors import LabError
from ..lab import Lab
from ..runs import PREDICTIONS, RECORD, RESULT, Run, making
from ..tools.progress import Progress
from ..trainers import load_stream, modality_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..model import Clip, StreamOutput

VOID = "void"  # Table 3: the depth image replaced by zeros
HOLE_GRID = 9  # knots of the random field whose low parts are holes: about 8 patches across a frame


def add_speckle(images: np.ndarray, sigma: float | str, rng: np.random.Generator, *,
                sigma_is: Literal["std", "variance"] = "std") -> np.ndarray:  # fmt: skip
    """Multiply encoded images, uint8 (...,H,W,3), by noise around 1: Table 3 of the paper.

    Every pixel and channel has its own number; products are cut to 0..255, fractions dropped. The
    text writes N(1, sigma), the table's head sigma squared, the released code passes the value as
    standard deviation: `sigma_is` says how to read it. "void" gives zeros.
    """
    if images.dtype != np.uint8:
        raise LabError.mismatch(None, "encoded images, uint8", images.dtype, "use colorize_depth first")
    if sigma == VOID:
        return np.zeros_like(images)
    if isinstance(sigma, str) or not 0 <= sigma < np.inf or sigma_is not in ("std", "variance"):
        expected = 'sigma >= 0 or "void", read as "std" or "variance"'
        raise LabError.mismatch(None, expected, f"{sigma!r} as {sigma_is!r}", "use one of those")
    std = np.sqrt(sigma) if sigma_is == "variance" else sigma
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


def speckle_depth(depth: np.ndarray, sigma: float, rng: np.random.Generator, *,
                  sigma_is: Literal["std", "variance"] = "std") -> np.ndarray:  # fmt: skip
    """Multiply depth (...,H,W) in mm by noise around 1, a number for each pixel that has a reading.

    Products are rounded to millimetres; one at or below zero is no reading, and so is the background.
    """
    std = np.sqrt(sigma) if sigma_is == "variance" else sigma
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


def quantise(depth: np.ndarray, step: float, rng: np.random.Generator | None = None) -> np.ndarray:
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


_TABLE3 = ("1e-3", "1e-2", "1e-1", "1e0", "1e1")
_VARIANCE, _STD = "variance of the noise", "standard deviation of the noise"

CORRUPTIONS: dict[str, Corruption] = {
    corruption.kind: corruption
    for corruption in (
        Corruption("none", "picture", lambda images, _, rng: images, (), "", "Table 3, no noise"),
        Corruption("speckle", "picture", partial(add_speckle, sigma_is="variance"), _TABLE3, _VARIANCE,
                   "Table 3, its head read as sigma squared; each pixel and channel of the picture", log=True),
        Corruption("speckle-std", "picture", partial(add_speckle, sigma_is="std"), _TABLE3, _STD,
                   "Table 3, as the released code passes it; each pixel and channel of the picture", log=True),
        Corruption("void", "picture", lambda images, _, rng: add_speckle(images, VOID, rng), (), "",
                   "Table 3, a picture of zeros"),
        Corruption("speckle-mm", "millimetres", partial(speckle_depth, sigma_is="variance"), _TABLE3, _VARIANCE,
                   "section 4.4's I * n on the readings themselves", log=True),
        Corruption("speckle-mm-std", "millimetres", partial(speckle_depth, sigma_is="std"), _TABLE3, _STD,
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

    `two_stream` is a run of step 2 whose source or target sees depth. The run keeps the fused logits of
    every test clip under each reading, "none", "speckle:1e-1", "void" and so on, with their accuracies. It
    goes on where a kill left it. Raises LabError where not exactly one of the streams sees depth.
    """
    roles = [role for role in ("source", "target") if modality_of(two_stream, role) == "depth"]
    if len(roles) != 1:
        found = f"{len(roles)} in {two_stream.id}"
        raise LabError.mismatch(None, "one stream that sees depth", found, "take a two-stream run of RGB and depth")
    about = {c.kind: {"severities": list(c.severities), "unit": c.unit, "source": c.source} for c in corruptions}
    parent = two_stream.spec.config
    config = {"model": parent["model"], "modalities": parent["modalities"], "corrupted": roles[0], "corruptions": about}
    run = lab.run("noise", config, (two_stream,))
    if not lab.needs(run):
        return run
    study = Study(lab, two_stream, roles[0], corruptions)
    with making(run) as missing:
        if missing:
            score_all(run, study, parent["train"]["bn_at_test"])
    return run


class Study:
    """A two-stream network on its device, asked about clips whose depth comes in many versions."""

    def __init__(self, lab: Lab, two_stream: Run, corrupted: str, corruptions: Sequence[Corruption]):
        import torch

        from ..model import TwoStream
        from ..processes import meet

        state, model = meet(), two_stream.spec.config["model"]
        self.device, self.corrupted, self.clips = state.device, corrupted, lab.profile.clips
        self.streams = TwoStream(*(load_stream(two_stream, role) for role in ("source", "target")),
                                 model["connection"], model["connect_at"])  # fmt: skip
        self.streams.to(self.device, memory_format=torch.channels_last)
        self.readings = {reading: corruption for corruption in corruptions for reading in corruption.readings}
        self.clean = modality_of(two_stream, "target" if corrupted == "source" else "source")
        self.batches = Batches(lab, lab.split.test, (self.clean,), device=self.device)
        self._void: StreamOutput | None = None  # the depth stream's answer to one void clip

    def score(self, ids: list[str]) -> Iterator[Tensor]:
        """The fused logits (B,K) of clips, reading by reading."""
        answer = self._with_clean(self.batches.view(ids, False)[self.clean])
        depth = self.batches.store.depth(self.batches.store.rows(ids))
        if depth.shape[1] != self.clips.num_frames:
            depth = depth[:, sample_frames(depth.shape[1], self.clips.num_frames)]
        pictures = colorize_depth(depth, self.clips.depth_encoding, self.clips.depth_range)
        for reading, corruption in self.readings.items():
            if corruption.kind == "void" and self.corrupted == "source":
                self._void = self._void or self.streams.source(self._as_input(np.zeros_like(pictures[:1])))
                yield answer(_repeated(self._void, len(ids)))
                continue
            seed, config = self.batches.seed, self.clips
            clip = self._as_input(corrupt(depth, ids, corruption, reading, seed=seed, config=config, pictures=pictures))
            yield answer(self.streams.source(clip) if self.corrupted == "source" else clip)

    def _with_clean(self, clip: Clip) -> Callable[..., Tensor]:
        """The rest of the network as a function, of the source's output or the target's clip, to fused logits (B,K)."""
        streams = self.streams
        if self.corrupted == "target":
            clean = streams.source(clip)
            return lambda depth: (streams.run_target(depth, clean.signals).logits + clean.logits) / 2
        if streams.connection is None:
            logits = streams.target(clip).logits
            return lambda source: (logits + source.logits) / 2
        begun = streams.target.begin(clip)

        def answer(source: StreamOutput) -> Tensor:
            return (streams.target.finish(begun, *streams.injected(source.signals)).logits + source.logits) / 2

        return answer

    def _as_input(self, pictures: np.ndarray) -> Clip:
        return normalize(pictures, self.clips.normalization, "depth").to(self.device)


def _repeated(output: StreamOutput, count: int) -> StreamOutput:
    """One clip's output as that of `count` clips alike; maps stay channels-last."""
    maps = tuple(s.permute(0, 2, 3, 1).repeat(count, 1, 1, 1).permute(0, 3, 1, 2) for s in output.signals)
    return output._replace(logits=output.logits.expand(count, -1), signals=maps)


def score_all(run: Run, study: Study, bn_at_test: str) -> None:
    """Score the test clips into the run, batch by batch, from its last checkpoint on; the result comes last."""
    import torch
    from accelerate.utils import gather_object

    from .. import fit
    from ..processes import meet

    state, batches, begin = meet(), study.batches, time.monotonic()
    logits, seconds = _restore(run)
    saved, batch = begin, fit.TEST_BATCH * state.num_processes
    if state.is_main_process:
        run.set_state("running")

    def save() -> None:
        if state.is_main_process and logits:
            about = {"ids": list(logits), "seconds": seconds + time.monotonic() - begin}
            run.save_checkpoint(len(logits), 0, {"logits": torch.stack(list(logits.values()))}, about)

    with (
        fit.testing(study.streams, bn_at_test),
        torch.inference_mode(),
        fit.StopSignals() as stop,
        Progress("noise study", len(batches.ids), "clips", done=len(logits), show=state.is_main_process) as bar,
    ):
        for start in range(len(logits), len(batches.ids), batch):
            group = batches.ids[start : start + batch]
            mine = group[state.process_index :: state.num_processes]
            rows = torch.stack(list(study.score(mine)), dim=1).float().cpu() if mine else []
            scored = dict(gather_object(list(zip(mine, rows, strict=True))))
            logits.update({clip: scored[clip] for clip in group})
            bar.advance(len(group))
            if fit.together({}, stop.received is not None)[1]:
                save()
                if state.is_main_process:
                    run.set_state("interrupted")
                stop.leave()
            if time.monotonic() - saved > fit.CHECKPOINT_SECONDS:
                save()
                saved = time.monotonic()
    if state.is_main_process:
        _write(run, study, torch.stack(list(logits.values())), seconds + time.monotonic() - begin)
    state.wait_for_everyone()


def _restore(run: Run) -> tuple[dict[str, Tensor], float]:
    """Logits (readings,K) by clip, and the seconds they took, as the last checkpoint has them."""
    tensors, about = run.load_checkpoint() or ({"logits": ()}, {"ids": [], "seconds": 0.0})
    return dict(zip(about["ids"], tensors["logits"], strict=True)), about["seconds"]


def _write(run: Run, study: Study, logits: Tensor, seconds: float) -> None:
    """Artefacts of a finished study; `logits` is (clips, readings, classes)."""
    from .. import fit

    fit.check_finite({"the logits": logits}, "logits", [])
    outputs, predictions = {}, {}
    for number, reading in enumerate(study.readings):
        predictions[f"test/{reading}"] = logits[:, number]
        outputs[reading] = {"test": fit.summary(fit.correct(logits[:, number].numpy(), study.batches))}
    run.save_tensors(PREDICTIONS, predictions, {"test": study.batches.ids})
    run.save_json(RECORD, {"seconds": seconds, "device": str(study.device), "machine": fit.this_machine()})
    run.save_json(RESULT, {"outputs": outputs, "primary": next(iter(outputs))})
    run.set_state("done")
