"""Rows of a table beyond the candidates that are shown in full: only what stands in its columns, packed as lists."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matgen.report.plain import rounded

MOST_BYTES = 1_050_000
"""Of all these rows, as JSON: 10,000 of some hundred bytes, beside 60 structures that are shown in full."""

DIGITS = 4
"""Significant digits of a number in such a row."""


def packed(rows: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Return rows as lists under one list of keys, as many as fit, and how many did not.

    Args:
        rows: with `id`, `formula`, `accepted` and `values`.
        keys: of the values.
    """
    found: list[list[Any]] = []
    size = left = 0
    for row in rows:
        one = [row["id"], row["formula"], int(row["accepted"])] + [_short(row["values"].get(key)) for key in keys]
        size += len(json.dumps(one, ensure_ascii=False).encode()) + 1
        if size > MOST_BYTES:
            left += 1
        else:
            found.append(one)
    return {"keys": ["id", "formula", "accepted", *keys], "rows": found}, left


def _short(value: Any) -> Any:
    return rounded(value, DIGITS) if isinstance(value, float) else value
