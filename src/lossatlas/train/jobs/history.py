"""The job that keeps what was recorded of a training without its weights: all that most figures and claims read."""

from lossatlas.files.hdf5 import create, read_table, write_table
from lossatlas.specs.registry import Job


def history(job: Job) -> None:
    """Copy the table of a training.

    ``run``: points.h5 of the run. Output, history.h5: its ``/table``, one row a recorded point.
    """
    table = read_table(job.file("run"), "points")
    with create(job.output, "history", job.provenance) as file:
        write_table(file, table)
