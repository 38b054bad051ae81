"""The training loop: one `fit` for every step, with selection, checkpoints and a single test at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from . import machine, processes
from .experiments.statistics import wilson_interval
from .config import TrainConfig
from .feeds import Batch, Feed
from .lab import Lab
from .lessons import Lessons
from .model import TwoStream, set_bn_momentum
from .progress import Progress
from .runs import PREDICTIONS, RESULT, WEIGHTS, Run, of_role
from .sessions import Session, StopSignals, check_finite, choose_speed, learning_rate, make_optimizer

CURVE_POINTS = 500  # loss terms are kept at about this many steps of a training
CHECKPOINT_SECONDS = 20.0  # between two, if one takes no longer than `sessions.LIGHT`
TEST_BATCH = 64


@dataclass(frozen=True)
class Task:
    """What `fit` needs to know of a step: the network, what is trained in it, its loss and its readings."""

    title: str
    model: nn.Module
    trained: dict[str, nn.Module]  # by role; what the run keeps
    modalities: tuple[str, ...]
    forward: Callable[[nn.Module, Batch, Any], Any]  # network, batch and lesson to output
    losses: Callable[[Any, Any, Tensor], dict[str, Tensor]]  # output, lesson, labels to scalars, "total" among them
    read: Callable[[Batch], dict[str, Tensor]]  # logits by name of reading; the first one chooses the epoch
    teach: Callable[[Batch], Any] | None = None  # what frozen teachers say; the lesson of the two above, else None
    teachers: nn.Module | None = None


class Objective(nn.Module):
    """A task's network with its loss: a batch and its lesson to the loss terms, the one to minimise under "total"."""

    def __init__(self, task: Task, precision: Callable[[], AbstractContextManager]):
        super().__init__()
        self.model, self._task, self._precision = task.model, task, precision

    def forward(self, batch: Batch, lesson: Any) -> dict[str, Tensor]:
        with self._precision():
            output = self._task.forward(self.model, batch, lesson)
        return self._task.losses(output, lesson, batch.labels)


class Training:
    """All that one `fit` holds: network and optimizer on their device, feeds, and the resumable session."""

    def __init__(self, run: Run, task: Task, lab: Lab, config: TrainConfig):
        self.run, self.task, self.config = run, task, config
        machine.keep_memory()
        processes.check_shares(config.batch_size, lab.profile.distill.feature_reduction)
        self.accelerator = processes.start()
        device = self.accelerator.device
        self.speed = processes.same(choose_speed(lab, config, device))
        layout = torch.channels_last if self.speed.channels_last else torch.contiguous_format
        task.model.to(device, memory_format=layout)
        set_bn_momentum(task.model, config.bn_momentum)
        if task.teachers is not None:
            task.teachers.to(device, memory_format=layout)
        parameters = [p for module in task.trained.values() for p in module.parameters()]
        optimizer = make_optimizer(config, parameters, self.speed.fused_adam)
        processes.share_batch_norm(task.model, device)
        self.objective, self.optimizer = self.accelerator.prepare(Objective(task, self.autocast), optimizer)
        self.session = Session(run, task.trained, self.optimizer, self.speed, CHECKPOINT_SECONDS)
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        self.feeds = {
            part: Feed(lab, getattr(lab.split, part), task.modalities, device=device, share=share, train=config)
            for part in ("train", "validation", "test")
        }
        self.lessons = Lessons(task.teach, self.feeds["train"], self.autocast) if task.teach else lambda batch: None
        per_epoch = len(self.feeds["train"].epoch(0, config.batch_size))
        self.total_steps = -(-per_epoch // config.accumulate) * config.epochs

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.speed.precision == "bf16")

    def save(self) -> None:
        """A checkpoint, by the main process: all hold the same."""
        if self.accelerator.is_main_process:
            self.session.save()


