"""Figure kind ``sharpness`` and table kind ``sharpness_table``: how sharp minima look under each normalisation."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.clouds.files import Gram
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.planes.figures.contours import error
from lossatlas.planes.files import Grid
from lossatlas.planes.numbers import MEASURES, sharpness
from lossatlas.planes.spec import Normalise, Sharpness, SharpnessTable
from lossatlas.specs.registry import Inputs
from lossatlas.statistics import spearman

NORMALISATIONS: tuple[str, ...] = get_args(Normalise)
TITLES = {"none": "no normalisation", "layer": "layer normalisation", "filter": "filter normalisation"}


def compose(spec: Sharpness, inputs: Inputs) -> Drawn:
    """Draw 1D curves under each normalisation, the growth of the weights' norm, and the weights' histograms.

    Returns:
        The figure, its numbers (panel, series, x, value, low, high) and notes on points without a loss.
    """
    grids: list[list[Grid]] = [inputs.all("grids", entry.line) for entry in spec.series]
    grams = {entry.label: inputs.one("path_gram", entry.path) for entry in spec.series if entry.path is not None}
    labels = [entry.label for entry in spec.series]
    colors = dict(zip(labels, style.hues(len(labels)), strict=True))
    sidebar = Sidebar()
    for label in labels:
        sidebar.line(label, color=colors[label], linewidth=1.5)
    sidebar.heading("Lines")
    sidebar.line("median", color=style.FAINT, linewidth=1.4)
    sidebar.line("all directions", color=style.FAINT, linewidth=6, alpha=0.22)
    lost = sum(grid.lost("train_loss") for found in grids for grid in found)
    notes = (f"{lost} points of the lines without a finite loss (inf or NaN) are gaps.",) if lost else ()
    heads = [*(TITLES[how] for how in NORMALISATIONS), "growth of the weights", "histogram of the weights"]
    figure, panels = layout(5, 3, (2.25, 1.75), sidebar, notes, (0.56, 0.54, 0.1), titles=heads)
    curves = pd.concat(
        [
            _curve(found, how).assign(panel=how, series=label)
            for how in NORMALISATIONS
            for label, found in zip(labels, grids, strict=True)
        ]
    )
    for axes, how in zip(panels, NORMALISATIONS, strict=False):
        _draw_curves(axes, curves[curves["panel"] == how], colors, how, _scale(grids, how))
    norms = _norms(labels, grams)
    _draw_norms(panels[3], norms, colors)
    weights = pd.concat(
        [_weights(found[0]).assign(panel="weights", series=label) for label, found in zip(labels, grids, strict=True)]
    )
    _draw_weights(panels[4], weights, colors)
    numbers = pd.concat([curves, norms, weights], ignore_index=True)[["panel", "series", "x", "value", "low", "high"]]
    return Drawn(figure, numbers, notes)


def _curve(grids: Sequence[Grid], how: str) -> pd.DataFrame:
    """Return the median and the range over replicas and directions of the losses along lines."""
    rows = [
        loss
        for grid in grids
        for entry, loss in zip(grid.slice["directions"], grid.measured["train_loss"], strict=True)
        if entry["normalise"] == how
    ]
    if not rows:
        return pd.DataFrame({"x": [], "value": [], "low": [], "high": []})
    losses = np.where(np.isfinite(rows), rows, np.nan)
    kept = np.isfinite(losses).all(axis=0)
    losses = np.where(kept, losses, np.nan)
    return pd.DataFrame(
        {"x": grids[0].x, "value": np.median(losses, axis=0), "low": losses.min(axis=0), "high": losses.max(axis=0)}
    )


def _scale(grids: Sequence[Sequence[Grid]], how: str) -> float:
    return next(
        (e["scale"] for found in grids for g in found for e in g.slice["directions"] if e["normalise"] == how), 1.0
    )


def _draw_curves(axes: Axes, curves: pd.DataFrame, colors: Mapping[str, Any], how: str, scale: float) -> None:
    for label, color in colors.items():
        mine = curves[curves["series"] == label]
        axes.fill_between(mine["x"], mine["low"], mine["high"], color=color, alpha=0.16, linewidth=0)
        axes.plot(mine["x"], mine["value"], color=color, linewidth=1.3)
    axes.set_yscale("log")
    axes.set_xlabel("position on the line" + (f"\n(unit: {scale:g} a weight)" if how == "none" else ""))
    axes.set_ylabel("training loss")
    _plain(axes)


def _norms(labels: Sequence[str], grams: Mapping[str, Gram]) -> pd.DataFrame:
    parts = [pd.DataFrame({"x": [], "value": [], "low": [], "high": []}).assign(panel="norm", series="")]
    for label in labels:
        if label in grams:
            gram = grams[label]
            parts.append(
                pd.DataFrame({"x": gram.table["epoch"].to_numpy(float), "value": gram.norms()}).assign(
                    panel="norm", series=label
                )
            )
    return pd.concat(parts, ignore_index=True)


def _draw_norms(axes: Axes, norms: pd.DataFrame, colors: Mapping[str, Any]) -> None:
    for label, color in colors.items():
        mine = norms[norms["series"] == label]
        axes.plot(mine["x"], mine["value"], color=color, linewidth=1.3)
    axes.set_xlabel("epoch")
    axes.set_ylabel("L2 norm of the weights")
    _plain(axes)


def _weights(grid: Grid) -> pd.DataFrame:
    """Return the density of a minimum's weights."""
    h = grid.histogram
    width = (h["high"] - h["low"]).to_numpy()
    middle = ((h["low"] + h["high"]) / 2).to_numpy()
    return pd.DataFrame({"x": middle, "value": h["count"].to_numpy() / h["count"].sum() / width})


