"""NTU RGB+D `.skeleton` files: a strict parser and a writer.

Kinect v2 tracks 25 joints of up to six bodies and maps each into the depth and the colour image;
those double coordinates are what registers the two cameras (`alignment`). The text file holds the
frame count, then per frame a body count, per body one line of 10 fields, the joint count and 25
lines of 12 fields (x y z, depth x y, colour x y, orientation w x y z, tracking state).

A file is either read exactly or refused with a LabError that names the line. CRLF line ends, a
missing last newline and frames without bodies are legal. NaN occurs in the recordings: it is
refused, unless `allow_nan` asks for such joints as untracked ones. All-zero joints are legal
numbers and are returned as they stand; `alignment` ignores them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import LabError
from ..files import write_text

NUM_JOINTS = 25  # Kinect v2
BODY_FIELDS = (
    "clippedEdges", "handLeftConfidence", "handLeftState", "handRightConfidence",
    "handRightState", "isRestricted", "leanX", "leanY", "trackingState",
)  # fmt: skip
_SHAPES = {
    "depth_xy": (NUM_JOINTS, 2), "color_xy": (NUM_JOINTS, 2), "xyz": (NUM_JOINTS, 3),
    "state": (NUM_JOINTS,), "orientation": (NUM_JOINTS, 4), "body_info": (len(BODY_FIELDS),),
}  # fmt: skip
_LEANS = (6, 7)  # the two real numbers among BODY_FIELDS; the others are whole
STILL_SHARE = 0.05  # a body that moves less than this share of the liveliest one is furniture, or a stranger
STILL_SPREAD = 1e-3  # m2, and less than this in all; 25 joints that sway by a centimetre
MAX_BODIES = 6  # Kinect v2 tracks no more
MAX_FRAMES = 10_000  # 5.5 minutes; the longest NTU clips have about 300. Bounds memory at 150 MB
MAX_BYTES = 64 << 20  # ten times the largest NTU file
_MAX_LINE = 512
_STATES = {b"0", b"1", b"2"}  # not tracked, inferred, tracked
_ALPHABET = b"0123456789+-.eE \t\n"
_FIX = "copy the file from its source again, or leave this clip out"


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Joints of one clip. `bodies` is the largest body count of any frame.

    Slot b of frame t is the b-th body *listed* in that frame; who it is, `body_id` says, since the
    list shifts when somebody leaves. Empty slots: NaN, state 0, body_id -1.
    """

    depth_xy: np.ndarray  # (T, bodies, 25, 2) float64, pixels of the depth image
    color_xy: np.ndarray  # (T, bodies, 25, 2) float64, pixels of the colour image
    xyz: np.ndarray  # (T, bodies, 25, 3) float64, metres, camera coordinates
    state: np.ndarray  # (T, bodies, 25) int8: 0 not tracked, 1 inferred, 2 tracked
    orientation: np.ndarray  # (T, bodies, 25, 4) float64, quaternion w x y z
    body_id: np.ndarray  # (T, bodies) int64
    body_info: np.ndarray  # (T, bodies, 9) float64, in the order of BODY_FIELDS
    path: str | None = None  # where it was read from, for messages

    @property
    def tracked(self) -> np.ndarray:
        """(T, bodies, 25) bool: joints that the sensor saw."""
        return self.state == 2

    def joints(self, least_state: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `alignment` takes: depth_xy and color_xy (N, 25, 2), tracked (N, 25); a row is a body in a frame."""
        def rows(values: np.ndarray) -> np.ndarray:
            return values.reshape(-1, NUM_JOINTS, *values.shape[3:])

        return rows(self.depth_xy), rows(self.color_xy), rows(self.state) >= least_state

    @property
    def num_frames(self) -> int:
        return len(self.state)

    @property
    def present(self) -> np.ndarray:
        """(T, bodies) bool: the slot holds a body."""
        return self.body_id >= 0

    @property
    def nan_joints(self) -> int:
        """How many joints of present bodies have NaN in their image or space coordinates."""
        values = np.concatenate([self.depth_xy, self.color_xy, self.xyz], axis=-1)
        return int(np.isnan(values[self.present]).any(axis=-1).sum())


def single_body(xyz, depth_xy, color_xy, state, *, orientation=None) -> Skeleton:
    """One body in every frame, from arrays (T, 25, ...); orientations are 0 where not given."""
    frames = len(state)
    info = np.zeros((frames, 1, len(BODY_FIELDS)))
    info[..., -1] = 2
    if orientation is None:
        orientation = np.zeros((frames, NUM_JOINTS, 4))
    real = (np.asarray(a, np.float64)[:, None] for a in (depth_xy, color_xy, xyz))
    return Skeleton(
        *real,
        state=np.asarray(state, np.int8)[:, None],
        orientation=np.asarray(orientation, np.float64)[:, None],
        body_id=np.ones((frames, 1), np.int64),
        body_info=info,
    )


def body_spread(skeleton: Skeleton) -> dict[int, float]:
    """Summed variance of the coordinates of each body's joints, m2, by body id; bodies without any are left out."""
    spread = {}
    for body in np.unique(skeleton.body_id[skeleton.present]):
        xyz = np.ma.masked_invalid(skeleton.xyz[skeleton.body_id == body])  # (frames, 25, 3)
        if xyz.count():
            spread[int(body)] = float(xyz.var(axis=0).filled(0).sum())
    return spread


def tracking_faults(skeleton: Skeleton, two_people: bool) -> Iterator[tuple[str, str]]:
    """What is odd about who was tracked, each as kind and detail: the defects that NTU's users report.

    `two_people` says whether the clip's action takes two.
    """
    bodies = skeleton.present.sum(axis=1)
    if empty := int((bodies == 0).sum()):
        leading = int((np.cumsum(bodies) == 0).sum())
        yield "frames without a body", f"{empty} of {len(bodies)} frames, {leading} of them at the start"
    if len(set(bodies[bodies > 0])) > 1:
        yield "body count changes", f"from {bodies.min()} to {bodies.max()} bodies"
    if bodies.max(initial=0) > 2:
        yield "more than two bodies", f"{bodies.max()} in one frame"
    if zeros := int((skeleton.xyz[skeleton.present] == 0).all(axis=-1).sum()):
        yield "all-zero joints", f"{zeros} joints at the origin"
    spread = sorted(body_spread(skeleton).values(), reverse=True)
    still = [value for value in spread[1:] if value < max(STILL_SHARE * spread[0], STILL_SPREAD)]
    if two_people and np.median(bodies) < 2:
        yield "second person missing", "an action of two, and one body in most frames"
    elif two_people and len(spread) > 1 and len(spread) - len(still) < 2:
        yield "second person stands still", "an action of two, of whom one does not move"
    elif not two_people and still:
        yield "phantom body", f"{len(still)} more bodies that hardly move"
    elif not two_people and len(spread) > 1:
        yield "second person", "an action of one, and two bodies that move"


def read_skeleton(path: str | PathLike, *, allow_nan: bool = False) -> Skeleton:
    """The joints of an NTU `.skeleton` file, exactly as written, or LabError.

    With `allow_nan`, a joint whose line holds a NaN keeps its values and gets state 0 (not
    tracked), whatever state the file claims; `Skeleton.nan_joints` counts them.
    """
    cursor = _Cursor(path, _read_bytes(path), allow_nan)
    num_frames = cursor.count("a frame count", 0, MAX_FRAMES)
    slots, ids, infos, joints = [], [], [], []
    for frame in range(num_frames):
        for slot in range(cursor.count("a body count", 0, MAX_BODIES)):
            body_id, info = cursor.body()
            cursor.count("the joint count", NUM_JOINTS, NUM_JOINTS)
            slots.append((frame, slot))
            ids.append(body_id)
            infos.append(info)
            joints.append(cursor.joints())
    cursor.finish()
    return _assemble(str(path), num_frames, slots, ids, infos, joints)


def _read_bytes(path: str | PathLike) -> bytes:
    try:
        if not Path(path).is_file():  # a folder, or a pipe that would block for ever
            found = "something else there" if Path(path).exists() else "none"
            raise LabError.mismatch(path, "a skeleton file", found, _FIX)
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise LabError.mismatch(path, f"at most {MAX_BYTES} bytes", size, _FIX)
        with open(path, "rb") as file:
            data = file.read(size)
    except OSError as error:
        found = f"one that cannot be read ({error.strerror or error})"
        raise LabError.mismatch(path, "a skeleton file", found, _FIX) from error
    return data.replace(b"\r\n", b"\n")


class _Cursor:
    """Walks the lines of one file; every refusal names the file and the line."""

    def __init__(self, path: str | PathLike, data: bytes, allow_nan: bool):
        self.path, self.next = path, 0
        self.lines = data.split(b"\n")
        if not self.lines[-1]:
            self.lines.pop()  # the newline that ends the last line
        alphabet = _ALPHABET + b"nNaA" * allow_nan
        if data.translate(None, alphabet):
            bad = next(n for n, line in enumerate(self.lines) if line.translate(None, alphabet))
            nan = b"nan" in self.lines[bad].lower()
            hint = "; `allow_nan=True` reads such joints as untracked" if nan else ""
            raise self.refuse(bad, "finite numbers in plain ASCII", _FIX + hint)
        if max(map(len, self.lines), default=0) > _MAX_LINE:
            bad = next(n for n, line in enumerate(self.lines) if len(line) > _MAX_LINE)
            raise self.refuse(bad, f"lines of at most {_MAX_LINE} characters")

    def refuse(self, index: int, expected: str, fix: str = _FIX) -> LabError:
        if index >= len(self.lines):
            found = f"the end of the file after line {len(self.lines)}"
        else:
            shown = ascii(self.lines[index][:60].decode("latin-1"))
            found = f"{shown} (line {index + 1})"
        return LabError.mismatch(self.path, expected, found, fix)

    def take(self, expected: str) -> bytes:
        if self.next >= len(self.lines):
            raise self.refuse(self.next, expected)
        self.next += 1
        return self.lines[self.next - 1]

    def count(self, what: str, lowest: int, highest: int) -> int:
        bounds = str(lowest) if lowest == highest else f"from {lowest} to {highest}"
        text = self.take(f"{what} {bounds}").strip()
        if not (text.isdigit() and len(text) < 19 and lowest <= int(text) <= highest):
            raise self.refuse(self.next - 1, f"{what} {bounds}")
        return int(text)

    def body(self) -> tuple[int, np.ndarray]:
        """The body's id and its other 9 fields."""
        expected = "10 fields of a body: id, six whole numbers, two leans, tracking state 0, 1 or 2"
        fields = self.take(expected).split()
        whole = [field for n, field in enumerate(fields[1:]) if n not in _LEANS]
        legal = len(fields) == 10 and fields[-1] in _STATES and fields[0].isdigit()
        legal = legal and all(field.isdigit() and len(field) < 10 for field in whole)
        if not legal or len(fields[0]) > 19 or int(fields[0]) >= 2**63:
            raise self.refuse(self.next - 1, expected)
        return int(fields[0]), self._numbers([fields[1:]], self.next - 1)[0]

    def joints(self) -> np.ndarray:
        """(25, 12) float64."""
        first, last = self.next, self.next + NUM_JOINTS
        rows = [line.split() for line in self.lines[first:last]]
        for index, row in enumerate(rows, first):
            if len(row) != 12 or row[11] not in _STATES:
                raise self.refuse(index, "12 fields of a joint, the last its state 0, 1 or 2")
        if len(rows) < NUM_JOINTS:
            raise self.refuse(last, f"{NUM_JOINTS} lines of joints")
        self.next = last
        values = self._numbers(rows, first)
        values[np.isnan(values).any(axis=1), 11] = 0
        return values

    def _numbers(self, rows: list[list[bytes]], first: int) -> np.ndarray:
        table = []
        for index, row in enumerate(rows, first):
            try:
                values = list(map(float, row))
            except ValueError:
                values = [np.inf]
            if np.inf in values or -np.inf in values:
                raise self.refuse(index, "finite numbers")
            table.append(values)
        return np.array(table)

    def finish(self) -> None:
        if self.next < len(self.lines):
            raise self.refuse(self.next, f"the end of the file after line {self.next}")


def _assemble(path, num_frames, slots, ids, infos, joints) -> Skeleton:
    bodies = max((slot for _, slot in slots), default=-1) + 1
    table = np.full((num_frames, bodies, NUM_JOINTS, 12), np.nan)
    body_info = np.full((num_frames, bodies, len(BODY_FIELDS)), np.nan)
    body_id = np.full((num_frames, bodies), -1, np.int64)
    if slots:
        where = tuple(np.array(slots).T)
        table[where], body_info[where], body_id[where] = joints, infos, ids
    return Skeleton(
        depth_xy=table[..., 3:5],
        color_xy=table[..., 5:7],
        xyz=table[..., 0:3],
        state=np.nan_to_num(table[..., 11]).astype(np.int8),
        orientation=table[..., 7:11],
        body_id=body_id,
        body_info=body_info,
        path=path,
    )


def format_skeleton(skeleton: Skeleton, digits: int | None = None) -> str:
    """The text of a `.skeleton` file, byte for byte in NTU's style.

    `digits` significant digits per coordinate (NTU's files have 7); None writes the shortest text
    that reads back to the very same float64. Raises LabError for arrays that could not be read
    back: wrong shapes, infinite values, states outside 0..2, an empty slot before a filled one.
    """
    _check(skeleton)
    parts = [skeleton.xyz, skeleton.depth_xy, skeleton.color_xy, skeleton.orientation]
    table = np.concatenate([*parts, skeleton.state[..., None]], axis=-1)
    lines = [str(skeleton.num_frames)]
    for frame, present in enumerate(skeleton.present):
        lines.append(str(int(present.sum())))
        for slot in np.flatnonzero(present):
            info = _format_rows(skeleton.body_info[frame, slot][None], None)
            joints = _format_rows(table[frame, slot], digits)
            lines += [f"{skeleton.body_id[frame, slot]} {info}", str(NUM_JOINTS), joints]
    return "\n".join(lines) + "\n"


def _format_rows(values: np.ndarray, digits: int | None) -> str:
    number = "%r" if digits is None else f"%.{digits}g"
    template = (" ".join([number] * values.shape[1]) + "\n") * len(values)
    text = template % tuple(values.ravel().tolist())
    if digits is None:  # 2.0 is written as 2
        text = text.replace(".0 ", " ").replace(".0\n", "\n")
    return text[:-1].replace("e", "E").replace("nan", "NaN")


def _check(skeleton: Skeleton) -> None:
    def need(legal: bool, expected: object, found: object) -> None:
        if not legal:
            fix = "correct the arrays given to Skeleton"
            raise LabError.mismatch(skeleton.path, expected, found, fix)

    frames, bodies = skeleton.body_id.shape
    need(frames <= MAX_FRAMES, f"at most {MAX_FRAMES} frames", frames)
    need(bodies <= MAX_BODIES, f"at most {MAX_BODIES} bodies", bodies)
    present = skeleton.present
    for name, tail in _SHAPES.items():
        array, shape = getattr(skeleton, name), (frames, bodies, *tail)
        need(array.shape == shape, f"{name} of shape {shape}", array.shape)
        need(not np.isinf(array[present]).any(), f"finite {name}", "an infinite value")
    gap = present[:, 1:] & ~present[:, :-1]
    need(not gap.any(), "bodies in the first slots", "an empty slot before a body")
    states, whole = skeleton.state[present], np.delete(skeleton.body_info[present], _LEANS, axis=-1)
    legal = np.isin(states, (0, 1, 2)).all() and np.isin(whole[:, -1], (0, 1, 2)).all()
    need(legal, "tracking states 0, 1 or 2", "other values")
    legal = (whole >= 0) & (whole < 1e9) & (whole == np.floor(whole))
    need(legal.all(), "whole numbers below 10^9 for all body fields but the leans", "other values")


def write_skeleton(path: str | PathLike, skeleton: Skeleton, digits: int | None = None) -> None:
    """Write `format_skeleton`; a reader sees the old file or the new one. Raises LabError."""
    write_text(path, format_skeleton(skeleton, digits))
