"""Video, depth and picture files, read strictly: the frames asked for, or an error that names the file.

A damaged recording often still decodes: a cut video ends early without a complaint, a depth image
read with the wrong reader loses eight of its sixteen bits. Nothing here ever returns fewer frames,
other frames or other bits than the file declares. Pictures and videos are turned as a player turns them.

`Frames` are those of one modality of one clip, whatever they are kept in: a video, one image, a folder of
images, a MATLAB file, or images given by a name with one `*` in its last part (`frame_*_rgb.jpg`, for folders
that hold several modalities). Images stand in the order of the numbers or times in their names; names that begin
with a dot are no frames. `pairing.pair_frames` says which frames of two modalities belong together.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.frame import PictureType
from PIL import Image, ImageOps, UnidentifiedImageError

from ...errors import LabError
from ...files import check_plain
from .matlab import FETCH, read_mat_depth

MAX_VIDEO_PIXELS = 4096 * 2304  # larger than any sensor named in the lab
MAX_DEPTH_PIXELS = 4_000_000  # Kinect v2 has 217,088; a hostile header could ask for gigabytes
DEPTH_NAME = re.compile(r"M?Depth-(\d{8})\.png", re.ASCII)
DEPTH_FORMAT = "gray16le"
NUMBER = r"\d+(?:\.\d+)?"  # in the name of a frame: its place, or its time
VIDEOS = (".avi", ".mp4", ".m4v", ".mov", ".mkv", ".webm")
# Kinds that do not say how many frames they hold, so that a cut one could not be told from a whole one.
OTHER_VIDEOS = (".mpg", ".mpeg", ".wmv", ".asf", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv", ".gif")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
MATLAB = ".mat"
PILLOW_ERRORS = (  # what Pillow raises for a damaged file
    OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, zlib.error,
    Image.DecompressionBombError,
)  # fmt: skip
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
MODES = {  # Pillow's names of what is no 16-bit grey
    "1": "1-bit", "L": "8-bit grey", "P": "8-bit palette", "RGB": "8-bit RGB", "RGBA": "8-bit RGB with alpha",
    "I;16": "16-bit grey",
}  # fmt: skip
# Only containers that hold their own frames, only from the disk: a play list could name other files.
CONTAINERS = "avi,mov,mp4,matroska"


# -- videos --------------------------------------------------------------------------------------


def read_video(path: str | os.PathLike, indices: Sequence[int] | None = None, *, seek: bool = True) -> np.ndarray:
    """Frames `indices` (all by default, repeats allowed) of a video: uint8 (n,H,W,3), RGB.

    With `seek` only the groups of pictures that hold a wanted frame are decoded. That gives the same pixels as
    decoding the whole file, because a group starts at a key frame; where frames may be stored out of
    order the whole file is decoded all the same. Raises LabError when the file is cut or damaged, when it
    declares another number of frames than it holds, or when an index lies outside.
    """
    return _read(path, indices, "rgb24", seek)


def frame_times(path: str | os.PathLike) -> np.ndarray:
    """When each frame of a video is shown: seconds after the first, float64 (n,).

    Nothing is decoded; LabError where the file holds another number of frames than its header declares.
    """
    with open_video(path) as (container, stream):
        packets, shown = _packets(path, container, stream)
        ticks = [packet.pts for packet in packets if not packet.is_discard]
        if None in ticks or len(ticks) < len(shown):  # an AVI has a rate and no times
            return np.arange(len(shown)) / float(stream.average_rate or 1)
        return (np.sort(ticks) - min(ticks)) * float(stream.time_base)


def tracks_told(path: str | os.PathLike, containers: str = CONTAINERS) -> str:
    """Which video track of several is read, in words; "" where there is one. Covers do not count."""
    with open_video(path, containers) as (container, stream):
        tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
        number = [track.index for track in tracks].index(stream.index) + 1 if len(tracks) > 1 else 0
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
    return f"{len(tracks)} video tracks: number {number}, {size}, is read" if number else ""


@contextmanager
def open_video(path: str | os.PathLike, containers: str = CONTAINERS) -> Iterator[tuple]:
    """An open container and the video stream that a player would show; what goes wrong inside becomes a LabError."""
    try:
        _check_riff_size(path)
        options = {"protocol_whitelist": "file", "format_whitelist": containers}
        with av.open(os.path.abspath(path), options=options) as container:
            stream = container.streams.best("video")
            if stream is not None and stream.frames == 1:  # a cover, unless all have one
                stream = max(container.streams.video, key=lambda track: track.frames)
            if stream is None:
                raise LabError.mismatch(path, "a video", "a file without a video stream", FETCH)
            context = stream.codec_context
            if context is None:
                raise LabError.mismatch(path, "a codec that can be decoded", "an unknown one", FETCH)
            if not 0 < context.width * context.height <= MAX_VIDEO_PIXELS:
                size = f"{context.width}x{context.height}"
                raise LabError.mismatch(path, f"frames of at most {MAX_VIDEO_PIXELS} pixels", size, FETCH)
            context.thread_count = 1  # frame threads would delay the output; clips run in parallel instead
            context.options = {"err_detect": "explode"}
            yield container, stream
    except (av.FFmpegError, OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise LabError.mismatch(path, "a readable video", found, FETCH) from error


def _check_riff_size(path: str | os.PathLike) -> None:
    """An AVI file declares its length in bytes; a cut file is shorter."""
    check_plain(path)
    with open(path, "rb") as file:
        head = file.read(8)
    declared = 8 + int.from_bytes(head[4:], "little")
    if head[:4] == b"RIFF" and os.path.getsize(path) < declared:
        raise LabError.mismatch(path, f"{declared} bytes", f"{os.path.getsize(path)} bytes (cut off)", FETCH)


def _packets(path: str | os.PathLike, container, stream) -> tuple[list, np.ndarray]:
    """One packet a coded frame, in file order, and for each frame shown its place among those decoded.

    Reading packets decodes nothing. A player shows no frame that an edit list leaves out, and the frame before
    once more where an AVI has an empty chunk.
    """
    edited = "mov" in container.format.name and stream.frames > 0  # its index is as the edit list has it
    declared = len(stream.index_entries) if edited else stream.frames
    packets = [packet for packet in container.demux(stream) if packet.size]
    if not packets or not packets[0].is_keyframe or any(packet.is_corrupt for packet in packets):
        found = f"{len(packets)} frames, one damaged or no key frame first"
        raise LabError.mismatch(path, "whole frames, a key frame first", found, FETCH)
    shown = np.arange(sum(not packet.is_discard for packet in packets))
    if container.format.name == "avi" and 0 < declared - len(packets) == _empty_chunks(path, stream.index):
        times = [packet.dts for packet in packets]
        repeats = np.diff([0, *times[1:], declared]) if None not in times else np.zeros(1)
        if repeats.min() > 0:
            return packets, np.repeat(shown, repeats)
    if declared not in (0, len(packets)):
        raise LabError.mismatch(path, f"{declared} frames as its header declares", len(packets), FETCH)
    return packets, shown


def _empty_chunks(path: str | os.PathLike, track: int) -> int:
    """How many chunks of a track the index of an AVI lists as empty."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.rfind(b"idx1") + 8
        size = int.from_bytes(data[start - 4 : start], "little")
        entries = data[start : start + size // 16 * 16]
    found = (entries[place : place + 16] for place in range(0, len(entries), 16))
    return sum(entry[:2] == b"%02d" % track and entry[12:] == bytes(4) for entry in found)


def upright(frame: av.VideoFrame, pixels: str = "rgb24") -> np.ndarray:
    """A decoded frame (H,W,3), or (H,W) of grey, turned and mirrored as its display matrix has it."""
    image = frame.to_ndarray(format=pixels, threads=1)  # starting a pool takes longer than the conversion
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5]  # x of the screen is a x + c y, its y is b x + d y
    if abs(b) > abs(a):
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _check_indices(path: str | os.PathLike, wanted: Sequence[int] | np.ndarray, total: int) -> None:
    outside = [index for index in wanted if not 0 <= index < total]
    if not len(wanted) or outside:
        expected, found = f"frame indices from 0 to {total - 1}", outside[0] if outside else "none"
        raise LabError.mismatch(path, expected, found, "choose them with sample_frames")


