"""The graph of trainings: each made once, whoever makes it and however often it is killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from tiny import tiny_lab

from labkit import config
from labkit import fit as fitting
from labkit.cli import main as cli
from labkit.data.splits import Split
from labkit.errors import LabError
from labkit.experiments import graph, targets, trainings
from labkit.experiments.graph import plan, run_graph
from labkit.experiments.trainings import TRAININGS, Training, make
from labkit.files import sha256_file
from labkit.lab import LAUNCH
from labkit.runs import PREDICTIONS, WEIGHTS, Run
from labkit.tools import machine

CHAIN = ["depth", "rgb", "two_stream", "hallucination", "rgb_only"]
TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def digests(lab, names=CHAIN) -> dict[str, str]:
    """SHA-256 of weights and predictions of finished runs, read from disk."""
    dry, made = replace(lab, dry=True), {}
    runs = {name: make(name, dry, made) for name in names}
    files = [(name, file) for name in names for file in (WEIGHTS, PREDICTIONS)]
    return {f"{name} {file}": sha256_file(runs[name].artefact(file)) for name, file in files}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The chain made in this process, and what was told."""
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path_factory.mktemp("local"), epochs=4)
    return lab, run_graph([(lab, ["rgb_only"])])


@pytest.fixture
def fits(monkeypatch):
    """Ids of the runs that are trained, one entry a training."""
    trained, real = [], fitting.fit

    def counted(run, *rest, **options):
        trained.append(run.id)
        return real(run, *rest, **options)

    monkeypatch.setattr(fitting, "fit", counted)
    return trained


def fail(*_):
    raise RuntimeError("out of\nmemory")


# -- one training a run ----------------------------------------------------------------------------


def test_targets_share_their_trainings(tmp_path, fits, capsys):
    lab = tiny_lab(tmp_path)
    chosen = targets.get_targets(["table2:1", "table2:2", "table2:8", "table2:13", "table2:15", "oracle:13"])
    report = run_graph(targets.needs(chosen, [lab]))
    assert len(fits) == len(set(fits)) == 5 and set(fits) == set(report.nodes)
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "trainings: 5 done"
    assert [line.split()[0] for line in told if line.startswith("[")] == [f"[{n}/5]" for n in range(1, 6)]


def test_equal_inputs_are_one_node_whatever_they_are_called(tmp_path, fits, monkeypatch):
    lab = tiny_lab(tmp_path)
    alias = Training("alias", TRAININGS["two_stream"].make, ("depth", "rgb"))
    monkeypatch.setitem(trainings.TRAININGS, "alias", alias)
    other = replace(lab, profile=replace(lab.profile, distill=replace(lab.profile.distill, imitation=0.25)))
    report = run_graph([(lab, ["hallucination", "alias"]), (other, ["hallucination"]), (lab.with_seed(1), ["rgb"])])
    assert str(report) == "trainings: 6 done"
    assert len(fits) == len(set(fits)) == 6
    seen = set()
    for run_id, node in report.nodes.items():  # parents come first
        assert set(node.parents) <= seen
        seen.add(run_id)


def test_a_second_call_starts_nothing(local, fits, capsys):
    lab, _ = local
    before = sorted(lab.runs.root.rglob("*"))
    again = run_graph([(lab, CHAIN)], scheduler="tcp://127.0.0.1:1")  # nobody is asked
    assert str(again) == "trainings: 5 already there"
    assert fits == [] and sorted(lab.runs.root.rglob("*")) == before and capsys.readouterr().err == ""


def test_looking_at_finished_results_is_quick_and_loads_no_torch(local):
    """3 s on an idle machine; processor time is what a busy one can be held to."""
    code = (
        "import sys; from tiny import tiny_lab; from labkit.experiments import graph, targets\n"
        f"lab = tiny_lab({str(local[0].runs.root.parent)!r}, epochs=4)\n"
        "report = graph.run_graph([(lab, ['rgb_only'])])\n"
        "table = targets.results_table(lab, 1, targets.get_targets(['table2:15', 'table2:1']))\n"
        "print(len(report.nodes), list(table['state']), len(set(targets.tidy([lab])['target'])) > 6)\n"
        "print(sorted({'torch', 'torchvision', 'accelerate', 'scipy.stats', 'dask', 'distributed'} & set(sys.modules)))"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, cwd=TESTS)
    after = os.times()
    assert done.stdout.splitlines()[-2:] == ["0 ['done', 'done'] True", "[]"], done.stdout + done.stderr
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert seconds < 3


