"""Directions in weight space: Gaussian, filter- or layer-normalised (Li et al. 2018), differences, orthogonal parts.

Norms and projections are computed in float64 whatever the vectors' own dtype. Random directions are made in pieces,
tensor by tensor: beside the vector itself there is never more than a piece of it in float64.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import BIAS, NORM, WEIGHT, Layout

HOWS = ("filter", "layer", "none")
ZEROED = (WEIGHT, BIAS, NORM)

PIECE = 2**20
"""Numbers drawn or looked at together; a multiple of the 16 that torch's normal numbers on the CPU are made by."""


def gaussian(layout: Layout, seed: int | torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a vector (D,) of independent standard normal numbers, on the CPU.

    They are drawn in float64 and then rounded to ``dtype``, so a seed means the same direction in every precision;
    piece by piece, which gives the numbers of one draw.

    Args:
        layout: of the parameters; only its length matters here.
        seed: an integer, or a CPU generator, which advances.
        dtype: of the result.
    """
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    result = torch.empty(layout.dim, dtype=dtype)
    ends = [*range(PIECE, layout.dim - 15, PIECE), layout.dim]  # torch draws fewer than 16 numbers in another way
    for start, end in pairwise([0, *ends]):
        result[start:end] = torch.randn(end - start, generator=generator, dtype=torch.float64)
    return result


def normalise(
    direction: Tensor, theta: Tensor, layout: Layout, how: str = "filter", zero: Sequence[str] = (BIAS, NORM)
) -> Tensor:
    """Scale a direction to the weights it is to perturb (Li et al. 2018, section 4).

    ``filter``: each filter d_ij becomes d_ij |theta_ij| / |d_ij|, the index j running along the first axis of a weight:
    the output channels of a convolution, the neurons of a linear layer (row j holds neuron j's incoming weights), the
    units of a recurrent layer, the tokens of an embedding; of an attention's ``in_proj_weight`` the units of its
    queries, keys and values, each by itself. (Torch keeps the *input* channels of a transposed convolution there.)
    ``layer``: each tensor as a whole gets the norm of theta's. ``none``: the weights stay as drawn.

    Biases and normalisation parameters are set to zero under every ``how``, as in Li et al.; leave their kind out of
    ``zero`` to keep them, each tensor then scaled as a whole under ``filter`` too. (The authors' code puts theta itself
    there instead.)

    A filter whose norm is zero in theta is zero in the result; one whose norm is zero in the direction has no direction
    to scale and stays zero, so its norm is not that of theta.

    Args:
        direction: shape (D,).
        theta: shape (D,), the weights whose norms count.
        layout: of both.
        how: ``filter``, ``layer`` or ``none``.
        zero: kinds of parameters that are set to zero.

    Returns:
        A new tensor (D,) with theta's dtype and device.
    """
    if how not in HOWS:
        raise LossatlasError(f"direction: normalisation got {how!r}; expected one of {list(HOWS)!r}")
    if unknown := sorted(set(zero) - set(ZEROED)):
        raise LossatlasError(f"direction: zero got {unknown!r}; expected some of {list(ZEROED)!r}")
    reference, drawn = _vector(theta, "weight vector", layout.dim), _vector(direction, "direction", layout.dim)
    result = torch.zeros_like(reference)
    for name, shape, kind in zip(layout.names, layout.shapes, layout.kinds, strict=True):
        where = layout.slices[name]
        if kind in zero:
            continue
        if how == "none":
            result[where] = drawn[where]
            continue
        rows = shape[0] if how == "filter" and kind == WEIGHT else 1
        tensors = (vector[where].reshape(rows, -1) for vector in (result, drawn, reference))
        height = max(1, PIECE // max(1, prod(shape) // rows))  # filters scaled at once
        for to, part, wanted in zip(*(tensor.split(height) for tensor in tensors), strict=True):
            to.copy_(_scaled(part.to(to.device, torch.float64), wanted.to(torch.float64)))
    return result


def gaussian_rows(layout: Layout, seed: int, count: int) -> Tensor:
    """Return independent standard normal directions (count, D), float64, on the CPU: one draw for a block of them."""
    return torch.randn(count, layout.dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normalise_rows(
    directions: Tensor, theta: Tensor, layout: Layout, how: str = "filter", zero: Sequence[str] = (BIAS, NORM)
) -> Tensor:
    """Return directions (k, D), each scaled to theta (D,) as :func:`normalise` does it, in theta's type."""
    if how not in HOWS:
        raise LossatlasError(f"direction: normalisation got {how!r}; expected one of {list(HOWS)!r}")
    reference = _vector(theta, "weight vector", layout.dim).to(torch.float64)
    result = directions.to(reference.device, torch.float64, copy=True)
    for name, shape, kind in zip(layout.names, layout.shapes, layout.kinds, strict=True):
        where = layout.slices[name]
        if kind in zero:
            result[:, where] = 0.0
        elif how != "none":
            rows = shape[0] if how == "filter" and kind == WEIGHT else 1
            part = result[:, where].reshape(len(result), rows, -1)
            norms, wanted = part.norm(dim=2, keepdim=True), reference[where].reshape(rows, -1).norm(dim=1)[:, None]
            scaled = torch.where(norms > 0, part * (wanted / norms.clamp(min=torch.finfo(torch.float64).tiny)), part)
            result[:, where] = scaled.flatten(1)
    return result.to(theta.dtype)


def random_filter_normalised(theta: Tensor, layout: Layout, seed: int | torch.Generator) -> Tensor:
    """Return a filter-normalised Gaussian direction (D,) at theta: a jump of jump-and-retrain with step size 1."""
    return normalise(gaussian(layout, seed), theta, layout, "filter")


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Return the direction (D,) that leads from a to b, b - a, rounded once to a's dtype."""
    start = _vector(a, "weight vector", a.numel())
    end = _vector(b, "weight vector", a.numel())
    return (end.to(start.device, torch.float64) - start.to(torch.float64)).to(a.dtype)


def orthogonalise(direction: Tensor, against: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the part of a direction that is orthogonal to the span of others, not rescaled.

    Filter normalisation after this step would undo it: orthogonalise last, or accept the angle.

    Args:
        direction: shape (D,).
        against: one vector (D,), or several as a sequence or the rows of (k, D); zero vectors and vectors that depend
            on earlier ones add nothing to the span.

    Returns:
        A new tensor (D,) of the direction's dtype and device.

    Raises:
        LossatlasError: the direction lies in the span, so that only rounding would be left.
    """
    vector = _vector(direction, "direction", direction.numel()).to(torch.float64)
    others = [against] if isinstance(against, Tensor) and against.ndim == 1 else list(against)
    basis: list[Tensor] = []
    for other in others:
        other = _vector(other, "direction", vector.numel()).to(vector.device, torch.float64)
        rest = _without(other, basis)
        if rest.norm() > 1e-12 * other.norm():
            basis.append(rest / rest.norm())
    result = _without(vector, basis)
    if result.norm() <= 100 * torch.finfo(direction.dtype).eps * vector.norm():
        raise LossatlasError(
            f"direction: got one that lies in the span of the {len(others)} it is made orthogonal to; "
            "expected an independent one, draw it from another seed"
        )
    return result.to(direction.dtype)


def _without(vector: Tensor, basis: list[Tensor]) -> Tensor:
    """Remove the components along an orthonormal basis, twice, since once leaves rounding behind."""
    for _ in range(2):
        for unit in basis:
            vector = vector - (unit @ vector) * unit
    return vector


def _scaled(rows: Tensor, reference: Tensor) -> Tensor:
    """Give each row the norm of the reference's row; zero rows stay zero."""
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    wanted = torch.linalg.vector_norm(reference, dim=1, keepdim=True)
    return torch.where(norms > 0, rows * (wanted / torch.where(norms > 0, norms, 1.0)), 0.0)


def _vector(tensor: Tensor, what: str, dim: int) -> Tensor:
    """Return a detached floating (D,) tensor, having checked its length and that its numbers are finite."""
    if tuple(tensor.shape) != (dim,) or not tensor.is_floating_point():
        raise LossatlasError(
            f"direction: {what} got {tensor.dtype} of shape {tuple(tensor.shape)}; expected floating point ({dim},)"
        )
    bad = sum(int((~torch.isfinite(piece)).sum()) for piece in tensor.split(PIECE))
    if bad:
        raise LossatlasError(f"direction: {what} has {bad} entries that are NaN or infinite; expected finite numbers")
    return tensor.detach()
