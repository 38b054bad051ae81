"""The frames of one modality of one clip, whatever they are kept in.

A path is a video, one image, a folder of images, a MATLAB file, or images given by a name with one `*`
in its last part (`frame_*_rgb.jpg`, for folders that hold several modalities). Images stand in the
order of the numbers in their names. What the `*` stands for is the frame's key: where both modalities
have keys, frames of one key belong together; otherwise frames of one position do.

A single image is a clip of one frame; `sample_frames` repeats it as often as a stream asks for frames.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import LabError
from ..files import check_plain
from .video import (
    DEPTH_NAME,
    FETCH,
    MAX_DEPTH_PIXELS,
    MAX_VIDEO_PIXELS,
    PILLOW_ERRORS,
    count_frames,
    depth_files,
    read_depth,
    read_depth_video,
    read_video,
    told_by_pillow,
)

VIDEOS = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm")
# Kinds that do not say how many frames they hold, so that a cut one could not be told from a whole one.
OTHER_VIDEOS = (".mpg", ".mpeg", ".wmv", ".asf", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".gif")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
MATLAB = ".mat"
MAT_DEPTH = "d_depth"  # UTD-MHAD: 240x320xT
MAX_MAT_VALUES = 1 << 28  # 2,000 frames of 320x240; a hostile header could ask for more


def natural(name: str) -> tuple:
    """A sorting key by which frame_2 stands before frame_10."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name))


@dataclass(frozen=True)
class Frames:
    """The frames at `path`, not yet read; raises LabError from whatever looks at them."""

    path: Path

    @cached_property
    def kind(self) -> str:
        """ "video", "mat" or "images"."""
        ending = self.path.suffix.lower()
        if self.path.is_dir():
            return "images"
        if ending in OTHER_VIDEOS:
            expected = f"a video of a kind that declares its length: {', '.join(VIDEOS)}"
            raise LabError.mismatch(self.path, expected, ending, "convert it to MP4 or Matroska")
        return "video" if ending in VIDEOS else "mat" if ending == MATLAB else "images"

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds a frame, in order."""
        if self.kind != "images" or self.path.is_file():
            return (self.path,)
        if not self.path.is_dir() and "*" not in self.path.name:
            found = "a link to nothing" if self.path.is_symlink() else "none"
            raise LabError.mismatch(self.path, "a file or a folder of images", found, FETCH)
        pattern = None if self.path.is_dir() else re.escape(self.path.name).replace(r"\*", "(.*)")
        folder = self.path if pattern is None else self.path.parent
        try:
            names = sorted((item.name for item in os.scandir(folder) if item.is_file()), key=natural)
        except OSError as error:
            raise LabError.mismatch(folder, "a folder of images", error.strerror, FETCH) from error
        if pattern is not None:
            chosen = [name for name in names if re.fullmatch(pattern, name)]
        elif any(map(DEPTH_NAME.fullmatch, names)):
            return tuple(depth_files(folder))  # NTU's: numbered without a gap
        else:
            chosen = [name for name in names if name.lower().endswith(PICTURES)]
        if not chosen:
            found = f"{len(names)} other files" if names else "none"
            raise LabError.mismatch(self.path, "images", found, FETCH)
        return tuple(Path(folder, name) for name in chosen)

    @property
    def keys(self) -> list[str] | None:
        """What the `*` of the path stands for in each frame's name; None without a `*`."""
        if "*" not in self.path.name or self.path.exists():
            return None
        before, _, after = self.path.name.partition("*")
        return [file.name[len(before) : len(file.name) - len(after)] for file in self.files]

    @cached_property
    def count(self) -> int:
        """How many frames there are, as far as it can be told without decoding one."""
        if self.kind == "video":
            return count_frames(self.path)
        return _mat_shape(self.path)[2] if self.kind == "mat" else len(self.files)

    def rgb(self, indices: Sequence[int]) -> np.ndarray:
        """Frames `indices` in colour: uint8 (n,H,W,3)."""
        if self.kind == "video":
            return read_video(self.path, indices)
        if self.kind == "mat":
            raise LabError.mismatch(self.path, "colour frames: a video or images", "a MATLAB file", FETCH)
        return self._stack(read_picture, indices)

    def depth(self, indices: Sequence[int], unit: float = 1.0) -> np.ndarray:
        """Frames `indices` of depth: uint16 (n,H,W) in millimetres, 0 for no reading.

        `unit` is millimetres per count of the file. LabError when a distance exceeds 65.5 m.
        """
        if self.kind == "video":
            counts = read_depth_video(self.path, indices)
        elif self.kind == "mat":
            counts = read_mat_depth(self.path)[list(indices)]
        else:
            counts = self._stack(read_depth, indices)
        if unit == 1:
            return counts
        millimetres = np.rint(counts * np.float64(unit))
        if millimetres.max(initial=0) > np.iinfo(np.uint16).max:
            found = f"{millimetres.max() / 1000:.0f} m"
            fix = "give the depth unit in millimetres per count (0.1 for tenths)"
            raise LabError.mismatch(self.path, "depth up to 65.5 m", found, fix)
        return millimetres.astype(np.uint16)

    def _stack(self, read, indices: Sequence[int]) -> np.ndarray:
        outside = [index for index in indices if not 0 <= index < len(self.files)]
        if outside or not len(indices):
            expected, found = f"frames from 0 to {len(self.files) - 1}", outside[0] if outside else "none"
            raise LabError.mismatch(self.path, expected, found, "choose them with sample_frames")
        images = {index: read(self.files[index]) for index in {int(index) for index in indices}}
        shapes = {image.shape for image in images.values()}
        if len(shapes) > 1:
            raise LabError.mismatch(self.path, "images of one size", f"{sorted(shapes)}", FETCH)
        return np.stack([images[int(index)] for index in indices])


