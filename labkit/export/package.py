"""The RGB-only model leaves the lab: ONNX and torch.export, with its description inside and a card beside it.

Only a run whose every modality is RGB can leave; one that needs depth is refused. `predict_video` of
`prediction` is offered here, too.
"""

from __future__ import annotations

import io
import json
import math
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..clips import IMAGENET_MEAN, IMAGENET_STD, VGG_MEAN
from ..config import ModelConfig
from ..errors import LabError
from ..files import atomic_folder, sha256_file, write_json
from ..lab import Lab
from ..model import NUM_BLOCKS, Stream, TwoStream
from ..runs import WEIGHTS, Run
from ..trainers import load_stream
from .model_card import CARD, model_card
from .onnx_file import FORMAT, INPUT, ONNX_FILE, OUTPUTS, TORCH_FILE, Model, need, open_export, seal
from .prediction import predict_video
from .provenance import READINGS, describe, hallucinating

__all__ = ["RgbOnly", "eager_model", "export_onnx", "open_export", "predict_video", "rgb_only"]

ABOUT_FILE = "model.json"
MAX_PAIRS, SECONDS = 15, 4.0  # answers, or time, that the speed told by `labkit export` rests on
TOLERANCE = 1e-4  # largest difference of logits that is let pass, as a share of the largest logit
MIN_MAP = 7  # positions a side: maps of fewer are too coarse to lay over a frame
BLOCK_STRIDES = {block: 2 ** (block + 1) for block in range(1, NUM_BLOCKS + 1)}  # pixels of a frame per position


class RgbOnly(nn.Module):
    """Frames, uint8 (batch, T, 3, S, S) RGB, to logits (batch, classes) and maps (batch, T, h, w).

    The maps are the mean over channels at the end of `block` of the stream in the role `maps_of`, for
    two tied streams; a single stream shows its own.
    """

    def __init__(self, network: Stream | TwoStream, maps_of: str, block: int, normalization: str):
        super().__init__()
        self.network, self.maps_of, self.block, self.normalization = network, maps_of, block, normalization
        imagenet = normalization == "imagenet"
        scale = [1 / (255 * std) for std in IMAGENET_STD] if imagenet else [1.0, 1.0, 1.0]
        shift = [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
        for name, values in (("scale", scale), ("shift", shift if imagenet else [-mean for mean in VGG_MEAN])):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(3, 1, 1))

    @property
    def kind(self) -> str:
        """As in `provenance.READINGS`."""
        return "pair" if isinstance(self.network, TwoStream) else self.maps_of

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        clip = self.normalize(frames)
        pair = isinstance(self.network, TwoStream)
        output = self.network(clip, clip) if pair else self.network(clip)
        stream = getattr(output, self.maps_of) if pair else output
        maps = stream.blocks[self.block - 1].mean(dim=1)
        return output.logits, maps.unflatten(0, (-1, frames.shape[1]))

    def normalize(self, frames: Tensor) -> Tensor:
        """`clips.normalize` for RGB, in operators that ONNX has."""
        clip = frames.to(torch.float32) * self.scale + self.shift
        return clip if self.normalization == "imagenet" else clip.clamp(0, 255).floor()


