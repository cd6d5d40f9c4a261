"""Every artefact of every preset and tiny study keeps its kind and its path: the lists were frozen when numerics and
precision began to name artefacts (November 2026); a change of them is a decision, told in the changelog."""

from pathlib import Path

import pytest
from harness import ROOT

from lossatlas.specs.yaml import read_yaml
from lossatlas.study.config import load
from lossatlas.study.plan import Plan

FROZEN = sorted((ROOT / "tests/study/frozen").glob("*.txt"))
PRESETS = ("quick", "laptop", "paper")


def planned(name):
    """Return kind/id of every artefact of a preset, or of a tiny study."""
    raw = read_yaml(ROOT / "config/config.yaml")
    if name in PRESETS:
        return sorted(f"{kind}/{id}" for kind, id in Plan(load({**raw, "preset": name}, ROOT)).artefacts)
    (study,) = (path for path in (ROOT / "tests").rglob(f"{name}.yaml") if path.parent.name in ("studies", "slurm"))
    found = Plan(load({**raw, "preset": "quick", "studies": [str(study)]}, ROOT))
    return sorted(f"{kind}/{id}" for kind, id in found.artefacts)


def test_the_lists_are_there():
    assert {path.stem for path in FROZEN} >= {*PRESETS, "small", "tiny", "tiny_surfaces"}


@pytest.mark.parametrize("file", FROZEN, ids=lambda path: path.stem)
def test_every_artefact_keeps_its_path(file: Path):
    frozen, found = file.read_text().split(), planned(file.stem)
    changed = [f"- {name}" for name in frozen if name not in found] + [f"+ {n}" for n in found if n not in frozen]
    assert not changed, "\n".join(changed[:40])
