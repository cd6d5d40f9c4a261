"""Probes on slices of a network's landscape (line, plane, curvature, descent) as artefacts; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lossatlas.legacy.probes import probe_entry
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact

if TYPE_CHECKING:
    from lossatlas.legacy.plan import StudyPlan

_COMMON: dict[str, Any] = {
    "replica": None,
    "batch_norm": None,
    "examples": None,
    "precision": "float32",
    "batch": 250,
    "grain": None,
}
LINE: dict[str, Any] = {
    **_COMMON,
    "run": None,
    "to": None,
    "seeds": [0],
    "normalise": ["filter"],
    "scale": {},
    "limits": [-1.0, 1.0],
    "grid": 51,
    "parts": ["train"],
}
PLANE: dict[str, Any] = {
    **_COMMON,
    "run": None,
    "axes": "random",
    "seeds": [0, 1],
    "normalise": "filter",
    "limits": [-1.0, 1.0],
    "margin": 0.15,
    "grid": 51,
    "parts": ["train"],
}
CURVATURE: dict[str, Any] = {
    "plane": None,
    "run": None,
    "replica": None,
    "grid": None,
    "limits": None,
    "examples": None,
    "precision": None,
    "batch": None,
    "grain": None,
    "tolerance": 1e-2,
    "products": 60,
    "seed": 0,
    "trace": 0,
    "density": None,
}
"""``tolerance``: of both ends' residuals, relative to the larger magnitude: a ratio of 0.01 is then still resolved."""

NETWORK = ("label", "labels", "model", "seeds", "resample", "scale")
"""What of a run's spec says which network and examples it has."""


def grid(study: StudyPlan, name: str, key: str, replica: int | None = None) -> Artefact:
    """Return what a probe of kind line, plane or curvature measures: a tile, or the grid of several.

    Args:
        study: its study.
        name: of the probe.
        key: what to call its place in messages.
        replica: of its run, in place of the probe's own; None = that one.
    """
    makers = {"line": _line, "plane": _flat, "curvature": _curvature}
    ((kind, settings),) = study._entry("probes", name, key).items()
    if kind not in makers:
        raise study.error(key, f"probe {name!r} is of kind {kind!r}, expected one of {', '.join(makers)}")
    own = {} if replica is None else {"replica": replica}
    return makers[kind](study, {**settings, **own}, f"probes.{name}.{kind}")


def grids(study: StudyPlan, name: str, key: str) -> list[Artefact]:
    """Return what a probe of kind line, plane or curvature measures at every replica of its run."""
    ((kind, settings),) = study._entry("probes", name, key).items()
    if "run" not in settings:
        raise study.error(key, f"probe {name!r} is not of one run")
    replicas = study.run_spec(settings["run"], f"probes.{name}.{kind}.run")["replicas"]
    return [grid(study, name, key, r) for r in replicas]


def descent(study: StudyPlan, name: str, key: str) -> Artefact:
    """Return the angles between the steps of a recorded path and the gradient; ``name`` is a plane of that path."""
    entry = {**PLANE, **probe_entry(study, "plane", name, key)}
    where = f"probes.{name}.plane"
    if entry["axes"] == "random":
        raise study.error(f"{where}.axes", "a descent needs a plane of its path: pca, path_random or path_start")
    spec, inputs = _plane(study, {**entry, "grid": 2, "margin": 0.0, "parts": ["train"]}, where)
    return Artefact("descents", spec["label"], spec, inputs)


def path_gram(study: StudyPlan, name: str, run: Artefact, key: str) -> Artefact:
    """Return the Gram matrix of the recorded points of one training."""
    if run.spec["record"]["epochs"] != "all":
        raise study.error(key, f"{name!r} keeps no path; write `record: {{epochs: all}}` there")
    cloud = Artefact("clouds", f"paths-{run.label}", {"names": [[name, 0]]}, {"points": (run,)})
    return Artefact("grams", cloud.label, {}, {"cloud": (cloud,)})


def model_title(study: StudyPlan, name: str, key: str) -> str:
    """Return what ``{model}`` in the title of a plane's panel stands for: its network, which presets may change."""
    made = grid(study, name, key)
    spec = (made.inputs["tiles"][0] if made.kind == "grids" else made).spec
    model = spec["model"]
    if "builder" in model:
        return str(spec["label"])
    shown = {"resnet": "ResNet", "vgg": "VGG", "wrn": "WRN", "densenet": "DenseNet"}.get(model["name"], model["name"])
    depth = f"-{model['depth']}" if "depth" in model else ""
    width = f", width x{model['width']:g}" if model.get("width", 1) != 1 else ""
    return f"{shown}{depth}{width}"


