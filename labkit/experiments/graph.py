"""Trainings as a Dask graph: here, in several local processes, or on a cluster.

A node is a run, known by its id, so that equal inputs are one node whatever they are called: the
seeds, protocols and variants of one call share what they can. What is finished is not in the graph. A
node that fails takes along only what depends on it. A killed or interrupted call is repeated, and goes
on from the last checkpoint of each training.

Processes elsewhere need the same labkit and the same folders: what travels is a path and plain values.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Any

from .. import progress
from ..errors import LabError
from ..files import write_json
from ..lab import Lab
from ..machine import available_cores, trainings_at_once
from ..runs import Run
from . import executors
from .nodes import Bench, Node, Outcome, in_a_line, train
from .trainings import UNPREPARED, get_training, make, with_parents


@dataclass
class Report:
    """What a call needed, what was there, and what became of the rest."""

    needed: int = 0  # trainings by name, bench and seed
    there: list[str] = field(default_factory=list)  # ids of runs that were finished before
    nodes: dict[str, Node] = field(default_factory=dict)  # by run id, parents first
    benches: dict[str, Lab] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def damaged(self) -> dict[str, Outcome]:
        """Runs that were in no state to be looked at, let alone trained."""
        return {o.run_id: o for o in self.outcomes if o.run_id not in self.nodes}

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.good]

    def counts(self) -> dict[str, int]:
        """Trainings needed, distinct, already there, run, failed, skipped, and not reached."""
        states = [outcome.state for outcome in self.outcomes]
        distinct = len({*self.there, *self.nodes, *self.damaged})
        there, run = len(self.there) + states.count("cached"), states.count("done")
        failed, skipped = states.count("failed"), states.count("skipped")
        left = distinct - there - run - failed - skipped
        return {"needed": self.needed, "distinct": distinct, "already there": there, "run": run, "failed": failed,
                "skipped": skipped, "not reached": left}  # fmt: skip

    def __str__(self) -> str:
        counts = self.counts()
        needed, left = counts.pop("needed"), counts.pop("not reached")
        parts = [f"{needed} trainings needed", *(f"{count} {name}" for name, count in counts.items())]
        if left:
            parts.append(f"{left} not reached")
        if counts["run"]:
            made = len({outcome.run_id for outcome in self.outcomes if outcome.state == "done"})
            parts.append(f"distinct trainings / trainings run = {made / counts['run']:.2f}")
        return ", ".join(parts)

    def check(self) -> None:
        """Raise LabError naming what failed; skipped trainings follow from it."""
        told = [f"{o.training} ({o.where}): {o.reason}" for o in self.failed if o.state == "failed"]
        if told:
            raise LabError(None, "; ".join(told), "mend this and run the same again: all that is finished is kept")


# -- planning ----------------------------------------------------------------------------------------


def plan(needs: Iterable[tuple[Lab, Sequence[str]]]) -> Report:
    """Name all runs that these trainings on these labs come to, and look which are missing.

    The parents of a finished run are not needed. Nothing is trained and torch is not loaded. Raises
    LabError for an unknown training, and for a modality that a lab's store does not hold.
    """
    report, call = Report(), f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
    for number, (lab, names) in enumerate(needs):
        dry, made, wanted = replace(lab, dry=True), {}, set(names)
        key, where = f"bench-{number}", f"{lab.split.name}, seed {lab.seed}"
        report.benches[key] = replace(lab, dry=False)
        for name in reversed(with_parents(names)):
            if name not in wanted:
                continue
            run, parents = _name(name, dry, made), get_training(name).parents
            report.needed += 1
            if run.id in {*report.there, *report.nodes, *report.damaged}:
                wanted |= set() if run.id in report.there else set(parents)
                continue
            provisional = run.spec.data == UNPREPARED
            node = Node(run.id, name, where, key, tuple(made[p].id for p in parents), call, provisional)
            try:
                finished = run.is_finished()
            except LabError as error:
                report.outcomes.append(node.outcome("failed", str(error)))
                continue
            if finished:
                report.there.append(run.id)
            else:
                report.nodes[run.id] = node
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


def dask_graph(report: Report, pack: Callable[[Lab], Bench] = Bench.pack) -> dict[str, Any]:
    """The plan as a Dask graph: run id -> (train, node, key of its bench, run ids of unfinished parents)."""
    graph: dict[str, Any] = {key: pack(lab) for key, lab in report.benches.items()} | report.damaged
    for node in report.nodes.values():  # parents come first
        graph[node.run_id] = (train, node, node.bench, [parent for parent in node.parents if parent in graph])
    return graph


# -- all of them -------------------------------------------------------------------------------------


def run_graph(
    needs: Iterable[tuple[Lab, Sequence[str]]],
    *,
    workers: int | None = 1,
    scheduler: str | None = None,
    threads: int | None = None,
) -> Report:
    """Make all these trainings; the report says what became of each.

    In this process by default; in `workers` local processes, which share the cores (None: as many as
    are best here, `machine.trainings_at_once`); or on the cluster of a Dask `scheduler`
    ("tcp://host:8786"), whose workers must be started with one thread each and see the same folders.
    `threads` is torch's thread count; a run started with one count resumes with no other. What is done
    is told as it happens (`progress.tell`) and kept in `runs/graph/`. Raises LabError, with nothing lost, when
    the plan is impossible, a local process dies, or the scheduler cannot be reached.
    """
    workers = 1 if scheduler and workers is None else workers
    if workers is not None and (workers < 1 or (workers > 1 and scheduler)):
        found = f"{workers} workers" + (f" and {scheduler}" if scheduler else "")
        raise LabError.mismatch(None, "at least one worker, or a scheduler", found, "give one of the two")
    report = plan(needs)
    if not report.nodes:
        return report
    workers = min(trainings_at_once(), len(report.nodes)) if workers is None else workers
    if workers > 1:
        threads = threads or max(available_cores() // workers, 1)
    report.nodes = {run_id: replace(node, threads=threads) for run_id, node in report.nodes.items()}
    log, keys = _Log(report, scheduler or ("this process" if workers == 1 else f"{workers} processes")), [*report.nodes]
    try:
        if scheduler:
            lost = executors.on_cluster(dask_graph(report), keys, log, scheduler)
            _tell_lost(report, lost, log)
        elif workers > 1:
            executors.in_processes(dask_graph(report), keys, log, workers)
        else:
            executors.in_this_process(dask_graph(report, Bench), keys, log)
    finally:
        log.close()
    return report


def _tell_lost(report: Report, lost: dict[str, Exception], log: _Log) -> None:
    """What the cluster itself could not do: a task that killed every worker it was given to, and what needs it."""
    for run_id, node in report.nodes.items():  # parents come first
        if run_id in lost:
            broken = next((outcome for outcome in report.failed if outcome.run_id in node.parents), None)
            log.ended(run_id, node.needs(broken) if broken else node.outcome("failed", in_a_line(lost[run_id])))


class _Log:
    """Tells what starts and ends, and keeps it as JSON. A notebook has a bar for each training: there, ends alone."""

    def __init__(self, report: Report, executor: str):
        self.report, self.executor, self.begun, self.any = report, executor, time.time(), False
        self.quiet = os.environ.get("RANK", "0") != "0"  # one of several processes of one training
        self.brief = progress.in_notebook()

    def started(self, run_id: str, *_: Any) -> None:
        missing = {outcome.run_id for outcome in self.report.failed}
        if run_id in self.report.nodes and not missing & set(self.report.nodes[run_id].parents):
            self.any = True
            if not self.brief:
                self._tell(f"{self.report.nodes[run_id]}: started")

    def ended(self, run_id: str, outcome: Any, *_: Any) -> None:
        if run_id in self.report.nodes:
            self.report.outcomes.append(outcome)
            self.any = True
            number = sum(done.run_id in self.report.nodes for done in self.report.outcomes)
            self._tell(f"[{number}/{len(self.report.nodes)}] {outcome.brief if self.brief else outcome}")

    def close(self) -> None:
        if not self.any or self.quiet:  # no worker was found
            return
        if not self.brief:
            self._tell(str(self.report))
        node = next(iter(self.report.nodes.values()))
        runs = next(iter(self.report.benches.values())).runs.root
        write_json(runs / "graph" / f"{node.call}.json", {
            "executor": self.executor, "threads": node.threads, "started": self.begun, "ended": time.time(),
            "counts": self.report.counts(), "there": self.report.there,
            "outcomes": [asdict(outcome) for outcome in self.report.outcomes],
        })  # fmt: skip

    def _tell(self, line: str) -> None:
        if not self.quiet:
            progress.tell(line)
