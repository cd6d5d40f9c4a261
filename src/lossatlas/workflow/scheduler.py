"""A fault of Snakemake 9's scheduler mended: it looks for jobs to start when there may be some, not ever more often.

Snakemake by default limits how many jobs start in a time span. With a limit, each look begins a timer for the next one,
whether or not the limit was reached; each job that ends is one more look, and so begins one more chain of them. After n
jobs Snakemake looks some n times a second, and each time works out anew what every ready job asks for: its own cost
grows with the square of the jobs (its issue 3744 shows the looks).
"""

import threading
from typing import Any

from snakemake.scheduling.job_scheduler import JobScheduler


def mend() -> None:
    """Make the scheduler look again after a time span only where the limit was reached, and by one timer at most."""
    JobScheduler._schedule_reevalutation = look_again


def look_again(scheduler: Any, delay: float) -> None:
    """Let a scheduler look for jobs to start after a delay, if a limit on their number holds some back.

    What else may let a job start (one that ends or fails, a signal) wakes the scheduler by itself.

    Args:
        scheduler: Snakemake's.
        delay: seconds, the time span of the limit.
    """
    pending = getattr(scheduler, "_look", None)
    if scheduler.job_rate_limiter.get_free_jobs() > 0 or (pending is not None and pending.is_alive()):
        return
    scheduler._look = threading.Timer(delay, scheduler._open_jobs.release)
    scheduler._look.daemon = True
    scheduler._look.start()
