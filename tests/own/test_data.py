"""Examples from every form in which people have data."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lossatlas.errors import LossatlasError
from lossatlas.own.data import examples_of


def arrays(rng, n=12, d=3):
    return rng.normal(size=(n, d)).astype(np.float32), rng.integers(4, size=n)


class Items(Dataset):
    """A data set with a random transform."""

    def __init__(self, x, y, noise=0.0):
        self.x, self.y, self.noise = x, y, noise

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return torch.from_numpy(self.x[i]) + self.noise * torch.randn(self.x.shape[1]), int(self.y[i])


class Stream(IterableDataset):
    def __iter__(self):
        i = 0
        while True:
            yield torch.tensor([float(i)]), i % 3
            i += 1


class Foreign:
    """A data set of another library: by number, with a length, no class of torch's."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    __len__ = Items.__len__

    def __getitem__(self, i):
        return {"image": self.x[i], "label": self.y[i]}


FORMS = {
    "numpy": lambda x, y: (x, y),
    "tensors": lambda x, y: (torch.from_numpy(x), torch.from_numpy(y).to(torch.int32)),
    "a list": lambda x, y: [torch.from_numpy(x), torch.from_numpy(y)],
    "lists of numbers": lambda x, y: (x.tolist(), y.tolist()),
    "TensorDataset": lambda x, y: TensorDataset(torch.from_numpy(x), torch.from_numpy(y)),
    "Dataset": Items,
    "DataLoader": lambda x, y: DataLoader(Items(x, y), batch_size=5),
    "batches": lambda x, y: [(x[:5], y[:5]), (x[5:], y[5:])],
    "a generator": lambda x, y: ((x[i : i + 4], y[i : i + 4]) for i in range(0, len(x), 4)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_examples(form, rng):
    x, y = arrays(rng)
    found = examples_of(FORMS[form](x, y))
    np.testing.assert_array_equal(found.x.float(), x)
    np.testing.assert_array_equal(found.y, y)
    assert found.y.dtype == torch.int64
    assert (len(found), found.notes) == (12, ())


@pytest.mark.parametrize("form", ["columns", "batches", "loader"])
def test_dicts_have_inputs_by_name_and_targets_under_labels(form, rng):
    ids, mask = rng.integers(9, size=(6, 5)), rng.integers(2, size=(6, 5))
    labels = np.where(mask == 1, ids, -100)
    columns = {"input_ids": ids, "attention_mask": mask, "labels": labels, "text": ["a"] * 6}
    data = {
        "columns": columns,
        "batches": [{name: part[i : i + 2] for name, part in columns.items()} for i in (0, 2, 4)],
        "loader": DataLoader([{name: part[i] for name, part in columns.items()} for i in range(6)], batch_size=4),
    }[form]
    found = examples_of(data)
    assert list(found.x) == ["input_ids", "attention_mask"]
    np.testing.assert_array_equal(found.x["attention_mask"], mask)
    np.testing.assert_array_equal(found.y, labels)
    assert found.key == "labels"


def test_data_sets_of_other_libraries_are_read_by_number(rng):
    x, y = arrays(rng)
    found = examples_of(Foreign(x, y), 5)
    assert len(found) == 5
    assert found.total == 12
    np.testing.assert_array_equal(
        found.y, y[[np.flatnonzero((x == row).all(1))[0] for row in found.x["image"].numpy()]]
    )


def test_several_inputs_are_a_tuple(rng):
    x, y = arrays(rng)
    for data in (((x, 2 * x), y), [(x, 2 * x, y)], DataLoader(TensorDataset(*map(torch.from_numpy, (x, 2 * x, y))))):
        a, b = examples_of(data).x
        np.testing.assert_array_equal(2 * a, b)


def test_a_shuffling_loader_is_drawn_once_and_leaves_the_callers_random_numbers_alone(rng):
    x, y = arrays(rng, n=40)
    torch.manual_seed(int(rng.integers(2**32)))
    own = torch.Generator().manual_seed(3)
    loader = DataLoader(Items(x, y, noise=1.0), batch_size=7, shuffle=True, generator=own)
    states = torch.get_rng_state(), own.get_state()
    first, again = examples_of(loader), examples_of(loader)
    assert torch.equal(states[0], torch.get_rng_state())
    assert torch.equal(states[1], own.get_state())
    assert torch.equal(first.x, again.x), "the transforms were drawn again"
    assert first.digest() == again.digest()
    assert first.notes == ("the loader shuffles: its order was drawn once and is kept",)
    assert sorted(first.y.tolist()) == sorted(y.tolist())
    assert first.y.tolist() != y.tolist()
    assert not np.allclose(np.sort(first.x[:, 0]), np.sort(x[:, 0])), "the transform was left out"


def test_a_part_of_arrays_is_drawn_at_random_and_always_the_same(rng, caplog):
    x = np.arange(1000.0)[:, None]
    y = np.repeat(np.arange(10), 100)  # by class
    for data in ((x, y), Items(x, y)):
        found = examples_of(data, 100)
        rows = found.x[:, 0].long()
        assert len(set(rows.tolist())) == 100
        assert bool((rows[1:] > rows[:-1]).all())
        np.testing.assert_array_equal(found.y, y[rows])
        assert set(found.y.tolist()) == set(range(10))
        assert found.total == 1000
        assert "100 of 1,000 examples are used, drawn at random" in caplog.text
        assert torch.equal(found.x, examples_of(data, 100).x)
        caplog.clear()
    assert len(examples_of((x, y), None)) == 1000
    assert len(examples_of(examples_of((x, y), None), 7)) == 7


def test_of_a_loader_the_first_are_taken_and_classes_in_order_are_said():
    y = np.repeat(np.arange(10), 100)
    loader = DataLoader(Items(np.arange(1000.0)[:, None], y), batch_size=32)
    found = examples_of(loader, 150)
    assert found.x[:, 0].tolist() == list(range(150))
    assert found.notes[0] == "the first 150 of 1,000 examples are used"
    assert found.notes[1].startswith("the classes come in order")
    endless = examples_of(DataLoader(Stream(), batch_size=4), 10)
    assert endless.y.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert endless.notes == ("the first 10 of more examples are used",)


def test_the_digest_sees_every_number_and_type(rng):
    x, y = arrays(rng)
    base = examples_of((x, y)).digest()
    assert base == examples_of((torch.from_numpy(x), y.tolist())).digest()
    changed = x.copy()
    changed[3, 1] = np.nextafter(changed[3, 1], np.float32(np.inf))
    other = y.copy()
    other[0] = (other[0] + 1) % 4
    assert len({base, *(examples_of(d).digest() for d in ((changed, y), (x, other), (x.astype(np.float64), y)))}) == 4


BAD = {
    "nothing": (None, r"got nothing \(data=None\); expected \(inputs, targets\)"),
    "one array": (np.zeros((4, 3)), r"one array of shape \(4, 3\)"),
    "batches without targets": ([torch.zeros(4, 3)], r"without targets.*data=\(tokens\[:, :-1\], tokens\[:, 1:\]\)"),
    "a dict without targets": ({"input_ids": np.zeros((2, 3))}, "expected the targets as one of"),
    "other numbers": ((np.zeros((4, 3)), np.zeros(5)), "got 4 inputs and targets"),
    "ragged": (
        [(torch.zeros(2, 3), torch.zeros(2)), (torch.zeros(2, 4), torch.zeros(2))],
        r"batches have examples of shapes .*pad all to one length",
    ),
    "uint8": ((np.zeros((4, 3, 8, 8), np.uint8), np.zeros(4, int)), r"inputs are uint8.*x.float\(\) / 255"),
    "NaN": ((np.full((4, 3), np.nan), np.zeros(4, int)), "inputs have NaN"),
    "NaN targets": ((np.zeros((4, 3)), np.full(4, np.nan)), "targets have NaN"),
    "text": ((np.array(["a", "b"]), np.zeros(2)), "expected numbers"),
    "no examples": ((np.zeros((0, 3)), np.zeros(0, int)), "got no examples"),
    "no batches": ([], "got no batches"),
    "an empty set": (Items(np.zeros((0, 3)), np.zeros(0)), "has no examples"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_data_is_named_in_one_line(name):
    data, message = BAD[name]
    with pytest.raises(LossatlasError, match=message) as caught:
        examples_of(data)
    assert "\n" not in str(caught.value)


def test_a_number_of_examples_below_one_is_refused(rng):
    with pytest.raises(LossatlasError, match="examples got 0"):
        examples_of(arrays(rng), 0)
