"""Figures and tables: the CSV says what is drawn, colours mean one thing, every file says where it came from."""

import json
import subprocess
import sys
from itertools import combinations
from types import SimpleNamespace

import h5py
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

from lossatlas.clouds.figures import embedding as embedding_kind
from lossatlas.clouds.files import Gram
from lossatlas.draw import style
from lossatlas.draw.draw import draw
from lossatlas.draw.draw import write_table as write_a_table
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import write_table
from lossatlas.legacy.figures import check, inputs, resolve
from lossatlas.train.numbers import last_epoch
from lossatlas.trajectories.figures import curves as curves_kind

PROVENANCE = {"preset": "quick", "commit": "abc", "artefacts": [{"kind": "embeddings", "hash": "0123456789"}]}
PHATE = {"name": "phate", "metric": "cosine", "parameters": {"knn": 5, "t": "auto"}, "notes": {"t": 25}}
PCA = {"name": "pca", "metric": "euclidean", "parameters": {}, "notes": {"explained_variance_ratio": [0.5, 0.123]}}


def jump_cloud(seeds=5, steps=(0.25, 0.5, 0.75, 1.0), epochs=4, scale=1.0):
    """Table and coordinates of a cloud: arms that come back, the minimum first."""
    rows = [{"run": "wrn", "seed": -1, "step": 0.0, "epoch": 200.0, "train_loss": 1e-3 * scale, "test_accuracy": 0.9}]
    xy = [(0.0, 0.0)]
    for seed in range(seeds):
        for step in steps:
            for epoch in range(epochs):
                radius, angle = step * (1 - 0.2 * epoch), 2 * np.pi * seed / seeds + 0.1 * epoch * step
                xy.append((radius * np.cos(angle), radius * np.sin(angle)))
                loss = scale * step * np.exp(-epoch)
                rows.append({**rows[0], "seed": seed, "step": step, "epoch": float(epoch), "train_loss": loss})
    return pd.DataFrame(rows), np.array(xy)


def save(path, table, xy, method=PHATE):
    with h5py.File(path, "w") as file:
        file.attrs.update(kind="embedding", provenance="{}", method=json.dumps(method))
        file["coordinates"] = xy
        write_table(file, table)
    return path


def spec(panels=1, **changes):
    entries = [{"cloud": f"cloud{i}", "embedding": "phate", "title": f"cloud {i}"} for i in range(panels)]
    return {"kind": "embedding", "title": "A figure", "panels": entries, **changes}


def composed(entry, files):
    with mpl.rc_context():
        return embedding_kind.compose(resolve(entry), {"panels": files})


def points_of(axes):
    """The coloured points of a panel: the largest scatter of circles."""
    scatters = [c for c in axes.collections if isinstance(c, PathCollection) and not isinstance(c, LineCollection)]
    return max(scatters, key=lambda c: len(c.get_offsets()))


@pytest.fixture
def cloud_file(tmp_path):
    return save(tmp_path / "embedding.h5", *jump_cloud())


def test_csv_holds_the_drawn_numbers(tmp_path, cloud_file):
    table, xy = jump_cloud()
    out = {kind: tmp_path / f"fig.{kind}" for kind in ("png", "pdf", "svg", "csv")}
    assert draw(spec(), {"panels": [cloud_file]}, out, PROVENANCE) == ()
    numbers = pd.read_csv(out["csv"])
    assert list(numbers.columns[:6]) == ["panel", "cloud", "embedding", "title", "x", "y"]
    np.testing.assert_array_equal(numbers[["x", "y"]].to_numpy(), xy)
    for column in ("seed", "step", "epoch", "train_loss"):
        np.testing.assert_array_equal(numbers[column].to_numpy(), table[column].to_numpy())
    axes = composed(spec(), [cloud_file]).figure.axes[0]
    drawn = {tuple(p) for p in np.asarray(points_of(axes).get_offsets())}
    assert drawn == {tuple(p) for p in xy[1:]}
    assert not list(tmp_path.glob(".*"))


def test_provenance_is_in_every_format_and_bytes_are_reproducible(tmp_path, cloud_file):
    files = []
    for folder in ("a", "b"):
        out = {kind: tmp_path / folder / f"fig.{kind}" for kind in ("png", "pdf", "svg", "csv")}
        draw(spec(), {"panels": [cloud_file]}, out, PROVENANCE)
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


