"""Rows that arrive in any order, put back into the order of the input, and ranked when all are there."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from matgen.runtime.progress import Report
from matgen.screening.files import Journal
from matgen.screening.given_columns import GivenColumns
from matgen.screening.ranking import Merit, enthalpy, merit
from matgen.screening.row import Row
from matgen.screening.stored_rows import Key
from matgen.screening.uniqueness import Uniqueness
from matgen.structures.candidate import Verdict
from matgen.structures.files import Found, digest

IN_MEMORY = 1000
"""Rows that may wait in memory for one before them; further ones are read from the disk when their turn comes."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A row that has its place in the order of the input; the rest of it is in the journal."""

    key: Key
    merit: Merit
    unique: Verdict | None
    formula: str
    enthalpy: float


class OrderedRows:
    """Puts rows back into the order of the input, and checks in that order which are the first of their kind.

    Memory holds what ranking and comparison need. The rows are on disk.

    Args:
        journal: has the rows of an interrupted run, and receives those of this one before `put` does.
        report: hears the progress.
        known: receives each row once all rows before it are known.
    """

    def __init__(self, journal: Journal, report: Report, known: Callable[[Row], None]) -> None:
        self.new = self._passed = self._broken = 0
        self._journal, self._report, self._known = journal, report, known
        self._order: list[Key] = []
        self._finished: list[Finished] = []
        self._waiting: dict[Key, Row | None] = {}
        self._in_memory = 0
        self._lowest: dict[str, float] = {}  # enthalpy of each formula, eV/atom
        self.given = GivenColumns()
        self._uniqueness = Uniqueness(new="equals no structure before it")

    def unknown(self, entries: Iterable[Found]) -> Iterator[Found]:
        """Yield the entries that are not in the journal yet."""
        for one in entries:
            key = (one.name, digest(one))
            self._order.append(key)
            if key in self._journal:
                self._waiting[key] = None
            else:
                yield one

    def put(self, rows: Sequence[Row]) -> None:
        """Add rows that are in the journal, and release those before which none is missing."""
        self.new += len(rows)
        for row in rows:
            kept = self._in_memory < IN_MEMORY
            self._in_memory += kept
            self._waiting[(row.name, row.digest)] = row if kept else None
        while len(self._finished) < len(self._order) and self._order[len(self._finished)] in self._waiting:
            self._release(self._order[len(self._finished)])
        done = len(self._finished) + len(self._waiting)
        self._report("screen", done, len(self._order), passed=self._passed, broken=self._broken)

    def _release(self, key: Key) -> None:
        row = self._waiting.pop(key)
        if row is None:
            row = self._journal.row(key)
        else:
            self._in_memory -= 1
        unique = None if row.candidate is None else self._uniqueness.verdict(row.candidate)
        row = _with(row, unique)
        found = enthalpy(row)
        if math.isfinite(found):
            self._lowest[row.formula] = min(found, self._lowest.get(row.formula, math.inf))
        self._finished.append(Finished(key, merit(row), unique, row.formula, found))
        self._passed += row.passed
        self._broken += row.candidate is None
        self.given.add(row.given)
        self._known(row)

    def check_complete(self) -> None:
        """Check that every entry has its row.

        Raises:
            RuntimeError: workers lost some, which is a fault of the program.
        """
        if len(self._finished) != len(self._order):
            missing = [name for name, _ in self._order[len(self._finished) :] if (name, _) not in self._waiting]
            raise RuntimeError(
                f"expected a row for each of {len(self._order)} structures, got {len(self._finished)}; "
                f"none of {missing}"
            )

    def ranked(self) -> Iterator[Row]:
        """Yield the rows with their rank, best first; equal ones in the order of the input.

        At a pressure the enthalpy above the lowest of the same formula takes the place of the energy above the hull.
        """
        for rank, one in enumerate(sorted(self._finished, key=self._merit), start=1):
            yield replace(_with(self._journal.row(one.key), one.unique), rank=rank)
            self._report("write", rank, len(self._finished))

    def _merit(self, one: Finished) -> Merit:
        if not math.isfinite(one.enthalpy):
            return one.merit
        broken, failed, _, density = one.merit
        return broken, failed, one.enthalpy - self._lowest[one.formula], density


def _with(row: Row, unique: Verdict | None) -> Row:
    return row if unique is None else row.with_verdicts(unique)
