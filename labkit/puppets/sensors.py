"""The two cameras and the body tracker of the embedded set, and what each does to the clean truth.

Kinect v2: colour 1920x1080 over 84.1 x 53.8 degrees, depth 512x424 over 70.6 x 60 degrees, 52 mm apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ..config import PuppetNuisance
from ..data.skeletons import Skeleton, single_body
from .actions import OBJECT_COLORS
from .body import FOREGROUND, LABEL, LABELS, Person
from .rendering import Camera, Picture

BASELINE = 0.052  # metres; the colour camera sees everything that far to the right
AZIMUTHS = {1: 0.0, 2: 45.0, 3: -45.0}  # degrees around the stage, for each camera number


def sensors(scale: int) -> tuple[Camera, Camera]:
    """Depth and colour camera, both resolutions divided by `scale` (colour sizes kept even for video)."""
    depth = Camera.from_fov(512 // scale, 424 // scale, 70.6, 60.0)
    width, height = (2 * round(size / scale / 2) for size in (1920, 1080))
    return depth, Camera.from_fov(width, height, 84.1, 53.8, BASELINE)


@dataclass(frozen=True)
class Viewpoint:
    """Where a pair of cameras stands: on a circle around the stage, `height` above the floor (metres)."""

    azimuth: float  # degrees; 0 is straight in front
    distance: float
    height: float
    pitch: float  # degrees downwards

    @property
    def outward(self) -> np.ndarray:
        """(3,) unit, level, from the stage's middle towards the cameras."""
        return np.array([np.sin(np.radians(self.azimuth)), 0, np.cos(np.radians(self.azimuth))])

    def transform(self) -> tuple[np.ndarray, np.ndarray]:
        """(3,3) and (3,): stage coordinates p become matrix p + shift in the depth camera's."""
        down, level = np.sin(np.radians(self.pitch)), np.cos(np.radians(self.pitch))
        forward, up = -self.outward, np.array([0.0, 1, 0])
        right = self.outward[[2, 1, 0]] * [1, 0, -1]
        matrix = np.stack([right, level * up + down * forward, level * forward - down * up])
        position = -self.distance * forward + self.height * up
        return matrix, -(matrix * position).sum(-1)


# --------------------------------------------------------------------------- colour


def object_color(kind: str, rng: np.random.Generator, cue: float) -> np.ndarray:
    """One RGB colour, 0..1, of a class of OBJECT_COLORS (cue 1), or part of the way to it from grey."""
    hue, strength, value = (middle + half * rng.uniform(-1, 1) for middle, half in OBJECT_COLORS[kind])
    return 0.5 + cue * (_rgb(hue, strength, value) - 0.5)


def _rgb(hue: float, strength: float, value: float) -> np.ndarray:
    """HSV in 0..1 to RGB in 0..1."""
    sectors = np.array([5.0, 3.0, 1.0]) + 6 * hue
    ramp = np.clip(np.minimum(sectors % 6, 4 - sectors % 6), 0, 1)
    return value * (1 - np.clip(strength, 0, 1) * ramp)


