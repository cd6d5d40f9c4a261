"""L-BFGS with a golden-section line search (Yu & Morozov, section II.2, algorithm 1), as a torch optimiser.

The text leaves the line search's bracket, its end and the safeguards open. Ours: the first trial is 0.2 of the
direction p, doubled while the loss falls, shrunk by 0.382 while it is not below where the search began; once a minimum
is bracketed, golden sections (Press et al., Numerical Recipes, section 10.2), until a fixed number of evaluations is
spent. Six reproduce the paper's behaviour. A step is taken only to a lower loss.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

GOLDEN = 0.3819660112501051
"""(3 - sqrt 5) / 2, the smaller part of a golden section."""

FIRST_TRIAL = 0.2
"""First step length along p; a quasi-Newton step has length 1."""

LEAST_COSINE = 1e-4
"""Smallest y.s / (|y| |s|) of a pair that is kept: curvature below it is noise, and 1 / (y.s) would amplify it."""


class LBFGSGoldenSection(torch.optim.Optimizer):
    """Limited-memory BFGS; each step takes one gradient and ``evaluations`` losses.

    ``step(closure)`` is that of :class:`torch.optim.LBFGS`: the closure clears the gradients, evaluates the loss,
    calls ``backward`` and returns the loss, which must be the same function throughout (all examples, no dropout). The
    line search needs no gradients: where the closure has an attribute ``value``, that is called instead.

    Near a minimum the loss must be told apart at nearby points, so it is best summed in float64
    (:class:`lossatlas.train.optimizers.Objective`); the weights may be float32.
    """

    def __init__(self, params: Iterable[nn.Parameter], history: int, evaluations: int) -> None:
        """Take all parameters, in one group.

        Args:
            params: of the function.
            history: pairs (s, y) of last steps and gradient differences that are kept.
            evaluations: losses evaluated in a line search, the one it starts from not counted.
        """
        if history < 1 or evaluations < 1:
            raise ValueError(f"history, evaluations: got {history}, {evaluations}; expected integers >= 1")
        super().__init__(params, {"history": history, "evaluations": evaluations})
        if len(self.param_groups) != 1:
            raise ValueError(f"params: got {len(self.param_groups)} groups; L-BFGS takes one")

    @property
    def _params(self) -> list[nn.Parameter]:
        return self.param_groups[0]["params"]

    @property
    def memory(self) -> dict[str, Any]:
        """What a step hands to the next: ``s`` and ``y``, point and gradient before it, first trial and counts."""
        memory = self.state[self._params[0]]
        if not memory:
            memory.update(s=[], y=[], point=None, gradient=None, trial=FIRST_TRIAL, steps=0, losses=0, resets=0)
        return memory

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Take one step and return the loss before it."""
        memory = self.memory
        with torch.enable_grad():
            loss = closure()
        point, gradient = self._point(), self._gradient()
        self._remember(point, gradient)
        direction = self._direction(gradient)
        evaluate, budget = getattr(closure, "value", closure), self.param_groups[0]["evaluations"]

        def along(u: float) -> float:
            memory["losses"] += 1
            self._move(point - u * direction)
            with torch.enable_grad():
                return _number(evaluate())

        u = golden_section(along, _number(loss), memory["trial"], budget)
        self._move(point - u * direction)
        memory["steps"] += 1
        if u == 0:  # nothing lower along p: next the gradient, and then shorter steps along it
            memory["trial"] = FIRST_TRIAL if memory["s"] else memory["trial"] * GOLDEN**budget
            self._forget()
        else:
            memory["trial"] = FIRST_TRIAL
        memory["point"], memory["gradient"] = point, gradient
        return loss

    def _remember(self, point: Tensor, gradient: Tensor) -> None:
        """Add the last step and its gradient difference to the history, or drop it where they show no curvature."""
        memory = self.memory
        if memory["point"] is None or torch.equal(memory["point"], point):
            return
        s, y = point - memory["point"], gradient - memory["gradient"]
        if not _dot(y, s) >= LEAST_COSINE * (_dot(y, y) * _dot(s, s)) ** 0.5:  # also where they are not finite
            self._forget()
            return
        keep = self.param_groups[0]["history"]
        memory["s"], memory["y"] = [*memory["s"], s][-keep:], [*memory["y"], y][-keep:]

    def _forget(self) -> None:
        memory = self.memory
        memory["resets"] += bool(memory["s"])
        memory["s"], memory["y"] = [], []

    def _direction(self, gradient: Tensor) -> Tensor:
        """Return p (D,), the inverse Hessian's estimate times the gradient, by the two-loop recursion.

        Nocedal & Wright, Numerical Optimization, algorithm 7.4 and equation 7.20; the gradient itself without history.
        """
        memory = self.memory
        pairs = [(s, y, _dot(y, s)) for s, y in zip(memory["s"], memory["y"], strict=True)]
        direction, factors = gradient.clone(), []
        for s, y, curvature in reversed(pairs):
            factors.append(_dot(s, direction) / curvature)
            direction -= factors[-1] * y
        if pairs:
            _, y, curvature = pairs[-1]
            direction *= curvature / _dot(y, y)
        for (s, y, curvature), factor in zip(pairs, reversed(factors), strict=True):
            direction += (factor - _dot(y, direction) / curvature) * s
        if not torch.isfinite(direction).all():
            self._forget()
            return gradient
        return direction

    def _point(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self._params])

    def _gradient(self) -> Tensor:
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in self._params])

    def _move(self, point: Tensor) -> None:
        """Put a flat vector (D,) into the parameters."""
        start = 0
        for p in self._params:
            p.copy_(point[start : start + p.numel()].view(p.shape))
            start += p.numel()


def golden_section(f: Callable[[float], float], start: float, trial: float, evaluations: int) -> float:
    """Return the u > 0 of the lowest f(u) met, or 0 when none was below f(0).

    Args:
        f: a function of the step length; a value that is not finite counts as high.
        start: f(0).
        trial: first u.
        evaluations: calls of f.
    """
    low, high = 0.0, 0.0  # the best u is between them; high is 0 until it is bracketed from above
    best, least, u = 0.0, start, trial
    for _ in range(evaluations):
        value = f(u)
        if value < least:
            if u > best:
                low = best
            else:
                high = best
            best, least = u, value
        elif u > best:
            high = u
        else:
            low = u
        if not high:
            u = 2 * best
        elif not best:
            u = GOLDEN * high
        else:  # the golden section of the longer side
            u = best + GOLDEN * (high - best) if high - best > best - low else best - GOLDEN * (best - low)
    return best


def _number(loss: Any) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


def _dot(a: Tensor, b: Tensor) -> float:
    """Return a.b, summed in float64."""
    return float(torch.dot(a.double(), b.double()))
