"""Novelty of crystals: an index of the fingerprints of known crystals, and the verdict `novel`.

The shipped index has fingerprints of the crystals of the Materials Project without structures, so fingerprints alone
decide. An index built from structures keeps them, and uses `StructureMatcher` where fingerprints are not conclusive.
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
from matgen.novelty.index_file import SHIPPED, FormulaEntries, read_known, write_known
from matgen.structures.candidate import Candidate, Verdict
from matgen.structures.symmetry import space_group

POSSIBLE_MATCH = 0.11
"""Difference up to which a novel crystal may be a form of a known one: 94 % of the pairs of entries that
`StructureMatcher` calls equal are within it, and 11 % of those that it calls different."""


@dataclass(frozen=True)
class Known:
    """A known crystal compared with another one.

    Attributes:
        material_id: name in the index.
        formula: reduced.
        space_group: number; 0 if unknown.
        how: method of comparison.
        difference: between the fingerprints.
        volume_ratio: volume per atom of the other crystal over that of this one.
    """

    material_id: str
    formula: str
    space_group: int
    how: str
    difference: float
    volume_ratio: float = 1.0

    def similar_volume(self, window: float = VOLUME_WINDOW) -> bool:
        """Return whether the volumes per atom differ by at most this share."""
        return abs(math.log(self.volume_ratio)) <= math.log1p(window)


@dataclass(frozen=True)
class KnownIndex:
    """Fingerprints of known crystals by reduced formula.

    Attributes:
        source: of the crystals.
        by_formula: entries with a fingerprint.
        others: number of further entries of each formula, without fingerprint.
        structures: structures by name, where available.
    """

    source: str
    by_formula: Mapping[str, FormulaEntries] = field(repr=False)
    others: Mapping[str, int] = field(default_factory=dict, repr=False)
    structures: Mapping[str, Structure] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """Load the shipped index, or one that `save` wrote.

        Raises:
            KnownFileError: the file is no index, or of another kind of fingerprint.
        """
        return cls(*read_known(path or SHIPPED))

    @classmethod
    def from_structures(cls, structures: Mapping[str, Structure], source: str = "given structures") -> Self:
        """Build an index of structures by name, and keep them.

        Raises:
            NoFingerprintError: a structure is disordered or broken.
        """
        prints = {name: fingerprint(structure) for name, structure in structures.items()}
        groups = {name: space_group(structure).number for name, structure in structures.items()}
        return cls(source, entries_by_formula(prints, groups), structures=dict(structures))

    @property
    def formulas(self) -> frozenset[str]:
        """All known reduced formulas."""
        return frozenset(self.by_formula) | frozenset(self.others)

    def __len__(self) -> int:
        """Number of entries with a fingerprint."""
        return sum(len(entries.names) for entries in self.by_formula.values())

    def joined(self, other: "KnownIndex") -> "KnownIndex":
        """Return an index with the entries of both."""
        by_formula = dict(self.by_formula)
        for formula, entries in other.by_formula.items():
            by_formula[formula] = by_formula[formula].joined(entries) if formula in by_formula else entries
        others = Counter(self.others) + Counter(other.others)
        source = " and ".join(dict.fromkeys((self.source, other.source)))
        return KnownIndex(source, by_formula, others, {**self.structures, **other.structures})

    def save(self, path: Path) -> None:
        """Write fingerprints, names and space groups; no structure."""
        write_known(path, self.source, self.by_formula, self.others)

    def formula_count(self, composition: Composition) -> int:
        """Return the number of entries of a composition, with or without a fingerprint."""
        formula = composition.element_composition.reduced_formula
        entries = self.by_formula.get(formula)
        return (len(entries.names) if entries else 0) + self.others.get(formula, 0)

    def formula_known(self, composition: Composition) -> bool:
        """Return whether any entry has this composition."""
        return self.formula_count(composition) > 0

    def nearest(self, structure: Structure | Fingerprint) -> Known | None:
        """Return the entry of the same formula with the nearest fingerprint, of any volume; None for a new formula.

        Raises:
            NoFingerprintError: the structure is disordered or broken.
        """
        found = self._ranked(_fingerprint(structure))
        return found[0] if found else None

    def find(
        self, structure: Structure | Fingerprint, tolerance: float = TOLERANCE, window: float = VOLUME_WINDOW
    ) -> Known | None:
        """Return the entry that equals a structure, or None.

        A crystal that is an expanded or compressed copy of a known one equals it, too: within `TOLERANCE`, fingerprints
        decide whatever the volumes are.

        Args:
            structure: to look for; or its fingerprint, which then decides alone.
            tolerance: largest difference between equal fingerprints.
            window: largest relative difference between volumes per atom at which more than `TOLERANCE` is allowed, and
                `StructureMatcher` compares.

        Raises:
            NoFingerprintError: the structure is disordered or broken.
        """
        ranked = self._ranked(_fingerprint(structure))
        near = [entry for entry in ranked if entry.similar_volume(window)]
        copies = [entry for entry in ranked if entry.difference <= min(TOLERANCE, tolerance)]
        if equal := next((entry for entry in near if entry.difference <= tolerance), None) or next(iter(copies), None):
            return equal
        if isinstance(structure, Structure):
            for entry in near:
                known = self.structures.get(entry.material_id)
                if known is not None and entry.difference <= MATCHER_WINDOW and MATCHER.fit(structure, known):
                    return replace(entry, how="StructureMatcher")
        return None

    def _ranked(self, target: Fingerprint) -> list[Known]:
        """Return entries of the same formula, nearest first."""
        entries = self.by_formula.get(target.formula)
        if entries is None:
            return []
        differences = np.abs(entries.shells() - target.shells).max(axis=1)
        ratios = target.volume / entries.volumes
        return [
            Known(
                entries.names[k],
                target.formula,
                int(entries.groups[k]),
                "fingerprint",
                float(differences[k]),
                float(ratios[k]),
            )
            for k in np.argsort(differences, kind="stable").tolist()
        ]


@cache
def shipped_index() -> KnownIndex:
    """Return the shipped index, read once."""
    return KnownIndex.load()


@cache
def known_formulas() -> frozenset[str]:
    """Return the reduced formulas of the shipped index."""
    return shipped_index().formulas


def novel_verdict(candidate: Candidate, known: KnownIndex, tolerance: float = TOLERANCE) -> Verdict:
    """Check that a structure is none of the known ones.

    The value is the difference from the nearest known fingerprint of the same formula, infinite for a new formula. An
    expanded or compressed copy of a known crystal is none. A crystal relaxed at a pressure is compared regardless of
    volume also beyond `TOLERANCE`, for known ones have that of none.
    """
    structure = candidate.crystal
    try:
        target = fingerprint(structure)
    except NoFingerprintError as error:
        return Verdict("novel", passed=False, value=math.nan, unit="", reason=f"cannot be compared: {error}")
    nearest = known.nearest(target)
    value = math.inf if nearest is None else nearest.difference
    pressed = candidate.relaxation is not None and candidate.relaxation.pressure
    window = math.inf if pressed else VOLUME_WINDOW
    found = known.find(structure if known.structures else target, tolerance, window)
    if found is not None:
        sure = "known: " if found.difference <= TOLERANCE or known.structures else "perhaps known, a form of "
        reason = f"{sure}{_named(found)}, by {found.how}; they differ by {found.difference:.3f}"
        if not found.similar_volume():
            reason += f", and this one has {found.volume_ratio:.2f} times its volume"
        return Verdict("novel", passed=False, value=found.difference, unit="", reason=reason)
    if nearest is None:
        reason = f"no known crystal of formula {target.formula} to compare with"
    else:
        count = len(known.by_formula[target.formula].names)
        reason = f"the nearest of {count} known with this formula, {_named(nearest)}, differs by {value:.3f}"
        if value <= POSSIBLE_MATCH:
            reason += "; it may be a form of it"
    if others := known.others.get(target.formula, 0):
        reason += f"; {others} more of this formula have no fingerprint, nearly all of more than 20 atoms"
    return Verdict("novel", passed=True, value=value, unit="", reason=reason)


def entries_by_formula(prints: Mapping[str, Fingerprint], groups: Mapping[str, int]) -> dict[str, FormulaEntries]:
    """Group fingerprints and space groups, both by name, by formula."""
    names_of: dict[str, list[str]] = {}
    for name, found in prints.items():
        names_of.setdefault(found.formula, []).append(name)
    return {
        formula: FormulaEntries.of(tuple(names), [groups[name] for name in names], [prints[name] for name in names])
        for formula, names in sorted(names_of.items())
    }


def without_fingerprint(formulas: Iterable[str], by_formula: Mapping[str, FormulaEntries]) -> dict[str, int]:
    """Return how often each of these reduced formulas occurs beyond its entries with a fingerprint."""
    return {
        formula: count - (len(by_formula[formula].names) if formula in by_formula else 0)
        for formula, count in sorted(Counter(formulas).items())
        if formula not in by_formula or count > len(by_formula[formula].names)
    }


def _fingerprint(structure: Structure | Fingerprint) -> Fingerprint:
    return structure if isinstance(structure, Fingerprint) else fingerprint(structure)


def _named(entry: Known) -> str:
    group = f", space group {entry.space_group}" if entry.space_group else ""
    return f"{entry.material_id} ({entry.formula}{group})"
