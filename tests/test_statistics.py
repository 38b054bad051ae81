"""Intervals and tests against tables, slow versions and their promised coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t

from labkit.errors import LabError
from labkit.experiments.statistics import (
    Interval,
    clip_spread,
    confusion,
    gap_closed,
    holm,
    paired_bootstrap,
    same_order,
    seed_interval,
    seeds_needed,
    wilson_interval,
)


def test_confusion_rows_are_true_classes():
    table = confusion([0, 1, 1, 1], [0, 1, 2, 1], 3)
    assert table.tolist() == [[1, 0, 0], [0, 2, 0], [0, 1, 0]]
    assert table.sum(axis=1).tolist() == [1, 2, 1]
    assert confusion(np.eye(3)[[0, 1, 1, 1]], [0, 1, 2, 1], 3).tolist() == table.tolist(), "of logits"


@pytest.mark.parametrize(
    "call",
    [
        lambda nan: confusion([[0.1, nan]], [0], 2),
        lambda nan: seed_interval([0.5, nan]),
        lambda nan: paired_bootstrap([1, nan], [0, 1]),
        lambda nan: paired_bootstrap([1, 0], [0, nan]),
        lambda nan: gap_closed([1, nan], [0, 1], [1, 1]),
        lambda nan: gap_closed(0.7, nan, 0.8),
        lambda nan: seeds_needed([0.01, nan]),
        lambda nan: holm([0.01, nan]),
    ],
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused(call, bad):
    with pytest.raises(LabError, match="finite"):
        call(bad)


def test_no_clips_or_unequal_clips_are_refused():
    with pytest.raises(LabError, match="at least one"):
        confusion([], [], 2)
    with pytest.raises(LabError, match="same clips"):
        confusion([1, 2], [1], 3)
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
    found = seed_interval(values, bounds=None)
    half = quantile * values.std(ddof=1) / np.sqrt(count)
    assert found == pytest.approx((0.55, 0.55 - half, 0.55 + half), abs=1e-5)


def test_one_seed_has_no_interval():
    assert seed_interval([0.7]) == Interval(0.7, None, None)


def test_the_interval_of_an_accuracy_stays_an_accuracy():
    """Two seeds ten points apart: the t interval is wider than all there is."""
    assert seed_interval([0.5, 0.6])[1:] == (0, 1)
    low, high = seed_interval([0.96, 0.99])[1:]
    assert 0 < low < 0.96 and high == 1


def power_by_simulation(count: int, effect: float, spread: float, trials: int = 4000) -> float:
    drawn = np.random.default_rng(0).normal(effect, spread, (trials, count))
    t = drawn.mean(axis=1) / (drawn.std(axis=1, ddof=1) / np.sqrt(count))
    return float((np.abs(t) > student_t.ppf(0.975, count - 1)).mean())


@pytest.mark.parametrize(("spread", "effect"), [(0.01, 0.015), (0.02, 0.015), (0.02, 0.05), (0.05, -0.05)])
def test_seeds_needed_reach_the_power_and_no_fewer_do(spread, effect):
    needed = seeds_needed([-spread / np.sqrt(2), spread / np.sqrt(2)], effect)  # whose deviation is `spread`
    assert power_by_simulation(needed, effect, spread) > 0.78
    assert needed == 2 or power_by_simulation(needed - 1, effect, spread) < 0.82


def test_seeds_needed_at_the_limits():
    assert seeds_needed([0.02, 0.02]) == 2
    assert seeds_needed([-0.3, 0.3], 0.001) is None
    assert seeds_needed([-0.3, 0.3], 0.0) is None
    assert seeds_needed([0.01], spread=0.01) == seeds_needed([0.01, 0.02, 0.03])
    with pytest.raises(LabError, match="assume a spread"):
        seeds_needed([0.01])


def test_clip_spread_is_that_of_answers_drawn_anew():
    rng = np.random.default_rng(0)
    right = rng.random((2000, 2, 400)) < np.array([0.7, 0.6])[:, None]
    drawn = (right[:, 0].mean(axis=1) - right[:, 1].mean(axis=1)).std()
    assert clip_spread(right[0, 0], right[0, 1]) == pytest.approx(drawn, rel=0.1)


def test_holm_against_its_definition():
    """Smallest first: each is multiplied by how many are left, and never falls below one before it."""
    assert holm([0.04, 0.01, 0.03, 0.9]).tolist() == pytest.approx([0.09, 0.04, 0.09, 0.9])
    assert holm([0.6, 0.7]).tolist() == [1, 1]


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


@pytest.fixture
def two_way():
    """(seeds, people, clips) answers of two models five points apart, with luck of seeds and of people."""

    def draw(rng, seeds=3, people=20, clips=30, luck=0.02, of_people=None):
        of_people = luck if of_people is None else of_people
        gain = 0.05 + rng.normal(0, luck, (seeds, 1, 1)) + rng.normal(0, of_people, (1, people, 1))
        drawn = rng.random((seeds, people, clips))
        better, worse = drawn < 0.6 + gain / 2, np.abs(drawn - 0.2) < 0.3 - gain / 4
        return better.reshape(seeds, -1), worse.reshape(seeds, -1), np.repeat(np.arange(people), clips)

    return draw


def test_people_are_resampled_and_seeds_drawn_with_students_t(two_way):
    better, worse, people = two_way(np.random.default_rng(0))
    found = paired_bootstrap(better, worse, groups=people, samples=20_000)
    per_person = (better.astype(float) - worse).reshape(3, 20, 30).mean(axis=2)
    rng, slow = np.random.default_rng(1), []
    for _ in range(5_000):
        by_seed = per_person[:, rng.integers(20, size=20)].mean(axis=1)
        slow.append(by_seed.mean() + by_seed.std(ddof=1) / np.sqrt(3) * rng.standard_t(2))
    low, high = np.quantile(slow, [0.025, 0.975])
    assert found.value == pytest.approx(per_person.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)


def test_where_people_are_alike_the_interval_over_seeds_is_students(two_way):
    """Five seeds whose spread is all there is: the textbook's interval."""
    by_seed = np.array([3, 5, 6, 8, 13])  # clips of 100, each person's alike
    better = np.tile(np.arange(100) < by_seed[:, None], (1, 20))
    found = paired_bootstrap(better, np.zeros_like(better), groups=np.repeat(np.arange(20), 100), samples=20_000)
    half = 2.776 * by_seed.std(ddof=1) / 100 / np.sqrt(5)
    assert (found.low, found.high) == pytest.approx((0.07 - half, 0.07 + half), abs=0.003)
    assert found.p == pytest.approx(0.0147, rel=0.2)  # t = 4.11 with 4 degrees of freedom