def test_user_matplotlibrc_changes_nothing(tmp_path, cloud_file):
    pictures = []
    for i, settings in enumerate(({}, {"font.size": 30.0, "figure.facecolor": "red", "savefig.dpi": 50})):
        with mpl.rc_context(settings):
            draw(spec(), {"panels": [cloud_file]}, {"png": tmp_path / f"{i}.png"}, {})
            assert mpl.rcParams["font.size"] == settings.get("font.size", mpl.rcParams["font.size"])
        pictures.append((tmp_path / f"{i}.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_loss_colours_are_shared_by_all_panels(tmp_path):
    files = [save(tmp_path / f"{scale}.h5", *jump_cloud(scale=scale)) for scale in (1.0, 100.0)]
    drawn = composed(spec(2, color="train_loss"), files)
    low, high = 1e-3, 100.0
    bars = [axes for axes in drawn.figure.axes if axes.get_yscale() == "log"]
    assert len(bars) == 1
    assert bars[0].get_ylim() == pytest.approx((low, high))
    cmap = mpl.colormaps[style.VALUE_MAP]
    for axes, file in zip(drawn.figure.axes[:2], files, strict=True):
        table = embedding_kind.read(file)[0]
        moving = table[table["seed"] >= 0].sort_values("epoch", kind="stable")
        share = (np.log(moving["train_loss"]) - np.log(low)) / (np.log(high) - np.log(low))
        np.testing.assert_allclose(points_of(axes).get_facecolors()[:, :3], cmap(share.to_numpy())[:, :3], atol=0.02)
    assert drawn.notes == ()


def test_loss_that_is_nan_inf_or_zero_is_drawn_and_counted(tmp_path):
    table, xy = jump_cloud()
    table.loc[[3, 4, 5], "train_loss"] = [np.nan, np.inf, np.nan]
    table.loc[[6, 7], "train_loss"] = [0.0, -1.0]
    path = save(tmp_path / "embedding.h5", table, xy)
    out = {kind: tmp_path / f"fig.{kind}" for kind in ("png", "pdf", "csv")}
    notes = draw(spec(color="train_loss"), {"panels": [path]}, out, {})
    assert notes == (
        "Crosses: 3 points without a finite loss.",
        "2 points of loss 0 or below drawn at the low end of the colours.",
    )
    with Image.open(out["png"]) as image:
        assert json.loads(image.text["lossatlas-notes"]) == list(notes)
    assert len(pd.read_csv(out["csv"])) == len(table)
    axes = composed(spec(color="train_loss"), [path]).figure.axes[0]
    scatters = [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]
    assert any(len(s) == 3 and {tuple(p) for p in s} == {tuple(p) for p in xy[[3, 4, 5]]} for s in scatters), "crosses"
    assert len(points_of(axes).get_offsets()) == len(table) - 1 - 3


def test_all_losses_nan_still_draws(tmp_path):
    table, xy = jump_cloud(seeds=2)
    table["train_loss"] = np.nan
    drawn = composed(spec(color="train_loss"), [save(tmp_path / "e.h5", table, xy)])
    assert drawn.notes == (f"Crosses: {len(table)} points without a finite loss.",)


def test_points_without_coordinates_are_left_out_and_counted(tmp_path):
    table, xy = jump_cloud()
    xy[5] = np.nan
    drawn = composed(spec(), [save(tmp_path / "e.h5", table, xy)])
    assert drawn.notes == ("1 point without finite coordinates left out.",)
    assert len(drawn.numbers) == len(table) - 1


@pytest.mark.parametrize("hue, lighter", [("descending", True), ("ascending", False)])
def test_hue_by_epoch(cloud_file, hue, lighter):
    axes = composed(spec(hue=hue), [cloud_file]).figure.axes[0]
    faces = points_of(axes).get_facecolors()[:, :3].sum(axis=1)
    per_epoch = np.array([part.mean() for part in np.split(faces, 4)])  # drawn in epoch order, 20 trajectories
    assert (np.diff(per_epoch) > 0).all() == lighter
    assert (np.diff(per_epoch) < 0).all() != lighter


def test_diamonds_lines_and_the_minimum(cloud_file):
    table, xy = jump_cloud()
    axes = composed(spec(), [cloud_file]).figure.axes[0]
    lines = next(c for c in axes.collections if isinstance(c, LineCollection))
    assert len(lines.get_segments()) == 20
    assert all(len(segment) == 4 for segment in lines.get_segments())
    scatters = [np.asarray(c.get_offsets()) for c in axes.collections if isinstance(c, PathCollection)]
    jumps = {tuple(p) for p in xy[(table["epoch"] == 0) & (table["seed"] >= 0)]}
    assert any({tuple(p) for p in s} == jumps for s in scatters)
    assert any(len(s) == 1 and tuple(s[0]) == (0.0, 0.0) for s in scatters)
    bare = composed(spec(diamonds=False, lines=False), [cloud_file]).figure.axes[0]
    assert not any(isinstance(c, LineCollection) for c in bare.collections)
    assert len(bare.collections) == 2


def test_nothing_is_clipped_and_scales_are_equal(tmp_path):
    files = [save(tmp_path / f"{i}.h5", *jump_cloud(), method=m) for i, m in enumerate((PHATE, PCA) * 4)]
    drawn = composed(spec(8), files)
    canvas = drawn.figure.canvas
    canvas.draw()
    width, height = drawn.figure.get_size_inches() * drawn.figure.dpi
    for axes in drawn.figure.axes[:8]:
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
    files = [save(tmp_path / f"{i}.h5", *jump_cloud(), method=m) for i, m in enumerate((PHATE, PCA))]
    phate, pca = composed(spec(2), files).figure.axes[:2]
    assert phate.get_xlabel() == "PHATE 1"
    assert not len(phate.get_xticks())
    assert [pca.get_xlabel(), pca.get_ylabel()] == ["PC 1 (50.0 %)", "PC 2 (12.3 %)"]
    assert len(pca.get_xticks()) > 1
    settings = " ".join(t.get_text() for t in phate.texts).replace("\u00a0", " ")
    assert "cosine distance, knn 5, t 25" in settings, "the t that was used, not `auto`"


def test_whole_trainings_are_coloured_by_run_with_stars_at_the_initialisations(tmp_path):
    rows = [
        {"run": run, "replica": replica, "seed": -1, "step": 0.0, "epoch": float(epoch), "train_loss": 1.0}
        for run in ("sgd", "adam")
        for replica in (0, 1)
        for epoch in range(3)
    ]
    xy = np.random.default_rng(0).normal(size=(len(rows), 2))
    path = save(tmp_path / "e.h5", pd.DataFrame(rows), xy)
    drawn = composed(spec(color="run", labels={"sgd": "SGD", "adam": "Adam"}), [path])
    axes = drawn.figure.axes[0]
    assert len(next(c for c in axes.collections if isinstance(c, LineCollection)).get_segments()) == 4
    stars = np.asarray(axes.collections[-1].get_offsets())
    np.testing.assert_array_equal(np.sort(stars[:, 0]), np.sort(xy[::3, 0]))
    shown = [t.get_text() for t in drawn.figure.axes[1].texts]
    assert [t for t in shown if t in ("SGD", "Adam")] == ["SGD", "Adam"]
    assert "initialisation" in shown


@pytest.mark.parametrize("color", ["step", "epoch"])
def test_other_colourings(cloud_file, color):
    assert len(composed(spec(color=color), [cloud_file]).numbers) == 81


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


def save_points(path, **columns):
    with h5py.File(path, "w") as file:
        file.attrs.update(kind="points", provenance="{}")
        write_table(file, pd.DataFrame(columns))
    return path


def test_curves_of_the_weights_norm(tmp_path):
    theta = np.array([[3.0, 4.0], [6.0, 8.0], [0.0, 5.0], [5.0, 12.0]])
    table = pd.DataFrame(
        {"run": ["a", "a", "a", "a"], "replica": [0, 0, 1, 1], "seed": -1, "step": 0.0, "epoch": [0.0, 1.0] * 2}
    )
    gram = Gram.from_rows(theta, table)
    path = tmp_path / "gram.h5"
    with h5py.File(path, "w") as file:
        for name in ("gram", "cross", "near_pairs", "near_distances2"):
            file[name] = getattr(gram, name)
        file.attrs.update(reference_norm2=gram.reference_norm2, dimension=2, kind="gram", provenance="{}")
        write_table(file, table)
    entry = {
        "kind": "curves",
        "series": [{"cloud": "c", "label": "all"}],
        "y": "norm",
        "group": "run",
        "labels": {"a": "SGD"},
    }
    out = {"png": tmp_path / "f.png", "csv": tmp_path / "f.csv"}
    assert draw(entry, {"tables": [path]}, out, PROVENANCE) == ()
    numbers = pd.read_csv(out["csv"])
    assert list(numbers.columns) == ["y", "label", "epoch", "centre", "low", "high", "replicas"]
    np.testing.assert_allclose(numbers[["centre", "low", "high"]], [[5.0, 5.0, 5.0], [11.5, 10.0, 13.0]])
    assert list(numbers["label"]) == ["SGD", "SGD"]
    assert list(numbers["replicas"]) == [2, 2]
    figure = curves_kind.compose(resolve(entry), {"tables": [path]}).figure
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), numbers["centre"])
    draw({**entry, "y": "distance"}, {"tables": [path]}, out, PROVENANCE)  # each training's from its own start
    far = np.hypot(5, 7)
    expected = [[0.0, 0.0, 0.0], [(5 + far) / 2, 5.0, far]]
    np.testing.assert_allclose(pd.read_csv(out["csv"])[["centre", "low", "high"]], expected, atol=1e-12)


