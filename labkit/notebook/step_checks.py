"""Checks of the exercises about the training steps. `checks` offers them, too."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from .. import model
from .tutor import Function, answer, expect, numbers, patient, well_done

# -- 03 One stream ---------------------------------------------------------------------------------


def _mixed(frames: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Temporal convolution of (time, in) by (out, in, 3), zeros beyond the ends."""
    padded = np.pad(frames, ((1, 1), (0, 0)))
    return sum(padded[tap : tap + len(frames)] @ weight[:, :, tap].T for tap in range(3))


@patient
def check_temporal_conv(temporal_conv: Function) -> None:
    """Exercise 3.1: frames (time, in) and weight (out, in, 3), taps before, now and after, to (time, out)."""
    exercise = "exercise 3.1"
    frames = np.arange(1.0, 10.0).reshape(3, 3)
    average = np.repeat(np.eye(3)[:, :, None] / 3, 3, axis=2)
    rng = np.random.default_rng(0)
    for case, rows, weight in (
        ("a mean over three frames", frames, average),
        ("any weight, three channels to two", rng.normal(size=(4, 3)), rng.normal(size=(2, 3, 3))),
    ):
        expected = _mixed(rows, weight)
        found = numbers(exercise, case, temporal_conv, rows.copy(), weight.copy())
        hint = "out[t] = weight[:, :, 0] @ x[t-1] + weight[:, :, 1] @ x[t] + weight[:, :, 2] @ x[t+1]"
        held = np.concatenate([rows[:1], rows, rows[-1:]])
        for slip, mistake in (
            ("as many frames out as in: put a frame of zeros at each end", expected[1:-1]),
            ("beyond the clip lie zeros, not its first and last frame again", _mixed(held, weight)[1:-1]),
            ("the first tap looks at the frame before, the last at the frame after", _mixed(rows, weight[:, :, ::-1])),
        ):
            if np.shape(found) == mistake.shape and np.allclose(found, mistake):
                hint = slip
        expect(exercise, case, expected, found, hint)
    well_done(exercise)


@patient
def check_identity_kernel(identity_kernel: Function) -> None:
    """Exercise 3.2: the weight (channels, channels, 3) of a temporal convolution that changes nothing."""
    exercise, case = "exercise 3.2", "4 channels"
    found = numbers(exercise, case, identity_kernel, 4)
    frames = np.random.default_rng(0).normal(size=(5, 4))
    hint = "return an array (out, in, 3): channels to channels, three taps"
    if found.shape == (4, 4, 3):
        out = _mixed(frames, found)
        hint = "one 1 for each channel, from itself to itself, at the middle tap; zeros elsewhere"
        if np.allclose(out[1:], frames[:-1]) or np.allclose(out[:-1], frames[1:]):
            hint = "this moves the clip by one frame: the frame itself is at the middle tap"
        elif out.any() and np.ptp(out, axis=1).max() < 1e-9:
            hint = "all channels come out alike, as from the released code: channel c must come from channel c alone"
    expect(exercise, case, np.stack([np.zeros((4, 4)), np.eye(4), np.zeros((4, 4))], axis=-1), found, hint)
    well_done(exercise)


# -- 05 Step 1 -------------------------------------------------------------------------------------


@patient
def check_clip_logits(clip_logits: Function) -> None:
    """Exercise 5.1: logits (batch*time, classes) of frames to logits (batch, classes) of clips."""
    exercise = "exercise 5.1"
    first = [[1, 2, 0], [3, 0, 0], [2, 4, 0], [0, 0, 1], [4, -1, 0]]
    second = [[0, 0, 0], [1, 1, 1], [0, 5, 0], [0, 0, 0], [-1, 4, 4]]
    frames = torch.tensor(first + second, dtype=torch.float32)
    mixed_up = frames.reshape(5, 2, 3).mean(dim=0)
    for case, rows, expected in (
        ("one clip of five frames", frames[:5], [[2, 1, 0.2]]),
        ("two clips of five frames", frames, [[2, 1, 0.2], [0, 2, 1]]),
    ):
        found = numbers(exercise, case, clip_logits, rows, 5)
        hint = "the mean over each clip's frames: one row a clip, one column a class"
        if np.allclose(found.sum(axis=-1), 1):
            hint = "average the logits, not the probabilities: the softmax comes after the mean"
        elif found.shape == (2, 3) and np.allclose(found, mixed_up):
            hint = "the frames of a clip follow one another: (batch, time), not (time, batch)"
        expect(exercise, case, expected, found, hint)
    well_done(exercise)


