"""What frozen teachers say about the clips of a batch: computed each time, or once for all.

A teacher is frozen, batch statistics included, so where training shows a clip in two looks only, as
stored and mirrored, its outputs can be kept. They are made before the first step in batches of one
fixed order, so that a resumed training reads the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from .feeds import Batch, Feed

CACHE_BYTES = 1 << 30
FILL_BATCH = 64

Teach = Callable[[Batch], Any]  # a batch to nested tuples and lists of tensors, each (B*k, ...)


class Lessons:
    """`lessons(batch)` is what `teach` returns for it, without gradients, from the cache where there is one."""

    def __init__(self, teach: Teach, feed: Feed, precision: Callable[[], AbstractContextManager],
                 *, limit: int = CACHE_BYTES):  # fmt: skip
        self.teach, self.feed, self.precision, self.limit = teach, feed, precision, limit
        self.cached: Any = None
        self._rows = {clip: row for row, clip in enumerate(sorted(feed.ids))}
        self._open = feed.fixed_views

    def __call__(self, batch: Batch) -> Any:
        if self._open and self.cached is None:
            self._fill()
        if self.cached is None or batch.views is None:
            return self._ask(batch)
        rows = torch.tensor([self._rows[clip] for clip in batch.ids])
        return _each(self.cached, lambda kept: _from_clips(kept[rows, batch.views]))

    def _ask(self, batch: Batch) -> Any:
        with torch.no_grad(), self.precision():
            return self.teach(batch)

    def _fill(self) -> None:
        """Both looks of every clip, unless they would take more than `limit` bytes."""
        ids = list(self._rows)
        looks = []
        for mirrored in (False, True):
            parts = []
            for start in range(0, len(ids), FILL_BATCH):
                batch = self.feed.view(ids[start : start + FILL_BATCH], mirrored)
                size = len(batch.ids)
                parts.append(_each(self._ask(batch), lambda value, size=size: _to_clips(value, size)))
                if not looks and start == 0 and 2 * len(ids) / size * _bytes(parts[0]) > self.limit:
                    self._open = False
                    return
            looks.append(_join(parts, torch.cat))
        self.cached = _join(looks, lambda two: torch.stack(two, dim=1))


def _each(value: Any, change: Callable[[Tensor], Tensor], seen: dict | None = None) -> Any:
    """`change` every tensor of a nested tuple or list; one that occurs twice stays one tensor."""
    seen = {} if seen is None else seen
    if isinstance(value, Tensor):
        if id(value) not in seen:
            seen[id(value)] = (value, change(value))
        return seen[id(value)][1]
    if value is None:
        return None
    parts = [_each(part, change, seen) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def _join(values: list, merge: Callable[[list[Tensor]], Tensor]) -> Any:
    """Nested values of the same shape, merged tensor by tensor."""
    columns = [list(_tensors(value)) for value in values]
    merged = {id(first): merge(list(column)) for first, *column in zip(columns[0], *columns, strict=True)}
    return _each(values[0], lambda tensor: merged[id(tensor)])


def _tensors(value: Any):
    if isinstance(value, Tensor):
        yield value
    elif value is not None:
        for part in value:
            yield from _tensors(part)


def _bytes(value: Any) -> int:
    return sum({id(t): t.numel() * t.element_size() for t in _tensors(value)}.values())


def _to_clips(value: Tensor, clips: int) -> Tensor:
    """(B*k, ...) to (B, k, ...), maps with channels last as they lie in memory."""
    value = value.permute(0, 2, 3, 1) if value.dim() == 4 else value
    return value.reshape(clips, -1, *value.shape[1:])


def _from_clips(kept: Tensor) -> Tensor:
    value = kept.flatten(0, 1)
    return value.permute(0, 3, 1, 2) if value.dim() == 4 else value
