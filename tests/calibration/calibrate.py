"""How the knobs of the embedded set were chosen: on steps 1 and 2 alone, on another draw of the set.

Each row of `table.csv` is one setting tried, in order: the knobs that differ from the first row's,
and the cross-subject accuracies of the RGB stream, the depth stream and, where it was trained, both
together. The sets are drawn with seed 100; the frozen set has seed 0, so none of its clips were
looked at. Run it as `python tests/calibration/calibrate.py HOME '{"distance": [2.1, 2.7]}' rgb depth`;
the last words are the columns to fill.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from labkit import files
from labkit.config import MINI
from labkit.experiments import targets
from labkit.lab import open_lab
from labkit.puppets.opening import puppets_root

TABLE = Path(__file__).with_name("table.csv")
COLUMNS = {"rgb": "table2:2", "depth": "table2:1", "rgb+depth": "table2:8"}
CALIBRATION_SEED = 100


def calibrate(home: Path, knobs: dict, names: dict[str, str]) -> dict:
    """Train the named targets on a set with these knobs and return one row of the table."""
    knobs = {name: tuple(value) if isinstance(value, list) else value for name, value in knobs.items()}
    nuisance = replace(MINI.puppets.nuisance, **knobs)
    profile = replace(MINI, puppets=replace(MINI.puppets, seed=CALIBRATION_SEED, nuisance=nuisance))
    lab = open_lab(profile, home=home)
    table = targets.reproduce(list(names), lab).set_index("target")["ours"].round(1)
    shutil.rmtree(puppets_root(home, profile.puppets))  # the store is enough, and disks are small
    return {"knobs": json.dumps(knobs), **{column: float(table[name]) for name, column in names.items()}}


def main() -> None:
    home, knobs = Path(sys.argv[1]), json.loads(sys.argv[2])
    row = calibrate(home, knobs, {COLUMNS[column]: column for column in sys.argv[3:]})
    tried = pd.read_csv(TABLE) if TABLE.exists() else pd.DataFrame()
    files.write_text(TABLE, pd.concat([tried, pd.DataFrame([row])]).to_csv(index=False))
    print(row, flush=True)


if __name__ == "__main__":
    main()
