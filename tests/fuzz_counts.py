"""What `fuzz_skeletons.py` and `fuzz_media.py` share: outcomes of reading damaged files, counted and shown."""

from __future__ import annotations

import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

NEVER = ("other", "different, same hash")  # outcomes that must not occur


def count_and_show(title: str, fuzz: Callable[[Path], Counter]) -> bool:
    """Print how often `fuzz(folder)` found each (kind of damage, outcome); whether one of them must not occur."""
    before, began = _peak(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder))
    totals = Counter()
    for (damage, outcome), number in sorted(found.items()):
        print(f"{title:<10} {damage:<22} {outcome:<22} {number:>6}")
        totals[outcome] += number
    spent = f"{time.monotonic() - began:.0f} s, memory grew by {_peak() - before:.0f} MB"
    print(f"{title:<10} in all {dict(totals)}; {spent}")
    return any(totals[outcome] for outcome in NEVER)


def _peak() -> float:
    """The most memory that this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
