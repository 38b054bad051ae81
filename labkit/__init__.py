"""labkit: what can a depth camera, present only while training, teach a network that will only ever see RGB?

The modules beside this file are the paper, and can be read in this order: `config` (every number with its source),
`alignment` and `clips` (from two cameras to a batch), `model` (one stream, two streams), `losses` (eq. 3 to 7),
`fit` (the training loop), `trainers` (the four steps), `runs` and `lab` (where results are kept); `files`, `processes`
and `errors` serve them. The folders are rooms with one purpose each; `data` is the next to read. Imports run one way:
the front room imports none of them, but for `open_lab`, which asks `puppets` for clips when it is called.

Importing the package loads nothing heavy: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

PUBLIC = {
    "LabError": "errors",
    "PROFILES": "config",
    "Alignment": "alignment",
    "estimate_ratio": "alignment",
    "fit_alignment": "alignment",
    "colorize_depth": "clips",
    "sample_frames": "clips",
    "Stream": "model",
    "TemporalConv": "model",
    "TwoStream": "model",
    "freeze": "model",
    "inject": "model",
    "soft_targets": "losses",
    "generalized_distillation_loss": "losses",
    "hallucination_loss": "losses",
    "distillation_loss": "losses",
    "train_stream": "trainers",
    "train_two_stream": "trainers",
    "distill_hallucination": "trainers",
    "finetune_rgb_only": "trainers",
    "open_lab": "lab",
}

__all__ = [*PUBLIC]


def __getattr__(name: str):
    if name in PUBLIC:
        return getattr(importlib.import_module(f"labkit.{PUBLIC[name]}"), name)
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")
