"""Do to a job what disks do: fail the k-th thing that it asks of the disk or of HDF5, for every k, and look at the end.

A server (:class:`Server`) imports lossatlas and torch once, under the shim of ``fault_shim.c``, and forks a child for
every run of a job; the child runs the script that Snakemake runs, with an object in place of Snakemake's. So a run
costs its own milliseconds. :func:`injure` is one case: a run in which one operation fails, and a clean one after it.

    python tests/tools/faults.py [--each N] [JOB ...]      every case of these jobs (N of each fault), or of all
"""

import argparse
import contextlib
import ctypes
import errno
import gc
import hashlib
import json
import os
import re
import runpy
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).with_name("fault_shim.c")
STUDY = ROOT / "tests" / "faults" / "faulty.yaml"

JOBS = (
    "data/iris-package",
    "data/digits-package",
    "data/swissroll-generated",
    "runs/mlp-iris",
    "runs/resnet-8-0.125-digits",
    "runs/binary_mlp-swissroll",
    "histories/mlp-iris",
    "sweeps/mlp-iris",
    "sweeps/binary_mlp-swissroll",
    "retrains/resnet-8-0.125-digits",
    "clouds/jumps-resnet-8-0.125-digits",
    "clouds/best-mlp-iris",
    "clouds/union-mlp-iris",
    "clouds/traversals-mlp-iris",
    "aligned/mlp-iris",
    "shares/jumps-resnet-8-0.125-digits",
    "clouds/paths-resnet-8-0.125-digits",
    "levelsets/mlp-iris",
    "synthetic/tree-3x6",
    "imports/mlp-iris",
    "grams/tree-3x6",
    "grams/paths-resnet-8-0.125-digits",
    "grams/traversals-mlp-iris",
    "grams/union-mlp-iris",
    "grams/jumps-resnet-8-0.125-digits",
    "scores/tree-3x6",
    "tiles/resnet-8-0.125-digits",
    "grids/resnet-8-0.125-digits",
    "descents/resnet-8-0.125-digits",
    "surfaces/mlp-iris",
    "averages/mlp-iris",
    "paths/mlp-iris",
    "separations/union-mlp-iris",
    "triangles/mlp-iris",
    "hessians/mlp-iris",
    "trusts/resnet-8-0.125-digits",
    "masses/binary_mlp-swissroll",
    "volumes/binary_mlp-swissroll",
    "slices/binary_mlp-swissroll",
    "boundaries/binary_mlp-swissroll",
    "embeddings/pca-euclidean",
    "figures/losses",
    "figures/relief",
    "tables/accuracies",
    "claims",
    "scorecard",
    "statements",
    "index",
    "gallery",
)
"""One job of every kind in the study, and of some kinds several."""

CHANGES, READS, HDF5 = 1, 2, 4
FAIL, KILL_BEFORE, KILL_AFTER, SHORT, TORN_KILL = 1, 2, 3, 4, 5
OPERATIONS = (
    "",
    "open",
    "write",
    "fsync",
    "rename",
    "unlink",
    "rmdir",
    "mkdir",
    "truncate",
    "link",
    "symlink",
    "close",
    "flock",
    "sync",
    "open to read",
    "read",
    "HDF5",
)
EXIT = 75
"""Exit status of a job that was asked to end."""

LISTENS = 8
"""Calls of functions of ours before a job's frame takes a SIGTERM as a request; there it ends the process itself."""

PATIENCE = 900
"""Seconds after which a job is taken to hang, also on a machine that does other work."""


@dataclass(frozen=True)
class Fault:
    """What happens to the k-th operation.

    Attributes:
        classes: of operations that are counted.
        kind: of failure.
        number: errno.
        only: operations it makes sense for; () = all of the classes.
        sticky: operations that fail in the same way from then on.
    """

    classes: int
    kind: int
    number: int = 0
    only: tuple[str, ...] = ()
    sticky: tuple[str, ...] = ()


