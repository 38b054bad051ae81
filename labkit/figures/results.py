"""Figures of results: every target beside the paper's number, differences with their intervals, claims and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from ..analysis.verdicts import DECIDED
from ..experiments.targets import TARGETS
from .style import FAINT, INK, MARKERS, PAGE, PLAIN, ROLES, new_figure, styled

MANY = 25  # rows; more are set closer
TWINS = ("control", "untaught", "oracle", "reading")  # groups of targets that belong to the row above, as controls do
_COLUMNS = (4, 32, 60)  # points right of the plot at which the columns of text start
_CLAIM_COLUMNS = (4, 64, 92, 116)
_LEVEL = PLAIN[2]  # of the ticks at a claim's level, beside intervals in ink


def role_color(name: str) -> str:
    """The colour of a target's role."""
    return ROLES[TARGETS[name].role]


def _twin(name: str) -> bool:
    return TARGETS[name].group in TWINS or TARGETS[name].role == "control"


def _homes(names: Sequence[str]) -> dict[str, str]:
    """The row among these targets that each twin of one belongs to: "table2:8" for "control:8" and "start:flow-8"."""
    numbers = {name: name.partition(":")[2].rpartition("-")[2] for name in filter(_twin, names)}
    return {name: f"{group}:{number}" for name, number in numbers.items() for group in ("suppl", "table2")
            if f"{group}:{number}" in names}  # fmt: skip


def _below(names: Sequence[str], homes: Mapping[str, str]) -> list[bool]:
    """Which rows stand as twins below the row that they belong to: by its number, or as the next of its group."""
    below: list[bool] = []
    for place, name in enumerate(names):
        above = names[place - 1] if place else ""
        follows = above.partition(":")[0] == TARGETS[name].group and (not _twin(above) or below[-1])
        below.append(_twin(name) and (name in homes or follows))
    return below


