"""The four steps on a tiny lab: what is trained, what is frozen, what is read, what comes out."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import MemoryStore, tiny_lab
from torch import nn

from labkit import fit as fitting
from labkit import trainers
from labkit.clips import UNLABELLED, Batches
from labkit.config import PAPER, TrainConfig
from labkit.errors import LabError
from labkit.experiments.graph import run_graph
from labkit.fit import Session, learning_rate
from labkit.model import Stream, build_stream
from labkit.processes import precision_of
from labkit.trainers import distill_hallucination, finetune_rgb_only, load_stream, train_stream, train_two_stream

ARTEFACTS = ("weights.safetensors", "predictions.safetensors", "history.json", "result.json")


def digest(run) -> str:
    """One hash over weights, predictions, history and metrics."""
    content = b"".join(run.artefact(name).read_bytes() for name in ARTEFACTS)
    return hashlib.sha256(content).hexdigest()


def four_steps(lab):
    depth, rgb = train_stream(lab, "depth"), train_stream(lab, "rgb")
    joint = train_two_stream(lab, depth, rgb)
    hallucination = distill_hallucination(lab, joint)
    return depth, rgb, joint, hallucination, finetune_rgb_only(lab, hallucination, joint)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.set_num_threads(1)
    lab = tiny_lab(tmp_path_factory.mktemp("lab"), epochs=12)
    return lab, four_steps(lab)


def test_each_step_reports_its_readings(trained):
    _, runs = trained
    readings = [list(run.result["outputs"]) for run in runs]
    joint = ["fused", "source", "target"]
    assert readings == [["stream"], ["stream"], joint, ["alone", "with_depth"], joint]
    assert [run.result["primary"] for run in runs] == ["stream", "stream", "fused", "with_depth", "fused"]
    for run in runs:
        for parts in run.result["outputs"].values():
            test = parts["test"]
            assert test["total"] == 9 and test["accuracy"] == test["correct"] / 9


def test_the_tiny_task_is_learnt(trained):
    _, (depth, rgb, joint, *_) = trained
    assert min(run.result["outputs"][name]["test"]["accuracy"] for run, name in
               [(depth, "stream"), (rgb, "stream"), (joint, "fused")]) >= 0.8  # fmt: skip


def test_a_finished_run_is_loaded_not_trained_again(trained, monkeypatch):
    lab, runs = trained
    monkeypatch.setattr(fitting, "fit", lambda *_: pytest.fail("trained again"))
    assert [run.id for run in four_steps(lab)] == [run.id for run in runs]


def test_chosen_epoch_is_the_last_of_the_best(trained):
    for run in trained[1]:
        name = run.result["primary"]
        curve = [epoch[f"validation {name}"] for epoch in run.load_json("history.json")["epochs"]]
        best = max(index for index, value in enumerate(curve) if value == max(curve))
        assert run.result["chosen"] == {"epoch": best, "accuracy": max(curve)}


def test_streams_start_where_the_paper_says(trained, monkeypatch):
    """Step 3 starts from step 2's depth weights, step 4 from step 3's hallucination and step 2's RGB."""
    lab, (_, _, joint, hallucination, _) = trained
    started = {}

    def look(run, lab, train, **task):
        started.update({role: {k: v.clone() for k, v in m.state_dict().items()} for role, m in task["trained"].items()})
        raise LabError(None, "enough", "none")

    monkeypatch.setattr(fitting, "fit", look)
    other = replace(lab, profile=lab.profile.steps(lr=9e-4))
    with pytest.raises(LabError):
        distill_hallucination(other, joint)
    same_weights(started["hallucination"], load_stream(joint, "source"))
    with pytest.raises(LabError):
        finetune_rgb_only(other, hallucination, joint)
    same_weights(started["source"], load_stream(hallucination, "hallucination"))
    same_weights(started["target"], load_stream(joint, "target"))


def same_weights(state, stream) -> None:
    assert all(torch.equal(value, state[name]) for name, value in stream.state_dict().items())


