"""The state of one training: optimizer, position, checkpoints, and what must stop it.

A session is resumed from its last checkpoint to the identical bits, provided thread count,
precision, memory format and torch version are those it was started with; otherwise it refuses.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor, nn

from .config import TrainConfig
from .errors import LabError
from .lab import Lab
from .machine import SpeedProfile, probe_precision
from .model import build_stream
from .runs import Run, of_role

LIGHT = 0.2  # seconds; a checkpoint that takes longer is made less often, so that a training spends 1 % on them


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


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """The rate of one optimizer step: a pure function, so that nothing has to be restored."""
    progress = step / max(total - 1, 1)
    if config.schedule == "drop":
        return config.lr * (0.1 if progress >= config.drop_at else 1.0)
    if config.schedule == "onecycle":  # cosine from 1/25 up to the peak in 30 % of the steps, then down to nothing
        if progress < 0.3:
            return config.lr * (1 + 24 * _half_cosine(progress / 0.3)) / 25
        return config.lr * _half_cosine(1 - (progress - 0.3) / 0.7)
    return config.lr


def _half_cosine(x: float) -> float:
    return 0.5 * (1 - math.cos(math.pi * x))


def make_optimizer(config: TrainConfig, parameters: list[nn.Parameter], fused: bool) -> torch.optim.Optimizer:
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=fused)


def choose_speed(lab: Lab, config: TrainConfig, device: torch.device) -> SpeedProfile:
    """How to compute here: as the config orders, or as is fastest for one stream's step, measured once."""
    if config.precision != "auto":
        return SpeedProfile(config.precision, channels_last=True, fused_adam=True, threads=torch.get_num_threads())
    model, clips = replace(lab.profile.model, pretrained=False), lab.profile.clips
    shape = [model.backbone, model.width, clips.num_frames, clips.size, config.batch_size]

    def make_step(speed: SpeedProfile) -> Callable[[], None]:
        layout = torch.channels_last if speed.channels_last else torch.contiguous_format
        stream = build_stream(model, lab.num_classes, clips.num_frames).to(device, memory_format=layout)
        optimizer = make_optimizer(config, list(stream.parameters()), speed.fused_adam)
        clip = torch.zeros(config.batch_size, clips.num_frames, 3, clips.size, clips.size, device=device)

        def step() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=speed.precision == "bf16"):
                logits = stream(clip).logits
            logits.square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    return probe_precision(make_step, shape=shape, cache_dir=lab.runs.root / "speed", device=device.type)


class Session:
    """One training in progress, tied to its run folder."""

    def __init__(
        self,
        run: Run,
        modules: dict[str, nn.Module],
        optimizer,
        speed: SpeedProfile,
        checkpoint_seconds: float,
    ):
        self.run, self.modules, self.optimizer, self.speed = run, modules, optimizer, speed
        self.checkpoint_seconds = checkpoint_seconds
        self.position = Position()
        self.best_weights: dict[str, Tensor] = {}
        self.drift: list[str] = []
        self._started = self._saved = time.monotonic()
        self._cost = 0.0  # seconds that the last checkpoint took

    def conditions(self) -> dict[str, str]:
        """What bit-exact resumption depends on, beside the run's own specification."""
        return {
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
            "precision": self.speed.precision,
            "channels_last": str(self.speed.channels_last),
        }

    def weights(self) -> dict[str, Tensor]:
        """Weights and buffers of the trained modules, keyed `role.name`."""
        return {
            f"{role}.{name}": value
            for role, module in self.modules.items()
            for name, value in module.state_dict().items()
        }

    def keep_best(self, accuracy: float) -> None:
        """Remember this epoch's weights as the chosen ones."""
        self.position.best = {"epoch": self.position.epoch, "accuracy": accuracy}
        self.best_weights = {name: value.detach().clone() for name, value in self.weights().items()}

    @property
    def pause(self) -> float:
        """Seconds from one checkpoint to the next: `checkpoint_seconds`, or more where one takes long."""
        return self.checkpoint_seconds * max(self._cost / LIGHT, 1.0)

    def due(self) -> bool:
        return time.monotonic() - self._saved >= self.pause

    def save(self) -> None:
        """One checkpoint: weights, optimizer, chosen weights and position in a single file."""
        weights = self.weights()
        check_finite(weights, "weights", [])
        now = time.monotonic()
        self.position.seconds += now - self._started
        self._started = now
        tensors = {f"weights/{name}": value for name, value in weights.items()}
        tensors |= {f"best/{name}": value for name, value in self.best_weights.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        self.run.save_checkpoint(
            self.position.step,
            self.position.epoch,
            tensors,
            {"position": asdict(self.position), "conditions": self.conditions()},
        )
        self._saved = time.monotonic()
        self._cost = self._saved - now

    def restore(self) -> bool:
        """Go to the newest good checkpoint; False when there is none.

        Raises LabError when the machine's conditions differ from the checkpoint's, unless
        LABKIT_ALLOW_DRIFT=1 says to go on; the result is then stamped with the differences.
        """
        checkpoint = self.run.load_checkpoint()
        if checkpoint is None:
            return False
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
        return True

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
            raise LabError(
                self.run.path,
                f"expected the conditions it was started under, found {'; '.join(self.drift)}: "
                "the training would not end in the same bits",
                f"restore them, set LABKIT_ALLOW_DRIFT=1 to go on, or delete the folder {self.run.id}",
            )


def check_finite(tensors: dict[str, Tensor], what: str, clips: list[str]) -> None:
    """LabError naming the first tensor that holds a NaN or an infinity, and the clips of the batch."""
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            among = f" on clips {', '.join(clips[:8])}" if clips else ""
            fix = "lower the learning rate or look at these clips; the last good checkpoint is kept"
            raise LabError.mismatch(None, f"finite {what}", f"NaN or infinity in {name}{among}", fix)


class StopSignals:
    """Turns Ctrl-C and SIGTERM into a flag, so that the step in progress is finished and saved."""

    def __init__(self):
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame) -> None:
        self.received = number

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def leave(self) -> None:
        """Leave as the signal asks: status 130 for Ctrl-C, 143 for SIGTERM."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signal.SIGTERM)
