"""Registration of the RGB and the depth image from skeleton joints (paper, supplement section 2).

The two cameras of a Kinect differ in resolution, field of view and place, but every tracked joint
is known in both images. The paper scales the RGB frame by one ratio per video and shifts it until
the skeletons coincide; what both images then show is cropped from each and resized.

Coordinates are pixels, x right and y down, (0, 0) the top left corner; sizes are (width, height).
Boxes are (left, top, right, bottom), real-valued, right and bottom excluded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from .errors import LabError

Size = tuple[int, int]
Box = tuple[float, float, float, float]

MIN_SEPARATION = 1.0  # depth px; closer joints divide noise by noise
_FAR = 1e6  # px; no image is as large, and larger numbers would overflow
MIN_PAIRS = 10  # joint pairs per axis, below which a ratio is not trusted
_FIX = "leave this clip out, or take another clip's alignment"


@dataclass(frozen=True)
class Alignment:
    """depth_xy = color_xy / scale + offset, for each axis."""

    method: str  # "ratio", "affine" or "none"
    scale: tuple[float, float]  # colour px per depth px, along x and y
    offset: tuple[float, float]  # depth px: where the colour image's corner falls
    residual_px: float = float("nan")  # median distance of the joints, depth px; NaN without joints
    fallback: bool = False  # this clip has too few joints: another alignment stands in
    source: str = ""  # whose, in words; "" for the clip's own

    @property
    def ratio(self) -> float:
        """r of the supplement: the mean of both axes, which agree but for method "affine"."""
        return (self.scale[0] + self.scale[1]) / 2

    def to_depth(self, color_xy: ArrayLike) -> np.ndarray:
        """(..., 2) colour pixels to depth pixels."""
        return np.asarray(color_xy, float) / self.scale + self.offset

    def to_color(self, depth_xy: ArrayLike) -> np.ndarray:
        """(..., 2) depth pixels to colour pixels."""
        return (np.asarray(depth_xy, float) - self.offset) * self.scale

    def crop_boxes(self, depth_size: Size, color_size: Size) -> tuple[Box, Box]:
        """What both cameras see: the box in the depth image and the same box in the colour image.

        Raises LabError when they overlap in less than one pixel.
        """
        first = np.maximum(0, self.to_depth((0, 0)))
        last = np.minimum(depth_size, self.to_depth(color_size))
        if not (last - first >= 1).all():
            found = f"{first.tolist()} to {last.tolist()}"
            fix = "compare the image sizes with those the joints were mapped to"
            raise LabError.mismatch(None, "images that overlap", found, fix)
        color = np.clip([self.to_color(first), self.to_color(last)], 0, color_size)  # rounding
        return (*first.tolist(), *last.tolist()), tuple(color.ravel().tolist())


def pair_ratios(depth_xy: np.ndarray, color_xy: np.ndarray, tracked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour distance over depth distance of every pair of joints, along x and along y.

    `depth_xy`, `color_xy` (N, joints, 2), `tracked` (N, joints) bool; a row is one body in one
    frame and pairs are formed within rows. Dropped: joints that are not tracked, all-zero, not
    finite or absurdly far (10^6 px), and, along each axis, pairs no more than MIN_SEPARATION
    apart.
    """
    depth_xy, color_xy = np.asarray(depth_xy, float), np.asarray(color_xy, float)
    valid = _usable(depth_xy, color_xy, tracked)
    a, b = np.triu_indices(depth_xy.shape[1], k=1)
    rows, pairs = np.nonzero(valid[:, a] & valid[:, b])
    a, b = a[pairs], b[pairs]
    depth = depth_xy[rows, a] - depth_xy[rows, b]  # (pairs, 2)
    color = color_xy[rows, a] - color_xy[rows, b]
    apart = np.abs(depth) > MIN_SEPARATION
    x, y = apart.T
    return color[x, 0] / depth[x, 0], color[y, 1] / depth[y, 1]


def _usable(depth_xy: np.ndarray, color_xy: np.ndarray, tracked: np.ndarray) -> np.ndarray:
    farthest = np.abs(np.concatenate([depth_xy, color_xy], axis=-1)).max(axis=-1)
    zero = (depth_xy == 0).all(axis=-1) | (color_xy == 0).all(axis=-1)  # a known defect of NTU files
    return np.asarray(tracked, bool) & (farthest < _FAR) & ~zero  # NaN is not < _FAR


def estimate_ratio(depth_xy: np.ndarray, color_xy: np.ndarray, tracked: np.ndarray) -> float:
    """r: the mean of the median pair ratios along x and y; arguments as in `pair_ratios`.

    Supplement, section 2. Raises LabError when an axis has no pair of usable joints.
    """
    rx, ry = pair_ratios(depth_xy, color_xy, tracked)
    if not min(len(rx), len(ry)):
        raise LabError.mismatch(None, "pairs of tracked joints", "none on one axis", _FIX)
    return float((np.median(rx) + np.median(ry)) / 2)