@patient
def check_class_accuracy(class_accuracy: Function) -> None:
    """Exercise 5.2: from a confusion matrix (true, predicted) of counts to one accuracy a class."""
    exercise = "exercise 5.2"
    matrix = np.array([[6, 2, 0], [1, 2, 1], [0, 0, 5]])
    case = f"the matrix {matrix.tolist()}"
    found = numbers(exercise, case, class_accuracy, matrix.copy())
    hint = "the clips of a class that were answered right, divided by all clips of that class"
    for slip, mistake in (
        ("this is how often a *prediction* is right: divide by the rows' sums", matrix.sum(axis=0)),
        ("divide by the clips of the class, not by all clips", matrix.sum()),
        ("these are counts: divide by the clips of each class", 1),
    ):
        if np.shape(found) == (3,) and np.allclose(found, np.diag(matrix) / mistake):
            hint = slip
    expect(exercise, case, [0.75, 0.5, 1.0], found, hint)
    well_done(exercise)


# -- 06 Step 2 -------------------------------------------------------------------------------------


@patient
def check_inject(inject: Function) -> None:
    """Exercise 6.1: (shortcut, branch input) from a unit's sum, the other stream's signal and the connection."""
    exercise = "exercise 6.1"
    unit_sum, signal = torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([0.5, 0.0, 3.0])
    shortcut = F.relu(unit_sum)
    for connection, mistakes in (
        ("multiply", {"eq. 2 multiplies the sum itself, before its ReLU": shortcut * signal}),
        ("gated", {
            "gated adds to f(u), the rectified sum, not to u": unit_sum + unit_sum * signal,
            "gated multiplies the sum itself, before its ReLU": shortcut + shortcut * signal,
            "gated keeps f(u) beside the product": unit_sum * signal,
        }),
    ):  # fmt: skip
        expected = torch.stack(model.inject(unit_sum, signal, connection)).numpy()
        found = numbers(exercise, connection, inject, unit_sum.clone(), signal.clone(), connection)
        hint = "return two tensors, the shortcut f(u) and the input of the branch"
        if found.shape == (2, 3) and not np.allclose(found[0], shortcut):
            hint = "the shortcut is f(u), whatever the other stream says"
        elif found.shape == (2, 3):
            same = (slip for slip, value in mistakes.items() if np.allclose(found[1], value))
            hint = next(same, hint)
        expect(exercise, connection, expected, found, hint)
        _expect_gradient(exercise, connection, inject, unit_sum, signal)
    well_done(exercise)


def _expect_gradient(exercise: str, connection: str, inject: Function, unit_sum, signal) -> None:
    """The loss behind the connection must reach the stream that sends the signal."""
    signal = signal.clone().requires_grad_()
    _, branch = answer(exercise, connection, inject, unit_sum, signal, connection)
    found = "a gradient" if getattr(branch, "requires_grad", False) else "none"
    hint = "do not detach the signal: in step 2 the RGB stream's errors train the depth stream, too"
    expect(exercise, f"{connection}, backwards into the signal", "a gradient", found, hint)


