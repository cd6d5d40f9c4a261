"""Hidden units matched by permutation: against brute force, and against what a permutation must leave as it is."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from lossatlas import models
from lossatlas.errors import LossatlasError
from lossatlas.landscape.alignment import Dense, Matching, match
from lossatlas.landscape.layout import Layout


def network(widths, seed, activation="tanh"):
    """Return a float64 network, its layout and its weights."""
    spec = {"name": "mlp", "widths": list(widths), "activation": activation, "init": "glorot_normal"}
    model = models.build(spec, (5,), 3, seed).double()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.bias, generator=torch.Generator().manual_seed(seed))
    layout = Layout.of(model)
    return model, layout, layout.flatten(model).detach().numpy().copy()


def outputs(model, layout, theta, x):
    """Return the network's outputs at other weights."""
    layout.load_into(model, torch.from_numpy(theta))
    with torch.no_grad():
        return model(x).numpy()


def shuffled(layout, rng, odd):
    """Return a random matching of a network's hidden units."""
    widths = [rows for rows, _ in [layout.shapes[i] for i in Dense(layout).weights][:-1]]
    signs = [rng.choice([-1.0, 1.0], width) if odd else np.ones(width) for width in widths]
    return Matching(tuple(rng.permutation(width) for width in widths), tuple(signs))


@pytest.mark.parametrize("activation, odd", [("tanh", True), ("tanh", False), ("relu", False)])
def test_a_shuffled_network_is_found_again_and_is_the_same_function(activation, odd, rng):
    model, layout, theta = network((17, 11, 13), int(rng.integers(2**31)), activation)
    x = torch.from_numpy(rng.standard_normal((20, 5)))
    other = Dense(layout).applied(theta, shuffled(layout, rng, odd))
    assert np.linalg.norm(other - theta) > 1
    np.testing.assert_allclose(outputs(model, layout, other, x), outputs(model, layout, theta, x), atol=1e-12)
    found = match(layout, other, theta, odd)
    np.testing.assert_allclose(Dense(layout).applied(other, found), theta, atol=1e-14)


def test_matched_to_any_network_it_stays_the_same_function_and_comes_no_further_away(rng):
    seeds = rng.integers(2**31, size=2)
    model, layout, theta = network((12, 9), int(seeds[0]))
    reference = network((12, 9), int(seeds[1]))[2]
    x = torch.from_numpy(rng.standard_normal((20, 5)))
    moved = Dense(layout).applied(theta, match(layout, theta, reference, True))
    np.testing.assert_allclose(outputs(model, layout, moved, x), outputs(model, layout, theta, x), atol=1e-12)
    assert np.linalg.norm(moved - reference) < np.linalg.norm(theta - reference)
    unsigned = Dense(layout).applied(theta, match(layout, theta, reference, False))
    assert np.linalg.norm(unsigned - reference) < np.linalg.norm(theta - reference)


def test_one_hidden_layer_is_matched_best_of_all(rng):
    """With one hidden layer the assignment is exact: by trying every order and every sign of four units."""
    seeds = rng.integers(2**31, size=2)
    _, layout, theta = network((4,), int(seeds[0]))
    reference = network((4,), int(seeds[1]))[2]
    dense = Dense(layout)
    least = min(
        np.linalg.norm(dense.applied(theta, Matching((np.array(order),), (np.array(sign),))) - reference)
        for order in permutations(range(4))
        for sign in product([-1.0, 1.0], repeat=4)
    )
    found = np.linalg.norm(dense.applied(theta, match(layout, theta, reference, True)) - reference)
    assert found == pytest.approx(least, rel=1e-12)


def test_other_networks_are_refused():
    layout = Layout.of(models.build({"name": "cnn", "channels": [2, 2]}, (1, 12, 12), 3, 0))
    with pytest.raises(LossatlasError, match="no chain of fully connected layers"):
        Dense(layout)
