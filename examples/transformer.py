"""A vision transformer's checkpoint: surface and curvature, through fused attention, with dropout off.

python examples/transformer.py [--small] [--out FOLDER]
"""

from pathlib import Path

import torch

import lossatlas as la
from digits import digits, train
from out import arguments, show


def main(out: Path, small: bool = False) -> None:
    """Train, save, and look."""
    from torchvision.models import VisionTransformer

    def build() -> VisionTransformer:
        return VisionTransformer(
            8, 2, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=64, dropout=0.1, num_classes=10
        )

    x, y = digits(300 if small else 1500, channels=3)
    torch.manual_seed(0)
    torch.save(train(build(), x, y, epochs=2 if small else 20).state_dict(), out / "vit.pt")

    net = la.load(build, out / "vit.pt", data=(x, y))
    show(net.surface(grid=5 if small else None, examples=64 if small else None, check=not small), out, "transformer")
    few = {"trace": 0, "density": None, "examples": 64, "most": 10, "check": False} if small else {}
    show(net.hessian(**few), out, "transformer-hessian")


if __name__ == "__main__":
    main(**arguments(__doc__))
