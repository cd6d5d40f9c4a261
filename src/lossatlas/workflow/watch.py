"""What Snakemake logs, as its logger plugin gets it: held until the jobs are known, then shown as a run."""

import logging
import math
import sys
import threading
from pathlib import Path
from typing import Any

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter, logger
from snakemake_interface_logger_plugins.common import LogEvent

from lossatlas.study import subjects
from lossatlas.workflow import cost, store, wording
from lossatlas.workflow.forecast import Forecast, Planned
from lossatlas.workflow.run import Run, pace
from lossatlas.workflow.wiring import Wiring

ASIDE = ("dryrun", "verbose", "quiet", "debug_dag", "printshellcmds", "show_failed_logs")
"""Settings that ask for another amount of Snakemake's own text: it then comes as Snakemake prints it."""

PASSED = "Building DAG of jobs"
"""What Snakemake says while a person waits for the jobs to be known."""


def aside(settings: Any) -> bool:
    """Tell whether Snakemake's settings leave the screen to Snakemake itself."""
    return any(getattr(settings, name, None) for name in ASIDE)


class Watch:
    """Snakemake's log on its way to the screen.

    Until the run begins, what is no warning is held: it is shown, as Snakemake shows it, when none does (``--unlock``,
    ``Nothing to be done``), when something fails before, or when jobs start without a forecast (``--no-hooks``).
    """

    def __init__(self, settings: Any) -> None:
        """Show what Snakemake's output settings ask for."""
        only = DefaultFilter(
            settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
        )
        self._plain = ColorizingTextHandler(settings.nocolor, sys.stderr, DefaultFormatter(settings.quiet), only)
        self._held: list[logging.LogRecord] | None = []
        self._run: Run | None = None
        self._lock = threading.RLock()

    def begin(self, run: Run) -> None:
        """Show a run from now on, in place of what was held."""
        with self._lock:
            self._run, self._held = run, []

    def take(self, record: logging.LogRecord) -> None:
        """Take a record."""
        with self._lock:
            if self._run is not None:
                self._run.take(record)
                return
            starts = getattr(record, "event", None) == LogEvent.JOB_STARTED
            if starts or record.levelno >= logging.ERROR:
                self._release()
            if getattr(record, "event", None) == LogEvent.WORKFLOW_STARTED:
                return  # a banner, which the log has
            if self._held is None or record.levelno >= logging.WARNING or record.getMessage().startswith(PASSED):
                self._plain.handle(record)
            else:
                self._held.append(record)

    def _release(self) -> None:
        """Show what was held, and hold nothing any more."""
        for record in self._held or ():
            self._plain.handle(record)
        self._held = None

    def close(self) -> None:
        """End."""
        with self._lock:
            run, self._run = self._run, None
        if run is not None:  # without the lock: its clock may be waiting
            run.close()
            self._held = []
        self._release()


def begin(workflow: Any, wiring: Wiring) -> None:
    """Show the run that Snakemake is about to start: called by the Snakefile when the jobs are known and none runs.

    The first lines go to Snakemake's log as well, and by that to whatever else shows it.
    """
    if workflow.touch:
        return
    gpu = not workflow.local_exec or (cost.has_gpu() and wiring.config.numerics != "portable")
    cores = workflow.cores if workflow.local_exec else math.inf
    forecast = Forecast(planned(workflow.dag, wiring, gpu), cores, pace() if workflow.local_exec else None)
    networks = sum(job.seconds for job in forecast.jobs.values() if job.network)
    pull = store.spared(forecast.jobs, store.stored(Path.cwd())) if networks > wording.LONG else None
    logs = workflow.logger_manager.get_logfile()
    log = Path(logs[-1]) if logs else None
    opening = wording.opening(forecast, pull, str(log or ""), gpu)
    logger.info("\n".join(opening))
    for handler in workflow.logger_manager.get_log_handlers():
        watch = getattr(handler, "watch", None)
        if isinstance(watch, Watch):
            watch.begin(Run(forecast, opening, log))


def planned(dag: Any, wiring: Wiring, gpu: bool) -> list[Planned]:
    """Return the jobs that Snakemake is about to run, with the seconds expected of each."""
    numbers = {job: dag.jobid(job) for job in dag.needrun_jobs()}
    found = []
    for job, number in numbers.items():
        outputs = tuple(map(str, job.output))
        kind = [*Path(outputs[0]).parts, "", ""][1] if outputs else ""
        made = wiring.artefact(kind, job.wildcards.id) if kind in subjects.steps() else None
        found.append(
            Planned(
                number=number,
                rule=job.rule.name,
                label=job.message or job.rule.name,
                seconds=cost.seconds(job.rule.name, made, gpu) if outputs else 0.0,
                threads=job.threads,
                outputs=outputs,
                needs=tuple(numbers[other] for other in dag.dependencies[job] if other in numbers),
                network=cost.on_networks(job.rule.name),
                target=job in dag.targetjobs,
                guessed=made is not None and "builder" in (made.spec.get("model") or {}),
            )
        )
    return found
