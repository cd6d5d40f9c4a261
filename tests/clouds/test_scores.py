"""Scores of embeddings on clouds whose answer is known; artificial trees; tables and choices of settings."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from harness import job, measure, tabulate
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group, spearmanr
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from specimens import save_gram

from lossatlas.clouds import embeddings, scores
from lossatlas.clouds.figures.scores import COLUMNS
from lossatlas.clouds.files import Gram
from lossatlas.clouds.jobs.gram import compute
from lossatlas.clouds.jobs.scores import COLUMNS as SCORED
from lossatlas.clouds.jobs.scores import score, write
from lossatlas.clouds.jobs.scores import scores as make_scores
from lossatlas.clouds.jobs.synthesise import arms, synthesise, tree
from lossatlas.clouds.numbers import Scores
from lossatlas.clouds.spec import SCORES, Scoring
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.files.record import read_provenance
from lossatlas.specs.base import read


def apart(points):
    return squareform(pdist(np.asarray(points, float).reshape(len(points), -1)))


def spiral(n=150, dimension=30, turns=2.5):
    """Points of a spiral in a random plane of R^D, equally spaced along it, and their arc lengths."""
    fine = np.linspace(0.5, turns * 2 * np.pi, 20_000)
    curve = np.stack([fine * np.cos(fine), fine * np.sin(fine)], axis=1)
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    at = np.searchsorted(arc, np.linspace(0, arc[-1], n))
    at = np.minimum(at, len(arc) - 1)
    plane = ortho_group.rvs(dimension, random_state=0)[:2]
    return curve[at] @ plane, arc[at]


def test_unrolling_a_spiral_scores_one_projecting_it_less_shuffling_it_nothing(rng):
    points, arc = spiral()
    geodesic = scores.geodesics(apart(points), 2)
    unrolled = scores.demap(geodesic, apart(arc))
    cloud = Gram.from_rows(points)
    projected = scores.demap(geodesic, apart(embeddings.embed(cloud, "pca").coordinates))
    shuffled = scores.demap(geodesic, apart(rng.permutation(arc)))
    assert unrolled > 0.9999
    assert 0.1 < projected < 0.8
    assert abs(shuffled) < 0.1
    # With every point a neighbour of every other, the geodesics are the distances, and PCA of a plane is exact.
    straight = scores.geodesics(apart(points), len(points) - 1)
    np.testing.assert_allclose(straight, apart(points), atol=1e-9)
    assert scores.demap(straight, apart(embeddings.embed(cloud, "pca").coordinates)) == pytest.approx(1.0)


def test_demap_is_the_reference_definition(rng):
    points, picture = rng.normal(size=(60, 8)), rng.normal(size=(60, 2))
    geodesic = scores.geodesics(apart(points), 10)
    expected = spearmanr(squareform(geodesic, checks=False), pdist(picture)).statistic
    assert scores.demap(geodesic, apart(picture)) == pytest.approx(expected)
    assert scores.demap(geodesic, apart(np.zeros((60, 2)))) == 0.0


def test_geodesics_of_small_graphs():
    # Four points on a line at 0, 1, 3, 6: with one neighbour each 0-1, 1-3, 3-6, a path of the right lengths.
    line = apart([0.0, 1.0, 3.0, 6.0])
    np.testing.assert_allclose(scores.geodesics(line, 1), line)
    # Corners of a unit square: two neighbours each, so the diagonal is walked round.
    square = scores.geodesics(apart([[0, 0], [1, 0], [1, 1], [0, 1]]), 2)
    assert square[0, 2] == pytest.approx(2.0)
    # Coinciding points are neighbours at distance 0, not strangers.
    twins = scores.geodesics(apart([0.0, 0.0, 1.0]), 1)
    np.testing.assert_allclose(twins, apart([0.0, 0.0, 1.0]), atol=1e-12)
    with pytest.raises(LossatlasError, match="at least 1 neighbour"):
        scores.geodesics(line, 0)


def test_parts_of_the_graph_are_joined_through_their_nearest_pairs():
    # Two stretches of three points, 10 apart: one neighbour each leaves them unconnected.
    points = [0.0, 1.0, 2.0, 12.0, 13.0, 14.0]
    found = scores.geodesics(apart(points), 1)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, apart(points))
    # Three far clusters in the plane: between the outer two the path runs through the middle one.
    offsets = np.array([[0.0, 0.0], [10.0, 4.0], [20.0, 0.0]])
    clusters = np.concatenate([offset + 0.1 * np.array([[0, 0], [1, 0], [0, 1]]) for offset in offsets])
    found = scores.geodesics(apart(clusters), 2)
    assert found[0, 6] > apart(clusters)[0, 6] + 1
    np.testing.assert_array_equal(found, found.T)


def walks(count=3, points=4):
    """Trajectories side by side: row i of trajectory t at (t * 100, i); rows in a mixed order."""
    rows = [(t, i) for t in range(count) for i in range(points)]
    order = np.random.default_rng(0).permutation(len(rows))
    table = pd.DataFrame([{"run": "r", "seed": t, "step": 0.5, "epoch": float(i)} for t, i in rows]).iloc[order]
    return table.reset_index(drop=True), np.array(rows, float)[order]


def test_trajectories_follow_epochs_and_leave_out_the_minimum():
    table, places = walks()
    member, successor = scores.trajectories(table)
    for row, after in enumerate(successor):
        if places[row, 1] == 3:
            assert after == -1
        else:
            np.testing.assert_array_equal(places[after], places[row] + [0, 1])
    assert len(set(zip(member, places[:, 0], strict=True))) == 3
    minimum = pd.DataFrame([{"run": "r", "seed": -1, "step": 0.0, "epoch": 200.0}])
    member, successor = scores.trajectories(pd.concat([minimum, table], ignore_index=True))
    assert (member[0], successor[0]) == (-1, -1)
    path = table.assign(seed=-1, replica=table["seed"])
    assert len(set(scores.trajectories(path)[0])) == 3


def test_continuity_has_its_closed_form(rng):
    table, places = walks()
    member, successor = scores.trajectories(table)
    far = places * [100, 1]
    assert scores.continuity(apart(far), member, successor) == 1.0
    # Trajectories 0.1 apart: the other trajectories' points of the same epoch are nearer than the successor.
    near = places * [0.1, 1]
    assert scores.continuity(apart(near), member, successor) == 0.0
    # Trajectory 2 is far from 0 and 1, which are 0.1 apart: its three successors of nine are nearest.
    third = near + np.where(places[:, :1] == 2, 1000.0, 0.0)
    assert scores.continuity(apart(third), member, successor) == pytest.approx(3 / 9)
    assert scores.continuity(np.zeros((12, 12)), member, successor) == 0.0, "all points in one spot: ties do not count"
    chance = [scores.continuity(apart(rng.normal(size=(12, 2))), member, successor) for _ in range(400)]
    assert np.mean(chance) == pytest.approx(1 / 9, abs=0.04)
    alone = np.zeros(12, dtype=int)
    assert np.isnan(scores.continuity(apart(far), alone, successor))


def test_trustworthiness_is_that_of_scikit_learn(rng):
    points, picture = rng.normal(size=(50, 9)), rng.normal(size=(50, 2))
    for k in (1, 5, 12):
        expected = sklearn_trustworthiness(points, picture, n_neighbors=k)
        assert scores.trustworthiness(apart(points), apart(picture), k) == pytest.approx(expected)
    assert scores.trustworthiness(apart(points), apart(points), 5) == 1.0
    tiny = scores.trustworthiness(apart(points[:4]), apart(picture[:4]), 5)
    assert 0.0 <= tiny <= 1.0


def test_scores_see_no_rotation_shift_or_scale(rng):
    rows, table = tree(branches=4, points=12, dimension=20, noise=0.5, seed=1)
    scorer = scores.Scorer(Gram.from_rows(rows, table), demap_k=5, trust_k=5)
    picture = embeddings.embed(Gram.from_rows(rows), "pca").coordinates
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])
    moved = 1e-3 * picture @ turn + rng.normal(size=2)
    first, second = scorer.of(apart(picture)), scorer.of(apart(moved))
    assert first == pytest.approx(second, abs=1e-6)


def test_the_right_order_of_pictures_of_a_tree(rng):
    rows, table = tree(branches=5, points=30, dimension=100, noise=1.0, seed=2)
    clean, _ = tree(branches=5, points=30, dimension=100, noise=0.0, seed=2)
    cloud = Gram.from_rows(rows, table)
    scorer = scores.Scorer(cloud, demap_k=10, trust_k=5, truth=Gram.from_rows(clean))
    own = scorer.of(cloud.distances())
    linear = scorer.of(apart(embeddings.embed(cloud, "pca").coordinates))
    plane = scorer.of(apart(embeddings.embed(cloud, "random", seed=0).coordinates))
    noise = scorer.of(apart(rng.normal(size=(150, 2))))
    for name in ("demap", "continuity", "trustworthiness"):
        assert own[name] > linear[name] > plane[name], name
    assert abs(noise["demap"]) < 0.15
    assert noise["continuity"] < 0.1
    assert abs(noise["trustworthiness"] - 0.5) < 0.1
    with pytest.raises(LossatlasError, match="the same points without noise"):
        scores.Scorer(cloud, 10, 5, truth=Gram.from_rows(clean[:-1]))


# ---------------------------------------------------------------------------------------------------------------------
# the artificial tree


def test_tree_is_connected_and_noise_leaves_its_skeleton_alone():
    settings = {"branches": 6, "points": 40, "dimension": 300, "seed": 7}
    clean, table = tree(**settings, noise=0.0)
    noisy, again = tree(**settings, noise=2.0)
    pd.testing.assert_frame_equal(table, again)
    assert clean.shape == (240, 300)
    assert clean.dtype == np.float32
    branches = clean.reshape(6, 40, 300)
    steps = np.diff(branches, axis=1)
    assert np.abs(steps).max() <= 1.0 + 1e-4
    assert np.square(steps).mean() == pytest.approx(1 / 3, rel=0.02)
    for branch in branches[1:]:
        first = np.abs(branch[0] - branches[0]).max(axis=1)
        assert first.min() <= 1.0 + 1e-4, "one step from a point of the first branch"
        assert np.sum(first <= 1.0 + 1e-4) == 1
    ends = branches[:, -1] - branches[:, 0]
    cosines = ends @ ends.T / np.outer(*[np.linalg.norm(ends, axis=1)] * 2)
    assert np.abs(cosines - np.eye(6)).max() < 0.3
    assert (noisy - clean).std() == pytest.approx(2.0, rel=0.02)
    assert not np.array_equal(tree(**{**settings, "seed": 8}, noise=0.0)[0], clean)


def test_tree_table():
    _, table = tree(branches=3, points=5, dimension=4, noise=0.0, seed=0)
    assert list(table["seed"]) == [b for b in range(3) for _ in range(5)]
    assert list(table["epoch"][:5]) == [0, 1, 2, 3, 4]
    assert set(table["run"]) == {"tree"}
    assert (table["step"] == 0).all()
    assert table["train_loss"].isna().all()
    _, table = tree(branches=1, points=5, dimension=4, noise=0.0, seed=0, length=50)
    assert table["epoch"].max() == 50
    with pytest.raises(LossatlasError, match="tree: branches 0"):
        tree(branches=0, points=5, dimension=4, noise=0.0, seed=0)


def test_tree_file_is_a_cloud(tmp_path):
    spec = {"kind": "tree", "branches": 3, "points": 6, "dimension": 10, "noise": 0.1, "seed": 5, "length": None}
    synthesise(replace(job(spec, tmp_path / "points.h5"), provenance={"hash": "x"}))
    with h5py.File(tmp_path / "points.h5") as file:
        assert file["theta"].shape == (18, 10)
        assert file["theta"].dtype == np.float32
        assert file["buffers"].shape == (18, 0)
    assert read_provenance(tmp_path / "points.h5") == {"hash": "x"}
    compute(tmp_path / "points.h5", tmp_path / "gram.h5", {})
    loaded = Gram.load(tmp_path / "gram.h5")
    theta, table = tree(**{key: value for key, value in spec.items() if key != "kind"})
    np.testing.assert_allclose(loaded.distances(), apart(theta), atol=1e-6)
    assert list(read_table(tmp_path / "points.h5", "points")["seed"]) == list(table["seed"])


# ---------------------------------------------------------------------------------------------------------------------
# one job's table, and what is chosen from it


def settings_of(methods, metrics):
    """Return the settings of a comparison."""
    return read(Scoring, {"cloud": "c", "methods": methods, "metrics": metrics}, "scores.s").settings()


def test_score_runs_every_setting_and_seed(tmp_path):
    rows, table = tree(branches=3, points=10, dimension=20, noise=0.5, seed=0)
    cloud = Gram.from_rows(rows, table)
    settings = settings_of({"tsne": {"perplexity": [3, 8]}, "pca": {}, "random": {}}, ["euclidean", "cosine"])
    spec = {"settings": settings, "seeds": [[0, 11], [4, 12]], "demap_k": 30, "trust_k": 5}
    found = score(cloud, spec)
    assert list(found.columns) == SCORED
    counts = found.groupby(["method", "metric", "setting"], sort=False).size()
    assert counts[("exact", "euclidean", "{}")] == 1
    assert counts[("pca", "euclidean", "{}")] == 1
    assert counts[("random", "euclidean", "{}")] == 2
    for metric in ("euclidean", "cosine"):
        for setting in ("{}", '{"perplexity": 3}', '{"perplexity": 8}'):
            assert counts[("tsne", metric, setting)] == 2
    assert len(counts) == 9
    exact = found.iloc[0]
    assert (exact["trustworthiness"], exact["demap"]) == (1.0, pytest.approx(1.0))
    assert pd.isna(exact["seed"])
    one = found[(found["method"] == "random") & (found["seed"] == 4)].iloc[0]
    picture = embeddings.embed(cloud, "random", seed=12).coordinates
    assert one["demap"] == pytest.approx(scores.Scorer(cloud, 30, 5).of(apart(picture))["demap"])
    write(tmp_path / "scores.csv", found, {"hash": "x"})
    assert read_provenance(tmp_path / "scores.csv") == {"hash": "x"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.json"]
    pd.testing.assert_frame_equal(score(cloud, spec), found)


def test_the_job_scores_against_the_truth_where_it_is_given(tmp_path):
    rows, table = tree(branches=3, points=10, dimension=20, noise=0.5, seed=0)
    clean, _ = tree(branches=3, points=10, dimension=20, noise=0.0, seed=0)
    noisy, truth = (
        save_gram(tmp_path / name, Gram.from_rows(r, table)) for name, r in (("n.h5", rows), ("t.h5", clean))
    )
    spec = {"settings": settings_of({"pca": {}}, ["euclidean"]), "seeds": [[0, 11]], "demap_k": 3, "trust_k": 5}
    make_scores(job(spec, tmp_path / "alone" / "scores.csv", gram=noisy))
    make_scores(job(spec, tmp_path / "true" / "scores.csv", gram=noisy, truth=truth))
    alone, true = (pd.read_csv(tmp_path / name / "scores.csv") for name in ("alone", "true"))
    expected = score(Gram.from_rows(rows, table), spec, Gram.from_rows(clean, table))
    np.testing.assert_allclose(true["demap"], expected["demap"])
    assert (alone["demap"] != true["demap"]).all()


@pytest.mark.parametrize(
    "sweep, message",
    [
        (
            {"phate": {"knn": [3, 5]}, "tsne": {"perplexity": [5]}},
            r"^scores.s.methods: sweeps of different length \(phate 2, tsne 1\); give each the same number of settings$",
        ),
        ({"phat": {}}, r"^scores.s.methods.phat: unknown method; did you mean 'phate'\?$"),
        ({"phate": {"kn": [3]}}, r"^scores.s.methods.phate.kn: unknown parameter of phate; did you mean 'knn'\?$"),
        ({"phate": {"knn": [0]}}, r"^scores.s.methods.phate.knn: 0 is not allowed; valid: auto; or 0 .* at least 1$"),
        ({"phate": {"knn": []}}, "^scores.s.methods.phate.knn: no entries; give at least 1$"),
        ({"phate": {"knn": [3, 3]}}, "^scores.s.methods.phate.knn: 3 stands there twice; give each value once$"),
    ],
)
def test_settings_are_checked(sweep, message):
    with pytest.raises(LossatlasError, match=message):
        settings_of(sweep, ["euclidean"])


def test_settings_put_defaults_first():
    found = settings_of({"phate": {"knn": [3], "t": [5, 9]}, "pca": {}}, ["cosine"])
    assert [(f["method"], f["metric"]) for f in found] == [("phate", "cosine")] * 3 + [("pca", "euclidean")]
    assert [f["setting"] for f in found] == [{}, {"knn": 3, "t": 5}, {"knn": 3, "t": 9}, {}]


def scored(**methods_):
    """A table of scores: method -> setting -> values, one a seed, of DEMaP; continuity is its negative."""
    rows = [
        {"method": method, "metric": "euclidean", "setting": json.dumps(dict(s)), "seed": i, "demap": value}
        for method, settings in methods_.items()
        for s, values in settings.items()
        for i, value in enumerate(values)
    ]
    table = pd.DataFrame(rows)
    return table.assign(continuity=-table["demap"], trustworthiness=0.9, wholeness=1.0)


DEFAULTS, THREE, TEN = (), (("knn", 3),), (("knn", 10),)
HERE = scored(phate={DEFAULTS: [0.4, 0.6], THREE: [0.9, 0.9], TEN: [0.7, 0.5]}, pca={DEFAULTS: [0.55]})
THERE = scored(phate={DEFAULTS: [1.0, 1.0], THREE: [0.1, 0.2], TEN: [0.3, 0.3]}, pca={DEFAULTS: [0.2]})


def test_settings_are_chosen_elsewhere_and_by_the_score_reported():
    both = Scores("here", HERE, [THERE])
    assert both.chosen("phate", "euclidean", "demap") == '{"knn": 10}', "neither the best here nor the defaults"
    assert both.chosen("phate", "euclidean", "continuity") == '{"knn": 3}'
    assert both.chosen("pca", "euclidean", "demap") == "{}"
    np.testing.assert_allclose(both.values("phate", "euclidean", "demap", "selected"), [0.7, 0.5])
    np.testing.assert_allclose(both.values("phate", "euclidean", "demap", "defaults"), [0.4, 0.6])
    alone = Scores("here", HERE)
    assert alone.chosen("phate", "euclidean", "demap") is None
    assert len(alone.values("phate", "euclidean", "demap", "selected")) == 0
    # Two clouds count alike, whatever the number of their seeds.
    third = scored(phate={THREE: [0.9] * 9, TEN: [0.0]})
    assert Scores("here", HERE, [THERE, third]).chosen("phate", "euclidean", "demap") == '{"knn": 3}'


def test_table_of_scores(tmp_path):
    for name, table in (("here", HERE), ("there", THERE)):
        (tmp_path / name).mkdir()
        table.to_csv(tmp_path / name / "scores.csv", index=False)
    paths = [tmp_path / name / "scores.csv" for name in ("here", "there")]
    spec = {"kind": "scores", "rows": [{"scores": "good"}], "paper": {"phate": "best"}}
    table = tabulate(spec, {"scores": {"good": paths}})
    assert list(table.columns) == COLUMNS
    assert len(table) == 2 * len(SCORES)
    first = table.iloc[0]
    assert (first["row"], first["method"], first["score"], first["paper"]) == ("good", "phate", "demap", "best")
    assert (first["defaults_mean"], first["selected_mean"]) == (pytest.approx(0.5), pytest.approx(0.6))
    assert first["defaults_std"] == pytest.approx(np.std([0.4, 0.6], ddof=1))
    assert (first["selected_low"], first["selected_high"], first["seeds"]) == (0.5, 0.7, 2)
    assert first["setting"] == "knn 10"
    linear = table[table["method"] == "pca"].iloc[0]
    assert np.isnan(linear["defaults_std"])
    assert linear["setting"] == "defaults"
    (tmp_path / "there" / "scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LossatlasError, match="no column 'method'"):
        tabulate(spec, {"scores": {"good": paths}})
    with pytest.raises(LossatlasError, match="no readable scores"):
        Scores.load([tmp_path / "absent.csv"])


def along(*lengths):
    """Points on a line, so far from each other, and which trajectory they are of and what follows them."""
    x = np.concatenate([[0.0], np.cumsum(lengths)])
    return apart(x), np.zeros(len(x), int), np.append(np.arange(1, len(x)), -1)


def test_wholeness_is_how_much_longer_the_longest_step_is_than_in_the_cloud():
    even, member, successor = along(1, 1, 1, 1)
    torn, *_ = along(1, 1, 8, 1)
    assert scores.wholeness(even, even, member, successor) == 1.0
    assert scores.wholeness(even, torn, member, successor) == pytest.approx(1 / 8)
    assert scores.wholeness(torn, torn, member, successor) == pytest.approx(1.0), "what is torn in R^D may be so here"
    assert scores.wholeness(torn, even, member, successor) == pytest.approx(8.0)
    assert scores.wholeness(even, 7 * torn, member, successor) == pytest.approx(1 / 8), "scale does not count"


def test_wholeness_does_not_reward_collapse_and_averages_trajectories_geometrically():
    even, member, successor = along(1, 1, 1, 1)
    assert scores.wholeness(even, along(0, 0, 0, 1)[0], member, successor) == 0.0
    assert np.isnan(scores.wholeness(even, even, member, np.full(5, -1)))
    x = np.array([0.0, 1, 2, 3, 10, 11, 12, 13])
    y = np.array([0.0, 1, 5, 6, 10, 11, 27, 28])  # tears of 4 and of 16 times the median step
    member, successor = np.repeat([0, 1], 4), np.array([1, 2, 3, -1, 5, 6, 7, -1])
    assert scores.wholeness(apart(x), apart(y), member, successor) == pytest.approx(1 / 8)


def test_arms_go_where_they_are_told(tmp_path, fresh_seed):
    settings = {"directions": 3, "steps": [0.5, 1.0], "epochs": 8, "dimension": 400, "left": 0.25, "wander": 0.0}
    theta, table = arms(**settings, seed=fresh_seed)
    assert theta.shape == (1 + 3 * 2 * 9, 400)
    radii = np.linalg.norm(theta - theta[0], axis=1)
    np.testing.assert_allclose(np.linalg.norm(theta[0]), 1.0, rtol=1e-6)
    moving = table["seed"] >= 0
    expected = table["step"] * 0.25 ** (table["epoch"] / 8)
    np.testing.assert_allclose(radii[moving], expected[moving], rtol=1e-4)
    # A walk of its own: as long as it was told on average, and orthogonal to the arm in high dimension.
    lost, _ = arms(**{**settings, "left": 1.0, "wander": 0.5, "directions": 40}, seed=fresh_seed)
    walked = lost[1:].reshape(80, 9, 400)
    ends = walked[:, -1] - walked[:, 0]
    assert np.mean(np.sum(ends**2, axis=1)) == pytest.approx(0.25, rel=0.15)
    job_of = job({"kind": "arms", **settings, "seed": 1}, tmp_path / "points.h5")
    synthesise(job_of)
    assert len(read_table(tmp_path / "points.h5")) == len(table)
    with pytest.raises(LossatlasError, match="out of range"):
        arms(**{**settings, "left": 0.0}, seed=0)


def test_scores_leave_out_clouds_on_which_r_d_itself_scores_low():
    high = Scores("high", scored(exact={DEFAULTS: [0.95]}, phate={DEFAULTS: [0.5]}, pca={DEFAULTS: [0.3]}))
    low = Scores("low", scored(exact={DEFAULTS: [0.4]}, phate={DEFAULTS: [0.1]}, pca={DEFAULTS: [0.9]}))
    assert measure("best_method", {"scores": [high, low]}).value == pytest.approx((0.2 - 0.8) / 2)
    found = measure("best_method", {"scores": [high, low]}, least=0.8)
    assert (found.value, found.n) == (pytest.approx(0.2), 1)
    assert "low: left out, R^D itself scores 0.400" in found.detail
    assert measure("best_method", {"scores": [low]}, least=0.8).value is None
