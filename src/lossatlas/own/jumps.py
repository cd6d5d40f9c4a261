"""Jump and retrain (Horoi et al. 2021, section 4): does a training come back to one's own network?

From theta + s d, d random and filter-normalised, SGD is run anew; every epoch's weights are kept. Distances from theta
in R^D say whether it comes back; an embedding shows the paths. The loss descended is that of the network's examples,
without augmentation, dropout or the training's own schedule: batch norm normalises each minibatch, as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.draw import style
from lossatlas.errors import LossatlasError
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.placed import keeps_statistics
from lossatlas.own.bars import ticking
from lossatlas.own.embed import Embedded, draw_groups, embed
from lossatlas.own.point import Placed, anywhere, limited
from lossatlas.own.result import Clock, Result
from lossatlas.planes.trust import Check, Verdict
from lossatlas.seeds import derive

EXAMPLES = 2000
"""Examples that are trained on where nobody says how many."""

STILL = 0.01
"""Relative change of a distance up to which a path counts as not moving."""

BYTES = 2 * 2**30
"""Most memory for the weights of all epochs."""


@dataclass(frozen=True, eq=False, repr=False)
class Jumps(Result):
    """Paths of retraining; row 0 is the network itself.

    Attributes:
        jump: (n,) number of the jump, -1 for the network.
        step: (n,) its size s; 1 = every filter changed by its own length.
        epoch: (n,) 0 right after the jump.
        loss: (n,) over the examples; inf or NaN where a path diverged, which ends it.
        distance: (n,) from the network in R^D.
        norm: (n,) of the weights.
        embedded: the points in the plane; those of a finite loss.
    """

    jump: Array
    step: Array
    epoch: Array
    loss: Array
    distance: Array
    norm: Array
    embedded: Embedded

    kind: ClassVar[str] = "own-jumps"
    size: ClassVar[tuple[float, float]] = (7.6, 3.3)

    @property
    def returned(self) -> Array:
        """Distance at each jump's last epoch over that right after it, (jumps,): 0 = back, 1 = it went nowhere."""
        rows = [np.flatnonzero(self.jump == j) for j in range(int(self.jump.max()) + 1)]
        return np.array([self.distance[r[-1]] / self.distance[r[0]] for r in rows])

    def _draw(self, figure: Figure) -> Any:
        left, right = axes = figure.subplots(1, 2)
        sizes = sorted(set(self.step[1:]))
        colors = dict(zip(sizes, style.hues(len(sizes)), strict=True))
        for j in range(int(self.jump.max()) + 1):
            rows = self.jump == j
            size = self.step[rows][0]
            first = j == int(self.jump[self.step == size][0])
            left.plot(
                self.epoch[rows],
                self.distance[rows],
                color=colors[size],
                ls=style.DASHES[sizes.index(size) % len(style.DASHES)],
                marker=".",
                ms=3,
                lw=1,
                label=f"step {size:g}" if first else None,
            )
        left.set(xlabel="epoch of retraining", ylabel="distance from the network in R^D", ylim=(0, None))
        left.legend(fontsize=6.5, frameon=False)
        left.set_title(f"{self.provenance['network']['label']}: loss {self.loss[0]:.4g}", fontsize=8)
        draw_groups(right, self.embedded.coordinates, self.embedded.groups)
        right.plot(*self.embedded.coordinates[0], marker="*", ms=9, color=style.INK, lw=0, zorder=6)
        right.set(xlabel=f"{self.embedded.method} 1", ylabel=f"{self.embedded.method} 2")
        right.set_title("paths (star: the network)", fontsize=8)
        return axes

    def columns(self) -> dict[str, np.ndarray]:
        """Return a row a point: ``jump``, ``step``, ``epoch``, ``loss``, ``distance``, ``norm``."""
        names = ("jump", "step", "epoch", "loss", "distance", "norm")
        return {name: getattr(self, name) for name in names}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every number by name; ``coordinates`` of the embedding and ``distances`` in R^D are of its points."""
        return {**self.columns(), **self.embedded.arrays()}

    def headline(self) -> str:
        """Return how far each size of step came back."""
        label, seconds = self.provenance["network"]["label"], self.provenance["seconds"]
        first = f"Jumps from {label} (loss {self.loss[0]:.4g}), {seconds:.0f} s"
        starts = np.array([self.step[np.flatnonzero(self.jump == j)[0]] for j in range(len(self.returned))])
        rows = []
        for size in sorted(set(starts)):
            back = self.returned[starts == size]
            ends = [self.loss[np.flatnonzero(self.jump == j)[-1]] for j in np.flatnonzero(starts == size)]
            rows.append(
                f"  step {size:g}: {np.median(back):.2f} of the jump's distance is left after {self.epoch.max():.0f} "
                f"epochs (median of {len(back)}), loss {np.median(ends):.4g}"
            )
        return "\n".join([first, *rows])


def jumps(
    network: Placed,
    count: int = 3,
    steps: Sequence[float] = (0.25, 0.5, 1.0),
    epochs: int = 5,
    *,
    lr: float = 0.01,
    momentum: float = 0.9,
    batch: int = 64,
    embedding: str = "pca",
    examples: Any = None,
    seed: int = 0,
    check: bool = True,
    progress: bool | None = None,
) -> Jumps:
    """Jump away from the network in random directions and train again.

    Args:
        network: from :func:`lossatlas.load`, or any :class:`lossatlas.own.point.Point`.
        count: directions.
        steps: sizes of the jumps along each of them.
        epochs: of retraining, each over all examples that are used; a function takes 100 steps an epoch.
        lr: SGD's rate: take that of the training, or its last.
        momentum: SGD's.
        batch: examples of a minibatch.
        embedding: method of the picture (:func:`lossatlas.embed`).
        examples: how many are trained on, drawn at random; ``all``; None = 2,000 at most.
        seed: of directions, minibatches and examples.
        check: whether to ask if the picture is right.
        progress: bar: None = on a terminal and in notebooks, True, False.

    Raises:
        LossatlasError: arguments that do not fit, or more points than 2 GB hold.
    """
    sizes = [float(s) for s in steps]
    if count < 1 or epochs < 1 or batch < 2 or not sizes or min(sizes) <= 0 or not lr > 0 or not 0 <= momentum < 1:
        raise LossatlasError(
            f"jumps: got count {count!r}, steps {steps!r}, epochs {epochs!r}, lr {lr!r}, momentum {momentum!r}, "
            f"batch {batch!r}; numbers above 0, momentum below 1, batch 2 or more are expected"
        )
    need = 8 * network.landscape.dim * (1 + count * len(sizes) * (epochs + 1))
    if need > BYTES:
        raise LossatlasError(
            f"jumps: the points of {count * len(sizes)} paths need {need / 2**30:.1f} GB; expected at most "
            f"{BYTES / 2**30:g}: take fewer directions, steps or epochs"
        )
    smaller, said = limited(network, examples, EXAMPLES, seed)
    smaller, anew = anywhere(smaller)
    settings = {"count": count, "steps": sizes, "epochs": epochs, "lr": lr, "momentum": momentum, "batch": batch}
    clock = Clock("jumps", smaller, {**settings, "seed": seed})
    landscape, theta = smaller.landscape, smaller.theta.double()
    rows, points = [(-1, 0.0, 0, float(landscape.loss(theta)))], [theta.cpu()]
    with ticking("jumps", count * len(sizes) * epochs, progress) as tick:
        for number in range(count * len(sizes)):
            direction, size = number // len(sizes), sizes[number % len(sizes)]
            drawn = gaussian(smaller.layout, derive(seed, "jump", direction), torch.float64)
            at = theta + size * normalise(drawn, theta, smaller.layout, "filter")
            run = _Descent(landscape, at, lr, momentum, batch, derive(seed, "jump order", direction))
            for epoch in range(epochs + 1):
                if epoch:
                    run.epoch(epoch)
                    tick()
                loss = float(landscape.loss(run.theta))
                rows.append((number, size, epoch, loss))
                points.append(run.theta.double().cpu())
                if not np.isfinite(loss):
                    break
    table = np.array(rows, dtype=np.float64)
    jump, step, epoch_of, losses = table.T
    finite = [i for i, loss in enumerate(losses) if np.isfinite(loss)]  # a path that diverged ends before
    names = [f"jump {int(table[i, 0])}, step {table[i, 1]:g}" if i else "the network" for i in finite]
    placed = embed([points[i] for i in finite], embedding, groups=names, seed=seed, check=check)
    distance = np.array([float((point - points[0]).norm()) for point in points])
    norm = np.array([float(point.norm()) for point in points])
    diverged = len({int(row[0]) for row in rows if not np.isfinite(row[3])})
    notes = [note for note in (said, anew) if note]
    if diverged:
        notes.append(f"{diverged} of {count * len(sizes)} paths diverged and end there; lower lr")
    verdict = Verdict(_checks(table, distance, placed)) if check else Verdict()
    return Jumps(clock.record(), verdict, tuple(notes), jump, step, epoch_of, losses, distance, norm, placed)


class _Descent:
    """SGD with momentum on minibatches, in place of a training's own optimiser."""

    def __init__(self, landscape: Landscape, theta: Tensor, lr: float, momentum: float, batch: int, seed: int) -> None:
        """Start at a point (D,)."""
        self.landscape, self.lr, self.momentum, self.seed = landscape, lr, momentum, seed
        self.theta = theta.to(landscape.device, landscape.dtype)
        self.velocity = torch.zeros_like(self.theta)
        self.network = landscape if isinstance(landscape, NetworkLandscape) else None
        self.batch = min(batch, self.network.batch_size) if self.network else batch

    def epoch(self, number: int) -> None:
        """Take a step on every minibatch, in an order of the seed and the epoch's number."""
        for part in self._batches(number):
            _, gradient = part.loss_and_grad(self.theta)
            self.velocity = self.momentum * self.velocity + gradient
            self.theta = self.theta - self.lr * self.velocity

    def _batches(self, number: int) -> Any:
        if self.network is None:
            yield from [self.landscape] * 100
            return
        generator = torch.Generator().manual_seed(derive(self.seed, number))
        for rows in torch.randperm(len(self.network.y), generator=generator).split(self.batch):
            if len(rows) == 1 and len(self.network.y) > 1:
                continue  # batch norm cannot train on a single example
            part = self.network.at_examples(rows) if self.network.batch_norm != "batch" else self.network
            yield part.at_policy("batch") if keeps_statistics(self.network) else part


