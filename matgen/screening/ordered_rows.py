"""Rows that arrive in any order, put back into the order of the input."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from matgen.runtime.progress import Report
from matgen.screening.files import Journal
from matgen.screening.row import Row
from matgen.screening.uniqueness import Uniqueness
from matgen.structures.files import Found, digest


class OrderedRows:
    """Puts rows back into the order of the input, and checks in that order which are the first of their kind.

    Args:
        journal: has the rows of an interrupted run.
        report: hears the progress.
        known: receives each row once all rows before it are known.
    """

    def __init__(self, journal: Journal, report: Report, known: Callable[[Row], None]) -> None:
        self.finished: list[Row] = []
        self.new = self._passed = self._broken = 0
        self._journal, self._report, self._known = journal, report, known
        self._order: list[str] = []
        self._waiting: dict[str, Row] = {}
        self._uniqueness = Uniqueness(new="equals no structure before it")

    def unknown(self, entries: Iterable[Found]) -> Iterator[Found]:
        """Yield the entries that are not in the journal yet."""
        for one in entries:
            row = self._journal.known(one.name, digest(one))
            self._order.append(one.name)
            if row is None:
                yield one
            else:
                self._waiting[one.name] = row

    def put(self, rows: Sequence[Row]) -> None:
        """Add rows, and release those before which none is missing."""
        self.new += len(rows)
        self._waiting |= {row.name: row for row in rows}
        while len(self.finished) < len(self._order):
            row = self._waiting.pop(self._order[len(self.finished)], None)
            if row is None:
                break
            if row.candidate is not None:
                row = row.with_verdicts(self._uniqueness.verdict(row.candidate))
            self.finished.append(row)
            self._passed += row.passed
            self._broken += row.candidate is None
            self._known(row)
        done = len(self.finished) + len(self._waiting)
        self._report("screen", done, len(self._order), passed=self._passed, broken=self._broken)

    def check_complete(self) -> None:
        """Check that every entry has its row.

        Raises:
            RuntimeError: workers lost some, which is a fault of the program.
        """
        if len(self.finished) != len(self._order):
            missing = [name for name in self._order[len(self.finished) :] if name not in self._waiting]
            raise RuntimeError(
                f"expected a row for each of {len(self._order)} structures, got {len(self.finished)}; none of {missing}"
            )
