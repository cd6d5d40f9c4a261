"""The frame every script of the workflow runs in: log, threads, provenance, and one clear line when it fails."""

import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from lossatlas import numerics, preemption
from lossatlas.errors import LossatlasError
from lossatlas.files.disk import denied, say
from lossatlas.files.hdf5 import broken_disk, is_disk_full
from lossatlas.files.machine import versions
from lossatlas.files.provenance import INPUTS, Provenance, commit
from lossatlas.files.record import content_of, read_provenance, write_record
from lossatlas.specs.registry import Inputs, Job, resolve
from lossatlas.workflow import requeue
from lossatlas.workflow.allocator import keep_freed_memory
from lossatlas.workflow.collector import paused
from lossatlas.workflow.exclusive import exclusive

ASKED = ("preset", "studies", "seed", "numerics", "variants", "overrides")
"""Keys of the configuration that decide what is made; every provenance keeps what they said."""


class Frame:
    """A Snakemake job as the library sees it."""

    def __init__(self, snakemake: Any) -> None:
        """Wrap the object Snakemake injects into a script."""
        self._snakemake = snakemake
        self.root = Path(snakemake.scriptdir).resolve().parent.parent
        artefact = snakemake.params.get("artefact")
        product = snakemake.params.get("product")
        about = artefact.describe() if artefact else product or {"kind": snakemake.rule}
        self._artefact = artefact
        self.spec = about.get("spec", {})
        self.study, self.preset = about.get("study", ""), about.get("preset", "")
        self.product_inputs = Inputs(about.get("inputs", {}), about.get("views", {})) if product else None
        threads = _in_force(about.get("numerics", "native"), snakemake.threads)
        asked = {key: snakemake.config[key] for key in ASKED if snakemake.config.get(key)}
        self.provenance = Provenance({**about, "config": asked}, self.root, threads)
        self.state = Path("results/.state") / (f"{artefact.kind}/{artefact.id}" if artefact else snakemake.rule)

    def make(self) -> None:
        """Make the artefact by its step's function."""
        output = Path(next(iter(self._snakemake.output)))
        with paused():
            function = resolve(self._artefact.run)
        _settle(self.provenance.threads)
        self.provenance.begin()
        function(Job(self.spec, self._inputs(), output, self.state, self.provenance, self.root))

    def _inputs(self) -> dict[str, tuple[Path, ...]]:
        """Return role -> files of an artefact's inputs."""
        return {role: tuple(Path(path) for path in self._artefact.paths(role)) for role in self._artefact.inputs}

    def note_inputs(self) -> None:
        """Put the content digests of what the job reads into its provenance, as they are now."""
        if self._artefact:
            files = [path for role in self._inputs().values() for path in role]
        else:
            files = self.product_inputs.files() if self.product_inputs else []
        self.provenance[INPUTS] = {str(path): content_of(path) for path in files}

    def input(self, name: str) -> list[Path]:
        """Return the files of a named input of a rule that makes no artefact."""
        value = self._snakemake.input.get(name, [])
        return [Path(value)] if isinstance(value, str) else [Path(path) for path in value]

    def output(self, name: str) -> Path:
        """Return a named output."""
        return Path(self._snakemake.output[name])

    @property
    def outputs(self) -> dict[str, Path]:
        """Return all named outputs, but for the record, which the frame itself writes."""
        return {name: Path(path) for name, path in self._snakemake.output.items() if name != "record"}

    def write_record(self) -> None:
        """Write the output named ``record``, where the rule has one: provenance and checksums of the other outputs."""
        if "record" in dict(self._snakemake.output.items()):
            write_record(self.output("record"), self.provenance, list(self.outputs.values()))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other job makes the same files; end here if it has made the artefact meanwhile.

        An artefact's path says all it depends on, so another job's is as good; a figure's does not.
        """
        first = str(next(iter(self._snakemake.output)))
        with exclusive(Path("results/.locks") / f"{first.replace(os.sep, '+')}.lock") as waited:
            if waited and self._artefact and all(Path(path).exists() for path in self._snakemake.output):
                logging.info("another job has made it meanwhile")
                logging.info("done")
                sys.exit(0)
            yield

    def complete_manifest(self, manifest: dict) -> dict:
        """Add to the gallery's manifest what only a job knows: commit, versions, seconds of each artefact."""
        for study in manifest["studies"]:
            for entry in study["figures"] + study["tables"]:
                seconds = [
                    read_provenance(Path(made["path"])).get("seconds", 0.0)
                    for made in entry["artefacts"]
                    if Path(made["path"]).exists()
                ]
                entry["seconds"] = sum(seconds)
        return {**manifest, "commit": commit(self.root), "versions": versions()}


