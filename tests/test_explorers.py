"""The explorers: a control changes the picture, sliders stop at their ends, and what is drawn is what was computed."""

from __future__ import annotations

import gc
import io

import numpy as np
import pytest
import torch
from ipywidgets import Button
from matplotlib import _pylab_helpers
from matplotlib.figure import Figure
from PIL import Image
from tiny import tiny_lab
from traitlets import TraitError

from labkit import losses
from labkit.alignment import Alignment, fit_alignment
from labkit.clips import colorize_depth
from labkit.data.skeletons import NUM_JOINTS, single_body
from labkit.errors import LabError
from labkit.experiments import committed
from labkit.experiments.studies.noise import Corruption
from labkit.figures import style
from labkit.files import read_json
from labkit.notebook import display, explorers, panels
from labkit.notebook.widgets import Table

NAMES = ["wave", "clap", "kick", "a class whose name is far too long for any margin"]
FRAMES, SIDE = 3, 8
TRUTH = Alignment("ratio", (2.5, 2.5), (-4.0, 3.0))


def alignment():
    rng = np.random.default_rng(0)
    joints = rng.uniform(5, 25, (FRAMES, NUM_JOINTS, 2))
    state = np.full((FRAMES, NUM_JOINTS), 2, np.int8)
    skeleton = single_body(np.ones((FRAMES, NUM_JOINTS, 3)), joints, TRUTH.to_color(joints), state)
    depth = np.zeros((30, 36), np.uint16)
    depth[8:25, 10:20] = rng.integers(1500, 2500, (17, 10))
    color = rng.integers(0, 256, (60, 90, 3), np.uint8)
    return explorers.alignment(color, depth, skeleton, 1, fit_alignment(*skeleton.joints()))


def loss():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(3, 4, generator=generator) for _ in range(2))
    return explorers.loss(student, teacher, torch.tensor([0, 1, 2]), [5.0, 6.0, 7.0], NAMES)


