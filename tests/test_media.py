"""Video and depth files: seeking gives the pixels of a whole decode, and no damage passes for a clip."""

from __future__ import annotations

import io
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from fuzz_media import fuzz_images, fuzz_videos
from hypothesis import given, settings
from hypothesis import strategies as st
from ntu_files import assert_mendable, write_depth, write_depth_frames, write_video
from PIL import Image

from labkit.data import video as video_files
from labkit.data.video import Frames, count_frames, read_depth, read_depth_frames, read_video, read_video_whole
from labkit.errors import LabError

FRAMES = 40


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    pictures = write_video(path, FRAMES)
    return path, pictures


def nearest(clip: np.ndarray, pictures: np.ndarray) -> list[int]:
    """Which picture each frame resembles most: decoded frames are only similar to what was encoded."""
    clip, pictures = (frames[:, ::4, ::4, 1].astype(np.float32) for frames in (clip, pictures))
    return np.abs(clip[:, None] - pictures[None]).mean(axis=(2, 3)).argmin(axis=1).tolist()


@settings(max_examples=25, deadline=None)
@given(indices=st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=6))
def test_seeking_gives_the_pixels_of_a_whole_decode(video, indices):
    path, pictures = video
    sought, whole = read_video(path, indices), read_video_whole(path, indices)
    assert sought.dtype == np.uint8 and sought.shape == (len(indices), *pictures.shape[1:])
    assert np.array_equal(sought, whole)
    assert nearest(sought, pictures) == indices


def test_seeking_decodes_only_the_groups_it_needs(video, monkeypatch):
    path, _ = video
    fed = []
    decode = video_files._decode
    monkeypatch.setattr(
        video_files, "_decode", lambda codec, packets: fed.append(len(packets)) or decode(codec, packets)
    )
    read_video(path, [0, 14, 39])
    assert [count for count in fed if count] == [1, 3, 4]  # key frames lie at 0, 12, 24, 36


@pytest.mark.parametrize(("name", "codec"), [("b.avi", "mpeg4"), ("b.mp4", "libx264")])
def test_frames_stored_out_of_order_are_decoded_whole(tmp_path, name, codec):
    pictures = write_video(tmp_path / name, FRAMES, codec=codec, b_frames=2)
    clip = read_video(tmp_path / name, [3, 17, 39])
    assert np.array_equal(clip, read_video_whole(tmp_path / name)[[3, 17, 39]])
    assert nearest(clip, pictures) == [3, 17, 39]


def test_all_frames_are_read_without_indices(video):
    path, _ = video
    assert count_frames(path) == FRAMES
    assert np.array_equal(read_video(path), read_video_whole(path))


@pytest.mark.parametrize("indices", [[FRAMES], [-1], []])
def test_an_index_outside_is_refused(video, indices):
    with pytest.raises(LabError) as caught:
        read_video(video[0], indices)
    assert_mendable(caught.value, video[0])


def test_every_truncation_is_noticed(video, tmp_path):
    data, cut = video[0].read_bytes(), tmp_path / "cut.avi"
    for length in [0, 1, 11, 12, 500, *np.random.default_rng(0).integers(0, len(data), 60), len(data) - 1]:
        cut.write_bytes(data[:length])
        for read in (read_video, read_video_whole, count_frames):
            with pytest.raises(LabError) as caught:
                read(cut)
            assert_mendable(caught.value, cut)


def test_byte_noise_never_shortens_a_clip(video, tmp_path):
    rng, noisy = np.random.default_rng(1), tmp_path / "noisy.avi"
    for _ in range(40):
        data = bytearray(video[0].read_bytes())
        for place in rng.integers(0, len(data), 20):
            data[place] = rng.integers(256)
        noisy.write_bytes(data)
        try:
            assert len(read_video(noisy, range(FRAMES))) == FRAMES
        except LabError as error:
            assert_mendable(error, noisy)


@pytest.mark.parametrize("declared", [FRAMES - 1, FRAMES + 1, 10**9])
def test_a_header_that_lies_about_the_frame_count_is_refused(video, tmp_path, declared):
    data = bytearray(video[0].read_bytes())
    length = data.index(b"strh") + 8 + 32  # dwLength of the stream header
    assert int.from_bytes(data[length : length + 4], "little") == FRAMES
    data[length : length + 4] = declared.to_bytes(4, "little")
    (tmp_path / "lie.avi").write_bytes(data)
    with pytest.raises(LabError, match="frames"):
        read_video(tmp_path / "lie.avi", [0])


