"""Checks of the exercises, those of notebooks 00 to 05 here: cases, right answers, and hints by mistake.

Each function yields cases, which `exercises.exercise` turns into the check of a reader's function: one line when
all is well, otherwise LabError with the exercise, what was expected for which case, what came out, and a hint.
The tests run the same checks on the lab's own code. Those of 06 to 09 stand in `step_checks`, of 10 to 14 in
`study_checks`; all are offered here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck

from .. import clips, model
from .checking.exercises import Case, exercise
from .checking.step_checks import *  # noqa: F403
from .checking.study_checks import *  # noqa: F403

# -- 00 The question -------------------------------------------------------------------------------

VERDICTS = ("depth helped", "not shown to be depth", "no gain shown")


@exercise("0.1")
def check_verdict() -> Iterator[Case]:
    """Exercise 0.1: the intervals of row 15 minus row 2 and of row 15 minus its control, to a verdict."""
    helped, unclear, none = VERDICTS
    both = "a gain is shown where the whole interval lies above zero, that is where its lower end does"
    twin = "a gain over one RGB stream may come from twice the weights: ask the control, which has them too"
    for over_rgb, over_control, right, hint in (
        ((4.0, 9.0), (1.0, 5.0), helped, both),
        ((4.0, 9.0), (-2.0, 3.0), unclear, twin),
        ((4.0, 9.0), (-6.0, -1.0), unclear, twin),
        ((-1.0, 6.0), (0.5, 4.0), none, both),
        ((-8.0, -2.0), (-5.0, -1.0), none, both),
    ):
        yield Case(f"{over_rgb} over row 2 and {over_control} over the control", (over_rgb, over_control), right, hint)


@exercise("0.2")
def check_gap_closed() -> Iterator[Case]:
    """Exercise 0.2: share of the way from a baseline to an upper bound that a student has gone."""
    for student, baseline, upper, right, hint in (
        (70.0, 60.0, 80.0, 0.5, "the student's gain over the baseline, divided by the upper bound's"),
        (60.0, 60.0, 80.0, 0.0, "a student no better than the baseline closes nothing"),
        (50.0, 60.0, 80.0, -0.5, "a student below the baseline has gone backwards; do not cut at zero"),
        (85.0, 60.0, 80.0, 1.25, "a student may pass the bound; do not cut at one"),
    ):
        yield Case(f"{student}, {baseline}, {upper}", (student, baseline, upper), right, hint)


# -- 01 RGB-D clips --------------------------------------------------------------------------------


@exercise("1.1")
def check_sample_frames() -> Iterator[Case]:
    """Exercise 1.1: evenly spaced indices of so many frames, the first and the last among them."""
    hint = "cut fractions off, as the released code does, rather than rounding"
    for available, count in ((5, 5), (10, 5), (103, 5), (7, 3), (18, 5), (3, 5)):
        ends = [0, available - 1]
        yield Case(f"{count} of {available} frames", (available, count), clips.sample_frames(available, count), hint, {
            f"return {count} indices; where the clip is shorter, frames repeat": lambda f, n=count: f.shape != (n,),
            f"first and last frame must be in: go from 0 to {available - 1} in {count - 1} equal steps":
                lambda f, ends=ends: list(f[[0, -1]]) != ends,
        })  # fmt: skip


@exercise("1.2")
def check_depth_levels() -> Iterator[Case]:
    """Exercise 1.2: a depth frame in mm to 0..1 by its own nearest and farthest reading; background is 0."""
    frame = np.array([[0, 2000, 2500], [0, 3000, 2250]], np.uint16)
    hint = "nearest reading to 0, farthest to 1, linear between"
    yield Case(f"the frame {frame.tolist()}", (frame,), [[0, 0, 0.5], [0, 1, 0.25]], hint, {
        "background is 0 but no reading: take the nearest of the readings above 0": frame / 3000,
        "background lies below the nearest reading: cut at 0": lambda f: f.min() < 0,
        "uint16 has no negative numbers and wraps around: turn the frame into floats first": lambda f: f.max() > 1,
    })  # fmt: skip
    hint, empty = "nothing was measured, so every level is 0", np.zeros((2, 2), np.uint16)
    yield Case("a frame of background alone", (empty,), np.zeros((2, 2)), hint)


# -- 02 Alignment ----------------------------------------------------------------------------------


@exercise("2.1")
def check_shared_box() -> Iterator[Case]:
    """Exercise 2.1: what both cameras show, (left, top, right, bottom) in depth pixels."""
    hint = "the colour image goes from the offset to color_size / ratio + offset; cut that to the depth image"
    for words, ratio, offset, depth, color in (
        ("a Kinect v2", 2.88, (-80.0, 17.0), (512, 424), (1920, 1080)),
        ("a colour image that depth sees whole", 3.0, (20.0, 10.0), (100, 80), (120, 90)),
        ("cameras shifted to the other side", 2.0, (30.0, -12.0), (100, 80), (200, 120)),
    ):
        first, last = np.array(offset), np.array(color) / ratio + offset
        right = np.concatenate([np.maximum(first, 0), np.minimum(last, depth)])
        colored = np.concatenate([(right[:2] - offset) * ratio, (right[2:] - offset) * ratio])
        yield Case(f"{words}: {ratio}, {offset}, {depth}, {color}", (ratio, offset, depth, color), right, hint, {
            "four numbers: left, top, right, bottom": lambda f: f.shape != (4,),
            "the box leaves the depth image: cut it to 0 and to depth_size": np.concatenate([first, last]),
            "cut the far corner too: nothing lies beyond depth_size": np.concatenate([right[:2], last]),
            "cut the near corner too: nothing lies left of 0 or above it": np.concatenate([first, right[2:]]),
            "the offset moves the far corner too": np.concatenate([right[:2], np.minimum(last - offset, depth)]),
            "left, top, right, bottom: x and y of one corner, then of the other": right[[0, 2, 1, 3]],
            "these are colour pixels; divide by the ratio": colored,
        })  # fmt: skip


@exercise("2.2")
def check_residual() -> Iterator[Case]:
    """Exercise 2.2: the median distance of joints after a fit, in depth pixels."""
    rng, ratio, offset = np.random.default_rng(3), 2.9, np.array([-80.0, 15.0])
    depth = rng.uniform(50, 350, (41, 2))
    color = (depth - offset) * ratio + rng.normal(0, 3, depth.shape)
    color[:3] += 900  # three joints gone wild
    apart = depth - (color / ratio + offset)
    distances, hint = np.linalg.norm(apart, axis=1), "from depth to color / ratio + offset, the median over joints"
    turned = np.linalg.norm(depth - (color / ratio - offset), axis=1)
    yield Case("joints of ratio 2.9", (depth, color, ratio, offset), np.median(distances), hint, {
        "one number for all joints": lambda f: f.shape != (),
        "three joints are far off: take the median, which they hardly move": distances.mean(),
        "a distance has both axes: the root of dx² + dy², joint by joint": np.median(np.abs(apart)),
        "the root is missing: distance, not its square": np.median(distances**2),
        "the sign: a colour joint falls at color / ratio + offset": np.median(turned),
        "these are colour pixels; divide by the ratio": np.median(ratio * distances),
    }, near=1e-4)  # fmt: skip


# -- 03 One stream ---------------------------------------------------------------------------------


def _mixed(frames: np.ndarray, weight: np.ndarray, num_frames: int, ends: str = "constant") -> np.ndarray:
    """Temporal convolution of maps (batch*time, in, height, width) by (out, in, 3); beyond the ends lie zeros."""
    clips = frames.reshape(-1, num_frames, *frames.shape[1:])
    padded = np.pad(clips, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)), mode=ends)
    taps = [padded[:, tap : tap + num_frames] for tap in range(3)]
    mixed = sum(np.einsum("oi,btihw->btohw", weight[..., tap], taps[tap]) for tap in range(3))
    return mixed.reshape(len(frames), -1, *frames.shape[2:])


@exercise("3.1", without=("conv1d", "conv2d", "conv3d", "Conv1d", "Conv2d", "Conv3d", "unfold", "Unfold"))
def check_temporal_conv() -> Iterator[Case]:
    """Exercise 3.1: maps (batch*time, in, height, width) by weight (out, in, 3), each clip by itself."""
    rng = np.random.default_rng(0)
    average = np.repeat(np.eye(2)[:, :, None] / 3, 3, axis=2)
    hint = "out[t] = weight[..., 0] @ x[t-1] + weight[..., 1] @ x[t] + weight[..., 2] @ x[t+1], at every position"
    for words, count, weight, num_frames in (
        ("a mean over three frames, one clip", 3, average, 3),
        ("any weight, one clip", 3, rng.normal(size=(2, 2, 3)), 3),
        ("any weight, two clips", 8, rng.normal(size=(2, 2, 3)), 4),
        ("two channels to three, two clips", 6, rng.normal(size=(3, 2, 3)), 3),
    ):
        frames = rng.normal(size=(count, 2, 1, 2))
        slips = {
            "as many frames out as in: put a frame of zeros at each end of every clip":
                lambda f, n=count: f.shape[:1] < (n,),
            "beyond the clip lie zeros, not its first and last frame again": _mixed(frames, weight, num_frames, "edge"),
            "the first tap looks at the frame before, the last at the frame after":
                _mixed(frames, weight[..., ::-1], num_frames),
        }  # fmt: skip
        if len(weight) == 2:
            slips["weight is (out, in, 3): sum over its second axis"] = \
                _mixed(frames, weight.swapaxes(0, 1), num_frames)  # fmt: skip
        if count > num_frames:
            slips["the last frame of a clip is no neighbour of the next clip's first: unfold (batch, time) before"] = \
                _mixed(frames, weight, count)  # fmt: skip
        given = torch.tensor(frames), torch.tensor(weight), num_frames
        yield Case(words, given, _mixed(frames, weight, num_frames), hint, slips)


@exercise("3.2")
def check_second_unit() -> Iterator[Case]:
    """Exercise 3.2: a torchvision Bottleneck with a temporal convolution before its last convolution."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        unit, temporal = Bottleneck(8, 2).eval().requires_grad_(False), model.TemporalConv(2, 3).requires_grad_(False)
        for weight in (temporal.weight, *(conv.weight for conv in (unit.conv1, unit.conv2, unit.conv3))):
            weight.normal_()
        frames = torch.randn(3, 8, 1, 1).relu()

        def sum_of(early: nn.Module, late: nn.Module, last: nn.Module) -> torch.Tensor:
            x = unit.bn2(unit.conv2(early(unit.bn1(unit.conv1(frames)).relu()))).relu()
            return frames + unit.bn3(last(unit.conv3(late(x))))

        same = nn.Identity()
        right = sum_of(same, temporal, same)
        slips = {
            "a Bottleneck has three convolutions: the temporal one sits before the last": sum_of(temporal, same, same),
            "the temporal convolution is missing": sum_of(same, same, same),
            "the shortcut is missing: add x to what the branch gives": right - frames,
        }  # fmt: skip
        slips = {hint: value.relu().numpy() for hint, value in slips.items()}
        slips["a unit ends with a ReLU of the sum"] = right.numpy()
        slips["ReLU comes after the sum with the shortcut, not before it"] = \
            (frames + (right - frames).relu()).numpy()  # fmt: skip
    hint = "conv1, bn1, ReLU; conv2, bn2, ReLU; temporal; conv3, bn3; plus x; ReLU"
    yield Case("a clip of three frames", (unit, temporal, frames), right.relu().numpy(), hint, slips)


