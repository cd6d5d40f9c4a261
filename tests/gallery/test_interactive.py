"""What the gallery draws anew from a figure's numbers, and which statements a figure shows."""

import json

import numpy as np
import pandas as pd
import pytest

from lossatlas.draw.plane import LEAST, MOST, ruggedness
from lossatlas.gallery import interactive
from lossatlas.gallery.cited import cited, shown_by
from lossatlas.gallery.render import brief, hero, prose


def plane(x, y, loss, **columns):
    """Return the rows of a plane, shuffled by nobody."""
    at_x, at_y = np.meshgrid(x, y)
    return pd.DataFrame({"x": at_x.ravel(), "y": at_y.ravel(), "loss": loss(at_x, at_y).ravel()}).assign(**columns)


def test_ruggedness_of_a_plane_is_its_slope(rng):
    """log10 L = a x + b y on a grid of step h has steps |a| h and |b| h; of n and m points, n (m - 1) and m (n - 1)."""
    a, b = rng.uniform(-1, 1, 2)
    x, y = np.arange(4) * 0.5, np.arange(3) * 0.5
    loss = 10 ** (a * x[None, :] + b * y[:, None])
    expected = 0.5 * (3 * 3 * abs(a) + 4 * 2 * abs(b)) / (3 * 3 + 4 * 2)
    assert ruggedness(loss) == pytest.approx(expected, rel=1e-12)
    assert ruggedness(loss * 7) == pytest.approx(expected, rel=1e-12), "heights are ratios"
    loss[1, 1] = np.inf
    assert np.isfinite(ruggedness(loss))
    assert ruggedness(np.full((3, 3), np.nan)) == 0
    assert ruggedness(np.array([[1e-300, 1e300]])) == pytest.approx(np.log10(MOST / LEAST))


def test_surfaces_keep_every_point(rng, tmp_path):
    """Each loss stands at its x and y, whatever the order of the rows; none that is not finite is invented."""
    x, y = np.sort(rng.normal(size=5)), np.sort(rng.normal(size=4))
    table = plane(x, y, lambda at_x, at_y: 1 + at_x**2 + 3 * at_y**2 + at_x * at_y, panel="p", test_error=12.5)
    table.loc[7, "loss"] = np.nan
    table.sample(frac=1, random_state=int(rng.integers(1000))).to_csv(tmp_path / "f.csv", index=False)
    found = interactive.content("surface", tmp_path / "f.csv")
    (panel,) = found["panels"]
    assert panel["x"] == pytest.approx(x, rel=1e-3)
    assert panel["y"] == pytest.approx(y, rel=1e-3)
    for i, row in table.reset_index().iterrows():
        shown = panel["loss"][i // 5][i % 5]
        assert shown is None if i == 7 else shown == pytest.approx(row["loss"], rel=1e-3)
    lowest = table.loc[table["loss"].idxmin()]
    assert panel["lowest"] == pytest.approx([lowest["x"], lowest["y"], lowest["loss"]], rel=1e-3)
    assert "trained" not in panel, "no point of the grid is the network"
    assert json.loads(interactive.script("s/f", found).removeprefix('lossatlas.give("s/f", ')[:-3]) == found


def test_the_most_telling_surface_is_first_and_its_network_is_marked():
    axis = np.arange(-2.0, 3)
    bowl = plane(axis, axis, lambda x, y: 0.5 + x**2 + y**2, panel="bowl", test_error=3.0)
    rough = plane(axis, axis, lambda x, y: 10 ** (3 * ((x + y) % 2)), panel="rough", test_error=60.0)
    found = interactive.surface(pd.concat([bowl, rough, bowl]))
    assert [panel["title"] for panel in found["panels"]] == ["bowl", "bowl", "rough"], "two may have one title"
    assert found["first"] == 2
    assert found["telling"] == pytest.approx(3)
    assert (found["panels"][0]["trained"], found["panels"][0]["error"]) == (0.5, 3)
    assert found["range"] == [0.5, 1000]
    assert interactive.surface(bowl.assign(loss=np.nan)) is None
    assert interactive.surface(bowl.iloc[:0]) is None
    paths = bowl.drop(columns=["panel", "test_error"]).assign(what="plane")
    more = pd.concat([paths, paths.assign(what="path", x=0.3)])
    (panel,) = interactive.surface(more)["panels"]
    assert panel["x"] == list(axis), "points of paths are no points of the plane"
    values = bowl.drop(columns="test_error").assign(what="slice").rename(columns={"loss": "value"})
    decided = pd.concat([values.assign(what="point", x=9.0), values.assign(what="decision", y=7.0), values])
    (panel,) = interactive.surface(decided)["panels"]
    assert (panel["x"], panel["y"], panel["lowest"]) == (list(axis), list(axis), [0, 0, 0.5])
    assert interactive.surface(decided[decided["what"] != "slice"]) is None, "a figure of decisions alone"


def points(**columns):
    fixed = {"panel": "a", "title": "t", "run": "net", "seed": -1, "step": 0.0}
    return pd.DataFrame({**fixed, **columns})


def test_paths_of_an_embedding_are_by_epoch():
    """Jumps are told apart by direction and step, trainings by replica; the minimum is no path."""
    jumps = [points(seed=s, step=0.5, epoch=[2, 0, 1], x=[2, 0, 1], y=s, train_loss=[0.1, 3.0, np.nan]) for s in (0, 1)]
    minimum = points(epoch=[200], x=0, y=0, train_loss=0.01)
    found = interactive.embedding(pd.concat([minimum, *jumps]))
    (panel,) = found["panels"]
    assert found["epochs"] == [0, 1, 2]
    names = {path["name"]: path for path in panel["paths"]}
    assert names.keys() == {"net, the minimum", "net, direction 0, step 0.5", "net, direction 1, step 0.5"}
    assert names["net, the minimum"]["fixed"]
    path = names["net, direction 1, step 0.5"]
    assert (path["epoch"], path["x"], path["loss"], path["fixed"]) == ([0, 1, 2], [0, 1, 2], [3, None, 0.1], False)
    runs = [points(replica=r, epoch=[0, 0.125], x=[0, 1], y=r, train_loss=1.0) for r in (0, 1)]
    found = interactive.embedding(pd.concat(runs))
    assert [path["name"] for path in found["panels"][0]["paths"]] == ["net, replica 0", "net, replica 1"]
    assert found["epochs"] == [0, 0.125]
    assert interactive.embedding(pd.DataFrame({"x": [1]})) is None


def test_a_figure_of_another_kind_has_nothing_to_turn(tmp_path):
    (tmp_path / "f.csv").write_text("x\n1\n")
    assert interactive.content("", tmp_path / "f.csv") is None


def test_plotly_is_whole_and_stands_alone():
    text = interactive.plotly_script()
    assert "Plotly" in text
    assert len(text) > 1e6


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Figure 2", ["figure 2"]),
        ("section 4, figures 1 and 4", ["figure 1", "figure 4"]),
        ("Figures 3B and 8", ["figure 3", "figure 8"]),
        ("appendix A, figure 4 C", ["figure 4"]),
        ("figures 2 to 6", [f"figure {n}" for n in range(2, 7)]),
        ("sections IV and V-A, figures 9 to 11", ["figure 9", "figure 10", "figure 11"]),
        ("figures 2 and S1, table S1", ["figure 2", "figure s1", "table s1"]),
        ("Table I", ["table i"]),
        ("figures 1, 3, and 5", ["figure 1", "figure 3", "figure 5"]),
        ("section 2 and table 1 (the figure itself has no number)", ["table 1"]),
        ("Figure 6 (Wide-ResNet-56)", ["figure 6"]),
        ("not in the paper", []),
        ("section V-E; the figure is a sketch", []),
    ],
)
def test_figures_that_a_text_names(text, found):
    assert cited(text) == found


