"""In the browser: notebooks with widgets in a real JupyterLab, run from top to bottom, their sliders moved.

Screenshots are left in tests/artefacts, or in the folder that LABKIT_ARTEFACTS names.
"""

from __future__ import annotations

import os
from pathlib import Path

import browser
import nbformat
import pytest
from playwright.sync_api import sync_playwright
from smoke_home import NOTEBOOKS, copy_notebook

ARTEFACTS = Path(os.environ.get("LABKIT_ARTEFACTS") or Path(__file__).with_name("artefacts")).resolve()
CHOSEN = ("01", "02", "04", "07", "11", "12")  # those with something to turn
LIVE = (".live()", "scrubber(", "stepper.show(", ".show(lab")

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(browser.find_chromium() is None,
                       reason=f"no browser: install chromium (none of {', '.join(browser.NAMES)} is on the PATH)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(smoke_home):
    return smoke_home / "in-the-browser"


@pytest.fixture(scope="module")
def url(smoke_home, folder):
    folder.mkdir()
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    with browser.jupyterlab(smoke_home, folder) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser.find_chromium())
        yield window
        window.close()


@pytest.fixture
def page(chromium, url, request):
    page = chromium.new_page(viewport={"width": 1280, "height": 1000})
    yield page
    name = request.node.name.split("[")[-1].rstrip("]")
    page.screenshot(path=ARTEFACTS / f"{name}-last.png")  # what was seen last, whatever happened
    page.close()
    browser.end_kernels(url)


def find_notebook(number: str) -> Path:
    found = [path for path in NOTEBOOKS if path.stem.startswith(number)]
    return found[0] if found else pytest.skip(f"there is no notebook {number} yet")


@pytest.mark.parametrize("number", CHOSEN)
def test_run_all_and_every_slider_moves_its_picture(number, page, url, folder):
    path = copy_notebook(find_notebook(number), folder, outputs=False)
    prompts = browser.run_all(page, url, path.name)
    assert browser.complaints(page) == []
    assert prompts == [f"[{count}]:" for count in range(1, len(prompts) + 1)]
    cells = nbformat.read(path, as_version=4).cells
    views = browser.views(page)
    assert len(views) == sum(any(word in cell.source for word in LIVE) for cell in cells if cell.cell_type == "code")
    for place, view in enumerate(views, start=1):
        name = f"{path.stem}-widget{place}"
        view.scroll_into_view_if_needed()
        view.screenshot(path=ARTEFACTS / f"{name}.png")
        handles = browser.sliders(view)
        assert handles, name
        for nth, slider in enumerate(handles, start=1):
            before = browser.picture(view)
            browser.move(slider)
            assert browser.changed(view, before), f"{name}: slider {nth} leaves the picture as it was"
        view.screenshot(path=ARTEFACTS / f"{name}-moved.png")
    assert browser.complaints(page) == []


def test_a_reader_guesses_and_trains_on_the_bench(page, url, folder):
    path = copy_notebook(find_notebook("05"), folder, outputs=False)
    browser.run_all(page, url, path.name)
    matrix = page.locator(".jp-Notebook .jp-OutputArea-output:has(button[title*=' taken for '])").first
    matrix.scroll_into_view_if_needed()
    before = browser.picture(matrix)
    matrix.locator("button[title$=': 0']").first.click()
    assert browser.changed(matrix, before), "a click on the matrix leaves the clips as they were"
    matrix.screenshot(path=ARTEFACTS / "05-matrix.png")
    guess = page.locator(".labkit-guess").first
    guess.scroll_into_view_if_needed()
    browser.move(browser.sliders(guess)[0])
    guess.get_by_role("button", name="My guess").click()
    guess.get_by_role("button", name="Noted").wait_for()
    browser.run_cell(page, "perfect.reveal(").get_by_text("Your guess:").wait_for()
    bench = page.locator(".labkit-bench")
    bench.scroll_into_view_if_needed()
    before = browser.picture(bench)
    bench.get_by_role("button", name="Train").click()
    bench.get_by_text("of the validation clips").wait_for(timeout=1000 * browser.RUN_SECONDS)
    assert browser.changed(bench, before)
    bench.screenshot(path=ARTEFACTS / "bench.png")
    guess.screenshot(path=ARTEFACTS / "guess.png")
    assert browser.complaints(page) == []


WRONG = {
    "error or warning": "1 / 0",
    "lost widget": "display({'application/vnd.jupyter.widget-view+json': {'model_id': 'nobody'}}, raw=True)",
    "broken widget": """
import ipywidgets, traitlets
class Stranger(ipywidgets.DOMWidget):
    _model_module = _view_module = traitlets.Unicode("a-package-nobody-has").tag(sync=True)
    _model_module_version = _view_module_version = traitlets.Unicode("1.0.0").tag(sync=True)
    _model_name = _view_name = traitlets.Unicode("Stranger").tag(sync=True)
Stranger()""",
    "red bar": "ipywidgets.IntProgress(bar_style='danger')",
}


def test_what_is_red_is_seen(page, url, folder):
    cells = [nbformat.v4.new_code_cell(code, metadata={"tags": ["raises-exception"]}) for code in WRONG.values()]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "wrong.ipynb")
    assert browser.run_all(page, url, "wrong.ipynb") == [f"[{count}]:" for count in range(1, len(WRONG) + 1)]
    told = "\n".join(browser.complaints(page))
    assert [kind for kind in browser.COMPLAINTS if f"{kind}: " not in told] == [], told