FAULTS = {
    "ENOSPC": Fault(CHANGES, FAIL, errno.ENOSPC),
    "EIO": Fault(CHANGES, FAIL, errno.EIO),
    "kill": Fault(CHANGES, KILL_BEFORE),
    "torn": Fault(CHANGES, TORN_KILL, only=("write",)),
    "short": Fault(CHANGES, SHORT, only=("write",)),
    "full": Fault(
        CHANGES, FAIL, errno.ENOSPC, ("open", "write", "mkdir"), ("open", "write", "mkdir", "link", "symlink")
    ),
    "read-only": Fault(CHANGES, FAIL, errno.EROFS, sticky=OPERATIONS[1:14]),
    "read EIO": Fault(READS, FAIL, errno.EIO),
    "HDF5 EIO": Fault(HDF5, FAIL, errno.EIO),
    "HDF5 ENOSPC": Fault(HDF5, FAIL, errno.ENOSPC),
}
"""``full`` and ``read-only`` last: a disk without a free byte, and one that the kernel has stopped writing to."""


def missing():
    """Return why no shim can be made here, or nothing."""
    if sys.platform != "linux":
        return "LD_PRELOAD and /proc are needed: Linux only"
    return "" if shutil.which("cc") else "no C compiler `cc`; apt-get install gcc"


def memory():
    """Return a folder in memory, where files cost nothing; None = where there is none."""
    found = Path("/dev/shm")
    return found if found.is_dir() and os.access(found, os.W_OK) else None


def compile_shim(folder):
    """Compile the shim into a folder; return it."""
    made = Path(folder) / "fault_shim.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(made), str(SHIM), "-ldl"], check=True)
    return made


# ---------------------------------------------------------------------------------------------------------------------
# the log of the shim

_RECORD = struct.Struct("=IIqqQQqqIIII")


@dataclass(frozen=True)
class Operation:
    """One operation that a job performed.

    Attributes:
        number: from 1, as the shim counts.
        name: of :data:`OPERATIONS`.
        path, second: files; of a rename old and new name.
        inode, other: of the file; of the one that a rename replaced (0 = none).
        offset, size: of a write; offset alone: new size of a truncated file.
        flags: of an open: 1 it made the file, 2 it emptied it.
        data: written.
    """

    number: int
    name: str
    path: str
    second: str
    inode: int
    other: int
    offset: int
    size: int
    flags: int
    data: bytes

    @property
    def text(self):
        """Return it in words."""
        return f"{self.name} {self.path}" + (f" -> {self.second}" if self.second else "")


def read_log(path):
    """Return the operations that the shim has noted."""
    raw, at, found = Path(path).read_bytes(), 0, []
    while at < len(raw):
        magic, op, number, _, inode, other, offset, size, flags, *lengths = _RECORD.unpack_from(raw, at)
        assert magic == 0x10551055
        at += _RECORD.size
        parts = []
        for length in lengths:
            parts.append(raw[at : at + length])
            at += length
        names = [part.decode() for part in parts[:2]]
        found.append(Operation(number, OPERATIONS[op], *names, inode, other, offset, size, flags, parts[2]))
    return found


# ---------------------------------------------------------------------------------------------------------------------
# the server's side: jobs as Snakemake hands them to the scripts


class Named(dict):
    """Named files or parameters, as Snakemake has them: iterated over their values."""

    def __iter__(self):
        return iter(self.values())

    def __getattr__(self, name):
        return self[name]


@dataclass(frozen=True)
class Given:
    """What Snakemake injects into a script."""

    scriptdir: str
    rule: str
    input: Named
    output: Named
    log: list
    params: Named
    threads: int
    config: dict


