"""How many examples are evaluated at once, and how much memory is free.

On a GPU as many examples as its memory takes, and half as many where that ends.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from lossatlas.errors import LossatlasError

log = logging.getLogger(__name__)

T = TypeVar("T")

SHARE = 1 / 8
"""Of a GPU's memory, for what layers hand on: a Hessian product keeps some three times that, and jobs share a GPU."""

INDEXED = 2**31 - 1
"""Numbers of a tensor that CUDA's libraries can count."""


def at_once(least: int, model: nn.Module, x: Tensor, inputs: Callable[[Tensor], Tensor] | None = None) -> int:
    """Return how many examples are evaluated at once: ``least`` on the CPU, whose cache takes no more.

    On a GPU, where few examples are calls and no arithmetic, as many as a share of its memory takes, ``least`` or more.
    Its whole memory counts, and not what is free: a job that is resumed on the same model of GPU has the same sums.

    Args:
        least: chunk of the CPU.
        model: the network, on the device of x; left as it is.
        x: examples (n, ...).
        inputs: from examples to what the network takes; as they are by default.
    """
    if x.device.type != "cuda" or not len(x):
        return least
    one = x[:1] if inputs is None else inputs(x[:1])
    handed = [one.numel(), *handed_on(model, one)]
    total = torch.cuda.mem_get_info(x.device)[1]
    return max(least, min(int(SHARE * total / (one.element_size() * sum(handed))), INDEXED // max(handed)))


MACHINE, OWN, GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
"""Where Linux says how much memory is free, which control groups a process is in, and what they may use."""


def free(device: torch.device) -> int:
    """Return how many bytes may still be taken: of a GPU's memory, or of the machine's and the job's share of it.

    The share is that of the process's control groups (SLURM, containers). Nothing is free on systems that do not say.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = MACHINE.read_text().splitlines()
        groups = OWN.read_text().splitlines()
    except OSError:
        return 0
    found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for line in groups:
        _, kinds, path = line.split(":", 2)
        if not kinds:  # the second version of control groups has all kinds in one tree
            found += _left(GROUPS, path, "memory.max", "memory.current")
        elif "memory" in kinds.split(","):
            found += _left(GROUPS / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes")
    return max(min(found, default=0), 0)


def _left(tree: Path, path: str, limit: str, usage: str) -> list[int]:
    """Return what is left of the limits of a control group and of those it lies in, where there are any."""
    found, names = [], Path(path).parts[1:]
    for length in range(len(names) + 1):
        folder = tree.joinpath(*names[:length])
        try:
            most, used = ((folder / name).read_text().strip() for name in (limit, usage))
        except OSError:
            continue
        if most != "max":
            found.append(int(most) - int(used))
    return found


@torch.no_grad()
def handed_on(model: nn.Module, x: Tensor) -> list[int]:
    """Return how many numbers each layer of a network hands on for one example (1, ...)."""
    found: list[int] = []

    def count(layer: nn.Module, given: object, result: object) -> None:
        output = result[0] if isinstance(result, tuple) else result  # a recurrent layer gives its last state as well
        if isinstance(output, Tensor):
            found.append(output.numel())

    modes = {layer: layer.training for layer in model.modules()}
    hooks = [layer.register_forward_hook(count) for layer in modes if not list(layer.children())]
    try:
        model.eval()
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
        for layer, training in modes.items():
            layer.training = training
    return found


class Fits:
    """The number of examples (or points) that are evaluated at once.

    It begins with the chunk that a spec names or a file's constant says, and is halved where CUDA runs out of memory.
    What is summed over a chunk stays summed over that chunk, so losses keep their bits as far as each example's do not
    depend on its neighbours; sums of gradients change by rounding. No hash knows of it.

    Attributes:
        size: how many at once, from now on.
    """

    def __init__(self, size: int, fixed: str = "") -> None:
        """Begin with a size.

        Args:
            size: how many.
            fixed: why fewer would be another function; "" = they would not.
        """
        self.size, self.fixed = size, fixed

    def run(self, work: Callable[[int], T]) -> T:
        """Return ``work(size)``, begun anew with half the size each time that memory ends.

        Raises:
            LossatlasError: one alone does not fit, or fewer would be another function.
        """
        while True:
            try:
                return work(self.size)
            except torch.OutOfMemoryError as error:
                said = str(error).partition(". ")[0]
            self._halve(said)  # outside of the handler, whose traceback holds on to what is to be freed

    def _halve(self, said: str) -> None:
        if self.size == 1 or self.fixed:
            why = self.fixed or "one alone does not fit"
            raise LossatlasError(
                f"the GPU's memory does not take {self.size} examples at once ({said}), and {why}: use a GPU with more "
                "memory, or nothing else on this one"
            )
        torch.cuda.empty_cache()
        log.warning("out of GPU memory: %d at once from here on, in place of %d", self.size // 2, self.size)
        self.size //= 2
