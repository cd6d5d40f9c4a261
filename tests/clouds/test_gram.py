"""The streaming Gram matrix against direct computation, and what it does with bad input and with kill -9."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from lossatlas.clouds.files import Gram, copy_table
from lossatlas.clouds.jobs import gram as gram_module
from lossatlas.clouds.jobs.gram import compute
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import table_in, write_table


def write_points(path: Path, theta: np.ndarray, **columns: object) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("theta", data=theta, chunks=(1, min(32768, theta.shape[1])))
        write_table(file, pd.DataFrame(columns or {"seed": np.arange(len(theta))}))
    return path


def far_cloud(rng: np.random.Generator, n: int, dimension: int, radius: float, offset: float) -> np.ndarray:
    """Rows at up to ``radius`` around a point at ``offset``, some in pairs and clusters of a few ulp, some equal."""
    base = rng.standard_normal(dimension)
    base *= offset / np.linalg.norm(base)
    rows = rng.standard_normal((n, dimension))
    rows *= radius * rng.uniform(0.1, 1.0, (n, 1)) / np.linalg.norm(rows, axis=1, keepdims=True)
    rows[0] = 0.0
    theta = (rows + base).astype(np.float32)
    for k in range(3, 12):
        theta[k] = theta[2]
        moved = rng.integers(0, dimension, 3)
        theta[k, moved] += np.float32(1e-4) if k % 2 else np.spacing(theta[k, moved])
    theta[12] = theta[11]
    theta[14] = theta[13]
    return theta


@pytest.mark.parametrize(
    "n, dimension, radius, offset", [(40, 3_000, 100.0, 1e4), (30, 70_001, 100.0, 1e3), (20, 500, 1.0, 5.0)]
)
def test_distances_agree_with_direct_ones_near_pairs_included(tmp_path, rng, n, dimension, radius, offset):
    theta = far_cloud(rng, n, dimension, radius, offset)
    compute(write_points(tmp_path / "points.h5", theta), tmp_path / "gram.h5", {"hash": "x"})
    gram = Gram.load(tmp_path / "gram.h5")
    rows = theta.astype(np.float64)
    direct = cdist(rows, rows)
    assert direct[direct > 0].min() < 1e-3
    np.testing.assert_allclose(gram.distances(), direct, rtol=1e-6, atol=0)
    np.testing.assert_allclose(gram.radii(5), direct[5], rtol=1e-6, atol=0)
    np.testing.assert_allclose(gram.norms(), np.linalg.norm(rows, axis=1), rtol=1e-12)
    np.testing.assert_allclose(gram.raw(), rows @ rows.T, rtol=1e-10, atol=1e-10 * (radius + offset) ** 2)
    unit = rows.astype(np.longdouble)
    unit /= np.sqrt((unit**2).sum(axis=1, keepdims=True))
    exact = np.array([((unit - row) ** 2).sum(axis=1) / 2 for row in unit]).astype(np.float64)
    np.testing.assert_allclose(gram.distances("cosine"), exact, rtol=1e-6, atol=1e-26)
    assert gram.dimension == dimension


def test_a_cluster_far_from_the_reference_is_resolved(tmp_path, rng):
    """Every pair but those with row 0 is near, on three scales."""
    n, dimension = 30, 400
    theta = np.zeros((n, dimension), dtype=np.float32)
    theta[0] = 3e4
    theta[1:] = rng.standard_normal((n - 1, dimension)) * 1e-2
    theta[11:21] = theta[11] + np.float32(1e-8) * rng.standard_normal((10, dimension)).astype(np.float32)
    theta[21:] = theta[21]
    compute(write_points(tmp_path / "points.h5", theta), tmp_path / "gram.h5", {})
    gram = Gram.load(tmp_path / "gram.h5")
    rows = theta.astype(np.float64)
    np.testing.assert_allclose(gram.distances(), cdist(rows, rows), rtol=1e-6, atol=0)
    assert len(gram.near_pairs) == (n - 1) * (n - 2) // 2


def test_block_size_does_not_matter(tmp_path, rng):
    theta = (rng.standard_normal((130, 1_000)) + 5).astype(np.float32)
    points = write_points(tmp_path / "points.h5", theta)
    assert gram_module._block_columns(130, 1_000, 1) == 256
    seen: list[float] = []
    compute(points, tmp_path / "small.h5", {}, memory_bytes=1, progress=seen.append)
    compute(points, tmp_path / "large.h5", {})
    small, large = Gram.load(tmp_path / "small.h5"), Gram.load(tmp_path / "large.h5")
    rows = theta.astype(np.float64) - theta[0].astype(np.float64)
    np.testing.assert_allclose(small.gram, rows @ rows.T, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(large.gram, small.gram, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(large.cross, rows @ theta[0].astype(np.float64), rtol=1e-10, atol=1e-9)
    assert seen == [0.256, 0.512, 0.768, 1.0]


def test_virtual_dataset_gives_the_same_bits(tmp_path, rng):
    theta = rng.standard_normal((9, 40_000)).astype(np.float32)
    plain = write_points(tmp_path / "plain.h5", theta)
    (tmp_path / "parts").mkdir()
    layout = h5py.VirtualLayout((9, 40_000), np.float32)
    for k in range(3):
        write_points(tmp_path / "parts" / f"{k}.h5", theta[3 * k : 3 * k + 3])
        layout[3 * k : 3 * k + 3] = h5py.VirtualSource(f"parts/{k}.h5", "theta", (3, 40_000), np.float32)
    with h5py.File(tmp_path / "cloud.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("theta", layout, fillvalue=np.nan)
        write_table(file, pd.DataFrame({"seed": np.arange(9)}))
    compute(plain, tmp_path / "a.h5", {})
    compute(tmp_path / "cloud.h5", tmp_path / "b.h5", {})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()

    part = tmp_path / "parts" / "1.h5"
    content = part.read_bytes()
    part.write_bytes(content[: len(content) // 2])
    with pytest.raises(LossatlasError, match=r"its part .*1\.h5 is missing or unreadable"):
        compute(tmp_path / "cloud.h5", tmp_path / "c.h5", {})
    write_points(part, theta[:2])
    with pytest.raises(LossatlasError, match="has shape"):
        compute(tmp_path / "cloud.h5", tmp_path / "c.h5", {})
    part.unlink()
    with pytest.raises(LossatlasError, match="is missing"):
        compute(tmp_path / "cloud.h5", tmp_path / "c.h5", {})
    assert not (tmp_path / "c.h5").exists()


def test_coordinates_are_an_isometry(rng):
    rows = rng.standard_normal((25, 400)) * 3 + 50
    gram = Gram.from_rows(rows)
    coordinates = gram.coordinates()
    assert coordinates.shape == (25, 24)
    direct = cdist(rows, rows)
    np.testing.assert_allclose(cdist(coordinates, coordinates), direct, rtol=1e-10, atol=1e-6)
    np.testing.assert_allclose(coordinates.mean(axis=0), 0, atol=1e-9)
    centred = rows - rows.mean(axis=0)
    np.testing.assert_allclose(gram.centred(), centred @ centred.T, atol=1e-9)
    spectrum = np.linalg.svd(centred, compute_uv=False)[:24] ** 2
    np.testing.assert_allclose(gram.explained_variance(), spectrum / spectrum.sum(), atol=1e-12)
    largest = np.abs(coordinates).argmax(axis=0)
    assert (coordinates[largest, np.arange(24)] > 0).all()
    assert gram.coordinates(0.5).shape[1] < 24
    same = Gram.from_rows(np.ones((4, 3)))
    assert same.coordinates().shape == (4, 1)
    assert not same.explained_variance().any()


def test_cosine_agrees_with_scipy(rng):
    rows = rng.standard_normal((20, 50))
    np.testing.assert_allclose(Gram.from_rows(rows).distances("cosine"), cdist(rows, rows, "cosine"), atol=1e-14)
    with pytest.raises(LossatlasError, match="euclidean"):
        Gram.from_rows(rows).distances("manhattan")
    rows[7] = 0
    with pytest.raises(LossatlasError, match="row 7 is the zero vector"):
        Gram.from_rows(rows).distances("cosine")


def test_table_is_copied_in_order(tmp_path):
    table = pd.DataFrame({"run": ["göod", "bad"], "epoch": [0.0, 1.5], "a": [3, -1], "flag": [True, False]})
    with h5py.File(tmp_path / "a.h5", "w") as a, h5py.File(tmp_path / "b.h5", "w") as b:
        write_table(a, table)
        copy_table(a, b)
        back = table_in(b)
        assert b["table/a"].dtype == np.int64
        assert b["table/epoch"].dtype == np.float64
    assert list(back.columns) == ["run", "epoch", "a", "flag"]
    assert back["run"].tolist() == ["göod", "bad"]
    assert back["flag"].tolist() == [1, 0]


def test_errors_are_one_line_with_the_remedy(tmp_path, rng):
    out = tmp_path / "gram.h5"

    def message(path: Path, output: Path = out) -> str:
        with pytest.raises(LossatlasError) as caught:
            compute(path, output, {})
        text = str(caught.value)
        assert "\n" not in text
        assert str(path.parent) in text
        return text

    assert "no such points file" in message(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    assert "truncated or not an HDF5 file" in message(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = np.zeros((3, 3))
    assert "found: weights" in message(tmp_path / "other.h5")
    assert "at least 2 rows" in message(write_points(tmp_path / "one.h5", np.zeros((1, 5), np.float32)))

    theta = rng.standard_normal((6, 50_000)).astype(np.float32)
    good = write_points(tmp_path / "good.h5", theta)
    content = good.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: int(len(content) * 0.7)])
    assert "truncated" in message(tmp_path / "cut.h5")
    for row, value in ((4, np.nan), (2, np.inf), (0, -np.inf)):
        bad = theta.copy()
        bad[row, 49_000] = value
        text = message(write_points(tmp_path / "bad.h5", bad, run=list("abcdef"), epoch=np.arange(6.0)))
        assert f"row {row} (run={'abcdef'[row]}, epoch={float(row)})" in text
    assert not list(tmp_path.glob("gram.h5*"))

    for content in (b"no", None):
        if content is None:
            out.unlink()
        else:
            out.write_bytes(content)
        with pytest.raises(LossatlasError, match="compute it"):
            Gram.load(out)


CHILD = """
import sys, time
import lossatlas.clouds.jobs.gram as g
if sys.argv[3] == "rename":
    replace = g.os.replace
    g.os.replace = lambda a, b: (print("renaming", flush=True), time.sleep(60))
