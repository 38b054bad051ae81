"""The one exception family of the lab."""

from __future__ import annotations

from errno import EDQUOT, ENOSPC
from os import PathLike, fspath

FULL = (ENOSPC, EDQUOT)  # the system's numbers for a disk that is full, and for a share of it that is used up


class LabError(Exception):
    """Something the user can mend: which file, what is wrong with it, and what to do.

    `reason` says what was expected and what was found; `fix` is one command or one setting.
    The message is a single line, so that a log of many errors stays readable.
    """

    def __init__(self, path: str | PathLike | None, reason: str, fix: str):
        super().__init__(path, reason, fix)  # the same three arguments, so it survives pickling
        self.path = None if path is None else fspath(path)
        self.reason = reason
        self.fix = fix

    @classmethod
    def mismatch(cls, path, expected: object, found: object, fix: str) -> LabError:
        """The common case: `expected` against `found`."""
        return cls(path, f"expected {expected}, found {found}", fix)

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return printable(" ".join(f"{where}{self.reason}. Fix: {self.fix}".split()))


def printable(text: str | PathLike) -> str:
    """Text fit for a terminal, a figure or JSON: control characters and bytes that are no UTF-8 are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in fspath(text))


def at_least_one(**counts: int | None) -> None:
    """LabError unless each of these options is one or more; None leaves the choice to the lab."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise LabError.mismatch(None, f"at least 1 for {name}", count, "give one or more")


def told_by_the_system(error: OSError) -> LabError:
    """What no reader foresaw, such as a folder that may not be read, as the lab tells it."""
    path = error.filename if isinstance(error.filename, str) else None
    mend = "free some space" if error.errno in FULL else "make it readable and writable to you"
    fix = f"{mend}, or name another place, and run the same command again"
    return LabError.mismatch(path, "a file or folder that can be used", error.strerror or error, fix)
