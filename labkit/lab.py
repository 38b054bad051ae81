"""What every experiment stands on: prepared clips, a split, a folder of runs, a profile and a seed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .config import Profile
from .errors import LabError
from .files import sha256_json
from .runs import Run, RunSpec, RunStore

EMBEDDED = "puppets"  # the data set that labkit brings along
DATA_VARIABLE = "LABKIT_DATA"  # a data root in the environment, for notebooks, whose parameters name none


class Clips(Protocol):
    """What a lab asks of its clips; `data.store.ClipStore` is one."""

    class_names: Sequence[str]
    num_frames: int  # kept of each clip
    labels: np.ndarray  # (N,) classes; `clips.UNLABELLED` where nobody gave one

    def rows(self, ids: Iterable[str]) -> np.ndarray: ...  # (n,) of clips by id
    def images(self, modality: str, rows: np.ndarray) -> np.ndarray: ...  # (n,T,H,W) uint16 or (n,T,H,W,3) uint8
    def about(self, ids: Iterable[str]) -> list[dict[str, Any]]: ...  # what is recorded, such as "subject"
    def fingerprint_of(self, modalities: Iterable[str], unlabelled: bool = False) -> str: ...  # hash of all pixels


class Split(Protocol):
    """Ids of the clips to train on, to choose the epoch by, and to test on once.

    Those in `unlabelled` train, too, where a step is told to let a teacher speak of them.
    """

    name: str
    train: Sequence[str]
    validation: Sequence[str]
    test: Sequence[str]
    unlabelled: Sequence[str]


@dataclass(frozen=True)
class Lab:
    """Clips, split, runs and settings: passed to every training step. `open_lab` makes one."""

    clips: Clips
    split: Split
    runs: RunStore
    profile: Profile
    seed: int = 0
    dry: bool = False  # look at runs without training those that are missing
    root: Path | None = None  # the data root that the clips were prepared from
    data_name: str = EMBEDDED  # shown beside every result
    # told a training's title and `fit.Position` after each epoch, in the place of a progress bar
    watch: Callable[[str, Any], None] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.clips.class_names)

    @property
    def series_name(self) -> str:
        """The folder of what notebooks and tables leave: the profile, and the data unless it is the embedded set.

        Data roots of one name are told apart by where they lie.
        """
        name = self.profile.name
        if len(name) > 120:  # many settings changed; a file's name may have 255 letters
            name = f"{name[:100]}-{sha256_json(name)[:8]}"
        if self.data_name == EMBEDDED:
            return name
        data = re.sub(r"[^0-9A-Za-z_-]+", "_", self.data_name)[:40]
        return f"{name}-{data}-{sha256_json(str(self.root))[:6]}"

    def with_seed(self, seed: int) -> Lab:
        return replace(self, seed=seed)

    def with_settings(self, part: str, **changes: Any) -> Lab:
        """The same lab with fields of one part of its profile changed: `lab.with_settings("step3", lr=1e-3)`.

        Raises TypeError for a field that the part does not have.
        """
        changed = replace(getattr(self.profile, part), **changes)
        return replace(self, profile=replace(self.profile, **{part: changed}))

    def people(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """Who acts in each clip (by default the test clips), (N,) text: clips of one person resemble each other.

        Where nobody recorded it, each clip is a group of its own.
        """
        ids = self.split.test if ids is None else ids
        about = zip(ids, self.clips.about(ids), strict=True)
        return np.array([str(facts.get("subject") or f"clip {clip}") for clip, facts in about])

    def run(self, step: str, config: dict, parents: tuple[Run, ...] = (), *, unlabelled: bool = False) -> Run:
        """The run of a training in this lab, made or not; the same inputs name the same folder.

        `config` holds what decides the outcome beside clips, split and seed: "modalities" by role among it.
        `unlabelled`: it sees the clips without labels, too. Raises LabError where there are none.
        """
        clips = asdict(self.profile.clips)
        del clips["modalities"]  # those that the store holds; those that a run reads are in its own config
        common = {"seed": self.seed, "classes": self.num_classes, "clips": clips}
        modalities = tuple(sorted(set(config["modalities"].values())))
        seen = [self.clips.fingerprint_of(modalities), self.split.train, self.split.validation, self.split.test]
        if unlabelled:
            if not self.split.unlabelled:
                fix = "add rows without a label to clips.csv, or people to puppets.unlabelled"
                raise LabError.mismatch(self.root, "clips without labels to train on", "none", fix)
            seen += [self.clips.fingerprint_of(modalities, unlabelled=True), self.split.unlabelled]
        data = sha256_json(seen)
        return self.runs.open(RunSpec(step, {**common, **config}, data, tuple(run.id for run in parents)))

    def needs(self, run: Run) -> bool:
        """Whether a run is still to be made; never in a lab that only looks (`dry`).

        Raises LabError where it is, and the clips are of one class or a part of the split is empty.
        """
        if self.dry or (run.done and not run.checkpoints()):
            return False
        counts = {part: len(getattr(self.split, part)) for part in ("train", "validation", "test")}
        if self.num_classes < 2 or not all(counts.values()):
            parts = ", ".join(f"{count} for {part}" for part, count in counts.items())
            expected, found = "clips of two classes or more in every part", f"{self.num_classes}; {parts}"
            raise LabError.mismatch(self.root, expected, found, "add clips, or divide them otherwise")
        return True


def open_lab(profile: str | Profile = "mini", protocol: str | None = "cross-subject", seed: int = 0, *,
             home: str | os.PathLike | None = None, data: str | os.PathLike | None = None,
             progress: bool = True) -> Lab:  # fmt: skip
    """The lab of a data root; its clip store is made first where it is missing.

    `data` is any root that the lab recognises, by default the one that the environment names in LABKIT_DATA,
    else the embedded set, which is made where it is missing. `home` is the folder that holds `notebooks/`,
    `data/` and `runs/`; by default it is found from the current folder upwards. Modalities that the data set
    has no files for are left out. Raises LabError for an unknown profile, and for a protocol that the data set
    does not have; None is the one it is usually divided by.
    """
    from .puppets import opening  # the one door that the front room opens: where clips come from

    return opening.open_lab(profile, protocol, seed, home=home, data=data, progress=progress)


LAUNCH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # told to each process of a launch


def launched_count() -> int:
    """How many processes `accelerate launch` or `torchrun` has started for one training; 1 without them.

    Both tell a process all of LAUNCH. A variable alone is left over from elsewhere, such as a batch job or a pod.
    """
    told = {name: os.environ.get(name, "") for name in LAUNCH}
    address = told.pop("MASTER_ADDR")
    return max(int(told["WORLD_SIZE"]), 1) if address and all(map(str.isdecimal, told.values())) else 1


def watched() -> bool:
    """Whether a person seems to be looking: a terminal, or a notebook that is not run headlessly."""
    choice = os.environ.get("LABKIT_PROGRESS")
    if choice is not None:
        return choice == "bar"
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def in_notebook() -> bool:
    """Whether a notebook's kernel shows what is printed here."""
    kernel = sys.modules.get("ipykernel.iostream")
    return kernel is not None and isinstance(sys.stderr, kernel.OutStream)


def tell(line: str) -> None:
    """One line about work under way: on stderr, apart from results; in a notebook, where stderr is red, on stdout."""
    print(line, file=sys.stdout if in_notebook() else sys.stderr, flush=True)
