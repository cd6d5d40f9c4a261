"""Clouds of more files than a process may have open, and of files that are gone: never a silent NaN."""

import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pandas as pd
import pytest

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5
from lossatlas.files.points import Journal, gather, write_points

COUNT = 150


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """Gather a cloud of many files of two rows; return its path and the sum of its weights."""
    folder = tmp_path_factory.mktemp("cloud")
    rng, total, files = np.random.default_rng(), 0.0, []
    for number in range(COUNT):
        theta = rng.standard_normal((2, 5)).astype(np.float32)
        table = pd.DataFrame({"run": ["net"] * 2, "seed": [0, 1], "epoch": [0.0, 1.0]})
        files.append(folder / f"{number}.h5")
        with Journal(folder / f"journal{number}", 5, 1) as journal:
            for row in theta:
                journal.append(row, np.zeros(1, dtype=np.float32))
            write_points(files[-1], journal, table, "net", "stats", {})
        total += float(theta.astype(float).sum())
    gather(folder / "cloud.h5", [(file, None) for file in files], {})
    return folder / "cloud.h5", total


def limited(path, soft, hard):
    """Sum a cloud's weights in a process of its own that may open so many files; return the finished process."""
    program = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
        from pathlib import Path
        from lossatlas.files.hdf5 import open_hdf5
        with open_hdf5(Path({str(path)!r}), "points") as file:
            print(float(file["theta"][:].astype(float).sum()))
    """
    return subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)


def test_the_limit_is_raised_where_the_system_lets_it(cloud):
    path, total = cloud
    done = limited(path, 64, 4096)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(total, rel=1e-9)


def test_too_low_a_limit_is_one_clear_line(cloud):
    done = limited(cloud[0], 64, 100)
    assert done.returncode != 0
    assert "cloud.h5: reading it takes 278 open files, and this process may have 100: raise the limit" in done.stderr


@pytest.mark.parametrize("harm", ["closed", "no HDF5 file", "without its rows"])
def test_a_source_that_cannot_be_opened_is_an_error_and_no_nan(cloud, tmp_path, harm):
    path, _ = cloud
    hurt = path.parent / f"{COUNT // 3}.h5"
    hurt.rename(tmp_path / "whole.h5")
    try:
        if harm == "closed":  # to root no mode of a file is: a loop of links cannot be opened by anyone
            hurt.symlink_to(hurt)
        elif harm == "no HDF5 file":
            hurt.write_bytes(b"<html>not found</html>")
        else:
            h5py.File(hurt, "w").close()
        with (
            pytest.raises(LossatlasError, match=rf"its source .*{hurt.name} cannot be read"),
            open_hdf5(path, "points"),
        ):
            pass
    finally:
        hurt.unlink()
        (tmp_path / "whole.h5").rename(hurt)
    with open_hdf5(path, "points") as file:
        assert np.isfinite(file["theta"][:]).all()


def test_a_missing_source_is_named(cloud, tmp_path):
    path, _ = cloud
    lost = path.parent / f"{COUNT // 2}.h5"
    lost.rename(tmp_path / "elsewhere.h5")
    try:
        with pytest.raises(LossatlasError, match=rf"its source .*{lost.name} is missing"), open_hdf5(path, "points"):
            pass
    finally:
        (tmp_path / "elsewhere.h5").rename(lost)
