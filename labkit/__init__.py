"""labkit: what can a depth camera, present only while training, teach a network that will only ever see RGB?

Importing the package loads nothing heavy; each module is loaded when it is first used, so that
`labkit --help` answers at once. READING_ORDER is also the order in which modules may import one another.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

READING_ORDER = (
    "errors", "files", "progress", "parallel", "types", "config", "machine", "skeletons", "alignment",
    "registration", "media", "frames", "clips", "footage", "corruptions", "maps", "roots", "ntu", "protocols",
    "other_sets", "pairs", "catalog", "rendering", "puppet_body", "puppet_actions", "puppet_sensors",
    "puppet_clips", "puppets", "store", "reading", "sources", "datasets", "examination", "inspection",
    "registration_report", "backbones", "model", "losses", "system_losses", "distillers", "metrics", "runs",
    "lab", "roles", "augment", "feeds", "lessons", "exchange", "processes", "sessions", "fitting", "tasks", "trainers",
    "systems", "stress", "noise", "discrepancies", "open_points", "trainings", "nodes", "executors", "graph",
    "launching", "standings", "rows", "targets", "robustness", "likeness", "probes", "cues", "style", "records",
    "pictures", "curves", "claims", "verdicts", "effects", "noise_figures", "result_figures", "map_figures",
    "registration_figures", "figures", "exhibits", "panels", "widgets", "explorers", "onnx_file", "prediction",
    "provenance", "model_card", "export", "tutor", "step_checks", "connection_checks", "loss_checks",
    "map_checks", "noise_checks", "system_checks", "claim_checks", "checks", "notebooks", "course", "site",
    "kernels", "series", "leaving", "course_commands", "data_commands", "target_commands", "cli",
)  # fmt: skip


def __getattr__(name: str):
    if name in READING_ORDER:
        return importlib.import_module(f"labkit.{name}")
    if name == "LabError":
        return importlib.import_module("labkit.errors").LabError
    raise AttributeError(f"module 'labkit' has no attribute {name!r}")
