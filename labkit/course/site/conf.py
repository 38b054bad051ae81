"""Sphinx settings of the site. Nothing is executed, and no page asks the network for anything."""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes

import labkit
from labkit.course.slides import formula

project = "labkit"
release = labkit.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary"]
templates_path = ["templates"]
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "off"  # the outputs are those committed in the notebooks
nb_ipywidgets_js: dict = {}  # would be fetched from elsewhere; each interactive view has a static twin

html_theme = "furo"
html_title = "labkit"
html_static_path = ["static"]
html_css_files = ["labkit.css"]
html_js_files = ["explorer.js"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_search_summary = False  # would be fetched, which a browser refuses for pages opened from a folder
html_show_copyright = False
html_show_sphinx = False

highlight_language = "none"  # code says which language it is
smartquotes_action = "q"  # a double dash may be an option

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "undoc-members": True, "ignore-module-all": True}  # each name once
autodoc_typehints_format = "short"
_types = Path(labkit.__file__).with_name("model.py").read_text(encoding="utf-8")
# Clip stays Clip
autodoc_type_aliases = {name: name for name in re.findall(r"^(\w+) = (?:Float|Int)\[", _types, re.MULTILINE)}
python_maximum_signature_line_length = 88

_LAID_OUT = re.compile(r"^(\s|[-*] |\d\. )|\S {2,}\S|^\s*[-=]{4,}", re.MULTILINE)


def _plain(text: str) -> str:
    """Prose with `code` and single *stressed* words, in which nothing else means anything to reStructuredText."""
    parts = re.split(r"`+([^`]+)`+", text)
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = f"\\ ``{part.strip()}``\\ "
        else:
            escaped = re.sub(r"([\\*_|`])", r"\\\1", part)
            parts[place] = re.sub(r"(?<!\w)\\\*(\w+)\\\*(?!\w)", r"\\ *\1*\\ ", escaped)
    return "".join(parts)


def docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """The lab's docstrings are plain text: paragraphs flow; what is laid out (tables, lists, code) stays as it is."""
    made: list[str] = []
    laid_out = False
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).rstrip()):
        rows, before = paragraph.splitlines(), laid_out
        laid_out = bool(_LAID_OUT.search(paragraph))
        if laid_out:
            made += [*([] if before else ["::", ""]), *(f"   {row}" for row in rows), ""]
        else:
            made += [_plain(" ".join(row.strip() for row in rows)), ""]
    lines[:] = [] if made[:1] and made[0].startswith("Alias for field number") else made


def signature(app, what, name, obj, options, arguments, returns):
    """Type names as they stand in the code, inside other types, too; and a default that Python can read."""
    plain = (text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (arguments, returns))
    return tuple(text and text.replace("<factory>", "...") for text in plain)


def inline_math(translator, node) -> None:
    translator.body.append(formula(node.astext()))
    raise nodes.SkipNode


def block_math(translator, node) -> None:
    translator.body.append(f'<div class="math">{formula(node.astext(), "block")}</div>')
    raise nodes.SkipNode


_NO_PROSE = (nodes.FixedTextElement, nodes.literal, nodes.title, nodes.reference, nodes.math)  # the first holds code


def explain(app, doctree, docname: str) -> None:
    """Link the first use of each word of the glossary on a page, with its meaning as hover text."""
    if docname.partition("/")[0] in ("glossary", "api"):
        return
    meanings = {}
    for item in app.env.get_doctree("glossary").findall(nodes.definition_list_item):
        term, (meaning,) = item.next_node(nodes.term), item.findall(nodes.definition)
        address = app.builder.get_relative_uri(docname, "glossary") + f"#{term['ids'][0]}"
        meanings[term.astext().lower().removesuffix("s")] = {"refuri": address, "reftitle": meaning.astext()}
    for text in list(doctree.findall(nodes.Text)):
        if not _inside(text, _NO_PROSE):
            text.parent.replace(text, _explained(text.astext(), meanings))


def _inside(node, kinds: tuple[type, ...]) -> bool:
    return node.parent is not None and (isinstance(node.parent, kinds) or _inside(node.parent, kinds))


def _explained(text: str, meanings: dict[str, dict]) -> list[nodes.Node]:
    """The text with links where words of the glossary stand; a word that was found is taken out of `meanings`."""
    words = "|".join(map(re.escape, sorted(meanings, key=len, reverse=True)))
    found = re.search(rf"(?<![\w-])({words})s?(?![\w-])", text, re.IGNORECASE) if meanings else None
    if found is None:
        return [nodes.Text(text)]
    link = nodes.reference("", found[0], internal=True, classes=["term"], **meanings.pop(found[1].lower()))
    return [nodes.Text(text[: found.start()]), link, *_explained(text[found.end() :], meanings)]


def setup(app) -> None:
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("autodoc-process-docstring", docstring)
    app.connect("autodoc-process-signature", signature)
    app.connect("doctree-resolved", explain)
