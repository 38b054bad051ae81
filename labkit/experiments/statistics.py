"""Accuracy, and how sure one may be of it.

Accuracies are fractions of 1. "correct" is one value per clip (clips,): whether it was right, or over
seeds the fraction of times it was; or a row per seed (seeds, clips). Every function refuses NaN, which
no number of the lab may hide.

What an interval covers: `wilson_interval` other clips of the same people, one training; `seed_interval`
other seeds, these test clips; `paired_difference` and `gap_closed` other clips, or other people where
`groups` names them, and other seeds where there is a row for each of several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import LabError

CONFIDENCE, POWER = 0.95, 0.8  # of every interval, and of every number of seeds


class Interval(NamedTuple):
    """A value and its confidence interval; the bounds are None where the data cannot give them."""

    value: float
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """A difference of two accuracies, its interval, and the two-sided p of there being none."""

    value: float
    low: float
    high: float
    p: float


def confusion(predicted: ArrayLike, labels: ArrayLike, num_classes: int) -> np.ndarray:
    """Counts (num_classes, num_classes): rows are true classes, columns predicted ones."""
    table, columns = np.zeros((num_classes, num_classes), dtype=np.int64), _classes(predicted)
    np.add.at(table, (_same_shape(_classes(labels), columns), columns), 1)
    return table


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """(low, high) of a proportion, 95 %, by Wilson's score; stays within 0 and 1, and is sound near both.

    It takes clips as independent; clips of one subject are not quite, see `paired_difference`.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, spread = correct / total, z * z / total
    centre = share + spread / 2
    half = sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return max(low, 0.0) if correct else 0.0, min(high, 1.0) if correct < total else 1.0


def seed_interval(values: ArrayLike, *, bounds: tuple[float, float] | None = (0.0, 1.0)) -> Interval:
    """Mean over seeds and its 95 % t interval; one seed has no interval.

    With two or three seeds the t interval of an accuracy can reach beyond 0 and 1, where no accuracy
    lies: it is cut at `bounds`. None leaves it whole, as a difference or a logarithm needs.
    """
    values = _finite(values)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, None, None)
    error = float(values.std(ddof=1)) / sqrt(len(values))
    low, high = _t_interval(mean, error, len(values) - 1)
    least, most = bounds or (-inf, inf)
    return Interval(mean, max(low, least), min(high, most))


def seeds_needed(differences: ArrayLike, effect: float, *, most: int, spread: float | None = None) -> int | None:
    """How many seeds a paired two-sided t test at 5 % takes to see `effect` with power 0.8; None beyond `most`.

    `differences` (seeds,) are the differences of two targets' accuracies, seed by seed. Their standard
    deviation is the spread; from two or three seeds it is itself known to a factor of two only. One seed
    has none: then `spread` must be assumed, such as `clip_spread`. It is about other seeds on these very
    test clips; no number of seeds stands in for more people.
    """
    differences = _finite(differences)
    if spread is None:
        spread = float(differences.std(ddof=1))
    if effect == 0:
        return None
    if spread == 0:
        return 2
    from scipy.stats import nct, t  # most of a second, which nothing else waits for

    counts = np.arange(2, most + 1)
    shift = abs(effect) / spread * np.sqrt(counts)
    critical = t.ppf((1 + CONFIDENCE) / 2, counts - 1)
    enough = nct.sf(critical, counts - 1, shift) + nct.cdf(-critical, counts - 1, shift) >= POWER
    return int(counts[enough.argmax()]) if enough.any() else None


