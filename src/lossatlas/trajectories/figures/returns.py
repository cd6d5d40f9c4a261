"""Figure kind ``returns`` and table kind ``returns_table``: how far retrainings go and come back, measured in R^D."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from lossatlas.clouds.figures import embedding
from lossatlas.clouds.files import Gram
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid, letter_of
from lossatlas.draw.style import DASHES, Drawn, Sheet, axes_at
from lossatlas.errors import LossatlasError
from lossatlas.specs.registry import Inputs
from lossatlas.trajectories.numbers import per_trajectory, trajectories
from lossatlas.trajectories.spec import RETURNS, RETURNS_COLUMNS, Kept, Retrainings, Returns, ReturnsTable

LABELS = {
    "distance_ratio": "distance from $\\theta_o$\nover the jump's",
    "cosine": "cosine of $\\theta - \\theta_o$\nwith the jump",
}
"""Quantities drawn by epoch, in the order of the rows, and the names of their axes."""

NUMBERS = ["panel", "cloud", "step", "epoch", "quantity", "mean", "low", "high", "n"]
"""Columns of the figure's CSV."""

HEIGHT, BETWEEN = 0.9, 0.12
"""Height of a row of curves, and the space to the next, in inches."""

_MEASURED: dict[str, tuple[str, Retrainings]] = {
    "outwardness": ("outwardness", Retrainings()),
    "return_fraction": ("return_fraction", Retrainings()),
    "direction_left": ("direction_kept", Kept(quantity="left")),
    "cosine": ("direction_kept", Kept(quantity="cosine")),
}
"""Quantity of the table -> trajectory measure of the claims, and its settings."""


def compose(spec: Returns, inputs: Inputs) -> Drawn:
    """Draw clouds beside each other.

    Args:
        spec: of the figure.
        inputs: ``gram`` of each panel's cloud, and its ``embedding`` where panels have one.

    Returns:
        The figure, the numbers of its curves (:data:`NUMBERS`; those of an embedding belong to a figure of that kind)
        and notes.
    """
    notes: list[str] = []
    parts, lost = [], 0
    for i, entry in enumerate(spec.panels):
        values = by_epoch(_jumps(inputs, entry.cloud))
        lost += int((~np.isfinite(values["value"])).sum())
        parts.append(_summary(values).assign(panel=letter_of(i), cloud=entry.cloud))
    numbers = pd.concat(parts, ignore_index=True)[NUMBERS]
    if lost:
        notes.append(f"{lost} value{'' if lost == 1 else 's'} without a finite number left out.")
    embedded: list[embedding.Panel] = []
    colors = None
    if spec.embedded:
        untitled = spec.model_copy(update={"panels": [one.model_copy(update={"title": ""}) for one in spec.panels]})
        embedded, missing = embedding.read_panels(untitled, inputs)
        colors = embedding.Colors(untitled, embedded)
        notes += [*missing, *colors.notes]
    figure = _layout(spec, numbers, embedded, colors, notes)
    return Drawn(figure, numbers, tuple(notes))


def by_epoch(gram: Gram) -> pd.DataFrame:
    """Return distance ratio and cosine of every retraining of a cloud: seed, step, epoch, quantity, value."""
    parts = []
    for t in trajectories([gram], Retrainings()):
        with np.errstate(divide="ignore", invalid="ignore"):
            values = {"distance_ratio": t.ratios, "cosine": t.cosines}
        same = {"seed": t.direction[1], "step": t.step, "epoch": t.epochs}
        parts += [pd.DataFrame({**same, "quantity": name, "value": value}) for name, value in values.items()]
    return pd.concat(parts, ignore_index=True)


def _jumps(inputs: Inputs, cloud: str) -> Gram:
    """Return the Gram matrix of a cloud, which must be one of retrainings."""
    gram: Gram = inputs.one("gram", cloud)
    if not trajectories([gram], Retrainings()):
        (path,) = inputs.paths("gram", cloud)
        raise LossatlasError(f"{path}: no retraining with its jump and a later point; name a jump-and-retrain cloud")
    return gram


