"""Video, depth and picture files: the very pixels of every frame, and no damage that passes for a clip."""

from __future__ import annotations

import io
import zlib
from collections import Counter
from functools import partial

import numpy as np
import pytest
from fuzz_media import fuzz_images, fuzz_videos
from hypothesis import given, settings
from hypothesis import strategies as st
from ntu_files import assert_mendable, write_depth, write_depth_frames, write_video
from PIL import Image
from replicas import write_depth_video
from scipy.io import savemat

from labkit.data.media import video as video_files
from labkit.data.media.pairing import pair_frames
from labkit.data.media.video import (
    MAX_DEPTH_PIXELS,
    MAX_VIDEO_PIXELS,
    Frames,
    frame_times,
    natural,
    read_depth,
    read_depth_frames,
    read_mat_depth,
    read_picture,
    read_video,
)
from labkit.errors import LabError

FRAMES = 40
RNG = np.random.default_rng(0)
DEPTH = RNG.integers(0, 5000, (4, 12, 16), dtype=np.uint16)


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
    sought, whole = read_video(path, indices), read_video(path, indices, seek=False)
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
    assert np.array_equal(clip, read_video(tmp_path / name, seek=False)[[3, 17, 39]])
    assert nearest(clip, pictures) == [3, 17, 39]


def test_all_frames_are_read_without_indices(video):
    path, _ = video
    assert len(frame_times(path)) == FRAMES
    assert np.array_equal(read_video(path), read_video(path, seek=False))


@pytest.mark.parametrize("indices", [[FRAMES], [-1], []])
def test_an_index_outside_is_refused(video, indices):
    with pytest.raises(LabError) as caught:
        read_video(video[0], indices)
    assert_mendable(caught.value, video[0])


def test_every_truncation_is_noticed(video, tmp_path):
    data, cut = video[0].read_bytes(), tmp_path / "cut.avi"
    for length in [0, 1, 11, 12, 500, *np.random.default_rng(0).integers(0, len(data), 60), len(data) - 1]:
        cut.write_bytes(data[:length])
        for read in (read_video, partial(read_video, seek=False), frame_times):
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


# -- frames of a modality ------------------------------------------------------------------------


def write_pictures(folder, names, size=(16, 12), seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8) for _ in names]
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(folder / name)
    return np.stack(pictures)


@given(numbers=st.lists(st.integers(0, 10**9), min_size=1, max_size=8, unique=True))
def test_frames_are_in_the_order_of_their_numbers(numbers):
    names = sorted((f"frame_{number}_tc_7.png" for number in numbers), key=natural)
    assert names == [f"frame_{number}_tc_7.png" for number in sorted(numbers)]


def test_a_folder_a_pattern_and_single_images_give_the_written_pixels(tmp_path):
    names = ["f_1_rgb.png", "f_2_rgb.png", "f_10_rgb.png"]
    pictures = write_pictures(tmp_path, names)
    for number, image in zip((1, 2, 10, 11), DEPTH, strict=True):
        write_depth(tmp_path / f"f_{number}_depth.png", image)
    (tmp_path / "notes.txt").touch()
    rgb, depth = Frames(tmp_path / "f_*_rgb.png"), Frames(tmp_path / "f_*_depth.png")
    assert rgb.names == ["1", "2", "10"] and (rgb.count, depth.count) == (3, 4)
    assert np.array_equal(rgb.rgb([2, 0, 0]), pictures[[2, 0, 0]])
    assert np.array_equal(depth.depth([0, 3]), DEPTH[[0, 3]])
    alone = Frames(tmp_path / "f_10_rgb.png")
    assert alone.count == 1 and alone.names is None and np.array_equal(alone.rgb([0]), pictures[2:])
    folder = tmp_path / "folder"
    pictures = write_pictures(folder, ["1.png", "2.png"])
    (folder / "Thumbs.db").touch()
    assert np.array_equal(Frames(folder).rgb([0, 1]), pictures)


