"""A grid of panels with a sidebar, and their letters."""

from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lossatlas.draw import style
from lossatlas.draw.style import Sidebar

GAP = (0.62, 0.46, 0.7)
"""Inches left of, below and above a panel."""


def layout(
    count: int,
    columns: int | None,
    size: tuple[float, float],
    sidebar: Sidebar,
    notes: Sequence[str],
    gap: tuple[float, float, float] = GAP,
    right: float = 0.0,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels of one size (inches) in rows, a sidebar beside them and notes below.

    Args:
        count: of panels.
        columns: panels a row; None = four at most.
        size: of a panel.
        sidebar: drawn at the right.
        notes: drawn below.
        gap: left of, below and above each panel.
        right: of each panel, for a second axis.
    """
    columns = min(columns or min(count, 4), count)
    rows = -(-count // columns)
    (width, height), (left, below, above) = size, gap
    step = left + width + right
    grid = rows * (above + height + below)
    total = max(grid + (0.2 if notes else 0.0), sidebar.height + above) + 0.05
    figure = style.new_figure(columns * step + 0.25 + sidebar.width, total)
    panels = []
    for i in range(count):
        row, column = divmod(i, columns)
        corner = (left + column * step, above + row * (above + height + below))
        panels.append(style.axes_at(figure, *corner, width, height))
    sidebar.draw(figure, columns * step + 0.25, above)
    if notes:
        place = (left / figure.get_figwidth(), 1 - grid / total)
        figure.text(*place, " ".join(notes), fontsize=6.3, color=style.FAINT, va="top")
    return figure, panels


def letter(axes: Axes, number: int, count: int) -> None:
    """Name a panel by a letter at its top left, where there are several."""
    if count > 1:
        look: dict[str, Any] = {"fontweight": "bold", "fontsize": 9.5, "ha": "right", "va": "bottom"}
        axes.text(-0.06, 1.04, ascii_lowercase[number % 26], transform=axes.transAxes, **look)
