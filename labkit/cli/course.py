"""`labkit course ...`: the course's notebooks, slides and handout, its site, and all of it in one archive."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional
from tyro.extras import SubcommandApp

from ..tools import home as homes

course = SubcommandApp()


@course.command
def build(out: Positional[Path | None] = None, /, home: Path | None = None) -> None:
    """Make the student, solution and nbgrader forms of all notebooks, slides for each week and the handout of week 1.

    Args:
        out: Folder for student/, solution/, nbgrader/, slides/ and handout/; by default HOME/build/course.
        home: The project folder; by default the one that holds notebooks/.
    """
    from ..course import forms, handout, slides
    from ..course.notebooks import read_notebook

    base = homes.find_home(home)
    folder, notebooks = out or base / "build" / "course", homes.find_notebooks(base)
    written = forms.build_course(notebooks, folder)
    written += slides.write_slides([read_notebook(path) for path in notebooks], folder / "slides")
    written += handout.write_handout(folder)
    print(f"{len(written)} files in {folder}")


@course.command
def site(out: Positional[Path | None] = None, /, home: Path | None = None) -> None:
    """Build the site: notebooks with their outputs, targets, figures, teaching plan and modules; readable offline.

    Anything that Sphinx warns about is an error. Needs the extra: pip install -e ".[site]".

    Args:
        out: Folder of the site; by default HOME/build/site.
        home: The project folder; by default the one that holds notebooks/.
    """
    from ..course import website

    base = homes.find_home(home)
    print(website.build_site(base, out or base / "build" / "site"))


@course.command
def pack(out: Positional[Path | None] = None, /, profile: str = "mini", home: Path | None = None) -> None:
    """Put set, clip store, finished runs and the notebooks for students into one archive, for a class without network.

    Slides, handout and site go along where they are in HOME/build. Nothing of other data than the embedded set does.

    Args:
        out: The archive; by default HOME/build/course.tar.gz.
        profile: Whose set and runs: smoke, mini or paper.
        home: The project folder; by default the one that holds notebooks/.
    """
    from ..course.pack import pack_course

    base = homes.find_home(home)
    path = out or base / "build" / "course.tar.gz"
    print(f"{path}: {pack_course(base, path, profile) / 1e9:.2f} GB")
