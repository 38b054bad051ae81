"""What every experiment stands on: prepared clips, a split, a folder of runs, a profile and a seed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import datasets
from .config import Profile, PuppetsConfig, get_profile
from .datasets import ClipStore, Split
from .errors import LabError
from .files import sha256_json
from .machine import find_home
from .puppets import make_puppets
from .runs import Run, RunSpec, RunStore, code_version

PROTOCOLS: dict[str, Callable] = {
    "cross-subject": datasets.cross_subject,
    "cross-view": datasets.cross_view,
    "compositional": datasets.compositional,
}

# The modules whose code decides what a training ends in.
TRAINING_CODE = (
    "clips", "augment", "feeds", "backbones", "model", "losses", "system_losses", "distillers", "lessons",
    "sessions", "fitting", "trainers", "systems",
)  # fmt: skip


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

    @property
    def num_classes(self) -> int:
        return len(self.clips.class_names)

    def with_seed(self, seed: int) -> Lab:
        return replace(self, seed=seed)

    def spec(self, step: str, config: dict, parents: tuple[Run, ...] = ()) -> RunSpec:
        """The specification of a run on this bench; the same inputs name the same folder."""
        common = {"seed": self.seed, "classes": self.num_classes, "clips": asdict(self.profile.clips)}
        pixels = self.clips.fingerprint_of(tuple(sorted(set(config["modalities"].values()))))
        data = sha256_json([pixels, self.split.train, self.split.validation, self.split.test])
        return RunSpec(
            step, {**common, **config}, data, code_version(*TRAINING_CODE), tuple(run.id for run in parents)
        )


def puppets_root(home: Path, config: PuppetsConfig) -> Path:
    """Where a part of the embedded set lies: one folder per configuration, so none overwrites another."""
    return home / "data" / f"puppets-{sha256_json(asdict(config))[:8]}"


def open_lab(profile: str | Profile = "mini", protocol: str = "cross-subject", seed: int = 0, *,
             home: str | os.PathLike | None = None, progress: bool = True) -> Lab:  # fmt: skip
    """The bench on the embedded set; the set and its clip store are made first where they are missing.

    `home` is the folder that holds `notebooks/`, `data/` and `runs/`; by default it is found from the
    current folder upwards. Raises LabError for an unknown profile or protocol.
    """
    chosen = get_profile(profile) if isinstance(profile, str) else profile
    if protocol not in PROTOCOLS:
        raise LabError.mismatch(
            None, f"a protocol among {', '.join(PROTOCOLS)}", repr(protocol), "use one of those names"
        )
    base = find_home(home)
    root = make_puppets(puppets_root(base, chosen.puppets), chosen.puppets, progress=progress)
    store = datasets.prepare(root, store_path(root, chosen), chosen.clips, progress=progress)
    return Lab(store, PROTOCOLS[protocol](store), RunStore(base / "runs"), chosen, seed, root=root)


def store_path(root: Path, profile: Profile) -> Path:
    """Where the aligned clips of a data root lie, one store per way of preparing them."""
    clips = profile.clips
    return root.with_name(f"{root.name}-{clips.size}px-{clips.stored_frames}f-{clips.alignment}")
