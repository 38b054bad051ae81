"""One notebook in one fresh kernel: what ran, and how it ended.

papermill does the work. What the saved notebook says is not trusted, because papermill marks cells
that never ran as completed; the client below notes each cell's own reply instead.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

MAX_OUTPUT = (
    32 * 2**20
)  # bytes of output one notebook may make: more is an endless loop that would fill memory
START_SECONDS = 60
BUSY_SECONDS = 20  # a kernel stopped in the middle of a training finishes its step and saves first
IDLE_SECONDS = 1  # an idle kernel has nothing to lose, and about one in ten misses the request to shut down

FailureKind = Literal[
    "error",  # a cell raised
    "dead_kernel",  # the kernel was killed or crashed, out of memory for instance
    "timeout",
    "exited",  # sys.exit() or exit(): the cells after it did not run
    "output",  # endless output
    "no_kernel",  # no such kernel, or it did not start
    "parameters",  # unknown or mistyped: refused before starting
    "outputs",  # a declared output file is missing
    "interrupted",
]


@dataclass(frozen=True)
class Failure:
    """Why a notebook did not succeed. `cell` is the n of `In [n]` in the executed copy."""

    kind: FailureKind
    cell: int | None
    name: str
    message: str

    def __str__(self) -> str:
        where = f" in In [{self.cell}]" if self.cell else ""
        return f"{self.kind}{where}: " + " ".join(f"{self.name}: {self.message}".split())[:300]


@dataclass
class Execution:
    """One execution as it goes on; another thread may interrupt or kill it."""

    cwd: str
    env: dict[str, str]
    deadline: float  # time.monotonic()
    notebook: NotebookNode | None = None  # the executed copy, filled while it runs
    ready: bool = False  # whether its kernel has ever answered
    pid: int | None = None
    started: int = 0  # code cells sent to the kernel
    finished: list[int] = field(default_factory=list)  # indices of the cells that ended well
    received: int = 0  # bytes of output
    stopped: Literal["output", "interrupted"] | None = None  # why we ended it
    last_words: str = ""  # what the kernel process itself wrote to its standard error at the end

    def interrupt(self) -> None:
        """Ask the kernel to stop: a training in it finishes its step and saves."""
        self.stopped = "interrupted"
        self._send(signal.SIGINT)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.pid is not None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                self.pid = None  # gone already


def execute(
    notebook: NotebookNode,
    parameters: Mapping[str, Any],
    run: Execution,
    start_seconds: float = START_SECONDS,
) -> Failure | None:
    """Execute a notebook with parameters; None when its last code cell ended well.

    The executed cells are left in `run.notebook`, whatever happened. A dead kernel is seen within
    seconds, not at the deadline.
    """
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if not kernel:
        return Failure(
            "no_kernel", None, "NoSuchKernel", "the notebook names no kernel in metadata.kernelspec"
        )
    try:
        papermill.execute_notebook(
            notebook,
            None,  # nothing is written here: a full disk must not leave half a notebook
            dict(parameters),
            engine_name="labkit",
            language="python",
            progress_bar=False,
            start_timeout=start_seconds,
            run=run,
        )
    except Exception as error:
        return _classify(error, run)
    last = max((index for index, cell in enumerate(run.notebook.cells) if _runs(cell)), default=None)
    if last is not None and last not in run.finished:
        return Failure(
            "exited", run.started, "SystemExit", "the cell left the notebook; the cells after it did not run"
        )
    return None


def _classify(error: Exception, run: Execution) -> Failure:
    """Our own kind of failure for what papermill, nbclient or the kernel manager raised."""
    cell = run.started or None
    if isinstance(error, PapermillExecutionError):
        kind = {"SystemExit": "exited", "KeyboardInterrupt": "interrupted"}.get(error.ename, "error")
        return Failure(kind, error.exec_count or cell, error.ename, error.evalue)
    name, message = type(error).__name__, str(error)
    if run.stopped == "output":
        return Failure(
            "output", cell, name, f"more than {MAX_OUTPUT} bytes of output; the kernel was stopped"
        )
    if run.stopped == "interrupted":
        return Failure("interrupted", cell, name, "stopped on request")
    if isinstance(error, NoSuchKernel):
        return Failure("no_kernel", None, name, f"no kernel named {error.name!r} is installed")
    if isinstance(error, CellTimeoutError):
        return Failure("timeout", cell, name, "the notebook's time was used up")
    if isinstance(error, DeadKernelError):
        return Failure("dead_kernel", cell, name, f"the kernel died, out of memory perhaps. {run.last_words}")
    if isinstance(error, (RuntimeError, OSError)) and not run.started:
        return Failure("no_kernel", None, name, f"the kernel did not start ({message}). {run.last_words}")
    return Failure("error", cell, name, message)


def _runs(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


class _Client(PapermillNotebookClient):
    """Notes what really ran, and stops a kernel that floods its notebook."""

    def __init__(self, nb_man, run: Execution, kernel_name: str, start_seconds: float, manager: type):
        self.labkit_run = run
        super().__init__(
            nb_man,
            kernel_name=kernel_name,
            kernel_manager_class=manager,
            startup_timeout=start_seconds,
            timeout_func=lambda cell: max(run.deadline - time.monotonic(), 0.1),
            record_timing=False,  # time stamps would make equal copies differ
            on_notebook_start=self._on_start,
            on_cell_execute=self._on_cell,
            on_cell_executed=self._on_reply,
        )

    def _on_start(self, notebook) -> None:
        self.labkit_run.ready, self.labkit_run.pid = True, self.km.provisioner.pid

    def _on_cell(self, cell, cell_index) -> None:
        if self.labkit_run.stopped:  # the request came before the kernel, or between two cells
            self.labkit_run.kill()
        self.labkit_run.started += 1
        self.km.shutdown_wait_time = BUSY_SECONDS

    def _on_reply(self, cell, cell_index, execute_reply) -> None:
        self.km.shutdown_wait_time = IDLE_SECONDS
        if execute_reply["content"]["status"] == "ok":
            self.labkit_run.finished.append(cell_index)

    def process_message(self, msg, cell, cell_index):
        """Count the bytes of every output on its way into the notebook."""
        content = msg["content"]
        pieces = [content.get("text", ""), *content.get("data", {}).values()]
        self.labkit_run.received += sum(len(piece) for piece in pieces if isinstance(piece, str))
        if self.labkit_run.received > MAX_OUTPUT and self.labkit_run.stopped is None:
            self.labkit_run.stopped = "output"
            self.labkit_run.kill()
        return super().process_message(msg, cell, cell_index)


class _Engine(NBClientEngine):
    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, *, run: Execution, start_timeout: float, **_):
        run.notebook = nb_man.nb
        with (
            tempfile.TemporaryDirectory(prefix="labkit-", dir=_short_folder()) as folder,
            tempfile.TemporaryFile() as log,  # keeps a crash's message, and the terminal quiet
        ):
            try:
                client = _Client(nb_man, run, kernel_name, start_timeout, _manager(folder))
                client.execute(cwd=run.cwd, env=run.env, stderr=log)
            finally:
                run.pid = None
                log.seek(max(log.seek(0, os.SEEK_END) - 300, 0))
                run.last_words = log.read().decode("utf-8", errors="replace")


papermill_engines.register("labkit", _Engine)
logging.getLogger("papermill").setLevel(logging.CRITICAL)  # a failure is told once, by the series


def _short_folder() -> str | None:
    """Where sockets may lie: their whole path must stay below about 100 bytes."""
    return "/tmp" if os.name == "posix" and len(os.fsencode(tempfile.gettempdir())) > 60 else None


def _manager(folder: str) -> type[AsyncKernelManager]:
    """A kernel manager that talks over socket files in a private folder.

    TCP ports are open to every user of the machine and two kernels starting at once can draw the same
    one; a folder of its own has neither trouble.
    """
    if os.name != "posix":
        return AsyncKernelManager

    class IpcKernelManager(AsyncKernelManager):
        def __init__(self, **options):
            super().__init__(
                transport="ipc", ip=f"{folder}/k", connection_file=f"{folder}/kernel.json", **options
            )

    return IpcKernelManager