def test_frames_are_paired_by_name_where_names_tell_and_else_by_position(tmp_path):
    for number in (1, 2, 4, 9):
        write_depth(tmp_path / f"{number}_depth.png", DEPTH[0])
    write_pictures(tmp_path, ["2_rgb.png", "3_rgb.png", "9_rgb.png"])
    rgb, depth = Frames(tmp_path / "*_rgb.png"), Frames(tmp_path / "*_depth.png")
    assert pair_frames(rgb, depth)[:2] == ([0, 2], [1, 3])
    write_video(tmp_path / "c.avi", 3)
    assert pair_frames(Frames(tmp_path / "c.avi"), depth)[:2] == ([0, 1, 2], [0, 1, 2])
    with pytest.raises(LabError, match="one name"):
        pair_frames(Frames(tmp_path / "3_*.png"), Frames(tmp_path / "4_*.png"))


def test_depth_units_are_converted_and_checked(tmp_path):
    write_depth(tmp_path / "d.png", DEPTH[0])
    frames = Frames(tmp_path / "d.png")
    assert np.array_equal(frames.depth([0], unit=0.1)[0], np.rint(DEPTH[0] * 0.1))
    assert frames.depth([0], unit=0.1).dtype == np.uint16
    with pytest.raises(LabError, match=r"65\.5 m"):
        frames.depth([0], unit=1000)


def test_sixteen_bit_video_is_exact_and_eight_bit_is_refused(tmp_path):
    write_depth_video(tmp_path / "d.mkv", DEPTH)
    frames = Frames(tmp_path / "d.mkv")
    assert frames.count == 4 and np.array_equal(frames.depth([3, 0]), DEPTH[[3, 0]])
    write_depth_video(tmp_path / "eight.mkv", DEPTH, "gray")
    with pytest.raises(LabError, match="16-bit"):
        Frames(tmp_path / "eight.mkv").depth([0])


def test_matlab_depth_has_time_last_and_is_never_executed(tmp_path):
    for name, array in (("a", DEPTH), ("b", DEPTH.astype(float)), ("c", DEPTH[:1])):
        savemat(tmp_path / f"{name}.mat", {"d_depth": np.moveaxis(array, 0, 2), "other": 1})
        frames = Frames(tmp_path / f"{name}.mat")
        assert frames.count == len(array)
        assert np.array_equal(frames.depth(range(len(array))), array) and read_mat_depth(frames.path).dtype == np.uint16
    savemat(tmp_path / "one.mat", {"d_depth": DEPTH[0]})  # MATLAB drops a last axis of one
    assert np.array_equal(read_mat_depth(tmp_path / "one.mat"), DEPTH[:1])
    fraction, holes = DEPTH + 0.5, np.where(DEPTH == 0, np.nan, DEPTH)
    holes[0, 0, 0] = np.nan
    for wrong in (fraction, holes, DEPTH.astype(np.int32) - 1, DEPTH * 20.0 + 1e6):
        savemat(tmp_path / "wrong.mat", {"d_depth": np.moveaxis(wrong, 0, 2)})
        with pytest.raises(LabError, match="whole numbers"):
            read_mat_depth(tmp_path / "wrong.mat")
    savemat(tmp_path / "other.mat", {"d_skel": np.zeros((20, 3, 4))})
    savemat(tmp_path / "objects.mat", {"d_depth": np.array([{"a": 1}, "text"], dtype=object)})
    for name in ("other", "objects"):
        with pytest.raises(LabError, match=r"an array d_depth|readable MATLAB"):
            read_mat_depth(tmp_path / f"{name}.mat")


