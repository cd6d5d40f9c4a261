"""What a claim may say. Light on purpose (no NumPy or HDF5): the Snakefile checks every claim with it."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from lossatlas.errors import LossatlasError
from lossatlas.legacy.embed import METHODS
from lossatlas.legacy.figures import SCORES, SETTINGS
from lossatlas.specs.yaml import nearest

OPERATORS = (">", ">=", "<", "<=")

PRESETS = ("quick", "laptop", "paper")
"""Presets from the smallest to the paper's own; ``min_preset`` names one."""

NOT_MEASURABLE = "not measurable at this preset"
VERDICTS = ("holds", "fails", NOT_MEASURABLE)


@dataclass(frozen=True)
class Measure:
    """What a measure takes.

    Attributes:
        doc: what it measures.
        inputs: role -> kind of reference: ``gram``, ``runs`` or ``scores``. A claim may give one reference or a list.
        parameters: parameter -> default.
        values: parameter -> the only values allowed.
    """

    doc: str
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


_OVER = {"steps": None, "seeds": None, "statistic": "mean", "spread": "minmax"}
"""Which trajectories count (null = all), what is made of the directions' values, and the interval over directions."""

_OVER_VALUES = {"statistic": ("mean", "median", "min", "max"), "spread": ("minmax", "bootstrap")}

TRAJECTORY_MEASURES: dict[str, Measure] = {
    "outwardness": Measure(
        "Largest distance from theta_o during a retraining over the jump's: 1 = it never moves outward.",
        {"cloud": "gram"},
        _OVER,
        _OVER_VALUES,
    ),
    "return_fraction": Measure(
        "Last distance from theta_o over the jump's: 0 = back at theta_o, 1 = as far as it was thrown.",
        {"cloud": "gram"},
        _OVER,
        _OVER_VALUES,
    ),
    "direction_kept": Measure(
        "Cosine of the last displacement from theta_o with the jump, or the jump's share left along its direction.",
        {"cloud": "gram"},
        {"quantity": "cosine", **_OVER},
        {"quantity": ("cosine", "left"), **_OVER_VALUES},
    ),
    "lateral": Measure(
        "Share of the squared motion perpendicular to the jump, or to the radius at which the motion takes place.",
        {"cloud": "gram"},
        {"relative_to": "jump", "over": "path", **_OVER},
        {"relative_to": ("jump", "radius"), "over": ("path", "displacement"), **_OVER_VALUES},
    ),
}
"""Measures with one value a trajectory; their spread is over directions."""

_PATH = {"first": None, "second": None, "contrast": "ratio", "statistic": "mean", "spread": "minmax"}
"""Names of the two runs of a cloud of whole trainings, how they are compared, and the interval over replicas."""

_PATH_VALUES = {
    "contrast": ("ratio", "difference"),
    "statistic": ("mean", "median"),
    "spread": ("minmax", "bootstrap"),
}

PATH_MEASURES: dict[str, Measure] = {
    "weight_norm": Measure(
        "L2 norm of the last weights, of run `first` against run `second`.", {"cloud": "gram"}, _PATH, _PATH_VALUES
    ),
    "distance_from_init": Measure(
        "Distance of the last weights from the first, of run `first` against run `second`.",
        {"cloud": "gram"},
        _PATH,
        _PATH_VALUES,
    ),
    "path_length": Measure(
        "Length of the path through the recorded points, of run `first` against run `second`.",
        {"cloud": "gram"},
        _PATH,
        _PATH_VALUES,
    ),
    "straightness": Measure(
        "Path length over displacement (1 = straight, larger = more winding), of run `first` against run `second`.",
        {"cloud": "gram"},
        _PATH,
        _PATH_VALUES,
    ),
}
"""Measures with one value a training, replica by replica; they compare two runs."""

_FACTOR: dict[str, Any] = {
    "of": "return_fraction",
    "quantity": "cosine",
    "relative_to": "jump",
    "over": "path",
    "steps": None,
    "seeds": None,
}

