"""Time of level-set traversals: milliseconds a predictor step and a full-batch gradient, for the paper's networks.

    python benchmarks/levelset.py [--steps 100] [--repeat 5] [tasks ...]

Networks are untrained and inputs random: the cost of a step does not depend on them, except that how often a corrector
fires does. Process time of one thread, the best of several repetitions; ``path`` is the paper's number of steps.
"""

import argparse

import torch
from timing import best

from lossatlas import models
from lossatlas.landscape.landscape import NetworkLandscape, channels_last
from lossatlas.levelsets.interest import SquaredNorm
from lossatlas.levelsets.traversal import Settings
from lossatlas.levelsets.walk import traversal

FF = {"name": "mlp", "widths": [100, 100, 100], "activation": "tanh", "init": "glorot_normal"}
MNIST_CNV = {"name": "cnn", "channels": [20, 20], "activation": "tanh", "init": "glorot_normal"}
CIFAR_CNV = {"name": "cnn", "channels": [60, 60], "hidden": [300], "activation": "tanh", "init": "glorot_normal"}
TASKS = {
    "auto-mpg": (FF, (9,), 1, 314, torch.float64, "mse", 500, 30_000),
    "iris": (FF, (4,), 3, 120, torch.float64, "cross_entropy", 500, 20_000),
    "mnist-ff": (FF, (1, 28, 28), 10, 1000, torch.float32, "cross_entropy", 1000, 10_000),
    "mnist-cnv": (MNIST_CNV, (1, 28, 28), 10, 1000, torch.float32, "cross_entropy", 50, 5_000),
    "cifar10-cnv": (CIFAR_CNV, (3, 32, 32), 10, 1000, torch.float32, "cross_entropy", 50, 20_000),
}
"""Model, input shape, outputs, training examples, type, criterion, examples a chunk, the paper's predictor steps."""


def measure(name: str, steps: int, repeat: int) -> None:
    model, shape, outputs, count, dtype, criterion, batch, total = TASKS[name]
    network = models.build(model, shape, outputs, 0).to(dtype)
    x = torch.randn(count, *shape, dtype=dtype)
    x = channels_last(x) if x.ndim == 4 else x
    y = torch.randn(count, dtype=dtype) if criterion == "mse" else torch.randint(outputs, (count,))
    landscape = NetworkLandscape(network, x, y, criterion, batch_size=batch)
    path = traversal(landscape, SquaredNorm(), landscape.theta(), Settings(steps=10**9))
    for _ in range(3):
        path.advance()
    before = path.state.gradients, path.state.steps
    step = best(lambda: [path.advance() for _ in range(steps)], repeat) / steps
    gradients = (path.state.gradients - before[0]) / (path.state.steps - before[1])
    gradient = best(lambda: [landscape.loss_and_grad(path.state.theta) for _ in range(max(steps // 5, 1))], repeat)
    gradient /= max(steps // 5, 1)
    print(
        f"{name:12} D {landscape.dim:7,} {str(dtype)[6:]}: {1e3 * step:8.2f} ms a step ({gradients:.2f} gradients), "
        f"{1e3 * gradient:8.2f} ms a gradient; path of {total:,} steps {step * total:7.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--steps", type=int, default=100, help="predictor steps a repetition; a tenth for convolutions")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.tasks or TASKS:
        steps = max(arguments.steps // 10, 1) if "cnv" in name else arguments.steps
        measure(name, steps, arguments.repeat)


if __name__ == "__main__":
    main()
