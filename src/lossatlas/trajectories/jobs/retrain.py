"""Jump and retrain (Horoi et al. 2021, section 4): leave a minimum along random directions and train again."""

import torch

from lossatlas.errors import LossatlasError
from lossatlas.files.points import read_point
from lossatlas.landscape.directions import gaussian, normalise
from lossatlas.landscape.landscape import recompute_batch_norm
from lossatlas.landscape.layout import Layout
from lossatlas.progress import Progress
from lossatlas.seeds import derive
from lossatlas.specs.registry import Job
from lossatlas.train.examples import of_training
from lossatlas.train.loop import EVALUATION_BATCH, Recorder, Training, finish, row_of


def jump_point(theta: torch.Tensor, layout: Layout, master: int, seed: int, step: float, how: str) -> torch.Tensor:
    """Return theta_o + step * normalised direction of ``seed``, (D,), in theta's type.

    The direction depends on the master seed, its number and the network's size alone, so that every minimum of
    equal networks is left along the same Gaussian draw, normalised to that minimum.
    """
    direction = normalise(gaussian(layout, derive(master, "direction", seed)), theta, layout, how)
    return theta + step * direction.to(theta.dtype)


def retrain(job: Job) -> None:
    """Retrain from each jump of one job, recording the jump itself (epoch 0) and the end of every epoch.

    Minibatch orders and augmentation are seeded by a jump's direction and step, or by its direction alone where the
    steps of a direction share them: how the jumps are spread over jobs changes no bit.

    Args:
        job: spec :class:`~lossatlas.trajectories.spec.RetrainJob`; ``data``: data.h5 of the run; ``run``: its
            points.h5, whose last row is the minimum. Makes points.h5, one row a point, jumps one after the other,
            and ``/fingerprint`` with a jump's place in the job as its unit.
    """
    spec, run_file = job.spec, job.file("run")
    recipe, seed = spec["recipe"], spec["seeds"]
    examples, model = of_training(spec, job.file("data"))
    layout, buffer_layout = Layout.of(model), Layout.of_buffers(model)
    theta, buffers = (torch.from_numpy(part).to(examples.x.device) for part in read_point(run_file))
    if len(theta) != layout.dim:
        raise LossatlasError(f"{run_file}: holds {len(theta)} weights, the network of {spec['label']} has {layout.dim}")
    recorder = Recorder(job, layout, buffer_layout)
    progress = recorder.state
    epochs = recipe["epochs"]
    done = progress.unit * epochs + max(progress.epoch, 0)
    with Progress(f"retrain {spec['label']}", len(spec["jumps"]) * epochs, done) as bar:
        for unit in range(progress.unit, len(spec["jumps"])):
            direction, step = spec["jumps"][unit]
            name = f"{spec['label']}, direction {direction}, step {step:g}"
            steps = () if spec.get("orders") == "shared" else (float(step),)
            own = derive(seed["training"], "jump", direction, *steps)
            training = Training(model, examples, recipe, own, name, progress.seen(unit))
            if not progress.into(training):
                layout.load_into(model, jump_point(theta, layout, spec["master"], direction, step, spec["normalise"]))
                buffer_layout.load_into(model, buffers)
                if spec["batch_norm"] == "recompute":
                    recompute_batch_norm(model, examples.inputs(examples.x), EVALUATION_BATCH)
            for epoch in range(progress.epoch, epochs):
                if epoch >= 0:
                    recorder.epoch(training, epoch)
                    bar.update()
                row = row_of(spec["label"], direction, step, epoch + 1)
                recorder.record(model, {**row, **training.metrics()})
                progress.keep(training, epoch + 1)
                recorder.commit()
            progress.next_unit(unit + 1)
        recorder.commit()
    finish(recorder, job.output, job.provenance, {"fingerprint": progress.fingerprint_table()})
