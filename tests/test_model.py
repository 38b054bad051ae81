"""The streams: against slow versions, known numbers, and what a reader would doubt."""

from __future__ import annotations

import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from tiny import tiny_lab
from torch.nn import functional as F
from torchvision.models import resnet18

from labkit import model, trainers
from labkit.config import PROFILES
from labkit.errors import LabError
from labkit.model import Stream, TemporalConv, TwoStream, build_stream, freeze, inject, set_bn_momentum, set_num_frames

CLASSES, FRAMES, SIZE = 4, 5, 32


def small_stream(seed: int = 0, backbone: str = "resnet18", **options) -> Stream:
    """Random everywhere, temporal convolutions and batch statistics included, so that nothing is hidden."""
    torch.manual_seed(seed)
    stream = Stream(CLASSES, FRAMES, backbone, 8, **options)
    for conv in stream.temporal:
        torch.nn.init.normal_(conv.weight, std=0.1)
    for part in stream.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(part.running_mean, std=0.3)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
            torch.nn.init.normal_(part.bias, std=0.3)
    return stream.eval()


def clips(batch: int = 2, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, FRAMES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def identity_temporal(stream: Stream) -> Stream:
    for conv in stream.temporal:
        conv.load_state_dict(TemporalConv(len(conv.weight), FRAMES).state_dict())
    return stream


# -- temporal convolution ----------------------------------------------------------------------------

FRAME_ROWS = torch.arange(1.0, 10).view(3, 3, 1, 1)  # three frames of three channels


def averaging(conv: TemporalConv) -> TemporalConv:
    with torch.no_grad():
        conv.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 3, 1) / 3)
    return conv


