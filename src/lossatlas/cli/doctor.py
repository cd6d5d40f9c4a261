"""``lossatlas doctor``: what this environment has and lacks, and what to do about it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, entry_points, requires, version
from pathlib import Path
from typing import Literal

import typer

from lossatlas import __version__, places
from lossatlas.errors import LossatlasError

LEAST_GB, FEW_GB = 1.0, 5.0
"""Free space below which a run fails soon, and below which a study may fail."""


@dataclass(frozen=True)
class Finding:
    """One line.

    Attributes:
        state: ``ok``; ``lacks``: something optional is not there; ``bad``: lossatlas does not work as it is.
        what: looked at.
        text: found.
        remedy: what to do.
    """

    state: Literal["ok", "lacks", "bad"]
    what: str
    text: str
    remedy: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor() -> int:
    """Look at this environment: versions, GPU, data, disk, ffmpeg, the workflow; say what to do.

    Exit status 1 when lossatlas cannot work as it is; what is only missing for more has a line that says so.

    \b
    Examples:
      lossatlas doctor
    """
    findings = [finding for look in LOOKS for finding in look()]
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.state:5}  {finding.what:{width}}  {finding.text}")
        if finding.remedy:
            print(f"{'':5}  {'':{width}}  -> {finding.remedy}")
    bad = sum(finding.state == "bad" for finding in findings)
    print(f"{bad} of {len(findings)} bad" if bad else "lossatlas works here")
    return int(bad > 0)


def interpreter() -> Iterator[Finding]:
    """Look at Python, and at where lossatlas is."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("ok", "python", f"{python}, {sys.executable}")
    yield Finding("ok", "lossatlas", f"{__version__}, {places.PACKAGE}")


def packages() -> Iterator[Finding]:
    """Look at the packages that lossatlas asks for, and at those of its extras."""
    from packaging.requirements import Requirement

    try:
        asked = [Requirement(line) for line in requires("lossatlas") or []]
    except PackageNotFoundError:
        yield Finding("bad", "packages", "lossatlas is not installed", "pip install lossatlas, or `make setup`")
        return
    core = [one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    lacking = [text for one in core if (text := _lacks(one))]
    if lacking:
        command = " ".join(f"'{one.name}{one.specifier}'" for one in core if _lacks(one))
        yield Finding("bad", "packages", "; ".join(lacking), f"pip install {command}")
    else:
        yield Finding("ok", "packages", ", ".join(f"{one.name} {version(one.name)}" for one in core))
    for extra in ("embed", "3d", "workflow"):
        own = [
            one
            for one in asked
            if one.name != "lossatlas" and one.marker is not None and one.marker.evaluate({"extra": extra})
            if one not in core
        ]
        lacking = [text for one in own if (text := _lacks(one))]
        remedy = f"pip install 'lossatlas[{extra}]'" if lacking else ""
        text = "; ".join(lacking) if lacking else f"{len(own)} packages"
        yield Finding("lacks" if lacking else "ok", f"extra {extra}", text, remedy)


def _lacks(asked: "object") -> str:
    name, specifier = asked.name, asked.specifier  # type: ignore[attr-defined]
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed"
    return "" if specifier.contains(found, prereleases=True) else f"{name} {found}, expected {specifier}"


def machine() -> Iterator[Finding]:
    """Look at processors, memory and GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = _memory()
    yield Finding("ok", "machine", f"{cores} cores" + (f", {memory:.0f} GB memory" if memory else ""))
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding(
            "bad", "torch", f"does not load: {str(error).splitlines()[0]}", "pip install --force-reinstall torch"
        )
        return
    if torch.cuda.is_available():
        yield Finding("ok", "gpu", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "gpu", "Apple's (--device mps)")
    elif shutil.which("nvidia-smi") and not torch.version.cuda:
        yield Finding("lacks", "gpu", "there is one, this build of torch is for CPUs", "install torch's CUDA build")
    else:
        yield Finding("ok", "gpu", "none; everything runs on CPUs")
    if importlib.util.find_spec("torchvision"):
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError, OSError) as error:
            text = f"does not load beside torch {torch.__version__}: {str(error).splitlines()[0]}"
            yield Finding("lacks", "torchvision", text, "install the torchvision that goes with this torch")
        else:
            yield Finding("ok", "torchvision", f"{version('torchvision')} loads")


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError, AttributeError):
        return None


def disk() -> Iterator[Finding]:
    """Look at the disk of the working directory."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free / 1e9
    if not os.access(here, os.W_OK):
        yield Finding("bad", "disk", f"{here} cannot be written to", "change to a folder of yours")
    elif free < LEAST_GB:
        yield Finding("bad", "disk", f"{free:.1f} GB free in {here}", "free some; results of a study take about 1 GB")
    elif free < FEW_GB:
        yield Finding("lacks", "disk", f"{free:.1f} GB free in {here}", "enough for a look, not for every study")
    else:
        yield Finding("ok", "disk", f"{free:.0f} GB free in {here}")


def data() -> Iterator[Finding]:
    """Look at the folders of data sets."""
    given = os.environ.get("LOSSATLAS_DATA", "")
    if not given:
        yield Finding(
            "lacks",
            "data",
            "LOSSATLAS_DATA is not set",
            "name the folder of MNIST and CIFAR-10 in it for preset laptop",
        )
        return
    for folder in map(Path, given.split(os.pathsep)):
        if folder.is_dir():
            yield Finding("ok", "data", f"{folder}: {', '.join(sorted(os.listdir(folder))[:8]) or 'empty'}")
        else:
            yield Finding("bad", "data", f"LOSSATLAS_DATA names {folder}, which is no folder", "correct it")


def film() -> Iterator[Finding]:
    """Look for what encodes animations."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        program = str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        program = shutil.which("ffmpeg") or ""
    if not program:
        yield Finding("lacks", "ffmpeg", "none: no animations", "pip install imageio-ffmpeg")
        return
    first = subprocess.run([program, "-version"], capture_output=True, text=True).stdout.split("\n")[0]
    found = re.search(r"version (\S+)", first)
    yield Finding("ok", "ffmpeg", found[1] if found else program)


def workflow() -> Iterator[Finding]:
    """Look at the workflow's files, Snakemake, and its command."""
    try:
        yield Finding("ok", "workflow", str(places.workflow()))
    except LossatlasError as error:
        yield Finding("bad", "workflow", str(error).partition("; ")[0], str(error).partition("; ")[2])
    if importlib.util.find_spec("snakemake") is None:
        yield Finding("lacks", "snakemake", "not installed: no studies", "pip install 'lossatlas[workflow]'")
        return
    others = {one.dist.name for one in entry_points(group="console_scripts", name="snakemake") if one.dist} - {
        "snakemake"
    }
    own = Path(sys.executable).with_name("snakemake")
    if others or (own.is_file() and "snakemake.cli" not in own.read_text(errors="replace")):
        text = f"its command is that of {', '.join(sorted(others)) or 'another program'}"
        yield Finding("bad", "snakemake", text, "`make setup`, or pip install --force-reinstall --no-deps snakemake")
    else:
        yield Finding("ok", "snakemake", distribution("snakemake").version)
    for program, why in (("git", "records have no commit"), ("dvc", "no stored results can be pulled")):
        found = shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))
        yield (
            Finding("ok", program, found)
            if found
            else Finding("lacks", program, f"not there: {why}", f"install {program}")
        )


LOOKS: tuple[Callable[[], Iterator[Finding]], ...] = (interpreter, packages, machine, disk, data, film, workflow)
"""In the order they are printed."""
