"""How RGB and depth lie to each other: in a clip, in clips whose own joints are too few, and in a whole set.

`align_clip` fits every clip by itself. Where that fails, the median over the clips of the
same set-up and camera stands in: people stand where the set-up lets them, and the distance decides the
offset. Where those are fewer than ENOUGH, the camera's clips of all set-ups count; where those are too
few as well, a Kinect v2's nominal alignment.

Medians are rounded (RATIO_STEP, OFFSET_STEP), well below what a fit is worth, so that one clip more in
the set seldom changes them, and clips that were cropped by them need not be made again.

A clip's ratio and offset are those of its cameras and of how far away people stand, so clips of one
set-up and camera resemble each other. One that does not was tracked badly, or is not what its name says:
`alignment_rows`, `outliers` and `by_view` tell, from the records of a store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..alignment import NOMINAL, Alignment, Size, fit_alignment, kinect_alignment, plain_alignment
from ..errors import LabError
from .index import SETTINGS, Entry
from .skeletons import Skeleton

if TYPE_CHECKING:  # pandas takes a while to load, and the processes that prepare clips do not need it
    import pandas as pd

ENOUGH = 10  # clips, below which a median is not trusted
RATIO_STEP, OFFSET_STEP = 0.001, 0.1  # colour px per depth px; depth px
FAR = 5.0  # |z| from which a clip is named: of NTU's 170,000 values, if they were normal, none would reach it
STEPS = {"ratio": RATIO_STEP, "offset_x": OFFSET_STEP, "offset_y": OFFSET_STEP}  # a MAD is taken as no less
VIEW = ["setup", "camera"]


def align_entry(entry: Entry, skeleton: Skeleton | None, method: str, *, depth_size: Size, color_size: Size,
                stand_in: Callable[[Size, Size], Alignment]) -> Alignment:  # fmt: skip
    """`align_clip` where there is a skeleton, unless the images are registered already: then they are resized.

    Raises LabError for registered images that differ in shape.
    """
    (width, height), (color_width, color_height) = depth_size, color_size
    if skeleton is not None and not entry.recording.registered:
        return align_clip(skeleton, method, depth_size=depth_size, color_size=color_size, stand_in=stand_in)
    if entry.recording.registered and abs(width * color_height - height * color_width) > max(color_width, color_height):
        found = f"depth {width}x{height}, RGB {color_width}x{color_height}"
        fix = f'set "registered" to false in {SETTINGS}, or in the line of a table that says true'
        raise LabError.mismatch(entry.paths["depth"], "registered images of one shape", found, fix)
    return plain_alignment(depth_size, color_size)


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
        """From `index.Entry.about`, or the "about" of a store's record."""
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


# -- the alignment of a whole set ---------------------------------------------------------------


def alignment_rows(records: Iterable[dict]) -> pd.DataFrame:
    """One row a clip: its view, ratio (colour px per depth px), offset and residual (depth px), and its z.

    `fallback` marks clips that another alignment stands in for, `source` says whose; they have neither
    residual nor z. `z` is the largest of the ratio's and the offset's robust z-scores, `worst` says whose,
    among the clips of the same set-up and camera, or where those are fewer than ENOUGH, of
    the same camera; NaN where those are too few as well. Clips that were not registered are left out.
    """
    import pandas as pd

    rows = []
    for record in records:
        found, view = record["alignment"], View.of(record["about"])
        if found["fallback"] or found["residual_px"] is not None:
            residual = np.nan if found["fallback"] else found["residual_px"]
            rows.append((record["id"], *view, found["ratio"], *found["offset"], residual, found["fallback"],
                         found.get("source", "")))  # fmt: skip
    columns = ["clip", *VIEW, *STEPS, "residual_px", "fallback", "source"]
    return _with_z(pd.DataFrame(rows, columns=columns))


def _with_z(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    fitted, scores = rows[~rows["fallback"].astype(bool)], {}
    for name, step in STEPS.items():
        scores[name] = pd.Series(np.nan, rows.index)
        for near in ("camera", VIEW):  # the nearer counts
            for _, values in fitted.groupby(near)[name]:
                if len(values) >= ENOUGH:
                    away = values - values.median()
                    scores[name][values.index] = away / max(1.4826 * away.abs().median(), step)
    table = pd.DataFrame(scores)
    worst = table.abs().fillna(-1).idxmax(axis=1) if len(rows) else pd.Series(dtype=str)
    z = [table.at[row, name] for row, name in worst.items()]
    return rows.assign(z=np.array(z, float), worst=worst.where(np.isfinite(z), "") if len(rows) else "")


def outliers(rows: pd.DataFrame) -> pd.DataFrame:
    """The clips of `alignment_rows` that depart by FAR or more, the farthest first."""
    far = rows[rows["z"].abs() >= FAR]
    return far.reindex(far["z"].abs().sort_values(ascending=False, kind="stable").index)


def by_view(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a set-up and camera: clips, medians and interquartile ranges, residuals, stand-ins, outliers.

    Medians are over the clips that were fitted; pixels are those of the depth image.
    """
    import pandas as pd

    table = []
    for view, group in rows.groupby(VIEW):
        fitted = group[~group["fallback"].astype(bool)]
        quartiles = fitted[[*STEPS]].quantile([0.25, 0.5, 0.75])
        told = dict(zip(VIEW, view, strict=True)) | {"clips": len(group)}
        for name in STEPS:
            told |= {name: quartiles.at[0.5, name], f"{name}_iqr": quartiles.at[0.75, name] - quartiles.at[0.25, name]}
        told |= {"residual_px": fitted["residual_px"].median(), "residual_95": fitted["residual_px"].quantile(0.95)}
        table.append(told | {"fallbacks": len(group) - len(fitted), "outliers": int((group["z"].abs() >= FAR).sum())})
    return pd.DataFrame(table)
