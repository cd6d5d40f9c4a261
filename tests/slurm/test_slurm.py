"""The SLURM profile on a real SLURM: what jobs ask for, and what becomes of a run whatever happens to the cluster."""

import os
import re
import socket
import time

import harness
import pandas as pd
import pytest
import slurm_cluster
from harness import ROOT
from slurm_cluster import Running, ask, cluster, epoch, jobs, records, training_processes, until

from lossatlas.files.hdf5 import open_hdf5, read_table

pytestmark = pytest.mark.usefixtures("slurm")

INTERRUPTIONS = int(os.environ.get("LOSSATLAS_INTERRUPTIONS", "5"))
"""How often the training is interrupted; five in a row are of five kinds. docs/reliability.md has a longer run."""

LONGER = {"runs": {"minimum": {"recipe": {"epochs": 14 * max(INTERRUPTIONS, 5), "batch": 2}}}}
"""An epoch takes some tenths of a second; an interruption rarely more than ten of them."""


# ---------------------------------------------------------------------------------------------------------------------
# undisturbed


def test_from_login_node_to_figure(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    done = slurm_cluster.snakemake(tree, "results/figures/small/norms.png")
    assert done.returncode == 0, done.stdout
    assert (tree / "results/figures/small/norms.png").stat().st_size > 1000
    assert not (tree / "results/.locks").exists()
    assert not (tree / "results/.state").exists() or not list((tree / "results/.state").rglob("*.*"))
    ours = [job for job in records() if job["WorkDir"] == str(tree)]
    rules = {job["JobId"]: job["Comment"].removeprefix("rule_").split("_wildcards")[0] for job in ours}
    assert sorted(rules.values()) == ["data", "figure", "gather", "gram", "retrain", "retrain", "retrain", "train"]
    for job in ours:
        trains = rules[job["JobId"]] in ("train", "retrain")
        assert job["JobState"] == "COMPLETED"
        assert job["Requeue"] == "1"
        assert job["Partition"] == ("gpu" if trains else "cpu")
        assert job.get("TresPerJob") == ("gres:gpu:test:1" if trains else None)
        assert job["TimeLimit"] != "UNLIMITED"
    fan_out = [job for job in ours if rules[job["JobId"]] == "retrain"]
    assert len({job["ArrayJobId"] for job in fan_out}) == 1
    assert len({job["ArrayTaskId"] for job in fan_out}) == 3
    assert not any("ArrayJobId" in job for job in ours if job not in fan_out)


def test_networks_that_do_not_fill_a_gpu_share_one(tmp_path):
    """By SLURM's shards: a quarter of a GPU each, and none for a whole one."""
    wanted = f"{slurm_cluster.PARTITIONS}, gpu_shards: 4"
    done = slurm_cluster.snakemake(tmp_path, "results/figures/small/norms.png", cluster=wanted)
    assert done.returncode == 0, done.stdout
    ours = [job for job in records() if job["WorkDir"] == str(tmp_path)]
    asked = {"train": [], "retrain": []}
    for job in ours:
        rule = job["Comment"].removeprefix("rule_").split("_wildcards")[0]
        given = [job.get(name) for name in ("TresPerNode", "TresPerJob", "Partition")]
        if rule in asked:
            asked[rule].append(given)
        else:
            assert given == [None, None, "cpu"]
    assert {len(jobs) for jobs in asked.values()} == {1, 3}
    assert all(given == ["gres:shard:1", None, "gpu"] for jobs in asked.values() for given in jobs), asked


# ---------------------------------------------------------------------------------------------------------------------
# disturbed


def bits(path):
    """Return what a points file holds."""
    with open_hdf5(path, "points") as file:
        return {name: file[name][...].tobytes() for name in ("theta", "buffers")}, read_table(path)


def trained(folder):
    """Return the path of the study's longer run, relative to a folder."""
    given = slurm_cluster.arguments(folder, "results/figures/small/norms.png", overrides=LONGER)
    (path,) = [job.output[0] for job in harness.planned(ROOT, given) if job.rule == "train"]
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a folder where nothing went wrong, made without SLURM, and the path of the run in it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = trained(folder)
    done = slurm_cluster.snakemake(folder, path, profile=None, overrides=LONGER)
    assert done.returncode == 0, done.stdout
    return folder, path


class Disturbed:
    """A training on the cluster, and what happens to it."""

    def __init__(self, folder, path, rng):
        """Start Snakemake."""
        self.folder, self.path, self.rng = folder, path, rng
        self.file = folder / path
        self.log = folder / path.replace("/runs/", "/logs/train/").replace("/points.h5", ".log")
        self.start()

    def start(self):
        """Start Snakemake, again or for the first time."""
        options = ["--retries", str(INTERRUPTIONS)]
        self.running = Running(self.folder, self.path, options=options, overrides=LONGER)

    def reach(self, least):
        """Wait until the training has committed an epoch; it must never fall behind what it had."""
        before = epoch(self.folder)

        def reached():
            now = epoch(self.folder)
            assert now >= before, f"{before} epochs were done, now {now}"
            assert self.running.process.poll() is None, self.running.text()
            assert not self.file.exists()
            return now >= least and training_processes(self.folder)

        until(reached, f"epoch {least}")

    def process(self, *others):
        """Return the one training process, once it is another than those given."""

        def found():
            return [process for process in training_processes(self.folder) if process.pid not in others]

        (one,) = until(found, "a training process")
        return one

    def cancel(self):
        """Cancel the job."""
        ask("scancel", *jobs(self.folder, "RUNNING"))

    def kill(self):
        """Kill the training process as the kernel does when memory runs out."""
        for process in training_processes(self.folder):
            process.kill()

    def lose_node(self):
        """Take the node down under the job, and bring it back."""
        node = f"nodename={socket.gethostname().split('.')[0]}"
        ask("scontrol", "update", node, "state=down", "reason=test")
        until(lambda: not jobs(self.folder, "RUNNING"), "the job to be requeued")
        until(
            lambda: not slurm_cluster.job_steps(), "the node to be rid of the job"
        )  # or SLURM drains it, jobs and all
        ask("scontrol", "update", node, "state=resume")
        (job,) = jobs(self.folder)
        ask("scontrol", "update", f"jobid={job}", "starttime=now")  # SLURM holds requeued jobs back for two minutes

    def restart_controller(self):
        """Kill slurmctld and start it again; the job on its node knows nothing of it."""
        for half in ("controller-kill", "controller-start"):
            status, text = cluster(half)
            assert status == 0, text
            time.sleep(self.rng.uniform(0, 1))

    def kill_snakemake(self):
        """Kill Snakemake, cancel what it left in the queue, and start it again, as docs/cluster.md says."""
        self.running.kill()
        ask("scancel", *jobs(self.folder))
        refused = slurm_cluster.snakemake(self.folder, self.path, overrides=LONGER)
        assert refused.returncode != 0
        assert "caused by a kill signal" in refused.stdout
        assert "--unlock" in refused.stdout
        self.unlock()
        self.start()

    def resumed_after(self):
        """Return the whole epochs after which the training went on, as its log says."""

        def said():
            text = self.log.read_text() if self.log.exists() else ""
            return re.search(r"resume unit 0 after (\d+) whole epochs", text)

        return int(until(said, "the log of a training that resumes")[1])

    def unlock(self):
        """Remove the lock that a killed Snakemake has left."""
        done = slurm_cluster.snakemake(self.folder, self.path, options=["--unlock"], overrides=LONGER)
        assert done.returncode == 0, done.stdout


STARTS_AGAIN = ("cancel", "kill", "lose_node", "kill_snakemake")
KINDS = (*STARTS_AGAIN, "restart_controller")


@pytest.fixture
def disturbed(undisturbed, tmp_path, rng):
    """Return a training that has begun on the cluster."""
    reference, path = undisturbed
    slurm_cluster.copy_data(reference, tmp_path)
    training = Disturbed(tmp_path, path, rng)
    yield training
    if training.running.process.poll() is None:
        training.running.kill()
    for job in jobs(tmp_path):
        ask("scancel", job)
    slurm_cluster.clear(tmp_path)


def test_interrupted_training_ends_with_the_same_bits(undisturbed, disturbed, rng):
    reference, path = undisturbed
    survived = dict.fromkeys(KINDS, 0)
    disturbed.reach(1)
    disturbed.process().suspend()  # so that as much of it is left on any machine
    second = slurm_cluster.snakemake(disturbed.folder, path, overrides=LONGER)
    disturbed.process().resume()
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout
    assert "no other Snakemake process is trying to create the same files" in second.stdout
    for kind in [kind for _ in range(INTERRUPTIONS) for kind in rng.permutation(KINDS)][:INTERRUPTIONS]:
        disturbed.reach(epoch(disturbed.folder) + int(rng.integers(1, 6)))
        time.sleep(rng.uniform(0, 0.3))
        process, done = disturbed.process(), epoch(disturbed.folder)
        getattr(disturbed, kind)()
        if kind in STARTS_AGAIN:
            disturbed.process(process.pid)
            assert disturbed.resumed_after() >= done
        else:
            assert disturbed.process().pid == process.pid
        disturbed.reach(done + 1)
        survived[str(kind)] += 1
        print(f"{kind} after {done} epochs: survived", flush=True)
    leave_a_job_behind(disturbed)
    assert disturbed.running.wait() == 0, disturbed.running.text()
    (found, table), (expected, expected_table) = bits(disturbed.file), bits(reference / path)
    assert found == expected
    pd.testing.assert_frame_equal(table, expected_table, check_exact=True)
    left = [file for pattern in ("*.part", "*.f32", "*.lock") for file in (disturbed.folder / "results").rglob(pattern)]
    assert not left
    print(f"survived: {survived}, and a job left behind")


def leave_a_job_behind(training):
    """Kill Snakemake and start it again while its job lives: the new job waits for the old one and takes its result."""
    (old,) = jobs(training.folder, "RUNNING")
    (process,) = training_processes(training.folder)
    process.suspend()  # until the other job has had time to come
    training.running.kill()
    training.unlock()
    training.start()
    until(lambda: len(jobs(training.folder)) > 1, "the second job to be sent")
    ask("scontrol", "reconfigure")  # a controller that was killed may still count the cores of ended jobs (SLURM 22.05)

    def told():
        logs = (training.folder / ".snakemake/slurm_logs/rule_train").rglob("*.log")
        return any(f"waiting for SLURM job {old}, process {process.pid} on " in log.read_text() for log in logs)

    until(told, "the second job to meet the first")
    assert not training.file.exists()
    process.resume()
