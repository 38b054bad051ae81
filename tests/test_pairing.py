"""Which frames of RGB and depth belong together, told by what is written in them: frame n has the level 10 n."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from ntu_files import assert_mendable
from PIL import Image

from labkit.cli.main import main
from labkit.data.media.pairing import pair_frames
from labkit.data.media.video import Frames
from labkit.errors import LabError


def write_rgb(folder: Path, frames: dict[str, int], ending: str = ".png") -> Frames:
    """A folder of pictures; `frames` has the number of the moment that each name shows."""
    folder.mkdir(parents=True)
    for name, moment in frames.items():
        Image.fromarray(np.full((12, 16, 3), 10 * moment, np.uint8)).save(folder / f"{name}{ending}")
    return Frames(folder)


def write_depth(folder: Path, frames: dict[str, int]) -> Frames:
    folder.mkdir(parents=True)
    for name, moment in frames.items():
        Image.fromarray(np.full((12, 16), 10 * moment, np.uint16)).save(folder / f"{name}.png")
    return Frames(folder)


def write_film(path: Path, moments, times=None, rate=25, codec="libx264", pix_fmt="yuv444p") -> Frames:
    """A video whose frames are shown at these times, in steps of 1 / `rate` seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"qp": "0"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for number, moment in enumerate(moments):
            kind = (np.uint16, ()) if pix_fmt == "gray16le" else (np.uint8, (3,))
            image = np.full((48, 64, *kind[1]), 10 * moment, kind[0])
            frame = av.VideoFrame.from_ndarray(image, format="gray16le" if kind[1] == () else "rgb24")
            frame.pts, frame.time_base = times[number] if times else number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Frames(path)


def moments(rgb: Frames, depth: Frames) -> tuple[list[tuple[int, int]], str]:
    """The moments that each pair shows, and the remark."""
    of_rgb, of_depth, remark = pair_frames(rgb, depth)
    seen = np.rint(rgb.rgb(of_rgb).mean(axis=(1, 2, 3)) / 10), depth.depth(of_depth).max(axis=(1, 2)) / 10
    return [(int(one), int(other)) for one, other in zip(*seen, strict=True)], remark


def alike(shown) -> list[tuple[int, int]]:
    return [(moment, moment) for moment in shown]


@pytest.mark.parametrize("seconds", ["{:.6f}", "{!r}"], ids=["six digits", "as Python prints them"])
def test_pictures_named_by_times_are_in_order_of_time_and_pair_with_the_nearest(tmp_path, seconds):
    clock = 1305031102.5
    rgb = write_rgb(tmp_path / "rgb", {seconds.format(round(clock + n / 30, 4)): n for n in range(20)})
    depth = write_depth(
        tmp_path / "depth", {seconds.format(round(clock + n / 30 + 0.009, 4)): n for n in (0, 1, *range(5, 19))}
    )
    shown, remark = moments(rgb, depth)
    assert shown == alike((0, 1, *range(5, 19))) and "nearest number" in remark


def test_whole_numbers_of_nanoseconds_are_times_too(tmp_path):
    clock = 1403715273262142976
    rgb = write_rgb(tmp_path / "rgb", {str(clock + 50_000_000 * n): n for n in range(10)})
    depth = write_depth(tmp_path / "depth", {str(clock + 50_000_000 * n + 7_000_001): n for n in range(3, 10)})
    assert moments(rgb, depth)[0] == alike(range(3, 10))


def test_a_name_that_may_mean_two_moments_is_refused(tmp_path):
    rgb = write_rgb(tmp_path / "rgb", {f"take1.{n}": n for n in range(8, 12)})
    with pytest.raises(LabError, match="names that tell the order") as caught:
        _ = rgb.files
    assert_mendable(caught.value, tmp_path / "rgb")


def test_as_many_images_of_other_numbers_pair_by_number_and_the_rest_is_told(tmp_path):
    rgb = write_rgb(tmp_path / "rgb", {f"{n:06d}": n for n in range(12)}, ".jpg")
    depth = write_depth(tmp_path / "depth", {f"{n:06d}": n for n in range(8, 20)})
    remark = "4 of 12 RGB and 12 depth images: paired by the number in their names"
    assert moments(rgb, depth) == (alike(range(8, 12)), remark)


def test_the_quick_check_tells_how_frames_are_paired(tmp_path, capsys):
    write_rgb(tmp_path / "set" / "x" / "a_color", {str(n): n for n in range(12)})
    write_depth(tmp_path / "set" / "x" / "a_depth", {str(n): n for n in range(8, 20)})
    main(["data", "check", str(tmp_path / "set"), "--quick"])
    assert "pairing of frames" in capsys.readouterr().out


def test_a_number_of_the_camera_is_none_of_the_frame(tmp_path):
    rgb = write_rgb(tmp_path / "rgb", {f"cam0_{n}": n for n in range(8, 12)})
    depth = write_depth(tmp_path / "depth", {f"cam1_{n}": n for n in (8, 10, 11)})
    assert moments(rgb, depth) == (alike((8, 10, 11)), "")