class Workshop:
    """The jobs of the study, by name."""

    def __init__(self, study):
        """Plan the study."""
        from lossatlas.specs.base import Spec
        from lossatlas.study import subjects
        from lossatlas.study.config import load
        from lossatlas.study.plan import Plan
        from lossatlas.workflow.wiring import Wiring

        raw = {"preset": "quick", "studies": [str(study)], "seed": 0, "formats": ["png"]}
        plan = Plan(load(raw, ROOT))
        (study_name,) = plan.studies
        found = plan.studies[study_name]
        wanted = [
            made
            for section, entries in found.study.sections.items()
            for entry in entries
            if section != "embeddings"
            for made in found.made(section, entry, Spec, "")
        ]
        for what, names in (
            ("gram", ("jumps",)),
            ("shares", ("jumps",)),
            ("embedding", ("tree", "pca")),
            ("descent", ("plane",)),
        ):
            wanted += found.get(what, names, "")
        self.artefacts = {}
        for product in plan.products():
            wanted += product.artefacts
        for made in wanted:
            for part in made.ancestry():
                self.artefacts[part.path] = part
        self.config = raw
        self.jobs = {}
        kinds = Counter()
        for path, made in self.artefacts.items():
            name = f"{made.kind}/{made.label}"
            kinds[name] += 1
            rule = subjects.steps()[made.kind].rule
            output = Named(file=path)
            if path.endswith(".csv"):
                output["record"] = path.removesuffix(".csv") + ".json"
            params = Named(artefact=made)
            job = self._given(rule, output, params, f"{rule}/{made.id}")
            self.jobs[name if kinds[name] == 1 else f"{name}/{kinds[name]}"] = ("step.py", job)
        self.made_by = {job.output["file"]: name for name, (_, job) in self.jobs.items()}
        self.needs = {name: self._ancestors([job.params.artefact])[:-1] for name, (_, job) in self.jobs.items()}
        wiring = Wiring(plan, ROOT)
        for section, rule, suffixes in (("figures", "figure", None), ("tables", "table", ("csv",))):
            for product in getattr(found, section).values():
                stem = f"results/{section}/{study_name}/{product.name}"
                formats = suffixes or wiring.formats(product)
                output = Named({kind: f"{stem}.{kind}" for kind in formats}, record=f"{stem}.json")
                params = Named(product=wiring.describe(section, study_name, product.name))
                job = self._given(rule, output, params, f"{rule}/{study_name}/{product.name}")
                self.jobs[f"{section}/{product.name}"] = (f"{rule}.py", job)
                self.needs[f"{section}/{product.name}"] = self._ancestors(product.artefacts)
        stem = f"results/claims/{study_name}"
        names = {"csv": ".csv", "statements": ".statements.csv", "metrics": ".metrics.json", "record": ".json"}
        output = Named({name: f"{stem}{suffix}" for name, suffix in names.items()})
        job = self._given(
            "claims", output, Named(product=wiring.describe("claims", study_name)), f"claims/{study_name}"
        )
        self.jobs["claims"] = ("claims.py", job)
        self.needs["claims"] = self._ancestors(found.claims.artefacts)
        output = Named(csv="results/claims.csv", record="results/claims.json")
        job = self._given("scorecard", output, Named(scorecard=wiring.scorecard()), "scorecard")
        self.jobs["scorecard"] = ("scorecard.py", job)
        output = Named({kind: f"results/scorecard.{kind}" for kind in ("csv", "png", "pdf")})
        output["record"] = "results/scorecard.json"
        job = self._given("statements", output, Named(code=wiring.statements()), "statements")
        self.jobs["statements"] = ("statements.py", job)
        output = Named(csv="results/index.csv", record="results/index.json")
        self.jobs["index"] = ("index.py", self._given("index", output, Named(index=wiring.index()), "index"))
        output = Named(built="results/figures/all/.built")
        job = self._given("gallery", output, Named(manifest=wiring.manifest()), "gallery")
        self.jobs["gallery"] = ("gallery.py", job)
        self.needs |= {"scorecard": ["claims"], "statements": ["claims", "scorecard"], "index": []}
        self.needs["gallery"] = [name for name in self.jobs if "/" not in name or name[:2] in ("fi", "ta")][:-1]

    def _ancestors(self, artefacts):
        """Return the jobs that make artefacts and what they are made from, those first."""
        return list(dict.fromkeys(self.made_by[part.path] for made in artefacts for part in made.ancestry()))

    def _given(self, rule, output, params, log):
        scripts = str(ROOT / "workflow" / "scripts")
        return Given(scripts, rule, Named(), output, [f"results/logs/{log}.log"], params, 1, self.config)

    def about(self):
        """Return name -> what a client must know of each job."""
        return {
            name: {
                "outputs": list(job.output),
                "folders": ["results/figures/all"] if script == "gallery.py" else [],
                "needs": self.needs[name],
            }
            for name, (script, job) in self.jobs.items()
        }

    def run(self, name, folder):
        """Run a job's script in a folder; return its exit status."""
        script, job = self.jobs[name]
        os.chdir(folder)
        sys.argv = [script]
        try:
            runpy.run_path(str(ROOT / "workflow" / "scripts" / script), {"snakemake": job}, "__main__")
        except SystemExit as end:
            return int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            return 1
        return 0


