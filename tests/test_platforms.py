"""What stands in files that other systems read: Colab, Codespaces, pre-commit, GitHub Actions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
(RUFF,) = (item.partition("  ")[0] for item in PROJECT["optional-dependencies"]["test"] if item.startswith("ruff"))


def cells_of(path: Path, kind: str) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_bytes())["cells"] if cell["cell_type"] == kind]


# -- one click ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_badge_opens_this_notebook_in_colab(path):
    badge = cells_of(path, "markdown")[0].split("\n\n")[1]
    place = f"{ADDRESS.removeprefix('https://github.com/')}/blob/main/notebooks/{path.name}"
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    assert badge == f"[![Open in Colab]({picture})](https://colab.research.google.com/github/{place})"


class Shell(SimpleNamespace):
    """What `get_ipython()` gives, by the name of its class's module."""

    def __str__(self):
        return f"<{self.module}.Shell object>"

    def run_line_magic(self, *line):
        self.lines.append(line)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_in_colab_and_nowhere_else_labkit_is_installed_before_its_first_import(path):
    """With the extra that leaves Colab's own Jupyter alone."""
    lines, _, imports = cells_of(path, "code")[1].partition("\n\n")
    assert "labkit" not in cells_of(path, "code")[0] and "from labkit" in imports
    asked = {}
    for module in ("google.colab._shell", "ipykernel.zmqshell"):
        shell = Shell(module=module, lines=[])
        exec(lines, {"get_ipython": lambda shell=shell: shell})  # hostile
        asked[module] = shell.lines
    install = ("pip", f"install -q labkit[reproduce]@git+{ADDRESS}")
    assert asked == {"google.colab._shell": [install], "ipykernel.zmqshell": []}
    wanted = " ".join([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["reproduce"]])
    assert not re.search(r"jupyter|\bipy|nbformat|papermill|labkit", wanted)


def test_the_address_of_the_repository_stands_in_one_form():
    """A hosting place is named once, in pyproject.toml; where others must repeat it, they say the same."""
    for path in [*ROOT.glob("*.*"), *NOTEBOOKS, *(ROOT / "labkit").rglob("*.md"), *ROOT.glob(".*/**/*.*")]:
        if path.is_file() and path.suffix in {".md", ".yml", ".ipynb", ".cff", ".json", ".toml"}:
            text = path.read_text(encoding="utf-8")
            for name in re.findall(r"github\.(?:com|io)/([\w-]+/labkit)\b", text):
                assert ADDRESS.endswith(f"/{name}"), path


def test_codespaces_makes_the_environment_that_the_readme_names():
    made = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    version = re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:(3\.\d+)", made["image"])[1]
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    assert made["postCreateCommand"].endswith(".venv/bin/pip install -e '.[test]'")
    interpreter = made["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter == "${containerWorkspaceFolder}/.venv/bin/python"


# -- habits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=lambda command: command[0])
def test_the_tree_is_as_ruff_wants_it(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pre_commit_takes_the_ruff_of_the_tests():
    """Another release of ruff lays lines out otherwise."""
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"additional_dependencies: \[(.+)\]", text) == [RUFF] * 2 and "==" in RUFF


def test_the_lock_pins_with_hashes_what_pyproject_asks_for():
    """Made by the command in CONTRIBUTING.md; a pin below what pyproject.toml asks for is an old lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = {}
    for name, version, rest in re.findall(r"^([\w.-]+)==([\w.+]+)(.*(?:\n    .+)+)", text, re.MULTILINE):
        assert "--hash=sha256:" in rest, name
        pins.setdefault(name, []).append(version)
    assert "://" not in text
    extras = PROJECT["optional-dependencies"]
    for item in [*PROJECT["dependencies"], *(item for extra in extras.values() for item in extra)]:
        name, least = re.match(r"([\w-]+)(?:\[.+\])?(?:[>=]=([\d.]+))?", item).groups()
        found = pins.get(name.replace("_", "-"), ["0"])
        assert name == "labkit" or all(as_numbers(pin) >= as_numbers(least) for pin in found), item


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


# -- workflows ---------------------------------------------------------------------------------------


def test_workflows_cover_the_systems_and_pythons_that_are_claimed():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    assert set(texts) == {"check", "weekly", "site", "release"}
    pythons = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    (matrix,) = re.findall(r"python: \[(.+)\]", texts["check"])
    assert re.findall(r"[\d.]+", matrix) == pythons and f">={pythons[0]}" == PROJECT["requires-python"]
    assert "run: .ci/run\n" in texts["check"] and "macos-latest, windows-latest" in texts["check"]
    for text in texts.values():
        asked = {*re.findall(r"python(?:-version)?: \"(3\.\d+)\"", text)}
        assert asked <= {*pythons}
        assert all((ROOT / name).exists() for name in re.findall(r"notebooks/\w+\.ipynb", text))


def test_a_checkout_has_the_same_bytes_where_git_would_change_line_ends(tmp_path):
    """As git is set up on Windows."""
    (tmp_path / ".gitattributes").write_bytes((ROOT / ".gitattributes").read_bytes())
    (tmp_path / "table.csv").write_bytes(b"a,b\n1,2\n")
    options = ["-c", "core.autocrlf=true", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["rm", "-qrf", "."], ["reset", "-q", "--hard"]):
        subprocess.run(["git", *options, *words], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "table.csv").read_bytes() == b"a,b\n1,2\n"
