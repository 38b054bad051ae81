"""Every number of the paper that the lab makes, as a named target beside the paper's own value.

A target is a reading of a run. Targets share their trainings: a run is named by its inputs, so the
stream that rows 1, 8, 13 and 15 of Table 2 all rest on is trained once. The controls have no number
in the paper: they have the capacity, the training budget and the starting point of a row, and no depth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from .datasets import NTU60
from .errors import LabError
from .lab import Lab
from .metrics import Interval, gap_closed, paired_bootstrap, seed_interval, wilson_interval
from .runs import PREDICTIONS, Run
from .trainers import distill_hallucination, finetune_rgb_only, train_stream, train_two_stream


@dataclass(frozen=True)
class Target:
    """One number: which run makes it, which of its readings is meant, and what the paper printed."""

    name: str
    title: str
    role: str  # whose colour it has in the figures
    tested_on: str
    make: Callable[[Lab], Run]
    reading: str
    paper: dict[str, float] = field(default_factory=dict)  # protocol -> accuracy in %


# -- the trainings that targets share ------------------------------------------------------------


def depth_stream(lab: Lab) -> Run:
    return train_stream(lab, "depth")


def rgb_stream(lab: Lab) -> Run:
    return train_stream(lab, "rgb")


def two_stream(lab: Lab) -> Run:
    return train_two_stream(lab, depth_stream(lab), rgb_stream(lab))


def hallucination(lab: Lab) -> Run:
    return distill_hallucination(lab, two_stream(lab))


def rgb_only(lab: Lab) -> Run:
    return finetune_rgb_only(lab, hallucination(lab), two_stream(lab))


def two_rgb_streams(lab: Lab) -> Run:
    """Control of row 8: a second RGB stream, from other weights, in depth's place."""
    return train_two_stream(lab, train_stream(lab, "rgb", twin=1), rgb_stream(lab))


def undistilled(lab: Lab) -> Run:
    """Control of row 13: the second RGB stream trained on labels alone for as long as step 3 lasts."""
    labels = replace(lab.profile.distill, objective="labels")
    return distill_hallucination(lab, two_rgb_streams(lab), distill=labels)


def rgb_only_undistilled(lab: Lab) -> Run:
    """Control of row 15: step 4 from the undistilled stream."""
    return finetune_rgb_only(lab, undistilled(lab), two_rgb_streams(lab))


def _both(cross_subject: float, cross_view: float) -> dict[str, float]:
    return {"cross-subject": cross_subject, "cross-view": cross_view}


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("table2:1", "depth stream", "depth", "depth", depth_stream, "stream", _both(70.44, 75.16)),
        Target("table2:2", "RGB stream", "rgb", "RGB", rgb_stream, "stream", _both(66.52, 71.39)),
        Target("table2:6", "step 2, depth branch", "depth", "depth", two_stream, "source", _both(71.09, 77.30)),
        Target("table2:7", "step 2, RGB branch", "rgb", "RGB + depth", two_stream, "target", _both(66.68, 56.26)),
        Target("table2:8", "step 2, both", "two_stream", "RGB + depth", two_stream, "fused", _both(79.73, 81.43)),
        Target("control:8", "two RGB streams", "control", "RGB", two_rgb_streams, "fused"),
        Target("table2:13", "hallucination alone", "hallucination", "RGB", hallucination, "alone", _both(71.93, 74.10)),
        Target("oracle:13", "hallucination with depth injected", "hallucination", "RGB + depth",
               hallucination, "with_depth", _both(71.93, 74.10)),
        Target("control:13", "second RGB stream, labels alone", "control", "RGB", undistilled, "alone"),
        Target("table2:15", "hallucination + RGB", "rgb_only", "RGB", rgb_only, "fused", _both(73.42, 77.21)),
        Target("control:15", "two RGB streams, same budget", "control", "RGB", rgb_only_undistilled, "fused"),
    )
}  # fmt: skip

# Differences that carry the paper's claim and their honest twins: (better, than what).
COMPARISONS = (
    ("table2:8", "table2:1"),
    ("table2:8", "control:8"),
    ("table2:15", "table2:2"),
    ("table2:15", "control:15"),
    ("table2:13", "control:13"),
)


def get_targets(names: Iterable[str]) -> list[Target]:
    """Targets by name, "all" for every one; LabError for a name there is not."""
    wanted = list(names)
    for name in wanted:
        if name != "all" and name not in TARGETS:
            fix = "see `labkit targets` for what there is"
            raise LabError.mismatch(None, f"a target among {', '.join(TARGETS)}", repr(name), fix)
    return [target for name, target in TARGETS.items() if name in wanted or "all" in wanted]


