"""A two-stream network with noisy depth: its test clips scored with one modality clean and depth in many versions.

What the clean clips alone decide is computed once for all versions: the RGB stream up to its first
connection, or the whole of it where there is none. The void picture is the same for every clip, so its
depth stream runs once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from ..clips import Batches, colorize_depth, normalize, sample_frames
from ..fit import (
    CHECKPOINT_SECONDS,
    TEST_BATCH,
    StopSignals,
    check_finite,
    correct,
    summary,
    testing,
    this_machine,
    together,
)
from ..lab import Lab
from ..model import Clip, StreamOutput, TwoStream
from ..runs import PREDICTIONS, RESULT, Run
from ..tools.progress import Progress
from ..trainers import load_stream, modality_of
from .corruptions import Corruption, corrupt


class Study:
    """A two-stream network on its device, asked about clips whose depth comes in many versions."""

    def __init__(self, lab: Lab, two_stream: Run, corrupted: str, corruptions: Sequence[Corruption]):
        state, model = PartialState(), two_stream.spec.config["model"]
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
            seen = corrupt(depth, ids, corruption, reading, seed=self.batches.seed, config=self.clips, pictures=pictures)
            clip = self._as_input(seen)
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
    state, batches, begin = PartialState(), study.batches, time.monotonic()
    logits, seconds = _restore(run)
    saved, batch = begin, TEST_BATCH * state.num_processes
    if state.is_main_process:
        run.set_state("running")

    def save() -> None:
        if state.is_main_process and logits:
            about = {"ids": list(logits), "seconds": seconds + time.monotonic() - begin}
            run.save_checkpoint(len(logits), 0, {"logits": torch.stack(list(logits.values()))}, about)

    with (
        testing(study.streams, bn_at_test),
        torch.inference_mode(),
        StopSignals() as stop,
        Progress("noise study", len(batches.ids), "clips", done=len(logits), show=state.is_main_process) as bar,
    ):
        for start in range(len(logits), len(batches.ids), batch):
            group = batches.ids[start : start + batch]
            mine = group[state.process_index :: state.num_processes]
            rows = torch.stack(list(study.score(mine)), dim=1).float().cpu() if mine else []
            scored = dict(gather_object(list(zip(mine, rows, strict=True))))
            logits.update({clip: scored[clip] for clip in group})
            bar.advance(len(group))
            if together({}, stop.received is not None)[1]:
                save()
                if state.is_main_process:
                    run.set_state("interrupted")
                stop.leave()
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
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
    check_finite({"the logits": logits}, "logits", [])
    outputs, predictions = {}, {}
    for number, reading in enumerate(study.readings):
        predictions[f"test/{reading}"] = logits[:, number]
        outputs[reading] = {"test": summary(correct(logits[:, number].numpy(), study.batches))}
    run.save_tensors(PREDICTIONS, predictions, {"test": study.batches.ids})
    run.save_json("record.json", {"seconds": seconds, "device": str(study.device), "machine": this_machine()})
    run.save_json(RESULT, {"outputs": outputs, "primary": next(iter(outputs))})
    run.set_state("done")
