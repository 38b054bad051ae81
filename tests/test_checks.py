"""The exercises' checks: the lab's own code passes, and typical mistakes get the hint meant for them."""

from __future__ import annotations

import numpy as np
import pytest

from labkit import alignment, checks, clips, metrics
from labkit.errors import LabError


def verdict(over_rgb, over_control):
    if over_rgb[0] <= 0:
        return "no gain shown"
    return "depth helped" if over_control[0] > 0 else "not shown to be depth"


def depth_levels(frame):
    near = frame[frame > 0].min() if frame.any() else 0
    return np.clip((frame.astype(float) - near) / max(float(frame.max()) - near, 1), 0, 1)


def offset(depth_xy, color_xy, ratio):
    return np.median(depth_xy - color_xy / ratio, axis=0)


def gap_closed(student, baseline, upper):
    return metrics.gap_closed(student, baseline, upper).value


RIGHT = {
    checks.check_verdict: verdict,
    checks.check_gap_closed: gap_closed,
    checks.check_sample_frames: clips.sample_frames,
    checks.check_depth_levels: depth_levels,
    checks.check_estimate_ratio: alignment.estimate_ratio,
    checks.check_offset: offset,
}


def ratio_by(summary, *, careful=True):
    def estimate(depth_xy, color_xy, tracked):
        used = tracked if careful else np.ones_like(tracked)
        rx, ry = alignment.pair_ratios(depth_xy, color_xy, used)
        return (summary(rx) + summary(ry)) / 2

    return estimate


MISTAKES = [
    (checks.check_verdict, lambda rgb, control: verdict(rgb, rgb), "ask the control"),
    (checks.check_verdict, lambda rgb, control: "depth helped", "ask the control"),
    (checks.check_verdict, lambda rgb, control: verdict((sum(rgb), 0), control), "whole interval lies above"),
    (checks.check_gap_closed, lambda s, b, u: s / u, "gain over the baseline"),
    (checks.check_gap_closed, lambda s, b, u: max(0, (s - b) / (u - b)), "do not cut at zero"),
    (checks.check_gap_closed, lambda s, b, u: min(1, (s - b) / (u - b)), "do not cut at one"),
    (checks.check_gap_closed, lambda s, b, u: 100 * (s - b) / (u - b), "gain over the baseline"),
    (checks.check_sample_frames, lambda n, k: np.arange(k) * n // k, "first and last frame must be in"),
    (checks.check_sample_frames, lambda n, k: np.linspace(0, n - 1, k).round(), "cut fractions off"),
    (checks.check_sample_frames, lambda n, k: np.arange(min(n, k)), "first and last frame must be in"),
    (checks.check_sample_frames, lambda n, k: np.unique(clips.sample_frames(n, k)), "frames repeat"),
    (checks.check_depth_levels, lambda d: (d - d.min()) / max(d.max() - d.min(), 1), "no reading"),
    (checks.check_depth_levels, lambda d: (d.astype(float) - 2000) / 1000, "cut at 0"),
    (checks.check_depth_levels, lambda d: (d - np.uint16(2000)) / 1000, "wraps around"),
    (
        checks.check_depth_levels,
        lambda d: np.clip((d.astype(float) - 2000) / 1000, 0, 1) + float(not d.any()),
        "nothing was measured",
    ),
    (checks.check_estimate_ratio, ratio_by(np.mean), "not the mean"),
    (checks.check_estimate_ratio, ratio_by(np.median, careful=False), "both joints are tracked"),
    (checks.check_estimate_ratio, lambda d, c, t: 1 / alignment.estimate_ratio(d, c, t), "of each axis"),
    (checks.check_offset, lambda d, c, r: -offset(d, c, r), "the sign"),
    (checks.check_offset, lambda d, c, r: (d - c / r).mean(axis=0), "take the median"),
    (checks.check_offset, lambda d, c, r: r * offset(d, c, r), "divide by the ratio"),
    (checks.check_offset, lambda d, c, r: np.median(d - c, axis=0), "divide the colour joints"),
]  # fmt: skip


def test_every_check_is_tested_here():
    named = {name for name in vars(checks) if name.startswith("check_")}
    assert named == {check.__name__ for check in RIGHT} == {check.__name__ for check, _, _ in MISTAKES}


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_a_right_solution_passes_with_one_line(check, capsys):
    assert check(RIGHT[check]) is None
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(("check", "solution", "hint"), MISTAKES)
def test_a_typical_mistake_gets_its_own_hint(check, solution, hint):
    with pytest.raises(LabError) as caught:
        check(solution)
    assert hint in caught.value.fix
    assert caught.value.path.startswith("exercise")
    assert caught.value.reason.startswith("expected ") and ", found " in caught.value.reason


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_a_forgotten_return_is_named(check):
    with pytest.raises(LabError, match="return"):
        check(lambda *arguments: None)


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_text_in_place_of_numbers_and_back_is_refused(check):
    with pytest.raises(LabError):
        check(lambda *arguments: 7)
    with pytest.raises(LabError):
        check(lambda *arguments: "seven")
