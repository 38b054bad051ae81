"""NTU's own sizes on this machine, without NTU: `python tests/benchmarks/true_size.py [--workers 2] [--root DIR]`.

60 clips of the embedded set at full resolution (1920x1080 MPEG-4, 512x424 depth), in NTU's layout, go through
check, prepare and one step of training at the paper profile (untrained weights; nothing is fetched). Per stage:
wall time, CPU time of all processes, clips a second, CPU milliseconds a clip, and the peak memory so far of this
process and of the largest worker. Then seeking the stored frames against decoding whole files, pixels compared
first: in the set's short files, and in files of NTU's usual length.
Needs 500 MB of disk, freed at the end (a --root given stays). Minutes on an idle machine; where others work too,
CPU times say more than wall times.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np

from labkit.clips import sample_frames
from labkit.config import PAPER, Profile, PuppetsConfig
from labkit.data.check import check_clips
from labkit.data.media.video import frame_times, read_video
from labkit.data.prepare import prepare
from labkit.data.splits import find_dataset
from labkit.data.store import ClipStore
from labkit.files import sha256_json
from labkit.lab import Lab
from labkit.puppets.make import make_puppets
from labkit.puppets.opening import with_possible
from labkit.runs import RunStore

SUBJECTS = (1, 2, 3, 4, 6)  # validation, two of training, two of test; with 12 actions and one camera: 60 clips
SEEK_FILES, SEEK_ROUNDS = 6, 7  # the best of the rounds counts: caches are warm in both
NTU_FRAMES = 80  # in the middle; puppets act in a quarter of that, where five frames leave little to skip


def cpu_seconds() -> float:
    """Of this process and of its workers that have ended."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def stage(name: str, clips: int, work: Callable) -> object:
    """Do it, and print a line of the table."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = work()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"{name:<34}{wall:>8.1f}{cpu:>8.1f}{clips / wall:>9.2f}{1000 * cpu / clips:>9.0f}"
          f"{peaks[0]:>8.0f}{peaks[1]:>8.0f}", flush=True)  # fmt: skip
    return result


def train_steps(root: Path, store: ClipStore, profile: Profile) -> Callable:
    """One optimizer step of step 1's RGB stream on five clips."""
    import torch
    from torch.nn import functional as F

    from labkit.fit import Training, train_step
    from labkit.trainers import new_stream

    torch.set_num_threads(min(torch.get_num_threads(), 2))
    split = find_dataset(root).split("cross-subject", store)
    lab = Lab(store, split, RunStore(root.with_name(f"{root.name}-runs")), profile, root=root)
    stream = new_stream(lab, "bench")
    training = Training(
        lab.run("bench", {"modalities": {"stream": "rgb"}}), lab, profile.step1,
        network=stream, trained={"stream": stream},
        forward=lambda batch, _: stream(batch["rgb"]).logits,
        loss=lambda logits, _, labels: {"total": F.cross_entropy(logits.float(), labels)},
        read=lambda batch: {"stream": stream(batch["rgb"]).logits},
    )  # fmt: skip
    return lambda: train_step(training, list(split.train[: profile.step1.batch_size]))


def seek_ratio(what: str, paths: list[Path], num_frames: int) -> None:
    """CPU time of decoding whole files over that of seeking the frames that a store keeps; pixels first."""
    ratios, milliseconds = [], []
    for path in paths:
        chosen = sample_frames(len(frame_times(path)), num_frames).tolist()
        assert np.array_equal(read_video(path, chosen), read_video(path, chosen, seek=False)), path.name
        best = {True: np.inf, False: np.inf}  # by whether it seeks
        for _ in range(SEEK_ROUNDS):
            for seek in best:
                begin = time.process_time()
                read_video(path, chosen, seek=seek)
                best[seek] = min(best[seek], 1000 * (time.process_time() - begin))
        ratios.append(best[False] / best[True])
        milliseconds.append(list(best.values()))
    wholes, seeks = (statistics.median(column) for column in list(zip(*milliseconds, strict=True))[::-1])
    print(f"whole decode / seek of {num_frames} frames, {what}, {len(paths)} files, pixels equal: "
          f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), "
          f"{wholes:.0f} and {seeks:.0f} ms of CPU", flush=True)  # fmt: skip