# -- 04 Cross-stream connections -------------------------------------------------------------------


@exercise("4.1", without=("torch", "nn", "F"))
def check_backward() -> Iterator[Case]:
    """Exercise 4.1: the gradients of both streams' u, from those of the shortcut and of the branch's input."""
    own, other = np.array([-1.0, 0.5, 2.0, -0.5]), np.array([0.5, -1.0, 3.0, -2.0])
    to_shortcut, to_branch = np.array([1.0, -2.0, 0.5, 3.0]), np.array([2.0, 1.0, -1.0, 0.5])
    alive, signal, passed = (own > 0).astype(float), np.maximum(other, 0), (other > 0).astype(float)
    back = own * passed * to_branch
    hint = "the slope of a product by one factor is the other factor; then the slope of each ReLU, 0 or 1"
    for connection, slope, swapped, swap in (
        ("multiply", signal, alive + signal, "the multiplied form has no f(u) beside the product"),
        ("gated", alive + signal, signal, "gated has f(u) beside the product: where u is above zero, its slope is 1"),
    ):
        shortcut = alive * to_shortcut
        first = shortcut + slope * to_branch
        right = np.stack([first, back])
        yield Case(connection, (own, other, to_shortcut, to_branch, connection), right, hint, {
            "return two arrays, each as long as u": lambda f: f.shape != (2, 4),
            "the first gradient is that of the stream's own u, the second that of the other's": right[::-1],
            "u is used twice, by the branch and by the shortcut: add what comes back from both":
                np.stack([slope * to_branch, back]),
            "the shortcut is f(u): where u is below zero, nothing comes back through it":
                np.stack([to_shortcut + slope * to_branch, back]),
            "these are slopes: multiply each by the gradient that arrives": np.stack([alive + slope, own * passed]),
            "by the other's u: where that is below zero, its ReLU lets nothing back":
                np.stack([first, own * to_branch]),
            "u enters the product before its ReLU: its sign stays in the gradient":
                np.stack([first, np.maximum(own, 0) * passed * to_branch]),
            "the factor beside u is the signal, f of the other's u":
                np.stack([first + (other - signal) * to_branch, back]),
            swap: np.stack([shortcut + swapped * to_branch, back]),
        })  # fmt: skip


