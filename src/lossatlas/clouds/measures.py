"""Measures on the scores of embedding methods."""

import numpy as np

from lossatlas.claims.measurement import Measurement, nothing
from lossatlas.clouds.numbers import Scores
from lossatlas.clouds.spec import EXACT, BestMethod
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import of_mean


def best_method(spec: BestMethod, inputs: Inputs) -> Measurement:
    """Measure how far a method is ahead of the best other one, with means over seeds on each cloud.

    The value is the mean over clouds of (the method's mean - the largest mean of another method). Clouds are the units:
    seeds of an embedding draw nothing of what is embedded. A method that does not take the metric asked for counts
    under its own; the cloud itself (``exact``) does not compete, and where it scores less than ``least`` the cloud is
    left out.
    """
    method, score, settings = spec.method, spec.score, spec.settings
    gaps, details = [], []
    for scores in inputs.given(spec.scores):
        if spec.least is not None and _exact(scores, score) < spec.least:
            details.append(f"{scores.name}: left out, R^D itself scores {_exact(scores, score):.3f}")
            continue
        metrics: dict[str, list[str]] = {}
        for name, metric in scores.methods():
            metrics.setdefault(name, []).append(metric)
        found = {}
        for name, taken in metrics.items():
            metric = spec.metric if spec.metric in taken else taken[0]
            values = scores.values(name, metric, score, settings)
            if name != EXACT and len(values):
                found[name] = values
        if method not in found or len(found) < 2:
            absent = "no cloud to select settings on" if settings == "selected" and not scores.select else "not scored"
            return nothing(f"{scores.name}: {absent}: {score} of {method} or of any other method")
        mine = found.pop(method)
        best = max(found, key=lambda name: found[name].mean())
        gaps.append(float(mine.mean() - found[best].mean()))
        others = ", ".join(f"{name} {values.mean():.3f}" for name, values in found.items())
        details.append(f"{scores.name}: {method} {mine.mean():.3f}, {others}")
    if not gaps:
        return nothing("; ".join(details))
    detail = f"best on {sum(gap > 0 for gap in gaps)} of {len(gaps)} clouds; " + "; ".join(details)
    return Measurement(float(np.mean(gaps)), of_mean(gaps), len(gaps), detail, "clouds", gaps)


def _exact(scores: Scores, score: str) -> float:
    """Return what R^D itself scores; at its one row the setting is that of the library's defaults."""
    return float(scores.values(EXACT, "euclidean", score, "defaults").mean())
