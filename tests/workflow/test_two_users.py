"""Two users of one folder: with umask 002 and setgid either goes on where the other was killed, with 022 a line says so."""

import os
import shutil
import stat
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from harness import ROOT

from lossatlas.errors import LossatlasError
from lossatlas.files import hdf5
from lossatlas.files.points import Journal
from lossatlas.files.state import State
from lossatlas.workflow.exclusive import exclusive
from lossatlas.workflow.job import job

GROUP, FIRST, SECOND = 64100, 64101, 64102
"""Numbers that no account has."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")


@pytest.fixture
def shared():
    """Return a folder that a group shares, its group handed down; outside pytest's own, which is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="shared-"))
    os.chown(folder, FIRST, GROUP)
    folder.chmod(0o2770)
    yield folder
    shutil.rmtree(folder)


def as_user(number, umask, folder, action):
    """Run an action as a user of the group, in a process of its own; return what was said, "killed", or ""."""
    inner, outer = os.pipe()
    child = os.fork()
    if child == 0:
        text = ""
        try:
            os.close(inner)
            os.setgroups([GROUP])
            os.setgid(number)
            os.setuid(number)
            os.umask(umask)
            os.chdir(folder)
            text = action() or ""
        except LossatlasError as error:
            text = str(error)
        except BaseException:
            text = traceback.format_exc()
        finally:
            os.write(outer, text.encode())
            os._exit(0)
    os.close(outer)
    with open(inner, "rb") as file:
        text = file.read().decode()
    os.waitpid(child, 0)
    return text


LOCK, STATE, OUTPUT = Path("results/.locks/a.lock"), Path("results/.state/runs/a"), Path("results/runs/a/points.h5")
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


def work(until=4):
    """Make four rows, from what was committed on; killed before row ``until`` is committed, with files half written."""
    with exclusive(LOCK):
        state = State(STATE)
        kept = state.load("state.pt", lambda data: (int(data.split()[0]), data.split()[1].decode()))
        done, digest = kept or (0, None)
        with Journal(STATE, 3, 0) as journal:
            journal.truncate(done, digest and {"theta": digest, "buffers": journal.sync()["buffers"]})
            for i in range(done, 4):
                journal.append(ROWS[i], np.empty(0, np.float32))
                if i == until:
                    (STATE / ".state.pt.part").write_bytes(b"half")
                    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
                    OUTPUT.with_name(f".{OUTPUT.name}.part").write_bytes(b"half")
                    return "killed" if os._exit(0) else ""
                state.write("state.pt", f"{i + 1} {journal.sync()['theta']}".encode())
            with hdf5.create(OUTPUT, "points", {"first": done}) as file:
                file["theta"] = np.stack(list(journal.rows("theta", 4)))
        state.remove()
        return f"went on from {done}"


def test_with_umask_002_the_second_goes_on_where_the_first_was_killed(shared):
    as_user(FIRST, 0o002, shared, lambda: work(until=2))
    left = {path.name for path in shared.rglob("*") if path.is_file()}
    assert left == {"a.lock", "theta.f32", "buffers.f32", "state.pt", ".state.pt.part", ".points.h5.part"}
    assert {path.stat().st_uid for path in shared.rglob("*")} == {FIRST}
    assert {path.stat().st_gid for path in shared.rglob("*")} == {GROUP}
    assert as_user(SECOND, 0o002, shared, work) == "went on from 2"
    assert [path.name for path in shared.rglob("*") if path.is_file()] == ["points.h5"]
    with h5py.File(shared / OUTPUT) as file:
        np.testing.assert_array_equal(file["theta"][...], ROWS)
    assert as_user(FIRST, 0o002, shared, lambda: work(until=0)) == "", "the first may write over it again"


def test_a_damaged_state_of_the_first_is_set_aside_by_the_second(shared):
    as_user(FIRST, 0o002, shared, lambda: work(until=2))
    (shared / STATE / "state.pt").write_bytes(b"")
    assert as_user(SECOND, 0o002, shared, work) == "went on from 0"
    assert (shared / "results/.state/runs/a.damaged-1").is_dir()


