"""What a recipe may say and what it says by default (no torch: the Snakefile resolves recipes too)."""

from collections.abc import Mapping

DEFAULTS: dict = {
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "epochs": 1,
    "batch": 128,
    "milestones": [],
    "gamma": 0.1,
    "clip": None,
    "augment": [],
    "criterion": "cross_entropy",
    "precision": "auto",
}
"""The recipe of a run that says nothing. Keys and units are documented in ``config/schema/study.schema.yaml``."""


def resolve(recipe: Mapping) -> dict:
    """Fill a recipe with the defaults, so that what a study leaves out and what it spells out hash alike."""
    return {**DEFAULTS, **recipe}


def resolve_retraining(recipe: Mapping, changes: Mapping) -> dict:
    """Return the recipe of a retraining: the run's own with its first learning rate throughout, then ``changes``.

    The paper does not state the retraining's learning rate, schedule and weight decay; keeping the run's own decay
    and its first learning rate is our choice, and ``fig2_control`` of study trajectories shows what hangs on it.
    """
    return {**resolve(recipe), "milestones": [], **changes}


def learning_rate(recipe: Mapping, epoch: int) -> float:
    """Return the learning rate of an epoch (counted from 0): lr times gamma for each milestone passed."""
    passed = sum(epoch >= round(fraction * recipe["epochs"]) for fraction in recipe["milestones"])
    return float(recipe["lr"] * recipe["gamma"] ** passed)
