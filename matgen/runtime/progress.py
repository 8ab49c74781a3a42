"""How far a stage of a run is: the one word between those who work and those who show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Report(Protocol):
    """Hears how a stage gets on.

    A stage begins with its first report and ends when another one begins; its last counts are kept in `run.json`.
    """

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Hear that `done` of `total` steps of `stage` are through.

        Args:
            stage: propose, diffuse, refine, rank, relax, ... in words.
            done: steps done.
            total: steps in all.
            counts: figures to show beside, such as kept=12 or acceptance=0.57.
        """
        ...


@dataclass
class Silence:
    """A report that nobody hears, but that remembers the last counts of each stage."""

    counts: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Remember."""
        self.counts[stage] = {"done": done, "total": total, **counts}
