"""Landscapes of a run's network on a replica's own examples, and what is measured of a point on them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lossatlas.landscape import NetworkLandscape
from lossatlas.train.loop import pick_device
from lossatlas.train.run import build_model, drawing, make_examples


@dataclass(frozen=True)
class Member:
    """One replica's network as landscapes of its training and its test set."""

    train: NetworkLandscape
    test: NetworkLandscape

    def metrics(self, theta: Tensor) -> dict[str, float]:
        """Return train and test loss and accuracy at theta (D,); accuracies are NaN for regression."""
        found = {}
        for part, landscape in (("train", self.train), ("test", self.test)):
            outputs, targets = landscape.outputs(theta), landscape.y
            found[f"{part}_loss"] = float(landscape.criterion(outputs, targets).double().mean())
            right = math.nan if targets.is_floating_point() else float((outputs.argmax(1) == targets).double().mean())
            found[f"{part}_accuracy"] = right
        return found


def member(spec: Mapping, seeds: Mapping, data_file: Path) -> Member:
    """Return the landscapes of one replica.

    Args:
        spec: resolved spec with model, labels, resample, scale, criterion, precision (``float32`` or ``float64``) and
            batch (most examples in a chunk).
        seeds: of the replica: init, labels, resample.
        data_file: data.h5.
    """
    draw = drawing({**spec, "seeds": seeds})
    examples, outputs = make_examples(
        data_file, spec["labels"], seeds["labels"], spec["precision"], pick_device(), **draw
    )
    model = build_model(spec["model"], examples, outputs, seeds["init"]).eval()
    train, test = (
        NetworkLandscape(model, examples.inputs(x), y, spec["criterion"], batch_size=spec["batch"])
        for x, y in ((examples.x, examples.y), (examples.test_x, examples.test_y))
    )
    return Member(train, test)
