"""The job that measures losses, accuracies or curvature on some rows of a slice of a network's landscape.

A tile is a range of rows of a slice (:mod:`lossatlas.planes.plane`), so a grid is spread over as many jobs as it has
rows; within a job it resumes by points, and within a point of curvature by Hessian products. Values that overflow are
kept as inf or NaN.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, read_table, write_table
from lossatlas.files.ledger import Ledger
from lossatlas.files.rows import Rows
from lossatlas.files.state import State
from lossatlas.landscape.layout import WEIGHT
from lossatlas.landscape.rescaling import rescaled
from lossatlas.planes import curvature
from lossatlas.planes.defaults import LEAST
from lossatlas.planes.jobs import span
from lossatlas.planes.plane import AtPoint, Slice, pointwise
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job
from lossatlas.train.networks import Trained, metrics, point, trained

SLACK = 1e6
"""Rounding, in units of the type's, by which outputs of a rescaled network may differ after all its layers."""

BINS = 121
"""Bins of the histogram of a minimum's weights."""


def tile(job: Job) -> None:
    """Measure the rows of one tile.

    ``data``: data.h5 of the run. ``run``: its points.h5, whose last row is the minimum. ``to``: points.h5 of the run at
    the other end of a segment. ``gram``: Gram matrix of the run's recorded points, for planes of a path.

    Output, grid.h5: ``/x`` (nx,), ``/y`` (rows,), ``/values/<quantity>`` (rows, nx, ...), ``/minimum`` (the run's table
    row of the centre), ``/histogram`` of its weights; ``/path`` of the path that spans the plane.
    """
    spec, to = job.spec, job.maybe("to")
    network, moved = _rescaled(spec, trained(spec, job.file("data"), job.file("run")))
    end = None if to is None else [part.to(network.theta.device) for part in point(to, network.layout, spec["label"])]
    theta_end = None if end is None else end[0].double()
    cut = span.make(spec, network.theta, network.layout, theta_end, job.file("run"), job.maybe("gram"))
    rows = range(*spec["rows"])
    state = State(job.state, job.provenance)
    ledger = Ledger(state)
    measure = _measure(spec, network, None if end is None else end[1], ledger)
    measured = pointwise(measure, cut, rows, state, f"grid {spec['label']}", ledger)
    _write(job, network, cut, rows, measured, moved)
    state.remove()


def _rescaled(spec: Mapping[str, Any], network: Trained) -> tuple[Trained, float | None]:
    """Return a network with rescaled weights where a spec asks for it, and how far that moved its outputs.

    Raises:
        LossatlasError: its function is another one: the layers are not connected as the rescaling takes them to be.
    """
    about = spec["slice"].get("rescaled")
    if about is None:
        return network, None
    landscape = network.parts["train"]
    before = landscape.outputs(network.theta).double()
    theta, buffers = rescaled(network.model, network.theta, network.buffers, **about)
    network = network.at(theta, buffers)
    after = network.parts["train"].outputs(theta).double()
    moved = float((after - before).abs().max() / before.abs().max())
    allowed = SLACK * torch.finfo(landscape.dtype).eps
    if not moved <= allowed:
        raise LossatlasError(
            f"{spec['label']}: rescaling {about['how']} moved the network's outputs by {moved:.2g} of the largest "
            f"(allowed: {allowed:.1g}): its layers are not one after the other; take `filters`, or a VGG"
        )
    return network, moved


def _measure(spec: Mapping[str, Any], network: Trained, buffers: Tensor | None, ledger: Ledger) -> AtPoint:
    """Return what a spec asks for; ``buffers``: batch-norm statistics at the other end of a segment."""
    if spec["measure"]["kind"] == "curvature":
        return _curvature(network, spec["measure"], ledger)
    if buffers is not None and spec["batch_norm"] == "interpolate":
        return _between(network, buffers)
    return lambda theta, x: metrics(network.parts, theta)


