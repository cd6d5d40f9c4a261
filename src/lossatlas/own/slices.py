"""Lines and planes through a point: their directions, their size, and how many points and examples a minute affords."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.clouds.principal import principal_axes
from lossatlas.errors import LossatlasError
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.landscape.large import vector_type
from lossatlas.own.point import Placed, examples_of, some_examples
from lossatlas.seeds import derive

NORMALISED = {"filter-normalised": "filter", "filter": "filter", "layer": "layer", "none": "none"}
"""Names of random directions -> how they are scaled (:func:`lossatlas.landscape.directions.normalise`)."""

SECONDS = 40.0
"""Time that a first picture may take where nobody asked for another size: with loading and its checks, a minute."""

SIZES = ((41, 10_000), (41, 1_000), (31, 1_000), (25, 1_000), (25, 500), (21, 500), (17, 500), (17, 250), (13, 250))
"""Points along a side and most examples, best first: the first that fits :data:`SECONDS` is taken, the last otherwise.
Below 250 examples the mean of a cross entropy is known to some 10%, below 13 points a basin is a few pixels wide."""


@dataclass(frozen=True)
class Chosen:
    """Directions of a slice.

    Attributes:
        vectors: (D,) each, float64 (of large networks: their own type), in units of the coordinates.
        how: normalisation of random ones; None for others.
        name: what they are called.
        explained: share of a path's variance in them; None for others.
    """

    vectors: tuple[Tensor, ...]
    how: str | None
    name: str
    explained: float | None = None


def directions(network: Placed, given: Any, count: int, seed: int) -> Chosen:
    """Return the directions of a slice.

    Args:
        network: the point.
        given: ``filter-normalised``, ``layer`` or ``none``: random ones, so scaled; ``pca``: the first principal axes
            of the network's checkpoints, each as long as their root mean square along it; or as many tensors (D,).
        count: 1 for a line, 2 for a plane.
        seed: of random ones.

    Raises:
        LossatlasError: unknown words, other sizes, no checkpoints, or directions that are zero.
    """
    if isinstance(given, str) and given in NORMALISED:
        how = NORMALISED[given]
        kind = vector_type(network.landscape)
        drawn = (gaussian(network.layout, derive(seed, "slice", i), kind) for i in range(count))
        vectors = tuple(normalise(d, network.theta.to(kind), network.layout, how) for d in drawn)
        name = "random directions as drawn" if how == "none" else f"random {how}-normalised directions"
        if any(not float(v.norm()) > 0 for v in vectors):
            raise LossatlasError(f"directions: {given!r} are zero: every weight of {network.label} is a bias or zero")
        return Chosen(vectors, how, name if count > 1 else name.removesuffix("s"))
    if isinstance(given, str) and given == "pca":
        axes, shares, spread = _of_checkpoints(network, count)
        return Chosen(
            tuple(s * a for s, a in zip(spread, axes, strict=True)),
            None,
            "principal axes of the checkpoints",
            float(sum(shares)),
        )
    if isinstance(given, str):
        known = [*NORMALISED, "pca"]
        raise LossatlasError(f"directions: got {given!r}; expected one of {known!r} or {count} tensors (D,)")
    kind = vector_type(network.landscape)
    vectors = tuple(torch.as_tensor(v).detach().to(network.theta.device, kind) for v in _listed(given))
    shape = (network.landscape.dim,)
    if len(vectors) != count or any(tuple(v.shape) != shape for v in vectors):
        raise LossatlasError(f"directions: got shapes {[tuple(v.shape) for v in vectors]}; expected {count} of {shape}")
    return Chosen(vectors, None, "given directions" if count > 1 else "given direction")


def _listed(given: Any) -> Sequence[Any]:
    return [given] if isinstance(given, Tensor | np.ndarray) and given.ndim == 1 else list(given)


def _of_checkpoints(network: Placed, count: int) -> tuple[list[Tensor], Array, Array]:
    """Return unit axes through the network's checkpoints, their shares of the variance and the spread along each."""
    files = getattr(network, "checkpoints", ())
    if len(files) <= count:
        raise LossatlasError(
            f"directions: 'pca' got {len(files)} checkpoints; expected more than {count}: load a directory of them"
        )
    points = [network.at(file).theta.double() for file in files]  # type: ignore[attr-defined]
    axes, explained, coordinates = principal(points, count)
    return axes, explained, np.sqrt((coordinates**2).mean(axis=0))


