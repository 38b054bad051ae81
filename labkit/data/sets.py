"""The data sets the lab knows, and how a data root is recognised.

NTU RGB+D 60 and 120 and the embedded set by their folders nturgb+d_rgb and so on; N-UCLA by view_1,
view_2, view_3; UTD-MHAD by RGB (or RGB-part1 and so on) full of a1_s1_t1_color.avi beside Depth; UWA3DII by folders
a01_s01_v01_e00; a table of clips by clips.csv; and any folder of classes by names that end in _color
and _depth.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import LabError
from ..files import names_in
from . import other_sets, pairs, splits
from .index import Entry, Index
from .ntu import MISSING_LIST, NTU60, NTU120, NTU_ACTIONS, TWO_PEOPLE
from .splits import HasFacts, Split

__all__ = ["MISSING_LIST", "NTU60", "NTU120", "NTU_ACTIONS", "PUPPETS", "DataSet", "find_dataset"]
USUAL = "cross-subject"


@dataclass(frozen=True)
class DataSet:
    """A way to index a root, the protocols of its clips, and what was published about their number."""

    name: str
    index: Callable[[str | os.PathLike], Index]
    protocols: Mapping[str, Callable[[HasFacts], Split]]
    # "clips": found and usable; a protocol: training (with validation) and test clips that are usable
    published: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    actions_of_two: frozenset[int] = frozenset()

    def protocol(self, name: str) -> Callable[[HasFacts], Split]:
        """LabError with the names there are for another one."""
        if name not in self.protocols:
            expected = f"a protocol of {self.name}: {', '.join(self.protocols)}"
            raise LabError.mismatch(None, expected, repr(name), "use one of those names")
        return self.protocols[name]

    def split(self, name: str, clips: HasFacts) -> Split:
        return self.protocol(name)(clips)

    def usual(self, clips: HasFacts) -> str:
        """The protocol where none is named: cross-subject, or the first of its own that can divide these clips."""
        if USUAL in self.protocols:
            return USUAL
        return next((name for name in self.protocols if self.divides(name, clips)), next(iter(self.protocols)))

    def divides(self, name: str, clips: HasFacts) -> bool:
        """Whether a protocol can divide these clips; "given" cannot where neither folders nor table do."""
        try:
            return bool(self.split(name, clips))
        except LabError:
            return False

    def two_people(self, entry: Entry) -> bool:
        """Whether the clip's action takes two."""
        return entry.name is not None and entry.name.action in self.actions_of_two


NTU60_SET = DataSet(
    "NTU60",
    NTU60.index,
    {
        "cross-subject": splits.cross_subject,
        "cross-view": splits.cross_view,
        "compositional": splits.compositional,
    },
    {"clips": (56_880, 56_578), "cross-subject": (40_091, 16_487), "cross-view": (37_646, 18_932)},
    TWO_PEOPLE,
)
PUPPETS = replace(NTU60_SET, name="puppets", published={})
NTU120_SET = DataSet(
    "NTU120",
    NTU120.index,
    {
        "cross-subject": splits.cross_subject_120,
        "cross-setup": splits.cross_setup,
        "cross-view": lambda clips: splits.cross_view(clips, NTU120),
    },
    {"clips": (114_480, 113_945), "cross-subject": (63_026, 50_919), "cross-setup": (54_468, 59_477)},
    TWO_PEOPLE,
)
NUMBERED = tuple(  # in the order in which a root is tried; UWA3DII is looked for three levels deep
    (known, DataSet(known.name, known.index, known.protocols, known.published))
    for known in (other_sets.UCLA, other_sets.UTD, other_sets.UWA)
)
TABLE = DataSet("table", pairs.index_table, pairs.PROTOCOLS)
FOLDERS = DataSet("paired folders", pairs.index_folders, pairs.PROTOCOLS)


def find_dataset(root: str | os.PathLike) -> DataSet:
    """The data set that lies at `root`, recognised by names alone.

    Raises LabError when there is nothing, or nothing that the lab knows.
    """
    root = Path(root)
    if root.is_file() and root.suffix.lower() == ".csv":
        return TABLE
    if not root.is_dir():
        fix = "give the folder of a data set, or a CSV file of clips"
        raise LabError.mismatch(root, "a data root", "something else" if root.exists() else "nothing", fix)
    names = set(names_in(root))
    if any(name.startswith(("nturgb+d_", "nturgbd_")) for name in names):
        return _which_ntu(root, names)
    if pairs.TABLE in names:
        return replace(TABLE, index=lambda root: pairs.index_table(Path(root, pairs.TABLE)))
    for known, dataset in NUMBERED:
        if known.lies_at(root):
            return dataset
    if pairs.looks_paired(root):
        return FOLDERS
    expected = (
        "a data set: nturgb+d_rgb/, view_1/a01_s01_e00/, RGB/a1_s1_t1_color.avi, a01_s01_v01_e00/, clips.csv, "
        "or <class>/<stem>_color.* beside <stem>_depth.*"
    )
    shown = ", ".join(sorted(names)[:8]) or "an empty folder"
    fix = "give the folder that holds these, or list the clips in clips.csv (clip, label, rgb, depth)"
    raise LabError.mismatch(root, expected, shown, fix)


def _which_ntu(root: Path, names: set[str]) -> DataSet:
    """NTU60 unless a clip's name is one of NTU120 alone."""
    if "puppets.json" in names:
        return PUPPETS
    return NTU120_SET if any(NTU60.parse(clip) is None for clip in NTU120.clips(root, "rgb")) else NTU60_SET
