"""An export is one ONNX file that carries its own description, sealed by SHA-256; here it is opened with care.

Opening it trusts nothing: a file of another kind, a flipped bit, data that lie elsewhere, an operator
that no export of the lab uses, or a description that does not fit the graph is a LabError. A
`torch.export` file is never opened, since reading one unpickles, which can run code.

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
from ..files import sha256_bytes, sha256_json
from ..tools.machine import available_cores

FORMAT = 1  # of the description; raise it when its keys change
KEY = "labkit"  # under which it stands in the file's metadata
ONNX_FILE, TORCH_FILE = "model.onnx", "model.pt2"
EXPORTS = Path("runs", "exports")  # of the project folder, one folder per run
INPUT, OUTPUTS = "frames", ("logits", "hallucination_maps")
MAX_BYTES, MAX_CLASSES, MAX_FRAMES, MAX_SIZE = 1 << 30, 10_000, 64, 1024
# Plain arithmetic. No loops, no branches, no custom operators, nothing that makes tensors of any size from a number.
OPERATORS = {
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "Conv", "Div", "Flatten",
    "Floor", "Gather", "Gemm", "GlobalAveragePool", "Identity", "MatMul", "MaxPool", "Mul", "Pad", "ReduceMean",
    "Relu", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze",
}  # fmt: skip
_AGAIN = "export the run again: labkit export RUN"


@dataclass(frozen=True)
class Model:
    """Something that answers: `about` describes it (see `export.describe`), `answer` computes.

    `answer` takes uint8 (B,T,3,S,S) and returns float32 logits (B,K) and maps (B,T,h,w).
    """

    about: dict[str, Any]
    answer: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

    @property
    def sees(self) -> tuple[int, int, dict | None]:
        """Number of frames, their size in pixels, and the crop: what `footage` asks for."""
        return self.about["num_frames"], self.about["size"], self.about["crop"]


def find_export(home: Path) -> Path:
    """The one export in `home`/runs/exports; LabError when there is none, or several."""
    exports = sorted(path.parent for path in (home / EXPORTS).glob(f"*/{ONNX_FILE}"))
    if len(exports) != 1:
        names = ", ".join(path.name for path in exports) or "none"
        fix = "export a run with labkit export RUN, or name an export with --model or a run with --run"
        raise LabError.mismatch(home / EXPORTS, "one export to ask", names, fix)
    return exports[0]


def open_export(path: str | os.PathLike, threads: int | None = None) -> Model:
    """The model in an export's folder or ONNX file, computed by ONNX Runtime on `threads` cores (all)."""
    path = Path(path) / ONNX_FILE if Path(path).is_dir() else Path(path)
    if path.suffix == Path(TORCH_FILE).suffix:
        fix = f"name {ONNX_FILE} beside it: reading a torch.export file can run code"
        raise LabError.mismatch(path, "an ONNX file", "a torch.export file", fix)
    data = _read(path)
    about = unseal(data, path)
    return Model(about, _session(path, data, about, threads or available_cores()))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LabError.mismatch(path, f"at most {MAX_BYTES} bytes", path.stat().st_size, _AGAIN)
        if not path.is_file():
            raise LabError.mismatch(path, "an ONNX file", "something else", _AGAIN)
        return path.read_bytes()
    except OSError as error:
        raise LabError.mismatch(path, "an exported model", error.strerror or error, _AGAIN) from error


def need(package: str) -> ModuleType:
    """A package of the `export` extra, or a LabError that says how to install it."""
    try:
        return import_module(package)
    except ImportError as error:
        fix = "pip install -e '.[export]' in your copy of the lab"
        raise LabError.mismatch(None, f"the package {package}", str(error), fix) from error


def seal(graph: bytes, about: dict[str, Any]) -> bytes:
    """An ONNX file with its description appended, and the SHA-256 of both in it."""
    onnx = need("onnx")
    content = {**about, "graph": {"bytes": len(graph), "sha256": sha256_bytes(graph)}}
    sealed = json.dumps({"content": content, "sha256": sha256_json(content)}, sort_keys=True)
    entry = onnx.StringStringEntryProto(key=KEY, value=sealed)
    return graph + onnx.ModelProto(metadata_props=[entry]).SerializeToString()  # two messages in a row are one


