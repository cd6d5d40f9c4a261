"""The look shared by all figures and how they are written: colour-blind-safe, legends beside, metadata inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from lossatlas import __version__
from lossatlas.draw.film import Film, encode
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import atomic
from lossatlas.files.provenance import dumps

if TYPE_CHECKING:
    import pandas as pd

HUES = ("#0072B2", "#D55E00", "#009E73", "#992E70", "#F0B429", "#56B4E9", "#6B6B6B")
"""Okabe and Ito's palette without its yellow, which vanishes on white. Its purple is darker and its orange lighter, so
that the first five stay apart half-way to white too, for protanopes and deuteranopes (tested)."""

STEP_MAP = "Greys"
"""Shades of the diamonds, light to dark by step size: no hue, so that they cannot be taken for a direction."""

VALUE_MAP = "viridis"
"""Map of colour bars: perceptually uniform, ordered in lightness, colour-blind-safe."""

INK, FAINT = "#1a1a1a", "#5c5c5c"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#4d4d4d",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "pdf.fonttype": 42,
    "svg.hashsalt": "lossatlas",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "path.simplify": False,
}
"""Settings under which everything is drawn and saved, whatever the user's own matplotlibrc says."""

DPI = 300

GROUND = LinearSegmentedColormap.from_list("ground", ["#ffffff", "#d9d9d9", "#8c8c8c", "#4d4d4d"])
"""Losses in greys, low ones light: the colours belong to the paths."""


PROGRESS = LinearSegmentedColormap.from_list("progress", mpl.colormaps["plasma"](np.linspace(0.0, 0.88, 64)))
"""Progress along a path, without the yellow that vanishes on white."""


AXIS_LABELS = {
    "norm": "L2 norm of the weights",
    "distance": "distance from the start",
    "train_loss": "training loss",
    "train_accuracy": "training accuracy",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "angle": "angle between ∇L and ∇R (degrees)",
    "norm2": "squared norm of the weights",
    "steps": "predictor steps",
}


DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1)),
    "-",
    (0, (5, 1.6)),
)


def hues(count: int) -> list[tuple[float, float, float]]:
    """Return ``count`` colours that differ in hue: :data:`HUES`, or a sampled map where there are more."""
    if count <= len(HUES):
        return [to_rgb(color) for color in HUES[:count]]
    return [to_rgb(mpl.colormaps["turbo"](value)) for value in np.linspace(0.04, 0.96, count)]


def shade(color: Sequence[float], progress: NDArray[np.float64], hue: str) -> NDArray[np.float64]:
    """Return RGB rows (n, 3) of one hue by progress in [0, 1].

    Args:
        color: RGB of the hue.
        progress: 0 at the jump, 1 at the last epoch.
        hue: ``descending`` runs from a slightly darkened colour to nearly white, ``ascending`` the other way.
    """
    dark, light = 0.80 * np.asarray(color), 0.13 * np.asarray(color) + 0.87
    toward_light = progress if hue == "descending" else 1.0 - progress
    return dark + np.clip(toward_light, 0.0, 1.0)[:, None] * (light - dark)


def steps(values: Sequence[float]) -> dict[float, tuple[float, ...]]:
    """Return the shade of each step size, light to dark in their order."""
    ordered = sorted(set(values))
    shades = np.linspace(0.02, 0.92, len(ordered)) if len(ordered) != 1 else [0.5]
    return {step: tuple(mpl.colormaps[STEP_MAP](value)) for step, value in zip(ordered, shades, strict=True)}


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure with an Agg canvas, sizes in inches; no window system and no pyplot state is involved."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def plain_log(axis: Axis, low: float, high: float) -> None:
    """Give a logarithmic axis over less than two decades plain numbers: 1.5 in place of 1.5 x 10^0."""
    if high > 100 * low:
        return
    shown = FuncFormatter(lambda value, _: f"{value:.3g}")
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if high > 4 * low else MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(shown)
    axis.set_minor_locator(NullLocator())


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place measured in inches from the figure's top left corner."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    return figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


