"""From stored frames to tensors: oracles of the method, symmetries, and equality with slow versions."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_lab
from torchvision.models import ResNet18_Weights

from labkit import clips
from labkit.clips import (
    Batches,
    clip_rng,
    clip_seed,
    clip_uniform,
    colorize_depth,
    flip_clip,
    jet,
    normalize,
    sample_frames,
    to_clip,
)
from labkit.config import ClipConfig
from labkit.errors import LabError


@pytest.mark.parametrize(
    ("available", "indices"),
    [
        (5, [0, 1, 2, 3, 4]),
        (6, [0, 1, 2, 3, 5]),
        (7, [0, 1, 3, 4, 6]),
        (10, [0, 2, 4, 6, 9]),
        (103, [0, 25, 51, 76, 102]),
        (3, [0, 0, 1, 1, 2]),
        (1, [0, 0, 0, 0, 0]),
    ],
)
def test_uniform_frames(available, indices):
    assert sample_frames(available).tolist() == indices
    assert sample_frames(available, 2).tolist() == [0, available - 1]


@given(
    available=st.integers(1, 400),
    num_frames=st.integers(1, 32),
    mode=st.sampled_from(["uniform", "random", "mixed"]),
)
def test_frames_are_ascending_and_inside(available, num_frames, mode):
    chosen = sample_frames(available, num_frames, mode, np.random.default_rng(available))
    assert len(chosen) == num_frames and chosen[0] >= 0 and chosen[-1] < available
    assert (np.diff(chosen) >= 0).all()
    if available >= num_frames:
        assert len(set(chosen.tolist())) == num_frames
    else:
        assert set(chosen.tolist()) == set(range(available))
    if mode == "uniform" and num_frames > 1:
        assert chosen[0] == 0 and chosen[-1] == available - 1


def test_mixed_frames_are_random_half_of_the_time():
    rngs = [clip_rng(0, "frames", 0, str(clip)) for clip in range(400)]
    chosen = [sample_frames(60, 5, "mixed", rng).tolist() for rng in rngs]
    uniform = sum(indices == sample_frames(60).tolist() for indices in chosen)
    assert 160 <= uniform <= 240  # 200 expected, 4 standard deviations
    counts = np.bincount(np.concatenate([i for i in chosen if i != sample_frames(60).tolist()]), minlength=60)
    assert (counts > 0).all()  # the random half reaches every frame


@pytest.mark.parametrize("arguments", [(0,), (5, 0), (9, 5, "even"), (9, 5, "random"), (9, 5, "mixed")])
def test_impossible_choices_of_frames_are_refused(arguments):
    with pytest.raises(LabError, match="expected"):
        sample_frames(*arguments)


def test_randomness_depends_on_all_four_and_nothing_else():
    base = (3, "flip", 7, "S001C001P001R001A001")
    others = [(4, *base[1:]), (3, "frames", *base[2:]), (*base[:3], "S1")]
    others += [(*base[:2], epoch, base[3]) for epoch in (8, None)]
    np.random.seed(1)
    first = clip_rng(*base).integers(2**62, size=4)
    np.random.seed(2)
    assert np.array_equal(first, clip_rng(*base).integers(2**62, size=4))
    digest = hashlib.sha256(b'[3,"flip",7,"S001C001P001R001A001"]').digest()
    assert clip_seed(*base) == int.from_bytes(digest[:8], "big") >> 1  # the same on any machine
    assert len({clip_seed(*case) for case in [base, *others]}) == 6
    numbers = np.array([clip_uniform(0, "flip", 0, str(clip)) for clip in range(2000)])
    assert numbers.min() >= 0 and numbers.max() < 1 and abs(numbers.mean() - 0.5) < 0.03
    assert abs(numbers.std() - 12**-0.5) < 0.02


def test_flip_mirrors_both_modalities_alike_and_undoes_itself():
    rng = np.random.default_rng(0)
    depth = rng.integers(0, 4000, (4, 5, 6, 8), dtype=np.uint16)
    rgb = np.repeat(depth[..., None] % 256, 3, axis=-1).astype(np.uint8)
    flip = np.array([True, False, False, True])
    for frames in (depth, rgb):
        flipped = flip_clip(frames, flip)
        assert np.array_equal(flipped[1:3], frames[1:3])
        assert np.array_equal(flipped[0, :, :, 0], frames[0, :, :, -1])
        assert np.array_equal(flip_clip(flipped, flip), frames)
        assert np.array_equal(flip_clip(frames, True)[::3], flipped[::3])
    assert np.array_equal(flip_clip(rgb, flip)[..., 0], flip_clip(depth, flip) % 256)


@pytest.mark.parametrize(
    ("value", "color"),
    [
        (0, (0, 0, 0.5)),
        (0.25, (0, 0.5, 1)),
        (0.5, (0.483871, 1, 0.483871)),
        (0.75, (1, 0.592593, 0)),
        (1, (0.5, 0, 0)),
    ],
)
def test_jet(value, color):
    assert np.allclose(jet(value), color, atol=5e-7)


def slow_color(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Pixel by pixel, from the definition."""
    out = np.zeros((*depth.shape, 3), np.uint8)
    for place in np.ndindex(depth.shape):
        value = min(max((float(depth[place]) - near) / max(far - near, 1), 0), 1)
        out[place] = [int(255 * c + 0.5) for c in jet(int(value * 255 + 0.5) / 255)]
    return out


