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
from math import inf
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import LabError
from ..files import write_text

NUM_JOINTS = 25  # Kinect v2
STILL_SHARE = 0.05  # a body that moves less than this share of the liveliest one is furniture, or a stranger
STILL_SPREAD = 1e-3  # m2, and less than this in all; 25 joints that sway by a centimetre
LEAST_ANGLE = 0.05  # of joints seen from the camera, as a tangent: 15 cm at 3 m
PINHOLE = 0.02  # of half an image: how far joints may lie from where a pinhole camera sees them
MAX_BODIES = 6  # Kinect v2 tracks no more
MAX_FRAMES = 10_000  # 5.5 minutes; the longest NTU clips have about 300
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

    def mapped_size(self, image: str) -> np.ndarray | None:
        """(width, height) in pixels of the "depth" or "color" image that the joints were mapped to, roughly.

        A camera sees straight ahead near the middle of its image, and there a joint's x / z and y / z are 0. None
        where joints are too few or are not mapped as a pinhole camera does.
        """
        xyz, xy = self.xyz[self.state > 0], getattr(self, f"{image}_xy")[self.state > 0]
        usable = np.isfinite(np.concatenate([xyz, xy], axis=-1)).all(axis=-1) & (xyz[:, 2] > 0) & (xy != 0).any(axis=-1)
        middle, xyz, xy = [], xyz[usable], xy[usable]
        for axis in (0, 1):
            rays = np.stack([xyz[:, axis] / xyz[:, 2], np.ones(len(xyz))], axis=1)
            if len(rays) < NUM_JOINTS or np.ptp(rays[:, 0]) < LEAST_ANGLE:
                return None
            line = np.linalg.lstsq(rays, xy[:, axis], rcond=None)[0]
            middle.append(line[1])
            if np.median(np.abs(rays @ line - xy[:, axis])) > PINHOLE * abs(middle[-1]):
                return None
        return 2 * np.array(middle)

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
    if orientation is None:
        orientation = np.zeros((len(state), NUM_JOINTS, 4))
    real = (np.asarray(array, np.float64)[:, None] for array in (depth_xy, color_xy, xyz))
    orientation = np.asarray(orientation, np.float64)[:, None]
    return Skeleton(*real, np.asarray(state, np.int8)[:, None], orientation, np.ones((len(state), 1), np.int64))


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
    lines = _Lines(path, allow_nan)
    num_frames = lines.count("a frame count", 0, MAX_FRAMES)
    slots, ids, joints = [], [], []
    for frame in range(num_frames):
        for slot in range(lines.count("a body count", 0, MAX_BODIES)):
            slots.append((frame, slot))
            ids.append(lines.body())
            lines.count("the joint count", NUM_JOINTS, NUM_JOINTS)
            joints.append([lines.joint() for _ in range(NUM_JOINTS)])
    lines.finish()
    bodies = max((slot for _, slot in slots), default=-1) + 1
    table = np.full((num_frames, bodies, NUM_JOINTS, 12), np.nan)
    body_id = np.full((num_frames, bodies), -1, np.int64)
    if slots:
        where = tuple(np.array(slots).T)
        table[where], body_id[where] = joints, ids
    state = np.where(np.isnan(table).any(axis=-1), 0, table[..., 11]).astype(np.int8)
    return Skeleton(table[..., 3:5], table[..., 5:7], table[..., 0:3], state, table[..., 7:11], body_id, str(path))


