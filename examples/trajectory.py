"""A training's folder of checkpoints: the path it took, on the plane it moved in most.

python examples/trajectory.py [--small] [--out FOLDER]
"""

from pathlib import Path

import lossatlas as la
from digits import cnn, digits, train
from out import arguments, show


def main(out: Path, small: bool = False) -> None:
    """Train with a checkpoint an epoch, and look at their path."""
    x, y = digits(300 if small else 1500)
    train(cnn(), x, y, epochs=4 if small else 20, keep=out / "checkpoints")

    net = la.load(cnn, out / "checkpoints", data=(x, y))
    few = {"grid": 5, "examples": 100, "check": False} if small else {}
    show(net.trajectory(**few), out, "trajectory")


if __name__ == "__main__":
    main(**arguments(__doc__))
