"""Checks of the exercises of notebooks 10 to 14, the studies around the paper. `checks` offers them, too."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch
from torch.nn import functional as F

from ...analysis import verdicts
from ...analysis.cka import cka
from ...analysis.claims import Claim
from ...clips import saturate
from ...experiments import statistics
from .exercises import Case, exercise, gradient

# -- 10 Ablations ----------------------------------------------------------------------------------


def _questions(found: object) -> str:
    """(one, other, part) of each pair as text, in one order."""
    try:
        return "; ".join(sorted(f"{one} - {other}: {part}" for one, other, part in found)) or "no pair"
    except (TypeError, ValueError):
        return repr(found)


@exercise("10.1")
def check_questions() -> Iterator[Case]:
    """Exercise 10.1: of models with their settings, all pairs that differ in one setting, and in which."""
    keys = ("loss", "step3", "step4")
    settings = {
        "row 11": ("eq. 3", "on", "off"),
        "row 12": ("eq. 5", "on", "off"),
        "row 13": ("eq. 7", "on", "off"),
        "row 14": ("eq. 7", "off", "off"),
        "row 15": ("eq. 7", "on", "on"),
        "recipe": ("eq. 7", "off", "on"),
    }
    rows = {name: dict(zip(keys, values, strict=True)) for name, values in settings.items()}
    differ = {(one, other): [key for key in keys if rows[one][key] != rows[other][key]]
              for one, other in combinations(rows, 2)}  # fmt: skip
    right = [(*pair, parts[0]) for pair, parts in differ.items() if len(parts) == 1]
    several = [f"{one} - {other}:" for (one, other), parts in differ.items() if len(parts) > 1]
    turned = [f"{other} - {one}:" for one, other in differ]
    hint = "compare every model with every later one, not only with its neighbour, setting by setting"
    yield Case("six models", (rows,), _questions(right), hint, {
        "return a list of (one, other, part)": lambda f: " - " not in f,
        "a model makes no pair with itself": lambda f: any(f"{name} - {name}:" in f for name in rows),
        "a pair that differs in two settings says nothing about either: leave it out":
            lambda f: any(pair in f for pair in several),
        "each pair once, in the order of the rows": lambda f: any(pair in f for pair in turned),
    }, read=_questions)  # fmt: skip
    alike = {"one": {"loss": "eq. 7"}, "another": {"loss": "eq. 7"}}
    yield Case("two models that do not differ", (alike,), "no pair", "no difference, no question", read=_questions)


@exercise("10.2")
def check_judgement() -> Iterator[Case]:
    """Exercise 10.2: a claim's kind, its 95 % interval and its level, all in points, to the lab's word for it."""
    whole = "the interval must lie beyond the level as a whole, on one side or the other; else it is undecided"
    near = "“near” holds where the whole interval lies within the level on both sides; around zero is not enough"
    for kind, low, high, level, hint in (
        ("above", 1.0, 5.0, 0.0, whole),
        ("above", -1.0, 3.0, 0.0, whole),
        ("above", -4.0, -1.0, 0.0, "an interval wholly below the level contradicts the claim: it fails"),
        ("above", 1.0, 5.0, 2.0, "compare with the level, which need not be zero"),
        ("near", -2.0, 1.0, 3.0, near),
        ("near", -4.0, 1.0, 3.0, near),
        ("near", 4.0, 6.0, 3.0, "wholly outside, above or below: not near, so it fails"),
        ("near", -8.0, -4.0, 3.0, "wholly outside, above or below: not near, so it fails"),
    ):
        right = verdicts.word(Claim("", "", "", (), (), kind, level), low, high)
        yield Case(f"“{kind}”, {low:+g} to {high:+g}, level {level:g}", (kind, low, high, level), right, hint)


# -- 11 Feature maps -------------------------------------------------------------------------------


@exercise("11.1")
def check_cka() -> Iterator[Case]:
    """Exercise 11.1: linear CKA of x (examples, p) and y (examples, q), NumPy arrays."""
    rng, length = np.random.default_rng(11), np.linalg.norm
    x = rng.normal(2, 1, (40, 5))
    y = rng.normal(-1, 1, (40, 3)) + 2 * x[:, :3]

    def uncentred(x: np.ndarray, y: np.ndarray) -> float:
        return length(y.T @ x) ** 2 / (length(x.T @ x) * length(y.T @ y))

    for words, first, second in (
        ("40 examples of 5 and 3 channels", x, y),
        ("the same, turned round", y, x),
        ("the same, ten times as large", 10 * x, y),
    ):
        right = cka(torch.tensor(first), torch.tensor(second))
        a, b = first - first.mean(axis=0), second - second.mean(axis=0)
        across = [values - values.mean(axis=1, keepdims=True) for values in (first, second)]
        hint = "|YᵀX|² over |XᵀX| |YᵀY|, of centred X and Y, with the Frobenius norm"
        yield Case(words, (first, second), right, hint, {
            "centre first: subtract each channel's mean over the examples": uncentred(first, second),
            "centre each channel over the examples, not each example over its channels": uncentred(*across),
            "the numerator is squared": length(b.T @ a) / (length(a.T @ a) * length(b.T @ b)),
            "do not take the root at the end": np.sqrt(right),
            "divide by |XᵀX| and |YᵀY|, not by the lengths of X and Y squared":
                length(b.T @ a) ** 2 / (length(a) * length(b)) ** 2,
            "divide by |XᵀX| |YᵀY|, so that scale does not matter": length(b.T @ a) ** 2,
        })  # fmt: skip


@exercise("11.2")
def check_largest_drops() -> Iterator[Case]:
    """Exercise 11.2: from probabilities (clips, classes) before and after, the clips that lost most of the true one."""
    clips, labels = np.arange(6), np.array([0, 1, 2, 0, 1, 2])
    before = np.array([[9, 1, 0], [2, 7, 1], [8, 1, 1], [2, 7, 1], [1, 3, 6], [2, 0, 8]]) / 10
    after = np.array([[4, 6, 0], [6, 1, 3], [1, 8, 1], [0, 8, 2], [0, 10, 0], [1, 1, 8]]) / 10
    change = after[clips, labels] - before[clips, labels]
    seen = before.argmax(axis=1)

    def lowest(scores: np.ndarray) -> np.ndarray:
        return np.argsort(scores, kind="stable")[:3]

    hint = "the true class's probability before minus after, sorted from the largest"
    yield Case("the 3 of 6 clips", (before, after, labels, 3), lowest(change), hint, {
        "these gained most: sort the loss, before minus after, from the largest": lowest(-change),
        "the largest loss comes first": lowest(change)[::-1],
        "a gain is no loss: keep the sign": lowest(-np.abs(change)),
        "take the true class's probability, not the largest one": lowest(after.max(axis=1) - before.max(axis=1)),
        "take the true class's probability, not that of the class first predicted":
            lowest(after[clips, seen] - before[clips, seen]),
        "return the clips' places, not what they lost": -np.sort(change)[:3],
        "a difference of probabilities, not a ratio": lowest(after[clips, labels] / before[clips, labels]),
    })  # fmt: skip


# -- 12 Noisy depth --------------------------------------------------------------------------------


@exercise("12.1")
def check_speckle() -> Iterator[Case]:
    """Exercise 12.1: a coloured image uint8 (..., 3) times noise of its shape, as the released code has it."""
    rng = np.random.default_rng(12)
    image = rng.integers(0, 256, (2, 3, 3)).astype(np.uint8)
    hint = "image times noise, then cut to 0..255, then uint8"
    for words, levels, noise in (
        ("[200, 200, 100] times [0.5, 1.5, -0.2]", np.array([200, 200, 100], np.uint8), np.array([0.5, 1.5, -0.2])),
        ("products of 10.9, 254.6 and -0.4", np.array([100, 200, 100], np.uint8), np.array([0.109, 1.273, -0.004])),
        ("2 x 3 pixels", image, 1 + rng.standard_normal(image.shape)),
    ):
        product = levels * noise
        right, cut = saturate(product), np.clip(product, 0, 255)
        yield Case(words, (levels, noise), right, hint, {
            hint: lambda f, right=right: f.shape != right.shape,
            "the cast drops fractions: 10.9 becomes 10": lambda f, cut=cut: np.abs(f - cut).max() < 1,
            "cut to 0..255 before uint8, which wraps around":
                lambda f, right=right, inside=cut == product: not ((f != right) & inside).any(),
            "levels go from 0 to 255, not to 1": lambda f, cut=cut: np.allclose(255 * f, cut, atol=1),
            "noise around 1 multiplies: do not add it": saturate(levels + noise),
        })  # fmt: skip


@exercise("12.2")
def check_crossing() -> Iterator[Case]:
    """Exercise 12.2: the severity, on a logarithmic axis, at which accuracies first fall below a rival's."""
    severities = np.array([1e-3, 1e-2, 1e-1, 1e0, 1e1])
    paper = np.array([81.34, 81.12, 76.85, 62.47, 51.43])
    twice = np.array([80.0, 70.0, 78.0, 60.0, 50.0])
    place = -2 + (81.12 - 77.21) / (81.12 - 76.85)
    between = "straight between the last severity above and the first below, on the axis of log10(severity)"
    yield Case("the paper's Table 3 and 77.21", (severities, paper, 77.21), 10**place, between, {
        "that is the first severity below; the curve has crossed on the way there": 1e-1,
        "that is the last severity above; the curve crosses behind it": 1e-2,
        "the axis is logarithmic: go along log10(severity), not along the severity": 1e-2 + (place + 2) * 0.09,
        "that is the exponent: return 10 to its power": place,
    })  # fmt: skip
    for words, curve, rival, right, hint in (
        ("a curve that dips below 75, recovers and falls again", twice, 75.0, 10**-2.5,
         "the first time counts: look for the first severity at which the curve is below"),
        ("a rival of 40, which no noise brings the curve down to", paper, 40.0, np.inf,
         "where the curve is never below, return np.inf"),
        ("a rival of 90, above the whole curve", paper, 90.0, severities[0],
         "below from the first severity on: return that one"),
    ):  # fmt: skip
        yield Case(words, (severities, curve, rival), right, hint)