def test_statements_that_a_figure_shows():
    texts = {"where": "", "measured": "", "refuted_by": ""}
    statements = [
        {**texts, "id": "a", "where": "figures 1 and 4"},
        {**texts, "id": "b", "where": "section 2", "refuted_by": "fig2_null: the same on arms that return"},
        {**texts, "id": "c", "where": "table 4", "measured": "fig2_nulls"},
    ]

    def ids(*figure):
        return [one["id"] for one in shown_by(*figure, statements)]

    assert ids("any", "Figure 4 and section 4") == ["a"]
    assert ids("fig2_null", "not in the paper") == ["b"]
    assert ids("loss", "not in the paper") == []
    assert ids("x", "Table 4") == ["c"]


def test_a_gallery_opens_with_what_moves_turns_and_plays():
    def figure(full, film=None, interactive="", method="curves", telling=0.0):
        return {"full": full, "film": film, "interactive": interactive, "method": method, "telling": telling}

    plain, more = figure("plain"), figure("more")
    film = figure("film", film="f.mp4", interactive="embedding")
    dull = figure("dull", interactive="surface", method="relief", telling=0.1)
    telling = figure("telling", interactive="surface", method="relief", telling=0.4)
    flat = figure("flat", interactive="surface", method="contours", telling=0.9)
    petals = figure("petals", interactive="embedding")
    opens = [one["full"] for one in hero([plain, petals, flat, dull, telling, more, film])]
    assert opens == ["film", "telling", "petals"]
    assert [one["full"] for one in hero([plain, flat, more])] == ["flat", "plain", "more"]
    assert hero([]) == []


def test_words():
    assert str(prose("a `b` & <c>")) == "a <code>b</code> &amp; &lt;c&gt;"
    assert brief("One `word`. Two.") == "One word."
    assert brief("one two three, four", 16) == "one two three…"