def albedos(who: Person, thing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour of every label, (labels, 3) in 0..1; what the person does not decide is drawn."""
    hand = np.array(who.skin)
    table = {
        "shirt": who.shirt, "sleeve": who.shirt, "trousers": who.trousers, "shoes": rng.uniform(0.05, 0.5, 3),
        "skin": who.skin, "hair": who.hair, "left hand": hand, "right hand": hand, "object": thing,
        "cap": rng.uniform(0.05, 0.95, 3), "chair": rng.uniform(0.1, 0.7, 3),
        "occluder": rng.uniform(0.1, 0.8, 3),
    }  # fmt: skip
    return np.array([table.get(name, (0, 0, 0)) for name in LABELS], np.float32)


@dataclass(frozen=True)
class Lighting:
    """The lamp of one performance, shared by its three cameras."""

    direction: np.ndarray  # (3,) unit, towards the lamp, stage coordinates
    ambient: float  # share of light that comes from everywhere

    @classmethod
    def draw(cls, nuisance: PuppetNuisance, rng: np.random.Generator) -> Lighting:
        direction = np.array([0.3, 1.0, 0.8]) + rng.normal(0, 1.0, 3) * nuisance.light * [1, 0.3, 1]
        ambient = 0.6 - 0.35 * nuisance.light * rng.random()
        return cls(direction / np.sqrt((direction**2).sum()), ambient)


def backdrop(
    camera: Camera, who: Person, horizon: float, nuisance: PuppetNuisance, rng: np.random.Generator
) -> np.ndarray:
    """Wall, floor and clutter, (H,W,3) uint8. `horizon`: where the floor begins, 0 top to 1 bottom."""
    wall, floor = rng.uniform(0.15, 0.9, 3), rng.uniform(0.15, 0.6, 3)
    wall, floor = (grey + nuisance.room_colors * (color - grey) for grey, color in ((0.6, wall), (0.4, floor)))
    wall = np.array(who.shirt) * (1 - nuisance.contrast) + wall * nuisance.contrast
    size = np.array([camera.width, camera.height])
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    image[:] = 255 * wall
    image[int(horizon * camera.height) :] = (255 * floor).astype(np.uint8)
    for _ in range(round(40 * nuisance.clutter)):
        center, reach = rng.uniform(0, 1, 2), rng.uniform(0.015, 0.11, 2) * [0.7, 1.0]
        kind = ("cold", "warm", "light", "dark", "any")[rng.integers(5)]
        color = rng.uniform(0.05, 0.95, 3) if kind == "any" else object_color(kind, rng, 0.8)
        color, turned = (255 * color).astype(int).tolist(), rng.uniform(0, 180)
        middle, half = (center * size).astype(int).tolist(), np.maximum(reach * size, 1)
        if rng.random() < 0.5:
            cv2.ellipse(image, middle, half.astype(int).tolist(), turned, 0, 360, color, -1)
        else:
            corners = cv2.boxPoints((middle, (2 * half).tolist(), turned if rng.random() < 0.5 else 0))
            cv2.fillConvexPoly(image, corners.astype(np.int32), color)
    shade = np.linspace(1, 1 - 0.3 * nuisance.light * rng.random(), camera.width)[:: rng.choice([-1, 1])]
    return (image * shade[None, :, None]).astype(np.uint8)


def color_frames(
    picture: Picture, colors: np.ndarray, ambient: float, background: np.ndarray, gain: float,
    image_noise: float, rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """What the colour camera records at that exposure: (T,H,W,3) uint8, RGB."""
    behind = np.clip(background * np.float32(gain), 0, 255).astype(np.uint8)
    frames = np.broadcast_to(behind, (*picture.label.shape, 3)).copy()
    seen = picture.label > 0
    light = np.float32(ambient) + np.float32(1 - ambient) * picture.light[seen]
    lit = colors[picture.label[seen]] * (light * np.float32(255 * 1.25 * gain))[:, None]
    frames[seen] = np.clip(lit, 0, 255)
    for frame in frames:
        cv2.GaussianBlur(frame, (3, 3), 0.6, dst=frame)
        noise = rng.integers(0, 64, 2)
        noise = _noise(frame.shape, image_noise)[noise[0] :, noise[1] :][: len(frame), : frame.shape[1]]
        cv2.add(frame, noise, dst=frame, dtype=cv2.CV_8U)
    return frames


@lru_cache(maxsize=1)
def _noise(shape: tuple[int, ...], size: float) -> np.ndarray:
    """One sheet of noise, 64 pixels larger than a frame; each frame takes another place of it."""
    sheet = np.random.default_rng(len(LABELS)).normal(0, size, (shape[0] + 64, shape[1] + 64, 3))
    return sheet.round().astype(np.int16)


# --------------------------------------------------------------------------- depth

_SEGMENT = 5  # frames, a third of a second: how long a loss of the hands lasts
_HANDS = np.isin(np.arange(len(LABELS)), [LABEL["left hand"], LABEL["right hand"], LABEL["object"]])


def depth_frames(picture: Picture, nuisance: PuppetNuisance, rng: np.random.Generator) -> np.ndarray:
    """What the depth camera records, masked: (T,H,W) uint16 millimetres, 0 where there is no person."""
    num_frames = len(picture.label)
    mask = (picture.label > 0) & (picture.label <= FOREGROUND)
    z = np.where(mask, picture.z, 0).astype(np.float32)
    square = z * z
    square3 = np.ones((3, 3), np.uint8)
    edge = mask & ~np.stack([cv2.erode(frame.view(np.uint8), square3) > 0 for frame in mask])
    chance = rng.random(z.shape, np.float32)
    z += np.where(edge & (chance < nuisance.flying), rng.random(z.shape, np.float32) * 0.5, 0)
    z += square * rng.standard_normal(z.shape, np.float32) * np.float32(nuisance.depth_noise / 1000)
    step = np.maximum(square * np.float32(nuisance.depth_step / 1000), np.float32(1e-4))
    z = np.round(z / step) * step
    mask &= ~_patches(mask, nuisance.dropout, rng)
    lost = rng.random(-(-num_frames // _SEGMENT)) < nuisance.hand_dropout
    mask &= ~(_HANDS[picture.label] & np.repeat(lost, _SEGMENT)[:num_frames, None, None])
    return np.where(mask, np.clip(np.round(z * 1000), 1, 65535), 0).astype(np.uint16)


def _patches(mask: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Moving patches that cover that share of the mask: a smooth random field above its quantile."""
    num_frames, height, width = mask.shape
    coarse = rng.standard_normal((num_frames // 4 + 2, 14, 17)).astype(np.float32)
    moments = np.arange(num_frames) / 4
    before, part = moments.astype(int), (moments % 1).astype(np.float32)[:, None, None]
    field = coarse[before] * (1 - part) + coarse[before + 1] * part
    field = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in field])
    if share <= 0 or not mask.any():
        return np.zeros_like(mask)
    return field > np.quantile(field[mask], 1 - share)


# --------------------------------------------------------------------------- joints

# parent of each joint; a bone's orientation turns the y axis into the direction from its parent
_PARENT = [0, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11]
_HIDDEN = 0.25  # metres of something in front of a joint: more than any limb is thick


def track_joints(
    joints: np.ndarray,
    picture: Picture,
    cameras: tuple[Camera, Camera],
    jitter: float,
    rng: np.random.Generator,
) -> Skeleton:
    """What the body tracker reports of true `joints` (T,25,3): shaken, and inferred (state 1) where hidden.

    As with the real sensor, the pixels in both images are the projections of the reported position.
    """
    depth, color = cameras
    state = np.where(_visible(joints, picture, depth), 2, 1)
    size = jitter * np.where(state == 2, 1, 5)[..., None]
    seen = joints + size * rng.normal(size=joints.shape).clip(-3, 3)
    bone = seen - seen[:, _PARENT]
    bone = bone / np.maximum(np.sqrt((bone**2).sum(-1, keepdims=True)), 1e-9)
    quaternion = np.stack([1 + bone[..., 1], bone[..., 2], 0 * bone[..., 0], -bone[..., 0]], axis=-1)
    quaternion /= np.maximum(np.sqrt((quaternion**2).sum(-1, keepdims=True)), 1e-9)
    return single_body(seen, depth.project(seen), color.project(seen), state, orientation=quaternion)


def _visible(joints: np.ndarray, picture: Picture, camera: Camera) -> np.ndarray:
    """(T,25) bool: the depth camera sees the person at the joint's pixel, close before the joint."""
    x, y = np.moveaxis(np.floor(camera.project(joints)).astype(int), -1, 0)
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    place = (np.arange(len(joints))[:, None], y.clip(0, camera.height - 1), x.clip(0, camera.width - 1))
    label, surface = picture.label[place], picture.z[place]
    return inside & (label > 0) & (label <= FOREGROUND) & (surface > joints[..., 2] - _HIDDEN)
