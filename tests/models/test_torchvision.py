"""A user's builder may import torchvision, although its wheel was compiled for another build of torch than ours."""

import subprocess
import sys

import pytest
from harness import environment

AT_ITS_HEAD = "from torchvision.models import resnet18\n\ndef build():\n    return resnet18(num_classes=4)\n"
INSIDE = "def build():\n    from torchvision import models\n    return models.resnet18(num_classes=4)\n"
JOB = """
import sys
from lossatlas.specs import source
assert "torch" not in sys.modules
build = source.load("tvnet:build", source.code_digest("tvnet:build"))
model = build()
import torch, torchvision
assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 4)
assert torchvision.__spec__.loader.get_source("torchvision")
print("built")
"""


@pytest.mark.parametrize("text", [AT_ITS_HEAD, INSIDE], ids=["at its head", "inside"])
def test_a_builder_imports_torchvision(tmp_path, text):
    (tmp_path / "tvnet.py").write_text(text)
    done = subprocess.run([sys.executable, "-c", JOB], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.stdout == "built\n", done.stderr
