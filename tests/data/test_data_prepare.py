"""data.h5: sizes, classes, balance, subsets, averaging, statistics, damaged files, for all data sets to be had here."""

import json
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from harness import ROOT, job
from PIL import Image

from lossatlas.data import spec as catalogue
from lossatlas.data.dataset import load, statistics
from lossatlas.data.images import area_average
from lossatlas.data.jobs import prepare
from lossatlas.data.labels import randomise
from lossatlas.data.spec import DataSet
from lossatlas.errors import LossatlasError
from lossatlas.specs.base import read


def bundled(name):
    """Skip where DVC has not put a bundled file."""
    if not (ROOT / "data" / name).exists():
        pytest.skip(f"data/{name} is not there (run `dvc pull`)")


def from_environment(name):
    """Skip where no folder of LOSSATLAS_DATA holds a file."""
    if not any((folder / name).exists() for folder in catalogue.search_folders()):
        pytest.skip(f"no folder of LOSSATLAS_DATA holds {name}")


def prepared(output, /, **spec):
    """Prepare the data set that a study's mapping names."""
    prepare(job(planned(**spec), output))


def planned(**spec):
    """Return what a study's plan makes of a mapping, its seed as it is."""
    found = read(DataSet, spec).hashed()
    options = catalogue.resolve_options(found["name"], found["options"])
    checksum = catalogue.source_checksum(found["name"], found["variant"], options)
    return {**found, "options": options, "checksum": checksum}


def made(tmp_path, **spec):
    prepared(tmp_path / "data.h5", **spec)
    return load(tmp_path / "data.h5")


def check(data, train, test, classes, dtype=torch.uint8):
    assert data.x_train.shape == train
    assert data.x_test.shape == test
    assert data.x_train.dtype == data.x_test.dtype == dtype
    assert data.y_train.dtype == data.y_test.dtype == torch.int64
    assert len(data.classes) == classes
    assert data.task == "classification"
    assert set(data.y_train.tolist()) == set(data.y_test.tolist()) == set(range(classes))
    assert torch.isfinite(data.normalised(data.x_test)).all()
    z = data.normalised(data.x_train, torch.float64)
    axes = (0, 2, 3) if data.is_images else (0,)
    torch.testing.assert_close(z.mean(axes), torch.zeros_like(data.mean), atol=1e-6, rtol=0)
    torch.testing.assert_close(z.std(axes, correction=0), torch.ones_like(data.std), atol=1e-6, rtol=0)


def balanced(y):
    return int(torch.bincount(y).max() - torch.bincount(y).min()) <= 1


def test_digits(tmp_path):
    data = made(tmp_path, name="digits")
    check(data, (1437, 1, 8, 8), (360, 1, 8, 8), 10)
    assert torch.bincount(data.y_test).tolist() == [36] * 10
    assert set(data.x_train.unique().tolist()) == {int(np.floor(v * 255 / 16 + 0.5)) for v in range(17)}


def test_iris(tmp_path):
    data = made(tmp_path, name="iris")
    check(data, (120, 4), (30, 4), 3, torch.float32)
    assert torch.bincount(data.y_test).tolist() == [10] * 3
    from sklearn.datasets import load_iris

    together = torch.cat([data.x_train, data.x_test]).numpy()
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(load_iris().data.astype(np.float32), axis=0))
    other = made(tmp_path, name="iris", options={"split": 1})
    assert not torch.equal(other.x_test, data.x_test)