def _commit(seconds):
    """Have jobs commit after so many seconds of work; below 0 after every unit of it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("lossatlas.") and hasattr(module, "COMMIT_SECONDS"):
            module.COMMIT_SECONDS = seconds


class _Terminated:
    """Sends this process a real SIGTERM in the middle of what it computes: when it has counted so many events.

    Events are calls of functions of ours (``calls``), or questions whether a commit is due (``due``).
    """

    def __init__(self, event, at):
        self.event, self.at, self.count = event, at, 0

    def __enter__(self):
        if self.event == "due":
            from lossatlas.files.clock import Clock

            real = Clock.due

            def due(clock):
                self.next()
                return real(clock)

            Clock.due = due
        else:
            ours = f"{os.sep}lossatlas{os.sep}"
            sys.setprofile(lambda frame, what, _: what == "call" and ours in frame.f_code.co_filename and self.next())
        return self

    def next(self):
        """Count one."""
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGTERM)

    def __exit__(self, *about):
        sys.setprofile(None)


def _shim():
    library = ctypes.CDLL(None)
    library.fault_arm.argtypes = [
        ctypes.c_char_p,
        *[ctypes.c_int] * 5,
        ctypes.c_uint64,
        ctypes.c_long,
        ctypes.c_int,
    ]
    library.fault_count.restype = library.fault_hit.restype = ctypes.c_long
    library.fault_what.restype = ctypes.c_char_p
    return library


def _child(workshop, shim, asked, scratch):
    """Run one job in this forked process and end it."""
    sink = os.open(scratch / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    folder, (_, job) = asked["folder"], workshop.jobs[asked["job"]]
    fault, log = Fault(**asked["fault"]) if asked["fault"] else Fault(asked["classes"], 0), -1
    if asked["log"]:
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    sticky = sum(1 << OPERATIONS.index(name) for name in fault.sticky)
    if not asked["prepared"]:
        _prepare(folder, job)
    armed = (folder.encode(), log, int(asked["data"]), fault.classes, fault.kind, fault.number, sticky, asked["k"], 1)
    if shim.fault_arm(*armed):
        os._exit(99)
    if asked["prepared"]:  # what Snakemake does is no fault of ours, but nothing of it is on disk
        _prepare(folder, job)
    with _Terminated(asked["event"], asked["at"]) if asked["event"] else contextlib.nullcontext() as counted:
        status = workshop.run(asked["job"], folder)
    shim.fault_disarm()
    (scratch / "events").write_text(str(counted.count if counted else 0))
    if asked["modules"]:
        Path(scratch / "modules").write_text("\n".join(sys.modules))
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(status)


def _prepare(folder, job):
    """Make the folders that Snakemake makes before it starts a job."""
    for path in (*job.output, *job.log):
        os.makedirs(Path(folder, path).parent, exist_ok=True)


def _wait(pid):
    """Return the wait status of a child; one that hangs is killed, and None returned."""
    end = time.monotonic() + PATIENCE
    handle = os.pidfd_open(pid)
    try:
        hangs = not select.select([handle], [], [], max(end - time.monotonic(), 0))[0]
    finally:
        os.close(handle)
    if hangs:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    return None if hangs else status


def serve():
    """Answer requests on standard input, a line of JSON each, until it is closed."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for module in ("lossatlas.workflow.job", "torch", "h5py", "pandas", "sklearn.datasets"):
        import_module(module)
    import torch

    torch.set_num_threads(1)
    scratch = Path(tempfile.mkdtemp(prefix="faults-"))
    workshop, shim = Workshop(Path(sys.argv[2])), _shim()
    from lossatlas.files import machine, provenance

    machine._libraries = cache(machine._libraries)  # as long as all that a small job computes
    provenance.Provenance({}, ROOT, 1).finished()
    print(json.dumps(workshop.about()), file=replies, flush=True)
    gc.disable()  # a child is short, and a pass over all that is loaded would copy it
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                _commit(asked["seconds"])
                _child(workshop, shim, asked, scratch)
            finally:
                traceback.print_exc()
                os._exit(98)
        status = _wait(pid)
        if asked["modules"] and (scratch / "modules").exists():
            for name in (scratch / "modules").read_text().split("\n"):
                if name not in sys.modules:
                    with contextlib.suppress(BaseException):
                        import_module(name)
        reply = {
            "hangs": status is None,
            "status": -1 if status is None or os.WIFSIGNALED(status) else os.WEXITSTATUS(status),
            "signal": os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else 0,
            "said": (scratch / "stderr").read_text(errors="replace"),
            "count": shim.fault_count(),
            "hit": shim.fault_hit(),
            "what": shim.fault_what().decode(errors="replace").strip(),
            "seconds": time.monotonic() - start,
            "events": int((scratch / "events").read_text()) if (scratch / "events").exists() else 0,
        }
        print(json.dumps(reply), file=replies, flush=True)
    shutil.rmtree(scratch)


