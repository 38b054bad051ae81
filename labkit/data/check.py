"""Looking at every clip of a data root before anything is trained on it, and at the alignment of a prepared set.

`check_clips` never stops at the first fault. Each clip found ends as used, used with a remark, or excluded,
for the same reasons as in `prepare`, since both read with `modalities.read_aligned`; so excluded + used = found.
A remark is for somebody to judge: name such clips under "exclude" in ROOT/labkit.json to leave them out.

A clip's ratio and offset are those of its cameras and of how far away people stand, so clips of one
set-up and camera resemble each other. One that does not was tracked badly, or is not what its name says:
`alignment_rows`, `outliers` and `by_view` tell, from the records of a store.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..clips import UNLABELLED
from ..config import ClipConfig
from ..errors import LabError, printable
from ..files import check_plain, sha256_file, sha256_json
from ..tools.machine import available_cores
from ..tools.parallel import ordered_map
from ..tools.progress import Progress
from .index import Entry, Index, relative
from .media.pairing import pair_frames
from .media.video import Frames, read_video
from .modalities import RESIZED, read_aligned
from .prepare import ENOUGH, OFFSET_STEP, RATIO_STEP, View
from .skeletons import Skeleton, read_skeleton, tracking_faults
from .splits import PARTS, DataSet, Split, known_from_training

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["used", "remark", "excluded"]
Mode = Literal["quick", "full"]
DEPTH_TOLERANCE = 150  # mm between a joint, which lies inside the body, and the surface the camera sees
NEAR_JOINT = 1 / 85  # of the width: how far from a joint its surface is looked for
FULL_SCALE = 65535  # counts; where it stands for no reading, colours from nearest to farthest tell people no more
DEPTH_AGREES = 0.5  # share of tracked joints; embedded clips have 0.7 and more, four of five swapped ones less
SAME_SHAPE = 0.03  # share by which width over height of RGB and depth may differ
FAR = 5.0  # |z| from which a clip is named: of NTU's 170,000 values, if they were normal, none would reach it
STEPS = {"ratio": RATIO_STEP, "offset_x": OFFSET_STEP, "offset_y": OFFSET_STEP}  # a MAD is taken as no less
VIEW = ["setup", "camera"]
MODALITIES = ("rgb", "depth", "skeleton")
SPEAKING_ID = 3  # letters; a shorter id may stand in a file name by chance
WHOLE_FOLDER = 5  # clips; from so many on, a folder whose every clip has one fault is told as such
GRAVITY = ("used", "remark", "excluded")
PAIRING = "pairing of frames"
NOT_REGISTERED = "no joints, as other clips have: the whole RGB image lies on the whole depth image"


@dataclass(frozen=True)
class Finding:
    """One thing that is so about one clip."""

    clip: str
    verdict: Verdict
    kind: str
    modality: str = ""
    file: str = ""  # relative to the data root
    detail: str = ""


COLUMNS = tuple(column.name for column in fields(Finding))  # of the table


# -- a data root ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CheckResult:
    """What became of every clip of a data root."""

    data_name: str
    root: Path
    mode: Mode
    findings: tuple[Finding, ...]  # at least one a clip, in the order of the ids
    strangers: tuple[str, ...]
    protocols: tuple[dict[str, Any], ...]  # counts of the used clips beside the published ones
    clips_in: dict[str, int]  # by folder of the root: clips that have files in it
    published: tuple[int, int] | None  # clips found, and usable
    trainable: bool  # whether a protocol has some in every part, of two classes or more

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """The gravest verdict on each clip, by id."""
        return {f.clip: f.verdict for f in sorted(self.findings, key=lambda f: GRAVITY.index(f.verdict))}

    def count(self, verdict: Verdict) -> int:
        return list(self.verdicts.values()).count(verdict)

    @property
    def table(self) -> pd.DataFrame:
        """One row a finding; clips without a fault have a row, too."""
        import pandas as pd

        return pd.DataFrame(map(asdict, self.findings), columns=list(COLUMNS)).map(printable)

    def kinds(self) -> pd.DataFrame:
        """Clips by verdict, kind and modality, most of them first, with the first of them."""
        faults = self.table.query("kind != ''").groupby(["verdict", "kind", "modality"], sort=False)["clip"]
        table = faults.agg(clips="nunique", first="first").reset_index()
        return table.sort_values("clips", ascending=False, kind="stable")

    def whole_folders(self) -> list[str]:
        """Folders of at least WHOLE_FOLDER clips, all of which are excluded for one fault in there."""
        faults = self.table.query("verdict == 'excluded' and file != ''")
        clips = faults.groupby([faults["file"].str.split("/").str[0], "kind"])["clip"].nunique()
        return [
            f"{folder}: {kind} in all of its {number} clips"
            for (folder, kind), number in clips.items()
            if number >= max(WHOLE_FOLDER, self.clips_in.get(folder, 0))
        ]


def check_clips(data: DataSet, root: str | Path, config: ClipConfig, *, mode: Mode = "full",
                workers: int | None = None, progress: bool = True) -> CheckResult:  # fmt: skip
    """Look at every clip of a data root.

    "quick" reads names, headers and frame counts; "full" reads each clip as `prepare` would
    with `config`, decodes every other frame too, judges the skeletons and compares contents. Raises
    LabError only when the root holds no such data set, or when a worker process dies.
    """
    root, index = Path(root), data.index(root)
    config = replace(config, modalities=index.possible(config.modalities))  # as `prepare` and `open_lab` do
    jobs = [Job(entry, root, config, mode, data.two_people(entry)) for entry in index.entries]
    findings = {
        clip: [
            Finding(clip, "excluded", f.kind, f.modality, f.file or _expected(index, clip, f.modality), f.reason)
            for f in faults
        ]
        for clip, faults in index.faults.items()
    }
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
    gone = {finding.clip for finding in ordered if finding.verdict == "excluded"}
    used = replace(index, entries=tuple(entry for entry in index.entries if entry.id not in gone))
    class_of = {entry.id: index.class_names[entry.label] for entry in index.entries if entry.label != UNLABELLED}
    told = {*data.published, data.usual(used)} if used.entries else set()
    rows = [_count(data, name, used, class_of) for name in data.protocols]
    protocols = tuple(row for row in rows if "train" in row or row["protocol"] in told)  # others do not apply
    several = len({entry.label for entry in used.entries} - {UNLABELLED}) > 1
    return CheckResult(
        index.data_name, root, mode, tuple(ordered), index.strangers, protocols, _per_folder(index),
        data.published.get("clips"), several and any(all(map(row.get, PARTS)) for row in protocols),
    )  # fmt: skip


def _is_registered(entry: Entry) -> bool:
    return entry.recording.registered or "skeleton" in entry.files


def _per_folder(index: Index) -> dict[str, int]:
    tops = [{relative(file, index.root).split("/")[0] for file in entry.files.values()} for entry in index.entries]
    return dict(Counter(top for folders in tops for top in folders))


def _count(data: DataSet, name: str, used: Index, class_of: dict[str, str]) -> dict[str, Any]:
    """How many clips a protocol has in each part, and how many were published."""
    row: dict[str, Any] = {"protocol": name}
    try:
        split = data.split(name, used)
        row |= {part: len(getattr(split, part)) for part in PARTS}
        row |= {"unlabelled": len(split.unlabelled)} if split.unlabelled else {}
        row |= _lacking(split, class_of, used)
    except LabError as error:
        row["problem"] = f"{error.reason}; {error.fix}"
    if name in data.published:
        row |= dict(zip(("published train", "published test"), data.published[name], strict=True))
    return row


def _lacking(split: Split, class_of: dict[str, str], used: Index) -> dict[str, str]:
    """A "problem" where somebody is in training and in test, or some class is never trained on or never tested."""
    classes, told = sorted(set(class_of.values())), list(filter(None, [known_from_training(split, used)]))
    for part, ids in (("training", split.train), ("test", split.test)):
        if missing := sorted(set(classes) - {class_of[clip] for clip in ids}):
            told.append(f"no {part} clip of {len(missing)} of {len(classes)} classes, {missing[0]} first")
    told += [f"one class alone, {classes[0]}: nothing to tell apart"] if len(classes) == 1 else []
    return {"problem": "; ".join(told)} if told else {}


def _expected(index: Index, clip: str, modality: str) -> str:
    """Where a clip's file would lie, if it is named as its neighbour's; "" where names do not tell."""
    place = bisect(index.entries, clip, key=lambda entry: entry.id)
    for other in index.entries[max(place - 1, 0) : place + 1]:
        file = relative(other.files.get(modality, ""), index.root)
        if len(other.id) >= SPEAKING_ID and file.count(other.id) == 1:
            return file.replace(other.id, clip)
    return ""


def _same_content(entry: Entry, hashes: dict[str, str], seen: dict[tuple[str, str], str]) -> Iterator[Finding]:
    """A remark where the same bytes stand for two clips."""
    for modality, content in hashes.items():
        first = seen.setdefault((modality, content), entry.id)
        if first != entry.id:
            detail = f"the same {modality} as {first}"
            yield Finding(entry.id, "remark", "equal content", modality, detail=detail)


# -- one clip -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A clip to look at."""

    entry: Entry
    root: Path
    config: ClipConfig
    mode: Mode
    two_people: bool


