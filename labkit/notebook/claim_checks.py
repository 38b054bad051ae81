"""Checks of the exercises about verdicts and about paper and lab side by side. `checks` offers them, too."""

from __future__ import annotations

import numpy as np

from ..analysis import verdicts
from ..analysis.claims import Claim
from ..experiments import statistics
from .tutor import Function, answer, expect, numbers, patient, well_done

# -- 10 Ablations ----------------------------------------------------------------------------------


@patient
def check_holm(holm: Function) -> None:
    """Exercise 10.1: p values (tests,) adjusted after Holm, in the order given."""
    exercise = "exercise 10.1"
    for given in ([0.04, 0.01, 0.03], [0.6, 0.2, 0.9, 0.001]):
        p, case = np.array(given), f"p = {given}"
        found = numbers(exercise, case, holm, p.copy())
        order, steps = np.argsort(p), np.arange(len(p), 0, -1)
        running = np.maximum.accumulate(p[order] * steps)
        alone = np.empty_like(p)
        alone[order] = p[order] * steps
        hint = "sort; the smallest times m, the next times m - 1, ...; no smaller than the one before; at most 1"
        for slip, mistake in (
            ("this is Bonferroni's: only the smallest is multiplied by m, the next by m - 1, and so on", p * len(p)),
            ("none may end below a smaller one's: carry the largest so far along", alone),
            ("give them back in the order in which they came", running),
            ("the largest p is the one that stays as it is: start from the smallest", p * (np.argsort(order) + 1)),
        ):
            if np.shape(found) == p.shape and np.allclose(np.minimum(found, 1), np.minimum(mistake, 1)):
                hint = slip
        if found.max() > 1:
            hint = "a probability ends at 1"
        expect(exercise, case, statistics.holm(p), found, hint)
    well_done(exercise)


@patient
def check_judgement(judgement: Function) -> None:
    """Exercise 10.2: a claim's kind, its 95 % interval and its level, all in points, to the lab's word for it."""
    exercise = "exercise 10.2"
    whole = "the interval must lie beyond the level as a whole, on one side or the other; else it is undecided"
    near = "“near” holds where the whole interval lies within the level on both sides; around zero is not enough"
    for kind, low, high, level, hint in (
        ("above", 1.0, 5.0, 0.0, whole),
        ("above", -1.0, 3.0, 0.0, whole),
        ("above", -4.0, -1.0, 0.0, "an interval wholly below the level contradicts the claim: it fails"),
        ("above", 1.0, 5.0, 2.0, "compare with the level, which need not be zero"),
        ("near", -2.0, 1.0, 3.0, near),
        ("near", -4.0, 1.0, 3.0, near),
        ("near", 4.0, 6.0, 3.0, "wholly outside, above or below: not near, so it fails"),
        ("near", -8.0, -4.0, 3.0, "wholly outside, above or below: not near, so it fails"),
    ):
        case = f"“{kind}”, {low:+g} to {high:+g}, level {level:g}"
        expected = verdicts.word(Claim("", "", "", (), (), kind, level), low, high)
        expect(exercise, case, expected, answer(exercise, case, judgement, kind, low, high, level), hint)
    well_done(exercise)


# -- 14 Paper and lab side by side -----------------------------------------------------------------


@patient
def check_same_order(same_order: Function) -> None:
    """Exercise 14.1: the share of pairs of rows that come in the same order in both columns, (rows,) each."""
    exercise = "exercise 14.1"
    paper, ours = np.array([66.5, 79.7, 73.4, 71.9, 70.4]), np.array([61.0, 96.0, 72.0, 75.0, 79.0])
    for first, second in ((paper, ours), (paper, -paper)):
        case = f"{first.tolist()} and {second.tolist()}"
        found = numbers(exercise, case, same_order, first.copy(), second.copy())
        signs = np.sign(np.subtract.outer(first, first)) == np.sign(np.subtract.outer(second, second))
        expected = statistics.same_order(first, second)
        pairs = len(first) * (len(first) - 1) / 2
        hint = "take each pair of rows once; it agrees where both columns have the same row on top"
        for slip, mistake in (
            ("a row makes no pair with itself", signs.mean()),
            ("every pair counts, not only neighbours", np.mean(np.diff(first) * np.diff(second) > 0)),
            ("this is Kendall's tau, from -1 to 1; the share of agreeing pairs is (1 + tau) / 2", 2 * expected - 1),
            ("divide by the number of pairs", expected * pairs),
            ("a share of 1, not per cent", 100 * expected),
        ):
            if found.shape == () and np.isclose(found, mistake) and not np.isclose(mistake, expected):
                hint = slip
        expect(exercise, case, expected, found, hint)
    well_done(exercise)


@patient
def check_iterations_saved(iterations_saved: Function) -> None:
    """Exercise 14.2: by how many % fewer iterations one curve comes down to where the other ends."""
    exercise = "exercise 14.2"
    for faster, slower in (
        ([8.0, 2.0, 1.5, 1.2, 1.0], [8.0, 6.0, 4.0, 3.0, 2.0]),
        ([8.0, 4.0, 3.0, 3.5, 1.0], [8.0, 6.0, 2.0, 3.0, 3.5]),
    ):
        case = f"{faster} against {slower}"
        first, second = np.array(faster), np.array(slower)
        found = numbers(exercise, case, iterations_saved, first, second)
        end, count = second[-1], len(first)
        reached = np.flatnonzero(first <= end)[0] + 1
        expected = 100 * (1 - reached / count)
        hint = "find the first iteration at which the faster one is as low as the other's last value"
        for slip, mistake in (
            ("the entry with index i stands for i + 1 iterations", 100 * (1 - (reached - 1) / count)),
            ("this is what it takes; asked is what it saves", 100 * reached / count),
            ("take where the other ends, not where it is lowest", 100 * (1 - _first(first, second.min()) / count)),
            ("in per cent", expected / 100),
        ):
            if found.shape == () and np.isclose(found, mistake) and not np.isclose(mistake, expected):
                hint = slip
        expect(exercise, case, expected, found, hint)
    well_done(exercise)


def _first(curve: np.ndarray, level: float) -> int:
    """Iterations until a curve is as low as the level."""
    return int((curve <= level).argmax()) + 1
