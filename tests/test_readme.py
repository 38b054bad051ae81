"""The README's results are those of figures/tidy.csv: means over seeds and their intervals, to a tenth of a point."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from labkit.experiments.statistics import seed_interval
from labkit.experiments.targets import TARGETS

HOME = Path(__file__).resolve().parents[1]
CONTROLS = {  # what the README says in words
    "*other reading:* row 3 with the depth stream frozen below eq. 3's layer": "reading:3-frozen",
    "*other reading:* row 3 with Hoffman et al.'s own weights": "reading:3-weighted",
    "*other reading:* row 7 without depth's signals": "reading:7",
    "*control of 8:* two RGB streams": "control:8",
    "*oracle:* with depth injected": "oracle:13",
    "*control:* second RGB stream, labels alone": "control:13",
    "*control:* **depth's weights, labels alone**": "untaught:13",
    "*control of 15:* two RGB streams, same budget": "control:15",
    "*control of 15:* **depth's weights, labels alone**": "untaught:15",
    "*control of 15:* **optical flow's weights, labels alone**": "start:flow-15",
    "*recipe:* row 14's hallucination in step 4": "recipe:best",
    "*recipe* with no connections at all": "recipe:late-fusion",
    "*recipe* taught by an RGB stream instead of depth": "recipe:self",
    "*recipe* started from RGB's weights": "recipe:seen-start",
    "*one stream:* eq. 5 alone, depth teacher": "system:generalized",
    "*control:* eq. 5 alone, RGB teacher": "system:generalized-rgb",
    "*one stream:* MARS, depth teacher": "system:mars",
    "*one stream:* FCKD-style, depth teacher": "system:focal",
    "*one stream:* FCKD-style, depth, flow and skeleton teachers": "system:focal-several",
    "*one stream:* Radevski et al., RGB and depth teachers": "system:ensemble-depth",
    "*control:* Radevski et al., two RGB teachers": "system:ensemble-rgb",
    "*one stream:* Radevski et al., RGB, flow and layout teachers": "radevski:uniform",
}


def rows() -> list[tuple[str, ...]]:
    text = (HOME / "README.md").read_text(encoding="utf-8").partition("## Results")[2].partition("## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [tuple(row) for row in cells[2:]]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0] or row[1])
def test_a_row_of_the_readme(row):
    number, model, _, paper, ours, seeds = row
    target = TARGETS[f"table2:{number}" if number else CONTROLS[model]]
    table = pd.read_csv(HOME / "figures" / "tidy.csv")
    found = table[(table["target"] == target.name) & (table["protocol"] == "cross-subject")]
    assert len(found) == int(seeds)
    printed = target.paper.get("cross-subject")
    assert paper == ("–" if printed is None else f"{printed:.1f}")
    wanted = [100 * value for value in seed_interval(found["accuracy"] / 100) if value is not None]
    numbers = [float(value) for value in re.findall(r"[\d.]+", ours)]
    assert numbers == pytest.approx(wanted, abs=0.0501)


def test_every_row_of_table_2_that_decides_is_there():
    shown = {row[0] or CONTROLS[row[1]] for row in rows()}
    assert {"1", "2", "8", "13", "14", "15", "control:15", "untaught:15", "recipe:best"} <= shown