print("started", flush=True)
g.compute(sys.argv[1], sys.argv[2], {"hash": "k"}, memory_bytes=1, progress=lambda done: time.sleep(0.002))
"""


def test_killed_jobs_leave_no_output_and_a_rerun_is_bit_identical(tmp_path, rng):
    theta = (rng.standard_normal((12, 60_000)) + 1).astype(np.float32)
    points = write_points(tmp_path / "points.h5", theta)
    reference, out = tmp_path / "reference.h5", tmp_path / "gram.h5"
    compute(points, reference, {"hash": "k"}, memory_bytes=1)
    delays = [*rng.uniform(0.0, 0.4, 3), "rename"]
    for delay in delays:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, points, out, str(delay)], stdout=subprocess.PIPE, text=True, env=os.environ
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        if delay == "rename":
            assert child.stdout.readline() == "renaming\n"
        else:
            time.sleep(float(delay))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, f"the child ended before {delay}"
        child.stdout.close()
        assert not out.exists()
    compute(points, out, {"hash": "k"}, memory_bytes=1)
    assert out.read_bytes() == reference.read_bytes()
    assert not out.with_name(".gram.h5.part").exists()


def test_imports_stay_light():
    code = (
        "import sys, lossatlas.clouds.spec\n"
        "assert not {'h5py', 'scipy', 'pandas', 'torch', 'matplotlib'} & set(sys.modules)\n"
        "import lossatlas.clouds.embeddings\n"
        "assert not {'torch', 'phate', 'umap', 'sklearn', 'numba'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