# ---------------------------------------------------------------------------------------------------------------------
# the client's side


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        hangs: it did not, and was killed.
        status: exit status, -1 after a signal.
        signal: that killed it, or 0.
        said: standard output and error.
        count: operations counted.
        hit: the operation that failed, 0 = none.
        what: that operation in words.
        seconds: it took.
        events: counted, where they were.
    """

    hangs: bool
    status: int
    signal: int
    said: str
    count: int
    hit: int
    what: str
    seconds: float
    events: int

    @property
    def errors(self):
        """Return what it reported to the user."""
        return [line for line in self.said.splitlines() if line.startswith("lossatlas: error:")]

    @property
    def noise(self):
        """Return what it printed besides lines meant for the user and bars of progress."""
        lines = (line.rstrip() for line in self.said.replace("\r", "\n").splitlines())
        return [line for line in lines if line and not line.startswith("lossatlas: ") and " to go" not in line]


class Server:
    """A process in which lossatlas is loaded, and that forks a child for every run of a job.

    Attributes:
        jobs: name -> {``outputs``, ``folders`` that it makes as a whole, ``needs``: jobs before it}.
        different: names of jobs, without further ones of the same kind and label.
    """

    def __init__(self, shim, study=STUDY):
        """Start it; the shim as :func:`compile_shim` returns it."""
        known = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "LOSSATLAS_DOWNLOAD": "0"}
        with contextlib.suppress(ImportError):
            from lossatlas import numerics

            numerics.apply(known)
        command = [sys.executable, __file__, "serve", str(study)]
        self.process = subprocess.Popen(command, env=known, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.jobs = json.loads(self.process.stdout.readline())
        self.different = [name for name in self.jobs if not name.split("/")[-1].isdigit()]

    def __enter__(self):
        return self

    def __exit__(self, *about):
        self.process.stdin.close()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def run(self, job, folder, fault=None, k=0, **how):
        """Run a job in a folder.

        Args:
            job: its name.
            folder: with what it reads.
            fault: what happens to the ``k``-th operation; None = nothing.
            k: which, from 1.
            **how: ``classes`` of operations that are counted, where there is no fault; ``log``: file for the shim's
                notes, ``data``: with what is written, ``prepared``: with the folders that Snakemake makes;
                ``modules``: have the server import what the job imported; ``seconds`` between commits; ``event``:
                ``calls`` or ``due``, which are counted, and ``at`` which of them the job is sent a SIGTERM (0: never).
        """
        asked = {"classes": CHANGES, "log": None, "data": False, "prepared": False, "modules": False, "seconds": -1.0}
        asked |= {"event": "", "at": 0}
        assert set(how) <= set(asked)
        asked |= how
        asked |= {"job": job, "folder": str(Path(folder).resolve()), "fault": fault and asdict(fault), "k": k}
        asked["log"] = asked["log"] and str(asked["log"])
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server ended while {job} ran")
        return Outcome(**json.loads(line))


@cache
def _vectors():
    """Return the bytes of the vectors that the study imports."""
    import io

    import numpy as np

    file = io.BytesIO()
    np.save(file, np.linspace(-1, 1, 70).reshape(2, 35))
    return file.getvalue()


def build(server, folder, jobs):
    """Make in a folder, without faults, what jobs read."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vectors.npy").write_bytes(_vectors())
    made = set()

    def make(job):
        for needed in server.jobs[job]["needs"]:
            make(needed)
        if job not in made:
            made.add(job)
            done = server.run(job, folder, modules=True)
            assert (done.status, done.noise) == (0, []), f"{job}: {done.said}"

    for job in jobs:
        make(job)
    return folder


