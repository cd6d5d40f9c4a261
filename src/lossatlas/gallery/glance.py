"""The statements of the papers at a glance: a cell each, in the colour of its verdict, in rows by study."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lossatlas.claims.spec import FAILS, HOLDS, HOLDS_BUT, NOT_JUDGED, UNDECIDED
from lossatlas.draw.style import FAINT, HUES, INK, Drawn, whole_page

LOOKS: dict[str, dict[str, str]] = {
    HOLDS: {"facecolor": HUES[0], "edgecolor": HUES[0], "color": "white"},
    HOLDS_BUT: {"facecolor": HUES[5], "edgecolor": HUES[0], "color": INK},
    FAILS: {"facecolor": HUES[1], "edgecolor": HUES[1], "color": "white"},
    UNDECIDED: {"facecolor": "white", "edgecolor": FAINT, "color": INK},
    NOT_JUDGED: {"facecolor": "#ececec", "edgecolor": "#ececec", "color": FAINT},
}
"""Colours of a verdict's cell, its edge and its letters."""

ACROSS, CELL, GAP, HEAD, TOP = 10, (0.72, 0.33), 0.05, 0.3, 0.55
"""Cells a row; inches of a cell, between two, of a study's heading and above the first."""


def compose(statements: pd.DataFrame) -> Drawn:
    """Draw a cell for each statement (columns study, id, verdict, preset), in the order of the papers.

    Returns:
        The picture and the statements.
    """
    studies = {str(study): rows for study, rows in statements.groupby("study", sort=False)}
    lines = sum(-(-len(rows) // ACROSS) for rows in studies.values())
    width = ACROSS * (CELL[0] + GAP) + GAP + 0.1
    height = TOP + HEAD * len(studies) + lines * (CELL[1] + GAP) + 0.1
    with whole_page(width, height) as (figure, axes):
        _legend(axes, statements, width)
        top = TOP
        for study, rows in studies.items():
            axes.text(0.1, top + HEAD - 0.1, study, fontsize=9, fontweight="bold")
            top += HEAD
            for i, one in enumerate(rows.itertuples()):
                row, column = divmod(i, ACROSS)
                _cell(axes, 0.1 + column * (CELL[0] + GAP), top + row * (CELL[1] + GAP), str(one.id), str(one.verdict))
            top += -(-len(rows) // ACROSS) * (CELL[1] + GAP)
    return Drawn(figure, statements)


def _cell(axes: Axes, left: float, top: float, words: str, verdict: str) -> None:
    _patch(axes, (left, top), CELL, verdict)
    middle = left + CELL[0] / 2, top + CELL[1] / 2
    words = words.replace("_", "\n", 1)
    axes.text(*middle, words, ha="center", va="center", fontsize=7, color=LOOKS[verdict]["color"])


def _patch(axes: Axes, place: tuple[float, float], size: tuple[float, float], verdict: str) -> None:
    look = LOOKS[verdict]
    axes.add_patch(Rectangle(place, *size, facecolor=look["facecolor"], edgecolor=look["edgecolor"], linewidth=0.8))


def _legend(axes: Axes, statements: pd.DataFrame, width: float) -> None:
    """Say what the colours mean, with how many statements have each verdict."""
    counts = statements["verdict"].value_counts()
    each = (width - 0.2) / len(LOOKS)
    for i, verdict in enumerate(LOOKS):
        left = 0.1 + i * each
        _patch(axes, (left, 0.15), (0.3, 0.24), verdict)
        axes.text(left + 0.38, 0.27, f"{verdict}: {counts.get(verdict, 0)}", va="center", fontsize=8.5)