_FACTOR_VALUES = {
    "of": tuple(TRAJECTORY_MEASURES),
    "quantity": ("cosine", "left"),
    "relative_to": ("jump", "radius"),
    "over": ("path", "displacement"),
}

FACTOR_MEASURES: dict[str, Measure] = {
    "factor_effect": Measure(
        "What a factor does to a trajectory measure (`of`): clouds `with` it less their partners `without`, the mean "
        "over pairs. Only jumps (seed and step) that all clouds have are compared.",
        {"with": "gram", "without": "gram"},
        {**_FACTOR, "spread": "bootstrap"},
        {**_FACTOR_VALUES, "spread": ("minmax", "bootstrap")},
    ),
    "factor_ratio": Measure(
        "Size of the effect of with against without over that of good against bad, each averaged over the other: "
        "above 1, the first factor does more to the trajectory measure `of`.",
        dict.fromkeys(("good_with", "good_without", "bad_with", "bad_without"), "gram"),
        _FACTOR,
        _FACTOR_VALUES,
    ),
}
"""Measures on crossed factors; their roles are lists of equal length whose entries belong together."""

_CHOOSE = ("validation", "test")

LEVELSET_MEASURES: dict[str, Measure] = {
    "level_kept": Measure(
        "Largest |L - L0| at the end of any step of any traversal, or (`relative`) that over the path's tolerance.",
        {"cloud": "gram"},
        {"relative": False},
        {"relative": (True, False)},
    ),
    "angle_left": Measure(
        "Share of the way to 180 degrees between grad L and grad R that is left at the end of a traversal.",
        {"cloud": "gram"},
    ),
    "path_change": Measure(
        "A column at the end of a traversal against its start, mean over replicas.",
        {"cloud": "gram"},
        {"quantity": "test_loss", "contrast": "difference"},
        {"quantity": ("norm2", "test_loss", "test_accuracy"), "contrast": ("difference", "ratio")},
    ),
    "rebound": Measure(
        "Largest rise of a column above its least value so far, over its range along the path: 0 = it only falls.",
        {"cloud": "gram"},
        {"quantity": "test_loss"},
        {"quantity": ("norm2", "test_loss")},
    ),
    "decay_gap": Measure(
        "How much better traversals do on the test set than weight decay at its best lambda, or than plain training.",
        {"cloud": "gram"},
        {"against": "decay", "choose": "validation", "optimizer": "sgd"},
        {"against": ("decay", "plain"), "choose": _CHOOSE, "optimizer": ("sgd", "adam")},
    ),
    "means_apart": Measure(
        "Distance of the mean end point from the mean weight-decay point in the first principal axes of the paths (or "
        "in R^D), over the mean length of the paths' displacement there, or over the distance from the origin there.",
        {"cloud": "gram"},
        {"axes": 6, "choose": "validation", "space": "axes", "relative_to": "displacement"},
        {"choose": _CHOOSE, "space": ("axes", "whole"), "relative_to": ("displacement", "origin")},
    ),
    "average_loss": Measure(
        "Loss at the average of the end points over that at the end points, each on its replica's own examples.",
        {"average": "average"},
        {"part": "train"},
        {"part": ("train", "test")},
    ),
    "explained_variance": Measure(
        "Share of the variance of the first traversals along two principal axes: distance from `reference`.",
        {"cloud": "gram"},
        {"traversals": 10, "reference": 0.0},
    ),
}
"""Measures on clouds of level-set traversals."""

