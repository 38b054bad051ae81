"""The data sets whose clip names are numbers: NTU RGB+D 60 and 120, N-UCLA, UWA3DII and UTD-MHAD.

NTU's names SsssCcccPpppRrrrAaaa (Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2020) carry all that the official
protocols need. The embedded set has the same layout and names.

None of the other three says where a joint lies in both images, so their pictures are resized and not registered,
as the paper's code does for UWA3DII. Distances are in millimetres in all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import LabError
from .index import NO_CLIP, REQUIRED, ClipName, Index, Scan, listed, make_index

NTU_ACTIONS = (
    "drink water", "eat meal/snack", "brushing teeth", "brushing hair", "drop", "pickup", "throw",
    "sitting down", "standing up", "clapping", "reading", "writing", "tear up paper", "wear jacket",
    "take off jacket", "wear a shoe", "take off a shoe", "wear on glasses", "take off glasses",
    "put on a hat/cap", "take off a hat/cap", "cheer up", "hand waving", "kicking something",
    "reach into pocket", "hopping", "jump up", "make a phone call", "playing with phone/tablet",
    "typing on a keyboard", "pointing to something with finger", "taking a selfie",
    "check time (from watch)", "rub two hands together", "nod head/bow", "shake head", "wipe face",
    "salute", "put the palms together", "cross hands in front", "sneeze/cough", "staggering", "falling",
    "touch head (headache)", "touch chest", "touch back", "touch neck", "nausea or vomiting condition",
    "use a fan/feeling warm", "punching/slapping other person", "kicking other person",
    "pushing other person", "pat on back", "point finger at the other person", "hugging other person",
    "giving something to other person", "touch other person's pocket", "handshaking",
    "walking towards each other", "walking apart from each other",
)  # fmt: skip
NTU120_ACTIONS = (
    *NTU_ACTIONS, "put on headphone", "take off headphone", "shoot at the basket", "bounce ball",
    "tennis bat swing", "juggling table tennis balls", "hush", "flick hair", "thumb up", "thumb down",
    "make ok sign", "make victory sign", "staple book", "counting money", "cutting nails", "cutting paper",
    "snapping fingers", "open bottle", "sniff", "squat down", "toss a coin", "fold paper", "ball up paper",
    "play magic cube", "apply cream on face", "apply cream on hand back", "put on bag", "take off bag",
    "put something into a bag", "take something out of a bag", "open a box", "move heavy objects", "shake fist",
    "throw up cap/hat", "hands up", "cross arms", "arm circles", "arm swings", "running on the spot",
    "butt kicks", "cross toe touch", "side kick", "yawn", "stretch oneself", "blow nose",
    "hit other person with something", "wield knife towards other person", "knock over other person",
    "grab other person's stuff", "shoot at other person with a gun", "step on foot", "high-five",
    "cheers and drink", "carry something with other person", "take a photo of other person",
    "follow other person", "whisper in other person's ear", "exchange things with other person",
    "support somebody with hand", "finger-guessing game",
)  # fmt: skip
TWO_PEOPLE = frozenset((*range(50, 61), *range(106, 121)))  # actions that take two
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
UWA_MISMATCHED = frozenset((  # RGB and depth show different recordings; ActionMAE leaves them out
    "a21_s02_v04_e01", "a06_s06_v04_e01", "a02_s06_v03_e01", "a07_s02_v02_e01", "a16_s06_v02_e01",
))  # fmt: skip


@dataclass(frozen=True)
class NumberedSet:
    """A data set whose clip ids are numbers behind letters, as in a01_s02_v03_e00."""

    name: str
    ids: re.Pattern[str]  # groups named as in ClipName; "action" among them
    classes: Mapping[int, str]
    lies_at: Callable[[Path], bool]  # whether a folder looks like a root of this set
    scan: Callable[[Scan], None]  # which it fills with files by clip id
    needs: tuple[str, ...] = REQUIRED  # modalities, without which a clip is left out
    limits: Mapping[str, int] = field(default_factory=dict)  # largest number, by group; the least is 1

    def parse(self, clip_id: str) -> ClipName | None:
        """The numbers in a clip's id, or None where it is not one of this set's."""
        match = self.ids.fullmatch(clip_id)
        numbers = {key: int(value) for key, value in match.groupdict().items()} if match else {}
        inside = all(1 <= numbers.get(key, 0) <= limit for key, limit in self.limits.items())
        if not inside or numbers.get("action") not in self.classes:
            return None
        return ClipName(numbers.get("setup"), numbers.get("camera"), *map(numbers.get, ClipName._fields[2:]))

    def index(self, root: str | os.PathLike) -> Index:
        """Scan a data root; reads folders and names only, no clip.

        Clips that lack a modality, occur twice, stand on a published list of clips to leave out or in
        labkit.json are excluded with the reason. Raises LabError when the root or a modality of NTU has no folder.
        """
        scan = Scan(Path(root))
        self.scan(scan)
        for clip, entry in [*scan.entries.items()]:
            entry.name = self.parse(clip)
            if entry.name is None:
                del scan.entries[clip]
                scan.faults.pop(clip, None)
                for file in entry.files.values():
                    scan.strange(file)
        name = "puppets" if (scan.root / "puppets.json").is_file() else self.name
        return make_index(scan, name, self.classes, self.needs)


# -- NTU RGB+D -----------------------------------------------------------------------------------

NTU_FILES = {  # folder stem, and what follows the clip's name
    "rgb": ("nturgb+d_rgb", "_rgb.avi"),
    "depth": ("nturgb+d_depth_masked", ""),
    "skeleton": ("nturgb+d_skeletons", ".skeleton"),
}
# Published by the data set's authors, 302 clips of the 60 classes and 535 of all 120, and passed on under other names.
MISSING_LIST = re.compile(r".*missing.*\.(txt|csv)", re.IGNORECASE)
_NTU_ID = r"S(?P<setup>\d{3})C(?P<camera>\d{3})P(?P<subject>\d{3})R(?P<replication>\d{3})A(?P<action>\d{3})"
_LISTED_ID = re.compile("[^A-Z0-9]?".join(rf"{letter}(\d{{3}})" for letter in "SCPRA"), re.IGNORECASE | re.ASCII)


def _scan_ntu(scan: Scan) -> None:
    """Each modality lies in one folder, nturgb+d_rgb/, or in one per archive, nturgbd_rgb_s001/nturgb+d_rgb/."""
    for modality in NTU_FILES:
        for clip, file in ntu_files(scan.root, modality):
            if clip:
                scan.add(clip, modality, file)
            else:
                scan.strange(file)
    for folder in (scan.root, *_ntu_folders(scan.root, NTU_FILES["skeleton"][0])):
        for name in filter(MISSING_LIST.fullmatch, listed(folder)):
            text = (folder / name).read_bytes().replace(b"\0", b"").decode("latin-1")  # UTF-16, too
            ids = {f"S{s}C{c}P{p}R{r}A{a}" for s, c, p, r, a in _LISTED_ID.findall(text)} & scan.entries.keys()
            for clip in ids:
                scan.leave_out(clip, "on the missing list", "on the published list of missing skeletons")
            if not ids:
                scan.strangers.append(f"{name}: {NO_CLIP}")


def ntu_files(root: Path, modality: str) -> Iterator[tuple[str, str]]:
    """Clip id and path of each file of one modality; "" for the id where the name has another ending."""
    stem, suffix = NTU_FILES[modality]
    for folder in _ntu_folders(root, stem):
        for name in listed(folder):
            clip = name.removesuffix(suffix)
            yield "" if suffix and clip == name else clip, os.path.join(folder, name)


def _ntu_folders(root: Path, stem: str) -> list[Path]:
    """The folders of one modality, in order, each with or without `stem` inside.

    A folder's name is `stem` (nturgb+d_rgb) or what an archive of that modality unpacks to, nturgbd_rgb_s001 and
    nturgb+d_depth_masked_s001, with and without the +; some hold several set-ups (_s001_to_s017), and widespread
    scripts want those of NTU 120 in nturgb+d_skeletons120.
    """
    names = [name for name in listed(root) if (root / name).is_dir()]
    spelled = re.compile(stem.replace("+", "[+]?") + "(120|_s.*)?")
    chosen = [root / name for name in names if spelled.fullmatch(name)]
    if not chosen:
        fix = "unpack this modality into the root, or make the embedded set: labkit data make"
        raise LabError.mismatch(root, f"a folder {stem}", ", ".join(names[:8]) or "no folder", fix)
    return [folder / stem if (folder / stem).is_dir() else folder for folder in chosen]


NTU60 = NumberedSet(
    "NTU60", re.compile(_NTU_ID, re.ASCII), dict(enumerate(NTU_ACTIONS, start=1)),
    lambda root: any(re.match(r"nturgb[+]?d_", name) for name in listed(root)), _scan_ntu, tuple(NTU_FILES),
    limits={"setup": 17, "camera": 3, "subject": 40, "replication": 2, "action": 60},
)  # fmt: skip
NTU120 = replace(
    NTU60, name="NTU120", classes=dict(enumerate(NTU120_ACTIONS, start=1)),
    lies_at=lambda root: NTU60.lies_at(root) and any(
        NTU120.parse(clip) and not NTU60.parse(clip) for clip, _ in ntu_files(root, "rgb")),
    limits={"setup": 32, "camera": 3, "subject": 106, "replication": 2, "action": 120},
)  # fmt: skip


# -- the others ----------------------------------------------------------------------------------


def _scan_ucla(scan: Scan) -> None:
    """view_V/aAA_sSS_eEE/frame_N_tc_T_{rgb.jpg,depth.png}; the id of a clip is vV_aAA_sSS_eEE."""
    for folder in (view / name for view in _ucla_views(scan.root) for name in listed(view)):
        if not (folder.is_dir() and re.fullmatch(r"a\d+_s\d+_e\d+", folder.name, re.ASCII)):
            scan.strange(folder)
            continue
        entry, names = scan.entry(f"v{folder.parent.name[-1]}_{folder.name}"), listed(folder)
        for modality, ending in (("rgb", "_rgb.jpg"), ("depth", "_depth.png")):
            if any(name.startswith("frame_") and name.endswith(ending) for name in names):
                entry.files[modality] = str(folder / f"frame_*{ending}")


def _ucla_views(root: Path) -> list[Path]:
    base = root / "multiview_action" if (root / "multiview_action").is_dir() else root
    return [base / f"view_{view}" for view in (1, 2, 3) if (base / f"view_{view}").is_dir()]


UCLA = NumberedSet(
    "N-UCLA",
    re.compile(r"v(?P<camera>[123])_a(?P<action>\d\d)_s(?P<subject>\d\d)_e(?P<replication>\d\d)", re.ASCII),
    UCLA_CLASSES,
    lambda root: bool(_ucla_views(root)),
    _scan_ucla,
)

_UWA_CLIP = re.compile(r"a\d\d_s\d\d_v\d\d_e\d\d", re.ASCII)


def _scan_uwa(scan: Scan) -> None:
    """Folders aAA_sSS_vVV_eEE of RGB ("001,.jpg") and of depth ("001.png"), up to three levels down.

    Depth decides which clips there are; their RGB lies under the same id or, as the paper's code has
    it, under the one whose last digit is 1.
    """
    rgb, depth = {}, {}
    for parent in _parents(scan.root, _UWA_CLIP):
        is_depth = "depth" in parent.relative_to(scan.root.parent).as_posix().lower()
        found, pattern = (depth, "*.png") if is_depth else (rgb, "*,.jpg")
        for folder in map(parent.joinpath, listed(parent)):
            files = str(folder / pattern)
            clip = folder.is_dir() and _UWA_CLIP.fullmatch(folder.name)
            if not clip or found.setdefault(folder.name, files) != files:
                scan.strange(folder)
    source = {clip: clip if clip in rgb else f"{clip[:-1]}1" for clip in depth}
    for clip in depth.keys() | (rgb.keys() - source.values()):
        places = {"rgb": rgb.get(source.get(clip, clip)), "depth": depth.get(clip)}
        scan.entry(clip).files = {modality: files for modality, files in places.items() if files}
    for clip in UWA_MISMATCHED & scan.entries.keys():
        scan.leave_out(clip, "left out", "RGB and depth are known to show different recordings")


def _parents(root: Path, names: re.Pattern[str], depth: int = 3) -> Iterator[Path]:
    """The folders, `root` or up to `depth` levels below, that hold a folder of such a name."""
    try:
        folders = [root / name for name in listed(root) if name != "__MACOSX" and (root / name).is_dir()]
    except LabError:
        return
    if any(names.fullmatch(folder.name) for folder in folders):
        yield root
    elif depth:
        for folder in folders:
            yield from _parents(folder, names, depth - 1)


UWA = NumberedSet(
    "UWA3DII",
    re.compile(r"a(?P<action>\d\d)_s(?P<subject>\d\d)_v(?P<camera>0[1-4])_e(?P<replication>\d\d)", re.ASCII),
    UWA_CLASSES,
    lambda root: any(True for _ in _parents(root, _UWA_CLIP)),
    _scan_uwa,
)


def _scan_utd(scan: Scan) -> None:
    """RGB/aA_sS_tT_color.avi and Depth/aA_sS_tT_depth.mat; of two files of one clip the second is a stranger."""
    for modality, stem, ending in (("rgb", "RGB", "_color.avi"), ("depth", "Depth", "_depth.mat")):
        for path in (folder / name for folder in _utd_folders(scan.root, stem) for name in listed(folder)):
            clip = path.name.removesuffix(ending)
            if clip == path.name or scan.entry(clip).files.setdefault(modality, str(path)) != str(path):
                scan.strange(path)


def _utd_folders(root: Path, stem: str) -> list[Path]:
    """`stem`, or the parts that its archives unpack to, RGB-part1 to RGB-part4; the files may lie one level deeper."""
    names = [name for name in listed(root) if re.fullmatch(rf"{stem}(-part\d+)?", name, re.ASCII)]
    return [root / name / name if (root / name / name).is_dir() else root / name for name in names]


def _lies_utd_at(root: Path) -> bool:
    names = (name for folder in _utd_folders(root, "RGB") for name in listed(folder))
    return any(name.endswith("_color.avi") for name in names) and bool(_utd_folders(root, "Depth"))


UTD = NumberedSet(
    "UTD-MHAD",
    re.compile(r"a(?P<action>\d{1,2})_s(?P<subject>[1-8])_t(?P<replication>[1-4])", re.ASCII),
    UTD_CLASSES,
    _lies_utd_at,
    _scan_utd,
)
