"""What the bundled store would spare: artefacts of a planned run that `dvc pull` brings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from lossatlas.workflow.forecast import Planned

FEW = 3
"""So many stages are named in a command; beyond that it pulls all."""


@dataclass(frozen=True)
class Pull:
    """What a pull spares.

    Attributes:
        command: that pulls.
        spared: numbers of the jobs that need not run after it.
    """

    command: str
    spared: frozenset[int]


def stored(folder: Path) -> dict[str, str]:
    """Return path -> stage of all that the store of a repository has by its dvc.lock; nothing without one."""
    try:
        text = (folder / "dvc.lock").read_text(encoding="utf-8")
        stages = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["stages"]
        return {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", ())}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}


def stages_of(job: Planned, known: Mapping[str, str]) -> set[str]:
    """Return the stages that bring all files of a job; none where one file is not in the store."""
    found = []
    for output in job.outputs:
        path = Path(output)
        found.append(next((known[str(place)] for place in (path, *path.parents) if str(place) in known), ""))
    return set(found) if found and all(found) else set()


def spared(jobs: Mapping[int, Planned], known: Mapping[str, str]) -> Pull | None:
    """Return the pull that spares work on networks, and which jobs it spares; None where it spares none.

    A job need not run if the store has its files, or if all that wait for them need not run.

    Args:
        jobs: number -> job, of a whole run.
        known: path -> stage of what the store has.
    """
    needed: set[int] = set()
    stages: set[str] = set()
    queue = [job for job in jobs.values() if job.target]
    while queue:
        job = queue.pop()
        brought = stages_of(job, known)
        stages |= brought
        if brought or job.number in needed:
            continue
        needed.add(job.number)
        queue += [jobs[number] for number in job.needs if number in jobs]
    found = frozenset(set(jobs) - needed)
    if not any(jobs[number].network for number in found):
        return None
    names = sorted(stages) if len(stages) <= FEW else []
    return Pull(" ".join(["dvc pull", *names]), found)
