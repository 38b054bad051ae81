"""Figures made of frames: a clip in both modalities, where joints fall, what a stream holds inside.

Frames are uint8 RGB; depth comes already coloured (`clips.colorize_depth`). Frames of a row are laid side
by side into one picture, so that a vector file holds a few pictures and not hundreds.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from ..data.modalities import BONES
from .style import FAINT, INK, PAGE, ROLES, bare, fixed_figure, new_figure, styled

LEGEND = (1.9, 3.0)  # inches that the two entries of `overlay` take below one another, and side by side
GAP = 2  # white pixels between frames


def tile(frames: np.ndarray) -> np.ndarray:
    """(rows, T, H, W, 3) uint8 to one picture, with white gaps between frames."""
    rows, count, height, width, _ = frames.shape
    sheet = np.full((rows, height + GAP, count, width + GAP, 3), 255, np.uint8)
    sheet[:, :height, :, :width] = frames.transpose(0, 2, 1, 3, 4)
    return sheet.reshape(rows * (height + GAP), count * (width + GAP), 3)[:-GAP, :-GAP]


def in_grey(maps: np.ndarray, side: int) -> np.ndarray:
    """Maps (T,h,w) as pictures (T,S,S,3) uint8: black is zero or less, white their largest value."""
    share = np.clip(maps / max(float(maps.max()), 1e-9), 0, 1)
    rows, columns = (np.arange(side) * count // side for count in maps.shape[1:])  # every cell becomes a square
    return np.repeat((255 * share[:, rows][:, :, columns]).astype(np.uint8)[..., None], 3, axis=-1)


def tiled(rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows of frames (T, S, S, 3) uint8, the first of all, or of maps (T, h, w) in grey, as one picture."""
    side = next(iter(rows.values())).shape[1]
    return tile(np.stack([in_grey(row, side) if row.ndim == 3 else row for row in rows.values()]))


def _caption_side(axes, count: int, height: int, labels: Sequence[str]) -> None:
    """Names of the rows at the left of a tiled picture."""
    axes.set_yticks([row * (height + GAP) + height / 2 for row in range(count)], labels)
    axes.tick_params(length=0)


@styled
def contact_sheet(rgb: np.ndarray, depth_coloured: np.ndarray, names: Sequence[str]) -> Figure:
    """One row a clip: its frames in RGB, then in depth. Both (clips, T, H, W, 3) uint8."""
    clips, count, height, width, _ = rgb.shape
    panel_width = (PAGE - 1.2) / 2  # the names take the rest
    figure, axes = new_figure(PAGE, 0.3 + panel_width * clips * height / (count * width), columns=2)
    for panel, frames, label in zip(axes[0], (rgb, depth_coloured), ("RGB", "depth"), strict=True):
        bare(panel).imshow(tile(frames))
        panel.set_xlabel(f"{label}, time →")
    _caption_side(axes[0, 0], clips, height, [textwrap.fill(name, 18) for name in names])
    return figure


@styled
def strips(rows: Mapping[str, np.ndarray], times: Sequence[object] = ()) -> Figure:
    """Named rows of `tiled` frames and maps; `times` are labels under them."""
    sheet, (count, height, width, _) = tiled(rows), next(iter(rows.values())).shape
    figure, [[axes]] = new_figure(PAGE, 0.3 + (PAGE - 0.7) * len(rows) * height / (count * width))
    bare(axes).imshow(sheet)
    _caption_side(axes, len(rows), height, list(rows))
    axes.set_xticks([frame * (width + GAP) + width / 2 for frame in range(len(times))], map(str, times))
    return figure


