"""Data sets that code generates: the swiss roll and the rings of Huang et al. (2020).

Every stream is derived from the seed, the data set, the part and the class, so parts and classes are independent,
and a larger draw of the swiss roll begins with the points of a smaller one. A change of the numbers needs a new
``version`` in ``datasets.yaml``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lossatlas.errors import LossatlasError
from lossatlas.seeds import derive

Arrays = tuple[np.ndarray, np.ndarray]

RING_POINTS = (40, 10, 80)
"""Training points on the blue ring and on the inner and outer red ring."""
BLUE_RADIUS, OUTER_RADIUS = 0.4, 0.95


def swissroll(part: str, n: int, seed: int, options: Mapping[str, Any]) -> Arrays:
    """Draw two interleaved spirals.

    With t = sqrt(U) * ``degrees`` the blue class is (-1.5 t cos t, 1.5 t sin t) plus normal noise, the red one the
    point reflection of draws of its own. (Reflecting the *same* draws, as is often done, puts the mirror image of a
    training point into the test part of a random split.)

    Args:
        part: ``train``, ``test`` or another; all are independent.
        n: number of points; blue has the odd one.
        seed: the spec's seed.
        options: ``noise`` and ``degrees``.

    Returns:
        x float32 (n, 2) and y int64 (n,), classes alternating.
    """
    x = np.empty((n, 2))
    y = np.arange(n, dtype=np.int64) % 2
    for label, sign in ((0, 1.0), (1, -1.0)):
        count = int((y == label).sum())
        angles = np.random.default_rng(derive(seed, "swissroll", part, label, "angle"))
        noise = np.random.default_rng(derive(seed, "swissroll", part, label, "noise"))
        t = np.sqrt(angles.random(count)) * np.deg2rad(options["degrees"])
        spiral = np.stack([-1.5 * t * np.cos(t), 1.5 * t * np.sin(t)], axis=1)
        x[y == label] = sign * (spiral + options["noise"] * noise.standard_normal((count, 2)))
    return x.astype(np.float32), y


def rings(part: str, n: int, seed: int, options: Mapping[str, Any]) -> Arrays:
    """Place points on a blue ring of radius 0.4 and on red rings of radius 0.4 + ``gap`` and 0.95.

    The numbers on the rings are in the ratio 40 : 10 : 80. Training points are evenly spaced and begin at the top
    (r sin a, r cos a); the inner red ring is turned by half a spacing of the blue one, as in the authors' example, so
    that no red point lies exactly outside a blue one. Test points are at random angles.

    Args:
        part: ``train``, or ``test`` or another, at random angles.
        n: number of points, at least 13; 130 are the paper's, more of them make dense rings.
        seed: the spec's seed; without noise the training points do not depend on it.
        options: ``gap`` and ``noise``.

    Returns:
        x float32 (n, 2) and y int64 (n,): blue (0), inner red (1), outer red (1).
    """
    blue, inner = (round(n * count / sum(RING_POINTS)) for count in RING_POINTS[:2])
    counts = (blue, inner, n - blue - inner)
    if min(counts) < 1:
        raise LossatlasError(f"data set 'rings': {n} points leave a ring empty; take at least 13")
    radii = (BLUE_RADIUS, BLUE_RADIUS + options["gap"], OUTER_RADIUS)
    rows = []
    for ring, (count, radius) in enumerate(zip(counts, radii, strict=True)):
        angles = np.arange(count) * (2 * np.pi / count) + (np.pi / blue if ring == 1 else 0.0)
        if part != "train":
            angles = np.random.default_rng(derive(seed, "rings", part, ring, "angle")).random(count) * (2 * np.pi)
        noise = np.random.default_rng(derive(seed, "rings", part, ring, "noise")).standard_normal(count)
        r = radius + options["noise"] * noise
        rows.append(np.stack([r * np.sin(angles), r * np.cos(angles)], axis=1))
    y = np.repeat([0, 1, 1], counts).astype(np.int64)
    return np.concatenate(rows).astype(np.float32), y


GENERATORS: dict[str, Callable[[str, int, int, Mapping[str, Any]], Arrays]] = {"swissroll": swissroll, "rings": rings}
"""Generators by the name of their reader in ``datasets.yaml``."""
