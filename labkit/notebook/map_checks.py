"""Checks of the exercises about feature maps. `checks` offers them, too."""

from __future__ import annotations

import numpy as np
import torch

from ..analysis.cka import cka
from .tutor import Function, expect, numbers, patient, well_done

# -- 11 Feature maps -------------------------------------------------------------------------------


@patient
def check_cka(my_cka: Function) -> None:
    """Exercise 11.1: linear CKA of x (examples, p) and y (examples, q), NumPy arrays."""
    exercise = "exercise 11.1"
    rng = np.random.default_rng(11)
    x = rng.normal(2, 1, (40, 5))
    y = rng.normal(-1, 1, (40, 3)) + 2 * x[:, :3]
    length = np.linalg.norm
    for case, first, second in (
        ("40 examples of 5 and 3 channels", x, y),
        ("the same, turned round", y, x),
        ("the same, ten times as large", 10 * x, y),
    ):
        found = numbers(exercise, case, my_cka, first.copy(), second.copy())
        expected = cka(torch.tensor(first), torch.tensor(second))
        a, b = first - first.mean(axis=0), second - second.mean(axis=0)
        across = [values - values.mean(axis=1, keepdims=True) for values in (first, second)]
        hint = "|YᵀX|² over |XᵀX| |YᵀY|, of centred X and Y, with the Frobenius norm"
        for slip, mistake in (
            ("centre first: subtract each channel's mean over the examples", _aligned(first, second)),
            ("centre each channel over the examples, not each example over its channels", _aligned(*across)),
            ("the numerator is squared", length(b.T @ a) / (length(a.T @ a) * length(b.T @ b))),
            ("do not take the root at the end", np.sqrt(expected)),
            ("divide by |XᵀX| and |YᵀY|, not by the lengths of X and Y squared",
             length(b.T @ a) ** 2 / (length(a) * length(b)) ** 2),
            ("divide by |XᵀX| |YᵀY|, so that scale does not matter", length(b.T @ a) ** 2),
        ):  # fmt: skip
            if found.shape == () and np.isclose(found, mistake, rtol=1e-5, atol=0):
                hint = slip
        expect(exercise, case, expected, found, hint)
    well_done(exercise)


def _aligned(x: np.ndarray, y: np.ndarray) -> float:
    """CKA of x and y as they are, not centred."""
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


@patient
def check_largest_drops(largest_drops: Function) -> None:
    """Exercise 11.2: from probabilities (clips, classes) before and after, the clips that lost most of the true one."""
    exercise, case = "exercise 11.2", "the 3 of 6 clips"
    labels = np.array([0, 1, 2, 0, 1, 2])
    before = np.array([[9, 1, 0], [2, 7, 1], [8, 1, 1], [2, 7, 1], [1, 3, 6], [2, 0, 8]]) / 10
    after = np.array([[4, 6, 0], [6, 1, 3], [1, 8, 1], [0, 8, 2], [0, 10, 0], [1, 1, 8]]) / 10
    change = after[np.arange(6), labels] - before[np.arange(6), labels]
    found = numbers(exercise, case, largest_drops, before.copy(), after.copy(), labels.copy(), 3)
    hint = "the true class's probability before minus after, sorted from the largest"
    sure = after.max(axis=1) - before.max(axis=1)
    seen = before.argmax(axis=1)
    for slip, mistake in (
        ("these gained most: sort the loss, before minus after, from the largest", np.argsort(-change)[:3]),
        ("the largest loss comes first", np.argsort(change)[:3][::-1]),
        ("a gain is no loss: keep the sign", np.argsort(-np.abs(change), kind="stable")[:3]),
        ("take the true class's probability, not the largest one", np.argsort(sure, kind="stable")[:3]),
        ("take the true class's probability, not that of the class first predicted",
         np.argsort(after[np.arange(6), seen] - before[np.arange(6), seen], kind="stable")[:3]),
        ("return the clips' places, not what they lost", -np.sort(change)[:3]),
        ("a difference of probabilities, not a ratio",
         np.argsort(after[np.arange(6), labels] / before[np.arange(6), labels], kind="stable")[:3]),
    ):  # fmt: skip
        if found.shape == (3,) and np.allclose(found, mistake):
            hint = slip
    expect(exercise, case, np.argsort(change)[:3], found, hint)
    well_done(exercise)
