"""What computations give on this CPU: a line `name digest` for each, the SHA-256 of its arrays' bytes.

python tests/tools/portable_probe.py                    single operations, of each library that computes
python tests/tools/portable_probe.py --only float32     those whose name holds a text
python tests/tools/portable_probe.py --jobs jobs.json   and jobs: name -> {"run", "spec", "inputs", "output"}

``tests/test_numerics.py`` runs it here and on an emulated CPU, and compares. Nothing here fixes kernels or threads.
"""

import argparse
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

ELEMENTWISE = """
    sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh sigmoid erf erfc erfinv
    lgamma reciprocal
"""
"""Functions of torch on numbers in (0, 1)."""

FUNCTIONS = "sqrt exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan sinh cosh tanh cbrt"
"""NumPy's."""


def digest(arrays) -> str:
    """Return the SHA-256 of the bytes of tensors or arrays, one after the other."""
    found = hashlib.sha256()
    for array in arrays:
        plain = array.detach().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)
        found.update(np.ascontiguousarray(plain).tobytes())
    return found.hexdigest()


def operations() -> Iterator[tuple[str, Callable]]:
    """Yield (name, function that returns arrays) of single operations, on numbers drawn from one seed."""
    seed = torch.Generator().manual_seed(15)

    def normal(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(*shape, generator=seed, dtype=dtype)

    drawn = [torch.rand(999, generator=seed), normal(999), torch.randperm(999, generator=seed)]
    yield "torch random numbers", lambda: drawn
    for dtype in (torch.float32, torch.float64):
        short = str(dtype).removeprefix("torch.")
        yield from _elementwise(short, torch.rand(2003, generator=seed, dtype=dtype))
        for n in (7, 33, 129):
            yield from _products(f"{short} {n}", normal(n, n, dtype=dtype), normal(n, n + 3, dtype=dtype))
        yield from _algebra(short, normal(40, 40, dtype=dtype))
    for batch in (4, 32):  # torch computes a convolution of few images itself, of more by oneDNN
        yield from _convolutions(batch, normal)
    yield from _layers(normal)
    yield from _numpy(np.random.default_rng(15))


def _elementwise(short: str, x: torch.Tensor) -> Iterator[tuple[str, Callable]]:
    for name in ELEMENTWISE.split():
        # A view of every second number too: MKL takes contiguous ones, torch computes the others itself.
        yield f"{name} {short}", lambda name=name: [getattr(torch, name)(x), getattr(torch, name)(x[::2])]
    yield f"pow {short}", lambda: [x**1.7, x**3, x ** x.flip(0)]
    yield (
        f"reductions {short}",
        lambda: [x.sum(), x.mean(), x.var(), x.norm(), x.logsumexp(0), x.cumsum(0), x.prod(), x.softmax(0)],
    )


def _products(label: str, a: torch.Tensor, b: torch.Tensor) -> Iterator[tuple[str, Callable]]:
    yield f"matrix products {label}", lambda: [a @ b, a.T @ b, b.T @ a, torch.addmm(a[0], a, a)]
    yield f"matrix times vector {label}", lambda: [a @ b[:, 0], b.T @ a[0], a[0] @ a[1]]
    yield f"batched products {label}", lambda: [torch.bmm(a.expand(3, *a.shape), b.expand(3, *b.shape))]


def _algebra(short: str, a: torch.Tensor) -> Iterator[tuple[str, Callable]]:
    symmetric = a @ a.T + 9 * torch.eye(len(a), dtype=a.dtype)
    yield f"torch qr {short}", lambda: torch.linalg.qr(a[:, :30])
    yield f"torch eigh {short}", lambda: torch.linalg.eigh(symmetric)
    yield f"torch svd {short}", lambda: torch.linalg.svd(a)
    yield f"torch solve {short}", lambda: [torch.linalg.solve(symmetric, a)]
    if short == "float64":  # MKL's in float32 is not portable (docs/reliability.md); nothing here uses it
        yield f"torch cholesky {short}", lambda: [torch.linalg.cholesky(symmetric)]


def _convolutions(batch: int, normal: Callable) -> Iterator[tuple[str, Callable]]:
    for name, inputs, weights, keys in (
        ("3x3", (batch, 3, 12, 12), (8, 3, 3, 3), {"padding": 1}),
        ("3x3 stride 2", (batch, 8, 12, 12), (16, 8, 3, 3), {"padding": 1, "stride": 2}),
        ("1x1", (batch, 8, 12, 12), (16, 8, 1, 1), {}),
        ("5x5", (batch, 1, 12, 12), (6, 1, 5, 5), {}),
        ("in groups", (batch, 8, 12, 12), (8, 2, 3, 3), {"padding": 1, "groups": 4}),
    ):
        x, w = normal(*inputs), normal(*weights)
        for order in (torch.contiguous_format, torch.channels_last):

            def both(x=x, w=w, keys=keys, order=order) -> list:
                given = [x.to(memory_format=order).requires_grad_(), w.clone().requires_grad_()]
                out = F.conv2d(*given, **keys)
                return [out, *torch.autograd.grad(out.square().sum(), given)]

            short = "channels last" if order == torch.channels_last else "channels first"
            yield f"convolution {name}, {batch} images, {short}, and its gradients", both


def _layers(normal: Callable) -> Iterator[tuple[str, Callable]]:
    torch.manual_seed(15)
    images, sequence, rows = normal(20, 4, 8, 8), normal(6, 10, 8), normal(30, 20)
    labels = torch.arange(30) % 10
    dense = nn.Sequential(nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 10))

    def of_lstm() -> list:
        lstm = nn.LSTM(8, 16, batch_first=True)
        out, _ = lstm(sequence)
        return [out, *torch.autograd.grad(out.square().sum(), lstm.parameters())]

    def of_norm() -> list:
        given = images.clone().requires_grad_()
        out = F.max_pool2d(torch.relu(nn.BatchNorm2d(4)(given)), 2)
        return [out, F.adaptive_avg_pool2d(out, 1), *torch.autograd.grad(out.square().sum(), given)]

    def trained(optimizer: type[torch.optim.Optimizer], **keys) -> list:
        torch.manual_seed(16)
        for layer in dense:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        steps = optimizer(dense.parameters(), **keys)

        def closure() -> torch.Tensor:
            steps.zero_grad()
            loss = F.cross_entropy(dense(rows), labels)
            loss.backward()
            return loss

        for _ in range(10):
            steps.step(closure)
        return [parameter.clone() for parameter in dense.parameters()]

    yield "LSTM and its gradients", of_lstm
    yield "batch norm, pooling and their gradients", of_norm
    yield "10 steps of SGD", lambda: trained(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)
    yield "10 steps of Adam", lambda: trained(torch.optim.Adam, lr=0.01)
    yield "10 steps of RMSprop", lambda: trained(torch.optim.RMSprop, lr=0.01)
    yield "10 steps of L-BFGS", lambda: trained(torch.optim.LBFGS, lr=0.5, max_iter=4)


