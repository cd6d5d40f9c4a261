"""How long jobs take, before any has run: seconds of a job from what its step counts as its work.

On one core a job on networks takes a start, its arithmetic over a speed, and a time for each layer of each step and for
each row. Of 297 such jobs of the presets quick and laptop on two cores of a server, half took within a factor of 1.3 of
this, nine in ten within 2, all together 11 % more. What the jobs of a run really take corrects it as they finish
(`lossatlas.workflow.pace`).
"""

import os
from pathlib import Path

from lossatlas.specs.artefact import Artefact
from lossatlas.study import subjects
from lossatlas.workflow import resources

START_SECONDS = 2.0
"""Start of Python, and imports, of any job."""

NETWORK_SECONDS = 3.5
"""Start of torch, and reading the data."""

CPU_FLOPS = 40e9
"""Speed of one core on batches of small networks, FLOP/s."""

LAYER_SECONDS = 1.0e-3
"""Of each layer in each step, however small it is: calls of the library forward, backward and of the optimiser."""

ROW_SECONDS = 0.2e-3
"""Of each point that is recorded or evaluated."""

MATRIX_BYTES = 4e7
"""Bytes of distances, kernels and operators that an embedding works through in a second."""

GRAM_SHARE = 3.0
"""A Gram matrix's time over that of its arithmetic and reading alone."""

TYPICAL = {
    "data": 5.0,
    "gather": 0.2,
    "history": 0.1,
    "embed": 2.5,
    "scores": 8.0,
    "separate": 2.0,
    "figure": 2.5,
    "animate": 7.0,
    "gallery": 15.0,
    "own_gallery": 3.0,
}
"""Seconds of rules without networks, start not included; any other takes one."""


def has_gpu() -> bool:
    """Tell whether jobs of this machine would use a GPU, without loading torch."""
    return Path("/proc/driver/nvidia/gpus").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""


def on_networks(rule: str) -> bool:
    """Tell whether a rule computes on networks."""
    return any(step.gpu for step in subjects.steps().values() if step.rule == rule)


def seconds(rule: str, made: Artefact | None, gpu: bool) -> float:
    """Return the seconds that a job is expected to take.

    Args:
        rule: that makes it.
        made: the artefact; None for figures, tables and the like.
        gpu: whether jobs on networks have a GPU.
    """
    if made is None:
        return START_SECONDS + TYPICAL.get(rule, 1.0)
    work = resources.work(made)
    if on_networks(rule):
        if gpu:
            return START_SECONDS + NETWORK_SECONDS + resources.gpu_seconds(made)
        each = work.steps * work.layers * LAYER_SECONDS + work.rows * ROW_SECONDS
        return START_SECONDS + NETWORK_SECONDS + work.flops / CPU_FLOPS + each
    matrices = work.memory / MATRIX_BYTES if rule in ("embed", "scores", "separate") else 0.0
    return START_SECONDS + TYPICAL.get(rule, 0.2) + matrices + GRAM_SHARE * work.seconds
