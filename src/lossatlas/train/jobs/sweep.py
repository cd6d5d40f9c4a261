"""Many small trainings in one job: replicas of a run, and a grid over one key of its recipe.

The start of a process costs as much as a small training, so the unit of work is a list of them (``grain``). Each has
its own seeds, so how they are spread over jobs changes no bit. A member that is *held out* trains without a part of the
training set and is evaluated on that part in place of the test set: what is chosen with it never saw a test example.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lossatlas.files.hdf5 import read_table
from lossatlas.files.points import read_point
from lossatlas.landscape.layout import Layout
from lossatlas.progress import Progress
from lossatlas.specs.registry import Job
from lossatlas.train.examples import build_model, drawing, make_examples
from lossatlas.train.lockstep import Lockstep
from lossatlas.train.loop import DivergedError, Examples, Recorder, State, Training, finish, row_of
from lossatlas.train.precision import device_for
from lossatlas.train.spec import QUANTITIES, leaves_one_out


def sweep(job: Job) -> None:
    """Train every member of one job and keep its end point; resumes from the last commit to the same bits.

    A spec with ``lockstep`` trains them all at once (:mod:`lossatlas.train.lockstep`).

    Args:
        job: spec :class:`~lossatlas.train.spec.SweepJob`; ``data``: data.h5; ``starts``: points.h5 of the run from
            whose recorded points members start (their ``start``: an epoch), or of the sweep where they go on from the
            end of the same replica, if they do. Makes points.h5: one row a member, with columns source, replica,
            parameter, value, optimizer, held_out and example_gradients (examples whose gradient was taken, with
            repetition). A held-out member has validation_loss and validation_accuracy, the others test_loss and
            test_accuracy. With ``early`` each member has two rows, told apart by column ``stop``: ``last``, then
            ``early``, whose epoch is that of its lowest test loss (validation loss where it has one), and where the
            spec asks for them ``lowest``, the point of lowest training loss, and ``level``, the first whose training
            loss is at most the spec's ``level`` (the lowest where none is); ``weight_mean`` and ``weight_std`` are the
            mean and standard deviation over the components of theta, ``train_examples`` and ``test_examples`` counts.
            ``/history`` holds the same columns during training, ``/fingerprint`` early losses
            (:class:`~lossatlas.train.loop.State`) with a member's place as its unit.
    """
    spec, data_file = job.spec, job.file("data")
    if spec.get("lockstep"):
        _in_lockstep(job)
        return
    members = spec["members"]
    examples, outputs = _examples(spec, members[0], data_file)
    first = build_model(spec["model"], examples, outputs, members[0]["seeds"]["init"])
    recorder = Recorder(job, Layout.of(first), Layout.of_buffers(first))
    progress = recorder.state
    with Progress(f"sweep {spec['label']}", len(members), progress.unit) as bar:
        for unit in range(progress.unit, len(members)):
            examples, outputs = _examples(spec, members[unit], data_file)
            model = build_model(spec["model"], examples, outputs, members[unit]["seeds"]["init"])
            _train(spec, members[unit], model, examples, recorder)
            progress.next_unit(unit + 1)
            progress.best, progress.kept = None, {}
            if recorder.due():
                recorder.commit()
            bar.update()
    recorder.commit()
    finish(recorder, job.output, job.provenance, _tables(progress))


def _tables(progress: State) -> dict[str, pd.DataFrame]:
    """Return the tables beside the points': evaluations during the trainings, and their fingerprints."""
    return {"history": pd.DataFrame(progress.history), "fingerprint": progress.fingerprint_table()}


def _examples(spec: Mapping, member: Mapping, data_file: Path) -> tuple[Examples, int]:
    """Return a member's examples as network inputs: without augmentation nothing is left to do a step."""
    seeds, recipe = member["seeds"], spec["recipe"]
    held_out = (spec["held_out"], seeds["held_out"]) if member["held_out"] else None
    examples, outputs = make_examples(
        data_file,
        spec["labels"],
        seeds["labels"],
        recipe["precision"],
        device_for(recipe["precision"]),
        held_out=held_out,
        **drawing({**spec, "seeds": seeds}),
    )
    if not recipe["augment"]:
        x, test_x = examples.normalise(examples.x), examples.normalise(examples.test_x)
        examples = replace(examples, x=x, test_x=test_x, normalise=lambda inputs: inputs)
    return examples, outputs


