"""The numbers that `TRAINING_VERSION` stands for: every step on the tiny lab, in double precision.

python tests/golden.py           prints them
python tests/golden.py --write   keeps them in golden.json, after TRAINING_VERSION was raised
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from several import in_double_precision
from test_trainers import four_steps
from tiny import tiny_lab

from labkit.runs import TRAINING_VERSION, WEIGHTS

KEPT = Path(__file__).with_name("golden.json")


def measure() -> dict:
    """By step: the loss after each epoch and two sums over the weights, from six batches an epoch."""
    torch.set_num_threads(1)
    in_double_precision()
    numbers = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in zip(("depth", "rgb", "step2", "step3", "step4"), four_steps(tiny_lab(folder)), strict=True):
            weights, _ = run.load_tensors(WEIGHTS)
            kept = [value.double() for value in weights.values() if value.is_floating_point()]
            numbers[name] = {
                "losses": [epoch["total"] for epoch in run.load_json("history.json")["epochs"]],
                "sum": float(sum(value.abs().sum() for value in kept)),
                "squares": float(sum(value.square().sum() for value in kept)),
            }
    return {"version": TRAINING_VERSION, "numbers": numbers}


if __name__ == "__main__":
    text = json.dumps(measure(), indent=1) + "\n"
    if "--write" in sys.argv:
        KEPT.write_text(text, encoding="utf-8")
    print(text)
