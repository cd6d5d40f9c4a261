"""The screen of a run: one bar that stays on a terminal, a plain line now and then anywhere else."""

import os
import sys
import tempfile
import time
from typing import TextIO

from tqdm import tqdm

EVERY = 30.0
"""Seconds between two lines, and then a sixtieth of the time gone: 300 lines in a run of a day."""

MILESTONES = 4
"""A line is due at each of so many parts of the work, however little time has gone."""


class Screen:
    """What a run shows: lines, and how far it is."""

    def __init__(self, stream: TextIO) -> None:
        """Show on a stream."""
        self.stream = stream
        self._bar: tqdm | None = None
        self._terminal = stream.isatty()
        self._begun = self._last = time.monotonic()
        self._passed = 0

    def line(self, text: str) -> None:
        """Print a line, above the bar."""
        if self._bar is not None:
            self._bar.clear()
        self.stream.write(f"{text}\n")
        self.stream.flush()
        if self._bar is not None:
            self._bar.refresh()

    def show(self, share: float, state: str) -> None:
        """Show how much of the work is done (0 to 1), and in words what is left and what runs."""
        if self._terminal:
            self._draw(share, state)
        elif self._due(share):
            self.line(f"lossatlas: {share:4.0%} of the work; {state}")

    def _draw(self, share: float, state: str) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=1.0,
                file=self.stream,
                dynamic_ncols=True,
                leave=False,
                bar_format="{percentage:3.0f}% |{bar:20}| {desc}",
            )
        self._bar.n = share
        self._bar.set_description_str(state, refresh=False)
        self._bar.refresh()

    def _due(self, share: float) -> bool:
        """Whether the next line is due; if so it counts as printed."""
        now, part = time.monotonic(), int(share * MILESTONES)
        if part <= self._passed and now - self._last < max(EVERY, (now - self._begun) / 60):
            return False
        self._last, self._passed = now, part
        return True

    def clear(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Capture:
    """What this process and those it starts print, kept from the screen: it would break the bar.

    It goes to memory (a file without a name where the system has no such thing), so that what a job has to say of a
    full disk arrives, and a job that outlives this process still has somewhere to print.
    """

    def __init__(self) -> None:
        """Take standard output and error away; ``screen`` is where standard error went until now."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = {number: os.dup(number) for number in (1, 2)}
        self.screen = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        self._file = os.memfd_create("printed") if hasattr(os, "memfd_create") else _nameless()
        self._read = 0
        for number in self._saved:
            os.dup2(self._file, number)

    def new(self) -> str:
        """Return what has been printed since the last call, whole lines only."""
        text = os.pread(self._file, max(os.fstat(self._file).st_size - self._read, 0), self._read)
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode("utf-8", errors="replace")

    def give_back(self) -> None:
        """Give standard output and error back; the screen is closed with that."""
        self.screen.close()
        sys.stdout.flush()
        sys.stderr.flush()
        for number, saved in self._saved.items():
            os.dup2(saved, number)
            os.close(saved)
        self._saved = {}


def _nameless() -> int:
    """Return the descriptor of a file without a name."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
