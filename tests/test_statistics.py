"""Intervals and tests against tables, slow versions and their promised coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp
from two_way import GAIN, WHO, draw

from labkit.errors import LabError
from labkit.experiments import statistics
from labkit.experiments.statistics import (
    Interval,
    clip_spread,
    confusion,
    crossed_mean,
    gap_closed,
    holm,
    paired_difference,
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
        lambda nan: paired_difference([1, nan], [0, 1]),
        lambda nan: paired_difference([1, 0], [0, nan]),
        lambda nan: gap_closed([1, nan], [0, 1], [1, 1]),
        lambda nan: gap_closed(0.7, nan, 0.8),
        lambda nan: seeds_needed([0.01, nan], 0.015, most=9),
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
        paired_difference([1, 0, 1], [1, 0])


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


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.7062), (3, 4.30265), (4, 3.18245), (5, 2.77645), (31, 2.04227)])
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
    needed = seeds_needed([-spread / np.sqrt(2), spread / np.sqrt(2)], effect, most=1000)  # whose deviation is `spread`
    assert power_by_simulation(needed, effect, spread) > 0.78
    assert needed == 2 or power_by_simulation(needed - 1, effect, spread) < 0.82


def test_seeds_needed_at_the_limits():
    assert seeds_needed([0.02, 0.02], 0.015, most=9) == 2
    assert seeds_needed([-0.3, 0.3], 0.001, most=1000) is None
    assert seeds_needed([-0.3, 0.3], 0.0, most=9) is None and seeds_needed([0.02, 0.02], 0.0, most=9) is None
    assert seeds_needed([0.01], 0.015, spread=0.01, most=9) == seeds_needed([0.01, 0.02, 0.03], 0.015, most=9) < 9


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


def test_over_clips_of_one_training_it_is_the_paired_t_test(correctness):
    weak, _, strong = correctness
    found, slow = paired_difference(strong, weak), ttest_1samp(strong.astype(float) - weak, 0)
    assert found == pytest.approx((strong.mean() - weak.mean(), *slow.confidence_interval(), slow.pvalue))


def test_over_people_of_one_training_it_is_the_t_test_of_their_differences(correctness):
    weak, _, strong = correctness
    people = np.random.default_rng(0).permutation(np.repeat([f"P{n:03d}" for n in range(15)], 20))
    by_person = [strong[people == name].mean() - weak[people == name].mean() for name in np.unique(people)]
    slow = ttest_1samp(by_person, 0)
    expected = (np.mean(by_person), *slow.confidence_interval(), slow.pvalue)
    assert paired_difference(strong, weak, groups=people) == pytest.approx(expected)
    assert paired_difference(strong[None], weak[None], groups=people) == pytest.approx(expected), "a row of one seed"


def test_seeds_of_one_person_leave_the_t_test_over_seeds():
    a, b = np.random.default_rng(0).random((2, 6, 50)) < np.array([0.7, 0.5])[:, None, None]
    by_seed = a.mean(axis=1) - b.mean(axis=1)
    slow = ttest_1samp(by_seed, 0)
    found = paired_difference(a, b, groups=["P001"] * 50)
    assert found == pytest.approx((by_seed.mean(), *slow.confidence_interval(), slow.pvalue))


def by_the_textbook(cells: np.ndarray) -> tuple[float, float, float]:
    """Mean, error and degrees of freedom from the sums of squares of a two-way table without repetition."""
    seeds, people = cells.shape
    correction = cells.sum() ** 2 / cells.size
    of_seeds = (cells.sum(axis=1) ** 2).sum() / people - correction
    of_people = (cells.sum(axis=0) ** 2).sum() / seeds - correction
    rest = (cells**2).sum() - correction - of_seeds - of_people
    a, b, c = of_seeds / (seeds - 1), of_people / (people - 1), rest / (seeds - 1) / (people - 1)
    between_seeds, between_people = (a - c) / people, (b - c) / seeds  # components of variance
    variance = between_seeds / seeds + between_people / people + c / cells.size
    parts = a**2 / (seeds - 1) + b**2 / (people - 1) + c**2 / (seeds - 1) / (people - 1)
    return cells.mean(), np.sqrt(variance), (a + b - c) ** 2 / parts


def test_over_seeds_and_people_it_is_the_two_way_table_of_the_textbook():
    """Five seeds, 20 people, both of which matter."""
    better, worse, _ = draw(np.random.default_rng(0), 5, 0.04, 0.06)
    cells = (better.astype(float) - worse).reshape(5, 20, -1).mean(axis=2)
    mean, error, freedom = by_the_textbook(cells)
    assert crossed_mean(cells) == pytest.approx((mean, error, freedom))
    assert 4 < freedom < 19  # between that of seeds and that of people
    half = student_t.ppf(0.975, freedom) * error
    p = 2 * student_t.sf(mean / error, freedom)
    assert paired_difference(better, worse, groups=WHO) == pytest.approx((mean, mean - half, mean + half, p))
    clips = crossed_mean(better.astype(float) - worse)
    value, low, high, _ = paired_difference(better, worse)
    assert (value, high - low) == pytest.approx((mean, 2 * student_t.ppf(0.975, clips[2]) * clips[1])), "no groups"


def test_a_table_by_hand():
    """Rows 1, 2, 3 and columns 0, 4: mean squares 2, 24 and 0."""
    cells = np.array([[1.0, 5], [2, 6], [3, 7]])
    assert crossed_mean(cells) == pytest.approx((4, np.sqrt(26 / 6), 26**2 / (2**2 / 2 + 24**2 / 1)))
    assert crossed_mean(cells.T) == pytest.approx(crossed_mean(cells))


def test_the_error_is_no_smaller_than_that_of_cells_drawn_one_by_one():
    """Rows and columns of equal means: both components of variance would be negative."""
    cells = np.array([[1.0, -1], [-1, 1]])
    mean, error, freedom = crossed_mean(cells)
    assert (mean, error, freedom) == (0, pytest.approx(1), 1)  # mean squares 0, 0, 4: sqrt(4 / 4)


def test_no_degrees_of_freedom_below_one():
    cells = np.array([[2.0, 0], [0, 0]])
    assert crossed_mean(cells) == pytest.approx((0.5, 0.5, 1))  # mean squares 1, 1, 1; Satterthwaite would say a third


def test_one_person_in_one_training_tells_nothing():
    found = paired_difference([1, 1, 0], [0, 1, 0], groups=["P001"] * 3)
    assert found == (pytest.approx(1 / 3), -1, 1, 1)
    assert paired_difference([1], [0]) == (1, -1, 1, 1)
    assert gap_closed([1, 1, 0], [0, 1, 0], [1, 1, 1], groups=["P001"] * 3) == (pytest.approx(0.5), None, None)


def test_a_person_with_more_clips_weighs_more():
    """The mean stays that over clips. The error is that of a ratio of two sums over people."""
    a, b = np.array([1, 1, 1, 1, 0, 1, 0, 0, 1.0]), np.array([0, 1, 0, 0, 0, 0, 0, 1, 1.0])
    people = np.array(list("AAAABBBCC"))
    gains, counts = np.array([3, 1, -1]), np.array([4, 3, 2])
    ratio = gains.sum() / counts.sum()
    error = np.sqrt(((gains - ratio * counts) ** 2).sum() / 2 / 3) / counts.mean()
    half = student_t.ppf(0.975, 2) * error
    found = paired_difference(a, b, groups=people)
    assert found[:3] == pytest.approx((ratio, max(ratio - half, -1), min(ratio + half, 1)))
    assert found.p == pytest.approx(2 * student_t.sf(ratio / error, 2))
    twice = paired_difference(np.tile(a, (3, 1)), np.tile(b, (3, 1)), groups=people)
    assert twice == pytest.approx(found), "three seeds that agree"


def test_the_difference_is_antisymmetric(correctness):
    weak, middle, _ = correctness
    one, other = paired_difference(middle, weak), paired_difference(weak, middle)
    assert (one.value, one.low, one.high, one.p) == pytest.approx((-other.value, -other.high, -other.low, other.p))


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_p_is_below_a_level_where_the_interval_excludes_zero(seeds, number):
    better, worse, _ = draw(np.random.default_rng(number), seeds, 0.1, 0.1)
    p = paired_difference(better, worse, groups=WHO).p
    for confidence in (0.8, 0.95, 0.999, 1 - p + 1e-6, 1 - p - 1e-6):
        if 0 < confidence < 1:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(statistics, "CONFIDENCE", confidence)
                _, low, high, _ = paired_difference(better, worse, groups=WHO)
            assert (low > 0 or high < 0) == (p < 1 - confidence)


def test_no_difference_has_p_one(correctness):
    assert paired_difference(correctness[0], correctness[0]) == (0, 0, 0, 1)
    assert paired_difference([correctness[0]] * 3, [correctness[0]] * 3) == (0, 0, 0, 1)


def test_the_same_difference_everywhere_is_certain():
    """0.3 - 0.1 is no round number: what rounding leaves of its variation is none."""
    assert paired_difference(np.full((3, 4), 0.3), np.full((3, 4), 0.1)) == pytest.approx((0.2, 0.2, 0.2, 0))


def test_no_difference_lies_beyond_what_answers_can_differ_by():
    assert paired_difference([1, 0], [0, 1])[1:3] == (-1, 1)
    two_models = paired_difference([2, 0, 1], [0, 2, 0])
    assert two_models[1:3] == (-2, 2), "answers of two models, added up"


def test_p_is_uniform_where_there_is_no_difference():
    """Two equally good models: a p below 0.1 turns up in about a tenth of the cases."""
    rng = np.random.default_rng(0)
    small = sum(paired_difference(*(rng.random((2, 200)) < 0.7)).p < 0.1 for _ in range(1000))
    assert 75 <= small <= 125


def test_groups_widen_the_interval(correctness):
    """Four copies of every clip tell no more than one, if copies belong together."""
    weak, middle, _ = correctness
    copies = np.repeat(middle, 4), np.repeat(weak, 4)
    subjects = [f"S{i // 4:03d}" for i in range(1200)]
    honest = paired_difference(middle, weak)
    naive = paired_difference(*copies)
    assert paired_difference(*copies, groups=subjects) == pytest.approx(honest)
    assert (naive.high - naive.low) == pytest.approx((honest.high - honest.low) / 2, rel=0.01)


def share_held(seeds: int, of_seeds: float, of_people: float, count: int = 2000) -> tuple[float, float]:
    """In what share of draws the interval holds the true difference, and that of the trainings drawn."""
    rng, held = np.random.default_rng(0), []
    for _ in range(count):
        better, worse, of_these = draw(rng, seeds, of_seeds, of_people)
        _, low, high, _ = paired_difference(better, worse, groups=WHO)
        held.append((low <= GAIN <= high, low <= of_these <= high))
    return tuple(np.mean(held, axis=0))


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(("of_seeds", "of_people"), [(0.0, 0.03), (0.01, 0.09), (0.04, 0.03), (0.04, 0.09)])
def test_the_interval_holds_the_truth_in_95_of_100_cases(seeds, of_seeds, of_people):
    """Spreads as benchmarks/intervals.py has them; with three seeds, resampling people held it in 98 to 100."""
    assert 0.93 <= share_held(seeds, of_seeds, of_people)[0] <= 0.97


@pytest.mark.parametrize(("of_seeds", "share"), [(0.01, 0.92), (0.02, 0.83), (0.04, 0.62)])
def test_the_interval_of_one_seed_is_about_that_very_training(of_seeds, share):
    of_others, of_this = share_held(1, of_seeds, 0.03)
    assert 0.93 <= of_this <= 0.97
    assert of_others == pytest.approx(share, abs=0.03)


@pytest.fixture
def three_models():
    """(seeds, clips) answers of a student, a baseline and an upper bound that share their people and seeds."""

    def answers(seeds: int, number: int = 0):
        rng = np.random.default_rng(number)
        upper, baseline, _ = draw(rng, seeds, 0.02, 0.05)
        luck = rng.normal(0, 0.1, (seeds, 1)) + rng.normal(0, 0.2, 20)[WHO]
        return np.where(rng.random(upper.shape) < 0.6 + luck, upper, baseline), baseline, upper

    return answers


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_gap_closed_is_each_share_that_may_be_the_true_one(three_models, seeds):
    student, baseline, upper = (values.astype(float) for values in three_models(seeds))
    found = gap_closed(student, baseline, upper, groups=WHO)

    def may_be(share):
        _, low, high, _ = paired_difference(student - share * upper, (1 - share) * baseline, groups=WHO)
        return low <= 0 <= high

    grid = np.arange(-2, 4, 0.002)
    kept = grid[[may_be(share) for share in grid]]
    assert found.value == pytest.approx((student.mean() - baseline.mean()) / (upper.mean() - baseline.mean()))
    assert (found.low, found.high) == pytest.approx((kept[0], kept[-1]), abs=0.002)
    assert len(kept) == pytest.approx((found.high - found.low) / 0.002, abs=2), "no share between them is left out"


def test_gap_closed_pairs_the_seeds_of_all_three(three_models):
    student, baseline, upper = three_models(3)
    found = gap_closed(student, baseline, upper, groups=WHO)
    order = [2, 0, 1]
    assert gap_closed(student[order], baseline[order], upper[order], groups=WHO) == pytest.approx(found)
    with pytest.raises(LabError, match="same clips and seeds"):
        gap_closed(student, baseline[:2], upper, groups=WHO)
    with pytest.raises(LabError, match="same clips and seeds"):
        gap_closed(student, baseline, upper[:, 1:], groups=WHO)
    assert gap_closed(upper, baseline, upper, groups=WHO) == pytest.approx((1, 1, 1))


def test_gap_closed_holds_the_truth(three_models):
    """The student has each answer from the upper bound or the baseline: on average 60 % of the gap."""
    found = [gap_closed(*three_models(3, number), groups=WHO) for number in range(500)]
    known = [one for one in found if one.low is not None]
    assert np.mean([one.low <= 0.6 <= one.high for one in known]) == pytest.approx(0.95, abs=0.03)
    for one, number in zip(found, range(500), strict=True):  # none where the gap may be none
        _, baseline, upper = three_models(3, number)
        assert (one.low is None) == (paired_difference(upper, baseline, groups=WHO).low <= 0)


def test_gap_closed_of_the_papers_rows():
    """Rows 15, 2 and 8 of Table 2, cross-subject: half of the gap."""
    assert gap_closed(73.42, 66.52, 79.73) == Interval(pytest.approx(6.90 / 13.21), None, None)


def test_gap_closed_of_clips(correctness):
    weak, middle, strong = correctness
    found = gap_closed(middle, weak, strong)
    assert found.value == pytest.approx((middle.mean() - weak.mean()) / (strong.mean() - weak.mean()))
    rng, slow = np.random.default_rng(3), []
    for _ in range(3_000):  # a bootstrap over clips
        a, b, c = (model[pick].mean() for pick in [rng.integers(300, size=300)] for model in (middle, weak, strong))
        slow.append((a - b) / (c - b))
    assert (found.low, found.high) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.03)
    assert gap_closed(strong, weak, strong) == pytest.approx((1, 1, 1))
    assert gap_closed(weak, weak, strong) == pytest.approx((0, 0, 0))


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
