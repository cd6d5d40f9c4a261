"""Losses on a grid of a plane in weight space, row by row, resumable; and the plane of a cloud's principal axes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.clouds.files import Gram
from lossatlas.clouds.principal import principal_axes
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.files.state import State
from lossatlas.landscape.analytic import NAMED
from lossatlas.landscape.landscape import Landscape
from lossatlas.planes.jobs.span import span
from lossatlas.planes.plane import Plane, sides
from lossatlas.planes.plane import surface as losses_on
from lossatlas.specs.registry import Job
from lossatlas.train.networks import member


def surface(job: Job) -> None:
    """Compute the losses on one plane.

    Args:
        job: spec :class:`~lossatlas.levelsets.spec.NetworkSurface` or
            :class:`~lossatlas.levelsets.spec.FunctionSurface`; ``cloud``: points of the traversals; ``gram``: their
            Gram matrix, and ``data``: data.h5, neither for a function, whose own two axes are the plane. Makes
            surface.h5: ``/x``, ``/y``, ``/loss`` (y, x), ``/coordinates`` (n, 2) of the paths' points and their
            ``/table``; attribute ``explained``, the share of the paths' variance along each axis.
    """
    spec, gram_file, data_file = job.spec, job.maybe("gram"), job.maybe("data")
    with open_hdf5(job.file("cloud"), "points") as file:
        table = table_in(file)
        chosen = _paths(table, spec["replicas"], job.file("cloud"))
        if gram_file is None or data_file is None:
            landscape: Landscape = NAMED[spec["function"]]()
            plane = Plane(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
            coordinates, explained = file["theta"][...][chosen].astype(np.float64), np.full(2, np.nan)
        else:
            axes = principal_axes(Gram.load(gram_file), chosen, 2)
            plane = span(file["theta"], axes)
            first = next(m for m in spec["members"] if m["replica"] == int(table["replica"].iloc[chosen[0]]))
            network = member(spec, first["seeds"], data_file).train
            landscape, coordinates, explained = network, axes.coordinates[chosen], axes.explained
            plane = Plane(plane.origin.to(network.device), plane.directions.to(network.device))
    x, y = _grid(coordinates, spec)
    state = State(job.state, job.provenance)
    losses = losses_on(landscape, plane, x, y, state, f"surface {spec.get('label', spec.get('function'))}")
    with create(job.output, "surface", job.provenance) as file:
        for name, values in (("x", x), ("y", y), ("loss", losses), ("coordinates", coordinates)):
            file.create_dataset(name, data=values)
        file.attrs["explained"] = explained
        write_table(file, table.iloc[chosen].reset_index(drop=True))
    state.remove()


def _paths(table: pd.DataFrame, replicas: list[int] | None, cloud: Path) -> NDArray[np.intp]:
    """Return the rows of the traversals of some replicas."""
    wanted = table["source"] == "levelset"
    if replicas is not None:
        missing = set(replicas) - set(table.loc[wanted, "replica"])
        if missing:
            raise LossatlasError(f"{cloud}: no traversal of replica {min(missing)}; correct `replicas` of the surface")
        wanted &= table["replica"].isin(replicas)
    return np.flatnonzero(wanted)


def _grid(coordinates: Array, spec: Mapping) -> tuple[Array, Array]:
    """Return the grid's coordinates along both axes."""
    if spec["limits"] is not None:
        x, y = (np.linspace(low, high, spec["grid"]) for low, high in spec["limits"])
        return x, y
    return sides(coordinates, spec["margin"], (spec["grid"], spec["grid"]))
