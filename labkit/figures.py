"""One function a figure. Each takes results (tables, arrays, histories), never a model, and returns a Figure.

No titles: the caption says it. Figures made of frames stand in `pictures`, lines in `curves`, those of the noise
study in `noise_figures`, looks and files in `style`; all are offered here too, so that a notebook imports from one
place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .curves import accuracy_curves, hallucination_curve, line_chart, soft_label_bars, training_curves
from .noise_figures import noise_curve, noise_severities
from .pictures import blends, clip_strip, contact_sheet, feature_maps, method_diagram, overlay, strips
from .style import COLUMN, FAINT, INK, MARKERS, PAGE, ROLES, new_figure, save_figure, styled
from .targets import TARGETS

__all__ = [
    "COLUMN", "PAGE", "ROLES", "accuracy_curves", "blends", "class_gains", "clip_strip", "comparisons", "confusion",
    "contact_sheet", "cue_outcomes", "feature_maps", "hallucination_curve", "line_chart", "method_diagram",
    "noise_curve", "noise_severities", "overlay", "ratio_histogram", "registration_errors", "results", "save_figure",
    "soft_label_bars", "strips", "training_curves",
]  # fmt: skip


# -- alignment -------------------------------------------------------------------------------------


@styled
def ratio_histogram(ratios_x: np.ndarray, ratios_y: np.ndarray, estimate: float) -> Figure:
    """Colour over depth distance of joint pairs of one clip, along both axes, and the scale taken."""
    figure, axes = new_figure(COLUMN, 2.4, rows=2, sharex=True)
    low, high = np.percentile(np.concatenate([ratios_x, ratios_y]), [1, 99])
    for panel, ratios, name in zip(axes[:, 0], (ratios_x, ratios_y), "xy", strict=True):
        panel.hist(ratios, np.linspace(low, high, 61), color="#AAAAAA")
        panel.axvline(np.median(ratios), color=INK, linestyle=":", label="median of the axis")
        panel.axvline(estimate, color=ROLES["rgb_only"], linestyle="--", label=f"estimate {estimate:.3f}")
        panel.set(ylabel=f"pairs along {name}", xlim=(low, high))
    panel.set_xlabel("colour pixels per depth pixel")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@styled
def registration_errors(errors_by_method: Mapping[str, np.ndarray]) -> Figure:
    """Share of mapped points within a distance, in depth pixels, of where they belong."""
    figure, axes = new_figure(COLUMN, 2.2)
    looks = (("-", INK), ("--", "#777777"), ("-", ROLES["rgb_only"]), ("--", ROLES["depth"]), (":", INK))
    sorted_errors = {name: np.sort(errors[np.isfinite(errors)]) for name, errors in errors_by_method.items()}
    for (name, errors), (line, color) in zip(sorted_errors.items(), looks, strict=False):
        share = np.arange(1, len(errors) + 1) / len(errors)
        axes.plot(errors, 100 * share, line, color=color, label=f"{name}, median {np.median(errors):.2f}")
    axes.set(xlabel="error (depth pixels)", ylabel="points within (%)", xscale="log", ylim=(0, 100))
    axes.set_xlim(left=min(np.quantile(errors, 0.02) for errors in sorted_errors.values()))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(True)
    figure.legend(loc="outside upper center", ncols=1)
    return figure


# -- results ---------------------------------------------------------------------------------------


@styled
def results(table: pd.DataFrame) -> Figure:
    """Every target as a row: our accuracy with its 95 % interval, and the paper's, hollow, on its own data.

    `table` as from `targets.results_table`; a row without a number of ours keeps its place. Grey bands
    need RGB alone at test time; the dashed line is one RGB stream, what a camera without depth gives.
    """
    places = np.cumsum([0.72 if _twin(name) else 1.0 for name in table["target"]])
    figure, axes = new_figure(PAGE, 0.85 + 0.25 * places[-1])
    for place, (_, row) in zip(places, table.iterrows(), strict=True):
        _result_row(axes, place, row)
    baseline = table.loc[table["target"] == "table2:2", "ours"].dropna()
    if len(baseline):
        axes.axvline(baseline.iloc[0], color=ROLES["rgb"], linestyle="--", linewidth=0.8, zorder=1)
    axes.set_yticks(
        places,
        ["↳ " * _twin(name) + model for name, model in zip(table["target"], table["model"], strict=True)],
    )
    for label, name in zip(axes.get_yticklabels(), table["target"], strict=True):
        label.set(color=_role_color(name), weight="bold" if name == "table2:15" else "normal")
    for x, head in zip(_COLUMNS, ("row", "ours", "paper", "sees at test"), strict=True):
        axes.text(
            x, 0.25, head, transform=axes.get_yaxis_transform(), va="center", style="italic", fontsize=7
        )
    axes.set(xlabel="accuracy on test clips (%)", ylim=(places[-1] + 0.6, 0.0))
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    key = (
        _key("ours, 95 % interval", INK),
        _key("paper, on NTU RGB+D", ROLES["paper"], linestyle="", markerfacecolor="none", markersize=6),
        _key("control without depth", ROLES["control"], marker="v"),
        _key("one RGB stream", ROLES["rgb"], marker="", linestyle="--", linewidth=0.8),
    )
    figure.legend(handles=key, loc="outside upper center", ncols=4)
    return figure


_COLUMNS = (1.01, 1.068, 1.138, 1.228)  # where the columns of text beside the plot stand, in widths of it


def _key(label: str, color: str, **look) -> Line2D:
    return Line2D([], [], color=color, label=label, **{"marker": "o", "markersize": 4.5, **look})


def _twin(name: str) -> bool:
    """Controls and oracles belong to the row above them."""
    return not name.startswith("table")


def _role_color(name: str) -> str:
    return ROLES[TARGETS[name].role]


def _result_row(axes, place: float, row: pd.Series) -> None:
    color, marker = _role_color(row["target"]), MARKERS[TARGETS[row["target"]].role]
    if "depth" not in row["tested on"]:
        half = 0.36 if _twin(row["target"]) else 0.5
        axes.axhspan(place - half, place + half, color="#F4F4F4", linewidth=0, zorder=0)
    if pd.notna(row["paper"]):
        axes.plot(row["paper"], place, "o", markersize=6.5, markerfacecolor="none", color=ROLES["paper"])
    if pd.notna(row["ours"]):
        axes.hlines(place, row["low"], row["high"], color=color, linewidth=1.6)
        axes.plot(row["ours"], place, marker, color=color, markersize=5, zorder=3)
    numbers = [f"{value:.1f}" if pd.notna(value) else "–" for value in (row["ours"], row["paper"])]
    number = "" if _twin(row["target"]) else row["target"].partition(":")[2]
    for x, text in zip(_COLUMNS, (number, *numbers, row["tested on"]), strict=True):
        axes.text(x, place, text, transform=axes.get_yaxis_transform(), va="center_baseline", fontsize=7)


@styled
def comparisons(table: pd.DataFrame) -> Figure:
    """Paired differences with 95 % intervals around zero; `table` as from `targets.comparison_table`.

    Filled: the interval excludes zero. Grey: the comparison with a control of equal capacity without depth.
    """
    figure, axes = new_figure(PAGE, 0.7 + 0.32 * len(table))
    labels = [f"{TARGETS[row.target].title}\nminus {TARGETS[row.minus].title}" for row in table.itertuples()]
    colors = [_role_color(row.minus if _twin(row.minus) else row.target) for row in table.itertuples()]
    _differences(axes, table, labels, colors)
    of_paper = next((_role_color(row.target) for row in table.itertuples() if not _twin(row.minus)), INK)
    key = (
        _key("against a model of the paper", of_paper),
        _key("against a control without depth", ROLES["control"]),
        _key("interval includes zero", INK, markerfacecolor="white"),
    )
    figure.legend(handles=key, loc="outside upper center", ncols=3)
    return figure


@styled
def class_gains(table: pd.DataFrame) -> Figure:
    """Paired differences by class, largest first; `table` as from `probes.gains_by_class`. Filled: excludes zero."""
    table = table.sort_values("difference", ascending=False)
    figure, axes = new_figure(PAGE, 0.6 + 0.2 * len(table))
    _differences(axes, table, list(table["class"]), [_role_color(name) for name in table["target"]])
    return figure


def _differences(axes, table: pd.DataFrame, labels: Sequence[str], colors: Sequence[str]) -> None:
    """A row each: the difference with its interval, filled where that excludes zero, and in print at the right."""
    for place, (row, color) in enumerate(zip(table.itertuples(), colors, strict=True)):
        face = color if row.low > 0 or row.high < 0 else "white"
        axes.hlines(place, row.low, row.high, color=color, linewidth=1.6)
        axes.plot(row.difference, place, "o", color=color, markersize=6, markerfacecolor=face)
        number = f"{row.difference:+.1f}".replace("-", "−")
        axes.text(1.01, place, number, transform=axes.get_yaxis_transform(), va="center")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(table)), labels)
    axes.set(xlabel="difference in accuracy (points)", ylim=(len(table) - 0.5, -0.5))
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)


@styled
def confusion(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts (true class, predicted class) as shares of each true class, printed in per cent."""
    size = min(PAGE, 1.6 + 0.3 * len(names))
    figure, axes = new_figure(size, size * 0.86)
    picture = draw_confusion(axes, matrix, names)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6, label="% of the true class")
    bar.outline.set_visible(False)
    return figure


