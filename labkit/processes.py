"""One training over several processes: all together do what one process would do with the whole batch.

`accelerate launch` or `torchrun` starts them, each with its share of every batch. Gradients are averaged, batch
statistics are the whole batch's, and what one process decides, to save or to stop, all of them follow. With one
process that part does nothing. Below: how a process is asked to stop, its memory, its precision and its machine.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
import threading
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.tracking import get_available_trackers
from accelerate.utils import LoggerType, parse_flag_from_env
from torch import Tensor, nn

from .config import TrainConfig
from .errors import LabError
from .lab import LAUNCH, launched_count, tell

# A classifier that a loss leaves alone (eq. 3) gets no gradient, in any process.
DDP = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
WHERE = ("ACCELERATE_USE_CPU", "ACCELERATE_TORCH_DEVICE", "ACCELERATE_CPU_AFFINITY")  # a training is made
OF_MPI = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # where accelerate looks for more processes, too
NEUTRAL = ("", "0", "1", "no", "false", "default")  # what `accelerate launch` says where nobody chose
PARTNER_SECONDS = 20.0  # to wait for the other processes of a launch


def meet() -> PartialState:
    """What accelerate knows of the processes that train together; the first call waits until all are there.

    A profile alone decides what a training does. So the variables by which accelerate would accumulate gradients,
    compile, shard or change precision go, and so do those of a launch that this process is no part of. Raises
    LabError where a partner does not come.
    """
    if PartialState._shared_state:
        return PartialState()
    alone = launched_count() == 1
    for name in [*os.environ]:
        if name.startswith("ACCELERATE_") and name not in WHERE:
            if (value := os.environ.pop(name)).lower() not in NEUTRAL and (alone or os.environ["RANK"] == "0"):
                tell(f"not used, since the profile decides it: {name}={value}")
        elif alone and name in (*LAUNCH, *OF_MPI):
            del os.environ[name]
    if alone:
        return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    try:
        store, rank, count = next(torch.distributed.rendezvous("env://", timeout=timedelta(seconds=PARTNER_SECONDS)))
    except (torch.distributed.DistError, OSError, ValueError) as error:
        here = "process {RANK} of {WORLD_SIZE} at {MASTER_ADDR}:{MASTER_PORT}".format(**os.environ)
        found = f"none within {PARTNER_SECONDS:.0f} s for {here}"
        fix = "start them all at once, or unset WORLD_SIZE to train in this process alone"
        raise LabError.mismatch(None, "the other processes of a launch", found, fix) from error
    store.set_timeout(torch.distributed.constants.default_pg_timeout)
    # accelerate takes processes on CPUs for one alone unless it is told of them first
    return PartialState(cpu=not torch.cuda.is_available(), store=store, rank=rank, world_size=count)


def gather(values: Tensor) -> Tensor:
    """Every process's `values` (n,), alike in length and kind, as (processes, n)."""
    shares = [torch.empty_like(values) for _ in range(PartialState().num_processes)]
    torch.distributed.all_gather(shares, values.contiguous())
    return torch.stack(shares)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all processes' shares, on a CPU; torch's own asks for a GPU.

    Shares may differ in size. Statistics are in single precision, as those of one process are.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.track_running_stats):
            return super().forward(x)
        mean, variance, count = _shared_statistics(x, self.running_mean.dtype)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        return _Normalize.apply(x, self.weight, self.bias, mean, variance, count, self.eps)