@pytest.mark.parametrize(
    ("conv", "rows"),
    [
        (TemporalConv(3, 3), [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (TemporalConv(3, 3, init="released"), [[0, 0, 0], [2, 2, 2], [5, 5, 5]]),
        (
            averaging(TemporalConv(3, 3)),
            [[1.666667, 2.333333, 3], [4, 5, 6], [3.666667, 4.333333, 5]],
        ),
    ],
    ids=["identity", "released", "averaging"],
)
def test_temporal_conv_known_numbers(conv, rows):
    torch.testing.assert_close(conv(FRAME_ROWS).flatten(1), torch.tensor(rows, dtype=torch.float32))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [1, 3])
def test_temporal_conv_is_a_conv3d(layout, side):
    conv = TemporalConv(6, FRAMES)
    torch.nn.init.normal_(conv.weight)
    frames = torch.randn(2 * FRAMES, 6, side, side + 1).to(memory_format=layout)
    volume = frames.unflatten(0, (2, FRAMES)).transpose(1, 2)
    slow = F.conv3d(volume, conv.weight[..., None], padding=(1, 0, 0)).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(conv(frames), slow, rtol=1e-4, atol=1e-5)


def test_temporal_conv_copies_nothing_it_need_not():
    frames = torch.randn(10, 8, 4, 4).to(memory_format=torch.channels_last)
    assert TemporalConv(8, FRAMES)(frames).is_contiguous(memory_format=torch.channels_last)


def test_temporal_norm_normalises_and_rectifies():
    conv = TemporalConv(3, 3, norm=True)
    out = conv(torch.randn(9, 3, 4, 4))
    assert out.min() == 0
    assert conv.bn.num_batches_tracked == 1


def test_unknown_temporal_init_is_refused():
    with pytest.raises(LabError, match="identity or released"):
        TemporalConv(3, 3, init="zeros")


# -- one stream --------------------------------------------------------------------------------------


def slow_stream(stream: Stream, clip, signals=None, connection="multiply"):
    """Basic blocks only: one clip at a time, temporal convolution as a sum over frames, eq. 2 literally."""
    net, logits, handed = stream.backbone, [], []
    for b, frames in enumerate(clip):
        x = net.maxpool(F.relu(net.bn1(net.conv1(frames))))
        given = []
        for i, layer in enumerate((net.layer1, net.layer2, net.layer3, net.layer4)):
            one, two = layer
            u = one.bn2(one.conv2(F.relu(one.bn1(one.conv1(x)))))
            u = u + (x if one.downsample is None else one.downsample(x))
            entry = F.relu(u)
            if signals is not None and signals[i] is not None:
                signal = signals[i].unflatten(0, (len(clip), FRAMES))[b]
                entry = u * signal + (F.relu(u) if connection == "gated" else 0)
            hidden = F.relu(two.bn1(two.conv1(entry)))
            kernel = stream.temporal[i].weight[..., 0]
            mixed = torch.zeros_like(hidden)
            for t in range(FRAMES):
                for tap in range(3):
                    if 0 <= t + tap - 1 < FRAMES:
                        mixed[t] += torch.einsum("oi,ihw->ohw", kernel[:, :, tap], hidden[t + tap - 1])
            x = F.relu(F.relu(u) + two.bn2(two.conv2(mixed)))
            given.append(F.relu(u))
        logits.append(net.fc(x.mean(dim=(2, 3))).mean(dim=0))
        handed.append(given)
    return torch.stack(logits), [torch.cat(block) for block in zip(*handed, strict=True)]


@pytest.mark.parametrize("connection", ["multiply", "gated"])
def test_two_streams_equal_the_slow_version(connection):
    pair = TwoStream(small_stream(1), small_stream(2), connection, connect_at=(1, 2, 4)).eval()
    rgb, depth = clips(seed=1), clips(seed=2)
    output = pair(rgb, depth)
    source_logits, signals = slow_stream(pair.source, depth)
    target_logits, _ = slow_stream(pair.target, rgb, [*signals[:2], None, signals[3]], connection)
    fused = (source_logits + target_logits) / 2
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(output.source_logits, source_logits, **close)
    torch.testing.assert_close(output.target_logits, target_logits, **close)
    torch.testing.assert_close(output.logits, fused, **close)
    for mine, slow in zip(output.source.signals, signals, strict=True):
        torch.testing.assert_close(mine, slow, **close)
    labels = torch.tensor([1, 3])
    gradients, slow_gradients = (
        torch.autograd.grad(F.cross_entropy(logits, labels), list(pair.parameters()))
        for logits in (output.logits, fused)
    )
    for mine, slow in zip(gradients, slow_gradients, strict=True):
        torch.testing.assert_close(mine, slow, rtol=1e-3, atol=1e-4 * slow.abs().max().item() + 1e-7)


def test_injection_known_numbers():
    """Branch inputs of eq. 2 and of the released code; the shortcut is untouched."""
    unit_sum = torch.tensor([-1, 0.5, 2]).view(1, 3, 1, 1)
    signal = F.relu(torch.tensor([0.5, -1, 3])).view(1, 3, 1, 1)
    for connection, expected in [("multiply", [-0.5, 0, 6]), ("gated", [-0.5, 0.5, 8])]:
        shortcut, branch_input = inject(unit_sum, signal, connection)
        assert branch_input.flatten().tolist() == expected
        assert shortcut.flatten().tolist() == [0, 0.5, 2]
    assert inject(unit_sum, None)[1].flatten().tolist() == [0, 0.5, 2]
    with pytest.raises(LabError, match="connection"):
        inject(unit_sum, signal, "add")


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_identity_temporal_is_the_plain_resnet(backbone):
    """Frame by frame, logits averaged; so five identical frames score as one picture does."""
    stream = identity_temporal(small_stream(backbone=backbone))
    clip = clips()
    with torch.no_grad():
        plain = stream.backbone(clip.flatten(0, 1)).unflatten(0, (2, FRAMES)).mean(dim=1)
        torch.testing.assert_close(stream(clip).logits, plain, rtol=1e-4, atol=1e-4)
        still = clip[:, :1].expand(-1, FRAMES, -1, -1, -1)
        torch.testing.assert_close(stream(still).logits, stream.backbone(clip[:, 0]), rtol=1e-4, atol=1e-4)


def test_backbone_has_torchvisions_names_and_function():
    torch.manual_seed(0)
    plain = resnet18(num_classes=CLASSES).eval()
    stream = Stream(CLASSES, FRAMES, "resnet18").eval()
    stream.backbone.load_state_dict(plain.state_dict())
    pictures = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(
            stream(pictures[:, None].expand(-1, FRAMES, -1, -1, -1)).logits,
            plain(pictures),
            rtol=1e-4,
            atol=1e-4,
        )


def test_permuted_frames_matter_only_through_temporal_convs():
    stream, clip = small_stream(), clips()
    shuffled = clip[:, [3, 0, 4, 1, 2]]
    with torch.no_grad():
        assert (stream(clip).logits - stream(shuffled).logits).abs().max() > 1e-4
        for conv in stream.temporal:
            conv.weight[:, :, (0, 2)] = 0
        torch.testing.assert_close(stream(clip).logits, stream(shuffled).logits, rtol=1e-4, atol=1e-5)


def known(pair: TwoStream, *frames: torch.Tensor) -> TwoStream:
    """Whose target and source put out these logits (frames, classes), whatever they see."""
    for stream, rows in zip((pair.target, pair.source), frames, strict=True):
        stream.backbone.fc = torch.nn.Identity()
        stream.backbone.fc.forward = lambda pooled, rows=rows: rows
    return pair


def test_time_mean_and_fusion_known_numbers():
    """Two streams whose frame logits are known: scores are means over time, then over streams."""
    frames = torch.tensor(
        [
            [[1, 2, 0], [3, 0, 0], [2, 4, 0], [0, 0, 1], [4, -1, 0]],
            [[0, 0, 0], [1, 1, 1], [0, 5, 0], [0, 0, 0], [-1, 4, 4]],
        ],
        dtype=torch.float32,
    )
    pair = TwoStream(*(Stream(3, FRAMES, "resnet18", 8) for _ in range(2)), None).eval()
    output = known(pair, *frames)(clips(1), clips(1))
    torch.testing.assert_close(output.target_logits, torch.tensor([[2, 1, 0.2]]))
    torch.testing.assert_close(output.source_logits, torch.tensor([[0.0, 2, 1]]))
    torch.testing.assert_close(output.logits, torch.tensor([[1, 1.5, 0.6]]))
    assert output.target_logits.argmax() == 0
    assert output.logits.argmax() == 1


def test_loss_of_step_2_is_of_the_mean_logits(monkeypatch, tmp_path):
    lab, seen = tiny_lab(tmp_path), {}
    monkeypatch.setattr(trainers, "load_stream", lambda run, role: Stream(3, FRAMES, "resnet18", 8))
    monkeypatch.setattr("labkit.fit.fit", lambda run, lab, train, **task: seen.update(task))
    depth, rgb = (lab.run("step1", {"modalities": {"stream": name}}) for name in ("depth", "rgb"))
    trainers.train_two_stream(lab, depth, rgb)
    known(seen["network"].eval(), *(torch.tensor(row).expand(FRAMES, 3) for row in ([2, 0.5, -1], [1, 2, 0.5])))
    output, labels = seen["forward"]({"rgb": clips(1), "depth": clips(1)}, None), torch.tensor([0])
    assert seen["loss"](output, None, labels)["total"].item() == pytest.approx(0.669149, abs=1e-6)
    each = [F.cross_entropy(logits, labels).item() for logits in (output.target_logits, output.source_logits)]
    assert sum(each) / 2 == pytest.approx(0.852840, abs=1e-6)  # what it would be as the mean of two losses


@pytest.mark.parametrize(("norm", "count"), [(False, 24_675_452), (True, 24_677_372)])
def test_parameter_count_of_resnet50_with_60_classes(norm, count):
    with torch.device("meta"):
        stream = Stream(60, temporal_norm=norm)
    sizes = {name: p.numel() for name, p in stream.named_parameters()}
    assert sum(sizes.values()) == count
    parts = {
        "trunk": [name for name in sizes if name.startswith("backbone.") and ".fc." not in name],
        "head": [name for name in sizes if ".fc." in name],
        "temporal": [name for name in sizes if name.startswith("temporal.") and ".bn." not in name],
        "norm": [name for name in sizes if name.startswith("temporal.") and ".bn." in name],
    }
    expected = {"trunk": 23_508_032, "head": 122_940, "temporal": 1_044_480, "norm": 1920 if norm else 0}
    assert {part: sum(sizes[name] for name in names) for part, names in parts.items()} == expected


def test_shapes_at_full_size():
    entering = []
    with torch.device("meta"):
        stream = Stream(60)
        for conv in stream.temporal:
            conv.register_forward_pre_hook(lambda _, inputs: entering.append(tuple(inputs[0].shape)))
        output = stream(torch.empty(2, 5, 3, 224, 224))
    assert entering == [(10, 64, 56, 56), (10, 128, 28, 28), (10, 256, 14, 14), (10, 512, 7, 7)]
    shapes = [(10, 256, 56, 56), (10, 512, 28, 28), (10, 1024, 14, 14), (10, 2048, 7, 7)]
    assert [tuple(s.shape) for s in output.signals] == shapes
    assert [tuple(b.shape) for b in output.blocks] == shapes
    assert output.features is output.blocks[3]
    assert output.logits.shape == (2, 60)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_builds_its_stream(profile):
    config = PROFILES[profile]
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "load_imagenet", lambda backbone: True)
        stream = build_stream(config.model, 12, config.clips.num_frames)
        clip = torch.empty(2, config.clips.num_frames, 3, config.clips.size, config.clips.size)
        assert stream(clip).logits.shape == (2, 12)
    assert stream.signal_channels[0] == stream.backbone.layer1[1].conv1.in_channels


