"""The streams of finished runs, by the role each has there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from .clips import clip_seed
from .config import ModelConfig
from .errors import LabError
from .lab import Lab
from .runs import WEIGHTS, Run, of_role

if TYPE_CHECKING:
    from .model import Stream


def load_stream(run: Run, role: str) -> Stream:
    """A stream of a finished run by its role: "stream", "source", "target" or "hallucination"."""
    from .model import build_stream

    weights, _ = run.load_tensors(WEIGHTS)
    chosen = of_role(weights, role)
    if not chosen:
        roles = ", ".join(sorted({name.partition(".")[0] for name in weights}))
        raise LabError.mismatch(run.path / WEIGHTS, f"a stream in the role {role!r}", roles, "name one of these roles")
    config = run.spec.config
    model = replace(ModelConfig(**config["model"]), pretrained=False)
    stream = build_stream(model, config["classes"], config["clips"]["num_frames"])
    stream.load_state_dict(chosen)
    return stream


def modality_of(run: Run, role: str) -> str:
    """What the stream in that role sees: "rgb", "depth", ..."""
    return run.spec.config["modalities"][role]


@contextmanager
def seeded_weights(lab: Lab, purpose: str) -> Iterator[None]:
    """Initial weights as a function of (seed, purpose); the surrounding generator is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(clip_seed(lab.seed, "weights", 0, purpose))
        yield
