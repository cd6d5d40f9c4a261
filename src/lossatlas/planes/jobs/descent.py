"""The job that measures how a training descends: the angles between its steps and the gradient, in full and in a plane.

In full the angle of a step (from one recorded point to the next) with the negative gradient of the training loss at its
start, batch-norm statistics held at those recorded there (or computed anew there). In the plane the same of the
projected step and the gradient of the loss *on the plane* at the projected point, which is perpendicular to the
contours a figure draws there. That one is taken by central differences, since where statistics are computed anew they
change along the plane, which a gradient at fixed statistics leaves out.

What a training descends is another loss (:mod:`lossatlas.train.descended`), plus weight decay: where a probe asks for
it, the angles with that gradient too, with and without the decay term, and the noise of a minibatch beside it.
"""

from collections.abc import Callable, Mapping

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
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job
from lossatlas.train.descended import Descended
from lossatlas.train.networks import Trained, descended, trained

SPACING = 2e-3
"""Half the distance of two points of a central difference, over the larger extent of the path in the plane."""


COLUMNS = ["step_norm", "gradient_norm", "angle", "plane_step_norm", "plane_gradient_norm", "plane_angle"]
MORE = ["turn", "end_angle", "batch_loss", "batch_gradient_norm", "batch_angle", "decay_norm", "total_angle"]
MORE += ["noise", "signal", "minibatches"]


def walk_angles(lengths: Array) -> Array:
    """Return the angles (n,) between steps of a random walk and the way from their start to its end, in degrees.

    Independent directions in a high dimension are orthogonal, so the way has the squared length of all steps to come,
    and the cosine is the step's share of it: a last long step points at the end by its length alone.

    Args:
        lengths: of the steps (n,).
    """
    ways = np.sqrt(np.cumsum(lengths[::-1] ** 2)[::-1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.degrees(np.arccos(np.clip(lengths / ways, -1.0, 1.0)))


def descent(job: Job) -> None:
    """Measure the steps of one recorded training.

    ``data``: data.h5. ``run``: points.h5 of the run, with the points of all epochs. ``gram``: their Gram matrix.

    Output, descent.h5: ``/table`` has one row a step: epoch, next_epoch, step_norm, gradient_norm, angle (degrees, of
    the step with the negative gradient), and of their projections plane_step_norm, plane_gradient_norm, plane_angle;
    train_loss at its start. With a ``gradient`` in the spec also: phase (times the learning rate was lowered before the
    step's end), turn (degrees between the step before and this one), end_angle (between the step and the way to the
    path's end) and walk_angle (what that is for independent steps of the same lengths), step and way in weight space;
    of the descended loss batch_loss, batch_gradient_norm, batch_angle, and with weight decay decay_norm, total_angle;
    noise, signal and minibatches of :class:`lossatlas.train.descended.Slope`.
    """
    network = trained(job.spec, job.file("data"), job.file("run"))
    cut = span.make(job.spec, network.theta, network.layout, None, job.file("run"), job.file("gram"))
    state = State(job.state, job.provenance)
    with open_hdf5(job.file("run"), "points") as file:
        steps = _steps(job, network, cut, file, state)
    recorded = read_table(job.file("run"), "points")
    about = job.spec.get("gradient")
    table = pd.DataFrame(steps, columns=COLUMNS if about is None else [*COLUMNS, *MORE])
    table.insert(0, "train_loss", recorded["train_loss"].to_numpy()[:-1])
    table.insert(0, "next_epoch", recorded["epoch"].to_numpy()[1:])
    table.insert(0, "epoch", recorded["epoch"].to_numpy()[:-1])
    if about is not None:
        drops = job.spec["slice"]["drops"]
        table["phase"] = [sum(drop < epoch for drop in drops) for epoch in table["next_epoch"]]
        table["walk_angle"] = walk_angles(table["step_norm"].to_numpy())
    with create(job.output, "descent", job.provenance) as file:
        file.attrs["explained"] = cut.explained
        write_table(file, table)
    state.remove()


def _steps(job: Job, network: Trained, cut: Slice, file: h5py.File, state: State) -> Array:
    """Return the numbers (steps, columns) of all steps of a path: in full, in its plane, and of what is descended."""
    assert cut.path is not None
    assert cut.shift is not None
    axes = torch.stack([cut.directions[0], cut.shift])
    landscape, device = network.parts["train"], network.theta.device
    projected = torch.from_numpy(cut.path[["x", "y"]].to_numpy(np.float64)).to(device)
    reach = SPACING * float((projected.amax(0) - projected.amin(0)).max())
    points, buffers = file["theta"], file["buffers"]
    about = job.spec.get("gradient")
    descends = None if about is None else descended(job.spec, job.file("data"), about)

    def theta(i: int) -> Tensor:
        return torch.from_numpy(points[i].astype(np.float64)).to(device)

    def row(i: int) -> Row:
        own = _with_buffers(landscape, torch.from_numpy(buffers[i]))
        step = theta(i + 1) - theta(i)
        gradient = own.grad(theta(i)).double()
        on_plane = _slope(lambda at: float(landscape.loss(network.theta + at @ axes)), projected[i], reach)
        found = [*_angle(step, -gradient), *_angle(projected[i + 1] - projected[i], -on_plane)]
        if descends is not None and about is not None:
            before = None if i == 0 else theta(i) - theta(i - 1)
            found += _descended(descends, about, theta(i), step, before, theta(len(points) - 1) - theta(i), i)
        return {"steps": np.array(found)}

    return compute(row, len(points) - 1, state, f"descent {job.spec['label']}")["steps"]


def _descended(
    descends: Descended, about: Mapping, theta: Tensor, step: Tensor, before: Tensor | None, way: Tensor, number: int
) -> list[float]:
    """Return the numbers named :data:`MORE` of a step: its turn, its angles with what is descended, and the noise.

    Args:
        descends: the loss that the training descends.
        about: ``weight_decay``, ``examples`` (of a pass, None = all) and ``seed``.
        theta: (D,) where the step starts.
        step: (D,).
        before: the step before it (D,), None of the first.
        way: from its start to the path's end (D,).
        number: of the step, by which its minibatches are drawn.
    """
    slope = descends.slope(theta, derive(about["seed"], "step", number), about["examples"])
    decay = about["weight_decay"] * theta
    turn = float("nan") if before is None else _angle(before, step)[2]
    _, size, angle = _angle(step, -slope.gradient)
    total = _angle(step, -(slope.gradient + decay))[2]
    found = [turn, _angle(step, way)[2], slope.loss, size, angle, float(decay.norm()), total]
    return [*found, slope.noise, slope.signal, float(slope.minibatches)]


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
