"""A run of Snakemake as its screen shows it: records of jobs in; one bar and the last word of failed ones out."""

import logging
import re
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

from lossatlas.workflow import failures, wording
from lossatlas.workflow.forecast import Forecast
from lossatlas.workflow.pace import Pace
from lossatlas.workflow.screen import Capture, Screen

PACE = Path(".snakemake/lossatlas_pace.json")
"""What earlier calls in this folder have found of its machine."""

TICK = 1.0
"""Seconds between two looks at the clock and at what jobs have printed."""

FAILURES = 5
"""Failed jobs whose messages end a run; any more are counted."""

SPEECH = "lossatlas: "
"""What a line begins with that a job prints for people."""

USUAL = ("Exiting because a job execution failed", "At least one job did not complete", "CalledProcessError in ")
"""In errors that Snakemake adds to every failed job."""

PASSED = ("SLURM run ID",)
"""What Snakemake says that a person needs to find the run's jobs."""

_SIGNAL = re.compile(r"died with <Signals\.(\w+)|non-zero exit status (\d+)")
"""What Snakemake says of a script that a signal ended, or of the shell around it: 128 and its number."""

STOPPED = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
"""What Snakemake says when it is told to stop."""


class Run:
    """The screen of a run, from its first lines to its last."""

    def __init__(self, forecast: Forecast, opening: Sequence[str], log: Path | None) -> None:
        """Begin; from now on what anything prints in this process, or below it, goes to the log.

        Args:
            forecast: of the run.
            opening: its first lines.
            log: Snakemake's log file.
        """
        self.forecast, self.log = forecast, log
        self._capture = Capture()
        self._screen = Screen(self._capture.screen)
        self._printed: list[str] = []
        self._failed: dict[int, failures.Failure] = {}
        self._errors: list[str] = []
        self._results: list[str] = []
        self._stopped = False
        self._begun = time.time()
        self._lock = threading.RLock()
        self._end = threading.Event()
        for line in opening:
            self._screen.line(line)
        self._ticking = threading.Thread(target=self._tick, daemon=True)
        self._ticking.start()

    def take(self, record: logging.LogRecord) -> None:
        """Take a record of Snakemake's log."""
        with self._lock:
            event, text = getattr(record, "event", None), record.getMessage()
            if event == LogEvent.JOB_STARTED:
                for number in vars(record)["jobs"]:
                    self.forecast.start(number, record.created)
            elif event == LogEvent.JOB_FINISHED:
                self._finish(vars(record)["job_id"], record.created)
            elif event == LogEvent.JOB_ERROR:
                self._fail(record)
            elif record.levelno >= logging.ERROR:
                self._errors.append(text)
            elif record.levelno >= logging.WARNING or text.startswith(PASSED):
                self._screen.line(text)
            elif text.startswith(STOPPED):
                self._stopped = True
                self._screen.line(f"lossatlas: {text[0].lower()}{text[1:]}")
            else:
                return
            self._show()

    def _finish(self, number: int, now: float) -> None:
        """Note that a job is done; what it was asked for by name is said at the end."""
        self.forecast.finish(number, now)
        self._failed.pop(number, None)
        job = self.forecast.jobs.get(number)
        if job and not job.outputs and job.label:
            self._results.append(job.label)

    def _fail(self, record: logging.LogRecord) -> None:
        """Keep what a failed job has to say for the end, and name it now: others may go on for hours."""
        said = vars(record)
        number, logs = said["jobid"], [str(log) for log in said.get("log") or ()]
        self._drain()
        self.forecast.fail(number)
        killed = _signal(self._errors[-1]) if self._errors else ""
        reported = said.get("rule_msg") or (f"ended by {killed} and said nothing" if killed else "")
        failure, used = failures.read(logs, said.get("output") or (), self._printed, reported)
        if used is not None:
            self._printed.remove(used)
        label = self.forecast.jobs[number].label if number in self.forecast.jobs else said["rule_name"]
        self._failed[number] = failure if failure.said else replace(failure, text=f"{label}: {failure.text}")
        if not self._stopped:
            self._screen.line(f"lossatlas: failed: {label}")

    def _tick(self) -> None:
        while not self._end.wait(TICK):
            with self._lock:
                self._drain()
                self._show()

    def _show(self) -> None:
        now = time.time()
        self._screen.show(self.forecast.share(now), wording.state(self.forecast, now))

    def _drain(self) -> None:
        """Put what has been printed into the log; show what is meant for people, keep what failed jobs say."""
        text = self._capture.new()
        if not text:
            return
        if self.log:
            with suppress(OSError), self.log.open("a", encoding="utf-8") as file:
                file.write(text)
        for line in text.splitlines():
            if line.startswith(failures.SAID):
                self._printed.append(line.removeprefix(failures.SAID))
            elif line.startswith(SPEECH):
                self._screen.line(line)

    def close(self) -> None:
        """End: the bar goes, what has failed has the last word."""
        self._end.set()
        self._ticking.join()
        with self._lock:
            self._drain()
            self._screen.clear()
            for line in self._last():
                self._screen.line(line)
            self._capture.give_back()
            if PACE.parent.is_dir():
                self.forecast.pace.save(PACE)

    def _last(self) -> list[str]:
        """Return the last lines."""
        failed = [one for one in self._failed.values() if one.said or not self._stopped]
        unusual = [text for text in self._errors if not any(usual in text for usual in USUAL)]
        if self._stopped:
            unusual = []
        makes = [number for number, job in self.forecast.jobs.items() if job.outputs]
        done = len(self.forecast.done.intersection(makes))
        gone = wording.duration(time.time() - self._begun)
        if not failed and not unusual and not self._stopped:
            return [f"lossatlas: {done} jobs done in {gone}", *(f"lossatlas: {text}" for text in self._results)]
        state = "stopped; the same command goes on from here" if self._stopped else f"{len(failed)} failed"
        lines = [f"lossatlas: {done} of {len(makes)} jobs done in {gone}, {state}"]
        if self.log:
            lines.append(f"lossatlas: full log: {self.log}")
        return [*lines, *unusual, *wording.closing(failed, FAILURES)]


def _signal(error: str) -> str:
    """Return the name of the signal that ended a job, by what Snakemake says of it; empty where none did."""
    name, status = (_SIGNAL.findall(error) or [("", "")])[0]
    if status and int(status) > 128:
        with suppress(ValueError):
            return signal.Signals(int(status) - 128).name
    return name


def pace() -> Pace:
    """Return what earlier calls in this folder have found."""
    return Pace.load(PACE)
