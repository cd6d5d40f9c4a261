"""Training of WRN-28-2: an epoch of ours beside a plain loop over a DataLoader."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.cases import inputs
from benchmarks.frame.case import Action, Case, Goal, Outcome, Side, Size, Work
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network as counted
from lossatlas.seeds import derive
from lossatlas.specs.base import read
from lossatlas.train.lockstep import Lockstep
from lossatlas.train.loop import Examples, Training
from lossatlas.train.spec import Recipe

BATCH, LR, MOMENTUM, SEED = 128, 0.1, 0.9, 0
"""Recipe of Horoi et al., section 4, but for what makes minibatches random."""


def problem(size: Size) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a wide ResNet in train mode and images of CIFAR's kind."""
    x, y = inputs.noise(size["examples"], size["pixels"])
    return inputs.network(_spec(size), tuple(x.shape[1:])).train(), x, y


def _spec(size: Size) -> dict[str, Any]:
    return {"name": "wrn", "depth": size["depth"], "width": size["width"]}


def normalise(x: Tensor) -> Tensor:
    """Scale images to zero mean and unit variance over all they hold, as both sides do before a step."""
    return (x - 0.0) / 1.5


def ours(size: Size) -> Action:
    """An epoch of :class:`lossatlas.train.loop.Training`; each run is the next epoch."""
    model, x, y = problem(size)
    keys = {"lr": LR, "momentum": MOMENTUM, "batch": BATCH, "epochs": 10**6, "precision": size["precision"]}
    model = model.to(memory_format=torch.channels_last)
    training = Training(model, Examples(x, y, x, y, normalise), read(Recipe, keys).hashed(), SEED, "benchmark")
    epochs = iter(range(10**6))

    def run() -> Outcome:
        training.epoch(next(epochs))
        return Outcome(inputs.weights(model), {"images": size["examples"]})

    return run


def plain(size: Size, order: list[int] | None = None) -> Action:
    """An epoch of the loop in torch's own tutorials; ``order`` in place of a shuffle, to compare results."""
    model, x, y = problem(size)
    data = TensorDataset(x, y)
    loader = DataLoader(data, BATCH, shuffle=order is None, sampler=order)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

    def run() -> Outcome:
        for images, classes in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(normalise(images)), classes).backward()
            optimizer.step()
        return Outcome(inputs.weights(model), {"images": size["examples"]})

    return run


def checked(size: Size) -> Size:
    """Return the size at which weights are compared: two steps, of which each makes rounding five times as large."""
    return {**size, "examples": min(size["examples"], 2 * BATCH)}


def our_check(size: Size, _: Any) -> Any:
    """Return the weights after a few steps."""
    return ours(checked(size))().result.numpy()


def plain_check(size: Size, _: Any) -> Any:
    """Return the weights after the same minibatches in the same order."""
    size = checked(size)
    generator = torch.Generator().manual_seed(derive(SEED, "order", 0))
    return plain(size, torch.randperm(size["examples"], generator=generator).tolist())().result.numpy()


def arithmetic(size: Size, _: Mapping) -> Work:
    """Return the arithmetic of three forward passes an image."""
    flops = counted(catalogue.resolve(_spec(size)), (3, size["pixels"], size["pixels"]), inputs.CLASSES).flops
    return Work(3 * flops * size["examples"], "float32")


# ---------------------------------------------------------------------------------------------------------------------
# many small networks at once

LOCKSTEP = {"lr": 0.02, "momentum": 0.9, "clip": 8.0, "precision": "float32"}


def small_networks(size: Size) -> tuple[list[nn.Module], Tensor, Tensor]:
    """Return networks for the swiss roll from as many seeds, and its points."""
    x, y = inputs.swiss_roll(size["examples"])
    return [inputs.network(inputs.SWISS_NET, (2,), 2, seed).train() for seed in range(size["networks"])], x, y


def lockstep(size: Size) -> Action:
    """Full-batch steps of :class:`lossatlas.train.lockstep.Lockstep`."""
    models, x, y = small_networks(size)
    recipe = read(Recipe, {**LOCKSTEP, "batch": len(x), "epochs": 10**6}).hashed()
    examples = [Examples(x, y, x, y, lambda v: v)] * len(models)
    starts = torch.stack([inputs.weights(model) for model in models])
    training = Lockstep(models[0], starts, examples, recipe, [0.0] * len(models), list(range(len(models))))
    epochs = iter(range(10**6))

    def run() -> Outcome:
        for _ in range(size["steps"]):
            training.epoch(next(epochs))
        return Outcome(training.thetas.detach().numpy().copy())

    return run


def one_by_one(size: Size) -> Action:
    """The same steps, a network after the other."""
    models, x, y = small_networks(size)
    optimizers = [torch.optim.SGD(model.parameters(), lr=LOCKSTEP["lr"], momentum=MOMENTUM) for model in models]

    def run() -> Outcome:
        for model, optimizer in zip(models, optimizers, strict=True):
            for _ in range(size["steps"]):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                nn.utils.clip_grad_norm_(model.parameters(), LOCKSTEP["clip"])
                optimizer.step()
        return Outcome(torch.stack([inputs.weights(model) for model in models]).numpy())

    return run


def lockstep_arithmetic(size: Size, _: Mapping) -> Work:
    """Return the arithmetic of three forward passes a step and network."""
    flops = counted(catalogue.resolve(inputs.SWISS_NET), (2,), 2).flops
    return Work(3 * flops * size["examples"] * size["networks"] * size["steps"], "float32")


def _wrn(name: str, precision: str, arithmetic: str, tolerance: float, reason: str, **more: Any) -> Case:
    network = {"precision": precision, "pixels": 32, "depth": 28, "width": 2}
    return Case(
        name=name,
        row="training",
        what=f"an epoch of training, WRN-28-2{arithmetic}",
        same=(
            f"the same network, images, minibatch size and SGD with momentum, ours with `precision: {precision}` and "
            "the other's in float32; weights after a few steps on the same minibatches are compared"
        ),
        tolerance=tolerance,
        ours=Side(ours, our_check),
        peers={"plain loop with DataLoader": Side(plain, plain_check, "torch")},
        sizes={
            "full": {**network, "examples": 2560},
            "small": {**network, "examples": 128},
            "tiny": {**network, "examples": 20, "pixels": 8, "depth": 10, "width": 1},
        },
        goals=(Goal(2.0),),
        reason=reason,
        **more,
    )


CASES = (
    Case(
        name="training-lockstep",
        row="training",
        what="full-batch training of many swiss-roll networks in lockstep",
        same=(
            "the same networks, points, clipping and SGD with momentum in float32; weights after the first steps are "
            "compared"
        ),
        tolerance=1e-3,
        ours=Side(lockstep, lambda size, _: lockstep({**size, "steps": 3})().result),
        peers={
            "a network after the other": Side(
                one_by_one, lambda size, _: one_by_one({**size, "steps": 3})().result, "torch"
            )
        },
        sizes={
            "full": {"networks": 40, "examples": 200, "steps": 100},
            "small": {"networks": 40, "examples": 200, "steps": 25},
            "tiny": {"networks": 3, "examples": 40, "steps": 2},
        },
        limit=lockstep_arithmetic,
        axes={"networks": (5, 10, 20, 40)},
    ),
    _wrn(
        "training-wrn-28-2",
        "float32",
        "",
        1e-3,
        "Both sides spend their time in the same convolutions; all that ours gains is the order of channels.",
        limit=arithmetic,
    ),
    _wrn("training-wrn-28-2-bfloat16", *inputs.BFLOAT16),
)
