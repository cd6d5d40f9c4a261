"""``make bench``, and the commands that it runs."""

import re
import subprocess
import sys

import pytest
from benchmarks import cases, run
from harness import ROOT


def test_make_bench_runs_what_there_is():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^bench: .*\n((?:\t.*\n)+)", text, re.MULTILINE)[1]
    assert "python -m benchmarks $(CASES) --size $(SIZE)" in recipe
    assert "python -m benchmarks.report\n" in recipe
    check = re.search(r"^check: .*\n((?:\t.*\n)+)", text, re.MULTILINE)[1]
    assert "python -m benchmarks.report --check" in check
    docs = re.search(r"^docs: .*\n((?:\t.*\n)+)", text, re.MULTILINE)[1]
    assert "python -m benchmarks.report\n" in docs


def test_versions_of_peers_are_exact():
    lines = (ROOT / "benchmarks" / "peers.lock").read_text(encoding="utf-8").splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert packages
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in packages)
    assert {"PyHessian==0.1", "loss-landscapes==3.0.6"} <= set(packages)
    ignored = subprocess.run(["git", "check-ignore", "-q", ".peers"], cwd=ROOT, check=False)
    assert ignored.returncode == 0


def test_cases_are_chosen_by_the_beginning_of_their_names():
    assert [case.name for case in run.chosen(["levelset"])] == ["levelset-iris", "levelset-auto-mpg"]
    assert run.chosen([]) == list(cases.ALL)
    with pytest.raises(SystemExit, match="nothing: no such comparison"):
        run.chosen(["radii", "nothing"])


def test_a_comparison_from_the_command_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "training-lockstep", "--size", "tiny", "--rounds", "5"]
    done = subprocess.run([*command, "--results", tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "a network after the other" in done.stdout
    (path,) = tmp_path.glob("*.json")
    text = path.read_text()
    assert '"passed": true' in text
    assert str(ROOT) not in text