def test_depth_colors_equal_a_slow_version():
    rng = np.random.default_rng(0)
    frames = rng.integers(700, 5200, (3, 9, 11), dtype=np.uint16)
    frames[0, :4] = 0
    frames[2] += 900
    per_frame = np.stack([slow_color(f, f[f > 0].min(), f.max()) for f in frames])
    assert np.array_equal(colorize_depth(frames), per_frame)
    assert np.array_equal(colorize_depth(frames, depth_range="fixed"), slow_color(frames, 0, 4500))
    grey = colorize_depth(frames, "grey", "fixed")
    assert np.array_equal(grey[..., 0], np.floor(np.minimum(frames / 4500, 1) * 255 + 0.5))
    assert (grey == grey[..., :1]).all()


def test_background_is_dark_blue_and_the_farthest_reading_dark_red():
    frame = np.array([[0, 800], [1500, 4000]], dtype=np.uint16)
    colors = colorize_depth(frame)
    assert colors[0, 0].tolist() == colors[0, 1].tolist() == [0, 0, 128]
    assert colors[1, 1].tolist() == [128, 0, 0]
    for flat in (np.zeros((2, 2), np.uint16), np.full((2, 2), 65535, np.uint16)):  # no reading; one distance
        assert (colorize_depth(flat) == (0, 0, 128)).all()


@pytest.mark.parametrize("change", [{"encoding": "hsv"}, {"depth_range": "clip"}, {"depth_range": (1000, 3000)}])
def test_unknown_encodings_are_refused(change):
    with pytest.raises(LabError, match="expected"):
        colorize_depth(np.zeros((2, 2), np.uint16), **change)


def test_depth_of_another_type_is_refused():
    with pytest.raises(LabError, match="uint16"):
        colorize_depth(np.zeros((2, 2), np.int32))


@pytest.fixture
def stored():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (3, 5, 16, 20, 3), dtype=np.uint8)
    return rgb, rng.integers(0, 5000, (3, 5, 16, 20), dtype=np.uint16)


def test_clips_are_normalized_and_channels_last(stored):
    rgb, depth = stored
    for frames, images in ((rgb, rgb), (depth, colorize_depth(depth))):
        clip = to_clip(frames)
        expected = (images / 255 - np.array(clips.IMAGENET_MEAN)) / np.array(clips.IMAGENET_STD)
        assert clip.shape == (3, 5, 3, 16, 20) and clip.dtype == torch.float32
        assert np.allclose(clip.numpy(), np.moveaxis(expected, -1, 2), atol=1e-5)
        assert clip.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(to_clip(flip_clip(frames, True)), clip.flip(-1))


def test_flow_and_skeletons_are_flipped_as_the_scene_is():
    maps = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 8, 3), dtype=np.uint8)
    maps[2, 0, 0, 0] = (128, 128, 0)
    flip = np.array([True, False, True, False])
    flow, skeleton, layout = (flip_clip(maps, flip, name) for name in ("flow", "skeleton", "layout"))
    for flipped, name in ((flow, "flow"), (skeleton, "skeleton"), (layout, "layout")):
        assert np.array_equal(flipped[1::2], maps[1::2]) and np.array_equal(flip_clip(flipped, flip, name), maps)
    mirrored = maps[0, :, :, ::-1].astype(int)
    assert np.array_equal(layout[0], mirrored)
    assert np.array_equal(flow[0, ..., 0], (256 - mirrored[..., 0]) % 256)  # 128 + dx becomes 128 - dx
    assert np.array_equal(flow[0, ..., 1:], mirrored[..., 1:]) and flow[2, 0, 0, -1].tolist() == [128, 128, 0]
    assert np.array_equal(skeleton[0], mirrored[..., [1, 0, 2]])  # a left arm becomes a right one


