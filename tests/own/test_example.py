"""The five lines of docs/own-network-results.md."""

import os
import re

import torch
from harness import ROOT
from torch import nn

torch.set_num_threads(1)


class SmallCNN(nn.Sequential):
    """A network that a reader may have."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2))


def test_the_five_lines_run_and_leave_their_files(tmp_path, monkeypatch, capsys):
    block = re.search(r"```python\n(.*?)```", (ROOT / "docs/own-network-results.md").read_text(), re.DOTALL)[1]
    assert len([line for line in block.splitlines() if line]) == 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lossatlas.own.slices.SECONDS", 0.5)
    monkeypatch.setattr("lossatlas.own.connect.SECONDS", 0.5)
    for name in ("a.pt", "b.pt"):
        torch.save(SmallCNN().state_dict(), name)
    x, y = torch.randn(40, 1, 8, 8), torch.randint(2, (40,))
    exec(block, {"SmallCNN": SmallCNN, "x": x, "y": y})
    assert {"surface.html", "between.png"} <= set(os.listdir(tmp_path))
    assert "largest eigenvalue" in capsys.readouterr().out
