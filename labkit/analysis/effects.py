"""What each point of `discrepancies` does to accuracy: the same target with the point decided otherwise, minus it.

Only the last training differs; what it starts from is shared. Nothing is trained here:
`labkit reproduce switch` makes the runs.
"""

from __future__ import annotations

import pandas as pd

from ..experiments.discrepancies import DISCREPANCIES, Discrepancy, discrepancies_table
from ..experiments.targets import TARGETS
from ..lab import Lab
from .claims import Claim
from .verdicts import judge


def as_claim(point: Discrepancy) -> Claim:
    """That deciding the point otherwise is better: "holds" or "fails" means that it matters."""
    statement = f"{point.point}: the other way is better"
    return Claim(f"point {point.number}", "method", statement, (point.other,), (point.base,), by="ours")


def effects_table(lab: Lab, seeds: int = 1) -> pd.DataFrame:
    """All 32 points with what the profile has, what was tried, and the paired difference in points.

    Interval, seeds and words as in `verdicts.judge`: "raises" or "lowers" accuracy where the interval
    excludes 0, else "not seen" with the seeds it would take. Points that cannot move accuracy, or whose
    effect is not measured, have no difference.
    """
    rows = []
    for point in DISCREPANCIES:
        if not point.other:
            rows.append({"measured on": "", "effect": "not measured"})
            continue
        found = judge(as_claim(point), lab, seeds)
        rows.append({"measured on": TARGETS[point.base].title, "difference": found.effect, "low": found.low,
                     "high": found.high, "p": found.p, "effect": _WORDS[found.verdict],
                     "seeds needed": found.seeds_needed, "seeds": found.seeds, "data": found.data,
                     "protocol": found.protocol})  # fmt: skip
    return pd.concat([discrepancies_table(lab.profile), pd.DataFrame(rows)], axis=1)


_WORDS = {"holds": "raises accuracy", "fails": "lowers accuracy", "undecided": "not seen", "not run": "not run"}
