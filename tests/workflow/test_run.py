"""Snakemake as a user sees it: first lines, progress, the last word of what failed, on a terminal and elsewhere."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from harness import arguments, committed, copy, environment, overrides, plan, snakemake, start

NORMS = "results/figures/tiny/norms.png"
LONGER = overrides(runs={"path": {"recipe": {"epochs": 100_000}}})
DIVERGES = overrides(runs={"path": {"recipe": {"lr": 1e20}}})


def log_named(text):
    """Return the text of the log that the screen names."""
    (path,) = set(re.findall(r"^lossatlas: full log: (\S+)$", text, re.MULTILINE))
    return Path(path).read_text()


@pytest.fixture(scope="module")
def undrawn(built, tmp_path_factory):
    """Return the tiny study without one figure."""
    folder = copy(built, tmp_path_factory.mktemp("undrawn"))
    for path in (folder / "results/figures/tiny").glob("norms.*"):
        path.unlink()
    return folder


@pytest.fixture(scope="module")
def untrained(undrawn, tmp_path_factory):
    """Return the tiny study without one figure and all that is made for it alone: training, cloud, Gram matrix."""
    folder = copy(undrawn, tmp_path_factory.mktemp("untrained"))
    jobs = plan(tmp_path_factory.mktemp("nothing"), NORMS)
    for output in [output for job in jobs if job.rule in ("train", "gather", "gram") for output in job.output]:
        shutil.rmtree((folder / output).parent)
    return folder


@pytest.fixture(scope="module")
def trained(untrained, tmp_path_factory):
    """Return a folder where a run has made them again, what it printed, and its log."""
    folder = copy(untrained, tmp_path_factory.mktemp("trained"))
    done = snakemake(folder, NORMS)
    assert done.returncode == 0, done.stdout
    return folder, done.stdout, log_named(done.stdout)


def test_the_first_lines_say_what_will_be_made_and_where_the_log_is(trained):
    lines = [line for line in trained[1].splitlines() if line.startswith("lossatlas: ")]
    assert re.fullmatch(r"lossatlas: 4 jobs, about \d+ \w+ on \d cores?: 1 training \(about \d+ \w+ of it\)", lines[0])
    assert lines[1].startswith("lossatlas: full log: ")


def test_progress_ends_with_all_of_the_work(trained):
    said = trained[1]
    shares = [int(found) for found in re.findall(r"^lossatlas: +(\d+)% of the work; ", said, re.MULTILINE)]
    assert shares[-1] == 100
    assert "4 of 4 jobs" in said
    assert re.fullmatch(r"lossatlas: 4 jobs done in \d+ (s|min)", said.splitlines()[-1])


def test_snakemakes_text_is_in_the_log_and_not_on_the_screen(trained):
    _, said, log = trained
    for text in ("Job stats:", "Finished jobid", "Select jobs to execute", "Reason: "):
        assert text in log
        assert text not in said


def test_a_job_writes_its_progress_to_its_log(trained):
    folder, said, log = trained
    (job,) = set(re.findall(r"^Job \d+: train (\S+)$", log, re.MULTILINE))
    assert "gone, " in (folder / f"results/logs/train/{job}.log").read_text()
    assert "gone, " not in said + log


def test_the_next_call_knows_what_this_one_took(trained, undrawn, tmp_path):
    folder = copy(undrawn, tmp_path)
    pace = folder / ".snakemake/lossatlas_pace.json"
    assert json.loads((trained[0] / pace.relative_to(folder)).read_text()).keys() >= {"train", "gram", "figure"}
    pace.write_text(json.dumps({"figure": [600.0, 600_000.0]}))
    assert re.search(r"^lossatlas: 1 job, about \d+ (min|h) on ", snakemake(folder, NORMS).stdout, re.MULTILINE)


def test_failed_jobs_have_the_last_word_one_pair_of_lines_each(built, tmp_path):
    folder = copy(built, tmp_path)
    table = folder / "results/tables/tiny/accuracies.csv"
    table.unlink()
    for history in (folder / "results/histories").glob("*/history.h5"):
        os.truncate(history, history.stat().st_size // 2)
    target = table.relative_to(folder).as_posix()
    done = snakemake(folder, target, NORMS.replace("png", "pdf"), config=[DIVERGES])
    assert done.returncode != 0
    *_, first, log, second, other = done.stdout.splitlines()
    pairs = {log: first, other: second}
    (train,) = [path for path in pairs if path.startswith("  log: results/logs/train/")]
    assert "the training loss became" in pairs[train]
    assert "not a readable HDF5 file" in pairs["  log: results/logs/table/tiny/accuracies.log"]
    assert all(line.startswith("lossatlas: error: ") for line in pairs.values())
    assert "Traceback" not in done.stdout
    log = log_named(done.stdout)
    assert "At least one job did not complete successfully." in log
    assert log.count("lossatlas: error: ") == 2


START = """
import os, runpy, sys

