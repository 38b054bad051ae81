"""Damage to skeleton files, and what the reader makes of it, counted over many files.

    python tests/fuzz_skeletons.py --files 10000

exact      a legal file, read as an independent slow reader does
refused    an illegal file, refused by a LabError that names it
other      anything else, which must not happen: another exception, a legal file refused, an illegal one read
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from fuzz_counts import count_and_show
from test_skeletons import DAMAGE, check_bytes, random_skeleton

from labkit.data.skeletons import format_skeleton


def fuzz(folder: Path, count: int, seed: int = 0) -> Counter:
    """(kind of damage, outcome) of `count` files, the kinds in turn; every third file is damaged twice."""
    path, outcomes, names = folder / "S001C001P001R001A001.skeleton", Counter(), sorted(DAMAGE)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        bodies = rng.integers(0, 3, rng.integers(0, 4)).tolist()
        data, name = format_skeleton(random_skeleton(rng, bodies)).encode(), names[number % len(names)]
        for damage in [name, *([names[rng.integers(len(names))]] if number % 3 == 0 else [])]:
            data = DAMAGE[damage](data, *map(int, rng.integers(0, 2**32, 2)))
        try:
            found = "exact" if check_bytes(path, data) else "refused"
        except Exception as error:
            print(f"file {number}, {name}: {type(error).__name__}: {error}", file=sys.stderr)
            found = "other"
        outcomes[name, found] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    return int(count_and_show("skeletons", lambda folder: fuzz(folder, wanted.files, wanted.seed)))


if __name__ == "__main__":
    sys.exit(main())
