"""What a teacher teaches: one small objective per published method, by name in `DISTILLERS`.

An objective takes what student and teacher put out for the same clips, the labels and the settings;
it returns named scalars, each per clip unless the settings say otherwise, with the one to minimise
under "total". "ensemble" and "focal" take one teacher or several. Labels are classes (B,), or
probabilities (B,K) where clips were mixed. No gradient reaches a teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import rearrange, reduce
from torch import Tensor
from torch.nn import functional as F

from .config import DistillConfig
from .experiments.system_losses import (
    ChannelMaps,
    admd_discriminator_loss,
    admd_generator_loss,
    channel_correlation_loss,
    channel_distribution_loss,
    cosine_distance,
    dmcl_losses,
    ensemble_distillation_loss,
    ensemble_weights,
    focal_channels,
    mars_loss,
)
from .losses import generalized_distillation_loss, hallucination_loss, mix, normalized_feature_loss
from .model import StreamOutput
from .types import Features, Labels, Scalar

__all__ = [
    "DISTILLERS",
    "Objective",
    "Terms",
    "admd_discriminator_loss",
    "admd_generator_loss",
    "channel_correlation_loss",
    "channel_distribution_loss",
    "cosine_distance",
    "dmcl_losses",
    "ensemble_distillation_loss",
    "ensemble_weights",
    "focal_channels",
    "joint_terms",
    "layers_needed",
    "learn_all",
    "learn_ensemble",
    "learn_features",
    "learn_focal_channels",
    "learn_labels",
    "learn_pooled_features",
    "learn_soft_labels",
    "mars_loss",
]  # fmt: skip

Terms = dict[str, Tensor]
Teachers = StreamOutput | Sequence[StreamOutput] | None
Objective = Callable[[StreamOutput, Teachers, Tensor, DistillConfig], Terms]

# -- the paper -------------------------------------------------------------------------------------

def learn_labels(
    student: StreamOutput, teacher: StreamOutput | None, labels: Labels, config: DistillConfig
) -> Terms:
    """Cross-entropy to the labels, no teacher: the control of equal training."""
    return {"total": F.cross_entropy(student.logits, labels)}


def learn_features(
    student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig
) -> Terms:
    """Eq. 3: the teacher's maps alone; the classifier gets no gradient. "hall" is before the weight."""
    hall = _hall(student, teacher, labels, config)
    return {"hall": hall, "total": config.hall_weight * hall}


def learn_soft_labels(
    student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig
) -> Terms:
    """Eq. 5: labels and the teacher's soft targets."""
    return {"total": _general(student, teacher, labels, config)}


def learn_all(student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig) -> Terms:
    """Eq. 7: eq. 5 ("general") and eq. 3 ("hall"), each before its weight, and their mixture."""
    general = _general(student, teacher, labels, config)
    hall = _hall(student, teacher, labels, config)
    weights = {"feature_weight": config.feature_weight, "hall_weight": config.hall_weight}
    return {"general": general, "hall": hall, "total": mix(general, hall, **weights)}


# -- other systems ---------------------------------------------------------------------------------


def learn_ensemble(student: StreamOutput, teacher: Teachers, labels: Labels, config: DistillConfig) -> Terms:
    """Radevski et al. (2023; their code): T^2 * KL to the weighted mean of the teachers' logits.

    Their code's defaults give the labels no weight (b = 0); here 1 - imitation is that weight, so
    imitation=1 is theirs. "dataset" weights are the trainer's (`config.weighting`), made from
    held-out clips and already multiplied into the teachers' logits.
    """
    logits = torch.stack([one.logits for one in _several(teacher)])
    weighting = "uniform" if config.weighting == "dataset" else config.weighting
    weights = ensemble_weights(logits, labels, weighting=weighting, temperature=config.weighting_temperature)
    settings = {"soft_weight": config.imitation, "hard_weight": 1 - config.imitation}
    total = ensemble_distillation_loss(
        student.logits, logits, weights, labels, temperature=config.temperature, **settings
    )
    return {"total": total}


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


def joint_terms(
    streams: dict[str, StreamOutput], objective: Objective, labels: Labels, config: DistillConfig
) -> Terms:
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


DISTILLERS: dict[str, Objective] = {
    "labels": learn_labels,
    "hallucination": learn_features,
    "generalized": learn_soft_labels,
    "distillation": learn_all,
    "ensemble": learn_ensemble,
    "focal": learn_focal_channels,
    "mars": learn_pooled_features,
}


def layers_needed(config: DistillConfig) -> tuple[int, ...]:
    """Whose maps, of blocks 1 to 4, an objective looks at; a cache of a teacher's outputs keeps no others."""
    if config.objective in ("hallucination", "distillation"):
        return config.feature_layers
    return (4,) if config.objective in ("focal", "mars") else ()


def _several(teacher: Teachers) -> list[StreamOutput]:
    return [teacher] if isinstance(teacher, StreamOutput) else list(teacher)


def _channels(maps: Features, num_clips: int) -> ChannelMaps:
    return rearrange(maps.float(), "(b t) c h w -> b c (t h w)", b=num_clips)


def _general(student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig) -> Scalar:
    return generalized_distillation_loss(
        student.logits,
        teacher.logits,
        labels,
        imitation=config.imitation,
        temperature=config.temperature,
        student_temperature=config.student_temperature,
        temperature_squared=config.temperature_squared,
    )


def _hall(student: StreamOutput, teacher: StreamOutput, labels: Labels, config: DistillConfig) -> Scalar:
    """Eq. 3 summed over `feature_layers`, the ends of blocks 1 to 4, with lambda_l = 1.

    "normalized" takes the mean over layers of the plain maps' squared error in place of eq. 3.
    """
    pairs = [(student.blocks[layer - 1], teacher.blocks[layer - 1]) for layer in config.feature_layers]
    if config.feature_form == "normalized":
        return torch.stack([normalized_feature_loss(*pair) for pair in pairs]).mean()
    num_frames = len(student.features) // len(labels)
    reduction = config.feature_reduction
    return torch.stack([hallucination_loss(*pair, reduction=reduction, num_frames=num_frames) for pair in pairs]).sum()
