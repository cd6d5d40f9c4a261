"""The hot loop of FourierPathFinder: one gradient a path point, row by row against torch's vectorising map.

    python benchmarks/path.py [--batch 250] [--points 50] [--repeat 3] [networks ...]

For each network of study optimizers: process time of one thread a point and step, the arithmetic of forward and
backward pass (3 forward passes, 2 operations a weight and use) over it, as a share of what a float32 matrix product of
the network's own widths reaches on this machine, and what a step costs beyond its gradients (points, sines, Adam).
Weights are untrained and inputs random; the cost does not depend on them.
"""

import argparse
import warnings

import torch
from timing import best
from torch.func import functional_call, grad_and_value, vmap

from lossatlas import models
from lossatlas.barriers.pathfinder import FourierPath, Settings
from lossatlas.landscape.criteria import criterion_function
from lossatlas.landscape.landscape import NetworkLandscape, channels_last
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network

NETWORKS = ("fcp", "lenet", "autoencoder", "lstm")
SHAPE = (1, 28, 28)


def peak(batch: int, width: int, repeat: int) -> float:
    """Return the speed of the product of a batch of images with a layer of ``width`` units, FLOP/s."""
    x, w = torch.randn(batch, 784), torch.randn(784, width)
    seconds = best(lambda: [x @ w for _ in range(100)], repeat, warm_up=True) / 100
    return 2.0 * batch * 784 * width / seconds


def measure(name: str, batch: int, points: int, repeat: int) -> None:
    outputs = 784 if name == "autoencoder" else 10
    model = models.build({"name": name}, SHAPE, outputs, 0)
    x = channels_last(torch.rand(batch, *SHAPE))
    y = x.flatten(1) if name == "autoencoder" else torch.randint(10, (batch,))
    criterion = "mse" if name == "autoencoder" else "cross_entropy"
    landscape = NetworkLandscape(model, x, y, criterion, batch_size=batch)
    first = landscape.theta()
    path = FourierPath(first, first + 0.01 * torch.randn(landscape.dim), Settings(points=points))
    thetas = path.points().float()
    loop = best(lambda: landscape.losses_and_grads(thetas), repeat, warm_up=True) / points
    losses = criterion_function(criterion)

    def mean(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return losses(functional_call(model, parameters, (x,)), y).mean()

    stacked = torch.stack([*thetas])
    named = {
        key: torch.stack([landscape.layout.unflatten(row)[key] for row in stacked]) for key in landscape.layout.names
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mapped = best(lambda: vmap(grad_and_value(mean))(named), repeat, warm_up=True) / points
    step = best(lambda: path.advance(landscape), repeat, warm_up=True)
    flops = 3 * network(catalogue.resolve({"name": name}), SHAPE, outputs).flops * batch
    moved = 4.0 * (points * landscape.dim * 2 + batch * 784 * points)
    speed, beyond = flops / loop, 1 - loop * points / step
    share = speed / peak(batch, 50, repeat)
    print(
        f"{name:12} D {landscape.dim:6,}, {batch} images: {1e3 * loop:.2f} ms a point by rows, "
        f"{1e3 * mapped:.2f} mapped; "
        f"{flops / 1e6:.0f} MFLOP, {speed / 1e9:.1f} GFLOP/s, {100 * share:.0f}% of the product; "
        f"{flops * points / moved:.0f} FLOP a byte; "
        f"step of {points} points {1e3 * step:.1f} ms, {100 * beyond:.0f}% of it beyond gradients",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.networks or NETWORKS:
        measure(name, given.batch, given.points, given.repeat)


if __name__ == "__main__":
    main()
