"""Small files and clouds in closed form that tests of several subjects draw and measure."""

import json

import h5py
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PathCollection

from lossatlas.clouds.files import Gram
from lossatlas.files.hdf5 import write_table

PROVENANCE = {"preset": "quick", "commit": "abc", "artefacts": [{"kind": "embeddings", "hash": "0123456789"}]}
PHATE = {"name": "phate", "metric": "cosine", "parameters": {"knn": 5, "t": "auto"}, "notes": {"t": 25}, "seed": 0}
PCA = {
    "name": "pca",
    "metric": "euclidean",
    "parameters": {},
    "notes": {"explained_variance_ratio": [0.5, 0.123]},
    "seed": 0,
}
DIM = 40

# ---------------------------------------------------------------------------------------------------------------------
# jump and retrain in R^D


def cloud(paths, seeds=(0, 1, 2), steps=(1.0,), centre=None):
    """A cloud whose trajectory (seed, step) is ``paths(seed, step)``: (k, 2) in the plane of the direction and another.

    Every direction gets a plane of its own, so a trajectory's closed form is that of the plane; theta_o is far from 0.
    """
    centre = np.linspace(-3, 5, DIM) if centre is None else centre
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(DIM, DIM)))[0]
    rows, theta = [{"run": "r", "seed": -1, "step": 0.0, "epoch": 200.0}], [centre]
    for seed in seeds:
        for step in steps:
            for epoch, (a, b) in enumerate(paths(seed, step)):
                rows.append({"run": "r", "seed": seed, "step": step, "epoch": float(epoch)})
                theta.append(centre + a * basis[2 * seed] + b * basis[2 * seed + 1])
    # The order of the rows within a cloud is not promised: shuffle all but the first.
    order = np.concatenate([[0], 1 + np.random.default_rng(2).permutation(len(theta) - 1)])
    return Gram.from_rows(np.array(theta)[order], pd.DataFrame(rows).iloc[order].reset_index(drop=True))


def straight(seed, step):
    """Straight back to a quarter of the jump."""
    return [(step * (1 - 0.75 * t), 0.0) for t in np.linspace(0, 1, 6)]


def out_and_back(seed, step):
    """Out to 1.6 times the jump, then back to 0.8 of it."""
    return [(step * r, 0.0) for r in (1.0, 1.3, 1.6, 1.2, 0.8)]


def save_gram(path, gram):
    """Write a gram file."""
    with h5py.File(path, "w") as file:
        for name in ("gram", "cross", "near_pairs", "near_distances2"):
            file[name] = getattr(gram, name)
        file.attrs.update(reference_norm2=gram.reference_norm2, dimension=gram.dimension, kind="gram", provenance="{}")
        write_table(file, gram.table)
    return path


def save_points(path, **columns):
    """Write a points file that holds its table alone."""
    with h5py.File(path, "w") as file:
        file.attrs.update(kind="points", provenance="{}")
        write_table(file, pd.DataFrame(columns))
    return path


def claim(**changes):
    """A claim on the cloud `bad`, with keys replaced."""
    base = {
        "id": "T2",
        "sentence": "Around the bad minimum it first moves outward.",
        "paper": "> 1",
        "measure": "outwardness",
        "inputs": {"cloud": {"gram": "bad"}},
        "holds": {"op": ">", "value": 1.05},
    }
    return {**base, **changes}


# ---------------------------------------------------------------------------------------------------------------------
# embeddings


def jump_cloud(seeds=5, steps=(0.25, 0.5, 0.75, 1.0), epochs=4, scale=1.0):
    """Table and coordinates of a cloud: arms that come back, the minimum first."""
    rows = [{"run": "wrn", "seed": -1, "step": 0.0, "epoch": 200.0, "train_loss": 1e-3 * scale, "test_accuracy": 0.9}]
    xy = [(0.0, 0.0)]
    for seed in range(seeds):
        for step in steps:
            for epoch in range(epochs):
                radius, angle = step * (1 - 0.2 * epoch), 2 * np.pi * seed / seeds + 0.1 * epoch * step
                xy.append((radius * np.cos(angle), radius * np.sin(angle)))
                loss = scale * step * np.exp(-epoch)
                rows.append({**rows[0], "seed": seed, "step": step, "epoch": float(epoch), "train_loss": loss})
    return pd.DataFrame(rows), np.array(xy)


def save_embedding(path, table, xy, method=PHATE):
    """Write an embedding file."""
    with h5py.File(path, "w") as file:
        file.attrs.update(kind="embedding", provenance="{}", method=json.dumps(method))
        file["coordinates"] = xy
        write_table(file, table)
    return path


def points_of(axes):
    """The coloured points of a panel: the largest scatter of circles."""
    scatters = [c for c in axes.collections if isinstance(c, PathCollection) and not isinstance(c, LineCollection)]
    return max(scatters, key=lambda c: len(c.get_offsets()))


def panels_of(figure):
    """Return the axes of a figure's panels in their order: neither legends nor colour bars."""
    return [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]


def legend_of(figure):
    """Return the texts of a figure's legends."""
    return [text.get_text() for axes in figure.axes if not axes.axison for text in axes.texts]


def embedding_spec(panels=1, **changes):
    """The YAML of a figure of kind embedding, a cloud a panel."""
    entries = [{"cloud": f"cloud{i}", "embedding": "phate", "title": f"cloud {i}"} for i in range(panels)]
    return {"kind": "embedding", "title": "A figure", "panels": entries, **changes}


def searched_cloud(rng):
    """Return a cloud of two paths, two starts each: searches of two strengths, clean trainings, settled ends."""
    rows, points = [], []

    def add(point, **row):
        rows.append({"start": np.nan, "moved": np.nan, "met": np.nan, "replica": 0, "value": 0.0, **row})
        points.append(point)

    shift = rng.standard_normal(8)
    base = {"train_accuracy": 1.0, "test_accuracy": 0.97, "train_loss": 0.01, "parameter": "none", "continued": 0}
    for path in (1, 2):
        for epoch in (0, 10):
            add(shift + path * epoch * np.eye(8)[path], epoch=epoch, **base)
    swept = {**base, "epoch": 50}
    for path in (1, 2):
        for start in (0.0, 10.0):
            for value, moved, met in ((0.0, 4.0, 30.0), (0.1, 2.0 * path, 40.0), (1.0, 0.5, np.nan)):
                own = {"replica": path, "start": start, "value": value, "moved": moved, "met": met}
                add(shift + rng.standard_normal(8), **(swept | own | {"parameter": "tether", "test_accuracy": 0.4}))
                more = {"parameter": "tether", "continued": 1, "test_accuracy": 0.7 + value, "moved": 0.3, "met": 9.0}
                add(shift + rng.standard_normal(8), **(swept | own | more))
            add(shift + rng.standard_normal(8), **(swept | {"replica": path, "start": start, "moved": 5.0}))
    return Gram.from_rows(np.array(points), pd.DataFrame(rows))
