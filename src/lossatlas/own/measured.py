"""Losses at many points, one after the other: never more than one point in memory, and none silently left out.

Of small fully connected networks a block of points is one product (:func:`lossatlas.train.stacked.together`), of larger
ones and of small convolutional ones it shares a pass (:func:`lossatlas.train.blocks.in_blocks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from lossatlas.arrays import Array
from lossatlas.errors import LossatlasError
from lossatlas.landscape.landscape import Landscape
from lossatlas.own.bars import ticking
from lossatlas.train.blocks import BlockLandscape, in_blocks
from lossatlas.train.stacked import StackedLandscape, together


def losses(
    landscape: Landscape, points: Iterable[Tensor], total: int, what: str, progress: bool | None = None
) -> tuple[Array, int]:
    """Return the losses (total,), float64, and how many points did not fit into memory, which are NaN.

    A loss that overflows is inf or NaN, as the network gives it.

    Args:
        landscape: L.
        points: (D,) each.
        total: their number.
        what: what the progress bar says.
        progress: see :func:`lossatlas.own.bars.ticking`.

    Raises:
        LossatlasError: not one point fits into memory.
    """
    if (several := together(landscape) or in_blocks(landscape)) is not None:
        return _several(several, points, total, what, progress), 0
    found, lost = np.full(total, np.nan), 0
    with ticking(what, total, progress) as tick:
        for i, point in enumerate(points):
            try:
                found[i] = float(landscape.loss(point))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                lost += 1
                if lost == i + 1 == min(total, 3):
                    raise LossatlasError(
                        f"{what}: out of memory at each of the first {lost} points ({str(error).splitlines()[0]}); "
                        "load the network with a smaller batch_size"
                    ) from error
            tick()
    return found, lost


def _several(
    landscape: StackedLandscape | BlockLandscape, points: Iterable[Tensor], total: int, what: str, progress: bool | None
) -> Array:
    """Return the losses (total,), a block of points at once."""
    found, order = np.full(total, np.nan), iter(points)
    with ticking(what, total, progress) as tick:
        start = 0
        while block := [point.clone() for point in islice(order, landscape.chunk)]:  # one place may hold all of them
            found[start : start + len(block)] = landscape.losses(torch.stack(block)).cpu().numpy()
            start += len(block)
            for _ in block:
                tick()
    return found


def asking(progress: bool | None) -> Callable[[Landscape, Iterable[Tensor], int], Array]:
    """Return how the checks of a slice evaluate losses: with a bar, points that do not fit into memory as NaN."""
    return lambda landscape, points, total: losses(landscape, points, total, "is it right?", progress)[0]


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory, of the GPU or of the machine, was not enough."""
    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in said for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def lost_note(values: Array, lost: int) -> str:
    """Return the sentence that counts the points without a finite loss; empty where every point has one."""
    infinite, missing = int(np.isinf(values).sum()), int(np.isnan(values).sum()) - lost
    parts = [
        f"{count} {what}"
        for count, what in ((infinite, "infinite"), (missing, "NaN"), (lost, "out of memory"))
        if count
    ]
    return f"{' and '.join(parts)} of {values.size} points have no finite loss" if parts else ""