@pytest.mark.parametrize("normalization", ["imagenet", "vgg"])
def test_maps_are_scaled_so_that_zero_is_nothing(normalization):
    config = ClipConfig(normalization=normalization)
    maps = np.random.default_rng(0).integers(1, 256, (2, 5, 6, 8, 3), dtype=np.uint8)
    maps[0, 0, 0, 0] = (128, 128, 0)
    flow = to_clip(maps, config, "flow")
    assert flow[0, 0, :, 0, 0].tolist() == [0, 0, 0]
    assert torch.equal(flow[:, :, 0], torch.from_numpy(maps[..., 0] / 128 - 1).float())
    assert torch.allclose(flow[:, :, 2], torch.from_numpy(maps[..., 2] / 255).float())
    assert torch.equal(to_clip(flip_clip(maps, True, "flow"), config, "flow")[:, :, 0], -flow[:, :, 0].flip(-1))
    for name in ("skeleton", "layout"):
        clip = to_clip(maps, config, name)
        assert torch.allclose(clip, torch.from_numpy(maps / 255).float().permute(0, 1, 4, 2, 3))
        assert clip.shape == (2, 5, 3, 6, 8) and clip.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    depth = np.full((1, 2, 4, 4), 900, np.uint16)
    assert torch.equal(to_clip(depth, config, "depth"), to_clip(depth, config))


def test_vgg_normalization_loses_the_dark_half_of_rgb_alone(stored):
    rgb, depth = stored
    config = ClipConfig(normalization="vgg", depth_encoding="grey", depth_range="fixed")
    means = (123.68, 116.78, 103.94)  # of red, green and blue
    seen = np.moveaxis(to_clip(rgb, config).numpy(), 2, -1)
    assert np.array_equal(seen, np.floor(np.maximum(rgb - np.array(means), 0)))
    colored = colorize_depth(depth, "grey", "fixed")
    assert np.array_equal(to_clip(depth, config).numpy(), np.moveaxis(colored, -1, 2))


def test_frames_of_another_kind_are_refused(stored):
    rgb, _ = stored
    for frames in (rgb.astype(np.float32), rgb[..., :2]):
        with pytest.raises(LabError, match="uint8"):
            to_clip(frames)
    with pytest.raises(LabError, match="vgg"):
        normalize(rgb, "coco")


def test_looks_by_turns_show_each_clip_both_ways_in_two_epochs(tmp_path):
    lab = tiny_lab(tmp_path)
    by = {}
    for flip in ("chance", "turns"):
        config = replace(lab.profile.clips, flip=flip)
        other = replace(lab, profile=replace(lab.profile, clips=config))
        batches = Batches(other, lab.split.train)
        by[flip] = np.stack([batches.train_batch(list(batches.ids), epoch).looks for epoch in range(4)])
    turns, chance = by["turns"], by["chance"]
    assert (turns[0] == turns[2]).all() and (turns[0] != turns[1]).all() and set(turns[0]) == {0, 1}
    assert set(chance.sum(axis=0)) - {2}, "by chance, some clips show one look more often"


def test_fewer_frames_are_drawn_afresh_for_each_clip_and_epoch(tmp_path):
    lab = tiny_lab(tmp_path)
    batches = Batches(lab, lab.split.train)
    ids = list(batches.ids)
    whole, few = batches.train_batch(ids, 0), batches.train_batch(ids, 0, 2)
    assert few["rgb"].shape[:2] == (len(ids), 2) and few.looks is None and whole.looks is not None

    def chosen(batch, modality):  # which of the clip's five frames each is
        return [[next(k for k in range(5) if torch.equal(frame, five[k])) for frame in clip]
                for clip, five in zip(batch[modality], whole[modality], strict=True)]  # fmt: skip

    frames = chosen(few, "rgb")
    assert frames == chosen(few, "depth") and all(a < b for a, b in frames) and len(set(map(tuple, frames))) > 3
    all_five = batches.train_batch(ids, 0, 5)
    assert torch.equal(all_five["rgb"], whole["rgb"]) and torch.equal(all_five.looks, whole.looks)
    again = Batches(lab, lab.split.train).train_batch(ids[:1], 0, 2)["rgb"]
    assert torch.equal(again, few["rgb"][:1])
    assert not torch.equal(batches.train_batch(ids, 1, 2)["rgb"].sort()[0], few["rgb"].sort()[0])


def test_a_modality_is_read_when_it_is_asked_for_and_once(tmp_path, monkeypatch):
    lab, asked = tiny_lab(tmp_path), []
    images = lab.clips.images
    monkeypatch.setattr(lab.clips, "images", lambda modality, rows: (asked.append(modality), images(modality, rows))[1])
    batch = Batches(lab, lab.split.train).train_batch(list(lab.split.train[:2]), 0)
    assert asked == [] and len(batch.labels) == 2
    assert batch["depth"] is batch["depth"] and asked == ["depth"]
    with torch.inference_mode():
        first = batch["rgb"]
    assert not first.is_inference(), "gradients may be asked for later"


def test_means_are_those_of_torchvision_s_weights():
    seen = ResNet18_Weights.DEFAULT.transforms()
    assert (tuple(seen.mean), tuple(seen.std)) == (clips.IMAGENET_MEAN, clips.IMAGENET_STD)
