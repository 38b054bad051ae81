"""The embedded set: NTU's layout, true geometry, determinism, resumption, and what each pair is for."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labkit.alignment import fit_alignment
from labkit.config import PuppetNuisance, PuppetsConfig
from labkit.data.media.video import read_video
from labkit.data.skeletons import read_skeleton
from labkit.errors import LabError
from labkit.files import read_json, sha256_file
from labkit.puppets.actions import ACTIONS, BY_NUMBER, OBJECT_COLORS, SHAPES, perform
from labkit.puppets.body import FOREGROUND, JOINT, LABEL, generator, person
from labkit.puppets.clips import cast_object, clip_files, make_performance
from labkit.puppets.make import check_puppets, make_puppets, read_record
from labkit.puppets.rendering import Camera, Picture
from labkit.puppets.sensors import backdrop, depth_frames, sensors

CLEAN = replace(
    PuppetNuisance(), occluders=0, clutter=0, light=0, exposure=0, image_noise=0, depth_noise=0, depth_step=0,
    dropout=0, hand_dropout=0, flying=0, joint_jitter=0,
)  # fmt: skip
TINY = PuppetsConfig(subjects=(1, 3), cameras=(1,), scale=12)
NAME = re.compile(r"S001C00[123]P0(0[1-9]|[123]\d|40)R001A0\d\d")


def read_depth(root: Path, name: str) -> np.ndarray:
    return np.stack([np.asarray(Image.open(p)) for p in sorted(clip_files(root, name)["depth"].iterdir())])


def all_bytes(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return make_puppets(tmp_path_factory.mktemp("tiny"), TINY, workers=1, progress=False)


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    """No nuisance at all, from the side and the front, at the default size."""
    config = PuppetsConfig(subjects=(2,), cameras=(1, 2), nuisance=CLEAN)
    return make_puppets(tmp_path_factory.mktemp("clean"), config, workers=1, progress=False)


# --------------------------------------------------------------------------- files


def test_every_clip_has_its_three_modalities_under_official_names(tiny):
    table = pd.read_csv(tiny / "puppets.csv")
    assert len(table) == 24 and table["name"].str.fullmatch(NAME).all()
    depth, color = sensors(12)
    for name, frames in zip(table["name"], table["frames"], strict=True):
        images = sorted(path.name for path in (tiny / "nturgb+d_depth_masked" / name).iterdir())
        assert images == [f"MDepth-{number:08d}.png" for number in range(1, frames + 1)]
        video = read_video(tiny / "nturgb+d_rgb" / f"{name}_rgb.avi")
        assert video.shape == (frames, color.height, color.width, 3)
        assert read_depth(tiny, name).shape == (frames, depth.height, depth.width)
        skeleton = read_skeleton(tiny / "nturgb+d_skeletons" / f"{name}.skeleton")
        assert skeleton.state.shape == (frames, 1, 25)
        assert set(np.unique(skeleton.state)) <= {1, 2} and 18 <= frames <= 24


def test_the_set_is_described_for_machines(tiny):
    """Croissant: every column of the table with its type, its hash, the patterns of the files, a licence."""
    about, table = read_json(tiny / "croissant.json"), pd.read_csv(tiny / "puppets.csv")
    file, *sets = about["distribution"]
    assert file["sha256"] == sha256_file(tiny / file["contentUrl"]) and about["license"].endswith("MIT")
    found = {each["name"]: len(list(tiny.glob(each["includes"]))) for each in sets}
    assert found["rgb"] == found["skeletons"] == found["records"] == len(table) and found["depth"] > len(table)
    (rows,) = about["recordSet"]
    types = {field["source"]["extract"]["column"]: field["dataType"] for field in rows["field"]}
    kinds = {"sc:Integer": "i", "sc:Float": "f"}
    assert list(types) == list(table)
    assert [name for name, kind in types.items() if table[name].dtype.kind != kinds.get(kind, "O")] == []


@pytest.mark.parametrize("name", ["clips.csv", "nturgb+d_rgb/S001C001P001R001A001_rgb.avi"])
def test_a_folder_that_holds_other_data_is_left_alone(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".DS_Store").touch()
    before = all_bytes(tmp_path)
    with pytest.raises(LabError, match=f"expected a new or an empty folder.*{name[:7]}"):
        make_puppets(tmp_path, TINY, workers=1, progress=False)
    assert all_bytes(tmp_path) == before


def test_video_has_a_key_frame_every_twelve_frames(tiny):
    for path in sorted((tiny / "nturgb+d_rgb").iterdir())[:4]:
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.name == "mpeg4"
            keys = [p.is_keyframe for p in container.demux(video=0) if p.size]
        assert keys == [number % 12 == 0 for number in range(len(keys))]


def test_depth_is_sixteen_bit_and_zero_off_the_person(tiny):
    for name in pd.read_csv(tiny / "puppets.csv")["name"]:
        frames = read_depth(tiny, name)
        assert frames.dtype == np.uint16
        seen = frames[frames > 0]
        assert seen.min() > 1000 and seen.max() < 5500
        assert 0.01 < (frames > 0).mean() < 0.3
        assert not frames[:, :, [0, -1]].any()  # a tall person close by may touch the upper and lower border


def test_full_scale_writes_the_sizes_of_the_real_sensor(tmp_path):
    assert make_performance((tmp_path, replace(TINY, scale=1), 45, 3, (1,))) == 1
    name = "S001C001P003R001A045"
    assert read_video(clip_files(tmp_path, name)["rgb"], [0, 5]).shape == (2, 1080, 1920, 3)
    assert read_depth(tmp_path, name).shape[1:] == (424, 512)
    skeleton = read_skeleton(clip_files(tmp_path, name)["skeleton"])
    assert 200 < np.median(skeleton.depth_xy[..., 0]) < 320
    assert 800 < np.median(skeleton.color_xy[..., 0]) < 1200


# --------------------------------------------------------------------------- geometry


def test_joints_lie_on_the_person_and_just_behind_its_surface(clean):
    behind = {name: [] for name in ("head", "left knee", "right knee", "left elbow")}
    for name in pd.read_csv(clean / "puppets.csv")["name"]:
        frames, skeleton = read_depth(clean, name) / 1000, read_skeleton(clip_files(clean, name)["skeleton"])
        x, y = np.floor(skeleton.depth_xy[:, 0]).astype(int).transpose(2, 0, 1)
        surface = frames[np.arange(len(frames))[:, None], y, x]
        tracked = skeleton.state[:, 0] == 2
        assert tracked.mean() > 0.5
        assert (surface[tracked] > 0).all()
        gap = skeleton.xyz[:, 0, :, 2] - surface
        assert gap[tracked].max() < 0.26
        assert np.quantile(gap[tracked], 0.05) > -0.06  # beside a finger the pixel may see what is behind
        for joint, found in behind.items():
            found += gap[:, JOINT[joint]][tracked[:, JOINT[joint]]].tolist()
    size = person(0, 2, 1.0).height * person(0, 2, 1.0).build / 1.7
    for joint, radius in {"head": 0.08, "left knee": 0.061, "right knee": 0.061, "left elbow": 0.045}.items():
        assert np.median(behind[joint]) == pytest.approx(radius * size, abs=0.02), joint


def test_the_recorded_cameras_give_the_joint_pixels_of_both_cameras(clean):
    for name in pd.read_csv(clean / "puppets.csv")["name"][:6]:
        skeleton = read_skeleton(clip_files(clean, name)["skeleton"])
        cameras = read_record(clean, name)["geometry"]
        depth_xy, color_xy = (Camera(**cameras[image]).project(skeleton.xyz) for image in ("depth", "color"))
        assert depth_xy == pytest.approx(skeleton.depth_xy, abs=0.01)
        assert color_xy == pytest.approx(skeleton.color_xy, abs=0.02)


def test_boxes_frame_the_same_things_in_both_cameras(clean):
    for name in pd.read_csv(clean / "puppets.csv")["name"]:
        record, skeleton = read_record(clean, name), read_skeleton(clip_files(clean, name)["skeleton"])
        seen = 0
        for camera, joints in (("depth", skeleton.depth_xy), ("color", skeleton.color_xy)):
            for side in ("left", "right"):
                hands = joints[:, 0, JOINT[f"{side} hand"]]
                for box, hand in zip(record["boxes"][camera][f"{side}_hand"], hands, strict=True):
                    if box is not None and (box[2] - box[0]) * (box[3] - box[1]) > 6:
                        # a thing in the hand may hide all but its rim: one hand's size, 0.1 m at 2 m, is 9 px
                        low, high = np.array(box[:2]) - 9, np.array(box[2:]) + 9
                        assert (low <= hand).all() and (hand <= high).all()
                        seen += 1
        assert seen > 10
        person_box = np.array(record["boxes"]["depth"]["person"])
        rows = (read_depth(clean, name) > 0).any(2)
        assert (rows.argmax(1) <= person_box[:, 1]).all() and (person_box[:, 1] >= 0).all()


def test_the_papers_alignment_works_on_the_set_and_its_error_can_be_measured(tiny):
    depth, color = sensors(12)
    for name in pd.read_csv(tiny / "puppets.csv")["name"][:8]:
        skeleton = read_skeleton(clip_files(tiny, name)["skeleton"])
        alignment = fit_alignment(*skeleton.joints(), "ratio")
        assert alignment.residual_px < 1
        expected = (color.fx / depth.fx + color.fy / depth.fy) / 2
        assert np.mean(alignment.ratio) == pytest.approx(expected, rel=0.04)


# --------------------------------------------------------------------------- determinism and resumption


def test_the_number_of_workers_changes_no_byte(tiny, tmp_path):
    assert all_bytes(make_puppets(tmp_path, TINY, workers=2, progress=False)) == all_bytes(tiny)


def test_a_complete_set_is_left_alone(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    make_puppets(tiny, TINY, workers=1, progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}


def test_damaged_and_half_written_clips_are_made_again_and_only_those(tmp_path):
    config = replace(TINY, subjects=(1,))
    make_puppets(tmp_path, config, workers=1, progress=False)
    before, names = all_bytes(tmp_path), sorted(path.stem for path in (tmp_path / "puppets").iterdir())
    times = {name: clip_files(tmp_path, name)["rgb"].stat().st_mtime_ns for name in names}
    clip_files(tmp_path, names[0])["record"].unlink()
    video = clip_files(tmp_path, names[1])["rgb"]
    video.write_bytes(video.read_bytes()[:-100])
    (clip_files(tmp_path, names[2])["depth"] / "MDepth-00000004.png").unlink()
    clip_files(tmp_path, names[3])["record"].write_text("{", encoding="utf-8")
    clip_files(tmp_path, names[4])["skeleton"].unlink()
    left = tmp_path / "nturgb+d_depth_masked" / f".{names[5]}.99.tmp"
    left.mkdir()
    (left / "MDepth-00000001.png").write_bytes(b"half")
    make_puppets(tmp_path, config, workers=1, progress=False)
    assert all_bytes(tmp_path) == before
    again = {name for name in names if clip_files(tmp_path, name)["rgb"].stat().st_mtime_ns != times[name]}
    assert again == set(names[:5])


def test_a_killed_run_is_completed_to_the_same_bytes(tiny, tmp_path):
    code = (
        "import sys; from labkit.puppets.make import make_puppets; from labkit.config import PuppetsConfig;"
        "make_puppets(sys.argv[1], PuppetsConfig(subjects=(1, 3), cameras=(1,), scale=12), workers=1)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "puppets").glob("S*.json"))) < 4:
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert not read_json(tmp_path / "puppets.json")["complete"]
    make_puppets(tmp_path, TINY, workers=1, progress=False)
    assert all_bytes(tmp_path) == all_bytes(tiny)


def test_the_index_hash_covers_every_byte_and_follows_the_config(tiny, tmp_path):
    assert check_puppets(tiny) == read_json(tiny / "puppets.json")["index_sha256"]
    config = replace(TINY, subjects=(1,))
    hashes = set()
    for number, change in enumerate(({}, {"seed": 1}, {"subjects": (2,)}, {"nuisance": PuppetNuisance(clutter=0)})):
        root = make_puppets(tmp_path / str(number), replace(config, **change), workers=1, progress=False)
        hashes.add(read_json(root / "puppets.json")["index_sha256"])
    assert len(hashes) == 4
    image = next((tmp_path / "0" / "nturgb+d_depth_masked").glob("*/*3.png"))
    data = bytearray(image.read_bytes())
    data[-20] ^= 1
    image.write_bytes(data)
    with pytest.raises(LabError, match=image.parent.name):
        check_puppets(tmp_path / "0")


@pytest.mark.parametrize("change", [
    lambda data: data.replace(b'"sha256"', b'"shb256"'),  # one flipped bit may leave JSON that can be read
    lambda data: data.replace(b'"recipe"', b'"recipd"'),
    lambda data: b"[" + data + b"]",
])  # fmt: skip
def test_a_record_of_another_kind_is_told_and_made_again(tiny, tmp_path, change):
    shutil.copytree(tiny, tmp_path / "set")
    path = sorted((tmp_path / "set" / "puppets").glob("*.json"))[0]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(LabError, match=rf"{path.name}: expected a whole record"):
        check_puppets(tmp_path / "set")
    (tmp_path / "set" / "puppets.csv").unlink()  # so that the set is not taken as complete
    make_puppets(tmp_path / "set", TINY, workers=1, progress=False)
    assert all_bytes(tmp_path / "set") == all_bytes(tiny)


# --------------------------------------------------------------------------- refusals


def test_a_folder_holds_one_set(tiny):
    with pytest.raises(LabError, match=r"puppets\.json.*config"):
        make_puppets(tiny, replace(TINY, seed=1), workers=1, progress=False)


@pytest.mark.parametrize("change", [
    {"subjects": (107,)}, {"subjects": (1, 1)}, {"subjects": (1, 3), "unlabelled": (3,)}, {"cameras": ()}, {"scale": 0},
])  # fmt: skip
def test_an_impossible_config_is_refused_before_anything_is_written(tmp_path, change):
    with pytest.raises(LabError, match=f"PuppetsConfig.{next(iter(change))}"):
        make_puppets(tmp_path / "set", replace(TINY, **change), progress=False)
    assert not (tmp_path / "set").exists()


def test_a_root_that_cannot_be_written_is_one_lab_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LabError, match="file"):
        make_puppets(tmp_path / "file" / "set", TINY, workers=1, progress=False)
    make_puppets(tmp_path / "set", replace(TINY, subjects=(1,)), workers=1, progress=False)
    name = "S001C001P001R001A001"
    clip_files(tmp_path / "set", name)["record"].unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labkit.files.os.fsync", full)
    with pytest.raises(LabError, match=r"No space left.*Fix"):
        make_puppets(tmp_path / "set", replace(TINY, subjects=(1,)), workers=1, progress=False)
    assert not list((tmp_path / "set").glob("*/.*.tmp"))


# --------------------------------------------------------------------------- what the actions are for


def show(number: int, subject: int = 7, shape: str = "box", key: str = "same", **knobs):
    nuisance = replace(PuppetNuisance(), **knobs)
    return perform(BY_NUMBER[number], person(0, subject, nuisance.style), nuisance, shape, 0, key)


def test_partners_name_each_other_and_share_a_cue():
    for action in ACTIONS:
        partner = BY_NUMBER[action.partner]
        assert partner.partner == action.number and partner.cue == action.cue
    assert {action.cue for action in ACTIONS} == {"colour", "depth", "order"}


@pytest.mark.parametrize("pair", [(1, 2), (11, 29)])
def test_colour_pairs_move_alike_and_differ_in_the_object_alone(pair):
    first, second = (show(number) for number in pair)
    assert (first.joints == second.joints).all()
    for one, other in zip(first.solids, second.solids, strict=True):
        assert one.label == other.label and (one.corners()[0] == other.corners()[0]).all()
    assert {BY_NUMBER[number].object_color for number in pair} in ({"cold", "warm"}, {"light", "dark"})


@pytest.mark.parametrize("pair", [(8, 9), (20, 21)])
def test_order_pairs_are_each_other_in_reverse(pair):
    first, second = (show(number) for number in pair)
    assert (first.joints == second.joints[::-1]).all() and (first.joints != second.joints).any()
    for one, other in zip(first.solids, second.solids, strict=True):
        assert (one.corners()[0] == other.corners()[0][::-1]).all()


@pytest.mark.parametrize("pair, part", [((31, 45), "{} hand"), ((24, 26), "{} foot")])
def test_depth_pairs_differ_most_along_the_axis(pair, part):
    """At the height of the action the limbs are farthest apart forward, measured in their own spread."""
    places = {}
    for number in pair:
        rows = []
        for subject in range(1, 21):
            side, sign = ("left", 1) if person(0, subject, 1.0).left_handed else ("right", -1)
            joints = show(number, subject, key=subject).joints
            rows.append(joints[len(joints) // 2, JOINT[part.format(side)]] * [sign, 1, 1])
        places[number] = np.array(rows)
    first, second = (places[number] for number in pair)
    spread = np.sqrt((first.var(0) + second.var(0)) / 2)
    separation = abs(first.mean(0) - second.mean(0)) / spread
    assert separation[2] > 3 and separation[2] > 1.5 * separation[:2].max()


def test_a_smaller_axis_amplitude_brings_the_depth_pair_together():
    gaps = []
    for amplitude in (1.0, 0.5, 0.0):
        first, second = (show(number, 3, axis_amplitude=amplitude).joints for number in (31, 45))
        gaps.append(abs(first[..., 2].max() - second[..., 2].max()))
    assert gaps[0] > gaps[1] > gaps[2]


def test_left_handed_people_mirror_the_action():
    left = next(s for s in range(1, 41) if person(0, s, 1.0).left_handed)
    right = next(s for s in range(1, 41) if not person(0, s, 1.0).left_handed)
    for subject, acting, other in ((left, "left", "right"), (right, "right", "left")):
        joints = show(31, subject).joints
        travel = {side: np.ptp(joints[:, JOINT[f"{side} hand"], 1]) for side in (acting, other)}
        assert travel[acting] > 2 * travel[other]
        assert (joints[:, JOINT["left shoulder"], 0] > joints[:, JOINT["right shoulder"], 0]).all()


def test_bones_keep_their_length_while_people_move():
    bones = [("left shoulder", "left elbow"), ("right elbow", "right wrist"), ("left hip", "left knee")]
    for action in ACTIONS:
        joints = show(action.number).joints
        for start, end in bones:
            length = np.linalg.norm(joints[:, JOINT[end]] - joints[:, JOINT[start]], axis=-1)
            assert np.ptp(length) < 1e-6 and 0.2 < length[0] < 0.5


def test_objects_are_free_of_the_action_and_colours_follow_its_rule():
    config, shapes, colors = PuppetsConfig(), set(), {}
    for action in ACTIONS:
        for subject in config.subjects:
            shape, kind, color = cast_object(config, action, subject)
            shapes.add((action.number, shape))
            colors.setdefault(action.number, set()).add(kind)
            assert (color >= 0).all() and (color <= 1).all()
            if kind == "cold":
                assert color[2] > color[0]
            if kind == "warm":
                assert color[0] > color[2]
    assert len(shapes) == len(ACTIONS) * len(SHAPES)
    for action in ACTIONS:
        expected = set(OBJECT_COLORS) if action.object_color == "any" else {action.object_color}
        assert colors[action.number] == expected


def test_without_the_colour_cue_all_objects_are_grey_and_halfway_they_are_between():
    configs = [PuppetsConfig(nuisance=PuppetNuisance(color_cue=cue)) for cue in (1, 0.5, 0)]
    full, half, none = (cast_object(config, BY_NUMBER[2], 5)[2] for config in configs)
    assert (none == 0.5).all() and np.ptp(full) > 0.3
    assert half == pytest.approx((full + none) / 2)


def test_the_colour_that_decides_can_be_seen_in_the_video(tmp_path):
    config = PuppetsConfig(nuisance=replace(PuppetNuisance(), occluders=0))
    warmth = {1: [], 2: []}
    for subject in (2, 5, 9):
        for number, found in warmth.items():
            make_performance((tmp_path, config, number, subject, (1,)))
            name = f"S001C001P{subject:03d}R001A{number:03d}"
            box = read_record(tmp_path, name)["boxes"]["color"]["object"][0]
            x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
            pixel = read_video(clip_files(tmp_path, name)["rgb"], [0])[0, y, x].astype(int)
            found.append(pixel[0] - pixel[2])
    assert max(warmth[1]) < 0 < min(warmth[2])


# --------------------------------------------------------------------------- nuisance


def still(z: float = 2.0) -> Picture:
    """A person-sized rectangle with a hand in it and a chair beside it."""
    label = np.zeros((20, 60, 60), np.uint8)
    label[:, 10:50, 20:40], label[:, 30:36, 20:26] = LABEL["shirt"], LABEL["left hand"]
    label[:, 40:50, 45:55], label[:, 52:58, 20:40] = LABEL["chair"], LABEL["occluder"]
    return Picture(np.where(label > 0, np.float32(z), np.inf), label, (label > 0).astype(np.float32))


def test_masked_depth_without_nuisance_is_the_truth_and_furniture_is_masked():
    picture = still()
    frames = depth_frames(picture, CLEAN, generator(0, "test"))
    assert ((frames > 0) == ((picture.label > 0) & (picture.label <= FOREGROUND))).all()
    assert set(np.unique(frames)) == {0, 2000}


def test_depth_noise_grows_with_the_square_of_depth():
    spread = []
    for z in (1.5, 3.0):
        frames = depth_frames(still(z), replace(CLEAN, depth_noise=2.0), generator(0, "test"))
        spread.append(frames[frames > 0].std())
    assert spread == pytest.approx([2.0 * 1.5**2, 2.0 * 3.0**2], rel=0.05)


def test_depth_steps_grow_with_the_square_of_depth():
    frames = depth_frames(still(3.0), replace(CLEAN, depth_noise=5, depth_step=2.0), generator(0, "test"))
    levels = np.unique(frames[frames > 0])
    assert np.median(np.diff(levels)) == pytest.approx(2.0 * 9, abs=1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_dropout_is_the_share_of_the_person_that_is_lost_in_patches(share):
    picture = still()
    person_mask = (picture.label > 0) & (picture.label <= FOREGROUND)
    lost = person_mask & (depth_frames(picture, replace(CLEAN, dropout=share), generator(0, "t")) == 0)
    assert lost.sum() / person_mask.sum() == pytest.approx(share, abs=0.01)
    if share:  # patches: the neighbour of a lost pixel is mostly lost too
        right = np.roll(lost, 1, axis=2) & person_mask
        assert (right & lost).sum() / max(right.sum(), 1) > 0.6


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_hand_dropout_takes_hands_for_a_while_and_nothing_else(chance):
    picture, knobs = still(), replace(CLEAN, hand_dropout=chance)
    clips = [depth_frames(picture, knobs, generator(0, n)) for n in range(40)]
    assert np.mean([clip[:, 33, 23] == 0 for clip in clips]) == pytest.approx(chance, abs=0.12)
    frames = depth_frames(picture, replace(CLEAN, hand_dropout=1.0), generator(0, "t"))
    assert (frames[picture.label == LABEL["shirt"]] > 0).all()


def test_flying_pixels_are_edges_that_go_back():
    frames = depth_frames(still(), replace(CLEAN, flying=0.5), generator(0, "test"))
    inner = frames[:, 12:48, 22:38]
    assert (inner == 2000).all()
    edge = frames[:, 10, 20:40]
    assert (edge > 2000).mean() == pytest.approx(0.5, abs=0.1) and edge.max() <= 2500


def test_contrast_and_clutter_shape_the_backdrop():
    who, camera = person(0, 4, 1.0), sensors(12)[1]

    def wall(**knobs) -> np.ndarray:
        return backdrop(camera, who, 0.8, replace(CLEAN, **knobs), generator(0, "wall"))

    assert wall(contrast=0)[0, 0] == pytest.approx(255 * np.array(who.shirt), abs=1)
    assert abs(wall(contrast=1)[0, 0] - 255 * np.array(who.shirt)).max() > 10
    plain, some, much = (len(np.unique(wall(clutter=c).reshape(-1, 3), axis=0)) for c in (0, 0.3, 1))
    assert plain == 2 < some < much


def test_records_say_what_the_name_cannot(tiny):
    record = read_record(tiny, "S001C001P001R001A001")
    assert record["object"] in SHAPES and record["object_color"] == "cold"
    assert record["handedness"] in ("left", "right") and record["geometry"]["baseline"] == 0.052
    assert set(record["boxes"]["color"]) == {"person", "left_hand", "right_hand", "object"}
    assert len(json.dumps(record)) < 16_000
    with pytest.raises(LabError, match="A099"):
        read_record(tiny, "S001C001P001R001A099")
