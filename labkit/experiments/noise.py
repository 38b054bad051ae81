"""The noise study (Table 3): a finished two-stream network, clean RGB, and depth that gets worse.

Nothing is trained. The study is a run like any other, so that a target can be a reading of it. What
computes, in `stress`, is imported where it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import LabError
from ..lab import Lab
from ..runs import Run, making
from ..trainers import modality_of
from .corruptions import CORRUPTIONS, Corruption


def measure_noise(lab: Lab, two_stream: Run, corruptions: Sequence[Corruption] = tuple(CORRUPTIONS.values())) -> Run:
    """Score step 2's network on the test clips with every corruption of its depth, the other modality clean.

    `two_stream` is a run of step 2 whose source or target sees depth. The run keeps the fused logits of
    every test clip under each reading, "none", "speckle:1e-1", "void" and so on, with their accuracies. It
    goes on where a kill left it. Raises LabError where not exactly one of the streams sees depth.
    """
    roles = [role for role in ("source", "target") if modality_of(two_stream, role) == "depth"]
    if len(roles) != 1:
        found = f"{len(roles)} in {two_stream.id}"
        raise LabError.mismatch(None, "one stream that sees depth", found, "take a two-stream run of RGB and depth")
    about = {c.kind: {"severities": list(c.severities), "unit": c.unit, "source": c.source} for c in corruptions}
    parent = two_stream.spec.config
    config = {"model": parent["model"], "modalities": parent["modalities"], "corrupted": roles[0], "corruptions": about}
    run = lab.run("noise", config, (two_stream,))
    if not lab.needs(run):
        return run
    from .noise_scores import Study, score_all

    study = Study(lab, two_stream, roles[0], corruptions)
    with making(run) as missing:
        if missing:
            score_all(run, study, parent["train"]["bn_at_test"])
    return run
