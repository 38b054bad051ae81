"""What the checks of the exercises share: ask the reader's function, compare, and say like a tutor what is wrong.

An exercise is blank while its function returns `...`. In a notebook a blank earns one friendly line and no
error, so that the notebook runs from top to bottom before anything is solved; `grade` lets no blank pass.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import LabError

Function = Callable[..., Any]


class Advice(LabError):
    """A wrong answer. A notebook shows what was expected and the hint, without the way through the check."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for this
        return [f"{self.path or 'the lab'}: {self.reason}.", f"Hint: {self.fix}."]


class Blank(LabError):
    """No answer yet."""


def patient(check: Callable[[Function], None]) -> Callable[[Function], None]:
    """The check as notebooks call it: a blank is told so in one line; a wrong answer raises `Advice`."""

    @functools.wraps(check)
    def asked(function: Function) -> None:
        try:
            check(function)
        except Blank as blank:
            print(f"{blank.path}: {blank.reason}; {blank.fix}.")
        except LabError as error:
            raise Advice(*error.args) from None

    return asked


def grade(check: Callable[[Function], None], function: Function) -> None:
    """The check as a grader calls it: LabError for a blank, too."""
    inspect.unwrap(check)(function)


def answer(exercise: str, case: str, function: Function, *arguments: Any) -> Any:
    """What the reader's function returns; Blank where it is `...` still, LabError where nothing came back."""
    found = function(*arguments)
    if any(part is ... for part in (found if isinstance(found, tuple) else (found,))):
        fix = "put your own lines in place of `...` and run the cell again; help folds out above"
        raise Blank(exercise, "not answered yet", fix)
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
