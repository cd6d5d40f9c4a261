"""Level-set traversals as jobs: several replicas a job, recorded as points, resumable in the middle of a path."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5, read_table, table_in
from lossatlas.landscape.alignment import Dense, match
from lossatlas.landscape.analytic import NAMED
from lossatlas.landscape.landscape import FunctionLandscape, Landscape
from lossatlas.landscape.layout import WEIGHT, Layout
from lossatlas.levelsets.interest import Function, Interest, Linear, SquaredNorm, Walk, random_direction
from lossatlas.levelsets.spec import Settings, Towards, is_odd
from lossatlas.levelsets.traversal import State, Traversal
from lossatlas.levelsets.walk import traversal
from lossatlas.progress import Progress
from lossatlas.seeds import derive
from lossatlas.specs import source
from lossatlas.specs.registry import Job
from lossatlas.train.loop import Recorder, finish, row_of
from lossatlas.train.networks import Member, member


def levelset(job: Job) -> None:
    """Walk the level sets of one job's replicas, recording each path at evenly spread steps and at its end.

    Args:
        job: spec :class:`~lossatlas.levelsets.spec.NetworkLevelset` or
            :class:`~lossatlas.levelsets.spec.FunctionLevelset`; ``data``: data.h5, and ``starts``: sweeps whose end
            points are the starts, found by replica; neither for a function, whose starts are Gaussian draws moved onto
            the level; ``reference``: traversals whose lengths those of the same replicas are to have, if any. Makes
            points.h5: one row a recorded point, replicas one after the other.
    """
    spec, data_file = job.spec, job.maybe("data")
    starts, lengths = _Starts(spec, job.files("starts")), _lengths(job.files("reference"))
    recorder = Recorder(job, starts.layout, starts.buffer_layout)
    progress = recorder.state
    steps = spec["settings"]["steps"]
    done = progress.unit * steps + max(progress.epoch, 0)
    with Progress(f"level set {spec['label']}", len(spec["members"]) * steps, done) as bar:
        for unit in range(progress.unit, len(spec["members"])):
            about = spec["members"][unit]
            settings = Settings(**{**spec["settings"], **lengths.get(about["replica"], {})})
            _walk(spec, about, settings, data_file, starts, recorder, bar)
            progress.next_unit(unit + 1)
            if recorder.due():
                recorder.commit()
    recorder.commit()
    finish(recorder, job.output, job.provenance)


def _lengths(files: Sequence[Path]) -> dict[int, dict[str, float]]:
    """Return the setting ``length`` of each replica that has a path in one of these files: that path's length."""
    paths = [path for file in files for path in read_table(file, "points").groupby("replica")]
    return {int(path["replica"].iloc[0]): {"length": float(path["length"].max())} for _, path in paths}


class _Starts:
    """The starting points of a job's replicas, and the layout of theta."""

    def __init__(self, spec: Mapping, files: Sequence[Path]) -> None:
        self.spec = spec
        self.points: dict[int, tuple[Tensor, Tensor]] = {}
        self.gradients: dict[int, int] = {}
        if not files:
            dim = NAMED[spec["function"]]().dim
            self.layout = Layout(("theta",), ((dim,),), (WEIGHT,))
            self.buffer_layout = Layout((), (), ())
            return
        for path in files:
            with open_hdf5(path, "points") as file:
                table = table_in(file)
                self.layout = Layout.from_json(file.attrs["layout"])
                self.buffer_layout = Layout.from_json(file.attrs["buffer_layout"])
                for row in table.index[table["held_out"] == 0]:
                    point = torch.from_numpy(file["theta"][row]), torch.from_numpy(file["buffers"][row])
                    replica = int(table["replica"][row])
                    self.points.setdefault(replica, point)
                    self.gradients.setdefault(replica, int(table["example_gradients"][row]))

    def of(self, replica: int) -> tuple[Tensor, Tensor]:
        """Return theta (D,) and buffers (B,) from which a replica starts."""
        if self.points:
            if replica not in self.points:
                raise LossatlasError(f"level set {self.spec['label']}: its sweep has no replica {replica}")
            return self.points[replica]
        seed = next(m["seeds"]["start"] for m in self.spec["members"] if m["replica"] == replica)
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.layout.dim, generator=generator, dtype=torch.float64), torch.zeros(0)


def _walk(
    spec: Mapping,
    about: Mapping,
    settings: Settings,
    data_file: Path | None,
    starts: _Starts,
    recorder: Recorder,
    bar: Progress,
) -> None:
    """Walk one replica's path from its start, or from the last commit."""
    theta, buffers = starts.of(about["replica"])
    network: Member | None = None
    landscape: Landscape
    if data_file is None:
        landscape = NAMED[spec["function"]]()
    else:
        network = member(spec, about["seeds"], data_file).at_buffers(buffers)
        landscape = network.train
    kept = recorder.state.model
    interest = _interest(spec, about, starts, landscape)
    path = traversal(landscape, interest, theta, settings, spec["level"], move=kept is None)
    row = {**row_of(spec["label"], -1, 0.0, 0.0), "source": "levelset", "replica": about["replica"]}
    row["start_gradients"] = starts.gradients.get(about["replica"], 0)
    progress = recorder.state
    if kept is not None:
        _restore(path, kept)
    else:
        _record(row, path, network, buffers, recorder)
        _commit_if_due(path, recorder)  # a start far from the level has taken many steps
    marked = _marks(settings, spec["points"], path.state)
    while path.finished is None:
        path.advance()
        if path.stopped is None and marked(path.state):
            _record(row, path, network, buffers, recorder)
            bar.update(path.state.steps - max(progress.epoch, 0))
            progress.epoch = path.state.steps
        _commit_if_due(path, recorder)
    if progress.rows[-1]["steps"] != path.state.steps:
        _record(row, path, network, buffers, recorder)
    progress.rows[-1]["stopped"] = path.finished


