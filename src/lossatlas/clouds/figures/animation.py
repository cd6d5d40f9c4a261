"""Figures of kind ``animation``: clouds side by side, their trajectories drawn as they happened."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lossatlas.clouds.figures.embedding import Colors, Panel, layout, marks, numbers_of, read_panels, sidebar_of
from lossatlas.clouds.spec import Animation
from lossatlas.draw import style
from lossatlas.draw.film import Film, Frame
from lossatlas.draw.legend import Entry, Sidebar
from lossatlas.draw.style import Drawn, Sheet
from lossatlas.errors import LossatlasError
from lossatlas.specs.registry import Inputs

Floats = NDArray[np.float64]

FRAMES_PER_EPOCH = 16
"""Most frames an epoch gets when the spec leaves it open: a cloud of few epochs should not crawl."""

LEAD, HOLD = 0.5, 1.5
"""Seconds for which the jumps stand before the retraining starts, and its end before the picture starts again."""

TAIL, TAIL_PARTS = 0.15, 14
"""Length of a tail over the whole time (at least one epoch), and how many shades it fades through."""

FAINT_PATH, FAINT_GREY = 0.32, 0.7
"""How much of its colour the line behind a tail keeps; more where the line is grey, under a colour bar."""

BY_VALUE = ("epoch", "train_loss")
"""Colourings that change along a trajectory."""


@dataclass(frozen=True)
class Clock:
    """When each frame is.

    Attributes:
        times: epoch of each frame; every whole epoch after the first has a frame of its own.
        per_epoch: frames an epoch.
        fps: frames a second.
    """

    times: Floats
    per_epoch: int
    fps: int

    @classmethod
    def of(cls, spec: Animation, first: float, last: float) -> "Clock":
        """Return the clock of a figure for epochs ``first`` to ``last``."""
        span = last - first
        if not span > 0:
            raise LossatlasError("panels: no point after the first epoch, so nothing moves; record more epochs")
        allowed = int(spec.seconds_max * spec.fps / span + 1e-9)
        if allowed < 1:
            raise LossatlasError(
                f"seconds_max: {span:g} epochs at one frame each last {span / spec.fps:g} s, more than "
                f"{spec.seconds_max:g}; raise seconds_max or fps"
            )
        per = min(spec.frames_per_epoch or FRAMES_PER_EPOCH, allowed)
        times = first + np.arange(int(np.ceil(span * per - 1e-9)) + 1) / per
        times[-1] = last
        return cls(times, per, spec.fps)

    def frame(self, epochs: pd.Series) -> pd.Series:
        """Return the frame that shows each recorded epoch exactly, none where it falls between two."""
        values = epochs.to_numpy(float)
        at = np.clip(np.searchsorted(self.times, values), 0, len(self.times) - 1)
        exact = pd.Series(at, index=epochs.index, dtype="Int64")
        return exact.where(pd.Series(self.times[at] == values, index=epochs.index))


@dataclass(frozen=True)
class Trajectory:
    """A path through a panel.

    Attributes:
        epochs: recorded epochs, ascending.
        xy: their coordinates (n, 2).
        color: its colour where a direction, run or step gives one.
        losses: recorded training losses, for ``color: train_loss``.
    """

    epochs: Floats
    xy: Floats
    color: tuple[float, float, float]
    losses: Floats

    def at(self, times: Floats) -> Floats:
        """Return coordinates (n, 2): straight between recorded epochs, exact at them, still before and after."""
        return np.stack([np.interp(times, self.epochs, self.xy[:, k]) for k in (0, 1)], axis=1)

    def loss(self, times: Floats) -> Floats:
        """Return the loss at the last recorded epoch before or at each time."""
        return self.losses[np.clip(np.searchsorted(self.epochs, times, side="right") - 1, 0, None)]


def compose(spec: Animation, inputs: Inputs) -> Drawn:
    """Draw the panels in motion.

    Returns:
        The last frame as figure, the film, the numbers (a row a recorded point, as kind ``embedding`` has them, with
        the ``frame`` that shows it exactly) and notes.
    """
    panels, notes = read_panels(spec, inputs)
    colors = Colors(spec, panels)
    clock = Clock.of(spec, colors.first, colors.last)
    frames = "1 frame" if clock.per_epoch == 1 else f"{clock.per_epoch} frames"
    notes += [*colors.notes, f"Positions are interpolated linearly between recorded epochs, {frames} an epoch."]
    stage = Stage(clock, colors)
    sidebar = sidebar_of(spec, panels, colors)
    stage.add_counter(sidebar)
    stage.figure = layout(spec, panels, sidebar, notes, stage.add_panel)
    stage.show(clock.times[-1])
    numbers = pd.concat([_numbers(panel, clock) for panel in panels], ignore_index=True)
    film = Film(stage.render, len(clock.times), clock.fps, round(LEAD * clock.fps), round(HOLD * clock.fps))
    return Drawn(stage.figure, numbers, tuple(notes), film)


def _numbers(panel: Panel, clock: Clock) -> pd.DataFrame:
    numbers = numbers_of(panel)
    frames = clock.frame(panel.points["epoch"])
    still = panel.points.index.isin(panel.minimum.index)
    numbers.insert(list(numbers).index("x"), "frame", frames.mask(still))
    return numbers


@dataclass
class Stage:
    """What moves, and how it looks at any time.

    Everything else is drawn once a resolution: a frame costs the moving artists only.
    """

    clock: Clock
    colors: Colors
    figure: Sheet = field(default_factory=lambda: style.new_figure(1.0, 1.0))
    actors: list["_Cast | _Counter"] = field(default_factory=list)

    def add_counter(self, sidebar: Sidebar) -> None:
        """Put an epoch counter on top of the legends."""
        counter = _Counter(self.colors.first, self.colors.last)
        self.actors.append(counter)
        sidebar.on_top(Entry(counter.HEIGHT, counter.WIDTH, lambda _, axes, top: counter.draw(axes, top)))

    def add_panel(self, axes: Axes, panel: Panel, area: float) -> None:
        """Put the trajectories of a panel into its axes."""
        self.actors.append(_Cast(axes, panel, area, self.colors, _tail_length(self.clock)))

    def show(self, time: float) -> None:
        """Move everything to a time."""
        for actor in self.actors:
            actor.show(time)

    def render(self, dpi: int, every: int) -> Iterator[Frame]:
        """Yield every ``every``-th frame at a resolution; the figure shows the last one afterwards."""
        canvas: Any = self.figure.canvas
        self.figure.set_dpi(dpi)
        moving = sorted((artist for actor in self.actors for artist in actor.artists), key=Artist.get_zorder)
        for artist in moving:
            artist.set_animated(True)
        try:
            canvas.draw()
            still = canvas.copy_from_bbox(self.figure.bbox)
            for time in self.clock.times[::every]:
                canvas.restore_region(still)
                self.show(float(time))
                for artist in moving:
                    self.figure.draw_artist(artist)
                yield np.array(canvas.buffer_rgba())[..., :3].copy()
        finally:
            for artist in moving:
                artist.set_animated(False)
            self.show(float(self.clock.times[-1]))


def _tail_length(clock: Clock) -> float:
    return max(1.0, TAIL * float(clock.times[-1] - clock.times[0]))


class _Cast:
    """The trajectories of one panel: faint paths, fading tails, diamonds, dots, stars, each above the one before."""

    def __init__(self, axes: Axes, panel: Panel, area: float, colors: Colors, tail: float) -> None:
        self.colors, self.tail, self.by = colors, tail, panel.spec.color
        self.trajectories = [
            Trajectory(
                rows["epoch"].to_numpy(float),
                rows[["x", "y"]].to_numpy(float),
                colors.line(panel, rows),
                rows["train_loss"].to_numpy(float) if "train_loss" in rows else np.full(len(rows), np.nan),
            )
            for rows in panel.trajectories()
        ]
        share = FAINT_GREY if self.by in BY_VALUE else FAINT_PATH
        faint = [_faded(np.array([path.color]), share)[0] for path in self.trajectories]
        self.paths = LineCollection([], colors=faint, linewidths=0.6, capstyle="round", zorder=1)
        self.paths.set_visible(panel.spec.lines)
        self.tails: Any = LineCollection([], capstyle="round", zorder=2)
        self.dots: Any = axes.scatter([], [], s=2.1 * area, linewidths=0.45, zorder=3.5)
        self.lost = axes.scatter([], [], s=1.6 * area, color="#c2185b", marker="x", linewidths=0.7, zorder=6)
        axes.add_collection(self.paths)
        axes.add_collection(self.tails)
        self.artists: list[Artist] = [self.paths, self.tails, self.dots, self.lost, *marks(axes, panel, area, colors)]

    def _rgb(self, times: list[Floats]) -> Floats:
        """Return RGB of some times of each trajectory, one after the other; NaN where there is no finite loss."""
        if self.by not in BY_VALUE:
            return np.repeat([path.color for path in self.trajectories], [len(t) for t in times], axis=0)
        losses = [path.loss(t) for path, t in zip(self.trajectories, times, strict=True)]
        rows = pd.DataFrame({"epoch": np.concatenate(times), "train_loss": np.concatenate(losses)})
        return self.colors.values(rows, self.by)

    def show(self, time: float) -> None:
        """Show a time."""
        now = np.array([time])
        here = np.array([path.at(now)[0] for path in self.trajectories]).reshape(-1, 2)
        rgb = self._rgb([now] * len(self.trajectories))
        known = np.isfinite(rgb).all(axis=1)
        self.dots.set_offsets(here[known])
        self.dots.set_facecolors(rgb[known])
        self.dots.set_edgecolors(0.45 * rgb[known])
        self.lost.set_offsets(here[~known])
        self.paths.set_segments(
            [
                np.vstack([path.xy[path.epochs <= time], place])
                for path, place in zip(self.trajectories, here, strict=True)
            ]
        )
        self._show_tails(time)

    def _show_tails(self, time: float) -> None:
        """Set the pieces of all tails, the oldest first, so that no faded piece lies over a fresh one."""
        samples = []
        for path in self.trajectories:
            start = min(max(time - self.tail, path.epochs[0]), path.epochs[-1])
            end = min(max(time, start), path.epochs[-1])
            corners = path.epochs[(path.epochs > start) & (path.epochs < end)]
            samples.append(np.union1d(np.linspace(start, end, TAIL_PARTS), corners))
        places = [path.at(times) for path, times in zip(self.trajectories, samples, strict=True)]
        pieces = np.concatenate([np.stack([p[:-1], p[1:]], axis=1) for p in places])
        ends = [times[1:] for times in samples]
        age = np.clip((time - np.concatenate(ends)) / self.tail, 0.0, 1.0)
        order = np.argsort(-age, kind="stable")
        fresh = 1.0 - age[order]
        rgb = np.nan_to_num(self._rgb(ends)[order], nan=0.6)
        self.tails.set_segments(list(pieces[order]))
        self.tails.set_color(_faded(rgb, FAINT_PATH + (1 - FAINT_PATH) * fresh))
        self.tails.set_linewidths(0.6 + 1.2 * fresh)


def _faded(rgb: Floats, share: float | Floats) -> Floats:
    """Return colours mixed with white: opaque, so that overlaps do not darken and a GIF's palette suffices."""
    return 1.0 - np.reshape(share, (-1, 1)) * (1.0 - rgb)


