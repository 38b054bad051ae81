"""The paper's tables and figures, and ours beside them, by name, as `labkit reproduce fig4` makes them.

Each tells which trainings it rests on and draws from finished runs; `save` writes the figure as SVG, PDF and PNG and
its numbers as CSV. Everything rests on all seeds that there are, and a comparison on all that its sides share.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..analysis.claims import CLAIMS
from ..analysis.cues import HEADLINES, outcomes
from ..analysis.effects import effects_table
from ..analysis.verdicts import (
    GAPS,
    UPPER,
    claims_table,
    curves_of,
    gaps_table,
    iterations_saved,
    running_median,
    starts,
)
from ..clips import colorize_depth
from ..errors import LabError
from ..experiments.discrepancies import DISCREPANCIES
from ..experiments.targets import (
    ALL_GROUPS,
    TARGETS,
    Target,
    complete_seeds,
    get_targets,
    look,
    results_table,
    trainings_of,
)
from ..lab import Lab
from .curves import hallucination_curves
from .gallery import cue_outcomes
from .pictures import strips
from .results import claims_figure, effects_figure, results
from .style import by_rows, figures_folder, in_seeds, save_figure

Drawing = tuple[Figure | None, pd.DataFrame | None]


@dataclass(frozen=True)
class TableOrFigure:
    """One of them: how it is drawn, and what it rests on; nothing is trained."""

    name: str
    caption: str  # its data are named when it is saved
    draw: Callable[[Lab], Drawing]  # the figure and its numbers; LabError without runs that it cannot do without
    sides: tuple[tuple[str, ...], ...] = ()  # the trainings of each row or comparison in it
    remark: Callable[[Lab], str] = lambda lab: ""  # what the runs add to its caption

    @property
    def trainings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sum(self.sides, ())))

    def possible(self, lab: Lab) -> TableOrFigure:
        """Itself without the sides whose runs these clips cannot have, as where a modality is missing."""
        found = look(lab, self.trainings)
        sides = [side for side in self.sides if not any(isinstance(found[name], LabError) for name in side)]
        return replace(self, sides=tuple(sides))


# -- Table 1 ---------------------------------------------------------------------------------------

# Cited in Table 1: method, modality at test, cross-subject, cross-view; or a target of ours, bold in the paper.
UNSUPERVISED, SUPERVISED, PRIVILEGED = "unsupervised", "supervised", "privileged information"
TABLE1 = (
    (UNSUPERVISED, "Luo et al.", "depth", 66.2, None),
    (UNSUPERVISED, "Luo et al.", "RGB", 56.0, None),
    (SUPERVISED, "HOG-2", "depth", 32.4, 22.3),
    (SUPERVISED, "table2:1"),
    (SUPERVISED, "table2:2"),
    (SUPERVISED, "Deep RNN", "joints", 56.3, 64.1),
    (SUPERVISED, "Deep LSTM", "joints", 60.7, 67.3),
    (SUPERVISED, "Shahroudy et al., CVPR 2016", "joints", 62.93, 70.27),
    (SUPERVISED, "Kim and Reiter", "joints", 74.3, 83.1),
    (SUPERVISED, "Shahroudy et al., PAMI 2017", "RGB + depth", 74.86, None),
    (SUPERVISED, "Liu et al.", "RGB + depth", 77.5, 84.5),
    (SUPERVISED, "table2:8"),
    (PRIVILEGED, "table2:3"),
    (PRIVILEGED, "table2:13"),
    (PRIVILEGED, "table2:15"),
)


def table1(lab: Lab) -> pd.DataFrame:
    """Table 1: what the paper cites, on NTU RGB+D, and its own rows beside ours on the lab's data and protocol.

    Where we re-made a row, "ours" with its interval and seeds stands beside the paper's figures; rows that
    are only cited have none. Accuracies in %.
    """
    made = [TARGETS[name] for _, name, *cited in TABLE1 if not cited]
    ours = results_table(lab, targets=made).set_index("target")
    rows = []
    for kind, name, *cited in TABLE1:
        if cited:
            row = dict(zip(("tested on", "paper cross-subject", "paper cross-view"), cited, strict=True))
            rows.append({"kind": kind, "method": name, **row})
            continue
        target = TARGETS[name]
        paper = {f"paper {protocol}": target.paper.get(protocol) for protocol in ("cross-subject", "cross-view")}
        found = ours.loc[name, ["ours", "low", "high", "seeds"]].to_dict()
        rows.append({"kind": kind, "method": target.named, "tested on": target.tested_on, **paper, "target": name,
                     **found, "data": lab.data_name, "protocol": lab.split.name})  # fmt: skip
    return pd.DataFrame(rows)


def table1_by_protocol(labs: Iterable[Lab]) -> pd.DataFrame:
    """`table1` under every protocol, with the columns of `beside_paper`, but ("", "method" | "kind" | "tested on").

    What is only cited, and under none of these protocols, is left out.
    """
    tables = {lab.split.name: table1(lab) for lab in labs}
    parts = {"": next(iter(tables.values()))[["method", "kind", "tested on"]]}
    for name, table in tables.items():
        columns = [f"paper {name}", "ours", "low", "high", "seeds"]
        parts[name] = table.reindex(columns=columns).rename(columns={columns[0]: "paper"})
    whole, made = pd.concat(parts, axis=1), next(iter(tables.values()))["target"].notna()
    return whole[made | whole.xs("paper", axis=1, level=1).notna().any(axis=1)]


# -- Table 2 and the supplement --------------------------------------------------------------------


def beside_paper(labs: Iterable[Lab], targets: Iterable[Target]) -> pd.DataFrame:
    """Each target under every protocol, the paper's figure beside ours; nothing is trained.

    Rows by target; columns ("", "model"), then for each protocol (protocol, "paper" | "ours" | "low" | "high" |
    "seeds"), where seeds are those that are finished.
    """
    chosen = list(targets)
    tables = {lab.split.name: results_table(lab, targets=chosen).set_index("target") for lab in labs}
    parts = {"": next(iter(tables.values()))[["model"]]}
    parts |= {name: table[["paper", "ours", "low", "high", "seeds"]] for name, table in tables.items()}
    return pd.concat(parts, axis=1)


# -- Fig. 3 and Fig. 4 -----------------------------------------------------------------------------


def example_frames(lab: Lab) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The middle frame of test clips of six classes: RGB, coloured depth (6,S,S,3) uint8, and their names."""
    rows, middle = np.asarray(lab.clips.rows(lab.split.test)), lab.clips.num_frames // 2
    classes, first = np.unique(lab.clips.labels[rows], return_index=True)
    chosen = np.linspace(0, len(classes) - 1, min(6, len(classes))).astype(int)
    clips, names = rows[first[chosen]], [lab.clips.class_names[label] for label in classes[chosen]]
    return lab.clips.rgb(clips)[:, middle], colorize_depth(lab.clips.depth(clips)[:, [middle]])[:, 0], names


