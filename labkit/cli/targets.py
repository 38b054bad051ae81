"""The commands `labkit reproduce` and `labkit targets`: numbers of the paper made, and shown beside ours."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from ..errors import LabError
from ..tools import home as homes
from ..tools.settings import at_least_one, check_seeds, get_profile

if TYPE_CHECKING:
    import pandas as pd

    from ..experiments.graph import Report
    from ..experiments.targets import Target
    from ..figures.paper import TableOrFigure
    from ..lab import Lab


def reproduce(
    names: Positional[tuple[str, ...]],
    /,
    protocol: str | None = None,
    seeds: int = 1,
    profile: str = "mini",
    workers: int | None = None,
    scheduler: str | None = None,
    threads: int | None = None,
    data: Path | None = None,
    home: Path | None = None,
) -> int:
    """Train what the named targets need and print them beside the paper's figures.

    A training that several of them rest on is made once, and one that is finished not again. A failed
    one is reported, takes along only what depends on it, and makes the exit status 1. All results,
    one row a seed, are in runs/results-PROFILE-tidy.csv.

    Args:
        names: Targets such as table2:15, a group such as table2, all, or everything; and tables and figures: table1,
            fig3, fig4, claims, gaps, discrepancies, cues, overview.
        protocol: Which clips are held out for the test, by name, or all; by default cross-subject, or the set's own.
        seeds: How many seeds to train; what is printed and drawn rests on all that there are.
        profile: Size of the experiment: smoke, mini or paper; any of its settings may follow, such as
            --step3.lr 1e-3 (`labkit settings` lists them).
        workers: Trainings made at the same time, in processes that share the cores; by default one a core,
            and one in all on a GPU.
        scheduler: Address of a Dask scheduler, tcp://HOST:8786, whose workers see the same folders.
        threads: Threads a training computes with; it resumes with no other number.
        data: A data root that the lab knows; by default the embedded set.
        home: Folder for data/ and runs/; by default the one that holds notebooks/.
    """
    at_least_one(workers=workers, threads=threads)
    check_seeds(seeds)
    _refuse_none(names)
    from ..data.splits import USUAL
    from ..experiments import graph, targets
    from ..puppets import opening
    from ..tools.parallel import join_launch

    named = [name for name in names if name not in targets.FIGURE_NAMES]
    ask = _meant if protocol == "all" else targets.get_targets
    ask(named, USUAL if protocol in (None, "all") else protocol)  # a wrong name is told before anything is made
    graph.check_executor(workers, scheduler)
    if scheduler:
        graph.check_scheduler(scheduler)
    join_launch()
    labs = opening.open_labs(profile, protocol, home=homes.find_home(home), data=data)
    chosen = {lab.split.name: ask(named, lab.split.name) for lab in labs}
    if named and not any(chosen.values()):
        targets.get_targets(named, labs[0].split.name)  # tells why there is none
    figures = _figures([name for name in names if name not in named])
    wanted = [(lab, [*chosen[lab.split.name], *(one.possible(lab) for one in figures)]) for lab in labs]
    needs = [need for lab, some in wanted for need in targets.needs(some, [lab], seeds)]
    report = graph.run_graph(needs, workers=workers, scheduler=scheduler, threads=threads)
    if named:
        _show_targets(labs, seeds, chosen)
    write_tidy(labs)
    drawn = [_draw(figure, lab) for figure in figures for lab in labs]
    return 0 if _is_good(report) and all(drawn) else 1


def list_targets(
    protocol: str | None = None,
    seeds: int = 1,
    profile: str = "mini",
    data: Path | None = None,
    json: bool = False,
    home: Path | None = None,
) -> None:
    """Every target: the paper's figure, ours with its interval, and how far it has come.

    Args:
        protocol: Which clips are held out for the test, by name, or all; by default cross-subject, or the set's own.
        seeds: How many seeds are to be there; what is printed rests on all that are.
        profile: Size of the experiment: smoke, mini or paper.
        data: A data root that the lab knows; by default the embedded set.
        json: Print a JSON list of rows, each with its protocol; accuracies in %, null where there is none.
        home: Folder of data/ and runs/; by default the one that holds notebooks/.
    """
    check_seeds(seeds)
    from ..experiments import targets
    from ..puppets import opening

    labs = opening.open_labs(profile, protocol, home=homes.find_home(home), data=data, dry=True)
    if json:
        import pandas as pd

        tables = [targets.results_table(one_lab, seeds).assign(protocol=one_lab.split.name) for one_lab in labs]
        print(pd.concat(tables).to_json(orient="records", indent=1, force_ascii=False))
        return
    _show_targets(labs, seeds)
    print(f"tables and figures made of them, for `labkit reproduce`: {', '.join(targets.FIGURE_NAMES)}")


def settings(profile: str = "mini") -> None:
    """Every setting of a profile, what it is and where its value comes from.

    Args:
        profile: Size of the experiment: smoke, mini or paper.
    """
    import tyro

    shown = get_profile(profile)
    groups = [(each.name, type(value), field(default=value)) for each in fields(shown)
              if is_dataclass(value := getattr(shown, each.name))]  # fmt: skip
    description = (
        f"The settings of profile {shown.name}. Give any of them to reproduce, targets or run, lists with commas: "
        "--step3.lr 1e-3 --step3.snapshots 1,5. What comes of it is named by what was changed, and kept apart."
    )
    tyro.cli(make_dataclass("Settings", groups), args=["--help"], prog="labkit reproduce TARGET",
             description=description, use_underscores=True, config=(tyro.conf.FlagConversionOff,))  # fmt: skip


def _refuse_none(names: Sequence[str]) -> None:
    """LabError where nothing is named."""
    if not names:
        fix = "`labkit targets` lists them"
        raise LabError.mismatch(None, "targets to reproduce, such as table2:15, or all", "none", fix)


def _meant(names: Sequence[str], protocol: str) -> list[Target]:
    """The named targets that have a meaning under this protocol."""
    from ..experiments import targets

    return targets.get_targets([name for name in names if targets.asked_under(name, protocol)], protocol)


# -- made ------------------------------------------------------------------------------------------


def _figures(names: Sequence[str]) -> list[TableOrFigure]:
    """The tables and figures of these names. Drawing takes a second to load: only where something is to be drawn."""
    if not names:
        return []
    from ..figures import paper

    return [paper.TABLES_AND_FIGURES[name] for name in names]


def _is_good(report: Report) -> bool:
    """Whether all that was needed is there; tells what failed, and what was needed where nothing was to be done."""
    if not report.nodes:
        print(report, file=sys.stderr)
    for outcome in report.failed:
        print(f"labkit: {outcome}", file=sys.stderr)
    return not report.failed


def _draw(one: TableOrFigure, one_lab: Lab) -> bool:
    """Draw one from what is there and tell where it lies, or what it misses; whether it was drawn."""
    from ..figures import paper

    try:
        print(*paper.save(one, one_lab), sep="\n")
    except LabError as error:
        print(f"labkit: {one.name}, {one_lab.split.name}: {error}", file=sys.stderr)
        return False
    return True


# -- shown -----------------------------------------------------------------------------------------


def _show_targets(labs: Sequence[Lab], seeds: int, chosen: dict[str, list[Target]] | None = None) -> None:
    """A table a protocol, under its name where there are several; of all targets where none is chosen by protocol."""
    from ..experiments import targets

    for one_lab in labs:
        asked = None if chosen is None else chosen[one_lab.split.name]
        if asked == []:
            continue
        if len(labs) > 1:
            print(f"\n{one_lab.split.name}")
        table = targets.results_table(one_lab, seeds, asked)
        show_table(table)
        made = table.attrs["made on"]
        if len(made) > 1:
            print("trained on several kinds of machine, which round differently: "
                  + ", ".join(f"{count} in {where}" for where, count in made.most_common()))  # fmt: skip


def show_table(table: pd.DataFrame) -> None:
    """Print a results table; what is missing is a dash, and long words are cut."""
    shown = table.astype(object).where(table.notna(), "-")
    shown = shown.map(lambda value: f"{value[:77]}..." if isinstance(value, str) and len(value) > 80 else value)
    print(shown.to_string(index=False, float_format="{:.1f}".format))


def write_tidy(labs: Sequence[Lab]) -> None:
    """Every finished result of these protocols, one a row, beside the runs."""
    from .. import files
    from ..experiments import targets

    path = labs[0].runs.root / f"results-{labs[0].series_name}-tidy.csv"
    files.write_text(path, targets.tidy(labs).to_csv(index=False, float_format="%.6g"))
