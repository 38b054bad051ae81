"""Checks of the exercises about the losses. `checks` offers them, too."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from .. import losses
from ..errors import LabError
from .tutor import Function, answer, expect, numbers, patient, well_done

# -- 07 Losses -------------------------------------------------------------------------------------


@patient
def check_soft_targets(soft_targets: Function) -> None:
    """Exercise 7.1: eq. 6, the softmax of logits (classes,) over a temperature."""
    exercise = "exercise 7.1"
    hint = "divide the logits by the temperature, then take the softmax"
    for logits, temperature in (((1.0, 2.0, 0.5), 10.0), ((1.0, 2.0, 0.5), 1.0), ((1000.0, 999.0, 0.0), 1.0)):
        case = f"logits {list(logits)} at temperature {temperature:g}"
        with np.errstate(over="ignore", invalid="ignore"):
            found = numbers(exercise, case, soft_targets, np.array(logits), temperature)
        expected = losses.soft_targets(torch.tensor(logits, dtype=torch.float64), temperature).numpy()
        sharpened = losses.soft_targets(torch.tensor(logits, dtype=torch.float64) * temperature, 1.0).numpy()
        if np.isnan(found).any():
            hint = "exp() of a large logit overflows: subtract the largest logit first, which changes nothing else"
        elif found.shape == expected.shape and np.allclose(found, sharpened, atol=1e-6):
            hint = "a high temperature flattens: divide by it, do not multiply"
        elif not np.isclose(found.sum(), 1):
            hint = "probabilities add up to one: divide by the temperature before the softmax, not after"
        expect(exercise, case, expected, found, hint)
    well_done(exercise)


@patient
def check_generalized_distillation(generalized_distillation: Function) -> None:
    """Exercise 7.2: eq. 5 for one clip from both logits (classes,), the label, lambda and T."""
    exercise = "exercise 7.2"
    student, teacher, label, imitation, temperature = np.array([2, 0.5, -1]), np.array([1, 2, 0.5]), 0, 0.25, 10.0
    case = "lambda 0.25, temperature 10"
    found = numbers(exercise, case, generalized_distillation, student, teacher, label, imitation, temperature)
    z_s, z_t, y = (torch.tensor(value).unsqueeze(0) for value in (student, teacher, label))

    def paper(weight: float, *, taught_at: float = temperature, student_at: float = 1.0) -> float:
        settings = {"imitation": weight, "temperature": taught_at, "student_temperature": student_at}
        return losses.generalized_distillation_loss(z_s, z_t, y, **settings).item()

    soft, own = F.softmax(z_t / temperature, dim=-1), F.softmax(z_s, dim=-1)
    reversed_soft = -(own * soft.log()).sum().item()
    hint = "(1 - lambda) times the cross-entropy to the label, plus lambda times that to the soft targets"
    for slip, mistake in (
        ("lambda is the weight of the teacher, 1 - lambda that of the label", paper(1 - imitation)),
        ("eq. 5 leaves the student at temperature 1; only the teacher is softened", paper(imitation, student_at=10.0)),
        ("soften the teacher: divide its logits by the temperature", paper(imitation, taught_at=1.0)),
        ("the teacher weighs, the student's logarithm is weighed: - sum s log p",
         (1 - imitation) * paper(0.0) + imitation * reversed_soft),
        ("both terms are weighted, and the weights add up to one", paper(0.0) + imitation * paper(1.0)),
    ):  # fmt: skip
        if np.allclose(found, mistake, atol=1e-6):
            hint = slip
    expect(exercise, case, paper(imitation), found, hint)
    well_done(exercise)


# -- 08 Step 3: hallucination ----------------------------------------------------------------------


@patient
def check_hallucination_loss(hallucination_loss: Function) -> None:
    """Exercise 8.1: eq. 3, the squared distance of the sigmoids of two maps, summed."""
    exercise, case = "exercise 8.1", "four activations"
    student, teacher = np.array([1.0, 0.0, 2.0, 0.5]), np.array([0.0, 1.0, 2.0, -1.0])
    gap = 1 / (1 + np.exp(-student)) - 1 / (1 + np.exp(-teacher))
    found = numbers(exercise, case, hallucination_loss, student, teacher)
    hint = "squash both by the sigmoid, subtract, square, and add everything up"
    for slip, mistake in (
        ("squash both by the sigmoid first; large activations would rule otherwise", ((student - teacher) ** 2).sum()),
        ("eq. 3 is a sum, not a mean: its size grows with the map", (gap**2).mean()),
        ("eq. 3 is the squared norm: take no root", np.sqrt((gap**2).sum())),
        ("square the differences, so that they cannot cancel", gap.sum()),
    ):
        if np.allclose(found, mistake, atol=1e-5):
            hint = slip
    expect(exercise, case, (gap**2).sum(), found, hint)
    case = "two maps that agree"
    hint = "what agrees costs nothing"
    expect(exercise, case, 0.0, numbers(exercise, case, hallucination_loss, teacher, teacher), hint)
    well_done(exercise)


@patient
def check_teacher_is_a_target(hallucination_loss: Function) -> None:
    """Exercise 8.2: eq. 3 on tensors, with a gradient for the student and none for the teacher."""
    exercise = "exercise 8.2"
    student = torch.tensor([1.0, 0.0, 2.0, 0.5], requires_grad=True)
    teacher = torch.tensor([0.0, 1.0, 2.0, -1.0], requires_grad=True)
    loss = answer(exercise, "four activations", hallucination_loss, student, teacher)
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        fix = "stay in torch and let the student keep its gradient: only the teacher is a target"
        raise LabError.mismatch(exercise, "a tensor that the student can learn from", repr(loss), fix)
    right = losses.hallucination_loss(student, teacher)
    hint = "the value is eq. 3's: squared distance of the sigmoids, summed"
    expect(exercise, "the value", right.detach().numpy(), loss.detach().numpy(), hint)
    loss.backward()
    found = 0.0 if teacher.grad is None else teacher.grad.norm().item()
    expect(exercise, "the size of the teacher's gradient", 0.0, found, "the teacher is a target: detach it")
    (wanted,) = torch.autograd.grad(right, student)
    hint = "let the gradient reach the student unchanged"
    given = torch.zeros(4) if student.grad is None else student.grad
    expect(exercise, "the student's gradient", wanted.numpy(), given.numpy(), hint)
    well_done(exercise)
