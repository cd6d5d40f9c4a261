"""State of unfinished jobs: every flipped bit is found, other machines' is set aside, and the order in which disks are told."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from lossatlas.errors import LossatlasError
from lossatlas.files import clock, hdf5, rows, state
from lossatlas.files.disk import sync_folder
from lossatlas.files.points import Journal
from lossatlas.files.provenance import Provenance
from lossatlas.files.state import RESUME, DamagedError, State, unpack

HERE = {
    "class": "Maker avx2, 1 thread",
    "versions": {"torch": "2.1", "numpy": "2.4", "scipy": "1.0", "umap-learn": "1"},
}


def made_on(hash="0123456789", **changes):
    """Return a provenance whose present stretch differs in some keys."""
    return {"hash": hash, "segments": [{**HERE, "started": "2026-01-02T00:00:00Z", "seconds": 0.0, **changes}]}


def said(capfd):
    """Return the lines for people."""
    return [line for line in capfd.readouterr().err.splitlines() if line.startswith("lossatlas: ")]


def flip(path, place, bit=0):
    """Flip a bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def test_what_was_written_is_read(tmp_path, rng):
    folder, data = State(tmp_path / "job", made_on()), rng.bytes(int(rng.integers(0, 5000)))
    assert folder.read("a.pt") is None
    folder.write("a.pt", data)
    folder.write("b.pt", memoryview(b"b"))
    folder.write("a.pt", data + b"more")
    again = State(tmp_path / "job", made_on())
    assert again.read("a.pt") == data + b"more"
    assert again.read("b.pt") == b"b"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.pt", "b.pt", "job"]
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_every_flipped_bit_is_found_wherever_it_falls(tmp_path, rng, capfd):
    data = rng.bytes(300)
    State(tmp_path / "job", made_on()).write("a.pt", data)
    whole = (tmp_path / "job/a.pt").read_bytes()
    for place in range(len(whole)):
        (tmp_path / "job").mkdir(exist_ok=True)
        (tmp_path / "job/a.pt").write_bytes(whole)
        flip(tmp_path / "job/a.pt", place, int(rng.integers(8)))
        provenance = made_on()
        assert State(tmp_path / "job", provenance).read("a.pt") is None, f"byte {place}"
        assert len(provenance["segments"]) == 1
        assert not (tmp_path / "job").exists()
    assert len(list(tmp_path.glob("job.damaged-*"))) == len(whole)
    lines = said(capfd)
    assert len(lines) == len(whole)
    assert all("job/a.pt: " in line and f"set aside as {tmp_path}/job.damaged-" in line for line in lines)


