import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.landscape import directions
from lossatlas.landscape.directions import difference, gaussian, normalise, orthogonalise, random_filter_normalised
from lossatlas.landscape.layout import Layout

SEEDS = st.integers(0, 2**63 - 1)


def network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.LayerNorm(5)
    )


LAYOUT = Layout.of(network())
# Written by hand, in order: conv weight and bias, batch-norm weight and bias, linear weight and bias, layer-norm both.
TENSORS = [
    ((4, 3, 3, 3), "weight"),
    ((4,), "bias"),
    ((4,), "norm"),
    ((4,), "norm"),
    ((5, 16), "weight"),
    ((5,), "bias"),
    ((5,), "norm"),
    ((5,), "norm"),
]


def reference(direction, theta, how, zero):
    """Filter by filter, in numpy float64, from Li et al. (2018), section 4."""
    result, start = [], 0
    for shape, kind in TENSORS:
        size = int(np.prod(shape))
        d = direction[start : start + size].astype(np.float64).reshape(shape).copy()
        t = theta[start : start + size].astype(np.float64).reshape(shape)
        start += size
        if kind in zero:
            d[...] = 0
        elif how == "filter" and kind == "weight":
            for i in range(shape[0]):
                d[i] *= np.sqrt(np.sum(t[i] ** 2)) / np.sqrt(np.sum(d[i] ** 2))
        elif how != "none":
            d *= np.sqrt(np.sum(t**2)) / np.sqrt(np.sum(d**2))
        result.append(d.ravel())
    assert start == len(theta)
    return np.concatenate(result)


def draw(seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(LAYOUT.dim, generator=generator, dtype=torch.float64) * 10
    return gaussian(LAYOUT, generator, torch.float64).to(dtype), theta.to(dtype)


@settings(max_examples=20, deadline=None)
@given(
    SEEDS, st.sampled_from(["filter", "layer", "none"]), st.sampled_from([(), ("bias",), ("norm",), ("bias", "norm")])
)
def test_normalisation_equals_a_reference_by_hand(seed, how, zero):
    for dtype, tolerance in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        direction, theta = draw(seed, dtype)
        got = normalise(direction, theta, LAYOUT, how, zero)
        assert got.dtype == dtype
        expected = reference(direction.numpy(), theta.numpy(), how, zero)
        np.testing.assert_allclose(got.double().numpy(), expected, rtol=tolerance, atol=0)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_normalising_does_not_see_the_scale_of_the_direction_nor_write_to_its_inputs(seed):
    direction, theta = draw(seed, torch.float64)
    kept = direction.clone(), theta.clone()
    once = normalise(direction, theta, LAYOUT)
    assert torch.equal(direction, kept[0])
    assert torch.equal(theta, kept[1])
    torch.testing.assert_close(normalise(1e-3 * direction, theta, LAYOUT), once, rtol=1e-12, atol=0)
    torch.testing.assert_close(normalise(once, theta, LAYOUT), once, rtol=1e-12, atol=0)
    torch.testing.assert_close(normalise(direction, 3 * theta, LAYOUT), 3 * once, rtol=1e-12, atol=0)


def test_rescaling_two_relu_layers_leaves_the_perturbed_function_alone():
    """The invariance for which filter normalisation was made (Li et al. 2018, section 3)."""
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), nn.Linear(8, 3, bias=False)).double()
    layout = Layout.of(model)
    theta = layout.flatten(model)
    scaled = theta.clone()
    scaled[layout.slices["0.weight"]] *= 7.0
    scaled[layout.slices["2.weight"]] /= 7.0
    x = torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direction = gaussian(layout, 4)
    outputs = []
    for point in (theta, scaled):
        layout.load_into(model, point + normalise(direction, point, layout))
        outputs.append(model(x).detach())
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-10, atol=1e-10)


def test_zero_filters_stay_zero_on_either_side():
    direction, theta = draw(3, torch.float64)
    parts = LAYOUT.unflatten(theta)
    parts["0.weight"][1] = 0.0
    LAYOUT.unflatten(direction)["4.weight"][2] = 0.0
    result = LAYOUT.unflatten(normalise(direction, theta, LAYOUT))
    assert result["0.weight"][1].abs().max() == 0
    assert result["4.weight"][2].abs().max() == 0
    assert (result["0.weight"][0] != 0).all()
    zero = torch.zeros(LAYOUT.dim)
    for how in ("filter", "layer", "none"):
        assert torch.equal(normalise(zero, theta, LAYOUT, how, ()), zero.double())