def clip_spread(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Standard deviation of a difference if each clip were answered anew: a stand-in for that over seeds.

    Answers (clips,) of one seed; an assumption, for seeds change answers of many clips together.
    """
    a = _finite(correct_a)
    return float((a - _same_shape(_finite(correct_b), a)).std() / sqrt(len(a)))


def holm(p_values: ArrayLike) -> np.ndarray:
    """p values (tests,) adjusted for being several (Holm 1979), in the order given: reject below alpha."""
    p = _finite(p_values)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def same_order(a: ArrayLike, b: ArrayLike) -> float:
    """Share of pairs of rows that b puts in the order in which a has them; a coin would agree on a half.

    a and b (rows,). Pairs that are equal in a have no order and are left out; equal in b alone they count half.
    Raises LabError where no two rows of a differ.
    """
    a = _finite(a)
    b = _same_shape(_finite(b), a)
    if np.ptp(a) == 0:
        raise LabError.mismatch(None, "two rows that differ, at least", a.tolist(), "compare more rows")
    if np.ptp(b) == 0:
        return 0.5
    from scipy.stats import somersd  # most of a second, which nothing else waits for

    return float((1 + somersd(a, b).statistic) / 2)


def paired_difference(
    correct_a: ArrayLike, correct_b: ArrayLike, *, groups: Sequence | np.ndarray | None = None
) -> Difference:
    """Accuracy of a minus that of b over the same clips, with its 95 % t interval and the p of Student's t.

    Each is (clips,), or (seeds, clips) where row s of both is of one seed. `groups` (clips,), such as people, are
    drawn whole: clips of one person resemble each other, so an interval over clips alone is too narrow. From two
    seeds on the interval covers other people and other seeds. With one seed it covers other people and this very
    training, not another one. See `crossed_mean`.
    """
    a, b = _finite(correct_a), _finite(correct_b)
    value, error, freedom = crossed_mean(_cells(a - _same_shape(b, a), groups))
    low, high = _t_interval(value, error, freedom)
    from scipy.special import stdtr

    p = 2 * stdtr(freedom, -abs(value) / error) if error else value == 0
    most = max(1.0, a.max(), b.max())  # more than 1 where answers of several models are added up
    return Difference(value, max(low, -most), min(high, most), float(p))


def gap_closed(
    student: ArrayLike,
    baseline: ArrayLike,
    upper: ArrayLike,
    *,
    groups: Sequence | np.ndarray | None = None,
) -> Interval:
    """Share of the gap from `baseline` to `upper` that `student` closes; 1 is all of it.

    Each is correctness (clips,) or (seeds, clips), over the same clips and seeds; or each is a single accuracy, which
    gives no interval. The interval holds each share x at which the interval of
    student - baseline - x (upper - baseline) holds zero (Fieller 1954), and covers what that of `paired_difference`
    does. There is none where the interval of the gap itself holds zero.
    Raises LabError when `upper` is not above `baseline`.
    """
    three = [np.atleast_1d(_finite(values)) for values in (student, baseline, upper)]
    means = [float(values.mean()) for values in three]
    if means[2] <= means[1]:
        found = f"{means[2]:.4f} against {means[1]:.4f}"
        raise LabError.mismatch(None, "an upper bound above the baseline", found, "compare others")
    value = (means[0] - means[1]) / (means[2] - means[1])
    gain, gap = (_cells(values - _same_shape(three[1], values), groups) for values in (three[0], three[2]))

    def holds_zero(share: float) -> bool:
        low, high = _t_interval(*crossed_mean(gain - share * gap))
        return low <= 0 <= high

    if _t_interval(*crossed_mean(gap))[0] <= 0:
        return Interval(value, None, None)
    return Interval(value, _last(holds_zero, value, -0.25), _last(holds_zero, value, 0.25))


def _last(holds: Callable[[float], bool], start: float, step: float) -> float:
    """The number farthest from `start`, in the direction of `step`, up to which `holds` holds; by bisection."""
    inside, outside = start, start + step
    while holds(outside):
        inside, outside, step = outside, outside + 2 * step, 2 * step
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside


def _cells(values: np.ndarray, groups: Sequence | np.ndarray | None) -> np.ndarray:
    """Values (clips,) or (seeds, clips) as (seeds, people): what each person, or clip, adds to the mean over clips.

    With as many clips from each it is a person's mean; a person with more clips than others weighs more.
    """
    rows = np.atleast_2d(values)
    if groups is None:
        return rows
    _, member = np.unique(_same_shape(groups, rows[0]), return_inverse=True)
    mean, clips_each = rows.mean(), np.bincount(member).mean()
    return mean + np.stack([np.bincount(member, weights=row - mean) for row in rows]) / clips_each


def crossed_mean(cells: np.ndarray) -> tuple[float, float, float]:
    """Mean of cells (seeds, people), its standard error, and the degrees of freedom of that.

    Seeds and people are both drawn at random, and crossed: the two-way random-effects model. The error of the mean
    adds the mean squares of seeds and of people and takes away that of their interplay, which both contain; its
    degrees of freedom are Satterthwaite's (1946). With one seed it is the error over people alone, with one person
    that over seeds alone. A single cell has an infinite error.
    """
    mean = float(cells.mean())
    if cells.size == 1:
        return mean, inf, 1.0
    seeds, people = cells.shape
    of_seeds, of_people = cells.mean(axis=1) - mean, cells.mean(axis=0) - mean
    rest = cells - mean - of_seeds[:, None] - of_people
    sums = np.array([people * (of_seeds**2).sum(), seeds * (of_people**2).sum(), (rest**2).sum()])
    counts = np.maximum([seeds - 1, people - 1, (seeds - 1) * (people - 1)], 1)  # sums over one seed or person are 0
    squares = sums / counts
    total = max(squares[0] + squares[1] - squares[2], squares[2])  # no less than if every cell were drawn by itself
    if total < 1e-24:  # what rounding leaves of no variation
        return mean, 0.0, 1.0
    freedom = max(total**2 / (squares**2 / counts).sum(), 1.0)  # less than one is an artefact of what is taken away
    return mean, sqrt(total / cells.size), float(freedom)


def _t_interval(mean: float, error: float, freedom: float) -> tuple[float, float]:
    from scipy.special import stdtrit  # the quantile of scipy.stats, without its second of loading

    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    return mean - half, mean + half


def _classes(predicted: ArrayLike) -> np.ndarray:
    values = _finite(predicted, np.asarray(predicted).dtype)
    return values.argmax(axis=1) if values.ndim == 2 else values


def _finite(values: ArrayLike, dtype=np.float64) -> np.ndarray:
    values = np.asarray(values, dtype=dtype)
    if values.size == 0 or not np.isfinite(values).all():
        found = "none" if values.size == 0 else f"{(~np.isfinite(values)).sum()} NaN or infinite"
        raise LabError.mismatch(None, "finite numbers, at least one", found, "look for the run that failed")
    return values


def _same_shape(values: ArrayLike, like: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != like.shape:
        raise LabError.mismatch(None, f"answers {like.shape}", values.shape, "compare the same clips and seeds")
    return values
