"""Figures of kinds ``along`` and ``walks``: quantities along traversals, and of several traversals together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import DASHES, Drawn
from lossatlas.levelsets.numbers import best, ends, metric, sweeps, walked
from lossatlas.levelsets.spec import Along, Walks
from lossatlas.specs.registry import Inputs

OURS, THEIRS = "#0072B2", "#D55E00"
COLUMNS = ["panel", "label", "x", "mean", "std", "paths"]


@dataclass(frozen=True)
class _Panel:
    """One panel: its title, what is drawn (replicas, points), and a line to compare them with, with its name.

    Values that have a bound get no band, which would pass it.
    """

    title: str
    drawn: np.ndarray
    reference: float | None = None
    name: str = ""
    bounded: bool = False


def compose(spec: Along, inputs: Inputs) -> Drawn:
    """Draw angle, squared norm, deviation of the loss over its tolerance, and change of test loss and accuracy.

    Returns:
        The figure and its numbers (panel, label, x, mean, std, paths): mean and sample deviation over paths at equal
        steps.
    """
    table = inputs.one("gram", spec.cloud).table
    paths = list(walked(table).values())
    count = min(len(path) for path in paths)
    steps = paths[0]["steps"].to_numpy(float)[:count]
    panels = _panels(table, paths, count, spec.choose)
    sidebar = Sidebar()
    sidebar.line("traversals", color=OURS, linewidth=1.5)
    sidebar.line("each path", color=OURS, linewidth=0.4)
    sidebar.line("band: ± 1 std. dev.", color=OURS, linewidth=6, alpha=0.2)
    sidebar.line("180 degrees; tolerance", color=style.FAINT, linewidth=1.0, linestyle=DASHES[1])
    for name in (panel.name for panel in panels if panel.name):
        sidebar.line(name, color=THEIRS, linewidth=1.0, linestyle=DASHES[1])
    last = ends(table)[1]
    sidebar.heading("Steps")
    for column, said in (("corrections", "corrector steps"), ("rejected", "taken back")):
        sidebar.text(f"{100 * float((last[column] / last['steps']).mean()):.3g} {said} in 100")
    sidebar.text(f"{len(paths)} paths, {int(steps[-1]):,} steps")
    figure, all_axes = layout(len(panels), 3, (2.3, 1.75), sidebar, titles=[panel.title for panel in panels])
    numbers = [_draw(axes, steps, panel) for axes, panel in zip(all_axes, panels, strict=True)]
    return Drawn(figure, pd.concat(numbers)[COLUMNS])


def _panels(table: pd.DataFrame, paths: list[pd.DataFrame], count: int, choose: str) -> list[_Panel]:
    """Return what is drawn of a cloud's traversals; of test performance the change, as splits differ by far more."""

    def column(name: str) -> np.ndarray:
        return np.array([path[name].to_numpy(float)[:count] for path in paths])

    kept = column("worst_deviation") / column("tolerance")
    panels = [
        _Panel("angle of ∇L and ∇|θ|² (degrees)", column("angle"), 180.0),
        _Panel("squared norm |θ|²", column("norm2")),
        _Panel("largest |L \N{MINUS SIGN} L0| / tolerance", kept, 1.0, bounded=True),
    ]
    value = best(table, choose)
    rows = sweeps(table, "weight_decay")
    for name, said in (("test_loss", "test loss, less at start"), ("test_accuracy", "test accuracy, less at start")):
        values = column(name)
        if not np.isfinite(values).all():
            continue
        decay = None
        if value is not None and name == metric(table):
            decay = float(rows.loc[rows["value"] == value, name].mean() - values[:, 0].mean())
        label = "" if decay is None else f"weight decay, λ = {value:g}"
        panels.append(_Panel(said, values - values[:, :1], decay, label))
    return panels


