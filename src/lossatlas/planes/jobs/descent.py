"""How a recorded training descends: the angle between its steps and the gradient, in R^D and in the plane of its path.

In full the angle of a step (from one recorded point to the next) with the negative gradient of the training loss at its
start, batch-norm statistics held at those recorded there (or computed anew there). In the plane the same of the
projected step and the gradient of the loss *on the plane* at the projected point, which is perpendicular to the
contours a figure draws there. That one is taken by central differences, since where statistics are computed anew they
change along the plane, which a gradient at fixed statistics leaves out.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lossatlas.files.hdf5 import create, open_hdf5, read_table, write_table
from lossatlas.files.points import remove_state
from lossatlas.files.rows import Row, compute
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.planes.jobs import span
from lossatlas.planes.jobs.tile import Site

SPACING = 2e-3
"""Half the distance of two points of a central difference, over the larger extent of the path in the plane."""


def probe(
    spec: Mapping, data_file: Path, run_file: Path, gram_file: Path, output: Path, state: Path, provenance: Mapping
) -> None:
    """Measure the steps of one recorded training.

    Args:
        spec: resolved spec (:func:`lossatlas.legacy.slices.descent`), a tile's of kind ``path`` without its rows.
        data_file: data.h5.
        run_file: points.h5 of the run, with the points of all epochs.
        gram_file: their Gram matrix.
        output: descent.h5 to make; ``/table`` has one row a step: epoch, next_epoch, step_norm, gradient_norm, angle
            (degrees, of the step with the negative gradient), and of their projections plane_step_norm,
            plane_gradient_norm, plane_angle; train_loss at its start.
        state: folder of the unfinished job; removed at the end.
        provenance: written into the output.
    """
    site = Site.load(spec, data_file, run_file)
    cut = span.make(spec, site.theta, site.layout, None, run_file, gram_file)
    assert cut.path is not None
    assert cut.shift is not None
    axes = torch.stack([cut.directions[0], cut.shift])
    projected = torch.from_numpy(cut.path[["x", "y"]].to_numpy(np.float64)).to(site.theta.device)
    landscape, device = site.parts["train"], site.theta.device
    reach = SPACING * float((projected.amax(0) - projected.amin(0)).max())
    with open_hdf5(run_file, "points") as file:
        points, buffers = file["theta"], file["buffers"]

        def theta(i: int) -> Tensor:
            return torch.from_numpy(points[i].astype(np.float64)).to(device)

        def row(i: int) -> Row:
            own = _with_buffers(landscape, torch.from_numpy(buffers[i]))
            step = theta(i + 1) - theta(i)
            gradient = own.grad(theta(i)).double()
            on_plane = _slope(lambda at: float(landscape.loss(site.theta + at @ axes)), projected[i], reach)
            found = [*_angle(step, -gradient), *_angle(projected[i + 1] - projected[i], -on_plane)]
            return {"steps": np.array(found)}

        steps = compute(row, len(points) - 1, state, f"descent {spec['label']}")["steps"]
    columns = ["step_norm", "gradient_norm", "angle", "plane_step_norm", "plane_gradient_norm", "plane_angle"]
    recorded = read_table(run_file, "points")
    table = pd.DataFrame(steps, columns=columns)
    table.insert(0, "train_loss", recorded["train_loss"].to_numpy()[:-1])
    table.insert(0, "next_epoch", recorded["epoch"].to_numpy()[1:])
    table.insert(0, "epoch", recorded["epoch"].to_numpy()[:-1])
    with create(output, "descent", provenance) as file:
        file.attrs["explained"] = cut.explained
        write_table(file, table)
    remove_state(state)


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
