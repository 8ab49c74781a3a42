"""Rows on disk: each as soon as it is known, and the tables when all are.

A folder holds `rows.jsonl` (every row, in the order in which they became known: the source of truth), `run.json` (how
they came about), and at the end `results.parquet`, `results.csv` and `results.jsonl`, best first.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from matgen.runtime.output import append, replace_file, writing
from matgen.screening.row import Row, cells, row_of, row_record
from matgen.structures.candidate import KindName
from matgen.structures.export import ADVICE, ResumeError, RunInfo, earlier_report, identity

ROWS, RESULTS = "rows.jsonl", "results"

KINDS = ("parquet", "csv", "jsonl")


class Journal(AbstractContextManager["Journal"]):
    """The folder of one screening; opening that of an interrupted one takes up its rows.

    Args:
        folder: made if it is not there.
        run: what the screening is; an existing folder must agree in it.
        kind: of the structures, which decides about the columns of the tables.
        overwrite: start anew where the folder holds something else.
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
                raise ResumeError(f"{self.folder} holds rows but no run.json to resume from; {ADVICE}")
            self._known = {(row.name, row.digest): row for row in self._earlier_rows()}
            self._report = {
                "status": "running",
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                **identity(self._run),
                "taken_up": len(self._known),
            }
            self._write_report()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._report["status"] = "finished"
        else:
            gone = kind in {KeyboardInterrupt, GeneratorExit}
            self._report["status"] = "interrupted" if gone else f"failed: {kind.__name__}"
        with writing(self.folder):
            self._write_report()

    def known(self, name: str, digest: str) -> Row | None:
        """The row of this name, if it was judged already and its file says the same still."""
        return self._known.get((name, digest))

    def write(self, rows: Sequence[Row]) -> None:
        """Put rows on disk.

        Raises:
            OutputError: the disk is full, or the folder has gone.
        """
        with writing(self.folder):
            append(self.folder / ROWS, "".join(map(_line, rows)))

    def finish(self, ranked: Sequence[Row], summary: Mapping[str, Any]) -> None:
        """Write the tables, best first, and the summary into `run.json`.

        Raises:
            OutputError: the disk is full, or the folder has gone.
        """
        self._report["summary"] = dict(summary)
        with writing(self.folder):
            replace_file(self._result("jsonl"), "".join(map(_line, ranked)))
            lines, columns = [cells(row, self.kind) for row in ranked], schema(self.kind)
            replace_file(self._result("csv"), _csv(lines, columns.names))
            part = self._result("parquet.part")
            pq.write_table(pa.Table.from_pylist(lines, columns), part)
            part.replace(self._result("parquet"))

    def _result(self, kind: str) -> Path:
        return self.folder / f"{RESULTS}.{kind}"

    def _write_report(self) -> None:
        replace_file(self.folder / "run.json", json.dumps(self._report, indent=2) + "\n")

    def _clear(self) -> None:
        """Remove what a screening has left, and nothing from a folder where none has been."""
        if (self.folder / "run.json").exists():
            for path in (self.folder / "run.json", self.folder / ROWS, *map(self._result, KINDS)):
                path.unlink(missing_ok=True)

    def _earlier_rows(self) -> list[Row]:
        """Rows on disk; a last line that an interrupt cut short is dropped."""
        path = self.folder / ROWS
        if not path.exists():
            return []
        try:
            whole, newline, rest = path.read_text(encoding="utf-8").rpartition("\n")
            if rest:
                replace_file(path, whole + newline)
            return [row_of(json.loads(line)) for line in whole.splitlines()]
        except (KeyError, TypeError, ValueError) as error:
            raise ResumeError(f"{path} is damaged ({error}); {ADVICE}") from error


def _line(row: Row) -> str:
    return json.dumps(row_record(row), allow_nan=False) + "\n"


def _csv(lines: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    return text.getvalue()


TEXTS = frozenset(
    {"name", "failed", "reason", "formula", "space_group_symbol", "smiles", "inchikey", "potential", "geometry", "path"}
)
COUNTS = frozenset(
    {"rank", "n_atoms", "n_atoms_primitive", "n_heavy", "charge", "space_group", "relaxation_steps", "index"}
)
"""Columns of words, and of whole numbers."""


@cache
def schema(kind: KindName) -> pa.Schema:
    """The columns of the tables, the same for every screening of a kind."""

    def type_of(name: str) -> pa.DataType:
        if name in TEXTS:
            return pa.string()
        if name in COUNTS:
            return pa.int64()
        return pa.bool_() if name == "passed" or name.startswith("check_") else pa.float64()

    return pa.schema([(name, type_of(name)) for name in cells(Row("", "", 0, ""), kind)])
