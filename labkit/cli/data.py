"""`labkit data ...`: make the embedded set, check a data root, prepare its clips, judge their alignment."""

from __future__ import annotations

import json as json_form
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional
from tyro.extras import SubcommandApp

from ..errors import LabError, printable
from ..tools.settings import at_least_one

if TYPE_CHECKING:
    import pandas as pd

    from ..data.check import CheckResult

data = SubcommandApp()
UNITS = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001}  # millimetres
MAX_LINES = 10  # of reasons on the screen
MAX_UNIT = 1000.0  # millimetres a count; 16 bits of metres are coarser than any camera
PIXELS = {  # heads of the table of `labkit data alignment`; pixels of the depth image
    "ratio": "ratio, px/px", "offset_x": "offset_x, px", "offset_x_iqr": "x_iqr, px", "offset_y": "offset_y, px",
    "offset_y_iqr": "y_iqr, px", "residual_px": "residual, px", "residual_95": "residual_95, px",
}  # fmt: skip
EXPECTED_GAPS = ("on the missing list", "left out")  # exclusions that nobody needs to mend


@data.command
def make(root: Positional[Path], /, profile: str = "mini") -> None:
    """Make the embedded RGB-D set under ROOT, in the layout of NTU RGB+D.

    Args:
        root: Folder to make it in.
        profile: Whose part of the set: smoke, mini or paper.
    """
    from ..puppets import make as puppets
    from ..tools.settings import get_profile

    print(puppets.make_puppets(root, get_profile(profile).puppets))


@data.command
def check(root: Positional[Path], /, quick: bool = False, csv: Path | None = None, profile: str = "mini",
          workers: int | None = None, json: bool = False) -> int:  # fmt: skip
    """Look at every clip of a data root: counts beside the published ones, faults by kind, and a CSV of all.

    Each clip found is used, used with a remark or excluded, as it would be when prepared. The exit
    status is 1 when a clip is excluded that is on no published list, or nothing can be trained.

    Args:
        root: A data root that the lab knows, or a CSV file of clips.
        quick: Read names, headers and frame counts only; by default everything is decoded.
        csv: File for one row a finding; by default ROOT-check.csv beside ROOT.
        profile: Whose frames count as used: smoke, mini or paper.
        workers: Processes that share the work; by default one per core.
        json: Print the counts, protocols and kinds of faults as a JSON object.
    """
    from .. import files
    from ..data.check import COLUMNS, check_clips
    from ..data.splits import find_dataset
    from ..puppets import make as puppets
    from ..puppets import opening
    from ..tools.settings import get_profile

    at_least_one(workers=workers)
    path = _table_path(csv or opening.beside(root, "check.csv"), COLUMNS)
    mode = "quick" if quick else "full"
    found = check_clips(find_dataset(root), root, get_profile(profile).clips, mode=mode, workers=workers)
    files.write_text(path, found.table.to_csv(index=False, lineterminator="\n"))
    if not json:
        _show_check(found)
        print(f"every finding: {path}")
    embedded = not quick and (root / "puppets.json").is_file() and not found.count("excluded")
    index = puppets.check_puppets(root) if embedded else None
    if json:
        print(json_form.dumps(_as_json(found, path) | {"every byte as recorded": index}, indent=1))
    elif index:
        frozen = ", the frozen set to the bit" if index == puppets.FROZEN_INDEX else ""
        print(f"embedded set, every byte as recorded: {index}{frozen}")
    if not found.trainable:
        expected, fix = "clips of two classes or more in every part", "mend what is told above, or add clips"
        print("labkit:", LabError.mismatch(root, expected, "no protocol that has them", fix), file=sys.stderr)
    faults = any(f.verdict == "excluded" and f.kind not in EXPECTED_GAPS for f in found.findings)
    return 1 if faults or not found.trainable else 0


def _table_path(path: Path, columns: Sequence[str]) -> Path:
    """LabError where a CSV would replace something that no earlier call wrote, such as a table of clips."""
    head = ",".join(columns).encode() if not path.exists() else b""
    if path.is_file():
        with open(path, "rb") as file:
            head = file.readline(1000).strip()
    if head != ",".join(columns).encode():
        fix = "name a new file with --csv, or move this one away"
        raise LabError.mismatch(path, f"no file, or a table of {', '.join(columns)}", "something else", fix)
    return path