def _commit_if_due(path: Traversal, recorder: Recorder) -> None:
    """Commit a path that goes on.

    The step that found no way on is not committed: what it evaluated would be counted again on resuming.
    """
    if path.finished is None and recorder.due():
        recorder.state.epoch, recorder.state.model = path.state.steps, _kept(path)
        recorder.commit()


def _marks(settings: Settings, points: int, begin: State) -> Callable[[State], bool]:
    """Return whether a state is one to record: evenly spread steps, or lengths where the length is given."""
    if settings.length is None:
        marks = {round(settings.steps * k / (points - 1)) for k in range(1, points)}
        return lambda state: state.steps in marks
    spacing = settings.length / (points - 1)
    passed = int(begin.length / spacing)

    def next_reached(state: State) -> bool:
        nonlocal passed
        before, passed = passed, int(state.length / spacing)
        return passed > before

    return next_reached


def _record(row: Mapping, path: Traversal, network: Member | None, buffers: Tensor, recorder: Recorder) -> None:
    """Record the present point and its line of the table; ``example_gradients`` are those of the path alone."""
    s = path.state
    absent = {f"{part}_{name}": math.nan for part in ("train", "test") for name in ("loss", "accuracy")}
    measured = network.metrics(s.theta) if network is not None else absent
    seen = path.observe()
    examples = len(network.train.x) if network is not None else 1
    found = {**row, "epoch": float(s.steps), **measured, **seen, "train_loss": s.loss}
    found["example_gradients"] = seen["gradients"] * examples
    recorder.append(s.theta, buffers, {**found, "stopped": ""})


def _kept(path: Traversal) -> dict[str, Any]:
    """Return all that a path needs to go on, as tensors and numbers."""
    return {**vars(path.state), "level": path.level, "tolerance": path.tolerance}


def _restore(path: Traversal, kept: Mapping[str, Any]) -> None:
    """Put a path where an earlier process left it."""
    device = path.landscape.device

    def placed(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in values.items()}

    rest = placed({key: value for key, value in kept.items() if key not in ("level", "tolerance")})
    rest["memory"] = placed(rest["memory"])
    path.state = State(**rest)
    path.level, path.tolerance = kept["level"], kept["tolerance"]


def _interest(spec: Mapping, about: Mapping, starts: _Starts, landscape: Landscape) -> Interest:
    """Return the direction of interest that a spec names, on the landscape's device."""
    entry, dim, device = spec["interest"], landscape.dim, landscape.device
    kind = entry["kind"]
    if kind == "norm2":
        return SquaredNorm(sign=-1.0 if entry.get("up") else 1.0)
    if kind == "towards":
        return SquaredNorm(_target(spec, about["replica"], starts, landscape).to(device))
    if kind == "linear":
        if len(entry["coefficients"]) != dim:
            raise LossatlasError(
                f"level set {spec['label']}: interest.coefficients has {len(entry['coefficients'])} numbers, the "
                f"landscape has {dim} dimensions"
            )
        return Linear(torch.tensor(entry["coefficients"], dtype=torch.float64, device=device))
    if kind == "random":
        seed = derive(entry["master"], "interest", entry["seed"], about["replica"])
        coefficients = random_direction(dim, seed).coefficients
        return Linear(coefficients.to(device))
    if kind == "walk":
        return Walk(derive(entry["master"], "walk", entry["seed"], about["replica"]))
    return Function(FunctionLandscape(_imported(entry), dim, device=device))


def _target(spec: Mapping, replica: int, starts: _Starts, landscape: Landscape) -> Tensor:
    """Return the point that a path goes towards, its hidden units matched and moved onto the level where asked for."""
    towards = Towards.model_validate({**spec["interest"]})
    target = starts.of(towards.target(replica))[0].double()
    if towards.aligned:
        own = starts.of(replica)[0].double().numpy()
        odd = is_odd(spec["model"])
        found = match(starts.layout, target.numpy(), own, odd)
        target = torch.from_numpy(Dense(starts.layout).applied(target.numpy(), found))
    if spec["level"] is None:
        return target
    return traversal(landscape, SquaredNorm(), target, Settings(**spec["settings"]), spec["level"]).state.theta


def _imported(entry: Mapping) -> Any:
    """Return a user's function of theta."""
    try:
        return source.load(entry["builder"], entry["source_sha256"])
    except (ImportError, AttributeError) as error:
        raise LossatlasError(f"interest.builder {entry['builder']!r}: {error}; correct its module") from error
