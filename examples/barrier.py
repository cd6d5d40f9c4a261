"""Two checkpoints of one network, trained from two initialisations: the loss between them, straight and around.

python examples/barrier.py [--small] [--out FOLDER]
"""

from pathlib import Path

import torch

import lossatlas as la
from digits import cnn, digits, train
from out import arguments, show


def main(out: Path, small: bool = False) -> None:
    """Train two, save, and look between them."""
    x, y = digits(300 if small else 1500)
    for seed, name in enumerate("ab"):
        torch.save(train(cnn(seed), x, y, epochs=3 if small else 20).state_dict(), out / f"{name}.pt")

    net = la.load(cnn, out / "a.pt", data=(x, y))
    few = {"points": 7, "steps": 5, "examples": 100, "check": False} if small else {}
    show(la.connect(net, net.at(out / "b.pt"), **few), out, "barrier")


if __name__ == "__main__":
    main(**arguments(__doc__))
