"""What Table 3 costs: CPU time of its seven readings over one clean evaluation: `python tests/benchmarks/noise.py`.

Medians over interleaved pairs on one thread; the clean logits are compared before the times. Computing
every reading from scratch would cost 7; the least there is to compute is 6.3 with connections and 3.5
without. Takes about two minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import torch
from common import compare
from tiny import MemoryStore, tiny_lab

from labkit.clips import Batches
from labkit.config import MINI, PAPER, Profile
from labkit.experiments.noise import CORRUPTIONS, Study
from labkit.fit import TEST_BATCH, evaluate
from labkit.lab import Lab
from labkit.runs import Run
from labkit.trainers import train_stream, train_two_stream

TABLE3 = [CORRUPTIONS[kind] for kind in ("none", "speckle", "void")]


def small_lab(folder: str, profile: Profile, train: int, test: int) -> Lab:
    """A lab of random clips at a profile's size, trained for a step or two."""
    store = MemoryStore(train + 1 + test, profile.clips.size)
    ids = store.ids
    split = SimpleNamespace(name="tiny", train=ids[:train], validation=ids[train : train + 1], test=ids[train + 1 :])
    profile = replace(profile, model=replace(profile.model, pretrained=False))
    profile = profile.steps(epochs=1, batch_size=train, precision="fp32", lr=1e-4)
    return replace(tiny_lab(folder), clips=store, split=split, profile=profile)


def clean_evaluation(lab: Lab, study: Study) -> Callable[[], torch.Tensor]:
    """Row 8's own evaluation, as at the end of a training."""
    pair = study.streams
    read = lambda batch: {"fused": pair(batch["rgb"], batch["depth"]).logits}
    batches = Batches(lab, lab.split.test, ("rgb", "depth"))
    return lambda: torch.from_numpy(evaluate(pair, read, batches)["fused"])


def sweep(study: Study) -> Callable[[], torch.Tensor]:
    def scored() -> torch.Tensor:
        study.streams.eval()
        ids = study.batches.ids
        with torch.inference_mode():
            batches = (ids[start : start + TEST_BATCH] for start in range(0, len(ids), TEST_BATCH))
            return torch.cat([torch.stack(list(study.score(batch))) for batch in batches], dim=1)

    return scored


def ratio(lab: Lab, two_stream: Run, pairs: int) -> tuple[float, float, float]:
    study = Study(lab, two_stream, "source", TABLE3)
    ours, clean = sweep(study), clean_evaluation(lab, study)
    torch.testing.assert_close(ours()[0], clean())
    return compare(ours, clean, pairs)


def main() -> None:
    torch.set_num_threads(1)
    for profile, train, test, pairs in ((MINI, 8, 128, 5), (PAPER, 2, 2, 3)):
        with tempfile.TemporaryDirectory() as folder:
            lab = small_lab(folder, profile, train, test)
            depth, rgb = train_stream(lab, "depth"), train_stream(lab, "rgb")
            for connection, goal in (("multiply", 6.6), (None, 3.8)):
                run = train_two_stream(lab, depth, rgb, connection=connection)
                found, ours, clean = ratio(lab, run, pairs)
                name = "with connections" if connection else "without"
                seconds = f"({ours:.2f} s, {clean:.2f} s)"
                print(f"{profile.name:<6} {name:<17} {found:5.2f}  goal {goal}  {seconds}", flush=True)


if __name__ == "__main__":
    main()
