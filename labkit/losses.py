"""The paper's losses (section 3.1, eq. 3 to 7) as pure functions, and what a stream can be asked to learn.

Each states its reduction. The teacher is a target: no gradient reaches it. Sums run in single
precision or better, whatever the precision of the network.

An objective takes what student and teacher put out for the same clips, the labels and the settings; it returns
named scalars, with the one to minimise under "total". Those of other systems stand in `experiments.system_losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .clips import UNLABELLED
from .config import DistillConfig
from .errors import LabError
from .model import Features, Labels, Logits, Scalar, StreamOutput

Reduction = Literal["sum", "mean", "clip"]


def soft_targets(logits: Logits, temperature: float) -> Logits:
    """Probabilities softmax(logits / temperature) (eq. 6); flat as the temperature grows."""
    return F.softmax(_wide(logits) / temperature, dim=-1)


def generalized_distillation_loss(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    *,
    imitation: float = 0.5,
    temperature: float = 10.0,
    student_temperature: float = 1.0,
    temperature_squared: bool = False,
) -> Scalar:
    """(1 - imitation) * hard + imitation * soft cross-entropy, mean over clips (eq. 5).

    The hard term is to the labels, the soft one to the teacher at `temperature`. A clip without a label
    (`clips.UNLABELLED`) adds nothing to the hard term, which is divided by all clips. The authors' code
    divides the student by T too (`student_temperature`), which makes the soft gradient about T
    squared times smaller; `temperature_squared` makes up for that, as in their later port.
    """
    student = _wide(student_logits)
    hard = F.cross_entropy(student, labels, ignore_index=UNLABELLED, reduction="sum") / len(labels)
    targets = soft_targets(teacher_logits.detach(), temperature)
    soft = F.cross_entropy(student / student_temperature, targets)
    if temperature_squared:
        soft = soft * temperature**2
    return (1 - imitation) * hard + imitation * soft


def hallucination_loss(
    student_features: Features,
    teacher_features: Features,
    *,
    reduction: Reduction = "sum",
    num_frames: int = 5,
) -> Scalar:
    """Squared distance of the sigmoids of two maps (batch*time, channel, height, width) (eq. 3).

    "sum" is the squared norm over the whole batch, so it grows with the batch; "mean" is per
    element; "clip" is the sum over the `num_frames` maps of a clip, mean over clips. After ReLU the
    sigmoids lie in [0.5, 1), so an element adds less than 0.25.
    Raises LabError when `num_frames` does not divide the number of maps.
    """
    gap = torch.sigmoid(_wide(student_features)) - torch.sigmoid(_wide(teacher_features.detach()))
    if reduction == "mean":
        return gap.square().mean()
    total = gap.square().sum()
    if reduction == "sum":
        return total
    if reduction != "clip":
        raise LabError.mismatch(None, "reduction sum, mean or clip", repr(reduction), "use one of them")
    num_clips, rest = divmod(len(gap), num_frames)
    if rest or not num_clips:
        raise LabError.mismatch(None, f"a multiple of {num_frames} maps", len(gap), "set num_frames to the clips'")
    return total / num_clips


def normalized_feature_loss(student_features: Features, teacher_features: Features) -> Scalar:
    """Mean squared difference of two maps over the variance of the teacher's: 1 is no better than its mean.

    Not the paper's: eq. 3 squashes maps by a sigmoid and grows with their size; this is the same
    for every layer, whatever its scale.
    """
    teacher = _wide(teacher_features.detach())
    return F.mse_loss(_wide(student_features), teacher) / teacher.var().clamp_min(1e-6)


def distillation_loss(
    student_logits: Logits,
    teacher_logits: Logits,
    labels: Labels,
    student_features: Features,
    teacher_features: Features,
    *,
    feature_weight: float = 0.5,
    hall_weight: float = 1.0,
    reduction: Reduction = "clip",
    **soft: Any,
) -> Scalar:
    """(1 - feature_weight) * L_GD + feature_weight * hall_weight * L_hall (eq. 7).

    `soft` are settings of L_GD, eq. 5. The defaults are the paper's text, per clip. The released code has
    student_temperature=10, hall_weight=0.01 and reduction="sum". The authors' later port,
    hard + T^2 * soft + 0.01 * L_hall, is four times this with student_temperature=10,
    temperature_squared=True, hall_weight=0.005.
    """
    general = generalized_distillation_loss(student_logits, teacher_logits, labels, **soft)
    num_frames = len(student_features) // len(labels)
    hall = hallucination_loss(student_features, teacher_features, reduction=reduction, num_frames=num_frames)
    return mix(general, hall, feature_weight, hall_weight)


def mix(general: Scalar, hall: Scalar, feature_weight: float, hall_weight: float) -> Scalar:
    """Eq. 7 from its two terms."""
    return (1 - feature_weight) * general + feature_weight * hall_weight * hall


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


# -- objectives --------------------------------------------------------------------------------------

Terms = dict[str, Tensor]
Objective = Callable[[StreamOutput, StreamOutput, Tensor, DistillConfig], Terms]


def learn_labels(student: StreamOutput, teacher: StreamOutput | None, labels: Labels, config: DistillConfig) -> Terms:
    """Cross-entropy to the labels, no teacher: the control of equal training."""
    return {"total": F.cross_entropy(student.logits, labels)}


def learn_features(student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig) -> Terms:
    """Eq. 3: the teacher's maps alone; the classifier gets no gradient. "hall" is before the weight.

    Summed over `feature_layers`, the ends of blocks 1 to 4, with lambda_l = 1; of form "normalized", the mean
    over these layers of the plain maps' error.
    """
    pairs = [(student.blocks[layer - 1], teacher.blocks[layer - 1]) for layer in config.feature_layers]
    if config.feature_form == "normalized":
        hall = torch.stack([normalized_feature_loss(*pair) for pair in pairs]).mean()
    else:
        reduction, frames = config.feature_reduction, len(student.features) // len(labels)
        hall = torch.stack([hallucination_loss(*pair, reduction=reduction, num_frames=frames) for pair in pairs]).sum()
    return {"hall": hall, "total": config.hall_weight * hall}


def learn_soft_labels(student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig) -> Terms:
    """Eq. 5: labels and the teacher's soft targets."""
    loss = generalized_distillation_loss(
        student.logits,
        teacher.logits,
        labels,
        imitation=config.imitation,
        temperature=config.temperature,
        student_temperature=config.student_temperature,
        temperature_squared=config.temperature_squared,
    )
    return {"total": loss}


def learn_all(student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig) -> Terms:
    """Eq. 7: eq. 5 ("general") and eq. 3 ("hall"), each before its weight, and their mixture."""
    general = learn_soft_labels(student, teacher, labels, config)["total"]
    hall = learn_features(student, teacher, labels, config)["hall"]
    return {"general": general, "hall": hall, "total": mix(general, hall, config.feature_weight, config.hall_weight)}


OBJECTIVES: dict[str, Objective] = {
    "labels": learn_labels,
    "hallucination": learn_features,
    "generalized": learn_soft_labels,
    "distillation": learn_all,
}
LOGITS_ALONE = ("labels", "generalized")  # objectives for which a teacher keeps no maps


def get_objective(name: str) -> Objective:
    """An objective by name; LabError lists the names there are."""
    if name not in OBJECTIVES:
        known = ", ".join(OBJECTIVES)
        raise LabError.mismatch(None, f"an objective among {known}", repr(name), "use one of those")
    return OBJECTIVES[name]
