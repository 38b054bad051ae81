"""Run by `accelerate launch` in tests/test_processes.py: the four steps on the tiny lab, several processes together."""

from __future__ import annotations

import sys

import torch
from test_trainers import four_steps
from tiny import tiny_lab

from labkit.noise import measure_noise


def main(root: str, batch_size: int) -> None:
    torch.set_num_threads(1)
    lab = tiny_lab(root, epochs=2, batch_size=batch_size)
    runs = four_steps(lab)
    measure_noise(lab, runs[2])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
