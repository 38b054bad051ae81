"""Skeleton files: read exactly or refused, whatever happened to them."""

from __future__ import annotations

import os
import re
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labkit import LabError
from labkit.data.skeletons import (
    NUM_JOINTS,
    Skeleton,
    body_spread,
    format_skeleton,
    read_skeleton,
    single_body,
    tracking_faults,
    write_skeleton,
)

ARRAYS = ("depth_xy", "color_xy", "xyz", "state", "orientation", "body_id")


def random_skeleton(rng: np.random.Generator, body_counts: list[int]) -> Skeleton:
    """Numbers of all magnitudes; `body_counts` bodies per frame."""
    frames, bodies = len(body_counts), max(body_counts, default=0)
    empty = np.arange(bodies) >= np.array(body_counts, int)[:, None]
    shape = (frames, bodies, NUM_JOINTS)

    def real(*tail: int) -> np.ndarray:
        values = rng.normal(size=(*shape[:2], *tail)) * 10.0 ** rng.integers(-9, 9)
        values[empty] = np.nan
        return values

    return Skeleton(
        depth_xy=real(NUM_JOINTS, 2),
        color_xy=real(NUM_JOINTS, 2),
        xyz=real(NUM_JOINTS, 3),
        state=np.where(empty[..., None], 0, rng.integers(0, 3, shape)).astype(np.int8),
        orientation=real(NUM_JOINTS, 4),
        body_id=np.where(empty, -1, rng.integers(2**62, 2**63 - 1, shape[:2])),
    )


def assert_equal(a: Skeleton, b: Skeleton) -> None:
    """Bit for bit, so that -0.0 is not 0.0; any NaN equals any NaN."""
    for name in ARRAYS:
        x, y = getattr(a, name), getattr(b, name)
        assert x.dtype == y.dtype and x.shape == y.shape, name
        np.testing.assert_array_equal(x, y, err_msg=name)
        if x.dtype == float:
            np.testing.assert_array_equal(np.signbit(x[~np.isnan(x)]), np.signbit(y[~np.isnan(y)]))


# An independent, slow reader: one regular expression per kind of line, plain nested lists.

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
WHOLE = r"\d{1,9}"
BODY = rf"(\d{{1,19}})((?:[ \t]+{WHOLE}){{6}}(?:[ \t]+{NUMBER}){{2}}[ \t]+[012])"
JOINT = rf"{NUMBER}(?:[ \t]+{NUMBER}){{10}}[ \t]+[012]"


def slow_read(data: bytes) -> list | None:
    """frames -> bodies -> (id, 25 rows of 12), or None if the bytes are not legal."""
    try:
        lines = data.decode("ascii").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError:
        return None
    lines = iter(lines[:-1] if lines[-1] == "" else lines)

    def take(pattern: str) -> re.Match:
        line = next(lines)
        match = re.fullmatch(rf"[ \t]*(?:{pattern})[ \t]*", line, re.ASCII)
        if match is None:
            raise ValueError(line)
        return match

    def count(pattern: str, most: int) -> int:
        number = int(take(pattern)[0])
        if number > most:
            raise ValueError(number)
        return number

    def numbers(text: str) -> list[float]:
        values = [float(field) for field in text.split()]
        if not np.isfinite(values).all():
            raise ValueError(text)
        return values

    def body() -> tuple:
        head = take(BODY)
        if int(head[1]) >= 2**63 or count(r"0*25", 25) != 25:
            raise ValueError(head[0])
        numbers(head[2])
        return int(head[1]), [numbers(take(JOINT)[0]) for _ in range(25)]

    try:
        frames = [[body() for _ in range(count(r"\d{1,18}", 6))] for _ in range(count(r"\d{1,18}", 10_000))]
    except (ValueError, StopIteration, RuntimeError):
        return None
    return None if next(lines, None) is not None else frames


def assert_same_as_slow(skeleton: Skeleton, frames: list) -> None:
    assert skeleton.num_frames == len(frames)
    assert skeleton.body_id.shape[1] == max(map(len, frames), default=0)
    for t, bodies in enumerate(frames):
        assert skeleton.present[t].sum() == len(bodies)
        for b in range(skeleton.body_id.shape[1]):
            joints = np.concatenate(
                [
                    skeleton.xyz[t, b],
                    skeleton.depth_xy[t, b],
                    skeleton.color_xy[t, b],
                    skeleton.orientation[t, b],
                    skeleton.state[t, b][:, None],
                ],
                axis=-1,
            )
            if b < len(bodies):
                body_id, rows = bodies[b]
                assert skeleton.body_id[t, b] == body_id
                assert joints.tolist() == rows
            else:
                assert skeleton.body_id[t, b] == -1
                assert np.isnan(joints[:, :-1]).all() and not joints[:, -1].any()


