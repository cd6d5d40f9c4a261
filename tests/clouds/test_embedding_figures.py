"""Figures of kind ``embedding``: the CSV says what is drawn, and colours mean one thing."""

import json
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from harness import draw, inputs
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image
from specimens import (
    PCA,
    PHATE,
    PROVENANCE,
    embedding_spec,
    jump_cloud,
    legend_of,
    panels_of,
    points_of,
    save_embedding,
)

from lossatlas.clouds.figures import embedding as embedding_kind
from lossatlas.draw import style
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Reference, references
from lossatlas.study.read import read_product


def given(*files):
    """Return the inputs of panels in order."""
    return {"embedding": {f"cloud{i}/phate": file for i, file in enumerate(files)}}


def composed(entry, files):
    with mpl.rc_context():
        return embedding_kind.compose(read_product(entry), inputs(given(*files)))


@pytest.fixture
def cloud_file(tmp_path):
    return save_embedding(tmp_path / "embedding.h5", *jump_cloud())


def test_csv_holds_the_drawn_numbers(tmp_path, cloud_file):
    table, xy = jump_cloud()
    out = {kind: tmp_path / f"fig.{kind}" for kind in ("png", "pdf", "svg", "csv")}
    assert draw(embedding_spec(), given(cloud_file), out, PROVENANCE) == ()
    numbers = pd.read_csv(out["csv"])
    assert list(numbers.columns[:6]) == ["panel", "cloud", "embedding", "title", "x", "y"]
    np.testing.assert_array_equal(numbers[["x", "y"]].to_numpy(), xy)
    for column in ("seed", "step", "epoch", "train_loss"):
        np.testing.assert_array_equal(numbers[column].to_numpy(), table[column].to_numpy())
    axes = panels_of(composed(embedding_spec(), [cloud_file]).figure)[0]
    drawn = {tuple(p) for p in np.asarray(points_of(axes).get_offsets())}
    assert drawn == {tuple(p) for p in xy[1:]}
    assert not list(tmp_path.glob(".*"))


def test_loss_colours_are_shared_by_all_panels(tmp_path):
    tables = [jump_cloud(scale=scale) for scale in (1.0, 100.0)]
    files = [save_embedding(tmp_path / f"{i}.h5", *table) for i, table in enumerate(tables)]
    drawn = composed(embedding_spec(2, color="train_loss"), files)
    low, high = 1e-3, 100.0
    bars = [axes for axes in drawn.figure.axes if axes.get_yscale() == "log"]
    assert len(bars) == 1
    assert bars[0].get_ylim() == pytest.approx((low, high))
    cmap = mpl.colormaps[style.VALUE_MAP]
    for axes, (table, _) in zip(panels_of(drawn.figure), tables, strict=True):
        moving = table[table["seed"] >= 0].sort_values("epoch", kind="stable")
        share = (np.log(moving["train_loss"]) - np.log(low)) / (np.log(high) - np.log(low))
        np.testing.assert_allclose(points_of(axes).get_facecolors()[:, :3], cmap(share.to_numpy())[:, :3], atol=0.02)
    assert drawn.notes == ()


def test_loss_that_is_nan_inf_or_zero_is_drawn_and_counted(tmp_path):
    table, xy = jump_cloud()
    table.loc[[3, 4, 5], "train_loss"] = [np.nan, np.inf, np.nan]
    table.loc[[6, 7], "train_loss"] = [0.0, -1.0]
    path = save_embedding(tmp_path / "embedding.h5", table, xy)
    out = {kind: tmp_path / f"fig.{kind}" for kind in ("png", "pdf", "csv")}
    notes = draw(embedding_spec(color="train_loss"), given(path), out)
    assert notes == (
        "Crosses: 3 points without a finite loss.",
        "2 points of loss 0 or below drawn at the low end of the colours.",
    )
    with Image.open(out["png"]) as image:
        assert json.loads(image.text["lossatlas-notes"]) == list(notes)
    assert len(pd.read_csv(out["csv"])) == len(table)
    axes = panels_of(composed(embedding_spec(color="train_loss"), [path]).figure)[0]
    scatters = [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]
    assert any(len(s) == 3 and {tuple(p) for p in s} == {tuple(p) for p in xy[[3, 4, 5]]} for s in scatters), "crosses"
    assert len(points_of(axes).get_offsets()) == len(table) - 1 - 3


