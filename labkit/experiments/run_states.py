"""How far the runs of a lab have come, without training any and without torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from ..data.splits import PUPPETS
from ..errors import LabError
from ..lab import Lab
from ..runs import LOCK, Run
from .statistics import seed_interval, wilson_interval
from .trainings import make


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
    return None, "running" if _is_held(run) else "interrupted"


def _is_held(run: Run) -> bool:
    """Whether a living process trains it; a dead one's lock is free."""
    try:
        with FileLock(run.path / LOCK, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def combined(states: Sequence[str]) -> str:
    """The states of several seeds as one: "done", "2 of 3", "2 of 3; failed: reason"."""
    if len(set(states)) == 1:
        return states[0]
    trouble = next((state for state in states if ":" in state), None)
    return f"{states.count('done')} of {len(states)}" + (f"; {trouble}" if trouble else "")


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
    """The command line that makes these targets on this bench; options are named where they are not the default."""
    data = "" if lab.data_name == PUPPETS.name else "ROOT"
    options = {"profile": (lab.profile.name, "mini"), "protocol": (lab.split.name, "cross-subject"),
               "seeds": (seeds, 1), "data": (data, "")}  # fmt: skip
    given = [f"--{name} {value}" for name, (value, default) in options.items() if value != default]
    return " ".join(["labkit reproduce", *names, *given])
