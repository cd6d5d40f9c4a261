"""The job that measures the curvature at points of a cloud, a point at a time."""

import numpy as np
import pandas as pd
import torch

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.files.ledger import Ledger
from lossatlas.files.rows import Row, compute
from lossatlas.files.state import State
from lossatlas.seeds import derive
from lossatlas.solutions.spectrum import spectrum
from lossatlas.specs.registry import Job
from lossatlas.train.networks import member


def hessians(job: Job) -> None:
    """Measure the curvature of the training loss at points of a cloud.

    Args:
        job: its spec is a :class:`lossatlas.solutions.spec.HessiansJob`, its files ``cloud`` (points) and ``data``. Its
            output, hessians.h5, has ``/table``, one row a point: row, replica, train_loss (of the cloud) and what
            :func:`lossatlas.solutions.spectrum.spectrum` finds, of the examples that are asked for.

    Raises:
        LossatlasError: the cloud has fewer points than are asked for, or its network has batch-norm statistics.
    """
    spec, path = job.spec, job.file("cloud")
    network = member(spec, spec["seeds"], job.file("data"))
    landscape = network.train
    if spec["examples"] is not None and spec["examples"] < len(landscape.y):
        landscape = landscape.at_examples(torch.arange(spec["examples"]))
    with open_hdf5(path, "points") as file:
        if file["buffers"].shape[1]:
            raise LossatlasError(f"{path}: its network has batch-norm statistics; give a network without batch norm")
        table = table_in(file)
        if max(spec["rows"]) >= len(table):
            raise LossatlasError(
                f"{path}: {len(table)} points, number {max(spec['rows'])} (from 0) is asked for; lower `count`"
            )
        points = {row: file["theta"][row].astype(np.float64) for row in spec["rows"]}

    state = State(job.state, job.provenance)
    ledger = Ledger(state)

    def measured(i: int) -> Row:
        row = spec["rows"][i]
        theta = torch.from_numpy(points[row]).to(landscape.device)
        settings = spec["tolerance"], spec["products"], spec["trace"]
        found = spectrum(landscape, theta, landscape.layout, *settings, derive(spec["draw"], "point", row), ledger)
        return {name: np.float64(value) for name, value in found.items()}  # type: ignore[misc]

    found = compute(measured, len(spec["rows"]), state, f"hessians {spec['label']}", ledger)
    about = table.iloc[spec["rows"]].reset_index(drop=True)
    kept = {"row": spec["rows"], "replica": about["replica"], "train_loss": about["train_loss"]}
    with create(job.output, "hessians", job.provenance) as file:
        write_table(file, pd.DataFrame({**kept, **found}))
    state.remove()
