"""Trainings as a graph: what is missing is made once, in this process, or by Dask in several, here or elsewhere.

A node is a run, known by its id, so that equal inputs are one node whatever they are called: the seeds,
protocols and variants of one call share what they can. A node that fails takes along only what depends on
it. A killed or interrupted call is repeated, and goes on from the last checkpoint of each training.

Processes elsewhere need the same labkit and the same folders: what travels is a path and plain values.
"""

from __future__ import annotations

import functools
import logging
import os
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..data.store import ClipStore
from ..errors import LabError
from ..lab import Lab
from ..runs import Run, RunStore
from ..tools import progress
from ..tools.machine import available_cores, trainings_at_once
from ..tools.parallel import has_locks
from .trainings import UNPREPARED, get_training, make, with_parents

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 8
IGNORE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # run as a local process starts


@dataclass(frozen=True)
class Node:
    """One training to be made in one lab."""

    run_id: str
    training: str
    lab: Lab
    parents: tuple[str, ...]  # run ids
    provisional: bool  # its clips are not prepared yet, and then its run will be named otherwise

    def __str__(self) -> str:
        return f"{self.training} ({self.lab.split.name}, seed {self.lab.seed})"


@dataclass(frozen=True)
class Outcome:
    """What became of a node: "done", "failed" or "skipped", and in what time or why."""

    node: Node
    state: str
    reason: str  # one line

    def __str__(self) -> str:
        return f"{self.node}: {self.state}{' in' if self.state == 'done' else ':'} {self.reason}"


@dataclass
class Report:
    """What a call needed, what was there, and what became of the rest."""

    needed: int = 0  # trainings by name, lab and seed
    there: list[str] = field(default_factory=list)  # ids of runs that were finished before
    nodes: dict[str, Node] = field(default_factory=dict)  # by run id, parents first
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.state != "done"]

    def counts(self) -> dict[str, int]:
        """Trainings needed, distinct, already there, run, failed, skipped, and not reached."""
        states = [outcome.state for outcome in self.outcomes]
        return {"needed": self.needed, "distinct": len(self.there) + len(self.nodes), "already there": len(self.there),
                "run": states.count("done"), "failed": states.count("failed"), "skipped": states.count("skipped"),
                "not reached": len(self.nodes) - len(states)}  # fmt: skip

    def __str__(self) -> str:
        counts = self.counts()
        if not counts["not reached"]:
            del counts["not reached"]
        told = f"{counts.pop('needed')} trainings needed, " + ", ".join(f"{n} {name}" for name, n in counts.items())
        made = [outcome.node.run_id for outcome in self.outcomes if outcome.state == "done"]
        return f"{told}, distinct trainings / trainings run = {len(set(made)) / len(made):.2f}" if made else told

    def check(self) -> None:
        """Raise LabError naming what failed; skipped trainings follow from it."""
        told = [f"{outcome.node}: {outcome.reason}" for outcome in self.failed if outcome.state == "failed"]
        if told:
            raise LabError(None, "; ".join(told), "mend this and run the same again: all that is finished is kept")


def plan(needs: Iterable[tuple[Lab, Sequence[str]]]) -> Report:
    """Name all runs that these trainings on these labs come to, and look which are missing.

    The parents of a finished run are not needed. Nothing is trained and torch is not loaded. Raises
    LabError for an unknown training, and for a modality that a lab's store does not hold.
    """
    report = Report()
    for lab, names in needs:
        dry, bench, made, wanted = replace(lab, dry=True), replace(lab, dry=False), {}, set(names)
        for name in reversed(with_parents(names)):
            if name not in wanted:
                continue
            report.needed += 1
            run, parents = _name(name, dry, made), get_training(name).parents
            if run.id not in report.there and run.id not in report.nodes:
                try:
                    finished = run.is_finished()
                except LabError:  # damaged, which is told when its turn comes
                    finished, parents = False, ()
                if finished:
                    report.there.append(run.id)
                else:
                    ids, provisional = tuple(made[parent].id for parent in parents), run.spec.data == UNPREPARED
                    report.nodes[run.id] = Node(run.id, name, bench, ids, provisional)
            if run.id in report.nodes:
                wanted |= set(parents)
    order = TopologicalSorter({run_id: node.parents for run_id, node in report.nodes.items()}).static_order()
    report.nodes = {run_id: report.nodes[run_id] for run_id in order if run_id in report.nodes}
    return report


