"""The losses of other cross-modal systems: pure functions of logits, vectors or maps, and objectives made of them.

A docstring names the source and says what had to be inferred. No gradient reaches a teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ...config import DistillConfig
from ...errors import LabError
from ...losses import Objective, Terms, learn_soft_labels
from ...model import Features, Labels, Logits, Scalar, StreamOutput

TeacherLogits = Float[Tensor, "teachers batch classes"]
Vectors = Float[Tensor, "batch channel"]
EnsembleWeights = Float[Tensor, "teachers #batch"]  # one a clip, or one for all
ChannelMaps = Float[Tensor, "batch channel positions"]  # positions = time * height * width


def mars_loss(
    student_logits: Logits,
    labels: Labels,
    student_features: Vectors,
    teacher_features: Vectors,
    *,
    feature_weight: float = 50.0,
) -> Scalar:
    """MARS (Crasto et al., CVPR 2019; weight from their code): cross-entropy + 50 * feature MSE.

    Features are pooled over time and space; the error is the mean over clips and channels.
    """
    error = F.mse_loss(student_features, teacher_features.detach())
    return F.cross_entropy(student_logits, labels) + feature_weight * error


def ensemble_weights(
    teacher_logits: TeacherLogits,
    labels: Labels,
    *,
    weighting: Literal["uniform", "sample", "dataset"] = "uniform",
    temperature: float = 1.0,
) -> EnsembleWeights:
    """How much each teacher counts (Radevski et al., 2023; their code), a sum of 1 over teachers.

    "sample": softmin over teachers of the clip's cross-entropy / temperature, (teachers, batch).
    "dataset": softmin of the mean cross-entropy, (teachers, 1); give it held-out clips.
    """
    if weighting not in ("uniform", "sample", "dataset"):
        raise LabError.mismatch(None, "weighting uniform, sample or dataset", repr(weighting), "use one of them")
    errors = torch.stack([F.cross_entropy(one, labels, reduction="none") for one in teacher_logits]).detach()
    if weighting == "uniform":
        return torch.full_like(errors, 1 / len(errors))
    if weighting == "dataset":
        errors = errors.mean(dim=1, keepdim=True)
    return F.softmin(errors / temperature, dim=0)


def ensemble_distillation_loss(
    student_logits: Logits,
    teacher_logits: TeacherLogits,
    weights: EnsembleWeights,
    labels: Labels,
    *,
    temperature: float = 1.0,
    soft_weight: float = 1.0,
    hard_weight: float = 0.0,
) -> Scalar:
    """Radevski et al. (2023; defaults of their code): the student learns the teachers' mean logits.

    soft_weight * T^2 * KL(ensemble || student) + hard_weight * cross-entropy, mean over clips.
    """
    ensemble = (weights[..., None] * teacher_logits).sum(dim=0).detach()
    student = F.log_softmax(student_logits / temperature, dim=-1)
    teacher = F.log_softmax(ensemble / temperature, dim=-1)
    soft = temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return soft_weight * soft + hard_weight * F.cross_entropy(student_logits, labels)


def focal_channels(teacher: ChannelMaps, count: int) -> Int[Tensor, " count"]:
    """The `count` channels that FCKD-style losses transfer, strongest first.

    FCKD (Gan et al., IEEE Access 2023) transfers a focal subset of channels; only its abstract was
    at hand. Inferred: the importance is the teacher's mean activation over clips and positions.
    """
    return teacher.mean(dim=(0, 2)).topk(count).indices


def channel_distribution_loss(student: ChannelMaps, teacher: ChannelMaps, *, temperature: float = 4.0) -> Scalar:
    """FCKD-style: T^2 * KL of each channel's softmax over positions, mean over channels and clips.

    Inferred from channel-wise distillation, the family that the abstract's words point to.
    """
    student = F.log_softmax(student / temperature, dim=-1)
    teacher = F.log_softmax(teacher.detach() / temperature, dim=-1)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)
    return temperature**2 * divergence.mean()


def channel_correlation_loss(student: ChannelMaps, teacher: ChannelMaps) -> Scalar:
    """FCKD-style: squared distance of the channels' cosine matrices / channels, mean over clips.

    Inferred from inter-channel correlation distillation, as above.
    """
    gap = _gram(student) - _gram(teacher.detach())
    return gap.square().sum(dim=(1, 2)).mean() / student.shape[1]


def _gram(maps: ChannelMaps) -> Float[Tensor, "batch channel channel"]:
    rows = F.normalize(maps, dim=-1)
    return rows @ rows.transpose(1, 2)


# -- objectives, as in `losses` ------------------------------------------------------------------------

Teachers = StreamOutput | Sequence[StreamOutput]


def learn_ensemble(student: StreamOutput, teacher: Teachers, labels: Labels, config: DistillConfig) -> Terms:
    """Radevski et al. (2023; their code): T^2 * KL to the weighted mean of the teachers' logits.

    Their code's defaults give the labels no weight (b = 0); here 1 - imitation is that weight, so
    imitation=1 is theirs. "dataset" weights are the trainer's (`config.weighting`), made from
    held-out clips and already multiplied into the teachers' logits.
    """
    logits = torch.stack([one.logits for one in _several(teacher)])
    weighting = "uniform" if config.weighting == "dataset" else config.weighting
    weights = ensemble_weights(logits, labels, weighting=weighting, temperature=config.weighting_temperature)
    return {"total": ensemble_distillation_loss(
        student.logits, logits, weights, labels, temperature=config.temperature, soft_weight=config.imitation,
        hard_weight=1 - config.imitation,
    )}  # fmt: skip


def learn_focal_channels(student: StreamOutput, teacher: Teachers, labels: Labels, config: DistillConfig) -> Terms:
    """FCKD-style (after Gan et al., IEEE Access 2023): cross-entropy and focal channels of every teacher.

    Only the abstract was at hand. Inferred: the layer (end of block 4), the share of channels that is
    focal, which they are (`focal_channels`), both losses and their weights.
    """
    hard, correlation, distribution = F.cross_entropy(student.logits, labels), 0.0, 0.0
    mine = _channels(student.features, len(labels))
    for one in _several(teacher):
        theirs = _channels(one.features, len(labels))
        focal = focal_channels(theirs, max(1, round(config.focal_share * theirs.shape[1])))
        correlation = correlation + channel_correlation_loss(mine[:, focal], theirs[:, focal])
        distribution = distribution + channel_distribution_loss(mine[:, focal], theirs[:, focal])
    weighted = config.correlation_weight * correlation + config.distribution_weight * distribution
    return {"hard": hard, "correlation": correlation, "distribution": distribution, "total": hard + weighted}


def learn_pooled_features(student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig) -> Terms:
    """MARS (Crasto et al., CVPR 2019): cross-entropy + 50 * squared error of pooled block-4 features."""
    mine, theirs = (reduce(x.float(), "(b t) c h w -> b c", "mean", b=len(labels))
                    for x in (student.features, teacher.features))  # fmt: skip
    return {"total": mars_loss(student.logits, labels, mine, theirs)}


def joint_terms(streams: dict[str, StreamOutput], objective: Objective, labels: Labels, config: DistillConfig) -> Terms:
    """Hoffman et al. (CVPR 2016) for classification: all streams at once (Table 2, rows 3 to 5).

    The paper says: one stage, no connections, the ten extra terms of detection left to the reader.
    Inferred: cross-entropy of RGB, depth, hallucination, RGB with depth, and RGB with hallucination
    (mean logits), each with weight 1, plus `joint_weight` times `objective`, whose teacher is the
    depth stream as it stands. Depth is trained by its own cross-entropies, not frozen.
    """
    logits = {role: output.logits.float() for role, output in streams.items()}
    hard = {role: F.cross_entropy(value, labels) for role, value in logits.items()}
    for other in ("depth", "hallucination"):
        hard[f"rgb+{other}"] = F.cross_entropy((logits["rgb"] + logits[other]) / 2, labels)
    taught = objective(streams["hallucination"], streams["depth"], labels, config)
    total = sum(hard.values()) + config.joint_weight * taught["total"]
    return {**hard, **{name: term for name, term in taught.items() if name != "total"}, "total": total}


def _several(teacher: Teachers) -> list[StreamOutput]:
    return [teacher] if isinstance(teacher, StreamOutput) else list(teacher)


def _channels(maps: Features, num_clips: int) -> ChannelMaps:
    return rearrange(maps.float(), "(b t) c h w -> b c (t h w)", b=num_clips)


SYSTEM_OBJECTIVES = {
    "generalized": learn_soft_labels,
    "ensemble": learn_ensemble,
    "focal": learn_focal_channels,
    "mars": learn_pooled_features,
}
