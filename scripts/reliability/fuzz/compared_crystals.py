"""What is compared of a crystal as different readers read it: atoms, volume, groups, the shortest distance."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from pymatgen.core import Structure
from pymatgen.core.periodic_table import Element

ATOM = 0.02
"""Relative difference of a number of atoms that rounding of occupancies explains."""

VOLUME = 0.005
CLOSEST = 0.05
"""Relative difference of volumes, and Å of the shortest distance: coordinates have four digits, thirds are snapped."""

TOLERANCES = (0.001, 0.01, 0.1)
"""Å; groups within these are compared."""

MOST = 250
"""Atoms up to which groups and distances are computed."""


@dataclass(frozen=True)
class Crystal:
    """Atoms of a cell by one reader.

    Attributes:
        counts: of the elements in the cell, isotopes as hydrogen; occupancies may make them fractions.
        volume: Å³.
        groups: numbers of its space group within each tolerance; empty if it is too large or disordered.
        closest: shortest distance, Å; 0 if it was not computed.
    """

    counts: Mapping[str, float]
    volume: float
    groups: tuple[int, ...] = ()
    closest: float = 0.0

    def differs(self, other: "Crystal") -> str:
        """Say what differs; empty if nothing does."""
        names = {*self.counts, *other.counts}
        if any(abs(self.counts.get(x, 0) - other.counts.get(x, 0)) > ATOM * self.counts.get(x, 1) for x in names):
            atoms, others = (sum(one.counts.values()) for one in (self, other))
            same = np.isclose(atoms * other.volume, others * self.volume, rtol=ATOM)  # which may be flat
            share, shares = ({x: n / sum(c.counts.values()) for x, n in c.counts.items()} for c in (self, other))
            if same and all(abs(share.get(x, 0) - shares.get(x, 0)) < 1e-3 for x in names):
                return ""  # another cell of the same lattice
            return "number of atoms"
        if abs(self.volume - other.volume) > VOLUME * self.volume:
            return "volume"
        if self.groups and other.groups and not set(self.groups) & set(other.groups):
            return "space group"
        if self.closest and other.closest and abs(self.closest - other.closest) > CLOSEST:
            return "distances"
        return ""


def crystal(symbols: Sequence[str], cell: Any, coords: Any) -> Crystal:
    """Return what is compared of ordered atoms: symbols (n,), cell (3, 3) in Å, fractional coordinates (n, 3)."""
    matrix, fractional = np.asarray(cell, float), np.asarray(coords, float)
    volume = abs(float(np.linalg.det(matrix)))
    plain = ["H" if one in {"D", "T"} else one for one in symbols]
    if not 0 < len(plain) <= MOST or not np.isfinite(fractional).all():
        return Crystal(Counter(plain), volume)
    numbers = [Element(one).Z for one in plain]
    found = (spglib.get_symmetry_dataset((matrix, fractional, numbers), symprec=one) for one in TOLERANCES)
    groups = tuple(one.number for one in found if one is not None)
    return Crystal(Counter(plain), volume, groups, closest(matrix, fractional))


def closest(matrix: np.ndarray, fractional: np.ndarray) -> float:
    """Return the shortest distance (Å) among atoms and the nearest images, without those of an atom with itself."""
    if len(fractional) < 2:
        return 0.0
    images = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), -1).reshape(-1, 3)
    between = (fractional[:, None] - fractional[None])[np.triu_indices(len(fractional), 1)]
    vectors = ((between - np.round(between))[:, None] + images) @ matrix
    return float(np.sqrt((vectors**2).sum(-1).min()))


def of_structure(structure: Structure) -> Crystal:
    """Return what is compared of a structure of pymatgen, ordered or not."""
    if structure.is_ordered:
        symbols = [getattr(site.specie, "symbol", str(site.specie)) for site in structure]
        return crystal(symbols, structure.lattice.matrix, structure.frac_coords)
    counts: Counter[str] = Counter()
    for site in structure:
        for specie, amount in site.species.items():
            counts[getattr(specie, "symbol", str(specie))] += amount
    return Crystal(counts, structure.volume)