def signature(path):
    """Return what two runs of a job must agree in: an artefact's content, what a picture shows, other files' bytes."""
    import h5py
    import numpy as np
    from PIL import Image

    from lossatlas.files import checksum

    if path.name == ".built":
        return "a gallery" if b"</html>" in path.with_name("index.html").read_bytes() else "broken"
    if path.suffix == ".h5":
        broken = checksum.broken_seal(path)
        if broken:
            return f"broken: {broken}"
        with h5py.File(path, "r") as file:
            stored, found = str(file.attrs[checksum.CONTENT]), checksum.content_digest(file)
        return stored if stored == found else f"broken: content {found}, stored {stored}"
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return hashlib.sha256(np.asarray(picture).tobytes()).hexdigest()
    text = path.read_bytes()
    if path.suffix == ".json" and checksum.broken_record(text.decode(errors="replace")) is None:
        return "a whole record"
    if path.suffix == ".html":  # its provenance has a date
        return "a page" if b"</html>" in text else "broken"
    if path.suffix == ".pdf":  # likewise; all that is drawn lies in its streams
        streams = re.findall(rb"\bstream\r?\n(.*?)endstream", text, re.DOTALL)
        whole = streams and text.rstrip().endswith(b"%%EOF")
        return hashlib.sha256(b"".join(streams)).hexdigest() if whole else "broken"
    return hashlib.sha256(text).hexdigest()


ASIDE = r"^results/\.state(/[^/]+)?(/[^/]+\.damaged-\d+(/.*)?)?$"
"""What stays of state that could not be read and was set aside, as a line said."""


def listing(folder):
    """Return all files and folders of results/, except logs."""
    found = sorted(path.relative_to(folder).as_posix() for path in (folder / "results").rglob("*"))
    return [path for path in found if not path.startswith("results/logs")]


