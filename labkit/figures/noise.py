"""Figures of the noise study: Table 3 as a curve, and the same for every other way depth gets worse."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..experiments.corruptions import CORRUPTIONS, Corruption
from ..experiments.targets import TARGETS
from .style import COLUMN, MARKERS, PAGE, ROLES, new_figure, styled

LINES = {"rgb_only": "-", "control": "--", "rgb": ":"}  # of the rivals, by role


@styled
def noise_curve(table: pd.DataFrame, rivals: pd.DataFrame, crossings: pd.DataFrame | None = None) -> Figure:
    """Row 8's accuracy against the severity of one corruption, across the lines of models that see RGB alone.

    `table` as from `noise_curves.severity_table`, `rivals` as from `targets.results_table` of
    `noise_curves.RIVALS`, `crossings` as from `noise_curves.crossings_table`. The first rival has its interval as
    a band, and where row 8 falls below it is marked, with its interval. Hollow: the paper's numbers.
    """
    table, rivals = _numbers(table), _numbers(rivals)
    figure, axes = new_figure(COLUMN, 2.9)
    corruption = CORRUPTIONS[table["kind"].iloc[0]]
    _curve(axes, table, rivals, corruption)
    if crossings is not None:
        _crossing(axes, crossings, rivals.iloc[0], corruption)
    axes.set(xlabel=corruption.unit, ylabel="accuracy on test clips (%)")
    figure.legend(handles=_key(table, rivals), loc="outside upper center", ncols=2)
    return figure


@styled
def noise_severities(tables: Mapping[str, pd.DataFrame], rivals: pd.DataFrame,
                     crossings: pd.DataFrame | None = None) -> Figure:  # fmt: skip
    """`noise_curve` of several kinds of corruption, as small panels with one accuracy axis: {kind: its table}."""
    tables, rivals = {kind: _numbers(table) for kind, table in tables.items()}, _numbers(rivals)
    columns = 2 if len(tables) == 4 else min(len(tables), 3)
    rows = -(-len(tables) // columns)
    figure, axes = new_figure(PAGE, 0.6 + 1.9 * rows, rows=rows, columns=columns, sharey=True)
    panels = np.atleast_1d(axes).ravel()
    for panel, (kind, table) in zip(panels, tables.items(), strict=False):
        _curve(panel, table, rivals, CORRUPTIONS[kind])
        if crossings is not None:
            _crossing(panel, crossings, rivals.iloc[0], CORRUPTIONS[kind], words=False)
        panel.set_xlabel(f"{_words(CORRUPTIONS[kind])}\n{CORRUPTIONS[kind].unit}")
    for panel in panels[::columns]:
        panel.set_ylabel("accuracy (%)")
    for panel in panels[len(tables) :]:
        panel.set_axis_off()
    handles = _key(pd.concat(tables.values()), rivals)
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _words(corruption: Corruption) -> str:
    """A kind as a reader knows it: "speckle on millimetres" for "speckle-mm-std"."""
    plain, *more = corruption.kind.split("-")
    return f"{plain} on {'millimetres' if 'mm' in more else 'the picture'}" if plain == "speckle" else plain


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The table with NaN for what is missing."""
    columns = [name for name in ("paper", "ours", "low", "high", "severity") if name in table]
    return table.assign(**{name: pd.to_numeric(table[name]) for name in columns})


def _curve(axes: Axes, table: pd.DataFrame, rivals: pd.DataFrame, corruption: Corruption) -> None:
    if table["paper"].count() <= 1:  # the paper has clean depth alone
        table, rivals = table.assign(paper=np.nan), rivals.assign(paper=np.nan)
    graded = table[table["severity"].notna()]
    places = np.array([corruption.place(severity) for severity in graded["severity"]])
    beyond = places[-1] + (places[-1] - places[0]) / len(places)  # where void stands
    for number, row in enumerate(rivals.itertuples()):
        axes.axhline(row.ours, color=_color(row.target), linestyle=_line(row.target), linewidth=1.0, zorder=1)
        if number == 0:
            axes.axhspan(row.low, row.high, color=_color(row.target), alpha=0.15, linewidth=0, zorder=0)
            axes.axhline(row.paper, color=ROLES["paper"], linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    _points(axes, places, graded, "-")
    void = table[table["severity"].isna()]
    if len(void):
        _points(axes, np.array([beyond]), void, "")
    names = [_printed(severity, corruption) for severity in graded["severity"]] + ["void"] * len(void)
    axes.set_xticks([*places, *[beyond] * len(void)], names)
    axes.grid(True, axis="y")


def _points(axes: Axes, places: np.ndarray, rows: pd.DataFrame, line: str) -> None:
    color = ROLES["two_stream"]
    axes.vlines(places, rows["low"], rows["high"], color=color, linewidth=1.0)
    axes.plot(places, rows["ours"], line, marker=MARKERS["two_stream"], markersize=4, color=color, zorder=3)
    axes.plot(places, rows["paper"], "o", markersize=5.5, markerfacecolor="none", color=ROLES["paper"])


def _crossing(
    axes: Axes, crossings: pd.DataFrame, rival: pd.Series, corruption: Corruption, words: bool = True
) -> None:
    """A ring where the curve crosses the rival's line, its interval along the severities, and its place in words."""
    row = crossings[(crossings["kind"] == corruption.kind) & (crossings["rival"] == rival["target"])].iloc[0]
    if pd.isna(row["severity"]):
        return
    end = axes.get_xticks()[len(corruption.severities)]
    at, low, high = (end if pd.isna(s) else corruption.place(s) for s in (row["severity"], row["low"], row["high"]))
    color = _color(rival["target"])
    axes.plot([low, high], [rival["ours"]] * 2, color=color, linewidth=4, alpha=0.5, solid_capstyle="butt", zorder=2)
    axes.plot(at, rival["ours"], "o", color=color, markersize=5, markerfacecolor="white", zorder=4)
    if words:
        text = f"crosses at {row['severity']:.2g}"  # above the panel, where no error bar reaches
        above = {"xytext": (at, 1.02), "textcoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
        rule = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(text, (at, rival["ours"]), **above, fontsize=7, color=color, arrowprops=rule)


def _printed(severity: float, corruption: Corruption) -> str:
    if not corruption.log:
        return f"{severity:g}"
    return f"$10^{{{round(np.log10(severity))}}}$" if severity else "none"


def _color(target: str) -> str:
    return ROLES[TARGETS[target].role]


def _line(target: str) -> str:
    return LINES.get(TARGETS[target].role, "-.")


def _key(table: pd.DataFrame, rivals: pd.DataFrame) -> list[Line2D]:
    color = ROLES["two_stream"]
    handles = [Line2D([], [], color=color, marker=MARKERS["two_stream"], markersize=4, label="row 8, depth gets worse")]
    for name in rivals["target"]:
        look = {"color": _color(name), "linestyle": _line(name), "linewidth": 1.0}
        handles.append(Line2D([], [], label=TARGETS[name].title, **look))
    if table["paper"].count() > 1:
        paper = {"color": ROLES["paper"], "marker": "o", "markerfacecolor": "none", "markersize": 5.5, "linewidth": 0.8}
        handles.append(Line2D([], [], linestyle=(0, (4, 2)), label="paper, on NTU RGB+D", **paper))
    return handles
