"""Lab after lab in one process, while others that want the same runs are killed: what piles up?

The same four steps in a new folder each time. Three threads start rivals, processes that train in that very
folder, and kill them at random; whoever survives goes on from what the dead left. Nothing may stay behind.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from filelock import FileLock
from test_trainers import digests, four_steps
from tiny import tiny_lab

from labkit import fit as fitting
from labkit.files import read_json, write_json
from labkit.runs import MANIFEST, RunStore

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes and their memory as Linux tells them")

KILLERS, WARM_UP, RUNS = 3, 2, 4
TIDYING = re.compile(r"\.manifest\.json\.\d+\.tmp|checkpoint-[\d-]+\.safetensors")
UNSEEN = 255  # what multiprocessing says of a process that was killed before it had told its number
LONGEST = 0.6  # seconds a rival lives; the four steps take about as long


def rival(root: str) -> None:
    """The four steps with a checkpoint after every optimizer step, which is when a kill leaves most behind."""
    torch.set_num_threads(1)
    fitting.CHECKPOINT_SECONDS = 0.0
    four_steps(tiny_lab(root))


def kill_rivals(root: str, over: threading.Event, seed: int, kills: list[int]) -> None:
    context, draw = multiprocessing.get_context("forkserver"), random.Random(seed)
    while not over.wait(draw.uniform(0, LONGEST)):
        child = context.Process(target=rival, args=(root,))
        child.start()
        child.join(draw.uniform(0, LONGEST))
        child.kill()
        child.join()
        kills.append(child.exitcode)


def one_lab(root: Path, seed: int, kills: list[int]) -> None:
    """The four steps in a folder of their own, with killers around."""
    over = threading.Event()
    killers = [
        threading.Thread(target=kill_rivals, args=(str(root), over, KILLERS * seed + number, kills))
        for number in range(KILLERS)
    ]
    for killer in killers:
        killer.start()
    try:
        four_steps(tiny_lab(root))
    finally:
        over.set()
        for killer in killers:
            killer.join()
    four_steps(tiny_lab(root))  # sweeps what the last of the killed left in runs that were finished


def holdings() -> dict[str, int]:
    """What this process has at the moment."""
    me = psutil.Process()
    return {
        "memory": me.memory_info().rss,
        "files": me.num_fds(),
        "threads": threading.active_count(),
        "processes": len(me.children(recursive=True)),
    }


def soak(folder: str, report: str) -> None:
    """Labs in a row; reports what this process has after each, and how its rivals ended."""
    torch.set_num_threads(1)
    multiprocessing.get_context("forkserver").set_forkserver_preload(["labkit.fit", "labkit.trainers", "tiny"])
    fitting.CHECKPOINT_SECONDS = 0.0
    after: list[dict] = []
    for number in range(WARM_UP + RUNS):
        kills: list[int] = []
        one_lab(Path(folder) / f"lab{number}", number, kills)
        after.append({**holdings(), "kills": kills})
    write_json(report, after)


@pytest.fixture(scope="module")
def soaked(tmp_path_factory):
    """The folder of all labs, that of temporary files, what was held after each lab, and the ended process."""
    folder, temporary, told = (tmp_path_factory.mktemp(name) for name in ("labs", "temporary", "told"))
    command = [sys.executable, __file__, str(folder), str(told / "report.json")]
    variables = {**os.environ, "TMPDIR": str(temporary)}
    child = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             start_new_session=True)  # fmt: skip
    errors = child.communicate(timeout=300)[1]
    assert child.returncode == 0, errors
    return folder, temporary, read_json(told / "report.json"), child


def test_every_lab_ends_in_the_same_bits(soaked):
    folder, _, after, _ = soaked
    kills = [code for lab in after for code in lab["kills"]]
    assert kills.count(-signal.SIGKILL) >= WARM_UP + RUNS and set(kills) <= {-signal.SIGKILL, UNSEEN, 0}, kills
    labs = [digests(root) for root in sorted(folder.iterdir())]
    assert len(labs) == WARM_UP + RUNS and len(labs[0]) == 5 and all(lab == labs[0] for lab in labs)


def test_no_memory_file_thread_or_process_is_kept(soaked):
    after = soaked[2][WARM_UP:]
    for kind in ("files", "threads", "processes"):
        assert len({lab[kind] for lab in after}) == 1, f"{kind}: {[lab[kind] for lab in after]}"
    memory = [lab["memory"] for lab in after]
    slope = statistics.linear_regression(range(RUNS), memory).slope / statistics.mean(memory)
    assert slope < 0.01, f"{100 * slope:.2f} % a lab: {memory}"


def test_nothing_outlives_the_process(soaked):
    """The servers that multiprocessing keeps see their owner's end a moment later."""
    _, temporary, _, child = soaked
    deadline = time.monotonic() + 20
    while (left := members(child.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == [] and list(temporary.iterdir()) == []


def members(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for pid in psutil.pids():
        with suppress(OSError):  # ended since, or somebody else's
            if os.getsid(pid) == session:
                found.append(pid)
    return found


def test_run_folders_hold_what_their_manifests_name_and_no_lock_is_held(soaked):
    """Who is killed while tidying up a finished run leaves one file of it, which nobody looks for any more."""
    for root in soaked[0].iterdir():
        for run in RunStore(root / "runs").runs():
            found = {path.name for path in run.path.iterdir()}
            named = {*run.manifest(), MANIFEST, "spec.json", "state.json", ".lock"}
            left = found - named
            assert named <= found and len(left) <= 1 and all(map(TIDYING.fullmatch, left)), (run.path, left)
            FileLock(run.path / ".lock").acquire(timeout=0)  # raises Timeout where somebody holds it


if __name__ == "__main__":
    soak(*sys.argv[1:])
