"""Draw any figure: dispatch on its kind, then write the picture, its numbers and its provenance."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from lossatlas.errors import LossatlasError
from lossatlas.figures import (
    accuracies,
    animation,
    basins,
    budget,
    catalogue,
    contours,
    curvature,
    curves,
    embedding,
    heights,
    lines,
    minefield,
    overview,
    pathplane,
    pathplanes,
    paths3d,
    planar,
    relief,
    returns,
    sharpness,
    shells,
    solutions,
    surface,
)
from lossatlas.figures.style import RC, Drawn, save

DRAWERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Drawn]] = {
    "embedding": embedding.compose,
    "animation": animation.compose,
    "curves": curves.compose,
    "returns": returns.compose,
    "surface": surface.compose,
    "paths3d": paths3d.compose,
    "path_plane": pathplane.compose,
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
    "boundaries": planar.compose,
    "slices": planar.slices,
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
        inputs: role -> files, as :func:`lossatlas.figures.catalogue.inputs` names them.
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
