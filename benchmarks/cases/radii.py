"""Basin radii: how far a basin reaches along random directions (Huang et al. 2020, section 5)."""

import copy
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cases import inputs
from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, Work, cornerwise
from benchmarks.reference import bisection
from lossatlas.basins.radii import Radii, Search, matched_output_scale
from lossatlas.landscape.directions import gaussian_rows, normalise_rows
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network as counted
from lossatlas.train.stacked import StackedLandscape

CUTOFF, LOSS = 0.1, 0.01
"""Loss at the basin's rim, and at its minimum."""


def problem(size: Size) -> tuple[nn.Module, NetworkLandscape, Tensor, Tensor]:
    """Return network, landscape, minimum (D,) and directions (n, D), normalised filter by filter.

    The labels are what the trained network says, and its last layer is scaled to a loss.
    """
    x, _ = inputs.swiss_roll(size["examples"])
    model = copy.deepcopy(inputs.swiss_network())
    with torch.no_grad():
        landscape = NetworkLandscape(model, x, model(x).argmax(1))
    theta = matched_output_scale(landscape, landscape.theta(), LOSS)
    directions = normalise_rows(gaussian_rows(landscape.layout, 1, size["directions"]), theta, landscape.layout)
    return model, landscape, theta, directions


def ours(size: Size) -> Action:
    """Rays of a chunk in lockstep, as the probe ``volume`` has them."""
    model, landscape, theta, directions = problem(size)
    search = Search()
    stacked = StackedLandscape(landscape, model, search.chunk)

    def run() -> Outcome:
        found = Radii(stacked, theta, search).crossings(directions, np.array([CUTOFF]))
        return Outcome(found.radii[0], {"losses": found.evaluations})

    return run


def loop(size: Size, resolution: str) -> Action:
    """Walk every ray by itself: outwards by a factor, then bisect."""
    model, landscape, theta, directions = problem(size)
    loss = bisection.loss_of(model, landscape.x, landscape.y)
    search, first = Search(), 1.0
    if resolution == "same":
        probe = Radii(landscape, theta, search)
        probe.prepare(directions, np.array([CUTOFF]))
        first = float(probe.first or search.least)
    growth = search.growth if resolution == "same" else 2.0

    def run() -> Outcome:
        radii, count = bisection.radii(loss, theta, directions, CUTOFF, first, growth, search.tolerance)
        return Outcome(radii, {"losses": count})

    return run


def arithmetic(size: Size, counts: Mapping[str, float]) -> Work:
    """Return the arithmetic of the losses that our search evaluated."""
    flops = counted(catalogue.resolve(inputs.SWISS_NET), (2,), 2).flops
    return Work(flops * size["examples"] * counts["losses"], "float32")


CASES = (
    Case(
        name="radii",
        row="radii",
        what="basin radii, swiss-roll network",
        same=(
            "the first crossing of the same loss along the same directions, walked outwards by the same factor and "
            "bracketed to the same relative width, which is what radii are compared to"
        ),
        tolerance=2 * Search().tolerance,
        differ=cornerwise,
        ours=Side(ours),
        peers={"Python loop with bisection": Side(partial(loop, resolution="same"))},
        sizes={
            "full": {"directions": 3000, "examples": 200},
            "small": {"directions": 300, "examples": 200},
            "tiny": {"directions": 6, "examples": 40},
        },
        goals=(Goal(20.0),),
        limit=arithmetic,
        reason=(
            "The search takes about as many losses as the loop. Half of the time are products of matrices 16 to 32 "
            "wide, by MKL near its rate (`torch.profiler`); the rest are activations, copies and calls. "
            "Fewer losses a ray would help."
        ),
        axes={"directions": (64, 256, 1024), "examples": (50, 200, 800)},
    ),
)
