"""What `pip install lossatlas` gives, away from the repository: built, installed in an empty environment, and used there."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest
from harness import ROOT, environment

BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "src", "Snakefile", "workflow", "config")
BUILT_FROM += ("profiles", "slurm")
HEAVY = ("snakemake", "pandas", "scikit-learn", "dvc", "phate", "plotly", "torchvision")
NO_INDEX = (
    "No matching distribution",
    "Could not find a version",
    "Connection",
    "Temporary failure in name resolution",
)


def clean(**more):
    """Return the environment of a shell that knows nothing of the repository."""
    return {**{k: v for k, v in environment().items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}, **more}


def call(*command, cwd, env, status=0):
    """Run a command that must end with an exit status; return what it printed."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the sources; return its path."""
    folder = tmp_path_factory.mktemp("build")
    for name in BUILT_FROM:
        source, target = ROOT / name, folder / "copy" / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, target)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, "."]
    call(*pip, cwd=folder / "copy", env=clean())
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
    """Make an empty environment and install the wheel with what it asks for; return its folder of programs."""
    folder = tmp_path_factory.mktemp("bare")
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder, env=clean())
    torch = f"torch=={version('torch').partition('+')[0]}"  # of several builds the index decides, as in `make setup`
    pip = [folder / "venv/bin/pip", "install", "-q", torch, wheel]
    done = subprocess.run(list(map(str, pip)), cwd=folder, env=clean(), capture_output=True, text=True)
    if done.returncode and any(text in done.stderr for text in NO_INDEX):
        pytest.skip(f"no package index that has the core's packages: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder / "venv/bin"


def test_the_wheel_has_the_workflow_and_asks_for_little(wheel):
    with ZipFile(wheel) as file:
        names = set(file.namelist())
        (metadata,) = [file.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    tracked = subprocess.run(["git", "ls-files", *BUILT_FROM[5:]], cwd=ROOT, capture_output=True, text=True).stdout
    absent = {f"lossatlas/workflow_files/{name}" for name in tracked.split()} - names
    assert tracked
    assert not absent
    asked = [line.removeprefix("Requires-Dist: ") for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    core = {re.match(r"[\w-]+", line)[0] for line in asked if "extra ==" not in line}
    assert {"torch", "numpy", "typer"} <= core
    assert not core & set(HEAVY)
    assert all("==" not in line.partition(";")[0] and "<" not in line.partition(";")[0] for line in asked)


FIVE_LINES = """
import torch
import lossatlas as la
x = torch.randn(60, 3)
net = la.load(torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)), data=(x, x[:, 0].gt(0).long()))
found = net.surface(grid=7, check=False)
print(found.save("surface.png"), net.hessian(density=None, trace=0, check=False).lambda_max > 0)
"""


def test_an_empty_environment_has_library_and_command(bare, tmp_path):
    env = clean(PATH=f"{bare}{os.pathsep}/usr/bin{os.pathsep}/bin")
    installed = {one["name"] for one in json.loads(call(bare / "pip", "list", "--format=json", cwd=tmp_path, env=env))}
    assert not installed & set(HEAVY)
    assert "surface.png True" in call(bare / "python", "-c", FIVE_LINES, cwd=tmp_path, env=env)
    assert (tmp_path / "surface.png").stat().st_size > 10_000
    assert "lossatlas surface" in call("lossatlas", "--help", cwd=tmp_path, env=env)
    report = call("lossatlas", "doctor", cwd=tmp_path, env=env)
    assert "lossatlas works here" in report
    assert "pip install 'lossatlas[workflow]'" in report
    said = call("lossatlas", "run", "trajectories", cwd=tmp_path, env=env, status=1)
    assert said == (
        "lossatlas: error: snakemake is not installed, which this needs; pip install 'lossatlas[workflow]'\n"
    )
    network = (
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))\n"
    )
    (tmp_path / "mynet.py").write_text(network)
    save = "import torch, mynet; torch.manual_seed(0); x = torch.randn(50, 3)\n"
    save += "torch.save(mynet.net().state_dict(), 'a.pt'); torch.save((x, (x[:, 0] > 0).long()), 'data.pt')"
    call(bare / "python", "-c", save, cwd=tmp_path, env=env)
    words = "surface mynet:net a.pt --data data.pt -o out --grid 7 --quiet"
    told = call("lossatlas", *words.split(), cwd=tmp_path, env=env)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"surface.png", "surface.csv", "surface.h5"}
    assert "pip install 'lossatlas[3d]'" in told
    for name in ("surface.png", "surface.csv", "surface.h5"):
        told = call("lossatlas", "provenance", f"out/{name}", cwd=tmp_path, env=env)
        assert "surface of a" in told
        assert "checkpoint: a.pt" in told


def test_a_study_is_planned_from_the_wheel_alone(wheel, tmp_path):
    """With the packages of this environment, and of lossatlas only what the wheel holds, in a folder of its own."""
    with ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    env = clean(PYTHONPATH=str(tmp_path / "site"))
    here = tmp_path / "here"
    here.mkdir()
    place = "import lossatlas.places, snakemake_logger_plugin_lossatlas as plugin\n"
    place += "print(lossatlas.places.workflow(), plugin.__file__, sep='\\n')"
    found = call(sys.executable, "-c", place, cwd=here, env=env).split()
    assert [Path(one).is_relative_to(tmp_path / "site") for one in found] == [True, True]
    words = "run trajectories --preset quick -t results/figures/trajectories/fig2.png -n"
    planned = call(sys.executable, "-m", "lossatlas.cli.main", *words.split(), cwd=here, env=env)
    assert "results/figures/trajectories/fig2.png" in planned
    assert str(ROOT) not in planned.replace(sys.prefix, "")  # where Snakemake itself lies
    assert "This was a dry-run" in planned
