"""Figures of kind ``curves``: table columns against each other by group, with bands over replicas."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.clouds.files import Gram
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout, letter_of
from lossatlas.draw.style import AXIS_LABELS, DASHES, Drawn
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.files.points import TRAJECTORY
from lossatlas.specs.registry import Inputs
from lossatlas.specs.yaml import nearest
from lossatlas.trajectories.spec import FROM_GRAM, Curves, Series

FEW = 8
"""Lines through at most so many points show them."""


@dataclass(frozen=True)
class Curve:
    """One line of a panel: its label, and at each x the centre, the band and how many replicas there are."""

    label: str
    summary: pd.DataFrame


def compose(spec: Curves, inputs: Inputs) -> Drawn:
    """Draw the curves.

    Args:
        spec: of the figure.
        inputs: ``runs`` or ``gram`` of each series.

    Returns:
        The figure, its numbers (y, label, x, centre, low, high, replicas) and notes.
    """
    quantities = spec.quantities
    rows = _rows(spec, inputs)
    labels = list(dict.fromkeys(rows["label"]))
    panels = [[_summarise(rows, label, y, spec) for label in labels] for y in quantities]
    dropped = int((~np.isfinite(rows[quantities].to_numpy(float))).sum())
    notes = [f"{dropped} value{'' if dropped == 1 else 's'} without a finite number left out."] if dropped else []
    notes += [note for i, y in enumerate(quantities) if (note := _beyond(spec, y, panels[i], letter_of(i)))]
    figure = _layout(spec, labels, panels, notes)
    numbers = pd.concat(
        [
            curve.summary.assign(y=y, label=curve.label)
            for y, curves in zip(quantities, panels, strict=True)
            for curve in curves
        ]
    )
    numbers = numbers[["y", "label", spec.x, "centre", "low", "high", "replicas"]].reset_index(drop=True)
    return Drawn(figure, numbers, tuple(notes))


def _rows(spec: Curves, inputs: Inputs) -> pd.DataFrame:
    """Return all rows of all inputs with columns label, member (a replica's trajectory), x and the quantities."""
    parts = []
    wanted = [spec.x, *spec.quantities, *spec.only] + ([spec.group] if spec.group else [])
    for i, series in enumerate(spec.series):
        for j, (path, table) in enumerate(_tables(spec, series, inputs)):
            for name in wanted:
                if name not in table:
                    raise LossatlasError(
                        f"{path}: no column {name!r}; {nearest(name, [str(column) for column in table])}"
                    )
            for name, value in spec.only.items():
                table = table[table[name] == value]
            keys = [name for name in TRAJECTORY if name in table]
            part = table[[spec.x, *spec.quantities]].astype(float)
            part["label"] = _labels(spec, series.label, table)
            part["member"] = [f"{i}/{j}/" + "/".join(map(str, key)) for key in table[keys].itertuples(index=False)]
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _tables(spec: Curves, series: Series, inputs: Inputs) -> Iterator[tuple[Path, pd.DataFrame]]:
    """Yield the files of a series and their tables, with norms and distances where they are drawn."""
    if series.run is not None:
        yield from ((path, read_table(path)) for path in inputs.paths("runs", series.run))
    if series.cloud is not None:
        (path,) = inputs.paths("gram", series.cloud)
        with_norms = set(spec.quantities) & set(FROM_GRAM)
        yield path, _from_gram(inputs.one("gram", series.cloud)) if with_norms else read_table(path)


def _from_gram(gram: Gram) -> pd.DataFrame:
    """Return a cloud's table with the norm of its points and their distance from where each began."""
    table = gram.table.reset_index(drop=True)
    origin = np.zeros(len(table), dtype=np.intp)
    if not (table["seed"] >= 0).any():  # whole trainings: each from its own initialisation; jumps: from the minimum
        keys = [name for name in TRAJECTORY if name in table]
        for _, rows in table.groupby(keys, sort=False):
            origin[rows.index] = rows.index[int(rows["epoch"].argmin())]
    distance = np.sqrt(gram.squared_distances()[np.arange(len(table)), origin])
    return table.assign(norm=gram.norms(), distance=distance)


def _labels(spec: Curves, label: str, table: pd.DataFrame) -> list[str]:
    if not spec.group:
        return [label] * len(table)
    groups = [f"{g:g}" if isinstance(g, float) else str(g) for g in table[spec.group].tolist()]
    groups = [spec.labels.get(group, group) for group in groups]
    alone = len({series.label for series in spec.series}) == 1
    return groups if alone else [f"{label}, {group}" for group in groups]


def _summarise(rows: pd.DataFrame, label: str, y: str, spec: Curves) -> Curve:
    mine = rows[(rows["label"] == label) & np.isfinite(rows[y])]
    per_member = mine.groupby([spec.x, "member"], sort=True)[y].mean()
    grouped = per_member.groupby(level=0, sort=True)
    centre = grouped.median() if spec.centre == "median" else grouped.mean()
    if spec.band == "std":
        spread = grouped.std(ddof=1).fillna(0.0)
        low, high = centre - spread, centre + spread
    elif spec.band == "quartiles":
        low, high = grouped.quantile(0.25), grouped.quantile(0.75)
    elif spec.band == "minmax":
        low, high = grouped.min(), grouped.max()
    else:
        low, high = centre, centre
    summary = pd.DataFrame({"centre": centre, "low": low, "high": high, "replicas": grouped.size()})
    return Curve(label, summary.rename_axis(spec.x).reset_index())


def _beyond(spec: Curves, y: str, curves: Sequence[Curve], letter: str) -> str:
    """Return what the limits of a panel cut off: "Panel c ends at 10; values go up to 21,000."; "" for nothing."""
    low, high = spec.limits.get(y, (None, None))
    values = pd.concat([curve.summary[["low", "high"]] for curve in curves])
    least, most = float(values["low"].min()), float(values["high"].max())
    cut = [f"begins at {low:g}; values go down to {_number(least)}"] if low is not None and least < low else []
    cut += [f"ends at {high:g}; values go up to {_number(most)}"] if high is not None and most > high else []
    return f"Panel {letter} {', and '.join(cut)}." if cut else ""


def _number(value: float) -> str:
    """Return a number with two digits as one reads it: 21,000."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if 1000 <= abs(rounded) < 1e7 else f"{rounded:g}"


def _layout(spec: Curves, labels: Sequence[str], panels: Sequence[Sequence[Curve]], notes: Sequence[str]) -> Any:
    size = {1: (4.0, 2.8), 2: (2.9, 2.2)}.get(len(panels), (2.3, 1.9))
    looks = {
        label: {"color": color, "linestyle": DASHES[i % len(DASHES)], "linewidth": 1.4}
        for i, (label, color) in enumerate(zip(labels, style.hues(len(labels)), strict=True))
    }
    sidebar = Sidebar()
    for label in labels:
        sidebar.line(label, **looks[label])
    band = {"minmax": "range", "std": "± 1 standard deviation", "quartiles": "quartiles"}.get(spec.band)
    if band and any((curve.summary["replicas"] > 1).any() for curves in panels for curve in curves):
        sidebar.heading("Replicas")
        sidebar.line(f"line: {spec.centre}", color=style.FAINT, linewidth=1.4)
        sidebar.line(f"band: {band}", color=style.FAINT, linewidth=6, alpha=0.22)
    figure, places = layout(len(panels), spec.columns, size, sidebar, notes)
    for axes, y, curves in zip(places, spec.quantities, panels, strict=True):
        _draw(axes, spec, curves, looks)
        axes.set_ylim(*spec.limits.get(y, (None, None)))
        axes.set_ylabel(_name(spec, y))
        axes.set_xlabel(_name(spec, spec.x))
    return figure


def _name(spec: Curves, column: str) -> str:
    return spec.names.get(column, AXIS_LABELS.get(column, column.replace("_", " ")))


def _draw(axes: Axes, spec: Curves, curves: Sequence[Curve], looks: Mapping[str, Mapping[str, Any]]) -> None:
    for curve in curves:
        s, look = curve.summary, looks[curve.label]
        few: dict[str, Any] = {"marker": "o", "markersize": 3.2} if len(s) <= FEW else {}
        axes.plot(s[spec.x], s["centre"], zorder=3, solid_capstyle="round", **look, **few)
        if spec.band != "none" and (s["replicas"] > 1).any():
            axes.fill_between(s[spec.x], s["low"], s["high"], color=look["color"], alpha=0.18, linewidth=0, zorder=2)
    if spec.log in ("x", "both"):
        axes.set_xscale("log", nonpositive="mask")
    if spec.log in ("y", "both"):
        axes.set_yscale("log", nonpositive="mask")
    axes.margins(x=0.02)
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