def connection():
    rng = np.random.default_rng(0)
    shapes = [(2, SIDE, SIDE), (4, SIDE // 2, SIDE // 2)]
    return explorers.connection(*([rng.normal(size=shape) for shape in shapes] for _ in range(2)))


def clip() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)


def brightness(images: np.ndarray) -> np.ndarray:
    """A model that says "clap" the surer, the brighter its depth is."""
    return torch.tensor([1.0, images.mean() / 64, 0.0, 0.0]).softmax(dim=0).numpy()


def millimetres() -> np.ndarray:
    depth = np.random.default_rng(0).integers(1500, 3000, (FRAMES, SIDE, SIDE), np.uint16)
    depth[:, :2] = 0
    return depth


def noise(**options):
    chosen = [{"severity": severity} for severity in (0, 3, 5)]
    return explorers.noise(clip(), millimetres(), brightness, NAMES, 1, chosen, **{"clip": "", **options})


def features():
    rng = np.random.default_rng(0)
    maps = {role: [rng.random((FRAMES, 2**k, SIDE, SIDE)) for k in (1, 3)] for role in ("teacher", "RGB")}
    return explorers.features(maps, {"teacher": clip(), "RGB": clip()[::-1]})


def confused():
    labels = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    predicted = np.array([0, 1, 1, 1, 2, 2, 3, 0])
    return explorers.confused(labels, predicted, np.arange(8 * 12, dtype=np.uint8).reshape(8, 2, 2, 3), NAMES)


VIEWS = {  # each with another value for every control, and one outside
    alignment: {"right": (-5.5, 99.0), "down": (4.5, -99.0), "ratio": (2.7, 9.0)},
    loss: {"clip": (2, 3), "temperature": (2.0, 11.0), "imitation": (0.9, 1.1), "maps": (0.2, -0.1),
           "form": ("released code", "code")},
    connection: {"connection": ("gated", "divide"), "strength": (0.5, 2.5), "block": (2, 3), "channel": (1, 2)},
    noise: {"kind": ("holes", "fog"), "severity": (5, 6)},
    features: {"role": ("RGB", "depth"), "block": (2, 3), "channel": (1, 2), "frame": (3, 4)},
    confused: {"cell": (("kick", "clap"), ("kick", "jump"))},
}  # fmt: skip
SETTINGS = [(make, name, *values) for make, controls in VIEWS.items() for name, values in controls.items()]


@pytest.fixture
def watching(monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")


@pytest.mark.parametrize("make", VIEWS)
def test_the_twin_needs_neither_kernel_nor_window(make, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    view = make()
    assert view.live() is None
    first, second = (style.picture_bytes(view.twin(), "png", dpi=60) for _ in range(2))
    assert first == second
    assert len(view.chosen) >= 2
    assert all(view.picture(**setting) for setting in view.chosen)


@pytest.mark.parametrize(("make", "name", "other", "outside"), SETTINGS)
def test_every_control_changes_the_picture(make, name, other, outside, watching):
    view = make()
    image, *controls = view.live().children
    bound = dict(zip(view.controls, controls, strict=True))
    before = image.value
    start = bound[name].value
    bound[name].value = other
    assert Image.open(io.BytesIO(image.value)).format == "PNG"
    assert image.value != before
    bound[name].value = start
    assert image.value == before  # the picture depends on the setting alone


@pytest.mark.parametrize(("make", "name", "other", "outside"), SETTINGS)
def test_no_picture_jumps_while_a_slider_moves(make, name, other, outside):
    view = make()
    before, after = (view.draw([view.setting(**changes)]) for changes in ({}, {name: other}))
    assert tuple(before.get_size_inches()) == tuple(after.get_size_inches())
    places = [[axes.get_position(original=True).bounds for axes in figure.axes] for figure in (before, after)]
    assert np.allclose(*places, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("make", "name", "other", "outside"), SETTINGS)
def test_controls_stop_at_their_ends(make, name, other, outside, watching):
    view = make()
    bound = dict(zip(view.controls, view.live().children[1:], strict=True))[name]
    if hasattr(bound, "max"):
        bound.value = outside
        assert bound.value in (pytest.approx(bound.min), pytest.approx(bound.max))
    else:
        with pytest.raises(TraitError):
            bound.value = outside


@pytest.mark.parametrize("make", [make for make in VIEWS if make().site])
def test_the_site_has_few_pictures_and_says_of_each_where_its_controls_stand(make, tmp_path):
    view = make()
    view.picture = lambda **setting: style.picture_bytes(Figure((0.1, 0.1)), "png", dpi=20) if view.setting(
        **setting) else pytest.fail()  # fmt: skip
    view.save_frames(tmp_path / "frames")
    about = read_json(tmp_path / "frames" / "explorer.json")
    assert 6 <= len(about["frames"]) <= 60
    for key, words in about["frames"].items():
        for place, control in zip(map(int, key.split("-")), about["controls"], strict=True):
            assert f"{control['label']}: {control['options'][place]}" in words
    start = view.words(view.setting())
    assert about["frames"]["-".join(str(control["start"]) for control in about["controls"])] == start


def test_pictures_for_the_site_are_made_where_what_is_committed_is(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    monkeypatch.setattr(display, "display", lambda *_: None)
    lab, view = tiny_lab(tmp_path), connection()
    view.site = {"connection": ("add", "multiply")}
    assert view.show(lab, "x", "On puppets.") is None
    assert (style.figures_folder(lab) / "x.png").exists() and not list(tmp_path.rglob("explorers"))
    with committed.being_made():
        view.show(lab, "x", "On puppets.")
        folder = style.figures_folder(lab) / "explorers" / "x"
    assert {path.name for path in folder.iterdir()} == {"0.webp", "1.webp", "explorer.json"}
    assert read_json(folder / "explorer.json")["controls"][0]["start"] == 1
    first, second = (np.asarray(Image.open(folder / f"{place}.webp"), dtype=int) for place in (0, 1))
    seen = np.asarray(Image.open(io.BytesIO(view.picture(connection="add"))).convert("RGB"), dtype=int)
    assert np.abs(first - seen).mean() < 3 < np.abs(first - second).max()


def test_an_unknown_control_is_named():
    with pytest.raises(LabError, match="speed"):
        connection().picture(speed=1)


@pytest.mark.parametrize("make", VIEWS)
def test_controls_can_be_read_and_have_keys_of_their_own(make, watching):
    """JupyterLab leaves left and right to a slider, but takes up, down and letters from a list."""
    for control in make().live().children[1:]:
        if isinstance(control, Table):
            continue
        assert type(control).__name__.endswith("Slider")
        assert control.description and control.style.description_width == "12em"
        assert len(control.description) <= 24  # about as many letters as 12em hold


def test_a_shorter_axis_takes_the_slider_along(watching):
    view = features()
    _, _, block, channel, _ = view.live().children
    block.value = 2
    channel.value = 7
    block.value = 1
    assert (channel.max, channel.value) == (1, 1)
    block.value = 2
    assert channel.max == 7


def test_no_figure_stays_behind(watching):
    view = confused()
    box = view.live()
    for name in NAMES:
        box.children[1].value = (name, NAMES[0])
    assert not _pylab_helpers.Gcf.figs
    gc.collect()
    assert not [found for found in gc.get_objects() if isinstance(found, Figure)]


def test_a_picture_is_drawn_once():
    view, drawn = connection(), []
    draw = view.draw
    view.draw = lambda settings: drawn.append(settings) or draw(settings)
    for strength in (0.1, 0.2, 0.2, 0.1):
        view.picture(strength=strength)
    assert [settings[0]["strength"] for settings in drawn] == [0.1, 0.2]


# -- what is drawn -------------------------------------------------------------------------------


def caught(monkeypatch, name: str, room=panels) -> list:
    """What an explorer hands to its panel."""
    seen, draw = [], getattr(room, name)
    monkeypatch.setattr(room, name, lambda *arguments: seen.append(arguments) or draw(*arguments))
    return seen


def test_the_residual_is_that_of_all_joints(monkeypatch):
    seen, view = caught(monkeypatch, "registrations"), alignment()
    for right, expected in ((-4.0, "0.00"), (-2.0, "2.00")):
        view.draw([view.setting(right=right)])
        assert f"residual {expected} px" in seen[-1][-1][0]


def test_the_terms_add_up_to_the_lab_s_loss(monkeypatch):
    seen, view = caught(monkeypatch, "loss_settings"), loss()
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(3, 4, generator=generator) for _ in range(2))
    for form, options in (("text", {}), ("code times T²", {"student_temperature": 5, "temperature_squared": True})):
        view.draw([view.setting(clip=1, temperature=5.0, imitation=0.3, maps=0.2, form=form)])
        (opinion,), (terms,), *_ = seen[-1]
        general = losses.generalized_distillation_loss(
            student[1:2], teacher[1:2], torch.tensor([1]), imitation=0.3, temperature=5, **options
        )
        assert sum(terms.values()) == pytest.approx(0.8 * general.item() + 0.2 * 6.0, rel=1e-5)
        assert opinion["target"].sum() == pytest.approx(1)
        assert opinion["target"][1] == pytest.approx(0.7 + 0.3 * opinion["teacher"][1])


def test_a_silent_signal_shuts_one_form_and_not_the_other(monkeypatch):
    seen, view = caught(monkeypatch, "connections"), connection()
    names = ("none", "add", "multiply", "gated")
    view.draw([view.setting(connection=name, strength=0.0) for name in names])
    branch = dict(zip(names, (row["branch input"] for row in seen[-1][0]), strict=True))
    assert not branch["multiply"].any()
    for name in ("add", "gated"):
        assert np.array_equal(branch[name], branch["none"]) and branch[name].any()


def test_another_corruption_plugs_in(monkeypatch):
    """One that works on millimetres and has two severities of its own; the model is asked once for each."""
    shown, asked = [], []

    def nearer(depth, severity, rng):
        shown.append(severity)
        return (depth * severity).astype(np.uint16)

    def answer(images):
        asked.append(images)
        return brightness(images)

    fog = Corruption("fog", "millimetres", nearer, ("0.5", "0.75"), "factor", "a test")
    monkeypatch.setattr(explorers, "CORRUPTIONS", {"fog": fog})
    view = explorers.noise(clip(), millimetres(), answer, NAMES, 1, [{}], clip="")
    pictures = {view.picture(severity=severity) for severity in (0, 1, 2)}
    view._kept.cache_clear()
    view.picture(severity=2)
    assert len(pictures) == 3 and shown == [0.5, 0.75] and len(asked) == 3


def test_depth_gets_worse_and_rgb_stays(monkeypatch):
    seen = caught(monkeypatch, "answered_clips", explorers)
    for severity in (0, 4, 4):
        noise(clip="a").picture(severity=severity)
    clean, worse, again = (clips[0] for clips, _ in seen)
    assert worse.words.startswith("speckle:1e0: ")
    assert np.array_equal(worse.strips["depth"], again.strips["depth"])
    assert np.array_equal(clean.strips["depth"], colorize_depth(millimetres()))
    assert not np.array_equal(clean.strips["depth"], worse.strips["depth"])
    assert all(np.array_equal(shown.strips["RGB"], clip()) for shown in (clean, worse))
    assert np.array_equal(worse.said["two_stream"], brightness(worse.strips["depth"]))


def test_the_clips_behind_a_cell_are_those_of_the_cell(monkeypatch):
    seen, view = caught(monkeypatch, "confused_clips"), confused()
    assert view.chosen[0] == {"cell": ("wave", "clap")}
    view.draw([view.setting(cell=("wave", "clap")), view.setting(cell=("kick", "wave"))])
    matrix, _, cells, clips = seen[-1]
    assert cells == [(0, 1), (2, 0)] and matrix[0, 1] == 2 and matrix.sum() == 8
    thumbnails = np.arange(8 * 12, dtype=np.uint8).reshape(8, 2, 2, 3)
    assert np.array_equal(clips[0], thumbnails[1:3]) and len(clips[1]) == 0


def test_a_click_on_the_matrix_shows_the_clips_of_that_cell(watching):
    image, table = confused().live().children
    buttons = {button.tooltip: button for button in table.children if isinstance(button, Button)}
    assert len(buttons) == len(NAMES) ** 2 and buttons["wave taken for clap: 2"].description == "2"
    before = image.value
    buttons["clap taken for kick: 1"].click()
    assert table.value == ("clap", "kick")
    assert image.value == confused().picture(cell=("clap", "kick")) != before


def test_the_map_shown_is_the_one_named(monkeypatch):
    seen, view = caught(monkeypatch, "map_settings"), features()
    rng = np.random.default_rng(0)
    maps = {role: [rng.random((FRAMES, 2**k, SIDE, SIDE)) for k in (1, 3)] for role in ("teacher", "RGB")}
    view.draw([view.setting(role="RGB", block=2, channel=0, frame=2)])
    inputs, (shown,), _, (white,) = seen[-1]
    strongest = maps["teacher"][1].mean(axis=(0, 2, 3)).argmax()
    assert np.array_equal(shown, maps["RGB"][1][1, strongest])
    assert np.array_equal(inputs[0], clip()[::-1][1])
    assert white == max(values[1][:, strongest].max() for values in maps.values())