def _fig3(lab: Lab) -> Drawing:
    rgb, depth, names = example_frames(lab)
    return strips({"RGB": rgb, "depth": depth}, [textwrap.fill(name, 16) for name in names]), None


FIG4 = {target.named: target.training for target in map(TARGETS.get, ("table2:13", "table2:14"))}


def _fig4(lab: Lab) -> Drawing:
    curves, rows = {label: [] for label in FIG4}, []
    for seed, pair in _fig4_curves(lab).items():
        for label, curve in zip(FIG4, pair, strict=True):
            curves[label].append(curve)
            smooth = running_median(curve)
            raw = pd.DataFrame(curve)["hall"].to_numpy()
            rows.append(pd.DataFrame({"model": label, "seed": seed, "iteration": smooth.index, "hall": raw,
                                      "smoothed": smooth.to_numpy()}))  # fmt: skip
    if not rows:
        raise LabError.mismatch(None, f"finished runs of {' and of '.join(FIG4)}", "none",
                                "make them: labkit reproduce fig4")  # fmt: skip
    return hallucination_curves(curves), pd.concat(rows)


def _fig4_curves(lab: Lab) -> dict[int, list[list[dict]]]:
    trainings = tuple(FIG4.values())
    return curves_of(lab, trainings, complete_seeds(lab, trainings))


