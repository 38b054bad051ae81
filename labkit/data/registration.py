"""What is usual for each camera of a set: the alignment of clips whose own joints are too few.

`alignment.fit_alignment` fits every clip by itself. Where that fails, the median over the clips of the
same set-up and camera stands in: people stand where the set-up lets them, and the distance decides the
offset. Where those are fewer than ENOUGH, the camera's clips of all set-ups count; where those are too
few as well, a Kinect v2's nominal alignment.

Medians are rounded (RATIO_STEP, OFFSET_STEP), well below what a fit is worth, so that one clip more in
the set seldom changes them, and clips that were cropped by them need not be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..alignment import NOMINAL, Alignment, Size, fit_alignment, kinect_alignment, plain_alignment
from ..errors import LabError
from .skeletons import Skeleton

ENOUGH = 10  # clips, below which a median is not trusted
RATIO_STEP, OFFSET_STEP = 0.001, 0.1  # colour px per depth px; depth px


def align_clip(
    skeleton: Skeleton,
    method: str,
    *,
    depth_size: Size,
    color_size: Size,
    stand_in: Callable[[Size, Size], Alignment] = kinect_alignment,
) -> Alignment:
    """The alignment of one clip, from all bodies of all its frames, for images (width, height) of these sizes.

    "ratio" and "affine": see `alignment.fit_alignment`. "none": both images are resized as they are. Joints
    of state 2 are used, those of state 1 too where the former are too few. Where these are too few as well, the
    result is `stand_in` of the sizes, with `fallback` set. Raises LabError for another method.
    """
    if method == "none":
        return plain_alignment(depth_size, color_size)
    if method not in ("ratio", "affine"):
        raise LabError.mismatch(skeleton.path, 'method "ratio", "affine" or "none"', repr(method), "use one of those")
    for least_state in (2, 1):
        try:
            return fit_alignment(*skeleton.joints(least_state), method)
        except LabError:
            continue
    return replace(stand_in(depth_size, color_size), method=method)


class View(NamedTuple):
    """Where a clip was filmed, as far as it is known; "" for what is not."""

    setup: str
    camera: str

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> View:
        """From `roots.Entry.about`, or the "about" of a store's record."""
        return cls(str(about.get("setup", "")), str(about.get("camera", "")))


@dataclass(frozen=True)
class Usual:
    """The median alignment of the well-fitted clips of one view; for colour images of one size."""

    color_size: Size
    scale: tuple[float, float]
    offset: tuple[float, float]
    clips: int
    view: View

    @property
    def source(self) -> str:
        """As it stands in the record of a clip that is cropped by it."""
        whose = f"camera {self.view.camera}'s" if self.view.camera else "the set's"
        return f"{whose} median of {self.clips} clips" + (f" of setup {self.view.setup}" if self.view.setup else "")


class Medians:
    """What is usual in a set, from the records of its clips; their order does not matter."""

    def __init__(self) -> None:
        self._fits: dict[tuple[View, Size], list[tuple]] = {}

    def add(self, record: dict) -> None:
        """Count a record for its set-up and camera, and for its camera, unless it has no fit of its own."""
        found = record["alignment"]
        if not found["fallback"] and found["residual_px"] is not None:
            view, fit = View.of(record["about"]), (*found["scale"], *found["offset"])
            for near in {view, View("", view.camera)}:
                self._fits.setdefault((near, tuple(record["crop"]["of"])), []).append(fit)

    def of(self, view: View) -> tuple[Usual, ...]:
        """What may stand in for a clip of this view, the nearest first; ready when all records are added."""
        near = (view, View("", view.camera)) if view.setup else (view,)
        enough = [(key, fits) for key, fits in sorted(self._fits.items()) if len(fits) >= ENOUGH]
        return tuple(_median(*key, fits) for place in near for key, fits in enough if key[0] == place)


def _median(view: View, color_size: Size, fits: list[tuple]) -> Usual:
    steps = np.array([RATIO_STEP, RATIO_STEP, OFFSET_STEP, OFFSET_STEP])
    middle = [round(float(value), 6) for value in np.round(np.median(fits, axis=0) / steps) * steps]
    return Usual(color_size, tuple(middle[:2]), tuple(middle[2:]), len(fits), view)


def stand_in(usual: Sequence[Usual], depth_size: Size, color_size: Size) -> Alignment:
    """The first of `usual` that is for such images, else the nominal one.

    Raises LabError where there is neither: `alignment.kinect_alignment`.
    """
    for one in usual:
        if one.color_size == tuple(color_size):
            return Alignment("ratio", one.scale, one.offset, fallback=True, source=one.source)
    return kinect_alignment(depth_size, color_size)


def still_stands(record: dict, usual: Sequence[Usual]) -> str | None:
    """What a record that was cropped by a stand-in is cropped by now; None where that has moved."""
    found = record["alignment"]
    for one in usual:
        if one.color_size == tuple(record["crop"]["of"]):
            same = (*found["scale"], *found["offset"]) == (*one.scale, *one.offset)
            return one.source if same else None
    return NOMINAL if found.get("source", NOMINAL) == NOMINAL else None
