"""Panels in rows on a page, with letters and titles above them, the legend beside or below, and notes at the foot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any

from matplotlib.axes import Axes

from lossatlas.draw import text as measure
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.style import LETTER, PAGE, TITLE, Box, Sheet, axes_at, new_figure

GAP = (0.56, 0.4, 0.1)
"""Inches left of and below a panel for its numbers and names, and above its title."""

EDGE, RIM, AIR, NARROW, SHRUNK = 0.05, 0.14, 0.2, 1.35, 0.85
"""Inches at the left and right edge of the page, between panels and legend, and of the narrowest panel; how much of its
width a panel gives up before the legend goes below. The right edge has room for half of an axis's last number."""

LINE, INDENT = 0.135, 0.16
"""Height of a line of a title, and how far it begins right of the panel's letter, inches."""

USUAL = {1: 1, 2: 2, 3: 3, 4: 2}
"""Panels a row where nobody says: at most three, and four in two rows, which can be read on a phone."""

NO_BREAK = "\u00a0"

Left = float | Callable[[int, int], float]
"""Inches left of a panel; or from its number and that of panels in a row, those of this one."""

Below = float | Callable[[float], Sequence[float]]
"""Inches below a panel; or from the width of a panel, those of each."""


@dataclass(frozen=True)
class Page:
    """How panels stand in a row, and whether the legend stands beside them; inches.

    Attributes:
        lefts: room left of the panels of each column.
        width: of a panel.
        right: room right of each panel.
        beside: whether the legend stands at the right.
    """

    lefts: tuple[float, ...]
    width: float
    right: float
    beside: bool

    @property
    def columns(self) -> int:
        """Panels a row."""
        return len(self.lefts)

    def step(self, column: int) -> float:
        """Return the width of a column with all that belongs to it."""
        return self.lefts[column] + self.width + self.right

    def begin(self, column: int) -> float:
        """Return where a column begins."""
        return EDGE + sum(self.step(i) for i in range(column))


@dataclass(frozen=True)
class Grid:
    """A page's places, before anything is drawn on it.

    Attributes:
        figure: the empty page, with its legend and notes.
        places: of the panels, without titles, ticks and names of axes.
    """

    figure: Sheet
    places: list[Box] = field(default_factory=list)

    def axes(self, i: int, **how: Any) -> Axes:
        """Return new axes at the place of a panel; keywords as ``Figure.add_axes`` takes them."""
        return axes_at(self.figure, *self.places[i], **how)


