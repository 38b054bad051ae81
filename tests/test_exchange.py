"""Numbers from every process to every other: all get the same, strangers get nothing, and who leaves is missed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from labkit import exchange

SCRIPT = """
import os, socket
import torch
from labkit import exchange
from labkit.errors import LabError
from labkit.parallel import join_launch

join_launch()
rank, real = int(os.environ["RANK"]), exchange.broadcast_object_list

def with_strangers(values):
    told = real(values)
    if rank == 1:  # one that says nothing of use, one that says another word, one that hangs up
        for said in (b"GET / HTTP/1.1\\r\\n\\r\\n", (2).to_bytes(4, "big") + bytes(16), b""):
            with socket.create_connection(told[0][:2]) as stranger:
                stranger.sendall(said)
    return told

exchange.broadcast_object_list = with_strangers
for dtype in (torch.float32, torch.float64):
    for length in (1, 7, 100_000):
        found = exchange.gather(torch.full((length,), rank + 0.5, dtype=dtype))
        expected = torch.tensor([0.5, 1.5, 2.5], dtype=dtype)[:, None].expand(3, length)
        assert found.dtype == dtype and torch.equal(found, expected), found
print(f"process {rank} has all", flush=True)
if rank == 2:
    exchange.close()
    os._exit(0)
try:
    exchange.gather(torch.zeros(3))
except LabError as error:
    print(f"process {rank}: {error}", flush=True)
exchange.close()
os._exit(0)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("exchange") / "three.py"
    path.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "3", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_process_gets_the_numbers_of_all_among_strangers(told):
    assert all(f"process {rank} has all" in told for rank in range(3))


@pytest.mark.parametrize("rank", [0, 1])
def test_who_stays_is_told_that_one_left(told, rank):
    assert f"process {rank}: expected 3 processes that train, found one that left" in told


def test_hanging_up_without_a_line_does_nothing():
    exchange.close()
    assert not exchange._line.cache_info().currsize
