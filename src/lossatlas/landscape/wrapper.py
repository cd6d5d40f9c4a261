"""A landscape that does some of what another one does in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from torch import Tensor

from lossatlas.landscape.landscape import Landscape

Inner = TypeVar("Inner", bound=Landscape)


class Wrapper(Landscape, Generic[Inner]):
    """What a subclass does not define is that of the landscape it wraps, ``inner``."""

    def __init__(self, inner: Inner) -> None:
        self.inner = inner
        self.dim, self.dtype, self.device = inner.dim, inner.dtype, inner.device

    def loss(self, theta: Tensor) -> Tensor:
        """Return L(theta), a float64 scalar."""
        return self.inner.loss(theta)

    def loss_and_grad(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return L(theta), a float64 scalar, and its gradient (D,)."""
        return self.inner.loss_and_grad(theta)

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        """Return the Hessian at theta (D,) times v (D,)."""
        return self.inner.hvp(theta, v)

    def products(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the product with the Hessian at theta (D,), for many vectors (D,)."""
        return self.inner.products(theta)
