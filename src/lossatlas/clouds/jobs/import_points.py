"""Weight vectors from elsewhere, as points of a run's network: from a ``.npy`` file of shape (n, D)."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lossatlas.data.spec import search_folders
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, write_table
from lossatlas.files.points import CHUNK_COLUMNS
from lossatlas.files.rows import compute
from lossatlas.files.state import State
from lossatlas.landscape.layout import Layout
from lossatlas.specs.registry import Job
from lossatlas.train.loop import EVALUATION_BATCH, row_of
from lossatlas.train.networks import member


def import_points(job: Job) -> None:
    """Write the rows of a ``.npy`` file as a points file, each with its losses on the run's data.

    Its columns are those of every points file, and those by which clouds of sweeps are read, so that it may be put
    together with them: ``replica``, the row's number, ``weight_mean``, ``weight_std``, numbers of examples.

    Args:
        job: makes points.h5 from ``data``; its spec is an :class:`lossatlas.clouds.spec.ImportJob`.

    Raises:
        LossatlasError: the file is missing, is not the one of the checksum, or holds no vectors of this network.
    """
    spec = job.spec
    theta = read_vectors(found_file(spec["file"]), spec["sha256"])
    network = {**spec, "precision": "float32", "batch": EVALUATION_BATCH}
    found = member(network, spec["seeds"], job.file("data"))
    layout: Layout = found.train.layout
    if theta.shape[1] != layout.dim:
        raise LossatlasError(
            f"{spec['file']}: vectors of {theta.shape[1]} numbers, but the network of {spec['label']} has "
            f"{layout.dim} weights"
        )
    if found.train.buffer_layout.dim:
        raise LossatlasError(
            f"{spec['file']}: the network of {spec['label']} has batch-norm statistics, which a vector does not hold"
        )
    state = State(job.state, job.provenance)
    measured = compute(
        lambda i: {name: np.array(value) for name, value in found.metrics(torch.from_numpy(theta[i])).items()},
        len(theta),
        state,
        f"import {spec['label']}",
    )
    about = {"source": "imported", "parameter": "none", "value": 0.0, "optimizer": "unknown", "held_out": 0}
    about |= {"train_examples": len(found.train.y), "test_examples": len(found.test.y), "stop": "last"}
    same = {**row_of("imported", -1, 0.0, 0.0), **about}
    table = pd.DataFrame({name: [value] * len(theta) for name, value in same.items()})
    wide = theta.astype(np.float64)
    table = table.assign(
        replica=np.arange(len(theta)), **measured, weight_mean=wide.mean(axis=1), weight_std=wide.std(axis=1)
    )
    with create(job.output, "points", job.provenance) as file:
        file.attrs["layout"] = layout.to_json()
        file.attrs["buffer_layout"] = found.train.buffer_layout.to_json()
        file.create_dataset("theta", data=theta, chunks=(1, min(layout.dim, CHUNK_COLUMNS)))
        file.create_dataset("buffers", (len(theta), 0), np.float32)
        write_table(file, table)
    state.remove()


def found_file(name: str) -> Path:
    """Return where a file lies: as it is named, or in the first folder of ``LOSSATLAS_DATA`` that has it.

    Raises:
        LossatlasError: nowhere.
    """
    candidates = [Path(name).expanduser(), *(folder / name for folder in search_folders())]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise LossatlasError(
        f"{name}: no such file; tried {', '.join(map(str, candidates))}; correct `file` of the imported cloud or put "
        "it into a folder that LOSSATLAS_DATA names"
    )


def read_vectors(path: Path, sha256: str) -> np.ndarray:
    """Return the rows (n, D), float32, of a ``.npy`` file after a check of its checksum."""
    with open(path, "rb") as file:  # one handle: what is read is what was checked, also when the file is replaced
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != sha256:
            raise LossatlasError(f"{path}: its SHA-256 is {digest}, the study says {sha256}; correct one of them")
        file.seek(0)
        try:
            theta = np.load(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise LossatlasError(f"{path}: not a readable .npy file ({error})") from error
    if theta.ndim != 2 or theta.dtype.kind not in "iuf" or not len(theta):
        raise LossatlasError(f"{path}: holds {theta.dtype} {theta.shape}; expected numbers of shape (n, D)")
    return np.ascontiguousarray(theta, dtype=np.float32)
