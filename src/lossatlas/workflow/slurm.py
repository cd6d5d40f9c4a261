"""A fault of snakemake-executor-plugin-slurm 2.8 mended: jobs lost from sight while SLURM does not answer.

When every attempt to ask for states fails (slurmctld is down for a minute), the plugin's ``check_active_jobs`` neither
reports nor hands back any job. Snakemake then asks for none of them again and waits for ever.
"""

import importlib.util
from collections.abc import AsyncIterator, Sequence
from functools import wraps
from typing import Any


def keep_jobs_in_sight() -> None:
    """Make the SLURM executor, where it is installed, hand back every job of which it has reported nothing."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return
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