def test_teacher_of_step_3_is_left_as_it_was(trained, monkeypatch):
    lab, (_, _, joint, _, _) = trained
    seen = {}
    real_fit = fitting.fit

    def watch(run, lab, train, **task):
        before = {name: value.clone() for name, value in task["teachers"].state_dict().items()}
        real_fit(run, lab, train, **task)
        seen["same"] = all(torch.equal(v, before[k]) for k, v in task["teachers"].state_dict().items())
        seen["roles"] = list(task["trained"])

    monkeypatch.setattr(fitting, "fit", watch)
    distill_hallucination(lab.with_seed(7), joint)
    assert seen == {"same": True, "roles": ["hallucination"]}


def test_rgb_only_model_reads_no_depth(trained, monkeypatch):
    lab, (_, _, joint, hallucination, _) = trained
    monkeypatch.setattr(type(lab.clips), "depth", lambda *_: pytest.fail("depth was read"))
    run = finetune_rgb_only(lab.with_seed(3), hallucination, joint)
    assert run.done


def test_snapshots_show_the_hallucination_on_its_way(trained):
    """The profile keeps the weights after some epochs of step 3, and nothing after a training's end."""
    _, (*_, hallucination, _) = trained
    kept = sorted(name for name in hallucination.manifest() if name.startswith("snapshot-"))
    assert kept == [fitting.snapshot_name(epoch) for epoch in (1, 3, 6)]  # of 12 epochs
    first, later = (hallucination.load_tensors(name)[0] for name in kept[:2])
    final, _ = hallucination.load_tensors("weights.safetensors")
    assert first.keys() == later.keys() == final.keys()
    moved = [float(sum((final[name] - part[name]).square().sum() for name in final)) for part in (first, later)]
    assert moved[0] > moved[1] > 0


def test_hallucination_may_start_from_the_stream_it_sees(trained, monkeypatch):
    lab, (_, _, joint, *_) = trained
    started = {}

    def look(run, lab, train, **task):
        started.update(task["trained"]["hallucination"].state_dict())

    monkeypatch.setattr(fitting, "fit", look)
    distill_hallucination(lab, joint, distill=replace(lab.profile.distill, start="seen"))
    same_weights(started, load_stream(joint, "target"))


def test_fused_teacher_logits_are_the_whole_networks(trained, monkeypatch):
    lab, (_, _, joint, *_) = trained
    lessons = {}

    def look(run, lab, train, **task):
        batch = Batches(lab, lab.split.test).view(list(lab.split.test), False)
        lessons[train.epochs] = task["teach"](batch)

    monkeypatch.setattr(fitting, "fit", look)
    predicted, _ = joint.load_tensors("predictions.safetensors")
    for epochs, kind, reading in ((1, "stream", "source"), (2, "fused", "fused")):
        distill = replace(lab.profile.distill, teacher_logits=kind)
        distill_hallucination(lab, joint, distill=distill, train=replace(lab.profile.step3, epochs=epochs))
        torch.testing.assert_close(lessons[epochs].logits, predicted[f"test/{reading}"], rtol=1e-4, atol=1e-4)


def test_inverted_roles_and_their_other_reading(trained):
    """RGB is the source. Either it is missing at test, or, in the other reading, depth is."""
    lab, (depth, rgb, *_) = trained
    inverted = train_two_stream(lab, rgb, depth)
    for missing, seen in (("source", "depth"), ("target", "rgb")):
        distill, train = replace(lab.profile.distill, missing=missing), replace(lab.profile.step3, epochs=1)
        hallucination = distill_hallucination(lab, inverted, distill=distill, train=train)
        final = finetune_rgb_only(lab, hallucination, inverted)
        assert hallucination.spec.config["modalities"]["hallucination"] == seen
        assert set(final.spec.config["modalities"].values()) == {seen}


def test_control_of_step_3_has_no_teacher(trained):
    lab, (_, rgb, *_) = trained
    joint = train_two_stream(lab, train_stream(lab, "rgb", twin=1), rgb)
    distill = replace(lab.profile.distill, objective="labels")
    run = distill_hallucination(lab, joint, distill=distill)
    assert list(run.result["outputs"]) == ["alone"]
    assert set(run.load_json("history.json")["epochs"][0]) == {"epoch", "total", "validation alone"}


