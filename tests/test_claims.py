"""Claims: measures against trajectories with closed-form answers, verdicts, messages."""

import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from lossatlas.claims.evaluate import COLUMNS, REGISTRY, evaluate, measure, write
from lossatlas.claims.measurement import Measurement
from lossatlas.clouds.files import Gram
from lossatlas.clouds.numbers import Scores
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import write_table
from lossatlas.legacy.claims import MEASURES, check, resolve

DIM = 40


def cloud(paths, seeds=(0, 1, 2), steps=(1.0,), centre=None):
    """A cloud whose trajectory (seed, step) is ``paths(seed, step)``: (k, 2) in the plane of the direction and another.

    Every direction gets a plane of its own, so a trajectory's closed form is that of the plane; theta_o is far from 0.
    """
    centre = np.linspace(-3, 5, DIM) if centre is None else centre
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(DIM, DIM)))[0]
    rows, theta = [{"run": "r", "seed": -1, "step": 0.0, "epoch": 200.0}], [centre]
    for seed in seeds:
        for step in steps:
            for epoch, (a, b) in enumerate(paths(seed, step)):
                rows.append({"run": "r", "seed": seed, "step": step, "epoch": float(epoch)})
                theta.append(centre + a * basis[2 * seed] + b * basis[2 * seed + 1])
    # The order of the rows within a cloud is not promised: shuffle all but the first.
    order = np.concatenate([[0], 1 + np.random.default_rng(2).permutation(len(theta) - 1)])
    return Gram.from_rows(np.array(theta)[order], pd.DataFrame(rows).iloc[order].reset_index(drop=True))


def straight(seed, step):
    """Straight back to a quarter of the jump."""
    return [(step * (1 - 0.75 * t), 0.0) for t in np.linspace(0, 1, 6)]


def out_and_back(seed, step):
    """Out to 1.6 times the jump, then back to 0.8 of it."""
    return [(step * r, 0.0) for r in (1.0, 1.3, 1.6, 1.2, 0.8)]


def circle(seed, step):
    """A quarter of a circle about theta_o."""
    return [(step * np.cos(a), step * np.sin(a)) for a in np.linspace(0, np.pi / 2, 33)]


@pytest.mark.parametrize(
    "path, expected",
    [
        (straight, {"outwardness": 1.0, "return_fraction": 0.25, "direction_kept": 1.0, "left": 0.25, "lateral": 0.0}),
        (
            out_and_back,
            {"outwardness": 1.6, "return_fraction": 0.8, "direction_kept": 1.0, "left": 0.8, "lateral": 0.0},
        ),
        (circle, {"outwardness": 1.0, "return_fraction": 1.0, "direction_kept": 0.0, "left": 0.0, "lateral": 0.5}),
    ],
)
def test_measures_have_their_closed_form(path, expected):
    inputs = {"cloud": [cloud(path, steps=(0.5, 1.0))]}
    for name, value in expected.items():
        parameters = {"quantity": "left"} if name == "left" else {}
        found = measure("direction_kept" if name == "left" else name, inputs, parameters)
        assert found.value == pytest.approx(value, abs=1e-9), name
        assert found.n == 3
        assert found.spread == pytest.approx((value, value), abs=1e-9)


def test_lateral_of_a_circle_is_all_of_its_motion_relative_to_the_radius():
    inputs = {"cloud": [cloud(circle)]}
    assert measure("lateral", inputs, {"relative_to": "radius"}).value == pytest.approx(1.0, abs=1e-9)
    assert measure("lateral", inputs, {"relative_to": "radius", "over": "displacement"}).value == pytest.approx(1.0)
    assert measure("lateral", inputs, {"over": "displacement"}).value == pytest.approx(0.5)
    assert measure("lateral", {"cloud": [cloud(straight)]}, {"relative_to": "radius"}).value == pytest.approx(
        0, abs=1e-9
    )


def test_lateral_through_the_centre_is_radial():
    found = measure("lateral", {"cloud": [cloud(lambda *_: [(1.0, 0.0), (-1.0, 0.0)])]}, {"relative_to": "radius"})
    assert found.value == pytest.approx(0.0, abs=1e-12)


