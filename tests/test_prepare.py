"""The index, the official splits, and a store that survives kills, damage and change."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ntu_files import paths_of, write_clip, write_depth, write_depth_frames, write_joints, write_video
from PIL import Image

from labkit import files
from labkit.alignment import fit_alignment
from labkit.config import MINI, ClipConfig, PuppetsConfig
from labkit.data import prepare as preparation
from labkit.data import store
from labkit.data.index import ClipName
from labkit.data.media.video import read_video
from labkit.data.prepare import prepare
from labkit.data.sets import NTU60, NTU_ACTIONS
from labkit.data.skeletons import read_skeleton, single_body, write_skeleton
from labkit.data.splits import (
    CS_TRAIN_SUBJECTS,
    CS_VALIDATION_SUBJECT,
    Split,
    compositional,
    cross_subject,
    cross_view,
    find_dataset,
    held_out_pairs,
)
from labkit.data.store import ClipStore
from labkit.errors import LabError
from labkit.puppets import opening
from labkit.puppets.actions import ACTIONS, SHAPES
from labkit.puppets.clips import cast_object

CONFIG = ClipConfig(size=16)


def official(setups=(1,), cameras=(1, 2, 3), subjects=range(1, 41), replications=(1,), actions=range(1, 13)):
    numbers = itertools.product(setups, cameras, subjects, replications, actions)
    return [f"S{s:03d}C{c:03d}P{p:03d}R{r:03d}A{a:03d}" for s, c, p, r, a in numbers]


def ids(*names: str) -> SimpleNamespace:
    return SimpleNamespace(ids=list(names))


NAMES = official(cameras=(1, 2), subjects=(1, 2, 3), actions=(6, 13))
MISSING = "S001C003P001R001A013"


# The index


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("ntu") / "data root é"
    for name in NAMES:
        write_clip(root, name)
    return root


@pytest.fixture
def root(pristine, tmp_path):
    """A copy to damage, with the same modification times."""
    return Path(shutil.copytree(pristine, tmp_path / "root"))


def test_class_names_and_parsing():
    assert len(set(NTU_ACTIONS)) == 60
    assert NTU_ACTIONS[0] == "drink water" and NTU_ACTIONS[12] == "tear up paper"
    assert NTU_ACTIONS[49].startswith("punching") and NTU_ACTIONS[59] == "walking apart from each other"
    assert NTU60.parse("S001C002P003R002A013") == ClipName(1, 2, 3, 2, 13)
    good = "S017C003P040R002A060"
    assert NTU60.parse(good)
    for old, new in (
        ("17", "18"),
        ("03", "04"),
        ("40", "41"),
        ("02", "03"),
        ("60", "61"),
        ("60", "00"),
        ("S", "s"),
    ):
        assert NTU60.parse(good.replace(old, new)) is None
    for name in (good + "\n", good[:-1], f"x{good}", ""):
        assert NTU60.parse(name) is None
    assert NTU60.parse("S001C001P001R001A00١") is None  # another script's digit


def test_index_lists_clips_with_their_paths(pristine):
    index = NTU60.index(pristine)
    assert index.ids == sorted(NAMES) and not index.excluded and not index.strangers
    assert index.class_names == ("pickup", "tear up paper")
    for entry in index.entries:
        assert entry.paths == paths_of(pristine, entry.id)
        assert entry.label == (6, 13).index(entry.name.action)


@pytest.mark.parametrize("spelling", ["nturgb+d", "nturgbd"])  # the archives have the +, or have it inside alone
def test_index_reads_the_official_archives_as_the_flat_layout(root, tmp_path, spelling):
    archives = tmp_path / "archives"
    for stem in ("nturgb+d_rgb", "nturgb+d_depth_masked"):
        outer = stem.replace("nturgb+d", spelling)
        (archives / f"{outer}_s001").mkdir(parents=True)
        shutil.move(root / stem, archives / f"{outer}_s001" / stem)
        (archives / f"{outer}_s002" / stem).mkdir(parents=True)
    shutil.move(root / "nturgb+d_skeletons", archives / f"{spelling}_skeletons_s001_to_s017")
    (archives / "nturgb+d_skeletons120").mkdir()
    (archives / "nturgb+d_skeletons_npy").mkdir()  # another modality's
    moved = archives / f"{spelling}_skeletons_s001_to_s017" / f"{min(NAMES)}.skeleton"
    shutil.move(moved, archives / "nturgb+d_skeletons120")
    write_video(archives / f"{spelling}_rgb_s002" / "nturgb+d_rgb" / "S002C001P001R001A006_rgb.avi")
    (tmp_path / "link").symlink_to(archives)
    assert find_dataset(tmp_path / "link").name in ("NTU60", "puppets")
    index = NTU60.index(tmp_path / "link")
    assert index.ids == sorted(NAMES)
    assert index.excluded == {"S002C001P001R001A006": "no depth; no skeleton"}
    assert prepare(index, tmp_path / "a", CONFIG).ids == sorted(NAMES)


def test_every_clip_found_is_used_or_excluded_with_a_reason(root):
    for number, modality in enumerate(("rgb", "depth", "skeleton")):
        path = paths_of(root, NAMES[number])[modality]
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    twice = root / "nturgb+d_rgb_s002" / paths_of(root, NAMES[3])["rgb"].name
    write_video(twice)
    skeletons = root / "nturgb+d_skeletons"
    text = f"302 clips:\n{NAMES[4]}\r\n{MISSING}\n"
    (skeletons / "NTU_RGBD_samples_with_missing_skeletons.txt").write_text(text, encoding="utf-8")
    (skeletons / "S018C001P001R001A001.skeleton").touch()
    (root / "nturgb+d_rgb" / "Thumbs.db").touch()
    index = NTU60.index(root)
    assert index.excluded == {
        NAMES[0]: "no rgb",
        NAMES[1]: "no depth",
        NAMES[2]: "no skeleton",
        NAMES[3]: f"rgb found twice: nturgb+d_rgb/{twice.name} and nturgb+d_rgb_s002/{twice.name}",
        NAMES[4]: "on the published list of missing skeletons",
    }
    assert sorted([*index.ids, *index.excluded]) == sorted(NAMES)
    assert index.strangers == (
        "nturgb+d_rgb/Thumbs.db",
        "nturgb+d_skeletons/NTU_RGBD_samples_with_missing_skeletons.txt",
        "nturgb+d_skeletons/S018C001P001R001A001.skeleton",
    )


def test_a_root_without_a_modality_is_refused(root):
    shutil.rmtree(root / "nturgb+d_depth_masked")
    for place, expected in ((root, "nturgb\\+d_depth_masked"), (root / "none", "nturgb\\+d_rgb")):
        with pytest.raises(LabError, match=expected) as caught:
            NTU60.index(place)
        assert caught.value.path == str(place) and caught.value.fix


# Splits


def test_the_oracle_name_tests_in_one_protocol_and_trains_in_the_other():
    clips = ids("S001C002P003R002A013", "S001C001P002R001A013")
    assert cross_subject(clips).test == ("S001C002P003R002A013",)
    assert cross_view(clips).train == ("S001C002P003R002A013",)


def sizes(split: Split) -> list[int]:
    return [len(part) for part in (split.train, split.validation, split.test)]


def test_splits_of_the_embedded_set():
    names = official()  # 12 actions x 40 subjects x 3 cameras
    by_subject, by_view = cross_subject(ids(*names)), cross_view(ids(*names))
    assert sizes(by_subject) == [684, 36, 720]
    assert {NTU60.parse(name).subject for name in by_subject.validation} == {1}
    assert {NTU60.parse(name).subject for name in by_subject.train} == CS_TRAIN_SUBJECTS - {1}
    # int(0.05 * 960) // 12 = 4 of each class
    assert sizes(by_view) == [912, 48, 480]
    assert np.bincount([NTU60.parse(name).action for name in by_view.validation])[1:].tolist() == [4] * 12
    assert {NTU60.parse(name).camera for name in by_view.test} == {1}


def test_cross_view_validation_of_the_released_code():
    pool = sorted(official(setups=range(1, 18), cameras=(2, 3), replications=(1, 2), actions=[1]))[:632]
    names = [name[:-3] + f"{action:03d}" for name in pool for action in range(1, 61)]
    split = cross_view(ids(*names, "S001C001P001R001A001"))
    assert len(split.validation) == 1860 and len(split.train) == 37_920 - 1860
    rank = {name: number for number, name in enumerate(pool)}
    chosen = {rank[name] for name in split.validation if name.endswith("A001")}
    assert len(chosen) == 31 and chosen >= {213, 502, 623, 157, 626, 103, 172, 490, 485}
    again = {rank[name[:-3] + "001"] for name in split.validation if name.endswith("A060")}
    assert again == chosen  # seeded afresh for every class


@pytest.mark.parametrize(("classes", "others", "count"), [(17, 1, 1), (4, 1, 7), (4, 4, 8)])
def test_cross_view_validation_of_628_clips(classes, others, count):
    """A class with files missing: as many of NumPy's sequence as its share, which other classes' sizes set."""
    pool = sorted(official(setups=range(1, 18), cameras=(2, 3), replications=(1, 2), actions=[1]))[:628]
    few = [name[:-3] + f"{action:03d}" for name in pool[:others] for action in range(2, classes + 1)]
    split = cross_view(ids(*pool, *few, "S001C001P001R001A001"))
    rank = {name: number for number, name in enumerate(pool)}
    chosen = {rank[name] for name in split.validation if name in rank}
    assert chosen == set([210, 319, 511, 299, 365, 103, 546, 528][:count])


@settings(max_examples=50, deadline=None)
@given(names=st.sets(st.sampled_from(official(actions=(1, 2, 3))), min_size=5), data=st.data())
def test_no_clip_is_in_two_parts_and_order_does_not_matter(names, data):
    shuffled = data.draw(st.permutations(sorted(names)))
    for protocol in (cross_subject, cross_view):
        try:
            split = protocol(ids(*shuffled))
        except LabError:
            continue
        parts = [*split.train, *split.validation, *split.test]
        assert len(parts) == len(set(parts)) and set(parts) == names
        assert split == protocol(ids(*sorted(names)))


def puppets(subjects=range(1, 41), cameras=(1, 2, 3)) -> SimpleNamespace:
    """The embedded set's clips and who holds what, without its files."""
    config, known = PuppetsConfig(), {}
    for action, subject, camera in itertools.product(ACTIONS, subjects, cameras):
        shape, _, _ = cast_object(config, action, subject)
        known[f"S001C{camera:03d}P{subject:03d}R001A{action.number:03d}"] = {"object": shape}
    return SimpleNamespace(ids=list(known), about=lambda names: [known[name] for name in names], known=known)


