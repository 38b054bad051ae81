"""Depth kept in a MATLAB file, as UTD-MHAD has it."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import LabError
from ...files import check_plain

MAT_DEPTH = "d_depth"  # UTD-MHAD: 240x320xT
MAT_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MAT_PACKED = 15  # an element whose content is another one, compressed
MAT_ARRAYS = range(6, 16)  # of numbers
FETCH = "fetch this file again from its source, or leave the clip out"


def _mat_elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Kind and content of the elements that follow one another (MATLAB, MAT-File Format); ValueError for a cut one."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start = at + 8
        if kind > 0xFFFF:  # up to four bytes, which stand in the place of the size
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
        if start + size > len(data):
            raise ValueError(f"{size} bytes declared, {len(data) - start} there")
        yield kind, data[start : start + size]
        at = start + size + (0 if kind == MAT_PACKED else -(start + size - at) % 8)


def read_mat_depth(path: str | os.PathLike) -> np.ndarray:
    """The depth of a MATLAB file (version 5 to 7.2): uint16 (T,H,W), counts as they stand. Nothing in it is executed.

    SciPy's reader is not used: it looks up a damaged kind of data beyond the end of its table, which ends the process.
    """
    check_plain(path)
    expected = f"an array {MAT_DEPTH} of height x width x frames"
    try:
        data = Path(path).read_bytes()
        order = {b"IM": "<", b"MI": ">"}[data[126:128]]
        for kind, content in _mat_elements(data[128:], order):
            if kind == MAT_PACKED:
                ((_, content),) = _mat_elements(zlib.decompress(content), order)
            (_, flags), (_, shape), (_, name), *values = _mat_elements(content, order)
            if name == MAT_DEPTH.encode():
                break
        else:
            raise LabError.mismatch(path, expected, "none", FETCH)
        about = struct.unpack_from(f"{order}I", flags)[0]
        (kind, content), *imaginary = values
        found = np.frombuffer(content, order + MAT_NUMBERS[kind]).reshape(np.frombuffer(shape, f"{order}u4"), order="F")
    except (OSError, ValueError, LookupError, struct.error, zlib.error) as error:
        raise LabError.mismatch(path, "a readable MATLAB file", repr(error), FETCH) from error
    if imaginary or about & 0xFF not in MAT_ARRAYS or found.ndim not in (2, 3) or not found.size:
        raise LabError.mismatch(path, expected, f"one of kind {about & 0xFF} and shape {found.shape}", FETCH)
    array = found[..., None] if found.ndim == 2 else found  # MATLAB drops a last axis of one
    whole = array.dtype.kind in "iuf" and bool((array == np.floor(array)).all())  # NaN is not its floor
    if not whole or array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
        raise LabError.mismatch(path, "whole numbers from 0 to 65535", f"{array.dtype} values", FETCH)
    return np.ascontiguousarray(np.moveaxis(array, 2, 0).astype(np.uint16))
