"""The other systems: streams trained together, students of several teachers, and teachers' ensembles.

The same streams, data and budget as the paper's steps; only what is learned from whom differs. As in
`trainers`, what computes is imported where a task is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..config import DistillConfig, TrainConfig
from ..errors import LabError
from ..lab import Lab
from ..roles import load_stream, modality_of
from ..runs import PREDICTIONS, RESULT, Run
from ..trainers import obtain, trained

if TYPE_CHECKING:
    from torch import Tensor

    from ..fit import Task


def train_jointly(lab: Lab, depth: Run, rgb: Run, *, distill: DistillConfig) -> Run:
    """Hoffman et al. (CVPR 2016; rows 3-5): RGB, depth and hallucination in one stage, no connections.

    `depth` and `rgb` are runs of step 1; the hallucination starts from depth. `distill.objective` is
    what it learns from depth: "hallucination" (row 3), "generalized" (4) or "distillation" (5); the
    cross-entropies beside it are `distillers.joint_terms`. Budget: step 3's.
    Readings: "fused" (RGB + hallucination, RGB only, as in the paper), "alone", "rgb", "depth".
    """
    train, modalities = lab.profile.step3, {"rgb": modality_of(rgb, "stream"), "depth": modality_of(depth, "stream")}
    config = {"model": asdict(lab.profile.model), "train": asdict(train),
              "modalities": {**modalities, "hallucination": modalities["rgb"]},
              "distill": asdict(distill)}  # fmt: skip

    def task() -> Task:
        from ..tasks import one_stage_task

        return one_stage_task([load_stream(run, "stream") for run in (rgb, depth, depth)], modalities, distill)

    return trained(lab, lab.spec("joint", config, (depth, rgb)), train, task)


def distill_stream(
    lab: Lab,
    teachers: Sequence[Run],
    *,
    distill: DistillConfig,
    modality: str = "rgb",
    train: TrainConfig | None = None,
) -> Run:
    """One stage: a fresh stream learns from frozen single-stream teachers, each on its own modality.

    `teachers` are runs of step 1. The student's start and budget are those of the plain stream on
    that modality (row 2), which is thereby its control. "ensemble" is Radevski et al. (2023), "focal"
    FCKD-style, "generalized" eq. 5 alone, "mars" MARS. Reading: "stream".
    """
    train = train or lab.profile.step1
    sees = [modality_of(run, "stream") for run in teachers]
    config = {"model": asdict(lab.profile.model), "train": asdict(train), "distill": asdict(distill),
              "modalities": {**{f"teacher {n}": name for n, name in enumerate(sees)}, "stream": modality}}  # fmt: skip

    def task() -> Task:
        from ..tasks import student_task

        scales = teacher_weights(lab, teachers, distill) * len(teachers)
        taught_by = [(load_stream(run, "stream"), name, scale)
                     for run, name, scale in zip(teachers, sees, scales.tolist(), strict=True)]  # fmt: skip
        return student_task(lab, modality, taught_by, distill)

    return trained(lab, lab.spec("student", config, tuple(teachers)), train, task)


def teacher_weights(lab: Lab, teachers: Sequence[Run], distill: DistillConfig) -> Tensor:
    """How much each teacher counts whatever the clip, (teachers,), sum 1.

    Alike, but for weighting "dataset": the softmin of their mean cross-entropy on the validation
    clips, which no teacher was trained on (Radevski et al.; their code holds training clips out).
    """
    import torch

    from ..distillers import ensemble_weights

    if distill.weighting != "dataset":
        return torch.full((len(teachers),), 1 / len(teachers))
    logits, labels = _predictions(lab, teachers, "validation", "stream")
    temperature = distill.weighting_temperature
    return ensemble_weights(logits, labels, weighting="dataset", temperature=temperature)[:, 0]


def fuse_predictions(lab: Lab, teachers: Sequence[Run], *, weighting: str = "uniform") -> Run:
    """The teachers themselves as one classifier: the weighted mean of their logits, from kept predictions.

    It needs every teacher's modality at test. Nothing is trained. Reading: "fused".
    """
    distill = DistillConfig(weighting=weighting)
    modalities = {f"teacher {n}": modality_of(run, "stream") for n, run in enumerate(teachers)}
    spec = lab.spec("ensemble", {"modalities": modalities, "weighting": weighting}, tuple(teachers))

    def work(run: Run) -> None:
        import torch

        from ..fit import summary

        weights = teacher_weights(lab, teachers, distill)
        outputs, predictions = {}, {}
        for part in ("validation", "test"):
            logits, labels = _predictions(lab, teachers, part, "stream")
            fused = torch.einsum("m,mbk->bk", weights, logits)
            predictions[f"{part}/fused"] = fused
            outputs[part] = summary((fused.argmax(dim=1) == labels).numpy())
        ids = {part: list(getattr(lab.split, part)) for part in ("validation", "test")}
        run.save_tensors(PREDICTIONS, predictions, ids)
        run.save_json(RESULT, {"outputs": {"fused": outputs}, "primary": "fused", "weights": weights.tolist()})
        run.set_state("done")

    return obtain(lab, spec, work)


def _predictions(lab: Lab, runs: Sequence[Run], part: str, reading: str) -> tuple[Tensor, Tensor]:
    """Kept logits (runs, clips, classes) and the clips' labels (clips,)."""
    import torch

    kept = [run.load_tensors(PREDICTIONS) for run in runs]
    ids = list(getattr(lab.split, part))
    for run, (_, about) in zip(runs, kept, strict=True):
        if about[part] != ids:
            fix = "train these runs on one split"
            raise LabError.mismatch(run.path / PREDICTIONS, f"the {part} clips of {lab.split.name}", "others", fix)
    logits = torch.stack([tensors[f"{part}/{reading}"] for tensors, _ in kept])
    return logits, torch.from_numpy(lab.clips.labels[lab.clips.rows(ids)])
