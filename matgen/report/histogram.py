"""The distribution of a property before the selection and after it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from matgen.report.targets import target_text
from matgen.report.words import property_label
from matgen.targets.target import Target

MOST_VALUES = 5000
"""Values of a histogram; of more, every so many in ascending order."""


def histogram(
    targets: Sequence[tuple[str, Target]],
    before: Iterable[float | None],
    after: Iterable[float | None],
    words: tuple[str, str],
) -> dict[str, Any] | None:
    """Return the values of a property among all and among the selected; None without any.

    Args:
        targets: for the property, at least one, each with the name of the request that has it; that of the run itself
            is empty.
        before: values of all that were looked at; None and NaN where unknown.
        after: values of those that were kept.
        words: what both are.
    """
    whole, kept = _known(before), _known(after)
    if not whole:
        return None
    _, target = targets[0]
    bands = [
        {"of": name, "text": target_text(one), "low": one.window[0], "high": one.window[1]} for name, one in targets
    ]
    return {
        "name": target.name,
        "label": property_label(target.name),
        "unit": target.asked.unit,
        "before": [round(value, 4) for value in _thinned(whole)],
        "after": [round(value, 4) for value in _thinned(kept)],
        "bands": bands,
        "text": f"before: {len(whole)} {words[0]}; after: {len(kept)} {words[1]}",
    }


def _known(values: Iterable[float | None]) -> list[float]:
    return sorted(float(value) for value in values if value is not None and math.isfinite(value))


def _thinned(values: Sequence[float]) -> list[float]:
    """Return at most `MOST_VALUES` of ascending values, evenly chosen."""
    if len(values) <= MOST_VALUES:
        return list(values)
    return [values[i * len(values) // MOST_VALUES] for i in range(MOST_VALUES)]