class _Lines:
    """Walks the lines of one file; every refusal names the file and the line."""

    def __init__(self, path: str | PathLike, allow_nan: bool):
        self.path, self.next = path, 0
        try:
            if not Path(path).is_file():  # a folder, or a pipe that would block for ever
                found = "something else there" if Path(path).exists() else "none"
                raise LabError.mismatch(path, "a skeleton file", found, _FIX)
            data = Path(path).read_bytes().replace(b"\r\n", b"\n")
        except OSError as error:
            found = f"one that cannot be read ({error.strerror or error})"
            raise LabError.mismatch(path, "a skeleton file", found, _FIX) from error
        self.lines = data.removesuffix(b"\n").split(b"\n") if data else []
        alphabet = _ALPHABET + b"nNaA" * allow_nan
        if data.translate(None, alphabet):
            self.next = next(n for n, line in enumerate(self.lines) if line.translate(None, alphabet)) + 1
            nan = b"nan" in self.lines[self.next - 1].lower()
            hint = "; `allow_nan=True` reads such joints as untracked" if nan else ""
            raise self.refuse("finite numbers in plain ASCII", _FIX + hint)

    def refuse(self, expected: str, fix: str = _FIX) -> LabError:
        """Of the line that was taken last."""
        if self.next > len(self.lines):
            found = f"the end of the file after line {len(self.lines)}"
        else:
            found = f"{self.lines[self.next - 1][:60].decode('latin-1')!a} (line {self.next})"
        return LabError.mismatch(self.path, expected, found, fix)

    def take(self, expected: str) -> bytes:
        self.next += 1
        if self.next > len(self.lines):
            raise self.refuse(expected)
        return self.lines[self.next - 1]

    def count(self, what: str, lowest: int, highest: int) -> int:
        expected = f"{what} {lowest}" if lowest == highest else f"{what} from {lowest} to {highest}"
        text = self.take(expected).strip()
        if not (text.isdigit() and len(text) < 19 and lowest <= int(text) <= highest):
            raise self.refuse(expected)
        return int(text)

    def body(self) -> int:
        """The body's id; its other 9 fields must be legal, too."""
        expected = "10 fields of a body: id, six whole numbers, two leans, tracking state 0, 1 or 2"
        fields = self.take(expected).split()
        legal = len(fields) == 10 and fields[-1] in _STATES and fields[0].isdigit() and len(fields[0]) < 20
        if not legal or int(fields[0]) >= 2**63 or not all(f.isdigit() and len(f) < 10 for f in fields[1:7]):
            raise self.refuse(expected)
        self.numbers(fields[7:9])
        return int(fields[0])

    def joint(self) -> list[float]:
        """12 numbers, the last the joint's state."""
        fields = self.take(f"{NUM_JOINTS} lines of joints").split()
        if len(fields) != 12 or fields[11] not in _STATES:
            raise self.refuse("12 fields of a joint, the last its state 0, 1 or 2")
        return self.numbers(fields)

    def numbers(self, fields: list[bytes]) -> list[float]:
        try:
            values = list(map(float, fields))
        except ValueError:
            values = [inf]
        if inf in values or -inf in values:
            raise self.refuse("finite numbers")
        return values

    def finish(self) -> None:
        if self.next < len(self.lines):
            self.next += 1
            raise self.refuse(f"the end of the file after line {self.next - 1}")


def format_skeleton(skeleton: Skeleton, digits: int | None = None) -> str:
    """The text of a `.skeleton` file, byte for byte in NTU's style.

    `digits` significant digits per coordinate (NTU's files have 7); None writes the shortest text
    that reads back to the very same float64. Of each body nothing but the joints is known: the sensor's
    other fields are 0, and its tracking state 2.
    """
    parts = [skeleton.xyz, skeleton.depth_xy, skeleton.color_xy, skeleton.orientation]
    table = np.concatenate([*parts, skeleton.state[..., None]], axis=-1)
    lines = [str(skeleton.num_frames)]
    for frame, present in enumerate(skeleton.present):
        lines.append(str(int(present.sum())))
        for slot in np.flatnonzero(present):
            joints = _format_rows(table[frame, slot], digits)
            lines += [f"{skeleton.body_id[frame, slot]} 0 0 0 0 0 0 0 0 2", str(NUM_JOINTS), joints]
    return "\n".join(lines) + "\n"


def _format_rows(values: np.ndarray, digits: int | None) -> str:
    number = "%r" if digits is None else f"%.{digits}g"
    template = (" ".join([number] * values.shape[1]) + "\n") * len(values)
    text = template % tuple(values.ravel().tolist())
    if digits is None:  # 2.0 is written as 2
        text = text.replace(".0 ", " ").replace(".0\n", "\n")
    return text[:-1].replace("e", "E").replace("nan", "NaN")


def write_skeleton(path: str | PathLike, skeleton: Skeleton, digits: int | None = None) -> None:
    """Write `format_skeleton`; a reader sees the old file or the new one."""
    write_text(path, format_skeleton(skeleton, digits))
