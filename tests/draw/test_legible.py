"""Every kind of figure as it is printed: no wider than the page, no text too small, cut, on another or on a picture."""

import re
from dataclasses import dataclass
from itertools import combinations
from math import log10

import numpy as np
import pandas as pd
import pytest
from harness import draw, inputs_of, study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from specimens import (
    PCA,
    PHATE,
    cloud,
    embedding_spec,
    jump_cloud,
    out_and_back,
    save_embedding,
    save_gram,
    searched_cloud,
)

from lossatlas.data.spec import in_words
from lossatlas.draw import text as words
from lossatlas.draw.draw import signature
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import USUAL, grid
from lossatlas.draw.style import DPI, PAGE, SMALL, new_figure
from lossatlas.draw.ticks import log_labels, log_ticks
from lossatlas.study import subjects
from lossatlas.study.read import read_product

TINY = ("tiny_surfaces", "tiny_solutions", "tiny_levelsets", "tiny_generalization", "tiny_paths")
PROVENANCE = {"preset": "quick", "data_sets": ["digits, 200 training and 100 test examples"]}
SLACK = 0.015 * DPI
"""Pixels by which boxes may overlap: letters do not fill theirs."""


@dataclass(frozen=True)
class Seen:
    """A text as it was drawn: what it says, its size, its box, and the axes it belongs to; None = the figure's own."""

    said: str
    size: float
    box: object
    axes: object

    @property
    def solid(self):
        """Whether it belongs to axes in three dimensions."""
        return self.axes is not None and self.axes.name == "3d"


@pytest.fixture
def drawn(monkeypatch):
    """Return a function that draws a figure as a rule does, without writing it, and returns it."""
    kept = []
    monkeypatch.setattr("lossatlas.draw.draw.save", lambda figure, *_: kept.append(figure.figure))

    def one(spec, given):
        draw(spec, given, {}, PROVENANCE)
        return kept[-1]

    return one


def texts_of(figure, monkeypatch):
    """Return the texts that drawing a figure draws."""
    seen = []
    plain = Text.draw

    def watched(self, renderer):
        if self.get_visible() and self.get_text().strip():
            seen.append((self, self.get_window_extent(renderer)))
        plain(self, renderer)

    with monkeypatch.context() as patched:
        patched.setattr(Text, "draw", watched)
        figure.draw_without_rendering()
    owners = {id(text): axes for axes in figure.axes for text in axes.findobj(Text)}  # ticks do not know theirs
    return [Seen(text.get_text(), text.get_size(), box, owners.get(id(text))) for text, box in seen]


def overlap(a, b, slack=SLACK):
    """Tell whether two boxes overlap by more than some pixels."""
    return min(a.x1, b.x1) - max(a.x0, b.x0) > slack and min(a.y1, b.y1) - max(a.y0, b.y0) > slack


def is_flat(axes):
    """Tell whether axes show a picture in two dimensions."""
    return axes is not None and axes.name != "3d" and axes.axison


def faults(figure, monkeypatch):
    """Return what is wrong with a figure as it is printed."""
    figure.set_dpi(DPI)
    seen = texts_of(figure, monkeypatch)
    width, height = figure.get_size_inches() * figure.dpi
    found = [f"{figure.get_figwidth():.2f} inches wide"] if figure.get_figwidth() > PAGE + 1e-6 else []
    found += [f"{one.said!r} has {one.size:g} points" for one in seen if one.size < SMALL - 1e-6]
    for one in seen:
        if min(one.box.x0, one.box.y0, width - one.box.x1, height - one.box.y1) < -SLACK:
            found.append(f"{one.said!r} is cut")
        if re.search(r"10\^\{?-?\d*\.\d", one.said):
            found.append(f"{one.said!r} is no whole power")
        for axes in figure.axes:
            foreign = axes is not one.axes and (one.axes is None or not overlap(axes.bbox, one.axes.bbox))
            if is_flat(axes) and foreign and overlap(axes.bbox, one.box):
                found.append(f"{one.said!r} lies on the picture {axes.get_title() or axes.get_xlabel()!r}")
    for a, b in combinations(seen, 2):
        if a.solid and b.solid:
            continue  # boxes of slanted texts are larger than the texts
        if overlap(a.box, b.box):
            found.append(f"{a.said!r} lies on {b.said!r}")
    said = " ".join(one.said for one in seen)
    found += [f"does not say {word!r}" for word in ("preset\u00a0quick", "digits, 200") if word not in said]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# every kind


@pytest.mark.parametrize("name", TINY)
def test_figures_of_tiny_studies(made_study, drawn, monkeypatch, name):
    folder, plan = made_study(name)
    for figure, product in plan.figures.items():
        sheet = drawn(read_product(product.spec), inputs_of(product, folder))
        assert faults(sheet, monkeypatch) == [], figure


