"""What sets the embedded actions apart, and what a model makes of it.

Actions come in pairs that differ in one cue (see `labkit.puppets.actions`). A wrong answer that names the partner
means that the cue was missed; any other wrong answer, that more than the cue was.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..data.sets import NTU_ACTIONS
from ..errors import LabError
from ..experiments.statistics import confusion
from ..experiments.targets import (
    TARGETS,
    comparison_table,
    complete_seeds,
    over_seeds,
    predictions,
    trainings_of,
)
from ..lab import Lab
from ..puppets.actions import BY_NUMBER, Action

CUES = ("colour", "depth", "order")
HEADLINES = (
    "table2:1", "table2:2", "table2:8", "control:8", "table2:13", "control:13", "untaught:13", "table2:14", "table2:15",
    "control:15", "untaught:15", "recipe:best", *(name for name, target in TARGETS.items() if target.group == "lesson"),
)  # fmt: skip


def actions_of(lab: Lab) -> tuple[Action, ...]:
    """The embedded actions, by label. Raises LabError for classes that are none of them."""
    numbers = [NTU_ACTIONS.index(name) + 1 if name in NTU_ACTIONS else 0 for name in lab.clips.class_names]
    strange = [name for name, number in zip(lab.clips.class_names, numbers, strict=True) if number not in BY_NUMBER]
    if strange:
        raise LabError.mismatch(None, "actions of the embedded set", strange[:3], "cues are known of its clips alone")
    return tuple(BY_NUMBER[number] for number in numbers)


def known(lab: Lab) -> bool:
    """Whether the lab's clips are the embedded set's, whose cues are known; where not, a sentence says what follows."""
    try:
        return bool(actions_of(lab))
    except LabError:
        print(f"Skipped: which cue tells two actions apart is known of the embedded set, not of {lab.data_name}.")
        return False


def partners(lab: Lab) -> np.ndarray:
    """The label of each class's partner, (classes,)."""
    numbers = [action.number for action in actions_of(lab)]
    return np.array([numbers.index(action.partner) for action in actions_of(lab)])


def pair_order(lab: Lab) -> np.ndarray:
    """All labels, (classes,), partners side by side and cues one after the other."""
    actions, partner = actions_of(lab), partners(lab)
    firsts = [label for label in range(len(actions)) if label < partner[label]]
    firsts.sort(key=lambda label: CUES.index(actions[label].cue))
    return np.array([label for first in firsts for label in (first, partner[first])])


def cue_of_clips(lab: Lab) -> np.ndarray:
    """The cue that decides each test clip's pair, (N,)."""
    cues = np.array([action.cue for action in actions_of(lab)])
    return cues[lab.clips.labels[lab.clips.rows(lab.split.test)]]


def confusions(lab: Lab, name: str) -> np.ndarray:
    """A target's counts on the test clips, (seeds, true class, predicted class); finished seeds, maybe none."""
    have = complete_seeds(lab, trainings_of([name]))
    counts = [confusion(*predictions(lab.with_seed(seed), name), lab.num_classes) for seed in have]
    return np.array(counts).reshape(-1, lab.num_classes, lab.num_classes)


def outcomes(lab: Lab, names: Sequence[str]) -> pd.DataFrame:
    """For each cue and target, the shares in % of answers that are right, name the partner, or a third class.

    Means over all finished seeds; targets without one are left out. "low" and "high" are the 95 % interval of the
    right answers, as in `targets.results_table`. Raises LabError where no target has a finished run.
    """
    cues, partner = np.array([action.cue for action in actions_of(lab)]), partners(lab)
    counts = {name: table for name in names if len(table := confusions(lab, name))}
    if not counts:
        fix = "make them: labkit reproduce cues"
        raise LabError.mismatch(None, f"finished runs of {', '.join(names)}", "none", fix)
    rows = []
    for cue in CUES:
        own = np.flatnonzero(cues == cue)
        for name, table in counts.items():
            clips = int(table[0, own].sum())
            right, confused = (table[:, own, said].sum(axis=1) for said in (own, partner[own]))  # by seed
            found = {"right": right, "partner": confused, "elsewhere": clips - right - confused}
            shares = {outcome: 100 * count.mean() / clips for outcome, count in found.items()}
            each = over_seeds([{"accuracy": n / clips, "correct": n, "total": clips} for n in right.tolist()])
            rows.append({"cue": cue, "target": name, "model": TARGETS[name].named, **shares, "low": each["low"],
                         "high": each["high"], "clips": clips, "seeds": len(table)})  # fmt: skip
    return pd.DataFrame(rows)


def comparison_by_cue(lab: Lab, better: str, worse: str) -> pd.DataFrame:
    """`targets.comparison_table` of one pair of targets, cue by cue: three intervals, so each is a hint."""
    pair = ((better, worse),)
    tables = {cue: comparison_table(lab, pair, where=cue_of_clips(lab) == cue) for cue in CUES}
    return pd.concat(tables, names=["cue"]).reset_index("cue")
