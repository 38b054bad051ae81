"""Figures of one thing at several settings: what the explorers show live, and their static twins beside it.

Each takes results for one setting or more and draws them next to each other, at places that the number of settings
and classes decides: a picture must not jump while a slider moves, and needs no layout to be found.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..alignment import Alignment
from ..figures.gallery import draw_confusion
from ..figures.pictures import shortened, skeleton_line, tile
from ..figures.style import FAINT, INK, PAGE, PLAIN, ROLES, bare, fixed_figure, styled

SMALL = {"loc": "left", "fontsize": 7}  # of words above and below a panel
MARGIN = 1.3  # inches, for names of classes
MARKED = PLAIN[1:]  # cells of a matrix, which ink would hide


@styled
def registrations(color: np.ndarray, depth_rgba: np.ndarray, color_xy: np.ndarray, depth_xy: np.ndarray,
                  alignments: Sequence[Alignment], labels: Sequence[str]) -> Figure:  # fmt: skip
    """Depth over colour as each alignment lays them, in depth pixels; skeletons of both cameras on top.

    `color` (H, W, 3) and `depth_rgba` (h, w, 4) uint8, transparent where nothing was measured; `color_xy` and
    `depth_xy` (25, 2) are the joints in pixels of their own image, NaN for one to leave out.
    """
    (height, width), (tall, wide) = depth_rgba.shape[:2], color.shape[:2]
    across = min(PAGE / len(alignments), 4.2)
    size = across * len(alignments), across * height / width + 0.75
    figure, axes = fixed_figure(*size, columns=len(alignments), top=0.25, bottom=0.5)
    for panel, alignment, label in zip(axes[0], alignments, labels, strict=True):
        (left, top), (right, bottom) = alignment.to_depth((0, 0)), alignment.to_depth((wide, tall))
        bare(panel).imshow(color, extent=(left, right, bottom, top))
        panel.imshow(depth_rgba, extent=(0, width, height, 0), alpha=0.55)
        for joints, look, name in ((alignment.to_depth(color_xy), "white", "joints of the RGB image"),
                                   (depth_xy, ROLES["depth"], "joints of the depth image")):  # fmt: skip
            panel.plot(*skeleton_line(joints).T, color=look, linewidth=1.2, marker=".", markersize=3, label=name)
        panel.set(xlim=(0, width), ylim=(height, 0), facecolor=FAINT)
        panel.set_xlabel(label, **SMALL)
    figure.legend(*panel.get_legend_handles_labels(), loc="upper center", ncols=2, facecolor="#B0B0B0", frameon=True)
    return figure


@styled
def loss_settings(opinions: Sequence[Mapping[str, np.ndarray]], terms: Sequence[Mapping[str, float]],
                  names: Sequence[str], labels: Sequence[str]) -> Figure:  # fmt: skip
    """What a student is to say and what it says, and its loss by term; one column a setting.

    `opinions` hold "target", the blend of label and soft labels, "teacher" and "student", each (classes,);
    `terms` what each part of the loss adds to it.
    """
    across = min((PAGE - MARGIN) / len(opinions), 2.6)
    bars, lows = 0.16 * len(names), 0.16 * len(terms[0])
    figure, axes = fixed_figure(MARGIN + across * len(opinions), bars + lows + 1.5, 2, len(opinions), left=MARGIN,
                                right=0.22, top=0.6, bottom=0.5, across=0.22, down=0.4, height_ratios=(bars, lows),
                                sharex="row", sharey="row")  # fmt: skip
    rows, most = np.arange(len(names)), max(max(sum(parts.values()) for parts in terms), 1e-9)
    for (panel, low), opinion, parts, label in zip(axes.T, opinions, terms, labels, strict=True):
        panel.barh(rows, opinion["target"], 0.75, color=FAINT, label="target: label and soft labels")
        panel.barh(rows, opinion["teacher"], 0.4, color=ROLES["depth"], label="teacher, softened")
        panel.plot(opinion["student"], rows, "o", color=ROLES["hallucination"], markersize=3.5, clip_on=False,
                   label="student")  # fmt: skip
        panel.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5))
        panel.set_title(label, **SMALL)
        panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        shown = low.barh(list(parts), list(parts.values()), 0.6, color=INK)
        low.bar_label(shown, fmt="%.3f", fontsize=6, padding=1)
        low.set(xlim=(0, 1.25 * most), ylim=(len(parts) - 0.5, -0.5), xlabel=f"loss: {sum(parts.values()):.3f}")
        low.locator_params(axis="x", nbins=3)
    axes[0, 0].set_yticks(rows, shortened(names))
    for panel in axes.flat:
        panel.tick_params(axis="y", length=0)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper right", ncols=3, columnspacing=1, handlelength=1)
    return figure


@styled
def connections(rows: Sequence[Mapping[str, np.ndarray]], labels: Sequence[str], scales: Mapping[str, float]) -> Figure:
    """One row a setting, one map (h, w) a column: red above zero, blue below, white zero.

    `scales` say what full colour stands for in each column; a stronger value looks the same.
    """
    height, width = next(iter(rows[0].values())).shape
    down = ((PAGE - MARGIN) / len(rows[0]) - 0.1) * height / width + 0.24
    figure, axes = fixed_figure(PAGE, 0.25 + down * len(rows), len(rows), len(rows[0]), left=MARGIN, top=0.25,
                                bottom=0.24, across=0.1, down=0.24)  # fmt: skip
    for line, maps, label in zip(axes, rows, labels, strict=True):
        line[0].annotate(label, (0, 1), (-6, 0), xycoords="axes fraction", textcoords="offset points", ha="right",
                         va="top", fontsize=7)  # fmt: skip
        for panel, (name, values) in zip(line, maps.items(), strict=True):
            panel.imshow(values, cmap="RdBu_r", vmin=-scales[name], vmax=scales[name])
            panel.set(xticks=(), yticks=())
            panel.spines[:].set(visible=True, color=FAINT)
            panel.set_xlabel(f"{100 * np.mean(values == 0):.0f} % zero", color="#777777", labelpad=1, **SMALL)
    for panel, name in zip(axes[0], rows[0], strict=True):
        panel.set_title(name, **SMALL)
    return figure


@styled
def map_settings(inputs: Sequence[np.ndarray], maps: Sequence[np.ndarray], labels: Sequence[str],
                 scales: Sequence[float]) -> Figure:  # fmt: skip
    """A frame (H, W, 3) uint8 above what one channel makes of it (h, w); one column a setting.

    White is the column's entry in `scales`, black zero.
    """
    across = min(PAGE / len(inputs), 2.4)
    figure, axes = fixed_figure(across * len(inputs), 2 * across + 0.55, 2, len(inputs), top=0.4, bottom=0.2,
                                across=0.1)  # fmt: skip
    for (above, below), seen, values, label, most in zip(axes.T, inputs, maps, labels, scales, strict=True):
        bare(above).imshow(seen)
        above.set_title(label, **SMALL)
        bare(below).imshow(values, cmap="gray", vmin=0, vmax=max(most, 1e-9))
        below.set_xlabel(f"largest {values.max():.2f}, white is {most:.2f}", color="#777777", **SMALL)
    return figure


@styled
def confused_clips(matrix: np.ndarray, names: Sequence[str], cells: Sequence[tuple[int, int]],
                   clips: Sequence[np.ndarray]) -> Figure:  # fmt: skip
    """A confusion matrix (true, predicted) of counts, and behind each of some cells the clips that lie there.

    `clips` are their pictures (some, H, W, 3) uint8, of which twelve are shown at most. One cell alone comes without
    the matrix, in which it was clicked.
    """
    size, width = (3.9, PAGE) if len(cells) > 1 else (0.0, 2.9)
    lines = -(-(12 // len(cells)) // 4)
    down = 0.42 + (width - size - 0.15) / 4 * lines
    tall = max(size + 0.15, 0.1 + down * len(cells))
    bottom = tall - 0.1 - down * len(cells)
    figure, axes = fixed_figure(width, tall, len(cells), left=size + 0.1, top=0.42, bottom=bottom, down=0.42)
    if size:
        side = size - MARGIN - 0.2
        grid = figure.add_axes(((MARGIN + 0.15) / width, 1 - (0.1 + side) / tall, side / width, side / tall))
        draw_confusion(grid, matrix, shortened(names), numbers=len(names) <= 20)
    for number, (panel, cell, pictures) in enumerate(zip(axes[:, 0], cells, clips, strict=True)):
        color = MARKED[number % len(MARKED)]
        if size:
            grid.add_patch(Rectangle(cell[::-1], 1, 1, fill=False, color=color, linewidth=2))
        how = "recognised" if cell[0] == cell[1] else f"taken for {names[cell[1]]}"
        words = f"{names[cell[0]]}, {how}: {matrix[cell]} {'clip' if matrix[cell] == 1 else 'clips'}"
        panel.set_title(textwrap.fill(words, 48), color=color, **SMALL)
        sheet = np.full((4 * lines, *pictures.shape[1:]), 255, np.uint8)
        shown = pictures[: len(sheet)]
        sheet[: len(shown)] = shown
        bare(panel).imshow(tile(sheet.reshape(lines, 4, *pictures.shape[1:])))
        panel.set_anchor("NW")
    return figure
