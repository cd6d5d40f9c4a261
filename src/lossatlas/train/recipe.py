"""What a recipe may say and what it says by default (no torch: the Snakefile resolves recipes too)."""

from collections.abc import Mapping

from lossatlas.errors import LossatlasError

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


OPTIONAL = ("beta", "poison", "anneal")
"""Keys without a default: a recipe that does not use them resolves, and hashes, as if they did not exist."""

POISON: dict = {"labels": "flipped", "source": "held_out", "points": 200, "fresh": False}
"""D_d of the poisoned objective (:mod:`lossatlas.train.poison`) unless a recipe says otherwise."""


def resolve(recipe: Mapping) -> dict:
    """Fill a recipe with the defaults, so that what a study leaves out and what it spells out hash alike.

    Raises:
        LossatlasError: ``beta`` without ``poison``, or a poisoned objective that cannot be.
    """
    found = {**DEFAULTS, **recipe}
    if "poison" in recipe:
        found["poison"] = {**POISON, **recipe["poison"]}
        found["beta"] = found.get("beta", 0.0)
        if found["criterion"] != "cross_entropy":
            raise LossatlasError("recipe.poison: needs criterion cross_entropy")
        if found["poison"]["fresh"] and found["poison"]["source"] != "generator":
            raise LossatlasError("recipe.poison.fresh: only the source `generator` has new examples for every step")
    elif "beta" in recipe:
        raise LossatlasError("recipe.beta: without `poison` there is no second term to weigh")
    return found


def resolve_retraining(recipe: Mapping, changes: Mapping) -> dict:
    """Return the recipe of a retraining: the run's own with its first learning rate throughout, then ``changes``.

    The paper does not state the retraining's learning rate, schedule and weight decay; keeping the run's own decay
    and its first learning rate is our choice, and ``fig2_control`` of study trajectories shows what hangs on it.
    """
    return {**resolve(recipe), "milestones": [], **changes}


def learning_rate(recipe: Mapping, epoch: int) -> float:
    """Return the learning rate of an epoch (counted from 0): lr times gamma for each milestone passed.

    With ``anneal`` it also falls exponentially, from the share ``after`` of the epochs on, to ``to`` times its value.
    """
    passed = sum(epoch >= round(fraction * recipe["epochs"]) for fraction in recipe["milestones"])
    rate = float(recipe["lr"] * recipe["gamma"] ** passed)
    anneal = recipe.get("anneal")
    if anneal is None:
        return rate
    done = (epoch / recipe["epochs"] - anneal["after"]) / (1 - anneal["after"])
    return rate * float(anneal["to"]) ** max(done, 0.0)
