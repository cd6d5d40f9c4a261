"""Every embedding against its library on the raw rows, seeds, error messages, files."""

import secrets
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.spatial import procrustes
from scipy.spatial.distance import cdist
from scipy.special import softmax
from scipy.stats import entropy, ks_2samp
from sklearn.decomposition import PCA, KernelPCA

from lossatlas.clouds import embeddings
from lossatlas.clouds.embeddings import embed
from lossatlas.clouds.files import Embedding, Gram, read_embedding, write_embedding
from lossatlas.clouds.spec import METHODS
from lossatlas.clouds.spec import Embedding as Settings
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import read


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Four random walks of 15 steps from one point of R^300, away from the origin."""
    seed = secrets.randbits(32)
    print(f"fresh seed: {seed}")
    return _four_walks(np.random.default_rng(seed))


def _four_walks(rng: np.random.Generator) -> np.ndarray:
    walks = [np.cumsum(rng.standard_normal((15, 300)), axis=0) for _ in range(4)]
    return np.concatenate(walks) + 3 * rng.standard_normal(300)


@pytest.fixture(scope="module")
def gram(rows: np.ndarray) -> Gram:
    return Gram.from_rows(rows, pd.DataFrame({"run": ["w"] * 60, "epoch": np.arange(60) % 15}))


def test_pca_is_that_of_the_raw_rows(rows, gram):
    model = PCA(svd_solver="full").fit(rows)
    scores = model.transform(rows)[:, :2]
    ours = embed(gram, "pca")
    np.testing.assert_allclose(np.abs(ours.coordinates), np.abs(scores), atol=1e-8)
    np.testing.assert_allclose(ours.notes["explained_variance_ratio"], model.explained_variance_ratio_[:59], atol=1e-12)
    assert ours.seed is None


@pytest.mark.parametrize(
    "ours, theirs",
    [
        ({"kernel": "rbf"}, {"kernel": "rbf"}),
        ({"kernel": "rbf", "two_sigma2": "dimension"}, {"kernel": "rbf", "gamma": 1 / 300}),
        ({"kernel": "rbf", "two_sigma2": 900}, {"kernel": "rbf", "gamma": 1 / 900}),
        ({"kernel": "linear"}, {"kernel": "linear"}),
        ({"kernel": "poly", "degree": 2, "coef0": 0.5}, {"kernel": "poly", "degree": 2, "coef0": 0.5}),
        ({"kernel": "poly", "gamma": 0.01}, {"kernel": "poly", "gamma": 0.01}),
        ({"kernel": "sigmoid", "gamma": 1e-4, "coef0": -0.1}, {"kernel": "sigmoid", "gamma": 1e-4, "coef0": -0.1}),
    ],
)
def test_kernel_pca_is_that_of_the_raw_rows(rows, gram, ours, theirs):
    expected = KernelPCA(n_components=2, eigen_solver="dense", **theirs).fit_transform(rows)
    found = embed(gram, "kpca", **ours).coordinates
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


def test_phate_is_that_of_the_raw_rows(rows, gram):
    import phate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = phate.PHATE(n_pca=None, mds_solver="smacof", verbose=0, random_state=1)
        expected = theirs.fit_transform(rows)
    ours = embed(gram, "phate", seed=5)
    assert ours.notes["t"] == theirs.optimal_t
    assert ours.parameters["knn"] == 5
    assert procrustes(expected, ours.coordinates)[2] < 1e-4
    assert embed(gram, "phate", seed=5, t=7).notes["t"] == 7


def test_tsne_is_as_good_as_that_of_the_raw_rows(rng):
    """The descent magnifies last digits, so only its objective can be compared.

    Either descent is now and then caught in a minimum twice as high: the median of five clouds is compared.
    """
    from sklearn.manifold import TSNE

    ratios = []
    for rows in (_four_walks(rng) for _ in range(5)):
        theirs = TSNE(perplexity=9, init="pca", method="exact", random_state=0).fit(rows).kl_divergence_
        ours = embed(Gram.from_rows(rows), "tsne", seed=5, perplexity=9, angle=0)
        assert ours.notes["kl_divergence"] == pytest.approx(_kl_divergence(rows, ours.coordinates, 9), rel=1e-3)
        ratios.append(ours.notes["kl_divergence"] / theirs)
    assert np.median(ratios) == pytest.approx(1, abs=0.1), ratios


def _kl_divergence(rows: np.ndarray, coordinates: np.ndarray, perplexity: float) -> float:
    """Return t-SNE's objective (van der Maaten and Hinton 2008, equations 1 to 5), each bandwidth found by scipy."""
    count = len(rows)
    others = ~np.eye(count, dtype=bool)

    def neighbours(squares: np.ndarray, log_precision: float) -> np.ndarray:
        return softmax(-np.exp(log_precision) * (squares - squares.min()))

    conditional = np.zeros((count, count))
    for index, squares in enumerate(cdist(rows, rows, "sqeuclidean")):
        kept = squares[others[index]]
        found = brentq(lambda b, kept=kept: entropy(neighbours(kept, b)) - np.log(perplexity), -30, 10, xtol=1e-12)
        conditional[index, others[index]] = neighbours(kept, found)
    joint = (conditional + conditional.T) / (2 * count)
    kernel = others / (1 + cdist(coordinates, coordinates, "sqeuclidean"))
    return float(entropy(joint[others], (kernel / kernel.sum())[others]))


