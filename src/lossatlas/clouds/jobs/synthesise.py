"""Artificial clouds: points whose structure is known, in the format of a cloud of weight vectors."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, write_table
from lossatlas.files.points import CHUNK_COLUMNS
from lossatlas.specs.registry import Job

LOSSES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")


def tree(
    branches: int, points: int, dimension: int, noise: float, seed: int, length: float | None = None
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Return a fully connected tree of random-walk branches, with noise.

    The model of PHATE's own generator (``phate.tree.gen_dla``): the steps of a branch are drawn uniformly from
    [-1, 1]^D, so its point p is the sum of p + 1 steps, of about (p + 1) D / 3 squared length in all; the first branch
    starts at the origin, every other one at a uniformly drawn point of the first. Walks in R^D are nearly orthogonal to
    each other. Gaussian noise of standard deviation ``noise`` is added to every coordinate of every point; it is drawn
    from a stream of its own, so that ``noise`` 0 gives the same tree without it.

    Args:
        branches: number of branches, at least 1.
        points: points of each.
        dimension: D.
        noise: standard deviation of the noise of a coordinate (``gen_dla``: 4, with 100 points a branch).
        seed: of the random numbers.
        length: value of ``epoch`` at the tip of a branch; points - 1 by default.

    Returns:
        The points (branches * points, D) float32, branch by branch, and their table: run ``tree``, seed = branch,
        step 0, epoch = position along the branch from 0, losses NaN.
    """
    if branches < 1 or points < 2 or dimension < 1 or noise < 0:
        raise LossatlasError(
            f"tree: branches {branches}, points {points}, dimension {dimension}, noise {noise}; at least 1, 2, 1 and 0"
        )
    walk, attach, blur = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    walks = np.cumsum(walk.uniform(-1.0, 1.0, (branches, points, dimension)), axis=1)
    starts = attach.integers(points, size=branches - 1)
    walks[1:] += walks[0, starts][:, None, :]
    theta = walks.reshape(branches * points, dimension)
    theta = theta + noise * blur.standard_normal(theta.shape)
    position = np.arange(points) * ((points - 1 if length is None else length) / (points - 1))
    table = pd.DataFrame(
        {
            "run": "tree",
            "seed": np.repeat(np.arange(branches), points),
            "step": 0.0,
            "epoch": np.tile(position, branches),
            **dict.fromkeys(LOSSES, np.nan),
        }
    )
    return theta.astype(np.float32), table


def arms(
    directions: int, steps: Sequence[float], epochs: int, dimension: int, left: float, wander: float, seed: int
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Return artificial retrainings of known fate, as a null for pictures of jump-and-retrain clouds.

    theta_o is a random unit vector of R^D; a jump of step s along a random unit direction d leads to theta_o + s d, and
    point k of E to theta_o + s left^(k / E) d + w_k, where w_k is a Gaussian random walk of the trajectory's own with
    E steps of squared length wander^2 / E on average. So the distance along d falls (left < 1), stays or rises for all
    trajectories alike, and nothing else pulls any of them anywhere.

    Args:
        directions: number of directions.
        steps: lengths of the jumps over that of theta_o, which is 1.
        epochs: E.
        dimension: D.
        left: share of the jump left at the end.
        wander: root mean square length of the walk at the end.
        seed: of the random numbers.

    Returns:
        The points (1 + directions * steps * (E + 1), D) float32, theta_o first (seed -1), and their table: run
        ``arms``, losses NaN.
    """
    if directions < 1 or not len(steps) or epochs < 1 or dimension < 2 or left <= 0 or wander < 0:
        raise LossatlasError(
            f"arms: {directions} directions, steps {steps}, {epochs} epochs, left {left}: out of range"
        )
    aim, walk = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2))
    lines = aim.standard_normal((directions + 1, dimension))
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    centre, lines = lines[0], lines[1:]
    shares = left ** (np.arange(epochs + 1) / epochs)
    points, rows = [centre[None]], [{"seed": -1, "step": 0.0, "epoch": 0.0}]
    for number, line in enumerate(lines):
        for step in steps:
            moves = walk.standard_normal((epochs, dimension)) * (wander / np.sqrt(epochs * dimension))
            wandered = np.concatenate([np.zeros((1, dimension)), np.cumsum(moves, axis=0)])
            points.append(centre + step * shares[:, None] * line + wandered)
            rows += [{"seed": number, "step": float(step), "epoch": float(k)} for k in range(epochs + 1)]
    table = pd.DataFrame(rows).assign(run="arms", **dict.fromkeys(LOSSES, np.nan))
    return np.concatenate(points).astype(np.float32), table[["run", "seed", "step", "epoch", *LOSSES]]


def write(output: Path, theta: NDArray[np.float32], table: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
    """Write an artificial cloud as a points file without buffers; it appears whole or not at all."""
    with create(Path(output), "points", provenance) as file:
        dimension = theta.shape[1]
        file.attrs["layout"] = json.dumps([["point", [dimension], "weight"]])
        file.attrs["buffer_layout"] = "[]"
        file.create_dataset("theta", data=theta, chunks=(1, min(dimension, CHUNK_COLUMNS)))
        file.create_dataset("buffers", data=np.zeros((len(theta), 0), dtype=np.float32))
        write_table(file, table)


def synthesise(job: Job) -> None:
    """Make the artificial cloud of a resolved spec {kind: tree, ...} or {kind: arms, ...}."""
    settings = {key: value for key, value in job.spec.items() if key != "kind"}
    make = arms if job.spec["kind"] == "arms" else tree
    write(job.output, *make(**settings), job.provenance)
