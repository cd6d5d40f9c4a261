"""Time of a point of a surface, a gradient and a Hessian-vector product, against what the machine can do.

    python benchmarks/surface.py [--pixels 16] [--examples 500] [--repeat 3] [networks ...]

Arithmetic is counted from the specs (lossatlas.models.size; forward 1, gradient 3, Hessian-vector product 9 forward
passes), the limit is the measured rate of a float32 matrix product. Bytes: weights and, layer by layer, inputs and
outputs of convolutions read or written once. Process time of one thread, the best of several repetitions.
"""

import argparse

import torch
from timing import best, matrix_rate

from lossatlas import models
from lossatlas.landscape.landscape import NetworkLandscape, channels_last
from lossatlas.models import spec as catalogue
from lossatlas.models.spec import network
from lossatlas.planes import curvature

NETWORKS = {
    "vgg-9": {"name": "vgg", "depth": 9},
    "vgg-9-quarter": {"name": "vgg", "depth": 9, "width": 0.25},
    "resnet-20": {"name": "resnet", "depth": 20},
    "resnet-56": {"name": "resnet", "depth": 56},
    "resnet-56-half": {"name": "resnet", "depth": 56, "width": 0.5},
}


def touched(model: torch.nn.Module, x: torch.Tensor) -> int:
    """Return the bytes of weights, inputs and outputs of all convolutions and linear layers in a forward pass."""
    total = 0

    def count(layer, inputs, output) -> None:
        nonlocal total
        total += 4 * (layer.weight.numel() + inputs[0].numel() + output.numel())

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, kinds)]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return total


def measure(name: str, pixels: int, examples: int, repeat: int, rate: float) -> None:
    spec, shape = catalogue.resolve(NETWORKS[name]), (3, pixels, pixels)
    model = models.build(spec, shape, 10, 0).eval().to(memory_format=torch.channels_last)
    x = channels_last(torch.randn(examples, *shape))
    landscape = NetworkLandscape(model, x, torch.randint(10, (examples,)), batch_size=250)
    theta, work = landscape.theta(), network(spec, shape, 10).flops * examples
    start = curvature.starting_vector(landscape.dim, 0, theta.device)
    print(f"{name}: D {landscape.dim:,}, {work / 1e9:.2f} GFLOP and {touched(model, x) / 1e6:.0f} MB a forward pass")
    for what, passes, action in (
        ("loss", 1, lambda: landscape.loss(theta)),
        ("gradient", 3, lambda: landscape.grad(theta)),
        ("Hessian-vector product", 9, lambda: landscape.hvp(theta, start)),
    ):
        seconds = best(action, repeat, warm_up=True)
        speed = passes * work / seconds
        print(f"  {what:24} {1e3 * seconds:9.1f} ms, {speed / 1e9:6.1f} GFLOP/s, {100 * speed / rate:5.1f}% of it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), help=", ".join(NETWORKS))
    parser.add_argument("--pixels", type=int, default=16)
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rate = matrix_rate(given.repeat)
    print(
        f"matrix product {rate / 1e9:.0f} GFLOP/s (float32, one thread); {given.examples} images, {given.pixels} pixels"
    )
    for name in given.networks:
        measure(name, given.pixels, given.examples, given.repeat, rate)


if __name__ == "__main__":
    main()