def _train(spec: Mapping, member: Mapping, model: torch.nn.Module, examples: Examples, recorder: Recorder) -> None:
    """Train one member from its beginning, or from the last commit, and record its end and its history."""
    recipe = dict(spec["recipe"])
    if spec["parameter"] is not None:
        recipe[spec["parameter"]] = spec["factor"] * member["value"]
    name = f"{spec['label']}, replica {member['replica']}, {spec['parameter']} {member['value']}"
    progress = recorder.state
    training = Training(model, examples, recipe, member["seeds"]["training"], name, progress.seen(progress.unit))
    progress.into(training)
    epochs, diverged = recipe["epochs"], False
    evaluations = spec["history"] or epochs
    marks = {round(epochs * (k + 1) / evaluations) for k in range(evaluations)}
    for epoch in range(max(progress.epoch, 0), epochs):
        before = recorder.layout.flatten(model)
        try:
            training.epoch(epoch)
        except DivergedError:
            recorder.layout.load_into(model, before)
            diverged = True
        if diverged or epoch + 1 in marks or epoch + 1 == epochs:
            found: dict[str, float] = dict.fromkeys(QUANTITIES, math.nan) if diverged else training.metrics()
            row = _row(spec, member, found, epoch + 1, len(examples.x))
            progress.history.append(row)
            if spec.get("early"):
                _keep(spec, recorder, model, row)
        if diverged or epoch + 1 == epochs:
            _record(spec, recorder, training, row)
            return
        if recorder.due():
            progress.keep(training, epoch + 1)
            recorder.commit()


def _keep(spec: Mapping, recorder: Recorder, model: torch.nn.Module, row: dict) -> None:
    """Keep the point where it is the best of its training so far: the early-stopped one, and others the spec names."""
    state, loss, level = recorder.state, row["train_loss"], spec.get("level")

    def point() -> dict[str, Any]:
        theta, buffers = (part.flatten(model).detach().clone() for part in (recorder.layout, recorder.buffer_layout))
        return {"theta": theta, "buffers": buffers, "row": row}

    stopping = _stopping_loss(row)
    if math.isfinite(stopping) and (state.best is None or stopping < _stopping_loss(state.best["row"])):
        state.best = point()
    lower = math.isfinite(loss) and ("lowest" not in state.kept or loss < state.kept["lowest"]["row"]["train_loss"])
    if level is not None and lower and not _reached(state.kept, level):
        state.kept["level"] = point()
    if (spec.get("lowest") or level is not None) and lower:
        state.kept["lowest"] = point()


def _reached(kept: Mapping[str, Mapping], level: float) -> bool:
    """Tell whether an earlier point had a training loss of at most the level."""
    return "level" in kept and kept["level"]["row"]["train_loss"] <= level


def _stopping_loss(row: Mapping) -> float:
    return float(row["validation_loss"] if row["held_out"] else row["test_loss"])


def _record(spec: Mapping, recorder: Recorder, training: Training, row: dict) -> None:
    """Record a member's end point and, if asked for, its early-stopped one; without any finite loss that is the end."""
    model, examples = training.model, training.examples
    if not spec.get("early"):
        recorder.record(model, row)
        return
    more = {"train_examples": len(examples.x), "test_examples": len(examples.test_x)}
    end: dict[str, Any] = {
        "theta": recorder.layout.flatten(model),
        "buffers": recorder.buffer_layout.flatten(model),
        "row": row,
    }
    asked = [name for name, there in (("lowest", spec.get("lowest")), ("level", spec.get("level"))) if there]
    points = {"last": end, "early": recorder.state.best or end}
    points |= {name: recorder.state.kept.get(name, end) for name in asked}
    for stop, point in points.items():
        weights = point["theta"].detach().double()
        moments = {"weight_mean": float(weights.mean()), "weight_std": float(weights.std(correction=0))}
        recorder.append(point["theta"], point["buffers"], {**point["row"], "stop": stop, **moments, **more})