BARRIER_MEASURES: dict[str, Measure] = {
    "plane_heights": Measure(
        "Heights of paths on a function's plane: distance from the paper's (largest over lambda), or the lowest.",
        {"paths": "paths"},
        {"of": "optimised", "objective": "squared", "paper": []},
        {"of": ("optimised", "straight", "lowest"), "objective": ("squared", "identity")},
    ),
    "higher_barriers": Measure(
        "How often a path of `first` is higher than one of `second` after `step` steps (null = the last): 0.5 = no "
        "difference; interval over minima.",
        {"first": "paths", "second": "paths"},
        {"quantity": "height", "part": "train", "step": None},
        {"quantity": ("height", "excess"), "part": ("train", "test")},
    ),
    "kernel_separation": Measure(
        "How well two kernel principal components separate two sets (best of `kernels`): 0.5 = not at all, 1 = fully.",
        {"kernels": "kernels"},
        {"kernels": ["rbf"], "variant": "trained", "score": "plane"},
        {"variant": ("trained", "equal_norms", "random_directions", "gaussian"), "score": ("plane", "pc1")},
    ),
    "shell_order": Measure(
        "How often a point of the first of `sets` is further from the middle of the centroids of `centres`.",
        {"cloud": "gram"},
        {"sets": [], "centres": []},
    ),
    "centroids_apart": Measure(
        "Distance of two centroids from their middle over that of the nearest point, or over what chance alone gives.",
        {"cloud": "gram"},
        {"sets": [], "centres": [], "relative_to": "nearest"},
        {"relative_to": ("nearest", "chance")},
    ),
}
"""Measures on paths between minima, kernel projections and shells."""

_LOSS = ("train_loss", "test_loss")
_BOUND = ("mean", "low", "high")

SOLUTION_MEASURES: dict[str, Measure] = {
    "solution_losses": Measure(
        "Mean loss of one set of solutions over that of another, or an end of its 95% interval (`bound`).",
        {"first": "gram", "second": "gram"},
        {"quantity": "train_loss", "bound": "mean"},
        {"quantity": _LOSS, "bound": _BOUND},
    ),
    "best_rate": Measure(
        "Mean loss of a set of solutions over that of a scan of learning rates at its best one.",
        {"first": "gram", "scan": "gram"},
        {"quantity": "test_loss", "bound": "mean"},
        {"quantity": _LOSS, "bound": _BOUND},
    ),
    "weight_spread": Measure(
        "Standard deviation of all weights of a set of solutions, or their mean length, over that of another set.",
        {"first": "gram", "second": "gram"},
        {"quantity": "std", "bound": "mean"},
        {"quantity": ("std", "norm"), "bound": _BOUND},
    ),
}
"""Measures on clouds of the best members of sweeps."""

_COLUMNS = ("log10_volume", "log10_volume_distance", "radius_median", "radius_largest")

GENERALIZATION_MEASURES: dict[str, Measure] = {
    "basin_rank": Measure(
        "Spearman's rank correlation of two columns over minima, times `sign`; the worst of the cutoffs (null = all).",
        {"volume": "volume"},
        {"x": "test_accuracy", "y": "log10_volume", "sign": 1, "cutoff": None},
        {"x": ("test_accuracy", "gap", "value"), "y": _COLUMNS, "sign": (1, -1)},
    ),
    "volume_gap": Measure(
        "Log10 volume of the minima `first` (of one swept value) less that of `second`, mean over replicas.",
        {"first": "volume", "second": "volume"},
        {"first_value": None, "second_value": None, "cutoff": 0.1, "column": "log10_volume"},
        {"column": _COLUMNS},
    ),
    "effective_directions": Measure(
        "Median effective number of directions behind the volumes.", {"volume": "volume"}, {"cutoff": 0.1}
    ),
    "least_accuracy": Measure(
        "Smallest accuracy among minima whose swept value is at most `up_to`.",
        {"volume": "volume"},
        {"quantity": "train_accuracy", "up_to": 1.0},
        {"quantity": ("train_accuracy", "test_accuracy")},
    ),
    "poisoned": Measure(
        "Of minima poisoned from the iterates of a run: least train or largest test accuracy; or where the run ends.",
        {"cloud": "gram"},
        {"quantity": "train_accuracy"},
        {"quantity": ("train_accuracy", "test_accuracy", "sgd_test_accuracy")},
    ),
    "proximity": Measure(
        "Median distance of poisoned minima from their start over the distance between the run's ends.",
        {"cloud": "gram"},
    ),
    "circle_found": Measure(
        "Mean share right on the blue and on the inner red ring, or train accuracy, over replicas.",
        {"boundaries": "boundaries"},
        {"quantity": "separation", "statistic": "mean"},
        {"quantity": ("separation", "train_accuracy"), "statistic": ("mean", "min", "max")},
    ),
    "least_gap": Measure(
        "Test accuracy of the worst of the runs `better` less the mean of those `worse`.",
        {"better": "runs", "worse": "runs"},
    ),
}
"""Measures on basins, poisoned minima and decision boundaries."""

