"""The HDF5 store of points: journal, whole-or-nothing files, gathering by reference, clear errors."""

import errno
import os
import subprocess
import sys
import textwrap
import time

import h5py
import numpy as np
import pandas as pd
import pytest

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import atomic, is_disk_full, open_hdf5, read_table
from lossatlas.files.points import Journal, gather, read_point, write_points
from lossatlas.files.record import read_provenance
from lossatlas.files.state import DamagedError


def make(path, rows, dim, rng, layout="net", buffers=3):
    """Write a points file of random rows; return its theta and buffers."""
    theta = rng.standard_normal((rows, dim)).astype(np.float32)
    stats = rng.standard_normal((rows, buffers)).astype(np.float32)
    table = pd.DataFrame({"run": ["net"] * rows, "seed": range(rows), "epoch": np.arange(rows, dtype=float)})
    with Journal(path.parent / "journal", dim, buffers) as journal:
        for row, stat in zip(theta, stats, strict=True):
            journal.append(row, stat)
        write_points(path, journal, table, layout, "stats", {"made": "by a test"})
    return theta, stats


def test_round_trip(tmp_path, rng):
    dim = int(rng.integers(1, 80_000))
    theta, stats = make(tmp_path / "points.h5", 4, dim, rng)
    with open_hdf5(tmp_path / "points.h5", "points") as file:
        np.testing.assert_array_equal(file["theta"][:], theta)
        np.testing.assert_array_equal(file["buffers"][:], stats)
        assert file["theta"].chunks[0] == 1
    table = read_table(tmp_path / "points.h5")
    assert list(table.columns) == ["run", "seed", "epoch"]
    assert table["run"].tolist() == ["net"] * 4
    last, buffers = read_point(tmp_path / "points.h5")
    np.testing.assert_array_equal(last, theta[-1])
    np.testing.assert_array_equal(buffers, stats[-1])
    assert read_provenance(tmp_path / "points.h5") == {"made": "by a test"}


def test_network_without_buffers(tmp_path, rng):
    make(tmp_path / "points.h5", 3, 10, rng, buffers=0)
    assert read_point(tmp_path / "points.h5")[1].shape == (0,)


def test_journal_drops_what_was_not_committed(tmp_path, rng):
    rows = rng.standard_normal((5, 7)).astype(np.float32)
    with Journal(tmp_path, 7, 0) as journal:
        for row in rows:
            journal.append(row, np.empty(0, np.float32))
    with open(tmp_path / "theta.f32", "ab") as file:
        file.write(b"half a row")
    with Journal(tmp_path, 7, 0) as journal:
        journal.truncate(3)
        journal.append(rows[4], np.empty(0, np.float32))
        kept = list(journal.rows("theta", 4))
    np.testing.assert_array_equal(kept, rows[[0, 1, 2, 4]])


def test_journal_with_fewer_rows_than_committed_is_refused(tmp_path):
    with Journal(tmp_path, 7, 0) as journal, pytest.raises(DamagedError, match=r"theta\.f32 has 0 bytes, 56 were"):
        journal.truncate(2)


def test_gather_equals_copying_and_survives_moving_the_tree(tmp_path, rng):
    parts = {name: make(tmp_path / "a" / name / "points.h5", 4, 50, rng) for name in ("x", "y", "z")}
    files = {name: tmp_path / "a" / name / "points.h5" for name in parts}
    cloud = tmp_path / "a" / "clouds" / "c" / "points.h5"
    gather(cloud, [(files["x"], [-1]), (files["y"], None), (files["z"], [2, 0][::-1])], {})
    expected = [np.concatenate([parts["x"][i][-1:], parts["y"][i], parts["z"][i][[0, 2]]]) for i in range(2)]
    (tmp_path / "a").rename(tmp_path / "b")
    with open_hdf5(tmp_path / "b" / "clouds" / "c" / "points.h5", "points") as file:
        np.testing.assert_array_equal(file["theta"][:], expected[0])
        np.testing.assert_array_equal(file["buffers"][:], expected[1])
    assert (tmp_path / "b" / "clouds" / "c" / "points.h5").stat().st_size < 40_000
    assert read_table(tmp_path / "b" / "clouds" / "c" / "points.h5")["seed"].tolist() == [3, 0, 1, 2, 3, 0, 2]


def test_gather_refuses_other_networks(tmp_path, rng):
    make(tmp_path / "x" / "points.h5", 2, 5, rng)
    make(tmp_path / "y" / "points.h5", 2, 5, rng, layout="another")
    with pytest.raises(LossatlasError, match=r"y/points.h5: its network differs"):
        gather(tmp_path / "c.h5", [(tmp_path / n / "points.h5", None) for n in ("x", "y")], {})
    assert not (tmp_path / "c.h5").exists()


def test_truncated_file_is_named_with_the_remedy(tmp_path, rng):
    path = tmp_path / "points.h5"
    make(path, 3, 5000, rng)
    os.truncate(path, int(path.stat().st_size * rng.uniform(0.05, 0.95)))
    with pytest.raises(LossatlasError, match=r"points.h5: .*truncated or corrupt.*run the same command again"):
        read_table(path)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(LossatlasError, match="no such file"):
        read_table(tmp_path / "nothing.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["kind"] = "gram"
    with pytest.raises(LossatlasError, match="holds 'gram', expected points"):
        read_point(tmp_path / "other.h5")


def test_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "out").write_text("old")

    def fail() -> None:
        with atomic(tmp_path / "out") as part:
            part.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / "out").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_disk_full_is_recognised_below_wrappers():
    wrapped = RuntimeError("unable to write")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_disk_full(wrapped)
    assert not is_disk_full(RuntimeError("unable to write"))


def test_gather_killed_at_random_moments_leaves_nothing_or_the_whole(tmp_path, rng):
    for name in ("x", "y"):
        make(tmp_path / name / "points.h5", 300, 40, rng)
    script = textwrap.dedent(
        """
        import sys; from pathlib import Path; from lossatlas.files.points import gather
        folder = Path(sys.argv[1]); print("ready", flush=True)
        gather(folder / "c.h5", [(folder / n / "points.h5", [i]) for n in "xy" for i in range(300)], {})
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        started = time.perf_counter()
        assert process.wait() == 0
        whole = time.perf_counter() - started
    with h5py.File(tmp_path / "c.h5") as file:
        expected = file["theta"][:]
    kills = 0
    for _ in range(6):
        (tmp_path / "c.h5").unlink(missing_ok=True)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(float(rng.uniform(0, whole)) * 0.7)
            process.kill()
            kills += process.wait() != 0
        if (tmp_path / "c.h5").exists():
            with h5py.File(tmp_path / "c.h5") as file:
                np.testing.assert_array_equal(file["theta"][:], expected)
    assert kills > 0
    subprocess.run(command, check=True)
    with h5py.File(tmp_path / "c.h5") as file:
        np.testing.assert_array_equal(file["theta"][:], expected)
