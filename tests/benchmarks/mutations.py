"""How sharp the tests are: `python tests/benchmarks/mutations.py [--count 100] [--seed 0] [--jobs 1] [--only ...]`.

Draws single changes in the front room, the statistics and the parsers (a comparison, an operator, a number, a
condition turned round, a statement left out), makes each in a copy of the project, and runs the tests named for
the file, then `-m quick`. Prints every change that no test notices, and the share that is noticed. The goal is 90 %.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

HOME = Path(__file__).resolve().parents[2]
TESTS = {  # a file, and the tests that are asked first
    "alignment": "alignment registration",
    "clips": "clips taught",
    "config": "cli trainers",
    "files": "runs puppets",
    "fit": "taught trainers golden",
    "lab": "trainers cli",
    "losses": "losses distillers",
    "model": "model backbones",
    "processes": "processes trainers",
    "runs": "runs trainers",
    "trainers": "trainers golden",
    "experiments/statistics": "statistics",
    "data/skeletons": "skeletons",
    "data/index": "sets own_data",
    "data/sets": "sets",
    "data/splits": "sets opening prepare",
    "data/video": "video prepare",
    "tools/settings": "cli",
}
SWAPS = {  # an operator as it is written, and what stands in its place
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"), ast.Mod: ("%", "*"), ast.Pow: ("**", "*"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    file: str
    line: int
    before: str
    after: str
    text: str  # the whole changed file

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {' '.join(self.before.split())}  ->  {' '.join(self.after.split())}"


def mutations(file: str) -> Iterator[Mutation]:
    """Every single change of a file that leaves it readable; see `walk`."""
    text = (HOME / file).read_text(encoding="utf-8")
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))

    def place(node: ast.AST, end: bool = False) -> int:
        line, column = (node.end_lineno, node.end_col_offset) if end else (node.lineno, node.col_offset)
        return len(text.encode()[: starts[line - 1] + column].decode())

    def made(node: ast.AST, first: int, last: int, after: str) -> Iterator[Mutation]:
        changed = text[:first] + after + text[last:]
        with suppress(SyntaxError):
            compile(changed, file, "exec")
            begin, end = place(node), place(node, end=True)
            now = changed[begin : end + len(changed) - len(text)]
            yield Mutation(file, node.lineno, text[begin:end], now, changed)

    for node in walk(ast.parse(text)):
        first, last = (place(node), place(node, end=True)) if hasattr(node, "lineno") else (0, 0)
        operator, sides = _operator(node)
        if operator in SWAPS:
            written, other = SWAPS[operator]
            between = place(sides[0], end=True), place(sides[1])
            at = text.index(written, *between)
            yield from made(node, at, at + len(written), other)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield from made(node, first, place(node.operand), "")
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield from made(node, first, last, repr(node.value + 1))
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield from made(node, first, last, repr(not node.value))
        elif isinstance(node, ast.If | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            first, last = place(node.test), place(node.test, end=True)
            yield from made(node.test, first, last, f"(not {text[first:last]})")
        elif isinstance(node, ast.Expr | ast.AugAssign | ast.Delete):
            yield from made(node, first, last, "pass")


def _operator(node: ast.AST) -> tuple[type | None, tuple[ast.AST, ast.AST]]:
    if isinstance(node, ast.Compare):
        return type(node.ops[0]), (node.left, node.comparators[0])
    if isinstance(node, ast.BinOp):
        return type(node.op), (node.left, node.right)
    if isinstance(node, ast.BoolOp):
        return type(node.op), (node.values[0], node.values[1])
    return None, (node, node)


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but messages of errors, annotations, docstrings and what only a type checker runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) or (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.BinOp) and ast.unparse(child.left).endswith(("path", "root", "folder")):
            continue  # a path, which no other operator takes
        if isinstance(child, ast.AnnAssign | ast.arg | ast.Assign) and isinstance(node, ast.ClassDef):
            continue  # a default of a dataclass: it is told in the run's name
        yield child
        yield from walk(child)


def noticed_by(mutation: Mutation, copy: Path, python: str) -> str:
    """The tests that notice it, "" if none does."""
    target = copy / mutation.file
    before = target.read_text(encoding="utf-8")
    target.write_text(mutation.text, encoding="utf-8")
    name = mutation.file.removeprefix("labkit/").removesuffix(".py")
    first = [f"tests/test_{each}.py" for each in TESTS[name].split()]
    seen = {**os.environ, "PYTHONPATH": str(copy)}  # by processes that tests start, too
    stages = {"its own": [each for each in first if (copy / each).exists()], "quick": ["-m", "quick"]}
    try:
        for stage, arguments in stages.items():
            command = [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "120", *arguments]
            try:
                done = subprocess.run(command, cwd=copy, env=seen, capture_output=True, timeout=900, check=False)
            except subprocess.TimeoutExpired:
                return stage
            if done.returncode == 1:
                return stage
            if done.returncode:
                return f"{stage}, as tests could not be read"
    finally:
        target.write_text(before, encoding="utf-8")
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(TESTS), help="files such as losses or data/video")
    chosen = parser.parse_args()
    files = [f"labkit/{name}.py" for name in chosen.only]
    every = [mutation for file in files for mutation in mutations(file)]
    drawn = random.Random(chosen.seed).sample(every, min(chosen.count, len(every)))
    copies: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(chosen.jobs) as pool:
        for number in range(chosen.jobs):
            copy = Path(folder) / str(number)
            shutil.copytree(HOME, copy, ignore=shutil.ignore_patterns(".git", ".venv", "runs", "data", "__pycache__"))
            shutil.copytree(HOME / "labkit" / "data", copy / "labkit" / "data", dirs_exist_ok=True)
            copies.put(copy)

        def judge(mutation: Mutation) -> str:
            copy = copies.get()
            try:
                found = noticed_by(mutation, copy, sys.executable)
            finally:
                copies.put(copy)
            print(f"{found or 'NOT NOTICED':12} {mutation}", flush=True)
            return found

        results = list(pool.map(judge, drawn))
    print(f"{sum(map(bool, results))} of {len(drawn)} changes noticed, drawn from {len(every)} in {len(files)} files")


if __name__ == "__main__":
    main()
