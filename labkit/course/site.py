"""The site: executed notebooks, figures, results and docstrings as pages that need no network.

The pages written by hand lie in `pages/`; the rest is made here, from what is committed. Nothing is executed.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from ..errors import LabError
from ..figures.style import PAGE, STYLE
from ..files import atomic_folder, read_json, write_bytes, write_text
from ..machine import find_notebooks
from .forms import links_outside, read_exercises
from .notebooks import Source, read_notebook

PAGES = Path(__file__).with_name("pages")
TABLES = ("targets-*.csv", "results*.csv", "comparisons*.csv")  # of figures/, each shown under its name
WORDS_PER_MINUTE = 200
PAGE_PIXELS = 860  # of a figure as wide as the page
TIMED = "mini"  # the profile whose seconds are shown
PACKAGE = Path(__file__).parents[1]
ROOMS = ("", "data", "puppets", "experiments", "analysis", "figures", "notebook", "course", "export", "cli")
NEEDED = ("sphinx", "myst_nb", "furo", "latex2mathml")
_FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)


def build_site(home: Path, out: str | os.PathLike, notebooks: list[Path] | None = None) -> Path:
    """Build the site of a project folder into OUT, all at once or not at all; returns its first page.

    Raises LabError when Sphinx is missing, when it has anything to warn about, or when OUT holds something
    that is no site and would be lost.
    """
    out = Path(out).resolve()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        fix = 'install the extra: pip install -e ".[site]"'
        raise LabError.mismatch(None, "the packages that build the site", f"no {', '.join(missing)}", fix)
    if out.exists() and not (out / "searchindex.js").exists() and (not out.is_dir() or any(out.iterdir())):
        raise LabError.mismatch(out, "an empty folder or a site", "something else", "name another folder")
    with tempfile.TemporaryDirectory() as scratch, atomic_folder(out) as temporary:
        write_sources(home, Path(scratch, "source"), notebooks)
        options = ["--fail-on-warning", "--keep-going", "--quiet", "--doctree-dir", f"{scratch}/doctrees"]
        pages = Path(scratch, "pages", "html")  # not in OUT: pictures of outputs are left beside the folder built
        command = [sys.executable, "-m", "sphinx", *options, f"{scratch}/source", str(pages)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            found = (done.stderr or done.stdout).replace(f"{scratch}/source/", "")
            raise LabError.mismatch(out, "no warnings from Sphinx", found, "mend the page or docstring it names")
        shutil.copytree(pages, temporary, dirs_exist_ok=True)
    return out / "index.html"


def write_sources(home: Path, folder: Path, notebooks: list[Path] | None = None) -> None:
    """Write all that Sphinx reads: settings, pages, notebooks, figures, tables, and one page a module."""
    sources = [read_notebook(path) for path in notebooks or find_notebooks(home)]
    write_bytes(folder / "conf.py", (PAGES / "conf.py").read_bytes())
    write_bytes(folder / "static" / "labkit.css", (PAGES / "labkit.css").read_bytes())
    for source in sources:
        write_bytes(folder / "notebooks" / source.path.name, source.path.read_bytes())
        for link in links_outside(source):
            write_bytes(folder / "notebooks" / link, (source.path.parent / link).read_bytes())
    pictures = sorted((home / "figures").glob("*.png"))
    for path in [*pictures, *(home / "figures").glob("*.csv")]:
        write_bytes(folder / "figures" / path.name, path.read_bytes())
    pages = {"index": _index(sources, home), "teaching": _teaching(sources, home), "targets": _targets(home),
             "figures": _figures(pictures, sources), "api": _modules()}  # fmt: skip
    pages |= {f"api/{name}": _module(name) for name in module_names()}
    for name, text in pages.items():
        write_text(folder / f"{name}.md", text)


def _page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def _index(sources: list[Source], home: Path) -> str:
    entries = "\n".join(f"{_menu_name(source)} <notebooks/{source.name}>" for source in sources)
    questions = [[f"[{_menu_name(source)}](notebooks/{source.name})", _question(source)] for source in sources]
    marks = {"notebooks": entries, "questions": _rows([["notebook", "question"], ["---", "---"], *questions]),
             "first": f"notebooks/{sources[0].name}",
             "results": _caption(home / "figures" / "results.png")}  # fmt: skip
    return re.sub(r"<!-- (\w+) -->", lambda mark: marks[mark[1]], _page("index"))


def _menu_name(source: Source) -> str:
    """ "05 step 1 streams" for 05_step1_streams."""
    words = re.sub(r"(?<=[a-z])(?=\d)", " ", source.name.replace("_", " "))
    return re.sub(r"\brgb", "RGB", words.replace("rgbd", "RGB-D"))


def _question(source: Source) -> str:
    return source.notebook.cells[0].source.splitlines()[0].removeprefix("# ")


# -- teaching ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    """Minutes that a notebook takes."""

    read: int
    exercises: int
    run: float | None  # of the last execution of the profile `mini`; None where there is no record


def time_notebook(source: Source, home: Path) -> Timing:
    """Reading at 200 words a minute (folded solutions aside), the exercises' own minutes, the recorded run."""
    prose = (_FOLDED.sub("", cell.source) for cell in source.notebook.cells if cell.cell_type == "markdown")
    words = sum(len(text.split()) for text in prose)
    minutes = sum(exercise.minutes for exercise in read_exercises(source))
    try:
        status = read_json(home / "runs" / "notebooks" / TIMED / f"{source.name}.status.json")
        run = status["seconds"] / 60
    except (LabError, KeyError, TypeError):
        run = None
    return Timing(-(-words // WORDS_PER_MINUTE), minutes, run)


def _teaching(sources: list[Source], home: Path) -> str:
    """The plan, each of its timing marks replaced by a table of the notebooks that it names and that exist."""
    by_number = {source.name[:2]: source for source in sources}

    def table(mark: re.Match) -> str:
        rows, total = [], Timing(0, 0, 0.0)
        for source in (by_number[number] for number in mark[1].split() if number in by_number):
            time = time_notebook(source, home)
            rows.append(_timing_row(f"[{source.name}](notebooks/{source.name})", time))
            total = Timing(total.read + time.read, total.exercises + time.exercises, (total.run or 0) + (time.run or 0))
        if not rows:
            return "*In preparation.*"
        heading = [["notebook", "read", "exercises", "run"], ["---", "--:", "--:", "--:"]]
        return _rows([*heading, *rows, _timing_row("**together**", total)])

    return re.sub(r"<!-- timing: ([\d ]+) -->", table, _page("teaching"))


def _timing_row(name: str, time: Timing) -> list[str]:
    return [name, f"{time.read} min", f"{time.exercises} min", f"{time.run:.1f} min" if time.run else "–"]


# -- results -----------------------------------------------------------------------------------------


def _targets(home: Path) -> str:
    """Every results table of figures/, as it was written."""
    paths = [path for pattern in TABLES for path in sorted((home / "figures").glob(pattern))]
    parts = [_page("targets")]
    for path in paths:
        title, link = path.stem.replace("-", " ").capitalize(), f"[{path.name}](figures/{path.name})"
        parts.append(f"## {title}\n\n{_table(pd.read_csv(path))}\n\nAs a file: {link}.")
    return "\n\n".join(parts) + "\n"


def _table(data: pd.DataFrame) -> str:
    """A Markdown table: numbers to the right, one decimal, three where all of a column are below one."""
    columns = {}
    for name, values in data.items():
        if pd.api.types.is_float_dtype(values):
            digits = 1 if values.abs().max() >= 1 else 3
            columns[name] = [_number(value, digits) for value in values]
        else:
            columns[name] = ["–" if pd.isna(value) else str(value).replace("|", "\\|") for value in values]
    ruler = ["--:" if pd.api.types.is_numeric_dtype(data[name]) else "---" for name in data]
    return _rows([list(columns), ruler, *zip(*columns.values(), strict=True)])


def _rows(rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _number(value: float, digits: int) -> str:
    if pd.isna(value):
        return "–"
    smallest = 10.0**-digits
    return f"< {smallest:g}" if 0 < value < smallest / 2 else f"{value:.{digits}f}"


def _caption(picture: Path) -> str:
    """What `style.save_figure` wrote into the file."""
    if not picture.is_file():
        raise LabError.mismatch(picture, "a figure", "none", "make it: labkit run")
    with Image.open(picture) as image:
        return " ".join(str(image.info.get("Description", picture.stem)).split())


def _figures(pictures: list[Path], sources: list[Source]) -> str:
    """First the figures that span the notebooks, then each notebook's own."""
    parts, numbers = [_page("figures")], [source.name[:2] for source in sources]
    parts += [_figure(path) for path in pictures if path.stem[:2] not in numbers]
    for number, source in zip(numbers, sources, strict=True):
        own = [_figure(path) for path in pictures if path.stem[:2] == number]
        if own:
            parts += [f"## {_menu_name(source)}", f"[{_question(source)}](notebooks/{source.name})", *own]
    return "\n\n".join(parts) + "\n"


def _figure(path: Path) -> str:
    """A figure as wide as in print, where a page is `style.PAGE` inches, and its caption."""
    text = _caption(path)
    if path.with_suffix(".csv").exists():
        text += f" Numbers: [{path.stem}.csv](figures/{path.stem}.csv)."
    with Image.open(path) as image:
        share = image.width / STYLE["savefig.dpi"] / PAGE
    width = round(min(share, 1) * PAGE_PIXELS)
    return f"```{{figure}} figures/{path.name}\n:alt: {path.stem}\n:width: {width}px\n\n{text}\n```"


# -- modules -----------------------------------------------------------------------------------------


def module_names() -> list[str]:
    """ "losses", "data.store", ...: the front room, then room by room."""
    folders = {room: PACKAGE / room for room in ROOMS}
    paths = {room: sorted(folder.glob("[!_]*.py")) for room, folder in folders.items()}
    return [f"{room}.{path.stem}".lstrip(".") for room, found in paths.items() for path in found]


def _modules() -> str:
    rows = [["module", "holds"], ["---", "---"]]
    for name in module_names():
        tree = ast.parse((PACKAGE / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8"))
        first = (ast.get_docstring(tree) or "").split("\n\n")[0]
        rows.append([f"[{name}](api/{name})", " ".join(first.split()).replace("|", "\\|")])
    return _page("api").replace("<!-- modules -->", _rows(rows))


def _module(name: str) -> str:
    """A page of its own, found from the list above and by search: so many would crowd the menu."""
    where = "*One of the [modules](../api.md).*"
    return f"---\norphan: true\n---\n\n# {name}\n\n{where}\n\n```{{eval-rst}}\n.. automodule:: labkit.{name}\n```\n"
