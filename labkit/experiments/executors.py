"""Ways to work through a Dask graph: in this process, in several local ones, on a cluster.

Each takes the graph, the keys of its tasks, and a `log` that is told which task starts and which has
ended with what. Dask itself is imported where it is used: a finished set needs none of it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import LabError
from ..parallel import follow_parent, has_locks

CONNECT_SECONDS = 8
TOPIC = "labkit"  # under which a cluster's workers say what they start


class Log(Protocol):
    """Who is told."""

    def started(self, key: str, *_: Any) -> None: ...
    def ended(self, key: str, outcome: Any, *_: Any) -> None: ...


def in_this_process(graph: dict[str, Any], keys: Sequence[str], log: Log) -> None:
    """One task after the other."""
    import dask

    with dask.callbacks.Callback(pretask=log.started, posttask=log.ended):
        dask.get(graph, list(keys))


def in_processes(graph: dict[str, Any], keys: Sequence[str], log: Log, workers: int) -> None:
    """Several at a time in spawned processes: a fork would copy locks that torch's threads may hold.

    Raises LabError when a process dies; what the others train is then saved and stopped, as by Ctrl-C.
    """
    import dask.multiprocessing

    # Dask would fuse a chain, which hides its tasks, and hand out six tasks at a time to one process.
    options = {"num_workers": workers, "optimize_graph": False, "chunksize": 1}
    with (
        spawned(workers, _start_worker, "worker processes") as pool,
        dask.callbacks.Callback(pretask=log.started, posttask=log.ended),
    ):
        dask.multiprocessing.get(graph, list(keys), pool=pool, **options)


@contextmanager
def spawned(count: int, initializer: Callable[[], None], called: str) -> Iterator[ProcessPoolExecutor]:
    """That many processes that share nothing with this one; when the work inside fails, they save and stop.

    Raises LabError when one of them dies, and where there is no shared memory for their locks.
    """
    if not has_locks():
        fix = "give the machine or container some (docker run --shm-size 64m), or ask for one process"
        raise LabError.mismatch("/dev/shm", f"shared memory for the locks of {count} {called}", "none", fix)
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=initializer)
    try:
        yield pool
    except BrokenProcessPool as error:
        fix = "run the same again: it goes on from the checkpoints; with fewer of them if memory was short"
        raise LabError.mismatch(None, f"living {called}", "that one died", fix) from error
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()  # a training finishes its step and saves
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    os.environ["LABKIT_PROGRESS"] = "quiet"  # bars of several processes would draw over one another
    follow_parent()


def on_cluster(graph: dict[str, Any], keys: Sequence[str], log: Log, address: str) -> dict[str, Exception]:
    """On the workers of a Dask scheduler; a task whose worker dies is given to another.

    Returns the errors of tasks that the cluster could not bring to an end. Raises LabError when the
    scheduler or its workers cannot be reached, or the scheduler goes away.
    """
    try:
        import distributed
    except ImportError as error:
        raise LabError.mismatch(None, "the package distributed", "none", "pip install 'labkit[cluster]'") from error
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is told in one line
    lost: dict[str, Exception] = {}
    with _connect(distributed.Client, address) as client:
        client.subscribe_topic(TOPIC, lambda event: log.started(event[1]))
        futures = client.get(graph | {key: (_announced, *graph[key]) for key in keys}, list(keys), sync=False)
        try:
            for future, result in distributed.as_completed(futures, with_results=True, raise_errors=False):
                if future.status == "finished":
                    log.ended(future.key, result)
                elif future.status == "error":
                    lost[future.key] = future.exception()
                else:
                    fix = "start it again and run the same: it goes on from the checkpoints"
                    raise LabError.mismatch(None, f"the scheduler at {address}", "that it went away", fix)
        except BaseException:
            client.cancel(futures, force=True)
            raise
    return lost


def _connect(client: Callable, address: str):
    """A client of a scheduler that has workers; LabError when there is none within a few seconds."""
    fix = "start `dask scheduler` and `dask worker --nthreads 1 ADDRESS`, or correct the address"
    try:
        found = client(address, timeout=CONNECT_SECONDS)
    except Exception as error:  # who answers may be no scheduler at all
        raise LabError.mismatch(None, f"a Dask scheduler at {address}", "none that answers", fix) from error
    try:
        found.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        found.close()
        raise LabError.mismatch(None, f"workers at the scheduler {address}", "none", fix) from error
    return found


def _announced(function: Callable, node: Any, *rest: Any) -> Any:
    """The task on a worker, after telling the client that it starts, if what it needs is there."""
    from distributed import get_worker

    if all(parent.good for parent in rest[-1]):
        get_worker().log_event(TOPIC, node.run_id)
    return function(node, *rest)
