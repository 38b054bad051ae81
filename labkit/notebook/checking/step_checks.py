"""Checks of the exercises of notebooks 06 to 09, the training steps and their losses. `checks` offers them, too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ... import losses, model
from .exercises import Case, exercise, gradient

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
def check_mended_and_spoilt() -> Iterator[Case]:
    """Exercise 6.2: what the mean of both logits mends of RGB's answers, and what it spoils, in %."""
    rng = np.random.default_rng(62)
    labels, rgb, depth = rng.integers(0, 3, 50), rng.normal(size=(50, 3)), 2 * rng.normal(size=(50, 3))
    rgb[np.arange(50), labels] += 1
    depth[np.arange(50), labels] += 3
    before, after, other = (z.argmax(axis=1) == labels for z in (rgb, rgb + depth, depth))
    mended, spoilt = 100 * np.mean(after & ~before), 100 * np.mean(before & ~after)
    hint = "mended: RGB wrong and the mean right; spoilt: RGB right and the mean wrong"
    yield Case("50 clips of 3 classes", (rgb, depth, labels), np.array([mended, spoilt]), hint, {
        "return two numbers; their difference is the gain": lambda f: f.shape != (2,),
        "mended comes first": np.array([spoilt, mended]),
        "in %, not as a share from 0 to 1": np.array([mended, spoilt]) / 100,
        "in % of all clips, not as counts": np.array([mended, spoilt]) / 2,
        "in % of all clips, not of those that RGB answers wrong, or right":
            np.array([mended / np.mean(~before), spoilt / np.mean(before)]),
        "ask the mean of both logits, not depth alone":
            100 * np.array([np.mean(other & ~before), np.mean(before & ~other)]),
        "what both answer right is not mended, and what both answer wrong is not spoilt":
            100 * np.array([np.mean(after), np.mean(~after)]),
    })  # fmt: skip


# -- 07 Losses -------------------------------------------------------------------------------------


@exercise("7.1")
def check_later_loss() -> Iterator[Case]:
    """Exercise 7.1: the authors' later loss of both logits, both maps, the labels, T and the maps' weight."""
    z_h, z_d = torch.tensor([[[2, 0.5, -1], [0, 1, 0.5]], [[1, 2, 0.5], [3, 0, -2]]], dtype=torch.float64)
    a_h, a_d = torch.tensor([[1, 0, 2, 0.5, 3, 0, 4, 1], [0, 1, 2, 0, 0.5, 0.5, 1, 3]], dtype=torch.float64).reshape(
        2, 4, 2, 1, 1
    )
    labels, T, w = torch.tensor([0, 1]), 4.0, 0.3

    def loss(z_h: torch.Tensor, z_d: torch.Tensor, a_h: torch.Tensor, a_d: torch.Tensor, **changes) -> torch.Tensor:
        form = {"temperature": T, "student_temperature": T, "temperature_squared": True, "hall_weight": w / 2}
        return 4 * losses.distillation_loss(z_h, z_d, labels, a_h, a_d, **{**form, **changes})

    outputs = (z_h, z_d, a_h, a_d)
    right, hall = loss(*outputs), w * losses.hallucination_loss(a_h, a_d, reduction="sum")
    plain = w * (a_h - a_d).square().sum() / len(labels)
    soft, hardly = (F.cross_entropy(z_h / T, F.softmax(z_d / t, dim=-1)) for t in (T, 1.0))
    hint = "label + T^2 times soft labels + w times the maps; both cross-entropies are means over clips"
    yield Case("two clips of two frames", (*outputs, labels, T, w), right, hint, {
        "multiply the soft term by T squared": loss(*outputs, temperature_squared=False),
        "the student's logits are divided by T in the soft term, too": loss(*outputs, student_temperature=1.0),
        "in the term of the labels the student stays at temperature 1":
            right - F.cross_entropy(z_h, labels) + F.cross_entropy(z_h / T, labels),
        "soften the teacher: divide its logits by T": right + T**2 * (hardly - soft),
        "nothing is halved in this form": right / 4,
        "L_hall is a sum per clip: divide the batch's sum by the clips": right + hall / 2,
        "divide by the clips, not by the frames: len(labels) clips": right - hall / 4,
        "L_hall is a sum over the maps of a clip, not a mean over elements": right - hall / 2 + hall / 8,
        "eq. 3 takes the sigmoid of both maps first": right - hall / 2 + plain,
        "the maps have the weight w": right - hall / 2 + hall / 2 / w,
    })  # fmt: skip
    names = ("the student's logits", "the teacher's logits", "the student's maps", "the teacher's maps")
    for number, name in enumerate(names):
        wanting = [tensor.clone().requires_grad_() for tensor in outputs]
        teacher = number % 2
        hint = "the teacher is a target: detach it" if teacher else "let the gradient reach the student unchanged"
        yield Case(f"the gradient on {name}", (*wanting, labels, T, w), gradient(loss(*wanting), wanting[number]),
                   hint, read=lambda found, of=wanting[number]: gradient(found, of))  # fmt: skip


