"""The job of a separation probe."""

from lossatlas.barriers import separation
from lossatlas.clouds.files import Gram
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import create, write_table
from lossatlas.specs.registry import Job


def separate(job: Job) -> None:
    """Make separation.h5: ``/table`` the scores, ``/points`` the projections.

    Args:
        job: its spec is a :class:`lossatlas.barriers.spec.SeparationJob`, its file ``gram`` that of a union of clouds.
    """
    source = job.file("gram")
    gram = Gram.load(source)
    if "cloud" not in gram.table:
        raise LossatlasError(f"{source}: its cloud has no sets; give a cloud of kind `union`")
    scores, points = separation.separate(gram, job.spec)
    with create(job.output, "separation", job.provenance) as file:
        write_table(file, scores)
        write_table(file, points, "points")
