"""Draw a replica's own training set from prepared data: a random subset, a new split, or a part held out."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from lossatlas.data.dataset import Data, statistics
from lossatlas.errors import LossatlasError


def resample(data: Data, how: Mapping[str, Any], seed: int) -> Data:
    """Return data with a training part drawn for one replica.

    Args:
        data: prepared data.
        how: ``{kind: subset, train: n}``: n of the training examples, the whole test part; mean and deviation stay
            those of the whole training part. ``{kind: split}``: all examples split anew into parts of the old sizes;
            mean and deviation are those of the new training part.
        seed: of the draw.

    Raises:
        LossatlasError: more examples are asked for than there are.
    """
    generator = np.random.default_rng(seed)
    if how["kind"] == "subset":
        available, wanted = len(data.x_train), how["train"]
        if wanted > available:
            raise LossatlasError(f"resample.train is {wanted}, but only {available} training examples are prepared")
        rows = torch.from_numpy(generator.permutation(available)[:wanted])
        return replace(data, x_train=data.x_train[rows], y_train=data.y_train[rows])
    count = len(data.x_train)
    x, y = torch.cat([data.x_train, data.x_test]), torch.cat([data.y_train, data.y_test])
    order = torch.from_numpy(generator.permutation(len(x)))
    train, test = order[:count], order[count:]
    mean, std = (torch.from_numpy(value) for value in statistics(x[train].numpy()))
    return replace(data, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test], mean=mean, std=std)


def hold_out(data: Data, share: float, seed: int) -> Data:
    """Return data whose test part is a random share of the training part, taken out of it: for choosing settings.

    The test part proper is gone, so that nothing can be chosen on it.
    """
    count = round(share * len(data.x_train))
    if not 0 < count < len(data.x_train):
        raise LossatlasError(
            f"held_out.share is {share}: {count} of {len(data.x_train)} training examples; leave some on both sides"
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(data.x_train)))
    rest, held = order[count:], order[:count]
    return replace(
        data,
        x_train=data.x_train[rest],
        y_train=data.y_train[rest],
        x_test=data.x_train[held],
        y_test=data.y_train[held],
    )


def unit_scaled(x: torch.Tensor) -> torch.Tensor:
    """Return uint8 images as float32 in [0, 1]."""
    if x.dtype != torch.uint8:
        raise LossatlasError(f"scale: `unit` is for images of bytes, found {x.dtype}; write `scale: standard`")
    return x.to(torch.float32) / 255


def raw(x: torch.Tensor) -> torch.Tensor:
    """Return inputs as they are, float32 or int64: of a user's own, or coordinates that mean something in a plane."""
    if x.dtype == torch.uint8:
        raise LossatlasError("scale: `raw` is for numbers, found images of bytes; write `scale: unit` or `standard`")
    return x if x.dtype == torch.int64 else x.to(torch.float32)