def pair_frames(modalities: dict[str, Frames]) -> dict[str, list[int]]:
    """For each modality the positions of the frames that all of them share, in order of time.

    By key where every modality has keys, else the first frames of each, as many as the shortest has.
    Raises LabError when they share none.
    """
    keys = {name: frames.keys for name, frames in modalities.items()}
    if any(found is None for found in keys.values()):
        shortest = min(frames.count for frames in modalities.values())
        return {name: list(range(shortest)) for name in modalities}
    common = set.intersection(*(set(found) for found in keys.values()))
    if not common:
        first = next(iter(modalities.values())).path
        found = {name: names[0] for name, names in keys.items()}
        raise LabError.mismatch(first, "frames of one name in all modalities", found, FETCH)
    return {name: [n for n, key in enumerate(found) if key in common] for name, found in keys.items()}


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """An 8-bit JPEG, PNG or BMP: uint8 (H,W,3), RGB; grey becomes grey RGB. The header is judged first."""
    try:
        check_plain(path)
        data = Path(path).read_bytes()
        with _opened(path, data) as image:
            if image.mode not in ("RGB", "L", "P"):
                raise LabError.mismatch(path, "an 8-bit RGB picture", f"mode {image.mode}", FETCH)
            if image.format == "PNG":
                image.verify()
        with _opened(path, data) as image:
            return np.asarray(image.convert("RGB"))
    except PILLOW_ERRORS as error:
        found = told_by_pillow(error, "PNG, JPEG or BMP")
        raise LabError.mismatch(path, "a readable picture", found, FETCH) from error


def _opened(path: str | os.PathLike, data: bytes) -> Image.Image:
    """A picture of which only the header was read, of a size within the lab's limit."""
    found, image = "", None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow's own limits are others
            image = Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "BMP"])
        if not 0 < image.width * image.height <= MAX_VIDEO_PIXELS:
            found = f"{image.width}x{image.height}"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        found = "".join(re.findall(r"\d+", str(error))[:1]) or "more"
    if found:
        raise LabError.mismatch(path, f"a picture of at most {MAX_VIDEO_PIXELS} pixels", found, FETCH)
    return image


def _mat_shape(path: Path) -> tuple[int, int, int]:
    """(H, W, T) of a MATLAB file's depth; only headers are read."""
    from scipy.io import whosmat  # a third of a second that other data sets need not wait for

    check_plain(path)
    try:
        shapes = {name: shape for name, shape, _ in whosmat(path, appendmat=False)}
    except Exception as error:  # SciPy raises whatever a damaged byte leads to
        raise LabError.mismatch(path, "a MATLAB file", error, FETCH) from error
    shape = tuple(map(int, shapes.get(MAT_DEPTH, ())))
    if len(shape) == 2:
        shape = (*shape, 1)  # MATLAB drops a last axis of one
    legal = len(shape) == 3 and 0 < np.prod(shape, dtype=float) <= MAX_MAT_VALUES
    if not legal or shape[0] * shape[1] > MAX_DEPTH_PIXELS:
        found = shapes or "none"
        raise LabError.mismatch(path, f"an array {MAT_DEPTH} of height x width x frames", found, FETCH)
    return shape


def read_mat_depth(path: str | os.PathLike) -> np.ndarray:
    """The depth of a MATLAB file: uint16 (T,H,W), counts as they stand. Nothing in it is executed."""
    from scipy.io import loadmat

    shape = _mat_shape(Path(path))
    try:
        array = np.asarray(loadmat(path, variable_names=[MAT_DEPTH], appendmat=False)[MAT_DEPTH])
        array = array.reshape(shape)
    except Exception as error:  # as above
        raise LabError.mismatch(path, "a readable MATLAB file", error, FETCH) from error
    whole = array.dtype.kind in "iuf" and bool((array == np.floor(array)).all())  # NaN is not its floor
    if not whole or array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
        raise LabError.mismatch(path, "whole numbers from 0 to 65535", f"{array.dtype} values", FETCH)
    return np.ascontiguousarray(np.moveaxis(array, 2, 0).astype(np.uint16))