def _numpy(rng: np.random.Generator) -> Iterator[tuple[str, Callable]]:
    yield (
        "NumPy random numbers",
        lambda: [rng.normal(size=999), rng.gamma(0.7, size=99), rng.permutation(999), rng.chisquare(3, size=99)],
    )
    for short in ("float32", "float64"):
        a = np.random.default_rng(16).normal(size=(45, 45)).astype(short)
        symmetric = a @ a.T + 9 * np.eye(45, dtype=short)
        x = np.abs(a.ravel()) % 0.98 + 0.01
        yield f"NumPy functions {short}", lambda x=x: [getattr(np, name)(x) for name in FUNCTIONS.split()]
        yield f"NumPy powers {short}", lambda x=x: [x**1.7, np.hypot(x, x[::-1]), np.arctan2(x, x[::-1])]
        yield (
            f"NumPy reductions {short}",
            lambda a=a: [a.sum(), a.mean(0), a.std(1), np.linalg.norm(a), a.cumsum(), np.einsum("ij,ij", a, a)],
        )
        yield f"NumPy products {short}", lambda a=a: [a @ a, a.T @ a, a @ a.T, a @ a[0], a[0] @ a[1]]
        yield (
            f"NumPy linear algebra {short}",
            lambda a=a, s=symmetric: [
                *np.linalg.eigh(s), *np.linalg.svd(a), *np.linalg.qr(a), np.linalg.cholesky(s), np.linalg.solve(s, a)
            ],
        )  # fmt: skip


def jobs(asked: dict) -> Iterator[tuple[str, Callable]]:
    """Yield (name, function) of jobs of ours: the points that one leaves, and the losses it recorded."""
    import h5py

    from lossatlas.specs.registry import Job, resolve

    for name, one in asked.items():

        def made(one=one) -> list:
            output = Path(one["output"])
            output.parent.mkdir(parents=True)
            inputs = {role: tuple(map(Path, files)) for role, files in one["inputs"].items()}
            resolve(one["run"])(Job(one["spec"], inputs, output, output.parent / "state"))
            with h5py.File(output, "r") as file:
                return [file["theta"][:], file["buffers"][:], file["table/train_loss"][:], file["fingerprint/loss"][:]]

        yield name, made


def main() -> None:
    """Print the digest of everything that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="operations whose name holds this text")
    parser.add_argument("--jobs", type=Path, help="JSON file of jobs")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for name, compute in operations():
        if given.only in name:
            print(name, digest(compute()), flush=True)
    if given.jobs:
        for name, compute in jobs(json.loads(given.jobs.read_text())):
            print(name, digest(compute()), flush=True)


if __name__ == "__main__":
    main()