def check_bytes(path, data: bytes) -> bool:
    """Reads `data` as the slow reader does, or refuses with a full message if that refuses too."""
    path.write_bytes(data)
    frames = slow_read(data)
    try:
        skeleton = read_skeleton(path)
    except LabError as error:
        assert frames is None, f"refused a legal file: {error}"
        message = str(error)
        for part in (str(path), "expected", "found", "Fix: "):
            assert part in message
        assert "\n" not in message and len(message) < 500 + len(str(path))
        return False
    assert frames is not None, "an illegal file was read"
    assert_same_as_slow(skeleton, frames)
    return True


# Damage: each function takes the bytes and two whole numbers that choose where and what.

TOKENS = (
    b"NaN nan inf -inf 1e400 -1e400 1.#QNAN abc -1 1000000000 99999999999999999999 1_0 0x1p3 3 25 "
    b"1.5 -0 00 +2 --1 1e 2. .5 1e-400 \xd9\xa3 \x00 0 1 2 , 25\r"
).split(b" ")


def _lines(data: bytes, k: int) -> tuple[list[bytes], int]:
    lines = data.split(b"\n")
    return lines, k % len(lines)


def _edit_lines(edit):
    def damage(data: bytes, k: int, n: int) -> bytes:
        lines, k = _lines(data, k)
        return b"\n".join(edit(lines, k, n % len(lines)))

    return damage


def _replace_token(data: bytes, k: int, n: int) -> bytes:
    lines, k = _lines(data, k)
    fields = lines[k].split(b" ")
    fields[n % len(fields)] = TOKENS[(k + n) % len(TOKENS)]
    lines[k] = b" ".join(fields)
    return b"\n".join(lines)


def _swap(lines, k, n):
    lines[k], lines[n] = lines[n], lines[k]
    return lines


def _replace_byte(data: bytes, k: int, n: int) -> bytes:
    k %= len(data) or 1
    return data[:k] + bytes([n % 256]) + data[k + 1 :]


DAMAGE = {
    "truncate": lambda data, k, n: data[: k % (len(data) + 1)],
    "flip a bit": lambda data, k, n: _replace_byte(data, k, data[k % len(data)] ^ (1 << n % 8)) if data else data,
    "replace a byte": _replace_byte,
    "insert a byte": lambda data, k, n: data[: k % (len(data) + 1)] + bytes([n % 256]) + data[k % (len(data) + 1) :],
    "drop a line": _edit_lines(lambda lines, k, n: lines[:k] + lines[k + 1 :]),
    "repeat a line": _edit_lines(lambda lines, k, n: [*lines[:k], lines[k], *lines[k:]]),
    "swap two lines": _edit_lines(_swap),
    "move lines": _edit_lines(lambda lines, k, n: lines[k:] + lines[:k]),
    "zero a line": _edit_lines(lambda lines, k, n: [*lines[:k], b" ".join([b"0"] * 12), *lines[k + 1 :]]),
    "replace a token": _replace_token,
    "change a count": lambda data, k, n: TOKENS[n % len(TOKENS)] + data[data.find(b"\n") :],
    "byte order mark": lambda data, k, n: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data, k, n: data.decode("latin-1").encode("utf-16"),
    "CRLF": lambda data, k, n: data.replace(b"\n", b"\r\n"),
    "lines after the end": lambda data, k, n: data + b"\n" * (k % 3) + TOKENS[n % len(TOKENS)],
    "long line": lambda data, k, n: data.replace(b" ", b" " * (n % 600), 1),
    "nothing": lambda data, k, n: data,
}
NUMBERS = st.integers(0, 2**32 - 1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "S001C001P001R001A001.skeleton"


@pytest.fixture(scope="module")
def module_path(tmp_path_factory):
    return tmp_path_factory.mktemp("skeletons") / "S001C001P001R001A001.skeleton"


@settings(max_examples=400, deadline=None)
@given(
    counts=st.lists(st.integers(0, 2), max_size=3),
    seed=NUMBERS,
    damage=st.lists(st.tuples(st.sampled_from(sorted(DAMAGE)), NUMBERS, NUMBERS), min_size=1, max_size=2),
)
def test_damaged_file_is_read_as_a_slow_reader_does_or_refused(module_path, counts, seed, damage):
    data = format_skeleton(random_skeleton(np.random.default_rng(seed), counts)).encode()
    for name, k, n in damage:
        data = DAMAGE[name](data, k, n)
    check_bytes(module_path, data)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 6), max_size=4), seed=NUMBERS)
