"""Checks of the exercises: each tries the reader's function and says like a tutor what went wrong.

A check prints one line when all is well. Otherwise it raises LabError, which names the exercise, what was
expected for which case, what came out, and a hint. The tests run the same checks on the lab's own code.
"""

from __future__ import annotations

import numpy as np

from .. import alignment, clips
from .claim_checks import (  # noqa: F401  offered here, too
    check_holm,
    check_iterations_saved,
    check_judgement,
    check_same_order,
)
from .connection_checks import (  # noqa: F401  offered here, too
    check_signal_shapes,
    check_slopes,
)
from .loss_checks import (  # noqa: F401  offered here, too
    check_generalized_distillation,
    check_hallucination_loss,
    check_soft_targets,
    check_teacher_is_a_target,
)
from .map_checks import (  # noqa: F401  offered here, too
    check_cka,
    check_largest_drops,
)
from .noise_checks import (  # noqa: F401  offered here, too
    check_crossing,
    check_speckle,
)
from .step_checks import (  # noqa: F401  offered here, too
    check_class_accuracy,
    check_clip_logits,
    check_fused_prediction,
    check_identity_kernel,
    check_inject,
    check_joint_loss,
    check_paired_interval,
    check_temporal_conv,
)
from .system_checks import (  # noqa: F401  offered here, too
    check_focal_channels,
    check_teacher_weights,
)
from .tutor import Function, answer, expect, numbers, patient, well_done

# -- 00 The question -------------------------------------------------------------------------------

VERDICTS = ("depth helped", "not shown to be depth", "no gain shown")


@patient
def check_verdict(verdict: Function) -> None:
    """Exercise 0.1: the intervals of row 15 minus row 2 and of row 15 minus its control, to a verdict."""
    exercise = "exercise 0.1"
    both = "a gain is shown where the whole interval lies above zero, that is where its lower end does"
    twin = "a gain over one RGB stream may come from twice the weights: ask the control, which has them too"
    for over_rgb, over_control, expected, hint in (
        ((4.0, 9.0), (1.0, 5.0), VERDICTS[0], both),
        ((4.0, 9.0), (-2.0, 3.0), VERDICTS[1], twin),
        ((4.0, 9.0), (-6.0, -1.0), VERDICTS[1], twin),
        ((-1.0, 6.0), (0.5, 4.0), VERDICTS[2], both),
        ((-8.0, -2.0), (-5.0, -1.0), VERDICTS[2], both),
    ):
        case = f"{over_rgb} over row 2 and {over_control} over the control"
        expect(exercise, case, expected, answer(exercise, case, verdict, over_rgb, over_control), hint)
    well_done(exercise)


@patient
def check_gap_closed(gap_closed: Function) -> None:
    """Exercise 0.2: share of the way from a baseline to an upper bound that a student has gone."""
    exercise = "exercise 0.2"
    for student, baseline, upper, expected, hint in (
        (70.0, 60.0, 80.0, 0.5, "the student's gain over the baseline, divided by the upper bound's"),
        (60.0, 60.0, 80.0, 0.0, "a student no better than the baseline closes nothing"),
        (50.0, 60.0, 80.0, -0.5, "a student below the baseline has gone backwards; do not cut at zero"),
        (85.0, 60.0, 80.0, 1.25, "a student may pass the bound; do not cut at one"),
    ):
        case = f"{student}, {baseline}, {upper}"
        expect(exercise, case, expected, numbers(exercise, case, gap_closed, student, baseline, upper), hint)
    well_done(exercise)


# -- 01 RGB-D clips --------------------------------------------------------------------------------


@patient
def check_sample_frames(sample_frames: Function) -> None:
    """Exercise 1.1: evenly spaced indices of so many frames, the first and the last among them."""
    exercise = "exercise 1.1"
    for available, count in ((5, 5), (10, 5), (103, 5), (7, 3), (18, 5), (3, 5)):
        case = f"{count} of {available} frames"
        found = numbers(exercise, case, sample_frames, available, count)
        hint = "cut fractions off, as the released code does, rather than rounding"
        if np.shape(found) != (count,):
            hint = f"return {count} indices; where the clip is shorter, frames repeat"
        elif found[-1] != available - 1 or found[0] != 0:
            hint = f"first and last frame must be in: go from 0 to {available - 1} in {count - 1} equal steps"
        expect(exercise, case, clips.sample_frames(available, count), found, hint)
    well_done(exercise)


