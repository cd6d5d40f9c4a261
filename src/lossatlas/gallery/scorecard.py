"""The statements of the papers with their verdicts: one table, and one picture with a row a statement."""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.claims.measurement import counted
from lossatlas.claims.spec import FAILS, HOLDS, HOLDS_BUT, NOT_JUDGED, UNDECIDED
from lossatlas.draw.style import FAINT, HUES, INK, Drawn, whole_page
from lossatlas.errors import LossatlasError

NUMBERS = ["paper", "ours", "low", "high", "n", "unit", "threshold"]
"""Columns that the scorecard takes from a statement's first main claim."""

LOOKS: dict[str, dict[str, Any]] = {
    HOLDS: {"color": HUES[0], "marker": "o"},
    HOLDS_BUT: {"color": HUES[5], "marker": "s"},
    FAILS: {"color": HUES[1], "marker": "X"},
    UNDECIDED: {"color": FAINT, "marker": "D", "markerfacecolor": "white"},
    NOT_JUDGED: {"color": "#b5b5b5", "marker": "o", "markerfacecolor": "white"},
}
"""Colour and marker of a verdict: the shapes tell it without the colours."""

ROW, HEAD, WIDTH = 0.34, 0.36, 11.4
"""Inches: height of a statement, of a study's heading, width of the picture."""