def fit_alignment(depth_xy: np.ndarray, color_xy: np.ndarray, tracked: np.ndarray, method: str = "ratio") -> Alignment:
    """The alignment of one clip from its joints, arguments as in `pair_ratios` (supplement, section 2).

    "ratio": the paper's, one scale for both axes. "affine": one scale per axis, by robust least
    squares. (A full 2x3 map would fit the cameras' slight roll too, 0.1 px in the median on two NTU
    clips, but a rolled frame cannot be cropped to a rectangle.)

    Raises LabError for another method, where an axis has fewer than MIN_PAIRS pairs of joints, and
    where most pairs of an axis are in opposite order in the two images.
    """
    if method not in ("ratio", "affine"):
        raise LabError.mismatch(None, 'method "ratio" or "affine"', repr(method), "use one of those")
    rx, ry = pair_ratios(depth_xy, color_xy, tracked)
    if min(len(rx), len(ry)) < MIN_PAIRS or min(np.median(rx), np.median(ry)) <= 0:
        expected = f"at least {MIN_PAIRS} pairs of tracked joints per axis, all in the same order"
        raise LabError.mismatch(None, expected, f"{len(rx)} and {len(ry)}", _FIX)
    return align_points(depth_xy, color_xy, tracked, method)


def align_points(depth_xy: np.ndarray, color_xy: np.ndarray, tracked: np.ndarray, method: str = "ratio") -> Alignment:
    """As `fit_alignment`, from as few points as there are.

    The offset is the median over joints of depth - color / ratio; the paper does not say which.
    """
    ratio = estimate_ratio(depth_xy, color_xy, tracked)
    valid = _usable(depth_xy, color_xy, tracked)
    depth, color = np.asarray(depth_xy, float)[valid], np.asarray(color_xy, float)[valid]  # (joints, 2)
    scale = np.full(2, ratio)
    offset = np.median(depth - color / scale, axis=0)
    if method == "affine":
        slope, offset = np.transpose([_robust_line(color[:, axis], depth[:, axis], 1 / ratio) for axis in (0, 1)])
        scale = 1 / slope
    fitted = Alignment(method, tuple(scale.tolist()), tuple(offset.tolist()))
    residual = float(np.median(registration_error(fitted, depth, color)))
    return replace(fitted, residual_px=residual)


def _robust_line(x: np.ndarray, y: np.ndarray, slope: float, steps: int = 50) -> tuple[float, float]:
    """y = slope * x + intercept by reweighted least squares with Tukey's bisquare weights.

    Started from the robust `slope`, so that outliers, however far, end up with weight zero. If the
    points that remain do not determine a rising line, the last one that was determined is kept.
    """
    intercept = np.median(y - slope * x)
    for _ in range(steps):
        residual = y - (slope * x + intercept)
        spread = max(1.4826 * np.median(np.abs(residual)), 1e-9)  # MAD as a standard deviation
        weight = np.clip(1 - (residual / (4.685 * spread)) ** 2, 0, None) ** 2  # 95 % efficient
        mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
        variance = np.average((x - mean_x) ** 2, weights=weight)
        covariance = np.average((x - mean_x) * (y - mean_y), weights=weight)
        if variance < 1e-9 or covariance <= 0:
            break
        before, slope = slope, covariance / variance
        intercept = mean_y - slope * mean_x
        if abs(slope - before) < 1e-12 * slope:
            break
    return slope, intercept


def plain_alignment(depth_size: Size, color_size: Size) -> Alignment:
    """The whole colour image onto the whole depth image: both are resized, nothing is cropped."""
    scale = np.divide(color_size, depth_size)
    return Alignment("none", tuple(scale.tolist()), (0.0, 0.0))


def registration_error(alignment: Alignment, depth_xy: np.ndarray, color_xy: np.ndarray) -> np.ndarray:
    """(...) distance in depth pixels between `depth_xy` (..., 2) and the mapped `color_xy` (..., 2).

    The points correspond, as given by joints or by a known geometry; NaN stays NaN.
    """
    return np.linalg.norm(np.asarray(depth_xy, float) - alignment.to_depth(color_xy), axis=-1)


def align_pair(color: np.ndarray, depth: np.ndarray, alignment: Alignment, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Crop both images to what both show and resize to (size, size); the aspect is not kept.

    `color` (H, W, 3) uint8 is averaged over area; `depth` (h, w) uint16 millimetres takes the
    nearest pixel, since a mean of person and background is a distance where nothing is. Raises
    LabError for other kinds of image, or if they do not overlap.
    """
    if (color.dtype, color.shape[2:], depth.dtype, depth.shape[2:]) != (np.uint8, (3,), np.uint16, ()):
        expected = "an RGB image (H, W, 3) uint8 and a depth image (h, w) uint16"
        found = f"{color.shape} {color.dtype} and {depth.shape} {depth.dtype}"
        raise LabError.mismatch(None, expected, found, "read the images without conversion")
    depth_box, color_box = alignment.crop_boxes(depth.shape[1::-1], color.shape[1::-1])
    centres = (np.arange(size) + 0.5) / size
    left, top, right, bottom = depth_box
    rows = (top + centres * (bottom - top)).astype(int)
    columns = (left + centres * (right - left)).astype(int)
    return crop_color(color, color_box, size), depth[np.ix_(rows, columns)]


def crop_color(color: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The part of an RGB image (H, W, 3) uint8 in `box`, averaged over area to (size, size, 3)."""
    return np.array(Image.fromarray(color).resize((size, size), Image.Resampling.BILINEAR, box=box))
