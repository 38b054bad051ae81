"""A course from the notebooks: the forms a teacher hands out, all made from the one source.

The convention. An exercise is a prose cell under the heading "## Exercises":

    **7.1** (difficulty 2 of 3, 10 minutes) What is asked.

    <details><summary>Hint</summary>

    One step of the way.

    </details>

    <details><summary>Solution</summary>

    What is right, and why.

    </details>

A *checked* exercise is followed by a code cell that defines one function, whose body is `return ...`, and
ends with its check, `checks.check_NAME(function)`; its solution holds that function in a fence of Python.
An *open* one says "(open, difficulty ...", has no code cell, and its solution is prose.
"""

from __future__ import annotations

import ast
import copy
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ..errors import LabError
from ..files import write_bytes
from .notebooks import Source, read_notebook

_LABEL = re.compile(r"^\*\*\d+\.\d+\*\*", re.MULTILINE)
_FOLDED = r"\n\n<details><summary>{}</summary>\n\n(?P<{}>.+?)\n\n</details>"
_EXERCISE = re.compile(
    r"(?P<before>(?:## Exercises\n\n.*?)?)"
    r"\*\*(?P<number>\d+\.\d+)\*\* \((?P<open>open, )?difficulty (?P<difficulty>[123]) of 3, (?P<minutes>\d+) minutes\)"
    r" (?P<task>.+?)" + _FOLDED.format("Hint", "hint") + _FOLDED.format("Solution", "solution") + r"\n*",
    re.DOTALL,
)
_OUTSIDE = re.compile(r"\]\((\.\./[^)#\s]+)")
_NOTEBOOK = re.compile(r"\]\((\w+)\.ipynb\b")
_SOLUTION = re.compile(_FOLDED.format("Solution", "solution"), re.DOTALL)
_FENCE = re.compile(r"^```python\n(.+?)^```$", re.DOTALL | re.MULTILINE)
_FORM = "**7.1** (difficulty 2 of 3, 10 minutes) task, folded hint, folded solution"
_FIX = "write it as the first lines of labkit/course/forms.py show"
NBGRADER_SCHEMA = 3
_ANSWER = "*Your answer:*"
_HIDDEN_TEST = """# exercise {number} is graded here
### BEGIN HIDDEN TESTS
from labkit.notebook import checks, tutor

tutor.grade({names})
### END HIDDEN TESTS"""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook."""

    number: str  # "7.1": notebook and place
    difficulty: int  # 1 to 3; also its points
    minutes: int
    task: str
    hint: str
    solution: str  # as it is folded away: prose, or a fence of Python and perhaps a remark
    place: int  # of its prose cell among the notebook's cells
    answer: str = ""  # the function inside the fence; "" for an open exercise
    check: str = ""  # "checks.check_soft_targets(my_soft_targets)"; "" for an open exercise

    @property
    def checked(self) -> bool:
        return bool(self.check)

    @property
    def slug(self) -> str:
        """Its number where dots are not allowed."""
        return f"exercise-{self.number.replace('.', '-')}"


def read_exercises(source: Source) -> list[Exercise]:
    """The exercises of a notebook, in order; LabError for one that does not keep the convention."""
    found = []
    for place, cell in enumerate(source.notebook.cells):
        if cell.cell_type == "markdown" and _LABEL.search(cell.source):
            found.append(_read(source, place))
    return found


def _read(source: Source, place: int) -> Exercise:
    cells = source.notebook.cells
    where = f"{source.path.name}, cell {cells[place].id}"
    match = _EXERCISE.fullmatch(cells[place].source)
    if match is None or len(_LABEL.findall(cells[place].source)) != 1:
        raise LabError.mismatch(where, f"one exercise: {_FORM}", repr(cells[place].source[:60]), _FIX)
    follows = cells[place + 1] if place + 1 < len(cells) else None
    checked = follows is not None and follows.cell_type == "code" and "checks.check_" in follows.source
    if checked == bool(match["open"]):
        expected = "no check after an open exercise" if checked else "a code cell with its check, or the word open"
        raise LabError.mismatch(where, expected, "otherwise", _FIX)
    parts = {name: match[name] for name in ("number", "task", "hint", "solution")}
    parts |= {"difficulty": int(match["difficulty"]), "minutes": int(match["minutes"]), "place": place}
    if not checked:
        return Exercise(**parts)
    answer, check = _solved(follows.source, match["solution"], where)
    return Exercise(**parts, answer=answer, check=check)


def _solved(code: str, solution: str, where: str) -> tuple[str, str]:
    """The function in a solution, and the check in the code cell whose blank function it fills in."""
    fence = _FENCE.findall(solution)
    if len(fence) != 1:
        raise LabError.mismatch(where, "one fence of Python in the solution", len(fence), _FIX)
    match _parse(code, where), _parse(fence[0], where):
        case [ast.FunctionDef() as blank, ast.Expr() as check], [ast.FunctionDef() as answer]:
            if ast.unparse(blank.body) != "return ..." or not ast.unparse(check).startswith("checks.check_"):
                expected = "one function that returns `...` and then its check"
                raise LabError.mismatch(where, expected, repr(code), _FIX)
            if (answer.name, ast.dump(answer.args)) != (blank.name, ast.dump(blank.args)):
                expected = f"a solution that defines {code.splitlines()[blank.lineno - 1]}"
                raise LabError.mismatch(where, expected, fence[0], _FIX)
            return fence[0].strip(), "\n".join(code.splitlines()[check.lineno - 1 :])
    raise LabError.mismatch(where, "in cell and solution one function and nothing else", repr(code), _FIX)


def _parse(code: str, where: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except SyntaxError as error:
        raise LabError.mismatch(where, "Python", f"{error.msg} in {code!r}", _FIX) from None


# -- forms -------------------------------------------------------------------------------------------


def student_form(source: Source) -> NotebookNode:
    """What students get: no solutions; a cell to answer each open exercise; no output where they work."""
    return _form(source, _student_cells)


def solution_form(source: Source) -> NotebookNode:
    """What the teacher keeps: every exercise solved in place, so that all checks say "right"."""
    return _form(source, _solved_cells)


def nbgrader_form(source: Source) -> NotebookNode:
    """The source of an nbgrader assignment: `nbgrader generate_assignment` makes the students' form of it.

    Checked exercises are graded by a hidden call of their check, open ones by hand; points are the
    difficulty. Parameters, the set-up and the tasks are locked. Cell metadata follow nbgrader's schema 3.
    """
    notebook = _form(source, _graded_cells)
    set_up = [cell for cell in notebook.cells if cell.cell_type == "code"][:2]
    for name, cell in zip(("parameters", "set-up"), set_up, strict=False):
        cell.metadata["nbgrader"] = _grading(name, locked=True)
    return notebook


def _form(source: Source, cells_of: Callable[[Exercise, NotebookNode, NotebookNode], Iterator]) -> NotebookNode:
    """The notebook with each exercise's cells replaced by those that `cells_of` makes of them."""
    notebook, exercises = copy.deepcopy(source.notebook), read_exercises(source)
    replaced: dict[int, list[NotebookNode]] = {}
    for exercise in exercises:
        prose, code = notebook.cells[exercise.place], notebook.cells[(exercise.place + 1) % len(notebook.cells)]
        prose.source = _SOLUTION.sub("", prose.source).rstrip()
        if exercise.checked:
            code.outputs, code.execution_count = [], None
            replaced[exercise.place + 1] = []
        replaced[exercise.place] = list(cells_of(exercise, prose, code))
    notebook.cells = [
        cell for place, kept in enumerate(notebook.cells) for cell in replaced.get(place, [kept])
    ]
    return notebook


