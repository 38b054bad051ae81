"""What the lab adds to its trainings: `python tests/benchmarks/whole_lab.py [--parts rows,checkpoints,notebooks]`.

rows: after one row's setting was edited, CPU time of asking for it again over that row's own training.
checkpoints: wall time of saving one over the time between two, and over a bare `torch.save` of the same tensors.
notebooks: `labkit run --profile smoke` from nothing, with copies of the notebooks that note when their first and
last cells ran: what each takes beyond its cells, and the share of all CPU time that trainings have. One thread a
process, so that a training's seconds are CPU seconds; on a busy machine only `rows` holds. Takes six minutes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import torch
from common import compare, joint_training, seconds
from tiny import MemoryStore, tiny_lab

from labkit import fit as fitting
from labkit.config import MINI, PAPER, Profile
from labkit.experiments.graph import run_graph
from labkit.files import read_json
from labkit.fit import train_step
from labkit.runs import RunStore

ROOT = Path(__file__).resolve().parents[2]
Rows = Iterator[tuple[str, float, str, str]]  # what, value, goal, beside it
BEGIN = "import time as _clock; _began = _clock.time()"
END = """import json as _json, os as _os, pathlib as _pathlib
_pathlib.Path(_os.environ["BENCH_TIMES"], "{name}").write_text(str(_clock.time() - _began), encoding="utf-8")"""


def rows() -> Rows:
    """Five trainings of `mini` on random clips; then step 4 with another learning rate."""
    with tempfile.TemporaryDirectory() as folder:
        profile = MINI.steps(precision="fp32", epochs=40, batch_size=6)
        lab = replace(tiny_lab(folder), clips=MemoryStore(24, MINI.clips.size), profile=profile)
        run_graph([(lab, ["rgb_only"])]).check()
        edited = replace(lab, profile=replace(profile, step4=replace(profile.step4, lr=1e-3)))
        own, real = [], fitting.fit

        def timed(*arguments) -> None:
            own.append(seconds(lambda: real(*arguments))[0])

        fitting.fit = timed
        whole, report = seconds(lambda: run_graph([(edited, ["rgb_only"])]))
        fitting.fit = real
        assert report.counts()["run"] == len(own) == 1, report
        yield "one edited row / its own training", whole / own[0], "<= 1.05", f"{whole:.1f} s, {own[0]:.1f} s"


def checkpoints() -> Rows:
    """Of step 2, with Adam's moments and the weights chosen so far; a bare save of the same tensors beside."""
    for profile in (MINI, PAPER):
        with tempfile.TemporaryDirectory() as folder:
            yield from checkpoint(profile, Path(folder))


def checkpoint(profile: Profile, folder: Path) -> Rows:
    profile = replace(profile, model=replace(profile.model, pretrained=False)).steps(precision="fp32")
    clips = MemoryStore(24, profile.clips.size)
    training = joint_training(replace(tiny_lab(folder), clips=clips, profile=profile))
    session = training.session
    with training.run.lock():
        train_step(training, clips.ids[:2])
        session.keep_best(0.5)

        def save() -> None:
            session.position.step += 1
            session.save()

        states = [session.weights(), session.best_weights, training.optimizer.state_dict()]
        bare = lambda: torch.save(states, folder / "bare.pt")
        ratio, ours, theirs = compare(save, bare, 5, time.perf_counter)
    size = (folder / "bare.pt").stat().st_size / 1e6
    beside = f"{ours:.2f} s, {session.pause:.0f} s, {size:.0f} MB"
    yield f"a checkpoint / the time to the next, {profile.name}", ours / session.pause, "<= 0.01", beside
    yield f"a checkpoint / torch.save, {profile.name}", ratio, "<= 1.6", f"{ours:.2f} s, {theirs:.2f} s"


def notebooks() -> Rows:
    """Every notebook at profile smoke, from nothing."""
    with tempfile.TemporaryDirectory() as folder:
        home, times = Path(folder), Path(folder) / "times"
        times.mkdir()
        copies = list(copy_notebooks(home / "notebooks"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LABKIT_")}
        variables = {**kept, "OMP_NUM_THREADS": "1", "BENCH_TIMES": str(times)}
        command = [sys.executable, "-m", "labkit.cli", "run", "--profile", "smoke", "--home", str(home)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall, done = seconds(lambda: subprocess.run(command, env=variables, check=False), time.perf_counter)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, "a notebook did not succeed"
        states = home / "runs" / "notebooks" / "smoke"
        took = [read_json(states / f"{name}.status.json")["seconds"] for name in copies]
        cells = [float((times / name).read_text(encoding="utf-8")) for name in copies]
        extra = [whole - part for whole, part in zip(took, cells, strict=True)]
        beside = f"{sum(took):.0f} s, {sum(cells):.0f} s in cells"
        yield "notebooks: beyond their cells / all", sum(extra) / sum(took), "<= 0.05", beside
        yield "notebooks: beyond its cells, s (median)", statistics.median(extra), "<= 2.5", f"most {max(extra):.1f} s"
        cpu = sum(getattr(after, part) - getattr(before, part) for part in ("ru_utime", "ru_stime"))
        finished = [run for run in RunStore(home / "runs").runs() if "record.json" in run.manifest()]
        trained = sum(run.load_json("record.json")["seconds"] for run in finished)
        beside = f"{trained:.0f} s of {cpu:.0f} CPU s, {len(finished)} trainings, {wall:.0f} s in all"
        yield "trainings / all CPU time, smoke", trained / cpu, ">= 0.85", beside


def copy_notebooks(folder: Path) -> Iterator[str]:
    """Copies with a cell more at either end; yields their names."""
    folder.mkdir()
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(0, nbformat.v4.new_code_cell(BEGIN))
        notebook.cells.append(nbformat.v4.new_code_cell(END.format(name=path.stem)))
        nbformat.write(notebook, folder / path.name)
        yield path.stem


PARTS = {"rows": rows, "checkpoints": checkpoints, "notebooks": notebooks}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, load average {os.getloadavg()[0]:.1f}")
    for part in parser.parse_args().parts.split(","):
        for what, value, goal, beside in PARTS[part]():
            print(f"{what:<44}{value:>9.3f}{goal:>10}  {beside}", flush=True)


if __name__ == "__main__":
    main()
