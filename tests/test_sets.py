"""Every layout the lab reads: found, indexed, divided as published, and prepared to the pixels that were written."""

from __future__ import annotations

import csv
import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from ntu_files import paths_of, write_clip, write_depth
from replicas import FRAMES, content, save_picture, write_pair, write_ucla, write_utd, write_uwa

from labkit.clips import UNLABELLED
from labkit.config import ClipConfig
from labkit.data import splits
from labkit.data.index import changed_settings, read_settings
from labkit.data.prepare import prepare
from labkit.data.sets import NTU60, NTU120, NTU120_ACTIONS, NTU_ACTIONS, TWO_PEOPLE, UCLA, UTD, UWA, UWA_MISMATCHED
from labkit.data.splits import (
    CS_TRAIN_SUBJECTS,
    CS_TRAIN_SUBJECTS_120,
    find_dataset,
    hold_out,
)
from labkit.errors import LabError
from labkit.files import write_text

CONFIG = ClipConfig(size=24, stored_frames=3)


def ids(*names: str) -> SimpleNamespace:
    return SimpleNamespace(ids=list(names))


def parts_are_apart(split) -> bool:
    everybody = [*split.train, *split.validation, *split.test]
    return len(everybody) == len(set(everybody))


# NTU RGB+D 120


def test_the_numbers_of_ntu_120():
    assert len(NTU120_ACTIONS) == len(set(NTU120_ACTIONS)) == 120 and NTU120_ACTIONS[:60] == NTU_ACTIONS
    assert NTU120_ACTIONS[105] == "hit other person with something" and {50, 60, 106, 120} <= TWO_PEOPLE
    assert (len(CS_TRAIN_SUBJECTS_120), sum(CS_TRAIN_SUBJECTS_120)) == (53, 2795)  # of the published list
    assert CS_TRAIN_SUBJECTS < CS_TRAIN_SUBJECTS_120
    assert NTU120.parse("S032C003P106R002A120") and not NTU60.parse("S018C001P001R001A061")
    assert not NTU120.parse("S033C001P001R001A001") and not NTU120.parse("S001C001P107R001A001")


def test_ntu_120_divides_by_people_and_by_setup():
    names = [f"S{s:03d}C001P{p:03d}R001A{a:03d}" for s in (1, 2, 19, 32) for p in (1, 3, 45, 106) for a in (1, 61)]
    protocols = splits.DATA_SETS["NTU120"].protocols
    by_subject, by_setup = (protocols[name](ids(*names)) for name in ("cross-subject", "cross-setup"))
    assert {NTU120.parse(clip).subject for clip in by_subject.test} == {3, 106}
    assert {NTU120.parse(clip).setup % 2 for clip in by_setup.test} == {1}
    for split in (by_subject, by_setup):
        assert parts_are_apart(split) and len(split.validation) == 2  # one of each class
        assert {NTU120.parse(clip).action for clip in split.validation} == {1, 61}


def test_ntu_120_is_told_from_ntu_60_and_leaves_out_both_lists(tmp_path):
    for name in ("S001C001P001R001A001", "S001C001P003R001A001", "S019C001P045R001A061"):
        write_clip(tmp_path / "data", name, 5)
    assert find_dataset(tmp_path / "data").name == "NTU120"
    for name, text in (("NTU_RGBD120_", "list:\r\nS019C001P045R001A061\r\n"), ("", "S001C001P003R001A001.skeleton")):
        write_text(tmp_path / "data" / f"{name}samples_with_missing_skeletons.txt", text)
    index = find_dataset(tmp_path / "data").index(tmp_path / "data")
    assert set(index.excluded) == {"S019C001P045R001A061", "S001C001P003R001A001"} and index.data_name == "NTU120"
    known = find_dataset(tmp_path / "data")
    (entry,) = known.index(tmp_path / "data").entries
    assert entry.id == "S001C001P001R001A001" and not known.two_people(entry)
    paths_of(tmp_path / "data", "S019C001P045R001A061")["rgb"].unlink()
    assert find_dataset(tmp_path / "data").name == "NTU60"


# The sets of numbers


