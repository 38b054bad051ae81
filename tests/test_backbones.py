"""Pre-trained weights: files made here, read strictly, and a lab that runs without any."""

from __future__ import annotations

import os
import warnings

import pytest
import safetensors.torch
import torch
from torchvision.models import resnet18
from torchvision.models._api import Weights, WeightsEnum

from labkit import model
from labkit.errors import LabError
from labkit.files import sha256_file
from labkit.model import Backbone, Stream, load_weights


@pytest.fixture
def state():
    torch.manual_seed(7)
    return Backbone("resnet18", 10, 8).state_dict()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_file_fills_all_but_the_classifier(state, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        old = {name: value for name, value in state.items() if "num_batches_tracked" not in name}
        torch.save(old, path)
    else:
        safetensors.torch.save_file(state, path)
    stream = Stream(3, 5, "resnet18", 8, weights=path)
    loaded = stream.backbone.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state if not name.startswith("fc."))
    assert stream.backbone.fc.out_features == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("layer3.0.conv1.weight"), "layer3.0.conv1.weight"),
        (lambda s: s.update({"layer9.weight": torch.zeros(1)}), "layer9.weight"),
        (lambda s: s.update({"conv1.weight": torch.zeros(8, 1, 7, 7)}), "conv1.weight"),
        (lambda s: s["bn1.bias"].fill_(float("nan")), "NaN or infinity in bn1.bias"),
    ],
    ids=["missing", "extra", "shape", "nan"],
)
def test_wrong_weights_are_refused_and_leave_no_trace(state, spoil, message, tmp_path):
    spoil(state)
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    backbone = Backbone("resnet18", 3, 8)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(LabError, match=message):
        load_weights(backbone, tmp_path / "w.safetensors")
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_damaged_and_hostile_files_are_one_clear_error(state, tmp_path):
    safetensors.torch.save_file(state, tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"conv1.weight": print}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("cut.safetensors", "empty.pt", "code.pt", "list.pt", "absent.pt"):
        with pytest.raises(LabError, match=name):
            load_weights(Backbone("resnet18", 3, 8), tmp_path / name)


class Burglar:
    """Unpickling one makes a folder: proof that a weights file ran code."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_no_weights_file_runs_code(state, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({**state, "conv1.weight": Burglar(tmp_path / "was here")}, tmp_path / "w.pt")
    with pytest.raises(LabError, match="weights file"):
        load_weights(Backbone("resnet18", 3, 8), tmp_path / "w.pt")
    assert not (tmp_path / "was here").exists()


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Publish weights as torchvision does, under a file URL; the cache is a folder of the test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    torch.manual_seed(3)
    state = resnet18().state_dict()
    torch.save(state, tmp_path / "w.pth")

    def publish(digest: str | None = None, present: bool = True):
        name = f"resnet18-{digest or sha256_file(tmp_path / 'w.pth')[:8]}.pth"
        if present:
            (tmp_path / "w.pth").rename(tmp_path / name)

        class Published(WeightsEnum):
            DEFAULT = Weights(url=(tmp_path / name).as_uri(), transforms=None, meta={})

        monkeypatch.setattr(model, "get_model_weights", lambda name: Published)
        return name

    return state, publish, tmp_path / "cache" / "hub" / "checkpoints"


def test_imagenet_weights_come_through_torchvision(published):
    state, publish, cache = published
    name = publish()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = Stream(3, 5, "resnet18", weights=True)
    assert (cache / name).exists()
    torch.testing.assert_close(stream.backbone.layer4[1].conv2.weight.data, state["layer4.1.conv2.weight"])


@pytest.mark.parametrize("case", ["absent", "wrong download", "damaged cache", "code"])
def test_without_imagenet_weights_one_warning_and_a_fresh_start(published, case, tmp_path):
    state, publish, cache = published
    if case == "code":
        torch.save({**state, "conv1.weight": Burglar(tmp_path / "was here")}, tmp_path / "w.pth")
    name = publish("0badc0de" if case == "wrong download" else None, present=case != "absent")
    if case == "damaged cache":
        cache.mkdir(parents=True)
        (cache / name).write_bytes(b"half a file")
    backbone = Backbone("resnet18", 3)
    before = backbone.conv1.weight.clone()
    with pytest.warns(UserWarning, match="training from scratch") as caught:
        assert load_weights(backbone, True) is False
    assert len(caught) == 1
    assert torch.equal(backbone.conv1.weight, before)
    assert not (tmp_path / "was here").exists()


def test_imagenet_weights_that_cannot_exist_are_an_error():
    with pytest.raises(LabError, match="width"):
        load_weights(Backbone("resnet18", 3, 8), True)
    with pytest.raises(LabError, match="IMAGENET1K_V1"):
        load_weights(Backbone("resnet18", 3, 8), "IMAGENET21K")