@styled
def overlay(color_image: np.ndarray, color_xy: np.ndarray, mapped_xy: Mapping[str, np.ndarray]) -> Figure:
    """Joints over an RGB image (H, W, 3), one panel a method: where they are, where depth joints fall.

    `color_xy` and each of `mapped_xy` (25, 2) in pixels of the image, NaN for a joint to leave out.
    """
    names = list(mapped_xy)
    everything = np.concatenate([color_xy, *mapped_xy.values()])
    low, high = np.nanmin(everything, axis=0), np.nanmax(everything, axis=0)
    margin = 0.12 * (high - low).max()
    wide, tall = high - low + 2 * margin
    panel_width = min(3.2 * wide / tall, PAGE / len(names))
    width = max(panel_width * len(names), LEGEND[0])
    columns = 2 if width >= LEGEND[1] else 1  # of the legend
    height = panel_width * tall / wide + 0.8 - 0.15 * columns
    figure, axes = new_figure(width, height, columns=len(names))
    for panel, name in zip(axes[0], names, strict=True):
        bare(panel).imshow(color_image)
        _stick_figure(panel, color_xy, "white", "joint in the RGB image")
        _stick_figure(panel, mapped_xy[name], ROLES["depth"], "depth joint, mapped")
        panel.set(xlim=(low[0] - margin, high[0] + margin), ylim=(high[1] + margin, low[1] - margin), xlabel=name)
    handles, labels = panel.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=True)
    legend.get_frame().set(facecolor="#B0B0B0", edgecolor="none")
    return figure


@styled
def marked_frames(pictures: Mapping[str, tuple[np.ndarray, np.ndarray]], letters: Sequence[str]) -> Figure:
    """Images (H, W, 3) uint8 side by side at one height, each with its points (N, 2) in pixels, by name of the image.

    Each point is a cross with its letter beside it.
    """
    shapes = [image.shape[1] / image.shape[0] for image, _ in pictures.values()]
    figure, axes = new_figure(PAGE, 0.25 + PAGE / sum(shapes), columns=len(pictures), width_ratios=shapes)
    for panel, (name, (image, points)) in zip(axes[0], pictures.items(), strict=True):
        bare(panel).imshow(image, interpolation="antialiased")
        panel.set_xlabel(f"{name}, {image.shape[1]} x {image.shape[0]} pixels")
        for color, width in (("white", 2.4), (INK, 1.0)):
            panel.plot(*points.T, "+", color=color, markersize=9, markeredgewidth=width)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
        for point, letter in zip(points, letters, strict=True):
            panel.annotate(letter, point, (6, 0), textcoords="offset points", va="center", weight="bold", fontsize=9,
                           bbox=box)  # fmt: skip
    return figure


def skeleton_line(joints: np.ndarray) -> np.ndarray:
    """Joints (25, 2) or (25, 3) as one line along all bones, (72, 2) or (72, 3), broken by NaN."""
    return np.concatenate([[*joints[list(bone)], np.full(joints.shape[1], np.nan)] for bone in BONES])


def _stick_figure(axes, joints: np.ndarray, color: str, label: str) -> None:
    for start, end in BONES:
        axes.plot(*joints[[start, end]].T, color="black", linewidth=1.8, zorder=2)
        axes.plot(*joints[[start, end]].T, color=color, linewidth=1.0, zorder=2)
    axes.scatter(*joints.T, s=9, color=color, edgecolors="black", linewidths=0.4, zorder=3, label=label)


def shortened(names: Sequence[str]) -> list[str]:
    """Names that fit a margin, or the space beside a slider."""
    return [textwrap.shorten(name, 22, placeholder=" …") for name in names]


class Answered(NamedTuple):
    """A clip as it was shown, and what one model or more answered."""

    strips: Mapping[str, np.ndarray]  # frames and maps, as `tiled` takes them
    said: Mapping[str, np.ndarray]  # probabilities (classes,) by role
    label: int
    words: str = ""


