"""What sharing one training among processes costs: `python tests/benchmarks/processes.py [--rounds 3]`.

Steps of RGB + depth together (step 2 of `mini`, batches of 32 clips) by one process with two threads, and by two
processes of `torchrun` with a thread each: the same cores, so the ratio of their clips a second is what
averaged gradients, shared batch statistics and a second interpreter take. The first losses are compared beside it.
Wall times, in turn: they say something only where nothing else runs. Takes two minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

BATCH, WARM_UP, STEPS = 32, 3, 12
ALONE, TOGETHER = (1, 2), (2, 1)  # processes, threads in each


def train(folder: str, threads: int, precision: str) -> None:
    """One process's part; the main one prints clips a second and the losses."""
    import torch
    from common import joint_training
    from tiny import MemoryStore, tiny_lab

    from labkit.config import MINI
    from labkit.fit import together, train_step
    from labkit.tools.parallel import join_launch

    torch.set_num_threads(threads)
    join_launch()
    clips, profile = MemoryStore(2 * BATCH, MINI.clips.size), MINI.steps(precision=precision)
    training, losses = joint_training(replace(tiny_lab(folder), clips=clips, profile=profile)), []
    for number in range(WARM_UP + STEPS):
        if number == WARM_UP:
            begin = time.perf_counter()
        ids = clips.ids[BATCH * (number % 2) :][:BATCH]
        losses.append(together(train_step(training, ids), False)[0]["total"])
    if training.accelerator.is_main_process:
        print(json.dumps([BATCH * STEPS / (time.perf_counter() - begin), losses[:WARM_UP]]))


def launch(count: int, threads: int, precision: str) -> tuple[float, list[float]]:
    """Clips a second of all processes together, and the first losses."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count),
                   __file__, "--train", folder, str(threads), precision]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", nargs=3, metavar=("FOLDER", "THREADS", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        folder, threads, precision = arguments.train
        return train(folder, int(threads), precision)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    print(f"{'':<12}{'1 process':>12}{'2 processes':>12}  clips a second{'ratio':>9}  (>= 0.80), losses differ by")
    for precision in ("fp32", "auto"):
        pairs = [(launch(*ALONE, precision), launch(*TOGETHER, precision)) for _ in range(arguments.rounds)]
        ratio = statistics.median(two[0] / one[0] for one, two in pairs)
        rates = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
        gap = max(abs(a - b) for one, two in pairs for a, b in zip(one[1], two[1], strict=True))
        print(f"{precision:<12}{rates[0]:>12.1f}{rates[1]:>12.1f}{'':<16}{ratio:>9.2f}  {gap:.1e}", flush=True)
    return None


if __name__ == "__main__":
    main()
