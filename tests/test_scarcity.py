"""A whole lab where something is missing: no network, no GPU, one core, 4 GB of memory, no shared memory.

Each makes a small set, prepares it and trains the four steps in a process of its own, and must come to the
bits of the lab that lacks nothing; where it cannot work, it says so in one line.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from labkit.cli import main as cli
from labkit.config import SMOKE, PuppetsConfig
from labkit.experiments.graph import run_graph
from labkit.lab import open_lab
from labkit.runs import PREDICTIONS, WEIGHTS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and namespaces as Linux has them")

PROFILE = replace(
    SMOKE,
    name="scarce",
    puppets=PuppetsConfig(subjects=(1, 2, 3), cameras=(1,), scale=12),
    clips=replace(SMOKE.clips, size=32, modalities=("rgb", "depth")),
    model=replace(SMOKE.model, width=8),
).steps(epochs=1, precision="fp32")
MEMORY = 4 << 30  # bytes a process may write to; code that is only mapped does not count
OWN = ["unshare", "--user", "--map-root-user", "--mount", "--net"]  # namespaces that need no rights
NO_SHARED_MEMORY = 'mount -t tmpfs -o size=4k none /dev/shm && exec "$@"'  # a page, and that is soon full


def lab(home: str) -> None:
    """From nothing to step 4, as `labkit reproduce` does it; leaves the runs in `home`."""
    import torch

    torch.set_num_threads(1)
    run_graph([(open_lab(PROFILE, home=home, progress=False), ["rgb_only"])]).check()


def main(home: str, cores: str) -> int:
    """The lab within limits that this process sets itself, ending as the command line does."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    cli.app.cli = lambda **_: lab(home)
    return cli.main(["reproduce"])


def start(home: Path, *prefix: str, cores: int = 2, **variables: str) -> subprocess.Popen:
    home.mkdir()
    command = [*prefix, sys.executable, __file__, str(home), str(cores)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LABKIT_")}
    return subprocess.Popen(command, env={**kept, **variables}, stderr=subprocess.PIPE, text=True)


def digests(home: Path) -> dict[str, str]:
    """SHA-256 of what each training of a lab left."""
    paths = [path for name in (WEIGHTS, PREDICTIONS) for path in home.glob(f"runs/*/{name}")]
    return {f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def in_namespaces() -> list[str]:
    """Before a command: neither network nor space in /dev/shm; skips where the system does not allow it."""
    prefix = [*OWN, "sh", "-c", NO_SHARED_MEMORY, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("this system gives no namespaces to whoever asks")
    return prefix


@pytest.fixture(scope="module")
def plenty(tmp_path_factory) -> dict[str, str]:
    """What the lab comes to that lacks nothing."""
    home = tmp_path_factory.mktemp("plenty") / "home"
    child = start(home)
    errors = child.communicate(timeout=300)[1]
    assert child.returncode == 0, errors
    found = digests(home)
    assert len(found) == 2 * 5, "weights and predictions of five trainings"
    return found


def test_offline_without_gpu_and_shared_memory_in_4_gb_one_core_comes_to_the_same_bits(tmp_path, plenty):
    child = start(tmp_path / "home", *in_namespaces(), cores=1, CUDA_VISIBLE_DEVICES="")
    errors = child.communicate(timeout=300)[1]
    assert child.returncode == 0, errors
    assert digests(tmp_path / "home") == plenty


def test_several_cores_without_shared_memory_come_to_the_same_bits_in_one_process(tmp_path, plenty):
    """Processes that share work wait for one another through locks in shared memory; without, one does it all."""
    child = start(tmp_path / "home", *in_namespaces(), cores=2, CUDA_VISIBLE_DEVICES="")
    errors = child.communicate(timeout=300)[1]
    assert child.returncode == 0, errors
    assert digests(tmp_path / "home") == plenty


def test_several_processes_that_are_asked_for_without_shared_memory_are_refused_by_name(tmp_path):
    code = ("from labkit.experiments.graph import run_graph; from tiny import tiny_lab\n"
            f"run_graph([(tiny_lab({str(tmp_path)!r}), ['depth', 'rgb'])], workers=2)")  # fmt: skip
    command = [*in_namespaces(), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    last = done.stderr.strip().splitlines()[-1]
    assert "expected shared memory for the locks of 2 worker processes, found none" in last and "--shm-size" in last


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
