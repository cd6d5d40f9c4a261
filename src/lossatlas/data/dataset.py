"""Prepared data sets, read (``data.h5``, described in ``docs/design.md``)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import open_hdf5

Arrays = tuple[np.ndarray, np.ndarray]
PARTS = ("train", "test")


@dataclass(frozen=True)
class Data:
    """A prepared data set.

    Attributes:
        x_train: uint8 (n, C, H, W) for images, float32 (n, d) for vectors; of a user's own also float32 (n, ...) and
            int64 (n, ...) tokens.
        y_train: int64 (n,), of tokens (n, T), for regression float32 (n,) or (n, k).
        x_test: like ``x_train``.
        y_test: like ``y_train``.
        mean: float64 (C,) of the training images divided by 255, or (d,) of the training vectors.
        std: float64, like ``mean``; 1 where the training part does not vary.
        classes: class names by label; empty for regression.
        task: ``classification`` or ``regression``.
        source: name, variant, checksum, reference and notes on the source.
    """

    x_train: torch.Tensor
    y_train: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    classes: tuple[str, ...]
    task: str
    source: Mapping[str, Any]

    @property
    def is_images(self) -> bool:
        """Whether the inputs are images rather than vectors."""
        return self.x_train.ndim == 4

    def normalised(self, x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return inputs as networks take them: zero mean and unit variance over the training part.

        Args:
            x: inputs (n, ...); uint8 images are divided by 255 first, float images must already lie in [0, 1].
            dtype: of the result.

        Returns:
            (x / 255 - mean) / std for uint8 images, (x - mean) / std otherwise; per channel or feature.
        """
        if not len(self.mean):
            raise LossatlasError(
                f"scale: `standard` is for images (n, C, H, W) and vectors (n, d), found {tuple(x.shape)}; write "
                "`scale: raw`"
            )
        shape = (-1, 1, 1) if self.is_images else (-1,)
        mean, std = (value.to(x.device, dtype).reshape(shape) for value in (self.mean, self.std))
        values = x.to(dtype)
        if x.dtype == torch.uint8:
            values = values / 255
        return (values - mean) / std

    def to(self, device: torch.device | str) -> "Data":
        """Return the data with all tensors on a device."""
        return replace(
            self,
            x_train=self.x_train.to(device),
            y_train=self.y_train.to(device),
            x_test=self.x_test.to(device),
            y_test=self.y_test.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )


def load(path: Path) -> Data:
    """Read a prepared data set.

    Raises:
        LossatlasError: the file is missing, truncated, damaged or not a data set.
    """
    with open_hdf5(path, "data") as file:
        try:
            arrays = {f"{axis}_{part}": torch.from_numpy(file[f"{part}/{axis}"][()]) for part in PARTS for axis in "xy"}
            moments = {key: torch.from_numpy(np.asarray(file.attrs[key], np.float64)) for key in ("mean", "std")}
            data = Data(
                **arrays,
                **moments,
                classes=tuple(json.loads(file.attrs["classes"])),
                task=str(file.attrs["task"]),
                source=json.loads(file.attrs["source"]),
            )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise LossatlasError(
                f"{path}: damaged data set ({error}); delete it and run the same command again"
            ) from error
    for part in PARTS:
        if len(arrays[f"x_{part}"]) != len(arrays[f"y_{part}"]):
            raise LossatlasError(f"{path}: inputs and labels of {part} differ in number; delete it and run again")
    return data


def statistics(x: np.ndarray) -> Arrays:
    """Return mean and standard deviation (population) per channel of images (bytes / 255), or per feature of vectors.

    Images of bytes go through the histogram of their 256 grey values, so the result is exact and costs no float copy.

    Args:
        x: uint8 or float32 (n, C, H, W), float32 (n, d); of others (sequences, tokens) there are none: (0,).

    Returns:
        mean and std, float64 (C,) or (d,); a std of zero is given as 1.
    """
    if x.dtype == np.int64 or x.ndim not in (2, 4):
        return np.zeros(0), np.ones(0)
    if x.ndim == 4 and x.dtype != np.uint8:
        mean, std = x.mean(axis=(0, 2, 3), dtype=np.float64), x.std(axis=(0, 2, 3), dtype=np.float64)
    elif x.ndim == 4:
        counts = np.stack([np.bincount(x[:, c].ravel(), minlength=256) for c in range(x.shape[1])])
        values = np.arange(256) / 255
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ values
        std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    else:
        mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    return mean, np.where(std > 0, std, 1.0)
