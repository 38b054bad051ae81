"""Small data roots in the true layouts of the sets that the lab reads: the same names, fewer and smaller clips."""

from __future__ import annotations

import zlib
from pathlib import Path

import av
import numpy as np
from ntu_files import write_depth, write_video
from PIL import Image
from scipy.io import savemat

COLOR, DEPTH = (64, 48), (32, 24)  # width, height: 640x480 and 320x240 divided by 10
FRAMES = 6


def content(name: str, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """RGB (T,48,64,3) and depth (T,24,32) in mm of a clip, which depend on its name alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    rgb = np.kron(rng.integers(0, 256, (frames, 6, 8, 3), np.uint8), np.ones((1, 8, 8, 1), np.uint8))
    depth = np.kron(rng.integers(1500, 4000, (frames, 3, 4), dtype=np.uint16), np.ones((1, 8, 8), np.uint16))
    depth[:, :2] = 0
    return rgb, depth


def save_picture(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=95)


def write_depth_video(path: Path, depth: np.ndarray, pixels: str = "gray16le", rate: int = 30) -> None:
    """Lossless video of uint16 (T,H,W); `pixels` "gray" keeps eight of the bits."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *depth.shape[1:], pixels
        for image in depth:
            frame = av.VideoFrame.from_ndarray(image, format="gray16le").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_ucla(root: Path, clips: list[tuple[int, str]]) -> None:
    """`clips`: view and name such as a01_s01_e00. Skeleton and visualised depth lie there, too."""
    for view, name in clips:
        folder = root / "multiview_action" / f"view_{view}" / name
        for number, (rgb, depth) in enumerate(zip(*content(f"{view}{name}"), strict=True), start=9):
            stem = f"frame_{number}_tc_{90467351 + 33 * number}"
            save_picture(folder / f"{stem}_rgb.jpg", rgb)
            write_depth(folder / f"{stem}_depth.png", depth)
            save_picture(folder / f"{stem}_depth_vis.jpg", rgb)
            (folder / f"{stem}_skeletons.txt").write_text("1,1\n", encoding="utf-8")
    (root / "multiview_action" / "view_1" / "fileList.txt").touch()


def write_uwa(root: Path, clips: list[str]) -> None:
    """Depth under its own id; RGB under the one whose last digit is 1, as the paper's code expects it."""
    for name in clips:
        for number, (rgb, depth) in enumerate(zip(*content(name), strict=True), start=1):
            save_picture(root / "UWA3D-RGB" / f"{name[:-1]}1" / f"{number:03d},.jpg", rgb)
            write_depth(root / "UWA3D-Depth" / "WholeFrames" / name / f"{number:03d}.png", depth)


def write_utd(root: Path, clips: list[str]) -> None:
    for name in clips:
        write_video(root / "RGB" / f"{name}_color.avi", FRAMES, COLOR, seed=zlib.crc32(name.encode()))
        (root / "Depth").mkdir(exist_ok=True)
        savemat(root / "Depth" / f"{name}_depth.mat", {"d_depth": np.moveaxis(content(name)[1], 0, 2)})


def write_pair(base: Path, stem: str, kind: str = "image", *, registered=False) -> tuple[np.ndarray, np.ndarray]:
    """`base`/<stem>_color.* and <stem>_depth.*: "image", "folder" or "video"; returns what was written."""
    rgb, depth = content(f"{base.name}/{stem}", 1 if kind == "image" else FRAMES)
    if registered:
        depth = depth.repeat(2, axis=1).repeat(2, axis=2)
    base.mkdir(parents=True, exist_ok=True)
    if kind == "image":
        save_picture(base / f"{stem}_color.png", rgb[0])
        write_depth(base / f"{stem}_depth.png", depth[0])
    elif kind == "folder":
        for number, (picture, image) in enumerate(zip(rgb, depth, strict=True)):
            save_picture(base / f"{stem}_color" / f"{number}.png", picture)
            write_depth(base / f"{stem}_depth" / f"{number}.png", image)
    else:
        write_video(base / f"{stem}_color.mp4", FRAMES, COLOR, codec="libx264")
        write_depth_video(base / f"{stem}_depth.mkv", depth)
    return rgb, depth
