"""Artefacts in real remotes: pushed, pulled elsewhere, never computed twice; a folder, the bundled store, an SSH server."""

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness import ROOT, checksums, counts, environment, planned

SSHD = ROOT / "tests/ssh/sshd.sh"
REMOTES = ("bundled", "folder", "ssh")
DRAWN = {"figure", "table", "claims", "scorecard", "statements", "index", "gallery"}
"""Rules that a laptop runs after a pull."""


def run(folder, *words, fails=False):
    """Run a command of this environment in a folder; return what it printed."""
    known = environment()
    names = {f"GIT_{who}_{what}": "tester@nowhere" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{known['PATH']}"
    done = subprocess.run(
        list(map(str, words)),
        cwd=folder,
        env={**known, **names, "PATH": path, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_GLOBAL": os.devnull},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert (done.returncode != 0) == fails, done.stdout
    return done.stdout


def dvc(folder, *words, **settings):
    """Run DVC in a folder."""
    return run(folder, sys.executable, "-m", "dvc", *words, **settings)


def fsck(folder, **settings):
    """Check the results of a folder; return what was said of each file."""
    return run(folder, sys.executable, "-m", "lossatlas.fsck", **settings).splitlines()


def commit(folder, message):
    """Commit all that is not ignored."""
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-q", "-m", message)


def edit(folder, change):
    """Change the study of a project by a function of its mapping."""
    file = folder / "config/studies/tiny.yaml"
    study = yaml.safe_load(file.read_text())
    change(study)
    file.write_text(yaml.safe_dump(study, sort_keys=False))


def smaller(study):
    """Keep of the tiny study what a test of remotes needs: one picture of a cloud, one of norms, the table, the claims."""
    panel = {"cloud": "good", "embedding": "pca", "title": "good"}
    study["figures"] = {"fig1": {**study["figures"]["fig1"], "panels": [panel]}, "norms": study["figures"]["norms"]}


def heavy(folder):
    """Return path -> digest of every artefact."""
    return {path: digest for path, digest in checksums(folder).items() if path.endswith(".h5")}


# ---------------------------------------------------------------------------------------------------------------------
# a project with three remotes


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start an SSH server; return the words that configure a DVC remote for it."""
    if shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("no sshd here: install openssh-server")
    folder = tmp_path_factory.mktemp("sshd")
    subprocess.run([SSHD, "start", folder], check=True)
    port = (folder / "port").read_text().strip()
    yield {"port": port, "user": getpass.getuser(), "keyfile": folder / "id", "allow_agent": "false"}
    subprocess.run([SSHD, "stop", folder], check=True)


@pytest.fixture(scope="module")
def project(built, tmp_path_factory):
    """A repository like this one with the smaller study, built, under DVC and pushed to its bundled remote."""
    folder = tmp_path_factory.mktemp("project")
    for part in ("workflow", "config", "profiles"):
        shutil.copytree(ROOT / part, folder / part)
    for part in ("Snakefile", ".gitignore"):
        shutil.copy(ROOT / part, folder)
    shutil.copy(ROOT / "tests/studies/tiny.yaml", folder / "config/studies")
    config = folder / "config/config.yaml"
    text = re.sub(r"^studies: \[.*\]", "studies: [tiny]", config.read_text(), flags=re.MULTILINE)
    config.write_text(re.sub(r"^preset: \w+", "preset: quick", text, flags=re.MULTILINE))
    edit(folder, smaller)
    shutil.copytree(
        built / "results", folder / "results", ignore=shutil.ignore_patterns("figures", "tables", "claims*")
    )
    run(folder, "git", "init", "-q")
    dvc(folder, "init", "-q")
    dvc(folder, "remote", "add", "-q", "-d", "bundled", "artifacts")
    dvc(folder, "remote", "modify", "bundled", "verify", "true")
    run(folder, sys.executable, "-m", "lossatlas.workflow.dvc_stages")
    before = heavy(folder)
    dvc(folder, "repro")
    assert heavy(folder) == before
    dvc(folder, "push")
    commit(folder, "first")
    return folder


def remote_of(kind, project, server):
    """Return the address and settings of a remote; the bundled one needs none."""
    if kind == "ssh":
        return f"ssh://127.0.0.1{project}-ssh", {**server, "verify": "true"}
    return f"{project}-folder", {"verify": "true"}


def set_remote(folder, address, settings):
    """Make an address this copy's default remote, as docs/reliability.md says."""
    dvc(folder, "remote", "add", "--local", "-d", "store", address)
    for key, value in settings.items():
        dvc(folder, "remote", "modify", "--local", "store", key, value)


def clone(project, folder):
    """Clone a project elsewhere, without results."""
    run(project, "git", "clone", "-q", project, folder)
    assert not (folder / "results").exists()
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# push, clone, pull


@pytest.mark.parametrize("kind", REMOTES)
def test_a_pulled_study_trains_nothing(project, tmp_path, request, kind):
    elsewhere = clone(project, tmp_path / "elsewhere")
    if kind != "bundled":
        server = request.getfixturevalue("server") if kind == "ssh" else None
        address, settings = remote_of(kind, project, server)
        sender = clone(project, tmp_path / "sender")
        shutil.copytree(project / ".dvc/cache", sender / ".dvc/cache")
        for folder in (sender, elsewhere):
            set_remote(folder, address, settings)
        dvc(sender, "push")
        assert list(Path(f"{project}-{kind}").rglob("*"))
        shutil.rmtree(elsewhere / "artifacts")  # nothing comes from the bundled store
    dvc(elsewhere, "pull", "tiny")
    pulled = heavy(elsewhere)
    assert pulled == {path: digest for path, digest in heavy(project).items() if path in pulled}
    assert {Path(path).parts[1] for path in pulled} == {"data", "histories", "grams", "embeddings"}
    assert fsck(elsewhere)[-1].split(":")[1].split(", ")[1] == "0 bad"
    assert counts(planned(elsewhere, ["results/figures/all"])).keys() == DRAWN
    assert "didn't change, skipping" in dvc(elsewhere, "repro")
    assert heavy(elsewhere) == pulled
    assert "up to date" in dvc(elsewhere, "status")


def test_a_changed_number_plans_exactly_its_run(project, tmp_path):
    elsewhere = clone(project, tmp_path / "elsewhere")
    dvc(elsewhere, "pull")
    edit(elsewhere, lambda study: study["runs"]["memorization"].update(recipe={"lr": 0.04}))
    jobs = planned(elsewhere, ["results/figures/all"])
    assert {rule: n for rule, n in counts(jobs).items() if rule not in DRAWN} == {"train": 1, "history": 1}
    (trained,) = [job.id for job in jobs if job.rule == "train"]
    (kept,) = [job.id for job in jobs if job.rule == "history"]
    assert not (project / "results/runs" / trained).exists()
    check = [sys.executable, "-m", "lossatlas.workflow.dvc_stages"]
    assert "dvc.yaml is not what the configuration says" in run(elsewhere, *check, "--check", fails=True)
    run(elsewhere, *check)
    stages = (elsewhere / "dvc.yaml").read_text()
    assert kept in stages
    assert trained not in stages  # too large for the store, which keeps its history
    assert "tiny:" in dvc(elsewhere, "status")


def test_a_stage_that_is_no_more_leaves_the_lock_file(project, tmp_path):
    elsewhere = clone(project, tmp_path / "elsewhere")
    lock = elsewhere / "dvc.lock"
    text = lock.read_text()
    stages = yaml.safe_load(text)["stages"]
    lock.write_text(
        text + yaml.safe_dump({"gone": stages["tiny"]}).replace("\n", "\n  ").replace("gone", "  gone").rstrip(" ")
    )
    assert set(yaml.safe_load(lock.read_text())["stages"]) == {*stages, "gone"}
    check = [sys.executable, "-m", "lossatlas.workflow.dvc_stages"]
    assert "dvc.lock is not what the configuration says" in run(elsewhere, *check, "--check", fails=True)
    run(elsewhere, *check)
    assert yaml.safe_load(lock.read_text())["stages"] == stages
    run(elsewhere, *check, "--check")


def test_a_study_that_is_left_out_has_no_stage(project, tmp_path):
    elsewhere = clone(project, tmp_path / "elsewhere")
    store, check = elsewhere / "config/store.yaml", [sys.executable, "-m", "lossatlas.workflow.dvc_stages"]
    run(elsewhere, *check, "--check")
    assert run(elsewhere, *check, "--studies") == "[tiny]\n"
    store.write_text("without: [tiny]\n")
    assert run(elsewhere, *check, "--studies") == "[]\n"
    assert "dvc.yaml is not what" in run(elsewhere, *check, "--check", fails=True)
    run(elsewhere, *check)
    assert yaml.safe_load((elsewhere / "dvc.yaml").read_text()) == {"stages": {}}
    store.write_text("without: [tyni]\n")
    said = run(elsewhere, *check, fails=True)
    assert said.startswith("lossatlas: error: config/store.yaml: without: 'tyni' is not a study; valid: ")
    assert "tiny" in said
    store.write_text("without:\n")
    assert "without is None, expected a list of studies" in run(elsewhere, *check, fails=True)


def test_a_corrupted_object_is_refused_by_name(project, tmp_path, rng):
    store = tmp_path / "store"
    shutil.copytree(project / "artifacts", store)
    objects = [path for path in store.rglob("*") if path.is_file() and path.read_bytes()[:9] == b"lossatlas"]
    corrupt = objects[rng.integers(len(objects))]
    data = bytearray(corrupt.read_bytes())
    (original,) = [path for path, digest in heavy(project).items() if (project / path).read_bytes() == data]
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    corrupt.chmod(0o644)
    corrupt.write_bytes(data)
    elsewhere = clone(project, tmp_path / "elsewhere")
    set_remote(elsewhere, store, {"verify": "true"})
    said = dvc(elsewhere, "pull", fails=True)
    assert str(Path(original).parent) in said
    assert not (elsewhere / original).exists()
    trusting = clone(project, tmp_path / "trusting")  # DVC's default takes the object; fsck does not
    set_remote(trusting, store, {})
    dvc(trusting, "pull")
    bad = [line for line in fsck(trusting, fails=True) if ": BAD: " in line]
    assert [line.split(":")[0] for line in bad] == [original]


# ---------------------------------------------------------------------------------------------------------------------
# computed there, drawn here


def test_trained_on_a_cluster_drawn_on_a_laptop(project, server, tmp_path):
    """Over SSH: the laptop's results are the cluster's bits, and the scorecards of both commits are compared."""
    address, settings = f"ssh://127.0.0.1{tmp_path}/store", {**server, "verify": "true"}
    cluster = clone(project, tmp_path / "cluster")
    dvc(cluster, "pull")
    set_remote(cluster, address, settings)
    edit(cluster, lambda study: study["clouds"]["good"]["jump"]["retrain"].update(lr=0.2))
    run(cluster, sys.executable, "-m", "lossatlas.workflow.dvc_stages")
    said = dvc(cluster, "repro")
    assert "retrain" in said
    commit(cluster, "second")
    dvc(cluster, "push", "--all-commits")  # with the scorecard of the commit before
    laptop = clone(cluster, tmp_path / "laptop")
    set_remote(laptop, address, settings)
    dvc(laptop, "pull", "tiny")
    pulled = heavy(laptop)
    assert counts(planned(laptop, ["results/figures/all"])).keys() == DRAWN
    run(laptop, "snakemake", "--cores", "1", "results/figures/tiny/fig1.png", "results/claims.csv")
    assert heavy(laptop) == pulled
    cluster_artefacts = heavy(cluster)
    assert pulled == {path: cluster_artefacts[path] for path in pulled}
    numbers = [(folder / "results/figures/tiny/fig1.csv").read_bytes() for folder in (cluster, laptop)]
    assert numbers[0] == numbers[1]
    difference = json.loads(dvc(laptop, "metrics", "diff", "HEAD~1", "HEAD", "--json").splitlines()[-1])
    ((file, changed),) = difference.items()
    assert file == "results/claims/tiny.metrics.json"
    before, after = (
        json.loads((folder / "results/claims/tiny.metrics.json").read_text())["claims"]["outward"]["ours"]
        for folder in (project, cluster)
    )
    assert changed["claims.outward.ours"]["old"] == before
    assert changed["claims.outward.ours"]["new"] == after
    assert before != after
    shown = dvc(laptop, "metrics", "diff", "HEAD~1", "HEAD")
    assert "claims.outward.ours" in shown


# ---------------------------------------------------------------------------------------------------------------------
# stages


def test_what_two_studies_need_is_one_stage():
    """DVC lets one stage own a path: shared artefacts stand apart, and both studies depend on them."""
    from lossatlas.specs.yaml import read_yaml
    from lossatlas.study.config import load
    from lossatlas.study.plan import Plan
    from lossatlas.study.read import read_study
    from lossatlas.workflow.dvc_stages import stages

    tiny = read_yaml(ROOT / "tests/studies/tiny.yaml")
    config = load({**read_yaml(ROOT / "config/config.yaml"), "studies": [str(ROOT / "tests/studies/tiny.yaml")]}, ROOT)
    other = {**tiny, "figures": {"norms": tiny["figures"]["norms"]}, "tables": {}, "claims": []}
    config.studies["other"] = read_study(other, "other")
    found = stages(Plan(config), {"tiny": "tiny", "other": "my/other.yaml"})["stages"]
    assert list(found) == ["shared", "tiny", "other"]
    folders = {name: [next(iter(out)) for out in stage.get("outs", [])] for name, stage in found.items()}
    kinds = {path.split("/")[1] for path in folders["shared"]}
    assert kinds == {"data", "grams"}, "the path itself is large and not drawn"
    assert set(folders["shared"]).isdisjoint(folders["tiny"])
    assert found["tiny"]["deps"] == found["other"]["deps"] == folders["shared"]
    assert "'studies=[tiny,my/other.yaml]'" in found["shared"]["cmd"]
    assert folders["other"] == []
    assert found["other"]["params"] == [{"my/other.yaml": ["claims"]}]
