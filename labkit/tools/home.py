"""The project folder: where notebooks, data and runs lie."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import LabError


def find_home(home: str | os.PathLike | None = None) -> Path:
    """The project folder: it holds `notebooks/`, and `data/` and `runs/` go beside them.

    In this order: `home` when given, the variable LABKIT_HOME, the nearest folder from the working
    directory upward with numbered notebooks, the checkout this package was imported from, the working
    directory (as in Colab, where labkit is installed alone). LabError when the folder named does not exist.
    """
    named = home or os.environ.get("LABKIT_HOME")
    if named:
        if not Path(named).is_dir():
            make, found = ("", "a file") if Path(named).exists() else ("make it, or ", "nothing")
            fix = f"{make}name another with --home or LABKIT_HOME"
            raise LabError.mismatch(named, "a project folder", found, fix)
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / "notebooks").glob("[0-9][0-9]_*.ipynb")):
            return folder
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").exists() else here


def find_notebooks(home: Path) -> list[Path]:
    """The numbered notebooks, in order: those of `home`, else those of the checkout labkit runs from."""
    for folder in (home / "notebooks", Path(__file__).resolve().parents[2] / "notebooks"):
        if found := sorted(folder.glob("[0-9][0-9]_*.ipynb")):
            return found
    raise LabError.mismatch(
        home / "notebooks", "numbered notebooks", "none", "go to your copy of the lab, or pass --home DIR"
    )
