"""Settings of low paths that a study and the pure method share. Light."""

from typing import Literal, get_args

TERMS, POINTS, PENALTY, LR = 10, 50, 1e-4, 3e-3
"""Defaults of a path and of its optimisation (:class:`lossatlas.barriers.pathfinder.Settings`)."""

Objective = Literal["identity", "squared"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
"""What may be summed over the points of a path: the loss itself, or its square."""
