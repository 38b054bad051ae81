"""Videos and pictures are read as a player shows them, in data sets as by `labkit predict`."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from ntu_files import assert_mendable, write_video
from PIL import Image

from labkit.data.media.video import Frames, frame_times, read_depth, read_video, tracks_told
from labkit.errors import LabError
from labkit.export.predict import sample_video

RNG = np.random.default_rng(11)
TURNS = {  # what a player does: quarters against the clock, and whether it mirrors left and right before
    1: (0, False), 2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False),
}  # fmt: skip
EDITS = {  # (first frame, frames) of each part that shows
    "the end": [(20, 10)], "off a key frame": [(25, 5)], "the middle": [(5, 10)], "two parts": [(2, 5), (22, 5)],
    "one part twice": [(0, 10), (0, 10)], "the last first": [(20, 10), (0, 10)],
}  # fmt: skip


def as_shown(image: np.ndarray, orientation: int) -> np.ndarray:
    quarters, mirrored = TURNS[orientation]
    return np.rot90(image[:, ::-1] if mirrored else image, quarters)


def assert_both_readers_show(path: Path, frames: np.ndarray) -> None:
    """The reader of data sets and that of `predict`."""
    assert np.array_equal(Frames(path).rgb(range(Frames(path).count)), frames)
    shown = sample_video(path, len(frames), 64)
    assert shown.total == len(frames)
    expected = [np.array(Image.fromarray(np.ascontiguousarray(frame)).resize((64, 64), 2)) for frame in frames]
    assert np.array_equal(shown.frames, expected)


@pytest.mark.parametrize("orientation", TURNS)
def test_videos_and_pictures_are_turned_and_mirrored_as_they_say(tmp_path, orientation):
    write_video(tmp_path / "c.mp4", 8, (64, 32), codec="libx264")
    plain = read_video(tmp_path / "c.mp4")
    corner = np.zeros((2, 2), int)
    corner[0, 0], corner[0, 1] = 1, 2  # where the two upper corners go tells the matrix
    (y, x), (next_y, next_x) = (np.argwhere(as_shown(corner, orientation) == n)[0] for n in (1, 2))
    a, b = next_x - x, next_y - y
    c, d = (0, 1 if y == 0 else -1) if a else (1 if x == 0 else -1, 0)
    upright = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    raw = (tmp_path / "c.mp4").read_bytes()
    at = raw.index(upright, raw.index(b"tkhd"))
    matrix = struct.pack(">9i", int(a) << 16, int(b) << 16, 0, int(c) << 16, int(d) << 16, 0, 0, 0, 1 << 30)
    (tmp_path / "c.mp4").write_bytes(raw[:at] + matrix + raw[at + len(matrix) :])
    expected = np.stack([as_shown(frame, orientation) for frame in plain])
    assert_both_readers_show(tmp_path / "c.mp4", expected)
    assert np.array_equal(read_video(tmp_path / "c.mp4", [7, 0]), expected[[7, 0]])
    exif, picture = Image.Exif(), RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    exif[0x0112] = orientation
    for name in ("p.png", "p.jpg"):
        Image.fromarray(picture).save(tmp_path / name, exif=exif)
        with Image.open(tmp_path / name) as stored:
            assert_both_readers_show(tmp_path / name, as_shown(np.array(stored), orientation)[None])
    depth = RNG.integers(0, 5000, (8, 12), dtype=np.uint16)
    Image.fromarray(depth).save(tmp_path / "d.png", exif=exif)
    assert np.array_equal(read_depth(tmp_path / "d.png"), as_shown(depth, orientation))


def jpeg(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write_avi(path: Path, chunks: list[bytes], size=(64, 32), declared: int | None = None) -> None:
    """An AVI of Motion JPEG as capture programs write it: an empty chunk for a frame that was missed."""

    def boxed(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)

    count, bodies, places = declared or len(chunks), [boxed(b"00dc", chunk) for chunk in chunks], [4]
    for body in bodies:
        places.append(places[-1] + len(body))
    head = boxed(b"avih", struct.pack("<14I", 40_000, 0, 0, 0x10, count, 0, 1, 0, *size, 0, 0, 0, 0))
    stream = b"vidsMJPG" + struct.pack("<IHHIIIIIIIIHHHH", 0, 0, 0, 0, 1, 25, 0, count, 0, 0, 0, 0, 0, *size)
    form = struct.pack("<IiiHH4sIiiII", 40, *size, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    streams = boxed(b"LIST", b"strl" + boxed(b"strh", stream) + boxed(b"strf", form))
    entries = [
        struct.pack("<4sIII", b"00dc", 0x10, place, len(chunk)) for place, chunk in zip(places, chunks, strict=False)
    ]
    parts = boxed(b"LIST", b"hdrl" + head + streams) + boxed(b"LIST", b"movi" + b"".join(bodies))
    path.write_bytes(boxed(b"RIFF", b"AVI " + parts + boxed(b"idx1", b"".join(entries))))


@pytest.mark.parametrize("missed", [(), (3, 4, 8), (0, 1), (10, 11), (0, 5, 11)], ids=str)
def test_an_empty_chunk_of_an_avi_shows_the_frame_before_again(tmp_path, missed):
    pictures = [np.full((32, 64, 3), 20 * number, np.uint8) for number in range(12)]
    write_avi(tmp_path / "c.avi", [b"" if n in missed else jpeg(picture) for n, picture in enumerate(pictures)])
    there = [number for number in range(12) if number not in missed]
    shown = [max((place for place in there if place <= number), default=there[0]) for number in range(12)]
    assert np.abs(read_video(tmp_path / "c.avi")[:, 16, 32, 0] - 20.0 * np.array(shown)).max() <= 1
    assert len(frame_times(tmp_path / "c.avi")) == 12
    assert_both_readers_show(tmp_path / "c.avi", read_video(tmp_path / "c.avi"))


def test_an_avi_that_lacks_frames_is_refused_all_the_same(tmp_path):
    write_avi(tmp_path / "c.avi", [jpeg(np.zeros((32, 64, 3), np.uint8))] * 9, declared=12)
    for read in (read_video, lambda path: sample_video(path, 5, 64)):
        with pytest.raises(LabError, match="12 frames as its header declares") as caught:
            read(tmp_path / "c.avi")
        assert_mendable(caught.value, tmp_path / "c.avi")


def set_edit_list(path: Path, parts: list[tuple[int, int]], rate: int = 30) -> None:
    """Write which parts of an MP4 show; its index lies behind the frames, so that no place in the file moves."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") - 4
    (length, start), ticks = struct.unpack(">I16xi", data[at : at + 24]), 15360 // rate
    entries = [struct.pack(">Iihh", 1000 * count // rate, start + first * ticks, 1, 0) for first, count in parts]
    new = struct.pack(">I4sII", 16 + 12 * len(entries), b"elst", 0, len(entries)) + b"".join(entries)
    for box in (b"moov", b"trak", b"edts"):
        place = data.index(box) - 4
        size = int.from_bytes(data[place : place + 4], "big") + len(new) - length
        data[place : place + 4] = struct.pack(">I", size)
    data[at : at + length] = new
    path.write_bytes(data)


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("edit", EDITS)
def test_frames_that_an_edit_list_hides_are_none(tmp_path, edit, b_frames):
    write_video(tmp_path / "c.mp4", 30, (64, 32), codec="libx264", b_frames=b_frames)
    whole = read_video(tmp_path / "c.mp4")
    set_edit_list(tmp_path / "c.mp4", EDITS[edit])
    expected = whole[[number for first, count in EDITS[edit] for number in range(first, first + count)]]
    assert len(frame_times(tmp_path / "c.mp4")) == len(expected)
    assert_both_readers_show(tmp_path / "c.mp4", expected)
    assert np.array_equal(read_video(tmp_path / "c.mp4", [len(expected) - 1, 0]), expected[[-1, 0]])


def write_tracks(path: Path, *tracks: tuple[int, int, int]) -> None:
    """Video tracks of (level, width, frames)."""
    with av.open(str(path), "w") as container:
        streams = []
        for _, width, _ in tracks:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, 48, "yuv420p"
            streams.append(stream)
        for stream, (level, width, count) in zip(streams, tracks, strict=True):
            for _ in range(count):
                image = np.full((48, width, 3), level, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))


@pytest.mark.parametrize("name", ["c.mkv", "c.mp4"])
def test_of_several_video_tracks_the_one_that_is_read_is_told(tmp_path, name):
    write_tracks(tmp_path / name, (50, 96, 1), (200, 64, 9))
    assert abs(read_video(tmp_path / name).mean() - 200) < 3
    told = "2 video tracks: number 2, 64x48, is read"
    assert tracks_told(tmp_path / name) == told and told in sample_video(tmp_path / name, 5, 64).notes
    write_tracks(tmp_path / f"one-{name}", (50, 96, 9))
    assert tracks_told(tmp_path / f"one-{name}") == "" and sample_video(tmp_path / f"one-{name}", 5, 64).notes == ()