def test_interval_is_over_directions_not_trajectories():
    # Direction s ends at (s + 1) / 4 of the jump for step 1 and at its half for step 0.5: means 3/16, 3/8, 9/16.
    def path(seed, step):
        end = (seed + 1) / 4 * (1.0 if step == 1.0 else 0.5)
        return [(step, 0.0), (step * end, 0.0)]

    inputs = {"cloud": [cloud(path, steps=(0.5, 1.0))]}
    found = measure("return_fraction", inputs, {})
    assert (found.value, found.n) == (pytest.approx(3 / 8), 3)
    assert found.spread == pytest.approx((3 / 16, 9 / 16))
    assert found.detail == "0.25 at step 0.5, 0.5 at step 1"
    assert measure("return_fraction", inputs, {"steps": [1]}).value == pytest.approx(0.5)
    assert measure("return_fraction", inputs, {"seeds": [2]}).spread is None
    assert measure("return_fraction", inputs, {"statistic": "max"}).value == pytest.approx(0.75)
    low, high = measure("return_fraction", inputs, {"spread": "bootstrap"}).spread
    assert 3 / 16 - 1e-9 <= low < 3 / 8 < high <= 9 / 16 + 1e-9
    assert measure("return_fraction", inputs, {"spread": "bootstrap"}).spread == (low, high)


def test_equal_seeds_of_two_clouds_are_two_directions():
    found = measure("return_fraction", {"cloud": [cloud(straight), cloud(circle)]}, {})
    assert (found.n, found.value) == (6, pytest.approx(0.625))


def test_contrast_between_clouds_and_between_steps():
    good, bad = cloud(straight), cloud(out_and_back)
    found = measure("contrast", {"first": [bad], "second": [good]}, {})
    assert found.value == pytest.approx(0.6)
    assert found.spread == pytest.approx((0.6, 0.6))
    assert measure("contrast", {"first": [bad], "second": [good]}, {"contrast": "ratio"}).value == pytest.approx(1.6)

    def by_step(seed, step):
        return [(step, 0.0), (step * (2.0 + 0.1 * seed if step < 0.5 else 1.0 + 0.1 * seed), 0.0)]

    both = cloud(by_step, steps=(0.25, 1.0))
    parameters = {"first_steps": [0.25], "second_steps": [1.0]}
    found = measure("contrast", {"first": [both], "second": [both]}, parameters)
    assert found.value == pytest.approx(1.0)
    assert found.spread == pytest.approx((1.0, 1.0)), "paired by direction: the direction's own part cancels"


def test_nothing_to_measure_says_why():
    found = measure("outwardness", {"cloud": [cloud(straight)]}, {"steps": [0.25]})
    assert found == Measurement(None, None, 0, "no retraining with its jump and a later point among steps [0.25]")
    back = cloud(lambda *_: [(1.0, 0.0), (0.0, 0.0)])
    assert measure("direction_kept", {"cloud": [back]}, {}).detail == "undefined for all 3 trajectories"
    partly = cloud(lambda seed, _: [(1.0, 0.0), (0.0 if seed == 0 else 0.5, 0.0)])
    found = measure("direction_kept", {"cloud": [partly]}, {})
    assert (found.value, found.n) == (pytest.approx(1.0), 2)
    assert found.detail.endswith("1 of 3 trajectories undefined and left out")


def run(**values):
    return pd.Series(values)


def test_run_measures():
    better = [run(test_accuracy=0.95), run(test_accuracy=0.93), run(test_accuracy=np.nan)]
    worse = [run(test_accuracy=0.85), run(test_accuracy=0.87)]
    found = measure("accuracy_gap", {"better": better, "worse": worse}, {})
    assert (found.value, found.n) == (pytest.approx(0.08), 2)
    assert found.spread == pytest.approx((0.06, 0.10))
    assert measure("accuracy_gap", {"better": better[2:], "worse": worse}, {}).value is None
    losses = [run(train_loss=0.1), run(train_loss=0.3)]
    assert measure("max_train_loss", {"runs": losses}, {}).value == pytest.approx(0.3)
    diverged = measure("max_train_loss", {"runs": [*losses, run(train_loss=np.nan)]}, {})
    assert diverged.value == np.inf
    assert "1 of 3 not finite" in diverged.detail
    assert measure("min_accuracy", {"runs": worse}, {}).value == pytest.approx(0.85)


