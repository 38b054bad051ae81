"""Exact pictures of simple solids: which solid a pixel sees, at what depth, under what light.

Pinhole cameras, capsules and boxes, a z-buffer. All frames of a clip are drawn at once, each solid
only inside the window of pixels it can touch; every formula is in metres, so any picture size works.
Camera coordinates are those of the Kinect SDK: x right, y up, z forward along the optical axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import radians, tan

import numpy as np

FAR = np.float32(np.inf)  # depth of a pixel that sees nothing


@dataclass(frozen=True)
class Camera:
    """A pinhole. Pixels are counted from the picture's top-left corner, so the first one's centre is at
    (0.5, 0.5), as crops and resizing count them. `offset` is added to x (metres).
    """

    width: int
    height: int
    fx: float
    fy: float
    offset: float = 0.0

    @classmethod
    def from_fov(cls, width: int, height: int, fov_x: float, fov_y: float, offset: float = 0.0) -> Camera:
        """The camera of that picture size whose field of view is `fov_x` x `fov_y` degrees."""
        fx, fy = (size / 2 / tan(radians(fov) / 2) for size, fov in ((width, fov_x), (height, fov_y)))
        return cls(width, height, fx, fy, offset)

    @property
    def cx(self) -> float:
        return self.width / 2

    @property
    def cy(self) -> float:
        return self.height / 2

    def project(self, xyz: np.ndarray) -> np.ndarray:
        """(..., 3) metres -> (..., 2) pixels."""
        x = self.cx + self.fx * (xyz[..., 0] + self.offset) / xyz[..., 2]
        y = self.cy - self.fy * xyz[..., 1] / xyz[..., 2]
        return np.stack([x, y], axis=-1)

    def unproject(self, pixels: np.ndarray, z: np.ndarray) -> np.ndarray:
        """(..., 2) pixels at depth z (...) -> (..., 3) metres."""
        x = (pixels[..., 0] - self.cx) / self.fx * z - self.offset
        return np.stack([x, (self.cy - pixels[..., 1]) / self.fy * z, z], axis=-1)


@dataclass(frozen=True)
class Capsule:
    """All points within `radius` (at `start`) to `end_radius` of a segment; `start`, `end` are (T,3)."""

    label: int
    start: np.ndarray
    end: np.ndarray
    radius: float
    end_radius: float

    def corners(self) -> tuple[np.ndarray, float]:
        return np.stack([self.start, self.end], axis=1), max(self.radius, self.end_radius)

    def moved(self, matrix: np.ndarray, shift: np.ndarray) -> Capsule:
        """Every point p becomes matrix (3,3) times p, plus shift (3,)."""
        ends = (_map(matrix, place) + shift for place in (self.start, self.end))
        return Capsule(self.label, *ends, self.radius, self.end_radius)

    def at(self, frames: slice) -> Capsule:
        return replace(self, start=self.start[frames], end=self.end[frames])


@dataclass(frozen=True)
class Box:
    """A box with `center` (T,3), orthonormal `axes` (T,3,3; one axis a row) and half sizes `half` (3,)."""

    label: int
    center: np.ndarray
    axes: np.ndarray
    half: np.ndarray

    def corners(self) -> tuple[np.ndarray, float]:
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T  # (8,3)
        reach = (signs * self.half)[None, :, :, None] * self.axes[:, None]  # (T,8,3,3)
        return self.center[:, None] + reach.sum(2), 0.0

    def moved(self, matrix: np.ndarray, shift: np.ndarray) -> Box:
        """Every point p becomes matrix (3,3) times p, plus shift (3,)."""
        axes = _map(matrix, self.axes)
        return Box(self.label, _map(matrix, self.center) + shift, axes, self.half)

    def at(self, frames: slice) -> Box:
        return replace(self, center=self.center[frames], axes=self.axes[frames])


def _map(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Products and sums one by one, rounded to 10 micrometres: the same numbers on every machine."""
    return ((matrix * points[..., None, :]).sum(-1)).round(5)


Solid = Capsule | Box


@dataclass(frozen=True)
class Picture:
    """What each pixel sees, (T,H,W) each: depth in metres (inf: nothing), label (0: nothing), light 0..1."""

    z: np.ndarray
    label: np.ndarray
    light: np.ndarray


def render(camera: Camera, solids: list[Solid], num_frames: int, light: np.ndarray) -> Picture:
    """The solids, given in the coordinates of the depth camera, as `camera` sees them.

    `light` (3,) is the unit direction towards the lamp; a surface facing it gets 1, one facing away 0.
    """
    shape = (num_frames, camera.height, camera.width)
    z, label = np.full(shape, FAR), np.zeros(shape, np.uint8)
    brightness = np.zeros(shape, np.float32)
    for solid in solids:
        rays = _Rays(camera, *solid.corners())
        surface_z, surface_light = _hit(solid, rays, camera.offset, light)
        nearer = surface_z < z.ravel()[rays.index]
        seen = rays.index[nearer]
        z.ravel()[seen] = surface_z[nearer]
        label.ravel()[seen] = solid.label
        brightness.ravel()[seen] = np.clip(surface_light[nearer], 0, 1)
    return Picture(z, label, brightness)


