"""Figures: the same results give the same bytes, and what is drawn is what was given."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from labkit.errors import LabError
from labkit.experiments.targets import TARGETS
from labkit.figures import gallery as figures
from labkit.figures import pictures, style
from labkit.figures.method import method_diagram


def a_table(**ours: float) -> pd.DataFrame:
    rows = []
    for name, target in TARGETS.items():
        value = ours.get(name.replace(":", "_"))
        bounds = {"ours": value, "low": value and value - 4, "high": value and value + 3}
        paper = target.paper.get("cross-subject")
        rows.append({"target": name, "model": target.named, "tested on": target.tested_on, "paper": paper, **bounds,
                     "by seed": ""})  # fmt: skip
    return pd.DataFrame(rows)


def plotted(axes, color: str) -> set[float]:
    """x of every single marker of that colour."""
    return {
        float(line.get_xdata()[0]) for line in axes.lines if line.get_color() == color and len(line.get_xdata()) == 1
    }


def test_saving_twice_gives_the_same_bytes(tmp_path):
    table = a_table(table2_2=67.0, table2_15=81.25)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        style.save_figure(figures.results(table), "results", folder, table, caption="Accuracy on puppets.")
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert sorted(first) == ["results.csv", "results.pdf", "results.png", "results.svg"]
    assert first == second


def test_pictures_are_byte_stable_too():
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3), dtype=np.uint8)
    for kind in ("svg", "pdf", "png"):
        first, second = (style.picture_bytes(figures.contact_sheet(frames, frames, "ab"), kind) for _ in range(2))
        assert first == second


def test_a_figure_that_was_shown_before_is_saved_the_same():
    figure = figures.results(a_table(table2_15=80.0))
    kinds = ("png", "svg", "pdf")
    assert [style.picture_bytes(figure, k) for k in kinds] == [style.picture_bytes(figure, k) for k in kinds]


def test_files_carry_the_caption_and_neither_date_nor_version(tmp_path):
    caption = "Confusion of the RGB stream on puppets."
    paths = style.save_figure(figures.confusion(np.eye(2), ["a", "b"]), "c", tmp_path, caption=caption)
    assert len(paths) == 3
    for path in paths:
        content = path.read_bytes()
        assert caption.encode() in content, path.suffix
        assert not re.search(rb"matplotlib v?\d|CreationDate|dc:date|Software", content, re.IGNORECASE), path.suffix


def test_the_csv_holds_the_plotted_numbers(tmp_path):
    table = a_table(table2_2=66.66666666)
    style.save_figure(figures.results(table), "results", tmp_path, table, caption="puppets")
    back = pd.read_csv(tmp_path / "results.csv")
    assert list(back["target"]) == list(table["target"])
    assert back.loc[back["target"] == "table2:2", "ours"].item() == pytest.approx(66.6667)


def test_a_failed_save_keeps_the_old_figure(tmp_path, monkeypatch):
    style.save_figure(method_diagram(), "diagram", tmp_path, caption="paper")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(LabError, match="No space left"):
        style.save_figure(figures.confusion(np.eye(2), "ab"), "diagram", tmp_path, caption="paper")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_drawing_leaves_the_readers_own_style_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    style.picture_bytes(method_diagram(), "png")
    assert dict(matplotlib.rcParams) == before


def luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


# Linear RGB as people without one kind of cone see it: Viénot, Brettel and Mollon (1999), simplified.
BLIND = {
    "no red cones": [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]],
    "no green cones": [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]],
}


@pytest.mark.parametrize("vision", BLIND)
def test_roles_can_be_told_apart_without_one_kind_of_cone(vision):
    def seen(color):
        linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)])
        return np.clip(np.array(BLIND[vision]) @ linear, 0, 1) ** (1 / 2.4)

    for one, other in combinations(style.ROLES, 2):
        apart = np.linalg.norm(seen(style.ROLES[one]) - seen(style.ROLES[other]))
        assert apart > 0.08 or style.MARKERS[one] != style.MARKERS[other], (one, other, apart)


def test_every_role_shows_on_white():
    for role, color in style.ROLES.items():
        assert 1.05 / (luminance(color) + 0.05) > 2, role


def test_every_family_of_models_has_a_colour_and_a_mark_of_its_own():
    families = {target.role for target in TARGETS.values()}
    looks = {role: (style.ROLES[role], style.MARKERS[role]) for role in families}
    assert all(len({look[part] for look in looks.values()}) == len(families) for part in (0, 1))
    rows = [(name, "table2:2", 9, 5, 12) for name in dict((t.role, t.name) for t in TARGETS.values()).values()]
    table = pd.DataFrame(rows, columns=["target", "minus", "difference", "low", "high"])
    shown = [(line.get_color(), line.get_marker()) for line in figures.comparisons(table).axes[0].lines]
    assert {*looks.values()} <= {*shown}


def test_figures_name_a_model_with_its_row_in_brackets():
    table = a_table(table2_15=81.0)
    columns = ["target", "minus", "difference", "low", "high"]
    rows = pd.DataFrame([("table2:15", "control:15", 12, 9, 15)], columns=columns)
    shown = [label.get_text() for label in figures.results(table).axes[0].get_yticklabels()]
    shown += [label.get_text() for label in figures.comparisons(rows).axes[0].get_yticklabels()]
    assert {"hallucination + RGB (row 15)", "↳ two RGB streams, trained on (control)"} <= {*shown}
    assert shown[-1] == "hallucination + RGB (row 15)\nminus two RGB streams, trained on (control)"
    assert not [label for label in shown if re.search(r"(?<!\()\brow \d", label)]


# -- what is drawn -----------------------------------------------------------------------------------


def test_results_draws_ours_in_the_roles_colour_and_the_paper_hollow():
    table = a_table(table2_2=67.0, table2_15=81.0, control_15=82.0)
    axes = figures.results(table).axes[0]
    assert plotted(axes, style.ROLES["rgb_only"]) == {81.0}
    assert plotted(axes, style.ROLES["control"]) == {82.0}
    hollow = [line for line in axes.lines if line.get_color() == style.ROLES["paper"]]
    assert {line.get_xdata()[0] for line in hollow} == set(table["paper"].dropna())
    assert all(line.get_markerfacecolor() == "none" for line in hollow)


@pytest.mark.parametrize("printed", [True, False])
def test_results_speaks_of_the_paper_only_where_it_has_numbers(printed):
    table = a_table(table2_2=67.0)
    table = table if printed else table.assign(paper=np.nan)
    words = [text.get_text() for text in figures.results(table).legends[0].get_texts()]
    assert ("paper, on NTU RGB+D" in words) == printed


def test_results_shows_a_missing_number_as_missing():
    axes = figures.results(a_table()).axes[0]
    assert all(plotted(axes, color) == set() for role, color in style.ROLES.items() if role != "paper")
    assert [text.get_text() for text in axes.texts].count("–") >= len(TARGETS)


def test_results_bands_mark_what_needs_no_depth():
    axes = figures.results(a_table()).axes[0]
    assert len(axes.patches) == sum(target.tested_on in ("RGB", "RGB (flow)") for target in TARGETS.values())


def test_results_put_twins_below_their_rows():
    names = ["table2:8", "table2:13", "suppl:13a", "oracle:13", "control:8", "control:13", "reading:13a", "control:15",
             "start:flow-8"]  # fmt: skip
    table = a_table()
    table = table[table["target"].isin(names)].set_index("target").loc[names].reset_index()
    axes = figures.results(table).axes[0]
    labels = axes.get_yticklabels()
    ours = {TARGETS[name].named: name for name in names}
    shown = [ours[label.get_text().removeprefix("↳ ")] for label in labels]
    assert shown == ["table2:8", "control:8", "start:flow-8", "table2:13", "oracle:13", "control:13", "suppl:13a",
                     "reading:13a", "control:15"]  # fmt: skip
    rules = [line for line in axes.lines if line.get_color() == style.FAINT]
    assert len(rules) == 2  # above the supplement and above a twin without its row, not around every twin
    apart = [ours[label.get_text()] for label in labels if not label.get_text().startswith("↳ ")]
    assert apart == ["table2:8", "table2:13", "suppl:13a", "control:15"]


def test_log_axes_show_plain_numbers():
    table = pd.DataFrame({"seeds": [800.0, 5.0]}, index=pd.Index([0.5, 8.0], name="points"))
    figure = figures.line_chart(table, "seeds", log=True)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    texts = [label.get_text() for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels(which="both")]
    assert {"0.5", "1", "2", "5", "10", "100"} <= set(texts) and not any("$" in text for text in texts)


def test_comparisons_fill_only_what_excludes_zero():
    rows = [("table2:15", "table2:2", 12, 9, 15), ("table2:15", "control:15", -1, -4, 2)]
    table = pd.DataFrame(rows, columns=["target", "minus", "difference", "low", "high"])
    axes = figures.comparisons(table).axes[0]
    faces = {line.get_xdata()[0]: line.get_markerfacecolor() for line in axes.lines if line.get_marker() in "^v"}
    assert faces == {12: style.ROLES["rgb_only"], -1: "white"}


def test_the_key_of_comparisons_shows_every_colour_that_is_drawn():
    rows = [(name, "table2:2", 12, 9, 15) for name in ("table2:8", "table2:15", "table2:13", "table2:15")]
    table = pd.DataFrame(rows, columns=["target", "minus", "difference", "low", "high"])
    key = figures.comparisons(table).legends[0].findobj(Line2D)
    wanted = {style.ROLES[role] for role in ("two_stream", "rgb_only", "hallucination", "control")}
    assert wanted <= {line.get_color() for line in key} <= wanted | {style.INK}


def test_class_gains_are_sorted_and_fill_only_what_excludes_zero():
    rows = [("walk", "table2:15", 1, -2, 4), ("wave", "table2:15", 12, 9, 15), ("kick", "table2:15", -5, -8, -2)]
    table = pd.DataFrame(rows, columns=["class", "target", "difference", "low", "high"])
    axes = figures.class_gains({"": table}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["wave", "walk", "kick"]
    dots = [line for line in axes.lines if line.get_marker() == style.MARKERS["rgb_only"]]
    assert [line.get_xdata()[0] for line in dots] == [12, 1, -5]
    assert [line.get_markerfacecolor() == "white" for line in dots] == [False, True, False]


def test_accuracy_curves_are_in_per_cent_from_epoch_one():
    axes = figures.accuracy_curves({"alone": ("hallucination", [[0.1, 0.5]]), "control": ("control", [[0.2]])}).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[10, 50], [20]]
    assert list(axes.lines[0].get_xdata()) == [1, 2]


def test_curves_of_several_seeds_are_thin_under_their_mean():
    axes = figures.accuracy_curves({"alone": ("hallucination", [[0.1, 0.5], [0.3, 0.7]])}).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [
        pytest.approx(values) for values in ([10, 50], [30, 70], [20, 60])
    ]
    assert [line.get_linewidth() < 1 for line in axes.lines] == [True, True, False]
    runs = [[{"epoch": 0, "total": total, "validation fused": 0.1}] for total in (1.0, 3.0)]
    losses = figures.training_curves({"both": ("two_stream", runs)}).axes[0]
    assert [float(line.get_ydata()[0]) for line in losses.lines] == [1, 3, 2]


def test_results_of_several_seeds_show_each():
    table = a_table(table2_15=81.0)
    table["by seed"] = ["80.0 82.0" if name == "table2:15" else "" for name in table["target"]]
    axes = figures.results(table).axes[0]
    dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "."]
    assert [list(values) for values in dots] == [[80.0, 82.0]]


def test_parts_are_named_and_the_papers_differences_are_hollow():
    rows = [("links", "table2:8", "table2:9", 1, -1, 3, 1.46), ("depth", "table2:15", "control:15", 12, 9, 15, None)]
    table = pd.DataFrame(rows, columns=["part", "target", "minus", "difference", "low", "high", "paper"])
    axes = figures.comparisons(table).axes[0]
    assert [label.get_text().partition(":")[0] for label in axes.get_yticklabels()] == ["links", "depth"]
    hollow = [line for line in axes.lines if line.get_color() == style.ROLES["paper"]]
    assert [float(line.get_xdata()[0]) for line in hollow] == [1.46]


def test_a_few_large_effects_leave_the_axis_as_it_is():
    rows = [("table2:15", "table2:2", value, value - 1, value + 1) for value in (-70, 1, 2, -3, 4)]
    table = pd.DataFrame(rows, columns=["target", "minus", "difference", "low", "high"])
    assert figures.comparisons(table).axes[0].get_xscale() == "linear"


def test_soft_label_bars_share_their_classes_and_mark_the_even_guess():
    figure = figures.soft_label_bars({"label": [0, 1], "T = 10": [0.4, 0.6]}, ["walk", "wave"])
    widths = [[bar.get_width() for bar in panel.patches] for panel in figure.axes]
    assert widths == [[0, 1], [0.4, 0.6]]
    assert all(panel.lines[0].get_xdata()[0] == 0.5 for panel in figure.axes)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["walk", "wave"]


def test_line_chart_draws_every_column_against_the_index():
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=pd.Index([1, 10], name="temperature"))
    axes = figures.line_chart(table, "pull", log=True).axes[0]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines] == [
        ([1, 10], [1, 2]), ([1, 10], [3, 4])
    ]  # fmt: skip
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("temperature", "pull", "log")


def test_what_has_no_role_takes_no_colour_of_a_role():
    assert not set(style.PLAIN) & set(style.ROLES.values())
    table = pd.DataFrame({name: [1.0, 2.0] for name in "abcd"}, index=pd.Index([1, 2], name="x"))
    lines = figures.line_chart(table, "y").axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 4
    assert {line.get_color() for line in lines} <= set(style.PLAIN)


def test_confusion_is_in_per_cent_of_the_true_class():
    axes = figures.confusion(np.array([[3, 1], [0, 0]]), ["a", "b"]).axes[0]
    shown = {(text.get_position(), text.get_text()) for text in axes.texts if text.get_text()}
    assert shown == {((0.5, 0.5), "75"), ((1.5, 0.5), "25")}


def test_registration_errors_end_at_all_points():
    errors = {"plain": np.array([3.0, 1.0, 2.0]), "ratio": np.array([0.1, 0.2])}
    axes = figures.registration_errors(errors).axes[0]
    assert [line.get_ydata()[-1] for line in axes.lines] == [1, 1]
    assert list(axes.lines[0].get_xdata()[-3:]) == [1, 2, 3]


def test_a_signal_is_drawn_into_the_branch_in_its_streams_colour_and_gated_is_dashed():
    panel = figures.connected_units().axes[0]
    (times,) = (text for text in panel.texts if text.get_text() == "×")
    arrows = [patch for patch in panel.patches if isinstance(patch, FancyArrowPatch)]
    (signal,) = (arrow for arrow in arrows if to_hex(arrow.get_edgecolor()).upper() == style.ROLES["depth"])
    assert signal.get_path().get_extents().x0 <= times.get_position()[0] <= signal.get_path().get_extents().x1
    dashed = [text.get_text() for text in panel.texts if (box := text.get_bbox_patch()) and box.get_linestyle() == "--"]
    assert dashed == ["+"] and any(text.get_text() == "gated only" for text in panel.texts)


def test_tiles_keep_every_frame_where_it_belongs():
    frames = np.arange(2 * 3 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 3, 4, 5, 3)
    sheet = pictures.tile(frames)
    for row in range(2):
        for column in range(3):
            top, left = row * (4 + pictures.GAP), column * (5 + pictures.GAP)
            assert np.array_equal(sheet[top : top + 4, left : left + 5], frames[row, column])


@pytest.mark.parametrize("methods", [("fitted",), ("fitted", "no alignment"), ("one", "two", "three", "four")])
def test_the_legend_of_an_overlay_fits_people_who_stand(methods):
    joints = np.stack([np.linspace(25, 30, 25), np.linspace(5, 55, 25)], axis=1)
    figure = figures.overlay(np.zeros((60, 60, 3), np.uint8), joints, dict.fromkeys(methods, joints))
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width and legend.y1 <= figure.bbox.height


def test_overlay_shows_each_method_in_its_own_panel():
    joints = np.random.default_rng(0).uniform(10, 50, (25, 2))
    figure = figures.overlay(np.zeros((60, 60, 3), np.uint8), joints, {"before": joints + 5, "after": joints})
    before, after = (np.asarray(axes.collections[-1].get_offsets()) for axes in figure.axes)
    assert np.allclose(before, joints + 5) and np.allclose(after, joints)


def test_curves_are_those_of_the_histories():
    epochs = [{"epoch": e, "total": 3.0 - e, "validation fused": 0.1 * e, "validation source": 0.0} for e in range(3)]
    loss, accuracy = figures.training_curves({"both": ("two_stream", [epochs])}).axes
    assert list(loss.lines[0].get_ydata()) == [3, 2, 1]
    assert list(accuracy.lines[0].get_ydata()) == pytest.approx([0, 10, 20])
    assert loss.lines[0].get_color() == style.ROLES["two_stream"]


def test_hallucination_curves_mark_where_the_first_comes_as_low_as_the_last_ends():
    def run(rate):
        return [{"step": step, "hall": np.exp(-rate * step), "total": 0.0} for step in range(40)]

    alone = figures.hallucination_curves({"row 13": [run(0.1)]}).axes[0].lines
    assert [list(line.get_xdata()) for line in alone] == [list(range(40))]
    both = figures.hallucination_curves({"row 13": [run(0.2)], "row 14": [run(0.1)]}).axes[0].lines
    (mark,) = [line for line in both if line.get_marker() == "D"]
    assert mark.get_xdata()[0] == pytest.approx(19, abs=1)
    assert mark.get_ydata()[0] == pytest.approx(np.exp(-3.85), rel=0.1)


def test_strips_show_maps_in_grey_under_frames_on_one_scale_a_row():
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    maps = np.arange(8.0).reshape(2, 2, 2)
    shown = figures.strips({"RGB": frames, "depth": maps}).axes[0].images[0].get_array()
    assert np.array_equal(shown[:4, :4], frames[0])
    assert (shown[6:8, :2] == 0).all() and (shown[8:10, 8:10] == 255).all()
    assert (shown[8:10, 2:4] == int(255 * 3 / 7)).all()


def test_a_histogram_marks_the_estimate():
    figure = figures.ratio_histogram(np.full(50, 2.9) + np.linspace(-0.1, 0.1, 50), np.full(50, 2.8), 2.85)
    assert all(2.85 in panel.lines[1].get_xdata() for panel in figure.axes)


def test_bars_of_outcomes_are_the_shares():
    shares = {"right": 60.0, "partner": 30.0, "elsewhere": 10.0, "low": 52.0, "high": 70.0}
    rows = [
        {"cue": cue, "target": name, "model": name, **shares} for cue in ("colour", "order") for name in ("table2:1",)
    ]
    figure = figures.cue_outcomes(pd.DataFrame(rows))
    assert [panel.get_xlabel() for panel in figure.axes] == ["colour pairs: answers (%)", "order pairs: answers (%)"]
    for panel in figure.axes:
        bars = [(bar.get_x(), bar.get_width()) for bar in panel.patches]
        assert bars == [(0, 60), (60, 30), (90, 10)]
        assert [52.0, 70.0] in [list(line.get_xdata()) for line in panel.lines]  # the interval
        assert to_rgb(panel.patches[0].get_facecolor()[:3]) == to_rgb(style.ROLES["depth"])