def trainings(**runs):
    """A cloud of whole trainings: run -> replica -> points in the plane, far from the origin of R^D."""
    rows, theta = [], []
    for name, replicas in runs.items():
        for replica, points in enumerate(replicas):
            for epoch, (a, b) in enumerate(points):
                rows.append({"run": name, "replica": replica, "seed": -1, "step": 0.0, "epoch": epoch / 2})
                theta.append([3.0 + a, 4.0 + b, 0.0])
    order = np.random.default_rng(3).permutation(len(rows))
    return Gram.from_rows(np.array(theta)[order], pd.DataFrame(rows).iloc[order].reset_index(drop=True))


def test_path_measures_have_their_closed_form():
    line = [(0, 0), (1.5, 2), (3, 4)]
    corner = [(0, 0), (3, 0), (3, 4)]
    half = [(0, 0), (1.5, 0), (1.5, 2)]
    cloud = trainings(straight=[line, line], bent=[corner, half])
    between = {"first": "bent", "second": "straight"}
    expected = {  # of replica 0, of replica 1: 5 = |(3, 4)| is the norm of the initialisation
        "weight_norm": (10 / 10, 7.5 / 10),
        "distance_from_init": (1.0, 0.5),
        "path_length": (7 / 5, 3.5 / 5),
        "straightness": (7 / 5, 7 / 5),
    }
    for name, (first, second) in expected.items():
        found = measure(name, {"cloud": [cloud]}, between)
        assert found.value == pytest.approx((first + second) / 2), name
        assert found.spread == pytest.approx((min(first, second), max(first, second))), "paired by replica"
        assert found.n == 2
    found = measure("straightness", {"cloud": [cloud]}, {**between, "contrast": "difference"})
    assert found.value == pytest.approx(0.4)
    assert found.detail == "bent: 1.4 (n 2); straight: 1 (n 2)"


def test_path_measures_need_the_initialisation_and_a_motion():
    cloud = trainings(moving=[[(0, 0), (1, 0)]], still=[[(0, 0), (0, 0)]])
    found = measure("straightness", {"cloud": [cloud]}, {"first": "still", "second": "moving"})
    assert found.value is None
    assert found.detail.startswith("first: undefined: the weights did not move for run 'still'")
    cloud.table["epoch"] += 1
    found = measure("weight_norm", {"cloud": [cloud]}, {"first": "still", "second": "moving"})
    assert "no training recorded from epoch 0 on for run 'still'; the cloud has moving, still" in found.detail


def scores_of(name, select=(), **methods):
    """Scores of methods on a cloud: method -> values, one a seed."""
    rows = [
        {"method": m, "metric": "euclidean", "setting": "{}", "seed": i, "demap": value}
        for m, values in methods.items()
        for i, value in enumerate(values)
    ]
    table = pd.DataFrame(rows).assign(continuity=np.nan, trustworthiness=0.5)
    return Scores(name, table, select)


def test_best_method_is_against_the_best_other():
    first = scores_of("a", exact=[1.0], phate=[0.6, 0.8], tsne=[0.5, 0.5], pca=[0.4])
    found = measure("best_method", {"scores": [first]}, {})
    assert found.value == pytest.approx(0.2)
    assert found.spread == pytest.approx((0.1, 0.3))
    assert found.detail == "best on 1 of 1 clouds; a: phate 0.700, tsne 0.500, pca 0.400"
    second = scores_of("b", phate=[0.2, 0.2], tsne=[0.5, 0.5], pca=[0.8])
    found = measure("best_method", {"scores": [first, second]}, {})
    assert (found.value, found.n) == (pytest.approx((0.2 - 0.6) / 2), 2)
    assert found.spread == pytest.approx((-0.6, 0.3))
    assert found.detail.startswith("best on 1 of 2 clouds")
    assert measure("best_method", {"scores": [second]}, {"method": "pca"}).value == pytest.approx(0.3)


def test_best_method_after_the_sweep_needs_another_cloud():
    first = scores_of("a", phate=[0.6], tsne=[0.5])
    found = measure("best_method", {"scores": [first]}, {"settings": "selected"})
    assert found.value is None
    assert "no cloud to select settings on" in found.detail
    chosen = Scores("a", first.report, [first.report])
    assert measure("best_method", {"scores": [chosen]}, {"settings": "selected"}).value == pytest.approx(0.1)
    assert measure("best_method", {"scores": [first]}, {"score": "continuity"}).value is None


