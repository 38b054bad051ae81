"""How bad depth may get before doing without it is better: Table 3 as a curve, and where the curve crosses.

The two-stream network (row 8) is better with clean depth than any model that sees RGB alone. As its depth
gets worse it falls below them, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ..errors import LabError
from ..experiments.statistics import paired_difference
from ..experiments.studies.noise import CORRUPTIONS, Corruption
from ..experiments.targets import TARGETS, Target, paired_answers, results_table
from ..lab import Lab

# What a reader of Table 3 would take instead: the paper's RGB-only model, its twin without depth, one RGB stream.
RIVALS = ("table2:15", "control:15", "table2:2")
GRADED = tuple(kind for kind, corruption in CORRUPTIONS.items() if corruption.severities)


@dataclass(frozen=True)
class Crossing:
    """The severity at which row 8 falls below a rival, with its 95 % interval.

    0 is clean depth; None is beyond the worst severity measured.
    """

    kind: str
    rival: str
    severity: float | None
    low: float | None
    high: float | None
    seeds: int

    def __str__(self) -> str:
        rival, corruption = TARGETS[self.rival].named, CORRUPTIONS[self.kind]
        both, worst = TARGETS["table2:8"].named, f"{float(corruption.severities[-1]):g}"
        if self.severity is None:
            place = f"stays above “{rival}” up to {corruption.unit} {worst}"
        elif self.severity == 0:
            place = f"is below “{rival}” with clean depth already"
        else:
            place = f"falls below “{rival}” at {corruption.unit} {_short(self.severity)}"
        if self.low == self.high:  # not one severity of those measured is in doubt
            return f"{self.kind}: {both} {place}"
        low, high = (f"beyond {worst}" if bound is None else _short(bound) for bound in (self.low, self.high))
        return f"{self.kind}: {both} {place} (95 % interval {low} to {high})"


def _short(severity: float) -> str:
    """Two digits, and no power of ten."""
    return f"{severity:.0f}" if severity >= 100 else f"{severity:.2g}"


def targets_of(kind: str) -> list[Target]:
    """The targets of a kind of corruption, clean depth first, then from mild to severe; LabError for no such kind."""
    if kind not in GRADED:
        raise LabError.mismatch(None, f"a corruption among {', '.join(GRADED)}", repr(kind), "use one of those names")
    by_reading = {target.reading: target for target in TARGETS.values() if target.training == "noise"}
    return [by_reading[reading] for reading in ("none", *CORRUPTIONS[kind].readings)]


def severity_table(lab: Lab, seeds: int = 1, kind: str = "speckle") -> pd.DataFrame:
    """`targets.results_table` of a kind's targets with their `severity`, 0 for clean depth and empty for void.

    Void ends the kinds that change the coloured picture, as in Table 3. Nothing is computed; what is missing
    stays empty.
    """
    chosen = targets_of(kind)
    severities = [0.0, *CORRUPTIONS[kind].readings.values()]
    if CORRUPTIONS[kind].on == "picture":
        chosen, severities = [*chosen, TARGETS["table3:void"]], [*severities, None]
    return results_table(lab, seeds, chosen).assign(kind=kind, severity=severities)


def crossing(lab: Lab, kind: str = "speckle", rival: str = "table2:15") -> Crossing:
    """Where the curve of a kind crosses a rival's accuracy, from kept predictions of all seeds that both have.

    Between severities the curve is taken as straight, on a logarithmic axis for speckle, and so are the ends of
    the interval of its difference to the rival. What it covers is told in `statistics.paired_difference`.
    """
    have, (right, *curve) = paired_answers(lab, rival, *(target.name for target in targets_of(kind)))
    return Crossing(kind, rival, *find_crossing(np.stack(curve), right, CORRUPTIONS[kind], lab.people()), len(have))


def find_crossing(
    curve: np.ndarray, rival: np.ndarray, corruption: Corruption, groups: np.ndarray
) -> tuple[float | None, float | None, float | None]:
    """(severity, low, high); see `Crossing`.

    curve (severities + 1, seeds, clips) and rival (seeds, clips) tell which clips are answered right, clean
    depth first; groups (clips,) as in `statistics.paired_difference`, whose interval of curve minus rival holds
    zero from low to high.
    """
    places = [corruption.place(severity) for severity in (0.0, *corruption.readings.values())]
    differences = [paired_difference(right, rival, groups=groups)[:3] for right in curve]
    crossed = [_first_crossing(side, places) for side in zip(*differences, strict=True)]
    return tuple(None if place is None else corruption.severity_at(place) for place in crossed)


def _first_crossing(differences: Sequence[float], places: Sequence[float]) -> float | None:
    """The place at which differences, one a place, first turn negative; None where they never do."""
    below = np.flatnonzero(np.array(differences) < -1e-12)  # equal accuracies may differ by rounding
    if not len(below):
        return None
    after = below[0]
    if after == 0:
        return places[0]
    here, there = differences[after - 1], differences[after]
    return places[after - 1] + here / (here - there) * (places[after] - places[after - 1])


def crossings_table(lab: Lab, kinds: Iterable[str] = GRADED) -> pd.DataFrame:
    """`crossing` of every kind with every rival, a row each, in words, too."""
    found = [crossing(lab, kind, rival) for kind in kinds for rival in RIVALS]
    rows = [{**asdict(one), "unit": CORRUPTIONS[one.kind].unit, "in words": str(one)} for one in found]
    return pd.DataFrame(rows).assign(data=lab.data_name, protocol=lab.split.name)
