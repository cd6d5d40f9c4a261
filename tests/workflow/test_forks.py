"""Jobs as forks of one process: each as if Python had been started for it, whatever becomes of whom."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness
import pytest
from harness import ROOT, until
from PIL import Image

from lossatlas.files.record import content_of
from lossatlas.workflow import forkclient, forks

STUDIES = ROOT / "tests/studies"
MODULES = ["json", "logging"]


class Served:
    """A server, and clients of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, Path(tempfile.mkdtemp(dir="/tmp")) / "forks"
        command = [sys.executable, "-P", "-m", "lossatlas.workflow.forkserver", str(self.socket), *MODULES]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())
        assert self.process.stdout.readline() == "ready\n"

    def start(self, text: str, **more) -> subprocess.Popen:
        """Start a job with a script of this text."""
        script = self.folder / f"script_{time.monotonic_ns()}.py"
        script.write_text(text)
        command = [sys.executable, "-I", "-S", forkclient.__file__, str(self.socket), sys.executable, str(script)]
        settings = {"env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, **{**settings, **more})

    def run(self, text: str, **more) -> tuple[int, str, str]:
        """Run a job; return its status and what it printed."""
        process = self.start(text, **more)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def close(self) -> None:
        """Let the server end."""
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        shutil.rmtree(self.socket.parent, ignore_errors=True)  # left where the server was killed


@pytest.fixture
def short():
    """Return a folder whose name is short enough for a socket in it, as pytest's own need not be."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield folder


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), **more}


@pytest.fixture
def served(tmp_path):
    """Return a server that ends with the test."""
    one = Served(tmp_path)
    yield one
    one.close()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


LOOK = """
import atexit, json, logging, os, sys
atexit.register(lambda: print("at exit"))
mask = os.umask(0)
sys.stderr.write("aside")
found = [__name__, sys.argv, os.getcwd(), mask, sys.path[0], os.environ.get("MINE"), os.getppid(), sys.stdin.read()]
print(json.dumps(found))
"""


def test_a_job_is_as_if_python_had_been_started(served, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    (tmp_path / "words").write_text("said")
    old = os.umask(0o027)
    try:
        with (tmp_path / "words").open() as words:
            status, out, err = served.run(LOOK, cwd=folder, stdin=words, env=environment(MINE="\udcff mine"))
    finally:
        os.umask(old)
    first, last = out.splitlines()
    name, argv, cwd, mask, path, mine, parent, said = json.loads(first)
    script = next(tmp_path.glob("script_*.py"))
    assert (status, err, last, name) == (0, "aside", "at exit", "__main__")
    assert (argv, Path(cwd), mask, Path(path)) == ([str(script)], folder, 0o027, tmp_path)
    assert (mine, parent, said) == ("\udcff mine", served.process.pid, "said")


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("import sys; sys.exit(75)", 75, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("syntax error", 1, "SyntaxError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
        ("import threading, time, sys; threading.Thread(target=lambda: (time.sleep(.2), print('late', file=sys.stderr))).start()", 0, "late\n"),
    ],
)  # fmt: skip
def test_it_ends_as_python_ends(served, text, status, said):
    ended, _, err = served.run(text)
    script = served.folder / "alone.py"
    script.write_text(text)
    alone = subprocess.run([sys.executable, script], env=environment(), capture_output=True, text=True, check=False)
    assert ended == alone.returncode == status
    assert said in err
    assert said in alone.stderr


def test_jobs_run_side_by_side_and_share_nothing(served):
    text = "import json, time; n = getattr(json, 'mine', 0); json.mine = n + 1; time.sleep(1); print(n)"
    begun = time.monotonic()
    jobs = [served.start(text) for _ in range(8)]
    assert [job.communicate(timeout=60)[0] for job in jobs] == ["0\n"] * 8
    assert time.monotonic() - begun < 6


def test_another_environment_is_another_process(served):
    """What libraries read when they load cannot be changed after it."""
    look = "import os; print(os.getppid(), os.environ.get('OMP_NUM_THREADS'), os.environ.get('OTHER'))"
    for name, own in (("OTHER", False), ("OMP_NUM_THREADS", True)):
        process = served.start(look, env=environment(**{name: "7"}))
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out.split()[0] == str(os.getpid() if own else served.process.pid)
        assert "7" in out.split()


def test_a_client_that_says_nothing_holds_nobody_up_for_long(served, tmp_path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(served.socket))
        assert served.run("import os; print(os.getppid())")[1] == f"{served.process.pid}\n"


def test_where_no_server_can_begin_jobs_start_from_nothing(tmp_path):
    """Here a socket's path would be longer than Linux lets it be."""
    long = tmp_path / ("long" * 40)
    long.mkdir()
    given = {"study": STUDIES / "tiny_solutions.yaml", "options": ("--cores", "2")}
    env = {**harness.environment(), "TMPDIR": str(long)}
    done = harness.snakemake(tmp_path, "results/tables/tiny_solutions/table1.csv", env=env, **given)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "results/tables/tiny_solutions/table1.csv").is_file()
    assert not list(long.glob("lossatlas-*"))
    logs = [file.read_text().splitlines()[0] for file in (tmp_path / "results/logs").rglob("*.log")]
    assert logs
    assert all(line.endswith(": a process of its own") for line in logs)


