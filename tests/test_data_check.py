"""The known faults of NTU RGB+D, one clip each, and that every clip found is used, remarked on or excluded."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ntu_files import paths_of, write_depth, write_video
from PIL import Image
from replicas import write_pair, write_ucla, write_utd

from labkit.cli import main as cli
from labkit.config import ClipConfig, PuppetsConfig
from labkit.data import splits
from labkit.data.check import check_clips
from labkit.data.prepare import prepare
from labkit.data.skeletons import Skeleton, read_skeleton, write_skeleton
from labkit.data.splits import find_dataset
from labkit.puppets.make import make_puppets
from labkit.puppets.opening import with_possible
from labkit.tools.settings import get_profile

CONFIG = ClipConfig(size=16)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """48 clips of two people before two cameras, as the puppets' renderer made them."""
    root = tmp_path_factory.mktemp("puppets") / "data"
    config = PuppetsConfig(subjects=(1, 3), cameras=(1, 2), scale=12)
    make_puppets(root, config, workers=1, progress=False)
    return root


@pytest.fixture
def root(embedded, tmp_path):
    """A copy of the embedded set to damage, with its records."""
    return Path(shutil.copytree(embedded, tmp_path / "ntu"))


# --------------------------------------------------------------------------- faults


def edit(root: Path, clip: str, change: Callable[[Skeleton], Skeleton]) -> None:
    path = paths_of(root, clip)["skeleton"]
    write_skeleton(path, change(read_skeleton(path)))


def with_body(skeleton: Skeleton, frames: slice = slice(None), *, still: bool = False, aside: float = 0.7) -> Skeleton:
    """A second body in the next slot: the first one's twin a step aside, moving or frozen."""

    def twin(array: np.ndarray, empty: float) -> np.ndarray:
        added = np.full_like(array[:, :1], empty)
        added[frames] = array[:1, :1] if still else array[frames, :1]
        return np.concatenate([array, added], axis=1)

    def parts(body_id: int) -> dict[str, np.ndarray]:
        real = ("depth_xy", "color_xy", "xyz", "orientation")
        added = {name: twin(getattr(skeleton, name), np.nan) for name in real}
        ids = twin(skeleton.body_id, -1)
        ids[:, -1][ids[:, -1] >= 0] = body_id
        return added | {"state": twin(skeleton.state, 0), "body_id": ids}

    added = parts(100 + skeleton.body_id.shape[1])
    added["xyz"][:, -1, :, 0] += aside
    return replace(skeleton, **added)


def without_frames(skeleton: Skeleton, frames: slice) -> Skeleton:
    arrays = {n: getattr(skeleton, n).copy() for n in ("depth_xy", "color_xy", "xyz", "orientation")}
    for array in arrays.values():
        array[frames] = np.nan
    state, body_id = skeleton.state.copy(), skeleton.body_id.copy()
    state[frames], body_id[frames] = 0, -1
    return replace(skeleton, **arrays, state=state, body_id=body_id)


def zeroed(skeleton: Skeleton, joints: slice) -> Skeleton:
    arrays = {name: getattr(skeleton, name).copy() for name in ("depth_xy", "color_xy", "xyz")}
    for array in arrays.values():
        array[:, :, joints] = 0
    return replace(skeleton, **arrays)


def not_numbers(root: Path, clip: str) -> None:
    path = paths_of(root, clip)["skeleton"]
    lines = path.read_text(encoding="utf-8").split("\n")
    lines[4] = " ".join(["NaN"] * 7 + lines[4].split()[7:])
    path.write_text("\n".join(lines), encoding="utf-8")


def crlf(root: Path, clip: str) -> None:
    path = paths_of(root, clip)["skeleton"]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def listed(root: Path, clip: str) -> None:
    text = f"302 samples have missing or incomplete skeletons.\r\n\r\n{clip}\r\nS001C003P001R001A013\r\n"
    (root / "nturgb+d_skeletons" / "NTU_RGBD_samples_with_missing_skeletons.txt").write_text(text, encoding="utf-8")


