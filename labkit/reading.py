"""One clip from its files to aligned pixels in all modalities asked for.

Frames are evenly spaced over the shorter of RGB and depth, since recordings differ by a frame or more.
A frame of the skeleton or of the boxes is the one of the same number; where the skeleton ends before,
its last one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .alignment import Alignment, align_pair, crop_color, fit_alignment
from .clips import sample_frames
from .config import ClipConfig
from .errors import LabError
from .maps import FLOW_SIDE, flow_map, flow_pair, layout_map, read_boxes, skeleton_map
from .media import count_frames, depth_files, read_depth_frames, read_video
from .roots import SIDECARS, Entry
from .skeletons import Skeleton, read_skeleton


@dataclass(frozen=True)
class _View:
    """What the maps of one clip are drawn from."""

    entry: Entry
    frames: np.ndarray  # (T,) the stored ones
    num_frames: int  # there are in the shorter of RGB and depth
    video: dict[int, np.ndarray]  # colour frames by number, whole
    skeleton: Skeleton
    depth_box: tuple
    color_box: tuple
    size: int


def read_aligned(entry: Entry, config: ClipConfig) -> tuple[dict[str, np.ndarray], dict]:
    """`config.modalities` of a clip, each (T,S,S,3) uint8 or, for depth, (T,S,S) uint16 mm; and what was found.

    Raises LabError when a file is missing or damaged.
    """
    skeleton = read_skeleton(entry.paths["skeleton"], allow_nan=True)
    counts = {
        "rgb": count_frames(entry.paths["rgb"]),
        "depth": len(depth_files(entry.paths["depth"])),
        "skeleton": skeleton.num_frames,
    }
    shorter = min(counts["rgb"], counts["depth"])
    frames = sample_frames(shorter, config.stored_frames)
    wanted = frames.tolist()
    if "flow" in config.modalities:
        wanted = [number for frame in frames.tolist() for number in (frame, *flow_pair(frame, shorter))]
    wanted = sorted(set(wanted))
    video = dict(zip(wanted, read_video(entry.paths["rgb"], wanted), strict=True))
    depth = read_depth_frames(entry.paths["depth"], frames)
    sizes = {"depth_size": depth.shape[2:0:-1], "color_size": video[wanted[0]].shape[1::-1]}  # (width, height)
    alignment = fit_alignment(skeleton, config.alignment, **sizes)
    pairs = [align_pair(video[frame], mm, alignment, config.size) for frame, mm in zip(frames, depth, strict=True)]
    rgb, depth = (np.stack(images) for images in zip(*pairs, strict=True))
    pixels = {"rgb": rgb, "depth": depth}
    view = _View(entry, frames, shorter, video, skeleton, *alignment.crop_boxes(**sizes), config.size)
    for modality in config.modalities:
        if modality not in pixels:
            pixels[modality] = _MAPS[modality](view)
    crop = {"box": list(view.color_box), "of": list(sizes["color_size"])}  # colour pixels; width, height
    return {m: pixels[m] for m in config.modalities}, {**_found(skeleton, frames, counts, alignment), "crop": crop}


def _flow(view: _View) -> np.ndarray:
    """From the crop at FLOW_SIDE pixels, where that is more than its size."""
    side = max(view.size, FLOW_SIDE)

    pairs = [flow_pair(frame, view.num_frames) for frame in view.frames.tolist()]
    crops = {frame: crop_color(view.video[frame], view.color_box, side) for pair in pairs for frame in pair}
    return np.stack([flow_map(crops[before], crops[after], size=view.size) for before, after in pairs])


def _skeleton(view: _View) -> np.ndarray:
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


def _found(skeleton: Skeleton, frames: np.ndarray, counts: dict[str, int], alignment: Alignment) -> dict:
    """What a record keeps of how a clip was read."""
    notes = {
        "frame counts differ": len(set(counts.values())) > 1,
        "some frames are repeated": len(set(frames.tolist())) < len(frames),
        f"{skeleton.nan_joints} joints are not numbers": skeleton.nan_joints > 0,
        "too few tracked joints, the camera's usual alignment is used": alignment.fallback,
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
        },
        "notes": [note for note, applies in notes.items() if applies],
    }
