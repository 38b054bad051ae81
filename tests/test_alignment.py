"""Registration of RGB and depth: the paper's procedure, its robustness, and its error in pixels."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import LabError
from labkit.alignment import (
    Alignment,
    align_pair,
    align_points,
    estimate_ratio,
    fit_alignment,
    pair_ratios,
    plain_alignment,
    registration_error,
)
from labkit.data.modalities import KINECT_COLOR, KINECT_DEPTH, align_clip, kinect_alignment
from labkit.data.skeletons import Skeleton, single_body

# Three joints worked out by hand.
DEPTH = np.array([[(100, 50), (200, 150), (260, 90)]], float)
COLOR = np.array([[(500, 300), (790, 586), (963, 414)]], float)
TRACKED = np.ones((1, 3), bool)


def filmed(frames: int = 30, scale: float = 1, baseline: float = 0.052, seed: int = 0) -> Skeleton:
    """A walking, waving body seen by two parallel pinhole cameras with Kinect v2's fields of view."""
    rng = np.random.default_rng(seed)
    body = rng.normal(size=(25, 3)) * (0.25, 0.45, 0.1)
    path = np.cumsum(rng.normal(size=(frames, 1, 3)) * (0.03, 0, 0.03), axis=0)
    xyz = body + path + (0.2, 0, 3.3) + rng.normal(size=(frames, 25, 3)) * 0.03
    depth_xy = (365 * xyz[..., :2] / xyz[..., 2:] * (1, -1) + (256, 212)) / scale
    shifted = xyz[..., :2] + (baseline, 0)
    color_xy = (1060 * shifted / xyz[..., 2:] * (1, -1) + (960, 540)) / scale
    return single_body(xyz, depth_xy, color_xy, np.full((frames, 25), 2))


def test_three_joints_by_hand():
    rx, ry = pair_ratios(DEPTH, COLOR, TRACKED)
    np.testing.assert_allclose(rx, [2.9, 2.89375, 2.883333], atol=1e-6)
    np.testing.assert_allclose(ry, [2.86, 2.85, 2.866667], atol=1e-6)
    assert estimate_ratio(DEPTH, COLOR, TRACKED) == pytest.approx(2.876875, abs=1e-9)
    alignment = align_points(DEPTH, COLOR, TRACKED)
    assert alignment.ratio == pytest.approx(2.876875, abs=1e-9)
    apart = DEPTH[0] - replace(alignment, offset=(0.0, 0.0)).to_depth(COLOR[0])  # each joint's offset
    by_hand = [(-73.799696, -54.279818), (-74.603519, -53.693244), (-74.738214, -53.906148)]
    np.testing.assert_allclose(apart, by_hand, atol=1e-6)
    np.testing.assert_allclose(alignment.offset, [-74.603519, -53.906148], atol=1e-6)
    scaled = alignment.to_depth((1920, 1080)) - alignment.to_depth((0, 0))
    np.testing.assert_allclose(scaled, [667.390832, 375.407343], atol=1e-6)
    depth_box, color_box = alignment.crop_boxes((512, 424), (1920, 1080))
    np.testing.assert_allclose(depth_box, [0, 0, 512, 321.501195], atol=1e-6)
    np.testing.assert_allclose(color_box, [214.625, 155.08125, 1687.585, 1080], atol=1e-6)


def test_pair_ratios_equal_a_loop_over_pairs():
    rng = np.random.default_rng(1)
    depth, color = rng.normal(size=(2, 4, 25, 2)) * 3
    tracked = rng.random((4, 25)) < 0.8
    depth[0, 3], color[1, 4], depth[2, 5], color[3, 6, 0] = 0, 0, np.nan, np.inf
    slow = ([], [])
    for n, axis in np.ndindex(4, 2):
        for a, b in combinations(range(25), 2):
            values = np.concatenate([depth[n, [a, b]].ravel(), color[n, [a, b]].ravel()])
            zero = any(not joint[n, j].any() for joint in (depth, color) for j in (a, b))
            apart = depth[n, a, axis] - depth[n, b, axis]
            if tracked[n, [a, b]].all() and np.isfinite(values).all() and not zero and abs(apart) > 1:
                slow[axis].append((color[n, a, axis] - color[n, b, axis]) / apart)
    for ours, expected in zip(pair_ratios(depth, color, tracked), slow, strict=True):
        assert len(expected) > 100
        np.testing.assert_allclose(np.sort(ours), np.sort(expected), rtol=1e-12)


def test_no_usable_pair_is_an_error():
    for depth in (np.zeros_like(DEPTH), DEPTH * (0, 1) + (5, 0)):  # nothing; all in one column
        with pytest.raises(LabError, match=r"expected pairs of tracked joints, found none.*Fix"):
            estimate_ratio(depth, COLOR, TRACKED)