def test_all_losses_nan_still_draws(tmp_path):
    table, xy = jump_cloud(seeds=2)
    table["train_loss"] = np.nan
    drawn = composed(embedding_spec(color="train_loss"), [save_embedding(tmp_path / "e.h5", table, xy)])
    assert drawn.notes == (f"Crosses: {len(table)} points without a finite loss.",)


def test_points_without_coordinates_are_left_out_and_counted(tmp_path):
    table, xy = jump_cloud()
    xy[5] = np.nan
    drawn = composed(embedding_spec(), [save_embedding(tmp_path / "e.h5", table, xy)])
    assert drawn.notes == ("1 point without finite coordinates left out.",)
    assert len(drawn.numbers) == len(table) - 1


@pytest.mark.parametrize("hue, lighter", [("descending", True), ("ascending", False)])
def test_hue_by_epoch(cloud_file, hue, lighter):
    axes = panels_of(composed(embedding_spec(hue=hue), [cloud_file]).figure)[0]
    faces = points_of(axes).get_facecolors()[:, :3].sum(axis=1)
    per_epoch = np.array([part.mean() for part in np.split(faces, 4)])  # drawn in epoch order, 20 trajectories
    assert (np.diff(per_epoch) > 0).all() == lighter
    assert (np.diff(per_epoch) < 0).all() != lighter


def test_diamonds_lines_and_the_minimum(cloud_file):
    table, xy = jump_cloud()
    axes = panels_of(composed(embedding_spec(), [cloud_file]).figure)[0]
    lines = next(c for c in axes.collections if isinstance(c, LineCollection))
    assert len(lines.get_segments()) == 20
    assert all(len(segment) == 4 for segment in lines.get_segments())
    scatters = [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]
    jumps = {tuple(p) for p in xy[(table["epoch"] == 0) & (table["seed"] >= 0)]}
    assert any({tuple(p) for p in s} == jumps for s in scatters)
    assert any(len(s) == 1 and tuple(s[0]) == (0.0, 0.0) for s in scatters)
    bare = panels_of(composed(embedding_spec(diamonds=False, lines=False), [cloud_file]).figure)[0]
    assert not any(isinstance(c, LineCollection) for c in bare.collections)
    assert len(bare.collections) == 2


def test_nothing_is_clipped_and_scales_are_equal(tmp_path):
    files = [save_embedding(tmp_path / f"{i}.h5", *jump_cloud(), method=m) for i, m in enumerate((PHATE, PCA) * 4)]
    drawn = composed(embedding_spec(8), files)
    canvas = drawn.figure.canvas
    canvas.draw()
    width, height = drawn.figure.get_size_inches() * drawn.figure.dpi
    for axes in panels_of(drawn.figure):
        offsets = np.asarray(points_of(axes).get_offsets())
        for limits, values in zip((axes.get_xlim(), axes.get_ylim()), offsets.T, strict=True):
            assert limits[0] < values.min()
            assert values.max() < limits[1]
        assert np.ptp(axes.get_xlim()) == pytest.approx(np.ptp(axes.get_ylim()))
    texts = [
        t for axes in drawn.figure.axes for t in [*axes.texts, axes.xaxis.label, axes.yaxis.label]
    ] + drawn.figure.texts
    boxes = [t.get_window_extent() for t in texts if t.get_text()]
    assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= width and b.y1 <= height for b in boxes)
    for a, b in combinations(boxes, 2):
        assert not (a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1), "texts overlap"


def test_axes_are_named_after_the_method(tmp_path):
    files = [save_embedding(tmp_path / f"{i}.h5", *jump_cloud(), method=m) for i, m in enumerate((PHATE, PCA))]
    phate, pca = panels_of(composed(embedding_spec(2), files).figure)
    assert phate.get_xlabel() == "PHATE 1"
    assert not len(phate.get_xticks())
    assert [pca.get_xlabel(), pca.get_ylabel()] == ["PC 1 (50.0 %)", "PC 2 (12.3 %)"]
    assert len(pca.get_xticks()) > 1
    settings = " ".join(t.get_text() for t in phate.texts).replace("\u00a0", " ")
    assert "cosine distance, knn 5, t 25" in settings, "the t that was used, not `auto`"