def test_other_files_under_a_video_name_are_refused(video, tmp_path, monkeypatch):
    playlist = tmp_path / "playlist.avi"  # a format that makes a reader open other files
    playlist.write_text(f"#EXTM3U\n#EXTINF:1,\n{video[0]}\n#EXT-X-ENDLIST\n", encoding="utf-8")
    (tmp_path / "text.avi").write_text("no video", encoding="utf-8")
    (tmp_path / "folder.avi").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.avi", format="PNG")
    for name in ("playlist.avi", "text.avi", "folder.avi", "picture.avi", "missing.avi"):
        with pytest.raises(LabError) as caught:
            read_video(tmp_path / name)
        assert_mendable(caught.value, tmp_path / name)
    monkeypatch.setattr(video_files, "MAX_VIDEO_PIXELS", 320 * 180 - 1)
    with pytest.raises(LabError, match="320x180"):
        read_video(video[0], [0])


def test_depth_is_read_to_the_last_bit(tmp_path):
    depth = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    write_depth(tmp_path / "d.png", depth)
    read = read_depth(tmp_path / "d.png")
    assert read.dtype == np.uint16 and np.array_equal(read, depth)


@pytest.mark.parametrize(
    ("mode", "found"),
    [("L", "8-bit grey"), ("RGB", "8-bit RGB"), ("P", "palette"), ("1", "1-bit"), ("RGBA", "alpha")],
)
def test_pictures_of_other_kinds_are_refused(tmp_path, mode, found):
    Image.new(mode, (8, 8)).save(tmp_path / "d.png")
    with pytest.raises(LabError, match=found) as caught:
        read_depth(tmp_path / "d.png")
    assert_mendable(caught.value, tmp_path / "d.png")


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 16, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "bomb.png").write_bytes(bomb)
    monkeypatch.setattr(video_files.Image, "open", lambda *_, **__: pytest.fail("the decoder was called"))
    with pytest.raises(LabError, match="40000x40000") as caught:
        read_depth(tmp_path / "bomb.png")
    assert_mendable(caught.value, tmp_path / "bomb.png")


def test_every_flipped_bit_and_cut_of_a_depth_image_is_noticed(tmp_path):
    path, rng = tmp_path / "d.png", np.random.default_rng(0)
    write_depth(path, rng.integers(0, 5000, (20, 24)))
    data = path.read_bytes()
    damaged = [data[:length] for length in range(0, len(data), 37)]
    for bit in rng.integers(0, 8 * len(data), 300):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(LabError) as caught:
            read_depth(path)
        assert_mendable(caught.value, path)


def test_depth_frames_are_counted_from_zero(tmp_path):
    depth = write_depth_frames(tmp_path / "clip", 12)
    names = [path.name for path in Frames(tmp_path / "clip").files]
    assert names[::11] == ["MDepth-00000001.png", "MDepth-00000012.png"]
    assert np.array_equal(read_depth_frames(tmp_path / "clip", [0, 11, 11, 4]), depth[[0, 11, 11, 4]])
    assert np.array_equal(read_depth_frames(tmp_path / "clip"), depth)
    with pytest.raises(LabError, match="0 to 11"):
        read_depth_frames(tmp_path / "clip", [12])


@pytest.mark.parametrize("gone", [1, 5, None])
def test_a_gap_in_the_depth_frames_is_noticed(tmp_path, gone):
    write_depth_frames(tmp_path / "clip", 8)
    for number in range(1, 9):
        if gone in (number, None):
            (tmp_path / "clip" / f"MDepth-{number:08d}.png").unlink()
    with pytest.raises(LabError, match=f"number {gone} missing" if gone else "images, found none") as caught:
        _ = Frames(tmp_path / "clip").files
    assert_mendable(caught.value, tmp_path / "clip")


def test_depth_frames_of_two_sizes_and_missing_folders_are_refused(tmp_path):
    write_depth_frames(tmp_path / "clip", 3)
    write_depth(tmp_path / "clip" / "MDepth-00000002.png", np.ones((8, 8)))
    for folder in (tmp_path / "clip", tmp_path / "none"):
        with pytest.raises(LabError) as caught:
            read_depth_frames(folder)
        assert_mendable(caught.value, folder)


def test_a_16_bit_picture_that_is_not_a_png_is_refused(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.ones((8, 8), np.uint16)).save(stream, format="TIFF")
    (tmp_path / "d.png").write_bytes(stream.getvalue())
    with pytest.raises(LabError, match="PNG"):
        read_depth(tmp_path / "d.png")


def test_damaged_files_are_read_exactly_or_refused(tmp_path):
    """A hundred and more of each; `python tests/fuzz_media.py` counts thousands."""
    images, videos = fuzz_images(tmp_path, 150, seed=1), fuzz_videos(tmp_path, 120, seed=1)
    told = Counter({what: 0 for what in ("exact", "refused", "different", "other")})
    for (_, what), number in images.items():
        told[what] += number
    assert told["exact"] + told["refused"] == 150 and told["refused"] > 100
    found = {what for _, what in videos}
    assert found <= {"exact", "refused", "different"}  # bits flipped in MPEG-4: their hash tells
    assert {damage for damage, what in videos if what == "different"} <= {"flipped", "noisy", "zeroed", "header_noise"}
    assert videos["truncated", "refused"] == videos["more_frames_declared", "refused"] == 15