def renamed(root: Path, clip: str, name: str) -> None:
    for old, new in zip(paths_of(root, clip).values(), paths_of(root, name).values(), strict=True):
        old.rename(new)


def depth_file(root: Path, clip: str, number: int) -> Path:
    return paths_of(root, clip)["depth"] / f"MDepth-{number:08d}.png"


def pictures_as_depth(root: Path, clip: str) -> None:
    for file in paths_of(root, clip)["depth"].iterdir():
        Image.new("RGB", (42, 35), (9, 9, 9)).save(file)


def eight_bits(root: Path, clip: str) -> None:
    Image.new("L", (42, 35)).save(depth_file(root, clip, 1))


def depth_as_rgb(root: Path, clip: str) -> None:
    shutil.copyfile(depth_file(root, clip, 1), paths_of(root, clip)["rgb"])


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def as_pipe(path: Path) -> None:
    """Whoever opens it waits for a writer that never comes."""
    path.unlink()
    os.mkfifo(path)


def short(root: Path, clip: str) -> None:
    write_video(paths_of(root, clip)["rgb"], 3, (160, 90))
    for file in sorted(paths_of(root, clip)["depth"].iterdir())[3:]:
        file.unlink()


def resized(root: Path, clip: str) -> None:
    write_video(paths_of(root, clip)["rgb"], len(list(paths_of(root, clip)["depth"].iterdir())), (256, 256))


def no_depth(root: Path, clip: str) -> None:
    for file in paths_of(root, clip)["depth"].iterdir():
        write_depth(file, np.zeros((35, 42)))


def frame_more(root: Path, clip: str) -> None:
    files = sorted(paths_of(root, clip)["depth"].iterdir())
    shutil.copyfile(files[-1], depth_file(root, clip, len(files) + 1))


def swapped(root: Path, clip: str, other: str) -> None:
    mine, theirs = paths_of(root, clip)["depth"], paths_of(root, other)["depth"]
    mine.rename(root / "aside")
    theirs.rename(mine)
    (root / "aside").rename(theirs)


def twice(root: Path, clip: str) -> None:
    folder = root / "nturgb+d_rgb_s001" / "nturgb+d_rgb"
    folder.mkdir(parents=True)
    shutil.copyfile(paths_of(root, clip)["rgb"], folder / f"{clip}_rgb.avi")


A, B = "S001C001P001R001A", "S001C001P003R001A"
C, D = "S001C002P001R001A", "S001C002P003R001A"
SETUP_4 = {f"S004C001P001R001A{n:03d}": clip for n, clip in enumerate(  # a whole archive, made of these clips
    (C + "026", C + "029", C + "031", C + "045", D + "001"), start=1)}  # fmt: skip
