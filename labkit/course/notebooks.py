"""A notebook as it lies on disk, and the outputs of an executed copy brought back into it.

What must have run before stands in its metadata, where it needs anything:
`"labkit": {"needs": ["05_step1_streams"]}`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from ..errors import LabError
from ..files import read_json, write_text

BADGE = re.compile(r"\[!\[(Open in Colab)\]\(\S+?\)\](\(\S+\))\n\n")  # under a title: a picture from elsewhere, a link


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


def adopt_outputs(source: Source, executed: str | os.PathLike, figures: Collection[str] | None = None) -> None:
    """Write the outputs of an executed copy into the notebook itself, cell by cell, so that it reads well
    without a kernel. Cells are numbered as after "Restart and run all". With `figures`, by name, those of the cells
    that show one of them.

    Raises LabError when the copy has other cells.
    """
    copy = {cell.id: cell for cell in read_notebook(executed).notebook.cells}
    for number, cell in enumerate((c for c in source.notebook.cells if c.cell_type == "code"), start=1):
        if cell.id not in copy or copy[cell.id].source != cell.source:
            raise LabError.mismatch(executed, f"cell {cell.id} as in {source.path.name}", "another", "execute it again")
        if figures is not None and not any(f'"{name}"' in cell.source for name in figures):
            continue
        cell.outputs, cell.execution_count = copy[cell.id].outputs, number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    write_text(source.path, nbformat.writes(source.notebook) + "\n")
