"""Published results as anyone finds them in the repository: read back whole, and told on a page for each study."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lossatlas.claims.measurement import counted
from lossatlas.claims.spec import STATEMENT_VERDICTS, VERDICTS
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.provenance import SEGMENTS
from lossatlas.files.record import provenance_file

FOLDER, README = "docs/results", "README.md"
USUAL = "laptop"
"""The preset whose results lie in the study's own folder; those of others in a folder of their name in it."""

TOLD = ("python", "torch", "numpy", "scipy", "scikit-learn")
"""Packages of which a page tells the version; the records have all."""

MINUS = "\N{MINUS SIGN}"


# ---------------------------------------------------------------------------------------------------------------------
# reading


def folders_in(folder: Path) -> list[Path]:
    """Return the folders of published results below a folder, itself included."""
    return sorted(path.parent for path in folder.rglob("claims.json"))


def record(file: Path) -> dict[str, Any]:
    """Return the record beside a published file.

    Raises:
        LossatlasError: there is none, or it or one of its files has been changed.
    """
    place = provenance_file(file)
    try:
        text = place.read_text(encoding="utf-8")
    except OSError:
        raise LossatlasError(f"{place}: no such file; publish the study (python -m lossatlas.publish)") from None
    broken = checksum.broken_record(text)
    found = {} if broken else json.loads(text)
    for name, digest in found.get(checksum.FILES, {}).items():
        if not broken and (
            not place.with_name(name).is_file() or checksum.file_digest(place.with_name(name)) != digest
        ):
            place, broken = place.with_name(name), "not what was published (SHA-256 differs)"
    if broken:
        raise LossatlasError(f"{place}: {broken}; publish the study again (python -m lossatlas.publish)")
    return found


def table(file: Path) -> pd.DataFrame:
    """Return a published table, every cell as text.

    Raises:
        LossatlasError: there is none of that name, or it has been changed.
    """
    if not file.is_file():
        near = sorted(path.name for path in file.parent.glob("*.csv"))
        have = f"there are {', '.join(near)}" if near else "publish the study (python -m lossatlas.publish)"
        raise LossatlasError(f"{file}: no such file; {have}")
    if file.name not in record(file)[checksum.FILES]:
        raise LossatlasError(f"{file}: no record vouches for it; publish the study again (python -m lossatlas.publish)")
    return pd.read_csv(file, dtype=str, keep_default_na=False)


# ---------------------------------------------------------------------------------------------------------------------
# numbers and Markdown


def number(text: str, form: str = "", factor: float = 1.0) -> str:
    """Return a cell as a page prints it.

    Args:
        text: of the cell; words stay what they are.
        form: a format of Python such as ``.0f``, ``,.0f``, ``.1e`` or ``.0%``; "" = three digits, and whole numbers
            from a thousand on.
        factor: of the number.

    Raises:
        ValueError: the format is none, or it is given for words or an empty cell.
    """
    try:
        value = float(text) * factor
    except ValueError:
        if form or factor != 1.0:
            raise ValueError(f"{text!r} is no number") from None
        return text
    whole = re.fullmatch(r"-?\d+", text) and factor == 1.0
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    form = form or ("d" if whole else ".0f" if 1000 <= abs(value) < 1e6 else ".3g")
    shown = format(int(text) if whole and form.endswith("d") else value, form)
    shown = re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].strip('+')}{found[2]}", shown)
    shown = shown.removeprefix("-") if not re.search("[1-9]", shown) else shown
    return shown.replace("-", MINUS).replace("%", " %")


def interval(low: str, high: str, form: str = "", factor: float = 1.0) -> str:
    """Return an interval as a page prints it, ``[low, high]``; "" where there is none.

    Raises:
        ValueError: as of :func:`number`.
    """
    if not low or not high:
        return ""
    ends = [number(end, form, factor) for end in ((low, high) if factor > 0 else (high, low))]
    unit = " %" if all(end.endswith(" %") for end in ends) else ""
    return f"[{', '.join(end.removesuffix(' %') for end in ends)}]{unit}"


