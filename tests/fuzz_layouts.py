"""Folders of clips as nobody planned them, and what the index and the reader make of them, counted over many.

    python tests/fuzz_layouts.py --layouts 500

A layout has classes, splits and clips with names, kinds and frames drawn at random; companions, other systems' files
and folders lie between them, and frames are lost. Frame n shows the level 10 + 10 n in RGB and in depth.

exact      every clip used shows one moment in both images, or has a remark; all clips are used or excluded
refused    a LabError, in one line
other      anything else, which must not happen: another exception, a lost clip, unlike frames without a remark
"""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
from fuzz_counts import count_and_show
from PIL import Image

from labkit.config import ClipConfig
from labkit.data.modalities import read_aligned
from labkit.data.splits import find_dataset
from labkit.errors import LabError

CLASSES = ("wave", "tête", "1.5 m", "a b", "test", "__", "日本", "-x", "boxes", "class_color")
SPLITS = ("", "", "train", "Testing", "dev")
NAMES = ("{n}", "{n:04d}", "cam{c}_{n}", "{t:.3f}", "{t!r}", "f{n:03d}.a", "{letters}")
STRANGE = (
    "Thumbs.db", "._a_color.png", ".DS_Store", "notes.txt", "a_color.json", "__MACOSX/._x", "docs/a.pdf", "x_color",
    "lone_depth.png", "boxes/wave/a.json", "labkit.json", "a_color.png/",
)  # fmt: skip
FRAMES = 8


def picture(path: Path, moment: int, depth: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    level = 10 + 10 * moment
    image = np.full((6, 8), level, np.uint16) if depth else np.full((6, 8, 3), level, np.uint8)
    Image.fromarray(image).save(path)


def write_clip(stem: Path, rng: np.random.Generator) -> None:
    """RGB and depth of one clip, each an image or a folder of images, of which some are lost."""
    single = rng.random() < 0.3
    name, of_depth = (NAMES[place] for place in rng.integers(len(NAMES), size=2))
    for camera, modality in enumerate(("color", "depth")):
        if single:
            picture(stem.with_name(f"{stem.name}_{modality}.png"), 3, modality == "depth")
            continue
        form = of_depth if modality == "depth" and rng.random() < 0.2 else name
        kept = [moment for moment in range(FRAMES) if rng.random() < (0.7 if modality == "depth" else 0.95)]
        folder = stem.with_name(f"{stem.name}_{modality}")
        folder.mkdir(parents=True, exist_ok=True)
        for moment in kept:
            words = {"n": moment, "c": camera, "t": 1305.5 + moment / 30, "letters": chr(97 + moment) * 2}
            picture(folder / f"{form.format(**words)}.png", moment, modality == "depth")


def write_layout(root: Path, rng: np.random.Generator) -> int:
    """A data root; how many clips it was given, names in two forms of Unicode counted once."""
    divided, clips = rng.random() < 0.4, set()
    for _ in range(rng.integers(1, 6)):
        label = unicodedata.normalize(("NFC", "NFD")[rng.integers(2)], CLASSES[rng.integers(len(CLASSES))])
        part = SPLITS[rng.integers(2, len(SPLITS))] if divided else ""
        stem = root / part / label / ("a", "take.1", "b c", "x_y")[rng.integers(4)]
        if stem not in clips:
            clips.add(stem)
            write_clip(stem, rng)
    for name in rng.choice(STRANGE, rng.integers(0, 4), replace=False).tolist():
        path = root / name if "/" in name or name == "labkit.json" else next(iter(clips)).with_name(name)
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        elif not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b'\xef\xbb\xbf{"exclude": {"none": "no clip"}}' if name == "labkit.json" else b"{}")
    return len({unicodedata.normalize("NFC", str(stem)) for stem in clips})


def outcome(root: Path, given: int) -> str:
    try:
        index = find_dataset(root).index(root)
        if len(index.ids) + len(index.excluded) < given:
            raise AssertionError(f"{len(index.ids)} + {len(index.excluded)} of {given} clips")
    except LabError as error:
        return "refused" if "\n" not in str(error) else "other"
    for entry in index.entries:
        try:
            pixels, found = read_aligned(entry, ClipConfig(size=4))
        except LabError as error:
            if "\n" in str(error):
                return "other"
            continue
        levels = pixels["rgb"].mean(axis=(1, 2, 3)), pixels["depth"].mean(axis=(1, 2))
        if not np.allclose(*levels) and not found["notes"]:
            raise AssertionError(f"{entry.id}: {levels} without a remark")
    return "exact"


def fuzz(folder: Path, count: int, seed: int = 0) -> Counter:
    outcomes: Counter = Counter()
    for number in range(count):
        rng, root = np.random.default_rng([seed, number]), folder / str(number)
        kind = "layout"
        try:
            found = outcome(root, write_layout(root, rng))
        except Exception as error:
            print(f"layout {number}: {type(error).__name__}: {error}", file=sys.stderr)
            found = "other"
        outcomes[kind, found] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layouts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    return int(count_and_show("layouts", lambda folder: fuzz(folder, wanted.layouts, wanted.seed)))


if __name__ == "__main__":
    sys.exit(main())
