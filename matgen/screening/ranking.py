"""Ranking of all rows together, and counts of the checks."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from matgen.hull.hull import IMPLAUSIBLE
from matgen.screening.row import DENSITY_ENERGY, Row
from matgen.structures.symmetry import TOLERANCES

Merit = tuple[bool, int, float, float]
"""Key by which rows are sorted, the best first."""


def merit(row: Row) -> Merit:
    """Return the key of a row: fewest failed checks, then lowest energy above the hull, then lowest density energy.

    An energy above the hull that is unknown, or too far below it to be correct, counts as the greatest; molecules have
    none, nor do crystals at a pressure (`enthalpy`). Broken files come last.
    """
    if row.candidate is None:
        return True, 0, 0.0, 0.0
    hull = row.verdicts.get("hull")
    return merit_of(row.failed, None if hull is None else hull.value, row.candidate.energies.get(DENSITY_ENERGY))


def merit_of(failed: Collection[str], above_hull: float | None, density_energy: float | None) -> Merit:
    """Return the key of a structure by its failed checks, its energy above the hull and its density energy."""
    known = above_hull is not None and above_hull >= -IMPLAUSIBLE
    height = above_hull if known and above_hull is not None else math.inf
    return False, len(failed), height, math.inf if density_energy is None else density_energy


def enthalpy(row: Row) -> float:
    """Return the enthalpy of a crystal that was relaxed at a pressure, eV/atom; NaN for others."""
    relaxation = None if row.candidate is None else row.candidate.relaxation
    return relaxation.enthalpy if relaxation is not None and relaxation.pressure else math.nan


class Counts:
    """Number of structures, of broken files, of those with remarks, and of those that passed each check and all."""

    def __init__(self) -> None:
        self._totals = dict.fromkeys(("structures", "broken", "passed", "remarks"), 0)
        self._crystals = False
        self._passed: Counter[str] = Counter()
        self._checked: Counter[str] = Counter()

    def counted(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield rows, and count them."""
        for row in rows:
            self._totals["structures"] += 1
            self._totals["broken"] += row.candidate is None
            self._totals["passed"] += row.passed
            self._totals["remarks"] += bool(row.remarks)
            self._crystals |= row.candidate is not None and row.candidate.space_group is not None
            for name, verdict in row.verdicts.items():
                self._checked[name] += 1
                self._passed[name] += verdict.passed
            yield row

    def summary(self) -> dict[str, Any]:
        """Return the counts as JSON types, and for crystals the tolerance of their space groups."""
        symmetry = {"symmetry_tolerance": TOLERANCES} if self._crystals else {}
        checks = {name: {"passed": self._passed[name], "of": n} for name, n in self._checked.items()}
        return self._totals | symmetry | {"checks": checks}