def examine(job: Job) -> tuple[list[Finding], dict[str, str]]:
    """What is so about a clip, and the hash of each modality; runs in a worker process."""
    findings: list[Finding] = []
    try:
        findings += (_glance if job.mode == "quick" else _read_all)(job)
    except (LabError, OSError) as error:
        findings.append(_refusal(job, error))
    return findings, content_hashes(job.entry) if job.mode == "full" else {}


REFUSED = {  # kind of a fault, by words of what the reader says
    RESIZED: RESIZED, "16-bit grey": "wrong content", "as many as frames": "frame counts differ",
    "images of one size": "images of several sizes",
}  # fmt: skip


def _refusal(job: Job, error: LabError | OSError) -> Finding:
    path = error.path if isinstance(error, LabError) else error.filename
    reason = error.reason if isinstance(error, LabError) else error.strerror or str(error)
    modality = next((m for m, file in job.entry.files.items() if path and _inside(path, file)), "")
    where = relative(path, job.root) if path else ""
    kind = next((kind for words, kind in REFUSED.items() if words in reason), None) or _kind(path, modality)
    if _reads_swapped(job.entry):
        kind, modality, where = "RGB and depth swapped", "", ""
    return Finding(job.entry.id, "excluded", kind, modality, where, reason)


def _reads_swapped(entry: Entry) -> bool:
    """Whether each of RGB and depth can be read as the other."""
    with suppress(LabError, OSError):
        return bool(len(Frames(entry.paths["depth"]).rgb([0])) and len(Frames(entry.paths["rgb"]).depth([0])))
    return False


