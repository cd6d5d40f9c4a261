"""What every probe of one's own network returns: numbers, a picture, a verdict, files with their provenance."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from lossatlas import __version__
from lossatlas.draw import style
from lossatlas.errors import LossatlasError
from lossatlas.files import machine
from lossatlas.files.hdf5 import atomic, create
from lossatlas.own.point import Placed, about
from lossatlas.planes.trust import Verdict

PICTURES = ("png", "pdf", "svg")

_LOOK: Any = style.RC


class Clock:
    """Begins when a probe does, and writes its record."""

    def __init__(self, method: str, network: Placed | dict[str, Any], settings: Mapping[str, Any]) -> None:
        """Start the clock.

        Args:
            method: name of the function.
            network: where it looks, or what is known of that.
            settings: JSON-able arguments as they were used, seeds among them.
        """
        self.started = time.time()
        self.method, self.settings = method, dict(settings)
        self.network = network if isinstance(network, dict) else about(network)

    def record(self, **more: Any) -> dict[str, Any]:
        """Return the record: what was computed, of what, how, by which versions, when, in how many seconds."""
        return {
            "method": self.method,
            "network": self.network,
            "settings": {**self.settings, **more},
            "lossatlas": __version__,
            "versions": machine.versions(),
            "device": machine.gpu_name() or machine.cpu()["cpu"],
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.time() - self.started, 2),
        }


@dataclass(frozen=True, eq=False)
class Result(ABC):
    """Numbers of a probe.

    Attributes:
        provenance: what was computed, of what (SHA-256 of checkpoint, weights and examples), with which settings and
            seeds, by which versions, in how many seconds. JSON-able.
        verdict: whether the picture may be believed.
        notes: what was chosen for the user, and what is missing, a sentence each.
    """

    provenance: Mapping[str, Any]
    verdict: Verdict
    notes: tuple[str, ...]

    kind: ClassVar[str]
    size: ClassVar[tuple[float, float]] = (4.2, 3.4)
    formats: ClassVar[tuple[str, ...]] = ("h5", "csv", *PICTURES)

    @abstractmethod
    def _draw(self, figure: Figure) -> Any:
        """Draw into an empty figure and return its axes: one, or several as an array."""

    @abstractmethod
    def columns(self) -> dict[str, np.ndarray]:
        """Return the numbers that are drawn as columns of equal length, one observation a row."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Return all numbers by name, in their own shapes."""

    @abstractmethod
    def headline(self) -> str:
        """Return the result in one or two lines."""

    def plot(self) -> Any:
        """Draw the picture with pyplot and return its axes (several as an array); ``.figure`` of one is the figure."""
        import matplotlib.pyplot as plt

        # Loads the backend: in notebooks that sets settings, which the context would take back.
        plt.draw_if_interactive()
        with mpl.rc_context(_LOOK):
            return self._draw(plt.figure(figsize=self.size, dpi=150, layout="constrained"))

    def figure(self) -> Figure:
        """Return the picture as a figure of its own, apart from pyplot."""
        with mpl.rc_context(_LOOK):
            figure = style.new_figure(*self.size)
            figure.set_layout_engine("constrained")
            self._draw(figure)
        return figure

    def save(self, path: str | Path) -> Path:
        """Write the result with its provenance; the suffix says how. The file appears whole or not at all.

        ``.h5`` has every number (attribute ``provenance``, JSON); ``.csv`` what is drawn, the provenance in a first
        line that begins with ``#``; ``.png``, ``.pdf`` and ``.svg`` the picture, the provenance in their metadata;
        surfaces also ``.vtk`` and ``.vtp`` (ParaView) and ``.html`` (interactive).

        Raises:
            LossatlasError: an unknown suffix.
        """
        target = Path(path)
        suffix = target.suffix.lower().removeprefix(".")
        if suffix not in self.formats:
            known = ", ".join(f".{name}" for name in self.formats)
            raise LossatlasError(f"{target}: got suffix {target.suffix!r}; expected one of {known}")
        if suffix == "h5":
            with create(target, self.kind, self.record()) as file:
                for name, values in self.arrays().items():
                    file.create_dataset(name, data=values)
            return target
        with atomic(target) as part:
            if suffix == "csv":
                self._write_csv(part)
            elif suffix in PICTURES:
                self._write_picture(part, suffix)
            else:
                self._write_other(part, suffix)
        return target

    def record(self) -> dict[str, Any]:
        """Return the provenance with verdict and notes, JSON-able: what every file carries."""
        return {**self.provenance, "verdict": self.verdict.record(), "notes": list(self.notes)}

    def _write_csv(self, path: Path) -> None:
        columns = self.columns()
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(f"# {json.dumps(self.record())}\n")
            file.write(",".join(columns) + "\n")
            for row in zip(*columns.values(), strict=True):
                file.write(",".join(_cell(value) for value in row) + "\n")

    def _write_picture(self, path: Path, suffix: str) -> None:
        text, tool = json.dumps(self.record(), sort_keys=True), f"lossatlas {__version__}"
        metadata: dict[str, dict[str, Any]] = {
            "png": {"Title": self.kind, "Software": tool, "lossatlas": text},
            "pdf": {"Title": self.kind, "Creator": tool, "Producer": None, "CreationDate": None, "Keywords": text},
            "svg": {"Title": self.kind, "Creator": tool, "Date": None, "Description": text},
        }
        figure = self.figure()
        with mpl.rc_context(_LOOK):
            figure.savefig(path, format=suffix, dpi=style.DPI, metadata=metadata[suffix])

    def _write_other(self, path: Path, suffix: str) -> None:
        raise NotImplementedError(suffix)  # a class that names further formats writes them

    def __str__(self) -> str:
        return "\n".join([self.headline(), *(f"  {note}" for note in self.notes), str(self.verdict)])

    __repr__ = __str__


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"' if any(c in value for c in ',"\n') else value
    if isinstance(value, int | np.integer):
        return str(int(value))
    return repr(float(value))
