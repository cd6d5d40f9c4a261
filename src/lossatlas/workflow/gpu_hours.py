"""Hours a preset takes on a cluster, study by study, from the plan; or the speeds that finished jobs really had.

python -m lossatlas.workflow.gpu_hours                     every study of config/studies, preset paper
python -m lossatlas.workflow.gpu_hours --preset laptop trajectories
python -m lossatlas.workflow.gpu_hours --preset laptop --measured [FOLDER...] > speeds.json
                                                           speeds of the finished jobs in results/, for LOSSATLAS_SPEEDS
"""

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from lossatlas.errors import LossatlasError
from lossatlas.files.record import read_provenance
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import Cluster, load
from lossatlas.study.plan import Plan
from lossatlas.workflow import cost, resources

COLUMNS = (
    "study", "jobs", "on a GPU", "GPU hours", "GPU hours asked", "on a core", "core hours", "under 5 min", "longest, h",
    "critical path, h",
)  # fmt: skip

SHORT = 300.0
"""Seconds below which a job's start is no small part of it."""

LEAST = 3.0
"""Jobs are measured that took so many times their start: shorter ones say more of that than of the device."""


def make_plan(preset: str, studies: list[str], root: Path) -> Plan:
    """Return the plan of a preset; all studies of config/studies when none is named."""
    names = studies or sorted(path.stem for path in (root / "config" / "studies").glob("*.yaml"))
    raw = read_yaml(root / "config" / "config.yaml")
    return Plan(load({**raw, "preset": preset, "studies": names}, root))


def jobs_of(plan: Plan, study: str) -> list[Artefact]:
    """Return all that a study makes, each artefact once and after what it is made from."""
    one = plan.studies[study]
    products = [*one.figures.values(), *one.tables.values(), one.claims]
    return list(
        {part.path: part for product in products for made in product.artefacts for part in made.ancestry()}.values()
    )


def critical_path(jobs: Iterable[Artefact], cluster: Cluster) -> float:
    """Return the seconds of the longest chain of jobs, given in an order in which none stands before what it needs."""
    ends: dict[str, float] = {}
    for made in jobs:
        before = max((ends[source.path] for parts in made.inputs.values() for source in parts), default=0.0)
        ends[made.path] = before + resources.seconds(made, cluster)
    return max(ends.values(), default=0.0)


def line(name: str, jobs: list[Artefact], cluster: Cluster) -> tuple[str, ...]:
    """Return a study's line of the table."""
    seconds = {made.path: resources.seconds(made, cluster) for made in jobs}
    networks = [made for made in jobs if resources.on_network(made.kind)]
    on_gpu = [made for made in networks if resources.device(made, cluster) == cost.GPU]
    gpu = {made.path for made in on_gpu}
    asked = sum(resources.request(made.kind, [made], 0, cluster)["runtime"] for made in on_gpu)
    return (
        name,
        str(len(jobs)),
        str(len(on_gpu)),
        f"{sum(seconds[path] for path in gpu) / 3600:.1f}",
        f"{asked / 60:.0f}",
        str(len(networks) - len(on_gpu)),
        f"{sum(value for path, value in seconds.items() if path not in gpu) / 3600:.1f}",
        str(sum(seconds[path] < SHORT for path in gpu)),
        f"{max(seconds.values(), default=0) / 3600:.2f}",
        f"{critical_path(jobs, cluster) / 3600:.2f}",
    )


def table(plan: Plan) -> list[tuple[str, ...]]:
    """Return the table: a line a study, and the sum, in which work that two studies share counts once."""
    cluster = plan.config.cluster
    lines = [line(study, jobs_of(plan, study), cluster) for study in plan.studies]
    return [COLUMNS, *lines, line("all", list(plan.artefacts.values()), cluster)]


def markdown(rows: list[tuple[str, ...]]) -> str:
    """Return the table as the documentation has it."""
    head, *body = rows
    rule = ("---", *("---:" for _ in head[1:]))
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *body))


def finished(plan: Plan, folders: Iterable[Path]) -> list[tuple[str, str, cost.Demand, float]]:
    """Return (device, kind, demand, seconds without the start) of the plan's finished jobs on networks."""
    found = []
    for made in plan.artefacts.values():
        files = [folder / Path(made.path).relative_to("results") for folder in folders]
        file = next((file for file in files if file.exists()), None)
        if file is None or not resources.on_network(made.kind):
            continue
        about = read_provenance(file)
        device = cost.CPU if about.get("device", cost.CPU) == cost.CPU else cost.GPU
        start, taken = cost.NETWORK_SECONDS[device], float(about["seconds"])
        if taken >= LEAST * start and taken > start:
            found.append((device, made.kind, cost.demand(made), taken - start))
    return found


def measured(plans: Iterable[Plan], folders: list[Path]) -> dict:
    """Return the content of a file of speeds, fitted to the finished jobs of plans in folders of results.

    A device on which none has run keeps the speeds in force.
    """
    from lossatlas.workflow.fit import fit_kinds  # scipy: not for the table

    every = [one for plan in plans for one in finished(plan, folders)]
    if not every:
        names = ", ".join(map(str, folders))
        raise LossatlasError(f"{names}: got no finished job on networks of this preset, expected one; run it first")
    before = cost.speeds_file()
    content: dict = {"about": cost.about(before)}
    for device, known in cost.speeds(before).items():
        jobs = [one[1:] for one in every if one[0] == device]
        speeds = fit_kinds(jobs, known[""]) if jobs else known
        content[device] = {kind: asdict(speed) for kind, speed in speeds.items()}
        if jobs:
            content["about"][device] = _about(jobs, speeds)
    return content


def _about(jobs: list[tuple[str, cost.Demand, float]], speeds: Mapping[str, cost.Speed]) -> str:
    """Return how well speeds fit the jobs they were fitted to."""
    off = defaultdict(list)
    for kind, demand, taken in jobs:
        off[kind].append(abs(math.log(taken / speeds[kind].seconds(demand))))
    every = sorted(value for values in off.values() for value in values)
    half, most = (math.exp(every[int(share * (len(every) - 1))]) for share in (0.5, 0.9))
    kinds = ", ".join(f"{len(values)} {kind}" for kind, values in sorted(off.items()))
    return f"fitted to {len(every)} jobs ({kinds}); half are within a factor of {half:.1f}, nine in ten of {most:.1f}"


def main() -> int:
    """Print the table, or the measured speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", help="names or YAML files (default: every study of config/studies)")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--measured", nargs="*", metavar="FOLDER", help="speeds of the finished jobs in these results")
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    given = parser.parse_args()
    try:
        plan = make_plan(given.preset, given.studies, Path.cwd())
        if given.measured is not None:
            folders = [Path(folder) for folder in given.measured or ["results"]]
            print(json.dumps(measured([plan], folders), indent=1))
            return 0
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
    print(f"\n{resources.speeds_in_words()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
