"""The notebook runner: what it calls a success, what it says of a failure, what it does not repeat."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook
from papermill.translators import translate_parameters

from labkit import LabError
from labkit.course import series
from labkit.course.notebooks import adopt_outputs, read_notebook
from labkit.course.series import run_series
from labkit.tools import progress

NASTY = "quote ' and \" \\ back\\slash\n\ttab {brace} %s $HOME `x` \\N ünïcode 手 🎬 \x00 end\\"
GIVEN = {"text": NASTY, "rate": 1, "flag": True, "seeds": [1, 2], "free": {"deep": ["\\", 0.1, None]}}
DEFAULTS = "text = 'a'  # a comment with #\nrate = 0.5\nflag = False\nseeds = [0]\nfree = None"


def write(folder: Path, name: str, *cells: str, defaults=DEFAULTS, **declared) -> Path:
    """A notebook with a parameters cell and these code cells."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in (defaults, *cells)])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["labkit"] = declared
    path = folder / f"{name}.ipynb"
    folder.mkdir(exist_ok=True, parents=True)
    nbformat.write(notebook, path)
    return path


def short(folder: Path, number: int, source: str, **declared) -> Path:
    return write(folder, f"{number:02d}_short", source, defaults="profile = 'x'", **declared)


def run(paths: list[Path], out: Path, parameters=None, **options) -> list[series.NotebookRecord]:
    return run_series(paths, out, parameters or {}, **{"timeout": 100, **options})


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """One series with every fault in it, two notebooks at a time; records by name, and its folder."""
    root = tmp_path_factory.mktemp("series with 'odd' {name}")
    folder, nap = root / "notebooks", "print('here', flush=True)"
    seen = "json.dump(dict(text=text, rate=rate, flag=flag, seeds=seeds, free=free), open('seen.json', 'w'))"
    paths = [
        write(folder, "00_ok", "import json", seen),
        write(folder, "01_error", nap, "1 / 0", "print('never')"),
        write(folder, "02_killed", nap, "import os; os.kill(os.getpid(), 9)", "print('never')"),
        write(folder, "03_left", nap, "import sys; sys.exit(0)", "print('never')"),
        write(folder, "04_unknown", defaults="txet = 'a'"),
        write(folder, "05_left_last", nap, "import sys; sys.exit()\nprint('never')"),
        write(folder, "06_slow", nap, "import time; time.sleep(90)", "print('never')"),
        write(folder, "07_needs_error", nap, needs=["01_error"]),
        write(folder, "08_needs_that", nap, needs=["07_needs_error"]),
        write(folder, "09_needs_ok", "import sys, os", "print(sys.executable, os.environ['MARK'], os.getcwd())",
              needs=["00_ok"]),
    ]  # fmt: skip
    records = run(paths, root / "out", GIVEN, timeout=10, jobs=2, env={"MARK": "{here}"})
    return {record.name[3:]: record for record in records}, root


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("error", "In [4]: ZeroDivisionError: division by zero"),
        ("killed", "In [4]: DeadKernelError: "),
        ("left", "In [4]: SystemExit: "),
        ("left_last", "In [4]: SystemExit: "),
        ("slow", "In [4]: CellTimeoutError: "),
        ("unknown", "expected the parameters txet, found text, rate, "),
    ],
)
def test_a_failure_is_told_in_one_line_with_cell_and_error(faults, name, told):
    record = faults[0][name]
    assert record.state == "failed" and not record.succeeded and record.seconds < 30
    assert told in str(record) and "\n" not in str(record)


def test_what_is_under_way_is_told_while_it_lasts(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(progress, "EVERY", 0.01)  # a kernel takes longer to start
    run([short(tmp_path / "notebooks", 0, "1 + 1")], tmp_path / "out")
    told = capsys.readouterr().err.splitlines()
    assert any(line.startswith("notebooks: 0 of 1 after ") and line.endswith("; under way: 00_short") for line in told)
    assert told[-1].startswith("00_short ")


def test_dependants_are_not_run_and_independents_are(faults):
    records, _ = faults
    states = [records[name].state for name in ("needs_error", "needs_that", "needs_ok")]
    assert states == ["not run", "not run", "ok"]
    assert "01_error" in records["needs_error"].told


def test_parameters_arrive_unchanged(faults):
    assert json.loads((faults[1] / "notebooks" / "seen.json").read_text(encoding="utf-8")) == GIVEN


def test_a_kernel_is_this_python_in_the_notebook_s_folder(faults):
    _, root = faults
    shown = nbformat.read(root / "out" / "09_needs_ok.ipynb", as_version=4).cells[-1].outputs[0].text
    assert shown == f"{sys.executable} {{here}} {root / 'notebooks'}\n"


def test_partial_notebooks_are_kept_valid_and_apart(faults):
    _, root = faults
    for name in ("01_error", "02_killed", "03_left", "06_slow"):
        partial = nbformat.read(root / "out" / f"{name}.partial.ipynb", as_version=4)
        nbformat.validate(partial)
        texts = [out.get("text", "") for cell in partial.cells for out in cell.get("outputs", [])]
        assert "here\n" in texts and "never\n" not in texts
        assert not (root / "out" / f"{name}.ipynb").exists()
    assert not (root / "out" / "00_ok.partial.ipynb").exists()


def test_eight_in_parallel_then_nothing_twice(tmp_path, capfd):
    paths, out = [short(tmp_path, number, f"print({number})") for number in range(8)], tmp_path / "out"

    def executed(**options):
        records = run(paths, out, {"profile": "smoke"}, jobs=2, **options)
        assert all(record.succeeded for record in records)
        return [record.name[:2] for record in records if record.state != "up to date"]

    assert len(executed()) == 8
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 8 and all(line.split()[1] == "ok" for line in lines)
    for path in paths:
        os.utime(path)  # a new date is no new content
    begin = time.monotonic()
    assert executed() == []
    assert time.monotonic() - begin < 3
    assert {" ".join(line.split()[1:4]) for line in capfd.readouterr().err.splitlines()} == {"up to date"}
    (out / "03_short.ipynb").unlink()
    (out / "05_short.status.json").write_text("{", encoding="utf-8")
    short(tmp_path, 6, "print(66)")
    assert executed() == ["03", "05", "06"]
    assert executed() == []
    assert len(executed(force=True)) == 8


def test_a_failure_leaves_the_last_good_copy_and_is_tried_again(tmp_path):
    def attempt(source):
        path = write(tmp_path, "00_a", source, defaults="x = 1")
        return run([path], tmp_path / "out", {"x": 2})[0].state

    assert attempt("print(x)") == "ok"
    good = (tmp_path / "out" / "00_a.ipynb").read_bytes()
    assert [attempt("print(y)"), attempt("print(y)")] == ["failed", "failed"]
    assert (tmp_path / "out" / "00_a.ipynb").read_bytes() == good
    assert attempt("print(x)") == "ok"
    assert not (tmp_path / "out" / "00_a.partial.ipynb").exists()


def test_interrupt_ends_the_kernels(tmp_path):
    cells = "import os, time", "open('pid', 'w').write(str(os.getpid())) and time.sleep(100)"
    path = write(tmp_path, "00_long", *cells, defaults="x = 1")
    waiting = write(tmp_path, "01_waiting", "print(1)", defaults="x = 1")
    call = f"run_series([{str(path)!r}, {str(waiting)!r}], {str(tmp_path / 'out')!r}, {{}}, timeout=100)"
    code = f"from labkit.course.series import run_series; {call}"
    runner = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text(encoding="utf-8")):
        assert runner.poll() is None
        time.sleep(0.05)
    time.sleep(0.2)
    runner.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in runner.communicate(timeout=60)[1]
    assert not psutil.pid_exists(int(pid.read_text(encoding="utf-8")))
    assert not list((tmp_path / "out").glob("*.status.json")) and not list((tmp_path / "out").glob("01*"))


