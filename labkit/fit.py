"""The training loop (section 3.2): one `fit` for every step, which saves, resumes, and tests once at its end.

A training is resumed from its last checkpoint to the identical bits, provided thread count, precision and torch
version are those it was started with; otherwise it refuses. Randomness is a function of (seed, purpose, epoch, clip),
so no generator has to be restored.

Below the loop: evaluation; what a frozen teacher says, kept for as long as clips look the same; the state of a
training. Several processes train together through `processes`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from threading import RLock
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only
from tqdm.auto import tqdm

from . import processes
from .clips import Batch, Batches
from .config import TrainConfig
from .errors import LabError
from .lab import Lab, tell, watched
from .model import TwoStream, set_bn_momentum, set_num_frames
from .processes import StopSignals, check_shares, keep_memory, precision_of, share_batch_norm, this_machine, together
from .runs import PREDICTIONS, RECORD, RESULT, WEIGHTS, Run, making, of_role

CURVE_POINTS = 500  # loss terms are kept at about this many steps of a training
CHECKPOINT_SECONDS = 20.0  # between two, if one takes no longer than LIGHT
LIGHT = 0.2  # seconds; a checkpoint that takes longer is made less often, so that a training spends 1 % on them
TEST_BATCH = 64
KEPT_BYTES = 1 << 30  # of a teacher's outputs

tqdm.set_lock(RLock())  # its own lock is a semaphore of the system, which a process that is killed leaves behind

Read = Callable[[Batch], dict[str, Tensor]]  # a batch to logits by name of reading


def fit(run: Run, lab: Lab, train: TrainConfig, *, title: str, network: nn.Module, trained: dict[str, nn.Module],
        forward: Callable, loss: Callable, read: Read, teach: Callable[[Batch], Any] | None = None,
        teachers: nn.Module | None = None, unlabelled: bool = False) -> Run:  # fmt: skip
    """Train a network into its run folder, from its last checkpoint if there is one; returns the finished run.

    `trained`: the modules that the run keeps, by role. `teach(batch)` is what frozen `teachers` say of a batch,
    without gradients. `forward(batch, taught)` gives the network's output, `loss(output, taught, labels)` named
    scalars with the one to minimise under "total". `read(batch)` gives logits by name of reading; the epoch is chosen
    on the validation clips by the first one, and the test clips are read once, when training is over. `unlabelled`:
    clips without labels train, too. Raises LabError, and notes it in the run, where a loss or weight is not finite.
    """
    with making(run) as missing:
        if missing:
            training = Training(run, lab, train, network, trained, forward, loss, read, teach, teachers, unlabelled)
            try:
                _loop(training, title)
                _finish(training)
            finally:
                for tracker in training.accelerator.trackers:
                    tracker.finish()
    return run


def _loop(training: Training, title: str) -> None:
    session, train = training.session, training.train
    at, note = session.restore(), ""
    quiet = not (watched() and training.is_main) or training.watch is not None
    with StopSignals() as stop, tqdm(total=train.epochs, initial=at.epoch, desc=title, unit="epochs",
                                     smoothing=0.05, disable=quiet) as bar:  # fmt: skip
        while at.epoch < train.epochs:
            batches = training.batches["train"].epoch(at.epoch, train.batch_size)
            while at.batch < len(batches):
                terms, stopped = together(train_step(training, batches[at.batch]), stop.received is not None)
                _note_terms(training, terms)
                if stopped:
                    training.save()
                    training.note_state("interrupted")
                    stop.leave()
                if session.due():
                    training.save()
            note = _end_epoch(training)
            bar.set_postfix_str(note, refresh=False)
            bar.update(1)
            if training.watch is not None:
                training.watch(title, at)
            if session.due():
                training.save()
    training.save()  # a kill from here on costs only the evaluation
    if quiet and training.is_main and training.watch is None:
        tell(f"{title}: {train.epochs} epochs · {note}")


def train_step(training: Training, ids: list[str]) -> dict[str, float]:
    """One optimizer step on a batch of clips; returns the loss terms of this process's share, weighted by its size."""
    at, accelerator = training.session.position, training.accelerator
    training.network_with_loss.train()
    for settings in training.optimizer.param_groups:
        settings["lr"] = learning_rate(training.train, at.step, training.total_steps)
    few = frames_in(training.train, at.epoch)
    training.show_frames(few)
    batch = training.batches["train"].train_batch(ids, at.epoch, few)
    terms = training.network_with_loss(batch, training.taught(batch))
    values = {name: float(term.detach()) for name, term in terms.items()}
    if not all(map(math.isfinite, values.values())):
        _name_culprit(training, batch, terms)
    weight = len(batch.ids) * accelerator.num_processes / len(ids)  # shares may differ by a clip
    accelerator.backward(terms["total"] * weight)
    training.optimizer.step()
    training.optimizer.zero_grad()
    return {name: value * weight for name, value in values.items()}


