"""The frame of figures and tables: every file says where it came from, bytes repeat, colours are told apart."""

import json
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from harness import draw, inputs
from PIL import Image
from specimens import PROVENANCE, embedding_spec, jump_cloud, save_embedding

from lossatlas.draw import style
from lossatlas.draw.draw import write_table
from lossatlas.errors import LossatlasError
from lossatlas.study.read import read_product


@pytest.fixture
def given(tmp_path):
    return {"embedding": {"cloud0/phate": save_embedding(tmp_path / "embedding.h5", *jump_cloud())}}


def test_provenance_is_in_every_format_and_bytes_are_reproducible(tmp_path, given):
    files = []
    for folder in ("a", "b"):
        out = {kind: tmp_path / folder / f"fig.{kind}" for kind in ("png", "pdf", "svg", "csv")}
        draw(embedding_spec(), given, out, PROVENANCE)
        files.append(out)
    text = json.dumps(PROVENANCE, sort_keys=True)
    with Image.open(files[0]["png"]) as image:
        assert json.loads(image.text["lossatlas"]) == PROVENANCE
        assert image.width > 1000
    pdf = files[0]["pdf"].read_bytes()
    assert b"/Keywords" in pdf
    assert text.encode() in pdf
    assert b"CreationDate" not in pdf
    svg = files[0]["svg"].read_text()
    assert text.replace('"', "&quot;") in svg or text in svg
    for kind in files[0]:
        assert files[0][kind].read_bytes() == files[1][kind].read_bytes(), kind


def test_user_matplotlibrc_changes_nothing(tmp_path, given):
    pictures = []
    for i, settings in enumerate(({}, {"font.size": 30.0, "figure.facecolor": "red", "savefig.dpi": 50})):
        with mpl.rc_context(settings):
            draw(embedding_spec(), given, {"png": tmp_path / f"{i}.png"})
            assert mpl.rcParams["font.size"] == settings.get("font.size", mpl.rcParams["font.size"])
        pictures.append((tmp_path / f"{i}.png").read_bytes())
    assert pictures[0] == pictures[1]


def simulated(rgb, kind):
    """Colour as a dichromat sees it (Machado, Oliveira, Fernandes 2009, severity 1), then CIELAB."""
    matrices = {
        "normal": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    }
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(matrices[kind]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", ["normal", "protan", "deutan"])
def test_directions_stay_apart_for_colour_blind_readers(kind):
    """A difference of 10 in CIELAB is seen at once; half-way to white the hues must still be told apart."""
    for progress, least in ((0.0, 15.0), (0.5, 8.0)):
        labs = [simulated(style.shade(hue, np.array([progress]), "descending")[0], kind) for hue in style.hues(5)]
        assert min(np.linalg.norm(a - b) for a, b in combinations(labs, 2)) > least, (kind, progress)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kind": "embeding"}, "kind: 'embeding' is not a kind of figure or table; did you mean 'embedding'?"),
        ({"colour": "run"}, "colour: unknown key; did you mean 'color'?"),
        ({"color": "loss"}, "color: 'loss' is not allowed; valid: direction, run, step, epoch, train_loss"),
        ({"columns": "2"}, "columns: '2' is of type str, expected an integer"),
        ({"columns": 0}, "columns: 0 is not allowed; give a value at least 1"),
        ({"limits": [1, 0.1]}, r"limits: \[1, 0.1\] is not \[low, high\]"),
        ({"panels": []}, "panels: no entries; give at least 1"),
        ({"panels": [{"cloud": "c", "embeding": "e"}]}, r"panels\[0\].embeding: unknown key; did you mean 'embedding'"),
        ({"panels": [{"cloud": "c"}]}, r"panels\[0\].embedding: missing"),
        ({"panels": ["c"]}, r"panels\[0\]: 'c' is of type str, expected a mapping"),
        ({"diamonds": 1}, "diamonds: 1 is of type int, expected true or false"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(LossatlasError, match=message):
        read_product({**embedding_spec(), **changes})


def test_all_mistakes_at_once_with_their_place():
    with pytest.raises(LossatlasError) as caught:
        read_product({**embedding_spec(), "colour": 1, "hue": "up"}, "figures.fig2")
    assert sorted(str(caught.value).splitlines()) == [
        "figures.fig2.colour: unknown key; did you mean 'color'?",
        "figures.fig2.hue: 'up' is not allowed; valid: descending, ascending",
    ]


def test_wrong_files_and_kinds(tmp_path, given):
    with pytest.raises(LossatlasError, match="no such embedding file"):
        draw(embedding_spec(), {"embedding": {"cloud0/phate": tmp_path / "absent.h5"}}, {"png": tmp_path / "f.png"})
    with pytest.raises(LossatlasError, match="format 'jpg': not one of png, pdf, svg, csv"):
        draw(embedding_spec(), given, {"jpg": tmp_path / "f.jpg"})
    table = {"kind": "runs", "rows": [{"run": "r"}]}
    with pytest.raises(LossatlasError, match="kind: 'runs' is a kind of table, not of figure; write it under `tables`"):
        read_product(table, role="figure")
    with pytest.raises(LossatlasError, match="is a kind of figure, not of table; write it under `figures`"):
        read_product(embedding_spec(), role="table")
    with pytest.raises(LossatlasError, match="no file of runs 'r' was given"):
        write_table(read_product(table), inputs({}), tmp_path / "t.csv")
    assert not (tmp_path / "f.png").exists()
    assert not (tmp_path / "t.csv").exists()