def utd_official():
    missing = {(8, 1, 4), (23, 6, 4), (27, 8, 4)}
    numbers = [(a, s, t) for a in range(1, 28) for s in range(1, 9) for t in range(1, 5)]
    return [f"a{a}_s{s}_t{t}" for a, s, t in numbers if (a, s, t) not in missing]


def test_utd_counts_are_the_published_ones():
    clips = utd_official()
    split = splits.DATA_SETS[UTD.name].protocols["cross-subject"](ids(*clips))
    assert (len(clips), len(split.train) + len(split.validation), len(split.test)) == (861, 431, 430)
    assert parts_are_apart(split) and len(split.validation) == 27
    assert {UTD.parse(clip).subject for clip in split.test} == {2, 4, 6, 8}
    assert not UTD.parse("a28_s1_t1") and not UTD.parse("a1_s9_t1") and not UTD.parse("a1_s1_t5")


def test_uwa_has_the_paper_s_split_and_twelve_more():
    clips = [f"a{a:02d}_s{s:02d}_v{v:02d}_e01" for a in (1, 30) for s in range(1, 11) for v in range(1, 5)]
    assert len(splits.DATA_SETS[UWA.name].protocols) == 13
    for name, protocol in splits.DATA_SETS[UWA.name].protocols.items():
        split = protocol(ids(*clips))
        views = [{UWA.parse(clip).camera for clip in part} for part in (split.train, split.validation, split.test)]
        assert parts_are_apart(split) and views[1] <= views[0] and not views[0] & views[2] and len(views[2]) == 1
        if name == "cross-view":
            assert views[0] == {1, 2, 3} and views[2] == {4}
        else:
            assert name == f"views-{''.join(map(str, sorted(views[0])))}-{min(views[2])}"


def test_ucla_holds_out_a_view_and_five_per_cent_of_each_class():
    people = [f"s{s:02d}_e{e:02d}" for s in range(1, 11) for e in (0, 1)]
    clips = [f"v{v}_a{a:02d}_{who}" for v in (1, 2, 3) for a in (1, 12) for who in people]
    for name, test in (("cross-view", 3), ("cross-view-1", 1), ("cross-view-2", 2)):
        split = splits.DATA_SETS[UCLA.name].protocols[name](ids(*clips))
        assert {UCLA.parse(clip).camera for clip in split.test} == {test} and parts_are_apart(split)
        assert [sum(f"a{a:02d}" in clip for clip in split.validation) for a in (1, 12)] == [2, 2]  # of 40
    assert UCLA.parse("v1_a07_s01_e00") is None  # the raw numbers have gaps
    with pytest.raises(LabError, match="N-UCLA"):
        splits.DATA_SETS[UCLA.name].protocols["cross-view"](ids("a1_s1_t1"))


def test_held_out_clips_depend_on_names_alone():
    keys = {f"clip{n}": n % 3 for n in range(61)}
    chosen = hold_out(keys)
    assert chosen == hold_out(dict(reversed(keys.items()))) and len(chosen) == 3
    assert sorted(keys[clip] for clip in chosen) == [0, 1, 2]
    assert hold_out({"alone": "a"}) == []


def resized(rgb: np.ndarray, depth: np.ndarray, frames) -> tuple[np.ndarray, np.ndarray]:
    """What a plain resize to CONFIG's 24 px leaves of depth 32x24 (nearest) and of one RGB colour a block."""
    columns = ((np.arange(24) + 0.5) / 24 * depth.shape[2]).astype(int)
    rows = ((np.arange(24) + 0.5) / 24 * depth.shape[1]).astype(int)
    return rgb[frames].mean(axis=(1, 2)), depth[frames][:, rows][:, :, columns]


def assert_prepared(store, clip: str, rgb: np.ndarray, depth: np.ndarray, frames=(0, 2, 5)):
    """The store holds the written frames: depth exactly, RGB up to its compression."""
    row, (mean, expected) = store.rows([clip]), resized(rgb, depth, list(frames))
    assert np.array_equal(store.depth(row)[0], expected)
    assert np.abs(store.rgb(row)[0].mean(axis=(1, 2)) - mean).max() < 4


