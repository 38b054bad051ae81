"""Exported against eager on a CPU, as ratios: `python tests/benchmarks/export.py`.

The network of step 4 with random weights, at the sizes of mini and of the paper, one and two threads,
one and eight clips. Both see the same uint8 frames; eager is in channels-last memory, its faster one
here, under `inference_mode`. Calls are taken in turn; a ratio is the median over pairs. On one thread
CPU time is compared, which holds on a busy machine; on two, wall time, for which it should be idle.
Parity is the largest difference of logits as a share of the largest logit. "At most" is the ratio that an export
would have which computed as fast as this machine multiplies large matrices; ONNX Runtime can be a little
faster than that, and no engine that does the same multiplications in single precision by much. Takes five minutes.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import onnxruntime
import torch
from common import compare, gemm_rate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from labkit.config import MINI, PAPER, Profile
from labkit.export.convert import TOLERANCE, difference, noise, to_onnx
from labkit.export.network import RgbOnly, eager_answer
from labkit.export.onnx_model import FORMAT, open_export
from labkit.model import TwoStream, build_stream

CLASSES = {"mini": 12, "paper": 60}
PAIRS = {("mini", 1): 60, ("mini", 8): 30, ("paper", 1): 5, ("paper", 8): 3}


def random_network(profile: Profile) -> RgbOnly:
    """Two tied streams whose batch statistics are not the trivial 0 and 1."""
    torch.manual_seed(0)
    config = replace(profile.model, pretrained=False)
    streams = [build_stream(config, CLASSES[profile.name], profile.clips.num_frames) for _ in range(2)]
    network = TwoStream(*streams, config.connection, config.connect_at)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 2)
    return RgbOnly(network, "source", 4, profile.clips.normalization).eval().requires_grad_(False)


def exported(network: RgbOnly, profile: Profile, folder: Path) -> Path:
    """Its ONNX file, described as far as opening it asks."""
    about = {"format": FORMAT, "num_frames": profile.clips.num_frames, "size": profile.clips.size}
    path = folder / f"{profile.name}.onnx"
    path.write_bytes(to_onnx(network, about))
    return path


def row(profile: Profile, network: RgbOnly, path: Path, threads: int, clips: int) -> str:
    """One comparison as a line of the table; ends the run when the two do not agree."""
    torch.set_num_threads(threads)
    model, eager = open_export(path, threads), eager_answer(network)
    ours, about = model.answer, model.about
    parity, pixels = difference(ours, eager, about), noise(clips, about)
    assert parity <= TOLERANCE, f"the two disagree by {parity}"
    clock = time.process_time if threads == 1 else time.perf_counter
    pairs = PAIRS[profile.name, clips]
    ratio, slow, fast = compare(lambda: eager(pixels), lambda: ours(pixels), pairs, clock)
    with FlopCounterMode(display=False) as counter:
        network(torch.from_numpy(pixels[:1]))
    bound = slow * gemm_rate(clock) / (counter.get_total_flops() * clips)
    head = f"{profile.name:<8}{threads:>8}{clips:>7}{ratio:>8.2f}{'>= 1.8':>9}{bound:>9.2f}"
    return f"{head}{fast:>11.4f}{slow:>9.4f}{parity:>10.1e}"


def main() -> None:
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, load average {os.getloadavg()[0]:.1f}")
    head = ("size", "threads", "clips", "ratio", "goal", "at most", "exported s", "eager s", "parity")
    print("{:<8}{:>8}{:>7}{:>8}{:>9}{:>9}{:>11}{:>9}{:>10}".format(*head))
    with tempfile.TemporaryDirectory() as folder:
        for profile in (MINI, PAPER):
            network = random_network(profile)
            path = exported(network, profile, Path(folder))
            network.to(memory_format=torch.channels_last)
            for threads, clips in itertools.product((1, 2), (1, 8)):
                print(row(profile, network, path, threads, clips), flush=True)


if __name__ == "__main__":
    main()
