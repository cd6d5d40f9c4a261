"""The hyperbolic tangent by NumPy: within two units in the last place, with derivatives of every kind."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lossatlas.files import machine
from lossatlas.landscape import activations
from lossatlas.landscape.activations import Tanh
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.numerics import PORTABLE


def errors(scale, dtype, seed):
    """Return how many units in the last place values are from the exact ones, at most."""
    x = torch.randn(100_000, dtype=dtype, generator=torch.Generator().manual_seed(seed)) * scale
    found = Tanh()(x).numpy()
    exact = np.tanh(x.numpy().astype(np.longdouble))
    return float((np.abs(found.astype(np.longdouble) - exact) / np.spacing(np.abs(found))).max())


@pytest.fixture
def calls(monkeypatch):
    """Take NumPy's function though tests run without AVX-512; return the list that grows by one each time it is."""
    monkeypatch.setattr(activations, "_wide", lambda: True)
    seen, made = [], activations._Tanh.apply
    monkeypatch.setattr(activations._Tanh, "apply", lambda x: seen.append(1) or made(x))
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1e-5, 0.3, 3.0, 100.0])
def test_values_are_within_two_units_in_the_last_place(scale, dtype, fresh_seed, calls):
    assert errors(scale, dtype, fresh_seed) <= 2
    assert calls


@pytest.mark.parametrize("numerics", ["native", "portable"])
def test_it_is_taken_where_numpy_has_avx_512(numerics, fresh_seed):
    """In a process of its own, and as exact there: these tests run without AVX-512."""
    code = f"""
import torch, test_activations as tests
from lossatlas.landscape import activations
print(activations._wide())
print(max(tests.errors(scale, kind, {fresh_seed}) for scale in (.3, 3.) for kind in (torch.float32, torch.float64)))
"""
    kept = {name: value for name, value in os.environ.items() if name not in PORTABLE}
    environment = (
        kept
        | (PORTABLE if numerics == "portable" else {})
        | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    )
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    taken, error = run.stdout.split()
    assert float(error) <= 2
    if numerics == "portable":
        assert taken == "False"
    elif "avx512f" not in machine.cpu()["isa"]:
        pytest.skip("this CPU has no AVX-512")
    else:
        assert taken == "True"


def test_what_is_no_number_or_infinite_is_torchs(calls):
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1e-44, 3e38]).repeat(1000)
    found, expected = Tanh()(x), torch.tanh(x)
    assert calls
    torch.testing.assert_close(found, expected, rtol=2e-7, atol=0, equal_nan=True)
    assert torch.equal(found.signbit(), expected.signbit())


@pytest.mark.parametrize("order", ["contiguous", "channels_last", "transposed"])
def test_the_order_in_memory_is_torchs(order, fresh_seed, calls):
    x = torch.randn(20, 6, 14, 15, generator=torch.Generator().manual_seed(fresh_seed))
    if order == "transposed":
        x = x.permute(3, 1, 0, 2)
    elif order == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    found, expected = Tanh()(x), torch.tanh(x)
    assert calls
    torch.testing.assert_close(found, expected, rtol=2.5e-7, atol=0)
    assert found.stride() == expected.stride()


def test_few_numbers_others_and_those_with_gaps_are_left_to_torch(fresh_seed, calls):
    torch.manual_seed(fresh_seed)
    x = torch.randn(200, 200)
    for given in (x[:, ::2], x[:1].expand(200, 200), x.half(), x.bfloat16(), x[:2], torch.randn(200, 200).to("meta")):
        found, expected = Tanh()(given), torch.tanh(given)
        assert found.stride() == expected.stride()
        assert found.is_meta or torch.equal(found, expected)
    assert not calls


def test_derivatives_of_higher_order(fresh_seed, monkeypatch, calls):
    """Against finite differences, backwards and forwards, and under vmap."""
    monkeypatch.setattr(activations, "LEAST", 1)
    torch.manual_seed(fresh_seed)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    function = lambda x: Tanh()(x.sin())  # noqa: E731
    assert torch.autograd.gradcheck(function, (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, (x,), check_fwd_over_rev=True)
    rows, made = torch.randn(5, 3, 4, dtype=torch.float64), len(calls)
    for transform in (torch.func.grad, torch.func.hessian):
        found, expected = (transform(lambda x, layer=layer: layer(x).cos().sum()) for layer in (Tanh(), nn.Tanh()))
        torch.testing.assert_close(torch.func.vmap(found)(rows), torch.func.vmap(expected)(rows))
        torch.testing.assert_close(torch.func.vmap(found, 1)(rows), torch.func.vmap(expected, 1)(rows))
    assert len(calls) > made


def test_parts_of_what_has_gaps_are_left_to_torch(fresh_seed, calls):
    """Under vmap each part is whole, though what it is a part of repeats or skips memory."""
    torch.manual_seed(fresh_seed)
    x = torch.randn(80, 80)
    for given in (x[:1].expand(70, 80), x.repeat(4, 1)[::2], x[None].expand(3, 80, 80)):
        found = torch.func.vmap(Tanh())(given)
        assert torch.equal(found, torch.tanh(given))
    assert calls, "each part was taken to be NumPy's to read"
    torch.testing.assert_close(torch.func.vmap(Tanh())(x), torch.tanh(x), rtol=2.5e-7, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_landscape_takes_it_and_is_the_same_to_rounding(dtype, fresh_seed, calls, monkeypatch):
    """And the caller's network keeps torch's own layer."""
    torch.manual_seed(fresh_seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 36, 9), nn.Tanh(), nn.Linear(9, 3)
    )
    x, y = torch.randn(60, 1, 14, 14), torch.randint(3, (60,))
    found = []
    for most in (2**12, 2**60):
        monkeypatch.setattr(activations, "LEAST", most)
        landscape = NetworkLandscape(model, x, y, dtype=getattr(torch, dtype))
        theta, before = landscape.theta(), len(calls)
        v = torch.randn(landscape.dim, generator=torch.Generator().manual_seed(fresh_seed))
        found.append([landscape.loss(theta), *landscape.loss_and_grad(theta), landscape.hvp(theta, v)])
        assert (len(calls) > before) == (most == 2**12)
    eps = torch.finfo(getattr(torch, dtype)).eps
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=float(50 * eps * theirs.abs().max()))
    assert type(model[1]) is nn.Tanh