def test_parents_of_a_finished_run_are_not_needed(local, tmp_path):
    lab = tiny_lab(tmp_path, epochs=4)
    lab.runs.root.mkdir()
    last = make("rgb_only", replace(local[0], dry=True))
    (lab.runs.root / last.id).symlink_to(last.path)
    report = plan([(lab, ["rgb_only"])])
    assert [*report.there] == [last.id] and not report.nodes
    assert set(plan([(lab, ["rgb_only", "hallucination"])]).nodes) == {
        make(name, replace(lab, dry=True)).id for name in CHAIN[:-1]
    }


# -- rows that fail --------------------------------------------------------------------------------


def test_a_failing_row_skips_only_what_depends_on_it(tmp_path, capsys, monkeypatch):
    lab = tiny_lab(tmp_path)
    with monkeypatch.context() as patch:
        real = TRAININGS["two_stream"]
        broken = replace(real, make=lambda lab, *runs: real.make(lab, *runs) if lab.dry else fail())
        patch.setitem(trainings.TRAININGS, "two_stream", broken)
        report = run_graph([(lab, ["rgb_only", "inverted"])])
    states = {node.training: node.state for node in report.nodes.values()}
    assert states == {"depth": "done", "rgb": "done", "inverted": "done", "two_stream": "failed",
                      "hallucination": "skipped", "rgb_only": "skipped"}  # fmt: skip
    kept = make("two_stream", replace(lab, dry=True)).details
    assert kept["reason"] == "RuntimeError: out of memory" and "in fail" in kept["traceback"]
    told = capsys.readouterr().err
    assert "two_stream (tiny, seed 0): failed: RuntimeError: out of memory" in told
    assert "hallucination (tiny, seed 0): skipped: it needs two_stream, which is not there" in told
    assert "trainings: 3 done, 1 failed, 2 skipped" in told
    with pytest.raises(LabError, match=r"^two_stream \(tiny, seed 0\): RuntimeError: out of memory\."):
        report.check()
    table = targets.results_table(lab, 1, targets.get_targets(["table2:1", "table2:8", "table2:15"]))
    assert list(table["state"]) == ["done", "failed: RuntimeError: out of memory", "missing"]
    mended = run_graph([(lab, ["rgb_only", "inverted"])])
    assert [node.training for node in mended.nodes.values()] == ["two_stream", "hallucination", "rgb_only"]
    assert not mended.failed


def test_a_table_of_several_machines_says_so(tmp_path, capsys, monkeypatch):
    lab = tiny_lab(tmp_path)
    monkeypatch.setattr("labkit.puppets.opening.open_labs", lambda *_, **__: [lab])

    def told(cpu: str, training: str) -> list[str]:
        machine = {"system": "", "python": "", "cpu": cpu, "gpu": ""}
        with monkeypatch.context() as patch:
            patch.setattr("labkit.fit.this_machine", lambda: machine)
            make(training, lab)
        capsys.readouterr()
        assert cli.main(["targets", "--home", str(tmp_path)]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if "machine" in line]

    assert told("one", "depth") == []
    precision = make("depth", lab).load_json("record.json")["precision"]
    (line,) = told("another", "rgb")
    assert line.endswith(f"which round differently: 1 in {precision} on one, 1 in {precision} on another")


