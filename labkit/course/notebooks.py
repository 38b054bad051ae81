"""What a notebook declares: its parameters, what it needs, what it leaves; and the key of all that.

Needs and outputs stand in the notebook's metadata, both optional:
`"labkit": {"needs": ["05_step1_streams"], "outputs": ["table.csv"]}`.
"""

from __future__ import annotations

import ast
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from ..errors import LabError
from ..files import read_json, sha256_file, sha256_json, write_text


@dataclass(frozen=True)
class Source:
    """One notebook as it lies on disk."""

    path: Path
    notebook: NotebookNode

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def needs(self) -> list[str]:
        """Names of the notebooks that must have succeeded before."""
        return list(self.notebook.metadata.get("labkit", {}).get("needs", []))

    @property
    def outputs(self) -> list[str]:
        """Files it leaves, relative to its folder."""
        return list(self.notebook.metadata.get("labkit", {}).get("outputs", []))

    def parameters(self) -> dict[str, Any]:
        """Names and defaults in the cell tagged `parameters`; LabError where one is no plain literal.

        Read with Python's own parser: papermill's inspection goes by lines, drops one with a second
        "=" in its comment and cuts a string at "#".
        """
        tagged = [cell for cell in self.notebook.cells if "parameters" in cell.metadata.get("tags", [])]
        expected, fix = "`name = literal` lines in the parameters cell", "move the rest to the next cell"
        defaults: dict[str, Any] = {}
        try:
            statements = ast.parse(tagged[0].source).body if tagged else []
        except SyntaxError as error:
            raise LabError.mismatch(self.path, expected, f"a syntax error ({error})", fix) from error
        for line in statements:
            try:
                target = line.targets[0] if isinstance(line, ast.Assign) else line.target
                defaults[target.id] = ast.literal_eval(line.value)
            except (AttributeError, ValueError, TypeError):
                raise LabError.mismatch(self.path, expected, ast.unparse(line), fix) from None
        return defaults

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`given`, with whole numbers as floats where the default is one.

        Raises LabError for a name the notebook does not declare (papermill would only warn and run with
        the default) and for a value of another type than the default's.
        """
        defaults = self.parameters()
        for name, value in given.items():
            if name not in defaults:
                names = ", ".join(defaults) or "none"
                raise LabError.mismatch(
                    self.path, f"a parameter among {names}", repr(name), "correct the name"
                )
            if not _fits(value, defaults[name]):
                expected = f"{name} like its default {defaults[name]!r}"
                raise LabError.mismatch(self.path, expected, repr(value), "give a plain value of that type")
        return {
            name: float(value) if type(defaults[name]) is float else value for name, value in given.items()
        }


def _fits(value: Any, default: Any) -> bool:
    """Same plain type as the default, all the way down; a default of None takes any plain value."""
    if type(value) is dict and type(default) in (dict, type(None)):
        return all(type(key) is str and _fits(item, (default or {}).get(key)) for key, item in value.items())
    if type(value) is list and type(default) in (list, type(None)):
        return all(_fits(item, default[0] if default else None) for item in value)
    if type(value) is float and not math.isfinite(value):
        return False
    if default is None:
        return type(value) in (str, int, float, bool, type(None))
    plain = type(value) in (str, int, float, bool)
    return plain and (type(value) is type(default) or (type(value) is int and type(default) is float))


def read_notebook(path: str | os.PathLike) -> Source:
    """The notebook in a file; LabError when there is none or it is damaged."""
    path = Path(path).resolve()
    value = read_json(path)
    try:
        if not isinstance(value, dict) or value.get("nbformat") != 4:
            raise nbformat.ValidationError("this is not nbformat 4")
        nbformat.validate(value)
    except nbformat.ValidationError as error:
        found = " ".join(str(error).split())[:200]
        raise LabError.mismatch(path, "a notebook", found, "restore the file") from error
    return Source(path, nbformat.read(path, as_version=4))


def in_order(sources: Sequence[Source]) -> list[Source]:
    """The order given, but each notebook after those it needs.

    A need outside the series is taken as met when that notebook exists beside this one. Raises
    LabError for a need that names no notebook, for needs in a circle and for two notebooks of one name.
    """
    names = {source.name: source for source in sources}
    if len(names) < len(sources):
        raise LabError(None, "two notebooks of the series have the same name", "rename one of them")
    ordered: dict[str, Source] = {}

    def visit(source: Source, above: tuple[str, ...]) -> None:
        if source.name in above:
            circle = " -> ".join((*above, source.name))
            raise LabError(source.path, f"notebooks need each other: {circle}", "remove one of these needs")
        for need in source.needs:
            if need in names:
                visit(names[need], (*above, source.name))
            elif not source.path.with_name(f"{need}.ipynb").exists():
                fix = "correct metadata.labkit.needs"
                raise LabError.mismatch(source.path, "needs that name notebooks", repr(need), fix)
        ordered[source.name] = source

    for source in sources:
        visit(source, ())
    return list(ordered.values())


def adopt_outputs(source: Source, executed: str | os.PathLike) -> None:
    """Write the outputs of an executed copy into the notebook itself, cell by cell, so that it reads well
    without a kernel. Cells are numbered as after "Restart and run all".

    Raises LabError when the copy has other cells.
    """
    copy = {cell.id: cell for cell in read_notebook(executed).notebook.cells}
    for number, cell in enumerate((c for c in source.notebook.cells if c.cell_type == "code"), start=1):
        if cell.id not in copy or copy[cell.id].source != cell.source:
            raise LabError.mismatch(executed, f"cell {cell.id} as in {source.path.name}", "another", "execute it again")
        cell.outputs, cell.execution_count = copy[cell.id].outputs, number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    write_text(source.path, nbformat.writes(source.notebook) + "\n")


def code_hash() -> str:
    """Hash of labkit's own source."""
    package = Path(__file__).parents[1]
    return sha256_json({str(path.relative_to(package)): sha256_file(path) for path in sorted(package.rglob("*.py"))})


def make_keys(
    ordered: Sequence[Source], parameters: Mapping[str, Any], data_fingerprint: str
) -> dict[str, str]:
    """Notebook name -> hash of all its results depend on; outputs saved in the source do not count.

    That is: cells, kernel and declarations, parameters, the keys of its needs, labkit's code, the data,
    and the versions of Python and torch.
    """
    versions = [platform.python_version(), metadata.version("torch")]
    common = [dict(parameters), data_fingerprint, code_hash(), versions]
    keys: dict[str, str] = {}
    for source in ordered:
        cells = [
            [cell.cell_type, cell.source, cell.metadata.get("tags", [])] for cell in source.notebook.cells
        ]
        about = [source.notebook.metadata.get(name) for name in ("kernelspec", "labkit")]
        needs = [keys.get(need) for need in source.needs]
        keys[source.name] = sha256_json([cells, about, needs, common])
    return keys