def _read(path: str | os.PathLike, indices: Sequence[int] | None, pixels: str, seek: bool = True) -> np.ndarray:
    kept: dict[int, np.ndarray] = {}
    with open_video(path) as (container, stream):
        packets, shown = _packets(path, container, stream)
        wanted = range(len(shown)) if indices is None else indices
        _check_indices(path, wanted, len(shown))
        context, places = stream.codec_context, shown[np.asarray(wanted, dtype=int)].tolist()
        wanted_places = set(places)
        if pixels == DEPTH_FORMAT != context.pix_fmt:
            fix = "store depth as 16-bit PNG images or as FFV1 with gray16le"
            raise LabError.mismatch(path, "16-bit grey frames", context.pix_fmt, fix)

        def keep(place: int, frame: av.VideoFrame) -> None:
            if frame.is_corrupt:
                raise ValueError(f"frame {place} is damaged")
            if place in wanted_places:
                kept[place] = upright(frame, pixels)

        in_order = seek and not context.has_b_frames and not any(packet.is_discard for packet in packets)
        if not in_order or not _decode_groups(context, packets, wanted_places, keep):
            total, count = shown[-1] + 1, 0
            for count, frame in enumerate(_decode(context, packets), start=1):
                keep(count - 1, frame)
            if count != total:
                raise ValueError(f"{count} of {total} frames can be decoded")
    return stack([kept[place] for place in places], path)


