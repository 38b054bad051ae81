"""The table of targets holds the paper's numbers, typed here once more from its tables."""

from __future__ import annotations

import re

from labkit.experiments.target_table import TARGETS

LONGEST = 52  # characters of a name, so that it fits beside a figure

PAPER = {  # Tables 2 and 3 and the supplement, in %: cross-subject, cross-view; None: not printed
    "table2:1": (70.44, 75.16), "table2:2": (66.52, 71.39), "table2:3": (64.64, None), "table2:4": (68.60, None),
    "table2:5": (70.70, None), "table2:6": (71.09, 77.30), "table2:7": (66.68, 56.26), "table2:8": (79.73, 81.43),
    "table2:9": (78.27, 82.11), "table2:10": (69.93, 70.64), "table2:11": (70.47, None), "table2:12": (71.52, None),
    "table2:13": (71.93, 74.10), "table2:14": (71.10, None), "table2:15": (73.42, 77.21),
    "suppl:6a": (66.60, 73.68), "suppl:7a": (63.98, 61.18), "suppl:8a": (74.45, 78.55), "suppl:13a": (68.47, 72.77),
    "suppl:15a": (66.86, 73.34),
    "table3:none": (None, 81.43), "table3:1e-3": (None, 81.34), "table3:1e-2": (None, 81.12),
    "table3:1e-1": (None, 76.85), "table3:1e0": (None, 62.47), "table3:1e1": (None, 51.43),
    "table3:void": (None, 14.24),
}  # fmt: skip


def test_every_number_of_the_paper():
    for name, printed in PAPER.items():
        found = TARGETS[name].paper
        assert tuple(found.get(protocol) for protocol in ("cross-subject", "cross-view")) == printed, name
    ours = {name for name, target in TARGETS.items() if target.group in ("table2", "suppl", "table3")}
    assert ours == {*PAPER}


def test_models_have_names_of_their_own_that_a_reader_understands_without_a_row():
    titles = {name: target.title for name, target in TARGETS.items()}
    assert len({*titles.values()}) == len(titles) == len({target.named for target in TARGETS.values()})
    assert not [title for title in titles.values() if re.search(r"\b[Rr]ows?\b|[()]|table2|control", title)]
    assert not [t for name, t in titles.items() if len(t) > LONGEST and TARGETS[name].group != "switch"]


def test_brackets_hold_the_row_or_what_else_a_model_is_there_for():
    said = {"table2:15": "hallucination + RGB (row 15)", "suppl:15a": "inverted hallucination + depth (row 15a)",
            "control:8": "two RGB streams (control)", "untaught:13": "depth's weights, labels alone (control)",
            "oracle:13": "hallucination with depth's signals (oracle)", "lesson:13": "taught by RGB + depth",
            "table3:none": "RGB + clean depth"}  # fmt: skip
    assert {name: TARGETS[name].named for name in said} == said
    for target in TARGETS.values():
        row = target.group in ("table2", "suppl")
        assert target.named.startswith(target.title) and (target.row != "") == row
        assert target.named.endswith(f" (row {target.row})") == row
        assert target.named.endswith(" (control)") == (target.role == "control")
