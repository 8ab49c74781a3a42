"""Text of CSV tables."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@")
"""How a cell begins that a spreadsheet takes for a formula."""


def writable(text: str) -> str:
    """Return text with a mark in place of what a terminal obeys, text runs backwards by, or UTF-8 cannot hold.

    Names and comments of foreign files may hold such characters: escape sequences, and bytes that are no text.
    """
    return "".join(one if one.isprintable() else " " if one.isspace() else "\N{REPLACEMENT CHARACTER}" for one in text)


def csv_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet runs: text that begins like a formula and is no number gets an apostrophe.

    As advised by OWASP, "CSV Injection".
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], *, header: bool = True) -> str:
    """Return rows as CSV with Unix line ends; a missing value is empty, an unknown column an error.

    Text is written by `csv_cell`.
    """
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, columns, lineterminator="\n")
    if header and columns:
        table.writeheader()
    table.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()