def jumps(folder, count):
    """Return clouds of retrainings and their embeddings by turns of two methods, as inputs take them."""
    files = {"gram": {}, "embedding": {}}
    for i in range(count):
        files["gram"][f"c{i}"] = save_gram(folder / f"g{i}.h5", cloud(out_and_back, steps=(0.5, 1.0)))
        method = (PHATE, PCA)[i % 2]
        files["embedding"][f"c{i}/phate"] = save_embedding(folder / f"e{i}.h5", *jump_cloud(), method=method)
    return files


LONG = "good minimum, no weight decay, no augmentation"


def panels(count, **more):
    """Return entries of panels."""
    return [{"cloud": f"c{i}", "title": LONG, **more} for i in range(count)]


def embedding(folder, count, **changes):
    files = jumps(folder, count)["embedding"]
    named = {f"cloud{i}/phate": files[f"c{i}/phate"] for i in range(count)}
    return {**embedding_spec(count), **changes}, {"embedding": named}


def returns(folder, count, embedded):
    more = {"embedding": "phate"} if embedded else {}
    return {"kind": "returns", "panels": panels(count, **more)}, jumps(folder, count)


def shares(folder):
    table = pd.DataFrame({"seed": [0, 0, 1, 1], "step": 1.0, "epoch": [0.0, 1, 0, 1], "angle": [0.5, 0.4, 0.6, 0.2]})
    numbers = {name: [1.0, 0.5, 1.0, 0.4] for name in ("predicted", "jump_left", "theta_left", "radius")}
    path = folder / "shares.csv"
    table.assign(run="a", **numbers).to_csv(path, index=False)
    points = [{"cloud": "a", "group": "good, decay, augmentation"}, {"cloud": "a", "group": "bad, neither"}]
    return {"kind": "shares", "points": points}, {"shares": {"a": path}}


def score_panels(folder):
    names = ("phate", "tsne", "umap", "random")
    rows = [("exact", "euclidean", "{}", 0, 0.9, 1.0), ("pca", "none", "{}", 0, 0.2, 1.4)]
    rows += [(name, metric, "{}", 0, 0.5, 0.7) for name in names for metric in ("euclidean", "cosine")]
    table = pd.DataFrame(rows, columns=["method", "metric", "setting", "seed", "demap", "wholeness"])
    path = folder / "scores.csv"
    table.assign(continuity=0.5, trustworthiness=0.5).to_csv(path, index=False)
    entry = {"kind": "score_panels", "rows": [{"scores": "a", "title": "good"}], "show": ["demap", "wholeness"]}
    return entry, {"scores": {"a": [path, path]}}


def nearest(folder):
    gram = searched_cloud(np.random.default_rng())
    return {"kind": "nearest", "cloud": "a"}, {"gram": {"a": save_gram(folder / "gram.h5", gram)}}


def animation(folder):
    entry, files = embedding(folder, 3)
    kept = {key: value for key, value in entry.items() if key in ("panels", "title", "caption")}
    return {**kept, "kind": "animation"}, files


SPECIMENS = {
    "four embeddings": lambda folder: embedding(folder, 4),
    "eight embeddings": lambda folder: embedding(folder, 8, columns=4),
    "colours by loss": lambda folder: embedding(folder, 1, color="train_loss"),
    "returns": lambda folder: returns(folder, 5, embedded=False),
    "embedded returns": lambda folder: returns(folder, 4, embedded=True),
    "shares": shares,
    "score panels": score_panels,
    "nearest": nearest,
    "animation": animation,
}


@pytest.mark.parametrize("name", SPECIMENS)
def test_figures_of_clouds(tmp_path, drawn, monkeypatch, name):
    entry, files = SPECIMENS[name](tmp_path)
    assert faults(drawn(entry, files), monkeypatch) == []


def test_no_kind_is_left_out(tmp_path):
    kinds = {product.spec["kind"] for name in TINY for product in study(name).figures.values()}
    kinds |= {SPECIMENS[name](tmp_path)[0]["kind"] for name in SPECIMENS}
    assert kinds == {name for name, product in subjects.products().items() if product.role == "figure"}


def test_faults_are_found(monkeypatch):
    figure = new_figure(PAGE + 1, 2.0)
    axes = figure.add_axes((0.3, 0.3, 0.3, 0.4))
    axes.set_xticks([0.5, 0.51], ["$10^{4.5}$", "next"])
    figure.text(0.4, 0.5, "on it", fontsize=6)
    figure.text(0.99, 0.9, "beyond")
    said = " ".join(faults(figure, monkeypatch))
    for word in (
        "inches wide",
        "6 points",
        "is cut",
        "no whole power",
        "lies on the picture",
        "lies on 'next'",
        "does not say",
    ):
        assert word in said, word


# ---------------------------------------------------------------------------------------------------------------------
# what layouts are made of


