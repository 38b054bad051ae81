"""The claims of `claims`, judged on runs: effect, interval, verdict.

One rule for all. A claim says that an effect lies beyond a level, which is 0 unless it says more. It
"holds" where the 95 % interval lies beyond the level as a whole, and "fails" where it lies on the other
side as a whole. An effect whose interval covers 0 and stays within SMALL points of it is "small": decided, too,
for nobody would choose a model by it. All else is "undecided", with the seeds it would take at the effect seen so far.

Effects on accuracy are paired differences in points; their intervals cover other people and, from two
seeds on, other seeds (`statistics.paired_difference`). With one seed they are about that very training, and
the note says so. Intervals are not adjusted for being many; the column "p (Holm)" is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from ..experiments import committed
from ..experiments.comparisons import what_differs
from ..experiments.statistics import clip_spread, gap_closed, holm, paired_difference, seed_interval, seeds_needed
from ..experiments.studies.more_people import with_more_people
from ..experiments.targets import (
    ON_MORE_PEOPLE,
    answers_of_seeds,
    complete_seeds,
    look,
    paired_answers,
    trainings_of,
)
from ..lab import Lab
from .claims import CLAIMS, Claim
from .noise_curves import crossing

UNITS = {"faster": "% of iterations", "crosses": "variance of the noise"}  # others are points of accuracy
SMALL = 1.5  # points of accuracy: about 10 of the 720 test clips
DECIDED = ("holds", "fails", "small")
MORE_PEOPLE = " with more people"  # behind a claim's name
MAX_NEEDED = 100  # more than this is "not by seeds"


@dataclass(frozen=True)
class Verdict:
    """What the runs say about a claim; effect and interval are in points, or in the claim's unit of `UNITS`."""

    effect: float
    low: float
    high: float
    p: float
    verdict: Literal["holds", "fails", "small", "undecided", "not run"]
    seeds_needed: int | None  # where undecided; None: more than MAX_NEEDED, or no seeds would do
    note: str
    data: str
    protocol: str
    seeds: int


def judge(claim: Claim, lab: Lab, *, more_people: bool = False) -> Verdict:
    """The verdict over all seeds that have all its runs; nothing is trained. In a notebook: see `committed`.

    With `more_people` it rests on the answers to their clips, too: see `experiments.more_people`.
    """
    beyond = on_more_people(claim) if more_people else ()
    have = complete_seeds(lab, (*claim.trainings, *trainings_of(beyond)))
    about = {"data": lab.data_name, "protocol": lab.split.name, "seeds": len(have)}
    if theirs := committed.comparison(lab, claim.name + MORE_PEOPLE * more_people, len(have)):
        found = (theirs[name] for name in ("value", "low", "high", "p", "verdict", "seeds needed", "note"))
        return Verdict(*found, **{**about, "seeds": theirs["seeds"]})
    if not have:
        return Verdict(*[math.nan] * 4, "not run", None, "", **about)
    judged = {"faster": _judge_curves, "crosses": _judge_crossing}.get(claim.kind, partial(_judge_answers, beyond))
    return Verdict(*judged(claim, lab, have), **about)


def on_more_people(claim: Claim) -> tuple[str, ...]:
    """The targets of both sides on more people; none where a side is no row of Table 2, the supplement or a control."""
    beyond = tuple(ON_MORE_PEOPLE.get(name, "") for name in (*claim.plus, *claim.minus))
    return beyond if all(beyond) else ()


def word(claim: Claim, low: float, high: float) -> str:
    """The rule: where the interval lies, seen from the claim's level."""
    if claim.kind == "near":
        inside = -claim.level < low and high < claim.level
        outside = low > claim.level or high < -claim.level
        return "holds" if inside else "fails" if outside else "undecided"
    if claim.kind == "crosses":
        return "holds" if high <= claim.level else "fails" if low > claim.level else "undecided"
    if low > claim.level or high < claim.level:
        return "holds" if low > claim.level else "fails"
    small = claim.kind == "above" and claim.level == 0 and low > -SMALL and high < SMALL
    return "small" if small else "undecided"