def test_ucla_is_found_and_prepared_with_frames_paired_by_name(tmp_path):
    clips = [(view, f"a{a:02d}_s{s:02d}_e00") for view in (1, 2, 3) for a in (1, 12) for s in (1, 2)]
    write_ucla(tmp_path / "ucla", clips)
    base = tmp_path / "ucla" / "multiview_action"
    gap = base / "view_1" / "a01_s01_e00"
    next(gap.glob("frame_10_*_rgb.jpg")).unlink()  # rgb 9 11 12 13 14, depth 9 10 11 12 13 14
    for path in (base / "view_1" / "a12_s01_e00").glob("*_depth.png"):
        path.unlink()
    (base / "view_2" / "a12_s02_e01").mkdir()
    data = find_dataset(tmp_path / "ucla")
    index = data.index(tmp_path / "ucla")
    assert index.data_name == data.name == "N-UCLA" and index.class_names == ("pick up with one hand", "carry")
    assert index.excluded == {"v1_a12_s01_e00": "no depth", "v2_a12_s02_e01": "no rgb; no depth"}
    assert index.strangers == ("multiview_action/view_1/fileList.txt",)
    store = prepare(index, tmp_path / "store", CONFIG, progress=False)
    assert store.ids == index.ids and store.config["data_name"] == "N-UCLA"
    assert_prepared(store, "v2_a12_s01_e00", *content("2a12_s01_e00"))
    assert_prepared(store, "v1_a01_s01_e00", *content("1a01_s01_e00"), frames=(0, 3, 5))
    assert "frame counts differ" in store.records[0]["notes"]
    assert store.about(["v2_a12_s01_e00"]) == [{"camera": 2, "action": 12, "subject": 1, "replication": 0}]
    assert parts_are_apart(data.split("cross-view", store))
    again = prepare(data.index(tmp_path / "ucla"), tmp_path / "store", CONFIG, progress=False)
    assert again.built == 0 and again.fingerprint == store.fingerprint


def test_uwa_is_found_and_its_rgb_is_looked_up_as_the_paper_s_code_does(tmp_path):
    clips = [f"a{a:02d}_s{s:02d}_v{v:02d}_e00" for a in (1, 2) for s in (1, 2) for v in (1, 4)]
    write_uwa(tmp_path / "uwa", [*clips, min(UWA_MISMATCHED)])
    shutil.rmtree(tmp_path / "uwa" / "UWA3D-RGB" / "a02_s02_v04_e01")
    data = find_dataset(tmp_path / "uwa")
    index = data.index(tmp_path / "uwa")
    assert data.name == "UWA3DII" and index.class_names == ("one hand waving", "one hand punching")
    assert index.excluded == {
        "a02_s02_v04_e00": "no rgb",
        min(UWA_MISMATCHED): "RGB and depth are known to show different recordings",
    }
    store = prepare(index, tmp_path / "store", CONFIG, progress=False)
    assert_prepared(store, "a01_s02_v04_e00", *content("a01_s02_v04_e00"))


def test_utd_is_found_and_its_matlab_depth_prepared(tmp_path):
    clips = [f"a{a}_s{s}_t{t}" for a in (1, 27) for s in (1, 2) for t in (1, 2, 3)]
    write_utd(tmp_path / "utd", clips)
    (tmp_path / "utd" / "Depth" / "a1_s1_t1_depth.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut" + bytes(90))
    (tmp_path / "utd" / "Depth" / "readme.txt").touch()
    data = find_dataset(tmp_path / "utd")
    index = data.index(tmp_path / "utd")
    assert data.name == "UTD-MHAD" and len(index) == 12 and index.strangers == ("Depth/readme.txt",)
    store = prepare(index, tmp_path / "store", CONFIG, progress=False)
    assert list(store.excluded) == ["a1_s1_t1"] and "_depth.mat" in store.excluded["a1_s1_t1"]
    row, depth = store.rows(["a27_s1_t2"]), content("a27_s1_t2")[1]
    assert np.array_equal(store.depth(row)[0], resized(np.zeros((FRAMES, 2, 2, 3)), depth, [0, 2, 5])[1])
    split = data.split("cross-subject", store)
    assert {facts["subject"] for facts in store.about(split.test)} == {2}


