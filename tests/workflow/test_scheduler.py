"""Snakemake's scheduler looks for jobs to start when something has changed, and limits on their number hold."""

import subprocess
import sys

import pytest

from lossatlas.workflow import scheduler

JOBS = 30

WORKFLOW = f"""
rule all:
    input: expand("made/{{i}}", i=range({JOBS}))

rule make:
    output: "made/{{i}}"
    shell: "date +%s.%N > {{output}}; sleep 0.5"
"""

RUN = """
import sys
from snakemake.cli import main
from snakemake.scheduling.job_scheduler import JobScheduler
from lossatlas.workflow import scheduler

looks, look = [], JobScheduler._finish_jobs

def counted(self):
    looks.append(1)
    look(self)

JobScheduler._finish_jobs = counted
mended, *given = sys.argv[1:]
if mended == "mended":
    scheduler.mend()
sys.argv = ["snakemake", "--cores", "2", *given]
try:
    main()
except SystemExit as end:
    print("looks", len(looks))
    sys.exit(end.code)
"""


def looks(folder, *arguments):
    """Run the workflow in a folder; return how often the scheduler looked for jobs."""
    folder.mkdir()
    (folder / "Snakefile").write_text(WORKFLOW)
    done = subprocess.run([sys.executable, "-c", RUN, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "made").iterdir())) == JOBS
    return int(done.stdout.split("looks ")[1])


def test_a_job_that_ends_is_one_look(tmp_path):
    """At most one look a job and one at each end of the run; Snakemake alone looks more often."""
    mended = looks(tmp_path / "mended", "mended")
    assert mended <= JOBS + 2
    assert looks(tmp_path / "alone", "alone") > 2 * mended


def test_no_more_jobs_start_in_a_time_span_than_allowed(tmp_path):
    looks(tmp_path / "limited", "mended", "--max-jobs-per-timespan", "10/1s")
    started = sorted(float(path.read_text()) for path in (tmp_path / "limited/made").iterdir())
    assert started[-1] - started[0] > 0.9 * (JOBS / 10 - 1)


@pytest.mark.parametrize("free", [0, 3])
def test_one_timer_at_most_and_only_where_the_limit_holds_jobs_back(free):
    class Counter:
        """A scheduler's limit and the lock that wakes it."""

        released = 0

        def get_free_jobs(self):
            return free

        def release(self):
            self.released += 1

    made = type("Scheduler", (), {})()
    made.job_rate_limiter = made._open_jobs = Counter()
    for _ in range(5):
        scheduler.look_again(made, 0.2)
    if not free:
        made._look.join()
        assert made._open_jobs.released == 1
        scheduler.look_again(made, 0.0)
        made._look.join()
    assert made._open_jobs.released == (0 if free else 2)