def test_the_command_names_failed_rows_and_shows_the_others(tmp_path, capsys, monkeypatch):
    lab = tiny_lab(tmp_path)
    monkeypatch.setattr("labkit.puppets.opening.open_labs", lambda *_, **__: [lab])
    real = TRAININGS["rgb"]
    broken = replace(real, make=lambda lab, *runs: real.make(lab, *runs) if lab.dry else fail())
    with monkeypatch.context() as patch:
        patch.setitem(trainings.TRAININGS, "rgb", broken)
        rows = ("table2:1", "table2:2", "table2:8")
        assert cli.main(["reproduce", *rows, "--workers", "1", "--home", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines() if line.strip().startswith("table2")] == [
        "table2:1", "table2:2", "table2:8"]  # fmt: skip
    assert "failed: RuntimeError: out of memory" in told.out
    last = told.err.splitlines()[-2:]
    assert "rgb (tiny, seed 0): failed: RuntimeError: out of memory" in last[0]
    assert "two_stream (tiny, seed 0): skipped: it needs rgb, which is not there" in last[1]
    tidy = (lab.runs.root / "results-tiny-tidy.csv").read_text(encoding="utf-8").splitlines()
    assert tidy[0].startswith("protocol,target,seed,accuracy")
    assert [row.split(",")[1] for row in tidy[1:]] == ["table2:1"]
    assert cli.main(["reproduce", "table2:8", "--workers", "1", "--home", str(tmp_path)]) == 0


def test_a_target_that_no_protocol_here_has_is_refused(tmp_path, capsys, monkeypatch):
    """With others it is left out of the protocols that have it not."""
    lab = tiny_lab(tmp_path)
    lab.split.name = "cross-subject"
    monkeypatch.setattr("labkit.puppets.opening.open_labs", lambda *_, **__: [lab])
    options = ["--protocol", "all", "--workers", "1", "--home", str(tmp_path)]
    assert cli.main(["reproduce", "camera:13", *options]) == 2
    told = capsys.readouterr()
    assert "camera:13" in told.err and "cross-view" in told.err and not told.out
    assert cli.main(["reproduce", "camera:13", "table2:1", *options]) == 0
    assert re.findall(r"^ *(\w+:\d+) ", capsys.readouterr().out, re.MULTILINE) == ["table2:1"]


@pytest.mark.parametrize("how", ["missing", "shorter", "other bytes"])
def test_a_damaged_run_is_named_and_kept(tmp_path, monkeypatch, how):
    """What is too large to be hashed at each look is found out when it is read."""
    monkeypatch.setattr("labkit.runs.SMALL", 0)
    lab = tiny_lab(tmp_path)
    run_graph([(lab, ["depth", "rgb"])])
    run = make("depth", replace(lab, dry=True))
    weights = run.path / WEIGHTS
    content = weights.read_bytes()
    weights.unlink()
    if how != "missing":
        changed = content[:-1] if how == "shorter" else content[:-1] + bytes([content[-1] ^ 1])
        weights.write_bytes(changed)
    report = run_graph([(lab, ["two_stream", "rgb_twin"])] if how == "other bytes" else [(lab, ["depth", "rgb_twin"])])
    (failed,) = [node for node in report.failed if node.state == "failed"]
    assert failed.training == ("two_stream" if how == "other bytes" else "depth")
    assert str(weights) in failed.reason and f"delete the folder {run.id}" in failed.reason
    assert len(failed.reason.splitlines()) == 1
    assert make("rgb_twin", replace(lab, dry=True)).done and (run.path / "result.json").exists()


def test_a_result_of_the_same_size_but_another_is_no_result(tmp_path, monkeypatch, capsys):
    lab = tiny_lab(tmp_path)
    monkeypatch.setattr("labkit.puppets.opening.open_labs", lambda *args, **options: [lab])
    command = ["reproduce", "table2:1", "--workers", "1", "--home", str(tmp_path)]
    assert cli.main(command) == 0
    path = make("depth", replace(lab, dry=True)).path / "result.json"
    content = path.read_bytes()
    digit = next(at for at, byte in enumerate(content) if byte in b"12345678")
    path.write_bytes(content[:digit] + bytes([content[digit] + 1]) + content[digit + 1 :])
    capsys.readouterr()
    assert cli.main(command) == 1
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("labkit:")]
    assert str(path) in told and "expected SHA-256" in told and "delete the folder" in told


def test_an_impossible_combination_is_told_before_anything_starts(tmp_path, fits):
    lab = tiny_lab(tmp_path)
    with pytest.raises(LabError, match=r"training layout: expected modality 'layout', found rgb, depth"):
        run_graph([(lab, ["rgb", "layout"])])
    assert fits == [] and not lab.runs.root.exists()
    table = targets.results_table(lab, 1, targets.get_targets(["table2:1", "stream:layout"]))
    assert list(table["state"]) == ["missing", "impossible: expected modality 'layout', found rgb, depth"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"workers": 0}, "at least one worker"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "2 workers and tcp"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "a Dask scheduler at tcp://127.0.0.1:1, found none"),
        ({"scheduler": "nonsense"}, "a Dask scheduler at nonsense, found none"),
    ],
)
def test_an_executor_that_is_not_there_is_one_clear_line(tmp_path, capsys, monkeypatch, options, told):
    monkeypatch.setattr(graph, "CONNECT_SECONDS", 0.5)
    with pytest.raises(LabError, match=told):
        run_graph([(tiny_lab(tmp_path), ["rgb"])], **options)
    assert capsys.readouterr().err == "" and not (tmp_path / "runs").exists()


