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
def check_three_cameras() -> Iterator[Case]:
    """Exercise 6.1: logits of a target that two sources hand the mean of their signals, fused over all three."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        target, *sources = (model.freeze(model.Stream(3, 2, "resnet18", 4)) for _ in range(3))
        clip, *others = torch.randn(3, 2, 2, 3, 32, 32)
    said = [source(other) for source, other in zip(sources, others, strict=True)]
    signals = list(zip(*(output.signals for output in said), strict=True))

    def fused(handed: list | None, weights: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)) -> np.ndarray:
        logits = [target(clip, handed).logits, *(output.logits for output in said)]
        return sum(weight * one for weight, one in zip(weights, logits, strict=True)).numpy()

    mean = [(first + second) / 2 for first, second in signals]
    hint = "run each source, average their signals place by place, run the target with them, average all logits"
    yield Case("2 clips of 3 classes", (target, sources, clip, others), fused(mean), hint, {
        "the mean of the three logits, not their sum": fused(mean, (1, 1, 1)),
        "all three count alike: the mean of three, not of the target and the sources' mean":
            fused(mean, (1 / 2, 1 / 4, 1 / 4)),
        "the sources' logits count as well as their signals": fused(mean, (1, 0, 0)),
        "the target takes signals: hand them over as its second argument": fused(None),
        "both sources hand over signals: you gave the target those of one":
            lambda f: any(np.allclose(f, fused([pair[k] for pair in signals]), atol=1e-5) for k in (0, 1)),
        "the mean of the two signals, not their sum": fused([first + second for first, second in signals]),
        "the mean of the two signals, not their product": fused([first * second for first, second in signals]),
    }, within=1e-4)  # fmt: skip


@exercise("6.2")
def check_split_gain() -> Iterator[Case]:
    """Exercise 6.2: what a pair gains over one stream, as (second network, second camera)."""
    for words, alone, control, pair, hint in (
        ("60 % alone, 80 % the control, 95 % the pair", 60.0, 80.0, 95.0, "the control has a second network, no depth"),
        ("60 % alone, 58 % the control, 70 % the pair", 60.0, 58.0, 70.0, "a part of a gain may be negative"),
    ):
        network, camera = control - alone, pair - control
        yield Case(words, (alone, control, pair), np.array([network, camera]), hint, {
            "return two numbers, and they add up to the whole gain": lambda f: f.shape != (2,),
            "the network's part comes first": np.array([camera, network]),
            "the pair has a second network, too: take depth's part over the control":
                np.array([network, pair - alone]),
            "in points, not as shares of the gain": np.array([network, camera]) / (pair - alone),
            "do not cut at zero": lambda f, network=network: network < 0 and f[0] == 0,
        })  # fmt: skip


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
