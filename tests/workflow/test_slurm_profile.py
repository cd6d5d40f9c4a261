"""The SLURM profile's settings against the executor plugin: job arrays, and states with and without accounting.

The plugin is real, SLURM's commands are small scripts: tests/slurm has a real SLURM, but none with accounting.
"""

import asyncio
import logging
import os
from types import SimpleNamespace

import pytest
import yaml
from harness import ALL, ROOT, planned
from snakemake.resources import Resources
from snakemake_executor_plugin_slurm import Executor, ExecutorSettings

from lossatlas.study import subjects
from lossatlas.workflow import resources
from lossatlas.workflow.slurm import mend

PROFILE = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())


class Free:
    """A rate limiter that never limits."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        return None


def executor():
    """Return the plugin's executor as far as it asks for states, with the profile's settings."""
    settings = ExecutorSettings(
        status_command=PROFILE["slurm-status-command"],
        init_seconds_before_status_checks=PROFILE["slurm-init-seconds-before-status-checks"],
        requeue=PROFILE["slurm-requeue"],
        keep_successful_logs=True,
    )
    mend()
    made = object.__new__(Executor)
    made.workflow = SimpleNamespace(
        executor_settings=settings, remote_execution_settings=SimpleNamespace(seconds_between_status_checks=1)
    )
    made.logger, made.run_uuid, made.status_rate_limiter = logging.getLogger("plugin"), "run", Free()
    made._status_query_calls = made._status_query_failures = 0
    made._status_query_total_seconds = made._status_query_max_seconds = 0.0
    made._status_query_min_seconds, made._status_query_cycle_rows = None, []
    made._preemption_warning, made._failed_nodes = False, set()
    made.succeeded, made.failed = [], []
    made.report_job_success = lambda job: made.succeeded.append(job.external_jobid)
    made.report_job_error = lambda job, **about: made.failed.append(job.external_jobid)
    return made


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Put commands that print a text, or fail, in front of the real ones; they note that they were asked."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(**texts):
        for name, text in texts.items():
            answer = f"cat <<'END'\n{text}\nEND\n" if text is not None else f"echo {name}: disabled >&2; exit 1\n"
            (tmp_path / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/{name}.asked\n{answer}")
            (tmp_path / name).chmod(0o755)
        return lambda name: (tmp_path / f"{name}.asked").exists()

    return make


def check(*numbers):
    """Ask for the states of jobs once; return the executor and the jobs that it takes for running."""
    asking = executor()
    jobs = [SimpleNamespace(external_jobid=number, aux={}) for number in numbers]

    async def once():
        return [job.external_jobid async for job in asking.check_active_jobs(jobs)]

    return asking, asyncio.run(once())


STATES = "4_1|COMPLETED\n4_2|RUNNING\n4_3|FAILED\n7|PENDING\n8|COMPLETED"


@pytest.mark.parametrize("accounting", [True, False])
def test_squeue_is_asked_with_and_without_accounting(tools, accounting):
    asked = tools(
        scontrol="MinJobAge               = 300 sec",
        squeue=STATES,
        sacct="8|RUNNING\n7|RUNNING" if accounting else None,
    )
    asking, running = check("4_1", "4_2", "4_3", "7", "8")
    assert asking.succeeded == ["4_1", "8"]
    assert asking.failed == ["4_3"]
    assert running == ["4_2", "7"]
    assert asked("squeue")
    assert not asked("sacct")


def test_a_slurm_that_forgets_jobs_early_is_asked_through_accounting(tools):
    asked = tools(scontrol="MinJobAge               = 100 sec", squeue="", sacct="7|RUNNING\n8|COMPLETED")
    asking, running = check("7", "8")
    assert asking.succeeded == ["8"]
    assert running == ["7"]
    assert asked("sacct")
    assert not asked("squeue")


def test_a_controller_that_does_not_answer_is_asked_again(tools):
    """While slurmctld is down no job is taken for finished or failed, and none is lost from sight."""
    tools(scontrol=None, squeue=None, sacct=None)
    asking, running = check("7", "4_1")
    assert running == ["7", "4_1"]
    assert asking.succeeded == asking.failed == []


def test_a_batch_smaller_than_what_is_ready_is_submitted():
    """The plugin alone drops it for ever, so that `jobs` could not be less than a fan-out."""
    handed = []
    made = executor()
    made.array_jobs, made.max_array_size, made._main_event_loop = {"retrain"}, 25, None
    made._submit_array_jobs = lambda jobs: handed.append(len(jobs))
    made._submit_job = lambda job: handed.append(1)
    rule = SimpleNamespace(name="retrain")
    ready = [SimpleNamespace(rule=rule, is_group=lambda: False) for _ in range(100)]
    made.workflow.dag = SimpleNamespace(ready_jobs=lambda: ready, needrun_jobs=lambda: ready)
    for count in (1, 3, 60):
        made.run_jobs(ready[:count])
    assert handed == [1, 3, 60]


def test_all_tasks_of_an_array_ask_for_the_same(tmp_path):
    """The plugin gives all of an array what its first asks for."""
    jobs = planned(ROOT, ["--profile", "slurm", ALL, "--directory", str(tmp_path)])
    fan_out = [job for job in jobs if job.rule == PROFILE["slurm-array-jobs"]]
    assert fan_out
    assert [kind for kind, step in subjects.steps().items() if step.array] == ["retrains"]
    for name in resources.NAMES:
        assert len({job.resources[name] for job in fan_out}) == 1
    assert PROFILE["jobs"] < len(jobs)


def test_the_profile_says_nothing_that_the_plan_decides():
    """What stood there would replace it, for jobs that are cheaper on a core as well; retries are counted on."""
    assert not set(PROFILE.get("set-resources") or {})
    assert not set(PROFILE["default-resources"]) & {"gpu", "slurm_partition", "gpu_model"}
    assert PROFILE["retries"] == resources.RETRIES


def test_no_input_is_measured_while_planning():
    """Snakemake's own default of disk_mb asks for the size of every input of every job, each time it schedules."""
    sized = {f"{name}_mb" for name, value in Resources.DEFAULTS["full"].items() if "input.size" in value}
    assert sized
    assert sized <= set(PROFILE["default-resources"])