def _between(network: Trained, buffers: Tensor) -> AtPoint:
    """Return the metrics with batch-norm statistics x of the way from a minimum's to another's (B,)."""

    def mixed(theta: Tensor, x: float) -> dict[str, float]:
        statistics = (1 - x) * network.buffers.double() + x * buffers.double()
        return metrics({part: at.at_buffers(statistics) for part, at in network.parts.items()}, theta)

    return mixed


def _curvature(network: Trained, about: Mapping[str, Any], ledger: Ledger) -> AtPoint:
    """Return the measurement of the training loss's Hessian: both ends of its spectrum, and what else is asked.

    Args:
        network: whose loss.
        about: ``tolerance``, ``products`` (most a point), ``seed``, ``trace`` (probe vectors or 0) and ``density``
            ([probe vectors, steps] or None); ``least``, ``each``, ``starts`` and ``over`` where a probe has them.
        ledger: of the products.
    """
    landscape, seed = network.parts["train"], about["seed"]
    device, kept = landscape.device, None
    if about.get("over") == "weights":
        kept = torch.from_numpy(network.layout.numbers(WEIGHT)).to(device)
    dim = landscape.dim if kept is None else len(kept)
    seeds = [seed, *(derive(seed, "start", i) for i in range(1, about.get("starts", 1)))]
    how = {"least": about.get("least", LEAST), "each": about.get("each", False)}

    def measured(theta: Tensor, x: float) -> dict[str, Any]:
        product = curvature.hessian_at(landscape, theta)
        if kept is not None:
            product = curvature.of_block(product, kept, landscape.dim)
        product = curvature.remembered(product, ledger)
        starts = [curvature.starting_vector(dim, one, device) for one in seeds]
        ends = curvature.extremes_of_starts(
            lambda start: curvature.extremes(product, start, about["tolerance"], about["products"], **how), starts
        )
        found: dict[str, Any] = {"train_loss": float(landscape.loss(theta))}
        found |= {"lambda_min": ends.minimum, "lambda_max": ends.maximum, "products": float(ends.products)}
        found |= {"residual_min": ends.residual_min, "residual_max": ends.residual_max}
        found["converged"] = float(ends.converged)
        if about["trace"]:
            found["trace"], found["trace_error"] = curvature.trace(product, dim, about["trace"], seed, device)
        if about["density"]:
            probes, steps = about["density"]
            nodes, weights = curvature.density(product, dim, probes, steps, seed, device)
            found |= {"density_nodes": nodes, "density_weights": weights}
        return found

    return measured


def _write(job: Job, network: Trained, cut: Slice, rows: range, measured: Rows, moved: float | None) -> None:
    with create(job.output, "grid", job.provenance) as file:
        file.create_dataset("x", data=cut.x)
        file.create_dataset("y", data=cut.y[rows.start : rows.stop])
        for name, values in measured.items():
            file.create_dataset(f"values/{name}", data=values)
        file.attrs["slice"] = json.dumps(job.spec["slice"])
        file.attrs["directions_norm"] = [float(d.norm()) for d in cut.directions] + (
            [float(cut.shift.norm())] if cut.shift is not None else []
        )
        if moved is not None:
            file.attrs["moved"] = moved
        write_table(file, read_table(job.file("run"), "points").iloc[[network.row]], "minimum")
        write_table(file, histogram(network), "histogram")
        if cut.path is not None:
            write_table(file, cut.path, "path")
            file.attrs["explained"] = cut.explained


def histogram(network: Trained) -> pd.DataFrame:
    """Return the histogram of a minimum's weights (biases and batch norm left out): low, high, count."""
    layout = network.layout
    wanted = [name for name, kind in zip(layout.names, layout.kinds, strict=True) if kind == WEIGHT]
    weights = torch.cat([network.theta[layout.slices[name]] for name in wanted]).cpu().numpy()
    reach = float(np.quantile(np.abs(weights), 0.999)) or 1.0
    counts, edges = np.histogram(weights, BINS, (-reach, reach))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
