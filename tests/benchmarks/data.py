"""What data cost: `python tests/benchmarks/data.py [--scale 2]`.

The loader's share of a training step on a warm store, preparing on two cores against one and after a single
changed clip, reading a prepared clip against decoding its files (pixels compared first), how preparing and
computing grow with clips, frames, classes and pixels (slopes of log time over log size: 1 is proportional), and
an index of as many names as NTU has. On 96 clips of the embedded set at 1/scale of Kinect's resolution. Wall
times of preparing say something only where nothing else runs; all else is CPU time on one thread. Takes about
six minutes and 200 MB of disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch
from common import adam_step, channels_last, compare, joint_training, seconds
from torch.nn import functional as F

from labkit.config import MINI, PAPER, Profile
from labkit.data.index import Index
from labkit.data.modalities import read_aligned
from labkit.data.prepare import prepare
from labkit.data.splits import find_dataset
from labkit.data.store import ClipStore
from labkit.fit import train_step
from labkit.lab import Lab
from labkit.model import build_stream
from labkit.puppets.make import make_puppets
from labkit.puppets.opening import puppets_root
from labkit.runs import RunStore

SUBJECTS = tuple(range(1, 9))
STORE = "rgb-and-depth"
NAMES = (1_000, 10_000, 56_880)
Rows = Iterator[tuple[str, float, str, str]]  # what, value, goal, beside it


def of_the_size(profile: Profile, scale: int) -> Profile:
    """The profile on few clips, RGB and depth alone, from random weights."""
    puppets = replace(profile.puppets, subjects=SUBJECTS, cameras=(1,), scale=scale)
    clips = replace(profile.clips, modalities=("rgb", "depth"))
    return replace(profile, puppets=puppets, clips=clips, model=replace(profile.model, pretrained=False))


def loading(home: Path, index: Index, profile: Profile) -> Rows:
    """Time of making a batch over that of the step it is for, RGB and depth together (step 2)."""
    store = prepare(index, home / f"{profile.name}-store", profile.clips, progress=False)
    split = find_dataset(index.root).split("cross-subject", store)
    training = joint_training(Lab(store, split, RunStore(home / f"{profile.name}-runs"), profile))
    feed, loads, shares = training.batches["train"], [], []
    real = feed.train_batch

    def timed(*arguments):
        taken, batch = seconds(lambda: real(*arguments))
        loads.append(taken)
        return batch

    feed.train_batch = timed
    for number, ids in enumerate(feed.epoch(0, min(profile.step2.batch_size, len(feed.ids))) * 8):
        taken = seconds(lambda ids=ids: train_step(training, ids))[0]
        if number:
            shares.append(loads[-1] / taken)
        if number == 8:
            break
    goal = "<= 0.01" if profile.name == "paper" else "<= 0.10"
    beside = f"{1000 * statistics.median(loads):.1f} ms, {training.precision}"
    yield f"loading / step, {profile.name}", statistics.median(shares), goal, beside


def preparing(home: Path, index: Index, profile: Profile) -> Rows:
    """Wall time of `labkit data prepare` with two workers against one, all of mini's modalities; RGB and depth in
    this process after one clip got another's picture.
    """
    times: dict[int, list[float]] = {1: [], 2: []}
    for number in range(3):
        for workers in times:
            store = home / f"prepared{number}-{workers}"
            command = [sys.executable, "-m", "labkit.cli", "data", "prepare", str(index.root), "--profile", "mini"]
            command += ["--store", str(store), "--workers", str(workers)]
            taken, _ = seconds(lambda: subprocess.run(command, check=True, capture_output=True), time.perf_counter)
            assert len(ClipStore(store)) == len(index)
            times[workers].append(taken)
    one, two = (statistics.median(values) for values in times.values())
    ratio = statistics.median(a / b for a, b in zip(times[1], times[2], strict=True))
    yield "preparing, 1 core / 2 cores", ratio, ">= 1.8", f"{one:.1f} s, {two:.1f} s, {len(index)} clips"
    build = lambda: prepare(index, home / STORE, profile.clips, workers=1, progress=False)
    whole = seconds(build, time.perf_counter)[0]
    first, second = (Path(index.entries[place].files["rgb"]) for place in (0, -1))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    taken, store = seconds(build, time.perf_counter)
    first.write_bytes(kept)
    assert store.built == 1
    goal = f"<= {whole / len(index) + 1:.2f}"
    yield "preparing again after 1 changed clip, s", taken, goal, f"{whole:.1f} s for {len(index)}"


def reading(home: Path, index: Index, profile: Profile) -> Rows:
    """RGB and depth of a clip out of the store against its files, aligned, cropped and resized again."""
    path = home / STORE
    store = prepare(index, path, profile.clips, progress=False)
    entries = [
        entry for entry in index.entries if not store.records[store.rows([entry.id])[0]]["alignment"]["fallback"]
    ]
    ratios: dict[str, list[float]] = {"warm": [], "cold": []}
    for entry in entries:
        row = store.rows([entry.id])
        stored = lambda store=store, row=row: (store.rgb(row)[0], store.depth(row)[0])
        pixels = read_aligned(entry, profile.clips)[0]
        assert all(np.array_equal(a, b) for a, b in zip(stored(), (pixels["rgb"], pixels["depth"]), strict=True))
        decode = lambda entry=entry: read_aligned(entry, profile.clips)
        ratios["warm"].append(compare(decode, stored, 5, time.perf_counter)[0])
        forget(path)
        fresh = ClipStore(path)
        for shard in fresh.shards:
            shard.verify = False
        cold = seconds(lambda: (fresh.rgb(row), fresh.depth(row)), time.perf_counter)[0]
        ratios["cold"].append(seconds(decode, time.perf_counter)[0] / cold)
    for kind, goal in (("warm", ">= 200"), ("cold", ">= 20")):
        yield (
            f"decoding / reading from the store, {kind}",
            statistics.median(ratios[kind]),
            goal,
            f"{len(entries[::8])} clips",
        )


def forget(folder: Path) -> None:
    """Ask the system to drop these files from its cache."""
    for path in folder.glob("*.npy"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def slope(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Of log time over log size, by least squares."""
    return statistics.linear_regression(np.log(sizes).tolist(), np.log(times).tolist()).slope


