"""Peak memory of the probes of one's own network, in multiples of its weights; run as a process of its own.

    python peak.py LAYERS WIDTH [probe ...]   prints JSON: weights, probe -> multiples, and the process's whole peak

Each probe's peak is what the process holds at most (VmHWM, set back before) beyond what it held before (VmRSS). The
process starts itself again with a C library that gives freed memory back at once: it keeps up to 64 MB otherwise.
"""

import ctypes
import gc
import json
import os
import resource
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import lossatlas as la
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.planes import curvature

EXAMPLES = 4
"""Few: what is measured are the weights, not the activations."""


def network(layers: int, width: int) -> nn.Module:
    """Return equal square layers, so that one tensor is a small part of the weights."""
    found: list[nn.Module] = []
    for _ in range(layers):
        found += [nn.Linear(width, width, bias=False), nn.Tanh()]
    return nn.Sequential(*found, nn.Linear(width, 3))


def held(name: str) -> int:
    """Return VmRSS or VmHWM in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(name)


def peak(work) -> int:
    """Return the bytes that a piece of work holds at most beyond what was held before."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    result = work()
    found = held("VmHWM") - before
    del result
    return found


def main(layers: int, width: int, wanted: list[str]) -> None:
    torch.set_num_threads(1)
    x, y = torch.randn(EXAMPLES, width), torch.arange(EXAMPLES) % 3
    tiny = la.load(network(1, 8), data=(torch.randn(EXAMPLES, 8), y), precision="float32")
    model = network(layers, width)
    net = la.load(model, data=(x, y))
    folder = Path(tempfile.mkdtemp())
    torch.save(model.state_dict(), folder / "a.pt")
    torch.save({name: value.bfloat16() for name, value in model.state_dict().items()}, folder / "half.pt")
    del model
    other = net.at(folder / "a.pt")
    landscape, theta = net.landscape, net.theta
    v = torch.randn_like(theta)
    few = {"examples": EXAMPLES, "progress": False}

    def ends(at):
        one = at.landscape
        start = curvature.starting_vector(one.dim, 0, one.device, one.dtype)
        return curvature.extremes(curvature.hessian_at(one, at.theta), start, 1e-9, 6, one.dtype)

    probes = {
        "load": lambda n: la.load(network(layers, width), data=(x, y)) if n is net else None,
        "load from a file": lambda n: (
            la.load(lambda: network(layers, width), folder / "a.pt", data=(x, y)) if n is net else None
        ),
        "load from bfloat16": lambda n: (
            la.load(lambda: network(layers, width), folder / "half.pt", data=(x, y)) if n is net else None
        ),
        "at": lambda n: n.at(folder / "a.pt") if n is net else None,
        "loss": lambda n: n.landscape.loss(n.theta),
        "gradient": lambda n: n.landscape.grad(n.theta),
        "hvp": lambda n: n.landscape.hvp(n.theta, v if n is net else n.theta),
        "direction": lambda n: normalise(gaussian(n.layout, 0), n.theta, n.layout),
        "Lanczos": ends,
        "line": lambda n: n.line(grid=5, check=False, **few),
        "line to another": lambda n: n.line(other if n is net else n, grid=5, check=False, **few),
        "surface": lambda n: n.surface(grid=3, check=False, **few),
        "surface, checked": lambda n: n.surface(grid=3, **few),
        "hessian": lambda n: n.hessian(trace=2, density=(1, 4), most=4, check=False, **few),
        "hessian, checked": lambda n: n.hessian(trace=2, density=(1, 4), most=4, **few),
    }
    found = {}
    for name in wanted or probes:
        probes[name](tiny)  # what the first call sets up is no matter of the weights
        found[name] = peak(lambda name=name: probes[name](net)) / (4 * landscape.dim)
    whole = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"weights": landscape.dim, "multiples": found, "whole": whole}))


if __name__ == "__main__":
    at_once = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    if not set(at_once) <= set(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **at_once})
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
