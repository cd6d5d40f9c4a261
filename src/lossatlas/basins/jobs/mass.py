"""The Gaussian masses of the basins of minima: a ladder of tethers out and back, rays, and what samples of them do."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.basins.defaults import LLC_FACTORS
from lossatlas.basins.gaussian import HEAD, Around, Visible, along_head, filter_scale, visible
from lossatlas.basins.jobs.minima import Minimum, minima
from lossatlas.basins.ladder import Mass, Rung, Settings, climb, counted, descend, masses, tempered
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, write_table
from lossatlas.files.ledger import Ledger
from lossatlas.files.state import State
from lossatlas.progress import Progress
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job

COUNTED = 4096
"""Exact draws at a width where half of them or more lie below the cutoff."""

SEGMENT = np.linspace(0.0, 1.0, 17)[1:-1]
"""Where a straight segment from the minimum to a sample is looked at."""

TESTED = 8
"""Chains whose samples are evaluated on the test set."""


def mass(job: Job) -> None:
    """Measure the Gaussian masses of minima.

    Args:
        job: spec: :class:`lossatlas.basins.spec.MassJob`. A minimum above the cutoff has no mass (NaN). Output: mass.h5
            with ``/table``, a row for each minimum and width asked for; ``/rungs``, a row for each minimum and rung of
            its ladder; ``/factors`` (s,) and ``/head`` (minima, 2, s): the loss along the ray of the last layer's
            weights, and the largest of draws about it. Logarithms ``log_*`` are natural.
    """
    state, parts = State(job.state, job.provenance), []
    ledger = Ledger(state)
    ledger.begin(0)
    with Progress(f"mass {job.spec['label']}", len(job.spec["members"])) as bar:
        for number, minimum in enumerate(minima(job)):
            kept = ledger(partial(_written, job.spec, minimum, number))
            parts.append(_Found.read(kept.tobytes()))
            bar.update()
    with create(job.output, "mass", job.provenance) as file:
        file.create_dataset("factors", data=HEAD)
        file.create_dataset("head", data=np.stack([part.head for part in parts]))
        write_table(file, pd.DataFrame([row for part in parts for row in part.table]))
        write_table(file, pd.DataFrame([row for part in parts for row in part.rungs]), "rungs")
    state.remove()


@dataclass(frozen=True)
class _Found:
    """What was found of one minimum: rows of both tables, and the losses along the head's ray (2, factors)."""

    table: list[dict[str, Any]]
    rungs: list[dict[str, Any]]
    head: Array

    def written(self) -> NDArray[np.uint8]:
        """Return it as bytes."""
        sink, text = io.BytesIO(), json.dumps([self.table, self.rungs])
        np.savez(sink, head=self.head, rows=np.frombuffer(text.encode(), dtype=np.uint8))
        return np.frombuffer(sink.getvalue(), dtype=np.uint8)

    @classmethod
    def read(cls, data: bytes) -> "_Found":
        """Return what was written."""
        with np.load(io.BytesIO(data)) as file:
            table, rungs = json.loads(file["rows"].tobytes())
            return cls(table, rungs, file["head"])


def _written(spec: Mapping, minimum: Minimum, number: int) -> NDArray[np.uint8]:
    """Return what is found of a minimum, as bytes that a ledger can keep."""
    return _of_minimum(spec, minimum, number).written()


def _of_minimum(spec: Mapping, minimum: Minimum, number: int) -> _Found:
    basin = _Basin(spec, minimum)
    try:
        table, rungs = basin.measured()
    except LossatlasError:  # it lies above the cutoff
        table, rungs = [{"width": width} for width in basin.widths], []
    more = dict.fromkeys((*LOOKED, "llc_beta", *(f"llc_{factor:g}" for factor in LLC_FACTORS)), np.nan)
    return _Found(
        [basin.known | basin.nothing | more | row for row in table],
        [{"minimum": number, **row} for row in rungs] or [{"minimum": number, **basin.nothing, "width": np.nan}],
        basin.head(),
    )


