"""A project folder with copies of the notebooks at profile smoke, for tests that execute them for real."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def copy_notebook(path: Path, folder: Path, *, outputs: bool) -> Path:
    """A copy at profile smoke, with the outputs as committed or with none."""
    notebook = nbformat.read(path, as_version=4)
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'profile = "mini"' in cell.source
    cell.source = cell.source.replace('profile = "mini"', 'profile = "smoke"')
    for cell in notebook.cells if not outputs else ():
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / path.name)
    return folder / path.name


def environment(home: Path, **more: str) -> dict[str, str]:
    """For kernels: the lab lies in `home`, and nobody's own settings of Jupyter or IPython count."""
    folders = {f"JUPYTER_{name}_DIR": str(home / f"jupyter-{name.lower()}") for name in ("CONFIG", "DATA", "RUNTIME")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LABKIT_", "JUPYTER"))}
    kept.pop("MPLBACKEND", None)  # set for the tests themselves; a kernel has its own
    return {**kept, **folders, "IPYTHONDIR": str(home / "ipython"), "LABKIT_HOME": str(home), **more}
