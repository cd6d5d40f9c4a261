"""What a minimum is to all jobs on minima: a row of a points file with its network and the examples it was trained on.

The row is the end of a run or a member of a sweep. The batch norm of a network has the statistics stored with it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.files.hdf5 import read_table
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.specs.registry import Job
from lossatlas.train.networks import Member, member, point
from lossatlas.train.stacked import StackedLandscape


@dataclass(frozen=True)
class Minimum:
    """One minimum.

    Attributes:
        nets: its network, with landscapes of the training and the test set.
        theta: its weights (D,), of the landscapes' type and device.
        buffers: its batch-norm statistics (B,).
        row: what is known of it: run, replica, value, parameter, losses and accuracies (measured again, on the
            examples that the job looks at) and the epoch recorded.
    """

    nets: Member
    theta: Tensor
    buffers: Tensor
    row: dict[str, Any]

    def landscape(self, examples: int | None = None) -> Landscape:
        """Return the training loss on all or the first examples, batched over points where the network is dense."""
        train, model = self.nets.train, self.nets.model
        if examples is not None and examples < len(train.y):
            train = train.at_examples(torch.arange(examples))
        features = isinstance(train.x, torch.Tensor) and train.x.ndim == 2
        dense = isinstance(model, nn.Sequential) and not list(model.buffers()) and features
        return StackedLandscape(train, model) if dense else train

    def decisions(self, x: Tensor) -> Tensor:
        """Return the classes (n,) that the network decides for inputs (n, ...), ready for it."""
        device = self.nets.train.device
        seen = NetworkLandscape(self.nets.model, x.to(device), torch.zeros(len(x), dtype=torch.int64))
        if len(self.buffers):
            seen = seen.at_buffers(self.buffers)
        return seen.outputs(self.theta).argmax(1)


def minima(job: Job) -> Iterator[Minimum]:
    """Yield the minima of a job on :class:`lossatlas.basins.spec.OnMinima`.

    Args:
        job: whose spec has the network's keys and ``members``: source (which of the files ``points``), row, value,
            replica, run, parameter and seeds; whose files are ``data`` and ``points``.

    Raises:
        LossatlasError: a points file holds weights of another network.
    """
    spec, files = job.spec, job.files("points")
    for one in spec["members"]:
        nets = member(spec, one["seeds"], job.file("data"))
        theta, buffers = point(files[one["source"]], nets.train.layout, spec["label"], one["row"])
        theta, nets = theta.to(nets.train.device, nets.train.dtype), nets.at_buffers(buffers)
        recorded = read_table(files[one["source"]], "points").iloc[one["row"]]
        known = {"run": one["run"], "replica": one["replica"], "value": float(one["value"])}
        measured = nets.metrics(theta) | {"epoch": float(recorded["epoch"])}
        further = {name: float(recorded[name]) for name in ("start", "moved", "met") if name in recorded.index}
        yield Minimum(nets, theta, buffers, {**known, "parameter": one["parameter"], **measured, **further})