def pairs_of(clips: SimpleNamespace, names) -> set[tuple[int, str]]:
    return {(NTU60.parse(name).action, clips.known[name]["object"]) for name in names}


def test_compositional_holds_out_one_shape_per_action_of_the_embedded_set():
    clips = puppets()
    split = compositional(clips)
    assert sizes(split) == [1074, 30, 336] and split.name == "compositional"
    held_out = pairs_of(clips, split.test)
    shapes = sorted(SHAPES)
    assert held_out == {(action.number, shapes[turn % 4]) for turn, action in enumerate(ACTIONS)}
    trained = pairs_of(clips, split.train)
    assert not held_out & (trained | pairs_of(clips, split.validation)) and len(trained) == 36
    assert {NTU60.parse(name).subject for name in split.validation} == {CS_VALIDATION_SUBJECT}
    people = [{NTU60.parse(name).subject for name in part} for part in (split.train, split.test)]
    assert people[1] - people[0] <= {CS_VALIDATION_SUBJECT}  # people are not disjoint, and the docstring says so
    assert compositional(SimpleNamespace(ids=clips.ids[::-1], about=clips.about)) == split


@settings(max_examples=100, deadline=None)
@given(st.sets(st.tuples(st.integers(1, 8), st.sampled_from("abcdef")), min_size=1), st.data())
def test_held_out_pairs_leave_every_action_and_object_two_others(pairs, data):
    trained = data.draw(st.sets(st.sampled_from(sorted(pairs))))
    held_out = held_out_pairs(pairs, trained)
    left = trained - held_out
    assert held_out <= pairs and len({action for action, _ in held_out}) == len(held_out)
    for action, thing in held_out:
        assert sum(pair[0] == action for pair in left) >= 2 and sum(pair[1] == thing for pair in left) >= 2
    for pair in pairs:  # nothing that could be held out is forgotten
        if pair[0] not in {action for action, _ in held_out}:
            rest = left - {pair}
            assert min(sum(p[0] == pair[0] for p in rest), sum(p[1] == pair[1] for p in rest)) < 2