def test_states_in_words(tmp_path):
    lab = tiny_lab(tmp_path)
    run = make("depth", replace(lab, dry=True))
    assert targets.state_of(run) == (None, "missing")
    with run.lock():
        run.set_state("running")
        assert targets.state_of(run) == (None, "running")
    assert targets.state_of(run) == (None, "interrupted")
    assert targets.combined(["done", "missing", "done"]) == "2 of 3"
    assert targets.combined(["done", "failed: why", "missing"]) == "1 of 3; failed: why"


def test_the_command_names_what_is_not_the_default(tmp_path):
    lab = tiny_lab(tmp_path)
    given = "labkit reproduce table2:1 suppl:8a --profile tiny --protocol tiny"
    assert targets.command_for(["table2:1", "suppl:8a"], lab) == given
    usual = Split("cross-subject", (), (), ())
    ntu = replace(lab, profile=config.MINI, split=usual, data_name="NTU RGB+D")
    assert targets.command_for(["fig4"], ntu, seeds=3) == "labkit reproduce fig4 --seeds 3 --data ROOT"


def test_tidy_results_have_a_row_a_protocol_target_and_seed(local):
    lab, _ = local
    table = targets.tidy([lab], targets.get_targets(["table2:1", "table2:15"]))
    assert list(table["target"]) == ["table2:1", "table2:15"] and set(table["seed"]) == {0}
    row = table.iloc[1]
    test = make("rgb_only", replace(lab, dry=True)).result["outputs"]["fused"]["test"]
    assert (row.correct, row.total, row.accuracy) == (test["correct"], 9, 100 * test["correct"] / 9)
    assert (row.protocol, row.data, row.profile) == ("tiny", "puppets", "tiny")


def test_a_run_is_looked_at_once_however_many_targets_read_it(local, monkeypatch):
    lab, _ = local
    asked, real = [], Run.is_finished
    monkeypatch.setattr(Run, "is_finished", lambda run: asked.append(run.id) or real(run))
    chosen = targets.get_targets(["table2:6", "table2:7", "table2:8"])
    for table in (targets.tidy([lab], chosen), targets.results_table(lab, 1, chosen)):
        assert len(table) == 3 and table["target"].is_unique
    assert len({*asked}) == targets.MAX_SEEDS and len(asked) == 2 * targets.MAX_SEEDS, "once for each table"


# -- interruptions and other processes -------------------------------------------------------------

SLOW = """
import os, time
import torch
from labkit import fit as fitting

torch.set_num_threads(1)
fitting.CHECKPOINT_SECONDS = 0.0


def slow(training, ids, real=fitting.train_step):
    (training.run.path / "trainer").write_text(f"{training.session.position.step} {os.getpid()}", encoding="utf-8")
    time.sleep(float(os.environ.get('PAUSE', '0.1')))
    return real(training, ids)


fitting.train_step = slow
"""


def wait_for_step(lab, training: str, step: int) -> int:
    """The process that trains this run, once it is at that step."""
    note = make(training, replace(lab, dry=True)).path / "trainer"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        words = note.read_text(encoding="utf-8").split() if note.exists() else []
        if len(words) == 2 and int(words[0]) >= step:
            return int(words[1])
        time.sleep(0.02)
    raise AssertionError(f"{training} was not trained in time")


