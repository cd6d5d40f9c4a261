"""Embeddings of a cloud of weight vectors in the plane, every one of them exact from the cloud's Gram matrix.

PHATE, t-SNE and UMAP get the exact distance matrix (Euclidean or cosine), PCA and kernel PCA the exact inner products;
nothing is reduced to fifty or a hundred principal components first, as the libraries' defaults would do.

Every result is a function of the Gram matrix, the parameters and the seed alone: the libraries run on one thread, and
the global state of ``numpy.random``, on which one of them insists, is set from the seed and put back afterwards.
"""

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossatlas.arrays import Array
from lossatlas.clouds.files import Embedding, Gram
from lossatlas.clouds.spec import METHODS
from lossatlas.clouds.spec import Embedding as Settings
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import read

logger = logging.getLogger(__name__)

_LEAST_POINTS = 5


def embed(
    gram: Gram, method: str, metric: str = "euclidean", *, seed: int | None = None, **parameters: Any
) -> Embedding:
    """Embed a cloud in the plane.

    Args:
        gram: the cloud's Gram matrix.
        method: ``phate``, ``tsne``, ``umap``, ``pca``, ``kpca`` or ``random``.
        metric: ``euclidean`` or ``cosine`` (the latter for phate, tsne and umap only).
        seed: any integer that is not negative; required by phate, tsne, umap and random.
        **parameters: see :data:`lossatlas.clouds.spec.METHODS`.

    Returns:
        The embedding, bit-identical for equal arguments on one machine, whatever the number of threads.

    Raises:
        LossatlasError: unknown method, metric or parameter, a value that does not fit the number of points, a missing
            seed, or a result that is not finite.
    """
    spec = read(Settings, {"method": method, "metric": metric, "parameters": parameters}, "embedding")
    used: dict[str, Any] = spec.parameters.hashed()
    if METHODS[method].seeded:
        if seed is None or seed < 0:
            raise LossatlasError(f"embedding {method}: seed = {seed}; give an integer of at least 0")
    else:
        seed = None
    if method in ("phate", "tsne", "umap"):
        if gram.n < _LEAST_POINTS:
            raise LossatlasError(
                f"embedding {method}: the cloud has {gram.n} points, at least {_LEAST_POINTS} are needed; use pca"
            )
        _fit_neighbourhood(method, used, gram.n)
    notes: dict[str, Any] = {}
    with _contained(seed, notes):
        coordinates = _METHODS[method](gram, metric, seed, used, notes)
    coordinates = np.ascontiguousarray(coordinates, dtype=np.float64)
    if coordinates.shape != (gram.n, 2) or not np.isfinite(coordinates).all():
        raise LossatlasError(
            f"embedding {method}: the result is not finite; look for coinciding points or change parameters"
        )
    return Embedding(coordinates, method, metric, used, notes, seed)


# ---------------------------------------------------------------------------------------------------------------------
# the methods: (gram, metric, seed, parameters, notes) -> (n, 2); parameters and notes are completed in place


def _phate(gram: Gram, metric: str, seed: int | None, parameters: dict[str, Any], notes: dict[str, Any]) -> Array:
    """PHATE on exact distances.

    ``knn_dist='precomputed_distance'`` builds the kernel exp(-(d_ij / d_i)^decay), d_i the distance of the knn-th
    neighbour (the point itself not counted), truncated at 1e-4 and symmetrised: what PHATE does with coordinates, only
    without its reduction to ``n_pca`` = 100 principal components.
    """
    import phate

    operator = phate.PHATE(
        n_components=2,
        knn_dist="precomputed_distance",
        n_pca=None,
        n_jobs=1,
        random_state=_seed32(seed),
        verbose=0,
        **parameters,
    )
    coordinates = operator.fit_transform(gram.distances(metric))
    notes["t"] = int(operator.optimal_t if parameters["t"] == "auto" else parameters["t"])
    return np.asarray(coordinates)


def _tsne(gram: Gram, metric: str, seed: int | None, parameters: dict[str, Any], notes: dict[str, Any]) -> Array:
    """t-SNE on exact distances, scikit-learn's defaults; with angle 0 its exact method."""
    from sklearn.manifold import TSNE

    options = dict(parameters)
    init, angle = options.pop("init"), options.pop("angle")
    if init == "pca":
        # What scikit-learn does with coordinates and refuses with distances: scores with a standard deviation of 1e-4.
        start = _plane(gram.coordinates())
        spread = float(start[:, 0].std())
        options["init"] = (start / spread * 1e-4 if spread > 0 else start).astype(np.float32)
    else:
        options["init"] = "random"
    model = TSNE(
        n_components=2,
        metric="precomputed",
        method="barnes_hut" if angle > 0 else "exact",
        angle=angle,
        random_state=_seed32(seed),
        n_jobs=1,
        **options,
    )
    coordinates = model.fit_transform(gram.distances(metric))
    notes["kl_divergence"] = float(model.kl_divergence_)
    notes["iterations"] = int(model.n_iter_)
    return coordinates


