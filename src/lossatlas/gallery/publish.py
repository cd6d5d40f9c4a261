"""Copies of a study's finished results, small enough for the repository, with the records that vouch for them.

Below ``docs/results/<study>/`` (of another preset than ``laptop`` in a folder of its own there)::

    README.md                      what they are, with the statements' verdicts; follows from the other files
    claims.csv, statements.csv     as ``results/claims`` has them
    tables/<table>.csv             as ``results/tables/<study>`` has them
    figures/<figure>.png, .csv     a small picture; the numbers drawn, where they are few

and beside each ``<name>.json``: the record of the results, with the checksums of the published files and, below
``published``, those of the files that they were made from.
"""

import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from lossatlas.claims.evaluate import COLUMNS, STATEMENT_COLUMNS
from lossatlas.claims.spec import PRESETS
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.provenance import INPUTS, SEGMENTS
from lossatlas.files.record import provenance_file, read_provenance, write_record
from lossatlas.gallery import published
from lossatlas.gallery.folder import replaced

QUALITIES = ((1100, 256), (1100, 128), (960, 192), (960, 128), (860, 128), (860, 64))
"""Width in pixels and number of colours of a picture, best first; the first one is taken that is small enough."""

PICTURE_BYTES, NUMBERS_BYTES = 80_000, 200_000
"""How large a picture should be at most, and a figure's table of numbers must be."""

OF_THE_MACHINE = re.compile(r"(?<![\w.:/~])~?/(?:[^/\s\"',;]+/)+([^/\s\"',;]+)/?")
"""A path that begins at the root of a file system or at a user's home; its last name."""


@dataclass(frozen=True)
class Finished:
    """Results of a study that may be published.

    Attributes:
        study, preset: whose they are.
        claims: record of ``results/claims/<study>.csv``.
        records: (``figures`` or ``tables``, name) -> record.
        results: the tree.
        about: ``title``, ``reference`` of the study, and ``work``: what the artefacts behind it took.
    """

    study: str
    preset: str
    claims: Mapping[str, Any]
    records: Mapping[tuple[str, str], Mapping[str, Any]]
    results: Path
    about: Mapping[str, Any]

    def source(self, section: str, name: str) -> Path:
        """Return the record of a figure or table in the tree."""
        return self.results / section / self.study / f"{name}.json"

    def folder(self, to: Path) -> Path:
        """Return where the results go: one preset has the study's own folder, others one in it."""
        return to / self.study if self.preset == published.USUAL else to / self.study / self.preset


# ---------------------------------------------------------------------------------------------------------------------
# what there is


def configuration(results: Path, study: str) -> dict[str, Any]:
    """Return the configuration under which a study's claims were measured, as far as it decides what is made.

    Raises:
        LossatlasError: they are not finished, or not what was written.
    """
    place = _claims_record(results, study)
    record = _vouched(place)
    if "config" not in record or "preset" not in record:
        raise LossatlasError(f"{place}: does not say its configuration: an earlier version wrote it; make it again")
    return {"preset": record["preset"], **record["config"]}


def gather(results: Path, study: str, title: str, reference: str, products: Iterable[tuple[str, str]]) -> Finished:
    """Read the records of a study's results, and refuse what must not be published.

    Args:
        results: the tree.
        study: its name.
        title: of the study.
        reference: of the study.
        products: (``figures`` or ``tables``, name) of all that the study has.

    Raises:
        LossatlasError: one line: something is missing or not what was written, of another preset or configuration than
            the claims, or of a preset that judges nothing.
    """
    place = _claims_record(results, study)
    claims = _vouched(place)
    preset = str(claims.get("preset", "unknown"))
    if preset == PRESETS[0] or not claims.get("judges", True):
        raise LossatlasError(f"{place}: preset {preset} judges nothing; publish a larger one")
    for suffix, columns in (("csv", COLUMNS), ("statements.csv", STATEMENT_COLUMNS)):
        table = place.with_name(f"{study}.{suffix}")
        if table.name not in claims[checksum.FILES] or list(pd.read_csv(table, nrows=0)) != columns:
            raise LossatlasError(
                f"{table}: not as this version writes it; delete {place.with_suffix('')}.* and make it again"
            )
    records = {}
    for section, name in products:
        found = results / section / study / f"{name}.json"
        records[section, name] = _vouched(found)
        if differs := _other_question(records[section, name], claims, study):
            raise LossatlasError(f"{found}: {differs}; results of several runs are not published together")
    about = {"title": title, "reference": reference, "work": _work(results, [claims, *records.values()])}
    return Finished(study, preset, claims, records, results, about)


