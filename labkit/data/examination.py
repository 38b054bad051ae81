"""Looking at one clip of a data root: what is wrong with it, and what somebody should know.

A clip is excluded for the reasons for which `prepare` excludes it, since both read with
`modalities.read_aligned`; whatever else is found is a remark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..config import ClipConfig
from ..errors import LabError
from ..files import check_plain, read_json, sha256_bytes, sha256_file, sha256_json
from .index import Entry
from .modalities import read_aligned
from .skeletons import Skeleton, body_spread, read_skeleton
from .video import Frames, check_video

Verdict = Literal["used", "remark", "excluded"]
Mode = Literal["quick", "full"]
STILL_SHARE = 0.05  # a body that moves less than this share of the liveliest one is furniture, or a stranger
STILL_SPREAD = 1e-3  # m2, and less than this in all; 25 joints that sway by a centimetre
DEPTH_TOLERANCE = 150  # mm between a joint, which lies inside the body, and the surface the camera sees
NEAR_JOINT = 1 / 85  # of the width: how far from a joint its surface is looked for
FULL_SCALE = 65535  # counts; where it stands for no reading, colours from nearest to farthest tell people no more
DEPTH_AGREES = 0.5  # share of tracked joints; embedded clips have 0.7 and more, four of five swapped ones less
SAME_SHAPE = 0.03  # share by which width over height of RGB and depth may differ


@dataclass(frozen=True)
class Finding:
    """One thing that is so about one clip."""

    clip: str
    verdict: Verdict
    kind: str
    modality: str = ""
    file: str = ""  # relative to the data root
    detail: str = ""


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
    look = _glance if job.mode == "quick" else _read_all
    findings: list[Finding] = []
    try:
        findings += look(job)
    except (LabError, OSError) as error:
        findings.append(_refusal(job, error))
    hashes = content_hashes(job.entry) if job.mode == "full" else {}
    return findings + list(_against_record(job.entry, hashes)), hashes


def _refusal(job: Job, error: LabError | OSError, verdict: Verdict = "excluded") -> Finding:
    path = error.path if isinstance(error, LabError) else error.filename
    reason = error.reason if isinstance(error, LabError) else error.strerror or str(error)
    modality = next((m for m, file in job.entry.files.items() if path and _inside(path, file)), "")
    where = relative(path, job.root) if path else ""
    return Finding(job.entry.id, verdict, _kind(path, modality), modality, where, reason)


def _inside(path: str, file: str) -> bool:
    before, star, after = file.rpartition("*")
    return path.startswith(before) and path.endswith(after) if star else Path(file) in (Path(path), Path(path).parent)


def relative(path: str, root: Path) -> str:
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return str(path)


_MAGIC = {
    b"\x89PNG": "picture", b"\xff\xd8\xff": "picture", b"BM": "picture", b"RIFF": "video", b"\x1aE\xdf\xa3": "video",
}  # fmt: skip
_EXPECTED = {"depth": "picture", "rgb": "video"}


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
            head = file.read(26)
    except OSError:
        return "unreadable"
    return _kind_of_content(head, modality)


def _kind_of_content(head: bytes, modality: str) -> str:
    if not head:
        return "empty"
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    wrong = modality in _EXPECTED and kind and kind != _EXPECTED[modality]
    if modality == "depth" and head[:4] == b"\x89PNG" and len(head) == 26 and head[24:26] != b"\x10\x00":
        wrong = True  # a picture where 16-bit grey belongs
    return "wrong content" if wrong else "damaged"


def _glance(job: Job) -> Iterator[Finding]:
    """Frame counts and the first and last depth image; nothing else is decoded."""
    entry, counts = job.entry, {}
    for modality in ("rgb", "depth"):
        counts[modality] = Frames(Path(entry.files[modality])).count
    Frames(Path(entry.files["depth"])).depth([0, counts["depth"] - 1])
    if "skeleton" in entry.files:
        check_plain(entry.files["skeleton"])
        with open(entry.files["skeleton"], "rb") as file:
            first = file.readline(64).strip()
        counts["skeleton"] = int(first) if first.isdigit() and len(first) < 9 else -1
        if counts["skeleton"] < 0:
            raise LabError.mismatch(entry.files["skeleton"], "a frame count", ascii(first), "copy the file again")
    if len(set(counts.values())) > 1:
        yield Finding(entry.id, "remark", "frame counts differ", detail=_told(counts))
    if min(counts["rgb"], counts["depth"]) < job.config.stored_frames:
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
        yield from _bodies(entry.id, skeleton, job.two_people)
    marked = float((pixels["depth"] == min(FULL_SCALE, round(FULL_SCALE * entry.recording.depth_unit))).mean())
    if marked:
        detail = f"{100 * marked:.2g} % of the pixels used are {FULL_SCALE}, in many sets no reading: write 0 instead"
        yield Finding(entry.id, "remark", "full-scale depth", "depth", detail=detail)
    if not pixels["depth"].any():
        yield Finding(entry.id, "remark", "empty depth", "depth", detail="no reading in any frame used")
    try:
        depth = _decode_rest(entry, skeleton)
    except (LabError, OSError) as error:
        finding = _refusal(job, error, "remark")
        detail = f"not among the frames used: {finding.detail}"
        yield Finding(entry.id, "remark", finding.kind, finding.modality, finding.file, detail)
        return
    if depth < DEPTH_AGREES:
        detail = f"{100 * depth:.0f} % of the tracked joints lie on the depth image's surface: swapped?"
        yield Finding(entry.id, "remark", "joints and depth disagree", "depth", detail=detail)


def _notes(entry: Entry, found: dict) -> Iterator[Finding]:
    kinds = {"some frames are repeated": "short", "frame counts differ": "frame counts differ"}
    for note in found["notes"]:
        kind = kinds.get(note, "NaN joints" if "not numbers" in note else "too few joints")
        modality = "" if note in kinds else "skeleton"
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
    if Frames(entry.paths["rgb"]).kind == "video":
        check_video(entry.paths["rgb"])
    else:
        rgb = Frames(entry.paths["rgb"])
        for number in range(rgb.count):
            rgb.rgb([number])
    depth, agreeing = Frames(entry.paths["depth"]), []
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


def _bodies(clip: str, skeleton: Skeleton, two_people: bool) -> Iterator[Finding]:
    """Remarks on who was tracked (the defects that NTU's users report)."""
    def remark(kind: str, detail: str) -> Finding:
        return Finding(clip, "remark", kind, "skeleton", detail=detail)

    bodies = skeleton.present.sum(axis=1)
    empty = np.flatnonzero(bodies == 0)
    if len(empty):
        leading = int((np.cumsum(bodies) == 0).sum())
        yield remark("frames without a body", f"{len(empty)} of {len(bodies)} frames, {leading} of them at the start")
    if len(set(bodies[bodies > 0])) > 1:
        yield remark("body count changes", f"from {bodies.min()} to {bodies.max()} bodies")
    if bodies.max(initial=0) > 2:
        yield remark("more than two bodies", f"{bodies.max()} in one frame")
    zeros = int((skeleton.xyz[skeleton.present] == 0).all(axis=-1).sum())
    if zeros:
        yield remark("all-zero joints", f"{zeros} joints at the origin")
    spread = sorted(body_spread(skeleton).values(), reverse=True)
    still = [value for value in spread[1:] if value < max(STILL_SHARE * spread[0], STILL_SPREAD)]
    if two_people and np.median(bodies) < 2:
        yield remark("second person missing", "an action of two, and one body in most frames")
    elif two_people and len(spread) > 1 and len(spread) - len(still) < 2:
        yield remark("second person stands still", "an action of two, of whom one does not move")
    elif not two_people and still:
        yield remark("phantom body", f"{len(still)} more bodies that hardly move")
    elif not two_people and len(spread) > 1:
        yield remark("second person", "an action of one, and two bodies that move")


def content_hashes(entry: Entry) -> dict[str, str]:
    """SHA-256 of each modality's bytes, file names aside; nothing for what cannot be read."""
    found = {}
    for modality in ("rgb", "depth", "skeleton"):
        try:
            files = Frames(Path(entry.files[modality])).files if modality in entry.files else ()
            hashes = [sha256_file(file) for file in files]
        except (LabError, OSError):
            continue
        if hashes:
            found[modality] = hashes[0] if len(hashes) == 1 else sha256_json(hashes)
    return found


def _against_record(entry: Entry, hashes: dict[str, str]) -> Iterator[Finding]:
    """The embedded set keeps a record of every clip's bytes; swapped or changed files differ from it."""
    try:
        recorded = read_json(entry.files["boxes"]).get("sha256", {}) if hashes and "boxes" in entry.files else {}
    except (LabError, AttributeError) as error:
        yield Finding(entry.id, "remark", "damaged", "boxes", detail=str(error))
        return
    for modality, expected in recorded.items():
        if modality not in hashes:
            continue
        found = hashes[modality]
        if modality == "depth":
            found = sha256_bytes(b"".join(file.read_bytes() for file in Frames(entry.paths["depth"]).files))
        if found != expected:
            detail = "other bytes than its record: changed, or swapped with another clip"
            yield Finding(entry.id, "remark", "not as recorded", modality, detail=detail)
