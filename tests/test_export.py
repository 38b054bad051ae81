"""Exported models: the very network that was tested, no depth, one line for every bad file."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from huggingface_hub import ModelCard
from tiny import tiny_profile

from labkit import LabError, clips, lab, trainers
from labkit.cli import main as cli
from labkit.cli.export import PNG_HEAD
from labkit.config import PuppetsConfig
from labkit.data.prepare import prepare
from labkit.data.splits import cross_subject
from labkit.experiments.statistics import wilson_interval
from labkit.export.card import model_card
from labkit.export.convert import export_onnx, noise
from labkit.export.describe import eager_model, find_lab, find_run, trained_with
from labkit.export.network import RgbOnly, eager_answer, rgb_only
from labkit.export.onnx_model import FORMAT, INPUT, KEY, ONNX_FILE, OUTPUTS, Model, find_export, open_export
from labkit.export.predict import predict_video
from labkit.figures.pictures import answer_sheet
from labkit.files import sha256_file
from labkit.model import Stream
from labkit.puppets import opening
from labkit.puppets.make import make_puppets
from labkit.runs import PREDICTIONS, WEIGHTS, RunStore

PUPPETS = PuppetsConfig(subjects=(1, 2, 3), cameras=(1,), scale=16)  # 36 clips; subject 1 validates, 3 is the test


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A project folder with data, the four steps trained for one epoch, and the export of the last."""
    home = tmp_path_factory.mktemp("home")
    profile = replace(tiny_profile(epochs=1), puppets=PUPPETS)
    profile = replace(profile, clips=replace(profile.clips, modalities=("rgb", "depth")))
    root = make_puppets(opening.puppets_root(home, PUPPETS), PUPPETS, workers=1, progress=False)
    store = prepare(root, opening.store_path(root, profile), profile.clips, workers=1, progress=False)
    here = lab.Lab(store, cross_subject(store), RunStore(home / "runs"), profile, root=root)
    rgb, depth = trainers.train_stream(here, "rgb"), trainers.train_stream(here, "depth")
    both = trainers.train_two_stream(here, depth, rgb)
    taught = trainers.distill_hallucination(here, both)
    final = trainers.finetune_rgb_only(here, taught, both)
    runs = {"rgb": rgb, "depth": depth, "two_stream": both, "hallucination": taught, "final": final}
    about = export_onnx(final, find_lab(final, home), home / "runs" / "exports" / final.id)
    videos = sorted((root / "nturgb+d_rgb").iterdir())
    return SimpleNamespace(home=home, root=root, lab=here, runs=runs, about=about, final=final, videos=videos,
                           folder=home / "runs" / "exports" / final.id)  # fmt: skip


@pytest.fixture(scope="module")
def model(bench):
    return open_export(bench.folder, threads=1)


def told(call, *arguments, **options) -> str:
    with pytest.raises(LabError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and "expected" in message and "found" in message and "Fix: " in message
    return message


# -- the same network ------------------------------------------------------------------------------------


def test_the_export_gives_the_logits_that_were_tested(bench, model):
    """Those the run kept of its test clips, made by the lab's own way from the store."""
    store, test = bench.lab.clips, bench.lab.split.test
    frames = store.rgb(store.rows(test)).transpose(0, 1, 4, 2, 3)
    logits, maps = model.answer(np.ascontiguousarray(frames))
    kept = bench.final.load_tensors(PREDICTIONS)[0]["test/fused"].numpy()
    assert np.abs(logits - kept).max() <= 1e-4 and (logits.argmax(1) == kept.argmax(1)).all()
    assert maps.shape[:2] == (len(test), 5) and np.ptp(maps) > 0
    one_by_one = [model.answer(np.ascontiguousarray(clip[None]))[0][0] for clip in frames[:4]]
    np.testing.assert_allclose(one_by_one, logits[:4], rtol=0, atol=1e-5)  # a clip's batch does not matter


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_onnx_file_agrees_with_eager(bench, model, batch):
    pixels = noise(batch, bench.about)
    logits, maps = eager_answer(rgb_only(bench.final))(pixels)
    found = model.answer(pixels)
    assert np.abs(found[0] - logits).max() <= 1e-4
    assert np.abs(found[1] - maps).max() <= 1e-4 * np.abs(maps).max()


@pytest.mark.parametrize("normalization", ["imagenet", "vgg"])
def test_normalisation_in_the_graph_is_that_of_training(normalization):
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 32, 32, 3), dtype=np.uint8)
    network = RgbOnly(Stream(3, width=8, backbone="resnet18"), "stream", 1, normalization)
    found = network.normalize(torch.from_numpy(images.transpose(0, 1, 4, 2, 3).copy()))
    torch.testing.assert_close(found, clips.normalize(images, normalization, "rgb").contiguous(), rtol=1e-6, atol=1e-6)