@pytest.mark.parametrize(
    "method, metric",
    [
        ("phate", "euclidean"),
        ("phate", "cosine"),
        ("tsne", "euclidean"),
        ("tsne", "cosine"),
        ("umap", "euclidean"),
        ("umap", "cosine"),
        ("pca", "euclidean"),
        ("kpca", "euclidean"),
        ("random", "euclidean"),
    ],
)
def test_same_seed_same_bits_and_silence(gram, capfd, method, metric):
    np.random.random(3)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = embed(gram, method, metric, seed=2**62 + 1)
        assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
        np.random.seed(secrets.randbits(32))  # noqa: NPY002
        second = embed(gram, method, metric, seed=2**62 + 1)
    assert first.coordinates.shape == (60, 2)
    np.testing.assert_array_equal(first.coordinates, second.coordinates)
    assert first.notes == second.notes
    assert capfd.readouterr() == ("", "")
    if method in ("umap", "random"):
        assert not np.array_equal(first.coordinates, embed(gram, method, metric, seed=7).coordinates)


def test_seed_matters_to_tsne_with_a_random_start(gram):
    a, b = (embed(gram, "tsne", seed=seed, init="random", max_iter=300).coordinates for seed in (1, 2))
    assert not np.allclose(a, b)


def test_auto_neighbourhoods_follow_the_size_of_the_cloud(rows):
    small = Gram.from_rows(rows[:6])
    assert embed(small, "tsne", seed=0).parameters["perplexity"] == pytest.approx(5 / 3)
    assert embed(small, "phate", seed=0).parameters["knn"] == 4
    assert embed(small, "umap", seed=0).parameters["n_neighbors"] == 5


def test_disconnected_clouds_are_noted():
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((40, 30))
    cloud[20:] += 1e4
    assert "disconnected" in embed(Gram.from_rows(cloud), "phate", seed=0).notes["warnings"][0]


