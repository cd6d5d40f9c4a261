"""Sweeps and probes of a study, resolved into artefacts; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lossatlas.data import spec as data_sets
from lossatlas.errors import LossatlasError
from lossatlas.legacy.interests import FUNCTIONS, SETTINGS, resolve_interest
from lossatlas.legacy.recipe import DEFAULTS, OPTIONAL, change
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.yaml import nearest
from lossatlas.train.seeds import drawing_seeds, training_seeds

if TYPE_CHECKING:
    from lossatlas.legacy.plan import StudyPlan

SWEEP: dict[str, Any] = {
    "parameter": None,
    "values": [0.0],
    "factor": 1.0,
    "recipe": {},
    "replicas": None,
    "held_out": None,
    "history": 1,
    "early": False,
    "grain": 10,
    "lockstep": False,
    "start": None,
}
HELD_OUT: dict[str, Any] = {"share": 0.2, "replicas": None}
LEVELSET: dict[str, Any] = {
    "start": None,
    "function": None,
    "level": None,
    "replicas": None,
    "interest": {},
    "points": 101,
    "precision": "float32",
    "batch": 500,
    "grain": 1,
}
SURFACE: dict[str, Any] = {"replicas": None, "grid": 100, "margin": 0.15, "limits": None, "precision": "float32"}
AVERAGE: dict[str, Any] = {"replicas": None, "precision": "float32", "batch": 500}


def sweep(study: StudyPlan, name: str, key: str) -> list[Artefact]:
    """Return the parts of a sweep: its members, held-out ones last, ``grain`` a job."""
    entry = {**SWEEP, **study._entry("sweeps", name, key)}
    where = f"sweeps.{name}"
    run = study.run_spec(entry["run"], f"{where}.run")
    keys = [*DEFAULTS, *OPTIONAL]
    if entry["parameter"] is not None and entry["parameter"] not in keys:
        raise study.error(
            f"{where}.parameter",
            f"{entry['parameter']!r} is not a key of a recipe; {nearest(entry['parameter'], keys)}",
        )
    replicas = run["replicas"] if entry["replicas"] is None else entry["replicas"]
    members = [(value, replica, False) for value in entry["values"] for replica in replicas]
    share = None
    if entry["held_out"] is not None:
        held_out = {**HELD_OUT, **entry["held_out"]}
        chosen = replicas if held_out["replicas"] is None else held_out["replicas"]
        members += [(value, replica, True) for value in entry["values"] for replica in chosen]
        share = held_out["share"]
    data = study.data(run["data"], f"runs.{entry['run']}.data")
    with study.prefixed(where):
        recipe = change(run["recipe"], entry["recipe"])
    spec = {
        **{part: run[part] for part in ("labels", "model", "resample", "scale")},
        "label": label_of(run),
        "recipe": recipe,
        "parameter": entry["parameter"],
        "factor": entry["factor"],
        "history": entry["history"],
        "held_out": share,
    }
    if entry["early"]:
        spec["early"] = True
    full = [
        {"value": value, "replica": replica, "held_out": held, "seeds": _seeds(study, replica)}
        for value, replica, held in members
    ]
    inputs: dict[str, tuple[Artefact, ...]] = {"data": (data,)}
    if "poison" in recipe:
        spec["poison"] = study.poison({**run, "recipe": recipe}, where)
        for member in full:
            member["seeds"]["poison"] = derive(study.config.seed, "poison", member["replica"])
    if entry["lockstep"]:
        _check_lockstep(study, spec, where)
        spec["lockstep"] = True
    if entry["start"] is not None:
        full, inputs["starts"] = _started(study, full, entry, where)
    return [Artefact("sweeps", spec["label"], {**spec, "members": part}, inputs) for part in _parts(full, entry)]


def _check_lockstep(study: StudyPlan, spec: Mapping, where: str) -> None:
    """Raise for what networks in lockstep cannot have of their own, or at all."""
    recipe = spec["recipe"]
    if spec["parameter"] not in (None, "beta"):
        raise study.error(
            f"{where}.parameter", f"{spec['parameter']!r} in lockstep: only beta may differ; leave it out"
        )
    if recipe["optimizer"] not in ("sgd", "adam"):
        raise study.error(
            f"{where}.recipe.optimizer", f"{recipe['optimizer']!r} does not go in lockstep; valid: sgd, adam"
        )
    if recipe["augment"] or recipe["criterion"] != "cross_entropy" or recipe["precision"] not in ("float32", "float64"):
        raise study.error(f"{where}.lockstep", "needs no augmentation, criterion cross_entropy, precision float32")
    if spec.get("early") or spec["history"] is None:
        raise study.error(f"{where}.lockstep", "keeps no early-stopped points (`early`) and no row of every epoch")
    if spec["model"].get("name") not in ("mlp", "binary_mlp", "radial"):
        raise study.error(f"{where}.lockstep", "is for fully connected networks (mlp, binary_mlp, radial)")


def _started(
    study: StudyPlan, members: list[dict], entry: Mapping, where: str
) -> tuple[list[dict], tuple[Artefact, ...]]:
    """Return the members once for each recorded epoch of a run that they are to start from, and that run."""
    start = {"replica": None, "every": 1, **entry["start"]}
    if not entry["lockstep"]:
        raise study.error(f"{where}.start", "needs lockstep: true")
    made = study.run(start["run"], start["replica"], f"{where}.start.run")
    record, epochs = made.spec["record"], made.spec["recipe"]["epochs"]
    if record["epochs"] != "all" or start["every"] % record.get("every", 1):
        raise study.error(f"{where}.start.every", f"run {start['run']!r} does not record every {start['every']} epochs")
    seed, chosen = study.config.seed, range(0, epochs + 1, start["every"])
    found = [{**m, "start": e, "seeds": {**m["seeds"], **_own_draws(seed, m, e)}} for m in members for e in chosen]
    return found, (made,)


def _own_draws(master: int, member: Mapping, epoch: int) -> dict[str, int]:
    """Return seeds that differ between members of one replica that start from different epochs."""
    seeds = {"training": derive(master, "training", member["replica"], "start", epoch)}
    if "poison" in member["seeds"]:
        seeds["poison"] = derive(master, "poison", member["replica"], "start", epoch)
    return seeds


def poison(run: Mapping) -> dict[str, Any]:
    """Return D_d of a run's poisoned objective, without its seed.

    Raises:
        LossatlasError: its source does not fit the data.
    """
    found = {**run["recipe"]["poison"], "batch": run["recipe"]["batch"]}
    data = run["data"]
    options = data_sets.resolve_options(data["name"], data["options"])
    if found["source"] == "generator":
        if "version" not in data_sets.describe_variant(data["name"]):
            raise LossatlasError(f"source: {data['name']} is not generated by code; take held_out")
        found["generator"] = {"name": data["name"], "options": options}
    if found["source"] == "extra" and not found["points"] <= (options.get("extra") or 0):
        raise LossatlasError(
            f"points: {found['points']} of the `extra` part, but data.options.extra is {options.get('extra', 0)}"
        )
    return found


def levelset(study: StudyPlan, name: str, key: str) -> list[Artefact]:
    """Return the parts of a level-set probe: its replicas, ``grain`` a job."""
    entry = {**LEVELSET, **probe_entry(study, "levelset", name, key)}
    where = f"probes.{name}.levelset"
    if (entry["start"] is None) == (entry["function"] is None):
        raise study.error(where, "give either start (a sweep) or function")
    with study.prefixed(f"{where}.interest"):
        interest = resolve_interest(entry["interest"])
    if interest["kind"] in ("random", "walk"):
        interest["master"] = study.config.seed
    spec: dict[str, Any] = {
        "interest": interest,
        "settings": {**SETTINGS, **{k: v for k, v in entry.items() if k in SETTINGS}},
        "level": entry["level"],
        "points": entry["points"],
    }
    if entry["function"] is not None:
        check_function(study, entry["function"], where)
        if entry["level"] is None:
            raise study.error(f"{where}.level", "missing; starts of a function are moved onto a level")
        replicas = entry["replicas"] or [0]
        spec |= {"function": entry["function"], "label": entry["function"]}
        members = [{"replica": r, "seeds": {"start": derive(study.config.seed, "start", r)}} for r in replicas]
        return [Artefact("levelsets", spec["label"], {**spec, "members": part}) for part in _parts(members, entry)]
    starts = sweep(study, entry["start"], f"{where}.start")
    spec |= network_spec(starts, entry)
    replicas = entry["replicas"] or list(dict.fromkeys(m["replica"] for s in starts for m in s.spec["members"]))
    parts = []
    for group in _parts([{"replica": r, "seeds": _seeds(study, r)} for r in replicas], entry):
        wanted = {int(member["replica"]) for member in group}
        wanted |= {int(interest["replica"])} if "replica" in interest else set()
        sources = tuple(s for s in starts if wanted & {m["replica"] for m in s.spec["members"]})
        missing = wanted - {m["replica"] for s in sources for m in s.spec["members"]}
        if missing:
            raise study.error(f"{where}.replicas", f"sweep {entry['start']!r} has no replica {min(missing)}")
        inputs = {"data": starts[0].inputs["data"], "starts": sources}
        parts.append(Artefact("levelsets", spec["label"], {**spec, "members": group}, inputs))
    return parts


def traversals(study: StudyPlan, name: str, settings: Mapping) -> Artefact:
    """Return the cloud of a level-set probe's points, with the end points of a sweep beside them."""
    key = f"clouds.{name}.traversals"
    parts = levelset(study, settings["probe"], f"{key}.probe")
    for other in settings.get("sweeps", []):
        parts = [*parts, *sweep(study, other, f"{key}.sweeps")]
    return Artefact("clouds", f"traversals-{parts[0].label}", {"rows": "all"}, {"points": tuple(parts)})


