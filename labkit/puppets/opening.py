"""Where a lab's clips come from: a data root, or the embedded set, prepared once and kept beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..config import Profile, PuppetsConfig
from ..data.index import Index
from ..data.prepare import prepare
from ..data.splits import PUPPETS, USUAL, DataSet, Split, find_dataset, known_from_training
from ..data.store import INDEX
from ..errors import printable
from ..files import sha256_json
from ..lab import DATA_VARIABLE, EMBEDDED, Lab, tell
from ..runs import RunStore
from ..tools.home import find_home
from ..tools.machine import keep_to_share
from ..tools.parallel import refuse_without_main_guard
from ..tools.settings import get_profile
from .make import make_puppets


def puppets_root(home: Path, config: PuppetsConfig) -> Path:
    """Where a part of the embedded set lies: one folder per configuration, so none overwrites another."""
    return home / "data" / f"puppets-{sha256_json(asdict(config))[:8]}"


def asked_for(profile: str | Profile, protocol: str | None = None,
              data: str | os.PathLike | None = None) -> tuple[Profile, DataSet, str | os.PathLike | None]:  # fmt: skip
    """The profile, the data set and its root (None: the embedded one); LabError for a name that there is not."""
    chosen = get_profile(profile) if isinstance(profile, str) else profile
    given = data or os.environ.get(DATA_VARIABLE)
    found = find_dataset(given) if given else PUPPETS
    if protocol is not None:
        found.protocol(protocol)
    return chosen, found, given


def open_lab(profile: str | Profile, protocol: str | None, seed: int = 0, *, home: str | os.PathLike | None = None,
             data: str | os.PathLike | None = None, progress: bool = True, dry: bool = False) -> Lab:  # fmt: skip
    """See `lab.open_lab`; with `dry`, a lab of `Unprepared` clips where they would have to be made first."""
    refuse_without_main_guard()
    keep_to_share()
    chosen, found, given = asked_for(profile, protocol, data)
    base = find_home(home)
    root = Path(os.path.abspath(given)) if given else puppets_root(base, chosen.puppets)
    made = root if given else root / "puppets.csv", store_path(root, chosen, base) / INDEX
    if dry and not all(path.exists() for path in made):
        name = protocol or (USUAL if USUAL in found.protocols else next(iter(found.protocols)))
        return _unprepared(root, name, RunStore(base / "runs"), chosen, root.name if given else EMBEDDED)
    if not given:
        make_puppets(root, chosen.puppets, progress=progress)
    index = found.index(root)
    chosen = with_possible(chosen, index)
    store = prepare(index, store_path(root, chosen, base), chosen.clips, progress=progress)
    split = found.split(protocol or found.usual(store), store)
    if given and progress and store.excluded:
        clip, reason = next(iter(store.excluded.items()))
        tell(f"left out: {len(store.excluded)} clips, first {printable(clip)}: {printable(reason)}; "
             f"`labkit data check {root}` tells of all")  # fmt: skip
    if progress and (remark := known_from_training(split, store)):
        tell(f"split {split.name}: {remark}")
    return Lab(store, split, RunStore(base / "runs"), chosen, seed, root=root, data_name=index.data_name)


class Unprepared:
    """Stands for clips that nobody has prepared yet: a lab of them names its targets, and has no run."""

    ids = class_names = ()

    def about(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        return []

    def fingerprint_of(self, modalities: Iterable[str], unlabelled: bool = False) -> str:
        return "not prepared yet"


def _unprepared(root: Path, protocol: str, runs: RunStore, profile: Profile, data_name: str) -> Lab:
    tell(f"{root}: no clips are prepared yet, so there is no run; `run` and `reproduce` make both, with these options")
    split = Split(protocol, *[("",)] * 4)  # some clip in each part
    return Lab(Unprepared(), split, runs, profile, dry=True, root=root, data_name=data_name)


PAPER_PROTOCOLS = ("cross-subject", "cross-view")


def open_labs(profile: str | Profile, protocol: str | None, **options: Any) -> list[Lab]:
    """`open_lab` for each protocol of a name, on one clip store.

    "all" is both of the paper's, and on a data set that has neither all of its own; in either case those
    that can divide its clips (with one camera there is no cross-view); of clips that are not prepared, the first.
    """
    if protocol != "all":
        return [open_lab(profile, protocol, **options)]
    _, known, _ = asked_for(profile, data=options.get("data"))
    names = [name for name in known.protocols if name in PAPER_PROTOCOLS]
    first = open_lab(profile, names[0] if names else None, **options)
    asked = names or [*known.protocols]
    names = [name for name in asked if known.divides(name, first.clips)]
    if names and len(names) < len(asked):
        tell(f"left out, as these clips cannot be divided so: {', '.join(name for name in asked if name not in names)}")
    return [replace(first, split=known.split(name, first.clips)) for name in names] or [first]


def with_possible(profile: Profile, index: Index) -> Profile:
    """The profile without the modalities that the data set has no files for."""
    return replace(profile, clips=replace(profile.clips, modalities=index.possible(profile.clips.modalities)))


def store_path(root: Path, profile: Profile, home: Path | None = None) -> Path:
    """Where the aligned clips of a data root lie, one store per way of preparing them."""
    clips = profile.clips
    return beside(root, f"{clips.size}px-{clips.stored_frames}f-{clips.alignment}", home)


def beside(root: Path, ending: str, home: Path | None = None) -> Path:
    """ROOT-ending beside the data root, or in the data/ of `home` where nothing can be written there.

    Where the root is a link, beside the link: commands and notebooks then mean the same place. A folder that
    somebody else has made there is used, too.
    """
    root = Path(os.path.abspath(root))
    there = root.with_name(f"{root.name}-{ending}")
    if there.is_dir() or os.access(root.parent, os.W_OK):
        return there
    return find_home(home) / "data" / f"{sha256_json(str(root))[:8]}-{root.name}-{ending}"