def test_curves_of_columns_with_bands_and_gaps(tmp_path):
    losses = ([2.0, 1.0, np.nan], [4.0, 3.0, 2.0])
    paths = [
        save_points(tmp_path / f"{i}.h5", seed=[-1] * 3, epoch=[0.0, 1.0, 2.0], train_loss=v)
        for i, v in enumerate(losses)
    ]
    entry = {"kind": "curves", "series": [{"run": "r", "label": "r"}], "y": ["train_loss"], "log": "y", "band": "std"}
    notes = draw(entry, {"tables": [paths]}, {"png": tmp_path / "f.png", "csv": tmp_path / "f.csv"}, {})
    assert notes == ("1 value without a finite number left out.",)
    numbers = pd.read_csv(tmp_path / "f.csv")
    np.testing.assert_allclose(numbers["centre"], [3.0, 2.0, 2.0])
    np.testing.assert_allclose(numbers["high"], [3 + np.sqrt(2), 2 + np.sqrt(2), 2.0])
    assert list(numbers["replicas"]) == [2, 2, 1]
    with pytest.raises(LossatlasError, match="no column 'train_los'; did you mean 'train_loss'"):
        draw({**entry, "y": "train_los"}, {"tables": [paths]}, {"png": tmp_path / "f.png"}, {})


