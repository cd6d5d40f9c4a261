"""The whole workflow, really run: what it makes, what it makes again, and what a kill leaves behind."""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import psutil
import pytest
from harness import ALL, ROOT, copy, counts, overrides, plan, planned, snakemake, start_snakemake
from PIL import Image

from lossatlas.files.hdf5 import open_hdf5, read_table
from lossatlas.files.record import content_of, read_provenance
from lossatlas.specs.registry import resolve
from lossatlas.specs.yaml import read_yaml
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.workflow.resources import device, seconds

FIGURES = ("fig1", "fig2", "norms")
MEMORIZATION = {"figure": 1, "index": 1, "gallery": 1, "retrain": 1, "gather": 1, "gram": 1, "embed": 1}
"""What follows from another retraining around one minimum: its own chain, and the figure that shows it."""

HEAVY = {"data", "train", "history", "retrain", "gather", "gram", "embed"}


def heavy(folder):
    """Return path -> (size, time) of every artefact."""
    files = [
        path for step in subjects.steps().values() for path in (folder / "results" / step.kind).glob(f"*/{step.file}")
    ]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def ids(folder, kind="*"):
    """Return the names of the artefacts, or of those of one kind, that lie in results/."""
    return {Path(path).parent.name for path in heavy(folder) if Path(path).match(f"results/{kind}/*/*")}


# ---------------------------------------------------------------------------------------------------------------------
# what a build makes


def test_everything_is_made(built):
    results = built / "results"
    for figure in FIGURES:
        for kind in ("png", "pdf", "csv"):
            assert (results / "figures/tiny" / f"{figure}.{kind}").stat().st_size > 100
    table = pd.read_csv(results / "tables/tiny/accuracies.csv")
    assert set(table["row"]) == {"good", "memorization"}
    assert table["ours"].notna().all()
    claims = pd.read_csv(results / "claims.csv").set_index("id")
    assert claims.loc["outward", ["verdict", "reason"]].tolist() == ["not judged", "preset quick is shown, not judged"]
    assert np.isfinite(claims.loc["outward", "ours"])
    assert claims.loc["larger", "verdict"] == "not judged"
    assert np.isnan(claims.loc["larger", "ours"])
    page = (results / "figures/all/index.html").read_text()
    for figure in FIGURES:
        assert f'href="pages/tiny/{figure}.html"' in page
        said = (results / f"figures/all/pages/tiny/{figure}.html").read_text()
        assert re.search(rf"studies=\[\S*tiny\.yaml\]&#39; -- results/figures/tiny/{figure}\.\w+<", said), (
            "how to make it"
        )
    assert not (results / ".state").exists() or not list((results / ".state").rglob("*.*"))
    assert not list(results.rglob("*.part"))


def test_every_job_has_a_log(built):
    logs = list((built / "results/logs").rglob("*.log"))
    assert len(logs) == len(json.loads((built / "jobs.json").read_text()))
    for log in logs:
        assert re.search(r"done: [\d.]+ s of CPU$", log.read_text().rstrip()), log


def test_index_lists_what_lies_in_results(built):
    index = pd.read_csv(built / "results/index.csv")
    assert set(index["path"]) == set(heavy(built))
    for row in index.itertuples():
        assert row.path == f"results/{row.kind}/{row.name}-{row.hash}/{subjects.steps()[row.kind].file}"
        provenance = read_provenance(built / row.path)
        assert provenance["hash"] == row.hash
        assert provenance["spec"] == json.loads(row.spec)
        assert provenance["inputs"] == json.loads(row.inputs)
        assert row.asked_for_by.startswith("tiny/")


def test_pictures_say_what_made_them(built):
    for figure in FIGURES:
        with Image.open(built / f"results/figures/tiny/{figure}.png") as picture:
            picture.load()
            text = " ".join(map(str, picture.info.values()))
        for word in ('"commit"', '"versions"', '"preset"', '"quick"', '"artefacts"'):
            assert word in text, (figure, word)


