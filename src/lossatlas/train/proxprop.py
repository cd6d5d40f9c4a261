"""ProxProp (Frerix, Moellenhoff, Moeller, Cremers 2018): an implicit step on each linear map in place of a gradient.

With z = theta a the output of a linear map for an example, g the gradient of that example's loss by z, and the mean
over the N examples of a minibatch, the proximal step is

    theta+ = argmin  (1 / 2N) sum |theta a - (z - g)|^2  +  (1 / 2 tau) |theta - theta_k|^2 .

Its solution moves by theta_k - theta+ = G (C + I / tau)^-1, where G = (1/N) sum g a^T is the ordinary gradient and
C = (1/N) sum a a^T. (theta_k - theta+) / tau, which tends to the gradient as tau goes to zero, takes the gradient's
place in a first-order optimiser; the paper's table 1 has Adam. A convolution is a linear map of patches, and its sums
run over positions as well. Biases and batch norm keep their gradients.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def solve(gradient: Tensor, gram: Tensor, tau: float, iterations: int) -> Tensor:
    """Return (theta_k - theta+) / tau by conjugate gradients from zero.

    Args:
        gradient: G, (outputs, inputs).
        gram: C, (inputs, inputs).
        tau: step of the proximal problem.
        iterations: at most; the linear map is exact after as many as there are inputs.

    Returns:
        (outputs, inputs): G (tau C + I)^-1.
    """
    found, rest = torch.zeros_like(gradient), gradient.clone()
    direction, size = rest.clone(), rest.square().sum()
    floor = size * torch.finfo(gradient.dtype).eps ** 2
    for _ in range(iterations):
        going = size > floor
        if size.device.type == "cpu" and not going:  # a GPU is not waited for: it goes on with steps of zero
            break
        image = tau * (direction @ gram) + direction
        step = torch.where(going, size / (direction * image).sum(), 0.0)
        found += step * direction
        rest -= step * image
        size, before = rest.square().sum(), size
        direction = rest + torch.where(going, size / before, 0.0) * direction
    return found


class ProxProp(torch.optim.Adam):
    """Adam on proximal directions.

    :meth:`attach` must be called with the network before the first step: the inputs of its linear maps are needed.
    """

    def __init__(self, parameters: Any, tau: float, iterations: int, **keywords: Any) -> None:
        """Take Adam's own keywords beside ``tau`` and the ``iterations`` of conjugate gradients."""
        super().__init__(parameters, **keywords)
        self.tau, self.iterations = tau, iterations
        self.inputs: dict[nn.Module, Tensor] = {}

    def attach(self, model: nn.Module) -> None:
        """Keep the inputs of linear and convolution layers of every forward pass in train mode."""

        def keep(layer: nn.Module, arguments: tuple[Tensor, ...], _: Tensor) -> None:
            if layer.training and torch.is_grad_enabled():
                self.inputs[layer] = arguments[0].detach()

        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.register_forward_hook(keep)

    def step(self, closure: Callable | None = None) -> Any:
        """Replace the gradients of linear maps by proximal directions, then take a step of Adam."""
        for layer, inputs in self.inputs.items():
            weight = layer.weight
            if isinstance(weight, nn.Parameter) and weight.grad is not None:
                gradient = weight.grad.flatten(1)
                gram = gram_of(layer, inputs).to(gradient.dtype)
                weight.grad = solve(gradient, gram, self.tau, self.iterations).reshape(weight.shape)
        self.inputs.clear()
        return super().step(closure)


def gram_of(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return C, the mean over examples of a a^T, summed over the positions of a convolution."""
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1 or isinstance(layer.padding, str):
            raise TypeError(f"ProxProp: {layer} is no plain convolution")
        patches = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        rows = patches.transpose(1, 2).reshape(-1, patches.shape[1])
    else:
        rows = inputs.reshape(-1, inputs.shape[-1])
    return rows.T @ rows / len(inputs)
