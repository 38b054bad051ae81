"""The exercises' checks: the lab's own code passes, and typical mistakes get the hint meant for them."""

from __future__ import annotations

import inspect
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from torch.nn import functional as F

from labkit import alignment, clips, model
from labkit.analysis import verdicts
from labkit.analysis.claims import Claim
from labkit.errors import LabError
from labkit.experiments import statistics
from labkit.notebook import checks
from labkit.notebook.checking.exercises import Advice, Blank


def verdict(over_rgb, over_control):
    if over_rgb[0] <= 0:
        return "no gain shown"
    return "depth helped" if over_control[0] > 0 else "not shown to be depth"


def depth_levels(frame):
    near = frame[frame > 0].min() if frame.any() else 0
    return np.clip((frame.astype(float) - near) / max(float(frame.max()) - near, 1), 0, 1)


def shared_box(ratio, offset, depth_size, color_size):
    fitted = alignment.Alignment("ratio", (ratio, ratio), offset)
    return fitted.crop_boxes(depth_size, color_size)[0]


def color_box(ratio, offset, depth_size, color_size):
    return alignment.Alignment("ratio", (ratio, ratio), offset).crop_boxes(depth_size, color_size)[1]


def uncut(ratio, offset, depth_size, color_size, *, near=True, far=True):
    """A box that leaves the depth image at its near corner, its far corner or both."""
    box = np.array(shared_box(ratio, offset, depth_size, color_size))
    whole = np.concatenate([offset, np.divide(color_size, ratio) + offset])
    return np.where([near, near, far, far], whole, box)


def residual(depth_xy, color_xy, ratio, offset, *, of=np.median):
    return of(np.linalg.norm(depth_xy - (color_xy / ratio + offset), axis=1))


def gap_closed(student, baseline, upper):
    return statistics.gap_closed(student, baseline, upper).value


def train_step(network, optimizer, parts, *, weigh=lambda labels, clips: 1 / clips, reduction="sum"):
    clips, total = sum(len(labels) for _, labels in parts), 0.0
    optimizer.zero_grad()
    for clip, labels in parts:
        loss = F.cross_entropy(network(clip), labels, reduction=reduction) * weigh(labels, clips)
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


def step_every_part(network, optimizer, parts):
    return sum(train_step(network, optimizer, [part]) for part in parts)


def old_gradients(network, optimizer, parts):
    optimizer.zero_grad = lambda: None
    return train_step(network, optimizer, parts)


def last_part_only(network, optimizer, parts):
    found = 0.0
    for clip, labels in parts:
        optimizer.zero_grad()
        found = F.cross_entropy(network(clip), labels, reduction="sum") / 6
        found.backward()
    optimizer.step()
    return found.item()


def no_step(network, optimizer, parts):
    optimizer.step = lambda: None
    return train_step(network, optimizer, parts)


def returning(value):
    """A right step that returns another number: `value` of the parts' losses and of their clips."""

    def step(network, optimizer, parts):
        with torch.no_grad():
            losses = [F.cross_entropy(network(clip), labels).item() for clip, labels in parts]
        train_step(network, optimizer, parts)
        return value(losses, [len(labels) for _, labels in parts])

    return step


def class_accuracy(matrix):
    return np.diag(matrix) / matrix.sum(axis=1)


def mended_and_spoilt(rgb, depth, labels, *, fuse=np.add):
    before, after = rgb.argmax(axis=1) == labels, fuse(rgb, depth).argmax(axis=1) == labels
    return 100 * np.array([np.mean(after & ~before), np.mean(before & ~after)])


def of_each_kind(rgb, depth, labels):
    wrong = np.mean(rgb.argmax(axis=1) != labels)
    return mended_and_spoilt(rgb, depth, labels) / [wrong, 1 - wrong]


def three_cameras(target, sources, clip, clips, *, join=lambda both: sum(both) / 2, fuse=lambda z: sum(z) / 3):
    """`join` makes the target's signals at one place, `fuse` the answer from the logits, the target's last."""
    outputs = [source(one) for source, one in zip(sources, clips, strict=True)]
    signals = [join(both) for both in zip(*(output.signals for output in outputs), strict=True)]
    return fuse([*(output.logits for output in outputs), target(clip, signals).logits])


def soft_targets(logits, temperature):
    return softmax((logits - logits.max()) / temperature)


def later_loss(z_h, z_d, a_h, a_d, labels, T, w, *, student_at=None, taught_at=None, squared=True, clips=None):
    soft = F.softmax(z_d.detach() / (taught_at or T), dim=-1)
    imitation = F.cross_entropy(z_h / (student_at or T), soft) * (T**2 if squared else 1)
    maps = (a_h.sigmoid() - a_d.detach().sigmoid()).square().sum() / (clips or len(labels))
    return F.cross_entropy(z_h, labels) + imitation + w * maps