def _as_json(found: CheckResult, path: Path) -> dict[str, Any]:
    """What `_show_check` shows, as JSON values; `clips` counts as it does, `csv` has every finding."""
    remarked, excluded = found.count("remark"), found.count("excluded")
    counts = {"found": len(found.verdicts), "used": found.count("used") + remarked, "with a remark": remarked,
              "excluded": excluded}  # fmt: skip
    return {"data": found.data_name, "mode": found.mode, "clips": counts, "published": found.published,
            "protocols": found.protocols, "trainable": found.trainable, "kinds": found.kinds().to_dict("records"),
            "whole folders": found.whole_folders(), "strangers": list(map(printable, found.strangers)),
            "csv": printable(path)}  # fmt: skip


def _show_check(found: CheckResult) -> None:
    import pandas as pd

    remarked, excluded = found.count("remark"), found.count("excluded")
    used = found.count("used") + remarked
    print(f"{found.data_name}: {len(found.verdicts)} clips found, {used} used, {remarked} of them with a remark, "
          f"{excluded} excluded ({found.mode} check)")  # fmt: skip
    if found.published:
        print("published: {} clips found, {} of them usable".format(*found.published))
    counted = [row for row in found.protocols if {*row} - {"protocol", "problem"}]
    counts = pd.DataFrame(counted, dtype=object).drop(columns="problem", errors="ignore")
    for table in (counts, found.kinds()):
        if len(table):
            shown = table.astype(object).where(table.notna(), "-")
            print(shown.to_string(index=False, max_colwidth=70))
    for row in found.protocols:
        if "problem" in row:
            print(f"{row['protocol']}: {row['problem']}")
    for line in found.whole_folders():
        print(line)
    if found.strangers:
        print(f"{len(found.strangers)} strange names, first {found.strangers[0]!r}")
    _print_no_clips(found.strangers)


def _print_no_clips(strangers: Sequence[str]) -> None:
    """What settings, lists and sidecars say of clips that are not here."""
    from ..data.index import NO_CLIP

    told = [printable(name) for name in strangers if name.endswith(NO_CLIP)]
    for line in told[:MAX_LINES] + [f"{len(told) - MAX_LINES} more"] * (len(told) > MAX_LINES):
        print(line)


@data.command
def prepare(root: Positional[Path], /, profile: str = "mini", store: Path | None = None,
            depth_unit: str | None = None, registered: bool | None = None, depth_is: str | None = None,
            workers: int | None = None) -> None:  # fmt: skip
    """Build the store of aligned clips from a data root.

    Killed at any time, the same command goes on; later it reads only what has changed. A clip whose joints
    are too few is cropped by the median over its set-up and camera, or its camera. Stores of different size,
    frames or alignment lie side by side. Ends with the alignment per camera; `labkit data alignment ROOT`
    shows it again.

    Args:
        root: A data root that the lab knows, or a CSV file of clips.
        profile: How clips are prepared: smoke, mini or paper, or one that keeps more frames of each clip for random
            sampling, as mini+clips.stored_frames=9.
        store: Folder of the store; by default beside ROOT.
        depth_unit: What a count of the depth images stands for, as 1mm or 0.001m; kept in ROOT/labkit.json.
        registered: Whether RGB and depth show the same point at the same pixel; kept in ROOT/labkit.json.
        depth_is: What the second image shows, if not depth, such as "thermal"; told on model cards; kept likewise.
        workers: Processes that share the work; by default one per core.
    """
    from ..data import prepare as preparation
    from ..data.check import alignment_rows
    from ..data.index import changed_settings
    from ..data.splits import find_dataset
    from ..puppets import opening
    from ..tools.settings import get_profile

    at_least_one(workers=workers)
    unit = None if depth_unit is None else millimetres(depth_unit)
    given = {"depth_unit": unit, "registered": registered, "depth_is": depth_is}
    changes = {key: value for key, value in given.items() if value is not None}
    chosen = get_profile(profile)
    known = find_dataset(root)  # a wrong root is told before anything is written
    if store is not None:
        _check_apart(*(Path(os.path.realpath(path)) for path in (store, root)))
    with changed_settings(root if root.is_dir() else root.parent, **changes):
        index = known.index(root)
        folder = store or opening.store_path(root, chosen)
        clips = preparation.prepare(index, folder, opening.with_possible(chosen, index).clips, workers=workers)
    print(f"{len(clips)} clips in {folder}")
    _print_excluded(clips.excluded)
    _print_no_clips(index.strangers)
    _show_alignment(alignment_rows(clips.records), len(clips))


def _check_apart(store: Path, root: Path) -> None:
    """LabError where a store would lie among the clips: in a root, or in a folder that holds a root or a table."""
    if root.is_relative_to(store) or (root.is_dir() and store.is_relative_to(root)):
        fix = "leave --store out, or name a folder beside the data root"
        raise LabError.mismatch(store, "a folder apart from the clips", f"the data root {root} there", fix)


