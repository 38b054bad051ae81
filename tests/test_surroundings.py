"""Where people run it: containers, batch systems, other people's folders and settings, odd file systems."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState, GradientState, PartialState
from ntu_files import write_clip
from test_series import run, short
from test_store import NAMES
from tiny import tiny_lab

from labkit import LabError, files, open_lab, processes
from labkit.config import ClipConfig
from labkit.data.prepare import prepare
from labkit.data.store import INDEX, ClipStore, shard_name, write_sealed, write_shard
from labkit.experiments import targets, trainings
from labkit.lab import launched_count
from labkit.puppets import opening
from labkit.runs import WEIGHTS, RunSpec
from labkit.tools import machine

HERE = Path(__file__).parent
GIB = 1 << 30

# -- the limits of a container -----------------------------------------------------------------------

GROUPS = {  # what a process reads of its groups; the files there; its cores and memory
    "version 2, the container's own tree": ("0::/", {"cpu.max": "150000 100000", "memory.max": str(3 * GIB)}, 2, 3),
    "version 2, a step of a batch job": (
        "0::/jobs/77/step",
        {"jobs/77/memory.max": str(5 * GIB), "jobs/77/step/memory.max": "max", "jobs/cpu.max": "max 100000",
         "jobs/77/step/cpu.max": "300000 100000", "memory.stat": "file 0"}, 3, 5),
    "version 1, a path from outside": (
        "5:cpu,cpuacct:/box/ab12\n4:memory:/box/ab12\n1:name=systemd:/box/ab12",
        {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000",
         "memory/memory.limit_in_bytes": str(2 * GIB)}, 1, 2),
    "version 1, controllers apart": (
        "5:cpu:/a\n4:memory:/a/b",
        {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000", "cpu/cpu.cfs_quota_us": "-1",
         "cpu/cpu.cfs_period_us": "100000", "memory/a/memory.limit_in_bytes": str(4 * GIB),
         "memory/a/b/memory.limit_in_bytes": "9223372036854771712"}, 4, 4),
    "no limit": ("0::/user", {"user/cpu.max": "max 100000", "user/memory.max": "max"}, 8, 64),
    "no control groups": (None, {}, 8, 64),
}  # fmt: skip


@pytest.mark.parametrize("kind", GROUPS)
def test_cores_and_memory_are_the_container_s(tmp_path, monkeypatch, kind):
    told, content, cores, memory = GROUPS[kind]
    for name, value in content.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n", encoding="utf-8")
    if told is not None:
        (tmp_path / "own").write_text(told + "\n", encoding="utf-8")
    monkeypatch.setattr(machine, "CONTROL_GROUPS", tmp_path / "tree")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_own_cores", lambda: 8)
    assert machine.available_cores() == cores
    assert machine.within_limits(64 * GIB) == memory * GIB
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    asked = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    machine.keep_to_share()
    assert asked == [cores] * (cores < 8) and os.environ.get("OMP_NUM_THREADS") == (str(cores) if cores < 8 else None)


# -- processes of somebody else ----------------------------------------------------------------------


def launch_of(count: int, rank: int) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port)}  # fmt: skip


@pytest.fixture
def fresh():
    """accelerate as in a process that has just begun."""

    def reset():
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    reset()
    yield
    reset()


@pytest.mark.parametrize("left_over", [
    {"WORLD_SIZE": ""}, {"WORLD_SIZE": "4"}, {"WORLD_SIZE": "four", "RANK": "0"}, {"RANK": "3", "LOCAL_RANK": "3"},
    {"WORLD_SIZE": "4", "RANK": "0", "MASTER_ADDR": "pod-0", "MASTER_PORT": "23456"},
    {"PMI_SIZE": "4", "PMI_RANK": "0", "ACCELERATE_USE_CPU": "true"},
])  # fmt: skip
def test_what_is_left_over_of_a_launch_is_no_launch(monkeypatch, fresh, left_over):
    for name, value in left_over.items():
        monkeypatch.setenv(name, value)
    assert launched_count() == 1
    assert processes.meet().num_processes == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_partner_that_does_not_come_is_told_in_a_line(monkeypatch, fresh, rank):
    assert 3 < processes.PARTNER_SECONDS <= 25, "told half a minute after the start"
    for name, value in launch_of(2, rank).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "PARTNER_SECONDS", 2)
    with pytest.raises(LabError, match=rf"none within 2 s for process {rank} of 2 at 127\.0\.0\.1:\d+") as caught:
        processes.meet()
    assert "unset WORLD_SIZE" in caught.value.fix


def test_who_only_looks_waits_for_nobody(tmp_path, monkeypatch):
    root = tmp_path / "set"
    for name in [*NAMES, "S001C001P003R001A006", "S001C001P003R001A013"]:  # whose person is tested
        write_clip(root, name)
    for name, value in launch_of(2, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "meet", lambda: pytest.fail("it waited for its partner"))
    lab = open_lab("smoke", home=tmp_path, data=root, progress=False)
    assert targets.state_of(targets.look(lab, ["depth"])["depth"]) == (None, "missing")


DISTURBING = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4", "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_DYNAMO_BACKEND": "EAGER", "ACCELERATE_USE_FSDP": "true", "ACCELERATE_USE_MEGATRON_LM": "true",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "true", "WORLD_SIZE": "3", "LOCAL_RANK": "0",
}  # fmt: skip


def test_variables_of_accelerate_change_no_bits(tmp_path, monkeypatch, fresh, capfd):
    def trained(root: Path) -> bytes:
        lab = tiny_lab(root, epochs=1)
        return trainings.make("rgb", lab, {}).artefact(WEIGHTS).read_bytes()

    before = trained(tmp_path / "plain")
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    for name, value in DISTURBING.items():
        monkeypatch.setenv(name, value)
    assert trained(tmp_path / "disturbed") == before
    told = capfd.readouterr().err
    assert "not used, since the profile decides it: ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4" in told
    assert PartialState().num_processes == 1


# -- file systems ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_nothing_can_be_synced_files_are_written(tmp_path, monkeypatch, number):
    def refused(file):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", refused)
    files.write_json(tmp_path / "a.json", [1])
    assert files.read_json(tmp_path / "a.json") == [1]
    number = errno.EIO
    with pytest.raises(LabError, match="cannot be written"):
        files.write_json(tmp_path / "a.json", [2])
    assert files.read_json(tmp_path / "a.json") == [1]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
@pytest.mark.filterwarnings("error:flock not supported")
def test_where_the_file_system_has_no_locks_files_stand_for_them(tmp_path, monkeypatch, capsys, number):
    fcntl = pytest.importorskip("fcntl")
    files._tell_soft.cache_clear()

    def refused(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    place = tmp_path / "run" / ".lock"
    for _ in range(2):
        with files.locked(place):
            assert files.is_locked(place)
        assert not files.is_locked(place)
    (told,) = capsys.readouterr().err.splitlines()
    assert "this folder has no locks" in told and "at a time" in told


KILLED = """
import errno, fcntl, os, sys
from labkit import files
def refused(file, operation):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = refused
with files.locked(sys.argv[1]):
    os._exit(9)