# ---------------------------------------------------------------------------------------------------------------------
# what is made again


def test_second_run_does_nothing(built):
    before = heavy(built)
    done = snakemake(built, ALL)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout
    assert heavy(built) == before


@pytest.mark.parametrize(
    "figure, expected",
    [
        ("norms", {"data": 1, "train": 1, "gather": 1, "gram": 1, "figure": 1}),
        ("fig2", {"data": 1, "train": 2, "retrain": 3, "gather": 2, "gram": 2, "embed": 2, "figure": 1}),
    ],
)
def test_one_figure_builds_only_what_it_needs(tmp_path, figure, expected):
    jobs = plan(tmp_path, f"results/figures/tiny/{figure}.png")
    assert counts(jobs) == expected
    assert [job.wildcards for job in jobs if job.rule == "figure"] == [{"study": "tiny", "figure": figure}]


def test_another_retraining_of_one_cloud_reruns_that_cloud_only(built):
    jobs = plan(built, ALL, config=[overrides(clouds={"memorization": {"jump": {"retrain": {"epochs": 4}}}})])
    assert counts(jobs) == MEMORIZATION
    assert {job.id for job in jobs if job.rule in HEAVY}.isdisjoint(ids(built))
    assert [job.wildcards["figure"] for job in jobs if job.rule == "figure"] == ["fig2"]


def test_another_learning_rate_of_one_run_reruns_that_run_and_what_follows(built):
    jobs = plan(built, ALL, config=[overrides(runs={"memorization": {"recipe": {"lr": 0.04}}})])
    assert counts(jobs) == {**MEMORIZATION, "train": 1, "history": 1, "table": 1}
    assert {job.id for job in jobs if job.rule in HEAVY}.isdisjoint(ids(built))


def test_another_perplexity_only_embeds_again(built):
    jobs = plan(built, ALL, config=[overrides(embeddings={"tsne": {"perplexity": 4}})])
    assert counts(jobs) == {"embed": 1, "figure": 1, "index": 1, "gallery": 1}


def test_another_caption_only_draws_again(built):
    jobs = plan(built, ALL, config=[overrides(figures={"fig1": {"caption": "Another caption."}})])
    assert counts(jobs) == {"figure": 1, "gallery": 1}


def test_there_and_back_again_makes_nothing_heavy_twice(built, tmp_path):
    folder = copy(built, tmp_path)
    change = overrides(runs={"path": {"recipe": {"epochs": 1}}})
    there = snakemake(folder, "results/figures/tiny/norms.png", config=[change])
    assert there.returncode == 0, there.stdout
    assert len(ids(folder, "runs")) == len(ids(built, "runs")) + 1
    assert counts(plan(folder, ALL)) == {"figure": 1, "gallery": 1}
    assert counts(plan(folder, "results/figures/tiny/norms.png", config=[change])) == {}


# ---------------------------------------------------------------------------------------------------------------------
# pulled artefacts and file times


def test_pulled_artefacts_are_never_computed_again(built, tmp_path):
    for kind in ("grams", "histories"):  # without what they were made from
        shutil.copytree(built / "results" / kind, tmp_path / "results" / kind, copy_function=shutil.copy)
    jobs = counts(plan(tmp_path, ALL))
    assert jobs == {
        "embed": 4,
        "figure": 3,
        "table": 1,
        "claims": 1,
        "scorecard": 1,
        "statements": 1,
        "index": 1,
        "gallery": 1,
    }
    targets = ["results/figures/tiny/norms.csv", "results/tables/tiny/accuracies.csv", "results/claims/tiny.csv"]
    done = snakemake(tmp_path, *targets)
    assert done.returncode == 0, done.stdout
    for target in targets:
        assert (tmp_path / target).read_bytes() == (built / target).read_bytes()
    assert sorted(path.name for path in (tmp_path / "results").iterdir() if path.is_dir()) == [
        "claims", "figures", "grams", "histories", "logs", "tables"
    ]  # fmt: skip


