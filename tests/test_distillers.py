"""The objectives of step 3, and the losses of other systems against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch.nn import functional as F

from labkit import losses
from labkit.config import DistillConfig
from labkit.errors import LabError
from labkit.experiments.studies import system_losses
from labkit.experiments.studies.system_losses import SYSTEM_OBJECTIVES
from labkit.losses import OBJECTIVES, distillation_loss, generalized_distillation_loss, hallucination_loss
from labkit.model import Stream, TwoStream, freeze

DISTILLERS = OBJECTIVES | SYSTEM_OBJECTIVES
STUDENT, TEACHER, LABEL = torch.tensor([[2, 0.5, -1]]), torch.tensor([[1, 2, 0.5]]), torch.tensor([0])


def pair_of_streams(connection) -> TwoStream:
    """Step 3 at its start: the hallucination is a copy of the frozen depth stream."""
    torch.manual_seed(0)
    depth, hallucination = Stream(3, 5, "resnet18", 8), Stream(3, 5, "resnet18", 8)
    hallucination.load_state_dict(depth.state_dict())
    return TwoStream(freeze(depth), hallucination, connection).eval()


# -- the paper ---------------------------------------------------------------------------------------


def pooled(output):
    return output.features.unflatten(0, (2, 5)).mean(dim=(1, 3, 4))


def focal_terms(student, teacher):
    """Both losses over the half of the teacher's channels that is most active."""
    mine, theirs = (x.features.unflatten(0, (2, 5)).transpose(1, 2).flatten(2) for x in (student, teacher))
    focal = theirs.mean(dim=(0, 2)).argsort(descending=True)[: theirs.shape[1] // 2]
    mine, theirs = mine[:, focal], theirs[:, focal]
    return system_losses.channel_correlation_loss(mine, theirs) + system_losses.channel_distribution_loss(mine, theirs)


@pytest.mark.parametrize("objective", DISTILLERS)
def test_objectives_are_the_papers_losses(objective):
    output = pair_of_streams("multiply")(torch.randn(2, 5, 3, 32, 32), torch.randn(2, 5, 3, 32, 32))
    student, teacher, labels = output.target, output.source, torch.tensor([0, 2])
    config = replace(
        DistillConfig(), temperature=4.0, imitation=0.3, hall_weight=0.7, feature_weight=0.2,
        student_temperature=2.0, temperature_squared=True,
    )  # fmt: skip
    soft = {"temperature": 4.0, "imitation": 0.3, "student_temperature": 2.0, "temperature_squared": True}
    hall = hallucination_loss(student.features, teacher.features, reduction="clip")
    expected = {
        "labels": F.cross_entropy(student.logits, labels),
        "hallucination": 0.7 * hall,
        "generalized": generalized_distillation_loss(student.logits, teacher.logits, labels, **soft),
        "distillation": distillation_loss(
            student.logits, teacher.logits, labels, student.features, teacher.features,
            feature_weight=0.2, hall_weight=0.7, **soft,
        ),
        "ensemble": system_losses.ensemble_distillation_loss(
            student.logits, teacher.logits[None], torch.ones(1, 2), labels, temperature=4.0, soft_weight=0.3,
            hard_weight=0.7,
        ),
        "focal": F.cross_entropy(student.logits, labels) + focal_terms(student, teacher),
        "mars": system_losses.mars_loss(student.logits, labels, pooled(student), pooled(teacher)),
    }  # fmt: skip
    terms = DISTILLERS[objective](student, teacher, labels, config)
    torch.testing.assert_close(terms["total"], expected[objective])
    if "hall" in terms:
        torch.testing.assert_close(terms["hall"], hall)


@pytest.mark.parametrize("objective", DISTILLERS)
def test_only_the_student_learns(objective):
    torch.manual_seed(0)
    pair = TwoStream(Stream(3, 5, "resnet18", 8), Stream(3, 5, "resnet18", 8), None)
    output = pair(torch.randn(2, 5, 3, 32, 32), torch.randn(2, 5, 3, 32, 32))
    terms = DISTILLERS[objective](output.target, output.source, torch.tensor([0, 2]), DistillConfig())
    terms["total"].backward()
    assert all(p.grad is None for p in pair.source.parameters())
    assert pair.target.backbone.conv1.weight.grad.abs().sum() > 0
    learns_classes = pair.target.backbone.fc.weight.grad is not None
    assert learns_classes == (objective != "hallucination")


@pytest.mark.parametrize("layers", [(4,), (1, 2, 3, 4)])
def test_a_copy_of_depth_fed_depth_has_nothing_to_hallucinate(layers):
    depth = torch.randn(2, 5, 3, 32, 32)
    output = pair_of_streams(None)(depth, depth)
    config = replace(DistillConfig(), feature_layers=layers)
    terms = DISTILLERS["hallucination"](output.target, output.source, torch.tensor([0, 1]), config)
    assert terms["hall"].item() == 0


def test_feature_layers_add_up():
    output = pair_of_streams(None)(torch.randn(2, 5, 3, 32, 32), torch.randn(2, 5, 3, 32, 32))

    def hall(*layers: int) -> torch.Tensor:
        config = replace(DistillConfig(), feature_layers=layers)
        return DISTILLERS["hallucination"](output.target, output.source, torch.tensor([0, 1]), config)["hall"]

    torch.testing.assert_close(hall(1, 2, 3, 4), hall(1) + hall(2) + hall(3) + hall(4))
    assert hall(2) != hall(4)


# -- other systems -----------------------------------------------------------------------------------


def checked(name: str):
    """The function with its shapes checked at run time."""
    return jaxtyped(typechecker=beartype)(getattr(system_losses, name))


def test_mars():
    features = torch.tensor([[1, 0, 2, 0.5]]), torch.tensor([[0.0, 1, 2, 1]])
    assert checked("mars_loss")(STUDENT, LABEL, *features).item() == pytest.approx(28.366311, abs=1e-5)
    hard, with_error = (
        system_losses.mars_loss(STUDENT, LABEL, *features, feature_weight=weight).item() for weight in (0.0, 1.0)
    )
    assert hard == pytest.approx(0.241311, abs=1e-6)
    assert with_error - hard == pytest.approx(0.5625, abs=1e-6)  # the mean squared error by itself


def radevski_teachers() -> torch.Tensor:
    return torch.stack([TEACHER, torch.tensor([[0.0, 1, 3]])])


@pytest.mark.parametrize(
    ("weighting", "sharpness", "weights", "temperature", "expected"),
    [
        ("uniform", 1.0, [0.5, 0.5], 1.0, 1.266559),
        ("uniform", 1.0, [0.5, 0.5], 4.0, 1.481398),
        ("sample", 1.0, [0.846249, 0.153751], 4.0, 0.871083),
        ("sample", 4.0, [0.605006, 0.394994], 4.0, 1.255058),
        ("dataset", 4.0, [0.605006, 0.394994], 4.0, 1.255058),
    ],
)
def test_multimodal_ensemble(weighting, sharpness, weights, temperature, expected):
    teachers = radevski_teachers()
    found = checked("ensemble_weights")(teachers, LABEL, weighting=weighting, temperature=sharpness)
    assert found[:, 0].tolist() == pytest.approx(weights, abs=1e-6)
    loss = checked("ensemble_distillation_loss")(STUDENT, teachers, found, LABEL, temperature=temperature)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("temperature", "soft", "hard", "expected"),
    [
        (10.0, 0.01, 0.0, 0.007065),  # 1 / T^2: the divergence by itself
        (10.0, 1.0, 0.0, 0.706484),
        (10.0, 0.5, 0.5, 0.473898),  # eq. 5 with T^2 * KL in place of the soft cross-entropy
    ],
)
def test_an_ensemble_of_one_is_a_divergence_from_its_teacher(temperature, soft, hard, expected):
    student, teacher = STUDENT.double(), TEACHER.double()
    options = {"temperature": temperature, "soft_weight": soft, "hard_weight": hard}
    one = torch.ones(1, 1, dtype=torch.float64)
    loss = checked("ensemble_distillation_loss")(student, teacher[None], one, LABEL, **options)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_dataset_weights_come_from_mean_errors_of_held_out_clips():
    torch.manual_seed(0)
    held_out, labels = torch.randn(2, 9, 4), torch.randint(4, (9,))
    weights = checked("ensemble_weights")(held_out, labels, weighting="dataset", temperature=0.5)
    means = torch.stack([F.cross_entropy(one, labels) for one in held_out])
    torch.testing.assert_close(weights, torch.softmax(-means / 0.5, dim=0)[:, None])
    student, teachers = torch.randn(3, 4), torch.randn(2, 3, 4)
    checked("ensemble_distillation_loss")(student, teachers, weights, torch.tensor([0, 1, 2]))
    with pytest.raises(LabError, match="weighting"):
        system_losses.ensemble_weights(held_out, labels, weighting="best")


