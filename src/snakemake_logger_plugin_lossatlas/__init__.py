"""How Snakemake finds the screen of lossatlas (`lossatlas.workflow.watch`): its logger plugin of that name.

Imported before Snakemake reads its command line, which `lossatlas.workflow.command` puts in order where it is ours.
"""

from dataclasses import dataclass, field
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

from lossatlas.workflow import command
from lossatlas.workflow.watch import Watch, aside

command.prepare()


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Options ``--logger-lossatlas-*``."""

    full: bool = field(
        default=False,
        metadata={"help": "Print Snakemake's own log instead of one bar.", "required": False},
    )


class LogHandler(LogHandlerBase):
    """One bar, or a line now and then, in place of Snakemake's log, which goes to its file."""

    watch: Watch | None = None

    def __post_init__(self) -> None:
        """Watch, unless Snakemake's own log is wanted."""
        full = isinstance(self.settings, LogHandlerSettings) and self.settings.full
        if not full and not aside(self.common_settings):
            self.watch = Watch(self.common_settings)

    def emit(self, record: LogRecord) -> None:
        """Show what a record says of the run."""
        if self.watch is None:
            return
        try:
            self.watch.take(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """End what is shown."""
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.close()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Whether Snakemake need not write to the screen itself."""
        return self.watch is not None

    @property
    def writes_to_file(self) -> bool:
        """Whether it writes to a file."""
        return False

    @property
    def has_filter(self) -> bool:
        """Whether it chooses records itself: it follows jobs by those that may not be shown."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Whether it formats records itself."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Whether Snakemake is to draw its rules."""
        return False
