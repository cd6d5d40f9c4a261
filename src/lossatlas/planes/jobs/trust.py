"""The job that asks whether a slice of a study is right, as a picture of one's own network is asked."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.files.hdf5 import create, write_table
from lossatlas.files.ledger import Ledger
from lossatlas.files.state import State
from lossatlas.landscape.landscape import Landscape
from lossatlas.landscape.placed import At
from lossatlas.planes.jobs import span
from lossatlas.planes.trust import SliceTrust
from lossatlas.specs.registry import Job
from lossatlas.train.networks import point, trained


def trust(job: Job) -> None:
    """Ask a slice's questions.

    ``data``, ``run``, ``to``, ``gram``: as of a tile.

    Output, trust.h5: ``/table`` has one row a check: name, outcome (``yes``, ``no``, ``undecided``, ``stated``),
    number, criterion, sentence; attributes ``outcome`` (of all) and ``cost`` (evaluations, in units of the picture's).
    """
    spec, to = job.spec, job.maybe("to")
    network = trained(spec, job.file("data"), job.file("run"))
    end = None if to is None else point(to, network.layout, spec["label"])[0].to(network.theta.device).double()
    cut = span.make(spec, network.theta, network.layout, end, job.file("run"), job.maybe("gram"))
    how, scale, chosen = _random(spec)
    shown = list(cut.directions) if cut.shift is None else [cut.directions[0], cut.shift]
    shown = [shown[i] for i in chosen] if cut.shift is None and chosen else shown
    sides = [cut.x] if cut.shift is None else [cut.x, cut.y]
    reach = float(max(np.abs(side).max() for side in sides))
    count = len(cut.x) * (len(cut.y) if cut.shift is not None else len(shown))
    step = float(cut.x[1] - cut.x[0]) if len(cut.x) > 1 else reach
    here = At(network.parts["train"], network.theta, network.layout, spec["label"])
    state = State(job.state, job.provenance)
    told, between = _told(Ledger(state)), end is not None
    asked = SliceTrust(here, shown, reach, how, spec["seed"], count, step, told, between, scale)
    explained = None if cut.explained is None else float(cut.explained.sum())
    verdict = asked.verdict(explained, spec["directions"])
    checks = [(one.name, one.outcome, one.number, one.criterion, one.sentence) for one in verdict.checks]
    with create(job.output, "trust", job.provenance) as file:
        file.attrs["outcome"], file.attrs["cost"] = verdict.outcome, verdict.cost
        write_table(file, pd.DataFrame(checks, columns=["name", "outcome", "number", "criterion", "sentence"]))
    state.remove()


def _told(ledger: Ledger) -> Callable[[Landscape, Iterable[Tensor], int], Array]:
    """Return what evaluates points one by one, and keeps their losses."""
    ledger.begin(0)

    def evaluate(landscape: Landscape, points: Iterable[Tensor], total: int) -> Array:
        return np.array([float(ledger(partial(_loss, landscape, point))) for point in points])

    return evaluate


def _loss(landscape: Landscape, point: Tensor) -> Array:
    return np.array(float(landscape.loss(point)))


def _random(spec: Mapping[str, Any]) -> tuple[str | None, float, list[int]]:
    """Return how a slice's directions are normalised (None of chosen ones), their scale, and which lines are meant.

    A bundle of lines under several normalisations is asked about those of one, ``normalise``.
    """
    about = spec["slice"]
    if about["kind"] not in ("lines", "plane"):
        return None, 1.0, []
    entries = about["directions"]
    how = spec["normalise"] or entries[0]["normalise"]
    chosen = [i for i, entry in enumerate(entries) if entry["normalise"] == how]
    return how, float(entries[chosen[0]]["scale"]), chosen