def test_ctrl_c_leaves_everything_resumable(local, tmp_path, fits):
    lab = tiny_lab(tmp_path, epochs=4)
    script = (
        f"{SLOW}\nfrom labkit.cli import main as cli; from labkit.experiments import graph; from tiny import tiny_lab\n"
        f"lab = tiny_lab({str(tmp_path)!r}, epochs=4)\n"
        "cli.app.cli = lambda **_: graph.run_graph([(lab, ['rgb_only'])])\n"
        "raise SystemExit(cli.main(['reproduce']))"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=TESTS, stderr=subprocess.PIPE, text=True)
    wait_for_step(lab, "two_stream", 3)
    child.send_signal(signal.SIGINT)
    errors = child.communicate(timeout=60)[1]
    assert child.returncode == 130 and "Traceback" not in errors
    assert "trainings: 2 done, 3 not reached" in errors
    run = make("two_stream", replace(lab, dry=True))
    assert run.state == "interrupted" and run.checkpoints()
    report = run_graph([(lab, ["rgb_only"])])
    assert str(report) == "trainings: 2 already there, 3 done" and len(fits) == 3
    assert digests(lab) == digests(local[0])


@pytest.fixture
def slow_processes(tmp_path, monkeypatch):
    """Every process that `multiprocessing` spawns from here trains slowly and says so."""
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    started = "import sys\nif 'spawn_main' in ' '.join(sys.orig_argv):\n    import slow\n"
    (tmp_path / "sitecustomize.py").write_text(started, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tmp_path, TESTS.parent, TESTS))))


def test_a_local_process_that_is_killed_is_replaced_and_the_bits_are_the_same(local, tmp_path, slow_processes, capsys):
    lab = tiny_lab(tmp_path, epochs=4)
    killer = threading.Thread(target=lambda: os.kill(wait_for_step(lab, "two_stream", 4), signal.SIGKILL))
    killer.start()
    report = run_graph([(lab, ["rgb_only"])], workers=2, threads=1)
    killer.join()
    assert str(report) == "trainings: 5 done" and digests(lab) == digests(local[0])
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "trainings: 5 to make, 2 at a time" and told[-1] == "trainings: 5 done"
    ends = [line for line in told[1:-1] if not re.match(r"trainings: \d of 5 after ", line)]
    assert [line.split()[0] for line in ends] == [f"[{n}/5]" for n in range(1, 6)], "nothing of the library's"


def test_a_failure_in_a_local_process_takes_along_only_what_depends_on_it(tmp_path, capsys):
    lab = tiny_lab(tmp_path)
    run_graph([(lab, ["depth", "rgb"])])
    weights = make("depth", replace(lab, dry=True)).path / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    capsys.readouterr()
    report = run_graph([(lab, ["rgb_only", "rgb_twin"])], workers=2, threads=1)
    states = {node.training: node.state for node in report.nodes.values()}
    assert states == {"depth": "failed", "two_stream": "skipped", "hallucination": "skipped", "rgb_only": "skipped",
                      "rgb_twin": "done"}  # fmt: skip
    told = capsys.readouterr().err
    assert f"depth (tiny, seed 0): failed: {weights}: " in told and "Traceback" not in told
    assert "hallucination (tiny, seed 0): skipped: it needs two_stream, which is not there" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_local_processes_train_at_once_and_leave_together(local, tmp_path, slow_processes, monkeypatch, number):
    """Ctrl-C, which a terminal sends to all of them, while two streams train: the next call ends in the same bits."""
    monkeypatch.setenv("PAUSE", "0.5")
    lab = tiny_lab(tmp_path, epochs=4)
    script = (
        "from labkit.cli import main as cli; from labkit.experiments import graph; from tiny import tiny_lab\n"
        "if __name__ == '__main__':\n"
        f"    lab = tiny_lab({str(tmp_path)!r}, epochs=4)\n"
        "    cli.app.cli = lambda **_: graph.run_graph([(lab, ['rgb_only'])], workers=2, threads=1)\n"
        "    raise SystemExit(cli.main(['reproduce']))\n"
    )
    (tmp_path / "main.py").write_text(script, encoding="utf-8")
    child = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], stderr=subprocess.PIPE, text=True,
                             start_new_session=True)  # fmt: skip
    trainers = {wait_for_step(lab, name, 2) for name in ("depth", "rgb")}
    assert len(trainers) == 2 and child.pid not in trainers, "each in a process of its own"
    assert not any(make(name, replace(lab, dry=True)).done for name in ("depth", "rgb")), "at the same time"
    (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
    errors = child.communicate(timeout=60)[1]
    stopped = ["labkit: stopping; what is under way is finished and saved first",
               "labkit: interrupted; the same command goes on from here"]  # fmt: skip
    told = ["trainings: 5 to make, 2 at a time", *stopped[: 2 if number == signal.SIGINT else 1]]
    assert child.returncode == 128 + number
    assert [line for line in errors.splitlines() if not line.startswith("trainings: 0 of 5 after ")] == told
    assert not any(map(psutil.pid_exists, trainers))
    for name in ("depth", "rgb"):
        run = make(name, replace(lab, dry=True))
        assert targets.state_of(run)[1] == "interrupted" and run.checkpoints()
    run_graph([(lab, ["rgb_only"])])
    assert digests(lab) == digests(local[0])


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "from labkit.experiments.graph import run_graph; from tiny import tiny_lab\n"
        f"run_graph([(tiny_lab({str(tmp_path)!r}), ['depth', 'rgb'])], workers=2)\n", encoding="utf-8")  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 1 and "expected 2 worker processes" in done.stderr.splitlines()[-1]
    assert "under if __name__ == '__main__'" in done.stderr.splitlines()[-1]