@pytest.mark.parametrize("size", [0, 1, 40, "half", "all but one", "one more"])
def test_a_file_of_another_size_is_found(tmp_path, size, capfd):
    State(tmp_path / "job").write("a.pt", bytes(1000))
    file = tmp_path / "job/a.pt"
    whole = file.stat().st_size
    size = {"half": whole // 2, "all but one": whole - 1, "one more": whole + 1}.get(size, size)
    os.truncate(file, size)
    assert State(tmp_path / "job").read("a.pt") is None
    (line,) = said(capfd)
    assert ("empty" if size == 0 else "does not begin" if size < 100 else f"{size} bytes, written with {whole}") in line


def test_a_file_that_an_earlier_version_or_another_programme_wrote_is_set_aside(tmp_path, rng, capfd):
    (tmp_path / "job").mkdir()
    (tmp_path / "job/a.pt").write_bytes(b"PK\x03\x04" + rng.bytes(4000))
    assert State(tmp_path / "job").read("a.pt") is None
    assert "does not begin as state does" in said(capfd)[0]


def test_files_that_were_exchanged_or_belong_to_another_artefact_are_set_aside(tmp_path, capfd):
    job = State(tmp_path / "job", made_on())
    for unit in ("0", "1"):
        job.within(unit).write("rows.npz", unit.encode())
    (tmp_path / "job/0").rename(tmp_path / "job/2")
    assert State(tmp_path / "job", made_on()).within("1").read("rows.npz") == b"1"
    assert State(tmp_path / "job", made_on()).within("2").read("rows.npz") is None
    assert "belongs to another unit (0123456789 0/rows.npz)" in said(capfd)[0]
    assert [path.name for path in tmp_path.glob("*damaged*")] == ["job.2.damaged-1"]
    assert State(tmp_path / "job", made_on()).within("1").read("rows.npz") == b"1", "the other unit stays"
    assert State(tmp_path / "job", made_on(hash="another")).within("1").read("rows.npz") is None
    assert "belongs to another unit" in said(capfd)[0]


def test_what_cannot_be_parsed_is_set_aside_and_a_full_disk_is_not_mistaken_for_that(tmp_path, capfd):
    State(tmp_path / "job").write("a.pt", b"what another version keeps")
    assert State(tmp_path / "job").load("a.pt", json.loads) is None
    assert "another version of lossatlas wrote it (JSONDecodeError: Expecting value" in said(capfd)[0]
    State(tmp_path / "job").write("a.pt", b"{}")
    assert State(tmp_path / "job").load("a.pt", json.loads) == {}

    def fails(data):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        State(tmp_path / "job").load("a.pt", fails)
    assert State(tmp_path / "job").load("a.pt", json.loads) == {}


@pytest.mark.parametrize("number, lost", [(5, True), (116, False), (110, False)], ids=["EIO", "ESTALE", "ETIMEDOUT"])
def test_what_a_disk_cannot_read_is_set_aside_and_a_network_that_fails_is_waited_for(
    tmp_path, number, lost, monkeypatch, capfd
):
    State(tmp_path / "job").write("a.pt", b"data")
    with Journal(tmp_path / "rows", 1, 0) as journal:
        journal.append(np.ones(1, np.float32), np.ones(0, np.float32))
        digests = journal.sync()

        def fails(*args):
            raise OSError(number, os.strerror(number))

        class Broken:
            seek = truncate = lambda self, *args: 4
            read = close = fails

        journal.files["theta"].close()
        journal.files["theta"] = Broken()
        with pytest.raises(DamagedError if lost else OSError, match="cannot be read" if lost else os.strerror(number)):
            journal.truncate(1, digests)
        Broken.close = lambda self: None
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fails)
        if lost:
            assert State(tmp_path / "job").read("a.pt") is None
        else:
            with pytest.raises(OSError, match=os.strerror(number)):
                State(tmp_path / "job").read("a.pt")
    assert ["cannot be read (Input/output error); set aside" in line for line in said(capfd)] == [True] * lost
    assert State(tmp_path / "job").read("a.pt") == (None if lost else b"data")


# ---------------------------------------------------------------------------------------------------------------------
# classes of machine, versions, stretches


@pytest.mark.parametrize(
    "there, why",
    [
        ({"class": "Other avx512, 1 thread"}, "computed on Other avx512, 1 thread, while this is Maker avx2, 1 thread"),
        ({"versions": {**HERE["versions"], "torch": "2.0"}}, "computed with torch 2.0, while this is 2.1"),
        ({"versions": {**HERE["versions"], "numpy": "1.9"}}, "computed with numpy 1.9, while this is 2.4"),
    ],
)
def test_state_of_another_class_or_version_is_set_aside_unless_any_is_asked_for(
    tmp_path, there, why, capfd, monkeypatch
):
    monkeypatch.delenv(RESUME, raising=False)
    for place in ("a", "b"):
        State(tmp_path / place, made_on(**there)).write("s", b"data")
    provenance = made_on()
    assert State(tmp_path / "a", provenance).read("s") is None
    (line,) = said(capfd)
    assert why in line
    assert f"{RESUME}=any would go on with it" in line
    assert [path.name for path in tmp_path.glob("a*")] == ["a.other-1"]
    assert provenance == made_on()
    monkeypatch.setenv(RESUME, "any")
    kept = State(tmp_path / "b", provenance)
    assert kept.read("s") == b"data"
    assert kept.read("s") == b"data"
    (line,) = said(capfd)
    assert "goes on with it" in line
    assert provenance["segments"] == [*made_on(**there)["segments"], *made_on()["segments"]]
    kept.write("s", b"more")
    assert unpack(tmp_path / "b/s")[0]["segments"] == provenance["segments"]
    monkeypatch.setenv(RESUME, "same")  # what has a part of another class in it is not of this one
    assert State(tmp_path / "b", made_on()).read("s") is None