def test_random_plane_has_the_distribution_of_a_plane_of_the_whole_space():
    rng = np.random.default_rng(20)
    rows = rng.standard_normal((5, 12)) * np.array([1, 2, 3, 4, 5.0])[:, None]
    gram = Gram.from_rows(rows)
    centred = rows - rows.mean(axis=0)
    draws = 1500
    for directions in ("orthonormal", "gaussian"):
        parameters = {"directions": directions}
        ours = np.array([embeddings._random(gram, "euclidean", seed, parameters, {}) for seed in range(draws)])
        direct = []
        for _ in range(draws):
            plane = rng.standard_normal((12, 2))
            if directions == "orthonormal":
                q, r = np.linalg.qr(plane)
                plane = q * np.sign(np.diagonal(r))
            direct.append(centred @ plane)
        theirs = np.array(direct)
        for statistic in (
            lambda y: y[:, 2, 0],
            lambda y: y[:, 2, 1],
            lambda y: ((y[:, 0] - y[:, 4]) ** 2).sum(axis=1),
            lambda y: y[:, 1, 0] * y[:, 3, 1],
            lambda y: (y**2).sum(axis=(1, 2)),
        ):
            assert ks_2samp(statistic(ours), statistic(theirs)).pvalue > 1e-3


def test_random_plane_of_a_plane_is_a_rotation(rng):
    rows = rng.standard_normal((10, 2))
    found = embed(Gram.from_rows(rows), "random", seed=3).coordinates
    np.testing.assert_allclose(Gram.from_rows(found).distances(), Gram.from_rows(rows).distances(), atol=1e-9)
    line = embed(Gram.from_rows(rows[:, :1]), "random", seed=3).coordinates
    np.testing.assert_allclose(np.abs(np.diff(line[:, 0])), np.abs(np.diff(rows[:, 0])), atol=1e-9)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"method": "phat"}, "e.method: 'phat' is not allowed; did you mean 'phate'?"),
        ({"method": "zzz"}, "e.method: 'zzz' is not allowed; valid: phate, tsne, umap, pca, kpca, random"),
        ({}, "e.method: missing"),
        ({"method": "tsne", "metric": "cosin"}, "e.metric: 'cosin' is not allowed; did you mean 'cosine'?"),
        ({"method": "pca", "metric": "cosine"}, "e.metric: 'cosine' is not available for pca; valid: euclidean"),
        (
            {"method": "umap", "n_neighbours": 3},
            "e.n_neighbours: unknown parameter of umap; did you mean 'n_neighbors'?",
        ),
        (
            {"method": "umap", "parameters": {"n_neighbors": 2.5}},
            "e.parameters.n_neighbors: 2.5 is not allowed; valid: auto; or 2.5 is of type float, expected an integer",
        ),
        (
            {"method": "umap", "n_neighbors": 1},
            "e.n_neighbors: 1 is not allowed; valid: auto; or 1 is not allowed; give a value at least 2",
        ),
        (
            {"method": "kpca", "kernel": "gauss"},
            "e.kernel: 'gauss' is not allowed; valid: rbf, linear, poly, sigmoid",
        ),
        (
            {"method": "kpca", "gamma": 1, "two_sigma2": 3},
            "e.gamma: gamma and two_sigma2 = 1 / gamma are both given; leave one out",
        ),
        ({"method": "kpca", "degree": 2}, "e.degree: the kernel rbf has none; leave it out"),
        ({"method": "kpca", "kernel": "linear", "gamma": 0.1}, "e.gamma: the kernel linear has none; leave it out"),
        ({"method": "kpca", "kernel": "rbf", "coef0": 0.5}, "e.coef0: the kernel rbf has none; leave it out"),
        (
            {"method": "phate", "mds": "classic", "mds_solver": "sgd"},
            "e.mds_solver: it is for metric scaling, not for mds: classic; leave it out",
        ),
        ({"method": "pca", "seed": 1}, "e.seed: pca draws no random numbers; leave it out"),
        (
            {"method": "kpca", "kernel": "poly", "two_sigma2": 3},
            "e.two_sigma2: two_sigma2 belongs to the kernel rbf; use gamma instead",
        ),
        ({"method": "phate", "decay": None}, "e.decay: None is of type NoneType, expected an integer or a number"),
        ({"method": "phate", "decay": True}, "e.decay: True is of type bool, expected an integer or a number"),
        ({"method": "pca", "knn": 5}, "e.knn: unknown parameter of pca; it has none"),
        ({"method": "pca", "parameters": [1]}, "e.parameters: [1] is of type list, expected a mapping"),
    ],
)
def test_specs_name_the_mistake(given, message):
    with pytest.raises(LossatlasError) as caught:
        read(Settings, given, "e")
    assert str(caught.value) == message


