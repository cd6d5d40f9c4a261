"""How far a run is and how long it still takes, from the seconds its jobs are expected to take."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

from lossatlas.workflow.pace import Pace

OVERDUE = 0.5
"""Of the seconds that a job has run beyond what was expected of it: so many are expected to come."""


@dataclass(frozen=True)
class Planned:
    """A job of the run.

    Attributes:
        number: Snakemake's.
        rule: that makes its files.
        label: what a person reads, the rule's message.
        seconds: expected.
        threads: it takes.
        outputs: files it makes; none for a rule that is the name of a target.
        needs: numbers of the jobs of this run that it waits for.
        network: whether it computes on networks.
        target: whether it was asked for itself.
        guessed: whether its seconds are those of another network, since its own is not known before it is made.
    """

    number: int
    rule: str
    label: str
    seconds: float
    threads: int = 1
    outputs: tuple[str, ...] = ()
    needs: tuple[int, ...] = ()
    network: bool = False
    target: bool = False
    guessed: bool = False


class Forecast:
    """The jobs of a run, what has become of them, and what is still to come.

    Attributes:
        jobs: number -> job, none before what it needs.
        cores: that the jobs share; infinite on a cluster.
        pace: what corrects their seconds as jobs finish.
        begun: number -> time at which a running job was started.
        done, failed: numbers.
    """

    def __init__(self, jobs: Iterable[Planned], cores: float = 1, pace: Pace | None = None) -> None:
        """Take the jobs of a run, in any order."""
        given = {job.number: job for job in jobs}
        order = TopologicalSorter({number: set(job.needs) & set(given) for number, job in given.items()})
        self.jobs = {number: given[number] for number in order.static_order()}
        self.cores, self.pace = cores, pace or Pace()
        self.begun: dict[int, float] = {}
        self.done: set[int] = set()
        self.failed: set[int] = set()

    def start(self, number: int, now: float) -> None:
        """Note that a job has been started, perhaps once more."""
        if number in self.jobs:
            self.begun[number] = now
            self.failed.discard(number)

    def finish(self, number: int, now: float) -> None:
        """Note that a job is done; what it took corrects the others, but on a cluster it has waited for a node."""
        if number not in self.begun:
            return
        job, taken = self.jobs[number], now - self.begun.pop(number)
        self.done.add(number)
        if job.outputs and math.isfinite(self.cores):
            self.pace.add(job.rule, job.seconds, taken)

    def fail(self, number: int) -> None:
        """Note that a job has failed."""
        self.begun.pop(number, None)
        self.failed.add(number)

    def expected(self) -> dict[int, float]:
        """Return number -> seconds a job takes from start to end, as far as is known by now."""
        rules = {job.rule: job.network for job in self.jobs.values()}
        networks = [rule for rule, network in rules.items() if network]
        factors = {rule: self.pace.factor(rule, networks if network else ()) for rule, network in rules.items()}
        return {number: job.seconds * factors[job.rule] if job.outputs else 0.0 for number, job in self.jobs.items()}

    def remaining(self, now: float) -> dict[int, float]:
        """Return number -> seconds a job still takes; none where it is done or lost."""
        found, lost = self.expected(), self.lost()
        for number in self.jobs:
            if number in self.done or number in lost:
                found[number] = 0.0
            elif number in self.begun:
                gone = now - self.begun[number]
                found[number] = max(found[number] - gone, OVERDUE * (gone - found[number]), 0.0)
        return found

    def lost(self) -> set[int]:
        """Return the jobs that have failed, and those that wait for one that has."""
        found = set(self.failed)
        for number, job in self.jobs.items():
            if found.intersection(job.needs):
                found.add(number)
        return found

    def left(self, now: float) -> float:
        """Return the seconds until the end: all work over the cores, or the longest chain of jobs."""
        remaining = self.remaining(now)
        ends: dict[int, float] = {}
        for number, job in self.jobs.items():
            ends[number] = remaining[number] + max((ends.get(other, 0.0) for other in job.needs), default=0.0)
        work = sum(remaining[number] * job.threads for number, job in self.jobs.items())
        return max(work / self.cores, *ends.values(), 0.0)

    def share(self, now: float) -> float:
        """Return how much of the work is done, 0 to 1."""
        expected = self.expected()
        done = sum(expected[number] for number in self.done) + sum(now - begun for begun in self.begun.values())
        total = done + sum(self.remaining(now).values()) + sum(expected[number] for number in self.lost())
        return done / total if total > 0 else 1.0

    def running(self) -> list[Planned]:
        """Return the jobs that run, the longest running first."""
        return [self.jobs[number] for number in sorted(self.begun, key=lambda number: self.begun[number])]
