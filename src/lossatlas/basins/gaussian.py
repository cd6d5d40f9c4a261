"""The Gaussian mass of a basin: a volume that exists, seen from a minimum by rays of a fixed linear preconditioner.

The region where a ReLU network's loss lies below a cutoff is infinite (:func:`along_head`), so its volume is measured
by a Gaussian of a stated width about the minimum: M = P[L(theta* + width P x) <= c], x ~ N(0, I) in the n weights that
move, P = diag(scale) fixed for the minimum. Rays of a *linear* preconditioner have a determinant; directions whose
filters are scaled one by one, draw by draw, lie on a product of spheres, which has measure zero, and E[r^n] over them
is no volume however many there are.

Sources: Scherlis and Belrose 2025 (arXiv 2501.18812) for rays under a Gaussian and a preconditioner, Dinh et al. 2017
(arXiv 1703.04933) for infinite regions, Huang et al. 2020 for radii.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammainc, gammaln
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.basins.radii import Radii, log_ball, log_mean_power
from lossatlas.landscape.landscape import Landscape
from lossatlas.landscape.layout import WEIGHT, Layout

TERMS = 20_000
"""Most terms of the series of an incomplete gamma function; near the mode of s = 10^7 some 30 sqrt(s) are needed."""


@dataclass(frozen=True)
class Scale:
    """How long a step of one is in each weight.

    Attributes:
        scale: (D,) float64, 0 = the weight stays.
        group: (n,) int64, the filter of each weight that moves, counted from 0.
    """

    scale: Tensor
    group: Tensor

    @property
    def moved(self) -> Tensor:
        """Return the places (n,) of the weights that move."""
        return torch.nonzero(self.scale > 0)[:, 0]


def filter_scale(theta: Tensor, layout: Layout, absolute: float | None = None) -> Scale:
    """Return the root mean square weight of each filter, for its weights; biases and normalisation stay.

    Args:
        theta: (D,), the minimum. A filter of zeros stays, too.
        layout: of it; filters are rows of a weight's first axis, as in ``lossatlas.landscape.directions.normalise``.
        absolute: this step for every weight in place of the filters'.
    """
    scale, groups, first = torch.zeros(len(theta), dtype=torch.float64), [], 0
    for name, shape, kind in zip(layout.names, layout.shapes, layout.kinds, strict=True):
        if kind != WEIGHT:
            continue
        rows = theta[layout.slices[name]].double().cpu().reshape(shape[0], -1)
        size = rows.square().mean(1, keepdim=True).sqrt() if absolute is None else torch.full((len(rows), 1), absolute)
        scale[layout.slices[name]] = size.double().expand_as(rows).flatten()
        number = first + torch.arange(len(rows))[:, None].expand_as(rows)
        groups.append(number[(size > 0).expand_as(rows)])
        first += len(rows)
    return Scale(scale, torch.cat(groups))


class Around:
    """A landscape in the coordinates of a Gaussian about a point: x in R^n -> L(centre + width P x)."""

    def __init__(self, landscape: Landscape, centre: Tensor, scale: Scale) -> None:
        """Look from ``centre`` (D,)."""
        self.landscape = landscape
        self.centre = centre.detach().to(landscape.device, landscape.dtype)
        self.moved = scale.moved.to(landscape.device)
        self.step = scale.scale[scale.moved].to(landscape.device, landscape.dtype)
        self.like = self.step
        self.group = scale.group.to(landscape.device)
        self.dim = len(self.step)
        self.log_determinant = float(scale.scale[scale.moved].log().sum())

    def points(self, x: Tensor, width: float) -> Tensor:
        """Return the weights (m, D) at the rows of x (m, n)."""
        thetas = self.centre.repeat(len(x), 1)
        thetas[:, self.moved] += width * self.step * x
        return thetas

    def losses(self, x: Tensor, width: float) -> Tensor:
        """Return the losses (m,), float64."""
        return self.landscape.losses(self.points(x, width))

    def losses_and_grads(self, x: Tensor, width: float) -> tuple[Tensor, Tensor]:
        """Return the losses (m,), float64, and their gradients (m, n) by x."""
        losses, gradients = self.landscape.losses_and_grads(self.points(x, width))
        return losses, gradients[:, self.moved] * (width * self.step)

    def rays(self, v: Tensor) -> Tensor:
        """Return P v as directions (m, D) in weight space."""
        found = torch.zeros(len(v), len(self.centre), dtype=self.centre.dtype, device=self.centre.device)
        found[:, self.moved] = self.step * v
        return found


def log_lower_gamma(s: float, x: Array) -> Array:
    """Return ln P(s, x), the regularised lower incomplete gamma function, also where it underflows; ln P(s, inf) = 0.

    Below s the series P = x^s e^-x / Gamma(s + 1) sum_k x^k / ((s + 1) ... (s + k)) (DLMF 8.7.1) is summed.
    """
    found = np.full(x.shape, -np.inf)
    above = x >= s
    found[above] = np.log(gammainc(s, x[above]))
    small = x[(x > 0) & ~above]
    term, total = np.ones_like(small), np.ones_like(small)
    for k in range(1, TERMS):
        term = term * (small / (s + k))
        total += term
        if (term < 1e-17 * total).all():
            break
    found[(x > 0) & ~above] = s * np.log(small) - small - gammaln(s + 1) + np.log(total)
    return found


@dataclass(frozen=True)
class Visible:
    """What rays say of a basin.

    Attributes:
        log_mass: ln of the Gaussian mass of the part that the minimum sees, for each width: a lower bound of ln M, up
            to the sampling of rays, which makes it lower still.
        effective: (sum w)^2 / sum w^2 of the rays' shares, for each width: 1 = one ray carries it.
        log_volume: natural logarithm of the visible part's volume, the preconditioner's determinant counted in; inf
            where a ray never leaves.
        unbounded: share of rays that never leave.
    """

    log_mass: Array
    effective: Array
    log_volume: float
    unbounded: float


def visible(
    around: Around, cutoff: float, widths: Array, rays: int, generator: torch.Generator, shape: Tensor | None = None
) -> Visible:
    """Walk rays from the minimum to their first crossing of the cutoff.

    A ray is v = S u with u uniform on the unit sphere and S = diag(shape): x = t S u has density
    t^(n-1) det S over (t, u). So the mass seen is the mean over u of

        det S |S u|^-n P(n/2, (R |S u| / width)^2 / 2)

    with R the crossing in steps of P S u, whatever S is: one that is long where the basin is makes fewer rays do.

    Args:
        around: the basin.
        cutoff: its loss.
        widths: of the Gaussian (k,).
        rays: how many.
        generator: of the directions.
        shape: (n,), S; ones by default.
    """
    n = around.dim
    u = torch.randn(rays, n, generator=generator, dtype=torch.float64)
    u /= u.norm(dim=1, keepdim=True)
    s = torch.ones(n, dtype=torch.float64) if shape is None else shape.double().cpu()
    v = u * s
    directions = around.rays(v.to(around.step))
    radii = Radii(around.landscape, around.centre).crossings(directions, np.array([cutoff])).radii[0]
    length, log_det = v.norm(dim=1).numpy(), float(s.log().sum())
    masses, effective = [], []
    for width in widths:
        with np.errstate(divide="ignore"):
            shares = log_det - n * np.log(length) + log_lower_gamma(n / 2, (radii * length / width) ** 2 / 2)
        masses.append(min(0.0, _log_mean(shares)))
        weights = np.exp(shares - shares.max()) if np.isfinite(shares.max()) else np.zeros(rays)
        effective.append(weights.sum() ** 2 / np.square(weights).sum() if weights.any() else 0.0)
    unbounded = float(np.isinf(radii).mean())
    inside = bool((radii > 0).all())
    volume = float(log_mean_power(radii, n)) + log_ball(n) + log_det + around.log_determinant if inside else -np.inf
    return Visible(np.array(masses), np.array(effective), np.inf if unbounded else volume, unbounded)


def _log_mean(values: Array) -> float:
    """Return ln of the mean of exp(values)."""
    top = values.max()
    return float(top + np.log(np.mean(np.exp(values - top)))) if np.isfinite(top) else float(top)


HEAD = np.geomspace(1.0, 1000.0, 13)
"""Factors of the last layer's weights along which the open cone is looked for."""