def _summary(values: pd.DataFrame) -> pd.DataFrame:
    """Return mean, low, high and n over directions, for each quantity, step and epoch."""
    finite = values[np.isfinite(values["value"])]
    grouped = finite.groupby(["quantity", "step", "epoch"], sort=True)["value"]
    return grouped.agg(mean="mean", low="min", high="max", n="size").reset_index()


def step_colors(steps: Sequence[float]) -> dict[float, tuple[float, float, float]]:
    """Return the colour of each step size, light to dark as the diamonds', none too light for a line on white."""
    places = np.linspace(0.74, 0.02, len(steps)) if len(steps) != 1 else [0.3]
    cmap = mpl.colormaps[style.VALUE_MAP]
    return {step: to_rgb(cmap(place)) for step, place in zip(sorted(steps), places, strict=True)}


def _layout(
    spec: Returns,
    numbers: pd.DataFrame,
    embedded: Sequence[embedding.Panel],
    colors: embedding.Colors | None,
    notes: Sequence[str],
) -> Sheet:
    count = len(spec.panels)
    looks = {
        step: {"color": color, "linestyle": DASHES[i % 4], "linewidth": 1.3}
        for i, (step, color) in enumerate(reversed(step_colors(numbers["step"].unique().tolist()).items()))
    }

    def first_row(width: float) -> float:
        return width + 0.08 + max(embedding.room_below(panel, width) for panel in embedded) if embedded else 0.0

    feet = embedding.describe(embedded)
    linear = any(panel.name in embedding.LINEAR for panel in embedded)

    def beside(i: int, columns: int) -> float:
        return 0.62 if i % columns == 0 else 0.52 if linear else 0.2

    page = grid(
        count,
        spec.columns or {7: 4, 8: 4}.get(count),
        2.4,
        lambda width: first_row(width) + len(LABELS) * HEIGHT + BETWEEN * (len(LABELS) - 1),
        _sidebar(spec, numbers, embedded, colors, looks),
        [*feet, *notes],
        titles=[entry.title for entry in spec.panels],
        least=1.3,
        gap=(beside, 0.38, 0.1),
    )
    limits = {quantity: _limits(numbers[numbers["quantity"] == quantity]) for quantity in LABELS}
    epochs = (float(numbers["epoch"].min()), float(numbers["epoch"].max()))
    for i, (left, top, width, _) in enumerate(page.places):
        if embedded and colors is not None:
            upper = axes_at(page.figure, left, top, width, width)
            embedding.show(upper, embedded[i], colors, embedding.point_area(width), width)
        for j, quantity in enumerate(LABELS):
            axes = axes_at(page.figure, left, top + first_row(width) + j * (HEIGHT + BETWEEN), width, HEIGHT)
            mine = numbers[(numbers["panel"] == letter_of(i)) & (numbers["quantity"] == quantity)]
            _draw(axes, mine, looks, quantity == "distance_ratio")
            axes.set_ylim(*limits[quantity])
            axes.set_xlim(epochs[0] - 0.02 * np.ptp(epochs), epochs[1] + 0.02 * np.ptp(epochs))
            _dress(axes, quantity, left == page.places[0].left, j == len(LABELS) - 1)
    return page.figure


def _limits(numbers: pd.DataFrame) -> tuple[float, float]:
    """Return limits of an axis that all panels share: everything drawn, and 1."""
    low, high = min(float(numbers["low"].min()), 1.0), max(float(numbers["high"].max()), 1.0)
    margin = 0.06 * max(high - low, 0.5)
    return low - margin, high + margin


