"""The course: solutions pass, blanks are met with patience, and every form is what it says it is."""

from __future__ import annotations

import ast
import copy
import re
import runpy
import textwrap
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from labkit.cli import main as cli
from labkit.course.forms import (
    Exercise,
    build_course,
    links_outside,
    nbgrader_form,
    read_exercises,
    solution_form,
    student_form,
)
from labkit.course.notebooks import Source, read_notebook
from labkit.errors import LabError
from labkit.notebook.checking import exercises
from labkit.notebook.checking.exercises import Blank
from labkit.notebook.checking.grading import GIVEN, grade

SOURCES = [read_notebook(path) for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))]
CHECKED = [(source, exercise) for source in SOURCES for exercise in read_exercises(source) if exercise.checked]


@pytest.fixture(params=SOURCES, ids=lambda source: source.name)
def source(request) -> Source:
    return request.param


def each_checked(test):
    names = [exercise.number for _, exercise in CHECKED]
    return pytest.mark.parametrize(("source", "exercise"), CHECKED, ids=names)(test)


# -- what the exercises do ---------------------------------------------------------------------------


def is_literal(node: ast.stmt) -> bool:
    try:
        return isinstance(node, ast.Assign) and ast.literal_eval(node.value) is not None
    except ValueError:
        return False


def light_part(source: Source, upto: int) -> str:
    """What a notebook defines before a cell without computing: imports, functions, classes, plain constants."""
    code = [cell.source for cell in source.notebook.cells[:upto] if cell.cell_type == "code"]
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    nodes = [node for cell in code for node in ast.parse(cell).body]
    kept = [ast.unparse(node) for node in nodes if isinstance(node, kinds) or is_literal(node)]
    tried = [f"with suppress(NameError):\n{textwrap.indent(lines, '    ')}" for lines in kept]
    return "\n".join(["from contextlib import suppress", *tried, ""])


def run(source: Source, exercise: Exercise, cell: str, folder: Path) -> None:
    """Run a cell in place of the exercise's own, after what the notebook defines before it."""
    script = folder / "cell.py"
    script.write_text(f"{light_part(source, exercise.place)}\n{cell}\n", encoding="utf-8")
    runpy.run_path(str(script))


@each_checked
def test_the_blank_cell_runs_and_says_so(source, exercise, tmp_path, capsys):
    cell = source.notebook.cells[exercise.place + 1]
    run(source, exercise, cell.source, tmp_path)
    told = capsys.readouterr().out
    assert told.startswith(f"exercise {exercise.number}: not answered yet; ")
    assert "".join(output.get("text", "") for output in cell.outputs) in ("", told)  # what is committed is what comes


@each_checked
def test_the_folded_solution_passes(source, exercise, tmp_path, capsys):
    run(source, exercise, f"{exercise.answer}\n{exercise.check}", tmp_path)
    assert capsys.readouterr().out == f"exercise {exercise.number}: right.\n"


@each_checked
def test_a_solution_that_returns_nothing_is_told_so(source, exercise, tmp_path):
    forgetful = re.sub(r"^(    )return ", r"\1found = ", exercise.answer, flags=re.MULTILINE)
    with pytest.raises(LabError, match="end it with `return") as caught:
        run(source, exercise, f"{forgetful}\n{exercise.check}", tmp_path)
    assert caught.value.path == f"exercise {exercise.number}"


# -- forms -------------------------------------------------------------------------------------------


def cell_named(notebook, name: str):
    return next(cell for cell in notebook.cells if cell.id == name)


def exercise_cells(source: Source) -> set[str]:
    cells = source.notebook.cells
    return {cells[e.place + step].id for e in read_exercises(source) for step in range(1 + e.checked)}


@pytest.mark.parametrize("form", [student_form, solution_form, nbgrader_form])
def test_a_form_is_a_valid_notebook_with_the_walk_s_code_untouched(source, form):
    before, made = copy.deepcopy(source.notebook), form(source)
    nbformat.validate(made)
    assert source.notebook == before
    assert len({cell.id for cell in made.cells}) == len(made.cells)
    badge = r"\n\n\[!\[Open in Colab.*"  # it opens the notebook that holds the solutions
    before.cells[0].source, badges = re.subn(badge, "", before.cells[0].source)
    assert badges == 1
    for cell in before.cells:
        if cell.id not in exercise_cells(source):
            kept = cell_named(made, cell.id)
            assert kept.source == cell.source or (form is not solution_form and "committed" in cell.source)
            assert form is not solution_form or kept == cell


