"""A pretended GPU: the arithmetic is the CPU's, but every tensor knows on which device it would be, and mixing raises.

Inside of :func:`device` torch says that there is a GPU. Tensors carry a device as a tag; an operation on tensors of both
devices raises as CUDA would, and so do ``numpy()`` of a tensor on the GPU and a generator of the other device. What the
host would wait for is counted: reading a number or a boolean mask, copies to the host, copies from it.

Of cuDNN's rules it knows the one that a recurrent layer in eval mode has no backward pass. What it cannot see: TF32,
memory, the order of sums, and what C++ does between two calls from Python. A tensor of which it has seen nothing (made
in C++) goes with either device.

    python tests/tools/pretended.py        the waits of every kind of job that asks for a GPU, and what for
"""

import contextlib
import os
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

TO_HOST, FROM_HOST = "to host", "from host"
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)

WAITS = {
    "item",
    "__float__",
    "__int__",
    "__bool__",
    "__index__",
    "__complex__",
    "tolist",
    "nonzero",
    "argwhere",
    "masked_select",
    "unique",
    "equal",
    "allclose",
    "is_nonzero",
    "bincount",
}
"""Functions whose result decides what the host does next, so that it waits for the GPU."""

OF_FIRST = {
    "copy_",
    "__deepcopy__",
    "__format__",
    "__repr__",
    "__reduce_ex__",
    "_has_compatible_shallow_copy_type",
    "set_",
}
"""Functions that may take tensors of both devices; what they return is where the first is."""


class MixedError(RuntimeError):
    """Tensors of both devices in one operation."""


def known(place):
    """Return one of the two devices for anything that names one."""
    return GPU if torch.device(place).type == "cuda" else CPU


