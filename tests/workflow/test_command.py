"""Snakemake's own command on our Snakefile: targets behind ``--config``, as the documentation writes them."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from harness import ROOT
from snakemake.common import SNAKEFILE_CHOICES

from lossatlas.workflow import command
from lossatlas.workflow.command import separate_targets

TARGET = "results/figures/trajectories/fig2.png"
INSTALLED = str(Path(sys.executable).with_name("snakemake"))


@pytest.mark.parametrize(
    "given, expected",
    [
        ("--cores 2 results/x.png", "--cores 2 results/x.png"),
        (
            "--cores 2 --config preset=laptop results/figures/all",
            "--cores 2 --config preset=laptop -- results/figures/all",
        ),
        ("--config a=1 b={c:2} x.png y.png -n", "--config a=1 b={c:2} -n -- x.png y.png"),
        ("-C studies=[x.yaml] -n", "-C studies=[x.yaml] -n"),
        ("--config a=1 -- x.png", "--config a=1 -- x.png"),
        ("--config a=1 x=y.png", "--config a=1 x=y.png"),
    ],
)
def test_targets_are_told_from_pairs(given, expected):
    assert separate_targets(given.split()) == expected.split()


def test_the_command_snakemake_is_snakemakes():
    """No other package, ours included, puts a program of that name into the environment."""
    assert {one.value for one in entry_points(group="console_scripts", name="snakemake")} == {"snakemake.cli:main"}
    assert "snakemake.cli" in Path(INSTALLED).read_text(), "run `make setup`"


@pytest.mark.parametrize("program", [[INSTALLED], [sys.executable, "-m", "snakemake"]], ids=["script", "module"])
def test_it_takes_targets_behind_config(program):
    arguments = ["-n", "--cores", "2", "--config", "preset=quick", TARGET]
    done = subprocess.run([*program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert TARGET in done.stderr + done.stdout or "Nothing to be done" in done.stderr


def test_another_snakefile_is_snakemakes_business(tmp_path):
    """The same words on a Snakefile of somebody else end as Snakemake ends them."""
    (tmp_path / "Snakefile").write_text("rule a:\n    output: 'x.txt'\n    shell: 'touch {output}'\n")
    arguments = ["-n", "--config", "key=v", "x.txt"]
    done = subprocess.run([sys.executable, "-m", "snakemake", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "name=value pairs" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "argv, changed",
    [
        (["/x/bin/snakemake", "--config", "a=1", "b"], True),
        (["/x/snakemake/__main__.py", "-s", f"{ROOT}/Snakefile", "--config", "a=1", "b"], True),
        (["/x/bin/snakemake", f"--snakefile={ROOT}/Snakefile", "--config", "a=1", "b"], True),
        (["/x/bin/snakemake", "-s", "other/Snakefile", "--config", "a=1", "b"], False),
        (["/x/bin/snakemake", "--config", "a=1", "b", "--mode", "subprocess"], False),
        (["/x/bin/pytest", "--config", "a=1", "b"], False),
        ([], False),
    ],
)
def test_only_a_users_snakemake_on_our_snakefile_is_touched(argv, changed, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", list(argv))
    command.prepare()
    assert (sys.argv != argv) == changed
    assert sys.argv[-2:] == ["--", "b"] or not changed


def test_snakefiles_are_looked_for_where_snakemake_does():
    assert list(map(Path, command.SNAKEFILES)) == SNAKEFILE_CHOICES


PATCHED = """
import sys
from snakemake.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
from snakemake_executor_plugin_slurm import Executor
print("in sight:", hasattr(Executor.check_active_jobs, "__wrapped__"))
"""


def test_the_snakefile_keeps_slurm_jobs_in_sight():
    """Whatever starts Snakemake: the command, the module, or its API."""
    arguments = ["-n", "--cores", "1", "--config", "preset=quick", "--", TARGET]
    done = subprocess.run([sys.executable, "-c", PATCHED, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert "in sight: True" in done.stdout, done.stderr