@pytest.mark.parametrize("name", ["resnet34", "resnext50_32x4d", "wide_resnet50_2"])
def test_any_resnet_at_any_width(name):
    with torch.device("meta"):
        output = Stream(CLASSES, FRAMES, name, 16)(torch.empty(1, FRAMES, 3, 64, 64))
    assert output.features.shape == (FRAMES, 128 * (1 if name == "resnet34" else 4), 2, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vgg16"}, "resnet50"),
        ({"width": 0}, "width"),
        ({"stem": "tiny"}, "imagenet or small"),
        ({"backbone": "resnext50_32x4d", "width": 8}, "16"),
    ],
)
def test_what_cannot_be_built_is_named(options, message):
    with pytest.raises(LabError, match=message):
        Stream(CLASSES, **options)


def test_the_small_stem_gives_maps_of_the_same_size():
    assert small_stream().backbone.conv1.stride == (2, 2)
    usual, small = (small_stream(stem=stem)(clips()) for stem in ("imagenet", "small"))
    assert [maps.shape for maps in small.signals] == [maps.shape for maps in usual.signals]
    stream = small_stream(stem="small")
    frames = clips()[0]
    net = stream.backbone
    first = F.relu(net.bn1(F.conv2d(frames, net.conv1.weight, stride=4, padding=3)))
    torch.testing.assert_close(stream.begin(clips()[:1]), stream.unit_sum(net.layer1, first))