def test_branches_of_a_tree_have_a_legend_and_shades_of_their_own(tmp_path):
    table, xy = jump_cloud()
    branches = table[table["seed"] >= 0].assign(run="tree", step=0.0)
    branches["seed"] += 5
    branches["epoch"] *= 10.0
    files = [save_embedding(tmp_path / "jumps.h5", table, xy), save_embedding(tmp_path / "tree.h5", branches, xy[1:])]
    drawn = composed(embedding_spec(2), files)
    texts = [text.get_text() for axes in drawn.figure.axes for text in axes.texts]
    headings = ["Direction (seed) (a)", "Epoch (a)", "Branch (b)", "Along the branch (b)"]
    assert [text for text in texts if text in headings] == headings
    first, last = table.loc[table["seed"] >= 0, "epoch"].max(), branches["epoch"].max()
    assert f"{first:g}" in texts
    assert f"{last:g}" in texts
    alone = composed(embedding_spec(), files[:1])  # the longer branches leave the jumps' shades as they are
    faces = [points_of(panels_of(one.figure)[0]).get_facecolors() for one in (drawn, alone)]
    np.testing.assert_array_equal(*faces)


def test_long_settings_are_told_in_full(tmp_path):
    path = save_embedding(tmp_path / "e.h5", *jump_cloud())
    texts = {}
    for columns in (1, 4):
        drawn = composed({**embedding_spec(4), "columns": columns}, [path] * 4)
        below = [text.get_text() for text in panels_of(drawn.figure)[0].texts if text.get_text()[:1] != "a"]
        texts[columns] = " ".join(" ".join(below).split())
        assert "…" not in texts[columns]
    assert texts[1] == texts[4]


def test_whole_trainings_are_coloured_by_run_with_stars_at_the_initialisations(tmp_path):
    rows = [
        {"run": run, "replica": replica, "seed": -1, "step": 0.0, "epoch": float(epoch), "train_loss": 1.0}
        for run in ("sgd", "adam")
        for replica in (0, 1)
        for epoch in range(3)
    ]
    xy = np.random.default_rng(0).normal(size=(len(rows), 2))
    path = save_embedding(tmp_path / "e.h5", pd.DataFrame(rows), xy)
    drawn = composed(embedding_spec(color="run", labels={"sgd": "SGD", "adam": "Adam"}), [path])
    axes = panels_of(drawn.figure)[0]
    assert len(next(c for c in axes.collections if isinstance(c, LineCollection)).get_segments()) == 4
    stars = np.asarray(axes.collections[-1].get_offsets())
    np.testing.assert_array_equal(np.sort(stars[:, 0]), np.sort(xy[::3, 0]))
    shown = legend_of(drawn.figure)
    assert [t for t in shown if t in ("SGD", "Adam")] == ["SGD", "Adam"]
    assert "initialisation" in shown


@pytest.mark.parametrize("color", ["step", "epoch"])
def test_other_colourings(cloud_file, color):
    assert len(composed(embedding_spec(color=color), [cloud_file]).numbers) == 81


def test_a_resolved_spec_stays_and_panels_override():
    entry = embedding_spec(2, color="train_loss")
    entry["panels"][1]["color"] = "epoch"
    read = read_product(entry)
    assert [panel.color for panel in read.panels] == ["train_loss", "epoch"]
    assert read_product(read.hashed()) == read


def test_references_name_the_artefacts():
    found = list(references(read_product(embedding_spec(2))))
    assert found == [Reference("embedding", (f"cloud{i}", "phate"), f"panels[{i}].embedding") for i in range(2)]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"color": "train_loss", "hue": "ascending"}, "hue: is of the colours direction and run, which no panel has"),
        ({"limits": [1, 2]}, "limits: is of the colours epoch and train_loss, which no panel has; remove it"),
        ({"labels": {"wrn": "WRN"}}, "labels: is of the colour run, which no panel has; remove it"),
    ],
)
def test_keys_that_would_show_nothing_are_refused(changes, message):
    with pytest.raises(LossatlasError, match=message):
        read_product(embedding_spec(panels=2, **changes))
    shown = embedding_spec(panels=2, **changes)
    shown["panels"][1]["color"] = "run" if changes.get("color") or "labels" in changes else "epoch"
    assert read_product(shown)


def test_what_a_paper_says_is_of_a_method():
    table = {"kind": "scores", "title": "t", "caption": "c", "rows": [{"scores": "a"}]}
    assert read_product({**table, "paper": {"phate": 1, "exact": 2}})
    with pytest.raises(LossatlasError, match=r"paper\.phat: not a method; did you mean 'phate'"):
        read_product({**table, "paper": {"phat": 1}})
