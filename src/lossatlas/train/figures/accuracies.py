"""Figure of kind ``accuracies``: train and test accuracy of runs beside each other, and the paper's."""

import numpy as np
import pandas as pd

from lossatlas.draw import style, text
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid
from lossatlas.draw.style import Drawn
from lossatlas.specs.registry import Inputs
from lossatlas.train.spec import Accuracies, Accuracy

PARTS: dict[str, Accuracy] = {"train": "train_accuracy", "test": "test_accuracy"}

TRAIN, TEST, PAPER = "#6B6B6B", "#0072B2", "#D55E00"


def compose(spec: Accuracies, inputs: Inputs) -> Drawn:
    """Draw one row a run: train and test accuracy of its replicas, and what the paper reports.

    Args:
        spec: the figure's.
        inputs: ``runs``.

    Returns:
        The figure and its numbers (row, part, replica, accuracy, paper).
    """
    table = numbers(spec, inputs)
    titles = list(dict.fromkeys(table["row"]))
    sidebar = Sidebar()
    sidebar.marker("train", marker="s", color=TRAIN, markersize=4)
    sidebar.marker("test", marker="o", color=TEST, markersize=4.5)
    sidebar.marker("test, paper", marker="|", color=PAPER, markersize=8, markeredgewidth=1.6)
    wide = 0.15 + max(text.width(title, style.SMALL) for title in titles)
    page = grid(1, 1, 4.2, 0.21 * len(titles) + 0.1, sidebar, gap=(wide, 0.4, 0.05))
    axes = page.axes(0)
    for y, title in enumerate(reversed(titles)):
        mine = table[table["row"] == title]
        axes.axhline(y, color="#e4e4e4", linewidth=0.5, zorder=0)
        for part, marker, color in (("train", "s", TRAIN), ("test", "o", TEST)):
            values = 100 * mine.loc[mine["part"] == part, "accuracy"]
            axes.plot(values, np.full(len(values), y), marker, color=color, markersize=4.2, alpha=0.85, zorder=3)
        paper = 100 * mine.loc[mine["part"] == "test", "paper"].iloc[0]
        if np.isfinite(paper):
            axes.plot(paper, y, marker="|", color=PAPER, markersize=9, markeredgewidth=1.6, zorder=4)
    axes.set_yticks(range(len(titles)), list(reversed(titles)))
    axes.set_ylim(-0.7, len(titles) - 0.3)
    axes.set_xlabel("accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)
    return Drawn(page.figure, table)


def numbers(spec: Accuracies, inputs: Inputs) -> pd.DataFrame:
    """Return the accuracies, a row for each row of the figure, part and replica."""
    found = []
    for row in spec.rows:
        for part, quantity in PARTS.items():
            paper = row.paper.get(quantity, np.nan)
            for replica, end in enumerate(inputs.all("runs", row.run)):
                value = float(end[quantity])
                found.append({"row": row.title, "part": part, "replica": replica, "accuracy": value, "paper": paper})
    return pd.DataFrame(found)