def test_a_package_that_unfinished_work_does_not_use_may_change(tmp_path, monkeypatch):
    monkeypatch.delenv(RESUME, raising=False)
    State(tmp_path, made_on(versions={**HERE["versions"], "umap-learn": "2"})).write("s", b"data")
    assert State(tmp_path, made_on()).read("s") == b"data"


def test_without_a_class_nothing_is_compared(tmp_path, monkeypatch):
    monkeypatch.delenv(RESUME, raising=False)
    State(tmp_path / "a", {}).write("s", b"data")
    assert State(tmp_path / "a", made_on()).read("s") == b"data"
    State(tmp_path / "b", made_on()).write("s", b"data")
    assert State(tmp_path / "b", {}).read("s") == b"data"


def test_a_wrong_value_of_the_variable_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv(RESUME, "yes")
    with pytest.raises(LossatlasError, match=f"{RESUME}: 'yes' is neither same nor any"):
        State(tmp_path).read("s")


def test_stretches_of_several_files_come_in_order_and_once(tmp_path):
    first, second = (made_on(started=f"2026-01-01T00:00:0{n}Z", seconds=float(n)) for n in (1, 2))
    State(tmp_path, first).within("0").write("s", b"")
    first["segments"][0]["seconds"] = 7.0
    State(tmp_path, first).within("1").write("s", b"")
    resumed = State(tmp_path, second)
    resumed.within("1").read("s")
    resumed.within("2").write("s", b"")
    third = made_on()
    last = State(tmp_path, third)
    for unit in ("2", "0", "1", "0"):
        assert last.within(unit).read("s") == b""
    assert [(one["started"][-3:-1], one["seconds"]) for one in third["segments"]] == [
        ("01", 7.0),
        ("02", 2.0),
        ("00", 0.0),
    ]
    last.within("2").set_aside("s", "because")
    assert [one["started"][-3:-1] for one in third["segments"]] == ["01", "00"]


def test_the_record_of_a_job_has_its_own_stretch_and_the_earlier_ones(tmp_path, monkeypatch):
    monkeypatch.delenv(RESUME, raising=False)
    records = []
    for number in range(3):
        provenance = Provenance({"hash": "x", "numerics": "native"}, tmp_path, 1)
        provenance.started -= 100 * (3 - number)
        provenance.begin()
        folder = State(tmp_path / "job", provenance)
        assert (folder.read("s") is None) == (number == 0)
        folder.write("s", b"data")
        records.append(provenance.finished())
    assert [len(record["segments"]) for record in records] == [1, 2, 3]
    assert [round(one["seconds"], -2) for one in records[-1]["segments"]] == [300, 200, 100]
    assert records[-1]["seconds"] == pytest.approx(600, abs=20)


def test_what_was_set_aside_of_another_machine_goes_with_the_finished_job_and_the_damaged_stays(tmp_path, capfd):
    for harm in ("damaged", "other"):
        State(tmp_path / "job-1", made_on()).within("0").write("s", b"")
        if harm == "damaged":
            flip(tmp_path / "job-1/0/s", 200)
        assert State(tmp_path / "job-1", made_on(**{"class": harm})).within("0").read("s") is None
    State(tmp_path / "job-10", made_on()).write("s", b"")
    State(tmp_path / "job-1").remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job-1.0.damaged-1", "job-10"]


# ---------------------------------------------------------------------------------------------------------------------
# the journal


