"""How far rounding takes the early losses of trainings: the evidence for the limits in lossatlas.audit.nearness.

    OMP_NUM_THREADS=1 python benchmarks/early_losses.py measure here.json
    OMP_NUM_THREADS=1 MKL_CBWR=COMPATIBLE python benchmarks/early_losses.py measure other.json
    OMP_NUM_THREADS=1 python benchmarks/early_losses.py measure coarse.json --precision bfloat16
    python benchmarks/early_losses.py compare here.json other.json

``measure`` takes the first eleven steps of every training of the quick preset that differs in data, network or recipe
(runs, and of each sweep the first member), with the kernels that the environment allows, and keeps the losses at the
steps of a fingerprint. ``compare`` prints for each step the median and the largest relative difference, and whose.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lossatlas.specs.artefact import Artefact
from lossatlas.specs.registry import Job, resolve
from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load
from lossatlas.study.plan import Plan

ROOT = Path(__file__).resolve().parents[1]


class Enough(Exception):  # noqa: N818
    """The last step of a fingerprint has been seen."""


def trainings() -> Iterator[tuple[Artefact, Mapping, Mapping]]:
    """Yield an artefact, recipe and seeds of every training of the quick preset that is like no other."""
    plan = Plan(load({**read_yaml(ROOT / "config" / "config.yaml"), "preset": "quick"}, ROOT))
    seen = set()
    for (kind, _), made in sorted(plan.artefacts.items()):
        if kind not in ("runs", "sweeps") or made.spec.get("lockstep"):
            continue
        recipe = dict(made.spec["recipe"])
        member = made.spec["members"][0] if kind == "sweeps" else made.spec
        if kind == "sweeps" and made.spec["parameter"]:
            recipe[made.spec["parameter"]] = made.spec["factor"] * member["value"]
        steps = {key: value for key, value in recipe.items() if key not in ("epochs", "milestones")}
        like = json.dumps([made.inputs["data"][0].id, made.spec["model"], made.spec["labels"], steps], sort_keys=True)
        if like not in seen:
            seen.add(like)
            yield made, recipe, member["seeds"]


def early_losses(made: Artefact, recipe: Mapping, seeds: Mapping, data: Path) -> dict[int, float]:
    """Return the losses of a training at the steps of a fingerprint."""
    from lossatlas.train.examples import build_model, drawing, make_examples
    from lossatlas.train.loop import FINGERPRINT, Training
    from lossatlas.train.precision import device_for

    more = drawing({**made.spec, "seeds": seeds})
    device = device_for(recipe["precision"])
    examples, outputs = make_examples(data, made.spec["labels"], seeds["labels"], recipe["precision"], device, **more)
    losses: dict[int, float] = {}

    def keep(step: int, loss: float) -> None:
        losses[step] = loss
        if step == FINGERPRINT[-1]:
            raise Enough

    model = build_model(made.spec["model"], examples, outputs, seeds["init"])
    training = Training(model, examples, recipe, seeds["training"], made.id, keep)
    try:
        for epoch in range(recipe["epochs"]):
            training.epoch(epoch)
    except Enough:
        pass
    return losses


def measure(output: Path, precision: str) -> None:
    """Write path -> {precision, losses} as JSON; what a study trains in float64 stays so."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for made, recipe, seeds in trainings():
            (data,) = made.inputs["data"]
            file = Path(scratch) / data.path
            if not file.exists():
                file.parent.mkdir(parents=True)
                resolve(data.run)(Job(data.spec, {}, file, Path(scratch) / "state", {}, ROOT))
            asked = "float64" if recipe["precision"] == "float64" else precision
            losses = early_losses(made, {**recipe, "precision": asked}, seeds, file)
            found[f"{made.kind}/{made.id}"] = {"precision": asked, "losses": losses}
            print(f"{made.kind}/{made.id} {asked} {losses}", flush=True)
    output.write_text(json.dumps(found, indent=1) + "\n")


def compare(first: Path, second: Path) -> None:
    """Print how far two measurements are apart; what one of them lacks or took in float64 on both sides is left out."""
    a, b = (json.loads(path.read_text()) for path in (first, second))
    for step in ("0", "1", "10"):
        gaps = {}
        for name in a:
            float64 = [side.get(name, {}).get("precision") == "float64" for side in (a, b)]
            if name in b and step in a[name]["losses"] and step in b[name]["losses"] and not all(float64):
                x, y = a[name]["losses"][step], b[name]["losses"][step]
                gaps[name] = abs(x - y) / max(abs(x), abs(y))
        values = np.array(list(gaps.values()))
        print(
            f"step {step}: {len(values)} trainings, {np.sum(values == 0)} equal, smallest {values.min():.1e}, "
            f"median {np.median(values):.1e}, largest {values.max():.1e} ({max(gaps, key=lambda name: gaps[name])})"
        )


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("output", type=Path)
    one.add_argument("--precision", default="float32")
    two = commands.add_parser("compare")
    two.add_argument("first", type=Path)
    two.add_argument("second", type=Path)
    given = parser.parse_args()
    if given.command == "measure":
        measure(given.output, given.precision)
    else:
        compare(given.first, given.second)


if __name__ == "__main__":
    main()
