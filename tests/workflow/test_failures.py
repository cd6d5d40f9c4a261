"""What a user is told when something is wrong: one line that names it and the remedy; earlier results stay whole."""

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from harness import ALL, ROOT, checksums, committed, copy, error_lines, overrides, plan, snakemake, start_snakemake

GRAMS = "results/grams"


def refused(folder, *targets, **settings):
    """Run Snakemake, assert that it fails and that what was there is untouched; return what it printed."""
    before = checksums(folder)
    done = snakemake(folder, *targets, **settings)
    assert done.returncode != 0, done.stdout
    after = checksums(folder)
    assert {path: after.get(path) for path in before} == before
    return done.stdout


# ---------------------------------------------------------------------------------------------------------------------
# mistakes in the configuration: found before any job starts


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"runs": {"good": {"recipe": {"ephocs": 3}}}},
            "tiny.yaml (preset quick): runs.good.recipe.ephocs: unknown key; did you mean 'epochs'",
        ),
        (
            {"defaults": {"recipe": {"lr": "fast"}}},
            "tiny.yaml (preset quick): defaults.recipe.lr: 'fast' is of type str, expected a number",
        ),
        (
            {"defaults": {"data": {"name": "cifar11"}}},
            "defaults.data.name: 'cifar11' is not a data set; did you mean 'cifar10'",
        ),
        ({"defaults": {"model": {"name": "wnr"}}}, "did you mean 'wrn'"),
        (
            {"clouds": {"good": {"jump": {"run": "goood"}}}},
            "'goood' is not one of the study's runs; did you mean 'good'",
        ),
        ({"embeddings": {"pca": {"method": "pac"}}}, "embeddings.pca"),
    ],
    ids=["key", "type", "data set", "model", "run", "method"],
)
def test_wrong_configuration(built, change, message):
    text = refused(built, ALL, config=[overrides(**change)])
    assert message in text
    assert "study tiny (preset quick)" in text or "tiny.yaml (preset quick)" in text
    assert "Job stats" not in text


def test_wrong_preset_and_study(built):
    assert "preset: 'quik' is not a preset; did you mean 'quick'" in refused(built, ALL, config=["preset=quik"])
    text = refused(built, ALL, config=["studies=[trajectoires]"])
    assert "studies: 'trajectoires' is not a study; did you mean 'trajectories'" in text
    assert "/nowhere.yaml: no such file" in refused(built, ALL, config=["studies=[/nowhere.yaml]"])


@pytest.mark.parametrize(
    "target, message",
    [
        ("results/figures/tiny/fgi1.png", "tiny: 'fgi1' is not one of its figures; did you mean 'fig1'"),
        ("results/figures/tiny/zzz.png", "tiny: 'zzz' is not one of its figures; valid: fig1, fig2, norms"),
        ("results/tables/tiny/acuracies.csv", "tiny: 'acuracies' is not one of its tables; did you mean 'accuracies'"),
        ("results/figures/tinny/fig1.png", "'tinny': no such study in this configuration; did you mean 'tiny'"),
        ("results/runs/wrn-0123456789/points.h5", "no study of this configuration (preset quick) asks for it"),
    ],
)
def test_unknown_target(built, target, message):
    assert message in refused(built, target)


# ---------------------------------------------------------------------------------------------------------------------
# jobs that fail


def test_missing_data_lists_what_was_tried(tmp_path):
    """A copy of the repository without data/: the bundled images cannot be found."""
    for part in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    (tmp_path / "src").symlink_to(ROOT / "src")
    change = overrides(defaults={"data": {"name": "cifar10"}})
    text = refused(tmp_path, "results/figures/tiny/norms.png", config=[change], root=tmp_path)
    (line,) = error_lines(text)
    assert "data set 'cifar10', variant 'bundled', was not found; tried: " in line
    for tried in (f"{tmp_path}/data (no such folder)", "LOSSATLAS_DATA (not set)", "no download"):
        assert tried in line
    assert "Remedy: run `dvc pull`" in line
    assert "Traceback" not in text