def test_round_trip_is_exact(module_path, counts, seed):
    skeleton = random_skeleton(np.random.default_rng(seed), counts)
    write_skeleton(module_path, skeleton)
    assert_equal(read_skeleton(module_path), skeleton)
    assert check_bytes(module_path, module_path.read_bytes())


@settings(max_examples=30, deadline=None)
@given(arrays(float, (25, 11), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_round_trip_of_any_finite_number(module_path, values):
    xyz, depth, color, orientation = np.split(values[None], [3, 5, 7], axis=-1)
    skeleton = single_body(xyz, depth, color, np.ones((1, 25)), orientation=orientation)
    write_skeleton(module_path, skeleton)
    assert_equal(read_skeleton(module_path), skeleton)


TWO_BODIES = random_skeleton(np.random.default_rng(7), [1, 2, 0])


def edited(line: int, text: str) -> bytes:
    """Bytes of TWO_BODIES with one line (1-based) replaced."""
    lines = format_skeleton(TWO_BODIES, digits=7).split("\n")
    lines[line - 1] = text
    return "\n".join(lines).encode()


JOINT_LINE = format_skeleton(TWO_BODIES, digits=7).split("\n")[9]  # line 10, in the first body


def with_field(column: int, value: str) -> str:
    fields = JOINT_LINE.split()
    fields[column] = value
    return " ".join(fields)


@pytest.mark.parametrize(
    ("data", "expected", "found"),
    [
        (b"", "a frame count from 0 to 10000", "the end of the file after line 0"),
        (edited(1, "-3"), "a frame count", "'-3' (line 1)"),
        (edited(1, "1000000000"), "a frame count", "'1000000000' (line 1)"),
        (edited(1, "4"), "a body count from 0 to 6", "the end of the file after line 85"),
        (edited(1, "2"), "the end of the file after line 84", "'0' (line 85)"),
        (edited(2, "7"), "a body count", "'7' (line 2)"),
        (edited(3, "1 2 3"), "10 fields of a body", "'1 2 3' (line 3)"),
        (edited(3, f"{2**63} 0 0 0 0 0 0 0 0 2"), "10 fields of a body", "(line 3)"),
        (edited(4, "24"), "the joint count 25", "'24' (line 4)"),
        (edited(10, with_field(11, "3")), "state 0, 1 or 2", "(line 10)"),
        (edited(10, with_field(11, "2.0")), "state 0, 1 or 2", "(line 10)"),
        (edited(10, with_field(3, "1e400")), "finite numbers", "(line 10)"),
        (edited(10, with_field(3, "-1e400")), "finite numbers", "(line 10)"),
        (edited(3, "1 0 1234567890 0 0 0 0 0 0 2"), "10 fields of a body", "(line 3)"),
        (edited(10, with_field(3, "inf")), "finite numbers", "(line 10)"),
        (edited(10, with_field(3, "NaN")), "finite numbers", "(line 10)"),
        (edited(10, with_field(3, "1.2.3")), "finite numbers", "(line 10)"),
        (edited(10, JOINT_LINE + " 0"), "12 fields of a joint", "(line 10)"),
        (edited(85, "0\n"), "the end of the file after line 85", "'' (line 86)"),
        (edited(1, "\ufeff3"), "plain ASCII", "(line 1)"),
        (b"\n".join(edited(1, "3").split(b"\n")[:20]), "lines of joints", "the end of the file"),
    ],
)  # fmt: skip
def test_refusal_says_what_is_wrong_and_where(path, data, expected, found):
    assert not check_bytes(path, data)
    with pytest.raises(LabError) as caught:
        read_skeleton(path)
    wanted, got = caught.value.reason.removeprefix("expected ").split(", found ", maxsplit=1)
    assert expected in wanted and found in got


def test_crlf_and_a_missing_last_newline_change_nothing(path):
    data = format_skeleton(TWO_BODIES).encode()
    for variant in (data.replace(b"\n", b"\r\n"), data.rstrip(b"\n")):
        path.write_bytes(variant)
        assert_equal(read_skeleton(path), TWO_BODIES)


def test_nan_joint_is_refused_by_default_and_untracked_on_request(path):
    path.write_bytes(edited(10, with_field(3, "NaN").rsplit(" ", 1)[0] + " 2"))
    with pytest.raises(LabError, match="allow_nan=True"):
        read_skeleton(path)
    skeleton = read_skeleton(path, allow_nan=True)
    assert np.isnan(skeleton.depth_xy[0, 0, 5, 0]) and skeleton.state[0, 0, 5] == 0
    assert np.isfinite(skeleton.depth_xy[0, 0, 5, 1]) and skeleton.nan_joints == 1
    write_skeleton(path, skeleton)
    assert_equal(read_skeleton(path, allow_nan=True), skeleton)
    path.write_bytes(edited(10, with_field(3, "inf")))
    with pytest.raises(LabError):
        read_skeleton(path, allow_nan=True)


def test_text_is_ntus_own():
    xyz = np.full((1, 25, 3), -4.248406e-05)
    skeleton = single_body(xyz, 0 * xyz[..., :2] + 100, xyz[..., :2], np.full((1, 25), 2))
    lines = format_skeleton(skeleton, digits=7).split("\n")
    assert lines[:4] == ["1", "1", "1 0 0 0 0 0 0 0 0 2", "25"] and lines[29:] == [""]
    small = "-4.248406E-05"
    assert lines[4] == f"{small} {small} {small} 100 100 {small} {small} 0 0 0 0 2"


def test_counting_outcomes_finds_no_other_one(tmp_path):
    """The script over a few files; over thousands it is run by hand."""
    from fuzz_skeletons import fuzz  # which imports this module

    outcomes = {what for _, what in fuzz(tmp_path, 3 * len(DAMAGE))}
    assert outcomes == {"exact", "refused"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
def test_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    for path in (tmp_path / "absent.skeleton", tmp_path, tmp_path / "pipe"):
        with pytest.raises(LabError, match="expected a skeleton file, found"):
            read_skeleton(path)


def test_huge_counts_cost_little(path):
    start = time.process_time()
    tracemalloc.start()
    for data in (b"1000000000\n1\n", b"10000\n6\n", b"9" * 100_000, b"1\n1000000000\n"):
        assert not check_bytes(path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000 and time.process_time() - start < 2


def test_a_frame_without_bodies_is_legal(path):
    path.write_bytes(b"2\n0\n0\n")
    skeleton = read_skeleton(path)
    assert skeleton.xyz.shape == (2, 0, 25, 3) and not skeleton.present.any()
    assert body_spread(skeleton) == {}


def test_the_actor_moves_most_even_when_slots_change():
    rng = np.random.default_rng(0)
    skeleton = random_skeleton(rng, [2] * 10)
    actor = rng.normal(size=(10, 25, 3))
    chair = np.broadcast_to(rng.normal(size=(25, 3)) * 0.1, (10, 25, 3))
    for t in range(10):  # the two swap places in the list
        slot = t % 2
        skeleton.xyz[t, slot], skeleton.xyz[t, 1 - slot] = actor[t], chair[t]
        skeleton.body_id[t, slot], skeleton.body_id[t, 1 - slot] = 22, 11
    skeleton.xyz[:, :, 4] = np.nan
    spread = body_spread(skeleton)
    assert set(spread) == {11, 22} and spread[22] > 10 * spread[11]


def moving(body_counts: list[int]) -> Skeleton:
    """People 1, 2, ... who all move, as many in each frame as told."""
    rng = np.random.default_rng(0)
    skeleton = random_skeleton(rng, body_counts)
    skeleton.xyz[:] = np.where(skeleton.present[..., None, None], rng.normal(size=skeleton.xyz.shape), np.nan)
    skeleton.body_id[:] = np.where(skeleton.present, 1 + np.arange(skeleton.present.shape[1]), -1)
    return skeleton


@pytest.mark.parametrize(
    ("body_counts", "two_people", "faults"),
    [
        ([1] * 9, False, {}),
        ([2] * 9, True, {}),
        ([2] * 9, False, {"second person": "an action of one, and two bodies that move"}),
        ([1] * 9, True, {"second person missing": "an action of two, and one body in most frames"}),
        ([0, 0, 1, 1, 0, 1], False, {"frames without a body": "3 of 6 frames, 2 of them at the start"}),
        ([3] * 9, True, {"more than two bodies": "3 in one frame"}),
        ([2] * 8 + [1], True, {"body count changes": "from 1 to 2 bodies"}),
    ],
)
def test_what_is_odd_about_who_was_tracked(body_counts, two_people, faults):
    assert dict(tracking_faults(moving(body_counts), two_people)) == faults


def test_bodies_that_stand_still_and_joints_at_the_origin_are_told():
    skeleton = moving([2] * 9)
    skeleton.xyz[:, 1] = skeleton.xyz[0, 1]
    skeleton.xyz[:, 1, :4] = 0
    origin = {"all-zero joints": "36 joints at the origin"}
    alone = {**origin, "phantom body": "1 more bodies that hardly move"}
    assert dict(tracking_faults(skeleton, two_people=False)) == alone
    still = {**origin, "second person stands still": "an action of two, of whom one does not move"}
    assert dict(tracking_faults(skeleton, two_people=True)) == still
