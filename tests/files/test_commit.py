"""The commit that records carry is that of lossatlas, whatever repository a package lies in."""

import subprocess

from harness import ROOT

from lossatlas.files.provenance import commit


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_package_below_another_repository_has_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "theirs")
    head = git(tmp_path, "rev-parse", "--short=12", "HEAD").strip()
    installed = tmp_path / "site-packages" / "lossatlas"
    installed.mkdir(parents=True)
    assert commit(tmp_path) == head
    assert commit(installed) == "unknown"


def test_the_repository_has_its_own():
    head = git(ROOT, "rev-parse", "--short=12", "HEAD").strip()
    assert commit(ROOT).rstrip("+") == head
