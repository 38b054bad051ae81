"""One moving picture of the method: its four steps and the test, to walk through.

`show(3)` opens step 3. Where nobody watches, it shows the moments of that step side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from IPython.display import Image, display
from ipywidgets import Button, HBox, Layout, SelectionSlider, VBox
from matplotlib.figure import Figure

from ..errors import LabError
from ..figures.method import MOMENTS, method_diagram, method_moments, moments_of
from ..figures.style import PAGE, picture_bytes
from .display import SCREEN, for_screen
from .widgets import Choice, Setting, View


def walk(step: int | None = None) -> View:
    """All moments, one at a time; it opens at the first of a step. Raises LabError for a step there is not."""
    moments = moments_of(step) if step else []
    if step is not None and not moments:
        raise LabError.mismatch(None, "a step from 1 to 4, or none", repr(step), "correct the number")

    def draw(settings: Sequence[Setting]) -> Figure:
        return method_moments([setting["moment"] for setting in settings])

    controls = {"moment": Choice("step", MOMENTS, moments[0] if moments else None)}
    return View(draw, controls, [{"moment": moment} for moment in moments], {"moment": MOMENTS},
                lambda setting: setting["moment"].words)  # fmt: skip


def show(step: int | None = None) -> VBox | None:
    """The four steps with one of them lit, and its moments; all of them and a control where somebody watches."""
    view = walk(step)
    live = view.live()
    if live is None:
        png = BytesIO(picture_bytes(view.twin() if step else method_diagram(), "png"))
        words = " ".join(moment.words for moment in (moments_of(step) if step else MOMENTS))
        display(Image(for_screen(png), width=round(SCREEN * PAGE), metadata={"alt": f"The method. {words}"}))
        return None
    picture, slider = live.children
    slider.style.description_width = "initial"  # no gap between the buttons and it
    live.children = HBox([*_buttons(slider), slider]), picture  # above: the picture fills a small screen
    return live


def _buttons(slider: SelectionSlider) -> list[Button]:
    """One to go back and one to go on."""

    def button(words: str, icon: str, places: int) -> Button:
        def go(_button: Button) -> None:
            slider.index = min(max(slider.index + places, 0), len(slider.options) - 1)

        made = Button(description=words, icon=icon, layout=Layout(width="8em"))
        made.on_click(go)
        return made

    return [button("previous", "arrow-left", -1), button("next", "arrow-right", 1)]
