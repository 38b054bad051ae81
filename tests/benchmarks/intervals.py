"""How often a 95 % interval holds the truth, and how wide it is: `python tests/benchmarks/intervals.py [--count N]`.

Draws answers of two models whose true difference is known (`tests/two_way.py`): 20 people of 36 clips, one to ten
seeds. Compares, on the same answers, the lab's interval with the t interval over seeds alone and with the one over
people alone, of answers averaged over seeds; the last is also held against the truth of the very trainings drawn.
Prints the table that stands in README.md, as coverage (median width in points). Takes four minutes.

The spreads are those of the puppets at profile mini, cross-subject, in points. Over seeds: of the 35 differences of
the claims and comparisons in `figures/tidy.csv` that have three seeds or more and no noise, the standard deviation is
1.0 at the 10th percentile, 1.7 at the median and 4.2 at the 90th. Clips that are answered anew in every training make
1.3 of that in `draw`, so that 0, 1 and 4 are left. Differences to row 8 under noise reach 18, for which 10 stands here.
Over people: of the same differences in the predictions of seed 0, the standard deviation between people is 4.2, 6.0
and 10.4 at these percentiles. Without what clips add to it by chance 0, 0 and 5.5 are left, and 9 at most.
"""

from __future__ import annotations

import argparse

import common  # noqa: F401  so that two_way.py is found
import numpy as np
from two_way import GAIN, WHO, draw

from labkit.experiments.statistics import paired_difference, seed_interval

SEEDS = (1, 2, 3, 5, 10)
SPREADS = ((0.0, 0.03), (0.01, 0.03), (0.01, 0.09), (0.04, 0.03), (0.04, 0.09), (0.1, 0.03))
INTERVALS = ("people and seeds (the lab's)", "seeds alone", "people alone", "the same, of these very trainings")


def measure(seeds: int, of_seeds: float, of_people: float, count: int) -> list[str]:
    """Coverage and median width of each of INTERVALS."""
    rng, ends, truths = np.random.default_rng(0), [], []
    for _ in range(count):
        better, worse, of_these = draw(rng, seeds, of_seeds, of_people)
        by_seed = better.mean(axis=1) - worse.mean(axis=1)
        over_seeds = seed_interval(by_seed, bounds=None)[1:] if seeds > 1 else (np.nan, np.nan)
        over_people = paired_difference(better.mean(axis=0), worse.mean(axis=0), groups=WHO)[1:3]
        ends.append([paired_difference(better, worse, groups=WHO)[1:3], over_seeds, over_people, over_people])
        truths.append([GAIN, GAIN, GAIN, of_these])
    low, high = np.moveaxis(np.array(ends), 2, 0)
    covered = ((low <= truths) & (truths <= high)).mean(axis=0)
    width = 100 * np.median(high - low, axis=0)
    return ["–" if np.isnan(w) else f"{c:.3f} ({w:.1f})" for c, w in zip(covered, width, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="draws of answers for each number")
    count = parser.parse_args().count
    print("| spread over seeds | over people | interval over |", " | ".join(f"seeds: {n}" for n in SEEDS), "|")
    print("|" + "---|" * (3 + len(SEEDS)))
    for spread in SPREADS:
        columns = [measure(seeds, *spread, count) for seeds in SEEDS]
        for name, cells in zip(INTERVALS, zip(*columns, strict=True), strict=True):
            print("|", " | ".join([*(f"{100 * one:g}" for one in spread), name, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
