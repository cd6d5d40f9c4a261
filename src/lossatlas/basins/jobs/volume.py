"""The basins of minima: radii along random directions, volumes, and the loss along the first directions."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.basins.defaults import BLOCK
from lossatlas.basins.jobs.minima import Minimum, minima
from lossatlas.basins.radii import Radii, Search, matched_output_scale, summarise
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, write_table
from lossatlas.files.ledger import Ledger
from lossatlas.files.state import State
from lossatlas.landscape.directions import gaussian_rows, normalise_rows
from lossatlas.landscape.landscape import Landscape
from lossatlas.landscape.layout import WEIGHT, Layout
from lossatlas.landscape.wrapper import Wrapper
from lossatlas.progress import Progress
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job

FILE = "radii.npz"
"""Name of a minimum's radii in a job's state: ``radii`` of the blocks that are done, ``first`` step to walk from."""

PROFILE_STEPS = 61
"""Steps at which the loss along a direction is kept, 0 and ``reach`` among them."""


def volume(job: Job) -> None:
    """Measure the basins of minima.

    Args:
        job: spec: :class:`lossatlas.basins.spec.VolumeJob`. With ``normalise`` filter or layer a radius is a multiple
            of a direction that has the weights' norms; with none directions are unit vectors, a radius is a distance.
            With ``match`` a minimum that classifies too many examples wrongly for that loss has no radii. Output:
            volume.h5 with ``/radii`` (minima, cutoffs, directions) float64; ``/steps`` (s,) and ``/profile`` (minima,
            profiles, s) the loss along the first directions; ``/table``, a row for each minimum and cutoff.
    """
    spec = job.spec
    cutoffs = np.array(sorted(spec["cutoffs"]), dtype=np.float64)
    steps = np.linspace(0.0, spec["reach"], PROFILE_STEPS)
    rows: list[dict[str, Any]] = []
    radii, profiles = [], []
    state = State(job.state, job.provenance)
    with Progress(f"volume {spec['label']}", len(spec["members"])) as bar:
        for number, minimum in enumerate(minima(job)):
            matched = spec["match"] is None
            if not matched:
                minimum, matched = _match(minimum, spec["match"])
            basin = _Basin(spec, minimum, cutoffs, state.within(str(number)))
            radii.append(basin.radii() if matched else np.full((len(cutoffs), spec["directions"]), np.nan))
            profiles.append(basin.profile(steps, spec["profiles"]))
            rows += basin.rows(radii[-1])
            bar.update()
    with create(job.output, "volume", job.provenance) as file:
        file.create_dataset("radii", data=np.stack(radii))
        file.create_dataset("steps", data=steps)
        file.create_dataset("profile", data=np.stack(profiles))
        write_table(file, pd.DataFrame(rows))
    state.remove()


def _match(minimum: Minimum, loss: float) -> tuple[Minimum, bool]:
    """Return a minimum with its outputs scaled to a training loss, and whether that can be done."""
    try:
        theta = matched_output_scale(minimum.nets.train, minimum.theta, loss)
    except LossatlasError:
        return minimum, False
    return replace(minimum, theta=theta, row=minimum.row | minimum.nets.metrics(theta)), True


class _Told(Wrapper[Landscape]):
    """A landscape whose losses at several points are kept in a ledger; everything else is that of what it wraps."""

    def __init__(self, inner: Landscape, ledger: Ledger) -> None:
        super().__init__(inner)
        self.ledger = ledger

    def losses(self, thetas: Tensor) -> Tensor:
        """Return the losses (n,), float64, of the rows of (n, D), on the CPU."""
        return torch.from_numpy(self.ledger(lambda: self.inner.losses(thetas).cpu().numpy()))


class _Basin:
    """The basin of one minimum: directions, radii block by block, and what is said of them."""

    def __init__(self, spec: Mapping, minimum: Minimum, cutoffs: Array, state: State) -> None:
        self.spec, self.minimum, self.cutoffs, self.state = spec, minimum, cutoffs, state
        self.layout: Layout = minimum.nets.train.layout
        weights = [s for s, kind in zip(self.layout.sizes, self.layout.kinds, strict=True) if kind == WEIGHT]
        self.dimension = int(sum(weights))
        self.ledger = Ledger(state)
        landscape = _Told(minimum.landscape(spec["examples"]), self.ledger)
        self.radii_of = Radii(landscape, minimum.theta, Search(pilot=spec["pilot"]))

    def directions(self, block: int) -> Tensor:
        """Return a block of directions (BLOCK, D): the same Gaussian draws for every minimum, biases zero."""
        drawn = gaussian_rows(self.layout, derive(self.spec["master"], "volume", block), BLOCK)
        how = self.spec["normalise"]
        rows = normalise_rows(drawn, self.minimum.theta, self.layout, how)
        return rows / rows.norm(dim=1, keepdim=True) if how == "none" else rows

    def radii(self) -> Array:
        """Return the radii (cutoffs, directions); resumes after the last block that was saved, and inside of one."""
        count = self.spec["directions"]
        done = self.state.load(FILE, self._resumed)
        if done is None:
            done = np.empty((len(self.cutoffs), 0))
            self.ledger.begin(0)
            self.radii_of.prepare(self.directions(0), self.cutoffs)
            self._save(done)
        while done.shape[1] < count:
            block = done.shape[1] // BLOCK
            self.ledger.begin(1 + block)
            found = self.radii_of.crossings(self.directions(block)[: count - done.shape[1]], self.cutoffs)
            done = np.concatenate([done, found.radii], 1)
            self._save(done)
        return done

    def _resumed(self, data: bytes) -> Array:
        with np.load(io.BytesIO(data)) as saved:
            first = float(saved["first"])
            self.radii_of.first = None if np.isnan(first) else first
            return saved["radii"]

    def _save(self, radii: Array) -> None:
        first, sink = self.radii_of.first, io.BytesIO()
        np.savez(sink, radii=radii, first=np.nan if first is None else first)
        with self.ledger.clock.committing():
            self.state.write(FILE, sink.getbuffer())

    def profile(self, steps: Array, count: int) -> Array:
        """Return the loss along the first directions, (count, s)."""
        self.ledger.begin(1 + self.spec["directions"])
        rows = self.directions(0)[:count]
        found = np.stack([self.radii_of.losses(row.expand(len(steps), -1), steps) for row in rows])
        self.ledger.settle()
        return found

    def rows(self, radii: Array) -> Iterator[dict[str, Any]]:
        """Yield a table row for each cutoff."""
        n, norm = self.dimension, self._norm()
        to_distance = 0.0 if self.spec["normalise"] == "none" else n * np.log10(norm)
        for cutoff, found in zip(self.cutoffs, radii, strict=True):
            inside = bool((found > 0).any())  # otherwise the minimum itself lies above the cutoff
            v = summarise(found, n, derive(self.spec["master"], "bootstrap", float(cutoff)))
            yield {
                **self.minimum.row,
                "cutoff": float(cutoff),
                "normalise": self.spec["normalise"],
                "dimension": n,
                "weight_norm": norm,
                "directions": found.size,
                "radius_median": v.median if inside else np.nan,
                "radius_largest": v.largest if inside else np.nan,
                "log10_volume": v.log10_volume,
                "log10_volume_low": v.low,
                "log10_volume_high": v.high,
                "log10_volume_first_half": summarise(found[: found.size // 2], n, 0, 1).log10_volume,
                "log10_volume_second_half": summarise(found[found.size // 2 :], n, 0, 1).log10_volume,
                "log10_volume_distance": v.log10_volume + to_distance,
                "effective_directions": v.effective,
                "unbounded": v.unbounded,
            }

    def _norm(self) -> float:
        kinds = zip(self.layout.slices.values(), self.layout.kinds, strict=True)
        parts = [self.minimum.theta[where].double() for where, kind in kinds if kind == WEIGHT]
        return float(torch.cat(parts).norm())
