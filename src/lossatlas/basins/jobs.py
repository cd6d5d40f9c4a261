"""Probes on trained networks: basin radii and volumes, slices of the loss around minima, decision boundaries.

They share what a *minimum* is here: a row of a points file (the end of a run, or a member of a sweep), with the
network and the examples it was trained on. The batch norm of a network has the statistics stored with its weights.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lossatlas.arrays import Array
from lossatlas.basins.radii import Radii, Search, matched_output_scale, summarise
from lossatlas.data.files import load
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import atomic, create, read_table, write_table
from lossatlas.files.points import read_point, remove_state
from lossatlas.landscape.directions import gaussian_rows, normalise_rows
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.layout import WEIGHT, Layout
from lossatlas.progress import Progress
from lossatlas.seeds import derive
from lossatlas.train.examples import build_model
from lossatlas.train.loop import pick_device
from lossatlas.train.networks import Member, member
from lossatlas.train.stacked import StackedLandscape

BLOCK = 64
"""Directions drawn together, and saved together by a job that may be interrupted."""

COLUMNS = ("run", "replica", "value", "parameter", "train_loss", "train_accuracy", "test_loss", "test_accuracy")


@dataclass(frozen=True)
class Minimum:
    """One minimum.

    Attributes:
        nets: its landscapes of the training and the test set.
        model: the network, for its shape.
        theta: its weights (D,).
        row: what is known of it: :data:`COLUMNS`.
    """

    nets: Member
    model: nn.Module
    theta: Tensor
    row: dict[str, Any]

    def landscape(self, examples: int | None = None) -> Landscape:
        """Return the training loss on all or the first examples, batched over points where the network is dense."""
        train = self.nets.train
        if examples is not None and examples < len(train.x):
            train = train.at_examples(torch.arange(examples))
        dense = isinstance(self.model, nn.Sequential) and not list(self.model.buffers()) and train.x.ndim == 2
        return StackedLandscape(train, self.model) if dense else train


def minima(spec: Mapping[str, Any], data_file: Path, files: Sequence[Path]) -> Iterator[Minimum]:
    """Yield the minima of an artefact.

    Args:
        spec: resolved spec (:mod:`lossatlas.legacy.minima`): the network's, and ``members``: source (which of
            ``files``), row, value, replica, run and seeds.
        data_file: data.h5.
        files: points files.
    """
    for one in spec["members"]:
        theta, buffers = read_point(files[one["source"]], one["row"])
        nets = member(spec, one["seeds"], data_file)
        if len(theta) != nets.train.dim:
            file = files[one["source"]]
            raise LossatlasError(
                f"{file}: holds {len(theta)} weights, the network of {spec['label']} has {nets.train.dim}"
            )
        model = build_model(spec["model"], _like(nets.train), _outputs(nets.train), 0)
        point = torch.from_numpy(theta).to(nets.train.device, nets.train.dtype)
        if len(buffers):
            stored = torch.from_numpy(buffers)
            nets = Member(nets.train.at_buffers(stored), nets.test.at_buffers(stored))
        table = read_table(files[one["source"]], "points").iloc[one["row"]]
        row = {"run": one["run"], "replica": one["replica"], "value": float(one["value"])}
        yield Minimum(nets, model, point, {**row, "parameter": one["parameter"], **nets_metrics(nets, point, table)})


def nets_metrics(nets: Member, theta: Tensor, recorded: pd.Series) -> dict[str, float]:
    """Return losses and accuracies at a minimum, measured again: on the examples that the probe looks at."""
    return nets.metrics(theta) | {"epoch": float(recorded["epoch"])}


# ---------------------------------------------------------------------------------------------------------------------
# volume


def volume(
    spec: Mapping[str, Any], data_file: Path, files: Sequence[Path], output: Path, state: Path, provenance: Mapping
) -> None:
    """Measure the basins of minima.

    Args:
        spec: as :func:`minima` takes it, with ``cutoffs``, ``directions``, ``normalise`` (filter, layer: a radius is a
            multiple of a direction that has the weights' norms; none: unit directions, a radius is a distance),
            ``pilot`` (:class:`lossatlas.basins.radii.Search`), ``examples`` (the first so many of the training set
            bound the basin; None = all),
            ``match`` (training loss to which the outputs are scaled, or None; a minimum that classifies too many
            examples wrongly for it has no radii), ``profiles`` and ``reach``, ``master``.
        data_file: data.h5.
        files: points files.
        output: volume.h5 to make: ``/radii`` (minima, cutoffs, directions) float64; ``/steps`` (s,) and ``/profile``
            (minima, profiles, s) the loss along the first directions; ``/table``, a row for each minimum and cutoff.
        state: folder of the unfinished job; removed at the end.
        provenance: written into the output.
    """
    cutoffs = np.array(sorted(spec["cutoffs"]), dtype=np.float64)
    steps = np.linspace(0.0, spec["reach"], 61)
    rows: list[dict[str, Any]] = []
    radii, profiles = [], []
    with Progress(f"volume {spec['label']}", len(spec["members"])) as bar:
        for number, minimum in enumerate(minima(spec, data_file, files)):
            matched = spec["match"] is None
            if not matched:
                minimum, matched = _match(minimum, spec["match"])
            basin = _Basin(spec, minimum, cutoffs, state / f"{number}.npy")
            radii.append(basin.radii() if matched else np.full((len(cutoffs), spec["directions"]), np.nan))
            profiles.append(basin.profile(steps, spec["profiles"]))
            rows += basin.rows(radii[-1])
            bar.update()
    with create(output, "volume", provenance) as file:
        file.create_dataset("radii", data=np.stack(radii))
        file.create_dataset("steps", data=steps)
        file.create_dataset("profile", data=np.stack(profiles).astype(np.float32))
        write_table(file, pd.DataFrame(rows))
    remove_state(state)


def _match(minimum: Minimum, loss: float) -> tuple[Minimum, bool]:
    """Return a minimum with its outputs scaled to a training loss, and whether that can be done."""
    try:
        theta = matched_output_scale(minimum.nets.train, minimum.theta, loss)
    except LossatlasError:
        return minimum, False
    return Minimum(minimum.nets, minimum.model, theta, minimum.row | minimum.nets.metrics(theta)), True


class _Basin:
    """The basin of one minimum: directions, radii block by block, and what is said of them."""

    def __init__(self, spec: Mapping, minimum: Minimum, cutoffs: Array, file: Path) -> None:
        self.spec, self.minimum, self.cutoffs, self.file = spec, minimum, cutoffs, file
        self.layout: Layout = minimum.nets.train.layout
        weights = [s for s, kind in zip(self.layout.sizes, self.layout.kinds, strict=True) if kind == WEIGHT]
        self.dimension = int(sum(weights))
        landscape = minimum.landscape(spec["examples"])
        self.radii_of = Radii(landscape, minimum.theta, Search(pilot=spec["pilot"]))

    def directions(self, block: int) -> Tensor:
        """Return a block of directions (BLOCK, D): the same Gaussian draws for every minimum, biases zero."""
        drawn = gaussian_rows(self.layout, derive(self.spec["master"], "volume", block), BLOCK)
        how = self.spec["normalise"]
        rows = normalise_rows(drawn, self.minimum.theta, self.layout, how)
        return rows / rows.norm(dim=1, keepdim=True) if how == "none" else rows

    def radii(self) -> Array:
        """Return the radii (cutoffs, directions); resumes after the last block that was saved."""
        count = self.spec["directions"]
        done = np.load(self.file) if self.file.exists() else np.empty((len(self.cutoffs), 0))
        if done.shape[1] < count:
            self.radii_of.prepare(self.directions(0), self.cutoffs)
        while done.shape[1] < count:
            block = done.shape[1] // BLOCK
            found = self.radii_of.crossings(self.directions(block)[: count - done.shape[1]], self.cutoffs)
            done = np.concatenate([done, found.radii], 1)
            with atomic(self.file) as part, open(part, "wb") as sink:
                np.save(sink, done)
        return done

    def profile(self, steps: Array, count: int) -> Array:
        """Return the loss along the first directions, (count, s)."""
        rows = self.directions(0)[:count]
        return np.stack([self.radii_of.losses(row.expand(len(steps), -1), steps) for row in rows])

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


# ---------------------------------------------------------------------------------------------------------------------
# slices


def slices(
    spec: Mapping[str, Any], data_file: Path, files: Sequence[Path], output: Path, state: Path, provenance: Mapping
) -> None:
    """Evaluate the training loss on a random plane through each minimum, spanned by two normalised directions.

    Args:
        spec: as :func:`minima` takes it, with ``grid`` (points a side, odd: the minimum is one of them), ``reach``
            (steps to each side), ``normalise`` and ``master``.
        data_file: data.h5.
        files: points files.
        output: slice.h5 to make: ``/x`` (k,), ``/loss`` (minima, k, k), ``/table``.
        state: folder of the unfinished job; removed at the end.
        provenance: written into the output.
    """
    x = np.linspace(-spec["reach"], spec["reach"], spec["grid"])
    file = state / "losses.npy"
    losses = list(np.load(file)) if file.exists() else []
    rows = []
    with Progress(f"slices {spec['label']}", len(spec["members"])) as bar:
        for number, minimum in enumerate(minima(spec, data_file, files)):
            rows.append(minimum.row)
            if number >= len(losses):
                losses.append(_plane(spec, minimum, x))
                with atomic(file) as part, open(part, "wb") as sink:
                    np.save(sink, np.stack(losses))
            bar.update()
    with create(output, "slice", provenance) as made:
        made.create_dataset("x", data=x)
        made.create_dataset("loss", data=np.stack(losses))
        write_table(made, pd.DataFrame(rows))
    remove_state(state)


def _plane(spec: Mapping, minimum: Minimum, x: Array) -> Array:
    """Return the losses (k, k): row i, column j is L at theta + x_j u + x_i v."""
    layout = minimum.nets.train.layout
    drawn = gaussian_rows(layout, derive(spec["master"], "slice"), 2)
    u, v = normalise_rows(drawn, minimum.theta, layout, spec["normalise"])
    steps = torch.from_numpy(x).to(minimum.theta.device, minimum.theta.dtype)
    landscape = minimum.landscape()
    return np.stack([landscape.losses(minimum.theta + steps[:, None] * u + step * v).cpu().numpy() for step in steps])


# ---------------------------------------------------------------------------------------------------------------------
# boundaries


def boundaries(
    spec: Mapping[str, Any], data_file: Path, files: Sequence[Path], output: Path, provenance: Mapping
) -> None:
    """Evaluate classifiers of points in the plane on a grid, and on the examples.

    Args:
        spec: as :func:`minima` takes it, with ``grid`` (points a side) and ``margin`` (share of the training points'
            range added on each side).
        data_file: data.h5 whose inputs have two features; its points are drawn and evaluated.
        files: points files.
        output: boundary.h5 to make: ``/x``, ``/y`` (k,) in the data's own units; ``/label`` (minima, k, k) the class
            predicted there, uint8; ``/train/x``, ``/train/y`` and ``/test/x``, ``/test/y`` with ``/test/predicted``
            (minima, n); ``/table``.
        provenance: written into the output.
    """
    data = load(data_file)
    if data.is_images or data.x_train.shape[1] != 2:
        raise LossatlasError(f"{data_file}: boundaries are drawn for inputs of two features")
    rows, labels, predicted = [], [], []
    x, y = _grid(data.x_train.numpy(), spec)
    points = torch.from_numpy(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)).float()
    for minimum in minima(spec, data_file, files):
        inputs = points if spec["scale"] == "raw" else data.normalised(points)
        seen = NetworkLandscape(minimum.model, inputs.to(pick_device()), torch.zeros(len(inputs), dtype=torch.int64))
        labels.append(seen.outputs(minimum.theta).argmax(1).reshape(len(y), len(x)).cpu().numpy().astype(np.uint8))
        predicted.append(minimum.nets.test.outputs(minimum.theta).argmax(1).cpu().numpy())
        rows.append(minimum.row)
    with create(output, "boundary", provenance) as file:
        for name, values in (("x", x), ("y", y), ("label", np.stack(labels))):
            file.create_dataset(name, data=values, compression="gzip" if name == "label" else None)
        _write_part(file, "train", minimum.nets.train.y, data.x_train)
        _write_part(file, "test", minimum.nets.test.y, data.x_test)
        file["test"].create_dataset("predicted", data=np.stack(predicted).astype(np.uint8))
        write_table(file, pd.DataFrame(rows))


def _write_part(file: h5py.File, part: str, y: Tensor, x: Tensor) -> None:
    group = file.create_group(part)
    group.create_dataset("x", data=x.numpy())
    group.create_dataset("y", data=y.cpu().numpy())


def _grid(points: NDArray[np.float32], spec: Mapping) -> tuple[Array, Array]:
    """Return coordinates along both axes of a square that holds all points."""
    low, high = points.min(0).astype(np.float64), points.max(0).astype(np.float64)
    centre, half = (low + high) / 2, float((high - low).max()) * (0.5 + spec["margin"])
    sides = [np.linspace(centre[k] - half, centre[k] + half, spec["grid"]) for k in (0, 1)]
    return sides[0], sides[1]


@dataclass(frozen=True)
class _Shape:
    x: Tensor
    dtype: torch.dtype


def _like(landscape: NetworkLandscape) -> Any:
    """Return what :func:`~lossatlas.train.examples.build_model` asks of examples: inputs and their type."""
    return _Shape(landscape.x, landscape.dtype)


def _outputs(landscape: NetworkLandscape) -> int:
    """Return how many classes the outputs of a network have."""
    return int(landscape.outputs(landscape.theta()).shape[1])
