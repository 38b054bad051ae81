"""Figures made of lines and bars of one training or one loss: histories, soft labels, a quantity against a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from ..analysis.verdicts import running_median
from .style import COLUMN, INK, MARKERS, PAGE, PLAIN, ROLES, fixed_figure, new_figure, styled

LOOKS = tuple(zip(PLAIN, ("-", "--", "-.", ":"), strict=False))


@styled
def training_curves(histories: Mapping[str, tuple[str, Sequence[Sequence[dict]]]]) -> Figure:
    """Loss and validation accuracy by epoch: {label: (role, the epochs of each seed, as in its run's history.json)}.

    Of several seeds, thin lines are single ones and the thick one is their mean.
    """
    figure, axes = new_figure(PAGE, 2.2, columns=2, sharex=True)
    losses, accuracies = axes[0]
    for index, (label, (role, seeds)) in enumerate(histories.items()):
        runs = [pd.DataFrame(epochs) for epochs in seeds]
        reading = next(name for name in runs[0] if name.startswith("validation "))  # the one that chose the epoch
        _over_seeds(losses, [run["total"] for run in runs], role, index, label)
        _over_seeds(accuracies, [100 * run[reading] for run in runs], role, index)
    _by_epoch(losses, "training loss", None)
    _by_epoch(accuracies)
    figure.legend(loc="outside upper center", ncols=min(len(histories), 4))
    return figure


@styled
def tries(table: pd.DataFrame) -> Figure:
    """Loss and validation accuracy by epoch of several trainings: the last one strong, those before it faint.

    A row an epoch: "label", "epoch", "loss", "accuracy" in %, of which the last stands in the legend.
    """
    runs = list(table.groupby("label", sort=False))
    legend = 0.25 + 0.17 * -(-len(runs) // 2)
    figure, axes = fixed_figure(PAGE, 2.15 + legend, columns=2, left=0.55, bottom=0.45, top=legend, across=0.7)
    for number, (label, rows) in enumerate(runs):
        last = number == len(runs) - 1
        look = {"color": PLAIN[number % len(PLAIN)], "linestyle": LOOKS[number % len(LOOKS)][1],
                "alpha": 1.0 if last else 0.45, "linewidth": 2.0 if last else 1.0}  # fmt: skip
        said = f"{label}: {rows['accuracy'].iloc[-1]:.0f} %"
        for panel, column in zip(axes[0], ("loss", "accuracy"), strict=True):
            panel.plot(rows["epoch"], rows[column], label=said, **look)
    _by_epoch(axes[0, 0], "training loss", None)
    _by_epoch(axes[0, 1])
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="upper center", ncols=2)
    return figure


def _by_epoch(axes: Axes, ylabel: str = "validation accuracy (%)", top: float | None = 100) -> None:
    axes.set(xlabel="epoch", ylabel=ylabel, ylim=(0, top))
    axes.grid(True, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _over_seeds(axes: Axes, runs: Sequence[Sequence[float]], role: str, index: int, label: str = "") -> None:
    """Values by epoch, from epoch 1: one run as a line, several as thin lines under their mean."""
    values = np.array(runs)
    epochs = np.arange(values.shape[1]) + 1
    if len(values) > 1:
        axes.plot(epochs, values.T, color=ROLES[role], alpha=0.4, linewidth=0.6)
    look = {"color": ROLES[role], "marker": MARKERS[role], "markevery": (index, 5), "markersize": 3}
    axes.plot(epochs, values.mean(axis=0), label=label, **look)


@styled
def accuracy_curves(curves: Mapping[str, tuple[str, Sequence[Sequence[float]]]]) -> Figure:
    """Validation accuracy by epoch, for several readings: {label: (role, the fractions of each seed)}."""
    figure, [[axes]] = new_figure(COLUMN, 2.2)
    for index, (label, (role, seeds)) in enumerate(curves.items()):
        _over_seeds(axes, 100 * np.array(seeds), role, index, label)
    _by_epoch(axes)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@styled
def hallucination_curves(curves: Mapping[str, Sequence[Sequence[dict]]]) -> Figure:
    """Fig. 4 over seeds: {label: curves of step-3 runs}, the smoothed L_hall (eq. 3) of each run against iterations.

    Thin: single seeds. Thick: their geometric mean, as the axis is logarithmic. Where there are several labels,
    dotted is where the last one ends; the mark on the others' mean is where they come as low.
    """
    figure, [[axes]] = new_figure(COLUMN, 2.6)
    smooth = {label: pd.concat(map(running_median, runs), axis=1) for label, runs in curves.items()}
    means = {label: np.exp(np.log(runs).mean(axis=1)) for label, runs in smooth.items()}
    *others, last = means
    end = means[last].iloc[-1]
    for (label, runs), (color, line) in zip(smooth.items(), ((ROLES["hallucination"], "-"), (INK, "--")), strict=False):
        if runs.shape[1] > 1:
            axes.plot(runs, line, color=color, alpha=0.4, linewidth=0.6)
        axes.plot(means[label], line, color=color, label=label)
        reached = means[label].index[means[label] <= end]
        if len(reached) and label in others:
            axes.plot(reached[0], end, "D", color=color, markersize=4)
    if others:
        axes.axhline(end, color=INK, linestyle=":", linewidth=0.8)
    axes.set(xlabel="iteration", ylabel="hallucination loss (eq. 3)", yscale="log")
    _plain_log(axes.yaxis, few=True)
    axes.grid(True, axis="y")
    figure.legend(loc="outside upper center", ncols=1)
    return figure


def _plain_log(axis: Axis, *, few: bool) -> None:
    """Plain numbers on a logarithmic axis: at 1, 2 and 5 where it spans a few decades, else at 1."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


@styled
def soft_label_bars(probabilities: Mapping[str, Sequence[float]], names: Sequence[str]) -> Figure:
    """Probabilities of the classes, one panel a label or temperature: {panel: (classes,)}; `names` of the classes."""
    figure, axes = new_figure(PAGE, 0.5 + 0.16 * len(names), columns=len(probabilities), sharey=True)
    places = np.arange(len(names))
    for panel, (title, values) in zip(axes[0], probabilities.items(), strict=True):
        panel.barh(places, values, 0.7, color=ROLES["depth"])
        panel.axvline(1 / len(names), color=INK, linestyle=":", linewidth=0.8)
        panel.set(xlim=(0, 1), xlabel=title, ylim=(len(names) - 0.5, -0.5))
        panel.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        panel.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(places, names)
    return figure


@styled
def line_chart(table: pd.DataFrame, ylabel: str, *, log: bool = False) -> Figure:
    """Every column of `table` against its index, whose name labels the axis; `log` for both axes."""
    figure, [[axes]] = new_figure(COLUMN, 2.2)
    for name, (color, line) in zip(table, LOOKS, strict=False):
        axes.plot(table.index, table[name], line, color=color, label=name)
    axes.set(xlabel=table.index.name, ylabel=ylabel)
    if log:
        axes.set(xscale="log", yscale="log")
        for axis, values in ((axes.xaxis, table.index), (axes.yaxis, table.stack())):
            _plain_log(axis, few=values.max() < 100 * values.min())
    axes.grid(True)
    figure.legend(loc="outside upper center", ncols=2)
    return figure
