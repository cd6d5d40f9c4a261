"""docs/own-study.md, run as it stands in an empty folder; a study of one's own has a page that others do not change."""

import json
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import torch
import yaml
from harness import ROOT

from lossatlas.errors import LossatlasError
from lossatlas.files.checksum import file_digest
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.train.spec import run

PAGE = (ROOT / "docs/own-study.md").read_text()
BLOCK = re.compile(r"`(\w+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A folder in which the page was followed, and what its two commands said."""
    folder = tmp_path_factory.mktemp("own")
    blocks = dict(BLOCK.findall(PAGE))
    assert list(blocks) == ["mynet.py", "make.py", "study.py", "short.yaml"]
    for name, text in blocks.items():
        (folder / name).write_text(text)
    for script in ("make.py", "study.py"):
        done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    commands = re.findall(r"^    (snakemake .*)$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    return folder, [_run(folder, command) for command in commands]


def _run(folder, command):
    """Run a command of the page from the folder, as the page says."""
    words = command.split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *words],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_page_is_true(followed):
    folder, (planned, _) = followed
    assert "own_gallery" in planned
    table = pd.read_csv(folder / "results/tables/short/hessian.csv")
    state = torch.load(folder / "a.pt")["state_dict"]
    assert table["lambda_max"][0] > table["lambda_min"][0]
    assert table["converged"][0] == 1
    page = (folder / "results/galleries/short/index.html").read_text()
    assert "Curvature where the training ended" in page
    assert len(state) == 9
    assert not (folder / "results/figures/all").exists(), "the common page is not touched"


def test_a_replaced_checkpoint_is_computed_anew(followed, tmp_path):
    folder = shutil.copytree(followed[0], tmp_path / "copy")
    again = _run(folder, "snakemake --cores 1 --config studies=[short.yaml] -n")
    assert "Nothing to be done" in again or "train" not in again
    shutil.copy(folder / "b.pt", folder / "a.pt")
    assert re.search(r"^\s*train\s+1$", _run(folder, "snakemake --cores 1 --config studies=[short.yaml] -n"), re.M)


def test_a_study_cannot_take_the_place_of_another(tmp_path):
    raw = {"preset": "quick", "seed": 0, "formats": ["png"]}
    shutil.copy(ROOT / "config/studies/surfaces.yaml", tmp_path / "surfaces.yaml")
    with pytest.raises(LossatlasError, match=r"a study called 'surfaces', as .*rename the file"):
        load({**raw, "studies": [str(tmp_path / "surfaces.yaml")]}, ROOT)
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        shutil.copy(ROOT / "tests/studies/tiny.yaml", tmp_path / place / "mine.yaml")
    with pytest.raises(LossatlasError, match="a study called 'mine'"):
        load({**raw, "studies": [str(tmp_path / place / "mine.yaml") for place in ("one", "two")]}, ROOT)
    found = load({**raw, "studies": ["surfaces", str(tmp_path / "one/mine.yaml")]}, ROOT)
    assert found.own == ("mine",)


@pytest.mark.parametrize(
    "content, expected",
    [(b"", "is empty"), (b"- a\n- b\n", "holds list"), (b"\x80\x81PK\x03", "not text"), (None, "a folder")],
)
def test_a_study_file_that_is_none_is_one_line(tmp_path, content, expected):
    file = tmp_path / "x.yaml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(LossatlasError, match=expected) as caught:
        load({"preset": "quick", "studies": [str(file)], "seed": 0, "formats": ["png"]}, ROOT)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("key", ["lr", "weight_decay", "milestones", "options"])
def test_numbers_of_a_recipe_are_finite(tmp_path, key, value):
    given = {"milestones": [value], "options": {"rho": value}}.get(key, value)
    recipe = {key: given, **({"optimizer": "adadelta"} if key == "options" else {})}
    run = {"data": {"name": "iris"}, "model": {"name": "mlp", "widths": []}, "recipe": recipe}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump({"title": "t", "reference": "r", "runs": {"a": run}}))
    with pytest.raises(LossatlasError, match=rf"runs\.a\.recipe\.{key}"):
        load({"preset": "quick", "studies": [str(tmp_path / "x.yaml")], "seed": 0, "formats": ["png"]}, ROOT)


def test_a_studys_own_variant_beats_the_presets(tmp_path):
    for variant, expected in (("original", "original"), (None, "bundled")):
        data = {"name": "mnist", "train": 50, "test": 20, "variant": variant}
        entry = {"data": data, "model": {"name": "mlp", "widths": []}}
        (tmp_path / "x.yaml").write_text(yaml.safe_dump({"title": "t", "reference": "r", "runs": {"a": entry}}))
        raw = {"preset": "quick", "studies": [str(tmp_path / "x.yaml")], "seed": 0, "formats": ["png"]}
        found = run(Plan(load(raw, ROOT)).studies["x"], "a", None, "")
        assert found.inputs["data"][0].spec["variant"] == expected


def test_own_pages_stay_what_they_were(followed, tmp_path):
    """Another study, made afterwards in the same folder, changes no byte of the first one's page."""
    folder = shutil.copytree(followed[0], tmp_path / "copy")
    before = {p: file_digest(p) for p in (folder / "results/galleries/short").rglob("*") if p.is_file()}
    text = (folder / "short.yaml").read_text().replace("My network", "Another")
    (folder / "other.yaml").write_text(text)
    _run(folder, "snakemake --cores 1 --config studies=[other.yaml]")
    assert {p: file_digest(p) for p in before} == before
    record = json.loads((folder / "results/galleries/other/index.json").read_text())
    assert [study["name"] for study in record["studies"]] == ["other"]
