"""Reading and writing files so that a kill, a full disk or a flipped bit is noticed, never shown.

Everything the lab writes goes through `atomic_path`: a temporary file in the same folder, flush,
fsync, rename. A reader therefore sees the old file or the new one, never half.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EINVAL, ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM, EROFS
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, SoftFileLock, Timeout

from .errors import LabError

# What a network, FUSE or CIFS mount answers where it cannot do a thing, and a system where it may not be done.
CANNOT = (EINVAL, ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP)
MAY_NOT = (EACCES, EPERM, EROFS)


@contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` if the block succeeds.

    Raises LabError when the disk is full or the folder cannot be written; whatever stood at `path`
    before is then still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_file():
            with open(temporary, "rb+") as file:
                _sync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _write_error(path, temporary, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # where nothing could be written there is nothing to remove
            temporary.unlink()


@contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; it takes the place of `path` if the block succeeds.

    The files inside are not flushed one by one (a folder of depth images has hundreds); whoever needs
    to know that all of them survived keeps their hash elsewhere. Raises LabError as `atomic_path` does.
    """
    with atomic_path(path) as temporary:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        yield temporary
        shutil.rmtree(path, ignore_errors=True)


def _sync(file: int) -> None:
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in CANNOT:
            raise


def _write_error(path: Path, temporary: Path, error: OSError) -> LabError:
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir():
        return LabError.mismatch(folder, "a folder", "a file", "name another place, or move this file away")
    free = shutil.disk_usage(folder).free
    written = temporary.stat().st_size if temporary.exists() else 0
    return LabError(
        path,
        f"cannot be written ({error.strerror or error}); {written} bytes were written, {free} bytes are free",
        "free some space or choose a folder you may write to, then run the same command again",
    )


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Make `path` hold these bytes; where it does nothing is written, so a finished folder may be read-only."""
    with suppress(OSError):
        if os.path.getsize(path) == len(data) and Path(path).read_bytes() == data:
            return
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def write_text(path: str | os.PathLike, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """JSON with sorted keys; a NaN or an infinity is refused, so that none is ever shown as a number."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike) -> Any:
    """Parsed JSON, or LabError naming the file when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise LabError(
            path, "expected a JSON file, found none", "make it again with the command that wrote it"
        ) from None
    except (ValueError, OSError) as error:
        raise LabError(
            path, f"expected JSON, found something else ({error})", "delete it and run the same command again"
        ) from error


def sha256_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """One owner at a time of the lock file `path`, whose folder is made where it is missing; others wait.

    The lock of a dead owner frees itself. A folder of another user or on a read-only disk is not locked: what is
    finished there may be read, and whoever would write is told then. Raises LabError where no folder can be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
    except OSError as error:
        if error.errno not in MAY_NOT or not path.parent.is_dir() or os.access(path.parent, os.W_OK):
            fix = "choose a folder you may write to, then run the same command again"
            found = "a file" if path.parent.is_file() else error.strerror or error
            raise LabError.mismatch(path.parent, "a folder that can be written to", found, fix) from error
        lock = None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def is_locked(path: str | os.PathLike) -> bool:
    """Whether a living process owns this lock, or it cannot be asked for."""
    try:
        _lock(Path(path), timeout=0).release()
        return False
    except (Timeout, OSError):
        return True


def _lock(path: Path, timeout: float = -1) -> FileLock | SoftFileLock:
    """The lock, taken; where the file system has none, a file beside it that holds its owner's process number."""
    lock = FileLock(path, timeout)
    try:
        with warnings.catch_warnings(record=True, action="always") as told:  # filelock may see it itself
            lock.acquire()
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        lock = SoftFileLock(f"{path}.soft", timeout)
        lock.acquire()
        told = [error.strerror]
    if told:
        _tell_soft()
    return lock


@cache
def _tell_soft() -> None:
    told = "labkit: the file system of this folder has no locks; plain files stand for them"
    print(f"{told}: start labkit on one machine at a time", file=sys.stderr)


def check_plain(path: str | os.PathLike) -> None:
    """LabError for a pipe or a device, the reading of which could wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except OSError:  # whoever opens it tells why not
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise LabError.mismatch(path, "a file", "a pipe or a device", "put the file itself there, or leave it out")


def sha256_file(path: str | os.PathLike) -> str:
    check_plain(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hash of a value's canonical JSON: the same for equal values on any machine."""
    return sha256_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("utf-8"))
