"""Weights from files: every format gives the same state, and a wrong one is one line that says what is wrong."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lossatlas.errors import LossatlasError
from lossatlas.models.checkpoints import checkpoints, matched, read_state
from lossatlas.specs import checkpoint


def network(seed, classes=4):
    """A small network with batch norm, whose statistics are not those of its initialisation."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, classes))
    model(torch.randn(8, 1, 4, 4))
    return model.eval()


def one_line(call, *given):
    """Return the message of the error that a call raises, which must be one line."""
    with pytest.raises(LossatlasError) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain(state, path):
    torch.save(state, path / "a.pt")
    return path / "a.pt"


def legacy(state, path):
    torch.save(state, path / "a.pth", _use_new_zipfile_serialization=False)
    return path / "a.pth"


def wrapped(state, path):
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "model_state_dict": state}, path / "a.ckpt")
    return path / "a.ckpt"


def twice(state, path):
    torch.save({"model": {"state_dict": {f"module.{name}": value for name, value in state.items()}}}, path / "a.pt")
    return path / "a.pt"


def compiled(state, path):
    torch.save({f"_orig_mod.{name}": value for name, value in state.items()}, path / "a.bin")
    return path / "a.bin"


def parallel_compiled(state, path):
    torch.save({f"module._orig_mod.{name}": value for name, value in state.items()}, path / "a.bin")
    return path / "a.bin"


def averaged(state, path):
    torch.save({"n_averaged": torch.tensor(3), **{f"module.{n}": v for n, v in state.items()}}, path / "a.pt")
    return path / "a.pt"


def lightning(state, path):
    torch.save({"state_dict": {f"model.{name}": value for name, value in state.items()}}, path / "a.ckpt")
    return path / "a.ckpt"


def tensors(state, path):
    save_file(state, path / "model.safetensors")
    return path  # the folder of one network


