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

import pytest

from labkit import processes
from labkit.errors import LabError
from labkit.runs import PREDICTIONS, WEIGHTS, RunStore

HERE = Path(__file__).parent


ONE_MACHINE = ("--num_machines", "1", "--main_process_port", "0")
SCRIPT = str(HERE / "several.py")


def start(command: list[str], **options) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    return subprocess.Popen(command, env=environment, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, **options)  # fmt: skip


def launch(
    root: Path,
    batch_size: int = 6,
    precision: str = "double",
    where: tuple[str, ...] = ONE_MACHINE,
    **options,
) -> subprocess.Popen:
    """`accelerate launch` with two processes in all; without GPUs they are on CPUs."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
               "--mixed_precision", "no", "--dynamo_backend", "no", *where,
               SCRIPT, str(root), str(batch_size), precision]  # fmt: skip
    return start(command, **options)


def finished(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def by_one(root: Path, batch_size: int, precision: str) -> subprocess.Popen:
    return start([sys.executable, SCRIPT, str(root), str(batch_size), precision])


def by_step(*roots: Path) -> list[dict]:
    return [{run.spec.step + str(run.spec.config.get("modalities")): run for run in RunStore(root / "runs").runs()}
            for root in roots]  # fmt: skip


def curves_of(both: list[dict], step: str) -> list[list[dict]]:
    curves = [runs[step].load_json("history.json")["curve"] for runs in both]
    assert len(curves[0]) == len(curves[1]) >= 4
    return curves


def trained(runs: dict) -> list[str]:
    return [step for step, run in runs.items() if run.spec.step != "noise"]


@pytest.fixture(scope="module", params=[6, 3], ids=["equal shares", "shares of 2 and 1"])
def both(request, tmp_path_factory):
    """Runs by step of one process and of two.

    In double precision: in single, Adam divides gradients near 0 by their own size, and rounding grows to a step.
    """
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    alone = by_one(one, request.param, "double")
    told = finished(launch(two, request.param))
    assert "process 0 of 2" in told and "process 1 of 2" in told
    assert "process 0 of 1" in finished(alone)
    return by_step(one, two)


def test_the_same_runs_are_made_once_each(both):
    one, two = both
    assert len(one) == 6 and one.keys() == two.keys()
    for step in one:
        assert one[step].id == two[step].id, "the number of processes is no part of a run's name"
        assert two[step].done and not two[step].checkpoints()


def test_losses_agree_along_all_four_trainings(both):
    for step in trained(both[0]):
        for mine, theirs in zip(*curves_of(both, step), strict=True):
            # rounding grows along four trainings with Adam: to 1e-14 on one kind of processor, 3e-9 on another
            assert theirs == pytest.approx(mine, rel=1e-7, abs=1e-7), step


def test_weights_batch_statistics_and_answers_agree(both):
    one, two = both
    for step, run in one.items():
        for name in (PREDICTIONS,) if run.spec.step == "noise" else (PREDICTIONS, WEIGHTS):
            mine, theirs = (r.load_tensors(name)[0] for r in (run, two[step]))
            assert mine.keys() == theirs.keys()
            for key, value in mine.items():
                assert float((value.double() - theirs[key].double()).abs().max()) < 1e-6, (step, key)


def test_each_test_clip_is_counted_once(both):
    for run in (*both[0].values(), *both[1].values()):
        _, ids = run.load_tensors(PREDICTIONS)
        assert len(ids["test"]) == len(set(ids["test"])) == 9
        for output in run.result["outputs"].values():
            assert output["test"]["total"] == 9


@pytest.mark.parametrize("both", [6], ids=["equal shares"], indirect=True)
def test_two_machines_come_to_the_same_bits_as_two_processes(both, tmp_path):
    """Two launches, as on two machines that see one folder and reach each other over TCP."""
    (batch_size,) = {run.spec.config["train"]["batch_size"] for run in both[1].values() if run.spec.step == "step1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    at = ("--num_machines", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", port, "--machine_rank")
    for machine in [launch(tmp_path, batch_size, where=(*at, rank)) for rank in ("0", "1")]:
        finished(machine)
    made = {run.id: run for run in RunStore(tmp_path / "runs").runs()}
    assert made.keys() == {run.id for run in both[1].values()}
    for run in both[1].values():
        assert run.artefact(PREDICTIONS).read_bytes() == made[run.id].artefact(PREDICTIONS).read_bytes()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A launch in single precision that was told to stop in its first training, then made once more."""
    root = tmp_path_factory.mktemp("stopped")
    alone, process = root / "alone", launch(root, 5, "single", start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(root.glob("runs/*/state.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    states, left = [run.state for run in RunStore(root / "runs").runs()], list(root.glob("runs/*/.*.tmp"))
    single = by_one(alone, 5, "single")
    finished(launch(root, 5, "single"))
    finished(single)
    return process.returncode, states, left, by_step(alone, root)


def test_a_stop_told_to_one_process_saves_once_and_both_leave(stopped):
    status, states, left, (_, after) = stopped
    assert status != 0 and "running" not in states[:-1] and not left
    assert [run.state for run in after.values()] == ["done"] * 6


def test_in_single_precision_a_training_starts_with_the_same_losses(stopped):
    """Step 1, whose start is the same to the bit; the other steps start from what rounding has made of it."""
    both = stopped[-1]
    for step in trained(both[0]):
        if step.startswith("step1"):
            mine, theirs = curves_of(both, step)
            for before, after in zip(mine[:3], theirs[:3], strict=True):
                assert after == pytest.approx(before, rel=1e-4, abs=1e-4), step


def test_a_batch_smaller_than_the_processes_and_a_summed_loss_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "PartialState", lambda: SimpleNamespace(num_processes=2))
    with pytest.raises(LabError, match="batch of 2 clips or more"):
        processes.check_shares(1, "clip")
    with pytest.raises(LabError, match='feature_reduction="clip"'):
        processes.check_shares(6, "sum")
    processes.check_shares(6, "clip")