@exercise("4.2")
def check_signal_shapes() -> Iterator[Case]:
    """Exercise 4.2: (channels, height, width) of the four signals, from the picture's side and block 1's channels."""
    hint = "one (channels, height, width) for each block; look at the table above"
    for side, channels in ((64, 16), (224, 256), (128, 64)):
        right = np.array([[channels * 2**k, side // 2 ** (k + 2), side // 2 ** (k + 2)] for k in range(4)])
        alike = np.stack([[channels, s, s] for s in right[:, 1]])
        yield Case(f"pictures of {side} and {channels} channels", (side, channels), right, hint, {
            "a signal is taken in a block, after its first unit: block 1 has not halved anything yet":
                right // [1, 2, 2],
            "two things halve the picture before block 1: the first convolution and the pooling": right * [1, 2, 2],
            "each block but the first doubles the channels": alike,
            "channels come first, then height and width": right[:, ::-1],
            "each block but the first halves the picture": lambda f, doubled=right[:, 0]:
                f.shape == (4, 3) and np.allclose(f[:, 0], doubled) and np.ptp(f[:, 1]) == 0,
        })  # fmt: skip


# -- 05 Step 1 -------------------------------------------------------------------------------------


def _weights(network: torch.nn.Module) -> np.ndarray:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()]).numpy()


def _linear(stale: float = 0.0) -> tuple[torch.nn.Linear, torch.optim.SGD]:
    """A small network whose gradients are `stale` everywhere, and its optimizer."""
    network = torch.nn.Linear(3, 2)
    for parameter in network.parameters():
        values = torch.linspace(-1, 1, parameter.numel())
        parameter.data.copy_(values.reshape(parameter.shape))
        parameter.grad = torch.full_like(parameter, stale)
    return network, torch.optim.SGD(network.parameters(), lr=0.5)


def _stepped(*shares: Sequence[float], stale: float = 0.0) -> np.ndarray:
    """The weights after one optimizer step for each row of `shares`, the weights of the parts' mean losses."""
    network, optimizer = _linear(stale)
    for row in shares:
        means = [F.cross_entropy(network(clip), labels) for clip, labels in _parts()]
        sum(share * mean for share, mean in zip(row, means, strict=True)).backward()
        optimizer.step()
        optimizer.zero_grad()
    return _weights(network)


def _parts() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """A batch of six clips in parts of four and two."""
    clip = torch.tensor([[1, 0, 2], [0, 1, -1], [2, 2, 0], [-1, 0, 1], [0, 3, 1], [1, -2, 0]], dtype=torch.float32)
    labels = torch.tensor([0, 1, 1, 0, 1, 1])
    return [(clip[:4], labels[:4]), (clip[4:], labels[4:])]


@exercise("5.1")
def check_train_step() -> Iterator[Case]:
    """Exercise 5.1: one optimizer step on a batch that comes in parts; returns the batch's cross-entropy."""
    whole, sizes = (4 / 6, 2 / 6), (4, 2)
    hint = "zero the gradients once, go backwards from every part's share of the loss, then take one step"
    for words, stale in (("parts of 4 and 2 clips", 0.0), ("a network that holds gradients from before", 1.0)):
        network, optimizer = _linear(stale)
        yield Case(f"the weights after a step, {words}", (network, optimizer, _parts()), _stepped(whole), hint, {
            "nothing has moved: backward() only fills the gradients; call optimizer.step()": _weights(network),
            "one step for the whole batch: optimizer.step() belongs behind the loop over the parts":
                _stepped((1, 0), (0, 1)),
            "a part counts by its clips: a part of four is two thirds of a batch of six": _stepped((0.5, 0.5)),
            "the mean over all clips of the batch, not the sum of the parts' means": _stepped((1, 1)),
            "the mean over all clips, not their sum: divide by the clips of the batch": _stepped(sizes),
            "zero the gradients before the first part, and only there: each backward() adds to them":
                _stepped((0, 2 / 6)),
            "the network holds gradients from before: zero them first": _stepped(whole, stale=stale),
        }, read=lambda found, network=network: _weights(network))  # fmt: skip
    network, optimizer = _linear()
    with torch.no_grad():
        means = [F.cross_entropy(network(clip), labels).item() for clip, labels in _parts()]
    yield Case("the loss that is returned", (network, optimizer, _parts()), np.dot(whole, means),
               "the cross-entropy of the whole batch, as a number: the sum of the parts' shares", {
        "that is the last part's share; add up all of them": means[-1] * whole[-1],
        "that is the last part's loss; the batch has more": means[-1],
        "the mean over all clips, not the sum of the parts' means": sum(means),
        "the mean over all clips, not over parts of different sizes": np.mean(means),
    })  # fmt: skip


@exercise("5.2")
def check_class_accuracy() -> Iterator[Case]:
    """Exercise 5.2: from a confusion matrix (true, predicted) of counts to one accuracy a class."""
    matrix = np.array([[6, 2, 0], [1, 2, 1], [0, 0, 5]])
    right_ones = np.diag(matrix)
    hint = "the clips of a class that were answered right, divided by all clips of that class"
    yield Case(f"the matrix {matrix.tolist()}", (matrix,), [0.75, 0.5, 1.0], hint, {
        "this is how often a *prediction* is right: divide by the rows' sums": right_ones / matrix.sum(axis=0),
        "divide by the clips of the class, not by all clips": right_ones / matrix.sum(),
        "these are counts: divide by the clips of each class": right_ones,
    })  # fmt: skip