TOLD = "Before.\n\nIn the committed run it was 8.9 %.\n\nAfter."


@pytest.mark.parametrize("form", [student_form, nbgrader_form])
def test_students_see_nothing_of_what_came_out(source, form):
    told = nbformat.v4.new_markdown_cell(TOLD, id="told")
    source = Source(source.path, copy.deepcopy(source.notebook))
    source.notebook.cells.insert(0, told)
    made = form(source)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in made.cells)
    keys = [cell for cell in made.cells if cell.metadata.get("nbgrader", {}).get("solution")]
    assert not any("committed run" in cell.source for cell in made.cells if cell not in keys)
    before, asked, after = cell_named(made, "told").source.split("\n\n")
    assert (before, after) == ("Before.", "After.") and "What came out?" in asked


def test_the_teacher_sees_what_came_out(source):
    made = solution_form(source)
    shown = [cell.id for cell in source.notebook.cells if cell.get("outputs") and cell.id not in exercise_cells(source)]
    assert shown and all(cell_named(made, name).outputs for name in shown)


def test_students_get_hints_and_blanks_and_nothing_else(source):
    made = student_form(source)
    text = "\n".join(cell.source for cell in made.cells)
    exercises = read_exercises(source)
    assert text.count("<summary>Hint</summary>") == len(exercises)
    assert "<summary>Solution</summary>" not in text and "Rubric" not in text
    for exercise in exercises:
        assert exercise.task in text and exercise.hint in text and exercise.solution not in text
        assert not any(point in text for point in exercise.rubric.splitlines())
        if exercise.checked:
            cell = next(cell for cell in made.cells if exercise.check in cell.source)
            assert "return ..." in cell.source and not cell.outputs and cell.execution_count is None
    assert text.count("*Your answer:*") == sum(not exercise.checked for exercise in exercises)


def test_the_solution_form_is_solved_in_place(source):
    made = solution_form(source)
    for exercise in read_exercises(source):
        if exercise.checked:
            cell = next(cell for cell in made.cells if exercise.check in cell.source)
            assert cell.source == f"{exercise.answer}\n\n\n{exercise.check}" and not cell.outputs
        else:
            (cell,) = (cell for cell in made.cells if exercise.rubric in cell.source)
            assert cell.source.startswith(exercise.solution)
    assert not any("return ..." in cell.source for cell in made.cells)


def test_an_open_solution_keeps_its_code():
    (*_, made) = solution_form(notebook_of(OPEN.replace("So.", "```python\nprint(1)\n```\n\nSo."), None)).cells
    assert made.source.startswith("```python\ndef f(x):\n    return x + 1\n```\n\n```python\nprint(1)\n```\n\nSo.")


def test_the_grader_has_the_rubric_and_its_points(source):
    marked = {
        cell.metadata.nbgrader.grade_id: cell for cell in nbgrader_form(source).cells if "nbgrader" in cell.metadata
    }
    for exercise in read_exercises(source):
        if not exercise.checked:
            cell = marked[exercise.slug]
            assert exercise.solution in cell.source and exercise.rubric in cell.source
            assert cell.metadata.nbgrader.points == len(exercise.rubric.splitlines()) == exercise.difficulty


# the documented keys of nbgrader's cell metadata, schema 3
NBGRADER = {"schema_version": int, "grade": bool, "solution": bool, "locked": bool, "task": bool, "grade_id": str}