def leaking(z_h, z_d, a_h, a_d, labels, T, w):
    soft = F.softmax(z_d / T, dim=-1)
    maps = (a_h.sigmoid() - a_d.sigmoid()).square().sum() / len(labels)
    return F.cross_entropy(z_h, labels) + T**2 * F.cross_entropy(z_h / T, soft) + w * maps


def frozen(network):
    network.requires_grad_(False).eval()
    network.train = lambda mode=True: network
    return network


def without_momentum(network):
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = 0.0
    return network.requires_grad_(False)


def weaned(u, signal, share):
    return share * u * signal + (1 - share) * F.relu(u)


def rgb_only_accuracy(network, batches, *, sees="rgb", training=False, slopes=False):
    network.train(training)
    with torch.set_grad_enabled(slopes):
        right = [(network(batch[sees]).argmax(dim=1) == batch.labels).float() for batch in batches]
    return torch.cat(right).mean().item()


def peeking_accuracy(network, batches):
    return rgb_only_accuracy(network, batches) + 0 * sum(batch["depth"].sum().item() for batch in batches)


def mean_of_batches(network, batches):
    return np.mean([rgb_only_accuracy(network, [batch]) for batch in batches])


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def paired_interval(first, second, people, t, ddof=1, of=np.sqrt):
    gap = first.astype(float) - second
    names = np.unique(people)
    gains, counts = (np.array([w[people == name].sum() for name in names]) for w in (gap, np.ones(len(gap))))
    deviations = (gains - gap.mean() * counts) / counts.mean()
    half = t * deviations.std(ddof=ddof) / of(len(names))
    return gap.mean() - half, gap.mean() + half


def by_subjects_mean(first, second, people, t):
    gap = first.astype(float) - second
    means = np.array([gap[people == name].mean() for name in np.unique(people)])
    half = t * means.std(ddof=1) / np.sqrt(len(means))
    return means.mean() - half, means.mean() + half


def by_clips(first, second, people, t):
    gap = first.astype(float) - second
    half = t * gap.std(ddof=1) / np.sqrt(len(gap))
    return gap.mean() - half, gap.mean() + half


def temporal_conv(frames, weight, num_frames):
    conv = model.TemporalConv(frames.shape[1], num_frames)
    conv.weight = torch.nn.Parameter(weight[..., None], requires_grad=False)
    return conv(frames)


def second_unit(unit, temporal, x):
    return unit.relu(x + model._residual_branch(unit, x, temporal))


def early_temporal(unit, temporal, x):
    x1 = temporal(unit.relu(unit.bn1(unit.conv1(x))))
    return unit.relu(x + unit.bn3(unit.conv3(unit.relu(unit.bn2(unit.conv2(x1))))))


def backward(own, other, to_shortcut, to_branch, connection):
    u, v = (torch.tensor(values, requires_grad=True) for values in (own, other))
    outputs, slopes = model.inject(u, v.relu(), connection), map(torch.tensor, (to_shortcut, to_branch))
    return torch.stack(torch.autograd.grad(outputs, (u, v), tuple(slopes))).numpy()


def signal_shapes(side, channels):
    """Read from a real stream; one frame is enough."""
    stream = model.Stream(3, 1, "resnet18", channels).eval()
    with torch.no_grad():
        return [list(signal.shape[1:]) for signal in stream(torch.zeros(1, 1, 3, side, side)).signals]


def cka(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    norm = np.linalg.norm
    return norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))


def uncentred_cka(x, y):
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def covariance(x, y):
    return np.linalg.norm((y - y.mean(axis=0)).T @ (x - x.mean(axis=0)))


def spread(x):
    return np.linalg.norm(x - x.mean(axis=0))


def largest_drops(before, after, labels, count):
    clips = np.arange(len(labels))
    return np.argsort(after[clips, labels] - before[clips, labels])[:count]


def judgement(kind, low, high, level):
    return verdicts.word(Claim("", "", "", (), (), kind, level), low, high)


def uncapped_holm(p, *, carried=True):
    order = np.argsort(p)
    steps = p[order] * np.arange(len(p), 0, -1)
    return (np.maximum.accumulate(steps) if carried else steps)[np.argsort(order)]


def held_ends(frames, weight, num_frames):
    held = torch.cat([frames[:1], frames, frames[-1:]])
    return temporal_conv(held, weight, len(held))[1:-1]


def speckle(image, noise):
    return clips.saturate(image * noise)


def crossing(severities, accuracies, rival, of=np.log10, back=lambda place: 10**place):
    below = np.flatnonzero(accuracies < rival)
    if not len(below) or below[0] == 0:
        return severities[0] if len(below) else np.inf
    at = [below[0], below[0] - 1]  # rising accuracies, as interp wants them
    return back(np.interp(rival, accuracies[at], of(severities[at])))


