"""One function a figure. Each takes results (tables, arrays, histories), never a model, and returns a Figure.

No titles: the caption says it. What shows alignment and answers stands here; figures made of frames in `pictures`,
the method in `method`, a connection in `units`, lines in `curves`, results in `results`, those of notebooks 11 and 12
in `studies`, looks and files in `style`. All are offered here too, so that a notebook imports from one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from ..data.check import FAR, STEPS, VIEW
from .curves import accuracy_curves, hallucination_curves, line_chart, soft_label_bars, training_curves  # noqa: F401
from .pictures import Answered, answered_clips, contact_sheet, overlay, strips  # noqa: F401
from .results import class_gains, comparisons, results, role_color  # noqa: F401
from .studies import cka_course, map_sheet, noise_curves  # noqa: F401
from .style import COLUMN, FAINT, INK, PAGE, PLAIN, new_figure, styled
from .units import connected_units  # noqa: F401

# -- alignment -------------------------------------------------------------------------------------


@styled
def ratio_histogram(ratios_x: np.ndarray, ratios_y: np.ndarray, estimate: float) -> Figure:
    """Colour over depth distance of joint pairs of one clip, along both axes, and the scale taken."""
    figure, axes = new_figure(COLUMN, 2.4, rows=2, sharex=True)
    low, high = np.percentile(np.concatenate([ratios_x, ratios_y]), [1, 99])
    for panel, ratios, name in zip(axes[:, 0], (ratios_x, ratios_y), "xy", strict=True):
        panel.hist(ratios, np.linspace(low, high, 61), color="#AAAAAA")
        panel.axvline(np.median(ratios), color=INK, linestyle=":", label="median of the axis")
        panel.axvline(estimate, color=PLAIN[1], linestyle="--", label=f"estimate {estimate:.3f}")
        panel.set(ylabel=f"pairs along {name}", xlim=(low, high))
    panel.set_xlabel("colour pixels per depth pixel")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@styled
def registration_errors(errors_by_method: Mapping[str, np.ndarray]) -> Figure:
    """Share of mapped points within a distance, in depth pixels, of where they belong."""
    figure, [[axes]] = new_figure(COLUMN, 2.2)
    for (name, values), line, color in zip(errors_by_method.items(), ("-", "--", "-.", ":"), PLAIN, strict=False):
        axes.ecdf(values, linestyle=line, color=color, label=f"{name}, median {np.median(values):.2f}")
    axes.set(xlabel="error (depth pixels)", ylabel="points within (%)", xscale="log", ylim=(0, 1))
    axes.set_xlim(left=min(np.quantile(values, 0.02) for values in errors_by_method.values()))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.grid(True)
    figure.legend(loc="outside upper center", ncols=1)
    return figure


@styled
def alignment_overview(rows: pd.DataFrame) -> Figure:
    """How RGB and depth lie to each other: one line a set-up and camera, of all clips; outliers as dots.

    `rows` as from `data.check.alignment_rows`. Boxes are half of the clips and their median, whiskers 90 %.
    """
    names = {"ratio": "ratio (colour px / depth px)", "offset_x": "offset x (depth px)",
             "offset_y": "offset y (depth px)", "residual_px": "residual (depth px)"}  # fmt: skip
    views = list(rows.groupby(VIEW))
    titles = [", ".join(f"{key} {value}" for key, value in zip(VIEW, view, strict=True) if value) for view, _ in views]
    box = {"showfliers": False, "widths": 0.6, "patch_artist": True, "orientation": "horizontal",
           "boxprops": {"facecolor": FAINT, "linewidth": 0.8}, "medianprops": {"color": INK},
           "whiskerprops": {"linewidth": 0.8}, "capprops": {"linewidth": 0.8}}  # fmt: skip
    figure, axes = new_figure(PAGE, 0.9 + 0.2 * len(views), columns=len(names), sharey=True)
    for panel, (name, label) in zip(axes[0], names.items(), strict=True):
        fitted = [group[name][~group["fallback"].astype(bool)].dropna() for _, group in views]
        panel.boxplot(fitted, whis=(5, 95), positions=range(len(views)), **box)
        for place, (_, group) in enumerate(views if name in STEPS else ()):
            far = group[name][(group["z"].abs() >= FAR) & (group["worst"] == name)]
            panel.plot(far, [place] * len(far), "o", color=PLAIN[1], markersize=3)
        panel.set(xlabel=label, ylim=(len(views) - 0.5, -0.5))
        panel.locator_params(axis="x", nbins=4)
        panel.grid(True, axis="x", color=FAINT)
        panel.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(views)), [title or "all" for title in titles])
    key = (
        Patch(facecolor=FAINT, edgecolor=INK, linewidth=0.8, label="half of the clips, and their median"),
        Line2D([], [], color=INK, linewidth=0.8, label="90 % of the clips"),
        Line2D([], [], color=PLAIN[1], marker="o", markersize=3, linestyle="", label=f"|z| ≥ {FAR:g}"),
    )
    figure.legend(handles=key, loc="outside upper center", ncols=3)
    return figure


# -- answers ---------------------------------------------------------------------------------------


@styled
def confusion(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts (true class, predicted class) as shares of each true class, printed in per cent."""
    size = min(PAGE, 1.6 + 0.3 * len(names))
    figure, [[axes]] = new_figure(size, size * 0.86)
    draw_confusion(axes, matrix, names, cbar=True, cbar_kws={"shrink": 0.6, "label": "% of the true class"})
    return figure


