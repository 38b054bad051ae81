"""Drawn modalities: motion of known size and sign, joints and boxes where they were put, symmetries."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ntu_files import write_depth
from replicas import save_picture

from labkit.clips import STILL, flip_clip
from labkit.config import ClipConfig
from labkit.data import modalities
from labkit.data.index import Entry
from labkit.data.modalities import (
    BONES,
    FLOW_GAP,
    dense_flow,
    flow_map,
    flow_pair,
    layout_map,
    read_aligned,
    read_boxes,
    skeleton_map,
)
from labkit.data.skeletons import single_body, write_skeleton
from labkit.errors import LabError
from labkit.puppets.body import JOINT, JOINTS, MIRROR

SIDE = 160
WHOLE = (0.0, 0.0, 64.0, 64.0)


def texture(seed=0, side=SIDE) -> np.ndarray:
    """Smooth grey clouds over the full range of values, (side, side, 3)."""
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    clouds = cv2.GaussianBlur(noise, (0, 0), 3)
    clouds = np.clip(128 + 60 * clouds / clouds.std(), 0, 255)
    return np.repeat(clouds[..., None], 3, axis=2).astype(np.uint8)


def moved(picture: np.ndarray, dx: float, dy: float) -> np.ndarray:
    shift = np.float32([[1, 0, dx], [0, 1, dy]])
    return cv2.warpAffine(picture, shift, picture.shape[:2], borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize(("dx", "dy"), [(3, 0), (-2, 1.5), (0, -4), (0.5, 0.5)])
@pytest.mark.parametrize("size", [SIDE, 64])
def test_flow_of_a_shifted_picture_has_its_sign_and_size(dx, dy, size):
    before = texture()
    drawn = flow_map(before, moved(before, dx, dy), size=size).astype(float)
    assert drawn.shape == (size, size, 3)
    inner = drawn[size // 8 : -size // 8, size // 8 : -size // 8]
    limit = SIDE / 16  # in pixels of the pictures, whatever the size of the map
    expected = [STILL + 127 * dx / limit, STILL + 127 * dy / limit, 255 * np.hypot(dx, dy) / limit]
    assert np.allclose(np.median(inner, axis=(0, 1)), expected, atol=3)  # a tenth of a pixel
    assert np.abs(inner - expected).mean() < 4


def test_flow_is_cut_at_the_limit():
    before = texture()
    left, right = (flow_map(before, moved(before, dx, 0), 64) for dx in (-12, 12))  # of at most 10
    middle = np.s_[24:40, 24:40]
    assert (left[middle][..., 0] == 1).all() and (right[middle][..., 0] == 255).all()
    assert (left[middle][..., 2] == 255).all()
    assert left.min(axis=(0, 1))[:2].min() >= 1  # so that a flip, modulo 256, keeps its meaning


def scene(shift: float) -> np.ndarray:
    """A textured square that has moved right by `shift` before a textured wall."""
    picture, patch = texture(1) // 2, texture(2)[:50, :40]
    place = np.float32([[1, 0, 50 + shift], [0, 1, 60]])
    cover = cv2.warpAffine(np.ones((50, 40), np.float32), place, (SIDE, SIDE))[..., None]
    patch = cv2.warpAffine(patch, place, (SIDE, SIDE))
    return (picture * (1 - cover) + patch * cover).astype(np.uint8)


def test_flipped_flow_is_the_flow_of_the_flipped_pictures():
    before, after = scene(0), scene(4)
    drawn = flow_map(before, after, size=64)
    assert drawn[30, 25, 0] > STILL + 30  # the square moves right
    flipped = flip_clip(drawn[None, None], True, "flow")[0, 0].astype(float)
    again = flow_map(before[:, ::-1].copy(), after[:, ::-1].copy(), size=64)
    assert np.abs(flipped - again).mean() < 1.5
    assert (
        np.abs(flipped - again).mean() < 0.1 * np.abs(flip_clip(drawn[None, None], True)[0, 0] - 1.0 * again).mean() + 1
    )


def test_flow_leaves_a_noisy_wall_still():
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(texture(3) // 3 + 80, (0, 0), 9)
    noisy = [np.clip(wall + rng.normal(0, 2.5, wall.shape[:2])[..., None], 0, 255).astype(np.uint8) for _ in "ab"]
    assert np.abs(dense_flow(*noisy)).max() < 0.1
    assert (flow_map(*noisy, size=64) == (STILL, STILL, 0)).mean() > 0.99
    assert (flow_map(wall, wall, len(wall)) == (STILL, STILL, 0)).all()


def test_flow_does_not_depend_on_the_number_of_threads():
    threads = cv2.getNumThreads()
    drawn = []
    try:
        for number in (1, 4):
            cv2.setNumThreads(number)
            drawn.append(dense_flow(scene(0), scene(3)))
            assert cv2.getNumThreads() == number
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(*drawn)


@given(st.integers(1, 40), st.data())
def test_pairs_of_frames_lie_inside_the_clip(num_frames, data):
    frame = data.draw(st.integers(0, num_frames - 1))
    first, second = flow_pair(frame, num_frames)
    assert 0 <= first <= second < num_frames and second - first == min(FLOW_GAP, num_frames - 1)
    assert first == frame or second == num_frames - 1


# Skeletons


def body(**places: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """One body of which only the named joints are tracked (names with _ for spaces)."""
    xy, state = np.full((1, 25, 2), np.nan), np.zeros((1, 25))
    for name, place in places.items():
        joint = JOINT[name.replace("_", " ")]
        xy[0, joint], state[0, joint] = place, 2
    return xy, state


def centre(channel: np.ndarray) -> np.ndarray:
    """Of a drawn blob, in continuous coordinates."""
    rows, columns = np.indices(channel.shape) + 0.5
    return np.array([(columns * channel).sum(), (rows * channel).sum()]) / channel.sum(dtype=float)


@pytest.mark.parametrize(("name", "channel"), [("left_knee", 0), ("right_hand", 1), ("head", 2), ("left_thumb", 0)])
@pytest.mark.parametrize("place", [(30.0, 25.0), (41.3, 18.6)])
def test_a_joint_lands_where_the_depth_image_has_it(name, channel, place):
    box, size = (20.0, 10.0, 60.0, 50.0), 96
    drawn = skeleton_map(*body(**{name: place}), box, size)
    assert drawn.shape == (size, size, 3) and drawn.dtype == np.uint8
    assert np.abs(centre(drawn[..., channel]) - (np.array(place) - box[:2]) * size / 40).max() < 0.15
    assert not np.delete(drawn, channel, axis=2).any()


def test_a_limb_joins_its_joints_in_the_colour_of_its_outer_end():
    drawn = skeleton_map(*body(spine_shoulder=(10, 10), left_shoulder=(50, 50)), WHOLE, 64)
    assert drawn[30, 30].tolist() == [255, 0, 0] and drawn[9, 9, 2] == drawn[50, 50, 0] == 255
    assert not drawn[30, 40].any()
    assert not skeleton_map(*body(head=(10, 10), left_knee=(50, 50)), WHOLE, 64)[28:32, 28:32].any()  # no such bone
    ends = {end for _, end in BONES}
    assert len(BONES) == 24 and ends == set(range(25)) - {JOINT["spine base"]}  # a tree: 24 limbs join 25 joints


@pytest.mark.parametrize("bad", [(np.nan, 5), (0, 0), (1e7, 5), (-np.inf, 5)])
def test_joints_of_no_use_are_left_out_with_their_limbs(bad):
    xy, state = body(right_elbow=(10, 30), right_wrist=(40, 30))
    alone = skeleton_map(*body(right_elbow=(10, 30)), WHOLE, 64)
    xy[0, JOINT["right wrist"]] = bad
    assert np.array_equal(skeleton_map(xy, state, WHOLE, 64), alone)
    xy[0, JOINT["right wrist"]], state[0, JOINT["right wrist"]] = (40, 30), 0
    assert np.array_equal(skeleton_map(xy, state, WHOLE, 64), alone)
    state[0, JOINT["right wrist"]] = 1  # inferred counts
    assert skeleton_map(xy, state, WHOLE, 64)[29, 25, 1] == 255


def test_limbs_outside_the_crop_are_cut_and_bodies_are_drawn_together():
    drawn = skeleton_map(*body(neck=(32, -20), head=(32, 84)), WHOLE, 64)
    assert (drawn[:, 31, 2] == 255).all()
    bodies = [body(left_hip=(20, 20), left_knee=(20, 50)), body(right_hip=(40, 20), right_knee=(40, 50))]
    both = [np.concatenate(parts) for parts in zip(*bodies, strict=True)]
    alone = [skeleton_map(*one, WHOLE, 64) for one in bodies]
    assert np.array_equal(skeleton_map(*both, WHOLE, 64), np.maximum(*alone))
    assert not skeleton_map(np.zeros((0, 25, 2)), np.zeros((0, 25)), WHOLE, 64).any()


def test_a_flipped_skeleton_is_the_map_of_the_mirrored_person():
    xy = np.random.default_rng(0).uniform(8, 56, (2, 25, 2))
    mirrored = np.stack([64 - xy[:, MIRROR, 0], xy[:, MIRROR, 1]], axis=-1)
    drawn = skeleton_map(xy, np.full((2, 25), 2), WHOLE, 64)
    flipped = flip_clip(drawn[None, None], True, "skeleton")[0, 0].astype(float)
    again = skeleton_map(mirrored, np.full((2, 25), 2), WHOLE, 64)
    assert np.abs(flipped - again).mean() < 2 and np.abs(drawn - 1.0 * again).mean() > 20
    sides = [modalities.SIDE_OF_JOINT[joint] for joint in range(25)]
    assert sides == [{"left": 0, "right": 1}.get(name.split()[0], 2) for name in JOINTS]


# Layout


def test_layout_boxes_are_exact():
    boxes = {"person": [10, 4, 30, 60], "left_hand": [5, 20, 9, 26], "right_hand": [29, 30, 33, 36], "object": None}
    expected = np.zeros((64, 64, 3), np.uint8)
    expected[4:60, 10:30, 0] = expected[20:26, 5:9, 1] = expected[30:36, 29:33, 1] = 255
    assert np.array_equal(layout_map(boxes, WHOLE, 64), expected)
    assert not layout_map({}, WHOLE, 64).any()


def test_layout_follows_the_crop_and_shades_what_a_box_covers_in_part():
    drawn = layout_map({"object": [25, 12, 45, 90]}, (20.0, 10.0, 60.0, 50.0), 20)
    assert drawn.shape == (20, 20, 3) and not drawn[..., :2].any()
    columns = [0, 0, 128] + [255] * 9 + [128] + [0] * 7  # 2.5 to 12.5
    assert drawn[10, :, 2].tolist() == columns and drawn[:, 5, 2].tolist() == [0] + [255] * 19  # cut below
    tiny = layout_map({"left_hand": [3.25, 3.25, 3.75, 3.75]}, (0.0, 0.0, 8.0, 8.0), 8)
    assert tiny[3, 3, 1] == 64 and np.count_nonzero(tiny) == 1  # a quarter of one pixel


GOOD = {"boxes": {"color": {"person": [[1, 2, 3, 4], None]}}}


def test_boxes_are_read_as_written(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(GOOD | {"object": "cup"}), encoding="utf-8")
    assert read_boxes(path) == GOOD["boxes"]


@pytest.mark.parametrize(
    "content",
    [
        "[]", "{}", '{"boxes": {}}', '{"boxes": []}', '{"boxes": {"thermal": {}}}', '{"boxes": {"color": []}}',
        '{"boxes": {"color": {"dog": []}}}', '{"boxes": {"color": {"person": [[1, 2, 3]]}}}',
        '{"boxes": {"color": {"person": [[3, 2, 1, 4]]}}}', '{"boxes": {"color": {"person": [[1, 2, NaN, 4]]}}}',
        '{"boxes": {"color": {"person": [[1, 2, 1e300, 4]]}}}', '{"boxes": {"color": {"person": ["abcd"]}}}',
        '{"boxes": {"color": {"person": {"0": null}}}}', "{",
    ],
)  # fmt: skip
def test_boxes_of_another_kind_are_refused(tmp_path, content):
    path = tmp_path / "boxes.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(LabError) as caught:
        read_boxes(path)
    assert caught.value.path == str(path) and caught.value.fix


def test_joints_and_boxes_are_those_of_the_frame_that_is_shown(tmp_path):
    """Two folders paired by number, of which depth begins two frames later."""
    rng = np.random.default_rng(0)
    for number in range(6):
        save_picture(tmp_path / "color" / f"{number}.png", np.zeros((24, 32, 3), np.uint8))
        if number > 1:
            write_depth(tmp_path / "depth" / f"{number}.png", np.ones((24, 32)))
    joints = rng.uniform((2, 2), (30, 22), (4, 25, 2))
    write_skeleton(tmp_path / "s.skeleton", single_body(np.ones((4, 25, 3)), joints, joints, np.full((4, 25), 2)))
    boxes = [[number, 2, number + 4, 9] for number in range(6)]
    (tmp_path / "boxes.json").write_text(json.dumps({"boxes": {"color": {"person": boxes}}}), encoding="utf-8")
    names = {"rgb": "color", "depth": "depth", "skeleton": "s.skeleton", "boxes": "boxes.json"}
    entry = Entry("a", None, 0, {modality: str(tmp_path / name) for modality, name in names.items()})
    kinds = ("rgb", "depth", "skeleton", "layout")
    pixels, found = read_aligned(entry, ClipConfig(size=24, stored_frames=4, modalities=kinds, alignment="none"))
    whole = (0.0, 0.0, 32.0, 24.0)
    for place in range(4):
        drawn = skeleton_map(joints[place][None], np.full((1, 25), 2), whole, 24)
        assert np.array_equal(pixels["skeleton"][place], drawn)
        assert np.array_equal(pixels["layout"][place], layout_map({"person": boxes[place + 2]}, whole, 24))
    assert found["counts"] == {"rgb": 6, "depth": 4, "skeleton": 4}
