"""Scores of embedding methods as tables and claims read them: at library defaults, and at settings chosen elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.errors import LossatlasError
from lossatlas.legacy.figures import SCORES

DEFAULT = "{}"
"""The setting of library defaults."""


def read(path: Path | str) -> pd.DataFrame:
    """Read ``scores.csv``; a missing or foreign file is a :class:`LossatlasError`."""
    try:
        table = pd.read_csv(path, dtype={"setting": str})
    except (OSError, ValueError) as error:
        raise LossatlasError(
            f"{path}: no readable scores ({error}); delete it and run the same command again"
        ) from error
    missing = [name for name in ("method", "metric", "setting", "seed", *SCORES) if name not in table]
    if missing:
        raise LossatlasError(f"{path}: no column {missing[0]!r}; delete it and run the same command again")
    return table


@dataclass(frozen=True)
class Scores:
    """The scores of methods on one cloud, and those of other clouds on which settings are chosen.

    Attributes:
        name: of the cloud, for messages.
        report: table of ``scores.csv``.
        select: the same of the other clouds.
    """

    name: str
    report: pd.DataFrame
    select: Sequence[pd.DataFrame] = ()

    @classmethod
    def load(cls, paths: Mapping[str, Any]) -> "Scores":
        """Read {``report``: file, ``select``: files}, as :meth:`lossatlas.legacy.plan.StudyPlan.scores` names them."""
        report = Path(paths["report"])
        return cls(report.parent.name, read(report), [read(path) for path in paths["select"]])

    def methods(self) -> list[tuple[str, str]]:
        """Return every (method, metric) in order, :data:`~lossatlas.legacy.figures.EXACT` among them."""
        return list(dict.fromkeys(zip(self.report["method"], self.report["metric"], strict=True)))

    def chosen(self, method: str, metric: str, score: str) -> str | None:
        """Return the setting with the best mean on the other clouds, by one score.

        Candidates are the swept settings, as many for each method; the defaults are one only for methods without a
        sweep. A cloud counts by the mean over its seeds; the first of equals is taken.

        Returns:
            The setting as JSON; None without other clouds, or when the score is defined nowhere there.
        """
        totals: dict[str, list[float]] = {}
        for table in self.select:
            mine = _of(table, method, metric)
            swept = mine[mine["setting"] != DEFAULT]
            for setting, rows in (mine if swept.empty else swept).groupby("setting", sort=False):
                totals.setdefault(str(setting), []).append(float(rows[score].mean()))
        means = {setting: float(np.mean(values)) for setting, values in totals.items()}
        finite = {setting: mean for setting, mean in means.items() if np.isfinite(mean)}
        return max(finite, key=lambda setting: finite[setting]) if finite else None

    def values(self, method: str, metric: str, score: str, settings: str) -> NDArray[np.float64]:
        """Return a score on this cloud, one value a seed, at ``defaults`` or at the ``selected`` setting.

        Empty when there is nothing to select on or the score is undefined.
        """
        setting = DEFAULT if settings == "defaults" else self.chosen(method, metric, score)
        mine = _of(self.report, method, metric)
        found = mine[mine["setting"] == setting][score].to_numpy(np.float64)
        return found[np.isfinite(found)]


def _of(table: pd.DataFrame, method: str, metric: str) -> pd.DataFrame:
    return table[(table["method"] == method) & (table["metric"] == metric)]