def draw_confusion(axes: Axes, matrix: np.ndarray, names: Sequence[str], *, numbers: bool = True, **look) -> None:
    """The matrix of `confusion` in given axes, with or without its numbers; cell (row, column) begins there."""
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    words = np.where(share >= 0.5, np.char.mod("%.0f", share), "") if numbers else None
    seaborn.heatmap(share, annot=words, fmt="", cmap="Blues", vmin=0, vmax=100, square=True, annot_kws={"size": 6},
                    xticklabels=names, yticklabels=names, ax=axes, **{"cbar": False, **look})  # fmt: skip
    axes.set_xticklabels(names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)


@styled
def cue_outcomes(table: pd.DataFrame) -> Figure:
    """One panel a cue, one bar a target: answers that are right, name the partner, or a third class.

    `table` as from `cues.outcomes`. The dotted line is half: a model that sees all but the cue ends there. A thin
    bar spans the 95 % interval of the right answers.
    """
    cues, models = table["cue"].unique(), table.drop_duplicates("target")
    places, colors = np.arange(len(models)), [role_color(name) for name in models["target"]]
    hatched = {"facecolor": "white", "hatch": "////", "linewidth": 0.6}
    figure, axes = new_figure(PAGE, 0.8 + 0.3 * len(models), columns=len(cues), sharey=True)
    for panel, cue in zip(axes[0], cues, strict=True):
        rows = table[table["cue"] == cue]
        right, partner, elsewhere = (rows[name].to_numpy() for name in ("right", "partner", "elsewhere"))
        panel.barh(places, right, 0.7, color=colors, linewidth=0.6)
        panel.barh(places, partner, 0.7, right, **hatched, edgecolor=colors)
        panel.barh(places, elsewhere, 0.7, right + partner, color=FAINT)
        low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
        for place in places:
            panel.plot([low[place], high[place]], [place] * 2, "|-", color=INK, linewidth=1.0, markersize=4)
            if low[place] >= 12:
                panel.text(low[place] - 2, place, f"{right[place]:.0f}", ha="right", va="center", color="white", size=7)
        panel.axvline(50, color=INK, linestyle=":", linewidth=0.8)
        panel.set(xlabel=f"{cue} pairs: answers (%)", xlim=(0, 100), ylim=(len(models) - 0.5, -0.5))
        panel.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(places, models["model"])
    key = (Patch(facecolor=INK, label="right"), Patch(**hatched, edgecolor=INK, label="its partner"),
           Patch(facecolor=FAINT, label="another action"),
           Line2D([], [], color=INK, marker="|", markersize=4, linewidth=1.0, label="95 % interval"))  # fmt: skip
    figure.legend(handles=key, loc="outside upper center", ncols=4)
    return figure