MEASURES: dict[str, Measure] = {
    **TRAJECTORY_MEASURES,
    **GENERALIZATION_MEASURES,
    **SOLUTION_MEASURES,
    **LEVELSET_MEASURES,
    **BARRIER_MEASURES,
    **PATH_MEASURES,
    **FACTOR_MEASURES,
    "best_method": Measure(
        "Score of an embedding method less that of the best other method, on each cloud (above 0: it is the best).",
        {"scores": "scores"},
        {"score": "demap", "method": "phate", "metric": "euclidean", "settings": "defaults"},
        {"score": SCORES, "metric": ("euclidean", "cosine"), "settings": SETTINGS, "method": tuple(METHODS)},
    ),
    "contrast": Measure(
        "A trajectory measure (`of`) in `first` against `second`: clouds, or step sizes of one cloud.",
        {"first": "gram", "second": "gram"},
        {
            "of": "outwardness",
            "contrast": "difference",
            "first_steps": None,
            "second_steps": None,
            "quantity": "cosine",
            "relative_to": "jump",
            "over": "path",
            **_OVER,
        },
        {
            "of": tuple(TRAJECTORY_MEASURES),
            "contrast": ("difference", "ratio"),
            "quantity": ("cosine", "left"),
            "relative_to": ("jump", "radius"),
            "over": ("path", "displacement"),
            **_OVER_VALUES,
        },
    ),
    "accuracy_gap": Measure(
        "Mean accuracy of run `better` less that of run `worse`, at the last recorded epoch.",
        {"better": "runs", "worse": "runs"},
        {"quantity": "test_accuracy", "spread": "minmax"},
        {"quantity": ("test_accuracy", "train_accuracy"), "spread": ("minmax", "bootstrap")},
    ),
    "negative_curvature": Measure(
        "Share of a plane's points with |lambda_min / lambda_max| above a threshold: `first` less `second`.",
        {"first": "grid", "second": "grid"},
        {"above": 0.1},
    ),
    "bent": Measure(
        "Share of a plane's inner points at which its surface is not convex: `first` less `second`.",
        {"first": "grid", "second": "grid"},
    ),
    "flattening": Measure(
        "Rank correlation of the median rise of the loss within `reach` with a plane's place in the list.",
        {"planes": "grid"},
        {"reach": 0.5},
    ),
    "sharpness_rank": Measure(
        "Rank correlation of sharpness under `of` with the test error, less the best of those `against`.",
        {"lines": "grid"},
        {"of": "filter", "against": [], "measure": "rise", "reach": 0.5, "least": 8},
        {"of": ("none", "layer", "filter"), "measure": ("rise", "worst", "curvature")},
    ),
    "sharpness_ratio": Measure(
        "Sharpness of `first` over that of `second`: medians over directions and replicas.",
        {"first": "grid", "second": "grid"},
        {"normalise": "filter", "measure": "rise", "reach": 0.5},
        {"normalise": ("none", "layer", "filter"), "measure": ("rise", "worst", "curvature")},
    ),
    "path_share": Measure(
        "Share of a path's variance in its first principal axes: the smallest or the largest among paths.",
        {"paths": "path_gram"},
        {"axes": 2, "statistic": "min"},
        {"statistic": ("min", "max")},
    ),
    "plane_share": Measure(
        "Share of a path's variance in a plane that is not its principal one: the largest among planes.",
        {"planes": "grid"},
    ),
    "convex_ratio": Measure(
        "Median |lambda_min / lambda_max| where a plane looks convex, by itself or less the median elsewhere.",
        {"maps": "grid"},
        {"relative_to": None},
        {"relative_to": (None, "other")},
    ),
    "descent_angle": Measure(
        "Mean angle (or its distance from `about`) of steps with the negative gradient: early, late, late less early.",
        {"descents": "descent"},
        {"when": "early", "space": "plane", "share": 1 / 3, "about": 0},
        {"when": ("early", "late", "change"), "space": ("plane", "full")},
    ),
    "max_train_loss": Measure(
        "Largest training loss of any run at its last recorded epoch; a run that diverged counts as infinite.",
        {"runs": "runs"},
    ),
    "min_accuracy": Measure(
        "Smallest accuracy of any run at its last recorded epoch; a run without a finite one counts as 0.",
        {"runs": "runs"},
        {"quantity": "test_accuracy"},
        {"quantity": ("test_accuracy", "train_accuracy")},
    ),
}
"""Every measure, by name."""

