"""Build the gallery from a manifest."""

import json
import os
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from lossatlas.errors import LossatlasError
from lossatlas.gallery import interactive, render, shown, verdicts
from lossatlas.gallery.folder import replaced
from lossatlas.gallery.verdicts import cell

THUMBNAIL_WIDTH = 1200
"""Largest width of a thumbnail in pixels."""

SHOWN_SHARE = 125 / 300
"""CSS pixels on the page for one pixel of the figure (300 a printed inch), so that letters have one size everywhere."""

CARD = 720, 440
"""Largest width and height of a small picture in pixels: twice what the page shows, for sharp screens."""

FORMATS = ("png", "pdf", "svg", "csv", "gif", "mp4", "html", "vtp")
"""Files of a figure that are copied beside the page when the manifest names them."""

FORMAT_NAMES = {
    "png": "PNG, full size",
    "pdf": "PDF",
    "svg": "SVG",
    "csv": "numbers (CSV)",
    "gif": "animation (GIF)",
    "mp4": "animation (MP4)",
    "html": "interactive view",
    "vtp": "VTK",
}


def build(output_dir: Path | str, manifest: Mapping[str, Any]) -> None:
    """Write ``index.html``, a page a figure and table, and all files into a folder that appears whole or not at all.

    A gallery that is there is exchanged for the new one, which shows the studies of the manifest and, as they were,
    those others that the old one shows.

    Args:
        output_dir: the folder.
        manifest: ``preset``, ``commit``, ``versions``, optionally ``date``, and ``studies``, each with ``name``,
            ``title``, ``reference``, ``figures`` (``name``, ``title``, ``caption``, ``paper_figure``, ``png``,
            optionally the other :data:`FORMATS`, ``thumbnail`` with its ``width``, ``height`` and ``notes``, ``kind``,
            ``interactive``, the ``command`` that makes it, ``artefacts`` of ``kind``, ``label``, ``hash``, and
            ``seconds``), ``tables`` (``name``, ``title``, ``caption``, ``csv``, ``command``, ``artefacts``,
            ``seconds``), ``claims`` and ``statements``: CSVs, of which the rows of this study are shown, or None.
            Preset, commit, versions and date of a study of its own replace the manifest's. ``scorecard``: the
            picture of all statements, by :data:`FORMATS`; ``made_here``: JSON on what was computed just now.

    Raises:
        LossatlasError: a file that the manifest names is missing or is not a picture.
    """
    target = Path(os.path.abspath(output_dir))
    made = {"date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), **manifest}
    with replaced(target) as part:
        new = [_study(part, _dated(study, made)) for study in made["studies"]]
        old = [_study(part, study) for study in shown.kept(target, [study["name"] for study in new])]
        made["scorecard_shown"] = _scorecard(part, made.get("scorecard") or {})
        made["here_shown"] = _made_here(part, made.get("made_here"))
        render.write(part, made, new, old)
        shown.write(part, made, [_recorded(study) for study in (*new, *old)])


def _dated(study: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study with the facts about the run that made it."""
    return {**{name: manifest.get(name) for name in shown.FACTS}, **study}


def _recorded(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the record keeps of a study: its manifest, with the files as they lie in the gallery."""
    kept = {
        "name": study["name"],
        "title": study["title"],
        "reference": study["reference"],
        "claims": study["claims_csv"],
        "statements": study["statements_csv"],
    }
    kept |= {name: study[name] for name in (*shown.FACTS, "machines")}
    return kept | {part: [entry["recorded"] for entry in study[part]] for part in ("figures", "tables")}


def _study(folder: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    name = _safe(study["name"])
    claims = Path(study["claims"]) if study.get("claims") else None
    statements = Path(study["statements"]) if study.get("statements") else None
    checks = verdicts.claims(claims, name) if claims else []
    return {
        "name": name,
        "title": study.get("title") or name,
        "reference": study.get("reference") or "",
        "preset": study.get("preset") or "unknown",
        "commit": study.get("commit") or "unknown",
        "versions": dict(study.get("versions") or {}),
        "date": study.get("date") or "unknown",
        "machines": study["machines"] if "machines" in study else verdicts.machines(claims),
        "figures": [_figure(folder, name, figure) for figure in study.get("figures") or []],
        "tables": [_table(folder, name, table) for table in study.get("tables") or []],
        "claims": checks,
        "claims_csv": verdicts.part(folder, claims, name, "claims") if claims else None,
        "statements": verdicts.statements(statements, name, checks) if statements else [],
        "statements_csv": verdicts.part(folder, statements, name, "statements") if statements else None,
    }


def _scorecard(folder: Path, scorecard: Mapping[str, str]) -> dict[str, Any] | None:
    """Copy the picture of all statements; return its files and the size to show it at."""
    if not scorecard.get("png"):
        return None
    links = [
        {"name": FORMAT_NAMES[kind], "path": _copy(folder, Path(path), f"scorecard.{kind}")}
        for kind, path in scorecard.items()
    ]
    width, height, _ = _thumbnail(folder, Path(scorecard["png"]), "thumbnails/scorecard.png")
    return {"thumbnail": "thumbnails/scorecard.png", "width": width, "height": height, "links": links}


def _made_here(folder: Path, path: str | None) -> list[dict[str, Any]]:
    """Return what was computed on this machine just now, its pictures copied; nothing where there is no such file."""
    if not path or not Path(path).is_file():
        return []
    found = []
    for i, one in enumerate(json.loads(Path(path).read_text(encoding="utf-8"))["made"]):
        entry = {"agrees": "", "png": "", **one}
        if one.get("png"):
            entry["thumbnail"] = f"thumbnails/made_here/{i}.png"
            entry["png"] = _copy(folder, Path(one["png"]), f"made_here/{i}.png")
            entry["width"], entry["height"], _ = _thumbnail(folder, Path(one["png"]), entry["thumbnail"])
        found.append(entry)
    return found


def _figure(folder: Path, study: str, figure: Mapping[str, Any]) -> dict[str, Any]:
    name = _safe(figure["name"])
    if not figure.get("png"):
        raise LossatlasError(f"figure {study}/{name}: no PNG; the gallery needs `png` among the formats of config.yaml")
    links = []
    for kind in FORMATS:
        if figure.get(kind):
            path = _copy(folder, Path(figure[kind]), f"figures/{study}/{name}.{kind}")
            links.append({"kind": kind, "name": FORMAT_NAMES[kind], "path": path})
    thumbnail = f"thumbnails/{study}/{name}.png"
    if figure.get("thumbnail"):  # kept with the figure
        _copy(folder, Path(figure["thumbnail"]), thumbnail)
        width, height, notes = figure["width"], figure["height"], figure["notes"]
    else:
        width, height, notes = _thumbnail(folder, Path(figure["png"]), thumbnail)
    title = figure.get("title") or name
    given = _interactive(folder, study, name, figure)
    paths = {link["kind"]: link["path"] for link in links}
    return {
        "name": name,
        "title": title,
        "caption": " ".join([figure.get("caption") or "", *notes]).strip(),
        "paper_figure": figure.get("paper_figure") or "",
        "links": links,
        "film": paths.get("mp4"),
        "loop": paths.get("gif"),
        "full": paths["png"],
        "thumbnail": thumbnail,
        "card": _card(folder, thumbnail, f"cards/{study}/{name}.webp"),
        "method": (figure.get("kind") or "figure").replace("_", " "),
        "interactive": given["type"] if given else "",
        "telling": given.get("telling", 0.0) if given else 0.0,
        "data": f"data/{study}/{name}.js" if given else "",
        "command": figure.get("command") or "",
        "width": width,
        "height": height,
        "alt": f"{title}. {figure.get('caption') or ''}".strip(),
        "artefacts": [dict(artefact) for artefact in figure.get("artefacts") or []],
        "seconds": _duration(figure.get("seconds")),
        "recorded": {
            **_entry(figure, {**paths, "thumbnail": thumbnail}),
            "width": width,
            "height": height,
            "notes": notes,
        },
    }


def _interactive(folder: Path, study: str, name: str, figure: Mapping[str, Any]) -> dict[str, Any] | None:
    """Write the script with the numbers of a figure that can be turned or played; return what stands in it."""
    if not (figure.get("interactive") and figure.get("csv")):
        return None
    found = interactive.content(figure["interactive"], Path(figure["csv"]))
    if found:
        path = folder / f"data/{study}/{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(interactive.script(f"{study}/{name}", found), encoding="utf-8")
    return found


def _card(folder: Path, thumbnail: str, name: str) -> dict[str, Any]:
    """Write the small picture of a figure; return its path and size in pixels."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with Image.open(folder / thumbnail) as image:
        small = image.convert("RGB")
    small.thumbnail(CARD, Image.Resampling.LANCZOS)
    small.save(folder / name, quality=84, method=4)
    return {"path": name, "width": small.width, "height": small.height}


def _entry(entry: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """Return what the record keeps of a figure or table."""
    kept = {key: value for key, value in entry.items() if key not in (*FORMATS, "thumbnail")}
    return {**kept, "files": dict(paths)}


def _thumbnail(folder: Path, png: Path, name: str) -> tuple[int, int, list[str]]:
    """Write a thumbnail; return the size to show it at, and the figure's own notes for the caption."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    try:
        with Image.open(png) as image:
            image.load()
            noted = json.loads(getattr(image, "text", {}).get("lossatlas-notes", "[]"))
            small = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
    except OSError as error:
        raise LossatlasError(
            f"{png}: not a readable picture ({error}); delete it and run the same command again"
        ) from error
    size = round(small.width * SHOWN_SHARE), max(round(small.height * SHOWN_SHARE), 1)
    flat = small.convert("RGB")
    if small.mode == "RGBA" and small.getchannel("A").getextrema() != (255, 255):
        flat = Image.new("RGB", small.size, "white")
        flat.paste(small, mask=small.getchannel("A"))
    if flat.width > THUMBNAIL_WIDTH:
        flat = flat.resize(
            (THUMBNAIL_WIDTH, max(round(flat.height * THUMBNAIL_WIDTH / flat.width), 1)), Image.Resampling.LANCZOS
        )
    flat.save(folder / name, compress_level=6)  # `optimize` doubles the time for 2 % of the size
    return *size, [str(note) for note in noted]


def _table(folder: Path, study: str, table: Mapping[str, Any]) -> dict[str, Any]:
    name = _safe(table["name"])
    path = _copy(folder, Path(table["csv"]), f"tables/{study}/{name}.csv")
    data = pd.read_csv(folder / path)
    numeric = [pd.api.types.is_numeric_dtype(data[column]) for column in data]
    rows = [[cell(value) for value in row] for row in data.itertuples(index=False)]
    return {
        "name": name,
        "title": table.get("title") or name,
        "caption": table.get("caption") or "",
        "paper_figure": table.get("paper_figure") or "",
        "csv": path,
        "method": "table",
        "film": None,
        "interactive": "",
        "command": table.get("command") or "",
        "seconds": _duration(table.get("seconds")),
        "artefacts": [dict(artefact) for artefact in table.get("artefacts") or []],
        "recorded": _entry(table, {"csv": path}),
        "columns": [{"name": str(c).replace("_", " "), "numeric": n} for c, n in zip(data, numeric, strict=True)],
        "rows": rows,
    }


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _safe(name: str) -> str:
    """Return a name that is fit for a path and a link; one that is not is a :class:`LossatlasError`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", str(name)):
        raise LossatlasError(
            f"{name!r}: a name in the gallery may have letters, digits, `_`, `-` and `.` only; rename it"
        )
    return str(name)


def _copy(folder: Path, source: Path, name: str) -> str:
    """Copy a file into the gallery; return its path relative to the page."""
    if not source.is_file():
        raise LossatlasError(
            f"{source}: no such file, but the gallery shows it; run the snakemake target that makes it"
        )
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / name)
    return name
