"""Known crystals of one stoichiometry, whatever their elements: which is nearest, and which element replaces which.

The index of known crystals (`matgen.novelty.crystals`) has a fingerprint for each: logarithms of mean distances from
each element to each, over the cube root of the volume per atom. Fingerprints of crystals of one stoichiometry, such as
ABC3, can be compared once it is said which element takes the place of which. Where two elements with equal counts
change places, the distances between them are known from one side only, which is then the other side for the other
crystal: such pairs are not compared.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Self

import numpy as np
from pymatgen.core.periodic_table import Element

from matgen.novelty.crystals import KnownIndex, shipped_index
from matgen.novelty.fingerprint import Fingerprint
from matgen.novelty.index_file import FormulaEntries

SAME_TYPE = 0.06
"""Difference of fingerprints up to which crystals of one space group and stoichiometry are of one structure type."""

MOST_ELEMENTS = 5
"""Elements up to which all ways to assign them are tried."""

FEW = 40
"""Entries of each assignment among which the one with the fewest other elements is looked for."""

_PART = re.compile(r"\(([A-Za-z0-9]+)\)(\d*)|([A-Z][a-z]?)(\d*)")

Counts = tuple[int, ...]
Entries = list[tuple[str, FormulaEntries]]


@dataclass(frozen=True)
class Match:
    """A known crystal of the same stoichiometry.

    Attributes:
        name: of the entry.
        formula: reduced.
        space_group: number; 0 if unknown.
        difference: between the fingerprints.
        replaced: element of the known crystal by the element that takes its place, where they differ.
    """

    name: str
    formula: str
    space_group: int
    difference: float
    replaced: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class StructureTypes:
    """Known crystals by stoichiometry.

    Attributes:
        index: of known crystals.
        entries: by the sorted counts of their elements, then by the counts in the order of atomic numbers.
    """

    index: KnownIndex
    entries: Mapping[Counts, Mapping[Counts, Entries]]

    @classmethod
    def of(cls, index: KnownIndex) -> Self:
        """Sort the entries of an index."""
        found: dict[Counts, dict[Counts, Entries]] = {}
        for formula, entries in index.by_formula.items():
            counts = tuple(counts_of(formula).values())
            found.setdefault(tuple(sorted(counts)), {}).setdefault(counts, []).append((formula, entries))
        return cls(index, found)

    def nearest(self, target: Fingerprint, space_group: int) -> Match | None:
        """Return the nearest crystal of another formula; None if no known crystal has this stoichiometry.

        Of those of the structure type of the target, it is the one with the fewest other elements.
        """
        counts = counts_of(target.formula)
        if len(counts) > MOST_ELEMENTS:
            return None
        groups = self.entries.get(tuple(sorted(counts.values())), {})
        found = [match for other, group in groups.items() for match in _matches(target, counts, other, group)]
        alike = [one for one in found if one.difference <= SAME_TYPE and one.space_group == space_group]
        if alike:
            return min(alike, key=lambda one: (len(one.replaced), one.difference))
        return min(found, key=lambda one: one.difference, default=None)


@cache
def shipped_types() -> StructureTypes:
    """Return those of the shipped index, sorted once."""
    return StructureTypes.of(shipped_index())


def counts_of(formula: str) -> dict[str, int]:
    """Return the counts of a reduced formula in the order of atomic numbers: `Y(PS3)2` has Y, P2 and S6."""
    found: defaultdict[str, int] = defaultdict(int)
    for group, times, symbol, count in _PART.findall(formula):
        inner = counts_of(group) if group else {symbol: int(count or 1)}
        for element, n in inner.items():
            found[element] += n * (int(times or 1) if group else 1)
    return dict(sorted(found.items(), key=lambda item: _number(item[0])))


def _matches(target: Fingerprint, counts: Mapping[str, int], other: Counts, group: Entries) -> Iterator[Match]:
    """Yield the nearest few entries with counts `other` for each way to assign the elements."""
    own, elements = tuple(counts.values()), list(counts)
    shells = np.concatenate([entries.shells() for _, entries in group])
    owner = np.repeat(np.arange(len(group)), [len(entries.names) for _, entries in group])
    place = np.concatenate([np.arange(len(entries.names)) for _, entries in group])
    for order in _assignments(own, other):
        mine, theirs = _columns(own, other, order, len(target.shells))
        difference = np.abs(shells[:, theirs] - target.shells[mine]).max(axis=1)
        for k in np.argsort(difference, kind="stable")[:FEW].tolist():
            formula, entries = group[int(owner[k])]
            if formula == target.formula:
                continue
            known, row = list(counts_of(formula)), int(place[k])
            pairs = zip((known[i] for i in order), elements, strict=True)
            replaced = {old: new for old, new in pairs if old != new}
            yield Match(entries.names[row], formula, int(entries.groups[row]), float(difference[k]), replaced)


def _assignments(own: Counts, other: Counts) -> list[tuple[int, ...]]:
    """Return for each element of one crystal the place of one of the other with the same count, in all ways."""
    n = range(len(own))
    return [order for order in permutations(n) if all(own[i] == other[order[i]] for i in n)]


@cache
def _columns(own: Counts, other: Counts, order: tuple[int, ...], n_shells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns of the shells that can be compared: of the one crystal, and of the other."""
    places = {pair: k for k, pair in enumerate(_pairs(other))}
    width = n_shells // len(places)
    mine: list[int] = []
    theirs: list[int] = []
    for k, (a, b) in enumerate(_pairs(own)):
        place = places.get((order[a], order[b]))
        if place is not None:
            mine += range(k * width, (k + 1) * width)
            theirs += range(place * width, (place + 1) * width)
    return np.array(mine), np.array(theirs)


def _pairs(counts: Counts) -> list[tuple[int, int]]:
    """Return the pairs of elements of a fingerprint: the more abundant one, or the later, is the centre."""
    n = range(len(counts))
    return [(a, b) for a in n for b in n if (counts[a], a) >= (counts[b], b)]


@cache
def _number(symbol: str) -> int:
    return Element(symbol).Z