def test_pulled_runs_alone_are_not_trained_again(built, tmp_path):
    shutil.copytree(built / "results/runs", tmp_path / "results/runs", copy_function=shutil.copy)
    jobs = counts(plan(tmp_path, "results/figures/tiny/fig2.png"))
    assert jobs == {"data": 1, "retrain": 3, "gather": 2, "gram": 2, "embed": 2, "figure": 1}


def test_what_lies_between_may_be_deleted(built, tmp_path):
    folder = copy(built, tmp_path)
    for kind in ("data", "retrains", "clouds", "embeddings"):
        shutil.rmtree(folder / "results" / kind)
    assert plan(folder, ALL) == []


def test_a_cloud_without_its_sources_gets_them_back(built, tmp_path):
    """A gathered cloud refers to the files of its jobs: what reads it needs them too."""
    folder = copy(built, tmp_path)
    shutil.rmtree(folder / "results" / "grams")
    shutil.rmtree(folder / "results" / "runs")
    jobs = counts(plan(folder, *gram_files(built)))
    (tmp_path / "nothing").mkdir()
    assert jobs["train"] == counts(plan(tmp_path / "nothing", *gram_files(built)))["train"] > 0
    assert jobs["gram"] == len(gram_files(built))
    assert "gather" not in jobs


def test_a_history_stands_for_its_training(built, tmp_path):
    folder = copy(built, tmp_path)
    shutil.rmtree(folder / "results" / "runs")
    (folder / "results/tables/tiny/accuracies.csv").unlink()
    assert counts(plan(folder, "results/tables/tiny/accuracies.csv")) == {"table": 1}
    shutil.rmtree(folder / "results" / "histories")
    assert counts(plan(folder, "results/tables/tiny/accuracies.csv")) == {"train": 3, "history": 3, "table": 1}


def gram_files(built):
    """Return the Gram files of a build, relative to it."""
    return [path.relative_to(built).as_posix() for path in sorted((built / "results/grams").glob("*/gram.h5"))]


def test_file_times_mean_nothing_to_heavy_rules(built, tmp_path):
    folder = copy(built, tmp_path)
    for path in heavy(folder):
        os.utime(folder / path)
        time.sleep(0.002)
    jobs = plan(folder, ALL)
    assert HEAVY.isdisjoint(counts(jobs))
    shutil.rmtree(folder / ".snakemake")
    assert HEAVY.isdisjoint(counts(plan(folder, ALL)))


def test_another_search_path_makes_nothing_heavy(built):
    assert HEAVY.isdisjoint(counts(plan(built, ALL, config=["data_path=[/nowhere]"])))


def test_parameters_of_heavy_rules_are_not_compared(built):
    """An artefact's name says all it depends on; how a release writes its description must not make it again."""
    records = [json.loads(path.read_text()) for path in (built / ".snakemake/metadata").rglob("*") if path.is_file()]
    assert {record["rule"] for record in records} >= HEAVY
    assert [record["rule"] for record in records if record["rule"] in HEAVY and record["params"]] == []


# ---------------------------------------------------------------------------------------------------------------------
# killed


def bits(path):
    """Return what an artefact holds: arrays and table."""
    with open_hdf5(path, ("points", "gram")) as file:
        arrays = {name: file[name][...] for name in file if isinstance(file[name], h5py.Dataset)}
    return arrays, read_table(path)


def test_more_threads_change_no_bit_of_portable_numerics(built, tmp_path):
    """Libraries that are loaded before the job looks have taken Snakemake's number of threads already."""
    folder = copy(built, tmp_path)
    files = gram_files(built)
    shutil.rmtree(folder / "results/grams")
    done = snakemake(folder, *files, options=("--cores", "2", "--set-threads", "gram=2"))
    assert done.returncode == 0, done.stdout
    first, second = ([content_of(place / path) for path in files] for place in (built, folder))
    assert first == second