def _name(training: str, dry: Lab, made: dict[str, Run]) -> Run:
    try:
        return make(training, dry, made)
    except LabError as error:
        fix = f"leave out what needs it, or {error.fix}"
        raise LabError(error.path, f"training {training}: {error.reason}", fix) from error


def train(training: str, lab: Lab, run_id: str | None, threads: int | None, *parents: Any) -> float:
    """Make one run, whose parents are made, unless it is finished; returns the seconds it took.

    `lab` may be packed; `run_id` is what the run must be named, if that is known; `parents` have only to be there.
    Raises what the training raises; the run then keeps the reason and the traceback in its state.
    """
    begin, made = monotonic(), {}
    if isinstance(lab.clips, tuple):
        lab = replace(lab, clips=_open_store(*lab.clips))
    run = make(training, replace(lab, dry=True), made)
    if run_id not in (None, run.id):
        fix = "use the same labkit and the same data everywhere"
        raise LabError.mismatch(None, f"a training that comes to {run_id}", f"one that comes to {run.id}", fix)
    if not run.is_finished():
        if threads:
            import torch

            torch.set_num_threads(threads)
        found = get_training(training)
        try:
            found.make(lab, *(made[parent] for parent in found.parents))
        except Exception as error:
            with suppress(LabError):
                run.set_state("failed", reason=in_a_line(error), traceback=traceback.format_exc())
            raise
    return monotonic() - begin


def packed(lab: Lab) -> Lab:
    """The lab as it travels to another process: of a clip store goes the path, and the fingerprint to know it by."""
    store = lab.clips
    clips = (store.path.resolve(), store.fingerprint) if isinstance(store, ClipStore) else store
    return replace(lab, clips=clips, runs=RunStore(lab.runs.root.resolve()))


@functools.lru_cache(maxsize=4)
def _open_store(path: Path, fingerprint: str) -> ClipStore:
    store = ClipStore(path)
    if store.fingerprint != fingerprint:
        expected, found = f"clips with fingerprint {fingerprint[:12]}", store.fingerprint[:12]
        raise LabError.mismatch(path, expected, found, "let all workers see the same folders")
    return store


def in_a_line(error: BaseException) -> str:
    """An error as one line; one that the user cannot mend says its kind, too."""
    return str(error) if isinstance(error, LabError) else " ".join(f"{type(error).__name__}: {error}".split())


