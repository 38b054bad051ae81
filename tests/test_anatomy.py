"""Every notebook has the anatomy a reader relies on; the list comes from the folder."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import pytest

from labkit.course import read_exercises
from labkit.notebooks import read_notebook

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
PARAMETERS = {"profile": "mini", "protocol": "cross-subject", "seeds": 1}
WORD = re.compile(r"[\w'’.,%]+")
FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def cells(notebook, kind: str) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def code_lines(cell) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def test_names_are_numbered_without_twin():
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem) for path in NOTEBOOKS)
    numbers = [path.stem[:2] for path in NOTEBOOKS]
    assert numbers and len(set(numbers)) == len(numbers)


def test_the_title_asks_a_question_and_three_objectives_follow(notebook):
    first = notebook.cells[0]
    title = first.source.splitlines()[0]
    assert first.cell_type == "markdown" and title.startswith("# ") and title.endswith("?")
    assert len(re.findall(r"^\d\. ", first.source, re.MULTILINE)) == 3


def test_parameters_are_the_agreed_literals_in_one_cell(notebook):
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    found = {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(cell.source).body}
    assert found == PARAMETERS
    assert cells(notebook, "code")[0] is cell


def test_cells_are_few_and_short(notebook):
    prose, code = cells(notebook, "markdown"), cells(notebook, "code")
    assert 15 <= len(prose) <= 25 and 12 <= len(code) <= 20
    assert max(map(code_lines, code)) <= 20 and median(map(code_lines, code)) <= 8
    assert 900 <= sum(len(WORD.findall(FOLDED.sub("", cell.source))) for cell in prose) <= 1800


def test_it_closes_with_a_summary_exercises_and_a_record(notebook):
    headings = [
        line for cell in cells(notebook, "markdown") for line in cell.source.splitlines() if line[:3] == "## "
    ]
    assert headings[-2:] == ["## Summary", "## Exercises"]
    assert "record(" in cells(notebook, "code")[-1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_two_exercises_are_checked_and_two_are_open(path):
    source = read_notebook(path)
    exercises = read_exercises(source)
    assert sum(exercise.checked for exercise in exercises) >= 2
    assert sum(not exercise.checked for exercise in exercises) >= 2
    number = int(path.stem[:2])
    assert [exercise.number for exercise in exercises] == [f"{number}.{k}" for k in range(1, len(exercises) + 1)]
    assert all(1 <= exercise.minutes <= 60 for exercise in exercises)
    summary, heading = (
        next(place for place, cell in enumerate(source.notebook.cells) if f"## {title}" in cell.source)
        for title in ("Summary", "Exercises")
    )
    assert summary < heading == exercises[0].place
    called = [place for place, cell in enumerate(source.notebook.cells) if "checks.check_" in cell.source]
    assert called == [exercise.place + 1 for exercise in exercises if exercise.checked]


def test_a_picture_comes_early(notebook):
    code = [cell.source for cell in cells(notebook, "code")]
    assert any("publish(" in source for source in code[:5])


def test_it_is_prepared_for_any_machine(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    assert not notebook.metadata.get("widgets")
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"\d\d-\d\d", name) for name in ids)


def test_no_two_code_cells_stand_without_words_for_long(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    triples = [
        first == second == third == "code" for (first, second), (_, third) in pairwise(pairwise(kinds))
    ]
    assert sum(triples) <= 1  # parameters, set-up and nothing else
