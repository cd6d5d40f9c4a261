"""Train a network from its initialisation and export the recorded weight vectors."""

from lossatlas.landscape.layout import Layout
from lossatlas.progress import Progress
from lossatlas.specs.registry import Job
from lossatlas.train.examples import of_training
from lossatlas.train.loop import Recorder, Training, finish, row_of


def train(job: Job) -> None:
    """Train one replica of a run; resumes from the last whole epoch found in the job's state.

    Args:
        job: spec :class:`~lossatlas.train.spec.RunJob`; ``data``: data.h5. Makes points.h5: one row a recorded
            point, and ``/fingerprint``, the early losses (:class:`~lossatlas.train.loop.State`).
    """
    spec = job.spec
    recipe, record, seed = spec["recipe"], spec["record"], spec["seeds"]
    examples, model = of_training(spec, job.file("data"))
    recorder = Recorder(job, Layout.of(model), Layout.of_buffers(model))
    progress = recorder.state
    training = Training(model, examples, recipe, seed["training"], spec["label"], progress.seen(0))
    if progress.model is not None and progress.optimizer is not None:
        model.load_state_dict(progress.model)
        training.optimizer.load_state_dict(progress.optimizer)

    def point(epoch: float) -> None:
        recorder.record(model, {**row_of(spec["label"], -1, 0.0, epoch), **training.metrics()})

    def commit(epoch: int) -> None:
        progress.epoch, progress.model, progress.optimizer = epoch, model.state_dict(), training.optimizer.state_dict()
        recorder.commit()

    keep_all = record["epochs"] == "all"
    if progress.epoch < 0:
        if keep_all or not recipe["epochs"]:
            point(0.0)
        commit(0)
    with Progress(f"train {spec['label']}", recipe["epochs"], progress.epoch) as bar:
        for epoch in range(progress.epoch, recipe["epochs"]):
            if epoch < record["fine_epochs"]:
                training.epoch(epoch, point, record["per_epoch"])
            else:
                training.epoch(epoch)
                if (keep_all and (epoch + 1) % record.get("every", 1) == 0) or epoch + 1 == recipe["epochs"]:
                    point(epoch + 1.0)
            commit(epoch + 1)
            bar.update()
    finish(recorder, job.output, job.provenance, {"fingerprint": progress.fingerprint_table()})
