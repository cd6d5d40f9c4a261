"""Curvature at a minimum: both ends and the trace of its Hessian, raw and in filter-normalised coordinates.

A network computes much the same when weights grow in one layer and shrink in another, while its Hessian changes, so
that raw curvatures of networks of unlike norms do not compare (Dinh et al. 2017). Filter-normalised directions (Li et
al. 2018) scale with the weights. With s_j the root mean square of the filter that weight j belongs to, 0 for biases,
d = s * g of independent standard normal g has in each filter the expected square of a filter-normalised direction; its
curvature is g^T (S H S) g, S = diag(s), whose mean over such d is the trace of S H S.
"""

import math

import torch
from torch import Tensor

from lossatlas.files.ledger import Ledger
from lossatlas.landscape.landscape import Landscape
from lossatlas.landscape.layout import WEIGHT, Layout
from lossatlas.planes.curvature import extremes, hessian_at, remembered, starting_vector, trace
from lossatlas.solutions.spec import SCALES


def filter_scales(theta: Tensor, layout: Layout) -> Tensor:
    """Return the root mean square of each weight's filter (D,), float64; 0 for biases and normalisation parameters.

    A filter is a row of the first axis of a weight, as in :func:`lossatlas.landscape.directions.normalise`.
    """
    found = torch.zeros(layout.dim, dtype=torch.float64, device=theta.device)
    for name, shape, kind in zip(layout.names, layout.shapes, layout.kinds, strict=True):
        if kind != WEIGHT:
            continue
        rows = theta[layout.slices[name]].double().reshape(shape[0], -1)
        size = rows.shape[1]
        found[layout.slices[name]] = (rows.norm(dim=1) / math.sqrt(size)).repeat_interleave(size)
    return found


def spectrum(
    landscape: Landscape,
    theta: Tensor,
    layout: Layout,
    tolerance: float,
    products: int,
    probes: int,
    seed: int,
    ledger: Ledger | None = None,
) -> dict[str, float]:
    """Return the curvature at a point.

    Args:
        landscape: of the loss.
        theta: (D,) on its device.
        layout: of theta.
        tolerance: of both ends (:func:`lossatlas.planes.curvature.extremes`).
        products: most Hessian-vector products for them.
        probes: random vectors behind a trace.
        seed: of everything random.
        ledger: in which the products are kept; None = nowhere.

    Returns:
        ``loss``, and for ``raw`` (H) and ``filter`` (S H S): ``<scale>_max``, ``<scale>_min``, their residuals
        ``<scale>_residual_max`` and ``_min``, ``<scale>_converged`` (0 or 1), ``<scale>_trace`` and
        ``<scale>_trace_error``, its standard error.
    """
    raw, scales = hessian_at(landscape, theta), filter_scales(theta, layout)
    if ledger is not None:
        raw = remembered(raw, ledger)
    found = {"loss": float(landscape.loss(theta))}

    def scaled(v: Tensor) -> Tensor:
        return scales * raw(scales * v.double()).double()

    for name, product in zip(SCALES, (raw, scaled), strict=True):
        ends = extremes(product, starting_vector(layout.dim, seed, theta.device), tolerance, products)
        total, error = trace(product, layout.dim, probes, seed, theta.device)
        found |= {
            f"{name}_max": ends.maximum,
            f"{name}_min": ends.minimum,
            f"{name}_residual_max": ends.residual_max,
            f"{name}_residual_min": ends.residual_min,
            f"{name}_converged": float(ends.converged),
            f"{name}_trace": total,
            f"{name}_trace_error": error,
        }
    return found
