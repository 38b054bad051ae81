"""The speed probe chooses by measurement and then stays with its choice; the home folder is found."""

from __future__ import annotations

import json
import threading
import time

import pytest

from labkit import LabError, machine
from labkit.machine import SpeedProfile, probe_precision

COST = {"precision": 0.4, "channels_last": 1.3, "fused_adam": 0.8}  # time of a step with / without, made up


@pytest.fixture
def bf16(monkeypatch):
    monkeypatch.setattr(machine, "has_bf16", lambda device: True)


def spin(seconds: float) -> None:
    """Use that much CPU time, whatever else the machine does."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class Steps:
    """Makes training steps of known cost and notes which profiles were tried."""

    def __init__(self, seconds: float = 0.004):
        self.seconds, self.tried = seconds, []

    def __call__(self, profile: SpeedProfile):
        self.tried.append(profile)
        cost = self.seconds
        cost *= COST["precision"] if profile.precision == "bf16" else 1
        cost *= COST["channels_last"] if profile.channels_last else 1
        cost *= COST["fused_adam"] if profile.fused_adam else 1
        return lambda: spin(cost)


def probe(steps, folder, **options) -> SpeedProfile:
    return probe_precision(
        steps, **{"shape": [2, 5, 3, 64, 64], "cache_dir": folder, "seconds": 1.0, **options}
    )


def test_the_levers_that_pay_are_pulled(tmp_path, bf16):
    profile = probe(Steps(), tmp_path)
    assert (profile.precision, profile.channels_last, profile.fused_adam) == ("bf16", False, True)


def test_ratios_are_kept_beside_the_choice(tmp_path, bf16):
    probe(Steps(), tmp_path)
    (path,) = tmp_path.glob("*.json")
    ratios = json.loads(path.read_text(encoding="utf-8"))["time_ratios"]
    assert ratios == pytest.approx({name: 1 / cost for name, cost in COST.items()}, rel=0.15)


def test_without_hardware_bf16_is_not_even_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "has_bf16", lambda device: False)
    steps = Steps()
    assert probe(steps, tmp_path).precision == "fp32"
    assert {profile.precision for profile in steps.tried} == {"fp32"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_asked_for_is_obeyed(tmp_path, bf16, precision):
    steps = Steps()
    assert probe(steps, tmp_path, precision=precision).precision == precision
    assert {profile.precision for profile in steps.tried} == {precision}


def test_the_choice_outlives_the_process_and_other_weather(tmp_path, bf16, monkeypatch):
    first = probe(Steps(), tmp_path)
    monkeypatch.setitem(COST, "precision", 3.0)
    steps = Steps()
    assert probe(steps, tmp_path) == first
    assert steps.tried == []
    assert probe(steps, tmp_path, shape="another").precision == "fp32"  # measured on its own


def test_two_at_once_agree(tmp_path, bf16):
    steps, found = Steps(), []
    threads = [threading.Thread(target=lambda: found.append(probe(steps, tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert len(steps.tried) == 4  # one probe: the start and three levers


def test_a_slow_step_ends_the_probe_in_time(tmp_path, bf16):
    steps = Steps(0.2)
    begin = time.process_time()
    profile = probe(steps, tmp_path, seconds=0.3)
    assert time.process_time() - begin < 1.5
    assert profile == SpeedProfile("bf16", True, True, profile.threads)  # what was not measured stays pulled


@pytest.mark.parametrize(
    "damage", ['{"profile": {}}', "{", "[]", '{"key": {}, "profile": {"precision": "fp64"}}']
)
def test_a_damaged_choice_is_refused(tmp_path, bf16, damage):
    probe(Steps(0.0002), tmp_path, seconds=0.05)
    (path,) = tmp_path.glob("*.json")
    path.write_text(damage, encoding="utf-8")
    with pytest.raises(LabError, match=path.name):
        probe(Steps(), tmp_path)


def test_a_real_training_step(tmp_path):
    import torch
    from torch import nn

    losses = {}

    def make_step(profile: SpeedProfile):
        torch.manual_seed(0)
        layout = torch.channels_last if profile.channels_last else torch.contiguous_format
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).to(
            memory_format=layout
        )
        optimizer = torch.optim.Adam(net.parameters(), fused=profile.fused_adam)
        images = torch.randn(4, 3, 8, 8).to(memory_format=layout)

        def step():
            with torch.autocast("cpu", torch.bfloat16, enabled=profile.precision == "bf16"):
                loss = nn.functional.cross_entropy(net(images).float(), torch.arange(4))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.setdefault(profile, loss.item())

        return step

    profile = probe(make_step, tmp_path, seconds=0.3)
    assert profile.threads == torch.get_num_threads()
    assert max(losses.values()) - min(losses.values()) < 0.02  # only the rounding differs


def test_describe_is_plain_json_and_names_every_requirement(tmp_path):
    facts = machine.describe(tmp_path)
    assert json.loads(json.dumps(facts)) == facts
    assert {"torch", "torchvision", "papermill", "opencv-python-headless"} <= facts["packages"].keys()
    assert (
        facts["cores"] >= 1 and facts["memory_gb"] > facts["memory_free_gb"] > 0 and facts["disk_free_gb"] > 0
    )


def test_home_is_found_upwards_or_named(tmp_path, monkeypatch):
    lab, elsewhere = tmp_path / "lab", tmp_path / "other"
    (lab / "notebooks").mkdir(parents=True)
    elsewhere.mkdir()
    (lab / "notebooks" / "00_question.ipynb").touch()
    monkeypatch.chdir(lab / "notebooks")
    assert machine.find_home() == lab
    assert machine.find_home(elsewhere) == elsewhere
    monkeypatch.setenv("LABKIT_HOME", str(elsewhere))
    assert machine.find_home() == elsewhere
    assert machine.find_home(lab) == lab
    with pytest.raises(LabError, match=r"nowhere: expected a project folder"):
        machine.find_home(tmp_path / "nowhere")


def test_a_folder_of_other_notebooks_is_no_home(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "shopping.ipynb").touch()
    monkeypatch.chdir(tmp_path)
    assert machine.find_home() != tmp_path
