"""What reaches the screen: a line now and then, one bar on a terminal, and nothing that jobs print by themselves."""

import io
import os
import subprocess
import sys

import pytest
from harness import environment

from lossatlas.workflow import screen
from lossatlas.workflow.screen import EVERY, Capture, Screen


class Clock:
    """Stands in for the module ``time``."""

    now = 0.0

    def monotonic(self):
        """Return what a test has set."""
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that a test sets."""
    clock = Clock()
    monkeypatch.setattr(screen, "time", clock)
    return clock


def test_lines_come_now_and_then_and_at_quarters(clock):
    out = io.StringIO()
    shown = Screen(out)
    for second in range(10 * int(EVERY) + 1):
        clock.now = float(second)
        shown.show(0.2, "state")
    lines = out.getvalue().splitlines()
    assert len(lines) == 10
    shown.show(0.26, "past a quarter")
    shown.show(0.26, "and no more")
    shown.show(0.24, "a little less by a new estimate")
    assert out.getvalue().splitlines()[len(lines) :] == ["lossatlas:  26% of the work; past a quarter"]


def test_lines_of_a_long_run_grow_rare(clock):
    out = io.StringIO()
    shown = Screen(out)
    for minute in range(24 * 60):
        clock.now = 60.0 * minute
        shown.show(0.1, "state")
    assert 100 < len(out.getvalue().splitlines()) < 300


class Terminal(io.StringIO):
    """A terminal, as far as it says."""

    def isatty(self):
        """Say yes."""
        return True


def test_a_line_on_a_terminal_stands_alone_and_the_bar_goes_at_the_end():
    out = Terminal()
    shown = Screen(out)
    shown.show(0.5, "halfway")
    assert " 50% |" in out.getvalue()
    shown.line("lossatlas: a line")
    rows = [row.rpartition("\r")[2] for row in out.getvalue().split("\n")]
    assert rows[0] == "lossatlas: a line"
    assert "halfway" in rows[1]
    shown.clear()
    assert out.getvalue().rpartition("\r")[2] == ""
    assert out.getvalue().rstrip("\r").rpartition("\r")[2].strip() == ""


CAPTURE = """
import os, subprocess, sys
from lossatlas.workflow.screen import Capture
print("before", flush=True)
capture = Capture()
print("printed", flush=True)
subprocess.run([sys.executable, "-c", "import sys; print('of a child'); print('its error', file=sys.stderr)"])
os.write(2, b"half a")
first = capture.new()
os.write(1, b" line\\n")
second = capture.new()
capture.screen.write("shown\\n")
capture.screen.flush()
capture.give_back()
print("after", flush=True)
print("after too", file=sys.stderr, flush=True)
print(repr((first, second)))
"""


def test_what_anything_prints_is_kept_and_both_streams_come_back():
    done = subprocess.run([sys.executable, "-c", CAPTURE], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *out, kept = done.stdout.splitlines()
    assert out == ["before", "after"]
    assert done.stderr.splitlines() == ["shown", "after too"]
    first, second = eval(kept)
    assert set(first.splitlines()) == {"printed", "of a child", "its error"}
    assert second == "half a line\n"


def test_without_memory_files_it_is_a_file_without_a_name(monkeypatch, capfd):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    capture = Capture()
    try:
        os.write(2, b"kept\n")
        assert capture.new() == "kept\n"
    finally:
        capture.give_back()
    assert capfd.readouterr().err == ""
