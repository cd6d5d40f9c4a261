"""A real SIGTERM in the middle of a job of every kind: it commits at once, ends with its status, and goes on from there.

One moment of each kind is drawn, from a fresh printed seed; ``LOSSATLAS_EXHAUSTIVE=1`` takes many of each.
"""

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from faults import EXIT, JOBS, Bench, Server, build, compile_shim, memory, missing

from lossatlas import preemption
from lossatlas.files import clock
from lossatlas.files.hdf5 import create
from lossatlas.files.ledger import Ledger
from lossatlas.files.state import State
from lossatlas.study import subjects

KEEPING = (
    "runs/mlp-iris",
    "runs/resnet-8-0.125-digits",
    "sweeps/mlp-iris",
    "sweeps/binary_mlp-swissroll",
    "retrains/resnet-8-0.125-digits",
    "levelsets/mlp-iris",
    "tiles/resnet-8-0.125-digits",
    "descents/resnet-8-0.125-digits",
    "surfaces/mlp-iris",
    "averages/mlp-iris",
    "paths/mlp-iris",
    "triangles/mlp-iris",
    "hessians/mlp-iris",
    "trusts/resnet-8-0.125-digits",
    "masses/binary_mlp-swissroll",
    "imports/mlp-iris",
    "volumes/binary_mlp-swissroll",
    "slices/binary_mlp-swissroll",
    "boundaries/binary_mlp-swissroll",
)
"""Jobs on networks, all that a GPU is asked for: one by one and in lockstep, with batch norm and without."""

LONG = ("scores/tree-3x6",)
"""Others that keep state; a Gram matrix of so few columns is one unit."""

OTHERS = (
    "data/iris-package",
    "grams/jumps-resnet-8-0.125-digits",
    "embeddings/pca-euclidean",
    "figures/losses",
    "claims",
)
"""Some that keep none, or have one unit of work: they take seconds, and begin anew."""