"""


def test_the_file_that_a_killed_process_left_for_a_lock_holds_nobody_up(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    place = tmp_path / ".lock"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(place)], capture_output=True, text=True, timeout=60,
                            check=False, env={**os.environ, "PYTHONPATH": str(HERE.parent)})  # fmt: skip
    assert killed.returncode == 9 and Path(f"{place}.soft").exists()
    assert killed.stderr.count("\n") == 1 and "has no locks; plain files stand for them" in killed.stderr

    def refused(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with files.locked(place):
        pass


@contextmanager
def another_user(*folders: Path):
    """Within, this process is nobody, to whom these folders may be read but not written to."""
    for path in [path for folder in folders for path in (folder, *folder.rglob("*"))]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    root = os.getuid() == 0
    if root:
        os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)
        for path in [path for folder in folders for path in (folder, *folder.rglob("*"))]:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def theirs():
    """A folder that every user can reach; pytest's own is for one."""
    if not hasattr(os, "setresuid"):
        pytest.skip("another user is had by setresuid")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_finished_store_of_another_user_is_read_and_a_changed_one_refused(theirs):
    root, config = theirs / "set", ClipConfig(size=16)
    for name in NAMES:
        write_clip(root, name)
    folder = opening.beside(root, "store")
    made = prepare(root, folder, config, progress=False)
    index = (folder / INDEX).read_bytes()
    with another_user(theirs):
        assert opening.beside(root, "store") == folder, "not made once more in a folder of one's own"
        again = prepare(root, folder, config, progress=False)
        assert again.fingerprint == made.fingerprint and again.built == 0
        with pytest.raises(LabError, match=r"cannot be written .*Permission denied"):
            prepare(root, folder, ClipConfig(size=8), progress=False)
        with pytest.raises(LabError, match="a folder that can be written to"):
            prepare(root, theirs / "new", config, progress=False)
    assert (folder / INDEX).read_bytes() == index


def test_a_finished_run_of_another_user_is_shown(theirs):
    lab = tiny_lab(theirs, epochs=1)
    accuracy = trainings.make("rgb", lab, {}).result
    with another_user(theirs):
        runs = targets.look(lab, ["rgb", "depth"])
        assert targets.state_of(runs["rgb"]) == (accuracy["outputs"], "done")
        assert targets.state_of(runs["depth"]) == (None, "missing")


