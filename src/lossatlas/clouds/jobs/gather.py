"""The job that gathers points of many files as one cloud: all of their rows, or the best members of sweeps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import read_table
from lossatlas.files.points import gather
from lossatlas.specs.registry import Job

Rows = tuple[Path, list[int] | None]
"""A points file and the numbers of its rows, None = all."""


def gather_cloud(job: Job) -> None:
    """Gather the minimum of a run, if there is one, and the points of many jobs into one cloud, by reference."""
    minimum: list[tuple[Rows, dict[str, str]]] = [((path, [-1]), {}) for path in job.files("run")]
    sources, columns = zip(*minimum, *chosen(job.spec, job.files("points")), strict=True)
    gather(job.output, sources, job.provenance, job.spec.get("names"), columns, with_history(job.spec))


def chosen(spec: Mapping, files: Sequence[Path]) -> list[tuple[Rows, dict[str, str]]]:
    """Return the rows that a cloud's spec takes from its input files, with the columns it adds to them.

    Args:
        spec: of the cloud. ``best``: {count, stop}: the members of sweeps with the lowest training loss at their end,
            lowest first; ``sets``: a list of {cloud, files (how many of the inputs are its), spec}, gathered one after
            the other with a column ``cloud``; neither: all rows. ``others``: a list of {source, files}: how many of the
            last inputs have their column ``source`` replaced.
        files: points files, in the order of the spec.
    """
    if "sets" in spec:
        found, start = [], 0
        for part in spec["sets"]:
            mine = files[start : start + part["files"]]
            start += part["files"]
            found += [(rows, {"cloud": part["cloud"]}) for rows, _ in chosen(part["spec"], mine)]
        return found
    if "best" in spec:
        return [(rows, {}) for rows in best(files, **spec["best"])]
    others = [{"source": part["source"]} for part in spec.get("others", []) for _ in range(part["files"])]
    own: list[dict[str, str]] = [{} for _ in range(len(files) - len(others))]
    return [((path, None), columns) for path, columns in zip(files, [*own, *others], strict=True)]


def with_history(spec: Mapping) -> bool:
    """Return whether a cloud keeps the history of its trainings: not with points before their end, nor in a union."""
    return "sets" not in spec and spec.get("best", {}).get("stop") not in ("early", "level")


def best(files: Sequence[Path], count: int | None, stop: str) -> list[Rows]:
    """Return the points of the members with the lowest training loss, lowest first.

    It is that at their end, or where the sweeps kept the point of lowest training loss, at that.

    Early stopping does not change which members are chosen ("the models included into our training sets", Yu & Morozov,
    section III.1), only which of their points is taken. Held-out members and those that diverged are left out.

    Args:
        files: of sweeps that kept both points of each member.
        count: how many; None = all.
        stop: ``last``, ``early``, ``lowest`` or ``level``.
    """
    tables: list[pd.DataFrame] = []
    for path in files:
        table = read_table(path)
        if "stop" not in table:
            raise LossatlasError(f"{path}: its sweep kept no early-stopped points; write `early: true` there")
        tables.append(table.assign(file=len(tables), row=np.arange(len(table))))
    table = pd.concat(tables, ignore_index=True)
    table = table[table["held_out"] == 0]
    ranking = "lowest" if (table["stop"] == "lowest").any() else "last"
    ends = table[(table["stop"] == ranking) & np.isfinite(table["train_loss"])]
    ends = ends.sort_values("train_loss", kind="stable").head(count)
    if ends.empty or (count is not None and len(ends) < count):
        raise LossatlasError(
            f"{files[0]}: {len(ends)} trainings of its sweep ended with a finite loss, {count} are asked for; "
            "lower `count` of the cloud or the learning rate"
        )
    points = table[table["stop"] == stop].set_index(["file", "replica", "value"])["row"]
    keys = ends[["file", "replica", "value"]].itertuples(index=False)
    return [(Path(files[file]), [int(points[file, replica, value])]) for file, replica, value in keys]
