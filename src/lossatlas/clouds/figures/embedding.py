"""Figures of kind ``embedding``: panels of two-dimensional embeddings of clouds."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Colormap, LogNorm, Normalize, to_rgb
from numpy.typing import NDArray

from lossatlas.clouds.files import Embedding
from lossatlas.clouds.spec import EmbeddingFigure, Look, Panelled
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import grid, letter_of
from lossatlas.draw.style import Drawn
from lossatlas.draw.text import wrapped
from lossatlas.errors import LossatlasError
from lossatlas.files.points import TRAJECTORY
from lossatlas.specs.registry import Inputs

COLUMNS = ("run", "replica", "seed", "step", "epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
"""Columns of a table in the order of the CSV."""

AXES = {
    "phate": "PHATE",
    "tsne": "t-SNE",
    "umap": "UMAP",
    "pca": "PC",
    "kpca": "kernel PC",
    "random": "random direction",
    "random_plane": "random direction",
}
BELOW = ("metric", "knn", "t", "perplexity", "n_neighbors", "min_dist", "kernel", "directions")
"""Settings that always stand below a panel."""

LINEAR = ("pca", "random", "random_plane")
"""Methods whose axes carry a unit (distance in weight space): they keep their ticks."""

FIRST = ("knn", "t", "decay", "gamma", "perplexity", "n_neighbors", "neighbours", "min_dist", "kernel", "degree")
HIDDEN = (
    *("seed", "random_state", "n_jobs", "verbose", "metric", "method", "name", "dimensions", "n_components"),
    *("kl_divergence", "iterations"),
)

GROUPS = {
    "direction": ("Direction (seed)", "Epoch"),
    "branch": ("Branch", "Along the branch"),
    "run": ("Run", "Epoch"),
}
"""Colours of groups of points: headings of their legend and of that of their shades."""

WIDE, WIDTH = 3.5, 2.8
"""Of a panel that is alone and of one among several, where there is room for it; inches."""

LINE = 0.125
"""Height of a line below a panel, inches."""


@dataclass
class Panel:
    """One embedding and how it is to look.

    Attributes:
        letter: its letter in the figure.
        spec: its entry of the figure's spec, a :class:`lossatlas.clouds.spec.Motion` or Look.
        points: columns x and y and the table's, finite coordinates only.
        embedding: what made the coordinates.
        jumps: whether it is a jump-and-retrain cloud, whose row of seed -1 is the minimum theta_o.
        below: what stands below it (:func:`describe`).
    """

    letter: str
    spec: Any
    points: pd.DataFrame
    embedding: Embedding
    jumps: bool
    below: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.embedding.method

    @property
    def minimum(self) -> pd.DataFrame:
        """The row of theta_o, none in a cloud of whole trainings."""
        return self.points[(self.points["seed"] == -1) & self.jumps]

    @property
    def moving(self) -> pd.DataFrame:
        """All rows but theta_o's."""
        return self.points[(self.points["seed"] != -1) | (not self.jumps)]

    @property
    def color(self) -> str:
        """What colours its points; an artificial tree has branches, not directions, with colours of their own."""
        tree = bool((self.points["run"] == "tree").all())
        return "branch" if tree and self.spec.color == "direction" else self.spec.color

    def trajectories(self) -> list[pd.DataFrame]:
        """Return the trajectories, each in epoch order."""
        keys = [name for name in TRAJECTORY if name in self.points]
        groups = self.moving.groupby(keys, sort=True)
        return [rows.sort_values("epoch", kind="stable") for _, rows in groups]


def compose(spec: EmbeddingFigure, inputs: Inputs) -> Drawn:
    """Draw the panels.

    Returns:
        The figure, its numbers (a row a point: panel, cloud, embedding, coordinates, table) and notes.
    """
    panels, notes = read_panels(spec, inputs)
    colors = Colors(spec, panels)
    notes += colors.notes
    figure = layout(spec, panels, sidebar_of(spec, panels, colors), notes, partial(_draw, colors=colors))
    numbers = pd.concat([numbers_of(panel) for panel in panels], ignore_index=True)
    return Drawn(figure, numbers, tuple(notes))


