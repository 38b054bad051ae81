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
An *open* one says "(open, difficulty ...", has no code cell, and its solution is prose. What a grader gives points for
is folded below it, one line a point; the points of any exercise are its difficulty:

    <details><summary>Rubric</summary>

    - The prediction is a number with a reason.
    - The sentence names what the runs cannot show.

    </details>

What students get has no outputs. A paragraph that says what came out "in the committed run" or "picture" is theirs to
write; a summary and what later notebooks say of earlier ones stay.
"""

from __future__ import annotations

import ast
import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from ..errors import LabError
from ..files import write_bytes
from .notebooks import BADGE, Source, read_notebook

_LABEL = re.compile(r"^\*\*\d+\.\d+\*\*", re.MULTILINE)
_FOLDED = r"\n\n<details><summary>{}</summary>\n\n(?P<{}>.+?)\n\n</details>"
_RUBRIC = _FOLDED.format("Rubric", "rubric")
_EXERCISE = re.compile(
    r"(?:## Exercises\n\n.*?)?"
    r"\*\*(?P<number>\d+\.\d+)\*\* \((?P<open>open, )?difficulty (?P<difficulty>[123]) of 3, (?P<minutes>\d+) minutes\)"
    r" (?P<task>.+?)" + _FOLDED.format("Hint", "hint") + _FOLDED.format("Solution", "solution") + rf"(?:{_RUBRIC})?\n*",
    re.DOTALL,
)
_TEACHERS = re.compile(_FOLDED.format("(?:Solution|Rubric)", "text"), re.DOTALL)
_POINT = re.compile(r"^- ", re.MULTILINE)
_FENCE = re.compile(r"^```python\n(.+?)^```$", re.DOTALL | re.MULTILINE)
_BLANK = re.compile(
    r"(?P<head>def (?P<function>\w+)\(.*\):\n)    return \.\.\..*\n\n\n(?P<check>checks\.check_\w+)\((?P=function)\)\n*"
)
_TOLD = re.compile(r"\bcommitted (?:run|picture)\b")
_OUTSIDE = re.compile(r"\]\((\.\./[^)#\s]+)")
_NOTEBOOK = re.compile(r"\]\((\w+)\.ipynb\b")
_FIX = "write it as the first lines of labkit/course/forms.py show"


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook; the last four are "" where it is open, `rubric` where it is checked."""

    number: str  # "7.1": notebook and place
    difficulty: int  # 1 to 3; also its points
    minutes: int
    task: str
    hint: str
    solution: str  # as it is folded away: prose, or a fence of Python and perhaps a remark
    place: int  # of its prose cell among the notebook's cells
    rubric: str = ""  # a line "- What earns it." for each point
    head: str = ""  # "def my_soft_targets(logits, temperature):"
    body: str = ""  # the lines that belong below it
    function: str = ""
    checker: str = ""  # "checks.check_soft_targets"

    @property
    def checked(self) -> bool:
        return bool(self.checker)

    @property
    def answer(self) -> str:
        return self.head + self.body

    @property
    def check(self) -> str:
        return f"{self.checker}({self.function})"

    @property
    def key(self) -> str:
        """What is read beside an open answer."""
        return f"{self.solution}\n\n**Points, one each:**\n\n{self.rubric}"

    @property
    def slug(self) -> str:
        """Its number where dots are not allowed."""
        return f"exercise-{self.number.replace('.', '-')}"


def read_exercises(source: Source) -> list[Exercise]:
    """The exercises of a notebook, in order; LabError for one that does not keep the convention."""
    cells = source.notebook.cells
    places = [place for place, cell in enumerate(cells) if cell.cell_type == "markdown" and _LABEL.search(cell.source)]
    return [_read(source, place) for place in places]