class _Counter:
    """The epoch in figures and as a bar."""

    HEIGHT, WIDTH = 0.5, 1.3
    BAR = 0.07

    def __init__(self, first: float, last: float) -> None:
        self.first, self.last = first, last
        self.artists: list[Artist] = []

    def draw(self, axes: Axes, top: float) -> None:
        """Draw it below ``top`` in a legend."""
        self.length = self.WIDTH - 0.1
        look: dict[str, Any] = {"ha": "left", "va": "baseline"}
        axes.text(0.0, top + 0.2, "Epoch", fontsize=9, fontweight="bold", **look)
        self.text = axes.text(0.51, top + 0.2, "", fontsize=10.5, fontweight="bold", **look)
        axes.add_patch(Rectangle((0, top + 0.27), self.length, self.BAR, facecolor="#e3e3e3", linewidth=0))
        self.bar = Rectangle((0, top + 0.27), 0, self.BAR, facecolor=style.INK, linewidth=0)
        axes.add_patch(self.bar)
        self.artists = [self.text, self.bar]

    def show(self, time: float) -> None:
        """Show a time: the last whole epoch in figures, the time itself as the bar's length."""
        self.text.set_text(f"{np.floor(time):g} / {self.last:g}")
        self.bar.set_width(self.length * (time - self.first) / (self.last - self.first))