def _in_lockstep(job: Job) -> None:
    """Train the members of one job at once; a member that diverges stays as it was, with NaN for every loss."""
    spec = job.spec
    members, recipe = spec["members"], spec["recipe"]
    prepared = [_examples(spec, member, job.file("data")) for member in members]
    models = [
        build_model(spec["model"], examples, outputs, member["seeds"]["init"])
        for member, (examples, outputs) in zip(members, prepared, strict=True)
    ]
    layout = Layout.of(models[0])
    recorder = Recorder(job, layout, Layout.of_buffers(models[0]))
    drawn = torch.stack([layout.flatten(model) for model in models])
    first = _starts(members, job.files("starts")) if job.files("starts") else drawn
    examples = [one for one, _ in prepared]
    progress = recorder.state
    training = Lockstep(
        models[0],
        first.to(examples[0].x.device),
        examples,
        recipe,
        [_own(spec, member, "beta") for member in members],
        [member["seeds"]["training"] for member in members],
        [progress.seen(unit) for unit in range(len(members))],
        [_own(spec, member, "weight_decay") for member in members],
        [_own(spec, member, "tether") for member in members],
        spec.get("stop"),
    )
    epochs = recipe["epochs"]
    if progress.model is not None and progress.optimizer is not None:
        training.resume(progress.model, progress.optimizer)
    marks = {round(epochs * (k + 1) / spec["history"]) for k in range(spec["history"])} | {epochs}
    with Progress(f"sweep {spec['label']}, {len(members)} in lockstep", epochs, max(progress.epoch, 0)) as bar:
        for epoch in range(max(progress.epoch, 0), epochs):
            training.epoch(epoch)
            bar.update()
            if epoch + 1 in marks:
                if spec.get("stop") and epoch + 1 == epochs:
                    training.check(epochs)
                progress.history += _rows(spec, training, epoch + 1)
            if recorder.due():
                progress.epoch = epoch + 1
                progress.model, progress.optimizer = training.state()
                recorder.commit()
    if not progress.rows:  # else the last commit was this one
        for theta, row in zip(training.thetas, progress.history[-len(members) :], strict=True):
            layout.load_into(models[0], theta.detach())
            recorder.record(models[0], row)
        progress.epoch = epochs
        progress.model, progress.optimizer = training.state()
        recorder.commit()
    finish(recorder, job.output, job.provenance, _tables(progress))


def _rows(spec: Mapping, training: Lockstep, epoch: int) -> list[dict]:
    """Return a table row for each member; with a start, how far it has moved, with ``stop`` when it met that."""
    rows, count = [], training.x.shape[1]
    moved = (training.thetas.detach() - training.starts).double().norm(dim=1).tolist()
    stops = zip(spec["members"], training.metrics(), moved, training.stopped.tolist(), strict=True)
    for member, found, distance, stopped in stops:
        done = epoch if math.isnan(stopped) else int(stopped)
        row = _row(spec, member, found, done, count)
        if spec.get("stop") or spec.get("origin") or "path" in member:
            row |= {"moved": distance, "met": stopped}
        rows.append(row)
    return rows


def _own(spec: Mapping, member: Mapping, name: str) -> float:
    """Return a member's value of a key of the recipe that may differ between members."""
    return float(spec["factor"] * member["value"] if spec["parameter"] == name else spec["recipe"].get(name, 0.0))


def _starts(members: Sequence[Mapping], files: Sequence[Path]) -> torch.Tensor:
    """Return the weights (m, D) where members start: recorded epochs of a run, or the end points of a sweep."""
    tables = [read_table(file, "points") for file in files]
    rows = []
    for member in members:
        for file, table in zip(files, tables, strict=True):
            if "path" in member and files[member["path"]] is not file:
                continue
            if "row" in member:
                chosen = table.index == member["row"]
            elif "start" in member:
                chosen = table["epoch"] == member["start"]
            else:
                chosen = (table["replica"] == member["replica"]) & (table["held_out"] == 0)
            rows += [torch.from_numpy(read_point(file, int(row))[0]) for row in table.index[chosen]]
    return torch.stack(rows)


def _row(spec: Mapping, member: Mapping, found: Mapping[str, float], epoch: int, count: int) -> dict:
    """Return a table row; a run that diverged has NaN for every loss, and the weights before the epoch it did so in."""
    measured, absent = ("validation", "test") if member["held_out"] else ("test", "validation")
    row = {**row_of(spec["label"], -1, 0.0, float(epoch)), "source": "sweep"}
    row |= {"replica": member["replica"], "value": float(member["value"]), "held_out": int(member["held_out"])}
    row |= {"parameter": spec["parameter"] or spec.get("origin") or "none", "optimizer": spec["recipe"]["optimizer"]}
    for quantity in ("loss", "accuracy"):
        row[f"train_{quantity}"] = found[f"train_{quantity}"]
        row[f"{measured}_{quantity}"] = found[f"test_{quantity}"]
        row[f"{absent}_{quantity}"] = math.nan
    if "start" in member:
        row["start"] = float(member["start"])
    if spec.get("continued"):
        row["continued"] = 1
    batch = spec["recipe"]["batch"]
    if batch is not None and leaves_one_out(count, batch):
        count -= 1
    return {**row, "example_gradients": epoch * count}