FAULTS: dict[str, tuple[Callable[[Path, str], object], str, str]] = {  # clip: what is done to it, verdict, kind
    A + "001": (listed, "excluded", "on the missing list"),
    A + "002": (lambda r, c: edit(r, c, lambda s: without_frames(s, slice(0, 10))), "remark", "frames without a body"),
    A + "008": (lambda r, c: edit(r, c, lambda s: with_body(s, slice(0, 9))), "remark", "body count changes"),
    A + "009": (lambda r, c: edit(r, c, lambda s: with_body(with_body(s))), "remark", "more than two bodies"),
    A + "011": (not_numbers, "remark", "NaN joints"),
    A + "020": (lambda r, c: edit(r, c, lambda s: zeroed(s, slice(3, 6))), "remark", "all-zero joints"),
    A + "021": (lambda r, c: edit(r, c, lambda s: zeroed(s, slice(None))), "remark", "too few joints"),
    A + "024": (lambda r, c: edit(r, c, lambda s: with_body(s, still=True)), "remark", "phantom body"),
    A + "050": (lambda r, c: renamed(r, A + "026", c), "remark", "second person missing"),
    A + "051": (
        lambda r, c: (renamed(r, A + "029", c), edit(r, c, lambda s: with_body(s, still=True))),
        "remark", "second person stands still",
    ),
    A + "052": (lambda r, c: (renamed(r, A + "031", c), edit(r, c, with_body)), "used", ""),
    A + "045": (lambda r, c: edit(r, c, with_body), "remark", "second person"),
    B + "001": (pictures_as_depth, "excluded", "wrong content"),
    B + "002": (eight_bits, "excluded", "wrong content"),
    B + "008": (depth_as_rgb, "excluded", "wrong content"),
    B + "009": (short, "remark", "short"),
    B + "011": (frame_more, "remark", "frame counts differ"),
    B + "020": (crlf, "used", ""),
    B + "021": (lambda r, c: depth_file(r, c, 5).unlink(), "excluded", "gap in the frames"),
    B + "024": (lambda r, c: paths_of(r, c)["rgb"].unlink(), "excluded", "missing"),
    B + "026": (lambda r, c: paths_of(r, c)["rgb"].write_bytes(b""), "excluded", "empty"),
    B + "029": (lambda r, c: cut(paths_of(r, c)["rgb"]), "excluded", "damaged"),
    B + "031": (lambda r, c: cut(depth_file(r, c, 1)), "excluded", "damaged"),
    B + "045": (lambda r, c: cut(depth_file(r, c, 2)), "remark", "damaged"),
    C + "001": (lambda r, c: cut(paths_of(r, c)["skeleton"], 0.7), "excluded", "damaged"),
    C + "002": (
        lambda r, c: shutil.copyfile(paths_of(r, A + "002")["rgb"], paths_of(r, c)["rgb"]), "remark", "equal content",
    ),
    C + "008": (no_depth, "remark", "empty depth"),
    C + "009": (twice, "excluded", "found twice"),
    C + "011": (lambda r, c: swapped(r, c, D + "024"), "remark", "joints and depth disagree"),
    D + "024": (lambda r, c: None, "remark", "frame counts differ"),  # swapped just now
    D + "020": (resized, "excluded", "resized after their joints were found"),
    C + "020": (lambda r, c: paths_of(r, c)["skeleton"].write_bytes(b"0\n"), "remark", "too few joints"),
    C + "021": (lambda r, c: shutil.rmtree(paths_of(r, c)["depth"]), "excluded", "missing"),
    D + "008": (lambda r, c: as_pipe(paths_of(r, c)["rgb"]), "excluded", "not a file"),
    D + "009": (lambda r, c: as_pipe(depth_file(r, c, 1)), "excluded", "not a file"),
    D + "011": (lambda r, c: as_pipe(paths_of(r, c)["skeleton"]), "excluded", "not a file"),
    C + "024": (lambda r, c: paths_of(r, c)["skeleton"].write_bytes(b"\xff\xfe1\x00"), "excluded", "damaged"),
    **{
        clip: (lambda r, c: (renamed(r, SETUP_4[c], c), pictures_as_depth(r, c)), "excluded", "wrong content")
        for clip in SETUP_4
    },
}  # fmt: skip


@pytest.fixture
def faulty(root):
    """All faults at once, in a root as NTU's archives make it: without the embedded set's records."""
    shutil.rmtree(root / "puppets")
    (root / "puppets.json").unlink()
    for clip, (damage, _, _) in FAULTS.items():
        damage(root, clip)
    archive = root / "nturgb+d_depth_masked_s004" / "nturgb+d_depth_masked"
    archive.mkdir(parents=True)
    for clip in SETUP_4:
        paths_of(root, clip)["depth"].rename(archive / clip)
    return root


