"""The network of ``lossatlas demo``: two interlocked spirals, learnt in seconds from nothing."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = '''"""The network of `lossatlas demo`, for the commands that it prints."""

from torch import nn


class Net(nn.Sequential):
    """Two hidden layers."""

    def __init__(self):
        super().__init__(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 2))
'''

EXAMPLES, STEPS, RATE = 400, 400, 0.02


@dataclass(frozen=True)
class Files:
    """What was written: ``spirals.py``, ``a.pt`` and ``b.pt`` of two initialisations, ``data.pt``."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The first network."""
        return self.folder / "a.pt"

    def model(self) -> Any:
        """Return a network, of the written source."""
        spec = importlib.util.spec_from_file_location("lossatlas_demo_spirals", self.folder / "spirals.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Net()

    def data(self) -> Any:
        """Return inputs (n, 2) float32 and targets (n,) int64."""
        import torch

        return torch.load(self.folder / "data.pt", weights_only=True)


def write(folder: Path) -> Files:
    """Train two networks and write all of it to a folder."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    files = Files(folder)
    (folder / "spirals.py").write_text(SOURCE, encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    turn = torch.rand(EXAMPLES, generator=generator).sqrt() * 3 * torch.pi
    y = torch.arange(EXAMPLES) % 2
    angle, radius = turn + torch.pi * y, turn / (3 * torch.pi)
    x = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    x = x + 0.02 * torch.randn(x.shape, generator=generator)
    torch.save((x, y), folder / "data.pt")
    for seed, name in enumerate(("a", "b")):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = files.model()
        optimiser = torch.optim.Adam(model.parameters(), RATE)
        for _ in range(STEPS):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
        torch.save(model.state_dict(), folder / f"{name}.pt")
    return files