def test_objects_are_held_out_round_and_round():
    every = {(action, thing) for action in range(1, 6) for thing in "abc"}
    assert held_out_pairs(every, every) == {(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "b")}


def test_compositional_needs_objects_and_enough_of_them():
    with pytest.raises(LabError, match="object of every clip") as caught:
        compositional(SimpleNamespace(ids=NAMES, about=lambda names: [{} for _ in names]))
    assert "boxes/<clip id>.json" in caught.value.fix
    with pytest.raises(LabError, match="training and test clips for compositional"):
        compositional(SimpleNamespace(ids=NAMES, about=lambda names: [{"object": "cup"} for _ in names]))


def test_splits_leave_the_global_generator_alone():
    np.random.seed(5)
    expected = np.random.RandomState(5).random()
    cross_view(ids(*official()))
    assert np.random.random() == expected


def test_impossible_splits_are_refused():
    for protocol, names in ((cross_view, official(cameras=(1,))), (cross_subject, official(subjects=(1, 3)))):
        with pytest.raises(LabError, match="training and test clips"):
            protocol(ids(*names))
    with pytest.raises(LabError, match="clips of NTU60"):
        cross_subject(ids("a01_s01_e01"))


# Preparing


@pytest.fixture(scope="module")
def prepared(pristine, tmp_path_factory):
    return prepare(pristine, tmp_path_factory.mktemp("store"), CONFIG, progress=False)