def reproduce(names: Sequence[str], lab: Lab, seeds: int = 1) -> pd.DataFrame:
    """Make the named targets, training only what is missing, and return their table."""
    chosen = get_targets(names)
    for seed in range(seeds):
        for target in chosen:
            target.make(lab.with_seed(seed))
    return results_table(lab, seeds, chosen)


def results_table(lab: Lab, seeds: int = 1, targets: Iterable[Target] | None = None) -> pd.DataFrame:
    """One row a target: the paper's figure, ours in % with a 95 % interval, and how far it has come.

    With one seed the interval is Wilson's over test clips; with several it is the t interval over
    seeds. Nothing is trained; what is missing stays empty.
    """
    rows = []
    for target in targets or TARGETS.values():
        runs = [target.make(replace(lab.with_seed(seed), dry=True)) for seed in range(seeds)]
        done = [run.result["outputs"][target.reading]["test"] for run in runs if run.done]
        rows.append(
            {
                "target": target.name,
                "model": target.title,
                "tested on": target.tested_on,
                "paper": target.paper.get(lab.split.name),
                **_ours(done),
                "seeds": len(done),
                "data": "puppets",
                "state": "done" if len(done) == seeds else f"{len(done)} of {seeds}",
            }
        )
    return pd.DataFrame(rows)


def _ours(tests: list[dict]) -> dict[str, float | None]:
    if not tests:
        return {"ours": None, "low": None, "high": None}
    values = [test["accuracy"] for test in tests]
    if len(tests) == 1:
        low, high = wilson_interval(tests[0]["correct"], tests[0]["total"])
    else:
        _, low, high = seed_interval(values)
    return {"ours": 100 * float(np.mean(values)), "low": 100 * low, "high": 100 * high}


def predictions(lab: Lab, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A target's logits (N,K) and the labels (N,), in the order of the split's test clips."""
    target = TARGETS[name]
    run = target.make(replace(lab, dry=True))
    tensors, ids = run.load_tensors(PREDICTIONS)
    return tensors[f"test/{target.reading}"].numpy(), lab.clips.labels[lab.clips.rows(ids["test"])]


def answers(lab: Lab, name: str) -> np.ndarray:
    """Which test clips a target answers right, (N,) bool, in the order of the split's test clips."""
    logits, labels = predictions(lab, name)
    return logits.argmax(axis=1) == labels


def comparison_table(lab: Lab, seeds: int = 1, pairs=COMPARISONS, *, where: np.ndarray | None = None) -> pd.DataFrame:
    """Paired differences in points over the test clips of all seeds, with 95 % bootstrap intervals.

    Whole subjects are resampled: clips of one person resemble each other. `where` (N,) bool keeps some
    of the test clips.
    """
    kept = np.full(len(lab.split.test), True) if where is None else where
    people = np.tile(subjects(lab)[kept], seeds)
    rows = []
    for better, worse in pairs:
        right = [np.concatenate([answers(lab.with_seed(s), n)[kept] for s in range(seeds)]) for n in (better, worse)]
        value, low, high, p = paired_bootstrap(*right, groups=people)
        points = {"difference": 100 * value, "low": 100 * low, "high": 100 * high, "p": p}
        rows.append({"target": better, "minus": worse, **points, "seeds": seeds, "data": "puppets"})
    return pd.DataFrame(rows)


def in_words(comparisons: pd.DataFrame) -> list[str]:
    """Each row of a `comparison_table` as a sentence that says where its interval lies."""
    sentences = []
    for row in comparisons.itertuples():
        place = "above zero" if row.low > 0 else "below zero" if row.high < 0 else "around zero"
        names = f"{TARGETS[row.target].title} minus {TARGETS[row.minus].title}"
        sentences.append(f"{names}: {row.difference:+.1f} points, {row.low:+.1f} to {row.high:+.1f}: {place}")
    return sentences


def subjects(lab: Lab) -> np.ndarray:
    """Who acts in each test clip, (N,)."""
    return np.array([NTU60.parse(clip).subject for clip in lab.split.test])


def gap_closed_by_depth(lab: Lab, seeds: int = 1, baseline: str = "control:15") -> Interval:
    """How much of the way from a baseline to RGB+D (row 8) the final RGB-only model (row 15) goes."""
    names = ("table2:15", baseline, "table2:8")
    right = [np.concatenate([answers(lab.with_seed(s), name) for s in range(seeds)]) for name in names]
    return gap_closed(*right, groups=np.concatenate([subjects(lab)] * seeds))
