"""Curvature without a matrix: extreme eigenvalues, trace and spectral density of a Hessian from its products.

All of them need Hessian-vector products only. One Krylov space, by Lanczos' recurrence with full reorthogonalisation,
gives both ends of the spectrum with the residuals of both eigenpairs: for a Ritz pair (mu, y) of a symmetric H the norm
|H y - mu y| bounds the distance of mu from an eigenvalue. Random numbers come from a seed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.errors import LossatlasError
from lossatlas.files.ledger import Ledger
from lossatlas.landscape.directions import gaussian
from lossatlas.landscape.landscape import Landscape
from lossatlas.landscape.layout import WEIGHT, Layout
from lossatlas.planes.defaults import APART, LEAST, PRODUCTS, TOLERANCE

Product = Callable[[Tensor], Tensor]


PIECE = 2**20
"""Numbers of a vector that are looked at in float64 at once, where it is kept in another type."""


class Krylov:
    """Lanczos' recurrence for a symmetric matrix given by its products: H Q = Q T + beta q e^T, T tridiagonal.

    Every new vector is made orthogonal to all earlier ones, twice: without that, eigenvalues found already come back
    as copies ("ghosts"). Vectors are kept in float64, whatever the product's own precision.

    ``lean`` keeps the last two vectors only, in a type of their own, for dimensions of which not many vectors fit into
    memory. Both ends of the spectrum are then found as well, within rounding (Paige 1980: ghosts are copies of
    eigenvalues found, not wrong ones), and a spectral density is too: a ghost's weight is taken from its original.

    Attributes:
        alphas: diagonal of T.
        betas: numbers beside it; the last one is |residual|, 0 where the space is invariant (or all of R^D).
    """

    def __init__(self, product: Product, start: Tensor, lean: torch.dtype | None = None) -> None:
        """Begin with a unit vector along ``start`` (D,); ``lean`` is the type of vectors where only two are kept."""
        self.product, self.lean, self.dim = product, lean, len(start)
        if lean is None:
            self.basis = [start.to(torch.float64) / start.to(torch.float64).norm()]
        else:
            self.basis = [start.to(lean) / inner(start, start) ** 0.5]
        self.alphas: list[float] = []
        self.betas: list[float] = []

    @property
    def closed(self) -> bool:
        """Whether the space is invariant: no further vector."""
        return len(self.betas) == len(self.alphas) and bool(self.betas) and self.betas[-1] == 0.0

    def step(self) -> bool:
        """Take one product; return False where it is not finite."""
        if self.lean is not None:
            return self._lean_step(self.lean)
        last = self.basis[-1]
        image = self.product(last).to(torch.float64)
        rest = image
        for _ in range(2):
            for vector in self.basis:
                rest = rest - (rest @ vector) * vector
        found = [torch.isfinite(image).all().double(), image @ last, rest.norm(), image.norm()]
        finite, alpha, size, length = torch.stack(found).tolist()  # a GPU is waited for once
        if not finite:
            return False
        self.alphas.append(alpha)
        scale = max(abs(a) for a in self.alphas) + max(self.betas, default=0.0)
        if size <= 1e-14 * max(scale, length) or len(self.basis) == len(last):
            self.betas.append(0.0)
        else:
            self.betas.append(size)
            self.basis.append(rest / size)
        return True

    def _lean_step(self, kind: torch.dtype) -> bool:
        """Take one product, keeping two vectors; the image is changed in place."""
        last = self.basis[-1]
        image = self.product(last)
        rest = image.clone() if image is last else image.to(kind)
        length = inner(rest, rest)
        if not np.isfinite(length):
            return False
        alpha = inner(rest, last)
        if len(self.basis) > 1:
            rest.sub_(self.basis[-2], alpha=self.betas[-1])
        rest.sub_(last, alpha=alpha)
        self.alphas.append(alpha)
        size = inner(rest, rest) ** 0.5
        scale = max(abs(a) for a in self.alphas) + max(self.betas, default=0.0)
        if size <= 10 * torch.finfo(kind).eps * max(scale, length**0.5) or len(self.alphas) == self.dim:
            self.betas.append(0.0)
        else:
            self.betas.append(size)
            self.basis = [last, rest.div_(size)]
        return True

    def ritz(self) -> tuple[Array, Array]:
        """Return the eigenvalues (m,) of T, ascending, and its eigenvectors (m, m) as columns."""
        return eigh_tridiagonal(np.array(self.alphas), np.array(self.betas[: len(self.alphas) - 1]))


@dataclass(frozen=True)
class Extremes:
    """The ends of a spectrum.

    Attributes:
        minimum, maximum: smallest and largest eigenvalue; NaN where a product was not finite.
        residual_min, residual_max: norm of H y - mu y of each: an eigenvalue lies within it.
        products: Hessian-vector products taken.
        converged: whether both residuals are within what was asked for.
    """

    minimum: float
    maximum: float
    residual_min: float
    residual_max: float
    products: int
    converged: bool


def inner(a: Tensor, b: Tensor) -> float:
    """Return the inner product of two vectors (D,), summed in float64 piece by piece."""
    pieces = zip(a.split(PIECE), b.split(PIECE), strict=True)
    return float(sum(float(one.to(torch.float64) @ other.to(torch.float64)) for one, other in pieces))


def extremes(
    product: Product,
    start: Tensor,
    tolerance: float = TOLERANCE,
    most: int = PRODUCTS,
    lean: torch.dtype | None = None,
    least: int = LEAST,
    each: bool = False,
) -> Extremes:
    """Return the smallest and the largest eigenvalue of a symmetric matrix given by its products.

    A residual bounds the distance to *an* eigenvalue, not to the last one: a Ritz value whose residual is small against
    the larger end may lie well inside of the spectrum, the more so the smaller its end is. Where the smaller end
    matters, ask for ``each``, more than a few products, and a second start (:func:`extremes_of_starts`).

    Args:
        product: v (D,) -> H v (D,).
        start: first vector (D,), usually random; its device is where vectors are kept.
        tolerance: of both residuals, relative to max(|minimum|, |maximum|).
        most: products after which to give up; the result then says that it has not converged.
        lean: type of vectors where only two are kept (:class:`Krylov`).
        least: products before which it does not stop, unless the space is invariant.
        each: take the tolerance of each residual relative to its own end, but not to less than a tenth of the larger.
    """
    _check(tolerance > 0, f"tolerance got {tolerance!r}; expected a number > 0")
    _check(most >= 1, f"most products got {most!r}; expected an integer >= 1")
    space = Krylov(product, start, lean)
    found = Extremes(np.nan, np.nan, np.nan, np.nan, 0, False)
    for taken in range(1, most + 1):
        if not space.step():
            return Extremes(np.nan, np.nan, np.nan, np.nan, taken, False)
        if taken < least and not space.closed and taken < most:
            continue
        values, vectors = space.ritz()
        residuals = space.betas[-1] * np.abs(vectors[-1, [0, -1]])
        sizes = np.abs(values[[0, -1]])
        against = np.maximum(sizes, sizes.max() / APART) if each else sizes.max()
        reached = bool((residuals <= tolerance * against).all())
        low, high = float(residuals[0]), float(residuals[1])
        found = Extremes(float(values[0]), float(values[-1]), low, high, taken, reached)
        if reached or space.closed:
            break
    return found


def extremes_of_starts(find: Callable[[Tensor], Extremes], starts: Sequence[Tensor]) -> Extremes:
    """Return the ends of a spectrum found from the first start, or from all where they are more than tenfold apart.

    Ritz values never lie beyond the spectrum (Cauchy's interlacing), so of several the outermost is the nearest. A
    start that happens to have next to nothing along the last eigenvector is not believed alone where the ratio of the
    ends is what one asks for.

    Args:
        find: start (D,) -> :func:`extremes` from there.
        starts: independent first vectors, at least one.
    """
    found = find(starts[0])
    for start in starts[1:]:
        sizes = abs(found.minimum), abs(found.maximum)
        if not np.isfinite(sizes).all() or min(sizes) * APART >= max(sizes):
            break
        other = find(start)
        if not np.isfinite(other.minimum):
            return replace(other, products=found.products + other.products)
        lower = min(found, other, key=lambda one: one.minimum)
        upper = max(found, other, key=lambda one: one.maximum)
        found = Extremes(
            lower.minimum,
            upper.maximum,
            lower.residual_min,
            upper.residual_max,
            found.products + other.products,
            lower.converged and upper.converged,
        )
    return found


def of_block(product: Product, kept: Tensor, dim: int) -> Product:
    """Return the product with the block of a symmetric matrix that belongs to some coordinates.

    Args:
        product: v (D,) -> H v (D,).
        kept: numbers of the coordinates (m,), increasing.
        dim: D.

    Returns:
        v (m,) -> the block times v (m,).
    """

    def times(v: Tensor) -> Tensor:
        whole = torch.zeros(dim, dtype=v.dtype, device=v.device)
        whole[kept] = v
        return product(whole)[kept]

    return times


def trace(
    product: Product, dim: int, probes: int, seed: int, device: torch.device, lean: torch.dtype | None = None
) -> tuple[float, float]:
    """Return Hutchinson's estimate of a trace, and its standard error (NaN for one probe).

    The mean of v^T H v over independent vectors of random signs, whose expectation is the trace; signs have the least
    variance among independent entries.
    """
    _check(probes >= 1, f"probes got {probes!r}; expected an integer >= 1")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(probes):
        if lean is None:
            signs = (2 * torch.randint(2, (dim,), generator=generator) - 1).to(device, torch.float64)
            values.append(float(signs @ product(signs).to(torch.float64)))
            continue
        signs = torch.empty(dim, dtype=lean, device=device)
        for piece in signs.split(PIECE):  # the numbers of one draw
            piece.copy_(torch.randint(2, (len(piece),), generator=generator))
        signs.mul_(2).sub_(1)
        values.append(inner(signs, product(signs)))
    error = float(np.std(values, ddof=1) / np.sqrt(probes)) if probes > 1 else np.nan
    return float(np.mean(values)), error


def density(
    product: Product,
    dim: int,
    probes: int,
    steps: int,
    seed: int,
    device: torch.device,
    lean: torch.dtype | None = None,
) -> tuple[Array, Array]:
    """Return nodes and weights (probes, steps) of the spectral density by stochastic Lanczos quadrature.

    For each random unit vector v, the Ritz values are the nodes and the squared first entries of their eigenvectors the
    weights of a Gauss quadrature of the spectral measure of v, whose mean over v is the density of all eigenvalues; the
    weights of a probe sum to one. A probe whose space closes early has nodes NaN of weight zero behind its last.
    """
    _check(probes >= 1 and steps >= 1, f"got {probes} probes of {steps} steps; expected at least 1 of each")
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = np.full((probes, steps), np.nan), np.zeros((probes, steps))
    for i in range(probes):
        space = Krylov(product, _normal(dim, generator, device, lean), lean)
        for _ in range(steps):
            if not space.step():
                return np.full((probes, steps), np.nan), np.full((probes, steps), np.nan)
            if space.closed:
                break
        values, vectors = space.ritz()
        nodes[i, : len(values)], weights[i, : len(values)] = values, vectors[0] ** 2
    return nodes, weights


def smoothed(nodes: Array, weights: Array, at: Array, width: float) -> Array:
    """Return the spectral density (len(at),) at some values: quadrature nodes widened to Gaussians of ``width``."""
    gaussians = np.exp(-0.5 * ((at[:, None] - np.nan_to_num(nodes).ravel()) / width) ** 2) / (
        width * np.sqrt(2 * np.pi)
    )
    return gaussians @ weights.ravel() / len(nodes)


def hessian_at(landscape: Landscape, theta: Tensor) -> Product:
    """Return the product with the Hessian of a landscape at theta (D,)."""
    return landscape.products(theta)


def remembered(product: Product, ledger: Ledger) -> Product:
    """Return a product that keeps its images in a ledger, so that a resumed point takes none of them again."""

    def again(v: Tensor) -> Tensor:
        return torch.from_numpy(ledger(lambda: product(v).cpu().numpy())).to(v.device)

    return again


def starting_vector(dim: int, seed: int, device: torch.device, lean: torch.dtype | None = None) -> Tensor:
    """Return a random Gaussian vector (D,), float64 or of a type: it has a part along every eigenvector."""
    return _normal(dim, torch.Generator().manual_seed(seed), device, lean)


def _normal(dim: int, generator: torch.Generator, device: torch.device, lean: torch.dtype | None) -> Tensor:
    whole = Layout(("vector",), ((dim,),), (WEIGHT,))
    return gaussian(whole, generator, torch.float64 if lean is None else lean).to(device)


def _check(right: bool, message: str) -> None:
    if not right:
        raise LossatlasError(f"curvature: {message}")
