"""What a teacher gets beside the forms: slides that fit, a handout that works by hand, an archive for the class."""

from __future__ import annotations

import re
import statistics
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import browser
import pytest
from playwright.sync_api import Page, sync_playwright

from labkit.cli import main as cli
from labkit.course import handout, pack, slides
from labkit.course.forms import read_exercises
from labkit.course.notebooks import read_notebook
from labkit.experiments.targets import make
from labkit.lab import open_lab

SOURCES = [read_notebook(path) for path in sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))]
LOADED = re.compile(r"\b(?:src|href)=\"(?!data:)|url\(|@import")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """All that `labkit course build` writes."""
    out = tmp_path_factory.mktemp("course") / "out"
    assert cli.main(["course", "build", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    if browser.find_chromium() is None:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser.find_chromium(), args=["--no-sandbox"])
        yield window.new_page(viewport={"width": 1280, "height": 720})
        window.close()


# -- slides ------------------------------------------------------------------------------------------


def test_each_week_has_its_notebooks_and_loads_nothing(made):
    for week, numbers in enumerate(slides.weeks(), start=1):
        text = (made / "slides" / f"week-{week}.html").read_text(encoding="utf-8")
        names = dict.fromkeys(re.findall(r"<footer>(\w+)</footer>", text))
        assert [name[:2] for name in names] == numbers
        assert not LOADED.search(re.sub(r"data:[^\"]+", "data:", text))
    assert len(slides.weeks()) == 4


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_slides_have_every_picture_and_formula_and_no_exercise(source):
    shown = "\n".join(slides.slides_of(source))
    cells = source.notebook.cells
    pictures = [output for cell in cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    assert shown.count("<img ") == len(pictures) > 0
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown").partition("## Exercises")[0]
    assert shown.count('display="block"') == len(re.findall(r"\$\$.+?\$\$", prose, re.DOTALL))
    assert all(exercise.task.split("\n")[0] not in shown for exercise in read_exercises(source))
    assert "return ..." not in shown and "After this notebook you can" in shown and "<h2><p>Summary</p>" in shown


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_a_guess_is_asked_before_any_picture_that_answers_it(source):
    pictures, expected = 0, []
    for cell in source.notebook.cells:
        expected += [pictures] * (cell.cell_type == "code" and ".ask()" in cell.source)
        pictures += sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    before = "\n".join(slides.slides_of(source)).split('class="guess"')[:-1]
    assert [sum(part.count("<img ") for part in before[: n + 1]) for n in range(len(before))] == expected != []


# what leaves its slide, or its place on it
LEFT = """() => [...document.querySelectorAll('section')].flatMap((slide, number) => {
  const edge = slide.getBoundingClientRect(), body = slide.querySelector('.body').getBoundingClientRect();
  const out = e => { const b = e.getBoundingClientRect();
    return b.bottom > body.bottom + 1 || b.top < body.top - 1 || b.right > edge.right + 1 || b.left < edge.left - 1; };
  return [...slide.querySelectorAll('.body *')].filter(out).map(e => `${number + 1}: ${e.tagName} ${e.textContent}`);
})"""


@pytest.mark.parametrize("week", [1, 2, 3, 4])
def test_nothing_leaves_its_slide_and_keys_lead_on(made, page, week):
    page.goto(f"file://{made}/slides/week-{week}.html")
    assert page.evaluate(LEFT) == []
    at = "() => Math.round(scrollY / innerHeight)"
    for key, place in (("ArrowRight", 1), (" ", 2), ("PageUp", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        page.wait_for_function(f"() => ({at})() == {place}")


# -- handout -----------------------------------------------------------------------------------------


def table(text: str, head: str) -> list[list[str]]:
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    (found,) = (rows for rows in tables if f"<th>{head}</th>" in rows)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in found.split("</tr>")]
    return [[cell.replace("−", "-") for cell in row] for row in cells if row]


def test_the_handout_works_by_hand(made):
    """With nothing but the table on the sheet, as a student does it, the solution comes out, near the whole clip's."""
    sheet = (made / "handout" / "week-1.html").read_text(encoding="utf-8")
    solution = (made / "solution" / "handout-week-1.html").read_text(encoding="utf-8")
    joints = [list(map(int, row[2:])) for row in table(sheet, "depth x")]
    assert len(joints) == 6
    by_hand = []
    for depth, color in ((0, 2), (1, 3)):
        of_pairs = [(b[color] - a[color]) / (b[depth] - a[depth]) for a, b in combinations(joints, 2)
                    if abs(b[depth] - a[depth]) > 1]  # fmt: skip
        assert len(of_pairs) == 15, "no pair lies too close: each row of the empty table is filled in"
        by_hand.append(statistics.median(of_pairs))
    ratio = sum(by_hand) / 2
    offset = [statistics.median(joint[axis] - joint[axis + 2] / ratio for joint in joints) for axis in (0, 1)]
    for number in (*by_hand, ratio):
        assert f"{number:.3f}" in solution
    assert f"(−{-offset[0]:.1f}, {offset[1]:.1f})" in solution
    whole = handout.sheet().whole
    assert ratio == pytest.approx(whole.ratio, rel=0.01) and offset == pytest.approx(whole.offset, abs=1)
    assert abs(1920 / 512 - ratio) > 0.5 and abs(1080 / 424 - ratio) > 0.3, "the sizes alone mislead, as the text says"


def test_the_sheet_gives_nothing_away_and_both_pages_load_nothing(made):
    sheet, solution = ((made / name).read_text(encoding="utf-8")
                       for name in ("handout/week-1.html", "solution/handout-week-1.html"))  # fmt: skip
    assert f"{handout.sheet().by_hand.ratio:.3f}" not in re.sub('data:[^"]+', "", sheet)
    for text in (sheet, solution):
        assert "<!-- " not in text and not LOADED.search(re.sub(r"data:[^\"]+", "data:", text))
    assert len(table(sheet, "pair")) == len(table(solution, "pair")) == 15


def test_the_handout_prints_on_two_sheets_of_paper(made, page):
    page.goto(f"file://{made}/handout/week-1.html")
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 2


# -- the archive -------------------------------------------------------------------------------------

PROFILE = "smoke+puppets.scale=16"  # a small set, made in seconds


def archive_of(home: Path, out: Path) -> int:
    return cli.main(["course", "pack", str(out), "--profile", PROFILE, "--home", str(home)])


def test_an_archive_is_refused_until_set_and_trainings_are_there_and_where_other_data_is_named(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(pack, "IN_NOTEBOOKS", ("table2:1",))
    out = tmp_path / "a.tar.gz"
    assert archive_of(tmp_path, out) == 2 and "labkit run --profile smoke+puppets" in capsys.readouterr().err
    open_lab(PROFILE, home=tmp_path, progress=False)
    assert archive_of(tmp_path, out) == 2 and "found 1 missing" in capsys.readouterr().err
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    assert archive_of(tmp_path, out) == 2 and "the embedded set alone" in capsys.readouterr().err
    assert not out.exists()


def test_an_archive_unpacks_to_a_course_without_solutions_and_without_other_data(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "IN_NOTEBOOKS", ("table2:1",))
    home, there = tmp_path / "home", tmp_path / pack.FOLDER
    home.mkdir()
    lab = open_lab(PROFILE, home=home, progress=False)
    run = make("depth", lab)
    other = make("depth", replace(lab, split=replace(lab.split, train=lab.split.train[::2])))  # other clips' data
    (home / "data" / "ntu" / "nturgb+d_rgb").mkdir(parents=True)
    (home / "data" / "ntu" / "nturgb+d_rgb" / "S001C001P001R001A001_rgb.avi").touch()
    (home / "build" / "course" / "slides").mkdir(parents=True)
    (home / "build" / "course" / "slides" / "week-1.html").touch()
    assert archive_of(home, tmp_path / "a.tar.gz") == 0
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    assert other.done and [path.name for path in (there / "runs").iterdir()] == [run.id]
    assert not [path for path in (there / "data").iterdir() if not path.name.startswith("puppets-")]
    assert {path.name for path in there.iterdir()} == {"START.txt", "data", "runs", "notebooks", "slides"}
    notebooks = sorted((there / "notebooks").glob("*.ipynb"))
    assert [path.name for path in notebooks] == [source.path.name for source in SOURCES]
    assert "<summary>Solution" not in "".join(path.read_text(encoding="utf-8") for path in notebooks)
    unpacked = open_lab(PROFILE, home=there, progress=False)
    assert unpacked.root.parent == there / "data" and unpacked.clips.built == 0
    again = make("depth", replace(unpacked, dry=True))
    assert again.id == run.id and again.is_finished() and again.result == run.result


# -- the plan ----------------------------------------------------------------------------------------

PLAN = (slides.TEMPLATES.parent / "teaching.md").read_text(encoding="utf-8")


def headings(number: str) -> list[str]:
    (source,) = (source for source in SOURCES if source.name.startswith(number))
    prose = [cell.source for cell in source.notebook.cells if cell.cell_type == "markdown"]
    return re.findall(r"^#+ (.+)$", "\n".join(prose), re.MULTILINE)


def test_a_meeting_fills_its_time_has_a_sketch_and_homework():
    meetings = PLAN.split("#### Meeting ")[1:]
    assert len(meetings) == 8
    for meeting in meetings:
        assert sum(map(int, re.findall(r"^\| (\d+) \|", meeting, re.MULTILINE))) == 90, meeting[:40]
        (sketch,) = re.findall(r"!\[Board: .+\]\((.+)\)", meeting)
        assert (slides.TEMPLATES.parent / sketch).is_file() and "*Homework:*" in meeting


def test_the_sections_and_exercises_that_the_plan_names_are_there():
    for line in re.findall(r"^\| \d+ \|.*\| (.*) \|$", PLAN, re.MULTILINE):
        for number, quoted in re.findall(r"(\d\d), ((?:\"[^\"]+\"(?:, )?)+)", line):
            for name in re.findall(r'"([^"]+)"', quoted):
                assert any(heading.startswith(name) for heading in headings(number)), (number, name)
    known = {exercise.number for source in SOURCES for exercise in read_exercises(source)}
    named = {number for text in re.findall(r"exercises? (\d[^;\n]+)", PLAN) for number in re.findall(r"\d+\.\d+", text)}
    assert len(named) > 20 and named <= known


def test_every_question_has_an_answer_folded_below_it():
    for week in PLAN.split("### Week ")[1:]:
        asked = re.findall(
            r"^\*\*(\d)\. (?:.+\n)*?.*\*\*\n\n<details><summary>Expected answer</summary>", week, re.MULTILINE
        )
        assert asked == ["1", "2", "3", "4"] and week.count("<details>") == week.count("</details>") == 4
