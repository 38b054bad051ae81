"""The site: executed notebooks, figures, results and docstrings as pages that need no network.

The folder `site/` is a Sphinx project; what the lab has made is put beside its pages. Nothing is executed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

import nbformat
import pandas as pd
from nbformat import NotebookNode

from ..errors import LabError
from ..figures.method import MOMENTS, moments_of
from ..figures.style import caption_in
from ..files import atomic_folder, read_json, write_bytes, write_text
from ..notebook import stepper
from ..notebook.widgets import EXPLORER, EXPLORERS
from ..tools.home import find_notebooks
from .forms import links_outside, read_exercises
from .notebooks import BADGE, Source, read_notebook

SITE = Path(__file__).with_name("site")
WORDS_PER_MINUTE = 200
TIMED = "mini"  # the profile whose seconds are shown
NEEDED = ("sphinx", "myst_nb", "furo")
STEPPER = "method"  # the explorer that every site has
_SHOWN = re.compile(r"stepper\.show\((\d?)\)")
_FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)


def build_site(home: Path, out: str | os.PathLike) -> Path:
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
        write_sources(home, Path(scratch, "source"))
        options = ["--fail-on-warning", "--keep-going", "--quiet", "--no-color", "--doctree-dir", f"{scratch}/doctrees"]
        pages = Path(scratch, "pages", "html")  # not in OUT: pictures of outputs are left beside the folder built
        command = [sys.executable, "-m", "sphinx", *options, f"{scratch}/source", str(pages)]
        env = os.environ | {"PYTHONIOENCODING": "utf-8"}  # else Windows' own, which lacks letters of a warning
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=env)
        if done.returncode:
            found = (done.stderr or done.stdout).replace(f"{scratch}/source/", "")
            raise LabError.mismatch(out, "no warnings from Sphinx", found, "mend the page or docstring it names")
        shutil.copytree(pages, temporary, dirs_exist_ok=True)
    return out / "index.html"


def write_sources(home: Path, folder: Path) -> None:
    """Write all that Sphinx reads: the project in `site/`, the notebooks, figures with captions, rounded tables."""
    sources = [read_notebook(path) for path in find_notebooks(home)]
    shutil.copytree(SITE, folder)
    explorers = folder / "static" / EXPLORERS
    stepper.walk().save_frames(explorers / STEPPER)
    for made in home.glob(f"figures/{EXPLORERS}/*/{EXPLORER}"):
        shutil.copytree(made.parent, explorers / made.parent.name)
    for source in sources:
        write_text(folder / "notebooks" / source.path.name, nbformat.writes(with_explorers(source, explorers)))
        for name in links_outside(source):
            write_bytes(folder / "notebooks" / name, (source.path.parent / name).read_bytes())
    for path in [*home.glob("figures/*.png"), *home.glob("figures/*.csv")]:
        write_bytes(folder / "figures" / path.name, path.read_bytes())
    for name in ("overview", "comparisons"):
        table = pd.read_csv(home / "figures" / f"{name}.csv")
        write_text(folder / "rounded" / f"{name}.csv", table.to_csv(index=False, float_format="%.3g", na_rep="–"))
    _fill(folder / "teaching.md", r"<!-- timing: ([\d ]+) -->", lambda mark: _timings(sources, mark[1], home))
    _fill(folder / "method.md", f"<!-- explorer: {STEPPER} -->", lambda _: explorer_html(explorers / STEPPER, ""))
    _fill(folder / "figures.md", "<!-- figures -->", lambda _: _figures(home, sources))


def with_explorers(source: Source, explorers: Path) -> NotebookNode:
    """A notebook with an explorer under each picture that has one: a view's by its name, the method's by its step."""
    notebook, own = nbformat.from_dict(source.notebook), sorted(explorers.glob(f"{source.name[:2]}_*"))
    notebook.cells[0].source = BADGE.sub(r"[\1]\2\n\n", notebook.cells[0].source)  # a page fetches no picture
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        found = [explorer_html(path, "../") for path in own if f'"{path.name}"' in cell.source]
        if shown := _SHOWN.search(cell.source):
            start = MOMENTS.index(moments_of(int(shown[1]))[0]) if shown[1] else 0
            found.append(explorer_html(explorers / STEPPER, "../", start, instead=True))
        cell.outputs = [*cell.outputs, *(nbformat.v4.new_output("display_data", {"text/html": html}) for html in found)]
    return notebook


def explorer_html(folder: Path, up: str, start: int | None = None, *, instead: bool = False) -> str:
    """An explorer on a page: its first picture, and all that `explorer.js` needs. `up` leads to the site's folder.

    `start` is where its first slider begins; `instead`: it stands for the picture before it.
    """
    about = read_json(folder / EXPLORER)
    if start is not None:
        about["controls"][0]["start"] = start
    key = "-".join(str(control["start"]) for control in about["controls"])
    frames = f"{up}_static/{EXPLORERS}/{folder.name}"
    picture = f'<img src="{frames}/{key}.webp" alt="{escape(about["frames"][key])}">'
    data = f'data-frames="{frames}" data-about="{escape(json.dumps(about))}"{" data-instead" * instead}'
    return f'<div class="explorer" {data}>{picture}</div>'


def _fill(page: Path, mark: str, text) -> None:
    write_text(page, re.sub(mark, text, page.read_text(encoding="utf-8")))


def time_notebook(source: Source, home: Path) -> tuple[int, int, float | None]:
    """Minutes of reading (folded solutions aside), of the exercises, and of the last recorded run, if any."""
    prose = (_FOLDED.sub("", cell.source) for cell in source.notebook.cells if cell.cell_type == "markdown")
    words = sum(len(text.split()) for text in prose)
    minutes = sum(exercise.minutes for exercise in read_exercises(source))
    status = home / "runs" / "notebooks" / TIMED / f"{source.name}.status.json"
    return -(-words // WORDS_PER_MINUTE), minutes, read_json(status)["seconds"] / 60 if status.exists() else None


def _timings(sources: list[Source], numbers: str, home: Path) -> str:
    """A table of the notebooks with these numbers, as far as there are any."""
    rows = {f"[{source.name}](notebooks/{source.name}.ipynb)": time_notebook(source, home)
            for source in sources if source.name[:2] in numbers.split()}  # fmt: skip
    columns = zip((0, 0, 0), *rows.values(), strict=True)
    rows["**together**"] = tuple(sum(minutes or 0 for minutes in column) for column in columns)
    lines = [f"| {name} | {read} min | {exercises} min | {f'{run:.1f} min' if run else '–'} |"
             for name, (read, exercises, run) in rows.items()]  # fmt: skip
    return "\n".join(["| notebook | read | exercises | run |", "|---|--:|--:|--:|", *lines])


def _figures(home: Path, sources: list[Source]) -> str:
    """First the figures that span the notebooks, then each notebook's own."""
    pictures = {number: [] for number in ("", *(source.name[:2] for source in sources))}
    for path in sorted(home.glob("figures/*.png")):
        pictures[path.stem[:2] if path.stem[:2] in pictures else ""].append(_figure(path))
    headings = {source.name[:2]: f"## [](notebooks/{source.path.name})" for source in sources}
    return "\n\n".join("\n\n".join([headings.get(number, ""), *own]) for number, own in pictures.items() if own)


def _figure(path: Path) -> str:
    caption = " ".join(caption_in(path).split())
    if path.with_suffix(".csv").exists():
        caption += f" Numbers: [{path.stem}.csv](figures/{path.stem}.csv)."
    return f"```{{figure}} figures/{path.name}\n:alt: {path.stem}\n:scale: 60%\n\n{caption}\n```"