def _line(study: StudyPlan, settings: Mapping, where: str) -> Artefact:
    """Return losses along lines: random ones through a minimum, or the segment to another minimum."""
    entry = {**LINE, **settings}
    run = study.run(entry["run"], entry["replica"], f"{where}.run")
    inputs = {"data": run.inputs["data"], "run": (run,)}
    if entry["to"] is None:
        if entry["batch_norm"] == "interpolate":
            raise study.error(f"{where}.batch_norm", "`interpolate` goes with `to`: a line through one minimum")
        how = [entry["normalise"]] if isinstance(entry["normalise"], str) else entry["normalise"]
        chosen = [(each, seed) for each in how for seed in entry["seeds"]]
        directions = [_direction(study, each, seed, entry["scale"].get(each, 1.0)) for each, seed in chosen]
        cut: dict[str, Any] = {"kind": "lines", "directions": directions}
    else:
        other = study.run(entry["to"], entry["replica"], f"{where}.to")
        if other.spec["model"] != run.spec["model"] or other.inputs["data"][0].hash != run.inputs["data"][0].hash:
            raise study.error(f"{where}.to", f"{entry['to']!r} has another network or data than {entry['run']!r}")
        inputs["to"] = (other,)
        cut = {"kind": "segment", "directions": []}
    spec = _spec(run, entry, cut, "interpolate" if entry["to"] else "stored")
    spec |= {"x": [*entry["limits"], entry["grid"]], "measure": {"kind": "losses"}}
    return _tiles(spec, inputs, max(len(cut["directions"]), 1), entry["grain"])


def _flat(study: StudyPlan, settings: Mapping, where: str) -> Artefact:
    """Return losses on a plane: random directions at a minimum, or a plane of the path that led there."""
    entry = {**PLANE, **settings}
    spec, inputs = _plane(study, entry, where)
    spec["measure"] = {"kind": "losses"}
    return _tiles(spec, inputs, int(spec["y"][2]), entry["grain"])


def _curvature(study: StudyPlan, settings: Mapping, where: str) -> Artefact:
    """Return the ends of the Hessian's spectrum (and trace, and density) at a run's minimum or over a plane."""
    entry = {**CURVATURE, **settings}
    if (entry["plane"] is None) == (entry["run"] is None):
        raise study.error(where, "give either plane (a probe of that kind) or run")
    asked = ("replica", "grid", "limits", "examples", "precision", "batch", "grain")
    own = {k: entry[k] for k in asked if entry[k] is not None} | {"parts": ["train"]}
    if entry["plane"] is not None:
        base = {**PLANE, **probe_entry(study, "plane", entry["plane"], f"{where}.plane")}
    else:
        base = {**PLANE, "run": entry["run"]}
        own |= {"grid": 1, "limits": [0.0, 0.0]}
    spec, inputs = _plane(study, {**base, **own}, where)
    about = {k: entry[k] for k in ("tolerance", "products", "trace", "density")}
    spec["measure"] = {"kind": "curvature", **about, "seed": derive(study.config.seed, "lanczos", entry["seed"])}
    return _tiles(spec, inputs, int(spec["y"][2]), own.get("grain", base["grain"]))


def _plane(study: StudyPlan, entry: Mapping, where: str) -> tuple[dict[str, Any], dict[str, tuple[Artefact, ...]]]:
    """Return spec and inputs of a plane, without its measure."""
    run = study.run(entry["run"], entry["replica"], f"{where}.run")
    inputs: dict[str, tuple[Artefact, ...]] = {"data": run.inputs["data"], "run": (run,)}
    grid = [entry["grid"]] * 2 if isinstance(entry["grid"], int) else entry["grid"]
    if entry["axes"] == "random":
        limits = entry["limits"] if isinstance(entry["limits"][0], list) else [entry["limits"]] * 2
        directions = [_direction(study, entry["normalise"], seed, 1.0) for seed in entry["seeds"]]
        cut: dict[str, Any] = {"kind": "plane", "directions": directions}
        sides: dict[str, Any] = {"x": [*limits[0], grid[0]], "y": [*limits[1], grid[1]]}
    else:
        inputs["gram"] = (path_gram(study, entry["run"], run, f"{where}.run"),)
        recipe = run.spec["recipe"]
        drops = [round(share * recipe["epochs"]) for share in recipe["milestones"]]
        cut = {"kind": "path", "axes": entry["axes"].removeprefix("path_"), "drops": drops}
        if entry["axes"] != "pca":
            cut["seeds"] = [derive(study.config.seed, "direction", seed) for seed in entry["seeds"]]
        sides = {"x": [None, None, grid[0]], "y": [None, None, grid[1]], "margin": entry["margin"]}
    return {**_spec(run, entry, cut, "stored"), **sides}, inputs


def _direction(study: StudyPlan, normalise: str, seed: int, scale: float) -> dict[str, Any]:
    """Return a random direction: equal seeds are the same Gaussian draw for every network of one size."""
    number = derive(study.config.seed, "direction", seed)
    return {"normalise": normalise, "number": seed, "seed": number, "scale": float(scale)}


def _spec(run: Artefact, entry: Mapping, cut: Mapping, batch_norm: str) -> dict[str, Any]:
    spec = {part: run.spec[part] for part in NETWORK if part in run.spec}
    spec |= {part: entry[part] for part in ("precision", "batch", "examples", "parts")}
    spec |= {"criterion": run.spec["recipe"]["criterion"], "slice": dict(cut)}
    spec["batch_norm"] = entry["batch_norm"] or batch_norm
    return spec


def _tiles(spec: dict[str, Any], inputs: dict, rows: int, grain: int | None) -> Artefact:
    """Return the one tile of a slice, or the grid gathered from tiles of ``grain`` rows."""
    size = rows if grain is None else grain
    bounds = [[start, min(start + size, rows)] for start in range(0, rows, size)]
    parts = tuple(Artefact("tiles", spec["label"], {**spec, "rows": part}, inputs) for part in bounds)
    return parts[0] if len(parts) == 1 else Artefact("grids", spec["label"], {}, {"tiles": parts})
