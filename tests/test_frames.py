"""Frames from videos, folders, single images and MATLAB files: the same pixels, and typed refusals."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ntu_files import assert_mendable, write_depth, write_depth_frames, write_video
from PIL import Image
from replicas import write_depth_video
from scipy.io import savemat

from labkit.data.video import (
    MAX_VIDEO_PIXELS,
    Frames,
    check_video,
    natural,
    pair_frames,
    read_depth,
    read_mat_depth,
    read_picture,
    read_video_whole,
)
from labkit.errors import LabError

RNG = np.random.default_rng(0)
DEPTH = RNG.integers(0, 5000, (4, 12, 16), dtype=np.uint16)


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
    assert rgb.keys == ["1", "2", "10"] and (rgb.count, depth.count) == (3, 4)
    assert np.array_equal(rgb.rgb([2, 0, 0]), pictures[[2, 0, 0]])
    assert np.array_equal(depth.depth([0, 3]), DEPTH[[0, 3]])
    alone = Frames(tmp_path / "f_10_rgb.png")
    assert alone.count == 1 and alone.keys is None and np.array_equal(alone.rgb([0]), pictures[2:])
    folder = tmp_path / "folder"
    pictures = write_pictures(folder, ["1.png", "2.png"])
    (folder / "Thumbs.db").touch()
    assert np.array_equal(Frames(folder).rgb([0, 1]), pictures)


def test_frames_are_paired_by_name_where_names_tell_and_else_by_position(tmp_path):
    for number in (1, 2, 4, 9):
        write_depth(tmp_path / f"{number}_depth.png", DEPTH[0])
    write_pictures(tmp_path, ["2_rgb.png", "3_rgb.png", "9_rgb.png"])
    named = {"rgb": Frames(tmp_path / "*_rgb.png"), "depth": Frames(tmp_path / "*_depth.png")}
    assert pair_frames(named) == {"rgb": [0, 2], "depth": [1, 3]}
    write_video(tmp_path / "c.avi", 3)
    placed = {"rgb": Frames(tmp_path / "c.avi"), "depth": named["depth"]}
    assert pair_frames(placed) == {"rgb": [0, 1, 2], "depth": [0, 1, 2]}
    strangers = {"rgb": Frames(tmp_path / "3_*.png"), "depth": Frames(tmp_path / "4_*.png")}
    with pytest.raises(LabError, match="one name"):
        pair_frames(strangers)


def test_ntu_folders_keep_their_rule_of_no_gap(tmp_path):
    depth = write_depth_frames(tmp_path / "clip", 5)
    frames = Frames(tmp_path / "clip")
    assert np.array_equal(frames.depth(range(5)), depth)
    frames.files[2].unlink()
    with pytest.raises(LabError, match="number 3 missing"):
        _ = Frames(tmp_path / "clip").count


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
    fraction, holes = DEPTH + 0.5, np.where(DEPTH == 0, np.nan, DEPTH)
    holes[0, 0, 0] = np.nan
    for wrong in (fraction, holes, DEPTH.astype(np.int32) - 1, DEPTH * 20.0 + 1e6):
        savemat(tmp_path / "wrong.mat", {"d_depth": np.moveaxis(wrong, 0, 2)})
        with pytest.raises(LabError, match="whole numbers"):
            read_mat_depth(tmp_path / "wrong.mat")
    savemat(tmp_path / "other.mat", {"d_skel": np.zeros((20, 3, 4))})
    savemat(tmp_path / "objects.mat", {"d_depth": np.array([{"a": 1}, "text"], dtype=object)})
    for name in ("other", "objects"):
        with pytest.raises(LabError, match=r"d_depth|object values"):
            read_mat_depth(tmp_path / f"{name}.mat")


# The same damage each time: SciPy's reader can crash the process on a file that is damaged at random (seen once).
@settings(max_examples=60, deadline=None, derandomize=True)
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


@pytest.mark.parametrize(("side", "found"), [(5000, "5000x5000"), (12_000, "12000x12000"), (40_000, "1600000000")])
def test_a_picture_too_large_is_judged_by_the_lab_s_own_limit(tmp_path, recwarn, side, found):
    """From the header, whose checksum is right; Pillow has limits and words of its own."""
    Image.new("RGB", (16, 12)).save(tmp_path / "p.png")
    raw = (tmp_path / "p.png").read_bytes()
    head = b"IHDR" + side.to_bytes(4) * 2 + raw[24:29]
    (tmp_path / "p.png").write_bytes(raw[:12] + head + zlib.crc32(head).to_bytes(4) + raw[33:])
    with pytest.raises(LabError, match=f"at most {MAX_VIDEO_PIXELS} pixels, found {found}"):
        read_picture(tmp_path / "p.png")
    assert not recwarn.list


def test_webm_is_a_video_and_kinds_without_a_length_are_refused(tmp_path):
    write_video(tmp_path / "c.webm", 5, codec="libvpx-vp9")
    assert Frames(tmp_path / "c.webm").count == 5 and Frames(tmp_path / "c.webm").rgb([0, 4]).shape[0] == 2
    (tmp_path / "c.mpg").write_bytes((tmp_path / "c.webm").read_bytes())
    with pytest.raises(LabError, match=r"declares its length: .avi, .*, found .mpg. Fix: convert it to MP4"):
        _ = Frames(tmp_path / "c.mpg").count


def test_what_is_no_picture_is_told_in_words(tmp_path):
    (tmp_path / "p.png").write_bytes(b"no picture")
    with pytest.raises(LabError, match="found no PNG, JPEG or BMP, or one whose head is damaged"):
        read_picture(tmp_path / "p.png")
    write_depth(tmp_path / "d.png", DEPTH[0])
    raw = (tmp_path / "d.png").read_bytes()
    (tmp_path / "d.png").write_bytes(raw[:29] + b"xxxx" + raw[33:])
    with pytest.raises(LabError, match="found no PNG, or one whose head is damaged"):
        read_depth(tmp_path / "d.png")


def test_checking_a_video_decodes_all_of_it(tmp_path):
    write_video(tmp_path / "c.avi", 20)
    frames = read_video_whole(tmp_path / "c.avi")
    assert check_video(tmp_path / "c.avi") == (20, frames.shape[2], frames.shape[1])