def test_scores_are_loaded_with_what_settings_are_chosen_on(tmp_path):
    path = tmp_path / "tree" / "scores.csv"
    path.parent.mkdir()
    scores_of("tree", phate=[0.6], tsne=[0.5]).report.to_csv(path, index=False)
    pair = {"report": str(path), "select": [str(path)]}
    entry = claim(id="T1", measure="best_method", inputs={"scores": {"scores": "tree"}}, holds={"op": ">", "value": 0})
    entry["parameters"] = {"settings": "selected"}
    row = evaluate([entry], {"T1": {"scores": pair}}).iloc[0]
    assert (row["verdict"], row["ours"]) == ("holds", pytest.approx(0.1))
    entry["inputs"] = {"scores": [{"scores": "tree"}, {"scores": "tree"}]}
    row = evaluate([entry], {"T1": {"scores": [pair, pair]}}).iloc[0]
    assert row["n"] == 2


def test_registry_and_catalogue_agree():
    assert set(REGISTRY) == set(MEASURES)


def save_gram(path, gram):
    with h5py.File(path, "w") as file:
        for name in ("gram", "cross", "near_pairs", "near_distances2"):
            file[name] = getattr(gram, name)
        file.attrs.update(reference_norm2=gram.reference_norm2, dimension=gram.dimension, kind="gram", provenance="{}")
        write_table(file, gram.table)
    return path


def save_run(path, **columns):
    with h5py.File(path, "w") as file:
        file.attrs["kind"] = "points"
        group = file.create_group("table")
        for name, values in columns.items():
            group[name] = np.asarray(values)
    return path


def claim(**changes):
    base = {
        "id": "T2",
        "sentence": "Around the bad minimum it first moves outward.",
        "paper": "> 1",
        "measure": "outwardness",
        "inputs": {"cloud": {"gram": "bad"}},
        "holds": {"op": ">", "value": 1.05},
    }
    return {**base, **changes}


@pytest.fixture
def inputs(tmp_path):
    return {"T2": {"cloud": str(save_gram(tmp_path / "gram.h5", cloud(out_and_back)))}}


@pytest.mark.parametrize(
    "op, value, verdict",
    [(">", 1.05, "holds"), (">", 1.7, "fails"), ("<", 1.7, "holds"), ("<=", 1.0, "fails"), (">=", 1.0, "holds")],
)
def test_verdict_follows_the_threshold(inputs, op, value, verdict):
    row = evaluate([claim(holds={"op": op, "value": value})], inputs, "trajectories").iloc[0]
    assert row["verdict"] == verdict
    assert row["threshold"] == f"{op} {value:g}"
    assert row["ours"] == pytest.approx(1.6)
    assert (row["study"], row["paper"], row["n"]) == ("trajectories", "> 1", 3)


def test_not_measurable_at_this_preset(inputs):
    for_paper = claim(min_preset="laptop")
    row = evaluate([for_paper], inputs, "s", "quick").iloc[0]
    assert row["verdict"] == "not measurable at this preset"
    assert np.isnan(row["ours"])
    assert row["detail"] == "needs preset laptop or larger; this is quick"
    for preset in ("laptop", "paper", "my-own"):
        assert evaluate([for_paper], inputs, "s", preset).iloc[0]["verdict"] == "holds"
    row = evaluate([claim(parameters={"steps": [0.25]})], inputs).iloc[0]
    assert row["verdict"] == "not measurable at this preset"
    assert "no retraining" in row["detail"]


def test_a_condition_must_hold_first(inputs, tmp_path):
    path = save_run(tmp_path / "points.h5", seed=[-1, -1], epoch=[0.0, 5.0], test_accuracy=[0.1, 0.4])
    inputs["T2"]["runs"] = [str(path)]
    condition = {"measure": "min_accuracy", "holds": {"op": ">", "value": 0.5}, "reason": "the network has not learnt"}
    entry = claim(inputs={"cloud": {"gram": "bad"}, "runs": {"runs": "bad"}}, measurable_if=condition)
    row = evaluate([entry], inputs).iloc[0]
    assert row["verdict"] == "not measurable at this preset"
    assert row["detail"].startswith("the network has not learnt: min_accuracy is 0.4, needed > 0.5")
    condition["holds"]["value"] = 0.3
    assert evaluate([entry], inputs).iloc[0]["verdict"] == "holds"


