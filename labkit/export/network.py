"""The network of a run that needs RGB alone, as it leaves the lab: normalisation inside, maps beside the logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..clips import IMAGENET_MEAN, IMAGENET_STD, VGG_MEAN
from ..errors import LabError
from ..model import NUM_BLOCKS, Stream, TwoStream
from ..runs import SPEC, WEIGHTS, Run, RunStore
from ..trainers import load_network, role_of_single

MIN_MAP = 7  # positions a side: maps of fewer are too coarse to lay over a frame


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
    def reading(self) -> str:
        """What a run calls these logits."""
        if isinstance(self.network, TwoStream):
            return "fused"
        return "alone" if self.maps_of == "hallucination" else "stream"

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
    """The network of a finished run; LabError when it needs more than RGB, or more than one clip to answer."""
    config, path = run.spec.config, run.path / WEIGHTS
    other = sorted({*seen_by(run).values()} - {"rgb"})
    if other:
        fix = "name a run of step 3, step 4 or another one that sees RGB alone"
        raise LabError.mismatch(path, "a run that needs RGB alone", f"one that needs {', '.join(other)}", fix)
    if config.get("train", {}).get("bn_at_test") == "batch":
        fix = 'train with bn_at_test="running"'
        raise LabError.mismatch(path, "answers that do not depend on the batch", "batch statistics at test", fix)
    network, maps_of = load_network(run), role_of_single(run) or hallucinating(run)[0]
    size = config["clips"]["size"]  # block b has a position for every 2 ** (b + 1) pixels of a frame
    block = max((b for b in range(1, NUM_BLOCKS + 1) if size // 2 ** (b + 1) >= MIN_MAP), default=1)
    return RgbOnly(network, maps_of, block, config["clips"]["normalization"]).eval().requires_grad_(False)


def seen_by(run: Run) -> dict[str, str]:
    """What the streams of its own see, by role; not what its teachers see."""
    return {role: sees for role, sees in run.spec.config["modalities"].items() if not role.startswith("teacher")}


def hallucinating(run: Run) -> tuple[str, bool]:
    """The role, of a pair's, that took a teacher's place, and whether that teacher saw another modality.

    A pair that no step 3 led to has no such stream; then the source stands in.
    """
    for parent in parents_of(run):
        if "distill" in parent.spec.config:
            config = parent.spec.config
            return config["distill"].get("missing", "source"), config["modalities"]["teacher"] != "rgb"
    return "source", False


def parents_of(run: Run) -> list[Run]:
    """Those whose weights it starts from, where their folders lie beside it."""
    store = RunStore(run.path.parent)
    return [store.get(name) for name in run.spec.parents if (store.root / name / SPEC).exists()]


def eager_answer(network: nn.Module) -> Callable:
    """A network as the `answer` of a `Model`."""

    def answer(clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            return tuple(output.numpy() for output in network(torch.from_numpy(clips)))

    return answer
