"""Rules of the house: reading order, safe and atomic reading and writing, readable code, one version."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import labkit

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "labkit").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PYTHON = sorted([*(ROOT / "labkit").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# -- rooms ---------------------------------------------------------------------------------------

# A room imports from itself and from the rooms named here; "" is the front room.
ROOMS = {
    "": (),
    "tools": ("",),
    "data": ("", "tools"),
    "puppets": ("", "tools", "data"),
    "analysis": ("", "tools", "data", "puppets", "experiments"),
    "experiments": ("", "tools", "data", "puppets"),
    "figures": ("", "tools", "data", "puppets", "experiments", "analysis"),
    "notebook": ("", "tools", "data", "puppets", "experiments", "analysis", "figures"),
    "export": ("", "tools", "data", "puppets", "experiments", "analysis"),
    "course": ("", "tools", "data", "puppets", "experiments", "analysis", "figures", "notebook"),
    "cli": ("", "tools", "data", "puppets", "experiments", "analysis", "figures", "notebook", "export", "course"),
}


def room_of(path: Path) -> str:
    inside = path.relative_to(ROOT / "labkit")
    return inside.parts[0] if len(inside.parts) > 1 else ""


def imported_rooms(path: Path) -> set[str]:
    """The rooms whose modules a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
        whole = [*above, *(node.module or "").split(".")] if node.module else [*above]
        if whole[:1] == ["labkit"]:
            names = whole[1:2] or [alias.name for alias in node.names]
            found |= {name if name in ROOMS else "" for name in names}
    return found


def test_every_folder_is_a_room():
    assert {room_of(path) for path in MODULES} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_imports_between_rooms_run_one_way(path):
    room = room_of(path)
    asked = {"puppets"} if path.name == "lab.py" and not room else set()  # `open_lab` asks, when called, for clips
    assert imported_rooms(path) <= {room, *ROOMS[room], *asked}


def test_a_folder_is_taken_in_at_a_glance():
    for folder in {path.parent for path in MODULES} - {ROOT / "labkit"}:
        assert len([path for path in MODULES if path.parent == folder and path.name != "__init__.py"]) <= 9, folder


@pytest.mark.parametrize("room", [room for room in ROOMS if room])
def test_a_room_says_what_it_is_for(room):
    docstring = ast.get_docstring(ast.parse((ROOT / "labkit" / room / "__init__.py").read_text(encoding="utf-8")))
    assert docstring and "mports" in docstring and "Start with" in docstring


def test_imports_are_seen_in_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "labkit" / "data" / "x.py"
    path.parent.mkdir(parents=True)
    path.write_text("from .a import x\nfrom ..figures import b\nfrom labkit.cli import d\nfrom .. import errors\n"
                    "def f():\n  from ..course.e import y", encoding="utf-8")  # fmt: skip
    assert imported_rooms(path) == {"data", "figures", "cli", "", "course"}


def test_importing_the_package_loads_nothing_heavy():
    heavy = {"torch", "torchvision", "numpy", "pandas", "cv2"}
    code = f"import labkit, sys; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# -- what must not be written --------------------------------------------------------------------

UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUNS_CODE = {"eval", "exec", "os.system", "os.popen", "yaml.load", "pd.read_pickle", "pandas.read_pickle"}
WRITERS = {
    "np.save", "np.savez", "np.savez_compressed", "np.savetxt", "torch.save", "json.dump", "cv2.imwrite",
    "save_file", "shutil.copy", "shutil.copyfile", "shutil.move", "os.rename", "os.replace",
}  # fmt: skip
WRITING_METHODS = {"write_text", "write_bytes", "savefig", "to_csv", "to_json", "to_pickle", "to_parquet"}