def test_auto_mpg(tmp_path):
    bundled("auto-mpg.csv")
    data = made(tmp_path, name="auto-mpg")
    assert data.x_train.shape == (314, 9)
    assert data.x_test.shape == (78, 9)
    assert data.y_train.shape == (314,)
    assert data.y_train.dtype == torch.float32
    assert (data.task, data.classes) == ("regression", ())
    both = torch.cat([data.x_train, data.x_test])
    assert torch.equal(both[:, 6:].sum(1), torch.ones(392))
    assert both[:, 6:].sum(0).tolist() == [245, 68, 79]  # cars from the USA, Europe, Japan
    target = torch.cat([data.y_train, data.y_test]).double()
    assert (float(target.min()), round(float(target.max()), 3)) == (9.0, 46.6)
    assert float(target.mean()) == pytest.approx(23.445918, abs=1e-5)
    # the linear model is known to explain some four fifths of the variance: columns and targets belong together
    design = torch.cat([data.normalised(data.x_train, torch.float64), torch.ones(314, 1)], dim=1)
    weights = torch.linalg.lstsq(design, data.y_train.double()[:, None], driver="gelsd").solution
    assert 9 < float(((design @ weights)[:, 0] - data.y_train).square().mean()) < 13


def test_auto_mpg_split_is_the_published_one(tmp_path):
    bundled("auto-mpg.csv")
    import pandas as pd

    table = pd.read_csv(ROOT / "data" / "auto-mpg.csv", na_values="?").dropna()
    data = made(tmp_path, name="auto-mpg")
    rows = np.random.RandomState(0).permutation(392)
    np.testing.assert_array_equal(data.y_train.numpy(), table["mpg"].to_numpy(np.float32)[rows[:314]])
    np.testing.assert_array_equal(data.x_test[:, 3].numpy(), table["weight"].to_numpy(np.float32)[rows[314:]])


def test_mnist_bundled(tmp_path):
    bundled("mnist-bundled.npz")
    data = made(tmp_path, name="mnist", variant="bundled")
    check(data, (3000, 1, 28, 28), (1000, 1, 28, 28), 10)
    assert torch.bincount(data.y_train).tolist() == [300] * 10
    assert torch.bincount(data.y_test).tolist() == [100] * 10
    assert float(data.mean) == pytest.approx(0.1307, abs=0.003)  # of all 60,000
    assert float(data.std) == pytest.approx(0.3081, abs=0.003)


def test_cifar10_bundled(tmp_path):
    bundled("cifar10-bundled.zip")
    data = made(tmp_path, name="cifar10", variant="bundled", size=16, train=505, test=100)
    check(data, (505, 3, 16, 16), (100, 3, 16, 16), 10)
    assert balanced(data.y_train)
    assert balanced(data.y_test)
    assert data.classes[3] == "cat"
    assert data.mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.02)


def test_mnist_original(tmp_path):
    from_environment("MNIST/raw/train-images-idx3-ubyte")
    data = made(tmp_path, name="mnist", variant="original", test=20)
    check(data, (60000, 1, 28, 28), (20, 1, 28, 28), 10)
    assert torch.bincount(data.y_train).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert (float(data.mean), float(data.std)) == pytest.approx((0.13066, 0.30811), abs=1e-5)


def test_cifar10_jpeg(tmp_path):
    from_environment("cifar10-jpeg.tar.xz")
    data = made(tmp_path, name="cifar10", variant="jpeg", train=200, test=50)
    check(data, (200, 3, 32, 32), (50, 3, 32, 32), 10)
    assert balanced(data.y_train)


def test_bundled_files_are_reproducible(tmp_path):
    from_environment("MNIST/raw/train-images-idx3-ubyte")
    from_environment("cifar10-jpeg.tar.xz")
    from lossatlas.data import bundle, sources

    folders = catalogue.search_folders()
    bundle.bundle_mnist(next(f for f in folders if (f / "MNIST").exists()), tmp_path)
    bundle.bundle_cifar10(next(f for f in folders if (f / "cifar10-jpeg.tar.xz").exists()), tmp_path)
    for name, file in (("mnist", "mnist-bundled.npz"), ("cifar10", "cifar10-bundled.zip")):
        sources.verify(tmp_path / file, catalogue.describe_variant(name, "bundled")["files"][0][file])