def _umap(gram: Gram, metric: str, seed: int | None, parameters: dict[str, Any], notes: dict[str, Any]) -> Array:
    """UMAP on exact distances, one thread, so that the seed fixes the result."""
    import umap

    _keep_compiled("umap", "pynndescent")
    options = dict(parameters)
    if options["init"] == "pca":
        start = _plane(gram.coordinates())
        extent = float(np.abs(start).max())
        options["init"] = (start * (10.0 / extent) if extent > 0 else start).astype(np.float32)
    model = umap.UMAP(n_components=2, metric="precomputed", random_state=_seed32(seed), n_jobs=1, **options)
    return model.fit_transform(gram.distances(metric))


@cache
def _keep_compiled(*packages: str) -> None:
    """Let numba keep what it compiles of these imported packages on the disk, as it does where they ask for it.

    Every job is a process of its own, and compiling UMAP costs each of them 10 s (measured; 0.2 s from the cache).
    """
    from numba.core.caching import NullCache
    from numba.core.dispatcher import Dispatcher

    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in packages]
    for function in {value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)}:
        if isinstance(getattr(function, "_cache", None), NullCache):
            try:
                function.enable_caching()
            except RuntimeError:  # no folder to write to: compile again
                return


def _pca(gram: Gram, metric: str, seed: int | None, parameters: dict[str, Any], notes: dict[str, Any]) -> Array:
    """Scores of the two first principal components."""
    ratio = gram.explained_variance()
    notes["explained_variance_ratio"] = [float(value) for value in ratio]
    return _plane(gram.coordinates())


def _kpca(gram: Gram, metric: str, seed: int | None, parameters: dict[str, Any], notes: dict[str, Any]) -> Array:
    """Kernel PCA. Kernels as in scikit-learn, from uncentred inner products where they need them.

    rbf exp(-gamma |x - y|^2), linear x.y, poly (gamma x.y + coef0)^degree, sigmoid tanh(gamma x.y + coef0).
    """
    from sklearn.decomposition import KernelPCA

    kernel = parameters["kernel"]
    if parameters["two_sigma2"] is not None:
        width = gram.dimension if parameters["two_sigma2"] == "dimension" else parameters["two_sigma2"]
        gamma = 1.0 / float(width)
    else:
        gamma = 1.0 / gram.dimension if parameters["gamma"] is None else float(parameters["gamma"])
    if kernel == "rbf":
        matrix = np.exp(-gamma * gram.squared_distances())
    elif kernel == "linear":
        matrix = gram.centred()  # the same after centring, with more digits left
    elif kernel == "poly":
        matrix = (gamma * gram.raw() + parameters["coef0"]) ** parameters["degree"]
    else:
        matrix = np.tanh(gamma * gram.raw() + parameters["coef0"])
    if not np.isfinite(matrix).all():
        raise LossatlasError(
            f"embedding kpca: the kernel {kernel} with gamma = {gamma:g} overflows; lower gamma or degree"
        )
    model = KernelPCA(n_components=2, kernel="precomputed", eigen_solver="dense")
    coordinates = model.fit_transform(matrix)
    row = matrix.mean(axis=0)
    total = float(np.trace(matrix - row[:, None] - row[None, :] + row.mean()))
    notes["gamma"] = gamma
    notes["explained_variance_ratio"] = [float(value) / total if total > 0 else 0.0 for value in model.eigenvalues_]
    return _plane(coordinates)