def _draw_weights(axes: Axes, weights: pd.DataFrame, colors: Mapping[str, Any]) -> None:
    for label, color in colors.items():
        mine = weights[weights["series"] == label]
        axes.plot(mine["x"], mine["value"], color=color, linewidth=1.0, drawstyle="steps-mid")
    axes.set_xlabel("weight")
    axes.set_ylabel("density")
    axes.set_yscale("log")
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def tabulate(spec: SharpnessTable, inputs: Inputs) -> pd.DataFrame:
    """Return one row a network (test error, sharpness), and the rank correlations below them.

    Returns:
        Columns row, replica, test_error, paper_test_error, train_loss; ``<normalisation>_<measure>``, the median over
        directions of every measure of :mod:`lossatlas.planes.numbers`; lambda_max and trace where measured. The last
        row holds Spearman's rank correlation of each column with the test error.
    """
    table = pd.DataFrame(networks(spec, inputs))
    ranked: dict[str, Any] = {"row": f"Spearman's rank correlation with test_error, {len(table)} networks"}
    for name in table.columns:
        if name not in ("row", "replica", "test_error", "paper_test_error") and table[name].notna().all():
            ranked[name] = spearman(table[name].to_numpy(float), table["test_error"].to_numpy(float))
    return pd.concat([table, pd.DataFrame([ranked])], ignore_index=True)


def networks(spec: SharpnessTable, inputs: Inputs) -> list[dict[str, Any]]:
    """Return the rows of the table, one a network."""
    rows = []
    for entry in spec.rows:
        grids: list[Grid] = inputs.all("grids", entry.line)
        maps: list[Grid] = [] if entry.curvature is None else inputs.all("grids", entry.curvature)
        for replica, grid in enumerate(grids):
            row: dict[str, Any] = {"row": entry.title, "replica": replica}
            row |= {"test_error": error(grid), "paper_test_error": np.nan if entry.paper is None else entry.paper}
            row["train_loss"] = float(grid.minimum["train_loss"])
            for how in NORMALISATIONS:
                for measure in MEASURES:
                    values = sharpness(grid, how, measure, spec.reach)
                    row[f"{how}_{measure}"] = float(np.median(values)) if len(values) else np.nan
            if maps:
                point = maps[replica].measured
                row |= {name: float(point[name].flat[0]) for name in ("lambda_max", "trace") if name in point}
            rows.append(row)
    return rows