def unseal(data: bytes, path: str | os.PathLike) -> dict[str, Any]:
    """The description of an ONNX file after all checks that need no ONNX Runtime."""
    onnx = need("onnx")
    try:
        model = onnx.ModelProto.FromString(data)
        values = [entry.value for entry in model.metadata_props if entry.key == KEY]
    except Exception as error:  # protobuf's own kinds of error, one per implementation
        raise LabError.mismatch(path, "an ONNX file", "another kind of file, or a damaged one", _AGAIN) from error
    try:
        (value,) = values
        sealed = json.loads(value)
        content = sealed["content"]
        intact = sealed["sha256"] == sha256_json(content)
        length = content["graph"]["bytes"]
        intact = intact and content["graph"]["sha256"] == sha256_bytes(data[:length])
        (field, entries), *more = onnx.ModelProto.FromString(data[length:]).ListFields()
        intact = intact and field.name == "metadata_props" and len(entries) == 1 and not more
    except Exception as error:  # whatever strange JSON can lead to
        found = "none, or one that cannot be read"
        raise LabError.mismatch(path, f"the description {KEY!r} of an export", found, _AGAIN) from error
    if not intact:
        raise LabError.mismatch(path, "content that matches its SHA-256", "other content", _AGAIN)
    _check_about(content, path)
    _check_graph(model, path)
    return content


def _check_about(about: dict[str, Any], path: str | os.PathLike) -> None:
    classes, crop = about.get("classes"), about.get("crop")
    whole = isinstance(classes, list) and all(isinstance(name, str) and name.isprintable() for name in classes)
    legal = {
        f"format {FORMAT}": about.get("format") == FORMAT,
        f"2 to {MAX_CLASSES} classes with printable names": whole and 2 <= len(classes) <= MAX_CLASSES,
        f"1 to {MAX_FRAMES} frames": _is_count(about.get("num_frames"), MAX_FRAMES),
        f"frames of 1 to {MAX_SIZE} pixels": _is_count(about.get("size"), MAX_SIZE),
        "a crop within the frame, or null": crop is None or _is_crop(crop),
        "a run, a protocol, an accuracy and the name of its data": _is_known(about),
    }
    for expected, holds in legal.items():
        if not holds:
            raise LabError.mismatch(path, f"a description with {expected}", "another one", _AGAIN)


def _is_known(about: dict[str, Any]) -> bool:
    data = about.get("data")
    texts = [about.get(key) for key in ("run", "protocol", "maps_of")]
    texts.append(data.get("name") if isinstance(data, dict) else None)
    return "accuracy" in about and all(isinstance(text, str) and text.isprintable() for text in texts)


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _is_crop(crop: object) -> bool:
    try:
        left, top, right, bottom = crop["box"]
        return 0 <= left < right <= 1 and 0 <= top < bottom <= 1 and 0.01 < crop["shape"] < 100
    except (TypeError, KeyError, ValueError, IndexError):
        return False


def _check_graph(model: Any, path: str | os.PathLike) -> None:
    """One flat graph of plain operators whose weights lie in the file itself."""
    attribute = need("onnx").AttributeProto
    plain = {getattr(attribute, kind) for kind in ("FLOAT", "INT", "STRING", "TENSOR", "FLOATS", "INTS", "STRINGS")}
    graph, found = model.graph, []
    tensors = list(graph.initializer)
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            found.append(f"the operator {node.op_type!r}")
        found += [f"a nested part in {node.op_type!r}" for held in node.attribute if held.type not in plain]
        tensors += [held.t for held in node.attribute if held.HasField("t")]
    if model.functions or model.training_info or graph.sparse_initializer:
        found.append("functions, training data or sparse weights")
    if any(tensor.data_location or tensor.external_data for tensor in tensors):
        found.append("weights in another file")
    if found:
        raise LabError.mismatch(path, "plain operators with their weights inside", found[0], _AGAIN)


def _session(path: Path, data: bytes, about: dict[str, Any], threads: int) -> Callable:
    """The `answer` of a `Model`; raises LabError when the graph and its description part ways."""
    runtime = need("onnxruntime")
    runtime.disable_telemetry_events()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 4
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # one class per error code, none of them public
        raise LabError.mismatch(path, "a graph that ONNX Runtime loads", str(error)[:200], _AGAIN) from error
    frames, size, classes = about["num_frames"], about["size"], len(about["classes"])
    every = (*session.get_inputs(), *session.get_outputs())
    ports = [(port.name, port.type, (port.shape or [])[1:]) for port in every]
    maps = ports[-1][2][1:] if ports else []
    expected = [
        (INPUT, "tensor(uint8)", [frames, 3, size, size]),
        (OUTPUTS[0], "tensor(float)", [classes]),
        (OUTPUTS[1], "tensor(float)", [frames, *maps]),
    ]
    if ports != expected or len(maps) != 2 or not all(_is_count(side, size) for side in maps):
        raise LabError.mismatch(path, f"inputs and outputs {expected}", str(ports)[:300], _AGAIN)

    def answer(clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return tuple(session.run(list(OUTPUTS), {INPUT: clips}))
        except Exception as error:
            raise LabError.mismatch(path, "a graph that computes", str(error)[:200], _AGAIN) from error

    return answer