@pytest.fixture
def made(prepared, root, tmp_path):
    """A copy of the finished store, of the copied root."""
    return Path(shutil.copytree(prepared.path, tmp_path / "store"))


def test_store_holds_what_a_slow_computation_gives(pristine, prepared):
    name = NAMES[5]
    paths, row = paths_of(pristine, name), prepared.rows([name])
    alignment = fit_alignment(*read_skeleton(paths["skeleton"]).joints())
    (left, top, right, bottom), color_box = alignment.crop_boxes((85, 70), (320, 180))
    frames = [0, 3, 6, 9, 13]
    for place, frame in enumerate(frames):
        picture = Image.fromarray(read_video(paths["rgb"], seek=False)[frame])
        resized = np.asarray(picture.resize((16, 16), Image.Resampling.BILINEAR, box=color_box))
        assert np.array_equal(prepared.rgb(row)[0, place], resized)
        depth = np.asarray(Image.open(paths["depth"] / f"MDepth-{frame + 1:08d}.png"))
        for y, x in np.ndindex(16, 16):
            across, down = (x + 0.5) / 16 * (right - left), (y + 0.5) / 16 * (bottom - top)
            assert prepared.depth(row)[0, place, y, x] == depth[int(top + down), int(left + across)]
    record = prepared.records[row[0]]
    assert record["frames"] == frames and record["notes"] == [] and record["alignment"]["fallback"] is False
    assert record["alignment"]["ratio"] == alignment.ratio == pytest.approx(2.89, abs=1e-3)
    assert prepared.labels[row[0]] == NTU60.index(pristine).entries[row[0]].label


def test_store_gathers_rows_in_any_order(prepared, monkeypatch, pristine, tmp_path):
    monkeypatch.setattr(preparation, "MAX_SHARD_CLIPS", 5)
    split_up = prepare(pristine, tmp_path / "s", CONFIG, progress=False)
    assert len(split_up.shards) == 3 and len(prepared.shards) == 1 and len(split_up) == 12
    rows = np.array([11, 0, 4, 5, 4])
    assert prepared.rgb(rows).shape == (5, 5, 16, 16, 3) and prepared.depth(rows).dtype == np.uint16
    assert np.array_equal(split_up.rgb(rows), prepared.rgb(rows))
    assert np.array_equal(split_up.depth(rows), prepared.depth(rows))
    assert len({clip.tobytes() for clip in prepared.rgb(range(12))}) == 12
    assert split_up.fingerprint == prepared.fingerprint  # pixels count, not shards
    assert split_up.rows(reversed(NAMES)).tolist() == [sorted(NAMES).index(name) for name in reversed(NAMES)]
    for wrong in ([12], [-1]):
        with pytest.raises(LabError, match="rows from 0 to 11"):
            prepared.rgb(wrong)
    with pytest.raises(LabError, match=MISSING):
        prepared.rows([NAMES[0], MISSING])


def test_number_of_processes_and_order_of_files_do_not_matter(prepared, root, tmp_path):
    for name in reversed(NAMES[:4]):  # new files, listed in another order, with other times
        shutil.copytree(paths_of(root, name)["depth"], tmp_path / "copy", copy_function=shutil.copyfile)
        shutil.rmtree(paths_of(root, name)["depth"])
        shutil.move(tmp_path / "copy", paths_of(root, name)["depth"])
    for number in range(4):  # enough clips for two processes
        write_clip(root, f"S002C001P00{number + 1}R001A006")
    several = prepare(root, tmp_path / "two", CONFIG, workers=2, progress=False)
    alone = prepare(root, tmp_path / "one", CONFIG, workers=1, progress=False)
    assert several.fingerprint == alone.fingerprint and several.built == alone.built == 16
    assert sorted(os.listdir(several.path)) == sorted(os.listdir(alone.path))
    old = alone.rows(NAMES)
    assert np.array_equal(alone.rgb(old), prepared.rgb(prepared.rows(NAMES)))


