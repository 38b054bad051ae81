"""Checks of the exercises of notebooks 06 to 09, the training steps and their losses. `checks` offers them, too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from .. import losses, model
from .exercises import Case, exercise

# -- 06 Step 2 -------------------------------------------------------------------------------------


@exercise("6.1")
def check_inject() -> Iterator[Case]:
    """Exercise 6.1: (shortcut, branch input) from a unit's sum, the other stream's signal and the connection."""
    unit_sum, signal = torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([0.5, 0.0, 3.0])
    shortcut = F.relu(unit_sum)
    for connection, mistakes in (
        ("multiply", {"eq. 2 multiplies the sum itself, before its ReLU": shortcut * signal}),
        ("gated", {
            "gated adds to f(u), the rectified sum, not to u": unit_sum + unit_sum * signal,
            "gated multiplies the sum itself, before its ReLU": shortcut + shortcut * signal,
            "gated keeps f(u) beside the product": unit_sum * signal,
        }),
    ):  # fmt: skip
        hint = "return two tensors, the shortcut f(u) and the input of the branch"
        yield Case(connection, (unit_sum, signal, connection),
                   torch.stack(model.inject(unit_sum, signal, connection)).numpy(), hint, {
            hint: lambda f: f.shape != (2, 3),
            "the shortcut is f(u), whatever the other stream says": lambda f: not np.allclose(f[0], shortcut),
            **{slip: lambda f, branch=branch: np.allclose(f[1], branch) for slip, branch in mistakes.items()},
        })  # fmt: skip
        hint = "do not detach the signal: in step 2 the RGB stream's errors train the depth stream, too"
        yield Case(f"{connection}, backwards into the signal",
                   (unit_sum, signal.clone().requires_grad_(), connection), "a gradient", hint,
                   read=lambda f: "a gradient" if getattr(f[1], "requires_grad", False) else "none")  # fmt: skip


@exercise("6.2")
def check_joint_loss() -> Iterator[Case]:
    """Exercise 6.2: step 2's loss from the two streams' logits (batch, classes) and the labels."""
    source, target = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([[1.0, 2.0, 0.5]])
    two = torch.cat([source, target]), torch.cat([target, target])
    for words, a, b, labels in (
        ("one clip", source, target, torch.tensor([0])),
        ("two clips", *two, torch.tensor([0, 1])),
    ):
        chances = (F.softmax(a, dim=-1) + F.softmax(b, dim=-1)) / 2
        right = F.cross_entropy((a + b) / 2, labels)
        yield Case(words, (a, b, labels), right, "the cross-entropy of the mean of the logits, mean over clips", {
            "this is the mean of two losses; the paper takes one loss, of the mean logits":
                (F.cross_entropy(a, labels) + F.cross_entropy(b, labels)) / 2,
            "fuse by the mean of the logits, not by their sum": F.cross_entropy(a + b, labels),
            "average the logits, not the probabilities": F.nll_loss(chances.log(), labels),
            "the mean over clips, not the sum": len(labels) * right,
        }, within=1e-5)  # fmt: skip


# -- 07 Losses -------------------------------------------------------------------------------------


@exercise("7.1")
def check_soft_targets() -> Iterator[Case]:
    """Exercise 7.1: eq. 6, the softmax of logits (classes,) over a temperature."""
    hint = "divide the logits by the temperature, then take the softmax"
    for logits, temperature in (((1.0, 2.0, 0.5), 10.0), ((1.0, 2.0, 0.5), 1.0), ((1000.0, 999.0, 0.0), 1.0)):
        z = torch.tensor(logits, dtype=torch.float64)
        yield Case(f"logits {list(logits)} at temperature {temperature:g}", (np.array(logits), temperature),
                   losses.soft_targets(z, temperature).numpy(), hint, {
            "exp() of a large logit overflows: subtract the largest logit first, which changes nothing else":
                lambda f: np.isnan(f).any(),
            "a high temperature flattens: divide by it, do not multiply":
                losses.soft_targets(z * temperature, 1.0).numpy(),
            "probabilities add up to one: divide by the temperature before the softmax, not after":
                lambda f: not np.isclose(f.sum(), 1),
        })  # fmt: skip


@exercise("7.2")
def check_generalized_distillation() -> Iterator[Case]:
    """Exercise 7.2: eq. 5 for one clip from both logits (classes,), the label, lambda and T."""
    student, teacher, label, imitation, temperature = np.array([2, 0.5, -1]), np.array([1, 2, 0.5]), 0, 0.25, 10.0
    z_s, z_t, y = (torch.tensor(value).unsqueeze(0) for value in (student, teacher, label))

    def paper(weight: float, *, taught_at: float = temperature, student_at: float = 1.0) -> float:
        settings = {"imitation": weight, "temperature": taught_at, "student_temperature": student_at}
        return losses.generalized_distillation_loss(z_s, z_t, y, **settings).item()

    soft, own = F.softmax(z_t / temperature, dim=-1), F.softmax(z_s, dim=-1)
    reversed_soft = -(own * soft.log()).sum().item()
    given = (student, teacher, label, imitation, temperature)
    hint = "(1 - lambda) times the cross-entropy to the label, plus lambda times that to the soft targets"
    yield Case("lambda 0.25, temperature 10", given, paper(imitation), hint, {
        "lambda is the weight of the teacher, 1 - lambda that of the label": paper(1 - imitation),
        "eq. 5 leaves the student at temperature 1; only the teacher is softened": paper(imitation, student_at=10.0),
        "soften the teacher: divide its logits by the temperature": paper(imitation, taught_at=1.0),
        "the teacher weighs, the student's logarithm is weighed: - sum s log p":
            (1 - imitation) * paper(0.0) + imitation * reversed_soft,
        "both terms are weighted, and the weights add up to one": paper(0.0) + imitation * paper(1.0),
    })  # fmt: skip


# -- 08 Step 3: hallucination ----------------------------------------------------------------------


@exercise("8.1")
def check_hallucination_loss() -> Iterator[Case]:
    """Exercise 8.1: eq. 3, the squared distance of the sigmoids of two maps, summed."""
    student, teacher = np.array([1.0, 0.0, 2.0, 0.5]), np.array([0.0, 1.0, 2.0, -1.0])
    gap = 1 / (1 + np.exp(-student)) - 1 / (1 + np.exp(-teacher))
    hint = "squash both by the sigmoid, subtract, square, and add everything up"
    yield Case("four activations", (student, teacher), (gap**2).sum(), hint, {
        "squash both by the sigmoid first; large activations would rule otherwise": ((student - teacher) ** 2).sum(),
        "eq. 3 is a sum, not a mean: its size grows with the map": (gap**2).mean(),
        "eq. 3 is the squared norm: take no root": np.sqrt((gap**2).sum()),
        "square the differences, so that they cannot cancel": gap.sum(),
    })  # fmt: skip
    yield Case("two maps that agree", (teacher, teacher), 0.0, "what agrees costs nothing")


@exercise("8.2")
def check_teacher_is_a_target() -> Iterator[Case]:
    """Exercise 8.2: eq. 3 on tensors, with a gradient for the student and none for the teacher."""
    student = torch.tensor([1.0, 0.0, 2.0, 0.5], requires_grad=True)
    teacher = torch.tensor([0.0, 1.0, 2.0, -1.0], requires_grad=True)
    loss, given, words = losses.hallucination_loss(student, teacher), (student, teacher), "four activations"
    learns = "a tensor that the student can learn from"
    hint = "stay in torch and let the student keep its gradient: only the teacher is a target"
    yield Case(words, given, learns, hint,
               read=lambda f: learns if getattr(f, "requires_grad", False) else repr(f))  # fmt: skip
    hint = "the value is eq. 3's: squared distance of the sigmoids, summed"
    yield Case(words, given, loss.item(), hint, read=lambda f: f.detach().numpy())
    yield Case("the size of the teacher's gradient", given, 0.0, "the teacher is a target: detach it",
               read=lambda f: np.linalg.norm(_gradient(f, teacher)))  # fmt: skip
    hint = "let the gradient reach the student unchanged"
    yield Case("the student's gradient", given, _gradient(loss, student), hint, read=lambda f: _gradient(f, student))


def _gradient(loss: torch.Tensor, of: torch.Tensor) -> np.ndarray:
    """The loss's gradient by one of its inputs, zeros where none arrives."""
    (found,) = torch.autograd.grad(loss, of, allow_unused=True, retain_graph=True)
    return np.zeros(of.shape) if found is None else found.numpy()


