"""Probes: what they read is what the network holds, and similarity is what its definition says."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny import tiny_lab

from labkit.analysis import cka, probes
from labkit.errors import LabError
from labkit.experiments import targets
from labkit.model import Stream, TwoStream, freeze
from labkit.trainers import distill_hallucination, load_network, load_stream, train_stream, train_two_stream


def a_stream(seed: int) -> Stream:
    torch.manual_seed(seed)
    stream = Stream(3, backbone="resnet18", width=8)
    for part in stream.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
    return stream


@pytest.fixture
def clip():
    return torch.rand(2, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def slow_cka(first: torch.Tensor, second: torch.Tensor) -> float:
    """From the definition: inner product of the centred kernel matrices over the product of their norms."""
    n = len(first)
    centre = torch.eye(n, dtype=torch.float64) - torch.full((n, n), 1 / n, dtype=torch.float64)
    kernels = [centre @ (x.double() @ x.double().T) @ centre for x in (first, second)]
    dot = sum(float(a * b) for a, b in zip(kernels[0].flatten(), kernels[1].flatten(), strict=True))
    return dot / float(kernels[0].norm() * kernels[1].norm())


def test_cka_equals_its_slow_version_and_is_symmetric():
    torch.manual_seed(0)
    first, second = torch.randn(20, 6) + 3, torch.randn(20, 4)
    second[:, :2] += 2 * first[:, :2]
    assert cka.cka(first, second) == pytest.approx(slow_cka(first, second), rel=1e-9)
    assert cka.cka(first, second) == pytest.approx(cka.cka(second, first), rel=1e-12)


def test_cka_does_not_see_rotation_scale_or_shift_but_sees_other_features():
    torch.manual_seed(1)
    first = torch.randn(500, 8)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    assert cka.cka(first, 3 * first @ rotation - 5) == pytest.approx(1, abs=1e-6)
    assert cka.cka(first, first @ torch.diag(torch.linspace(0.1, 3, 8))) < 0.9
    assert cka.cka(first, torch.randn(500, 8)) < 0.05


def test_cka_refuses_what_it_cannot_compare():
    with pytest.raises(LabError, match="expected 4 examples, found 5"):
        cka.cka(torch.rand(4, 2), torch.rand(5, 2))
    with pytest.raises(LabError, match="constant"):
        cka.cka(torch.ones(4, 2), torch.rand(4, 2))


def test_maps_are_the_ends_of_the_blocks_and_the_stream_is_left_as_it_was(clip):
    stream = a_stream(0).train()
    before = {name: value.clone() for name, value in stream.state_dict().items()}
    maps = probes.feature_maps(stream, clip)
    assert [tuple(one.shape) for one in maps] == [(10, 8, 8, 8), (10, 16, 4, 4), (10, 32, 2, 2), (10, 64, 1, 1)]
    assert stream.training and all(torch.equal(value, before[name]) for name, value in stream.state_dict().items())
    with torch.no_grad():
        assert torch.equal(stream.eval()(clip).features, maps[3])


def test_reading_leaves_a_frozen_part_frozen():
    pair = TwoStream(freeze(a_stream(0)), a_stream(1)).train()
    with probes.reading(pair):
        assert not pair.target.training
    assert pair.target.training and pair.target.backbone.bn1.training
    assert not pair.source.training and not pair.source.backbone.bn1.training


def test_pull_is_the_length_of_the_gradient_and_leaves_no_trace(clip):
    stream = a_stream(0)
    output = stream(clip)
    loss = output.features.square().mean()  # the classifier has no part in it
    found = probes.pull(loss, stream), probes.pull(3 * loss, stream)
    assert all(parameter.grad is None for parameter in stream.parameters())
    loss.backward()
    slopes = [parameter.grad.flatten() for parameter in stream.parameters() if parameter.grad is not None]
    assert found[0] == pytest.approx(torch.cat(slopes).norm().item(), rel=1e-5)
    assert found[1] == pytest.approx(3 * found[0], rel=1e-5)


def test_a_position_is_an_example(clip):
    maps = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).float()
    rows = probes.by_position(maps)
    assert rows.shape == (8, 3)
    assert rows[5].tolist() == maps[1, :, 0, 1].tolist()
    blocks = probes.feature_maps(a_stream(0), clip)
    pooled = [cka.by_position(maps) for maps in blocks]
    assert [cka.cka(maps, maps) for maps in pooled] == pytest.approx([1, 1, 1, 1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path_factory.mktemp("lab"), epochs=3)
    return lab, train_two_stream(lab, train_stream(lab, "depth"), train_stream(lab, "rgb"))


SEES = {"target": "rgb", "source": "depth"}


def test_prediction_is_the_one_of_the_run(trained):
    lab, run = trained
    logits = probes.predict(load_network(run), lab, lab.split.test, SEES)
    saved, _ = run.load_tensors("predictions.safetensors")
    assert set(logits) == {"fused", "source", "target"}
    for name, values in logits.items():
        assert np.allclose(values, saved[f"test/{name}"], atol=1e-5)


def test_source_may_see_other_clips(trained):
    lab, run = trained
    pair, ids = load_network(run), lab.split.test
    right, wrong = (probes.predict(pair, lab, ids, SEES, others) for others in (ids, ids[::-1]))
    assert np.allclose(wrong["source"], right["source"][::-1], atol=1e-5)
    assert not np.allclose(wrong["target"], right["target"], atol=1e-3)
    with pytest.raises(LabError, match="expected 9 clips"):
        probes.predict(pair, lab, ids, SEES, ids[:3])


def test_gains_by_class_are_paired_and_cover_all_clips(monkeypatch):
    labels, people = np.repeat([0, 2], 20), np.tile(np.repeat(np.arange(10), 2), 2)
    # row 2 misses class 2 altogether; class 1 has no test clip
    right = {"table2:1": np.ones(40, bool), "table2:2": labels == 0}
    clips = SimpleNamespace(labels=labels, class_names=["walk", "kick", "wave"], rows=lambda ids: np.array(ids))
    split = SimpleNamespace(test=list(range(40)))
    lab = SimpleNamespace(clips=clips, data_name="made up", split=split, with_seed=lambda seed: lab,
                          people=lambda: people)  # fmt: skip
    monkeypatch.setattr(targets, "answers", lambda lab, name: right[name])
    monkeypatch.setattr(targets, "look", lambda lab, names: dict.fromkeys(names, SimpleNamespace(done=True)))
    table = probes.gains_by_class(lab, "table2:1", "table2:2").set_index("class")
    assert list(table.index) == ["walk", "wave"]
    assert table["difference"].tolist() == [0, 100]
    assert table["clips"].tolist() == [20, 20]
    assert table.loc["wave", ["target", "minus", "low", "high"]].tolist() == ["table2:1", "table2:2", 100, 100]


def test_unit_sums_are_what_the_signals_are_the_relu_of(clip):
    stream = a_stream(0)
    with probes.reading(stream):
        signals = stream(clip).signals
    for unit_sum, signal in zip(probes.unit_sums(stream, clip), signals, strict=True):
        assert torch.allclose(unit_sum.relu(), signal, atol=1e-6) and (unit_sum < 0).any()


OWN, OTHER = torch.tensor([-1.0, 0.5, 2.0]), torch.tensor([0.5, -1.0, 3.0])


@pytest.mark.parametrize(
    ("connection", "strength", "branch", "to_own", "to_other"),
    [
        (None, 1.0, [0, 0.5, 2], [0, 1, 1], [0, 0, 0]),
        ("add", 1.0, [0.5, 0.5, 5], [0, 1, 1], [1, 0, 1]),
        ("multiply", 1.0, [-0.5, 0, 6], [0.5, 0, 3], [-1, 0, 2]),
        ("gated", 1.0, [-0.5, 0.5, 8], [0.5, 1, 4], [-1, 0, 2]),
        ("multiply", 0.0, [0, 0, 0], [0, 0, 0], [0, 0, 0]),
        ("gated", 2.0, [-1, 0.5, 14], [1, 1, 7], [-2, 0, 4]),
    ],
)
def test_what_passes_a_connection_by_hand(connection, strength, branch, to_own, to_other):
    passage = probes.through_connection(OWN, OTHER, connection, strength)
    for found, expected in zip(passage, (branch, to_own, to_other), strict=True):
        assert found.tolist() == pytest.approx(expected)
    assert not passage.branch.requires_grad and not OWN.requires_grad


def test_an_answer_to_the_depth_that_is_given():
    pair = TwoStream(a_stream(0), a_stream(1)).train()
    rng = np.random.default_rng(0)
    rgb, depth = rng.integers(0, 256, (2, 5, 32, 32, 3), np.uint8)
    answer = probes.answering(pair, rgb)
    assert answer(depth).shape == (3,) and answer(depth).sum() == pytest.approx(1)
    with probes.reading(pair):
        expected = pair(probes.normalize(rgb[None]), probes.normalize(depth[None])).logits.softmax(dim=-1)[0]
    assert np.allclose(answer(depth), expected.numpy(), atol=1e-6)
    assert not np.allclose(answer(depth), answer(255 - depth), atol=1e-6)
    assert pair.training


def test_stages_run_from_the_start_over_the_snapshots_to_the_end(tmp_path):
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path, epochs=3, snapshots=(1, 2, 50), selection="last")
    pair = train_two_stream(lab, train_stream(lab, "depth"), train_stream(lab, "rgb"))
    run, start = distill_hallucination(lab, pair), load_stream(pair, "source")
    stages = probes.stages(start, run)
    assert list(stages) == [0, 1, 2, 3] and stages[0] is start
    weight = "backbone.conv1.weight"
    values = [stream.state_dict()[weight] for stream in stages.values()]
    assert all(not torch.equal(one, other) for one, other in pairwise(values))
    assert torch.equal(values[3], load_stream(run, "hallucination").state_dict()[weight])
    assert torch.equal(values[1], run.load_tensors("snapshot-0001.safetensors")[0][f"hallucination.{weight}"])


def test_injected_maps_are_the_targets_with_the_sources_signals(clip):
    pair = TwoStream(a_stream(0), a_stream(1)).train()
    with probes.reading(pair):
        signals = pair.source(clip.flip(1)).signals
        expected = pair.target(clip, signals, "multiply").blocks
    for found, wanted in zip(probes.injected_maps(pair, clip, clip.flip(1)), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)
    assert not torch.allclose(expected[3], probes.feature_maps(pair.target, clip)[3])
    assert pair.training


def test_the_best_match_follows_the_channel_whatever_its_scale():
    goal = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps = torch.rand(6, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    maps[:, 0] = 0  # a dead channel
    maps[:, 3] = 0.01 * goal[:, 2] + 7
    maps[:, 4] = -goal[:, 2]
    assert probes.best_match(goal, maps, 2) == 3


def test_the_largest_drops_are_of_the_true_class_and_one_a_class():
    labels = np.array([0, 0, 1, 1, 2])
    before = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.1, 0.9, 0], [0.5, 0, 0.5]])
    after = np.array([[0.1, 0.9, 0], [0.1, 0.9, 0], [0.7, 0.3, 0], [0.4, 0.6, 0], [0, 0, 1.0]])
    assert probes.largest_drops(before, after, labels, 2).tolist() == [0, 2]
    assert probes.largest_drops(before, after, labels, 5).tolist() == [0, 2, 4]