def _read(source: Source, place: int) -> Exercise:
    prose, follows = source.notebook.cells[place].source, source.notebook.cells[place + 1 : place + 2]

    def refused(expected: str, found: str) -> LabError:
        return LabError.mismatch(f"{source.path.name}, cell {source.notebook.cells[place].id}", expected, found, _FIX)

    match = _EXERCISE.fullmatch(prose)
    if match is None or len(_LABEL.findall(prose)) != 1:
        form = "**7.1** (difficulty 2 of 3, 10 minutes) task, folded hint, folded solution"
        raise refused(f"one exercise: {form}", repr(prose[:60]))
    parts = {name: match[name] for name in ("number", "task", "hint", "solution")}
    parts |= {"difficulty": int(match["difficulty"]), "minutes": int(match["minutes"]), "place": place}
    code = follows[0].source if follows and follows[0].cell_type == "code" else ""
    if ("checks.check_" in code) == bool(match["open"]):
        raise refused("a code cell with its check, or the word open and no check", repr(code))
    points = len(_POINT.findall(match["rubric"] or ""))
    if points != (parts["difficulty"] if match["open"] else 0):
        raise refused("a folded rubric, one line a point, as many as the difficulty, if open", f"{points} lines")
    if match["open"]:
        return Exercise(**parts, rubric=match["rubric"])
    blank, fences = _BLANK.fullmatch(code), _FENCE.findall(match["solution"])
    if blank is None:
        raise refused("one function that returns `...`, two empty lines and its check", repr(code))
    if len(fences) != 1 or not fences[0].startswith(blank["head"]):
        raise refused(f"one fence of Python in the solution, that begins with {blank['head'].strip()}", repr(fences))
    try:
        ast.parse(fences[0])
    except SyntaxError as error:
        raise refused("Python in the solution", f"{error.msg} in {fences[0]!r}") from None
    body = fences[0].removeprefix(blank["head"]).rstrip()
    return Exercise(**parts, head=blank["head"], body=body, function=blank["function"], checker=blank["check"])


# -- forms -------------------------------------------------------------------------------------------


def student_form(source: Source) -> NotebookNode:
    """What students get: no solutions, no outputs, a cell to answer each open exercise."""
    return _form(source, lambda exercise, prose, answer: [prose, answer])


def solution_form(source: Source) -> NotebookNode:
    """What the teacher keeps: every exercise solved in place, so that all checks say "right", and the rubrics."""
    return _form(source, _solved_cells, told=True)


def nbgrader_form(source: Source) -> NotebookNode:
    """The source of an nbgrader assignment: `nbgrader generate_assignment` makes the students' form of it.

    Checked exercises are graded by a hidden test, which hands the text of the answer to
    `labkit.notebook.checking.grading`, open ones by hand; points are the difficulty. Parameters, the set-up and the
    tasks are locked. Cell metadata follow nbgrader's schema 3.
    """
    notebook = _form(source, _graded_cells)
    set_up = [cell for cell in notebook.cells if cell.cell_type == "code"][:2]
    for name, cell in zip(("parameters", "set-up"), set_up, strict=False):
        _grading(cell, name, locked=True)
    return notebook


def _form(source: Source, cells_of: Callable[[Exercise, NotebookNode, NotebookNode], Iterable], *,
          told: bool = False) -> NotebookNode:  # fmt: skip
    """The notebook with each exercise's cells replaced by those that `cells_of` makes of them.

    It is handed the exercise, its prose as students read it, and its code cell; where that is open, a cell of
    prose for the answer. What the committed run gave goes, unless it may be `told`. The badge goes: it opens the
    notebook with its solutions.
    """
    notebook = copy.deepcopy(source.notebook)
    notebook.cells[0].source = BADGE.sub("", notebook.cells[0].source)
    for cell in notebook.cells if not told else ():
        _untell(cell)
    for exercise in reversed(read_exercises(source)):
        prose, *code = notebook.cells[exercise.place : exercise.place + 1 + exercise.checked]
        prose.source = _TEACHERS.sub("", prose.source).rstrip()
        for cell in code:
            _untell(cell)
        answer = code[0] if code else new_markdown_cell("*Your answer:*", id=f"{prose.id}-answer")
        notebook.cells[exercise.place : exercise.place + 1 + exercise.checked] = cells_of(exercise, prose, answer)
    return notebook


