"""A guess before a result: the reader commits to one, and sees it beside what came out."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.display import Markdown, display
from ipywidgets import HTML, Button, FloatSlider, Layout, RadioButtons, VBox

from ..tools.progress import watched


class Guess:
    """A question with a number between `low` and `high` for an answer, or one of some options.

    `Guess("How many of the test clips, in %?", 0, 100)`, `Guess("Which is better?", ["RGB", "depth"])`. Nobody is
    asked where nobody watches.
    """

    def __init__(self, question: str, options: Sequence[str] | float = 0, high: float = 100, *, unit: str = "%"):
        self.question, self.unit = question, unit
        self.made: str | float | None = None
        look = {"layout": Layout(width="38em", max_width="100%")}
        if isinstance(options, (int, float)):
            self._asked = FloatSlider((options + high) / 2, min=options, max=high, step=(high - options) / 100, **look)
        else:
            self._asked = RadioButtons(options=list(options), value=None, **look)

    def ask(self) -> VBox | None:
        """The question with a button that commits to the answer; None where nobody watches."""
        if not watched():
            return None
        button, told = Button(description="My guess"), HTML(f"<b>{self.question}</b>")

        def commit(_button: Button) -> None:
            if self._asked.value is not None:
                self.made = self._asked.value
                self._asked.disabled = button.disabled = True
                button.description = "Noted"

        button.on_click(commit)
        return VBox([told, self._asked, button]).add_class("labkit-guess")

    def reveal(self, found: str | float) -> None:
        """Show what came out, beside the guess if there is one."""
        guessed = "" if self.made is None else f" Your guess: {self._said(self.made)}."
        display(Markdown(f"*{self.question}* **{self._said(found)}**.{guessed}"))

    def _said(self, answer: str | float) -> str:
        return answer if isinstance(answer, str) else f"{round(answer, 1)} {self.unit}".rstrip()
