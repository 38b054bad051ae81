"""Is a run on another machine another result, or as another seed? One's own finished runs beside the committed ones.

    python tests/benchmarks/machines.py HOME [TIDY.csv]

A run's name is the same on every machine; its bits are not, where processor, precision or number of threads differ.
For each target with five committed seeds or more: accuracy of the own run, of the committed run of that name, and how
many standard deviations over committed seeds the own one lies from their mean. If a machine is no more than another
seed, these have mean 0 and standard deviation 1. TIDY.csv, by default figures/tidy.csv, is what is held against.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from labkit.experiments.committed import of_most_seeds
from labkit.experiments.targets import results_table, tidy
from labkit.puppets.opening import open_labs

FIGURES = Path(__file__).resolve().parents[2] / "figures"
KEYS = ["protocol", "target"]


def beside(own: pd.DataFrame, committed: pd.DataFrame) -> pd.DataFrame:
    """One row a run that both have by name, with the mean and spread of the committed seeds of its target."""
    spread = committed.groupby(KEYS)["accuracy"].agg(["mean", "std", "size"]).reset_index()
    both = own.merge(committed[[*KEYS, "run", "accuracy"]], on=[*KEYS, "run"], suffixes=("", " there"))
    both = both.merge(spread[spread["size"] >= 5], on=KEYS)
    return both.assign(z=(both["accuracy"] - both["mean"]) / both["std"])


def main(home: str, table: str | Path = FIGURES / "tidy.csv") -> None:
    labs = open_labs("mini", "all", home=Path(home), dry=True)
    found = beside(tidy(labs), of_most_seeds(pd.read_csv(table)))
    columns = ["protocol", "target", "seed", "accuracy", "accuracy there", "mean", "std", "z"]
    print(found[columns].round(1).to_string(index=False))
    print("made here:", "; ".join(f"{count} {where}" for lab in labs
                                  for where, count in results_table(lab).attrs["made on"].items()))  # fmt: skip
    apart = found["accuracy"] - found["accuracy there"]
    print(f"{len(found)} targets; difference to the run of that name: mean {apart.mean():.1f}, largest "
          f"{apart.abs().max():.1f} points; z: mean {found['z'].mean():.2f}, standard deviation "
          f"{found['z'].std():.2f}, beyond 2: {(found['z'].abs() > 2).sum()}")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