def test_utd_is_found_as_its_archives_unpack(tmp_path):
    root = tmp_path / "utd"
    clips = [f"a{a}_s1_t{t}" for a in (1, 27) for t in (1, 2)]
    write_utd(root, clips)
    (root / "Depth").rename(root / "deep")
    (root / "Depth").mkdir()
    (root / "deep").rename(root / "Depth" / "Depth")
    for number, clip in enumerate(clips):
        part = root / f"RGB-part{number % 2 + 1}"
        part.mkdir(exist_ok=True)
        (root / "RGB" / f"{clip}_color.avi").rename(part / f"{clip}_color.avi")
    (root / "RGB").rmdir()
    shutil.copy(root / "RGB-part1" / "a1_s1_t1_color.avi", root / "RGB-part2")
    (root / "Sample_Code").mkdir()
    data = find_dataset(root)
    index = data.index(root)
    assert data.name == "UTD-MHAD" and index.ids == clips and not index.excluded
    assert index.strangers == ("RGB-part2/a1_s1_t1_color.avi",)
    assert index.entries[0].paths["rgb"] == root / "RGB-part1" / "a1_s1_t1_color.avi"
    assert len(prepare(index, tmp_path / "store", CONFIG, progress=False)) == 4
    for path in (root / "Depth" / "Depth").iterdir():
        path.unlink()
    index = find_dataset(root).index(root)
    assert set(index.excluded.values()) == {"no depth"} and len(index.excluded) == 4


# Paired folders and tables


def test_images_folders_and_videos_pair_up_by_their_names(tmp_path):
    root = tmp_path / "my pairs é"
    for label in ("cup", "hat"):
        for number in range(4):
            write_pair(root / label, f"{number:02d}", ("image", "folder", "video", "folder")[number])
    rgb, depth = write_pair(root / "cup", "one", "image")
    (root / "hat" / "10_color.png").touch()
    (root / "hat" / "notes.txt").touch()
    data = find_dataset(root)
    index = data.index(root)
    assert (data.name, index.data_name, index.class_names) == ("paired folders", "my pairs é", ("cup", "hat"))
    assert index.excluded == {"hat/10": "no depth"} and index.strangers == ("hat/notes.txt",) and len(index) == 9
    store = prepare(index, tmp_path / "store", CONFIG, progress=False)
    assert not {"hat/02", "cup/02"} & set(store.excluded)
    assert_prepared(store, "cup/one", rgb, depth, frames=(0, 0, 0))  # one image is a clip of one frame, repeated
    assert not store.records[store.ids.index("cup/one")]["notes"]
    assert_prepared(store, "hat/01", *content("hat/01"))
    assert list(data.protocols) == ["given", "random"]
    split = data.split("random", store)
    assert parts_are_apart(split) and sorted([*split.train, *split.validation, *split.test]) == store.ids
    with pytest.raises(LabError, match="training and test clips for given"):
        data.split("given", store)
    with pytest.raises(LabError, match="given, random, found 'cross-view'"):
        data.split("cross-view", store)


def test_split_folders_give_the_split(tmp_path):
    for part, stems in (("train", "abcdef"), ("val", "gh"), ("test", "ij")):
        for stem in stems:
            write_pair(tmp_path / "data" / part / ("x", "y")[ord(stem) % 2], stem)
    data = find_dataset(tmp_path / "data")
    index = data.index(tmp_path / "data")
    split = data.split("given", index)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [6, 2, 2]
    assert set(split.validation) == {"val/y/g", "val/x/h"} and index.class_names == ("x", "y")
    shutil.rmtree(tmp_path / "data" / "val")
    split = data.split("given", data.index(tmp_path / "data"))
    assert parts_are_apart(split) and len(split.validation) == 2 and set(split.test) == {"test/x/j", "test/y/i"}
    assert all(clip.startswith("train/") for clip in split.validation)


def table(rows: list[dict], newline="\n", bom="") -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, rows[0], lineterminator=newline)
    writer.writeheader()
    writer.writerows(rows)
    return bom + buffer.getvalue()