def test_start_values_are_pytorch_s_own():
    for conv in (part for part in Stream(CLASSES).modules() if isinstance(part, torch.nn.Conv2d)):
        largest = conv.weight[0].numel() ** -0.5  # uniform between minus and plus one over the root of the inputs
        assert 0.99 * largest < conv.weight.abs().max() <= largest


def test_first_batch_statistics_are_exact_far_from_zero():
    """A depth picture is all background but for a person, so the mean is many standard deviations from 0."""
    stream = Stream(CLASSES, FRAMES, "resnet18", 8)
    set_bn_momentum(stream, 1.0)
    clip = torch.full((16, FRAMES, 3, 64, 64), -2.0)
    clip[..., 24:40, 24:40] += torch.randn(16, FRAMES, 3, 16, 16)
    with torch.no_grad():
        stream.train()(clip)
        maps = stream.backbone.conv1(clip.flatten(0, 1)).double()
    spread, mean = torch.std_mean(maps, (0, 2, 3))
    assert ((stream.backbone.bn1.running_mean - mean).abs() < 1e-5 * spread).all()


@pytest.mark.parametrize("num_frames", [1, 3])
def test_a_stream_can_be_told_another_number_of_frames(num_frames):
    stream = small_stream()
    set_num_frames(stream, num_frames)
    clip = clips()[:, :num_frames]
    found = stream(clip)
    padded = torch.cat([clip, torch.zeros(2, FRAMES - num_frames, *clip.shape[2:])], dim=1)
    assert found.logits.shape == (2, CLASSES) and len(found.features) == 2 * num_frames
    set_num_frames(stream, FRAMES)
    first = stream(padded).blocks[0].unflatten(0, (2, FRAMES))[:, 0]
    if num_frames > 1:  # the first frame's neighbour is there in both
        torch.testing.assert_close(found.blocks[0].unflatten(0, (2, num_frames))[:, 0], first)


def test_a_clip_of_another_length_is_refused():
    with pytest.raises(LabError, match="5 frames a clip"):
        small_stream()(torch.zeros(5, 3, 3, SIZE, SIZE))


