"""Every notebook has the anatomy a reader relies on; the list comes from the folder."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import nbformat
import pytest

from labkit.course.forms import read_exercises
from labkit.course.notebooks import read_notebook
from labkit.notebook import explorers

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
PARAMETERS = {"profile": "mini", "protocol": "cross-subject", "seeds": 1}
WORD = re.compile(r"[\w'’.,%]+")
MAX_BYTES = 2 * 10**6
TWIN_OF_SCRUBBER = {"strips", "contact_sheet"}  # frames of a clip in RGB over the same in depth
NOISE = re.compile(r" in \d+\.\d s\b|\b0x[0-9a-f]{6,}|\w*Warning\b|\d+%\|")  # time taken, addresses, warnings, bars
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
    assert max(map(code_lines, code)) <= 25 and median(map(code_lines, code)) <= 10
    assert 900 <= sum(len(WORD.findall(FOLDED.sub("", cell.source))) for cell in prose) <= 1800


def test_it_closes_with_a_summary_and_exercises(notebook):
    headings = [line for cell in cells(notebook, "markdown") for line in cell.source.splitlines() if line[:3] == "## "]
    assert headings[-2:] == ["## Summary", "## Exercises"]


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
    told = "\n".join(cell.source for cell in source.notebook.cells[heading:])
    assert len(re.findall(r"\) \*Build\.\*", told)) == len(re.findall(r"\) \*Experiment\b", told)) == 1
    called = [place for place, cell in enumerate(source.notebook.cells) if "checks.check_" in cell.source]
    assert called == [exercise.place + 1 for exercise in exercises if exercise.checked]


def test_a_picture_comes_early(notebook):
    code = [cell.source for cell in cells(notebook, "code")]
    assert any("show(" in source for source in code[:5])


def test_it_is_prepared_for_any_machine(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    assert not notebook.metadata.get("widgets")
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"\d\d-\d\d", name) for name in ids)


def test_no_two_code_cells_stand_without_words_for_long(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    triples = [first == second == third == "code" for (first, second), (_, third) in pairwise(pairwise(kinds))]
    assert sum(triples) <= 1  # parameters, set-up and nothing else


def texts(notebook) -> Iterator[str]:
    """What the outputs say, pictures aside."""
    for cell in cells(notebook, "code"):
        for output in cell.outputs:
            yield output.get("text", "")
            yield from (str(value) for kind, value in output.get("data", {}).items() if "image" not in kind)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_as_one_run_from_top_to_bottom_left_it(path):
    """Made by `labkit publish`: numbered without a gap, no noise, no widget, small enough to be shown online."""
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size <= MAX_BYTES
    code = cells(notebook, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), "labkit publish"
    assert sum(bool(cell.outputs) for cell in code) > len(code) / 2
    assert all(output.get("name") != "stderr" for cell in code for output in cell.outputs)
    assert [text for text in texts(notebook) if NOISE.search(text)] == []
    assert "vnd.jupyter.widget" not in json.dumps([cell.outputs for cell in code])


def calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What is called on what: ("view", "live") for `view.live()`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value), node.func.attr


def without_twin(sources: list[str]) -> list[str]:
    """The widgets of a notebook that show nothing to a reader without a kernel."""
    shown, missing = set(), []
    for tree in map(ast.parse, sources):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "show":
                shown |= set(calls(node.args[1]))
                names = {ast.unparse(node.args[1])}  # of a figure made on a line before
                shown |= {made for line in ast.walk(tree) if isinstance(line, ast.Assign)
                          and ast.unparse(line.targets[0]) in names for made in calls(line.value)}  # fmt: skip
        for owner, method in calls(tree):
            if method == "live" and (owner, "twin") not in shown:
                missing.append(f"{owner}.live()")
            if method == "scrubber" and not TWIN_OF_SCRUBBER & {name for _, name in shown}:
                missing.append(f"{owner}.scrubber()")
    return missing


def test_every_widget_has_a_static_twin_before_it(notebook):
    assert without_twin([cell.source for cell in cells(notebook, "code")]) == []


@pytest.mark.parametrize(("sources", "missing"), [
    (["show(lab, view.twin(), 'x')", "view.live()"], []),
    (["picture = view.twin()\nshow(lab, picture, 'x')\nview.live()"], []),
    (["view.twin()", "view.live()"], ["view.live()"]),
    (["view.live()", "show(lab, view.twin(), 'x')"], ["view.live()"]),
    (["show(lab, one.twin(), 'x')", "other.live()"], ["other.live()"]),
    (["view.show(lab, 'x', 'y')"], []),  # shows both
    (["show(lab, figures.results(t), 'x')", "widgets.scrubber(a, b)"], ["widgets.scrubber()"]),
    (["show(lab, figures.strips(a), 'x')", "widgets.scrubber(a, b)"], []),
])  # fmt: skip
def test_a_missing_twin_is_seen(sources, missing):
    assert without_twin(sources) == missing


def test_every_explorer_lies_in_a_notebook():
    functions = inspect.getmembers(explorers, inspect.isfunction)
    offered = {name for name, function in functions if function.__module__ == explorers.__name__}
    sources = [cell.source for path in NOTEBOOKS for cell in cells(nbformat.read(path, as_version=4), "code")]
    views = [set(calls(ast.parse(source))) for source in sources if "explorers." in source]
    assert {name for found in views for owner, name in found if owner == "explorers"} == offered
    assert all(found & {("view", "live"), ("view", "show")} for found in views)


def hidden_state(sources: list[str]) -> list[str]:
    """Names that a cell reads before any cell binds them, or grows though an earlier cell made them: what such a
    cell shows depends on which cells were run before it, and how often. A function may read what is bound later."""
    known, later, found = {*dir(builtins), "display", "get_ipython"}, [], []
    for number, tree in enumerate(map(ast.parse, sources), start=1):
        nodes = list(ast.walk(tree))
        bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
        bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
        bound |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler))}
        bound |= {(alias.asname or alias.name).split(".")[0] for node in nodes
                  if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}  # fmt: skip
        grown = [node.target for node in nodes if isinstance(node, ast.AugAssign)]
        plain = {
            name.id
            for node in nodes
            if isinstance(node, (ast.Assign, ast.For, ast.withitem))
            for name in ast.walk(node)
            if isinstance(name, ast.Name) and not isinstance(name.ctx, ast.Load)
        }
        grown = {node.id for node in grown if isinstance(node, ast.Name)} - plain
        calls_later = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.Lambda))]
        inside = {id(inner) for node in calls_later for inner in ast.walk(node)}
        read = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in inside} - bound
        later += [(node.id, number) for node in nodes if isinstance(node, ast.Name) and id(node) in inside]
        found += [f"{name} in cell {number}" for name in sorted((read - known) | grown)]
        known |= bound
    return found + [f"{name} in cell {number}" for name, number in later if name not in known]


def test_no_cell_depends_on_hidden_state(notebook):
    assert hidden_state([cell.source for cell in cells(notebook, "code")]) == []


@pytest.mark.parametrize(("sources", "found"), [
    (["a = 1", "def f(x):\n    return a + x\nprint(f(a))"], []),
    (["print(a)", "a = 1"], ["a in cell 1"]),
    (["def f():\n    return a", "a = 1\nf()"], []),
    (["def f():\n    return a"], ["a in cell 1"]),
    (["a = 1", "a += 1"], ["a in cell 2"]),
    (["a = []\nfor x in range(3):\n    a += [x]"], []),
    (["import x.y as z, q.r", "print(z, q, [i for i in range(2)])"], []),
])  # fmt: skip
def test_hidden_state_is_seen(sources, found):
    assert hidden_state(sources) == found