class _Basin:
    """The basin of one minimum."""

    def __init__(self, spec: Mapping, minimum: Minimum) -> None:
        self.spec, self.minimum = spec, minimum
        self.layout = minimum.nets.train.layout
        self.scale = filter_scale(minimum.theta, self.layout, spec["absolute"])
        self.around = Around(minimum.landscape(), minimum.theta, self.scale)
        self.cutoff, self.widths = float(spec["cutoff"]), sorted(spec["widths"])
        self.settings = Settings(spec["chains"], spec["burn"], spec["moves"])
        self.known = {**minimum.row, "cutoff": self.cutoff, "dimension": self.around.dim}
        self.nothing = dict.fromkeys(NUMBERS, np.nan)

    def generator(self, role: str) -> torch.Generator:
        """Return the generator of a role, the same for every minimum: draws are shared where basins are compared."""
        return torch.Generator().manual_seed(derive(self.spec["master"], "mass", role))

    def looked(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the rows of both tables without a ladder."""
        plain = self.rays(None)["log_low_rays"]
        common = {"log_volume_rays": plain.log_volume, "unbounded": plain.unbounded}
        return [
            {"width": width, "log_low_rays": float(plain.log_mass[k]), **self.prior(width), **common}
            for k, width in enumerate(self.widths)
        ], []

    def measured(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the rows of both tables."""
        if not self.spec["ladder"]:
            return self.looked()
        samples: list[dict[str, Any]] = []

        def look(x: Tensor, width: float, beta: float) -> None:
            samples.append(self.sampled(x, width))

        up, x = climb(
            self.around,
            self.cutoff,
            self.widths,
            self.settings,
            self.generator("forward"),
            self.around.group,
            look,
        )
        out = masses(up, self.cutoff)
        back: list[Mass | None] = [None] * len(out)
        if self.spec["reverse"] and len(up) > 1:
            down = descend(self.around, up, x, self.settings, self.generator("backward"))
            back = [*masses(down, self.cutoff)]
        rungs = [
            _row(one, other) | {"acceptance": rung.acceptance, "step": rung.step} | sample
            for one, other, rung, sample in zip(out, back, up[1:], samples, strict=True)
        ]
        rays = self.rays(up[-1])
        table = []
        for k, width in enumerate(self.widths):
            chosen = [row for row in rungs if np.isclose(row["width"], width, rtol=1e-9)]
            if not chosen:  # narrower than the first rung
                one = counted(self.around, self.cutoff, width, COUNTED, self.generator(f"counted {width}"))
                chosen = [_row(one, None)]
            row = {**chosen[0], "width": width, **self.prior(width)}
            row |= {name: float(seen.log_mass[k]) for name, seen in rays.items()}
            row |= {"rays_effective": float(rays["log_low_shaped"].effective[k])}
            table.append(row)
        plain = rays["log_low_rays"]
        common = {"log_volume_rays": plain.log_volume, "unbounded": plain.unbounded, **self.coefficients(up[-1], x)}
        return [row | common for row in table], rungs

    def rays(self, rung: Rung | None) -> dict[str, Visible]:
        """Return lower bounds by rays: of the preconditioner alone, and shaped by what the widest rung saw."""
        shapes = {"log_low_rays": None} | ({} if rung is None else {"log_low_shaped": rung.frequency})
        return {
            name: visible(
                self.around,
                self.cutoff,
                np.array(self.widths),
                self.spec["rays"],
                self.generator("rays"),
                shape,
            )
            for name, shape in shapes.items()
        }

    def prior(self, width: float) -> dict[str, float]:
        """Return how stable the labels of the training points are under the Gaussian itself."""
        nets = self.minimum.nets
        x = torch.randn(self.settings.chains, self.around.dim, generator=self.generator("labels")).to(self.around.like)
        own = nets.train.outputs(self.minimum.theta).argmax(1)
        decided = [nets.train.outputs(theta).argmax(1) for theta in self.around.points(x, width)]
        kept = [float((labels == own).double().mean()) for labels in decided]
        return {"label_stability": float(np.mean(kept))}

    def sampled(self, x: Tensor, width: float) -> dict[str, float]:
        """Return what samples of a rung are: test accuracy, and whether the minimum sees them straight ahead."""
        nets, points = self.minimum.nets, self.around.points(x, width)
        outputs = [nets.test.outputs(theta) for theta in points[:TESTED]]
        right = [float((each.argmax(1) == nets.test.y).double().mean()) for each in outputs]
        way = torch.stack([self.around.losses(float(t) * x, width) for t in SEGMENT]).amax(0)
        inside = self.around.losses(x, width) <= self.cutoff
        straight = float((way[inside] <= self.cutoff).double().mean()) if bool(inside.any()) else np.nan
        return {"sample_test_accuracy": float(np.mean(right)), "straight": straight}

    def coefficients(self, rung: Rung, x: Tensor) -> dict[str, float]:
        """Return the local learning coefficient beta (<L> - L*) at multiples of beta = N / ln N, at the widest rung.

        Lau et al. (arXiv 2308.12108); the tether is the rung's.
        """
        examples = len(self.minimum.nets.train.y)
        base = examples / np.log(examples)
        least = float(self.around.losses(torch.zeros_like(x[:1]), 1.0)[0])
        found = {"llc_beta": base}
        for factor in LLC_FACTORS:
            at = tempered(self.around, rung, x, factor * base, self.settings, self.generator(f"llc {factor}"))
            found[f"llc_{factor:g}"] = float(factor * base * (at.losses.mean() - least))
        return found

    def head(self) -> Array:
        """Return the loss along the ray of the last layer's weights, (2, factors)."""
        return along_head(self.around, self.layout, self.generator("head"), self.widths[0] / 5)


def _row(one: Mass, other: Mass | None) -> dict[str, float]:
    """Return what a ladder says of one width, out and, where it was walked, back."""
    row = {
        "width": one.width,
        "beta": one.beta,
        "log_mass": one.log_mass,
        "error": one.error,
        "log_low": one.low,
        "log_high": one.high,
        "log_mass_integrated": one.integrated,
        "directions": one.directions,
        "overlap": one.least_overlap,
        "r_hat": one.mixing.r_hat,
        "draws": one.mixing.draws,
        "inside": one.inside,
        "rungs": one.rungs,
        "gradients": one.gradients,
        "log_mass_back": np.nan,
        "error_back": np.nan,
    }
    if other is not None:
        row |= {"log_mass_back": other.log_mass, "error_back": other.error}
    return {name: float(value) for name, value in row.items()}


NUMBERS = (
    *("width", "beta", "log_mass", "error", "log_low", "log_high", "log_mass_integrated", "directions", "overlap"),
    *("r_hat", "draws", "inside", "rungs", "gradients", "log_mass_back", "error_back", "acceptance", "step"),
    *("sample_test_accuracy", "straight"),
)
"""Columns of both tables, NaN where nothing is known."""

LOOKED = ("log_low_rays", "log_low_shaped", "rays_effective", "label_stability", "log_volume_rays", "unbounded")
"""Columns that the table has besides."""