@torch.no_grad()
def _shared_statistics(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance (C,) of maps (n,C,h,w) over all processes, and how many values a channel they rest on.

    One message a process, and no sum of squares: each tells its mean and spread, and theirs are put together.
    """
    unused = torch.zeros(x.shape[1], dtype=dtype)  # as running mean and variance, which decide the precision
    mean, variance = torch.batch_norm_update_stats(x, unused, unused, 0.0)
    count = mean.new_tensor([x.numel() / x.shape[1]])
    shares = gather(torch.cat([count, mean, variance]))
    counts, means, variances = shares.split([1, *[x.shape[1]] * 2], dim=1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    return mean, (counts * (variances + (means - mean).square())).sum(0) / total, total


class _Normalize(torch.autograd.Function):
    """Maps less their mean, over their standard deviation, scaled and shifted; statistics belong to all processes.

    With y = weight z + bias and means over every process's values, dL/dx is
    weight / std (dL/dy - mean(dL/dy) - z mean(z dL/dy)).
    """

    @staticmethod
    def forward(ctx, x, weight, bias, mean, variance, count, eps):
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)

    @staticmethod
    def backward(ctx, gradient):
        x, weight, mean, variance, count = ctx.saved_tensors
        scaled, *sums = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )  # weight / std dL/dy, and the sums of z dL/dy and of dL/dy over this process's share
        scale = weight * torch.rsqrt(variance + ctx.eps)
        along, level = (-gather(torch.cat(sums)).sum(0) / count).chunk(2)
        of_means = torch.batch_norm(x, scale * along, scale * level, mean, variance, False, 0.0, ctx.eps, False)
        to_input = scaled.add_(of_means)
        return to_input, *sums, None, None, None, None


def share_batch_norm(network: nn.Module, device: torch.device) -> None:
    """Let batch statistics be taken over all processes; parameters, buffers and their names stay."""
    if PartialState().num_processes == 1:
        return
    if device.type != "cpu":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for part in network.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SharedBatchNorm2d  # the same state, another forward


def check_shares(batch_size: int, reduction: str) -> None:
    """LabError for a batch that the processes cannot share out, or a loss that is no mean over clips."""
    count = PartialState().num_processes
    if batch_size < count:
        fix = "set a larger batch_size, or launch fewer processes"
        raise LabError.mismatch(None, f"a batch of {count} clips or more, one a process", batch_size, fix)
    if count > 1 and reduction == "sum":
        fix = 'set feature_reduction="clip" and hall_weight to the batch size times what it was'
        raise LabError.mismatch(None, "eq. 3 per clip in several processes", "its sum over the batch", fix)


def together(terms: dict[str, float], stop: bool) -> tuple[dict[str, float], bool]:
    """Loss terms of the whole batch from those of the shares, and whether any process was told to stop."""
    state = PartialState()
    if state.num_processes == 1:
        return terms, stop
    packed = torch.tensor([*terms.values(), float(stop)], dtype=torch.float64, device=state.device)
    torch.distributed.all_reduce(packed)
    *means, stops = (packed / state.num_processes).tolist()
    return dict(zip(terms, means, strict=True)), stops > 0


def tracker() -> str | None:
    """The tracker that LABKIT_TRACKER names, if it is set: tensorboard, wandb, mlflow or another of Accelerate's.

    Raises LabError for one that Accelerate does not know, or that is not installed.
    """
    name = os.environ.get("LABKIT_TRACKER") or None
    if name and name not in map(str, get_available_trackers()):
        known = ", ".join(sorted({*LoggerType.list()} - {"all"}))
        fix = "correct LABKIT_TRACKER or unset it, or install that tracker with pip"
        raise LabError.mismatch(None, f"an installed one of the trackers {known}", repr(name), fix)
    return name


def tracked(folder: Path, about: dict[str, Any]) -> Accelerator:
    """An Accelerator whose `tracker` is told what a training is about: settings by name, "run" among them.

    Trackers that write files do so in `folder`. Raises LabError where the tracker does not start.
    """
    name = tracker()
    accelerator = Accelerator(log_with=name, project_dir=folder, kwargs_handlers=[DDP])
    plain = {key: value if isinstance(value, int | float) else str(value) for key, value in about.items()}
    named = {"wandb": {"name": about["run"]}, "mlflow": {"run_name": about["run"]}}
    try:
        accelerator.init_trackers("labkit", plain, named)
    except Exception as error:  # of any kind: it is the tracker's
        fix = "set it up as its manual says, or unset LABKIT_TRACKER"
        raise LabError.mismatch(None, f"the tracker {name} to start", " ".join(str(error).split()), fix) from error
    return accelerator


# -- one process -------------------------------------------------------------------------------------


STOP = threading.Event()  # set by a process that trains beside its main thread, where signals are heard, to stop


class StopSignals:
    """Turns Ctrl-C and SIGTERM into a flag, so that the step in progress is finished and saved."""

    def __enter__(self) -> StopSignals:
        self._noted: int | None = None
        heard = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self._previous = {number: signal.signal(number, self._note) for number in heard}
        return self

    @property
    def received(self) -> int | None:
        return signal.SIGINT if STOP.is_set() else self._noted

    def _note(self, number: int, frame) -> None:
        if self._noted is None:
            print("labkit: the step in progress is finished and saved first", file=sys.stderr, flush=True)
        self._noted = number

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def leave(self) -> None:
        """Leave as the signal asks: status 130 for Ctrl-C, 143 for SIGTERM."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + signal.SIGTERM)


@cache
def keep_memory() -> None:
    """Let this process keep freed memory for its next tensors instead of giving it back at every step.

    glibc maps each large block anew, and the system clears it page by page: a fifth of a step at the
    paper's size. Elsewhere than on Linux with glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold, largest = -1, -3, 1 << 30  # of malloc.h; bytes of one block
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap_threshold, largest)
        libc.mallopt(trim_threshold, 2 * largest - 1)  # all of an int


def precision_of(train: TrainConfig, device: torch.device, size: int) -> str:
    """ "bf16" or "fp32": as the config orders, else bf16 where the hardware multiplies it and clips are large enough.

    Raises LabError for bf16 on clips of 16 pixels or less on a CPU: block 4 gets maps of one position, and there the
    gradient of a strided convolution holds memory that nobody wrote (seen in torch 2.14).
    """
    tiny = device.type == "cpu" and size <= 16
    if train.precision == "bf16" and tiny:
        raise LabError.mismatch(None, "clips of 17 pixels or more for bf16", size, "set precision to fp32 or auto")
    if train.precision != "auto":
        return train.precision
    if tiny:
        return "fp32"
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    able = torch.cpu.get_capabilities()
    return "bf16" if any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"


def this_machine() -> dict[str, str]:
    """What a run's record says of the machine it was made on."""
    cpu = torch.cpu.get_capabilities().get("cpu_name", platform.machine())
    return {"system": platform.platform(), "python": platform.python_version(), "cpu": cpu,
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else ""}  # fmt: skip
