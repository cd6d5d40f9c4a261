"""The central idea: a function on R^D with its gradient and Hessian-vector product.

A network with its data, criterion and batch-norm policy is one (``NetworkLandscape``); any scalar torch function of a
vector is another (``FunctionLandscape``; :mod:`lossatlas.landscape.analytic` has some with closed-form answers). Probes
take a ``Landscape`` and know nothing of networks.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from math import ceil
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout

Criterion = Callable[[Tensor, Tensor], Tensor]

POLICIES = ("stored", "recompute", "batch")


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
        (recurrent networks) as long, and it keeps the activations of all rows at once (``benchmarks/path.py``).
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

    Sums over examples run in chunks of nearly equal size, at most ``batch_size``, and are accumulated in float64; so
    the loss does not depend on the chunks beyond the rounding of the network's own arithmetic. The built-in criteria
    are computed in float64 from the outputs, since a float32 mean of cross entropies is quantised at about 1e-7.

    Batch norm:

    - ``stored``: running statistics are constants, those of ``buffers`` or the model's own.
    - ``recompute``: running statistics are computed anew at each theta (``recompute_batch_norm``) from ``statistics``
      and are then constants: the gradient and Hessian are those of the loss with the statistics held fixed. They depend
      a little on ``batch_size``, since each chunk is normalised by itself while they are collected.
    - ``batch``: each example is normalised by the statistics of all of x, through which gradients flow. Statistics of
      a part would be another function, so x must fit in one chunk.

    Args:
        model: any module that maps a batch (n, ...) to outputs (n, ...).
        x: inputs (n, ...), ready for the network: floating point and normalised, or integer tokens.
        y: targets (n, ...).
        criterion: ``cross_entropy`` (y of class indices), ``mse`` (mean over the outputs of an example), or a callable
            from outputs and targets to one loss an example, (n,).
        batch_norm: ``stored``, ``recompute`` or ``batch``.
        batch_size: most examples in a chunk; 250-500 fits a CPU's cache.
        buffers: for ``stored``: batch-norm statistics, flat (B,) in ``Layout.of_buffers(model)`` order or by name.
        statistics: for ``recompute``: inputs that the statistics are computed from, the training data; x by default.
        dtype: of parameters, buffers and floating data; the model's by default.
        device: where to evaluate; the model's by default.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        criterion: str | Criterion = "cross_entropy",
        batch_norm: str = "stored",
        batch_size: int = 500,
        buffers: Tensor | Mapping[str, Tensor] | None = None,
        statistics: Tensor | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if batch_norm not in POLICIES:
            raise LossatlasError(f"landscape: batch_norm got {batch_norm!r}; expected one of {list(POLICIES)!r}")
        if batch_size < 1:
            raise LossatlasError(f"landscape: batch_size got {batch_size!r}; expected an integer >= 1")
        if len(x) != len(y) or len(x) == 0:
            raise LossatlasError(f"landscape: got {len(x)} inputs and {len(y)} targets; expected equally many, >= 1")
        if batch_norm == "batch" and len(x) > batch_size:
            raise LossatlasError(
                f"landscape: batch_norm 'batch' got {len(x)} examples and batch_size {batch_size}; statistics of a "
                f"part are another function: expected batch_size >= {len(x)}, or 'stored' or 'recompute'"
            )
        if buffers is not None and batch_norm != "stored":
            raise LossatlasError(
                f"landscape: got buffers with batch_norm {batch_norm!r}, which ignores them; expected 'stored'"
            )
        if statistics is not None and batch_norm != "recompute":
            raise LossatlasError(
                f"landscape: got statistics with batch_norm {batch_norm!r}, which ignores them; expected 'recompute'"
            )
        _refuse_stochastic(model)
        self.layout = Layout.of(model)
        self.buffer_layout = Layout.of_buffers(model)
        self.dim = self.layout.dim
        if self.dim == 0:
            raise LossatlasError(f"landscape: {type(model).__name__} has no parameters; expected at least one")
        first = next(model.parameters())
        self.dtype = first.dtype if dtype is None else dtype
        self.device = first.device if device is None else torch.device(device)
        self.batch_norm = batch_norm
        self.batch_size = batch_size
        self.criterion = criterion_function(criterion)
        self.x, self.y = self._data(x), self._data(y)
        self._statistics = self.x if statistics is None else self._data(statistics)
        self._model = copy.deepcopy(model).to(self.device, self.dtype).eval()
        self._recurrent = any(isinstance(layer, nn.RNNBase) for layer in self._model.modules())
        if batch_norm == "batch":
            _use_batch_statistics(self._model)
        else:
            _refuse_untracked(self._model)
        self._buffers = self._named_buffers(buffers)
        self._recomputed: tuple[Tensor, dict[str, Tensor]] | None = None
        self._probe_determinism()

    def at_buffers(self, buffers: Tensor | Mapping[str, Tensor]) -> NetworkLandscape:
        """Return the same landscape with other stored batch-norm statistics; data and network are shared."""
        if self.batch_norm != "stored":
            raise LossatlasError(
                f"landscape: got buffers with batch_norm {self.batch_norm!r}, which ignores them; expected 'stored'"
            )
        other = copy.copy(self)
        other._buffers = self._named_buffers(buffers)
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
        other.x, other.y = self.x[rows], self.y[rows]
        if self.x.ndim == 4 and self.x.is_contiguous(memory_format=torch.channels_last):
            other.x = channels_last(other.x)
        return other

    def theta(self) -> Tensor:
        """Return the weights (D,) that the model had when the landscape was made."""
        return self._theta.clone()

    def outputs(self, theta: Tensor) -> Tensor:
        """Return the network's outputs (n, ...) for all of x at theta (D,), for accuracies and the like."""
        point = self._point(theta)
        tensors = {**self._parameters(point), **self._buffers_at(point)}
        with torch.no_grad():
            return torch.cat([self._evaluate(tensors, x) for x, _ in self._chunks()])

    def loss(self, theta: Tensor) -> Tensor:
        """Return the mean loss at theta (D,), a float64 scalar."""
        point = self._point(theta)
        parameters, buffers = self._parameters(point), self._buffers_at(point)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with torch.no_grad():
            for x, y in self._chunks():
                total += self._sum(parameters, buffers, x, y)
        return total / len(self.x)

    def loss_and_grad(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss at theta (D,), a float64 scalar, and its gradient (D,)."""
        point = self._point(theta)
        buffers = self._buffers_at(point)
        parameters, leaves = self._leaves(point)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        gradient = torch.zeros(self.dim, dtype=torch.float64, device=self.device)
        for x, y in self._chunks():
            with torch.enable_grad():
                loss = self._sum(parameters, buffers, x, y)
                parts = _gradients(loss, leaves)
            total += loss.detach()
            if len(self.x) <= self.batch_size:  # one chunk: no sum to keep exact
                return total / len(self.x), torch.cat([part.reshape(-1) for part in parts]).div_(len(self.x))
            gradient += _flat(parts)
        return total / len(self.x), (gradient / len(self.x)).to(self.dtype)

    def hvp(self, theta: Tensor, v: Tensor) -> Tensor:
        """Return the Hessian of the mean loss at theta (D,) times v (D,).

        By reverse over reverse differentiation, which covers more layers than forward over reverse (recurrent ones)
        and is as fast or faster for the networks here.
        """
        point = self._point(theta)
        buffers = self._buffers_at(point)
        parameters, leaves = self._leaves(point)
        vectors = list(self.layout.unflatten(self._point(v, "vector")).values())
        product = torch.zeros(self.dim, dtype=torch.float64, device=self.device)
        for x, y in self._chunks():
            with torch.enable_grad():
                first = _gradients(self._sum(parameters, buffers, x, y), leaves, create_graph=True)
                slope = torch.stack([(g * u).sum() for g, u in zip(first, vectors, strict=True)]).sum()
                product += _flat(_gradients(slope, leaves))
        return (product / len(self.x)).to(self.dtype)

    def _evaluate(self, tensors: dict[str, Tensor], x: Tensor) -> Tensor:
        """Return the network's outputs for a chunk, with these parameters and buffers."""
        with _without_cudnn() if self._recurrent else nullcontext():
            return functional_call(self._model, tensors, (x,))

    def _sum(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of the losses of a chunk, float64."""
        outputs = self._evaluate({**parameters, **buffers}, x)
        losses = self.criterion(outputs, y)
        if tuple(losses.shape) != (len(x),):
            raise LossatlasError(
                f"landscape: the criterion returned shape {tuple(losses.shape)}; expected one loss an example, "
                f"({len(x)},): use reduction='none'"
            )
        return losses.to(torch.float64).sum()

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(_split(self.x, self.batch_size), _split(self.y, self.batch_size), strict=True)

    def _leaves(self, point: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the parameters at a point as leaves of a graph, by name and as a list."""
        parameters = {name: t.detach().requires_grad_() for name, t in self._parameters(point).items()}
        return parameters, list(parameters.values())

    def _parameters(self, point: Tensor) -> dict[str, Tensor]:
        """Return the parameters at a point; filters of images that are channels_last in memory are so too.

        Pooling and element-wise layers are then twice as fast on the CPU.
        """
        tensors = self.layout.unflatten(point)
        if self.x.ndim != 4 or not self.x.is_contiguous(memory_format=torch.channels_last):
            return tensors
        return {name: channels_last(t) if t.ndim == 4 else t for name, t in tensors.items()}

    def _buffers_at(self, point: Tensor) -> dict[str, Tensor]:
        """Return the buffers that hold at a point; recomputed ones are kept for further calls at the same point."""
        if self.batch_norm != "recompute":
            return self._buffers
        if self._recomputed is None or not torch.equal(self._recomputed[0], point):
            self.layout.load_into(self._model, point)
            recompute_batch_norm(self._model, self._statistics, self.batch_size)
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
        if not tensor.is_floating_point():
            return tensor
        tensor = tensor.to(self.dtype)
        ordered = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        return channels_last(tensor) if ordered else tensor

    def _probe_determinism(self) -> None:
        """Refuse a network whose outputs differ between two evaluations of the same chunk."""
        self._theta = self.layout.flatten(self._model).to(self.dtype)
        x = next(_split(self.x, self.batch_size))
        tensors = {**self.layout.unflatten(self._theta), **self._buffers}
        with torch.no_grad():
            a, b = (self._evaluate(tensors, x) for _ in range(2))
        if not isinstance(a, Tensor) or a.ndim == 0 or len(a) != len(x):
            got = f"shape {tuple(a.shape)}" if isinstance(a, Tensor) else type(a).__name__
            raise LossatlasError(
                f"landscape: the network returned {got} for {len(x)} examples; expected ({len(x)}, ...)"
            )
        tolerance = 100 * torch.finfo(self.dtype).eps
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance * float(a.abs().max()), equal_nan=True):
            raise LossatlasError(
                f"landscape: {type(self._model).__name__} is not deterministic: two evaluations of the same inputs "
                f"differ by {float((a - b).abs().max()):.3g}; remove the random layer or make it follow model.eval()"
            )


def channels_last(images: Tensor) -> Tensor:
    """Return a copy of images or filters (n, C, H, W) with the channels last in memory.

    ``contiguous`` would leave those of one channel as they are: they are in order either way, but only the strides of
    this order lead torch to the faster kernels.
    """
    return images.clone(memory_format=torch.channels_last)


def criterion_function(criterion: str | Criterion) -> Criterion:
    """Return the criterion by name, or the callable itself: outputs and targets to one loss an example, (n,)."""
    if callable(criterion):
        return criterion
    known = {"cross_entropy": _cross_entropy, "mse": _mse}
    if criterion not in known:
        raise LossatlasError(f"landscape: criterion got {criterion!r}; expected one of {sorted(known)!r} or a callable")
    return known[criterion]


CONFIDENT = 1e-8
"""Cross entropy below which log(1 + the sum of the others' odds) takes its place: 1 - p is a multiple of 1e-16."""


def cross_entropies(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy of each target, of targets' shape, in float64 whatever the outputs' type.

    Eight digits of it hold also where a network is so sure that 1 - p is below 1e-16: such losses are recorded and, by
    line searches, compared. The gradient is torch's own, to 1e-16.

    Args:
        outputs: logits, (n, C) or (n, C, ...).
        targets: class indices, (n,) or (n, ...).
    """
    outputs = outputs.double()
    losses = nn.functional.cross_entropy(outputs, targets, reduction="none")
    with torch.no_grad():
        if losses.numel() == 0 or losses.amin() >= CONFIDENT:
            return losses
        right = targets.unsqueeze(1)
        odds = (outputs - outputs.gather(1, right)).exp_().scatter_(1, right, 0.0)
        exact = torch.where(losses < CONFIDENT, odds.sum(1).log1p_(), losses)
    if not losses.requires_grad:
        return exact
    return losses + (exact - losses.detach())  # the difference of near numbers is exact, and so is this sum


def recompute_batch_norm(module: nn.Module, x: Tensor, batch_size: int = 500) -> None:
    """Set a module's batch-norm running statistics, in place, to their average over the chunks of x.

    The average is cumulative and weighted by chunk size; nothing is left of the old statistics, which may be NaN. The
    chunks are in order and of nearly equal size, at most ``batch_size``, so the result is deterministic. Only the
    normalisation layers are in train mode meanwhile (dropout stays off); modes and momenta are put back. A module
    without running statistics is left as it is.

    Args:
        module: a network that the caller owns.
        x: inputs (n, ...), normalised as for training and not augmented.
        batch_size: most examples in a chunk.
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
            for chunk in _split(x, batch_size):
                seen += len(chunk)
                for layer in layers:
                    layer.momentum = len(chunk) / seen
                module(chunk)
    finally:
        for child, mode in modes:
            child.training = mode
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Softmax cross entropy in float64; outputs (n, C) or (n, C, ...), class indices (n,) or (n, ...)."""
    expected = (len(outputs), *outputs.shape[2:])
    if outputs.ndim < 2 or tuple(targets.shape) != expected or targets.is_floating_point():
        raise LossatlasError(
            f"landscape: cross_entropy got outputs {tuple(outputs.shape)} and {targets.dtype} targets "
            f"{tuple(targets.shape)}; expected (n, C) and class indices (n,)"
        )
    return cross_entropies(outputs, targets).reshape(len(outputs), -1).mean(1)


def _mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error in float64, the mean over an example's outputs; targets (n,) go with outputs (n, 1)."""
    if targets.ndim == 1 and tuple(outputs.shape) == (len(targets), 1):
        targets = targets[:, None]
    if outputs.shape != targets.shape:  # broadcasting (n, 1) against (n,) would be silent and wrong
        raise LossatlasError(
            f"landscape: mse got outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}; expected equal ones"
        )
    return (outputs.double() - targets.double()).square().reshape(len(outputs), -1).mean(1)


def _split(tensor: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield chunks whose sizes differ by at most one, none above ``batch_size``: no tiny last chunk for batch norm."""
    yield from torch.tensor_split(tensor, ceil(len(tensor) / batch_size))


def _gradients(value: Tensor, leaves: list[Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
    """Return the gradients of a scalar, zeros where it does not depend on a leaf."""
    if not value.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(value, leaves, create_graph=create_graph, materialize_grads=True)


def _flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors]).to(torch.float64)


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
