"""Run folders: content-addressed, atomic, verified.

A run is a folder named by the hash of its step, configuration, parents, data and of TRAINING_VERSION,
which stands for the code. The same inputs lead to the same folder, so nothing is trained twice. Each
artefact is written once and counts only when its line in the manifest (size and SHA-256) exists; every
read is checked against that line.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LabError
from .files import atomic_path, locked, read_json, sha256_file, sha256_json, write_json

if TYPE_CHECKING:  # torch takes a second to load; only tensors need it
    import torch

MANIFEST = "manifest.json"
RESULT = "result.json"
WEIGHTS = "weights.safetensors"
PREDICTIONS = "predictions.safetensors"
RECORD = "record.json"  # under what conditions it was trained, and on what machine
STATE = "state.json"
SPEC = "spec.json"
LOCK = ".lock"
SMALL = 1_000_000  # bytes; hashed in a few milliseconds

# Raised by hand when a training ends in other results than before; tests/test_golden.py tells when. It is part
# of every run's name, so that results of different versions are never mixed.
TRAINING_VERSION = 2


@dataclass(frozen=True)
class RunSpec:
    """All that decides a run's outcome; its hash names the folder."""

    step: str
    config: dict
    data: str  # the clip store's fingerprint and the split
    parents: tuple[str, ...] = ()  # ids of the runs whose weights it starts from
    version: int = TRAINING_VERSION

    @property
    def id(self) -> str:
        return f"{self.step}-{sha256_json(vars(self))[:16]}"  # `asdict` would copy it all first


