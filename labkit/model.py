"""One stream, and two streams tied together (section 3.1, Fig. 2).

A stream is a torchvision ResNet run frame by frame, plus one temporal convolution in the second
unit of each of its four blocks. RGB, depth and hallucination are roles of the same class: their
parameters have the same names, so one starts from another by `load_state_dict`.
Backbones are torchvision's ResNets at any width, with its ImageNet weights where these can be had.

Maps have time folded into the batch, (batch*time, channel, height, width), in channels-last memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model, get_model_builder, get_model_weights, list_models
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from .config import Connection, ModelConfig
from .errors import LabError
from .runs import sha256_file

# Axes as words, the same everywhere. Inside a stream batch and time are one axis, because every layer but the
# temporal one is two-dimensional.
Clip = Float[Tensor, "batch time 3 height width"]
Features = Float[Tensor, "frames channel h w"]  # frames = batch * time
Logits = Float[Tensor, "batch classes"]
Labels = Int[Tensor, "batch"]
Scalar = Float[Tensor, ""]

NUM_BLOCKS = 4
Network = TypeVar("Network", bound=nn.Module)


class TemporalConv(nn.Module):
    """Convolution over 3 neighbouring frames, at every position; beyond the clip lie zeros.

    (batch*time, channel, height, width) -> the same. `weight` is (out, in, 3, 1). "identity" starts
    as the identity, centred in time, so a pre-trained ResNet is unchanged (section 3.1). "released"
    is the start value of the authors' code: every output channel is channel 1 of the frame before.
    `norm` appends batch normalisation and ReLU, as that code does.
    """

    def __init__(self, channels: int, num_frames: int, init: str = "identity", norm: bool = False):
        super().__init__()
        if init not in ("identity", "released"):
            raise LabError.mismatch(None, "temporal_init identity or released", repr(init), "use one of them")
        self.num_frames = num_frames
        self.weight = nn.Parameter(torch.zeros(channels, channels, 3, 1))
        with torch.no_grad():
            if init == "identity":
                self.weight[:, :, 1, 0].fill_diagonal_(1)
            else:
                self.weight[:, 1, 0, 0].fill_(1)
        self.bn = nn.BatchNorm2d(channels) if norm else None

    def forward(self, frames: Features) -> Features:
        height, time = frames.shape[2], self.num_frames
        # In channels-last memory a clip is also a picture of T rows and H*W columns: no copy.
        rows = rearrange(frames, "(b t) c h w -> b t (h w) c", t=time)
        mixed = F.conv2d(rearrange(rows, "b t s c -> b c t s"), self.weight, padding=(1, 0))
        pixels = rearrange(mixed, "b c t (h w) -> (b t) h w c", h=height)
        frames = rearrange(pixels, "n h w c -> n c h w")
        return frames if self.bn is None else F.relu(self.bn(frames))


def inject(
    unit_sum: Features, signal: Features | None, connection: Connection = "multiply"
) -> tuple[Features, Features]:
    """(shortcut, branch input) of a block's second unit.

    With u = `unit_sum`, the first unit's sum before ReLU, f = ReLU, and `signal` = f(u) of the
    other stream, the shortcut is always f(u). The branch input is u * signal for "multiply"
    (eq. 2), f(u) + u * signal for "gated" (the authors' code), and f(u) where there is no signal.
    """
    shortcut = F.relu(unit_sum)
    if signal is None:
        return shortcut, shortcut
    if connection == "multiply":
        return shortcut, unit_sum * signal
    if connection == "gated":
        return shortcut, torch.addcmul(shortcut, unit_sum, signal)
    raise _unknown_connection(connection)


def _unknown_connection(name: object) -> LabError:
    return LabError.mismatch(None, "connection multiply, gated or None", repr(name), "use one of them")


def _last_conv(unit: BasicBlock | Bottleneck) -> nn.Conv2d:
    return unit.conv3 if isinstance(unit, Bottleneck) else unit.conv2


def _residual_branch(unit: BasicBlock | Bottleneck, x: Features, temporal: nn.Module | None = None) -> Features:
    """What a unit adds to its shortcut; `temporal` sits before the unit's last convolution."""
    x = unit.relu(unit.bn1(unit.conv1(x)))
    if isinstance(unit, Bottleneck):
        x = unit.relu(unit.bn2(unit.conv2(x)))
    x = _last_conv(unit)(x if temporal is None else temporal(x))
    return unit.bn3(x) if isinstance(unit, Bottleneck) else unit.bn2(x)


class StreamOutput(NamedTuple):
    """What a stream hands out; maps are (batch*time, channel, height, width), one per block.

    logits: (batch, classes), the mean over time of the frames' logits.
    signals: f(u), the rectified sum of each block's first unit; a connection multiplies by it.
    blocks: the end of each block after ReLU.
    """

    logits: Tensor
    signals: tuple[Tensor, ...]
    blocks: tuple[Tensor, ...]

    @property
    def features(self) -> Tensor:
        """The end of block 4, the layer of eq. 3."""
        return self.blocks[-1]


class Stream(nn.Module):
    """One modality's network: clip (batch, time, 3, height, width) to logits (batch, classes).

    `backbone` is any ResNet of torchvision; `width` other than 64 scales all its channels. Basic
    blocks (ResNet-18, 34) have the temporal convolution between their two convolutions. `stem` "small"
    has stride 4 and no pooling in place of 2 and 2.
    `pretrained` takes torchvision's ImageNet weights; where they cannot be had, one warning says so.
    Raises LabError for a name or width that cannot be used.
    """

    def __init__(
        self,
        num_classes: int,
        num_frames: int = 5,
        backbone: str = "resnet50",
        width: int = 64,
        pretrained: bool = False,
        *,
        stem: str = "imagenet",
        temporal_init: str = "identity",
        temporal_norm: bool = False,
    ):
        super().__init__()
        self.num_classes, self.num_frames, self.frozen = num_classes, num_frames, False
        self.backbone = Backbone(backbone, num_classes, width, stem)
        self.temporal = nn.ModuleList(
            TemporalConv(_last_conv(layer[1]).in_channels, num_frames, temporal_init, temporal_norm)
            for layer in self.layers
        )
        if pretrained:
            load_imagenet(self.backbone)

    @property
    def layers(self) -> tuple[nn.Sequential, ...]:
        """The four blocks of units."""
        net = self.backbone
        return net.layer1, net.layer2, net.layer3, net.layer4

    @property
    def signal_channels(self) -> tuple[int, ...]:
        units: list[BasicBlock | Bottleneck] = [layer[1] for layer in self.layers]
        return tuple(unit.conv1.in_channels for unit in units)

    def train(self, mode: bool = True) -> Stream:
        return super().train(mode and not self.frozen)

    def forward(
        self,
        clip: Clip,
        signals: Sequence[Tensor | None] | None = None,
        connection: Connection = "multiply",
    ) -> StreamOutput:
        """`signals` are another stream's, one per block, None for a block without connection."""
        if clip.shape[1] != self.num_frames:
            raise LabError.mismatch(None, f"{self.num_frames} frames a clip", clip.shape[1], "set num_frames alike")
        return self.finish(self.begin(clip), signals, connection)

    def begin(self, clip: Clip) -> Features:
        """Block 1's unit sum before ReLU: all that comes before the first connection, whatever is injected."""
        net = self.backbone
        frames = rearrange(clip, "b t c h w -> (b t) c h w")
        frames = frames.contiguous(memory_format=torch.channels_last)
        # Of channels-last maps a CPU sums batch statistics in plain order; these, of the largest maps and furthest
        # from 0, were off by 0.4 % of a standard deviation.
        first = net.relu(net.bn1(net.conv1(frames).contiguous()))
        return self.unit_sum(self.layers[0], net.maxpool(first.contiguous(memory_format=torch.channels_last)))

    def finish(
        self,
        unit_sum: Features,
        signals: Sequence[Tensor | None] | None = None,
        connection: Connection = "multiply",
    ) -> StreamOutput:
        """The rest of `forward`, from what `begin` returned; that tensor is left as it was."""
        handed, blocks = list[Tensor](), list[Tensor]()
        injected = (None,) * NUM_BLOCKS if signals is None else signals
        for number, (layer, temporal, signal) in enumerate(zip(self.layers, self.temporal, injected, strict=True)):
            unit_sum = unit_sum if number == 0 else self.unit_sum(layer, blocks[-1])
            shortcut, x = inject(unit_sum, signal, connection)
            second, *others = layer[1:]
            x = _residual_branch(second, x, temporal).add_(shortcut).relu_()
            for unit in others:
                x = unit(x)
            handed.append(shortcut)
            blocks.append(x)
        return StreamOutput(self._classify(blocks[-1]), tuple(handed), tuple(blocks))

    @staticmethod
    def unit_sum(layer: nn.Sequential, x: Features) -> Features:
        """u of eq. 2: a block's first unit before its ReLU."""
        first: BasicBlock | Bottleneck = layer[0]
        return _residual_branch(first, x).add_(x if first.downsample is None else first.downsample(x))

    def _classify(self, features: Features) -> Logits:
        pooled = reduce(features, "n c h w -> n c", "mean")
        frame_logits = self.backbone.fc(pooled)
        # In half precision the mean would round small differences between classes away.
        wide = frame_logits.to(torch.promote_types(frame_logits.dtype, torch.float32))
        return reduce(wide, "(b t) k -> b k", "mean", t=self.num_frames)


class TwoStreamOutput(NamedTuple):
    """`logits` (batch, classes) is the mean of the two streams' logits (section 3.1)."""

    logits: Tensor
    target_logits: Tensor
    source_logits: Tensor
    target: StreamOutput
    source: StreamOutput


class TwoStream(nn.Module):
    """Two streams; the source's signals enter the target in the blocks `connect_at` (1 to 4).

    connection: "multiply" is eq. 2, "gated" the authors' code (see `inject`), None fuses the logits
    only. Gradients of the target reach the source through the signals, unless it is frozen. Step 2
    has source depth and target RGB, step 4 source hallucination and target RGB; roles swap freely.
    Raises LabError when the two cannot be connected.
    """

    def __init__(
        self,
        source: Stream,
        target: Stream,
        connection: Connection | None = "multiply",
        connect_at: Sequence[int] = (1, 2, 3, 4),
    ):
        super().__init__()
        if connection not in ("multiply", "gated", None):
            raise _unknown_connection(connection)
        if not set(connect_at) <= set(range(1, NUM_BLOCKS + 1)):
            raise LabError.mismatch(None, "connect_at in 1 to 4", tuple(connect_at), "use 1 to 4")
        shapes = [(s.num_classes, s.num_frames, s.signal_channels) for s in (source, target)]
        if shapes[0] != shapes[1]:
            wanted = f"a source of (classes, frames, channels) {shapes[1]} as the target"
            raise LabError.mismatch(None, wanted, shapes[0], "build both streams alike")
        self.source, self.target = source, target
        self.connection, self.connect_at = connection, tuple(connect_at)

    def forward(self, target_clip: Clip, source_clip: Clip) -> TwoStreamOutput:
        source = self.source(source_clip)
        target = self.target(target_clip, *at_connections(source.signals, self.connection, self.connect_at))
        fused = (target.logits + source.logits) / 2
        return TwoStreamOutput(fused, target.logits, source.logits, target, source)


def at_connections(signals: Sequence[Tensor], connection: Connection | None, connect_at: Sequence[int]) -> tuple:
    """What a target's forward takes beside its clip: the source's signals in the blocks `connect_at`, and how."""
    if connection is None:
        return ()
    return [signal if block in connect_at else None for block, signal in enumerate(signals, 1)], connection


def build_stream(config: ModelConfig, num_classes: int, num_frames: int) -> Stream:
    """The stream that `config` describes, with ImageNet weights where it asks for them."""
    return Stream(
        num_classes,
        num_frames,
        config.backbone,
        config.width,
        config.pretrained,
        stem=config.stem,
        temporal_init=config.temporal_init,
        temporal_norm=config.temporal_norm,
    )


def freeze(network: Network) -> Network:
    """Fix parameters and batch statistics of all its streams for good: `train()` of a parent does not wake them."""
    for part in network.modules():
        if isinstance(part, Stream):
            part.frozen = True
    return network.requires_grad_(False).eval()


def set_num_frames(module: nn.Module, num_frames: int) -> None:
    """Let streams take clips of that many frames; no weight depends on it."""
    for part in module.modules():
        if isinstance(part, Stream | TemporalConv):
            part.num_frames = num_frames


def set_bn_momentum(module: nn.Module, momentum: float) -> None:
    """Weight of the newest batch in the running statistics (1 - TensorFlow's decay)."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = momentum


# -- backbones and their weights ---------------------------------------------------------------------


class Backbone(ResNet):
    """torchvision's ResNet of the same shape and parameter names, `width` channels wide, not 64.

    Raises LabError for a name or width that cannot be built. The classifier is `fc`.
    """

    def __init__(self, name: str, num_classes: int, width: int = 64, stem: str = "imagenet"):
        if name not in resnet_names():
            known = ", ".join(resnet_names())
            raise LabError.mismatch(None, f"a backbone among {known}", repr(name), "use one of them")
        if stem not in ("imagenet", "small"):
            raise LabError.mismatch(None, "stem imagenet or small", repr(stem), "use one of them")
        with torch.device("meta"):
            like = get_model(name, weights=None)
        if width < 1 or width * like.base_width < 64:
            least = -(-64 // like.base_width)
            raise LabError.mismatch(None, f"a width of {least} or more for {name}", width, "set a larger width")
        self.name, self.width = name, width  # _make_layer reads it while the next call runs
        layers = [like.layer1, like.layer2, like.layer3, like.layer4]
        super().__init__(
            type(like.layer1[0]),
            [len(layer) for layer in layers],
            groups=like.groups,
            width_per_group=like.base_width,
        )
        self.fc = nn.Linear(self.inplanes, num_classes)
        for part in self.modules():  # from torchvision's larger values RGB learns worse: tests/calibration/training.csv
            if isinstance(part, nn.Conv2d):
                part.reset_parameters()
        if stem == "small":  # maps of block 1 are as large as torchvision's
            self.conv1.stride, self.maxpool = (4, 4), nn.Identity()

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


def load_imagenet(backbone: Backbone) -> bool:
    """torchvision's best ImageNet weights; the classifier stays new.

    Where they cannot be had: False, and one warning. Raises LabError for a width that has none.
    """
    if backbone.width != 64:
        raise LabError.mismatch(None, "ImageNet's width 64", backbone.width, "set pretrained=False or width=64")
    weights = get_model_weights(backbone.name).DEFAULT
    cached = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[-1])
    try:
        # torch checks what it downloads, not what it finds in the cache.
        if cached.exists() and not sha256_file(cached).startswith(cached.stem.rsplit("-", 1)[-1]):
            raise OSError(f"{cached} is damaged, delete it")
        state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, a wrong hash, a full disk: the lab runs without
        warnings.warn(f"no ImageNet weights for {backbone.name} from {weights.url} ({error}): training from scratch",
                      stacklevel=2)  # fmt: skip
        return False
    # The batch counter is missing in old files, and unused where the momentum is a number.
    trunk = {name: value for name, value in state.items() if not name.startswith("fc.")}
    backbone.load_state_dict(trunk, strict=False)
    return True