def frames_in(train: TrainConfig, epoch: int) -> int | None:
    """How many frames of each clip an epoch shows; None for all."""
    return train.frames[int((epoch + 0.5) * len(train.frames) / train.epochs)] if train.frames else None


def learning_rate(train: TrainConfig, step: int, total: int) -> float:
    """The rate of one optimizer step: a pure function, so that nothing has to be restored."""
    progress = step / max(total - 1, 1)
    if train.schedule == "drop":
        return train.lr * (0.1 if progress >= 0.5 else 1.0)
    if train.schedule == "onecycle":  # cosine from 1/25 up to the peak in 30 % of the steps, then down to nothing
        if progress < 0.3:
            return train.lr * (1 + 24 * _half_cosine(progress / 0.3)) / 25
        return train.lr * _half_cosine(1 - (progress - 0.3) / 0.7)
    return train.lr


def _half_cosine(x: float) -> float:
    return 0.5 * (1 - math.cos(math.pi * x))


class NetworkWithLoss(nn.Module):
    """A network with its loss: a batch and what is taught of it to the loss terms."""

    def __init__(self, network: nn.Module, forward: Callable, loss: Callable, autocast: Callable):
        super().__init__()
        self.network, self._forward, self._loss, self._autocast = network, forward, loss, autocast

    def forward(self, batch: Batch, taught: Any) -> dict[str, Tensor]:
        with self._autocast():
            output = self._forward(batch, taught)
        return self._loss(output, taught, batch.labels)


class Training:
    """All that one `fit` holds: network and optimizer on their device, batches, and the resumable session."""

    def __init__(self, run: Run, lab: Lab, train: TrainConfig, network: nn.Module, trained: dict[str, nn.Module],
                 forward: Callable, loss: Callable, read: Read, teach: Callable | None = None,
                 teachers: nn.Module | None = None, unlabelled: bool = False):  # fmt: skip
        keep_memory()
        check_shares(train.batch_size, lab.profile.distill.feature_reduction)
        self.run, self.train, self.network, self.trained, self.read = run, train, network, trained, read
        self.teachers, self.num_frames, self.watch = teachers, lab.profile.clips.num_frames, lab.watch
        about = {"run": run.id, "step": run.spec.step, "seed": run.spec.config["seed"], **asdict(train)}
        self.accelerator = processes.tracked(run.path.parent / "tracked" / run.id, about)
        self.is_main, device = self.accelerator.is_main_process, self.accelerator.device
        self.precision = precision_of(train, device, lab.profile.clips.size)
        for module in filter(None, (network, teachers)):
            module.to(device).to(memory_format=torch.channels_last)
        set_bn_momentum(network, train.bn_momentum)
        kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
        parameters = [p for module in trained.values() for p in module.parameters()]
        optimizer = kind(parameters, lr=train.lr, weight_decay=train.weight_decay, fused=True)
        share_batch_norm(network, device)
        with_loss = NetworkWithLoss(network, forward, loss, self.autocast)
        self.network_with_loss, self.optimizer = self.accelerator.prepare(with_loss, optimizer)
        self.session = Session(run, trained, self.optimizer, self.precision)
        share = (self.accelerator.process_index, self.accelerator.num_processes)
        parts = {"train": (*lab.split.train, *(lab.split.unlabelled if unlabelled else ())),
                 "validation": lab.split.validation, "test": lab.split.test}  # fmt: skip
        self.batches = {part: Batches(lab, ids, device=device, share=share) for part, ids in parts.items()}
        self.taught = Taught(teach, self.batches["train"], self.autocast) if teach else lambda batch: None
        per_epoch = len(self.batches["train"].epoch(0, train.batch_size))
        self.total_steps = per_epoch * train.epochs
        self.note_state("running")

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def show_frames(self, num_frames: int | None = None) -> None:
        """Let all streams take clips of that many frames; by default of as many as a clip has."""
        for module in filter(None, (self.network, self.teachers)):
            set_num_frames(module, num_frames or self.num_frames)

    def save(self) -> None:
        """A checkpoint, by the main process: all hold the same."""
        if self.is_main:
            self.session.save()

    def note_state(self, state: str) -> None:
        if self.is_main:
            self.run.set_state(state)