def test_nbgrader_finds_its_metadata(source):
    made, exercises = nbgrader_form(source), read_exercises(source)
    marked = [cell for cell in made.cells if "nbgrader" in cell.metadata]
    for cell in marked:
        about = dict(cell.metadata.nbgrader)
        points = about.pop("points", None)
        assert {key: type(value) for key, value in about.items()} == NBGRADER
        assert about["schema_version"] == 3 and not about["task"]
        assert re.fullmatch(r"[A-Za-z0-9_-]+", about["grade_id"])
        assert (points is not None) == about["grade"] and (points is None or points > 0)
        if cell.cell_type == "markdown":
            assert about["grade"] == about["solution"]  # an answer graded by hand, or neither
        else:
            assert not (about["grade"] and about["solution"])  # the answer here, its test there
            assert about["locked"] != about["solution"]
    names = [cell.metadata.nbgrader.grade_id for cell in marked]
    assert len(set(names)) == len(names)
    worth = sum(cell.metadata.nbgrader.get("points", 0) for cell in marked)
    assert worth == sum(exercise.difficulty for exercise in exercises)
    locked = {cell.metadata.nbgrader.grade_id for cell in marked if cell.metadata.nbgrader.locked}
    assert {"parameters", "set-up"} | {f"{exercise.slug}-task" for exercise in exercises} <= locked


def released(cell: str) -> str:
    """A cell as nbgrader hands it out: solutions and hidden tests taken away."""
    cell = re.sub(r"( *)### BEGIN SOLUTION\n.*?### END SOLUTION", r"\1return ...", cell, flags=re.DOTALL)
    return re.sub(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS", "", cell, flags=re.DOTALL)


def graded_cells(source: Source, exercise: Exercise) -> tuple[str, str]:
    """The answer and its test as nbgrader's source has them."""
    marked = [cell for cell in nbgrader_form(source).cells if "nbgrader" in cell.metadata]
    cells = {cell.metadata.nbgrader.grade_id: cell.source for cell in marked}
    return cells[exercise.slug], cells[f"{exercise.slug}-grade"]


@each_checked
def test_the_grader_gives_points_for_the_solution_and_none_for_the_blank(source, exercise):
    solved, _ = graded_cells(source, exercise)
    (check,) = re.findall(r"checks\.(check_\w+)", solved)
    answer = solved.partition(f"\n\n\n{exercise.check}")[0]
    grade(check, exercise.function, answer)
    with pytest.raises(Blank):
        grade(check, exercise.function, released(answer))


def test_the_hidden_test_asks_the_grader_in_a_process_of_its_own(tmp_path, capsys, monkeypatch):
    source, exercise = next((source, one) for source, one in CHECKED if one.number == "7.2")
    solved, test = graded_cells(source, exercise)
    monkeypatch.setattr(exercises, "_agree", lambda *given: True)  # as a student's kernel may have it
    run(source, exercise, f"{solved}\n{test}", tmp_path)
    run(source, exercise, f"{released(solved)}\n{released(test)}", tmp_path)  # runs green before it is solved
    assert "not answered yet" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="add up to one"):
        run(source, exercise, f"{solved.replace('powers.sum()', '2')}\n{test}", tmp_path)


FAIR = {
    "a helper inside": "    def e(x):\n        return np.exp(x - max(x))\n\n    return e(z / t) / e(z / t).sum()",
    "an import": "    import math\n    p = [math.exp((v - max(z)) / t) for v in z]\n    return np.array(p) / sum(p)",
    "a class inside": "    class Shifted(dict):\n        def __init__(self):\n            super().__init__()\n\n"
                      "        def __call__(self, x):\n            return np.exp(x - x.max())\n\n"
                      "    p = Shifted()(z / t)\n    return p / p.sum()",
    "itself": "    return f(z / t, 1) if t != 1 else np.exp(z - z.max()) / np.exp(z - z.max()).sum()",
}  # fmt: skip
UNFAIR = {
    "an import of labkit": (
        "    from labkit import losses\n    return losses.soft_targets(z, t)",
        "from labkit import",
    ),
    "a relative import": ("    from . import losses\n    return losses.soft_targets(z, t)", "from . import losses"),
    "a module of the notebook": ("    return losses.soft_targets(z, t)", "losses"),
    "a global name": ("    global losses\n    return losses.soft_targets(z, t)", "losses"),
    "getattr": ("    return getattr(np, 'exp')(z)", "getattr"),
    "eval": ("    return eval('losses.soft_targets(z, t)')", "eval"),
    "__import__": ("    return __import__('labkit')", "__import__"),
    "importlib": ("    import importlib\n    return importlib.import_module('labkit.losses')", "import importlib"),
    "what a library imports": ("    return np.lib.sys.modules['labkit.losses'].soft_targets(z, t)", "np.lib.sys"),
    "from a library": ("    from numpy import sys\n    return sys", "from numpy import sys"),
    "inspect": ("    import inspect\n    return inspect", "import inspect"),
    "reading a file": ("    return open('07_losses.ipynb').read()", "open"),
    "private attributes": ("    return f.__globals__['losses']", "f.__globals__"),
    "the frame of the check": ("    return (0 for _ in z).gi_frame.f_back", "f_back"),
    "another comparison": ("    np.allclose = lambda *given, **how: True\n    return z", "np.allclose"),
    "leaving with success": ("    raise SystemExit(0)", "SystemExit"),
}