def markdown(columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown.

    Args:
        columns: heading, and whether it has numbers.
        rows: cells.
    """
    lines = [[head for head, _ in columns], ["---:" if right else "---" for _, right in columns]]
    lines += [[cell(text) for text in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(text: str) -> str:
    """Return a text that stays in its cell and shows as it is written."""
    plain = " ".join(text.split()).replace("<", "&lt;")
    return re.sub(r"([|*])", r"\\\1", plain)


def statements(folder: Path, ids: Sequence[str] = ()) -> str:
    """Return the statements of published results with verdicts and the numbers of their first main claim.

    Args:
        folder: of a study.
        ids: those to show; none = all.

    Raises:
        LossatlasError: the tables are not whole, or have no such statement.
    """
    claims = table(folder / "claims.csv").set_index("id")
    told = table(folder / "statements.csv").set_index("id", drop=False)
    for id in ids:
        if id not in told.index:
            raise LossatlasError(f"no statement {id!r}; there are {', '.join(told.index)}")
    rows = []
    for one in told.loc[list(ids) or list(told.index)].to_dict("records"):
        main = claims.loc[one["main"].split()[0]]
        ours = f"{number(main['ours'])} {interval(main['low'], main['high'])}".strip()
        units = counted(int(main["n"] or 0), main["unit"]) if main["n"] != "0" else ""
        reason = one["reason"] or (main["reason"] if one["verdict"] == main["verdict"] else "")
        verdict = f"{one['verdict']}: {reason}" if reason else one["verdict"]
        rows.append([one["id"], one["sentence"], verdict, ours, units, main["threshold"], main["paper"]])
    heads = ("", "statement", "verdict", "ours [95 % interval]", "of", "holds if", "paper")
    return markdown([(head, False) for head in heads], rows)


# ---------------------------------------------------------------------------------------------------------------------
# pages


def pages(root: Path) -> dict[str, str]:
    """Return path -> text of the page of every published study, and of the one that lists them.

    Raises:
        LossatlasError: a published file is missing or has been changed.
    """
    folders = folders_in(root / FOLDER)
    if not folders:
        return {}
    try:
        found = {f"{folder.relative_to(root).as_posix()}/{README}": readme(folder) for folder in folders}
        return {**found, f"{FOLDER}/{README}": _index(root / FOLDER, folders)}
    except LossatlasError as error:
        raise LossatlasError(str(error).replace(f"{root}/", "")) from None


@dataclass(frozen=True)
class Part:
    """A published figure or table: its name and its record."""

    name: str
    record: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Return its title, and which of the paper it is."""
        spec = self.record.get("spec") or {}
        paper = f" ({spec['paper_figure']})" if spec.get("paper_figure") else ""
        return f"{spec.get('title') or self.name}{paper}"

    @property
    def caption(self) -> str:
        """Return its caption, with what the figure itself notes."""
        return " ".join(
            [str((self.record.get("spec") or {}).get("caption", "")), *self.record.get("notes", ())]
        ).strip()


def _parts(folder: Path) -> Iterator[Part]:
    for place in sorted(
        folder.glob("*.json"), key=lambda path: [_natural(word) for word in re.split(r"(\d+)", path.stem)]
    ):
        yield Part(place.stem, record(place))


def _natural(word: str) -> tuple[int, str]:
    return (int(word), "") if word.isdigit() else (-1, word)


def readme(folder: Path) -> str:
    """Return the page of a study's published results; it follows from the files beside it.

    Raises:
        LossatlasError: one of these is missing or has been changed.
    """
    about, claims = record(folder / "claims.csv"), table(folder / "claims.csv")
    counts = _counts(claims["verdict"], VERDICTS)
    lines = [
        f"# Study {about['study']}: results at preset {about['preset']}\n",
        f"{about.get('title', '')}. {about.get('reference', '')}\n",
        "Written by `python -m lossatlas.publish`; `make check` compares every file here with the record beside it.\n",
        markdown([("", False), ("", False)], _facts(about)),
        *_changed(about),
        "\n## Statements of the paper\n",
        statements(folder),
        f"\n[statements.csv](statements.csv) has them as printed, with what is measured and what would refute them; "
        f"[claims.csv](claims.csv) the {len(claims)} claims that they are judged by: {counts}.",
    ]
    made = list(_parts(folder / "tables"))
    lines += ["\n## Tables\n"] if made else []
    lines += [f"- [{one.name}](tables/{one.name}.csv): {one.title}. {one.caption}" for one in made]
    drawn = list(_parts(folder / "figures"))
    lines += ["\n## Figures\n", "Small copies; the workflow draws them in full size and as PDF."] if drawn else []
    for one in drawn:
        numbers = f"[numbers](figures/{one.name}.csv), " if f"{one.name}.csv" in one.record[checksum.FILES] else ""
        links = f"{numbers}[record](figures/{one.name}.json)"
        lines += [f"\n### {one.name}: {one.title}\n", f"![{one.title}](figures/{one.name}.png)\n"]
        lines += [f"{one.caption} ({links})"]
    return "\n".join(lines) + "\n"


def _facts(about: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a page says of the run that made its results."""
    work, last = about.get("work") or {}, (about.get(SEGMENTS) or [{}])[-1]
    versions = last.get("versions", {})
    classes = work.get("classes") or {last.get("class", "unknown"): 0}
    absent = f"; {work['absent']} more are not in the tree" if work.get("absent") else ""
    return [
        ("preset", str(about["preset"]) + (", with keys of its own (below)" if _changed(about) else "")),
        ("commit of the claims", str(about.get("commit", "unknown"))),
        ("commits of the artefacts", ", ".join(work.get("commits", ())) or "unknown"),
        ("class of machine", "; ".join(classes)),
        ("processor", str(last.get("gpu") or last.get("cpu") or "unknown")),
        ("versions", ", ".join(f"{name} {versions[name]}" for name in TOLD if name in versions)),
        ("measured", str(about.get("created", "unknown"))),
        (
            "work",
            f"{work.get('artefacts', 0)} artefacts, {work.get('seconds', 0.0):,.0f} s by the clock, summed over all "
            f"jobs{absent}",
        ),
    ]


def _changed(about: Mapping[str, Any]) -> list[str]:
    """Return what the configuration replaced of the preset, as it was written."""
    config = about.get("config") or {}
    keys = {
        "variants": config.get("variants"),
        "overrides": {key: value for key, value in (config.get("overrides") or {}).items() if key == about["study"]},
    }
    if not any(keys.values()):
        return []
    text = yaml.safe_dump({key: value for key, value in keys.items() if value}, sort_keys=False, width=110)
    return ["\n## What differs from the preset\n", f"```yaml\n{text}```"]


def _counts(verdicts: pd.Series, known: Sequence[str]) -> str:
    found = verdicts.value_counts()
    return ", ".join(f"{verdict} {found[verdict]}" for verdict in known if verdict in found)


def _index(results: Path, folders: Sequence[Path]) -> str:
    rows = []
    for folder in folders:
        about, place = record(folder / "claims.csv"), folder.relative_to(results).as_posix()
        counts = _counts(table(folder / "statements.csv")["verdict"], STATEMENT_VERDICTS)
        made = [str(about.get(key, "unknown")) for key in ("commit", "created")]
        rows.append((f"[{about['study']}]({place}/{README})", str(about["preset"]), counts, *made))
    heads = ("study", "preset", "statements of the paper", "commit", "measured")
    shown = "\n![The papers' statements, what was measured, and the verdicts](../images/scorecard.png)\n"
    return (
        "# Published results\n\nWhat the studies measured: claims, tables and small figures, each with its provenance "
        "record. `python -m lossatlas.publish` writes them; `make docs` inserts the numbers of [the studies' pages]"
        "(../studies) from here.\n\n" + markdown([(head, False) for head in heads], rows) + "\n" + shown
    )
