"""Foreign videos: the right frames of any container, one line for anything else."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from labkit import LabError
from labkit.errors import printable
from labkit.export.describe import average_crop
from labkit.export.predict import FOREIGN, crop_box, sample_video

KINDS = {  # codec by name
    "a.avi": "mpeg4", "a.mp4": "libx264", "a.mov": "libx264", "a.mkv": "libx264", "a.webm": "libvpx-vp9",
    "b.webm": "libvpx", "a.flv": "flv", "m.avi": "mjpeg", "a.ts": "libx264", "a.mpg": "mpeg1video", "a.gif": "gif",
}  # fmt: skip


def write_video(path: Path, codec: str = "mpeg4", count: int = 20, size: tuple[int, int] = (96, 64)) -> Path:
    """Frame n < 24 is grey of level 10 n + 20, its left third white."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for number in range(count):
            image = np.full((size[1], size[0], 3), (10 * number + 20) % 256, np.uint8)
            image[:, : size[0] // 3] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def levels(video) -> list[int]:
    """The frame numbers that the right half's grey tells."""
    half = video.frames.shape[2] // 2
    return [round((float(frame[:, half + 4 :].mean()) - 20) / 10) for frame in video.frames]


def told(*arguments, **options) -> str:
    with pytest.raises(LabError) as caught:
        sample_video(*arguments, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and "expected" in message and "found" in message and "Fix: " in message
    return message


@pytest.mark.parametrize("name", KINDS)
def test_evenly_spaced_frames_of_any_container(tmp_path, name):
    video = sample_video(write_video(tmp_path / name, KINDS[name]), 5, 32)
    assert video.frames.shape == (5, 32, 32, 3) and video.frames.dtype == np.uint8
    assert video.indices == (0, 4, 9, 14, 19) and video.total == 20
    assert levels(video) == [0, 4, 9, 14, 19]
    assert (video.frames[:, :, :8] > 200).all()  # nothing is mirrored or turned
    assert video.notes == ()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a readable video"),
        (b"This is a text file about dancing.\n" * 50, "a readable video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:a.avi\n#EXT-X-ENDLIST\n", "a readable video"),
        (b"ffconcat version 1.0\nfile a.avi\n", "a readable video"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a readable video"),
        (b"RIFF\xff\xff\x00\x00AVI LIST", "65543 bytes"),
    ],
)
def test_what_is_no_video_is_told(tmp_path, content, expected):
    write_video(tmp_path / "a.avi")
    (tmp_path / "clip.avi").write_bytes(content)
    assert expected in told(tmp_path / "clip.avi", 5, 32)


@pytest.mark.parametrize("name", ["a.png", "a.txt", "a.avi"])
def test_the_fix_is_one_for_a_file_of_one_s_own(tmp_path, name):
    Image.new("RGBA", (16, 12)).save(tmp_path / name, "PNG")
    message = told(tmp_path / name, 5, 32)
    assert "leave the clip out" not in message and "name another file" in message


def test_no_file_a_folder_and_a_pipe_are_told_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.avi")
    assert "found none" in told(tmp_path / "absent.avi", 5, 32)
    assert "found something else" in told(tmp_path, 5, 32)
    assert "found something else" in told(tmp_path / "pipe.avi", 5, 32)


def test_audio_alone_is_told(tmp_path):
    with av.open(tmp_path / "a.mkv", "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert "without a video stream" in told(tmp_path / "a.mkv", 5, 32)


@pytest.mark.parametrize("count", [1, 3])
def test_a_short_video_repeats_frames_and_says_so(tmp_path, count):
    video = sample_video(write_video(tmp_path / "a.avi", count=count), 5, 32)
    assert video.total == count and set(video.indices) == set(range(count))
    assert video.notes == (f"only {count} of 5 frames: some are shown more than once",)


def test_a_damaged_frame_is_told(tmp_path):
    data = bytearray(write_video(tmp_path / "a.mp4", "libx264", count=40).read_bytes())
    end = data.index(b"moov") - 4
    data[end - 400 : end - 200] = bytes(200)
    (tmp_path / "b.mp4").write_bytes(data)
    assert "b.mp4" in told(tmp_path / "b.mp4", 5, 32)


def test_names_that_are_no_utf8_with_spaces_and_dashes(tmp_path):
    write_video(tmp_path / "a.avi")
    for name in (b"caf\xe9 one two.avi", b"-rf.avi", "снег ☃.avi".encode(), b"http:x.avi", b"a%05d.avi"):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        os.rename(next(tmp_path.iterdir()), path)
        assert sample_video(path, 5, 32).total == 20
    assert printable(os.fsdecode(b"caf\xe9\x1b[31m\n")) == r"caf\udce9\x1b[31m\n"


def test_the_crop_is_that_of_training_or_has_its_proportions():
    crop = {"box": [0.1, 0.0, 0.9, 1.0], "shape": 16 / 9}
    assert crop_box(1920, 1080, crop) == pytest.approx((192, 0, 1728, 1080))
    assert crop_box(640, 360, crop) == pytest.approx((64, 0, 576, 360))
    assert crop_box(640, 480, None) == (0, 0, 640, 480)
    for width, height in ((1080, 1920), (2560, 1080), (640, 480)):
        left, top, right, bottom = crop_box(width, height, crop)
        assert (right - left) / (bottom - top) == pytest.approx(0.8 * 16 / 9)
        assert left + right == pytest.approx(width) and top + bottom == pytest.approx(height)
        assert left == pytest.approx(0) or top == pytest.approx(0)  # nothing larger would fit


def test_the_average_crop_of_records():
    crops = [{"box": [10, 0, 90, 50], "of": [100, 50]}, {"box": [40, 0, 360, 180], "of": [400, 200]}]
    found = average_crop([{"crop": crop} for crop in crops])
    assert found["box"] == pytest.approx([0.1, 0, 0.9, 0.95]) and found["shape"] == 2


def test_the_crop_is_applied(tmp_path):
    path = write_video(tmp_path / "a.avi")
    video = sample_video(path, 5, 32, {"box": [0.5, 0, 1, 1], "shape": 1.5})
    assert (video.frames[0] < 60).all()  # the white third is cut off


def test_only_kinds_that_hold_their_own_frames():
    assert not {"hls", "concat", "dash", "image2", "sdp", "rtsp", "lavfi"} & set(FOREIGN.split(","))
