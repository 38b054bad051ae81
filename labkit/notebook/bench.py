"""A live bench: trainings of some seconds on six actions, drawn while they last, with earlier tries behind them.

Every try is a run of labkit's own steps, named by its settings as all runs are. A try that was made before is
loaded at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pandas as pd
from ipywidgets import Button, HBox, Image, Label, Layout, VBox

from ..analysis import cues
from ..errors import LabError
from ..experiments.committed import publishing
from ..figures.curves import tries as draw_tries
from ..figures.style import PAGE, caption_in, picture_bytes
from ..lab import EMBEDDED, Lab
from ..runs import Run
from ..tools.progress import watched
from .display import SCREEN, display_picture, show
from .widgets import Choice, Range, Setting, whole_setting

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


class _Stopped(Exception):
    """Somebody pressed the button."""


class Bench:
    """Settings to turn, and what a short training makes of them.

    `train(lab, **setting)` makes one try and returns its run. `tries` are the settings of the committed picture; a
    control that one leaves out stands where it starts. What is drawn of step 3 is the reading "alone", of all else the
    one that chooses the epoch. Test clips are not read: settings are chosen here.

    A try is a table with a row an epoch: "epoch" from 1, "loss", "accuracy" on the validation clips in %, "label".
    """

    def __init__(self, lab: Lab, train: Callable[..., Run], controls: Mapping[str, Range | Choice],
                 tries: Sequence[Setting]):  # fmt: skip
        self.lab, self.train, self.controls, self.chosen = lab, train, dict(controls), list(tries)
        self.tries: dict[str, pd.DataFrame] = {}  # by label

    def label(self, setting: Setting) -> str:
        """As "rate 0.001, epochs 12"."""
        return ", ".join(f"{name} {control.named(setting[name])}" for name, control in self.controls.items())

    def attempt(self, watch: Callable[[str], None] | None = None, **changes: Any) -> None:
        """Make one try, or load it, and keep it as the last one, in place of an earlier one of its setting.

        `watch` is told each training's title after each of its epochs, and may raise.
        """
        setting = whole_setting(self.controls, changes)
        label = self.label(setting)
        self.tries.pop(label, None)

        def told(title: str, position: Any) -> None:  # of the try itself, and before it of what it starts from
            self.tries[label] = _by_epoch(position.history, label)
            watch(title)

        run = self.train(replace(self.lab, watch=told) if watch else self.lab, **setting)
        self.tries[label] = _by_epoch(run.load_json("history.json")["epochs"], label)

    def in_words(self, setting: Setting, watch: Callable[[str], None]) -> str:
        """Make one try, or load it, and say what came of it; the curve of a stopped one is kept, too."""
        label = self.label(setting)
        try:
            self.attempt(watch, **setting)
        except _Stopped:
            return "stopped"
        except LabError as error:
            self.tries.pop(label, None)
            return str(error)
        return f"{label}: {self.tries[label]['accuracy'].iloc[-1]:.0f} % of the validation clips"

    def table(self) -> pd.DataFrame:
        """All tries so far, one below the other."""
        return pd.concat(self.tries.values(), ignore_index=True)

    def show(self, name: str, caption: str) -> VBox | None:
        """The committed picture of the chosen tries and, for somebody who watches, controls to make others.

        While `labkit publish` works, the tries are made and their picture is kept under that name.
        """
        caption = f"{caption} ({self.lab.data_name}, six actions)."
        if publishing():
            for changes in self.chosen:
                self.attempt(**changes)
            show(self.lab, draw_tries(self.table()), name, self.table(), caption=caption)
            return None
        kept = self.lab.runs.root.parent / "figures" / f"{name}.png"
        if self.lab.data_name == EMBEDDED and kept.exists():
            display_picture(kept, caption_in(kept), round(SCREEN * PAGE))
            self.tries = dict(iter(pd.read_csv(kept.with_suffix(".csv")).groupby("label", sort=False)))
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

        def draw() -> None:
            if self.tries:
                picture.width = round(SCREEN * PAGE)
                picture.value = picture_bytes(draw_tries(self.table()), "png", dpi=SCREEN)

        def watch(title: str) -> None:
            draw()
            told.value = f"{title}: epoch {len(next(reversed(self.tries.values())))}"
            if halt.is_set():
                raise _Stopped

        def make(setting: Setting) -> None:
            try:
                told.value = self.in_words(setting, watch)
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


def _by_epoch(history: Sequence[Mapping[str, float]], label: str) -> pd.DataFrame:
    """The try that a run's history tells of."""
    readings = [name for name in history[0] if name.startswith("validation ")]  # first the one that chose the epoch
    name = "validation alone" if "validation alone" in readings else readings[0]
    rows = [{"epoch": one["epoch"] + 1, "loss": one["total"], "accuracy": 100 * one[name]} for one in history]
    return pd.DataFrame(rows).assign(label=label)
