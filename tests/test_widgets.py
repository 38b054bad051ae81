"""Interactive views: what the slider shows is the frame it names, and headless runs hold no widget."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from labkit.notebook import widgets


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (4, 9, 16, 3), np.uint8), rng.integers(0, 256, (3, 7, 8, 3), np.uint8)


def pixels(view) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(view.children[0].value)))


def test_the_slider_shows_the_frame_it_names(clip, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")
    rgb, depth = clip
    view = widgets.scrubber(rgb, depth, height=9)
    slider = view.children[1].children[1]
    assert slider.max == 2  # the shorter of both
    for frame in (2, 0, 1):
        slider.value = frame
        assert np.array_equal(pixels(view)[:, :16], rgb[frame])
    assert pixels(view).shape == (9, 16 + 2 + 10, 3)  # depth keeps its own shape


def test_nobody_watches_no_widget(clip, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    assert widgets.scrubber(*clip) is None
