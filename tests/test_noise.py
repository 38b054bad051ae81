"""Corruptions of depth, the study of them, and where its curve crosses another model's accuracy."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import MemoryStore, tiny_lab

from labkit import fit as fitting
from labkit.analysis import noise_curves
from labkit.clips import clip_rng, colorize_depth, normalize, saturate, to_clip
from labkit.config import ClipConfig
from labkit.errors import LabError
from labkit.experiments.statistics import paired_difference
from labkit.experiments.studies import noise
from labkit.experiments.studies.noise import (
    CORRUPTIONS,
    Corruption,
    add_speckle,
    corrupt,
    drop_frames,
    measure_noise,
    punch_holes,
    quantise,
    shift,
    speckle_depth,
)
from labkit.experiments.targets import TARGETS, get_targets, results_table
from labkit.experiments.trainings import TRAININGS
from labkit.figures import gallery as figures
from labkit.model import Stream, TwoStream
from labkit.runs import PREDICTIONS
from labkit.trainers import load_stream, train_stream, train_two_stream

GRADED = [corruption for corruption in CORRUPTIONS.values() if corruption.severities]


def person(frames: int = 5, size: int = 48) -> np.ndarray:
    """A masked clip: a slanted, moving body between 1.9 and 2.4 m, no reading around it."""
    depth = np.zeros((frames, size, size), np.uint16)
    slope = np.linspace(1900, 2400, 30).astype(np.uint16)
    for frame in range(frames):
        depth[frame, 8 : 8 + 30, 10 + frame : 28 + frame] = slope[:, None] + 3 * frame
    return depth


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def damage(corruption: Corruption, reading: str) -> float:
    """Mean change of the coloured picture, over 20 clips."""
    depth = np.repeat(person()[None], 20, axis=0)
    seen = corrupt(depth, [f"c{n}" for n in range(20)], corruption, reading)
    return float(np.abs(seen.astype(float) - colorize_depth(depth)).mean())


# -- single corruptions ----------------------------------------------------------------------------


@pytest.mark.parametrize("corruption", GRADED, ids=lambda c: c.kind)
def test_the_more_severe_the_more_is_changed(corruption):
    changes = [damage(corruption, reading) for reading in corruption.readings]
    assert changes[0] > 0 or corruption.kind in ("speckle-std", "speckle-mm-std")  # 1e-3 truncates or rounds away
    assert all(after > before for before, after in pairwise(changes))


class Drawn:
    """A generator that draws the given numbers."""

    def __init__(self, *numbers: float):
        self.numbers = np.array(numbers, np.float32)

    def standard_normal(self, shape, dtype):
        return self.numbers.reshape(shape).astype(dtype)


def test_speckle_is_the_released_codes():
    """[200, 200, 100] times [0.5, 1.5, -0.2] is [100, 255, 0]; casts cut fractions off."""
    pixel = np.array([[[200, 200, 100]]], dtype=np.uint8)
    assert add_speckle(pixel, 1.0, Drawn(-0.5, 0.5, -1.2)).tolist() == [[[100, 255, 0]]]
    assert saturate(np.array([10.9, 254.6, -0.4, 300])).tolist() == [10, 254, 0, 255]


def test_speckle_multiplies_each_pixel_and_channel_by_its_own_number():
    images = np.full((2, 64, 64, 3), 100, np.uint8)
    noisy = add_speckle(images, 0.2, clip_rng(0, "speckle", None, "a")).astype(float)
    assert abs(noisy.mean() - 99.5) < 0.5 and abs(noisy.std() - 20) < 0.5  # truncation takes half a step
    channels = noisy.reshape(-1, 3)
    assert np.abs(np.corrcoef(channels.T) - np.eye(3)).max() < 0.05
    assert (add_speckle(images * 0, 10.0, clip_rng(0, "speckle", None, "a")) == 0).all()  # black stays black


def test_both_readings_of_sigma():
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    as_std, as_variance = (CORRUPTIONS[kind].apply(images, sigma, clip_rng(0, "speckle", None, "a"))
                           for kind, sigma in (("speckle-std", 0.5), ("speckle", 0.25)))  # fmt: skip
    assert np.array_equal(as_std, as_variance) and not np.array_equal(as_std, images)
    assert np.array_equal(add_speckle(images, 0, clip_rng(0, "speckle", None, "a")), images)


@pytest.mark.parametrize(("kind", "std"), [("speckle", 0.1), ("speckle-std", 0.01)])
def test_sigma_is_read_as_variance_or_as_standard_deviation(kind, std):
    picture = np.full((5, 64, 64, 3), 200, np.uint8)
    noisy = CORRUPTIONS[kind].apply(picture, 0.01, rng()).astype(float)
    assert noisy.std() == pytest.approx(200 * std, rel=0.05)


@pytest.mark.parametrize(("kind", "std"), [("speckle-mm", 0.1), ("speckle-mm-std", 0.01)])
def test_speckle_in_millimetres_scales_with_distance_and_spares_the_background(kind, std):
    depth = np.zeros((2, 100, 100), np.uint16)
    depth[0, 20:80], depth[1, 20:80] = 1000, 3000
    noisy = CORRUPTIONS[kind].apply(depth, 0.01, rng())
    assert noisy.dtype == np.uint16 and (noisy[depth == 0] == 0).all()
    for frame, distance in zip(noisy, (1000, 3000), strict=True):
        readings = frame[20:80].astype(float)
        assert readings.mean() == pytest.approx(distance, rel=0.01)
        assert readings.std() == pytest.approx(distance * std, rel=0.05)


def test_a_speckled_depth_at_or_below_zero_is_no_reading():
    noisy = speckle_depth(np.full((1, 100, 100), 2000, np.uint16), 2.0, rng())
    assert (noisy == 0).mean() == pytest.approx(0.31, abs=0.02)  # Phi(-1/2); nothing wraps around
    assert noisy.max() < 20_000


def test_void_is_a_picture_of_zeros_whatever_the_clip():
    depth = np.stack([person(), person()[::-1]])
    seen = corrupt(depth, ["a", "b"], CORRUPTIONS["void"], "void")
    assert seen.shape == (*depth.shape, 3) and seen.dtype == np.uint8 and not seen.any()


def test_none_is_the_clean_picture():
    depth = person()[None]
    config = ClipConfig(depth_encoding="grey", depth_range="fixed")
    seen = corrupt(depth, ["a"], CORRUPTIONS["none"], "none", config=config)
    assert np.array_equal(seen, colorize_depth(depth, "grey", "fixed"))


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_holes_cover_their_share_of_the_person_in_patches(share):
    depth = person()
    holed = punch_holes(depth, share, rng())
    assert np.array_equal(holed[holed > 0], depth[holed > 0])
    for before, after in zip(depth, holed, strict=True):
        assert (before > 0).sum() - (after > 0).sum() == round(share * (before > 0).sum())
    lost = (depth > 0) & (holed == 0)
    neighbours = lost[:, :, 1:] & (depth[:, :, :-1] > 0)
    agree = (lost[:, :, :-1] & neighbours).sum() / neighbours.sum()
    assert agree > 0.6 + 0.3 * share  # single pixels at random would agree in `share` of the cases
    assert share == 1 or not np.array_equal(lost[0, :, 10:28], lost[1, :, 11:29])  # each frame has its own


def test_holes_in_an_empty_frame_change_nothing():
    empty = np.zeros((5, 20, 24), np.uint16)
    assert np.array_equal(punch_holes(empty, 0.5, rng()), empty)


def test_quantised_depth_is_a_multiple_no_farther_than_half_a_step():
    depth = person()
    coarse = quantise(depth, 100, rng())
    assert set(np.unique(coarse % 100)) == {0} and (coarse[depth == 0] == 0).all()
    assert np.abs(coarse[depth > 0].astype(int) - depth[depth > 0]).max() <= 50
    assert quantise(np.array([[[3, 65535]]], np.uint16), 50, rng()).tolist() == [[[50, 65535]]]  # stays a reading


def test_a_dropped_frame_shows_the_last_one_that_came():
    clip = np.arange(5, dtype=np.uint16)[:, None, None]
    for count in (1, 2, 3):
        shown = drop_frames(clip, count, rng(count)).ravel()
        assert shown[0] == 0 and len(set(shown)) == 5 - count
        assert all(now in (before, number) for number, (before, now) in enumerate(pairwise(shown), 1))
    assert drop_frames(clip, 4, rng()).ravel().tolist() == [0] * 5
    assert drop_frames(clip[:2], 4, rng()).ravel().tolist() == [0, 0]
    assert len({tuple(drop_frames(clip, 1, rng(seed)).ravel()) for seed in range(40)}) == 4  # any but the first


def test_a_shift_moves_all_frames_alike_and_brings_in_no_reading():
    depth = np.zeros((3, 40, 40), np.uint16)
    depth[:, 20, 20] = 2000, 2100, 2200
    ways = set()
    for seed in range(30):
        moved = shift(depth, 0.2, rng(seed))
        frames, rows, columns = np.nonzero(moved)
        assert frames.tolist() == [0, 1, 2] and len(set(rows)) == len(set(columns)) == 1
        assert moved[frames, rows, columns].tolist() == [2000, 2100, 2200]
        assert np.hypot(rows[0] - 20, columns[0] - 20) == pytest.approx(8, abs=0.75)
        ways.add((rows[0], columns[0]))
    assert len(ways) > 15
    assert not shift(depth, 3.0, rng()).any()


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=lambda c: c.kind)
def test_a_clip_is_corrupted_alike_in_every_batch(corruption):
    depth = np.stack([person(), person()[::-1], person() // 2])
    reading = list(corruption.readings)[-1]
    together = corrupt(depth, ["a", "b", "c"], corruption, reading, seed=3)
    assert np.array_equal(together[1:2], corrupt(depth[1:2], ["b"], corruption, reading, seed=3))
    assert np.array_equal(together, corrupt(depth, ["a", "b", "c"], corruption, reading, seed=3,
                                            pictures=colorize_depth(depth)))  # fmt: skip
    if corruption.kind not in ("none", "void", "quantisation") and reading not in ("holes:1", "dropped:4"):
        twins = np.stack([depth[0], depth[0]])
        seen = corrupt(twins, ["a", "b"], corruption, reading, seed=3)
        assert not np.array_equal(*seen) and not np.array_equal(seen, corrupt(twins, ["a", "b"], corruption, reading))


def test_the_stored_clip_is_left_as_it_was():
    depth = person()[None]
    before = depth.copy()
    for corruption in CORRUPTIONS.values():
        corrupt(depth, ["a"], corruption, list(corruption.readings)[-1])
    assert np.array_equal(depth, before)


def test_an_unknown_reading_is_refused():
    with pytest.raises(LabError, match=r"holes:0\.25"):
        corrupt(person()[None], ["a"], CORRUPTIONS["holes"], "holes:0.3")


@pytest.mark.parametrize("corruption", GRADED, ids=lambda c: c.kind)
def test_places_on_the_axis_ascend_and_lead_back(corruption):
    severities = [0.0, *corruption.readings.values()]
    places = [corruption.place(severity) for severity in severities]
    assert places == sorted(set(places))
    assert [corruption.severity_at(place) for place in places] == pytest.approx(severities)
    if corruption.log:
        assert np.diff(places) == pytest.approx(1.0)


# -- the study -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path_factory.mktemp("lab"), epochs=4)
    depth, rgb = train_stream(lab, "depth"), train_stream(lab, "rgb")
    two_stream = train_two_stream(lab, depth, rgb)
    return SimpleNamespace(lab=lab, depth=depth, rgb=rgb, two_stream=two_stream, run=measure_noise(lab, two_stream))


def kept(run) -> dict[str, torch.Tensor]:
    return run.load_tensors(PREDICTIONS)[0]


def table3() -> list[Corruption]:
    return [CORRUPTIONS[kind] for kind in ("none", "speckle", "void")]


def test_without_noise_the_study_is_row_8(studied):
    ours, row8 = kept(studied.run)["test/none"], kept(studied.two_stream)["test/fused"]
    torch.testing.assert_close(ours, row8)
    assert torch.equal(ours.argmax(dim=1), row8.argmax(dim=1))
    outputs = studied.run.result["outputs"]
    assert outputs["none"]["test"] == studied.two_stream.result["outputs"]["fused"]["test"]
    assert set(outputs) == {reading for c in CORRUPTIONS.values() for reading in c.readings}
    assert studied.run.load_tensors(PREDICTIONS)[1] == {"test": list(studied.lab.split.test)}


def slow_answers(lab, two_stream, reading: str, connection="multiply") -> torch.Tensor:
    """Every clip by itself through the whole network."""
    pair = TwoStream(*(load_stream(two_stream, role) for role in ("source", "target")), connection).eval()
    corruption, rows = CORRUPTIONS[reading.partition(":")[0]], lab.clips.rows(lab.split.test)
    answers = []
    for clip, row in zip(lab.split.test, rows, strict=True):
        rgb = to_clip(lab.clips.rgb([row]))
        depth = normalize(corrupt(lab.clips.depth([row]), [clip], corruption, reading, seed=lab.seed))
        with torch.no_grad():
            answers.append(pair(rgb, depth).logits)
    return torch.cat(answers)


@pytest.mark.parametrize("reading", ["speckle:1e0", "void", "speckle-mm:1e-1", "holes:0.5"])
def test_the_study_says_what_the_whole_network_says(studied, reading):
    expected = slow_answers(studied.lab, studied.two_stream, reading)
    torch.testing.assert_close(kept(studied.run)[f"test/{reading}"], expected, rtol=1e-4, atol=1e-5)


def test_without_connections_too(studied):
    run = train_two_stream(studied.lab, studied.depth, studied.rgb, connection=None)
    study = measure_noise(studied.lab, run, table3())
    for reading in ("none", "speckle:1e0", "void"):
        expected = slow_answers(studied.lab, run, reading, connection=None)
        torch.testing.assert_close(kept(study)[f"test/{reading}"], expected, rtol=1e-4, atol=1e-5)


def test_a_source_that_does_not_see_depth_is_refused(studied):
    run = train_two_stream(studied.lab, studied.rgb, studied.depth)
    with pytest.raises(LabError, match="a source stream that sees depth"):
        measure_noise(studied.lab, run)


def test_what_the_clean_clips_decide_is_computed_once(studied, tmp_path, monkeypatch):
    """Two batches, seven readings: RGB begins twice, depth for each reading of a batch."""
    begun, begin = [], Stream.begin
    monkeypatch.setattr(fitting, "TEST_BATCH", 5)  # 9 test clips
    monkeypatch.setattr(Stream, "begin", lambda stream, clip: begun.append(len(clip)) or begin(stream, clip))
    lab = replace(studied.lab, runs=type(studied.lab.runs)(tmp_path))
    measure_noise(lab, studied.two_stream, table3())
    assert begun == [5] * 8 + [4] * 8


def test_a_finished_study_is_loaded_and_a_dry_lab_scores_nothing(studied, tmp_path, monkeypatch):
    monkeypatch.setattr(noise, "answer", lambda *_, **__: pytest.fail("scored again"))
    assert measure_noise(studied.lab, studied.two_stream).id == studied.run.id
    dry = replace(studied.lab, runs=type(studied.lab.runs)(tmp_path), dry=True)
    assert not measure_noise(dry, studied.two_stream).done
    assert not list(tmp_path.iterdir())


def test_a_nan_is_refused(studied, tmp_path, monkeypatch):
    lab, finish = replace(studied.lab, runs=type(studied.lab.runs)(tmp_path)), Stream.finish

    def broken(stream, *arguments):
        output = finish(stream, *arguments)
        return output._replace(logits=output.logits * torch.nan)

    monkeypatch.setattr(Stream, "finish", broken)
    with pytest.raises(LabError, match="finite logits"):
        measure_noise(lab, studied.two_stream)
    assert measure_noise(replace(lab, dry=True), studied.two_stream).state == "failed"


# -- targets and crossing --------------------------------------------------------------------------


def test_table_3_is_a_group_of_targets():
    rows = get_targets(["table3"])
    severities = ["none", "1e-3", "1e-2", "1e-1", "1e0", "1e1", "void"]
    assert [target.name for target in rows] == [f"table3:{severity}" for severity in severities]
    assert [target.paper["cross-view"] for target in rows] == [81.43, 81.34, 81.12, 76.85, 62.47, 51.43, 14.24]
    assert TARGETS["table3:1e-1"].reading == "speckle:1e-1"  # the head's sigma squared: a variance
    released = TARGETS["noise:speckle-std-1e-1"]
    assert released.reading == "speckle-std:1e-1" and released.paper == {"cross-view": 76.85}


def test_every_reading_is_a_target():
    readings = {target.reading for target in TARGETS.values() if target.training == "noise"}
    assert readings == {reading for corruption in CORRUPTIONS.values() for reading in corruption.readings}
    assert TRAININGS["noise"].parents == ("two_stream",)


def answered(*accuracies: float, seeds: int = 1, clips: int = 400) -> np.ndarray:
    """(severities, seeds, clips): each severity right on its share of every subject's clips."""
    order = (np.arange(clips) // 20 + 0.5) / (clips // 20)
    return np.stack([np.tile(order < accuracy, (seeds, 1)) for accuracy in accuracies])


PEOPLE = np.arange(400) % 20


def test_crossing_lies_between_two_severities_on_the_kinds_axis():
    rival = answered(0.7)[0]
    linear = replace(CORRUPTIONS["dropped"], severities=("1", "2", "3"))
    found = noise_curves.find_crossing(answered(0.9, 0.8, 0.6, 0.5), rival, linear, PEOPLE)
    assert found == pytest.approx((1.5, 1.5, 1.5))
    decades = replace(CORRUPTIONS["speckle"], severities=("1e-2", "1e-1", "1e0"))
    (severity, *_) = noise_curves.find_crossing(answered(0.9, 0.8, 0.6, 0.5), rival, decades, PEOPLE)
    assert severity == pytest.approx(10**-1.5)
    (severity, *_) = noise_curves.find_crossing(answered(0.8, 0.6, 0.5, 0.5), rival, decades, PEOPLE)
    assert severity == pytest.approx(0.005)  # halfway between none and the first


def test_a_curve_that_never_crosses_has_no_severity():
    found = noise_curves.find_crossing(answered(0.9, 0.8, 0.7), answered(0.7)[0], _two("dropped"), PEOPLE)
    assert found == (None, None, None)  # as good is not worse
    found = noise_curves.find_crossing(answered(0.6, 0.5, 0.4), answered(0.7)[0], _two("dropped"), PEOPLE)
    assert found == (0, 0, 0)


def _two(kind: str) -> Corruption:
    return replace(CORRUPTIONS[kind], severities=CORRUPTIONS[kind].severities[:2])


def test_the_interval_covers_the_truth_and_open_ends_are_none():
    draws, found = np.random.default_rng(0), []
    kind = replace(CORRUPTIONS["dropped"], severities=("1", "2", "3", "4"))
    for _ in range(500):  # accuracy falls by a tenth a severity, rival 0.65: crosses at 2.5
        curve = draws.random((5, 2, 400)) < np.array([0.9, 0.8, 0.7, 0.6, 0.5])[:, None, None]
        rival = draws.random((2, 400)) < 0.65
        found.append(noise_curves.find_crossing(curve, rival, kind, PEOPLE))
    inside = [low <= 2.5 <= (np.inf if high is None else high) for _, low, high in found]
    assert np.mean(inside) >= 0.95
    assert np.median([severity for severity, *_ in found]) == pytest.approx(2.5, abs=0.05)
    curve = draws.random((3, 1, 400)) < np.array([0.9, 0.8, 0.66])[:, None, None]
    _, low, high = noise_curves.find_crossing(curve, draws.random((1, 400)) < 0.65, _two("dropped"), PEOPLE)
    assert high is None and low is not None


def test_its_interval_is_where_that_of_the_difference_holds_zero():
    """At both ends, had they been measured, an interval of the difference would end at zero."""
    draws, kind = np.random.default_rng(0), replace(CORRUPTIONS["dropped"], severities=("1", "2", "3"))
    curve = draws.random((4, 5, 400)) < np.array([0.9, 0.8, 0.6, 0.4])[:, None, None]
    rival = draws.random((5, 400)) < 0.65
    ends = np.array([paired_difference(right, rival, groups=PEOPLE)[:3] for right in curve])
    for place, found in zip(noise_curves.find_crossing(curve, rival, kind, PEOPLE), ends.T, strict=True):
        assert np.interp(place, range(4), found) == pytest.approx(0, abs=1e-12)


def test_a_crossing_in_words():
    say = noise_curves.Crossing
    found = str(say("speckle", "table2:15", 0.0621, 0.01, None, 1))
    assert found == ("speckle: RGB + depth (row 8) falls below “hallucination + RGB (row 15)” at variance of the noise "
                     "0.062 (95 % interval 0.01 to beyond 10)")  # fmt: skip
    assert "stays above “RGB alone (row 2)” up to step (mm) 400 (95 % interval 300 to beyond 400)" in str(
        say("quantisation", "table2:2", None, 300.0, None, 1))  # fmt: skip
    assert str(say("holes", "control:15", None, None, None, 1)).endswith("up to share of the person lost 1")
    assert "is below “hallucination + RGB (row 15)” with clean depth already (95 % interval 0 to 0.3)" in str(
        say("holes", "table2:15", 0, 0, 0.3, 1))  # fmt: skip
    with pytest.raises(LabError, match="speckle-mm"):
        noise_curves.targets_of("fog")


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A lab of NTU names whose rows 2, 8, 15, control and noise study are all there, trained for one epoch."""
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path_factory.mktemp("named"), epochs=1)
    store = MemoryStore()
    store.ids = [f"S001C001P{1 + n % 6:03d}R001A{n:03d}" for n in range(1, 25)]
    split = SimpleNamespace(name="cross-view", train=store.ids[:12], validation=store.ids[12:15], test=store.ids[15:])
    lab = replace(lab, clips=store, split=split)
    for name in ("table3:none", *noise_curves.RIVALS):
        TARGETS[name].make(lab)
    return lab


def test_tables_and_figures_come_from_finished_runs(reproduced):
    table = noise_curves.severity_table(reproduced)
    assert table["severity"].tolist()[:-1] == [0, 1e-3, 1e-2, 1e-1, 1, 10] and np.isnan(table["severity"].iloc[-1])
    assert table["paper"].tolist() == [81.43, 81.34, 81.12, 76.85, 62.47, 51.43, 14.24]
    assert table["ours"].between(0, 100).all() and set(table["state"]) == {"done"}
    rivals = results_table(reproduced, 1, [TARGETS[name] for name in noise_curves.RIVALS])
    crossings = noise_curves.crossings_table(reproduced, ("speckle", "holes"))
    pairs = [[kind, rival] for kind in ("speckle", "holes") for rival in noise_curves.RIVALS]
    assert crossings[["kind", "rival"]].values.tolist() == pairs
    drawn = figures.noise_curves({"speckle": table}, rivals, crossings)
    marks = {float(y) for line in drawn.axes[0].lines if line.get_marker() == "P" for y in line.get_ydata()}
    assert marks == set(table["ours"])
    panels = figures.noise_curves({"holes": noise_curves.severity_table(reproduced, 1, "holes")}, rivals, crossings)
    assert [label.get_text() for label in panels.axes[0].get_xticklabels()] == ["0", "0.1", "0.25", "0.5", "0.75", "1"]


def test_the_figure_marks_the_crossing_and_its_interval():
    table = results_like("speckle", [90, 88, 84, 76, 60, 40])
    rivals = results_like("speckle", [80, 78, 70]).assign(target=list(noise_curves.RIVALS), low=77, high=83)
    rows = [{"kind": "speckle", "rival": "table2:15", "severity": 10**-1.5, "low": 1e-2, "high": None}]
    figure = figures.noise_curves({"speckle": table}, rivals, pd.DataFrame(rows))
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width
    axes = figure.axes[0]
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert (float(ring.get_xdata()[0]), float(ring.get_ydata()[0])) == pytest.approx((-1.5, 80))
    (bar,) = [line for line in axes.lines if line.get_linewidth() == 4]
    assert bar.get_xdata() == pytest.approx([-2, 1])  # an open end reaches the worst severity
    assert [text.get_text() for text in axes.texts] == ["crosses at 0.032"]


def results_like(kind: str, ours: list[float]):
    severities = [0.0, *CORRUPTIONS[kind].readings.values()][: len(ours)]
    names, values = [target.name for target in noise_curves.targets_of(kind)], np.array(ours, float)
    bounds = {"ours": values, "low": values - 3, "high": values + 3}
    return pd.DataFrame({"target": names[: len(ours)], **bounds, "paper": None, "kind": kind, "severity": severities})
