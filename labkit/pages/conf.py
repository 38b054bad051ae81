"""Sphinx settings of the site. Nothing is executed, and no page asks the network for anything."""

from __future__ import annotations

import re

from docutils import nodes
from latex2mathml.converter import convert

import labkit

project = "labkit"
release = labkit.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"  # the outputs are those committed in the notebooks
nb_ipywidgets_js: dict = {}  # would be fetched from elsewhere; each interactive view has a static twin

html_theme = "furo"
html_title = "labkit"
html_static_path = ["static"]
html_css_files = ["labkit.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_search_summary = False  # would be fetched, which a browser refuses for pages opened from a folder
html_show_copyright = False
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True, "ignore-module-all": True}  # each name once
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in vars(labkit.types) if name[0].isupper()}  # Clip, not what it stands for
python_maximum_signature_line_length = 88

_LAID_OUT = re.compile(r"^(\s|[-*] |\d\. )|\S {2,}\S|^\s*[-=]{4,}", re.MULTILINE)


def _plain(text: str) -> str:
    """A line of prose with `code` in it, where nothing else means anything to reStructuredText."""
    parts = re.split(r"`+([^`]+)`+", text)
    marked = [f"\\ ``{part.strip()}``\\ " if place % 2 else re.sub(r"([\\*_|`])", r"\\\1", part)
              for place, part in enumerate(parts)]  # fmt: skip
    return "".join(marked)


def docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """The lab's docstrings are plain text: paragraphs flow; what is laid out (tables, lists, code) stays as it is."""
    made: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip()):
        rows = paragraph.splitlines()
        if _LAID_OUT.search(paragraph):
            made += ["::", "", *(f"   {row}" for row in rows), ""]
        else:
            made += [_plain(" ".join(row.strip() for row in rows)), ""]
    lines[:] = made


def inline_math(translator, node) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block_math(translator, node) -> None:
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app) -> None:
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", docstring)
