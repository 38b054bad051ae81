"""All notebooks, headlessly: papermill, several at a time, each after those it needs and none twice.

Beside the executed copy `NAME.ipynb` lies `NAME.status.json` with the key of all that the copy was made from;
while that key is the same, the notebook is up to date. A failed one leaves `NAME.partial.ipynb`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import matplotlib
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from papermill.exceptions import PapermillExecutionError

from ..errors import LabError
from ..files import locked, read_json, sha256_file, sha256_json, write_bytes, write_json
from ..tools.progress import duration, time_left, told_of
from .notebooks import Source, read_notebook

# A notebook looks and trains alike whatever a user's matplotlibrc says and whoever launched this process.
PLAIN = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "MATPLOTLIBRC": str(Path(matplotlib.get_data_path(), "matplotlibrc")),
    "WORLD_SIZE": "1",
}
SECONDS_TO_SAVE = 20  # a kernel stopped in the middle of a training finishes its step and saves first

logging.getLogger("papermill").setLevel(logging.CRITICAL)  # a failure is told once, here


@dataclass(frozen=True)
class NotebookRecord:
    """How one notebook of a series ended."""

    name: str
    state: Literal["ok", "up to date", "failed", "not run"]
    seconds: float = 0.0
    told: str = ""  # what went wrong, and in which cell
    key: str = ""

    @property
    def succeeded(self) -> bool:
        return self.state in ("ok", "up to date")

    def __str__(self) -> str:
        told = " ".join(self.told.split())[:300]
        return f"{self.name:<24} {self.state:<10} {self.seconds:7.1f} s  {told}".rstrip()


def run_series(
    notebooks: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    parameters: Mapping[str, Any],
    *,
    timeout: float,
    jobs: int = 1,
    force: bool = False,
    data_fingerprint: str = "",
    env: Mapping[str, str] | None = None,
) -> list[NotebookRecord]:
    """Execute notebooks, each in its own folder, `jobs` at a time; records in the order given.

    What is up to date costs no kernel, unless `force`. A notebook that does not declare every parameter is
    refused. When one fails, those that need it are not run and all others are. `timeout` is in seconds and for
    one cell; `env` is added to the kernels' environment. Each outcome is a line on stderr.

    Raises LabError for a damaged notebook and for needs that are no notebook of the series or go in a circle.
    """
    sources = {source.name: source for source in map(read_notebook, notebooks)}
    order = _in_order(sources)
    series = _Series(Path(out_dir).resolve(), parameters, timeout, force, [code_hash(), data_fingerprint], env or {})
    running, begin = {}, time.monotonic()

    def how_far() -> str:
        now = [name for future, name in list(running.items()) if future.running()]
        passed, done = time.monotonic() - begin, len(series.records)
        executed = sum(record.seconds > 0 for record in list(series.records.values()))
        left = time_left(executed, len(sources) - done, passed)
        return f"notebooks: {done} of {len(sources)} after {duration(passed)}, {left}; under way: {', '.join(now)}"

    with locked(series.folder / ".lock"), ThreadPoolExecutor(jobs) as pool:  # a second series waits here
        try:
            with told_of(how_far):
                while order.is_active():
                    running |= {pool.submit(series.settle, sources[name]): name for name in order.get_ready()}
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        record = series.records[running[future]] = future.result()
                        order.done(running.pop(future))
                        print(record, file=sys.stderr, flush=True)
        except BaseException:  # Ctrl-C reaches this thread alone
            pool.shutdown(wait=False, cancel_futures=True)
            series.stop([future for future in running if not future.cancelled()])
            raise
    return [series.records[name] for name in sources]


def _in_order(sources: Mapping[str, Source]) -> TopologicalSorter:
    """The sorter that hands out notebooks whose needs are done, ready to be asked."""
    for source in sources.values():
        for need in source.needs:
            if need not in sources:
                fix = "correct metadata.labkit.needs"
                raise LabError.mismatch(source.path, "needs that name notebooks", repr(need), fix)
    order = TopologicalSorter({name: source.needs for name, source in sources.items()})
    try:
        order.prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise LabError(None, f"notebooks need each other: {circle}", "remove one of these needs") from None
    return order


def code_hash() -> str:
    """Hash of labkit's own source."""
    package = Path(__file__).parents[1]
    return sha256_json({path.relative_to(package).as_posix(): sha256_file(path) for path in package.rglob("*.py")})


