"""Damage to video and depth files, and what the readers make of it.

Run as a script it counts outcomes over many files: python tests/fuzz_media.py --videos 1000 --images 1000

exact      the very frames of the undamaged file
refused    a LabError that names the file
different  other frames, without a word; only the SHA-256 of the file tells
other      any other exception, which must not happen: it makes the exit status 1
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from fuzz_counts import count_and_show
from ntu_files import assert_mendable, write_video
from PIL import Image

from labkit.data.media.video import read_depth, read_video
from labkit.errors import LabError
from labkit.files import sha256_bytes, sha256_file

Damage = Callable[[bytes, np.random.Generator], bytes]


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data))]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    for place in rng.integers(len(data), size=rng.integers(1, 4)):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def noisy(data: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(data)
    for place in rng.integers(len(data), size=20):
        damaged[place] = rng.integers(256)
    return bytes(damaged)


def zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    """A stretch of zeros, as a lost disk block leaves."""
    start = int(rng.integers(len(data)))
    return data[:start] + bytes(min(512, len(data) - start)) + data[start + 512 :]


def missing_block(data: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 512)) :]


def longer(data: bytes, rng: np.random.Generator) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 64)))


def header_noise(data: bytes, rng: np.random.Generator) -> bytes:
    """Only where containers and images declare their sizes."""
    damaged = bytearray(data)
    for place in rng.integers(min(300, len(data)), size=2):
        damaged[place] = rng.integers(256)
    return bytes(damaged)


def more_frames_declared(data: bytes, rng: np.random.Generator) -> bytes:
    """AVI's main and stream header count the frames; both lie."""
    damaged, number = bytearray(data), struct.pack("<I", int(rng.integers(1, 500)))
    damaged[48:52] = number
    place = data.find(b"strh") + 8 + 32
    damaged[place : place + 4] = number
    return bytes(damaged)


VIDEO_DAMAGE: tuple[Damage, ...] = (
    truncated, flipped, noisy, zeroed, missing_block, longer, header_noise, more_frames_declared,
)  # fmt: skip


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """(kind, body) of each chunk of a PNG."""
    found, place = [], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def joined(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, every checksum right."""
    bodies = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(bodies)


def other_header(data: bytes, rng: np.random.Generator) -> bytes:
    """Another size, bit depth or colour kind, under a right checksum; now and then a bomb."""
    (kind, body), *rest = chunks(data)
    width, height, bits, color = struct.unpack(">IIBB", body[:10])
    width, height = rng.choice([width, 40_000, 0, 1, width + 1]), rng.choice([height, 40_000, 2**31 - 1, height - 1])
    bits, color = rng.choice([bits, 8, 1, 4]), rng.choice([color, 2, 3, 4, 6])
    return joined([(kind, struct.pack(">IIBB", width, height, bits, color) + body[10:]), *rest])


def rearranged(data: bytes, rng: np.random.Generator) -> bytes:
    """Chunks lost, doubled or out of order, under right checksums."""
    parts = chunks(data)
    place = int(rng.integers(len(parts)))
    change = rng.integers(3)
    return joined(
        parts[:place] + parts[place + 1 :] if change == 0
        else parts[:place] + parts[place : place + 1] + parts[place:] if change == 1
        else [parts[n] for n in rng.permutation(len(parts))]
    )  # fmt: skip


def other_kind(data: bytes, rng: np.random.Generator) -> bytes:
    """The picture of a screen shot: 8 bits, colours, a palette; or no PNG at all."""
    with Image.open(io.BytesIO(data)) as image:
        grey = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    forms = [("L", "PNG"), ("RGB", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("RGB", "JPEG"), ("1", "PNG")]
    mode, form = forms[rng.integers(6)]
    buffer = io.BytesIO()
    grey.convert(mode).save(buffer, form)
    return buffer.getvalue()


IMAGE_DAMAGE: tuple[Damage, ...] = (
    truncated, flipped, noisy, zeroed, missing_block, longer, header_noise, other_header, rearranged, other_kind,
)  # fmt: skip


def outcome(path: Path, read: Callable[[Path], np.ndarray], whole: np.ndarray) -> str:
    """What reading a damaged file comes to."""
    try:
        found = read(path)
    except LabError as error:
        assert_mendable(error, path)
        return "refused"
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return "other"
    return "exact" if found.shape == whole.shape and np.array_equal(found, whole) else "different"


def fuzz(folder: Path, name: str, whole: bytes, read: Callable[[Path], np.ndarray], kinds: tuple[Damage, ...],
         count: int, seed: int = 0) -> Counter:  # fmt: skip
    """(kind of damage, outcome) of `count` damaged copies of a file, the kinds in turn.

    A file that is read as something else must at least have another hash: "different, same hash" never
    occurs.
    """
    path, outcomes = folder / name, Counter()
    path.write_bytes(whole)
    expected = read(path)
    for number in range(count):
        damage = kinds[number % len(kinds)]
        path.write_bytes(damage(whole, np.random.default_rng([seed, number])))
        found = outcome(path, read, expected)
        if found == "different" and sha256_file(path) == sha256_bytes(whole):
            found = "different, same hash"
        outcomes[damage.__name__, found] += 1
    return outcomes


def fuzz_videos(folder: Path, count: int, seed: int = 0, frames: int = 30) -> Counter:
    """Every frame of an MPEG-4 AVI as NTU's are."""
    write_video(folder / "whole.avi", frames, (96, 64))
    return fuzz(folder, "clip.avi", (folder / "whole.avi").read_bytes(), read_video, VIDEO_DAMAGE, count, seed)


def fuzz_images(folder: Path, count: int, seed: int = 0) -> Counter:
    """A 16-bit depth image."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 4500, (64, 80), dtype=np.uint16)).save(buffer, "PNG")
    return fuzz(folder, "MDepth-00000001.png", buffer.getvalue(), read_depth, IMAGE_DAMAGE, count, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    asked = (("images", fuzz_images, wanted.images), ("videos", fuzz_videos, wanted.videos))
    wrong = [count_and_show(title, partial(run, count=count, seed=wanted.seed)) for title, run, count in asked]
    return int(any(wrong))


if __name__ == "__main__":
    sys.exit(main())
