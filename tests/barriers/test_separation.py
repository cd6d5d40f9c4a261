"""Kernel separation, shells and comparisons of pairs against other libraries, direct computation and known answers."""

from itertools import combinations, islice

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import mannwhitneyu
from sklearn.decomposition import KernelPCA
from sklearn.metrics import roc_auc_score

from lossatlas.barriers import separation
from lossatlas.barriers.dyads import Sample, compare
from lossatlas.barriers.figures import phase
from lossatlas.barriers.jobs.path import draw_pairs
from lossatlas.barriers.numbers import shells
from lossatlas.barriers.separation import areas, score, separate, subset, variant, wishart
from lossatlas.clouds.embeddings import embed
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError

DIMENSION, COUNT = 600, 24


def two_shells(rng, first=1.5, second=1.0):
    """Return Gaussian vectors of two sizes, (2 COUNT, D), and their Gram matrix with a column ``cloud``."""
    sizes = np.repeat([first, second], COUNT)
    theta = rng.standard_normal((2 * COUNT, DIMENSION)) * sizes[:, None]
    table = pd.DataFrame({"cloud": np.repeat(["a", "b"], COUNT)})
    return theta, Gram.from_rows(theta, table)


def spec(**changes):
    """Return the spec of a separation."""
    base = {"sets": ["a", "b"], "kernels": ["rbf", "linear", "poly", "sigmoid"], "sigmas": [1.5, 1.0], "count": 20}
    return {**base, "permutations": 300, "seed": 3, **changes}


def test_area_is_that_of_the_roc_curve(rng):
    values, labels = rng.integers(0, 5, (3, 17)).astype(float), rng.permutation(np.arange(17) < 6)
    for row, found in zip(values, areas(values, labels), strict=True):
        area = roc_auc_score(labels, row)
        assert found == pytest.approx(max(area, 1 - area))
    several = np.stack([rng.permutation(labels) for _ in range(4)])
    assert areas(values, several).shape == (4, 3)


