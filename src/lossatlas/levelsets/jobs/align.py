"""A cloud of traversals whose networks have their hidden units matched to one of them."""

import numpy as np

from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.files.points import CHUNK_COLUMNS
from lossatlas.landscape.alignment import Dense, match
from lossatlas.landscape.layout import Layout
from lossatlas.levelsets.numbers import ends
from lossatlas.specs.registry import Job


def align(job: Job) -> None:
    """Write a cloud's points with the hidden units of its networks matched to those of the first path's end.

    A path is moved as a whole by what matches its end, so that it stays one; each network of a sweep is matched by
    itself. Every point is the same function of its inputs as before.

    Args:
        job: spec :class:`~lossatlas.levelsets.spec.AlignedJob`; ``cloud``: points of traversals and sweeps. Makes
            points.h5 with the same rows and table.
    """
    odd = job.spec["odd"]
    with open_hdf5(job.file("cloud"), "points") as file, create(job.output, "points", job.provenance) as made:
        table = table_in(file)
        layout = Layout.from_json(file.attrs["layout"])
        dense, last = Dense(layout), ends(table)[1]
        end_of = dict(zip(last["replica"].astype(int), last.index, strict=True))
        reference = file["theta"][int(last.index[0])].astype(np.float64)
        found = {r: match(layout, file["theta"][row].astype(np.float64), reference, odd) for r, row in end_of.items()}
        for name in ("layout", "buffer_layout"):
            made.attrs[name] = file.attrs[name]
        theta = made.create_dataset(
            "theta", file["theta"].shape, np.float32, chunks=(1, min(layout.dim, CHUNK_COLUMNS))
        )
        made.create_dataset("buffers", data=file["buffers"][...])
        for row, (source, replica) in enumerate(zip(table["source"], table["replica"], strict=True)):
            point = file["theta"][row].astype(np.float64)
            own = found[int(replica)] if source == "levelset" else match(layout, point, reference, odd)
            theta[row] = dense.applied(point, own)
        write_table(made, table)
