"""Named tables and figures: what they need, and that they draw what the runs hold."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from tiny import tiny_lab

from labkit.analysis import verdicts
from labkit.analysis.verdicts import claims_table
from labkit.errors import LabError
from labkit.experiments import targets
from labkit.experiments.trainings import TRAININGS, make
from labkit.figures import paper, style
from labkit.figures.paper import TABLES_AND_FIGURES, save, table1
from labkit.figures.results import claims_figure, effects_figure
from labkit.notebook.display import readable


def test_they_need_trainings_that_there_are():
    assert {"table1", "fig3", "fig4", "claims"} <= {*TABLES_AND_FIGURES}
    for one in TABLES_AND_FIGURES.values():
        assert {*one.trainings} <= {*TRAININGS}
    assert TABLES_AND_FIGURES["fig3"].trainings == ()
    assert set(TABLES_AND_FIGURES["fig4"].trainings) == {"hallucination", "hallucination_unconnected"}


def test_they_are_known_by_the_names_that_messages_give():
    assert tuple(TABLES_AND_FIGURES) == targets.FIGURE_NAMES and not {*TABLES_AND_FIGURES} & {*targets.TARGETS}
    with pytest.raises(LabError, match="tables and figures table1, fig3, fig4"):
        targets.get_targets(["fig5"])


def test_they_need_each_seed_of_their_trainings(tmp_path):
    lab = tiny_lab(tmp_path)
    wanted = targets.needs([TABLES_AND_FIGURES["fig4"], TABLES_AND_FIGURES["fig3"]], [lab], seeds=2)
    assert [bench.seed for bench, _ in wanted] == [0, 1]
    assert wanted[0][1] == ["hallucination", "hallucination_unconnected"]
    assert targets.needs([TABLES_AND_FIGURES["fig3"]], [lab]) == [(lab, [])]


def test_what_these_clips_cannot_have_is_not_asked_for(tmp_path):
    """No clip without a label: no gap of a lesson over unlabelled pairs; the other gaps stay."""
    gaps = TABLES_AND_FIGURES["gaps"]
    possible = gaps.possible(tiny_lab(tmp_path))
    assert {*possible.sides} == {side for side in gaps.sides if not {"lesson_unlabelled", "lesson_rgb_only"} & {*side}}
    assert len(possible.sides) > 4


def test_table1_cites_the_paper_and_shows_ours_beside_its_own_rows(tmp_path):
    lab = tiny_lab(tmp_path)
    run = make("depth", lab)
    table = table1(lab).set_index("method")
    assert len(table) == 15 and table["target"].notna().sum() == 6
    assert table.loc["Liu et al.", ["paper cross-subject", "paper cross-view"]].tolist() == [77.5, 84.5]
    final = table.loc["hallucination + RGB (row 15)", ["paper cross-subject", "paper cross-view"]]
    assert final.tolist() == [73.42, 77.21]
    assert table.loc["depth alone (row 1)", "ours"] == 100 * run.result["outputs"]["stream"]["test"]["accuracy"]
    assert table.loc["Liu et al.", "ours"] is None or np.isnan(table.loc["Liu et al.", "ours"])
    assert np.isnan(table["ours"].astype(float)).sum() == 14


def test_both_protocols_stand_beside_the_paper_and_are_readable(tmp_path):
    lab = tiny_lab(tmp_path)
    lab.split.name = "cross-subject"
    other = replace(lab, split=SimpleNamespace(**{**vars(lab.split), "name": "cross-view"}))
    chosen = targets.get_targets(["table2:1", "table2:3"])
    table = paper.beside_paper([lab, other], chosen)
    assert list(table.index) == ["table2:1", "table2:3"] and (table["cross-view", "seeds"] == 0).all()
    assert table.loc["table2:1", [("cross-subject", "paper"), ("cross-view", "paper")]].tolist() == [70.44, 75.16]
    shown = readable(table)
    assert shown["cross-view"].loc["table2:3"].tolist() == ["–", "–", "–", 0]
    assert list(shown["cross-subject"]) == ["paper", "ours", "95 % interval", "seeds"]
    first = readable(paper.table1_by_protocol([lab, other]))
    assert first["cross-view"].loc["Liu et al.", "paper"] == "84.5" and first.index[3] == "depth alone (row 1)"
    strange = replace(lab, split=SimpleNamespace(**{**vars(lab.split), "name": "random"}))
    assert len(paper.table1_by_protocol([strange])) == 6  # ours, without figures of others on another split


def test_readable_tables_round_and_join_the_ends_of_intervals():
    table = pd.DataFrame({"model": ["a", "b"], "ours": [1.25, None], "low": [0.5, None], "high": [2.0, None],
                          "seeds_needed": [10.0, None], "p": [0.00021, 1.0]})  # fmt: skip
    shown = readable(table)
    assert list(shown.columns) == ["ours", "95 % interval", "seeds needed", "p"] and list(shown.index) == ["a", "b"]
    assert shown.loc["a"].tolist() == ["1.2", "0.5 to 2.0", "10", "0.0002"]
    assert shown.loc["b"].tolist() == ["–", "–", "–", "1.0000"]


def test_fig3_shows_frames_of_test_clips(tmp_path):
    lab = tiny_lab(tmp_path)
    rgb, depth, names = paper.example_frames(lab)
    first = lab.clips.rows(lab.split.test)[lab.clips.labels[lab.clips.rows(lab.split.test)] == 0][0]
    assert (rgb[0] == lab.clips.rgb([first])[0, 2]).all()
    assert rgb.shape == depth.shape == (3, 32, 32, 3) and names == list(lab.clips.class_names)
    paths = save(TABLES_AND_FIGURES["fig3"], lab)
    assert sorted(path.suffix for path in paths) == [".pdf", ".png", ".svg"]


def test_fig4_draws_every_seed_that_is_done(tmp_path, monkeypatch):
    lab = tiny_lab(tmp_path)
    with pytest.raises(LabError, match="hallucination alone \\(row 13\\) and"):
        save(TABLES_AND_FIGURES["fig4"], lab)

    def look(lab, names):
        curve = [{"step": step, "hall": float((1 + lab.seed) * np.exp(-0.1 * step))} for step in range(40)]
        return {name: SimpleNamespace(done=lab.seed < 2, load_json=lambda _: {"curve": curve}) for name in names}

    monkeypatch.setattr(verdicts, "look", look)
    monkeypatch.setattr(targets, "look", look)
    figure, table = TABLES_AND_FIGURES["fig4"].draw(lab)
    assert set(table["seed"]) == {0, 1} and len(table) == 2 * 2 * 40
    label = "hallucination alone (row 13)"
    mean = next(line for line in figure.axes[0].lines if line.get_label() == label)
    both = table[table["model"] == label].pivot(index="iteration", columns="seed", values="smoothed")
    assert mean.get_ydata() == pytest.approx(np.exp(np.log(both).mean(axis=1)))
    assert figure.axes[0].get_yscale() == "log"


def test_the_caption_of_fig4_tells_where_the_curves_start(tmp_path, monkeypatch):
    """Two curves of one rate, the connected one a quarter of the other: all of its lead is there at the start."""
    lab = tiny_lab(tmp_path)
    assert "first iteration" not in paper.caption_of(TABLES_AND_FIGURES["fig4"], lab)

    def look(lab, names):
        start = {"hallucination": 25, "hallucination_unconnected": 100}
        curves = {name: {"curve": [{"step": step, "hall": start[name] * np.exp(-0.01 * step)} for step in range(400)]}
                  for name in names}  # fmt: skip
        return {name: SimpleNamespace(done=True, load_json=lambda _, name=name: curves[name]) for name in names}

    monkeypatch.setattr(verdicts, "look", look)
    monkeypatch.setattr(targets, "look", look)
    caption = paper.caption_of(TABLES_AND_FIGURES["fig4"], lab)
    smoothed = [start * np.exp(-0.045) for start in (25, 100)]  # the median of the first ten
    assert f"the loss is {smoothed[0]:.3g} with connections and {smoothed[1]:.3g} without" in caption
    saved = [int(number) for number in re.findall(r"(-?\d+) % fewer", caption)]
    assert saved == [pytest.approx(100 * np.log(4) / 4, abs=2), pytest.approx(0, abs=2)]


def test_a_caption_tells_on_how_many_seeds_its_rows_rest(tmp_path, monkeypatch):
    lab = tiny_lab(tmp_path)

    def look(lab, names):
        curve = {"curve": [{"step": 0, "hall": 1.0}, {"step": 1, "hall": 0.5}]}
        there = {"depth": 3, "rgb": 5}
        return {name: SimpleNamespace(done=lab.seed < there.get(name, 2), load_json=lambda _: curve) for name in names}

    monkeypatch.setattr(verdicts, "look", look)
    monkeypatch.setattr(targets, "look", look)
    assert paper.caption_of(TABLES_AND_FIGURES["fig4"], lab).endswith(", seeds: 2.")
    told = paper.caption_of(TABLES_AND_FIGURES["overview"], lab)
    assert told.endswith(", seeds: 2 to 5.") and style.seeds_in(told) == 5
    told = paper.caption_of(TABLES_AND_FIGURES["fig3"], lab)
    assert "seeds" not in told and style.seeds_in(told) == 0


def test_what_is_not_run_is_drawn_as_such_and_written(tmp_path):
    lab = tiny_lab(tmp_path)
    assert [path.suffix for path in save(TABLES_AND_FIGURES["claims"], lab)] == [".svg", ".pdf", ".png", ".csv"]
    (path,) = save(TABLES_AND_FIGURES["discrepancies"], lab)
    assert set(pd.read_csv(path)["number"]) == {*range(1, 33)}


# -- figures of tables -----------------------------------------------------------------------------


def claims(*rows) -> pd.DataFrame:
    names = ["statement", "claim", "by", "paper", "effect", "low", "high", "verdict", "seeds_needed", "level", "unit"]
    return pd.DataFrame(rows, columns=names).assign(seeds=range(3, 3 + len(rows)))


def test_claims_are_filled_where_decided_and_hollow_grey_in_the_paper():
    table = claims(
        ("A", "1 > 2", "paper", 3.9, 8.0, 5.0, 11.0, "holds", None, 0.0, "points"),
        ("B", "8 > twin", "ours", None, 1.0, -2.0, 4.0, "undecided", 12, 0.0, "points"),
        ("C", "fig. 4", "paper", 50.0, 61.0, 55.0, 67.0, "holds", None, 0.0, "% of iterations"),
    )
    axes = claims_figure(table).axes[0]
    dots = [line for line in axes.lines if len(line.get_xdata()) == 1]
    marks = {float(line.get_xdata()[0]): line.get_markerfacecolor() for line in dots}
    assert marks == {8.0: style.PLAIN[0], 1.0: "white", 3.9: "none"}
    texts = [text.get_text() for text in axes.texts]
    assert "undecided, takes 12 seeds" in texts and "61 %" in texts and texts.count("holds") == 2
    assert texts.count("3") == texts.count("4") == texts.count("5") == 1  # seeds, row by row


def test_no_claim_is_cut_and_none_wears_a_roles_colour(tmp_path):
    table = claims_table(tiny_lab(tmp_path)).assign(effect=1.0, low=-1.0, high=2.0, verdict="undecided")
    figure = claims_figure(table)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(table["statement"])
    assert {*table["claim"]} <= {text.get_text() for text in axes.texts}
    roles = {color for role, color in style.ROLES.items() if role != "paper"}
    drawn = [*axes.lines, *figure.legends[0].legend_handles]
    assert len(drawn) > len(table) and not roles & {line.get_color() for line in drawn}
    assert not roles & {to_hex(bar.get_color()[0]).upper() for bar in axes.collections}
    width = figure.bbox.width
    boxes = [part.get_window_extent() for part in (*axes.texts, *axes.get_yticklabels(), *figure.legends)]
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)


def test_effects_leave_out_what_is_not_measured():
    rows = [(1, "a", "x=1", "table2:8", "switch:1", 2.0, 1.0, 3.0), (2, "b", "", "", "", np.nan, np.nan, np.nan),
            (3, "c", "", "table2:13", "oracle:13", 1.0, 0.0, 2.0)]  # fmt: skip
    names = ["number", "point", "tried", "base", "other", "difference", "low", "high"]
    axes = effects_figure(pd.DataFrame(rows, columns=names)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "1  a\nx=1\non RGB + depth (row 8)", "3  c\nhallucination with depth's signals (oracle)"
    ]  # fmt: skip


def test_the_longest_words_of_an_effect_leave_the_effects_room():
    row = (19, "factor of the soft term", "temperature_squared=True, student_temperature=10.0", "switch:18-recipe", "")
    names = ["number", "point", "tried", "base", "other", "difference", "low", "high"]
    figure = effects_figure(pd.DataFrame([(*row, 2.0, 1.0, 3.0)] * 9, columns=names))
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = [part.get_window_extent() for part in (*axes.get_yticklabels(), axes.xaxis.label, *axes.texts)]
    assert axes.bbox.width > figure.bbox.width / 3
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)
    rows = sorted((label.get_window_extent() for label in axes.get_yticklabels()), key=lambda box: box.y0)
    assert all(lower.y1 < upper.y0 for lower, upper in pairwise(rows))


def test_all_is_what_the_paper_has_for_the_protocol():
    """Table 2 has 15 rows cross-subject and 9 cross-view; controls are the same for both."""
    subject, view = (targets.get_targets(["all"], protocol) for protocol in ("cross-subject", "cross-view"))
    printed = [[t.name for t in chosen if t.group == "table2"] for chosen in (subject, view)]
    assert len(printed[0]) == 15 and printed[1] == [f"table2:{row}" for row in (1, 2, 6, 7, 8, 9, 10, 13, 15)]
    controls = [[t.name for t in chosen if t.group in ("suppl", "control", "untaught", "table3")]
                for chosen in (subject, view)]  # fmt: skip
    assert controls[0] == controls[1] and len(controls[0]) >= 5 + 3 + 2 + 7
    assert targets.TARGETS["table2:4"] in targets.get_targets(["all", "table2:4"], "cross-view")
    assert targets.get_targets(["table2"], "cross-view") == targets.get_targets(["table2"])