def stack(images: list[np.ndarray], path: str | os.PathLike) -> np.ndarray:
    """The images of one clip as one array (n,...); LabError where they differ in size."""
    if others := sorted({image.shape for image in images} - {images[0].shape}):
        raise LabError.mismatch(path, f"images of one size, {images[0].shape}", others[0], FETCH)
    return np.stack(images)


def _decode_groups(context: av.VideoCodecContext, packets: list, wanted: set[int], keep: Callable) -> bool:
    """Decode the groups of pictures that hold a wanted frame; False where packets and frames do not go one to one."""
    starts = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    for start, after in pairwise([*starts, len(packets)]):
        end = max((index + 1 for index in wanted if start <= index < after), default=start)
        place = start
        for place, frame in enumerate(_decode(context, packets[start:end]), start=start + 1):
            if frame.pict_type == PictureType.B:
                return False
            keep(place - 1, frame)
        if place != end:
            return False
    return True


def _decode(context: av.VideoCodecContext, packets: list) -> Iterator[av.VideoFrame]:
    context.flush_buffers()
    late = 0
    for packet in packets:
        frames = context.decode(packet)
        late += 1 - len(frames)
        yield from frames
    if late:
        yield from context.decode(None)  # what a decoder with a delay still holds


# -- images and MATLAB files ---------------------------------------------------------------------


def read_depth(path: str | os.PathLike) -> np.ndarray:
    """A 16-bit grey PNG of millimetres: uint16 (H,W). Raises LabError for any other and for a damaged one."""
    fix = "export depth as 16-bit PNG, not as a picture"
    return np.asarray(_read_image(path, ["PNG"], ["I;16"], MAX_DEPTH_PIXELS, "16-bit grey (millimetres)", fix))


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """An 8-bit JPEG, PNG or BMP: uint8 (H,W,3), RGB; grey becomes grey RGB. Raises LabError as `read_depth` does."""
    formats, modes = ["PNG", "JPEG", "BMP"], ["RGB", "L", "P"]
    image = _read_image(path, formats, modes, MAX_VIDEO_PIXELS, "an 8-bit RGB picture", FETCH)
    return np.asarray(image.convert("RGB"))


def _read_image(path: str | os.PathLike, formats: list[str], modes: list[str], most: int, expected: str,
                fix: str) -> Image.Image:  # fmt: skip
    """An upright picture in one of the modes, of at most so many pixels.

    The header is judged before anything is decoded, and the checksum of each chunk of a PNG is verified.
    """
    try:
        check_plain(path)
        data = Path(path).read_bytes()
        with _opened(data, formats) as image:
            mode, size = image.mode, f"{image.width}x{image.height}"
            if not 0 < image.width * image.height <= most:
                raise LabError.mismatch(path, f"a picture of at most {most} pixels", size, FETCH)
            if mode not in modes:
                raise LabError.mismatch(path, expected, MODES.get(mode, mode), fix)
            if image.format == "PNG":
                image.verify()
        if mode == "I;16":
            _check_amount(data)
        with _opened(data, formats) as image:
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError as error:
        found = f"no {' or '.join(formats)}, or one whose head is damaged"
        raise LabError.mismatch(path, "a readable picture", found, FETCH) from error
    except PILLOW_ERRORS as error:
        found = getattr(error, "strerror", None) or str(error)
        raise LabError.mismatch(path, "a readable picture", found, FETCH) from error


def _opened(data: bytes, formats: list[str]) -> Image.Image:
    """A picture of which only the header is read, without Pillow's warning of a size that the lab judges itself."""
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        return Image.open(io.BytesIO(data), formats=formats)


def _check_amount(data: bytes) -> None:
    """ValueError unless a 16-bit grey PNG has its end, and, unpacked, as many pixels as the header says.

    Pillow takes fewer or more.
    """
    if _PNG_END not in data:
        raise ValueError("the end is missing")
    width, height, interlaced = *struct.unpack(">II", data[16:24]), data[28]
    place, packed = 8, []
    while place + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        packed += [data[place + 8 : place + 8 + length]] * (kind == b"IDAT")
        place += 12 + length
    expected = height * (1 + 2 * width)  # a byte before each row names its filter
    found = len(zlib.decompressobj().decompress(b"".join(packed), expected + 1))
    if not interlaced and found != expected:
        raise ValueError(f"{expected} bytes of pixels declared, {found} there")


# -- the frames of a modality --------------------------------------------------------------------


def natural(name: str, number: str = r"\d+") -> tuple:
    """A sorting key by which frame_2 stands before frame_10."""
    parts = re.split(f"({number})", name)
    return tuple((1, 0, part) if place % 2 == 0 else (0, Decimal(part), "") for place, part in enumerate(parts))