def test_with_umask_022_one_line_names_file_owner_and_remedy_until_it_is_done(shared):
    as_user(FIRST, 0o022, shared, lambda: work(until=2))
    said = as_user(SECOND, 0o002, shared, work)
    (line,) = said.splitlines()
    assert line.startswith(f"{LOCK}: Permission denied: belongs to user {FIRST}, group {GROUP}, mode 644, you are user")
    assert f"have user {FIRST} run `chmod -R g+rwX results`" in line
    assert "set `umask 002`" in line
    for path in [shared / "results", *(shared / "results").rglob("*")]:  # what the line says
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | 0o060 | (0o010 if path.is_dir() else 0))
    assert as_user(SECOND, 0o002, shared, work) == "went on from 2"


@pytest.mark.parametrize(
    "closed",
    ["results", LOCK.parent, STATE, STATE.parent, STATE / "theta.f32", OUTPUT.parent],
    ids=["results", "locks", "state", "kind", "journal", "output"],
)
def test_whatever_is_closed_to_the_second_is_named_in_one_line(shared, closed):
    as_user(FIRST, 0o002, shared, lambda: work(until=2))
    if closed == "results":  # nobody else may make a folder there
        for path in ("results/.locks", "results/.state", "results/runs"):
            shutil.rmtree(shared / path)
    if closed == STATE.parent:
        shutil.rmtree(shared / STATE)
    if closed == LOCK.parent:
        (shared / LOCK).unlink()
    path = shared / closed
    path.chmod(0o2755 if path.is_dir() else 0o644)
    said = as_user(SECOND, 0o002, shared, work)
    (line,) = said.splitlines()
    assert line.startswith(f"{closed}: Permission denied: belongs to user {FIRST}")
    assert not (shared / OUTPUT).exists()


def test_what_is_closed_to_its_own_user_has_another_remedy(shared):
    as_user(FIRST, 0o002, shared, lambda: work(until=2))
    (shared / STATE).chmod(0o555)
    said = as_user(FIRST, 0o002, shared, work)
    assert said.endswith(f"make it writable (`chmod u+rwX {STATE}`) and run the same command again")
    assert len(said.splitlines()) == 1


def test_state_that_the_second_may_not_remove_is_said(shared, capfd):
    def remove():
        State(STATE).remove()
        return "goes on"

    as_user(FIRST, 0o002, shared, lambda: work(until=2))
    (shared / STATE).chmod(0o2755)
    assert as_user(SECOND, 0o002, shared, remove) == "goes on"
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("lossatlas: ")]
    assert (
        line == f"lossatlas: {STATE}: the state of a finished job stays (Permission denied; of user {FIRST}); delete it"
    )


LOG, TABLE, RECORD = (Path(f"results/{name}") for name in ("logs/index.log", "index.csv", "index.json"))


def script():
    """Run the script of a rule that makes a table and its record; return what it says, and its exit status."""
    rule = SimpleNamespace(
        rule="index",
        scriptdir=str(ROOT / "workflow/scripts"),
        log=[str(LOG)],
        output={"csv": str(TABLE), "record": str(RECORD)},
        params={},
        config={},
        threads=1,
    )
    rule.output = _Output(rule.output)
    with job(rule) as this:
        this.output("csv").parent.mkdir(exist_ok=True)
        this.output("csv").write_text("name\n")
    return "done"


class _Output(dict):
    """Snakemake's: goes over the files, not over their names."""

    def __iter__(self):
        return iter(self.values())


@pytest.mark.parametrize("umask", [0o002, 0o022])
@pytest.mark.parametrize("closed", [LOG, TABLE], ids=["log", "output"])
def test_a_script_names_its_own_closed_files_in_one_line(shared, capfd, umask, closed):
    assert as_user(FIRST, umask, shared, script) == "done"
    for path in [shared / "results", *(shared / "results").rglob("*")]:  # of all that is there only one file is closed
        path.chmod(0o2775 if path.is_dir() else 0o664 if path != shared / closed or umask == 0o002 else 0o644)
    capfd.readouterr()
    said = as_user(SECOND, 0o002, shared, script)
    printed = capfd.readouterr().err
    if umask == 0o002:
        assert (said, printed) == ("done", "")
        return
    assert said.endswith("SystemExit: 1\n")
    (line,) = printed.splitlines()
    assert line.startswith(
        f"lossatlas: error: {closed}: Permission denied: belongs to user {FIRST}, group {GROUP}, mode 644, you are user"
    )
    assert f"have user {FIRST} run `chmod -R g+rwX results`" in line
