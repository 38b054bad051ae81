"""Figures of one thing at several settings: what the explorers show live, and their static twins beside it.

Each takes results for one setting or more and draws them next to each other. Every axes has its fixed place,
in inches from the top left corner: a picture must not jump while a slider moves, and needs no layout to be found.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..alignment import Alignment
from ..figures.gallery import draw_confusion
from ..figures.pictures import BONES, tile
from ..figures.style import FAINT, INK, PAGE, PLAIN, ROLES, bare, styled

SMALL = 7  # points
MARGIN = 1.3  # inches, for names of classes
MARKED = PLAIN[1:]  # cells of a matrix, which ink would hide


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at that place and of that size, in inches from the figure's top left corner."""
    wide, tall = figure.get_size_inches()
    return figure.add_axes((left / wide, 1 - (top + height) / tall, width / wide, height / tall))


def write(figure: Figure, left: float, top: float, words: str, **look) -> None:
    """Words that start at that place, in inches from the figure's top left corner."""
    wide, tall = figure.get_size_inches()
    figure.text(left / wide, 1 - top / tall, words, **{"va": "top", "fontsize": SMALL, **look})


@styled
def registrations(color: np.ndarray, depth_rgba: np.ndarray, color_xy: np.ndarray, depth_xy: np.ndarray,
                  alignments: Sequence[Alignment], labels: Sequence[str]) -> Figure:  # fmt: skip
    """Depth over colour as each alignment lays them, in depth pixels; skeletons of both cameras on top.

    `color` (H, W, 3) and `depth_rgba` (h, w, 4) uint8, transparent where nothing was measured; `color_xy` and
    `depth_xy` (25, 2) are the joints in pixels of their own image, NaN for one to leave out.
    """
    (height, width), (tall, wide) = depth_rgba.shape[:2], color.shape[:2]
    across = min(PAGE / len(alignments), 4.2)
    figure = Figure(figsize=(across * len(alignments), across * height / width + 0.75))
    for column, (alignment, label) in enumerate(zip(alignments, labels, strict=True)):
        panel = bare(place(figure, column * across + 0.04, 0.25, across - 0.08, (across - 0.08) * height / width))
        (left, top), (right, bottom) = alignment.to_depth((0, 0)), alignment.to_depth((wide, tall))
        panel.imshow(color, extent=(left, right, bottom, top))
        panel.imshow(depth_rgba, extent=(0, width, height, 0), alpha=0.55)
        for joints, look, name in ((alignment.to_depth(color_xy), "white", "joints of the RGB image"),
                                   (depth_xy, ROLES["depth"], "joints of the depth image")):  # fmt: skip
            bones = np.concatenate([[*joints[list(bone)], (np.nan, np.nan)] for bone in BONES])
            panel.plot(*bones.T, color=look, linewidth=1.2, marker=".", markersize=3, label=name)
        panel.set(xlim=(0, width), ylim=(height, 0), facecolor=FAINT)
        write(figure, column * across + 0.04, across * height / width + 0.28, label)
    figure.legend(*panel.get_legend_handles_labels(), loc="upper center", ncols=2, facecolor="#B0B0B0", frameon=True)
    return figure


