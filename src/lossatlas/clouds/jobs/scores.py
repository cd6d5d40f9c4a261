"""The job that embeds a cloud under every setting and scores the pictures."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from lossatlas.arrays import Array
from lossatlas.clouds.embeddings import embed
from lossatlas.clouds.files import Embedding, Gram
from lossatlas.clouds.scores import Scorer
from lossatlas.clouds.spec import EXACT, METHODS, SCORES
from lossatlas.files.hdf5 import atomic
from lossatlas.files.ledger import Ledger
from lossatlas.files.record import provenance_file, write_record
from lossatlas.files.state import State
from lossatlas.specs.registry import Job

logger = logging.getLogger(__name__)


COLUMNS = ["method", "metric", "setting", "seed", *SCORES]
"""Columns of ``scores.csv``. ``setting`` is JSON of the parameters that differ from the library's defaults, ``seed``
the study's number of the draw, empty for methods without randomness."""


def scores(job: Job) -> None:
    """Score embeddings of the cloud of ``gram`` against its geometry, or that of ``truth``; resumes by picture."""
    truth = job.maybe("truth")
    state = State(job.state, job.provenance)
    ledger = Ledger(state)
    ledger.begin(0)
    exact = None if truth is None else Gram.load(truth)
    write(job.output, score(Gram.load(job.file("gram")), job.spec, exact, ledger), job.provenance)
    state.remove()


Told = Callable[[Callable[[], NDArray[Any]]], NDArray[Any]]
"""Takes what computes an array; returns that, or what was kept of it."""


def score(
    gram: Gram, spec: Mapping[str, Any], truth: Gram | None = None, told: Told = lambda find: find()
) -> pd.DataFrame:
    """Embed a cloud under every setting and seed and score the pictures.

    Args:
        gram: the cloud.
        spec: ``settings`` (list of {method, metric, setting}), ``seeds`` (list of [number, derived seed]), ``demap_k``,
            ``trust_k``: a :class:`lossatlas.clouds.spec.ScoresJob`.
        truth: the same points without noise, for the geodesics.
        told: keeps what a picture scores (:class:`lossatlas.files.ledger.Ledger`).

    Returns:
        One row a setting and seed, with :data:`COLUMNS`; the first is the cloud itself (:data:`EXACT`).
    """
    scorer = Scorer(gram, int(spec["demap_k"]), int(spec["trust_k"]), truth)
    rows: list[dict[str, Any]] = [
        {"method": EXACT, "metric": "euclidean", "setting": "{}", "seed": None, **scorer.of(scorer.distances)}
    ]
    for entry in spec["settings"]:
        method, metric, setting = entry["method"], entry["metric"], entry["setting"]
        seeded = METHODS[method].seeded
        seeds: Sequence[Sequence[int | None]] = spec["seeds"] if seeded else [[None, None]]
        for number, seed in seeds:
            numbers = told(partial(_scored, scorer, partial(embed, gram, method, metric, seed=seed, **setting)))
            values = dict(zip(SCORES, numbers.tolist(), strict=True))
            text = json.dumps(setting, sort_keys=True)
            rows.append({"method": method, "metric": metric, "setting": text, "seed": number, **values})
            logger.info("%s %s %s seed %s: %s", method, metric, text, number, values)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"seed": "Int64"})


def _scored(scorer: Scorer, embedded: Callable[[], Embedding]) -> Array:
    """Return the scores of a picture, in the order of :data:`SCORES`."""
    values = scorer.of(squareform(pdist(embedded().coordinates)))
    return np.array([values[name] for name in SCORES])


def write(csv: Path, table: pd.DataFrame, provenance: Mapping[str, Any]) -> None:
    """Write scores as CSV and, beside them, what made them as JSON, each file whole or not at all."""
    with atomic(csv) as part:
        table.to_csv(part, index=False, lineterminator="\n")
    write_record(provenance_file(csv), provenance, [csv])
