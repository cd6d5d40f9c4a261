"""Ticks of logarithmic axes: whole powers of ten, or plain numbers where there are few of them; never 10^0.9."""

from collections.abc import Iterable
from itertools import pairwise
from math import ceil, floor, log10

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

APART = 4.0
"""Pixels of a hundredth of an inch between neighbouring numbers below an axis at least."""

PLAIN = (1e-3, 1e4)
"""A scale within these has plain numbers, any other powers of ten."""


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers within limits for a logarithmic scale, ascending: at least two and ``most`` at most.

    Args:
        low: lower limit of the scale, positive.
        high: upper limit.
        most: number of ticks.
    """
    first, last = floor(log10(low)) - 1, ceil(log10(high)) + 1
    slack = 1e-9
    for digits in ((1,), (1, 3), (1, 2, 5)):
        ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
        ticks = [tick for tick in ticks if low * (1 - slack) <= tick <= high * (1 + slack)]
        if len(ticks) >= 3:
            stride = ceil(len(ticks) / most)
            return ticks[::stride]
    ticks = [float(tick) for tick in MaxNLocator(min(most, 4), steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return [tick for tick in ticks if low * (1 - slack) <= tick <= high * (1 + slack) and tick > 0]


def log_labels(ticks: list[float]) -> list[str]:
    """Return the numbers of such ticks as they are printed, all in one way."""
    if all(PLAIN[0] * 0.999 < tick < PLAIN[1] * 1.001 for tick in ticks):
        return [f"{tick:.4g}" if tick < 1e4 else f"{tick:,.0f}" for tick in ticks]
    return [_power(tick) for tick in ticks]


def short_labels(values: Iterable[float]) -> list[str]:
    """Return numbers as they are printed at many places side by side: without a zero before the decimal point."""
    names = [f"{value:g}" for value in values]
    return [name.removeprefix("0") if name.startswith("0.") else name for name in names]


def _power(tick: float) -> str:
    power = floor(log10(tick) + 1e-9)
    digits = f"{tick / 10.0**power:.3g}"
    return f"$10^{{{power}}}$" if digits == "1" else f"${digits}\\times10^{{{power}}}$"


def round_numbers(axis: Axis, low: float, high: float, most: int = 6) -> None:
    """Give a logarithmic axis round numbers within limits."""
    ticks = log_ticks(low, high, most)
    axis.set_ticks(ticks, labels=log_labels(ticks))
    axis.set_minor_locator(NullLocator())


def mend(figure: Figure) -> None:
    """Give logarithmic axes round numbers; axes along the bottom have no more numbers than there is room for.

    A power that all numbers of an axis share stands in its name, not at a corner where titles are. Ticks that were set
    one by one stay. Axes in three dimensions are left alone.
    """
    for axes in figure.axes:
        if axes.name == "3d" or not axes.axison:
            continue
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log" and not isinstance(axis.get_major_locator(), FixedLocator):
                low, high = sorted(axis.get_view_interval())
                for most in (6, 5, 4, 3, 2):
                    round_numbers(axis, float(low), float(high), most)
                    if axis is axes.yaxis or not _crowded(axis):
                        break
        for most in (7, 6, 5, 4, 3):
            if not (isinstance(axes.xaxis.get_major_locator(), MaxNLocator) and _crowded(axes.xaxis)):
                break
            axes.xaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
        for axis in (axes.xaxis, axes.yaxis):
            _name_power(axis)


def _name_power(axis: Axis) -> None:
    """Put what all numbers of an axis share into its name."""
    axis.get_majorticklabels()  # makes the formatter see the ticks
    shared = axis.get_major_formatter().get_offset()
    if shared:
        axis.set_label_text(f"{axis.get_label_text()} ({shared})".strip())
        axis.get_offset_text().set_visible(False)


def _crowded(axis: Axis) -> bool:
    """Tell whether the numbers below an axis run into one another."""
    return any(b.x0 - a.x1 < APART for a, b in pairwise(_boxes(axis)))


def _boxes(axis: Axis) -> list[Bbox]:
    """Return where the numbers of an axis stand, in pixels, from left to right."""
    low, high = sorted(axis.get_view_interval())
    shown = (text for text in axis.get_majorticklabels() if text.get_visible() and text.get_text())
    found = [text.get_window_extent() for text in shown if low <= text.get_position()[0] <= high]
    return sorted(found, key=lambda box: float(box.x0))
