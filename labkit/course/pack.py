"""The course in one archive, for a class without network: set, store, runs, notebooks for students and what was built.

Only what belongs to the embedded set goes in. A run counts when the hash of its clips and split is one that a training
has on that set; so no run on NTU RGB+D or on anybody's own recordings leaves the machine, and none of their clips.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import LabError
from ..experiments.graph import plan
from ..experiments.targets import IN_NOTEBOOKS, look, needs, possible
from ..experiments.trainings import TRAININGS
from ..files import atomic_path
from ..lab import DATA_VARIABLE, Lab
from ..puppets.opening import open_labs
from ..runs import TRAINING_VERSION, Run
from ..tools.home import find_notebooks
from .forms import build_course

FOLDER = "labkit-course"  # what the archive unpacks to
BUILT = ("course/slides", "course/handout", "site")  # in HOME/build
_START = """The course: notebooks without solutions, their data and their finished trainings.

labkit must be installed, see its README. Then, in this folder:

    labkit doctor
    jupyter lab notebooks

Slides, handout and site, as far as they are here, open in any browser.
"""


def pack_course(home: Path, out: Path, profile: str) -> int:
    """Write the archive of a project folder, for notebooks of this profile; returns its size in bytes.

    Raises LabError when a training that the notebooks read is missing, or LABKIT_DATA names other data.
    """
    if other := os.environ.get(DATA_VARIABLE):
        raise LabError.mismatch(other, "the embedded set alone", f"{DATA_VARIABLE} with other data", "unset it")
    labs = open_labs(profile, "all", home=home, progress=False, dry=True)  # whether or not the set is made
    targets = possible(labs[0], IN_NOTEBOOKS)
    if missing := plan(needs(targets, labs[:1])).nodes:
        expected, fix = f"all trainings that the notebooks read, profile {profile}", f"labkit run --profile {profile}"
        raise LabError.mismatch(labs[0].runs.root, expected, f"{len(missing)} missing", fix)
    with tempfile.TemporaryDirectory() as scratch, atomic_path(out) as temporary:
        build_course(find_notebooks(home), scratch)
        (Path(scratch) / "START.txt").write_text(_START, encoding="utf-8")
        with tarfile.open(temporary, "w:gz", compresslevel=1) as archive:
            for path, name in _files(home, labs, Path(scratch)):
                _add(archive, path, f"{FOLDER}/{name}")
    return out.stat().st_size


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file with its time to the nanosecond, by which a clip store knows that a clip is unchanged."""
    about = archive.gettarinfo(path, name)
    seconds, rest = divmod(path.stat().st_mtime_ns, 10**9)
    about.pax_headers = {"mtime": f"{seconds}.{rest:09d}"}
    about.uid = about.gid = 0
    about.uname = about.gname = ""
    with open(path, "rb") as file:
        archive.addfile(about, file)


def _files(home: Path, labs: list[Lab], scratch: Path) -> Iterator[tuple[Path, str]]:
    """Each file that goes in, and its name there; nothing that is half written, and no lock."""
    yield scratch / "START.txt", "START.txt"
    root = labs[0].root
    folders = {f"data/{path.name}": path for path in (root, *root.parent.glob(f"{root.name}-*"))}
    own = {run.spec.data for lab in labs for run in look(lab, TRAININGS).values() if isinstance(run, Run)}
    folders |= {f"runs/{run.id}": run.path for run in labs[0].runs.runs()
                if run.spec.data in own and run.spec.version == TRAINING_VERSION and run.done}  # fmt: skip
    folders |= {"notebooks": scratch / "student", "figures": home / "figures"}
    folders |= {Path(built).name: home / "build" / built for built in BUILT}
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path, f"{name}/{path.relative_to(folder).as_posix()}"