def test_ensemble_hard_term():
    teachers = radevski_teachers()
    weights = system_losses.ensemble_weights(teachers, LABEL)
    options = {"soft_weight": 0.0, "hard_weight": 2.0}
    loss = system_losses.ensemble_distillation_loss(STUDENT, teachers, weights, LABEL, **options)
    assert loss.item() == pytest.approx(2 * 0.241311, abs=1e-5)
    errors = [system_losses.ensemble_distillation_loss(one, teachers, weights, LABEL, **options) for one in teachers]
    assert [error.item() / 2 for error in errors] == pytest.approx([1.464369, 3.169846], abs=1e-6)


CHANNELS = torch.tensor([[[0.0, 2, 1, 1], [1, 0, 2, 1]]]), torch.tensor([[[1.0, 2, 0, 1], [0, 0, 3, 1]]])


@pytest.mark.parametrize(("temperature", "expected"), [(4.0, 0.244835), (1.0, 0.154634)])
def test_channel_distribution(temperature, expected):
    loss = checked("channel_distribution_loss")(*CHANNELS, temperature=temperature)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_channel_correlation():
    student, teacher = CHANNELS
    assert checked("channel_correlation_loss")(student, teacher).item() == pytest.approx(0.137567, abs=1e-6)
    twice = torch.cat([student, student]), torch.cat([teacher, teacher])
    assert system_losses.channel_correlation_loss(*twice).item() == pytest.approx(0.137567, abs=1e-6)
    apart = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0]]])  # of cosine 0: what is left is the other's cosine squared
    cosines = [system_losses.channel_correlation_loss(maps, apart).item() ** 0.5 for maps in (student, teacher)]
    assert cosines == pytest.approx([0.5, 0.129099], abs=1e-6)


