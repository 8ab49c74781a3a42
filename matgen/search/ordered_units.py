"""Units of work in the order of their numbers: from disk, or from workers that run ahead.

A unit is on disk before it is returned. A unit whose worker dies is given to another; one over which `TRIES` workers
die, or that raises an exception, is given up, and the others go on. A unit that was being made
when an earlier process ended is made in a process of its own.
"""

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, closing
from pathlib import Path

from matgen.errors import UserError
from matgen.runtime.at_work import AtWork
from matgen.runtime.failures import of_the_machine, reason_of
from matgen.runtime.output import replace_file, writing
from matgen.runtime.workers import WorkerDiedError, WorkerError, Workers
from matgen.search.unit_format import Unit, read_unit
from matgen.structures.run_folder import all_units, unit_file

TRIES = 2
"""Number of workers that may die over a unit before it is given up."""

FATAL = 3
"""Number of units given up before any was finished, after which no other is tried."""


class OrderedUnits:
    """The units of a run.

    Args:
        folder: of the run.
        workers: make the text of a unit from its number.
        limit: number of units after which there are no more.
        apart: makes workers in other processes, for units over which an earlier process ended; None for `workers`.

    Attributes:
        due: number of the unit that `next` returns next.
        given_up: units over which workers died, or that raised an exception, with the reason.
        note: of the units that are being made, in case the process dies.
    """

    def __init__(self, folder: Path, workers: Workers, limit: int, apart: Callable[[], Workers] | None = None) -> None:
        self.due, self.given_up = 0, dict[int, str]()
        self.note, self._apart, self._others = AtWork(folder), apart, ExitStack()
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
        known: Collection[int] = self._finished | self.given_up.keys() | set(self._at_work.values())
        for number in range(self.due, min(self.due + ahead, self._limit)):
            if len(self._at_work) >= self._workers.jobs:
                break
            if number not in known:
                self._submit(number)

    def _submit(self, number: int) -> None:
        workers = self._workers
        if self._apart is not None and str(number) in self.note.left:
            workers = self._others.enter_context(closing(self._apart()))
        self.note.begin([str(number)])
        self._at_work[workers.submit(number)] = number

    def close(self) -> None:
        """Stop the workers that were started for some units."""
        self._others.close()

    def _collect(self) -> None:
        """Write the units that workers have finished; submit those again whose workers died."""
        for future in [one for one in self._at_work if one.done()]:
            number = self._at_work.pop(future)
            try:
                text = future.result()
            except WorkerDiedError:
                self._died(number)
            except Exception as error:
                if of_the_machine(error) or isinstance(error, UserError):
                    raise
                self._give_up(number, reason_of(error))
                if not self._finished and len(self.given_up) >= FATAL:  # a fault of the request, or of the program
                    raise
            else:
                self._write(number, text)

    def _died(self, number: int) -> None:
        self._deaths[number] += 1
        if self._deaths[number] < TRIES:
            self._submit(number)
            return
        self._give_up(number, f"{TRIES} workers died over it, perhaps for want of memory")
        if not self._made and len(self.given_up) >= FATAL:
            units = ", ".join(map(str, sorted(self.given_up)))
            raise WorkerError(
                f"expected workers that finish a unit, got {TRIES} that died over each of the units {units}, perhaps "
                "for want of memory; take fewer processes, or give each more memory, and call it again to resume"
            )

    def _give_up(self, number: int, reason: str) -> None:
        self.given_up[number] = reason
        self.note.end([str(number)])

    def _write(self, number: int, text: str) -> None:
        path = unit_file(self._folder, number)
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            replace_file(path, text)
        self._finished.add(number)
        self.note.end([str(number)])
        self._made += 1