@styled
def answered_clips(clips: Sequence[Answered], names: Sequence[str], legend: Mapping[str, str] | None = None) -> Figure:
    """One row a clip: what was seen and held, and what was answered; the true class is in bold on grey.

    `legend` says in words what the roles are. Places depend on the numbers of clips, strips and classes alone.
    """
    strip, places = 3.4 if len(clips[0].strips) < 3 else 2.6, np.arange(len(names))
    pictures = [tiled(clip.strips) for clip in clips]
    tall = max(strip * pictures[0].shape[0] / pictures[0].shape[1], 0.13 * len(names))
    figure, axes = fixed_figure(
        PAGE, 0.42 + (tall + 0.25) * len(clips), len(clips), 2, left=0.75, right=0.1, top=0.25, bottom=0.42, across=1.4,
        down=0.25, width_ratios=(strip, PAGE - 2.25 - strip)
    )  # fmt: skip
    for (shown, bars), clip, picture in zip(axes, clips, pictures, strict=True):
        bare(shown).imshow(picture)
        _caption_side(shown, len(clip.strips), next(iter(clip.strips.values())).shape[1], list(clip.strips))
        shown.set_title(clip.words, loc="left", fontsize=7)
        bars.axhspan(clip.label - 0.5, clip.label + 0.5, color=FAINT, linewidth=0)
        height = 0.8 / len(clip.said)
        for number, (role, chances) in enumerate(clip.said.items()):
            bars.barh(places + height * (number - (len(clip.said) - 1) / 2), chances, height, color=ROLES[role])
        bars.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=(0, 0.5, 1))
        bars.set_yticks(places, shortened(names))
        bars.tick_params(axis="y", length=0)
        bars.tick_params(axis="x", labelbottom=clip is clips[-1])
        bars.get_yticklabels()[clip.label].set_weight("bold")
    bars.set_xlabel("probability")
    if legend:
        key = [Patch(color=ROLES[role], label=words) for role, words in legend.items()]
        figure.legend(handles=key, loc="upper center", ncols=len(key))
    return figure


@styled
def answer_sheet(
    frames: np.ndarray, numbers: Sequence[int], maps: np.ndarray, maps_name: str, answer: Sequence[tuple[str, float]]
) -> Figure:
    """A video's frames (T, S, S, 3) uint8, a stream's maps (T, h, w) over them, and the likeliest classes.

    `numbers` are the frames' places in the video. The maps, dark where low and bright where high over all
    frames, are stretched to the frames and drawn over them in grey. `answer` is (class, probability), best first.
    """
    heights = [2 * (PAGE - 0.7) / len(frames), 0.3 + 0.22 * len(answer)]
    figure, [[top], [bottom]] = new_figure(PAGE, 0.2 + sum(heights), 2, height_ratios=heights)
    bare(top).imshow(tile(np.stack([frames, _mapped(frames, maps)])))
    _caption_side(top, 2, frames.shape[1], ["RGB", maps_name])
    step = frames.shape[2] + GAP
    top.set_xticks([step * place + step / 2 for place in range(len(frames))], [f"frame {number}" for number in numbers])
    names, values = zip(*answer, strict=True)
    places = -np.arange(len(answer))
    bars = bottom.barh(places, 100 * np.array(values), color=ROLES["rgb_only"], height=0.7)
    bottom.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=7)
    bottom.set(xlim=(0, 108), xlabel="probability, % (softmax, not calibrated)")
    shown = [textwrap.shorten(name, 40) for name in names]
    bottom.set_yticks(places, shown, parse_math=False)  # a name may hold a dollar sign
    return figure


def _mapped(frames: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Frames in grey under maps in magma, half and half: (T, S, S, 3) uint8."""
    size = frames.shape[2], frames.shape[1]
    heat = (maps - maps.min()) / max(float(np.ptp(maps)), 1e-9)
    smooth = [Image.fromarray(one.astype(np.float32)).resize(size, Image.Resampling.BILINEAR) for one in heat]
    colours = colormaps["magma"](np.stack(smooth))[..., :3]
    grey = frames.mean(axis=-1, keepdims=True) / 255
    return np.clip(255 * (0.45 * grey + 0.55 * colours), 0, 255).astype(np.uint8)