def test_a_journal_whose_rows_changed_is_found(tmp_path, rng):
    dim, stats = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    rows_of = rng.standard_normal((6, dim + stats)).astype(np.float32)
    with Journal(tmp_path, dim, stats) as journal:
        for row in rows_of[:4]:
            journal.append(row[:dim], row[dim:])
        digests = journal.sync()
        for row in rows_of[4:]:  # beyond the commit
            journal.append(row[:dim], row[dim:])
    whole = {name: (tmp_path / f"{name}.f32").read_bytes() for name in ("theta", "buffers")}
    for name, width in (("theta", dim), ("buffers", stats)):
        for place in range(4 * 4 * width):
            flip(tmp_path / f"{name}.f32", place, int(rng.integers(8)))
            with Journal(tmp_path, dim, stats) as journal, pytest.raises(DamagedError, match=rf"{name}\.f32"):
                journal.truncate(4, digests)
            (tmp_path / f"{name}.f32").write_bytes(whole[name])
        os.truncate(tmp_path / f"{name}.f32", 4 * 4 * width - 1)
        with Journal(tmp_path, dim, stats) as journal, pytest.raises(DamagedError, match="were committed"):
            journal.truncate(4, digests)
        (tmp_path / f"{name}.f32").write_bytes(whole[name])
    with Journal(tmp_path, dim, stats) as journal:
        journal.truncate(4, digests)
        journal.append(rows_of[5][:dim], rows_of[5][dim:])
        np.testing.assert_array_equal(list(journal.rows("theta", 5)), rows_of[[0, 1, 2, 3, 5], :dim])
        assert journal.sync() != digests
        flip(tmp_path / "theta.f32", int(rng.integers(4 * 5 * dim)))
        with pytest.raises(DamagedError, match="not those that were written"):
            list(journal.rows("theta", 5))


# ---------------------------------------------------------------------------------------------------------------------
# rows, and the order in which the disk is told


@pytest.mark.parametrize("harm", ["nothing", "flipped", "cut off", "empty", "other class"])
def test_rows_of_an_interrupted_grid_are_believed_or_computed_again(tmp_path, rng, harm, monkeypatch, capfd):
    monkeypatch.setattr(clock, "COMMIT_SECONDS", 0.0)
    monkeypatch.delenv(RESUME, raising=False)
    values, computed = rng.standard_normal((8, 3)), []

    def row(i):
        computed.append(i)
        if stop and i == 5:
            raise KeyboardInterrupt
        return {"v": values[i]}

    stop = True
    with pytest.raises(KeyboardInterrupt):
        rows.compute(row, 8, State(tmp_path / "job", made_on()))
    file, stop = tmp_path / "job/rows.npz", False
    if harm == "flipped":
        flip(file, int(rng.integers(file.stat().st_size)), int(rng.integers(8)))
    elif harm in ("cut off", "empty"):
        os.truncate(file, 0 if harm == "empty" else int(rng.integers(1, file.stat().st_size)))
    computed.clear()
    found = rows.compute(row, 8, State(tmp_path / "job", made_on(**({"class": "x"} if harm == "other class" else {}))))
    np.testing.assert_array_equal(found["v"], values)
    assert computed == ([5, 6, 7] if harm == "nothing" else list(range(8)))
    assert len(said(capfd)) == (harm != "nothing")


@pytest.fixture
def told(tmp_path, monkeypatch):
    """Return what the disk is told, in order: (fsync, file), (replace, new name), (unlink or rmdir, file)."""
    calls, real = [], {name: getattr(os, name) for name in ("fsync", "replace", "rename", "unlink", "rmdir")}

    def short(path):
        return os.path.relpath(path, tmp_path)

    def fsync(file):
        path = short(os.readlink(f"/proc/self/fd/{file}"))
        if not path.startswith(".."):  # once a process up to the root
            calls.append(("fsync", path))
        return real["fsync"](file)

    def noted(name, which):
        def call(*paths, dir_fd=None, **more):
            folder = f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/" if dir_fd is not None else ""
            if os.path.lexists(f"{folder}{paths[0]}"):
                calls.append((name, short(f"{folder}{paths[which]}")))
            return real[name](*paths, **({} if dir_fd is None else {"dir_fd": dir_fd}), **more)

        monkeypatch.setattr(os, name, call)

    monkeypatch.setattr(os, "fsync", fsync)
    for name, which in (("replace", 1), ("rename", 1), ("unlink", 0), ("rmdir", 0)):
        noted(name, which)
    return calls