def test_table_of_runs(tmp_path):
    def path(i, loss, accuracy):
        columns = {
            "train_loss": [2.0, 1.0, loss],
            "train_accuracy": [0.1, 0.5, 1.0],
            "test_accuracy": [0.1, 0.2, accuracy],
        }
        return save_points(tmp_path / f"{i}.h5", seed=[-1] * 3, epoch=[0.0, 10.0, 5.0 + 20 * (i < 9)], **columns)

    entry = {
        "kind": "runs",
        "rows": [{"run": "good", "title": "Good", "paper": {"test_accuracy": 0.95}}, {"run": "bad"}],
    }
    found = {"Good": [path(0, 0.1, 0.9), path(1, np.nan, 0.7)], "bad": [path(2, 0.2, 0.5)]}
    write_a_table(entry, {"runs": found}, tmp_path / "t.csv", PROVENANCE)
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == ["row", "quantity", "paper", "ours", "ours_std", "replicas", "note"]
    assert len(table) == 8
    good = table[table["row"] == "Good"].set_index("quantity")
    assert good.loc["test_accuracy", "paper"] == 0.95
    assert good.loc["test_accuracy", "ours"] == pytest.approx(0.8)
    assert good.loc["test_accuracy", "ours_std"] == pytest.approx(np.std([0.9, 0.7], ddof=1))
    assert good.loc["train_loss", "ours"] == pytest.approx(0.1)
    assert good.loc["train_loss", "replicas"] == 1
    assert good.loc["train_loss", "note"] == "epoch 25; 1 of 2 replicas without a finite value left out"
    assert np.isnan(table[table["row"] == "bad"]["ours_std"]).all()
    assert np.isnan(good.loc["test_loss", "ours"])
    early = last_epoch(path(9, 0.3, 0.3))
    assert early["epoch"] == 10.0, "the last epoch, not the last row"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"kind": "embeding"}, "kind: 'embeding' is not a kind of figure or table; did you mean 'embedding'?"),
        ({"colour": "run"}, "colour: unknown key; did you mean 'color'?"),
        ({"color": "loss"}, "color: 'loss' is not allowed; valid: direction, run, step, epoch, train_loss"),
        ({"columns": "2"}, "columns: '2' is of type str, expected int or null"),
        ({"columns": 0}, "columns: 0 is not positive"),
        ({"limits": [1, 0.1]}, r"limits: \[1, 0.1\] is not \[low, high\]"),
        ({"panels": []}, "panels: empty"),
        ({"panels": [{"cloud": "c", "embeding": "e"}]}, r"panels\[0\].embeding: unknown key; did you mean 'embedding'"),
        ({"panels": [{"cloud": "c"}]}, r"panels\[0\].embedding: missing"),
        ({"panels": ["c"]}, r"panels\[0\]: 'c' is not a mapping"),
        ({"diamonds": 1}, "diamonds: 1 is of type int, expected bool"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(LossatlasError, match=message):
        check({**spec(), **changes})


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"kind": "curves", "series": [{"label": "a"}], "y": "norm"}, "give either run or cloud"),
        ({"kind": "curves", "series": [{"run": "r", "label": "a"}], "y": "norm"}, "needs clouds"),
        ({"kind": "runs", "rows": [{"run": "r", "paper": {"accuracy": 1}}]}, "unknown quantity; did you mean"),
        ({"kind": "runs", "rows": [{"run": "r"}, {"run": "r"}]}, "two rows have one title"),
    ],
)
def test_mistakes_of_other_kinds_are_named(entry, message):
    with pytest.raises(LossatlasError, match=message):
        check(entry)


