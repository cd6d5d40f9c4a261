"""FourierPathFinder: low paths between two points of a landscape (Yu & Morozov, section II.3).

A path is a straight line and a sine series, ::

    omega(t) = (1 - t) omega_i + t omega_j + sum_n b_n sin(n pi t),   t = 0 ... 1                      (Eq. 3)

taken at M equally spaced t, both ends among them. With the *basis* ``[1 - t, t, sin(pi t), ...]`` (M, N + 2) and the
*controls* ``[omega_i; omega_j; b_1; ...]`` (N + 2, D) all points are one matrix product. The coefficients minimise ::

    sum_m F(L(omega_m)) + lambda sum_m |omega_{m+1} - omega_m|^2                                       (Eq. 4)

by Adam, with F the identity as printed or the square, which gives the heights of the paper's figure 3. The gradient is
``S^T (F'(L_m) g_m) + 2 lambda dS^T d(omega)`` with S the sines (M, N), g_m the gradient of L at point m, d the
difference of successive rows. Coefficients, points and sums are float64 whatever the landscape's dtype.

The iterate of the lowest sum of F(L) so far is kept beside the current one: the authors' code takes that one
(``github.com/jy856-jpg/path-finding``, path_finding_NN_architecture.ipynb). It is what it is called only where every
step sees all examples. Between its M points a path may be higher than at them; :meth:`FourierPath.profile` measures it
on as fine a grid as it is asked to.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lossatlas.barriers.defaults import LR, OBJECTIVES, PENALTY, POINTS, TERMS, Objective
from lossatlas.landscape.landscape import Landscape

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's, as in Kingma & Ba and in torch."""


@dataclass(frozen=True)
class Settings:
    """How a path is optimised.

    Attributes:
        terms: N, sines.
        points: M, both ends included.
        penalty: lambda.
        objective: F, one of :data:`lossatlas.barriers.spec.OBJECTIVES`.
        lr: Adam's step size; each coordinate of each coefficient moves by at most about this much a step.
        decay: last step size over the first, which falls exponentially over ``steps``; 1 = constant.
        steps: over which it falls.
    """

    terms: int = TERMS
    points: int = POINTS
    penalty: float = PENALTY
    objective: Objective = OBJECTIVES[0]
    lr: float = LR
    decay: float = 1.0
    steps: int = 1

    def rate(self, step: int) -> float:
        """Return the step size of a step, counted from 0."""
        if self.decay == 1.0:
            return self.lr
        return float(self.lr * self.decay ** (step / max(self.steps - 1, 1)))


@dataclass
class State:
    """All that the optimisation of one path needs to go on; tensors (N, D) float64.

    Attributes:
        coefficients: b_n.
        mean, square: Adam's moving averages of the gradient and of its square.
        steps: taken so far.
        best: the coefficients of the lowest sum of F(L) that a step or a profile has met; None before any.
        lowest: that sum.
        best_step: steps taken before it.
    """

    coefficients: Tensor
    mean: Tensor
    square: Tensor
    steps: int = 0
    best: Tensor | None = None
    lowest: float = math.inf
    best_step: int = 0


@dataclass(frozen=True)
class Profile:
    """The losses along a path.

    Attributes:
        losses: (M,) float64, those of the two ends first and last.
    """

    losses: Tensor

    @property
    def height(self) -> float:
        """Largest loss at the M points (Eq. 5); NaN where one is."""
        return float(self.losses.max())

    @property
    def argmax(self) -> float:
        """The t of the highest point."""
        return int(self.losses.argmax()) / (len(self.losses) - 1)

    @property
    def end(self) -> float:
        """Loss at the higher end: the least height that any path can have."""
        return float(torch.maximum(self.losses[0], self.losses[-1]))