_KEYS = ("id", "sentence", "paper", "measure", "inputs", "parameters", "holds", "min_preset", "measurable_if")
_CONDITION_KEYS = ("measure", "parameters", "holds", "reason")


def check(claim: Mapping[str, Any]) -> None:
    """Raise a :class:`LossatlasError` when :func:`resolve` would."""
    resolve(claim)


def resolve(claim: Mapping[str, Any]) -> dict[str, Any]:
    """Check a claim and fill in its measure's default parameters.

    A claim has the keys ``id``, ``sentence``, ``paper`` (text or number), ``measure``, ``inputs`` (role -> reference
    such as ``{gram: cloud}`` or ``{runs: name}``, or a list of them), ``parameters``, ``holds`` ({op, value}),
    ``min_preset`` (smallest preset at which it can be measured) and ``measurable_if`` (a second measure on the same
    inputs that must hold first: {measure, parameters, holds, reason}).

    Args:
        claim: the mapping of the study's YAML.

    Returns:
        A new mapping with every key; ``paper``, ``min_preset`` and ``measurable_if`` may be None.

    Raises:
        LossatlasError: one line for each mistake: the key, what was found, the nearest valid key or value.
    """
    mistakes = _unknown(claim, _KEYS, "")
    mistakes += [f"{key}: missing" for key in ("id", "sentence", "measure", "holds") if key not in claim]
    resolved = {key: claim.get(key) for key in _KEYS}
    inputs = dict(claim.get("inputs") or {})
    resolved["inputs"] = inputs
    resolved["parameters"] = _measure(claim, "", mistakes)
    condition = claim.get("measurable_if")
    roles = _roles(claim)
    if condition is not None:
        mistakes += _unknown(condition, _CONDITION_KEYS, "measurable_if.")
        resolved["measurable_if"] = {
            "measure": condition.get("measure"),
            "parameters": _measure(condition, "measurable_if.", mistakes),
            "holds": condition.get("holds"),
            "reason": condition.get("reason", ""),
        }
        roles |= _roles(condition)
        mistakes += [f"measurable_if.{key}: missing" for key in ("measure", "holds") if key not in condition]
    for part, prefix in ((claim, ""), (condition or {}, "measurable_if.")):
        if "holds" in part:
            mistakes += _threshold(part["holds"], prefix)
    if roles:
        mistakes += _inputs(inputs, roles)
    for part in (claim, condition or {}):
        if part.get("measure") in FACTOR_MEASURES:
            counts = {role: len(v) if isinstance(v := inputs.get(role), list) else 1 for role in _roles(part)}
            if len(set(counts.values())) > 1:
                found = ", ".join(f"{role} {count}" for role, count in counts.items())
                mistakes.append(f"inputs: {found} clouds; give the same number to each role, in the same order")
    if resolved["min_preset"] is not None and resolved["min_preset"] not in PRESETS:
        mistakes.append(
            f"min_preset: {resolved['min_preset']!r} is not a preset; {nearest(resolved['min_preset'], list(PRESETS))}"
        )
    if mistakes:
        raise LossatlasError("\n".join(mistakes))
    return resolved


