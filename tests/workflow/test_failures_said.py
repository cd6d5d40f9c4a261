"""The one line of a failed job, out of its log or of what jobs have printed."""

import logging

import pytest

from lossatlas.errors import LossatlasError
from lossatlas.workflow.failures import SILENT, logged, read


class BrokenError(LossatlasError):
    """An error of ours with a name of its own."""


BrokenError.__module__ = "lossatlas.files.hdf5"


def log_of(error, path):
    """Write the log that a job leaves when it fails with an error."""
    logger = logging.Logger("job")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.info("start train")
    try:
        try:
            raise KeyError("what came before")
        except KeyError as cause:
            raise error from cause
    except Exception:
        logger.exception("failed")
    handler.close()
    return str(path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LossatlasError("a.h5: truncated: at byte 3; delete it"), "a.h5: truncated: at byte 3; delete it"),
        (BrokenError("b.h5: gone"), "b.h5: gone"),
        (ValueError("3 is not 4"), "ValueError: 3 is not 4"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (OSError("one\ntwo"), "OSError: one two"),
    ],
)
def test_the_error_a_log_ends_with(error, said, tmp_path):
    path = log_of(error, tmp_path / "job.log")
    failure, used = read([path], [], [], "")
    assert (failure.text, failure.log, failure.said, used) == (said, path, True, None)


def test_what_a_log_says_in_one_line_comes_first(tmp_path):
    log_of(ValueError("3 is not 4"), tmp_path / "job.log")
    text = (tmp_path / "job.log").read_text()
    assert logged(text) == "ValueError: 3 is not 4"
    assert logged(f"{text}2026-01-01 10:00:00,000 root: lossatlas: error: three is no four\n") == "three is no four"


def test_each_of_two_jobs_gets_what_it_printed(tmp_path):
    """Both have printed before Snakemake tells of either; whatever the order, by error, log or output."""
    first = log_of(LossatlasError("nan in epoch 3"), tmp_path / "a.log")
    second = log_of(OSError("[Errno 28] No space left on device"), tmp_path / "b.log")
    third = log_of(ValueError("two\nlines"), tmp_path / "c.log")
    printed = [
        "the disk is full while writing results/runs/b/points.h5; free space",
        f"ValueError: two lines (full log: {third})",
        "nan in epoch 3",
    ]
    given = [
        (first, "results/runs/a/points.h5", printed[2]),
        (second, "results/runs/b/points.h5", printed[0]),
        (third, "results/runs/c/points.h5", printed[1]),
    ]
    for log, output, line in given:
        failure, used = read([log], [output], printed, "")
        assert failure.text == used == line
        assert failure.log == log


def test_a_job_whose_log_could_not_be_written_is_heard(tmp_path):
    failure, used = read([str(tmp_path / "none.log")], ["results/x"], ["the log is closed"], "")
    assert failure.text == used == "the log is closed"


def test_a_killed_job_takes_no_other_jobs_words(tmp_path):
    path = tmp_path / "job.log"
    path.write_text("2026-01-01 10:00:00,000 root: start train\n")
    failure, used = read([str(path)], ["results/x"], ["of another job"], "ended by SIGKILL")
    assert (failure.text, failure.said, used) == ("ended by SIGKILL", False, None)
    assert read([str(path)], [], [], "")[0].text == SILENT


def test_what_a_shell_command_says_last_is_its_line(tmp_path):
    path = tmp_path / "fetch.log"
    path.write_text("Collecting\nERROR: failed to pull data from the cloud\n\n")
    assert read([str(path)], [], [], "")[0].text == "ERROR: failed to pull data from the cloud"


def test_of_a_job_that_slurm_ended_its_own_log_is_named_for_what_it_says_else_slurms(tmp_path):
    own = log_of(LossatlasError("nan"), tmp_path / "job.log")
    assert read([own, "slurm.log"], [], [], "SLURM-job '3' failed")[0].log == own
    silent = tmp_path / "silent.log"
    silent.write_text("2026-01-01 10:00:00,000 root: start train\n")
    failure, _ = read([str(silent), "slurm.log"], [], [], "SLURM-job '3' failed, SLURM status is: 'TIMEOUT'")
    assert (failure.log, failure.text) == ("slurm.log", "SLURM-job '3' failed, SLURM status is: 'TIMEOUT'")
