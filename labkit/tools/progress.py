"""Live progress: a bar where somebody watches, one quiet line where nobody does.

`LABKIT_PROGRESS` overrides the guess: "bar" or "quiet". Headless notebook runs set "quiet", so that
executed copies hold one line per task instead of a thousand half-drawn bars. Where nobody watches but a
task is long, as in a batch job, a line at each quarter says how much is left.
"""

from __future__ import annotations

import time

from tqdm.auto import tqdm

from ..lab import tell, watched

SMOOTHING = 0.02  # weight of the newest result in the speed: those of several processes come in bursts
LONG = 1800.0  # seconds a task takes, from which on its quarters are told


class Progress:
    """Counts `total` units of work under a title; use as a context manager.

    `advance(n, note)` moves it; the note is shown beside the bar. Without a watcher only the end is
    printed, with the time it took; of a task of more than LONG seconds each quarter, too, with what is left.
    """

    def __init__(self, title: str, total: int, unit: str, *, done: int = 0, show: bool = True):
        self.title, self.total, self.unit, self.count, self.note, self.show = title, total, unit, done, "", show
        self.started, self.done, self.told = time.monotonic(), done, 0
        shown = show and watched()
        self.bar = tqdm(total=total, initial=done, desc=title, unit=unit, smoothing=SMOOTHING) if shown else None

    def advance(self, count: int = 1, note: str = "") -> None:
        self.count += count
        self.note = note or self.note
        if self.bar is not None:
            self.bar.set_postfix_str(self.note, refresh=False)
            self.bar.update(count)
        elif self.show and 4 * self.count // max(self.total, 1) > self.told:
            self._tell_quarter()

    def _tell_quarter(self) -> None:
        self.told = 4 * self.count // self.total
        passed = time.monotonic() - self.started
        left = passed * (self.total - self.count) / (self.count - self.done)
        if left and passed + left > LONG:
            told = f"{self.count} of {self.total} {self.unit}, about {duration(left)} left"
            tell(f"{self.title}: {told}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind, *_) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.show and kind is None:
            seconds = time.monotonic() - self.started
            note = f" · {self.note}" if self.note else ""
            tell(f"{self.title}: {self.count} {self.unit} in {seconds:.1f} s{note}")


def duration(seconds: float) -> str:
    """As 45 s, 12 min or 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