def test_subsets_depend_on_the_seed_alone_and_are_nested(tmp_path):
    spec = {"name": "digits", "train": 100, "test": 50}
    data, same = made(tmp_path, **spec, seed=3), made(tmp_path, **spec, seed=3)
    assert torch.equal(data.x_train, same.x_train)
    assert torch.equal(data.x_test, same.x_test)
    other = made(tmp_path, **spec, seed=4)
    assert not torch.equal(data.x_train, other.x_train)
    assert not torch.equal(data.x_test, other.x_test)
    larger = made(tmp_path, name="digits", train=300, test=50, seed=3)
    assert torch.equal(larger.x_train[:100], data.x_train)
    assert torch.equal(larger.x_test, data.x_test)
    assert balanced(data.y_train)
    rows = {tuple(row.flatten().tolist()) for row in larger.x_train}
    assert len(rows) == 300  # without replacement (the digits have no duplicates)
    everything = made(tmp_path, name="digits")
    assert rows <= {tuple(row.flatten().tolist()) for row in everything.x_train}


def test_file_format_and_bytes(tmp_path):
    spec = planned(name="iris", variant="package", train=30, seed=1)
    for output in (tmp_path / "a" / "data.h5", tmp_path / "b.h5"):
        prepare(replace(job(spec, output), provenance={"commit": "abc"}))
    assert (tmp_path / "a" / "data.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert os.listdir(tmp_path / "a") == ["data.h5"]
    with h5py.File(tmp_path / "b.h5") as file:
        assert file.attrs["kind"] == "data"
        assert json.loads(file.attrs["provenance"]) == {"commit": "abc"}
        assert json.loads(file.attrs["classes"]) == ["setosa", "versicolor", "virginica"]
        source = json.loads(file.attrs["source"])
        assert (source["name"], source["variant"]) == ("iris", "package")
        assert source["checksum"] == catalogue.source_checksum("iris")
        assert file["train/x"].dtype == np.float32
        np.testing.assert_allclose(file.attrs["mean"], file["train/x"][:].mean(0, dtype=np.float64), rtol=1e-12)


@pytest.mark.parametrize(
    "spec, words",
    [
        ({"name": "iriss"}, "did you mean 'iris'"),
        ({"name": "iris", "variant": "bundled"}, "valid: package"),
        ({"name": "iris", "options": {"splt": 1}}, "did you mean 'split'"),
        ({"name": "iris", "train": 121}, "`train` is 121, but there are only 120"),
        ({"name": "iris", "test": 0}, "test: 0 is not allowed; give a value at least 1"),
        ({"name": "iris", "size": 4}, "has no images"),
        ({"name": "digits", "size": 9}, "size 9 is larger than the images"),
        ({"name": "rings", "train": 2}, "leave a ring empty"),
    ],
)
def test_impossible_specs_are_one_line_and_leave_no_file(tmp_path, spec, words):
    with pytest.raises(LossatlasError) as error:
        prepared(tmp_path / "data.h5", **spec)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_named_with_the_remedy(tmp_path):
    path = tmp_path / "data.h5"
    with pytest.raises(LossatlasError, match="no such file"):
        load(path)
    prepared(path, name="swissroll")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-1], b"", b"not HDF5"):
        path.write_bytes(content)
        with pytest.raises(LossatlasError, match=r"data\.h5.*(delete|remove)"):
            load(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["test/y"]
    with pytest.raises(LossatlasError, match=r"data\.h5.*delete it"):
        load(path)
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        file.attrs["kind"] = "points"
    with pytest.raises(LossatlasError, match=r"data\.h5.*points.*expected data"):
        load(path)


def write_images(folder, sizes, label_of=lambda part, i: "ab"[i % 2]):
    generator = np.random.default_rng(0)
    for part, shapes in sizes.items():
        for i, (height, width) in enumerate(shapes):
            target = folder / part / label_of(part, i) / f"{i}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(target)


def test_folder(tmp_path):
    write_images(tmp_path / "mine", {"train": [(8, 8)] * 6, "test": [(8, 8)] * 4})
    data = made(tmp_path, name="folder", options={"path": str(tmp_path / "mine")})
    check(data, (6, 3, 8, 8), (4, 3, 8, 8), 2)
    assert data.classes == ("a", "b")
    with Image.open(tmp_path / "mine" / "train" / "b" / "3.png") as image:
        np.testing.assert_array_equal(data.x_train[4].permute(1, 2, 0), np.asarray(image))
    grey = made(tmp_path, name="folder", options={"path": str(tmp_path / "mine"), "channels": 1}, size=4)
    assert grey.x_test.shape == (4, 1, 4, 4)
    checksum = catalogue.tree_checksum(tmp_path / "mine")
    made(tmp_path, name="folder", options={"path": str(tmp_path / "mine"), "checksum": checksum})
    with pytest.raises(LossatlasError, match="expected tree:0000"):
        made(tmp_path, name="folder", options={"path": str(tmp_path / "mine"), "checksum": "0" * 64})


def test_files_changed_after_planning_are_found(tmp_path):
    write_images(tmp_path / "mine", {"train": [(8, 8)] * 6, "test": [(8, 8)] * 4})
    spec = planned(name="folder", options={"path": str(tmp_path / "mine")})
    Image.new("RGB", (8, 8)).save(tmp_path / "mine/train/a/2.png")
    with pytest.raises(LossatlasError, match=r"'folder': its checksum is .*, planned with .*: run the same command ag"):
        prepare(job(spec, tmp_path / "data.h5"))
    assert not (tmp_path / "data.h5").exists()


def test_folder_of_different_sizes_needs_a_size(tmp_path):
    write_images(tmp_path / "mine", {"train": [(100, 80), (8, 12), (9, 9), (8, 8)], "test": [(8, 8)] * 2})
    options = {"path": str(tmp_path / "mine")}
    with pytest.raises(LossatlasError, match=r"train/a/2\.png: 9 x 9 pixels, but .* give the data set a `size`"):
        made(tmp_path, name="folder", options=options)
    data = made(tmp_path, name="folder", options=options, size=4)
    with Image.open(tmp_path / "mine" / "train" / "b" / "1.png") as image:
        middle = np.asarray(image)[:, 2:10].transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(data.x_train[2:3].numpy(), area_average(middle, 4))
    with pytest.raises(LossatlasError, match=r"train/a/2\.png: size 10 is larger"):
        made(tmp_path, name="folder", options=options, size=10)


def test_folder_mistakes(tmp_path):
    write_images(tmp_path / "one", {"train": [(8, 8)] * 2})
    with pytest.raises(LossatlasError, match="no images in test/CLASS"):
        made(tmp_path, name="folder", options={"path": str(tmp_path / "one")})
    write_images(tmp_path / "one", {"test": [(8, 8)]}, lambda part, i: "strange")
    with pytest.raises(LossatlasError, match="class 'strange' is in test/ but not in train/"):
        made(tmp_path, name="folder", options={"path": str(tmp_path / "one")})
    write_images(tmp_path / "two", {"train": [(8, 8)] * 2, "test": [(8, 8)]})
    (tmp_path / "two" / "train" / "a" / "note.txt").write_text("no image")
    with pytest.raises(LossatlasError, match=r"note\.txt: not a readable image"):
        made(tmp_path, name="folder", options={"path": str(tmp_path / "two")})


def test_halving_is_the_mean_of_four_pixels():
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    quads = x.astype(int).reshape(5, 3, 16, 2, 16, 2).sum((3, 5))
    np.testing.assert_array_equal(area_average(x, 16), (quads + 2) // 4)


@pytest.mark.parametrize("side, size", [(28, 12), (9, 4), (7, 7), (32, 10), (5, 1)])
def test_area_averaging_against_repeated_pixels(side, size):
    x = np.random.default_rng(1).integers(0, 256, (2, 1, side, side), dtype=np.uint8)
    fine = x.astype(float).repeat(size, axis=2).repeat(size, axis=3)  # each pixel size x size times: blocks of side
    expected = fine.reshape(2, 1, size, side, size, side).mean((3, 5))
    assert np.abs(area_average(x, size) - expected).max() <= 0.5 + 1e-9


def test_area_averaging_takes_the_central_square():
    x = np.random.default_rng(2).integers(0, 256, (2, 3, 8, 13), dtype=np.uint8)
    np.testing.assert_array_equal(area_average(x, 4), area_average(x[..., 2:10], 4))


def test_statistics_of_constant_features_do_not_divide_by_zero():
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 6, 6), dtype=np.uint8)
    x[:, 1] = 7
    mean, std = statistics(x)
    np.testing.assert_allclose(mean, (x / 255.0).mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std[[0, 2]], (x / 255.0).std((0, 2, 3))[[0, 2]], rtol=1e-12)
    assert std[1] == 1.0


