"""A lab on somebody's own data: all four steps, the data set's own protocols, results under its name."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shlex
from dataclasses import replace

import pandas as pd
import pytest
from replicas import write_pair, write_utd
from tiny import tiny_profile

from labkit import lab as labs
from labkit.cli import main as cli
from labkit.config import PROFILES
from labkit.data.index import Recording
from labkit.data.prepare import prepare
from labkit.data.splits import find_dataset
from labkit.errors import LabError
from labkit.experiments import targets, trainings
from labkit.lab import DATA_VARIABLE, Lab, open_lab
from labkit.puppets.opening import beside, open_labs

PROFILE = tiny_profile(epochs=1)


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("LABKIT_HOME", str(folder))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    return folder


def opened(root, protocol: str, home) -> Lab:
    return open_lab(PROFILE, protocol, home=home, data=root, progress=False)


def utd(root):
    write_utd(root, [f"a{a}_s{s}_t{t}" for a in (1, 9) for s, t in ((1, 1), (1, 2), (2, 1), (3, 1), (3, 2), (4, 1))])
    return "UTD-MHAD", "cross-subject", 4


def pairs(root):
    for label in ("cup", "hat"):
        for number in range(6):
            write_pair(root / label, str(number), ("image", "folder", "video")[number % 3])
    return root.name, "random", 4


def test_clips_prepared_otherwise_are_looked_at_once(home, tmp_path, monkeypatch):
    pairs(tmp_path / "p")
    lab = opened(tmp_path / "p", "random", home)
    dry = replace(lab, dry=True)
    assert trainings.make("switch:11", dry).spec.data == trainings.UNPREPARED
    run = trainings.make("switch:11", lab)
    assert run.done and run.spec.data != trainings.make("rgb", dry).spec.data
    trainings._prepared.cache_clear()
    calls, real = [], trainings.prepare
    monkeypatch.setattr(trainings, "prepare", lambda *arguments: calls.append(arguments) or real(*arguments))
    found = [trainings.make("switch:11", dry.with_seed(seed)) for seed in (0, 1)]
    assert [run.done for run in found] == [True, False] and found[0].id == run.id and len(calls) == 1


@pytest.mark.parametrize("layout", [utd, pairs])
def test_all_four_steps_run_on_a_data_root(home, tmp_path, layout):
    root = tmp_path / "some data"
    name, protocol, tested = layout(root)
    lab = opened(root, protocol, home)
    assert (lab.data_name, lab.split.name, len(lab.split.test), lab.num_classes) == (name, protocol, tested, 2)
    assert set(lab.clips.modalities) == {"rgb", "depth", "flow"} and lab.root == root  # nothing for the others
    table = targets.reproduce(["table2:15"], lab)  # step 4 stands on the three before
    (row,) = table.to_dict("records")
    assert row["data"] == name and 0 <= row["ours"] <= 100
    steps = {run.name for run in (home / "runs").iterdir() if run.is_dir()}
    again = targets.reproduce(["table2:15"], opened(root, protocol, home))
    pd.testing.assert_frame_equal(table, again)
    assert steps == {run.name for run in (home / "runs").iterdir() if run.is_dir()}  # nothing was trained twice


def test_people_are_grouped_where_they_are_known_and_clips_where_not(home, tmp_path):
    utd(tmp_path / "utd")
    lab = opened(tmp_path / "utd", "cross-subject", home)
    assert sorted(set(lab.people())) == ["2", "4"] and len(lab.people()) == 4
    pairs(tmp_path / "p")
    lab = opened(tmp_path / "p", "random", home)
    assert len(set(lab.people())) == len(lab.split.test) and lab.people()[0].startswith("clip ")


def test_a_root_from_the_environment_counts_where_none_is_given(home, tmp_path, monkeypatch):
    pairs(tmp_path / "mine")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "mine"))
    lab = open_lab(PROFILE, "random", home=home, progress=False)
    assert lab.data_name == "mine" and lab.series_name.startswith("tiny-mine-")
    pairs(tmp_path / "copy" / "mine")
    assert opened(tmp_path / "copy" / "mine", "random", home).series_name != lab.series_name
    utd(tmp_path / "utd")
    assert opened(tmp_path / "utd", "cross-subject", home).data_name == "UTD-MHAD"


def test_other_data_changes_the_fingerprint_that_notebooks_depend_on(home, tmp_path):
    pairs(tmp_path / "mine")
    before = opened(tmp_path / "mine", "random", home).clips.fingerprint
    write_pair(tmp_path / "mine" / "hat", "7", "image")
    assert opened(tmp_path / "mine", "random", home).clips.fingerprint != before


def test_an_impossible_protocol_is_one_line_before_anything_is_prepared(home, tmp_path):
    utd(tmp_path / "utd")
    with pytest.raises(LabError, match="UTD-MHAD: cross-subject, found 'cross-view'") as caught:
        opened(tmp_path / "utd", "cross-view", home)
    assert "\n" not in str(caught.value) and sorted(os.listdir(tmp_path)) == ["home", "utd"]


def test_the_store_lies_beside_the_root_or_at_home_where_nothing_can_be_written(home, tmp_path, monkeypatch):
    root = tmp_path / "data"
    assert beside(root, "x") == tmp_path / "data-x"
    monkeypatch.setattr(labs.os, "access", lambda path, mode: False)
    elsewhere = beside(root, "x")
    assert elsewhere.parent == home / "data" and elsewhere.name.endswith("-data-x")
    assert beside(tmp_path / "other" / "data", "x") != elsewhere


@pytest.mark.parametrize("closed", ["some data", "some data/cup", "store"])
def test_a_folder_that_may_not_be_read_or_written_is_one_line(tmp_path, monkeypatch, closed):
    """Root may do everything, so the system's refusal is played."""
    root, refused = tmp_path / "some data", str(tmp_path / closed)
    pairs(root)

    def refusing(real):
        def call(path, *arguments, **options):
            if str(path).startswith(refused) and (closed == "store" or str(path) == refused):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *arguments, **options)

        return call

    for name in ("mkdir",) if closed == "store" else ("scandir", "listdir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    with pytest.raises(LabError, match=r"expected a folder that can be .* found Permission denied") as caught:
        prepare(find_dataset(root).index(root), tmp_path / "store", PROFILE.clips, workers=1, progress=False)
    assert caught.value.path == refused


def test_hostile_names_of_data_sets_make_plain_folders(home, tmp_path):
    root = tmp_path / "p"
    pairs(root)
    (root / "labkit.json").write_text('{"name": "../<b>é $(x)"}', encoding="utf-8")
    lab = opened(root, "random", home)
    assert lab.data_name == "../<b>é $(x)" and re.fullmatch("tiny-_b_x_-[0-9a-f]{6}", lab.series_name)


def test_a_table_of_clips_is_a_data_root(home, tmp_path):
    root = tmp_path / "t"
    with open(tmp_path / "clips.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "label", "rgb", "depth", "split", "subject"])
        for number in range(9):
            write_pair(root, str(number), "image")
            part = ("train", "train", "test")[number % 3]
            row = [number, "xy"[number % 2], f"t/{number}_color.png", f"t/{number}_depth.png", part]
            writer.writerow([*row, f"person {number // 3}"])
    lab = opened(tmp_path / "clips.csv", "given", home)
    assert lab.clips.class_names == ("x", "y") and set(lab.split.test) == {"2", "5", "8"}
    assert list(lab.people()) == ["person 0", "person 1", "person 2"]


def test_prepare_keeps_unit_and_registration_for_every_later_command(home, tmp_path, capsys):
    root = tmp_path / "tenths"
    for number in range(4):
        write_pair(root / "ab"[number % 2], str(number), "image", registered=True)
    (root / "labkit.json").write_text('{"name": "Tenths"}', encoding="utf-8")
    command = ["data", "prepare", str(root), "--profile", "smoke", "--depth-unit", "0.0001m", "--registered", "True"]
    assert cli.main(command) == 0
    assert "4 clips in" in capsys.readouterr().out
    index = find_dataset(root).index(root)
    assert index.recording == Recording(pytest.approx(0.1), True) and index.data_name == "Tenths"
    lab = open_lab("smoke", "random", home=home, data=root, progress=False)
    assert lab.clips.built == 0 and lab.clips.config["depth_unit"] == pytest.approx(0.1)
    assert cli.main([*command[:5], "--depth-unit", "5 feet"]) == 2
    assert "0.001m" in capsys.readouterr().err and find_dataset(root).index(root).recording == index.recording


@pytest.mark.parametrize("before", [None, '{"name": "Tenths"}'])
def test_settings_that_lead_nowhere_are_not_kept(home, tmp_path, capsys, before):
    root = tmp_path / "p"
    pairs(root)
    if before:
        (root / "labkit.json").write_text(before, encoding="utf-8")
    for unit in ("1m", "100m"):  # every reading lies beyond 65.5 m
        assert cli.main(["data", "prepare", str(root), "--profile", "smoke", "--depth-unit", unit]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()[-1:]) == 1
        assert ((root / "labkit.json").read_text(encoding="utf-8") if before else None) == before
        assert (root / "labkit.json").exists() == bool(before)


def test_a_store_among_the_clips_is_refused(tmp_path, capsys):
    root = tmp_path / "up" / "p"
    pairs(root)
    (tmp_path / "link").symlink_to(root)
    (root / "clips.csv").touch()
    before = sorted(tmp_path.rglob("*"))
    roots = dict.fromkeys((root, root / "cap" / "store", tmp_path / "up", tmp_path / "link"), root)
    for store, given in (*roots.items(), (root, root / "clips.csv")):
        assert cli.main(["data", "prepare", str(given), "--store", str(store), "--registered", "True"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "expected a folder apart from the clips" in line and "leave --store out" in line
    assert sorted(tmp_path.rglob("*")) == before


def test_targets_of_clips_that_are_not_prepared_are_listed_and_nothing_is_made(home, tmp_path, capsys):
    pairs(tmp_path / "p")
    command = ["targets", "--profile", "smoke", "--json", "--home", str(home)]
    for data in ([], ["--data", str(tmp_path / "p")]):
        for protocol in ([], ["--protocol", "all"]):
            assert cli.main([*command, *data, *protocol]) == 0
            rows, told = capsys.readouterr()
            possible = targets.get_targets(["everything"], "given" if data else "cross-subject")
            assert [row["target"] for row in json.loads(rows)] == [target.name for target in possible]
            assert {row["state"] for row in json.loads(rows) if not row["state"].startswith("impossible")} == {
                "missing"
            }
            assert len(told.splitlines()) == 1 and "no clips are prepared yet" in told
    assert list(home.iterdir()) == [] and {path.name for path in tmp_path.iterdir()} == {"home", "p"}
    paper = {row["target"]: row["paper"] for row in json.loads(rows)}
    assert paper["table2:1"] is None, "the paper has no figure for other clips"


def test_the_alignment_of_what_is_no_data_set_is_refused_as_such_and_else_a_command_is_named(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, told in (
        ("empty", "expected a data set"),
        ("file", "a data root, found something else"),
        ("no", "nothing"),
    ):
        assert cli.main(["data", "alignment", str(tmp_path / name)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line and "labkit data prepare" not in line
    root = tmp_path / "some data"
    pairs(root)
    profile = "smoke+clips.stored_frames=9"
    command = ["data", "alignment", str(root), "--profile", profile, "--store", str(tmp_path / "s t")]
    assert cli.main(command) == 2
    fix = shlex.split(capsys.readouterr().err.partition("Fix: labkit ")[2])
    assert cli.main(fix) == 0 and cli.main(command) == 0


def test_a_link_to_a_data_root_has_one_store(home, tmp_path, monkeypatch):
    pairs(tmp_path / "far" / "p")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far" / "p")
    monkeypatch.chdir(tmp_path / "near")
    assert cli.main(["data", "prepare", "link", "--profile", "smoke"]) == 0
    lab = open_lab("smoke", "random", home=home, data="link", progress=False)
    assert lab.clips.built == 0 and lab.clips.path.parent == tmp_path / "near"
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["p"]


def test_a_link_to_itself_is_no_traceback(tmp_path, capsys):
    (tmp_path / "a").symlink_to(tmp_path / "a")
    for command in ("check", "prepare", "alignment"):
        assert cli.main(["data", command, str(tmp_path / "a")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_root_that_is_not_there_leaves_no_settings(tmp_path, capsys):
    for root in (tmp_path / "typo" / "p", tmp_path / "p.csv"):
        assert cli.main(["data", "prepare", str(root), "--depth-unit", "1mm"]) == 2
        assert "expected a data root, found nothing" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_all_protocols_are_those_that_can_divide_the_clips(tmp_path, capsys):
    """One camera: there is no cross-view, and who asks for all protocols gets the others and is told."""
    smoke = PROFILES["smoke"]
    stage = replace(smoke.puppets, subjects=(1, 2, 3), cameras=(1,), scale=16)
    profile = replace(smoke, puppets=stage, clips=replace(smoke.clips, modalities=("rgb", "depth")))
    assert [one.split.name for one in open_labs(profile, "all", home=tmp_path, progress=False)] == ["cross-subject"]
    assert "left out, as these clips cannot be divided so: cross-view" in capsys.readouterr().err