def as_long_as_ntu(path: Path, folder: Path) -> Path:
    """The clip played to and fro until it has NTU_FRAMES frames, with a camera's noise, at NTU's bit rate."""
    pictures = read_video(path)
    noise = np.random.default_rng(0).normal(0, 4, pictures[0].shape).astype(np.int8)  # grey levels
    there_and_back = [*range(len(pictures)), *range(len(pictures) - 2, 0, -1)]
    made = folder / path.name
    with av.open(str(made), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt, stream.codec_context.gop_size, stream.bit_rate = "yuv420p", 12, 11_000_000
        for number in range(NTU_FRAMES):
            fresh = np.roll(noise, (37 * number, 101 * number), (0, 1))
            clean = pictures[there_and_back[number % len(there_and_back)]]
            picture = np.clip(clean.astype(np.int16) + fresh, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path)
    arguments = parser.parse_args()
    profile = replace(PAPER, model=replace(PAPER.model, pretrained=False))
    config = PuppetsConfig(subjects=SUBJECTS, cameras=(1,), scale=1)
    with tempfile.TemporaryDirectory() as folder:
        root = (arguments.root or Path(folder)) / f"puppets-{sha256_json(SUBJECTS)[:8]}"
        print(f"{os.cpu_count()} cores, {arguments.workers} workers, load average {os.getloadavg()[0]:.1f}")
        print(f"{'':<34}{'wall s':>8}{'CPU s':>8}{'clips/s':>9}{'CPU ms/c':>9}{'MiB':>8}{'worker':>8}")
        stage("make", 60, lambda: make_puppets(root, config, workers=arguments.workers, progress=False))
        measure(root, profile, arguments.workers)


def measure(root: Path, profile: Profile, workers: int) -> None:
    """Every stage after the files are there."""
    data, options = find_dataset(root), {"workers": workers, "progress": False}
    index = stage("index", 60, lambda: data.index(root))
    chosen = with_possible(profile, index)
    for mode in ("quick", "full"):
        look = partial(check_clips, data, root, chosen.clips, mode=mode, **options)
        found = stage(f"check, {mode}", 60, look)
        assert found.count("excluded") == 0, found.kinds()
    store_dir = root.with_name(f"{root.name}-store")
    store = stage("prepare, 5 frames", 60, lambda: prepare(index, store_dir, chosen.clips, **options))
    nine = replace(chosen.clips, stored_frames=9)
    stage("prepare, 9 frames", 60, lambda: prepare(index, root.with_name(f"{root.name}-nine"), nine, **options))
    again = stage("prepare again, nothing changed", 60, lambda: prepare(index, store_dir, chosen.clips, **options))
    assert again.built == 0 and again.fingerprint == store.fingerprint
    step = stage("build ResNet-50 and its training", 1, lambda: train_steps(root, store, chosen))
    for name in ("first", "second"):
        terms = stage(f"one training step, 5 clips, {name}", 5, step)
        assert all(np.isfinite(list(terms.values()))), terms
    videos = [root / "nturgb+d_rgb" / f"{clip}_rgb.avi" for clip in store.ids[:: len(store) // SEEK_FILES][:SEEK_FILES]]
    print()
    seek_ratio("the set's own, about 20 frames", videos, store.num_frames)
    with tempfile.TemporaryDirectory() as folder:
        long = [as_long_as_ntu(path, Path(folder)) for path in videos]
        for num_frames in (5, 9):
            seek_ratio(f"{NTU_FRAMES} frames (goal for 5: >= 2.2)", long, num_frames)


if __name__ == "__main__":
    main()