def _untell(cell: NotebookNode) -> None:
    """Take away what the committed run gave; a task may still say which tries its picture has."""
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    elif not _LABEL.search(cell.source):
        paragraphs = cell.source.split("\n\n")
        cell.source = "\n\n".join(_ASKED if _TOLD.search(text) else text for text in paragraphs)


_ASKED = "*What came out? Write it here, with a reason, before you read on.*"


def _solved_cells(exercise: Exercise, prose: NotebookNode, answer: NotebookNode) -> Iterator[NotebookNode]:
    yield prose
    if exercise.checked:
        answer.source = f"{exercise.answer}\n\n\n{exercise.check}"
        yield answer
    if remark := _FENCE.sub("", exercise.solution).strip() if exercise.checked else exercise.key:
        yield new_markdown_cell(remark, id=f"{prose.id}-answer")


def _graded_cells(exercise: Exercise, prose: NotebookNode, answer: NotebookNode) -> Iterator[NotebookNode]:
    if not exercise.checked:
        yield _grading(prose, f"{exercise.slug}-task", locked=True)
        answer.source = exercise.key
        yield _grading(answer, exercise.slug, solution=True, points=exercise.difficulty)
        return
    prose.source += _ALONE
    yield _grading(prose, f"{exercise.slug}-task", locked=True)
    marked = f"    ### BEGIN SOLUTION\n{exercise.body}\n    ### END SOLUTION"
    answer.source = f"{exercise.head}{marked}\n\n\n{exercise.check}"
    yield _grading(answer, exercise.slug, solution=True)
    test = _TEST.format(number=exercise.number, check=exercise.checker.removeprefix("checks."), name=exercise.function)
    yield _grading(new_code_cell(test, id=f"{prose.id}-grade"), f"{exercise.slug}-grade", locked=True,
                   points=exercise.difficulty)  # fmt: skip


_ALONE = """

*The grader runs this function alone. It may use its arguments, Python, `np`, `torch`, `nn`, `F`, `rearrange`, `reduce`
(unless the task says otherwise) and what it defines inside, and nothing of labkit or of this notebook.*"""

_TEST = """# exercise {number} is graded here
### BEGIN HIDDEN TESTS
import inspect
import subprocess
import sys

graded = subprocess.run(
    [sys.executable, "-IX", "utf8", "-m", "labkit.notebook.checking.grading", "{check}", "{name}"],
    input=inspect.getsource({name}), encoding="utf-8",
    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
assert graded.returncode == 0, graded.stdout
### END HIDDEN TESTS"""


def _grading(cell: NotebookNode, name: str, *, locked: bool = False, solution: bool = False,
             points: int | None = None) -> NotebookNode:  # fmt: skip
    """The cell with nbgrader's metadata."""
    graded = {"points": points} if points is not None else {}
    cell.metadata["nbgrader"] = {"schema_version": 3, "grade_id": name, "grade": bool(graded), "locked": locked,
                                 "solution": solution, "task": False, **graded}  # fmt: skip
    return cell


# -- writing -----------------------------------------------------------------------------------------

_CONFIG = '''"""nbgrader: a blank returns `...`, as in the course's own notebooks, and so runs before it is solved."""

c = get_config()
c.CourseDirectory.course_id = "labkit"
c.ClearSolutions.code_stub = {"python": "return ...  # your lines here"}
c.ClearSolutions.text_stub = "*Your answer:*"

# Cells that train need more than the usual 30 seconds. `labkit run` first: then they load what it trained.
c.Execute.timeout = 3600
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
