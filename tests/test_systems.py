"""The other systems on a tiny lab: who learns from whom, from which modality, and what is read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import tiny_lab

from labkit import fit as fitting
from labkit.clips import Batches
from labkit.config import DistillConfig
from labkit.errors import LabError
from labkit.experiments import trainings
from labkit.experiments.studies import systems
from labkit.experiments.studies.systems import distill_stream, fuse_predictions, teacher_weights, train_jointly
from labkit.trainers import load_stream, train_stream


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path_factory.mktemp("lab"), epochs=4)
    return lab, train_stream(lab, "depth"), train_stream(lab, "rgb")


@pytest.mark.parametrize("objective", ["hallucination", "generalized", "distillation"])
def test_one_stage_trains_three_streams(taught, objective):
    lab, depth, rgb = taught
    run = train_jointly(lab, depth, rgb, distill=replace(lab.profile.distill, objective=objective))
    assert set(run.result["outputs"]) == {"fused", "alone", "rgb", "depth"} and run.result["primary"] == "fused"
    predicted, _ = run.load_tensors("predictions.safetensors")
    mean = (predicted["test/rgb"] + predicted["test/alone"]) / 2
    torch.testing.assert_close(predicted["test/fused"], mean)
    for role, start in (("rgb", rgb), ("depth", depth), ("hallucination", depth)):
        before, after = load_stream(start, "stream"), load_stream(run, role)
        assert not torch.equal(before.backbone.conv1.weight, after.backbone.conv1.weight)


def test_joint_hallucination_starts_from_depth_and_reads_rgb(taught, monkeypatch):
    lab, depth, rgb = taught
    started = {}

    def look(run, lab, train, **task):
        started.update({role: module.state_dict() for role, module in task["trained"].items()})
        return run

    monkeypatch.setattr("labkit.fit.fit", look)
    distill = replace(lab.profile.distill, objective="hallucination")
    run = train_jointly(lab.with_seed(3), depth, rgb, distill=distill)
    assert run.spec.config["modalities"] == {"rgb": "rgb", "depth": "depth", "hallucination": "rgb"}
    for name, value in load_stream(depth, "stream").state_dict().items():
        assert torch.equal(started["hallucination"][name], value)


@pytest.mark.parametrize("objective", ["generalized", "mars", "focal", "ensemble"])
def test_student_reads_rgb_alone(taught, objective, monkeypatch):
    lab, depth, _ = taught
    run = distill_stream(lab, [depth], distill=DistillConfig(objective=objective))
    assert list(run.result["outputs"]) == ["stream"] and run.spec.config["modalities"]["stream"] == "rgb"
    student = load_stream(run, "stream").eval()
    batch = Batches(lab, lab.split.test).view(list(lab.split.test), False)
    with torch.inference_mode():
        torch.testing.assert_close(
            student(batch["rgb"]).logits, run.load_tensors("predictions.safetensors")[0]["test/stream"],
            rtol=1e-4, atol=1e-4,
        )  # fmt: skip


def test_student_starts_and_trains_as_its_control(taught, monkeypatch):
    """The plain RGB stream is the control: same start, same budget, same order of clips."""
    lab, depth, _ = taught
    seen = []
    monkeypatch.setattr("labkit.fit.fit", lambda run, lab, train, **task: seen.append((task, train)))
    train_stream(lab.with_seed(5), "rgb")
    distill_stream(lab.with_seed(5), [depth], distill=DistillConfig(objective="generalized"))
    (plain, plain_config), (student, config) = seen
    assert plain_config == config
    for name, value in plain["network"].state_dict().items():
        assert torch.equal(value, student["network"].state_dict()[name])


def test_teachers_stay_as_they_were(taught, monkeypatch):
    lab, depth, rgb = taught
    same = []
    fit = fitting.fit

    def watch(run, lab, train, **task):
        before = {name: value.clone() for name, value in task["teachers"].state_dict().items()}
        fit(run, lab, train, **task)
        same.append(all(torch.equal(v, before[k]) for k, v in task["teachers"].state_dict().items()))

    monkeypatch.setattr("labkit.fit.fit", watch)
    distill_stream(lab.with_seed(9), [rgb, depth], distill=DistillConfig(objective="ensemble", weighting="sample"))
    assert same == [True]


def test_several_teachers_for_one_are_refused(taught, monkeypatch):
    lab, depth, rgb = taught
    with pytest.raises(LabError, match="one teacher for mars"):
        distill_stream(lab, [depth, rgb], distill=DistillConfig(objective="mars"))


def test_dataset_weights_prefer_the_better_teacher_on_held_out_clips(taught):
    lab, depth, rgb = taught
    distill = DistillConfig(objective="ensemble", weighting="dataset")
    weights = teacher_weights(lab, [depth, rgb], distill)
    logits, labels = systems._predictions(lab, [depth, rgb], "validation")
    errors = torch.stack([torch.nn.functional.cross_entropy(one, labels) for one in logits])
    torch.testing.assert_close(weights, torch.softmax(-errors, dim=0))
    assert teacher_weights(lab, [depth, rgb], replace(distill, weighting="uniform")).tolist() == [0.5, 0.5]


def test_fused_teachers_are_the_mean_of_their_logits(taught):
    lab, depth, rgb = taught
    run = fuse_predictions(lab, [depth, rgb])
    one, two = (r.load_tensors("predictions.safetensors")[0]["test/stream"] for r in (depth, rgb))
    fused, ids = run.load_tensors("predictions.safetensors")
    torch.testing.assert_close(fused["test/fused"], (one + two) / 2)
    assert ids["test"] == list(lab.split.test)
    right = (fused["test/fused"].argmax(1).numpy() == lab.clips.labels[lab.clips.rows(lab.split.test)]).sum()
    assert run.result["outputs"]["fused"]["test"]["correct"] == right


def test_runs_of_another_split_are_not_fused(taught):
    lab, depth, rgb = taught
    other = replace(lab, split=type(lab.split)(**{**vars(lab.split), "test": lab.split.test[:-1]}))
    with pytest.raises(LabError, match="the test clips of tiny"):
        fuse_predictions(other, [depth, rgb])


def test_trainings_name_parents_that_exist():
    for training in trainings.TRAININGS.values():
        assert {*training.parents} <= {*trainings.TRAININGS} - {training.name}
    with pytest.raises(LabError, match="'hallucinations'"):
        trainings.make("hallucinations", None)


def test_other_systems_read_the_profiles_settings_but_for_eq_3s(tmp_path):
    lab = replace(tiny_lab(tmp_path), dry=True)

    def name(**changes) -> str:
        profile = replace(lab.profile, distill=replace(lab.profile.distill, **changes))
        return trainings.make("generalized", replace(lab, profile=profile)).id

    assert name() == name(hall_weight=0.05) != name(temperature=4.0)
