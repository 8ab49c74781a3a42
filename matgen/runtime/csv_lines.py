"""Text of CSV tables."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def writable(text: str) -> str:
    """Return text with a mark in place of what cannot be written as UTF-8, such as the bytes of a foreign file name."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, header: bool = True) -> str:
    """Return rows as CSV with Unix line ends; a missing value is empty, an unknown column an error."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, lineterminator="\n")
    if header and columns:
        table.writeheader()
    table.writerows(rows)
    return text.getvalue()


FORMULA = re.compile(r"[=@\t\r+-]")
NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")


def without_formulas(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row in which no text is one that a spreadsheet would run: an apostrophe marks it as text."""
    return {
        name: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell
        for name, cell in row.items()
    }
