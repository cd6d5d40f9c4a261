"""Every operation of a job fails once, and the power is cut after each: the next run ends with the same bits.

Of each kind of protocol some cases are drawn, from a fresh printed seed; ``LOSSATLAS_EXHAUSTIVE=1`` runs all, of every
kind of job, which takes hours.
"""

import os
import tempfile
from pathlib import Path

import faults
import power
import pytest
from faults import FAULTS, JOBS, Bench, Server, build, cases, compile_shim, memory, missing, sampled

from lossatlas.study import subjects

PROTOCOLS = (
    "runs/mlp-iris",
    "sweeps/binary_mlp-swissroll",
    "retrains/resnet-8-0.125-digits",
    "tiles/resnet-8-0.125-digits",
    "clouds/jumps-resnet-8-0.125-digits",
    "grams/jumps-resnet-8-0.125-digits",
    "embeddings/pca-euclidean",
    "figures/losses",
    "tables/accuracies",
    "claims",
)
"""Each kind of protocol: state with a journal, of one unit and of several; rows; files that refer to others; plain
files; products with a record."""

SEVERAL_COMMITS = (
    "runs/mlp-iris",
    "runs/resnet-8-0.125-digits",
    "sweeps/mlp-iris",
    "sweeps/binary_mlp-swissroll",
    "retrains/resnet-8-0.125-digits",
    "levelsets/mlp-iris",
    "tiles/resnet-8-0.125-digits",
    "surfaces/mlp-iris",
    "descents/resnet-8-0.125-digits",
    "paths/mlp-iris",
    "averages/mlp-iris",
    "triangles/mlp-iris",
    "imports/mlp-iris",
    "volumes/binary_mlp-swissroll",
    "slices/binary_mlp-swissroll",
    "boundaries/binary_mlp-swissroll",
)
"""Jobs with state."""