def test_truncated_artefact_is_named_with_its_remedy(built, tmp_path):
    folder = copy(built, tmp_path)
    target = sorted((folder / "results/retrains").glob("*/points.h5"))[0].relative_to(folder).as_posix()
    shutil.rmtree((folder / target).parent)
    for run in (folder / "results/runs").glob("*/points.h5"):
        os.truncate(run, run.stat().st_size // 2)
    text = refused(folder, target)
    (line,) = error_lines(text)
    assert "points.h5: not a readable HDF5 file, truncated or corrupt" in line
    assert "delete results/runs/" in line
    assert "run the same command again" in line
    assert "Traceback" not in text
    shutil.rmtree(folder / line.split("delete ")[1].split(" and run")[0])  # what the message says
    done = snakemake(folder, target)
    assert done.returncode == 0, done.stdout


def test_truncated_gram_is_named_with_its_remedy(built, tmp_path):
    folder = copy(built, tmp_path)
    for gram in (folder / GRAMS).glob("*/gram.h5"):
        os.truncate(gram, gram.stat().st_size // 2)
    (folder / "results/figures/tiny/norms.png").unlink()
    before = checksums(folder)
    done = snakemake(folder, "results/figures/tiny/norms.png")
    assert done.returncode != 0
    (line,) = error_lines(done.stdout)
    assert f"{GRAMS}/paths-" in line
    assert "run" in line or "compute" in line
    after = checksums(folder)
    assert {p: s for p, s in before.items() if "/norms." not in p}.items() <= after.items()


def test_diverging_training_names_run_and_remedy(built, tmp_path):
    change = overrides(runs={"path": {"recipe": {"lr": 1e20}}})
    text = refused(copy(built, tmp_path), "results/figures/tiny/norms.pdf", config=[change])
    (line,) = error_lines(text)
    assert "wrn-10-1-digits: the training loss became" in line
    assert "lower recipe.lr or set recipe.clip" in line
    assert text.splitlines()[-2] == line
    assert text.splitlines()[-1].startswith("  log: results/logs/train/wrn-10-1-digits-")
    assert "Traceback" not in text


# ---------------------------------------------------------------------------------------------------------------------
# a full disk


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of its own as results/, whose size a test sets."""
    folder = tmp_path / "results"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk, free):
    """Leave so many bytes of the disk free."""
    left = shutil.disk_usage(disk).free
    with open(disk / "filler", "wb") as file:
        file.write(bytes(max(left - free, 0)))


@pytest.mark.parametrize(
    "kind, target, free",
    [
        ("runs", None, 200_000),
        ("clouds", None, 4_096),
        ("grams", None, 8_192),
        ("figures", "results/figures/tiny/norms.png", 16_384),
    ],
)
def test_full_disk_keeps_earlier_results_and_more_room_completes(built, tmp_path, small_disk, kind, target, free):
    copy(built, tmp_path)
    if target is None:
        target = sorted((built / "results" / kind).glob("*/*.h5"))[0].relative_to(built).as_posix()
    made = [tmp_path / target]
    if kind == "figures":
        made += [path.with_suffix(suffix) for path in made for suffix in (".pdf", ".csv", ".json")]
    for path in made:
        path.unlink()
    fill(small_disk, free)
    text = refused(tmp_path, target)
    (line,) = error_lines(text)
    assert "the disk is full while writing results/" in line
    assert "free space and run the same command again" in line
    assert not Path(made[0]).exists()
    subprocess.run(["mount", "-o", "remount,size=128m", small_disk], check=True)
    done = snakemake(tmp_path, target)
    assert done.returncode == 0, done.stdout
    assert made[0].exists()


def test_disk_that_fills_during_training_loses_no_whole_epoch(built, tmp_path, small_disk):
    longer = [overrides(runs={"path": {"recipe": {"epochs": 40}}})]
    figure = "results/figures/tiny/norms.png"
    shutil.copytree(built / "results/data", small_disk / "data")
    (target,) = [job.output[0] for job in plan(tmp_path, figure, config=longer) if job.rule == "train"]
    state = small_disk / ".state/runs" / Path(target).parent.name

    def epochs():
        kept = committed(state)
        return kept["epoch"] if kept else -1

    process = start_snakemake(tmp_path, target, config=longer)
    while epochs() < 2:
        assert process.poll() is None
        time.sleep(0.02)
    with contextlib.suppress(OSError):  # the training takes the last bytes first
        fill(small_disk, 0)
    assert process.wait() != 0
    done = epochs()
    assert done >= 2
    (line,) = error_lines(refused(tmp_path, target, config=longer))
    assert "the disk is full while writing results/runs/" in line
    assert epochs() == done
    assert not (tmp_path / target).exists()
    subprocess.run(["mount", "-o", "remount,size=128m", small_disk], check=True)
    finished = snakemake(tmp_path, target, config=longer)
    assert finished.returncode == 0, finished.stdout
    log = small_disk / "logs/train" / f"{Path(target).parent.name}.log"
    assert f"resume unit 0 after {done} whole epochs" in log.read_text()
