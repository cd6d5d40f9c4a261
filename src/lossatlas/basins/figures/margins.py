"""Figure of kind ``margins``: margins, islands and stability of labels against the swept value."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.basins.margins import NOISE
from lossatlas.basins.numbers import margin_table
from lossatlas.basins.spec import MarginFigure
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.draw.ticks import short_labels
from lossatlas.specs.registry import Inputs

COLOR = "#0072B2"


def compose(spec: MarginFigure, inputs: Inputs) -> Drawn:
    """Draw a dot for each minimum and the mean over initialisations of each number, the values at equal distances.

    Returns:
        The figure and its numbers: a row for each minimum.
    """
    table = margin_table(inputs.all("boundaries", spec.boundaries))
    panels = [
        ("margin", "Margin of training points", "median, share of the side", 1.0),
        ("islands", "Islands with training points", "regions of one decision", 1.0),
        ("stability", "Labels under noise on inputs", f"% kept (noise {NOISE:g} of the side)", 100.0),
    ]
    parts = [(table, *panel) for panel in panels]
    if spec.mass is not None:
        weights = pd.concat([one.table for one in inputs.all("mass", spec.mass)], ignore_index=True)
        width = weights["width"].min()
        weights = weights[weights["width"] == width]
        parts.append(
            (weights, "label_stability", "Labels under noise on weights", f"% kept (width {width:g} steps)", 100.0)
        )
    notes = ("Dots: minima; line: mean over initialisations.",)
    titles = [title for _, _, title, _, _ in parts]
    figure, places = layout(len(parts), None, (1.95, 1.8), Sidebar(), notes, titles=titles)
    for axes, (rows, column, _, label, factor) in zip(places, parts, strict=True):
        _panel(axes, rows, column, factor)
        axes.set_ylabel(label)
    names = ["replica", "value", "train_accuracy", "test_accuracy", "gap", "margin", "islands", "largest", "stability"]
    return Drawn(figure, table[names])


def _panel(axes: Axes, rows: pd.DataFrame, column: str, factor: float) -> None:
    values = sorted(set(rows["value"]))
    place = {value: k for k, value in enumerate(values)}
    axes.plot([place[value] for value in rows["value"]], factor * rows[column], "o", color=COLOR, ms=2.8, alpha=0.55)
    means = [factor * float(np.nanmean(rows.loc[rows["value"] == value, column])) for value in values]
    axes.plot(range(len(values)), means, color=style.INK, linewidth=1.2)
    axes.set_xticks(range(len(values)), short_labels(values))
    axes.set_xlim(-0.4, len(values) - 0.6)
    axes.set_xlabel("β (not to scale)")
    axes.grid(True, color="#e4e4e4", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
