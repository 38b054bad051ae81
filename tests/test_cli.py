"""The command line: quick, one line per user error, honest exit statuses."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
from replicas import write_pair

from labkit import LabError, __version__, lab
from labkit.cli import data as data_commands
from labkit.cli import main as cli
from labkit.config import PuppetsConfig
from labkit.course import published, series
from labkit.data.store import ClipStore
from labkit.experiments import committed, graph, targets
from labkit.lab import Lab
from labkit.puppets import opening
from labkit.puppets.make import make_puppets
from labkit.runs import RunStore
from labkit.tools import home as homes
from labkit.tools import machine
from labkit.tools.settings import get_profile, settings


def labkit(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "labkit.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=100, **options)


@pytest.mark.quick
@pytest.mark.parametrize("arguments", [(), ("--help",), ("data", "--help"), ("run", "--help")])
def test_help_loads_nothing_heavy(arguments, capsys):
    code = f"import sys; from labkit.cli.main import main\ntry: main({list(arguments)!r})\nexcept SystemExit: pass\n"
    heavy = "print(sorted({'torch', 'torchvision', 'numpy', 'pandas', 'papermill', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + heavy], capture_output=True, text=True, timeout=100)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert "labkit" in done.stdout


@pytest.mark.quick
def test_version():
    assert labkit("--version").stdout == f"{__version__}\n"


@pytest.mark.quick
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("data", "check", "no-such-folder"), "no-such-folder: expected a data root"),
        (("data", "make", "here", "--profile", "nope"), "smoke, mini, paper"),
        (("reproduce", "table9:1"), "'table9:1'"),
        (("reproduce",), "targets to reproduce, such as table2:15, or all, found none"),
        (("reproduce", "table2:1", "--protocol", "nope"), "cross-subject, cross-view, compositional, found 'nope'"),
        (("reproduce", "table2:1", "--workers", "0"), "at least 1 for workers, found 0"),
        (("reproduce", "table2:1", "--threads", "0"), "at least 1 for threads, found 0"),
        (("targets", "--protocol", "nope"), "found 'nope'"),
        (("data", "check", ".", "--workers", "0"), "at least 1 for workers, found 0"),
        (("data", "prepare", ".", "--workers", "-3"), "at least 1 for workers, found -3"),
        (("run", "--seeds", "0"), "at least 1 for seeds, found 0"),
        (("run", "--seeds", "11"), "at most 10 seeds, found 11"),
        (("targets", "--seeds", "11"), "at most 10 seeds, found 11"),
        (("run", "--home", "no-such-folder"), "no-such-folder"),
        (
            ("doctor", "--home", "no-such-folder"),
            "no-such-folder: expected a project folder, found nothing. Fix: make it",
        ),
        (("doctor", "--home", __file__), "test_cli.py: expected a project folder, found a file. Fix: name another"),
        (("run", "--profile", "tiny"), "smoke, mini, paper, found 'tiny'"),
        (("run", "--data", "nope"), "nope: expected a data root, found nothing"),
        (("run", "--protocol", "nope"), "found 'nope'"),
        (("reproduce", "table2:1", "--scheduler", "nonsense"), "a Dask scheduler at nonsense, found none"),
        (("reproduce", "table2:1", "--workers", "2", "--scheduler", "x"), "or a scheduler, found 2 workers and x"),
    ],
)
def test_a_user_error_is_one_line_and_status_2(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1 and told in printed.err and "Fix: " in printed.err
    assert not list(tmp_path.iterdir())


@pytest.mark.quick
@pytest.mark.parametrize(
    "arguments", [("frob",), ("run", "--profil", "mini"), ("run", "--seeds", "two"), ("data", "check")]
)
def test_a_wrong_word_is_status_2(arguments):
    done = labkit(*arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr


STOPPED = [
    "labkit: stopping; what is under way is finished and saved first",
    "labkit: interrupted; the same command goes on from here",
]


@pytest.mark.parametrize(
    ("number", "status", "told"), [(signal.SIGINT, 130, STOPPED), (signal.SIGTERM, 143, STOPPED[:1])]
)
def test_signals_end_it_with_their_status(number, status, told):
    code = (
        "import time; from labkit.tools import home; from labkit.cli.main import main\n"
        "home.find_home = lambda home: print('ready', flush=True) or time.sleep(60)\n"
        "raise SystemExit(main(['doctor']))"
    )
    runner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert runner.stdout.readline() == "ready\n"
    runner.send_signal(number)
    _, errors = runner.communicate(timeout=60)
    assert runner.returncode == status
    assert errors.splitlines() == told


@pytest.mark.parametrize("flags", [[], ["-u"]])
def test_a_reader_that_has_enough_is_no_traceback(flags):
    command = [sys.executable, *flags, "-c", "import sys; from labkit.cli import main as cli; sys.stdin.read(); "
               "cli.app.cli = lambda **_: print('told'); raise SystemExit(cli.main(['doctor']))"]  # fmt: skip
    runner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    runner.stdout.close()
    _, errors = runner.communicate("", timeout=100)
    assert runner.returncode == 141 and errors == ""


@pytest.mark.parametrize("console", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "cp1252"}],
                         ids=["C", "Windows"])  # fmt: skip
@pytest.mark.parametrize("strange", ["--help", "check"])
def test_a_console_of_few_letters_escapes_what_it_lacks(strange, console, tmp_path):
    few = os.environ | {"PYTHONUTF8": "0"} | console
    for number in range(2):
        write_pair(tmp_path, str(number))
    rows = [f"{label}{number},{label},{number}_color.png,{number}_depth.png" for number, label in enumerate("☃a")]
    text = "\n".join(["clip,label,rgb,depth", *rows, "☃2,☃,none.png,none.png"])
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    arguments = ("--help",) if strange == "--help" else ("data", "check", str(tmp_path / "p.csv"), "--workers", "1")
    done = labkit(*arguments, env=few, errors="replace")
    assert "Traceback" not in done.stderr and done.returncode == (strange == "check")
    if strange == "check":
        assert r"\u26032" in done.stdout and "☃2" in (tmp_path / "p.csv-check.csv").read_text(encoding="utf-8")


@pytest.mark.quick
@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.EACCES, "Fix: make it readable"), (errno.ENOSPC, "Fix: free some space"), (errno.EDQUOT, "Fix: free some")],
)
def test_what_the_system_refuses_is_one_line(monkeypatch, capsys, number, told):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), "/somewhere/else")

    monkeypatch.setattr(cli.app, "cli", refuse)
    assert cli.main(["doctor"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "/somewhere/else: expected" in line and f"found {os.strerror(number)}" in line and told in line


@pytest.mark.quick
def test_memory_that_ran_out_is_one_line(monkeypatch, capsys):
    def greedy(*_, **__):
        raise MemoryError

    monkeypatch.setattr(cli.app, "cli", greedy)
    assert cli.main(["doctor"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "memory ran out" in line and "--workers 1" in line


@pytest.mark.quick
def test_another_broken_pipe_is_told(monkeypatch):
    def broken(*_, **__):
        raise BrokenPipeError

    monkeypatch.setattr(cli.app, "cli", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["doctor"])


RESULTS = pd.DataFrame(
    {
        "target": ["table2:1", "table2:8", "control:8", "stream:flow"],
        "model": ["depth alone (row 1)", "RGB + depth (row 8)", "two RGB streams (control)", "flow alone"],
        "paper": [70.44, 79.73, math.nan, math.nan],
        "ours": [math.nan, 88.8, 55.555, 44.4],
        "low": [math.nan, 77.7, 50.3, 33.3],
        "high": [math.nan, 99.9, 60.9, 55.5],
        "seeds": [0, 2, 2, 2],
        "state": ["failed: no memory", "done", "done", "done"],
    }
)


class Stage:
    """Stands in for the bench and the notebooks, and notes what `labkit run` asks of them."""

    def __init__(self, monkeypatch, states=("ok", "up to date")):
        self.asked, self.states = {}, states
        monkeypatch.setattr(lab, "open_lab", self.open_lab)
        monkeypatch.setattr(opening, "open_labs", lambda *names, home, dry: [self.open_lab(*names, home=home)])
        monkeypatch.setattr(series, "run_series", self.run_series)
        monkeypatch.setattr(targets, "results_table", self.results_table)
        monkeypatch.setattr(targets, "complete_seeds", lambda bench, trainings: [])
        monkeypatch.setattr(targets, "look", lambda bench, trainings: dict.fromkeys(trainings))
        monkeypatch.setattr(graph, "run_graph", self.run_graph)
        monkeypatch.setattr(targets, "tidy", lambda labs: pd.DataFrame({"target": [labs[0].series_name]}))

    def open_lab(self, profile, protocol, **options):
        self.asked |= {"profile": profile, "protocol": protocol, **options}
        name = f"{profile}-mine" if options.get("data") else profile
        clips = SimpleNamespace(fingerprint="data")
        runs = RunStore(options["home"] / "runs")
        bench = SimpleNamespace(clips=clips, runs=runs, series_name=name, data_name="mine", root=options.get("data"))
        bench.split = SimpleNamespace(name=protocol or "cross-subject", test=["one"])
        bench.profile = SimpleNamespace(name=profile)
        bench.with_seed = lambda seed: SimpleNamespace(**vars(bench), seed=seed)
        return bench

    def run_graph(self, needs, **options):
        assert "notebooks" not in self.asked, "trainings come first"
        self.asked["trainings"] = {(bench.seed, name) for bench, names in needs for name in names}

    def run_series(self, notebooks, out_dir, parameters, **options):
        self.asked |= {"notebooks": notebooks, "out_dir": out_dir, "parameters": parameters, **options}
        return [series.NotebookRecord(f"{n:02d}", state) for n, state in enumerate(self.states)]

    def results_table(self, bench, seeds):
        return RESULTS


@pytest.fixture
def home(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for name in ("10_b.ipynb", "00_a.ipynb", "draft.ipynb"):
        (tmp_path / "notebooks" / name).touch()
    return tmp_path


def test_run_goes_through_all_notebooks_and_shows_the_table(home, monkeypatch, capsys):
    stage = Stage(monkeypatch)
    assert cli.main(["run", "--profile", "smoke", "--seeds", "2", "--home", str(home), "--force"]) == 0
    assert [path.name for path in stage.asked["notebooks"]] == ["00_a.ipynb", "10_b.ipynb"]
    assert stage.asked["out_dir"] == home / "runs" / "notebooks" / "smoke"
    assert stage.asked["parameters"] == {"profile": "smoke", "protocol": "cross-subject", "seeds": 2}
    assert {(0, "rgb_only"), (1, "rgb_only"), (1, "ensemble_sample")} <= stage.asked["trainings"]
    assert stage.asked["data_fingerprint"] == "data" and stage.asked["force"] is True
    assert stage.asked["env"]["LABKIT_HOME"] == str(home)
    shown, told = capsys.readouterr()
    rows = [line.split() for line in shown.splitlines() if line.split()[:1] in (["1"], ["8"])]
    assert rows == [["1", "depth", "alone", "70.4", "failed"],
                    ["8", "RGB", "+", "depth", "79.7", "88.8", "[78,", "100]", "55.6", "[50,", "61]"]]  # fmt: skip
    assert "flow" not in shown, "one screen has the paper's rows"
    assert f"results-smoke.csv; pictures and notebooks: {home}/runs/notebooks/smoke" in shown
    assert f"jupyter lab {home}/notebooks/00_a.ipynb\n" in shown
    assert f"labkit targets --profile smoke --home {home}\n" in shown
    assert told.startswith("profile smoke: make the puppets, prepare clips, train streams, execute 2 notebooks")
    assert (home / "runs" / "results-smoke.csv").read_text(encoding="utf-8").startswith("target,model,paper,ours,")


def test_a_wrong_tracker_is_told_before_anything_is_made(home, monkeypatch, capsys):
    monkeypatch.setenv("LABKIT_TRACKER", "nope")
    for command in ("run", "reproduce"):
        assert cli.main([command, *["table2:1"] * (command == "reproduce"), "--home", str(home)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "found 'nope'" in line and [path.name for path in home.iterdir()] == ["notebooks"]


def test_run_on_a_data_root_leaves_the_embedded_set_s_results_alone(home, monkeypatch, tmp_path, capsys):
    stage, root = Stage(monkeypatch), tmp_path / "mine.csv"
    root.touch()
    assert cli.main(["run", "--home", str(home), "--data", str(root), "--protocol", "given"]) == 0
    assert stage.asked["env"]["LABKIT_DATA"] == str(root) and stage.asked["protocol"] == "given"
    assert stage.asked["parameters"]["protocol"] == "given"
    assert stage.asked["out_dir"] == home / "runs" / "notebooks" / "mini-mine"
    assert (home / "runs" / "results-mini-mine.csv").is_file() and not (home / "figures").exists()


def test_publish_replaces_all_or_nothing(home, monkeypatch, capsys):
    stage, done = Stage(monkeypatch), []
    assert cli.main(["publish", "--home", str(home)]) == 2
    assert "expected a copy of the project, whose README.md is filled, found none" in capsys.readouterr().err
    (home / "README.md").touch()
    monkeypatch.setattr(published, "check", lambda bench: done.append("check"))
    monkeypatch.setattr(published, "draw", lambda labs, base: done.append(committed.publishing()) or {"README.md": ""})
    monkeypatch.setattr(published, "put", lambda bench, base, found, pages: done.append((len(found), *pages)))
    assert cli.main(["publish", "--home", str(home)]) == 0
    assert done == ["check", True, (2, "README.md")] and not committed.publishing()
    assert stage.asked["out_dir"] == home / "runs" / "notebooks" / "published" and stage.asked["force"] is True
    assert stage.asked["parameters"]["seeds"] == 1, "each notebook takes all that there are"
    stage.states = ("ok", "failed")
    assert cli.main(["publish", "--home", str(home)]) == 1 and done[3:] == ["check", True]


def test_publish_may_execute_some_notebooks_and_add_to_what_is_there(home, monkeypatch, capsys):
    stage, done = Stage(monkeypatch), []
    (home / "README.md").touch()
    monkeypatch.setattr(published, "check", lambda bench: None)
    monkeypatch.setattr(published, "draw", lambda labs, base: done.append(os.environ[committed.PUBLISHING]) or {})
    monkeypatch.setattr(published, "put", lambda bench, base, found, pages: done.append([path.stem for path in found]))
    paths = sorted((home / "notebooks").glob("*.ipynb"))[:2]
    first, second = (path.stem for path in paths)
    for path, needs in zip(paths, ([], [first]), strict=True):
        nbformat.write(nbformat.v4.new_notebook(metadata={"labkit": {"needs": needs}}), path)
    for asked, executed in (([first], [first]), ([second[:2], second], [first, second])):  # with what it needs
        done.clear()
        assert cli.main(["publish", *asked, "--home", str(home)]) == 0
        assert done == ["adding", executed] and [path.stem for path in stage.asked["notebooks"]] == executed
    assert cli.main(["publish", "77", "--home", str(home)]) == 2
    assert "expected a notebook such as 13, found '77'" in capsys.readouterr().err


def test_only_the_embedded_set_at_mini_is_published(home, monkeypatch, capsys):
    stage = Stage(monkeypatch)
    (home / "README.md").touch()
    monkeypatch.setattr(
        opening, "open_labs", lambda *_, home, dry: [stage.open_lab("mini", None, home=home, data="mine")]
    )
    assert cli.main(["publish", "--home", str(home)]) == 2
    assert "expected the embedded set and profile mini, found mini-mine" in capsys.readouterr().err
    assert "notebooks" not in stage.asked and not (home / "figures").exists()


@pytest.mark.skipif(os.name == "nt", reason="closes a file of the shell")
def test_a_closed_stdout_is_no_fault(tmp_path):
    command = [sys.executable, "-m", "labkit.cli", "settings"]
    code = f"import os; os.close(1); os.execv({command[0]!r}, {command!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.quick
@pytest.mark.parametrize("text", ["1", "1mm", " 0.001 m", "0.1CM", "1000um", "1e0mm"])
def test_a_depth_unit_is_a_length(text):
    assert data_commands.millimetres(text) == pytest.approx(1)


@pytest.mark.quick
@pytest.mark.parametrize("text", ["", "mm", "-1mm", "0", "1 inch", "nan", "1e9m", "100m", "1,5mm"])
def test_another_depth_unit_is_refused(text):
    with pytest.raises(LabError, match=r"0\.001m"):
        data_commands.millimetres(text)


@pytest.mark.quick
def test_reasons_are_told_by_kind_on_a_few_lines(capsys):
    alike = {f"S{n:03d}": f"S{n:03d}_rgb.avi: expected {n} frames, found 3" for n in range(500)}
    words = [chr(97 + n) * 4 for n in range(20)]
    data_commands._print_excluded(alike | {f"clip {word}": f"no {word}" for word in words})
    first, *_, last = lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and first.startswith("500 excluded: 'S000_rgb.avi: expected 0 frames")
    assert last == "11 more, see the CSV of labkit data check"


@pytest.mark.parametrize("state", ["failed", "not run"])
def test_run_is_status_1_when_a_notebook_did_not_succeed(home, monkeypatch, state):
    Stage(monkeypatch, states=("ok", state))
    assert cli.main(["run", "--home", str(home)]) == 1


def test_parallel_jobs_share_the_cores(home, monkeypatch):
    stage = Stage(monkeypatch)
    monkeypatch.setattr(machine, "available_cores", lambda: 8)
    assert cli.main(["run", "--home", str(home), "--jobs", "4"]) == 0
    assert stage.asked["env"]["OMP_NUM_THREADS"] == "2" and stage.asked["jobs"] == 4
    for room, threads in ((8, "1"), (3, "2"), (1, None)):  # by itself, one notebook a core, as memory allows
        monkeypatch.setattr(machine, "trainings_at_once", lambda room=room: room)
        stage.asked.clear()
        assert cli.main(["run", "--home", str(home)]) == 0
        assert stage.asked["env"].get("OMP_NUM_THREADS") == threads and stage.asked["jobs"] == room


@pytest.fixture(scope="module")
def puppets(tmp_path_factory):
    """A subject of each part, two cameras: 72 clips at the coarsest scale."""
    root = tmp_path_factory.mktemp("root")
    return make_puppets(root, PuppetsConfig(subjects=(1, 2, 3), cameras=(1, 2), scale=16), workers=1, progress=False)


def test_check_counts_clips_and_reasons(puppets, tmp_path, capsys):
    lost = next((puppets / "nturgb+d_skeletons").iterdir())
    content = lost.read_bytes()
    lost.unlink()
    check = ["data", "check", str(puppets), "--profile", "smoke", "--csv", str(tmp_path / "found.csv")]
    try:
        assert cli.main(check) == 1
    finally:
        lost.write_bytes(content)
    told = capsys.readouterr().out
    assert "72 clips found, 71 used, 0 of them with a remark, 1 excluded" in told and lost.stem in told
    assert "every byte as recorded" not in told
    row = f"{lost.stem},excluded,missing,skeleton,nturgb+d_skeletons/{lost.name},no skeleton"
    assert row in (tmp_path / "found.csv").read_text(encoding="utf-8")
    assert cli.main(check) == 0
    told = capsys.readouterr().out
    assert "72 clips found, 72 used, 0 of them with a remark, 0 excluded" in told and "every byte as recorded" in told
    assert re.search(r"cross-subject +24 +24 +24\b", told) and re.search(r"cross-view +36 +0 +36\b", told)


def test_prepare_builds_the_store_beside_or_elsewhere(puppets, tmp_path, capsys):
    assert cli.main(["data", "prepare", str(puppets), "--profile", "smoke", "--store", str(tmp_path / "s")]) == 0
    told = capsys.readouterr().out
    assert f"72 clips in {tmp_path / 's'}" in told and re.search(r"\b1 +2 +36\b", told)
    assert len(ClipStore(tmp_path / "s")) == 72 and "offset_x, px" in told and "residual, px" in told
    report = ["data", "alignment", str(puppets), "--store", str(tmp_path / "s"), "--csv", str(tmp_path / "a.csv")]
    assert cli.main([*report, "--figure", str(tmp_path / "a.svg")]) == 0
    assert re.search(r"\b1 +2 +36\b", capsys.readouterr().out)
    assert len((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()) == 73
    assert b"puppets" in (tmp_path / "a.svg").read_bytes()
    assert cli.main([*report, "--figure", str(tmp_path / "a.bmp")]) == 2
    assert cli.main(["data", "prepare", str(puppets), "--profile", "smoke+clips.stored_frames=1"]) == 2
    assert "clips.num_frames" in capsys.readouterr().err


def test_doctor_tells_versions_and_data(tmp_path, puppets, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set").symlink_to(puppets)
    assert cli.main(["doctor", "--home", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for word in (
        f"labkit                   {__version__}",
        "torch ",
        "threads ",
        "bf16 ",
        "onnxruntime ",
        "data/set: 72 clips, 0 excluded",
        "ready for the course: ",
    ):
        assert word in told


def test_doctor_says_what_keeps_the_course_from_running(tmp_path):
    facts = {"packages": {"torch": "2.14", "onnx": "not installed"}, "memory_gb": 7.7, "disk_free_gb": 20.0}
    assert list(machine.lacking(facts, tmp_path)) == []
    poor = {"packages": {"papermill": "not installed"}, "memory_gb": 3.9, "disk_free_gb": 0.4}
    told = "; ".join(machine.lacking(poor, tmp_path / "nowhere"))
    for word in (
        "papermill missing",
        "memory_gb is 3.9, expected 7.5",
        "disk_free_gb is 0.4",
        "nothing can be written",
    ):
        assert word in told


def as_json(capsys, *arguments: str):
    """What a command with --json prints, which is JSON alone."""
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("manifest", ["{", '{"config": {}}'])
def test_doctor_ends_with_its_line_where_a_set_cannot_be_read(tmp_path, capsys, manifest):
    (tmp_path / "data" / "set" / "nturgb+d_rgb").mkdir(parents=True)
    (tmp_path / "data" / "set" / "puppets.csv").touch()
    (tmp_path / "data" / "set" / "puppets.json").write_text(manifest, encoding="utf-8")
    assert cli.main(["doctor", "--home", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "data/set: cannot be read" in told and told.splitlines()[-1].startswith("ready for the course: ")


def test_doctor_as_json(tmp_path, puppets, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "set").symlink_to(puppets)
    told = as_json(capsys, "doctor", "--home", str(tmp_path))
    assert told["labkit"] == __version__ and told["packages"]["torch"] and told["home"] == str(tmp_path)
    assert told["data"] == ["data/set: 72 clips, 0 excluded"]
    assert {type(told[key]) for key in ("cores", "threads", "memory_gb", "bf16")} <= {int, float, bool}


def test_check_as_json(puppets, tmp_path, capsys):
    told = as_json(capsys, "data", "check", str(puppets), "--profile", "smoke", "--csv", str(tmp_path / "found.csv"))
    assert told["data"] == "puppets" and told["mode"] == "full"
    assert told["clips"] == {"found": 72, "used": 72, "with a remark": 0, "excluded": 0}
    parts = {row["protocol"]: (row.get("train"), row.get("test")) for row in told["protocols"]}
    assert parts["cross-subject"] == (24, 24) and parts["cross-view"] == (36, 36) and told["trainable"]
    assert told["kinds"] == told["whole folders"] == told["strangers"] == [] and told["published"] is None
    assert len(told["every byte as recorded"]) == 64 and told["csv"] == str(tmp_path / "found.csv")


def test_targets_as_json(smoke_home, capsys):
    (smoke_home / "notebooks").mkdir(exist_ok=True)
    (smoke_home / "notebooks" / "00_a.ipynb").touch()
    where = ("--profile", "smoke", "--protocol", "all", "--home", str(smoke_home))
    assert cli.main(["reproduce", "table2:1", *where, "--workers", "1"]) == 0
    capsys.readouterr()
    rows = as_json(capsys, "targets", *where)
    assert [row["target"] for row in rows] == [target.name for target in targets.get_targets(["everything"])]
    assert {row["protocol"] for row in rows} == {"cross-subject"}
    first = next(row for row in rows if row["target"] == "table2:1")
    assert first["state"] == "done" and first["low"] <= first["ours"] <= first["high"] and first["paper"] == 70.44
    here = lab.open_lab("smoke", home=smoke_home)
    frame = targets.tidy([here])  # the same as a frame; its CSV is what the command left
    assert first["ours"] == pytest.approx(frame[frame["target"] == "table2:1"]["accuracy"].mean())
    frame.to_csv(smoke_home / "mine.csv", index=False, float_format="%.6g")
    left = smoke_home / "runs" / "results-smoke-tidy.csv"
    assert len(frame) and (smoke_home / "mine.csv").read_bytes() == left.read_bytes()
    missing = next(row for row in rows if row["state"] == "missing")
    assert missing["ours"] is None and missing["seeds"] == 0


def test_a_lab_error_anywhere_is_told_in_one_line(home, monkeypatch, capsys):
    def refuse(*_, **__):
        raise LabError(home / "x", "expected a\nthing", "mend it")

    Stage(monkeypatch)
    monkeypatch.setattr(lab, "open_lab", refuse)
    assert cli.main(["run", "--home", str(home)]) == 2
    assert capsys.readouterr().err.splitlines()[2:] == [f"labkit: {home}/x: expected a thing. Fix: mend it"]


# -- settings of a profile ---------------------------------------------------------------------------


def test_a_changed_profile_is_kept_apart_from_the_plain_one(smoke_home, capsys):
    (smoke_home / "notebooks").mkdir(exist_ok=True)
    (smoke_home / "notebooks" / "00_a.ipynb").touch()
    plain = ["reproduce", "table2:15", "table1", "--profile", "smoke", "--workers", "1", "--home", str(smoke_home)]
    name = "smoke+distill.temperature=4.0"
    assert cli.main(plain) == 0 and cli.main([*plain, "--distill.temperature=4"]) == 0
    assert name in capsys.readouterr().out  # the table tells them apart, and so do the files
    tables = [pd.read_csv(smoke_home / "runs" / f"results-{profile}-tidy.csv") for profile in ("smoke", name)]
    rows = [table[table["target"] == "table2:15"].iloc[0] for table in tables]
    assert rows[0]["run"] != rows[1]["run"] and [row["profile"] for row in rows] == ["smoke", name]
    assert all((smoke_home / "runs" / row["run"] / "result.json").exists() for row in rows)
    figures = [smoke_home / "runs" / "notebooks" / profile / "figures" / "table1.csv" for profile in ("smoke", name)]
    assert all(path.exists() for path in figures) and not (smoke_home / "figures" / "table1.csv").exists()
    with_settings = ["targets", "--profile", name, "--home", str(smoke_home)]
    assert cli.main(with_settings) == 0 and name in capsys.readouterr().out  # its name is enough to find it again


@pytest.mark.quick
@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("--step3.lr 1e-3 --model.connection gated", "mini+model.connection=gated+step3.lr=0.001"),
        ("--profile=paper --step3.lr=1e-5 --model.temporal-norm True", "paper+model.temporal_norm=True+step3.lr=1e-05"),
        ("--model.connection None --profile smoke", "smoke+model.connection=None"),
        ("--step3.snapshots 2,4 --step4.lr 1e+5", "mini+step3.snapshots=2,4+step4.lr=100000.0"),
        ("--step3.lr 3e-3 --step3.lr 5e-3", "mini"),  # the last one counts, and it is mini's own
        ("--puppets.nuisance.distance 1,2", "mini+puppets.nuisance.distance=1.0,2.0"),
    ],
)
def test_a_changed_profile_is_named_by_what_was_changed(words, name, monkeypatch):
    opened = []
    monkeypatch.setattr(opening, "open_labs", lambda profile, *_, **__: opened.append(get_profile(profile)) or [])
    monkeypatch.setattr(homes, "find_home", lambda home: home)
    assert cli.main(["targets", *words.split()]) == 0
    assert opened[0].name == name and opened[0] == get_profile(name)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--step3.lrr 1", "a setting such as step3.lr"),
        ("--profile mini+name=mine", "found 'name'"),
        ("--step3.lr fast", "step3.lr as float of 0 or more, found 'fast'"),
        ("--step3.lr nan", "found 'nan'"),
        ("--step3.lr", "found ''"),
        ("--step3.epochs 0", "step3.epochs as int of 1 or more, found '0'"),
        ("--step3.snapshots 1,x", "found '1,x'"),
        ("--model.connection gate", "'multiply', 'gated' | None, found 'gate'"),
        ("--model.backbone ../x", "found '../x'"),
        ("--model.connect_at 5", "model.connect_at as tuple[1, 2, 3, 4, ...], found '5'"),
        ("--distill.objective foo", "'labels', 'hallucination', 'generalized', 'distillation', found 'foo'"),
        ("--distill.feature_layers 9", "distill.feature_layers as tuple[1, 2, 3, 4, ...], found '9'"),
        ("--distill.feature_layers= --step3.lr 1", "distill.feature_layers as"),
        ("--distill.temperature 0", "distill.temperature as float above 0, found '0'"),
        ("--distill.imitation 9", "distill.imitation as float of 0 to 1, found '9'"),
        ("--profile tiny --step3.lr 1", "smoke, mini, paper, found 'tiny'"),
        ("--clips.num_frames 7", "clips.num_frames of at most clips.stored_frames, 5, found 7"),
        ("--clips.num_frames 2", "step1.frames of at most clips.num_frames, 2, found 3,3,3,5,5"),
    ],
)
def test_a_wrong_setting_is_one_line(words, told, capsys, tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_a.ipynb").touch()
    assert cli.main(["reproduce", "table2:1", "--home", str(tmp_path), *words.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line and "Fix: " in line


@pytest.mark.quick
def test_many_changes_still_fit_a_files_name():
    profile = get_profile("mini+" + "+".join(f"step{step}.{name}=0.123" for step in range(1, 5)
                                             for name in ("lr", "weight_decay", "bn_momentum")))  # fmt: skip
    names = [Lab(None, None, None, each).series_name for each in (profile, replace(profile, name=profile.name + "1"))]
    assert len(set(names)) == 2 and max(map(len, names)) < 150 and names[0].startswith("mini+step1.lr=0.123")


def test_help_names_the_settings_and_a_command_lists_them():
    told = labkit("reproduce", "--help").stdout
    assert "labkit settings" in told and "--step3.lr" in told and len(told.splitlines()) < 60
    told = labkit("settings", "--profile", "smoke").stdout
    for setting in settings(get_profile("smoke")):
        assert f"--{setting} " in told
    assert "lambda of eq. 5" in told and "(default: 0.005)" in told and "{None,multiply,gated}" in told


def test_what_an_extra_would_bring_is_told_in_one_line(tmp_path):
    code = (
        "import sys; sys.modules['nbformat'] = None\n"
        "from labkit.cli.main import main; raise SystemExit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "course", "build", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=100)
    fix = "Fix: pip install -e '.[notebooks]' in your copy of the lab"
    assert (done.returncode, done.stderr) == (2, f"labkit: expected the package nbformat, found none. {fix}\n")