def _fig4_remark(lab: Lab) -> str:
    """How much of the lead is there at the first iteration."""
    pairs = list(_fig4_curves(lab).values())
    if not pairs:
        return ""
    start, saved = starts(pairs), np.mean([iterations_saved(*pair) for pair in pairs])
    return (f". Depth's signals flow in from the first iteration, where the loss is {start.first:.3g} with connections "
            f"and {start.second:.3g} without: to the end of the run without it takes {saved:.0f} % fewer iterations, "
            f"and {start.saved:.0f} % fewer if each is measured by its own start")  # fmt: skip


# -- ours ------------------------------------------------------------------------------------------


def _claims(lab: Lab) -> Drawing:
    table, again = claims_table(lab), claims_table(lab, more_people=True)
    return claims_figure(table), pd.concat([table, again[again["verdict"] != "not run"]])


def _discrepancies(lab: Lab) -> Drawing:
    table = effects_table(lab)
    return effects_figure(table) if table["difference"].notna().any() else None, table


def _overview(lab: Lab) -> Drawing:
    table = results_table(lab, targets=get_targets(["all"]))
    return results(table), table


def _cues(lab: Lab) -> Drawing:
    table = outcomes(lab, HEADLINES)
    return cue_outcomes(table), table


def _each(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    return tuple((training,) for training in trainings_of(names))


_OURS = _each(name for name, target in TARGETS.items() if target.group in ALL_GROUPS)
TABLES_AND_FIGURES: dict[str, TableOrFigure] = {
    one.name: one
    for one in (
        TableOrFigure("table1", "Table 1 of the paper with our rows", lambda lab: (None, table1(lab)),
                      _each(name for _, name, *cited in TABLE1 if not cited)),
        TableOrFigure("fig3", "Fig. 3 of the paper: aligned RGB and depth frames, one test clip each", _fig3),
        TableOrFigure("fig4", "Fig. 4 of the paper: hallucination loss (eq. 3) in step 3 with and without connections; "
                      "the paper lowered the learning rate of the run without by ten on the way, here both follow one "
                      "schedule", _fig4, (tuple(FIG4.values()),), remark=_fig4_remark),
        TableOrFigure("claims", "Claims of the paper and ours, with 95 % intervals", _claims,
                      tuple(claim.trainings for claim in CLAIMS)),
        TableOrFigure("gaps", f"Share of the gap to {TARGETS[UPPER].named} of the paper that RGB-only models close",
                      lambda lab: (None, gaps_table(lab)), tuple(trainings_of((*pair, UPPER)) for pair in GAPS)),
        TableOrFigure("discrepancies", "Where the paper's text and code differ: what deciding otherwise does",
                      _discrepancies, tuple(trainings_of(pair) for point in DISCREPANCIES for pair in point.pairs)),
        TableOrFigure("cues", "Answers to the puppets by the cue that sets two actions apart", _cues, _each(HEADLINES)),
        TableOrFigure("overview", "Every number of the paper beside ours", _overview, _OURS),
    )
}  # fmt: skip


def caption_of(one: TableOrFigure, lab: Lab) -> str:
    """What stands under it: what it shows, whose data, and how many seeds, where it rests on trainings."""
    counts = [len(complete_seeds(lab, trainings)) for trainings in one.sides]
    rests_on = f", {in_seeds(counts)}" if counts else ""
    return f"{one.caption}{one.remark(lab)}. Ours: {lab.data_name}, {lab.split.name}{rests_on}."


def save(one: TableOrFigure, lab: Lab) -> list[Path]:
    """Draw it from finished runs into the lab's folder of figures; the paths written.

    Raises LabError where runs that it cannot do without are missing.
    """
    figure, table = one.draw(lab)
    return save_figure(figure, one.name, figures_folder(lab), table, caption=by_rows(caption_of(one, lab), table))
