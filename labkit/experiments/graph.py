"""Trainings as a graph: what is missing is made once, in this process, or by Dask in several, here or elsewhere.

A node is a run, known by its id, so that equal inputs are one node whatever they are called: the seeds,
protocols and variants of one call share what they can. A node that fails takes along only what depends on
it. A killed or interrupted call is repeated, and goes on from the last checkpoint of each training.

Processes elsewhere need the same labkit and the same folders: what travels is a path and plain values.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..data.store import ClipStore
from ..errors import LabError
from ..lab import Lab, in_notebook, launched_count, tell, watched
from ..runs import RECORD, Run, RunStore
from ..tools.machine import available_cores, trainings_at_once
from ..tools.parallel import has_locks, refuse_without_main_guard
from ..tools.progress import FEW, duration, time_left, told_of
from .target_table import TARGETS
from .trainings import UNPREPARED, get_training, make

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 8
SAVE_SECONDS = 120  # that an interrupted process has, to finish its step and save


@dataclass
class Node:
    """One training to be made in one lab, and what became of it."""

    run_id: str
    training: str
    lab: Lab
    parents: tuple[str, ...]  # run ids
    provisional: bool  # its clips are not prepared yet, and then its run will be named otherwise
    state: str = "not reached"  # or "done", "failed", "skipped"
    reason: str = ""  # one line: in what time it was done, or why it was not

    @property
    def name(self) -> str:
        return f"{self.training} ({self.lab.split.name}, seed {self.lab.seed})"

    def __str__(self) -> str:
        return f"{self.name}: {self.state}{' in' if self.state == 'done' else ':'} {self.reason}"


@dataclass
class Report:
    """What a call needed, what was there, and what became of the rest."""

    there: dict[str, Run] = field(default_factory=dict)  # by id, what was finished before
    nodes: dict[str, Node] = field(default_factory=dict)  # by run id, parents first

    @property
    def failed(self) -> list[Node]:
        """What could not be made: failed itself, or skipped because what it starts from failed."""
        return [node for node in self.nodes.values() if node.state in ("failed", "skipped")]

    def counts(self) -> dict[str, int]:
        """How many trainings were there already, and how many were done now, failed, skipped, or not reached."""
        states = [node.state for node in self.nodes.values()]
        return {"already there": len(self.there)} | {
            state: states.count(state) for state in ("done", "failed", "skipped", "not reached")
        }

    def __str__(self) -> str:
        told = [f"{count} {name}" for name, count in self.counts().items() if count]
        return f"trainings: {', '.join(told) or 'none needed'}"

    def check(self) -> None:
        """Raise LabError naming what failed; skipped trainings follow from it."""
        told = [f"{node.name}: {node.reason}" for node in self.failed if node.state == "failed"]
        if told:
            raise LabError(None, "; ".join(told), "mend this and run the same again: all that is finished is kept")


def plan(needs: Iterable[tuple[Lab, Sequence[str]]]) -> Report:
    """Name all runs that these trainings on these labs come to, and look which are missing.

    The parents of a finished run are not needed. Nothing is trained and torch is not loaded. Raises
    LabError for an unknown training, and for a modality that a lab's store does not hold.
    """
    report = Report()
    for lab, names in needs:
        made: dict[str, Run] = {}
        one_lab = replace(lab, dry=False)  # of all its nodes, so that it is sent to workers once
        for name in names:
            _visit(name, one_lab, made, report)
    return report


def _visit(name: str, lab: Lab, made: dict[str, Run], report: Report) -> None:
    """Enter a training into the report, after those it starts from."""
    parents = get_training(name).parents
    try:
        run = make(name, replace(lab, dry=True), made)
    except LabError as error:
        fix = f"leave out what needs it, or {error.fix}"
        raise LabError(error.path, f"training {name}: {error.reason}", fix) from error
    if run.id in report.there or run.id in report.nodes:
        return
    try:
        finished = run.is_finished()
    except LabError:  # damaged, which is told when its turn comes
        finished, parents = False, ()
    if finished:
        report.there[run.id] = run
        return
    for parent in parents:
        _visit(parent, lab, made, report)
    ids, provisional = tuple(made[parent].id for parent in parents), run.spec.data == UNPREPARED
    report.nodes[run.id] = Node(run.id, name, lab, ids, provisional)


def train(training: str, lab: Lab, threads: int | None = None, run_id: str | None = None) -> float:
    """Make one run, whose parents are made, unless it is finished; returns the seconds it took.

    `run_id` is what the run must be named, if that is known. Raises what the training raises; the run then keeps
    the reason and the traceback in its state.
    """
    begin, made = monotonic(), {}
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


def in_a_line(error: BaseException) -> str:
    """An error as one line; one that the user cannot mend says its kind, too."""
    return str(error) if isinstance(error, LabError) else " ".join(f"{type(error).__name__}: {error}".split())


def check_executor(workers: int | None = None, scheduler: str | None = None) -> None:
    """LabError for both of them, fewer workers than one, and a tracker that there is not."""
    if workers is not None and (workers < 1 or (workers > 1 and scheduler)):
        found = f"{workers} workers" + (f" and {scheduler}" if scheduler else "")
        raise LabError.mismatch(None, "at least one worker, or a scheduler", found, "give one of the two")
    if os.environ.get("LABKIT_TRACKER"):
        from ..processes import tracker  # here, for it loads torch

        tracker()


def check_scheduler(address: str) -> None:
    """LabError where no scheduler that has workers answers there."""
    with _connected(address):
        pass


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
    report = plan(needs)
    if not report.nodes:
        return report
    check_executor(workers, scheduler)
    if workers is None:
        workers = 1 if scheduler else min(trainings_at_once(), len(report.nodes))
    place = _connected(scheduler) if scheduler else _started(workers) if workers > 1 else nullcontext()
    how = f"on the workers of {scheduler}" if scheduler else f"{workers} at a time{_expected(report, workers)}"
    if workers > 1:
        threads = threads or max(available_cores() // workers, 1)
    begin, has_bars = monotonic(), not scheduler and workers == 1 and watched()
    telling = nullcontext() if has_bars else told_of(lambda: _how_far(report, monotonic() - begin), _tell)
    try:
        with place as client, telling:
            _tell(f"trainings: {len(report.nodes)} to make, {how}")
            here = ((node, partial(train, node.training, node.lab, threads)) for node in report.nodes.values())
            _follow(report, here if client is None else _on_workers(report, client, threads))
    finally:
        if report.counts()["not reached"] < len(report.nodes) and not in_notebook():
            _tell(str(report))
    return report


def _follow(report: Report, ends: Iterator[tuple[Node, Callable[[], float]]]) -> None:
    """Each node's end, after its parents', is noted and told; `end()` returns its seconds, or raises why it failed."""
    for number, (node, end) in enumerate(ends, 1):
        lacking = [one.training for one in report.failed if one.run_id in node.parents]
        try:
            if lacking:
                node.state, node.reason = "skipped", f"it needs {lacking[0]}, which is not there"
            else:
                node.reason, node.state = f"{end():.0f} s", "done"
        except Exception as error:
            node.state, node.reason = "failed", in_a_line(error)
        _tell(f"[{number}/{len(report.nodes)}] {node}{_reached(node)}")


def _how_far(report: Report, seconds: float) -> str:
    """How many trainings are over after that time, and how long the rest takes."""
    counts, total = report.counts(), len(report.nodes)
    left = time_left(counts["done"], counts["not reached"], seconds)
    return f"trainings: {total - counts['not reached']} of {total} after {duration(seconds)}, {left}"


def _expected(report: Report, workers: int) -> str:
    """How long all will take when each takes as long as those that are there did; nothing where these are few."""
    kept = [run.load_json(RECORD)["seconds"] for run in report.there.values() if (run.path / RECORD).exists()]
    if len(kept) < FEW:
        return ""
    seconds = sum(kept) / len(kept) * len(report.nodes) / workers
    return f", about {duration(seconds)} by what {len(kept)} that are there took"


def _reached(node: Node) -> str:
    """What a training came to on the test clips, beside the paper's figure: the first of the targets that read it."""
    readers = [target for target in TARGETS.values() if target.training == node.training]
    if node.state != "done" or not readers:
        return ""
    with suppress(LabError):  # made on another machine, whose files may be seen here a little later
        result = readers[0].make(replace(node.lab, dry=True)).result
        target = min(readers, key=lambda one: (one.group == "oracle", one.reading != result["primary"]))
        accuracy = result["outputs"][target.reading]["test"]["accuracy"]
        printed = target.paper.get(node.lab.split.name)
        return f"; {target.named} {100 * accuracy:.1f} %" + (f", paper {printed:.1f}" if printed else "")
    return ""


