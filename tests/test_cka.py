"""Similarity (CKA) from sums: parts add up, people can be left out, and the interval covers what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_lab

from labkit.analysis import cka
from labkit.errors import LabError
from labkit.experiments.statistics import seed_interval


def features(seed: int, count: int = 60, channels: int = 4) -> torch.Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed)) + 3


def test_sums_of_parts_are_the_sums_of_all():
    first, second = features(0), features(1, channels=6)
    second[:, :4] += first
    parts = [cka.sums_of(first[at], second[at]) for at in (slice(0, 7), slice(7, 31), slice(31, 60))]
    together = cka.cka_of(cka.added(parts))
    assert together == pytest.approx(cka.cka(first, second), rel=1e-12)
    assert cka.added(parts).count == 60
    assert cka.cka_of(cka.added(parts[1:])) == pytest.approx(cka.cka(first[7:], second[7:]), rel=1e-9)


def test_a_constant_is_seen_in_spite_of_rounding():
    with pytest.raises(LabError, match="constant"):
        cka.cka(torch.full((7, 3), 0.1), features(0, 7))


def test_similarities_leave_out_one_person_at_a_time():
    first, second = features(2), features(3) + features(2)
    people = [slice(0, 20), slice(20, 45), slice(45, 60)]
    sums = [[cka.sums_of(first[at], second[at]), cka.sums_of(first[at], first[at])] for at in people]
    found = cka.similarities(sums)
    assert found.shape == (4, 2)
    assert found[0, 0] == pytest.approx(cka.cka(first, second))
    assert found[2, 0] == pytest.approx(cka.cka(*(torch.cat([x[:20], x[45:]]) for x in (first, second))))
    assert found[:, 1] == pytest.approx(1)


def test_the_jackknife_of_a_mean_is_its_t_interval():
    values = np.random.default_rng(0).normal(0.3, 0.1, 9)
    without = [np.delete(values, place).mean() for place in range(9)]
    found = cka.jackknife(np.array([values.mean(), *without]))
    assert found == pytest.approx(seed_interval(values, bounds=None))
    assert cka.jackknife(np.array([0.3, 0.2])) == (0.3, None, None)


def test_the_table_has_a_row_a_reading_epoch_and_block():
    values = {("alone", 0): np.array([[0.1, 0.2]] * 4), ("alone", 5): np.array([[0.3, 0.4], [0.2, 0.4], [0.4, 0.4]])}
    table = cka.cka_table(values)
    assert table[["reading", "epoch", "block"]].to_numpy().tolist() == [
        ["alone", epoch, block] for epoch in (0, 5) for block in (1, 2)
    ]
    assert table["similarity"].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert table.loc[2, "low"] < 0.3 < table.loc[2, "high"] and table.loc[3, "low"] == 0.4


def test_people_are_sampled_alike_every_time_and_read_one_by_one(tmp_path):
    lab = tiny_lab(tmp_path)
    names = np.array(["b", "a", "b", "a", "a", "b", "c", "b", "a"])
    object.__setattr__(lab, "people", lambda ids: names)
    clips = cka.sample_by_person(lab, lab.split.test, 3)
    assert clips == cka.sample_by_person(lab, lab.split.test, 3)
    assert [len(ids) for ids in clips] == [3, 3, 1]
    for person, ids in zip("abc", clips, strict=True):
        assert set(ids) <= {clip for clip, name in zip(lab.split.test, names, strict=True) if name == person}

    seen = []

    def goal(batch):
        seen.append(batch.ids)
        return [batch["depth"].flatten(0, 1)]

    readers = {"same": goal, "rgb": lambda batch: [batch["rgb"].flatten(0, 1)]}
    found = cka.sums_by_person(lab, clips[:2], goal, readers)
    assert seen == [clips[0]] * 2 + [clips[1]] * 2
    assert set(found) == {"same", "rgb"} and len(found["rgb"]) == 2
    assert cka.similarities(found["same"])[0, 0] == pytest.approx(1)
    assert found["rgb"][0][0].count == 3 * 5 * 32 * 32