def _student_cells(exercise: Exercise, prose: NotebookNode, code: NotebookNode) -> Iterator[NotebookNode]:
    yield prose
    yield code if exercise.checked else _prose(f"{prose.id}-answer", _ANSWER)


def _solved_cells(exercise: Exercise, prose: NotebookNode, code: NotebookNode) -> Iterator[NotebookNode]:
    yield prose
    if exercise.checked:
        code.source = f"{exercise.answer}\n\n\n{exercise.check}"
        yield code
    remark = _FENCE.sub("", exercise.solution).strip() if exercise.checked else exercise.solution
    if remark:
        yield _prose(f"{prose.id}-answer", remark)


def _graded_cells(exercise: Exercise, prose: NotebookNode, code: NotebookNode) -> Iterator[NotebookNode]:
    prose.metadata["nbgrader"] = _grading(f"{exercise.slug}-task", locked=True)
    yield prose
    if not exercise.checked:
        answer = _prose(f"{prose.id}-answer", exercise.solution)
        answer.metadata["nbgrader"] = _grading(exercise.slug, solution=True, points=exercise.difficulty)
        yield answer
        return
    code.source = f"{_marked(exercise.answer)}\n\n\n{exercise.check}"
    code.metadata["nbgrader"] = _grading(exercise.slug, solution=True)
    yield code
    (call,) = ast.parse(exercise.check).body
    names = ", ".join(ast.unparse(part) for part in (call.value.func, *call.value.args))
    graded = f"from labkit.notebook import checks\n\nchecks.grade({names})"
    hidden = f"### BEGIN HIDDEN TESTS\n{graded}\n### END HIDDEN TESTS"
    text = f"# exercise {exercise.number} is graded here\n{hidden}"
    test = nbformat.v4.new_code_cell(text, id=f"{prose.id}-grade")
    test.metadata["nbgrader"] = _grading(f"{exercise.slug}-grade", locked=True, points=exercise.difficulty)
    yield test