def _name_culprit(training: Training, batch: Batch, terms: dict[str, Tensor]) -> None:
    """Raise the LabError of the first tensor, from input to loss, that is not finite."""
    check_finite({f"the {name} clips": clip for name, clip in batch.clips.items()}, "input", batch.ids)
    check_finite(training.session.weights(), "weights", batch.ids)
    check_finite({f"the loss term '{name}'": term for name, term in terms.items()}, "loss", batch.ids)


def _note_terms(training: Training, terms: dict[str, float]) -> None:
    at = training.session.position
    if at.step % max(training.total_steps // CURVE_POINTS, 1) == 0:
        at.curve.append({"step": at.step, **terms})
    at.sums = {name: at.sums.get(name, 0.0) + value for name, value in terms.items()}
    at.batch += 1
    at.step += 1


def _end_epoch(training: Training) -> str:
    """Validate, choose, move to the next epoch; returns the line a progress bar shows."""
    at, batches = training.session.position, training.batches["validation"]
    training.show_frames()
    means = {name: value / max(at.batch, 1) for name, value in at.sums.items()}
    readings = evaluate(training.network, training.read, batches, training.train.bn_at_test)
    accuracy = {name: float(correct(logits, batches).mean()) for name, logits in readings.items()}
    primary = next(iter(accuracy.values()))
    if training.train.selection == "last" or primary >= at.best.get("accuracy", -1.0):  # ties go to the later
        training.session.keep_best(primary)
    shown = {f"validation {name}": value for name, value in accuracy.items()}
    at.history.append({"epoch": at.epoch, **means, **shown})
    training.accelerator.log(at.history[-1], step=at.epoch)
    at.epoch, at.batch, at.sums = at.epoch + 1, 0, {}
    if at.epoch in training.train.snapshots and training.is_main:
        training.run.save_tensors(snapshot_name(at.epoch), training.session.weights())
    return f"loss {means['total']:.2f}, validation {100 * primary:.0f} %"


def snapshot_name(epoch: int) -> str:
    """The artefact with the weights as they were after that many epochs."""
    return f"snapshot-{epoch:04d}.safetensors"


def _finish(training: Training) -> None:
    """Take the chosen weights, read the test clips once, and write the artefacts; the result comes last."""
    session, run, at = training.session, training.run, training.session.position
    for role, module in training.trained.items():
        module.load_state_dict(of_role(session.best_weights, role))
    outputs: dict[str, dict] = {}
    predictions: dict[str, Tensor] = {}
    for part in ("validation", "test"):
        batches = training.batches[part]
        for name, logits in evaluate(training.network, training.read, batches, training.train.bn_at_test).items():
            outputs.setdefault(name, {})[part] = summary(correct(logits, batches))
            predictions[f"{part}/{name}"] = torch.from_numpy(logits)
    training.accelerator.log({f"test {name}": parts["test"]["accuracy"] for name, parts in outputs.items()})
    if training.is_main:
        run.save_tensors(WEIGHTS, session.best_weights)
        ids = {part: training.batches[part].ids for part in ("validation", "test")}
        run.save_tensors(PREDICTIONS, predictions, ids)
        run.save_json("history.json", {"epochs": at.history, "curve": at.curve})
        record = {**session.conditions(), "seconds": at.seconds, "drift": session.drift}
        run.save_json(RECORD, {**record, "machine": this_machine()})
        run.save_json(RESULT, {"outputs": outputs, "primary": next(iter(outputs)), "chosen": at.best})
        run.set_state("done")
    training.accelerator.wait_for_everyone()


# -- evaluation ------------------------------------------------------------------------------------


def evaluate(network: nn.Module, read: Read, batches: Batches, bn_at_test: str = "running") -> dict[str, np.ndarray]:
    """Logits (N,K) of every reading, in the order of the batches' clips.

    In single precision and, but for `bn_at_test` "batch", with running statistics, so that a clip's answer does
    not depend on the clips it is scored with.
    """
    rows: list[tuple[str, dict[str, np.ndarray]]] = []
    with testing(network, bn_at_test), torch.inference_mode():
        for batch in batches.test_batches(TEST_BATCH):
            logits = {name: value.float().cpu().numpy() for name, value in read(batch).items()}
            rows += [(clip, {name: value[row] for name, value in logits.items()}) for row, clip in enumerate(batch.ids)]
    by_clip = dict(gather_object(rows))
    return {name: np.stack([by_clip[clip][name] for clip in batches.ids]) for name in by_clip[batches.ids[0]]}


@contextmanager
def testing(network: nn.Module, bn_at_test: str = "running") -> Iterator[None]:
    """Evaluation mode within. "batch" repeats the released code's slip: batch statistics in the source stream."""
    network.eval()
    slips = network.source.modules() if bn_at_test == "batch" and isinstance(network, TwoStream) else ()
    slipping = [part for part in slips if isinstance(part, nn.BatchNorm2d)]
    for part in slipping:
        part.train()
        part.track_running_stats = False  # use the batch's statistics and leave the running ones alone
    try:
        yield
    finally:
        for part in slipping:
            part.track_running_stats = True
        network.train()


def correct(logits: np.ndarray, batches: Batches) -> np.ndarray:
    """Which clips are answered right, (N,) bool."""
    return logits.argmax(axis=1) == batches.store.labels[batches.store.rows(batches.ids)]


def summary(right: np.ndarray) -> dict:
    """Accuracy of a reading, from which clips it has right (N,) bool."""
    return {"accuracy": float(right.mean()), "correct": int(right.sum()), "total": len(right)}


# -- what a teacher says -----------------------------------------------------------------------------


class Taught:
    """`taught(batch)` is what `teach` returns for it, without gradients: nested tuples and lists of tensors (B*k, ...).

    A teacher is frozen, batch statistics included, so where training shows a clip in two looks only, as stored and
    mirrored, its outputs are kept. They are made before the first step in batches of one fixed order, so that a
    resumed training reads the same bits. More than KEPT_BYTES are computed each time instead.
    """

    def __init__(self, teach: Callable[[Batch], Any], batches: Batches, autocast: Callable):
        self.teach, self.batches, self.autocast = teach, batches, autocast
        self.kept: dict[tuple[str, int], Any] | None = None  # outputs by clip and look
        self._open = True  # until outputs turn out too large to be kept

    def __call__(self, batch: Batch) -> Any:
        if self._open and self.kept is None and batch.looks is not None:
            self._fill()
        if self.kept is None or batch.looks is None:
            return self._ask(batch)
        clips = [self.kept[key] for key in zip(batch.ids, batch.looks.tolist(), strict=True)]
        return tree_map(lambda *parts: torch.cat(parts) if isinstance(parts[0], Tensor) else parts[0], *clips)

    def _ask(self, batch: Batch) -> Any:
        with torch.no_grad(), self.autocast():
            return self.teach(batch)

    def _fill(self) -> None:
        """Both looks of every clip, unless they would take more than KEPT_BYTES."""
        ids, kept = sorted(self.batches.ids), {}
        for look in (0, 1):
            for start in range(0, len(ids), TEST_BATCH):
                some = ids[start : start + TEST_BATCH]
                said = self._ask(self.batches.view(some, mirrored=bool(look)))
                size = sum(value.nbytes for value in tree_leaves(said) if isinstance(value, Tensor))
                if 2 * size * len(ids) / len(some) > KEPT_BYTES:
                    self._open = False
                    return
                for row, clip in enumerate(some):
                    kept[clip, look] = tree_map_only(Tensor, partial(_of_clip, row=row, clips=len(some)), said)
        self.kept = kept


def _of_clip(value: Tensor, row: int, clips: int) -> Tensor:
    """(B*k, ...) to (k, ...)."""
    return value.unflatten(0, (clips, -1))[row]


# -- the state of a training -------------------------------------------------------------------------


@dataclass
class Position:
    """How far a training has come, in plain JSON values."""

    epoch: int = 0
    batch: int = 0  # within the epoch
    step: int = 0  # optimizer steps since the start
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch's loss terms
    history: list[dict] = field(default_factory=list)  # one entry an epoch
    curve: list[dict] = field(default_factory=list)  # loss terms along the steps
    best: dict = field(default_factory=dict)  # epoch and accuracy of the epoch chosen so far


class Session:
    """One training in progress, tied to its run folder."""

    def __init__(self, run: Run, modules: dict[str, nn.Module], optimizer, precision: str):
        self.run, self.modules, self.optimizer, self.precision = run, modules, optimizer, precision
        self.position, self.best_weights, self.drift = Position(), dict[str, Tensor](), list[str]()
        self._started = self._saved = time.monotonic()
        self._cost = 0.0  # seconds that the last checkpoint took

    def conditions(self) -> dict[str, str]:
        """What bit-exact resumption depends on, beside the run's own specification."""
        threads = str(torch.get_num_threads())
        return {"torch": torch.__version__, "threads": threads, "precision": self.precision}

    def weights(self) -> dict[str, Tensor]:
        """Weights and buffers of the trained modules, keyed `role.name`."""
        return {f"{role}.{name}": value for role, module in self.modules.items()
                for name, value in module.state_dict().items()}  # fmt: skip

    def keep_best(self, accuracy: float) -> None:
        """Remember this epoch's weights as the chosen ones."""
        self.position.best = {"epoch": self.position.epoch, "accuracy": accuracy}
        self.best_weights = {name: value.detach().clone() for name, value in self.weights().items()}

    def due(self) -> bool:
        return time.monotonic() - self._saved >= CHECKPOINT_SECONDS * max(self._cost / LIGHT, 1.0)

    def save(self) -> None:
        """One checkpoint: weights, optimizer, chosen weights and position in a single file."""
        weights, now = self.weights(), time.monotonic()
        check_finite(weights, "weights", [])
        self.position.seconds += now - self._started
        self._started = now
        tensors = {f"weights/{name}": value for name, value in weights.items()}
        tensors |= {f"best/{name}": value for name, value in self.best_weights.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        about = {"position": asdict(self.position), "conditions": self.conditions()}
        self.run.save_checkpoint(self.position.step, self.position.epoch, tensors, about)
        self._saved = time.monotonic()
        self._cost = self._saved - now

    def restore(self) -> Position:
        """Go to the newest good checkpoint, or stay at the start.

        Raises LabError when the machine's conditions differ from the checkpoint's, unless
        LABKIT_ALLOW_DRIFT=1 says to go on; the result is then stamped with the differences.
        """
        checkpoint = self.run.load_checkpoint()
        if checkpoint is None:
            return self.position
        tensors, about = checkpoint
        self._check_conditions(about["conditions"])
        self.position = Position(**about["position"])
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "optimizer": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = value
        for role, module in self.modules.items():
            module.load_state_dict(of_role(groups["weights"], role))
        self.best_weights = groups["best"]
        self._restore_optimizer(groups["optimizer"])
        return self.position

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        """Moments get their parameter's memory layout back: a fused optimizer walks both in memory order."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, slot = name.split("/")
            like = parameters[int(index)]
            value = torch.empty_like(like, device="cpu").copy_(value) if value.shape == like.shape else value
            state.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})

    def _check_conditions(self, then: dict[str, str]) -> None:
        now = self.conditions()
        self.drift = [f"{name} {then.get(name)} -> {value}" for name, value in now.items() if then.get(name) != value]
        if self.drift and os.environ.get("LABKIT_ALLOW_DRIFT") != "1":
            found = f"{'; '.join(self.drift)}: the training would not end in the same bits"
            fix = f"restore them, set LABKIT_ALLOW_DRIFT=1 to go on, or delete the folder {self.run.id}"
            raise LabError.mismatch(self.run.path, "the conditions it was started under", found, fix)


def check_finite(tensors: dict[str, Tensor], what: str, clips: list[str]) -> None:
    """LabError naming the first tensor that holds a NaN or an infinity, and the clips of the batch."""
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            among = f" on clips {', '.join(clips[:8])}" if clips else ""
            fix = "lower the learning rate or look at these clips; the last good checkpoint is kept"
            raise LabError.mismatch(None, f"finite {what}", f"NaN or infinity in {name}{among}", fix)
