"""The losses against numbers worked out by hand, and who receives gradient."""

from __future__ import annotations

import pytest
import torch
from beartype import beartype
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import jaxtyped

from labkit import losses
from labkit.clips import UNLABELLED
from labkit.errors import LabError
from labkit.losses import distillation_loss, generalized_distillation_loss, hallucination_loss, soft_targets

RELEASED = {"student_temperature": 10.0}


def tensor(values, **options) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64, **options)


@pytest.fixture
def logits():
    """Student, teacher, labels."""
    return (
        tensor([[2, 0.5, -1]], requires_grad=True),
        tensor([[1, 2, 0.5]], requires_grad=True),
        torch.tensor([0]),
    )


@pytest.fixture
def maps():
    """Student, teacher: one clip of one frame with four channels."""
    student, teacher = tensor([1, 0, 2, 0.5]), tensor([0, 1, 2, -1])
    return student.view(1, 4, 1, 1).requires_grad_(), teacher.view(1, 4, 1, 1).requires_grad_()


def test_soft_targets(logits):
    student, teacher, _ = logits
    for given_logits, temperature, expected in [
        (teacher, 10, [0.327182, 0.361592, 0.311225]),
        (student, 1, [0.785597, 0.175290, 0.039113]),
        (student, 10, [0.384390, 0.330847, 0.284763]),
    ]:
        assert soft_targets(given_logits, temperature)[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert soft_targets(teacher, 1e9)[0].tolist() == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.979344),
        ({"imitation": 0.0}, 0.241311),
        ({"imitation": 1.0}, 1.717376),
        ({"imitation": 1.0, **RELEASED}, 1.103705),
        (RELEASED, 0.672508),
        ({**RELEASED, "temperature_squared": True}, 55.305893),
    ],
)
def test_generalized_distillation_known_numbers(logits, options, expected):
    assert generalized_distillation_loss(*logits, **options).item() == pytest.approx(expected, abs=1e-6)


def test_a_clip_without_a_label_adds_to_the_soft_term_alone(logits):
    student, teacher, labels = (torch.cat([values, values]) for values in logits)
    labels[1] = UNLABELLED
    hard, soft = 0.241311, 1.717376  # of this clip, as above
    found = generalized_distillation_loss(student, teacher, labels, imitation=0.25)
    assert found.item() == pytest.approx(0.75 * hard / 2 + 0.25 * soft, abs=1e-6)
    labels[0] = UNLABELLED
    assert generalized_distillation_loss(student, teacher, labels, imitation=0.25).item() == pytest.approx(
        0.25 * soft, abs=1e-6
    )


def test_the_square_is_of_the_teachers_temperature(logits):
    options = {"imitation": 1.0, "temperature": 2.0, "student_temperature": 3.0}
    once = generalized_distillation_loss(*logits, **options)
    squared = generalized_distillation_loss(*logits, **options, temperature_squared=True)
    torch.testing.assert_close(squared, 4 * once)


@pytest.mark.parametrize(
    ("options", "gradient"),
    [
        ({"imitation": 0.0}, [-0.214403, 0.175290, 0.039113]),
        ({"imitation": 1.0}, [0.458415, -0.186302, -0.272113]),
        ({"imitation": 1.0, **RELEASED}, [0.005721, -0.003075, -0.002646]),
    ],
)
def test_generalized_distillation_gradients(logits, options, gradient):
    student, teacher, labels = logits
    generalized_distillation_loss(student, teacher, labels, **options).backward()
    assert student.grad[0].tolist() == pytest.approx(gradient, abs=1e-6)
    assert teacher.grad is None


def test_hallucination_known_numbers(maps):
    student, teacher = maps
    loss = hallucination_loss(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0.231751, abs=1e-6)
    assert hallucination_loss(student, teacher, reduction="mean").item() == pytest.approx(0.057938, abs=1e-6)
    assert student.grad.flatten().tolist() == pytest.approx([0.090858, -0.115529, 0, 0.166156], abs=1e-6)
    assert teacher.grad is None


