"""Ranking of all rows together, and counts of the checks."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from matgen.hull.hull import IMPLAUSIBLE
from matgen.screening.row import DENSITY_ENERGY, Row


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Rank rows by fewest failed checks, then lowest energy above the hull, then lowest density energy.

    An energy above the hull that is unknown, or too far below it to be correct, counts as the greatest; molecules have
    none. Broken files come last. Equal rows stay in the order of the input.

    Returns:
        Rows with their rank, best first.
    """
    order = sorted(rows, key=_merit)
    return [replace(row, rank=rank) for rank, row in enumerate(order, start=1)]


def _merit(row: Row) -> tuple[bool, int, float, float]:
    if row.candidate is None:
        return True, 0, 0.0, 0.0
    hull = row.verdicts.get("hull")
    height = hull.value if hull is not None and hull.value >= -IMPLAUSIBLE else math.inf
    return False, len(row.failed), height, row.candidate.energies.get(DENSITY_ENERGY, math.inf)


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Count structures, broken files, structures that passed every check, and those that passed each check."""
    counts: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    checked: Counter[str] = Counter()
    for row in rows:
        counts["structures"] += 1
        counts["broken"] += row.candidate is None
        counts["passed"] += row.passed
        for name, verdict in row.verdicts.items():
            checked[name] += 1
            passed[name] += verdict.passed
    totals = {name: counts[name] for name in ("structures", "broken", "passed")}
    return totals | {"checks": {name: {"passed": passed[name], "of": checked[name]} for name in checked}}