def _claims_record(results: Path, study: str) -> Path:
    return results / "claims" / f"{study}.json"


def _vouched(record: Path) -> dict[str, Any]:
    """Return a record after a comparison with its own digest and with every file that it names."""
    try:
        text = record.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LossatlasError(f"{record}: no such file; run the snakemake target that makes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LossatlasError(f"{record}: not readable ({error})") from None
    if broken := checksum.broken_record(text):
        raise LossatlasError(f"{record}: {broken}; delete it and make it again")
    found: dict[str, Any] = json.loads(text)
    for name, digest in found[checksum.FILES].items():
        file = record.with_name(name)
        if not file.is_file():
            raise LossatlasError(f"{file}: no such file, but {record} names it; make it again")
        if checksum.file_digest(file) != digest:
            raise LossatlasError(f"{file}: its bytes are not those that were written (SHA-256 differs); make it again")
    return found


def _other_question(record: Mapping[str, Any], claims: Mapping[str, Any], study: str) -> str | None:
    """Return why a figure or table is not of the run that the claims are of."""
    for what, theirs, ours in zip(
        ("preset", "numerics", "seed", "choice of data", "overrides"),
        _asked(record, study),
        _asked(claims, study),
        strict=True,
    ):
        if theirs != ours:
            return f"its {what} is {theirs}, that of the claims {ours}"
    return None


def _asked(record: Mapping[str, Any], study: str) -> tuple[Any, ...]:
    config = record.get("config") or {}
    mine = (config.get("overrides") or {}).get(study)
    return record.get("preset"), record.get("numerics"), config.get("seed", 0), config.get("variants") or None, mine


def _work(results: Path, records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what made the artefacts behind some products.

    Returns:
        ``artefacts`` in the tree, ``absent`` (those that are not: a store keeps some only), ``seconds`` by the clock,
        summed over all jobs, and ``classes`` of machines and ``commits``, each with the number of artefacts.
    """
    seconds, absent = 0.0, 0
    classes, commits = Counter[str](), Counter[str]()
    seen = set[str]()
    todo = [name for record in records for name in record.get(INPUTS, {})]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        made = _made(results.joinpath(*Path(name).parts[1:]))
        absent += made is None
        if made is not None:
            todo += made.get(INPUTS, {})
            seconds += made.get("seconds", 0.0)
            classes.update({one["class"] for one in made.get(SEGMENTS, ()) if "class" in one})
            commits[str(made.get("commit", "unknown"))] += 1
    return {
        "artefacts": len(seen) - absent,
        "absent": absent,
        "seconds": round(seconds, 1),
        "classes": dict(classes.most_common()),
        "commits": dict(commits.most_common()),
    }


def _made(path: Path) -> dict[str, Any] | None:
    try:
        return read_provenance(path)
    except (OSError, KeyError, ValueError):
        return None


# ---------------------------------------------------------------------------------------------------------------------
# what is written


def publish(found: Finished, to: Path) -> Path:
    """Write the results into a folder that appears whole or not at all, in place of what was published before.

    What was published of the study's other presets stays.

    Args:
        found: the results.
        to: the folder that has one for each study.

    Returns:
        The folder.

    Raises:
        LossatlasError: a figure has no picture, or it is not readable.
    """
    target = found.folder(to)
    with replaced(target) as part:
        _claims(part, found)
        for section, name in found.records:
            (_table if section == "tables" else _figure)(part, found, name)
        for other in published.folders_in(target):
            if other != target:
                shutil.copytree(other, part / other.relative_to(target))
        (part / published.README).write_text(published.readme(part), encoding="utf-8")
    return target


def _claims(folder: Path, found: Finished) -> None:
    """Copy claims and statements; the record of statements names that of the claims, which has all the rest."""
    source = _claims_record(found.results, found.study)
    for name, suffix in (("claims", "csv"), ("statements", "statements.csv")):
        shutil.copyfile(source.with_name(f"{found.study}.{suffix}"), folder / f"{name}.csv")
    short = {key: found.claims[key] for key in ("study", "preset", "commit", "created") if key in found.claims}
    _vouch(folder / "claims.csv", found.claims, found.about)
    _vouch(
        folder / "statements.csv", {**short, **{key: found.claims[key] for key in (checksum.FILES, checksum.RECORD)}}
    )


def _table(folder: Path, found: Finished, name: str) -> None:
    target = folder / "tables" / f"{name}.csv"
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(found.source("tables", name).with_suffix(".csv"), target)
    _vouch(target, found.records["tables", name])


def _figure(folder: Path, found: Finished, name: str) -> None:
    record, source = found.records["figures", name], found.source("figures", name)
    png, numbers = source.with_suffix(".png"), source.with_suffix(".csv")
    if png.name not in record[checksum.FILES]:
        raise LossatlasError(f"{png}: no picture of figure {name}; put `png` among the formats of config.yaml")
    target = folder / "figures" / png.name
    target.parent.mkdir(exist_ok=True)
    data, notes = small(png)
    target.write_bytes(data)
    if numbers.name in record[checksum.FILES] and numbers.stat().st_size <= NUMBERS_BYTES:
        shutil.copyfile(numbers, target.with_suffix(".csv"))
    _vouch(target, record, {"notes": notes})


def small(png: Path) -> tuple[bytes, list[str]]:
    """Return a picture reduced in size and colours, and the notes that the figure carries for its caption.

    Raises:
        LossatlasError: it is not a readable picture.
    """
    try:
        with Image.open(png) as image:
            image.load()
            notes = json.loads(getattr(image, "text", {}).get("lossatlas-notes", "[]"))
            clear = image.convert("RGBA")
    except OSError as error:
        raise LossatlasError(f"{png}: not a readable picture ({error}); delete it and make it again") from None
    flat = Image.new("RGB", clear.size, "white")
    flat.paste(clear, mask=clear.getchannel("A"))
    data = b""
    for width, colours in QUALITIES:
        data = _encoded(flat, width, colours)
        if len(data) <= PICTURE_BYTES:
            break
    return data, [str(note) for note in notes]


def _encoded(flat: Image.Image, width: int, colours: int) -> bytes:
    """Return a PNG whose palette covers all colours: a median cut's go to the ground, and rare marks turn grey."""
    if flat.width > width:
        flat = flat.resize((width, max(round(flat.height * width / flat.width), 1)), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    indexed = flat.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    indexed.save(sink, "png", optimize=True)
    return sink.getvalue()


def _vouch(file: Path, record: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> None:
    """Write the record of a published file, and of another of its name with numbers, from that of the results."""
    about = {key: value for key, value in record.items() if key not in (checksum.FILES, checksum.RECORD)}
    origin = {"record_sha256": record[checksum.RECORD], "files_sha256": record[checksum.FILES]}
    said = without_paths({**about, **(more or {}), "published": origin})
    beside = [path for path in sorted(file.parent.glob(f"{file.stem}.*")) if path.suffix in (".csv", ".png")]
    write_record(provenance_file(file), said, beside)


def without_paths(value: Any) -> Any:
    """Return a record in which paths of the machine are their last names: whose home it was is nobody's concern."""
    if isinstance(value, Mapping):
        return {without_paths(key): without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    return OF_THE_MACHINE.sub(r"\1", value) if isinstance(value, str) else value


def size(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.stat().st_size for path in files_in(folder))


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder."""
    return (path for path in folder.rglob("*") if path.is_file())