def fit(
    count: int, columns: int | None, width: float, sidebar: Sidebar, left: Left, right: float, least: float = NARROW
) -> Page:
    """Return how panels go on a page: as many a row as are wanted, fewer where they would be too narrow.

    Args:
        count: of panels.
        columns: panels a row; None = as many as :data:`USUAL` says.
        width: of a panel where there is room for it.
        sidebar: the legend.
        left: inches left of each panel.
        right: inches right of each panel.
        least: the narrowest a panel may be.
    """

    def page(room: float, beside: bool) -> Page:
        for most in range(min(columns or USUAL.get(count, 3), count), 0, -1):
            across = -(-count // -(-count // most)) if most < (columns or 0) else most  # rows of one length
            lefts = [max(_left(left, i, across) for i in range(k, count, across)) for k in range(across)]
            each = (room - sum(lefts)) / across - right
            if each >= least - 1e-6 or across == 1:
                break
        return Page(tuple(lefts), min(width, each), right, beside)

    below = page(PAGE - EDGE - RIM, False)
    beside = page(PAGE - 2 * EDGE - AIR - sidebar.room, True)
    roomy = beside.columns == below.columns and beside.width >= SHRUNK * min(width, below.width)
    return beside if sidebar.entries and (roomy or below.columns == 1) else below


def _left(left: Left, i: int, columns: int) -> float:
    return left(i, columns) if callable(left) else left


def grid(
    count: int,
    columns: int | None,
    width: float,
    height: float | Callable[[float], float],
    sidebar: Sidebar,
    notes: Sequence[str] = (),
    *,
    titles: Sequence[str] = (),
    gap: tuple[Left, Below, float] = GAP,
    right: float = 0.0,
    least: float = NARROW,
    letters: bool = True,
    over: float = 0.0,
) -> Grid:
    """Lay out a page: panels of one size in rows, each with its letter and title above, and all that belongs to them.

    Args:
        count: of panels.
        columns: panels a row; None = as many as :data:`USUAL` says. Fewer where they would be too narrow.
        width: of a panel, inches; it is less where the page has no room for it.
        height: of a panel, or that of a panel of some width.
        sidebar: the legend.
        notes: sentences at the foot.
        titles: of the panels, one each; in as many lines as they need.
        gap: left of, below and above each panel; a title needs no room of its own.
        right: of each panel, for a second axis.
        least: the narrowest a panel may be.
        letters: whether panels are named by letters, where there are several.
        over: between each panel and its title, for what stands at its upper side.
    """
    left, under, above = gap
    page = fit(count, columns, width, sidebar, left, right, least)
    columns, tall = page.columns, height(page.width) if callable(height) else height
    rows = -(-count // columns)
    lettered = letters and count > 1
    lines = [_lines(titles[i] if titles else "", page.width + right + 0.1, lettered) for i in range(count)]
    below = list(under(page.width)) if callable(under) else [under] * count
    tops, bottoms, top = [], [], EDGE
    for row in range(rows):
        mine = range(row * columns, min((row + 1) * columns, count))
        heads = max(len(lines[i]) for i in mine)
        top += above + over + LINE * heads + (0.05 if heads else 0.0)
        tops.append(top)
        top += tall + max(below[i] for i in mine)
        bottoms.append(top)
    across = page.begin(columns)
    beside = page.beside and sidebar.height <= max(1.3 * top, top + 0.6)
    total = across + (AIR + sidebar.room + EDGE if beside else RIM)
    total = PAGE if not beside and sidebar.room + 2 * EDGE > total else total
    under_all = EDGE + page.lefts[0], total - 2 * EDGE - page.lefts[0]
    legend = sidebar.below(under_all[1]) if sidebar.entries and not beside else 0.0
    end = max(top, tops[0] + sidebar.height) if beside else top + (0.12 + legend if legend else 0.0)
    figure = new_figure(total, end + EDGE)
    if beside:
        sidebar.draw(figure, across + AIR, tops[0])
        figure.legend_box = Box(across + AIR / 2, tops[0], sidebar.room + AIR / 2, sidebar.height)
    elif legend:
        sidebar.draw_below(figure, under_all[0], top + 0.12, under_all[1])
        figure.legend_box = Box(EDGE, top + 0.06, total - 2 * EDGE, legend + 0.06)
    found = Grid(figure)
    for i in range(count):
        row, column = divmod(i, columns)
        place = Box(page.begin(column) + page.lefts[column], tops[row], page.width, tall)
        found.places.append(place)
        begin = EDGE if row == 0 else bottoms[row - 1]
        figure.cells.append(Box(page.begin(column), begin, page.step(column), bottoms[row] - begin))
        _head(figure, place._replace(top=place.top - over), letter_of(i) if lettered else "", lines[i])
    figure.say(notes)
    return found


def layout(
    count: int,
    columns: int | None,
    size: tuple[float, float],
    sidebar: Sidebar,
    notes: Sequence[str] = (),
    gap: tuple[Left, Below, float] = GAP,
    right: float = 0.0,
    titles: Sequence[str] = (),
    **more: Any,
) -> tuple[Sheet, list[Axes]]:
    """Return a page of panels that are one axes each (:func:`grid`), as wide over high as ``size``."""
    width, height = size
    found = grid(
        count,
        columns,
        width,
        lambda given: given * height / width,
        sidebar,
        notes,
        titles=titles,
        gap=gap,
        right=right,
        **more,
    )
    return found.figure, [found.axes(i) for i in range(count)]


def letter_of(number: int) -> str:
    """Return the letter of a panel: a to z, aa, ab, ..."""
    return ascii_lowercase[number] if number < 26 else ascii_lowercase[number // 26 - 1] + ascii_lowercase[number % 26]


def _lines(title: str, inches: float, lettered: bool) -> list[str]:
    """Return a title's lines, broken after commas where that is enough."""
    inches -= INDENT if lettered else 0.0
    parts = title.replace(" ", NO_BREAK).replace(f",{NO_BREAK}", ", ")
    lines = measure.wrapped(parts, inches, TITLE)
    if any(measure.width(line, TITLE) > inches for line in lines):
        lines = measure.wrapped(title, inches, TITLE)
    return lines or ([""] if lettered else [])


def _head(figure: Sheet, place: Box, letter: str, lines: Sequence[str]) -> None:
    """Write a panel's letter and title above it, in lines that begin at its left side."""
    width, height = figure.get_size_inches()
    indent = max(INDENT, measure.width(letter, LETTER, bold=True) + 0.06) if letter else 0.0
    for i, line in enumerate(lines):
        y = 1 - (place.top - 0.06 - LINE * (len(lines) - 1 - i)) / height
        if i == 0 and letter:
            figure.text(place.left / width, y, letter, fontweight="bold", fontsize=LETTER, va="baseline")
        if line:
            figure.text((place.left + indent) / width, y, line, fontsize=TITLE, va="baseline")
