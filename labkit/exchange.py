"""A few numbers from every process of a launch to every other, on CPUs, in the time one step of a network allows.

Batch normalisation over all processes asks for this twice a layer and step. gloo hands each message through
several threads, which where all cores train takes longer than the layer (tests/benchmarks/processes.py);
here the thread that waits for a message is the one that reads it.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import time
from functools import cache

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import Tensor

from .errors import LabError

PATIENCE = 1800.0  # seconds without a word from another process, as torch's own; checkpoints and tests take long
LOOK = 0.003  # seconds of looking for a message before falling asleep: waking up takes as long as a message
SHORT = 10.0  # seconds, for a caller to say who it is
RANK_BYTES = 4


def gather(values: Tensor) -> Tensor:
    """Every process's `values` (n,), alike in length and kind, as (processes, n). LabError when one has left."""
    line, state = _line(), PartialState()
    shares = torch.empty(state.num_processes, len(values), dtype=values.dtype)
    shares[state.process_index] = values
    try:
        if state.is_main_process:
            for rank, other in line.items():
                _fill(other, shares[rank])
            for other in line.values():
                other.sendall(shares.numpy())
        else:
            line[0].sendall(values.numpy())
            _fill(line[0], shares)
    except OSError as error:
        expected, fix = f"{state.num_processes} processes that train", "see what it said; the same command goes on"
        raise LabError.mismatch(None, expected, f"one that left ({error})", fix) from error
    return shares


def close() -> None:
    """Hang up, so that no other process waits for this one."""
    if _line.cache_info().currsize:
        for other in _line().values():
            other.close()
        _line.cache_clear()


@cache
def _line() -> dict[int, socket.socket]:
    """The main process's connections to all others, by rank; another's to the main process."""
    return _answer() if PartialState().is_main_process else _call()


def _answer() -> dict[int, socket.socket]:
    """Wait for every other process to connect. A caller counts who says the word that went over torch's own line."""
    count, line = PartialState().num_processes, {}
    local = os.environ.get("LOCAL_WORLD_SIZE") == str(count)
    both = not local and socket.has_dualstack_ipv6()
    kind = {"family": socket.AF_INET6, "dualstack_ipv6": True} if both else {}
    with socket.create_server(("127.0.0.1" if local else "", 0), backlog=count, **kind) as server:
        server.settimeout(PATIENCE)
        host, word = "127.0.0.1" if local else os.environ["MASTER_ADDR"], secrets.token_bytes(16)
        broadcast_object_list([(host, server.getsockname()[1], word)])
        while len(line) < count - 1:
            other, _ = server.accept()
            rank = _named(other, word)
            if rank is None:
                other.close()
            else:
                line[rank] = other
    return line


def _named(caller: socket.socket, word: bytes) -> int | None:
    """The rank of a caller who knows the word; None of a stranger, however silent."""
    _prepare(caller, SHORT)
    said = torch.empty(RANK_BYTES + len(word), dtype=torch.uint8)
    try:
        _fill(caller, said)
    except OSError:
        return None
    rank, heard = bytes(said[:RANK_BYTES]), bytes(said[RANK_BYTES:])
    caller.settimeout(PATIENCE)
    return int.from_bytes(rank, "big") if secrets.compare_digest(heard, word) else None


def _call() -> dict[int, socket.socket]:
    host, port, word = broadcast_object_list([None])[0]
    main = socket.create_connection((host, port), timeout=PATIENCE)
    _prepare(main, PATIENCE)
    main.sendall(PartialState().process_index.to_bytes(RANK_BYTES, "big") + word)
    return {0: main}


def _prepare(other: socket.socket, patience: float) -> None:
    other.settimeout(patience)
    other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a message of a few bytes goes at once


def _fill(other: socket.socket, target: Tensor) -> None:
    """Read into all of a contiguous tensor."""
    until = time.perf_counter() + LOOK
    while time.perf_counter() < until and not select.select([other], [], [], 0)[0]:
        pass
    left = memoryview(target.numpy()).cast("B")
    while left:
        if not (read := other.recv_into(left)):
            raise ConnectionError("it closed the line")
        left = left[read:]