def test_focal_channels_are_the_most_active():
    maps = torch.tensor([1.0, 5, 3, 4])[None, :, None].expand(2, 4, 3)
    assert checked("focal_channels")(maps, 2).tolist() == [1, 3]


def test_no_gradient_reaches_a_teacher():
    torch.manual_seed(0)
    labels = torch.tensor([0, 1])
    for name, arguments in {
        "mars_loss": lambda s, t: (s, labels, s, t),
        "channel_distribution_loss": lambda s, t: (
            s[..., None].expand(2, 3, 4),
            t[..., None].expand(2, 3, 4),
        ),
        "channel_correlation_loss": lambda s, t: (
            s[..., None] ** torch.arange(4),
            t[..., None] ** torch.arange(4),
        ),
        "ensemble_distillation_loss": lambda s, t: (s, t[None], torch.ones(1, 1), labels),
    }.items():
        student, teacher = (torch.rand(2, 3, requires_grad=True) for _ in range(2))
        getattr(system_losses, name)(*arguments(student, teacher)).sum().backward()
        assert teacher.grad is None, name
        assert student.grad is not None, name


def test_several_teachers():
    """Each teacher adds its own focal terms; an ensemble is the mean of the teachers' logits."""
    output = pair_of_streams("multiply")(torch.randn(2, 5, 3, 32, 32), torch.randn(2, 5, 3, 32, 32))
    student, teacher, labels = output.target, output.source, torch.tensor([0, 2])
    config = replace(DistillConfig(), temperature=1.0, imitation=1.0)
    one, two = (DISTILLERS["focal"](student, [teacher] * count, labels, config) for count in (1, 2))
    torch.testing.assert_close(two["total"] - two["hard"], 2 * (one["total"] - one["hard"]))
    other = teacher._replace(logits=-teacher.logits)
    flat = DISTILLERS["ensemble"](student, [teacher, other], labels, config)["total"]
    uniform = torch.full_like(student.logits, 1 / student.logits.shape[1])
    torch.testing.assert_close(flat, F.kl_div(student.logits.log_softmax(-1), uniform, reduction="batchmean"))


def test_joint_terms_sum_up():
    output = pair_of_streams(None)(torch.randn(2, 5, 3, 32, 32), torch.randn(2, 5, 3, 32, 32))
    streams = {"rgb": output.target, "depth": output.source, "hallucination": output.target}
    labels, config = torch.tensor([0, 2]), DistillConfig(objective="hallucination", joint_weight=3.0)
    terms = system_losses.joint_terms(streams, DISTILLERS["hallucination"], labels, config)
    hard = {"rgb", "depth", "hallucination", "rgb+depth", "rgb+hallucination"}
    assert set(terms) == hard | {"hall", "total"}
    torch.testing.assert_close(terms["total"], sum(terms[name] for name in hard) + 3 * terms["hall"])
    torch.testing.assert_close(terms["rgb+depth"], F.cross_entropy(output.logits, labels))


def test_normalized_maps_do_not_depend_on_their_scale():
    """1 is a student that puts out the teacher's mean everywhere."""
    teacher = torch.randn(4, 3, 5, 5) * 7 + 2
    mean = teacher.mean().expand_as(teacher)
    torch.testing.assert_close(losses.normalized_feature_loss(mean, teacher), torch.tensor(1.0), rtol=1e-2, atol=0)
    half = losses.normalized_feature_loss(teacher / 2, teacher)
    torch.testing.assert_close(losses.normalized_feature_loss(5 * teacher / 2, 5 * teacher), half)
    assert losses.normalized_feature_loss(teacher, teacher) == 0
