"""The trained networks of the paper's claims on more people: puppets beyond the set's own, who act for the test alone.

An interval over twenty test people stays wide however many seeds are trained. NTU RGB+D has forty people; the puppets
have a hundred and six, so as many again as the set has are asked (`mini`: ids 61 to 100). Nothing is trained. For
cross-subject only: cross-view tests people that it has trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ...clips import Batch
from ...config import Profile, PuppetsConfig
from ...data.prepare import prepare
from ...data.splits import PUPPETS, Split
from ...data.store import ClipStore
from ...errors import LabError
from ...lab import EMBEDDED, Lab
from ...puppets.make import make_puppets
from ...puppets.opening import puppets_root, store_path
from ...runs import Run
from ...trainers import load_network, load_stream, read_both, role_of_single
from .systems import answer, read_jointly

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

FIRST = 61  # 1 to 40 stand for the people of NTU RGB+D, 41 to 60 have no labels


def answer_more_people(lab: Lab, trained: Run) -> Run:
    """The run of what a finished run's network says of more people; its readings but "with_depth".

    Raises LabError for another data set than the puppets and for another protocol than cross-subject.
    """
    if (lab.data_name, lab.split.name) != (EMBEDDED, "cross-subject"):
        found = f"{lab.split.name} of {lab.data_name}"
        fix = "ask more people by --protocol cross-subject, without --data"
        raise LabError.mismatch(lab.root, "cross-subject of the embedded set", found, fix)
    spec = trained.spec.config
    config = {"model": spec["model"], "modalities": spec["modalities"], "puppets": asdict(_puppets(lab))}
    run = lab.run("more-people", config, (trained,))
    if not lab.needs(run):
        return run
    network, read = _network_of(trained)
    return answer(run, with_more_people(lab), network, read, parts=("test",), bn_at_test=spec["train"]["bn_at_test"])


def with_more_people(lab: Lab) -> Lab:
    """The lab with clips of more people in the place of its own, all of them test clips; made where missing.

    Their set lies beside that of the lab.
    """
    clips = _clips(lab.root.parent.parent, _puppets(lab), lab.profile)
    return replace(lab, clips=clips, split=Split("more people", (), (), tuple(sorted(clips.ids))))


@cache
def _clips(home: Path, puppets: PuppetsConfig, profile: Profile) -> ClipStore:
    """Looked at once in a process, for all seeds."""
    root = make_puppets(puppets_root(home, puppets), puppets)
    return prepare(PUPPETS.index(root), store_path(root, profile), profile.clips)


def _puppets(lab: Lab) -> PuppetsConfig:
    own = lab.profile.puppets
    return replace(own, subjects=tuple(range(FIRST, FIRST + len(own.subjects))), unlabelled=())


def _network_of(run: Run) -> tuple[Module, Callable[[Batch], dict[str, Tensor]]]:
    """A run's network, and what it answers by the names of its readings."""
    from torch.nn import ModuleDict

    sees = run.spec.config["modalities"]
    if run.spec.step == "joint":
        streams = ModuleDict({role: load_stream(run, role) for role in sees})
        return streams, read_jointly(streams, sees)
    network, single = load_network(run), role_of_single(run)
    if single is None:
        return network, read_both(network, sees["target"], sees["source"])
    reading = "alone" if single == "hallucination" else single
    return network, lambda batch: {reading: network(batch[sees[single]]).logits}