def test_twin_starts_from_other_weights(trained):
    lab, (_, rgb, *_) = trained
    twin = train_stream(lab, "rgb", twin=1)
    weights = [load_stream(run, "stream").temporal[0].weight for run in (twin, rgb)]
    assert not torch.equal(*weights)


def test_same_inputs_same_bits_in_another_folder(trained, tmp_path):
    lab, (_, rgb, *_) = trained
    again = train_stream(replace(lab, runs=tiny_lab(tmp_path).runs), "rgb")
    assert again.id == rgb.id and digest(again) == digest(rgb)


def test_a_tracker_is_told_each_epoch_and_changes_no_bit(trained, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="`pip install tensorboard` to test a tracker")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("LABKIT_TRACKER", "tensorboard")
    run = train_stream(tiny_lab(tmp_path, epochs=12), "depth")
    assert (run.id, digest(run)) == (trained[1][0].id, digest(trained[1][0]))
    (folder,) = (tmp_path / "runs" / "tracked").iterdir()
    told = EventAccumulator(str(folder / "labkit")).Reload()
    epochs = run.load_json("history.json")["epochs"]
    for name in ("total", "validation stream"):
        points = [(point.step, point.value) for point in told.Scalars(name)]
        assert points == [(row["epoch"], pytest.approx(row[name])) for row in epochs]
    (tested,) = told.Scalars("test stream")
    assert folder.name == run.id and tested.value == pytest.approx(run.result["outputs"]["stream"]["test"]["accuracy"])


@pytest.mark.parametrize("name", ["abacus", "aim", "all"])  # unknown, not installed, no tracker's name
def test_a_tracker_that_is_not_there_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setenv("LABKIT_TRACKER", name)
    with pytest.raises(
        LabError, match=rf"expected .*tensorboard, .*wandb, found '{name}'\. Fix: correct LABKIT_TRACKER"
    ):
        train_stream(tiny_lab(tmp_path), "depth")
    with pytest.raises(LabError, match="LABKIT_TRACKER"):  # of several trainings, before the first
        run_graph([(tiny_lab(tmp_path), ["depth", "rgb"])])


