"""Several processes from a notebook: the runs of one process, in a kernel that has trained already."""

from __future__ import annotations

import os
import signal
import threading
import time
from multiprocessing import active_children
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from smoke_home import environment
from tiny import tiny_lab

from labkit.errors import LabError
from labkit.experiments import launching
from labkit.experiments.launching import launch
from labkit.experiments.trainings import make
from labkit.runs import PREDICTIONS, RunStore

HERE = Path(__file__).parent
NAME = "rgb_only"  # the last of the four steps

ALONE = """
import torch
from tiny import tiny_lab
from labkit.trainings import make
torch.set_num_threads(2)
torch.rand(600, 600) @ torch.rand(600, 600)  # threads are up, which a fork would not survive
torch.set_num_threads(1)
make("rgb_only", tiny_lab("one"))
"""
TOGETHER = """
from labkit.launching import launch
run = launch(tiny_lab("two"), ["rgb_only"], processes=2, threads=1)["rgb_only"]
print("finished:", run.id, run.done, launch(tiny_lab("two"), ["rgb_only"])["rgb_only"].id == run.id)
"""
AFTERWARDS = 'print("kernel trains on:", make("depth", tiny_lab("three")).done)'


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Folder of the notebook, and what its cells showed."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, (ALONE, TOGETHER, AFTERWARDS))))
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}})
    settings = environment(folder, PYTHONPATH=str(HERE))
    settings.pop("PYTEST_CURRENT_TEST")  # a kernel that sees it does not show what its child processes print
    client.execute(env=settings)
    shown = "".join(output.get("text", "") for cell in notebook.cells for output in cell.outputs)
    return folder, shown


def runs_of(folder: Path) -> dict[str, object]:
    return {run.id: run for run in RunStore(folder / "runs").runs()}


def test_a_kernel_that_has_trained_launches_and_trains_on(executed):
    _, shown = executed
    assert "True True" in shown and "kernel trains on: True" in shown
    assert "rgb_only (tiny, seed 0): done" in shown, "what the processes tell reaches the notebook"


def test_two_processes_make_the_runs_of_one(executed):
    """The first step starts from the same bits; tests/test_processes.py compares all without what rounding adds."""
    one, two = (runs_of(executed[0] / name) for name in ("one", "two"))
    assert len(one) == 5 and one.keys() == two.keys()
    for run_id, run in one.items():
        assert len(two[run_id].load_tensors(PREDICTIONS)[1]["test"]) == 9
        mine, theirs = (r.load_json("history.json")["curve"] for r in (run, two[run_id]))
        assert len(mine) == len(theirs) >= 4
        if run.spec.step == "step1":
            assert theirs[0] == pytest.approx(mine[0], rel=1e-4, abs=1e-4)


def test_what_is_finished_starts_no_process(tmp_path, monkeypatch):
    made = make("rgb", tiny_lab(tmp_path))
    monkeypatch.setattr(launching, "_work", lambda *_: pytest.fail("a process was started"))
    assert launch(tiny_lab(tmp_path), ["rgb"])["rgb"].id == made.id


def test_a_number_that_cannot_be_and_a_launch_in_a_launch_are_refused(tmp_path, monkeypatch):
    lab = tiny_lab(tmp_path)
    with pytest.raises(LabError, match=r"2 processes or more, found 1.*run_graph"):
        launch(lab, ["rgb"], processes=1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(LabError, match=r"3 GPUs, one a process, found 2.*launch 2 of them"):
        launch(lab, ["rgb"], processes=3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(LabError, match="inside a launched process"):
        launch(lab, ["rgb"])


def test_what_one_process_would_refuse_is_told_in_a_line(tmp_path):
    with pytest.raises(LabError, match="batch of 2 clips or more, one a process, found 1"):
        launch(tiny_lab(tmp_path, batch_size=1), ["rgb"])
    assert not active_children()


def test_a_process_that_dies_is_told_and_the_same_call_goes_on(tmp_path):
    """Killed while both train: no other waits for it, and what is saved is gone on from."""
    lab = tiny_lab(tmp_path, epochs=400)

    def kill_one() -> None:
        while not list(tmp_path.glob("runs/*/state.json")):
            time.sleep(0.02)
        os.kill(active_children()[-1].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(LabError, match="living processes, found that one died"):
        launch(lab, ["rgb"])
    killer.join()
    assert not active_children()
    assert launch(tiny_lab(tmp_path), ["rgb"])["rgb"].done
