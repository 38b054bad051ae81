"""One training as a node of a graph: what it needs to know, what becomes of it, and how it is made.

A node may be made in another process, or on another machine that has the same labkit and sees the
same folders: what travels is paths and plain values.
"""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..data.store import ClipStore
from ..errors import LabError
from ..lab import Lab
from ..runs import RunStore
from .trainings import get_training, make

_ONE_AT_A_TIME = threading.Lock()  # torch's generator and thread count belong to the whole process


@dataclass(frozen=True, eq=False)
class Bench:
    """A lab as it travels to another process: its clip store goes as a path and is opened there, once."""

    lab: Lab
    store: tuple[Path, str] | None = None  # path and fingerprint; None where the lab holds its clips itself

    @classmethod
    def pack(cls, lab: Lab) -> Bench:
        lab = replace(lab, runs=RunStore(lab.runs.root.resolve()))
        if not isinstance(lab.clips, ClipStore):
            return cls(lab)
        return cls(replace(lab, clips=None), (lab.clips.path.resolve(), lab.clips.fingerprint))

    def unpack(self) -> Lab:
        """The lab again; LabError where the store is missing or holds other clips."""
        return self.lab if self.store is None else replace(self.lab, clips=_open_store(*self.store))


@functools.lru_cache(maxsize=4)
def _open_store(path: Path, fingerprint: str) -> ClipStore:
    store = ClipStore(path)
    if store.fingerprint != fingerprint:
        expected, found = f"clips with fingerprint {fingerprint[:12]}", store.fingerprint[:12]
        raise LabError.mismatch(path, expected, found, "let all workers see the same folders")
    return store


@dataclass(frozen=True, eq=False)
class Node:
    """One training to be made on one bench."""

    run_id: str
    training: str
    where: str  # "cross-subject, seed 0"
    bench: str  # its key in the graph
    parents: tuple[str, ...]  # run ids
    call: str  # which call of `run_graph` asks for it
    provisional: bool = False  # its clips are not prepared yet, and then its run will be named otherwise
    threads: int | None = None

    def __str__(self) -> str:
        return f"{self.run_id} {self.training} ({self.where})"

    def outcome(self, state: str, reason: str = "", **facts: Any) -> Outcome:
        return Outcome(self.run_id, self.training, self.where, state, reason, **facts)

    def needs(self, parent: Outcome) -> Outcome:
        """Skipped, because that parent is not there."""
        return self.outcome("skipped", f"it needs {parent.training}, which is {parent.state}")


@dataclass(frozen=True)
class Outcome:
    """What became of a node."""

    run_id: str
    training: str
    where: str
    state: Literal["done", "cached", "failed", "skipped"]  # cached: somebody else had finished it meanwhile
    reason: str = ""  # one line
    seconds: float = 0.0
    details: str = ""  # traceback of what is not a LabError

    @property
    def good(self) -> bool:
        return self.state in ("done", "cached")

    @property
    def brief(self) -> str:
        """Without the name of its folder."""
        tail = f" in {self.seconds:.0f} s" if self.state == "done" else f": {self.reason}" if self.reason else ""
        return f"{self.training} ({self.where}): {self.state}{tail}"

    def __str__(self) -> str:
        return f"{self.run_id} {self.brief}"


def in_a_line(error: Exception) -> str:
    """An error as one line; one that the user cannot mend says its kind, too."""
    return str(error) if isinstance(error, LabError) else " ".join(f"{type(error).__name__}: {error}".split())


def train(node: Node, bench: Bench, parents: Sequence[Outcome]) -> Outcome:
    """Make one run, unless something it needs is missing. An error becomes an outcome; Ctrl-C does not."""
    for parent in parents:
        if not parent.good:
            return node.needs(parent)
    begin = time.monotonic()
    try:
        with _ONE_AT_A_TIME:
            state = _train(node, bench.unpack())
    except Exception as error:
        details = "" if isinstance(error, LabError) else traceback.format_exc()
        return node.outcome("failed", in_a_line(error), details=details)
    return node.outcome(state, seconds=round(time.monotonic() - begin, 1))


def _train(node: Node, lab: Lab) -> str:
    dry, made = replace(lab, dry=True), {}
    run = make(node.training, dry, made)
    if run.id != node.run_id and not node.provisional:
        fix = "use the same labkit and the same data everywhere"
        raise LabError.mismatch(None, f"a training that comes to {node.run_id}", f"one that comes to {run.id}", fix)
    if not run.is_finished():
        if node.threads:
            import torch

            torch.set_num_threads(node.threads)
        training = get_training(node.training)
        try:
            run = training.make(lab, *(made[parent] for parent in training.parents))
        except Exception as error:
            with suppress(LabError):
                run.set_state("failed", reason=in_a_line(error))
            raise
        if run.finished_here:
            run.set_state("done", call=node.call)  # so that a worker's death after this is no second run
    return "done" if run.details.get("call") == node.call else "cached"
