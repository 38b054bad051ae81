"""The site: one command, no warning, nothing fetched from elsewhere, everything found by search."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
from pathlib import Path

import browser
import nbformat
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from labkit import LabError
from labkit.cli import main as cli
from labkit.course import website
from labkit.course.forms import read_exercises
from labkit.course.notebooks import read_notebook
from labkit.figures.method import MOMENTS, moments_of
from labkit.figures.style import new_figure
from labkit.notebook.widgets import Choice, Range, View

pytestmark = pytest.mark.timeout(1200)  # half a minute of computing, but a whole site, on a machine that may be busy
ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The whole site, by the command that CI runs, too."""
    out = tmp_path_factory.mktemp("site") / "out"
    assert cli.main(["course", "site", str(out)]) == 0
    return out


def page(built: Path, name: str) -> str:
    return (built / f"{name}.html").read_text(encoding="utf-8")


def text_of(source: str) -> str:
    """What a reader sees of a page, spaces evened out."""
    source = re.sub(r"<(script|style)\b.*?</\1>", " ", source, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", source)).split())


LOADED = re.compile(r"<(?:script|img|iframe|link|source)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"")


def test_no_page_asks_the_network_for_anything(built):
    fetched = [
        f"{path.relative_to(built)}: {address}"
        for path in built.rglob("*.html")
        for address in LOADED.findall(path.read_text(encoding="utf-8"))
        if re.match(r"(https?:)?//", address)
    ]
    assert fetched == []
    for path in built.rglob("*.css"):
        styles = path.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\([\"']?(https?:)?//", styles), path.name


def test_nothing_is_written_beside_the_site(built):
    assert [path.name for path in built.parent.iterdir()] == [built.name]


def test_every_local_file_that_a_page_loads_is_there(built):
    for path in built.rglob("*.html"):
        for address in LOADED.findall(path.read_text(encoding="utf-8")):
            if not address.startswith(("data:", "#")):
                assert (path.parent / html.unescape(address.split("?")[0])).resolve().exists(), (path.name, address)


def test_every_link_within_the_site_leads_somewhere(built):
    pages = {path.resolve(): path.read_text(encoding="utf-8") for path in built.rglob("*.html")}
    names = {path: set(re.findall(r"\bid=\"([^\"]+)\"", source)) for path, source in pages.items()}
    for path, source in pages.items():
        for link in map(html.unescape, re.findall(r"<a\b[^>]*?\bhref=\"([^\"]*)\"", source)):
            if not re.match(r"\w+:", link):
                address, _, anchor = link.partition("#")
                goal = (path.parent / address).resolve() if address else path
                assert goal.exists() and (not anchor or anchor in names[goal]), (path.name, link)


def test_the_first_page_asks_every_question_and_the_pages_follow_in_order(built):
    shown, path, order = page(built, "index"), built / "index.html", []
    for source in map(read_notebook, NOTEBOOKS):
        assert source.notebook.cells[0].source.splitlines()[0].removeprefix("# ") in text_of(shown)
    while following := re.search(r"class=\"next-page\" href=\"([^\"]+)\"", path.read_text(encoding="utf-8")):
        path = (path.parent / following[1]).resolve()
        order.append(path.stem)
    pages = (
        "method",
        "findings",
        "reproducibility",
        "datasheet",
        "tried",
        "glossary",
        "teaching",
        "data",
        "targets",
        "figures",
        "api",
        "labkit",
    )
    own = [*(path.stem for path in NOTEBOOKS), *pages]
    assert order[: len(own)] == own and all(name.startswith("labkit.") for name in order[len(own) :])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_shown_with_figures_formulas_and_folded_solutions(built, path):
    source, shown = read_notebook(path), page(built, f"notebooks/{path.stem}")
    cells = source.notebook.cells
    pictures = sum("image/png" in o.get("data", {}) for cell in cells for o in cell.get("outputs", []))
    assert len(re.findall(r"<img[^>]+_images/", shown)) >= pictures
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    formulas = len(re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", prose))
    article = re.search(r"<article.*?</article>", shown, re.DOTALL)[0]  # beside it headings stand once more
    assert len(re.findall(r"<math\b", article)) == formulas
    assert shown.count("<summary>Solution</summary>") == len(read_exercises(source))
    assert cells[0].source.splitlines()[0].removeprefix("# ") in text_of(shown).replace("’", "'")


def words_of(page: str) -> list[tuple[str, str]]:
    """The anchor and the hover text of each word of the glossary that a page explains, in the order of the page."""
    links = re.findall(r'<a class="term [^>]*href="[^"]*glossary.html#([^"]+)" title="([^"]+)">', page)
    return [(anchor, html.unescape(meaning)) for anchor, meaning in links]


def test_words_of_the_glossary_are_explained_at_their_first_use(built):
    shown = page(built, "glossary")
    terms = re.findall(r'<dt id="([^"]+)">', shown)
    assert 20 < len(terms) <= 40
    used = set()
    for path in NOTEBOOKS:
        source = page(built, f"notebooks/{path.stem}")
        words = words_of(source)
        assert words and len(dict(words)) == len(words), "once a page"
        assert all(meaning in text_of(shown) for _, meaning in words)
        code = "".join(re.findall(r"<pre>.*?</pre>", source, re.DOTALL))
        assert 'class="term ' not in code, path.stem
        used |= {*dict(words)}
    assert [term for term in terms if term not in used] == []
    assert words_of(shown) == words_of(page(built, "api/labkit.model")) == []


def test_the_search_knows_notebooks_and_functions(built):
    index = json.loads((built / "searchindex.js").read_text(encoding="utf-8").partition("(")[2].rpartition(")")[0])
    found = index["terms"]["hallucin"]
    names = {index["docnames"][place] for place in (found if isinstance(found, list) else [found])}
    assert "notebooks/08_step3_hallucination" in names
    objects = {f"{module}.{entry[4]}" for module, entries in index["objects"].items() for entry in entries}
    assert {"labkit.losses.soft_targets", "labkit.model.Stream", "labkit.course.forms.build_course"} <= objects


def test_every_module_has_a_page_with_its_docstring_and_each_room_lists_its_own(built):
    for path in (ROOT / "labkit").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        if "site" in parts or path.stem == "__main__":
            continue
        words = re.findall(r"[A-Za-z]{3,}", path.read_text(encoding="utf-8").split('"""')[1])[:4]
        shown = text_of(page(built, f"api/{name}"))
        assert all(word in shown for word in words), name
        above = name.rpartition(".")[0]
        assert not above or f'href="{name}.html' in page(built, f"api/{above}"), name


def test_the_targets_page_holds_every_row_of_the_tables(built):
    shown = text_of(page(built, "targets"))
    for name, column in (("overview.csv", "target"), ("comparisons.csv", "name")):
        assert name in shown
        for row in pd.read_csv(ROOT / "figures" / name)[column].astype(str):
            assert row in shown


def test_the_figures_page_shows_every_figure_with_its_caption(built):
    shown = page(built, "figures")
    for path in (ROOT / "figures").glob("*.png"):
        assert f"_images/{path.name}" in shown
        with Image.open(path) as image:
            assert " ".join(image.info["Description"].split()).split("'")[0] in text_of(shown)
    for source in map(read_notebook, NOTEBOOKS):
        assert f'href="notebooks/{source.name}.html"' in re.search(r"<article.*?</article>", shown, re.DOTALL)[0]


def test_the_plan_names_every_notebook_once(built):
    marks = re.findall(r"<!-- timing: ([\d ]+) -->", (website.SITE / "teaching.md").read_text(encoding="utf-8"))
    planned = [number for mark in marks for number in mark.split()]
    assert len(marks) == 4 and len(set(planned)) == len(planned)
    assert {path.stem[:2] for path in NOTEBOOKS} <= set(planned)
    shown = text_of(page(built, "teaching"))
    assert all(shown.count(f"{path.stem} ") == 1 for path in NOTEBOOKS) and "<!--" not in shown


def test_no_page_shows_an_error_or_a_loose_mark(built):
    for path in built.rglob("*.html"):
        source = path.read_text(encoding="utf-8")
        assert 'class="system-message' not in source and "Traceback (most recent" not in source, path.name


# -- parts, on a small project -----------------------------------------------------------------------

EXERCISE = (
    "## Exercises\n\n**7.1** (open, difficulty 1 of 3, 15 minutes) Why?\n\n<details><summary>Hint</summary>\n\nSo.\n\n"
    "</details>\n\n<details><summary>Solution</summary>\n\n" + "many words " * 500 + "\n\n</details>\n\n"
    "<details><summary>Rubric</summary>\n\n- A cause is named.\n\n</details>"
)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of one notebook, two figures and two tables; the site without the modules."""
    return small_project(tmp_path, monkeypatch)


def small_project(tmp_path: Path, patch, *more: nbformat.NotebookNode) -> Path:
    """The notebook has `more` cells, too."""
    cut = shutil.copytree(website.SITE, tmp_path / "pages")
    (cut / "api.md").write_text("# Modules\n", encoding="utf-8")
    patch.setattr(website, "SITE", cut)
    prose = ("# Why?\n\n" + "word " * 397, EXERCISE)
    cells = [*map(nbformat.v4.new_markdown_cell, prose), *more]
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    nbformat.write(notebook, tmp_path / "notebooks" / "00_question.ipynb")
    (tmp_path / "figures").mkdir()
    for name in ("overview.png", "claims.png"):  # those that pages show
        (tmp_path / "figures" / name).write_bytes((ROOT / "figures" / name).read_bytes())
    table = pd.DataFrame({"target": ["a|b", "c"], "ours": [71.26, None], "p": [0.00012, 0.25], "n": [3, 4]})
    for name in ("overview", "comparisons"):
        table.to_csv(tmp_path / "figures" / f"{name}.csv", index=False)
    return tmp_path


def test_a_word_is_linked_once_and_neither_in_code_nor_in_a_title(project):
    path = project / "notebooks" / "00_question.ipynb"
    notebook = nbformat.read(path, as_version=4)
    said = "`teacher` and two-stream: a Teacher, *teachers*, a soft label."
    notebook.cells[0].source = f"# What does a teacher say?\n\n{said}"
    nbformat.write(notebook, path)
    shown = page(website.build_site(project, project / "site").parent, "notebooks/00_question")
    words = re.findall(r'glossary.html#(term-[^"]+)" title="[^"]+">([^<]+)</a>', shown)
    assert words == [("term-teacher", "Teacher"), ("term-soft-labels", "soft label")]


def test_time_is_counted_from_words_labels_and_records(project):
    source = read_notebook(project / "notebooks" / "00_question.ipynb")
    assert website.time_notebook(source, project) == (3, 15, None)  # folded words are not read
    status = project / "runs" / "notebooks" / "mini" / "00_question.status.json"
    status.parent.mkdir(parents=True)
    status.write_text('{"seconds": 90.0}', encoding="utf-8")
    assert website.time_notebook(source, project) == (3, 15, 1.5)


def test_a_small_project_has_a_site_that_replaces_the_one_before(project):
    out = project / "site"
    out.mkdir()
    for name in ("searchindex.js", "left over.html"):
        (out / name).write_text("of the site before", encoding="utf-8")
    assert website.build_site(project, out) == out / "index.html"
    assert not (out / "left over.html").exists()
    shown = text_of(page(out, "targets"))
    assert "a|b 71.3 0.00012 3" in shown and "c – 0.25 4" in shown
    assert "00_question 3 min 15 min – together 3 min 15 min –" in text_of(page(out, "teaching"))


def test_a_warning_is_an_error_and_leaves_nothing(project):
    path = project / "notebooks" / "00_question.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source += "\n\n[gone](nowhere.md)"
    nbformat.write(notebook, path)
    with pytest.raises(LabError, match="nowhere") as caught:
        website.build_site(project, project / "site")
    assert "no warnings from Sphinx" in caught.value.reason
    assert not list(project.glob("*site*"))


def test_a_folder_of_something_else_is_not_replaced(project):
    with pytest.raises(LabError, match="an empty folder or a site"):
        website.build_site(project, project)
    assert (project / "notebooks" / "00_question.ipynb").exists()


def test_the_extra_is_named_where_it_is_missing(project, monkeypatch):
    monkeypatch.setattr(website, "NEEDED", ("sphinx", "no_such_module"))
    with pytest.raises(LabError, match=r"no no_such_module.*\[site\]"):
        website.build_site(project, project / "site")


# -- explorers without a kernel ----------------------------------------------------------------------


def swatches() -> View:
    """A picture that tells its setting by its colour; how far "green" goes depends on "red"."""

    def draw(settings):
        figure, [[axes]] = new_figure(1, 1)
        figure.set_facecolor((settings[0]["red"] / 2, settings[0]["green"] / 2, settings[0]["kind"] == "bright"))
        axes.set_axis_off()
        return figure

    controls = {"kind": Choice("kind of light", ("dark", "bright")), "red": Range("red", 0, 2, start=1),
                "green": Range("green", 0, lambda setting: setting["red"])}  # fmt: skip
    return View(draw, controls, [{}], {"red": (0, 1, 2), "green": (0, 1, 2)})


def shown_cell(source: str) -> nbformat.NotebookNode:
    """A code cell that left a picture, one that moves."""
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(buffer, "png", save_all=True, append_images=frames[1:])
    picture = {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    output = nbformat.v4.new_output("display_data", picture)
    return nbformat.v4.new_code_cell(source, outputs=[output])


@pytest.fixture(scope="module")
def explored(tmp_path_factory, patch) -> Path:
    """A small site with an explorer and the method's, in a notebook and on its own page."""
    cells = map(shown_cell, ('view.show(lab, "00_light", "A light.")', "stepper.show(3)", 'a["method"], "00_light_2"'))
    home = small_project(tmp_path_factory.mktemp("explored"), patch, *cells)
    swatches().save_frames(home / "figures" / "explorers" / "00_light")
    return website.build_site(home, home / "site").parent


def test_an_explorer_stands_under_its_picture_and_the_step_in_place_of_it(explored):
    shown = page(explored, "notebooks/00_question")
    found = re.findall(r'<div class="explorer" data-frames="([^"]+)" data-about="([^"]+)"( data-instead)?>', shown)
    assert [(frames.rpartition("/")[2], bool(instead)) for frames, _, instead in found] == [
        ("00_light", False), ("method", True)]  # fmt: skip
    assert len(re.findall(r"<img[^>]+_images/", shown)) == 3, "every picture of a cell stays in the page"
    about = json.loads(html.unescape(found[0][1]))
    assert [(c["label"], c["options"], c["start"]) for c in about["controls"]] == [
        ("red", ["0", "1", "2"], 1), ("green", ["0", "1", "2"], 0)]  # fmt: skip
    assert set(about["frames"]) == {"0-0", "1-0", "1-1", "2-0", "2-1", "2-2"}
    assert about["frames"]["2-1"] == "kind of light: dark, red: 2, green: 1"
    made = (explored / "_static" / "explorers" / "00_light").glob("*.webp")
    assert {path.stem for path in made} == {*about["frames"]}


def test_a_picture_that_moves_moves_on_the_site(explored):
    (path,) = [path for path in (explored / "_images").glob("*.png") if Image.open(path).size == (8, 8)]
    assert Image.open(path).n_frames == 2


@pytest.fixture(scope="module")
def chromium():
    if browser.find_chromium() is None:
        pytest.skip("no browser: install chromium")
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser.find_chromium())
        yield window
        window.close()


@pytest.fixture(params=["light", "dark"])
def opened(request, chromium, explored):
    """A page of the site, opened from its folder, as a file; what its scripts complain of is an error."""
    page = chromium.new_page(viewport={"width": 1280, "height": 720}, color_scheme=request.param)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("requestfailed", lambda request: errors.append(request.url))
    yield lambda name: page.goto(f"file://{explored}/{name}.html") and page
    page.close()
    assert errors == []


def test_the_sliders_of_an_explorer_change_its_picture(opened):
    page = opened("notebooks/00_question")
    box = page.locator(".explorer").first
    picture, sliders, told = box.locator("img"), box.locator("input"), box.locator("output")
    assert sliders.count() == 2 and told.all_inner_texts() == ["1", "0"]
    assert picture.get_attribute("alt") == "kind of light: dark, red: 1, green: 0"
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 120
    sliders.nth(0).press("ArrowRight")
    box.get_by_role("button", name="green: next").click()
    sliders.nth(1).press("ArrowRight")
    assert told.all_inner_texts() == ["2", "2"] and picture.get_attribute("src").endswith("/2-2.webp")
    assert box.get_by_role("button", name="green: next").is_disabled()
    sliders.nth(0).press("ArrowLeft")  # takes the other along, as with a kernel
    assert told.all_inner_texts() == ["1", "1"] and picture.get_attribute("src").endswith("/1-1.webp")
    assert box.locator(".words").inner_text() == picture.get_attribute("alt") == "kind of light: dark, red: 1, green: 1"


def test_the_method_is_walked_by_buttons_and_keys(opened):
    page = opened("method")
    box, seen = page.locator(".explorer"), []
    picture, following = box.locator("img"), box.get_by_role("button", name="step: next")
    for moment in MOMENTS:
        seen.append(picture.get_attribute("alt"))
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 800
        assert box.locator("output").inner_text() == str(moment)
        following.click() if following.is_enabled() else None
    assert seen == [moment.words for moment in MOMENTS]
    box.locator("input").press("ArrowLeft")
    assert picture.get_attribute("alt") == MOMENTS[-2].words
    box.locator("input").press("Home")
    assert picture.get_attribute("alt") == MOMENTS[0].words


def test_a_notebook_opens_at_its_own_step_and_shows_it_once(opened):
    page = opened("notebooks/00_question")
    box = page.locator(".explorer").nth(1)
    assert box.locator("img").get_attribute("alt") == moments_of(3)[0].words
    assert page.locator(".cell_output").nth(1).locator("img:visible").count() == 1
    assert page.locator(".cell_output").nth(0).locator("img:visible").count() == 2


@pytest.mark.parametrize("wide", [360, 1280])
def test_nothing_of_an_explorer_leaves_the_page(opened, wide):
    page = opened("method")
    page.set_viewport_size({"width": wide, "height": 720})
    for part in page.locator(".explorer img, .explorer .control, .explorer .words").all():
        place = part.bounding_box()
        assert place["x"] >= 0 and place["x"] + place["width"] <= wide