def test_maps_are_those_of_the_hallucination(bench):
    """Step 4's source; were the target's shown, the first zero weight would leave them as they are."""
    network = rgb_only(bench.final)
    pixels = torch.from_numpy(noise(1, bench.about))
    logits, maps = network(pixels)
    assert bench.about["maps_of"] == "hallucination" and network.maps_of == "source"
    torch.nn.init.zeros_(network.network.target.backbone.conv1.weight)
    assert torch.equal(network(pixels)[1], maps) and not torch.equal(network(pixels)[0], logits)


@pytest.mark.parametrize(("name", "reading", "trained"), [
    ("rgb", "stream", "It was trained on RGB alone."), ("hallucination", "alone", "Depth was present while"),
])  # fmt: skip
def test_a_single_rgb_stream_leaves_too_by_the_command(bench, tmp_path, capsys, name, reading, trained):
    """Whatever its teacher saw."""
    run = bench.runs[name]
    assert cli.main(["export", run.id, "--home", str(bench.home), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "model.onnx: logits within" in printed
    model, store = open_export(tmp_path / "out"), bench.lab.clips
    assert model.about["reading"] == reading and model.about["ancestors"][:1] == list(run.spec.parents)
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert trained in card and "one stream that sees RGB" in card and "stream stream" not in card
    frames = store.rgb(store.rows(bench.lab.split.test)).transpose(0, 1, 4, 2, 3)
    logits, _ = model.answer(np.ascontiguousarray(frames))
    kept = run.load_tensors(PREDICTIONS)[0][f"test/{reading}"].numpy()
    assert np.abs(logits - kept).max() <= 1e-4


@pytest.mark.parametrize("depth", ["deleted", "replaced"])
def test_depth_is_not_needed(bench, model, tmp_path, depth):
    """All depth files gone, or turned to noise: the same bytes leave, and the same bits are answered."""
    home = tmp_path / "home"
    shutil.copytree(bench.home, home)
    touched = [*home.glob("data/*/nturgb+d_depth*/**/*.png"), *home.glob("data/*/*.depth.npy")]
    assert len(touched) > 36
    for path in touched:
        path.unlink()
        if depth == "replaced":
            path.write_bytes(b"no depth here")
    run, video = find_run(bench.final.id, home), home / bench.videos[0].relative_to(bench.home)
    here = find_lab(run, home)
    asked = {"eager": (eager_model(bench.final, bench.lab), eager_model(run, here))}
    if depth == "deleted":
        export_onnx(run, here, tmp_path / "out")
        assert (tmp_path / "out" / ONNX_FILE).read_bytes() == (bench.folder / ONNX_FILE).read_bytes()
        asked["ONNX"] = model, open_export(tmp_path / "out", threads=1)
    for with_depth, without in asked.values():
        first, second = predict_video(bench.videos[0], with_depth), predict_video(video, without)
        assert first.logits.tobytes() == second.logits.tobytes() and first.maps.tobytes() == second.maps.tobytes()


# -- what travels with it --------------------------------------------------------------------------------


def test_the_description_is_in_the_file_and_beside_it(bench):
    session = onnxruntime.InferenceSession(bench.folder / ONNX_FILE, providers=["CPUExecutionProvider"])
    inside = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    beside = json.loads((bench.folder / "model.json").read_text(encoding="utf-8"))
    known = beside.pop("files")[ONNX_FILE]
    assert sha256_file(bench.folder / ONNX_FILE) == known["sha256"] and known["parity"] <= 1e-4
    assert {**inside, "parity": known["parity"]} == bench.about and inside == beside
    assert inside["classes"] == list(bench.lab.clips.class_names) and inside["run"] == bench.final.id
    assert inside["num_frames"] == 5 and inside["size"] == 32 and inside["normalization"] == "imagenet"
    assert inside["ancestors"] == [bench.runs[r].id for r in ("hallucination", "two_stream", "depth", "rgb")]
    assert inside["data"]["fingerprint"] == bench.final.spec.data
    assert inside["training_version"] == bench.final.spec.version
    assert inside["accuracy"].items() >= bench.final.result["outputs"]["fused"]["test"].items()
    assert inside["torch"] == torch.__version__ and inside["protocol"] == "cross-subject"


def test_the_file_passes_the_checker_of_onnx_and_needs_no_other(bench):
    model = onnx.load(bench.folder / ONNX_FILE)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"} and not model.functions


def test_the_crop_is_the_average_of_the_training_clips(bench, model):
    store = bench.lab.clips
    records = [store.records[row] for row in store.rows(bench.lab.split.train)]
    boxes = [np.divide(record["crop"]["box"], 2 * record["crop"]["of"]) for record in records]
    assert bench.about["crop"]["box"] == pytest.approx(np.mean(boxes, axis=0))
    video = next(path for path in bench.videos if path.name.startswith(bench.lab.split.test[0]))
    seen = predict_video(video, model).video.frames.astype(int)
    stored = store.rgb(store.rows(bench.lab.split.test[:1]))[0].astype(int)
    assert np.abs(seen - stored).mean() < 8  # of 255: nearly what the lab's own crop shows


def test_the_card_says_what_it_is_and_what_it_is_not_for(bench):
    card = (bench.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    accuracy = bench.final.result["outputs"]["fused"]["test"]
    low, high = (100 * bound for bound in wilson_interval(accuracy["correct"], accuracy["total"]))
    assert f"{100 * accuracy['accuracy']:.1f} % of 12 test clips, 95 % interval {low:.1f} to {high:.1f} %" in card
    for part in ("cross-subject", "puppets", "must not be used for", "surveillance", bench.final.id, "average crop"):
        assert part in card
    assert max(map(len, card.splitlines())) < 400 and "{" not in card


def test_the_card_s_head_is_read_by_the_hub_s_own_library(bench):
    """Licence, tags and the result, which the library checks when it reads them."""
    found = ModelCard.load(bench.folder / "MODEL_CARD.md").data
    (tested,) = found.eval_results
    assert (found.license, found.library_name, found.pipeline_tag) == ("mit", "onnx", "video-classification")
    assert found.model_name == bench.final.id and found.datasets == [tested.dataset_name] == ["puppets"]
    assert {"knowledge-distillation", "action-recognition", "simulated"} <= {*found.tags}
    assert (tested.metric_type, tested.dataset_config, tested.dataset_split) == ("accuracy", "cross-subject", "test")
    assert tested.metric_value == bench.final.result["outputs"]["fused"]["test"]["accuracy"]
    assert tested.dataset_args == {"fingerprint": bench.final.spec.data}


def test_the_weights_of_other_data_have_its_licence(bench):
    about = {**bench.about, "data": {**bench.about["data"], "name": "gestures"}}
    found = ModelCard(model_card(about, 0.0)).data
    assert found.license == "other" and found.license_name and not {"simulated", "action-recognition"} & {*found.tags}


def test_nothing_in_the_files_tells_of_this_machine(bench):
    for path in bench.folder.iterdir():
        content = path.read_bytes()
        for word in (str(bench.home), str(Path(__file__).parents[1]), str(Path(sys.prefix)), "site-packages"):
            assert word.encode() not in content, path.name


def test_a_run_whose_parents_are_gone_does_not_say_what_it_was_trained_with(bench, tmp_path):
    shutil.copytree(bench.final.path, tmp_path / "runs" / bench.final.id)
    alone = trained_with(RunStore(tmp_path / "runs").get(bench.final.id))
    assert bench.about["trained_with"] == ["depth", "rgb"] and alone == ["rgb", "unknown"]
    card = model_card({**bench.about, "trained_with": alone}, 0.0)
    assert "is not known" in card and "Depth was present" not in card and "RGB alone" not in card


# -- what may not leave ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["depth", "two_stream"])
def test_a_run_that_needs_depth_is_refused(bench, tmp_path, name):
    run = bench.runs[name]
    message = told(export_onnx, run, bench.lab, tmp_path / "out")
    assert "found one that needs depth" in message and run.id in message and not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(bench, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_bytes(b"years of work")
    for path, found in ((tmp_path, "one that holds something"), (tmp_path / "thesis.tex", "a file")):
        assert cli.main(["export", bench.final.id, "--home", str(bench.home), "--out", str(path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{path}: expected a new folder, found {found}. Fix: name another" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_that_cannot_be_written_is_told(bench, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match="file: expected a folder, found a file"):
        export_onnx(bench.final, bench.lab, tmp_path / "file" / "out")


def test_a_full_disk_leaves_nothing_half_done(bench, tmp_path):
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(LabError, match="cannot be written"):
            export_onnx(bench.final, bench.lab, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())


def test_damaged_weights_are_told(bench, tmp_path):
    shutil.copytree(bench.final.path, tmp_path / "runs" / bench.final.id)
    path = tmp_path / "runs" / bench.final.id / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    assert "SHA-256" in told(export_onnx, find_run(bench.final.id, tmp_path), bench.lab, tmp_path / "out")


def test_runs_are_found_by_id_or_folder_and_else_told(bench, tmp_path):
    assert find_run(bench.final.path, tmp_path).id == find_run(bench.final.id, bench.home).id == bench.final.id
    for name in ("step4-0000000000000000", "../runs", ""):
        assert "found none" in told(find_run, name, bench.home)
    unfinished = tmp_path / "runs" / bench.final.id
    unfinished.mkdir(parents=True)
    shutil.copy(bench.final.path / "spec.json", unfinished)
    assert "a finished run" in told(find_run, bench.final.id, tmp_path)
    for content in (b"[]", b"{}", b'{"step": "x", "config": [], "data": "", "version": 1, "parents": []}', b"\xff"):
        (unfinished / "spec.json").write_bytes(content)
        told(find_run, bench.final.id, tmp_path)


def test_a_run_without_its_clip_store_is_told(bench, tmp_path):
    assert "the clip store" in told(find_lab, bench.final, tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / bench.lab.clips.path.name).symlink_to(bench.lab.clips.path)
    found = find_lab(bench.final, tmp_path)
    assert found.split.test == bench.lab.split.test and found.split.name == "cross-subject"


def test_a_missing_package_is_told_with_the_command(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert "pip install -e '.[export]'" in told(export_onnx, bench.final, bench.lab, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install -e '.[export]'" in told(open_export, bench.folder)
    asked = eager_model(bench.final, bench.lab)  # but a run answers without
    assert predict_video(bench.videos[0], asked).logits.shape == (12,)


# -- damaged and foreign files ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(20))
def test_a_flipped_bit_is_told(bench, tmp_path, place):
    shutil.copytree(bench.folder, tmp_path / "out")
    data, rng = bytearray((bench.folder / ONNX_FILE).read_bytes()), np.random.default_rng(place)
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    (tmp_path / "out" / ONNX_FILE).write_bytes(data)
    assert "found a damaged one" in told(open_export, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"text", b"\x00" * 1000, b"\x08\x0a" * 50, bytes(range(256)) * 40])
def test_what_is_no_export_is_told(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    assert "a.onnx" in told(open_export, tmp_path / "a.onnx")


def test_a_file_alone_answers_and_a_cut_one_is_told(bench, tmp_path, model):
    data, pixels = (bench.folder / ONNX_FILE).read_bytes(), noise(1, bench.about)
    (tmp_path / "a.onnx").write_bytes(data)
    assert (open_export(tmp_path / "a.onnx", threads=1).answer(pixels)[0] == model.answer(pixels)[0]).all()
    for share in (0.1, 0.5, 0.999):
        (tmp_path / "a.onnx").write_bytes(data[: int(share * len(data))])
        told(open_export, tmp_path / "a.onnx")


def test_absent_and_foreign_files_are_told(bench, tmp_path):
    assert "No such file" in told(open_export, tmp_path / "absent.onnx")
    assert ONNX_FILE in told(open_export, tmp_path)
    model, path = onnx.load(bench.folder / ONNX_FILE), tmp_path / "a.onnx"
    newer = f'{{"format": {FORMAT + 1}}}', f"found format {FORMAT + 1}"
    for text, expected in ((None, "no description"), newer, ("text", "that labkit export wrote")):
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {} if text is None else {KEY: text})
        path.write_bytes(model.SerializeToString())
        assert expected in told(open_export, path)


def test_an_answer_that_is_no_number_is_told(bench):
    broken = Model(bench.about, lambda clip: (np.full((1, 12), np.nan), np.zeros((1, 5, 8, 8))))
    message = told(predict_video, bench.videos[0], broken)
    assert message.startswith(f"{bench.final.id}: expected a finite answer") and bench.videos[0].name not in message


# -- the commands ----------------------------------------------------------------------------------------


def test_an_export_that_is_there_is_not_made_again(bench, capsys):
    assert cli.main(["export", bench.final.id, "--home", str(bench.home)]) == 2
    assert "one that holds something" in capsys.readouterr().err


def test_predict_tells_frames_answer_and_picture(bench, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["predict", str(bench.videos[3]), "--home", str(bench.home), "--top", "3"]) == 0
    first, second, *answer, last = capsys.readouterr().out.splitlines()
    worth = 100 * bench.about["accuracy"]["accuracy"]
    assert second == (f"model {bench.final.id}, trained on puppets, accuracy {worth:.1f} % on its test clips; "
                      "knows only its 12 classes")  # fmt: skip
    expected = predict_video(bench.videos[3], model)
    assert ": frames 0, " in first and len(answer) == 3
    assert answer[0].endswith(f" %  {expected.top(1)[0][0]}")
    assert last == f"picture: {bench.videos[3].stem}.prediction.png"
    picture = (tmp_path / f"{bench.videos[3].stem}.prediction.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and bench.final.id.encode() in picture and len(list(tmp_path.iterdir())) == 1


def test_the_bars_of_a_prediction_are_in_percent(bench, model):
    found = predict_video(bench.videos[0], model)
    sheet = answer_sheet(found.video.frames, found.video.indices, found.maps, "source", found.top(3))
    bars = sheet.axes[1]
    assert bars.get_xlim() == (0, 108) and "%" in bars.get_xlabel()
    assert bars.patches[0].get_width() == pytest.approx(100 * found.top(1)[0][1])


def test_predict_json(bench, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["predict", str(bench.videos[3]), "--model", str(bench.folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["frames"]["chosen"][0] == 0 and len(found["answer"]) == 5 and not list(tmp_path.iterdir())
    values = predict_video(bench.videos[3], model).probabilities
    assert values.sum() == pytest.approx(1) and found["answer"][0]["probability"] == pytest.approx(max(values))
    asked = ["--home", str(bench.home), "--run", bench.final.id]
    assert cli.main(["predict", str(bench.videos[3]), *asked, "--json"]) == 0
    eager = json.loads(capsys.readouterr().out)
    assert [a["class"] for a in eager["answer"]] == [a["class"] for a in found["answer"]]


@pytest.mark.parametrize("wanted", [("video",), ("video", "--top", "0"), ("video", "--model", "m"),
                                    ("video", "--model", "m", "--run", "r")])  # fmt: skip
def test_predict_tells_what_cannot_be(bench, wanted, capfd):
    assert cli.main(["predict", *wanted, "--home", str(bench.home)]) == 2
    err = [line for line in capfd.readouterr().err.splitlines() if line.startswith("labkit: ")]
    assert len(err) == 1 and "Fix: " in err[0]


def test_predict_without_an_export_or_with_two_is_told(bench, tmp_path):
    assert "found none" in told(find_export, tmp_path)
    for name in ("a", "b"):
        shutil.copytree(bench.folder, tmp_path / "runs" / "exports" / name)
    assert "found a, b" in told(find_export, tmp_path)
    assert find_export(bench.home) == bench.folder


def test_predict_keeps_what_stood_where_the_picture_cannot_be_written(bench, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"mine")
    picture = str(tmp_path / "file" / "a.png")
    assert cli.main(["predict", str(bench.videos[0]), "--home", str(bench.home), "--picture", picture]) == 2
    assert "expected a folder, found a file" in capsys.readouterr().err and (tmp_path / "file").read_bytes() == b"mine"


def test_predict_replaces_no_file_but_a_picture_of_its_own_kind(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    video, other = bench.videos[0].read_bytes(), bench.videos[1].read_bytes()
    for name, content in (("mine.avi", video), ("other.avi", other), ("named.png", other)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.png").symlink_to("mine.avi")
    (tmp_path / "seen.png").write_bytes(PNG_HEAD)
    asked = ["predict", "mine.avi", "--model", str(bench.folder), "--picture"]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("mine.avi", "other.avi", "named.png", "link.png", "new.jpg", "new"):
        assert cli.main([*asked, name]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert name in line and "Fix: " in line
    assert cli.main(["predict", "seen.png", "--model", str(bench.folder), "--picture", "seen.png"]) == 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert cli.main([*asked, "seen.png"]) == 0 and len((tmp_path / "seen.png").read_bytes()) > 1000


def test_names_with_spaces_and_bytes_that_are_no_utf8(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9 $x_1$ two.avi")
    shutil.copy(bench.videos[0], name)
    assert cli.main(["predict", name, "--model", str(bench.folder)]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(r"caf\udce9 $x_1$ two.avi: frames 0")
    assert last == r"picture: caf\udce9 $x_1$ two.prediction.png"
    assert (tmp_path / os.fsdecode(b"caf\xe9 $x_1$ two.prediction.png")).exists()


def test_an_export_is_asked_without_torch(bench, tmp_path):
    """Half of why one exports."""
    code = "import sys; from labkit.cli.main import main; s = main(sys.argv[1:]); print('torch' in sys.modules, s)"
    command = [sys.executable, "-c", code, "predict", str(bench.videos[0]), "--model", str(bench.folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=100, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "False 0", done.stderr


def test_a_bad_video_is_one_line_and_draws_nothing(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad\nname\x1b[1m.avi").write_bytes(bench.videos[0].read_bytes()[:3000])
    assert cli.main(["predict", "bad\nname\x1b[1m.avi", "--home", str(bench.home)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line and r"\x1b[1m.avi: expected" in line and len(list(tmp_path.iterdir())) == 1


def test_ports_have_the_agreed_names(bench):
    session = onnxruntime.InferenceSession(bench.folder / ONNX_FILE, providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_inputs()] == [INPUT] == ["frames"]
    assert tuple(port.name for port in session.get_outputs()) == OUTPUTS == ("logits", "hallucination_maps")
    assert isinstance(session.get_inputs()[0].shape[0], str)  # any batch
