"""Duplicates among structures."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

from matgen.novelty.fingerprint import Fingerprint, difference, fingerprint, similar_volume

MATCHER = StructureMatcher()
"""Default tolerances of pymatgen (ltol 0.2, stol 0.3, angle_tol 5°), as usual for uniqueness."""

MATCHER_WINDOW = 0.3
"""Largest difference between fingerprints of pairs that `StructureMatcher` compares. None of 745 pairs of Materials
Project entries that it calls equal differ by more than 0.28; a third of those that it calls different do."""


@dataclass(frozen=True)
class _Seen:
    """A structure seen before, with its index and fingerprint."""

    index: int
    structure: Structure
    fingerprint: Fingerprint

    @cached_property
    def reduced(self) -> Structure:
        """Cell to which the matcher would reduce it in every comparison."""
        return reduced_for_matching(self.structure)


class SeenStructures:
    """Structures seen so far, by reduced formula.

    `StructureMatcher` decides, at 2 ms (a few atoms) to 50 ms (20 atoms) a pair. It compares structures of similar
    volume and fingerprint only, the most similar first. Duplicates are not kept.
    """

    def __init__(self) -> None:
        self._count = 0
        self._by_formula: defaultdict[str, list[_Seen]] = defaultdict(list)

    def add(self, structure: Structure) -> int | None:
        """Add a structure.

        Returns:
            The index, in order of calls, of the first structure equal to it; None if it is new.

        Raises:
            NoFingerprintError: the structure is disordered or broken; it counts as a call, but is not kept.
        """
        index, self._count = self._count, self._count + 1
        new = _Seen(index, structure, fingerprint(structure))
        alike = self._by_formula[new.fingerprint.formula]
        near = [
            (difference(new.fingerprint, other.fingerprint), other)
            for other in alike
            if similar_volume(new.fingerprint, other.fingerprint)
        ]
        for apart, other in sorted(near, key=lambda pair: pair[0]):
            if apart > MATCHER_WINDOW:
                break
            if MATCHER.fit(new.reduced, other.reduced, skip_structure_reduction=True):
                return other.index
        alike.append(new)
        return None


def reduced_for_matching(structure: Structure) -> Structure:
    """Return the primitive cell as `StructureMatcher` finds it (within 0.25 Å, from the Niggli cell)."""
    return structure.get_reduced_structure().get_primitive_structure()


def unique(structures: Iterable[Structure]) -> list[int]:
    """Return for each structure the index of the first one equal to it: its own if it is new."""
    seen = SeenStructures()
    found = [seen.add(structure) for structure in structures]
    return [index if first is None else first for index, first in enumerate(found)]
