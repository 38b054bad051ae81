"""What is told of work under way."""

from __future__ import annotations

import re
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

from tiny import tiny_lab

from labkit.experiments.graph import run_graph
from labkit.experiments.trainings import make
from labkit.lab import in_notebook, tell
from labkit.tools import progress
from labkit.tools.progress import Progress, duration, told_of


def test_work_that_nobody_watches_is_told_of_every_half_minute(monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("prepare", 100, "clips") as bar:
        for _ in range(100):
            now[0] += 1
            bar.advance()
    assert capsys.readouterr().err.splitlines() == [
        "prepare: 8 of 100 clips, about 2 min left", "prepare: 38 of 100 clips, about 62 s left",
        "prepare: 68 of 100 clips, about 32 s left", "prepare: 98 of 100 clips, about 2 s left",
        "prepare: 100 clips in 100.0 s",
    ]  # fmt: skip


def test_little_work_is_one_line_and_what_was_there_makes_no_guess_shorter(monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("puppets", 3, "clips") as bar:
        bar.advance(3)
    assert capsys.readouterr().err == "puppets: 3 clips in 0.0 s\n"
    with Progress("puppets", 100, "clips", done=80) as bar:
        for _ in range(10):
            now[0] += 6
            bar.advance()
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == ["puppets: 82 of 100 clips, time left not known before 4 are done",
                        "puppets: 87 of 100 clips, about 78 s left"]  # fmt: skip


def test_it_is_told_how_far_things_are_while_the_caller_waits(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.01)
    lines, enough = [], threading.Event()

    def tell(line):
        lines.append(line)
        if len(lines) == 3:
            enough.set()

    with told_of(lambda: f"{len(lines)} so far", tell):
        assert enough.wait(60)
    assert lines[:3] == ["0 so far", "1 so far", "2 so far"]
    told = len(lines)
    assert not any(thread.name == "told_of" for thread in threading.enumerate()) and told == len(lines)


def test_trainings_tell_their_results_and_how_long_the_rest_takes(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")  # where a bar is drawn for each, no lines stand between them
    monkeypatch.setattr(progress, "EVERY", 0.01)
    lab = tiny_lab(tmp_path, epochs=1)
    report = run_graph([(lab, ["rgb_only"])])
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "trainings: 5 to make, 1 at a time"
    run = report.nodes[next(iter(report.nodes))]
    accuracy = 100 * lab.runs.get(run.run_id).result["outputs"]["stream"]["test"]["accuracy"]
    end = next(line for line in told if line.startswith(f"[1/5] {run.training} "))
    assert re.search(rf"done in \d+ s; (depth|RGB) alone \(row [12]\) {accuracy:.1f} %$", end)
    between = [line for line in told if line.startswith("trainings: ")][1:-1]
    assert re.fullmatch(r"trainings: 0 of 5 after \d+ s, time left not known before 4 are done", between[0])
    assert any(re.fullmatch(r"trainings: 4 of 5 after \d+ s, about \d+ s left", line) for line in between)
    alone = 100 * make("hallucination", replace(lab, dry=True)).result["outputs"]["alone"]["test"]["accuracy"]
    assert any(line.endswith(f"; hallucination alone (row 13) {alone:.1f} %") for line in told), "not the oracle's"
    run_graph([(lab, ["rgb_only_undistilled"])])
    assert "at a time" in (first := capsys.readouterr().err.splitlines()[0]) and "about" not in first
    run_graph([(lab.with_seed(1), ["rgb"]), (lab, ["rgb_only", "rgb_only_undistilled", "rgb_twin", "hallucination"])])
    assert re.fullmatch(r"trainings: 1 to make, 1 at a time, about \d+ s by what 4 that are there took",
                        capsys.readouterr().err.splitlines()[0])  # fmt: skip


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
