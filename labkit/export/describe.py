"""What is known of a model that leaves: the run by its name, the lab it was trained in, data and accuracy.

No depth file is read: class names, crops and fingerprints stand in the clip store's index.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import __version__
from ..config import ClipConfig, ModelConfig, Profile
from ..data.index import read_settings
from ..data.splits import PUPPETS, find_dataset
from ..data.store import ClipStore
from ..errors import LabError
from ..experiments.statistics import paired_difference
from ..lab import Lab
from ..puppets.opening import store_path
from ..runs import PREDICTIONS, RECORD, SPEC, WEIGHTS, Run, RunStore
from .network import RgbOnly, eager_answer, hallucinating, parents_of, rgb_only, seen_by
from .onnx_model import FORMAT, INPUT, OUTPUTS, Model

UNKNOWN = "unknown"  # among what a model was trained with, where runs that it comes from are gone
MIN_PEOPLE = 5  # an interval over fewer says next to nothing


def find_run(name: str | os.PathLike, home: Path) -> Run:
    """A finished run by its id or its folder; LabError when there is none or its specification is damaged."""
    folder = Path(name) if (Path(name) / SPEC).is_file() else home / "runs" / name
    if not (folder / SPEC).is_file():
        fix = "name one of the folders in runs/, such as that of a run of step 4"
        raise LabError.mismatch(folder, "a run", "none", fix)
    try:
        run = RunStore(folder.parent).get(folder.name)
    except (TypeError, KeyError) as error:  # JSON, but of another shape
        fix = "delete this folder and train the run again"
        raise LabError.mismatch(folder / SPEC, "the specification of a run", error, fix) from error
    if not run.done:
        raise LabError.mismatch(run.path, "a finished run", f"state {run.state}", "train it to its end first")
    if WEIGHTS not in run.manifest():
        raise LabError.mismatch(run.path, "a run with weights", "none", "name a training, as of step 4")
    return run


def find_lab(run: Run, home: Path, data: Path | None = None) -> Lab:
    """The lab a run was trained in, by fingerprint: the clip store of `data`, or one in `home`/data.

    Raises LabError when no store there holds the pixels and the split that the run names.
    """
    config = run.spec.config
    try:
        profile = Profile("of the run", clips=ClipConfig(**config["clips"]), model=ModelConfig(**config["model"]))
    except TypeError as error:
        fix = "train the run again"
        raise LabError.mismatch(run.path, "settings of this version of labkit", error, fix) from error
    named = Path(os.path.abspath(data)) if data else None
    given = store_path(named, profile, home) if named else None
    for folder in [given] if given else sorted(path.parent for path in (home / "data").glob("*/index.json")):
        root = named or folder.with_name(folder.name.rsplit("-", 3)[0])
        try:
            known = find_dataset(root)
        except LabError:  # the data root may be elsewhere, or gone
            known = PUPPETS
        for protocol, unlabelled in product(known.protocols, (False, True)):
            try:
                clips = ClipStore(folder)
                name, split = clips.config.get("data_name") or PUPPETS.name, known.split(protocol, clips)
                lab = Lab(clips, split, RunStore(run.path.parent), profile, config["seed"], True, root, name)
                if lab.run(run.spec.step, config, unlabelled=unlabelled).spec.data == run.spec.data:
                    return lab
            except (LabError, KeyError, TypeError):  # not this store, or a protocol that it cannot serve
                continue
    fix = "name the data root with --data, or bring its store back: labkit data prepare, labkit run"
    found = "none of that data"
    raise LabError.mismatch(given or home / "data", f"the clip store that {run.id} was trained on", found, fix)


def ancestors(run: Run) -> list[str]:
    """Ids of all runs that it comes from, as far as their folders are there; parents first."""
    found = list(run.spec.parents)
    for parent in parents_of(run):
        found += ancestors(parent)
    return list(dict.fromkeys(found))


def trained_with(run: Run) -> list[str]:
    """What it and the runs that it comes from saw; UNKNOWN among it where not all of their folders are there."""
    parents = parents_of(run)
    missing = {UNKNOWN} if len(parents) < len(run.spec.parents) else set()
    return sorted(missing.union(run.spec.config["modalities"].values(), *map(trained_with, parents)))


def average_crop(records: Sequence[Mapping]) -> dict[str, Any]:
    """The `crop` of `predict.crop_box` from the records of clips: {"box", "shape"}."""
    crops = [record["crop"] for record in records]
    boxes = [np.divide(crop["box"], [*crop["of"], *crop["of"]]) for crop in crops]
    shapes = [width / height for width, height in (crop["of"] for crop in crops)]
    return {"box": np.mean(boxes, axis=0).tolist(), "shape": float(np.mean(shapes))}


def describe(run: Run, lab: Lab, network: RgbOnly) -> dict[str, Any]:
    """Classes, input, outputs, crop, accuracy with intervals, data and provenance of a model; JSON values."""
    config, clips, split = run.spec.config, run.spec.config["clips"], lab.split
    record, reading = run.load_json(RECORD), network.reading
    training = [lab.clips.records[row] for row in lab.clips.rows(split.train)]
    frames, size = clips["num_frames"], clips["size"]
    return {
        "format": FORMAT, "run": run.id, "parents": list(run.spec.parents), "ancestors": ancestors(run),
        "seed": config["seed"], "training_version": run.spec.version, "labkit": __version__,
        "torch": str(torch.__version__), "trained_with_torch": record["torch"], "precision": record["precision"],
        "modalities": seen_by(run), "trained_with": trained_with(run), "classes": list(lab.clips.class_names),
        "input": f"{INPUT}: uint8 (batch, {frames}, 3, {size}, {size}), RGB", "outputs": list(OUTPUTS),
        "num_frames": frames, "size": size, "normalization": clips["normalization"],
        "alignment": clips["alignment"], "crop": average_crop(training), "block": network.block,
        "maps_of": "hallucination" if hallucinating(run)[1] else network.maps_of,
        "protocol": split.name, "reading": reading, "accuracy": _accuracy(run, lab, reading),
        "data": {
            "name": lab.data_name, "depth_is": _depth_is(lab.root), "store": lab.clips.path.name,
            "fingerprint": run.spec.data,
            "clips": {part: len(getattr(split, part)) for part in ("train", "validation", "test")},
        },
    }  # fmt: skip


def _depth_is(root: Path | None) -> str:
    """What the second image shows, in the words of the data root; "" where it says nothing or is gone."""
    return read_settings(root if root.is_dir() else root.parent).depth_is if root and root.exists() else ""


def _accuracy(run: Run, lab: Lab, reading: str) -> dict[str, Any]:
    """Of the test clips, as the run recorded it; beside its interval one over people, where they are known."""
    logits = run.load_tensors(PREDICTIONS)[0][f"test/{reading}"].numpy()
    right = logits.argmax(axis=1) == lab.clips.labels[lab.clips.rows(lab.split.test)]
    groups = lab.people()
    known = all(facts.get("subject") for facts in lab.clips.about(lab.split.test))
    people, over = len(set(groups.tolist())) if known else None, None
    if known and people >= MIN_PEOPLE:
        found = paired_difference(right, np.zeros(len(right)), groups=groups)
        over = [max(found.low, 0.0), found.high]
    return {**run.result["outputs"][reading]["test"], "people": people, "interval_over_people": over}


def eager_model(run: Run, lab: Lab) -> Model:
    """The run's own network as it is, for where ONNX Runtime is not installed."""
    network = rgb_only(run)
    return Model(describe(run, lab, network), eager_answer(network))
