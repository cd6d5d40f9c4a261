"""How far the basin around one's own network reaches: first crossings of a loss in random directions.

Radii after Huang et al. 2020, section 5 (:mod:`lossatlas.basins.radii`), in filter-normalised directions: a radius of
1 changes every filter by as much as it is long. No volume is given, on purpose. E[r^D] over directions is carried by
the largest radius alone (the effective number of directions is then 1, however many are taken), so that its logarithm
is a lower bound whose error is not seen; filter-normalised directions lie on a set without volume besides; and the
region below a cutoff is unbounded wherever outputs can be scaled (Dinh et al. 2017). What radii do compare is how far
one may go in a typical direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure

from lossatlas.arrays import Array
from lossatlas.basins.radii import Radii, Search, effective_number
from lossatlas.draw import style
from lossatlas.errors import LossatlasError
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.landscape.large import vector_type
from lossatlas.landscape.layout import WEIGHT
from lossatlas.own.bars import ticking
from lossatlas.own.point import Placed, has_statistics, limited
from lossatlas.own.result import Clock, Result
from lossatlas.planes.curvature import inner
from lossatlas.planes.trust import SAME, Check, Outcome, Verdict
from lossatlas.seeds import derive

EXAMPLES = 1000
"""Examples of a basin where nobody says how many."""

EXCESS = (0.1, 0.5, 1.0)
"""Losses above that of the network at which a basin ends. Absolute ones, as in the paper, would give networks of higher
loss smaller basins for that alone."""

TOLERANCE = 0.01
"""Relative width at which a radius counts as found."""

MOST = 100.0
"""Radius beyond which a direction counts as unbounded: a hundred times the filters' own length."""


