"""Train a network from its initialisation and export the recorded weight vectors, or take those of files."""

import logging
import math
from pathlib import Path

from lossatlas.errors import LossatlasError
from lossatlas.landscape.layout import Layout
from lossatlas.models.checkpoints import matched, read_state
from lossatlas.progress import Progress
from lossatlas.specs.checkpoint import checked
from lossatlas.specs.registry import Job
from lossatlas.train.examples import of_training
from lossatlas.train.loop import Recorder, Training, evaluate, finish, row_of
from lossatlas.train.precision import autocast_type

log = logging.getLogger(__name__)


def train(job: Job) -> None:
    """Train one replica of a run; resumes from the last step committed to the job's state.

    Args:
        job: spec :class:`~lossatlas.train.spec.RunJob`; ``data``: data.h5. Makes points.h5: one row a recorded
            point, and ``/fingerprint``, the early losses (:class:`~lossatlas.train.loop.State`). A spec with
            ``checkpoints`` trains nothing: one row a file.
    """
    spec = job.spec
    if spec.get("checkpoints"):
        _take(job)
        return
    recipe, record, seed = spec["recipe"], spec["record"], spec["seeds"]
    examples, model = of_training(spec, job.file("data"))
    recorder = Recorder(job, Layout.of(model), Layout.of_buffers(model))
    progress = recorder.state
    training = Training(model, examples, recipe, seed["training"], spec["label"], progress.seen(0))
    progress.into(training)

    def point(epoch: float) -> None:
        recorder.record(model, {**row_of(spec["label"], -1, 0.0, epoch), **training.metrics()})

    def commit(epoch: int) -> None:
        progress.keep(training, epoch)
        recorder.commit()

    keep_all = record["epochs"] == "all"
    if progress.epoch < 0:
        if keep_all or not recipe["epochs"]:
            point(0.0)
        commit(0)
    with Progress(f"train {spec['label']}", recipe["epochs"], progress.epoch) as bar:
        for epoch in range(progress.epoch, recipe["epochs"]):
            if epoch < record["fine_epochs"]:
                recorder.epoch(training, epoch, point, record["per_epoch"])
            else:
                recorder.epoch(training, epoch)
                if (keep_all and (epoch + 1) % record.get("every", 1) == 0) or epoch + 1 == recipe["epochs"]:
                    point(epoch + 1.0)
            commit(epoch + 1)
            bar.update()
    finish(recorder, job.output, job.provenance, {"fingerprint": progress.fingerprint_table()})


def _take(job: Job) -> None:
    """Take weights and batch-norm statistics from files, with their losses on the run's examples.

    Raises:
        LossatlasError: a file is another than was planned, or holds other weights than the network's; a loss is NaN.
    """
    spec, recipe = job.spec, job.spec["recipe"]
    examples, model = of_training(spec, job.file("data"))
    recorder = Recorder(job, Layout.of(model), Layout.of_buffers(model))
    cast = autocast_type(recipe["precision"])
    files = spec["checkpoints"]
    with recorder.journal, Progress(f"read {spec['label']}", len(files), recorder.state.unit) as bar:
        for file in files[recorder.state.unit :]:
            path = Path(file["file"])
            checked(path, file["sha256"])
            model.load_state_dict(matched(model, read_state(path), path), strict=True)
            row = row_of(spec["label"], -1, 0.0, file["epoch"])
            for part in ("train", "test"):
                found = evaluate(model, examples, part, recipe["criterion"], cast)
                row[f"{part}_loss"], row[f"{part}_accuracy"] = found
            if math.isnan(row["train_loss"]):
                raise LossatlasError(
                    f"{path}: the training loss of these weights on {spec['label']} is NaN; correct `data` or `scale` "
                    "of the run to what the network was trained on"
                )
            log.info("%s: %s", path, row)
            recorder.record(model, row)
            recorder.state.unit += 1
            if recorder.due():
                recorder.commit()
            bar.update()
        recorder.commit()
        finish(recorder, job.output, job.provenance, {"fingerprint": recorder.state.fingerprint_table()})