shift = st.tuples(st.floats(-500, 500), st.floats(-500, 500))


@settings(max_examples=40, deadline=None)
@given(shift, shift, st.floats(0.2, 5), st.integers(0, 100))
def test_ratio_ignores_shifts_and_scales_with_colour(depth_shift, color_shift, factor, seed):
    skeleton = filmed(3, seed=seed)
    depth, color, tracked = skeleton.depth_xy[:, 0], skeleton.color_xy[:, 0], skeleton.state[:, 0] == 2
    ratio = estimate_ratio(depth, color, tracked)
    moved = estimate_ratio(depth + 1000 + depth_shift, factor * color + 9000 + color_shift, tracked)
    assert moved == pytest.approx(factor * ratio, rel=1e-6)
    order = np.random.default_rng(seed).permutation(25)
    assert estimate_ratio(depth[:, order], color[:, order], tracked) == pytest.approx(ratio, rel=1e-12)


@pytest.mark.parametrize("scale", [1, 6])
@pytest.mark.parametrize("method", ["ratio", "affine"])
def test_both_fits_register_what_resizing_does_not(method, scale):
    skeleton = filmed(scale=scale)
    sizes = (round(512 / scale), round(424 / scale)), (1920 // scale, 1080 // scale)
    alignment = fit_alignment(*skeleton.joints(), method)
    assert not alignment.fallback and alignment.method == method
    assert alignment.ratio == pytest.approx(1060 / 365, rel=0.01)
    error = registration_error(alignment, skeleton.depth_xy, skeleton.color_xy)
    plain = registration_error(plain_alignment(*sizes), skeleton.depth_xy, skeleton.color_xy)
    assert alignment.residual_px == pytest.approx(np.median(error))
    assert np.median(error) < 0.6 / scale and np.median(plain) > 20 * np.median(error)
    (left, top, right, bottom), color_box = alignment.crop_boxes(*sizes)
    assert (left, right) == (0, sizes[0][0])  # all columns, fewer rows: as method and cameras say
    assert 0.8 * sizes[0][1] < bottom - top < 0.95 * sizes[0][1]
    assert (color_box[1], color_box[3]) == (0, sizes[1][1])


def test_without_parallax_the_ratio_is_exact():
    skeleton = filmed(baseline=0)
    alignment = fit_alignment(*skeleton.joints())
    assert alignment.ratio == pytest.approx(1060 / 365, rel=1e-9)
    np.testing.assert_allclose(alignment.to_depth((960, 540)), (256, 212), atol=1e-6)
    assert alignment.residual_px < 1e-6


def test_affine_recovers_a_known_map_among_outliers():
    skeleton = filmed(seed=3)
    scale, offset = np.array([2.7, 3.1]), np.array([-80.0, 12.0])
    color = (skeleton.depth_xy - offset) * scale
    rng = np.random.default_rng(0)
    wrong = rng.random(color.shape[:-1]) < 0.2
    color[wrong] += rng.uniform(100, 900, (wrong.sum(), 2))  # all to one side
    damaged = replace(skeleton, color_xy=color)
    alignment = fit_alignment(*damaged.joints(), "affine")
    np.testing.assert_allclose(alignment.scale, scale, rtol=1e-8)
    np.testing.assert_allclose(alignment.offset, offset, atol=1e-6)
    right = registration_error(alignment, skeleton.depth_xy[~wrong], color[~wrong])
    assert right.max() < 1e-6
    one_scale = fit_alignment(*damaged.joints(), "ratio")
    error = registration_error(one_scale, skeleton.depth_xy[~wrong], color[~wrong])
    assert np.median(error) > 1  # one scale for both axes cannot describe this map


def test_affine_is_as_good_as_least_squares_under_noise():
    skeleton = filmed(60, seed=5)
    scale, offset = np.array([2.85, 2.9]), np.array([-80.0, 12.0])
    noise = np.random.default_rng(0).normal(size=skeleton.depth_xy.shape) * 0.5
    noisy = replace(skeleton, color_xy=(skeleton.depth_xy - offset) * scale)
    noisy = replace(noisy, depth_xy=skeleton.depth_xy + noise)
    alignment = fit_alignment(*noisy.joints(), "affine")
    np.testing.assert_allclose(alignment.scale, scale, rtol=2e-3)
    np.testing.assert_allclose(alignment.offset, offset, atol=0.4)


def test_affine_keeps_the_ratio_where_most_joints_share_a_column():
    skeleton = filmed(baseline=0, seed=6)
    depth, color = skeleton.depth_xy.copy(), skeleton.color_xy.copy()
    depth[:, :, :15, 0], color[:, :, :15, 0] = 300.1, 1088.7
    alignment = fit_alignment(*replace(skeleton, depth_xy=depth, color_xy=color).joints(), "affine")
    assert alignment.scale[1] == pytest.approx(1060 / 365, rel=1e-9)
    assert alignment.scale[0] == pytest.approx(1060 / 365, rel=0.02)


def with_states(skeleton: Skeleton, state: np.ndarray) -> Skeleton:
    return replace(skeleton, state=state.astype(np.int8))


def test_untracked_joints_have_no_say():
    skeleton = filmed()
    expected = fit_alignment(*skeleton.joints())
    rng = np.random.default_rng(0)
    state, color = skeleton.state.copy(), skeleton.color_xy.copy()
    lost = rng.random(state.shape) < 0.7
    state[lost], color[lost] = rng.integers(0, 2, lost.sum()), rng.uniform(0, 1000, (lost.sum(), 2))
    color[lost & (state == 0)] = np.nan
    alignment = fit_alignment(*replace(with_states(skeleton, state), color_xy=color).joints())
    assert alignment.ratio == pytest.approx(expected.ratio, rel=2e-3)
    assert alignment.residual_px < 0.6


KINECT = {"depth_size": KINECT_DEPTH, "color_size": KINECT_COLOR}


def test_inferred_joints_serve_where_too_few_are_tracked():
    skeleton = filmed()
    expected, state = fit_alignment(*skeleton.joints()), np.ones_like(skeleton.state)
    assert align_clip(with_states(skeleton, state), "ratio", **KINECT) == expected
    state[0, 0, :4] = 2  # 6 pairs: still too few
    assert align_clip(with_states(skeleton, state), "ratio", **KINECT) == expected


@pytest.mark.parametrize("method", ["ratio", "affine"])
def test_too_few_joints_fall_back_openly_or_fail(method):
    skeleton = filmed(1)
    few = skeleton.state * 0
    few[0, 0, :4] = 2
    arrays = {name: value for name, value in vars(skeleton).items() if name != "path"}
    nobody = Skeleton(**{name: value[:, :0] for name, value in arrays.items()})
    zeros = replace(skeleton, depth_xy=skeleton.depth_xy * 0, color_xy=skeleton.color_xy * 0)
    mirrored = replace(skeleton, color_xy=-skeleton.color_xy)
    far = replace(skeleton, color_xy=skeleton.color_xy * 1e300)
    for poor in (with_states(skeleton, few), nobody, zeros, mirrored, far):
        with pytest.raises(LabError, match=r"at least 10 pairs of tracked joints.*found.*Fix"):
            fit_alignment(*poor.joints(), method)
        fallback = align_clip(poor, method, **KINECT)
        assert fallback.fallback and fallback.method == method and fallback.ratio == 2.88
        assert np.isnan(fallback.residual_px)
        with pytest.raises(LabError, match="shaped like"):
            align_clip(poor, method, depth_size=(640, 480), color_size=KINECT_COLOR)


def test_fallback_scales_with_the_resolution():
    full = kinect_alignment(KINECT_DEPTH, KINECT_COLOR).crop_boxes(KINECT_DEPTH, KINECT_COLOR)
    sizes = (85, 71), (320, 180)
    small = kinect_alignment(*sizes).crop_boxes(*sizes)
    for box, small_box, size, small_size in zip(full, small, (KINECT_DEPTH, KINECT_COLOR), sizes, strict=True):
        np.testing.assert_allclose(np.divide(box, size * 2), np.divide(small_box, small_size * 2), atol=1e-9)


def test_an_unknown_method_is_named_with_the_file():
    skeleton = replace(filmed(), path="S001C001P001R001A001.skeleton")
    with pytest.raises(LabError, match=r"expected method.*homography.*Fix"):
        fit_alignment(*skeleton.joints(), "homography")
    with pytest.raises(LabError, match=r"A001.skeleton: expected method.*homography.*Fix"):
        align_clip(skeleton, "homography", **KINECT)
    plain = align_clip(skeleton, "none", **KINECT)
    assert plain.method == "none" and np.isnan(plain.residual_px)
    assert plain.crop_boxes(KINECT_DEPTH, KINECT_COLOR) == ((0, 0, 512, 424), (0, 0, 1920, 1080))


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(st.floats(0.3, 10), st.floats(0.3, 10)),
    st.tuples(st.floats(-600, 600), st.floats(-600, 600)),
    st.tuples(st.integers(2, 512), st.integers(2, 424)),
    st.tuples(st.integers(2, 1920), st.integers(2, 1080)),
)
def test_crop_boxes_show_the_same_and_all_of_it(scale, offset, depth_size, color_size):
    alignment = Alignment("affine", scale, offset)
    try:
        depth_box, color_box = alignment.crop_boxes(depth_size, color_size)
    except LabError as error:
        assert "overlap" in str(error)
        overlap = [
            min(d, o + c / s) - max(0, o) for d, c, s, o in zip(depth_size, color_size, scale, offset, strict=True)
        ]
        assert min(overlap) < 1
        return
    depth_box, color_box = np.reshape(depth_box, (2, 2)), np.reshape(color_box, (2, 2))
    np.testing.assert_allclose(alignment.to_color(depth_box), color_box, atol=1e-8)
    np.testing.assert_allclose(alignment.to_depth(color_box), depth_box, atol=1e-8)
    for box, size in ((depth_box, depth_size), (color_box, color_size)):
        assert (box >= 0).all() and (box <= size).all() and (box[1] > box[0]).all()
    for side, border in ((0, 0), (1, np.array([depth_size, color_size]))):  # no larger box exists
        touched = np.isclose([depth_box[side], color_box[side]], border, atol=1e-6)
        assert touched.any(axis=0).all()