def sharded(state, path):
    names = sorted(state)
    shards = {"b-00001-of-00002.safetensors": names[:3], "b-00002-of-00002.safetensors": names[3:]}
    for shard, part in shards.items():
        save_file({name: state[name] for name in part}, path / shard)
    index = {"metadata": {}, "weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path / "model.safetensors.index.json"


@pytest.mark.parametrize(
    "save",
    [plain, legacy, wrapped, twice, compiled, parallel_compiled, averaged, lightning, tensors, sharded],
)
def test_every_format_gives_the_network_back(save, tmp_path, fresh_seed):
    model, other = network(fresh_seed), network(fresh_seed + 1)
    file = save(model.state_dict(), tmp_path)
    other.load_state_dict(matched(other, read_state(file), file), strict=True)
    x = torch.randn(5, 1, 4, 4)
    assert torch.equal(other(x), model(x)), "weights or batch-norm statistics differ"


def test_a_parallel_or_compiled_network_takes_a_plain_file(tmp_path, fresh_seed):
    model = network(fresh_seed)
    file = plain(model.state_dict(), tmp_path)
    for wrapper in (nn.DataParallel(network(1)), torch.compile(network(1))):
        wrapper.load_state_dict(matched(wrapper, read_state(file), file), strict=True)
        held = list(wrapper.state_dict().values())
        assert all(torch.equal(*pair) for pair in zip(held, model.state_dict().values(), strict=True))


class Tied(nn.Module):
    """An embedding and a head that share one tensor, with a constant that is not saved."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(2), persistent=False)


def test_shared_tensors_stand_once_and_constants_may_stand(tmp_path):
    model = Tied()
    save_file({"embedding.weight": model.embedding.weight.detach(), "mask": model.mask}, tmp_path / "a.safetensors")
    found = matched(Tied(), read_state(tmp_path / "a.safetensors"), "a")
    assert found.keys() == {"embedding.weight", "head.weight"}
    assert torch.equal(found["head.weight"], model.embedding.weight)


def test_types_of_the_file_are_kept_and_converted_by_torch(tmp_path, fresh_seed):
    model = network(fresh_seed)
    half = {
        name: value.bfloat16() if value.is_floating_point() else value for name, value in model.state_dict().items()
    }
    file = tensors(half, tmp_path)
    found = matched(model, read_state(file), file)
    assert found["0.weight"].dtype == torch.bfloat16
    model.load_state_dict(found)
    assert torch.equal(model[0].weight, half["0.weight"].float())


def test_counters_of_batches_may_be_missing(fresh_seed):
    model = network(fresh_seed)
    state = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    model.load_state_dict(matched(model, state, "a.pt"), strict=True)


def test_another_network_is_refused_in_one_line_that_names_what_differs(fresh_seed):
    state = network(fresh_seed).state_dict()
    said = one_line(matched, network(1, classes=5), state, "a.pt")
    assert "2 of another shape" in said
    assert "4.weight (4, 12) in the file, (5, 12) in the network" in said
    assert said.startswith("a.pt: ")
    assert "saved from" in said
    lacking = {name: value for name, value in state.items() if not name.startswith("1.")}
    said = one_line(matched, network(1), {**lacking, "new": torch.ones(1)}, "a.pt")
    assert "4 missing (1.weight, 1.bias, 1.running_mean and 1 more)" in said
    assert "1 unexpected (new)" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(value, fresh_seed):
    state = dict(network(fresh_seed).state_dict())
    state["1.running_var"] = torch.full((3,), value)
    assert "1.running_var: NaN or infinite" in one_line(matched, network(1), state, "a.pt")


def test_quantised_and_lazy_are_refused(fresh_seed):
    model = network(fresh_seed)
    state = {**model.state_dict(), "4.weight": torch.ones(4, 12, dtype=torch.int8)}
    assert "4.weight is int8 in the file and float32 in the network" in one_line(matched, model, state, "a.pt")
    assert "weight, bias without a shape" in one_line(matched, nn.LazyLinear(3), {}, "a.pt")


class Whole(nn.Linear):
    """A network of a class of its own, saved whole."""


def test_a_file_that_is_none_is_one_line(tmp_path, fresh_seed):
    model = network(fresh_seed)

    def written(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    good = plain(model.state_dict(), tmp_path).read_bytes()
    save_file(model.state_dict(), tmp_path / "good.safetensors")
    cut = (tmp_path / "good.safetensors").read_bytes()[:-20]
    torch.save(Whole(2, 2), tmp_path / "whole.pt")
    torch.save(torch.ones(3), tmp_path / "vector.pt")
    torch.save({"generator": {"weight": torch.ones(3)}}, tmp_path / "gan.pt")
    torch.save({}, tmp_path / "nothing.pt")
    cases = {
        "no such file": tmp_path / "absent.pt",
        "not a checkpoint by its name": written("a.txt", b"x"),
        "is empty": written("empty.pt", b""),
        "is a pointer of Git LFS": written("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
        "is a web page": written("page.bin", b"<!DOCTYPE html><html>"),
        "damaged or not a file of torch.save": written("cut.pt", good[: len(good) // 2]),
        "damaged or not a .safetensors": written("cut.safetensors", cut),
        "objects other than tensors (tests.models.test_checkpoints.Whole)": tmp_path / "whole.pt",
        "holds Tensor, expected name -> tensor": tmp_path / "vector.pt",
        "no tensors under generator": tmp_path / "gan.pt",
        "holds no tensors": tmp_path / "nothing.pt",
        "not an index of shards": written("x.index.json", b"[1]"),
        "c.safetensors: no such file; y.index.json names it": written(
            "y.index.json", b'{"weight_map": {"a": "c.safetensors"}}'
        ),
    }
    for expected, path in cases.items():
        said = one_line(read_state, path)
        assert expected in said
        assert str(tmp_path) in said


def test_a_folder_of_checkpoints_is_in_natural_order(tmp_path, rng):
    numbers = [0, 2, 10, 9, 100]
    for number in rng.permutation(numbers):
        (tmp_path / f"epoch_{number}.pt").write_bytes(b"x")
    (tmp_path / "log.txt").touch()
    (tmp_path / ".hidden.pt").touch()
    expected = [f"epoch_{number}.pt" for number in sorted(numbers)]
    assert [path.name for path in checkpoints(tmp_path)] == expected
    assert [path.name for path in checkpoints(f"{tmp_path}/epoch_*.pt")] == expected
    assert [path.name for path in checkpoints([tmp_path / "epoch_9.pt", tmp_path / "epoch_2.pt"])] == [
        "epoch_9.pt",
        "epoch_2.pt",
    ]
    assert "no checkpoint fits" in one_line(checkpoints, f"{tmp_path}/step_*.pt")
    (tmp_path / "none").mkdir()
    assert "a folder without checkpoints" in one_line(checkpoints, tmp_path / "none")


def test_shards_count_once_and_their_bytes_name_the_checkpoint(tmp_path, fresh_seed):
    for number in (9, 10):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        sharded(network(fresh_seed + number).state_dict(), folder)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10"]
    assert checkpoint.files(folder)[0].name == "model.safetensors.index.json"
    before = checkpoint.sha256(folder)
    shard = folder / "b-00002-of-00002.safetensors"
    state = {name: value + 1 for name, value in read_state(folder).items() if name in ("4.weight", "4.bias")}
    save_file({**state, **{k: v for k, v in read_state(folder).items() if k not in state}}, shard)
    assert checkpoint.sha256(folder) != before
