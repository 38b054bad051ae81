"""Files and names of labkit that prose mentions: in notebooks, pages and docstrings, each of them exists."""

from __future__ import annotations

import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.cli import main as cli

ROOT = Path(__file__).resolve().parents[1]
PYTHON = sorted((ROOT / "labkit").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "labkit").rglob("*.md"), *(ROOT / "tests").rglob("*.md")])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FILES = [f"/{path.relative_to(ROOT).as_posix()}" for path in [*PYTHON, *(ROOT / "tests").rglob("*.py")]]

PATH = re.compile(r"(?<![\w/.-])(?:labkit|tests|notebooks|figures)/[\w./-]*\w")
FILE = re.compile(r"(?<![\w/.-])[\w/]+\.py\b")
DOTTED = re.compile(r"(?<![\w/.-])labkit(?:\.[A-Za-z_]\w*)+")
COMMAND = re.compile(r"(?:`|\bbin/|^)labkit (?!is )([a-z|]+)(?: ([a-z|]+))?", re.MULTILINE)
PLACEHOLDER = re.compile(r"\b(?:NN_\w+|NAME|PROFILE|STEM)\b")
NO_NAMES = {  # or names of what is made later
    "tests/artefacts": "pictures of the browser tests, left out of git",
    "nbgrader_config.py": "written beside the nbgrader form",
    "labkit.json": "the file in a data root",
    "labkit.css": "the site's style sheet",
}


def text_of(path: Path) -> str:
    """A page as it is; of a notebook its cells, of a module its source, docstrings and comments included."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def is_named(dotted: str) -> bool:
    """Whether a dotted name leads to a module of labkit or to something in one."""
    try:
        pkgutil.resolve_name(dotted)
    except (ImportError, AttributeError):
        return False
    return True


def unknown(text: str) -> Iterator[str]:
    """The paths, file names and dotted names of labkit in a text that lead nowhere."""
    for name in sorted({*PATH.findall(text)} - NO_NAMES.keys()):
        if not PLACEHOLDER.search(name) and not list(ROOT.glob(f"{name}*")):
            yield name
    for name in sorted({*FILE.findall(text)} - NO_NAMES.keys()):
        if not PLACEHOLDER.search(name) and not any(file.endswith(f"/{name}") for file in FILES):
            yield name
    yield from (name for name in sorted({*DOTTED.findall(text)} - NO_NAMES.keys()) if not is_named(name))


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS, *PYTHON], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_named_exists(path):
    assert list(unknown(text_of(path))) == []


def commands(capsys, *group: str) -> set[str]:
    """The commands that `labkit GROUP --help` lists."""
    with pytest.raises(SystemExit):
        cli.main([*group, "--help"])
    (listed,) = re.findall(r"^usage: .*\{([a-z,]+)\}", capsys.readouterr().out, re.MULTILINE)
    return set(listed.split(","))


def test_commands_that_pages_name_exist(capsys):
    known = {(): commands(capsys), ("data",): commands(capsys, "data"), ("course",): commands(capsys, "course")}
    assert "reproduce" in known[()] and "check" in known["data",] and "site" in known["course",]
    for path in [*PAGES, *NOTEBOOKS]:
        for first, second in COMMAND.findall(text_of(path)):
            assert set(first.split("|")) <= known[()], path
            assert (first,) not in known or set(second.split("|")) <= known[first,], path


def test_a_name_that_leads_nowhere_is_seen():
    text = "see labkit/losses.py, `labkit/nothing.py`, nothing.py, labkit.losses.soft_targets, labkit.losses.gone"
    assert list(unknown(text)) == ["labkit/nothing.py", "labkit/nothing.py", "nothing.py", "labkit.losses.gone"]
