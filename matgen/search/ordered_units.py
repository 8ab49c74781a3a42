"""Units of work in the order of their numbers: from disk, or from workers that run ahead.

A unit is on disk before it is returned. A unit whose worker dies is given to another; one over which `TRIES` workers
die is given up, and the others go on.
"""

from collections import Counter
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from matgen.runtime.output import replace_file, writing
from matgen.runtime.workers import WorkerDiedError, WorkerError, Workers
from matgen.search.unit_format import Unit, read_unit
from matgen.structures.run_folder import all_units, unit_file

TRIES = 2
"""Number of workers that may die over a unit before it is given up."""

FATAL = 3
"""Number of units given up before any was finished, after which workers are not tried any more."""


class OrderedUnits:
    """The units of a run.

    Args:
        folder: of the run.
        workers: make the text of a unit from its number.
        limit: number of units after which there are no more.

    Attributes:
        due: number of the unit that `next` returns next.
        given_up: numbers of units over which workers died.
    """

    def __init__(self, folder: Path, workers: Workers, limit: int) -> None:
        self.due, self.given_up = 0, set[int]()
        self._folder, self._workers, self._limit = folder, workers, limit
        self._finished = {int(path.stem) for path in all_units(folder)}
        self._at_work: dict[Future, int] = {}
        self._deaths: Counter[int] = Counter()
        self._made = 0

    @property
    def spent(self) -> bool:
        """Whether there are no more units."""
        return self.due >= self._limit

    @property
    def at_work(self) -> int:
        """Number of units that workers are making."""
        return len(self._at_work)

    def next(self, ahead: int, seconds: float) -> Unit | None:
        """Return the next unit, an empty one if it is given up; None if it is not finished in time.

        Args:
            ahead: number of units, from the next one on, that are likely to be needed.
            seconds: longest wait.

        Raises:
            WorkerError: workers die over every unit.
            ResumeError: the unit on disk is damaged.
            OutputError: the disk is full, or the folder was removed.
        """
        if self._workers.jobs > 1 or self.due not in self._finished:  # one worker makes what is due, not what may be
            self._send(ahead)
        if self.due not in self._finished and self.due not in self.given_up:
            wait(self._at_work, max(0.0, seconds), FIRST_COMPLETED)
        self._collect()
        number = self.due
        if number in self._finished:
            self.due += 1
            return read_unit(unit_file(self._folder, number))
        if number in self.given_up:
            self.due += 1
            return Unit(number, {}, ())
        return None

    def _send(self, ahead: int) -> None:
        """Have workers make units that are likely to be needed, the first ones first."""
        known: Collection[int] = self._finished | self.given_up | set(self._at_work.values())
        for number in range(self.due, min(self.due + ahead, self._limit)):
            if len(self._at_work) >= self._workers.jobs:
                break
            if number not in known:
                self._submit(number)

    def _submit(self, number: int) -> None:
        self._at_work[self._workers.submit(number)] = number

    def _collect(self) -> None:
        """Write the units that workers have finished; submit those again whose workers died."""
        for future in [one for one in self._at_work if one.done()]:
            number = self._at_work.pop(future)
            try:
                text = future.result()
            except WorkerDiedError:
                self._died(number)
            else:
                self._write(number, text)

    def _died(self, number: int) -> None:
        self._deaths[number] += 1
        if self._deaths[number] < TRIES:
            self._submit(number)
            return
        self.given_up.add(number)
        if not self._made and len(self.given_up) >= FATAL:
            units = ", ".join(map(str, sorted(self.given_up)))
            raise WorkerError(
                f"expected workers that finish a unit, got {TRIES} that died over each of the units {units}, perhaps "
                "for want of memory; take fewer processes, or give each more memory, and call it again to resume"
            )

    def _write(self, number: int, text: str) -> None:
        path = unit_file(self._folder, number)
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            replace_file(path, text)
        self._finished.add(number)
        self._made += 1
