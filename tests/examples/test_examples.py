"""Every example runs, at a size too small to look at, and writes picture and numbers; the notebook's cells run."""

import importlib
import json
import sys

import matplotlib
import pytest
from harness import ROOT
from PIL import Image

EXAMPLES = ROOT / "examples"
SHARED = {"digits", "out"}
NAMES = sorted({file.stem for file in EXAMPLES.glob("*.py")} - SHARED)


@pytest.fixture
def modules(monkeypatch):
    """Let examples import each other, in this test only."""
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name in [*NAMES, *SHARED]:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(name, modules, tmp_path, capsys):
    pytest.importorskip("sklearn")
    importlib.import_module(name).main(tmp_path, small=True)
    pictures = sorted(tmp_path.glob("*.png"))
    assert pictures
    for picture in pictures:
        with Image.open(picture) as image:
            extremes = image.convert("L").getextrema()
            assert json.loads(image.info["lossatlas"])["network"]["weights"] > 1000
        assert extremes[0] < 100 < extremes[1]  # something is drawn on white
        assert len(picture.with_suffix(".csv").read_text().splitlines()) > 2
    assert str(pictures[0]) in capsys.readouterr().out


def test_every_example_is_listed():
    text = (EXAMPLES / "README.md").read_text()
    for file in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")]:
        assert f"`{file.name}`" in text, file.name


def test_the_notebook_runs(modules, tmp_path, monkeypatch):
    """Its cells, one after the other, as they stand; that they were run by Jupyter shows in what is committed."""
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    (file,) = EXAMPLES.glob("*.ipynb")
    cells = [cell for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == "code"]
    names = {"__name__": "__main__"}
    for cell in cells:
        assert cell["execution_count"]
        assert not [one for one in cell["outputs"] if one["output_type"] == "error"]
        exec(compile("".join(cell["source"]), str(file), "exec"), names)
    images = [one for cell in cells for one in cell["outputs"] if "image/png" in one.get("data", {})]
    assert images
    assert file.stat().st_size < 1_000_000
