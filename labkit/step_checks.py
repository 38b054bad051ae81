"""Checks of the exercises about the training steps. `checks` offers them, too."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from . import model
from .tutor import Function, answer, expect, numbers, well_done

# -- 05 Step 1 -------------------------------------------------------------------------------------


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