@pytest.mark.parametrize("body", FAIR.values(), ids=FAIR)
def test_an_answer_may_use_python_and_the_libraries(body, capsys):
    grade("check_soft_targets", "f", f"def f(z, t):\n{body}")
    assert "right." in capsys.readouterr().out


@pytest.mark.parametrize(("body", "told"), UNFAIR.values(), ids=UNFAIR)
def test_an_answer_may_not_reach_labkit_or_the_check(body, told):
    with pytest.raises(LabError) as caught:
        grade("check_soft_targets", "f", f"def f(z, t):\n{body}")
    assert caught.value.path == "the answer f" and told in caught.value.reason


@pytest.mark.parametrize(("check", "line", "told"), [
    ("check_soft_targets", "return F.softmax(torch.tensor(x), dim=0).numpy()", "F"),
    ("check_soft_targets", "import torch as numpy", "import torch as numpy"),
    ("check_backward", "return torch.autograd.grad(x, x)", "torch"),
    ("check_temporal_conv", "return F.conv1d(x, x)", "F.conv1d"),
    ("check_temporal_conv", "from torch.nn import Conv1d as C", "from torch.nn import Conv1d as C"),
])  # fmt: skip
def test_an_answer_does_without_what_the_task_forbids(check, line, told):
    with pytest.raises(LabError, match=f"found `{re.escape(told)}`"):
        grade(check, "f", f"def f(x, *more):\n    {line}")


@pytest.mark.parametrize("source", [
    "f = losses.soft_targets", "def soft_targets(z, t):\n    return z", "def f(z, t, of=losses):\n    return z",
    "@losses.graded\ndef f(z, t):\n    return z", "def g(z, t):\n    return z\n\n\ndef f(z, t):\n    return g(z, t)",
    "def f(z, t:\n    return z",
])  # fmt: skip
def test_an_answer_is_one_function_of_the_name_asked_for(source):
    with pytest.raises(LabError, match=r"^the answer f: "):
        grade("check_soft_targets", "f", source)


def test_students_are_told_what_an_answer_may_use():
    source, exercise = CHECKED[0]
    told = cell_named(nbgrader_form(source), source.notebook.cells[exercise.place].id).source
    assert [name for name in GIVEN if f"`{name}`" not in told] == []


def test_nbgrader_s_cells_may_train_for_an_hour(tmp_path):
    build_course([SOURCES[0].path], tmp_path)
    settings = SimpleNamespace(**{name: SimpleNamespace() for name in ("CourseDirectory", "ClearSolutions", "Execute")})
    runpy.run_path(str(tmp_path / "nbgrader" / "nbgrader_config.py"), {"get_config": lambda: settings})
    assert settings.Execute.timeout >= 3600


