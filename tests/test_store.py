"""A store of all five modalities: what is in it, what each costs the others, what is known of a clip."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ntu_files import COLOR, DEPTH, paths_of, write_clip

from labkit.alignment import crop_color, fit_alignment
from labkit.clips import STILL, UNLABELLED
from labkit.config import PROFILES, ClipConfig
from labkit.data import prepare as preparation
from labkit.data.media.video import read_video
from labkit.data.modalities import FLOW_SIDE, flow_map, layout_map, read_boxes, skeleton_map
from labkit.data.prepare import prepare
from labkit.data.sets import NTU60
from labkit.data.skeletons import read_skeleton
from labkit.data.store import ARRAYS, ClipStore
from labkit.errors import LabError

ALL = ("rgb", "depth", "flow", "skeleton", "layout")
CONFIG = ClipConfig(size=16, modalities=ALL)
NAMES = [f"S001C001P{subject:03d}R001A{action:03d}" for subject in (1, 2) for action in (6, 13)]


def write_sidecar(root: Path, name: str, folder: str = "boxes", image: str = "color", **facts) -> Path:
    """Boxes that wander, one of them hidden half of the time; 14 frames."""
    width, height = COLOR if image == "color" else DEPTH
    first = NAMES.index(name) + 1
    person = [[first + t, 2, width // 2 + t, height - 3] for t in range(14)]
    hand = [None if t % 2 else [110 + t, 20, 126 + t, 40] for t in range(14)]
    path = root / folder / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"boxes": {image: {"person": person, "left_hand": hand}}} | facts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("ntu")
    for name in NAMES:
        write_clip(root, name)
        write_sidecar(root, name, object="cup", handedness="left", frames=14)
    return root


@pytest.fixture(scope="module")
def prepared(pristine, tmp_path_factory):
    return prepare(pristine, tmp_path_factory.mktemp("store"), CONFIG, progress=False)


@pytest.fixture
def root(pristine, tmp_path):
    return Path(shutil.copytree(pristine, tmp_path / "root"))


@pytest.fixture
def made(prepared, root, tmp_path):
    return Path(shutil.copytree(prepared.path, tmp_path / "store"))


def test_profiles_name_modalities_that_there_are():
    assert all(set(profile.clips.modalities) <= set(ARRAYS) for profile in PROFILES.values())
    assert PROFILES["paper"].clips.modalities == ("rgb", "depth")
    assert set(PROFILES["mini"].clips.modalities) == set(PROFILES["smoke"].clips.modalities) == set(ARRAYS)


def test_each_map_is_that_of_its_frame_and_crop(pristine, prepared):
    assert prepared.modalities == ALL and not prepared.excluded
    name, frames = NAMES[2], [0, 3, 6, 9, 13]
    paths, row = paths_of(pristine, name), prepared.rows([NAMES[2]])
    skeleton, boxes = read_skeleton(paths["skeleton"]), read_boxes(pristine / "boxes" / f"{name}.json")["color"]
    depth_box, color_box = fit_alignment(*skeleton.joints()).crop_boxes(DEPTH, COLOR)
    film = [crop_color(frame, color_box, FLOW_SIDE) for frame in read_video(paths["rgb"])]
    images = {modality: prepared.images(modality, row)[0] for modality in ALL}
    for place, frame in enumerate(frames):
        drawn = skeleton_map(skeleton.depth_xy[frame], skeleton.state[frame], depth_box, 16)
        assert np.array_equal(images["skeleton"][place], drawn) and drawn.any()
        here = {group: of_frame[frame] for group, of_frame in boxes.items()}
        assert np.array_equal(images["layout"][place], layout_map(here, color_box, 16))
        first = min(frame, 12)  # the last frame has no neighbour after it
        assert np.array_equal(images["flow"][place], flow_map(film[first], film[first + 1], size=16))
    assert images["layout"][0, ..., 1].any() and not images["layout"][1, ..., 1].any()  # seen, then hidden
    assert images["flow"][..., 1].mean() < STILL - 5  # the texture of these videos moves up
    assert np.array_equal(images["rgb"], prepared.rgb(row)[0]) and np.array_equal(
        images["depth"], prepared.depth(row)[0]
    )
    for modality, array in images.items():
        assert array.dtype == ARRAYS[modality] and array.shape == (5, 16, 16, 3)[: 3 if modality == "depth" else 4]


def test_a_store_says_which_modalities_it_lacks(pristine, tmp_path):
    store = prepare(pristine, tmp_path / "s", replace(CONFIG, modalities=("depth", "rgb")), progress=False)
    for ask in (lambda: store.images("flow", [0]), lambda: store.fingerprint_of(("rgb", "flow"))):
        with pytest.raises(LabError, match="modality 'flow', found depth, rgb") as caught:
            ask()
        assert "ClipConfig.modalities" in caught.value.fix
    for wrong in ((), ("rgb", "rgb"), ("rgb", "infrared")):
        with pytest.raises(LabError, match="some of rgb, depth, flow, skeleton, layout"):
            prepare(pristine, tmp_path / "s", replace(CONFIG, modalities=wrong))


def test_a_fingerprint_covers_its_modalities_alone(pristine, prepared, tmp_path):
    two = prepare(pristine, tmp_path / "s", replace(CONFIG, modalities=("rgb", "depth")), progress=False)
    for asked in (("rgb",), ("depth",), ("rgb", "depth"), ("depth", "rgb")):
        assert two.fingerprint_of(asked) == prepared.fingerprint_of(asked)
    assert two.fingerprint == two.fingerprint_of(("depth", "rgb")) != prepared.fingerprint
    assert len({prepared.fingerprint_of((modality,)) for modality in ALL}) == 5


def test_a_fingerprint_keeps_clips_without_labels_apart(made, root, prepared, tmp_path):
    index = NTU60.index(root)
    last = index.ids[-1]
    fewer = prepare(replace(index, entries=index.entries[:-1]), tmp_path / "fewer", CONFIG, progress=False)
    index.entries[-1].label = UNLABELLED
    without = prepare(index, tmp_path / "all", CONFIG, progress=False)
    assert without.fingerprint_of(("rgb",)) == fewer.fingerprint_of(("rgb",)) != prepared.fingerprint_of(("rgb",))
    apart = [store.fingerprint_of(("rgb",), unlabelled=True) for store in (without, fewer)]
    assert len({*apart, without.fingerprint_of(("rgb",))}) == 3
    assert without.labels[without.rows([last])].tolist() == [UNLABELLED]


def test_a_fingerprint_takes_milliseconds(prepared):
    store = ClipStore(prepared.path)
    store.records = [{**store.records[0], "id": f"{number:020d}"} for number in range(1440)]
    store.labels = np.zeros(1440, int)
    start = time.process_time()
    first = store.fingerprint
    assert time.process_time() - start < 0.1  # about 4 ms on an idle machine
    store.records = []
    assert store.fingerprint == first  # remembered


def test_modalities_come_and_go(made, root, prepared, monkeypatch):
    fewer = prepare(root, made, replace(CONFIG, modalities=("rgb", "flow")), progress=False)
    assert fewer.modalities == ("rgb", "flow") and len(list(made.glob("*.npy"))) == 2
    assert np.array_equal(fewer.images("flow", range(4)), prepared.images("flow", range(4)))
    (root / "boxes" / f"{NAMES[0]}.json").unlink()  # no layout is asked for
    assert prepare(root, made, replace(CONFIG, modalities=("flow", "rgb")), progress=False).built == 0
    monkeypatch.setattr(preparation, "MAX_SHARD_CLIPS", 3)
    four = prepare(root, made, replace(CONFIG, modalities=ALL[:4]), progress=False)
    assert four.built == 4 and four.fingerprint == prepared.fingerprint_of(ALL[:4])
    assert len(list(made.glob("*.npy"))) == 2 * 4


def test_boxes_matter_to_the_layout_alone(made, root, prepared, tmp_path):
    four = replace(CONFIG, modalities=ALL[:4])
    without = prepare(root, tmp_path / "four", four, progress=False)
    path = root / "boxes" / f"{NAMES[1]}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["boxes"]["color"]["person"][0] = [100, 50, 200, 150]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert prepare(root, tmp_path / "four", four, progress=False).built == 0
    again = prepare(root, made, CONFIG, progress=False)
    assert again.built == 1 and again.fingerprint_of(ALL[:4]) == without.fingerprint
    assert again.fingerprint_of(("layout",)) != prepared.fingerprint_of(("layout",))


def test_clips_without_boxes_or_with_too_few_are_excluded_with_the_reason(root, tmp_path):
    (root / "boxes" / f"{NAMES[0]}.json").unlink()
    content = {"boxes": {"color": {"person": [[1, 2, 3, 4]] * 13}}}
    (root / "boxes" / f"{NAMES[1]}.json").write_text(json.dumps(content), encoding="utf-8")
    (root / "boxes" / f"{NAMES[2]}.json").write_text("[]", encoding="utf-8")
    store = prepare(root, tmp_path / "s", CONFIG, progress=False)
    assert store.ids == NAMES[3:]
    assert store.excluded == {
        NAMES[0]: f"expected boxes for the layout in boxes/{NAMES[0]}.json, found no such file",
        NAMES[1]: f"{NAMES[1]}.json: expected boxes of 14 frames, found 13",
        NAMES[2]: f'{NAMES[2]}.json: expected boxes of "color" or "depth", found none',
    }


def test_boxes_in_depth_pixels_serve_as_well(root, tmp_path):
    write_sidecar(root, NAMES[0], image="depth")
    store = prepare(root, tmp_path / "s", CONFIG, progress=False)
    boxes = read_boxes(root / "boxes" / f"{NAMES[0]}.json")["depth"]
    depth_box, _ = fit_alignment(*read_skeleton(paths_of(root, NAMES[0])["skeleton"]).joints()).crop_boxes(DEPTH, COLOR)
    here = {group: of_frame[6] for group, of_frame in boxes.items()}
    assert np.array_equal(store.images("layout", [0])[0, 2], layout_map(here, depth_box, 16))


def test_what_is_known_of_a_clip(made, root, prepared, monkeypatch):
    numbers = {"setup": 1, "camera": 1, "subject": 2, "replication": 1, "action": 6}
    known = numbers | {"object": "cup", "handedness": "left"}  # but not the sidecar's other keys
    assert prepared.about([NAMES[2]]) == NTU60.index(root).about([NAMES[2]]) == [known]
    write_sidecar(root, NAMES[2], object="ball", handedness="left")
    monkeypatch.setattr(preparation, "read_aligned", None)  # no pixel is made again
    again = prepare(root, made, CONFIG, progress=False)
    assert again.built == 0 and again.fingerprint == prepared.fingerprint
    assert again.about([NAMES[2], NAMES[0]]) == [known | {"object": "ball"}, known | {"subject": 1}]
    assert ClipStore(made).about([NAMES[2]])[0]["object"] == "ball"
    monkeypatch.setattr(preparation, "sha256_file", None)  # and the next call reads no source
    assert prepare(root, made, CONFIG, progress=False).built == 0
    with pytest.raises(LabError, match="S009"):
        again.about(["S009C001P001R001A001"])


def test_without_a_sidecar_the_name_tells_what_it_can(root, tmp_path):
    shutil.rmtree(root / "boxes")
    store = prepare(root, tmp_path / "s", replace(CONFIG, modalities=("rgb",)), progress=False)
    assert store.about(NAMES[:1]) == [{"setup": 1, "camera": 1, "subject": 1, "replication": 1, "action": 6}]
    write_sidecar(root, NAMES[0], "puppets", object="box")  # the embedded set's own place
    assert NTU60.index(root).about(NAMES[:1])[0]["object"] == "box"
    write_sidecar(root, NAMES[0], "boxes", object="bag")
    assert NTU60.index(root).about(NAMES[:1])[0]["object"] == "bag"


def test_damage_in_any_array_is_found_and_mended(made, root, prepared):
    for modality in ALL:
        (path,) = made.glob(f"*.{modality}.npy")
        data = bytearray(path.read_bytes())
        data[-7] ^= 4
        path.write_bytes(data)
        store = ClipStore(made)
        store.images("rgb" if modality != "rgb" else "depth", [0])  # the others are not concerned
        with pytest.raises(LabError) as caught:
            store.images(modality, [0])
        assert caught.value.path == str(path)
        assert prepare(root, made, CONFIG, progress=False).fingerprint == prepared.fingerprint