def test_registration_error_is_a_distance_in_depth_pixels():
    alignment = Alignment("ratio", (2.0, 2.0), (10.0, 20.0))
    points = np.array([(12.0, 22.0), (15.0, 26.0), (np.nan, 1.0)])
    error = registration_error(alignment, points, [(4, 4), (4, 4), (4, 4)])
    np.testing.assert_allclose(error, [0, 5, np.nan])


@pytest.mark.parametrize("scale", [1, 6])
def test_aligned_images_show_the_same_places(scale):
    """Both images are painted with the depth-pixel position their true map gives; then compared."""
    depth_size, color_size = (516 // scale, 426 // scale), (1920 // scale, 1080 // scale)
    alignment = Alignment("affine", (2.85, 2.9), (-80 / scale, 15 / scale))
    x, y = np.meshgrid(np.arange(depth_size[0]) + 0.5, np.arange(depth_size[1]) + 0.5)
    u, v = np.meshgrid(np.arange(color_size[0]) + 0.5, np.arange(color_size[1]) + 0.5)
    places = alignment.to_depth(np.stack([u, v], axis=-1)) * scale / 2
    color = np.concatenate([places, places[..., :1]], axis=-1).clip(0, 255).round().astype(np.uint8)
    for axis, position in enumerate((x, y)):
        depth = (position * scale * 8).astype(np.uint16)
        picture, distances = align_pair(color, depth, alignment, 64)
        assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
        assert distances.shape == (64, 64) and distances.dtype == np.uint16
        assert np.isin(distances, depth).all()  # no distance that was not measured
        apart = np.abs(picture[..., axis] * 2.0 - distances / 8)[1:-1, 1:-1] / scale
        assert apart.max() < 0.5 + 2.5 / scale  # half a pixel, and 8 bit over 512
        picture, distances = align_pair(color, depth, plain_alignment(depth_size, color_size), 64)
        apart = np.abs(picture[..., axis] * 2.0 - distances / 8)[1:-1, 1:-1] / scale
        assert np.median(apart) > 10 / scale


def test_resizing_averages_colour_but_never_depth():
    color = np.zeros((360, 640, 3), np.uint8)
    color[::2, ::2] = color[1::2, 1::2] = 255  # a checkerboard of single pixels
    depth = np.full((120, 160), 4000, np.uint16)
    depth[:, ::2] = 1000
    picture, distances = align_pair(color, depth, plain_alignment((160, 120), (640, 360)), 50)
    assert np.abs(picture.astype(int) - 127).max() < 30
    assert set(np.unique(distances)) == {1000, 4000}
    picture[0, 0] = 1  # its own memory, writable


def test_images_of_other_kinds_are_refused():
    color, depth = np.zeros((90, 160, 3), np.uint8), np.zeros((53, 64), np.uint16)
    alignment = plain_alignment((64, 53), (160, 90))
    for bad in ((color, depth.astype(np.uint8)), (color, depth.astype(float)), (color[..., 0], depth),
                (color[..., :2], depth), (color / 255, depth), (color, color)):  # fmt: skip
        with pytest.raises(LabError, match=r"expected an? (RGB|depth) image .* found .*Fix"):
            align_pair(*bad, alignment, 32)


def test_an_affine_fit_finds_another_scale_along_each_axis():
    depth = np.random.default_rng(0).uniform(50, 400, (20, 25, 2))
    color = (depth - (-80, 17)) * (2.95, 2.75)
    found = fit_alignment(depth, color, np.ones((20, 25), bool), "affine")
    assert found.scale == pytest.approx((2.95, 2.75), rel=1e-9) and found.offset == pytest.approx((-80, 17), abs=1e-6)