def test_every_fault_is_classed_and_every_clip_ends_somewhere(faulty, tmp_path):
    data = find_dataset(faulty)
    found = check_clips(data, faulty, CONFIG, workers=1, progress=False)
    kinds = {clip: {(f.verdict, f.kind) for f in found.findings if f.clip == clip} for clip in found.verdicts}
    wrong = {
        clip: (verdict, kind, found.verdicts[clip], kinds[clip])
        for clip, (_, verdict, kind) in FAULTS.items()
        if found.verdicts[clip] != verdict or (verdict, kind) not in kinds[clip]
    }
    assert not wrong and len(FAULTS) >= 16
    untouched = set(found.verdicts) - set(FAULTS)
    assert {found.verdicts[clip] for clip in untouched} == {"used"} and len(untouched) == 6
    assert sum(map(found.count, ("used", "remark", "excluded"))) == len(found.verdicts) == 48
    assert found.whole_folders() == ["nturgb+d_depth_masked_s004: wrong content in all of its 5 clips"]
    assert found.strangers == ("nturgb+d_skeletons/NTU_RGBD_samples_with_missing_skeletons.txt",)
    store = prepare(data.index(faulty), tmp_path / "store", CONFIG, progress=False)
    excluded = {clip for clip, verdict in found.verdicts.items() if verdict == "excluded"}
    assert set(store.excluded) == excluded and len(store) + len(excluded) == 48


def test_findings_name_the_file_and_quick_mode_sees_what_names_and_headers_tell(faulty):
    data = find_dataset(faulty)
    found = check_clips(data, faulty, CONFIG, mode="quick", workers=1, progress=False)
    by_clip = {f.clip: f for f in found.findings if f.verdict == "excluded"}
    assert by_clip[B + "021"].file == f"nturgb+d_depth_masked/{B}021" and by_clip[B + "021"].modality == "depth"
    assert by_clip[B + "029"].file == f"nturgb+d_rgb/{B}029_rgb.avi" and by_clip[B + "029"].modality == "rgb"
    seen = {"001", "002", "008", "021", "024", "026", "029", "031"}
    assert {B + action for action in seen} <= set(by_clip)
    remarks = {f.clip: f.kind for f in found.findings if f.verdict == "remark"}
    assert remarks[B + "009"] == "short" and remarks[B + "011"] == "frame counts differ"
    full = check_clips(data, faulty, CONFIG, workers=1, progress=False)
    assert found.count("excluded") <= full.count("excluded") and len(found.verdicts) == len(full.verdicts)


def test_a_file_or_a_folder_that_may_not_be_read_is_one_clip_less(root, monkeypatch):
    """Root may read everything, so the system's refusal is played."""
    closed = {str(paths_of(root, A + "001")["rgb"]), str(paths_of(root, A + "002")["depth"])}

    def refusing(real):
        def call(path, *arguments, **options):
            if str(path) in closed:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *arguments, **options)

        return call

    monkeypatch.setattr("builtins.open", refusing(open))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    for mode in ("quick", "full"):
        found = check_clips(find_dataset(root), root, CONFIG, mode=mode, workers=1, progress=False)
        told = {(f.clip, f.kind, f.modality) for f in found.findings if f.verdict == "excluded"}
        assert told == {(A + "001", "unreadable", "rgb"), (A + "002", "unreadable", "depth")}


def test_records_of_the_embedded_set_tell_of_changed_files(root, capsys):
    path = paths_of(root, B + "031")["skeleton"]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert cli.main(["data", "check", str(root), "--profile", "smoke", "--workers", "1"]) == 2
    assert f"{B}031.skeleton: expected content of hash" in capsys.readouterr().err


def test_many_processes_find_the_same(faulty):
    data = find_dataset(faulty)
    alone, two = (check_clips(data, faulty, CONFIG, mode="quick", workers=n, progress=False) for n in (1, 2))
    assert alone == two


def test_counts_stand_beside_the_published_ones(root):
    (root / "puppets.json").unlink()
    found = check_clips(find_dataset(root), root, CONFIG, mode="quick", workers=1, progress=False)
    rows = {row["protocol"]: row for row in found.protocols}
    assert found.data_name == "NTU60"
    assert (rows["cross-subject"]["published train"], rows["cross-subject"]["published test"]) == (40_091, 16_487)
    assert "problem" in rows["cross-subject"]  # subject 1 validates, so nobody is left to train
    parts = [rows["cross-view"][part] for part in ("train", "validation", "test")]
    assert parts == [24, 0, 24] and rows["cross-view"]["published test"] == 18_932