@styled
def loss_settings(opinions: Sequence[Mapping[str, np.ndarray]], terms: Sequence[Mapping[str, float]],
                  names: Sequence[str], labels: Sequence[str]) -> Figure:  # fmt: skip
    """What a student is to say and what it says, and its loss by term; one column a setting.

    `opinions` hold "target", the blend of label and soft labels, "teacher" and "student", each (classes,);
    `terms` what each part of the loss adds to it.
    """
    margin, gap = MARGIN, 0.22
    across = min((PAGE - margin) / len(opinions), 2.6)
    bars, lows = 0.16 * len(names), 0.16 * len(terms[0])
    figure = Figure(figsize=(margin + across * len(opinions), bars + lows + 1.5))
    most = max(max(sum(parts.values()) for parts in terms), 1e-9)
    for column, (opinion, parts, label) in enumerate(zip(opinions, terms, labels, strict=True)):
        left = margin + column * across
        panel = place(figure, left, 0.6, across - gap, bars)
        rows = np.arange(len(names))
        panel.barh(rows, opinion["target"], 0.75, color=FAINT, label="target: label and soft labels")
        panel.barh(rows, opinion["teacher"], 0.4, color=ROLES["depth"], label="teacher, softened")
        panel.plot(opinion["student"], rows, "o", color=ROLES["hallucination"], markersize=3.5, clip_on=False,
                   label="student")  # fmt: skip
        panel.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
        _names(panel, names if column == 0 else ())
        panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        write(figure, left, 0.28, label)
        low = place(figure, left, bars + 1.0, across - gap, lows)
        low.barh(list(range(len(parts))), list(parts.values()), 0.6, color=INK)
        low.set(xlim=(0, 1.25 * most), ylim=(len(parts) - 0.5, -0.5), xlabel=f"loss: {sum(parts.values()):.3f}")
        for row, value in enumerate(parts.values()):
            low.text(value + 0.02 * most, row, f"{value:.3f}", va="center", fontsize=6)
        _names(low, list(parts) if column == 0 else ())
    figure.legend(*panel.get_legend_handles_labels(), loc="upper right", ncols=3, columnspacing=1, handlelength=1)
    return figure


def _names(axes: Axes, names: Sequence[str]) -> None:
    """Names of rows at the left, or none; numbers in few steps below."""
    axes.set_yticks(range(len(names)), shortened(names))
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=3)


def shortened(names: Sequence[str]) -> list[str]:
    """Names that fit a margin, or the space beside a slider."""
    return [textwrap.shorten(name, 22, placeholder=" …") for name in names]


@styled
def connections(rows: Sequence[Mapping[str, np.ndarray]], labels: Sequence[str], scales: Mapping[str, float]) -> Figure:
    """One row a setting, one map (h, w) a column: red above zero, blue below, white zero.

    `scales` say what full colour stands for in each column; a stronger value looks the same.
    """
    margin, columns = 1.2, list(rows[0])
    across = (PAGE - margin) / len(columns)
    height, width = rows[0][columns[0]].shape
    down = (across - 0.1) * height / width + 0.24
    figure = Figure(figsize=(PAGE, 0.45 + down * len(rows)))
    for line, (maps, label) in enumerate(zip(rows, labels, strict=True)):
        write(figure, 0.02, 0.5 + line * down, label)
        for column, name in enumerate(columns):
            left, top = margin + column * across, 0.45 + line * down
            panel = bare(place(figure, left, top, across - 0.1, down - 0.24))
            panel.imshow(maps[name], cmap="RdBu_r", vmin=-scales[name], vmax=scales[name])
            panel.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, color=FAINT, linewidth=0.6))
            write(figure, left, top + down - 0.22, f"{100 * np.mean(maps[name] == 0):.0f} % zero", color="#777777")
            if line == 0:
                write(figure, left, 0.42, name, va="bottom")
    return figure