@patient
def check_joint_loss(joint_loss: Function) -> None:
    """Exercise 6.2: step 2's loss from the two streams' logits (batch, classes) and the labels."""
    exercise = "exercise 6.2"
    source, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([[1.0, 2.0, 0.5]])
    two = torch.cat([source, target]), torch.cat([target, target])
    for case, a, b, labels in (
        ("one clip", source, target, torch.tensor([0])),
        ("two clips", *two, torch.tensor([0, 1])),
    ):
        found = numbers(exercise, case, joint_loss, a, b, labels)
        apart = (F.cross_entropy(a, labels) + F.cross_entropy(b, labels)) / 2
        chances = (F.softmax(a, dim=-1) + F.softmax(b, dim=-1)) / 2
        expected = F.cross_entropy((a + b) / 2, labels)
        hint = "the cross-entropy of the mean of the logits, mean over clips"
        for slip, mistake in (
            ("this is the mean of two losses; the paper takes one loss, of the mean logits", apart),
            ("fuse by the mean of the logits, not by their sum", F.cross_entropy(a + b, labels)),
            ("average the logits, not the probabilities", F.nll_loss(chances.log(), labels)),
            ("the mean over clips, not the sum", len(labels) * expected),
        ):
            if found.shape == () and np.isclose(found, mistake, atol=1e-5) and mistake != expected:
                hint = slip
        expect(exercise, case, expected.item(), found, hint, within=1e-5)
    well_done(exercise)


# -- 09 Step 4: RGB only ---------------------------------------------------------------------------


@patient
def check_fused_prediction(fused_prediction: Function) -> None:
    """Exercise 9.1: frame logits (T, K) of both streams to the fused logits (K,) of section 3.1."""
    exercise = "exercise 9.1"
    first = np.array([[1, 2, 0], [3, 0, 0], [2, 4, 0], [0, 0, 1], [4, -1, 0]], float)
    second = np.array([[0, 0, 0], [1, 1, 1], [0, 5, 0], [0, 0, 0], [-1, 4, 4]], float)
    case = "two streams, 5 frames, 3 classes"
    found = numbers(exercise, case, fused_prediction, first, second)
    hint = "the mean over time of each stream's logits, then the mean of the two streams"
    expected = (first.mean(axis=0) + second.mean(axis=0)) / 2
    if np.allclose(found, 2 * expected):
        hint = "the mean of the two streams, not their sum"
    elif np.allclose(np.sum(found), 1):
        hint = "average the logits; section 3.1 applies no softmax before fusing"
    elif np.shape(found) == (5, 3):
        hint = "one answer for the clip: take the mean over time as well"
    expect(exercise, case, expected, found, hint)
    well_done(exercise)


@patient
def check_paired_interval(paired_interval: Function) -> None:
    """Exercise 9.2: 95 % interval of an accuracy difference over the same clips, subjects resampled whole.

    `draws` (samples, subjects) says which subjects enter each resample, as indices into their sorted names.
    """
    exercise, case = "exercise 9.2", "9 subjects, 40 clips, 400 resamples"
    rng = np.random.default_rng(9)
    people = np.sort(np.concatenate([np.arange(9), rng.integers(0, 9, 31)]))
    good = rng.random(9)[people]
    first, second = rng.random(40) < 0.4 + 0.5 * good, rng.random(40) < 0.2 + 0.6 * good
    draws = rng.integers(0, 9, (400, 9))
    gap, ones = first.astype(float) - second, np.ones(40)
    clips_drawn = [np.concatenate([np.flatnonzero(people == p) for p in drawn]) for drawn in draws]
    differences = np.array([gap[rows].mean() for rows in clips_drawn])
    found = numbers(exercise, case, paired_interval, first, second, people, draws)
    hint = "for each row of draws: all clips of the drawn subjects, the mean of first minus second; then its quantiles"
    by_subject = np.bincount(people, gap) / np.bincount(people, ones)
    ends = [0.025, 0.975]
    means, rows = by_subject[draws].mean(axis=1), gap[draws].mean(axis=1)
    for slip, mistake in (
        ("95 % lie between the quantiles 0.025 and 0.975", np.quantile(differences, [0.05, 0.95])),
        ("subjects differ in clips: take the mean over clips, not of the subjects' means", np.quantile(means, ends)),
        ("a row names subjects, not clips: take all clips of each", np.quantile(rows, ends)),
    ):
        if np.shape(found) == (2,) and np.allclose(found, mistake, atol=1e-9):
            hint = slip
    expect(exercise, case, np.quantile(differences, ends), found, hint, within=1e-3)
    well_done(exercise)