def fit(run: Run, task: Task, lab: Lab, config: TrainConfig) -> None:
    """Train a task into its run folder, from its last checkpoint if there is one, and test it once.

    The epoch is chosen on the validation clips; the test clips are read when training is over.
    """
    training = Training(run, task, lab, config)
    session, main = training.session, training.accelerator.is_main_process
    session.restore()
    if main:
        run.set_state("running")
    at = session.position
    with (
        StopSignals() as stop,
        Progress(task.title, config.epochs, "epochs", done=at.epoch, show=main) as bar,
    ):
        while at.epoch < config.epochs:
            batches = training.feeds["train"].epoch(at.epoch, config.batch_size)
            while at.batch < len(batches):
                group = batches[at.batch : at.batch + config.accumulate]
                terms, stopped = processes.together(train_step(training, group), stop.received is not None)
                _note_terms(training, terms, len(group))
                if stopped:
                    training.save()
                    if main:
                        run.set_state("interrupted")
                    stop.leave()
                if session.due():
                    training.save()
            bar.advance(1, _end_epoch(training))
            if session.due():
                training.save()
    _finish(training)


def train_step(training: Training, group: list[list[str]]) -> dict[str, float]:
    """One optimizer step on a group of batches whose gradients add up; returns the mean loss terms of this share."""
    at, accelerator = training.session.position, training.accelerator
    training.objective.train()
    for settings in training.optimizer.param_groups:
        settings["lr"] = learning_rate(training.config, at.step, training.total_steps)
    sums: dict[str, float] = {}
    for ids in group:
        batch = training.feeds["train"].train_batch(ids, at.epoch)
        lesson = training.lessons(batch)
        weight = len(batch.ids) * accelerator.num_processes / len(ids) / len(group)  # shares may differ by a clip
        with nullcontext() if ids is group[-1] else accelerator.no_sync(training.objective):
            terms = training.objective(batch, lesson)
            values = {name: float(term.detach()) for name, term in terms.items()}
            if not all(map(math.isfinite, values.values())):
                _name_culprit(training.task, batch, terms)
            accelerator.backward(terms["total"] * weight)
        sums = {name: sums.get(name, 0.0) + value * weight for name, value in values.items()}
    training.optimizer.step()
    training.optimizer.zero_grad()
    return sums


def _name_culprit(task: Task, batch: Batch, terms: dict[str, Tensor]) -> None:
    """Raise the LabError of the first tensor, from input to loss, that is not finite."""
    check_finite({f"the {name} clips": clip for name, clip in batch.clips.items()}, "input", batch.ids)
    for role, module in task.trained.items():
        check_finite({f"{role}.{name}": value for name, value in module.state_dict().items()}, "weights", batch.ids)
    check_finite({f"the loss term '{name}'": term for name, term in terms.items()}, "loss", batch.ids)