@styled
def answers(frames: Sequence[Mapping[str, np.ndarray]], probabilities: Sequence[np.ndarray], names: Sequence[str],
            label: int, labels: Sequence[str]) -> Figure:  # fmt: skip
    """What a model is shown and what it answers, one row a setting; `label` is the true class.

    `frames` hold named strips (T, H, W, 3) uint8 of one size, `probabilities` (classes,) add up to one.
    """
    bars, strip = 0.13 * len(names), 3.6
    pictures = [tile(np.stack(list(shown.values()))) for shown in frames]
    tall = strip * pictures[0].shape[0] / pictures[0].shape[1]
    down = max(bars, tall) + 0.4
    figure = Figure(figsize=(PAGE, 0.1 + down * len(frames)))
    colors = [ROLES["two_stream"] if row == label else "#AAAAAA" for row in range(len(names))]
    for line, (picture, chances, words) in enumerate(zip(pictures, probabilities, labels, strict=True)):
        top = 0.25 + line * down
        right = "right" if np.argmax(chances) == label else f"wrong: {names[label]}"
        said = f"{words}: “{names[np.argmax(chances)]}”, {100 * max(chances):.0f} % sure, {right}"
        write(figure, 0.45, top - 0.17, said, color=ROLES["two_stream"] if right == "right" else PLAIN[1])
        shown = bare(place(figure, 0.45, top, strip, tall))
        shown.imshow(picture)
        lines = len(frames[line])
        shown.set_yticks((np.arange(lines) + 0.5) * picture.shape[0] / lines, list(frames[line]))
        shown.tick_params(length=0)
        panel = place(figure, 4.15 + MARGIN, top, PAGE - MARGIN - 4.25, bars)
        panel.barh(range(len(names)), chances, 0.7, color=colors)
        panel.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=())
        _names(panel, names)
        panel.set_xticks((0, 1), ("0", "1") if line == len(frames) - 1 else ("", ""))
    return figure


@styled
def map_settings(inputs: Sequence[np.ndarray], maps: Sequence[np.ndarray], labels: Sequence[str],
                 scales: Sequence[float]) -> Figure:  # fmt: skip
    """A frame (H, W, 3) uint8 above what one channel makes of it (h, w); one column a setting.

    White is the column's entry in `scales`, black zero.
    """
    across = min(PAGE / len(inputs), 2.4)
    down = across - 0.1
    figure = Figure(figsize=(across * len(inputs), 2 * down + 0.75))
    for column, (seen, values, label, most) in enumerate(zip(inputs, maps, labels, scales, strict=True)):
        left = column * across + 0.05
        write(figure, left, 0.05, label)
        bare(place(figure, left, 0.4, down, down)).imshow(seen)
        bare(place(figure, left, 0.45 + down, down, down)).imshow(values, cmap="gray", vmin=0, vmax=max(most, 1e-9))
        write(figure, left, 0.5 + 2 * down, f"largest {values.max():.2f}, white is {most:.2f}", color="#777777")
    return figure


@styled
def confused_clips(matrix: np.ndarray, names: Sequence[str], cells: Sequence[tuple[int, int]],
                   clips: Sequence[np.ndarray], most: int) -> Figure:  # fmt: skip
    """A confusion matrix (true, predicted) of counts, and behind each of some cells the clips that lie there.

    `clips` are their pictures (some, H, W, 3) uint8, of which at most `most` are shown for a cell.
    """
    size, shown = 3.9, min(most, max(1, 12 // len(cells)))
    each = (PAGE - size - 0.15) / 4
    down = 0.42 + each * -(-shown // 4)
    figure = Figure(figsize=(PAGE, max(size + 0.15, 0.1 + down * len(cells))))
    axes = place(figure, MARGIN + 0.15, 0.1, size - MARGIN - 0.2, size - MARGIN - 0.2)
    draw_confusion(axes, matrix, shortened(names), numbers=len(names) <= 20)
    for line, (cell, pictures) in enumerate(zip(cells, clips, strict=True)):
        color, top = MARKED[line % len(MARKED)], 0.1 + line * down
        axes.add_patch(Rectangle(cell[::-1], 1, 1, fill=False, color=color, linewidth=2))
        how = "recognised" if cell[0] == cell[1] else f"taken for {names[cell[1]]}"
        words = f"{names[cell[0]]}, {how}: {matrix[cell]} {'clip' if matrix[cell] == 1 else 'clips'}"
        write(figure, size + 0.1, top, textwrap.fill(words, 48), color=color)
        for number, picture in enumerate(pictures[:shown]):
            left, below = size + 0.1 + number % 4 * each, top + 0.32 + number // 4 * each
            bare(place(figure, left, below, each - 0.04, each - 0.04)).imshow(picture)
    return figure
