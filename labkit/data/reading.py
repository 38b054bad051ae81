"""One clip from its files to aligned pixels in all modalities asked for.

Frames are evenly spaced over those that RGB and depth share (`frames.pair_frames`): recordings differ by
a frame or more. A frame of the skeleton or of the boxes is the one of the same number; where the
skeleton ends before, its last one. The skeleton's joints register the two images; without a skeleton
both are resized as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..alignment import Alignment, Size, align_pair, crop_color, kinect_alignment, plain_alignment
from ..clips import sample_frames
from ..config import ClipConfig
from ..errors import LabError
from .frames import Frames, pair_frames
from .maps import FLOW_SIDE, flow_map, flow_pair, layout_map, read_boxes, skeleton_map
from .registration import align_clip
from .roots import SETTINGS, SIDECARS, Entry
from .skeletons import Skeleton, read_skeleton

Pixels = dict[str, np.ndarray]  # by modality
StandIn = Callable[[Size, Size], Alignment]


@dataclass(frozen=True)
class _View:
    """What the maps of one clip are drawn from."""

    entry: Entry
    frames: np.ndarray  # (T,) the stored ones
    num_frames: int  # there are in the shorter of RGB and depth
    video: dict[int, np.ndarray]  # colour frames by number, whole
    skeleton: Skeleton | None
    depth_box: tuple
    color_box: tuple
    size: int


def read_aligned(entry: Entry, config: ClipConfig, stand_in: StandIn = kinect_alignment) -> tuple[Pixels, dict]:
    """`config.modalities` of a clip, each (T,S,S,3) uint8 or, for depth, (T,S,S) uint16 mm; and what was found.

    `stand_in` gives the alignment of a clip with too few tracked joints, from (width, height) of its depth
    and of its colour images; see `registration`. Raises LabError when a file is missing or damaged.
    """
    paths = entry.paths
    skeleton = read_skeleton(paths["skeleton"], allow_nan=True) if "skeleton" in paths else None
    sources = {modality: Frames(paths[modality]) for modality in ("rgb", "depth")}
    shared = pair_frames(sources)
    shorter = len(shared["rgb"])
    frames = sample_frames(shorter, config.stored_frames)
    wanted = frames.tolist()
    if "flow" in config.modalities:
        wanted = [number for frame in frames.tolist() for number in (frame, *flow_pair(frame, shorter))]
    wanted = sorted(set(wanted))
    pictures = sources["rgb"].rgb([shared["rgb"][number] for number in wanted])
    video = dict(zip(wanted, pictures, strict=True))
    depth = sources["depth"].depth([shared["depth"][number] for number in frames], entry.recording.depth_unit)
    sizes = {"depth_size": depth.shape[2:0:-1], "color_size": pictures.shape[2:0:-1]}  # (width, height)
    alignment = _alignment(entry, skeleton, config, sizes, stand_in)
    pairs = [align_pair(video[frame], mm, alignment, config.size) for frame, mm in zip(frames, depth, strict=True)]
    rgb, depth = (np.stack(images) for images in zip(*pairs, strict=True))
    pixels = {"rgb": rgb, "depth": depth}
    view = _View(entry, frames, shorter, video, skeleton, *alignment.crop_boxes(**sizes), config.size)
    for modality in config.modalities:
        if modality not in pixels:
            pixels[modality] = _MAPS[modality](view)
    counts = {modality: source.count for modality, source in sources.items()}
    crop = {"box": list(view.color_box), "of": list(sizes["color_size"])}  # colour pixels; width, height
    return {m: pixels[m] for m in config.modalities}, {**_found(skeleton, frames, counts, alignment), "crop": crop}


def _alignment(entry: Entry, skeleton: Skeleton | None, config: ClipConfig, sizes: dict[str, tuple],
               stand_in: StandIn) -> Alignment:  # fmt: skip
    """By the joints where there are some, unless the images are registered already."""
    if skeleton is not None and not entry.recording.registered:
        return align_clip(skeleton, config.alignment, **sizes, stand_in=stand_in)
    (width, height), (color_width, color_height) = sizes["depth_size"], sizes["color_size"]
    if entry.recording.registered and abs(width * color_height - height * color_width) > max(color_width, color_height):
        found = f"depth {width}x{height}, RGB {color_width}x{color_height}"
        fix = f'set "registered" to false in {SETTINGS}, or in the line of a table that says true'
        raise LabError.mismatch(entry.paths["depth"], "registered images of one shape", found, fix)
    return plain_alignment(**sizes)


def _flow(view: _View) -> np.ndarray:
    """From the crop at FLOW_SIDE pixels, where that is more than its size."""
    side = max(view.size, FLOW_SIDE)

    pairs = [flow_pair(frame, view.num_frames) for frame in view.frames.tolist()]
    crops = {frame: crop_color(view.video[frame], view.color_box, side) for pair in pairs for frame in pair}
    return np.stack([flow_map(crops[before], crops[after], size=view.size) for before, after in pairs])


def _skeleton(view: _View) -> np.ndarray:
    if view.skeleton is None:
        fix = "leave skeleton out of ClipConfig.modalities"
        raise LabError.mismatch(None, f"a skeleton of {view.entry.id}", "none", fix)
    joints, drawn = view.skeleton, np.zeros((len(view.frames), view.size, view.size, 3), np.uint8)
    for place, frame in enumerate(np.minimum(view.frames, joints.num_frames - 1)):
        if frame >= 0:  # a recording may hold no frame of the skeleton at all
            drawn[place] = skeleton_map(joints.depth_xy[frame], joints.state[frame], view.depth_box, view.size)
    return drawn


def _layout(view: _View) -> np.ndarray:
    """Boxes of the colour image, which is the finer one, or else of the depth image."""
    path = view.entry.paths.get("boxes")
    if path is None:
        fix = "write the boxes, or leave layout out of ClipConfig.modalities"
        name = f"{SIDECARS[-1]}/{view.entry.id}.json"
        raise LabError.mismatch(None, f"boxes for the layout in {name}", "no such file", fix)
    boxes = read_boxes(path)
    image, crop = ("color", view.color_box) if "color" in boxes else ("depth", view.depth_box)
    shortest = min((len(frames) for frames in boxes[image].values()), default=0)
    if shortest < view.num_frames:
        fix = "give a box or null for every frame"
        raise LabError.mismatch(path, f"boxes of {view.num_frames} frames", shortest, fix)
    maps = [
        layout_map({group: of_frame[frame] for group, of_frame in boxes[image].items()}, crop, view.size)
        for frame in view.frames
    ]
    return np.stack(maps)


_MAPS = {"flow": _flow, "skeleton": _skeleton, "layout": _layout}


def too_few(source: str) -> str:
    """The note on a clip that another alignment stands in for."""
    return f"too few tracked joints; {source} is used"


def _found(skeleton: Skeleton | None, frames: np.ndarray, counts: dict[str, int], alignment: Alignment) -> dict:
    """What a record keeps of how a clip was read."""
    nan_joints = 0
    if skeleton is not None:
        counts, nan_joints = counts | {"skeleton": skeleton.num_frames}, skeleton.nan_joints
    notes = {
        "frame counts differ": len(set(counts.values())) > 1,
        "some frames are repeated": len(set(frames.tolist())) < len(frames),
        f"{nan_joints} joints are not numbers": nan_joints > 0,
        too_few(alignment.source): alignment.fallback,
    }
    return {
        "frames": frames.tolist(),
        "counts": counts,
        "alignment": {
            "method": alignment.method,
            "ratio": alignment.ratio,
            "scale": list(alignment.scale),
            "offset": list(alignment.offset),
            "residual_px": None if math.isnan(alignment.residual_px) else alignment.residual_px,
            "fallback": alignment.fallback,
            **({"source": alignment.source} if alignment.fallback else {}),
        },
        "notes": [note for note, applies in notes.items() if applies],
    }