def _tell(line: str) -> None:
    if launched_count() == 1 or os.environ["RANK"] == "0":  # else another process of the same training tells it
        tell(line)


# -- by Dask -------------------------------------------------------------------------------------------


def _on_workers(report: Report, client: Client, threads: int | None) -> Iterator[tuple[Node, Callable[[], float]]]:
    """All are handed out at once, each with its parents' futures, by which it fails when they do."""
    from distributed import as_completed

    # A lab is a task as well: it is sent once, and made again when the worker that holds it dies.
    labs = {id(node.lab): node.lab for node in report.nodes.values()}
    sent = {key: client.submit(replace, _packed(lab), pure=False) for key, lab in labs.items()}
    futures: dict[str, Future] = {}
    for run_id, node in report.nodes.items():
        named = None if node.provisional else run_id
        parents = [futures[parent] for parent in node.parents if parent in futures]
        task = node.training, sent[id(node.lab)], threads, named, *parents
        futures[run_id] = client.submit(_train_here, *task, key=run_id)
    for future in as_completed(futures.values()):
        if future.status not in ("finished", "error"):
            fix = "start it again and run the same: it goes on from the checkpoints"
            raise LabError.mismatch(None, "a Dask scheduler that stays", "that it went away", fix)
        yield report.nodes[future.key], partial(_result, future)


