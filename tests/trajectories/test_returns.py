"""Kinds ``returns`` and ``returns_table``, and the measures on crossed factors, on clouds in closed form."""

from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from harness import Loaded, draw, evaluate, inputs, measure, study
from scipy import stats
from specimens import (
    DIM,
    PCA,
    PHATE,
    claim,
    cloud,
    jump_cloud,
    legend_of,
    out_and_back,
    panels_of,
    points_of,
    save_embedding,
    save_gram,
    straight,
)

from lossatlas.claims.spec import resolve
from lossatlas.draw import style
from lossatlas.draw.draw import write_table
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import Reference, references
from lossatlas.study import subjects
from lossatlas.study.read import read_product
from lossatlas.trajectories.figures import returns as returns_kind
from lossatlas.trajectories.measures import factor_effect
from lossatlas.trajectories.spec import FactorEffect

STEPS = (0.25, 0.5, 0.75, 1.0)


def ending(returned, spread=0.0, turn=0.0, epochs=6):
    """Retrainings from the jump to ``returned`` of it (more by ``spread`` a seed), turning by an angle."""

    def path(seed, step):
        last = returned + spread * seed
        along = np.linspace(0, 1, epochs)
        radii, angles = step * (1 + (last - 1) * along), turn * along
        return list(zip(radii * np.cos(angles), radii * np.sin(angles), strict=True))

    return path


def spec(count=2, embedded=False, **changes):
    panels = [{"cloud": f"c{i}", "title": f"cloud {i}"} for i in range(count)]
    if embedded:
        panels = [{**panel, "embedding": "phate"} for panel in panels]
    return {"kind": "returns", "title": "t", "caption": "c", "panels": panels, **changes}


def given(grams, embeddings=()):
    """Return the inputs of panels in order."""
    found = {"gram": {f"c{i}": file for i, file in enumerate(grams)}}
    return {**found, "embedding": {f"c{i}/phate": file for i, file in enumerate(embeddings)}}


def composed(entry, grams, embeddings=()):
    settings: Any = style.RC
    with mpl.rc_context():
        mpl.rcParams.update(settings)
        return returns_kind.compose(read_product(entry), inputs(given(grams, embeddings)))


def test_figure_draws_the_closed_form_and_its_csv_says_so(tmp_path):
    """Back to (1, 1.5, 2) quarters of the jump under a turn of 60 degrees."""
    turned = cloud(ending(0.25, spread=0.125, turn=np.pi / 3), steps=(0.5, 1.0))
    paths = [save_gram(tmp_path / "a.h5", turned), save_gram(tmp_path / "b.h5", cloud(out_and_back, steps=(0.5, 1.0)))]
    out = {kind: tmp_path / f"f.{kind}" for kind in ("png", "pdf", "csv")}
    assert draw(spec(), given(paths), out) == ()
    numbers = pd.read_csv(out["csv"])
    assert list(numbers.columns) == ["panel", "cloud", "step", "epoch", "quantity", "mean", "low", "high", "n"]
    assert len(numbers) == 2 * 2 * (6 + 5)
    assert set(numbers["n"]) == {3}
    first = numbers[(numbers["panel"] == "a") & (numbers["step"] == 0.5)].set_index(["quantity", "epoch"])
    np.testing.assert_allclose(first.loc[("distance_ratio", 5.0), ["mean", "low", "high"]].tolist(), [0.375, 0.25, 0.5])
    np.testing.assert_allclose(first.loc["distance_ratio"]["mean"], 1 - 0.625 * np.linspace(0, 1, 6))
    np.testing.assert_allclose(first.loc["cosine"]["mean"], np.cos(np.pi / 3 * np.linspace(0, 1, 6)))
    second = numbers[(numbers["panel"] == "b") & (numbers["quantity"] == "distance_ratio") & (numbers["step"] == 1.0)]
    np.testing.assert_allclose(second["mean"], [1.0, 1.3, 1.6, 1.2, 0.8])

    axes = panels_of(composed(spec(), paths).figure)
    ratios, cosines = [axes[0], axes[2]], [axes[1], axes[3]]
    lines = {line.get_linestyle(): line for line in ratios[1].lines[1:]}
    assert len(ratios[1].lines) == 3, "the dashed line at 1 and a line a step"
    np.testing.assert_allclose(ratios[1].lines[0].get_ydata(), 1.0)
    np.testing.assert_allclose(ratios[1].lines[2].get_ydata(), second["mean"])
    assert len(lines) == 2, "steps differ in more than colour"
    for row in (ratios, cosines):
        assert row[0].get_ylim() == row[1].get_ylim()
    assert ratios[0].get_ylim()[1] > 1.6
    assert ratios[0].get_ylim()[0] < 0.25


