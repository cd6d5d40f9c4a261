"""The arithmetic that a recipe's or a probe's ``precision`` names, put in force for the process.

``float32`` is IEEE's: libraries may round the factors of a product to fewer bits (TF32 on GPUs, bfloat16 or TF32 on
CPUs with matrix units), and torch lets cuDNN do so unless it is told not to. ``tf32`` lets them, on GPUs. ``bfloat16``
computes products by autocast and everything else in float32; ``float64`` is a matter of the tensors' type alone.
"""

import os
from typing import Any

import torch

from lossatlas.errors import LossatlasError

TF32_SINCE = (8, 0)
"""Compute capability from which on NVIDIA's GPUs have TF32 (Ampere)."""

GIVEN = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_GPUS_ON_NODE", "SLURM_SHARDS_ON_NODE")
"""Variables of which SLURM sets one or more in a job that it gave a GPU."""

_BACKENDS: Any = torch.backends
"""Of attributes that mypy does not know."""


def device_for(precision: str) -> torch.device:
    """Return the device of a job, the first GPU or the CPU where there is none, with a precision in force.

    Raises:
        LossatlasError: the device has no such arithmetic: float32 in its place would not be what was asked for; or
            SLURM gave the job a GPU that torch cannot use: it would go on for days on the CPU.
    """
    found = torch.cuda.is_available()
    if not found and os.environ.get("CUDA_VISIBLE_DEVICES") != "" and any(os.environ.get(name) for name in GIVEN):
        raise LossatlasError(
            f"SLURM gave this job a GPU, and torch {torch.__version__} finds none that it can use: run `nvidia-smi` "
            "there (a driver older than torch's CUDA?), or set CUDA_VISIBLE_DEVICES= to compute on the CPU"
        )
    device = torch.device("cuda" if found else "cpu")
    put_in_force(precision, device)
    return device


def put_in_force(precision: str, device: torch.device) -> None:
    """Tell torch how exactly products of float32 numbers are computed from here on; the last call holds.

    On a GPU also that the same computation has the same bits again: deterministic algorithms where there are any
    (torch warns of the others), and cuDNN's chosen by rule instead of by time. cuBLAS needs
    ``lossatlas.numerics.CUBLAS`` in the environment as well, which every job sets before torch is there.

    Args:
        precision: ``float32``, ``tf32``, ``bfloat16`` or ``float64``.
        device: of the job.

    Raises:
        LossatlasError: ``tf32`` where there is none.
    """
    if precision == "tf32" and not _has_tf32(device):
        raise LossatlasError(
            f"recipe.precision: tf32 is arithmetic of NVIDIA GPUs since Ampere, and this job runs on {device.type} "
            "without it; write float32, or run it where there is such a GPU"
        )
    round_factors(precision == "tf32")
    backends = _BACKENDS
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
        backends.cudnn.deterministic, backends.cudnn.benchmark = True, False


def round_factors(loose: bool) -> None:
    """Let GPUs round the factors of float32 products to TF32, or not; CPUs never. It holds for the process."""
    backends = _BACKENDS
    # Both of torch's interfaces, and the general setting below the newer: where they disagree, torch's own context
    # managers raise.
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = loose
    for place in (backends, backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn):
        place.fp32_precision = "tf32" if loose else "ieee"
    for place in (backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn):
        place.fp32_precision = "ieee"


def autocast_type(precision: str) -> torch.dtype | None:
    """Return the autocast type of a recipe's precision, or None where everything has one type."""
    return torch.bfloat16 if precision == "bfloat16" else None


def _has_tf32(device: torch.device) -> bool:
    """Whether products on a device may be in TF32: its hardware can, and NVIDIA's own switch does not forbid it."""
    allowed = os.environ.get("NVIDIA_TF32_OVERRIDE") != "0"
    return device.type == "cuda" and allowed and torch.cuda.get_device_capability(device) >= TF32_SINCE
