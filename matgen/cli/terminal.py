"""The console, and the progress of stages on it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from matgen.cli.cells import identity_text, prediction_text, shown_properties
from matgen.structures.candidate import Candidate
from matgen.targets.target import Target

MIN_WIDTH = 116
"""Columns assumed where the output is no terminal."""


def console(*, stderr: bool = False) -> Console:
    """Return a console, at least `MIN_WIDTH` wide where the output is no terminal."""
    found = Console(stderr=stderr)
    return found if found.is_terminal else Console(stderr=stderr, width=max(found.width, MIN_WIDTH))


class StageView(AbstractContextManager["StageView"]):
    """A `Report` that shows a bar for each stage on a terminal, and one line for each elsewhere."""

    def __init__(self, where: Console) -> None:
        self.console = where
        self._tasks: dict[str, TaskID] = {}
        self._last = ""
        self._progress = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[counts]}"),
            console=where,
            disable=not where.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        self._print_last()

    def __call__(self, stage: str, done: int, total: int, **counts: float) -> None:
        """Show the progress of a stage."""
        text = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in counts.items())
        if not self._last.startswith(f"{stage}:"):
            self._print_last()
        self._last = f"{stage}: {done}/{total}  {text}"
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, counts="")
        self._progress.update(self._tasks[stage], completed=done, total=total, counts=text)

    def found(self, candidate: Candidate, targets: Sequence[Target], remark: str = "") -> None:
        """Print a new candidate above the bars, with its prediction of the first target property, and a remark."""
        predicted = prediction_text(candidate.properties.get(shown_properties(targets, candidate.kind)[0]))
        told = f"  found {candidate.name}  {identity_text(candidate)}  {predicted}  {f'({remark})' if remark else ''}"
        self._progress.console.print(told.rstrip(), markup=False)

    def _print_last(self) -> None:
        if self._last and not self.console.is_terminal:
            self.console.print(self._last.rstrip(), highlight=False)
        self._last = ""
