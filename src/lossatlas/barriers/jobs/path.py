"""FourierPathFinder as jobs: several pairs a job, heights at chosen steps, resumable in the middle of a path."""

import io
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.barriers.pathfinder import FourierPath, Settings, State, minibatches
from lossatlas.errors import LossatlasError
from lossatlas.files.clock import Clock
from lossatlas.files.hdf5 import create, open_hdf5, table_in, write_table
from lossatlas.files.state import State as StateFolder
from lossatlas.landscape.alignment import Dense, match
from lossatlas.landscape.analytic import NAMED
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.progress import Progress
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job
from lossatlas.train.blocks import in_blocks
from lossatlas.train.loop import CHECKED
from lossatlas.train.networks import member

Pair = tuple[int, int]

LARGE = 2**24
"""Bytes from which a dataset is written in one chunk an entry."""

MARGIN = 0.2
"""Share of the paths' larger range by which the square around them, for contours, exceeds it on each side."""


def draw_pairs(count: int, seed: int) -> Iterator[Pair]:
    """Yield all pairs of ``count`` points in random order, i < j, as successive random matchings.

    Within a matching no two pairs share a point, so the first ``count // 2`` pairs are independent: what is claimed of
    pairs is tested on those (:mod:`lossatlas.barriers.measures`). Every pair is as likely as any other.
    """
    rng = np.random.default_rng(seed)
    seen: set[Pair] = set()
    while len(seen) < count * (count - 1) // 2:
        order = rng.permutation(count)
        for a, b in zip(order[0 : count - 1 : 2], order[1::2], strict=True):
            pair = (int(min(a, b)), int(max(a, b)))
            if pair not in seen:
                seen.add(pair)
                yield pair


def path(job: Job) -> None:
    """Optimise the paths of one job and measure them on the training and the test landscape.

    Args:
        job: its spec is a :class:`lossatlas.barriers.spec.PathJob`, its files ``cloud`` (points whose rows are paired)
            and ``data``, neither for a function. Its output, path.h5, has ``/table``, one row a member and recorded
            step (:func:`_measure`), and ``/train_losses`` and ``/test_losses`` (rows, M), the losses along the path;
            for a function only ``/train_losses``, and ``/points`` (rows, M, 2) and its contours ``/plane``. With
            ``dense`` k, M of the losses is that of the finer grid. With ``coefficients`` there is
            ``/coefficients`` (members, N, D) float32, of each member at its last recorded step.
    """
    spec = job.spec
    ground = _Ground(spec, job.maybe("cloud"), job.maybe("data"))
    kept = _Kept(StateFolder(job.state, job.provenance))
    steps, members = spec["settings"]["steps"], spec["members"]
    with Progress(f"paths {spec['label']}", len(members) * steps, kept.unit * steps + kept.steps) as bar:
        for unit in range(kept.unit, len(members)):
            _find(spec, members[unit], ground, kept, bar)
            kept.unit, kept.path, kept.steps = unit + 1, None, 0
            if kept.clock.due():
                kept.commit()
    with create(job.output, "path", job.provenance) as file:
        write_table(file, pd.DataFrame(kept.rows))
        for name in kept.profiles:
            data = np.stack(kept.profiles[name])
            file.create_dataset(name, data=data, chunks=(1, *data.shape[1:]) if data.nbytes > LARGE else None)
        if ground.cloud_label is None:
            _write_plane(file, ground.landscapes["train"])
    kept.folder.remove()


