"""Make a file again in a scratch folder, and say at which level it agrees with what lies there."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lossatlas.audit import agreement, facts, origin
from lossatlas.audit.agreement import Agreement, Comparison
from lossatlas.audit.nearness import BITS
from lossatlas.errors import LossatlasError
from lossatlas.specs.artefact import Artefact
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan


def verify(path: Path, root: Path, cores: int = 1, step: bool = False) -> tuple[Agreement, str]:
    """Make a file again and compare it with its recomputation.

    Args:
        path: an artefact or product of lossatlas. Nothing beside it is written.
        root: the repository.
        cores: for Snakemake.
        step: take the artefacts it is made from as they lie in the same tree of results, after a check of their
            checksums, instead of making them again too.

    Returns:
        How it agrees with its recomputation, in bits when it holds the same (of a picture: the same numbers), and the
        same as a text, with every difference.

    Raises:
        LossatlasError: the file is bad, cannot be made by this checkout, or the recomputation fails.
    """
    provenance = origin.read(path)
    agreement.refuse_bad(path)
    wanted = origin.target(provenance)
    if provenance.get("kind") == "gallery":
        raise LossatlasError(f"{path}: a gallery computes nothing; verify the figures, tables and claims it shows")
    original = agreement.numbers_of(path)
    agreement.refuse_bad(original)
    raw = origin.configuration(provenance, root)
    absolute = {"preset": _absolute(raw["preset"]), "studies": [_absolute(study) for study in raw["studies"]]}
    with tempfile.TemporaryDirectory(prefix="lossatlas-verify-") as scratch:
        if step:
            _link_inputs(provenance, wanted, raw, root, path, Path(scratch))
        config = origin.words({**raw, **absolute}, root)
        _run(Path(scratch), root, ["--cores", str(cores), "--config", *config, "--", wanted])
        made = Path(scratch) / wanted
        found = Comparison(facts.results_folder(original), Path(scratch) / "results").pair(original, made)
        return found, _report(path, found)


def _report(path: Path, found: Agreement) -> str:
    if found.level == BITS:
        what = "what it holds" if path.suffix == ".h5" else "its numbers"
        return f"{path}: bit-identical: {what} came out the same when made again"
    return agreement.report(found, f"{path}: differs from its recomputation; they agree at level")


def _absolute(entry: str) -> str:
    """Return a study or preset as another working directory can name it: a path absolute, a name as it is."""
    return str(Path(entry).resolve()) if str(entry).endswith((".yaml", ".yml")) else str(entry)


def _run(scratch: Path, root: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "snakemake", "-s", str(root / "Snakefile"), *arguments]
    paths = [str(Path.cwd()), os.environ.get("PYTHONPATH", "")]  # a user's own builder is found as before
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        command, cwd=scratch, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.startswith("lossatlas: error:")]
        reason = said[0].removeprefix("lossatlas: error: ") if said else "\n" + done.stdout.strip()
        raise LossatlasError(f"the recomputation failed: {reason}")


def _link_inputs(provenance: Mapping, wanted: str, raw: Mapping, root: Path, path: Path, scratch: Path) -> None:
    """Put links to the artefacts that a file is directly made from into the scratch folder."""
    tree = Path(os.path.abspath(path)).parents[len(Path(wanted).parts) - 1]
    for file in dict.fromkeys(file for made in _inputs(provenance, Plan(load(raw, root))) for file in made.files()):
        if not (tree / file).is_file():
            raise LossatlasError(f"{tree / file}: missing; without --step it is made again, too")
        agreement.refuse_bad(tree / file)
        link = (scratch / file).parent
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((tree / file).parent, target_is_directory=True)


def _inputs(provenance: Mapping, plan: Plan) -> list[Artefact]:
    if provenance.get("kind") in subjects.steps():
        made = plan.artefact(provenance["kind"], f"{provenance['label']}-{provenance['hash']}")
        return [part for parts in made.inputs.values() for part in parts]
    products = plan.products()
    if "study" in provenance:
        same = (provenance["study"], provenance["name"])
        products = [product for product in products if (product.study, product.name) == same]
    return [made for product in products for made in product.artefacts]