def test_seeds_there_are_those_whose_trainings_are_all_finished(tmp_path, fits):
    lab = tiny_lab(tmp_path, epochs=1)
    assert targets.seeds_there(lab, ["table2:1"]) == 1, "what the parameters ask for, trained or not"
    run_graph(targets.needs(targets.get_targets(["table2:1"]), [lab], seeds=3))
    made = len(fits)
    assert targets.seeds_there(lab, ["table2:1"]) == 3 and targets.seeds_there(lab, ["table2:1"], at_least=5) == 5
    assert targets.seeds_there(lab, ["table2:1", "table2:2"]) == 1 and len(fits) == made
    assert targets.seeds_there(lab, ["table2:1", "stream:flow"], at_least=2) == 2, "a lab without flow"


def test_as_many_at_once_as_the_machine_takes(monkeypatch):
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=9 << 30))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert machine.trainings_at_once() == 2, "as memory allows"
    with monkeypatch.context() as together:
        for name, value in zip(LAUNCH, ("0", "0", "2", "127.0.0.1", "29500"), strict=True):
            together.setenv(name, value)
        assert machine.trainings_at_once() == 1, "two processes of one training"
    monkeypatch.setattr(machine, "available_cores", lambda: 1)
    assert machine.trainings_at_once() == 1
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    assert machine.trainings_at_once() == 1


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler and a way to start workers, each a process of its own on TCP."""
    file, slow = tmp_path / "scheduler.json", tmp_path / "slow.py"
    slow.write_text(SLOW, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
    started = []

    def start(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *arguments, "--scheduler-file", str(file), "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **quiet))
        return started[-1]

    start("scheduler", "--host", "127.0.0.1", "--port", "0")
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.1)
    address = json.loads(file.read_text(encoding="utf-8"))["address"]
    yield address, lambda: start("worker", "--no-nanny", "--nthreads", "1", "--preload", str(slow))
    for process in started:
        process.kill()
        process.wait()


def test_a_cluster_that_loses_a_worker_comes_to_the_same_bits(local, tmp_path, cluster, monkeypatch, capsys):
    """A real scheduler and two workers over TCP; one is killed in the middle of a training."""
    address, start_worker = cluster
    lab = tiny_lab(tmp_path, epochs=4)
    with monkeypatch.context() as patch:
        patch.setattr(graph, "CONNECT_SECONDS", 2)
        with pytest.raises(LabError, match=f"expected workers at the scheduler {address}, found none"):
            run_graph([(lab, ["rgb_only"])], scheduler=address)
    workers = [start_worker() for _ in range(2)]
    monkeypatch.setattr(graph, "CONNECT_SECONDS", 60)
    killed = []

    def kill_one():
        killed.append(wait_for_step(lab, "two_stream", 4))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    report = run_graph([(lab, ["rgb_only"])], scheduler=address)
    killer.join()
    assert killed[0] in [worker.pid for worker in workers] and sum(w.poll() is None for w in workers) == 1
    assert str(report) == "trainings: 5 done"
    told = capsys.readouterr().err
    assert told.count("two_stream (tiny, seed 0): done") == 1
    assert digests(lab) == digests(local[0])
    again = run_graph([(lab, ["rgb_only"])], scheduler=address)
    assert str(again) == "trainings: 1 already there"