def test_a_matlab_file_of_an_unknown_kind_of_numbers_is_refused(tmp_path):
    """SciPy's reader ends the process here."""
    savemat(tmp_path / "d.mat", {"d_depth": np.moveaxis(DEPTH, 0, 2)})
    raw = bytearray((tmp_path / "d.mat").read_bytes())
    assert raw[0xC0] == 4  # uint16
    raw[0xC0:0xC2] = b"\x02\xd9"
    (tmp_path / "d.mat").write_bytes(raw)
    with pytest.raises(LabError, match=r"d\.mat: expected a readable MATLAB file"):
        read_mat_depth(tmp_path / "d.mat")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_matlab_files_are_read_exactly_or_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("mat")
    buffer = io.BytesIO()
    savemat(buffer, {"d_depth": np.moveaxis(DEPTH, 0, 2)}, do_compression=data.draw(st.booleans()))
    raw = bytearray(buffer.getvalue())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        for place in data.draw(st.lists(st.integers(0, min(300, len(raw) - 1)), min_size=1, max_size=4)):
            raw[place] ^= data.draw(st.integers(1, 255))
    (folder / "d.mat").write_bytes(raw)
    try:
        assert read_mat_depth(folder / "d.mat").dtype == np.uint16
    except LabError as error:
        assert_mendable(error, "d.mat")


@pytest.mark.parametrize("change", ["cut", "empty", "rgba", "sixteen", "bomb", "text", "folder"])
def test_pictures_are_refused_with_their_name(tmp_path, change):
    path = tmp_path / "p.png"
    picture = Image.fromarray(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    picture.save(path)
    raw = path.read_bytes()
    if change == "cut":
        path.write_bytes(raw[:-30])
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "rgba":
        picture.convert("RGBA").save(path)
    elif change == "sixteen":
        write_depth(path, DEPTH[0])
    elif change == "bomb":
        path.write_bytes(raw[:16] + (40000).to_bytes(4) * 2 + raw[24:])
    elif change == "text":
        path.write_bytes(b"no picture")
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(LabError) as caught:
        read_picture(path)
    assert_mendable(caught.value, path)


@pytest.mark.parametrize("side", [5000, 12_000, 40_000])
def test_a_picture_too_large_is_refused_from_its_header(tmp_path, recwarn, side):
    """By the lab's own limit, and from 180 million pixels on in Pillow's words; the header's checksum is right."""
    for read, most, mode in ((read_picture, MAX_VIDEO_PIXELS, "RGB"), (read_depth, MAX_DEPTH_PIXELS, "I;16")):
        Image.new(mode, (16, 12)).save(tmp_path / "p.png")
        raw = (tmp_path / "p.png").read_bytes()
        head = b"IHDR" + side.to_bytes(4) * 2 + raw[24:29]
        (tmp_path / "p.png").write_bytes(raw[:12] + head + zlib.crc32(head).to_bytes(4) + raw[33:])
        told = f"at most {most} pixels, found {side}x{side}" if side < 40_000 else f"found Image size .{side**2} pixels"
        with pytest.raises(LabError, match=told):
            read(tmp_path / "p.png")
    assert not recwarn.list


def test_webm_is_a_video_and_kinds_without_a_length_are_refused(tmp_path):
    write_video(tmp_path / "c.webm", 5, codec="libvpx-vp9")
    assert Frames(tmp_path / "c.webm").count == 5 and Frames(tmp_path / "c.webm").rgb([0, 4]).shape[0] == 2
    (tmp_path / "c.mpg").write_bytes((tmp_path / "c.webm").read_bytes())
    with pytest.raises(LabError, match=r"declares its length: .avi, .*, found .mpg. Fix: convert it to MP4"):
        _ = Frames(tmp_path / "c.mpg").count


def test_what_is_no_picture_is_told_in_words(tmp_path):
    (tmp_path / "p.png").write_bytes(b"no picture")
    with pytest.raises(LabError, match="found no PNG or JPEG or BMP, or one whose head is damaged"):
        read_picture(tmp_path / "p.png")
    write_depth(tmp_path / "d.png", DEPTH[0])
    raw = (tmp_path / "d.png").read_bytes()
    (tmp_path / "d.png").write_bytes(raw[:29] + b"xxxx" + raw[33:])
    with pytest.raises(LabError, match="found no PNG, or one whose head is damaged"):
        read_depth(tmp_path / "d.png")
