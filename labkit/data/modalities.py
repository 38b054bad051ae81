"""One clip from its files to aligned pixels in all modalities asked for.

RGB and depth are cropped to what both cameras see. Frames are evenly spaced over those that the two share
(`pairing.pair_frames`): recordings differ by a frame or more. A frame of the skeleton is the one of the same place as
the depth image's, a frame of the boxes that of their image's; where the skeleton ends before, its last one.

Other modalities are maps, drawn: a picture of one frame, uint8 (S,S,3), of what the crop shows, so that it
lies pixel on pixel over the crop's RGB and depth. Coordinates are continuous: pixel i covers [i, i + 1).
Boxes are (left, top, right, bottom), right and bottom excluded.

flow      red dx, green dy, blue speed of the RGB image; 128, 128, 0 is standing still
skeleton  red the left limbs and joints of all bodies, green the right ones, blue head and spine
layout    red persons, green hands, blue objects; the share of each pixel that a box covers
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from os import PathLike

import cv2
import numpy as np

from ..alignment import (
    Alignment,
    Box,
    Size,
    align_pair,
    crop_color,
    fit_alignment,
    plain_alignment,
)
from ..clips import STILL, sample_frames
from ..config import ClipConfig
from ..errors import LabError
from .index import SETTINGS, SIDECARS, Entry, read_written
from .media.pairing import pair_frames
from .media.video import Frames
from .skeletons import Skeleton, read_skeleton
from .store import Pixels

# Chosen against the joints of the embedded set, whose faster ones move by 6 % of the side per frame: from
# a frame to its neighbour DIS finds 64 % of that; from there to the third, 8 %, since limbs are lost.
FLOW_GAP = 1  # frames
FLOW_SIDE = 160  # px; smaller crops leave patches of 8 px too coarse
FLOW_RANGE = 1 / 16  # of the side of the map; 0.2 % of the pixels of the embedded set are cut
FLOW_BLUR = 1 / 80  # of the side, standard deviation, against the noise of the sensor and of the codec
FLOW_SMOOTHNESS = 5  # DIS's "alpha"; at its own value of 20 thin limbs melt into the background
FLOW_CHANGE = (1.0, 2.0)  # grey levels, mean around a pixel: below the first nothing moves, see `dense_flow`
CHANGE_WINDOW = 1 / 32  # of the side, standard deviation of "around"
STEPS = 127  # dx and dy lie in STILL - 127 ... STILL + 127

# Kinect v2's 25 joints, in NTU's order, as the lines of a stick figure.
BONES = (
    (0, 1), (1, 20), (20, 2), (2, 3), (20, 4), (4, 5), (5, 6), (6, 7), (7, 21), (7, 22), (20, 8), (8, 9),
    (9, 10), (10, 11), (11, 23), (11, 24), (0, 12), (12, 13), (13, 14), (14, 15), (0, 16), (16, 17),
    (17, 18), (18, 19),
)  # fmt: skip
LEFT, RIGHT = (4, 5, 6, 7, 12, 13, 14, 15, 21, 22), (8, 9, 10, 11, 16, 17, 18, 19, 23, 24)
SIDE_OF_JOINT = [0 if joint in LEFT else 1 if joint in RIGHT else 2 for joint in range(25)]
LINE_WIDTH = 1 / 32  # of the map's side, about the width of a forearm
_SUBPIXEL = 4  # bits behind the point in OpenCV's coordinates
_FAR = 1e4  # px; no joint of use lies further from the crop, and OpenCV's coordinates would overflow

LAYOUT = (("person",), ("left_hand", "right_hand"), ("object",))  # the groups of boxes in each channel
RESIZED = "resized after their joints were found"
SAME_SIZE = 0.17  # share by which the sizes may differ: an Azure Kinect's depth camera looks 8 % below the middle
KINECT_DEPTH, KINECT_COLOR = (512, 424), (1920, 1080)  # Kinect v2, full resolution
KINECT_RATIO = 2.88  # middle of seven NTU clips: 2.864 to 2.903
KINECT_OFFSET = (-80.0, 17.0)  # depth px, middle of the same clips: x -75 to -85, y 11 to 23
NOMINAL = "a Kinect v2's nominal alignment"  # Alignment.source of `kinect_alignment`
_BOXES_FIX = "mend this file, or leave layout out of ClipConfig.modalities"


def flow_pair(frame: int, num_frames: int) -> tuple[int, int]:
    """The two source frames whose flow stands for `frame`: itself and the one FLOW_GAP later.

    Where the clip ends before, both move back until they lie inside; a clip of no more than FLOW_GAP
    frames is compared from its first to its last.
    """
    first = min(frame, max(num_frames - 1 - FLOW_GAP, 0))
    return first, min(first + FLOW_GAP, num_frames - 1)


def flow_map(before: np.ndarray, after: np.ndarray, size: int) -> np.ndarray:
    """Dense optical flow between two RGB pictures uint8 (H,H,3), as a map uint8 (size,size,3).

    DIS (Kroeger et al., ECCV 2016; OpenCV's) on grey values, see `dense_flow`. Red is 128 + 127 dx / limit,
    dx in pixels of the map, right positive; green the same of dy, down positive; blue 255 |flow| / limit;
    all rounded and cut at the limit, FLOW_RANGE of the size. Averaged over area where `size`
    is smaller than the pictures.
    """
    flow = dense_flow(before, after) * np.float32(size / len(before))
    if size != len(before):
        flow = cv2.resize(flow, (size, size), interpolation=cv2.INTER_AREA)
    flow /= np.float32(size * FLOW_RANGE)
    speed = np.sqrt((flow**2).sum(axis=-1, keepdims=True))
    levels = np.concatenate([STILL + STEPS * np.clip(flow, -1, 1), 255 * np.minimum(speed, 1)], axis=-1)
    return np.rint(levels).astype(np.uint8)


def dense_flow(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """float32 (H,W,2): where each pixel of `before` uint8 (H,W,3) went, (dx, dy) in pixels.

    On a plain wall noise moves anywhere, most of all where a video starts a new group of pictures. So
    where grey values hardly change the flow is faded out: nothing moving explains such a place, too.
    The result does not depend on the number of cores.
    """
    side = len(before)
    if np.array_equal(before, after):  # a still; otherwise found to stand still by much work
        return np.zeros((side, side, 2), np.float32)
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after)]
    first, second = (cv2.GaussianBlur(picture, (0, 0), side * FLOW_BLUR) for picture in grey)
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setUseMeanNormalization(False)  # it would raise the noise of plain patches
    method.setVariationalRefinementAlpha(FLOW_SMOOTHNESS)
    with _one_thread():
        flow = method.calc(first, second, None)
    change = cv2.GaussianBlur(cv2.absdiff(first, second).astype(np.float32), (0, 0), side * CHANGE_WINDOW)
    still, moving = FLOW_CHANGE
    return flow * np.clip((change - still) / (moving - still), 0, 1)[..., None]


@contextmanager
def _one_thread() -> Iterator[None]:
    """DIS cuts the picture into as many stripes as there are threads, and its result depends on them."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def skeleton_map(depth_xy: np.ndarray, state: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The bodies of one frame as limbs and joints, uint8 (size,size,3), lines anti-aliased.

    `depth_xy` (bodies,25,2) pixels of the depth image, `state` (bodies,25), `box` the crop of the depth
    image. Joints that are not tracked (state 0), not finite, all-zero or absurdly far away are left
    out, and with them the limbs they end.
    """
    xy = (np.asarray(depth_xy, float) - box[:2]) * (size / (np.array(box[2:]) - box[:2]))
    with np.errstate(invalid="ignore"):
        seen = (np.asarray(state) > 0) & (np.abs(xy).max(axis=-1) < _FAR) & (depth_xy != 0).any(axis=-1)
    fixed = np.rint((np.where(seen[..., None], xy, 0) - 0.5) * 2**_SUBPIXEL).astype(int).tolist()
    width = max(1, round(size * LINE_WIDTH))
    channels = np.zeros((3, size, size), np.uint8)
    pen = {"color": 255, "lineType": cv2.LINE_AA, "shift": _SUBPIXEL}
    for joints, drawn in zip(fixed, seen, strict=True):
        for start, end in BONES:
            if drawn[start] and drawn[end]:
                cv2.line(channels[SIDE_OF_JOINT[end]], joints[start], joints[end], thickness=width, **pen)
        for joint in np.flatnonzero(drawn):
            radius = round(0.75 * width * 2**_SUBPIXEL)
            cv2.circle(channels[SIDE_OF_JOINT[joint]], joints[joint], radius, thickness=-1, **pen)
    return channels.transpose(1, 2, 0)


def layout_map(boxes: dict[str, Sequence[float] | None], box: Box, size: int) -> np.ndarray:
    """The boxes of one frame by group (see LAYOUT), filled: uint8 (size,size,3).

    `box` is the crop of the image they are measured in; None stands for what is hidden.
    """
    edges = np.arange(size)
    drawn = np.zeros((size, size, 3))
    for channel, groups in enumerate(LAYOUT):
        for group in groups:
            if boxes.get(group) is not None:
                corners = (np.array(boxes[group], float).reshape(2, 2) - box[:2]) / np.subtract(box[2:], box[:2])
                low, high = corners * size
                across, down = (np.clip(np.minimum(b, edges + 1) - np.maximum(a, edges), 0, 1)
                                for a, b in zip(low, high, strict=True))  # fmt: skip
                np.maximum(drawn[..., channel], down[:, None] * across, out=drawn[..., channel])
    return np.rint(255 * drawn).astype(np.uint8)


def read_boxes(path: str | PathLike) -> dict[str, dict[str, list]]:
    """Boxes of a clip: by image ("color", "depth"), group (LAYOUT) and frame, [l, t, r, b] px or None.

    The file is JSON: {"boxes": {"color": {"person": [[l, t, r, b], null, ...], "left_hand": ...}}}. One
    of the two images is enough; groups may be missing. Raises LabError for any other content.
    """
    content = read_written(path)
    boxes = content.get("boxes") if isinstance(content, dict) else None
    if not isinstance(boxes, dict) or not boxes or not set(boxes) <= {"color", "depth"}:
        raise LabError.mismatch(path, 'boxes of "color" or "depth"', "none", _BOXES_FIX)
    known = {group for groups in LAYOUT for group in groups}
    for image, groups in boxes.items():
        if not isinstance(groups, dict) or not set(groups) <= known:
            raise LabError.mismatch(path, f"groups {', '.join(sorted(known))} of {image}", "others", _BOXES_FIX)
        for group, frames in groups.items():
            if not isinstance(frames, list) or not all(frame is None or _is_box(frame) for frame in frames):
                expected = f"[left, top, right, bottom) or null for each frame of {image} {group}"
                raise LabError.mismatch(path, expected, "something else", _BOXES_FIX)
    return boxes


def _is_box(frame: object) -> bool:
    numbers = isinstance(frame, list) and len(frame) == 4
    numbers = numbers and all(isinstance(n, (int, float)) and abs(n) < _FAR for n in frame)
    return numbers and frame[0] <= frame[2] and frame[1] <= frame[3]


# -- one clip ------------------------------------------------------------------------------------

StandIn = Callable[[Size, Size], Alignment]


@dataclass(frozen=True)
class _View:
    """What the maps of one clip are drawn from."""

    entry: Entry
    places: dict[str, list[int]]  # of the T stored frames among all of the "color" and the "depth" image
    pairs: list[tuple[int, int]]  # T, of frames whose flow stands for each of these
    video: dict[int, np.ndarray]  # whole colour frames by number among those that RGB and depth share
    skeleton: Skeleton | None
    depth_box: tuple
    color_box: tuple
    size: int


def kinect_alignment(depth_size: Size, color_size: Size) -> Alignment:
    """What a Kinect v2 needs on average, for images of any common division of its resolution.

    Raises LabError for sizes that differ from Kinect v2's in shape by more than 3 %.
    """
    by_depth = np.divide(depth_size, KINECT_DEPTH)
    by_color = np.divide(color_size, KINECT_COLOR)
    if max(np.ptp(by_depth) / by_depth.max(), np.ptp(by_color) / by_color.max()) > 0.03:
        expected = f"image sizes shaped like {KINECT_DEPTH} and {KINECT_COLOR}"
        found = f"{tuple(depth_size)} and {tuple(color_size)}"
        fix = "leave this clip out: its cameras are not a Kinect v2 and it has too few joints"
        raise LabError.mismatch(None, expected, found, fix)
    scale = KINECT_RATIO * by_color / by_depth
    offset = np.array(KINECT_OFFSET) * by_depth
    return Alignment("ratio", tuple(scale.tolist()), tuple(offset.tolist()), fallback=True, source=NOMINAL)


def read_aligned(entry: Entry, config: ClipConfig, stand_in: StandIn = kinect_alignment) -> tuple[Pixels, dict]:
    """`config.modalities` of a clip, each (T,S,S,3) uint8 or, for depth, (T,S,S) uint16 mm; and what was found.

    `stand_in` gives the alignment of a clip with too few tracked joints, from (width, height) of its depth
    and of its colour images; see `prepare.stand_in`. Raises LabError when a file is missing or damaged.
    """
    paths = entry.paths
    skeleton = read_skeleton(paths["skeleton"], allow_nan=True) if "skeleton" in paths else None
    sources = {modality: Frames(paths[modality]) for modality in ("rgb", "depth")}
    rgb_at, depth_at, remark = pair_frames(sources["rgb"], sources["depth"])
    frames = sample_frames(len(rgb_at), config.stored_frames).tolist()
    places = {"color": [rgb_at[frame] for frame in frames], "depth": [depth_at[frame] for frame in frames]}
    pairs = [flow_pair(frame, len(rgb_at)) for frame in frames if "flow" in config.modalities]
    wanted = sorted({*frames, *chain(*pairs)})
    pictures = sources["rgb"].rgb([rgb_at[number] for number in wanted])
    video = dict(zip(wanted, pictures, strict=True))
    depth = sources["depth"].depth(places["depth"], entry.recording.depth_unit)
    sizes = {"depth_size": depth.shape[2:0:-1], "color_size": pictures.shape[2:0:-1]}  # (width, height)
    _check_sizes(entry, skeleton, **sizes)
    joints = None if entry.recording.registered else skeleton
    alignment = align_clip(joints, config.alignment, **sizes, stand_in=stand_in)
    both = [align_pair(video[frame], mm, alignment, config.size) for frame, mm in zip(frames, depth, strict=True)]
    rgb, depth = map(np.stack, zip(*both, strict=True))
    view = _View(entry, places, pairs, video, skeleton, *alignment.crop_boxes(**sizes), config.size)
    pixels = {"rgb": rgb, "depth": depth}
    pixels |= {modality: _MAPS[modality](view) for modality in config.modalities if modality in _MAPS}
    counts = {modality: source.count for modality, source in sources.items()}
    crop = {"box": list(view.color_box), "of": list(sizes["color_size"])}  # colour pixels; width, height
    remarks = [remark, *(source.tracks for source in sources.values())]
    found = _found(skeleton, frames, counts, alignment, remarks)
    return {m: pixels[m] for m in config.modalities}, {**found, "crop": crop}


def align_clip(skeleton: Skeleton | None, method: str, depth_size: Size, color_size: Size,
               stand_in: StandIn = kinect_alignment) -> Alignment:  # fmt: skip
    """The alignment of one clip, from all bodies of all its frames, for images (width, height) of these sizes.

    "ratio" and "affine": see `alignment.fit_alignment`. "none", or without a skeleton: both images are resized as
    they are. Joints of state 2 are used, those of state 1 too where the former are too few. Where these are too few
    as well, the result is `stand_in` of the sizes, with `fallback` set. Raises LabError for another method.
    """
    if skeleton is None or method == "none":
        return plain_alignment(depth_size, color_size)
    if method not in ("ratio", "affine"):
        raise LabError.mismatch(skeleton.path, 'method "ratio", "affine" or "none"', repr(method), "use one of those")
    for least_state in (2, 1):
        try:
            return fit_alignment(*skeleton.joints(least_state), method)
        except LabError:
            continue
    return replace(stand_in(depth_size, color_size), method=method)


def _check_sizes(entry: Entry, skeleton: Skeleton | None, depth_size: Size, color_size: Size) -> None:
    """LabError where registered images differ in shape, or joints were mapped to images of another size.

    See `Skeleton.mapped_size`.
    """
    (width, height), (color_width, color_height) = depth_size, color_size
    if entry.recording.registered and abs(width * color_height - height * color_width) > max(color_width, color_height):
        found = f"depth {width}x{height}, RGB {color_width}x{color_height}"
        fix = f'set "registered" to false in {SETTINGS}, or in the line of a table that says true'
        raise LabError.mismatch(entry.paths["depth"], "registered images of one shape", found, fix)
    for modality, image, size in (("depth", "depth", depth_size), ("RGB", "color", color_size)):
        mapped = None if skeleton is None else skeleton.mapped_size(image)
        if mapped is not None and np.abs(np.divide(mapped, size) - 1).max() > SAME_SIZE:
            about, fix = "{:.0f}x{:.0f}".format(*mapped), "take the images as they were recorded"
            expected = f"images that were not {RESIZED}, {modality} of about {about} for these joints"
            raise LabError.mismatch(entry.paths[modality.lower()], expected, f"{modality} {size[0]}x{size[1]}", fix)


def _flow(view: _View) -> np.ndarray:
    """From the crop at FLOW_SIDE pixels, where that is more than its size."""
    side = max(view.size, FLOW_SIDE)
    crops = {frame: crop_color(view.video[frame], view.color_box, side) for frame in chain(*view.pairs)}
    return np.stack([flow_map(crops[before], crops[after], view.size) for before, after in view.pairs])


def _skeleton(view: _View) -> np.ndarray:
    if view.skeleton is None:
        fix = "leave skeleton out of ClipConfig.modalities"
        raise LabError.mismatch(None, f"a skeleton of {view.entry.id}", "none", fix)
    joints, places = view.skeleton, view.places["depth"]
    drawn = np.zeros((len(places), view.size, view.size, 3), np.uint8)
    for place, frame in enumerate(np.minimum(places, joints.num_frames - 1)):
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
    shortest, places = min(map(len, boxes[image].values()), default=0), view.places[image]
    if shortest <= places[-1]:
        fix = "give a box or null for every frame"
        raise LabError.mismatch(path, f"boxes of {places[-1] + 1} frames", shortest, fix)
    of_frame = [{group: frames[place] for group, frames in boxes[image].items()} for place in places]
    return np.stack([layout_map(groups, crop, view.size) for groups in of_frame])


_MAPS = {"flow": _flow, "skeleton": _skeleton, "layout": _layout}


def too_few(source: str) -> str:
    """The note on a clip that another alignment stands in for."""
    return f"too few tracked joints; {source} is used"


def _found(skeleton: Skeleton | None, frames: list[int], counts: dict[str, int], alignment: Alignment,
           remarks: list[str]) -> dict:  # fmt: skip
    """What a record keeps of how a clip was read."""
    nan_joints = 0
    if skeleton is not None:
        counts, nan_joints = counts | {"skeleton": skeleton.num_frames}, skeleton.nan_joints
    notes = {
        "frame counts differ": len(set(counts.values())) > 1,
        # an image is no clip cut short
        "some frames are repeated": min(counts.values()) > 1 and len(set(frames)) < len(frames),
        f"{nan_joints} joints are not numbers": nan_joints > 0,
        too_few(alignment.source): alignment.fallback,
        **dict.fromkeys(filter(None, remarks), True),
    }
    return {
        "frames": frames,
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