def test_faults_are_classed_and_nothing_takes_a_clip_s_place(root, tmp_path):
    def path(number, modality):
        return paths_of(root, NAMES[number])[modality]

    video = path(0, "rgb").read_bytes()
    path(0, "rgb").write_bytes(video[: len(video) // 2])
    path(1, "rgb").write_bytes(b"")
    image = path(2, "depth") / "MDepth-00000007.png"
    image.write_bytes(image.read_bytes()[:-40])
    (path(3, "depth") / "MDepth-00000005.png").unlink()
    shutil.rmtree(path(4, "depth"))
    path(4, "depth").mkdir()
    path(5, "skeleton").write_text("14\n1\nbroken\n", encoding="utf-8")
    Image.new("L", (85, 70)).save(path(6, "depth") / "MDepth-00000001.png")
    write_depth(path(7, "depth") / "MDepth-00000014.png", np.ones((8, 8)))
    # used, with a note
    write_video(path(8, "rgb"), 15)
    write_clip(root, NAMES[9], 3)
    nobody = [np.zeros((14, 25, axes)) for axes in (3, 2, 2)]
    write_skeleton(path(10, "skeleton"), single_body(*nobody, np.zeros((14, 25))))
    text = path(11, "skeleton").read_text(encoding="utf-8").split("\n")
    text[4] = " ".join(["NaN"] * 7 + text[4].split()[7:])
    path(11, "skeleton").write_text("\n".join(text), encoding="utf-8")

    made = prepare(root, tmp_path / "store", CONFIG, progress=False)
    assert made.ids == [*sorted({*NAMES[8:]} - {NAMES[10]}), NAMES[10]] and made.built == 4
    expected = [
        "avi: .*cut off",
        "avi: .*Invalid data",
        "0007.png: .*",
        "number 5 missing",
        "images, found none",
    ]
    expected += ["skeleton: ", "8-bit grey", "one size"]
    assert sorted(made.excluded) == sorted(NAMES[:8])
    for name, pattern in zip(NAMES[:8], expected, strict=True):
        assert re.search(pattern, made.excluded[name]), (name, made.excluded[name])
        assert str(root) not in made.excluded[name]
    notes = {record["id"]: record["notes"] for record in made.records}
    assert notes[NAMES[8]] == ["frame counts differ"]
    assert notes[NAMES[9]] == ["some frames are repeated"]
    assert notes[NAMES[10]] == ["too few tracked joints; a Kinect v2's nominal alignment is used"]
    assert notes[NAMES[11]] == ["1 joints are not numbers"]
    with pytest.raises(LabError, match="cut off"):
        made.rows([NAMES[0]])


def test_a_root_without_a_usable_clip_is_refused(root, tmp_path):
    for name in NAMES:
        paths_of(root, name)["rgb"].write_bytes(b"")
    with pytest.raises(LabError, match="at least one usable clip"):
        prepare(root, tmp_path / "store", CONFIG, progress=False)


# Change


def test_nothing_is_done_twice(made, root, monkeypatch):
    monkeypatch.setattr(preparation, "read_aligned", None)
    monkeypatch.setattr(preparation, "sha256_file", None)  # unchanged sizes and times: sources are not even read
    again = prepare(root, made, CONFIG, progress=False)
    assert again.built == 0 and len(again) == 12


def test_touched_files_are_hashed_but_not_prepared_again(made, root, prepared, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in made.glob("*.npy")}
    for path in [*root.rglob("*.avi"), *root.rglob("*.png"), *root.rglob("*.skeleton")]:
        os.utime(path)
    again = prepare(root, made, CONFIG, progress=False)
    assert again.built == 0 and again.fingerprint == prepared.fingerprint
    assert {path.name: path.stat().st_mtime_ns for path in made.glob("*.npy")} == before
    monkeypatch.setattr(preparation, "sha256_file", None)
    assert prepare(root, made, CONFIG, progress=False).built == 0  # the new times are remembered


@pytest.mark.parametrize("modality", ["rgb", "depth", "skeleton"])
def test_only_the_changed_clip_is_prepared_again(made, root, prepared, tmp_path, modality):
    path = paths_of(root, NAMES[7])[modality]
    if modality == "rgb":
        write_video(path, seed=99)
    elif modality == "depth":
        shutil.rmtree(path)
        write_depth_frames(path, seed=99)
    else:  # a single byte: the last digit of the last joint's orientation, which no pixel depends on
        data = bytearray(path.read_bytes())
        place = data.rindex(b" ") - 1
        data[place] = ord("1") if data[place] != ord("1") else ord("2")
        path.write_bytes(data)
    again = prepare(root, made, CONFIG, progress=False)
    assert again.built == 1
    others = [name for name in NAMES if name != NAMES[7]]
    assert np.array_equal(again.rgb(again.rows(others)), prepared.rgb(prepared.rows(others)))
    assert (again.fingerprint == prepared.fingerprint) == (modality == "skeleton")
    assert again.fingerprint == prepare(root, tmp_path / "fresh", CONFIG, progress=False).fingerprint
    assert len(list(made.glob("*.npy"))) == 2  # the old shard is gone


def test_added_and_removed_clips_and_another_recipe(made, root, prepared):
    write_clip(root, "S001C001P004R001A001")  # sorts between the others and brings a class of its own
    more = prepare(root, made, CONFIG, progress=False)
    assert more.built == 1 and len(more) == 13 and more.class_names[0] == "drink water"
    assert more.labels[more.rows([NAMES[0]])[0]] == 1
    for path in paths_of(root, "S001C001P004R001A001").values():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    back = prepare(root, made, CONFIG, progress=False)
    assert back.built == 0 and back.fingerprint == prepared.fingerprint
    assert prepare(root, made, replace(CONFIG, flip="turns", num_frames=3), progress=False).built == 0
    other = prepare(root, made, replace(CONFIG, stored_frames=7, alignment="none"), progress=False)
    assert other.built == 12 and other.num_frames == 7 and other.rgb([0]).shape == (1, 7, 16, 16, 3)


# Clips with too few joints


FEW = 5  # frames: as many as are kept


def lose_joints(path: Path) -> None:
    nobody = [np.zeros((FEW, 25, axes)) for axes in (3, 2, 2)]
    write_skeleton(path, single_body(*nobody, np.zeros((FEW, 25))))


@pytest.fixture
def sparse(pristine, tmp_path):
    """12 clips of camera 1 and 3 of camera 2 with joints; one of each without."""
    root = tmp_path / "sparse"
    for camera, count in ((1, 13), (2, 4)):
        for name in official(cameras=(camera,), subjects=(1,), actions=range(1, count + 1)):
            write_clip(root, name, FEW)
    for clip in LOST:
        lose_joints(paths_of(root, clip)["skeleton"])
    return root


LOST = ("S001C001P001R001A003", "S001C002P001R001A002")


def record_of(made: ClipStore, clip: str) -> dict:
    return made.records[made.rows([clip])[0]]


def test_the_camera_s_median_stands_in_for_joints(sparse, tmp_path):
    made = prepare(sparse, tmp_path / "store", CONFIG, progress=False)
    assert made.built == 17 and made.ids == [*sorted({*made.ids} - {*LOST}), *LOST]
    fits = [r["alignment"] for r in made.records if r["about"]["camera"] == 1 and r["id"] not in LOST]
    own, other = (record_of(made, clip) for clip in LOST)
    assert own["notes"] == ["too few tracked joints; camera 1's median of 12 clips of setup 1 is used"]
    assert own["alignment"]["fallback"] and own["alignment"]["residual_px"] is None
    assert own["alignment"]["ratio"] == pytest.approx(np.median([fit["ratio"] for fit in fits]), abs=5e-4)
    assert own["alignment"]["offset"] == pytest.approx(np.median([fit["offset"] for fit in fits], axis=0), abs=0.05)
    assert other["alignment"]["source"] == "a Kinect v2's nominal alignment"  # 3 clips are too few for a median
    parallel = prepare(sparse, tmp_path / "parallel", CONFIG, workers=2, progress=False)
    assert parallel.records == made.records and parallel.fingerprint == made.fingerprint


def test_only_clips_whose_stand_in_has_moved_are_made_again(sparse, tmp_path, monkeypatch):
    store_dir = tmp_path / "store"
    first = prepare(sparse, store_dir, CONFIG, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "read_aligned", None)
        assert prepare(sparse, store_dir, CONFIG, progress=False).built == 0
        for path in sparse.rglob("*.skeleton"):
            os.utime(path)
        assert prepare(sparse, store_dir, CONFIG, progress=False).built == 0
    write_clip(sparse, "S001C001P002R001A001", FEW)  # one more: the median stays where it is, but is of 13 clips
    more = prepare(sparse, store_dir, CONFIG, progress=False)
    assert more.built == 1 and "median of 13 clips" in record_of(more, LOST[0])["notes"][0]
    for clip in more.ids:  # the colour camera moves
        if record_of(more, clip)["about"]["camera"] == 1 and clip != LOST[0]:
            path = paths_of(sparse, clip)["skeleton"]
            joints = read_skeleton(path)
            write_skeleton(path, replace(joints, color_xy=joints.color_xy + 10))
    moved = prepare(sparse, store_dir, CONFIG, progress=False)
    assert moved.built == 13 + 1
    before, after = (record_of(made, LOST[0])["alignment"]["offset"] for made in (first, moved))
    assert np.subtract(before, after) == pytest.approx([10 / 2.89] * 2, abs=0.11)
    assert record_of(moved, LOST[1])["alignment"] == record_of(first, LOST[1])["alignment"]
    assert moved.fingerprint == prepare(sparse, tmp_path / "fresh", CONFIG, progress=False).fingerprint


def test_a_store_with_a_nominal_stand_in_moves_to_the_camera_s_median(sparse, tmp_path):
    store_dir = tmp_path / "store"
    prepare(sparse, store_dir, CONFIG, progress=False)
    more = [f"S001C002P002R001A{action:03d}" for action in range(1, 10)]
    for clip in more:
        write_clip(sparse, clip, FEW)
    last = prepare(sparse, store_dir, CONFIG, progress=False)
    assert last.built == len(more) + 1
    assert record_of(last, LOST[1])["alignment"]["source"] == "camera 2's median of 12 clips of setup 1"


def test_a_store_of_nine_frames_lies_beside_and_holds_the_even_five(prepared, pristine, tmp_path):
    nine = prepare(pristine, tmp_path / "nine", replace(CONFIG, stored_frames=9), progress=False)
    assert nine.num_frames == 9 and nine.ids == prepared.ids and nine.path != prepared.path
    assert np.array_equal(nine.rgb(range(12))[:, ::2], prepared.rgb(range(12)))
    assert np.array_equal(nine.depth(range(12))[:, ::2], prepared.depth(range(12)))
    assert nine.fingerprint != prepared.fingerprint
    paths = {opening.store_path(pristine, replace(MINI, clips=replace(CONFIG, stored_frames=n))) for n in (5, 9)}
    assert len(paths) == 2


# Kills and damage

KILLED = """
import os, signal, sys
from labkit.data import prepare as preparation, store
from labkit.config import ClipConfig
preparation.MAX_SHARD_CLIPS = 4
module, name, left = {"shard": (preparation, "write_shard", 2), "manifest": (store, "write_sealed", 1),
                      "array": (store.np, "save", 3), "index": (preparation, "write_sealed", 0),
                      "cleaning": (preparation, "remove_leftovers", 0)}[sys.argv[3]] 
original, calls = getattr(module, name), []
def killed(*arguments, **named):
    calls.append(name)
    if len(calls) > left:
        if name == "save":
            arguments[0].write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **named)
setattr(module, name, killed)
preparation.prepare(sys.argv[1], sys.argv[2], ClipConfig(size=16), progress=False)
"""


@pytest.mark.parametrize(
    ("point", "finished"), [("shard", 8), ("manifest", 4), ("array", 4), ("index", 12), ("cleaning", 12)]
)
def test_a_killed_preparation_resumes(pristine, prepared, tmp_path, monkeypatch, point, finished):
    command = [sys.executable, "-c", KILLED, str(pristine), str(tmp_path / "store"), point]
    killed = subprocess.run(command, capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    if point != "cleaning":
        with pytest.raises(LabError):
            ClipStore(tmp_path / "store")
    monkeypatch.setattr(preparation, "MAX_SHARD_CLIPS", 4)
    resumed = prepare(pristine, tmp_path / "store", CONFIG, progress=False)
    assert resumed.fingerprint == prepared.fingerprint and resumed.built == 12 - finished
    assert np.array_equal(resumed.depth(range(12)), prepared.depth(range(12)))
    assert len(list((tmp_path / "store").iterdir())) == 3 * 3 + 2  # three shards, the index and the lock


def test_two_processes_prepare_once(pristine, tmp_path):
    script = "import sys; from labkit.data.prepare import prepare; from labkit.config import ClipConfig;"
    script += "print(prepare(sys.argv[1], sys.argv[2], ClipConfig(size=16), progress=False).built)"
    command = [sys.executable, "-c", script, str(pristine), str(tmp_path / "store")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(int(process.communicate(timeout=60)[0]) for process in both) == [0, 12]


READER = """
import sys, numpy as np
from labkit.data.store import ClipStore
opened, rng = ClipStore(sys.argv[1]), np.random.default_rng(int(sys.argv[2]))
sums = np.zeros(len(opened), np.int64)
for _ in range(20):
    rows = rng.permutation(len(opened))
    sums[rows] = opened.rgb(rows).sum((1, 2, 3, 4), np.int64) + opened.depth(rows).sum((1, 2, 3), np.int64)
print(*sums)
"""


def test_several_processes_read_at_once_while_another_prepares_again(made, root, prepared):
    command = [sys.executable, "-c", READER, str(made)]
    readers = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(8)]
    for _ in range(3):  # nothing has changed: what others read is left as it is
        assert prepare(root, made, CONFIG, progress=False).built == 0
    told = {reader.communicate(timeout=100)[0] for reader in readers}
    rows = range(len(prepared))
    truth = prepared.rgb(rows).sum((1, 2, 3, 4), np.int64) + prepared.depth(rows).sum((1, 2, 3), np.int64)
    assert told == {" ".join(map(str, truth)) + "\n"} and all(reader.returncode == 0 for reader in readers)


def test_arrays_of_many_shards_are_verified_once_and_few_stay_open(pristine, prepared, tmp_path, monkeypatch):
    """A set of NTU's size has 500 shards of two arrays, more than a process may have open."""
    monkeypatch.setattr(preparation, "MAX_SHARD_CLIPS", 1)
    monkeypatch.setattr(store, "MAX_MAPPED", 5)
    made = prepare(pristine, tmp_path / "store", CONFIG, progress=False)
    calls, rng = [], np.random.default_rng(0)
    monkeypatch.setattr(store, "sha256_file", lambda path: calls.append(path) or files.sha256_file(path))
    for _ in range(3):
        rows = rng.permutation(12)
        assert np.array_equal(made.rgb(rows), prepared.rgb(rows))
        assert np.array_equal(made.depth(rows), prepared.depth(rows))
    assert len(made.shards) == 12 and len(calls) == len(set(calls)) == 24
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    assert sum(str(tmp_path) in line for line in maps) == 5


def read_everything(folder: Path) -> ClipStore:
    opened = ClipStore(folder)
    opened.rgb(range(len(opened)))
    opened.depth(range(len(opened)))
    return opened


@pytest.mark.parametrize("kind", ["*.rgb.npy", "*.depth.npy", "[0-9a-f]*[0-9a-f].json", "index.json"])
def test_every_flipped_bit_is_found_and_mended(made, root, prepared, kind):
    (path,) = [path for path in made.glob(kind) if kind == "index.json" or path.name != "index.json"]
    data, rng = path.read_bytes(), np.random.default_rng(0)
    places = [*rng.integers(0, 8 * len(data), 40), *rng.integers(0, 8 * 128, 10), 8 * len(data) - 1]
    for bit in places:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        with pytest.raises(LabError) as caught:
            read_everything(made)
        assert Path(caught.value.path).parent == made and "again" in caught.value.fix
    mended = prepare(root, made, CONFIG, progress=False)
    assert mended.built == (0 if kind == "index.json" else 12)
    assert read_everything(made).fingerprint == prepared.fingerprint


@pytest.mark.parametrize("damage", ["cut", "gone", "pickle"])
def test_cut_missing_and_hostile_shards_are_refused_and_mended(made, root, prepared, damage):
    (path,) = made.glob("*.rgb.npy")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "gone":
        path.unlink()
    else:
        np.save(path, np.array([print, {}], dtype=object), allow_pickle=True)
    for verify in (True, False):
        clips = ClipStore(made)
        for shard in clips.shards if not verify else []:
            shard.unverified.clear()
        with pytest.raises(LabError) as caught:
            clips.rgb([0])
        assert caught.value.path == str(path)
    assert prepare(root, made, CONFIG, progress=False).fingerprint == prepared.fingerprint
    read_everything(made)


def test_a_store_without_its_index_is_refused(tmp_path):
    with pytest.raises(LabError, match=r"index\.json"):
        ClipStore(tmp_path)


def test_other_files_in_the_store_s_folder_are_left_alone(made, root):
    for name in ("notes.json", "0123456789abcdef.txt", "thesis.npy"):
        (made / name).write_text(json.dumps({}), encoding="utf-8")
    (made / ".0123456789abcdef.rgb.npy.77.tmp").touch()  # what a kill leaves
    prepare(root, made, CONFIG, progress=False)
    left = {path.name for path in made.iterdir()}
    assert {"notes.json", "0123456789abcdef.txt", "thesis.npy"} <= left
    assert not any(name.endswith(".tmp") for name in left)


def test_fingerprint_does_not_depend_on_the_place(made, prepared):
    assert ClipStore(made).fingerprint == prepared.fingerprint
    pixels = {"rgb": prepared.rgb([0])[0], "depth": prepared.depth([0])[0]}
    assert store.content_hashes(pixels) == prepared.records[0]["sha256"]


def test_joints_alone_move_the_crop(made, root, prepared):
    path = paths_of(root, NAMES[2])["skeleton"]
    write_joints(path, seed=5)
    moved = read_skeleton(path)
    write_skeleton(path, replace(moved, color_xy=moved.color_xy + 10))
    again = prepare(root, made, CONFIG, progress=False)
    row = again.rows([NAMES[2]])
    assert not np.array_equal(again.rgb(row), prepared.rgb(row))
