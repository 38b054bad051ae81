"""The site: one command, no warning, nothing fetched from elsewhere, everything found by search."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from PIL import Image

from labkit import LabError
from labkit.cli import main as cli
from labkit.course import website
from labkit.course.forms import read_exercises
from labkit.course.notebooks import read_notebook

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
    own = [*(path.stem for path in NOTEBOOKS), "findings", "teaching", "targets", "figures", "api", "labkit"]
    assert order[: len(own)] == own and all(name.startswith("labkit.") for name in order[len(own) :])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_shown_with_figures_formulas_and_folded_solutions(built, path):
    source, shown = read_notebook(path), page(built, f"notebooks/{path.stem}")
    cells = source.notebook.cells
    pictures = sum("image/png" in o.get("data", {}) for cell in cells for o in cell.get("outputs", []))
    assert len(re.findall(r"<img[^>]+_images/", shown)) >= pictures
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    formulas = len(re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", prose))
    assert len(re.findall(r"<math\b", shown)) == formulas
    assert shown.count("<summary>Solution</summary>") == len(read_exercises(source))
    assert cells[0].source.splitlines()[0].removeprefix("# ") in text_of(shown).replace("’", "'")


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
    "</details>\n\n<details><summary>Solution</summary>\n\n" + "many words " * 500 + "\n\n</details>"
)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of one notebook, two figures and two tables; the site without the modules."""
    cut = shutil.copytree(website.SITE, tmp_path / "pages")
    (cut / "api.md").write_text("# Modules\n", encoding="utf-8")
    monkeypatch.setattr(website, "SITE", cut)
    cells = [nbformat.v4.new_markdown_cell("# Why?\n\n" + "word " * 397), nbformat.v4.new_markdown_cell(EXERCISE)]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / "00_question.ipynb")
    (tmp_path / "figures").mkdir()
    for name in ("overview.png", "claims.png"):  # those that pages show
        (tmp_path / "figures" / name).write_bytes((ROOT / "figures" / name).read_bytes())
    table = pd.DataFrame({"target": ["a|b", "c"], "ours": [71.26, None], "p": [0.00012, 0.25], "n": [3, 4]})
    for name in ("overview", "comparisons"):
        table.to_csv(tmp_path / "figures" / f"{name}.csv", index=False)
    return tmp_path


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