def in_time_order(folder: Path, names: list[str]) -> list[str]:
    """Names of frames in the order of the numbers or, as in 12.5.png, decimal times in them.

    Raises LabError where take1.10 may stand before or after take1.9.
    """
    ordered = sorted(names, key=partial(natural, number=NUMBER))
    if any(re.search(r"\d\.\d+0(?!\d)", name) for name in names) and ordered != sorted(names, key=natural):
        found, fix = f"{ordered[0]}, {ordered[1]}, ...", "write all numbers behind a point with as many digits"
        raise LabError.mismatch(folder, "names that tell the order of the frames", found, fix)
    return ordered


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
        folder = self.path if self.path.is_dir() else self.path.parent
        try:
            names = [item.name for item in os.scandir(folder) if not item.is_dir() and item.name[0] != "."]
        except OSError as error:
            raise LabError.mismatch(folder, "a folder of images", error.strerror, FETCH) from error
        if folder != self.path:
            pattern = re.escape(self.path.name).replace(r"\*", "(.*)")
            chosen = [name for name in names if re.fullmatch(pattern, name)]
        elif any(map(DEPTH_NAME.fullmatch, names)):
            chosen = [name for name in names if DEPTH_NAME.fullmatch(name)]
            _check_no_gap(folder, [int(DEPTH_NAME.fullmatch(name)[1]) for name in chosen])
        else:
            chosen = [name for name in names if name.lower().endswith(PICTURES)]
        if not chosen:
            found = f"{len(names)} other files" if names else "none"
            raise LabError.mismatch(self.path, "images", found, FETCH)
        return tuple(Path(folder, name) for name in in_time_order(self.path, chosen))

    @cached_property
    def names(self) -> list[str] | None:
        """What tells frames of several files apart: their stems, or what the `*` of the path stands for.

        None for a video, a MATLAB file and a single image. Raises LabError where a folder has two files of one stem.
        """
        if self.kind != "images" or self.path.is_file():
            return None
        before, star, after = self.path.name.partition("*")
        if star and not self.path.exists():
            return [file.name[len(before) : len(file.name) - len(after)] for file in self.files]
        stems = [file.stem for file in self.files]
        if len(set(stems)) < len(stems):
            found = " and ".join([file.name for file in self.files if stems.count(file.stem) > 1][:2])
            raise LabError.mismatch(self.path, "one file a frame", found, "move one of them away")
        return stems

    @cached_property
    def times(self) -> np.ndarray:
        """`frame_times` of a video."""
        return frame_times(self.path)

    @property
    def count(self) -> int:
        """How many frames there are, as far as it can be told without decoding one."""
        return len(self.times if self.kind == "video" else self._mat if self.kind == "mat" else self.files)

    @property
    def tracks(self) -> str:
        """`tracks_told` of a video; "" for anything else."""
        return tracks_told(self.path) if self.kind == "video" else ""

    @cached_property
    def _mat(self) -> np.ndarray:
        return read_mat_depth(self.path)

    def rgb(self, indices: Sequence[int]) -> np.ndarray:
        """Frames `indices` in colour: uint8 (n,H,W,3)."""
        if self.kind == "video":
            return read_video(self.path, indices)
        return self._stack(read_picture, indices)

    def depth(self, indices: Sequence[int], unit: float = 1.0) -> np.ndarray:
        """Frames `indices` of depth: uint16 (n,H,W) in millimetres, 0 for no reading.

        `unit` is millimetres per count of the file. LabError when a distance exceeds 65.5 m.
        """
        if self.kind == "video":
            counts = _read(self.path, indices, DEPTH_FORMAT)
        elif self.kind == "mat":
            counts = self._mat[list(indices)]
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

    def _stack(self, read: Callable, indices: Sequence[int]) -> np.ndarray:
        _check_indices(self.path, indices, len(self.files))
        images = {index: read(self.files[index]) for index in set(map(int, indices))}
        return stack([images[int(index)] for index in indices], self.path)


def _check_no_gap(folder: Path, numbers: list[int]) -> None:
    """NTU's depth images are numbered from 1, one by one."""
    if missing := sorted(set(range(1, max(numbers) + 1)) - set(numbers)):
        found = f"{len(numbers)} images, number {missing[0]} missing"
        raise LabError.mismatch(folder, "depth images numbered 1, 2, 3, ... without a gap", found, FETCH)


def read_depth_frames(folder: str | os.PathLike, indices: Sequence[int] | None = None) -> np.ndarray:
    """Depth images `indices` (counted from 0; all by default) of a clip's folder: uint16 (n,H,W), millimetres."""
    frames = Frames(Path(folder))
    return frames.depth(range(frames.count) if indices is None else indices)
