"""The job that measures how a training descends: the angles between its steps and the gradient, in full and in a plane.

In full the angle of a step (from one recorded point to the next) with the negative gradient of the training loss at its
start, batch-norm statistics held at those recorded there (or computed anew there). In the plane the same of the
projected step and the gradient of the loss *on the plane* at the projected point, which is perpendicular to the
contours a figure draws there. That one is taken by central differences, since where statistics are computed anew they
change along the plane, which a gradient at fixed statistics leaves out.
"""

from collections.abc import Callable

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.files.hdf5 import create, open_hdf5, read_table, write_table
from lossatlas.files.rows import Row, compute
from lossatlas.files.state import State
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.planes.jobs import span
from lossatlas.planes.plane import Slice
from lossatlas.specs.registry import Job
from lossatlas.train.networks import Trained, trained

SPACING = 2e-3
"""Half the distance of two points of a central difference, over the larger extent of the path in the plane."""


def descent(job: Job) -> None:
    """Measure the steps of one recorded training.

    ``data``: data.h5. ``run``: points.h5 of the run, with the points of all epochs. ``gram``: their Gram matrix.

    Output, descent.h5: ``/table`` has one row a step: epoch, next_epoch, step_norm, gradient_norm, angle (degrees, of
    the step with the negative gradient), and of their projections plane_step_norm, plane_gradient_norm, plane_angle;
    train_loss at its start.
    """
    network = trained(job.spec, job.file("data"), job.file("run"))
    cut = span.make(job.spec, network.theta, network.layout, None, job.file("run"), job.file("gram"))
    state = State(job.state, job.provenance)
    with open_hdf5(job.file("run"), "points") as file:
        steps = _steps(job, network, cut, file, state)
    columns = ["step_norm", "gradient_norm", "angle", "plane_step_norm", "plane_gradient_norm", "plane_angle"]
    recorded = read_table(job.file("run"), "points")
    table = pd.DataFrame(steps, columns=columns)
    table.insert(0, "train_loss", recorded["train_loss"].to_numpy()[:-1])
    table.insert(0, "next_epoch", recorded["epoch"].to_numpy()[1:])
    table.insert(0, "epoch", recorded["epoch"].to_numpy()[:-1])
    with create(job.output, "descent", job.provenance) as file:
        file.attrs["explained"] = cut.explained
        write_table(file, table)
    state.remove()


def _steps(job: Job, network: Trained, cut: Slice, file: h5py.File, state: State) -> Array:
    """Return norms and angles (steps, 6) of all steps of a path: in full, and in its plane."""
    assert cut.path is not None
    assert cut.shift is not None
    axes = torch.stack([cut.directions[0], cut.shift])
    landscape, device = network.parts["train"], network.theta.device
    projected = torch.from_numpy(cut.path[["x", "y"]].to_numpy(np.float64)).to(device)
    reach = SPACING * float((projected.amax(0) - projected.amin(0)).max())
    points, buffers = file["theta"], file["buffers"]

    def theta(i: int) -> Tensor:
        return torch.from_numpy(points[i].astype(np.float64)).to(device)

    def row(i: int) -> Row:
        own = _with_buffers(landscape, torch.from_numpy(buffers[i]))
        step = theta(i + 1) - theta(i)
        gradient = own.grad(theta(i)).double()
        on_plane = _slope(lambda at: float(landscape.loss(network.theta + at @ axes)), projected[i], reach)
        found = [*_angle(step, -gradient), *_angle(projected[i + 1] - projected[i], -on_plane)]
        return {"steps": np.array(found)}

    return compute(row, len(points) - 1, state, f"descent {job.spec['label']}")["steps"]


def _slope(loss: Callable[[Tensor], float], at: Tensor, reach: float) -> Tensor:
    """Return the gradient (2,) of a function of the plane by central differences over ``reach`` to both sides."""
    steps = reach * torch.eye(2, dtype=at.dtype, device=at.device)
    slopes = [(loss(at + step) - loss(at - step)) / (2 * reach) for step in steps]
    return torch.tensor(slopes, dtype=at.dtype, device=at.device)


def _with_buffers(landscape: NetworkLandscape, buffers: Tensor) -> NetworkLandscape:
    """Return a landscape with a point's own batch-norm statistics, where it keeps any."""
    return landscape.at_buffers(buffers) if landscape.batch_norm == "stored" and len(buffers) else landscape


def _angle(step: Tensor, downhill: Tensor) -> tuple[float, float, float]:
    """Return two norms and the angle between two vectors in degrees; NaN where one of them is zero."""
    norms = float(step.norm()), float(downhill.norm())
    if not norms[0] > 0 or not norms[1] > 0:
        return (*norms, float("nan"))
    cosine = float(step @ downhill) / (norms[0] * norms[1])
    return (*norms, float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))))
