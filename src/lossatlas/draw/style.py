"""The look shared by all figures and how they are written: colour-blind-safe, legends beside, metadata inside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lossatlas import __version__
from lossatlas.draw import text as measure
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

PAGE = 7.2
"""Width of a page's print in inches, as journals of two columns have it: no figure is wider."""

SMALL, LABEL, LEGEND, TITLE, LETTER = 7.0, 7.5, 7.0, 8.0, 9.5
"""Sizes of type in points, in print: of ticks and notes, names of axes, legends, titles and letters of panels. Figures
are no wider than the page and so are printed as large as they are; nothing in them is smaller than the first."""

RC: dict[str, Any] = {
    "font.family": measure.FAMILY,
    "font.size": LABEL,
    "axes.titlesize": TITLE,
    "axes.labelsize": LABEL,
    "axes.labelpad": 2.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
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


class Box(NamedTuple):
    """A rectangle on a figure, inches from its top left corner."""

    left: float
    top: float
    width: float
    height: float


class Sheet(Figure):
    """A figure that knows where its panels and its legend are, and that can grow at its foot.

    Attributes:
        cells: each panel with all that belongs to it, in order.
        legend_box: the legend, None where there is none.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height))
        self.cells: list[Box] = []
        self.legend_box: Box | None = None

    def grow(self, inches: float) -> None:
        """Make room at the foot; everything stays as far from the top as it is."""
        width, height = self.get_size_inches()
        share = height / (height + inches)
        self.set_size_inches(width, height + inches)
        # All first: of axes one over the other (``twinx``) the place of one is that of both.
        for axes, box in [(axes, axes.get_position(original=True)) for axes in self.axes]:
            axes.set_position((box.x0, 1 - share * (1 - box.y0), box.width, share * box.height))
        for text in self.texts:
            text.set_y(1 - share * (1 - text.get_position()[1]))

    def say(self, sentences: Sequence[str], size: float = SMALL) -> None:
        """Add faint sentences at the foot, in as many lines as they need."""
        margin, line = 0.05, 0.125
        lines = measure.wrapped(" ".join(sentences), self.get_figwidth() - 2 * margin, size)
        if not lines:
            return
        self.grow(line * len(lines) + 0.04)
        width, height = self.get_size_inches()
        for i, words in enumerate(lines):
            y = (margin + line * (len(lines) - 1 - i)) / height
            self.text(margin / width, y, words, fontsize=size, color=FAINT, va="baseline")


def new_figure(width: float, height: float) -> Sheet:
    """Return an empty figure with an Agg canvas, sizes in inches; no window system and no pyplot state is involved."""
    figure = Sheet(width, height)
    FigureCanvasAgg(figure)
    return figure


def axes_at(figure: Figure, left: float, top: float, width: float, height: float, **how: Any) -> Axes:
    """Add axes at a place measured in inches from the figure's top left corner."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top - height
    place = (left / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
    axes = figure.add_axes(place, **how)
    axes.set_anchor("NW")  # one of equal scales stays below its title
    return axes


@contextmanager
def whole_page(width: float, height: float) -> Iterator[tuple[Sheet, Axes]]:
    """Yield a figure and axes that fill it, their data inches from its top left corner, under :data:`RC` alone."""
    settings: Any = RC
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        figure = new_figure(width, height)
        axes = axes_at(figure, 0.0, 0.0, width, height)
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        axes.set_axis_off()
        yield figure, axes


def box3d(axes: Any) -> None:
    """Give three-dimensional axes the common look: thin grid lines, and numbers that stand close to the box.

    Args:
        axes: of matplotlib's projection ``3d``.
    """
    axes.set_box_aspect((1.0, 1.0, 0.8), zoom=0.98)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_tick_params(pad=-2, labelsize=SMALL)
        axis._axinfo["grid"].update(linewidth=0.4, color="#d0d0d0")
        axis.get_offset_text().set_visible(False)


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

    figure: Sheet
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