def test_normalised_takes_bytes_and_unit_floats_alike(tmp_path):
    data = made(tmp_path, name="digits", train=50, test=20)
    torch.testing.assert_close(data.normalised(data.x_test), data.normalised(data.x_test / 255))
    assert data.normalised(data.x_test).dtype == torch.float32
    assert data.normalised(data.x_test, torch.float64).dtype == torch.float64
    moved = data.to("cpu")
    assert torch.equal(moved.x_train, data.x_train)
    assert moved.classes == data.classes


def test_swissroll_follows_its_formula(tmp_path):
    data = made(tmp_path, name="swissroll", train=400, test=2000, options={"noise": 0.0}, seed=5)
    check(data, (400, 2), (2000, 2), 2, torch.float32)
    assert torch.bincount(data.y_train).tolist() == [200, 200]
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        blue = torch.where(y[:, None] == 0, x, -x).double()
        t = blue.norm(dim=1) / 1.5
        assert float(t.max()) <= np.deg2rad(600)
        expected = torch.stack([-1.5 * t * t.cos(), 1.5 * t * t.sin()], dim=1)
        torch.testing.assert_close(blue, expected, atol=2e-5, rtol=0)
    u = (data.x_test.norm(dim=1).double() / 1.5 / np.deg2rad(600)) ** 2  # uniform: mean 1/2, variance 1/12
    assert float(u.mean()) == pytest.approx(0.5, abs=4 * (1 / 12 / 2000) ** 0.5)
    assert float(u.var()) == pytest.approx(1 / 12, rel=0.1)


