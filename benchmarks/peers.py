"""The line between two checkpoints with batch norm, and the time of a surface: lossatlas beside other packages.

    make .peers
    PYTHONPATH=.peers python benchmarks/peers.py

Two small convolutional networks with batch norm are trained on scikit-learn's digits from two seeds. The loss at the
second one is known without any package: by torch, from its checkpoint. So is that half-way, with the statistics which
the network there has on all examples (one forward pass in train mode). Each package is called as its documentation
says, after ``model.eval()``. A surface has 21 x 21 points; process time of one thread, and what it says at its centre.
"""

import argparse
import contextlib
import copy
import importlib.metadata
import io
import time

import matplotlib
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import lossatlas as la

matplotlib.use("Agg")
GRID = 21


def build() -> nn.Sequential:
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(*layers)


def trained(x, y, seed, epochs):
    torch.manual_seed(seed)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(100):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def truth(a, b, x, y):
    """Return the loss at b, and half-way between the weights of a and b with the statistics that belong there."""
    middle = copy.deepcopy(a)
    for ours, theirs in zip(middle.parameters(), b.parameters(), strict=True):
        ours.copy_((ours + theirs) / 2)
    return F.cross_entropy(b(x), y).item(), F.cross_entropy(middle.train()(x), y).item()


def lossatlas(a, b, x, y):
    net = la.load(a, data=(x, y))
    other = net.at(b)
    middle = net.line(other, grid=3, range=(0.0, 1.0)).loss[1]
    return other.loss, middle, lambda: net.surface(grid=GRID, examples=len(x)).centre


def loss_landscapes(a, b, x, y):
    from loss_landscapes import linear_interpolation, random_plane
    from loss_landscapes.metrics import Loss

    metric = Loss(F.cross_entropy, x, y)
    middle, end = linear_interpolation(a, b, metric, steps=2, deepcopy_model=True)
    plane = lambda: random_plane(a, metric, steps=GRID, normalization="filter", deepcopy_model=True)  # noqa: E731
    return end, middle, lambda: plane()[GRID // 2, GRID // 2]


def loss_landscape_3d(a, b, x, y):
    from loss_landscape_3d.calculator import LossLandscapeCalculator
    from loss_landscape_3d.directions import generate_random_directions

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x))
    calculator = LossLandscapeCalculator(copy.deepcopy(a), loader, F.cross_entropy)
    states = [{name: value.clone() for name, value in one.state_dict().items()} for one in (a, b)]
    _, middle, end = calculator.calculate_1d_path([0.0, 0.5, 1.0], *states)

    def surface():
        ticks = np.linspace(-1, 1, GRID)
        return calculator.calculate(ticks, ticks, *generate_random_directions(a), states[0])[GRID // 2, GRID // 2]

    return end, middle, surface


def losscape(a, b, x, y):
    from losscape.create_landscape import create_2D_losscape, create_3D_losscape

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x))
    direction = [[theirs.data - ours.data for ours, theirs in zip(a.parameters(), b.parameters(), strict=True)]]
    given = {"num_batches": 1, "save_only": True, "output_path": "/tmp"}
    _, line = create_2D_losscape(copy.deepcopy(a), loader, direction=direction, x_min=0, x_max=1, num_points=3, **given)

    def surface():
        given.update(output_vtp=False, output_h5=False, num_points=GRID)
        return create_3D_losscape(copy.deepcopy(a), loader, **given)[2][GRID // 2, GRID // 2]

    return line[2], line[1], surface


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    digits = load_digits()
    x = torch.tensor(digits.images[: given.examples, None] / 16, dtype=torch.float32)
    y = torch.tensor(digits.target[: given.examples])
    a, b = (trained(x, y, seed, given.epochs) for seed in (0, 1))
    end, middle = truth(a, b, x, y)
    print("| package | loss at b | half-way | surface: its centre | seconds |\n| --- | --- | --- | --- | --- |")
    print(f"| torch, by hand | {end:.3f} | {middle:.3f} | {F.cross_entropy(a(x), y).item():.3f} | |")
    for run in (lossatlas, loss_landscapes, loss_landscape_3d, losscape):
        name = run.__name__.replace("_", "-")
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                found_end, found_middle, surface = run(a, b, x, y)
                started = time.process_time()
                centre = surface()
            except ModuleNotFoundError as error:
                centre, missing = None, error.name
        if centre is None:
            print(f"| {name} | {missing} is not installed | | | |")
            continue
        seconds = time.process_time() - started
        version = importlib.metadata.version(name)
        print(f"| {name} {version} | {found_end:.3f} | {found_middle:.3f} | {centre:.3f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
