"""Figures of notebook 11 show what they are given: scales, places, intervals, the true class."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from labkit.figures import gallery as figures
from labkit.figures import pictures, style

T, SIDE = 3, 8
RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (T, SIDE, SIDE, 3), np.uint8)


def test_a_cell_of_a_map_becomes_a_square_on_a_scale_from_zero():
    maps = np.array([[[0.0, 1.0], [-3.0, 2.0]], [[4.0, 0.0], [0.0, 0.0]]])
    grey = pictures.in_grey(maps, SIDE)
    assert grey.shape == (2, SIDE, SIDE, 3) and grey.dtype == np.uint8
    assert (grey[0, :4, 4:] == 63).all() and (grey[0, 4:, :4] == 0).all() and (grey[1, :4, :4] == 255).all()
    assert not pictures.in_grey(np.zeros((1, 2, 2)), SIDE).any()


def test_the_sheet_holds_the_frames_and_the_maps_of_each_stream():
    maps = [RNG.random((T, 4, 4)), RNG.random((T, 2, 2))]
    streams = {"depth (teacher)": [FRAMES, *maps], "RGB stream": [FRAMES[::-1], maps[1], maps[0]]}
    axes = np.reshape(figures.map_sheet(streams, ["depth", "rgb"], ["block 1", "block 2"]).axes, (3, 2))
    assert [axis.get_title() for axis in axes[0]] == list(streams)
    assert [axis.get_ylabel() for axis in axes[:, 0]] == ["input", "block 1", "block 2"]
    assert to_hex(axes[0, 1].title.get_color()).upper() == style.ROLES["rgb"]
    shown = axes[0, 0].images[0].get_array()
    assert np.array_equal(shown[:, :SIDE], FRAMES[0]) and np.array_equal(shown[:, -SIDE:], FRAMES[-1])
    expected = pictures.in_grey(maps[1], SIDE)
    for axis in (axes[2, 0], axes[1, 1]):
        assert np.array_equal(axis.images[0].get_array()[:, :SIDE], expected[0])


def test_the_course_draws_a_reading_of_one_epoch_across():
    keys = [("alone", 0), ("alone", 1), ("alone", 40), ("RGB stream", 40)]
    rows = [(name, epoch, block, 0.1 * block + 0.01 * epoch, 0.0, 1.0) for name, epoch in keys for block in (1, 2)]
    table = pd.DataFrame(rows, columns=["reading", "epoch", "block", "similarity", "low", "high"])
    looks = {"alone": ("hallucination", "-"), "RGB stream": ("rgb", "--")}
    _, second = figures.cka_course(table, looks, 40).axes
    moving, across = second.lines
    assert list(moving.get_xdata()) == [0, 1, 40]
    assert list(moving.get_ydata()) == pytest.approx([0.2, 0.21, 0.6])
    assert list(across.get_ydata()) == pytest.approx([0.6, 0.6])
    assert list(second.get_xticks()) == [0, 1, 40]


def test_gains_share_classes_and_their_order_and_fill_only_what_excludes_zero():
    def table(target, differences):
        half = 5.0
        rows = [(name, target, d, d - half, d + half) for name, d in zip("abc", differences, strict=True)]
        return pd.DataFrame(rows, columns=["class", "target", "difference", "low", "high"])

    tables = {"left": table("table2:8", [0, 20, -10]), "right": table("table2:15", [1, 2, 30])}
    left, right = figures.class_gains(tables).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["b", "a", "c"]
    assert [line.get_xdata()[0] for line in right.lines[:3]] == [2, 1, 30]
    assert [line.get_markerfacecolor() == "white" for line in left.lines[:3]] == [False, True, False]
    assert left.get_xlim() == right.get_xlim()


def test_a_lost_clip_shows_both_answers_and_marks_the_true_class():
    answers = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    said = dict(zip(("depth", "hallucination"), answers, strict=True))
    clips = [figures.Answered({"RGB": FRAMES, "teacher": FRAMES}, said, label) for label in (0, 2)]
    axes = np.reshape(figures.answered_clips(clips, ["walk", "kick", "wave"]).axes, (2, 2))
    for (shown, said), clip in zip(axes, clips, strict=True):
        assert [label.get_text() for label in shown.get_yticklabels()] == ["RGB", "teacher"]
        widths = [bar.get_width() for container in said.containers for bar in container]
        assert widths == pytest.approx([*answers[0], *answers[1]])
        weights = [label.get_weight() for label in said.get_yticklabels()]
        assert [weight == "bold" for weight in weights] == [place == clip.label for place in range(3)]
