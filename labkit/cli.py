"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
import select
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional
from tyro.extras import SubcommandApp

from . import __version__
from .course_commands import course
from .data_commands import data
from .errors import LabError, told_by_the_system
from .leaving import export, predict

if TYPE_CHECKING:
    from .lab import Lab
    from .targets import Target

NOTEBOOK_SECONDS = 6 * 3600  # a notebook may train all its runs the first time
DESCRIPTION = (
    "What can a depth camera, present only while training, teach a network that will only ever see RGB? "
    "`labkit --version` prints the version."
)

app = SubcommandApp()


@app.command
def run(
    profile: str = "mini",
    seeds: int = 1,
    force: bool = False,
    refresh: bool = False,
    jobs: int = 1,
    data: Path | None = None,
    protocol: str | None = None,
    home: Path | None = None,
) -> int:
    """Make the embedded set, execute all notebooks in order, write the results table.

    With --data, the notebooks see that data root in place of the embedded set, and what they leave stays
    in runs/. What is up to date is not done again. The exit status is 1 when a notebook failed.

    Args:
        profile: Size of the experiment: smoke, mini or paper.
        seeds: How many seeds each result rests on.
        force: Execute notebooks that are up to date, too.
        refresh: Keep the outputs in the notebooks themselves, too, as they are committed.
        jobs: Notebooks executed at the same time.
        data: A data root that the lab knows (`labkit data check ROOT`); by default the embedded set.
        protocol: Which clips are held out for the test, by name; by default cross-subject, or else the set's own.
        home: Folder for data/ and runs/; by default the one that holds notebooks/.
    """
    from . import machine

    _at_least_one(seeds=seeds, jobs=jobs)
    base = machine.find_home(home)
    notebooks = machine.find_notebooks(base)

    from . import graph, lab, targets  # seconds: only now that there is something to do
    from .records import SHOWN

    bench = lab.open_lab(profile, protocol, home=base, data=data)
    asked, committed = (bench.series_name, bench.split.name, seeds), (SHOWN, "cross-subject", 1)
    if refresh and asked != committed:
        fix = "leave --refresh out: what is committed shows the embedded set, as the parameters cells say"
        raise LabError.mismatch(data, f"--refresh with {committed}", asked, fix)
    ahead = targets.possible(bench, targets.IN_NOTEBOOKS)  # side by side, not one by one as notebooks come to them
    graph.run_graph(targets.needs(ahead, [bench], seeds), workers=None)
    succeeded = _execute(notebooks, base / "runs" / "notebooks" / bench.series_name, jobs, refresh, {
        "parameters": {"profile": profile, "protocol": bench.split.name, "seeds": seeds},
        "force": force,
        "data_fingerprint": bench.clips.fingerprint,
        "env": {"LABKIT_HOME": str(base)} | ({lab.DATA_VARIABLE: str(bench.root)} if data else {}),
    })  # fmt: skip
    _show(targets.results_table(bench, seeds), base / "runs" / f"results-{bench.series_name}.csv")
    _write_tidy([bench], seeds)
    if refresh:
        _write_tidy(lab.open_labs(profile, "all", home=base), targets.MOST_SEEDS, base / "figures" / "tidy.csv")
    return 0 if succeeded else 1


