"""Curvature at solutions: against the whole Hessian by torch and directions drawn one by one; as jobs, figure, measure."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from harness import contents, draw, inputs_of, make, measure, study
from torch.nn import functional as F

from lossatlas import models
from lossatlas.draw.style import new_figure
from lossatlas.errors import LossatlasError
from lossatlas.landscape.directions import random_filter_normalised
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.layout import BIAS
from lossatlas.solutions import files
from lossatlas.solutions.figures import curvatures
from lossatlas.solutions.spectrum import filter_scales, spectrum
from lossatlas.specs.study import only

torch.set_num_threads(1)
TINY = {
    "ends": {"hessians": {"cloud": "lbfgs_train", "count": 2, "products": 100, "trace": 3, "examples": 50, "grain": 1}},
    "stops": {"hessians": {"cloud": "sgd_test", "count": 2, "products": 100, "trace": 3, "examples": 50}},
}
FIGURE = {
    "kind": "curvatures",
    "title": "Curvature",
    "caption": "A caption.",
    "panels": [{"title": "FCP", "sets": {"a": "ends", "b": "stops"}}],
}


def tiny(**overrides):
    """Return the plan of the tiny study with probes of curvature and their figure."""
    return study("tiny_solutions", **{"probes": TINY, "figures": {"curvatures": FIGURE}, **overrides})


def test_both_scales_are_those_of_the_whole_hessian(rng, fresh_seed):
    torch.manual_seed(fresh_seed)
    model = models.build({"name": "mlp", "widths": [4], "activation": "tanh", "bias": True}, (3,), 2, 0).double()
    x, y = torch.randn(12, 3, dtype=torch.float64), torch.randint(2, (12,))
    landscape = NetworkLandscape(model, x, y, "cross_entropy")
    layout = landscape.layout
    theta = torch.from_numpy(rng.standard_normal(layout.dim))

    def loss(flat):
        outputs = torch.func.functional_call(model, layout.unflatten(flat), x)
        return F.cross_entropy(outputs, y)

    whole = torch.autograd.functional.hessian(loss, theta)
    s = filter_scales(theta, layout)
    for name, shape, kind in zip(layout.names, layout.shapes, layout.kinds, strict=True):
        part = theta[layout.slices[name]].reshape(shape)
        expected = part.square().mean(1).sqrt()[:, None].expand(shape) if kind != BIAS else torch.zeros(shape)
        torch.testing.assert_close(s[layout.slices[name]].reshape(shape), expected.double())
    found = spectrum(landscape, theta, layout, 1e-8, 200, 4000, fresh_seed)
    for scale, matrix in (("raw", whole), ("filter", s[:, None] * whole * s)):
        values = torch.linalg.eigvalsh(matrix)
        assert found[f"{scale}_max"] == pytest.approx(float(values[-1]), rel=1e-6)
        assert found[f"{scale}_min"] == pytest.approx(float(values[0]), rel=1e-6, abs=1e-9)
        assert abs(found[f"{scale}_trace"] - float(values.sum())) < 6 * found[f"{scale}_trace_error"]
        assert found[f"{scale}_converged"] == 1
    drawn = torch.stack([random_filter_normalised(theta, layout, fresh_seed + k) for k in range(4000)])
    curvatures = ((drawn @ whole) * drawn).sum(1)
    error = float(curvatures.std() / 4000**0.5)
    assert abs(float(curvatures.mean()) - float(torch.trace(s[:, None] * whole * s))) < 6 * error


def test_jobs_figure_and_measure(made_study, tmp_path):
    folder, _ = made_study("tiny_solutions")
    plan = tiny()
    parts = plan.get("hessians", "ends", "")
    assert [part.spec["rows"] for part in parts] == [[0], [1]]
    found = files.hessians([make(part, folder) for part in parts])
    (one,) = tiny(probes={**TINY, "ends": {"hessians": {**TINY["ends"]["hessians"], "grain": 9}}}).get(
        "hessians", "ends", ""
    )
    pd.testing.assert_frame_equal(found, files.hessians([make(one, folder)]), check_exact=True)
    _, table = contents(folder / parts[0].inputs["cloud"][0].path)
    assert list(found["replica"]) == list(table["replica"])
    np.testing.assert_array_equal(found["train_loss"], table["train_loss"])
    whole = tiny(probes={"ends": {"hessians": {**TINY["ends"]["hessians"], "examples": None}}, "stops": TINY["stops"]})
    all_of = files.hessians([make(part, folder) for part in whole.get("hessians", "ends", "")])
    np.testing.assert_allclose(all_of["loss"], table["train_loss"], rtol=1e-4)
    stops = files.hessians([make(only(plan.get("hessians", "stops", "")), folder)])
    product = plan.figures["curvatures"]
    outputs = {kind: tmp_path / f"figure.{kind}" for kind in ("png", "csv")}
    draw(product.spec, inputs_of(product, folder), outputs)
    assert len(pd.read_csv(outputs["csv"])) == 4
    for quantity in ("raw_max", "filter_trace"):
        result = measure("sharper", {"first": found, "second": stops}, quantity=quantity)
        a, b = (t[quantity].to_numpy() for t in (found, stops))
        assert result.value == pytest.approx(np.mean(a[:, None] > b[None]))
        assert result.interval is None
        assert result.n == 2
    lost = measure("sharper", {"first": found.assign(raw_converged=0.0), "second": stops})
    assert lost.value is None
    assert "raise `products`" in lost.detail
    json.dumps(product.spec)


def test_sets_of_one_loss_are_told_apart_beside_a_vanishing_hessian(rng):
    """Values 15 decades lower neither press the others together nor are lost: they stand at the foot, hollow."""
    high, low = rng.uniform(1, 5, 6), 1e-15 * rng.uniform(1, 5, 4)
    sets = {
        "level": pd.DataFrame({"loss": 0.03, "raw_max": high}),
        "end": pd.DataFrame({"loss": 5e-19, "raw_max": low}),
    }
    axes = new_figure(3, 3).figure.add_axes((0.2, 0.2, 0.7, 0.7))
    curvatures._draw(axes, sets, "raw_max", {"level": ("red", "o"), "end": ("blue", "s")})
    drawn = {
        color: [y for line in axes.lines if line.get_color() == color for y in line.get_ydata()]
        for color in ("red", "blue")
    }
    np.testing.assert_array_equal(drawn["red"], high)
    np.testing.assert_allclose(drawn["blue"], [high.max() / 10**curvatures.DECADES] * 4)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.03", "5e-19"]
    assert curvatures._floor({"level": sets["level"]}, "raw_max") == high.min()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 3}, "probes.ends.hessians.count: 3: 'lbfgs_train' has 2 points"),
        ({"cloud": "both"}, "'both' is not one cloud of sweeps or of imported points"),
        ({"examples": 0}, "probes.ends.hessians.examples"),
    ],
)
def test_mistakes_are_one_line(change, message):
    with pytest.raises(LossatlasError) as caught:
        tiny(probes={**TINY, "ends": {"hessians": {**TINY["ends"]["hessians"], **change}}})
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
