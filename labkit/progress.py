"""Live progress: a bar where somebody watches, one quiet line where nobody does.

`LABKIT_PROGRESS` overrides the guess: "bar" or "quiet". Headless notebook runs set "quiet", so that
executed copies hold one line per task instead of a thousand half-drawn bars.
"""

from __future__ import annotations

import os
import sys
import time

from tqdm.auto import tqdm


def watched() -> bool:
    """Whether a person seems to be looking: a terminal, or a notebook that is not run headlessly."""
    choice = os.environ.get("LABKIT_PROGRESS")
    if choice is not None:
        return choice == "bar"
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class Progress:
    """Counts `total` units of work under a title; use as a context manager.

    `advance(n, note)` moves it; the note is shown beside the bar. Without a watcher only the end is
    printed, with the time it took.
    """

    def __init__(self, title: str, total: int, unit: str, *, done: int = 0, show: bool = True):
        self.title, self.total, self.unit, self.count, self.note, self.show = (
            title,
            total,
            unit,
            done,
            "",
            show,
        )
        self.started = time.monotonic()
        self.bar = tqdm(total=total, initial=done, desc=title, unit=unit) if show and watched() else None

    def advance(self, count: int = 1, note: str = "") -> None:
        self.count += count
        self.note = note or self.note
        if self.bar is not None:
            self.bar.set_postfix_str(self.note, refresh=False)
            self.bar.update(count)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind, *_) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.show and kind is None:
            seconds = time.monotonic() - self.started
            note = f" · {self.note}" if self.note else ""
            print(f"{self.title}: {self.count} {self.unit} in {seconds:.1f} s{note}", flush=True)