def test_what_counts_makes_a_notebook_stale_and_nothing_else_does(tmp_path, monkeypatch):
    a, b = short(tmp_path, 0, "print(0)"), short(tmp_path, 1, "print(1)", needs=["00_short"])

    def stale(profile="x", data="d"):
        records = run([a, b], tmp_path / "out", {"profile": profile}, jobs=2, data_fingerprint=data)
        return [record.name[:2] for record in records if record.state == "ok"]

    assert stale() == ["00", "01"] and stale() == []
    notebook = nbformat.read(a, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="0\n")]
    notebook.cells[1].execution_count = 7
    nbformat.write(notebook, a)
    assert stale() == []  # outputs committed with the source
    short(tmp_path, 1, "print(2)", needs=["00_short"])
    assert stale() == ["01"]
    short(tmp_path, 0, "print(3)")
    assert stale() == ["00", "01"]  # 01 needs 00
    assert stale(profile="y") == ["00", "01"]
    assert stale(profile="y", data="other") == ["00", "01"]
    monkeypatch.setattr(series, "code_hash", lambda: "edited")
    assert stale(profile="y", data="other") == ["00", "01"]


def test_order_follows_needs(tmp_path, capfd):
    late, early = short(tmp_path, 0, "", needs=["01_short"]), short(tmp_path, 1, "")
    assert [record.name for record in run([late, early], tmp_path / "out", jobs=2)] == ["00_short", "01_short"]
    assert [line[:2] for line in capfd.readouterr().err.splitlines()] == ["01", "00"]


@pytest.mark.parametrize(("need", "told"), [("01_b", "need each other: 0._. -> 0._. -> 0._."), ("07_x", "'07_x'")])
def test_needs_that_cannot_be_met_are_refused(tmp_path, need, told):
    paths = [write(tmp_path, "00_a", needs=[need]), write(tmp_path, "01_b", needs=["00_a"])]
    with pytest.raises(LabError, match=told):
        run(paths, tmp_path / "out")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3}', '{"nbformat": 4, "cells": 3}', None])
def test_a_damaged_notebook_is_refused(tmp_path, content):
    path = tmp_path / "00_a.ipynb"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(LabError, match=r"00_a.ipynb: expected (a notebook|JSON|a JSON file)"):
        run([path], tmp_path / "out")


@given(
    st.text(max_size=60) | st.lists(st.text(max_size=20)) | st.dictionaries(st.text(max_size=9), st.text(max_size=9))
)
def test_any_string_survives_injection(value):
    code = translate_parameters("python3", "python", {"value": value}, "Parameters")
    assert ast.literal_eval(ast.parse(code).body[0].value) == value


def test_outputs_are_adopted_cell_by_cell(tmp_path):
    path = write(tmp_path, "00_kept", "print('seen')", "1 + 1", defaults="profile = 'x'")
    run([path], tmp_path / "out", {"profile": "y"})
    adopt_outputs(read_notebook(path), tmp_path / "out" / "00_kept.ipynb")
    _, first, second = (cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    assert first.outputs[0].text == "seen\n" and second.outputs[0].data["text/plain"] == "2"
    assert (first.execution_count, second.execution_count, second.outputs[0].execution_count) == (2, 3, 3)
    assert run([path], tmp_path / "out", {"profile": "y"})[0].state == "up to date"
    path.write_text(path.read_text(encoding="utf-8").replace("1 + 1", "1 + 2"), encoding="utf-8")
    with pytest.raises(LabError, match=r"as in 00_kept\.ipynb, found another"):
        adopt_outputs(read_notebook(path), tmp_path / "out" / "00_kept.ipynb")