def test_names_of_letters_pair_by_name(tmp_path):
    rgb = write_rgb(tmp_path / "rgb", {"open": 1, "push": 2, "raise": 3})
    depth = write_depth(tmp_path / "depth", {"push": 2, "raise": 3, "wave": 4})
    assert moments(rgb, depth)[0] == alike((2, 3))


def test_independent_counters_are_paired_by_position_with_a_remark(tmp_path):
    rgb = write_rgb(tmp_path / "rgb", {f"{n + 5000}": n for n in range(5)})
    depth = write_depth(tmp_path / "depth", {f"{n + 100}": n for n in range(5)})
    shown, remark = moments(rgb, depth)
    assert shown == alike(range(5)) and "by position" in remark


def test_one_frame_in_two_files_is_refused(tmp_path):
    rgb = write_rgb(tmp_path / "rgb", {"1": 1, "2": 2})
    shutil.copy(tmp_path / "rgb" / "2.png", tmp_path / "rgb" / "2.jpg")
    with pytest.raises(LabError, match=r"2\.jpg and 2\.png"):
        pair_frames(rgb, write_depth(tmp_path / "depth", {"1": 1, "2": 2}))


@pytest.mark.parametrize("first", [0, 1])
def test_beside_a_video_images_with_gaps_are_taken_by_their_numbers(tmp_path, first):
    rgb = write_film(tmp_path / "c.mp4", range(12))
    here = (0, 1, 2, 8, 9, 11)
    shown, remark = moments(rgb, write_depth(tmp_path / "gaps", {f"{n + first}": n for n in here}))
    assert shown == alike(here) and "paired by number" in remark
    whole = write_depth(tmp_path / "whole", {f"{n + first}": n for n in range(11)})
    assert moments(rgb, whole) == (alike(range(11)), "")
    late = write_depth(tmp_path / "late", {f"{n + first}": n for n in range(5, 12)})
    assert moments(rgb, late)[0] == alike(range(5, 12))
    far = write_depth(tmp_path / "far", {f"{n + 900}": n for n in here})
    assert moments(rgb, far)[1] == "numbers of depth images have gaps: paired by position"


@pytest.mark.parametrize("count", [5, 10, 12])
def test_beside_a_video_images_of_another_rate_are_refused(tmp_path, count):
    depth = write_depth(tmp_path / "depth", {f"{number:03}": number for number in range(count)})
    film = write_film(tmp_path / "rgb.avi", range(12) if count == 12 else [number % 20 for number in range(30)])
    if count == 12:
        assert moments(film, depth) == (alike(range(12)), "")
        return
    with pytest.raises(LabError, match=f"about 30 depth images, as many as frames, found {count}") as caught:
        pair_frames(film, depth)
    assert_mendable(caught.value, tmp_path / "depth")


def test_videos_pair_by_the_times_of_their_frames(tmp_path):
    """Frames that were lost on the way leave a gap in the times; a rate that differs, many."""
    rgb = write_film(tmp_path / "c.mkv", range(20))
    lost = [*range(6), *range(12, 20)]
    depth = write_film(tmp_path / "lost.mkv", lost, lost, codec="ffv1", pix_fmt="gray16le")
    shown, remark = moments(rgb, depth)
    assert shown == alike(lost) and "paired by time" in remark
    slow = write_film(tmp_path / "slow.mkv", range(0, 20, 5), rate=5, codec="ffv1", pix_fmt="gray16le")
    shown, remark = moments(rgb, slow)
    assert shown == alike(range(0, 20, 5)) and "RGB has 25 frames a second, depth 5" in remark


def test_a_video_that_ends_early_and_one_of_a_wrong_rate_are_told(tmp_path):
    rgb = write_film(tmp_path / "c.mkv", range(20))
    early = write_film(tmp_path / "early.mkv", range(9), codec="ffv1", pix_fmt="gray16le")
    shown, remark = moments(rgb, early)
    assert shown == alike(range(9)) and "RGB lasts 0.8 s, depth 0.36 s" in remark
    wrong = write_film(tmp_path / "wrong.mkv", range(20), rate=10, codec="ffv1", pix_fmt="gray16le")
    shown, remark = moments(rgb, wrong)
    assert shown == alike(range(20)) and "RGB has 25 frames a second, depth 10" in remark
    same = write_film(tmp_path / "same.mkv", range(19), codec="ffv1", pix_fmt="gray16le")
    assert moments(rgb, same) == (alike(range(19)), "")


def test_names_of_two_forms_pair_by_the_number_that_varies(tmp_path):
    rgb = write_rgb(tmp_path / "rgb", {f"S001C002_{n:04d}": n for n in range(1, 9)})
    depth = write_depth(tmp_path / "depth", {f"img{n}": n for n in (1, 2, 5, 6, 8)})
    assert moments(rgb, depth) == (alike((1, 2, 5, 6, 8)), "")


def test_a_clock_of_several_numbers_pairs_by_all_of_them(tmp_path):
    clock = {n: f"12_{59 + n // 60 - 1:02d}_{n % 60:02d}" for n in range(56, 64)}
    rgb = write_rgb(tmp_path / "rgb", {clock[n]: n - 50 for n in range(56, 64)})
    depth = write_depth(tmp_path / "depth", {clock[n]: n - 50 for n in range(58, 64)})
    assert moments(rgb, depth) == (alike(range(8, 14)), "")