def _draw(axes: Axes, steps: np.ndarray, panel: _Panel) -> pd.DataFrame:
    mean, std = panel.drawn.mean(0), panel.drawn.std(0, ddof=1) if len(panel.drawn) > 1 else 0 * panel.drawn[0]
    axes.plot(steps, panel.drawn.T, color=OURS, linewidth=0.4, alpha=0.5)
    if not panel.bounded:
        axes.fill_between(steps, mean - std, mean + std, color=OURS, alpha=0.18, linewidth=0)
    axes.plot(steps, mean, color=OURS, linewidth=1.5)
    if panel.reference is not None:
        color = THEIRS if panel.name else style.FAINT
        axes.axhline(panel.reference, color=color, linewidth=1.0, linestyle=DASHES[1])
    if "less at start" in panel.title:
        axes.axhline(0.0, color=style.FAINT, linewidth=0.5)
    axes.set_xlabel("steps")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.spines[["top", "right"]].set_visible(False)
    return pd.DataFrame(
        {"panel": panel.title, "label": "traversal", "x": steps, "mean": mean, "std": std, "paths": len(panel.drawn)}
    )


def walks(spec: Walks, inputs: Inputs) -> Drawn:
    """Draw one panel a cloud: its traversals and what else it holds of the same replicas, against the path's length.

    Returns:
        The figure and its numbers (panel, label, x, mean, std, paths); the mean is over paths at equal lengths that all
        of one kind have.
    """
    looks = {source: (color, dash) for source, color, dash in zip(spec.labels, style.HUES, DASHES, strict=False)}
    sidebar = Sidebar()
    for source, label in spec.labels.items():
        color, dash = looks[source]
        sidebar.line(label, color=color, linewidth=1.5, linestyle=dash)
    sidebar.line("band: standard error", color=style.FAINT, linewidth=6, alpha=0.2)
    heads = [panel.title for panel in spec.panels]
    figure, all_axes = layout(len(spec.panels), 3, (2.3, 2.0), sidebar, titles=heads)
    numbers = []
    for axes, panel in zip(all_axes, spec.panels, strict=True):
        table = inputs.one("gram", panel.cloud).table
        kinds = {source: list(walked(table, source).values()) for source in spec.labels}
        numbers += _walks(axes, panel.title, kinds, spec, looks)
    return Drawn(figure, pd.concat(numbers)[COLUMNS])


def _walks(
    axes: Axes, title: str, kinds: Mapping[str, list[pd.DataFrame]], spec: Walks, looks: Mapping
) -> list[pd.DataFrame]:
    found = []
    for source, paths in kinds.items():
        if not paths:
            continue
        grid = np.linspace(0.0, min(path["length"].max() for path in paths), 60)
        values = np.array([np.interp(grid, path["length"], _shown(path, spec.quantity)) for path in paths])
        mean = values.mean(0)
        std = values.std(0, ddof=1) if len(paths) > 1 else 0 * mean
        color, dash = looks[source]
        axes.plot(grid, mean, color=color, linestyle=dash, linewidth=1.5)
        error = std / np.sqrt(len(paths))
        axes.fill_between(grid, mean - error, mean + error, color=color, alpha=0.15, linewidth=0)
        found.append(
            pd.DataFrame({"panel": title, "label": spec.labels[source], "x": grid, "mean": mean, "std": std}).assign(
                paths=len(paths)
            )
        )
    axes.axhline(0.0, color=style.FAINT, linewidth=0.5)
    axes.set_xlabel("length of the path")
    axes.set_ylabel(
        {"test_loss": "test loss, less at start", "distance": "distance from the target / at start"}[spec.quantity]
    )
    axes.spines[["top", "right"]].set_visible(False)
    return found


def _shown(path: pd.DataFrame, quantity: str) -> np.ndarray:
    if quantity == "distance":
        left = np.sqrt(path["objective"].to_numpy(float))
        return left / left[0]
    values = path[quantity].to_numpy(float)
    return values - values[0]
