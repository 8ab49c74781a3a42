"""Which crystals are known already: an index of fingerprints, and the verdict `novel`.

The index that ships has the fingerprints of the Materials Project's crystals, never their structures; so there the
fingerprint decides alone. An index made from structures at hand keeps them, and asks `StructureMatcher` where
fingerprints leave a doubt.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from pymatgen.core.composition import Composition
from pymatgen.core.structure import Structure

from matgen.novelty.duplicates import MATCHER, MATCHER_WINDOW
from matgen.novelty.fingerprint import (
    TOLERANCE,
    VOLUME_WINDOW,
    Fingerprint,
    NoFingerprintError,
    fingerprint,
)
from matgen.novelty.index_file import SHIPPED, Shelf, read_known, write_known
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.symmetry import space_group

DOUBT = 0.11
"""Difference up to which a novel crystal may be a form of the known one: 94 % of the pairs of entries that
`StructureMatcher` calls equal are as near, and 11 % of those that it calls different."""


@dataclass(frozen=True)
class Known:
    """A known crystal beside the one that was asked for.

    Attributes:
        material_id: name in the index.
        formula: reduced.
        space_group: number; 0 where the index does not tell.
        how: what decided, in words.
        difference: between the fingerprints.
    """

    material_id: str
    formula: str
    space_group: int
    how: str
    difference: float


@dataclass(frozen=True)
class KnownIndex:
    """Fingerprints of known crystals by reduced formula.

    Attributes:
        source: what it was made from.
        shelves: entries of each formula that have a fingerprint.
        others: how many more entries of a formula there are, without one.
        structures: structures by name, where they are at hand.
    """

    source: str
    shelves: Mapping[str, Shelf] = field(repr=False)
    others: Mapping[str, int] = field(default_factory=dict, repr=False)
    structures: Mapping[str, Structure] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The index that ships, or one that `save` wrote.

        Raises:
            KnownFileError: the file is no index, or of another kind of fingerprint.
        """
        return cls(*read_known(path or SHIPPED))

    @classmethod
    def from_structures(cls, structures: Mapping[str, Structure], source: str = "structures at hand") -> Self:
        """Index of structures by name, which are kept.

        Raises:
            NoFingerprintError: one of them is disordered or broken.
        """
        prints = {name: fingerprint(structure) for name, structure in structures.items()}
        groups = {name: space_group(structure).number for name, structure in structures.items()}
        return cls(source, shelved(prints, groups), structures=dict(structures))

    @property
    def formulas(self) -> frozenset[str]:
        """All known formulas, reduced."""
        return frozenset(self.shelves) | frozenset(self.others)

    def __len__(self) -> int:
        """Entries with a fingerprint."""
        return sum(len(shelf.names) for shelf in self.shelves.values())

    def joined(self, other: "KnownIndex") -> "KnownIndex":
        """The entries of both."""
        shelves = dict(self.shelves)
        for formula, shelf in other.shelves.items():
            shelves[formula] = shelves[formula].joined(shelf) if formula in shelves else shelf
        others = Counter(self.others) + Counter(other.others)
        source = " and ".join(dict.fromkeys((self.source, other.source)))
        return KnownIndex(source, shelves, others, {**self.structures, **other.structures})

    def save(self, path: Path) -> None:
        """Write fingerprints, names and space groups; no structure."""
        write_known(path, self.source, self.shelves, self.others)

    def formula_count(self, composition: Composition) -> int:
        """Known entries of a composition, with a fingerprint or without."""
        formula = composition.element_composition.reduced_formula
        shelf = self.shelves.get(formula)
        return (len(shelf.names) if shelf else 0) + self.others.get(formula, 0)

    def formula_known(self, composition: Composition) -> bool:
        """Whether any entry has this composition, whatever its structure."""
        return self.formula_count(composition) > 0

    def nearest(self, structure: Structure | Fingerprint) -> Known | None:
        """The entry of the same formula whose fingerprint is nearest, volume aside; None for a new formula.

        Raises:
            NoFingerprintError: the structure is disordered or broken.
        """
        found = self._ranked(_fingerprint(structure))
        return found[0] if found else None

    def find(self, structure: Structure | Fingerprint, tolerance: float = TOLERANCE) -> Known | None:
        """The entry that a structure is, None if it is none of them.

        Args:
            structure: what to look for; or its fingerprint, by which alone it is then judged.
            tolerance: largest difference between fingerprints that are the same.

        Raises:
            NoFingerprintError: the structure is disordered or broken.
        """
        near = self._ranked(_fingerprint(structure), VOLUME_WINDOW)
        if near and near[0].difference <= tolerance:
            return near[0]
        if isinstance(structure, Structure):
            for entry in near:
                known = self.structures.get(entry.material_id)
                if known is not None and entry.difference <= MATCHER_WINDOW and MATCHER.fit(structure, known):
                    return replace(entry, how="StructureMatcher")
        return None

    def _ranked(self, wanted: Fingerprint, window: float = math.inf) -> list[Known]:
        """Entries of the same formula and similar volume, nearest first."""
        shelf = self.shelves.get(wanted.formula)
        if shelf is None:
            return []
        differences = np.abs(shelf.shells() - wanted.shells).max(axis=1)
        near = np.abs(np.log(shelf.volumes / wanted.volume)) <= math.log1p(window)
        order = [k for k in np.argsort(differences, kind="stable").tolist() if near[k]]
        return [
            Known(shelf.names[k], wanted.formula, int(shelf.groups[k]), "fingerprint", float(differences[k]))
            for k in order
        ]