def _note_terms(training: Training, terms: dict[str, float], batches: int) -> None:
    at = training.session.position
    if at.step % max(training.total_steps // CURVE_POINTS, 1) == 0:
        at.curve.append({"step": at.step, **terms})
    at.sums = {name: at.sums.get(name, 0.0) + value * batches for name, value in terms.items()}
    at.batch += batches
    at.step += 1


def _end_epoch(training: Training) -> str:
    """Validate, choose, move to the next epoch; returns the line a progress bar shows."""
    at, feed = training.session.position, training.feeds["validation"]
    means = {name: value / max(at.batch, 1) for name, value in at.sums.items()}
    readings = evaluate(training.task, feed, training.config)
    accuracy = {name: float(correct(logits, feed).mean()) for name, logits in readings.items()}
    primary = next(iter(accuracy.values()))
    if training.config.selection == "last" or primary >= at.best.get("accuracy", -1.0):  # ties go to the later
        training.session.keep_best(primary)
    shown = {f"validation {name}": value for name, value in accuracy.items()}
    at.history.append({"epoch": at.epoch, **means, **shown})
    at.epoch, at.batch, at.sums = at.epoch + 1, 0, {}
    if at.epoch in training.config.snapshots and training.accelerator.is_main_process:
        training.run.save_tensors(snapshot_name(at.epoch), training.session.weights())
    return f"loss {means['total']:.2f}, validation {100 * primary:.0f} %"


def snapshot_name(epoch: int) -> str:
    """The artefact with the weights as they were after that many epochs."""
    return f"snapshot-{epoch:04d}.safetensors"


def _finish(training: Training) -> None:
    """Take the chosen weights, read the test clips once, and write the artefacts; the result comes last."""
    session, run, at = training.session, training.run, training.session.position
    training.save()  # a kill from here on costs only the evaluation
    for role, module in training.task.trained.items():
        module.load_state_dict(of_role(session.best_weights, role))
    outputs: dict[str, dict] = {}
    predictions: dict[str, Tensor] = {}
    for part in ("validation", "test"):
        for name, logits in evaluate(training.task, training.feeds[part], training.config).items():
            outputs.setdefault(name, {})[part] = summary(correct(logits, training.feeds[part]))
            predictions[f"{part}/{name}"] = torch.from_numpy(logits)
    if training.accelerator.is_main_process:
        ids = {part: training.feeds[part].ids for part in ("validation", "test")}
        record = {**session.conditions(), "seconds": at.seconds, "drift": session.drift}
        run.save_tensors(WEIGHTS, session.best_weights)
        run.save_tensors(PREDICTIONS, predictions, ids)
        run.save_json("history.json", {"epochs": at.history, "curve": at.curve})
        run.save_json("record.json", {**record, "machine": machine.describe()})
        run.save_json(RESULT, {"outputs": outputs, "primary": next(iter(outputs)), "chosen": at.best})
        run.set_state("done")
    training.accelerator.wait_for_everyone()


def summary(right: np.ndarray) -> dict:
    """Accuracy of a reading with its 95 % Wilson interval."""
    low, high = wilson_interval(int(right.sum()), len(right))
    return {
        "accuracy": float(right.mean()),
        "correct": int(right.sum()),
        "total": len(right),
        "interval": [low, high],
    }


# -- evaluation ------------------------------------------------------------------------------------


def evaluate(task: Task, feed: Feed, config: TrainConfig) -> dict[str, np.ndarray]:
    """Logits (N,K) of every reading, in the order of the feed's clips.

    In single precision and with running statistics, so that a clip's answer does not depend on the
    clips it is scored with.
    """
    rows: list[tuple[str, dict[str, np.ndarray]]] = []
    with testing(task.model, config.bn_at_test), torch.inference_mode():
        for batch in feed.test_batches(TEST_BATCH):
            logits = {name: value.float().cpu().numpy() for name, value in task.read(batch).items()}
            rows += [(clip, {name: value[row] for name, value in logits.items()}) for row, clip in enumerate(batch.ids)]
    by_clip = dict(gather_object(rows))
    return {name: np.stack([by_clip[clip][name] for clip in feed.ids]) for name in by_clip[feed.ids[0]]}


@contextmanager
def testing(model: nn.Module, bn_at_test: str = "running") -> Iterator[None]:
    """Evaluation mode. "batch" repeats the released code's slip: batch statistics in the source stream."""
    model.eval()
    slipping = (
        [m for m in model.source.modules() if isinstance(m, nn.BatchNorm2d)]
        if bn_at_test == "batch" and isinstance(model, TwoStream)
        else []
    )
    for module in slipping:
        module.train()
        module.track_running_stats = False  # use the batch's statistics and leave the running ones alone
    yield
    for module in slipping:
        module.track_running_stats = True
    model.train()


def correct(logits: np.ndarray, feed: Feed) -> np.ndarray:
    """Which clips of the feed are answered right, (N,) bool."""
    return logits.argmax(axis=1) == feed.store.labels[feed.store.rows(feed.ids)]
