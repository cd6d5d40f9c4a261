"""Write dvc.yaml from config/config.yaml: DVC stages that drive the same Snakemake targets.

    python -m lossatlas.workflow.dvc_stages            write dvc.yaml
    python -m lossatlas.workflow.dvc_stages --check    exit 1 when dvc.yaml is not what the configuration says

A study is one stage, named as it is, so that ``dvc pull <study>`` brings its trained runs, Gram matrices, embeddings
and scores (all that its figures need), the prepared data and its scorecard, a DVC metric. What several studies need is
in the stage ``shared``. Studies that ``config/store.yaml`` names have none; their stages leave dvc.lock, too.
Paths carry spec hashes, so a changed number changes this file; data are no dependencies of a stage, since those
hashes count their checksums.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from lossatlas.errors import LossatlasError
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.yaml import nearest, read_yaml
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan, StudyPlan
from lossatlas.workflow import resources

STORE = Path("config/store.yaml")
SMALL = 300_000
"""Bytes of weights that a stored training has at most."""
FLOAT_BYTES = 4
HEADER = "# Written by `python -m lossatlas.workflow.dvc_stages`; `make dvc` runs it.\n"
SHARED = "shared"


def _command(preset: str, studies: list[str], targets: list[str]) -> str:
    return f"snakemake --config preset={preset} 'studies=[{','.join(studies)}]' -- " + " ".join(targets)


def _folders(paths: list[str]) -> list[str]:
    return [str(Path(path).parent) for path in paths]


def _outs(paths: list[str]) -> list[dict]:
    return [{folder: {"persist": True}} for folder in _folders(paths)]


def _cached(study: StudyPlan) -> list[str]:
    """Return the files of a study that DVC keeps, kind by kind."""
    products = [*study.figures.values(), *study.tables.values(), study.claims]
    read = {artefact.path for product in products for artefact in product.artefacts}
    made = {p.path: p for product in products for artefact in product.artefacts for p in artefact.ancestry()}
    kept = [
        path
        for path, part in made.items()
        if subjects.steps()[part.kind].stored and (path in read or not _is_part(part))
    ]
    return sorted(kept, key=lambda path: (list(subjects.steps()).index(made[path].kind), path))


def _is_part(made: Artefact) -> bool:
    """Whether an artefact is kept only if a figure reads it itself.

    Weights are large, and what figures show of a training is in its history and in Gram matrices; a tile is in its
    grid, and what figures show of a Gram matrix of many points in its embedding. Small networks are kept all the same,
    so that probes can be tried on them.
    """
    if made.kind != "runs":
        return made.kind in ("tiles", "grams")
    work = resources.work(made)
    return work.parameters * work.rows * FLOAT_BYTES > SMALL


def stages(plan: Plan, entries: Mapping[str, str]) -> dict:
    """Return the content of dvc.yaml.

    Args:
        plan: of the configuration.
        entries: study -> how its file is named in YAML or on the command line, a name or a path.
    """
    if SHARED in plan.studies:
        raise LossatlasError(f"study {SHARED!r}: DVC's stage of what several studies need has that name; rename it")
    preset = plan.config.preset
    cached = {name: _cached(study) for name, study in plan.studies.items()}
    owners = {path: [name for name in cached if path in cached[name]] for paths in cached.values() for path in paths}
    shared = [path for path, names in owners.items() if len(names) > 1]
    found: dict[str, dict] = {}
    if shared:
        needing = [entries[name] for name in cached if any(name in owners[path] for path in shared)]
        found[SHARED] = {"cmd": _command(preset, needing, shared), "outs": _outs(shared)}
    for name, study in plan.studies.items():
        own = [path for path in cached[name] if path not in shared]
        metrics = f"results/claims/{name}.metrics.json"
        figures = [f"results/figures/{name}/{figure}.png" for figure in study.figures]
        tables = [f"results/tables/{name}/{table}.csv" for table in study.tables]
        entry = entries[name]
        file = entry if entry.endswith((".yaml", ".yml")) else f"config/studies/{entry}.yaml"
        stage = {
            "cmd": _command(preset, [entry], [*own, *figures, *tables, metrics]),
            "params": [{file: ["claims"]}],
            "deps": _folders([path for path in cached[name] if path in shared]),
            "outs": _outs(own),
            "metrics": [{metrics: {"persist": True}}],
        }
        found[name] = {key: value for key, value in stage.items() if value}
    return {"stages": found}


def forgotten(root: Path, written: Mapping) -> dict | None:
    """Return dvc.lock without the stages that dvc.yaml no longer has, which DVC itself keeps; None where it has none.

    Args:
        root: folder of both.
        written: the content of dvc.yaml.
    """
    lock = root / "dvc.lock"
    found = read_yaml(lock) if lock.exists() else {}
    known = found.get("stages", {})
    kept = {name: stage for name, stage in known.items() if name in written["stages"]}
    return None if len(kept) == len(known) else {**found, "stages": kept}


def _left_out(root: Path) -> list[str]:
    """Return the studies that have no stage.

    Raises:
        LossatlasError: the file does not list studies that there are.
    """
    if not (root / STORE).is_file():
        return []
    file = read_yaml(root / STORE)
    names = file.get("without") if isinstance(file, Mapping) else None
    if not isinstance(names, list):
        raise LossatlasError(f"{STORE}: without is {names!r}, expected a list of studies; [] leaves out none")
    known = sorted(path.stem for path in (root / "config/studies").glob("*.yaml"))
    for name in names:
        if name not in known:
            raise LossatlasError(f"{STORE}: without: {name!r} is not a study; {nearest(str(name), known)}")
    return names


def _written(root: Path) -> dict:
    """Return the content of dvc.yaml for the configuration in a folder."""
    raw = read_yaml(root / "config" / "config.yaml")
    left_out = _left_out(root)
    raw["studies"] = [entry for entry in raw["studies"] if Path(entry).stem not in left_out]
    entries = {Path(entry).stem: str(entry) for entry in raw["studies"]}
    return stages(Plan(load(raw, root)), entries) if entries else {"stages": {}}


def main() -> int:
    """Write or check dvc.yaml in the working directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="do not write; exit 1 when the file is out of date")
    check = parser.parse_args().check
    root = Path.cwd()
    try:
        written = _written(root)
    except LossatlasError as error:
        print("\n".join(f"lossatlas: error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 1
    text = HEADER + yaml.safe_dump(written, sort_keys=False, width=120)
    file, lock = root / "dvc.yaml", forgotten(root, written)
    if check:
        old = "dvc.lock" if lock is not None else ""
        old = old if file.exists() and file.read_text(encoding="utf-8") == text else "dvc.yaml"
        if old:
            print(f"{old} is not what the configuration says; run `make dvc`", file=sys.stderr)
        return 1 if old else 0
    file.write_text(text, encoding="utf-8")
    if lock is not None:
        (root / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
