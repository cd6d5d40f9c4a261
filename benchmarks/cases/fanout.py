"""Many retrainings of a small network: Snakemake's jobs on two cores beside the same one after the other."""

import copy
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import torch
import yaml

from benchmarks.cases import inputs
from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, relative
from benchmarks.frame.remote import ROOT
from benchmarks.reference.retrain import retrained
from lossatlas.files.points import read_point
from lossatlas.landscape.layout import Layout
from lossatlas.seeds import derive
from lossatlas.specs.artefact import Artefact
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.train.examples import of_training
from lossatlas.trajectories.jobs.retrain import jump_point

CORES, SEEDS = 2, 4
"""Cores that Snakemake may use; step sizes a direction."""


def study(size: Size) -> dict[str, Any]:
    """Return a study with one run of a wide ResNet on images of CIFAR-10, and retrainings from jumps."""
    steps = [0.25 * (1 + i) for i in range(SEEDS)]
    retrain = {"epochs": size["epochs"], "precision": size["precision"]}
    seeds = list(range(size["retrainings"] // SEEDS))
    jumps = {"run": "wrn", "seeds": seeds, "steps": steps, "retrain": retrain}
    return {
        "title": "Fan-out",
        "reference": "none",
        "runs": {
            "wrn": {
                "data": {"name": "cifar10", "train": size["examples"], "test": 100, "size": size["pixels"]},
                "model": {"name": "wrn", "depth": size["depth"], "width": 1},
                "recipe": {"lr": 0.05, "momentum": 0.9, "epochs": 2, "batch": 64, "precision": "float32"},
                "record": {"epochs": "last"},
            }
        },
        "clouds": {"jumps": {"jump": {**jumps, "grain": size["grain"]}}},
        "embeddings": {"pca": {"method": "pca"}},
        "figures": {
            "jumps": {
                "kind": "embedding",
                "title": "Jumps",
                "caption": "Jumps.",
                "panels": [{"cloud": "jumps", "embedding": "pca", "title": "jumps"}],
            }
        },
    }


@dataclass
class Fan:
    """A folder in which Snakemake makes the run once, and the retrainings as often as it is asked to."""

    size: Size

    def __post_init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        finalize(self, shutil.rmtree, self.folder, True)
        (self.folder / "fanout.yaml").write_text(yaml.safe_dump(study(self.size)))
        self.make([self.run])

    @cached_property
    def plan(self) -> Plan:
        """The study's plan."""
        raw = {
            "preset": "quick",
            "studies": [str(self.folder / "fanout.yaml")],
            "seed": 0,
            "formats": ["png"],
            "numerics": "native",
        }
        return Plan(load(raw, ROOT))

    @property
    def run(self) -> Artefact:
        """The run that is left."""
        return next(made for (kind, _), made in self.plan.artefacts.items() if kind == "runs")

    @property
    def retrains(self) -> list[Artefact]:
        """The jobs' artefacts, in the order of their jumps."""
        found = [made for (kind, _), made in self.plan.artefacts.items() if kind == "retrains"]
        return sorted(found, key=lambda made: made.spec["jumps"])

    def path(self, made: Artefact) -> Path:
        """Return where an artefact's file is."""
        return self.folder / made.path

    def make(self, wanted: list[Artefact]) -> None:
        """Run Snakemake for some artefacts."""
        config = [f"studies=[{self.folder / 'fanout.yaml'}]", "preset=quick", "numerics=native"]
        command = [
            str(Path(sys.executable).with_name("snakemake")),
            "-s",
            str(ROOT / "Snakefile"),
            "--cores",
            str(CORES),
        ]
        command += ["--directory", str(self.folder), "--config", *config, "--", *(made.path for made in wanted)]
        done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError((done.stdout + done.stderr).strip().splitlines()[-1])


def ours(size: Size) -> Action:
    """``snakemake --cores 2`` of the retrainings, its own start and the jobs' included."""
    fan = Fan(size)

    def run() -> Outcome:
        shutil.rmtree(fan.folder / "results" / "retrains", ignore_errors=True)
        fan.make(fan.retrains)
        return Outcome(_ends(fan))

    return run


def _ends(fan: Fan, epoch: int | None = None) -> np.ndarray:
    """Return the weights after an epoch of every retraining, by default the last, (n, D)."""
    import h5py

    wanted = fan.size["epochs"] if epoch is None else epoch

    rows = []
    for made in fan.retrains:
        with h5py.File(fan.path(made)) as file:
            epochs = np.asarray(file["table/epoch"])
            rows.append(file["theta"][:][epochs == wanted])
    return np.concatenate(rows)


def checked(size: Size) -> Size:
    """Return the size at which weights are compared: epochs of few steps, in which rounding does not grow by much."""
    return {**size, "examples": min(size["examples"], 300)}


def our_check(size: Size, _: Any) -> np.ndarray:
    """Return the weights after the first epoch."""
    fan = Fan(checked(size))
    fan.make(fan.retrains)
    return _ends(fan, 1)


def plain_check(size: Size, _: Any) -> np.ndarray:
    """Return the weights after the first epoch."""
    return plain(checked(size), kept=0)().result


def plain(size: Size, kept: int = -1) -> Action:
    """The same retrainings in a plain loop: same starts, same minibatches; the weights after one of the epochs."""
    fan = Fan(size)
    spec = fan.retrains[0].spec
    data_file = fan.path(fan.run.inputs["data"][0])
    examples, model = of_training(spec, data_file)
    theta, buffers = (torch.from_numpy(part) for part in read_point(fan.path(fan.run)))
    Layout.of_buffers(model).load_into(model, buffers)
    normal = tuple(examples.normalise(x).contiguous() for x in (examples.x, examples.test_x))
    data = (normal[0], examples.y, normal[1], examples.test_y)
    recipe, layout = spec["recipe"], Layout.of(model)
    model = model.to(memory_format=torch.contiguous_format)

    def run() -> Outcome:
        ends = []
        for direction, step in (jump for made in fan.retrains for jump in made.spec["jumps"]):
            own = derive(spec["seeds"]["training"], "jump", direction, float(step))
            seeds = [derive(own, "order", epoch) for epoch in range(recipe["epochs"])]
            orders = [torch.randperm(len(examples.x), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            start = jump_point(theta, layout, spec["master"], direction, step, spec["normalise"])
            given = recipe["lr"], recipe["momentum"], recipe["batch"]
            ends.append(retrained(copy.deepcopy(model), start, orders, data, *given)[kept])
        return Outcome(torch.stack(ends).numpy())

    return run


def _case(name: str, precision: str, arithmetic: str, tolerance: float, reason: str) -> Case:
    of = {"retrainings": 20, "epochs": 5, "depth": 10, "precision": precision}
    return Case(
        name=name,
        row="fanout",
        what=f"fan-out of retrainings, small wide ResNet{arithmetic}",
        same=(
            f"the same starts, minibatches and recipe, ours with `precision: {precision}` and the other's in float32; "
            "every epoch evaluated on both parts; the weights after the first epoch of all retrainings, on 300 images, "
            "are compared, relative to the largest"
        ),
        tolerance=tolerance,
        differ=relative,
        ours=Side(ours, our_check),
        peers={"one after the other, NCHW": Side(plain, plain_check, "torch")},
        sizes={
            "full": {**of, "examples": 500, "pixels": 32, "grain": 10},
            "small": {**of, "examples": 300, "pixels": 16, "grain": 10},
            "tiny": {**of, "retrainings": 4, "epochs": 1, "examples": 100, "pixels": 8, "grain": 2},
        },
        goals=(Goal(2.5, quantity="wall"),),
        reason=reason,
    )


CASES = (
    _case(
        "fanout",
        "float32",
        "",
        2e-2,
        "Two cores could at most halve it, the order of channels brings a little more, and Snakemake's own start, "
        "evaluations, commits and records take a share that the other has not.",
    ),
    _case("fanout-bfloat16", *inputs.BFLOAT16),
)