def test_swissroll_noise_has_its_size(tmp_path):
    clean = made(tmp_path, name="swissroll", test=4000, options={"noise": 0.0})
    noisy = made(tmp_path, name="swissroll", test=4000)
    difference = noisy.x_test - clean.x_test
    assert difference.std(0).tolist() == pytest.approx([0.5, 0.5], rel=0.05)
    assert difference.mean(0).tolist() == pytest.approx([0, 0], abs=0.04)


def test_swissroll_train_and_test_share_no_point_and_no_mirror_image(tmp_path):
    data = made(tmp_path, name="swissroll")
    assert data.x_train.shape == (200, 2)
    assert data.x_test.shape == (5000, 2)
    blue, red = (data.x_train[data.y_train == label] for label in (0, 1))
    exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    assert float(torch.cdist(blue, -red, **exact).min()) > 1e-4
    for sign in (1, -1):
        assert float(torch.cdist(data.x_train, sign * data.x_test, **exact).min()) > 1e-4
    radii = [data.x_train[data.y_train == 0].norm(dim=1), data.x_test[data.y_test == 0].norm(dim=1)[:100]]
    assert abs(float(torch.corrcoef(torch.stack(radii))[0, 1])) < 0.4
    longer = made(tmp_path, name="swissroll", train=300)
    assert torch.equal(longer.x_train[:200], made(tmp_path, name="swissroll").x_train)