@pytest.mark.parametrize("layout", ["pairs", "ucla", "utd"])
def test_other_layouts_are_checked_alike(tmp_path, layout):
    root = tmp_path / layout
    if layout == "pairs":
        for number in range(6):
            write_pair(root / "ab"[number % 2], str(number), "folder")
        clip, depth = "a/2", root / "a" / "2_depth" / "3.png"
    elif layout == "ucla":
        write_ucla(root, [(view, "a01_s01_e00") for view in (1, 2, 3)])
        clip, depth = "v2_a01_s01_e00", next((root / "multiview_action/view_2").rglob("*_depth.png"))
    else:
        write_utd(root, ["a1_s1_t1", "a1_s2_t1", "a1_s3_t1"])
        clip, depth = "a1_s2_t1", root / "Depth" / "a1_s2_t1_depth.mat"
    data = find_dataset(root)
    before = check_clips(data, root, CONFIG, workers=1, progress=False)
    assert before.count("used") == len(before.verdicts)
    depth.write_bytes(depth.read_bytes()[:60])
    found = check_clips(data, root, CONFIG, workers=1, progress=False)
    (finding,) = [f for f in found.findings if f.kind]
    assert (finding.clip, finding.kind, finding.modality) == (clip, "damaged", "depth")
    assert finding.file == depth.relative_to(root).as_posix()


@pytest.mark.parametrize("layout", ["pairs", "NTU"])
def test_check_and_prepare_agree_where_a_profile_asks_for_more_than_there_is(root, tmp_path, layout):
    """Neither has sidecars, from which the layout is drawn; pairs have no joints, either."""
    if layout == "pairs":
        root = tmp_path / "pairs"
        for number in range(4):
            write_pair(root / "ab"[number % 2], str(number), "folder")
    else:
        shutil.rmtree(root / "puppets")
        (root / "puppets.json").unlink()
        cut(paths_of(root, B + "029")["rgb"])
    data, profile = find_dataset(root), get_profile("mini")
    found = check_clips(data, root, profile.clips, workers=1, progress=False)
    store = prepare(data.index(root), tmp_path / "s", with_possible(profile, data.index(root)).clips, progress=False)
    assert {clip for clip, verdict in found.verdicts.items() if verdict == "excluded"} == set(store.excluded)
    assert len(store) == len(found.verdicts) - (layout == "NTU")


def test_what_the_index_left_out_names_modality_and_file(root, tmp_path):
    paths_of(root, A + "001")["rgb"].unlink()
    shutil.rmtree(paths_of(root, A + "002")["depth"])
    paths_of(root, A + "002")["skeleton"].unlink()
    found = check_clips(find_dataset(root), root, CONFIG, mode="quick", workers=1, progress=False)
    told = {(f.clip, f.kind, f.modality, f.file) for f in found.findings if f.verdict == "excluded"}
    expected = ((A + "001", "rgb"), (A + "002", "depth"), (A + "002", "skeleton"))
    assert told == {(clip, "missing", m, paths_of(root, clip)[m].relative_to(root).as_posix()) for clip, m in expected}
    for number in range(3):
        write_pair(tmp_path / "p" / "disc", f"{number}", "image")
    (tmp_path / "p" / "disc" / "1_color.png").unlink()
    row = "9,disc,disc/0_color.png,disc/9_depth.png"
    (tmp_path / "p" / "table.csv").write_text(f"clip,label,rgb,depth\n{row}\n", encoding="utf-8")
    for place, file in ((tmp_path / "p", "disc/1_color.png"), (tmp_path / "p" / "table.csv", "disc/9_depth.png")):
        found = check_clips(find_dataset(place), place, CONFIG, workers=1, progress=False)
        (finding,) = [f for f in found.findings if f.verdict == "excluded"]
        assert (finding.kind, finding.file) == ("missing", file)