class _Generator(torch._C.Generator):
    """A generator of the CPU that says where it is."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls, "cpu")
        made.place = known(device)
        return made

    @property
    def device(self):
        """Return where it pretends to be."""
        return self.place


class Pretended(TorchFunctionMode):
    """The mode that keeps the tags.

    Attributes:
        waits: what the host waited for -> how often; ``to host`` and ``from host`` are copies.
        places: the same with the line of ours that asked, without copies to the GPU.
    """

    def __init__(self):
        super().__init__()
        self.tags = WeakTensorKeyDictionary()
        self.waits, self.places = Counter(), Counter()

    def wait(self, what):
        """Count a wait, and the line of ours that it is for."""
        frame = sys._getframe(1)
        while frame is not None and f"{os.sep}lossatlas{os.sep}" not in frame.f_code.co_filename:
            frame = frame.f_back
        place = "elsewhere" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        self.waits[what] += 1
        if what != FROM_HOST:
            self.places[f"{what} at {place}"] += 1

    def of(self, tensor):
        """Return a tensor's device, None where nothing is known of it."""
        return self.tags.get(tensor)

    def put(self, made, place):
        """Tag every tensor in a result."""
        if place is not None:
            for tensor in tree_leaves(made):
                if isinstance(tensor, torch.Tensor):
                    self.tags[tensor] = place
        return made

    @property
    def count(self):
        """Return how often the host waited, copies to the GPU apart."""
        return sum(n for what, n in self.waits.items() if what != FROM_HOST)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Do what was asked for, on the CPU, with the rules of two devices."""
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", str(function))
        if name in ("__get__", "__set__"):
            return self._attribute(function, name, args)
        if name in ("to", "cpu", "cuda") and args and isinstance(args[0], torch.Tensor):
            return self._moved(name, args, kwargs)
        if name in ("numpy", "__array__") and self.of(args[0]) == GPU:
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        place = self._place(name, args, kwargs)
        if kwargs.get("device") is not None:
            asked = torch.device(kwargs["device"])
            place = None if asked.type == "meta" else known(asked)
            kwargs["device"] = asked if asked.type == "meta" else CPU
        for generator in (one for one in kwargs.values() if isinstance(one, torch._C.Generator)):
            if known(generator.device) != (place or CPU):
                raise MixedError(f"{name}: expected a generator on {place or CPU}, got one on {generator.device}")
        return self.put(function(*args, **kwargs), place)

    def _attribute(self, function, name, args):
        what, owner = getattr(getattr(function, "__self__", None), "__name__", ""), args[0]
        here = self.of(owner) or CPU
        if name == "__set__":
            if what == "grad" and isinstance(args[1], torch.Tensor) and (self.of(args[1]) or here) != here:
                raise MixedError(f"grad: assigned a gradient on {self.of(args[1])} to a tensor on {here}")
            done = function(*args)
            if what == "data":
                self.put(owner, self.of(args[1]))
            return done
        if what == "device":
            real = function(*args)
            return real if real.type == "meta" else here
        if what == "is_cuda":
            return here == GPU
        return self.put(function(*args), self.of(owner))

    def _moved(self, name, args, kwargs):
        tensor, rest = args[0], list(args[1:])
        before = self.of(tensor)
        after = {"cpu": CPU, "cuda": GPU}.get(name, before)
        if name == "to":
            for i, given in enumerate(rest):
                if isinstance(given, torch.Tensor):
                    after = self.of(given)
                elif isinstance(given, str | torch.device):
                    after, rest[i] = known(given), CPU
            if kwargs.get("device") is not None:
                after, kwargs["device"] = known(kwargs["device"]), CPU
        else:
            rest, kwargs = [], {}
        made = tensor.to(*rest, **kwargs)
        if after != before and before is not None:
            self.wait(TO_HOST if after == CPU else FROM_HOST)
        if after != before and made is tensor:
            made = tensor.detach().clone().requires_grad_(tensor.requires_grad) if tensor.is_leaf else tensor.clone()
        return self.put(made, after)

    def _place(self, name, args, kwargs):
        """Return where the result is; count a wait and refuse what CUDA would."""
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
        plain = [one for one in tensors if not torch._C._functorch.is_functorch_wrapped_tensor(one)]
        places = [(self.of(one), one) for one in plain]
        on = {place for place, one in places if place is not None and (one.ndim or place == GPU)}
        if GPU in {place for place, _ in places} and (name in WAITS or (name == "where" and len(tensors) == 1)):
            self.wait(name)
        if name in ("__getitem__", "__setitem__", "index_put_"):
            indices = [one for one in tree_leaves(args[1]) if isinstance(one, torch.Tensor)]
            here = self.of(args[0])
            if here == CPU and any(self.of(one) == GPU for one in indices):
                raise MixedError(f"{name}: indices on {GPU}, the tensor on {CPU}")
            if here == GPU and any(self.of(one) == CPU and one.ndim for one in indices):
                self.wait(FROM_HOST)
            if here == GPU and any(one.dtype in (torch.bool, torch.uint8) for one in indices):
                self.wait("mask")
            return here
        if name in OF_FIRST:
            return self.of(args[0])
        if len(on) > 1:
            shapes = ", ".join(f"{tuple(one.shape)} on {place}" for place, one in places)
            raise MixedError(f"{name}: expected all tensors to be on the same device, found {shapes}")
        if on:
            return on.pop()
        return CPU if not tensors or (plain and all(place == CPU for place, _ in places)) else None


@contextmanager
def device(memory=0):
    """Pretend in this block that there is a GPU; yield the :class:`Pretended`.

    Args:
        memory: bytes of it; with none, chunks are those of the CPU and so sums have its bits.
    """
    mode = Pretended()
    real = {
        "parameter": torch.nn.Parameter.__new__,
        "generator": torch.Generator,
        "autocast": torch.autocast,
        "from_numpy": torch.from_numpy,
        "load": torch.load,
        "grouping": torch._C._group_tensors_by_device_and_dtype,
        "available": torch.cuda.is_available,
        "name": torch.cuda.get_device_name,
        "memory": torch.cuda.mem_get_info,
    }

    def parameter(cls, data=None, requires_grad=True):
        made = real["parameter"](cls, data, requires_grad)
        return mode.put(made, mode.of(data)) if isinstance(data, torch.Tensor) else made

    class Autocast(real["autocast"]):
        """Autocast of the CPU, whatever device is asked for."""

        def __init__(self, device_type, *args, **kwargs):
            super().__init__("cpu", *args, **kwargs)

    def grouped(*given):
        """Group lists of tensors as optimisers do, under the device that the first of each group pretends to be on."""
        found = real["grouping"](*given)
        return {(mode.of(parts[0][0][0]) or key[0], key[1]): parts for key, parts in found.items()}

    def forward(self, x, *state):
        """Refuse what cuDNN would: its kernels keep what the backward pass needs in train mode only."""
        differentiated = torch.is_grad_enabled() and (
            x.requires_grad or any(p.requires_grad for p in self.parameters())
        )
        if mode.of(x) == GPU and torch.backends.cudnn.enabled and differentiated and not self.training:
            raise RuntimeError("cudnn RNN backward can only be called in training mode")
        return recurrent[type(self)](self, x, *state)

    recurrent = {kind: kind.forward for kind in (torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN)}
    determinism = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch._C._group_tensors_by_device_and_dtype = grouped
    for kind in recurrent:
        kind.forward = forward
    torch.nn.Parameter.__new__ = staticmethod(parameter)
    torch.Generator, torch.autocast = _Generator, Autocast
    torch.from_numpy = lambda array: mode.put(real["from_numpy"](array), CPU)
    torch.load = lambda *args, **kwargs: mode.put(real["load"](*args, **kwargs), CPU)
    torch.cuda.is_available, torch.cuda.get_device_name = (lambda: True), (lambda *_: "a pretended GPU")
    torch.cuda.mem_get_info = lambda *_: (0, memory)
    try:
        with mode:
            yield mode
    finally:
        torch._C._group_tensors_by_device_and_dtype = real["grouping"]
        for kind, own in recurrent.items():
            kind.forward = own
        torch.nn.Parameter.__new__ = staticmethod(real["parameter"])
        torch.Generator, torch.autocast = real["generator"], real["autocast"]
        torch.from_numpy, torch.load = real["from_numpy"], real["load"]
        torch.cuda.is_available, torch.cuda.get_device_name = real["available"], real["name"]
        torch.cuda.mem_get_info = real["memory"]
        torch.use_deterministic_algorithms(determinism[0], warn_only=determinism[1])
        with contextlib.suppress(RuntimeError):
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def main():
    """Make the artefacts of tests/study/frozen/every_kind.yaml that a GPU is asked for; print what was waited for."""
    import shutil
    import tempfile

    import frozen_bits
    from harness import job

    from lossatlas.specs.registry import resolve
    from lossatlas.study import subjects

    def make(made):
        output = folder / made.path
        if not output.exists():
            inputs = {role: [make(part) for part in parts] for role, parts in made.inputs.items()}
            pretend = subjects.steps()[made.kind].gpu
            with device() if pretend else contextlib.nullcontext() as mode:
                resolve(made.run)(job(made.spec, output, folder / "state" / made.id, **inputs))
            if pretend:
                most = ", ".join(f"{count} {what}" for what, count in mode.places.most_common(4))
                print(f"{mode.count:5} {made.kind:10} {made.label}: {most}")
        return output

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copy(frozen_bits.FROZEN / "vectors.npy", folder)
        artefacts = list(frozen_bits.artefacts().values())
        os.chdir(folder)
        for made in artefacts:
            if subjects.steps()[made.kind].gpu:
                make(made)
        os.chdir(Path(__file__).parent)


if __name__ == "__main__":
    main()
