"""What a run says of itself, in words: durations, what will be computed, what runs."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from lossatlas.workflow.failures import Failure
from lossatlas.workflow.forecast import Forecast, Planned
from lossatlas.workflow.store import Pull

LONG = 180.0
"""Seconds of work on networks from which a call names the pull that would spare it."""

SHOWN = 3
"""Running jobs that are named; the others are counted."""

NAMES = {"train": ("training", "trainings"), "retrain": ("retraining", "retrainings"), "sweep": ("sweep", "sweeps")}
"""Rules on networks by the name a person gives their jobs; any other is a probe."""


GUESSED = (
    "a network of your own counts as a large one in this: a small one takes a small part of it, "
    "as the bar shows when its first jobs have ended"
)
"""Said where seconds stand on a network that is not known before it is made."""

STEPS = (
    (55, 1, 10, "s"),
    (9.5 * 60, 60, 1, "min"),
    (57.5 * 60, 60, 5, "min"),
    (9.75 * 3600, 3600, 0.5, "h"),
    (47.5 * 3600, 3600, 1, "h"),
)
"""Durations below so many seconds are said in a unit of so many seconds, rounded to so many of it."""


def duration(seconds: float) -> str:
    """Return a duration in words, rounded as an estimate deserves."""
    for limit, unit, step, name in STEPS:
        if seconds < limit:
            return f"{max(round(seconds / unit / step) * step, step):g} {name}"
    return f"{seconds / 86400:.0f} days"


def counted(jobs: Iterable[Planned]) -> str:
    """Return how many jobs there are of each sort, such as ``2 trainings, 1 probe``."""
    kinds = Counter(NAMES.get(job.rule, ("probe", "probes")) for job in jobs)
    order = [*NAMES.values(), ("probe", "probes")]
    return ", ".join(f"{kinds[names]} {names[kinds[names] > 1]}" for names in order if kinds[names])


def opening(forecast: Forecast, pull: Pull | None, log: str, gpu: bool) -> list[str]:
    """Return the first lines of a call that computes: how many jobs, how long, what would spare them, where the log is.

    Args:
        forecast: of the run, before it has begun.
        pull: what `dvc pull` would spare; None where it spares nothing.
        log: the file with everything Snakemake and the jobs print; "" without one.
        gpu: whether the estimate assumes a GPU.
    """
    jobs = [job for job in forecast.jobs.values() if job.outputs]
    networks = [job for job in jobs if job.network]
    where = _where(forecast.cores, gpu)
    lines = [f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'}, about {duration(forecast.left(0.0))} {where}"]
    if networks:
        seconds = sum(forecast.expected()[job.number] for job in networks) / min(forecast.cores, len(networks))
        lines[0] += f": {counted(networks)} (about {duration(seconds)} of it)"
    if any(job.guessed for job in networks):
        lines.append(GUESSED)
    if networks and pull and _worth(forecast, pull):
        lines += _spared(forecast, pull)
    if log:
        lines.append(f"full log: {log}")
    return [f"lossatlas: {line}" for line in lines]


def _where(cores: float, gpu: bool) -> str:
    """Return where the jobs run, and on what the estimate stands."""
    if math.isinf(cores):
        return "on the cluster, without the time in its queue"
    return f"on {cores:g} {'core' if cores == 1 else 'cores'}{' and a GPU' if gpu else ''}"


def _worth(forecast: Forecast, pull: Pull) -> bool:
    """Whether the pull spares more work on networks than some minutes."""
    expected = forecast.expected()
    return sum(expected[number] for number in pull.spared if forecast.jobs[number].network) > LONG


def _spared(forecast: Forecast, pull: Pull) -> list[str]:
    """Return the lines that name the pull and what is left after it."""
    rest = [job for number, job in forecast.jobs.items() if number not in pull.spared]
    left = Forecast(rest, forecast.cores, forecast.pace).left(0.0)
    networks = [forecast.jobs[number] for number in pull.spared if forecast.jobs[number].network]
    return [
        f"the bundled store has the results of {counted(networks)}: `{pull.command}` brings them, "
        f"and the same command then takes about {duration(left)}"
    ]


def state(forecast: Forecast, now: float) -> str:
    """Return what is left and what runs now, in one line."""
    makes = [number for number, job in forecast.jobs.items() if job.outputs]
    parts = [f"{len(forecast.done.intersection(makes))} of {len(makes)} jobs"]
    if forecast.failed:
        parts.append(f"{len(forecast.failed)} failed")
    if forecast.share(now) < 1:
        parts.append(f"about {duration(forecast.left(now))} left")
    running = Counter(without_hash(job.label) for job in forecast.running() if job.outputs)
    named = [f"{label} ({count} jobs)" if count > 1 else label for label, count in list(running.items())[:SHOWN]]
    more = sum(list(running.values())[SHOWN:])
    return ", ".join(parts) + (f"; now {', '.join(named)}{f' and {more} more' if more else ''}" if running else "")


def without_hash(label: str) -> str:
    """Return what a job is called without the hash that ends the name of its artefact."""
    return re.sub(r"-[0-9a-f]{10}$", "", label)


def closing(failed: Sequence[Failure], most: int) -> list[str]:
    """Return the last lines of a run: each failed job's message and the path of its log, ``most`` at most."""
    lines = []
    for one in failed[:most]:
        lines += [f"lossatlas: error: {one.text}", *([f"  log: {one.log}"] if one.log else [])]
    if len(failed) > most:
        lines.append(f"lossatlas: {len(failed) - most} more failed; the full log names them")
    return lines
