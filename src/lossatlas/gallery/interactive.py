"""The numbers of a figure as the gallery draws them anew: surfaces to turn, embeddings to play epoch by epoch.

A page opened from a disk may load scripts but read no files, so the numbers are a script that hands them to the page.
"""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lossatlas.arrays import Array
from lossatlas.draw.plane import LEAST, MOST, ruggedness

DIGITS = 4
"""Significant digits of a number on the page."""

PLANES = ("plane", "slice")
"""What rows are called that are points of a plane of weight space."""


def plotly_script() -> str:
    """Return plotly's own minified script from its Python package; it asks for no other file."""
    return files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")


def content(kind: str, csv: Path) -> dict[str, Any] | None:
    """Return what the page needs to draw a figure's numbers; None where there is nothing to draw.

    Args:
        kind: ``surface`` or ``embedding`` (:attr:`lossatlas.draw.spec.Figure.interactive`); others have none.
        csv: the numbers drawn.
    """
    read = {"surface": surface, "embedding": embedding}.get(kind)
    return read(pd.read_csv(csv, dtype={"panel": str, "title": str})) if read else None


def script(name: str, found: dict[str, Any]) -> str:
    """Return the script that hands a figure's content to the page under ``study/figure``."""
    return f"lossatlas.give({json.dumps(name)}, {json.dumps(found, separators=(',', ':'), allow_nan=False)});\n"


def surface(table: pd.DataFrame) -> dict[str, Any] | None:
    """Return losses over planes.

    Args:
        table: a row a point, ``x``, ``y``, ``loss`` (or ``value``), and where there is more than one plane ``panel``;
            of rows with ``what`` those that say :data:`PLANES`.

    Returns:
        ``panels``: each ``title``, ``x`` (nx), ``y`` (ny), ``loss`` (ny, nx) with None for none that is finite,
        ``lowest`` (x, y, loss), and where the plane passes through a trained network (there is a ``test_error``) its
        loss ``trained`` and its ``error`` in percent; ``first``: number of the most rugged panel, ``telling``: how
        rugged it is; ``range`` of the losses of all panels.
    """
    if "what" in table:
        table = table[table["what"].isin(PLANES)]
    if "loss" not in table:
        table = table.rename(columns={"value": "loss"})
    panels = [panel for panel in map(_plane, *zip(*_planes(table), strict=True)) if panel] if len(table) else []
    if not panels:
        return None
    losses = [np.array(panel["loss"], dtype=float) for panel in panels]
    rugged = [ruggedness(loss) for loss in losses]
    first = int(np.argmax(rugged))
    shown = [np.clip(loss[np.isfinite(loss)], LEAST, MOST) for loss in losses]
    ends = [float(min(loss.min() for loss in shown)), float(max(loss.max() for loss in shown))]
    return {
        "type": "surface",
        "first": first,
        "telling": _short(rugged[first]),
        "range": [_short(end) for end in ends],
        "panels": panels,
    }


def _planes(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield title and rows of each plane, in order; two panels may have one title."""
    titles = table["panel"].fillna("") if "panel" in table else pd.Series("", index=table.index)
    twin = table.assign(panel=titles).groupby(["panel", "x", "y"]).cumcount()
    for title in dict.fromkeys(titles):
        for number in sorted(set(twin[titles == title])):
            yield str(title), table[(titles == title) & (twin == number)]


def _plane(title: str, rows: pd.DataFrame) -> dict[str, Any] | None:
    grid = rows.set_index(["y", "x"])["loss"].unstack().sort_index()  # noqa: PD010 - a point has one loss
    loss = grid.to_numpy(float)
    if min(loss.shape) < 2 or not np.isfinite(loss).any():
        return None
    x, y = grid.columns.to_numpy(float), grid.index.to_numpy(float)
    row, column = np.unravel_index(np.argmin(np.where(np.isfinite(loss), loss, np.inf)), loss.shape)
    found: dict[str, Any] = {
        "title": title,
        "x": _list(x),
        "y": _list(y),
        "loss": [_list(line) for line in loss],
        "lowest": [_short(float(value)) for value in (x[column], y[row], loss[row, column])],
    }
    i, j = int(np.argmin(np.abs(y))), int(np.argmin(np.abs(x)))
    near = 1e-9 * max(np.ptp(x), np.ptp(y))
    if "test_error" in rows and abs(y[i]) <= near and abs(x[j]) <= near and np.isfinite(loss[i, j]):
        found |= {"trained": _short(float(loss[i, j])), "error": _short(float(rows["test_error"].iloc[0]))}
    return found


def embedding(table: pd.DataFrame) -> dict[str, Any] | None:
    """Return trajectories in the plane of an embedding.

    Args:
        table: a row a point, ``panel``, ``title``, ``x``, ``y``, ``run``, ``seed``, ``step``, ``epoch``,
            ``train_loss``, and where runs have them ``replica``.

    Returns:
        ``panels``: each ``title`` and ``paths``, each of these ``name``, ``epoch``, ``x``, ``y``, ``loss`` by epoch,
        and ``fixed`` for a minimum, which stands at all times; ``epochs``: all that are recorded, ascending.
    """
    need = {"panel", "x", "y", "run", "seed", "step", "epoch"}
    if not need <= set(table) or table.empty:
        return None
    panels, epochs = [], set()
    for _, rows in table.groupby("panel", sort=False):
        jumps = bool((rows["step"] > 0).any())
        keys = [name for name in ("run", "replica", "seed", "step") if name in rows]
        groups = rows.sort_values("epoch", kind="stable").groupby(keys, sort=False, dropna=False)
        paths = [_path(points, jumps) for _, points in groups]
        epochs |= {epoch for path in paths if not path["fixed"] for epoch in path["epoch"]}
        title = rows["title"].iloc[0] if "title" in rows else ""
        panels.append({"title": title if isinstance(title, str) else "", "paths": paths})
    return {"type": "embedding", "first": 0, "epochs": sorted(epochs - {None}), "panels": panels}


def _path(points: pd.DataFrame, jumps: bool) -> dict[str, Any]:
    first = points.iloc[0]
    fixed = jumps and first["seed"] < 0
    name = [str(first["run"])]
    if fixed:
        name.append("the minimum")
    elif first["seed"] >= 0:
        name.append(f"direction {int(first['seed'])}")
        name += [f"step {first['step']:g}"] if jumps else []
    elif "replica" in points and pd.notna(first["replica"]):
        name.append(f"replica {int(first['replica'])}")
    loss = points["train_loss"] if "train_loss" in points else pd.Series(np.nan, index=points.index)
    return {
        "name": ", ".join(name),
        "fixed": bool(fixed),
        **{column: _list(np.asarray(points[column], dtype=float)) for column in ("epoch", "x", "y")},
        "loss": _list(np.asarray(loss, dtype=float)),
    }


def _list(values: Array) -> list[float | int | None]:
    return [_short(float(value)) for value in values]


def _short(value: float) -> float | int | None:
    """Return a number with few digits, None for one that is not finite: JSON has no word for it."""
    if not np.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short == int(short) and abs(short) < 1e6 else short
