"""Embedding methods, their parameters and defaults.

No numerical library is imported here, so that the Snakefile can check studies with it. A spec is a mapping such as
``{"method": "umap", "metric": "cosine", "n_neighbors": 30}``; parameters may also stand in a mapping of their own under
``parameters``.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from lossatlas.errors import LossatlasError

Kind = Literal["integer", "number", "choice"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    Attributes:
        default: used when the spec does not name the parameter.
        kind: what a value may be besides one of ``words``.
        words: text values (or None) allowed beside numbers, or all there are (kind ``choice``).
        least: smallest number allowed.
        strict: whether numbers must exceed ``least``.
        help: one sentence.
    """

    default: Any
    kind: Kind
    words: tuple[str | None, ...] = ()
    least: float = 0.0
    strict: bool = False
    help: str = ""

    def expected(self) -> str:
        """Return what a value may be, in words."""
        words = ["null" if word is None else repr(word) for word in self.words]
        if self.kind != "choice":
            bound = "above" if self.strict else "of at least"
            words.insert(0, f"{'an integer' if self.kind == 'integer' else 'a number'} {bound} {self.least:g}")
        return " or ".join(words)

    def accepts(self, value: Any) -> bool:
        """Tell whether a value is allowed."""
        if value is None or isinstance(value, str):
            return value in self.words
        if isinstance(value, bool) or self.kind == "choice" or not isinstance(value, int | float):
            return False
        if self.kind == "integer" and value != int(value):
            return False
        return value > self.least if self.strict else value >= self.least


@dataclass(frozen=True)
class Method:
    """One embedding method.

    Attributes:
        metrics: the metrics it takes, the default first.
        parameters: name to parameter.
        seeded: whether the result depends on the seed.
        help: one sentence.
    """

    metrics: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    seeded: bool
    help: str


_ANY = -float("inf")

METHODS: Mapping[str, Method] = {
    "phate": Method(
        metrics=("euclidean", "cosine"),
        parameters={
            "knn": Parameter("auto", "integer", ("auto",), 1, help="neighbours; auto: 5, at most n - 2"),
            "decay": Parameter(40, "number", strict=True, help="exponent of the kernel's tails"),
            "t": Parameter("auto", "integer", ("auto",), 1, help="diffusion time; auto: knee of the entropy"),
            "gamma": Parameter(1, "number", least=-1, help="1: log potential, 0: square root, -1: none"),
            "mds": Parameter("metric", "choice", ("metric", "classic", "nonmetric"), help="multidimensional scaling"),
            "mds_solver": Parameter("smacof", "choice", ("smacof", "sgd"), help="solver of metric scaling"),
            "n_landmark": Parameter(2000, "integer", (None,), 1, help="landmarks, used when n is larger; null: none"),
        },
        seeded=True,
        help="potential of heat diffusion (Moon et al. 2019)",
    ),
    "tsne": Method(
        metrics=("euclidean", "cosine"),
        parameters={
            "perplexity": Parameter("auto", "number", ("auto",), strict=True, help="auto: min(30, (n - 1) / 3)"),
            "early_exaggeration": Parameter(12.0, "number", least=1, help="factor on the attractions at the start"),
            "learning_rate": Parameter("auto", "number", ("auto",), strict=True, help="auto: max(n / 48, 50)"),
            "max_iter": Parameter(1000, "integer", least=251, help="iterations, 250 of them with exaggeration"),
            "init": Parameter("pca", "choice", ("pca", "random"), help="start; pca: exact scores scaled to 1e-4"),
            "angle": Parameter(0.5, "number", help="Barnes-Hut approximation, at most 1; 0: exact"),
        },
        seeded=True,
        help="t-distributed stochastic neighbour embedding (van der Maaten and Hinton 2008)",
    ),
    "umap": Method(
        metrics=("euclidean", "cosine"),
        parameters={
            "n_neighbors": Parameter("auto", "integer", ("auto",), 2, help="auto: 15, at most n - 1"),
            "min_dist": Parameter(0.1, "number", help="least distance in the embedding"),
            "spread": Parameter(1.0, "number", strict=True, help="scale of the embedding"),
            "n_epochs": Parameter(None, "integer", (None,), 1, help="epochs; null: by size"),
            "learning_rate": Parameter(1.0, "number", strict=True, help="first learning rate"),
            "negative_sample_rate": Parameter(5, "integer", least=1, help="repelled points an attracted one"),
            "init": Parameter("spectral", "choice", ("spectral", "pca", "random"), help="start; pca: exact scores"),
        },
        seeded=True,
        help="uniform manifold approximation (McInnes et al. 2018)",
    ),
    "pca": Method(
        metrics=("euclidean",), parameters={}, seeded=False, help="scores of the two first principal components, exact"
    ),
    "kpca": Method(
        metrics=("euclidean",),
        parameters={
            "kernel": Parameter("rbf", "choice", ("rbf", "linear", "poly", "sigmoid"), help="kernel"),
            "gamma": Parameter(None, "number", (None,), strict=True, help="scale of rbf, poly, sigmoid; null: 1 / D"),
            "two_sigma2": Parameter(
                None, "number", (None, "dimension"), strict=True, help="rbf only: 1 / gamma; dimension: D"
            ),
            "degree": Parameter(3, "number", strict=True, help="degree of poly"),
            "coef0": Parameter(1.0, "number", least=_ANY, help="constant of poly and sigmoid"),
        },
        seeded=False,
        help="kernel principal components (Schölkopf et al. 1998)",
    ),
    "random": Method(
        metrics=("euclidean",),
        parameters={
            "directions": Parameter(
                "orthonormal",
                "choice",
                ("orthonormal", "gaussian"),
                help="orthonormal: orthogonal projection onto a uniformly random plane; gaussian: x.d with d ~ N(0, I)",
            ),
        },
        seeded=True,
        help="projection onto a random plane of R^D",
    ),
}
"""Every method by name."""

