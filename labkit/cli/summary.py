"""What `labkit run` says before it begins, and the one screen that it ends on."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from ..lab import Lab

TAKES = {"smoke": "2 min", "mini": "20 to 35 min"}  # by profile, one seed of the embedded set; README says the same


def plan(profile: str, seeds: int, notebooks: Sequence[Path], embedded: bool) -> str:
    """What `labkit run` is going to do, and how long that takes where it has been measured."""
    steps = f"{'make the puppets, ' * embedded}prepare clips, train streams, execute {len(notebooks)} notebooks"
    measured = TAKES.get(profile) if embedded and seeds == 1 else None
    takes = f"some {measured} on 2 cores without a GPU" if measured else "not known before the first trainings"
    return (
        f"profile {profile}: {steps}; what is there is kept\n"
        f"time: {takes}; Ctrl-C at any time, the same command goes on from there"
    )


def screen(lab: Lab, table: pd.DataFrame, notebooks: Sequence[Path], failed: Sequence[str], options: str,
           variables: str) -> str:  # fmt: skip
    """The rows of Table 2 with their controls, what follows for the final model, where all lies, what to type next.

    `table` is `targets.results_table` of all targets, `failed` names notebooks without a result. A next command finds
    the same results by `options`, a notebook by `variables` of the environment.
    """
    from ..figures.style import records_folder

    runs, rows = lab.runs.root, table.set_index("target")
    most = int(rows["seeds"].max())
    counts = f"{len(lab.split.test)} test clips, {most} seed{'s' * (most != 1)}"
    worth = ": shows only that all runs" if lab.profile.name == "smoke" else ""
    told = [*_follows(lab), *([f"not executed to the end: {', '.join(failed)}; see above"] if failed else [])]
    lines = [
        f"{lab.data_name}, {lab.split.name}, {lab.profile.name}{worth}; {counts}",
        *_rows(rows),
        *_wrapped(told),
        f"kept  {_short(runs)}/results-{lab.series_name}.csv; pictures and notebooks: {_short(records_folder(lab))}",
        f"next  {variables}{_program('jupyter')} lab {_short(notebooks[0])}",
        f"      {_program('labkit')} targets{options}",
        f"      {_program('labkit')} data check FOLDER, then run --data FOLDER: your own recordings",
    ]
    return "\n".join(lines)


def _rows(rows: pd.DataFrame) -> list[str]:
    """Table 2, each row with its control beside it where it has one."""
    lines = [f"row {'model':<36} paper  {'ours, %':<15} alike, no depth"]
    for name, row in rows.iterrows():
        group, _, number = name.partition(":")
        if group == "table2":
            model = row["model"].removesuffix(f" (row {number})")
            paper = "-" if row["paper"] != row["paper"] else f"{row['paper']:.1f}"
            control = _ours(rows.loc[f"control:{number}"]) if f"control:{number}" in rows.index else ""
            lines.append(f"{number:>3} {model:<36} {paper:>5}  {_ours(row):<15} {control}".rstrip())
    return lines


def _ours(row: pd.Series) -> str:
    """Accuracy and interval; without a result, why there is none."""
    if row["seeds"] == 0:
        return row["state"].partition(":")[0]
    return f"{row['ours']:.1f} [{row['low']:.0f}, {row['high']:.0f}]"


def _follows(lab: Lab) -> list[str]:
    """What the rows come to for the paper's final model: against one RGB stream, and against two."""
    from ..experiments import targets

    pairs = [pair for pair in targets.COMPARISONS if pair[0] == "table2:15"]
    have = [pair for pair in pairs if targets.complete_seeds(lab, targets.trainings_of(pair))]
    return [sentence for pair in have for sentence in targets.in_words(targets.comparison_table(lab, [pair]))]


def _wrapped(sentences: Sequence[str]) -> list[str]:
    width = min(shutil.get_terminal_size().columns, 100) - 1
    return [line for text in sentences for line in textwrap.wrap(text, width, subsequent_indent="  ")]


def _short(path: Path) -> str:
    """A path as one types it from the working folder."""
    here = Path.cwd()
    return shlex.quote((path.relative_to(here) if path.is_relative_to(here) else path).as_posix())


def _program(name: str) -> str:
    """A program of this very installation: by its name alone where the shell finds it, else with its folder."""
    folder, found = Path(sys.executable).parent, shutil.which(name)
    return name if found and Path(found).parent == folder else _short(folder / name)
