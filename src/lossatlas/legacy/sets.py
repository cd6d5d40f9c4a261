"""Clouds chosen from sweeps, put together, or imported, and planes through them, resolved; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lossatlas.legacy.probes import label_of, network_spec, probe_entry, sweep
from lossatlas.specs.artefact import Artefact
from lossatlas.train.seeds import drawing_seeds, training_seeds

if TYPE_CHECKING:
    from lossatlas.legacy.plan import StudyPlan

BEST: dict[str, Any] = {"count": None, "stop": "last"}
TRIANGLE: dict[str, Any] = {"corners": [0, 1, 2], "grid": 41, "margin": 0.4, "precision": "float32", "batch": 500}


def best(study: StudyPlan, name: str, settings: Mapping) -> Artefact:
    """Return the cloud of the best members of sweeps (:func:`lossatlas.clouds.jobs.gather.best`)."""
    key = f"clouds.{name}.best"
    entry = {**BEST, **settings}
    parts = [part for other in entry["sweeps"] for part in sweep(study, other, f"{key}.sweeps")]
    if not all(part.spec.get("early") for part in parts):
        raise study.error(f"{key}.sweeps", "these keep no early-stopped points; write `early: true` in each sweep")
    members = sum(not member["held_out"] for part in parts for member in part.spec["members"])
    if entry["count"] is not None and entry["count"] > members:
        raise study.error(f"{key}.count", f"{entry['count']} of {members} trainings; at most all of them")
    spec = {"best": {"count": entry["count"] or members, "stop": entry["stop"]}}
    return Artefact("clouds", f"best-{parts[0].label}", spec, {"points": tuple(parts)})


def union(study: StudyPlan, name: str, settings: Mapping) -> Artefact:
    """Return several clouds of one network as one; column ``cloud`` of its table has their names."""
    key = f"clouds.{name}.union.clouds"
    clouds = {other: study.cloud(other, key) for other in settings["clouds"]}
    for other, made in clouds.items():
        if made.kind != "clouds" or set(made.inputs) != {"points"} or "names" in made.spec or "sets" in made.spec:
            raise study.error(key, f"{other!r} cannot be put together with others; only clouds of sweeps can")
    sets = [{"cloud": other, "files": len(made.inputs["points"]), "spec": made.spec} for other, made in clouds.items()]
    points = tuple(part for made in clouds.values() for part in made.inputs["points"])
    return Artefact("clouds", f"union-{points[0].label}", {"sets": sets}, {"points": points})


def imported(study: StudyPlan, name: str, settings: Mapping) -> Artefact:
    """Return weight vectors from elsewhere as points of a run's network."""
    key = f"clouds.{name}.imported"
    run = study.run_spec(settings["run"], f"{key}.run")
    data = study.data(run["data"], f"runs.{settings['run']}.data")
    replica = run["replicas"][0]
    seeds = {**training_seeds(study.config.seed, replica), **drawing_seeds(study.config.seed, replica)}
    spec = {part: run[part] for part in ("labels", "model", "resample", "scale")}
    spec |= {"label": label_of(run), "criterion": run["recipe"]["criterion"], "seeds": seeds}
    spec |= {"file": settings["file"], "sha256": settings["sha256"]}
    return Artefact("imports", spec["label"], spec, {"data": (data,)})


def triangle(study: StudyPlan, name: str, key: str) -> Artefact:
    """Return the losses on the plane through three points of a cloud of sweeps."""
    entry = {**TRIANGLE, **probe_entry(study, "triangle", name, key)}
    where = f"probes.{name}.triangle"
    cloud = study.cloud(entry["cloud"], f"{where}.cloud")
    starts = cloud.inputs.get("points", ())
    if not starts or starts[0].kind != "sweeps":
        raise study.error(f"{where}.cloud", f"{entry['cloud']!r} is not a cloud of sweeps")
    if any(part.spec["resample"] is not None for part in starts):
        raise study.error(f"{where}.cloud", f"each replica of {entry['cloud']!r} has its own training set")
    points = cloud.spec["best"]["count"] if "best" in cloud.spec else 3
    if max(entry["corners"]) >= points:
        raise study.error(
            f"{where}.corners", f"{max(entry['corners'])}: {entry['cloud']!r} has {points} points, from 0"
        )
    spec = {**network_spec(starts, entry), **{part: entry[part] for part in ("corners", "grid", "margin")}}
    spec["seeds"] = starts[0].spec["members"][0]["seeds"]
    return Artefact("triangles", spec["label"], spec, {"cloud": (cloud,), "data": starts[0].inputs["data"]})
