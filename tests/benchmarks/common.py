"""What the scripts of this folder share: two ways to compute the same thing, timed in turn, and a step 2 to time."""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tiny.py

import torch
from torch.nn import functional as F

from labkit.fit import Training
from labkit.lab import Lab
from labkit.model import TwoStream, build_stream

MATRIX, GEMM_SECONDS = 2048, 2.0


def compare(
    ours: Callable, theirs: Callable, pairs: int, clock: Callable = time.process_time
) -> tuple[float, float, float]:
    """Median of paired ratios ours / theirs, and the median seconds of both; of CPU time unless told otherwise."""
    times: dict[Callable, list[float]] = {ours: [], theirs: []}
    for call in (ours, theirs):
        call()
    for number in range(pairs):
        for call in (ours, theirs) if number % 2 else (theirs, ours):
            times[call].append(seconds(call, clock)[0])
    ratios = [a / b for a, b in zip(times[ours], times[theirs], strict=True)]
    return statistics.median(ratios), statistics.median(times[ours]), statistics.median(times[theirs])


def seconds(call: Callable, clock: Callable = time.process_time) -> tuple[float, Any]:
    """How long a call takes, and what it returns."""
    begin = clock()
    result = call()
    return clock() - begin, result


def gemm_rate(clock: Callable = time.process_time) -> float:
    """Floating-point operations a second of products of large matrices, over two seconds: about the machine's best."""
    a, b = torch.rand(2, MATRIX, MATRIX)
    begin, count = clock(), 0
    while clock() - begin < GEMM_SECONDS:
        torch.mm(a, b)
        count += 1
    return 2 * MATRIX**3 * count / (clock() - begin)


def peak_memory() -> float:
    """Most memory this process has held since it began, in MiB; Linux alone tells it.

    `ru_maxrss` would not do: a process starts it from that of the one that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[1]) / 1024


def adam_step(parts: list[torch.nn.Module], loss: Callable[[], torch.Tensor], fused: bool = True) -> Callable:
    optimizer = torch.optim.Adam([p for part in parts for p in part.parameters() if p.requires_grad], fused=fused)

    def step() -> None:
        loss().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def channels_last(module: torch.nn.Module) -> torch.nn.Module:
    return module.to(memory_format=torch.channels_last)


def joint_training(lab: Lab) -> Training:
    """Step 2 of the lab's profile, RGB and depth from random weights, ready for `train_step`."""
    config, frames = lab.profile.model, lab.profile.clips.num_frames
    torch.manual_seed(0)
    pair = TwoStream(*(build_stream(config, lab.num_classes, frames) for _ in range(2)), config.connection)
    return Training(
        lab.run("bench", {"modalities": {"source": "depth", "target": "rgb"}}), lab, lab.profile.step2,
        network=pair, trained={"pair": pair},
        forward=lambda batch, _: pair(batch["rgb"], batch["depth"]).logits,
        loss=lambda logits, _, labels: {"total": F.cross_entropy(logits.float(), labels)},
        read=lambda batch: {"fused": pair(batch["rgb"], batch["depth"]).logits},
    )  # fmt: skip
