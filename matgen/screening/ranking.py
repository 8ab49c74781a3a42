"""What depends on all rows together: duplicates, ranking, and counts of the checks."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from matgen.hull.hull import IMPLAUSIBLE
from matgen.novelty.duplicates import SeenStructures
from matgen.novelty.fingerprint import NoFingerprintError
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.structures.candidate import Candidate, Verdict


class FirstOfItsKind:
    """Checks of each row in turn that no earlier one has the same structure.

    Crystals are equal by `StructureMatcher`, molecules if their graphs are, stereo included.
    """

    def __init__(self) -> None:
        self._seen = SeenStructures()
        self._names: list[str] = []
        self._graphs: dict[str, str] = {}

    def __call__(self, row: Row) -> Row:
        """Add the verdict to a row; return a broken one unchanged."""
        if row.candidate is None:
            return row
        try:
            first = self._earlier(row.candidate, row.name)
        except NoFingerprintError as error:
            reason = f"cannot be compared: {error}"
            return row.with_verdicts(Verdict("unique", passed=False, value=math.nan, unit="", reason=reason))
        if not first:
            return row.with_verdicts(
                Verdict("unique", passed=True, value=0.0, unit="", reason="equals no structure before it")
            )
        return row.with_verdicts(
            Verdict("unique", passed=False, value=1.0, unit="", reason=f"the same structure as {first}")
        )

    def _earlier(self, candidate: Candidate, name: str) -> str:
        """Return the name of the first row with this structure; empty if it is this row."""
        if candidate.kind == "molecule":
            first = self._graphs.setdefault(candidate.template, name)
            return "" if first == name else first
        self._names.append(name)
        index = self._seen.add(candidate.crystal)
        return "" if index is None else self._names[index]


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
