"""What corrects estimates: seconds that finished jobs took over those expected, rule by rule."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PRIOR = 60.0
"""Seconds of finished jobs that weigh as much as the estimate they correct."""

KEPT = 600.0
"""Seconds of a rule that are remembered from call to call: so much of what a run finds is outweighed by the next."""


class Pace:
    """Seconds taken and expected of the jobs that have finished, by rule."""

    def __init__(self, sums: dict[str, tuple[float, float]] | None = None) -> None:
        """Begin with the sums (expected, taken) of earlier runs."""
        self._sums = dict(sums or {})

    def add(self, rule: str, expected: float, taken: float) -> None:
        """Count a finished job of a rule."""
        before = self._sums.get(rule, (0.0, 0.0))
        self._sums[rule] = before[0] + expected, before[1] + taken

    def factor(self, rule: str, alike: Iterable[str] = ()) -> float:
        """Return what to multiply an estimate by: the rule's own ratio, drawn to that of rules like it, and that to 1.

        Args:
            rule: of the estimate.
            alike: rules whose jobs do the same sort of work, itself among them or not.
        """
        sums = [self._sums[name] for name in {rule, *alike} if name in self._sums]
        expected, taken = (sum(column) for column in zip((PRIOR, PRIOR), *sums, strict=True))
        own = self._sums.get(rule, (0.0, 0.0))
        return (PRIOR * taken / expected + own[1]) / (PRIOR + own[0])

    def save(self, file: Path) -> None:
        """Keep the sums for the next call, scaled down to what is remembered; a folder that is closed keeps none."""
        shares = {rule: min(1.0, KEPT / sums[0]) for rule, sums in self._sums.items() if sums[0] > 0}
        kept = {rule: [round(share * value, 2) for value in self._sums[rule]] for rule, share in shares.items()}
        with suppress(OSError):
            file.write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> "Pace":
        """Return what was kept; nothing where the file is missing or not what was written."""
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls({rule: (float(expected), float(taken)) for rule, (expected, taken) in found.items()})
        except (OSError, ValueError, AttributeError, TypeError):
            return cls()
