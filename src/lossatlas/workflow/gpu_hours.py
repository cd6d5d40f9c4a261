"""GPU hours a preset asks for, study by study, from the plan; or the speed that finished runs really had.

python -m lossatlas.workflow.gpu_hours                     every study of config/studies, preset paper
python -m lossatlas.workflow.gpu_hours --preset laptop trajectories
python -m lossatlas.workflow.gpu_hours --measured          TFLOP/s of the runs in results/, for LOSSATLAS_GPU_TFLOPS
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from lossatlas.errors import LossatlasError
from lossatlas.files.record import read_provenance
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.yaml import read_yaml
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.workflow import resources

COLUMNS = ("study", "runs", "retrains", "other", "PFLOP", "GPU hours", "longest job, h", "asked for, h")


def make_plan(preset: str, studies: list[str], root: Path) -> Plan:
    """Return the plan of a preset; all studies of config/studies when none is named."""
    names = studies or sorted(path.stem for path in (root / "config" / "studies").glob("*.yaml"))
    raw = read_yaml(root / "config" / "config.yaml")
    return Plan(load({**raw, "preset": preset, "studies": names}, root))


def gpu_jobs(plan: Plan, study: str) -> list[Artefact]:
    """Return what a study computes on networks, each artefact once."""
    one = plan.studies[study]
    products = [*one.figures.values(), *one.tables.values(), one.claims]
    parts = {part.path: part for product in products for made in product.artefacts for part in made.ancestry()}
    return [part for part in parts.values() if subjects.steps()[part.kind].gpu]


def line(name: str, jobs: list[Artefact]) -> tuple[str, ...]:
    """Return a study's line of the table."""
    seconds = [resources.gpu_seconds(made) for made in jobs]
    asked = max((resources.size(made.kind, "runtime", [made], 1) for made in jobs), default=0)
    kinds = [made.kind for made in jobs]
    runs, retrains = kinds.count("runs"), kinds.count("retrains")
    return (
        name,
        str(runs),
        str(retrains),
        str(len(jobs) - runs - retrains),
        f"{sum(resources.work(made).flops for made in jobs) / 1e15:.1f}",
        f"{sum(seconds) / 3600:.1f}",
        f"{max(seconds, default=0) / 3600:.2f}",
        f"{asked / 60:.2f}",
    )


def table(plan: Plan) -> list[tuple[str, ...]]:
    """Return the table: a line a study, and the sum, in which work that two studies share counts once."""
    lines = [line(study, gpu_jobs(plan, study)) for study in plan.studies]
    every = [made for kind, step in subjects.steps().items() if step.gpu for made in plan.of_kind(kind)]
    return [COLUMNS, *lines, line("all", every)]


def measured(folder: Path, plan: Plan) -> list[tuple[float, str]]:
    """Return (TFLOP/s, device) of the plan's finished runs and retrainings in a results folder.

    Only the last part of a run that was interrupted is in its seconds, so its speed comes out too high: the median of
    many is what to use.
    """
    found = []
    for made in [*plan.of_kind("runs"), *plan.of_kind("retrains")]:
        file = folder / Path(made.path).relative_to("results")
        if file.exists():
            about = read_provenance(file)
            found.append(
                (resources.work(made).flops / float(about["seconds"]) / 1e12, str(about.get("device", "unknown")))
            )
    return found


def main() -> int:
    """Print the table, or the measured speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", help="names or YAML files (default: every study of config/studies)")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--measured", action="store_true", help="speed of the finished runs in results/")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    given = parser.parse_args()
    try:
        plan = make_plan(given.preset, given.studies, Path.cwd())
        if given.measured:
            return _print_measured(plan)
        lines = table(plan)
    except LossatlasError as error:
        print(f"lossatlas: error: {error}", file=sys.stderr)
        return 1
    if given.json:
        print(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in lines[1:]], indent=1))
        return 0
    widths = [max(len(row[i]) for row in lines) for i in range(len(COLUMNS))]
    for row in lines:
        print(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    print(f"\n{resources.speed_in_words()}")
    return 0


def _print_measured(plan: Plan) -> int:
    speeds = measured(Path("results"), plan)
    if not speeds:
        print("lossatlas: error: results/ holds no finished run of this preset; run one first", file=sys.stderr)
        return 1
    values = [speed for speed, _ in speeds]
    print(f"{len(values)} runs and retrainings on {', '.join(sorted({device for _, device in speeds}))}")
    print(f"LOSSATLAS_GPU_TFLOPS={statistics.median(values):.3g}   # median; {min(values):.3g} to {max(values):.3g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
