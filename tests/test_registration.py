"""What is usual for a camera, and the report of a set's alignment, on records made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from labkit.cli import main as cli
from labkit.data.check import FAR, alignment_rows, by_view, outliers
from labkit.data.modalities import NOMINAL, kinect_alignment
from labkit.data.prepare import ENOUGH, Medians, View, stand_in, still_stands
from labkit.errors import LabError
from labkit.figures import gallery as figures

COLOR, DEPTH = (1920, 1080), (512, 424)


def record(clip, setup=1, camera=1, ratio=2.88, offset=(-80.0, 17.0), *, residual=0.3, of=COLOR, **changes):
    alignment = {"ratio": ratio, "scale": [ratio, ratio], "offset": list(offset), "residual_px": residual}
    about = {"setup": setup, "camera": camera} if camera else {}
    return {
        "id": str(clip), "about": about, "alignment": alignment | {"fallback": False, "method": "ratio"} | changes,
        "crop": {"box": [0, 0, 1, 1], "of": list(of)},
    }  # fmt: skip


def medians(records) -> Medians:
    found = Medians()
    for one in records:
        found.add(one)
    return found


def drawn(count, seed=0, **place):
    rng = np.random.default_rng(seed)
    return [
        record(f"{place}{number}", ratio=2.88 + rng.normal(0, 0.004), offset=rng.normal((-80, 17), 0.5), **place)
        for number in range(count)
    ]


def test_the_nearest_view_with_enough_clips_stands_in():
    records = [*drawn(ENOUGH, setup=1), *drawn(ENOUGH - 1, 1, setup=2), *drawn(ENOUGH - 1, 2, camera=2)]
    usual = medians(records)
    own, camera = f"camera 1's median of {ENOUGH} clips of setup 1", f"camera 1's median of {2 * ENOUGH - 1} clips"
    assert [one.source for _, one in usual.of(View("1", "1"))] == [own, camera]
    assert [one.source for _, one in usual.of(View("2", "1"))] == [camera]
    assert usual.of(View("1", "2")) == () and usual.of(View("", "")) == ()
    chosen = stand_in(usual.of(View("2", "1")), DEPTH, COLOR)
    assert chosen.fallback and chosen.source == camera
    fits = [one["alignment"] for one in records if one["about"]["camera"] == 1]
    assert chosen.ratio == pytest.approx(np.median([fit["ratio"] for fit in fits]), abs=5.1e-4)
    assert chosen.offset == pytest.approx(np.median([fit["offset"] for fit in fits], axis=0), abs=0.051)


def test_order_does_not_matter_and_clips_without_a_fit_have_no_say():
    records = drawn(30)
    poor = [record("x", ratio=9, residual=None), record("y", ratio=9, fallback=True, residual=None)] * 40
    view = View("1", "1")
    assert medians(records).of(view) == medians([*poor, *reversed(records)]).of(view)


def test_other_image_sizes_have_medians_of_their_own():
    half = drawn(12, of=(960, 540))
    usual = medians([*half, *drawn(3)]).of(View("1", "1"))
    assert stand_in(usual, DEPTH, (960, 540)).source.startswith("camera 1's median of 12")
    assert stand_in(usual, DEPTH, COLOR) == kinect_alignment(DEPTH, COLOR)
    with pytest.raises(LabError, match="Kinect v2"):
        stand_in(usual, (640, 480), (640, 480))


def test_without_cameras_the_whole_set_counts():
    usual = medians(drawn(12, camera=None)).of(View("", ""))
    assert usual[0][1].source == "the set's median of 12 clips"


def test_a_stand_in_holds_until_the_median_moves():
    """A thousandth of a ratio is a step; one clip more seldom makes one."""
    usual = medians(drawn(200)).of(View("1", "1"))
    used = stand_in(usual, DEPTH, COLOR)
    kept = record("x", scale=list(used.scale), offset=used.offset, fallback=True, source=used.source)
    one_more = medians([*drawn(200), record("new", ratio=2.95)]).of(View("1", "1"))
    assert still_stands(kept, one_more) == "camera 1's median of 201 clips of setup 1"
    moved = medians([record(n, ratio=2.9) for n in range(20)]).of(View("1", "1"))
    assert still_stands(kept, moved) is None and still_stands(kept, ()) is None
    nominal = record("x", fallback=True, source=NOMINAL)
    assert still_stands(nominal, ()) == NOMINAL and still_stands(nominal, moved) is None


# The report


@pytest.fixture
def rows():
    records = [*drawn(150), *drawn(140, 1, camera=2), *drawn(4, 2, setup=3), record("far", ratio=2.95)]
    records += [record("side", camera=2, offset=(-80, 27)), record("none", fallback=True, residual=None, source="s")]
    return alignment_rows([*records, record("resized", method="none", residual=None)])


def test_the_table_counts_every_registered_clip_once(rows):
    table = by_view(rows).set_index(["setup", "camera"])
    assert table["clips"].tolist() == [152, 141, 4] and table["fallbacks"].tolist() == [1, 0, 0]
    fits = rows[(rows["setup"] == "1") & (rows["camera"] == "1") & (rows["clip"] != "none")]
    first = table.loc[("1", "1")]
    assert first["ratio"] == fits["ratio"].median() and first["offset_x"] == fits["offset_x"].median()
    assert first["ratio_iqr"] == pytest.approx(np.subtract(*np.percentile(fits["ratio"], [75, 25])))
    assert first["residual_95"] == pytest.approx(0.3) and "resized" not in set(rows["clip"])


def test_clips_that_depart_are_named_and_no_others(rows):
    far = outliers(rows)
    assert {"far": "ratio", "side": "offset_y"}.items() <= dict(zip(far["clip"], far["worst"], strict=True)).items()
    assert set(far["clip"][:2]) == {"far", "side"} and (far["z"].abs() >= FAR).all() and len(far) == 2
    assert rows.set_index("clip").loc["none", "worst"] == ""
    third = rows[rows["setup"] == "3"]  # four clips: judged beside all of their camera
    assert third["z"].notna().all()
    fits = rows[(rows["setup"] == "1") & (rows["camera"] == "1") & (rows["clip"] != "none")]["ratio"]
    away = fits - fits.median()
    by_hand = 0.07 + 2.88 - fits.median()
    assert rows.set_index("clip").loc["far", "z"] == pytest.approx(by_hand / (1.4826 * away.abs().median()))


def test_equal_fits_make_no_outlier_of_a_hair():
    rows = alignment_rows([record(number) for number in range(20)] + [record("hair", ratio=2.8801)])
    assert outliers(rows).empty


def test_a_set_without_registration_is_an_empty_table():
    rows = alignment_rows([record("a", residual=None)])
    assert rows.empty and by_view(rows).empty and outliers(rows).empty


def test_the_figure_marks_each_outlier_once(rows):
    axes = figures.alignment_overview(rows).axes
    dots = {panel.get_xlabel().split(" (")[0]: sum(len(line.get_xdata()) for line in panel.lines
            if line.get_marker() == "o") for panel in axes}  # fmt: skip
    assert sum(dots.values()) == len(outliers(rows)) and dots["ratio"] >= 1 and dots["offset y"] >= 1
    assert [label.get_text() for label in axes[0].get_yticklabels()] == [
        "setup 1, camera 1", "setup 1, camera 2", "setup 3, camera 1"]  # fmt: skip


def test_the_command_wants_a_store_and_says_how_to_make_it(tmp_path, capsys):
    (tmp_path / "nturgb+d_rgb").mkdir()
    assert cli.main(["data", "alignment", str(tmp_path)]) == 2
    assert "labkit data prepare" in capsys.readouterr().err