def _in_force(wanted: str, threads: int) -> int:
    """Check that portable numerics are in force where they are wanted, and return the number of threads to use.

    Snakemake hands every job its own number of threads in the environment; portable numerics have one.

    Raises:
        LossatlasError: what caps the kernels was not set when this process started.
    """
    for name, value in numerics.CUBLAS.items():
        os.environ.setdefault(name, value)
    if wanted != "portable":
        return threads
    os.environ.update({name: value for name, value in numerics.PORTABLE.items() if name.endswith("_THREADS")})
    threadpool_limits(1)  # of libraries that were loaded before this line, with the number Snakemake had set
    lacking = numerics.missing()
    if lacking:
        raise LossatlasError(
            f"numerics: portable needs {', '.join(lacking)} in the environment before Python starts; start the job by "
            "Snakemake and the repository's Snakefile, which sets them, or export them"
        )
    return 1


def _settle(threads: int) -> None:
    """Give torch, where the step's function brought it along, the rule's threads, and keep the memory it frees.

    Before that function is imported there is no torch to be given anything; the log says what holds afterwards.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.set_num_threads(threads)
    kept = keep_freed_memory()
    logging.info("torch: %d threads; freed memory is %s", torch.get_num_threads(), "kept" if kept else "given back")


def _line(error: Exception) -> str:
    """Return what an error says in one line: HDF5 breaks its own."""
    return " ".join(str(error).splitlines())


def _open(log: Path) -> None:
    """Send the log to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sink = logging.FileHandler(log, mode="w")
    sink.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(sink)
    logging.getLogger().setLevel(logging.INFO)


@contextmanager
def job(snakemake: Any) -> Iterator[Frame]:
    """Run a script: log to the rule's log file, and turn failures into one line and a non-zero exit.

    A :class:`LossatlasError` is printed as it is; a full disk and one that fails say so and what is kept; a file that
    is closed to the present user is named with its owner; anything else is a bug and keeps its traceback, on the screen
    and in the log. One that is asked to end (SIGTERM), or whose time under SLURM is nearly up, says so,
    commits and ends with :data:`lossatlas.preemption.EXIT`.
    """
    log = Path(snakemake.log[0])
    logging.raiseExceptions = False  # on a broken disk every line of the log would print a traceback
    logging.getLogger().addHandler(logging.NullHandler())  # and without a log it would go to the screen
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    os.environ.setdefault("MPLBACKEND", "Agg")
    preemption.listen(requeue.early())
    try:
        _open(log)
        this = Frame(snakemake)
        how = "forked" if "lossatlas.workflow.forkclient" in sys.modules else "a process of its own"
        logging.info("start %s: %s", snakemake.rule, how)
        with this.alone():
            this.note_inputs()
            yield this
            this.write_record()
        logging.info("done: %.1f s of CPU", time.process_time())
    except preemption.Preempted:
        why = "its time is nearly up" if preemption.time_was_up() else "asked to end (SIGTERM)"
        say(f"{next(iter(snakemake.output))}: {why}; the same command goes on from what is kept")
        if preemption.time_was_up():
            requeue.again()
        raise
    except Exception as error:
        logging.exception("failed")
        if isinstance(error, LossatlasError):
            message = _line(error)
        elif is_disk_full(error):
            message = (
                f"the disk is full while writing {', '.join(map(str, snakemake.output))}; free space and run the same "
                "command again: finished artefacts and whole epochs are kept"
            )
        elif said := broken_disk(error):
            message = (
                f"the disk failed while making {', '.join(map(str, snakemake.output))} ({said}); when it works again, "
                f"run the same command again: finished artefacts and whole epochs are kept (full log: {log})"
            )
        elif type(error).__name__ == "OutOfMemoryError":  # torch's, which may not be here
            message = (
                f"the GPU's memory does not hold one minibatch of {next(iter(snakemake.output))}: use a GPU with more "
                f"memory (`gpu_model` in slurm/config.yaml), or nothing else on this one (full log: {log})"
            )
        elif isinstance(error, PermissionError) and isinstance(error.filename, str | bytes):
            message = str(denied(error))
        else:
            traceback.print_exc()
            message = f"{type(error).__name__}: {_line(error)} (full log: {log})"
        print(f"lossatlas: error: {message}", file=sys.stderr, flush=True)
        sys.exit(1)