def test_gaussian_is_the_seeds_standard_normal_and_leaves_the_global_generator_alone():
    layout = Layout.of(nn.Linear(400, 500))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a = gaussian(layout, 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert a.dtype == torch.float32
    assert a.shape == (200_500,)
    assert torch.equal(a, gaussian(layout, 1))
    assert torch.equal(a, gaussian(layout, 1, torch.float64).float())
    assert not torch.equal(a, gaussian(layout, 2))
    # five standard errors of 200,500 draws
    assert abs(a.mean().item()) < 5 / 200_500**0.5
    assert abs(a.var().item() - 1) < 5 * (2 / 200_500) ** 0.5
    assert abs((a > 0).double().mean().item() - 0.5) < 2.5 / 200_500**0.5
    assert abs((a**4).mean().item() - 3) < 5 * (96 / 200_500) ** 0.5
    generator = torch.Generator().manual_seed(1)
    first, second = gaussian(layout, generator), gaussian(layout, generator)
    assert torch.equal(first, a)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("more", [-1, 0, 1, 15, 16, 17])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_pieces_of_a_direction_are_those_of_one_draw(more, dtype, monkeypatch, fresh_seed):
    """Names of artefacts say nothing of how a direction is drawn: its numbers must stay."""
    monkeypatch.setattr(directions, "PIECE", 64)
    for size in (1, 15, 16, 64 + more, 192 + more):
        layout = Layout(("w",), ((size,),), ("weight",))
        whole = torch.Generator().manual_seed(fresh_seed)
        expected = torch.randn(size, generator=whole, dtype=torch.float64)
        pieces = torch.Generator().manual_seed(fresh_seed)
        assert torch.equal(gaussian(layout, pieces, dtype), expected.to(dtype))
        assert torch.equal(pieces.get_state(), whole.get_state())


def test_random_filter_normalised_is_the_two_steps():
    _, theta = draw(8, torch.float32)
    expected = normalise(gaussian(LAYOUT, 12), theta, LAYOUT, "filter", ("bias", "norm"))
    assert torch.equal(random_filter_normalised(theta, LAYOUT, 12), expected)
    assert expected[LAYOUT.slices["0.bias"]].abs().max() == 0
    weights = [LAYOUT.slices[name] for name in ("0.weight", "4.weight")]
    for where in weights:
        assert expected[where].norm().item() == pytest.approx(theta[where].norm().item(), rel=1e-6)


def test_difference_leads_from_the_first_to_the_second():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 0.5])
    assert torch.equal(difference(a, b), torch.tensor([3.0, -1.5]))
    assert difference(a, b.double()).dtype == torch.float32


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 4))
def test_orthogonalise_is_the_residual_of_least_squares(seed, count):
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(40, generator=generator, dtype=torch.float64)
    others = torch.randn(count, 40, generator=generator, dtype=torch.float64)
    got = orthogonalise(direction, others).numpy()
    solution = np.linalg.lstsq(others.T.numpy(), direction.numpy(), rcond=None)[0]
    np.testing.assert_allclose(got, direction.numpy() - others.T.numpy() @ solution, atol=1e-12)
    dependent = torch.cat([others, others[:1] * 2, torch.zeros(1, 40, dtype=torch.float64)])
    np.testing.assert_allclose(orthogonalise(direction, list(dependent)).numpy(), got, atol=1e-12)


def test_orthogonalise_against_nearly_parallel_vectors_loses_no_digits():
    first, noise, third, direction = torch.randn(4, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    others = torch.stack([first, first + 1e-7 * noise, third])
    got = orthogonalise(direction, others)
    cosines = others @ got / others.norm(dim=1) / got.norm()
    assert cosines.abs().max() < 1e-15
    assert abs(noise @ got) < 1e-8 * noise.norm() * got.norm()  # the second vector's own share is not lost


def test_orthogonalise_against_one_vector_in_float32():
    d, other = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 5.0, 0.0])
    assert torch.equal(orthogonalise(d, other), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(d, torch.tensor([1.0, 1.0, 0.0]))


GOOD = torch.ones(LAYOUT.dim)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: normalise(GOOD, GOOD, LAYOUT, "filters"),
            r"got 'filters'; expected one of \['filter', 'layer', 'none'\]",
        ),
        (lambda: normalise(GOOD, GOOD, LAYOUT, zero=("biases",)), r"zero got \['biases'\]; expected some of"),
        (lambda: normalise(GOOD[1:], GOOD, LAYOUT), rf"direction got torch.float32 of shape \({LAYOUT.dim - 1},\)"),
        (lambda: normalise(GOOD, GOOD[1:], LAYOUT), "weight vector got"),
        (lambda: normalise(GOOD, GOOD.long(), LAYOUT), "weight vector got torch.int64"),
        (lambda: normalise(GOOD, GOOD / 0, LAYOUT), f"weight vector has {LAYOUT.dim} entries that are NaN or infinite"),
        (lambda: difference(GOOD, GOOD[1:]), rf"expected floating point \({LAYOUT.dim},\)"),
        (lambda: orthogonalise(GOOD, 3 * GOOD), "lies in the span of the 1"),
        (lambda: orthogonalise(GOOD, GOOD[1:]), rf"expected floating point \({LAYOUT.dim},\)"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(LossatlasError, match=message):
        call()