def test_rings(tmp_path):
    data = made(tmp_path, name="rings", options={"gap": 0.02})
    check(data, (130, 2), (1300, 2), 2, torch.float32)
    for x, y, scale in ((data.x_train, data.y_train, 1), (data.x_test, data.y_test, 10)):
        radius = x.double().norm(dim=1)
        blue, red = radius[y == 0], radius[y == 1]
        assert len(blue) == 40 * scale
        torch.testing.assert_close(blue, torch.full_like(blue, 0.4), atol=1e-6, rtol=0)
        inner, outer = red[red < 0.7], red[red > 0.7]
        assert (len(inner), len(outer)) == (10 * scale, 80 * scale)
        torch.testing.assert_close(inner, torch.full_like(inner, 0.42), atol=1e-6, rtol=0)
        torch.testing.assert_close(outer, torch.full_like(outer, 0.95), atol=1e-6, rtol=0)
    angles = torch.atan2(data.x_train[:40, 0], data.x_train[:40, 1]).double() % (2 * np.pi)
    np.testing.assert_allclose(np.diff(np.sort(angles)), 2 * np.pi / 40, atol=1e-5)
    first = torch.atan2(data.x_train[40, 0], data.x_train[40, 1])
    assert float(first) == pytest.approx(np.pi / 40, abs=1e-6)
    dense = made(tmp_path, name="rings", train=1300)
    assert torch.bincount(dense.y_train).tolist() == [400, 900]
    noisy = made(tmp_path, name="rings", test=13000, options={"noise": 0.01})
    assert float(noisy.x_test[noisy.y_test == 0].norm(dim=1).std()) == pytest.approx(0.01, rel=0.1)


def test_generated_test_parts_change_with_the_seed(tmp_path):
    for name in ("swissroll", "rings"):
        one, two = made(tmp_path, name=name, seed=0), made(tmp_path, name=name, seed=1)
        assert not torch.equal(one.x_test, two.x_test)
        assert torch.equal(one.x_test, made(tmp_path, name=name, seed=0).x_test)


def test_svhn_extra_rows_follow_the_training_rows(tmp_path, monkeypatch):
    from lossatlas.data import jobs as module
    from lossatlas.data.sources import Opened, array_part

    generator = np.random.default_rng(0)
    parts = {
        part: array_part(generator.integers(low, low + 50, (40, 3, 32, 32)).astype(np.uint8), np.arange(40) % 10)
        for part, low in (("train", 0), ("test", 60), ("extra", 200))
    }
    monkeypatch.setattr(module, "open_source", lambda *args: Opened(parts))
    data = made(tmp_path, name="svhn", train=20, options={"extra": 7}, size=16)
    assert data.x_train.shape == (27, 3, 16, 16)
    assert data.y_train.shape == (27,)
    assert (data.x_train[:20] < 60).all()
    assert (data.x_train[20:] >= 200).all()
    assert len(made(tmp_path, name="svhn", train=20, options={"extra": None}).x_train) == 60
    assert len(made(tmp_path, name="svhn", train=20).x_train) == 20


def test_random_labels_are_uniform_and_belong_to_the_seed():
    y = torch.zeros(20_000, dtype=torch.int64)
    drawn = randomise(y, 10, 1)
    assert torch.equal(drawn, randomise(y, 10, 1))
    assert torch.equal(drawn, randomise(y, 10, torch.Generator().manual_seed(1)))
    assert not torch.equal(drawn, randomise(y, 10, 2))
    assert not y.any()
    counts = torch.bincount(drawn, minlength=10).double()
    assert len(counts) == 10
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 27.9  # chi-squared with 9 degrees of freedom, p = 0.001


def test_random_labels_of_a_fraction():
    y = torch.full((10_000,), 5)
    drawn = randomise(y, 10, 0, fraction=0.3)
    assert int((drawn != 5).sum()) == pytest.approx(0.3 * 0.9 * 10_000, abs=100)
    assert torch.equal(randomise(y, 10, 0, fraction=0.0), y)
    with pytest.raises(ValueError, match="fraction"):
        randomise(y, 10, 0, fraction=1.5)
