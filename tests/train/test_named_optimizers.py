"""Optimisers by name: each is torch's, ProxProp is its definition, L-BFGS descends by the Armijo condition."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lossatlas import models
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import read
from lossatlas.train.lbfgs_armijo import LBFGSArmijo
from lossatlas.train.optimizers import make_optimizer
from lossatlas.train.proxprop import ProxProp, gram_of, solve
from lossatlas.train.spec import OPTIMIZERS, Recipe

torch.set_num_threads(1)


@pytest.fixture
def generator():
    """Return a fresh generator and print its seed."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print("seed", seed)
    return torch.Generator().manual_seed(seed)


def random(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


TORCH = {
    "adadelta": (torch.optim.Adadelta, {"rho": 0.5}, {}),
    "adagrad": (torch.optim.Adagrad, {}, {}),
    "adam": (torch.optim.Adam, {}, {}),
    "adamax": (torch.optim.Adamax, {"betas": [0.9, 0.99]}, {}),
    "adamw": (torch.optim.AdamW, {"betas": [0.8, 0.95]}, {"weight_decay": 0.0}),
    "amsgrad": (torch.optim.Adam, {"betas": [0.9, 0.99]}, {"amsgrad": True}),
    "asgd": (torch.optim.ASGD, {"lambd": 1e-4, "alpha": 0.75}, {}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.72}, {}),
    "sgd": (torch.optim.SGD, {}, {}),
}


def resolve(recipe):
    """Return a recipe with its defaults, as a job has it."""
    return read(Recipe, recipe, "recipe").hashed()


@pytest.mark.parametrize("name", TORCH)
def test_a_name_is_torchs_optimiser_with_its_options(name, generator):
    cls, options, fixed = TORCH[name]
    start = random(generator, 5)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    recipe = resolve({"optimizer": name, "lr": 0.03, **({"options": options} if options else {})})
    pair = [(ours, make_optimizer([ours], recipe)), (theirs, cls([theirs], lr=0.03, **options, **fixed))]
    for _ in range(4):
        for parameter, optimizer in pair:
            parameter.grad = (parameter.detach() - 1) ** 3
            optimizer.step()
    assert torch.allclose(ours, theirs, rtol=1e-12)
    assert not torch.allclose(ours, start)


def proximal(weight, a, z, g, tau):
    """Return theta+ by least squares, from the definition: rows of examples and the rows of the proximal term."""
    inputs = a.shape[1]
    rows = torch.cat([a / len(a) ** 0.5, torch.eye(inputs, dtype=a.dtype) / tau**0.5])
    wanted = torch.cat([(z - g) / len(a) ** 0.5, weight.T / tau**0.5])
    return torch.linalg.lstsq(rows, wanted).solution.T


@pytest.mark.parametrize("tau", [1e-6, 0.05, 0.5, 20.0])
def test_proximal_step_of_a_linear_layer(tau, generator):
    a, weight, g = random(generator, 40, 7), random(generator, 3, 7), random(generator, 40, 3)
    gradient, gram = g.T @ a / 40, a.T @ a / 40
    expected = (weight - proximal(weight, a, a @ weight.T, g, tau)) / tau
    assert torch.allclose(solve(gradient, gram, tau, 50), expected, rtol=1e-6, atol=1e-9)
    if tau < 1e-5:
        assert torch.allclose(expected, gradient, rtol=1e-3)
    fewer = solve(gradient, gram, tau, 3)
    assert float((fewer - expected).norm()) <= float(expected.norm())


def test_convolutions_are_linear_maps_of_patches(generator):
    layer = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    images = random(generator, 4, 2, 6, 6)
    patches = []
    padded = F.pad(images, (1, 1, 1, 1))
    for image in padded:
        for i in range(0, 6, 2):
            for j in range(0, 6, 2):
                patches.append(image[:, i : i + 3, j : j + 3].reshape(-1))
    rows = torch.stack(patches)
    assert torch.allclose(gram_of(layer, images), rows.T @ rows / 4, rtol=1e-12)
    outputs = rows @ layer.weight.flatten(1).T + layer.bias
    assert torch.allclose(outputs.reshape(4, 9, 3).transpose(1, 2).reshape(4, 3, 3, 3), layer(images))


def test_proxprop_hands_the_proximal_direction_to_adam(generator):
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    x, y = random(generator, 20, 4), torch.arange(20) % 3
    ours = ProxProp(nets[0].parameters(), tau=0.5, iterations=100, lr=0.01)
    ours.attach(nets[0])
    theirs = torch.optim.Adam(nets[1].parameters(), lr=0.01)
    for _ in range(3):
        ours.zero_grad()
        F.cross_entropy(nets[0](x), y).backward()
        ours.step()
        hidden = x @ nets[1][0].weight.T + nets[1][0].bias
        active = torch.relu(hidden)
        outputs = active @ nets[1][2].weight.T + nets[1][2].bias
        for value in (hidden, outputs):
            value.retain_grad()
        theirs.zero_grad()
        F.cross_entropy(outputs, y).backward()
        for layer, a, z in ((nets[1][0], x, hidden), (nets[1][2], active.detach(), outputs)):
            # bias and weight both move z; the proximal problem is the weight's
            pure = (z - layer.bias).detach()
            found = proximal(layer.weight.detach(), a, pure, 20 * z.grad, 0.5)
            layer.weight.grad = (layer.weight.detach() - found) / 0.5
        theirs.step()
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-9)


