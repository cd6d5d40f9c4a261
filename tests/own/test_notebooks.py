"""Pictures in notebooks: what the backend sets when it is loaded must outlive our style."""

import os
import subprocess
import sys

from harness import environment

BACKEND = """
import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg as FigureCanvas
matplotlib.interactive(True)  # as the one of Jupyter does: without it no figure after the first is shown
"""
PLOT = """
import matplotlib, torch
import lossatlas as la
net = la.load(torch.nn.Linear(2, 2), data=(torch.eye(2), torch.arange(2)))
net.line(grid=3, check=False, progress=False).plot()
print(matplotlib.is_interactive(), matplotlib.get_backend())
"""


def test_a_backends_settings_outlive_the_first_picture(tmp_path):
    (tmp_path / "like_jupyter.py").write_text(BACKEND)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    env = {**environment(), "MPLBACKEND": "module://like_jupyter", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", PLOT], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "module://like_jupyter"], done.stderr
