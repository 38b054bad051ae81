"""What happens in this video? A model is shown a few frames of it and answers.

The video is any file that PyAV reads, or a picture. A recording of the lab is cropped to what its depth camera
saw, too. Here there is no depth camera: the average crop of the training clips stands in (`crop_box`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from scipy.special import softmax

from ..alignment import Box, crop_color
from ..clips import sample_frames
from ..data.media.video import CONTAINERS, FETCH, PICTURES, VIDEOS, Frames, open_video, tracks_told, upright
from ..errors import LabError, printable
from .onnx_model import Model

# Kinds that hold their own frames. Play lists and picture sequences, which name other files, are not among them.
FOREIGN = f"{CONTAINERS},mpegts,mpeg,mpegvideo,flv,asf,gif,ogg,mxf,nut,dv,ivf,rm,wtv,h264,hevc,m4v"
SAME_SHAPE = 0.03  # width over height may differ by that share from the training frames'
_FIX = "convert it again from its source, to MP4 or an 8-bit RGB picture, or name another file"


@dataclass(frozen=True)
class SampledVideo:
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


def sample_video(path: str | os.PathLike, num_frames: int, size: int, crop: Mapping | None = None) -> SampledVideo:
    """`num_frames` evenly spaced frames of a video file, first and last included, cropped and resized to `size`.

    A video with fewer frames than asked for shows some of them more than once, and a note says so; a picture is
    a video of one frame. Raises LabError for a file that is missing, no video, or damaged.
    """
    if not Path(path).is_file():
        found = "something else" if Path(path).exists() else "none"
        raise LabError.mismatch(path, "a video file", found, "give the path of a video")
    try:
        if Path(path).suffix.lower() in (*PICTURES, *VIDEOS):  # read as in a data set
            source = Frames(Path(path))
            total, told = source.count, source.tracks
            indices = sample_frames(total, num_frames).tolist()
            chosen = dict(zip(indices, source.rgb(indices), strict=True))
        else:
            total, told = sum(1 for _ in _decoded(path)), tracks_told(path, FOREIGN)
            if not total:
                raise LabError.mismatch(path, "a video", "no frame in it", _FIX)
            indices = sample_frames(total, num_frames).tolist()
            chosen = {number: upright(frame) for number, frame in enumerate(_decoded(path)) if number in indices}
    except LabError as error:
        raise LabError(error.path, error.reason, _FIX if error.fix == FETCH else error.fix) from error
    cropped = {number: crop_color(image, crop_box(*image.shape[1::-1], crop), size) for number, image in chosen.items()}
    short = f"only {total} of {num_frames} frames: some are shown more than once" if total < num_frames else ""
    notes = tuple(filter(None, (short, told)))
    return SampledVideo(os.fspath(path), np.stack([cropped[n] for n in indices]), tuple(indices), total, notes)


def _decoded(path: str | os.PathLike) -> Iterator[av.VideoFrame]:
    with open_video(path, FOREIGN) as (container, stream):
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise ValueError("a damaged frame")  # which `open_video` tells
            yield frame


@dataclass(frozen=True)
class Prediction:
    """The answer to one video: `logits` (K,), `maps` (T,h,w); `about` describes the model."""

    video: SampledVideo
    about: dict[str, Any]
    logits: np.ndarray
    maps: np.ndarray

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, (K,); not calibrated: 0.9 need not mean right in nine of ten cases."""
        return softmax(self.logits.astype(float))

    def top(self, count: int) -> list[tuple[str, float]]:
        """The likeliest classes with their probabilities, best first."""
        best = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.about["classes"][number], float(self.probabilities[number])) for number in best]

    def lines(self, count: int, picture: Path | None) -> list[str]:
        """The answer, how it came about, and what the model is worth, for a terminal."""
        about, video = self.about, self.video
        return [
            f"{printable(video.source)}: frames {', '.join(map(str, video.indices))} of {video.total}",
            f"model {about['run']}, trained on {printable(about['data']['name'])}, accuracy "
            f"{100 * about['accuracy']['accuracy']:.1f} % on its test clips; knows only its "
            f"{len(about['classes'])} classes",
            *(f"note: {note}" for note in video.notes),
            *(f"{100 * share:5.1f} %  {printable(name)}" for name, share in self.top(count)),
            *([f"picture: {printable(picture)}"] if picture else []),
        ]

    def as_json(self, count: int, picture: Path | None) -> str:
        """The same as JSON."""
        told = {
            "video": printable(self.video.source),
            "frames": {"chosen": list(self.video.indices), "total": self.video.total},
            "answer": [{"class": name, "probability": value} for name, value in self.top(count)],
            "notes": list(self.video.notes),
            "model": {key: self.about[key] for key in ("run", "accuracy", "protocol")},
        }
        return json.dumps(told | ({"picture": printable(picture)} if picture else {}), indent=1)


def predict_video(path: str | os.PathLike, model: Model) -> Prediction:
    """A model's answer to a video file; LabError for a video that cannot be used and an answer that is no number."""
    about = model.about
    video = sample_video(path, about["num_frames"], about["size"], about["crop"])
    logits, maps = model.answer(np.ascontiguousarray(video.frames.transpose(0, 3, 1, 2))[None])
    if not (np.isfinite(logits).all() and np.isfinite(maps).all()):
        fix = "train the run again, or ask another model: no video can mend its weights"
        raise LabError.mismatch(about["run"], "a finite answer of this model", "NaN or infinity", fix)
    return Prediction(video, about, logits[0], maps[0])
