"""How alike what two networks hold is: linear CKA, from sums that can be added up clip by clip.

Sums of several people's clips add up to those of all, so a picture of any size needs no more memory than
one batch, and one person can be left out without looking at a clip again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from ..clips import Batch, Batches
from ..errors import LabError
from ..experiments.statistics import Interval, seed_interval
from ..lab import Lab
from ..model import Features

Examples = Float[Tensor, "examples channel"]
Reader = Callable[[Batch], Sequence[Features]]  # a batch to maps, one for each place that is compared
ROUNDING = 1e-12  # a variance below this share of the second moment is none


class Sums(NamedTuple):
    """All that CKA needs of paired examples x and y, uncentred and in double precision."""

    count: int
    x: Tensor  # (p,)
    y: Tensor  # (q,)
    xx: Tensor  # (p, p)
    yy: Tensor  # (q, q)
    xy: Tensor  # (p, q)


def sums_of(first: Examples, second: Examples) -> Sums:
    """Raises LabError when the examples differ in number."""
    if len(first) != len(second):
        raise LabError.mismatch(None, f"{len(first)} examples", len(second), "compare the same clips")
    x, y = first.double(), second.double()
    return Sums(len(x), x.sum(dim=0), y.sum(dim=0), x.T @ x, y.T @ y, x.T @ y)


def added(parts: Iterable[Sums]) -> Sums:
    """The sums of all parts' examples together."""
    return Sums(*(sum(values[1:], start=values[0]) for values in zip(*parts, strict=True)))


def cka_of(sums: Sums) -> float:
    """`cka` of the examples that went into the sums."""
    sizes = []
    for total, products in ((sums.x, sums.xx), (sums.y, sums.yy)):
        spread = (products - total.outer(total) / sums.count).norm()
        if spread <= ROUNDING * products.norm():
            fix = "look for a dead stream"
            raise LabError.mismatch(None, "features that vary over the examples", "constant ones", fix)
        sizes.append(spread)
    shared = sums.xy - sums.x.outer(sums.y) / sums.count
    return float(shared.square().sum() / (sizes[0] * sizes[1]))


def cka(first: Examples, second: Examples) -> float:
    """Linear centred kernel alignment (Kornblith et al., 2019): 1 is alike up to rotation and scale, 0 is unrelated.

    The two may differ in channels. It needs many more examples than channels: with few, even noise looks alike.
    Raises LabError when the examples differ in number or do not vary.
    """
    return cka_of(sums_of(first, second))


def by_position(maps: Features) -> Examples:
    """Every position of every frame as one example of the channels."""
    return rearrange(maps, "n c h w -> (n h w) c")


# -- over people -----------------------------------------------------------------------------------


def sample_by_person(lab: Lab, ids: Sequence[str], count: int) -> list[list[str]]:
    """Up to `count` clips of each person, drawn at random but always the same; one list a person."""
    people, ids = lab.people(ids), np.asarray(ids)
    rng = np.random.default_rng(0)
    return [rng.permutation(ids[people == person])[:count].tolist() for person in sorted(set(people))]


def sums_by_person(
    lab: Lab,
    clips: Sequence[Sequence[str]],
    goal: Reader,
    readers: Mapping[object, Reader],
) -> dict[object, list[list[Sums]]]:
    """What each reader holds beside the goal, over the same clips: {reader: people × places}.

    A reader sees all clips of one person (of `sample_by_person`) in one batch.
    """
    found: dict[object, list[list[Sums]]] = {name: [] for name in readers}
    for ids in clips:
        batch = next(Batches(lab, ids).test_batches(len(ids)))
        wanted = [by_position(maps) for maps in goal(batch)]
        for name, read in readers.items():
            held = [by_position(maps) for maps in read(batch)]
            found[name].append([sums_of(one, other) for one, other in zip(held, wanted, strict=True)])
    return found


def similarities(people: Sequence[Sequence[Sums]]) -> np.ndarray:
    """`cka` by place: (1 + people, places), of all people first, then without each one of them."""
    groups = [people, *([*people[:left], *people[left + 1 :]] for left in range(len(people)))]
    return np.array([[cka_of(added(place)) for place in zip(*group, strict=True)] for group in groups])


def jackknife(values: np.ndarray) -> Interval:
    """A statistic of all people with its 95 % interval over people, from what it is without each of them.

    `values` (1 + people,) as a column of `similarities`, of a difference of two or of a mean over seeds. Clips of
    one person resemble each other, so it is people that are left out; none is doubled, as a bootstrap would do,
    which makes features look more alike. Other seeds are not covered.
    """
    whole, without = values[0], values[1:]
    if len(without) < 2:
        return Interval(float(whole), None, None)
    spread = seed_interval(len(without) * whole - (len(without) - 1) * without, bounds=None)
    half = (spread.high - spread.low) / 2
    return Interval(float(whole), float(whole - half), float(whole + half))


def cka_table(values: Mapping[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """One row a reading, epoch and block: its similarity with `jackknife`'s interval over people.

    `values` are `similarities`, or their mean over seeds, by (reading, epoch).
    """
    rows = [
        {"reading": reading, "epoch": epoch, "block": block, **jackknife(column)._asdict()}
        for (reading, epoch), found in values.items()
        for block, column in enumerate(found.T, start=1)
    ]
    return pd.DataFrame(rows).rename(columns={"value": "similarity"})
