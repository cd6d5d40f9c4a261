"""What a recipe may say and what it says by default (no torch: the Snakefile resolves recipes too)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lossatlas.errors import LossatlasError
from lossatlas.specs.yaml import nearest

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


@dataclass(frozen=True)
class Optimizer:
    """An optimiser a recipe may name.

    Attributes:
        builder: ``module:class`` of a torch optimiser; imported when a training starts.
        keys: the keys of a recipe that it takes, as keywords of the same name.
        options: its own keywords with their defaults, which a recipe sets under ``options``. A number's type is the
            default's; a list is a list of as many numbers; a tuple holds the words allowed, the default first.
        fixed: keywords that are always the same.
        closure: whether a step evaluates the loss several times; it then takes a closure, as torch's L-BFGS does.
    """

    builder: str
    keys: tuple[str, ...] = ("lr", "weight_decay")
    options: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    closure: bool = False


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer("torch.optim:SGD", ("lr", "momentum", "weight_decay", "nesterov")),
    # Fused: one pass over each parameter. On small networks the update is most of a step: 0.85 -> 0.45 ms a step.
    "adam": Optimizer("torch.optim:Adam", fixed={"fused": True}),
    "lbfgs_gss": Optimizer(
        "lossatlas.train.lbfgs_gss:LBFGSGoldenSection", (), {"history": 10, "evaluations": 6}, closure=True
    ),
    # Those of table 1 of Huang et al. (2020), with torch's defaults; the study gives its hyperparameters.
    "adadelta": Optimizer("torch.optim:Adadelta", options={"rho": 0.9}),
    "adagrad": Optimizer("torch.optim:Adagrad"),
    "adamax": Optimizer("torch.optim:Adamax", options={"betas": [0.9, 0.999]}),
    "amsgrad": Optimizer("torch.optim:Adam", options={"betas": [0.9, 0.999]}, fixed={"amsgrad": True}),
    "asgd": Optimizer("torch.optim:ASGD", options={"lambd": 1e-4, "alpha": 0.75}),
    "rmsprop": Optimizer("torch.optim:RMSprop", ("lr", "momentum", "weight_decay"), options={"alpha": 0.99}),
    "lbfgs_armijo": Optimizer(
        "lossatlas.train.lbfgs_armijo:LBFGSArmijo", ("lr",), options={"history": 5, "evaluations": 20}, closure=True
    ),
    "proxprop": Optimizer("lossatlas.train.proxprop:ProxProp", options={"tau": 0.5, "iterations": 10}),
}
"""Every optimiser by the name a recipe gives it. A new one is one line; ``lossatlas.train.optimizers`` makes it."""

WORKERS = ("weight_decay", "momentum", "nesterov")
"""Keys that change what is minimised or how: an optimiser without them must not be given any."""


def resolve(recipe: Mapping) -> dict:
    """Fill a recipe with the defaults, so that what a study leaves out and what it spells out hash alike.

    Raises:
        LossatlasError: an unknown optimiser or option, a wrong value, a key that the optimiser cannot follow,
            or a poisoned objective that cannot be.
    """
    found = {**DEFAULTS, **recipe}
    name = found["optimizer"]
    if name not in OPTIMIZERS:
        raise LossatlasError(f"recipe.optimizer: {name!r} is not an optimiser; {nearest(name, list(OPTIMIZERS))}")
    optimizer = OPTIMIZERS[name]
    options = _options(name, optimizer.options, found.pop("options", {}))
    if optimizer.closure:
        _check_closure(name, optimizer, found)
    _poison(found, optimizer)
    return {**found, "options": options} if options else found


def change(recipe: Mapping, changes: Mapping) -> dict:
    """Return a resolved recipe with some keys replaced; options stay as long as the optimiser does."""
    kept = dict(recipe)
    if changes.get("optimizer", kept["optimizer"]) != kept["optimizer"]:
        kept.pop("options", None)
    options = {**kept.get("options", {}), **changes.get("options", {})}
    if "poison" in changes:
        changes = {**changes, "poison": {**kept.get("poison", {}), **changes["poison"]}}
    return resolve({**kept, **changes, **({"options": options} if options else {})})


def resolve_retraining(recipe: Mapping, changes: Mapping) -> dict:
    """Return the recipe of a retraining: the run's own with its first learning rate throughout, then ``changes``.

    The paper does not state the retraining's learning rate, schedule and weight decay; keeping the run's own decay
    and its first learning rate is our choice, and ``fig2_control`` of study trajectories shows what hangs on it.
    """
    return change({**resolve(recipe), "milestones": []}, changes)


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


def _options(name: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimiser's options, checked and complete."""
    for key, value in given.items():
        if key not in known:
            hint = nearest(key, list(known)) if known else "it has none"
            raise LossatlasError(f"recipe.options.{key}: unknown option of {name}; {hint}")
        if not _accepts(known[key], value):
            raise LossatlasError(f"recipe.options.{key}: {value!r} does not fit; expected {_expected(known[key])}")
    first = {key: default[0] if isinstance(default, tuple) else default for key, default in known.items()}
    return {**first, **given}


def _accepts(default: Any, value: Any) -> bool:
    if isinstance(default, tuple):
        return value in default
    if isinstance(default, list):
        return isinstance(value, list) and len(value) == len(default) and all(map(_is_number, value))
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int) and value > 0 if isinstance(default, int) else _is_number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _expected(default: Any) -> str:
    """Return what an option must be, in words."""
    if isinstance(default, tuple):
        return "one of " + ", ".join(map(str, default))
    if isinstance(default, list):
        return f"a list of {len(default)} numbers"
    return {bool: "true or false", int: "an integer above 0"}.get(type(default), "a number")


def _check_closure(name: str, optimizer: Optimizer, recipe: Mapping) -> None:
    """Raise for keys that an optimiser which evaluates the loss itself would pass over in silence."""
    for key in WORKERS:
        if key not in optimizer.keys and recipe[key] != DEFAULTS[key]:
            raise LossatlasError(f"recipe.{key}: {name} has none; remove it")
    if recipe["clip"] is not None:
        raise LossatlasError(f"recipe.clip: {name} chooses its steps by the loss; remove it")


def _poison(recipe: dict, optimizer: Optimizer) -> None:
    """Fill in D_d of the poisoned objective, where a recipe has one, and check it."""
    if "poison" not in recipe:
        if "beta" in recipe:
            raise LossatlasError("recipe.beta: without `poison` there is no second term to weigh")
        return
    recipe["poison"] = {**POISON, **recipe["poison"]}
    recipe["beta"] = recipe.get("beta", 0.0)
    if recipe["criterion"] != "cross_entropy":
        raise LossatlasError("recipe.poison: needs criterion cross_entropy")
    if optimizer.closure or recipe["batch"] is None:
        raise LossatlasError("recipe.poison: needs minibatches (`batch: n`) and an optimiser that takes them")
    if recipe["poison"]["fresh"] and recipe["poison"]["source"] != "generator":
        raise LossatlasError("recipe.poison.fresh: only the source `generator` has new examples for every step")
