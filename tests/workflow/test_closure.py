"""The digest of a figure's code follows the imports: a mended number anywhere below it redraws the figure."""

import ast
import shutil
import subprocess
import sys

import pytest
from harness import ROOT

from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.workflow import closure

PACKAGE = ROOT / "src/lossatlas"


def names(modules):
    """Return the modules whose sources some modules run through."""
    return {path.relative_to(PACKAGE.parent).as_posix() for path in closure.sources(modules).values()}


def modules(study, figure):
    """Return the modules that a figure's digest starts from."""
    plan = Plan(load({**read_yaml(ROOT / "config/config.yaml"), "studies": [study]}, ROOT))
    return sorted({name.partition(":")[0] for name in plan.studies[study].figures[figure].code})


def test_numbers_that_figures_show_are_in_their_digest():
    drawn = names(modules("surfaces", "sharpness"))
    for part in ("clouds/files.py", "planes/files.py", "planes/numbers.py", "files/hdf5.py", "errors.py"):
        assert f"lossatlas/{part}" in drawn
    assert "lossatlas/workflow/wiring.py" not in drawn
    assert "lossatlas/basins/figures/basins.py" not in drawn, "another figure's drawing"


def test_the_search_finds_what_a_parser_finds():
    for file in PACKAGE.rglob("*.py"):
        name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        wanted = {name}
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                wanted |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        wanted |= {one.rpartition(".")[0] for one in wanted if one.count(".") > 1}
        ours = {one for one in wanted if closure.find(one)}
        assert closure.find(name).file == file
        assert ours <= set(closure.sources([name])), file


@pytest.mark.parametrize("edited", ["planes/numbers.py", "clouds/files.py", "files/checksum.py"])
def test_an_edit_below_changes_the_digest(tmp_path, edited):
    shutil.copytree(PACKAGE, tmp_path / "lossatlas", ignore=shutil.ignore_patterns("__pycache__"))
    started = tuple(modules("surfaces", "sharpness"))
    ask = f"from lossatlas.workflow import closure; print(closure.digest({started!r}))"

    def digest():
        command = [sys.executable, "-c", ask]
        return subprocess.run(
            command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
        ).stdout

    before = digest()
    assert digest() == before
    with open(tmp_path / "lossatlas" / edited, "a") as file:
        file.write("\n# mended\n")
    assert digest() != before