def _draw(axes: Axes, numbers: pd.DataFrame, looks: Mapping[float, Mapping[str, Any]], level: bool) -> None:
    if level:
        axes.axhline(1.0, color="#7a7a7a", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for step in sorted(looks):
        rows, look = numbers[numbers["step"] == step], looks[step]
        axes.plot(rows["epoch"], rows["mean"], zorder=3, solid_capstyle="round", **look)
        if (rows["n"] > 1).any():
            axes.fill_between(
                rows["epoch"], rows["low"], rows["high"], color=look["color"], alpha=0.16, linewidth=0, zorder=2
            )
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _dress(axes: Axes, quantity: str, first: bool, last: bool) -> None:
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.locator_params(axis="y", nbins=5)
    if first:
        axes.set_ylabel(LABELS[quantity], linespacing=1.25)
        # Labels of all rows stand at one distance from the axes, whatever their ticks.
        axes.yaxis.set_label_coords(-0.34 / (axes.get_position().width * _figure_width(axes)), 0.5)
    else:
        axes.tick_params(labelleft=False)
    if last:
        axes.set_xlabel("epoch of retraining", labelpad=2)
    else:
        axes.tick_params(labelbottom=False)


def _figure_width(axes: Axes) -> float:
    return float(axes.get_figure().get_figwidth())  # type: ignore[union-attr]


def _sidebar(
    spec: Returns,
    numbers: pd.DataFrame,
    embedded: Sequence[embedding.Panel],
    colors: embedding.Colors | None,
    looks: Mapping[float, Mapping[str, Any]],
) -> Sidebar:
    sidebar = embedding.sidebar_of(spec, embedded, colors) if colors is not None else Sidebar()
    sidebar.heading("Lines, by step size")
    for step in sorted(looks):
        sidebar.line(f"{step:g}", **looks[step])
    sidebar.line("the jump itself", color="#7a7a7a", linewidth=0.8, linestyle=(0, (4, 3)))
    if (numbers["n"] > 1).any():
        sidebar.heading("Directions")
        sidebar.line("line: mean", color=style.FAINT, linewidth=1.3)
        sidebar.line("band: range", color=style.FAINT, linewidth=6, alpha=0.22)
    return sidebar


def tabulate(spec: ReturnsTable, inputs: Inputs) -> pd.DataFrame:
    """Return how far the retrainings of clouds go and come back, by step size and over all steps.

    Args:
        spec: of the table.
        inputs: ``gram`` of each row's cloud.

    Returns:
        One line for each cloud and step size, and one over all steps in which a direction counts by the mean over its
        steps: ``row``, the row's own columns, ``step``, then :data:`~lossatlas.trajectories.spec.RETURNS_COLUMNS`
        (mean, range and number of directions).
    """
    lines = []
    for entry in spec.rows:
        gram = _jumps(inputs, entry.cloud)
        measured = {name: per_trajectory(_MEASURED[name][0], [gram], _MEASURED[name][1]) for name in RETURNS}
        steps: list[Any] = sorted(measured["outwardness"]["step"].unique())
        for step in [*steps, "all"]:
            line: dict[str, Any] = {"row": entry.title, **_shown(entry.group), "step": _step(step)}
            for name, values in measured.items():
                line |= _over_directions(name, values, step)
            lines.append({**line, "paper": _said(entry.paper, step)})
    own = list(spec.rows[0].group)
    return pd.DataFrame(lines, columns=["row", *own, "step", *RETURNS_COLUMNS])


def _over_directions(name: str, values: pd.DataFrame, step: Any) -> dict[str, float]:
    """Return mean, range and number of directions of a quantity at a step size, or over all."""
    chosen = values[np.isfinite(values["value"])]
    chosen = chosen if step == "all" else chosen[chosen["step"] == step]
    directions = chosen.groupby("direction")["value"].mean()
    made: dict[str, Callable[[], float]] = {"mean": directions.mean, "low": directions.min, "high": directions.max}
    return {**{f"{name}_{part}": make() for part, make in made.items()}, f"{name}_n": len(directions)}


def _step(step: Any) -> str:
    return step if isinstance(step, str) else f"{step:g}"


def _shown(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's own columns; YAML reads yes and no as booleans."""
    return {name: ("yes" if value else "no") if isinstance(value, bool) else value for name, value in group.items()}


def _said(paper: Any, step: Any) -> Any:
    """Return what the paper says of a step size, or None."""
    said = paper if isinstance(paper, dict) else {"all": paper}
    if step == "all":
        return said.get("all")
    return next((value for key, value in said.items() if key != "all" and np.isclose(float(key), step)), None)