@dataclass
class FourierPath:
    """A path between two points and its optimisation.

    Attributes:
        first, last: omega_i and omega_j, (D,).
        settings: how.
        state: where the optimisation stands; b_n = 0, the straight line, at the start.
    """

    first: Tensor
    last: Tensor
    settings: Settings
    state: State = field(init=False)

    def __post_init__(self) -> None:
        """Put the path on the straight line."""
        self.first, self.last = self.first.double(), self.last.double()
        self._basis = self._at(self.settings.points)
        self._steps = self._basis.diff(dim=0)
        zero = torch.zeros(self.settings.terms, len(self.first), dtype=torch.float64, device=self.first.device)
        self.state = State(zero, zero.clone(), zero.clone())

    def _at(self, count: int) -> Tensor:
        """Return the basis (count, N + 2) at equally spaced t."""
        device = self.first.device
        t = torch.linspace(0, 1, count, dtype=torch.float64, device=device)
        n = torch.arange(1, self.settings.terms + 1, dtype=torch.float64, device=device)
        sines = torch.sin(torch.pi * n * t[:, None])
        sines[[0, -1]] = 0.0  # sin(n pi) is 1e-16 in floating point; the ends are ends
        return torch.cat([1 - t[:, None], t[:, None], sines], dim=1)

    def controls(self) -> Tensor:
        """Return ends and coefficients, (N + 2, D)."""
        return torch.cat([torch.stack([self.first, self.last]), self.state.coefficients])

    def points(self) -> Tensor:
        """Return the points of the path, (M, D) float64."""
        return self._basis @ self.controls()

    def step_lengths(self) -> Tensor:
        """Return the distances of successive points, (M - 1,)."""
        controls = self.controls()
        squared = ((self._steps @ (controls @ controls.T)) * self._steps).sum(1)
        return squared.clamp(min=0).sqrt()

    def length(self) -> float:
        """Return the length of the polygon through the points."""
        return float(self.step_lengths().sum())

    def profile(self, landscape: Landscape, dense: int = 1) -> Profile:
        """Return the losses along the path on any landscape, at its M points and ``dense`` - 1 between any two."""
        if dense == 1:
            return Profile(landscape.losses(self.points()))
        finer = self._at((self.settings.points - 1) * dense + 1)
        return Profile(landscape.losses(finer @ self.controls()))

    def met(self, losses: Tensor) -> None:
        """Keep the coefficients as they are if the losses (M,) at the points have the lowest sum of F(L) so far."""
        state = self.state
        total = float((losses.square() if self.settings.objective == "squared" else losses).sum())
        if total < state.lowest:
            state.best, state.lowest, state.best_step = state.coefficients.clone(), total, state.steps

    def at_best(self) -> "FourierPath":
        """Return the path at the lowest sum it has met, to be measured; as it is before any."""
        found = FourierPath(self.first, self.last, self.settings)
        best = self.state.coefficients if self.state.best is None else self.state.best
        found.state = replace(self.state, coefficients=best)
        return found

    def value(self, losses: Tensor) -> float:
        """Return Eq. 4 from the losses (M,) at the points."""
        first = losses.square() if self.settings.objective == "squared" else losses
        return float(first.sum() + self.settings.penalty * self.step_lengths().square().sum())

    def gradient(self, landscape: Landscape) -> Tensor:
        """Return the gradient of Eq. 4 with respect to the coefficients, (N, D) float64.

        One loss gradient a point, then a matrix product with the sines; the penalty's part needs no pass over the
        points, since dS^T d(omega) = (dS^T dB) [controls].
        """
        return self._gradient(*landscape.losses_and_grads(self.points()))

    def _gradient(self, losses: Tensor, slopes: Tensor) -> Tensor:
        """Return it from the losses (M,) and their gradients (M, D) at the points."""
        slopes = slopes.double()
        if self.settings.objective == "squared":
            slopes *= 2 * losses[:, None]
        sines, sine_steps = self._basis[:, 2:], self._steps[:, 2:]
        penalty = 2 * self.settings.penalty * (sine_steps.T @ self._steps)
        return sines.T @ slopes + penalty @ self.controls()

    def advance(self, landscape: Landscape) -> None:
        """Take one step of Adam; the landscape may be another minibatch each time."""
        state = self.state
        losses, slopes = landscape.losses_and_grads(self.points())
        self.met(losses)
        gradient, rate = self._gradient(losses, slopes), self.settings.rate(state.steps)
        state.steps += 1
        state.mean.lerp_(gradient, 1 - BETAS[0])
        state.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        scale = (state.square / (1 - BETAS[1] ** state.steps)).sqrt_().add_(EPSILON)
        state.coefficients.addcdiv_(state.mean, scale, value=-rate / (1 - BETAS[0] ** state.steps))


def minibatches(count: int, batch: int | None, seed: int) -> Callable[[int], Tensor | None]:
    """Return what gives the examples of each step: (m,) row numbers, or None for all of them.

    Every epoch is a permutation drawn from the seed and the epoch's number, so that step k has the same examples in
    whatever process it is taken. An incomplete last minibatch is left out.

    Args:
        count: examples.
        batch: size of a minibatch; None = all examples.
        seed: of the permutations.
    """
    if batch is None or batch >= count:
        return lambda step: None
    an_epoch = count // batch
    kept: dict[int, Tensor] = {}

    def rows(step: int) -> Tensor:
        epoch, place = divmod(step, an_epoch)
        if epoch not in kept:
            kept.clear()
            generator = torch.Generator().manual_seed((seed + epoch) % 2**63)
            kept[epoch] = torch.randperm(count, generator=generator)
        return kept[epoch][place * batch : (place + 1) * batch]

    return rows