@data.command
def alignment(root: Positional[Path], /, profile: str = "mini", store: Path | None = None, csv: Path | None = None,
              figure: Path | None = None) -> None:  # fmt: skip
    """How RGB and depth lie to each other in a prepared set: a table per set-up and camera, and who departs.

    Clips, ratio (colour pixels per depth pixel), offset and residual (depth pixels), each the median over the
    clips and its interquartile range or 95 % point; clips with too few joints, which another alignment stands
    in for; and by name the clips that depart from their set-up and camera by 5 robust standard deviations.

    Args:
        root: The data root that was prepared.
        profile: How clips were prepared: smoke, mini or paper.
        store: Folder of the store; by default beside ROOT.
        csv: File for one row a clip; by default ROOT-alignment.csv beside ROOT.
        figure: File for a picture of the table, .svg, .pdf or .png.
    """
    from .. import files
    from ..data import check as checks
    from ..data.splits import find_dataset
    from ..data.store import INDEX, ClipStore
    from ..puppets import opening
    from ..tools.settings import get_profile

    folder = store or opening.store_path(root, get_profile(profile))
    if not (folder / INDEX).is_file():
        find_dataset(root)  # what is none cannot be prepared
        words = [root, "--profile", profile, *(["--store", store] if store else [])]
        fix = f"labkit data prepare {shlex.join(map(str, words))}"
        raise LabError.mismatch(folder, "a finished store", "none", fix)
    if figure is not None and figure.suffix not in (".svg", ".pdf", ".png"):
        raise LabError.mismatch(figure, "a name that ends in .svg, .pdf or .png", figure.name, "name it so")
    clips = ClipStore(folder)
    rows = checks.alignment_rows(clips.records)
    _show_alignment(rows, len(clips), all_outliers=True)
    path = _table_path(csv or opening.beside(root, "alignment.csv"), rows.columns)
    files.write_text(path, rows.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    print(f"every clip: {path}")
    if figure is not None and len(rows):
        from ..figures.gallery import alignment_overview
        from ..figures.style import picture_bytes

        caption = f"Alignment of RGB and depth per set-up and camera, {clips.config['data_name']}"
        files.write_bytes(figure, picture_bytes(alignment_overview(rows), figure.suffix[1:], caption))


def _show_alignment(rows: pd.DataFrame, clips: int, *, all_outliers: bool = False) -> None:
    from ..data import check as checks

    if rows.empty:
        print(f"no clip was registered by joints: in all {clips} the whole RGB image lies on the whole depth image, "
              "as if one camera had taken both")  # fmt: skip
        return
    table, far = checks.by_view(rows), checks.outliers(rows)
    print(table.rename(columns=PIXELS).to_string(index=False, float_format="{:.3f}".format, na_rep="-"))
    shown = far if all_outliers else far.head(5)
    for row in shown.itertuples():
        value = getattr(row, row.worst)
        print(f"{printable(row.clip)} departs from its camera: {row.worst} {value:.3f}, z {row.z:+.1f}")
    if len(far) > len(shown):
        print(f"{len(far) - len(shown)} more: labkit data alignment")
    if apart := clips - len(rows):
        print(f"{apart} of {clips} clips were not registered by joints: in them the whole RGB image lies on the whole "
              "depth image")  # fmt: skip


def millimetres(text: str) -> float:
    """A length such as 0.1, 1mm or 0.001m, in millimetres; LabError for anything else."""
    match = re.fullmatch(r"\s*(\d*\.?\d+(?:e-?\d+)?)\s*([a-z]*)\s*", text.lower(), re.ASCII)
    if match is None or match[2] not in UNITS or not 0 < float(match[1]) * UNITS[match[2]] <= MAX_UNIT:
        expected = "a length up to 1 m such as 1mm or 0.001m"
        raise LabError.mismatch(None, expected, repr(text), "give what one count of the depth images stands for")
    return float(match[1]) * UNITS[match[2]]


def _print_excluded(excluded: Mapping[str, str]) -> None:
    """A line a kind of reason: file names and numbers aside, hundreds of clips have one."""
    kinds: dict[str, list[str]] = {}
    for clip, reason in excluded.items():
        said = reason.replace(clip, "").partition("expected")[2] or reason
        kinds.setdefault(re.sub(r"\d+", "N", said), []).append(clip)
    ranked = sorted(kinds.values(), key=len, reverse=True)
    for clips in ranked[:MAX_LINES]:
        print(f"{len(clips)} excluded: {excluded[clips[0]]!r}, first {printable(clips[0])}")
    if rest := ranked[MAX_LINES:]:
        print(f"{sum(map(len, rest))} more, see the CSV of labkit data check")
