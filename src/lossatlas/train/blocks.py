"""The losses of one network at a block of points in one forward pass, for networks whose passes are mostly overhead.

The first layer has the same inputs at every point, so the points' filters or rows are those of one wide layer; what
follows are batched products, and convolutions of as many groups as points. LeNet's convolutions, of 1 to 6 and 6 to 16
channels, fill a vector register so, and the first layer of a fully connected network is one product that oneDNN makes
(:mod:`lossatlas.landscape.linear`). What it brings: ``docs/performance.md``, surfaces and paths.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lossatlas import numerics
from lossatlas.landscape.inputs import Inputs
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.linear import product
from lossatlas.landscape.pooling import AveragePool, MaximumPool
from lossatlas.landscape.wrapper import Wrapper
from lossatlas.train.stacked import ELEMENTWISE, chained, multiplied, unstack

POINTS = 8
"""Points of a block."""

IMAGES, ROWS = 100, 1000
"""Most examples at once: images, whose activations are many, and rows of fully connected networks."""

CHANNELS = 16
"""Of the first convolution, from which a point alone fills the registers and a block gains nothing."""

MOST = 2**20
"""Weights of a network up to which a block of gradients is held."""

Chain = list[tuple[str, nn.Module]]
"""Layers by name, in order."""


def in_blocks(landscape: Landscape) -> BlockLandscape | None:
    """Return a landscape with its losses, and their gradients, in blocks of points, where that is faster; else None.

    They are equal to rounding, so none under portable numerics, whose bits are those of one point after the other.
    """
    if numerics.portable() or not isinstance(landscape, NetworkLandscape):
        return None
    chain = chain_of(landscape)
    return None if chain is None else BlockLandscape(landscape, chain)


def chain_of(landscape: NetworkLandscape) -> Chain | None:
    """Return the layers of a network that is a chain for which blocks are faster; None of any other."""
    x, model = landscape.x, landscape.module
    if not isinstance(x, Tensor) or x.dtype != torch.float32 or landscape.dtype != x.dtype or x.device.type != "cpu":
        return None
    chain = chained(model, landscape.layout)
    if landscape.dim > MOST or landscape.output is not None or chain is None:
        return None
    flat = [i for i, (_, layer) in enumerate(chain) if type(layer) is nn.Flatten]
    start = flat[0] if flat else 0
    images, rows = [layer for _, layer in chain[:start]], [layer for _, layer in chain[start:]]
    if not flat and x.ndim != 2:
        return None
    return chain if _few_channels(images, x.ndim) and _is_dense(rows) else None


def _few_channels(layers: list[nn.Module], ndim: int) -> bool:
    """Whether layers of images, if there are any, are simple ones that begin with a convolution of few channels."""
    if not layers:
        return True
    first = layers[0]
    return ndim == 4 and isinstance(first, nn.Conv2d) and first.out_channels < CHANNELS and all(map(_is_simple, layers))


def _is_simple(layer: nn.Module) -> bool:
    """Whether a layer of images treats every channel, or group of channels, by itself."""
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.padding_mode == "zeros"
    return type(layer) in (nn.AvgPool2d, AveragePool, nn.MaxPool2d, MaximumPool, *ELEMENTWISE)


def _is_dense(layers: list[nn.Module]) -> bool:
    """Whether layers are fully connected ones and what stands between them, flattened at most at the beginning."""
    flat = [layer for layer in layers if type(layer) is nn.Flatten]
    whole = all((layer.start_dim, layer.end_dim) == (1, -1) for layer in flat) and len(flat) <= 1
    return whole and all(type(layer) in (nn.Linear, nn.Flatten, *ELEMENTWISE) for layer in layers)


def block_forward(chain: Chain) -> Callable[[dict[str, Tensor], Tensor, int], Tensor]:
    """Return a function of parameters (m, *shape) by name, inputs (n, ...) and m to outputs (m, n, classes)."""

    def forward(parameters: dict[str, Tensor], x: Tensor, points: int) -> Tensor:
        hidden, own = x, False  # images of all points are channels of one image; rows have the points first
        for name, layer in chain:
            weight, bias = parameters.get(f"{name}.weight"), parameters.get(f"{name}.bias")
            if isinstance(layer, nn.Conv2d):
                assert weight is not None
                hidden = _convolved(layer, hidden, weight, bias, points if own else 1)
                own = True
            elif isinstance(layer, nn.Linear):
                assert weight is not None
                hidden = multiplied(hidden, weight, bias) if own else _widened(hidden, weight, bias)
                own = True
            elif isinstance(layer, nn.Flatten):
                hidden = hidden.reshape(len(hidden), points, -1).transpose(0, 1) if own else hidden.flatten(1)
            else:
                hidden = layer(hidden)
        return hidden

    return forward


def _convolved(layer: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """Return images (n, m * out, H, W) of filters (m, out, in, h, w): of shared images or of the points' own."""
    filters = weight.flatten(0, 1).clone(memory_format=torch.channels_last)
    own = None if bias is None else bias.flatten()
    return nn.functional.conv2d(x, filters, own, layer.stride, layer.padding, layer.dilation, groups)


