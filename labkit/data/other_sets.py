"""RGB-D action sets that name their clips by numbers: N-UCLA, UWA3DII and UTD-MHAD.

None of them says where a joint lies in both images, so their pictures are resized and not registered,
as the paper's code does for UWA3DII. Where no validation clips were published, `hold_out` sets some of
the training clips aside. Distances are in millimetres in all three.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ..files import names_in
from .index import Index, make_index, read_settings
from .splits import HasFacts, Split, hold_out, make_split, refuse_ids

UCLA_CLASSES = {
    1: "pick up with one hand", 2: "pick up with two hands", 3: "drop trash", 4: "walk around", 5: "sit down",
    6: "stand up", 8: "donning", 9: "doffing", 11: "throw", 12: "carry",
}  # fmt: skip
UWA_CLASSES = dict(enumerate((
    "one hand waving", "one hand punching", "two hand waving", "two hand punching", "sitting down", "standing up",
    "vibrating", "falling down", "holding chest", "holding head", "holding back", "walking", "irregular walking",
    "lying down", "turning around", "drinking", "phone answering", "bending", "jumping jack", "running",
    "picking up", "putting down", "kicking", "jumping", "dancing", "mopping floor", "sneezing",
    "sitting down on chair", "squatting", "coughing",
), start=1))  # fmt: skip
UTD_CLASSES = dict(enumerate((
    "swipe left", "swipe right", "wave", "front clap", "throw", "cross arms", "basketball shoot", "draw x",
    "draw circle clockwise", "draw circle counter clockwise", "draw triangle", "bowling", "front boxing",
    "baseball swing", "tennis forehand swing", "arm curl", "tennis serve", "two hand push", "knock on door",
    "catch", "pick up and throw", "jogging in place", "walking in place", "sit to stand", "stand to sit",
    "forward lunge", "squat",
), start=1))  # fmt: skip

UCLA_TEST_VIEW = 3  # views 1 and 2 train (Wang et al., CVPR 2014)
UTD_TRAIN_SUBJECTS = frozenset((1, 3, 5, 7))  # Chen et al., ICIP 2015
UWA_MISMATCHED = frozenset((  # RGB and depth show different recordings; ActionMAE leaves them out
    "a21_s02_v04_e01", "a06_s06_v04_e01", "a02_s06_v03_e01", "a07_s02_v02_e01", "a16_s06_v02_e01",
))  # fmt: skip

Found = dict[str, dict[str, str]]  # file by clip id, by modality


@dataclass(frozen=True)
class NumberedSet:
    """A data set whose clip ids are numbers behind letters, as in a01_s02_v03_e00."""

    name: str
    ids: re.Pattern[str]  # named groups; "action" among them
    classes: Mapping[int, str]
    lies_at: Callable[[Path], bool]  # whether a folder looks like a root of this set
    scan: Callable[[Path, list[str]], Found]  # files of a root; strange names go to the list
    protocols: Mapping[str, Callable[[HasFacts], Split]]
    published: Mapping[str, tuple[int, ...]]  # clips; by protocol those of train (with validation) and test
    excluded: Mapping[str, str]  # reason by clip id, known beforehand

    def parse(self, clip_id: str) -> dict[str, int] | None:
        """The numbers in a clip's id, or None where it is not one of this set's."""
        match = self.ids.fullmatch(clip_id)
        numbers = {key: int(value) for key, value in match.groupdict().items()} if match else {}
        return numbers if numbers.get("action") in self.classes else None

    def index(self, root: str | os.PathLike) -> Index:
        """Scan a data root; reads names only, no clip. Clips without RGB or depth are excluded."""
        root, strangers = Path(root), []
        found = self.scan(root, strangers)
        named = {clip: self.parse(clip) for files in found.values() for clip in files}
        strangers += sorted(clip for clip, numbers in named.items() if numbers is None)
        found = {
            modality: {clip: file for clip, file in files.items() if named[clip] is not None}
            for modality, files in found.items()
        }
        facts = {clip: numbers for clip, numbers in named.items() if numbers is not None}
        settings = read_settings(root)
        return make_index(
            root, found, {clip: numbers["action"] for clip, numbers in facts.items()}, self.classes,
            known=dict(self.excluded) | settings.exclude, strangers=strangers, facts=facts,
            data_name=settings.name or self.name, recording=settings.recording,
        )  # fmt: skip


def _numbers(clips: HasFacts, dataset: NumberedSet) -> dict[str, dict[str, int]]:
    found = {clip: dataset.parse(clip) for clip in sorted(clips.ids)}
    refuse_ids([clip for clip, numbers in found.items() if numbers is None], f"clips of {dataset.name}")
    return found


def _divide(clips: HasFacts, dataset: NumberedSet, name: str, part: Callable[[dict], str | None]) -> Split:
    """`part` says of a clip's numbers whether it is in "train", in "test" or in neither."""
    numbers = _numbers(clips, dataset)
    parts = {which: [clip for clip, found in numbers.items() if part(found) == which] for which in ("train", "test")}
    validation = hold_out({clip: numbers[clip]["action"] for clip in parts["train"]})
    return make_split(name, parts["train"], validation, parts["test"])


