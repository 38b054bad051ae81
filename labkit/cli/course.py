"""`labkit course ...`: the course's notebooks and its site."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional
from tyro.extras import SubcommandApp

course = SubcommandApp()


@course.command
def build(out: Positional[Path | None] = None, /, home: Path | None = None) -> None:
    """Make the student, solution and nbgrader forms of all notebooks.

    Args:
        out: Folder for student/, solution/ and nbgrader/; by default HOME/build/course.
        home: The project folder; by default the one that holds notebooks/.
    """
    from ..course import forms as course
    from ..tools.home import find_home, find_notebooks

    base = find_home(home)
    folder = out or base / "build" / "course"
    written = course.build_course(find_notebooks(base), folder)
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
    from ..tools.home import find_home

    base = find_home(home)
    print(website.build_site(base, out or base / "build" / "site"))