_SPEC_KEYS = ("method", "metric", "parameters")


def nearest(name: Any, valid: Any) -> str:
    """Return a hint with the valid names most like ``name``, or all of them."""
    names = [str(item) for item in valid]
    close = difflib.get_close_matches(str(name), names, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"valid: {', '.join(names) or 'none'}"


def defaults(method: str) -> dict[str, Any]:
    """Return the default parameters of a method."""
    return {name: parameter.default for name, parameter in _method(method).parameters.items()}


def check(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Check the spec of an embedding and fill in its defaults.

    Args:
        spec: ``method``, optionally ``metric``, and parameters beside them or under ``parameters``.

    Returns:
        ``{"method": ..., "metric": ..., "parameters": {every parameter: value}}``: equal specs give equal results,
        whichever defaults were spelt out.

    Raises:
        LossatlasError: unknown method, metric or parameter, or a wrong value; the message has the nearest valid names.
    """
    if "method" not in spec:
        raise LossatlasError(f"embedding without 'method'; valid: {', '.join(METHODS)}")
    name = spec["method"]
    method = _method(name)
    metric = spec.get("metric", method.metrics[0])
    if metric not in method.metrics:
        raise LossatlasError(f"embedding {name}: metric {metric!r} is not available; {nearest(metric, method.metrics)}")
    given = dict(spec.get("parameters") or {})
    given.update({key: value for key, value in spec.items() if key not in _SPEC_KEYS})
    for key, value in given.items():
        if key not in method.parameters:
            raise LossatlasError(f"embedding {name}: unknown parameter {key!r}; {nearest(key, method.parameters)}")
        if not method.parameters[key].accepts(value):
            expected = method.parameters[key].expected()
            raise LossatlasError(f"embedding {name}: {key} = {value!r}; expected {expected}")
    if name == "kpca":
        _check_kernel(given)
    filled = {key: given.get(key, parameter.default) for key, parameter in method.parameters.items()}
    return {"method": name, "metric": metric, "parameters": filled}


def settings(methods: Mapping[str, Mapping[str, list[Any]]], metrics: list[str]) -> list[dict[str, Any]]:
    """Return the settings of a comparison: every method at its defaults, then its sweep, under each metric it takes.

    Args:
        methods: method -> parameter -> values; the sweep is their product.
        metrics: a method that takes none of them is run under its own default.

    Returns:
        {``method``, ``metric``, ``setting``} each, where the setting holds the parameters that are not defaults.

    Raises:
        LossatlasError: an unknown name, a wrong value, or methods whose sweeps differ in length: each of them is to
            have the same number of attempts.
    """
    found = []
    sizes: dict[str, int] = {}
    for name, sweep in methods.items():
        grid = [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())] if sweep else []
        sizes |= {name: len(grid)} if grid else {}
        for setting in [{}, *grid]:
            check({"method": name, "parameters": setting})
        known = _method(name).metrics
        for metric in [metric for metric in metrics if metric in known] or [known[0]]:
            found += [{"method": name, "metric": metric, "setting": setting} for setting in [{}, *grid]]
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise LossatlasError(f"methods: sweeps of different length ({counts}); give each the same number of settings")
    return found


def _check_kernel(given: Mapping[str, Any]) -> None:
    if given.get("two_sigma2") is not None:
        if given.get("gamma") is not None:
            raise LossatlasError("embedding kpca: gamma and two_sigma2 = 1 / gamma are both given; leave one out")
        if given.get("kernel", "rbf") != "rbf":
            raise LossatlasError("embedding kpca: two_sigma2 belongs to the kernel rbf; use gamma instead")


def _method(name: Any) -> Method:
    if not isinstance(name, str) or name not in METHODS:
        raise LossatlasError(f"unknown embedding method {name!r}; {nearest(name, METHODS)}")
    return METHODS[name]