def _checks(table: Array, distance: Array, placed: Embedded) -> tuple[Check, ...]:
    """Return what can be said of paths: whether they had an end, whether the picture keeps their distances."""
    last = [np.flatnonzero(table[:, 0] == j)[-1] for j in range(int(table[:, 0].max()) + 1)]
    ended = [i for i in last if 0 < distance[i] < np.inf and table[i, 2] >= 1]
    still = [abs(distance[i] - distance[i - 1]) / distance[i] for i in ended]
    moving = float(np.median(still)) if still else float("nan")
    first = [np.flatnonzero(table[:, 0] == table[i, 0])[0] for i in ended]
    moved = float(np.median([abs(distance[i] / distance[j] - 1) for i, j in zip(ended, first, strict=True)] or [0.0]))
    criterion = "distances from the network change at most 1% in the last epoch, and more since the jump (medians)"
    if np.isnan(moving):
        checks = [Check("ends", "undecided", moving, criterion, "no path has an end")]
    elif moved <= STILL:
        words = f"distances have changed by {moved:.1%} since the jump: where paths lead is open; more epochs or lr"
        checks = [Check("ends", "undecided", moving, criterion, words)]
    else:
        state = "settled" if moving <= STILL else "not settled, take more epochs"
        words = f"the last epoch changed distances by {moving:.1%}: {state}"
        checks = [Check("ends", "yes" if moving <= STILL else "undecided", moving, criterion, words)]
    return (*checks, *placed.verdict.checks)
