"""Run by `accelerate launch` in tests/test_processes.py: the four steps on the tiny lab, several processes together."""

from __future__ import annotations

import sys

import torch
from accelerate import PartialState
from test_trainers import four_steps
from tiny import tiny_lab

from labkit.experiments.studies.noise import measure_noise
from labkit.model import Stream
from labkit.tools.parallel import join_launch


def in_double_precision() -> None:
    """All that the lab computes, in double precision: what rounding does is out of the way."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # where half precision is widened
    begin = Stream.begin
    Stream.begin = lambda stream, clip: begin(stream, clip.double())


def main(root: str, batch_size: int, precision: str) -> None:
    torch.set_num_threads(1)
    join_launch()
    if precision == "double":
        in_double_precision()
    lab = tiny_lab(root, epochs=2, batch_size=batch_size)
    runs = four_steps(lab)
    measure_noise(lab, runs[2])
    print(f"process {PartialState().process_index} of {PartialState().num_processes}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