def step_seconds(clips: int = 32, frames: int = 5, classes: int = 12, side: int = 64) -> Callable[[], None]:
    """A training step of a stream of `mini` on random clips."""
    config = replace(MINI.model, pretrained=False)
    stream = channels_last(build_stream(config, classes, frames))
    given, labels = torch.rand(clips, frames, 3, side, side), torch.arange(clips) % classes
    return adam_step([stream], lambda: F.cross_entropy(stream(given).logits, labels))


GROWTH = {"clips": ((16, 32, 64, 128), 1.0), "frames": ((3, 6, 12, 24), 1.0), "classes": ((12, 60, 240, 960), 0.0),
          "side": ((48, 64, 96, 128), 2.0)}  # fmt: skip


def growth() -> Rows:
    """A step's time against each size alone; the sizes take turns, and the fastest of seven rounds counts."""
    for what, (sizes, expected) in GROWTH.items():
        steps = [step_seconds(**{what: size}) for size in sizes]
        rounds = [[seconds(step)[0] for step in steps] for _ in range(8)][1:]
        fastest = [min(column) for column in zip(*rounds, strict=True)]
        near = "0.02" if what == "classes" else "0.05"
        beside = ", ".join(f"{1000 * taken:.0f}" for taken in fastest) + " ms"
        name, power = ("pixels", 2) if what == "side" else (what, 1)
        yield f"step against {name}, slope", slope(sizes, fastest) / power, f"{expected / power:.0f} +- {near}", beside


def growth_of_preparing(home: Path, index: Index, profile: Profile) -> Rows:
    sizes, times, held = [12, 24, 48, 96], [], []
    for size in sizes:
        part = replace(index, entries=index.entries[:size])
        call = lambda part=part, size=size: prepare(
            part, home / f"first{size}", profile.clips, workers=1, progress=False
        )
        times.append(seconds(call)[0])
        held.append(psutil.Process().memory_info().rss / 2**20)
    beside = (
        ", ".join(f"{taken:.1f}" for taken in times) + f" s; memory held, last - second {held[-1] - held[1]:+.0f} MiB"
    )
    yield "preparing against clips, slope", slope(sizes, times), "1 +- 0.05", beside


def write_names(root: Path, count: int) -> None:
    """That many clips of NTU60 by name alone: empty videos, skeletons and depth folders."""
    for part in ("nturgb+d_rgb", "nturgb+d_depth_masked", "nturgb+d_skeletons"):
        (root / part).mkdir(parents=True)
    for number in range(count):
        rest, action = divmod(number, 60)
        rest, camera = divmod(rest, 3)
        replication, rest = rest % 2, rest // 2
        subject, setup = rest % 40, rest // 40
        name = f"S{setup + 1:03d}C{camera + 1:03d}P{subject + 1:03d}R{replication + 1:03d}A{action + 1:03d}"
        (root / "nturgb+d_rgb" / f"{name}_rgb.avi").touch()
        (root / "nturgb+d_depth_masked" / name).mkdir()
        (root / "nturgb+d_skeletons" / f"{name}.skeleton").touch()


INDEX = """
import sys, time
from common import peak_memory
from labkit.data.splits import find_dataset
before = peak_memory()
begin = time.process_time()
index = find_dataset(sys.argv[1]).index(sys.argv[1])
taken = time.process_time() - begin
print(len(index) + len(index.excluded), taken, peak_memory() - before)
"""


def names(home: Path) -> Rows:
    """The index in a process of its own, the second time round."""
    times = []
    for count in NAMES:
        root = home / f"names{count}"
        write_names(root, count)
        told = [
            subprocess.check_output([sys.executable, "-c", INDEX, str(root)], cwd=Path(__file__).parent, text=True)
            for _ in range(2)
        ]
        found, taken, memory = map(float, told[-1].split())
        assert found == count
        times.append(taken)
        yield f"index of {count:,} names, s", taken, "<= 5", f"{memory:.0f} MiB (goal <= 200)"
    yield "index against names, slope", slope(NAMES, times), "about 1", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scale", type=int, default=2)
    scale = parser.parse_args().scale
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, load average {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        home, (mini, paper) = Path(folder), (of_the_size(profile, scale) for profile in (MINI, PAPER))
        root = make_puppets(puppets_root(home, mini.puppets), mini.puppets, progress=False)
        index = find_dataset(root).index(root)
        jobs = (
            lambda: names(home), growth, lambda: preparing(home, index, mini), lambda: reading(home, index, mini),
            lambda: growth_of_preparing(home, index, mini), lambda: loading(home, index, mini),
            lambda: loading(home, index, paper),
        )  # fmt: skip
        for job in jobs:
            for what, value, goal, beside in job():
                print(f"{what:<46}{value:>9.3f}{goal:>12}  {beside}", flush=True)


if __name__ == "__main__":
    main()
