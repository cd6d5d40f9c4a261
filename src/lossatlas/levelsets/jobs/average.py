"""Losses at the average of the end points of several paths, beside those at the end points themselves."""

import numpy as np
import pandas as pd
import torch

from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.files.rows import compute
from lossatlas.files.state import State
from lossatlas.specs.registry import Job
from lossatlas.train.networks import member


def average(job: Job) -> None:
    """Evaluate the mean of the traversals' end points on every replica's own data.

    Args:
        job: spec :class:`~lossatlas.levelsets.spec.AverageJob`; ``cloud``: points of the traversals; ``data``: data.h5.
            Makes average.h5: ``/table`` has one row a replica, train and test loss and accuracy at its end point
            (``end_*``) and at the mean of all end points (``mean_*``), on the replica's own examples.
    """
    spec = job.spec
    with open_hdf5(job.file("cloud"), "points") as file:
        table = table_in(file)
        paths = table[table["source"] == "levelset"]
        if spec["replicas"] is not None:
            paths = paths[paths["replica"].isin(spec["replicas"])]
        ends = paths.groupby("replica")["steps"].idxmax()
        replicas = paths.loc[ends, "replica"].astype(int)
        theta = {r: torch.from_numpy(file["theta"][row].astype(np.float64)) for row, r in replicas.items()}
    mean = torch.stack(list(theta.values())).mean(0)
    seeds = {m["replica"]: m["seeds"] for m in spec["members"]}
    every = list(theta.items())

    def measured(i: int) -> dict[str, np.ndarray]:
        replica, end = every[i]
        network = member(spec, seeds[replica], job.file("data"))
        points = {"end": network.metrics(end), "mean": network.metrics(mean)}
        return {f"{name}_{key}": np.array(value) for name, found in points.items() for key, value in found.items()}

    state = State(job.state, job.provenance)
    rows = compute(measured, len(every), state, f"average {spec['label']}")
    with create(job.output, "average", job.provenance) as file:
        write_table(file, pd.DataFrame({"replica": [replica for replica, _ in every], **rows}))
    state.remove()
