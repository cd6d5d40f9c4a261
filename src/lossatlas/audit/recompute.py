"""Make a file again in a scratch folder and compare: bit-identical, or the largest difference."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from lossatlas.audit import origin
from lossatlas.audit.integrity import BAD, check
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.specs.artefact import Artefact
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan


@dataclass(frozen=True)
class Difference:
    """How one dataset, column or attribute of two files differs.

    Attributes:
        name: of the dataset or column.
        count, size: values that differ, of how many; 0, 0 where they cannot be compared value by value.
        largest: largest absolute difference; infinite where a value is a number in one file only.
        relative: it, divided by the largest magnitude among the original's values.
    """

    name: str
    count: int = 0
    size: int = 0
    largest: float = np.inf
    relative: float = np.inf

    def __str__(self) -> str:
        if not self.size:
            return f"{self.name} differs"
        values = f"{self.count} of {self.size} values differ"
        return f"{self.name}: {values}, by at most {self.largest:.3g} ({self.relative:.3g} of the largest value)"


def verify(path: Path, root: Path, cores: int = 1, step: bool = False) -> list[Difference]:
    """Make a file again and compare it with its recomputation.

    Args:
        path: an artefact or product of lossatlas. Nothing beside it is written.
        root: the repository.
        cores: for Snakemake.
        step: take the artefacts it is made from as they lie in the same tree of results, after a check of their
            checksums, instead of making them again too.

    Returns:
        The differences; none when the file holds the same bits (of a picture: the same numbers).

    Raises:
        LossatlasError: the file is bad, cannot be made by this checkout, or the recomputation fails.
    """
    provenance = origin.read(path)
    _refuse_bad(path)
    wanted = origin.target(provenance)
    original = path if path.suffix in (".h5", ".csv") else path.with_suffix(".csv")
    if not original.is_file():
        raise LossatlasError(f"{original}: missing; of a picture its numbers are compared, which lie beside it")
    _refuse_bad(original)
    raw = origin.configuration(provenance, root)
    absolute = {"preset": _absolute(raw["preset"]), "studies": [_absolute(study) for study in raw["studies"]]}
    with tempfile.TemporaryDirectory(prefix="lossatlas-verify-") as scratch:
        if step:
            _link_inputs(provenance, wanted, raw, root, path, Path(scratch))
        config = origin.words({**raw, **absolute}, root)
        _run(Path(scratch), root, ["--cores", str(cores), "--config", *config, "--", wanted])
        return list(differences(original, Path(scratch) / wanted))


def _refuse_bad(path: Path) -> None:
    for finding in check([path]):
        if finding.state == BAD:
            raise LossatlasError(f"{path}: {finding.reason}; {finding.remedy}")


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
        _refuse_bad(tree / file)
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


# ---------------------------------------------------------------------------------------------------------------------
# comparison


def differences(first: Path, second: Path) -> Iterator[Difference]:
    """Yield the differences in what two files of one kind hold; dates and seconds do not count."""
    if first.suffix == ".csv":
        yield from _csv_differences(first, second)
        return
    with h5py.File(first, "r") as a, h5py.File(second, "r") as b:
        if checksum.stored_content(a) != checksum.stored_content(b):
            yield from _group_differences(a, b, "")


def _csv_differences(first: Path, second: Path) -> Iterator[Difference]:
    if first.read_bytes() == second.read_bytes():
        return
    a, b = (pd.read_csv(path) for path in (first, second))
    if list(a.columns) != list(b.columns) or len(a) != len(b):
        yield Difference(f"rows and columns: {a.shape} and {b.shape}")
        return
    for name in a:
        found = _difference(str(name), a[name].to_numpy(), b[name].to_numpy())
        if found:
            yield found


def _group_differences(a: h5py.Group, b: h5py.Group, place: str) -> Iterator[Difference]:
    skipped = {*checksum.NOT_CONTENT, checksum.SOURCES}
    names = sorted((set(a.attrs) | set(b.attrs)) - skipped)
    for name in names:
        if not np.array_equal(a.attrs.get(name, ""), b.attrs.get(name, "")):
            yield Difference(f"attribute {place}{name}")
    for name in sorted(set(a) | set(b)):
        if name not in a or name not in b:
            yield Difference(f"{place}{name} (in one of them only)")
        elif isinstance(a[name], h5py.Group):
            yield from _group_differences(a[name], b[name], f"{place}{name}/")
        elif (a[name].shape, a[name].dtype) != (b[name].shape, b[name].dtype):
            yield Difference(f"{place}{name}: {a[name].dtype} {a[name].shape} and {b[name].dtype} {b[name].shape}")
        else:
            yield from _dataset_differences(a[name], b[name], f"{place}{name}")


def _dataset_differences(a: h5py.Dataset, b: h5py.Dataset, name: str) -> Iterator[Difference]:
    """Compare two datasets in blocks of rows and merge what is found."""
    blocks = zip(checksum.blocks(a), checksum.blocks(b), strict=True)
    found = [part for part in (_difference(name, x, y) for x, y in blocks) if part]
    if found:
        largest = max(part.largest for part in found)
        scale = max((_scale(x) for x in checksum.blocks(a)), default=0.0)
        yield Difference(name, sum(part.count for part in found), a.size, largest, largest / scale if scale else np.inf)


def _difference(name: str, a: np.ndarray, b: np.ndarray) -> Difference | None:
    if a.dtype.kind not in "iufb" or b.dtype.kind not in "iufb":
        count = int(np.sum([x != y and not (x != x and y != y) for x, y in zip(a.ravel(), b.ravel(), strict=True)]))
        return Difference(name, count, a.size) if count else None
    x, y = a.astype(np.float64), b.astype(np.float64)
    differs = (x != y) & ~(np.isnan(x) & np.isnan(y))
    if not differs.any():
        return None
    gaps = np.abs(x - y)[differs]
    largest = float(np.max(np.where(np.isnan(gaps), np.inf, gaps)))
    scale = _scale(x)
    return Difference(name, int(differs.sum()), a.size, largest, largest / scale if scale else np.inf)


def _scale(values: np.ndarray) -> float:
    """Return the largest magnitude among the finite values; 0 where there is none."""
    if values.dtype.kind not in "iufb":
        return 0.0
    return float(np.max(np.abs(values.astype(np.float64)), where=np.isfinite(values), initial=0.0))


# ---------------------------------------------------------------------------------------------------------------------
# the command


def report(path: Path, found: list[Difference]) -> str:
    """Return the verdict on a file in one line, and a line for each difference."""
    what = "what it holds" if path.suffix == ".h5" else "its numbers"
    if not found:
        return f"{path}: bit-identical: {what} came out the same when made again"
    return "\n".join([f"{path}: differs from its recomputation", *(f"  {difference}" for difference in found)])


def repository() -> Path:
    """Return the repository: the working directory, or the one this package lies in."""
    for root in (Path.cwd(), Path(__file__).resolve().parents[3]):
        if (root / "Snakefile").is_file() and (root / "config" / "config.yaml").is_file():
            return root
    raise LossatlasError("no Snakefile here; run this in the repository")
