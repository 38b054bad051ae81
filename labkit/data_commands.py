"""`labkit data ...`: make the embedded set, check a data root, prepare its clips."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional
from tyro.extras import SubcommandApp

from .errors import LabError

if TYPE_CHECKING:
    from .inspection import Inspection

data = SubcommandApp()
UNITS = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001}  # millimetres
EXPECTED_GAPS = ("on the missing list", "left out")  # exclusions that nobody needs to mend


@data.command
def make(root: Positional[Path], /, profile: str = "mini") -> None:
    """Make the embedded RGB-D set under ROOT, in the layout of NTU RGB+D.

    Args:
        root: Folder to make it in.
        profile: Whose part of the set: smoke, mini or paper.
    """
    from . import config, puppets

    print(puppets.make_puppets(root, config.get_profile(profile).puppets))


@data.command
def check(root: Positional[Path], /, quick: bool = False, csv: Path | None = None, profile: str = "paper",
          workers: int | None = None) -> int:  # fmt: skip
    """Look at every clip of a data root: counts beside the published ones, faults by kind, and a CSV of all.

    Each clip found is used, used with a remark or excluded, as it would be when prepared. The exit
    status is 1 when a clip is excluded that is on no published list.

    Args:
        root: A data root that the lab knows, or a CSV file of clips.
        quick: Read names, headers and frame counts only; by default everything is decoded.
        csv: File for one row a finding; by default ROOT-check.csv beside ROOT.
        profile: Whose frames count as used: smoke, mini or paper.
        workers: Processes that share the work; by default one per core.
    """
    from . import catalog, config, files, inspection, lab, puppets

    found = inspection.inspect(
        catalog.find_dataset(root), root, config.get_profile(profile).clips,
        mode="quick" if quick else "full", workers=workers,
    )  # fmt: skip
    _show_inspection(found)
    path = csv or lab.beside(root.resolve(), "check.csv")
    files.write_text(path, found.to_csv())
    print(f"every finding: {path}")
    if not quick and (root / "puppets.json").is_file() and found.count("used") == len(found.verdicts):
        index = puppets.check_puppets(root)
        frozen = ", the frozen set to the bit" if index == puppets.FROZEN_INDEX else ""
        print(f"embedded set, every byte as recorded: {index}{frozen}")
    faults = any(f.verdict == "excluded" and f.kind not in EXPECTED_GAPS for f in found.findings)
    return 1 if faults else 0


def _show_inspection(found: Inspection) -> None:
    import pandas as pd

    remarked, excluded = found.count("remark"), found.count("excluded")
    used = found.count("used") + remarked
    print(f"{found.data_name}: {len(found.verdicts)} clips found, {used} used, {remarked} of them with a remark, "
          f"{excluded} excluded ({found.mode} check)")  # fmt: skip
    if found.published:
        print("published: {} clips found, {} of them usable".format(*found.published))
    counts = [{key: value for key, value in row.items() if key != "problem"} for row in found.protocols]
    for rows in (counts, found.kinds()):
        if rows:
            table = pd.DataFrame(rows, dtype=object)
            print(table.where(table.notna(), "-").to_string(index=False, max_colwidth=70))
    for row in found.protocols:
        if "problem" in row:
            print(f"{row['protocol']}: {row['problem']}")
    for line in found.whole_folders():
        print(line)
    if found.strangers:
        print(f"{len(found.strangers)} strange names, first {found.strangers[0]!r}")


@data.command
def prepare(root: Positional[Path], /, profile: str = "paper", store: Path | None = None,
            depth_unit: str | None = None, registered: bool | None = None) -> None:  # fmt: skip
    """Build the store of aligned clips from a data root.

    Args:
        root: A data root that the lab knows, or a CSV file of clips.
        profile: How clips are prepared: smoke, mini or paper.
        store: Folder of the store; by default beside ROOT.
        depth_unit: What a count of the depth images stands for, as 1mm or 0.001m; kept in ROOT/labkit.json.
        registered: Whether RGB and depth show the same point at the same pixel; kept in ROOT/labkit.json.
    """
    from . import catalog, config, datasets, lab, roots

    unit = None if depth_unit is None else millimetres(depth_unit)
    given = {"depth_unit": unit, "registered": registered}
    if changes := {key: value for key, value in given.items() if value is not None}:
        roots.write_settings(root if root.is_dir() else root.parent, **changes)
    chosen = config.get_profile(profile)
    index = catalog.find_dataset(root).index(root)
    folder = store or lab.store_path(root.resolve(), chosen)
    clips = datasets.prepare(index, folder, lab.with_possible(chosen, index).clips)
    print(f"{len(clips)} clips in {folder}")
    _print_excluded(clips.excluded)


def millimetres(text: str) -> float:
    """A length such as 0.1, 1mm or 0.001m, in millimetres; LabError for anything else."""
    match = re.fullmatch(r"\s*(\d*\.?\d+(?:e-?\d+)?)\s*([a-z]*)\s*", text.lower(), re.ASCII)
    if match is None or match[2] not in UNITS or not 0 < float(match[1]) * UNITS[match[2]] < 1e6:
        raise LabError.mismatch(None, "a length such as 1mm or 0.001m", repr(text), "give what one count stands for")
    return float(match[1]) * UNITS[match[2]]


def _print_excluded(excluded: Mapping[str, str]) -> None:
    for reason, count in Counter(excluded.values()).most_common():
        first = next(clip for clip, why in excluded.items() if why == reason)
        print(f"{count} excluded: {reason!r}, first {first}")
