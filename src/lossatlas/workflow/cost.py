"""How long jobs take, before any has run: the one model behind forecasts, requests to a cluster and its table.

A job on networks takes a start and whichever is longest of its arithmetic over a rate, its traffic of memory over a
bandwidth, and its calls, one after the other, times a latency: a roofline with a floor. Rate, bandwidth and latency are
those of a kind of job on a device (``speeds.json``), fitted to finished jobs where there are some
(:mod:`lossatlas.workflow.fit`). What the jobs of a run really take corrects a forecast as they finish
(`lossatlas.workflow.pace`).
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from lossatlas.errors import LossatlasError
from lossatlas.specs.artefact import Artefact
from lossatlas.specs.registry import Work
from lossatlas.study import subjects
from lossatlas.train.spec import sized

SPEEDS = Path(__file__).with_name("speeds.json")
"""Rates, bandwidths and latencies by device and kind, and what they stand on; LOSSATLAS_SPEEDS names another file."""

CPU, GPU = "cpu", "gpu"
"""One core; one GPU with the core that feeds it."""

START_SECONDS = 2.0
"""Start of Python, and imports, of any job."""

NETWORK_SECONDS = {CPU: 3.5, GPU: 20.0}
"""Start of torch, and reading the data; on a GPU its context and kernels from a cold shared file system as well (an
assumption)."""

PASSES = 3
"""Calls a layer makes in a step: forward, backward, update. A point that is only evaluated makes one."""

TOUCHES = 4
"""Times a number that a layer hands on is written or read in a pass: by it, a norm, an activation, the next layer."""

WEIGHT_TOUCHES = 8
"""Times a weight is read or written in a step: forward, backward, its gradient, the optimiser's two averages."""

MATRIX_BYTES = 4e7
"""Bytes of distances, kernels and operators that an embedding works through in a second."""

GRAM_SHARE = 0.2
"""A Gram matrix's time over that of its counted arithmetic and reading."""

TYPICAL = {
    "data": 5.0,
    "gather": 0.2,
    "history": 0.1,
    "embed": 2.5,
    "scores": 8.0,
    "shares": 3.0,
    "separate": 2.0,
    "figure": 2.5,
    "animate": 7.0,
    "gallery": 15.0,
    "own_gallery": 3.0,
}
"""Seconds of rules without networks, start not included; any other takes one."""


@dataclass(frozen=True)
class Demand:
    """What a job on networks asks of a device.

    Attributes:
        flops: floating-point operations.
        bytes: read from and written to its memory.
        calls: of one layer in one pass, each after the one before.
    """

    flops: float
    bytes: float
    calls: float


@dataclass(frozen=True)
class Speed:
    """What a device does for a kind of job.

    Attributes:
        flops: operations a second.
        bytes: a second.
        call: seconds of a call, however small.
    """

    flops: float
    bytes: float
    call: float

    def seconds(self, demand: Demand) -> float:
        """Return the seconds of a job without its start: the longest of its three parts."""
        return max(demand.flops / self.flops, demand.bytes / self.bytes, demand.calls * self.call)


PRECISION = {"float64": 0.5, "tf32": 3.0, "bfloat16": 5.0}
"""Rate on a GPU over that of float32, where a job's precision is another: an assumption, below what data sheets say."""


def has_gpu() -> bool:
    """Tell whether jobs of this machine would use a GPU, without loading torch."""
    return Path("/proc/driver/nvidia/gpus").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


@cache
def _rules() -> dict[str, bool]:
    return {step.rule: step.gpu for step in subjects.steps().values()}


def on_networks(rule: str) -> bool:
    """Tell whether a rule computes on networks."""
    return _rules().get(rule, False)


@cache
def work(made: Artefact) -> Work:
    """Return what making an artefact computes."""
    return subjects.steps()[made.kind].work(made)


def demand(made: Artefact) -> Demand:
    """Return what a job on networks asks of a device."""
    return demanded(work(made), made)


