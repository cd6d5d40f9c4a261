"""The profile where a site sets limits: few jobs in the queue, a short MaxTime; told by SLURM's own accounting."""

import subprocess

import pytest
import slurm_cluster
from slurm_cluster import PARTITIONS, Running, ask, epoch, jobs, training_processes, until

pytestmark = pytest.mark.usefixtures("limited_slurm")

LIMIT, MINUTES = 3, 1
"""Jobs in the queue and minutes on a GPU that the cluster allows (cluster.sh)."""

LONGER = {"runs": {"minimum": {"recipe": {"epochs": 20, "batch": 2}}}}


def accounted(folder):
    """Return what accounting has of every job of a folder, each attempt by itself: rule and fields."""
    fields = "JobID,Comment,WorkDir,State,Partition,TimelimitRaw,ReqMem,ReqTRES,Submit,End"
    text = ask("sacct", "--allusers", "--duplicates", "--allocations", "--parsable2", f"--format={fields}")
    head, *rows = (line.split("|") for line in text.splitlines())
    found = [dict(zip(head, row, strict=True)) for row in rows]
    ours = [job for job in found if job["WorkDir"] == str(folder)]
    return [(job["Comment"].removeprefix("rule_").split("_wildcards")[0], job) for job in ours]


def test_the_site_refuses_what_is_above_its_limits():
    """Or the test below would show nothing."""
    longer = ["sbatch", "--partition=gpu", f"--time={MINUTES + 1}", "--wrap=true"]
    refused = subprocess.run(longer, capture_output=True, text=True)
    assert refused.returncode != 0
    assert "time limit" in refused.stderr.lower()
    held = [ask("sbatch", "--parsable", "--hold", "--wrap=true", "--output=/dev/null").strip() for _ in range(LIMIT)]
    try:
        refused = subprocess.run(["sbatch", "--wrap=true"], capture_output=True, text=True)
        assert refused.returncode != 0
        assert "limit" in refused.stderr.lower()
    finally:
        ask("scancel", *held)


def test_a_study_is_made_within_the_limits_of_the_site(tmp_path):
    """The training is held until SLURM ends it; it asks for the same again and resumes. No submission is refused."""
    cluster = f"{PARTITIONS}, max_runtime: {MINUTES / 60:.4f}"
    running = Running(
        tmp_path,
        "results/figures/small/norms.png",
        options=["--jobs", str(LIMIT)],
        overrides=LONGER,
        cluster=cluster,
    )
    try:
        until(lambda: epoch(tmp_path) >= 1, "the first epoch")
        (process,) = until(lambda: training_processes(tmp_path), "the training")
        process.suspend()
        until(lambda: not process.is_running(), "SLURM to end the training")
        assert running.wait() == 0, running.text()
    finally:
        if running.process.poll() is None:
            running.kill()
        for job in jobs(tmp_path):
            ask("scancel", job)
        slurm_cluster.clear(tmp_path)
    assert (tmp_path / "results/figures/small/norms.png").stat().st_size > 1000
    assert "sbatch failed" not in running.text()
    found = accounted(tmp_path)
    trained = [job for rule, job in found if rule == "train"]
    *before, last = [job["State"] for job in trained]  # on a slow machine it may take a third minute
    # SLURM wakes what it ends: a training that commits then, and asks to be queued again, is no TIMEOUT.
    assert set(before) <= {"TIMEOUT", "REQUEUED"}
    assert last == "COMPLETED"
    assert before
    assert len({(job["TimelimitRaw"], job["ReqMem"], job["Partition"]) for job in trained}) == 1
    assert {job["State"] for _, job in found} <= {"TIMEOUT", "REQUEUED", "COMPLETED"}
    for rule, job in found:
        on_networks = rule in ("train", "retrain")
        assert job["Partition"] == ("gpu" if on_networks else "cpu")
        assert ("gres/gpu=1" in job["ReqTRES"]) == on_networks
        assert int(job["TimelimitRaw"]) <= MINUTES
    at_once = [sum(one["Submit"] <= job["Submit"] < one["End"] for _, one in found) for _, job in found]
    assert max(at_once) <= LIMIT
    log = next((tmp_path / "results/logs/train").glob("*.log")).read_text()
    assert "resume unit 0 after" in log