def _result(future: Future) -> float:
    """What a task came to, or raises why it failed."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        fix = "if memory is short, take fewer workers or a smaller batch_size"
        raise LabError.mismatch(None, "a process that lives through it", "that several died", fix) from error


def _packed(lab: Lab) -> Lab:
    """The lab as it travels to another process: of a clip store goes the path, and the fingerprint to know it by."""
    store = lab.clips
    clips = (store.path.resolve(), store.fingerprint) if isinstance(store, ClipStore) else store
    return replace(lab, clips=clips, runs=RunStore(lab.runs.root.resolve()))


def _train_here(training: str, lab: Lab, threads: int | None, run_id: str | None, *parents: float) -> float:
    """`train` in a worker, on a packed lab; the `parents` have only to be there."""
    if isinstance(lab.clips, tuple):
        lab = replace(lab, clips=_open_store(*lab.clips))
    try:
        return train(training, lab, threads, run_id)
    except KeyboardInterrupt:  # in the thread of a worker that closes
        raise LabError(None, "interrupted", "run the same again") from None


@functools.lru_cache(maxsize=4)
def _open_store(path: Path, fingerprint: str) -> ClipStore:
    store = ClipStore(path)
    if store.fingerprint != fingerprint:
        expected, found = f"clips with fingerprint {fingerprint[:12]}", store.fingerprint[:12]
        raise LabError.mismatch(path, expected, found, "let all workers see the same folders")
    return store


def dask_setup(worker: Any) -> None:
    """Called by Dask in a local process that starts: interrupts and what is told are left to who started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def dask_teardown(worker: Any) -> None:
    """Called by Dask in a local process that is to end: what it trains finishes its step and is saved."""
    from ..processes import STOP

    STOP.set()


def _dask() -> Any:
    """Dask's `distributed`, without what it tells at length: here it is one line."""
    import distributed

    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed


@contextmanager
def _started(workers: int) -> Iterator[Client]:
    """The client of that many processes on this machine, which end when the work does."""
    refuse_without_main_guard()
    if not has_locks():
        fix = "give the machine or container some (docker run --shm-size 64m), or ask for one process"
        raise LabError.mismatch("/dev/shm", f"shared memory for the locks of {workers} worker processes", "none", fix)
    distributed = _dask()
    try:
        with warnings.catch_warnings(action="ignore"):  # the dashboard's port may be taken
            cluster = distributed.LocalCluster(
                workers, threads_per_worker=1, processes=True, memory_limit=None, silence_logs=logging.CRITICAL,
                dashboard_address="127.0.0.1:8787", preload=__name__, env={"LABKIT_PROGRESS": "quiet"},
            )  # fmt: skip
    except RuntimeError as error:
        fix = "put the work of the calling script under if __name__ == '__main__':, or ask for one process"
        raise LabError.mismatch(None, f"{workers} worker processes", "that they end as they start", fix) from error
    with cluster, distributed.Client(cluster) as client:
        try:
            yield client
        except BaseException:  # by itself it would wait for what is trained at the moment
            cluster.sync(_close, list(cluster.workers.values()))
            raise


async def _close(nannies: list) -> None:
    """End these processes, all at once; each finishes its step and saves first."""
    await asyncio.gather(*(nanny.close(timeout=SAVE_SECONDS) for nanny in nannies), return_exceptions=True)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """The client of a scheduler that has workers; LabError when there is none within a few seconds."""
    distributed = _dask()
    fix = "start `dask scheduler` and `dask worker --nthreads 1 ADDRESS`, or correct the address"
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