def _unknown(given: Mapping[str, Any], keys: tuple[str, ...], prefix: str) -> list[str]:
    return [f"{prefix}{key}: unknown key; {nearest(key, list(keys))}" for key in given if key not in keys]


def _roles(part: Mapping[str, Any]) -> dict[str, str]:
    measure = MEASURES.get(part.get("measure", ""))
    return dict(measure.inputs) if measure else {}


def _measure(part: Mapping[str, Any], prefix: str, mistakes: list[str]) -> dict[str, Any]:
    """Check a measure's name and parameters; return the parameters with defaults filled in."""
    name = part.get("measure")
    if name is None:
        return {}
    if name not in MEASURES:
        mistakes.append(f"{prefix}measure: {name!r} is not a measure; {nearest(name, list(MEASURES))}")
        return {}
    known = MEASURES[name]
    given = part.get("parameters") or {}
    mistakes += _unknown(given, tuple(known.parameters), f"{prefix}parameters.")
    for key, allowed in known.values.items():
        if key in given and given[key] not in allowed:
            mistakes.append(
                f"{prefix}parameters.{key}: {given[key]!r} is not allowed; {nearest(given[key], list(allowed))}"
            )
    mistakes += [
        f"{prefix}parameters.{key}: missing; name a run of the cloud"
        for key in ("first", "second")
        if name in PATH_MEASURES and given.get(key) is None
    ]
    for key in ("steps", "seeds", "first_steps", "second_steps"):
        value = given.get(key)
        if value is not None and (not isinstance(value, list) or not value):
            mistakes.append(f"{prefix}parameters.{key}: {value!r} is not a list of numbers; write [{value}] or null")
    return {key: copy(given.get(key, default)) for key, default in known.parameters.items()}


def _threshold(holds: Any, prefix: str) -> list[str]:
    if not isinstance(holds, Mapping) or set(holds) != {"op", "value"}:
        return [f"{prefix}holds: {holds!r} is not a threshold; write {{op: '>', value: 1.0}}"]
    mistakes = []
    if holds["op"] not in OPERATORS:
        mistakes.append(f"{prefix}holds.op: {holds['op']!r} is not allowed; valid: {', '.join(OPERATORS)}")
    if isinstance(holds["value"], bool) or not isinstance(holds["value"], int | float):
        mistakes.append(f"{prefix}holds.value: {holds['value']!r} is not a number")
    return mistakes


def _inputs(given: Mapping[str, Any], roles: Mapping[str, str]) -> list[str]:
    mistakes = [f"inputs.{role}: missing; write {{{kind}: name}}" for role, kind in roles.items() if role not in given]
    mistakes += [f"inputs.{role}: unknown key; {nearest(role, list(roles))}" for role in given if role not in roles]
    for role, kind in roles.items():
        references = given.get(role, [])
        for reference in references if isinstance(references, list) else [references]:
            accepted = {"runs": ("run", "runs"), "grid": ("grid", "grids")}.get(kind, (kind,))
            if not isinstance(reference, Mapping) or len(reference) != 1 or next(iter(reference)) not in accepted:
                mistakes.append(f"inputs.{role}: {reference!r} is not of the kind it takes; write {{{kind}: name}}")
    return mistakes
