"""Augmentations against slow references an image at a time, their statistics, and where their randomness comes from."""

import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, functional

from lossatlas.data import augment
from lossatlas.data.augment import Augment
from lossatlas.errors import LossatlasError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=32, channels=3, height=16, width=16, dtype=torch.uint8):
    x = torch.randint(1, 256, (n, channels, height, width), generator=seeded(9), dtype=torch.uint8)
    return x if dtype == torch.uint8 else x.to(dtype) / 255


def slow_crop_flip(x, generator, padding, p):
    """The reference: pad, cut and mirror one image after the other, with the same draws."""
    n, _, height, width = x.shape
    offsets = torch.randint(2 * padding + 1, (n, 2), generator=generator)
    mirrored = torch.rand(n, generator=generator) < p if p is not None else torch.zeros(n, dtype=torch.bool)
    out = []
    for image, (top, left), mirror in zip(x, offsets.tolist(), mirrored.tolist(), strict=True):
        padded = torch.zeros(image.shape[0], height + 2 * padding, width + 2 * padding, dtype=x.dtype)
        padded[:, padding : padding + height, padding : padding + width] = image
        cut = padded[:, top : top + height, left : left + width]
        out.append(cut.flip(2) if mirror else cut)
    return torch.stack(out)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("height, width", [(16, 16), (9, 14)])
@pytest.mark.parametrize("padding", [0, 2, 5])
def test_crop_and_flip_against_the_reference(dtype, height, width, padding):
    x = images(height=height, width=width, dtype=dtype)
    before = x.clone()
    out = Augment([{"name": "crop", "padding": padding}, "flip"])(x, seeded())
    assert torch.equal(out, slow_crop_flip(x, seeded(), padding, 0.5))
    assert out.dtype == dtype
    assert torch.equal(x, before)
    assert torch.equal(
        Augment([{"name": "crop", "padding": padding}])(x, seeded()), slow_crop_flip(x, seeded(), padding, None)
    )


def test_fusing_crop_and_flip_changes_nothing():
    x, generator = images(), seeded()
    apart = augment.flip(augment.crop(x, generator), generator)
    assert torch.equal(Augment(["crop", "flip"])(x, seeded()), apart)
    flip_first = Augment(["flip", "crop", "flip", "flip"])
    generator = seeded()
    expected = augment.crop(augment.flip(x, generator), generator)
    expected = augment.flip(augment.flip(expected, generator), generator)
    assert torch.equal(flip_first(x, seeded()), expected)


@pytest.mark.parametrize("side, padding", [(32, 4), (16, 2), (28, 3), (8, 1)])
def test_default_padding_is_an_eighth(side, padding):
    x = images(height=side, width=side)
    assert torch.equal(augment.crop(x, seeded()), augment.crop(x, seeded(), padding=padding))


def test_crop_offsets_are_uniform_and_differ_between_images():
    x = torch.zeros(5000, 1, 5, 5)
    x[:, 0, 2, 2] = 1
    out = augment.crop(x, seeded(), padding=2)[:, 0]
    assert torch.equal(out.sum((1, 2)), torch.ones(5000))
    counts = out.sum(0).flatten()  # each of the 25 places equally often
    assert float(((counts - 200) ** 2 / 200).sum()) < 51.2  # chi-squared with 24 degrees of freedom, p = 0.001


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_flip_probability(p):
    x = torch.zeros(4000, 1, 1, 2)
    x[..., 0] = 1
    share = float(augment.flip(x, seeded(), p)[..., 1].mean())
    assert abs(share - p) <= 4 * math.sqrt(p * (1 - p) / 4000)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("height, width", [(16, 16), (20, 12)])
def test_rotation_against_torchvision(interpolation, height, width):
    x = images(height=height, width=width, dtype=torch.float32)
    out = Augment([{"name": "rotate", "degrees": 45, "interpolation": interpolation}])(x, seeded())
    angles = -45 + 90 * torch.rand(len(x), generator=seeded())
    mode = InterpolationMode(interpolation)
    expected = torch.stack([functional.rotate(x[i], float(angles[i]), interpolation=mode) for i in range(len(x))])
    different = (out - expected).abs().amax(1) > 1e-4
    assert float(different.float().mean()) < 1e-3  # nearest may round a tie the other way
    assert not torch.equal(out, x)
    whole = augment.rotate((x * 255).round().to(torch.uint8), seeded(), 45, 1.0, interpolation)
    assert whole.dtype == torch.uint8
    assert float(((whole / 255 - out).abs() > 0.51 / 255 + 1e-5).float().mean()) < 1e-3