@dataclass(frozen=True, eq=False, repr=False)
class Basin(Result):
    """Radii of a basin.

    Attributes:
        excess: (c,) how much above the network's loss each cutoff lies.
        radii: (c, k) first crossings in units of the direction; inf = none up to 100.
        norms: (k,) lengths of the directions in R^D: radii times these are distances.
        loss: of the network.
        effective: (c,) directions that would carry a volume, E[r^D]; 1 = one of them does.
    """

    excess: Array
    radii: Array
    norms: Array
    loss: float
    effective: Array

    kind: ClassVar[str] = "own-basin"
    size: ClassVar[tuple[float, float]] = (4.4, 3.0)

    @property
    def medians(self) -> Array:
        """Median radius at each cutoff, (c,)."""
        return np.median(self.radii, axis=1)

    def _draw(self, figure: Figure) -> Any:
        axes = figure.subplots()
        for i, color in zip(range(len(self.excess)), style.hues(len(self.excess)), strict=True):
            finite = np.sort(self.radii[i][np.isfinite(self.radii[i])])
            share = np.arange(1, len(finite) + 1) / self.radii.shape[1]
            label = f"loss + {self.excess[i]:g}: median {self.medians[i]:.3g}"
            axes.step(finite, share, where="post", color=color, ls=style.DASHES[i % len(style.DASHES)], label=label)
        axes.set(xlabel="radius (1 = the filters' own length)", ylabel="share of directions", ylim=(0, 1.02))
        axes.set_title(f"{self.provenance['network']['label']}: loss {self.loss:.4g}", fontsize=8)
        axes.legend(fontsize=6.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        return axes

    def columns(self) -> dict[str, np.ndarray]:
        """Return ``excess``, ``direction``, ``radius``, ``distance`` of every crossing."""
        excess, direction = np.meshgrid(self.excess, np.arange(self.radii.shape[1]), indexing="ij")
        distance = self.radii * self.norms
        named = {"excess": excess, "direction": direction, "radius": self.radii, "distance": distance}
        return {name: values.ravel() for name, values in named.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every number by name."""
        named = {"excess": self.excess, "radii": self.radii, "norms": self.norms}
        return {**named, "loss": np.array(self.loss), "effective": self.effective}

    def headline(self) -> str:
        """Return the radii at each cutoff."""
        rows = [
            f"  loss + {excess:<5g} radius {np.median(r):.3g} (median), {r.min():.3g} to {r.max():.3g}"
            for excess, r in zip(self.excess, self.radii, strict=True)
        ]
        first = (
            f"Basin of {self.provenance['network']['label']} (loss {self.loss:.6g}): {self.radii.shape[1]} directions"
        )
        return "\n".join([f"{first}, {self.provenance['seconds']:.0f} s", *rows])


def basin(
    network: Placed,
    directions: int = 24,
    excess: Sequence[float] = EXCESS,
    *,
    examples: Any = None,
    seed: int = 0,
    check: bool = True,
    progress: bool | None = None,
) -> Basin:
    """Measure how far one may go from the network in random directions before the loss has risen by given amounts.

    Args:
        network: from :func:`lossatlas.load`, or any :class:`lossatlas.own.point.Point`.
        directions: random ones, filter-normalised, biases and normalisation parameters held.
        excess: rising numbers above 0.
        examples: how many, drawn at random; ``all``; None = 1,000 at most.
        seed: of directions and examples.
        check: whether to ask if the numbers are right.
        progress: bar: None = on a terminal and in notebooks, True, False.

    Raises:
        LossatlasError: arguments that do not fit, or a loss that is not finite.
    """
    rises = np.asarray(list(excess), dtype=np.float64)
    if directions < 2 or not len(rises) or not (np.diff(np.concatenate([[0.0], rises])) > 0).all():
        raise LossatlasError(
            f"basin: got {directions!r} directions, excess {excess!r}; expected 2 or more, and rising numbers above 0"
        )
    smaller, said = limited(network, examples, EXAMPLES, seed)
    clock = Clock("basin", smaller, {"directions": directions, "excess": rises.tolist(), "seed": seed})
    landscape, theta, layout = smaller.landscape, smaller.theta, smaller.layout
    loss = float(landscape.loss(theta))
    if not np.isfinite(loss):
        raise LossatlasError(f"basin: the loss of {network.label} is {loss}; expected a finite number")
    found, norms = np.empty((len(rises), directions)), np.empty(directions)
    # Cutoffs are above 0 for the logarithms of the search: a loss below 0 is lifted, which changes no crossing.
    radii = _Lifted(smaller, 1.0 - loss if loss <= 0 else 0.0)
    with ticking("basin", directions, progress) as tick:
        for i in range(directions):
            drawn = gaussian(layout, derive(seed, "basin", i), vector_type(landscape))
            along = normalise(drawn, theta, layout, "filter")
            norms[i] = inner(along, along) ** 0.5
            if not norms[i] > 0:
                raise LossatlasError(f"basin: every weight of {network.label} is a bias or zero; no direction is left")
            found[:, i] = radii.crossings(along[None], radii.least + rises).radii[:, 0]
            tick()
    moved = sum(s for s, kind in zip(layout.sizes, layout.kinds, strict=True) if kind == WEIGHT)
    bounded = [bool((np.isfinite(row) & (row > 0)).all()) for row in found]
    carrying = [effective_number(row, moved) if good else np.nan for row, good in zip(found, bounded, strict=True)]
    effective = np.array(carrying)
    notes = [said] if said else []
    if has_statistics(smaller):
        notes.append(f"batch-norm statistics: {getattr(landscape, 'batch_norm', '')}")
    if unbounded := int(np.isinf(found).sum()):
        notes.append(f"{unbounded} of {found.size} crossings lie beyond radius {MOST:g}")
    verdict = Verdict(_checks(found, effective)) if check else Verdict()
    return Basin(clock.record(), verdict, tuple(notes), rises, found, norms, loss, effective)


class _Lifted(Radii):
    """Radii of a loss plus a constant."""

    def __init__(self, network: Placed, lift: float) -> None:
        super().__init__(
            network.landscape, network.theta, Search(TOLERANCE, growth=1.5, pilot=1, least=1e-4, most=MOST)
        )
        self.lift = lift
        self.least += lift

    def losses(self, directions: torch.Tensor, steps: Array) -> Array:
        """Return the lifted losses (k,)."""
        return super().losses(directions, steps) + self.lift


def _checks(radii: Array, effective: Array) -> tuple[Check, ...]:
    """Return the checks of a basin: whether the directions agree on its radius, and what they say of a volume."""
    middle = radii[len(radii) // 2]
    low, high = np.quantile(middle, [0.25, 0.75]) if np.isfinite(middle).all() else (np.nan, np.nan)
    spread = float((high - low) / np.median(middle)) if np.isfinite(high) and np.median(middle) > 0 else float("nan")
    outcome: Outcome = "undecided" if not np.isfinite(spread) else "yes" if spread <= SAME else "no"
    words = (
        f"half of the directions lie within {spread:.2g} of the median radius" if np.isfinite(spread) else "unbounded"
    )
    checks = [Check("directions", outcome, spread, f"middle half within {SAME} of the median", words)]
    carried = float(np.nanmin(effective)) if np.isfinite(effective).any() else float("nan")
    words = f"none is given: {carried:.3g} of {radii.shape[1]} directions would carry it, the rest nothing"
    checks.append(Check("volume", "stated", carried, "none", words))
    return tuple(checks)
