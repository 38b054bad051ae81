"""Looking at every clip of a data root before anything is trained on it.

`inspect` never stops at the first fault. Each clip found ends as used, used with a remark, or excluded,
for the same reasons as in `prepare`, since both read with `modalities.read_aligned`; so
excluded + used = found. A remark is for somebody to judge: name such clips under "exclude" in
ROOT/labkit.json to leave them out.
"""

from __future__ import annotations

import csv
import io
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from ..config import ClipConfig
from ..errors import LabError, printable
from ..machine import available_cores
from ..parallel import ordered_map
from ..progress import Progress
from .examination import Finding, Job, Mode, Verdict, examine, relative
from .index import Entry, Index
from .splits import DataSet, Split

MODALITIES = ("rgb", "depth", "skeleton")  # whose absence an index tells
COLUMNS = tuple(column.name for column in fields(Finding))  # of the table
SPEAKING_ID = 3  # letters; a shorter id may stand in a file name by chance
NOT_REGISTERED = "no joints, as other clips have: the whole RGB image lies on the whole depth image"
WHOLE_FOLDER = 5  # clips; from so many on, a folder whose every clip has one fault is told as such


@dataclass(frozen=True)
class Inspection:
    """What became of every clip of a data root."""

    data_name: str
    root: Path
    mode: Mode
    findings: tuple[Finding, ...]  # at least one a clip, in the order of the ids
    strangers: tuple[str, ...]
    protocols: tuple[dict[str, Any], ...]  # counts of the used clips beside the published ones
    clips_in: dict[str, int]  # by folder of the root: clips that have files in it
    published: tuple[int, int] | None  # clips found, and usable

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """The gravest verdict on each clip, by id."""
        found: dict[str, Verdict] = {}
        for finding in self.findings:
            before = found.get(finding.clip, "used")
            found[finding.clip] = max(before, finding.verdict, key=("used", "remark", "excluded").index)
        return found

    def count(self, verdict: Verdict) -> int:
        return sum(found == verdict for found in self.verdicts.values())

    def kinds(self) -> list[dict[str, Any]]:
        """Clips by verdict, kind and modality, most of them first, with the first of them."""
        clips: dict[tuple[str, str, str], dict[str, None]] = {}
        for finding in self.findings:
            if finding.kind:
                clips.setdefault((finding.verdict, finding.kind, finding.modality), {})[finding.clip] = None
        rows = sorted(clips.items(), key=lambda item: -len(item[1]))
        names = ("verdict", "kind", "modality")
        return [dict(zip(names, key, strict=True)) | {"clips": len(ids), "first": next(iter(ids))} for key, ids in rows]

    def whole_folders(self) -> list[str]:
        """Folders of at least WHOLE_FOLDER clips, all of which are excluded for one fault in there."""
        faults: dict[tuple[str, str], set[str]] = {}
        for finding in self.findings:
            if finding.verdict == "excluded" and finding.file:
                faults.setdefault((finding.file.split("/")[0], finding.kind), set()).add(finding.clip)
        return [
            f"{folder}: {kind} in all of its {len(clips)} clips"
            for (folder, kind), clips in sorted(faults.items())
            if len(clips) >= max(WHOLE_FOLDER, self.clips_in.get(folder, 0))
        ]

    def to_csv(self) -> str:
        """One row a finding, with a head; clips without a fault have a row, too."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: printable(value) for key, value in asdict(finding).items()} for finding in self.findings)
        return buffer.getvalue()


def inspect(data: DataSet, root: str | Path, config: ClipConfig | None = None, *, mode: Mode = "full",
            workers: int | None = None, progress: bool = True) -> Inspection:  # fmt: skip
    """Look at every clip of a data root.

    "quick" reads names, headers and frame counts; "full" reads each clip as `prepare` would
    with `config`, decodes every other frame too, judges the skeletons and compares contents. Raises
    LabError only when the root holds no such data set, or when a worker process dies.
    """
    root, config = Path(root), config or ClipConfig(size=32)
    index = data.index(root)
    config = replace(config, modalities=index.possible(config.modalities))  # as `prepare` and `open_lab` do
    jobs = [Job(entry, root, config, mode, data.two_people(entry)) for entry in index.entries]
    findings = {clip: list(_by_index(index, clip, why)) for clip, why in index.excluded.items()}
    contents: dict[tuple[str, str], str] = {}
    mixed = any(map(_is_registered, index.entries))
    bar = Progress(f"check {len(jobs)} clips ({mode})", len(jobs), "clips", show=progress)
    with bar, closing(ordered_map(examine, jobs, workers or available_cores())) as results:
        for job, (found, hashes) in zip(jobs, results, strict=True):
            findings[job.entry.id] = found + list(_same_content(job.entry, hashes, contents))
            if mixed and not _is_registered(job.entry):
                findings[job.entry.id].append(Finding(job.entry.id, "remark", "not registered", detail=NOT_REGISTERED))
            bar.advance()
    ordered = [finding for clip in sorted(findings) for finding in findings[clip] or [Finding(clip, "used", "")]]
    used = _Used(index, {finding.clip for finding in ordered if finding.verdict == "excluded"})
    protocols = tuple(_count(data, name, used) for name in data.protocols)
    return Inspection(
        index.data_name, root, mode, tuple(ordered), index.strangers, protocols, _per_folder(index),
        data.published.get("clips"),
    )  # fmt: skip


def _is_registered(entry: Entry) -> bool:
    return entry.recording.registered or "skeleton" in entry.files


def _per_folder(index: Index) -> dict[str, int]:
    tops = [{relative(file, index.root).split("/")[0] for file in entry.files.values()} for entry in index.entries]
    return dict(Counter(chain.from_iterable(tops)))


class _Used:
    """What is left of an index, for the protocols."""

    def __init__(self, index: Index, without: Iterable[str]):
        gone = set(without)
        self.ids, self.about = [clip for clip in index.ids if clip not in gone], index.about
        self.class_of = {entry.id: index.class_names[entry.label] for entry in index.entries}


def _count(data: DataSet, name: str, used: _Used) -> dict[str, Any]:
    """How many clips a protocol has in each part, and how many were published."""
    row: dict[str, Any] = {"protocol": name}
    try:
        split = data.split(name, used)
        row |= {part: len(getattr(split, part)) for part in ("train", "validation", "test")}
        row |= _lacking(split, used.class_of)
    except LabError as error:
        row["problem"] = error.reason
    if name in data.published:
        row |= dict(zip(("published train", "published test"), data.published[name], strict=True))
    return row


def _lacking(split: Split, class_of: dict[str, str]) -> dict[str, str]:
    """A "problem" where some class is never trained on or never tested."""
    classes, told = sorted(set(class_of.values())), []
    for part, ids in (("training", split.train), ("test", split.test)):
        missing = sorted(set(classes) - {class_of[clip] for clip in ids})
        told += [f"no {part} clip of {len(missing)} of {len(classes)} classes, {missing[0]} first"] if missing else []
    told += [f"one class alone, {classes[0]}: nothing to tell apart"] if len(classes) == 1 else []
    return {"problem": "; ".join(told)} if told else {}


def _by_index(index: Index, clip: str, why: str) -> Iterator[Finding]:
    """Why the index left a clip out: a finding for each missing file, or one for the whole reason."""
    missing: dict[str, str] = {}
    for reason in why.split("; ") if _index_kind(why) == "missing" else ():
        head, _, rest = reason.partition(": ")
        modality = head.removeprefix("no ")
        if modality in MODALITIES:
            missing[modality] = missing.get(modality) or rest.removesuffix(" is not there")
    if not missing:
        yield Finding(clip, "excluded", _index_kind(why), detail=why)
    for modality, file in missing.items():
        yield Finding(clip, "excluded", "missing", modality, file or _expected(index, clip, modality), why)


def _expected(index: Index, clip: str, modality: str) -> str:
    """Where a clip's file would lie, if it is named as its neighbour's; "" where names do not tell."""
    place = bisect(index.entries, clip, key=lambda entry: entry.id)
    for other in index.entries[max(place - 1, 0) : place + 1]:
        file = relative(other.files.get(modality, ""), index.root)
        if len(other.id) >= SPEAKING_ID and file.count(other.id) == 1:
            return file.replace(other.id, clip)
    return ""


def _index_kind(reason: str) -> str:
    """The kind of a reason that the index gave."""
    if "published list" in reason:
        return "on the missing list"
    if reason.startswith("split "):
        return "no such split"
    if "twice" in reason:
        return "found twice"
    return "missing" if reason.startswith("no ") else "left out"


def _same_content(entry: Entry, hashes: dict[str, str], seen: dict[tuple[str, str], str]) -> Iterator[Finding]:
    """A remark where the same bytes stand for two clips, or for two modalities of one."""
    for modality, content in hashes.items():
        first = seen.setdefault((modality, content), entry.id)
        if first != entry.id:
            detail = f"the same {modality} as {first}"
            yield Finding(entry.id, "remark", "equal content", modality, detail=detail)
