"""The live bench and the reader's guess: what they make, draw, keep and say."""

from __future__ import annotations

import time
from dataclasses import replace

import pandas as pd
import pytest
from tiny import tiny_lab

from labkit.data.splits import Split
from labkit.experiments import committed
from labkit.figures.curves import tries as draw_tries
from labkit.figures.style import save_figure
from labkit.lab import open_lab
from labkit.notebook import bench as benches
from labkit.notebook import guess as guesses
from labkit.notebook.bench import Bench, few_actions
from labkit.notebook.guess import Guess
from labkit.notebook.widgets import Choice
from labkit.trainers import train_stream


@pytest.fixture
def lab(tmp_path):
    lab = tiny_lab(tmp_path / "home")
    parts = {part: tuple(getattr(lab.split, part)) for part in ("train", "validation", "test")}
    return replace(lab, split=Split("cross-subject", **parts))


@pytest.fixture
def bench(lab):
    def train(lab, rate, epochs):
        return train_stream(lab.with_settings("step1", lr=rate, epochs=epochs), "rgb")

    controls = {"rate": Choice("learning rate", (1e-4, 1e-3)), "epochs": Choice("epochs", (1, 2, 300), 2)}
    return Bench(lab, train, controls, [{}, {"rate": 1e-3}])


def test_a_try_is_a_run_of_labkit_and_is_watched_epoch_by_epoch(bench):
    seen, label = [], "rate 0.001, epochs 2"
    bench.attempt(lambda title: seen.append((title, len(bench.tries[label]))), rate=1e-3)
    one = bench.tries[label]
    assert seen == [("step 1 rgb", 1), ("step 1 rgb", 2)] and list(one) == ["epoch", "loss", "accuracy", "label"]
    run = train_stream(bench.lab.with_settings("step1", lr=1e-3, epochs=2), "rgb")
    kept = run.result["outputs"]["stream"]["validation"]["accuracy"]  # of the last epoch, which `mini` keeps
    assert one["accuracy"].iloc[-1] == pytest.approx(100 * kept)
    assert list(one["loss"]) == [row["total"] for row in run.load_json("history.json")["epochs"]]
    bench.attempt(seen.append, rate=1e-3)  # made before: nothing is trained
    assert len(seen) == 2 and bench.tries[label].equals(one)


def pressed(box, until: str, seconds: float = 60.0) -> str:
    """Press the first button of a live bench; what its label says once `until` is in it."""
    train, _, told = box.children[-2].children
    train.click()
    return waited(box, told, until, seconds)


def waited(box, told, until: str, seconds: float = 60.0) -> str:
    end = time.monotonic() + seconds
    while until not in told.value or box.children[-2].children[0].disabled:
        assert time.monotonic() < end, told.value
        time.sleep(0.02)
    return told.value


def test_the_live_bench_trains_draws_and_keeps_earlier_tries(bench, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")
    box = bench.live()
    rate = box.children[0]
    assert "of the validation clips" in pressed(box, "%")
    first = box.children[-1].value
    rate.value = 1e-3
    pressed(box, "rate 0.001")
    assert list(bench.tries) == ["rate 0.0001, epochs 2", "rate 0.001, epochs 2"]
    assert box.children[-1].value != first and set(bench.table()["label"]) == set(bench.tries)


def test_a_try_that_runs_again_takes_the_place_of_the_earlier_one(bench):
    """Else one line would join both."""
    earlier = pd.DataFrame({"epoch": [1, 2], "loss": 1.0, "accuracy": 50.0})
    bench.tries = {label: earlier.assign(label=label) for label in ("rate 0.001, epochs 2", "rate 0.0001, epochs 2")}
    seen = []
    bench.attempt(lambda title: seen.append(bench.table()[["label", "epoch"]].values.tolist()), rate=1e-3)
    assert seen[0] == [["rate 0.0001, epochs 2", 1], ["rate 0.0001, epochs 2", 2], ["rate 0.001, epochs 2", 1]]
    assert len(bench.table()) == 4


def test_the_stop_button_ends_a_long_training_and_keeps_its_curve(bench, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")
    box = bench.live()
    box.children[1].value = 300
    train, stop, told = box.children[-2].children
    train.click()
    assert train.disabled and not stop.disabled
    while "epoch" not in told.value:
        time.sleep(0.02)
    stop.click()
    assert waited(box, told, "stopped") == "stopped"
    (stopped,) = bench.tries.values()
    assert 0 < len(stopped) < 300


def test_what_goes_wrong_is_told_beside_the_button(lab, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")
    bench = Bench(lab, lambda lab: train_stream(lab, "sonar"), {}, [{}])
    assert "sonar" in pressed(bench.live(), "sonar") and not bench.tries


def test_publishing_makes_the_chosen_tries_and_a_reader_sees_them(bench, monkeypatch):
    shown = []
    monkeypatch.setattr(benches, "show", lambda lab, figure, name, table, caption: shown.append((name, table, caption)))
    with committed.being_made():
        assert bench.show("05_bench", "Two rates") is None
    ((name, table, caption),) = shown
    assert name == "05_bench" and set(table["label"]) == {"rate 0.0001, epochs 2", "rate 0.001, epochs 2"}
    assert bench.lab.data_name in caption
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    assert bench.show("05_bench", "Two rates") is None and len(shown) == 1  # headless: nothing is trained or drawn
    save_figure(draw_tries(table), "05_bench", bench.lab.runs.root.parent / "figures", table, caption="Committed.")
    monkeypatch.setattr(benches, "display_picture", lambda png, caption, width: shown.append(caption))
    bench.tries = {}
    assert bench.show("05_bench", "Two rates") is None and shown[-1] == "Committed."
    pd.testing.assert_frame_equal(bench.table(), table, rtol=1e-4)


def test_few_actions_are_a_pair_of_each_cue_and_share_no_person(smoke_home):
    lab = open_lab("smoke", home=smoke_home, progress=False)
    few = few_actions(lab)
    names = {lab.clips.class_names[label] for label in lab.clips.labels[lab.clips.rows(few.split.test)]}
    assert len(names) == 6 and len(few.split.test) == len(lab.split.test) / 2
    parts = [set(few.people(getattr(few.split, part))) for part in ("train", "validation", "test")]
    assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_a_guess_is_noted_and_shown_beside_the_result(monkeypatch):
    said = []
    monkeypatch.setattr(guesses, "display", lambda text: said.append(text.data))
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    nobody = Guess("How many, in %?", 0, 100)
    assert nobody.ask() is None
    nobody.reveal(8.94)
    assert said[-1] == "*How many, in %?* **8.9 %**."
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")
    for guess, answer, found in (
        (Guess("How many, in %?", 0, 100), 60.0, 8.94),
        (Guess("Which?", ["a", "b"]), "b", "a"),
    ):
        _, asked, button = guess.ask().children
        asked.value = answer
        button.click()
        guess.reveal(found)
        assert asked.disabled and "Your guess: " in said[-1]
    assert said[-1] == "*Which?* **a**. Your guess: b."
