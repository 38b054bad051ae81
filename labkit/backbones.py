"""torchvision's ResNets at any width, and where their ImageNet weights come from."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_builder, get_model_weights, list_models
from torchvision.models.resnet import ResNet

from .errors import LabError
from .files import sha256_file


class Backbone(ResNet):
    """torchvision's ResNet of the same shape and parameter names, `width` channels wide, not 64.

    Raises LabError for a name or width that cannot be built. The classifier is `fc`.
    """

    def __init__(self, name: str, num_classes: int, width: int = 64):
        if name not in resnet_names():
            known = ", ".join(resnet_names())
            raise LabError.mismatch(None, f"a backbone among {known}", repr(name), "use one of them")
        with torch.device("meta"):
            like = get_model(name, weights=None)
        if width < 1 or width * like.base_width < 64:
            least = -(-64 // like.base_width)
            raise LabError.mismatch(
                None, f"a width of {least} or more for {name}", width, "set a larger width"
            )
        self.name, self.width = name, width  # _make_layer reads it while the next call runs
        layers = [like.layer1, like.layer2, like.layer3, like.layer4]
        super().__init__(
            type(like.layer1[0]),
            [len(layer) for layer in layers],
            groups=like.groups,
            width_per_group=like.base_width,
        )
        self.fc = nn.Linear(self.inplanes, num_classes)

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False) -> nn.Sequential:
        if planes == 64:  # the first of four calls: the stem feeds it
            self.inplanes = self.width
            self.conv1 = nn.Conv2d(3, self.width, 7, stride=2, padding=3, bias=False)
            self.bn1 = self._norm_layer(self.width)
        return super()._make_layer(block, planes * self.width // 64, blocks, stride, dilate)


def resnet_names() -> list[str]:
    """The backbones there are: every ResNet of torchvision."""
    home = "torchvision.models.resnet"
    return [name for name in list_models() if get_model_builder(name).__module__ == home]


def load_weights(backbone: Backbone, weights: str | PathLike | bool) -> bool:
    """ImageNet weights by name (True: torchvision's best), or a file; False if none can be had."""
    if weights is True:
        return load_imagenet(backbone)
    if str(weights) in get_model_weights(backbone.name).__members__:
        return load_imagenet(backbone, str(weights))
    load_file(backbone, weights)
    return True


def load_imagenet(backbone: Backbone, weights: str = "DEFAULT") -> bool:
    """ImageNet weights through torchvision's own download and cache; the classifier stays new.

    A file is used only if its SHA-256 begins as its name says. Where none can be had: False, and
    one warning. Raises LabError for an unknown name, or a width for which no weights exist.
    """
    choices = get_model_weights(backbone.name).__members__
    if weights not in choices:
        known = ", ".join(choices)
        raise LabError.mismatch(None, f"weights among {known}", repr(weights), "use one of them")
    if backbone.width != 64:
        raise LabError.mismatch(
            None, "ImageNet's width 64", backbone.width, "set pretrained=False or width=64"
        )
    url = choices[weights].url
    cached = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    try:
        # torch checks what it downloads, not what it finds in the cache.
        if cached.exists() and not sha256_file(cached).startswith(cached.stem.rsplit("-", 1)[-1]):
            raise OSError(f"{cached} is damaged, delete it")
        state = choices[weights].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, a wrong hash, a full disk: the lab runs without
        warnings.warn(
            f"no ImageNet weights for {backbone.name} from {url} ({error}): training from scratch",
            stacklevel=2,
        )
        return False
    _fill(backbone, state, url)
    return True


def load_file(backbone: Backbone, path: str | PathLike) -> None:
    """Weights under torchvision's names from a .safetensors file or a state dict saved by torch.

    The classifier stays as it is. Raises LabError when the file is missing or damaged, holds other
    names or shapes, or a value that is not finite.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(state)
    except Exception as error:  # a hostile file can fail in any way inside the readers
        found = f"none that can be read ({error})"
        raise LabError.mismatch(path, "a weights file", found, "copy it here again") from error
    _fill(backbone, state, path)


def _fill(backbone: Backbone, state: dict[str, Tensor], path: str | PathLike) -> None:
    expected, found = _trunk(backbone.state_dict()), _trunk(state)
    wrong = sorted(set(expected) ^ set(found), key=str) or [
        name for name, value in expected.items() if getattr(found[name], "shape", None) != value.shape
    ]
    if wrong:
        others = f"{len(wrong)} others, such as {wrong[0]}"
        fix = f"use weights of a {backbone.name} of width {backbone.width}"
        raise LabError.mismatch(path, "torchvision's names and shapes", others, fix)
    broken = [name for name, value in found.items() if not value.isfinite().all()]
    if broken:
        bad = f"NaN or infinity in {broken[0]}"
        raise LabError.mismatch(path, "finite weights", bad, "copy it here again")
    backbone.load_state_dict(found, strict=False)


def _trunk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # The batch counter is missing in old files, and unused where the momentum is a number.
    skipped = ("fc.weight", "fc.bias", "num_batches_tracked")
    return {name: value for name, value in state.items() if not str(name).endswith(skipped)}
