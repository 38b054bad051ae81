"""Small files in NTU RGB+D's layout, and how an error must read."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import av
import numpy as np
from PIL import Image

from labkit.data.skeletons import single_body, write_skeleton
from labkit.errors import LabError

COLOR, DEPTH = (320, 180), (85, 70)  # width, height: Kinect v2's divided by 6
RATIO, OFFSET = 2.89, (-13.2, 2.6)


def write_video(path: Path, frames=14, size=COLOR, *, codec="mpeg4", b_frames=0, seed=0) -> np.ndarray:
    """A video with a key frame every 12 frames; returns the pictures as they were before encoding."""
    width, height = size
    texture = np.random.default_rng(seed).integers(0, 256, (height // 4 + frames, width // 4, 3), np.uint8)
    pictures = [np.kron(texture[t : t + height // 4], np.ones((4, 4, 1), np.uint8)) for t in range(frames)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={"g": "12", "bf": str(b_frames)})
        stream.width, stream.height, stream.pix_fmt = width, len(pictures[0]), "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return np.stack(pictures)


def write_depth(path: Path, depth: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(depth.astype(np.uint16)).save(path)


def write_depth_frames(folder: Path, frames=14, seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    depth = rng.integers(1500, 4000, (frames, DEPTH[1], DEPTH[0]), dtype=np.uint16)
    depth[:, :10] = 0
    shutil.rmtree(folder, ignore_errors=True)
    for number, image in enumerate(depth, start=1):
        write_depth(folder / f"MDepth-{number:08d}.png", image)
    return depth


def write_joints(path: Path, frames=14, seed=0) -> None:
    rng = np.random.default_rng(seed)
    depth_xy = rng.uniform((10, 10), (75, 60), (frames, 25, 2))
    path.parent.mkdir(parents=True, exist_ok=True)
    color_xy = (depth_xy - OFFSET) * RATIO
    z = rng.uniform(2, 4, (frames, 25, 1))
    xyz = np.concatenate([(depth_xy - np.divide(DEPTH, 2)) * z / 61, z], axis=-1)  # 61 px: a Kinect v2's divided by 6
    write_skeleton(path, single_body(xyz, depth_xy, color_xy, np.full((frames, 25), 2)))


def paths_of(root: Path, name: str) -> dict[str, Path]:
    return {
        "rgb": root / "nturgb+d_rgb" / f"{name}_rgb.avi",
        "depth": root / "nturgb+d_depth_masked" / name,
        "skeleton": root / "nturgb+d_skeletons" / f"{name}.skeleton",
    }


def write_clip(root: Path, name: str, frames=14, seed=None) -> dict[str, Path]:
    """All three modalities of a clip; content depends on its name, or on `seed`."""
    seed, paths = zlib.crc32(name.encode()) if seed is None else seed, paths_of(root, name)
    write_video(paths["rgb"], frames, seed=seed)
    write_depth_frames(paths["depth"], frames, seed)
    write_joints(paths["skeleton"], frames, seed)
    return paths


def assert_mendable(error: LabError, path: Path | str) -> None:
    """One line that says which file, what was expected, what was found and what to do."""
    message = str(error)
    assert Path(error.path).name == Path(path).name
    assert Path(path).name in message and "\n" not in message
    assert "expected" in error.reason and "found" in error.reason and error.fix and "Fix: " in message
