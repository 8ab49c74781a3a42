"""Progress reports of the stages of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Report(Protocol):
    """Receives the progress of a stage.

    A stage begins with its first report and ends when another one begins; its last counts are written to `run.json`.
    """

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Report that `done` of `total` steps of `stage` are finished.

        Args:
            stage: its name, such as propose, move templates, initial geometries, refine, rank, or relax and check.
            done: finished steps.
            total: all steps.
            counts: further figures to show, such as kept=12 or acceptance=0.57.
        """
        ...


@dataclass
class Silence:
    """A report that shows nothing and keeps the last counts of each stage."""

    counts: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Keep the counts."""
        self.counts[stage] = {"done": done, "total": total, **counts}