def rgb_only(run: Run) -> RgbOnly:
    """The network of a finished run, ready to leave; LabError when it needs more than RGB."""
    config, path = run.spec.config, run.path / WEIGHTS
    other = sorted(set(config["modalities"].values()) - {"rgb"})
    if other:
        fix = "name a run of step 4, or another one that sees RGB alone"
        raise LabError.mismatch(path, "a run that needs RGB alone", f"one that needs {', '.join(other)}", fix)
    if config.get("train", {}).get("bn_at_test") == "batch":
        fix = 'train with bn_at_test="running"'
        raise LabError.mismatch(path, "answers that do not depend on the batch", "batch statistics at test", fix)
    weights, _ = run.load_tensors(WEIGHTS)
    roles = sorted({name.partition(".")[0] for name in weights})
    if roles != ["source", "target"] and (len(roles) != 1 or roles[0] not in READINGS):
        fix = "name a run with one stream, or with two tied together"
        raise LabError.mismatch(path, "one stream or two", ", ".join(roles) or "none", fix)
    try:
        network, maps_of = _network(run, roles)
    except (RuntimeError, TypeError, KeyError, MemoryError) as error:
        fix = f"delete the folder {run.id} and train the run again"
        raise LabError.mismatch(path, "weights that fit the run's specification", error, fix) from error
    sides = {block: config["clips"]["size"] // stride for block, stride in BLOCK_STRIDES.items()}
    block = max((block for block, side in sides.items() if side >= MIN_MAP), default=1)
    return RgbOnly(network, maps_of, block, config["clips"]["normalization"]).eval().requires_grad_(False)


def _network(run: Run, roles: list[str]) -> tuple[Stream | TwoStream, str]:
    """The streams as they were trained together, and the role of the one whose maps are shown."""
    model = ModelConfig(**run.spec.config["model"])
    streams = {role: load_stream(run, role) for role in roles}
    if len(streams) == 1:
        return streams[roles[0]], roles[0]
    return TwoStream(**streams, connection=model.connection, connect_at=model.connect_at), hallucinating(run)[0]


def eager_model(run: Run, lab: Lab) -> Model:
    """The run's own network as it is, for where ONNX Runtime is not installed."""
    network = rgb_only(run)
    return Model(_about(run, lab, network), eager_answer(network))


def eager_answer(network: Callable) -> Callable:
    """A network or a torch.export program as the `answer` of a `Model`."""

    def answer(clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            return tuple(output.numpy() for output in network(torch.from_numpy(clips)))

    return answer


def _about(run: Run, lab: Lab, network: RgbOnly) -> dict[str, Any]:
    about = describe(run, lab, network.kind)
    shape = f"(batch, {about['num_frames']}, 3, {about['size']}, {about['size']})"
    return {
        **about, "format": FORMAT, "torch": str(torch.__version__), "input": f"{INPUT}: uint8 {shape}, RGB",
        "outputs": list(OUTPUTS), "block": network.block,
        "maps_of": "hallucination" if hallucinating(run)[1] else network.maps_of,
    }  # fmt: skip


def export_onnx(run: Run, lab: Lab, folder: str | os.PathLike) -> dict[str, Any]:
    """Write ONNX, torch.export, description and card into a new folder; returns the description.

    "parity" in it is the largest difference of logits from the eager network's, as a share of the
    largest logit, by file. The folder gets its name once the files have been read back and agree within 1e-4.
    Raises LabError for a run that needs depth, a missing package, a folder that holds something
    already or cannot be written, or when the logits differ.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise LabError.mismatch(folder, "a new folder", "one that holds something", "name another one with --out")
    need("onnxscript")
    network = rgb_only(run)
    about = _about(run, lab, network)
    program = trace(network, about)
    with atomic_folder(folder) as temporary:
        (temporary / TORCH_FILE).write_bytes(_archive(program, about))
        (temporary / ONNX_FILE).write_bytes(seal(to_onnx(program), about))
        answers = {ONNX_FILE: open_export(temporary).answer, TORCH_FILE: eager_answer(program.module())}
        parity = {name: difference(answer, eager_answer(network), about) for name, answer in answers.items()}
        for name, found in parity.items():
            if not found <= TOLERANCE:
                fix = "install torch, onnx, onnxscript and onnxruntime anew: pip install -U -e '.[export]'"
                raise LabError.mismatch(folder / name, f"logits within {TOLERANCE} of eager", found, fix)
        files = {name: {"sha256": sha256_file(temporary / name), "parity": found} for name, found in parity.items()}
        write_json(temporary / ABOUT_FILE, {**about, "files": files})
        (temporary / CARD).write_bytes(model_card(about, max(parity.values())).encode("utf-8"))
    return {**about, "parity": parity}


def trace(network: RgbOnly, about: dict[str, Any]) -> torch.export.ExportedProgram:
    """The network as a program for batches of any size, without notes of where on this machine its code stands."""
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about their own insides
        example = (torch.from_numpy(noise(2, about)),)
        program = torch.export.export(network, example, dynamic_shapes={INPUT: {0: batch}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _archive(program: torch.export.ExportedProgram, about: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, buffer, extra_files={ABOUT_FILE: json.dumps(about, sort_keys=True)})
    return buffer.getvalue()


def to_onnx(program: torch.export.ExportedProgram) -> bytes:
    """The program as an ONNX file, without the exporter's notes on every node."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": [INPUT], "output_names": list(OUTPUTS)}
        model = torch.onnx.export(program, **names, dynamo=True, verbose=False).model_proto
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model.SerializeToString(deterministic=True)


def noise(batch: int, about: dict[str, Any]) -> np.ndarray:
    """Clips of random pixels, (batch, T, 3, S, S), always the same."""
    shape = (batch, about["num_frames"], 3, about["size"], about["size"])
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def difference(ours: Callable, eager: Callable, about: dict[str, Any]) -> float:
    """Largest difference of logits as a share of the largest logit, over batches of 1 and 3 clips of noise."""
    shares = []
    for batch in (1, 3):
        found, expected = (answer(noise(batch, about))[0] for answer in (ours, eager))
        shares.append(float(np.abs(found - expected).max() / np.abs(expected).max()))
    return max(shares)


def measure(run: Run, folder: Path) -> tuple[float, float, float]:
    """`speed_ratio` of an export against its run's own network, one clip at a time, both on one thread."""
    model, network, threads = open_export(folder, threads=1), rgb_only(run), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return speed_ratio(model.answer, eager_answer(network), noise(1, model.about), MAX_PAIRS, SECONDS)
    finally:
        torch.set_num_threads(threads)


def speed_ratio(ours: Callable, eager: Callable, clips: np.ndarray, pairs: int = 5, budget: float = math.inf,
                clock: Callable[[], float] = time.process_time) -> tuple[float, float, float]:  # fmt: skip
    """Median of paired ratios of CPU time, eager over ours, taken in turn, and the median seconds of ours and eager.

    CPU time does not count what other programs take of a busy machine. After `budget` seconds of the
    clock on the wall no further pair is begun.
    """
    times: tuple[list[float], list[float]] = ([], [])
    until = time.monotonic() + budget
    for number in range(-1, pairs):  # the first round warms up
        if number > 0 and time.monotonic() > until:
            break
        for which in (0, 1) if number % 2 else (1, 0):
            begin = clock()
            (ours, eager)[which](clips)
            if number >= 0:
                times[which].append(max(clock() - begin, 1e-9))
    ratios = [slow / fast for fast, slow in zip(*times, strict=True)]
    return statistics.median(ratios), statistics.median(times[0]), statistics.median(times[1])