def ends(study: StudyPlan, name: str, settings: Mapping) -> Artefact:
    """Return the cloud of the recorded points of runs with the end points of sweeps of the same network."""
    key = f"clouds.{name}.ends"
    parts = [made for run in settings.get("runs", []) for made in study.runs(run, f"{key}.runs")]
    parts += [made for other in settings["sweeps"] for made in sweep(study, other, f"{key}.sweeps")]
    return Artefact("clouds", f"ends-{parts[0].label}", {"rows": "all"}, {"points": tuple(parts)})


def surface(study: StudyPlan, name: str, key: str) -> Artefact:
    """Return the losses on a plane: the first two principal axes of a cloud's paths, or a function's own axes."""
    entry = {**SURFACE, **probe_entry(study, "surface", name, key)}
    where = f"probes.{name}.surface"
    cloud = study.cloud(entry["cloud"], f"{where}.cloud")
    path = cloud.inputs["points"][0]
    if path.kind != "levelsets":
        raise study.error(f"{where}.cloud", f"{entry['cloud']!r} is not a cloud of traversals")
    spec = {k: entry[k] for k in ("replicas", "grid", "margin", "limits")}
    inputs: dict[str, tuple[Artefact, ...]] = {"cloud": (cloud,)}
    if "function" in path.spec:
        spec["function"] = path.spec["function"]
    else:
        starts = path.inputs["starts"]
        spec |= {**network_spec(starts, {"precision": entry["precision"], "batch": path.spec["batch"]})}
        spec["members"] = _walked(cloud)
        inputs |= {"data": path.inputs["data"], "gram": (study.gram(entry["cloud"], where),)}
    return Artefact("surfaces", path.label, spec, inputs)


