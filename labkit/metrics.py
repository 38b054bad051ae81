"""Accuracy, and how sure one may be of it.

Accuracies are fractions of 1. "correct" is one value per clip: whether it was right, or over seeds
the fraction of times it was. Every function refuses NaN, which no number of the lab may hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student_t

from .errors import LabError


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


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Fraction of clips whose class is right; `predicted` is classes (clips,) or logits (clips, classes)."""
    return float((_classes(predicted) == _same_length(_classes(labels), predicted)).mean())


def confusion(predicted: ArrayLike, labels: ArrayLike, num_classes: int) -> np.ndarray:
    """Counts (num_classes, num_classes): rows are true classes, columns predicted ones."""
    table = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(table, (_same_length(_classes(labels), predicted), _classes(predicted)), 1)
    return table


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """(low, high) of a proportion by Wilson's score; stays within 0 and 1, and is sound near both.

    It takes clips as independent; clips of one subject are not quite, see `paired_bootstrap`.
    """
    if not 0 <= correct <= total or total == 0:
        raise LabError.mismatch(
            None, "correct between 0 and total, total above 0", f"{correct} of {total}", "count again"
        )
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = correct / total, z * z / total
    centre = share + spread / 2
    half = sqrt(spread * (share * (1 - share) + spread / 4))
    low, high = (centre - half) / (1 + spread), (centre + half) / (1 + spread)
    return max(low, 0.0) if correct else 0.0, min(high, 1.0) if correct < total else 1.0


def seed_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Mean over seeds and its t interval; one seed has no interval."""
    values = _finite(values)
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, None, None)
    error = float(values.std(ddof=1)) / sqrt(len(values))
    half = float(student_t.ppf((1 + confidence) / 2, len(values) - 1)) * error
    return Interval(mean, mean - half, mean + half)


def paired_bootstrap(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    *,
    samples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: Sequence | np.ndarray | None = None,
) -> Difference:
    """Accuracy of a minus that of b over the same clips, by resampling clips with replacement.

    `groups` (clips,), such as subjects, are resampled whole: clips of one subject resemble each
    other, so the interval over clips alone is too narrow. p is twice the smaller share of resamples
    on one side of zero, at least 2 / (samples + 1).
    """
    a, b = _finite(correct_a), _finite(correct_b)
    means = _resampled_means(np.stack([a, _same_length(b, a)]), groups, samples, seed)
    differences = means[0] - means[1]
    tolerance = 1e-12  # equal accuracies may differ by rounding
    beyond = min((differences <= tolerance).sum(), (differences >= -tolerance).sum())
    low, high = np.quantile(differences, _tails(confidence))
    p = min(1.0, 2 * (int(beyond) + 1) / (samples + 1))
    return Difference(float(a.mean() - b.mean()), float(low), float(high), p)


def gap_closed(
    student: ArrayLike,
    baseline: ArrayLike,
    upper: ArrayLike,
    *,
    samples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
    groups: Sequence | np.ndarray | None = None,
) -> Interval:
    """Share of the gap from `baseline` to `upper` that `student` closes; 1 is all of it.

    Each is correctness per clip, over the same clips, or a single accuracy; a single accuracy gives
    no interval. Nor is there one when too many resamples have no gap to close.
    Raises LabError when `upper` is not above `baseline`.
    """
    three = [np.atleast_1d(_finite(values)) for values in (student, baseline, upper)]
    means = [float(values.mean()) for values in three]
    if means[2] <= means[1]:
        found = f"{means[2]:.4f} against {means[1]:.4f}"
        raise LabError.mismatch(None, "an upper bound above the baseline", found, "compare others")
    value = (means[0] - means[1]) / (means[2] - means[1])
    if any(len(values) == 1 for values in three):
        return Interval(value, None, None)
    stacked = np.stack([_same_length(values, three[0]) for values in three])
    resampled = _resampled_means(stacked, groups, samples, seed)
    gaps = resampled[2] - resampled[1]
    kept = gaps > 0
    tails = _tails(confidence)
    if 1 - kept.mean() > tails[0]:
        return Interval(value, None, None)
    low, high = np.quantile((resampled[0] - resampled[1])[kept] / gaps[kept], tails)
    return Interval(value, float(low), float(high))


def _resampled_means(values: np.ndarray, groups, samples: int, seed: int) -> np.ndarray:
    """(rows, samples): means of `values` (rows, clips) over resampled clips, or groups of clips.

    Drawing clips with replacement is drawing how often each distinct column occurs, so that a
    resample costs as much as there are distinct columns, not clips.
    """
    columns = np.vstack([values, np.ones(values.shape[1])])
    if groups is not None:
        _, member = np.unique(_same_length(groups, values[0]), return_inverse=True)
        columns = np.stack([np.bincount(member, weights=row) for row in columns])
    distinct, counts = np.unique(columns, axis=1, return_counts=True)
    total = counts.sum()
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, size=samples)
    sums = distinct @ drawn.T
    return sums[:-1] / sums[-1]


def _tails(confidence: float) -> tuple[float, float]:
    return (1 - confidence) / 2, (1 + confidence) / 2


def _classes(predicted: ArrayLike) -> np.ndarray:
    values = _finite(predicted, np.asarray(predicted).dtype)
    return values.argmax(axis=1) if values.ndim == 2 else values


def _finite(values: ArrayLike, dtype=np.float64) -> np.ndarray:
    values = np.asarray(values, dtype=dtype)
    if values.size == 0 or not np.isfinite(values).all():
        found = "none" if values.size == 0 else f"{(~np.isfinite(values)).sum()} NaN or infinite"
        raise LabError.mismatch(None, "finite numbers, at least one", found, "look for the run that failed")
    return values


def _same_length(values: ArrayLike, like: ArrayLike) -> np.ndarray:
    values = np.asarray(values)
    if len(values) != len(np.asarray(like)):
        raise LabError.mismatch(None, f"{len(np.asarray(like))} clips", len(values), "compare the same clips")
    return values
