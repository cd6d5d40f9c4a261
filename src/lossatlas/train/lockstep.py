"""Train many small networks in lockstep: one optimiser step of all of them costs little more than that of one.

The weights of m networks are the rows of one tensor (m, D), and a forward pass is a batched matrix product a layer
(:mod:`lossatlas.train.stacked`). Every network has its own initialisation, minibatches, D_d and share beta, drawn from
its own seeds exactly as when it is trained alone, so the result is that of one-by-one training up to the rounding of
float32 sums (tested).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lossatlas.landscape.layout import Layout
from lossatlas.seeds import derive
from lossatlas.train.loop import EVALUATION_BATCH, FINGERPRINT, Examples, per_example_loss, right_of
from lossatlas.train.optimizers import make_optimizer
from lossatlas.train.poison import mixed, second_term
from lossatlas.train.spec import learning_rate
from lossatlas.train.stacked import stacked_forward


class Lockstep:
    """The training of m networks of one shape, an epoch at a time.

    Attributes:
        thetas: weights, (m, D) float32.
        diverged: which networks are out, (m,) bool: their loss was not finite, and they stay as they were then.
        stopped: epochs after which a network stays where it was, (m,) float64; NaN = it goes on.
    """

    def __init__(
        self,
        model: nn.Module,
        starts: Tensor,
        examples: Sequence[Examples],
        recipe: Mapping,
        betas: Sequence[float],
        seeds: Sequence[int],
        seen: Sequence[Callable[[int, float], Any]] | None = None,
        decays: Sequence[float] | None = None,
        tethers: Sequence[float] | None = None,
        stop: Mapping[str, Any] | None = None,
    ) -> None:
        """Prepare the training.

        Args:
            model: a network of the shape; its weights do not count.
            starts: initial weights (m, D).
            examples: of each network, as network inputs; equal numbers of them.
            recipe: resolved recipe, which all share; without augmentation.
            betas: share of the second term of each network, for recipes with ``poison``.
            seeds: of each network's minibatches.
            seen: for each network: called with the number of the step and its loss in float64 at the steps of
                :data:`~lossatlas.train.loop.FINGERPRINT`, as long as it has not diverged.
            decays: ``weight_decay`` of each network, times its weights added to its gradient as torch's optimisers do;
                that of the recipe by default.
            tethers: of each network, the factor of half the squared distance from its start that is minimised, too.
            stop: where a network stays (:class:`lossatlas.train.spec.Stop`); None = it is trained to the end.
        """
        self.seen, self.stop = seen, stop
        self.recipe, self.seeds = recipe, list(seeds)
        self.layout = Layout.of(model)
        self.forward = stacked_forward(model, self.layout)
        self.x, self.y = (torch.stack([getattr(one, part) for one in examples]) for part in "xy")
        self.test = [(one.test_x, one.test_y) for one in examples]
        self.extras = [one.extra for one in examples]
        self.betas = torch.tensor(list(betas), dtype=torch.float64, device=starts.device)
        self._stack = _Stack(starts)
        self.thetas = self._stack.thetas
        own = decays is not None and len(set(decays)) > 1
        self.decays = torch.tensor(decays, dtype=starts.dtype, device=starts.device)[:, None] if own else None
        decay = 0.0 if own else decays[0] if decays else recipe.get("weight_decay", 0.0)
        self.optimizer = make_optimizer(self._stack.parameters(), {**recipe, "weight_decay": decay})
        self.diverged = torch.zeros(len(starts), dtype=torch.bool, device=starts.device)
        self.stopped = torch.full((len(starts),), math.nan, dtype=torch.float64, device=starts.device)
        self.starts = starts.detach().clone()
        pulled = tethers is not None and any(tethers)
        self.tethers = torch.tensor(tethers, dtype=starts.dtype, device=starts.device)[:, None] if pulled else None
        self._block: tuple[int, Tensor, Tensor] | None = None

    def epoch(self, epoch: int) -> None:
        """Train all networks for one epoch, counted from 0."""
        if self.stop is not None and epoch % self.stop["every"] == 0:
            self.check(epoch)
        if self.over:
            return
        batches = self._batches(epoch)
        for number, rows in enumerate(batches):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.recipe, epoch, epoch + (number + 1) / len(batches))
            self._step(rows, epoch * len(batches) + number)

    @property
    def over(self) -> bool:
        """Tell whether every network stays where it is."""
        return self.stop is not None and bool((self.diverged | torch.isfinite(self.stopped)).all())

    @torch.no_grad()
    def check(self, epoch: int) -> None:
        """Stop the networks that meet all conditions of ``stop`` after so many epochs."""
        assert self.stop is not None
        outputs = self.forward(self.thetas, self.x).double()
        met = ~self.diverged & torch.isnan(self.stopped)
        if self.stop["train_loss"] is not None:
            met &= _mean_losses(self.recipe["criterion"], outputs, self.y) <= self.stop["train_loss"]
        if self.stop["train_accuracy"] is not None:
            met &= (outputs.argmax(2) == self.y).double().mean(1) >= self.stop["train_accuracy"]
        if self.stop["test_accuracy"] is not None:
            for i in torch.nonzero(met)[:, 0].tolist():
                x, y = self.test[i]
                right = (self.forward(self.thetas[i : i + 1], x[None])[0].argmax(1) == y).double().mean()
                met[i] = float(right) <= self.stop["test_accuracy"]
        self.stopped[met] = float(epoch)

    def _batches(self, epoch: int) -> list[Tensor | None]:
        """Return the rows (m, b) of each minibatch as a training by itself draws them; None = all."""
        count, size = self.x.shape[1], self.recipe["batch"]
        if size is None or size >= count:
            return [None]
        orders = torch.stack(
            [
                torch.randperm(count, generator=torch.Generator().manual_seed(derive(seed, "order", epoch)))
                for seed in self.seeds
            ]
        ).to(self.x.device)
        batches = list(orders.split(size, 1))
        if batches[-1].shape[1] == 1:
            batches.pop()
        return list(batches)

    def _step(self, rows: Tensor | None, step: int) -> None:
        x, y = self.x, self.y
        if rows is not None:
            member = torch.arange(len(x), device=x.device)[:, None]
            x, y = x[member, rows], y[member, rows]
        extra = self._extra(step)
        if extra is not None:
            x = torch.cat([x, extra[0]], 1)
        outputs = self.forward(self.thetas, x)
        labels = None if extra is None else extra[1]
        losses = self._losses(outputs, y, labels)
        if self.seen is not None and step in FINGERPRINT:
            with torch.no_grad():
                exact = self._losses(outputs.double(), y, labels).tolist()
            for keep, loss, lost in zip(self.seen, exact, self.diverged.tolist(), strict=True):
                if not lost:
                    keep(step, loss)
        finite = torch.isfinite(losses.detach())
        self.diverged |= ~finite
        (gradient,) = torch.autograd.grad(torch.where(finite, losses, 0.0).sum(), self.thetas)
        if self.recipe["clip"] is not None:
            norms = gradient.norm(dim=1, keepdim=True)
            gradient *= (self.recipe["clip"] / (norms + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
        if self.tethers is not None:  # after clipping, as weight decay is: else a clipped loss would lose its pull
            gradient = torch.addcmul(gradient, self.thetas.detach() - self.starts, self.tethers)
        # Those that are out take steps of zero and are put back; to ask a GPU whether there are any takes longer.
        still = self.diverged | torch.isfinite(self.stopped)
        out, held = still[:, None], self.thetas.device.type != "cpu" or bool(still.any())
        if self.decays is not None:
            gradient = torch.addcmul(gradient, self.thetas.detach(), self.decays)  # after clipping, as torch's do
        before = self.thetas.detach().clone() if held else None
        self.thetas.grad = torch.where(out, 0.0, gradient) if held else gradient
        self.optimizer.step()
        if before is not None:
            with torch.no_grad():
                self.thetas.copy_(torch.where(out, before, self.thetas))

    def _losses(self, outputs: Tensor, y: Tensor, labels: Tensor | None) -> Tensor:
        """Return every network's objective (m,), of the outputs' type.

        Args:
            outputs: (m, b + n, classes), for the minibatch (m, b) and for D_d (m, n) after it, where there is one.
            y: labels of the minibatch (m, b).
            labels: of D_d (m, n).
        """
        losses = _mean_losses(self.recipe["criterion"], outputs[:, : y.shape[1]], y)
        first = self.extras[0]
        if labels is None or first is None:
            return losses
        poisoned = second_term(outputs[:, y.shape[1] :], labels, first.labels).mean(1)
        return mixed(losses, poisoned, self.betas.to(outputs.dtype))

    def _extra(self, step: int) -> tuple[Tensor, Tensor] | None:
        """Return the step's D_d of every network, (m, n, ...) and (m, n); blocks are stacked once."""
        first = self.extras[0]
        if first is None:
            return None
        number, place = divmod(step, first.steps) if first.steps else (0, 0)
        if self._block is None or self._block[0] != number:
            blocks = [extra.block(number) for extra in self.extras if extra is not None]
            x, labels = (torch.stack([block[i] for block in blocks], 1) for i in (0, 1))
            self._block = (number, x, labels)
        return self._block[1][place], self._block[2][place]

    @torch.no_grad()
    def metrics(self) -> list[dict[str, float]]:
        """Return train and test loss and accuracy of every network; NaN for those that diverged."""
        parts = {"train": list(zip(self.x, self.y, strict=True)), "test": self.test}
        rows: list[dict[str, float]] = [{} for _ in self.thetas]
        criterion, gone = self.recipe["criterion"], self.diverged.tolist()
        for part, sets in parts.items():
            sums = torch.stack([self._sums(i, x, y) for i, (x, y) in enumerate(sets)]).tolist()
            for i, (total, right) in enumerate(sums):
                count = len(sets[i][0])
                rows[i][f"{part}_loss"] = math.nan if gone[i] else total / count
                classes = criterion == "cross_entropy" and not gone[i]
                rows[i][f"{part}_accuracy"] = right / count if classes else math.nan
        return rows

    def _sums(self, member: int, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of one network's losses over examples and how many it has right, (2,) float64."""
        criterion = self.recipe["criterion"]
        total = torch.zeros(2, dtype=torch.float64, device=x.device)
        for start in range(0, len(x), EVALUATION_BATCH):
            targets = y[start : start + EVALUATION_BATCH]
            outputs = self.forward(self.thetas[member : member + 1], x[None, start : start + EVALUATION_BATCH])[0]
            loss = per_example_loss(criterion, outputs.double(), targets).sum()
            total += torch.stack([loss, right_of(criterion, outputs, targets).double()])
        return total

    def state(self) -> tuple[dict, dict]:
        """Return what an interrupted training resumes from: weights and who diverged, and the optimiser's state."""
        weights = {"thetas": self.thetas.detach(), "diverged": self.diverged, "stopped": self.stopped}
        return weights, self.optimizer.state_dict()

    def resume(self, weights: Mapping[str, Tensor], optimizer: dict) -> None:
        """Go back to a state."""
        with torch.no_grad():
            self.thetas.copy_(weights["thetas"])
            self.diverged.copy_(weights["diverged"])
            if "stopped" in weights:  # else from before networks could stop
                self.stopped.copy_(weights["stopped"])
        self.optimizer.load_state_dict(optimizer)


class _Stack(nn.Module):
    """The weights of all networks as one parameter, for optimisers that take a module."""

    def __init__(self, thetas: Tensor) -> None:
        super().__init__()
        self.thetas = nn.Parameter(thetas.detach().clone())


def _mean_losses(criterion: str, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of every network, (m,), for outputs (m, n, classes) and targets (m, n) or (m, n, values)."""
    losses = per_example_loss(criterion, outputs.flatten(0, 1), targets.flatten(0, 1))
    return losses.reshape(targets.shape[:2]).mean(1)
