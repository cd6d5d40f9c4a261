"""When a job commits its unfinished work: from time to time, and at once where it has been asked to end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lossatlas import preemption

COMMIT_SECONDS = 10.0
"""Time between commits of jobs whose units of work are shorter than a commit."""

SHARE, MOST_SECONDS = 20, 45.0
"""Where a commit is slow, it comes after so many times what it took, but after so many seconds at the latest."""


class Clock:
    """The time since the last commit of one job."""

    def __init__(self) -> None:
        """Start it."""
        self._last, self._cost = time.monotonic(), 0.0

    def due(self) -> bool:
        """Whether the work since the last commit is to be committed now."""
        wait = COMMIT_SECONDS
        if wait > 0:
            wait = max(wait, min(SHARE * self._cost, MOST_SECONDS))
        return preemption.asked() or time.monotonic() - self._last > wait

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Note that what is written in this block is a commit, and what it costs."""
        begun = time.monotonic()
        yield
        self._last = time.monotonic()
        self._cost = self._last - begun