@exercise("7.2", without=("torch", "nn", "F"))
def check_soft_targets() -> Iterator[Case]:
    """Exercise 7.2: eq. 6, the softmax of logits (classes,) over a temperature."""
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


# -- 08 Step 3: hallucination ----------------------------------------------------------------------


_CLIPS = torch.linspace(-1, 2, 24).reshape(4, 3, 2, 1)


def _network(seed: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    layers[1].running_mean.fill_(0.2)
    return layers


def _moved(frozen: Any, parts: str) -> str:
    """Whether a training step of a pair that holds a network changes its "parameters" or its "buffers"."""
    if not isinstance(frozen, nn.Module):
        return "no network"
    if frozen(_CLIPS).shape != (4, 2):
        return "another network"
    pair = nn.ModuleDict({"teacher": frozen, "student": _network(9)}).train()
    (pair["student"](_CLIPS) - pair["teacher"](_CLIPS)).square().sum().backward()
    torch.optim.SGD(pair.parameters(), lr=0.1).step()
    now, then = (  # in their order: a module around the network gives them other names
        [value for name, value in getattr(one, f"named_{parts}")() if "tracked" not in name]
        for one in (frozen, _network())
    )
    return "unchanged" if len(now) == len(then) and all(map(torch.equal, now, then)) else "changed"


@exercise("8.1")
def check_freeze() -> Iterator[Case]:
    """Exercise 8.1: a network that no step and no batch changes, whatever the mode of what holds it."""
    for parts, words, hint in (
        ("parameters", "what is returned after a step of the pair",
         "return the network; its parameters want no gradient any more"),
        ("buffers", "the running statistics after `pair.train()`",
         "train() of a parent reaches every part: the frozen network has to stay in evaluation mode"),
    ):  # fmt: skip
        yield Case(words, (_network(),), "unchanged", hint, read=partial(_moved, parts=parts))
    yield Case(
        "the answer to one clip after `pair.train()`",
        (_network(),),
        _network().eval()(_CLIPS[:1]).detach().numpy(),
        "normalise by the running statistics, as in evaluation mode, not by those of the batch",
        read=lambda frozen: nn.ModuleDict({"teacher": frozen}).train()["teacher"](_CLIPS[:1]).detach().numpy(),
    )


@exercise("8.2")
def check_weaned() -> Iterator[Case]:
    """Exercise 8.2: a branch's input between the connection of eq. 2 (share 1) and no connection (share 0)."""
    u, signal = torch.tensor([-1.0, 0.5, 2.0, -0.5]), torch.tensor([0.5, 0.0, 3.0, 0.0])
    product, plain = u * signal, F.relu(u)
    for share in (1.0, 0.0, 0.25):
        right = share * product + (1 - share) * plain
        yield Case(f"share {share:g}", (u, signal, share), right.numpy(),
                   "the share of the product, and the rest of what an unconnected branch gets", {
            "without depth the branch would get zeros: put f(u) in the place of what is taken away":
                (share * product).numpy(),
            "an unconnected branch gets f(u), the rectified sum": (share * product + (1 - share) * u).numpy(),
            "share 1 is the whole connection, share 0 none": ((1 - share) * product + share * plain).numpy(),
            "eq. 2 multiplies u before its ReLU": (share * plain * signal + (1 - share) * plain).numpy(),
            "this is the gated form, in which f(u) stays whole": (plain + share * product).numpy(),
        })  # fmt: skip


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