@pytest.mark.parametrize(
    ("factor", "options", "expected"),
    [
        (1, {}, 0.605547),
        (1, {"reduction": "sum"}, 0.605547),
        (1, {**RELEASED, "hall_weight": 0.01, "reduction": "sum"}, 0.337413),
        (4, {**RELEASED, "hall_weight": 0.005, "temperature_squared": True}, 110.614103),
        (1, {"feature_weight": 0.0}, 0.979344),
        (1, {"feature_weight": 1.0}, 0.231751),
    ],
    ids=["text", "text, sum", "released code", "later port", "no features", "features only"],
)
def test_distillation_known_numbers(logits, maps, factor, options, expected):
    assert factor * distillation_loss(*logits, *maps, **options).item() == pytest.approx(expected, abs=1e-6)


def test_per_clip_does_not_depend_on_the_batch():
    """The reason for the default: doubling the batch doubles the sum, not the loss per clip."""
    student, teacher = torch.randn(10, 3, 2, 2), torch.randn(10, 3, 2, 2)
    twice = torch.cat([student, student]), torch.cat([teacher, teacher])
    one = hallucination_loss(student, teacher, reduction="clip")
    torch.testing.assert_close(hallucination_loss(*twice, reduction="clip"), one)
    torch.testing.assert_close(hallucination_loss(*twice), 4 * one)
    slow = sum(((a.sigmoid() - b.sigmoid()) ** 2).sum() for a, b in zip(student, teacher, strict=True)) / 2
    torch.testing.assert_close(one, slow)


def test_the_released_balance_in_other_words():
    """0.01 times a sum over 5 clips of 7x7x2048 maps is 12,544 times the mean (times alpha)."""
    student, teacher = torch.randn(25, 2048, 7, 7), torch.randn(25, 2048, 7, 7)
    total = hallucination_loss(student, teacher)
    torch.testing.assert_close(0.005 * total, 0.025 * hallucination_loss(student, teacher, reduction="clip"))
    torch.testing.assert_close(0.005 * total, 12_544 * hallucination_loss(student, teacher, reduction="mean"))


@given(scale=st.floats(1, 1e4), temperature=st.floats(0.5, 20))
def test_extreme_logits_stay_finite(scale, temperature):
    """An explicit log of a softmax would be minus infinity here."""
    student = torch.tensor([[-scale, scale, 0.0]], requires_grad=True)
    loss = generalized_distillation_loss(student, -student.detach(), torch.tensor([0]), temperature=temperature)
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_identical_student_and_teacher_leave_no_hallucination_loss():
    features = torch.randn(5, 3, 2, 2, requires_grad=True)
    loss = hallucination_loss(features, features.detach(), reduction="clip")
    loss.backward()
    assert loss == 0
    assert features.grad.abs().max() == 0


def test_half_precision_is_summed_in_single():
    student, teacher = torch.randn(25, 64, 7, 7), torch.randn(25, 64, 7, 7)
    rough = hallucination_loss(student.bfloat16(), teacher.bfloat16())
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, hallucination_loss(student, teacher), rtol=1e-2, atol=0)


def test_wrong_settings_are_named():
    maps = torch.zeros(5, 1, 1, 1)
    with pytest.raises(LabError, match="reduction"):
        hallucination_loss(maps, maps, reduction="batchmean")
    with pytest.raises(LabError, match="num_frames"):
        hallucination_loss(maps[:4], maps[:4], reduction="clip")


@pytest.mark.parametrize("function", [generalized_distillation_loss, distillation_loss], ids=lambda f: f.__name__)
def test_shapes_hold_at_run_time(function, logits, maps):
    checked = jaxtyped(typechecker=beartype)(function)
    given_maps = maps if function is distillation_loss else ()
    assert checked(*logits, *given_maps).shape == ()
    student, teacher, labels = logits
    with pytest.raises(Exception, match="teacher_logits"):
        checked(student, teacher[0], labels, *given_maps)


def test_every_loss_is_public_and_says_its_source():
    for function in (soft_targets, generalized_distillation_loss, hallucination_loss, distillation_loss):
        assert "eq. " in function.__doc__
        assert getattr(losses, function.__name__) is function
