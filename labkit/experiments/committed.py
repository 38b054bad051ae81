"""What is committed in figures/: the results of profile mini on all seeds there were, made by `labkit publish`.

A notebook shows a committed number or figure where it rests on more seeds than the reader's runs, and says so; where
`labkit publish` adds to what is committed, it stays. Everywhere else, in the command line as in scripts, what the runs
say is shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ..errors import LabError
from ..lab import Lab, in_notebook, tell

SHOWN = "mini"  # the profile whose results are committed
KEYS = {"tidy": ("target", "seed", "made on"), "comparisons": ("name",)}  # what names a row of a table
PUBLISHING = "LABKIT_PUBLISHING"  # in the environment of notebooks that `labkit publish` executes


@contextmanager
def being_made(adding: bool = False) -> Iterator[None]:
    """While this lasts, here and in the processes started from here, what is committed is being made.

    Nothing that was committed before is shown then, unless by `adding`, where it rests on more seeds.
    """
    os.environ[PUBLISHING] = "adding" if adding else "anew"
    try:
        yield
    finally:
        del os.environ[PUBLISHING]


def publishing() -> bool:
    """Whether what is committed is being made: records then go to a folder of their own."""
    return PUBLISHING in os.environ


def folder(lab: Lab) -> Path | None:
    """Where what is committed about this lab lies; None where nothing of it is shown."""
    shown = os.environ[PUBLISHING] == "adding" if publishing() else in_notebook()
    return lab.runs.root.parent / "figures" if shown and lab.series_name == SHOWN and not lab.seed else None


def tests(lab: Lab) -> dict[str, list[dict]]:
    """By target, the committed test result of each seed, as a run keeps it; empty where nothing is to be shown."""
    found = _table(lab, "tidy")
    return {} if found is None else {
        name: rows.assign(accuracy=rows["accuracy"] / 100)[["accuracy", "correct", "total"]].to_dict("records")
        for name, rows in of_most_seeds(found).groupby("target")}  # fmt: skip


def of_most_seeds(tidy: pd.DataFrame) -> pd.DataFrame:
    """Of each target the rows of one set of runs, the one with most seeds; the first one of two with as many.

    `labkit publish NOTEBOOK` adds the runs of another home. What its comparisons rest on stands beside what was
    there, told apart by "made on"; no mean and no difference is taken over both.
    """
    target, runs = ["protocol", "target"], ["protocol", "target", "made on"]
    seeds = tidy.groupby(runs, sort=False)["seed"].transform("size")
    most = seeds == seeds.groupby([tidy[key] for key in target]).transform("max")
    return tidy[most].drop_duplicates([*target, "seed"])


def comparison(lab: Lab, name: str, seeds: int) -> dict | None:
    """The row of comparisons.csv of that name, told of, where it rests on more than these seeds of the reader's."""
    found = _table(lab, "comparisons")
    rows = [] if found is None else found[(found["name"] == name) & (found["seeds"] > seeds)].to_dict("records")
    if not rows:
        return None
    told(name, rows[0]["seeds"], seeds)
    return rows[0] | {column: "" for column in ("verdict", "note") if pd.isna(rows[0].get(column))}


def told(what: str, theirs: int, yours: int, place: str = "") -> None:
    """Say that something committed is shown in place of the reader's own."""
    if not publishing():
        tell(f"{what}: committed, seeds: {theirs}; yours{place}: {yours}")


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """ "tidy" or "comparisons" of a folder. Raises LabError where it is no such table, or has a row twice."""
    path, fix = folder / f"{name}.csv", "restore it: git checkout figures"
    try:
        table = pd.read_csv(path)
        doubled = table.duplicated(["protocol", *KEYS[name]])
    except (OSError, ValueError, KeyError) as error:  # pandas' own are ValueErrors
        raise LabError.mismatch(path, f"a table of columns protocol, {', '.join(KEYS[name])}", error, fix) from error
    if doubled.any():
        raise LabError.mismatch(path, "each row once", f"line {doubled.idxmax() + 2} is there twice", fix)
    return table


def _table(lab: Lab, name: str) -> pd.DataFrame | None:
    where = folder(lab)
    if where is None or not (where / f"{name}.csv").exists():
        return None
    table = read_table(where, name)
    return table[table["protocol"] == lab.split.name]