def read_panels(spec: Panelled, inputs: Inputs) -> tuple[list[Panel], list[str]]:
    """Return the embedding of each panel; points without finite coordinates are left out and noted."""
    panels, lost = [], 0
    for i, entry in enumerate(spec.panels):
        name = (entry.cloud, entry.embedding)
        embedding, table = inputs.one("embedding", *name)
        (path,) = inputs.paths("embedding", *name)
        points = _points(embedding, table, path)
        finite = np.isfinite(points[["x", "y"]].to_numpy()).all(axis=1)
        lost += int((~finite).sum())
        if not finite.any():
            raise LossatlasError(f"{path}: no point has finite coordinates; delete the file and run again")
        jumps = bool((points["seed"] >= 0).any())
        panels.append(Panel(letter_of(i), entry, points[finite].reset_index(drop=True), embedding, jumps))
    notes = [f"{_count(lost, 'point')} without finite coordinates left out."] if lost else []
    return panels, notes


def _points(embedding: Embedding, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return an embedding's coordinates as columns x and y beside its table."""
    coordinates = embedding.coordinates
    missing = [name for name in ("run", "seed", "step", "epoch") if name not in table]
    if missing or coordinates.ndim != 2 or coordinates.shape[1] < 2 or len(coordinates) != len(table):
        raise LossatlasError(
            f"{path}: coordinates {coordinates.shape} and a table of {len(table)} rows without {missing or 'nothing'} "
            "do not make an embedding; delete the file and run again"
        )
    ordered = [name for name in COLUMNS if name in table] + [name for name in table if name not in COLUMNS]
    points = table[ordered].copy()
    points.insert(0, "x", coordinates[:, 0])
    points.insert(1, "y", coordinates[:, 1])
    return points


def point_area(width: float) -> float:
    """Return the area of a point (square points) in a panel of a width in inches."""
    return float(np.clip(3.2 * width, 4.0, 11.0))


def numbers_of(panel: Panel) -> pd.DataFrame:
    """Return a panel's points with its letter, cloud, embedding and title in front."""
    numbers = panel.points.copy()
    for place, name in enumerate(("cloud", "embedding", "title")):
        numbers.insert(place, name, getattr(panel.spec, name))
    numbers.insert(0, "panel", panel.letter)
    return numbers


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _letters(panels: Iterable[Panel], all_panels: Sequence[Panel]) -> str:
    """Return " (a-c)" for a part of the panels, "" for all of them."""
    indices = [all_panels.index(panel) for panel in panels]
    if len(indices) == len(all_panels):
        return ""
    runs: list[list[int]] = []
    for i in indices:
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    named = [
        letter_of(r[0]) if len(r) == 1 else f"{letter_of(r[0])}{'-' if len(r) > 2 else ', '}{letter_of(r[-1])}"
        for r in runs
    ]
    return " (" + ", ".join(named) + ")"


class Colors:
    """Colours shared by all panels, so that a colour means one thing in all panels of one colouring.

    Attributes:
        groups: color (direction, branch, run) -> group -> RGB.
        ends: color (direction, branch, run) -> first and last epoch, or place along a branch.
        norms: color (epoch, train_loss) -> norm of its colour bar.
        steps: step size -> shade of its diamond.
        notes: what the loss's logarithmic scale could not show.
    """

    def __init__(self, spec: Panelled, panels: Sequence[Panel]) -> None:
        self.spec, self.panels = spec, panels
        self.cmap: Colormap = mpl.colormaps[style.VALUE_MAP]
        self.notes: list[str] = []
        self.groups: dict[str, dict[Any, tuple[float, float, float]]] = {}
        self.norms: dict[str, Normalize] = {}
        self.ends: dict[str, tuple[float, float]] = {}
        for color in GROUPS:
            used = self.having(color)
            values = [value for panel in used for value in self.group_of(panel.moving, color)]
            names = list(dict.fromkeys(values)) if color == "run" else sorted(set(values))
            if names:
                self.groups[color] = dict(zip(names, style.hues(len(names)), strict=True))
                along = pd.concat([panel.moving["epoch"] for panel in used])
                self.ends[color] = (float(along.min()), float(along.max()))
        moving = [panel.moving for panel in panels]
        ordered = sorted({s for panel in panels if panel.jumps for s in panel.moving["step"]})
        self.steps = style.steps([s for s in ordered if s > 0])
        shades = np.linspace(0.05, 0.92, max(len(ordered), 2))[: len(ordered)]
        self.step_hues = {step: to_rgb(self.cmap(value)) for step, value in zip(ordered, shades, strict=True)}
        epochs = pd.concat([rows["epoch"] for rows in moving])
        self.first, self.last = float(epochs.min()), float(epochs.max())
        if self.having("epoch"):
            self.norms["epoch"] = Normalize(*(spec.limits or (self.first, max(self.last, self.first + 1e-9))))
        if self.having("train_loss"):
            self._loss_norm()

    def having(self, color: str) -> list[Panel]:
        """Return the panels with that colouring."""
        return [panel for panel in self.panels if panel.color == color]

    def group_of(self, rows: pd.DataFrame, color: str) -> list[Any]:
        """Return the group of each row: its direction's seed, its branch, or its run's shown label."""
        if color in ("direction", "branch"):
            return [int(seed) for seed in rows["seed"]]
        return [self.spec.labels.get(str(run), str(run)) for run in rows["run"]]

    def _loss_norm(self) -> None:
        used = self.having("train_loss")
        losses = np.concatenate([_losses(panel.points) for panel in used])
        finite = np.isfinite(losses)
        positive = losses[finite & (losses > 0)]
        if self.spec.limits:
            low, high = map(float, self.spec.limits)
            if low <= 0:
                raise LossatlasError(f"limits: {low} is not positive; the loss's colours are logarithmic")
        elif len(positive):
            low, high = float(positive.min()), float(positive.max())
        else:
            low, high = 0.1, 1.0
        if low == high:
            low, high = low / 1.05, high * 1.05
        self.norms["train_loss"] = LogNorm(low, high, clip=True)
        absent, zero = int((~finite).sum()), int((losses[finite] <= 0).sum())
        if absent:
            self.notes.append(f"Crosses: {_count(absent, 'point')} without a finite loss.")
        if zero:
            self.notes.append(f"{_count(zero, 'point')} of loss 0 or below drawn at the low end of the colours.")
        if self.spec.limits:
            outside = int(((positive < low) | (positive > high)).sum())
            if outside:
                self.notes.append(f"{_count(outside, 'point')} beyond the colour limits drawn at their ends.")

    def values(self, rows: pd.DataFrame, color: str) -> NDArray[np.float64]:
        """Return RGB (n, 3) of rows under a colour bar; NaN where the value is not finite."""
        norm = self.norms[color]
        low = float(norm.vmin or 0.0)
        values = _losses(rows) if color == "train_loss" else rows["epoch"].to_numpy(float)
        finite = np.isfinite(values)
        shown = np.where(finite, values, low)
        if color == "train_loss":
            shown = np.maximum(shown, low)
        rgb = np.asarray(self.cmap(np.asarray(norm(shown))))[:, :3]
        return np.where(finite[:, None], rgb, np.nan)

    def of(self, panel: Panel, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Return RGB (n, 3) of rows of a panel; NaN where there is no finite value to colour by."""
        color = panel.color
        if color in ("epoch", "train_loss"):
            return self.values(rows, color)
        if color == "step":
            return np.array([self.step_hues[step] for step in rows["step"]]).reshape(-1, 3)
        first, last = self.ends[color]
        progress = (rows["epoch"].to_numpy(float) - first) / max(last - first, 1e-12)
        base = np.array([self.groups[color][group] for group in self.group_of(rows, color)]).reshape(-1, 3)
        return np.array(
            [style.shade(hue, np.array([p]), panel.spec.hue)[0] for hue, p in zip(base.tolist(), progress, strict=True)]
        ).reshape(-1, 3)

    def line(self, panel: Panel, rows: pd.DataFrame) -> tuple[float, float, float]:
        """Return the colour of the line through a trajectory."""
        color = panel.color
        if color in self.groups:
            return self.groups[color][self.group_of(rows.iloc[:1], color)[0]]
        return self.step_hues[rows["step"].iloc[0]] if color == "step" else to_rgb("#9a9a9a")


def _losses(rows: pd.DataFrame) -> NDArray[np.float64]:
    if "train_loss" not in rows:
        raise LossatlasError("color: train_loss: an embedding's table has no such column; colour by direction or epoch")
    return rows["train_loss"].to_numpy(float)


def layout(
    spec: Panelled,
    panels: Sequence[Panel],
    sidebar: Sidebar,
    notes: Sequence[str],
    paint: Callable[..., None],
) -> Any:
    """Return a figure of square panels in rows, legends beside them, notes below.

    Args:
        spec: of the figure.
        panels: what to show.
        sidebar: the legends.
        notes: sentences below the panels.
        paint: called with axes, panel and ``area`` (of a point), draws a panel's content.
    """
    count = len(panels)
    titles = [panel.spec.title for panel in panels]
    feet = describe(panels)
    page = grid(
        count,
        spec.columns or {7: 4, 8: 4}.get(count),
        WIDE if count == 1 else WIDTH,
        lambda width: width,
        sidebar,
        [*feet, *notes],
        titles=titles,
        least=1.3,
        gap=(
            lambda i, _: 0.52 if panels[i].name in LINEAR else 0.2,
            lambda width: [room_below(panel, width) for panel in panels],
            0.08,
        ),
    )
    for i, panel in enumerate(panels):
        axes = page.axes(i)
        width = page.places[i].width
        paint(axes, panel, area=point_area(width))
        _frame(axes, panel)
        _dress(axes, panel, _lines_below(panel, width), width)
    return page.figure


def show(axes: Axes, panel: Panel, colors: Colors, area: float, width: float) -> None:
    """Draw one panel as :func:`compose` does, for figures that lay out their panels themselves."""
    _draw(axes, panel, area, colors)
    _frame(axes, panel)
    _dress(axes, panel, _lines_below(panel, width), width)


def room_below(panel: Panel, width: float) -> float:
    """Return the inches that ticks, axis name and settings take below a panel of a width."""
    return _below(panel) + LINE * len(_lines_below(panel, width))


def _below(panel: Panel) -> float:
    return 0.42 if panel.name in LINEAR else 0.20


def _draw(axes: Axes, panel: Panel, area: float, colors: Colors) -> None:
    moving = panel.moving.sort_values("epoch", kind="stable")
    trajectories = panel.trajectories()
    rgb = colors.of(panel, moving)
    by_value = panel.spec.color in ("epoch", "train_loss")
    if panel.spec.lines:
        segments = [rows[["x", "y"]].to_numpy() for rows in trajectories]
        hues = [colors.line(panel, rows) for rows in trajectories]
        axes.add_collection(
            LineCollection(segments, colors=hues, linewidths=0.45, alpha=0.55, zorder=1, capstyle="round")
        )
    known = np.asarray(np.isfinite(rgb).all(axis=1), dtype=bool)
    edges = "none" if by_value else [colors.line(panel, moving.iloc[[int(i)]]) for i in np.flatnonzero(known)]
    axes.scatter(
        moving["x"][known], moving["y"][known], s=area, c=rgb[known], edgecolors=edges, linewidths=0.25, zorder=2
    )
    if not known.all():
        axes.scatter(
            moving["x"][~known], moving["y"][~known], s=1.6 * area, c="#c2185b", marker="x", linewidths=0.7, zorder=5
        )
    marks(axes, panel, area, colors)


def marks(axes: Axes, panel: Panel, area: float, colors: Colors) -> list[PathCollection]:
    """Draw and return the diamonds at the jumps and the stars at initialisations and the minimum."""
    drawn = []
    trajectories = panel.trajectories()
    by_value = panel.spec.color in ("epoch", "train_loss")
    starts = pd.concat([rows.iloc[:1] for rows in trajectories]) if trajectories else panel.moving.iloc[:0]
    if panel.jumps and panel.spec.diamonds:
        jumps = starts[(starts["epoch"] == 0) & (starts["step"] > 0)]
        faces: Any = [_diamond_face(colors, panel, step) for step in jumps["step"]]
        sizes = [1.8 * area] * len(jumps)
        if by_value:
            faces = np.nan_to_num(colors.of(panel, jumps), nan=1.0)
            sizes = [area * _diamond_growth(colors, step) for step in jumps["step"]]
        # Below the points: where trajectories begin close together, diamonds above would hide them all.
        look: dict[str, Any] = {"marker": "D", "edgecolors": "black", "linewidths": 0.5, "zorder": 1.5}
        drawn.append(axes.scatter(jumps["x"], jumps["y"], s=sizes, c=faces, **look))
    if not panel.jumps:
        drawn.append(axes.scatter(starts["x"], starts["y"], s=9 * area, marker="*", **_GOLD_STAR, zorder=4))
    least = panel.minimum
    if len(least):
        drawn.append(axes.scatter(least["x"], least["y"], s=13 * area, marker="*", **_BLACK_STAR, zorder=4))
    return drawn


def _frame(axes: Axes, panel: Panel) -> None:
    centre = [(panel.points[k].min() + panel.points[k].max()) / 2 for k in "xy"]
    half = max(max(np.ptp(panel.points[k]) for k in "xy") / 2 * 1.09, 1e-12)
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.set_aspect("equal")


_BLACK_STAR: dict[str, Any] = {"facecolors": "black", "edgecolors": "white", "linewidths": 0.7}
_GOLD_STAR: dict[str, Any] = {"facecolors": "#FFD42A", "edgecolors": "black", "linewidths": 0.6}


def _diamond_face(colors: Colors, panel: Panel, step: float) -> tuple[float, ...]:
    return colors.step_hues[step] if panel.spec.color == "step" else colors.steps[step]


def _diamond_growth(colors: Colors, step: float) -> float:
    """Area of a diamond over a point's, growing with the step size's rank."""
    ordered = sorted(colors.steps)
    return 1.2 + 2.0 * (ordered.index(step) + 1) / len(ordered)


def _dress(axes: Axes, panel: Panel, settings: Sequence[str], width: float) -> None:
    name = AXES.get(panel.name, panel.name)
    labels = [f"{name} {i}" for i in (1, 2)]
    if panel.name in LINEAR:
        shares = panel.embedding.notes.get("explained_variance_ratio") or []
        labels = [f"{label} ({100 * share:.1f} %)" for label, share in zip(labels, shares, strict=False)] or labels
    axes.set_xlabel(labels[0], labelpad=2)
    axes.set_ylabel(labels[1], labelpad=2)
    if panel.name in LINEAR:
        axes.locator_params(nbins=4)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    for i, line in enumerate(settings):
        y = -(_below(panel) + LINE * i) / width
        look: dict[str, Any] = {"fontsize": style.SMALL, "color": style.FAINT, "ha": "center", "va": "top"}
        axes.text(0.5, y, line, transform=axes.transAxes, **look)


def _settings(panel: Panel) -> dict[str, str]:
    """Return the method's settings in words, by key: ``{"metric": "cosine distance", "knn": "knn 15"}``."""
    values = dict(panel.embedding.parameters)
    values.update({k: v for k, v in panel.embedding.notes.items() if np.isscalar(v)})
    metric = panel.embedding.metric
    parts = {"metric": f"{metric} distance"} if metric and panel.name not in LINEAR else {}
    for key in sorted(values, key=lambda k: FIRST.index(k) if k in FIRST else len(FIRST)):
        value = values[key]
        if key in HIDDEN or value is None or not np.isscalar(value):
            continue
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        parts[key] = f"{key.replace('_', ' ')} {shown}".replace(" ", "\u00a0")
    return parts


def describe(panels: Sequence[Panel]) -> list[str]:
    """Put the lines below each panel, and return the sentences that hold for several: they stand once, at the foot.

    Below a panel stand the settings that one looks for, and those in which panels of its method differ; the rest of the
    settings of a method goes to the foot, and so does the minimum's worth where all panels have one minimum.
    """
    feet = []
    minima = [_of_minimum(panel) for panel in panels]
    worths = sorted(set(filter(None, minima)))
    same = len(panels) > 1 and len(worths) == 1
    if same:
        feet.append(f"{worths[0].capitalize()}.")
    settings = [_settings(panel) for panel in panels]
    for method in dict.fromkeys(panel.name for panel in panels):
        mine = [found for panel, found in zip(panels, settings, strict=True) if panel.name == method]
        rest = {k: v for k, v in mine[0].items() if k not in BELOW and all(one.get(k) == v for one in mine)}
        if rest and len(panels) > 1:
            feet.append(f"{AXES.get(method, method)}: {', '.join(rest.values())}.")
            for found in mine:
                for key in rest:
                    del found[key]
    for panel, worth, found in zip(panels, minima, settings, strict=True):
        panel.below = [text for text in ("" if same else worth, ", ".join(found.values())) if text]
    return feet


def _lines_below(panel: Panel, width: float) -> list[str]:
    """Return what stands below a panel in lines no wider than it."""
    return [line for text in panel.below for line in wrapped(text, width, style.SMALL)]


def _of_minimum(panel: Panel) -> str:
    """Return what the minimum of a panel is worth, as in the paper's figure 5; nothing where it is not recorded."""
    known = [name for name in ("train_loss", "test_accuracy") if name in panel.minimum]
    if len(known) < 2 or not len(panel.minimum) or not np.isfinite(panel.minimum[known].to_numpy(float)).all():
        return ""
    loss, accuracy = (float(panel.minimum[name].iloc[0]) for name in known)
    return f"minimum: loss\u00a0{loss:.2g}, test\u00a0accuracy\u00a0{100 * accuracy:.1f}\u00a0%"


def sidebar_of(spec: Panelled, panels: Sequence[Panel], colors: Colors) -> Sidebar:
    """Return the legends of all panels; no ramp by epoch where a panel's spec has no ``hue``."""
    sidebar = Sidebar()
    point = {"marker": "o", "markersize": 4.5, "markeredgewidth": 0.3}
    for color, (heading, place) in GROUPS.items():
        if color not in colors.groups:
            continue
        used = colors.having(color)
        sidebar.heading(heading + _letters(used, panels))
        for group, rgb in colors.groups[color].items():
            sidebar.marker(str(group), color=rgb, **point)
        for hue in dict.fromkeys(panel.spec.hue for panel in used if isinstance(panel.spec, Look)):
            same = [panel for panel in used if panel.spec.hue == hue]
            if same:
                sidebar.heading(place + _letters(same, panels))
                along = np.linspace(0.0, 1.0, 64)
                ramps = [style.shade(rgb, along, hue) for rgb in colors.groups[color].values()]
                first, last = colors.ends[color]
                sidebar.ramps(ramps[:7], f"{first:g}", f"{last:g}")
    if colors.having("step"):
        sidebar.heading("Step size" + _letters(colors.having("step"), panels))
        for step, rgb in colors.step_hues.items():
            sidebar.marker(f"{step:g}", color=rgb, **point)
    for color, label in (("train_loss", "training loss"), ("epoch", "epoch")):
        if color in colors.norms:
            used = colors.having(color)
            sidebar.heading(label.capitalize() + _letters(used, panels))
            sidebar.colorbar(colors.norms[color], colors.cmap, "", 1.5)
    jumping = [panel for panel in panels if panel.jumps and panel.spec.diamonds]
    grey = [panel for panel in jumping if panel.spec.color in ("direction", "run")]
    sized = [panel for panel in jumping if panel.spec.color in ("epoch", "train_loss")]
    diamond = {"marker": "D", "markeredgecolor": "black", "markeredgewidth": 0.7}
    if grey:
        sidebar.heading(
            "Jump, by step size" + _letters(grey, panels) if len(grey) == len(panels) else "Jump, by step size"
        )
        for step, shade in colors.steps.items():
            sidebar.marker(f"{step:g}", markerfacecolor=shade, markersize=3.8, **diamond)
    if sized:
        sidebar.heading("Jump, by step size")
        for step in colors.steps:
            size = float(np.sqrt(point_area(2.0) * _diamond_growth(colors, step)))
            sidebar.marker(f"{step:g}", markerfacecolor="white", markersize=size, **diamond)
    stars = [
        (any(len(panel.minimum) for panel in panels), "minimum", "black", "white"),
        (any(not panel.jumps for panel in panels), "initialisation", "#FFD42A", "black"),
    ]
    if any(shown for shown, *_ in stars):
        sidebar.heading("Marks")
    for shown, text, face, edge in stars:
        if shown:
            look = {"markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": 0.6}
            sidebar.marker(text, marker="*", markersize=8.5, **look)
    return sidebar