def _inside(path: str, file: str) -> bool:
    before, star, after = file.rpartition("*")
    return path.startswith(before) and path.endswith(after) if star else Path(file) in (Path(path), Path(path).parent)


_MAGIC = {  # what else lies in an RGB or a depth file's place
    "depth": (b"RIFF", b"\x1aE\xdf\xa3", b"\xff\xd8\xff", b"BM"),
    "rgb": (b"\x89PNG", b"\xff\xd8\xff", b"BM"),
}


def _kind(path: str | None, modality: str) -> str:
    """What is wrong with a file, told by looking at it: missing, unreadable, empty, wrong content or damaged."""
    try:
        if not path or not Path(path).exists():
            return "missing"
        if Path(path).is_dir():
            names = [item.name for item in Path(path).iterdir()]
            pictures = sum(name.endswith(".png") for name in names)
            return "missing" if not names else "gap in the frames" if pictures > len(names) / 2 else "wrong content"
        if not Path(path).is_file():
            return "not a file"
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError:
        return "unreadable"
    return "empty" if not head else "wrong content" if head.startswith(_MAGIC.get(modality, ())) else "damaged"


def _glance(job: Job) -> Iterator[Finding]:
    """Frame counts and the first and last depth image; nothing else is decoded."""
    entry = job.entry
    sources = {modality: Frames(entry.paths[modality]) for modality in ("rgb", "depth")}
    counts = {modality: frames.count for modality, frames in sources.items()}
    sources["depth"].depth([0, counts["depth"] - 1])
    if remark := pair_frames(sources["rgb"], sources["depth"])[2]:
        yield Finding(entry.id, "remark", PAIRING, detail=remark)
    if "skeleton" in entry.files:
        check_plain(entry.files["skeleton"])
        with open(entry.files["skeleton"], "rb") as file:
            first = file.readline(64).strip()
        counts["skeleton"] = int(first) if first.isdigit() and len(first) < 9 else -1
        if counts["skeleton"] < 0:
            raise LabError.mismatch(entry.files["skeleton"], "a frame count", ascii(first), "copy the file again")
    if len(set(counts.values())) > 1:
        yield Finding(entry.id, "remark", "frame counts differ", detail=_told(counts))
    if 1 < min(counts["rgb"], counts["depth"]) < job.config.stored_frames:  # an image is no clip cut short
        yield Finding(entry.id, "remark", "short", detail=f"{_told(counts)}: some frames are repeated")


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{modality} {count}" for modality, count in counts.items())


