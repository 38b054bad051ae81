"""The notebook runner: what it calls a success, how failures are told apart, what it does not repeat."""

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
from labkit.course import kernels, notebooks
from labkit.course.notebooks import adopt_outputs, read_notebook
from labkit.course.series import run_series

NASTY = "quote ' and \" \\ back\\slash\n\ttab {brace} %s $HOME `x` \\N ünïcode 手 🎬 \x00 end\\"
GIVEN = {"text": NASTY, "rate": 1, "flag": True, "seeds": [1, 2], "free": {"deep": ["\\", 0.1, None]}}
DEFAULTS = "text = 'a'  # a comment with = and #\nrate = 0.5\nflag = False\nseeds = [0]\nfree = None"


def write(folder: Path, name: str, *cells: str, defaults=DEFAULTS, kernel="python3", **declared) -> Path:
    """A notebook with a parameters cell and these code cells."""
    notebook = new_notebook(cells=[new_code_cell(source) for source in (defaults, *cells)])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
    notebook.metadata["labkit"] = declared
    path = folder / f"{name}.ipynb"
    folder.mkdir(exist_ok=True, parents=True)
    nbformat.write(notebook, path)
    return path


def short(folder: Path, count: int, **options) -> list[Path]:
    return [
        write(folder, f"{n:02d}_short", f"print({n})", defaults="profile = 'x'", **options)
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """One series with every fault in it, two notebooks at a time; records by name, and its folder."""
    root = tmp_path_factory.mktemp("series with 'odd' {name}")
    folder, nap = root / "notebooks", "print('here', flush=True)"
    parameters = (
        "json.dump(dict(text=text, rate=rate, flag=flag, seeds=seeds, free=free), open('seen.json', 'w'))"
    )
    paths = [
        write(folder, "00_ok", "import json", parameters, outputs=["seen.json"]),
        write(folder, "01_error", nap, "1 / 0", "print('never')"),
        write(folder, "02_killed", nap, "import os; os.kill(os.getpid(), 9)", "print('never')"),
        write(folder, "03_left", nap, "import sys; sys.exit(0)", "print('never')"),
        write(folder, "04_unknown", defaults="txet = 'a'"),
        write(folder, "05_mistyped", defaults=DEFAULTS.replace("'a'", "1")),
        write(folder, "06_kernel", kernel="no-such-kernel"),
        write(folder, "07_needs_error", nap, needs=["01_error"]),
        write(folder, "08_needs_that", nap, needs=["07_needs_error"]),
        write(folder, "09_needs_ok", nap, needs=["00_ok"]),
        write(folder, "10_no_output", nap, outputs=["absent.csv"]),
        write(folder, "11_flood", nap, "while True: print('x' * 10_000)", "print('never')"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "MAX_OUTPUT", 100_000)
        records = run_series(paths, root / "out", GIVEN, timeout=100, jobs=2, progress=False)
    return {record.name[3:]: record for record in records}, root


@pytest.mark.parametrize(
    ("name", "kind", "cell"),
    [
        ("error", "error", 4),
        ("killed", "dead_kernel", 4),
        ("left", "exited", 4),
        ("unknown", "parameters", None),
        ("mistyped", "parameters", None),
        ("kernel", "no_kernel", None),
        ("no_output", "outputs", None),
        ("flood", "output", 4),
    ],
)
def test_a_fault_is_told_by_kind_and_cell(faults, name, kind, cell):
    record = faults[0][name]
    assert (record.state, record.failure.kind, record.failure.cell) == ("failed", kind, cell)
    assert record.success is None and not record.succeeded


def test_failures_name_what_went_wrong(faults):
    records, _ = faults
    error = records["error"].failure
    assert (error.name, error.message) == ("ZeroDivisionError", "division by zero")
    assert "'text'" in records["unknown"].failure.message and "txet" in records["unknown"].failure.message
    assert "default 1" in records["mistyped"].failure.message
    assert "no-such-kernel" in records["kernel"].failure.message
    assert "absent.csv" in records["no_output"].failure.message
    assert all("\n" not in str(record) for record in records.values())


def test_dependants_are_not_run_and_independents_are(faults):
    records, _ = faults
    assert [records[name].state for name in ("needs_error", "needs_that", "needs_ok")] == [
        "not_run",
        "not_run",
        "ok",
    ]
    assert "01_error" in records["needs_error"].reason


def test_refused_notebooks_start_no_kernel(faults):
    records, _ = faults
    none = {name for name, record in records.items() if record.kernels == 0}
    assert none == {"unknown", "mistyped", "kernel", "needs_error", "needs_that"}


def test_a_dead_kernel_is_seen_at_once(faults):
    assert faults[0]["killed"].seconds <= 10


def test_parameters_arrive_unchanged(faults):
    seen = json.loads((faults[1] / "notebooks" / "seen.json").read_text(encoding="utf-8"))
    assert seen == GIVEN
    assert type(seen["rate"]) is float  # as its default is


def test_partial_notebooks_are_kept_valid_and_apart(faults):
    _, root = faults
    for name in ("01_error", "02_killed", "03_left", "10_no_output", "11_flood"):
        partial = nbformat.read(root / "out" / f"{name}.partial.ipynb", as_version=4)
        nbformat.validate(partial)
        texts = [out.get("text", "") for cell in partial.cells for out in cell.get("outputs", [])]
        assert "here\n" in texts and "never\n" not in texts
        assert not (root / "out" / f"{name}.ipynb").exists()


def test_executed_copies_tell_nothing_of_this_machine(faults):
    for path in (faults[1] / "out").glob("*.ipynb"):
        assert str(faults[1]) not in path.read_text(encoding="utf-8")


def test_status_files_say_what_the_records_say(faults):
    records, root = faults
    for record in records.values():
        saved = json.loads((root / "out" / f"{record.name}.status.json").read_text(encoding="utf-8"))
        assert (saved["state"], saved["key"]) == (record.state, record.key)
    summary = json.loads((root / "out" / "series.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in summary] == [record.name for record in records.values()]


def test_eight_in_parallel_then_nothing_twice(tmp_path, capfd):
    paths = short(tmp_path, 8)

    def again(**options):
        given = {"profile": "smoke"}
        return run_series(
            paths, tmp_path / "out", given, **{"timeout": 100, "jobs": 2, "progress": False, **options}
        )

    def executed(**options):
        records = again(**options)
        assert all(record.succeeded for record in records)
        return [record.name[:2] for record in records if record.kernels]

    first = again(progress=True)
    assert [record.state for record in first] == ["ok"] * 8
    assert len(capfd.readouterr().err.splitlines()) == 8
    for path in paths:
        os.utime(path)  # a new date is no new content
    begin = time.monotonic()
    assert executed() == []
    assert time.monotonic() - begin < 3
    with open(tmp_path / "out" / "03_short.ipynb", "a", encoding="utf-8") as file:
        file.write(" ")
    (tmp_path / "out" / "05_short.status.json").write_text("{", encoding="utf-8")
    write(tmp_path, "06_short", "print(66)", defaults="profile = 'x'")
    assert executed() == ["03", "05", "06"]
    assert executed() == []


def test_a_failure_leaves_the_last_good_copy(tmp_path):
    def attempt(source, **options):
        path = write(tmp_path, "00_a", source, defaults="x = 1")
        return run_series([path], tmp_path / "out", {"x": 2}, timeout=100, progress=False, **options)[0]

    assert attempt("print(x)").state == "ok"
    good = (tmp_path / "out" / "00_a.ipynb").read_bytes()
    assert attempt("print(y)").state == "failed"
    assert (tmp_path / "out" / "00_a.ipynb").read_bytes() == good
    back = attempt("print(x)")
    assert (back.state, back.kernels) == ("up_to_date", 0)
    forced = attempt("print(x)", force=True)
    assert (forced.state, forced.kernels) == ("ok", 1)
    assert not (tmp_path / "out" / "00_a.partial.ipynb").exists()


def test_timeout_counts_for_the_whole_notebook(tmp_path):
    path = write(tmp_path, "00_slow", "import time", *["time.sleep(1.5)"] * 40, defaults="x = 1")
    record = run_series([path], tmp_path / "out", {"x": 1}, timeout=4, progress=False)[0]
    assert record.failure.kind == "timeout"
    assert record.seconds < 30  # of 60


def test_interrupt_ends_the_kernels_and_says_so(tmp_path):
    cells = "import os, time", "open('pid', 'w').write(str(os.getpid())) and time.sleep(100)"
    path = write(tmp_path, "00_long", *cells, defaults="x = 1")
    call = f"run_series([{str(path)!r}], {str(tmp_path)!r}, {{}}, timeout=100)"
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
    status = json.loads((tmp_path / "00_long.status.json").read_text(encoding="utf-8"))
    assert status["failure"]["kind"] == "interrupted"


# -- what needs no kernel ------------------------------------------------------------------------


def keys(paths, parameters=None, data="d"):
    return notebooks.make_keys([notebooks.read_notebook(path) for path in paths], parameters or {}, data)


def test_keys_change_with_what_counts_and_with_nothing_else(tmp_path, monkeypatch):
    a, b = short(tmp_path, 2, needs=["00_short"])
    write(tmp_path, "00_short", "print(0)", defaults="profile = 'x'")
    before = keys([a, b])
    assert before["00_short"] != before["01_short"]

    notebook = nbformat.read(a, as_version=4)
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="0\n")]
    notebook.cells[1].execution_count = 7
    nbformat.write(notebook, a)
    assert keys([a, b]) == before  # outputs committed with the source

    assert all(keys([a, b], {"profile": "y"})[name] != key for name, key in before.items())
    assert all(keys([a, b], data="other")[name] != key for name, key in before.items())
    write(tmp_path, "00_short", "print(1)", defaults="profile = 'x'")
    assert all(keys([a, b])[name] != key for name, key in before.items())  # 01 needs 00
    write(tmp_path, "00_short", "print(0)", defaults="profile = 'x'")
    assert keys([a, b]) == before
    monkeypatch.setattr(notebooks, "code_hash", lambda: "edited")
    assert all(keys([a, b])[name] != key for name, key in before.items())


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("1", True), ("1", 1.0), ("1", "1"), ("True", 1), ("0.5", "a"), ("0.5", float("nan")), ("'a'", 1),
        ("'a'", None), ("[0]", (1, 2)), ("[0]", ["a"]), ("[0]", 1), ("{'a': 1}", {"a": "x"}),
        ("{'a': 1}", {1: 1}), ("None", Path("x")),
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused(tmp_path, default, value):
    source = notebooks.read_notebook(write(tmp_path, "00_a", defaults=f"x = {default}"))
    with pytest.raises(LabError, match=r"00_a.ipynb: expected x like its default .* Fix:"):
        source.checked({"x": value})


@pytest.mark.parametrize("cell", ["x = f(1)", "import os", "x, y = 1, 2", "x = 1 +", "print(1)"])
def test_a_parameters_cell_holds_plain_literals(tmp_path, cell):
    source = notebooks.read_notebook(write(tmp_path, "00_a", defaults=cell))
    with pytest.raises(LabError, match="parameters cell"):
        source.parameters()


def test_order_follows_needs(tmp_path):
    late, early = (
        write(tmp_path, "00_late", needs=["01_early"]),
        write(tmp_path, "01_early", needs=["02_outside"]),
    )
    write(tmp_path, "02_outside")
    ordered = notebooks.in_order([notebooks.read_notebook(path) for path in (late, early)])
    assert [source.name for source in ordered] == ["01_early", "00_late"]


@pytest.mark.parametrize(
    ("need", "told"), [("01_b", "need each other: 00_a -> 01_b -> 00_a"), ("07_x", "'07_x'")]
)
def test_needs_that_cannot_be_met_are_refused(tmp_path, need, told):
    paths = [write(tmp_path, "00_a", needs=[need]), write(tmp_path, "01_b", needs=["00_a"])]
    with pytest.raises(LabError, match=told):
        run_series(paths, tmp_path / "out", {}, timeout=9)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3}', '{"nbformat": 4, "cells": 3}', None])
def test_a_damaged_notebook_is_refused(tmp_path, content):
    path = tmp_path / "00_a.ipynb"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(LabError, match=r"00_a.ipynb: expected (a notebook|JSON|a JSON file)"):
        run_series([path], tmp_path / "out", {}, timeout=9)


@given(
    st.text(max_size=60)
    | st.lists(st.text(max_size=20))
    | st.dictionaries(st.text(max_size=9), st.text(max_size=9))
)
def test_any_string_survives_injection(value):
    code = translate_parameters("python3", "python", {"value": value}, "Parameters")
    assert ast.literal_eval(ast.parse(code).body[0].value) == value


def test_sockets_lie_on_a_short_private_path(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/" + "long" * 50)
    assert kernels._short_folder() == "/tmp"
    manager = kernels._manager("/tmp/x")(kernel_name="python3")
    assert manager.transport == "ipc" and manager.ip.startswith("/tmp/x/")


def test_outputs_are_adopted_cell_by_cell(tmp_path):
    path = write(tmp_path, "00_kept", "print('seen')", "1 + 1", defaults="profile = 'x'")
    run_series([path], tmp_path / "out", {"profile": "y"}, timeout=60, progress=False)
    adopt_outputs(read_notebook(path), tmp_path / "out" / "00_kept.ipynb")
    _, first, second = (cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    assert first.outputs[0].text == "seen\n" and second.outputs[0].data["text/plain"] == "2"
    assert (first.execution_count, second.execution_count, second.outputs[0].execution_count) == (2, 3, 3)
    assert run_series([path], tmp_path / "out", {"profile": "y"}, timeout=60, progress=False)[0].state == "up_to_date"
    path.write_text(path.read_text(encoding="utf-8").replace("1 + 1", "1 + 2"), encoding="utf-8")
    with pytest.raises(LabError, match=r"as in 00_kept\.ipynb, found another"):
        adopt_outputs(read_notebook(path), tmp_path / "out" / "00_kept.ipynb")
