"""A live bench: trainings of some seconds on six actions, drawn while they last, with earlier tries behind them.

Every try is a run of labkit's own steps, named by its settings as all runs are. A try that was made before is
loaded at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pandas as pd
from ipywidgets import Button, HBox, Image, Label, Layout, VBox
from matplotlib.figure import Figure
from PIL import Image as Picture

from ..analysis import cues
from ..errors import LabError
from ..experiments.committed import publishing
from ..figures.curves import tries as draw_tries
from ..figures.style import PAGE, picture_bytes
from ..lab import EMBEDDED, Lab
from ..runs import Run
from ..tools.progress import watched
from .display import SCREEN, display_picture, show
from .widgets import SCREEN_DPI, Choice, Range, Setting, whole_setting

ACTIONS = 6  # without known pairs: this many of the first classes
PEOPLE = 4  # of the training people, to validate on: one person's clips make a curve of steps


def few_actions(lab: Lab) -> Lab:
    """The same set and profile with the clips of six actions, a pair for each cue; four people validate.

    Trainings take about a third of the time. Other data sets give their first six classes.
    """
    if cues.known(lab):
        order = cues.pair_order(lab)
        kinds = [cues.actions_of(lab)[label].cue for label in order]
        chosen = {label for cue in cues.CUES for label in order[kinds.index(cue) :][:2]}
    else:
        chosen = set(range(min(ACTIONS, lab.num_classes)))

    def of_few(ids: Sequence[str]) -> list[str]:
        labels = lab.clips.labels[lab.clips.rows(ids)]
        return [clip for clip, label in zip(ids, labels, strict=True) if label in chosen]

    train, validation = of_few(lab.split.train), of_few(lab.split.validation)
    people = lab.people(train)
    held = set(list(dict.fromkeys(people))[: PEOPLE - 1]) if len(set(people)) > 2 * PEOPLE else set()
    validation += [clip for clip, who in zip(train, people, strict=True) if who in held]
    train = [clip for clip, who in zip(train, people, strict=True) if who not in held]
    split = replace(lab.split, train=tuple(train), validation=tuple(validation), test=tuple(of_few(lab.split.test)))
    return replace(lab, split=split)


@dataclass
class Try:
    """One setting of a bench and how far its training came: a row an epoch, with validation accuracy in %.

    Test clips are not read: settings are chosen here.
    """

    label: str
    epochs: list[dict[str, float]] = field(default_factory=list)  # "epoch", "loss", "accuracy"

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.epochs).assign(label=self.label)


class _Stopped(Exception):
    """Somebody pressed the button."""


class Bench:
    """Settings to turn, and what a short training makes of them.

    `train(lab, **setting)` makes one try and returns its run. `tries` are the settings of the committed picture; a
    control that one leaves out stands where it starts. What is drawn of step 3 is the reading "alone", of all else the
    one that chooses the epoch.
    """

    def __init__(self, lab: Lab, train: Callable[..., Run], controls: Mapping[str, Range | Choice],
                 tries: Sequence[Setting]):  # fmt: skip
        self.lab, self.train, self.controls, self.chosen = lab, train, dict(controls), list(tries)
        self.tries: list[Try] = []

    def label(self, setting: Setting) -> str:
        """As "rate 0.001, epochs 12"."""
        return ", ".join(f"{name} {control.named(setting[name])}" for name, control in self.controls.items())

    def attempt(self, watch: Callable[[str, Try], None] | None = None, **changes: Any) -> Try:
        """Make one try, or load it. `watch` is told each training's title and its curve so far, and may raise."""
        setting = whole_setting(self.controls, changes)
        one = Try(self.label(setting))

        def told(title: str, position: Any) -> None:  # of the try itself, and before it of what it starts from
            one.epochs = _epochs(position.history)
            watch(title, one)

        run = self.train(replace(self.lab, watch=told) if watch else self.lab, **setting)
        one.epochs = _epochs(run.load_json("history.json")["epochs"])
        return one

    def keep(self, setting: Setting, watch: Callable[[str, Try], None]) -> str:
        """Make one try, or load it, and keep it among the tries; in words, what came of it."""
        try:
            done = self.attempt(watch, **setting)
        except _Stopped:
            return "stopped"
        except LabError as error:
            return str(error)
        self.tries = self._with(done)
        return f"{done.label}: {done.epochs[-1]['accuracy']:.0f} % of the validation clips"

    def _with(self, one: Try) -> list[Try]:
        """The tries and this one last, in place of an earlier one of its setting."""
        return [*(other for other in self.tries if other.label != one.label), one]

    def table(self, running: Try | None = None) -> pd.DataFrame:
        """All tries so far, a row an epoch, and last the one that is running."""
        shown = self._with(running) if running else self.tries
        return pd.concat([one.table() for one in shown if one.epochs], ignore_index=True)

    def figure(self, running: Try | None = None) -> Figure:
        """Loss and accuracy by epoch: the last try strong, those before it faint."""
        return draw_tries(self.table(running))

    def show(self, name: str, caption: str) -> VBox | None:
        """The committed picture of the chosen tries and, for somebody who watches, controls to make others.

        While `labkit publish` works, the tries are made and their picture is kept under that name.
        """
        caption = f"{caption} ({self.lab.data_name}, six actions)."
        if publishing():
            self.tries = [self.attempt(**changes) for changes in self.chosen]
            show(self.lab, self.figure(), name, self.table(), caption=caption)
            return None
        kept = self.lab.runs.root.parent / "figures" / f"{name}.png"
        if self.lab.data_name == EMBEDDED and kept.exists():
            with Picture.open(kept) as picture:
                display_picture(kept, str(picture.info["Description"]), round(SCREEN * PAGE))
            self.tries = _committed(kept.with_suffix(".csv"))
        return self.live()

    def live(self) -> VBox | None:
        """Controls, "Train" and "Stop", and the picture, which grows with every epoch; None when nobody watches."""
        if not watched():
            return None
        start = whole_setting(self.controls, {})
        bound = {name: control.widget(start) for name, control in self.controls.items()}
        train, stop = Button(description="Train", icon="play"), Button(description="Stop", icon="stop", disabled=True)
        told, halt = Label(), Event()
        picture = Image(format="png", layout=Layout(max_width="100%"))

        def draw(running: Try | None = None) -> None:
            if running or self.tries:
                figure = self.figure(running)
                picture.width = round(SCREEN * figure.get_figwidth())
                picture.value = picture_bytes(figure, "png", dpi=SCREEN_DPI)

        def watch(title: str, one: Try) -> None:
            draw(one)
            told.value = f"{title}: epoch {len(one.epochs)}"
            if halt.is_set():
                self.tries = self._with(one)
                raise _Stopped

        def make(setting: Setting) -> None:
            try:
                told.value = self.keep(setting, watch)
            finally:
                draw()
                train.disabled, stop.disabled = False, True

        def begin(_button: Button) -> None:
            halt.clear()
            train.disabled, stop.disabled = True, False
            told.value = "what this training starts from is made first, where it is missing"
            Thread(target=make, args=({name: widget.value for name, widget in bound.items()},), daemon=True).start()

        train.on_click(begin)
        stop.on_click(lambda _button: halt.set())
        draw()
        box = VBox([*bound.values(), HBox([train, stop, told]), picture], layout=Layout(align_items="flex-start"))
        return box.add_class("labkit-bench")


def _reading(outputs: Iterable[str]) -> str:
    """The reading that a bench shows: "alone" where a run has it, else the one that chose its epoch."""
    return "alone" if "alone" in outputs else next(iter(outputs))


def _epochs(history: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """What is drawn of a run's history: loss, and accuracy on the validation clips in %, by epoch from 1."""
    readings = [name.removeprefix("validation ") for name in history[0] if name.startswith("validation ")]
    name = f"validation {_reading(readings)}"
    return [{"epoch": one["epoch"] + 1, "loss": one["total"], "accuracy": 100 * one[name]} for one in history]


def _committed(table: Path) -> list[Try]:
    """The tries of a committed picture, from its numbers."""
    found = pd.read_csv(table)
    return [Try(str(label), rows.drop(columns="label").to_dict("records"))
            for label, rows in found.groupby("label", sort=False)]  # fmt: skip
