"""The handout of week 1: one clip of the embedded set, registered by hand from six joints, and its solution.

The clip is made in the size of a Kinect v2, so that pixels are those of a real sensor. What the solution says is
computed from the coordinates on the sheet by `labkit.alignment`. The words are in `site/templates/handout.md` and
`solution.md`.
"""

from __future__ import annotations

import re
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..alignment import Alignment, align_points, fit_alignment, pair_ratios, registration_error
from ..clips import colorize_depth
from ..config import PuppetsConfig
from ..data.media.video import read_depth_frames, read_video
from ..data.skeletons import read_skeleton
from ..figures.pictures import marked_frames
from ..figures.style import picture_bytes
from ..files import write_text
from ..puppets.body import JOINT
from ..puppets.clips import clip_files, clip_name, make_performance
from .slides import TEMPLATES, to_html

JOINTS = ("head", "left hand", "right hand", "spine base", "left foot", "right foot")
CHECKED = "right elbow"  # a seventh joint, to try the registration on
ACTION, SUBJECT, CAMERA, FRAME = 31, 2, 1, 8


class Sheet(NamedTuple):
    """What stands on the handout; coordinates are whole pixels, as a student reads them."""

    rgb: np.ndarray  # (1080, 1920, 3) uint8
    depth: np.ndarray  # (424, 512, 3) uint8, in jet colours on grey
    depth_xy: np.ndarray  # (7, 2), of JOINTS and then of CHECKED
    color_xy: np.ndarray  # (7, 2)
    whole: Alignment  # from all joints of all frames, not rounded

    @property
    def by_hand(self) -> Alignment:
        """From the six joints on the sheet."""
        return align_points(self.depth_xy[None, :-1], self.color_xy[None, :-1], np.ones((1, len(JOINTS)), bool))


@cache
def sheet() -> Sheet:
    """The clip, made in seconds in a folder that goes away again."""
    with tempfile.TemporaryDirectory() as folder:
        make_performance((Path(folder), PuppetsConfig(scale=1), ACTION, SUBJECT, (CAMERA,)))
        files = clip_files(Path(folder), clip_name(SUBJECT, CAMERA, ACTION))
        skeleton = read_skeleton(files["skeleton"])
        rgb, depth = read_video(files["rgb"], [FRAME])[0], read_depth_frames(files["depth"], [FRAME])
    depth_xy, color_xy, tracked = skeleton.joints()
    chosen = [JOINT[name] for name in (*JOINTS, CHECKED)]
    on_grey = np.where(depth[..., None] > 0, colorize_depth(depth), 200).astype(np.uint8)[0]
    return Sheet(rgb, on_grey, depth_xy[FRAME, chosen].round(), color_xy[FRAME, chosen].round(),
                 fit_alignment(depth_xy, color_xy, tracked))  # fmt: skip


def write_handout(folder: Path) -> list[Path]:
    """Write handout/week-1.html for students and solution/handout-week-1.html for the teacher; returns the paths."""
    page = Template((TEMPLATES / "sheet.html").read_text(encoding="utf-8"))
    parts, written = _parts(sheet()), []
    for name, place in (("handout", "handout/week-1.html"), ("solution", "solution/handout-week-1.html")):
        text = (TEMPLATES / f"{name}.md").read_text(encoding="utf-8")
        body = re.sub(r"<!-- (\w+) -->", lambda mark: parts[mark[1]], to_html(text))
        written.append(folder / place)
        write_text(written[-1], page.substitute(title=f"Week 1: {name}", body=body))
    return written


def _parts(one: Sheet) -> dict[str, str]:
    """What stands for the marks of both pages, as HTML."""
    fit, whole, letters = one.by_hand, one.whole, "ABCDEF"
    depth, color = one.depth_xy[:-1], one.color_xy[:-1]
    both = [(a, b, *_pair(depth[[a, b]], color[[a, b]])) for a, b in combinations(range(len(letters)), 2)]
    pairs = [(f"{letters[a]}, {letters[b]}", *cells) for a, b, *cells in both]
    scaled = color / fit.ratio
    shifts = [(letter, *map(_in, (*there, *shift)))
              for letter, there, shift in zip(letters, scaled, depth - scaled, strict=True)]  # fmt: skip
    ratios = pair_ratios(depth[None], color[None], np.ones((1, len(JOINTS)), bool))
    errors = registration_error(fit, one.depth_xy, one.color_xy)
    depth_box, color_box = fit.crop_boxes(one.depth.shape[1::-1], one.rgb.shape[1::-1])
    joints = [(letter, name, *map(_whole, (*at, *there)))
              for letter, name, at, there in zip(letters, JOINTS, depth, color, strict=True)]  # fmt: skip
    head = ("pair", "depth, x", "RGB, x", "ratio, x", "depth, y", "RGB, y", "ratio, y")
    of_shifts = ("joint", "RGB x / r", "RGB y / r", "depth x minus it", "depth y minus it")
    return {
        "frames": _frames(one, letters),
        "joints": _table(("", "joint", "depth x", "depth y", "RGB x", "RGB y"), joints),
        "empty_pairs": _table(head, [(name, *[""] * 6) for name, *_ in pairs], "blank"),
        "empty_shifts": _table(of_shifts, [(letter, *[""] * 4) for letter in letters], "blank"),
        "pairs": _table(head, pairs), "shifts": _table(of_shifts, shifts),
        "ratio_x": _in(np.median(ratios[0]), 3), "ratio_y": _in(np.median(ratios[1]), 3), "ratio": _in(fit.ratio, 3),
        "spread_x": f"{_in(ratios[0].min(), 2)} to {_in(ratios[0].max(), 2)}",
        "spread_y": f"{_in(ratios[1].min(), 2)} to {_in(ratios[1].max(), 2)}",
        "offset": _point(fit.offset), "residual": _in(fit.residual_px),
        "depth_box": ", ".join(map(_in, depth_box)), "color_box": ", ".join(map(_in, color_box)),
        "checked": CHECKED, "checked_rgb": _point(one.color_xy[-1], 0), "checked_depth": _point(one.depth_xy[-1], 0),
        "checked_mapped": _point(fit.to_depth(one.color_xy[-1])), "checked_error": _in(errors[-1]),
        "whole_ratio": _in(whole.ratio, 3), "whole_offset": _point(whole.offset),
    }  # fmt: skip


def _pair(depth: np.ndarray, color: np.ndarray) -> list[str]:
    """The cells of a pair of joints, both (2, 2) pixels: along x, then along y, both distances and their ratio."""
    ratios, cells = pair_ratios(depth[None], color[None], np.ones((1, 2), bool)), []
    for axis, ratio in enumerate(ratios):
        cells += [_whole(at[0, axis] - at[1, axis]) for at in (depth, color)]
        cells.append(_in(ratio[0], 3) if len(ratio) else "left out")
    return cells


def _in(value: float, places: int = 1) -> str:
    return f"{value:.{places}f}".replace("-", "−")


def _whole(value: float) -> str:
    return _in(value, 0)


def _point(xy: Iterable[float], places: int = 1) -> str:
    return f"({', '.join(_in(value, places) for value in xy)})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    return pd.DataFrame(rows, columns=head).to_html(index=False, border=0, classes=kind)


def _frames(one: Sheet, letters: Sequence[str]) -> str:
    seen = {"RGB": (one.rgb, one.color_xy[:-1]), "depth": (one.depth, one.depth_xy[:-1])}
    picture = b64encode(picture_bytes(marked_frames(seen, letters), "png")).decode()
    return f'<img src="data:image/png;base64,{picture}" alt="The RGB frame and the depth frame with joints A to F">'
