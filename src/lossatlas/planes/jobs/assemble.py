"""The job that puts the tiles of a grid together."""

import numpy as np

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.planes.files import Grid
from lossatlas.specs.registry import Job


def assemble(job: Job) -> None:
    """Put the rows of ``tiles`` together, in order, into one grid.h5 of the same form."""
    sources = job.files("tiles")
    grids = [Grid.load(path) for path in sources]
    with open_hdf5(sources[0], "grid") as first, create(job.output, "grid", job.provenance) as file:
        for name in ("slice", "directions_norm", "explained", "moved"):
            if name in first.attrs:
                file.attrs[name] = first.attrs[name]
        for name in ("minimum", "histogram", "path"):
            if name in first:
                write_table(file, table_in(first, name), name)
        file.create_dataset("x", data=grids[0].x)
        file.create_dataset("y", data=np.concatenate([grid.y for grid in grids]))
        for name in grids[0].measured:
            file.create_dataset(f"values/{name}", data=np.concatenate([grid.measured[name] for grid in grids]))
        if any(not np.array_equal(grid.x, grids[0].x) for grid in grids):
            raise LossatlasError(f"{job.output}: its tiles have different columns; delete them and run again")