def demanded(counted: Work, made: Artefact) -> Demand:
    """Return the demand of counted work on the network of an artefact; without data (a closed form) it has none."""
    weights = 4.0 * counted.parameters * (WEIGHT_TOUCHES * counted.steps + counted.rows)
    handed = 0.0
    if made.inputs.get("data"):
        net = sized(made)[0]
        handed = 4.0 * TOUCHES * net.outputs * counted.flops / net.flops if net.flops else 0.0
    return Demand(counted.flops, weights + handed, counted.layers * (PASSES * counted.steps + counted.rows))


@cache
def speeds(file: Path) -> dict[str, dict[str, Speed]]:
    """Return device -> kind -> speed of a file; kind "" is for kinds that the file does not name.

    Raises:
        LossatlasError: the file is not one that ``gpu_hours --measured`` has written.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found = {device: {kind: Speed(**one) for kind, one in content[device].items()} for device in (CPU, GPU)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LossatlasError(
            f"{file}: got {type(error).__name__} ({error}), expected speeds as "
            "`python -m lossatlas.workflow.gpu_hours --measured` prints them"
        ) from None
    for device, kinds in found.items():
        for kind, one in kinds.items():
            for name, value in vars(one).items():
                if not (isinstance(value, int | float) and 0 < value < math.inf):
                    raise LossatlasError(f"{file}: {device}.{kind}.{name}: got {value!r}, expected a number above 0")
        if "" not in kinds:
            raise LossatlasError(f'{file}: {device}: got no entry "", expected one for kinds that are not named')
    return found


def about(file: Path) -> dict[str, str]:
    """Return device -> what its speeds in a file stand on."""
    said = json.loads(file.read_text(encoding="utf-8")).get("about", {})
    return {device: str(said.get(device, "unknown")) for device in (CPU, GPU)}


def speeds_file() -> Path:
    """Return the file of speeds in force."""
    return Path(os.environ.get("LOSSATLAS_SPEEDS") or SPEEDS)


def network_seconds(made: Artefact, device: str, counted: Work | None = None) -> float:
    """Return the seconds of a job on networks, start included.

    Args:
        made: its artefact.
        device: ``cpu`` (one core) or ``gpu``.
        counted: its work, where that is known already.
    """
    asked = demanded(counted or work(made), made)
    return START_SECONDS + NETWORK_SECONDS[device] + speed(made, device).seconds(asked)


def speed(made: Artefact, device: str) -> Speed:
    """Return what a device does for a job on networks, in the precision that it computes in."""
    kinds = speeds(speeds_file())[device]
    found = kinds.get(made.kind, kinds[""])
    if device == GPU:
        found = replace(found, flops=found.flops * PRECISION.get(precision(made.spec), 1.0))
    return found


def filled(made: Artefact) -> float:
    """Return the share of a GPU's time in which it computes for a job, 0 to 1: in the rest it waits for calls."""
    found, asked = speed(made, GPU), demand(made)
    whole = found.seconds(asked)
    return replace(found, call=0.0).seconds(asked) / whole if whole else 0.0


def precision(spec: Mapping[str, Any]) -> str:
    """Return the numbers a job computes in."""
    found = spec.get("precision") or (spec.get("recipe") or {}).get("precision")
    return str(found or "float32")


def seconds(rule: str, made: Artefact | None, gpu: bool) -> float:
    """Return the seconds that a job is expected to take.

    Args:
        rule: that makes it.
        made: the artefact; None for figures, tables and the like.
        gpu: whether jobs on networks have a GPU.
    """
    if made is None:
        return START_SECONDS + TYPICAL.get(rule, 1.0)
    if on_networks(rule):
        return network_seconds(made, GPU if gpu else CPU)
    counted = work(made)
    matrices = counted.memory / MATRIX_BYTES if rule in ("embed", "scores", "separate") else 0.0
    return START_SECONDS + TYPICAL.get(rule, 0.2) + matrices + GRAM_SHARE * counted.seconds
