"""The pages of a gallery: what stands where, from what :mod:`lossatlas.gallery.build` has put into its folder."""

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from lossatlas import __version__
from lossatlas.claims.spec import STATEMENT_VERDICTS
from lossatlas.gallery import interactive, verdicts
from lossatlas.gallery.cited import cited, shown_by

PARTS = ("figures", "tables", "statements", "claims")
ASSETS = ("gallery.css", "gallery.js", "interactive.js")
HERO = 3
"""Pictures in the row that a gallery opens with."""

NO_STATEMENT = "no statement"
NOT_IN_PAPER = "not in the paper"
ELSEWHERE = "elsewhere in the paper"


def write(folder: Path, manifest: Mapping[str, Any], new: Sequence[dict], old: Sequence[dict]) -> None:
    """Write all pages, and beside them style, scripts and, where a picture can be turned or played, plotly's.

    Args:
        folder: of the gallery, with all pictures, tables and numbers.
        manifest: ``preset``, ``commit``, ``versions``, ``date``, ``scorecard_shown``, ``here_shown``.
        new: studies made now.
        old: studies that stay as they were.
    """
    studies = [*new, *old]
    shown = [one for study in studies for one in _linked(study)]
    for before, one, after in zip([None, *shown], shown, [*shown[1:], None], strict=False):
        one["before"], one["after"] = before, after
    pages = _pages()
    common = {
        "preset": manifest["preset"],
        "commit": manifest.get("commit") or "unknown",
        "versions": dict(manifest.get("versions") or {}),
        "date": manifest["date"],
        "lossatlas": __version__,
        "studies": studies,
        "old": [study["name"] for study in old],
        "badges": verdicts.BADGES,
    }
    _put(folder / "index.html", pages, "index", {**common, **_overview(manifest, studies, shown), "root": ""})
    for study in studies:
        _put(folder / f"studies/{study['name']}.html", pages, "study", {**common, "study": study, "root": "../"})
        for kind, entries in (("figure", study["figures"]), ("table", study["tables"])):
            for one in entries:
                _put(folder / one["page"], pages, kind, {**common, "study": study, "one": one, "root": "../../"})
    (folder / "assets").mkdir(exist_ok=True)
    for name in ASSETS:
        text = files("lossatlas.gallery").joinpath("assets", name).read_text(encoding="utf-8")
        (folder / "assets" / name).write_text(text, encoding="utf-8")
    if any(one.get("interactive") for one in shown):
        (folder / "assets/plotly.min.js").write_text(interactive.plotly_script(), encoding="utf-8")


def _pages() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lossatlas.gallery"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    environment.filters["brief"] = brief
    return environment


def _put(path: Path, pages: jinja2.Environment, template: str, said: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(pages.get_template(f"{template}.html.j2").render(**said), encoding="utf-8")


def prose(text: str) -> Markup:
    """Return a text as HTML: what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def brief(text: str, most: int = 150) -> str:
    """Return the first sentence of a text without backticks, cut between two words where it is long."""
    first = re.split(r"(?<=[.!?])\s", text.replace("`", ""), maxsplit=1)[0]
    return first if len(first) <= most else first[: most - 1].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def _linked(study: dict) -> Iterator[dict]:
    """Give a study's figures and tables their page and what they show of the paper; yield them in order."""
    for kind in ("figures", "tables"):
        for one in study[kind]:
            suffix = "" if kind == "figures" else "-table"
            one["id"] = f"{study['name']}-{one['name']}{suffix}"
            one["page"] = f"pages/{study['name']}/{one['name']}{suffix}.html"
            one["study"] = study
            one["shows"] = shown_by(one["name"], one["paper_figure"], study["statements"])
            one["papers"] = _papers(one["paper_figure"])
            said = {statement["verdict"] for statement in one["shows"]}
            one["verdicts"] = [verdict for verdict in STATEMENT_VERDICTS if verdict in said] or [NO_STATEMENT]
            yield one
    for statement in study["statements"]:
        statement["shown_by"] = [
            one for one in (*study["figures"], *study["tables"]) if any(said is statement for said in one["shows"])
        ]


def _papers(paper_figure: str) -> list[str]:
    """Return the values of the filter by the paper's figure."""
    if found := cited(paper_figure):
        return found
    return [ELSEWHERE if paper_figure and not paper_figure.startswith(NOT_IN_PAPER) else NOT_IN_PAPER]


def _overview(manifest: Mapping[str, Any], studies: Sequence[dict], shown: Sequence[dict]) -> dict[str, Any]:
    """Return what the first page says besides the studies."""
    told = [statement["verdict"] for study in studies for statement in study["statements"]]
    claims = [claim for study in studies for claim in study["claims"]]
    said = {verdict for one in shown for verdict in one["verdicts"]}
    return {
        "hero": hero([one for study in studies for one in study["figures"]]),
        "counts": {verdict: told.count(verdict) for verdict in STATEMENT_VERDICTS if verdict in told},
        "picture": manifest.get("scorecard_shown"),
        "here": manifest["here_shown"],
        "differing": sum(claim["differs"] for claim in claims),
        "machines": any(study["machines"] for study in studies),
        "totals": {part: sum(len(study[part]) for study in studies) for part in PARTS},
        "filters": {
            "study": {study["name"]: study["title"] for study in studies},
            "method": {one["method"]: one["method"] for one in sorted(shown, key=lambda one: str(one["method"]))},
            "paper": {name: name for name in sorted({name for one in shown for name in one["papers"]}, key=_natural)},
            "verdict": {name: name for name in (*STATEMENT_VERDICTS, NO_STATEMENT) if name in said},
        },
    }


def _natural(name: str) -> tuple[bool, str, int, str]:
    """Return the place of a filter's value: figures by number, tables, then what has none."""
    kind, _, number = name.partition(" ")
    digits = re.sub(r"\D", "", number)
    listed = kind in ("figure", "table")
    return not listed, kind, int(digits) if digits else 0, name


def hero(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the figures that a gallery opens with: one that moves, the most telling surface, trajectories.

    Where it lacks one of these, figures from the front of the gallery take its place.
    """
    films = [one for one in figures if one["film"]]
    surfaces = [one for one in figures if one["interactive"] == "surface"]
    reliefs = [one for one in surfaces if one["method"] == "relief"] or surfaces
    embedded = [one for one in figures if one["interactive"] == "embedding" and not one["film"]]
    found = [*films[:1], *sorted(reliefs, key=lambda one: -one["telling"])[:1], *embedded[:1]]
    names = [one["full"] for one in found]
    found += [one for one in figures if one["full"] not in names]
    return found[:HERO]