def findings(source: str, *, package: bool) -> list[str]:
    """What a file does that it must not.

    In the package, writing past `files.atomic_path` counts, too; what writes to a buffer, to a path
    named temporary, or as a lambda to the path it is handed, is somebody's atomic write already. A test
    that builds a hostile file says so on the line: `# hostile`.
    """
    tree, lines = ast.parse(source), source.splitlines()
    atomic = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
        or (isinstance(node, ast.With) and any("atomic_path" in ast.unparse(item) for item in node.items))
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        rules: list[str] = []
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            rules += [f"imports {name}" for name in names if name.split(".")[0] in UNPICKLERS]
        if isinstance(node, ast.Call):
            rules += [*_unsafe(node), *_without_encoding(node)]
            if package and id(node) not in atomic and not re.search(r"\b(temporary|buffer)\b", ast.unparse(node)):
                rules += _writes(node)
        if rules and (package or "# hostile" not in lines[node.lineno - 1]):
            found += [f"{node.lineno}: {rule}" for rule in rules]
    return found


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _keyword(call: ast.Call, name: str):
    """The value of a literal keyword argument; `...` for one that is no literal, None without it."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value.value if isinstance(keyword.value, ast.Constant) else ...
    return None


def _opens(call: ast.Call) -> str | None:
    """The mode when this call opens a file by name: `open(path, mode)` or `path.open(mode)`."""
    if _name(call) in ("open", "io.open"):
        modes = call.args[1:2]
    elif isinstance(call.func, ast.Attribute) and call.func.attr == "open":
        modes = call.args[:1]
        if modes and not re.fullmatch(r"'[rwxabt+]{1,3}'", ast.unparse(modes[0])):
            return None  # av.open(path), runs.open(spec)
    else:
        return None
    return modes[0].value if modes and isinstance(modes[0], ast.Constant) else _keyword(call, "mode") or "r"


def _unsafe(call: ast.Call) -> Iterator[str]:
    if _keyword(call, "shell") not in (None, False):
        yield "passes a command through the shell"
    if _name(call) in RUNS_CODE:
        yield f"{_name(call)} runs what it reads"
    if _name(call) == "torch.load" and _keyword(call, "weights_only") is not True:
        yield "torch.load without weights_only=True"
    if _name(call) == "np.load" and _keyword(call, "allow_pickle") not in (None, False):
        yield "allow_pickle"


def _without_encoding(call: ast.Call) -> Iterator[str]:
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    mode = _opens(call)
    text = (mode is not None and "b" not in mode) or method in ("read_text", "write_text")
    if text and not _name(call).startswith("files.") and _keyword(call, "encoding") is None:
        yield f"{_name(call)} without encoding"


def _writes(call: ast.Call) -> Iterator[str]:
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    mode = _opens(call)
    opened = mode is not None and set(mode) & set("wax+")
    to_file = method in WRITING_METHODS and not (method.startswith("to_") and not call.args)
    if (opened or to_file or _name(call) in WRITERS) and not _name(call).startswith("files."):
        yield f"{_name(call)} writes past labkit.files"


@pytest.mark.parametrize("path", PYTHON, ids=ids)
def test_python_files_keep_the_rules(path):
    package = path in MODULES and path.stem != "files"
    found = findings(path.read_text(encoding="utf-8"), package=package)
    if path.stem == "grading":  # there a student's answer is run, in a process of its own
        found = [one for one in found if not one.endswith(": exec runs what it reads")]
    assert found == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_notebooks_keep_the_rules(path):
    cells = json.loads(path.read_bytes())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"])
            plain = "".join(line for line in code.splitlines(True) if not line.lstrip().startswith(("%", "!")))
            assert findings(plain, package=False) == []


BAD = """
subprocess.run(c, shell=True); subprocess.run(c, shell=flag); eval(x); exec(x); os.system(c); import pickle
from pickle import load; import joblib.numpy_pickle; yaml.load(f); pd.read_pickle(p); torch.load(f)
torch.load(f, weights_only=False); torch.load(f, weights_only=flag); np.load(f, allow_pickle=True)
open(p); open(p, 'w'); p.open(); p.open(mode='w'); p.read_text(); p.write_text(t)
"""
BAD_IN_PACKAGE = """
open(p, 'wb'); open(p, mode='ab'); p.open('wb'); open(p, 'r+b'); p.write_bytes(b); np.save(p, a)
p.write_text(t, encoding='utf-8'); torch.save(a, p); fig.savefig(p); t.to_csv(p); save_file(t, p)
os.replace(p, q); json.dump(x, f); cv2.imwrite(p, a); t.to_json(p)
"""
GOOD = """
subprocess.run([c]); torch.load(f, weights_only=True); open(p, 'rb'); open(p, encoding='utf-8'); model.eval()
p.read_text(encoding='utf-8'); np.load(f, allow_pickle=False); files.write_text(p, t.to_csv(index=False))
av.open(p); Image.open(p); write_text(p, t); json.dumps(x); runs.open(spec)
self.save(name, lambda path: np.save(path, a)); (temporary / name).write_bytes(b); figure.savefig(buffer)
with atomic_path(p) as q, open(q, 'wb') as f: f.write(b)
with files.atomic_path(p) as q: np.save(q, a)
"""


def statements(listing: str) -> list[str]:
    return [code.strip() for code in listing.replace("\n", ";").split(";") if code.strip()]


@pytest.mark.parametrize("code", statements(BAD))
def test_the_rules_see_what_is_unsafe(code):
    assert findings(code, package=False)


@pytest.mark.parametrize("code", statements(BAD_IN_PACKAGE))
def test_the_rules_see_what_is_not_atomic(code):
    assert findings(code, package=True)


@pytest.mark.parametrize("code", statements(GOOD))
def test_the_rules_let_good_code_pass(code):
    assert findings(code, package=True) == []


# -- readable ------------------------------------------------------------------------------------


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public classes and functions with no docstring; functions of up to five lines speak for themselves."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            short = isinstance(node, ast.FunctionDef) and node.end_lineno - node.body[0].lineno < 5
            if ast.get_docstring(node) is None and not short:
                yield f"{node.lineno}: {node.name}"


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert list(undocumented(tree)) == []


@pytest.mark.parametrize("path", MODULES, ids=ids)
def test_modules_and_functions_fit_a_reader(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 500
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


# -- project files -------------------------------------------------------------------------------

SKIPPED = {".git", ".venv", "data", "runs", "build", "dist", "__pycache__", ".hypothesis", ".mypy_cache"}
TEXT = {".py", ".md", ".toml", ".yml", ".cff", ".ipynb", ".csv", ".svg", ".json", ".txt", ""}
SOMEBODYS_HOME = re.compile(r"/(?:home|Users)/[\w.-]+|/root/|[A-Z]:\\+Users\\|/work/|/tmp/pytest-")


def project_files() -> Iterator[Path]:
    for top in ROOT.iterdir():
        if top.name not in SKIPPED and not top.name.endswith(".egg-info") and not top.name.startswith(".ruff"):
            for path in [top] if top.is_file() else top.rglob("*"):
                if path.is_file() and path.suffix in TEXT and not SKIPPED & set(path.parts):
                    yield path


def test_no_file_names_anybodys_home():
    found = [
        f"{ids(path)}: {match.group()}"
        for path in project_files()
        if path != Path(__file__)
        for match in SOMEBODYS_HOME.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=ids)
def test_saved_outputs_hold_no_script(path):
    for cell in json.loads(path.read_bytes())["cells"]:
        for output in cell.get("outputs", []):
            text = json.dumps(output).lower()
            assert "application/javascript" not in text and "<script" not in text
            assert output["output_type"] != "error"


def test_the_version_stands_in_one_place():
    assert metadata.version("labkit") == labkit.__version__
    for name in ("pyproject.toml", "CITATION.cff", "environment.yml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not re.search(rf"(?<![\d.]){re.escape(labkit.__version__)}(?![\d.])", text), name


def test_ci_runs_the_command_of_the_readme():
    """The README's block after the marker is what CI runs: it makes an environment and runs the tests."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"<!-- test-command -->\s*```\w*\n(.*?)```", readme, re.DOTALL)
    assert "-m venv" in command and "[test]" in command and "pytest" in command