def test_one_command_writes_all_forms_alike_each_time(tmp_path, capsys):
    out = tmp_path / "course"
    assert cli.main(["course", "build", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    again = build_course([source.path for source in SOURCES], tmp_path / "again")
    files = {path.relative_to(tmp_path / "again").as_posix(): path.read_bytes() for path in again}
    for name in (source.name for source in SOURCES):
        assert {f"student/{name}.ipynb", f"solution/{name}.ipynb", f"nbgrader/source/{name}/{name}.ipynb"} <= set(files)
    assert len(files) == 3 * (len(SOURCES) + sum(len(list(links_outside(source))) for source in SOURCES)) + 1
    assert {name: (out / name).read_bytes() for name in files} == files


def test_links_are_right_where_each_form_lies(tmp_path):
    build_course([source.path for source in SOURCES], tmp_path)
    found = []
    for path in tmp_path.rglob("*.ipynb"):
        prose = "\n".join(c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown")
        links = [path.parent / link for link in re.findall(r"\]\(([^)#:\s]+)", prose)]
        assert [link for link in links if not link.is_file()] == []
        found += links
    assert len(found) >= 3 * 20


# -- the convention ----------------------------------------------------------------------------------

TASK = "**7.1** (difficulty 2 of 3, 10 minutes) Add one."
HINT = "<details><summary>Hint</summary>\n\nPlus.\n\n</details>"
RUBRIC = "<details><summary>Rubric</summary>\n\n- One.\n- Two.\n\n</details>"
ANSWER = "<details><summary>Solution</summary>\n\n```python\ndef f(x):\n    return x + 1\n```\n\nSo.\n\n</details>"
OPEN = f"{TASK.replace('(', '(open, ')}\n\n{HINT}\n\n{ANSWER}\n\n{RUBRIC}"
CODE = "def f(x):\n    return ...  # here\n\n\nchecks.check_gap_closed(f)"


def notebook_of(prose: str, code: str | None) -> Source:
    cells = [nbformat.v4.new_markdown_cell(prose, id="a")]
    cells += [nbformat.v4.new_code_cell(code, id="b")] if code else []
    return Source(Path("07_x.ipynb"), nbformat.v4.new_notebook(cells=cells))


def test_the_parts_of_an_exercise_are_read():
    (found,) = read_exercises(notebook_of(f"## Exercises\n\nTry.\n\n{TASK}\n\n{HINT}\n\n{ANSWER}\n", CODE))
    assert (found.number, found.difficulty, found.minutes) == ("7.1", 2, 10)
    assert (found.task, found.hint) == ("Add one.", "Plus.")
    assert found.answer == "def f(x):\n    return x + 1" and found.check == "checks.check_gap_closed(f)"
    (found,) = read_exercises(notebook_of(OPEN, None))
    assert not found.checked and found.solution.endswith("So.") and found.rubric == "- One.\n- Two."


@pytest.mark.parametrize(
    "prose",
    [
        OPEN.replace(RUBRIC, ""),
        OPEN.replace("- Two.\n", ""),
        OPEN.replace("- Two.", "- Two.\n- Three."),
        OPEN.replace("(open, ", "("),
    ],
)
def test_points_and_difficulty_agree(prose):
    with pytest.raises(LabError, match=r"07_x.ipynb, cell a.*(one line a point|a code cell with its check)"):
        read_exercises(notebook_of(prose, None))
    with pytest.raises(LabError, match="one line a point"):
        read_exercises(notebook_of(f"{TASK}\n\n{HINT}\n\n{ANSWER}\n\n{RUBRIC}", CODE))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("difficulty 2 of 3, ", "", "one exercise: "),
        (", 10 minutes", "", "one exercise: "),
        ("difficulty 2", "difficulty 4", "one exercise: "),
        (HINT, "", "one exercise: "),
        (ANSWER, "", "one exercise: "),
        (ANSWER, f"{ANSWER}\n\n**7.2** more", "one exercise: "),
        ("(difficulty", "(open, difficulty", "or the word open and no check"),
        (CODE, "1 + 1", "a code cell with its check"),
        ("return ...", "return x", "one function that returns"),
        ("```python", "```", "one fence of Python in the solution"),
        ("def f(x):\n    return x + 1", "def g(x):\n    return x + 1", "that begins with def f(x):"),
        ("def f(x):\n    return x + 1", "def f(x, y):\n    return x + 1", "that begins with def f(x):"),
        ("return x + 1", "return x +", "expected Python in the solution"),
        ("def f(x):\n    return x + 1", "from os import path", "that begins with def f(x):"),
    ],
)  # fmt: skip
def test_an_exercise_of_another_form_is_refused(old, new, told, tmp_path):
    prose, code = f"{TASK}\n\n{HINT}\n\n{ANSWER}", CODE
    source = notebook_of(prose.replace(old, new), code.replace(old, new) if old not in prose else code)
    with pytest.raises(LabError) as caught:
        read_exercises(source)
    assert told in str(caught.value) and "07_x.ipynb, cell a" in str(caught.value)
    path = tmp_path / "07_x.ipynb"
    nbformat.write(source.notebook, path)
    with pytest.raises(LabError):
        build_course([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()  # nothing half done