def average(study: StudyPlan, name: str, key: str) -> Artefact:
    """Return the losses at the average of a cloud's end points."""
    entry = {**AVERAGE, **probe_entry(study, "average", name, key)}
    where = f"probes.{name}.average"
    cloud = study.cloud(entry["cloud"], f"{where}.cloud")
    path = cloud.inputs["points"][0]
    if path.kind != "levelsets" or "function" in path.spec:
        raise study.error(f"{where}.cloud", f"{entry['cloud']!r} is not a cloud of networks' traversals")
    spec = {**network_spec(path.inputs["starts"], entry), "replicas": entry["replicas"]}
    spec["members"] = _walked(cloud)
    return Artefact("averages", path.label, spec, {"cloud": (cloud,), "data": path.inputs["data"]})


def probe_entry(study: StudyPlan, kind: str, name: str, key: str) -> Mapping:
    """Return the settings of a probe of the study, which must be of the kind asked for."""
    ((found, settings),) = study._entry("probes", name, key).items()
    if found != kind:
        raise study.error(key, f"probe {name!r} is of kind {found!r}, expected {kind!r}")
    return settings


def network_spec(starts: Iterable[Artefact], entry: Mapping) -> dict[str, Any]:
    """Return what :func:`lossatlas.train.networks.member` needs, from the sweep that trained the networks."""
    spec = {"resample": None, "scale": "standard", **next(iter(starts)).spec}
    found = {part: spec[part] for part in ("label", "labels", "model", "resample", "scale")}
    if "poison" in spec:
        found["poison"] = spec["poison"]
    return {**found, "criterion": spec["recipe"]["criterion"], "precision": entry["precision"], "batch": entry["batch"]}


def check_function(study: StudyPlan, name: str, where: str) -> None:
    """Raise when there is no such function."""
    if name not in FUNCTIONS:
        raise study.error(f"{where}.function", f"{name!r} is not a function; {nearest(name, list(FUNCTIONS))}")


def check_drawing(run: Mapping) -> None:
    """Raise when a run's ``resample``, ``scale`` or ``labels`` does not fit its data or recipe."""
    resample = run["resample"]
    if resample is not None and (resample["kind"] == "subset") != ("train" in resample):
        raise LossatlasError("resample: `train` goes with kind `subset`, and only with it")
    if run["labels"] == "inputs" and run["recipe"]["criterion"] != "mse":
        raise LossatlasError("recipe.criterion: `labels: inputs` makes targets of numbers; write `criterion: mse`")
    if run["scale"] == "raw" and data_sets.describe(run["data"]["name"])["kind"] == "images":
        raise LossatlasError("scale: `raw` is for vectors; write `unit` or `standard` for images")
    if run["scale"] == "unit" and data_sets.describe(run["data"]["name"])["kind"] != "images":
        raise LossatlasError(f"scale: `unit` is for images; {run['data']['name']} has none")


def label_of(run: Mapping) -> str:
    """Return the readable name of a run's artefacts."""
    from lossatlas.legacy.plan import model_label

    return f"{model_label(run['model'])}-{run['data']['name']}"


def _seeds(study: StudyPlan, replica: int) -> dict[str, int]:
    return {**training_seeds(study.config.seed, replica), **drawing_seeds(study.config.seed, replica)}


def _walked(cloud: Artefact) -> list[dict]:
    """Return the members of a cloud's traversals, without those of the sweeps beside them."""
    return [m for part in cloud.inputs["points"] if part.kind == "levelsets" for m in part.spec["members"]]


def _parts(members: list[dict], entry: Mapping) -> list[list[dict]]:
    return [members[i : i + entry["grain"]] for i in range(0, len(members), entry["grain"])]