def test_seeds_that_all_agree_add_nothing(two_way):
    better, worse, people = two_way(np.random.default_rng(0), seeds=1)
    one = paired_bootstrap(better[0], worse[0], groups=people)
    three = paired_bootstrap(np.tile(better, (3, 1)), np.tile(worse, (3, 1)), groups=people)
    assert three == pytest.approx(one, abs=1e-9)


def test_seeds_that_differ_widen_the_interval(two_way):
    better, worse, people = two_way(np.random.default_rng(0), luck=0.06)
    found = paired_bootstrap(better, worse, groups=people)
    blind = paired_bootstrap(better.ravel(), worse.ravel(), groups=np.tile(people, 3))
    assert found.value == pytest.approx(blind.value)
    assert found.high - found.low > 1.2 * (blind.high - blind.low)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("luck", [0.0, 0.02, 0.05])  # of seeds as of people: there are fewer seeds
def test_the_two_way_interval_holds_the_truth(two_way, seeds, luck):
    """In nominally 95 % of cases; seeds that matter much are the hard ones, those that do not get too wide ones."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        better, worse, people = two_way(rng, seeds=seeds, luck=luck)
        found = paired_bootstrap(better, worse, groups=people, samples=500)
        held += found.low <= 0.6 - 0.5 + 0.75 * 0.05 <= found.high  # of the two shares as they are drawn
    assert held / 200 >= 0.91


@pytest.mark.parametrize(("luck", "share"), [(0.0, 0.92), (0.018, 0.81), (0.073, 0.37)])
def test_the_interval_of_one_seed_leaves_seeds_out(two_way, luck, share):
    """Seeds add no error, that of people and clips (0.75 * 0.018), or four times as much."""
    rng, held = np.random.default_rng(7), 0
    for _ in range(300):
        better, worse, people = two_way(rng, seeds=1, luck=luck, of_people=0.02)
        found = paired_bootstrap(better[0], worse[0], groups=people, samples=400)
        held += found.low <= 0.6 - 0.5 + 0.75 * 0.05 <= found.high
    assert held / 300 == pytest.approx(share, abs=0.06)  # two standard errors


def test_gap_closed_over_seeds(two_way):
    better, worse, people = two_way(np.random.default_rng(0))
    middle = np.where(np.arange(better.shape[1]) % 2, better, worse)
    found = gap_closed(middle, worse, better, groups=people)
    assert found.low < 0.5 < found.high
    assert gap_closed(better, worse, better, groups=people) == pytest.approx((1, 1, 1))


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


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 2), min_size=2, max_size=8))
def test_same_order_counts_the_pairs_that_agree(rows):
    a, b = zip(*rows, strict=True)
    agree = [(a[i] < a[j]) == (b[i] < b[j]) if b[i] != b[j] else 0.5
             for i in range(len(a)) for j in range(i) if a[i] != a[j]]  # fmt: skip
    if not agree:
        with pytest.raises(LabError, match="two rows that differ"):
            same_order(a, b)
    else:
        assert same_order(a, b) == pytest.approx(np.mean(agree))