# -- 13 Other teachers -----------------------------------------------------------------------------


@exercise("13.1")
def check_lesson() -> Iterator[Case]:
    """Exercise 13.1: 0.1 hard + 0.9 T squared soft cross-entropy of logits (clips, classes); label -1: none given."""
    student = torch.tensor([[2.0, 0.5, -1.0], [0.3, 0.1, 0.2], [-1.0, 1.0, 0.0]])
    teacher = torch.tensor([[1.0, 2.0, 0.5], [3.0, 0.0, 1.0], [0.0, 4.0, 1.0]])
    labels, t = torch.tensor([0, -1, 2]), 4.0

    def lesson(soft: float = 0.9, *, weight: float = t**2, own: float = t, told: float = t, hard: float = 1.0) -> float:
        first = F.cross_entropy(student, labels, ignore_index=-1, reduction="sum") / 3
        second = F.cross_entropy(student / own, F.softmax(teacher / told, dim=1))
        return (hard * (1 - soft) * first + soft * weight * second).item()

    entropy = torch.special.entr(F.softmax(teacher / t, dim=1)).sum(dim=1).mean().item()
    words, given = "three clips, one without a label", (student, teacher, labels, t)
    hint = "0.1 times the hard term, plus 0.9 times T squared times the soft one, both means over all clips"
    yield Case(words, given, lesson(), hint, {
        "divide the hard term by all clips, not by those that have a label": lesson(hard=1.5),
        "means over clips, not sums": 3 * lesson(),
        "the soft term is multiplied by T squared": lesson(weight=1.0),
        "T squared, not T": lesson(weight=t),
        "soften the student, too: divide its logits by T": lesson(own=1.0),
        "soften the teacher: divide its logits by T": lesson(told=1.0),
        "0.9 belongs to the soft term, 0.1 to the labels": lesson(0.1),
        "this is the Kullback-Leibler divergence: its gradient is the same, the cross-entropy was asked for":
            lesson() - 0.9 * t**2 * entropy,
    }, within=1e-5)  # fmt: skip
    teaching = teacher.clone().requires_grad_()
    yield Case("the teacher's gradient", (student.clone().requires_grad_(), teaching, labels, t), np.zeros((3, 3)),
               "the teacher is a target: detach it", read=lambda f: gradient(f, teaching))  # fmt: skip


