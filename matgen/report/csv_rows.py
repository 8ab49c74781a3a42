"""Rows of a CSV table of a run, with numbers and truth values in the columns that have them."""

import csv
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from matgen.report.lines import Lines

TRUTH = {"True": True, "true": True, "False": False, "false": False}


def csv_rows(path: Path, numbers: Collection[str] = (), truths: Collection[str] = ()) -> Lines[dict[str, Any]]:
    """Return the rows of a table, and notes on those that have no name; no rows if there is no file.

    Args:
        path: of the file.
        numbers: columns of numbers; what is none there, or not finite, is None.
        truths: columns of truth values; what is none there is None.
    """
    found = Lines[dict[str, Any]]()
    if not path.is_file():
        return found
    nameless, garbled = 0, False
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        for row in csv.DictReader(line.replace("\0", "") for line in stream):
            cells = {column: _cell(text, column, numbers, truths) for column, text in row.items() if column}
            garbled = garbled or any("\N{REPLACEMENT CHARACTER}" in str(cell) for cell in cells.values())
            if cells.get("name"):
                found.values.append(cells)
            else:
                nameless += 1
    if garbled:
        found.notes.append(
            f"{path.name} is not UTF-8: letters that cannot be read are shown as \N{REPLACEMENT CHARACTER}."
        )
    if nameless:
        rows, are = ("row", "is") if nameless == 1 else ("rows", "are")
        found.notes.append(f"{nameless} {rows} of {path.name} without a name {are} left out.")
    return found


def _cell(text: str | None, column: str, numbers: Collection[str], truths: Collection[str]) -> Any:
    if column in truths:
        return TRUTH.get(text or "")
    return _number(text or "") if column in numbers else text or None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