def _read_all(job: Job) -> Iterator[Finding]:
    """As `prepare` reads it, and then everything else there is to read."""
    entry = job.entry
    pixels, found = read_aligned(entry, job.config)
    yield from _notes(entry, found)
    yield from _shapes(entry, found)
    skeleton = read_skeleton(entry.files["skeleton"], allow_nan=True) if "skeleton" in entry.files else None
    if skeleton is not None:
        faults = tracking_faults(skeleton, job.two_people)
        yield from (Finding(entry.id, "remark", kind, "skeleton", detail=detail) for kind, detail in faults)
    marked = float((pixels["depth"] == min(FULL_SCALE, round(FULL_SCALE * entry.recording.depth_unit))).mean())
    if marked:
        detail = f"{100 * marked:.2g} % of the pixels used are {FULL_SCALE}, in many sets no reading: write 0 instead"
        yield Finding(entry.id, "remark", "full-scale depth", "depth", detail=detail)
    if not pixels["depth"].any():
        yield Finding(entry.id, "remark", "empty depth", "depth", detail="no reading in any frame used")
    try:
        depth = _decode_rest(entry, skeleton)
    except (LabError, OSError) as error:
        finding = _refusal(job, error)
        yield replace(finding, verdict="remark", detail=f"not among the frames used: {finding.detail}")
        return
    if depth < DEPTH_AGREES:
        detail = f"{100 * depth:.0f} % of the tracked joints lie on the depth image's surface: swapped?"
        yield Finding(entry.id, "remark", "joints and depth disagree", "depth", detail=detail)


NOTES = {  # kind and modality of a note of `read_aligned`, by words in it
    "repeated": ("short", ""), "counts differ": ("frame counts differ", ""), "paired by": (PAIRING, ""),
    "tracks": ("several tracks", ""), "not numbers": ("NaN joints", "skeleton"),
    "too few": ("too few joints", "skeleton"),
}  # fmt: skip


def _notes(entry: Entry, found: dict) -> Iterator[Finding]:
    for note in found["notes"]:
        kind, modality = next(told for words, told in NOTES.items() if words in note)
        yield Finding(entry.id, "remark", kind, modality, detail=f"{note} ({_told(found['counts'])})")


def _shapes(entry: Entry, found: dict) -> Iterator[Finding]:
    """Without joints, one whole image is laid on the other, whatever their shapes: squeezed, where these differ."""
    across, down = found["alignment"]["scale"]
    if found["alignment"]["method"] == "none" and abs(across / down - 1) > SAME_SHAPE:
        width, height = found["crop"]["of"]
        detail = f"RGB {width}x{height} is laid on depth {width / across:.0f}x{height / down:.0f}: one scene?"
        yield Finding(entry.id, "remark", "shapes differ", detail=detail)


def _decode_rest(entry: Entry, skeleton: Skeleton | None) -> float:
    """Decode all frames, one at a time; the share of joints that lie where the depth image says, or NaN."""
    rgb, depth, agreeing = Frames(entry.paths["rgb"]), Frames(entry.paths["depth"]), []
    if rgb.kind == "video":
        read_video(rgb.path, [0], seek=False)
    else:
        for number in range(rgb.count):
            rgb.rgb([number])
    whole = depth.depth(range(depth.count)) if depth.kind != "images" else None  # these cannot be read in part
    for number in range(depth.count):
        image = depth.depth([number])[0] if whole is None else whole[number]
        if skeleton is not None and number < skeleton.num_frames:
            agreeing.append(joints_on_depth(skeleton, number, image))
    counts = np.sum(agreeing, axis=0) if agreeing else np.zeros(2)
    return float(counts[0] / counts[1]) if counts[1] else float("nan")


