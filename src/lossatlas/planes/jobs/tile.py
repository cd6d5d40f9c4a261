"""Losses, accuracies or curvature on a slice of a network's landscape: the rows of one job.

A tile is a range of rows of a slice (:mod:`lossatlas.planes.plane`), so a grid is spread over as many jobs as it has
rows; within a job it resumes by rows. Values that overflow are kept as inf or NaN.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, read_table, write_table
from lossatlas.files.points import read_point, remove_state
from lossatlas.files.rows import Row, compute
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.layout import WEIGHT, Layout
from lossatlas.planes import curvature, plane
from lossatlas.planes.jobs import span
from lossatlas.train.examples import build_model, drawing, make_examples
from lossatlas.train.loop import pick_device
from lossatlas.train.networks import metrics

Measure = Callable[[Tensor, float], Mapping[str, Any]]

BINS = 121
"""Bins of the histogram of a minimum's weights."""


@dataclass(frozen=True)
class Site:
    """A run's network at its last recorded point, as landscapes of its examples.

    Attributes:
        parts: ``train``, ``test`` -> landscape with the minimum's batch-norm statistics (or recomputed ones).
        layout: of theta.
        theta: (D,) float64, the minimum.
        buffers: (B,) its batch-norm statistics.
    """

    parts: dict[str, NetworkLandscape]
    layout: Layout
    theta: Tensor
    buffers: Tensor

    @classmethod
    def load(cls, spec: Mapping[str, Any], data_file: Path, run_file: Path) -> "Site":
        """Return the site of a resolved spec with label, model, labels, seeds, criterion, precision, batch, examples
        (most of each part; None = all), parts and batch_norm.
        """  # noqa: D205
        data, outputs = make_examples(
            data_file, spec["labels"], spec["seeds"]["labels"], spec["precision"], pick_device(), **drawing(spec)
        )
        model = build_model(spec["model"], data, outputs, spec["seeds"]["init"]).eval()
        theta, buffers = (torch.from_numpy(part) for part in read_point(run_file))
        layout = Layout.of(model)
        if len(theta) != layout.dim:
            raise LossatlasError(
                f"{run_file}: holds {len(theta)} weights, the network of {spec['label']} has {layout.dim}"
            )
        recompute = spec["batch_norm"] == "recompute"
        more: dict[str, Any] = {"batch_norm": "recompute" if recompute else "stored", "batch_size": spec["batch"]}
        count = spec["examples"]
        train_x = data.inputs(data.x[:count])
        if recompute:
            more["statistics"] = train_x
        given = {"train": (train_x, data.y[:count])}
        if "test" in spec["parts"]:
            given["test"] = (data.inputs(data.test_x[:count]), data.test_y[:count])
        parts = {part: NetworkLandscape(model, x, y, spec["criterion"], **more) for part, (x, y) in given.items()}
        if not recompute and len(buffers):
            parts = {part: landscape.at_buffers(buffers) for part, landscape in parts.items()}
        device = data.x.device
        return cls(parts, layout, theta.to(device, torch.float64), buffers.to(device))

    def metrics(self, theta: Tensor, x: float = 0.0) -> dict[str, float]:
        """Return loss and accuracy of every part at theta (D,)."""
        return metrics(self.parts, theta)

    def between(self, buffers: Tensor) -> Measure:
        """Return :meth:`metrics` with batch-norm statistics x of the way from this minimum's to another's (B,)."""

        def mixed(theta: Tensor, x: float) -> dict[str, float]:
            statistics = (1 - x) * self.buffers.double() + x * buffers.double()
            return metrics({part: at.at_buffers(statistics) for part, at in self.parts.items()}, theta)

        return mixed

    def curvature(self, about: Mapping[str, Any]) -> Measure:
        """Return the measurement of the training loss's Hessian: both ends of its spectrum, and what else is asked.

        Args:
            about: ``tolerance``, ``products`` (most a point), ``seed``, ``trace`` (probe vectors or 0) and ``density``
                ([probe vectors, steps] or None).
        """
        landscape = self.parts["train"]
        dim, device = landscape.dim, landscape.device

        def measured(theta: Tensor, x: float) -> dict[str, Any]:
            product = curvature.hessian_at(landscape, theta)
            start = curvature.starting_vector(dim, about["seed"], device)
            ends = curvature.extremes(product, start, about["tolerance"], about["products"])
            found: dict[str, Any] = {"train_loss": float(landscape.loss(theta))}
            found |= {"lambda_min": ends.minimum, "lambda_max": ends.maximum, "products": float(ends.products)}
            found |= {"residual_min": ends.residual_min, "residual_max": ends.residual_max}
            found["converged"] = float(ends.converged)
            if about["trace"]:
                found["trace"], found["trace_error"] = curvature.trace(
                    product, dim, about["trace"], about["seed"], device
                )
            if about["density"]:
                probes, steps = about["density"]
                nodes, weights = curvature.density(product, dim, probes, steps, about["seed"], device)
                found |= {"density_nodes": nodes, "density_weights": weights}
            return found

        return measured