@dataclass
class Sidebar:
    """Legends stacked in a column beside the panels; its height is known before the figure is made.

    Sizes are inches. Each entry is (height, function that draws it below a given top).
    """

    width: float = 1.35
    entries: list[tuple[float, Callable[[Figure, Axes, float], None]]] = field(default_factory=list)

    LINE = 0.155

    @property
    def height(self) -> float:
        """Height of all entries."""
        return sum(height for height, _ in self.entries)

    def heading(self, text: str) -> None:
        """Add a bold line, with some air above unless it is the first."""
        air = 0.0 if not self.entries else 0.11

        def draw(_: Figure, axes: Axes, top: float) -> None:
            axes.text(0.0, top + air + self.LINE / 2, text, va="center", ha="left", fontweight="bold", fontsize=7.5)

        self.entries.append((self.LINE + air, draw))

    def marker(self, text: str, **look: Any) -> None:
        """Add a line with a marker (keywords of ``Axes.plot``) and a text."""

        def draw(_: Figure, axes: Axes, top: float) -> None:
            axes.plot([0.09], [top + self.LINE / 2], linestyle="none", clip_on=False, **look)
            axes.text(0.24, top + self.LINE / 2, text, va="center", ha="left", fontsize=7)

        self.entries.append((self.LINE, draw))

    def line(self, text: str, **look: Any) -> None:
        """Add a line with a stroke (keywords of ``Axes.plot``) and a text."""

        def draw(_: Figure, axes: Axes, top: float) -> None:
            axes.plot([0.0, 0.2], [top + self.LINE / 2] * 2, clip_on=False, **look)
            axes.text(0.28, top + self.LINE / 2, text, va="center", ha="left", fontsize=7)

        self.entries.append((self.LINE, draw))

    def text(self, text: str) -> None:
        """Add a line of text."""

        def draw(_: Figure, axes: Axes, top: float) -> None:
            axes.text(0.0, top + self.LINE / 2, text, va="center", ha="left", fontsize=7)

        self.entries.append((self.LINE, draw))

    def ramps(self, colors: Sequence[NDArray[np.float64]], left: str, right: str) -> None:
        """Add horizontal colour ramps, one (n, 3) array of RGB each, and what their two ends mean."""
        bar = 0.075
        height = bar * len(colors) + 0.05 + self.LINE

        def draw(figure: Figure, axes: Axes, top: float) -> None:
            width = self.width - 0.3
            image = np.stack(list(colors))
            axes.imshow(image, extent=(0.0, width, top + bar * len(colors), top), aspect="auto", zorder=2)
            axes.plot([0, width, width, 0, 0], top + bar * len(colors) * np.array([0, 0, 1, 1, 0]), color=FAINT, lw=0.4)
            for x, text, side in ((0.0, left, "left"), (width, right, "right")):
                axes.text(x, top + height - self.LINE / 2, text, va="center", ha=side, fontsize=6.5)

        self.entries.append((height, draw))

    def colorbar(self, norm: Normalize, cmap: Colormap, label: str, length: float = 1.5, plain: bool = False) -> None:
        """Add a vertical colour bar; ``plain``: a logarithmic one over few decades has plain numbers."""

        def draw(figure: Figure, axes: Axes, top: float) -> None:
            box = axes.get_position()
            inches = figure.get_size_inches()
            left, above = box.x0 * inches[0], (1 - box.y1) * inches[1]
            place = axes_at(figure, left, above + top + 0.06, 0.11, length)
            own = type(norm)(norm.vmin, norm.vmax) if plain else norm  # the panels' own scale would put the ticks back
            bar = figure.colorbar(mpl.cm.ScalarMappable(own, cmap), cax=place)
            bar.set_label(label, fontsize=7.5)
            bar.outline.set_linewidth(0.5)
            if plain:
                plain_log(bar.ax.yaxis, norm.vmin or 1.0, norm.vmax or 1.0)

        self.entries.append((length + 0.16, draw))

    def draw(self, figure: Figure, left: float, top: float) -> None:
        """Draw all entries, the first at (left, top) from the figure's top left corner."""
        if not self.entries:
            return
        axes = axes_at(figure, left, top, self.width, self.height)
        axes.set_axis_off()
        for height, draw in _stacked(self.entries):
            draw(figure, axes, height)
        axes.set_xlim(0.0, self.width)
        axes.set_ylim(self.height, 0.0)
        axes.set_aspect("auto")


def _stacked(
    entries: Sequence[tuple[float, Callable[[Figure, Axes, float], None]]],
) -> list[tuple[float, Callable[[Figure, Axes, float], None]]]:
    top, placed = 0.0, []
    for height, draw in entries:
        placed.append((top, draw))
        top += height
    return placed


@dataclass(frozen=True)
class Drawn:
    """A figure that is ready to be written.

    Attributes:
        figure: the matplotlib figure.
        numbers: what it draws, one observation a row.
        notes: sentences for the caption on what could not be drawn as it is.
        film: the figure in motion, for kinds that have it; the figure itself is then its last frame.
        writers: format -> what writes the figure in it, for kinds with formats of their own.
    """

    figure: Figure
    numbers: pd.DataFrame
    notes: tuple[str, ...] = ()
    film: Film | None = None
    writers: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)


FORMATS = ("png", "pdf", "svg")
MOVING = ("mp4", "gif")


def save(drawn: Drawn, outputs: Mapping[str, Path | str], title: str, provenance: Mapping[str, Any]) -> None:
    """Write a figure in every format asked for, each file whole or not at all, with its provenance inside.

    PNG keeps the provenance (JSON) under the text key ``lossatlas`` and the notes (JSON list) under
    ``lossatlas-notes``; PDF keeps it under Keywords, SVG under Description, MP4 and GIF as their comment. No file holds
    a date besides that of the provenance: the same numbers, provenance and versions give the same bytes.

    Args:
        drawn: the figure and its numbers.
        outputs: ``png``, ``pdf``, ``svg``, ``csv``, for a figure in motion also ``mp4``, ``gif`` -> file to write.
        title: title for the files' metadata.
        provenance: JSON-able description of what made the figure.

    Raises:
        LossatlasError: a format is not one of these.
    """
    known = (*FORMATS, *(MOVING if drawn.film else ()), *drawn.writers, "csv")
    unknown = [kind for kind in outputs if kind not in known]
    if unknown:
        raise LossatlasError(f"figure format {unknown[0]!r}: not one of {', '.join(known)}; correct `formats`")
    text = json.dumps(json.loads(dumps(provenance)), sort_keys=True)
    tool = f"lossatlas {__version__}"
    notes = json.dumps(list(drawn.notes))
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Title": title, "Software": tool, "lossatlas": text, "lossatlas-notes": notes},
        "pdf": {"Title": title, "Creator": tool, "Producer": None, "CreationDate": None, "Keywords": text}
        | ({"Subject": " ".join(drawn.notes)} if drawn.notes else {}),
        "svg": {"Title": title, "Creator": tool, "Date": None, "Description": text},
    }
    for kind, path in outputs.items():
        with atomic(Path(path)) as part:
            if kind == "csv":
                drawn.numbers.to_csv(part, index=False, lineterminator="\n")
            elif kind in MOVING and drawn.film:
                encode(drawn.film, part, kind, title, text)
            elif kind in drawn.writers:
                drawn.writers[kind](part)
            else:
                drawn.figure.savefig(part, format=kind, dpi=DPI, metadata=metadata[kind])