def run_graph(
    needs: Iterable[tuple[Lab, Sequence[str]]],
    *,
    workers: int | None = 1,
    scheduler: str | None = None,
    threads: int | None = None,
) -> Report:
    """Make all these trainings, and tell the end of each; the report says what became of them.

    In this process by default; in `workers` local processes, which share the cores (None: as many as
    are best here, `machine.trainings_at_once`); or on the cluster of a Dask `scheduler`
    ("tcp://host:8786"), whose workers must be started with one thread each and see the same folders.
    Where a process dies, another takes its training over. `threads` is torch's thread count; a run started with
    one count resumes with no other. Raises LabError, with nothing lost, when the plan is impossible, or the
    processes cannot be started or reached.
    """
    if workers is not None and (workers < 1 or (workers > 1 and scheduler)):
        found = f"{workers} workers" + (f" and {scheduler}" if scheduler else "")
        raise LabError.mismatch(None, "at least one worker, or a scheduler", found, "give one of the two")
    report = plan(needs)
    if not report.nodes:
        return report
    if workers is None:
        workers = 1 if scheduler else min(trainings_at_once(), len(report.nodes))
    try:
        if scheduler:
            with _connected(scheduler) as client:
                _follow(report, _on_workers(report, client, threads))
        elif workers > 1:
            with _started(workers) as client:
                _follow(report, _on_workers(report, client, threads or max(available_cores() // workers, 1)))
        else:
            _follow(report, _in_this_process(report, threads))
    finally:
        if report.outcomes and not progress.in_notebook():
            _tell(str(report))
    return report


def _follow(report: Report, ends: Iterator[tuple[Node, float | Exception]]) -> None:
    """Each end enters the report and is told; a training's comes after its parents'."""
    for node, result in ends:
        lacking = [outcome.node.training for outcome in report.failed if outcome.node.run_id in node.parents]
        if lacking:
            outcome = Outcome(node, "skipped", f"it needs {lacking[0]}, which is not there")
        elif isinstance(result, Exception):
            outcome = Outcome(node, "failed", in_a_line(result))
        else:
            outcome = Outcome(node, "done", f"{result:.0f} s")
        report.outcomes.append(outcome)
        _tell(f"[{len(report.outcomes)}/{len(report.nodes)}] {outcome}")


def _tell(line: str) -> None:
    if os.environ.get("RANK", "0") == "0":  # else it is one of several processes of one training
        progress.tell(line)


def _in_this_process(report: Report, threads: int | None) -> Iterator[tuple[Node, float | Exception]]:
    """One after the other; what cannot be made for want of a parent is not tried."""
    for node in report.nodes.values():
        lacking = any(outcome.node.run_id in node.parents for outcome in report.failed)
        try:
            result = 0.0 if lacking else train(node.training, node.lab, None, threads)
        except Exception as error:
            result = error
        yield node, result


def _on_workers(report: Report, client: Client, threads: int | None) -> Iterator[tuple[Node, float | Exception]]:
    """All are handed out at once, each with its parents' futures, by which it fails when they do."""
    from distributed import as_completed

    # A lab is a task as well: it is sent once, and made again when the worker that holds it dies.
    labs = {id(node.lab): node.lab for node in report.nodes.values()}
    sent = {key: client.submit(replace, packed(lab), pure=False) for key, lab in labs.items()}
    futures: dict[str, Any] = {}
    for run_id, node in report.nodes.items():
        named = None if node.provisional else run_id
        parents = [futures[parent] for parent in node.parents if parent in futures]
        task = node.training, sent[id(node.lab)], named, threads, *parents
        futures[run_id] = client.submit(train, *task, key=run_id)
    for future in as_completed(futures.values()):
        if future.status not in ("finished", "error"):
            fix = "start it again and run the same: it goes on from the checkpoints"
            raise LabError.mismatch(None, "a Dask scheduler that stays", "that it went away", fix)
        yield report.nodes[future.key], future.exception() or future.result()


@contextmanager
def _started(workers: int) -> Iterator[Client]:
    """The client of that many processes on this machine, which end when the work does."""
    if not has_locks():
        fix = "give the machine or container some (docker run --shm-size 64m), or ask for one process"
        raise LabError.mismatch("/dev/shm", f"shared memory for the locks of {workers} worker processes", "none", fix)
    import distributed

    with warnings.catch_warnings(action="ignore"):  # the dashboard's port may be taken
        cluster = distributed.LocalCluster(
            workers, threads_per_worker=1, processes=True, memory_limit=None, silence_logs=logging.CRITICAL,
            dashboard_address="127.0.0.1:8787", preload=IGNORE_INTERRUPTS, env={"LABKIT_PROGRESS": "quiet"},
        )  # fmt: skip
    with cluster, distributed.Client(cluster) as client:
        try:
            yield client
        except BaseException:  # by itself it would wait for what is trained at the moment
            for nanny in cluster.workers.values():
                with suppress(TimeoutError):  # on a busy machine; the process ends with this one
                    cluster.sync(nanny.close, timeout=1)
            raise


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """The client of a scheduler that has workers; LabError when there is none within a few seconds."""
    import distributed

    fix = "start `dask scheduler` and `dask worker --nthreads 1 ADDRESS`, or correct the address"
    for name in ("distributed", "distributed.client"):  # which tell at length what is told here in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except Exception as error:  # who answers may be no scheduler at all
        raise LabError.mismatch(None, f"a Dask scheduler at {address}", "none that answers", fix) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise LabError.mismatch(None, f"workers at the scheduler {address}", "none", fix) from error
        yield client