def start():
    {code}

if any("scripts/tmp" in word for word in sys.orig_argv):
    start()
elif "lossatlas.workflow.forkserver" in sys.orig_argv:
    plain = runpy.run_path

    def run(*given, **named):
        start()
        return plain(*given, **named)

    runpy.run_path = run
"""


def on_start(folder, code):
    """Return an environment in which every script of a job runs some code first, in whatever process it runs."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(START.format(code=code))
    return {**environment(), "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("fork", ["yes", "no"])
def test_a_killed_job_is_named_with_what_killed_it(undrawn, tmp_path, fork):
    folder = copy(undrawn, tmp_path)
    env = {**on_start(folder / "killer", "os.kill(os.getpid(), 9)"), "LOSSATLAS_FORK": fork}
    command = [sys.executable, "-m", "snakemake", *arguments(NORMS)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode != 0
    line, log = done.stderr.splitlines()[-2:]
    assert line == "lossatlas: error: figure tiny/norms: ended by SIGKILL and said nothing"
    assert log == "  log: results/logs/figure/tiny/norms.log"


def test_what_jobs_say_to_people_reaches_the_screen(undrawn, tmp_path):
    folder = copy(undrawn, tmp_path)
    env = on_start(folder / "speaker", "sys.stderr.write('lossatlas: a word\\n'); print('noise')")
    command = [sys.executable, "-m", "snakemake", *arguments(NORMS)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines().count("lossatlas: a word") == 1
    assert "noise" not in done.stderr + done.stdout
    assert "noise" in log_named(done.stderr)


# ---------------------------------------------------------------------------------------------------------------------
# what leaves the screen to Snakemake


def test_nothing_to_do_is_said_without_a_banner(built, tmp_path):
    done = snakemake(copy(built, tmp_path), NORMS)
    assert "Nothing to be done" in done.stdout
    assert "SNAKEMAKE" not in done.stdout
    assert "lossatlas: " not in done.stdout


@pytest.mark.parametrize("options", [("--logger-lossatlas-full",), ("--no-hooks",)])
def test_snakemakes_own_text_is_there_for_who_wants_it(undrawn, tmp_path, options):
    done = snakemake(copy(undrawn, tmp_path), NORMS, options=options)
    assert done.returncode == 0, done.stdout
    for text in ("Job stats:", "Finished jobid", "100%) done"):
        assert text in done.stdout
    assert "of the work" not in done.stdout
    assert ("lossatlas: 1 job, about" in done.stdout) == (options != ("--no-hooks",))


def test_quiet_is_quiet(undrawn, tmp_path):
    done = snakemake(copy(undrawn, tmp_path), NORMS, options=("--quiet", "all"))
    assert done.returncode == 0
    assert "lossatlas" not in done.stdout.replace("lossatlas_pace", "")


def test_a_dry_run_is_snakemakes(undrawn):
    done = snakemake(undrawn, NORMS, options=("-n",))
    assert "Job stats:" in done.stdout
    assert "This was a dry-run" in done.stdout


# ---------------------------------------------------------------------------------------------------------------------
# the bundled store


def test_a_call_that_trains_for_long_names_the_pull_that_spares_it(untrained, tmp_path):
    folder = copy(untrained, tmp_path)
    (made,) = [job for job in plan(folder, NORMS, config=[LONGER]) if job.rule == "train"]
    out = {"path": str(Path(made.output[0]).parent), "hash": "md5", "md5": "0.dir"}
    (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"tiny": {"cmd": "", "outs": [out]}}}))
    log = folder / "screen.log"
    process = start([sys.executable, "-m", "snakemake", *arguments(NORMS, config=[LONGER])], folder, log)
    try:
        while "full log:" not in log.read_text():
            assert process.poll() is None, log.read_text()
        first, pull, _ = [line for line in log.read_text().splitlines() if line.startswith("lossatlas: ")][:3]
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    assert re.search(r"1 training \(about [\d.]+ (min|h) of it\)", first)
    assert "`dvc pull tiny`" in pull
    assert "1 training" in pull


