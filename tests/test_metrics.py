"""Intervals and tests against tables, slow versions and their promised coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabError
from labkit.metrics import (
    Interval,
    accuracy,
    confusion,
    gap_closed,
    paired_bootstrap,
    seed_interval,
    wilson_interval,
)


def test_accuracy_of_classes_and_of_logits():
    labels = np.array([0, 1, 2, 1])
    assert accuracy([0, 1, 1, 1], labels) == 0.75
    assert accuracy(np.eye(3)[[0, 1, 1, 1]], labels) == 0.75


def test_confusion_rows_are_true_classes():
    table = confusion([0, 1, 1, 1], [0, 1, 2, 1], 3)
    assert table.tolist() == [[1, 0, 0], [0, 2, 0], [0, 1, 0]]
    assert table.sum(axis=1).tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    "call",
    [
        lambda nan: accuracy([[0.1, nan]], [0]),
        lambda nan: confusion([[0.1, nan]], [0], 2),
        lambda nan: seed_interval([0.5, nan]),
        lambda nan: paired_bootstrap([1, nan], [0, 1]),
        lambda nan: paired_bootstrap([1, 0], [0, nan]),
        lambda nan: gap_closed([1, nan], [0, 1], [1, 1]),
        lambda nan: gap_closed(0.7, nan, 0.8),
    ],
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused(call, bad):
    with pytest.raises(LabError, match="finite"):
        call(bad)


def test_no_clips_or_unequal_clips_are_refused():
    with pytest.raises(LabError, match="at least one"):
        accuracy([], [])
    with pytest.raises(LabError, match="same clips"):
        accuracy([1, 2], [1])
    with pytest.raises(LabError, match="same clips"):
        paired_bootstrap([1, 0, 1], [1, 0])
    with pytest.raises(LabError, match="0 of 0"):
        wilson_interval(0, 0)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_known_values(correct, total, low, high):
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_proportion_and_solves_its_equation(counts):
    """Its bounds are the proportions p at which the observation lies z standard deviations away."""
    correct, total = counts
    low, high = wilson_interval(correct, total)
    share = correct / total
    assert 0 <= low <= share <= high <= 1
    for bound in {low, high} - {0.0, 1.0}:
        distance = abs(share - bound) / np.sqrt(bound * (1 - bound) / total)
        assert distance == pytest.approx(1.959964, rel=1e-4)


@pytest.mark.parametrize(
    ("count", "quantile"), [(2, 12.7062), (3, 4.30265), (4, 3.18245), (5, 2.77645), (31, 2.04227)]
)
def test_seed_interval_uses_students_t(count, quantile):
    values = np.linspace(0.5, 0.6, count)
    found = seed_interval(values)
    half = quantile * values.std(ddof=1) / np.sqrt(count)
    assert found == pytest.approx((0.55, 0.55 - half, 0.55 + half), abs=1e-5)


def test_one_seed_has_no_interval():
    assert seed_interval([0.7]) == Interval(0.7, None, None)


@pytest.fixture
def correctness():
    """300 clips of three models, right with probability 0.6, 0.7 and 0.85, and correlated."""
    hardness = np.random.default_rng(1).random(300)
    noise = np.random.default_rng(2).normal(0, 0.15, (3, 300))
    return [(hardness + noise[i]) < level for i, level in enumerate((0.6, 0.7, 0.85))]


def test_paired_bootstrap_equals_resampling_clips_one_by_one(correctness):
    weak, _, strong = correctness
    found = paired_bootstrap(strong, weak, samples=20_000)
    rng, difference = np.random.default_rng(5), strong.astype(float) - weak
    slow = [difference[rng.integers(300, size=300)].mean() for _ in range(5_000)]
    assert found.value == pytest.approx(difference.mean())
    assert (found.low, found.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.006)
    assert found.p == pytest.approx(2 / 20_001)


def test_paired_bootstrap_is_antisymmetric_and_repeatable(correctness):
    weak, middle, _ = correctness
    one, other = paired_bootstrap(middle, weak), paired_bootstrap(weak, middle)
    assert one == paired_bootstrap(middle, weak)
    assert one.value == -other.value
    assert one.low == pytest.approx(-other.high, abs=0.01)


def test_no_difference_has_p_one(correctness):
    assert paired_bootstrap(correctness[0], correctness[0]) == (0, 0, 0, 1)


def test_p_is_uniform_where_there_is_no_difference():
    """Two equally good models: a p below 0.1 turns up in about a tenth of the cases."""
    rng = np.random.default_rng(0)
    small = sum(
        paired_bootstrap(*(rng.random((2, 200)) < 0.7), samples=500, seed=trial).p < 0.1
        for trial in range(300)
    )
    assert 15 <= small <= 50


def test_groups_widen_the_interval(correctness):
    """Four copies of every clip tell no more than one, if copies are resampled together."""
    weak, middle, _ = correctness
    copies = np.repeat(middle, 4), np.repeat(weak, 4)
    subjects = [f"S{i // 4:03d}" for i in range(1200)]
    honest = paired_bootstrap(middle, weak)
    grouped = paired_bootstrap(*copies, groups=subjects)
    naive = paired_bootstrap(*copies)
    assert (grouped.low, grouped.high) == pytest.approx((honest.low, honest.high), abs=0.008)
    assert (naive.high - naive.low) == pytest.approx((honest.high - honest.low) / 2, rel=0.1)


def test_seeds_may_be_averaged_per_clip(correctness):
    averaged = np.mean(correctness, axis=0)
    found = paired_bootstrap(averaged, correctness[0])
    assert found.low < found.value < found.high


def test_gap_closed_of_the_papers_rows():
    """Rows 15, 2 and 8 of Table 2, cross-subject: half of the gap."""
    assert gap_closed(73.42, 66.52, 79.73) == Interval(pytest.approx(6.90 / 13.21), None, None)


def test_gap_closed_interval(correctness):
    weak, middle, strong = correctness
    found = gap_closed(middle, weak, strong)
    assert found.value == pytest.approx((middle.mean() - weak.mean()) / (strong.mean() - weak.mean()))
    rng, slow = np.random.default_rng(3), []
    for _ in range(3_000):
        a, b, c = (
            model[pick].mean() for pick in [rng.integers(300, size=300)] for model in (middle, weak, strong)
        )
        slow.append((a - b) / (c - b))
    assert (found.low, found.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.03)
    assert gap_closed(strong, weak, strong) == (1, 1, 1)
    assert gap_closed(weak, weak, strong) == (0, 0, 0)


def test_gap_closed_says_so_when_there_is_no_gap(correctness):
    weak, middle, strong = correctness
    with pytest.raises(LabError, match="upper bound above the baseline"):
        gap_closed(middle, strong, weak)
    hardly = weak.copy()
    hardly[np.flatnonzero(~weak)[0]] = True  # one clip better
    assert gap_closed(middle, weak, hardly)[1:] == (None, None)