def _random(gram: Gram, metric: str, seed: int | None, parameters: dict[str, Any], notes: dict[str, Any]) -> Array:
    """Projection onto a random plane of R^D, exact in distribution.

    The Gram matrix knows the cloud up to a rotation of R^D, and a Gaussian direction is invariant under rotations: its
    part within the span of the cloud is a standard Gaussian vector w of R^r in the isometric coordinates C (n, r),
    independent of its part outside, a standard Gaussian of R^(D - r). So C W with W (r, 2) standard normal has the
    distribution of X d for two directions d ~ N(0, I_D) (``gaussian``). To project onto the plane they span
    (``orthonormal``) their own inner products W^T W + S are needed, S ~ Wishart(I_2, D - r) from the parts outside:
    with the Cholesky factor L L^T of the sum, C W L^-T is the orthogonal projection in the basis that Gram and Schmidt
    would make of them. A coordinate has variance |x|^2 / D. Coordinates are relative to the mean of the cloud.
    """
    from scipy.linalg import solve_triangular

    rng = np.random.default_rng(seed)
    coordinates = gram.coordinates()
    inside = rng.standard_normal((coordinates.shape[1], 2))
    plane = coordinates @ inside
    if parameters["directions"] == "orthonormal":
        products = inside.T @ inside + _wishart(rng, max(gram.dimension - coordinates.shape[1], 0))
        if gram.dimension > 1:
            plane = solve_triangular(np.linalg.cholesky(products), plane.T, lower=True).T
        else:
            plane = plane * np.array([1.0 / np.sqrt(products[0, 0]), 0.0])
    total = float(np.sum(coordinates**2))
    centred = plane - plane.mean(axis=0)
    if parameters["directions"] == "orthonormal":
        notes["explained_variance_ratio"] = [
            float(value) / total if total > 0 else 0.0 for value in np.sum(centred**2, axis=0)
        ]
    return plane


_Function = Callable[[Gram, str, int | None, dict[str, Any], dict[str, Any]], NDArray[Any]]
_METHODS: Mapping[str, _Function] = {
    "phate": _phate,
    "tsne": _tsne,
    "umap": _umap,
    "pca": _pca,
    "kpca": _kpca,
    "random": _random,
}


def _wishart(rng: np.random.Generator, freedom: int) -> Array:
    """Draw Z^T Z (2, 2) for Z (freedom, 2) standard normal, by Bartlett's decomposition where it applies."""
    if freedom < 2:
        z = rng.standard_normal((freedom, 2))
        return z.T @ z
    a = np.array([[np.sqrt(rng.chisquare(freedom)), 0.0], [rng.standard_normal(), np.sqrt(rng.chisquare(freedom - 1))]])
    return a @ a.T


def _plane(coordinates: NDArray[Any]) -> Array:
    """Return the first two columns, zeros where there are fewer."""
    plane = np.zeros((len(coordinates), 2))
    width = min(2, coordinates.shape[1])
    plane[:, :width] = coordinates[:, :width]
    return plane


def _fit_neighbourhood(method: str, parameters: dict[str, Any], n: int) -> None:
    """Replace ``auto`` by a number and refuse numbers that n points cannot serve."""
    name, value, most = {
        "phate": ("knn", min(5, n - 2), n - 2),
        "tsne": ("perplexity", min(30.0, (n - 1) / 3), n - 1),
        "umap": ("n_neighbors", min(15, n - 1), n - 1),
    }[method]
    if parameters[name] == "auto":
        parameters[name] = value
    elif parameters[name] > most:
        raise LossatlasError(
            f"embedding {method}: {name} = {parameters[name]} with {n} points; "
            f"give at most {most}, or 'auto' for {value:g}"
        )


def _seed32(seed: int | None) -> int:
    """Reduce a seed to the 32 bits the libraries take."""
    return int(np.random.SeedSequence(seed or 0).generate_state(1)[0])


_CHATTER = (
    "n_jobs value",
    "using precomputed metric",
    "force_all_finite",
    "The TBB threading layer",
    "graph is not fully connected, spectral",
)


@contextlib.contextmanager
def _contained(seed: int | None, notes: dict[str, Any]) -> Iterator[None]:
    """One thread, a global numpy state that is put back, and libraries that speak to the log only.

    Warnings go to the log, and those about the result itself (runtime and user warnings) into ``notes["warnings"]``.
    """
    from threadpoolctl import threadpool_limits

    state = np.random.get_state()  # noqa: NPY002
    speech = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(speech):
        warnings.simplefilter("always")
        np.random.seed(_seed32(seed))  # noqa: NPY002
        try:
            with threadpool_limits(limits=1):
                yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
    for line in speech.getvalue().splitlines():
        logger.info("%s", line)
    about_result: list[str] = []
    for item in caught:
        text = " ".join(str(item.message).split())
        logger.info("%s: %s", item.category.__name__, text)
        chatter = any(part in text for part in _CHATTER) or "umba" in item.category.__name__
        if issubclass(item.category, RuntimeWarning | UserWarning) and not chatter and text not in about_result:
            about_result.append(text)
    if about_result:
        notes["warnings"] = about_result
