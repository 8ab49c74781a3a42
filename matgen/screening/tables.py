"""Tables of all rows, best first, written a few rows at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from matgen.runtime.csv_lines import csv_lines, writable
from matgen.runtime.failures import together
from matgen.runtime.json_lines import json_line
from matgen.runtime.output import replacing, writing
from matgen.runtime.processes import in_chunks
from matgen.screening.given_columns import GivenColumn
from matgen.screening.row import Row, cells, row_record
from matgen.screening.stored_rows import stored_rows
from matgen.structures.candidate import KindName

RESULTS = "results"

KINDS = ("parquet", "csv", "jsonl")
"""Suffixes of the tables."""

AT_ONCE = 1000
"""Rows that are in memory together."""


def write_tables(
    folder: Path,
    rows: Iterable[Row],
    kind: KindName,
    more: tuple[str, ...] = (),
    given: tuple[GivenColumn, ...] = (),
) -> Sequence[Row]:
    """Write the tables of a folder; each replaces an old one when all are complete.

    Args:
        folder: that exists.
        rows: best first, each needed only once.
        kind: of the structures, which determines the columns.
        more: properties of property files.
        given: columns of labels of the files.

    Returns:
        The rows, read from the table of JSON lines.

    Raises:
        OutputError: the disk is full, or the folder was removed.
    """
    of = _Columns(kind, more, given)
    columns, places, size = of.schema, [], 0
    paths = {suffix: folder / f"{RESULTS}.{suffix}" for suffix in KINDS}
    with (
        writing(folder),
        replacing(paths["jsonl"]) as records,
        replacing(paths["csv"]) as lines,
        replacing(paths["parquet"]) as stream,
        pq.ParquetWriter(stream, columns) as table,
    ):
        lines.write(csv_lines(columns.names, ()).encode())
        for chunk in in_chunks(rows, AT_ONCE):
            texts = [json_line(row_record(row)).encode() for row in chunk.items]
            for text in texts:
                places.append(size)
                size += len(text)
            records.writelines(texts)
            some = together(of.cells, chunk.items, of.broken)
            lines.write(csv_lines(columns.names, some, header=False).encode())
            table.write_table(pa.Table.from_pylist(some, columns))
    return stored_rows(paths["jsonl"], places)


@dataclass(frozen=True)
class _Columns:
    """What determines the columns of the tables."""

    kind: KindName
    more: tuple[str, ...]
    given: tuple[GivenColumn, ...]

    @property
    def schema(self) -> pa.Schema:
        return schema(self.kind, self.more, self.given)

    def cells(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the cells of rows, which fit into the table: text that is no Unicode is replaced."""
        found = []
        for row in rows:
            whole = cells(row, self.kind, self.more) | {column.name: column.value(row.given) for column in self.given}
            found.append({name: writable(cell) if isinstance(cell, str) else cell for name, cell in whole.items()})
        pa.Table.from_pylist(found, self.schema)
        return found

    def broken(self, row: Row, reason: str) -> dict[str, Any]:
        """Return the cells of a row that cannot be written."""
        error = f"its result cannot be written: {reason}"
        return self.cells([Row(row.name, row.path, row.index, row.digest, error, rank=row.rank)])[0]


TEXTS = frozenset(
    {
        *("name", "id", "failed", "reason", "remarks", "formula", "space_group_symbol", "smiles", "inchikey"),
        *("potential", "geometry", "path"),
    }
)
COUNTS = frozenset(
    {
        *("rank", "n_atoms", "n_atoms_primitive", "n_heavy", "charge", "space_group", "tight_space_group"),
        *("relaxation_steps", "index"),
    }
)
"""Columns of text, and of integers."""


@cache
def schema(kind: KindName, more: tuple[str, ...] = (), given: tuple[GivenColumn, ...] = ()) -> pa.Schema:
    """Return the columns of the tables: the same for a kind with the same property files, and those of labels."""

    def type_of(name: str) -> pa.DataType:
        if name in TEXTS:
            return pa.string()
        if name in COUNTS:
            return pa.int64()
        return pa.bool_() if name == "passed" or name.startswith("check_") else pa.float64()

    labels = [(column.name, pa.float64() if column.numbers else pa.string()) for column in given]
    return pa.schema([(name, type_of(name)) for name in cells(Row("", "", 0, ""), kind, more)] + labels)
