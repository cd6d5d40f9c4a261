"""Probes on minima (volume, slices, boundaries) resolved into artefacts; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lossatlas.legacy import probes as plan
from lossatlas.specs.artefact import Artefact

if TYPE_CHECKING:
    from lossatlas.legacy.plan import StudyPlan

SOURCE: dict[str, Any] = {
    "sweep": None,
    "runs": None,
    "values": None,
    "replicas": None,
    "precision": "float32",
    "batch": 500,
    "grain": 5,
}
"""Which minima: members of a sweep, or the ends of runs; of them those with certain values and replicas."""

VOLUME: dict[str, Any] = {
    "cutoffs": [0.1],
    "directions": 3000,
    "pilot": 64,
    "examples": None,
    "normalise": "filter",
    "match": None,
    "profiles": 12,
    "reach": 0.5,
}
SLICES: dict[str, Any] = {"grid": 41, "reach": 1.0, "normalise": "filter"}
BOUNDARIES: dict[str, Any] = {"grid": 200, "margin": 0.08, "data": None}


def volume(study: StudyPlan, name: str, key: str) -> list[Artefact]:
    """Return the basins of minima, ``grain`` a job."""
    entry = {**SOURCE, **VOLUME, **plan.probe_entry(study, "volume", name, key)}
    extra = {**{k: entry[k] for k in VOLUME}, "master": study.config.seed}
    return _artefacts(study, "volumes", entry, extra, f"probes.{name}.volume")


def slices(study: StudyPlan, name: str, key: str) -> list[Artefact]:
    """Return the losses on random planes through minima."""
    entry = {**SOURCE, **SLICES, **plan.probe_entry(study, "slices", name, key)}
    if entry["grid"] % 2 == 0:
        raise study.error(f"probes.{name}.slices.grid", f"{entry['grid']} is even; the minimum is to be a point of it")
    extra = {**{k: entry[k] for k in SLICES}, "master": study.config.seed}
    return _artefacts(study, "slices", entry, extra, f"probes.{name}.slices")


def boundaries(study: StudyPlan, name: str, key: str) -> list[Artefact]:
    """Return the decisions of minima on a grid of their input plane."""
    entry = {**SOURCE, **BOUNDARIES, **plan.probe_entry(study, "boundaries", name, key)}
    extra = {k: entry[k] for k in ("grid", "margin")}
    return _artefacts(study, "boundaries", entry, extra, f"probes.{name}.boundaries")


def _artefacts(study: StudyPlan, kind: str, entry: Mapping, extra: Mapping, where: str) -> list[Artefact]:
    if (entry["sweep"] is None) == (entry["runs"] is None):
        raise study.error(where, "give either sweep or runs")
    if entry["sweep"] is not None:
        groups = [_of_sweep(study, entry, where)]
    else:
        groups = [_of_run(study, name, entry, where) for name in entry["runs"]]
    data = None
    if entry.get("data") is not None:
        data = study.data(study.run_spec(entry["data"], f"{where}.data")["data"], f"{where}.data")
    found = []
    for sources, members in groups:
        spec = {**plan.network_spec(sources, entry), **extra}
        for start in range(0, len(members), entry["grain"]):
            chosen = members[start : start + entry["grain"]]
            used = sorted({m["source"] for m in chosen})
            renumbered = [{**m, "source": used.index(m["source"])} for m in chosen]
            points = tuple(sources[i] for i in used)
            inputs = {"data": (data,) if data else points[0].inputs["data"], "points": points}
            found.append(Artefact(kind, spec["label"], {**spec, "members": renumbered}, inputs))
    return found


def _of_sweep(study: StudyPlan, entry: Mapping, where: str) -> tuple[list[Artefact], list[dict]]:
    """Return the parts of a sweep and those of its members that are asked for."""
    parts = plan.sweep(study, entry["sweep"], f"{where}.sweep")
    members = [
        {
            "source": i,
            "row": row,
            "run": entry["sweep"],
            "value": m["value"],
            "replica": m["replica"],
            "parameter": part.spec["parameter"] or "none",
            "seeds": m["seeds"],
        }
        for i, part in enumerate(parts)
        for row, m in enumerate(part.spec["members"])
        if not m["held_out"] and _wanted(m["value"], entry["values"]) and _wanted(m["replica"], entry["replicas"])
    ]
    if not members:
        raise study.error(where, f"no member of sweep {entry['sweep']!r} has these values and replicas")
    return parts, members


def _of_run(study: StudyPlan, name: str, entry: Mapping, where: str) -> tuple[list[Artefact], list[dict]]:
    """Return the replicas of a run and their ends."""
    runs = [r for r in study.runs(name, f"{where}.runs") if r.spec]
    numbers = study.run_spec(name, f"{where}.runs")["replicas"]
    members = [
        {
            "source": i,
            "row": -1,
            "run": name,
            "value": run.spec["recipe"].get("beta", 0.0),
            "replica": replica,
            "parameter": "beta",
            "seeds": run.spec["seeds"],
        }
        for i, (run, replica) in enumerate(zip(runs, numbers, strict=True))
        if _wanted(replica, entry["replicas"])
    ]
    if not members:
        raise study.error(f"{where}.replicas", f"run {name!r} has none of the replicas {entry['replicas']}")
    return runs, members


def _wanted(value: Any, among: list | None) -> bool:
    return among is None or value in among