def test_killed_at_random_moments_and_rerun_gives_the_same_bits(built, tmp_path, rng):
    targets = [path for path in heavy(built) if path.startswith("results/grams/")]
    kills = 0
    for _ in range(3):
        process = start_snakemake(tmp_path, *targets)
        goal = len(heavy(tmp_path)) + rng.integers(1, 4)
        while process.poll() is None and len(heavy(tmp_path)) < goal:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1.5))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        left = [p for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(tmp_path) and p.is_running()]
        psutil.wait_procs(left, timeout=10)
        if list((tmp_path / ".snakemake/locks").glob("*.lock")):
            refused = snakemake(tmp_path, *targets)
            assert refused.returncode != 0
            assert "caused by a kill signal" in refused.stdout
            assert "--unlock" in refused.stdout
            unlocked = snakemake(tmp_path, *targets, options=["--unlock"])
            assert unlocked.returncode == 0, unlocked.stdout
    assert kills
    done = snakemake(tmp_path, *targets)
    assert done.returncode == 0, done.stdout
    for path in heavy(tmp_path):
        if path.startswith(("results/runs", "results/retrains", "results/clouds", "results/grams")):
            (arrays, table), (expected, expected_table) = bits(tmp_path / path), bits(built / path)
            assert arrays.keys() == expected.keys()
            for name in arrays:
                assert arrays[name].tobytes() == expected[name].tobytes(), (path, name)
            pd.testing.assert_frame_equal(table, expected_table, check_exact=True)
    assert set(heavy(tmp_path)) >= set(targets)
    assert not list((tmp_path / "results").rglob("*.part"))
    assert not list((tmp_path / "results").rglob("*.f32"))


# ---------------------------------------------------------------------------------------------------------------------
# the cluster


def test_cluster_profile_plans_the_paper_preset(tmp_path):
    """As a user types it, in the repository and without SLURM: every training asks for its device, memory and time."""
    jobs = planned(ROOT, ["--profile", "slurm", ALL, "--directory", str(tmp_path)])
    raw = {**read_yaml(ROOT / "config/config.yaml"), "preset": "paper"}
    artefacts = Plan(load(raw, ROOT)).artefacts
    for rule, kind in (("train", "runs"), ("retrain", "retrains")):
        chosen = [job for job in jobs if job.rule == rule]
        assert {job.id for job in chosen} == {id for found, id in artefacts if found == kind}
        for job in chosen:
            made = artefacts[kind, job.id]
            assert job.resources["gpu"] == (kind == "retrains" or device(made) == "gpu")
            assert job.resources["mem_mb"] >= 4000 * job.resources["gpu"]
            assert job.resources["runtime"] * 60 > 600 + seconds(made)
    wide = [a for (kind, _), a in artefacts.items() if kind == "runs" and a.spec["model"]["name"] == "wrn"]
    assert {a.spec["recipe"]["epochs"] for a in wide} == {200}
    for job in jobs:
        if job.rule not in ("train", "retrain"):
            assert job.resources.get("gpu", 0) in (0, 1)
            assert job.resources["runtime"] > 0


def test_every_record_names_the_function_that_drew_it(built):
    """From a picture to its code in one step."""
    records = sorted((built / "results/figures/tiny").glob("*.json")) + sorted(
        (built / "results/tables/tiny").glob("*.json")
    )
    assert records
    for record in records:
        about = json.loads(record.read_text())
        kind = subjects.products()[about["spec"]["kind"]]
        assert about["made_by"] == kind.draw
        assert callable(resolve(about["made_by"]))


def test_torch_gets_the_threads_and_the_memory_of_its_job(built):
    """The settings once looked for torch before anything had imported it, and never ran."""
    log = next((built / "results/logs/train").glob("*.log")).read_text()
    assert "torch: 1 threads; freed memory is" in log
