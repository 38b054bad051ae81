"""The slides of a week: one page of HTML with all that it shows, made from the notebooks.

What comes on slides is decided here alone, by `slides_of`: of a notebook its question and objectives, every formula
that stands by itself, every function and class that it defines, every guess where it is asked, every picture with
its caption, and the summary. Exercises and tables stay in the notebook.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from string import Template

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from ..files import write_text
from .notebooks import Source

TEMPLATES = Path(__file__).with_name("site") / "templates"
_GUESS = re.compile(r"\*(.+)\* \*\*.+\*\*\.", re.DOTALL)  # as `Guess.reveal` shows it
_WEEK = re.compile(r"<!-- timing: ([\d ]+) -->")
_HEADING = re.compile(r"^#+ (.+)\n*", re.MULTILINE)


def formula(text: str, display: str = "inline") -> str:
    """MathML in which both bars of a norm have one height, though only one of them carries an index."""
    return convert(text, display=display).replace("<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>')


def _math(text: str, options: Mapping[str, bool]) -> str:
    return formula(text, "block" if options["display_mode"] else "inline")


_MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=_math)


def to_html(text: str) -> str:
    """Markdown with dollar formulas as HTML, without a script."""
    return _MARKDOWN.render(text)


def weeks() -> list[list[str]]:
    """The numbers of the notebooks of each week, as the teaching plan has them."""
    plan = TEMPLATES.with_name("teaching.md").read_text(encoding="utf-8")
    return [numbers.split() for numbers in _WEEK.findall(plan)]


def write_slides(sources: Sequence[Source], folder: Path) -> list[Path]:
    """Write week-1.html and so on, as far as there are notebooks of a week; returns the paths."""
    written = []
    for week, numbers in enumerate(weeks(), start=1):
        if own := [source for source in sources if source.name[:2] in numbers]:
            written.append(folder / f"week-{week}.html")
            write_text(written[-1], deck(f"Week {week}", own))
    return written


def deck(title: str, sources: Sequence[Source]) -> str:
    """One page with the slides of these notebooks; it loads nothing."""
    slides = [f'<section>{slide}<footer>{escape(source.name)}</footer></section>'
              for source in sources for slide in slides_of(source)]  # fmt: skip
    light, dark = (HtmlFormatter(style=style).get_style_defs(".code") for style in ("default", "github-dark"))
    page = Template((TEMPLATES / "slides.html").read_text(encoding="utf-8"))
    return page.substitute(title=f"{title}: {', '.join(source.name for source in sources)}", slides="\n".join(slides),
                           light=light, dark=dark)  # fmt: skip


def slides_of(source: Source) -> Iterator[str]:
    """What comes on slides of a notebook, in its order, each slide as HTML."""
    heading, guesses = "", _guesses(source)
    for cell in source.notebook.cells:
        if cell.cell_type == "code":
            yield from _of_code(cell, heading, guesses)
            continue
        if "## Exercises" in cell.source:
            return
        if cell.source.startswith("# "):
            objectives = cell.source[cell.source.index("**After this notebook") :]
            yield _slide(_HEADING.match(cell.source)[1], to_html(objectives))
            continue
        parts = _HEADING.split(cell.source)  # text, heading, text, heading, text ...
        for found, text in zip([heading, *parts[1::2]], parts[::2], strict=True):
            heading = found
            if heading == "Summary":
                yield _slide(heading, to_html(text))
            elif formulas := re.findall(r"\$\$.+?\$\$", text, re.DOTALL):
                yield _slide(heading, to_html("\n\n".join(formulas)))


def _guesses(source: Source) -> Iterator[str]:
    """The questions of a notebook's guesses, in the order in which they are revealed, and so asked."""
    for cell in source.notebook.cells:
        for output in cell.get("outputs", []):
            if match := _GUESS.fullmatch(output.get("data", {}).get("text/markdown", "")):
                yield match[1]


def _of_code(cell: NotebookNode, heading: str, guesses: Iterator[str]) -> Iterator[str]:
    defined = [node for node in ast.parse(cell.source).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    if defined:
        yield _slide(heading, _code("\n\n\n".join(ast.get_source_segment(cell.source, node) for node in defined)))
    shown = [output.data for output in cell.outputs if "data" in output]
    words = [data.get("text/markdown", "") for data in shown]
    pictures = [place for place, data in enumerate(shown) if "image/png" in data]
    for guess in islice(guesses, cell.source.count(".ask()")):
        yield _slide(heading, f'<div class="guess">{to_html(guess)}</div>')
    for place in pictures:
        caption = words[place + 1] if place + 1 < len(words) and not _GUESS.fullmatch(words[place + 1]) else ""
        yield _slide(heading, _picture(shown[place]["image/png"], caption))


def _slide(heading: str, body: str) -> str:
    return f'<h2>{to_html(heading)}</h2><div class="body">{body}</div>'


def _code(source: str) -> str:
    """Code in letters that are as large as its lines allow."""
    coloured = highlight(source, PythonLexer(), HtmlFormatter(nowrap=True))
    return f'<pre class="code" style="--lines: {len(source.splitlines())}">{coloured}</pre>'


def _picture(png: str, caption: str) -> str:
    image = f'<img src="data:image/png;base64,{"".join(png.split())}" alt="">'
    return f"<figure>{image}<figcaption>{to_html(caption)}</figcaption></figure>"
