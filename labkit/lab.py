"""What every experiment stands on: prepared clips, a split, a folder of runs, a profile and a seed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .config import Profile, PuppetsConfig, get_profile
from .data.index import Index
from .data.prepare import prepare
from .data.splits import PUPPETS, Split, find_dataset
from .data.store import ClipStore
from .files import sha256_json
from .machine import find_home
from .parallel import join_launch, refuse_without_main_guard
from .puppets.make import make_puppets
from .runs import Run, RunSpec, RunStore

PROTOCOLS: dict[str, Callable] = dict(PUPPETS.protocols)
DATA_VARIABLE = "LABKIT_DATA"  # a data root in the environment, for notebooks, whose parameters name none


@dataclass(frozen=True)
class Lab:
    """The bench: passed to every training step. `open_lab` makes one."""

    clips: ClipStore
    split: Split
    runs: RunStore
    profile: Profile
    seed: int = 0
    dry: bool = False  # look at runs without training those that are missing
    root: Path | None = None  # the data root that the clips were prepared from
    data_name: str = PUPPETS.name  # shown beside every result

    @property
    def num_classes(self) -> int:
        return len(self.clips.class_names)

    @property
    def series_name(self) -> str:
        """The folder of what notebooks and tables leave: the profile, and the data unless it is the embedded set."""
        if self.data_name == PUPPETS.name:
            return self.profile.name
        return f"{self.profile.name}-{re.sub(r'[^0-9A-Za-z_-]+', '_', self.data_name)[:40]}"

    def with_seed(self, seed: int) -> Lab:
        return replace(self, seed=seed)

    def people(self, ids: Sequence[str] | None = None) -> np.ndarray:
        """Who acts in each clip (by default the test clips), (N,) text: clips of one person resemble each other.

        Where nobody recorded it, each clip is a group of its own.
        """
        ids = self.split.test if ids is None else ids
        about = zip(ids, self.clips.about(ids), strict=True)
        return np.array([str(facts.get("subject") or f"clip {clip}") for clip, facts in about])

    def run(self, step: str, config: dict, parents: tuple[Run, ...] = ()) -> Run:
        """The run of a training on this bench, made or not; the same inputs name the same folder.

        `config` holds what decides the outcome beside clips, split and seed: "modalities" by role among it.
        """
        clips = asdict(self.profile.clips)
        del clips["modalities"]  # those that the store holds; those that a run reads are in its own config
        common = {"seed": self.seed, "classes": self.num_classes, "clips": clips}
        pixels = self.clips.fingerprint_of(tuple(sorted(set(config["modalities"].values()))))
        data = sha256_json([pixels, self.split.train, self.split.validation, self.split.test])
        return self.runs.open(RunSpec(step, {**common, **config}, data, tuple(run.id for run in parents)))

    def needs(self, run: Run) -> bool:
        """Whether a run is still to be made; never on a bench that only looks (`dry`)."""
        return not self.dry and (not run.done or bool(run.checkpoints()))


def puppets_root(home: Path, config: PuppetsConfig) -> Path:
    """Where a part of the embedded set lies: one folder per configuration, so none overwrites another."""
    return home / "data" / f"puppets-{sha256_json(asdict(config))[:8]}"


def open_lab(profile: str | Profile = "mini", protocol: str | None = "cross-subject", seed: int = 0, *,
             home: str | os.PathLike | None = None, data: str | os.PathLike | None = None,
             progress: bool = True) -> Lab:  # fmt: skip
    """The bench on a data root; its clip store is made first where it is missing.

    `data` is any root that `data.splits.find_dataset` recognises, by default the one that the environment
    names in LABKIT_DATA, else the embedded set, which is made where it is missing. `home` is the folder
    that holds `notebooks/`, `data/` and `runs/`; by default it is found from the current folder upwards.
    Modalities that the data set has no files for are left out. Raises LabError for an unknown profile,
    and for a protocol that the data set does not have; None is the one it is usually divided by (`DataSet.usual`).
    """
    refuse_without_main_guard()
    join_launch()
    chosen = get_profile(profile) if isinstance(profile, str) else profile
    base, given = find_home(home), data or os.environ.get(DATA_VARIABLE)
    found = find_dataset(given) if given else PUPPETS
    if protocol is not None:
        found.protocol(protocol)  # a wrong name is told before anything is made
    root = Path(os.path.abspath(given)) if given else puppets_root(base, chosen.puppets)
    if not given:
        make_puppets(root, chosen.puppets, progress=progress)
    index = found.index(root)
    chosen = with_possible(chosen, index)
    store = prepare(index, store_path(root, chosen, base), chosen.clips, progress=progress)
    split = found.split(protocol or found.usual(store), store)
    return Lab(store, split, RunStore(base / "runs"), chosen, seed, root=root, data_name=index.data_name)


PAPER_PROTOCOLS = ("cross-subject", "cross-view")


def open_labs(profile: str | Profile, protocol: str | None, **options: Any) -> list[Lab]:
    """`open_lab` for each protocol of a name, on one clip store.

    "all" is both of the paper's, and on a data set that has neither all of its own; in either case those
    that can divide its clips (with one camera there is no cross-view).
    """
    if protocol != "all":
        return [open_lab(profile, protocol, **options)]
    given = options.get("data") or os.environ.get(DATA_VARIABLE)
    known = find_dataset(given) if given else PUPPETS
    names = [name for name in known.protocols if name in PAPER_PROTOCOLS]
    first = open_lab(profile, names[0] if names else None, **options)
    names = [name for name in names or known.protocols if known.divides(name, first.clips)]
    return [replace(first, split=known.split(name, first.clips)) for name in names]


def with_possible(profile: Profile, index: Index) -> Profile:
    """The profile without the modalities that the data set has no files for."""
    return replace(profile, clips=replace(profile.clips, modalities=index.possible(profile.clips.modalities)))


def store_path(root: Path, profile: Profile, home: Path | None = None) -> Path:
    """Where the aligned clips of a data root lie, one store per way of preparing them."""
    clips = profile.clips
    return beside(root, f"{clips.size}px-{clips.stored_frames}f-{clips.alignment}", home)


def beside(root: Path, ending: str, home: Path | None = None) -> Path:
    """ROOT-ending beside the data root, or in the data/ of `home` where nothing can be written there.

    Where the root is a link, beside the link: commands and notebooks then mean the same place.
    """
    root = Path(os.path.abspath(root))
    if os.access(root.parent, os.W_OK):
        return root.with_name(f"{root.name}-{ending}")
    return find_home(home) / "data" / f"{sha256_json(str(root))[:8]}-{root.name}-{ending}"
