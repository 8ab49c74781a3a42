"""What only all rows together tell: which are the same, which is best, and how many failed what."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from matgen.hull.hull import DOUBTFUL
from matgen.novelty.duplicates import SeenStructures
from matgen.novelty.fingerprint import NoFingerprintError
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.structures.candidate import Candidate, Verdict


class FirstOfItsKind:
    """Says of each row, in the order in which they are shown to it, whether an earlier one has the same structure.

    Crystals are equal if `StructureMatcher` says so, molecules if their graphs are, hands included.
    """

    def __init__(self) -> None:
        self._seen = SeenStructures()
        self._names: list[str] = []
        self._graphs: dict[str, str] = {}

    def __call__(self, row: Row) -> Row:
        """The row with its verdict; a broken one as it is."""
        if row.candidate is None:
            return row
        try:
            first = self._earlier(row.candidate, row.name)
        except NoFingerprintError as error:
            reason = f"cannot be compared: {error}"
            return row.told(Verdict("unique", passed=False, value=math.nan, unit="", reason=reason))
        if not first:
            return row.told(Verdict("unique", passed=True, value=0.0, unit="", reason="equals no structure before it"))
        return row.told(Verdict("unique", passed=False, value=1.0, unit="", reason=f"the same structure as {first}"))

    def _earlier(self, candidate: Candidate, name: str) -> str:
        """Name of the first row that has this structure; empty if it is the first one itself."""
        if candidate.kind == "molecule":
            first = self._graphs.setdefault(candidate.template, name)
            return "" if first == name else first
        self._names.append(name)
        index = self._seen.add(candidate.crystal)
        return "" if index is None else self._names[index]


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Rows best first, with their rank: fewest failed checks, then lowest above the hull, then lowest density energy.

    A height that is not known, or too far below the hull to be believed, counts as the greatest; molecules have none.

    What is equal in all of it, broken files at the very end among them, stays in the order of the input.
    """
    order = sorted(rows, key=_merit)
    return [replace(row, rank=rank) for rank, row in enumerate(order, start=1)]


def _merit(row: Row) -> tuple[bool, int, float, float]:
    if row.candidate is None:
        return True, 0, 0.0, 0.0
    hull = row.verdicts.get("hull")
    height = hull.value if hull is not None and hull.value >= -DOUBTFUL else math.inf
    return False, len(row.failed), height, row.candidate.energies.get(DENSITY_ENERGY, math.inf)


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Counts: structures, files that could not be read, what passed everything, and each check's passes."""
    counts: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    for row in rows:
        counts["structures"] += 1
        counts["broken"] += row.candidate is None
        counts["passed"] += row.passed
        for name, verdict in row.verdicts.items():
            judged[name] += 1
            passed[name] += verdict.passed
    totals = {name: counts[name] for name in ("structures", "broken", "passed")}
    return totals | {"checks": {name: {"passed": passed[name], "of": judged[name]} for name in judged}}
