"""A real JupyterLab and a real browser, used as a reader uses them: menus, clicks and keys."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Locator, Page
from smoke_home import environment

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_SECONDS, RUN_SECONDS, REDRAW_SECONDS = 180, 900, 120  # for a busy machine; a quiet one takes 5, 20 and 1
TOKEN = "notebooks"  # the server listens on this machine alone and ends with the tests
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # nothing from outside
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells out of sight stay in the page, too
    "docmanager-extension/plugin": {"autosave": False},
}


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def jupyterlab(home: Path, folder: Path) -> Iterator[str]:
    """The address of a server that shows `folder`; it and its kernels end with the block."""
    for name, values in SETTINGS.items():
        path = home / "jupyter-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
               f"--ServerApp.root_dir={folder}"]  # fmt: skip
    more = {"JUPYTERLAB_SETTINGS_DIR": str(home / "jupyter-settings"), "JUPYTER_TOKEN": TOKEN,
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "jupyter-workspaces")}  # fmt: skip
    log = home / "jupyterlab.log"
    with open(log, "wb") as written:
        server = subprocess.Popen(command, cwd=folder, env=environment(home, **more), stdout=written, stderr=written)
    try:
        yield _address(home, server, log)
    finally:
        server.terminate()  # it asks its kernels to end
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _address(home: Path, server: subprocess.Popen, log: Path) -> str:
    """Where the server answers: it takes the next free port and notes it down."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        for path in (home / "jupyter-runtime").glob("jpserver-*.json"):
            try:
                url = json.loads(path.read_text(encoding="utf-8"))["url"]
                urllib.request.urlopen(f"{url}api?token={TOKEN}", timeout=10).close()
                return url
            except (OSError, ValueError):
                pass  # half written, or not listening yet
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


def end_kernels(url: str) -> None:
    """As "Shut Down All Kernels" does: a notebook's kernel keeps some 500 MB."""
    with urllib.request.urlopen(f"{url}api/sessions?token={TOKEN}", timeout=60) as answer:
        sessions = json.load(answer)
    for session in sessions:
        request = urllib.request.Request(f"{url}api/sessions/{session['id']}?token={TOKEN}", method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()


IDLE = ".jp-NotebookPanel .jp-Notebook-ExecutionIndicator[data-status=idle]"
READY = re.compile(r"^Python 3 .*\| Idle$")
PROMPTS = "[...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')].map(p => p.innerText.trim())"
ENDED = f"() => document.querySelector('{IDLE}') && {PROMPTS}.every(text => text != '[*]:')"
LOADED = "() => !document.querySelector('.jp-Notebook').innerText.includes('Loading widget...')"


def run_all(page: Page, url: str, name: str) -> list[str]:
    """Open a notebook without outputs, Run > Run All Cells, wait until the kernel is idle; the cells' prompts."""
    page.goto(f"{url}lab/tree/{name}?reset&token={TOKEN}", timeout=1000 * START_SECONDS)
    page.wait_for_selector(IDLE, timeout=1000 * START_SECONDS)  # which it also is before it has a kernel
    page.locator("#jp-main-statusbar").get_by_text(READY).wait_for(timeout=1000 * START_SECONDS)
    page.locator(".lm-MenuBar-itemLabel").get_by_text("Run", exact=True).click()
    page.locator(".lm-Menu-itemLabel").get_by_text("Run All Cells", exact=True).click()
    page.wait_for_function(f"() => {PROMPTS}[0] != '[ ]:'", timeout=1000 * START_SECONDS)
    page.wait_for_function(ENDED, timeout=1000 * RUN_SECONDS)
    page.wait_for_function(LOADED, timeout=1000 * START_SECONDS)
    return page.evaluate(PROMPTS)


COMPLAINTS = {  # what it looks like, what it says
    "error or warning": ("[data-mime-type='application/vnd.jupyter.stderr']", r"(Error|Warning|Exception|Interrupt)\b"),
    "lost widget": (".jp-OutputArea-output", r"^Error (displaying|creating) widget"),
    "broken widget": (".jupyter-widgets-error-widget", ""),
    "red bar": (".jupyter-widgets .progress-bar-danger", ""),
}


def complaints(page: Page) -> list[str]:
    """What is wrong in a reader's eyes: tracebacks, warnings, widgets that could not be shown, bars that stopped.

    JupyterLab shows a traceback as it shows all of stderr, where progress may be told, too.
    """
    return [f"{kind}: {text[-1000:]}" for kind, (selector, says) in COMPLAINTS.items()
            for text in page.locator(f".jp-Notebook {selector}").all_inner_texts()
            if re.search(says, text)]  # fmt: skip


def views(page: Page) -> list[Locator]:
    """The outputs that hold a picture with its sliders (a progress bar holds neither; a bench draws when it trains)."""
    outputs = page.locator(".jp-Notebook .jp-OutputArea-output:has(.jupyter-widgets img):not(:has(.labkit-bench))")
    return [outputs.nth(number) for number in range(outputs.count())]


def run_cell(page: Page, words: str) -> Locator:
    """Run the code cell that holds these words; its outputs."""
    cell = page.locator(".jp-Notebook .jp-CodeCell").filter(has_text=words).first
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    return cell.locator(".jp-OutputArea")


def sliders(view: Locator) -> list[Locator]:
    handles = view.locator(".noUi-handle")
    return [handles.nth(number) for number in range(handles.count())]


PICTURE = """async image => {
    const digest = await crypto.subtle.digest('SHA-256', await (await fetch(image.src)).arrayBuffer());
    return [...new Uint8Array(digest)].join(' ');
}"""


def picture(view: Locator) -> str:
    """A digest of the bytes shown."""
    return view.locator("img").first.evaluate(PICTURE)


def move(slider: Locator) -> None:
    """One step by keyboard, to the right or, from the right end, to the left."""
    at_the_end = slider.get_attribute("aria-valuenow") == slider.get_attribute("aria-valuemax")
    slider.press("ArrowLeft" if at_the_end else "ArrowRight")


def changed(view: Locator, before: str) -> bool:
    """Whether another picture comes within the time of a redraw."""
    deadline = time.monotonic() + REDRAW_SECONDS
    while time.monotonic() < deadline:
        if picture(view) != before:
            return True
        time.sleep(0.1)
    return False
