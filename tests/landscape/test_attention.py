"""Hessians, gradients and directions of the layers that transformers and recurrent networks are made of."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lossatlas.errors import LossatlasError
from lossatlas.landscape.criteria import TokenCrossEntropy
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.landscape.landscape import NetworkLandscape
from lossatlas.landscape.layout import Layout

N, T, C, E = 5, 6, 7, 8  # examples, tokens, vocabulary, width


class Causal(nn.Module):
    """One block of a GPT: fused causal attention, layer norm, an output that shares the embedding's weights."""

    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.token = nn.Embedding(C, E)
        self.place = nn.Embedding(T, E)
        self.norm = nn.LayerNorm(E)
        self.qkv = nn.Linear(E, 3 * E)
        self.out = nn.Linear(E, E)
        self.head = nn.Linear(E, C, bias=False)
        if tied:
            self.head.weight = self.token.weight

    def forward(self, tokens):
        x = self.token(tokens) + self.place(torch.arange(tokens.shape[1]))
        q, k, v = (part.unflatten(2, (2, E // 2)).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, 2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x + self.out(mixed.transpose(1, 2).flatten(2)))


class Encoder(nn.Module):
    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(E, 2, 2 * E, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(E, 3)

    def forward(self, x, padding=None):
        return self.head(self.encoder(x, src_key_padding_mask=padding).mean(1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(E, 2, batch_first=True)
        self.head = nn.Linear(E, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Recurrent(nn.Module):
    def __init__(self, layer) -> None:
        super().__init__()
        self.embedding = nn.Embedding(C, E, sparse=True)
        self.layer = layer(E, 4, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens):
        return self.head(self.layer(self.embedding(tokens))[0][:, -1])


class Groups(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(T, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.head = nn.Linear(4 * (E - 2), 3)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.conv(x))).flatten(1))


class Spectrum(nn.Module):
    """Complex inputs into real weights."""

    def __init__(self) -> None:
        super().__init__()
        self.real, self.imaginary = nn.Linear(T * E, 3), nn.Linear(T * E, 3)

    def forward(self, z):
        return self.real(z.real.flatten(1)) * self.imaginary(z.imag.flatten(1))


def tokens(rng):
    return torch.from_numpy(rng.integers(C, size=(N, T)))


def vectors(rng):
    return torch.from_numpy(rng.normal(size=(N, T, E)))


def complex_numbers(rng):
    return torch.complex(vectors(rng), vectors(rng))


def classes(rng):
    return torch.from_numpy(rng.integers(3, size=N))


CASES = {
    "fused causal attention, tied": (Causal, tokens, tokens, TokenCrossEntropy()),
    "TransformerEncoder": (Encoder, vectors, classes, "cross_entropy"),
    "MultiheadAttention": (Attention, vectors, classes, "cross_entropy"),
    "LSTM, sparse embedding": (lambda: Recurrent(nn.LSTM), tokens, classes, "cross_entropy"),
    "GRU": (lambda: Recurrent(nn.GRU), tokens, classes, "cross_entropy"),
    "GroupNorm": (Groups, vectors, classes, "cross_entropy"),
    "complex inputs": (Spectrum, complex_numbers, classes, "cross_entropy"),
}


def made(name, rng, batch_size=3):
    builder, inputs, targets, criterion = CASES[name]
    torch.manual_seed(int(rng.integers(2**32)))
    model = builder().double().eval()
    return NetworkLandscape(model, inputs(rng), targets(rng), criterion, batch_size=batch_size), model


def plain_loss(landscape, model):
    """Return the loss as a function of theta, written with torch's own reduction and its plain attention kernel."""

    def loss(theta):
        outputs = torch.func.functional_call(model, landscape.layout.unflatten(theta), (landscape.x,))
        return F.cross_entropy(outputs.flatten(0, -2), landscape.y.flatten())

    return loss


@pytest.mark.parametrize("name", CASES)
def test_gradient_and_hessian_products_equal_central_differences_of_the_loss(name, rng):
    landscape, _ = made(name, rng)
    theta = landscape.theta() + 0.1 * torch.from_numpy(rng.normal(size=landscape.dim))
    u, v = (torch.from_numpy(rng.normal(size=landscape.dim)) for _ in range(2))
    u, v = u / u.norm(), v / v.norm()
    step = 1e-4
    slope = (landscape.loss(theta + step * u) - landscape.loss(theta - step * u)) / (2 * step)
    assert float(landscape.grad(theta) @ u) == pytest.approx(float(slope), rel=1e-5, abs=1e-9)
    expected = (landscape.grad(theta + step * v) - landscape.grad(theta - step * v)) / (2 * step)
    found = landscape.hvp(theta, v)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("batch_size", [N, 3])
def test_gradients_put_in_place_one_by_one_are_those_put_together(batch_size, rng, monkeypatch):
    made_at_once, _ = made("fused causal attention, tied", rng, batch_size)
    theta, v = made_at_once.theta(), torch.from_numpy(rng.normal(size=made_at_once.dim))
    expected = made_at_once.grad(theta), made_at_once.hvp(theta, v)
    monkeypatch.setattr("lossatlas.landscape.landscape.FEW", 0)
    assert torch.equal(made_at_once.grad(theta), expected[0])
    np.testing.assert_allclose(made_at_once.hvp(theta, v), expected[1], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["fused causal attention, tied", "MultiheadAttention", "GroupNorm"])
def test_hessian_products_equal_torchs_own_hessian(name, rng):
    landscape, model = made(name, rng)
    theta = landscape.theta()
    rows = torch.from_numpy(rng.choice(landscape.dim, 3, replace=False))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        gradient = torch.func.grad(plain_loss(landscape, model))
        for row in rows.tolist():
            unit = torch.zeros(landscape.dim, dtype=torch.float64)
            unit[row] = 1.0
            expected = torch.func.jvp(gradient, (theta,), (unit,))[1]  # forward over reverse; ours is reverse twice
            np.testing.assert_allclose(landscape.hvp(theta, unit), expected, rtol=1e-9, atol=1e-12)


def test_the_loss_is_the_one_that_gradients_belong_to_where_places_are_padded(rng):
    """The encoder's fast path for inference sets padded places to zero, which training does not."""

    class PerPlace(Encoder):
        def forward(self, x, padding):
            return self.head(self.encoder(x, src_key_padding_mask=padding)).mean(1)

    torch.manual_seed(int(rng.integers(2**32)))
    model = PerPlace().double().eval()
    padding = torch.zeros(N, T, dtype=torch.bool)
    padding[:, 4:] = True
    x, y = vectors(rng), classes(rng)
    landscape = NetworkLandscape(model, (x, padding), y)
    with torch.enable_grad():  # with gradients torch itself takes the slow path
        expected = F.cross_entropy(model(x, padding), y).item()
    with torch.no_grad():
        fast = F.cross_entropy(model(x, padding), y).item()
    assert abs(fast - expected) > 1e-6, "the fast path does the same: this test shows nothing"
    theta = landscape.theta()
    assert float(landscape.loss(theta)) == pytest.approx(expected, rel=1e-12)
    assert float(landscape.loss_and_grad(theta)[0]) == pytest.approx(expected, rel=1e-12)
    assert torch.backends.mha.get_fastpath_enabled()


def test_inputs_by_name_equal_those_by_place(rng):
    torch.manual_seed(int(rng.integers(2**32)))
    model, x, y = Encoder().double().eval(), vectors(rng), classes(rng)
    padding = torch.from_numpy(rng.random((N, T)) < 0.3)
    padding[:, 0] = False
    by_place = NetworkLandscape(model, (x, padding), y, batch_size=2)
    by_name = NetworkLandscape(model, {"padding": padding, "x": x}, y, batch_size=2)
    theta, v = by_place.theta(), torch.from_numpy(rng.normal(size=by_place.dim))
    for a, b in zip(by_place.loss_and_grad(theta), by_name.loss_and_grad(theta), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(by_place.hvp(theta, v), by_name.hvp(theta, v))
    rows = torch.tensor([3, 1])
    some = NetworkLandscape(model, {"padding": padding[rows], "x": x[rows]}, y[rows])
    assert float(by_name.at_examples(rows).loss(theta)) == pytest.approx(float(some.loss(theta)), rel=1e-12)


def test_a_shared_tensor_counts_once(rng):
    tied, model = made("fused causal attention, tied", rng)
    apart = NetworkLandscape(Causal(tied=False), tokens(rng), tokens(rng), TokenCrossEntropy())
    assert apart.dim - tied.dim == C * E
    assert "head.weight" not in tied.layout.names
    theta = tied.theta()
    theta[tied.layout.slices["token.weight"]] = 0.0  # the head is zero with the embedding: all tokens equally likely
    assert float(tied.loss(theta)) == pytest.approx(math.log(C), rel=1e-12)
    assert float(model.head.weight.detach().abs().sum()) > 0, "the caller's model was changed"


def test_tokens_are_weighted_by_how_many_count(rng):
    landscape, model = made("fused causal attention, tied", rng)
    y = tokens(rng)
    y[0, 1:] = -100
    y[1] = -100
    landscape = NetworkLandscape(model, landscape.x, y, TokenCrossEntropy(), batch_size=2)
    theta = landscape.theta().requires_grad_()
    outputs = torch.func.functional_call(model, landscape.layout.unflatten(theta), (landscape.x,))
    expected = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), ignore_index=-100)
    loss, gradient = landscape.loss_and_grad(theta)
    assert float(loss) == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, torch.autograd.grad(expected, theta)[0], rtol=1e-9, atol=1e-14)
    of_one = landscape.at_examples(torch.tensor([0]))
    expected = F.cross_entropy(outputs[0, :1], y[0, :1]).item()
    assert float(of_one.loss(theta)) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(LossatlasError, match=r"no target of 1 examples counts"):
        landscape.at_examples(torch.tensor([1]))


# ---------------------------------------------------------------------------------------------------------------------
# filter normalisation


@pytest.mark.parametrize("name", ["q and k", "whole layers"])
def test_a_surface_does_not_see_scales_that_attention_does_not(name, rng):
    """Rows of q times a, the same rows of k by a: the same network. Rows as filters make them the same direction."""
    landscape, _ = made("MultiheadAttention", rng, batch_size=N)
    theta, layout = landscape.theta(), landscape.layout
    scales = torch.from_numpy(np.exp(rng.normal(size=E)))
    if name == "whole layers":  # also what a norm of a tensor as a whole would survive
        scales = torch.full((E,), 3.0, dtype=torch.float64)
    factor = torch.cat([scales, 1 / scales, torch.ones(E, dtype=torch.float64)])
    other = theta.clone()
    for entry, shape in (("attention.in_proj_weight", (3 * E, 1)), ("attention.in_proj_bias", (3 * E,))):
        where = layout.slices[entry]
        other[where] = (theta[where].reshape(3 * E, -1) * factor.reshape(shape[0], 1)).reshape(-1)
    assert float(landscape.loss(other)) == pytest.approx(float(landscape.loss(theta)), rel=1e-12)
    drawn = gaussian(layout, int(rng.integers(2**32)), torch.float64)
    steps = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]

    def along(point, how):
        return landscape.losses(point + steps * normalise(drawn, point, layout, how))

    np.testing.assert_allclose(along(other, "filter"), along(theta, "filter"), rtol=1e-10)
    if name == "q and k":  # one norm for all of q, k and v is not enough
        assert not np.allclose(along(other, "layer"), along(theta, "layer"), rtol=1e-6)


def test_filters_of_a_transformer_are_its_units_and_tokens(rng):
    model = Causal().double()
    layout = Layout.of(model)
    theta = layout.flatten(model)
    direction = normalise(gaussian(layout, int(rng.integers(2**32)), torch.float64), theta, layout)
    found, own = layout.unflatten(direction), layout.unflatten(theta)
    for entry in ("token.weight", "place.weight", "qkv.weight", "out.weight"):
        np.testing.assert_allclose(found[entry].norm(dim=1), own[entry].norm(dim=1), rtol=1e-12)
    for entry in ("qkv.bias", "out.bias", "norm.weight", "norm.bias"):
        assert not found[entry].any()


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.RMSNorm(4), nn.BatchNorm1d(4)])
def test_scales_and_shifts_of_every_norm_are_of_one_kind(norm):
    assert set(Layout.of(nn.Sequential(nn.Linear(4, 4), norm)).kinds[2:]) == {"norm"}


# ---------------------------------------------------------------------------------------------------------------------
# what is no function of real weights


def test_networks_that_are_no_function_of_their_weights_are_refused(rng):
    y = classes(rng)
    rescaling = nn.Sequential(nn.Embedding(C, E, max_norm=1.0), nn.Flatten(), nn.Linear(T * E, 3))
    with pytest.raises(LossatlasError, match=r"'0' \(max_norm=1.0\) rescales its own weights"):
        NetworkLandscape(rescaling, tokens(rng), y)
    complex_weights = nn.Linear(E, 3, dtype=torch.complex64)
    with pytest.raises(LossatlasError, match="'weight' is complex"):
        NetworkLandscape(complex_weights, vectors(rng)[:, 0], y)
    with pytest.raises(LossatlasError, match=r"'weight' has no shape yet"):
        NetworkLandscape(nn.LazyLinear(3), vectors(rng)[:, 0], y)


def test_the_callers_embeddings_stay_sparse():
    layer = nn.Embedding(C, E, sparse=True)
    NetworkLandscape(
        nn.Sequential(layer, nn.Flatten()), torch.zeros(2, T, dtype=torch.long), torch.zeros(2, T * E), "mse"
    )
    assert layer.sparse