def test_all_mistakes_at_once_with_their_place():
    with pytest.raises(LossatlasError) as caught:
        resolve({**spec(), "colour": 1, "hue": "up"}, "figures.fig2")
    assert str(caught.value).splitlines() == [
        "figures.fig2.colour: unknown key; did you mean 'color'?",
        "figures.fig2.hue: 'up' is not allowed; valid: descending, ascending",
    ]


def test_resolve_is_idempotent_and_panels_override():
    entry = spec(2, color="train_loss")
    entry["panels"][1]["color"] = "epoch"
    resolved = resolve(entry)
    assert [panel["color"] for panel in resolved["panels"]] == ["train_loss", "epoch"]
    assert resolve(resolved) == resolved


def test_inputs_name_the_artefacts():
    study = SimpleNamespace(
        embedding=lambda cloud, name, key: ("embedding", cloud, name),
        gram=lambda cloud, key: ("gram", cloud),
        runs=lambda name, key: [("run", name, 0), ("run", name, 1)],
    )
    assert inputs(resolve(spec(1)), study, "fig") == {"panels": [("embedding", "cloud0", "phate")]}
    series = [{"cloud": "c", "label": "a"}, {"run": "r", "label": "b"}]
    found = inputs(resolve({"kind": "curves", "series": series, "y": "train_loss"}), study, "fig")
    assert found == {"tables": [("gram", "c"), [("run", "r", 0), ("run", "r", 1)]]}
    found = inputs(resolve({"kind": "runs", "rows": [{"run": "r", "title": "R"}]}), study, "table")
    assert found == {"runs": {"R": [("run", "r", 0), ("run", "r", 1)]}}


def test_wrong_files_and_kinds(tmp_path, cloud_file):
    with pytest.raises(LossatlasError, match="no such file"):
        draw(spec(), {"panels": [tmp_path / "absent.h5"]}, {"png": tmp_path / "f.png"}, {})
    with pytest.raises(LossatlasError, match="format 'jpg': not one of png, pdf, svg, csv"):
        draw(spec(), {"panels": [cloud_file]}, {"jpg": tmp_path / "f.jpg"}, {})
    with pytest.raises(LossatlasError, match="is a kind of table"):
        draw({"kind": "runs", "rows": [{"run": "r"}]}, {}, {}, {})
    with pytest.raises(LossatlasError, match="is a kind of figure"):
        write_a_table(spec(), {}, tmp_path / "t.csv", {})
    assert not (tmp_path / "f.png").exists()


def test_catalogue_is_light():
    heavy = "('numpy', 'h5py', 'torch', 'matplotlib')"
    code = f"import lossatlas.legacy.figures, sys; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
