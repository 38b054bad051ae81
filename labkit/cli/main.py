"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import io
import json as json_form
import os
import re
import select
import shlex
import signal
import sys
from collections.abc import Sequence
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional
from tyro.extras import SubcommandApp

from .. import __version__
from ..errors import LabError, printable
from ..tools import home as homes
from ..tools.settings import at_least_one, check_seeds
from . import summary
from .course import course
from .data import data
from .export import export, predict
from .targets import list_targets, reproduce, settings, write_tidy

if TYPE_CHECKING:
    import pandas as pd

    from ..lab import Lab

PROFILED = ("run", "reproduce", "targets", "settings", "data")  # commands that take settings of a profile
NOTEBOOK_SECONDS = 6 * 3600  # a notebook may train all its runs the first time
DESCRIPTION = (
    "What can a depth camera, present only while training, teach a network that will only ever see RGB? "
    "`labkit --version` prints the version."
)

app = SubcommandApp()


def run(
    profile: str = "mini",
    seeds: int = 1,
    force: bool = False,
    jobs: int | None = None,
    data: Path | None = None,
    protocol: str | None = None,
    home: Path | None = None,
) -> int:
    """Make the embedded set, train the paper's rows, execute all notebooks in order, show the results; all in runs/.

    With --data, the notebooks see that data root in place of the embedded set. What is up to date is not done again.
    The exit status is 1 when a notebook failed.

    Args:
        profile: Size of the experiment: smoke, mini or paper.
        seeds: How many seeds each result rests on.
        force: Execute notebooks that are up to date, too.
        jobs: Notebooks executed at the same time; by default one a core, as far as memory goes.
        data: A data root that the lab knows (`labkit data check ROOT`); by default the embedded set.
        protocol: Which clips are held out for the test, by name; by default cross-subject, or else the set's own.
        home: Folder for data/ and runs/; by default the one that holds notebooks/.
    """
    at_least_one(jobs=jobs)
    check_seeds(seeds)
    from .. import lab
    from ..experiments import graph, targets
    from ..puppets import opening
    from ..tools.parallel import join_launch

    base = homes.find_home(home)
    notebooks = homes.find_notebooks(base)
    _, _, root = opening.asked_for(profile, protocol, data)  # what is wrong is told before the plan
    graph.check_executor()
    lab.tell(summary.plan(profile, seeds, notebooks, embedded=root is None))
    join_launch()
    one_lab = lab.open_lab(profile, protocol, home=base, data=data)
    possible = targets.possible(one_lab, targets.IN_NOTEBOOKS)  # side by side; notebooks would make one after the other
    graph.run_graph(targets.needs(possible, [one_lab], seeds), workers=None)
    env = {} if data is None else {lab.DATA_VARIABLE: str(one_lab.root)}
    failed = _execute(notebooks, one_lab, seeds, jobs, force, env)
    table = _keep_results(one_lab, seeds)
    given = {"profile": profile if profile != "mini" else None, "protocol": protocol, "data": data, "home": home}
    options = "".join(f" --{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None)
    env |= {} if home is None else {"LABKIT_HOME": str(base)}
    variables = "".join(f"{name}={shlex.quote(value)} " for name, value in env.items())
    print("", summary.screen(one_lab, table, notebooks, failed, options, variables), sep="\n")
    return 1 if failed else 0


def publish(names: Positional[tuple[str, ...]] = (), jobs: int | None = None, home: Path | None = None) -> int:
    """Write what is committed anew from the runs that are there: figures/, README, findings, outputs of notebooks.

    Everything rests on the embedded set, profile mini, every seed and both protocols of the paper. Runs that are
    missing are named: `labkit reproduce` makes them. Nothing is replaced where a notebook fails (status 1) or a page
    asks for a number that there is not.

    Args:
        names: Notebooks to execute, by number or name, where the runs are fewer than those behind what is committed:
            a number or figure that rests on more seeds stays, and other notebooks stay. Those that they need are
            executed, too. By default all, and anew.
        jobs: Notebooks executed at the same time; by default one a core, as far as memory goes.
        home: Folder of README, notebooks/, figures/ and runs/; by default the one that holds notebooks/.
    """
    at_least_one(jobs=jobs)
    base = homes.find_home(home)
    if not (base / "README.md").is_file():
        fix = "name it with --home, or go there"
        raise LabError.mismatch(base, "a copy of the project, whose README.md is filled", "none", fix)
    from ..course import published
    from ..experiments import committed
    from ..puppets import opening

    labs = opening.open_labs(committed.SHOWN, "all", home=base, dry=True)
    notebooks = _chosen(homes.find_notebooks(base), names)
    published.check(labs[0])
    with committed.being_made(adding=bool(names)):
        pages = published.draw(labs, base)
        if _execute(notebooks, labs[0], 1, jobs, force=True, env={}):
            return 1
        published.put(labs[0], base, notebooks, pages)
    return 0


def _chosen(notebooks: list[Path], names: Sequence[str]) -> list[Path]:
    """The notebooks of these numbers or names, and those that they need; all without one."""
    from ..course.notebooks import read_notebook

    found = {key: path for path in notebooks for key in (path.stem, path.name, path.stem.partition("_")[0])}
    for name in names:
        if name not in found:
            raise LabError.mismatch(None, "a notebook such as 13", repr(name), "give its number or its name")
    if not names:
        return notebooks
    chosen = {found[name].stem for name in names}
    for path in reversed(notebooks):  # each needs earlier ones
        chosen |= {*read_notebook(path).needs} if path.stem in chosen else set()
    return [path for path in notebooks if path.stem in chosen]


def _execute(notebooks: Sequence[Path], one_lab: Lab, seeds: int, jobs: int | None, force: bool,
             env: dict[str, str]) -> list[str]:  # fmt: skip
    """Run the series in this lab, in an environment with `env` added; the names of those that did not succeed."""
    from ..lab import tell

    tell(f"notebooks: {len(notebooks)} to execute, where they are not up to date")
    from ..course import series
    from ..figures.style import records_folder
    from ..tools import machine

    jobs = machine.trainings_at_once() if jobs is None else jobs  # a notebook takes what a training takes
    env = {"LABKIT_HOME": str(one_lab.runs.root.parent), **env}
    if jobs > 1:  # kernels share the cores
        env["OMP_NUM_THREADS"] = str(max(machine.available_cores() // jobs, 1))
    parameters = {"profile": one_lab.profile.name, "protocol": one_lab.split.name, "seeds": seeds}
    records = series.run_series(
        notebooks, records_folder(one_lab), parameters, timeout=NOTEBOOK_SECONDS, jobs=jobs, force=force,
        data_fingerprint=one_lab.clips.fingerprint, env=env,
    )  # fmt: skip
    return [record.name for record in records if not record.succeeded]


def _keep_results(one_lab: Lab, seeds: int) -> pd.DataFrame:
    """The table of all targets, kept in runs/, and every finished result beside it."""
    from .. import files
    from ..experiments import targets

    table = targets.results_table(one_lab, seeds)
    files.write_text(one_lab.runs.root / f"results-{one_lab.series_name}.csv", table.to_csv(index=False))
    write_tidy([one_lab])
    return table


def doctor(home: Path | None = None, json: bool = False) -> None:
    """Versions, threads, bf16, GPU, memory, disk; data found; whether the course can be taken here.

    Args:
        home: Folder of data/ and runs/; by default the one that holds notebooks/.
        json: Print the same as a JSON object.
    """
    from ..data.splits import find_dataset
    from ..tools import machine

    base = homes.find_home(home)
    facts = {**machine.describe(base), "home": printable(base), "data": []}
    lacking = "; ".join(machine.lacking(facts, base))
    ready = f"no, because {lacking}" if lacking else "yes"
    for root in sorted({path.parent for path in base.glob("data/*/nturgb*d_rgb*")}):
        try:
            index = find_dataset(root).index(root)
            told = f"{len(index)} clips, {len(index.excluded)} excluded"
        except LabError as error:
            told = f"cannot be read: {error}"
        facts["data"].append(f"{printable(root.relative_to(base))}: {told}")
    if json:
        print(json_form.dumps(facts | {"ready for the course": ready}, indent=1))
        return
    for name, value in (facts | facts.pop("packages")).items():
        for one in (value or ["none"]) if isinstance(value, list) else [value]:
            print(f"{name:<24} {one}")
    print(f"ready for the course: {ready}")


app.command(run)
app.command(publish)
app.command(reproduce)
app.command(list_targets, name="targets")
app.command(settings)
app.command(doctor)
app.command(export)
app.command(predict)
app.command(data, name="data", help="Make, check or prepare a data root.")
app.command(course, name="course", help="Make the course: notebooks, slides, handout, site, archive.")


def _settings_in_the_profile(arguments: Sequence[str]) -> list[str]:
    """`--profile smoke --step3.lr 1e-3` as `--profile smoke+step3.lr=1e-3`, the profile's full name."""
    if arguments[:1] and arguments[0] not in PROFILED:
        return list(arguments)
    words, rest, changes = iter(arguments), [], []
    for word in words:
        option, given, value = word.partition("=")
        if re.match(r"--[\w-]+\.", option):
            changes.append(f"{option[2:]}={value if given else next(words, '')}")
        else:
            rest += [option, value] if option == "--profile" and given else [word]
    if changes:
        if "--profile" not in rest[:-1]:
            rest += ["--profile", "mini"]
        at = rest.index("--profile") + 1
        rest[at] = "+".join([rest[at], *changes])
    return rest


STOPPING = b"labkit: stopping; what is under way is finished and saved first\n"


def _terminated(number: int, frame) -> None:
    os.write(2, STOPPING)
    raise SystemExit(128 + number)  # so that kernels and locks are released on the way out


def _interrupted(number: int, frame) -> None:
    """Answers Ctrl-C at once, by a plain write since a print may be under way: what ends in order may take seconds."""
    os.write(2, b"\n" * sys.stderr.isatty() + STOPPING)
    raise KeyboardInterrupt


def _unread() -> bool:
    """Whether nobody reads what is printed any more, as behind `| head`; other pipes may break, too."""
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)  # errors are told unasked
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))  # Linux, macOS
    except AttributeError:  # Windows has no poll
        return True
    except OSError:  # no file behind it
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. A LabError is one line on stderr and status 2, Ctrl-C 130, `| head` 141."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(__version__)
        return 0
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background may ignore it
        signal.signal(signal.SIGINT, _interrupted)
    os.environ["MPLBACKEND"] = "agg"  # a name that another program set may be none that matplotlib knows
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`
            setattr(sys, name, io.StringIO())
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a kernel's streams have UTF-8 anyway
            stream.reconfigure(errors="backslashreplace")  # where the locale's letters are few, a name is escaped
    try:
        arguments = _settings_in_the_profile(arguments) or ["--help"]
        status = app.cli(prog="labkit", description=DESCRIPTION, args=arguments) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered goes nowhere
        return 128 + 13  # SIGPIPE
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("labkit"):
            raise
        print(f"labkit: expected the package {error.name}, found none. Fix: pip install -e '.[notebooks]' "
              "in your copy of the lab", file=sys.stderr)  # fmt: skip
        return 2
    except (LabError, OSError) as error:
        told = error if isinstance(error, LabError) else _told(error)
        print(f"labkit: {told}", file=sys.stderr)
        return 2
    except MemoryError:
        print("labkit: memory ran out. Fix: give --workers 1 or --jobs 1, or a smaller --profile", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("labkit: interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + signal.SIGINT


def _told(error: OSError) -> LabError:
    """What no reader foresaw, such as a folder that may not be read, as the lab tells it."""
    path = error.filename if isinstance(error.filename, str) else None
    mend = "free some space" if error.errno in (ENOSPC, EDQUOT) else "make it readable and writable to you"
    fix = f"{mend}, or name another place, and run the same command again"
    return LabError.mismatch(path, "a file or folder that can be used", error.strerror or error, fix)
