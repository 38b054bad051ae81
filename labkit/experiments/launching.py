"""Each training over several processes, from a notebook: what `accelerate launch` does from a command line.

accelerate's own `notebook_launcher` forks the kernel, and refuses one that holds an Accelerator or has
touched a GPU; torch's threads, which any training leaves behind, do not live on in a fork. Here the
processes are spawned: they share nothing with the kernel, which may have trained before and may again.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from dataclasses import replace

from ..errors import LabError
from ..lab import Lab
from ..machine import available_cores
from ..parallel import follow_parent, join_launch, launched_count
from ..runs import Run
from .executors import spawned
from .graph import plan, run_graph
from .nodes import Bench
from .trainings import make

LAST_SECONDS = 10  # for the others, once a process has failed


def launch(lab: Lab, names: Sequence[str], *, processes: int = 2, threads: int | None = None) -> dict[str, Run]:
    """The finished runs of these trainings by name, as `trainings.make` gives them.

    All processes work on one training at a time, each on its share of every batch, and do what one process
    would do with the whole of it (tests/test_processes.py). On GPUs, one process each. `threads` are those of one
    process, by default its share of the cores. Interrupting the kernel saves the training under way, and
    the same call goes on. For several machines, see `accelerate launch` in the README. Raises LabError
    when a training fails or a process dies, and for a number of processes that cannot be.
    """
    import torch

    devices = torch.cuda.device_count()
    _check(processes, devices)
    if plan([(lab, names)]).nodes:
        threads = threads or max(available_cores() // processes, 1)
        _work(processes, Bench.pack(lab), tuple(names), threads)
    dry, made = replace(lab, dry=True), {}
    return {name: make(name, dry, made) for name in names}


def _check(processes: int, devices: int) -> None:
    if processes < 2:
        raise LabError.mismatch(None, "2 processes or more", processes, "give more, or call graph.run_graph")
    if devices and processes > devices:
        fix = f"launch {devices} of them, or call graph.run_graph" if devices > 1 else "call graph.run_graph"
        raise LabError.mismatch(None, f"{processes} GPUs, one a process", devices, fix)
    if launched_count() > 1 or multiprocessing.parent_process() is not None:
        fix = "launch from the notebook or script that started it"
        raise LabError.mismatch(None, "a launch by a process of its own", "one inside a launched process", fix)


def _work(processes: int, bench: Bench, names: Sequence[str], threads: int) -> None:
    """Spawn the processes and wait for all. The first error ends them; Ctrl-C lets them save."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    environment |= {key: str(processes) for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    with spawned(processes, follow_parent, "processes") as pool:
        # Each part waits for all others, so that no process can take two.
        parts = [pool.submit(_part, environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, bench, names, threads)
                 for rank in range(processes)]  # fmt: skip
        wait(parts, return_when=FIRST_EXCEPTION)
        ended, _ = wait(parts, timeout=LAST_SECONDS)  # one whose neighbour died may be told so first
        for part in sorted(ended, key=lambda part: not isinstance(part.exception(), BrokenProcessPool)):
            part.result()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _part(environment: dict[str, str], bench: Bench, names: Sequence[str], threads: int) -> None:
    """What one process does. Its end closes its connections, so that no other waits for one that failed."""
    os.environ.update(environment, LABKIT_PROGRESS="quiet")
    import torch

    from ..exchange import close

    torch.set_num_threads(threads)
    join_launch()  # here, since it waits: all plan before any of them trains
    try:
        with redirect_stderr(sys.stdout):  # which a kernel shows under the cell; stderr would be red
            run_graph([(bench.unpack(), names)], threads=threads).check()
    finally:
        close()
        torch.distributed.destroy_process_group()