class _Ground:
    """What the paths of a job lie on: landscapes by part, and the points they join."""

    def __init__(self, spec: Mapping, cloud_file: Path | None, data_file: Path | None) -> None:
        self.spec = spec
        self.landscapes: dict[str, Landscape]
        self.cloud_label: str | None = None
        self.pairs: dict[int, Pair] = {}
        if cloud_file is None or data_file is None:
            self.landscapes = {"train": NAMED[spec["function"]]()}
            return
        network = member(spec, spec["seeds"], data_file)
        self.landscapes = {"train": network.train, "test": network.test}
        self.cloud_label, self.cloud_file = str(cloud_file), cloud_file
        with open_hdf5(cloud_file, "points") as file:
            if file["buffers"].shape[1]:
                raise LossatlasError(
                    f"{cloud_file}: its network has batch-norm statistics, which a path would have to recompute at "
                    "every point; give a network without batch norm"
                )
            self.table = table_in(file)
        wanted = [entry["pair"] for entry in spec["members"]]
        drawn = list(islice(draw_pairs(len(self.table), spec["seeds"]["pairs"]), max(wanted) + 1))
        if len(drawn) <= max(wanted):
            raise LossatlasError(
                f"{cloud_file}: {len(self.table)} points have {len(drawn)} pairs, pair {max(wanted)} is asked for; "
                "lower `pairs` of the probe or give the cloud more points"
            )
        self.pairs = {number: drawn[number] for number in wanted}

    def ends(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the two ends of a pair, (D,) float64 on the landscape's device."""
        if self.cloud_label is None:
            points = torch.tensor(self.spec["ends"], dtype=torch.float64)
        else:
            with open_hdf5(self.cloud_file, "points") as file:
                theta = np.stack([file["theta"][row] for row in self.pairs[number]]).astype(np.float64)
            if self.spec["settings"].get("align"):
                theta[1] = self._aligned(theta[1], theta[0])
            points = torch.from_numpy(theta)
        first, last = points.to(self.landscapes["train"].device, torch.float64)
        return first, last

    def _aligned(self, theta: Array, reference: Array) -> Array:
        """Return a point (D,) with its hidden units matched to those of another one: the same network.

        Raises:
            LossatlasError: outputs change when units change places: the network is no plain chain.
        """
        landscape = self.landscapes["train"]
        assert isinstance(landscape, NetworkLandscape)
        moved = Dense(landscape.layout).applied(theta, match(landscape.layout, theta, reference, odd=False))
        before, after = (landscape.outputs(torch.from_numpy(one).to(landscape.device)) for one in (theta, moved))
        if float((after - before).abs().max()) > 1e-3 * float(before.abs().max()):
            raise LossatlasError(
                f"paths {self.spec['label']}: `align` changes outputs, so its layers are no plain chain; remove it"
            )
        return moved

    def replica(self, number: int, side: int) -> int:
        """Return the replica of one end of a pair; the number of the end for a function."""
        if self.cloud_label is None or "replica" not in self.table:
            return side
        return int(self.table["replica"].iloc[self.pairs[number][side]])


class _Kept:
    """What a job has done so far: table rows, profiles, and the optimisation under way."""

    FILE = "state.pt"

    def __init__(self, folder: StateFolder) -> None:
        self.folder = folder
        self.unit, self.steps = 0, 0
        self.rows: list[dict] = []
        self.profiles: dict[str, list[Array]] = {}
        self.path: dict[str, Any] | None = None
        folder.load(self.FILE, self._resume)
        self.clock = Clock()

    def _resume(self, data: bytes) -> None:
        kept = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        profiles = {name: [p.numpy() for p in parts] for name, parts in kept["profiles"].items()}
        unit, steps, rows, path = (kept[name] for name in ("unit", "steps", "rows", "path"))
        self.unit, self.steps, self.rows, self.profiles, self.path = unit, steps, rows, profiles, path

    def commit(self) -> None:
        """Put everything on disk.

        Raises:
            Preempted: it is there, and the job was asked to end.
        """
        profiles = {name: [torch.from_numpy(p) for p in parts] for name, parts in self.profiles.items()}
        content = {"unit": self.unit, "steps": self.steps, "rows": self.rows, "path": self.path, "profiles": profiles}
        with self.clock.committing():
            buffer = io.BytesIO()
            torch.save(content, buffer)
            self.folder.write(self.FILE, buffer.getbuffer())


def _find(spec: Mapping, about: Mapping, ground: _Ground, kept: _Kept, bar: Progress) -> None:
    """Optimise one path from the straight line, or from the last commit, and measure it at every recorded step."""
    settings = {key: spec["settings"][key] for key in ("terms", "points", "lr")}
    more = {"decay": spec["settings"].get("decay", 1.0), "steps": spec["settings"]["steps"]}
    path = FourierPath(
        *ground.ends(about["pair"]),
        Settings(**settings, **more, penalty=about["penalty"], objective=about["objective"]),
    )
    fitted = ground.landscapes[spec.get("fit", "train")]
    rows_of = _minibatches(spec, about, fitted)
    if kept.path is None:
        _measure(spec, about, path, ground, kept)
    else:
        path.state = State(**{key: _placed(value, fitted.device) for key, value in kept.path.items()})
    while path.state.steps < spec["settings"]["steps"]:
        rows = rows_of(path.state.steps)
        if rows is not None and isinstance(fitted, NetworkLandscape):
            path.advance(_quick(fitted.at_examples(rows)))
        else:
            path.advance(_quick(fitted))
        bar.update()
        steps, due = path.state.steps, kept.clock.due()
        now = due or steps in spec["record"] or steps == spec["settings"]["steps"]
        # Once it is not finite it stays so; a GPU is waited for whenever it is looked at.
        if (now or fitted.device.type == "cpu" or steps % CHECKED == 0) and not torch.isfinite(path.state.mean).all():
            raise LossatlasError(f"paths {spec['label']}: pair {about['pair']} diverged at step {steps}; lower `lr`")
        if steps in spec["record"]:
            _measure(spec, about, path, ground, kept)
        kept.path, kept.steps = vars(path.state), steps
        if due:
            kept.commit()


def _quick(landscape: Landscape) -> Landscape:
    """Return a landscape that takes several points at a time, where that is faster."""
    return in_blocks(landscape) or landscape


def _placed(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _minibatches(spec: Mapping, about: Mapping, fitted: Landscape) -> Any:
    if not isinstance(fitted, NetworkLandscape):
        return minibatches(1, None, 0)
    return minibatches(len(fitted.x), spec["minibatch"], derive(spec["seeds"]["pairs"], "minibatches", about["pair"]))


def _measure(spec: Mapping, about: Mapping, path: FourierPath, ground: _Ground, kept: _Kept) -> None:
    """Record the losses along the path as it is now, or where its sum was lowest, and their summary.

    Columns ``*_coarse`` are heights at the points of the optimisation alone, where the grid is finer.
    """
    settings, steps = spec["settings"], path.state.steps
    dense = settings.get("dense", 1)
    if settings.get("keep") == "best":
        path.met(path.profile(_quick(ground.landscapes[spec.get("fit", "train")])).losses)
        path = path.at_best()
    found = {part: path.profile(_quick(landscape), dense) for part, landscape in ground.landscapes.items()}
    row: dict[str, Any] = {"pair": about["pair"], "objective": about["objective"], "penalty": float(about["penalty"])}
    for side, name in enumerate(("first", "second")):
        row[name] = ground.pairs[about["pair"]][side] if ground.pairs else side
        row[f"{name}_replica"] = ground.replica(about["pair"], side)
    row |= {"step": steps, "length": path.length(), "value": path.value(found["train"].losses[::dense])}
    if settings.get("keep") == "best":
        row["best_step"] = path.state.best_step
    for part, profile in found.items():
        row |= {f"{part}_height": profile.height, f"{part}_argmax": profile.argmax, f"{part}_end": profile.end}
        if dense > 1:
            row[f"{part}_coarse"] = float(profile.losses[::dense].max())
        kept.profiles.setdefault(f"{part}_losses", []).append(profile.losses.cpu().numpy())
    if not ground.pairs:
        kept.profiles.setdefault("points", []).append(path.points().cpu().numpy())
    if settings.get("coefficients") and steps == spec["record"][-1]:
        kept.profiles.setdefault("coefficients", []).append(path.state.coefficients.float().cpu().numpy())
    kept.rows.append(row)


def _write_plane(file: h5py.File, landscape: Landscape, grid: int = 121) -> None:
    """Write a function's values on the plane around its paths: ``/plane/x``, ``/y`` and ``/loss`` (y, x)."""
    points = file["points"][...].reshape(-1, landscape.dim)
    low, high = points.min(0), points.max(0)
    centre, reach = (low + high) / 2, (0.5 + MARGIN) * (high - low).max()
    x, y = (np.linspace(centre[k] - reach, centre[k] + reach, grid) for k in range(2))
    mesh = torch.from_numpy(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2))
    plane = file.create_group("plane")
    for name, values in (("x", x), ("y", y), ("loss", landscape.losses(mesh).cpu().numpy().reshape(grid, grid))):
        plane.create_dataset(name, data=values)