@pytest.mark.parametrize(("newline", "bom"), [("\n", ""), ("\r\n", "\ufeff")])
def test_a_table_lists_clips_and_every_row_ends_somewhere(tmp_path, newline, bom):
    root = tmp_path / "root"
    rows = []
    for number in range(8):
        write_pair(root / "files", str(number), "folder" if number % 2 else "image")
        ending = "" if number % 2 else ".png"
        rows.append({
            "clip": f"c{number}", "label": f"class {number % 2}", "split": ("train", "test")[number > 4],
            "rgb": f"files/{number}_color{ending}", "depth": f"files/{number}_depth{ending}", "subject": number // 2,
        })  # fmt: skip
    rows += [
        {**rows[0], "clip": ""},
        {**rows[0], "clip": "c1"},
        {**rows[0], "clip": "x", "label": "", "split": "test"},
        {**rows[0], "clip": "u", "label": "", "subject": "7"},
        {**rows[1], "clip": "v", "label": "", "split": "", "subject": "3"},
        {**rows[0], "clip": "y", "split": "tset"},
        {**rows[0], "clip": "z", "depth": "files/nothing.png"},
        {**rows[0], "clip": "glob", "rgb": "files/1_color/*.png", "depth": "files/1_depth/*.png"},
    ]
    write_text(root / "clips.csv", table(rows, newline, bom) + newline)
    data = find_dataset(root)
    index = data.index(root)
    assert data.name == "table" and index.data_name == "root"
    assert index.excluded == {
        "c1": "listed twice in clips.csv",
        "x": "no label, and not in train",
        "y": "split 'tset', not train, validation or test",
        "z": "no depth: files/nothing.png is not there",
    }
    assert index.strangers == ("clips.csv line 10: no clip id",)
    split = data.split("given", index)
    assert set(split.test) == {"c5", "c6", "c7"} and "glob" in {*split.train, *split.validation}
    assert not {"u", "v"} & {*split.train, *split.validation, *split.test}
    assert split.unlabelled == ("u", "v")  # people of this split are in train and test
    by_people = data.split("random", index)
    people = [{facts["subject"] for facts in index.about(part)} for part in (by_people.train, by_people.test)]
    assert not people[0] & people[1]
    assert by_people.unlabelled == (("u",) if "3" in people[1] else ("u", "v"))  # nobody who is kept for the test
    store = prepare(find_dataset(root / "clips.csv").index(root / "clips.csv"), tmp_path / "s", CONFIG, progress=False)
    assert sorted(store.ids) == ["c0", "c2", "c3", "c4", "c5", "c6", "c7", "glob", "u", "v"]
    assert dict(zip(store.ids, store.labels.tolist(), strict=True))["u"] == UNLABELLED
    assert store.about(["u"]) == [{"subject": "7", "split": "unlabelled"}]
    assert store.about(["c7"]) == [{"label": "class 1", "subject": "3", "split": "test"}]


