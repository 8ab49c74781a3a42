"""Which structures are the same."""

from collections import defaultdict
from collections.abc import Iterable

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

MATCHER = StructureMatcher()
"""Pymatgen's default tolerances (ltol 0.2, stol 0.3, angle_tol 5°), as uniqueness is counted in the literature."""

VOLUME_WINDOW = 0.2
"""Largest relative difference in volume per atom that two forms of one crystal may have."""


class SeenStructures:
    """Structures met so far, by reduced formula.

    Only pairs of one formula and similar volume per atom are compared by `StructureMatcher`, which costs from 2 ms
    (a few atoms) to 50 ms (20 atoms) a pair. Equal ones are not kept: each is compared with first ones only.
    """

    def __init__(self) -> None:
        self._count = 0
        self._by_formula: defaultdict[str, list[tuple[int, Structure]]] = defaultdict(list)

    def add(self, structure: Structure) -> int | None:
        """Remember a structure.

        Returns:
            The index, in order of calls, of the first structure equal to it; None if it is new.
        """
        index, self._count = self._count, self._count + 1
        alike = self._by_formula[structure.composition.reduced_formula]
        for earlier, other in alike:
            if _similar_volume(structure, other) and MATCHER.fit(structure, other):
                return earlier
        alike.append((index, structure))
        return None


def _similar_volume(first: Structure, second: Structure) -> bool:
    ratio = (first.volume / len(first)) / (second.volume / len(second))
    return 1 / (1 + VOLUME_WINDOW) <= ratio <= 1 + VOLUME_WINDOW


def unique(structures: Iterable[Structure]) -> list[int]:
    """For each structure the index of the first one equal to it: its own if it is new."""
    seen = SeenStructures()
    found = [seen.add(structure) for structure in structures]
    return [index if first is None else first for index, first in enumerate(found)]
