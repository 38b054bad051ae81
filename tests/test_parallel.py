"""Work in several processes: order, errors, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from labkit.errors import LabError
from labkit.tools.parallel import AHEAD, CHUNK, ordered_map


def square(value: int) -> tuple[int, int]:
    time.sleep(0.01 * (value % 3))  # so that later values may be ready first
    return value * value, os.getpid()


def fail(value: int) -> int:
    if value == 13:
        raise LabError("clip.avi", "expected a clip, found none", "mend it")
    return value


def die(value: int) -> int:
    if value == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def test_results_come_in_order_from_several_processes():
    results = list(ordered_map(square, range(24), 2))
    assert [result for result, _ in results] == [value**2 for value in range(24)]
    assert len({process for _, process in results} - {os.getpid()}) == 2


@pytest.mark.parametrize(("count", "workers"), [(24, 1), (9, 4), (0, 4)])
def test_little_work_stays_in_this_process(count, workers):
    assert {process for _, process in ordered_map(square, range(count), workers)} <= {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_keeps_its_parts_on_the_way_back(workers):
    with pytest.raises(LabError) as caught:
        list(ordered_map(fail, range(24), workers))
    assert (caught.value.path, caught.value.fix) == ("clip.avi", "mend it")


def leave_a_trace(path: str) -> None:
    with open(path, "x", encoding="utf-8"):
        pass


def test_results_that_nobody_takes_do_not_pile_up(tmp_path):
    """A consumer that is slow, as on a slow disk: the work stops some values ahead of it."""
    results = ordered_map(leave_a_trace, [str(tmp_path / f"{number}") for number in range(200)], 2)
    for more, taken in ((1, 1), (40, 41)):
        for _ in range(more):
            next(results)
        time.sleep(0.5)
        assert taken <= len(os.listdir(tmp_path)) <= taken + 2 * CHUNK * AHEAD + CHUNK
    results.close()
    assert len(os.listdir(tmp_path)) < 100


def test_a_killed_worker_is_an_error_with_a_remedy():
    with pytest.raises(LabError, match="workers=1"):
        list(ordered_map(die, range(24), 2))


PARENT = """
import os, time
from labkit.tools.parallel import ordered_map
from test_parallel import square
seen = set()
for value, process in ordered_map(square, range(10**5), 2):
    if process not in seen:
        seen.add(process)
        print(process, flush=True)
"""


def test_workers_die_with_their_parent():
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(worker) for worker in workers)


def alive(process: int) -> bool:
    """Running, not merely waiting for somebody to collect its exit status."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_script_without_main_guard_is_told_so(tmp_path):
    """Its workers import it again; without the check they would wait for the parent's lock for good."""
    script = tmp_path / "script.py"
    script.write_text(
        "from labkit.lab import open_lab\n"
        f"open_lab('smoke', home={str(tmp_path)!r}, progress=False)\n", encoding="utf-8"
    )  # fmt: skip
    env = {**os.environ, "LABKIT_PROGRESS": "quiet", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode != 0 and "under if __name__ == '__main__'" in done.stderr
    assert "that one died" in done.stderr
