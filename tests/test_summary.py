"""The screen that `labkit run` ends on: numbers and sentences are those of the runs, and it is one screen."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_lab

from labkit.cli.summary import plan, screen
from labkit.experiments import targets
from labkit.experiments.graph import run_graph

NOTEBOOKS = [Path("/lab/notebooks/00_question.ipynb")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The final model and its control, trained."""
    lab = tiny_lab(tmp_path_factory.mktemp("summary"))
    run_graph([(lab, ["rgb_only", "rgb_only_undistilled"])]).check()
    return lab


def shown(lab, *failed: str) -> list[str]:
    table = targets.results_table(lab, 1)
    return screen(lab, table, NOTEBOOKS, failed, " --profile tiny", "LABKIT_HOME=h ").splitlines()


def test_rows_are_the_paper_s_with_their_controls_beside_them(lab):
    rows = {line.split()[0]: line for line in shown(lab)[2:17]}
    assert [*rows] == [str(number) for number in range(1, 16)]
    table = targets.results_table(lab, 1).set_index("target")
    for number, names in (("1", ["table2:1"]), ("8", ["table2:8", "control:8"]), ("15", ["table2:15", "control:15"])):
        numbers = [f"{row.ours:.1f} [{row.low:.0f}, {row.high:.0f}]" for row in table.loc[names].itertuples()]
        assert re.findall(r"\d+\.\d \[\d+, \d+\]", rows[number]) == numbers
    assert rows["3"].split()[-1] == "missing" and rows["14"].split()[-1] == "missing"


def test_sentences_are_computed_from_the_answers(lab):
    text = " ".join(" ".join(shown(lab)).split())
    for less, named in (("table2:2", "RGB alone (row 2)"), ("control:15", "two RGB streams, trained on (control)")):
        gain = 100 * (np.mean(targets.answers(lab, "table2:15")) - np.mean(targets.answers(lab, less)))
        assert f"hallucination + RGB (row 15) minus {named}: {gain:+.1f} points, " in text
    assert text.count("one seed: other trainings are not covered") == 2


def test_it_fits_a_small_terminal(lab, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(lab.runs.root.parent)
    lines = shown(lab)
    assert len(lines) <= 26 and max(map(len, lines[:-4])) <= 80
    assert any(line.startswith("next  LABKIT_HOME=h ") and line.endswith(f"lab {NOTEBOOKS[0]}") for line in lines)
    assert lines[-2].endswith("labkit targets --profile tiny")
    assert "kept  runs/results-tiny.csv; pictures and notebooks: runs/notebooks/tiny" in lines


def test_without_runs_nothing_is_said_of_them(tmp_path):
    lines = shown(tiny_lab(tmp_path), "05_step1_streams")
    assert all(line.endswith(("missing", "missing         missing")) for line in lines[2:17])
    assert lines[17] == "not executed to the end: 05_step1_streams; see above" and " minus " not in "".join(lines)


def test_how_long_it_takes_is_said_only_where_it_was_measured():
    assert "some 20 to 35 min on 2 cores" in plan("mini", 1, NOTEBOOKS, embedded=True)
    for profile, seeds, embedded in (("mini", 2, True), ("mini", 1, False), ("paper", 1, True)):
        assert "time: not known before the first trainings" in plan(profile, seeds, NOTEBOOKS, embedded)