def test_embedding_row_is_that_of_kind_embedding(tmp_path):
    table, xy = jump_cloud()
    embeddings = [save_embedding(tmp_path / f"{i}.h5", table, xy) for i in range(2)]
    grams = [save_gram(tmp_path / f"g{i}.h5", cloud(straight, seeds=range(5), steps=STEPS)) for i in range(2)]
    figure = composed(spec(embedded=True), grams, embeddings).figure
    tops = panels_of(figure)[::3]
    for axes in tops:
        assert {tuple(p) for p in np.asarray(points_of(axes).get_offsets())} == {tuple(p) for p in xy[1:]}
        assert axes.get_xlabel() == "PHATE 1"
        box = axes.get_position()
        assert box.width * figure.get_figwidth() == pytest.approx(box.height * figure.get_figheight())
    shown = legend_of(figure)
    assert [s for s in shown if s in ("Direction (seed)", "Jump, by step size", "Lines, by step size")] == [
        "Direction (seed)",
        "Jump, by step size",
        "Lines, by step size",
    ]


@pytest.mark.parametrize("embedded", [False, True])
def test_nothing_is_clipped_or_overlaps(tmp_path, embedded):
    count = 5
    gram = save_gram(tmp_path / "g.h5", cloud(ending(1.2, 0.1, 1.0), steps=STEPS))
    panels = [save_embedding(tmp_path / f"{i}.h5", *jump_cloud(), method=m) for i, m in enumerate((PHATE, PCA))]
    entry = spec(count, embedded, columns=4)
    for panel in entry["panels"]:
        panel["title"] = "good minimum, no weight decay, no augmentation"
    figure = composed(entry, [gram] * count, ([panels[0]] * 4 + [panels[1]]) if embedded else []).figure
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    texts = [t for axes in figure.axes for t in [*axes.texts, axes.xaxis.label, axes.yaxis.label]] + figure.texts
    for axes in panels_of(figure):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [t.label1 for t in axis.get_major_ticks() if t.label1.get_visible() and low <= t.get_loc() <= high]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text() and t.get_visible()]
    for text, b in boxes:
        assert min(b.x0, b.y0, width - b.x1, height - b.y1) >= 0, f"{text} is cut"
    for (one, a), (other, b) in combinations(boxes, 2):
        assert not (a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1), f"{one} on {other}"
    frames = [axes.get_window_extent() for axes in panels_of(figure)]
    for a, b in combinations(frames, 2):
        assert not (a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1), "panels overlap"
    letters = [text.get_text() for text in figure.texts if len(text.get_text()) == 1]
    assert letters == list("abcde"[:count])


def test_lines_are_visible_on_white_and_ordered():
    colors = returns_kind.step_colors(STEPS)
    linear = {
        s: [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb] for s, rgb in colors.items()
    }
    luminance = [float(np.dot(linear[step], (0.2126, 0.7152, 0.0722))) for step in STEPS]
    assert luminance == sorted(luminance, reverse=True), "light to dark by step size, as the diamonds"
    assert all(1.05 / (value + 0.05) > 2.0 for value in luminance), "contrast with white"
    assert min(-np.diff([116 * np.cbrt(value) for value in luminance])) > 8


def test_values_that_are_not_finite_are_counted(tmp_path):
    back = cloud(lambda seed, step: [(step, 0.0), (0.0 if seed == 0 else step / 2, 0.0)])
    drawn = composed(spec(1), [save_gram(tmp_path / "g.h5", back)])
    assert drawn.notes == ("1 value without a finite number left out.",)
    last = drawn.numbers[drawn.numbers["epoch"] == 1].set_index("quantity")
    assert (last.loc["cosine", "n"], last.loc["distance_ratio", "n"]) == (2, 3)
    assert last.loc["distance_ratio", "mean"] == pytest.approx(1 / 3)