def test_specs_fill_in_defaults():
    assert read(Settings, {"method": "random"}).hashed() == {
        "method": "random",
        "metric": "euclidean",
        "parameters": {"directions": "orthonormal"},
        "seed": 0,
    }
    spelt = {"method": "umap", "metric": "cosine", "parameters": {"n_neighbors": 30}}
    assert read(Settings, spelt) == read(Settings, {"method": "umap", "metric": "cosine", "n_neighbors": 30})
    checked = read(Settings, spelt).hashed()
    assert read(Settings, checked).hashed() == checked
    for name, kind in METHODS.items():
        assert read(kind, kind().hashed()) == kind(), name
        assert kind().hashed() == read(Settings, {"method": name}).hashed()["parameters"]
    assert set(METHODS) == set(embeddings._METHODS)


def test_numbers_stay_as_they_are_written():
    """They stand below a picture and in the scores' settings."""
    used = read(Settings, {"method": "tsne", "perplexity": 30, "learning_rate": 200.0}).parameters.hashed()
    assert [str(used[name]) for name in ("perplexity", "learning_rate")] == ["30", "200.0"]


def test_values_that_do_not_fit_the_cloud(gram, rows):
    with pytest.raises(LossatlasError, match=r"perplexity = 60 with 60 points; give at most 59"):
        embed(gram, "tsne", seed=0, perplexity=60)
    with pytest.raises(LossatlasError, match=r"n_neighbors = 60"):
        embed(gram, "umap", seed=0, n_neighbors=60)
    with pytest.raises(LossatlasError, match=r"knn = 59"):
        embed(gram, "phate", seed=0, knn=59)
    with pytest.raises(LossatlasError, match="seed = None"):
        embed(gram, "umap")
    with pytest.raises(LossatlasError, match="at least 5 are needed"):
        embed(Gram.from_rows(rows[:4]), "umap", seed=0)
    with pytest.raises(LossatlasError, match="overflows"):
        embed(gram, "kpca", kernel="poly", degree=300)
    with pytest.raises(LossatlasError, match="holds a NaN"):
        Gram.from_rows(np.array([[0.0], [np.nan]]))
    with pytest.raises(LossatlasError, match="at least 2 rows"):
        Gram.from_rows(np.zeros((1, 3)))


def test_files_round_trip(tmp_path, gram):
    embedding = embed(gram, "pca")
    write_embedding(tmp_path / "embedding.h5", embedding, gram.table, {"hash": "abc"})
    back, table = read_embedding(tmp_path / "embedding.h5")
    assert isinstance(back, Embedding)
    np.testing.assert_array_equal(back.coordinates, embedding.coordinates)
    assert (back.method, back.metric, back.notes, back.seed) == ("pca", "euclidean", embedding.notes, None)
    assert table["run"].tolist() == ["w"] * 60
    with h5py.File(tmp_path / "embedding.h5") as file:
        assert file.attrs["kind"] == "embedding"
        assert file.attrs["provenance"] == '{"hash": "abc"}'
    assert [path.name for path in tmp_path.iterdir()] == ["embedding.h5"]
    with pytest.raises(LossatlasError, match="60 points but 3 table rows"):
        write_embedding(tmp_path / "embedding.h5", embedding, gram.table[:3], {})
    (tmp_path / "cut.h5").write_bytes((tmp_path / "embedding.h5").read_bytes()[:900])
    with pytest.raises(LossatlasError, match="compute it again"):
        read_embedding(tmp_path / "cut.h5")
    with pytest.raises(LossatlasError, match="no such embedding file"):
        read_embedding(tmp_path / "none.h5")