@exercise("13.2")
def check_teacher_weights() -> Iterator[Case]:
    """Exercise 13.2: the softmin over teachers of their errors (teachers, clips) at a temperature."""
    errors = np.array([[1.464369, 0.2, 2.0], [3.169846, 0.1, 0.5], [1.0, 0.9, 2.5]])
    hint = "exp(-error / temperature), divided by its sum over the teachers"
    for words, given, temperature in (
        ("two teachers, one clip, temperature 1", errors[:2, :1], 1.0),
        ("the same at temperature 4", errors[:2, :1], 4.0),
        ("three teachers, three clips", errors, 2.0),
        ("errors around 2000", errors + 2000, 2.0),
    ):
        yield Case(words, (given, temperature), _softmin(given, temperature), hint, {
            "one weight for each teacher and clip: return (teachers, clips), as you were given":
                lambda f, given=given: f.shape != given.shape,
            "exp() of so much below 0 is 0, and 0 / 0 no number: subtract the clip's smallest error first":
                lambda f: np.isnan(f).any(),
            "a small error is a good teacher: softmin, so mind the sign": _softmin(-given, temperature),
            "a high temperature evens the weights out: divide the errors by it": _softmin(given, 1 / temperature),
            "divide the errors by the temperature before exp()": _softmin(given, 1.0),
            "the weights of each clip's teachers add up to one: sum over axis 0": _softmin(given.T, temperature).T,
            "the inverse is another rule: softmin takes exp(-error / temperature)":
                1 / given / (1 / given).sum(axis=0),
        })  # fmt: skip


