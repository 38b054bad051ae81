"""What notebooks leave behind, and where: a smoke number must never end up among the results."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labkit.config import PROFILES
from labkit.errors import LabError
from labkit.figures.gallery import method_diagram
from labkit.lab import Lab
from labkit.notebook import records
from labkit.runs import RunStore


def a_lab(home, profile: str = "mini", protocol: str = "cross-subject", seed: int = 0) -> Lab:
    """A bench without clips: records need none."""
    return Lab(None, SimpleNamespace(name=protocol), RunStore(home / "runs"), PROFILES[profile], seed)


def test_only_mini_publishes_where_figures_are_committed(tmp_path):
    assert records.figures_folder(a_lab(tmp_path)) == tmp_path / "figures"
    for profile in set(PROFILES) - {"mini"}:
        inside = tmp_path / "runs" / "notebooks" / profile
        assert records.figures_folder(a_lab(tmp_path, profile)) == inside / "figures"
        assert records.records_folder(a_lab(tmp_path, profile)) == inside


def test_another_protocol_or_seed_overwrites_no_figure(tmp_path):
    labs = [a_lab(tmp_path), a_lab(tmp_path, protocol="cross-view"), a_lab(tmp_path, seed=1)]
    assert len({records.figures_folder(lab) for lab in labs}) == 3


def test_a_changed_profile_of_that_name_is_still_that_profile(tmp_path):
    lab = a_lab(tmp_path, "smoke")
    lab = replace(lab, profile=lab.profile.steps(epochs=1))
    assert tmp_path / "figures" not in records.figures_folder(lab).parents


def test_publish_writes_the_figure_its_numbers_and_shows_the_caption(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(records, "display", lambda *things: shown.extend(things))
    data = pd.DataFrame({"a": [1.5]})
    records.publish(a_lab(tmp_path), method_diagram(), "method", data, caption="After the paper.")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"method.svg", "method.pdf", "method.png", "method.csv"}
    image, caption = shown
    written = tmp_path / "figures" / "method.png"
    saved, seen = (np.asarray(Image.open(file).convert("RGB"), dtype=int) for file in (written, BytesIO(image.data)))
    assert seen.shape == saved.shape and np.abs(seen - saved).mean() < 1, "the same picture"
    assert len(image.data) < 0.6 * written.stat().st_size
    assert image.alt == "After the paper." and "After the paper." in caption.data


def test_record_writes_numbers_and_gives_them_back(tmp_path):
    given = records.record(a_lab(tmp_path, "smoke"), "00_question", clips=96, gain=6.9)
    path = tmp_path / "runs" / "notebooks" / "smoke" / "00_question.metrics.json"
    assert json.loads(path.read_bytes()) == given == {"clips": 96.0, "gain": 6.9}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "many"])
def test_record_refuses_what_is_no_number(tmp_path, value):
    with pytest.raises(LabError, match="finite numbers"):
        records.record(a_lab(tmp_path), "00_question", gain=value)
    assert not (tmp_path / "runs").exists()


def test_numbers_are_shown_to_five_digits_and_kept_whole(tmp_path):
    shown = records.record(a_lab(tmp_path, "smoke"), "00_question", gain=6.900000000000006)
    kept = json.loads((tmp_path / "runs" / "notebooks" / "smoke" / "00_question.metrics.json").read_bytes())
    assert shown == {"gain": 6.9} and kept == {"gain": 6.900000000000006}


def test_a_notebook_about_other_data_says_so_and_does_nothing_below(capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        shell.run_cell("from labkit.notebook.records import skip_rest\nskip_rest('this is about puppets.')\nabove = 1")
        done = shell.run_cell("above = 1 / 0")
        assert done.success and shell.user_ns["above"] == 1
    finally:
        InteractiveShell.clear_instance()
    assert "Skipped: this is about puppets.\n" in capsys.readouterr().out


def test_a_photograph_keeps_its_colours(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photograph.png")
    assert np.array_equal(np.asarray(Image.open(BytesIO(records.for_screen(tmp_path / "photograph.png")))), noise)