def _execute(notebooks: Sequence[Path], folder: Path, jobs: int, refresh: bool, options: dict) -> bool:
    """Run the series into `folder`, its kernels sharing the cores; whether all notebooks succeeded."""
    from . import machine, series
    from .notebooks import adopt_outputs, read_notebook

    if jobs > 1:
        options["env"]["OMP_NUM_THREADS"] = str(max(machine.available_cores() // jobs, 1))
    records = series.run_series(notebooks, folder, timeout=NOTEBOOK_SECONDS, jobs=jobs, **options)
    for path, record in zip(notebooks, records, strict=True):
        if refresh and record.succeeded:
            adopt_outputs(read_notebook(path), folder / f"{record.name}.ipynb")
    return all(record.succeeded for record in records)


@app.command
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
        names: Targets such as table2:15, a group such as table2, all, or everything; and exhibits: table1,
            fig3, fig4, claims, gaps, discrepancies, overview.
        protocol: Which clips are held out for the test, by name, or all; by default cross-subject, or the set's own.
        seeds: How many seeds each result rests on.
        profile: Size of the experiment: smoke, mini or paper.
        workers: Trainings made at the same time, in processes that share the cores; by default one a core,
            and one in all on a GPU.
        scheduler: Address of a Dask scheduler, tcp://HOST:8786, whose workers see the same folders.
        threads: Threads a training computes with; it resumes with no other number.
        data: A data root that the lab knows; by default the embedded set.
        home: Folder for data/ and runs/; by default the one that holds notebooks/.
    """
    _at_least_one(seeds=seeds, names=len(names), workers=workers, threads=threads)

    from . import graph, lab, machine, targets

    drawings = [name for name in names if name in targets.EXHIBIT_NAMES]
    names = [name for name in names if name not in drawings]
    targets.get_targets(names)  # a wrong name is told before anything is made
    labs = lab.open_labs(profile, protocol, home=machine.find_home(home), data=data)
    wanted = [need for bench in labs for need in targets.needs(_chosen(names, bench), [bench], seeds)]
    wanted += _exhibit_needs(drawings, labs, seeds)
    report = graph.run_graph(wanted, workers=workers, scheduler=scheduler, threads=threads)
    if names:
        _show_targets(labs, seeds, names)
    _write_tidy(labs, seeds)
    drawn = _show_exhibits(drawings, labs, seeds)
    if not report.nodes:
        print(report, file=sys.stderr)
    for outcome in report.failed:
        print(f"labkit: {outcome}", file=sys.stderr)
    return 1 if report.failed or not drawn else 0


def _exhibit_needs(names: Sequence[str], labs: Sequence, seeds: int) -> list:
    """What these exhibits rest on. Drawing takes a second to load: only where something is to be drawn."""
    if not names:
        return []
    from . import exhibits

    return exhibits.needs([exhibits.EXHIBITS[name] for name in names], labs, seeds)


def _show_exhibits(names: Sequence[str], labs: Sequence, seeds: int) -> bool:
    """Draw exhibits from what is there and tell where they lie, or what they miss; whether all were drawn."""
    if not names:
        return True
    from . import exhibits

    drawn = True
    for exhibit, bench in ((exhibits.EXHIBITS[name], bench) for name in names for bench in labs):
        try:
            print(*exhibits.make_exhibit(exhibit, bench, seeds), sep="\n")
        except LabError as error:
            print(f"labkit: {exhibit.name}, {bench.split.name}: {error}", file=sys.stderr)
            drawn = False
    return drawn


@app.command(name="targets")
def list_targets(
    protocol: str | None = None,
    seeds: int = 1,
    profile: str = "mini",
    data: Path | None = None,
    home: Path | None = None,
) -> None:
    """Every target: the paper's figure, ours with its interval, and how far it has come.

    Args:
        protocol: Which clips are held out for the test, by name, or all; by default cross-subject, or the set's own.
        seeds: How many seeds each result rests on.
        profile: Size of the experiment: smoke, mini or paper.
        data: A data root that the lab knows; by default the embedded set.
        home: Folder of data/ and runs/; by default the one that holds notebooks/.
    """
    _at_least_one(seeds=seeds)

    from . import lab, machine, targets

    _show_targets(lab.open_labs(profile, protocol, home=machine.find_home(home), data=data), seeds)
    print(f"exhibits made of them, for `labkit reproduce`: {', '.join(targets.EXHIBIT_NAMES)}")


def _chosen(names: Sequence[str], bench: Lab) -> list[Target]:
    from . import targets

    return targets.get_targets(names, bench.split.name)


def _show_targets(labs: Sequence[Lab], seeds: int, names: Sequence[str] = ()) -> None:
    """A table a protocol, under its name where there are several; of all targets where none is named."""
    from . import targets

    for bench in labs:
        if len(labs) > 1:
            print(f"\n{bench.split.name}")
        _show(targets.results_table(bench, seeds, _chosen(names, bench) if names else None))


def _write_tidy(labs: Sequence[Lab], seeds: int, path: Path | None = None) -> None:
    """Every finished result of these protocols and seeds, one a row, beside the runs or in `path`."""
    from . import files, targets

    path = path or labs[0].runs.root / f"results-{labs[0].series_name}-tidy.csv"
    files.write_text(path, targets.tidy(labs, seeds).to_csv(index=False, float_format="%.6g"))


@app.command
def doctor(home: Path | None = None) -> None:
    """Versions, threads, bf16, GPU, memory, disk; the data found and the speed profiles measured.

    Args:
        home: Folder of data/ and runs/; by default the one that holds notebooks/.
    """
    from . import datasets, files, machine

    base = machine.find_home(home)
    facts = machine.describe(base)
    for name, value in (facts | facts.pop("packages") | {"home": base}).items():
        print(f"{name:<24} {value if value != [] else 'none'}")
    for root in sorted({path.parent for path in base.glob("data/*/nturgb*d_rgb*")}):
        index = datasets.NTU60.index(root)
        print(f"{'data':<24} {root.relative_to(base)}: {len(index)} clips, {len(index.excluded)} excluded")
    for path in sorted(base.glob("runs/speed/speed-*.json")):
        found = files.read_json(path)
        print(f"{'speed':<24} {found['key']['shape']}: {found['profile']}")


app.command(export)
app.command(predict)
app.command(data, name="data", help="Make, check or prepare a data root.")
app.command(course, name="course", help="Make the course's notebooks, or the site.")


def _at_least_one(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise LabError.mismatch(None, f"at least 1 for {name}", count, "give one or more")


def _show(table, path: Path | None = None) -> None:
    """Print a results table, and keep it as CSV where a path is given."""
    from . import files

    if path is not None:
        files.write_text(path, table.to_csv(index=False))
    shown = table.astype(object).where(table.notna(), "-")
    shown = shown.map(lambda value: textwrap.shorten(value, 80) if isinstance(value, str) else value)
    print(shown.to_string(index=False, float_format="{:.1f}".format))


def _terminated(number: int, frame) -> None:
    raise SystemExit(128 + number)  # so that kernels and locks are released on the way out


def _unread() -> bool:
    """Whether nobody reads what is printed any more, as behind `| head`; other pipes may break, too."""
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)  # errors are told unasked
        return any(event & select.POLLERR for _, event in watch.poll(0))
    except (AttributeError, OSError):  # no poll, or no file behind it
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. A LabError is one line on stderr and status 2, Ctrl-C 130, `| head` 141."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(__version__)
        return 0
    signal.signal(signal.SIGTERM, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a kernel's streams have UTF-8 anyway
            stream.reconfigure(errors="backslashreplace")  # where the locale's letters are few, a name is escaped
    try:
        status = app.cli(prog="labkit", description=DESCRIPTION, args=arguments or ["--help"]) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        return 128 + 13  # SIGPIPE
    except (LabError, OSError) as error:
        told = error if isinstance(error, LabError) else told_by_the_system(error)
        print(f"labkit: {told}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("labkit: interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
