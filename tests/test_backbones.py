"""ImageNet weights: files published here, read strictly, and a lab that runs without any."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from torchvision.models import resnet18
from torchvision.models._api import Weights, WeightsEnum

from labkit import model
from labkit.errors import LabError
from labkit.files import sha256_file
from labkit.model import Backbone, Stream, load_imagenet


class Burglar:
    """Unpickling one makes a folder: proof that a weights file ran code."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


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
        stream = Stream(3, 5, "resnet18", pretrained=True)
    assert (cache / name).exists()
    loaded = stream.backbone.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state if not name.startswith("fc."))
    assert stream.backbone.fc.out_features == 3


@pytest.mark.parametrize("case", ["absent", "wrong download", "damaged cache", "code"])
def test_without_imagenet_weights_one_warning_and_a_fresh_start(published, case, tmp_path, monkeypatch):
    state, publish, cache = published
    if case == "code":
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        torch.save({**state, "conv1.weight": Burglar(tmp_path / "was here")}, tmp_path / "w.pth")
    name = publish("0badc0de" if case == "wrong download" else None, present=case != "absent")
    if case == "damaged cache":
        cache.mkdir(parents=True)
        (cache / name).write_bytes(b"half a file")
    backbone = Backbone("resnet18", 3)
    before = backbone.conv1.weight.clone()
    with pytest.warns(UserWarning, match="training from scratch") as caught:
        assert load_imagenet(backbone) is False
    assert len(caught) == 1
    assert torch.equal(backbone.conv1.weight, before)
    assert not (tmp_path / "was here").exists()


def test_imagenet_weights_that_cannot_exist_are_an_error():
    with pytest.raises(LabError, match="width"):
        load_imagenet(Backbone("resnet18", 3, 8))
