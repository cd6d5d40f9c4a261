"""Many networks of one shape as one: a forward pass over the rows of (m, D) by batched matrix products.

For networks so small that a step costs more in calls than in arithmetic. Fully connected networks go through one
``baddbmm`` a layer; any other module through ``torch.vmap`` over ``functional_call``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lossatlas.landscape.activations import Tanh
from lossatlas.landscape.landscape import Landscape, NetworkLandscape
from lossatlas.landscape.layout import Layout
from lossatlas.landscape.memory import Fits
from lossatlas.landscape.wrapper import Wrapper
from lossatlas.models.binary import BinaryLogit

ELEMENTWISE = (nn.ReLU, nn.Tanh, Tanh, nn.Softplus, nn.Sigmoid, nn.ELU, nn.GELU, nn.SiLU, BinaryLogit)

Forward = Callable[[Tensor, Tensor], Tensor]


def stacked_forward(model: nn.Module, layout: Layout) -> Forward:
    """Return a function of weights (m, D) and inputs (m, n, ...) to outputs (m, n, classes).

    Args:
        model: whose shape counts; its weights do not. It must have no buffers that a forward pass uses.
        layout: of its parameters.
    """
    dense = isinstance(model, nn.Sequential) and all(_is_dense(layer) for layer in model)
    if not dense:

        def general(thetas: Tensor, x: Tensor) -> Tensor:
            return vmap(lambda parameters, inputs: functional_call(model, parameters, (inputs,)))(
                unstack(layout, thetas), x
            )

        return general
    steps = [(name, layer) for name, layer in model.named_children()]

    def forward(thetas: Tensor, x: Tensor) -> Tensor:
        parameters = unstack(layout, thetas)
        hidden = x.flatten(2)
        for name, layer in steps:
            if isinstance(layer, nn.Linear):
                hidden = multiplied(hidden, parameters[f"{name}.weight"], parameters.get(f"{name}.bias"))
            elif not isinstance(layer, nn.Flatten):
                hidden = layer(hidden)
        return hidden

    return forward


def multiplied(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return rows (m, n, out) of each network's own rows (m, n, in), weights (m, out, in) and biases (m, out)."""
    across = weight.transpose(1, 2)
    return torch.bmm(x, across) if bias is None else torch.baddbmm(bias[:, None], x, across)


def unstack(layout: Layout, thetas: Tensor) -> dict[str, Tensor]:
    """Return the parameters of (m, D) by name, (m, *shape); one ``split``, whose backward pass is one ``cat``."""
    parts = thetas.split(layout.sizes, 1)
    return {
        name: part.reshape(-1, *shape) for name, shape, part in zip(layout.names, layout.shapes, parts, strict=True)
    }


def _is_dense(layer: nn.Module) -> bool:
    return isinstance(layer, (nn.Linear, nn.Flatten, *ELEMENTWISE))


MOST_WEIGHTS = 2**15
"""Weights of a network up to which points are taken together: of a larger one a pass is arithmetic, not calls."""


def together(landscape: Landscape, chunk: int = 32) -> "StackedLandscape | None":
    """Return the landscape with its losses by batched products, equal to rounding, where that is faster; else None.

    It is for small fully connected networks whose examples are evaluated at once and count alike.
    """
    if not isinstance(landscape, NetworkLandscape) or landscape.dim > MOST_WEIGHTS or landscape.output is not None:
        return None
    x, y, model = landscape.x, landscape.y, landscape.module
    if not isinstance(x, Tensor) or y.ndim != 1 or len(y) > landscape.batch_size or not landscape.weighs_alike:
        return None
    return StackedLandscape(landscape, model, chunk) if _is_plain(model, x.ndim, landscape.layout) else None


def chained(model: nn.Module, layout: Layout) -> list[tuple[str, nn.Module]] | None:
    """Return the layers, by name and in order, of a chain that is nothing else; None of any other module.

    No hook sees what passes, and every layer and tensor stands in one place: one in two would have one name.
    """
    hooked = any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())
    if type(model) is not nn.Sequential or not len(model) or hooked:
        return None
    layers = list(model.named_children())
    owned = {f"{name}.{key}" for name, layer in layers for key, _ in layer.named_parameters()}
    return layers if len(layers) == len(model) and owned == set(layout.names) else None


def _is_plain(model: nn.Module, ndim: int, layout: Layout) -> bool:
    """Whether a user's network is what :func:`stacked_forward` takes it for: torch's own layers, each used once."""
    layers = chained(model, layout)
    if layers is None:
        return False
    _, first = layers[0]
    flat = ndim == 2 or (type(first) is nn.Flatten and first.start_dim == 1 and first.end_dim == -1)
    return flat and all(type(layer) in (nn.Linear, nn.Flatten, *ELEMENTWISE) for _, layer in layers)


class StackedLandscape(Wrapper[NetworkLandscape]):
    """A fully connected network's landscape: its ``losses`` and their gradients are batched products over the points.

    Anything else is that of the landscape it wraps. Points are taken ``chunk`` at a time, so that activations stay in
    the cache.
    """

    def __init__(self, inner: NetworkLandscape, model: nn.Module, chunk: int = 32) -> None:
        super().__init__(inner)
        self.chunk, self.fits = chunk, Fits(chunk)
        self._forward = stacked_forward(model, inner.layout)

    @torch.no_grad()
    def losses(self, thetas: Tensor) -> Tensor:
        """Return the losses (n,), float64, of the rows of (n, D)."""
        return self.fits.run(lambda size: self._losses(self._points(thetas), size))

    def _losses(self, points: Tensor, size: int) -> Tensor:
        """Return the losses (n,) of points (n, D), so many at once."""
        x, y, found = self.inner.x, self.inner.y, []
        assert isinstance(x, Tensor)  # a dense network takes one
        for rows in points.split(size):
            outputs = self._forward(rows, x.expand(len(rows), *x.shape))
            losses = self.inner.criterion(outputs.flatten(0, 1), y.repeat(len(rows)))
            found.append(losses.double().reshape(len(rows), -1).mean(1))
        return torch.cat(found) if found else torch.empty(0, dtype=torch.float64, device=self.device)

    def losses_and_grads(self, thetas: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses (n,), float64, and the gradients (n, D) at the rows of (n, D), of the points' type."""
        if not len(thetas):
            return super().losses_and_grads(thetas)
        return self.fits.run(lambda size: self._losses_and_grads(self._points(thetas), size))

    def _losses_and_grads(self, thetas: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return losses (n,) and gradients (n, D) of points (n, D), so many at once."""
        x, y = self.inner.x, self.inner.y
        assert isinstance(x, Tensor)
        found, slopes = [], []
        for rows in thetas.split(size):
            points = rows.detach().requires_grad_()
            outputs = self._forward(points, x.expand(len(rows), *x.shape))
            losses = self.inner.criterion(outputs.flatten(0, 1), y.repeat(len(rows)))
            means = losses.double().reshape(len(rows), -1).mean(1)
            slopes.append(torch.autograd.grad(means.sum(), points)[0])
            found.append(means.detach())
        return torch.cat(found), torch.cat(slopes)
