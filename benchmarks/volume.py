"""Time of basin radii and of training in lockstep, for the paper's swiss-roll network (3,614 weights, 200 points).

    python benchmarks/volume.py [--directions 512] [--steps 100] [--repeat 5]

Process time of one thread, the best of several repetitions. The share is that of the machine's own float32 product
of two 1,024 x 1,024 matrices; operations are those of the linear layers, two for a weight and an example, three times
that for a gradient.
"""

import argparse

import numpy as np
import torch
from timing import best, matrix_rate

from lossatlas import models
from lossatlas.basins.radii import Radii, Search, matched_output_scale
from lossatlas.landscape.directions import gaussian_rows, normalise_rows
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.specs.base import read
from lossatlas.train.lockstep import Lockstep
from lossatlas.train.loop import Examples
from lossatlas.train.spec import Recipe
from lossatlas.train.stacked import StackedLandscape

NET = {"name": "binary_mlp", "widths": [23, 16, 26, 32, 28, 31], "activation": "relu"}
POINTS = 200


def radii(count: int, repeat: int, rate: float) -> None:
    """Print the time of first crossings along ``count`` directions."""
    model = models.build(NET, (2,), 2, 0)
    x = 8 * torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        landscape = NetworkLandscape(model, x, model(x).argmax(1))
    theta = matched_output_scale(landscape, landscape.theta(), 0.01)
    directions = normalise_rows(gaussian_rows(landscape.layout, 1, count), theta, landscape.layout)
    layout = landscape.layout
    weights = sum(size for size, kind in zip(layout.sizes, layout.kinds, strict=True) if kind == "weight")
    for chunk in (8, 16, 32, 64, 128):
        stacked = StackedLandscape(landscape, model, chunk)
        found = []

        def solve(stacked=stacked, found=found, chunk=chunk) -> None:
            search = Radii(stacked, theta, Search(chunk=chunk))
            search.crossings(directions, np.array([0.1]))
            found.append(search.evaluations)

        seconds = best(solve, repeat)
        each = seconds / found[0]
        share = 2 * weights * POINTS / each / rate
        speed = (
            f"{1e3 * seconds / count:6.3f} ms a direction, {found[0] / count:4.1f} evaluations of {1e6 * each:5.1f} us"
        )
        whole = f"3,000 directions {3000 * seconds / count:.1f} s"
        print(f"radii, {chunk:3d} at once: {speed}, {100 * share:4.1f} % of a product; {whole}")


def lockstep(steps: int, repeat: int, rate: float) -> None:
    """Print the time of a full-batch step of several networks at once."""
    keys = {"lr": 0.02, "momentum": 0.9, "batch": POINTS, "clip": 8.0, "epochs": steps, "precision": "float32"}
    recipe = read(Recipe, keys).hashed()
    for members in (1, 5, 10, 20, 40):
        nets = [models.build(NET, (2,), 2, i) for i in range(members)]
        x = 8 * torch.randn(POINTS, 2, generator=torch.Generator().manual_seed(0))
        examples = [Examples(x, torch.arange(POINTS) % 2, x, torch.arange(POINTS) % 2, lambda v: v)] * members
        starts = torch.stack([torch.nn.utils.parameters_to_vector(net.parameters()).detach() for net in nets])
        training = Lockstep(nets[0], starts, examples, recipe, [0.0] * members, list(range(members)))

        def run(training=training) -> None:
            for epoch in range(steps):
                training.epoch(epoch)

        each = best(run, repeat) / steps / members
        share = 6 * starts.shape[1] * POINTS / each / rate
        speed = f"{1e3 * each:6.3f} ms a network and step, {100 * share:4.1f} % of a product"
        print(f"lockstep, {members:2d} networks: {speed}")


def main() -> None:
    """Run both benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directions", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rate = matrix_rate(given.repeat)
    print(f"float32 matrix product: {rate / 1e9:.0f} GFLOP/s")
    radii(given.directions, given.repeat, rate)
    lockstep(given.steps, given.repeat, rate)


if __name__ == "__main__":
    main()
