"""What is told of work under way."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from tiny import tiny_lab

from labkit.experiments.graph import run_graph
from labkit.lab import in_notebook, tell
from labkit.tools import progress
from labkit.tools.progress import Progress, duration


@pytest.mark.parametrize(("step", "lines"), [(1.0, 1), (30.0, 4)])
def test_a_long_task_that_nobody_watches_tells_its_quarters(monkeypatch, capsys, step, lines):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("prepare", 100, "clips") as bar:
        for _ in range(100):
            now[0] += step
            bar.advance()
    told = capsys.readouterr().err.splitlines()
    assert len(told) == lines
    if lines == 4:
        assert told[1].startswith("prepare: 50 of 100 clips, about 25 min left")


def test_durations_read_well():
    assert [duration(s) for s in (3.2, 89, 90, 3540, 12_000)] == ["3 s", "89 s", "2 min", "59 min", "3 h 20 min"]


def test_a_terminal_is_told_apart_from_results(capsys):
    assert not in_notebook()
    tell("under way")
    assert capsys.readouterr() == ("", "under way\n")


def test_a_notebook_is_told_the_ends_of_trainings_and_nothing_in_red(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ipykernel.iostream", SimpleNamespace(OutStream=type(sys.stderr)))
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")  # a bar is drawn on stderr
    lab = tiny_lab(tmp_path, epochs=1)
    run_graph([(lab, ["depth"])])
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].startswith("[1/1] depth (tiny, seed 0): done in ") and told.err == ""
