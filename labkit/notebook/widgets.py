"""Interactive views for a notebook that somebody watches. Each has a static twin that carries the content.

A `View` is one function that draws settings side by side, and the controls that choose a setting. Live it shows
one of them, its twin a few. A view shows nothing live when nobody watches (see `progress.watched`), so that saved
notebooks hold no widget. The pictures are PNG files in an image widget: no display backend, little to send. The site,
which has no kernel, shows pictures of a few values of each control, made ahead.
"""

from __future__ import annotations

import gc
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
from ipywidgets import (
    HTML,
    Button,
    FloatSlider,
    GridBox,
    HBox,
    Image,
    IntSlider,
    Layout,
    Play,
    SelectionSlider,
    VBox,
    jslink,
)
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image as Picture
from traitlets import Enum

from ..errors import LabError
from ..experiments.committed import publishing
from ..figures.pictures import GAP, shortened
from ..figures.style import figures_folder, picture_bytes
from ..files import atomic_folder, write_json
from ..lab import Lab
from ..tools.progress import watched
from . import display

Setting = dict[str, Any]
EXPLORERS, EXPLORER = "explorers", "explorer.json"  # among figures: folders of pictures for the site, what is in one
_LOOK = {"style": {"description_width": "12em"}, "layout": Layout(width="38em", max_width="100%")}


@dataclass(frozen=True)
class Range:
    """A slider over numbers; whole `step`s make whole numbers. `high` may depend on the setting so far."""

    label: str
    low: float
    high: float | Callable[[Setting], float]
    step: float = 1
    start: float | None = None

    def highest(self, setting: Setting) -> float:
        return self.high(setting) if callable(self.high) else self.high

    def first(self) -> float:
        return self.low if self.start is None else self.start

    def named(self, value: float) -> str:
        return f"{value:.4g}"

    def widget(self, setting: Setting) -> IntSlider | FloatSlider:
        kind = IntSlider if isinstance(self.step, int) else FloatSlider
        limits = {"min": self.low, "max": self.highest(setting), "step": self.step, "value": self.first()}
        return kind(**limits, description=self.label, **_LOOK)


