"""Which frames of RGB and of depth belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from ...errors import LabError
from .video import FETCH, NUMBER, Frames

SAME_RATE = 0.03  # share by which rates, and counts, of two videos may differ, and be paired by position
SAME_DURATION = 0.1  # share by which the durations of two videos may differ without a remark
UNLIKE = 1.2  # times as many images as frames of a video: without numbers or times these are not of one rate
GAP = 1.5  # usual steps between two frames: one is missing

Pairs = tuple[list[int], list[int], str]


def pair_frames(rgb: Frames, depth: Frames) -> Pairs:
    """Positions of the RGB and of the depth frames that belong together, in order of time, and a remark or "".

    Images of two folders, or of two names with a `*`, belong together by the numbers or times in their names, or by
    whole names; frames of two videos of different rates by time. Beside a video, images with a gap in their numbers
    are taken for frames of these numbers. All others do by position, as many as the shorter has. Raises LabError
    where two names with a `*` have nothing in common, and where images beside a video are far more, or fewer, than it
    has frames: nothing tells their rate.
    """
    if rgb.kind == depth.kind == "video":
        return _pair_videos(rgb.times, depth.times)
    if rgb.names is not None and depth.names is not None:
        return _pair_names(rgb, depth)
    if rgb.names is None and depth.names is None:
        return _by_position(rgb.count, depth.count)
    images, film, what = (depth, rgb, "depth") if rgb.names is None else (rgb, depth, "RGB")
    of_images, of_film, remark = _pair_with_film(images.names, film.count, what)
    counts = len(images.names), film.count
    if not remark and max(counts) > UNLIKE * min(counts):
        fix = "write both as videos, or both as images whose names share numbers or times"
        raise LabError.mismatch(images.path, f"about {film.count} {what} images, as many as frames", counts[0], fix)
    return (of_film, of_images, remark) if rgb.names is None else (of_images, of_film, remark)


def _by_position(rgb: int, depth: int, remark: str = "") -> Pairs:
    shorter = list(range(min(rgb, depth)))
    return shorter, shorter, remark


def _pair_videos(rgb: np.ndarray, depth: np.ndarray) -> Pairs:
    """By the times of their frames, in seconds after the first; by position where these are as good as the same."""
    counts = np.array([len(rgb), len(depth)])
    if counts.min() == 1:
        return _by_position(*counts)
    rates = np.array([(len(times) - 1) / times[-1] for times in (rgb, depth)])
    seconds = counts / rates
    same_rate, same_count = (np.ptp(values) <= SAME_RATE * values.max() for values in (rates, counts))
    same_duration = np.ptp(seconds) <= SAME_DURATION * seconds.max()
    told = "RGB has {:.3g} frames a second, depth {:.3g}".format(*rates)
    if not same_duration:
        told += "; RGB lasts {:.3g} s, depth {:.3g} s".format(*seconds)
    even = not any(map(_has_gap, (rgb, depth)))
    if same_rate and even:
        return _by_position(*counts, "" if same_duration else f"{told}: paired by position")
    if same_count and not same_duration:
        return _by_position(*counts, f"{told}: paired by position")
    return *_nearest(rgb, depth), f"{told}: paired by time"


def _has_gap(times: np.ndarray) -> bool:
    steps = np.diff(times)
    return bool(steps.max() > GAP * np.median(steps))


def _nearest(rgb: np.ndarray, depth: np.ndarray) -> tuple[list[int], list[int]]:
    """Positions of numbers that lie within half a step of the denser of two rising rows; either is used once."""
    if len(rgb) < len(depth):
        return _nearest(depth, rgb)[::-1]
    step = np.median(np.diff(rgb))
    after = np.clip(np.searchsorted(rgb, depth), 1, len(rgb) - 1)
    near = after - (depth - rgb[after - 1] <= rgb[after] - depth)
    chosen = [(int(one), other) for other, one in enumerate(near) if abs(rgb[one] - depth[other]) <= step / 2]
    once = {one: other for one, other in reversed(chosen)}
    return sorted(once), [once[one] for one in sorted(once)]


def _rows(*names: Sequence[str]) -> list[list[tuple[Decimal, ...]]] | None:
    """The numbers in the names of each modality that vary; None unless all names have as many of these."""
    tables = []
    for of_one in names:
        rows = [list(map(Decimal, re.findall(NUMBER, name))) for name in of_one]
        if not rows[0] or len(set(map(len, rows))) > 1:
            return None
        tables.append(np.array(rows, object))
    varying = [(table != table[0]).any(axis=0) for table in tables]
    if len(set(map(len, varying))) == 1:  # one form: what varies in one modality counts in both
        varying = [np.any(varying, axis=0)] * len(tables)
    if len({which.sum() for which in varying}) > 1:
        return None
    return [list(map(tuple, table[:, which])) for table, which in zip(tables, varying, strict=True)]


def _line(*rows: list[tuple[Decimal, ...]]) -> list[np.ndarray] | None:
    """Rows of one number each, from the smallest of all on, as float64; None where they do not rise."""
    if any(len(row) != 1 for of_one in rows for row in of_one):
        return None
    first = min(row[0] for of_one in rows for row in of_one)
    lines = [np.array([float(row[0] - first) for row in of_one]) for of_one in rows]
    return lines if all((np.diff(line) > 0).all() for line in lines) else None


def _pair_names(rgb: Frames, depth: Frames) -> Pairs:
    names = rgb.names, depth.names
    rows = _rows(*names)
    if rows is not None and (lines := _line(*rows)) is not None:
        pairs = _nearest(*lines)
        exact = all(lines[0][one] == lines[1][other] for one, other in zip(*pairs, strict=True))
    else:
        keys = rows or names
        place = {key: n for n, key in enumerate(keys[1])}
        common = [(n, place[key]) for n, key in enumerate(keys[0]) if key in place]
        pairs, exact = ([one for one, _ in common], [other for _, other in common]), True
    counts = len(names[0]), len(names[1])
    if not pairs[0]:
        if "*" in rgb.path.name:
            found = {"rgb": names[0][0], "depth": names[1][0]}
            raise LabError.mismatch(rgb.path, "frames of one name in all modalities", found, FETCH)
        return _by_position(*counts, "RGB and depth images have no number in common: paired by position")
    if exact and len(pairs[0]) == min(counts):
        return *pairs, ""
    how = "number in their names" if exact else "nearest number in their names"
    return *pairs, f"{len(pairs[0])} of {counts[0]} RGB and {counts[1]} depth images: paired by the {how}"


def _pair_with_film(names: list[str], count: int, what: str) -> Pairs:
    """Positions of images, and of the frames of a video or MATLAB file of `count` frames, that belong together."""
    rows = _rows(names)
    line = _line(*rows) if rows else None
    if line is None:
        return _by_position(len(names), count)
    numbers, gap = [row[0] for row in rows[0]], _has_gap(line[0])
    if not gap and (numbers[0] in (0, 1) or len(names) == count):
        return _by_position(len(names), count)
    base = 1 if numbers[0] == 1 or numbers[-1] == count else 0
    if numbers[-1] < count + base and all(number == int(number) for number in numbers):
        told = f"{what} images are {len(names)}, numbered {numbers[0]} to {numbers[-1]}: paired by number, {base} first"
        return list(range(len(names))), [int(number) - base for number in numbers], told
    return _by_position(len(names), count, f"numbers of {what} images have gaps: paired by position" if gap else "")
