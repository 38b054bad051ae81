"""A series of notebooks: each executed at most once, after those it needs, with a verified record.

Success is what this module checked, not what the saved notebook says: the kernel answered for the
last code cell, the declared outputs exist, the executed copy is on disk under its SHA-256.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import nbformat
from nbformat import NotebookNode

from ..errors import LabError
from ..files import locked, read_json, sha256_file, write_json, write_text
from .kernels import BUSY_SECONDS, Execution, Failure, execute
from .notebooks import Source, in_order, make_keys, read_notebook


@dataclass(frozen=True)
class Success:
    """What the last successful execution left, and what it was made from."""

    key: str
    sha256: str  # of the executed copy
    outputs: dict[str, str]  # declared file -> SHA-256


@dataclass(frozen=True)
class NotebookRecord:
    """How one notebook of a series ended; kept as `NAME.status.json` beside its executed copy."""

    name: str
    state: Literal["ok", "up_to_date", "failed", "not_run"]
    key: str
    seconds: float = 0.0
    kernels: int = 0  # started for it
    failure: Failure | None = None
    reason: str = ""  # why it was not run
    success: Success | None = None  # the last one, which may be older than this record

    @property
    def succeeded(self) -> bool:
        return self.state in ("ok", "up_to_date")

    def __str__(self) -> str:
        told = str(self.failure or self.reason)
        return f"{self.name:<24} {self.state.replace('_', ' '):<10} {self.seconds:7.1f} s  {told}".rstrip()


def run_series(
    notebooks: Sequence[str | os.PathLike],
    out_dir: str | os.PathLike,
    parameters: Mapping[str, Any],
    *,
    timeout: float,
    jobs: int = 1,
    force: bool = False,
    progress: bool = True,
    data_fingerprint: str = "",
    env: Mapping[str, str] | None = None,
) -> list[NotebookRecord]:
    """Execute notebooks headlessly, each in its own folder, `jobs` at a time; records in the order given.

    A notebook whose key (`notebooks.make_keys`) is that of its last success, and whose executed copy
    and outputs still verify, is up to date and costs no kernel, unless `force`. Every notebook must
    declare every parameter, with a default of the same type; otherwise it is refused before a kernel
    starts. When one fails, those that need it are not run and all others are. `timeout` is in seconds
    and for a whole notebook. `env` is added to the kernels' environment.

    Written to `out_dir`: `NAME.ipynb`, or `NAME.partial.ipynb` after a failure, `NAME.status.json` and
    `series.json`. Raises LabError as `notebooks.read_notebook` and `notebooks.in_order` do.
    """
    sources = [read_notebook(path) for path in notebooks]
    ordered = in_order(sources)
    keys = make_keys(ordered, parameters, data_fingerprint)
    env = {**os.environ, "LABKIT_PROGRESS": "quiet", **(env or {})}
    series = _Series(Path(out_dir), parameters, keys, timeout, force, progress, env)
    with locked(Path(out_dir) / ".lock"):  # a second series waits, then finds everything up to date
        series.run(ordered, jobs)
    records = [series.records[source.name] for source in sources]
    write_json(Path(out_dir) / "series.json", [asdict(record) for record in records])
    return records


class _Series:
    """The state of one `run_series`."""

    def __init__(
        self,
        out_dir: Path,
        parameters,
        keys: dict[str, str],
        timeout: float,
        force: bool,
        progress: bool,
        env,
    ):
        self.out_dir, self.parameters, self.keys, self.env = out_dir, parameters, keys, env
        self.timeout, self.force, self.progress = timeout, force, progress
        self.records: dict[str, NotebookRecord] = {}
        self.live: dict[str, Execution] = {}

    def run(self, ordered: list[Source], jobs: int) -> None:
        """Kernels run in worker threads, so that Ctrl-C reaches this one and ends them all in order."""
        waiting, running = list(ordered), set[Future]()
        with ThreadPoolExecutor(jobs) as pool:
            try:
                while waiting or running:
                    for source in list(waiting):
                        if len(running) < jobs and all(
                            n in self.records for n in source.needs if n in self.keys
                        ):
                            waiting.remove(source)
                            settled = self._without_kernel(source)
                            if settled is None:
                                running.add(pool.submit(self._execute, source))
                            else:
                                self._note(settled)
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._note(future.result())
            except BaseException:
                self._stop(running)
                raise

    def _stop(self, running: set[Future]) -> None:
        """End all kernels: trainings may finish their step and save, then what still runs is killed."""
        for execution in list(self.live.values()):
            execution.interrupt()
        _, late = wait(running, timeout=BUSY_SECONDS)
        for execution in list(self.live.values()):
            execution.kill()
        wait(late)
        for future in running:
            if future.exception() is None:
                self._note(future.result())

    def _note(self, record: NotebookRecord) -> None:
        self.records[record.name] = record
        if record.state != "up_to_date":
            write_json(self._file(record.name, ".status.json"), asdict(record))
        if self.progress:
            print(record, file=sys.stderr, flush=True)

    def _file(self, name: str, ending: str) -> Path:
        return self.out_dir / f"{name}{ending}"

    def _before(self, name: str) -> NotebookRecord | None:
        """The record of the last time; a missing or damaged one only means executing again."""
        try:
            found = read_json(self._file(name, ".status.json"))
            success, failure = found["success"], found["failure"]
            nested = {"success": success and Success(**success), "failure": failure and Failure(**failure)}
            return NotebookRecord(**{**found, **nested})
        except (LabError, KeyError, TypeError):
            return None

    def _without_kernel(self, source: Source) -> NotebookRecord | None:
        """The record of a notebook that is not to be executed, None for one that is."""
        before = self._before(source.name)
        record = NotebookRecord(
            source.name, "not_run", self.keys[source.name], success=before and before.success
        )
        broken = [need for need in source.needs if need in self.records and not self.records[need].succeeded]
        if broken:
            return replace(record, reason=f"needs {', '.join(broken)}")
        try:
            source.checked(self.parameters)
        except LabError as error:
            return replace(
                record, state="failed", failure=Failure("parameters", None, "LabError", str(error))
            )
        if before and not self.force and self._up_to_date(source, before):
            return replace(record, state="up_to_date")
        return None

    def _up_to_date(self, source: Source, before: NotebookRecord) -> bool:
        key, success = self.keys[source.name], before.success
        if success is None or success.key != key or (before.key == key and not before.succeeded):
            return False
        copy = {self._file(source.name, ".ipynb"): success.sha256}
        files = copy | {source.path.parent / name: digest for name, digest in success.outputs.items()}
        return all(path.is_file() and sha256_file(path) == digest for path, digest in files.items())

    def _execute(self, source: Source) -> NotebookRecord:
        """Execute one notebook and keep what came of it; runs in a worker thread."""
        begin, before = time.monotonic(), self._before(source.name)
        run = self.live[source.name] = Execution(
            str(source.path.parent), dict(self.env), begin + self.timeout
        )
        try:
            failure = execute(source.notebook, source.checked(self.parameters), run) or _missing(source)
        finally:
            del self.live[source.name]
        copy, partial = self._file(source.name, ".ipynb"), self._file(source.name, ".partial.ipynb")
        partial.unlink(missing_ok=True)
        if run.notebook is not None:
            write_text(partial if failure else copy, _as_text(run.notebook))
        success = before and before.success
        if failure is None:
            outputs = {name: sha256_file(source.path.parent / name) for name in source.outputs}
            success = Success(self.keys[source.name], sha256_file(copy), outputs)
        state, seconds = "failed" if failure else "ok", round(time.monotonic() - begin, 2)
        key, kernels = self.keys[source.name], int(run.ready)
        return NotebookRecord(source.name, state, key, seconds, kernels, failure, success=success)


def _missing(source: Source) -> Failure | None:
    missing = [name for name in source.outputs if not (source.path.parent / name).is_file()]
    return Failure("outputs", None, "missing", ", ".join(missing)) if missing else None


def _as_text(notebook: NotebookNode) -> str:
    """The executed notebook without papermill's notes: absolute paths, times, and states that are not so."""
    for part in (notebook, *notebook.cells):
        part.metadata.pop("papermill", None)
        if part.metadata.get("tags") == []:
            del part.metadata["tags"]
        if "injected-parameters" in part.metadata.get("tags", []) and "id" in part:
            part["id"] = "injected-parameters"  # papermill draws a random one
    return nbformat.writes(notebook) + "\n"
