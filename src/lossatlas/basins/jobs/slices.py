"""The training loss on a random plane through each minimum."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.basins.jobs.minima import Minimum, minima
from lossatlas.files.hdf5 import create, write_table
from lossatlas.files.state import State
from lossatlas.landscape.directions import gaussian_rows, normalise_rows
from lossatlas.planes.plane import Line, Slice, evaluate, losses
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job


def slices(job: Job) -> None:
    """Evaluate the training loss on a random plane through each minimum, spanned by two normalised directions.

    Args:
        job: spec: :class:`lossatlas.basins.spec.SliceJob`. Output: slice.h5 with ``/x`` (k,), ``/loss`` (minima, k, k)
            and ``/table``, a row for each minimum.
    """
    x = np.linspace(-job.spec["reach"], job.spec["reach"], job.spec["grid"])
    found, rows, count = [], [], len(job.spec["members"])
    state = State(job.state, job.provenance)
    for i, minimum in enumerate(minima(job)):
        rows.append(minimum.row)
        name = f"slices {job.spec['label']}, {i + 1} of {count}"
        found.append(_losses(job.spec, minimum, x, state.within(str(i)), name))
    with create(job.output, "slice", job.provenance) as made:
        made.create_dataset("x", data=x)
        made.create_dataset("loss", data=np.stack(found))
        write_table(made, pd.DataFrame(rows))
    state.remove()


@dataclass(frozen=True)
class _Row(Line):
    """The points (start + x_j direction) + offset, summed in this order in the type of start.

    In float32 the rounding of a sum hangs on its order, and that of the slices in the stores is this one.
    """

    offset: Tensor

    def points(self) -> Tensor:
        """Return all points, (nx, D)."""
        return self.start + torch.from_numpy(self.x).to(self.start)[:, None] * self.direction + self.offset


@dataclass(frozen=True)
class _Around(Slice):
    """A plane through a minimum, in the type in which its network is evaluated."""

    def line(self, row: int) -> _Row:
        """Return a row."""
        assert self.shift is not None
        return _Row(self.start, self.directions[0], self.x, float(self.y[row]) * self.shift)


def _losses(spec: Mapping, minimum: Minimum, x: Array, state: State, name: str) -> Array:
    """Return the losses (k, k): row i, column j is L at theta + x_j u + x_i v."""
    layout = minimum.nets.train.layout
    drawn = gaussian_rows(layout, derive(spec["master"], "slice"), 2)
    u, v = normalise_rows(drawn, minimum.theta, layout, spec["normalise"])
    around = _Around(minimum.theta, v, u[None], x, x)
    return evaluate(losses(minimum.landscape()), around, state=state, name=name)["loss"]
