"""Targets made, shown beside the paper's values, and compared.

Targets share their trainings: a run is named by its inputs, so the stream that rows 1, 8, 13 and 15 of
Table 2 all rest on is trained once. `target_table` holds what each target is. Below the tables of results: how far
the runs of a lab have come, which needs no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import LabError
from ..files import is_locked
from ..lab import EMBEDDED, Lab
from ..runs import LOCK, PREDICTIONS, RECORD, TRAINING_VERSION, Run
from ..tools.settings import MAX_SEEDS
from . import committed
from .comparisons import what_differs
from .graph import run_graph
from .statistics import paired_difference, seed_interval, wilson_interval
from .studies.more_people import with_more_people
from .target_table import (
    ALL_GROUPS,
    FIGURE_NAMES,
    IN_NOTEBOOKS,
    ON_MORE_PEOPLE,
    TABLE3,
    TARGETS,
    Target,
    asked_under,
    get_targets,
)
from .trainings import make

__all__ = [
    "ALL_GROUPS", "COMPARISONS", "FIGURE_NAMES", "IN_NOTEBOOKS", "ON_MORE_PEOPLE", "TABLE3", "TARGETS", "TIDY",
    "Target", "answers", "answers_of_seeds", "asked_under", "combined", "command_for", "comparison_table",
    "complete_seeds", "get_targets", "in_words", "look", "make", "needs", "paired_answers", "possible", "predictions",
    "reproduce", "results_table", "seeds_there", "state_of", "tidy", "trainings_of",
]  # fmt: skip

# Differences that carry the paper's claim and their honest twins: (better, than what).
COMPARISONS = (
    ("table2:8", "table2:1"),
    ("table2:8", "control:8"),
    ("table2:15", "table2:2"),
    ("table2:15", "control:15"),
    ("table2:13", "control:13"),
)


def reproduce(names: Sequence[str], lab: Lab, seeds: int = 1, **executor: Any) -> pd.DataFrame:
    """Make the named targets, training only what is missing, and return their table.

    `executor` is what `graph.run_graph` takes beside: workers, scheduler, threads. Raises LabError when
    a training failed, after all that do not depend on it.
    """
    chosen = get_targets(names, lab.split.name)
    run_graph(needs(chosen, [lab], seeds), **executor).check()
    return results_table(lab, seeds, chosen)


def needs(chosen: Iterable[Any], labs: Iterable[Lab], seeds: int = 1) -> list[tuple[Lab, list[str]]]:
    """What `graph.run_graph` is to make for targets, tables and figures: each lab at each seed, with trainings."""
    trainings = list(dict.fromkeys(name for one in chosen for name in one.trainings))
    return [(lab.with_seed(seed), trainings) for lab in labs for seed in range(seeds)]


def possible(lab: Lab, names: Sequence[str]) -> list[Target]:
    """The named targets without those that need a modality which the lab's clips have not."""
    chosen = get_targets(names, lab.split.name)
    found = look(lab, {target.training for target in chosen})
    return [target for target in chosen if not isinstance(found[target.training], LabError)]


def complete_seeds(lab: Lab, trainings: Iterable[str]) -> list[int]:
    """The seeds that have finished runs of all these trainings: what every comparison rests on.

    Whatever the runs say: a seed counts as soon as all sides have it, and no seed is left out. Nothing is trained.
    """
    looks = {seed: look(lab.with_seed(seed), trainings).values() for seed in range(MAX_SEEDS)}
    return [seed for seed, runs in looks.items() if all(not isinstance(run, LabError) and run.done for run in runs)]


def trainings_of(names: Iterable[str]) -> tuple[str, ...]:
    """The trainings that these targets read, each once."""
    return tuple(dict.fromkeys(TARGETS[name].training for name in names))


def seeds_there(lab: Lab, names: Sequence[str], at_least: int = 1) -> int:
    """How many seeds, from 0 on, are complete for the named targets or groups; `at_least`, if fewer are."""
    have = complete_seeds(lab, trainings_of(target.name for target in get_targets(names, lab.split.name)))
    return max(at_least, next(seed for seed in range(MAX_SEEDS + 1) if seed not in have))