def test_a_clip_scores_the_same_in_any_company():
    pair = TwoStream(small_stream(1), small_stream(2), "gated").eval()
    rgb, depth = clips(4, seed=1), clips(4, seed=2)
    with torch.no_grad():
        together = pair(rgb, depth).logits
        order = torch.tensor([2, 0, 3, 1])
        torch.testing.assert_close(pair(rgb[order], depth[order]).logits, together[order], rtol=0, atol=1e-5)
        alone = torch.cat([pair(rgb[i : i + 1], depth[i : i + 1]).logits for i in range(4)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


# -- two streams -------------------------------------------------------------------------------------


def with_gradient(module: torch.nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_the_target_teaches_the_source_through_its_signals():
    pair = TwoStream(small_stream(1), small_stream(2)).train()
    pair(clips(seed=1), clips(seed=2)).target_logits[:, 0].sum().backward()
    touched = with_gradient(pair.source)
    assert {"backbone.conv1.weight", "backbone.layer4.0.conv2.weight", "temporal.2.weight"} <= touched
    beyond_the_last_signal = {"backbone.layer4.1.conv1.weight", "temporal.3.weight", "backbone.fc.weight"}
    assert not beyond_the_last_signal & touched
    assert with_gradient(pair.target) == {name for name, _ in pair.target.named_parameters()}


def test_connect_at_chooses_the_blocks():
    pair = TwoStream(small_stream(1), small_stream(2), connect_at=(2,)).train()
    pair(clips(seed=1), clips(seed=2)).target_logits[:, 0].sum().backward()
    touched = with_gradient(pair.source)
    assert "backbone.layer2.0.conv1.weight" in touched
    assert not any(name.startswith(("backbone.layer3", "backbone.layer2.1")) for name in touched)


def test_without_connection_only_logits_are_fused():
    pair = TwoStream(small_stream(1), small_stream(2), None)
    rgb, depth = clips(seed=1), clips(seed=2)
    output = pair(rgb, depth)
    torch.testing.assert_close(output.target_logits, pair.target(rgb).logits)
    output.target_logits.sum().backward()
    assert not with_gradient(pair.source)


def test_gated_with_a_silent_source_is_no_connection():
    stream, clip = small_stream(), clips()
    with torch.no_grad():
        free = stream(clip)
        silent = [torch.zeros_like(signal) for signal in free.signals]
        torch.testing.assert_close(stream(clip, silent, "gated").logits, free.logits)
        assert (stream(clip, silent, "multiply").logits - free.logits).abs().max() > 1e-3


def test_multiplying_by_one_is_not_an_injection_of_the_rectified_sum():
    """Eq. 2 multiplies the sum before ReLU, so even an all-one signal lets negative values in."""
    unit_sum = torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    assert inject(unit_sum, torch.ones_like(unit_sum))[1].flatten().tolist() == [-1, 1]


def test_roles_swap_by_plain_state_dicts():
    depth, hallucination = small_stream(1), small_stream(2)
    hallucination.load_state_dict(depth.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(hallucination(clips()).logits, depth(clips()).logits)


def test_streams_that_do_not_fit_are_refused():
    with pytest.raises(LabError, match="alike"):
        TwoStream(Stream(CLASSES, 5, "resnet18", 8), Stream(CLASSES, 5, "resnet18", 16))
    with pytest.raises(LabError, match="connection"):
        TwoStream(small_stream(), small_stream(), "add")
    with pytest.raises(LabError, match="connect_at"):
        TwoStream(small_stream(), small_stream(), connect_at=(0, 1))


def test_frozen_stays_frozen():
    """After `train()` of the pair and an update, neither parameters nor batch statistics moved."""
    pair = TwoStream(freeze(small_stream(1)), small_stream(2))
    before = {
        role: {n: t.clone() for n, t in getattr(pair, role).state_dict().items()} for role in ("source", "target")
    }
    optimizer = torch.optim.SGD([p for p in pair.parameters() if p.requires_grad], lr=0.1)
    pair.train()
    output = pair(clips(seed=1), clips(seed=2))
    assert not output.source.features.requires_grad  # nothing is kept for a backward pass
    output.logits.square().sum().backward()
    optimizer.step()
    for name, value in pair.source.state_dict().items():
        assert torch.equal(value, before["source"][name]), name
    moved = [n for n, value in pair.target.state_dict().items() if not torch.equal(value, before["target"][n])]
    assert "backbone.bn1.running_mean" in moved
    assert "temporal.0.weight" in moved


def test_bn_momentum_is_set_everywhere():
    pair = TwoStream(small_stream(temporal_norm=True), small_stream(temporal_norm=True))
    set_bn_momentum(pair, 0.003)
    norms = [part for part in pair.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert len(norms) == 2 * (20 + 4)
    assert {part.momentum for part in norms} == {0.003}


def test_half_precision_agrees():
    pair = TwoStream(small_stream(1), small_stream(2), "gated").eval()
    rgb, depth = clips(seed=1), clips(seed=2)
    with torch.no_grad():
        exact = pair(rgb, depth).logits
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = pair(rgb, depth).logits
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0, atol=0.05 * exact.abs().max().item())


def test_shapes_hold_at_run_time(monkeypatch):
    for owner, name in [
        (Stream, "forward"),
        (TemporalConv, "forward"),
        (TwoStream, "forward"),
        (model, "inject"),
    ]:
        monkeypatch.setattr(owner, name, jaxtyped(typechecker=beartype)(getattr(owner, name)))
    pair = TwoStream(small_stream(1), small_stream(2))
    assert pair(clips(), clips()).logits.shape == (2, CLASSES)
    with pytest.raises(Exception, match="height"):
        pair(clips()[..., 0], clips())
