"""Rows on disk: each as soon as it is known, and tables when all are.

A folder contains `rows.jsonl` (every row, in the order in which they became known), `run.json` (the settings, versions
and status), while it is written to `at_work.json` (a note in case the process dies), and at the end `results.parquet`,
`results.csv` and `results.jsonl`, best first.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matgen.runtime.at_work import NOTE, AtWork
from matgen.runtime.folder_lock import FolderLock
from matgen.runtime.output import writing
from matgen.screening.given_columns import GivenColumns
from matgen.screening.ranking import Counts
from matgen.screening.row import Row
from matgen.screening.stored_rows import Key, RowFile
from matgen.screening.tables import KINDS, RESULTS, write_tables
from matgen.structures.attached_files import remove_attached, with_files_written
from matgen.structures.candidate import KindName
from matgen.structures.run_folder import REPORT
from matgen.structures.run_report import (
    ADVICE,
    ResumeError,
    RunInfo,
    earlier_report,
    end_report,
    new_report,
    write_report,
)

ROWS = "rows.jsonl"


class Journal(AbstractContextManager["Journal"]):
    """The folder of one screening; that of an interrupted one is resumed.

    Args:
        folder: created if it does not exist.
        run: identity of the screening, which an existing folder must share.
        kind: of the structures, which determines the columns of the tables.
        more: properties of property files, which have columns too.
        overwrite: start anew if the folder holds another run.

    Attributes:
        at_work: the note of the structures that are being screened.
    """

    at_work: AtWork

    def __init__(
        self,
        folder: Path,
        run: RunInfo,
        *,
        kind: KindName = "crystal",
        more: tuple[str, ...] = (),
        overwrite: bool = False,
    ) -> None:
        self.folder, self.kind, self._more = folder, kind, more
        self._run, self._overwrite = run, overwrite
        self._rows = RowFile(folder / ROWS)
        self._report: dict[str, Any] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(FolderLock(self.folder))
        with self._open, writing(self.folder):
            if self._overwrite:
                self._clear()
            earlier = earlier_report(self.folder, self._run)
            if not earlier and (self.folder / ROWS).exists():
                raise ResumeError(f"{self.folder} holds rows but no {REPORT} to resume from; {ADVICE}")
            self._rows.find()
            self._report = {**new_report(self._run), "taken_up": len(self._rows)}
            write_report(self.folder, self._report)
            self.at_work = self._open.enter_context(AtWork(self.folder))
            self._open = self._open.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            end_report(self.folder, self._report, kind)
        finally:
            self._open.__exit__(kind, error, trace)

    def __contains__(self, key: Key) -> bool:
        """Whether the row of a name was computed already and the content of its file is unchanged."""
        return key in self._rows

    def row(self, key: Key) -> Row:
        """Return a row that is on disk, as it was computed: without uniqueness and rank.

        Raises:
            ResumeError: the file was changed or removed.
        """
        return self._rows[key]

    def write(self, rows: Sequence[Row]) -> list[Row]:
        """Append rows, and return them as they were written: with a reason in place of what cannot be.

        Raises:
            OutputError: the disk is full, or the folder was removed.
        """
        with writing(self.folder):
            return self._rows.append([self._without_files(row) for row in rows])

    def _without_files(self, row: Row) -> Row:
        """Write the further files about a structure; a row of the journal says that they are there."""
        if row.candidate is None:
            return row
        return replace(row, candidate=with_files_written(self.folder, row.candidate, row.name))

    def finish(
        self, ranked: Iterable[Row], passed_over: dict[str, int], given: GivenColumns
    ) -> tuple[Sequence[Row], dict[str, Any]]:
        """Write the tables, best first, and the summary into `run.json`; return both.

        Args:
            ranked: all rows, best first.
            passed_over: number of files without a structure, by kind.
            given: labels of the rows.

        Raises:
            OutputError: the disk is full, or the folder was removed.
        """
        counts = Counts()
        rows = write_tables(self.folder, counts.counted(ranked), self.kind, self._more, given.columns)
        left_out = {"labels_without_column": given.left_out} if given.left_out else {}
        summary = {**counts.summary(), "passed_over": passed_over, **left_out}
        self._report["summary"] = summary
        return rows, summary

    def _clear(self) -> None:
        """Remove the files of an earlier screening; leave a folder without one untouched."""
        if (self.folder / REPORT).exists():
            tables = [self.folder / f"{RESULTS}.{suffix}" for suffix in KINDS]
            for path in (self.folder / REPORT, self.folder / ROWS, self.folder / NOTE, *tables):
                path.unlink(missing_ok=True)
            remove_attached(self.folder)
