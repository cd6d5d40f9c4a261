"""Path and kernel probes of a study, resolved into artefacts; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from lossatlas.legacy.interests import PATH_FUNCTIONS
from lossatlas.legacy.probes import probe_entry
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.yaml import nearest
from lossatlas.train.seeds import training_seeds

if TYPE_CHECKING:
    from lossatlas.legacy.plan import StudyPlan

PATH: dict[str, Any] = {
    "cloud": None,
    "function": None,
    "ends": None,
    "pairs": 300,
    "seed": 0,
    "terms": 10,
    "points": 50,
    "penalties": [1e-4],
    "objectives": ["identity"],
    "lr": 3e-3,
    "steps": 300,
    "record": [],
    "fit": "train",
    "minibatch": None,
    "precision": "float32",
    "batch": 500,
    "grain": 10,
}
"""``terms``, ``points``, ``penalties`` and ``pairs`` are the paper's; it gives neither steps nor a learning rate."""

KERNELS: dict[str, Any] = {
    "cloud": None,
    "sets": None,
    "kernels": ["rbf", "linear", "poly", "sigmoid"],
    "sigmas": None,
    "count": 48,
    "permutations": 2000,
    "seed": 0,
}
"""The RBF kernel is the paper's, 2 sigma^2 = D; the others are scikit-learn's with gamma = 1 / D."""


def paths(study: StudyPlan, name: str, key: str) -> list[Artefact]:
    """Return the parts of a path probe: its pairs under every objective and penalty, ``grain`` a job."""
    given = probe_entry(study, "path", name, key)
    entry = {**PATH, **given}
    where = f"probes.{name}.path"
    if (entry["cloud"] is None) == (entry["function"] is None):
        raise study.error(where, "give either cloud or function")
    settings = {part: entry[part] for part in ("terms", "points", "lr", "steps")}
    late = [step for step in entry["record"] if step > entry["steps"]]
    if late:
        raise study.error(f"{where}.record", f"step {late[0]} is beyond the last, {entry['steps']}")
    record = sorted({*entry["record"], 0, entry["steps"]})
    spec: dict[str, Any] = {"settings": settings, "record": record}
    inputs: dict[str, tuple[Artefact, ...]] = {}
    if entry["function"] is not None:
        spec |= _function(study, entry, where)
        pairs = [0]
    else:
        network, inputs = _network(study, entry, where)
        spec |= network
        pairs = list(range(entry["pairs"]))
    members = [
        {"pair": pair, "objective": objective, "penalty": penalty}
        for pair, objective, penalty in product(pairs, entry["objectives"], entry["penalties"])
    ]
    size = entry["grain"]
    parts = [members[i : i + size] for i in range(0, len(members), size)]
    return [Artefact("paths", spec["label"], {**spec, "members": part}, inputs) for part in parts]


def _function(study: StudyPlan, entry: Mapping, where: str) -> dict[str, Any]:
    if entry["function"] not in PATH_FUNCTIONS:
        known = list(PATH_FUNCTIONS)
        raise study.error(f"{where}.function", f"{entry['function']!r} is not one; {nearest(entry['function'], known)}")
    if entry["ends"] is None:
        raise study.error(f"{where}.ends", "missing; give the two points that a path joins")
    return {"function": entry["function"], "ends": entry["ends"], "label": entry["function"].replace("_", "-")}


def _network(study: StudyPlan, entry: Mapping, where: str) -> tuple[dict[str, Any], dict[str, tuple[Artefact, ...]]]:
    """Return the network whose losses a path is measured by, and the inputs: data and the cloud of its points.

    All points of the cloud must have one landscape: trained on the same examples and labels.
    """
    cloud = study.cloud(entry["cloud"], f"{where}.cloud")
    trained = [part for part in cloud.ancestry() if "model" in part.spec]
    if not trained:
        raise study.error(f"{where}.cloud", f"{entry['cloud']!r} is not a cloud of networks")
    source = trained[0]
    kept = ("label", "labels", "model")
    same = {(part.input_hashes()["data"][0], str([part.spec[k] for k in kept])) for part in trained}
    if len(same) > 1:
        raise study.error(f"{where}.cloud", f"the points of {entry['cloud']!r} differ in network or data")
    if source.spec["labels"] == "random" or source.spec.get("resample") is not None:
        raise study.error(
            f"{where}.cloud",
            f"each replica of {entry['cloud']!r} has its own training set (labels or resample); a path needs one "
            "landscape for both ends",
        )
    seeds = {**training_seeds(study.config.seed, 0), "pairs": derive(study.config.seed, "pairs", entry["seed"])}
    spec = {
        **{part: source.spec[part] for part in kept},
        "resample": None,
        "scale": source.spec.get("scale", "standard"),
        "criterion": source.spec["recipe"]["criterion"],
        "seeds": seeds,
        **{part: entry[part] for part in ("precision", "batch", "fit", "minibatch")},
    }
    return spec, {"data": source.inputs["data"], "cloud": (cloud,)}


def kernels(study: StudyPlan, name: str, key: str) -> Artefact:
    """Return the separation of two sets of a union of clouds under kernel PCA."""
    entry = {**KERNELS, **probe_entry(study, "kernels", name, key)}
    where = f"probes.{name}.kernels"
    gram = study.gram(entry["cloud"], f"{where}.cloud")
    known = [part["cloud"] for part in gram.inputs["cloud"][0].spec.get("sets", [])]
    for label in entry["sets"]:
        if label not in known:
            raise study.error(f"{where}.sets", f"{label!r} is not a set of {entry['cloud']!r}; {nearest(label, known)}")
    seed = derive(study.config.seed, "kernels", entry["seed"])
    spec = {**{part: entry[part] for part in KERNELS if part not in ("cloud", "seed")}, "seed": seed}
    return Artefact("separations", gram.label, spec, {"gram": (gram,)})