def test_score_finds_the_best_direction_and_its_chance(rng):
    labels = np.arange(20) < 10
    angle = rng.uniform(0, np.pi)
    along, across = np.where(labels, 1.0, 0.0), 3 * rng.standard_normal(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    separated = score(np.stack([along, across], axis=1) @ turn, labels, 400, rng)
    assert separated["plane"] > 0.97
    assert separated["plane_p"] < 0.05
    p = [score(rng.standard_normal((20, 2)), labels, 99, rng)["plane_p"] for _ in range(60)]
    assert 0.25 < np.mean(p) < 0.8  # uniform on [0, 1] if the choice of direction is paid for


def test_rbf_sees_norms_and_linear_kernels_do_not(rng):
    """Random directions of two norms: the mechanism behind the paper's figure 6, and its controls."""
    _, gram = two_shells(rng)
    scores, points = separate(gram, spec())
    found = scores.set_index(["variant", "kernel"])["plane"]
    for name in ("trained", "random_directions", "gaussian"):
        assert found[name, "rbf"] == 1.0
    assert found["equal_norms", "rbf"] < 0.95
    assert found["trained", "linear"] < 0.95
    assert (scores["norm"][scores["variant"] == "trained"] == 1.0).all()
    rows = points.groupby(["variant", "kernel"]).size()
    assert rows["trained", "rbf"] == 2 * COUNT
    assert rows["gaussian", "rbf"] == 40
    norms = points[points["variant"] == "equal_norms"]["norm"]
    assert norms.std() < 1e-9 * norms.mean()


def test_projections_are_those_of_sklearn_on_the_vectors(rng):
    theta, gram = two_shells(rng)
    _, points = separate(gram, spec(kernels=["rbf", "poly", "sigmoid"]))
    for kernel in ("rbf", "poly", "sigmoid"):
        settings = {"coef0": 1.0, "degree": 3} if kernel != "rbf" else {}
        reference = KernelPCA(2, kernel=kernel, gamma=1 / DIMENSION, eigen_solver="dense", **settings)
        expected = reference.fit_transform(theta)
        mine = points[(points["variant"] == "trained") & (points["kernel"] == kernel)]
        for k in range(2):
            ours, theirs = mine[f"pc{k + 1}"].to_numpy(), expected[:, k]
            assert min(np.abs(ours - theirs).max(), np.abs(ours + theirs).max()) < 1e-6 * np.abs(theirs).max()


def test_variants_keep_what_they_say(rng):
    theta, gram = two_shells(rng)
    labels = np.arange(2 * COUNT) < COUNT
    equal, _ = variant(gram, "equal_norms", labels, spec(), rng)
    norms = np.linalg.norm(theta, axis=1)
    cosines = theta @ theta.T / np.outer(norms, norms)
    np.testing.assert_allclose(equal.raw() / norms.mean() ** 2, cosines, atol=1e-9)
    turned, _ = variant(gram, "random_directions", labels, spec(), rng)
    np.testing.assert_allclose(turned.norms(), norms, rtol=1e-9)
    assert np.abs(np.corrcoef(turned.raw()[np.triu_indices(48, 1)], gram.raw()[np.triu_indices(48, 1)])[0, 1]) < 0.15
    part = subset(gram, np.array([5, 2, 30]))
    np.testing.assert_allclose(part.raw(), (theta @ theta.T)[np.ix_([5, 2, 30], [5, 2, 30])], atol=1e-8)


def test_wishart_has_the_moments_of_gaussian_products(rng):
    drawn = np.stack([wishart(4, 50, rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn.mean(0), 50 * np.eye(4), atol=1.2)
    np.testing.assert_allclose(drawn.var(0), 50 * (1 + np.eye(4)), rtol=0.25)


def test_a_set_that_is_not_there_is_one_line(rng):
    _, gram = two_shells(rng)
    with pytest.raises(LossatlasError, match="fewer than two vectors in a set"):
        separate(gram, spec(sets=["a", "c"]))


def test_shells_are_those_of_the_vectors(rng):
    theta = np.concatenate([2.0 * rng.standard_normal((7, 30)) + 0.3, rng.standard_normal((5, 30)), np.ones((6, 30))])
    theta[12:] += 0.5 * rng.standard_normal((6, 30))
    gram = Gram.from_rows(theta, pd.DataFrame({"cloud": ["a"] * 7 + ["b"] * 5 + ["c"] * 6}))
    found = shells(gram, ["a", "b"], ["b", "c"])
    centres = theta[7:12].mean(0), theta[12:].mean(0)
    origin = (centres[0] + centres[1]) / 2
    np.testing.assert_allclose(found.distances[0], np.linalg.norm(theta[:7] - origin, axis=1), rtol=1e-9)
    np.testing.assert_allclose(found.distances[1], np.linalg.norm(theta[7:12] - origin, axis=1), rtol=1e-9)
    assert found.centroid == pytest.approx(np.linalg.norm(centres[0] - origin))


def test_centroids_of_independent_vectors_are_as_far_apart_as_chance_says(rng):
    ratios = []
    for _ in range(20):
        _, gram = two_shells(rng, *rng.uniform(0.5, 2.0, 2))
        found = shells(gram, ["a", "b"], ["a", "b"])
        ratios.append(found.centroid / found.by_chance)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.03)


def sample(rng, count, points, shift=0.0, noise=1.0):
    """Return pairs of points whose values are sums over their two points, some sharing points."""
    pairs = rng.permutation(list(combinations(range(points), 2)))[:count]
    effect = rng.standard_normal(points)
    values = shift + effect[pairs[:, 0]] + effect[pairs[:, 1]] + noise * rng.standard_normal(count)
    return Sample(values, pairs[:, 0], pairs[:, 1])


def apart(rng, count, shift=0.0):
    """Return pairs that share no point."""
    return Sample(shift + rng.standard_normal(count), np.arange(count), count + np.arange(count))


def test_superiority_is_mann_whitney(rng):
    first, second = apart(rng, 9), apart(rng, 7, 0.5)
    u = mannwhitneyu(first.values, second.values).statistic
    assert compare(first, second).superiority == pytest.approx(u / 63)


def test_matchings_share_no_point_and_p_is_exact(rng):
    first, second = sample(rng, 12, 8), sample(rng, 12, 8, 2.0)
    for one in (first, second):
        kept = one.matchings()
        assert len({len(rows) for rows in kept}) == 1
        assert len(set(np.concatenate(kept))) == sum(map(len, kept))
        for rows in kept:
            points = [*one.first[rows], *one.second[rows]]
            assert len(set(points)) == len(points)
    a, b = (np.asarray(one.values)[one.matchings()[0]] for one in (first, second))
    found = compare(first, second)
    exact = mannwhitneyu(a, b, alternative="two-sided", method="exact").pvalue
    assert found.p == pytest.approx(exact, rel=1e-9)
    assert found.disjoint == (len(a), len(b))
    assert found.least_p == pytest.approx(
        mannwhitneyu(np.arange(len(a)), 99 + np.arange(len(b)), method="exact").pvalue
    )


def test_a_star_of_pairs_counts_as_one(rng):
    """Pairs that all share one point say no more than one of them; pairs drawn as matchings say as much as all fit."""
    star = Sample(rng.standard_normal(9) + 5, np.zeros(9, dtype=int), 1 + np.arange(9))
    assert compare(star, apart(rng, 9)).disjoint == (1, 9)
    assert compare(star, apart(rng, 9)).interval.low < 0.05
    matched = list(draw_pairs(12, int(rng.integers(1000))))[:8]  # six of a matching and two of the next
    pairs = np.array(matched)
    assert [len(rows) for rows in Sample(np.zeros(8), pairs[:, 0], pairs[:, 1]).matchings()] == [6]


def test_intervals_of_pairs_exclude_one_half_rarely_and_never_collapse(rng):
    """No difference, and values that are their points': 1/2 is missed at most once in 20, which naive ones do more."""
    wrong = naive = 0
    for _ in range(200):
        found, drawn = [], []
        for _ in range(2):
            pairs = np.array(list(islice(draw_pairs(12, int(rng.integers(2**31))), 40)))
            effect = rng.standard_normal(12)
            values = effect[pairs[:, 0]] + effect[pairs[:, 1]] + 0.1 * rng.standard_normal(40)
            found.append(Sample(values, pairs[:, 0], pairs[:, 1]))
            drawn.append(values)
        interval = compare(*found).interval
        wrong += not interval.low <= 0.5 <= interval.high
        naive += mannwhitneyu(*drawn).pvalue < 0.05
    assert wrong <= 10
    assert naive > wrong
    interval = compare(apart(rng, 8, 100.0), apart(rng, 8)).interval
    assert 0.6 < interval.low < 0.7
    assert interval.high == 1.0


# ---------------------------------------------------------------------------------------------------------------------
# how many vectors it takes


def first_component(n, m, a, b, rng, dimension=5_000_000):
    """Return the area under the ROC curve of PC 1 of the RBF kernel for n vectors of deviation a and m of b."""
    sigma = np.repeat([a, b], [n, m])
    inner = separation.wishart(n + m, dimension, rng) * np.outer(sigma, sigma)
    gram = separation.from_inner_products(inner, dimension, pd.DataFrame({"row": range(n + m)}))
    coordinates = embed(gram, "kpca", kernel="rbf", two_sigma2="dimension").coordinates
    return float(separation.areas(coordinates[:, :1].T, np.arange(n + m) < n)[0])


def test_critical_count_is_where_simulated_sets_come_apart(rng):
    """Below it PC 1 is a direction of the wider set alone, above it separates; only the narrower set's number counts."""
    a = float(rng.uniform(0.35, 0.8))
    b = float(np.sqrt(a**2 - rng.uniform(0.06, 0.1)))
    critical = separation.critical_count(a, b)
    assert critical == pytest.approx(
        (np.exp(-(b**2)) + np.exp(-(a**2))) / (np.exp(-(b**2)) - np.exp(-(a**2))), rel=1e-9
    )
    assert separation.critical_count(b, a) == critical
    above, below = int(np.ceil(1.7 * critical)), int(0.55 * critical)
    assert first_component(above, above, a, b, rng) > 0.99
    assert first_component(below, below, a, b, rng) < 0.9
    assert first_component(3 * above, below, a, b, rng) < 0.9  # the wider set's number does not help
    assert first_component(above // 2, above, a, b, rng) > 0.99  # and need not be as large
    assert separation.critical_count(a, a) == np.inf


def test_published_sets_need_what_the_formula_says():
    """Table S1 of the paper at the 48 vectors a set of its figure 6: only the LSTM's and, barely, the FCP's are enough."""
    table = {"fcp": (0.234, 0.103), "lenet": (0.108, 0.0706), "autoencoder": (0.160, 0.0854), "lstm": (0.733, 0.259)}
    found = {name: separation.critical_count(*sigmas) for name, sigmas in table.items()}
    assert {name: round(value) for name, value in found.items()} == {
        "fcp": 45,
        "lenet": 299,
        "autoencoder": 109,
        "lstm": 4,
    }
    assert separation.needed(0.7, 0.2, (5, 9))[1] == 9
    assert separation.needed(0.2, 0.7, (5, 9))[1] == 5


def test_deviations_are_those_of_the_vectors(rng):
    vectors = np.concatenate([rng.normal(3.0, 0.5, (9, 4000)), rng.normal(-1.0, 0.2, (7, 4000))])
    gram = separation.from_inner_products(vectors @ vectors.T, 4000, pd.DataFrame({"row": range(16)}))
    assert separation.deviation(gram, np.arange(9)) == pytest.approx(0.5, rel=0.02)
    assert separation.deviation(gram, np.arange(9, 16)) == pytest.approx(0.2, rel=0.02)


def test_names_move_as_little_as_keeps_them_apart(rng):
    heights = np.sort(rng.uniform(0, 10, 9))
    found = np.array(phase._spread(heights, 0.9))
    assert np.diff(found).min() > 0.9 - 1e-9
    assert found.mean() == pytest.approx(heights.mean())
    # A convex problem: no other places as far apart are nearer in the sum of squares.
    best = minimize(
        lambda y: np.square(y - heights).sum(),
        np.arange(9.0),
        constraints={"type": "ineq", "fun": lambda y: np.diff(y) - 0.9},
    )
    np.testing.assert_allclose(found, best.x, atol=1e-3)
    np.testing.assert_array_equal(phase._spread([1.0, 2.0, 4.0], 0.5), [1.0, 2.0, 4.0])
