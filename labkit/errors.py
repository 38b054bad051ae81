"""The one exception family of the lab."""

from __future__ import annotations

from os import PathLike, fspath


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