def printed(text, size):
    """Width in inches of a text as Agg draws it."""
    figure = new_figure(20, 1)
    figure.set_dpi(DPI)
    shown = figure.text(0, 0, text, fontproperties=FontProperties(family=words.FAMILY), fontsize=size)
    return shown.get_window_extent(FigureCanvasAgg(figure).get_renderer()).width / figure.dpi


def test_widths_are_those_in_print_and_lines_keep_to_theirs(rng):
    letters = list("abcdefghijklmnopqrstuvwxyzWM0123456789.,")
    for _ in range(5):
        text = " ".join("".join(rng.choice(letters, rng.integers(1, 12))) for _ in range(12))
        size, room = rng.uniform(7, 10), rng.uniform(1.5, 3)
        assert words.width(text, size) == pytest.approx(printed(text, size), rel=0.03)
        lines = words.wrapped(text, room, size)
        assert " ".join(lines) == text
        assert all(printed(line, size) < 1.03 * room for line in lines)
    assert words.wrapped("", 1.0, 7) == []
    assert words.wrapped("one\ntwo", 9.0, 7) == ["one", "two"]


def test_ticks_are_round_and_few_and_within_limits(rng):
    for _ in range(300):
        low = 10 ** rng.uniform(-8, 6)
        high = low * 10 ** rng.uniform(0.05, 14)
        ticks = log_ticks(low, high)
        assert 2 <= len(ticks) <= 6, (low, high)
        assert low * 0.999 <= min(ticks) <= max(ticks) <= high * 1.001
        assert sorted(set(ticks)) == ticks
        if log10(high / low) > 4:
            np.testing.assert_allclose(np.log10(ticks), np.round(np.log10(ticks)), atol=1e-9)
        for tick, label in zip(ticks, log_labels(ticks), strict=True):
            plain = (
                label.replace("$", "").replace("\\times", "*").replace("10^{", "1e").replace("}", "").replace(",", "")
            )
            digits, _, power = plain.partition("*1e") if "*" in plain else ("1", "", "0")
            assert (float(digits) * 10 ** float(power) if "*" in plain else float(plain)) == pytest.approx(
                tick, rel=1e-3
            )


def test_pages_have_room_for_all_and_legends_stand_free(rng):
    for _ in range(20):
        count, columns = int(rng.integers(1, 10)), [None, 1, 2, 3, 4][rng.integers(5)]
        sidebar = Sidebar()
        for _ in range(rng.integers(0, 4)):
            sidebar.heading("A heading")
            for _ in range(rng.integers(1, 6)):
                sidebar.marker("x" * int(rng.integers(2, 30)), marker="o")
        page = grid(
            count, columns, rng.uniform(1.6, 3.5), lambda width: width, sidebar, titles=["a title, long"] * count
        )
        sheet = page.figure
        assert sheet.get_figwidth() <= PAGE + 1e-9
        boxes = [*sheet.cells, *([sheet.legend_box] if sheet.legend_box else [])]
        assert (sheet.legend_box is None) == (not sidebar.entries)
        for a, b in combinations(boxes, 2):
            apart_x = a.left + a.width <= b.left + 1e-6 or b.left + b.width <= a.left + 1e-6
            apart_y = a.top + a.height <= b.top + 1e-6 or b.top + b.height <= a.top + 1e-6
            assert apart_x or apart_y
        for cell, place in zip(sheet.cells, page.places, strict=True):
            assert cell.left <= place.left <= place.left + place.width <= cell.left + cell.width + 1e-6
            assert cell.top <= place.top <= place.top + place.height <= cell.top + cell.height + 1e-6
        if columns is None:
            assert len({cell.left for cell in sheet.cells}) <= USUAL.get(count, 3)


def test_a_figure_grows_at_its_foot_alone():
    figure = new_figure(4.0, 2.0)
    axes = figure.add_axes((0.25, 0.25, 0.5, 0.5))
    text = figure.text(0.1, 0.75, "above")
    right = axes.twinx()
    figure.grow(2.0)
    assert figure.get_figheight() == pytest.approx(4.0)
    for box in (axes.get_position(), right.get_position()):
        assert [(1 - box.y1) * 4, (1 - box.y0) * 4] == pytest.approx([0.5, 1.5])
    assert (1 - text.get_position()[1]) * 4 == pytest.approx(0.5)


def test_the_foot_names_data_and_preset():
    spec = study("tiny_paths").figures["heights"]
    assert spec.data_sets == ["Iris, 120 training and 30 test examples"]
    made = {"name": "mnist", "variant": "bundled", "train": 500, "test": None, "size": 14}
    assert in_words(made) == "MNIST, 500 training and 1,000 test examples, 14 x 14 pixels"
    assert signature({"data_sets": ["a", "b"], "preset": "laptop"}) == "a; b \u00b7 preset\u00a0laptop"
    assert signature({}) == ""