@patient
def check_depth_levels(depth_levels: Function) -> None:
    """Exercise 1.2: a depth frame in mm to 0..1 by its own nearest and farthest reading; background is 0."""
    exercise = "exercise 1.2"
    frame = np.array([[0, 2000, 2500], [0, 3000, 2250]], np.uint16)
    case = f"the frame {frame.tolist()}"
    found = numbers(exercise, case, depth_levels, frame.copy())
    hint = "nearest reading to 0, farthest to 1, linear between"
    if np.allclose(found, frame / 3000):
        hint = "background is 0 but no reading: take the nearest of the readings above 0"
    elif found.min() < 0:
        hint = "background lies below the nearest reading: cut at 0"
    elif found.max() > 1:
        hint = "uint16 has no negative numbers and wraps around: turn the frame into floats first"
    expect(exercise, case, [[0, 0, 0.5], [0, 1, 0.25]], found, hint)
    case, hint = "a frame of background alone", "nothing was measured, so every level is 0"
    found = numbers(exercise, case, depth_levels, np.zeros((2, 2), np.uint16))
    expect(exercise, case, np.zeros((2, 2)), found, hint)
    well_done(exercise)


# -- 02 Alignment ----------------------------------------------------------------------------------


def _joints(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth and colour pixels (4, 25, 2) of ratio 2.9 with jitter; those not tracked are guesses."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(50, 350, (4, 25, 2))
    color = (depth + np.array([80.0, -15.0])) * 2.9 + rng.normal(0, 1.0, depth.shape)
    tracked = rng.random((4, 25)) < 0.5
    color[~tracked] = rng.uniform(0, 1000, (int((~tracked).sum()), 2))
    return depth, color, tracked


@patient
def check_estimate_ratio(estimate_ratio: Function) -> None:
    """Exercise 2.1: r of the supplement, the mean over both axes of the median ratio of joint distances."""
    exercise = "exercise 2.1"
    depth = np.array([[[100, 50], [200, 150], [260, 90]]], float)
    color = np.array([[[500, 300], [790, 586], [963, 414]]], float)
    found = numbers(exercise, "three joints", estimate_ratio, depth, color, np.ones((1, 3), bool))
    hint = "ratios of x and of y apart; the median of each axis; then the mean of the two"
    if np.allclose(found, 2.875625, atol=1e-4):
        hint = "take the median over an axis, not the mean: close joints give wild ratios"
    expect(exercise, "three joints", 2.876875, found, hint)
    depth, color, tracked = _joints(seed=2)
    case = "joints of which some are guesses"
    found = numbers(exercise, case, estimate_ratio, depth, color, tracked)
    careless = alignment.estimate_ratio(depth, color, np.ones_like(tracked))
    hint = "leave out pairs of joints that lie within a pixel of one another along the axis"
    if np.allclose(found, careless, atol=1e-2):
        hint = "use only pairs in which both joints are tracked"
    expect(exercise, case, alignment.estimate_ratio(depth, color, tracked), found, hint, within=5e-3)
    well_done(exercise)


@patient
def check_offset(offset: Function) -> None:
    """Exercise 2.2: where the colour image's corner falls in the depth image, in depth pixels."""
    exercise = "exercise 2.2"
    depth, color, tracked = _joints(seed=3)
    depth, color = depth[tracked], color[tracked]
    color[:3] += 900  # three joints gone wild
    differences = depth - color / 2.9
    found = numbers(exercise, "joints of ratio 2.9", offset, depth, color, 2.9)
    hint = "divide the colour joints by the ratio, subtract them from the depth joints, take the median"
    for slip, mistake in (
        ("the sign: depth joints minus scaled colour joints", np.median(-differences, axis=0)),
        ("three joints are far off: take the median, which they do not move", differences.mean(axis=0)),
        ("these are colour pixels; divide by the ratio", np.median(2.9 * differences, axis=0)),
    ):
        if np.shape(found) == (2,) and np.allclose(found, mistake, atol=0.3):
            hint = slip
    expect(exercise, "joints of ratio 2.9", np.median(differences, axis=0), found, hint)
    well_done(exercise)