def _prose(name: str, text: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text, id=name)


def _marked(function: str) -> str:
    """The function with nbgrader's marks around its body."""
    lines, (tree,) = function.splitlines(), ast.parse(function).body
    first = tree.body[0].lineno - 1
    marks = [f"{' ' * tree.body[0].col_offset}### {word} SOLUTION" for word in ("BEGIN", "END")]
    return "\n".join([*lines[:first], marks[0], *lines[first:], marks[1]])


def _grading(name: str, *, locked: bool = False, solution: bool = False, points: int | None = None) -> dict:
    """nbgrader's metadata of one cell."""
    graded = {"points": points} if points is not None else {}
    return {"schema_version": NBGRADER_SCHEMA, "grade_id": name, "grade": bool(graded), "locked": locked,
            "solution": solution, "task": False, **graded}  # fmt: skip


# -- writing -----------------------------------------------------------------------------------------

_CONFIG = '''"""nbgrader: a blank returns `...`, as in the course's own notebooks, and so runs before it is solved."""

c = get_config()
c.CourseDirectory.course_id = "labkit"
c.ClearSolutions.code_stub = {"python": "return ...  # your lines here"}
c.ClearSolutions.text_stub = "*Your answer:*"
'''


def links_outside(source: Source) -> Iterator[str]:
    """Files outside the notebooks' folder that its prose links to."""
    for cell in source.notebook.cells:
        if cell.cell_type == "markdown":
            yield from (link for link in _OUTSIDE.findall(cell.source) if (source.path.parent / link).is_file())


def _relinked(notebook: NotebookNode, outside: Sequence[str], apart: bool) -> str:
    """The notebook as a file, its links right where it will lie: a file from outside has gone along with it,
    another notebook lies beside it or, `apart`, in a folder of its own."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for link in outside:
                cell.source = cell.source.replace(f"]({link}", f"]({Path(link).name}")
            if apart:
                cell.source = _NOTEBOOK.sub(r"](../\1/\1.ipynb", cell.source)
    return nbformat.writes(notebook) + "\n"


def build_course(notebooks: Sequence[str | os.PathLike], out: str | os.PathLike) -> list[Path]:
    """Write OUT/student, OUT/solution and OUT/nbgrader (a course folder: source/NAME/NAME.ipynb and its settings).

    A notebook without exercises goes along as it is, and so does a file that the prose links to. Returns the
    files written. LabError for an exercise that does not keep the convention; then nothing is written.
    """
    made: dict[Path, bytes] = {Path(out) / "nbgrader" / "nbgrader_config.py": _CONFIG.encode()}
    for source in map(read_notebook, notebooks):
        forms = {"student": student_form, "solution": solution_form, f"nbgrader/source/{source.name}": nbgrader_form}
        outside = list(links_outside(source))
        for place, form in forms.items():
            text = _relinked(form(source), outside, apart="nbgrader" in place)
            made[Path(out) / place / f"{source.name}.ipynb"] = text.encode()
            made |= {Path(out) / place / Path(link).name: (source.path.parent / link).read_bytes() for link in outside}
    for path, data in made.items():
        write_bytes(path, data)
    return list(made)