class Run:
    """One folder of a RunStore. Artefacts are read through it, never by path."""

    def __init__(self, path: Path, spec: RunSpec):
        self.path, self.spec = path, spec

    def __repr__(self) -> str:
        return f"Run({self.id}, {self.state})"

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def done(self) -> bool:
        """Trained, tested and recorded: the result is the last artefact to be written."""
        return RESULT in self.manifest()

    @property
    def state(self) -> str:
        """ "new", "running", "interrupted", "failed" or "done"."""
        if self.done:
            return "done"
        return self.details.get("state", "new")

    @property
    def details(self) -> dict[str, Any]:
        """What `set_state` noted last: "state", and the reason of a failure; empty for a new run."""
        path = self.path / STATE
        return read_json(path) if path.exists() else {}

    def set_state(self, state: str, **details: Any) -> None:
        write_json(self.path / STATE, {"state": state, **details})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One owner at a time; others wait. The lock of a dead owner frees itself."""
        with locked(self.path / LOCK):
            for leftover in self.path.glob(".*.tmp"):
                leftover.unlink()
            if not (self.path / SPEC).exists():
                write_json(self.path / SPEC, asdict(self.spec))
            yield

    # -- artefacts ---------------------------------------------------------------------------------

    def manifest(self) -> dict[str, dict]:
        path = self.path / MANIFEST
        if not path.exists():
            return {}
        content = read_json(path)
        if not isinstance(content, dict) or content.get("sha256") != sha256_json(content.get("artefacts")):
            raise self._damaged(MANIFEST, "a manifest whose own SHA-256 holds", "another one")
        return content["artefacts"]

    def save(self, name: str, write: Callable[[Path], None]) -> None:
        """Let `write(path)` make the artefact, then enter it in the manifest."""
        with atomic_path(self.path / name) as temporary:
            write(temporary)
            line = {"size": temporary.stat().st_size, "sha256": sha256_file(temporary)}
        self._write_manifest({**self.manifest(), name: line})

    def delete(self, *names: str) -> None:
        """The manifest line first: a file without one does not count. Without names nothing is written."""
        if not names:
            return
        self._write_manifest({name: line for name, line in self.manifest().items() if name not in names})
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def _write_manifest(self, artefacts: dict[str, dict]) -> None:
        write_json(self.path / MANIFEST, {"artefacts": artefacts, "sha256": sha256_json(artefacts)})

    def artefact(self, name: str) -> Path:
        """Path of an artefact after checking its size and SHA-256; LabError if it is damaged."""
        line, path = self.manifest().get(name), self.path / name
        if line is None:
            fix = f"train this run first (state: {self.state})"
            raise LabError.mismatch(path, "an artefact of a finished run", "none", fix)
        self._check(name, line)
        return path

    def is_finished(self) -> bool:
        """Whether it is done, and nothing is left over of a kill while tidying up.

        Raises LabError unless every artefact of a finished run is there in its size, the small ones with what
        they were written with. Weights and predictions, which take long to hash, are checked when they are read.
        """
        artefacts = self.manifest()
        if RESULT not in artefacts or any(map(_is_checkpoint, artefacts)):
            return False
        for name, line in artefacts.items():
            self._check(name, line, largest=SMALL)
        return True

    def _check(self, name: str, line: dict, largest: float = math.inf) -> None:
        """LabError where an artefact is not as its line says; beyond `largest` bytes only its size is looked at."""
        path = self.path / name
        if not path.is_file():
            raise self._damaged(name, "a file", "none")
        if path.stat().st_size != line["size"]:
            raise self._damaged(name, f"{line['size']} bytes", f"{path.stat().st_size}")
        if line["size"] <= largest and (found := sha256_file(path)) != line["sha256"]:
            raise self._damaged(name, f"SHA-256 {line['sha256'][:12]}...", f"{found[:12]}...")

    def _damaged(self, name: str, expected: str, found: str) -> LabError:
        fix = f"delete the folder {self.id} and run the same command again"
        return LabError.mismatch(self.path / name, expected, found, fix)

    def save_tensors(self, name: str, tensors: dict[str, torch.Tensor], about: dict | None = None) -> None:
        """Tensors in one safetensors file; `about` (JSON) rides in its header, so both land together."""
        from safetensors.torch import save_file

        tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        header = {"about": json.dumps(about or {}, sort_keys=True, allow_nan=False)}
        self.save(name, lambda path: save_file(tensors, path, metadata=header))

    def load_tensors(self, name: str) -> tuple[dict[str, torch.Tensor], dict]:
        from safetensors import SafetensorError, safe_open

        path = self.artefact(name)
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("about", "{}"))
                return {key: file.get_tensor(key) for key in file.keys()}, about  # noqa: SIM118
        except (SafetensorError, ValueError) as error:
            raise self._damaged(name, "a safetensors file", str(error)) from error

    def save_json(self, name: str, value: Any) -> None:
        self.save(name, lambda path: write_json(path, value))

    def load_json(self, name: str) -> Any:
        return read_json(self.artefact(name))

    @property
    def result(self) -> dict:
        """Accuracies and intervals of a finished run."""
        return self.load_json(RESULT)

    # -- checkpoints -------------------------------------------------------------------------------

    def save_checkpoint(self, step: int, epoch: int, tensors: dict[str, torch.Tensor], about: dict) -> None:
        """Add a checkpoint, unless this very point has one, and keep the last two."""
        name = f"checkpoint-{step:08d}-{epoch:05d}.safetensors"
        if name not in self.manifest():
            self.save_tensors(name, tensors, about)
            self.delete(*self.checkpoints()[:-2])

    def checkpoints(self) -> list[str]:
        return sorted(filter(_is_checkpoint, self.manifest()))

    def load_checkpoint(self) -> tuple[dict[str, torch.Tensor], dict] | None:
        """The newest checkpoint that verifies; a damaged one is named and dropped, the one before it used."""
        for name in reversed(self.checkpoints()):
            try:
                return self.load_tensors(name)
            except LabError as error:
                told = f"{error.path}: {error.reason}; going back to the checkpoint before it"
                print(f"labkit: {told}", file=sys.stderr)
                self.delete(name)
        return None


def _is_checkpoint(name: str) -> bool:
    return name.startswith("checkpoint-")


class RunStore:
    """All runs under one folder."""

    def __init__(self, root: str | os.PathLike):
        self.root = Path(root)

    def open(self, spec: RunSpec) -> Run:
        """The run of that specification, new or not; nothing is written until it is locked."""
        return Run(self.root / spec.id, spec)

    def get(self, run_id: str) -> Run:
        """The run of that id; LabError when there is none or its specification does not match its name."""
        path = self.root / run_id
        content = read_json(path / SPEC)
        spec = RunSpec(**{**content, "parents": tuple(content["parents"])})
        run = Run(path, spec)
        if spec.id != run_id:
            raise run._damaged(SPEC, f"the specification of {run_id}", f"that of {spec.id}")
        return run

    def runs(self) -> list[Run]:
        """All runs, in the order of their names."""
        return [self.get(path.parent.name) for path in sorted(self.root.glob(f"*/{SPEC}"))]


@contextmanager
def making(run: Run) -> Iterator[bool]:
    """Owns a run for as long as it is made, and tells whether it is still to be made; a failure is noted in it.

    Of several processes that train together the main one holds the lock, and all are told alike. Afterwards
    the checkpoints are deleted.
    """
    from accelerate.utils import broadcast_object_list

    from .processes import meet

    main = meet().is_main_process
    with run.lock() if main else nullcontext():
        missing = broadcast_object_list([main and not run.done])[0]
        try:
            yield missing
        except LabError as error:
            if main:
                run.set_state("failed", reason=str(error))
            raise
        if main:
            run.delete(*run.checkpoints())


def of_role(tensors: dict[str, torch.Tensor], role: str) -> dict[str, torch.Tensor]:
    """The tensors named `role.*`, without that prefix: the state dict of one stream."""
    return {name[len(role) + 1 :]: value for name, value in tensors.items() if name.startswith(role + ".")}
