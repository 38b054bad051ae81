"""One performance of the embedded set: put on stage, filmed by its cameras, written as NTU files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ..config import PuppetNuisance, PuppetsConfig
from ..data.skeletons import write_skeleton
from ..files import atomic_folder, atomic_path, sha256_bytes, sha256_file, sha256_json, write_text
from .actions import (
    BY_NUMBER,
    FRAME_RATE,
    OBJECT_COLORS,
    SHAPES,
    Action,
    Performance,
    perform,
    sit_down,
)
from .body import LABEL, Person, generator, person
from .rendering import Box, Camera, Solid, render
from .sensors import (
    AZIMUTHS,
    BASELINE,
    Lighting,
    Viewpoint,
    albedos,
    backdrop,
    color_frames,
    depth_frames,
    object_color,
    sensors,
    track_joints,
)

PUPPETS_VERSION = 1  # raise it when the same config would give other files
KEY_FRAME_EVERY = 12  # as in NTU's RGB files
_QUALITY = 4  # quantiser of MPEG-4, 2 (best) to 31
_CHUNK = 4_000_000  # colour pixels rendered at once: bounds memory at scale 1
_GROUPS = {  # of labels, around which a record has boxes
    "person": ("shirt", "sleeve", "trousers", "shoes", "skin", "hair", "left hand", "right hand"),
    "left_hand": ("left hand",), "right_hand": ("right hand",), "object": ("object",),
}  # fmt: skip


def clip_name(subject: int, camera: int, action: int) -> str:
    """Setup 1 and replication 1 throughout."""
    return f"S001C{camera:03d}P{subject:03d}R001A{action:03d}"


def clip_files(root: Path, name: str) -> dict[str, Path]:
    """Where the parts of a clip lie; "depth" is a folder."""
    return {
        "rgb": root / f"nturgb+d_rgb/{name}_rgb.avi",
        "depth": root / f"nturgb+d_depth_masked/{name}",
        "skeleton": root / f"nturgb+d_skeletons/{name}.skeleton",
        "record": root / f"puppets/{name}.json",
    }


def recipe(config: PuppetsConfig) -> str:
    """Hash of all that decides the content of a clip; which clips there are is not part of it."""
    return sha256_json([PUPPETS_VERSION, config.seed, config.scale, asdict(config.nuisance)])


def make_performance(job: tuple[Path, PuppetsConfig, int, int, tuple[int, ...]]) -> int:
    """One subject doing one action once, filmed by several cameras at the same time.

    `job`: root, config, A-number, subject, cameras. Returns how many clips were written.
    """
    cv2.setNumThreads(1)  # processes share the work already
    root, config, number, subject, cameras = job
    action, seed, nuisance = BY_NUMBER[number], config.seed, config.nuisance
    who, rng = person(seed, subject, nuisance.style), generator(seed, "stage", subject, number)
    shape, kind, thing = cast_object(config, action, subject)
    facts = {
        "action": number, "action_name": action.name, "cue": action.cue, "subject": subject, "object": shape,
        "object_color": kind, "handedness": "left" if who.left_handed else "right", "recipe": recipe(config),
    }  # fmt: skip
    show = perform(action, who, nuisance, shape, seed, f"{subject}/{number}")
    show = _placed(show, action, nuisance, rng)
    lighting, colors = Lighting.draw(nuisance, rng), albedos(who, thing, rng)
    distance, height = rng.uniform(*nuisance.distance), rng.uniform(0.9, 1.4)
    for camera in cameras:
        rng = generator(seed, "clip", subject, number, camera)
        pitch = np.degrees(np.arctan2(height - 0.95, distance)) + rng.uniform(-2, 2)
        view = Viewpoint(AZIMUTHS[camera], distance, height, float(pitch))
        name = clip_name(subject, camera, number)
        record = facts | {"name": name, "camera": camera, "frames": show.num_frames}
        scene = Scene(show, who, view, lighting, colors, (seed, "room", subject % max(nuisance.rooms, 1)))
        _make_clip(clip_files(root, name), record, scene, config, rng)
    return len(cameras)


def cast_object(config: PuppetsConfig, action: Action, subject: int) -> tuple[str, str, np.ndarray]:
    """Shape, colour class and RGB (0..1) of what the subject holds. Shapes are free of the action, and
    so is the colour unless the action's rule names its class.
    """
    rng = generator(config.seed, "object", subject, action.number)
    shape, kind = SHAPES[rng.integers(len(SHAPES))], action.object_color
    if kind == "any":
        kind = list(OBJECT_COLORS)[rng.integers(len(OBJECT_COLORS))]
    return shape, kind, object_color(kind, rng, config.nuisance.color_cue)


def _placed(show: Performance, action: Action, nuisance: PuppetNuisance, rng: np.random.Generator) -> Performance:
    """From body to stage coordinates: turned and moved, with a chair to sit on (or just standing there)."""
    solids = list(show.solids)
    sits, chance = action.move is sit_down, rng.random()
    if sits or chance < 0.6:
        seat, back = 0.38, float(show.joints[:, 0, 2].min()) if sits else -0.25
        solids += _furniture("chair", show.num_frames, [(0, seat / 2, back, 0.21, seat / 2, 0.19)])
        solids += _furniture("chair", show.num_frames, [(0, 0.62, back - 0.21, 0.21, 0.24, 0.02)])
    turned = np.radians(rng.uniform(-1, 1) * nuisance.yaw)
    sine, cosine = np.sin(turned), np.cos(turned)
    matrix = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    shift = np.array([*rng.uniform(-1, 1, 2) * nuisance.placement, 0])[[0, 2, 1]]
    joints = (matrix * show.joints[..., None, :]).sum(-1) + shift
    return Performance([solid.moved(matrix, shift) for solid in solids], joints)


def _furniture(label: str, num_frames: int, boxes: list[tuple[float, ...]]) -> list[Solid]:
    """Upright boxes given as (center x y z, half sizes x y z), standing still."""
    still, axes = np.ones((num_frames, 1)), np.tile(np.eye(3), (num_frames, 1, 1))
    return [Box(LABEL[label], still * box[:3], axes, np.array(box[3:])) for box in boxes]


# --------------------------------------------------------------------------- one clip


@dataclass(frozen=True)
class Scene:
    """Everything two cameras at one viewpoint look at."""

    show: Performance
    who: Person
    view: Viewpoint
    lighting: Lighting
    colors: np.ndarray  # (labels,3)
    room: tuple[object, ...]  # seed and key of the subject's usual room

    def solids(self, nuisance: PuppetNuisance, rng: np.random.Generator) -> list[Solid]:
        """In the coordinates of the depth camera; now and then with furniture before the legs."""
        solids = list(self.show.solids)
        if rng.random() < nuisance.occluders:
            before, aside = rng.uniform(0.7, 1.0), rng.uniform(-0.45, 0.45)  # metres from the stage's middle
            half = rng.uniform([0.15, 0.2, 0.1], [0.4, 0.4, 0.2])
            place = before * self.view.outward + aside * self.view.outward[[2, 1, 0]] * [1, 0, -1]
            box = (place[0], half[1], place[2], *half)
            solids += _furniture("occluder", self.show.num_frames, [box])
        matrix, shift = self.view.transform()
        return [solid.moved(matrix, shift) for solid in solids]


def _make_clip(
    files: dict[str, Path],
    record: dict[str, Any],
    scene: Scene,
    config: PuppetsConfig,
    rng: np.random.Generator,
) -> None:
    """Film the scene and write all files of the clip; the record, which makes it count, comes last."""
    nuisance = config.nuisance
    depth, color = cameras = sensors(config.scale)
    matrix, shift = scene.view.transform()
    solids, lamp = scene.solids(nuisance, rng), (matrix * scene.lighting.direction).sum(-1)
    picture = render(depth, solids, record["frames"], lamp)
    joints = (matrix * scene.show.joints[..., None, :]).sum(-1) + shift
    write_skeleton(files["skeleton"], track_joints(joints, picture, cameras, nuisance.joint_jitter, rng), 6)
    depth_hash, depth_bytes = _write_depth(files["depth"], depth_frames(picture, nuisance, rng))
    boxes = {"depth": _boxes(picture.label), "color": {group: [] for group in _GROUPS}}
    film = _film(scene, color, solids, lamp, nuisance, rng, boxes["color"])
    _write_video(files["rgb"], film, (color.width, color.height))
    hashes = {part: sha256_file(files[part]) for part in ("rgb", "skeleton")} | {"depth": depth_hash}
    sizes = {part: files[part].stat().st_size for part in ("rgb", "skeleton")} | {"depth": depth_bytes}
    geometry = {"depth": asdict(depth), "color": asdict(color)}
    geometry |= {"baseline": BASELINE, "viewpoint": asdict(scene.view)}
    record = record | {"geometry": geometry, "boxes": boxes, "bytes": sizes, "sha256": hashes}
    write_text(files["record"], json.dumps(record, sort_keys=True) + "\n")


def _film(scene, camera, solids, lamp, nuisance, rng, boxes) -> Iterator[np.ndarray]:
    """Frames (H,W,3) uint8 of the colour camera, a chunk rendered at a time; fills in `boxes`."""
    background = _room(scene, camera, nuisance, rng)
    gain = 2 ** (np.clip(rng.normal(), -2, 2) * nuisance.exposure)
    num_frames, step = scene.show.num_frames, max(1, _CHUNK // (camera.width * camera.height))
    for start in range(0, num_frames, step):
        part = slice(start, min(start + step, num_frames))
        picture = render(camera, [solid.at(part) for solid in solids], part.stop - start, lamp)
        for group, found in _boxes(picture.label).items():
            boxes[group] += found
        yield from color_frames(
            picture, scene.colors, scene.lighting.ambient, background, gain, nuisance.image_noise, rng
        )


def _room(scene: Scene, camera: Camera, nuisance: PuppetNuisance, rng: np.random.Generator) -> np.ndarray:
    """What is behind the person, (H,W,3) uint8: in most clips one of a few rooms, which tells nothing of
    the action since all actions of several subjects are recorded there.
    """
    room = rng if rng.random() < nuisance.strange_rooms else generator(*scene.room, scene.view.azimuth)
    matrix, shift = scene.view.transform()
    corner = -room.uniform(1.0, 2.0) * scene.view.outward  # where the floor meets the wall
    horizon = camera.project((matrix * corner).sum(-1) + shift)[1] / camera.height
    return backdrop(camera, scene.who, float(np.clip(horizon, 0, 1)), nuisance, room)


def _boxes(label: np.ndarray) -> dict[str, list[list[int] | None]]:
    """Per frame [left, top, right, bottom) in pixels around each group of labels; None where hidden."""
    found = {}
    for group, names in _GROUPS.items():
        member = np.zeros(256, bool)
        member[[LABEL[name] for name in names]] = True
        mask = member[label]
        columns, rows = mask.any(1), mask.any(2)
        low = np.stack([columns.argmax(1), rows.argmax(1)], axis=1)
        high = np.array([columns.shape[1], rows.shape[1]])
        high = high - np.stack([columns[:, ::-1].argmax(1), rows[:, ::-1].argmax(1)], axis=1)
        edges = np.concatenate([low, high], axis=1).tolist()
        found[group] = [box if any_ else None for box, any_ in zip(edges, rows.any(1), strict=True)]
    return found


def _write_depth(folder: Path, frames: np.ndarray) -> tuple[str, int]:
    """MDepth-00000001.png and so on, 16 bit; the hash of all their bytes in order, and how many bytes."""
    images = [cv2.imencode(".png", frame)[1].tobytes() for frame in frames]
    with atomic_folder(folder) as temporary:
        for number, image in enumerate(images, start=1):
            (temporary / f"MDepth-{number:08d}.png").write_bytes(image)
    return sha256_bytes(b"".join(images)), sum(map(len, images))


def _write_video(path: Path, frames: Iterator[np.ndarray], size: tuple[int, int]) -> None:
    """MPEG-4 in AVI, one thread and no version strings: the same frames give the same bytes."""
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format="avi", options={"fflags": "+bitexact"}) as container,
    ):
        stream = container.add_stream("mpeg4", rate=FRAME_RATE)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = KEY_FRAME_EVERY
        stream.codec_context.options = {
            "flags": "+bitexact", "qmin": str(_QUALITY), "qmax": str(_QUALITY), "sc_threshold": "1000000000",
        }  # fmt: skip
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
