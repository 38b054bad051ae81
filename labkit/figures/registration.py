"""The figure of `data.check`: how RGB and depth lie to each other, per set-up and camera."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..data.check import FAR, STEPS, VIEW
from .style import FAINT, INK, PAGE, PLAIN, new_figure, styled

_PANELS = {
    "ratio": "ratio (colour px / depth px)", "offset_x": "offset x (depth px)", "offset_y": "offset y (depth px)",
    "residual_px": "residual (depth px)",
}  # fmt: skip


@styled
def alignment_overview(rows: pd.DataFrame) -> Figure:
    """One line a set-up and camera: medians, quartiles, and where 90 % of the clips lie; outliers as dots.

    `rows` as from `data.check.alignment_rows`.
    """
    views = list(rows.groupby(VIEW))
    figure, axes = new_figure(PAGE, 0.9 + 0.2 * len(views), columns=len(_PANELS), sharey=True)
    for panel, (name, label) in zip(axes[0], _PANELS.items(), strict=True):
        for place, (_, group) in enumerate(views):
            values = group[name][~group["fallback"].astype(bool)].dropna()
            if len(values):
                low, first, middle, third, high = np.percentile(values, [5, 25, 50, 75, 95])
                panel.plot([low, high], [place] * 2, color=INK, linewidth=0.8)
                panel.plot([first, third], [place] * 2, color="#777777", linewidth=4, solid_capstyle="butt")
                panel.plot(middle, place, "|", color="white", markersize=5, markeredgewidth=1.2)
            far = group[name][(group["z"].abs() >= FAR) & (group["worst"] == name)] if name in STEPS else []
            panel.plot(far, [place] * len(far), "o", color=PLAIN[1], markersize=3)
        panel.set(xlabel=label, ylim=(len(views) - 0.5, -0.5))
        panel.locator_params(axis="x", nbins=4)
        panel.grid(True, axis="x", color=FAINT)
        panel.tick_params(axis="y", length=0)
    names = [", ".join(f"{key} {value}" for key, value in zip(VIEW, view, strict=True) if value) for view, _ in views]
    axes[0, 0].set_yticks(range(len(views)), [name or "all" for name in names])
    key = (
        Line2D([], [], color="#777777", linewidth=4, label="half of the clips, and their median"),
        Line2D([], [], color=INK, linewidth=0.8, label="90 % of the clips"),
        Line2D([], [], color=PLAIN[1], marker="o", markersize=3, linestyle="", label=f"|z| ≥ {FAR:g}"),
    )
    figure.legend(handles=key, loc="outside upper center", ncols=3)
    return figure
