"""What one thing does to accuracy: each point of `discrepancies`. Nothing is trained here."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..experiments.discrepancies import DISCREPANCIES, Discrepancy
from ..experiments.targets import TARGETS
from ..lab import Lab
from .claims import Claim
from .verdicts import judge


def as_claim(point: Discrepancy, base: str, other: str) -> Claim:
    """That deciding the point otherwise is better: "holds" or "fails" means that it matters."""
    statement = f"{point.point}: the other way is better"
    return Claim(f"point {point.number} on {base}", "method", statement, (other,), (base,), by="ours")


def effects_table(lab: Lab) -> pd.DataFrame:
    """All 32 points with what the profile has, what was tried, and the paired difference in points.

    A point has a row for each target that it is measured on. Interval, seeds and words as in `verdicts.judge`:
    "raises" or "lowers" accuracy where the interval excludes 0, else "not seen" with the seeds it would take.
    Points that cannot move accuracy, or whose effect is not measured, have no difference.
    """
    rows = []
    for point in DISCREPANCIES:
        measured = [_effect(point, *pair, lab) for pair in point.pairs]
        about, none = point.row(lab.profile), {"measured on": "", "effect": "not measured"}
        rows += [{**about, **row} for row in measured or [none]]
    return pd.DataFrame(rows)


def _effect(point: Discrepancy, base: str, other: str, lab: Lab) -> dict[str, Any]:
    found = judge(as_claim(point, base, other), lab)
    return {"base": base, "other": other, "measured on": TARGETS[base].named, "difference": found.effect,
            "low": found.low, "high": found.high, "p": found.p, "effect": _WORDS[found.verdict],
            "seeds needed": found.seeds_needed, "seeds": found.seeds, "data": found.data,
            "protocol": found.protocol}  # fmt: skip


_WORDS = {"holds": "raises accuracy", "fails": "lowers accuracy", "small": "small", "undecided": "not seen",
          "not run": "not run"}  # fmt: skip