def _widened(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return rows (m, n, out) of shared rows (n, in) and weights (m, out, in): one wide product."""
    points, outputs = weight.shape[:2]
    rows = product(x, weight.flatten(0, 1)).reshape(len(x), points, outputs).transpose(0, 1)
    return rows if bias is None else rows + bias[:, None]


class BlockLandscape(Wrapper[NetworkLandscape]):
    """A network's landscape whose ``losses`` and ``losses_and_grads`` take a block of points at a time.

    Anything else is that of the landscape it wraps. Sums over examples are float64, as there, and weigh alike.

    Attributes:
        chunk: points of a block.
    """

    def __init__(self, inner: NetworkLandscape, chain: Chain, chunk: int = POINTS) -> None:
        super().__init__(inner)
        self.chunk = chunk
        self._forward = block_forward(chain)
        images = isinstance(chain[0][1], nn.Conv2d)
        self._size = min(inner.batch_size, IMAGES) if images else ROWS

    @torch.no_grad()
    def losses(self, thetas: Tensor) -> Tensor:
        """Return the losses (n,), float64, of the rows of (n, D)."""
        points = self._points(thetas)
        found = torch.zeros(len(points), dtype=torch.float64)
        for start in range(0, len(points), self.chunk):
            part = slice(start, start + self.chunk)
            parameters = unstack(self.inner.layout, points[part])
            for chunk in self.inner.chunks(self._size):
                found[part] += self._summed(parameters, *chunk)
        return found / self.inner.total

    def losses_and_grads(self, thetas: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses (n,), float64, and the gradients (n, D) at the rows of (n, D), of the points' type."""
        points = self._points(thetas)
        found, slopes = torch.zeros(len(points), dtype=torch.float64), torch.empty_like(points)
        for start in range(0, len(points), self.chunk):
            part = slice(start, start + self.chunk)
            block = points[part].clone().requires_grad_()
            total = torch.zeros(block.shape, dtype=self.inner.sums)
            for chunk in self.inner.chunks(self._size):
                with torch.enable_grad():
                    losses = self._summed(unstack(self.inner.layout, block), *chunk)
                    total += torch.autograd.grad(losses.sum(), block)[0]
                found[part] += losses.detach()
            slopes[part] = total / self.inner.total
        return found / self.inner.total, slopes

    def _summed(self, parameters: dict[str, Tensor], x: Inputs, y: Tensor, weights: Tensor | None) -> Tensor:
        """Return each point's sum of the losses of some examples, (m,) float64."""
        assert isinstance(x, Tensor)  # a chain takes one
        points = len(next(iter(parameters.values())))
        outputs = self._forward(parameters, x, points)
        losses = self.inner.criterion(outputs.flatten(0, 1), y.repeat(points, *[1] * (y.ndim - 1)))
        rows = losses.double().reshape(points, len(y))
        return rows.sum(1) if weights is None else rows @ weights