# -- 09 Step 4: RGB only ---------------------------------------------------------------------------


class _Judge(torch.nn.Module):
    """The mean of each colour channel, batch-normalised, as logits (batch, 3); it notes how it was asked."""

    def __init__(self):
        super().__init__()
        self.norm, self.slopes = torch.nn.BatchNorm1d(3), set()

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        self.slopes.add(torch.is_grad_enabled())
        return self.norm(clip.mean(dim=(1, 3, 4)))


class _Seen(dict):
    """A batch of clips by modality; it notes which of them are read."""

    def __init__(self, labels: list[int], **clips: torch.Tensor):
        super().__init__(clips)
        self.labels, self.read = torch.tensor(labels), set()

    def __getitem__(self, modality: str) -> torch.Tensor:
        self.read.add(modality)
        return super().__getitem__(modality)


def _two_batches() -> list[_Seen]:
    """Of three clips, two of which are right, and of two, which both are."""
    means = [[6, 1, 0], [5, 4, 0], [5, 0, 6]], [[0, 0, 7], [6, 5, 0]]
    clips = [torch.tensor(rows, dtype=torch.float).reshape(-1, 1, 3, 1, 1) for rows in means]
    return [_Seen(labels, rgb=clip, depth=clip.roll(1, dims=2))
            for labels, clip in zip(([0, 1, 2], [2, 0]), clips, strict=True)]  # fmt: skip


