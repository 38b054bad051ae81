"""What a teacher says is kept where clips look the same again: the same as if it were asked each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_lab
from torch import nn

from labkit.clips import Batches
from labkit.fit import Taught
from labkit.model import freeze, set_num_frames
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


def taught_by(lab, run, **clips):
    lab = replace(lab, profile=replace(lab.profile, clips=replace(lab.profile.clips, **clips)))
    batches = Batches(lab, lab.split.train)
    teacher = Counted(load_stream(run, "stream"))
    return Taught(teacher, batches, lambda: torch.autocast("cpu", enabled=False)), teacher, batches


def test_what_is_kept_equals_the_live_answer(depth):
    taught, teacher, batches = taught_by(*depth)
    calls = None
    for epoch in range(3):
        for ids in batches.epoch(epoch, 6):
            batch = batches.train_batch(ids, epoch)
            kept = taught(batch)
            calls = calls or teacher.calls
            assert not batch.clips, "depth was read for an answer that is kept"
            with torch.no_grad():
                live = teacher.stream(batch["depth"])
            torch.testing.assert_close(kept.logits, live.logits, rtol=1e-4, atol=1e-5)
            for one, other in zip(kept.signals + kept.blocks, live.signals + live.blocks, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
                assert one.is_contiguous(memory_format=torch.channels_last)
    assert teacher.calls == calls, "the teacher was asked again"


def test_looks_drawn_afresh_are_not_kept(depth):
    taught, teacher, batches = taught_by(*depth, frame_mode="mixed")
    for epoch in range(2):
        taught(batches.train_batch(list(batches.ids)[:6], epoch))
    assert teacher.calls == 2 and taught.kept is None


def test_few_frames_are_asked_afresh_and_do_not_fill_what_is_kept(depth):
    taught, teacher, batches = taught_by(*depth)
    ids = list(batches.ids)[:6]
    set_num_frames(teacher, 2)
    assert taught(batches.train_batch(ids, 0, 2)).features.shape[0] == 12
    assert teacher.calls == 1 and taught.kept is None
    set_num_frames(teacher, 5)
    taught(batches.train_batch(ids, 0))
    assert taught.kept is not None


def test_what_would_be_too_large_is_not_kept(depth, monkeypatch):
    monkeypatch.setattr("labkit.fit.KEPT_BYTES", 1000)
    taught, teacher, batches = taught_by(*depth)
    first = taught(batches.train_batch(list(batches.ids)[:6], 0))
    assert taught.kept is None and first.logits.shape[0] == 6
    before = teacher.calls
    taught(batches.train_batch(list(batches.ids)[:6], 1))
    assert teacher.calls == before + 1


def test_what_is_taught_carries_no_gradient(depth):
    taught, _, batches = taught_by(*depth)
    said = taught(batches.train_batch(list(batches.ids)[:6], 0))
    assert not any(t.requires_grad for t in (said.logits, *said.signals, *said.blocks))


def test_step_3_ends_alike_with_and_without_the_cache(depth, tmp_path, monkeypatch):
    """Same losses to rounding: the cache changes when the teacher is asked, not what it says."""
    curves = []
    for limit in (1 << 30, 0):
        lab = tiny_lab(tmp_path / str(limit), epochs=2)
        joint = train_two_stream(lab, train_stream(lab, "depth"), train_stream(lab, "rgb"))
        monkeypatch.setattr("labkit.fit.KEPT_BYTES", limit)
        run = distill_hallucination(lab, joint)
        curves.append([point["total"] for point in run.load_json("history.json")["curve"]])
    np.testing.assert_allclose(*curves, rtol=1e-3)