@dataclass
class Bench:
    """A folder in which one job is run again and again.

    Attributes:
        server: which runs it.
        job: its name.
        folder: with everything that it reads.
        outputs: its files; relative to the folder.
        expected: output -> signature.
        clean: listing before it runs; ``made``: after it has.
        seconds: between commits of what goes on (:meth:`Server.run`).
    """

    server: Server
    job: str
    folder: Path
    outputs: list[str] = field(default_factory=list)
    expected: dict[str, str] = field(default_factory=dict)
    clean: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    seconds: float = -1.0

    def __post_init__(self):
        self.outputs = self.server.jobs[self.job]["outputs"]
        self.reset()
        self.clean = listing(self.folder)
        done = self.run()
        assert (done.status, done.noise) == (0, []), f"{self.job}: {done.said}"
        self.expected, self.made = self.signatures(), listing(self.folder)
        assert set(self.expected) == set(self.outputs)

    def reset(self):
        """Remove what the job made or left."""
        folders = (*self.server.jobs[self.job]["folders"], "results/.state", "results/.locks", "results/logs")
        for path in (*self.outputs, *folders):
            target = self.folder / path
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        for parent in {(self.folder / path).parent for path in self.outputs}:
            for part in parent.glob(".*"):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            with contextlib.suppress(OSError):
                parent.rmdir()

    def run(self, folder=None, **how):
        """Run the job (in another folder); how: as :meth:`Server.run` takes it."""
        return self.server.run(self.job, folder or self.folder, **{"seconds": self.seconds, **how})

    def signatures(self, folder=None):
        """Return output -> signature, for those that are there (in another folder)."""
        folder = folder or self.folder
        return {path: signature(folder / path) for path in self.outputs if (folder / path).exists()}

    def operations(self, scratch, classes=CHANGES):
        """Return what the job asks for, in order, from an undisturbed run."""
        self.reset()
        log = Path(scratch) / "operations"
        done = self.run(classes=classes, log=log)
        assert done.status == 0, done.said
        found = read_log(log)
        log.unlink()
        return found

    def injure(self, name, k, fresh=True):
        """Run the job with its ``k``-th operation failing, then without; return what was wrong, a line each.

        ``fresh``: from the beginning, not from what an earlier run left.
        """
        if fresh:
            self.reset()
        fault = FAULTS[name]
        first = self.run(fault=fault, k=k)
        wrong = [f"injured: {line}" for line in self._judge_injured(first, fault)]
        second = self.run()
        wrong += [f"again: {line}" for line in self.judge_clean(second)]
        if wrong and listing(self.folder) != self.made:
            self.remake()
        return Case(self.job, name, k, first.what, bool(first.hit), first.status, wrong, first.said, second.said)

    def terminate(self, event, at):
        """Send the job a SIGTERM at an event, run it again; return both outcomes and what was wrong, a line each.

        No commit is due but those that no clock decides, and those of a job that was asked to end.
        """
        self.reset()
        first = self.run(event=event, at=at, seconds=1e9)
        wrong = [f"it prints {line!r}" for line in first.noise[:1]]
        ended = [line for line in first.said.splitlines() if "asked to end (SIGTERM)" in line]
        if first.signal == signal.SIGTERM and event == "calls" and at < LISTENS:
            pass  # it has done nothing yet
        elif first.hangs or first.signal or first.status not in (0, EXIT):
            wrong.append(f"it ends with status {first.status}, signal {first.signal}: {first.said[-300:]!r}")
        elif first.status == EXIT and (len(ended) != 1 or first.errors):
            wrong.append(f"{len(ended)} lines say that it was asked to end, {len(first.errors)} are errors")
        elif first.status == 0:
            wrong += self.judge_clean(first)
        for path, found in self.signatures().items():
            if found != self.expected[path] and path.endswith(".h5"):
                wrong.append(f"{path} lies there: {found}")
        second = self.run(event=event, seconds=1e9)
        wrong += [f"again: {line}" for line in self.judge_clean(second)]
        return first, second, wrong

    def remake(self):
        """Remove whatever else was left."""
        self.reset()
        for path in reversed(listing(self.folder)):
            if path not in self.clean:
                target = self.folder / path
                shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)

    def restore(self):
        """Leave the folder with what the job makes."""
        self.remake()
        assert self.judge_clean(self.run()) == []

    def judge_clean(self, done, folder=None):
        """Return what is wrong with a clean run after an injured one (in another folder)."""
        folder = folder or self.folder
        if done.hangs:
            return ["it hangs"]
        if done.status or done.signal:
            return [f"it fails: {(done.errors or done.said.splitlines()[-1:] or ['silently'])[0]}"]
        wrong = [f"it prints {line!r}" for line in done.noise[:1]]
        found = self.signatures(folder)
        wrong += [f"{path}: other bits" for path in self.outputs if found.get(path) != self.expected[path]]
        now = listing(folder)
        wrong += [f"{path} is left behind" for path in now if path not in self.made and not re.search(ASIDE, path)]
        # A job that commits nothing makes no folder for state, and so leaves no empty one.
        return wrong + [f"{path} is gone" for path in self.made if path not in now and not re.search(ASIDE, path)]

    def _judge_injured(self, done, fault):
        if done.hangs:
            return ["it hangs"]
        wrong = []
        killed = done.hit and fault.kind in (KILL_BEFORE, KILL_AFTER, TORN_KILL)
        if done.signal and not killed:
            wrong.append(f"it ends by signal {done.signal}")
        elif done.status == 0:
            found = self.signatures()
            wrong += [f"{path}: other bits" for path in self.outputs if found.get(path) != self.expected[path]]
        elif not killed and len(done.errors) != 1:
            wrong.append(f"{len(done.errors)} lines for the user")
        if not killed or done.noise:
            wrong += [f"it prints {line!r}" for line in done.noise[:1]]
        for path, found in self.signatures().items():
            if path.endswith(".h5") and found != self.expected[path]:
                wrong.append(f"{path} lies there: {found}")
        return wrong


