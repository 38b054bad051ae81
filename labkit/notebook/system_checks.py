"""Checks of the exercises about other systems. `checks` offers them, too."""

from __future__ import annotations

import numpy as np
import torch

from ..experiments.system_losses import focal_channels
from .tutor import Function, expect, numbers, patient, well_done

# -- 13 Other teachers -----------------------------------------------------------------------------


@patient
def check_teacher_weights(my_weights: Function) -> None:
    """Exercise 13.1: the softmin over teachers of their errors (teachers, clips) at a temperature."""
    exercise = "exercise 13.1"
    errors = np.array([[1.464369, 0.2, 2.0], [3.169846, 0.1, 0.5], [1.0, 0.9, 2.5]])
    for case, given, temperature in (
        ("two teachers, one clip, temperature 1", errors[:2, :1], 1.0),
        ("the same at temperature 4", errors[:2, :1], 4.0),
        ("three teachers, three clips", errors, 2.0),
        ("errors around 2000", errors + 2000, 2.0),
    ):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            found = numbers(exercise, case, my_weights, given.copy(), temperature)
        expected = _softmin(given, temperature)
        hint = "exp(-error / temperature), divided by its sum over the teachers"
        if found.shape != expected.shape:
            hint = "one weight for each teacher and clip: return (teachers, clips), as you were given"
        elif np.isnan(found).any():
            hint = "exp() of so much below 0 is 0, and 0 / 0 no number: subtract the clip's smallest error first"
        elif np.allclose(found, _softmin(-given, temperature), atol=1e-6):
            hint = "a small error is a good teacher: softmin, so mind the sign"
        elif temperature != 1 and np.allclose(found, _softmin(given, 1 / temperature), atol=1e-6):
            hint = "a high temperature evens the weights out: divide the errors by it"
        elif temperature != 1 and np.allclose(found, _softmin(given, 1.0), atol=1e-6):
            hint = "divide the errors by the temperature before exp()"
        elif np.allclose(found, _softmin(given.T, temperature).T, atol=1e-6):
            hint = "the weights of each clip's teachers add up to one: sum over axis 0"
        elif np.allclose(found, 1 / given / (1 / given).sum(axis=0), atol=1e-6):
            hint = "the inverse is another rule: softmin takes exp(-error / temperature)"
        expect(exercise, case, expected, found, hint)
    well_done(exercise)


def _softmin(errors: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp(-(errors - errors.min(axis=0)) / temperature)
    return weights / weights.sum(axis=0)


@patient
def check_focal_channels(my_focal_channels: Function) -> None:
    """Exercise 13.2: of maps (clips, channels, positions), the `count` channels of largest mean, strongest first."""
    exercise, case = "exercise 13.2", "the 3 strongest of 6 channels"
    maps = np.random.default_rng(13).uniform(0, 1, (4, 6, 5)) * np.array([3, 1, 6, 2, 5, 4])[:, None]
    maps[0, 1, 0] = 30  # one bright place does not make a channel strong
    maps[1, 3] *= 3  # nor one clip
    means, count = maps.mean(axis=(0, 2)), 3
    expected = focal_channels(torch.tensor(maps), count).numpy()
    found = numbers(exercise, case, my_focal_channels, maps.copy(), count)
    hint = "the mean of each channel over clips and positions, sorted from the largest"
    for slip, mistake in (
        ("these are the weakest: sort from the largest", np.argsort(means)[:count]),
        ("the strongest comes first", expected[::-1]),
        ("the mean, not the largest value: one bright place is not enough",
         np.argsort(-maps.max(axis=(0, 2)))[:count]),
        ("over all clips, not in the first one", np.argsort(-maps[0].mean(axis=1))[:count]),
        ("return the channels' numbers, not their means", np.sort(means)[::-1][:count]),
    ):  # fmt: skip
        if found.shape == (count,) and np.allclose(found, mistake):
            hint = slip
    if found.shape != (count,):
        hint = f"one number a channel: of shape ({count},). Average over clips and positions, axes 0 and 2"
    expect(exercise, case, expected, found, hint)
    well_done(exercise)
