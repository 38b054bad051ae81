"""What the code imports is what pyproject.toml declares, and the conda environment says the same."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

PACKAGES = {
    "PIL": "pillow", "cv2": "opencv-python-headless", "IPython": "ipython", "jupyter_client": "jupyter-client",
    "markdown_it": "markdown-it-py", "mdit_py_plugins": "mdit-py-plugins",
}  # fmt: skip
BEYOND_THE_CORE = ("experiments", "figures", "notebook", "course")  # rooms that need the extra "notebooks"
NEVER_IMPORTED = {  # declared, and used without an import
    "jupyterlab": "readers open the notebooks with it; tests/browser.py starts it as a command",
    "sphinx": "labkit/course/website.py runs it as a command",
    "myst-nb": "a Sphinx extension, named in the site's conf.py",
    "furo": "the Sphinx theme, named in the site's conf.py",
    "pytest-timeout": "a pytest plugin; the limit stands in pyproject.toml",
    "pytest-xdist": "a pytest plugin; `pytest -n 2` runs test files in two processes",
    "nbval": "a pytest plugin, switched on by tests/test_saved_outputs.py",
    "ruff": "tests/test_platforms.py runs it as a command",
}


def name_of(requirement: str) -> str:
    return re.split(r"[\[><=]", requirement)[0]


def declared(*extras: str) -> set[str]:
    """Names in the core and in these extras; `labkit[site]` in a list stands for the extra's own."""
    found = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    for extra in extras:
        for requirement in EXTRAS[extra]:
            inner = re.fullmatch(r"labkit\[(.+)\]", requirement)
            found |= declared(*inner[1].split(",")) if inner else {name_of(requirement)}
    return found


def imported(source: str) -> tuple[set[str], set[str]]:
    """Packages from elsewhere that a file imports, and those that it imports by a string, as `need("onnx")`."""
    plain, named = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            plain |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            plain.add(node.module)
        elif isinstance(node, ast.Call) and re.search(r"\b(need|import_module|importorskip)$", ast.unparse(node.func)):
            named |= {value.value for value in node.args[:1] if isinstance(value, ast.Constant)}
    return packages(plain), packages(named)


def packages(modules: set[str]) -> set[str]:
    own = {"labkit", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    tops = {module.partition(".")[0] for module in modules} - own - sys.stdlib_module_names
    return {PACKAGES.get(top, top) for top in tops}


def sources(folder: str) -> Iterator[tuple[Path, str]]:
    """Every Python file and notebook below a folder, with its code."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path, path.read_text(encoding="utf-8")
    for path in sorted((ROOT / folder).glob("*.ipynb")):
        cells = json.loads(path.read_bytes())["cells"]
        lines = [line for cell in cells if cell["cell_type"] == "code" for line in [*cell["source"], "\n"]]
        yield path, "".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


FOUND = {path: imported(source) for folder in ("labkit", "notebooks", "tests") for path, source in sources(folder)}


def imported_below(*folders: str) -> set[str]:
    chosen = (found for path, found in FOUND.items() if path.relative_to(ROOT).parts[0] in folders)
    return set().union(*(plain | named for plain, named in chosen))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_imported_is_declared(path):
    plain, named = FOUND[path]
    extras = []
    if path.is_relative_to(ROOT / "tests"):
        extras = ["test"]
    elif path == ROOT / "labkit" / "notebook" / "space.py":
        extras = ["notebooks", "view3d"]
    elif not path.is_relative_to(ROOT / "labkit") or path.parent.name in BEYOND_THE_CORE:
        extras = ["notebooks"]
    elif path.is_relative_to(ROOT / "labkit" / "course" / "site"):
        extras = ["site"]
    elif path.is_relative_to(ROOT / "labkit" / "export"):
        extras = ["export"]
    assert plain | named <= declared(*extras)


@pytest.mark.parametrize(
    ("extra", "folders"),
    [
        ("", ("labkit",)),
        ("reproduce", ("labkit",)),
        ("notebooks", ("labkit", "notebooks")),
        ("export", ("labkit",)),
        ("view3d", ("labkit",)),
        ("site", ("labkit",)),
        ("test", ("tests",)),
    ],
    ids=["core", "reproduce", "notebooks", "export", "view3d", "site", "test"],
)
def test_what_is_declared_is_imported(extra, folders):
    wanted = {name_of(requirement) for requirement in (EXTRAS[extra] if extra else PROJECT["dependencies"])}
    assert wanted - imported_below(*folders) - {*NEVER_IMPORTED, "labkit"} == set()


def test_the_exceptions_are_declared_and_imported_nowhere():
    assert set(NEVER_IMPORTED) <= declared(*EXTRAS) - imported_below("labkit", "notebooks", "tests")


def test_an_import_is_seen_in_every_form():
    source = 'import os, torch.nn\nfrom PIL import Image\nfrom . import x\nfrom labkit import y\nneed("onnx")'
    assert imported(source) == ({"torch", "pillow"}, {"onnx"})


def test_the_conda_environment_is_that_of_pyproject():
    """conda brings Python and PyTorch, in pyproject's versions; pip installs labkit itself, and with it the rest."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    found = re.findall(r"^ +- (.+)$", text.partition("dependencies:")[2], re.MULTILINE)
    torch = [item.replace("torch>", "pytorch>") for item in PROJECT["dependencies"] if name_of(item) == "torch"]
    vision = [item for item in PROJECT["dependencies"] if name_of(item) == "torchvision"]
    assert found == [f"python{PROJECT['requires-python']}", "pip", *torch, *vision, "pip:", "-e .[notebooks]"]
