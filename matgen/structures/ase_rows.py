"""Rows of a database of ASE in SQLite.

The file is read as bytes, and SQLite opens a copy of them in memory, so that nothing is written to the file or beside
it, whatever a database holds. ASE's own reader makes tables in a file that has none, and objects of what rows name:
here only atoms, energy, and key-value pairs are read.
"""

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np

from matgen.structures.atomic_formats import key_value_pairs
from matgen.structures.broken import BrokenStructureError, one_line
from matgen.structures.formats import Piece

MAGIC = b"SQLite format 3\0"
WRITE_AHEAD = 2
"""Version of the format, in bytes 18 and 19, of a database that keeps its last changes in a file beside it."""

OLDEST, NEWEST = 5, 9
"""Versions of ASE's tables that are read; they have the columns below (`ase.db.sqlite`)."""

COLUMNS = "id, unique_id, numbers, positions, cell, pbc, initial_charges, energy, key_value_pairs"


def rows(data: bytes) -> Iterator[Piece]:
    """Yield the rows of a database in the order of their ids, each under its id, as rows of JSON.

    Raises:
        BrokenStructureError: it is empty, damaged, or no database of ASE.
    """
    if not data:
        raise BrokenStructureError("the file is empty")
    if not data.startswith(MAGIC):
        raise BrokenStructureError("expected a database of ASE (SQLite, or JSON as .json), got no SQLite")
    if WRITE_AHEAD in data[18:20]:
        raise BrokenStructureError(
            "expected a database in one file, got one whose last rows may lie in a file beside it (-wal); "
            "run `sqlite3 FILE 'PRAGMA journal_mode=DELETE'`"
        )
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(data)
            _guard(connection)
            _check(connection)
            n_rows = 0
            for values in connection.execute(f"SELECT {COLUMNS} FROM systems ORDER BY id"):  # noqa: S608 (constant)
                n_rows += 1
                yield _piece(*values)
    except sqlite3.Error as error:
        raise BrokenStructureError(f"damaged: {one_line(error)}") from error
    if not n_rows:
        raise BrokenStructureError("a database of ASE without rows")


def _guard(connection: sqlite3.Connection) -> None:
    """Let no expression of the database run, and text that is no UTF-8 be no error."""
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA ignore_check_constraints=ON")
    connection.text_factory = lambda text: text.decode(errors="replace")


def _check(connection: sqlite3.Connection) -> None:
    """Raise BrokenStructureError unless this is a whole database of a known version of ASE."""
    (state,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        raise BrokenStructureError(f"damaged: {one_line(ValueError(state))}; `sqlite3 FILE .recover` may save rows")
    tables = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    if not str(tables.get("systems")).upper().startswith("CREATE TABLE"):
        found = ", ".join(sorted(tables))[:80] or "none"
        raise BrokenStructureError(f"a database of SQLite, not of ASE: expected a table `systems`, got {found}")
    known = {name for _, name, *_ in connection.execute("PRAGMA table_info(systems)")}  # without computed ones
    if missing := sorted(set(COLUMNS.split(", ")) - known):
        raise BrokenStructureError(
            f"a database of SQLite, not of ASE: its table `systems` lacks {', '.join(missing)}; "
            "one of an old ASE is converted by `python -m ase.db.convert FILE`"
        )
    if "information" in tables:
        _check_version(connection.execute("SELECT value FROM information WHERE name = 'version'").fetchone())


def _check_version(told: tuple[object] | None) -> None:
    version = str(told[0]) if told else "none"
    if not (version.isdecimal() and OLDEST <= int(version) <= NEWEST):
        raise BrokenStructureError(
            f"expected a database of ASE of version {OLDEST} to {NEWEST}, got {version[:20]}; "
            "convert an older one by `python -m ase.db.convert FILE`, write a newer one as JSON by `ase db FILE "
            "--insert-into FILE.json`"
        )


def _piece(number: int, *values: Any) -> Piece:
    label = f"#{number}"
    try:
        return Piece(label, "json", _row(*values))
    except (ValueError, TypeError, RecursionError) as error:
        return Piece(label, None, None, f"a damaged row: {one_line(error)}")


def _row(
    unique_id: object, numbers: Any, positions: Any, cell: Any, pbc: Any, charges: Any, energy: Any, pairs: Any
) -> dict[str, Any]:
    """Return a row as a database of ASE in JSON has it.

    Raises:
        ValueError, TypeError, RecursionError: it is damaged.
    """
    if energy is not None and not (isinstance(energy, int | float) and math.isfinite(energy)):
        raise ValueError(f"expected a number as its energy, got {str(energy)[:40]!r}")
    row = {
        "unique_id": unique_id,
        "numbers": np.frombuffer(numbers, "<i4").tolist(),
        "positions": np.frombuffer(positions, "<f8").reshape(-1, 3).tolist(),
        "cell": None if cell is None else np.frombuffer(cell, "<f8").reshape(3, 3).tolist(),
        "pbc": [bool((pbc or 0) & bit) for bit in (1, 2, 4)],
        "initial_charges": None if charges is None else np.frombuffer(charges, "<f8").tolist(),
        "key_value_pairs": key_value_pairs(json.loads("{}" if pairs is None else pairs)),
    }
    return row | ({} if energy is None else {"energy": energy})
