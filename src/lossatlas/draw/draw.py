"""Draw any figure: dispatch on its kind, then write the picture, its numbers and its provenance."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from lossatlas.barriers.figures import heights, path_plane, shells
from lossatlas.basins.figures import basins, boundaries, minefield
from lossatlas.clouds.figures import animation, embedding, scores
from lossatlas.draw.style import RC, Drawn, save
from lossatlas.errors import LossatlasError
from lossatlas.files.hdf5 import atomic
from lossatlas.legacy import figures as catalogue
from lossatlas.levelsets.figures import budget, decay_table, paths3d, surface
from lossatlas.planes.figures import contours, curvature, lines, pathplanes, relief, sharpness
from lossatlas.solutions.figures import overview, solutions
from lossatlas.train.figures import accuracies
from lossatlas.train.figures.runs import runs
from lossatlas.trajectories.figures import curves, returns

DRAWERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Drawn]] = {
    "embedding": embedding.compose,
    "animation": animation.compose,
    "curves": curves.compose,
    "returns": returns.compose,
    "surface": surface.compose,
    "paths3d": paths3d.compose,
    "path_plane": path_plane.compose,
    "path_heights": heights.compose_heights,
    "path_convergence": heights.compose_convergence,
    "shells": shells.compose_shells,
    "kernels": shells.compose_kernels,
    "budget": budget.compose,
    "histories": solutions.compose,
    "overview": overview.compose,
    "basins": basins.compose,
    "groups": basins.groups,
    "profiles": basins.profiles,
    "boundaries": boundaries.compose,
    "slices": boundaries.slices,
    "minefield": minefield.compose,
    "accuracies": accuracies.compose,
    "lines": lines.compose,
    "contours": contours.compose,
    "sharpness": sharpness.compose,
    "curvature": curvature.compose,
    "pathplanes": pathplanes.compose,
    "relief": relief.compose,
}
"""The function that draws each kind of figure from its resolved spec and its inputs."""


def draw(
    spec: Mapping[str, Any],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Path | str],
    provenance: Mapping[str, Any],
) -> tuple[str, ...]:
    """Draw a figure and write it in every format asked for.

    Args:
        spec: the figure's mapping in the study's YAML, resolved or not.
        inputs: role -> files, as :func:`lossatlas.legacy.figures.inputs` names them.
        outputs: any of ``png``, ``pdf``, ``svg``, for an animation also ``mp4``, ``gif``, and ``csv`` for the numbers
            that are drawn.
        provenance: JSON-able description of what made the figure, kept inside every picture.

    Returns:
        Notes for the caption: what was left out or clipped, and how often. They also stand in the figure and in the
        PNG's metadata.

    Raises:
        LossatlasError: the spec or an input is wrong, or the kind is a table's.
    """
    resolved = catalogue.resolve(spec)
    if resolved["kind"] not in DRAWERS:
        raise LossatlasError(f"kind: {resolved['kind']!r} is a kind of table, not of figure; write it under `tables`")
    settings: Any = RC
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        drawn = DRAWERS[resolved["kind"]](resolved, inputs)
        save(drawn, outputs, resolved["title"] or resolved["kind"], provenance)
    return drawn.notes


KINDS = {
    "runs": runs,
    "scores": scores.compare,
    "returns_table": returns.tabulate,
    "decay_table": decay_table.tabulate,
    "losses_table": solutions.losses,
    "weights_table": solutions.weights,
    "rates_table": solutions.rates,
    "sharpness_table": sharpness.tabulate,
    "variance_table": pathplanes.tabulate,
}
"""The function that makes each kind of table from its resolved spec and its inputs."""


def write_table(
    spec: Mapping[str, Any], inputs: Mapping[str, Any], output: Path | str, provenance: Mapping[str, Any]
) -> None:
    """Make a table and write it as CSV, whole or not at all.

    Args:
        spec: the table's mapping in the study's YAML, resolved or not.
        inputs: role -> files, as :func:`lossatlas.legacy.figures.inputs` names them.
        output: the CSV file. It holds the numbers alone, so that any tool reads it.
        provenance: taken for symmetry with figures; the gallery shows it, a CSV file has no place for it.

    Raises:
        LossatlasError: the spec or an input is wrong, or the kind is a figure's.
    """
    resolved = catalogue.resolve(spec)
    if resolved["kind"] not in KINDS:
        raise LossatlasError(f"kind: {resolved['kind']!r} is a kind of figure, not of table; write it under `figures`")
    table = KINDS[resolved["kind"]](resolved, inputs)
    with atomic(Path(output)) as part:
        table.to_csv(part, index=False, lineterminator="\n")