@dataclass(frozen=True)
class _Inner:
    gram: Array


def principal(points: Sequence[Tensor], count: int) -> tuple[list[Tensor], Array, Array]:
    """Return the first principal axes of points (D,): unit vectors, shares of the variance, coordinates from the mean.

    By the inner products of the points, so that nothing of size D x D is made and (count + 1) D numbers are added.
    """
    shifted = [(point - points[0]).double() for point in points]
    gram = np.array([[float(a @ b) for b in shifted] for a in shifted])
    found = principal_axes(_Inner(gram), np.arange(len(points)), count)
    axes = []
    for k in range(count):
        axis = torch.zeros_like(shifted[0])
        for weight, point in zip(found.weights[:, k], shifted, strict=True):
            axis += float(weight) * point  # the weights sum to zero: the shift cancels
        axes.append(axis / axis.norm())
    return axes, found.explained, found.coordinates


def sized(network: Placed, sides: int, grid: Any, examples: Any, seed: int) -> tuple[Placed, tuple[int, ...], str]:
    """Return the network on the examples, the points along each side, and the sentence that says what was chosen.

    Args:
        network: the point.
        sides: 1 or 2.
        grid: points along each side; a number for both; None = chosen by timing the network.
        examples: how many, drawn at random from the seed; ``all``; None = chosen likewise.
        seed: of the examples.
    """
    have = examples_of(network)
    if examples == "all" or not have:
        examples = have
    if isinstance(examples, str) or (examples is not None and have and not 1 <= examples <= have):
        raise LossatlasError(f"examples: got {examples!r}; expected 'all', None or 1 to {have}")
    if grid is not None:
        counts = tuple(int(n) for n in grid) if isinstance(grid, Sequence) else (int(grid),) * sides
        if len(counts) != sides or min(counts) < 3:
            raise LossatlasError(
                f"grid: got {grid!r}; expected {sides} number{'s' * (sides > 1)} of points, at least 3"
            )
    if grid is None or examples is None:
        wanted = counts if grid is not None else None
        count, chosen = _affordable(network, sides, wanted, examples if examples is not None else None, have, seed)
        counts = counts if grid is not None else (chosen,) * sides
        examples = count
    smaller = some_examples(network, examples, seed) if have and examples < have else network
    said = ""
    if have and examples < have:
        said = f"{examples:,} of {have:,} examples (seed {seed}); examples='all' takes all of them"
    if grid is None and sides == 2 and counts[0] < SIZES[0][0]:
        said += f"{'; ' if said else ''}{counts[0]} x {counts[1]} points fit a minute; grid={SIZES[0][0]} shows more"
    return smaller, counts, said


def _affordable(
    network: Placed, sides: int, grid: tuple[int, ...] | None, examples: int | None, have: int, seed: int
) -> tuple[int, int]:
    """Return examples and points along a side: the best of :data:`SIZES` that fits, by timing the network."""
    timed = min(have, 250) if have else 0
    trial = some_examples(network, timed, seed) if have else network
    theta = network.theta
    trial.landscape.loss(theta)  # the first call sets up kernels
    started = time.perf_counter()
    trial.landscape.loss(theta)
    each = (time.perf_counter() - started) / max(timed, 1)
    for side, most in SIZES:
        count = min(examples if examples is not None else most, have) if have else 0
        points = int(np.prod(grid)) if grid is not None else side**sides
        if each * max(count, 1) * points <= SECONDS:
            return count, side
    return (min(examples if examples is not None else SIZES[-1][1], have) if have else 0), SIZES[-1][0]


def ends(reach: Any, sides: int) -> tuple[tuple[float, float], ...]:
    """Return the range of each coordinate: a number r for (-r, r), a pair of numbers, or a pair of pairs."""
    try:
        values = np.asarray(reach, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.full((0,), np.nan)
    if values.ndim == 0:
        found = np.array([[-values, values]] * sides)
    elif values.shape == (2,) and sides == 1:
        found = values[None]
    elif values.shape == (2,):
        found = np.array([[-r, r] for r in values])
    else:
        found = values
    if found.shape != (sides, 2) or not np.isfinite(found).all() or not (found[:, 0] < found[:, 1]).all():
        raise LossatlasError(f"range: got {reach!r}; expected a number above 0, or (low, high) of each coordinate")
    return tuple((float(low), float(high)) for low, high in found)
