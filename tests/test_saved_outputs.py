"""nbval holds what the light notebooks show: cells tagged `nbval-check-output` say the same in a fresh kernel.

Tagged are facts that no training and no profile changes: shapes, counts, numbers worked out by hand, registration of
one clip (a clip of the embedded set is the same in all profiles).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from smoke_home import NOTEBOOKS, copy_notebook, environment

TAG = "nbval-check-output"
CELL_SECONDS = 280  # the first cell makes the set and what it trains: some 20 s on two free cores


def tagged(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if TAG in cell.metadata.get("tags", [])]


LIGHT = [path for path in NOTEBOOKS if tagged(path)]


def run_nbval(path: Path, home: Path, seconds: float = CELL_SECONDS) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        os.devnull,
        "--rootdir",
        str(home),
        "-p",
        "no:cacheprovider",
        "--nbval-lax",
        "--nbval-current-env",
        f"--nbval-cell-timeout={seconds:g}",
        "--color=no",
        str(path),
    ]
    env = environment(home, LABKIT_PROGRESS="quiet")
    return subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, encoding="utf-8")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_a_fresh_kernel_says_what_is_committed(path, smoke_home):
    done = run_nbval(copy_notebook(path, smoke_home / "notebooks", outputs=True), smoke_home)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_several_notebooks_are_held_and_each_tagged_cell_shows_something():
    assert {path.stem[:2] for path in LIGHT} >= {"01", "02", "03", "07"}
    for path in LIGHT:
        texts = [output for cell in tagged(path) for output in cell.outputs if output.output_type != "error"]
        assert len(texts) >= len(tagged(path)) >= 2, path.stem


def test_another_output_an_error_and_an_endless_cell_are_seen(tmp_path):
    """The same command on a notebook that is wrong in these three ways, and right in two."""
    make = nbformat.v4.new_code_cell
    said = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    held = {"tags": [TAG]}
    cells = [
        make("print(1)", outputs=said, metadata=held),
        make("print(2)", outputs=said),
        make("print(2)", outputs=said, metadata=held),
        make("1 / 0"),
        make("import time; time.sleep(1000)"),
    ]
    for number, cell in enumerate(cells, start=1):
        cell.execution_count = number
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "wrong.ipynb")
    done = run_nbval(tmp_path / "wrong.ipynb", tmp_path, seconds=10)
    assert [f"Cell {number}" in done.stdout.split("summary info")[-1] for number in range(5)] == [
        False, False, True, True, True], done.stdout  # fmt: skip