def test_a_diverged_run_fails_a_claim_of_zero_loss(tmp_path):
    paths = [
        save_run(tmp_path / f"{i}.h5", seed=[-1, -1], epoch=[1.0, 2.0], train_loss=[1.0, loss])
        for i, loss in enumerate((0.001, np.nan))
    ]
    entry = claim(id="T4", measure="max_train_loss", inputs={"runs": {"runs": "good"}}, holds={"op": "<", "value": 0.1})
    table = evaluate([entry], {"T4": {"runs": {"good": [str(p) for p in paths]}}})
    assert table.iloc[0]["verdict"] == "fails"
    table = evaluate([entry], {"T4": {"runs": [str(paths[0])]}})
    assert table.iloc[0]["verdict"] == "holds"


def test_csv_round_trip(inputs, tmp_path):
    table = evaluate([claim(), claim(min_preset="paper")], inputs, "s", "quick")
    write(table, tmp_path / "claims.csv")
    back = pd.read_csv(tmp_path / "claims.csv")
    assert list(back.columns) == COLUMNS
    assert back["ours"].iloc[0] == table["ours"].iloc[0]
    assert [path.name for path in tmp_path.glob(".*")] == []
    assert list(evaluate([], {}).columns) == COLUMNS


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mesure": 1}, "mesure: unknown key; did you mean 'measure'?"),
        ({"measure": "outwardnes"}, "measure: 'outwardnes' is not a measure; did you mean 'outwardness'?"),
        ({"parameters": {"step": [1]}}, "parameters.step: unknown key; did you mean 'steps'?"),
        ({"parameters": {"steps": 1}}, r"parameters.steps: 1 is not a list of numbers; write \[1\] or null"),
        (
            {"parameters": {"spread": "bootstap"}},
            "parameters.spread: 'bootstap' is not allowed; did you mean 'bootstrap'?",
        ),
        ({"inputs": {"clouds": {"gram": "bad"}}}, "inputs.clouds: unknown key; did you mean 'cloud'?"),
        ({"inputs": {"cloud": {"runs": "bad"}}}, r"inputs.cloud: .* write \{gram: name\}"),
        ({"measure": "weight_norm"}, "parameters.first: missing; name a run of the cloud"),
        ({"measure": "best_method"}, r"inputs.scores: missing; write \{scores: name\}"),
        ({"measure": "best_method", "parameters": {"score": "demapp"}}, "score: 'demapp' .* did you mean 'demap'?"),
        ({"holds": {"op": "=", "value": 1}}, "holds.op: '=' is not allowed; valid: >, >=, <, <="),
        ({"holds": {"op": ">", "value": "1"}}, "holds.value: '1' is not a number"),
        ({"holds": 1}, "holds: 1 is not a threshold"),
        ({"min_preset": "labtop"}, "min_preset: 'labtop' is not a preset; did you mean 'laptop'?"),
        ({"measurable_if": {"measure": "outwardness"}}, "measurable_if.holds: missing"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(LossatlasError, match=message):
        check(claim(**changes))


def test_resolve_fills_defaults():
    resolved = resolve(claim())
    assert resolved["parameters"] == {"steps": None, "seeds": None, "statistic": "mean", "spread": "minmax"}
    assert resolved["measurable_if"] is None
    condition = {"measure": "outwardness", "holds": {"op": ">", "value": 1}}
    for entry in (claim(), claim(measurable_if=condition)):
        assert resolve(resolve(entry)) == resolve(entry)


def test_missing_artefact_is_an_error_not_a_verdict(tmp_path):
    with pytest.raises(LossatlasError, match="no such gram file"):
        evaluate([claim()], {"T2": {"cloud": str(tmp_path / "absent.h5")}})
    with pytest.raises(LossatlasError, match="no file for input 'cloud'"):
        evaluate([claim()], {})


def test_catalogue_is_light():
    code = "import lossatlas.legacy.claims, sys; sys.exit(any(m in sys.modules for m in ('numpy', 'h5py', 'torch', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
