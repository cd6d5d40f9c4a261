"""Legends outside the panels: a column beside them, or columns below them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lossatlas.draw import text as measure
from lossatlas.draw.style import FAINT, LEGEND, axes_at
from lossatlas.draw.ticks import log_labels, log_ticks

FLAT = 2.0
"""Length of a colour bar that lies, inches."""


@dataclass(frozen=True)
class Entry:
    """A piece of a legend.

    Attributes:
        height, width: what it needs, inches.
        draw: called with figure, axes in inches and its top, draws it.
        opens: whether a group of entries begins with it, which stay together where a legend has several columns.
        flat: its shape in a legend below the panels, where that is another one.
    """

    height: float
    width: float
    draw: Callable[[Figure, Axes, float], None]
    opens: bool = False
    flat: Entry | None = None


@dataclass
class Sidebar:
    """A legend: a column beside the panels, or columns below them; its size is known before the figure is made.

    Sizes are inches.

    Attributes:
        width: least width of the column.
        entries: from above.
    """

    width: float = 0.0
    entries: list[Entry] = field(default_factory=list)

    LINE, AIR, GAP = 0.155, 0.11, 0.28
    """Height of a line, space above a heading, and between columns."""

    @property
    def height(self) -> float:
        """Height of all entries in one column."""
        return _height(self.entries)

    @property
    def room(self) -> float:
        """Width of one column of all entries."""
        return max([self.width, *(entry.width for entry in self.entries)])

    def on_top(self, entry: Entry) -> None:
        """Put an entry above all others."""
        self.entries.insert(0, entry)

    def heading(self, text: str) -> None:
        """Add a bold line, with some air above unless it is the first."""

        def draw(_: Figure, axes: Axes, top: float) -> None:
            axes.text(0.0, top + self.LINE / 2, text, va="center", ha="left", fontweight="bold", fontsize=LEGEND)

        self.entries.append(Entry(self.LINE, measure.width(text, LEGEND, bold=True), draw, opens=True))

    def marker(self, text: str, **look: Any) -> None:
        """Add a line with a marker (keywords of ``Axes.plot``) and a text."""

        def draw(_: Figure, axes: Axes, top: float) -> None:
            axes.plot([0.09], [top + self.LINE / 2], linestyle="none", clip_on=False, **look)
            axes.text(0.24, top + self.LINE / 2, text, va="center", ha="left", fontsize=LEGEND)

        self.entries.append(Entry(self.LINE, 0.24 + measure.width(text, LEGEND), draw))

    def line(self, text: str, **look: Any) -> None:
        """Add a line with a stroke (keywords of ``Axes.plot``) and a text."""

        def draw(_: Figure, axes: Axes, top: float) -> None:
            axes.plot([0.0, 0.2], [top + self.LINE / 2] * 2, clip_on=False, **look)
            axes.text(0.28, top + self.LINE / 2, text, va="center", ha="left", fontsize=LEGEND)

        self.entries.append(Entry(self.LINE, 0.28 + measure.width(text, LEGEND), draw))

    def text(self, text: str) -> None:
        """Add a line of text."""

        def draw(_: Figure, axes: Axes, top: float) -> None:
            axes.text(0.0, top + self.LINE / 2, text, va="center", ha="left", fontsize=LEGEND)

        self.entries.append(Entry(self.LINE, measure.width(text, LEGEND), draw))

    def ramps(self, colors: Sequence[NDArray[np.float64]], left: str, right: str) -> None:
        """Add horizontal colour ramps, one (n, 3) array of RGB each, and what their two ends mean."""
        bar, length = 0.075, max(1.05, measure.width(left, LEGEND) + measure.width(right, LEGEND) + 0.12)
        height = bar * len(colors) + 0.05 + self.LINE

        def draw(_: Figure, axes: Axes, top: float) -> None:
            image = np.stack(list(colors))
            axes.imshow(image, extent=(0.0, length, top + bar * len(colors), top), aspect="auto", zorder=2)
            axes.plot(
                [0, length, length, 0, 0], top + bar * len(colors) * np.array([0, 0, 1, 1, 0]), color=FAINT, lw=0.4
            )
            for x, text, side in ((0.0, left, "left"), (length, right, "right")):
                axes.text(x, top + height - self.LINE / 2, text, va="center", ha=side, fontsize=LEGEND)

        self.entries.append(Entry(height, length, draw))

    def colorbar(self, norm: Normalize, cmap: Colormap, label: str, length: float = 1.5, plain: bool = True) -> None:
        """Add a colour bar: upright beside the panels, lying below them; a logarithmic one has round numbers."""
        ticks = log_ticks(float(norm.vmin or 1.0), float(norm.vmax or 1.0)) if isinstance(norm, LogNorm) else None

        def bar(figure: Figure, axes: Axes, top: float, flat: bool) -> None:
            box, inches = axes.get_position(), figure.get_size_inches()
            left, above = box.x0 * inches[0], (1 - box.y1) * inches[1] + top + 0.06
            place = axes_at(figure, left + 0.12 * flat, above, *((FLAT, 0.1) if flat else (0.11, length)))
            place.set_label("<colorbar>")  # as matplotlib names those it places itself
            own = type(norm)(norm.vmin, norm.vmax)  # the panels' own scale would put its ticks back
            side = "horizontal" if flat else "vertical"
            drawn = figure.colorbar(mpl.cm.ScalarMappable(own, cmap), cax=place, orientation=side)
            drawn.set_label(label, fontsize=LEGEND, labelpad=2)
            drawn.outline.set_linewidth(0.5)
            if ticks is not None:
                drawn.set_ticks(ticks, labels=log_labels(ticks))
                drawn.ax.minorticks_off()
            else:
                drawn.ax.locator_params(nbins=5)

        lying = Entry(0.4 + (0.14 if label else 0.0), FLAT + 0.3, lambda f, a, t: bar(f, a, t, True))
        numbers = max([measure.width(label, LEGEND) for label in log_labels(ticks)]) if ticks else 0.3
        across = 0.25 + numbers + (0.16 if label else 0.0)
        self.entries.append(Entry(length + 0.16, across, lambda f, a, t: bar(f, a, t, False), flat=lying))

    def draw(self, figure: Figure, left: float, top: float) -> None:
        """Draw all entries in one column, the first at (left, top) from the figure's top left corner."""
        self._column(figure, self.entries, left, top)

    def below(self, width: float) -> float:
        """Return the height of a legend in columns that together are no wider than asked."""
        return max((_height(column) for column in self._columns(width)), default=0.0)

    def draw_below(self, figure: Figure, left: float, top: float, width: float) -> None:
        """Draw all entries in columns that together are no wider than asked."""
        for column in self._columns(width):
            self._column(figure, column, left, top)
            left += max(entry.width for entry in column) + self.GAP

    def _columns(self, width: float) -> list[list[Entry]]:
        """Return the entries in the lowest columns that fit into a width; groups stay together."""
        groups: list[list[Entry]] = []
        for entry in self.entries:
            shape = entry.flat or entry
            if entry.opens or not groups:
                groups.append([shape])
            else:
                groups[-1].append(shape)
        lowest = max(map(_height, groups), default=0.0)
        for height in sorted({lowest, *(_height(self.entries[: i + 1]) for i in range(len(self.entries)))}):
            if height < lowest:
                continue
            columns: list[list[Entry]] = []
            for group in groups:
                if columns and _height([*columns[-1], *group]) <= height + 1e-6:
                    columns[-1] = [*columns[-1], *group]
                else:
                    columns.append(list(group))
            across = sum(max(entry.width for entry in column) for column in columns)
            if across + self.GAP * (len(columns) - 1) <= width:
                return columns
        return [[entry for group in groups for entry in group]] if groups else []

    def _column(self, figure: Figure, entries: Sequence[Entry], left: float, top: float) -> None:
        if not entries:
            return
        width, height = max(entry.width for entry in entries), _height(entries)
        axes = axes_at(figure, left, top, width, height)
        axes.set_axis_off()
        for place, entry in zip(_tops(entries), entries, strict=True):
            entry.draw(figure, axes, place)
        axes.set_xlim(0.0, width)
        axes.set_ylim(height, 0.0)
        axes.set_aspect("auto")


def _tops(entries: Sequence[Entry]) -> list[float]:
    """Return where each entry of a column begins; above a heading that is not the first there is air."""
    top, tops = 0.0, []
    for i, entry in enumerate(entries):
        top += Sidebar.AIR if entry.opens and i else 0.0
        tops.append(top)
        top += entry.height
    return tops


def _height(entries: Sequence[Entry]) -> float:
    """Return the height of a column."""
    return _tops(entries)[-1] + entries[-1].height if entries else 0.0
