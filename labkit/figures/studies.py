"""Figures of the studies of notebooks 11 and 12: feature maps beside each other, and depth that gets worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..experiments.studies.noise import CORRUPTIONS, Corruption
from ..experiments.targets import TARGETS
from .pictures import in_grey, tile
from .style import COLUMN, INK, MARKERS, PAGE, ROLES, bare, new_figure, styled

# -- 11 Feature maps -------------------------------------------------------------------------------

MapColumn = Sequence[np.ndarray]  # one stream's frames (T,S,S,3) uint8, then its maps (T,h,w) place by place


@styled
def map_sheet(streams: Mapping[str, MapColumn], roles: Sequence[str], places: Sequence[str]) -> Figure:
    """One column a stream, one row a place in it: what it sees in each frame, then what a channel makes of it.

    `places` name the rows of maps, `roles` colour the streams. Every strip has its own scale, black is zero.
    """
    count, side = next(iter(streams.values()))[0].shape[:2]
    across = (PAGE - 0.6) / len(streams)
    figure, axes = new_figure(PAGE, 0.25 + (len(places) + 1) * (across / count + 0.03), len(places) + 1, len(streams))
    for column, ((name, (frames, *maps)), role) in enumerate(zip(streams.items(), roles, strict=True)):
        strips = [frames, *(in_grey(values, side) for values in maps)]
        for panel, strip in zip(axes[:, column], strips, strict=True):
            bare(panel).imshow(tile(strip[None]))
        axes[0, column].set_title(name, color=ROLES[role])
    for panel, place in zip(axes[:, 0], ("input", *places), strict=True):
        panel.set_ylabel(place, rotation=0, ha="right", va="center")
    return figure


@styled
def cka_course(table: pd.DataFrame, looks: Mapping[str, tuple[str, str]], last: int) -> Figure:
    """Similarity to a teacher by epoch, one panel a block; `table` as from `cka.cka_table`.

    `looks` are (role, line style) by reading. A reading of one epoch only is drawn across, to epoch `last`: a
    network that is not in training. Bars are 95 % intervals over people.
    """
    blocks = sorted(table["block"].unique())
    figure, axes = new_figure(PAGE, 2.3, columns=len(blocks), sharey=True)
    for panel, block in zip(axes[0], blocks, strict=True):
        for reading, (role, line) in looks.items():
            rows = table[(table["reading"] == reading) & (table["block"] == block)]
            if len(rows) == 1:
                panel.axhline(rows["similarity"].iloc[0], color=ROLES[role], linestyle=line, label=reading)
                continue
            panel.plot(rows["epoch"], rows["similarity"], color=ROLES[role], linestyle=line, label=reading,
                       marker=MARKERS[role], markersize=3.5, clip_on=False)  # fmt: skip
            panel.vlines(rows["epoch"], rows["low"], rows["high"], color=ROLES[role], linewidth=0.8)
        panel.set(xlabel="epoch", xlim=(0, last), ylim=(0, 1))
        panel.set_xticks(sorted(table["epoch"].unique()))
        panel.set_title(f"block {block}")
        panel.grid(True, axis="y")
    axes[0, 0].set_ylabel("similarity to the teacher (CKA)")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


# -- 12 Noisy depth --------------------------------------------------------------------------------

LINES = {"rgb_only": "-", "control": "--", "rgb": ":"}  # of the rivals, by role
BREAK = [(-0.4, -1), (0.4, 1)]  # a marker: the axis is cut here


@styled
def noise_curves(tables: Mapping[str, pd.DataFrame], rivals: pd.DataFrame, crossings: pd.DataFrame) -> Figure:
    """Row 8's accuracy against the severity of corruptions, across the lines of models that see RGB alone.

    {kind: its table} as from `noise_curves.severity_table`, one panel a kind; `rivals` as from `targets.results_table`
    of `noise_curves.RIVALS`, `crossings` as from `noise_curves.crossings_table`. The first rival has its interval as
    a band, and where row 8 falls below it is marked, with its interval. Hollow: the paper's numbers.
    """
    alone = len(tables) == 1
    rows, columns = -(-len(tables) // 2), 1 if alone else 2
    size = (COLUMN, 3.2) if alone else (PAGE, 0.6 + 1.9 * rows)
    figure, panels = new_figure(*size, rows, columns, sharey=True)
    for panel, (kind, table) in zip(panels.flat, tables.items(), strict=False):
        corruption = CORRUPTIONS[kind]
        _curve(panel, table, rivals, corruption)
        _crossing(panel, crossings, rivals.iloc[0], corruption, words=alone)
        panel.set_xlabel(corruption.unit if alone else f"{_kind_in_words(corruption)}\n{corruption.unit}")
    for panel in panels[:, 0]:
        panel.set_ylabel("accuracy on test clips (%)" if alone else "accuracy (%)")
    for panel in panels.flat[len(tables) :]:
        panel.set_axis_off()
    figure.legend(handles=_key(pd.concat(tables.values()), rivals), loc="outside upper center", ncols=1 if alone else 3)
    return figure


def _kind_in_words(corruption: Corruption) -> str:
    """A kind as a reader knows it: "speckle on millimetres" for "speckle-mm-std"."""
    plain, *more = corruption.kind.split("-")
    return f"{plain} on {'millimetres' if 'mm' in more else 'the picture'}" if plain == "speckle" else plain


def _curve(axes: Axes, table: pd.DataFrame, rivals: pd.DataFrame, corruption: Corruption) -> None:
    if table["paper"].count() <= 1:  # the paper has clean depth alone
        table, rivals = table.assign(paper=np.nan), rivals.assign(paper=np.nan)
    for target, ours in zip(rivals["target"], rivals["ours"], strict=True):
        axes.axhline(ours, **_rival_look(target), zorder=1)
    first = rivals.iloc[0]
    axes.axhspan(first["low"], first["high"], color=_rival_look(first["target"])["color"], alpha=0.15, linewidth=0)
    axes.axhline(first["paper"], color=ROLES["paper"], linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    graded, void = table[table["severity"].notna()], table[table["severity"].isna()]
    places = [corruption.place(severity) for severity in graded["severity"]]
    beyond = [places[-1] + (places[-1] - places[0]) / len(places)] * len(void)
    color = ROLES["two_stream"]
    apart = int(corruption.log)  # "none" has no place among decades: a point by itself, before a break of the axis
    parts = ((places[:apart], graded[:apart], ""), (places[apart:], graded[apart:], "-"), (beyond, void, ""))
    for at, rows, line in parts:
        axes.vlines(at, rows["low"], rows["high"], color=color, linewidth=1.0)
        axes.plot(at, rows["ours"], line, marker=MARKERS["two_stream"], markersize=4, color=color, zorder=3)
        axes.plot(at, rows["paper"], "o", markersize=5.5, markerfacecolor="none", color=ROLES["paper"])
    names = [_severity_label(severity, corruption) for severity in graded["severity"]]
    axes.set_xticks([*places, *beyond], [*names, *["void"] * len(void)])
    if apart:
        axes.plot([places[0] + 0.45, places[0] + 0.55], [0, 0], marker=BREAK, markersize=7, linestyle="", color=INK,
                  transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip
    axes.grid(True, axis="y")


def _crossing(axes: Axes, crossings: pd.DataFrame, rival: pd.Series, corruption: Corruption, words: bool) -> None:
    """A ring where the curve crosses the rival's line, its interval along the severities, and its place in words."""
    row = crossings[(crossings["kind"] == corruption.kind) & (crossings["rival"] == rival["target"])].iloc[0]
    if pd.isna(row["severity"]):
        return
    end = axes.get_xticks()[len(corruption.severities)]
    at, low, high = (end if pd.isna(s) else corruption.place(s) for s in (row["severity"], row["low"], row["high"]))
    color = _rival_look(rival["target"])["color"]
    axes.plot([low, high], [rival["ours"]] * 2, color=color, linewidth=4, alpha=0.5, solid_capstyle="butt", zorder=2)
    axes.plot(at, rival["ours"], "o", color=color, markersize=5, markerfacecolor="white", zorder=4)
    if words:
        text = f"crosses at {row['severity']:.2g}"  # above the panel, where no error bar reaches
        above = {"xytext": (at, 1.02), "textcoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
        rule = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(text, (at, rival["ours"]), **above, fontsize=7, color=color, arrowprops=rule)


def _severity_label(severity: float, corruption: Corruption) -> str:
    if not corruption.log:
        return f"{severity:g}"
    return f"$10^{{{round(np.log10(severity))}}}$" if severity else "none"


def _rival_look(target: str) -> dict:
    role = TARGETS[target].role
    return {"color": ROLES[role], "linestyle": LINES.get(role, "-."), "linewidth": 1.0}


def _key(table: pd.DataFrame, rivals: pd.DataFrame) -> list[Line2D]:
    ours = {"color": ROLES["two_stream"], "marker": MARKERS["two_stream"], "markersize": 4}
    handles = [Line2D([], [], **ours, label=f"{TARGETS['table2:8'].named}, worse depth")]
    handles += [Line2D([], [], **_rival_look(name), label=TARGETS[name].named) for name in rivals["target"]]
    if table["paper"].count() > 1:
        paper = {"color": ROLES["paper"], "marker": "o", "markerfacecolor": "none", "markersize": 5.5, "linewidth": 0.8}
        handles.append(Line2D([], [], linestyle=(0, (4, 2)), label="paper, on NTU RGB+D", **paper))
    return handles