class _Rays:
    """The rays (x, y, 1) of a window of pixels that holds the given points in every frame."""

    def __init__(self, camera: Camera, points: np.ndarray, radius: float):
        nearest = np.maximum(points[..., 2] - radius, 0.1)
        pixels = camera.project(points)
        margin = radius / nearest[..., None] * np.array([camera.fx, camera.fy]) * 1.1 + 1
        size = np.array([camera.width, camera.height])
        low = np.clip(np.floor((pixels - margin).min(1)), 0, size - 1).astype(np.int64)  # (T,2)
        high = np.clip(np.ceil((pixels + margin).max(1)), 0, size - 1).astype(np.int64)
        window = (high - low).max(0) + 1
        low = np.minimum(low, size - window)
        columns = low[:, :1] + np.arange(window[0])  # (T,w)
        rows = low[:, 1:] + np.arange(window[1])  # (T,h)
        frames = np.arange(len(points))[:, None, None]
        self.index = (frames * camera.height + rows[:, :, None]) * camera.width + columns[:, None]
        self.x = ((columns + 0.5 - camera.cx) / camera.fx).astype(np.float32)[:, None, :]
        self.y = ((camera.cy - 0.5 - rows) / camera.fy).astype(np.float32)[:, :, None]
        self.square = self.x**2 + self.y**2 + 1

    def dot(self, vector: np.ndarray) -> np.ndarray:
        """Inner product with one vector a frame, (T,3) -> (T,h,w)."""
        v = vector.astype(np.float32)[:, :, None, None]
        return (self.x * v[:, 0] + v[:, 2]) + self.y * v[:, 1]


def _hit(solid: Solid, rays: _Rays, offset: float, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth (inf where the ray misses) and light of the first crossing, (T,h,w) each."""
    shift = np.array([offset, 0.0, 0.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(solid, Capsule):
            return _hit_capsule(solid, solid.start + shift, rays, light)
        return _hit_box(solid, solid.center + shift, rays, light)


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def _hit_capsule(capsule: Capsule, start: np.ndarray, rays: _Rays, light: np.ndarray):
    """A capsule is a union of balls: find where the ray enters the endless tube, clip that place to
    the segment, and meet the ball centred there. Exact for equal radii, close for a tapered limb.
    """
    axis = capsule.end - capsule.start
    length2 = _column(np.maximum((axis**2).sum(-1), 1e-8))
    along, start2 = _column((axis * start).sum(-1)), _column((start**2).sum(-1))
    ray_start, ray_axis, inverse = rays.dot(start), rays.dot(axis), 1 / rays.square
    across2 = np.maximum(length2 - ray_axis**2 * inverse, 1e-6 * length2)
    towards = ray_start * ray_axis * inverse - along
    widest = np.float32(max(capsule.radius, capsule.end_radius))
    gap = widest**2 - (start2 - ray_start**2 * inverse - towards**2 / across2)
    tube_z = (ray_start + towards / across2 * ray_axis) * inverse
    tube_z -= np.sqrt(np.maximum(gap, 0) * length2 * inverse / across2)
    place = np.clip((tube_z * ray_axis - along) / length2, 0, 1)
    radius = np.float32(capsule.radius) + place * np.float32(capsule.end_radius - capsule.radius)
    ray_ball = ray_start + place * ray_axis
    inside = radius**2 - (start2 + 2 * place * along + place**2 * length2) + ray_ball**2 * inverse
    z = np.where((gap > 0) & (inside > 0), ray_ball * inverse - np.sqrt(inside * inverse), FAR)
    lamp = rays.dot(np.broadcast_to(light, start.shape))
    ball_light = _column((start * light).sum(-1)) + place * _column((axis * light).sum(-1))
    return z, np.where(z < FAR, (z * lamp - ball_light) / radius, 0)


def _hit_box(box: Box, center: np.ndarray, rays: _Rays, light: np.ndarray):
    """The ray is inside the box while it is inside all three pairs of parallel planes."""
    enter, leave, face = -FAR, FAR, np.float32(0)
    for k in range(3):
        slope = rays.dot(box.axes[:, k])
        middle = _column((center * box.axes[:, k]).sum(-1))
        thick = np.float32(box.half[k])
        first, last = (middle - thick) / slope, (middle + thick) / slope
        first, last = np.minimum(first, last), np.maximum(first, last)
        facing = -np.sign(slope) * _column((box.axes[:, k] * light).sum(-1))
        face = np.where(first > enter, facing, face)
        enter, leave = np.maximum(enter, first), np.minimum(leave, last)
    return np.where((enter < leave) & (enter > 0), enter, FAR), face
