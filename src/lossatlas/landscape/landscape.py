"""The central idea: a function on R^D with its gradient and Hessian-vector product.

A network with its data, criterion and batch-norm policy is one (``NetworkLandscape``); any scalar torch function of a
vector is another (``FunctionLandscape``; :mod:`lossatlas.landscape.analytic` has some with closed-form answers). Probes
take a ``Landscape`` and know nothing of networks.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from lossatlas import numerics
from lossatlas.errors import LossatlasError
from lossatlas.landscape.criteria import Criterion, criterion_function
from lossatlas.landscape.graphs import Graphs, Part
from lossatlas.landscape.inputs import Inputs, arguments, count, each, split
from lossatlas.landscape.layers import quicken
from lossatlas.landscape.layout import Layout
from lossatlas.landscape.memory import Fits
from lossatlas.landscape.twice import by_gradients, twice_differentiable

POLICIES = ("stored", "recompute", "batch")

FEW = 1_000_000
"""Weights whose gradients are put together at once."""


class Landscape(ABC):
    """A function L from R^D to the reals.

    Losses are float64 whatever ``dtype`` is; gradients and Hessian-vector products have ``dtype``. Points may have any
    floating dtype and device, they are converted. A loss that overflows is returned as inf or NaN: what that means is
    for the caller to say.

    Attributes:
        dim: D.
        dtype: in which the function is evaluated.
        device: where it is evaluated.
    """

    dim: int
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def loss(self, theta: Tensor) -> Tensor:
        """Return L(theta), a float64 scalar, for theta (D,)."""

    @abstractmethod
    def loss_and_grad(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return L(theta), a float64 scalar, and its gradient (D,)."""

    @abstractmethod
    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        """Return the Hessian at theta (D,) times v (D,), shape (D,)."""

    def products(self, theta: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the product with the Hessian at theta (D,), which is not changed meanwhile, for many vectors (D,)."""
        return partial(self.hvp, theta)

    def grad(self, theta: Tensor) -> Tensor:
        """Return the gradient (D,) at theta (D,)."""
        return self.loss_and_grad(theta)[1]

    def losses(self, thetas: Tensor) -> Tensor:
        """Return the losses (n,), float64, of the rows of (n, D)."""
        points = self._points(thetas)
        if len(points) == 0:
            return torch.empty(0, dtype=torch.float64, device=self.device)
        return torch.stack([self.loss(theta) for theta in points])

    def losses_and_grads(self, thetas: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses (n,), float64, and the gradients (n, D) at the rows of (n, D).

        One row after the other: on the CPU torch's vectorising map over rows takes 0.5 (fully connected) to 3.7 times
        (recurrent networks) as long, and it keeps the activations of all rows at once (``benchmarks/cases/path.py``).
        """
        points = self._points(thetas)
        losses = torch.empty(len(points), dtype=torch.float64, device=self.device)
        gradients = torch.empty_like(points)
        for i, theta in enumerate(points):
            losses[i], gradients[i] = self.loss_and_grad(theta)
        return losses, gradients

    def _point(self, theta: Tensor, what: str = "point") -> Tensor:
        """Return a detached theta (D,) of the landscape's dtype and device."""
        if tuple(theta.shape) != (self.dim,):
            raise LossatlasError(f"landscape: {what} got shape {tuple(theta.shape)}; expected ({self.dim},)")
        return theta.detach().to(self.device, self.dtype)

    def _points(self, thetas: Tensor) -> Tensor:
        """Return detached points (n, D) of the landscape's dtype and device."""
        if thetas.ndim != 2 or thetas.shape[1] != self.dim:
            raise LossatlasError(f"landscape: points got shape {tuple(thetas.shape)}; expected (n, {self.dim})")
        return thetas.detach().to(self.device, self.dtype)


class FunctionLandscape(Landscape):
    """A scalar torch function of a vector as a landscape.

    Args:
        function: maps a tensor (D,) to a scalar tensor, in differentiable torch operations.
        dim: D.
        dtype: in which the function is evaluated.
        device: where.
        vectorised: whether ``losses`` maps the function over the rows by ``torch.vmap``, 1,024 at a time. Say no where
            vmap cannot follow the function: control flow that depends on values, in-place writes.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        dim: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        vectorised: bool = True,
    ) -> None:
        self.function = function
        self.dim = dim
        self.dtype = dtype
        self.device = torch.device(device)
        self.vectorised = vectorised

    def loss(self, theta: Tensor) -> Tensor:
        """Return L(theta), a float64 scalar, for theta (D,)."""
        with torch.no_grad():
            return self._scalar(self._point(theta)).to(torch.float64)

    def loss_and_grad(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return L(theta), a float64 scalar, and its gradient (D,)."""
        point = self._point(theta).requires_grad_()
        with torch.enable_grad():
            loss = self._scalar(point)
            (gradient,) = _gradients(loss, [point])
        return loss.detach().to(torch.float64), gradient

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        """Return the Hessian at theta (D,) times v (D,), by reverse over reverse differentiation."""
        point, vector = self._point(theta).requires_grad_(), self._point(v, "vector")
        with torch.enable_grad():
            (gradient,) = _gradients(self._scalar(point), [point], create_graph=True)
            return _gradients(gradient @ vector, [point])[0]

    def losses(self, thetas: Tensor) -> Tensor:
        """Return the losses (n,), float64, of the rows of (n, D)."""
        points = self._points(thetas)
        if not self.vectorised or len(points) == 0:
            return super().losses(points)
        with torch.no_grad():
            return torch.vmap(self._scalar, chunk_size=1024)(points).to(torch.float64)

    def losses_and_grads(self, thetas: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses (n,), float64, and the gradients (n, D) at the rows of (n, D)."""
        points = self._points(thetas)
        if not self.vectorised or len(points) == 0:
            return super().losses_and_grads(points)
        gradients, losses = torch.vmap(torch.func.grad_and_value(self._scalar), chunk_size=1024)(points)
        return losses.to(torch.float64), gradients

    def _scalar(self, theta: Tensor) -> Tensor:
        value = self.function(theta)
        if not isinstance(value, Tensor) or value.ndim != 0:
            got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise LossatlasError(f"landscape: the function returned {got}; expected a scalar tensor")
        return value


class NetworkLandscape(Landscape):
    """The mean loss of a network over a data set as a function of its weights, in ``Layout.of(model)`` order.

    The model is copied: the caller's parameters, buffers, ``requires_grad`` and train mode are never touched, and what
    the caller does to them later changes nothing here. The copy is in eval mode, batch norm apart; a model in train
    mode with dropout or the like is refused, and so is one whose outputs differ between two evaluations.

    The weights are held once, as one vector; the copy of the model has the shapes of its parameters only. A gradient
    goes to its place in one vector as soon as it is made, tensor by tensor (``docs/own-network.md``: memory).

    Sums over examples run in chunks of nearly equal size, at most ``batch_size``, and are accumulated in float64; so
    the loss does not depend on the chunks beyond the rounding of the network's own arithmetic. The built-in criteria
    are computed in float64 from the outputs, since a float32 mean of cross entropies is quantised at about 1e-7. A
    chunk that a GPU's memory does not take is evaluated in halves (:class:`~lossatlas.landscape.memory.Fits`).

    Batch norm:

    - ``stored``: running statistics are constants, those of ``buffers`` or the model's own.
    - ``recompute``: running statistics are computed anew at each theta (``recompute_batch_norm``) from ``statistics``
      and are then constants: the gradient and Hessian are those of the loss with the statistics held fixed. They depend
      a little on ``batch_size``, since each chunk is normalised by itself while they are collected.
    - ``batch``: each example is normalised by the statistics of all of x, through which gradients flow. Statistics of
      a part would be another function, so x must fit in one chunk.

    Attention is computed by torch's plain kernel where a Hessian is asked for (fused ones have no second derivative),
    by fused ones elsewhere; never by the inference path of ``nn.TransformerEncoder``, which gives padded places other
    values than training does. Embeddings have dense gradients here, ``sparse=True`` or not.

    Attributes:
        total: what sums over examples are divided by: their number, or the sum of their weights.

    Args:
        model: any module that maps a batch (n, ...) to outputs (n, ...).
        x: inputs (n, ...), ready for the network: floating point and normalised, complex, or integer tokens; a tuple of
            tensors for a network of several arguments, a dict of them for keywords.
        y: targets (n, ...).
        criterion: a name (:data:`lossatlas.landscape.criteria.NAMED`; ``cross_entropy``: y of class indices, ``mse``:
            mean over the outputs of an example), or a callable from outputs and targets to one loss an example, (n,).
            Where it has a method ``weights`` (targets to (n,)), the loss is the mean with these weights.
        batch_norm: ``stored``, ``recompute`` or ``batch``.
        batch_size: most examples in a chunk; 250-500 fits a CPU's cache.
        buffers: for ``stored``: batch-norm statistics, flat (B,) in ``Layout.of_buffers(model)`` order or by name.
        statistics: for ``recompute``: inputs that the statistics are computed from, the training data; x by default.
        dtype: of parameters, buffers and floating data; the model's by default.
        device: where to evaluate; the model's by default.
        output: from what the network returns, and the inputs, to a tensor (n, ...); as it is by default.
        sums: type in which gradients and Hessian products are summed over chunks. Losses are always summed in float64.
        theta: weights (D,) in place of the model's, which may then be on torch's ``meta`` device (``shapes_only``);
            they are not copied where they have the landscape's type.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Inputs,
        y: Tensor,
        criterion: str | Criterion = "cross_entropy",
        batch_norm: str = "stored",
        batch_size: int = 500,
        buffers: Tensor | Mapping[str, Tensor] | None = None,
        statistics: Inputs | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        output: Callable[[Any, Inputs], Any] | None = None,
        sums: torch.dtype = torch.float64,
        theta: Tensor | None = None,
    ) -> None:
        _check_policy(batch_norm, buffers, statistics)
        if batch_size < 1:
            raise LossatlasError(f"landscape: batch_size got {batch_size!r}; expected an integer >= 1")
        if count(x) != len(y) or len(y) == 0:
            raise LossatlasError(f"landscape: got {count(x)} inputs and {len(y)} targets; expected equally many, >= 1")
        _refuse_stochastic(model)
        _refuse_no_function(model)
        self.layout = Layout.of(model)
        self.buffer_layout = Layout.of_buffers(model)
        self.dim = self.layout.dim
        if self.dim == 0:
            raise LossatlasError(f"landscape: {type(model).__name__} has no parameters; expected at least one")
        first = next(model.parameters())
        self.dtype = first.dtype if dtype is None else dtype
        self.device = first.device if device is None else torch.device(device)
        self.batch_size = batch_size
        self.sums = sums
        self.output = output
        self.criterion = criterion_function(criterion)
        self.x, self.y = each(x, self._data), self._data(y)
        self._statistics = self.x if statistics is None else each(statistics, self._data)
        self._weigh()
        self._theta = flat_weights(model, self.dtype, self.device) if theta is None else self._point(theta)
        self._whole = shapes_only(model, self.device, self.dtype)
        self._recurrent = any(isinstance(layer, nn.RNNBase) for layer in self._whole.modules())
        self._attends = any(isinstance(layer, _ATTENTION) for layer in self._whole.modules())
        self._set_policy(batch_norm)
        self._buffers = self._named_buffers(buffers)
        self._fits.run(self._probe_determinism)

    def at_buffers(self, buffers: Tensor | Mapping[str, Tensor]) -> NetworkLandscape:
        """Return the same landscape with other stored batch-norm statistics; data and network are shared."""
        _check_policy(self.batch_norm, buffers)
        other = copy.copy(self)
        other._buffers = self._named_buffers(buffers)
        return other

    def at_state(self, theta: Tensor, buffers: Mapping[str, Tensor]) -> NetworkLandscape:
        """Return the landscape of the same network and data with other weights of its own (D,) and other buffers.

        Unlike ``at_buffers`` it takes every buffer, by name, whatever its type; those not given stay as they are.
        """
        other = copy.copy(self)
        other._theta = self._point(theta)
        other._whole, other._recomputed = copy.deepcopy(self._whole), None
        own = dict(other._whole.named_buffers())
        for name in set(buffers) & set(own):
            own[name].copy_(buffers[name])
        other._set_policy(self.batch_norm)
        other._buffers = other._named_buffers(None)
        return other

    def at_policy(self, batch_norm: str, statistics: Inputs | None = None) -> NetworkLandscape:
        """Return the same landscape with another batch-norm policy.

        ``stored`` takes the statistics that the network has, ``recompute`` those of ``statistics`` (x by default).
        """
        _check_policy(batch_norm, statistics=statistics)
        other = copy.copy(self)
        if statistics is not None:
            other._statistics = each(statistics, self._data)
        other._set_policy(batch_norm)
        other._buffers = other._named_buffers(None)
        return other

    def at_examples(self, rows: Tensor) -> NetworkLandscape:
        """Return the landscape of some of the examples (row numbers (m,)): a minibatch; the network is shared.

        Statistics of batch norm stay what they are: ``stored`` ones, or recomputed from the same ``statistics``.
        """
        if self.batch_norm == "batch":
            raise LossatlasError(
                "landscape: batch_norm 'batch' normalises by all examples; a part of them is another function: "
                "expected 'stored' or 'recompute'"
            )
        other = copy.copy(self)
        rows = rows.to(self.device)
        other.x, other.y = each(self.x, lambda part: part[rows]), self.y[rows]
        if isinstance(other.x, Tensor) and self._images:
            other.x = channels_last(other.x)
        other._weigh()
        return other

    def with_channels_last(self) -> NetworkLandscape:
        """Return the landscape with its images' channels last in memory, where a CPU is faster so; else itself.

        A network may not take them (``view`` asks for another order), which is tried on two images; losses are equal to
        rounding, so none has them under portable numerics.
        """
        x = self.x
        if not isinstance(x, Tensor) or x.ndim != 4 or self.device.type != "cpu" or numerics.portable():
            return self
        if x.shape[1] == 1 or x.is_contiguous(memory_format=torch.channels_last):
            return self
        other = copy.copy(self)
        other.x = channels_last(x)
        other._statistics = other.x if self._statistics is x else self._statistics
        try:
            with torch.no_grad():
                before, after = (
                    one._evaluate({**one._parameters(self._theta), **self._buffers}, next(split(one.x, 2)))
                    for one in (self, other)
                )
        except RuntimeError:
            return self
        return other if torch.allclose(before, after, rtol=1e-3, atol=1e-4, equal_nan=True) else self

    def theta(self) -> Tensor:
        """Return the weights (D,) that the model had when the landscape was made."""
        return self._theta.clone()

    def outputs(self, theta: Tensor) -> Tensor:
        """Return the network's outputs (n, ...) for all of x at theta (D,), for accuracies and the like."""
        point = self._point(theta)
        tensors = {**self._parameters(point), **self._buffers_at(point)}

        def evaluated(size: int) -> Tensor:
            chunks = split(self.x, self.batch_size)
            return torch.cat([self._evaluate(tensors, x) for chunk in chunks for x in _pieces(chunk, size)])

        with torch.no_grad():
            return self._fits.run(evaluated)

    def loss(self, theta: Tensor) -> Tensor:
        """Return the mean loss at theta (D,), a float64 scalar."""
        point = self._point(theta)
        tensors = {**self._parameters(point), **self._buffers_at(point)}

        def summed(size: int) -> Tensor:
            total = torch.zeros((), dtype=torch.float64, device=self.device)
            for x, y, weights in self.chunks(self.batch_size):
                pieces = zip(_pieces(x, size), _pieces(y, size), strict=True)
                total += _total(_joined([self._losses(tensors, *piece) for piece in pieces]), weights)
            return total

        with torch.no_grad():
            return self._fits.run(summed) / self.total

    def loss_and_grad(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss at theta (D,), a float64 scalar, and its gradient (D,)."""
        point = self._point(theta)
        buffers = self._buffers_at(point)
        total, gradient = self._fits.run(lambda size: self._summed_with_gradient(point, buffers, size))
        return total / self.total, gradient.div_(self.total).to(self.dtype)

    def _summed_with_gradient(self, point: Tensor, buffers: dict[str, Tensor], size: int) -> tuple[Tensor, Tensor]:
        """Return the sum of the losses, and its gradient, taking at most ``size`` examples at once."""
        parameters, leaves = self._leaves(point)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        gradient = self._blank(size)
        for chunk in self.chunks(self.batch_size):
            found = []
            for x, y, weights in _parts(chunk, size):
                with torch.enable_grad():
                    losses = self._losses({**parameters, **buffers}, x, y)
                    loss = _total(losses, weights)
                    _add_gradients([loss], leaves, gradient)
                found.append(losses.detach())
            total += loss.detach() if len(found) == 1 else _total(_joined(found), chunk[2])
        return total, gradient

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        """Return the Hessian of the mean loss at theta (D,) times v (D,).

        By reverse over reverse differentiation, which covers more layers than forward over reverse (recurrent ones)
        and is as fast or faster for the networks here.
        """
        return self.products(theta, keep=0)(v)

    def products(self, theta: Tensor, keep: int | None = None) -> Callable[[Tensor], Tensor]:
        """Return the product with the Hessian at theta (D,), to the bit that of :meth:`hvp`, for many vectors (D,).

        From the first product on the graphs of the gradients of as many chunks are kept as hold at most ``keep`` bytes,
        the weights' and the data's included; by default a share of the memory that is free. Each further one then takes
        no forward pass and no gradient of theirs.
        """
        point = self._point(theta)
        buffers, graphs = self._buffers_at(point), Graphs(self.device, keep)

        def multiplied(vectors: list[Tensor], size: int) -> Tensor:
            product = self._blank(size)
            made = partial(self._gradients_of, point, buffers, size, graphs)
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), graphs.given_up():
                for part in graphs.of(size, made):
                    _add_gradients(part.gradients, part.leaves, product, vectors, part.kept)
            return product

        def times(v: Tensor) -> Tensor:
            vectors = list(self.layout.unflatten(self._point(v, "vector")).values())
            product = graphs.run(lambda: self._fits.run(partial(multiplied, vectors)))
            return product.div_(self.total).to(self.dtype)

        return times

    def _gradients_of(
        self, point: Tensor, buffers: dict[str, Tensor], size: int, graphs: Graphs, first: int
    ) -> Iterator[Part]:
        """Yield the gradients of each part of the loss from one on, with their graphs and the leaves they depend on."""
        ordered = self._images and not by_gradients(self.device)
        parameters, leaves = self._leaves(point, ordered)
        pieces = (piece for chunk in self.chunks(self.batch_size) for piece in _parts(chunk, size))
        for images, y, weights in islice(pieces, first, None):
            x = images.contiguous() if self._images and not ordered and isinstance(images, Tensor) else images

            def made(x: Inputs = x, y: Tensor = y, weights: Tensor | None = weights) -> tuple[Any, list[Tensor]]:
                with twice_differentiable(self.device):
                    total = _total(self._losses({**parameters, **buffers}, x, y), weights)
                return _gradients(total, leaves, create_graph=True), leaves

            yield graphs.weighed(made)

    @property
    def module(self) -> nn.Module:
        """The network that is evaluated: its layers; its parameters have shapes only."""
        return self._model

    @property
    def weighs_alike(self) -> bool:
        """Whether the loss is the plain mean over the examples."""
        return self._weights is None or bool((self._weights == 1.0).all())

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield inputs, targets and weights of all examples, in chunks of nearly equal size, at most ``size``."""
        ys = list(split(self.y, size))
        weights = [None] * len(ys) if self._weights is None else list(split(self._weights, size))
        return zip(split(self.x, size), ys, weights, strict=True)

    @property
    def _images(self) -> bool:
        """Whether the inputs are images with the channels last in memory."""
        x = self.x
        return isinstance(x, Tensor) and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)

    def _blank(self, size: int) -> Tensor:
        """Return zeros (D,) to sum gradients in; one chunk has no sum to keep exact."""
        single = len(self.y) <= size
        return torch.zeros(self.dim, dtype=self.dtype if single else self.sums, device=self.device)

    def _weigh(self) -> None:
        """Take each example's weight from the criterion, one where it has none, and their sum."""
        weights = getattr(self.criterion, "weights", None)
        self._weights: Tensor | None = None if weights is None else weights(self.y).to(torch.float64)
        self.total: float = len(self.y) if self._weights is None else float(self._weights.sum())
        if not self.total > 0:
            raise LossatlasError(
                f"landscape: no target of {len(self.y)} examples counts (all ignored); expected at least one"
            )

    def _set_policy(self, batch_norm: str) -> None:
        """Take a batch-norm policy: the module that is evaluated follows from it."""
        if batch_norm == "batch" and len(self.y) > self.batch_size:
            raise LossatlasError(
                f"landscape: batch_norm 'batch' got {len(self.y)} examples and batch_size {self.batch_size}; "
                "statistics of a part are another function: "
                f"expected batch_size >= {len(self.y)}, or 'stored' or 'recompute'"
            )
        self.batch_norm = batch_norm
        whole = "batch norm takes its statistics from all of them" if batch_norm == "batch" else ""
        self._fits = Fits(self.batch_size, whole)
        self._recomputed: tuple[Tensor, dict[str, Tensor]] | None = None
        self._model = copy.deepcopy(self._whole)
        quicken(self._model)
        if batch_norm == "batch":
            _use_batch_statistics(self._model)
        else:
            _refuse_untracked(self._model)

    def _evaluate(self, tensors: dict[str, Tensor], x: Inputs) -> Any:
        """Return the network's outputs for a chunk, with these parameters and buffers."""
        with ExitStack() as stack:
            if self._recurrent:
                stack.enter_context(_without_cudnn())
            if self._attends:
                stack.enter_context(_without_fast_path())
            found = functional_call(self._model, tensors, *arguments(x))
        return found if self.output is None else self.output(found, x)

    def _losses(self, tensors: dict[str, Tensor], x: Inputs, y: Tensor) -> Tensor:
        """Return the loss of each example, (n,) float64, with these parameters and buffers."""
        outputs = self._evaluate(tensors, x)
        losses = self.criterion(outputs, y)
        if tuple(losses.shape) != (len(y),):
            raise LossatlasError(
                f"landscape: the criterion returned shape {tuple(losses.shape)}; expected one loss an example, "
                f"({len(y)},): use reduction='none'"
            )
        return losses.to(torch.float64)

    def _leaves(self, point: Tensor, ordered: bool | None = None) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the parameters at a point as leaves of a graph, by name and as a list."""
        parameters = {name: t.detach().requires_grad_() for name, t in self._parameters(point, ordered).items()}
        return parameters, list(parameters.values())

    def _parameters(self, point: Tensor, ordered: bool | None = None) -> dict[str, Tensor]:
        """Return the parameters at a point; filters of images that are channels_last in memory are so too.

        Pooling and element-wise layers are then twice as fast on the CPU.
        """
        tensors = self.layout.unflatten(point)
        if not (self._images if ordered is None else ordered):
            return tensors
        return {name: channels_last(t) if t.ndim == 4 else t for name, t in tensors.items()}

    def _buffers_at(self, point: Tensor) -> dict[str, Tensor]:
        """Return the buffers that hold at a point; recomputed ones are kept for further calls at the same point."""
        if self.batch_norm != "recompute":
            return self._buffers
        if self._recomputed is None or not torch.equal(self._recomputed[0], point):
            tensors = self.layout.unflatten(point)
            recompute_batch_norm(
                self._model, self._statistics, self.batch_size, lambda chunk: self._evaluate(tensors, chunk)
            )
            self._recomputed = (point.clone(), self._named_buffers(None))
        return self._recomputed[1]

    def _named_buffers(self, buffers: Tensor | Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Return buffers by name in the landscape's dtype: those given, the model's where there are none."""
        result = {name: buffer.detach().clone() for name, buffer in self._model.named_buffers()}
        if buffers is not None:
            flat = buffers if isinstance(buffers, Tensor) else self.buffer_layout.flatten(buffers)
            result.update(self.buffer_layout.unflatten(flat.detach().to(self.device, self.dtype, copy=True)))
        return result

    def _data(self, tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.uint8:
            raise LossatlasError(
                "landscape: data got torch.uint8; expected normalised floating-point inputs, class indices or tokens"
            )
        tensor = tensor.detach().to(self.device)
        if tensor.is_complex():
            return tensor.to(torch.complex128 if self.dtype == torch.float64 else torch.complex64)
        if not tensor.is_floating_point():
            return tensor
        tensor = tensor.to(self.dtype)
        ordered = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        return channels_last(tensor) if ordered else tensor

    def _probe_determinism(self, size: int) -> None:
        """Refuse a network whose outputs differ between two evaluations of the same chunk."""
        x = next(_pieces(next(split(self.x, self.batch_size)), size))
        tensors = {**self.layout.unflatten(self._theta), **self._buffers}
        with torch.no_grad():
            a, b = (self._evaluate(tensors, x) for _ in range(2))
        if not isinstance(a, Tensor) or a.ndim == 0 or len(a) != count(x):
            got = f"shape {tuple(a.shape)}" if isinstance(a, Tensor) else type(a).__name__
            raise LossatlasError(
                f"landscape: the network returned {got} for {count(x)} examples; expected ({count(x)}, ...)"
            )
        tolerance = 100 * torch.finfo(self.dtype).eps
        largest = float(a.abs().nan_to_num(0.0, 0.0).max())
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance * largest, equal_nan=True):
            raise LossatlasError(
                f"landscape: {type(self._model).__name__} is not deterministic: two evaluations of the same inputs "
                f"differ by {float((a - b).abs().max()):.3g}; remove the random layer or make it follow model.eval()"
            )


Chunk = tuple[Inputs, Tensor, Tensor | None]
"""Inputs, targets and weights of some examples."""


def _pieces(x: Any, size: int) -> Iterator[Any]:
    """Yield a chunk, or parts of it of at most ``size`` examples."""
    return iter([x]) if count(x) <= size else split(x, size)


def _parts(chunk: Chunk, size: int) -> Iterator[Chunk]:
    """Yield a chunk, or parts of it of at most ``size`` examples."""
    x, y, weights = chunk
    if len(y) <= size:
        yield chunk
        return
    ys = list(split(y, size))
    yield from zip(split(x, size), ys, [None] * len(ys) if weights is None else split(weights, size), strict=True)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _total(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the sum of losses (n,), each times its weight."""
    return losses.sum() if weights is None else losses @ weights


def channels_last(images: Tensor) -> Tensor:
    """Return a copy of images or filters (n, C, H, W) with the channels last in memory.

    ``contiguous`` would leave those of one channel as they are: they are in order either way, but only the strides of
    this order lead torch to the faster kernels.
    """
    return images.clone(memory_format=torch.channels_last)


def shapes_only(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a copy of a model in eval mode whose parameters have shapes but no numbers: they are given when called.

    Buffers are copied, floating ones in ``dtype``.
    """
    known: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta", dtype=dtype), p.requires_grad)
        for p in model.parameters()
    }
    for module in model.modules():  # what a hook computes from parameters (weight norm) and puts beside them
        known |= {id(t): t.detach() for t in vars(module).values() if isinstance(t, Tensor) and t.grad_fn is not None}
    try:
        result = copy.deepcopy(model, known).eval()
    except Exception as error:
        raise LossatlasError(
            f"landscape: {type(model).__name__} cannot be copied ({type(error).__name__}: {error}); expected a module "
            "that copy.deepcopy takes"
        ) from error
    precise = torch.complex128 if dtype == torch.float64 else torch.complex64
    for module in result.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                kind = dtype if buffer.is_floating_point() else precise if buffer.is_complex() else buffer.dtype
                module._buffers[name] = buffer.to(device, kind)
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.sparse = False
    return result


def flat_weights(model: nn.Module, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a model's weights (D,) in a type, in ``Layout.of(model)`` order; no other copy is made."""
    parameters = list(model.parameters())
    theta = torch.empty(sum(p.numel() for p in parameters), dtype=dtype, device=device)
    for place, parameter in zip(theta.split([p.numel() for p in parameters]), parameters, strict=True):
        place.copy_(parameter.detach().reshape(-1))
    return theta


def recompute_batch_norm(
    module: nn.Module, x: Inputs, batch_size: int = 500, evaluate: Callable[[Any], Any] | None = None
) -> None:
    """Set a module's batch-norm running statistics, in place, to their average over the chunks of x.

    The average is cumulative and weighted by chunk size; nothing is left of the old statistics, which may be NaN. The
    chunks are in order and of nearly equal size, at most ``batch_size``, so the result is deterministic. Only the
    normalisation layers are in train mode meanwhile (dropout stays off); modes and momenta are put back. A module
    without running statistics is left as it is.

    Args:
        module: a network that the caller owns.
        x: inputs (n, ...), normalised as for training and not augmented.
        batch_size: most examples in a chunk.
        evaluate: the module's forward pass of a chunk, where its parameters are not its own.
    """
    layers = [m for m in module.modules() if _tracks(m)]
    if not layers:
        return
    modes = [(m, m.training) for m in module.modules()]
    momenta = [layer.momentum for layer in layers]
    try:
        module.eval()
        for layer in layers:
            layer.train()
            layer.reset_running_stats()
        seen = 0
        with torch.no_grad():
            for chunk in split(x, batch_size):
                seen += count(chunk)
                for layer in layers:
                    layer.momentum = count(chunk) / seen
                if evaluate is not None:
                    evaluate(chunk)
                else:
                    positional, named = arguments(chunk)
                    module(*positional, **named)
    finally:
        for child, mode in modes:
            child.training = mode
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _gradients(value: Tensor, leaves: list[Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
    """Return the gradients of a scalar, zeros where it does not depend on a leaf."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(value, leaves, create_graph=create_graph, materialize_grads=True)


def _add_gradients(
    values: Sequence[Tensor],
    leaves: list[Tensor],
    total: Tensor,
    vectors: Sequence[Tensor] | None = None,
    kept: bool = False,
) -> None:
    """Add the gradients of values with respect to leaves to a vector (D,).

    Of many weights each leaf's gradient as soon as it is made, so that one is held beside the vector; of few all at
    once, since a call from C++ back to Python for each costs as much as a small network.

    Args:
        values: scalars; or tensors of any shape, each multiplied by its vector.
        leaves: tensors without gradient, whose elements in order are those of ``total``.
        total: (D,), changed in place.
        vectors: of the values' shapes.
        kept: whether the graph is, for other vectors.
    """
    chosen = [i for i, value in enumerate(values) if value.requires_grad]
    if not chosen:
        return
    asked, given = [values[i] for i in chosen], None if vectors is None else [vectors[i] for i in chosen]
    if total.numel() <= FEW:
        parts = torch.autograd.grad(asked, leaves, given, retain_graph=kept, materialize_grads=True)
        total.add_(torch.cat([part.reshape(-1) for part in parts]))
        return
    places = total.split([leaf.numel() for leaf in leaves])

    def collect(place: Tensor) -> Callable[[Tensor], None]:
        def add(leaf: Tensor) -> None:
            if leaf.grad is not None:
                place.add_(leaf.grad.reshape(-1))
                leaf.grad = None

        return add

    hooks = [
        leaf.register_post_accumulate_grad_hook(collect(place)) for leaf, place in zip(leaves, places, strict=True)
    ]
    try:
        torch.autograd.backward(asked, given, retain_graph=kept, inputs=leaves)
    finally:
        for hook in hooks:
            hook.remove()


_ATTENTION = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
"""Layers with a fast path of their own for inference."""


def _check_policy(batch_norm: str, buffers: object = None, statistics: object = None) -> None:
    """Refuse an unknown batch-norm policy, and what a policy would ignore."""
    if batch_norm not in POLICIES:
        raise LossatlasError(f"landscape: batch_norm got {batch_norm!r}; expected one of {list(POLICIES)!r}")
    if buffers is not None and batch_norm != "stored":
        raise LossatlasError(
            f"landscape: got buffers with batch_norm {batch_norm!r}, which ignores them; expected 'stored'"
        )
    if statistics is not None and batch_norm != "recompute":
        raise LossatlasError(
            f"landscape: got statistics with batch_norm {batch_norm!r}, which ignores them; expected 'recompute'"
        )


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Evaluate transformer layers as in training, apart from dropout: the fast path's rounding and padding differ."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _refuse_no_function(model: nn.Module) -> None:
    """Refuse networks whose loss is no function of real weights: lazy or complex ones, embeddings that rescale."""
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise LossatlasError(
                f"landscape: {name!r} has no shape yet (a lazy layer); evaluate the model once on a batch before"
            )
        if parameter.is_complex():
            raise LossatlasError(
                f"landscape: {name!r} is complex; expected real parameters: keep real and imaginary part as two, or "
                "torch.view_as_real of one"
            )
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.max_norm is not None:
            raise LossatlasError(
                f"landscape: {name!r} (max_norm={layer.max_norm}) rescales its own weights when it is evaluated, so "
                "the loss at given weights is not defined; set max_norm = None"
            )


def _tracks(module: nn.Module) -> TypeGuard[nn.modules.batchnorm._NormBase]:
    """Return whether a layer normalises by running statistics in eval mode."""
    return isinstance(module, nn.modules.batchnorm._NormBase) and module.running_mean is not None


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """Evaluate recurrent layers by torch's own kernels: cuDNN's have no backward in eval mode, and no second one."""
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled


def _use_batch_statistics(model: nn.Module) -> None:
    """Make batch-norm layers normalise by the batch in eval mode too, and forget their running statistics."""
    for layer in model.modules():
        if _tracks(layer):
            layer.track_running_stats = False
            layer.running_mean = layer.running_var = layer.num_batches_tracked = None


def _refuse_untracked(model: nn.Module) -> None:
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
            raise LossatlasError(
                f"landscape: {name!r} ({type(layer).__name__}) has track_running_stats=False and normalises by the "
                "batch in eval mode too; use batch_norm 'batch'"
            )


def _refuse_stochastic(model: nn.Module) -> None:
    """Refuse layers that would draw random numbers in the caller's mode: eval mode is then the caller's to choose."""
    for name, layer in model.named_modules():
        if not layer.training:
            continue
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            random = layer.p > 0
        elif isinstance(layer, nn.RNNBase | nn.MultiheadAttention):
            random = layer.dropout > 0
        else:
            random = isinstance(layer, nn.RReLU) and layer.lower < layer.upper
        if random:
            raise LossatlasError(
                f"landscape: {name!r} ({type(layer).__name__}) is random in train mode; expected a deterministic "
                "function: call model.eval() to evaluate without it"
            )
