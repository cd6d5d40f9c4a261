"""Speeds of a device fitted to jobs that have finished on it."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import minimize

from lossatlas.workflow.cost import Demand, Speed

SPREAD = math.log(3.0)
"""Standard deviation of a kind's speeds around those of all kinds, before any of its jobs is seen (of log)."""

NOISE = math.log(1.5)
"""Standard deviation of a job's time around the model's (of log): of equal jobs on a shared machine."""


def fit(jobs: Sequence[tuple[Demand, float]], prior: Speed, spread: float = SPREAD) -> Speed:
    """Return the speed that is most probable given jobs and the seconds they took.

    The logarithms of rate, bandwidth and latency have normal priors around ``prior``; those of the times are normal
    around the model's. A part that no job is bound by stays where the prior has it.

    Args:
        jobs: demand and seconds, start not included.
        prior: speed expected before.
        spread: standard deviation of the prior (of log).
    """
    counted = np.array([[job.flops, job.bytes, job.calls] for job, _ in jobs], dtype=float).reshape(-1, 3)
    taken = np.log([max(seconds, 1e-2) for _, seconds in jobs])
    centre = np.log([prior.flops, prior.bytes, prior.call])
    sign = np.array([-1.0, -1.0, 1.0])

    def loss(at: np.ndarray) -> float:
        parts = counted * np.exp(sign * at)
        expected = np.log(np.maximum(parts.max(axis=1), 1e-2))
        return float((((taken - expected) / NOISE) ** 2).sum() + (((at - centre) / spread) ** 2).sum())

    start = np.vstack([centre, *(centre + spread * move for move in (np.diag([1.0, 1, 1]) * -1))])
    found = minimize(loss, centre, method="Nelder-Mead", options={"initial_simplex": start, "maxiter": 2000})
    return Speed(*(float(f"{value:.3g}") for value in np.exp(found.x)))


def fit_kinds(jobs: Iterable[tuple[str, Demand, float]], prior: Speed) -> dict[str, Speed]:
    """Return kind -> speed, and under "" that of all kinds together, which is each one's prior."""
    every = list(jobs)
    whole = fit([(job, seconds) for _, job, seconds in every], prior)
    kinds = sorted({kind for kind, _, _ in every})
    return {"": whole} | {kind: fit([(job, s) for found, job, s in every if found == kind], whole) for kind in kinds}
