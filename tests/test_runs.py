"""Run folders: same inputs, same folder; every damage is noticed."""

from __future__ import annotations

import random

import pytest
import torch

from labkit.errors import LabError
from labkit.runs import MANIFEST, Run, RunSpec, RunStore


@pytest.fixture
def run(tmp_path) -> Run:
    return opened(tmp_path, seed=0)


def opened(root, seed: int) -> Run:
    run = RunStore(root).open(RunSpec("step1", {"seed": seed, "blocks": (1, 2)}, data="d"))
    assert not run.path.exists()  # looking at a run writes nothing
    with run.lock():
        return run


def fill(run: Run) -> None:
    run.save_tensors("weights.safetensors", {"w": torch.arange(6.0).reshape(2, 3)}, {"epoch": 3})
    run.save_json("result.json", {"accuracy": 0.5})


def test_same_inputs_same_folder_other_inputs_other_folder():
    base = RunSpec("step1", {"seed": 0}, "data", ("parent",))
    assert base.id == RunSpec("step1", {"seed": 0}, "data", ("parent",)).id
    others = [
        RunSpec("step2", {"seed": 0}, "data", ("parent",)),
        RunSpec("step1", {"seed": 1}, "data", ("parent",)),
        RunSpec("step1", {"seed": 0}, "other", ("parent",)),
        RunSpec("step1", {"seed": 0}, "data", ("parent",), version=99),
        RunSpec("step1", {"seed": 0}, "data", ()),
    ]
    assert len({base.id, *(other.id for other in others)}) == 6


def test_deleting_nothing_writes_nothing(run):
    fill(run)
    before = (run.path / MANIFEST).stat()
    run.delete()
    after = (run.path / MANIFEST).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    run.delete("result.json")
    assert not run.done and not (run.path / "result.json").exists()


def test_a_run_is_found_again_with_what_it_holds(run):
    fill(run)
    again = RunStore(run.path.parent).get(run.id)
    tensors, about = again.load_tensors("weights.safetensors")
    assert torch.equal(tensors["w"], torch.arange(6.0).reshape(2, 3)) and about == {"epoch": 3}
    assert again.done and again.result == {"accuracy": 0.5} and again.state == "done"


def test_unfinished_run_has_no_result(run):
    assert run.state == "new" and not run.done
    with pytest.raises(LabError, match=r"result\.json: expected .* found none.*Fix: train this run first"):
        _ = run.result


@pytest.mark.parametrize("name", ["weights.safetensors", "result.json", MANIFEST])
def test_every_flipped_bit_is_noticed(run, name):
    fill(run)
    path, rng = run.path / name, random.Random(0)
    good = path.read_bytes()
    for _ in range(150):
        bad = bytearray(good)
        position = rng.randrange(len(bad))
        bad[position] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        try:
            loaded, _ = run.load_tensors("weights.safetensors")
            result = run.result
        except LabError as error:
            assert name in str(error) and "Fix:" in str(error)
        else:  # only the manifest's layout (a blank become another blank) may change without consequence
            assert name == MANIFEST and result == {"accuracy": 0.5}
            assert torch.equal(loaded["w"], torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("damage", ["truncate", "empty", "folder", "missing"])
def test_truncated_or_replaced_artefacts_are_refused(run, damage):
    fill(run)
    path = run.path / "weights.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(content[: len(content) // 2 if damage == "truncate" else 0])
    with pytest.raises(LabError, match=r"weights\.safetensors: expected .*, found .*Fix: delete the folder"):
        run.load_tensors("weights.safetensors")


def test_damaged_checkpoint_gives_way_to_the_one_before(run, capsys):
    for step in (1, 2, 3):
        run.save_checkpoint(step, 0, {"w": torch.full((2,), float(step))}, {"step": step})
    assert len(run.checkpoints()) == 2  # the last two are kept
    newest = run.path / run.checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    tensors, about = run.load_checkpoint()
    assert about["step"] == 2 and tensors["w"].tolist() == [2.0, 2.0]
    assert newest.name in capsys.readouterr().err


def test_a_foreign_specification_is_refused(run):
    other = opened(run.path.parent, seed=9)
    (run.path / "spec.json").write_bytes((other.path / "spec.json").read_bytes())
    with pytest.raises(LabError, match=rf"expected the specification of {run.id}"):
        RunStore(run.path.parent).get(run.id)


def test_nan_is_never_written_as_a_number(run):
    with pytest.raises(ValueError, match="Out of range float"):
        run.save_json("result.json", {"accuracy": float("nan")})
    assert not run.done and not list(run.path.glob("*result*"))
