"""What the checks of the exercises share: ask the reader's function, compare, and say like a tutor what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .errors import LabError

Function = Callable[..., Any]


def answer(exercise: str, case: str, function: Function, *arguments: Any) -> Any:
    """What the reader's function returns."""
    found = function(*arguments)
    if found is None:
        raise LabError.mismatch(exercise, f"an answer for {case}", "None", "end it with `return ...`")
    return found


def numbers(exercise: str, case: str, function: Function, *arguments: Any) -> np.ndarray:
    """What the reader's function returns, as a float array; a single number has shape ()."""
    found = answer(exercise, case, function, *arguments)
    try:
        return np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        fix = "return a number, or an array of numbers"
        raise LabError.mismatch(exercise, f"numbers for {case}", repr(found), fix) from None


def expect(exercise: str, case: str, expected: Any, found: Any, hint: str, within: float = 1e-6) -> None:
    """Raise unless both agree: text exactly, numbers to `within`."""
    if isinstance(expected, str):
        same = isinstance(found, str) and found == expected
    else:
        same = np.shape(found) == np.shape(expected) and np.allclose(found, expected, atol=within, rtol=0)
    if not same:
        raise LabError.mismatch(exercise, f"{_short(expected)} for {case}", _short(found), hint)


def _short(value: Any) -> str:
    return repr(value) if isinstance(value, str) else np.array2string(np.asarray(value), precision=4)


def well_done(exercise: str) -> None:
    """The one line that a right solution prints."""
    print(f"{exercise}: right.")