@pytest.mark.parametrize("unit", [1, 0.1])
def test_full_scale_depth_is_remarked_on(tmp_path, unit):
    for stem in ("farther", "marked"):
        _, depth = write_pair(tmp_path / "data" / "a", stem)
        depth[0, 10:20, 10:20] = 65535 if stem == "marked" else 65534
        write_depth(tmp_path / "data" / "a" / f"{stem}_depth.png", depth[0])
    (tmp_path / "data" / "labkit.json").write_text(json.dumps({"depth_unit": unit}), encoding="utf-8")
    found = check_clips(find_dataset(tmp_path / "data"), tmp_path / "data", CONFIG, workers=1, progress=False)
    (finding,) = [f for f in found.findings if f.kind == "full-scale depth"]
    assert (finding.clip, finding.verdict, finding.modality) == ("a/marked", "remark", "depth")
    assert "12 % of the pixels used are 65535" in finding.detail


# --------------------------------------------------------------------------- the command


def test_the_command_shows_a_table_and_writes_a_csv(faulty, tmp_path, capsys):
    assert cli.main(["data", "check", str(faulty), "--csv", str(tmp_path / "found.csv")]) == 1
    shown = capsys.readouterr().out
    assert "48 clips found" in shown and "wrong content" in shown and "40091" in shown.replace(",", "")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "found.csv").read_text(encoding="utf-8"))))
    assert {row["clip"] for row in rows} == set(check_clips(
        find_dataset(faulty), faulty, CONFIG, mode="quick", workers=1, progress=False).verdicts)  # fmt: skip
    assert {row["kind"] for row in rows} >= {kind for _, _, kind in FAULTS.values()}


@pytest.mark.parametrize("name", ["clips.csv", "notes.txt", "folder"])
def test_the_command_replaces_no_file_of_somebody_s_own(tmp_path, capsys, name):
    write_pair(tmp_path / "a", "0")
    write_pair(tmp_path / "b", "1")
    rows = "".join(f"{n},{c},{c}/{n}_color.png,{c}/{n}_depth.png\n" for n, c in enumerate("ab"))
    (tmp_path / "clips.csv").write_text("clip,label,rgb,depth\n" + rows, encoding="utf-8")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    before = [path.read_bytes() for path in (tmp_path / "clips.csv", tmp_path / "notes.txt")]
    for root in (tmp_path, tmp_path / "clips.csv"):
        assert cli.main(["data", "check", str(root), "--csv", str(tmp_path / name)]) == 2
        assert f"{name}: expected no file" in capsys.readouterr().err
    assert before == [path.read_bytes() for path in (tmp_path / "clips.csv", tmp_path / "notes.txt")]
    for _ in range(2):  # its own is written again
        assert cli.main(["data", "check", str(tmp_path / "clips.csv"), "--csv", str(tmp_path / "found.csv")]) == 1
        assert (tmp_path / "found.csv").read_text(encoding="utf-8").count("used") == 2


def test_a_clean_set_passes_and_hostile_names_stay_text(tmp_path, capsys):
    for number in range(6):
        write_pair(tmp_path / "p" / ("<img src=x onerror=alert(1)>", "b")[number % 2], f"$(touch {number})")
    assert cli.main(["data", "check", str(tmp_path / "p"), "--csv", str(tmp_path / "c.csv")]) == 0
    assert not list(tmp_path.glob("[0-9]")) and len(json.dumps(capsys.readouterr().out)) > 2


def test_published_names_are_known():
    for known in splits.DATA_SETS.values():
        assert set(known.published) - {"clips"} <= set(known.protocols)


def test_a_class_whose_clips_are_all_excluded_is_told_as_never_trained(tmp_path):
    for part in ("train", "test"):
        for label in ("a", "b"):
            for number in range(2):
                write_pair(tmp_path / part / label, str(number))
    for path in (tmp_path / "train" / "b").glob("*_depth.png"):
        cut(path)
    found = check_clips(find_dataset(tmp_path), tmp_path, CONFIG, workers=1, progress=False)
    problems = {row["protocol"]: row.get("problem") for row in found.protocols}
    assert problems["given"] == "no training clip of 1 of 2 classes, b first"
