"""Looking inside: what trained streams answer and hold, how alike two of them are, which classes gain.

Everything is read in evaluation mode and without gradients; networks are left as they were found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..clips import Batches, normalize
from ..errors import LabError
from ..experiments.targets import comparison_table
from ..fit import snapshot_name
from ..lab import Lab
from ..model import Clip, Features, Scalar, Stream, TwoStream, inject
from ..runs import Run, of_role
from ..trainers import load_stream
from .cka import by_position

BATCH = 64  # clips


@contextmanager
def reading(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every part is in the mode it was in."""
    modes = {part: part.training for part in network.modules()}
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def stages(start: Stream, run: Run) -> dict[int, Stream]:
    """The hallucination along step 3, by epochs done: its start, the snapshots that the run kept, and the end.

    `start` is what the run began with. The end are the chosen weights, entered after all epochs, whichever
    epoch they were chosen in.
    """
    last, kept = run.spec.config["train"]["epochs"], run.manifest()
    found = {0: start}
    for epoch in range(1, last):
        if snapshot_name(epoch) in kept:
            found[epoch] = load_stream(run, "hallucination")
            weights, _ = run.load_tensors(snapshot_name(epoch))
            found[epoch].load_state_dict(of_role(weights, "hallucination"))
    return {**found, last: load_stream(run, "hallucination")}


def predict(pair: TwoStream, lab: Lab, ids: Sequence[str], sees: Mapping[str, str],
            source_ids: Sequence[str] | None = None) -> dict[str, np.ndarray]:  # fmt: skip
    """Logits (N,K) by reading: "fused", "target", "source".

    `sees` names the modality of "target" and of "source". The source may be shown other clips, `source_ids`.
    Raises LabError when they are not as many.
    """
    handed_ids = ids if source_ids is None else source_ids
    if len(handed_ids) != len(ids):
        raise LabError.mismatch(None, f"{len(ids)} clips for the source", len(handed_ids), "give one for each")
    rows: dict[str, list[Tensor]] = {"fused": [], "target": [], "source": []}
    with reading(pair):
        for seen, handed in zip(*(Batches(lab, some).test_batches(BATCH) for some in (ids, handed_ids)), strict=True):
            output = pair(seen[sees["target"]], handed[sees["source"]])
            for name, logits in zip(rows, (output.logits, output.target_logits, output.source_logits), strict=True):
                rows[name].append(logits)
    return {name: torch.cat(logits).cpu().numpy() for name, logits in rows.items()}


def feature_maps(stream: Stream, clip: Clip) -> tuple[Features, ...]:
    """The ends of blocks 1 to 4 after ReLU, each (batch*time, channel, height, width)."""
    with reading(stream):
        return stream(clip).blocks


def injected_maps(pair: TwoStream, target_clip: Clip, source_clip: Clip) -> tuple[Features, ...]:
    """`feature_maps` of the target while the source's signals flow into it."""
    with reading(pair):
        return pair(target_clip, source_clip).target.blocks


def unit_sums(stream: Stream, clip: Clip) -> tuple[Features, ...]:
    """u of eq. 2 in blocks 1 to 4: the first unit's sum before its ReLU, which a connection meets."""
    with reading(stream):
        blocks = stream(clip).blocks
        others = zip(stream.layers[1:], blocks[:-1], strict=True)
        return stream.begin(clip), *(stream.unit_sum(layer, maps) for layer, maps in others)


class Passage(NamedTuple):
    """What one connection lets through: the branch's input and, element by element, its slopes."""

    branch: Tensor
    to_own: Tensor  # d branch / d own_sum
    to_other: Tensor  # d branch / d other_sum


def through_connection(own_sum: Tensor, other_sum: Tensor, connection: str | None, strength: float = 1.0) -> Passage:
    """A connection at the unit sums of both streams, before their ReLU; any shape, the same for both.

    `connection` as in `model.inject`, or "add" for comparison: f(u) + signal, which the paper does not have.
    The signal is `strength` times the other stream's f(u); at 0 it is silent.
    """
    own, other = (values.detach().clone().requires_grad_() for values in (own_sum, other_sum))
    signal = strength * F.relu(other)
    if connection == "add":
        branch = F.relu(own) + signal
    else:
        _, branch = inject(own, None if connection is None else signal, connection)
    slopes = torch.autograd.grad(branch.sum(), (own, other), allow_unused=True, materialize_grads=True)
    return Passage(branch.detach(), *slopes)


def answering(pair: TwoStream, rgb: np.ndarray, normalization: str = "imagenet") -> Callable[[np.ndarray], np.ndarray]:
    """Two streams asked about one clip: coloured depth (T,H,W,3) uint8 to the fused probabilities (classes,).

    `rgb` (T,H,W,3) uint8 is what the target sees every time. For depth that was changed on its way in.
    """
    target = normalize(rgb[None], normalization, "rgb")

    def answer(depth_coloured: np.ndarray) -> np.ndarray:
        with reading(pair):
            output = pair(target, normalize(depth_coloured[None], normalization, "depth"))
            return output.logits.softmax(dim=-1)[0].numpy()

    return answer


def pull(loss: Scalar, stream: Stream) -> float:
    """Length of a loss's gradient on the stream's parameters: how hard it pulls, however large it is."""
    slopes = torch.autograd.grad(loss, list(stream.parameters()), retain_graph=True, allow_unused=True)
    return torch.stack([slope.norm() for slope in slopes if slope is not None]).norm().item()


def best_match(goal: Features, maps: Features, channel: int) -> int:
    """The channel of `maps` whose values follow those of `goal`'s channel most closely (correlation over positions)."""
    wanted, offered = by_position(goal)[:, channel].double(), by_position(maps).double()
    wanted, offered = wanted - wanted.mean(), offered - offered.mean(dim=0)
    return int((wanted @ offered / offered.norm(dim=0).clamp_min(1e-12)).argmax())


def largest_drops(before: np.ndarray, after: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The clips whose true class loses most probability, the largest loss first, and at most one of a class.

    `before`, `after` are probabilities (N,K), `labels` (N,); returns rows (count,), fewer where classes are few.
    """
    clips = np.arange(len(labels))
    order = np.argsort(after[clips, labels] - before[clips, labels], kind="stable")
    first = np.unique(labels[order], return_index=True)[1]
    return order[np.sort(first)][:count]


def gains_by_class(lab: Lab, better: str, worse: str) -> pd.DataFrame:
    """Where one target beats another: `targets.comparison_table` class by class, with the test clips of each.

    A class has few clips, so its interval is wide; of a dozen intervals one may well miss zero by chance alone.
    """
    labels = lab.clips.labels[lab.clips.rows(lab.split.test)]
    pair, present = ((better, worse),), np.unique(labels)
    tables = [comparison_table(lab, pair, where=labels == label) for label in present]
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "class", [lab.clips.class_names[label] for label in present])
    table["clips"] = np.bincount(labels)[present]
    return table