def results_table(lab: Lab, seeds: int = 1, targets: Iterable[Target] | None = None) -> pd.DataFrame:
    """One row a target: the paper's figure, ours in % with a 95 % interval, and how far it has come.

    Ours rests on every finished seed, in a notebook on committed ones where those are more (`committed`), with the
    interval of `over_seeds`; the state is that of the `seeds` asked for. Nothing is trained; what is missing stays
    empty. `attrs["made on"]` counts the trainings behind it by where they were made, such as "bf16 on AMD EPYC".
    """
    chosen = get_targets(["everything"], lab.split.name) if targets is None else list(targets)
    theirs, more = committed.tests(lab), []
    looks = [look(one, trainings) for one, trainings in needs(chosen, [lab], MAX_SEEDS)]
    found = [{name: state_of(run) for name, run in runs.items()} for runs in looks]
    rows = []
    for target in chosen:
        seen = [by_training[target.training] for by_training in found]
        done = [outputs[target.reading]["test"] for outputs, _ in seen if outputs]
        if len(kept := theirs.get(target.name, ())) > len(done):
            more.append((len(kept), len(done)))
            done = kept
        rows.append(
            {
                "target": target.name,
                "model": target.named,
                "tested on": target.tested_on,
                "paper": target.paper.get(lab.split.name),
                **over_seeds(done),
                "seeds": len(done),
                "data": lab.data_name,
                **({"profile": lab.profile.name} if "+" in lab.profile.name else {}),  # with settings changed
                "state": combined([state for _, state in seen[:seeds]]),
            }
        )
    if more:
        committed.told(f"{len(more)} of {len(rows)} rows", *map(max, zip(*more, strict=True)))
    table = pd.DataFrame(rows).astype(dict.fromkeys(("paper", "ours", "low", "high"), float))  # NaN, not None
    finished = {runs[name].id: runs[name] for runs, states in zip(looks, found, strict=True)
                for name, (outputs, _) in states.items() if outputs}  # fmt: skip
    table.attrs["made on"] = _made_on(finished.values())
    return table


TIDY = ("protocol", "target", "seed", "accuracy", "correct", "total", "run", "paper", "data", "profile", "version")


def tidy(labs: Iterable[Lab], targets: Iterable[Target] | None = None) -> pd.DataFrame:
    """One row a protocol, target and seed, finished ones only; accuracies in %. Nothing is trained."""
    chosen, rows = list(TARGETS.values() if targets is None else targets), []
    for lab, trainings in needs(chosen, labs, MAX_SEEDS):
        runs = look(lab, trainings)
        found = {name: state_of(run) for name, run in runs.items()}
        for target in chosen:
            outputs, _ = found[target.training]
            if outputs:
                test, run = outputs[target.reading]["test"], runs[target.training].id
                rows.append((lab.split.name, target.name, lab.seed, 100 * test["accuracy"], test["correct"],
                             test["total"], run, target.paper.get(lab.split.name), lab.data_name,
                             lab.profile.name, TRAINING_VERSION))  # fmt: skip
    return pd.DataFrame(rows, columns=TIDY)