# ---------------------------------------------------------------------------------------------------------------------
# a terminal


class Shell:
    """A command on a terminal of its own."""

    def __init__(self, command, folder):
        """Start it."""
        self.terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, b"\x1e\x00\x64\x00\x00\x00\x00\x00")  # 30 rows, 100 columns

        def take_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in a shell's background

        streams = {"stdin": end, "stdout": end, "stderr": end}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment(), start_new_session=True, preexec_fn=take_terminal, **streams
        )
        os.close(end)
        self.text = ""

    def read(self):
        """Read what has come; return whether more may come."""
        if select.select([self.terminal], [], [], 0.1)[0]:
            try:
                new = os.read(self.terminal, 65536)
            except OSError:
                return False
            self.text += new.decode(errors="replace")
        return True

    def wait(self):
        """Wait for its end; return the exit status."""
        while self.read():
            pass
        os.close(self.terminal)
        return self.process.wait()

    def rows(self):
        """Return what is left on the screen, row by row."""
        found = []
        for row in self.text.replace("\r\n", "\n").split("\n"):
            left = ""
            for part in row.split("\r"):
                left = part + left[len(part) :]
            found.append(left.rstrip())
        return found


def test_one_bar_on_a_terminal(untrained, tmp_path):
    shell = Shell([sys.executable, "-m", "snakemake", *arguments(NORMS)], copy(untrained, tmp_path))
    assert shell.wait() == 0
    bars = [part for part in re.split(r"[\r\n]+", shell.text) if "% |" in part]
    assert any("now train wrn-10-1-digits" in bar for bar in bars)
    assert all(len(bar) <= 100 for bar in bars)
    rows = shell.rows()
    assert not any("% |" in row for row in rows)
    assert [row for row in rows if row][-1].startswith("lossatlas: 4 jobs done in ")


def test_an_interrupt_leaves_the_terminal_clean_and_what_was_done(untrained, tmp_path):
    folder = copy(untrained, tmp_path)
    (made,) = [job for job in plan(folder, NORMS, config=[LONGER]) if job.rule == "train"]
    shell = Shell([sys.executable, "-m", "snakemake", *arguments(NORMS, config=[LONGER])], folder)
    state = folder / "results/.state/runs" / made.id
    while committed(state) is None:
        assert shell.read(), shell.text
    os.write(shell.terminal, b"\x03")
    assert shell.wait() != 0
    assert "Traceback" not in shell.text
    rows = [row for row in shell.rows() if row]
    assert not any("% |" in row for row in rows)
    assert re.fullmatch(
        r"lossatlas: 0 of 4 jobs done in \d+ \w+, stopped; the same command goes on from here", rows[-2]
    )
    assert rows[-1].startswith("lossatlas: full log: ")
    assert committed(state)["epoch"] >= 0
