"""A cloud of weight vectors from HDF5 to its PHATE embedding."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import finalize

import h5py
import numpy as np

from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, Work

CHUNK, TURN = 32768, 2.0
"""Columns of a chunk as points files have them; the angle over which the cloud's points lie on an arc, in radians.

A picture of many clusters or arms in the plane depends on chance, that of one curve does not.
"""


class Cloud:
    """A points file in a folder of its own, which goes when this does."""

    def __init__(self, size: Size) -> None:
        folder = tempfile.mkdtemp()
        finalize(self, shutil.rmtree, folder, True)
        self.path, self.output = Path(folder) / "points.h5", Path(folder) / "gram.h5"
        rng = np.random.default_rng(0)
        points, dimension = size["points"], size["dimension"]
        base = rng.standard_normal(dimension, dtype=np.float32)
        with h5py.File(self.path, "w") as file:
            chunks = (1, min(CHUNK, dimension))
            theta = file.create_dataset("theta", (points, dimension), "float32", chunks=chunks, fillvalue=None)
            axes = 0.05 * rng.standard_normal((2, dimension), dtype=np.float32)
            for row, turn in enumerate(np.linspace(0, TURN, points, dtype=np.float32)):
                noise = 0.001 * rng.standard_normal(dimension, dtype=np.float32)
                theta[row] = base + np.cos(turn) * axes[0] + np.sin(turn) * axes[1] + noise
            file.create_group("table").create_dataset("seed", data=np.arange(points))


def ours(size: Size) -> Action:
    """Reduce the file to its Gram matrix in one pass, then embed that, as the rules ``gram`` and ``embed`` do."""
    from lossatlas.clouds.embeddings import embed
    from lossatlas.clouds.files import Gram
    from lossatlas.clouds.jobs.gram import compute

    cloud = Cloud(size)

    def run() -> Outcome:
        cloud.output.unlink(missing_ok=True)
        compute(cloud.path, cloud.output, {})
        return Outcome(embed(Gram.load(cloud.output), "phate", seed=0).coordinates)

    return run


def documented(size: Size) -> Action:
    """``phate.PHATE().fit_transform(X)``, as phate's documentation has it, on the whole array."""
    import phate

    cloud = Cloud(size)

    def run() -> Outcome:
        with h5py.File(cloud.path) as file:
            x = file["theta"][:]
        return Outcome(phate.PHATE(random_state=0, verbose=0).fit_transform(x))

    return run


def disparity(ours: Any, theirs: Any) -> float:
    """Return Procrustes' disparity of two embeddings: 0 = the same up to a similarity, 1 = nothing in common."""
    from scipy.spatial import procrustes

    return float(procrustes(np.asarray(theirs), np.asarray(ours))[2])


def arithmetic(size: Size, _: Mapping) -> Work:
    """Return the arithmetic of half of a symmetric product of all rows, n^2 D."""
    return Work(float(size["points"] ** 2 * size["dimension"]), "float64")


CASES = (
    Case(
        name="phate",
        row="phate",
        what="reduce and PHATE-embed a cloud from HDF5",
        same=(
            "the same rows with PHATE's defaults; ours has exact distances, PHATE's own are those of 100 principal "
            "components, so the embeddings are compared up to a similarity, by Procrustes' disparity"
        ),
        tolerance=0.1,
        differ=disparity,
        ours=Side(ours),
        peers={"PHATE().fit_transform(X)": Side(documented, package="phate")},
        sizes={
            "full": {"points": 1000, "dimension": 1_467_610},
            "small": {"points": 1000, "dimension": 50_000},
            "tiny": {"points": 60, "dimension": 300},
        },
        goals=(Goal(3.0), Goal(10.0, quantity="memory")),
        limit=arithmetic,
        reason=(
            "Of many numbers a point nearly all of the time is the Gram matrix, made in float64 near the machine's "
            "rate; of few it is the embedding, which both sides leave to phate."
        ),
        axes={"dimension": (12_500, 25_000, 50_000), "points": (250, 500, 1000)},
    ),
)
