"""Checks of the exercises about the connection between two streams. `checks` offers them, too."""

from __future__ import annotations

import numpy as np
import torch

from ..analysis.probes import through_connection
from .tutor import Function, expect, numbers, patient, well_done

# -- 04 Cross-stream connections -------------------------------------------------------------------


@patient
def check_slopes(slopes: Function) -> None:
    """Exercise 4.1: the slopes of the branch's input by u and by the other stream's u, place by place."""
    exercise = "exercise 4.1"
    own, other = np.array([-1.0, 0.5, 2.0, -0.5]), np.array([0.5, -1.0, 3.0, -2.0])
    alive, signal, heard = (own > 0).astype(float), np.maximum(other, 0), (other > 0).astype(float)
    rectified = np.maximum(own, 0)
    for connection in ("multiply", "gated"):
        passage = through_connection(torch.tensor(own), torch.tensor(other), connection)
        expected = np.stack([passage.to_own.numpy(), passage.to_other.numpy()])
        right, wrong = expected[0], {"multiply": alive + signal, "gated": signal}[connection]
        swap = "the multiplied form has no f(u) beside the product" if connection == "multiply" else (
            "gated has f(u) beside the product: where u is above zero, that adds a slope of 1")  # fmt: skip
        found = numbers(exercise, connection, slopes, own.copy(), other.copy(), connection)
        hint = "the slope of a product by one factor is the other factor; then the slope of each ReLU, 0 or 1"
        for slip, mistake in (
            ("the first slope is by the stream's own u, the second by the other's", expected[::-1]),
            ("by the other's u: where that is below zero, its ReLU lets nothing back", [right, own]),
            ("u enters the product before its ReLU: its sign stays in the slope", [right, rectified * heard]),
            ("the factor beside u is the signal, f of the other's u", [right - signal + other, own * heard]),
            (swap, [wrong, own * heard]),
        ):
            if found.shape == expected.shape and np.allclose(found, mistake):
                hint = slip
        if found.shape != expected.shape:
            hint = "return two arrays, each as long as u"
        expect(exercise, connection, expected, found, hint)
    well_done(exercise)


@patient
def check_signal_shapes(signal_shapes: Function) -> None:
    """Exercise 4.2: (channels, height, width) of the four signals, from the picture's side and block 1's channels."""
    exercise = "exercise 4.2"
    for side, channels in ((64, 16), (224, 256), (128, 64)):
        case = f"pictures of {side} and {channels} channels"
        found = numbers(exercise, case, signal_shapes, side, channels)
        expected = np.array([[channels * 2**k, side // 2 ** (k + 2), side // 2 ** (k + 2)] for k in range(4)])
        hint = "one (channels, height, width) for each block; look at the table above"
        late, early = expected // [1, 2, 2], expected * [1, 2, 2]
        for slip, mistake in (
            ("a signal is taken in a block, after its first unit: block 1 has not halved anything yet", late),
            ("two things halve the picture before block 1: the first convolution and the pooling", early),
            ("each block but the first doubles the channels", np.stack([[channels, s, s] for s in expected[:, 1]])),
            ("channels come first, then height and width", expected[:, ::-1]),
        ):
            if found.shape == expected.shape and np.allclose(found, mistake):
                hint = slip
        if found.shape == expected.shape and np.allclose(found[:, 0], expected[:, 0]) and np.ptp(found[:, 1]) == 0:
            hint = "each block but the first halves the picture"
        expect(exercise, case, expected, found, hint)
    well_done(exercise)
