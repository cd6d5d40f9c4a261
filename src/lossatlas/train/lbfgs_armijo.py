"""L-BFGS with a backtracking line search on the Armijo condition, which torch's own does not have."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SUFFICIENT, SHRINK = 1e-4, 0.5
"""Constants of the Armijo condition and of the backtracking (Nocedal & Wright 2006, algorithm 3.1)."""


class LBFGSArmijo(torch.optim.Optimizer):
    """Limited-memory BFGS (Nocedal & Wright, algorithm 7.5), one line search a step.

    A step starts from ``lr`` along the quasi-Newton direction (the first one from lr / |g|, since nothing is known of
    the scale) and is halved until L(theta + t p) <= L(theta) + 1e-4 t g.p. Pairs without positive curvature are not
    kept, which the Armijo condition alone does not rule out. A direction that does not descend, or along which no step
    does, forgets the history.
    """

    def __init__(self, parameters: Any, lr: float, history: int, evaluations: int) -> None:
        """Take the parameters.

        Args:
            parameters: one group.
            lr: first step tried.
            history: pairs kept.
            evaluations: of the loss in one line search, at most.
        """
        super().__init__(parameters, {"lr": lr, "history": history, "evaluations": evaluations})
        self.parameters = [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Take one step; ``closure`` returns the loss and leaves its gradients, ``closure.value`` the loss alone."""
        group, state = self.param_groups[0], self.state[self.parameters[0]]
        with torch.enable_grad():
            loss = closure()
        gradient = self._gradient()
        _remember(state, gradient, group["history"])
        direction = -_inverse_times(state.get("pairs", []), gradient)
        slope = float(direction @ gradient)
        if slope >= 0:
            state["pairs"], direction = [], -gradient
            slope = -float(gradient @ gradient)
        size = group["lr"] if state.get("pairs") else group["lr"] / max(float(gradient.norm()), 1.0)
        start = [p.clone() for p in self.parameters]
        value = getattr(closure, "value", closure)
        for _ in range(group["evaluations"]):
            self._move(start, direction, size)
            with torch.enable_grad():
                found = float(value())
            if found <= float(loss) + SUFFICIENT * size * slope:
                state["gradient"], state["taken"] = gradient, size * direction
                return loss
            size *= SHRINK
        self._move(start, direction, 0.0)
        state["pairs"] = []
        state.pop("gradient", None)
        return loss

    def _gradient(self) -> Tensor:
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in self.parameters])

    def _move(self, start: list[Tensor], direction: Tensor, size: float) -> None:
        """Set the parameters to start + size * direction."""
        sizes = [p.numel() for p in self.parameters]
        for p, origin, part in zip(self.parameters, start, direction.split(sizes), strict=True):
            p.copy_(origin + size * part.reshape(p.shape))


def _remember(state: dict, gradient: Tensor, history: int) -> None:
    """Add the last step and the change of the gradient along it to the history."""
    if "gradient" not in state:
        return
    step, change = state["taken"], gradient - state["gradient"]
    if float(step @ change) > 1e-10 * float(change @ change):
        state["pairs"] = [*state.get("pairs", []), (step, change)][-history:]


def _inverse_times(pairs: list[tuple[Tensor, Tensor]], gradient: Tensor) -> Tensor:
    """Return the quasi-Newton inverse Hessian times the gradient (two-loop recursion)."""
    rest, kept = gradient.clone(), []
    for step, change in reversed(pairs):
        share = float(step @ rest) / float(step @ change)
        rest -= share * change
        kept.append(share)
    if pairs:
        step, change = pairs[-1]
        rest *= float(step @ change) / float(change @ change)
    for (step, change), share in zip(pairs, reversed(kept), strict=True):
        rest += (share - float(change @ rest) / float(step @ change)) * step
    return rest