def test_rotation_probability_and_range():
    x = images(n=400)
    still = (augment.rotate(x, seeded(), 45, p=0.25) == x).flatten(1).all(1)
    assert float(still.float().mean()) == pytest.approx(0.75, abs=0.09)
    assert torch.equal(augment.rotate(x, seeded(), degrees=0.0), x)


@pytest.mark.parametrize(
    "change, reference, low, high",
    [
        (augment.change_brightness, functional.adjust_brightness, 0.0, 2.0),
        (augment.change_contrast, functional.adjust_contrast, 0.0, 2.0),
        (augment.change_saturation, functional.adjust_saturation, 0.0, 2.0),
        (augment.change_hue, functional.adjust_hue, -0.5, 0.5),
    ],
)
def test_colour_changes_against_torchvision(change, reference, low, high):
    x = images(dtype=torch.float32)
    x[0] = 0.25  # grey: no hue
    x[1, 0] = x[1, 1]  # ties between channels
    x[2], x[3] = 0.0, 1.0
    factors = low + (high - low) * torch.rand(len(x), generator=seeded())
    out = change(x, factors[:, None, None, None])
    expected = torch.stack([reference(x[i], float(factors[i])) for i in range(len(x))])
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_jitter_is_the_four_changes_in_an_order_of_its_own():
    x = images(n=64, dtype=torch.float32)
    out = augment.jitter(x, seeded(), 0.6, 0.6, 0.6, 0.3)
    generator = seeded()
    factors = [0.4 + 1.2 * torch.rand(64, generator=generator) for _ in range(3)]
    factors.append(-0.3 + 0.6 * torch.rand(64, generator=generator))
    order = torch.rand((64, 4), generator=generator).argsort(1)
    changes = ("brightness", "contrast", "saturation", "hue")
    expected = x.clone()
    for i in range(64):
        for k in order[i].tolist():
            expected[i] = getattr(functional, f"adjust_{changes[k]}")(expected[i], float(factors[k][i]))
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=0)
    assert len({tuple(row) for row in order.tolist()}) > 12
    whole = augment.jitter((x * 255).round().to(torch.uint8), seeded(), 0.6, 0.6, 0.6, 0.3)
    assert whole.dtype == torch.uint8
    assert float((whole / 255 - out).abs().mean()) < 0.005


def test_jitter_of_nothing_and_of_grey_images():
    x = images()
    assert torch.equal(augment.jitter(x, seeded(), 0, 0, 0, 0), x)
    assert torch.equal(augment.jitter(x, seeded(), p=0.0), x)
    grey = images(channels=1, dtype=torch.float32)
    changed = augment.jitter(grey, seeded())
    assert changed.shape == grey.shape
    assert torch.equal(augment.jitter(grey, seeded(), 0, 0, 0.9, 0.5), grey)
    assert not torch.equal(changed, grey)


@pytest.mark.parametrize("name", list(augment.PARAMETERS))
def test_randomness_comes_from_the_generator_alone(name):
    x, step = images(), Augment([name])
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = step(x, seeded(1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(step(x, seeded(1)), first)
    assert not torch.equal(step(x, seeded(2)), first)
    assert first.shape == x.shape
    assert first.dtype == x.dtype


def test_empty_augmentation():
    x = images()
    assert torch.equal(Augment([])(x, seeded()), x)
    assert not Augment([])
    assert Augment(["flip"])


@pytest.mark.parametrize(
    "specs, words",
    [
        (["crops"], ("did you mean 'crop'", "jitter", "rotate")),
        ([{"name": "crop", "pading": 2}], ("did you mean 'padding'",)),
        ([{"padding": 2}], ("`name` is missing", "flip")),
    ],
)
def test_mistakes_name_the_valid_ones(specs, words):
    with pytest.raises(LossatlasError) as error:
        Augment(specs)
    assert all(word in str(error.value) for word in words)
