"""Video from outside the lab, any file that PyAV reads, a picture or a camera, as the few frames a model asks for.

A recording of the lab is cropped to what its depth camera saw, too. Here there is no depth camera: the
average crop of the training clips stands in (`crop_box`), and nothing but the video is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..alignment import Box, crop_color
from ..clips import sample_frames
from ..data.video import CONTAINERS, FETCH, MAX_VIDEO_PIXELS, PICTURES, open_video, read_picture
from ..errors import LabError

# Kinds that hold their own frames. Play lists and picture sequences, which name other files, are not among them.
FOREIGN = f"{CONTAINERS},mpegts,mpeg,mpegvideo,flv,asf,gif,ogg,mxf,nut,dv,ivf,rm,wtv,h264,hevc,m4v"
SAME_SHAPE = 0.03  # width over height may differ by that share from the training frames'
CUT_SHORT = 0.05, 0.15  # share of the declared duration, and seconds: a file is cut where more than both is missing
COUNTED = ("mpegts", "mpeg", "gif")  # kinds whose frames or duration PyAV guesses from the bytes there are
HIDDEN_FRAMES = {"vp8", "vp9", "av1"}  # codecs whose packets need not show a frame
MAX_CAMERA_FRAMES = 1000
MAX_CAMERAS, MAX_CAMERA_SECONDS = 100, 600  # to OpenCV a number of 100 or more names a driver, too
_FIX = "convert it again from its source, to MP4 or an 8-bit RGB picture, or name another file"


@dataclass(frozen=True)
class Footage:
    """What a model is shown: `frames` uint8 (T,S,S,3) RGB, numbers `indices` (T,) of the `total` there are."""

    source: str
    frames: np.ndarray
    indices: tuple[int, ...]
    total: int
    notes: tuple[str, ...] = ()


def crop_box(width: int, height: int, crop: Mapping | None) -> Box:
    """The part of a frame to keep, in pixels.

    `crop` is {"box": average crop of the training clips as fractions of the frame, "shape": width over
    height of those frames}. Frames of that shape are cropped alike; of another shape, the largest
    centred part as wide and high as the training crop is in proportion; without `crop`, all is kept.
    """
    if crop is None:
        return 0.0, 0.0, float(width), float(height)
    left, top, right, bottom = crop["box"]
    if abs(width / height / crop["shape"] - 1) <= SAME_SHAPE:
        return left * width, top * height, right * width, bottom * height
    shape = (right - left) / (bottom - top) * crop["shape"]
    wide, high = min(width, height * shape), min(height, width / shape)
    return (width - wide) / 2, (height - high) / 2, (width + wide) / 2, (height + high) / 2


def read_footage(path: str | os.PathLike, num_frames: int, size: int, crop: Mapping | None = None) -> Footage:
    """`num_frames` evenly spaced frames of a video file, first and last included, cropped and resized to `size`.

    The file is decoded to count its frames, and again to pick them. Raises LabError when it is missing,
    no video, damaged, cut, or holds another number of frames than it declares. A video with fewer frames
    than asked for shows some of them more than once, and a note says so; a picture is a video of one frame.
    """
    try:
        return _read(path, num_frames, size, crop)
    except LabError as error:
        raise LabError(error.path, error.reason, _FIX if error.fix == FETCH else error.fix) from error


def _read(path: str | os.PathLike, num_frames: int, size: int, crop: Mapping | None) -> Footage:
    if not Path(path).is_file():
        found = "a folder" if Path(path).is_dir() else "none"
        raise LabError.mismatch(path, "a video file", found, "give the path of a video")
    if Path(path).suffix.lower() in PICTURES:
        image = _cropped(path, read_picture(path), size, crop)
        return Footage(os.fspath(path), np.stack([image] * num_frames), (0,) * num_frames, 1, ("a picture: one frame",))
    survey = _Survey()
    for _ in _decoded(path, survey):
        pass
    indices = sample_frames(survey.check(path), num_frames)
    kept = {}
    for number, frame in _decoded(path, _Survey()):
        if number in indices:
            image = np.rot90(frame.to_ndarray(format="rgb24", threads=1), round(frame.rotation / 90))
            kept[number] = _cropped(path, image, size, crop)
        if number == indices[-1]:
            break
    frames = np.stack([kept[number] for number in indices.tolist()])
    notes = (*_repeats(survey.decoded, num_frames), *survey.notes)
    return Footage(os.fspath(path), frames, tuple(indices.tolist()), survey.decoded, notes)


def _cropped(path: str | os.PathLike, image: np.ndarray, size: int, crop: Mapping | None) -> np.ndarray:
    height, width = image.shape[:2]
    if width * height > MAX_VIDEO_PIXELS:  # the size can change within a stream
        raise LabError.mismatch(path, f"frames of at most {MAX_VIDEO_PIXELS} pixels", f"{width}x{height}", _FIX)
    return crop_color(np.ascontiguousarray(image), crop_box(width, height, crop), size)


def _repeats(total: int, num_frames: int) -> tuple[str, ...]:
    if total >= num_frames:
        return ()
    return (f"only {total} of {num_frames} frames: some are shown more than once",)


@dataclass
class _Survey:
    """What a file declares and what it turned out to hold."""

    packets: int = 0
    discarded: int = 0  # packets that an edit list leaves out
    damaged: int = 0
    decoded: int = 0
    end: float = 0.0  # seconds from the first frame's start to the last one's end
    declared: int = 0
    duration: float | None = None  # of the video as declared, seconds
    codec: str = ""
    start: float | None = None  # of the first frame, seconds
    from_zero: bool = False  # whether the declared duration counts from 0, not from the first frame

    def check(self, path: str | os.PathLike) -> int:
        """The number of frames; raises LabError where the file is not as declared."""
        expected, found = f"{self.packets - self.discarded} frames", self.decoded
        if self.declared and self.declared != self.packets:
            expected, found = f"{self.declared} frames as its header declares", self.packets
        elif self.damaged:
            expected, found = "whole frames", f"{self.damaged} damaged ones"
        elif not self.decoded:
            expected, found = "a video", "no frame in it"
        elif self.duration and self.duration - self.last > max(CUT_SHORT[0] * self.duration, CUT_SHORT[1]):
            expected, found = f"{self.duration:.1f} s as its header declares", f"{self.last:.1f} s (cut off)"
        elif self.decoded == self.packets - self.discarded or self.codec in HIDDEN_FRAMES:
            return self.decoded
        raise LabError.mismatch(path, expected, found, _FIX)

    @property
    def last(self) -> float:
        """The end of the last frame, seconds, counted as the declared duration is."""
        return self.end + (max(self.start or 0.0, 0.0) if self.from_zero else 0.0)

    @property
    def notes(self) -> tuple[str, ...]:
        told = self.declared or self.duration
        return () if told else ("the file does not declare its length: a cut one cannot be told from a short one",)


def _decoded(path: str | os.PathLike, survey: _Survey) -> Iterator[tuple]:
    """(number, frame) of all frames a player would show, noting in `survey` what is met on the way."""
    with open_video(path, FOREIGN) as (container, stream):
        survey.codec = stream.codec_context.name
        if container.format.name not in COUNTED:
            survey.from_zero = "matroska" in container.format.name
            survey.declared, survey.duration = stream.frames, _declared_duration(container, stream)
        for packet in container.demux(stream):
            survey.packets += packet.size > 0
            survey.discarded += packet.size > 0 and packet.is_discard
            survey.damaged += packet.is_corrupt
            for frame in packet.decode():
                survey.damaged += frame.is_corrupt
                if frame.time is not None:
                    survey.start = frame.time if survey.start is None else survey.start
                    length = float((frame.duration or 0) * frame.time_base)
                    survey.end = max(survey.end, frame.time - survey.start + length)
                yield survey.decoded, frame
                survey.decoded += 1


def _declared_duration(container, stream) -> float | None:
    """Seconds of video as written in the header, None where there is no such figure for the video alone."""
    if tagged := stream.metadata.get("DURATION"):  # Matroska, "00:00:01.500000000"
        hours, minutes, seconds = tagged.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    alone = len(container.streams) == 1
    return container.duration / 1e6 if alone and container.duration else None


def capture_footage(camera: int, num_frames: int, size: int, crop: Mapping | None = None,
                    seconds: float = 3.0) -> Footage:  # fmt: skip
    """The same from a webcam that is watched for some seconds; LabError when there is none or it falls silent."""
    if not 0 <= camera < MAX_CAMERAS:
        raise LabError.mismatch(None, f"a camera number from 0 to {MAX_CAMERAS - 1}", camera, "0 is the first webcam")
    if not 0 < seconds <= MAX_CAMERA_SECONDS:
        raise LabError.mismatch(None, f"seconds above 0, up to {MAX_CAMERA_SECONDS}", seconds, "3 is the usual number")
    capture = _opened(camera)
    try:
        if not capture.isOpened():
            fix = "plug a webcam in and allow its use, try another number, or give a video file"
            raise LabError.mismatch(None, f"a camera number {camera}", "none", fix)
        images = list(_watched(capture, camera, seconds, size, crop))
    finally:
        capture.release()
    indices = sample_frames(len(images), num_frames).tolist()
    frames = np.stack([images[number] for number in indices])
    return Footage(f"camera {camera}", frames, tuple(indices), len(images), _repeats(len(images), num_frames))


def _opened(camera: int):
    """OpenCV's capture, without OpenCV's own words on a camera that is not there."""
    import cv2

    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(camera)
    finally:
        cv2.utils.logging.setLogLevel(before)


def _watched(capture, camera: int, seconds: float, size: int, crop: Mapping | None) -> Iterator[np.ndarray]:
    """Frames until the time is over, already small: a few seconds of whole ones would fill the memory."""
    until = time.monotonic() + seconds
    for number in range(MAX_CAMERA_FRAMES):
        arrived, image = capture.read()
        if not arrived:
            fix = "close other programs that use the camera, or give a video file"
            raise LabError.mismatch(None, f"pictures from camera {camera}", f"none after {number}", fix)
        yield _cropped(f"camera {camera}", image[..., ::-1], size, crop)
        if time.monotonic() >= until:
            return


def average_crop(records: Sequence[Mapping]) -> dict | None:
    """The `crop` of `crop_box` from the records of clips (`modalities.read_aligned`); None where none tells it."""
    crops = [record["crop"] for record in records if "crop" in record]
    if not crops:
        return None
    boxes = [np.divide(crop["box"], [*crop["of"], *crop["of"]]) for crop in crops]
    shapes = [width / height for width, height in (crop["of"] for crop in crops)]
    return {"box": np.mean(boxes, axis=0).tolist(), "shape": float(np.mean(shapes))}
