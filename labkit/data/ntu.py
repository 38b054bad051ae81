"""NTU RGB+D 60 and 120 (Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2020).

Their file names SsssCcccPpppRrrrAaaa carry all that the official protocols need. The embedded set has
the same layout and names.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import LabError
from ..files import names_in
from .index import ClipName, Index, make_index, read_settings

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

# Published by the data set's authors: 302 clips of the 60 classes, 535 of all 120.
MISSING_LIST = "NTU_RGBD_samples_with_missing_skeletons.txt"
MISSING_LIST_120 = "NTU_RGBD120_samples_with_missing_skeletons.txt"


@dataclass(frozen=True)
class NTU:
    """A release of NTU RGB+D: the largest number of each part of a name, and where modalities lie."""

    name: str
    limits: ClipName
    class_names: tuple[str, ...]
    missing_lists: tuple[str, ...]
    modalities: dict[str, tuple[str, str]] = field(  # folder stem, and what follows the clip's name
        default_factory=lambda: {
            "rgb": ("nturgb+d_rgb", "_rgb.avi"),
            "depth": ("nturgb+d_depth_masked", ""),
            "skeleton": ("nturgb+d_skeletons", ".skeleton"),
        }
    )

    def parse(self, clip_id: str) -> ClipName | None:
        """The numbers in a clip's name, or None where it is not a name of this release."""
        match = _NAME.fullmatch(clip_id)
        if match is None:
            return None
        name = ClipName(*map(int, match.groups()))
        inside = all(1 <= value <= limit for value, limit in zip(name, self.limits, strict=True))
        return name if inside else None

    def index(self, root: str | os.PathLike) -> Index:
        """Scan a data root; reads folders and names only, no clip.

        Each modality lies in one folder, as in `nturgb+d_rgb/`, or in one per archive, named as it is:
        `nturgbd_rgb_s001/nturgb+d_rgb/` (see `_is_folder_of`). Clips that lack a modality, occur
        twice, stand on the published list of missing skeletons (if that file lies in the root) or in
        labkit.json are excluded with the reason. Raises LabError when the root or a modality has no
        folder.
        """
        root, strangers, twice = Path(root), [], {}
        found = {modality: self._scan(root, modality, strangers, twice) for modality in self.modalities}
        settings = read_settings(root)
        known = {clip: [f"{modality} found twice" for modality in modalities] for clip, modalities in twice.items()}
        for clip in self._listed_as_missing(root):
            known.setdefault(clip, []).append("on the published list of missing skeletons")
        for clip, reason in settings.exclude.items():
            known.setdefault(clip, []).append(reason)
        names = {clip: self.parse(clip) for files in found.values() for clip in files}
        embedded = (root / "puppets.json").is_file()
        return make_index(
            root, found, {clip: name.action for clip, name in names.items()},
            dict(enumerate(self.class_names, start=1)), known={clip: "; ".join(why) for clip, why in known.items()},
            strangers=strangers, names=names, data_name=settings.name or ("puppets" if embedded else self.name),
            recording=settings.recording,
        )  # fmt: skip

    def clips(self, root: Path, modality: str) -> list[str]:
        """The ids that have a file of this modality."""
        return list(self._scan(root, modality, [], {}))

    def _scan(self, root: Path, modality: str, strangers: list[str], twice: dict[str, list[str]]) -> dict[str, str]:
        """Files of one modality by clip id; other names go to `strangers`, second files to `twice`."""
        stem, suffix = self.modalities[modality]
        found: dict[str, str] = {}
        for folder in _folders(root, stem):
            for name in names_in(folder):
                clip, path = name.removesuffix(suffix), os.path.join(folder, name)
                if (suffix and clip == name) or self.parse(clip) is None:
                    strangers.append(f"{folder.relative_to(root).as_posix()}/{name}")
                elif found.setdefault(clip, path) != path:
                    twice.setdefault(clip, []).append(modality)
        return found

    def _listed_as_missing(self, root: Path) -> frozenset[str]:
        """The ids on the lists that lie in the root or among the skeletons."""
        listed: set[str] = set()
        for folder in (root, *_folders(root, self.modalities["skeleton"][0])):
            for name in self.missing_lists:
                if (folder / name).is_file():
                    text = (folder / name).read_text(encoding="utf-8", errors="replace")
                    listed.update(filter(self.parse, text.split()))
        return frozenset(listed)


_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)

NTU60 = NTU("NTU60", ClipName(17, 3, 40, 2, 60), NTU_ACTIONS, (MISSING_LIST, MISSING_LIST_120))
NTU120 = NTU("NTU120", ClipName(32, 3, 106, 2, 120), NTU120_ACTIONS, (MISSING_LIST, MISSING_LIST_120))


def _is_folder_of(stem: str, name: str) -> bool:
    """Whether a folder's name is `stem` (nturgb+d_rgb) or what an archive of that modality unpacks to.

    The archives spell it with and without the +, nturgbd_rgb_s001 and nturgb+d_depth_masked_s001; some
    hold several set-ups (_s001_to_s017), and widespread scripts want those of NTU 120 in nturgb+d_skeletons120.
    """
    name = re.sub("^nturgbd_", "nturgb+d_", name)
    return name in (stem, f"{stem}120") or name.startswith(f"{stem}_s")


def _folders(root: Path, stem: str) -> list[Path]:
    """The folders of one modality, in order, each with or without `stem` inside."""
    try:
        names = sorted(item.name for item in os.scandir(root) if item.is_dir())
    except OSError as error:
        fix = "give the folder that holds nturgb+d_rgb and its siblings"
        raise LabError.mismatch(root, "a data root", error.strerror, fix) from error
    chosen = [root / name for name in names if _is_folder_of(stem, name)]
    if not chosen:
        fix = "unpack this modality into the root, or make the embedded set: labkit data make"
        raise LabError.mismatch(root, f"a folder {stem}", ", ".join(names[:8]) or "no folder", fix)
    return [folder / stem if (folder / stem).is_dir() else folder for folder in chosen]
