"""What a bar says about the time that is left."""

from __future__ import annotations

import itertools
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import tiny_lab

from labkit.experiments.graph import run_graph
from labkit.tools import progress
from labkit.tools.progress import Pace, Progress, duration


def test_a_steady_pace_is_told_exactly():
    pace = Pace()
    for number in range(1, 101):
        pace.tell(number, 5.0 * number)
    assert pace.remaining(200) == pytest.approx(500) and pace.rate() == pytest.approx(0.2)


def test_starting_up_and_what_was_done_before_do_not_count():
    pace = Pace(1000)
    for number in range(1, 51):
        pace.tell(1000 + number, 30 + 0.5 * number)  # processes take half a minute to start
    assert pace.remaining(1100) == pytest.approx(25)


def test_bursts_of_several_processes_are_smoothed():
    """Eight results at once every eight seconds: the truth is one a second at any time."""
    pace, told = Pace(), []
    for number in range(1, 601):
        pace.tell(number, 8.0 * ((number + 7) // 8) + 0.001 * (number % 8))
        told.append(pace.remaining(600))
    truth = 600 - np.arange(101, 591)
    assert np.abs(np.array(told[100:590]) / truth - 1).max() < 0.25


def test_a_change_of_pace_shows():
    """Half of the clips need a hash only, then each needs making: ten times as long."""
    pace, now = Pace(), 0.0
    for number in range(1, 1001):
        now += 0.1 if number <= 500 else 1.0
        pace.tell(number, now)
        if number == 600:
            left = pace.remaining(1000)
    assert left == pytest.approx(400, rel=0.1)


def test_memory_stays_small_however_long_it_takes():
    pace = Pace()
    for number in range(100_000):
        pace.tell(number, 0.01 * number)
    assert len(pace.samples) < 0.5 * 1000 / 0.1


def test_nothing_is_known_before_two_results():
    pace = Pace()
    assert pace.remaining(10) is None
    pace.tell(1, 5.0)
    assert pace.remaining(10) is None


def test_the_bar_shows_this_estimate_and_not_its_own(monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")
    clock = itertools.count(100, 30)
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with Progress("x", 100, "clips") as bar:
        for _ in range(50):
            bar.advance()
        assert bar.bar.format_dict["rate"] == pytest.approx(1 / 30)
        bar.bar.refresh()
    assert "<25:00" in capsys.readouterr().err


@pytest.mark.parametrize(("step", "lines"), [(1.0, 1), (30.0, 4)])
def test_a_long_task_that_nobody_watches_tells_its_quarters(monkeypatch, capsys, step, lines):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    clock = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: step * next(clock))
    with Progress("prepare", 100, "clips") as bar:
        for _ in range(100):
            bar.advance()
    told = capsys.readouterr().out.splitlines()
    assert len(told) == lines
    if lines == 4:
        assert told[1].startswith("prepare: 50 of 100 clips, about 25 min left")


def test_durations_read_well():
    assert [duration(s) for s in (3.2, 89, 90, 3540, 12_000)] == ["3 s", "89 s", "2 min", "59 min", "3 h 20 min"]


def test_a_terminal_is_told_apart_from_results(capsys):
    assert not progress.in_notebook()
    progress.tell("under way")
    assert capsys.readouterr() == ("", "under way\n")


def test_a_notebook_is_told_the_ends_of_trainings_and_nothing_in_red(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ipykernel.iostream", SimpleNamespace(OutStream=type(sys.stderr)))
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")  # a bar is drawn on stderr
    lab = tiny_lab(tmp_path, epochs=1)
    run_graph([(lab, ["depth"])])
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith("[1/1] depth (tiny, seed 0): done in ") and told.err == ""