EVERY = bool(os.environ.get("LOSSATLAS_EXHAUSTIVE"))
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Return what makes a bench for a job, in a folder with all that the jobs under test read."""
    place = memory() or tmp_path_factory.getbasetemp()
    with tempfile.TemporaryDirectory(dir=place) as scratch, Server(compile_shim(scratch)) as server:
        folder = build(server, Path(scratch) / "study", JOBS if EVERY else (*KEEPING, *LONG, *OTHERS))
        yield lambda job: Bench(server, job, folder)


def test_every_kind_that_asks_for_a_gpu_is_here():
    assert {job.partition("/")[0] for job in KEEPING} == {kind for kind, step in subjects.steps().items() if step.gpu}


@pytest.mark.parametrize("job", [*KEEPING, *LONG])
def test_it_commits_at_once_and_loses_nothing(bench, rng, job):
    """Asked to end between two units of work, whichever: what was computed before is not computed again."""
    made = bench(job)
    total = made.run(event="due", seconds=1e9).events
    assert total > 0, "a job that keeps state asks whether a commit is due"
    for at in range(1, total + 1) if EVERY else [int(rng.integers(1, total + 1))]:
        first, second, wrong = made.terminate("due", at)
        about = f"{job}, asked to end at unit {at} of {total}: {first.said}"
        assert not wrong, "\n".join([about, *wrong])
        assert first.status == EXIT, about
        assert (first.events, second.events) == (at, total - at), about
    made.restore()


@pytest.mark.parametrize("job", JOBS if EVERY else (*KEEPING[::5], *OTHERS))
def test_it_ends_well_whenever_it_is_asked(bench, rng, job):
    """In any function of ours: while it reads, computes, commits, or writes what it has made."""
    made = bench(job)
    total = made.run(event="calls", seconds=1e9).events
    ended = 0
    for at in rng.integers(1, total + 1, 20 if EVERY else 1):
        first, _, wrong = made.terminate("calls", int(at))
        assert not wrong, "\n".join([f"{job}, asked to end at call {at} of {total}: {first.said}", *wrong])
        ended += first.status == EXIT
    assert ended or not EVERY
    made.restore()


# ---------------------------------------------------------------------------------------------------------------------
# the parts


@pytest.fixture
def listening():
    """Listen for SIGTERM, and have it do what it did afterwards."""
    before, hook = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    preemption.listen()
    yield
    preemption.listen()
    signal.signal(signal.SIGTERM, before)
    sys.unraisablehook = hook


def terminate():
    """Send this process a SIGTERM, which Python has handled when this returns."""
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_job_without_state_ends_where_it_is(listening):
    with pytest.raises(preemption.Preempted) as ended:
        terminate()
    assert ended.value.code == EXIT == preemption.EXIT


def wait(swallowing, seconds=60.0):
    """Do something, and wait for what comes of it."""
    swallowing()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1e-3)


class Finaliser:
    """Is asked to end while it is removed: what is raised there goes no further."""

    def __del__(self):
        terminate()


def closed():
    """Be asked to end while this generator is closed."""
    try:
        yield 0
    finally:
        terminate()


@pytest.mark.parametrize("swallowing", [Finaliser, lambda: next(closed())])
def test_a_request_that_python_swallows_is_made_again(listening, capfd, swallowing):
    with pytest.raises(preemption.Preempted):
        wait(swallowing)
    assert capfd.readouterr() == ("", "")


def test_what_else_is_raised_in_a_finaliser_is_said(listening, capsys):
    class Wrong:
        def __del__(self):
            raise ValueError("of a finaliser")

    Wrong()
    assert "ValueError: of a finaliser" in capsys.readouterr().err


def test_a_job_that_writes_what_it_has_made_ends_that(listening, tmp_path):
    with create(tmp_path / "made.h5", "points", {}) as file:
        terminate()
        file["theta"] = np.zeros(3)
    assert (tmp_path / "made.h5").exists()
    with pytest.raises(preemption.Preempted):
        terminate()


def test_a_job_with_state_ends_at_its_next_commit(listening, tmp_path):
    kept, watch = State(tmp_path / "job"), clock.Clock()
    assert not watch.due()
    terminate()
    assert watch.due()
    with pytest.raises(preemption.Preempted):
        kept.write("file", b"bytes")
    assert State(tmp_path / "job").read("file") == b"bytes"


def test_slow_commits_come_seldom_but_within_a_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    watch = clock.Clock()

    def wait():
        begun = now[0]
        while not watch.due():
            now[0] += 0.5
        return now[0] - begun

    assert wait() == pytest.approx(clock.COMMIT_SECONDS, abs=1)
    for cost, expected in ((0.1, 10), (1.0, 20), (30.0, 45)):
        with watch.committing():
            now[0] += cost
        assert wait() == pytest.approx(expected, abs=1)


VALUE = np.arange(3.0)


def as_lists(arrays):
    """Return arrays as lists, to compare."""
    return [array.tolist() for array in arrays]


def test_a_ledger_tells_again_what_it_was_told(tmp_path, monkeypatch, rng):
    """Begun anew after any answer that is on disk, a unit asks for none of those before it."""
    monkeypatch.setattr(clock, "COMMIT_SECONDS", -1.0)
    values = rng.standard_normal((6, 3))
    asked = []

    def unit(ledger, number, stop=6):
        ledger.begin(number)
        return [ledger(lambda i=i: (asked.append(i), values[i] * (number + 1))[1]) for i in range(stop)]

    unit(Ledger(State(tmp_path / "job")), 0, 4)
    found = unit(Ledger(State(tmp_path / "job")), 0)
    assert (as_lists(found), asked) == (as_lists(values), [0, 1, 2, 3, 4, 5])
    asked.clear()
    assert as_lists(unit(Ledger(State(tmp_path / "job")), 1, 2)) == as_lists(2 * values[:2]), (
        "not those of another unit"
    )
    assert as_lists(unit(Ledger(State(tmp_path / "job")), 1)) == as_lists(2 * values)
    assert asked == [0, 1, 2, 3, 4, 5]


def test_a_damaged_ledger_is_set_aside_and_asked_again(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(clock, "COMMIT_SECONDS", -1.0)
    first = Ledger(State(tmp_path / "job"))
    first.begin(0)
    for _ in range(3):
        first(lambda: VALUE)
    part = tmp_path / "job/ledger-1.npz"
    part.write_bytes(part.read_bytes()[:-5])
    again, asked = Ledger(State(tmp_path / "job")), []
    again.begin(0)
    for i in range(3):
        again(lambda i=i: (asked.append(i), VALUE)[1])
    assert asked == [1, 2]
    assert capfd.readouterr().err.count("set aside as") == 1
