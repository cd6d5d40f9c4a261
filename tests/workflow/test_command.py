"""The snakemake command of the environment: targets behind ``--config``, as the documentation writes them."""

import subprocess
import sys
from pathlib import Path

import pytest
from harness import ROOT

from lossatlas.workflow.command import separate_targets


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


def test_the_installed_command_takes_targets_behind_config():
    command = Path(sys.executable).with_name("snakemake")
    arguments = ["-n", "--cores", "2", "--config", "preset=laptop", "results/figures/trajectories/fig2.png"]
    done = subprocess.run([command, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "results/figures/trajectories/fig2.png" in done.stderr + done.stdout or "Nothing to be done" in done.stderr
