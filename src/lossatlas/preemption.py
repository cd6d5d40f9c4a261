"""Whether this process has been asked to end: by SIGTERM, which schedulers send before they kill, or by its own clock.

A job that keeps state then goes on to the next place where it can commit, commits, and ends there. A job that keeps
none ends at once when it gets SIGTERM, unless it is writing what it has made; by the clock it goes on, since it may
still be done in time. Whatever ends so ends with :data:`EXIT`, and the same command goes on from what was committed.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT = 75
"""Exit status of a job that ended because it was asked to: EX_TEMPFAIL of sysexits.h, "try again later"."""


class Preempted(SystemExit):
    """The process was asked to end, and all that it could keep is on disk."""

    def __init__(self) -> None:
        super().__init__(EXIT)


class _Process:
    """What this process knows: whether it was asked to end, and whether its job keeps state."""

    asked = False
    late = False
    lost = False
    keeps_state = False
    held = 0


def listen(seconds: float | None = None) -> None:
    """Take SIGTERM as a request to end, from here on; called once by a job, in its main thread.

    Args:
        seconds: after which the request comes by itself; None = never.
    """
    _Process.asked = _Process.late = _Process.lost = _Process.keeps_state = False
    sys.unraisablehook = _swallowed
    signal.signal(signal.SIGTERM, _requested)
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, 0.0 if seconds is None else max(seconds, 1e-3))


def _requested(number: int, frame: FrameType | None) -> None:
    _Process.asked = True
    if not _Process.keeps_state and not _Process.held:
        raise Preempted


def _time_is_up(number: int, frame: FrameType | None) -> None:
    if _Process.lost:
        _requested(number, frame)
    else:
        _Process.asked = _Process.late = _Process.keeps_state


def _swallowed(unraisable: "sys.UnraisableHookArgs") -> None:
    """Ask again in a moment: Python drops what is raised in a finaliser, or in a generator that it closes."""
    if isinstance(unraisable.exc_value, Preempted):
        _Process.lost = True
        signal.setitimer(signal.ITIMER_REAL, 1e-3)
    else:
        sys.__unraisablehook__(unraisable)


def time_was_up() -> bool:
    """Whether it was the clock that asked this process to end."""
    return _Process.late


@contextmanager
def held() -> Iterator[None]:
    """Go on to the end of this block, whatever is asked: a job that writes what it has made is all but done.

    HDF5 also calls back into Python while it writes, and takes an exception there for a disk that fails.
    """
    _Process.held += 1
    try:
        yield
    finally:
        _Process.held -= 1


def keep_state() -> None:
    """Say that this job keeps state: it ends at its next commit, and not in the middle of things."""
    _Process.keeps_state = True


def asked() -> bool:
    """Whether this process has been asked to end, so that a job's next commit is due now."""
    return _Process.asked


def leave() -> None:
    """End here if that was asked for: everything so far is committed. Within :func:`held` it goes on.

    Raises:
        Preempted: it was.
    """
    if _Process.asked and not _Process.held:
        raise Preempted