def _judge_answers(beyond: Sequence[str], claim: Claim, lab: Lab, have: Sequence[int]) -> tuple:
    """Effect, low, high, p, word, seeds needed and note, from the answers to each test clip, and to those `beyond`."""
    right, people = [answers_of_seeds(lab, name, have) for name in (*claim.plus, *claim.minus)], lab.people()
    if beyond:
        more = [answers_of_seeds(lab, name, have) for name in beyond]
        right = [np.concatenate(both, axis=1) for both in zip(right, more, strict=True)]
        people = np.concatenate([people, with_more_people(lab).people()])
    sides = right[: len(claim.plus)], right[len(claim.plus) :]
    plus, minus = (np.sum(side, axis=0, dtype=float) for side in sides)
    found = paired_difference(plus, minus, groups=people)
    effect, low, high = 100 * found.value, 100 * found.low, 100 * found.high
    p = found.p if claim.kind == "above" and claim.level == 0 else math.nan
    verdict = word(claim, low, high)
    if verdict != "undecided":
        return effect, low, high, p, verdict, None, "" if len(have) > 1 else "one seed: other seeds are not covered"
    by_seed = (plus - minus).mean(axis=1)
    spread = clip_spread(plus[0], minus[0]) if len(have) == 1 else None
    distance = abs(effect) - claim.level if claim.kind == "near" else effect - claim.level
    needed = seeds_needed(by_seed, distance / 100, spread=spread, most=MAX_NEEDED)
    if spread is not None:
        return effect, low, high, p, verdict, needed, "one seed: spread over seeds assumed to be that over clips"
    these = paired_difference(plus.mean(axis=0), minus.mean(axis=0), groups=people)  # over people, of these trainings
    decided = word(claim, 100 * these.low, 100 * these.high) != "undecided"
    note = "" if decided else "undecided over people alone: more of them, not only more seeds"
    return effect, low, high, p, verdict, needed, note


def _judge_crossing(claim: Claim, lab: Lab, have: Sequence[int]) -> tuple:
    found = crossing(lab, rival=claim.plus[0])
    value, low, high = (math.inf if place is None else place for place in (found.severity, found.low, found.high))
    return value, low, high, math.nan, word(claim, low, high), None, str(found)


# -- Fig. 4 ----------------------------------------------------------------------------------------


def iterations_saved(faster: Sequence[dict], slower: Sequence[dict]) -> float:
    """By how many % fewer iterations the first curve comes down to where the second ends.

    Curves as in history.json of two runs of equal length, smoothed by `running_median`. Negative
    where the first never comes so low: then it is what the second saves against the first's end.
    """
    return _saved(running_median(faster), running_median(slower))


def _saved(first: pd.Series, second: pd.Series) -> float:
    if first.min() > second.iloc[-1]:
        return -_saved(second, first)
    reached = first.index[(first <= second.iloc[-1]).to_numpy().argmax()]
    return 100 * (1 - (reached + 1) / (second.index[-1] + 1))


class Start(NamedTuple):
    """Of two curves over seeds: where they start, and what is saved if each is measured by its own start."""

    first: float  # geometric mean over seeds of the smoothed value at the first iteration
    second: float
    saved: float  # mean over seeds of `iterations_saved`, in %

    def __str__(self) -> str:
        return f"starts at {self.first:.3g} against {self.second:.3g}; each by its own start, {self.saved:.0f} % saved"


def starts(pairs: Sequence[Sequence[Sequence[dict]]]) -> Start:
    """`Start` of (faster, slower) curves, a pair a seed: what starts lower leads before it has learnt anything."""
    smooth = [[running_median(curve) for curve in pair] for pair in pairs]
    first, second = np.exp(np.mean([[math.log(curve.iloc[0]) for curve in pair] for pair in smooth], axis=0))
    saved = [_saved(*(curve / curve.iloc[0] for curve in pair)) for pair in smooth]
    return Start(float(first), float(second), float(np.mean(saved)))


