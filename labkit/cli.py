"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tyro.conf import Positional
from tyro.extras import SubcommandApp

from . import __version__
from .errors import LabError
from .leaving import export, predict

NOTEBOOK_SECONDS = 6 * 3600  # a notebook may train all its runs the first time
DESCRIPTION = (
    "What can a depth camera, present only while training, teach a network that will only ever see RGB? "
    "`labkit --version` prints the version."
)

app, data, course = SubcommandApp(), SubcommandApp(), SubcommandApp()


@app.command
def run(
    profile: str = "mini",
    seeds: int = 1,
    force: bool = False,
    refresh: bool = False,
    jobs: int = 1,
    home: Path | None = None,
) -> int:
    """Make the embedded set, execute all notebooks in order, write the results table.

    What is up to date is not done again. The exit status is 1 when a notebook failed.

    Args:
        profile: Size of the experiment: smoke, mini or paper.
        seeds: How many seeds each result rests on.
        force: Execute notebooks that are up to date, too.
        refresh: Keep the outputs in the notebooks themselves, too, as they are committed.
        jobs: Notebooks executed at the same time.
        home: Folder for data/ and runs/; by default the one that holds notebooks/.
    """
    from . import machine

    _at_least_one(seeds=seeds, jobs=jobs)
    base = machine.find_home(home)
    notebooks = machine.find_notebooks(base)

    from . import lab, targets  # seconds: only now that there is something to do

    bench = lab.open_lab(profile, home=base)
    succeeded = _execute(notebooks, base / "runs" / "notebooks" / profile, jobs, refresh, {
        "parameters": {"profile": profile, "seeds": seeds},
        "force": force,
        "data_fingerprint": bench.clips.fingerprint,
        "env": {"LABKIT_HOME": str(base)},
    })  # fmt: skip
    _show(targets.results_table(bench, seeds), base / "runs" / f"results-{profile}.csv")
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
    protocol: Literal["cross-subject", "cross-view"] = "cross-subject",
    seeds: int = 1,
    profile: str = "mini",
    home: Path | None = None,
) -> None:
    """Train what the named targets need and print them beside the paper's figures.

    Args:
        names: Targets such as table2:15, or all.
        protocol: Which people or cameras are held out for the test.
        seeds: How many seeds each result rests on.
        profile: Size of the experiment: smoke, mini or paper.
        home: Folder for data/ and runs/; by default the one that holds notebooks/.
    """
    _at_least_one(seeds=seeds, names=len(names))

    from . import lab, machine, targets

    targets.get_targets(names)  # a wrong name is told before anything is made
    bench = lab.open_lab(profile, protocol, home=machine.find_home(home))
    _show(targets.reproduce(names, bench, seeds))


@app.command(name="targets")
def list_targets(
    protocol: Literal["cross-subject", "cross-view"] = "cross-subject",
    seeds: int = 1,
    profile: str = "mini",
    home: Path | None = None,
) -> None:
    """Every target: the paper's figure, ours with its interval, and how far it has come.

    Args:
        protocol: Which people or cameras are held out for the test.
        seeds: How many seeds each result rests on.
        profile: Size of the experiment: smoke, mini or paper.
        home: Folder of data/ and runs/; by default the one that holds notebooks/.
    """
    from . import lab, machine, targets

    _at_least_one(seeds=seeds)
    _show(targets.results_table(lab.open_lab(profile, protocol, home=machine.find_home(home)), seeds))


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
    for root in sorted({path.parent for path in base.glob("data/*/nturgb+d_rgb*")}):
        index = datasets.NTU60.index(root)
        print(f"{'data':<24} {root.relative_to(base)}: {len(index)} clips, {len(index.excluded)} excluded")
    for path in sorted(base.glob("runs/speed/speed-*.json")):
        found = files.read_json(path)
        print(f"{'speed':<24} {found['key']['shape']}: {found['profile']}")


@data.command
def make(root: Positional[Path], /, profile: str = "mini") -> None:
    """Make the embedded RGB-D set under ROOT, in the layout of NTU RGB+D.

    Args:
        root: Folder to make it in.
        profile: Whose part of the set: smoke, mini or paper.
    """
    from . import config, puppets

    print(puppets.make_puppets(root, config.get_profile(profile).puppets))


