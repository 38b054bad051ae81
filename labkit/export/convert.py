"""A run leaves the lab as an ONNX file with its description inside and its model card beside it.

Only a run whose every modality is RGB can leave; one that needs depth is refused. torch's exporter can verify a
model itself (`verify=True`), but then only logs what differs, from 5e-3 on: here the written file is read back,
and nothing is kept unless it answers as the eager network does.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import LabError
from ..files import atomic_folder, sha256_file, write_json
from ..lab import Lab, tell
from ..runs import Run
from .card import CARD, model_card
from .describe import describe
from .network import RgbOnly, eager_answer, rgb_only
from .onnx_model import ABOUT_FILE, INPUT, KEY, ONNX_FILE, OUTPUTS, need, open_export

TOLERANCE = 1e-4  # largest difference of logits that is let pass, as a share of the largest logit


def export_onnx(run: Run, lab: Lab, folder: str | os.PathLike) -> dict[str, Any]:
    """Write ONNX file, description and card into a new folder; returns the description.

    "parity" in it is the largest difference of logits from the eager network's, as a share of the largest
    logit. The folder gets its name once the file has been read back and agrees within 1e-4. Raises LabError
    for a run that needs depth, a missing package, a folder that holds something already or cannot be written,
    or when the logits differ.
    """
    folder = Path(folder)
    if folder.is_file():
        raise LabError.mismatch(folder, "a new folder", "a file", "name another place with --out")
    if folder.exists() and any(folder.iterdir()):
        raise LabError.mismatch(folder, "a new folder", "one that holds something", "name another one with --out")
    network = rgb_only(run)
    tell(f"exporting {run.id}: converted, read back and compared, in a minute or so")
    about = describe(run, lab, network)
    with atomic_folder(folder) as temporary:
        (temporary / ONNX_FILE).write_bytes(to_onnx(network, about))
        parity = difference(open_export(temporary).answer, eager_answer(network), about)
        if not parity <= TOLERANCE:
            fix = "install torch, onnx, onnxscript and onnxruntime anew: pip install -U -e '.[export]'"
            raise LabError.mismatch(folder / ONNX_FILE, f"logits within {TOLERANCE} of eager", parity, fix)
        files = {ONNX_FILE: {"sha256": sha256_file(temporary / ONNX_FILE), "parity": parity}}
        write_json(temporary / ABOUT_FILE, {**about, "files": files})
        (temporary / CARD).write_bytes(model_card(about, parity).encode("utf-8"))
    return {**about, "parity": parity}


def to_onnx(network: RgbOnly, about: dict[str, Any]) -> bytes:
    """The network as an ONNX file for batches of any size, with its description in the metadata.

    The exporter's notes of where on this machine the code of each node stands are left out.
    """
    onnx, _ = need("onnx"), need("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own insides
        model = torch.onnx.export(
            network, (torch.from_numpy(noise(2, about)),), input_names=[INPUT], output_names=list(OUTPUTS),
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch", min=1)}}, dynamo=True, verbose=False,
        ).model_proto  # fmt: skip
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.helper.set_model_props(model, {KEY: json.dumps(about, sort_keys=True)})
    onnx.checker.check_model(model, full_check=True)
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