def running_median(curve: Sequence[dict]) -> pd.Series:
    """L_hall of a run's history.json by step, smoothed over a twentieth of the training."""
    values = pd.DataFrame(curve).set_index("step")["hall"]
    return values.rolling(max(len(values) // 20, 1), center=True, min_periods=1).median()


def curves_of(lab: Lab, trainings: Sequence[str], have: Iterable[int]) -> dict[int, list[list[dict]]]:
    """By seed, the curve in history.json of each of these trainings; all of them are finished."""
    looks = {seed: look(lab.with_seed(seed), trainings) for seed in have}
    return {seed: [runs[name].load_json("history.json")["curve"] for name in trainings] for seed, runs in looks.items()}


def _judge_curves(claim: Claim, lab: Lab, have: Sequence[int]) -> tuple:
    pairs = list(curves_of(lab, (*claim.plus, *claim.minus), have).values())
    saved, note = [iterations_saved(*pair) for pair in pairs], str(starts(pairs))
    effect, low, high = seed_interval(saved, bounds=(-100.0, 100.0))
    if low is None:
        return effect, math.nan, math.nan, math.nan, "undecided", 2, f"one seed has no interval; {note}"
    verdict = word(claim, low, high)
    needed = seeds_needed(saved, effect - claim.level, most=MAX_NEEDED) if verdict == "undecided" else None
    return effect, low, high, math.nan, verdict, needed, f"interval over seeds alone; {note}"


# -- tables ----------------------------------------------------------------------------------------


def claims_table(
    labs: Lab | Iterable[Lab], claims: Iterable[Claim] = CLAIMS, *, more_people: bool = False
) -> pd.DataFrame:
    """Every claim on every lab, one row each: the paper's effect, ours with its interval, the verdict.

    "p (Holm)" is adjusted over all rows of the table that have a p. Nothing is trained; a claim whose
    runs are missing is "not run". With `more_people`: the claims that were put to them, as `judge` has them.
    """
    asked = [claim for claim in claims if on_more_people(claim) or not more_people]
    table = pd.DataFrame([
        {"claim": claim.name + MORE_PEOPLE * more_people, "by": claim.by, "section": claim.section,
         "statement": claim.statement, "paper": claim.in_paper(one_lab.split.name),
         **vars(judge(claim, one_lab, more_people=more_people)), "level": claim.level,
         "unit": UNITS.get(claim.kind, "points"), "chain": claim.chain, "differs": claim.differs}
        for one_lab in ([labs] if isinstance(labs, Lab) else labs) for claim in asked
    ])  # fmt: skip
    known = table["p"].notna()
    table.insert(table.columns.get_loc("p") + 1, "p (Holm)", math.nan)
    if known.any():
        table.loc[known, "p (Holm)"] = holm(table.loc[known, "p"])
    return table


def chains(table: pd.DataFrame) -> pd.DataFrame:
    """The chained claims of a `claims_table`, each chain as one: it holds if every link does, fails if one does."""
    rows = []
    for (chain, protocol), links in table[table["chain"] != ""].groupby(["chain", "protocol"], sort=False):
        words = set(links["verdict"])
        verdict = "fails" if "fails" in words else "holds" if words == {"holds"} else "undecided"
        verdict = "not run" if words == {"not run"} else verdict
        counts = {name: int((links["verdict"] == name).sum()) for name in (*DECIDED, "undecided")}
        rows.append({"chain": chain, "protocol": protocol, "verdict": verdict, "links": len(links), **counts})
    return pd.DataFrame(rows)


UPPER = "table2:8"  # RGB and depth, in training and at test

# An RGB-only model, and what it must beat: one RGB stream, its own twin without depth, and depth's weights alone.
GAPS = (
    ("table2:13", "table2:2"),
    ("table2:13", "control:13"),
    ("table2:15", "table2:2"),
    ("table2:15", "control:15"),
    ("recipe:best", "table2:2"),
    ("recipe:best", "control:15"),
    ("recipe:best", "untaught:15"),
    ("lesson:13", "lesson:labels"),
    ("lesson:13", "lesson:self"),
    ("lesson:13", "lesson:control"),
    ("lesson:15", "lesson:labels-15"),
    ("lesson:15", "lesson:control-15"),
)


def gaps_table(lab: Lab, gaps=GAPS) -> pd.DataFrame:
    """(student - baseline) / (RGB+D - baseline) in %, a row each of `gaps`.

    Against one RGB stream it credits depth with all that a second stream and longer training add; against
    the control of equal capacity, budget and starting point it does not, and against depth's weights trained
    on labels alone it counts what the teaching adds to them. Each rests on all seeds that have its three models,
    how many is in "seeds"; where no seed has them, it is left out. Empty where row 8 is not above the baseline.
    Raises LabError where none is left.
    """
    rows = []
    for student, baseline in gaps:
        seeds = len(complete_seeds(lab, trainings_of((student, baseline, UPPER))))
        if theirs := committed.comparison(lab, f"gap {student} - {baseline}", seeds):
            shares, seeds = [theirs[name] for name in ("value", "low", "high")], theirs["seeds"]
        elif not seeds:
            continue
        else:
            _, right = paired_answers(lab, student, baseline, UPPER)
            shares = [None, None, None]
            if right[2].mean() > right[1].mean():
                shares = [None if share is None else 100 * share for share in gap_closed(*right, groups=lab.people())]
        closed = dict(zip(("gap closed", "low", "high"), shares, strict=True))
        rows.append({"student": student, "baseline": baseline, "upper": UPPER, **closed, "seeds": seeds,
                     "differs": what_differs(student, baseline)})  # fmt: skip
    if not rows:
        paired_answers(lab, *gaps[0], UPPER)  # which names the run that is missing
    return pd.DataFrame(rows).assign(data=lab.data_name, protocol=lab.split.name)
