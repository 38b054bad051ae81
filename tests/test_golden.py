"""A change that moves results raises `TRAINING_VERSION`; one that moves none leaves it alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_every_step_computes_what_its_version_stands_for():
    script = [sys.executable, str(HERE / "golden.py")]
    found = json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    kept = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
    assert found["version"] == kept["version"], "keep the new numbers: python tests/golden.py --write"
    for step, numbers in kept["numbers"].items():
        for name, value in numbers.items():
            fix = "raise TRAINING_VERSION and run python tests/golden.py --write"
            assert found["numbers"][step][name] == pytest.approx(value, rel=1e-6), f"{step}, {name}: {fix}"