def test_a_tracker_that_does_not_start_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard", reason="`pip install tensorboard` to test a tracker")
    monkeypatch.setenv("LABKIT_TRACKER", "tensorboard")
    lab = tiny_lab(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tracked").write_text("no folder", encoding="utf-8")
    with pytest.raises(LabError, match=r"expected the tracker tensorboard to start, found .*Fix: set it up") as caught:
        train_stream(lab, "depth")
    assert len(str(caught.value).splitlines()) == 1


def test_prediction_does_not_depend_on_the_batch(trained, monkeypatch):
    lab, (_, rgb, *_) = trained
    whole, _ = rgb.load_tensors("predictions.safetensors")
    stream = load_stream(rgb, "stream").eval()
    feed = fitting.Batches(lab, lab.split.test)
    with torch.inference_mode():
        alone = torch.cat([stream(batch["rgb"]).logits for batch in feed.test_batches(1)])
    assert torch.allclose(whole["test/stream"], alone, atol=1e-5)


def taught_otherwise(lab, joint, monkeypatch, **options):
    """What `fit` is told in a step 3 on soft labels, and the run's id."""
    told = {}
    monkeypatch.setattr(fitting, "fit", lambda run, lab, train, **task: told.update(task, run=run))
    distill = replace(lab.profile.distill, objective="generalized", imitation=1.0)
    distill_hallucination(lab, joint, distill=distill, connection=None, **options)
    return SimpleNamespace(**told)


def test_another_network_teaches_in_step_2s_place(trained, monkeypatch):
    lab, (_, rgb, joint, hallucination, _) = trained
    twins = train_two_stream(lab, train_stream(lab, "rgb", twin=1), rgb)
    ids = set()
    for teacher, reading in ((rgb, "stream"), (hallucination, "alone"), (twins, "source")):
        told = taught_otherwise(lab, joint, monkeypatch, teacher=teacher)
        assert told.run.spec.parents == (joint.id, teacher.id)
        same_weights(told.network.state_dict(), load_stream(joint, "source"))  # the start is step 2's all the same
        predicted, _ = teacher.load_tensors("predictions.safetensors")
        batch = Batches(lab, lab.split.test).view(list(lab.split.test))
        torch.testing.assert_close(told.teach(batch).logits, predicted[f"test/{reading}"], rtol=1e-4, atol=1e-4)
        assert set(batch.clips) == {"rgb"}
        ids.add(told.run.id)
    assert len(ids) == 3


def test_shuffled_lessons_are_those_of_other_clips(trained, monkeypatch):
    lab, (*_, joint, _, _) = trained
    own, others = (taught_otherwise(lab, joint, monkeypatch, shuffled=shuffled) for shuffled in (False, True))
    assert own.run.id != others.run.id
    batch = Batches(lab, lab.split.test).view(list(lab.split.test))
    taught = own.teach(batch)
    said = own.forward(batch, taught)
    turned = taught._replace(logits=torch.cat([taught.logits[-1:], taught.logits[:-1]]))
    labels = batch.labels
    assert others.loss(said, taught, labels)["total"] == own.loss(said, turned, labels)["total"]
    assert others.loss(said, taught, labels)["total"] != own.loss(said, taught, labels)["total"]


def test_clips_without_labels_train_under_a_teacher(trained, tmp_path):
    lab, (*_, joint, _, _) = trained
    distill = replace(lab.profile.distill, objective="generalized")
    plain = distill_hallucination(lab, joint, distill=distill, connection=None)
    for options, missing in (({}, "clips without labels"), ({"objective": "labels"}, "a teacher for clips")):
        with pytest.raises(LabError, match=f"expected {missing}"):
            distill_hallucination(lab, joint, distill=replace(distill, **options), unlabelled=True)
    more = replace(lab, split=SimpleNamespace(**{**vars(lab.split), "train": lab.split.train[:6],
                                                 "unlabelled": lab.split.train[6:]}))  # fmt: skip
    more.clips.labels = more.clips.labels.copy()
    known = more.clips.labels[more.clips.rows(more.split.unlabelled)]
    more.clips.labels[more.clips.rows(more.split.unlabelled)] = UNLABELLED
    both = distill_hallucination(more, joint, distill=distill, connection=None, unlabelled=True)
    alone = distill_hallucination(more, joint, distill=distill, connection=None)
    more.clips.labels[more.clips.rows(more.split.unlabelled)] = known
    assert len({run.id for run in (plain, both, alone)}) == 3
    losses = {run.id: run.load_json("history.json")["epochs"] for run in (both, alone)}
    assert len(both.load_json("history.json")["curve"]) == 2 * len(alone.load_json("history.json")["curve"])
    assert all(torch.isfinite(torch.tensor(epoch["total"])) for epochs in losses.values() for epoch in epochs)


def test_step_4_with_a_teacher_is_named_by_it(trained):
    lab, (*_, joint, hallucination, final) = trained
    taught = finetune_rgb_only(replace(lab, dry=True), hallucination, joint, distill=lab.profile.distill)
    assert final.spec.parents == (hallucination.id, joint.id)
    assert taught.spec.parents == (hallucination.id, joint.id, joint.id) and taught.id != final.id


def test_a_run_of_the_wrong_step_is_named(trained):
    lab, (depth, _, joint, *_) = trained
    with pytest.raises(LabError, match="expected a target stream in this run, found stream"):
        distill_hallucination(lab, depth)
    other = replace(lab.profile.distill, objective="foo")
    with pytest.raises(LabError, match=r"expected an objective among labels, .*, found 'foo'"):
        distill_hallucination(lab, joint, distill=other)


@pytest.mark.parametrize("change", ["one class", "no validation"])
def test_clips_that_nothing_can_be_learned_from_are_refused(tmp_path, change):
    lab = tiny_lab(tmp_path)
    if change == "one class":
        lab.clips.class_names = lab.clips.class_names[:1]
    else:
        lab.split.validation = ()
    with pytest.raises(LabError, match="clips of two classes or more in every part"):
        train_stream(lab, "rgb")


def test_bf16_is_not_taken_where_torch_gets_its_gradient_wrong():
    cpu, ordered = torch.device("cpu"), TrainConfig(precision="bf16")
    assert precision_of(TrainConfig(), cpu, 16) == "fp32" and precision_of(ordered, cpu, 17) == "bf16"
    assert precision_of(TrainConfig(precision="fp32"), cpu, 64) == "fp32"
    with pytest.raises(LabError, match="17 pixels or more for bf16"):
        precision_of(ordered, cpu, 16)


def test_unknown_role_is_named(trained):
    with pytest.raises(LabError, match="expected a stream in the role 'source', found stream"):
        load_stream(trained[1][0], "source")


@pytest.mark.parametrize("where", ["input", "weights", "loss"])
def test_nan_stops_the_run_and_is_named(tmp_path, monkeypatch, where):
    lab = tiny_lab(tmp_path)
    if where == "input":
        real = fitting.Batches.train_batch

        def poisoned(self, ids, epoch, num_frames):
            batch = real(self, ids, epoch, num_frames)
            if epoch == 1:
                batch["rgb"][0, 0, 0, 0, 0] = float("nan")
            return batch

        monkeypatch.setattr(fitting.Batches, "train_batch", poisoned)
    elif where == "loss":
        monkeypatch.setattr(nn.functional, "cross_entropy", lambda logits, labels: logits.sum() * float("inf"))
    else:
        real = fitting.train_step

        def poisoned(training, ids):
            if training.session.position.epoch == 1:
                training.network.backbone.fc.bias.data[0] = float("inf")
            return real(training, ids)

        monkeypatch.setattr(fitting, "train_step", poisoned)
    found = {"input": "the rgb clips on clips clip", "weights": "stream.backbone.fc.bias", "loss": "the loss term"}
    found = found[where]
    with pytest.raises(LabError, match=f"NaN or infinity in {found}"):
        train_stream(lab, "rgb")
    (run,) = lab.runs.runs()
    assert run.state == "failed" and not run.done


# -- what a step sees


def test_epochs_show_as_many_frames_as_ordered_and_evaluation_all(tmp_path, monkeypatch):
    lab = tiny_lab(tmp_path)
    lab = replace(lab, profile=replace(lab.profile, step1=replace(lab.profile.step1, epochs=4, frames=(2, 5))))
    seen, forward = [], Stream.forward

    def noted(stream, clip, *signals):
        seen.append((stream.training, clip.shape[1]))
        return forward(stream, clip, *signals)

    monkeypatch.setattr(Stream, "forward", noted)
    run = train_stream(lab, "rgb")
    trained = [frames for training, frames in seen if training]
    half = len(trained) // 2
    assert trained == [2] * half + [5] * half
    assert {frames for training, frames in seen if not training} == {5}
    assert run.spec.config["train"]["frames"] in ((2, 5), [2, 5])


@pytest.mark.parametrize("schedule", ["constant", "drop", "onecycle"])
def test_learning_rate(schedule):
    config = replace(tiny_lab("unused").profile.step1, schedule=schedule, lr=1.0)
    rates = [learning_rate(config, step, 100) for step in range(100)]
    if schedule == "constant":
        assert set(rates) == {1.0}
    elif schedule == "drop":
        assert rates[:49] == [1.0] * 49 and rates[50:] == [0.1] * 50
    else:
        assert rates[0] == pytest.approx(0.04) and max(rates) > 0.999 and rates[-1] < 1e-6
        assert rates.index(max(rates)) == 30


# -- kills -----------------------------------------------------------------------------------------


def train_and_die(root: str, fail_point: int, kinds: tuple[str, ...], whole: bool = False) -> None:
    """Train a tiny step 1, or all four steps, saving after every optimizer step, and SIGKILL oneself at the
    `fail_point`-th event: before or after a rename, a sync to disk, a training step, an evaluation.
    """
    torch.set_num_threads(1)
    events = iter(range(10**9))

    def deadly(function):
        def wrapped(*args, **kwargs):
            if next(events) == fail_point:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if next(events) == fail_point:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return wrapped

    fitting.CHECKPOINT_SECONDS = 0.0
    for kind in kinds:
        setattr(os, kind, deadly(getattr(os, kind)))
    fitting.train_step, fitting.evaluate = deadly(fitting.train_step), deadly(fitting.evaluate)
    lab = tiny_lab(root, epochs=2 if whole else 3)
    runs = four_steps(lab) if whole else [train_stream(lab, "rgb")]
    (runs[-1].path / "events").write_text(str(next(events)), encoding="utf-8")


@pytest.fixture(scope="module")
def forkserver():
    """Children start from a process that has torch loaded but has not computed yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["labkit.fit", "labkit.trainers", "tiny"])
    return context


def run_child(context, *arguments) -> int:
    child = context.Process(target=train_and_die, args=arguments)
    child.start()
    child.join(120)
    return child.exitcode


KINDS = ("replace", "fsync")


@pytest.fixture(scope="module")
def uninterrupted(forkserver, tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    assert run_child(forkserver, str(root), -1, KINDS) == 0
    (run,) = tiny_lab(root).runs.runs()
    return digest(run), int((run.path / "events").read_text(encoding="utf-8"))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3, 0.42, 0.5, 0.61, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_killed_training_resumes_to_the_same_bits(forkserver, uninterrupted, tmp_path, share):
    expected, events = uninterrupted
    assert run_child(forkserver, str(tmp_path), int(share * events), KINDS) == -signal.SIGKILL
    assert run_child(forkserver, str(tmp_path), -1, KINDS) == 0
    (run,) = tiny_lab(tmp_path).runs.runs()
    assert digest(run) == expected
    assert not run.checkpoints() and not list(run.path.glob(".*.tmp"))


def digests(root) -> list[str]:
    return sorted(digest(run) for run in tiny_lab(root).runs.runs())


@pytest.fixture(scope="module")
def four_uninterrupted(forkserver, tmp_path_factory):
    root = tmp_path_factory.mktemp("four")
    assert run_child(forkserver, str(root), -1, KINDS, True) == 0
    (events,) = root.glob("runs/*/events")
    return digests(root), int(events.read_text(encoding="utf-8"))


@pytest.mark.parametrize("share", [0.35, 0.55, 0.7, 0.8, 0.92])
def test_four_steps_killed_anywhere_end_in_the_same_bits(forkserver, four_uninterrupted, tmp_path, share):
    expected, events = four_uninterrupted
    assert run_child(forkserver, str(tmp_path), int(share * events), KINDS, True) == -signal.SIGKILL
    assert run_child(forkserver, str(tmp_path), -1, KINDS, True) == 0
    assert digests(tmp_path) == expected


def interrupted(root: str) -> None:
    torch.set_num_threads(1)
    train_stream(tiny_lab(root, epochs=2000), "rgb")


def test_sigterm_finishes_the_step_and_saves(forkserver, tmp_path):
    child = forkserver.Process(target=interrupted, args=(str(tmp_path),))
    child.start()
    states = list((tmp_path / "runs").glob("*/state.json"))
    deadline = time.monotonic() + 60
    while not states and time.monotonic() < deadline:
        time.sleep(0.05)
        states = list((tmp_path / "runs").glob("*/state.json"))
    time.sleep(1.0)
    os.kill(child.pid, signal.SIGTERM)
    child.join(30)
    assert child.exitcode == 143
    (run,) = tiny_lab(tmp_path).runs.runs()
    assert run.state == "interrupted" and len(run.checkpoints()) >= 1
    position = run.load_checkpoint()[1]["position"]
    assert position["step"] == 2 * position["epoch"] + position["batch"] > 0


def test_resuming_under_other_conditions_is_refused(tmp_path, monkeypatch, forkserver):
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)
    lab = tiny_lab(tmp_path)
    real = fitting._end_epoch
    monkeypatch.setattr(fitting, "_end_epoch", lambda training: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_stream(lab, "rgb")
    monkeypatch.setattr(fitting, "_end_epoch", real)
    torch.set_num_threads(2)
    try:
        with pytest.raises(LabError, match=r"found threads 1 -> 2: .*LABKIT_ALLOW_DRIFT"):
            train_stream(lab, "rgb")
        monkeypatch.setenv("LABKIT_ALLOW_DRIFT", "1")
        run = train_stream(lab, "rgb")
    finally:
        torch.set_num_threads(1)
    assert run.load_json("record.json")["drift"] == ["threads 1 -> 2"]


def build_once(root: str) -> None:
    torch.set_num_threads(1)
    real = fitting._loop

    def counted(training, title):
        with open(training.run.path.parent / "built", "a", encoding="utf-8") as file:
            file.write("x")
        real(training, title)

    fitting._loop = counted
    train_stream(tiny_lab(root), "rgb")


def test_processes_that_want_the_same_run_build_it_once(forkserver, tmp_path):
    (tmp_path / "runs").mkdir()
    children = [forkserver.Process(target=build_once, args=(str(tmp_path),)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * 4
    assert (tmp_path / "runs" / "built").read_text(encoding="utf-8") == "x"


def test_paper_profile_trains_on_a_cpu(tmp_path, monkeypatch):
    """ResNet-50, 5 x 224 x 224, 60 classes: one optimizer step of step 2 and of step 3 on one clip."""
    model = replace(PAPER.model, pretrained=False)  # no download in a test
    profile = replace(PAPER, model=model).steps(batch_size=1, precision="fp32", epochs=1)
    tiny = tiny_lab(tmp_path)
    store = MemoryStore(count=3, size=224)
    store.class_names = [f"A{number}" for number in range(60)]
    split = SimpleNamespace(name="tiny", train=store.ids[:1], validation=store.ids[1:2], test=store.ids[2:])
    lab = replace(tiny, clips=store, split=split, profile=profile)
    seen = {}

    def one_step(run, lab, train, *, title, **task):
        if run.spec.step == "step1":
            return run
        training = fitting.Training(run, lab, train, **task)
        before = {role: module.temporal[3].weight.clone() for role, module in task["trained"].items()}
        terms = fitting.train_step(training, training.batches["train"].epoch(0, 1)[0])
        moved = {role: not torch.equal(part.temporal[3].weight, before[role]) for role, part in task["trained"].items()}
        seen[run.spec.step] = (terms, moved)
        return run

    monkeypatch.setattr(fitting, "fit", one_step)
    monkeypatch.setattr(trainers, "load_stream", lambda run, role: build_stream(model, 60, 5))
    depth, rgb = train_stream(lab, "depth"), train_stream(lab, "rgb")
    joint = train_two_stream(lab, depth, rgb)
    distill_hallucination(lab, joint)
    terms, moved = seen["step2"]
    assert terms["total"] > 0 and moved == {"source": True, "target": True}
    terms, moved = seen["step3"]
    assert terms["hall"] > 0 and terms["general"] > 0 and moved == {"hallucination": True}


@pytest.mark.parametrize(("cost", "pauses"), [(0.05, 20.0), (2.0, 200.0)])
def test_checkpoints_take_one_percent_of_the_time_at_most(monkeypatch, cost, pauses):
    clock = [0.0]
    monkeypatch.setattr(fitting.time, "monotonic", lambda: clock[0])

    class SlowRun:
        def save_checkpoint(self, *_):
            clock[0] += cost

    weight = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(weight.parameters())
    session = Session(SlowRun(), {"rgb": weight}, optimizer, "fp32")
    clock[0] = 20.0
    assert session.due()
    session.save()
    for later, due in ((pauses - 0.01, False), (pauses + 0.01, True)):
        clock[0] = 20.0 + cost + later
        assert session.due() is due