@data.command
def check(root: Positional[Path], /) -> None:
    """Count what a data root holds, per protocol, and what is excluded, by reason.

    Of the embedded set, every byte is compared with its record, too.

    Args:
        root: Folder that holds nturgb+d_rgb, nturgb+d_depth_masked and nturgb+d_skeletons.
    """
    from . import datasets, puppets

    index = datasets.NTU60.index(root)
    print(f"{len(index)} clips of {len(index.class_names)} classes")
    for protocol in (datasets.cross_subject, datasets.cross_view):
        try:
            split = protocol(index)
        except LabError as error:
            print(f"{protocol.__name__.replace('_', '-')}: {error.reason}")
            continue
        parts = (split.train, split.validation, split.test)
        print("{}: {} train, {} validation, {} test".format(split.name, *map(len, parts)))
    _print_excluded(index.excluded)
    if index.strangers:
        print(f"{len(index.strangers)} strange names, first {index.strangers[0]!r}")
    if (root / "puppets.json").exists():
        found = puppets.check_puppets(root)
        frozen = ", the frozen set to the bit" if found == puppets.FROZEN_INDEX else ""
        print(f"embedded set, every byte as recorded: {found}{frozen}")


@data.command
def prepare(root: Positional[Path], /, profile: str = "paper", store: Path | None = None) -> None:
    """Build the store of aligned clips from a data root.

    Args:
        root: Folder that holds nturgb+d_rgb, nturgb+d_depth_masked and nturgb+d_skeletons.
        profile: How clips are prepared: smoke, mini or paper.
        store: Folder of the store; by default beside ROOT.
    """
    from . import config, datasets, lab

    chosen = config.get_profile(profile)
    folder = store or lab.store_path(root.resolve(), chosen)
    clips = datasets.prepare(root, folder, chosen.clips)
    print(f"{len(clips)} clips in {folder}")
    _print_excluded(clips.excluded)


@course.command
def build(out: Positional[Path | None] = None, /, home: Path | None = None) -> None:
    """Make the student, solution and nbgrader forms of all notebooks.

    Args:
        out: Folder for student/, solution/ and nbgrader/; by default HOME/build/course.
        home: The project folder; by default the one that holds notebooks/.
    """
    from . import course, machine

    base = machine.find_home(home)
    folder = out or base / "build" / "course"
    written = course.build_course(machine.find_notebooks(base), folder)
    print(f"{len(written)} files in {folder}")


@course.command
def site(out: Positional[Path | None] = None, /, home: Path | None = None) -> None:
    """Build the site: notebooks with their outputs, targets, figures, teaching plan and modules; readable offline.

    Anything that Sphinx warns about is an error. Needs the extra: pip install -e ".[site]".

    Args:
        out: Folder of the site; by default HOME/build/site.
        home: The project folder; by default the one that holds notebooks/.
    """
    from . import machine, site

    base = machine.find_home(home)
    print(site.build_site(base, out or base / "build" / "site"))


app.command(export)
app.command(predict)
app.command(data, name="data", help="Make, check or prepare a data root.")
app.command(course, name="course", help="Make the course's notebooks, or the site.")


def _at_least_one(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise LabError.mismatch(None, f"at least 1 for {name}", count, "give one or more")


def _print_excluded(excluded: Mapping[str, str]) -> None:
    for reason, count in Counter(excluded.values()).most_common():
        first = next(clip for clip, why in excluded.items() if why == reason)
        print(f"{count} excluded: {reason!r}, first {first}")


def _show(table, path: Path | None = None) -> None:
    """Print a results table, and keep it as CSV where a path is given."""
    from . import files

    if path is not None:
        files.write_text(path, table.to_csv(index=False))
    shown = table.astype(object).where(table.notna(), "-")
    print(shown.to_string(index=False, float_format="{:.1f}".format))


def _terminated(number: int, frame) -> None:
    raise SystemExit(128 + number)  # so that kernels and locks are released on the way out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. A LabError is one line on stderr and status 2, Ctrl-C 130."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(__version__)
        return 0
    signal.signal(signal.SIGTERM, _terminated)
    try:
        return app.cli(prog="labkit", description=DESCRIPTION, args=arguments or ["--help"]) or 0
    except LabError as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("labkit: interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