@dataclass(frozen=True)
class Case:
    """One fault, and what came of it.

    Attributes:
        job, fault, k: which.
        what: the operation that failed.
        hit: whether it did.
        status: of the injured run.
        wrong: what was wrong.
        said, again: what the two runs printed.
    """

    job: str
    fault: str
    k: int
    what: str
    hit: bool
    status: int
    wrong: list[str]
    said: str
    again: str

    def __str__(self):
        end = "\n  ".join([*self.wrong, "the injured run printed:", *self.said.splitlines()[-12:]])
        return f"{self.job}, {self.fault} at operation {self.k} ({self.what}):\n  {end}"


def cases(bench, scratch, faults=tuple(FAULTS)):
    """Return (fault, k) of every case of a job."""
    known = {}
    for classes in {FAULTS[name].classes for name in faults}:
        known[classes] = bench.operations(scratch, classes)
    found = []
    for name in faults:
        fault = FAULTS[name]
        found += [(name, op.number) for op in known[fault.classes] if not fault.only or op.name in fault.only]
    return found


def sampled(found, each, rng):
    """Return at most ``each`` cases of every fault, drawn without repetition."""
    chosen = []
    for name in dict.fromkeys(name for name, _ in found):
        mine = [case for case in found if case[0] == name]
        chosen += [mine[i] for i in sorted(rng.choice(len(mine), min(each, len(mine)), replace=False))]
    return chosen


def main(given):
    """Run every case of jobs, or some; print a line a job and every case that went wrong."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jobs", nargs="*", help="what their names begin with; all by default")
    parser.add_argument("--each", type=int, default=1 << 30, help="most cases of each fault and job (all)")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="by which they are drawn")
    parser.add_argument("--seldom", action="store_true", help="no commit but those that no clock decides")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="these alone")
    asked = parser.parse_args(given)
    print(f"seed {asked.seed}", flush=True)
    rng, total, wrong = np.random.default_rng(asked.seed), Counter(), 0
    with tempfile.TemporaryDirectory(dir=memory()) as scratch:
        folder = Path(scratch) / "study"
        with Server(compile_shim(scratch)) as server:
            jobs = [name for name in server.different if not asked.jobs or name.startswith(tuple(asked.jobs))]
            build(server, folder, jobs)
            for job in jobs:
                start, bench, counts, bad = time.monotonic(), Bench(server, job, folder), Counter(), []
                bench.seconds = 1e9 if asked.seldom else -1.0
                for name, k in sampled(cases(bench, scratch, asked.fault or tuple(FAULTS)), asked.each, rng):
                    case = bench.injure(name, k)
                    counts[name if case.hit else "not reached"] += 1
                    bad += [case] if case.wrong else []
                total += counts
                wrong += len(bad)
                print(f"{job}: {dict(counts)}, {len(bad)} wrong, {time.monotonic() - start:.0f} s", flush=True)
                print(*bad, sep="\n", end="\n" if bad else "", flush=True)
                bench.restore()
    print(f"{total.total()} faults: {dict(total)}; {wrong} wrong")
    return bool(wrong)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve()
    else:
        sys.exit(main(sys.argv[1:]))
