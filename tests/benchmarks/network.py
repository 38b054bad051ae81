"""What the networks cost at the paper's size, as ratios: `python tests/benchmarks/network.py [--pairs 3]`.

RGB-only inference against two plain ResNet-50s, eight clips at once against one; a training step against steps
of the 3D networks that a reader would reach for instead, with as many frames as those see (random weights all);
the optimizer's share of a step, memory beside two plain networks, and useful floating-point operations a second
beside what a product of large matrices reaches here. Single precision, one thread, CPU time; values are compared
first where both sides compute the same. Freed memory is kept for the next tensors, as in a training of the lab,
on both sides. Takes about eight minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import torch
from common import adam_step, channels_last, compare, gemm_rate, peak_memory
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_model

from labkit.model import Stream, TwoStream
from labkit.processes import keep_memory

CLASSES, SIDE, FRAMES, BATCH = 60, 224, 5, 5  # of the paper; clips a batch as in the released code
Rows = Iterator[tuple[str, float, str, str]]  # what, value, goal, beside it


def clips(count: int = 1, frames: int = FRAMES) -> Tensor:
    """Random clips of two modalities, (2,B,T,3,H,W)."""
    return torch.rand(2, count, frames, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def two_stream() -> TwoStream:
    return channels_last(TwoStream(Stream(CLASSES), Stream(CLASSES), "multiply"))


def pair_step(pair: TwoStream, count: int = 1) -> Callable[[], None]:
    """A step of step 2 on that many clips."""
    given, labels = clips(count), torch.arange(count)
    return adam_step([pair], lambda: F.cross_entropy(pair(*given).logits, labels))


def plain_step(count: int = 1) -> Callable[[], None]:
    """The same with two of torchvision's ResNet-50s, frames averaged, and nothing between them."""
    given, labels = clips(count).flatten(1, 2), torch.arange(count)
    nets = [channels_last(get_model("resnet50", num_classes=CLASSES)) for _ in given]
    given = [frames.contiguous(memory_format=torch.channels_last) for frames in given]

    def loss() -> Tensor:
        logits = sum(net(frames) for net, frames in zip(nets, given, strict=True)) / 2
        return F.cross_entropy(logits.view(count, FRAMES, -1).mean(1), labels)

    return adam_step(nets, loss)


def inference(pairs: int) -> Rows:
    """Step 4's network sees RGB in both streams; eight clips at once must answer as each alone does."""
    pair, nets = two_stream().eval(), [get_model("resnet50", num_classes=CLASSES) for _ in range(2)]
    nets = [channels_last(net).eval() for net in nets]
    eight = clips(8)[0]
    one = eight[:1]
    frames = one[0].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        gap = float((pair(eight, eight).logits[:1] - pair(one, one).logits).abs().max())
        assert gap < 1e-4, f"a clip's answer depends on the batch by {gap}"
        ours = lambda: pair(one, one).logits
        ratio, *seconds = compare(ours, lambda: [net(frames).mean(0) for net in nets], 3 * pairs)
        yield "RGB-only inference / two ResNet-50s", ratio, "<= 1.08", "{:.3f} s, {:.3f} s".format(*seconds)
        ratio, many, alone = compare(lambda: pair(eight, eight), lambda: [ours() for _ in range(8)], pairs)
        yield "clips a second, batch of 8 / 1 by 1", 1 / ratio, ">= 1.0", f"{8 / many:.2f}, {8 / alone:.2f} clips/s"


