"""Landscapes of a run's network on a replica's own examples, and what is measured of a point on them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.train.examples import build_model, drawing, make_examples
from lossatlas.train.loop import pick_device


@dataclass(frozen=True)
class Member:
    """One replica's network as landscapes of its training and its test set."""

    train: NetworkLandscape
    test: NetworkLandscape

    def metrics(self, theta: Tensor) -> dict[str, float]:
        """Return train and test loss and accuracy at theta (D,); accuracies are NaN for regression."""
        return metrics({"train": self.train, "test": self.test}, theta)


def metrics(parts: Mapping[str, NetworkLandscape], theta: Tensor) -> dict[str, float]:
    """Return ``<part>_loss`` and ``<part>_accuracy`` at theta (D,) of landscapes of one network on parts of the data.

    Accuracies are NaN for regression, and where the loss is NaN: the largest of outputs that are not numbers is none.
    """
    found = {}
    for part, landscape in parts.items():
        outputs, targets = landscape.outputs(theta), landscape.y
        loss = float(landscape.criterion(outputs, targets).double().mean())
        classes = not targets.is_floating_point() and not math.isnan(loss)
        found[f"{part}_loss"] = loss
        found[f"{part}_accuracy"] = float((outputs.argmax(1) == targets).double().mean()) if classes else math.nan
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