@dataclass(frozen=True)
class Choice:
    """A slider over named options, which starts at the first of them.

    A list to unfold would lose its keys: JupyterLab takes up, down and letters for itself, and moves to the next
    cell or changes this one's kind. Left and right it leaves to a slider.
    """

    label: str
    options: Sequence[Any]
    start: Any = None

    def first(self) -> Any:
        return self.options[0] if self.start is None else self.start

    def named(self, value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    def widget(self, setting: Setting) -> SelectionSlider:
        labels = shortened([self.named(option) for option in self.options])
        options = list(zip(labels, self.options, strict=True))
        return SelectionSlider(options=options, value=self.first(), description=self.label, **_LOOK)


@dataclass(frozen=True)
class Cell:
    """A table of counts (rows, columns) to click; a value is (name of the row, name of the column)."""

    label: str
    names: Sequence[str]
    table: np.ndarray
    start: tuple[str, str]

    def first(self) -> tuple[str, str]:
        return self.start

    def named(self, value: tuple[str, str]) -> str:
        return " taken for ".join(value)

    def widget(self, setting: Setting) -> Table:
        return Table(self)


class Table(GridBox):
    """The buttons of a `Cell`, darker where more lies in them; `value` is the cell that was clicked last."""

    def __init__(self, cell: Cell):
        upright = '<div style="writing-mode: vertical-rl; rotate: 180deg; line-height: 1.6em">{}</div>'
        heads = [
            HTML(),
            *(HTML(upright.format(name), layout=Layout(align_self="flex-end")) for name in shortened(cell.names)),
        ]
        rows = [[HTML(name), *(self._button(cell, row, column) for column in range(len(cell.names)))]
                for row, name in enumerate(shortened(cell.names))]  # fmt: skip
        columns = f"max-content repeat({len(cell.names)}, 2.1em)"
        super().__init__([*heads, *chain(*rows)], layout=Layout(grid_template_columns=columns, grid_gap="1px"))
        self.add_traits(value=Enum(list(product(cell.names, repeat=2)), cell.first()))

    def _button(self, cell: Cell, row: int, column: int) -> Button:
        count, value = int(cell.table[row, column]), (cell.names[row], cell.names[column])
        share = count / max(int(cell.table[row].sum()), 1)
        style = {"button_color": to_hex(colormaps["Blues"](share)), "text_color": "white" if share > 0.5 else "black"}
        button = Button(description=str(count or ""), tooltip=f"{cell.named(value)}: {count}", style=style,
                        layout=Layout(width="2em", height="2em", padding="0", margin="0"))  # fmt: skip
        button.on_click(lambda _: setattr(self, "value", value))
        return button


def whole_setting(controls: Mapping[str, Range | Choice | Cell], changes: Setting) -> Setting:
    """These changes, and every other control where it starts; LabError for a control that there is not."""
    if unknown := sorted(set(changes) - set(controls)):
        known = ", ".join(controls)
        raise LabError.mismatch(None, f"a control among {known}", ", ".join(unknown), "correct the name")
    return {name: changes.get(name, control.first()) for name, control in controls.items()}


class View:
    """Something to look at under changing settings.

    `draw` takes settings, {name of control: value}, and returns them in one figure side by side. `chosen` are
    those of the twin; a control that one leaves out stands where it starts. `site` has, by control, the values that
    it takes on the site, and `words` say what the picture of a setting shows.
    """

    def __init__(self, draw: Callable[[Sequence[Setting]], Figure], controls: Mapping[str, Range | Choice | Cell],
                 chosen: Sequence[Setting], site: Mapping[str, Sequence[Any]] | None = None,
                 words: Callable[[Setting], str] | None = None):  # fmt: skip
        self.draw, self.controls, self.chosen, self.site = draw, dict(controls), list(chosen), dict(site or {})
        self.words = words or self._named
        self._kept = lru_cache(self._picture)  # going back to a setting costs nothing

    def _named(self, setting: Setting) -> str:
        return ", ".join(f"{control.label}: {control.named(setting[name])}" for name, control in self.controls.items())

    def setting(self, **changes: Any) -> Setting:
        return whole_setting(self.controls, changes)

    def twin(self) -> Figure:
        """The chosen settings side by side, for everyone who has no kernel."""
        return self.draw([self.setting(**changes) for changes in self.chosen])

    def picture(self, **changes: Any) -> bytes:
        """One setting as a PNG file; the last ones are kept."""
        return self._kept(*self.setting(**changes).values())

    def _picture(self, *values: Any) -> bytes:
        setting = dict(zip(self.controls, values, strict=True))
        return picture_bytes(self.draw([setting]), "png", dpi=display.SCREEN)

    def show(self, lab: Lab, name: str, caption: str) -> HBox | VBox | None:
        """The twin, kept as a figure (see `display.show`), then `live`: the whole view in the last line of a cell.

        While what is committed is being made, the pictures for the site are, too.
        """
        display.show(lab, self.twin(), name, caption=caption)
        if publishing() and self.site:
            self.save_frames(figures_folder(lab) / EXPLORERS / name)
        return self.live()

    def save_frames(self, folder: Path) -> None:
        """A folder with a picture of each setting of the site, and EXPLORER, which says what its controls are.

        Settings beyond what a slider reaches, where its end depends on another, are left out.
        """
        start, frames, about = self.setting(), {}, []
        with atomic_folder(folder) as temporary:
            for places in product(*(range(len(values)) for values in self.site.values())):
                chosen = {name: values[place] for place, (name, values) in zip(places, self.site.items(), strict=True)}
                setting = start | chosen
                if all(setting[name] <= control.highest(setting) for name, control in self.controls.items()
                       if isinstance(control, Range)):  # fmt: skip
                    key = "-".join(map(str, places))
                    picture = Picture.open(io.BytesIO(self.picture(**chosen))).convert("RGB")
                    picture.save(temporary / f"{key}.webp", quality=85)  # a fifth of the PNG
                    frames[key] = self.words(setting)
            for name, values in self.site.items():
                control, place = self.controls[name], list(values).index(start[name]) if start[name] in values else 0
                about.append({"label": control.label, "options": [*map(control.named, values)], "start": place})
            write_json(temporary / EXPLORER, {"controls": about, "frames": frames})

    def live(self) -> HBox | VBox | None:
        """The picture with its controls, for the last line of a cell; None when nobody watches."""
        if not watched():
            return None
        bound = {name: control.widget(self.setting()) for name, control in self.controls.items()}
        first = self.picture()
        width = Picture.open(io.BytesIO(first)).width
        image = Image(value=first, format="png", layout=Layout(width=f"{width}px", max_width="100%", height="auto"))

        def show(_change: object) -> None:
            setting: Setting = {}
            for name, control in self.controls.items():
                if isinstance(control, Range):
                    bound[name].max = control.highest(setting)  # takes the value along, if it lies outside now
                setting[name] = bound[name].value
            image.value = self.picture(**setting)

        gc.collect()  # with torch loaded it takes half a second: better now than under somebody's hand
        for widget in bound.values():
            widget.observe(show, names="value")
        beside = any(isinstance(widget, Table) for widget in bound.values())
        flow = "row wrap" if beside else "column"
        return (HBox if beside else VBox)(
            [image, *bound.values()], layout=Layout(align_items="flex-start", flex_flow=flow)
        )


def scrubber(rgb: np.ndarray, depth_coloured: np.ndarray, height: int = 240) -> VBox | None:
    """A slider and a play button through all frames of a clip, RGB beside depth.

    `rgb` (T, H, W, 3) and `depth_coloured` (T, h, w, 3) uint8 may differ in size. The static twin is
    `pictures.strips`.
    """
    if not watched():
        return None
    frames = [_side_by_side(both, height) for both in zip(rgb, depth_coloured, strict=False)]  # as long as the shorter
    image = Image(value=frames[0], format="png")
    play = Play(max=len(frames) - 1, interval=120, description="play the clip")
    slider = IntSlider(max=len(frames) - 1, description="frame")
    jslink((play, "value"), (slider, "value"))
    slider.observe(lambda change: setattr(image, "value", frames[change["new"]]), names="value")
    return VBox([image, HBox([play, slider])], layout=Layout(align_items="flex-start"))


def _side_by_side(both: Sequence[np.ndarray], height: int) -> bytes:
    """Both frames at one height, as a PNG file."""
    shown = [Picture.fromarray(frame) for frame in both]
    sizes = [(round(height * one.width / one.height), height) for one in shown]
    left, right = (one.resize(size, Picture.Resampling.NEAREST) for one, size in zip(shown, sizes, strict=True))
    buffer = io.BytesIO()
    Picture.fromarray(np.hstack([left, np.full((height, GAP, 3), 255, np.uint8), right])).save(buffer, format="png")
    return buffer.getvalue()
