"""The same function over many values, in several processes, results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from .errors import LabError

WORTH_A_PROCESS = 8  # values; a process takes about as long to start as it takes to work through these


def ordered_map(function: Callable, values: Sequence, workers: int) -> Iterator:
    """`function` of each value, in order; little work, or one worker, stays in this process.

    Processes are spawned, because a fork would copy locks that torch's threads may hold; so `function`
    must be importable. The first exception ends the work. Raises LabError when a process dies.
    """
    workers = min(workers, len(values) // WORTH_A_PROCESS)
    if workers < 2:
        yield from map(function, values)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=follow_parent)
    try:
        yield from pool.map(function, values, chunksize=2)
    except BrokenProcessPool as error:
        fix = "run it again, with workers=1 if memory is short or the calling script has no main guard"
        raise LabError.mismatch(None, "living worker processes", "that one died", fix) from error
    finally:
        pool.shutdown(cancel_futures=True)


def follow_parent() -> None:
    """In a worker: leave interrupts to the parent, and die with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
