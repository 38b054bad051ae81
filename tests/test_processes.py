"""Two processes do what one does: the same losses, statistics, gradients and answers for the same global batch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from several import main as in_one_process

from labkit import processes
from labkit.errors import LabError
from labkit.runs import PREDICTIONS, WEIGHTS, RunStore

HERE = Path(__file__).parent


ONE_MACHINE = ("--num_machines", "1", "--main_process_port", "0")


def launch(root: Path, batch_size: int = 6, where: tuple[str, ...] = ONE_MACHINE, **options) -> subprocess.Popen:
    """`accelerate launch` with two processes in all, on CPUs."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2",
               "--mixed_precision", "no", "--dynamo_backend", "no", *where,
               str(HERE / "several.py"), str(root), str(batch_size)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
    return subprocess.Popen(command, env=environment, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, **options)  # fmt: skip


def finished(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module", params=[6, 5], ids=["equal shares", "shares of 3 and 2"])
def both(request, tmp_path_factory):
    """Runs by step of one process and of two, for one batch size."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    process = launch(two, request.param)
    in_one_process(str(one), request.param)
    finished(process)
    return [{run.spec.step + str(run.spec.config.get("modalities")): run for run in RunStore(root / "runs").runs()}
            for root in (one, two)]  # fmt: skip


def test_the_same_runs_are_made_once_each(both):
    one, two = both
    assert len(one) == 6 and one.keys() == two.keys()
    for step in one:
        assert one[step].id == two[step].id, "the number of processes is no part of a run's name"
        assert two[step].done and not two[step].checkpoints()


def test_losses_agree_along_the_whole_training(both):
    one, two = both
    for step, run in one.items():
        if run.spec.step == "noise":
            continue
        curves = [r.load_json("history.json")["curve"] for r in (run, two[step])]
        assert len(curves[0]) == len(curves[1]) >= 4
        for mine, theirs in zip(*curves, strict=True):
            assert mine.keys() == theirs.keys()
            for term in mine:
                assert theirs[term] == pytest.approx(mine[term], rel=1e-4, abs=1e-4), (step, term)


def test_weights_and_batch_statistics_agree(both):
    one, two = both
    for step, run in one.items():
        if run.spec.step == "noise":
            continue
        mine, theirs = (r.load_tensors(WEIGHTS)[0] for r in (run, two[step]))
        for name, value in mine.items():
            gap = (value.double() - theirs[name].double()).abs().max()
            # AdamW's first steps divide a gradient by its own size: one near 0 moves by up to the rate either way
            assert gap < (1e-3 if "running" in name or "num_batches" in name else 2e-2), (step, name, float(gap))
    typical = [np.median([float((v.double() - two[s].load_tensors(WEIGHTS)[0][n].double()).abs().mean())
                          for n, v in r.load_tensors(WEIGHTS)[0].items()])
               for s, r in one.items() if r.spec.step != "noise"]  # fmt: skip
    assert max(typical) < 1e-4


def test_each_test_clip_is_counted_once(both):
    for run in (*both[0].values(), *both[1].values()):
        _, ids = run.load_tensors(PREDICTIONS)
        assert len(ids["test"]) == len(set(ids["test"])) == 9
        for output in run.result["outputs"].values():
            assert output["test"]["total"] == 9


def test_two_machines_come_to_the_same_bits_as_two_processes(both, tmp_path):
    """Two launches, as on two machines that see one folder and reach each other over TCP."""
    (batch_size,) = {run.spec.config["train"]["batch_size"] for run in both[1].values() if run.spec.step == "step1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    at = ("--num_machines", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", port, "--machine_rank")
    for machine in [launch(tmp_path, batch_size, (*at, rank)) for rank in ("0", "1")]:
        finished(machine)
    made = {run.id: run for run in RunStore(tmp_path / "runs").runs()}
    assert made.keys() == {run.id for run in both[1].values()}
    for run in both[1].values():
        assert run.artefact(PREDICTIONS).read_bytes() == made[run.id].artefact(PREDICTIONS).read_bytes()


def test_a_stop_told_to_one_process_saves_once_and_both_leave(tmp_path):
    process = launch(tmp_path, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/state.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0
    states = [run.state for run in RunStore(tmp_path / "runs").runs()]
    assert "running" not in states[:-1] and not list(tmp_path.glob("runs/*/.*.tmp"))
    finished(launch(tmp_path))
    assert [run.state for run in RunStore(tmp_path / "runs").runs()] == ["done"] * 6


def test_a_batch_smaller_than_the_processes_and_a_summed_loss_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "PartialState", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(LabError, match="batch of 2 clips or more"):
        processes.check_shares(1, "clip")
    with pytest.raises(LabError, match='feature_reduction="clip"'):
        processes.check_shares(6, "sum")
    processes.check_shares(6, "clip")