@exercise("9.1")
def check_rgb_only_accuracy() -> Iterator[Case]:
    """Exercise 9.1: the share of clips that a network in training mode, given RGB alone, answers right."""
    words = "batches of three clips and of two"
    yield Case(words, (_Judge(), _two_batches()), 0.8, "right answers over all clips, of all batches", {
        "call network.eval(): in training mode an answer depends on the other clips of the batch": 1.0,
        "no camera but RGB is there: read batch[\"rgb\"]": 0.2,
        "batches differ in size: count right answers and clips, and divide once": (2 / 3 + 1) / 2,
        "a share from 0 to 1, not per cent": 80.0,
        "divide the right answers by the number of clips": 4.0,
    })  # fmt: skip
    batches = _two_batches()
    yield Case("what is read", (_Judge(), batches), "rgb", "depth must not even be read",
               read=lambda f: " and ".join(sorted(set().union(*(batch.read for batch in batches)))))  # fmt: skip
    network = _Judge()
    yield Case("the network's answers", (network, _two_batches()), "without gradients",
               "ask it within torch.inference_mode() or torch.no_grad()",
               read=lambda f: "with gradients" if True in network.slopes else "without gradients")  # fmt: skip


@exercise("9.2")
def check_paired_interval() -> Iterator[Case]:
    """Exercise 9.2: 95 % t interval over subjects of an accuracy difference over the same clips.

    Subjects differ in clips, so the difference is a ratio of two sums over them. `t` is the quantile 0.975.
    """
    rng = np.random.default_rng(9)
    people = np.sort(np.concatenate([np.arange(9), rng.integers(0, 9, 31)]))
    good = rng.random(9)[people]
    first, second = rng.random(40) < 0.4 + 0.5 * good, rng.random(40) < 0.2 + 0.6 * good
    gap, t = first.astype(float) - second, 2.306
    gains, counts = np.bincount(people, gap), np.bincount(people)
    deviations = (gains - gap.mean() * counts) / counts.mean()
    error = deviations.std(ddof=1) / 3

    def interval(middle: float, error: float) -> np.ndarray:
        return middle + np.array([-t, t]) * error

    means = gains / counts
    hint = "difference -+ t times the standard error: spread between subjects over the root of their number"
    yield Case("9 subjects, 40 clips", (first, second, people, t), interval(gap.mean(), error), hint, {
        "divide by the number of subjects less one: std(ddof=1)": interval(gap.mean(), deviations.std() / 3),
        "that is the spread between subjects; the error of their mean is smaller by the root of their number":
            interval(gap.mean(), 3 * error),
        "subjects differ in clips: take the mean over clips, not of the subjects' means":
            interval(means.mean(), means.std(ddof=1) / 3),
        "clips of one subject resemble one another: the spread between subjects, not between clips":
            interval(gap.mean(), gap.std(ddof=1) / np.sqrt(40)),
    }, near=1e-9)  # fmt: skip