def slow_only() -> nn.Module:
    """A 3D network of SlowOnly's shape: a ResNet-50 whose last two stages look at three frames at once."""
    net = get_model("resnet50", num_classes=CLASSES)
    for name, module in list(net.named_modules()):
        parent, _, last = name.rpartition(".")
        if isinstance(module, nn.Conv2d):
            deep = 3 if last == "conv1" and name.startswith(("layer3", "layer4")) else 1
            made = nn.Conv3d(module.in_channels, module.out_channels, (deep, *module.kernel_size),
                             (1, *module.stride), (deep // 2, *module.padding), bias=False)  # fmt: skip
        elif isinstance(module, nn.BatchNorm2d):
            made = nn.BatchNorm3d(module.num_features)
        elif isinstance(module, nn.MaxPool2d):
            made = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            made = nn.AdaptiveAvgPool3d(1)
        else:
            continue
        setattr(net.get_submodule(parent), last, made)
    return net


def forward_flops(net: nn.Module, *given: Tensor) -> float:
    """Multiply-adds of one forward pass, in 10^9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*given)
    return counter.get_total_flops() / 2e9


def against_3d_networks(pairs: int) -> Rows:
    """Clips a second in training: two streams of 5 frames against R3D-18 (16 of 112 x 112) and SlowOnly (8 of 224)."""
    pair, label = two_stream(), torch.tensor([7])
    ours = forward_flops(pair, *clips())
    shapes = {"R3D-18": (get_model("r3d_18", num_classes=CLASSES), (16, 112)), "SlowOnly 8x8": (slow_only(), (8, SIDE))}
    for (name, (net, (frames, side))), goal in zip(shapes.items(), (">= 0.95", ">= 1.25"), strict=True):
        clip = torch.rand(1, 3, frames, side, side)
        net, clip = (part.to(memory_format=torch.channels_last_3d) for part in (net, clip))
        theirs = forward_flops(net, clip)
        step = adam_step([net], lambda net=net, clip=clip: F.cross_entropy(net(clip), label))
        ratio, mine, other = compare(pair_step(pair), step, pairs)
        beside = f"{mine:.2f} s, {other:.2f} s; {ours:.1f} and {theirs:.1f} G multiply-adds"
        yield f"training clips a second / {name}", 1 / ratio, goal, beside


def parts_of_a_step(pairs: int) -> Rows:
    """The optimizer's share of a step of five clips, and how near that step comes to the machine's best."""
    pair, given, labels = two_stream(), clips(BATCH), torch.arange(BATCH)
    optimizer = torch.optim.Adam(pair.parameters(), fused=True)
    shares, rates = [], []
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(pair(*given).logits, labels).backward()
    for number in range(1 + pairs):  # the first makes the optimizer's state
        peak = gemm_rate() if number else 0.0
        begin = time.process_time()
        F.cross_entropy(pair(*given).logits, labels).backward()
        middle = time.process_time()
        optimizer.step()
        end = time.process_time()
        optimizer.zero_grad()
        if number:
            shares.append((end - middle) / (end - begin))
            rates.append((counter.get_total_flops() / (end - begin), peak))
    yield "optimizer / step of 5 clips", statistics.median(shares), "<= 0.03", f"{1000 * (end - middle):.0f} ms"
    ratio = statistics.median(mine / best for mine, best in rates)
    beside = "{:.0f} and {:.0f} GFLOP/s".format(*(rate / 1e9 for rate in rates[-1]))
    yield "useful operations / peak of a matrix product", ratio, ">= 0.40", beside


STEPS = {"ours": lambda: pair_step(two_stream(), BATCH), "plain": lambda: plain_step(BATCH)}


def peak_of(name: str) -> None:
    """Print the MiB that three steps add to the peak of a fresh process."""
    torch.set_num_threads(1)
    torch.mm(*torch.rand(2, 64, 64))
    before = peak_memory()
    step = STEPS[name]()
    for _ in range(3):
        step()
    print(peak_memory() - before)


def memory(pairs: int) -> Rows:
    command = [sys.executable, __file__, "--peak"]
    peaks = [float(subprocess.check_output([*command, name], text=True)) for name in STEPS]
    beside = "{:.2f} and {:.2f} GiB".format(*(peak / 1024 for peak in peaks))
    yield "peak memory of a step of 5 clips / two ResNet-50s", peaks[0] / peaks[1], "<= 1.10", beside


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--peak", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    keep_memory()
    if arguments.peak:
        return peak_of(arguments.peak)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, load average {os.getloadavg()[0]:.1f}")
    for benchmark in (inference, parts_of_a_step, memory, against_3d_networks):
        for what, value, goal, beside in benchmark(arguments.pairs):
            print(f"{what:<52}{value:>8.3f}{goal:>10}  {beside}", flush=True)
    return None


if __name__ == "__main__":
    main()