def predictions(lab: Lab, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A target's logits (N,K) and the labels (N,), in the order of the test clips: the split's, or more people's."""
    target = TARGETS[name]
    run = target.make(replace(lab, dry=True))
    tensors, ids = run.load_tensors(PREDICTIONS)
    clips = with_more_people(lab).clips if target.group == "people" else lab.clips
    return tensors[f"test/{target.reading}"].numpy(), clips.labels[clips.rows(ids["test"])]


def answers(lab: Lab, name: str) -> np.ndarray:
    """Which test clips a target answers right, (N,) bool, in the order of the split's test clips."""
    logits, labels = predictions(lab, name)
    return logits.argmax(axis=1) == labels


def answers_of_seeds(lab: Lab, name: str, seeds: int | Sequence[int]) -> np.ndarray:
    """`answers` of that many seeds, or of these, (seeds, N) bool: the form that `statistics` compares."""
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    return np.stack([answers(lab.with_seed(seed), name) for seed in chosen])


def paired_answers(lab: Lab, *names: str) -> tuple[list[int], list[np.ndarray]]:
    """The seeds that all these targets have, and each target's answers in them, (seeds, N) bool.

    Raises LabError, which names what is missing, where no seed has all of them.
    """
    have = complete_seeds(lab, trainings_of(names)) or [0]  # whose missing run is then named
    return have, [answers_of_seeds(lab, name, have) for name in names]


def comparison_table(lab: Lab, pairs: Iterable[tuple[str, str]], *, where: np.ndarray | None = None) -> pd.DataFrame:
    """Paired differences in points over the test clips of all seeds that both have, 95 % intervals, p, what differs.

    What the intervals cover: `statistics.paired_difference`. `where` (N,) bool keeps some of the test clips. In a
    notebook a committed row stands where it rests on more seeds (`committed`).
    """
    kept = np.full(len(lab.split.test), True) if where is None else where
    people, rows = lab.people()[kept], []
    for better, worse in pairs:
        have = complete_seeds(lab, trainings_of((better, worse)))
        found = committed.comparison(lab, f"{better} - {worse}", len(have)) if where is None else None
        if found is None:
            seeds = have or [0]  # whose missing run is then named
            right = (answers_of_seeds(lab, name, seeds)[:, kept] for name in (better, worse))
            value, low, high, p = paired_difference(*right, groups=people)
            found = {"value": 100 * value, "low": 100 * low, "high": 100 * high, "p": p, "seeds": len(have)}
        points = {name: found[name] for name in ("low", "high", "p", "seeds")}
        rows.append({"target": better, "minus": worse, "difference": found["value"], **points, "data": lab.data_name,
                     "differs": what_differs(better, worse)})  # fmt: skip
    return pd.DataFrame(rows)


def in_words(comparisons: pd.DataFrame) -> list[str]:
    """Each row of a `comparison_table` as a sentence: where its interval lies, and whether it rests on one seed."""
    sentences = []
    for row in comparisons.itertuples():
        place = "above zero" if row.low > 0 else "below zero" if row.high < 0 else "around zero"
        names = f"{TARGETS[row.target].named} minus {TARGETS[row.minus].named}"
        one = " (one seed: other trainings are not covered)" if row.seeds == 1 else ""
        sentences.append(f"{names}: {row.difference:+.1f} points, {row.low:+.1f} to {row.high:+.1f}: {place}{one}")
    return sentences


# -- how far runs have come ----------------------------------------------------------------------------


def look(lab: Lab, trainings: Iterable[str]) -> dict[str, Run | LabError]:
    """The run of each training, trained or not; or why this lab cannot have it."""
    dry, made, found = replace(lab, dry=True), {}, {}
    for name in trainings:
        try:
            found[name] = make(name, dry, made)
        except LabError as error:
            found[name] = error
    return found


def state_of(run: Run | LabError) -> tuple[dict | None, str]:
    """A finished run's outputs by reading, each with its "test": accuracy, correct, total; else None. And its state.

    The states: "done", "missing", "running", "interrupted", "failed: reason", "impossible: reason".
    """
    if isinstance(run, LabError):
        return None, f"impossible: {run.reason}"
    try:
        if run.is_finished():
            return run.result["outputs"], "done"
        state, reason = run.state, run.details.get("reason", "no reason was kept")
    except LabError as error:  # damaged
        return None, f"failed: {error}"
    if state == "failed":
        return None, f"failed: {reason}"
    if state == "new":
        return None, "missing"
    return None, "running" if is_locked(run.path / LOCK) else "interrupted"


def combined(states: Sequence[str]) -> str:
    """The states of several seeds as one: "done", "2 of 3", "2 of 3; failed: reason"."""
    if len(set(states)) == 1:
        return states[0]
    trouble = next((state for state in states if ":" in state), None)
    return f"{states.count('done')} of {len(states)}" + (f"; {trouble}" if trouble else "")


def _made_on(runs: Iterable[Run]) -> Counter[str]:
    """How many of these finished runs were made where.

    One name gives other bits on another processor or in another precision: seeds average it out, as they do other
    starts, but small differences should not rest on it.
    """
    records = [run.load_json(RECORD) for run in runs if (run.path / RECORD).exists()]
    return Counter(f"{record['precision']} on {record['machine']['gpu'] or record['machine']['cpu']}"
                   for record in records if "precision" in record)  # fmt: skip


def over_seeds(tests: Sequence[dict]) -> dict[str, Any]:
    """Mean accuracy over seeds in %, with its 95 % interval and, in "by seed", each seed's; empty without a test.

    With one seed the interval is Wilson's over test clips; with several it is the t interval over seeds.
    """
    if not tests:
        return {"ours": None, "low": None, "high": None, "by seed": ""}
    values = [test["accuracy"] for test in tests]
    if len(tests) == 1:
        low, high = wilson_interval(tests[0]["correct"], tests[0]["total"])
    else:
        _, low, high = seed_interval(values)
    each = " ".join(f"{100 * value:.1f}" for value in values) if len(values) > 1 else ""
    return {"ours": 100 * float(np.mean(values)), "low": 100 * low, "high": 100 * high, "by seed": each}


def command_for(names: Iterable[str], lab: Lab, seeds: int = 1) -> str:
    """The command line that makes these targets in this lab; options are named where they are not the default."""
    data = "" if lab.data_name == EMBEDDED else "ROOT"
    options = {"profile": (lab.profile.name, "mini"), "protocol": (lab.split.name, "cross-subject"),
               "seeds": (seeds, 1), "data": (data, "")}  # fmt: skip
    given = [f"--{name} {value}" for name, (value, default) in options.items() if value != default]
    return " ".join(["labkit reproduce", *names, *given])
