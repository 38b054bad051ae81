"""Names as people's folders, lists and archives have them: which clips there are, and who is told of what is none."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from fuzz_layouts import fuzz
from ntu_files import write_clip, write_depth, write_joints, write_video
from PIL import Image

from labkit.cli.main import main
from labkit.config import ClipConfig
from labkit.data.index import NO_CLIP, read_settings
from labkit.data.modalities import read_aligned, read_boxes
from labkit.data.skeletons import read_skeleton
from labkit.data.splits import find_dataset
from labkit.errors import LabError

FORK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(80)  # what a Mac writes beside each file


def write_pair(root: Path, *stems: str) -> Path:
    for stem in stems:
        (root / stem).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 16, 3), 90, np.uint8)).save(root / f"{stem}_color.png")
        write_depth(root / f"{stem}_depth.png", np.full((12, 16), 900))
    return root


def index_of(root: Path):
    return find_dataset(root).index(root)


@pytest.mark.parametrize("other", ["__MACOSX/._train", "docs/a.txt", "calibration/c_color.png calibration/c_depth.png"])
@pytest.mark.parametrize("names", ["train test", "Training Testing", "train dev test"])
def test_folders_beside_the_splits_are_named_and_no_more(tmp_path, names, other):
    parts = names.split()
    write_pair(tmp_path, *(f"{part}/{label}/{take}" for part in parts for label in ("walk", "wave") for take in "ab"))
    for file in other.split():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(tmp_path / parts[0] / "walk" / f"a_{'depth' if 'depth' in file else 'color'}.png", tmp_path / file)
    index = index_of(tmp_path)
    assert len(index) == 4 * len(parts) and index.class_names == ("walk", "wave") and not index.excluded
    assert index.strangers == (other.split("/")[0],)
    assert {facts["split"] for facts in index.about(index.ids)} >= {"train", "test"}


def test_a_class_may_be_called_test(tmp_path):
    index = index_of(write_pair(tmp_path, "test/a", "walk/a"))
    assert index.class_names == ("test", "walk")


def test_names_with_dots_are_names(tmp_path):
    write_pair(tmp_path, "1.5 m/take.1", "2.5 m/v1.0.b")
    for folder in ("take.2_color", "take.2.x_color"):
        (tmp_path / "1.5 m" / folder).mkdir()
        shutil.copy(tmp_path / "1.5 m" / "take.1_color.png", tmp_path / "1.5 m" / folder / "0.png")
    for folder in ("take.2_depth", "take.2.x_depth"):
        write_depth(tmp_path / "1.5 m" / folder / "0.png", np.full((12, 16), 900))
    index = index_of(tmp_path)
    assert index.ids == ["1.5 m/take.1", "1.5 m/take.2", "1.5 m/take.2.x", "2.5 m/v1.0.b"] and not index.strangers
    for entry in index.entries:
        assert read_aligned(entry, ClipConfig(size=8))[0]["depth"].max() == 900


@pytest.mark.parametrize("layout", ["folders", "splits", "table"])
def test_one_name_in_two_unicode_forms_is_one_class_and_one_clip(tmp_path, layout):
    forms = [unicodedata.normalize(form, "tête") for form in ("NFC", "NFD")]
    if layout == "table":
        write_pair(tmp_path, "a", "b")
        rows = [f"{stem},{label},{stem}_color.png,{stem}_depth.png" for stem, label in zip("ab", forms, strict=True)]
        (tmp_path / "clips.csv").write_text("\n".join(["clip,label,rgb,depth", *rows]), encoding="utf-8")
    else:
        parts = ("", "") if layout == "folders" else ("train/", "test/")
        for stem, part, label in zip("ab", parts, forms, strict=True):
            write_pair(tmp_path, f"{part}{label}/{stem}")
    index = index_of(tmp_path)
    assert index.class_names == ("tête",) and len(index) == 2


def test_a_table_names_files_with_either_slash_and_in_any_form_of_unicode(tmp_path):
    write_pair(tmp_path, f"{unicodedata.normalize('NFD', 'tête')}/a", "b/a")
    rows = ["1,x,tête/a_color.png,tête/a_depth.png", "2,x,b\\a_color.png,b\\a_depth.png"]
    (tmp_path / "clips.csv").write_text("\n".join(["clip,label,rgb,depth", *rows]), encoding="utf-8")
    assert index_of(tmp_path).ids == ["1", "2"]


def test_files_of_other_systems_and_other_kinds_are_no_clips(tmp_path):
    write_pair(tmp_path, "wave/a")
    for name in ("._a_color.png", "._a_depth.png", ".DS_Store", "Thumbs.db", "desktop.ini", "a_color.json",
                 "a_color.xml", "a_depth.npy", "a_depth.raw", "a_color.txt", "a_depth.csv"):  # fmt: skip
        (tmp_path / "wave" / name).write_bytes(FORK)
    index = index_of(tmp_path)
    assert index.ids == ["wave/a"] and not index.excluded and len(index.strangers) == 8
    shutil.copy(tmp_path / "wave" / "a_color.png", tmp_path / "wave" / "a_color.jpg")
    assert index_of(tmp_path).excluded == {"wave/a": "rgb found twice: wave/a_color.jpg and wave/a_color.png"}


def test_an_archive_of_a_mac_adds_no_uwa_clip(tmp_path):
    for number in (1, 2):
        for folder, name in (("RGB", f"00{number},.jpg"), ("Depth", f"00{number}.png")):
            place = tmp_path / folder / "a01_s01_v01_e01"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((12, 16), 90, np.uint16 if folder == "Depth" else np.uint8)).save(place / name)
            (tmp_path / "__MACOSX" / folder / place.name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "__MACOSX" / folder / place.name / f"._{name}").write_bytes(FORK)
    index = index_of(tmp_path)
    assert index.ids == ["a01_s01_v01_e01"] and "__MACOSX" not in str(index.entries[0].paths)


def test_layouts_that_nobody_planned_are_read_exactly_or_refused_in_a_line(tmp_path):
    """500 and more: python tests/fuzz_layouts.py."""
    found = fuzz(tmp_path, 30, seed=1)
    assert found.total() == 30 and not any(outcome == "other" for _, outcome in found)


# -- what names a clip, and what names none --------------------------------------------------------

NTU = "S001C002P003R001A013"


@pytest.fixture
def ntu(tmp_path):
    for clip in (NTU, "S001C001P003R001A013"):
        write_clip(tmp_path, clip)
    return tmp_path


@pytest.mark.parametrize("written", [
    NTU, f"{NTU}.skeleton", f"{NTU}_rgb.avi", NTU.lower(), "S001_C002_P003_R001_A013", "S001-C002-P003-R001-A013",
    f"nturgb+d_skeletons/{NTU}.skeleton",
])  # fmt: skip
def test_an_id_of_ntu_is_known_in_any_form(ntu, written, capsys):
    (ntu / "labkit.json").write_text(json.dumps({"exclude": {written.split("/")[-1]: "blurred"}}), encoding="utf-8")
    assert index_of(ntu).excluded == {NTU: "blurred"} and not index_of(ntu).strangers
    (ntu / "labkit.json").unlink()
    for encoding in ("utf-8-sig", "utf-16"):
        (ntu / "samples_with_missing_skeletons.txt").write_text(f"{written}\r\n", encoding=encoding)
        assert index_of(ntu).excluded == {NTU: "on the published list of missing skeletons"}


@pytest.mark.parametrize("written", ["wave/ä", "wave\\ä", "wave/ä_color.png", unicodedata.normalize("NFD", "wave/ä")])
def test_a_clip_of_folders_is_known_in_any_form(tmp_path, written):
    write_pair(tmp_path, "wave/ä", "wave/b")
    (tmp_path / "labkit.json").write_text(json.dumps({"exclude": {written: "blurred"}}), encoding="utf-8")
    assert index_of(tmp_path).excluded == {"wave/ä": "blurred"}


@pytest.mark.parametrize("written", ["v2_a01_s03_e00", "view_2/a01_s03_e00", "a01_s03_e00_v02", "A1-S3-E0-V2"])
def test_a_clip_of_ucla_is_known_in_any_form(tmp_path, written):
    for view in (1, 2):
        for kind, image in (("rgb.jpg", np.zeros((12, 16, 3), np.uint8)), ("depth.png", np.zeros((12, 16), np.uint16))):
            path = tmp_path / f"view_{view}" / "a01_s03_e00" / f"frame_1_tc_5_{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    (tmp_path / "labkit.json").write_text(json.dumps({"exclude": {written: "blurred"}}), encoding="utf-8")
    assert index_of(tmp_path).excluded == {"v2_a01_s03_e00": "blurred"}


def test_what_names_no_clip_is_told_by_check_and_prepare(ntu, tmp_path, capsys):
    (ntu / "labkit.json").write_text(json.dumps({"exclude": {"S009C001P001R001A001": "blurred"}}), encoding="utf-8")
    (ntu / "samples_with_missing_skeletons.txt").write_text("S008C001P001R001A001\n", encoding="utf-8")
    (ntu / "boxes").mkdir()
    (ntu / "boxes" / "S007C001P001R001A001.json").write_text('{"object": "ball"}', encoding="utf-8")
    told = [
        f"boxes/S007C001P001R001A001.json: {NO_CLIP}", f"labkit.json, exclude, S009C001P001R001A001: {NO_CLIP}",
        f"samples_with_missing_skeletons.txt: {NO_CLIP}",
    ]  # fmt: skip
    assert list(index_of(ntu).strangers) == told and not index_of(ntu).excluded
    for command in (["check", str(ntu), "--quick"], ["prepare", str(ntu), "--profile", "smoke"]):
        main(["data", *command])
        lines = capsys.readouterr().out.splitlines()
        assert all(line in lines for line in told)


def test_boxes_of_a_clip_in_folders_are_found(tmp_path):
    write_pair(tmp_path, "wave/a", "walk/a")
    (tmp_path / "boxes" / "wave").mkdir(parents=True)
    (tmp_path / "boxes" / "wave" / "a.json").write_text('{"object": "ball"}', encoding="utf-8")
    index = index_of(tmp_path)
    assert index.about(["wave/a"])[0]["object"] == "ball" and "object" not in index.about(["walk/a"])[0]
    assert not index.strangers


# -- what a person wrote ---------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_json_of_any_editor_is_read(tmp_path, encoding):
    (tmp_path / "labkit.json").write_text('{"registered": true, "name": "tête"}\r\n', encoding=encoding)
    settings = read_settings(tmp_path)
    assert settings.registered and settings.name == "tête"


@pytest.mark.parametrize("content", ["{'registered': true}", "[1]", "", "\x00\xff", '{"boxes": 1}'])
def test_of_what_a_person_wrote_nothing_is_to_be_deleted(tmp_path, content):
    readers = {"labkit.json": lambda: read_settings(tmp_path), "b.json": lambda: read_boxes(tmp_path / "b.json")}
    for name, read in readers.items():
        (tmp_path / name).write_text(content, encoding="latin-1")
        with pytest.raises(LabError) as caught:
            read()
        assert name in str(caught.value) and "delete" not in caught.value.fix and "remove" not in caught.value.fix


# -- joints and images of unlike sizes --------------------------------------------------------------


@pytest.mark.parametrize(("rgb", "depth"), [
    ((256, 256), None), ((340, 256), None), ((160, 88), None), ((640, 360), None), (None, (42, 35)), (None, (170, 140)),
    ((240, 136), (64, 52)),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("layout", ["NTU", "table"])
def test_images_of_another_size_than_their_joints_fit_are_excluded(ntu, layout, rgb, depth):
    paths = {"rgb": ntu / "nturgb+d_rgb" / f"{NTU}_rgb.avi", "depth": ntu / "nturgb+d_depth_masked" / NTU}
    if rgb:
        write_video(paths["rgb"], 14, rgb)
    if depth:
        for file in paths["depth"].iterdir():
            write_depth(file, np.full(depth[::-1], 2000))
    root = ntu
    if layout == "table":
        skeleton = f"nturgb+d_skeletons/{NTU}.skeleton"
        row = f"a,wave,{paths['rgb'].relative_to(ntu)},{paths['depth'].relative_to(ntu)},{skeleton}"
        root = ntu / "clips.csv"
        root.write_text(f"clip,label,rgb,depth,skeleton\n{row}\n", encoding="utf-8")
    entry = next(entry for entry in index_of(root).entries if entry.id in (NTU, "a"))
    width, height = depth or rgb
    with pytest.raises(LabError, match=f"resized after their joints were found.* found .* {width}x{height}"):
        read_aligned(entry, ClipConfig(size=16))


def test_the_size_that_joints_were_mapped_to_is_known_to_some_per_cent(tmp_path):
    write_joints(tmp_path / "a.skeleton")
    skeleton = read_skeleton(tmp_path / "a.skeleton")
    assert np.abs(skeleton.mapped_size("depth") / (85, 70) - 1).max() < 0.001
    assert np.abs(skeleton.mapped_size("color") / (320, 180) - 1).max() < 0.05
