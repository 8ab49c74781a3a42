"""Rows on disk: each as soon as it is known, and tables when all are.

A folder contains `rows.jsonl` (every row, in the order in which they became known), `run.json` (the settings, versions
and status), and at the end `results.parquet`, `results.csv` and `results.jsonl`, best first.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from matgen.runtime.csv_lines import csv_lines
from matgen.runtime.json_lines import append_json_lines, read_json_lines, write_json_lines
from matgen.runtime.output import replace_file, writing
from matgen.screening.row import Row, cells, row_of, row_record
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

ROWS, RESULTS = "rows.jsonl", "results"

KINDS = ("parquet", "csv", "jsonl")


class Journal(AbstractContextManager["Journal"]):
    """The folder of one screening; that of an interrupted one is resumed.

    Args:
        folder: created if it does not exist.
        run: identity of the screening, which an existing folder must share.
        kind: of the structures, which determines the columns of the tables.
        overwrite: start anew if the folder holds another run.
    """

    def __init__(self, folder: Path, run: RunInfo, *, kind: KindName = "crystal", overwrite: bool = False) -> None:
        self.folder, self.kind = folder, kind
        self._run, self._overwrite = run, overwrite
        self._known: dict[tuple[str, str], Row] = {}
        self._report: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._overwrite:
                self._clear()
            earlier = earlier_report(self.folder, self._run)
            if not earlier and (self.folder / ROWS).exists():
                raise ResumeError(f"{self.folder} holds rows but no {REPORT} to resume from; {ADVICE}")
            self._known = {(row.name, row.digest): row for row in self._earlier_rows()}
            self._report = {
                **new_report(self._run),
                "taken_up": len(self._known),
            }
            write_report(self.folder, self._report)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_report(self.folder, self._report, kind)

    def known(self, name: str, digest: str) -> Row | None:
        """Return the row of a name if it was computed already and the content of its file is unchanged."""
        return self._known.get((name, digest))

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Raises:
            OutputError: the disk is full, or the folder was removed.
        """
        append_json_lines(self.folder / ROWS, map(row_record, rows))

    def finish(self, ranked: Sequence[Row], summary: Mapping[str, Any]) -> None:
        """Write the tables, best first, and the summary into `run.json`.

        Raises:
            OutputError: the disk is full, or the folder was removed.
        """
        self._report["summary"] = dict(summary)
        with writing(self.folder):
            write_json_lines(self._result("jsonl"), map(row_record, ranked))
            lines, columns = [cells(row, self.kind) for row in ranked], schema(self.kind)
            replace_file(self._result("csv"), csv_lines(columns.names, lines))
            part = self._result("parquet.part")
            pq.write_table(pa.Table.from_pylist(lines, columns), part)
            part.replace(self._result("parquet"))

    def _result(self, kind: str) -> Path:
        return self.folder / f"{RESULTS}.{kind}"

    def _clear(self) -> None:
        """Remove the files of an earlier screening; leave a folder without one untouched."""
        if (self.folder / REPORT).exists():
            for path in (self.folder / REPORT, self.folder / ROWS, *map(self._result, KINDS)):
                path.unlink(missing_ok=True)

    def _earlier_rows(self) -> list[Row]:
        """Read the rows on disk; an incomplete last line is dropped."""
        path = self.folder / ROWS
        return read_json_lines(path, row_of, error=ResumeError, advice=ADVICE, repair=True)


TEXTS = frozenset(
    {"name", "failed", "reason", "formula", "space_group_symbol", "smiles", "inchikey", "potential", "geometry", "path"}
)
COUNTS = frozenset(
    {"rank", "n_atoms", "n_atoms_primitive", "n_heavy", "charge", "space_group", "relaxation_steps", "index"}
)
"""Columns of text, and of integers."""


@cache
def schema(kind: KindName) -> pa.Schema:
    """Return the columns of the tables, the same for every screening of a kind."""

    def type_of(name: str) -> pa.DataType:
        if name in TEXTS:
            return pa.string()
        if name in COUNTS:
            return pa.int64()
        return pa.bool_() if name == "passed" or name.startswith("check_") else pa.float64()

    return pa.schema([(name, type_of(name)) for name in cells(Row("", "", 0, ""), kind)])