def test_a_lock_in_a_folder_one_may_write_to_is_not_passed_over(theirs):
    place = theirs / "run" / ".lock"
    with files.locked(place):
        pass
    place.chmod(0o400)
    place.parent.chmod(0o777)
    if os.getuid() != 0:
        pytest.skip("a file of another user needs root to make")
    with another_user(), pytest.raises(LabError, match="a folder that can be written to"), files.locked(place):
        pass


def test_a_store_of_many_shards_needs_few_open_files(tmp_path):
    resource = pytest.importorskip("resource")
    pixels = {"rgb": np.zeros((1, 4, 4, 3)), "depth": np.zeros((1, 4, 4))}
    records = [{"id": f"clip{number:03d}", "sha256": {kind: f"{number}" for kind in pixels}} for number in range(150)]
    for record in records:
        write_shard(tmp_path, [(record, pixels)])
    write_sealed(tmp_path / INDEX, {
        "shards": [shard_name([record]) for record in records], "labels": [0] * 150, "class_names": ["a"],
        "excluded": {}, "config": {"modalities": [*pixels], "stored_frames": 1, "size": 4},
    })  # fmt: skip
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        store = ClipStore(tmp_path)
        for _ in range(2):
            assert store.rgb(range(150)).shape == (150, 1, 4, 4, 3) and store.depth(range(150)).shape == (150, 1, 4, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- a user's own settings ---------------------------------------------------------------------------

OTHER_LOOKS = {"text.usetex": True, "font.size": 30, "savefig.dpi": 10, "axes.prop_cycle": "cycler('color', ['r'])",
               "savefig.bbox": "tight", "axes.facecolor": "green"}  # fmt: skip


def test_a_figure_is_the_same_whatever_the_reader_s_matplotlibrc_says():
    import matplotlib

    from labkit.figures.style import new_figure, picture_bytes, styled

    @styled
    def draw():
        figure, [[axes]] = new_figure(3, 2)
        axes.plot([1, 2, 4], label="50 %")
        axes.legend()
        return figure

    plain = picture_bytes(draw(), "svg")
    with matplotlib.rc_context(OTHER_LOOKS):
        assert picture_bytes(draw(), "svg") == plain
        assert matplotlib.rcParams["font.size"] == 30, "the reader's own looks stay"


def test_a_backend_that_there_is_not_stops_no_command():
    code = "from labkit.cli.main import main; main(['settings']); import labkit.figures.style"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "MPLBACKEND": "nonsense"}, timeout=120,
                          capture_output=True, text=True, check=False, cwd=HERE.parent)  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_a_notebook_is_run_by_this_python_with_plain_looks(tmp_path, monkeypatch):
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    files.write_json(kernels / "kernel.json", {
        "argv": ["/no/such/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3 (of the cluster)", "language": "python",
    })  # fmt: skip
    files.write_text(tmp_path / "looks" / "matplotlibrc", "text.usetex: True\n")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "looks" / "matplotlibrc"))
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    monkeypatch.setenv("WORLD_SIZE", "4")
    seen = (
        "import matplotlib, sys\n"
        f"assert sys.executable == {sys.executable!r}\n"
        "assert (matplotlib.rcParams['text.usetex'], 'inline' in matplotlib.get_backend()) == (False, True)\n"
        "from labkit.lab import launched_count\n"
        "assert launched_count() == 1"
    )
    (record,) = run([short(tmp_path, 1, seen)], tmp_path / "out", {"profile": "x"})
    assert record.succeeded, record


# -- where the checkout lies, and what runs it -------------------------------------------------------


def test_an_installation_is_found_from_the_folder_that_holds_the_checkout(tmp_path):
    """An import hook of setuptools comes after the folders of sys.path, where the checkout looks like a package."""
    pytest.importorskip("setuptools")
    checkout = tmp_path / "labkit"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HERE.parent / name, checkout)
    shutil.copytree(HERE.parent / "labkit", checkout / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from setuptools.build_meta import build_editable as build; print(build('..'))"
    made = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True)
    place = tmp_path / "packages"
    with zipfile.ZipFile(tmp_path / made.stdout.split()[-1]) as wheel:
        wheel.extractall(place)
    look = f"import site; site.addsitedir({str(place)!r}); import labkit; print(labkit.__file__, labkit.__version__)"
    for above in (tmp_path, tmp_path / "packages"):
        found = subprocess.run([sys.executable, "-S", "-c", look], cwd=above, capture_output=True, text=True,
                               check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)})  # fmt: skip
        assert found.stdout.split()[:1] == [str(checkout / "labkit" / "__init__.py")], found.stderr


def test_a_run_keeps_its_name_under_another_python():
    """Canonical JSON decides it: this name was made by Python 3.11, and no Python, system or locale makes another."""
    config = {"seed": 0, "lr": 1e-3, "tiny": 1e-17, "third": 1 / 3, "rates": (0.1, 1e22), "none": None, "手": [True]}
    assert RunSpec("step1", config, "data", ("step0-ab",), version=2).id == "step1-122e39634dd0cfc8"