def joints_on_depth(skeleton: Skeleton, frame: int, depth: np.ndarray) -> tuple[int, int]:
    """How many tracked joints of a frame have a depth reading within DEPTH_TOLERANCE near them, of how many.

    `depth` (H,W) in millimetres. Joints outside the image do not count.
    """
    shown = (skeleton.state[frame] == 2) & np.isfinite(skeleton.depth_xy[frame]).all(-1)
    xy, z = skeleton.depth_xy[frame][shown], 1000 * skeleton.xyz[frame][shown][:, 2]
    height, width = depth.shape
    inside = (xy >= 0).all(-1) & (xy < (width, height)).all(-1) & (z > 0)
    columns, rows = xy[inside].astype(int).T
    radius = max(1, round(NEAR_JOINT * width))
    steps = np.arange(-radius, radius + 1)
    near = depth[
        np.clip(rows[:, None, None] + steps[:, None], 0, height - 1),
        np.clip(columns[:, None, None] + steps, 0, width - 1),
    ].astype(float)
    fits = (near > 0) & (np.abs(near - z[inside][:, None, None]) < DEPTH_TOLERANCE)
    return int(fits.any(axis=(1, 2)).sum()), int(inside.sum())


def content_hashes(entry: Entry) -> dict[str, str]:
    """SHA-256 of each modality's bytes, file names aside; nothing for what cannot be read."""
    found = {}
    for modality in filter(entry.files.get, MODALITIES):
        with suppress(LabError, OSError):
            hashes = [sha256_file(file) for file in Frames(entry.paths[modality]).files]
            found[modality] = hashes[0] if len(hashes) == 1 else sha256_json(hashes)
    return found


# -- the alignment of a prepared set --------------------------------------------------------------


def alignment_rows(records: Iterable[dict]) -> pd.DataFrame:
    """One row a clip: its view, ratio (colour px per depth px), offset and residual (depth px), and its z.

    `fallback` marks clips that another alignment stands in for, `source` says whose; they have neither
    residual nor z. `z` is the largest of the ratio's and the offset's robust z-scores, `worst` says whose,
    among the clips of the same set-up and camera, or where those are fewer than ENOUGH, of
    the same camera; NaN where those are too few as well. Clips that were not registered are left out.
    """
    import pandas as pd

    rows = []
    for record in records:
        found, view = record["alignment"], View.of(record["about"])
        if found["fallback"] or found["residual_px"] is not None:
            residual = np.nan if found["fallback"] else found["residual_px"]
            rows.append((record["id"], *view, found["ratio"], *found["offset"], residual, found["fallback"],
                         found.get("source", "")))  # fmt: skip
    columns = ["clip", *VIEW, *STEPS, "residual_px", "fallback", "source"]
    return _with_z(pd.DataFrame(rows, columns=columns))


def _with_z(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    fitted, scores = rows[~rows["fallback"].astype(bool)], {}
    for name, step in STEPS.items():
        scores[name] = pd.Series(np.nan, rows.index)
        for near in ("camera", VIEW):  # the nearer counts
            for _, values in fitted.groupby(near)[name]:
                if len(values) >= ENOUGH:
                    away = values - values.median()
                    scores[name][values.index] = away / max(1.4826 * away.abs().median(), step)
    table = pd.DataFrame(scores)
    worst = table.abs().fillna(-1).idxmax(axis=1) if len(rows) else pd.Series(dtype=str)
    z = [table.at[row, name] for row, name in worst.items()]
    return rows.assign(z=np.array(z, float), worst=worst.where(np.isfinite(z), "") if len(rows) else "")


def outliers(rows: pd.DataFrame) -> pd.DataFrame:
    """The clips of `alignment_rows` that depart by FAR or more, the farthest first."""
    far = rows[rows["z"].abs() >= FAR]
    return far.reindex(far["z"].abs().sort_values(ascending=False, kind="stable").index)


def by_view(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a set-up and camera: clips, medians and interquartile ranges, residuals, stand-ins, outliers.

    Medians are over the clips that were fitted; pixels are those of the depth image.
    """
    import pandas as pd

    table = []
    for view, group in rows.groupby(VIEW):
        fitted = group[~group["fallback"].astype(bool)]
        quartiles = fitted[[*STEPS]].quantile([0.25, 0.5, 0.75])
        told = dict(zip(VIEW, view, strict=True)) | {"clips": len(group)}
        for name in STEPS:
            told |= {name: quartiles.at[0.5, name], f"{name}_iqr": quartiles.at[0.75, name] - quartiles.at[0.25, name]}
        told |= {"residual_px": fitted["residual_px"].median(), "residual_95": fitted["residual_px"].quantile(0.95)}
        table.append(told | {"fallbacks": len(group) - len(fitted), "outliers": int((group["z"].abs() >= FAR).sum())})
    return pd.DataFrame(table)
