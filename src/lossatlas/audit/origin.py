"""Where a file comes from: its provenance as a person reads it, and the command that makes it again."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import yaml
from PIL import Image, UnidentifiedImageError

from lossatlas.audit.integrity import check
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.provenance import INPUTS, SEGMENTS
from lossatlas.files.record import provenance_file
from lossatlas.specs.yaml import read_yaml
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan

OVERRIDING = ("seed", "numerics", "variants", "overrides")
"""Keys of the configuration that a command names only where they differ from the repository's."""

NOT_RECORDED = "not recorded: an earlier version wrote it"

PICTURES = (".png", ".pdf", ".svg", ".mp4", ".gif")

_KEYWORDS = re.compile(rb"/Keywords\s*\(((?:[^()\\]|\\.)*)\)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)


def read(path: Path) -> dict:
    """Return the provenance of any file that lossatlas made: inside it, or in the record beside it.

    Raises:
        LossatlasError: there is no such file, or it carries none.
    """
    if not path.is_file():
        raise LossatlasError(f"{path}: no such file")
    readers = {".h5": _hdf5, ".png": _picture, ".gif": _picture, ".pdf": _pdf}
    try:
        text = readers[path.suffix](path) if path.suffix in readers else ""
        if not text and provenance_file(path).is_file():
            text = provenance_file(path).read_text(encoding="utf-8")
        found = json.loads(text) if text else None
    except (OSError, UnidentifiedImageError, KeyError, RuntimeError, ValueError) as error:  # h5py raises all of them
        raise LossatlasError(
            f"{path}: not readable ({str(error).splitlines()[0]}); `python -m lossatlas.fsck {path}` says more"
        ) from None
    if not isinstance(found, dict) or "commit" not in found:
        raise LossatlasError(
            f"{path}: carries no provenance; HDF5 files and pictures of lossatlas do, tables with a .json beside them"
        )
    return {key: value for key, value in found.items() if key not in (checksum.FILES, checksum.RECORD)}


def _hdf5(path: Path) -> str:
    with h5py.File(path, "r") as file:
        return str(file.attrs.get("provenance", ""))


def _picture(path: Path) -> str:
    with Image.open(path) as picture:
        picture.load()
        text = picture.info.get("lossatlas" if path.suffix == ".png" else "comment", "")
    return text.decode() if isinstance(text, bytes) else str(text)


def _pdf(path: Path) -> str:
    """Return the Keywords of a PDF whose information is plain, as matplotlib writes it."""
    found = _KEYWORDS.search(path.read_bytes())
    return _ESCAPE.sub(_unescaped, found[1]).decode("latin-1") if found else ""


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    if code.isdigit():
        return bytes([int(code, 8)])
    return {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b""}.get(code, code)


def target(provenance: Mapping) -> str:
    """Return the file to ask Snakemake for: of an artefact its own, of a product its numbers."""
    if provenance.get("kind") in subjects.steps():
        kind = provenance["kind"]
        return f"results/{kind}/{provenance['label']}-{provenance['hash']}/{subjects.steps()[kind].file}"
    if "study" in provenance:
        study, name = provenance["study"], provenance["name"]
        if "claims" in provenance["spec"]:
            return f"results/claims/{study}.csv"
        role = subjects.products()[provenance["spec"]["kind"]].role
        return f"results/{role}s/{study}/{name}.csv"
    names = {"scorecard": "results/claims.csv", "statements": "results/scorecard.csv", "index": "results/index.csv"}
    names["gallery"] = provenance.get("target", "results/figures/all")
    if provenance.get("kind") in names:
        return names[provenance["kind"]]
    raise LossatlasError("its provenance names neither an artefact nor a product of a study; nothing can make it again")


def configuration(provenance: Mapping, root: Path) -> dict:
    """Return the configuration that asks for a file: the recorded one, or the first preset of the repository that does.

    Raises:
        LossatlasError: the studies of this checkout no longer ask for it.
    """
    base = read_yaml(root / "config" / "config.yaml")
    if "config" in provenance:
        candidates = [{**base, **provenance["config"]}]
    else:
        presets = sorted(path.stem for path in (root / "config" / "presets").glob("*.yaml"))
        presets.sort(key=lambda name: name != provenance.get("preset", base["preset"]))
        candidates = [{**base, "preset": preset} for preset in presets]
    for candidate in candidates:
        if _asks_for(candidate, provenance, root):
            return candidate
    commit = str(provenance["commit"]).rstrip("+")
    raise LossatlasError(
        f"{target(provenance)}: the studies of this checkout no longer ask for it; `git checkout {commit}` has what did"
    )


def _asks_for(raw: Mapping, provenance: Mapping, root: Path) -> bool:
    try:
        plan = Plan(load(raw, root))
    except LossatlasError:
        return False
    if provenance.get("kind") in subjects.steps():
        return (provenance["kind"], f"{provenance['label']}-{provenance['hash']}") in plan.artefacts
    if "study" not in provenance:
        return True
    products = [product for product in plan.products() if product.study == provenance["study"]]
    name = provenance["name"]
    return any(product.name == name and product.spec == provenance["spec"] for product in products)


def words(raw: Mapping, root: Path) -> list[str]:
    """Return a configuration as words behind Snakemake's ``--config``."""
    base = read_yaml(root / "config" / "config.yaml")
    found = [f"preset={raw['preset']}", f"studies=[{','.join(map(str, raw['studies']))}]"]
    return found + [f"{key}={json.dumps(raw[key])}" for key in OVERRIDING if raw.get(key) != base.get(key)]


def command(provenance: Mapping, root: Path, suffix: str = "") -> str:
    """Return the command that makes a file again, as a user types it in the repository; of a picture by its suffix."""
    given = words(configuration(provenance, root), root)
    wanted = Path(target(provenance))
    wanted = wanted.with_suffix(suffix) if suffix in PICTURES else wanted
    return shlex.join(["snakemake", "--cores", "1", "--config", *given, "--", str(wanted)])


def seeds(spec: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every seed of a spec with the keys that lead to it."""
    if not isinstance(spec, Mapping):
        return
    for key, value in spec.items():
        where = f"{place}.{key}" if place else str(key)
        if key in ("seed", "seeds", "master"):
            yield where, value
        else:
            yield from seeds(value, where)


def describe(path: Path, provenance: Mapping, root: Path) -> str:
    """Return what made a file, as YAML."""
    about = {key: provenance[key] for key in ("kind", "label", "hash", "version", "study", "name") if key in provenance}
    (finding,) = check([path])
    try:
        again = command(provenance, root, path.suffix)
    except LossatlasError as error:
        again = f"not from here: {error}"
    shown = {
        "file": str(path),
        **about,
        "checksum": " ".join(filter(None, [finding.state, finding.reason and f"({finding.reason})"])),
        "made": provenance.get("created", "unknown"),
        "seconds": provenance.get("seconds", "unknown"),
        "commit": provenance["commit"],
        "numerics": provenance.get("numerics", NOT_RECORDED),
        "device": provenance.get("device", "unknown"),
        **_machines(provenance),
        "configuration": provenance.get("config", NOT_RECORDED),
        "seeds": dict(seeds(provenance.get("spec", {}))),
        "inputs": provenance.get("inputs", {}),
        "inputs_sha256": provenance.get(INPUTS, NOT_RECORDED),
        "spec": provenance.get("spec", {}),
        "again": again,
    }
    return yaml.dump(shown, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


def _machines(provenance: Mapping) -> dict[str, Any]:
    """Return what a job ran on, one entry for each of its stretches; of an earlier version's what there is."""
    if SEGMENTS in provenance:
        return {"segments": [_segment(one) for one in provenance[SEGMENTS]]}
    old = {key: provenance[key] for key in ("machine", "threads", "versions") if key in provenance}
    return {"segments": NOT_RECORDED, **old}


def _segment(segment: Mapping) -> dict[str, Any]:
    """Return a stretch of a job with its instruction sets on one line."""
    return {**segment, "isa": " ".join(segment.get("isa", []))}


class _Plain(yaml.SafeDumper):
    """YAML without references to what stood before."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