def last_crossing(severities, accuracies, rival):
    above = np.flatnonzero(accuracies >= rival)
    kept = slice(above[-1], None) if len(above) else slice(None)
    return crossing(severities[kept], accuracies[kept], rival)


def teacher_weights(errors, temperature):
    return torch.softmax(torch.tensor(-errors / temperature), dim=0).numpy()


def lesson(student, teacher, labels, t, *, soft=0.9, weight=None, own=None, told=None, labelled=False, detach=True):
    hard = F.cross_entropy(student, labels, ignore_index=-1, reduction="mean" if labelled else "sum")
    said = F.softmax((teacher.detach() if detach else teacher) / (told or t), dim=1)
    second = F.cross_entropy(student / (own or t), said)
    return (1 - soft) * hard / (1 if labelled else len(labels)) + soft * (weight or t**2) * second


def divergent_lesson(student, teacher, labels, t):
    said = F.softmax(teacher / t, dim=1)
    return lesson(student, teacher, labels, t) + 0.9 * t**2 * (said * said.log()).sum(dim=1).mean()


def questions(rows, counts=(1,), pairs=lambda names: combinations(names, 2)):
    differ = {pair: [key for key in rows[pair[0]] if rows[pair[0]][key] != rows[pair[1]][key]] for pair in pairs(rows)}
    return [(*pair, *parts[:1]) if parts else (*pair, "none") for pair, parts in differ.items() if len(parts) in counts]


RIGHT = {
    checks.check_verdict: verdict,
    checks.check_gap_closed: gap_closed,
    checks.check_sample_frames: clips.sample_frames,
    checks.check_depth_levels: depth_levels,
    checks.check_shared_box: shared_box,
    checks.check_residual: residual,
    checks.check_temporal_conv: temporal_conv,
    checks.check_second_unit: second_unit,
    checks.check_backward: backward,
    checks.check_signal_shapes: signal_shapes,
    checks.check_cka: cka,
    checks.check_largest_drops: largest_drops,
    checks.check_speckle: speckle,
    checks.check_crossing: crossing,
    checks.check_teacher_weights: teacher_weights,
    checks.check_lesson: lesson,
    checks.check_train_step: train_step,
    checks.check_class_accuracy: class_accuracy,
    checks.check_three_cameras: three_cameras,
    checks.check_mended_and_spoilt: mended_and_spoilt,
    checks.check_soft_targets: soft_targets,
    checks.check_rgb_only_accuracy: rgb_only_accuracy,
    checks.check_later_loss: later_loss,
    checks.check_freeze: frozen,
    checks.check_weaned: weaned,
    checks.check_paired_interval: paired_interval,
    checks.check_holm: statistics.holm,
    checks.check_questions: questions,
    checks.check_judgement: judgement,
    checks.check_same_order: statistics.same_order,
}


