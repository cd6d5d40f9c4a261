"""Scores of embedding methods as tables and claims read them: at library defaults, and at settings chosen elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lossatlas.clouds.files import read_scores

DEFAULT = "{}"
"""The setting of library defaults."""


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
    def load(cls, paths: Sequence[Path]) -> "Scores":
        """Read ``scores.csv`` of the cloud, then those of the clouds on which settings are chosen."""
        report, *select = paths
        return cls(Path(report).parent.name, read_scores(report), [read_scores(path) for path in select])

    def methods(self) -> list[tuple[str, str]]:
        """Return every (method, metric) in order, :data:`~lossatlas.clouds.spec.EXACT` among them."""
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