@pytest.mark.skipif(sys.platform == "win32", reason=".ci/run is for Linux and macOS")
@pytest.mark.parametrize(
    ("tests", "labkit", "status", "told"),
    [
        ("true", 'echo "00_a  up to date  0.1 s"', 0, ["README test command +ok", "all up to date +ok"]),
        (
            "false",
            'echo "00_a  up to date  0.1 s"',
            1,
            [r"README test command +failed \(1\)", "profile smoke +ok"],
        ),
        ("true", "exit 3", 1, [r"notebooks, profile smoke +failed \(3\)", r"site, warnings as errors +failed \(3\)"]),
        ("true", 'echo "00_a  ok  9.0 s"', 1, ["profile smoke +ok", r"all up to date +failed \(1\)"]),
        ("exit 4; true", "true", 1, [r"README test command +failed \(4\)"]),
    ],
)
def test_ci_fails_when_anything_fails(tmp_path, tests, labkit, status, told):
    """`.ci/run` itself, in a project whose README makes a stand-in for the environment."""
    project = tmp_path / "a project"
    (project / ".ci").mkdir(parents=True)
    (project / ".ci" / "run").write_bytes((ROOT / ".ci" / "run").read_bytes())
    script = f"mkdir -p .venv/bin && printf '#!/bin/sh\\n%s\\n' '{labkit}' > .venv/bin/labkit"
    make = f"{script} && chmod +x .venv/bin/labkit"
    readme = f"# x\n```\nfalse\n```\n<!-- test-command -->\n```bash\n{make}\n{tests}\n```\n```\nfalse\n```\n"
    (project / "README.md").write_text(readme, encoding="utf-8")
    done = subprocess.run(
        ["bash", project / ".ci" / "run"], capture_output=True, text=True, encoding="utf-8", timeout=60,
        env={name: value for name, value in os.environ.items() if name != "CI_DIR"},
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert all(re.search(line, done.stdout) for line in told), done.stdout
    assert not (project / ".venv").exists()  # it worked in a copy
