"""Interactive views for a notebook that somebody watches. Each has a static twin that carries the content.

A view returns None when nobody watches (see `progress.watched`), so that saved notebooks hold no widget.
"""

from __future__ import annotations

import io

import numpy as np
from ipywidgets import HBox, Image, IntSlider, Play, VBox, jslink
from PIL import Image as Picture

from .pictures import GAP
from .progress import watched


def scrubber(rgb: np.ndarray, depth_coloured: np.ndarray, height: int = 240) -> VBox | None:
    """A slider and a play button through all frames of a clip, RGB beside depth.

    `rgb` (T, H, W, 3) and `depth_coloured` (T, h, w, 3) uint8 may differ in size. The static twin is
    `pictures.clip_strip`.
    """
    if not watched():
        return None
    count = min(len(rgb), len(depth_coloured))
    frames = [_png(rgb[t], depth_coloured[t], height) for t in range(count)]
    image = Image(value=frames[0], format="png")
    play = Play(max=count - 1, interval=120, description="play the clip")
    slider = IntSlider(max=count - 1, description="frame")
    jslink((play, "value"), (slider, "value"))
    slider.observe(lambda change: setattr(image, "value", frames[change["new"]]), names="value")
    return VBox([image, HBox([play, slider])])


def _png(rgb: np.ndarray, depth_coloured: np.ndarray, height: int) -> bytes:
    """Both frames at one height, side by side, as a PNG file."""
    gap = np.full((height, GAP, 3), 255, np.uint8)
    sheet = np.hstack([_at_height(rgb, height), gap, _at_height(depth_coloured, height)])
    buffer = io.BytesIO()
    Picture.fromarray(sheet).save(buffer, format="png")
    return buffer.getvalue()


def _at_height(frame: np.ndarray, height: int) -> np.ndarray:
    width = round(height * frame.shape[1] / frame.shape[0])
    return np.asarray(Picture.fromarray(frame).resize((width, height), Picture.Resampling.NEAREST))