def probe(
    spec: Mapping[str, Any],
    data_file: Path,
    run_file: Path,
    to_file: Path | None,
    gram_file: Path | None,
    output: Path,
    state: Path,
    provenance: Mapping,
) -> None:
    """Measure the rows of one tile.

    Args:
        spec: resolved spec (:mod:`lossatlas.legacy.slices`).
        data_file: data.h5 of the run.
        run_file: points.h5 of the run; its last row is the minimum.
        to_file: points.h5 of the run at the other end of a segment.
        gram_file: Gram matrix of the run's recorded points, for planes of a path.
        output: grid.h5 to make: ``/x`` (nx,), ``/y`` (rows,), ``/values/<quantity>`` (rows, nx, ...), ``/minimum`` (the
            run's table row), ``/histogram`` of its weights; ``/path`` of the path that spans the plane.
        state: folder of the unfinished job; removed at the end.
        provenance: written into the output.
    """
    site = Site.load(spec, data_file, run_file)
    end = None if to_file is None else [torch.from_numpy(part).to(site.theta.device) for part in read_point(to_file)]
    theta_end = None if end is None else end[0].double()
    cut = span.make(spec, site.theta, site.layout, theta_end, run_file, gram_file)
    if spec["measure"]["kind"] == "curvature":
        measure = site.curvature(spec["measure"])
    elif end is not None and spec["batch_norm"] == "interpolate":
        measure = site.between(end[1])
    else:
        measure = site.metrics
    first, stop = spec["rows"]
    rows = compute(lambda i: row(measure, cut, first + i), stop - first, state, f"grid {spec['label']}")
    with create(output, "grid", provenance) as file:
        file.create_dataset("x", data=cut.x)
        file.create_dataset("y", data=cut.y[first:stop])
        for name, values in rows.items():
            file.create_dataset(f"values/{name}", data=values)
        file.attrs["slice"] = json.dumps(spec["slice"])
        file.attrs["directions_norm"] = [float(d.norm()) for d in cut.directions] + (
            [float(cut.shift.norm())] if cut.shift is not None else []
        )
        write_table(file, read_table(run_file, "points").iloc[[-1]], "minimum")
        write_table(file, histogram(site), "histogram")
        if cut.path is not None:
            write_table(file, cut.path, "path")
            file.attrs["explained"] = cut.explained
    remove_state(state)


def row(measure: Measure, cut: plane.Slice, number: int) -> Row:
    """Return the quantities of a row of a slice, each (nx, ...)."""
    start, direction = cut.line(number)
    found = [measure(start + float(x) * direction, float(x)) for x in cut.x]
    return {name: np.array([point[name] for point in found], dtype=np.float64) for name in found[0]}


def histogram(site: Site) -> pd.DataFrame:
    """Return the histogram of a minimum's weights (biases and batch norm left out): low, high, count."""
    wanted = [name for name, kind in zip(site.layout.names, site.layout.kinds, strict=True) if kind == WEIGHT]
    weights = torch.cat([site.theta[site.layout.slices[name]] for name in wanted]).cpu().numpy()
    reach = float(np.quantile(np.abs(weights), 0.999)) or 1.0
    counts, edges = np.histogram(weights, BINS, (-reach, reach))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
