"""Draw any figure and make any table: the function its kind names, then picture, numbers and provenance on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from lossatlas.draw.spec import Figure, Table
from lossatlas.draw.style import RC, Drawn, save
from lossatlas.draw.ticks import mend
from lossatlas.files.hdf5 import atomic
from lossatlas.specs.registry import Inputs, resolve


def draw(
    spec: Figure, inputs: Inputs, outputs: Mapping[str, Path | str], provenance: Mapping[str, Any]
) -> tuple[str, ...]:
    """Draw a figure and write it in every format asked for.

    Args:
        spec: of its kind.
        inputs: what its references name.
        outputs: any of ``png``, ``pdf``, ``svg``, or its kind's own formats, and ``csv`` for the numbers drawn.
        provenance: JSON-able description of what made the figure, kept inside every picture.

    Returns:
        Notes for the caption: what was left out or clipped, and how often. They also stand in the figure and in the
        PNG's metadata.

    Raises:
        LossatlasError: an input is wrong.
    """
    settings: Any = RC
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        drawn: Drawn = resolve(spec.draw)(spec, inputs)
        drawn.figure.say([signature(provenance)])
        mend(drawn.figure)
        save(drawn, outputs, spec.title or spec.name(), provenance)
    return drawn.notes


def signature(provenance: Mapping[str, Any]) -> str:
    """Return the line at the foot of a figure: the data behind it and the preset; nothing where neither is known.

    Args:
        provenance: ``data_sets``, the data sets in words, and ``preset``, its name.
    """
    said = ["; ".join(provenance.get("data_sets", ()))]
    said.append(f"preset\u00a0{provenance['preset']}" if provenance.get("preset") else "")
    return " \u00b7 ".join(filter(None, said))


def write_table(spec: Table, inputs: Inputs, output: Path | str) -> None:
    """Make a table and write it as CSV, whole or not at all; it holds the numbers alone, so that any tool reads it.

    Raises:
        LossatlasError: an input is wrong.
    """
    table: pd.DataFrame = resolve(spec.draw)(spec, inputs)
    with atomic(Path(output)) as part:
        table.to_csv(part, index=False, lineterminator="\n")
