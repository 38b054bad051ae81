"""Live progress: a bar where somebody watches, a line now and then where nobody does.

`LABKIT_PROGRESS` overrides the guess: "bar" or "quiet". Headless notebook runs set "quiet", so that executed
copies hold a line per task instead of a thousand half-drawn bars. In a log of a batch job, too, no work is silent
for longer than EVERY seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from ..lab import tell, watched

SMOOTHING = 0.02  # weight of the newest result in the speed: those of several processes come in bursts
FIRST, EVERY = 8.0, 30.0  # seconds after which work without a bar is told of first, and between two lines of it
FEW = 4  # units that must be done before the time that the others take is guessed


class Progress:
    """Counts `total` units of work under a title; use as a context manager.

    Without a watcher a line every EVERY seconds tells how much is done and how long the rest takes, and the last
    one the time that all took.
    """

    def __init__(self, title: str, total: int, unit: str, *, done: int = 0, show: bool = True):
        self.title, self.total, self.unit, self.count, self.show = title, total, unit, done, show
        self.started, self.done = time.monotonic(), done
        self.due = self.started + FIRST
        shown = show and watched()
        self.bar = tqdm(total=total, initial=done, desc=title, unit=unit, smoothing=SMOOTHING) if shown else None

    def advance(self, count: int = 1) -> None:
        self.count += count
        now = time.monotonic()
        if self.bar is not None:
            self.bar.update(count)
        elif self.show and now >= self.due and self.count < self.total:
            self.due = now + EVERY
            left = time_left(self.count - self.done, self.total - self.count, now - self.started)
            tell(f"{self.title}: {self.count} of {self.total} {self.unit}, {left}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind, *_) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.show and kind is None:
            tell(f"{self.title}: {self.count} {self.unit} in {time.monotonic() - self.started:.1f} s")


@contextmanager
def told_of(how_far: Callable[[], str], tell: Callable[[str], None] = tell) -> Iterator[None]:
    """While this lasts, what `how_far` says is told every EVERY seconds, whatever the caller waits for."""
    over = threading.Event()

    def go_on_telling() -> None:
        while not over.wait(EVERY):
            tell(how_far())

    teller = threading.Thread(target=go_on_telling, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def time_left(done: int, left: int, seconds: float) -> str:
    """How long the rest takes when it goes on as it did, after `seconds`; that it is not known when few are done."""
    if done < FEW:
        return f"time left not known before {FEW} are done"
    return f"about {duration(seconds * left / done)} left"


def duration(seconds: float) -> str:
    """As 45 s, 12 min or 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
