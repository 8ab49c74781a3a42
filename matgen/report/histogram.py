"""The distribution of a property before the selection and after it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matgen.report.words import property_label
from matgen.targets.target import Target

MOST_VALUES = 5000
"""Values of a histogram; of more, every so many in ascending order."""


def histogram(
    target: Target, before: Iterable[float | None], after: Iterable[float | None], words: tuple[str, str]
) -> dict[str, Any] | None:
    """Return the values of a property among all and among the selected; None without any.

    Args:
        target: of the run.
        before: values of all that were looked at; None and NaN where unknown.
        after: values of those that were kept.
        words: what both are.
    """
    whole, kept = _known(before), _known(after)
    if not whole:
        return None
    low, high = target.window
    return {
        "name": target.name,
        "label": property_label(target.name),
        "unit": target.asked.unit,
        "before": [round(value, 4) for value in _thinned(whole)],
        "after": [round(value, 4) for value in _thinned(kept)],
        "low": low,
        "high": high,
        "text": f"before: {len(whole)} {words[0]}; after: {len(kept)} {words[1]}",
    }


def _known(values: Iterable[float | None]) -> list[float]:
    return sorted(float(value) for value in values if value is not None and math.isfinite(value))


def _thinned(values: Sequence[float]) -> list[float]:
    """Return at most `MOST_VALUES` of ascending values, evenly chosen."""
    if len(values) <= MOST_VALUES:
        return list(values)
    return [values[i * len(values) // MOST_VALUES] for i in range(MOST_VALUES)]
