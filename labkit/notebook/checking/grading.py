"""The grader of a checked exercise: the text of its answer, in a process of its own.

    python -IX utf8 -m labkit.notebook.checking.grading check_soft_targets my_soft_targets < TEXT

A student's kernel may hold another `checks` or another NumPy, so nothing of it is used but the text of the function.
Its syntax tree is judged first: an answer uses its arguments, Python, NumPy, PyTorch, einops and what is defined inside
it, and can name neither labkit nor the notebook. Then it is run and checked.

It does not see through an answer that holds labkit's lines, copied, that returns the right numbers of each case (the
cases are public), that finds a way through the insides of a library, or whose kernel has another `subprocess`.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import symtable
import sys
from collections.abc import Iterator

import einops
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...errors import LabError
from .. import checks

GIVEN = {"np": np, "torch": torch, "nn": nn, "F": F, "rearrange": einops.rearrange, "reduce": einops.reduce}
LIBRARIES = {"collections", "copy", "einops", "functools", "itertools", "math", "numpy", "torch"}
_BUILTINS = {
    "breakpoint", "compile", "eval", "exec", "getattr", "globals", "input", "locals", "open", "setattr", "vars",
}  # fmt: skip
_INSIDES = {"builtins", "ctypeslib", "f_back", "hub", "importlib", "inspect", "load", "os", "subprocess", "sys"}


def grade(check: str, function: str, source: str) -> None:
    """LabError unless `source` defines `function` by means that an answer may use, and passes `checks.<check>`."""
    name = f"the answer {function}"
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise LabError.mismatch(name, "Python", error.msg, "run the cell and mend what it says") from None
    if [getattr(node, "name", None) for node in tree.body] != [function]:
        raise LabError.mismatch(name, f"`def {function}(...)` with its lines", repr(source[:60]), "write it out")
    asked = getattr(checks, check)
    if refused := next(_refused(tree, source, asked.without), None):
        given = ", ".join(name for name in GIVEN if name not in asked.without)
        fix = f"use {given}, Python, and what you define inside the function"
        raise LabError.mismatch(name, "a function that stands by itself", f"`{refused}`", fix)
    names = dict(GIVEN)
    exec(compile(tree, name, "exec"), names)
    try:
        inspect.unwrap(asked)(names[function])
    except LabError:
        raise
    except (Exception, SystemExit) as error:
        fix = "call it on an example of your own"
        raise LabError.mismatch(name, "a value", f"{type(error).__name__}: {error}", fix) from error


def _refused(tree: ast.Module, source: str, without: set[str]) -> Iterator[str]:
    """What an answer may not use: names from outside, modules, ways around both, and what the task forbids."""
    insides = _INSIDES | without
    python = {name for name in vars(builtins) if not name.startswith("_")} - _BUILTINS
    outside = _names_from_outside(symtable.symtable(source, "answer", "exec"))
    yield from (name for name in outside if name not in {*GIVEN, *python, tree.body[0].name} - without)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [getattr(node, "module", None) or name for name in names]
            parts = {part for name in [*names, *modules] for part in name.split(".")}
            if getattr(node, "level", 0) or {name.split(".")[0] for name in modules} - LIBRARIES or parts & insides:
                yield ast.unparse(node)
        elif isinstance(node, ast.Attribute):
            changes = not isinstance(node.ctx, ast.Load) and ast.unparse(node).split(".")[0] in GIVEN
            if node.attr in insides or changes or (node.attr.startswith("_") and node.attr != "__init__"):
                yield ast.unparse(node)


def _names_from_outside(table: symtable.SymbolTable) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _names_from_outside(inner)


if __name__ == "__main__":
    try:
        grade(*sys.argv[1:], sys.stdin.read())
    except LabError as error:
        print(error)
        sys.exit(1)