MISTAKES = [
    (checks.check_verdict, lambda rgb, control: verdict(rgb, rgb), "ask the control"),
    (checks.check_verdict, lambda rgb, control: "depth helped", "ask the control"),
    (checks.check_verdict, lambda rgb, control: verdict((sum(rgb), 0), control), "whole interval lies above"),
    (checks.check_gap_closed, lambda s, b, u: s / u, "gain over the baseline"),
    (checks.check_gap_closed, lambda s, b, u: max(0, (s - b) / (u - b)), "do not cut at zero"),
    (checks.check_gap_closed, lambda s, b, u: min(1, (s - b) / (u - b)), "do not cut at one"),
    (checks.check_gap_closed, lambda s, b, u: 100 * (s - b) / (u - b), "gain over the baseline"),
    (checks.check_sample_frames, lambda n, k: np.arange(k) * n // k, "first and last frame must be in"),
    (checks.check_sample_frames, lambda n, k: np.linspace(0, n - 1, k).round(), "cut fractions off"),
    (checks.check_sample_frames, lambda n, k: np.arange(min(n, k)), "first and last frame must be in"),
    (checks.check_sample_frames, lambda n, k: np.unique(clips.sample_frames(n, k)), "frames repeat"),
    (checks.check_depth_levels, lambda d: (d - d.min()) / max(d.max() - d.min(), 1), "no reading"),
    (checks.check_depth_levels, lambda d: (d.astype(float) - 2000) / 1000, "cut at 0"),
    (checks.check_depth_levels, lambda d: (d - np.uint16(2000)) / 1000, "wraps around"),
    (
        checks.check_depth_levels,
        lambda d: np.clip((d.astype(float) - 2000) / 1000, 0, 1) + float(not d.any()),
        "nothing was measured",
    ),
    (checks.check_shared_box, lambda r, o, d, c: shared_box(r, o, d, c)[:2], "four numbers"),
    (checks.check_shared_box, uncut, "leaves the depth image"),
    (checks.check_shared_box, lambda *args: uncut(*args, near=False), "cut the far corner"),
    (checks.check_shared_box, lambda *args: uncut(*args, far=False), "cut the near corner"),
    (checks.check_shared_box, lambda r, o, d, c: [*np.maximum(o, 0), *np.minimum(np.divide(c, r), d)], "moves the far"),
    (checks.check_shared_box, lambda *args: np.array(shared_box(*args))[[0, 2, 1, 3]], "x and y of one corner"),
    (checks.check_shared_box, color_box, "colour pixels"),
    (checks.check_shared_box, lambda r, o, d, c: [0, 0, *d], "cut that to the depth image"),
    (checks.check_residual, lambda d, c, r, o: np.linalg.norm(d - (c / r + o), axis=1), "one number"),
    (checks.check_residual, lambda *args: residual(*args, of=np.mean), "hardly move"),
    (checks.check_residual, lambda d, c, r, o: np.median(np.abs(d - (c / r + o))), "both axes"),
    (checks.check_residual, lambda d, c, r, o: residual(d, c, r, o) ** 2, "root is missing"),
    (checks.check_residual, lambda d, c, r, o: residual(d, c, r, -o), "the sign"),
    (checks.check_residual, lambda d, c, r, o: r * residual(d, c, r, o), "colour pixels"),
    (checks.check_residual, lambda d, c, r, o: 0.0, "median over joints"),
    (checks.check_temporal_conv, lambda x, w, t: temporal_conv(x, w, t)[1:-1], "a frame of zeros at each end"),
    (checks.check_temporal_conv, held_ends, "not its first and last frame again"),
    (checks.check_temporal_conv, lambda x, w, t: temporal_conv(x, w.flip(-1), t), "the last at the frame after"),
    (checks.check_temporal_conv, lambda x, w, t: temporal_conv(x, w.swapaxes(0, 1), t), "(out, in, 3)"),
    (checks.check_temporal_conv, lambda x, w, t: temporal_conv(x, w, len(x)), "no neighbour of the next clip's"),
    (checks.check_temporal_conv, lambda x, w, t: x, "weight[..., 0] @ x[t-1]"),
    (checks.check_second_unit, lambda u, t, x: second_unit(u, torch.nn.Identity(), x), "is missing"),
    (checks.check_second_unit, lambda u, t, x: model._residual_branch(u, x, t).relu(), "the shortcut is missing"),
    (checks.check_second_unit, lambda u, t, x: x + model._residual_branch(u, x, t), "ends with a ReLU of the sum"),
    (checks.check_second_unit, lambda u, t, x: x + model._residual_branch(u, x, t).relu(), "not before it"),
    (checks.check_second_unit, early_temporal, "three convolutions"),
    (checks.check_second_unit, lambda u, t, x: x, "conv1, bn1, ReLU"),
    (checks.check_backward, lambda *given: backward(*given)[::-1], "of the stream's own u"),
    (checks.check_backward, lambda u, v, s, b, c: backward(u, v, 0 * s, b, c), "add what comes back from both"),
    (
        checks.check_backward,
        lambda u, v, s, b, c: np.add(backward(u, v, 0 * s, b, c), [s, 0 * s]),
        "where u is below zero",
    ),
    (checks.check_backward, lambda u, v, s, b, c: backward(u, v, s / s, b / b, c), "multiply each by the gradient"),
    (checks.check_backward, lambda u, v, s, b, c: (backward(u, v, s, b, c)[0], u * b), "its ReLU lets nothing back"),
    (
        checks.check_backward,
        lambda u, v, s, b, c: (backward(u, v, s, b, c)[0], np.maximum(u, 0) * (v > 0) * b),
        "its sign stays",
    ),
    (
        checks.check_backward,
        lambda u, v, s, b, c: np.add(backward(u, v, s, b, c), [np.minimum(v, 0) * b, 0 * b]),
        "f of the other's u",
    ),
    (checks.check_backward, lambda u, v, s, b, c: backward(u, v, s, b, "multiply"), "its slope is 1"),
    (checks.check_backward, lambda u, v, s, b, c: backward(u, v, s, b, "gated"), "no f(u) beside"),
    (checks.check_backward, lambda *given: backward(*given)[0], "two arrays"),
    (checks.check_backward, lambda u, v, s, b, c: (u * v, u * v), "the other factor"),
    (checks.check_signal_shapes, lambda n, c: [(c << k, n >> k + 3, n >> k + 3) for k in range(4)], "not halved"),
    (checks.check_signal_shapes, lambda n, c: [(c << k, n >> k + 1, n >> k + 1) for k in range(4)], "two things halve"),
    (checks.check_signal_shapes, lambda n, c: [(c, n >> k + 2, n >> k + 2) for k in range(4)], "doubles the channels"),
    (checks.check_signal_shapes, lambda n, c: [(c << k, n >> 2, n >> 2) for k in range(4)], "halves the picture"),
    (checks.check_signal_shapes, lambda n, c: [(n >> k + 2, n >> k + 2, c << k) for k in range(4)], "channels come"),
    (checks.check_signal_shapes, lambda n, c: [c << k for k in range(4)], "one (channels, height, width)"),
    (checks.check_train_step, no_step, "nothing has moved"),
    (checks.check_train_step, step_every_part, "behind the loop"),
    (checks.check_train_step, lambda *given: train_step(*given, weigh=lambda y, n: 1 / 2, reduction="mean"), "by its"),
    (checks.check_train_step, lambda *given: train_step(*given, weigh=lambda y, n: 1, reduction="mean"), "the parts'"),
    (checks.check_train_step, lambda *given: train_step(*given, weigh=lambda y, n: 1), "not their sum"),
    (checks.check_train_step, last_part_only, "before the first part"),
    (checks.check_train_step, old_gradients, "zero them first"),
    (checks.check_train_step, lambda *given: train_step(*given, weigh=lambda y, n: -1 / n), "then take one step"),
    (checks.check_train_step, returning(lambda losses, sizes: losses[-1] / 3), "the last part's share"),
    (checks.check_train_step, returning(lambda losses, sizes: losses[-1]), "the last part's loss"),
    (checks.check_train_step, returning(lambda losses, sizes: sum(losses)), "not the sum of the parts' means"),
    (checks.check_train_step, returning(lambda losses, sizes: np.mean(losses)), "parts of different sizes"),
    (checks.check_train_step, returning(lambda losses, sizes: 0.0), "as a number"),
    (checks.check_class_accuracy, lambda m: np.diag(m) / m.sum(axis=0), "how often a *prediction* is right"),
    (checks.check_class_accuracy, lambda m: np.diag(m) / m.sum(), "not by all clips"),
    (checks.check_class_accuracy, np.diag, "these are counts"),
    (checks.check_class_accuracy, lambda m: class_accuracy(m).mean(), "all clips of that class"),
    (checks.check_three_cameras, lambda *given: three_cameras(*given, fuse=sum), "not their sum"),
    (checks.check_three_cameras, lambda *given: three_cameras(*given, fuse=lambda z: z[2] / 2 + (z[0] + z[1]) / 4),
     "all three count alike"),
    (checks.check_three_cameras, lambda *given: three_cameras(*given, fuse=lambda z: z[2]), "count as well"),
    (checks.check_three_cameras, lambda *given: three_cameras(*given, join=lambda both: None), "takes signals"),
    (checks.check_three_cameras, lambda *given: three_cameras(*given, join=lambda both: both[1]), "those of one"),
    (checks.check_three_cameras, lambda *given: three_cameras(*given, join=sum), "of the two signals, not their sum"),
    (checks.check_three_cameras, lambda *given: three_cameras(*given, join=lambda both: both[0] * both[1]), "product"),
    (checks.check_three_cameras, lambda *given: three_cameras(*given, fuse=lambda z: z[0]), "run each source"),
    (checks.check_mended_and_spoilt, lambda *given: -np.diff(mended_and_spoilt(*given)), "two numbers"),
    (checks.check_mended_and_spoilt, lambda *given: mended_and_spoilt(*given)[::-1], "comes first"),
    (checks.check_mended_and_spoilt, lambda *given: mended_and_spoilt(*given) / 100, "not as a share"),
    (checks.check_mended_and_spoilt, lambda *given: mended_and_spoilt(*given) * len(given[2]) / 100, "not as counts"),
    (checks.check_mended_and_spoilt, of_each_kind, "of those that RGB"),
    (checks.check_mended_and_spoilt, lambda *given: mended_and_spoilt(*given, fuse=lambda _, z: z), "not depth alone"),
    (checks.check_mended_and_spoilt,
     lambda r, d, y: 100 * np.array([np.mean((r + d).argmax(1) == y), np.mean((r + d).argmax(1) != y)]),
     "what both answer right"),
    (checks.check_mended_and_spoilt, lambda *given: mended_and_spoilt(*given, fuse=np.maximum), "RGB wrong and"),
    (checks.check_rgb_only_accuracy, lambda *given: rgb_only_accuracy(*given, training=True), "call network.eval()"),
    (checks.check_rgb_only_accuracy, lambda *given: rgb_only_accuracy(*given, sees="depth"), 'read batch["rgb"]'),
    (checks.check_rgb_only_accuracy, mean_of_batches, "divide once"),
    (checks.check_rgb_only_accuracy, lambda *given: 100 * rgb_only_accuracy(*given), "not per cent"),
    (checks.check_rgb_only_accuracy, lambda *given: 5 * rgb_only_accuracy(*given), "number of clips"),
    (checks.check_rgb_only_accuracy, peeking_accuracy, "not even be read"),
    (checks.check_rgb_only_accuracy, lambda *given: rgb_only_accuracy(*given, slopes=True), "torch.inference_mode"),
    (checks.check_rgb_only_accuracy, lambda one, batches: rgb_only_accuracy(one, batches[:1]), "of all batches"),
    (checks.check_later_loss, lambda *given: later_loss(*given, squared=False), "by T squared"),
    (checks.check_later_loss, lambda *given: later_loss(*given, student_at=1.0), "divided by T in the soft term"),
    (checks.check_later_loss, lambda *given: later_loss(*given, taught_at=1.0), "soften the teacher"),
    (checks.check_later_loss, lambda z, *rest: later_loss(z, *rest) / 4, "nothing is halved"),
    (checks.check_later_loss, lambda *given: later_loss(*given, clips=1), "sum per clip"),
    (checks.check_later_loss, lambda *given: later_loss(*given, clips=given[2].numel()), "not a mean over elements"),
    (checks.check_later_loss, lambda *given: later_loss(*given[:-1], 1.0), "the weight w"),
    (checks.check_later_loss, lambda *given: later_loss(*given, clips=len(given[2])), "not by the frames"),
    (checks.check_later_loss, leaking, "detach it"),
    (checks.check_later_loss, lambda z, *rest: later_loss(z.detach(), *rest), "reach the student"),
    (checks.check_later_loss, lambda *given: later_loss(*given).detach(), "reach the student"),
    (checks.check_later_loss, lambda z, *rest: later_loss(z, *rest) + 1, "label + T^2"),
    (checks.check_freeze, lambda network: network, "want no gradient"),
    (checks.check_freeze, lambda network: network.eval(), "want no gradient"),
    (checks.check_freeze, lambda network: torch.nn.Sequential(), "want no gradient"),
    (checks.check_freeze, lambda network: network.requires_grad_(False), "train() of a parent"),
    (checks.check_freeze, lambda network: network.requires_grad_(False).eval(), "train() of a parent"),
    (checks.check_freeze, without_momentum, "not by those of the batch"),
    (checks.check_weaned, lambda u, s, g: g * u * s, "would get zeros"),
    (checks.check_weaned, lambda u, s, g: g * u * s + (1 - g) * u, "the rectified sum"),
    (checks.check_weaned, lambda u, s, g: weaned(u, s, 1 - g), "share 1 is the whole"),
    (checks.check_weaned, lambda u, s, g: weaned(F.relu(u), s, g), "before its ReLU"),
    (checks.check_weaned, lambda u, s, g: F.relu(u) + g * u * s, "gated form"),
    (checks.check_weaned, lambda u, s, g: u, "the share of the product"),
    (checks.check_paired_interval, lambda *given: paired_interval(*given, ddof=0), "ddof=1"),
    (checks.check_paired_interval, lambda *given: paired_interval(*given, of=lambda _: 1), "smaller by the root"),
    (checks.check_paired_interval, by_subjects_mean, "not of the subjects' means"),
    (checks.check_paired_interval, by_clips, "not between clips"),
    (checks.check_paired_interval, lambda a, b, *more: paired_interval(b, a, *more), "difference -+ t"),
    (checks.check_soft_targets, lambda z, t: soft_targets(z * t, 1), "do not multiply"),
    (checks.check_soft_targets, lambda z, t: softmax(z / t), "subtract the largest"),
    (checks.check_soft_targets, lambda z, t: softmax(z) / t, "add up to one"),
    (checks.check_soft_targets, lambda z, t: soft_targets(z, 1), "divide the logits by the temperature"),
    (checks.check_cka, uncentred_cka, "centre first"),
    (checks.check_cka, lambda x, y: uncentred_cka(*(v - v.mean(axis=1, keepdims=True) for v in (x, y))),
     "each channel over the examples"),
    (checks.check_cka, lambda x, y: np.sqrt(cka(x, y)), "take the root"),
    (checks.check_cka, lambda x, y: cka(x, y) / covariance(x, y), "the numerator is squared"),
    (checks.check_cka, lambda x, y: (covariance(x, y) / (spread(x) * spread(y))) ** 2, "not by the lengths"),
    (checks.check_cka, lambda x, y: covariance(x, y) ** 2, "so that scale does not matter"),
    (checks.check_cka, lambda x, y: np.corrcoef(x.T, y.T), "Frobenius"),
    (checks.check_largest_drops, lambda b, a, y, n: largest_drops(a, b, y, n), "these gained most"),
    (checks.check_largest_drops, lambda b, a, y, n: largest_drops(b, a, y, n)[::-1], "comes first"),
    (checks.check_largest_drops,
     lambda b, a, y, n: np.argsort(-np.abs((a - b)[np.arange(len(y)), y]), kind="stable")[:n], "keep the sign"),
    (checks.check_largest_drops, lambda b, a, y, n: np.argsort(a.max(axis=1) - b.max(axis=1), kind="stable")[:n],
     "not the largest one"),
    (checks.check_largest_drops, lambda b, a, y, n: largest_drops(b, a, b.argmax(axis=1), n), "first predicted"),
    (checks.check_largest_drops, lambda b, a, y, n: -np.sort((a - b)[np.arange(len(y)), y])[:n], "return the clips'"),
    (checks.check_largest_drops, lambda b, a, y, n: np.argsort((a / (b + 1e-9))[np.arange(len(y)), y])[:n],
     "not a ratio"),
    (checks.check_largest_drops, lambda b, a, y, n: np.arange(n) + 2, "sorted from the largest"),
    (checks.check_speckle, lambda image, n: clips.saturate(image + n), "do not add it"),
    (checks.check_speckle, lambda image, n: np.clip(image / 255 * n, 0, 1), "not to 1"),
    (checks.check_speckle, lambda image, n: (image * n).astype(int) % 256, "wraps around"),
    (checks.check_speckle, lambda image, n: np.trunc(image * n), "wraps around"),
    (checks.check_speckle, lambda image, n: np.rint(np.clip(image * n, 0, 255)), "drops fractions"),
    (checks.check_speckle, lambda image, n: np.clip(image * n, 0, 255), "drops fractions"),
    (checks.check_speckle, lambda image, n: image, "image times noise"),
    (checks.check_crossing, lambda s, a, r: s[a < r].min(initial=np.inf), "on the way there"),
    (checks.check_crossing, lambda s, a, r: s[a >= r].max(initial=0), "crosses behind it"),
    (checks.check_crossing, lambda s, a, r: crossing(s, a, r, np.array, float), "not along the severity"),
    (checks.check_crossing, lambda s, a, r: np.log10(crossing(s, a, r)), "10 to its power"),
    (checks.check_crossing, last_crossing, "the first time counts"),
    (checks.check_crossing, lambda s, a, r: min(crossing(s, a, r), s[-1]), "return np.inf"),
    (checks.check_crossing, lambda s, a, r: crossing(s, a, r) if a[0] > r else 0.0, "return that one"),
    (checks.check_crossing, lambda s, a, r: 1.0, "straight between"),
    (checks.check_teacher_weights, lambda e, t: teacher_weights(-e, t), "mind the sign"),
    (checks.check_teacher_weights, lambda e, t: teacher_weights(e, 1 / t), "divide the errors by it"),
    (checks.check_teacher_weights, lambda e, t: teacher_weights(e, 1), "before exp()"),
    (checks.check_teacher_weights, lambda e, t: teacher_weights(e.T, t).T, "sum over axis 0"),
    (checks.check_teacher_weights, lambda e, t: np.exp(-e / t) / np.exp(-e / t).sum(axis=0), "smallest error first"),
    (checks.check_teacher_weights, lambda e, t: 1 / e / (1 / e).sum(axis=0), "another rule"),
    (checks.check_teacher_weights, lambda e, t: teacher_weights(e, t)[:, 0], "for each teacher and clip"),
    (checks.check_teacher_weights, lambda e, t: np.full_like(e, 1 / len(e)), "divided by its sum"),
    (checks.check_lesson, lambda *given: lesson(*given, labelled=True), "not by those that have a label"),
    (checks.check_lesson, lambda *given: 3 * lesson(*given), "not sums"),
    (checks.check_lesson, lambda *given: lesson(*given, weight=1), "multiplied by T squared"),
    (checks.check_lesson, lambda *given: lesson(*given, weight=given[3]), "not T"),
    (checks.check_lesson, lambda *given: lesson(*given, own=1), "soften the student"),
    (checks.check_lesson, lambda *given: lesson(*given, told=1), "soften the teacher"),
    (checks.check_lesson, lambda *given: lesson(*given, soft=0.1), "0.1 to the labels"),
    (checks.check_lesson, divergent_lesson, "Kullback-Leibler"),
    (checks.check_lesson, lambda *given: 0 * lesson(*given), "both means over all clips"),
    (checks.check_lesson, lambda *given: lesson(*given, detach=False), "detach it"),
    (checks.check_questions, lambda rows: questions(rows, (1, 2)), "says nothing about either"),
    (checks.check_questions, lambda rows: questions(rows, pairs=lambda n: permutations(n, 2)), "each pair once"),
    (checks.check_questions, lambda rows: questions(rows, (0, 1), lambda n: product(n, n)), "no pair with itself"),
    (checks.check_questions, lambda rows: questions(rows, pairs=pairwise), "not only with its neighbour"),
    (checks.check_questions, lambda rows: questions(rows, (0, 1)), "no difference, no question"),
    (checks.check_questions, lambda rows: [part for *_, part in questions(rows)], "a list of (one, other, part)"),
    (checks.check_holm, lambda p: np.minimum(p * len(p), 1), "this is Bonferroni's"),
    (checks.check_holm, lambda p: np.minimum(uncapped_holm(p, carried=False), 1), "carry the largest so far along"),
    (checks.check_holm, lambda p: np.sort(statistics.holm(p)), "in the order in which they came"),
    (checks.check_holm, uncapped_holm, "a probability ends at 1"),
    (checks.check_holm, lambda p: np.minimum(p * (np.argsort(np.argsort(p)) + 1), 1), "start from the smallest"),
    (checks.check_holm, lambda p: p, "sort; the smallest times m"),
    (checks.check_judgement, lambda kind, *given: judgement("above", *given), "within the level on both sides"),
    (checks.check_judgement, lambda kind, low, high, level: judgement(kind, low, high, 3 * (kind == "near")),
     "need not be zero"),
    (checks.check_judgement, lambda kind, low, high, level: "holds" if low + high > 0 else "fails", "as a whole"),
    (checks.check_judgement, lambda kind, low, high, level: "holds" if low > level else "undecided", "it fails"),
    (checks.check_judgement,
     lambda kind, low, high, level: "holds" if low < 0 < high else judgement(kind, low, high, level), "as a whole"),
    (checks.check_judgement,
     lambda kind, low, high, level: judgement(kind, low, high, level) if kind == "above"
     else "holds" if low < 0 < high else "fails", "around zero is not enough"),
    (checks.check_judgement,
     lambda kind, low, high, level: judgement(kind, low, high, level) if kind == "above"
     else "holds" if -level < low and high < level else "undecided", "wholly outside"),
    (checks.check_same_order, lambda a, b: np.mean(np.diff(a) * np.diff(b) > 0), "not only neighbours"),
    (checks.check_same_order, lambda a, b: 2 * statistics.same_order(a, b) - 1, "Kendall's tau"),
    (checks.check_same_order, lambda a, b: 10 * statistics.same_order(a, b), "divide by the number of pairs"),
    (checks.check_same_order, lambda a, b: 100 * statistics.same_order(a, b), "not per cent"),
    (checks.check_same_order,
     lambda a, b: np.mean(np.sign(np.subtract.outer(a, a)) == np.sign(np.subtract.outer(b, b))), "no pair with itself"),
    (checks.check_same_order, lambda a, b: statistics.same_order(a, -b), "same row on top"),
]  # fmt: skip


def test_every_check_is_tested_here():
    named = {name for name in vars(checks) if name.startswith("check_")}
    assert named == {check.__name__ for check in RIGHT} == {check.__name__ for check, _, _ in MISTAKES}


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_a_right_solution_passes_with_one_line(check, capsys):
    assert check(RIGHT[check]) is None
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(("check", "solution", "hint"), MISTAKES)
def test_a_typical_mistake_gets_its_own_hint(check, solution, hint):
    with pytest.raises(Advice) as caught:
        check(solution)
    assert hint in caught.value.fix
    assert caught.value.path.startswith("exercise")
    assert caught.value.reason.startswith("expected ") and ", found " in caught.value.reason


def test_a_frozen_network_may_stand_in_a_module_of_its_own():
    class Frozen(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.inner = network.requires_grad_(False).eval()

        def train(self, mode=True):
            return self

        def forward(self, clips):
            return self.inner(clips)

    checks.check_freeze(Frozen)


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_a_blank_is_told_so_and_is_no_error(check, capsys):
    """A check without `@exercise` would stop a notebook that nobody has solved yet."""
    assert check(lambda *arguments: ...) is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("exercise ") and "not answered yet" in line and "help folds out" in line


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_a_grader_lets_no_blank_pass(check):
    inspect.unwrap(check)(RIGHT[check])
    with pytest.raises(Blank):
        inspect.unwrap(check)(lambda *arguments: ...)


def test_half_an_answer_is_still_a_blank(capsys):
    checks.check_mended_and_spoilt(lambda rgb, depth, labels: (10.0, ...))
    assert "not answered yet" in capsys.readouterr().out


def test_a_notebook_shows_the_advice_and_not_the_way_through_the_check():
    shell = InteractiveShell()
    shell.user_ns["checks"] = checks
    with capture_output() as shown:
        shell.run_cell("checks.check_gap_closed(lambda student, baseline, upper: student / upper)")
    first, hint = shown.stdout.strip().splitlines()
    assert first.startswith("exercise 0.2: expected 0.5 for 70.0, 60.0, 80.0, found 0.875")
    assert hint == "Hint: the student's gain over the baseline, divided by the upper bound's."


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_a_forgotten_return_is_named(check):
    with pytest.raises(LabError, match="return"):
        check(lambda *arguments: None)


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_text_in_place_of_numbers_and_back_is_refused(check):
    with pytest.raises(LabError):
        check(lambda *arguments: 7)
    with pytest.raises(LabError):
        check(lambda *arguments: "seven")
