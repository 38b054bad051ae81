"""Kept lessons are the live ones; augmentation is alike in all modalities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_lab
from torch import nn

from labkit import augment
from labkit.feeds import Feed
from labkit.lessons import Lessons
from labkit.model import freeze
from labkit.trainers import distill_hallucination, load_stream, train_stream, train_two_stream


class Counted(nn.Module):
    """A teacher's forward that counts its calls."""

    def __init__(self, stream):
        super().__init__()
        self.stream, self.calls = freeze(stream), 0

    def __call__(self, batch):
        self.calls += 1
        return self.stream(batch["depth"])


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path_factory.mktemp("lab"), epochs=1)
    return lab, train_stream(lab, "depth")


def lessons_of(lab, run, limit=1 << 30, **train):
    feed = Feed(lab, lab.split.train, ("depth",), train=replace(lab.profile.step3, **train))
    teacher = Counted(load_stream(run, "stream"))
    return Lessons(teacher, feed, lambda: torch.autocast("cpu", enabled=False), limit=limit), teacher, feed


def test_kept_lessons_equal_live_ones(depth):
    lessons, teacher, feed = lessons_of(*depth)
    calls = None
    for epoch in range(3):
        for ids in feed.epoch(epoch, 6):
            batch = feed.train_batch(ids, epoch)
            kept = lessons(batch)
            calls = calls or teacher.calls
            with torch.no_grad():
                live = teacher.stream(batch["depth"])
            torch.testing.assert_close(kept.logits, live.logits, rtol=1e-4, atol=1e-5)
            for one, other in zip(kept.signals + kept.blocks, live.signals + live.blocks, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
                assert one.is_contiguous(memory_format=torch.channels_last)
    assert teacher.calls == calls, "the teacher was asked again"


@pytest.mark.parametrize("train", [{"augment": "strong"}, {"mix": 0.4}])
def test_looks_drawn_afresh_are_not_kept(depth, train):
    lessons, teacher, feed = lessons_of(*depth, **train)
    for epoch in range(2):
        lessons(feed.train_batch(list(feed.ids)[:6], epoch))
    assert teacher.calls == 2 and lessons.cached is None


def test_a_cache_that_would_be_too_large_is_not_made(depth):
    lessons, teacher, feed = lessons_of(*depth, limit=1000)
    first = lessons(feed.train_batch(list(feed.ids)[:6], 0))
    assert lessons.cached is None and first.logits.shape[0] == 6
    before = teacher.calls
    lessons(feed.train_batch(list(feed.ids)[:6], 1))
    assert teacher.calls == before + 1


def test_lessons_carry_no_gradient(depth):
    lessons, _, feed = lessons_of(*depth)
    lesson = lessons(feed.train_batch(list(feed.ids)[:6], 0))
    assert not any(t.requires_grad for t in (lesson.logits, *lesson.signals, *lesson.blocks))


def test_step_3_ends_alike_with_and_without_the_cache(depth, tmp_path, monkeypatch):
    """Same losses to rounding: the cache changes when the teacher is asked, not what it says."""
    curves = []
    for limit in (1 << 30, 0):
        lab = tiny_lab(tmp_path / str(limit), epochs=2)
        joint = train_two_stream(lab, train_stream(lab, "depth"), train_stream(lab, "rgb"))
        monkeypatch.setattr("labkit.lessons.CACHE_BYTES", limit)
        monkeypatch.setattr(Lessons.__init__, "__kwdefaults__", {"limit": limit})
        run = distill_hallucination(lab, joint)
        curves.append([point["total"] for point in run.load_json("history.json")["curve"]])
    np.testing.assert_allclose(*curves, rtol=1e-3)


def test_one_window_for_all_modalities_and_frames():
    ids = [f"clip{n}" for n in range(4)]
    windows = augment.draw_windows(0, 3, ids)
    assert np.array_equal(windows, augment.draw_windows(0, 3, ids))
    assert not np.array_equal(windows, augment.draw_windows(0, 4, ids))
    assert np.array_equal(windows[2:], augment.draw_windows(0, 3, ids[2:])), "a clip's window depends on its batch"
    clips = torch.rand(4, 5, 3, 16, 16)
    depth, skeleton = (augment.apply_windows(clips, windows, name) for name in ("depth", "skeleton"))
    assert torch.equal(depth, skeleton)
    light = torch.from_numpy(windows[:, 3]).view(-1, 1, 1, 1, 1)
    contrast = torch.from_numpy(windows[:, 4]).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(augment.apply_windows(clips, windows, "rgb"), depth * contrast + light)
    still = clips[:, :1].expand(-1, 5, -1, -1, -1)
    moved = augment.apply_windows(still, windows, "depth")
    torch.testing.assert_close(moved[:, 0], moved[:, 4])


def test_no_window_leaves_the_picture():
    clips, window = torch.rand(1, 2, 3, 8, 8), np.array([[1, 0, 0, 0, 1]], np.float32)
    torch.testing.assert_close(augment.apply_windows(clips, window, "rgb"), clips)


def test_mixed_labels_follow_their_clips(depth):
    lab, _ = depth
    feed = Feed(lab, lab.split.train, ("rgb", "depth"), train=replace(lab.profile.step3, mix=0.4))
    plain = Feed(lab, lab.split.train, ("rgb", "depth"))
    ids = list(lab.split.train)[:6]
    batch, whole = feed.train_batch(ids, 2), plain.train_batch(ids, 2)
    partners, shares = augment.draw_partners(lab.seed, 2, ids, 0.4)
    assert batch.views is None and batch.labels.shape == (6, 3)
    torch.testing.assert_close(batch.labels.sum(1), torch.ones(6))
    for row, (partner, share) in enumerate(zip(partners, shares, strict=True)):
        assert 0.5 <= share <= 1
        for modality in ("rgb", "depth"):
            expected = share * whole[modality][row] + (1 - share) * whole[modality][partner]
            torch.testing.assert_close(batch[modality][row], expected)
        labels = torch.zeros(3)
        labels[whole.labels[row]] += float(share)
        labels[whole.labels[partner]] += float(1 - share)
        torch.testing.assert_close(batch.labels[row], labels)


def test_strong_training_runs_through_every_step(depth, tmp_path):
    lab = tiny_lab(tmp_path, epochs=1, augment="strong", mix=0.2)
    joint = train_two_stream(lab, train_stream(lab, "depth"), train_stream(lab, "rgb"))
    run = distill_hallucination(lab, joint)
    assert run.done