EVERY = bool(os.environ.get("LOSSATLAS_EXHAUSTIVE"))
exhaustive = pytest.mark.skipif(not EVERY, reason="set LOSSATLAS_EXHAUSTIVE=1")
pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Return a folder in memory, where there is one: what is broken here is never a real disk."""
    with tempfile.TemporaryDirectory(dir=memory() or tmp_path_factory.getbasetemp()) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def bench(scratch):
    """Return what makes a bench for a job, in a folder with all that the jobs under test read."""
    with Server(compile_shim(scratch)) as server:
        folder = build(server, scratch / "study", JOBS if EVERY else (*PROTOCOLS, SEVERAL_COMMITS[0]))

        def made(job, **how):
            return Bench(server, job, folder, **how)

        made.jobs = server.different
        yield made


def run(bench, chosen):
    """Run cases; return what went wrong, and how many faults came about."""
    found = [bench.injure(name, k) for name, k in chosen]
    bench.restore()
    return [str(case) for case in found if case.wrong], sum(case.hit for case in found)


def test_some_faults_of_every_protocol(bench, scratch, rng):
    wrong, count = [], 0
    for job in PROTOCOLS:
        made = bench(job)
        found = cases(made, scratch)
        chosen = sampled(found, 1, rng)
        bad, hit = run(made, [chosen[i] for i in rng.permutation(len(chosen))[:7]])
        wrong, count = wrong + bad, count + hit
    assert not wrong, "\n".join(wrong)
    assert count > 6 * len(PROTOCOLS)


@exhaustive
@pytest.mark.parametrize("job", JOBS)
def test_every_fault(bench, scratch, job):
    made = bench(job)
    chosen = cases(made, scratch)
    wrong, count = run(made, chosen)
    print(f"{job}: {count} faults")
    assert not wrong, "\n".join(wrong)
    assert count == len(chosen)


@exhaustive
@pytest.mark.parametrize("job", SEVERAL_COMMITS)
def test_every_kill_of_a_job_that_commits_once(bench, scratch, job):
    """No commit is due by the clock: what is repeated after a kill is all since the last one that no clock decides."""
    made = bench(job, seconds=1e9)
    chosen = cases(made, scratch, ("kill",))
    wrong, count = run(made, chosen)
    assert not wrong, "\n".join(wrong)
    assert count == len(chosen)


@exhaustive
@pytest.mark.parametrize("job", SEVERAL_COMMITS)
def test_two_faults_one_after_the_other(bench, scratch, job, rng):
    """A run that goes on from what a fault left is injured, too."""
    made = bench(job)
    chosen = sampled(cases(made, scratch), 20, rng)
    for name, k in chosen:
        made.reset()
        made.run(fault=FAULTS["kill"], k=int(rng.integers(1, k + 1)))
        case = made.injure(name, int(rng.integers(1, k + 1)), fresh=False)
        assert not case.wrong, str(case)
    made.restore()


def test_all_kinds_are_here(bench):
    if EVERY:
        assert set(JOBS) == set(bench.jobs)
    assert {job.partition("/")[0] for job in JOBS} >= set(subjects.steps())
    assert set(PROTOCOLS) | set(SEVERAL_COMMITS) <= set(JOBS)


def cut(bench, scratch, trace, states, rng, count):
    """Look at some of the disks that a power cut may leave; return what went wrong."""
    wrong = []
    for i in rng.permutation(len(states))[:count]:
        found = states[i].examine(bench, scratch / "cut")
        if found.wrong:
            wrong.append(f"{bench.job}: {states[i]}\n  " + "\n  ".join([*found.wrong, *found.said]))
    bench.restore()
    return wrong


def test_some_power_cuts(bench, scratch, rng):
    """The training's protocol: state, journal, output, removal of the state; and a product's: files, then the record."""
    wrong = []
    for job, count in (("runs/mlp-iris", 20), ("tables/accuracies", 5)):
        made = bench(job)
        trace = power.traced(made, scratch)
        wrong += cut(made, scratch, trace, list(trace.states(rng, 3)), rng, count)
    assert not wrong, "\n".join(wrong)


@exhaustive
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("job", JOBS)
def test_every_power_cut(bench, scratch, job, resumed, rng):
    """Of a run from the beginning, and of one that goes on after a kill somewhere."""
    made = bench(job)
    if (resumed and job not in SEVERAL_COMMITS) or job == "gallery":
        pytest.skip("the same as from the beginning" if resumed else "a folder of copies")
    killed = int(rng.integers(1, len(made.operations(scratch)))) if resumed else 0
    trace = power.traced(made, scratch, killed)
    states = list(trace.states(rng, 20))
    print(f"{job}: {len(trace.steps)} steps, {len(states)} disks")
    wrong = cut(made, scratch, trace, states, rng, len(states))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("forgotten", "message"),
    [("file", "under its name, and bad"), ("folder", "the job had ended well, and its output is gone")],
)
def test_a_protocol_that_forgets_to_sync_is_found_out(bench, scratch, forgotten, message):
    """The same run without the syncs of its files, or of its folders, as the power cut sees it."""
    made = bench("runs/mlp-iris")
    trace = power.traced(made, scratch)
    folders = [node.folder for node in trace.nodes]
    trace.steps = [s for s in trace.steps if s.kind != "sync" or folders[s.node] != (forgotten == "folder")]
    states = sorted(trace.states(), key=lambda state: -state.cut)  # the last lose most
    found = any(message in line for state in states for line in state.examine(made, scratch / "cut").wrong)
    made.restore()
    assert found


# ---------------------------------------------------------------------------------------------------------------------
# the shim and the model themselves


def test_the_shim_fails_what_it_is_asked_to_and_nothing_else(scratch, bench):
    """The k-th operation below the folder fails, by its errno; those elsewhere are not even counted."""
    made = bench("tables/accuracies")
    operations = made.operations(scratch)
    assert [op.number for op in operations] == list(range(1, len(operations) + 1))
    assert all(op.path.startswith(str(made.folder)) for op in operations)
    assert {"open", "write", "close", "fsync", "rename", "unlink", "mkdir", "flock"} <= {op.name for op in operations}
    for k in (op.number for op in operations if op.name == "rename"):
        made.reset()
        done = made.run(fault=FAULTS["EIO"], k=k)
        assert (done.hit, done.status) == (k, 1)
        assert done.what.startswith("rename results/tables/")
        assert "Input/output error" in done.errors[0]
    made.restore()


def test_a_power_cut_loses_what_no_sync_covers(tmp_path, monkeypatch):
    """A file written, synced, renamed: its name may be lost until the folder is synced, its bytes may not."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a").write_bytes(b"old")
    trace = power.Trace(folder)
    steps = [
        ("open", "a.part", "", 1, b"", 1),
        ("write", "a.part", "", 1, b"new", 0),
        ("fsync", "a.part", "", 1, b"", 0),
        ("rename", "a.part", "a", 1, b"", 0),
        ("fsync", "", "", 2, b"", 0),
        ("unlink", "a", "", 1, b"", 0),
    ]
    operations = [
        faults.Operation(
            i, name, str(folder / path), str(folder / second) if second else "", inode, 0, 0, 0, flags, data
        )
        for i, (name, path, second, inode, data, flags) in enumerate(steps, start=1)
    ]
    monkeypatch.setattr(power, "read_log", lambda log: operations)
    trace.read(tmp_path / "log")

    def disks(cut):
        found = [trace.state(cut, lost, spoilt) for lost, spoilt in trace.losses(cut)]
        return [{path: data if isinstance(data, bytes) else b"old" for path, data in disk.items()} for disk in found]

    assert {disk["a"] for disk in disks(1) + disks(2)} == {b"old"}
    loose = [trace.steps[i].about for i in trace.loose(4)]
    assert loose == ["make a.part", "rename a.part -> a"]
    assert {disk["a"] for disk in disks(4)} == {b"old", b"new"}
    assert trace.loose(5) == []
    assert {disk.get("a") for disk in disks(6)} == {b"new", None}


@pytest.mark.parametrize("job", ["runs/mlp-iris", "tables/accuracies"])
def test_a_power_cut_that_loses_nothing_leaves_the_folder_as_it_is(bench, scratch, rng, job):
    """After a whole run, and after one that is killed anywhere, the steps noted make the folder that is there."""
    made = bench(job)
    count = len(made.operations(scratch))
    for k in (0, *rng.integers(2, count, 3)):
        made.remake()
        trace, log = power.Trace(made.folder), scratch / "log"
        made.run(fault=FAULTS["kill"] if k else None, k=int(k), log=log, data=True, prepared=True)
        trace.read(log)
        for path, data in trace.state(len(trace.steps), frozenset()).items():
            there = made.folder / path
            assert (
                there.is_dir()
                if data is None
                else there.read_bytes() == (data if isinstance(data, bytes) else data.read_bytes())
            ), f"{path} after a kill at {k}"
        known = set(trace.state(len(trace.steps), frozenset()))
        found = {path.relative_to(made.folder).as_posix() for path in made.folder.rglob("*")}
        assert {path for path in found if not path.startswith(("results/logs", "results/.locks"))} == known
    made.restore()
