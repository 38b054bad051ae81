"""What notebooks leave behind, and where: a smoke number must never end up among the results."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import MemoryStore, tiny_lab

from labkit.clips import colorize_depth
from labkit.config import PROFILES
from labkit.experiments import committed
from labkit.figures.method import method_diagram
from labkit.figures.style import in_seeds, save_figure
from labkit.lab import Lab
from labkit.notebook import display
from labkit.runs import RunStore


def a_lab(home, profile: str = "mini", protocol: str = "cross-subject", seed: int = 0) -> Lab:
    """A bench without clips: records need none."""
    return Lab(None, SimpleNamespace(name=protocol), RunStore(home / "runs"), PROFILES[profile], seed)


def test_nothing_of_a_notebook_lands_where_figures_are_committed(tmp_path):
    for profile in PROFILES:
        inside = tmp_path / "runs" / "notebooks" / profile
        assert display.figures_folder(a_lab(tmp_path, profile)) == inside / "figures"
        assert display.records_folder(a_lab(tmp_path, profile)) == inside


def test_another_protocol_or_seed_overwrites_no_figure(tmp_path):
    labs = [a_lab(tmp_path), a_lab(tmp_path, protocol="cross-view"), a_lab(tmp_path, seed=1)]
    folders = [display.figures_folder(lab) for lab in labs]
    assert len({*folders}) == 3 and folders[1].name == "cross-view"
    with committed.being_made():
        assert not {*folders} & {display.figures_folder(lab) for lab in labs}


def test_a_changed_profile_of_that_name_is_still_that_profile(tmp_path):
    lab = a_lab(tmp_path, "smoke")
    lab = replace(lab, profile=lab.profile.steps(epochs=1))
    assert tmp_path / "figures" not in display.figures_folder(lab).parents


def test_show_writes_the_figure_its_numbers_and_shows_the_caption(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(display, "display", lambda *things: shown.extend(things))
    data = pd.DataFrame({"a": [1.5]})
    display.show(a_lab(tmp_path), method_diagram(), "method", data, caption="After the paper.")
    folder = tmp_path / "runs" / "notebooks" / "mini" / "figures"
    names = {path.name for path in folder.iterdir()}
    assert names == {"method.svg", "method.pdf", "method.png", "method.csv"}
    image, caption = shown
    written = folder / "method.png"
    saved, seen = (np.asarray(Image.open(file).convert("RGB"), dtype=int) for file in (written, BytesIO(image.data)))
    assert seen.shape == saved.shape and np.abs(seen - saved).mean() < 1, "the same picture"
    assert len(image.data) < 0.6 * written.stat().st_size
    assert image.alt == "After the paper." and "After the paper." in caption.data


@pytest.fixture
def in_a_notebook(monkeypatch):
    monkeypatch.setattr(committed, "in_notebook", lambda: True)


def published(lab, caption: str, monkeypatch, data=None) -> str:
    """The caption that a notebook shows."""
    shown = []
    monkeypatch.setattr(display, "display", lambda *things: shown.extend(things))
    display.show(lab, method_diagram(), "method", data, caption=caption)
    return shown[0].alt


def test_a_notebook_shows_the_figure_of_more_seeds_and_says_which(tmp_path, monkeypatch, capsys, in_a_notebook):
    save_figure(method_diagram(), "method", tmp_path / "figures", caption="Of puppets (seeds: 3 to 10).")
    lab, mine = a_lab(tmp_path), "Mine, of puppets (seeds: 1)."
    assert published(lab, mine, monkeypatch) == "Of puppets (seeds: 3 to 10)."
    told = capsys.readouterr()
    assert "method: committed, seeds: 10; yours, in " in told.out + told.err and "method.png: 1" in told.out + told.err
    own = tmp_path / "runs" / "notebooks" / "mini" / "figures" / "method.png"
    assert Image.open(own).info["Description"] == mine, "one's own lies among the runs"
    assert Image.open(tmp_path / "figures" / "method.png").info["Description"] == "Of puppets (seeds: 3 to 10)."
    for caption in ("Of puppets (seeds: 10).", "One clip of puppets."):  # as many, or what rests on no seeds
        assert published(lab, caption, monkeypatch) == caption
    counts = pd.DataFrame({"seeds": [12, 5]})
    assert published(lab, mine, monkeypatch, counts) == "Mine, of puppets (seeds: 5 to 12).", "rows tell how many"
    spread = mine.replace("seeds: 1", "seeds: 1 to 4")
    assert published(lab, spread, monkeypatch, counts) == "Mine, of puppets (seeds: 5 to 12).", "and end a range"
    with committed.being_made():
        assert published(lab, mine, monkeypatch) == mine
    assert published(a_lab(tmp_path, "smoke"), mine, monkeypatch) == mine


def test_a_committed_table_stands_in_a_notebook_alone(tmp_path, monkeypatch, in_a_notebook):
    (tmp_path / "figures").mkdir()
    rows = {"protocol": "cross-subject", "target": "table2:1", "seed": [0, 1], "accuracy": [50.0, 60.0],
            "correct": [5, 6], "total": 10, "made on": "fp32"}  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "figures" / "tidy.csv", index=False)
    named = {"protocol": "cross-subject", "name": "15 > 2", "value": 3.0, "seeds": 2, "note": None}
    pd.DataFrame([named]).to_csv(tmp_path / "figures" / "comparisons.csv", index=False)
    lab = a_lab(tmp_path)
    assert committed.tests(lab)["table2:1"][1] == {"accuracy": 0.6, "correct": 6, "total": 10}
    assert committed.comparison(lab, "15 > 2", 1)["value"] == 3 and committed.comparison(lab, "15 > 2", 1)["note"] == ""
    assert committed.comparison(lab, "15 > 2", 2) is None and committed.comparison(lab, "1 > 2", 0) is None
    other = a_lab(tmp_path, protocol="cross-view")
    assert committed.tests(other) == {} and committed.comparison(other, "15 > 2", 0) is None
    monkeypatch.setattr(committed, "in_notebook", lambda: False)
    assert committed.tests(lab) == {} and committed.comparison(lab, "15 > 2", 0) is None


def test_a_notebook_about_other_data_says_so_and_does_nothing_below(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        shell.run_cell("from labkit.notebook.display import skip_rest\nskip_rest('this is about puppets.')\nabove = 1")
        done = shell.run_cell("above = 1 / 0")
        assert done.success and shell.user_ns["above"] == 1
    finally:
        InteractiveShell.clear_instance()
    assert "Skipped: this is about puppets.\n" in capsys.readouterr().out


def test_a_photograph_keeps_its_colours(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photograph.png")
    assert np.array_equal(np.asarray(Image.open(BytesIO(display.for_screen(tmp_path / "photograph.png")))), noise)


def test_a_caption_counts_the_rows_that_rest_on_seeds():
    assert in_seeds([3, 10, 5]) == "seeds: 3 to 10" and in_seeds([2, float("nan"), 2]) == "seeds: 2"
    assert in_seeds([float("nan")]) == "seeds: 0"


@pytest.mark.parametrize(("size", "frames"), [(32, 5), (224, 12)])
def test_a_clip_moves_and_keeps_its_colours(tmp_path, size, frames):
    lab = tiny_lab(tmp_path)
    lab = replace(lab, clips=MemoryStore(count=3, size=size, frames=frames))
    image = display.moving(lab, "clip001")
    assert "clap" in image.alt and "clip001" in image.alt and f"{frames} frames" in image.alt
    seen, rgb = Image.open(BytesIO(image.data)), lab.clips.rgb([1])[0]
    assert seen.format == "PNG" and seen.n_frames == frames and seen.info["loop"] == 0
    assert seen.width == 2 * seen.height == 2 * min(size, display.SIDE)
    for place in range(frames):
        seen.seek(place)
        shown = np.asarray(seen.convert("RGB"), dtype=int)
        expected = np.hstack([rgb[place], colorize_depth(lab.clips.depth([1])[0])[place]])
        expected = np.asarray(Image.fromarray(expected).resize(seen.size), dtype=int)
        assert np.abs(shown - expected).mean() < 12, "128 colours of random noise"
