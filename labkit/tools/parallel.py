"""The same function over many values, in several processes, results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from ..errors import LabError
from ..lab import launched_count

WORTH_A_PROCESS = 8  # values; a process takes about as long to start as it takes to work through these
CHUNK = 2  # values sent to a process at once
LOCKS = 8  # more than a pool of processes takes
AHEAD = 3  # chunks a process, begun or waiting, at any time: results nobody has taken yet stay that few


def ordered_map(function: Callable, values: Sequence, workers: int) -> Iterator:
    """`function` of each value, in order.

    Little work, or one worker, stays in this process; so does all without locks, and all of a worker of Dask's.
    Processes are spawned, because a fork would copy locks that torch's threads may hold; so `function`
    must be importable. However slowly results are taken and however many values there are, no more than
    CHUNK x AHEAD of them a process are in memory. The first exception ends the work. Raises LabError
    when a process dies.
    """
    workers = min(workers, len(values) // WORTH_A_PROCESS)
    if workers < 2 or not has_locks() or multiprocessing.current_process().daemon:  # daemons may have no children
        yield from map(function, values)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=follow_parent)
    pending: deque[Future] = deque()
    try:
        for start in range(0, len(values), CHUNK):
            if len(pending) == AHEAD * workers:
                yield from pending.popleft().result()
            pending.append(pool.submit(_each, function, values[start : start + CHUNK]))
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        fix = "run it again, with workers=1 if memory is short or the calling script has no main guard"
        raise LabError.mismatch(None, "living worker processes", "that one died", fix) from error
    finally:
        pool.shutdown(cancel_futures=True)


def has_locks() -> bool:
    """Whether processes can wait for one another: their locks lie in shared memory, which a container may lack."""
    fork = multiprocessing.get_context("fork" if sys.platform != "win32" else None)  # whose locks leave no file behind
    try:
        return bool([fork.Lock() for _ in range(LOCKS)])
    except OSError:
        return False


def _each(function: Callable, values: Sequence) -> list:
    return [function(value) for value in values]


def refuse_without_main_guard() -> None:
    """LabError in a worker that is still importing the script it was spawned from.

    Spawned workers import the script again. One that opens a lab as it is imported would wait for the
    lock its parent holds, and the parent for it, for good.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # what multiprocessing itself looks at
        script = getattr(sys.modules.get("__main__"), "__file__", None) or sys.argv[0]
        fix = "put the script's work under if __name__ == '__main__':"
        raise LabError.mismatch(script, "a script that can be imported", "one that does its work on import", fix)


def join_launch() -> None:
    """Meet the other processes of a launch, if there are any, before data are made, which takes each of them long."""
    if launched_count() > 1:
        from ..processes import meet

        meet()


def follow_parent() -> None:
    """In a worker: leave interrupts to the parent, and die with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
