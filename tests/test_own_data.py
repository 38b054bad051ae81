"""Pairs of a kind the lab has never seen: divided without being told how, judged, and described in true words."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from replicas import write_pair, write_utd
from tiny import tiny_profile

from labkit import trainers
from labkit.cli import main as cli
from labkit.config import ClipConfig
from labkit.data import splits
from labkit.data.media.video import Frames
from labkit.data.prepare import prepare
from labkit.data.skeletons import single_body, write_skeleton
from labkit.data.splits import find_dataset
from labkit.errors import LabError
from labkit.experiments.targets import get_targets, results_table
from labkit.export.card import OF_ACTIONS, model_card
from labkit.export.describe import eager_model, find_lab
from labkit.export.predict import sample_video
from labkit.lab import open_lab
from labkit.puppets.opening import beside, open_labs, store_path

PROFILE = tiny_profile(epochs=1)


def shapes(root: Path, parts: tuple[str, ...] = ("",), depth_is: str = "") -> Path:
    for place, part in enumerate(parts):
        for number in range(6):
            write_pair(root / part / ("disc", "cross")[number % 2], f"{place}{number}", "image", registered=True)
    if depth_is:
        (root / "labkit.json").write_text(json.dumps({"depth_is": depth_is}), encoding="utf-8")
    return root


def checked(root: Path, capsys, *options: str) -> tuple[int, str, str]:
    """Exit status, what is printed, and the table of findings of `labkit data check`."""
    status = cli.main(["data", "check", str(root), "--workers", "1", *options])
    return status, capsys.readouterr().out, beside(root, "check.csv").read_text(encoding="utf-8")


# -- how a set is divided


@pytest.mark.parametrize(("parts", "protocol"), [(("",), "random"), (("train", "test"), "given")])
def test_without_a_protocol_the_set_s_own_split_counts_else_a_random_one(tmp_path, parts, protocol):
    root = shapes(tmp_path / "mine", parts)
    lab = open_lab(PROFILE, None, home=tmp_path, data=root, progress=False)
    assert lab.split.name == protocol and lab.split.train and lab.split.test
    every = open_labs(PROFILE, "all", home=tmp_path, data=root, progress=False)
    assert [one.split.name for one in every] == list(dict.fromkeys([protocol, "random"]))
    with pytest.raises(LabError, match="given, random, found 'cross-subject'"):
        open_lab(PROFILE, home=tmp_path, data=root, progress=False)


def test_a_given_split_without_test_clips_is_told_and_not_replaced(tmp_path):
    root = shapes(tmp_path / "mine", ("train",))
    with pytest.raises(LabError, match=r"found 4 and 0 clips.*train and test in the table's column split.*random"):
        open_lab(PROFILE, None, home=tmp_path, data=root, progress=False)
    assert open_lab(PROFILE, "random", home=tmp_path, data=root, progress=False).split.test


def test_without_a_protocol_sets_of_people_are_divided_by_people(tmp_path):
    write_utd(tmp_path, ["a1_s1_t1"])
    data = find_dataset(tmp_path)
    assert data.usual(data.index(tmp_path)) == "cross-subject"  # even where these clips cannot be
    assert next(iter(splits.DATA_SETS["N-UCLA"].protocols)) == "cross-view"


def test_without_a_figure_of_the_paper_the_table_holds_numbers_that_are_missing(tmp_path):
    lab = open_lab(PROFILE, None, home=tmp_path, data=shapes(tmp_path / "mine"), progress=False)
    table = results_table(lab, targets=get_targets(["table2:1", "table2:15"]))
    assert table["paper"].isna().all() and (table["paper"] - table["ours"]).dtype == float


# -- what stands on the card


def card_of(home: Path, root: Path) -> str:
    """The card of an RGB stream of this root, as if depth had taught it."""
    lab = open_lab(PROFILE, None, home=home, data=root, progress=False)
    run = trainers.train_stream(lab, "rgb")
    found = find_lab(run, home, data=root)
    assert (found.data_name, found.split.test) == (lab.data_name, lab.split.test)
    with pytest.raises(LabError, match="--data"):
        find_lab(run, home)
    about = eager_model(run, found).about
    assert about["trained_with"] == ["rgb"] and "It was trained on RGB alone." in model_card(about, 0.0)
    return model_card({**about, "trained_with": ["depth", "rgb"]}, 0.0)


@pytest.mark.parametrize("depth_is", ["", "thermal, tenths of a kelvin"])
def test_the_card_of_shapes_speaks_of_no_people_and_says_what_depth_is(tmp_path, depth_is):
    card = " ".join(card_of(tmp_path, shapes(tmp_path / "mine", depth_is=depth_is)).split())
    known = f"is, here, {depth_is}; it was present" if depth_is else "what its data set has in the place of depth, was"
    for part in (known, "Classification of RGB", "protocol random", "were not cropped", "Whom the clips show", "disc"):
        assert part in card, part
    for part in ("Action recognition", "people in them", "skeletons", "clothes", "NTU", "costs accuracy", "{"):
        assert part not in card, part


def test_the_card_of_people_still_does(tmp_path):
    write_utd(tmp_path / "utd", [f"a{a}_s{s}_t{t}" for a in (1, 9) for s in (1, 2, 3) for t in (1, 2)])
    card = card_of(tmp_path, tmp_path / "utd")
    for part in ("Action recognition", "1 people in them", "clothes", "Depth was present"):
        assert part in card, part


def test_every_data_set_of_people_is_known_to_the_card():
    assert splits.DATA_SETS.keys() - {"table", "paired folders"} == set(OF_ACTIONS)


# -- rows of a table that know more than others


RATIO, OFFSET = 1.6, (-4, -2)  # from depth's pixels to the other image's, which is not the whole on the whole
CONFIG = ClipConfig(size=32, stored_frames=1)


def write_table(root: Path, labels: str = "ababab", **columns: list[str]) -> Path:
    """A clip a label, "-" for none, with joints beside them, of which only the columns given tell."""
    lines = ["clip,label,rgb,depth," + ",".join(columns)]
    for number, (label, *cells) in enumerate(zip(labels, *columns.values(), strict=True)):
        write_pair(root, str(number), "image")
        joints = np.random.default_rng(number).uniform((2, 2), (30, 22), (1, 25, 2))
        whole = single_body(np.ones((1, 25, 3)), joints, (joints - OFFSET) * RATIO, np.full((1, 25), 2))
        write_skeleton(root / f"{number}.skeleton", whole)
        told = [str(number), label.strip("-"), f"{number}_color.png", f"{number}_depth.png", *cells]
        lines.append(",".join(told))
    (root / "clips.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def rgb_of(root: Path, store: Path) -> tuple[int, np.ndarray]:
    """How many clips had to be made, and all six, (6,T,S,S,3)."""
    made = prepare(find_dataset(root).index(root), store, CONFIG, workers=1, progress=False)
    assert made.ids == list("012345")
    return made.built, made.rgb(range(6))


def same_clips(one: np.ndarray, other: np.ndarray) -> list[bool]:
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


def test_some_rows_of_a_table_have_a_skeleton(tmp_path, capsys):
    every = [f"{number}.skeleton" for number in range(6)]
    root = write_table(tmp_path / "mine", skeleton=every[:3] + [""] * 3)
    for options in ([], ["--quick"]):
        status, _, table = checked(root, capsys, *options)
        told = [line.split(",")[:3] for line in table.splitlines() if "not registered" in line]
        assert status == 0 and told == [[clip, "remark", "not registered"] for clip in "345"]
        assert "excluded" not in table and "missing" not in table
    plain, joints = (
        rgb_of(write_table(tmp_path / name / "mine", skeleton=cells), tmp_path / name / "store")[1]
        for name, cells in (("plain", [""] * 6), ("joints", every))
    )
    assert same_clips(plain, joints) == [False] * 6
    _, some = rgb_of(root, tmp_path / "store")
    assert same_clips(some, joints) == [True] * 3 + [False] * 3 and same_clips(some[3:], plain[3:]) == [True] * 3
    for cells, made in ((["", *every[1:3]] + [""] * 3, 1), (every, 4)):  # taken from one row, then given to all
        built, some = rgb_of(write_table(root, skeleton=cells), tmp_path / "store")
        assert built == made and same_clips(some, joints) == list(map(bool, cells))


def test_the_report_of_alignment_counts_the_clips_without_joints(tmp_path, capsys):
    root = write_table(tmp_path / "mine", skeleton=[f"{number}.skeleton" for number in range(4)] + [""] * 2)
    for command in ("prepare", "alignment"):
        assert cli.main(["data", command, str(root), "--profile", "smoke"]) == 0
    assert "2 of 6 clips were not registered by joints: in them the whole RGB image" in capsys.readouterr().out


def test_without_any_skeleton_no_row_is_remarked_on(tmp_path, capsys):
    root = write_table(tmp_path / "mine", skeleton=[""] * 6)
    assert "not registered" not in checked(root, capsys)[2]


def test_a_row_says_whether_its_images_are_registered(tmp_path):
    every = [f"{number}.skeleton" for number in range(6)]
    joints = rgb_of(write_table(tmp_path / "joints" / "mine", skeleton=every), tmp_path / "joints" / "store")[1]
    root = write_table(tmp_path / "mine", skeleton=every, registered=["true", "FALSE", "", "True", "false", ""])
    for of_root, by_joints in ((False, [False, True, True] * 2), (True, [False, True, False] * 2)):
        (root / "labkit.json").write_text(json.dumps({"registered": of_root}), encoding="utf-8")
        entries = find_dataset(root).index(root).entries
        assert [not entry.recording.registered for entry in entries] == by_joints
        built, some = rgb_of(root, tmp_path / "store")
        assert built == (2 if of_root else 6) and same_clips(some, joints) == by_joints
        assert "registered" not in entries[0].about
    (root / "labkit.json").write_text('{"depth_unit": 0.1}', encoding="utf-8")
    assert {entry.recording.depth_unit for entry in find_dataset(root).index(root).entries} == {0.1}


def test_another_word_than_true_or_false_is_one_line(tmp_path, capsys):
    root = write_table(tmp_path / "mine", registered=["true", "", "yes", "", "", ""])
    assert cli.main(["data", "check", str(root), "--workers", "1"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "clips.csv: expected true or false as registered in line 4, found 'yes'. Fix: write true or false" in line


# -- what a check says


def test_images_of_unlike_shape_and_classes_out_of_a_part_are_remarked_on(tmp_path, capsys):
    root = shapes(tmp_path / "mine")
    write_pair(root / "alone", "9", "image")
    for path in sorted((root / "disc").glob("*_depth.png"))[:1]:
        with Image.open(path) as image:
            half = image.crop((0, 0, image.width, image.height // 2))
        half.save(path)
    status, out, table = checked(root, capsys)
    assert status == 0 and "random: no test clip of 1 of 3 classes, alone first" in out
    assert table.count("shapes differ") == 1 and "RGB 64x48 is laid on depth 64x24" in table


def test_names_that_are_no_utf8_reach_the_table(tmp_path, capsys):
    root = shapes(tmp_path / "mine")
    for kind in ("color", "depth"):
        old = os.fsencode(root / "disc" / f"00_{kind}.png")
        os.rename(old, old.replace(b"00_", b"\xe9 0_"))
    status, _, table = checked(root, capsys)
    assert status == 0 and "disc/\\udce9 0" in table


@pytest.mark.parametrize("rows", ["", "1,a,{0}_color.png,{0}_depth.png,holdout\n"])
def test_a_table_without_a_usable_clip_ends_in_failure(tmp_path, capsys, rows):
    shapes(tmp_path / "mine")
    path = tmp_path / "table.csv"
    path.write_text("clip,label,rgb,depth,split\n" + rows.format("mine/disc/00"), encoding="utf-8")
    assert cli.main(["data", "check", str(path), "--workers", "1"]) == (1 if rows else 2)
    told = capsys.readouterr()
    assert "no such split" in told.out if rows else "expected a row for each clip, found none" in told.err


def test_a_column_twice_or_misspelt_and_cells_beyond_the_columns_are_told(tmp_path):
    shapes(tmp_path / "mine")
    path, files = tmp_path / "table.csv", "mine/disc/00_color.png,mine/disc/00_depth.png"
    path.write_text(f"clip,label,rgb,depth, Label\n1,a,{files},b\n", encoding="utf-8")
    with pytest.raises(LabError, match="expected one column of each name, found 2 columns 'label'"):
        find_dataset(path).index(path)
    path.write_text(f"clip,label,rgb,depth,Subjct,remarks\n1,a,{files},p1,x\n", encoding="utf-8")
    with pytest.raises(LabError, match="expected the column subject, found 'subjct'"):
        find_dataset(path).index(path)
    path.write_text(f"clip,label,rgb,depth,,\n1,a,{files},,\n2,a,{files},,,\n3,a,b,{files},,\n4,a,{files},,,s,t\n",
                    encoding="utf-8")  # fmt: skip
    index = find_dataset(path).index(path)
    assert index.ids == ["1", "2"] and "no rgb: b is not there" in index.excluded["3"]
    assert index.excluded["4"] == "2 more cells than columns"


def test_one_class_alone_is_remarked_on(tmp_path, capsys):
    for number in range(5):
        write_pair(tmp_path / "p" / "disc", str(number))
    assert "random: one class alone, disc: nothing to tell apart" in checked(tmp_path / "p", capsys)[1]


def test_a_table_without_a_split_is_divided_at_random_and_no_fault_is_told(tmp_path, capsys):
    root = write_table(tmp_path / "mine", "aaabbb--", skeleton=[""] * 8)
    status, out, _ = checked(root, capsys)
    assert status == 0 and "given" not in out and "random     2          2    2          2\n" in out
    lab = open_lab(PROFILE, None, home=tmp_path, data=root, progress=False)
    assert lab.split.name == "random" and lab.split.unlabelled == ("6", "7")


@pytest.mark.parametrize("labels", ["ab", "------", "aaaaaa", "aabb"])
def test_clips_that_nothing_can_be_trained_on_are_told_and_what_is_said_mends_it(tmp_path, capsys, labels):
    root = write_table(tmp_path / "mine", labels, skeleton=[""] * len(labels))
    command = ["data", "check", str(root), "--workers", "1"]
    for options in ([], ["--json"]):
        assert cli.main([*command, *options]) == 1
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("labkit:")]
        assert len(told) == 1 and "expected clips of two classes or more in every part" in told[0]
    if labels in ("ab", "------"):
        with pytest.raises(LabError, match="Fix: label three clips or more of each class"):
            open_lab(PROFILE, None, home=tmp_path, data=root, progress=False)
    root = write_table(root, "aaabbb", skeleton=[""] * 6)
    assert cli.main(command) == 0 and all(map(len, vars(open_lab(PROFILE, None, home=tmp_path, data=root).split)))


def test_a_person_in_training_and_in_test_is_remarked_on(tmp_path, capsys):
    people, split = ["x", "y", "x", "z", "", ""], ["train", "train", "test", "test", "train", "test"]
    root = write_table(tmp_path / "mine", split=split, subject=people)
    said = "1 of 3 subjects are both in training and in test, x first"
    status, out, _ = checked(root, capsys)
    assert status == 0 and out.count(f"given: {said}") == 1
    open_lab(PROFILE, None, home=tmp_path, data=root)
    assert capsys.readouterr().err.count(f"split given: {said}") == 1
    for options in ({"subject": ["x", "y", "w", "z", "", ""]}, {}):
        checked(write_table(root, split=split, **options), capsys)
        open_lab(PROFILE, None, home=tmp_path, data=root)
        assert "subjects" not in capsys.readouterr().err


def test_rows_without_a_split_beside_others_are_left_out_and_told(tmp_path, capsys):
    split = ["train", "train", "test", "test", "", "train", "", "train"]
    root = write_table(tmp_path / "mine", "ababab--", split=split)
    status, out, table = checked(root, capsys)
    assert status == 1 and "7 used" in out and "1 excluded" in out
    assert "4,excluded,no such split" in table and "no split, where other rows have one" in table
    index = find_dataset(root).index(root)
    assert list(index.excluded) == ["4"] and {"6", "7"} <= {*index.ids}, "a pair without a label needs none"


def test_classes_that_differ_in_capital_letters_alone_are_refused(tmp_path, capsys):
    root = write_table(tmp_path / "mine", "aAabbb", skeleton=[""] * 6)
    assert cli.main(["data", "check", str(root)]) == 2
    assert "expected classes that differ in more than capital letters, found 'a' and 'A'" in capsys.readouterr().err


def test_at_random_a_person_stays_on_one_side_where_not_everybody_is_known(tmp_path, capsys):
    people = ["x", "x", "y", "y", "", "", "z", "z", "", "w"]
    root = write_table(tmp_path / "mine", "ababababab", subject=people)
    lab = open_lab(PROFILE, None, home=tmp_path, data=root, progress=False)
    assert lab.split.name == "random" and "subjects are both" not in checked(root, capsys)[1]
    tested = {people[int(clip)] for clip in lab.split.test} - {""}
    assert tested.isdisjoint({people[int(clip)] for clip in (*lab.split.train, *lab.split.validation)})


def test_names_of_a_pair_may_be_composed_in_two_ways(tmp_path):
    root = shapes(tmp_path / "mine")
    for path in root.rglob("*.png"):
        form = "NFD" if "depth" in path.name else "NFC"
        path.rename(path.with_name(unicodedata.normalize(form, f"geh\u00f6rt{path.name}")))
    assert len(find_dataset(root).index(root)) == 6


def test_a_frame_of_another_size_is_called_that(tmp_path, capsys):
    for number in range(6):
        write_pair(tmp_path / "mine" / ("disc", "cross")[number % 2], str(number), "folder")
    odd = tmp_path / "mine" / "disc" / "0_depth" / "2.png"
    Image.fromarray(np.full((7, 9), 1500, np.uint16)).save(odd)
    status, out, table = checked(tmp_path / "mine", capsys)
    assert status == 1 and "images of several sizes" in out and "(7, 9)" in table


@pytest.mark.parametrize("kind", ["image", "folder", "video"])
def test_swapped_columns_are_called_that(tmp_path, capsys, kind):
    lines = ["clip,label,rgb,depth"]
    for number in range(6):
        write_pair(tmp_path / "mine", str(number), kind)
        rgb, depth = (next((tmp_path / "mine").glob(f"{number}_{name}*")).name for name in ("color", "depth"))
        lines.append(f"{number},{'ab'[number % 2]},{depth},{rgb}")
    (tmp_path / "mine" / "clips.csv").write_text("\n".join(lines), encoding="utf-8")
    for options in ([], ["--quick"]):
        status, out, table = checked(tmp_path / "mine", capsys, *options)
        assert status == 1 and table.count("excluded,RGB and depth swapped,,,") == 6
        assert "protocol" not in out and "in all of its" not in out


def test_a_link_to_nothing_is_called_that(tmp_path):
    (tmp_path / "a_depth.png").symlink_to(tmp_path / "gone.png")
    for name, found in (("a_depth.png", "found a link to nothing"), ("b_depth.png", "found none")):
        with pytest.raises(LabError, match=found):
            _ = Frames(tmp_path / name).files


def test_beside_a_root_that_cannot_be_written_to_the_home_that_was_named_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("labkit.lab.os.access", lambda path, mode: False)
    monkeypatch.setenv("LABKIT_HOME", "/nowhere")
    assert store_path(tmp_path / "mine", PROFILE, tmp_path).parent == tmp_path / "data"


# -- what an exported model can be asked


def test_a_picture_is_a_video_of_one_frame(tmp_path):
    rgb, _ = write_pair(tmp_path, "one", "image")
    video = sample_video(tmp_path / "one_color.png", 3, 24)
    assert video.frames.shape == (3, 24, 24, 3) and video.indices == (0, 0, 0) and video.total == 1
    assert abs(video.frames.mean(axis=(0, 1, 2)) - rgb.mean(axis=(0, 1, 2))).max() < 4 and video.notes
    (tmp_path / "cut.png").write_bytes((tmp_path / "one_color.png").read_bytes()[:90])
    with pytest.raises(LabError, match="a readable picture"):
        sample_video(tmp_path / "cut.png", 3, 24)
