"""A torchvision ResNet's checkpoint: the surface around it, its batch-norm statistics as they were saved.

python examples/resnet.py [--small] [--out FOLDER]
"""

from pathlib import Path

import torch

import lossatlas as la
from digits import digits, train
from out import arguments, show


def main(out: Path, small: bool = False) -> None:
    """Train, save, and look; small: one block a stage, a few points."""
    from torchvision.models.resnet import BasicBlock, ResNet

    def build() -> ResNet:
        return ResNet(BasicBlock, [1, 1, 1, 1] if small else [2, 2, 2, 2], num_classes=10)  # the latter is resnet18

    x, y = digits(256 if small else 1024, side=16, channels=3)
    torch.manual_seed(0)
    torch.save(train(build(), x, y, epochs=1 if small else 3, lr=1e-3).state_dict(), out / "resnet.pt")

    net = la.load(build, out / "resnet.pt", data=(x, y))
    surface = net.surface(grid=5 if small else None, examples=64 if small else None, check=not small)
    show(surface, out, "resnet")


if __name__ == "__main__":
    main(**arguments(__doc__))