def gather(folder: Path, claims: pd.DataFrame) -> pd.DataFrame:
    """Return all statements of the studies in a table of claims, each with the numbers of its first main claim.

    Args:
        folder: ``results/claims``, with ``<study>.statements.csv``.
        claims: the rows of ``results/claims.csv``, as text.

    Raises:
        LossatlasError: a study's statements are missing.
    """
    by_id = claims.set_index(["study", "id"])
    parts = []
    for study in dict.fromkeys(claims["study"]):
        file = folder / f"{study}.statements.csv"
        if not file.is_file():
            raise LossatlasError(f"{file}: no such file; delete {folder / study}.csv and run the same command again")
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        first = [by_id.loc[(study, ids.split()[0])] for ids in table["main"]]
        numbers = pd.DataFrame([row[[*NUMBERS, "preset"]] for row in first], columns=[*NUMBERS, "preset"])
        parts.append(pd.concat([table, numbers.reset_index(drop=True)], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["study", "id", "verdict"])


@dataclass(frozen=True)
class Row:
    """A statement on the picture's scale, on which the threshold is 0 and what satisfies it lies to the right.

    Attributes:
        value, low, high, paper: NaN where there is none; the farthest of them is 1 from the threshold.
    """

    value: float
    low: float
    high: float
    paper: float


def scaled(statement: Mapping[str, str]) -> Row:
    """Return a statement on the picture's scale; a threshold of two ends (``within``) is 0 at the nearer one."""
    numbers = [_number(statement[name]) for name in ("ours", "low", "high", "paper")]
    bounds = [float(text) for text in re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", statement["threshold"])]
    if re.search(r" in (every|most)$", statement["threshold"]):
        numbers[3], bounds = np.nan, [0.5]
    sign = -1.0 if statement["threshold"].startswith("<") and len(numbers) and bounds != [0.5] else 1.0
    if statement["threshold"].startswith("within") and len(bounds) == 2:
        apart = [min(x - bounds[0], bounds[1] - x) for x in numbers]
    else:
        apart = [sign * (x - bounds[0]) for x in numbers]
    finite = [abs(x) for x in apart if np.isfinite(x)]
    scale = max(finite, default=0.0) or 1.0
    value, low, high, paper = (float(np.clip(x / scale, -1, 1)) if not np.isnan(x) else np.nan for x in apart)
    return Row(value, min(low, high), max(low, high), paper)


def _number(text: str) -> float:
    """Return a cell's number; NaN where it is empty or words."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def compose(statements: pd.DataFrame) -> Drawn:
    """Draw the statements: estimate, interval, threshold and the paper's value of each, and its verdict."""
    studies = list(dict.fromkeys(statements["study"]))
    height = 0.95 + HEAD * len(studies) + ROW * len(statements) + 0.25
    with whole_page(WIDTH, height) as (figure, axes):
        _legend(axes, statements)
        top = 0.95
        for study in studies:
            rows = statements[statements["study"] == study]
            presets = ", ".join(dict.fromkeys(rows["preset"]))
            axes.text(0.15, top + HEAD / 2 + 0.04, study, fontweight="bold", fontsize=9, va="center")
            axes.text(WIDTH - 0.15, top + HEAD / 2 + 0.04, f"preset {presets}", ha="right", va="center", color=FAINT)
            axes.plot([0.15, WIDTH - 0.15], [top + HEAD - 0.02] * 2, color=INK, lw=0.6)
            top += HEAD
            for one in rows.to_dict("records"):
                _statement(axes, top + ROW / 2, {str(key): str(value) for key, value in one.items()})
                top += ROW
    return Drawn(figure, statements)


LEFT, RIGHT = 5.0, 7.3
"""Where the scale of a row begins and ends, inches."""


def _statement(axes: Axes, y: float, one: Mapping[str, str]) -> None:
    look = LOOKS[one["verdict"]]
    axes.text(0.15, y, one["id"], fontweight="bold", va="center", fontsize=7)
    words = textwrap.wrap(one["sentence"].rstrip("."), 74)
    words = [words[0], textwrap.shorten(" ".join(words[1:]), 74, placeholder=" ...")] if len(words) > 1 else words
    axes.text(1.35, y, "\n".join(words), va="center", fontsize=6.2, linespacing=1.1)
    axes.plot([0.15, WIDTH - 0.15], [y + ROW / 2] * 2, color="#e6e6e6", lw=0.5, zorder=0)
    middle, half = (LEFT + RIGHT) / 2, (RIGHT - LEFT) / 2
    axes.plot([middle] * 2, [y - ROW / 2, y + ROW / 2], color=INK, lw=0.8, zorder=1)
    row = scaled(one)
    if np.isfinite(row.low) and not _counted_out(one):
        axes.plot([middle + half * row.low, middle + half * row.high], [y, y], color=look["color"], lw=2.2, zorder=2)
    if np.isfinite(row.paper):
        axes.plot([middle + half * row.paper], [y], marker="|", color=HUES[3], ms=10, mew=1.6, ls="none", zorder=3)
    if np.isfinite(row.value):
        axes.plot([middle + half * row.value], [y], ls="none", ms=5.5, zorder=4, **look)
    axes.text(7.5, y, _in_numbers(one), va="center", fontsize=6.2, linespacing=1.15)
    axes.plot([10.2], [y], ls="none", ms=5.5, **look)
    axes.text(
        10.35,
        y,
        one["verdict"],
        va="center",
        fontsize=7,
        fontweight="bold" if one["verdict"] != NOT_JUDGED else "normal",
    )


def _counted_out(one: Mapping[str, str]) -> bool:
    """Tell whether a claim about every unit fell by a counterexample, which no interval adds to."""
    return one["threshold"].endswith(" in every") and one["verdict"] == FAILS


def _in_numbers(one: Mapping[str, str]) -> str:
    """Return two lines: what was measured on how many units; when it holds, and the paper's value."""
    value, low, high = (_number(one[name]) for name in ("ours", "low", "high"))
    units = counted(int(one["n"] or 0), one["unit"])
    if re.search(r" in (every|most|any)$", one["threshold"]) and not np.isnan(value):
        first = f"true of {round(value * int(one['n']))} of {units}"
    else:
        first = "no value" if np.isnan(value) else _short(value)
        first += "" if np.isnan(low) else f" [{_short(low)}, {_short(high)}]"
        first += f", {units}" if one["n"] != "0" else ""
    paper = textwrap.shorten(one["paper"], 26, placeholder=" ...")
    return f"{first}\n{one['threshold']}" + (f"; paper: {paper}" if paper else "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def _legend(axes: Axes, statements: pd.DataFrame) -> None:
    """Say what the marks mean, with how many statements have each verdict."""
    axes.text(0.15, 0.24, "What the papers say, and what was measured", fontsize=11, fontweight="bold", va="center")
    counts = statements["verdict"].value_counts()
    x = 0.25
    for verdict, look in LOOKS.items():
        axes.plot([x], [0.55], ls="none", ms=6, **look)
        words = f"{verdict}: {counts.get(verdict, 0)}"
        axes.text(x + 0.13, 0.55, words, va="center", fontsize=7.5)
        x += 0.42 + 0.075 * len(words)
    axes.plot([x + 0.1], [0.55], marker="|", color=HUES[3], ms=10, mew=1.6, ls="none")
    axes.text(x + 0.23, 0.55, "the paper's value", va="center", fontsize=7.5)
    axes.text((LEFT + RIGHT) / 2, 0.8, "against   |   for", ha="center", va="center", fontsize=7, color=FAINT)
    axes.text(7.5, 0.8, "ours [95% interval]; holds if; paper", va="center", fontsize=7, color=FAINT)
    axes.text(
        0.15, 0.8, "Each row has a scale of its own: the threshold in the middle.", va="center", fontsize=7, color=FAINT
    )
