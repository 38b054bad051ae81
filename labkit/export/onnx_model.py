"""An exported model: one ONNX file that carries its own description, computed by ONNX Runtime without torch.

Frames go in as uint8 (batch, T, 3, S, S) RGB, normalisation is in the graph; out come "logits" (batch,
classes) and "hallucination_maps" (batch, T, h, w), the mean over channels of one block's maps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import LabError
from ..files import sha256_bytes
from ..tools.machine import available_cores

FORMAT = 2  # of the description; raise it when its keys change
KEY = "labkit"  # under which it stands in the file's metadata
ONNX_FILE, ABOUT_FILE = "model.onnx", "model.json"  # the second holds the description, too, and the first's SHA-256
EXPORTS = Path("runs", "exports")  # of the project folder, one folder per run
INPUT, OUTPUTS = "frames", ("logits", "hallucination_maps")
_AGAIN = "export the run again: labkit export RUN"


@dataclass(frozen=True)
class Model:
    """Something that answers: `about` describes it (see `describe.describe`), `answer` computes.

    `answer` takes uint8 (B,T,3,S,S) and returns float32 logits (B,K) and maps (B,T,h,w).
    """

    about: dict[str, Any]
    answer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def need(package: str) -> ModuleType:
    """A package of the `export` extra, or a LabError that says how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        fix = "pip install -e '.[export]' in your copy of the lab"
        raise LabError.mismatch(None, f"the package {package}", str(error), fix) from error


def find_export(home: Path) -> Path:
    """The one export in `home`/runs/exports; LabError when there is none, or several."""
    exports = sorted(path.parent for path in (home / EXPORTS).glob(f"*/{ONNX_FILE}"))
    if len(exports) != 1:
        names = ", ".join(path.name for path in exports) or "none"
        fix = "export a run with labkit export RUN, or name an export with --model or a run with --run"
        raise LabError.mismatch(home / EXPORTS, "one export to ask", names, fix)
    return exports[0]


def open_export(path: str | os.PathLike, threads: int | None = None) -> Model:
    """The model in an export's folder or ONNX file, computed by ONNX Runtime on `threads` cores (all).

    Raises LabError for a missing file, one that is no export, and one that is not as `model.json` beside it says.
    """
    runtime = need("onnxruntime")
    path = Path(path) / ONNX_FILE if Path(path).is_dir() else Path(path)
    data = _read(path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads or available_cores(), 4
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        about = json.loads(session.get_modelmeta().custom_metadata_map.get(KEY, "{}"))
    except Exception as error:  # one class per error code, none of them public
        found = "another kind of file, or a damaged one"
        raise LabError.mismatch(path, "an ONNX file that labkit export wrote", found, _AGAIN) from error
    if about.get("format") != FORMAT:
        found = f"format {about['format']}" if "format" in about else "no description"
        raise LabError.mismatch(path, f"the description of an export in format {FORMAT}", found, _AGAIN)
    return Model(about, lambda clips: tuple(session.run(list(OUTPUTS), {INPUT: clips})))


def _read(path: Path) -> bytes:
    """The file's bytes, those that were written where `model.json` lies beside it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LabError.mismatch(path, "an exported model", error.strerror or error, _AGAIN) from error
    beside = path.with_name(ABOUT_FILE)
    if beside.is_file() and sha256_bytes(data) not in beside.read_text(encoding="utf-8", errors="replace"):
        raise LabError.mismatch(path, f"the file that {ABOUT_FILE} beside it describes", "a damaged one", _AGAIN)
    return data
