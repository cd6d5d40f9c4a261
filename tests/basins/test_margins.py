"""Margins, islands and stable labels of decisions drawn by hand, and searches of a cloud made by hand."""

import numpy as np
import pandas as pd
import pytest
from harness import measure
from harness import study as planned
from scipy.stats import norm
from specimens import searched_cloud

from lossatlas.basins.figures.nearest import compose, scaled
from lossatlas.basins.files import Boundaries, Labelled
from lossatlas.basins.margins import NOISE, margins
from lossatlas.basins.numbers import searches
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.study.read import read_product

AXIS = np.linspace(-1.0, 1.0, 201)


def test_a_straight_boundary_has_its_margin_and_the_stability_of_a_normal_distribution(rng):
    label = np.broadcast_to((AXIS > 0)[None], (201, 201)).astype(np.uint8)
    far = rng.uniform(0.02, 0.2, 400)
    points = np.stack([np.where(rng.random(400) < 0.5, far, -far), rng.uniform(-0.8, 0.8, 400)], 1)
    classes = (points[:, 0] > 0).astype(np.int64)
    found = margins(AXIS, AXIS, label, points, classes, int(rng.integers(1000)))
    assert found.margin == pytest.approx(np.median(far) / 2, abs=0.01 / 2)  # of a side of 2; a cell is 0.01
    assert found.islands == 2
    assert found.largest == 1.0
    assert found.stability == pytest.approx(norm.cdf(far / (NOISE * 2)).mean(), abs=0.01)
    wrong = margins(AXIS, AXIS, label, points, 1 - classes, 0)
    assert wrong.margin == 0
    assert wrong.islands == 0


def test_islands_are_counted_once_and_only_where_training_points_are():
    label = np.zeros((201, 201), dtype=np.uint8)
    for i in (20, 80, 140):
        label[i : i + 20, 100:120] = 1
    inside = np.array([[AXIS[105], AXIS[25]], [AXIS[110], AXIS[30]], [AXIS[105], AXIS[90]]])
    points = np.concatenate([inside, [[-0.5, 0.0], [-0.4, 0.5]]])
    found = margins(AXIS, AXIS, label, points, np.array([1, 1, 1, 0, 0]))
    assert found.islands == 3  # two of class 1, one of class 0
    assert found.largest == pytest.approx(4 / 5)


def test_the_rank_of_margins_over_minima(rng):
    """Five initialisations of four values; boundaries that come nearer to the points as the gap grows."""
    rows, labels = [], []
    points = np.stack([np.full(20, 0.5), np.linspace(-0.5, 0.5, 20)], 1).astype(np.float32)
    for replica in range(5):
        for value in range(4):
            labels.append(np.broadcast_to((0.1 * value + 0.02 * rng.random() < AXIS)[None], (201, 201)))
            accuracy = 0.9 - 0.1 * value
            rows.append({"replica": replica, "value": 0.1 * value, "train_accuracy": 1.0, "test_accuracy": accuracy})
    part = Labelled(points, np.ones(20, dtype=np.int64))
    file = Boundaries(pd.DataFrame(rows), AXIS, AXIS, np.array(labels, dtype=np.uint8), part, part, np.ones((20, 20)))
    found = measure("margin_rank", {"boundaries": file}, quantity="margin", sign=-1)
    assert found.value > 0.95
    assert found.n == 5
    assert found.unit == "initialisations"


def test_the_nearest_bad_minimum_of_each_start_is_found_and_measured_in_what_sgd_covers(rng):
    gram = searched_cloud(rng)
    found = searches(gram)
    assert [one.displacement for one in found] == pytest.approx([10.0, 20.0])
    assert found[0].nearest["distance"].tolist() == [2.0, 2.0]
    assert found[1].nearest["distance"].tolist() == [4.0, 4.0]
    assert found[0].nearest["tether"].tolist() == [0.1, 0.1]
    assert found[0].nearest["settled_accuracy"].tolist() == pytest.approx([0.8, 0.8])
    assert found[0].clean["distance"].tolist() == [5.0, 5.0]
    wanted = {"distance": 0.2, "found": 1.0, "clean": 0.375, "against_clean": 0.6, "sgd_test_accuracy": 0.97}
    for quantity, value in wanted.items():
        number = measure("nearest", {"cloud": gram}, quantity=quantity)
        assert number.value == pytest.approx(value)
        assert number.n == 2
        assert number.unit == "paths of SGD"
    spec = {"kind": "nearest", "title": "Nearest", "caption": "A caption.", "cloud": "near"}

    class Given:
        def one(self, what, name):
            return gram

    drawn = compose(read_product(spec), Given())
    assert len(drawn.numbers) == 4
    assert drawn.numbers["clean_distance"].tolist() == [5.0] * 4
    points, kept = scaled(gram, np.arange(gram.n))
    true = np.sqrt(gram.squared_distances())
    flat = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert (flat <= true + 1e-9).all()
    assert kept == pytest.approx(np.square(flat).sum() / np.square(true).sum())


def test_a_cloud_without_searches_is_refused(rng):
    with pytest.raises(LossatlasError, match="no searches"):
        searches(Gram.from_rows(rng.standard_normal((3, 4)), pd.DataFrame({"epoch": [0, 1, 2]})))


@pytest.mark.parametrize("train", [40, 1234])
def test_a_title_may_say_how_many_examples_there_are(train):
    figure = {"kind": "accuracies", "title": "On {data}: {examples}", "caption": "c", "rows": [{"run": "alone"}]}
    data = {"name": "swissroll", "train": train, "test": 100}
    found = planned("tiny_generalization", figures={"shown": figure}, runs={"alone": {"data": data}})
    assert found.figures["shown"].spec["title"].endswith(f": {train:,} training examples")