# --------------------------------------------------------------------------- N-UCLA


def _scan_ucla(root: Path, strangers: list[str]) -> Found:
    """view_V/aAA_sSS_eEE/frame_N_tc_T_{rgb.jpg,depth.png}; the id of a clip is vV_aAA_sSS_eEE."""
    found: Found = {"rgb": {}, "depth": {}}
    for view in (1, 2, 3):
        for folder in _subfolders(_ucla_base(root) / f"view_{view}", strangers, root):
            clip, names = f"v{view}_{folder.name}", names_in(folder)
            for modality, ending in (("rgb", "_rgb.jpg"), ("depth", "_depth.png")):
                if any(name.startswith("frame_") and name.endswith(ending) for name in names):
                    found[modality][clip] = str(folder / f"frame_*{ending}")
            if not names:
                found["rgb"][clip] = str(folder / "frame_*_rgb.jpg")  # found, and excluded for want of depth
    return found


def _ucla_base(root: Path) -> Path:
    return root / "multiview_action" if (root / "multiview_action").is_dir() else root


def _subfolders(folder: Path, strangers: list[str], root: Path) -> Iterator[Path]:
    for path in (folder / name for name in _listed(folder)):
        if path.is_dir() and re.fullmatch(r"a\d+_s\d+_e\d+", path.name, re.ASCII):
            yield path
        else:
            strangers.append(path.relative_to(root).as_posix())


def ucla_cross_view(test_view: int = UCLA_TEST_VIEW) -> Callable[[HasFacts], Split]:
    """One of the three views tests, the other two train; 5 % of each class validate, as in DMCL's code."""
    name = "cross-view" if test_view == UCLA_TEST_VIEW else f"cross-view-{test_view}"
    return lambda clips: _divide(clips, UCLA, name, lambda n: "test" if n["camera"] == test_view else "train")


UCLA = NumberedSet(
    "N-UCLA",
    re.compile(r"v(?P<camera>[123])_a(?P<action>\d\d)_s(?P<subject>\d\d)_e(?P<replication>\d\d)", re.ASCII),
    UCLA_CLASSES,
    lambda root: any((_ucla_base(root) / f"view_{view}").is_dir() for view in (1, 2, 3)),
    _scan_ucla,
    {"cross-view": ucla_cross_view(), "cross-view-1": ucla_cross_view(1), "cross-view-2": ucla_cross_view(2)},
    {"clips": (1494, 1494)},
    {},
)

# --------------------------------------------------------------------------- UWA3DII

_UWA_CLIP = re.compile(r"a\d\d_s\d\d_v\d\d_e\d\d", re.ASCII)


def _scan_uwa(root: Path, strangers: list[str]) -> Found:
    """Folders aAA_sSS_vVV_eEE of RGB ("001,.jpg") and of depth ("001.png"), up to three levels down.

    Depth decides which clips there are; their RGB lies under the same id or, as the paper's code has
    it, under the one whose last digit is 1.
    """
    places: Found = {"rgb": {}, "depth": {}}
    for parent in _parents(root, _UWA_CLIP):
        kind = "depth" if "depth" in parent.relative_to(root.parent).as_posix().lower() else "rgb"
        for folder in sorted(parent.iterdir()):
            if folder.is_dir() and _UWA_CLIP.fullmatch(folder.name):
                places[kind][folder.name] = str(folder / ("*.png" if kind == "depth" else "*,.jpg"))
            else:
                strangers.append(folder.relative_to(root).as_posix())
    rgb, taken = {}, set()
    for clip in places["depth"]:
        source = clip if clip in places["rgb"] else f"{clip[:-1]}1"
        if source in places["rgb"]:
            rgb[clip] = places["rgb"][source]
            taken.add(source)
    unused = {clip: file for clip, file in places["rgb"].items() if clip not in taken}
    return {"rgb": rgb | unused, "depth": places["depth"]}


