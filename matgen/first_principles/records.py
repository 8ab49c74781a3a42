"""Results of calculations as JSON types; NaN is null."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def with_nulls(record: Mapping[str, Any], numbers: Iterable[str]) -> dict[str, Any]:
    """Return a record with null for each of these numbers that is not finite."""
    return {**record, **{name: record[name] if math.isfinite(record[name]) else None for name in numbers}}


def shared_fields(record: Mapping[str, Any], numbers: Iterable[str]) -> dict[str, Any]:
    """Return the fields that all results have: these numbers, `settings`, `converged`, `reason` and `seconds`.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or of another type, or a number of a converged result is
            not finite.
    """
    values = {name: math.nan if record[name] is None else float(record[name]) for name in numbers}
    converged = bool(record["converged"])
    if converged and not all(map(math.isfinite, values.values())):
        raise ValueError("expected finite numbers of a converged result")
    return {
        **values,
        "settings": dict(record["settings"]),
        "converged": converged,
        "reason": str(record["reason"]),
        "seconds": float(record["seconds"]),
    }
