"""Retrainings one after the other: plain torch in float32, images in torch's own order (NCHW)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@torch.no_grad()
def loss_and_accuracy(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the mean loss and the accuracy in eval mode."""
    outputs = model.eval()(x)
    return F.cross_entropy(outputs, y).item(), (outputs.argmax(1) == y).float().mean().item()


def retrained(
    model: nn.Module,
    start: Tensor,
    orders: Iterable[Tensor],
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    lr: float,
    momentum: float,
    batch: int,
) -> list[Tensor]:
    """Return the weights (D,) after every epoch; each is evaluated on both parts, as a record of it would say.

    Args:
        model: written over; its buffers are those to begin with.
        start: weights (D,).
        orders: of the training examples in each epoch.
        data: training inputs and classes, test inputs and classes.
        lr, momentum: of SGD.
        batch: size of a minibatch.
    """
    x, y, test_x, test_y = data
    nn.utils.vector_to_parameters(start.clone(), model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
    ends = []
    for order in orders:
        model.train()
        for rows in order.split(batch):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        loss_and_accuracy(model, x, y), loss_and_accuracy(model, test_x, test_y)
        ends.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    return ends
