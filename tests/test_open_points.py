"""The other readings of rows 3 to 5, 7, 6a and 13 on a tiny lab: what differs from the plain reading, and only that."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import tiny_lab

from labkit import fit as fitting
from labkit.clips import Batches
from labkit.errors import LabError
from labkit.experiments.studies.systems import (
    HOFFMAN_FACTOR,
    read_ladder,
    read_target_alone,
    renew_batch_norm,
    train_jointly,
)
from labkit.experiments.trainings import make
from labkit.model import TwoStream
from labkit.trainers import distill_hallucination, load_stream, train_stream, train_two_stream


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path_factory.mktemp("lab"), epochs=2)
    return lab, train_stream(lab, "depth"), train_stream(lab, "rgb")


@pytest.mark.parametrize("objective", ["hallucination", "generalized", "distillation"])
def test_frozen_depth_keeps_all_but_its_classifier(streams, objective):
    lab, depth, rgb = streams
    distill = replace(lab.profile.distill, objective=objective)
    run = train_jointly(lab, depth, rgb, distill=distill, reading="frozen")
    plain = train_jointly(lab, depth, rgb, distill=distill)
    assert run.id != plain.id and set(run.result["outputs"]) == set(plain.result["outputs"])
    before, after = (load_stream(*one).state_dict() for one in ((depth, "stream"), (run, "depth")))
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"backbone.fc.weight", "backbone.fc.bias"}
    for role, start in (("rgb", rgb), ("hallucination", depth)):
        one, two = load_stream(start, "stream").state_dict(), load_stream(run, role).state_dict()
        assert not torch.equal(one["backbone.conv1.weight"], two["backbone.conv1.weight"])


def test_weighted_starts_with_features_ten_times_the_largest_cross_entropy(streams, monkeypatch):
    lab, depth, rgb = streams
    distill, tasks = replace(lab.profile.distill, objective="hallucination"), []
    monkeypatch.setattr("labkit.fit.fit", lambda run, lab, train, **task: tasks.append(task))
    train_jointly(lab.with_seed(4), depth, rgb, distill=distill, reading="weighted")
    (task,) = tasks
    batch = Batches(lab, lab.split.train).view(list(lab.split.train), False)
    with fitting.testing(task["network"]), torch.inference_mode():
        terms = task["loss"](task["forward"](batch, None), None, batch.labels)
    hard = {name: float(term) for name, term in terms.items() if name not in ("hall", "total")}
    assert set(hard) == {"rgb", "depth", "hallucination", "rgb+depth", "rgb+hallucination"}
    features = float(terms["total"]) - sum(hard.values()) - hard["rgb+hallucination"]
    assert features == pytest.approx(HOFFMAN_FACTOR * max(hard.values()), rel=1e-4)


def test_weighted_is_for_row_3(streams):
    lab, depth, rgb = streams
    with pytest.raises(LabError, match="expected the objective hallucination, found generalized"):
        train_jointly(
            lab, depth, rgb, distill=replace(lab.profile.distill, objective="generalized"), reading="weighted"
        )


def test_target_alone_is_the_branch_without_signals(streams):
    lab, depth, rgb = streams
    pair = train_two_stream(lab, depth, rgb)
    run = read_target_alone(lab, pair)
    assert run.done and run.spec.config["modalities"] == {"target": "rgb"}
    kept, ids = run.load_tensors("predictions.safetensors")
    assert ids["test"] == list(lab.split.test)
    batch = Batches(lab, lab.split.test).view(ids["test"], False)
    both = TwoStream(load_stream(pair, "source"), load_stream(pair, "target"), connection=None).eval()
    with torch.inference_mode():
        alone = both(batch["rgb"], batch["depth"]).target_logits
    torch.testing.assert_close(kept["test/alone"], alone, rtol=1e-4, atol=1e-4)
    injected = pair.load_tensors("predictions.safetensors")[0]["test/target"]
    assert (injected - kept["test/alone"]).abs().max() > 1e-3
    right = (kept["test/alone"].argmax(1).numpy() == lab.clips.labels[lab.clips.rows(ids["test"])]).sum()
    assert run.result["outputs"]["alone"]["test"]["correct"] == right


def test_row_5_for_as_long_as_row_15_has_its_epochs_and_nothing_else(streams):
    lab = streams[0]
    plain, longer = (make(name, replace(lab, dry=True)).spec for name in ("joint_all", "joint_all_long"))
    steps = lab.profile.step2, lab.profile.step3, lab.profile.step4
    assert longer.config["train"]["epochs"] == sum(step.epochs for step in steps)
    assert {**longer.config, "train": {}} == {**plain.config, "train": {}} and longer.parents == plain.parents


@pytest.fixture(scope="module")
def hallucinations(streams):
    lab, depth, rgb = streams
    pair = train_two_stream(lab, depth, rgb)
    return distill_hallucination(lab, pair), distill_hallucination(lab, pair, connection=None)


def test_rungs_of_the_ladder_take_their_signals_from_rgb(streams, hallucinations):
    """Each reading, worked out stream by stream: no depth is read, and no weight is trained."""
    lab, (connected, unconnected) = streams[0], hallucinations
    run = read_ladder(lab, connected, unconnected)
    assert run.spec.config["modalities"] == {"hallucination": "rgb"} and run.spec.parents == (
        connected.id, unconnected.id)  # fmt: skip
    stream, other, renewed = (load_stream(one, "hallucination").eval() for one in (connected, unconnected, connected))
    renew_batch_norm(lab, renewed, "rgb")
    clip = Batches(lab, lab.split.test).view(list(lab.split.test))["rgb"]
    with torch.inference_mode():
        expected = {"own_signals": stream(clip, stream(clip).signals).logits,
                    "other_signals": stream(clip, other(clip).signals).logits,
                    "renewed": renewed(clip).logits}  # fmt: skip
    kept, _ = run.load_tensors("predictions.safetensors")
    assert set(run.result["outputs"]) == {*expected}
    for name, logits in expected.items():
        torch.testing.assert_close(kept[f"test/{name}"], logits, rtol=1e-3, atol=1e-3)
    alone = connected.load_tensors("predictions.safetensors")[0]["test/alone"]
    assert all((kept[f"test/{name}"] - alone).abs().max() > 1e-3 for name in expected)


def test_renewed_batch_statistics_are_those_of_rgb_training_clips(streams, hallucinations):
    lab, (connected, _) = streams[0], hallucinations
    stream, before = (load_stream(connected, "hallucination") for _ in range(2))
    renew_batch_norm(lab, stream, "rgb")
    clips = Batches(lab, lab.split.train).view(list(lab.split.train))["rgb"]
    with torch.inference_mode():
        maps = before.backbone.conv1(clips.flatten(0, 1))
    found = stream.backbone.bn1
    torch.testing.assert_close(found.running_mean, maps.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.running_var, maps.var(dim=(0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert all(torch.equal(one, two) for one, two in zip(stream.parameters(), before.parameters(), strict=True))
