"""One step of a sine path between two minima with torch's own optimiser, a loop over the points."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap


class PlainPath:
    """The path of Yu & Morozov's Eq. 3, its coefficients moved by ``torch.optim.Adam`` down their Eq. 4.

    Args:
        model: the network; its weights are written over.
        criterion: outputs, targets -> mean loss.
        x, y: all examples, in one pass.
        first, last: ends (D,).
        terms: sines.
        points: ends included.
        penalty: of squared distances of successive points.
        lr: of Adam.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        first: Tensor,
        last: Tensor,
        terms: int,
        points: int,
        penalty: float,
        lr: float,
    ) -> None:
        self.model, self.criterion, self.x, self.y, self.penalty = model, criterion, x, y, penalty
        self.coefficients = torch.zeros(terms, len(first), dtype=torch.float64, requires_grad=True)
        t = torch.linspace(0, 1, points, dtype=torch.float64)[:, None]
        self.straight = (1 - t) * first.double() + t * last.double()
        self.sines = torch.sin(torch.pi * torch.arange(1, terms + 1) * t)
        self.optimizer = torch.optim.Adam([self.coefficients], lr=lr)

    def gradient(self) -> Tensor:
        """Put the gradient of Eq. 4 where the optimiser looks for it, and return it (terms, D)."""
        self.optimizer.zero_grad()
        path = self.straight + self.sines @ self.coefficients
        slopes = []
        for point in path.detach():
            nn.utils.vector_to_parameters(point.float(), self.model.parameters())
            self.model.zero_grad()
            self.criterion(self.model(self.x), self.y).backward()
            slopes.append(torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None]))
        stretched = self.penalty * path.diff(dim=0).square().sum()
        torch.autograd.backward([path, stretched], [torch.stack(slopes).double(), None])
        assert self.coefficients.grad is not None
        return self.coefficients.grad

    def mapped_gradient(self) -> Tensor:
        """Return the same gradient with the loop over points left to ``torch.func.vmap``, all points at once."""
        self.optimizer.zero_grad()
        path = self.straight + self.sines @ self.coefficients
        names = [name for name, _ in self.model.named_parameters()]
        shapes = [p.shape for p in self.model.parameters()]
        rows = path.detach().float().split([shape.numel() for shape in shapes], 1)
        stacked = {name: row.reshape(-1, *shape) for name, row, shape in zip(names, rows, shapes, strict=True)}

        def mean(parameters: dict[str, Tensor]) -> Tensor:
            return self.criterion(functional_call(self.model, parameters, (self.x,)), self.y)

        slopes = torch.cat([slope.flatten(1) for slope in vmap(grad(mean))(stacked).values()], 1)
        stretched = self.penalty * path.diff(dim=0).square().sum()
        torch.autograd.backward([path, stretched], [slopes.double(), None])
        assert self.coefficients.grad is not None
        return self.coefficients.grad

    def step(self) -> None:
        """Take one step of Adam."""
        self.gradient()
        self.optimizer.step()