def test_table_by_step_and_over_all(tmp_path):
    """Direction s ends at (s + 1) / 4 of the jump for step 1 and at its half for step 0.5, straight back."""

    def path(seed, step):
        end = (seed + 1) / 4 * (1.0 if step == 1.0 else 0.5)
        return [(step, 0.0), (1.5 * step, 0.0), (step * end, 0.0)]

    grams = [save_gram(tmp_path / "a.h5", cloud(path, steps=(0.5, 1.0))), save_gram(tmp_path / "b.h5", cloud(straight))]
    rows = [
        {"cloud": "a", "title": "A", "group": {"minimum": "good", "decay": True}, "paper": {1: "out", "all": 0.5}},
        {"cloud": "b", "group": {"minimum": "bad", "decay": False}, "paper": "returns"},
    ]
    files = inputs({"gram": dict(zip("ab", grams, strict=True))})
    write_table(read_product({"kind": "returns_table", "rows": rows}), files, tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t.csv")
    fixed = [f"{q}_{p}" for q in ("outwardness", "return_fraction", "direction_left", "cosine") for p in PARTS]
    assert list(table.columns) == ["row", "minimum", "decay", "step", *fixed, "paper"]
    assert table[["row", "minimum", "decay", "step"]].to_numpy().tolist() == [
        ["A", "good", "yes", "0.5"],
        ["A", "good", "yes", "1"],
        ["A", "good", "yes", "all"],
        ["b", "bad", "no", "1"],
        ["b", "bad", "no", "all"],
    ]
    ours = table.set_index(["row", "step"])
    returned = ours[[f"return_fraction_{part}" for part in PARTS]]
    np.testing.assert_allclose(returned.loc[("A", "1")], [0.5, 0.25, 0.75, 3])
    np.testing.assert_allclose(returned.loc[("A", "all")], [3 / 8, 3 / 16, 9 / 16, 3])
    np.testing.assert_allclose(ours["direction_left_mean"], ours["return_fraction_mean"])
    np.testing.assert_allclose(ours.loc["A", "outwardness_mean"], 1.5)
    np.testing.assert_allclose(ours["cosine_low"], 1.0)
    assert ours["paper"].fillna("").tolist() == ["", "out", "0.5", "", "returns"]
    all_steps = measure("return_fraction", {"cloud": cloud(path, steps=(0.5, 1.0))})
    assert returned.loc[("A", "all"), "return_fraction_mean"] == pytest.approx(all_steps.value)


PARTS = ("mean", "low", "high", "n")


def test_mistakes_are_named(tmp_path):
    mixed = spec(2, True)
    del mixed["panels"][1]["embedding"]
    with pytest.raises(LossatlasError, match=r"panels\[1\].embedding: missing; give every panel one, or none"):
        read_product(mixed)
    rows = [{"cloud": "a", "group": {"step": 1}}]
    with pytest.raises(LossatlasError, match=r"rows\[0\].group.step: a column of the table"):
        read_product({"kind": "returns_table", "rows": rows})
    rows = [{"cloud": "a", "group": {"decay": 1}}, {"cloud": "b"}]
    with pytest.raises(LossatlasError, match=r"rows\[1\].group: columns \[\], but those of the first row"):
        read_product({"kind": "returns_table", "rows": rows})
    with pytest.raises(LossatlasError, match=r"rows\[1\].paper.al: not a step size; write a number or `all`"):
        read_product({"kind": "returns_table", "rows": [{"cloud": "a"}, {"cloud": "b", "paper": {"al": 1}}]})
    with pytest.raises(LossatlasError, match="rows: two rows have one title"):
        read_product({"kind": "returns_table", "rows": [{"cloud": "a"}, {"cloud": "a"}]})
    still = save_gram(tmp_path / "g.h5", cloud(lambda *_: [(1.0, 0.0)]))
    with pytest.raises(LossatlasError, match="name a jump-and-retrain cloud"):
        composed(spec(1), [still])


def test_references_name_the_artefacts():
    assert list(references(read_product(spec(2, True)))) == [
        Reference("gram", ("c0",), "panels[0].cloud"),
        Reference("embedding", ("c0", "phate"), "panels[0].embedding"),
        Reference("gram", ("c1",), "panels[1].cloud"),
        Reference("embedding", ("c1", "phate"), "panels[1].embedding"),
    ]
    assert list(references(read_product(spec(1)))) == [Reference("gram", ("c0",), "panels[0].cloud")]
    table = read_product({"kind": "returns_table", "rows": [{"cloud": "a", "paper": {1: "out", "all": 2}}]})
    assert list(references(table)) == [Reference("gram", ("a",), "rows[0].cloud")]
    assert read_product(table.hashed()) == table
    assert read_product(read_product(spec(2)).hashed()) == read_product(spec(2))


def test_factor_effect_is_paired_by_initialisation(rng):
    own, effects = rng.uniform(0.5, 0.9, 4), rng.uniform(-0.3, -0.1, 4)
    clouds = {"with": around(own + effects), "without": around(own)}
    found = measure("factor_effect", clouds)
    assert (found.value, found.n, found.unit) == (pytest.approx(effects.mean()), 4, "initialisations")
    expected = stats.t.interval(0.95, 3, effects.mean(), stats.sem(effects))
    assert (found.interval.low, found.interval.high) == pytest.approx(expected)
    assert found.each == pytest.approx(list(effects))


def test_entries_of_one_minimum_or_one_initialisation_are_one_unit():
    """With: .25 + .1 s and .5 + .1 s; without: .5 + .2 s and 1 + .2 s: effects -.35 and -.6."""
    clouds = {"with": [cloud(ending(e, 0.1)) for e in (0.25, 0.5)]}
    clouds["without"] = [cloud(ending(e, 0.2)) for e in (0.5, 1.0)]
    found = measure("factor_effect", clouds)
    assert (found.value, found.n, found.interval) == (pytest.approx(-0.475), 1, None)
    assert found.detail == "0.35 with, 0.7 without; 0.6 with, 1.2 without; 3 directions, 1 steps (1) in all 4 clouds"
    made = {"a": around([0.1, 0.2, 0.3, 0.6]), "b": around([1.0] * 4)}
    clouds = {f"{side}{i}": gram for side, grams in made.items() for i, gram in enumerate(grams)}
    sides = {side: [{"gram": f"{short}{i}"} for i in range(4)] for side, short in (("with", "a"), ("without", "b"))}
    found = effect(sides, clouds)
    assert found.n == 4
    found = effect(sides, clouds, initialisations=[7, 7, 7, 2])
    assert (found.value, found.n) == (pytest.approx((-0.8 - 0.4) / 2), 2)
    assert found.each == pytest.approx([-0.8, -0.4])


def effect(references, clouds, **keys):
    """Return the effect of a factor on clouds by name, with a reference to each."""
    spec = FactorEffect.model_validate({**references, **keys})
    return factor_effect(spec, Loaded({name: [gram] for name, gram in clouds.items()}))


def test_only_jumps_that_all_clouds_have_are_compared():
    large = cloud(ending(0.5), seeds=(0, 1, 2), steps=(0.5, 1.0))
    found = measure("factor_effect", {"with": [large], "without": [cloud(ending(1.0), seeds=(1, 2, 3))]})
    assert (found.value, found.n) == (pytest.approx(-0.5), 1)
    assert found.detail.endswith("2 directions, 1 steps (1) in all 2 clouds, 5 of 7 jumps not in all and left out")
    apart = measure("factor_effect", {"with": [large], "without": [cloud(ending(1.0), seeds=(5,))]})
    assert apart.value is None
    assert apart.detail.startswith("nothing to compare: 0 directions")
    none = measure("factor_effect", {"with": [large], "without": [large]}, steps=[0.3])
    assert none.value is None


def around(values, slope=0.0):
    """A cloud a value, each around a minimum of its own, whose retrainings end at that much of the jump."""
    return [cloud(ending(end, slope), centre=np.linspace(-3, 5, DIM) + 0.1 * i) for i, end in enumerate(values)]


def crossed(decay, minimum):
    """Four clouds an initialisation, whose return fraction is 0.7 -+ the halves of two effects of that initialisation."""
    signs = {"good_with": (-1, -1), "good_without": (1, -1), "bad_with": (-1, 1), "bad_without": (1, 1)}
    ends = {role: 0.7 + a * np.atleast_1d(decay) / 2 + b * np.atleast_1d(minimum) / 2 for role, (a, b) in signs.items()}
    return {role: around(values) for role, values in ends.items()}


def test_factor_ratio(rng):
    found = measure("factor_ratio", crossed(0.6, -0.2))
    assert (found.value, found.n, found.interval) == (pytest.approx(3.0), 1, None)
    assert found.detail.startswith("with less without -0.6, good less bad 0.2; 3 directions")
    doubled = {role: clouds * 2 for role, clouds in crossed(0.6, -0.2).items()}
    assert (measure("factor_ratio", doubled).value, measure("factor_ratio", doubled).n) == (pytest.approx(3.0), 1)
    decay, minimum = rng.uniform(0.5, 0.6, 4), rng.uniform(0.2, 0.25, 4)
    found = measure("factor_ratio", crossed(decay, minimum))
    assert (found.value, found.n) == (pytest.approx(decay.mean() / minimum.mean()), 4)
    assert 1 < found.interval.low < found.value < found.interval.high < 5
    none = measure("factor_ratio", crossed(0.6, 0.0))
    assert none.value is None
    assert none.detail.startswith("no ratio: good and bad do not differ")


def test_factor_ratio_whose_second_effect_may_vanish_has_no_upper_end():
    found = measure("factor_ratio", crossed([0.6, 0.62, 0.58], [-0.1, 0.0, 0.2]))
    assert found.value == pytest.approx(0.6 / (0.1 / 3))
    assert found.interval.high == np.inf


def test_factor_claims(tmp_path):
    names = {
        role: [f"{role}_{i}" for i in range(3)] for role in ("good_with", "good_without", "bad_with", "bad_without")
    }
    made = crossed([0.58, 0.6, 0.62], [0.2, 0.21, 0.19])
    grams = {
        name: save_gram(tmp_path / f"{name}.h5", gram)
        for role in names
        for name, gram in zip(names[role], made[role], strict=True)
    }
    references = {role: [{"gram": name} for name in of] for role, of in names.items()}
    holds = {"op": ">", "value": 1.0}
    entry = claim(id="T2_control", measure="factor_ratio", inputs=references, holds=holds)
    row = evaluate([entry], {"gram": grams}).iloc[0]
    assert (row["verdict"], row["ours"], row["n"]) == ("holds", pytest.approx(3.0), 3)
    one = claim(id="T2_one", measure="factor_ratio", inputs={k: v[:1] for k, v in references.items()}, holds=holds)
    row = evaluate([one], {"gram": grams}).iloc[0]
    assert (row["verdict"], row["reason"]) == ("not judged", "1 initialisation: too few for an interval")
    sides = {"with": references["good_with"] + references["bad_with"]}
    sides["without"] = references["good_without"] + references["bad_without"]
    entry = claim(id="T2_decay", measure="factor_effect", inputs=sides, holds={"op": "<", "value": 0.0})
    entry["parameters"] = {"initialisations": [0, 1, 2, 0, 1, 2]}
    row = evaluate([entry], {"gram": grams}).iloc[0]
    assert (row["verdict"], row["ours"], row["n"]) == ("holds", pytest.approx(-0.6), 3)
    known = subjects.measures()
    with pytest.raises(LossatlasError, match=r"inputs\.with: with 6, without 1 clouds; give the same number to each"):
        resolve({**entry, "inputs": {**sides, "without": sides["without"][:1]}}, known)
    with pytest.raises(LossatlasError, match=r"parameters\.of: 'outwardnes' is not allowed"):
        resolve({**entry, "parameters": {"of": "outwardnes"}}, known)
    with pytest.raises(LossatlasError, match=r"parameters\.initialisations: 2 numbers for 6 entries; give one each"):
        resolve({**entry, "parameters": {"initialisations": [0, 1]}}, known)


def test_entries_of_one_replica_are_one_initialisation():
    def planned(with_, without, **parameters):
        inputs = {"with": [{"gram": name} for name in with_], "without": [{"gram": name} for name in without]}
        entry = claim(measure="factor_effect", inputs=inputs, parameters=parameters)
        runs = {"good": {"replicas": [0, 1]}}
        clouds = {"again": {"jump": {"run": "good"}}, "other": {"jump": {"run": "good", "replica": 1}}}
        return study("tiny", claims=[entry], runs=runs, clouds=clouds)

    assert planned(["good"], ["again"]).claims
    assert planned(["good", "other"], ["again", "other"]).claims
    with pytest.raises(LossatlasError, match="the clouds of place 0 start from replicas 0, 1; they belong together"):
        planned(["good"], ["other"])
    with pytest.raises(LossatlasError, match="initialisations: entries of replica 0 are one initialisation"):
        planned(["good", "good"], ["again", "again"])
    assert planned(["good", "good"], ["again", "again"], initialisations=[0, 0]).claims
