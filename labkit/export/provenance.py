"""Where an exported model comes from: the run by its name, the bench it was trained on, all that is known of it.

No depth file is read: class names, crops and fingerprints stand in the clip store's index.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..config import ClipConfig, ModelConfig, Profile
from ..data.index import read_settings
from ..data.splits import PUPPETS, find_dataset
from ..data.store import ClipStore
from ..errors import LabError
from ..experiments.statistics import paired_bootstrap
from ..lab import Lab
from ..puppets.opening import PROTOCOLS, store_path
from ..runs import PREDICTIONS, SPEC, Run, RunStore
from .footage import average_crop

READINGS = {"pair": "fused", "stream": "stream", "hallucination": "alone"}  # what a run calls the exported logits
MIN_PEOPLE = 5  # of fewer, no interval can be had by drawing them again
NEEDED = {"modalities", "model", "clips", "classes", "seed"}  # in the configuration of a run with weights


def find_run(name: str | os.PathLike, home: Path) -> Run:
    """A finished run by its id or its folder; LabError when there is none or its specification is damaged."""
    folder = Path(name)
    store, run_id = (folder.parent, folder.name) if (folder / SPEC).exists() else (home / "runs", os.fspath(name))
    if not (store / run_id / SPEC).is_file():
        fix = "name one of the folders in runs/, such as that of a run of step 4"
        raise LabError.mismatch(store / run_id, "a run", "none", fix)
    try:
        run = RunStore(store).get(run_id)
        complete = set(run.spec.config) >= NEEDED
    except (TypeError, KeyError, AttributeError, ValueError) as error:  # JSON, but of another shape
        complete, run = False, error
    if not complete:
        fix = "delete this folder and train the run again"
        raise LabError.mismatch(store / run_id / SPEC, "the specification of a run", run, fix)
    if not run.done:
        raise LabError.mismatch(run.path, "a finished run", f"state {run.state}", "train it to its end first")
    return run


def find_lab(run: Run, home: Path, store: Path | None = None, data: Path | None = None) -> Lab:
    """The bench a run was trained on, by fingerprint: the clip store of `data`, `store`, or one in `home`/data.

    Raises LabError when no store there holds the pixels and the split that the run names.
    """
    config = run.spec.config
    settings = {"clips": _known(ClipConfig, config["clips"]), "model": _known(ModelConfig, config["model"])}
    profile = Profile("of the run", **settings)
    given = store or (store_path(Path(os.path.abspath(data)), profile, home) if data else None)
    for folder in [given] if given else sorted(path.parent for path in (home / "data").glob("*/index.json")):
        root = Path(os.path.abspath(data)) if data else folder.with_name(folder.name.rsplit("-", 3)[0])
        try:
            protocols = find_dataset(root).protocols
        except LabError:  # the data root may be elsewhere, or gone
            protocols = PROTOCOLS
        for divide in protocols.values():
            try:
                clips = ClipStore(folder)
                name = clips.config.get("data_name") or PUPPETS.name
                lab = Lab(clips, divide(clips), RunStore(run.path.parent), profile, config["seed"], True, root, name)
                if lab.run(run.spec.step, config).spec.data == run.spec.data:
                    return lab
            except (LabError, KeyError, TypeError):  # not this store, or a protocol that it cannot serve
                continue
    fix = "name the data root with --data, or the store with --store, or bring it back: labkit data prepare, labkit run"
    found = "none of that data"
    raise LabError.mismatch(given or home / "data", f"the clip store that {run.id} was trained on", found, fix)


def _known(kind: type, values: dict) -> Any:
    """A config from a run's record; LabError where another version wrote other settings."""
    try:
        return kind(**values)
    except TypeError as error:
        raise LabError.mismatch(None, f"settings of {kind.__name__}", error, "train the run again") from error


def hallucinating(run: Run) -> tuple[str, bool]:
    """The role, of a pair's, that took a teacher's place, and whether that teacher saw another modality.

    A pair that no step 3 led to has no such stream; then the source stands in.
    """
    for parent in _specs(run.spec.parents, run):
        if "distill" in parent.config:
            return parent.config["distill"].get("missing", "source"), parent.config["modalities"]["teacher"] != "rgb"
    return "source", False


def _specs(ids: tuple[str, ...], run: Run) -> list:
    """Specifications of those runs whose folders lie beside `run`."""
    store = RunStore(run.path.parent)
    return [store.get(name).spec for name in ids if (store.root / name / SPEC).exists()]


def ancestors(run: Run) -> list[str]:
    """Ids of all runs whose weights it comes from, as far as their folders are there; parents first."""
    found: list[str] = []
    waiting = list(run.spec.parents)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found.append(name)
            waiting += [grand for spec in _specs((name,), run) for grand in spec.parents]
    return found


def describe(run: Run, lab: Lab, kind: str) -> dict[str, Any]:
    """Classes, input, crop, accuracy with intervals, data and provenance of a model; JSON values.

    `kind` is "pair" of two tied streams, or the role of a single one.
    """
    config, record, split = run.spec.config, run.load_json("record.json"), lab.split
    training = [lab.clips.records[row] for row in lab.clips.rows(split.train)]
    return {
        "run": run.id, "parents": list(run.spec.parents), "ancestors": ancestors(run), "seed": config["seed"],
        "training_version": run.spec.version, "labkit": __version__, "trained_with_torch": record["torch"],
        "precision": record["precision"], "modalities": config["modalities"],
        "classes": list(lab.clips.class_names), "num_frames": config["clips"]["num_frames"],
        "size": config["clips"]["size"], "normalization": config["clips"]["normalization"],
        "alignment": config["clips"]["alignment"], "crop": average_crop(training),
        "protocol": split.name, "reading": READINGS[kind], "accuracy": _accuracy(run, lab, READINGS[kind]),
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
        found = paired_bootstrap(right, np.zeros(len(right)), groups=groups)
        over = [found.low, found.high]
    return {**run.result["outputs"][reading]["test"], "people": people, "interval_over_people": over}