def _parents(root: Path, names: re.Pattern[str], depth: int = 3) -> Iterator[Path]:
    """The folders, `root` or up to `depth` levels below, that hold a folder of such a name."""
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return
    if any(names.fullmatch(folder.name) for folder in folders):
        yield root
    elif depth:
        for folder in folders:
            yield from _parents(folder, names, depth - 1)


def uwa_views(train: tuple[int, ...], test: int) -> Callable[[HasFacts], Split]:
    """Some of the four views train and one tests."""
    name = "cross-view" if train == (1, 2, 3) else f"views-{''.join(map(str, train))}-{test}"
    parts = {view: "train" for view in train} | {test: "test"}
    return lambda clips: _divide(clips, UWA, name, lambda n: parts.get(n["camera"]))


def _uwa_protocols() -> dict[str, Callable[[HasFacts], Split]]:
    """The paper's code trains on views 1 to 3 and tests on 4; others use pairs of views, 12 in all."""
    pairs = [(pair, test) for pair in combinations(range(1, 5), 2) for test in range(1, 5) if test not in pair]
    return {"cross-view": uwa_views((1, 2, 3), 4)} | {
        f"views-{first}{second}-{test}": uwa_views((first, second), test) for (first, second), test in pairs
    }


UWA = NumberedSet(
    "UWA3DII",
    re.compile(r"a(?P<action>\d\d)_s(?P<subject>\d\d)_v(?P<camera>0[1-4])_e(?P<replication>\d\d)", re.ASCII),
    UWA_CLASSES,
    lambda root: any(True for _ in _parents(root, _UWA_CLIP)),
    _scan_uwa,
    _uwa_protocols(),
    {},
    dict.fromkeys(UWA_MISMATCHED, "RGB and depth are known to show different recordings"),
)

# --------------------------------------------------------------------------- UTD-MHAD


def _scan_utd(root: Path, strangers: list[str]) -> Found:
    """RGB/aA_sS_tT_color.avi and Depth/aA_sS_tT_depth.mat; of two files of one clip the second is a stranger."""
    found: Found = {"rgb": {}, "depth": {}}
    for modality, stem, ending in (("rgb", "RGB", "_color.avi"), ("depth", "Depth", "_depth.mat")):
        for path in (folder / name for folder in _utd_folders(root, stem) for name in _listed(folder)):
            clip = path.name.removesuffix(ending)
            if clip == path.name or found[modality].setdefault(clip, str(path)) != str(path):
                strangers.append(path.relative_to(root).as_posix())
    return found


def _utd_folders(root: Path, stem: str) -> list[Path]:
    """`stem`, or the parts that its archives unpack to, RGB-part1 to RGB-part4; the files may lie one level deeper."""
    names = [name for name in _listed(root) if re.fullmatch(rf"{stem}(-part\d+)?", name, re.ASCII)]
    return [root / name / name if (root / name / name).is_dir() else root / name for name in names]


def _listed(folder: Path) -> list[str]:
    return names_in(folder) if folder.is_dir() else []


def utd_cross_subject(clips: HasFacts) -> Split:
    """Subjects 1, 3, 5, 7 train, the others test; a clip of each class validates."""
    return _divide(clips, UTD, "cross-subject", lambda n: "train" if n["subject"] in UTD_TRAIN_SUBJECTS else "test")


UTD = NumberedSet(
    "UTD-MHAD",
    re.compile(r"a(?P<action>\d{1,2})_s(?P<subject>[1-8])_t(?P<replication>[1-4])", re.ASCII),
    UTD_CLASSES,
    lambda root: bool(_scan_utd(root, [])["rgb"] and _utd_folders(root, "Depth")),
    _scan_utd,
    {"cross-subject": utd_cross_subject},
    {"clips": (861, 861), "cross-subject": (431, 430)},
    {},
)
