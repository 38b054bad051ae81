"""Checks of the exercises about noisy depth. `checks` offers them, too."""

from __future__ import annotations

import numpy as np

from ..clips import saturate
from .tutor import Function, expect, numbers, patient, well_done

# -- 12 Noisy depth --------------------------------------------------------------------------------


@patient
def check_speckle(my_speckle: Function) -> None:
    """Exercise 12.1: a coloured image uint8 (..., 3) times noise of its shape, as the released code has it."""
    exercise = "exercise 12.1"
    rng = np.random.default_rng(12)
    image = rng.integers(0, 256, (2, 3, 3)).astype(np.uint8)
    for case, levels, noise in (
        ("[200, 200, 100] times [0.5, 1.5, -0.2]", np.array([200, 200, 100], np.uint8), np.array([0.5, 1.5, -0.2])),
        ("products of 10.9, 254.6 and -0.4", np.array([100, 200, 100], np.uint8), np.array([0.109, 1.273, -0.004])),
        ("2 x 3 pixels", image, 1 + rng.standard_normal(image.shape)),
    ):
        expected, product = saturate(levels * noise), levels * noise
        found = numbers(exercise, case, my_speckle, levels.copy(), noise.copy())
        hint = "image times noise, then cut to 0..255, then uint8"
        if found.shape == expected.shape:
            wrong, cut = found != expected, np.clip(product, 0, 255)
            for slip, seen in (
                ("noise around 1 multiplies: do not add it", np.allclose(found, saturate(levels + noise))),
                ("levels go from 0 to 255, not to 1", np.allclose(255 * found, cut, atol=1)),
                ("cut to 0..255 before uint8, which wraps around", not (wrong & (cut == product)).any()),
                ("the cast drops fractions: 10.9 becomes 10", np.abs(found - cut).max() < 1),
            ):
                hint = slip if seen and wrong.any() else hint
        expect(exercise, case, expected, found, hint)
    well_done(exercise)


@patient
def check_crossing(my_crossing: Function) -> None:
    """Exercise 12.2: the severity, on a logarithmic axis, at which accuracies first fall below a rival's."""
    exercise = "exercise 12.2"
    severities = np.array([1e-3, 1e-2, 1e-1, 1e0, 1e1])
    paper = np.array([81.34, 81.12, 76.85, 62.47, 51.43])
    place = -2 + (81.12 - 77.21) / (81.12 - 76.85)
    between = "straight between the last severity above and the first below, on the axis of log10(severity)"
    slips = (
        ("that is the first severity below; the curve has crossed on the way there", 1e-1),
        ("that is the last severity above; the curve crosses behind it", 1e-2),
        ("the axis is logarithmic: go along log10(severity), not along the severity", 1e-2 + (place + 2) * 0.09),
        ("that is the exponent: return 10 to its power", place),
    )  # fmt: skip
    twice = np.array([80.0, 70.0, 78.0, 60.0, 50.0])
    for case, curve, rival, expected, hint, mistakes in (
        ("the paper's Table 3 and 77.21", paper, 77.21, 10**place, between, slips),
        ("a curve that dips below 75, recovers and falls again", twice, 75.0, 10**-2.5,
         "the first time counts: look for the first severity at which the curve is below", ()),
        ("a rival of 40, which no noise brings the curve down to", paper, 40.0, np.inf,
         "where the curve is never below, return np.inf", ()),
        ("a rival of 90, above the whole curve", paper, 90.0, severities[0],
         "below from the first severity on: return that one", ()),
    ):  # fmt: skip
        found = numbers(exercise, case, my_crossing, severities.copy(), curve.copy(), rival)
        for slip, mistake in mistakes:
            if found.shape == () and np.isclose(found, mistake, rtol=1e-6, atol=0):
                hint = slip
        expect(exercise, case, expected, found, hint)
    well_done(exercise)