def draw_confusion(axes: Axes, matrix: np.ndarray, names: Sequence[str], *, numbers: bool = True) -> AxesImage:
    """The matrix of `confusion` in given axes, with or without its numbers."""
    total = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    share = 100 * matrix / total
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(share):
        if numbers and value >= 0.5:
            color = "white" if value > 55 else INK
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, color=color)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return picture


@styled
def cue_outcomes(table: pd.DataFrame) -> Figure:
    """One panel a cue, one bar a target: answers that are right, name the partner, or a third class.

    `table` as from `cues.outcomes`. The dotted line is half: a model that sees all but the cue ends there.
    """
    cues, names = table["cue"].unique(), table["target"].unique()
    figure, axes = new_figure(PAGE, 0.8 + 0.3 * len(names), columns=len(cues), sharey=True)
    for panel, cue in zip(np.atleast_2d(axes)[0], cues, strict=True):
        for place, row in enumerate(table[table["cue"] == cue].itertuples()):
            color = _role_color(row.target)
            looks = {"color": color}, {"color": "white", "edgecolor": color, "hatch": "////"}, {"color": FAINT}
            left = 0.0
            for share, look in zip((row.right, row.partner, row.elsewhere), looks, strict=True):
                panel.barh(place, share, 0.7, left, linewidth=0.6, **look)
                left += share
            if row.right >= 12:
                panel.text(row.right - 2, place, f"{row.right:.0f}", ha="right", va="center", color="white", fontsize=7)
        panel.axvline(50, color=INK, linestyle=":", linewidth=0.8)
        panel.set(xlabel=f"{cue} pairs: answers (%)", xlim=(0, 100), ylim=(len(names) - 0.5, -0.5))
        panel.tick_params(axis="y", length=0)
    titles = table.drop_duplicates("target")["model"]
    np.atleast_2d(axes)[0, 0].set_yticks(range(len(names)), titles)
    key = (
        Patch(facecolor=INK, label="right"),
        Patch(facecolor="white", edgecolor=INK, hatch="////", linewidth=0.6, label="its partner"),
        Patch(facecolor=FAINT, label="another action"),
    )
    figure.legend(handles=key, loc="outside upper center", ncols=3)
    return figure
