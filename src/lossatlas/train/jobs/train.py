"""Train a network from its initialisation and export the recorded weight vectors."""

from collections.abc import Mapping
from pathlib import Path

from lossatlas.landscape.layout import Layout
from lossatlas.progress import Progress
from lossatlas.train.examples import build_model, drawing, make_examples
from lossatlas.train.loop import Recorder, Training, finish, pick_device, row_of


def train_run(spec: Mapping, data_file: Path, output: Path, state: Path, provenance: Mapping) -> None:
    """Train one replica of a run; resumes from the last whole epoch found in ``state``.

    Args:
        spec: resolved spec of the run (:mod:`lossatlas.legacy.plan`): label, model, recipe, labels, record, seeds.
        data_file: data.h5.
        output: points.h5 to make.
        state: folder of the unfinished job; removed at the end.
        provenance: written into the output.
    """
    recipe, record, seed = spec["recipe"], spec["record"], spec["seeds"]
    examples, outputs = make_examples(
        data_file, spec["labels"], seed["labels"], recipe["precision"], pick_device(), **drawing(spec)
    )
    model = build_model(spec["model"], examples, outputs, seed["init"])
    recorder = Recorder(state, Layout.of(model), Layout.of_buffers(model))
    training = Training(model, examples, recipe, seed["training"], spec["label"])
    progress = recorder.state
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
        if keep_all:
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
    finish(recorder, output, state, provenance)
