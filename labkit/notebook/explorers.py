"""What the notebooks let a reader turn: registration, losses, connections, noise, maps and confusions.

Each function takes results, computes what all settings share, and returns a `widgets.View`: `view.show(lab, name,
caption)` shows its twin to everybody, and its controls to whoever has a kernel. The scrubber through a clip is in
`widgets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from matplotlib.figure import Figure

from .. import losses
from ..alignment import Alignment, registration_error
from ..analysis.probes import through_connection
from ..clips import colorize_depth
from ..data.skeletons import Skeleton
from ..experiments.statistics import confusion
from ..experiments.studies.noise import CORRUPTIONS, corrupt
from ..figures.pictures import Answered, answered_clips
from . import panels
from .widgets import Cell, Choice, Range, Setting, View


def alignment(color: np.ndarray, depth: np.ndarray, skeleton: Skeleton, frame: int, fitted: Alignment) -> View:
    """Depth over colour at any offset and ratio, with the median distance of all the clip's joints.

    `color` (H, W, 3) uint8 and `depth` (h, w) uint16 are the recorded images of `frame`, `fitted` is where the
    sliders start. Offsets move by up to a tenth of the depth image, the ratio by up to a fifth.
    """
    rgba = np.dstack([colorize_depth(depth), np.where(depth > 0, 255, 0).astype(np.uint8)])
    used = (skeleton.state == 2) & np.isfinite(skeleton.depth_xy + skeleton.color_xy).all(axis=-1)
    body = int(used[frame].sum(axis=-1).argmax())
    shown = [np.where(used[frame, body, :, None], xy[frame, body], np.nan)
             for xy in (skeleton.color_xy, skeleton.depth_xy)]  # fmt: skip
    (x, y), far = fitted.offset, round(depth.shape[1] / 10, 1)

    def draw(settings: Sequence[Setting]) -> Figure:
        laid = [replace(fitted, scale=(s["ratio"],) * 2, offset=(s["right"], s["down"])) for s in settings]
        errors = [np.median(registration_error(one, skeleton.depth_xy[used], skeleton.color_xy[used])) for one in laid]
        labels = [f"ratio {one.ratio:.2f}, offset {one.offset[0]:.1f}, {one.offset[1]:.1f}\nresidual {error:.2f} px"
                  for one, error in zip(laid, errors, strict=True)]  # fmt: skip
        return panels.registrations(color, rgba, *shown, laid, labels)

    step = float(depth.shape[1] / 1000)
    controls = {
        "right": Range("offset to the right", x - far, x + far, step, x),
        "down": Range("offset downwards", y - far, y + far, step, y),
        "ratio": Range("ratio", 0.8 * fitted.ratio, 1.2 * fitted.ratio, fitted.ratio / 200, fitted.ratio),
    }
    site = {"right": [x + share * far for share in (-0.4, -0.1, 0, 0.1, 0.4)],
            "down": [y + share * far for share in (-0.1, 0, 0.1)],
            "ratio": [share * fitted.ratio for share in (0.9, 1, 1.1)]}  # fmt: skip
    return View(draw, controls, [{}, {"right": x + far / 2}, {"ratio": 1.1 * fitted.ratio}], site)


FORMS = {  # how a student's soft term is written: the paper's text, the released code, the authors' later port
    "text": lambda temperature: {},
    "released code": lambda temperature: {"student_temperature": temperature},
    "code times T²": lambda temperature: {"student_temperature": temperature, "temperature_squared": True},
}


def loss(student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, hall: Sequence[float],
         names: Sequence[str]) -> View:  # fmt: skip
    """Eq. 5 and 7 for one clip at a time: temperature, imitation and the weight of the maps.

    `student`, `teacher` are logits (clips, classes), `labels` (clips,), `hall` the clips' eq. 3 (`losses.
    hallucination_loss`, reduction "sum").
    """
    student, teacher = student.detach(), teacher.detach()

    def draw(settings: Sequence[Setting]) -> Figure:
        opinions, terms, titles = [], [], []
        for s in settings:
            pick = slice(s["clip"], s["clip"] + 1)
            soft = losses.soft_targets(teacher[pick], s["temperature"])[0].numpy()
            target = s["imitation"] * soft
            target[labels[s["clip"]]] += 1 - s["imitation"]
            said = losses.soft_targets(student[pick], 1.0)[0].numpy()
            opinions.append({"target": target, "teacher": soft, "student": said})
            hard, imitated = (
                float(losses.generalized_distillation_loss(
                    student[pick], teacher[pick], labels[pick], imitation=imitation, temperature=s["temperature"],
                    **FORMS[s["form"]](s["temperature"])))
                for imitation in (0.0, 1.0)
            )  # fmt: skip
            rest = 1 - s["maps"]
            terms.append({"label": rest * (1 - s["imitation"]) * hard, "soft labels": rest * s["imitation"] * imitated,
                          "maps": s["maps"] * hall[s["clip"]]})  # fmt: skip
            titles.append(f"T = {s['temperature']:g}, λ = {s['imitation']:g}, α = {s['maps']:g}")
        return panels.loss_settings(opinions, terms, names, titles)

    controls = {
        "clip": Range("clip", 0, len(labels) - 1),
        "temperature": Choice("temperature T", (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0), 10.0),
        "imitation": Range("imitation λ", 0.0, 1.0, 0.05, 0.5),
        "maps": Range("weight of the maps α", 0.0, 1.0, 0.01, 0.0),
        "form": Choice("form of the soft term", tuple(FORMS)),
    }
    chosen = ({"temperature": 1.0}, {}, {"temperature": 10.0, "imitation": 1.0}, {"maps": 0.05})
    site = {"temperature": (1.0, 2.0, 5.0, 10.0, 20.0), "imitation": (0.0, 0.5, 1.0), "maps": (0.0, 0.05),
            "form": ("text", "released code")}  # fmt: skip
    return View(draw, controls, chosen, site)


def connection(own: Sequence[np.ndarray], other: Sequence[np.ndarray], channel: int = 0) -> View:
    """What reaches the target's branch, and what comes back to either stream, for one channel of one frame.

    `own`, `other` hold the unit sums of blocks 1 to 4 before ReLU, each (channels, h, w), of target and source
    (`probes.unit_sums`). A slope says how much the branch's input grows with that stream's sum, place by place.
    """

    def draw(settings: Sequence[Setting]) -> Figure:
        rows, labels, most = [], [], 0.0
        for s in settings:
            u, v = (torch.as_tensor(sums[s["block"] - 1][s["channel"]]) for sums in (own, other))
            passage = through_connection(u, v, None if s["connection"] == "none" else s["connection"], s["strength"])
            maps = (u, s["strength"] * v.relu(), passage.branch, passage.to_own, passage.to_other)
            rows.append({name: values.numpy() for name, values in zip(_MAPS, maps, strict=True)})
            labels.append(f"{s['connection']}\nstrength {s['strength']:g}\nblock {s['block']}\nchannel {s['channel']}")
            most = max(most, float(u.abs().max()), float(v.max()))  # of the streams, so that a slider leaves it alone
        slopes = max(1.0, most)
        return panels.connections(rows, labels, dict(zip(_MAPS, (most, most, most, slopes, slopes), strict=True)))

    controls = {
        "connection": Choice("connection", ("none", "add", "multiply", "gated"), start="multiply"),
        "strength": Range("strength of the signal", 0.0, 2.0, 0.1, 1.0),
        "block": Range("block", 1, len(own)),
        "channel": Range("channel", 0, lambda setting: len(own[setting["block"] - 1]) - 1, start=channel),
    }
    forms, blocks = controls["connection"].options, tuple(range(1, len(own) + 1))
    site = {"connection": forms, "strength": (0.0, 1.0, 2.0), "block": blocks}
    return View(draw, controls, [{"connection": name} for name in forms], site)


_MAPS = ("own sum u", "signal", "branch input", "slope to own u", "slope to the other's u")


def noise(rgb: np.ndarray, depth: np.ndarray, answer: Callable[[np.ndarray], np.ndarray], names: Sequence[str],
          label: int, chosen: Sequence[Setting], *, clip: str) -> View:  # fmt: skip
    """What a model answers about one clip as its depth gets worse, kind by kind; RGB stays clean.

    `rgb` (T, H, W, 3) uint8, `depth` (T, H, W) uint16 in mm; `answer` takes coloured depth and returns
    probabilities (classes,), see `probes.answering`. Severity 0 is the clip as it is, 1 the kind's first. `chosen` are
    the settings of the twin. `clip` is its id, so that the noise is the one it has in the noise study.
    """
    clean = colorize_depth(depth)
    steps = {kind: list(corruption.readings) for kind, corruption in CORRUPTIONS.items() if kind != "none"}

    @cache
    def looked_at(kind: str, severity: int) -> tuple[str, np.ndarray, np.ndarray]:
        if not severity:
            return "clean", clean, answer(clean)
        words = steps[kind][severity - 1]
        worse = corrupt(depth[None], [clip], CORRUPTIONS[kind], words, pictures=clean[None])[0]
        return words, worse, answer(worse)

    def draw(settings: Sequence[Setting]) -> Figure:
        clips = []
        for words, worse, chances in (looked_at(s["kind"], s["severity"]) for s in settings):
            said = names[np.argmax(chances)]
            right = "right" if np.argmax(chances) == label else f"wrong: {names[label]}"
            words = f"{words}: “{said}”, {100 * max(chances):.0f} % sure, {right}"
            clips.append(Answered({"RGB": rgb, "depth": worse}, {"two_stream": chances}, label, words))
        return answered_clips(clips, names)

    controls = {
        "kind": Choice("corruption", tuple(steps)),
        "severity": Range("severity", 0, lambda setting: len(steps[setting["kind"]]), start=1),
    }
    site = {"kind": tuple(steps), "severity": range(max(map(len, steps.values())) + 1)}
    return View(draw, controls, chosen, site)


def features(maps: Mapping[str, Sequence[np.ndarray]], inputs: Mapping[str, np.ndarray]) -> View:
    """A browser through what streams hold: whose map, which block, channel and frame.

    `maps[role]` are the ends of blocks 1 to 4, each (frames, channels, h, w) as from `probes.feature_maps`;
    `inputs[role]` the frames (frames, H, W, 3) uint8 that stream saw. A role may be a checkpoint ("hallucination,
    at the start"). Channels come in the order of the first role's mean, so that the first ones are alive; the
    brightness of a channel is that of its largest value over all roles and frames. It opens at the end of block 1,
    whose maps are large; those of the last one are a few squares.
    """
    roles, first = tuple(maps), next(iter(maps.values()))
    order = [np.argsort(-np.asarray(block).mean(axis=(0, 2, 3)), kind="stable") for block in first]

    def draw(settings: Sequence[Setting]) -> Figure:
        picked = [(s["role"], s["block"] - 1, order[s["block"] - 1][s["channel"]], s["frame"] - 1) for s in settings]
        values = [np.asarray(maps[role][block][frame, channel]) for role, block, channel, frame in picked]
        scales = [max(float(maps[role][block][:, channel].max()) for role in roles) for _, block, channel, _ in picked]
        labels = [f"{role}\nblock {block + 1}, channel {channel}, frame {frame + 1}"
                  for role, block, channel, frame in picked]  # fmt: skip
        return panels.map_settings([inputs[role][frame] for role, _, _, frame in picked], values, labels, scales)

    controls = {
        "role": Choice("stream", roles),
        "block": Range("block", 1, len(first)),
        "channel": Range("channel, strongest first", 0, lambda setting: len(order[setting["block"] - 1]) - 1),
        "frame": Range("frame", 1, len(first[0]), start=(len(first[0]) + 1) // 2),
    }
    return View(draw, controls, [{"role": role} for role in roles])


def confused(labels: np.ndarray, predicted: np.ndarray, thumbnails: np.ndarray, names: Sequence[str]) -> View:
    """A confusion matrix to click, and the clips behind a cell of it.

    `labels`, `predicted` (clips,) are true and predicted classes; `thumbnails` (clips, H, W, 3) uint8 one
    picture a clip, say its middle frame. The twin shows the largest confusions.
    """
    matrix = confusion(predicted, labels, len(names))
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:3]
    worst = [tuple(map(int, np.unravel_index(cell, matrix.shape))) for cell in order]

    def draw(settings: Sequence[Setting]) -> Figure:
        cells = [tuple(map(names.index, setting["cell"])) for setting in settings]
        clips = [thumbnails[(labels == true) & (predicted == said)] for true, said in cells]
        return panels.confused_clips(matrix, names, cells, clips)

    names = list(names)
    largest = [(names[true], names[said]) for true, said in worst]
    controls = {"cell": Cell("true class taken for", names, matrix, start=largest[0])}
    return View(draw, controls, [{"cell": cell} for cell in largest])
