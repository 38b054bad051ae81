"""One training over several processes: all together do what one process would do with the whole batch.

`accelerate launch` starts them, each with its share of every batch. Gradients are averaged, batch
statistics are the whole batch's, and what one process decides (to save, to stop, which run is there)
all of them follow. With one process nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from .errors import LabError
from .runs import Run


def start() -> Accelerator:
    """This process's part. A classifier that an objective leaves alone (eq. 3) gets no gradient, in any process."""
    options = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    return Accelerator(kwargs_handlers=[options])


def same(value):
    """The main process's value, in every process."""
    return broadcast_object_list([value])[0]


@contextmanager
def owned(run: Run) -> Iterator[bool]:
    """Holds a run's lock in the main process; tells every process alike whether the run is still to be made."""
    state = PartialState()
    if not state.is_main_process:
        yield not same(None)
        return
    with run.lock():
        yield not same(run.done)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all processes' shares, on a CPU; torch's own asks for a GPU.

    Shares may differ in size. Statistics are in single precision, as those of one process are.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.track_running_stats):
            return super().forward(x)
        wide = x.float()
        count = all_reduce(torch.tensor(float(wide[:, 0].numel())))
        mean = all_reduce(wide.sum(dim=(0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = all_reduce(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def share_batch_norm(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch statistics taken over all processes; parameters, buffers and their names stay."""
    if PartialState().num_processes == 1:
        return model
    if device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for part in model.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SharedBatchNorm2d  # the same state, another forward
    return model


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