def _softmin(errors: np.ndarray, temperature: float) -> np.ndarray:
    return F.softmin(torch.from_numpy(errors) / temperature, dim=0).numpy()


# -- 14 Paper and lab side by side -----------------------------------------------------------------


@exercise("14.1")
def check_same_order() -> Iterator[Case]:
    """Exercise 14.1: the share of pairs of rows that come in the same order in both columns, (rows,) each."""
    paper, ours = np.array([66.5, 79.7, 73.4, 71.9, 70.4]), np.array([61.0, 96.0, 72.0, 75.0, 79.0])
    hint = "take each pair of rows once; it agrees where both columns have the same row on top"
    for first, second in ((paper, ours), (paper, -paper)):
        signs = np.sign(np.subtract.outer(first, first)) == np.sign(np.subtract.outer(second, second))
        right = statistics.same_order(first, second)
        yield Case(f"{first.tolist()} and {second.tolist()}", (first, second), right, hint, {
            "a row makes no pair with itself": signs.mean(),
            "every pair counts, not only neighbours": np.mean(np.diff(first) * np.diff(second) > 0),
            "this is Kendall's tau, from -1 to 1; the share of agreeing pairs is (1 + tau) / 2": 2 * right - 1,
            "divide by the number of pairs": right * len(first) * (len(first) - 1) / 2,
            "a share of 1, not per cent": 100 * right,
        })  # fmt: skip


@exercise("14.2")
def check_holm() -> Iterator[Case]:
    """Exercise 14.2: p values (tests,) adjusted after Holm, in the order given."""
    hint = "sort; the smallest times m, the next times m - 1, ...; no smaller than the one before; at most 1"
    for given in ([0.04, 0.01, 0.03], [0.6, 0.2, 0.9, 0.001]):
        p = np.array(given)
        order = np.argsort(p)
        steps = p[order] * np.arange(len(p), 0, -1)
        mistakes = {
            "the largest p is the one that stays as it is: start from the smallest": p * (np.argsort(order) + 1),
            "give them back in the order in which they came": np.maximum.accumulate(steps),
            "none may end below a smaller one's: carry the largest so far along": steps[np.argsort(order)],
            "this is Bonferroni's: only the smallest is multiplied by m, the next by m - 1, and so on": p * len(p),
        }
        yield Case(f"p = {given}", (p,), statistics.holm(p), hint, {
            "a probability ends at 1": lambda f: f.max() > 1,
            **{slip: np.minimum(mistake, 1) for slip, mistake in mistakes.items()},
        })  # fmt: skip
