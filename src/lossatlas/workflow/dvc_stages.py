"""Write dvc.yaml from the quick preset: DVC stages that drive the same Snakemake targets.

    python -m lossatlas.workflow.dvc_stages            write dvc.yaml
    python -m lossatlas.workflow.dvc_stages --check    exit 1 when dvc.yaml is not what the configuration says

A study has a stage for its trained runs, its Gram matrices and its small probes each (cached: what ``dvc pull`` brings,
and all that figures need), and one for its figures (drawn anew, cheap). Paths carry spec hashes, so a changed number
changes this file.
"""

import argparse
import sys
from pathlib import Path

import yaml

from lossatlas.config import load, read_yaml
from lossatlas.data import catalogue
from lossatlas.plan import Plan
from lossatlas.specs import Artefact

PRESET = "quick"
HEADER = "# Written by `python -m lossatlas.workflow.dvc_stages` from the quick preset; `make dvc` runs it.\n"
CACHED = ("runs", "grams", "surfaces", "averages")


def _command(study: str, targets: list[str]) -> str:
    return f"snakemake --config preset={PRESET} 'studies=[{study}]' -- " + " ".join(targets)


def _folder(made: Artefact) -> str:
    return str(Path(made.path).parent)


def stages(plan: Plan) -> dict:
    """Return the content of dvc.yaml; an artefact that two studies share belongs to the first."""
    found: dict[str, dict] = {}
    taken: set[str] = set()
    for name, study in plan.studies.items():
        products = [*study.figures.values(), *study.tables.values(), study.claims]
        parts = {p.path: p for product in products for made in product.artefacts for p in made.ancestry()}
        deps = {kind: [_folder(p) for p in parts.values() if p.kind == kind] for kind in CACHED}
        files = [
            file
            for p in parts.values()
            if p.kind == "data"
            for file in catalogue.tracked_files(p.spec["name"], p.spec["variant"])
        ]
        before = sorted(set(files))
        for kind in CACHED:
            own = sorted((p for p in parts.values() if p.kind == kind and p.path not in taken), key=lambda p: p.path)
            if not own:
                continue
            taken |= {p.path for p in own}
            found[f"{name}-{kind}"] = {
                "cmd": _command(name, [p.path for p in own]),
                "deps": before,
                "outs": [{_folder(p): {"persist": True}} for p in own],
            }
            before = sorted(deps[kind])
        claims = f"results/claims/{name}.csv"
        figures = [f"results/figures/{name}/{figure}.png" for figure in study.figures]
        tables = [f"results/tables/{name}/{table}.csv" for table in study.tables]
        found[f"{name}-figures"] = {
            "cmd": _command(name, [*figures, *tables, claims]),
            "deps": sorted(folder for kind in CACHED for folder in deps[kind]),
            "outs": [{claims: {"cache": False, "persist": True}}],
        }
    return {"stages": found}


def main() -> int:
    """Write or check dvc.yaml in the working directory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="do not write; exit 1 when the file is out of date")
    check = parser.parse_args().check
    root = Path.cwd()
    raw = {**read_yaml(root / "config" / "config.yaml"), "preset": PRESET}
    text = HEADER + yaml.safe_dump(stages(Plan(load(raw, root))), sort_keys=False, width=120)
    file = root / "dvc.yaml"
    if check:
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            print("dvc.yaml is not what the configuration says; run `make dvc`", file=sys.stderr)
            return 1
        return 0
    file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