@cache
def shipped_index() -> KnownIndex:
    """The index that ships, read once."""
    return KnownIndex.load()


@cache
def known_formulas() -> frozenset[str]:
    """The formulas of the index that ships, reduced."""
    return shipped_index().formulas


def novel_verdict(candidate: Candidate, known: KnownIndex, tolerance: float = TOLERANCE) -> Verdict:
    """The structure is none of the known ones.

    The value is the difference from the nearest known fingerprint of the same formula, infinite for a new formula.
    """
    structure = candidate.crystal
    try:
        wanted = fingerprint(structure)
    except NoFingerprintError as error:
        return Verdict("novel", passed=False, value=math.nan, unit="", reason=f"cannot be compared: {error}")
    nearest = known.nearest(wanted)
    value = math.inf if nearest is None else nearest.difference
    found = known.find(structure if known.structures else wanted, tolerance)
    if found is not None:
        sure = "known: " if found.difference <= TOLERANCE or known.structures else "perhaps known, a form of "
        reason = f"{sure}{_named(found)}, by {found.how}; they differ by {found.difference:.3f}"
        return Verdict("novel", passed=False, value=found.difference, unit="", reason=reason)
    if nearest is None:
        reason = f"no known crystal of formula {wanted.formula} to compare with"
    else:
        count = len(known.shelves[wanted.formula].names)
        reason = f"the nearest of {count} known with this formula, {_named(nearest)}, differs by {value:.3f}"
        if value <= DOUBT:
            reason += "; it may be a form of it"
    if others := known.others.get(wanted.formula, 0):
        reason += f"; {others} more of this formula have no fingerprint, nearly all of more than 20 atoms"
    return Verdict("novel", passed=True, value=value, unit="", reason=reason)


def shelved(prints: Mapping[str, Fingerprint], groups: Mapping[str, int]) -> dict[str, Shelf]:
    """Fingerprints and space groups by name, sorted into shelves by formula."""
    by_formula: dict[str, list[str]] = {}
    for name, found in prints.items():
        by_formula.setdefault(found.formula, []).append(name)
    return {
        formula: Shelf.of(tuple(names), [groups[name] for name in names], [prints[name] for name in names])
        for formula, names in sorted(by_formula.items())
    }


def without_fingerprint(formulas: Iterable[str], shelves: Mapping[str, Shelf]) -> dict[str, int]:
    """How many more of these reduced formulas there are than shelved entries."""
    return {
        formula: count - (len(shelves[formula].names) if formula in shelves else 0)
        for formula, count in sorted(Counter(formulas).items())
        if formula not in shelves or count > len(shelves[formula].names)
    }


def _fingerprint(structure: Structure | Fingerprint) -> Fingerprint:
    return structure if isinstance(structure, Fingerprint) else fingerprint(structure)


def _named(entry: Known) -> str:
    group = f", space group {entry.space_group}" if entry.space_group else ""
    return f"{entry.material_id} ({entry.formula}{group})"