@pytest.mark.parametrize(("text", "match"), [
    ("", "column clip"), ("clip,label,rgb\n", "column depth"), ('clip,label,rgb,depth\n"open', "table of clips"),
    ("clip,label,rgb,depth\na\x00b,c,d,e\n", ""), (b"\xff\xfe\x00", "table of clips"),
])  # fmt: skip
def test_what_is_no_table_is_one_line(tmp_path, text, match):
    (tmp_path / "clips.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        index = find_dataset(tmp_path).index(tmp_path)
    except LabError as error:
        assert match in str(error) and "\n" not in str(error) and "clips.csv" in str(error)
    else:
        assert match == "" and not len(index)


def test_depth_unit_and_registration_are_said_once_and_recorded(tmp_path):
    root = tmp_path / "tenths"
    _, depth = write_pair(root / "a", "1", registered=True)
    write_pair(root / "a", "2")  # 64x48 and 32x24 have one shape, too
    write_pair(root / "b", "3", registered=True)
    settings = {"depth_unit": 0.1, "registered": True, "name": "Tenths", "exclude": {"b/3": "blurred"}}
    (root / "labkit.json").write_text(json.dumps(settings), encoding="utf-8")
    index = find_dataset(root).index(root)
    assert index.excluded == {"b/3": "blurred"} and index.data_name == "Tenths"
    config = ClipConfig(size=48, stored_frames=1)
    store = prepare(index, tmp_path / "store", config, progress=False)
    assert {key: store.config[key] for key in ("depth_unit", "registered", "data_name")} == {
        "depth_unit": 0.1, "registered": True, "data_name": "Tenths",
    }  # fmt: skip
    columns = ((np.arange(48) + 0.5) / 48 * 64).astype(int)
    assert np.array_equal(store.depth([0])[0, 0], np.rint(depth[0][:, columns] * 0.1))
    (root / "labkit.json").write_text("{}", encoding="utf-8")
    other = prepare(find_dataset(root).index(root), tmp_path / "store", config, progress=False)
    assert other.built == 3 and other.depth([0]).max() > store.depth([0]).max()


def test_settings_are_as_they_were_where_the_check_fails(tmp_path):
    def refused(**changes):
        with pytest.raises(LabError, match="stop"), changed_settings(tmp_path, **changes):
            raise LabError(None, "stop", "go on")

    refused(depth_unit=0.1)
    assert not list(tmp_path.iterdir())
    (tmp_path / "labkit.json").write_text('{"name": "Mine"}', encoding="utf-8")
    refused(depth_unit=0.1)
    refused()
    assert (tmp_path / "labkit.json").read_text(encoding="utf-8") == '{"name": "Mine"}'
    with changed_settings(tmp_path, depth_unit=0.1):
        pass
    assert (read_settings(tmp_path).name, read_settings(tmp_path).depth_unit) == ("Mine", 0.1)


def test_registered_images_are_only_resized_and_must_have_one_shape(tmp_path):
    root = tmp_path / "square"
    (root / "a").mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    depth = np.random.default_rng(1).integers(0, 4000, (24, 24), dtype=np.uint16)
    for stem in ("1", "2"):
        save_picture(root / "a" / f"{stem}_color.png", picture)
        write_depth(root / "a" / f"{stem}_depth.png", depth if stem == "1" else depth[:18])
    (root / "labkit.json").write_text('{"registered": true}', encoding="utf-8")
    config = ClipConfig(size=24, stored_frames=1)
    store = prepare(find_dataset(root).index(root), tmp_path / "s", config, progress=False)
    assert np.array_equal(store.rgb([0])[0, 0], picture) and np.array_equal(store.depth([0])[0, 0], depth)
    assert "one shape" in store.excluded["a/2"]


@pytest.mark.parametrize("settings", [
    {"depth_unit": 0}, {"depth_unit": "mm"}, {"depth_unit": True}, {"registered": 1}, {"units": 1}, {"exclude": ["a"]},
    {"exclude": {"a": 1}}, [1], {"name": None}, {"depth_unit": -1},
])  # fmt: skip
def test_wrong_settings_are_one_line(tmp_path, settings):
    write_pair(tmp_path / "a", "1")
    (tmp_path / "labkit.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(LabError, match=r"labkit\.json") as caught:
        find_dataset(tmp_path).index(tmp_path)
    assert "depth_unit" in str(caught.value)


# Recognition


def test_what_is_not_recognised_is_one_line_that_says_what_was_looked_for(tmp_path):
    for place, match in ((tmp_path, "empty folder"), (tmp_path / "none", "nothing")):
        with pytest.raises(LabError, match=match) as caught:
            find_dataset(place)
        assert "\n" not in str(caught.value)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").touch()
    with pytest.raises(LabError, match=r"nturgb\+d_rgb/, view_1.*clips\.csv.*found cat"):
        find_dataset(tmp_path)
    (tmp_path / "text.txt").touch()
    with pytest.raises(LabError, match="something else"):
        find_dataset(tmp_path / "text.txt")


def test_published_counts_add_up():
    for data in (splits.DATA_SETS["NTU60"], splits.DATA_SETS["NTU120"]):
        found, usable = data.published["clips"]
        assert found - usable == {"NTU60": 302, "NTU120": 535}[data.name]
        for name, parts in data.published.items():
            assert name == "clips" or sum(parts) == usable