def _beside(axes: Axes, place: float, points: float, text: str, **look) -> None:
    """Text in a row, that many points right of the plot."""
    axes.annotate(text, (1, place), (points, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                  va="center_baseline", annotation_clip=False, **{"fontsize": 7, **look})  # fmt: skip


def _key(label: str, color: str, **look) -> Line2D:
    return Line2D([], [], color=color, label=label, **{"marker": "o", "markersize": 4.5, **look})


_HOLLOW = {"color": ROLES["paper"], "marker": "o", "linestyle": "", "markerfacecolor": "none", "markersize": 6.5}
_PAPER = Line2D([], [], label="paper, on NTU RGB+D", **_HOLLOW)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


# -- accuracies ------------------------------------------------------------------------------------


@styled
def results(table: pd.DataFrame) -> Figure:
    """Every target as a row: our accuracy with its 95 % interval, and the paper's, hollow, on its own data.

    `table` as from `targets.results_table`; a row without a number of ours keeps its place, and controls,
    oracles and other readings stand below their rows. Where there are several seeds, small dots are single
    ones. Grey bands need RGB alone at test time; the dashed line is one RGB stream, what a camera without
    depth gives.
    """
    given = list(table["target"])
    homes = _homes(given)
    names = sorted(given, key=lambda name: (given.index(homes.get(name, name)), name in homes))
    table, below = table.set_index("target", drop=False).loc[names], _below(names, homes)
    places = np.cumsum([0.72 if close else 1.0 for close in below])
    figure, [[axes]] = new_figure(PAGE, 0.85 + (0.25 if len(names) <= MANY else 0.17) * places[-1])
    for place, (_, row), close in zip(places, table.iterrows(), below, strict=True):
        _result_row(axes, place, row, 0.36 if close else 0.5)
    baseline = table.loc[table["target"] == "table2:2", "ours"].dropna()
    if len(baseline):
        axes.axvline(baseline.iloc[0], color=ROLES["rgb"], linestyle="--", linewidth=0.8, zorder=1)
    groups = [TARGETS[homes.get(name, name)].group for name in names]
    for place, above, group, close in zip(places[1:], groups, groups[1:], below[1:], strict=False):
        if above != group and not close:
            axes.axhline(place - 0.5, color=FAINT, linewidth=0.8, zorder=1)
    axes.set_yticks(places, ["↳ " * close + model for close, model in zip(below, table["model"], strict=True)])
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set(color=role_color(name), weight="bold" if name == "table2:15" else "normal")
    for points, head in zip(_COLUMNS, ("ours", "paper", "sees at test"), strict=True):
        _beside(axes, 0.25, points, head, style="italic")
    axes.set(xlabel="accuracy on test clips (%)", ylim=(places[-1] + 0.6, 0.0))
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    several = table["by seed"].fillna("").any()
    key = [_key("ours, 95 % interval; dots: seeds" if several else "ours, 95 % interval", INK)]
    if table["paper"].notna().any():
        key.append(_PAPER)
    if any(map(_twin, names)):
        key.append(_key("control", ROLES["control"], marker=MARKERS["control"]))
    if len(baseline):
        key.append(_key("one RGB stream", ROLES["rgb"], marker="", linestyle="--", linewidth=0.8))
    figure.legend(handles=key, loc="outside upper center", ncols=4)
    return figure


def _result_row(axes: Axes, place: float, row: pd.Series, half: float) -> None:
    target = TARGETS[row["target"]]
    color, marker = ROLES[target.role], MARKERS[target.role]
    if row["tested on"].partition(" (")[0] == "RGB":  # flow is computed from it
        axes.axhspan(place - half, place + half, color="#F4F4F4", linewidth=0, zorder=0)
    if pd.notna(row["paper"]):
        axes.plot(row["paper"], place, **_HOLLOW)
    if pd.notna(row["ours"]):
        _interval(axes, place, row["ours"], row["low"], row["high"], color, filled=True, marker=marker)
        each = [float(value) for value in str(row["by seed"]).split()]
        if len(each) > 1:
            axes.plot(each, [place] * len(each), ".", color=INK, markersize=2.5, zorder=4)
    numbers = [f"{value:.1f}" if pd.notna(value) else "–" for value in (row["ours"], row["paper"])]
    for points, text in zip(_COLUMNS, (*numbers, row["tested on"]), strict=True):
        _beside(axes, place, points, text)


# -- differences -----------------------------------------------------------------------------------


@styled
def comparisons(table: pd.DataFrame) -> Figure:
    """Paired differences with 95 % intervals around zero; `table` as from `targets.comparison_table`.

    Filled: the interval excludes zero. Grey: the comparison with a control of equal capacity without depth.
    A column "part" names what the difference stands for, and "paper" has the difference of the paper's numbers,
    hollow.
    """
    figure, [[axes]] = new_figure(PAGE, 0.7 + 0.32 * len(table))
    labels = [f"{TARGETS[row.target].named}\nminus {TARGETS[row.minus].named}" for row in table.itertuples()]
    if "part" in table:
        labels = [f"{part.strip()}: {label}" for part, label in zip(table["part"], labels, strict=True)]
    roles = [TARGETS[row.minus if _twin(row.minus) else row.target].role for row in table.itertuples()]
    printed = table.reset_index().get("paper", pd.Series(dtype=float)).dropna()
    for place, value in printed.items():
        axes.plot(value, place, **_HOLLOW)
    _differences(axes, table, labels, roles)
    seen = dict.fromkeys(role for role, row in zip(roles, table.itertuples(), strict=True) if not _twin(row.minus))
    key = [
        tuple(_key("", ROLES[role], marker=MARKERS[role]) for role in seen) or (_key("", INK),),
        _key("", ROLES["control"], marker=MARKERS["control"]),
        _key("", INK, markerfacecolor="white"),
    ]
    labels = ["against another model (colour and mark: the first one's)", "against a control", "interval includes zero"]
    if len(printed):
        key, labels = [*key, _PAPER], [*labels, _PAPER.get_label()]
    figure.legend(key, labels, loc="outside upper center", ncols=4, columnspacing=1.2,
                  handler_map={tuple: HandlerTuple(ndivide=None, pad=0.6)})  # fmt: skip
    return figure


@styled
def class_gains(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Paired differences by class, one panel a table of `probes.gains_by_class`, largest of the first one on top.

    Filled: the 95 % interval excludes zero.
    """
    order = next(iter(tables.values())).sort_values("difference", ascending=False)["class"]
    figure, axes = new_figure(PAGE, 0.6 + 0.2 * len(order), columns=len(tables), sharex=True, sharey=True)
    for panel, (title, table) in zip(axes[0], tables.items(), strict=True):
        table = table.set_index("class").loc[order]
        _differences(panel, table, list(order), [TARGETS[name].role for name in table["target"]])
        panel.set_title(title)
    return figure


@styled
def effects_figure(table: pd.DataFrame) -> Figure:
    """What deciding a point otherwise does to accuracy; `table` as from `effects.effects_table`. Filled: excludes zero.

    Points without a difference are left out.
    """
    table = table.dropna(subset="difference")
    figure, [[axes]] = new_figure(PAGE, 0.6 + 0.42 * len(table))
    labels = [f"{row.number}  {row.point}\n{_tried(row)}" for row in table.itertuples()]
    roles = [TARGETS[name].role for name in table["base"]]
    _differences(axes, table, labels, roles, "difference to the lab's own choice (points)")
    return figure


def _tried(row) -> str:
    return f"{row.tried}\non {TARGETS[row.base].named}" if row.tried else TARGETS[row.other].named


def _differences(axes: Axes, table: pd.DataFrame, labels: Sequence[str], roles: Sequence[str],
                 xlabel: str = "difference in accuracy (points)") -> None:  # fmt: skip
    """A row each: the difference with its interval, filled where that excludes zero, and in print at the right."""
    for place, (row, role) in enumerate(zip(table.itertuples(), roles, strict=True)):
        look = {"filled": row.low > 0 or row.high < 0, "marker": MARKERS[role]}
        _interval(axes, place, row.difference, row.low, row.high, ROLES[role], **look)
        _beside(axes, place, 4, _signed(row.difference), fontsize=8)
    _rows(axes, labels, xlabel)


def _rows(axes: Axes, labels: Sequence[str], xlabel: str, top: float = -0.5) -> None:
    """One row a label, from the top, about a line at zero."""
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel=xlabel, ylim=(len(labels) - 0.5, top))
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)


def _interval(axes: Axes, place: float, value: float, low: float, high: float, color: str, *, filled: bool,
              marker: str = "o") -> None:  # fmt: skip
    axes.hlines(place, low, high, color=color, linewidth=1.6)
    axes.plot(value, place, marker, color=color, markersize=5.5, markerfacecolor=color if filled else "white")


# -- claims ----------------------------------------------------------------------------------------


@styled
def claims_figure(table: pd.DataFrame) -> Figure:
    """Each claim with its effect, interval and verdict; `table` is rows of one protocol of `verdicts.claims_table`.

    Filled: decided. Effects that are no accuracies stand in print alone. A claim is about several models, so no
    role's colour is used.
    """
    figure, [[axes]] = new_figure(PAGE, 1.1 + 0.19 * len(table))
    for place, row in enumerate(table.itertuples()):
        ours, points = row.by == "ours", row.unit == "points"
        color = PLAIN[ours]
        if points and pd.notna(row.paper):
            axes.plot(row.paper, place, **_HOLLOW)
        if points and pd.notna(row.low):
            decided = row.verdict in DECIDED
            _interval(axes, place, row.effect, row.low, row.high, color, filled=decided, marker="v" if ours else "o")
        if points and row.level:
            axes.plot([-row.level, row.level], [place, place], "|", color=_LEVEL, markersize=9)
        words = row.claim, _effect(row), f"{row.seeds}", f"{row.verdict}{_how_many(row)}"
        for column, text in zip(_CLAIM_COLUMNS, words, strict=True):
            _beside(axes, place, column, text, weight="bold" if text in DECIDED else "normal")
    for column, head in zip(_CLAIM_COLUMNS, ("claim", "effect", "seeds", "verdict"), strict=True):
        _beside(axes, -0.9, column, head, style="italic")
    _rows(axes, table["statement"], "effect with 95 % interval (points of accuracy)", top=-1.4)
    key = (
        _key("claim of the paper", PLAIN[0]),
        _key("claim of ours", PLAIN[1], marker="v"),
        _key("undecided", INK, markerfacecolor="white"),
        _key("level other than 0", _LEVEL, linestyle="", marker="|", markersize=9),
        _PAPER,
    )
    figure.legend(handles=key, loc="outside upper center", ncols=5)
    return figure


def _effect(row) -> str:
    if pd.isna(row.effect):
        return "–"
    if row.unit == "points":
        return _signed(row.effect)
    return f"{row.effect:.2g} %" if row.unit.startswith("%") else f"{row.effect:.2g}"


def _how_many(row) -> str:
    if row.verdict != "undecided":
        return ""
    return f", takes {row.seeds_needed:.0f} seeds" if pd.notna(row.seeds_needed) else ", not by seeds"