def test_lbfgs_minimises_a_quadratic_and_rosenbrock(generator):
    A = random(generator, 8, 8)
    A = A @ A.T + torch.eye(8)
    b = random(generator, 8)
    cases = [
        (lambda t: 0.5 * t @ A @ t - b @ t, random(generator, 8), torch.linalg.solve(A, b), 200),
        (
            lambda t: 100 * (t[1] - t[0] ** 2) ** 2 + (1 - t[0]) ** 2,
            torch.tensor([-1.2, 1.0]).double(),
            torch.ones(2),
            300,
        ),
    ]
    for function, start, minimum, steps in cases:
        theta = nn.Parameter(start.clone())
        optimizer = LBFGSArmijo([theta], lr=1.0, **OPTIMIZERS["lbfgs_armijo"].options)

        def closure(function=function, theta=theta):
            theta.grad = None
            loss = function(theta)
            loss.backward()
            return loss.detach()

        losses = [float(optimizer.step(closure)) for _ in range(steps)]
        assert all(after <= before for before, after in itertools.pairwise(losses))
        assert torch.allclose(theta.detach(), minimum.double(), atol=1e-5)


def test_adamw_decays_beside_the_gradient(generator):
    start = random(generator, 5)
    weights = nn.Parameter(start.clone())
    optimizer = make_optimizer([weights], resolve({"optimizer": "adamw", "lr": 0.03, "weight_decay": 0.2}))
    weights.grad = torch.zeros_like(weights)
    optimizer.step()
    torch.testing.assert_close(weights.detach(), start * (1 - 0.03 * 0.2), rtol=1e-14, atol=0)


def test_warm_up_rises_step_by_step(generator):
    """SGD on a constant gradient moves by the sum of the rates: 1/6, 2/6, ... of lr over one and a half epochs of 4."""
    from lossatlas.train.loop import Examples, Training

    recipe = resolve({"lr": 0.6, "batch": 3, "epochs": 3, "warmup": 1.5, "criterion": "mse", "precision": "float64"})
    assert recipe["warmup"] == 1.5
    assert "warmup" not in resolve({"lr": 0.6}), "a key that is not set is not hashed"
    x = torch.zeros(12, 1, dtype=torch.float64)  # outputs are the bias b; the loss (b - t)^2 has the gradient 2 (b - t)
    model = nn.Linear(1, 1).double()
    nn.init.zeros_(model.bias)
    far = 1e8
    examples = Examples(x, torch.full((12, 1), far, dtype=torch.float64), x[:3], x[:3], lambda x: x, torch.float64)
    training = Training(model, examples, recipe, 0, "warm")
    moved = []
    for epoch in range(2):
        training.epoch(epoch, lambda _: moved.append(model.bias.item()), inside_points=4)
    rates, place = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6], 0.0
    for rate, got in zip(rates, moved, strict=True):
        place += rate * 2 * (far - place)
        assert got == pytest.approx(place, rel=1e-12)
    with pytest.raises(LossatlasError, match="2 epochs of 1: it would never reach"):
        resolve({"epochs": 1, "warmup": 2.0})
    with pytest.raises(LossatlasError, match="warmup"):
        resolve({"optimizer": "lbfgs_gss", "epochs": 3, "warmup": 1.0, "batch": None})


@pytest.mark.parametrize("name", ["proxprop", "adamw", "lbfgs_armijo", "adadelta", "asgd", "rmsprop"])
def test_optimisers_lower_the_loss_of_a_network(name, generator):
    from lossatlas.train.loop import Examples, Training

    y = torch.randint(2, (60,), generator=generator)  # classes that lie apart: every fresh draw can be learnt
    images = torch.randn(60, 1, 8, 8, generator=generator) + (y - 0.5).view(-1, 1, 1, 1)
    model = models.build({"name": "cnn", "channels": [4], "hidden": [6], "padding": 1}, (1, 8, 8), 2, 0)
    examples = Examples(images, y, images, y, lambda x: x)
    batch = {"batch": None} if name == "lbfgs_armijo" else {"batch": 20}
    lr = {"adadelta": 1.0, "lbfgs_armijo": 1.0, "asgd": 0.1}.get(name, 0.01)
    recipe = resolve({"optimizer": name, "lr": lr, "epochs": 30, "precision": "float32", **batch})
    training = Training(model, examples, recipe, 0, name)
    before = training.metrics()["train_loss"]
    for epoch in range(30):
        training.epoch(epoch)
    assert training.metrics()["train_loss"] < 0.2 * before
