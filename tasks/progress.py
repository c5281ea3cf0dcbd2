"""How far a stage is: one progress artifact with rate and time left, and the listeners of this process.

Reporting is free for the work: a state is made at most every two seconds and sent by another thread.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.live_artifacts import LiveArtifact
from tasks.policies import PROGRESS_SECONDS

ProgressListener = Callable[[str, int, int], None]
"""Called with (what, done, total); the command line draws bars with it."""

RATE_SECONDS = 30.0
"""The rate is that of the last half minute: long enough to be steady, short enough to follow a change."""

_listeners: list[ProgressListener] = []


def listen(listener: ProgressListener) -> None:
    """Show progress here too, for the lifetime of the process."""
    _listeners.append(listener)


@contextmanager
def progress(key: str, unit: str, *, resumes: bool = False) -> Iterator[ProgressListener]:
    """A callback that keeps one progress artifact of this task run; unit: what `done` and `total` count.

    resumes: the first report may count what an earlier start did, which says nothing about speed.
    """
    artifact = LiveArtifact(key, "progress")
    pace = Pace()
    if not resumes:
        pace.add(time.monotonic(), 0)
    last = float("-inf")

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        for listener in _listeners:
            listener(what, done, total)
        now = time.monotonic()
        pace.add(now, done)
        if now - last < PROGRESS_SECONDS and done < total:
            return
        last = now
        percent = min(100.0, 100.0 * done / total) if total else 100.0  # training rounds up to whole steps
        artifact.show(round(percent, 1), describe(what, done, total, unit, pace))

    try:
        yield report
    finally:
        artifact.flush()


class Pace:
    """How fast something counts up, over the last half minute."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()
        self._first: tuple[float, int] | None = None

    def add(self, now: float, done: int) -> None:
        """Note that `done` are finished at this time (seconds of any clock that does not jump)."""
        if self._first is None or done < self._points[-1][1]:
            self._points.clear()  # a part of the stage begins to count anew
            self._first = (now, done)
        self._points.append((now, done))
        while len(self._points) > 2 and self._points[1][0] < now - RATE_SECONDS:
            self._points.popleft()

    @property
    def rate(self) -> float | None:
        """Units a second; None before there are two points."""
        if len(self._points) < 2:
            return None
        (start, before), (end, after) = self._points[0], self._points[-1]
        return (after - before) / (end - start) if end > start else None

    @property
    def mean_rate(self) -> float | None:
        """Units a second since the beginning."""
        if self._first is None or self._points[-1][0] <= self._first[0]:
            return None
        (start, before), (end, after) = self._first, self._points[-1]
        return (after - before) / (end - start)

    @property
    def seconds(self) -> float:
        """How long it has gone on."""
        return self._points[-1][0] - self._first[0] if self._first else 0.0


def describe(what: str, done: int, total: int, unit: str, pace: Pace) -> str:
    """`analyse: about 12 s left, 310 documents per second, 1,200 of 5,000 documents`.

    The time left comes first: a run's page cuts what is longer than its cards.
    """
    counted = f"{done:,} of {total:,} {unit}"
    if done >= total:
        rate = pace.mean_rate
        speed = f"{per_second(rate, unit)}, " if rate else ""
        return f"{what}: done in {duration(pace.seconds)}, {speed}{counted}"
    rate = pace.rate
    if not rate:
        return f"{what}: {counted}"
    return f"{what}: about {duration((total - done) / rate)} left, {per_second(rate, unit)}, {counted}"


def per_second(rate: float, unit: str) -> str:
    """`310 documents per second`, with a decimal where it says something."""
    return f"{rate:,.0f} {unit} per second" if rate >= 10 else f"{rate:,.2g} {unit} per second"


def duration(seconds: float) -> str:
    """A time span as a person says it: 40 s, 3 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