@dataclass
class _Series:
    """What the notebooks of one `run_series` share."""

    folder: Path  # of the executed copies
    parameters: Mapping[str, Any]
    timeout: float
    force: bool
    common: list[str]  # hashes that every key holds
    env: Mapping[str, str]
    records: dict[str, NotebookRecord] = field(default_factory=dict)
    kernels: list[AsyncKernelManager] = field(default_factory=list)

    def settle(self, source: Source) -> NotebookRecord:
        """Execute a notebook whose needs are settled, if there is reason to; called in a worker thread."""
        if broken := [need for need in source.needs if not self.records[need].succeeded]:
            return NotebookRecord(source.name, "not run", told=f"needs {', '.join(broken)}")
        declared = papermill.inspect_notebook(source.notebook)
        if unknown := [name for name in self.parameters if name not in declared]:
            told = f"expected the parameters {', '.join(declared) or 'none'}, found {', '.join(unknown)}"
            return NotebookRecord(source.name, "failed", told=told)
        key, begin = self._key(source), time.monotonic()
        if not self.force and self._is_up_to_date(source.name, key):
            return NotebookRecord(source.name, "up to date", key=key)
        status = self.folder / f"{source.name}.status.json"
        status.unlink(missing_ok=True)  # until this execution has succeeded
        told = self._execute(source)
        seconds = round(time.monotonic() - begin, 2)
        if told:
            return NotebookRecord(source.name, "failed", seconds, told)
        write_json(status, {"key": key, "seconds": seconds})
        return NotebookRecord(source.name, "ok", seconds, key=key)

    def _key(self, source: Source) -> str:
        """Hash of all that the results depend on; outputs saved in the source do not count."""
        cells = [[cell.cell_type, cell.source, cell.metadata.get("tags", [])] for cell in source.notebook.cells]
        needs = [self.records[need].key for need in source.needs]
        versions = [platform.python_version(), metadata.version("torch")]
        return sha256_json([cells, needs, dict(self.parameters), self.common, versions])

    def _is_up_to_date(self, name: str, key: str) -> bool:
        try:
            up_to_date = read_json(self.folder / f"{name}.status.json")["key"] == key
            return up_to_date and (self.folder / f"{name}.ipynb").is_file()
        except (LabError, KeyError, TypeError):  # missing or damaged: only means executing again
            return False

    def _execute(self, source: Source) -> str:
        """Execute one notebook in a fresh kernel; what went wrong, "" when its last code cell ended well."""
        partial, begun, ended = self.folder / f"{source.name}.partial.ipynb", [], []

        def note(cell, cell_index, execute_reply):
            if execute_reply["content"]["status"] == "ok":
                ended.append(cell_index)

        try:
            papermill.execute_notebook(
                source.notebook,
                str(partial).replace("{", "{{").replace("}", "}}"),  # papermill fills in parameters there
                dict(self.parameters),
                kernel_name="python3",
                language="python",
                progress_bar=False,
                execution_timeout=self.timeout,
                resources={"metadata": {"path": str(source.path.parent)}},  # papermill's `cwd` is no use in threads
                kernel_manager_class=self._own_kernel(),
                shutdown_kernel="immediate",
                on_cell_execute=lambda cell, cell_index: begun.append(cell_index),
                on_cell_executed=note,
            )
        except PapermillExecutionError as error:
            return f"In [{error.exec_count}]: {error.ename}: {error.evalue}"
        except Exception as error:
            return f"In [{len(begun)}]: {type(error).__name__}: {error}"
        if begun != ended:
            return f"In [{len(begun)}]: SystemExit: the cell left the notebook"  # the one thing papermill lets pass
        write_bytes(self.folder / f"{source.name}.ipynb", partial.read_bytes())
        partial.unlink()
        return ""

    def _own_kernel(self) -> type[AsyncKernelManager]:
        """Kernels of this very Python, whatever "python3" means to Jupyter here."""
        env = {"LABKIT_PROGRESS": "quiet", **PLAIN, **self.env}
        spec = KernelSpec(**get_kernel_dict(["--log-level=ERROR"]), env=env)
        kernels = self.kernels

        class OwnKernel(AsyncKernelManager):
            kernel_spec = spec

            def __init__(self, **options: Any):
                super().__init__(**options)
                kernels.append(self)

        return OwnKernel

    def stop(self, running: Sequence[Future]) -> None:
        """End all kernels: trainings may finish their step and save, then what still runs is killed."""
        for kernel in self.kernels:
            with suppress(RuntimeError):  # ended already
                asyncio.run(kernel.interrupt_kernel())
        wait(running, timeout=SECONDS_TO_SAVE)
        for kernel in self.kernels:
            if kernel.has_kernel:
                asyncio.run(kernel.provisioner.kill())
        wait(running)
