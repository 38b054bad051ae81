"""The moving picture of the method: what it draws is what the trainers do, and everybody can read it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_lab

from labkit import fit as fitting
from labkit.clips import Batches
from labkit.errors import LabError
from labkit.figures import method, style
from labkit.figures.method import LABELS, MAPS, MOMENTS, SOFT, moments_of
from labkit.notebook import stepper
from labkit.trainers import distill_hallucination, finetune_rgb_only, train_stream, train_two_stream

# by step: the role that a stream has in the run, and as what it is drawn
ROLES = {
    1: {"stream": None}, 2: {"source": "depth", "target": "rgb"}, 3: {"hallucination": "hallucination"},
    4: {"source": "hallucination", "target": "rgb"},
}  # fmt: skip


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """Of each training of the paper what `fit` is told, by step and stream: trained, seen, learnt from."""
    torch.set_num_threads(1)
    lab, told, real = tiny_lab(tmp_path_factory.mktemp("lab"), epochs=1), {}, fitting.fit

    def look(run, lab, train, **task):
        step = int(run.spec.step[4])
        told[step, run.spec.config["modalities"]["stream"] if step == 1 else ""] = (lab, task)
        return real(run, lab, train, **task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "fit", look)
        depth, rgb = train_stream(lab, "depth"), train_stream(lab, "rgb")
        joint = train_two_stream(lab, depth, rgb)
        finetune_rgb_only(lab, distill_hallucination(lab, joint), joint)
    return told


def one_step(lab, task):
    """A batch through the network: the output, what was taught, and the batch."""
    ids = list(lab.split.train)[:6]
    batch = Batches(lab, ids).view(ids, False)
    taught = task["teach"](batch) if task["teach"] else None
    return task["forward"](batch, taught), taught, batch


def without_teacher(task) -> dict:
    return {"teach": None, "teachers": None, **task}


def has_gradient(module) -> bool:
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters())


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment.learns], ids=str)
def test_what_is_drawn_of_a_training_is_what_is_trained(steps, moment):
    lab, task = steps[moment.step, moment.streams[0].sees if moment.step == 1 else ""]
    task, roles = without_teacher(task), ROLES[moment.step]
    drawn = {stream.role: stream for stream in moment.streams}
    output, taught, batch = one_step(lab, task)
    task["loss"](output, taught, batch.labels)["total"].backward()
    modules = {roles[role] or moment.streams[0].role: module for role, module in task["trained"].items()}
    assert {role for role, module in modules.items() if has_gradient(module)} == set(moment.reached)
    frozen = {role for role, stream in drawn.items() if stream.frozen}
    assert frozen == set(drawn) - set(modules) and bool(frozen) == (task["teachers"] is not None)
    assert not task["teachers"] or not has_gradient(task["teachers"])
    assert {stream.sees for stream in moment.streams} == set(batch.clips)


@pytest.mark.parametrize("moment", [moment for moment in MOMENTS if moment.learns], ids=str)
def test_a_loss_is_drawn_with_all_that_it_depends_on(steps, moment):
    lab, task = steps[moment.step, moment.streams[0].sees if moment.step == 1 else ""]
    with torch.no_grad():
        output, taught, batch = one_step(lab, without_teacher(task))
        labels = batch.labels
        changed = {LABELS: (taught, (labels + 1) % lab.num_classes)}
        if taught:
            blocks = tuple(None if maps is None else maps + 1 for maps in taught.blocks)
            changed |= {SOFT: (taught._replace(logits=taught.logits.roll(1, 1)), labels),
                        MAPS: (taught._replace(blocks=blocks), labels)}  # fmt: skip
        before = task["loss"](output, taught, labels)["total"]
        matters = {name for name, change in changed.items() if task["loss"](output, *change)["total"] != before}
    assert matters == set(moment.learns)


@pytest.mark.parametrize("step", [2, 4])
def test_the_gradient_goes_back_through_the_connections(steps, step):
    lab, task = steps[step, ""]
    output, _, _ = one_step(lab, without_teacher(task))
    task["network"].zero_grad()
    output.target.logits.sum().backward()
    assert has_gradient(task["trained"]["source"])
    source, target = (stream.name for stream in moments_of(step)[1].streams)
    assert f"the {target} stream's gradient reaches the {source} stream" in moments_of(step)[1].words


def test_the_test_reads_no_depth():
    (test,) = [moment for moment in MOMENTS if moment.step == len(method.STEPS)]
    assert {stream.sees for stream in test.streams} == {"rgb"} and not test.reached
    assert "No depth is read" in test.words


def test_every_moment_is_of_a_step_and_the_strip_shows_its_streams():
    assert [moment.step for moment in MOMENTS] == sorted(moment.step for moment in MOMENTS)
    assert [len(moments_of(step)) for step in (1, 2, 3, 4)] == [2, 2, 2, 3]
    for moment in MOMENTS:
        assert set(moment.streams) <= set(method.STEPS[moment.step - 1][2])
        assert all(("frozen" in fact) == stream.frozen
                   for fact, stream in zip(moment.facts, moment.streams, strict=False))  # fmt: skip


def test_no_picture_jumps_and_each_is_another():
    figures = [method.method_moments([moment]) for moment in MOMENTS]
    assert len({tuple(figure.get_size_inches()) for figure in figures}) == 1
    pictures = {style.picture_bytes(figure, "png", dpi=50) for figure in figures}
    assert len(pictures) == len(MOMENTS)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int)


@pytest.mark.parametrize("step", [None, 1, 2, 3, 4])
def test_without_a_watcher_the_step_is_shown_with_its_words(step, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "quiet")
    shown = []
    monkeypatch.setattr(stepper, "display", shown.append)
    assert stepper.show(step) is None
    (image,) = shown
    assert len(image.data) < 100_000 and pixels(image.data).std() > 10
    for moment in moments_of(step) if step else MOMENTS:
        assert moment.words in image.alt


def test_a_reader_walks_through_all_moments(monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", "bar")
    controls, image = stepper.show(3).children
    previous, following, slider = controls.children
    assert str(slider.value) == "Step 3: forward"
    assert not any("…" in label for label, _ in slider.options)
    shown = {slider.value: image.value}
    for button in (following, previous):
        for _ in MOMENTS:  # once more than there are steps to go: at the end a button does nothing
            button.click()
            assert shown.setdefault(slider.value, image.value) == image.value
    assert len(set(shown.values())) == len(MOMENTS) and slider.index == 0


@pytest.mark.parametrize("step", [0, 5, "three"])
def test_a_step_there_is_not_is_refused(step):
    with pytest.raises(LabError, match="a step from 1 to 4"):
        stepper.show(step)