def test_the_disk_is_told_in_an_order_that_loses_nothing(tmp_path, told):
    """Journal and its name, then the state that counts its rows; the output and its name, then the removal."""
    folder = State(tmp_path / "state/runs/a", made_on())
    with Journal(folder.folder, 2, 1) as journal:
        journal.append(np.zeros(2, np.float32), np.zeros(1, np.float32))
        journal.sync()
        folder.write("state.pt", b"one row")
    assert told[:3] == [("fsync", f"state/runs/a/{name}") for name in ("theta.f32", "buffers.f32")] + [
        ("fsync", "state/runs/a")
    ]
    above = [("fsync", "state/runs"), ("fsync", "state"), ("fsync", ".")]
    assert told[3:6] == above, "a new folder is an entry of the one above"
    commit = [("fsync", "state/runs/a/.state.pt.part"), ("replace", "state/runs/a/state.pt"), ("fsync", "state/runs/a")]
    begin = told.index(commit[0])
    assert told[begin:] == commit
    told.clear()
    with hdf5.create(tmp_path / "runs/a/points.h5", "points", {}) as file:
        file["x"] = 1.0
    folder.remove()
    written = told.index(("replace", "runs/a/points.h5"))
    assert told[written - 1] == ("fsync", "runs/a/.points.h5.part")
    assert told[written + 1 : written + 4] == [("fsync", "runs/a"), ("fsync", "runs"), ("fsync", ".")]
    removals = [path for what, path in told if what in ("unlink", "rmdir")]
    assert told.index(("unlink", "state/runs/a/state.pt")) > written + 3
    assert removals[0] == "state/runs/a/state.pt", "rows go after what counts them"
    assert sorted(removals[1:]) == ["state/runs/a", "state/runs/a/buffers.f32", "state/runs/a/theta.f32"]


def test_setting_aside_is_on_disk_before_anything_new_is_written(tmp_path, told):
    folder = State(tmp_path / "a")
    folder.write("s", b"old")
    told.clear()
    folder.set_aside("s", "because")
    assert told == [("rename", "a.damaged-1"), ("fsync", ".")]


def test_a_folder_that_cannot_be_synced_is_no_error_and_a_failing_disk_is(tmp_path, monkeypatch):
    def fails(number):
        def fsync(file):
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(os, "fsync", fails(22))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", fails(5))
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)


def test_state_that_cannot_be_removed_is_said_and_no_error(tmp_path, monkeypatch, capfd):
    folder = State(tmp_path / "a")
    folder.write("s", b"")

    def fails(*args, **more):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(state.Path, "unlink", fails)
    folder.remove()
    (line,) = said(capfd)
    assert "a: the state of a finished job stays (Input/output error; of " in line


def test_killed_at_random_moments_what_was_committed_last_is_there(tmp_path, rng):
    script = textwrap.dedent(
        """
        import sys; from pathlib import Path; from lossatlas.files.state import State
        folder, number = State(Path(sys.argv[1])), 0
        print("ready", flush=True)
        while True:
            number += 1
            folder.write("s", b"%08d" % number * 5000)
            print(number, flush=True)
        """
    )
    for _ in range(4):
        command = [sys.executable, "-c", script, str(tmp_path / "job")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            last = 0
            for _ in range(int(rng.integers(1, 40))):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            last = max([last, *map(int, process.stdout.read().split())])
        data = State(tmp_path / "job").read("s")
        assert data in (b"%08d" % last * 5000, b"%08d" % (last + 1) * 5000)
