"""Rows of a CSV table of a run, with numbers and truth values as such."""

import csv
from pathlib import Path
from typing import Any

WORDS: dict[str, Any] = {"": None, "True": True, "False": False, "true": True, "false": False, "nan": None}


def csv_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: _value(text) for name, text in row.items() if name} for row in csv.DictReader(stream)]


def _value(text: str | None) -> Any:
    if text is None or text in WORDS:
        return WORDS.get(text or "")
    try:
        return float(text)
    except ValueError:
        return text
