"""What is left of the jump and of theta_o after each epoch of a retraining, and what weight decay alone would leave."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import atomic, open_hdf5
from lossatlas.files.points import TRAJECTORY
from lossatlas.files.record import provenance_file, write_record
from lossatlas.landscape.layout import WEIGHT, Layout
from lossatlas.specs.registry import Job
from lossatlas.train.spec import learning_rate
from lossatlas.trajectories.numbers import SHARES


def shares(job: Job) -> None:
    """Write shares.csv of a jump-and-retrain cloud; spec :class:`~lossatlas.trajectories.spec.SharesJob`."""
    gram = Gram.load(job.file("gram"))
    with open_hdf5(job.file("cloud"), "points") as file:
        angles = filter_angles(file["theta"], Layout.from_json(file.attrs["layout"]))
    table = of_cloud(gram, angles, job.spec["recipe"], job.spec["steps"])
    with atomic(job.output) as part:
        table.to_csv(part, index=False, lineterminator="\n")
    write_record(provenance_file(job.output), job.provenance, [job.output])


def left_by_decay(recipe: Mapping, steps: int, epochs: Array) -> Array:
    """Return exp(-sum of lr * weight_decay over the steps / (1 - momentum)), (n,) float64.

    What SGD with an L2 penalty leaves of a part of the weights on which no gradient acts: each step multiplies it by
    1 - lr * weight_decay, or by as much as 1 / (1 - momentum) such steps where momentum has run up. The exponential is
    that product for small lr * weight_decay, with the run-up of the momentum (some 1 / (1 - momentum) steps) neglected.

    Args:
        recipe: of the retraining, by SGD.
        steps: an epoch.
        epochs: whole numbers of epochs, (n,).
    """
    if recipe["optimizer"] != "sgd":
        raise LossatlasError(f"shares: retrained by {recipe['optimizer']}; what decay leaves is known for sgd alone")
    if recipe.get("warmup"):
        raise LossatlasError("shares: retrained with a warm-up; what decay leaves is known without; set `warmup: 0`")
    rates = [learning_rate(recipe, epoch) for epoch in range(math.ceil(float(epochs.max())))]
    done = np.concatenate([[0.0], np.cumsum(rates)])[epochs.astype(np.intp)]
    return np.exp(-done * steps * recipe["weight_decay"] / (1.0 - recipe["momentum"]))


def filter_angles(theta: NDArray[np.float32], layout: Layout) -> Array:
    """Return the root mean square angle, in radians, between the filters of each row and those of row 0, (n,) float64.

    A filter is what a direction's normalisation takes for one (:func:`lossatlas.landscape.directions.normalise`): a row
    of a weight along its first axis. Before a batch norm its length changes no output, so that this is a distance
    which the network's function sees where the raw one in R^D is not. Filters of norm zero in either are left out.

    Args:
        theta: (n, D), an array or a data set on the disk.
        layout: of its columns.
    """
    total, count = np.zeros(len(theta)), np.zeros(len(theta))
    for name, shape, kind in zip(layout.names, layout.shapes, layout.kinds, strict=True):
        if kind != WEIGHT:
            continue
        rows = np.asarray(theta[:, layout.slices[name]], dtype=np.float64).reshape(len(theta), shape[0], -1)
        norms = np.linalg.norm(rows, axis=2)
        known = (norms > 0) & (norms[0] > 0)
        units = rows / np.where(norms > 0, norms, 1.0)[:, :, None]
        # Twice the arc sine of half the chord: exact for small angles, where the arc cosine loses half its digits.
        chords = np.linalg.norm(units - units[0], axis=2)
        angles = 2.0 * np.arcsin(np.minimum(chords / 2.0, 1.0))
        total += np.sum(np.where(known, angles**2, 0.0), axis=1)
        count += known.sum(axis=1)
    return np.sqrt(total / count)


def of_cloud(gram: Gram, angles: Array, recipe: Mapping, steps: int) -> pd.DataFrame:
    """Return the shares of each point of a jump-and-retrain cloud.

    Args:
        gram: of the cloud; row 0 is theta_o.
        angles: of its rows, (n,) radians.
        recipe: of the retraining.
        steps: an epoch.

    Returns:
        One row a point, theta_o left out: the columns that tell trajectories apart, ``epoch``, then
        :data:`~lossatlas.trajectories.numbers.SHARES`.
    """
    table = gram.table.reset_index(drop=True)
    keys = [name for name in TRAJECTORY if name in table]
    theta_left = (gram.cross + gram.reference_norm2) / gram.reference_norm2
    radius = np.sqrt(np.maximum(np.diagonal(gram.gram), 0.0)) / math.sqrt(gram.reference_norm2)
    parts = []
    for _, rows in table[table["seed"] >= 0].groupby(keys, sort=True):
        ordered = rows.sort_values("epoch", kind="stable")
        at = ordered.index.to_numpy()
        inner = gram.gram[at[0], at]
        columns = {
            "predicted": left_by_decay(recipe, steps, ordered["epoch"].to_numpy(np.float64)),
            # From theta_o itself (step 0) there is no jump of which anything could be left.
            "jump_left": inner / inner[0] if inner[0] > 0 else np.full(len(at), np.nan),
            "theta_left": theta_left[at],
            "radius": radius[at],
            "angle": angles[at],
        }
        parts.append(ordered[[*keys, "epoch"]].assign(**{name: columns[name] for name in SHARES}))
    if not parts:
        raise LossatlasError("shares: the cloud has no retraining; name a jump-and-retrain cloud")
    return pd.concat(parts, ignore_index=True)
