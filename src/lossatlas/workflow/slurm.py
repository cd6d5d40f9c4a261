"""Two faults of snakemake-executor-plugin-slurm 2.8 mended, and why a job failed kept: what its memory depends on.

When every attempt to ask for states fails (slurmctld is down for a minute), the plugin's ``check_active_jobs`` neither
reports nor hands back any job. Snakemake then asks for none of them again and waits for ever.

Of a rule that goes out in arrays the plugin drops every batch smaller than what is still ready, and never submits it
(its issue 473): ``jobs``, the most that may be in the queue at once, could not be less than a fan-out.
"""

import importlib.util
from collections.abc import AsyncIterator, Sequence
from functools import wraps
from typing import Any

from lossatlas.workflow import timeouts


def mend() -> None:
    """Mend the SLURM executor, where it is installed."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is not None:
        submit_every_batch()
        keep_jobs_in_sight()


def submit_every_batch() -> None:
    """Make the executor submit whatever jobs of an array it is handed: nothing is taken to come after them."""
    import snakemake_executor_plugin_slurm as plugin

    plugin.pending_jobs_for_rule = lambda dag, rule: 0


def keep_jobs_in_sight() -> None:
    """Make the executor hand back every job of which it has reported nothing, and note the states of failed ones."""
    from snakemake_executor_plugin_slurm import Executor

    ask = Executor.check_active_jobs
    if hasattr(ask, "__wrapped__"):
        return

    @wraps(ask)
    async def check_active_jobs(self: Any, active_jobs: Sequence[Any]) -> AsyncIterator[Any]:
        dealt_with = set()

        def noting(report: Any) -> Any:
            def reported(job: Any, *details: Any, **more: Any) -> None:
                dealt_with.add(id(job))
                if "msg" in more and hasattr(job, "job"):  # of a failure
                    timeouts.note(map(str, job.job.output), more["msg"])
                report(job, *details, **more)

            return reported

        reports = {name: getattr(self, name) for name in ("report_job_success", "report_job_error")}
        vars(self).update({name: noting(report) for name, report in reports.items()})
        try:
            async for job in ask(self, active_jobs):
                dealt_with.add(id(job))
                yield job
        finally:
            vars(self).update(reports)
        for job in active_jobs:
            if id(job) not in dealt_with:
                yield job

    Executor.check_active_jobs = check_active_jobs
