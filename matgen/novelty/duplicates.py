"""Duplicates among structures."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core.structure import Structure

from matgen.novelty.fingerprint import TOLERANCE, VOLUME_WINDOW, Fingerprint, fingerprint
from matgen.structures.packed import Packed, packed, unpacked_crystal

MATCHER = StructureMatcher()
"""Default tolerances of pymatgen (ltol 0.2, stol 0.3, angle_tol 5°), as usual for uniqueness."""

MATCHER_WINDOW = 0.3
"""Largest difference between fingerprints of pairs that `StructureMatcher` compares. None of 745 pairs of Materials
Project entries that it calls equal differ by more than 0.28; a third of those that it calls different do."""

SOME_SHELLS = 12
"""Of so many shells one is compared first."""


@dataclass(slots=True)
class _Seen:
    """A structure seen before, with its index, and the cell to which the matcher reduces it, once that is known."""

    index: int
    structure: Packed
    reduced: Packed | None = None

    def for_matching(self) -> Packed:
        """Return the cell to which the matcher would reduce it in every comparison; it is found once."""
        if self.reduced is None:
            self.reduced = packed(reduced_for_matching(unpacked_crystal(self.structure)))
        return self.reduced


class _OneFormula:
    """Structures of one formula in the order in which they were seen, their fingerprints as one array."""

    def __init__(self) -> None:
        self.seen: list[_Seen] = []
        self._log_volumes = np.empty(1)
        self._shells = np.empty((1, 0), dtype=np.float32)

    def add(self, one: _Seen, found: Fingerprint) -> None:
        """Add a structure; the arrays double in size when they are full."""
        n = len(self.seen)
        if n == 0:
            self._shells = np.empty((1, len(found.shells)), dtype=found.shells.dtype)
        elif n == len(self._log_volumes):
            self._log_volumes = np.concatenate([self._log_volumes, np.empty(n)])
            self._shells = np.concatenate([self._shells, np.empty_like(self._shells)])
        self._log_volumes[n], self._shells[n] = math.log(found.volume), found.shells
        self.seen.append(one)

    def near(self, found: Fingerprint) -> list[_Seen]:
        """Return the structures of similar volume and fingerprint, or equal fingerprint, the most similar first."""
        n = len(self.seen)
        if n == 0:
            return []
        apart = np.abs(self._log_volumes[:n] - math.log(found.volume))
        windows = np.where(apart <= math.log1p(VOLUME_WINDOW), MATCHER_WINDOW, TOLERANCE)
        rows = np.arange(n)
        for step in (SOME_SHELLS, 1):  # few of the many pass the first comparison
            differences = np.abs(self._shells[rows, ::step] - found.shells[::step]).max(axis=1, initial=0.0)
            near = differences <= windows[rows]
            rows, differences = rows[near], differences[near]
        order = np.argsort(differences, kind="stable")
        return [self.seen[row] for row in rows[order]]


class SeenStructures:
    """Structures seen so far, by reduced formula.

    `StructureMatcher` decides, at 2 ms (a few atoms) to 50 ms (20 atoms) a pair. It compares structures of similar
    volume and fingerprint only, or of any volume if the fingerprint is the same, the most similar first, and no two
    whose primitive cells differ in their number of atoms, which it calls different. Duplicates are not kept, and the
    others as arrays.
    """

    def __init__(self) -> None:
        self._count = 0
        self._by_formula: dict[str, _OneFormula] = {}

    def add(self, structure: Structure) -> int | None:
        """Add a structure.

        Returns:
            The index, in order of calls, of the first structure equal to it; None if it is new.

        Raises:
            NoFingerprintError: the structure is disordered or broken; it counts as a call, but is not kept.
        """
        index, self._count = self._count, self._count + 1
        found = fingerprint(structure)
        alike = self._by_formula.setdefault(found.formula, _OneFormula())
        new = _Seen(index, packed(structure))
        for other in alike.near(found):
            if _equal(new.for_matching(), other.for_matching()):
                return other.index
        alike.add(new, found)
        return None


def _equal(one: Packed, other: Packed) -> bool:
    """Return whether the matcher calls two reduced cells equal."""
    if len(one) != len(other):
        return False
    return MATCHER.fit(unpacked_crystal(one), unpacked_crystal(other), skip_structure_reduction=True)


def reduced_for_matching(structure: Structure) -> Structure:
    """Return the primitive cell as `StructureMatcher` finds it (within 0.25 Å, from the Niggli cell)."""
    return structure.get_reduced_structure().get_primitive_structure()


def unique(structures: Iterable[Structure]) -> list[int]:
    """Return for each structure the index of the first one equal to it: its own if it is new."""
    seen = SeenStructures()
    found = [seen.add(structure) for structure in structures]
    return [index if first is None else first for index, first in enumerate(found)]
