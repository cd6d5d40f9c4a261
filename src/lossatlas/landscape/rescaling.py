"""Other weights of the same network: rescalings under which its function stays what it is.

A network with batch norm and ReLU does not change (Li et al. 2018, section 3; Dinh et al. 2017, of ReLU networks) when

- a filter in front of a batch norm is multiplied by any c > 0: the norm divides by it (``filters``; ``layers`` takes
  one c for a whole layer);
- scale and shift of a batch norm are multiplied by c and the weights by which the next layer takes this channel are
  divided by it, since a ReLU lets a positive factor through (``units``).

Statistics go along: mean times c, variance times c^2. The small number that a batch norm adds to the variance is
compensated in its scale, so that the function is the same and not nearly the same, and with stored statistics so is the
loss along any line whose direction is rescaled like the filters.
"""

from collections.abc import Iterator
from math import log

import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout

HOWS = ("filters", "layers", "units")


def rescaled(
    model: nn.Module, theta: Tensor, buffers: Tensor, how: str, seed: int, spread: float
) -> tuple[Tensor, Tensor]:
    """Return weights (D,) and batch-norm statistics (B,) of the same function, both float64.

    Layers are paired with the batch norm that is registered after them, and ``units`` takes what is registered next for
    what follows: right for VGG and, apart from ``units``, for residual networks. Whether the function has stayed is for
    the caller to see on data.

    Args:
        model: for its shape; its own numbers do not matter.
        theta: (D,) in ``Layout.of(model)`` order.
        buffers: (B,) in ``Layout.of_buffers(model)`` order.
        how: ``filters``, ``layers`` or ``units``.
        seed: of the factors.
        spread: they are between 1 / spread and spread, their logarithms uniform.

    Raises:
        LossatlasError: an unknown ``how``, or no layer with a batch norm behind it.
    """
    if how not in HOWS:
        raise LossatlasError(f"rescaling: got {how!r}; expected one of {list(HOWS)!r}")
    if not spread > 1:
        raise LossatlasError(f"rescaling: spread got {spread!r}; expected a number > 1")
    weights, statistics = Layout.of(model), Layout.of_buffers(model)
    theta, buffers = theta.to(torch.float64, copy=True), buffers.to(torch.float64, copy=True)
    parts, kept = weights.unflatten(theta), statistics.unflatten(buffers)  # views: changed in place
    generator = torch.Generator().manual_seed(seed)
    pairs = list(_pairs(model))
    if not pairs:
        raise LossatlasError(f"rescaling: {type(model).__name__} has no layer with a batch norm behind it")
    for layer, norm, after in pairs:
        count = len(parts[f"{norm}.weight"])
        drawn = torch.rand(1 if how == "layers" else count, generator=generator, dtype=torch.float64)
        factors = torch.exp((2 * drawn - 1) * log(spread)).expand(count).to(theta.device)
        if how == "units":
            if after is not None:
                _scale_unit(parts, norm, after, factors)
        else:
            _scale_filter(parts, kept, layer, norm, factors, float(_norm(model, norm).eps))
    return theta, buffers


def _norm(model: nn.Module, name: str) -> nn.modules.batchnorm._BatchNorm:
    found = model.get_submodule(name)
    assert isinstance(found, nn.modules.batchnorm._BatchNorm)
    return found


def _pairs(model: nn.Module) -> Iterator[tuple[str, str, str | None]]:
    """Yield names of a layer, of the batch norm behind it, and of the next layer with weights (or None)."""
    chain = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.modules.batchnorm._BatchNorm)
    ]
    for i in range(len(chain) - 1):
        (layer, module), (norm, behind) = chain[i], chain[i + 1]
        if not isinstance(behind, nn.modules.batchnorm._BatchNorm) or not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if behind.num_features == len(module.weight) and behind.affine and behind.running_var is not None:
            following = chain[i + 2][0] if i + 2 < len(chain) else None
            yield layer, norm, following


def _scale_filter(
    parts: dict[str, Tensor], kept: dict[str, Tensor], layer: str, norm: str, factors: Tensor, eps: float
) -> None:
    """Multiply filters, and all that the batch norm behind them has seen of them."""
    weight = parts[f"{layer}.weight"]
    weight.mul_(factors.reshape(-1, *[1] * (weight.ndim - 1)))
    if f"{layer}.bias" in parts:
        parts[f"{layer}.bias"].mul_(factors)
    variance = kept[f"{norm}.running_var"]
    before = (variance + eps).sqrt() * factors
    kept[f"{norm}.running_mean"].mul_(factors)
    variance.mul_(factors**2)
    parts[f"{norm}.weight"].mul_((variance + eps).sqrt() / before)


def _scale_unit(parts: dict[str, Tensor], norm: str, after: str, factors: Tensor) -> None:
    """Multiply what a batch norm gives out, and divide what the next layer makes of it."""
    weight = parts[f"{after}.weight"]
    # A linear layer behind flattened images takes every channel at several places, one after the other.
    inputs = weight.reshape(len(weight), len(factors), -1)
    inputs.div_(factors[:, None])
    parts[f"{norm}.weight"].mul_(factors)
    parts[f"{norm}.bias"].mul_(factors)