def along_head(around: Around, layout: Layout, generator: torch.Generator, width: float, draws: int = 16) -> Array:
    """Return the loss with the last layer's weights times :data:`HEAD`, the largest of draws about that ray.

    Where every training point is right by the last layer's weights alone, the loss goes to zero along this ray, and for
    a small ball of the other weights about it, too: an open cone below any cutoff, whose volume is infinite.

    Args:
        around: the basin; its landscape's networks end in a linear layer, whose parameters come last.
        layout: of the weights.
        generator: of the draws.
        width: of the Gaussian from which the other weights are drawn.
        draws: how many; without any the ray itself is evaluated.

    Returns:
        (2, factors) float64: the loss on the ray, and the largest over draws beside it.
    """
    weights = [name for name, kind in zip(layout.names, layout.kinds, strict=True) if kind == WEIGHT]
    head = torch.zeros(layout.dim, dtype=torch.bool)
    head[layout.slices[weights[-1]]] = True
    head = head.to(around.centre.device)
    x = torch.randn(draws, around.dim, generator=generator, dtype=torch.float64).to(around.step)
    starts = torch.cat([around.centre[None], torch.where(head, around.centre, around.points(x, width))])
    losses = []
    for factor in HEAD:
        found = around.landscape.losses(torch.where(head, starts * factor, starts)).cpu().numpy()
        losses.append((found[0], found[1:].max(initial=found[0])))
    return np.array(losses, dtype=np.float64).T