def test_without_a_server_python_runs_the_script(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os; print(os.getppid())")
    command = [sys.executable, "-I", "-S", forkclient.__file__, str(tmp_path / "none"), sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == f"{os.getpid()}\n"


SLOW = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(600)"


@pytest.mark.parametrize("killed", ["client", "server", "job"])
def test_whoever_is_killed_takes_the_job_along(served, killed):
    job = served.start(SLOW)
    pid = int(job.stdout.readline())
    os.kill({"client": job.pid, "server": served.process.pid, "job": pid}[killed], signal.SIGKILL)
    until(lambda: gone(pid), "the child to end")
    job.communicate(timeout=30)
    assert job.returncode == -signal.SIGKILL
    if killed != "server":  # which serves on
        assert served.run("import os; print(os.getppid())")[1] == f"{served.process.pid}\n"


def test_a_client_and_its_job_that_end_in_one_moment_leave_the_server_to_others(served):
    job = served.start(SLOW)
    pid = int(job.stdout.readline())
    os.kill(served.process.pid, signal.SIGSTOP)  # so that it learns of both at once
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid), "the child to end")
    os.kill(job.pid, signal.SIGKILL)
    job.communicate(timeout=30)
    os.kill(served.process.pid, signal.SIGCONT)
    assert served.run("import os; print(os.getppid())")[1] == f"{served.process.pid}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_is_the_job_s_business(tmp_path, number):
    """As Ctrl-C and a scheduler send it: to every process of the run; server and client wait for what the job does."""
    text = (
        "import os, signal, subprocess, sys, time\n"
        "def asked(number, frame): time.sleep(0.5); print('kept', flush=True); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, asked); signal.signal(signal.SIGINT, asked)\n"
        "print('begun', flush=True); time.sleep(600)\n"
    )
    (tmp_path / "run.py").write_text(
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\n"
        "from test_forks import Served\n"
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: None); signal.signal(signal.SIGINT, lambda *_: None)\n"
        f"served = Served(Path({str(tmp_path)!r}))\n"
        f"job = served.start({text!r})\n"
        "print(job.stdout.readline(), end='', flush=True)\n"
        "print(job.stdout.readline(), end='', flush=True)\n"
        "print(job.wait(), flush=True)\n"
        "served.close()\n"
    )
    paths = os.pathsep.join([str(ROOT / "src"), *(path for path in sys.path if path.endswith("tests/tools"))])
    run = subprocess.Popen(
        [sys.executable, tmp_path / "run.py"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout.readline() == "begun\n"
    os.killpg(run.pid, number)
    assert run.communicate(timeout=60)[0] == "kept\n75\n"


def test_the_server_ends_after_its_jobs(served):
    job = served.start("import sys, time; print('begun', flush=True); time.sleep(1); print('done')")
    assert job.stdout.readline() == "begun\n"
    served.process.stdin.close()
    assert job.communicate(timeout=60)[0] == "done\n"
    assert served.process.wait(30) == 0
    assert not served.socket.parent.exists()


def test_a_run_s_artefacts_are_those_of_processes_of_their_own(tmp_path, short, some_of):
    """Same bits, with torch imported once; and no process is left."""
    for name, numerics in some_of([("tiny", "portable"), ("tiny_solutions", "native")], 1):
        (tmp_path / name).mkdir()
        artefacts_are_the_same(tmp_path / name, short, name, numerics)


def artefacts_are_the_same(tmp_path, short, name, numerics):
    """Assert that forks and processes of their own make the same artefacts of a study."""
    found, logs = {}, {}
    for switch in ("yes", "no"):
        folder = tmp_path / switch
        folder.mkdir()
        env = {**harness.environment(), "LOSSATLAS_FORK": switch, "TMPDIR": short}
        given = {"study": STUDIES / f"{name}.yaml", "config": [f"numerics={numerics}"], "options": ("--cores", "2")}
        done = harness.snakemake(folder, harness.ALL, env=env, **given)
        assert done.returncode == 0, done.stdout
        files = sorted((folder / "results").rglob("*"))
        found[switch] = {str(file.relative_to(folder)): content_of(file) for file in files if file.suffix == ".h5"}
        found[switch] |= {f"{file.parent.name}/{file.name}": _pixels(file) for file in files if file.suffix == ".png"}
        logs[switch] = [file.read_text().splitlines()[0] for file in files if file.suffix == ".log"]
        assert not list(Path(short).glob("lossatlas-*"))
    assert len(found["yes"]) > 10
    assert found["yes"] == found["no"]
    assert len(logs["yes"]) == len(logs["no"]) > 10
    assert all(line.endswith(": forked") for line in logs["yes"])
    assert all(line.endswith(": a process of its own") for line in logs["no"])
    gathered = (tmp_path / "no/results/logs/gather").glob("*.log")
    assert "torch:" not in next(gathered).read_text()  # which a job that needs none does not import


def _pixels(file: Path) -> str:
    with Image.open(file) as image:
        return hashlib.sha256(image.convert("RGBA").tobytes()).hexdigest()


def test_where_one_may_take_a_gpu_jobs_start_from_nothing(monkeypatch):
    monkeypatch.setattr(forks, "has_gpu", lambda: True)
    assert not forks.fit("native")
    assert forks.fit("portable")
    monkeypatch.setattr(forks, "has_gpu", lambda: False)
    assert forks.fit("native")
    monkeypatch.setenv(forks.SWITCH, "no")
    assert not forks.fit("portable")
