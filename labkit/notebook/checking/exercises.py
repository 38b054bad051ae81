"""The engine of the exercises' checks: cases, what is right for each, and which wrong answer has which hint.

An exercise is blank while its function returns `...`. In a notebook a blank earns one friendly line and no
error, so that the notebook runs from top to bottom before anything is solved; a check's `__wrapped__`, which
`grading` calls, lets no blank pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...errors import LabError

Function = Callable[..., Any]


class Advice(LabError):
    """A wrong answer. A notebook shows what was expected and the hint, without the way through the check."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for this
        return [f"{self.path or 'the lab'}: {self.reason}.", f"Hint: {self.fix}."]


class Blank(LabError):
    """No answer yet."""


@dataclass(frozen=True)
class Case:
    """One call of the reader's function, and what to say about its answer.

    `slips` are typical mistakes, {hint: the answer it gives, or a test of an answer}; the first that fits is
    named, and `hint` where none does. `read` takes from an answer what is compared, which is numbers otherwise.
    """

    words: str
    given: tuple
    right: Any  # text, or numbers
    hint: str
    slips: Mapping[str, Any] = field(default_factory=dict)
    within: float = 1e-6
    near: float = 1e-5  # how close an answer comes to that of a slip
    read: Callable[[Any], Any] | None = None


def exercise(
    number: str, without: Iterable[str] = ()
) -> Callable[[Callable[[], Iterable[Case]]], Callable[[Function], None]]:
    """Turns a function that yields cases into the check of exercise `number`, as notebooks call it.

    The check prints one line for a right answer and one for a blank; a wrong answer raises `Advice`. `without` names
    what the task forbids; a grader, who has the text of an answer, looks for it.
    """
    name = f"exercise {number}"

    def made(cases: Callable[[], Iterable[Case]]) -> Callable[[Function], None]:
        def strict(function: Function) -> None:
            for case in cases():
                _try(name, case, function)
            print(f"{name}: right.")

        @functools.wraps(cases)
        def asked(function: Function) -> None:
            try:
                strict(function)
            except Blank as blank:
                print(f"{blank.path}: {blank.reason}; {blank.fix}.")
            except LabError as error:
                raise Advice(*error.args) from None

        asked.__wrapped__ = strict
        asked.without = set(without)
        return asked

    return made


def _try(name: str, case: Case, function: Function) -> None:
    """Raises LabError with the hint that fits, unless the answer is right."""
    given = [_copied(value) for value in case.given]
    with np.errstate(all="ignore"):  # what overflows is told by a hint
        found = function(*given)
    if any(part is ... for part in (found if isinstance(found, tuple) else (found,))):
        fix = "put your own lines in place of `...` and run the cell again; help folds out above"
        raise Blank(name, "not answered yet", fix)
    if found is None:
        raise LabError.mismatch(name, f"an answer for {case.words}", "None", "end it with `return ...`")
    if case.read is not None:
        found = case.read(found)
    elif not isinstance(case.right, str):
        found = _numbers(name, case, found)
    if not _agree(found, case.right, case.within):
        fits = (hint for hint, slip in case.slips.items()
                if (slip(found) if callable(slip) else _agree(found, slip, case.near)))  # fmt: skip
        hint = next(fits, case.hint)
        raise LabError.mismatch(name, f"{_short(case.right)} for {case.words}", _short(found), hint)


def _copied(value: Any) -> Any:
    """A reader's function may change what it is given, but not what the next case is given."""
    if isinstance(value, torch.Tensor):
        return value if value.requires_grad else value.clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def gradient(loss: torch.Tensor, of: torch.Tensor) -> np.ndarray:
    """The loss's gradient by one of its inputs, zeros where none arrives."""
    if not loss.requires_grad:
        return np.zeros(of.shape)
    (found,) = torch.autograd.grad(loss, of, allow_unused=True, retain_graph=True)
    return np.zeros(of.shape) if found is None else found.numpy()


def _numbers(name: str, case: Case, found: Any) -> np.ndarray:
    try:
        return np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        fix = "return a number, or an array of numbers"
        raise LabError.mismatch(name, f"numbers for {case.words}", repr(found), fix) from None


def _agree(found: Any, value: Any, within: float) -> bool:
    """Text exactly, numbers of one shape to `within`."""
    if isinstance(value, str):
        return isinstance(found, str) and found == value
    return np.shape(found) == np.shape(value) and np.allclose(found, value, atol=within, rtol=0)


def _short(value: Any) -> str:
    """On one line where it is large: the hint below it has to be seen."""
    if isinstance(value, str):
        return repr(value)
    numbers = np.asarray(value) + 0  # and no "-0"
    flat, of = (numbers.ravel(), f", in shape {numbers.shape}") if numbers.ndim > 2 else (numbers, "")
    return np.array2string(flat, threshold=24, edgeitems=4, formatter={"float_kind": "{:.4g}".format}) + of
