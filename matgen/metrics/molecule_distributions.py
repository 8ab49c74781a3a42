"""Distances between distributions of two sets of molecules: bonds, angles, dihedrals, elements, rings.

All quantities are counted in bins and compared by the Jensen–Shannon distance to base 2. Bonds are those of the RDKit
molecules, so both sets should have their bonds from the same source.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from matgen.metrics.distributions import Comparison, Profile, Value, jensen_shannon
from matgen.metrics.estimate import Bootstrap, Estimate

BOND_WIDTH = 0.01
"""Å."""

ANGLE_WIDTH = 2.0
"""Degrees."""

DIHEDRAL_WIDTH = 5.0
"""Degrees."""

STRAIGHT = float(np.nextafter(180.0, 0.0))
"""Degrees; just below 180, so that straight angles fall into the last bin."""

BOND_SIGNS = {
    Chem.BondType.SINGLE: "-",
    Chem.BondType.DOUBLE: "=",
    Chem.BondType.TRIPLE: "#",
    Chem.BondType.AROMATIC: ":",
}


QUANTITIES = {
    "bond lengths": f"by elements and kind of bond, in bins of {BOND_WIDTH:g} Å",
    "bond angles": f"by the three elements, in bins of {ANGLE_WIDTH:g}°",
    "dihedrals": f"about single bonds by their elements, in bins of {DIHEDRAL_WIDTH:g}°",
    "elements": "of all atoms",
    "ring sizes": "",
    "atoms per molecule": "",
}
"""Quantities of profiles of molecules, and how they are counted."""

_BY_KIND = {"bond": "bond lengths", "angle": "bond angles", "dihedral": "dihedrals"}

MoleculeTraits = Mapping[str, Sequence[Value]]
"""Counted values of one molecule by quantity: numbers, or kind and bin as text."""


@dataclass(frozen=True)
class Histogram:
    """Histogram of a quantity.

    Attributes:
        unit: of the quantity.
        width: of a bin, in that unit.
        counts: by index of the bin; bin k holds values from k × width to (k + 1) × width.
    """

    unit: str
    width: float
    counts: Mapping[int, int]

    @property
    def total(self) -> int:
        """Number of values."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class DistributionDistance:
    """Distance between two distributions of one quantity.

    Attributes:
        name: of the quantity, such as `bond C=O`, `angle C-C-H`, `dihedral C-C`, `elements` or `ring sizes`.
        value: Jensen–Shannon distance, 0 if equal and 1 if disjoint; NaN if either side has no value.
        n: number of values of one side.
        n_other: number of values of the other side.
        width: of a bin.
        unit: of the width.
    """

    name: str
    value: float
    n: int
    n_other: int
    width: float
    unit: str


def histograms(molecules: Iterable[Chem.Mol]) -> dict[str, Histogram]:
    """Return histograms over a set, by name of the quantity.

    Bond lengths by elements and bond type; angles by the three elements; unsigned dihedrals of heavy atoms about single
    bonds by the elements of the bond; atoms by element; rings of the smallest set (SSSR) by size.

    Args:
        molecules: sanitised, with hydrogens and a conformer.
    """
    counts: dict[str, Counter[int]] = {}
    scales: dict[str, tuple[str, float]] = {}
    for molecule in molecules:
        for name, unit, width, value in _values(molecule):
            counts.setdefault(name, Counter())[int(np.floor(value / width))] += 1
            scales[name] = unit, width
    return {name: Histogram(*scales[name], found) for name, found in sorted(counts.items())}


def distribution_distances(
    some: Mapping[str, Histogram], others: Mapping[str, Histogram], least: int = 1
) -> list[DistributionDistance]:
    """Return the Jensen–Shannon distance of each quantity that occurs on either side.

    Args:
        some: distributions of one set.
        others: distributions of the other set.
        least: quantities with fewer values on both sides are left out.
    """
    found = []
    for name in sorted({*some, *others}):
        shape = some.get(name) or others[name]
        sides = [side.get(name) or Histogram(shape.unit, shape.width, {}) for side in (some, others)]
        n, n_other = (side.total for side in sides)
        if max(n, n_other) >= least:
            value = histogram_distance(*sides)
            found.append(DistributionDistance(name, value, n, n_other, shape.width, shape.unit))
    return found


def histogram_distance(one: Histogram, other: Histogram) -> float:
    """Return the Jensen–Shannon distance between two histograms of equal bin width; NaN if one is empty."""
    if not one.total or not other.total:
        return np.nan
    bins = sorted({*one.counts, *other.counts})
    weights = [np.array([side.counts.get(k, 0) for k in bins], dtype=float) for side in (one, other)]
    return float(jensen_shannon(*weights))


def molecule_traits(molecule: Chem.Mol) -> MoleculeTraits:
    """Return the counted values of one molecule; a double bond of 1.214 Å between C and O is `C=O 121`.

    Args:
        molecule: sanitised, with hydrogens and a conformer.
    """
    found: dict[str, list[Value]] = {quantity: [] for quantity in QUANTITIES}
    found["atoms per molecule"].append(molecule.GetNumAtoms())
    for name, _, width, value in _values(molecule):
        what, _, kind = name.partition(" ")
        place = int(np.floor(value / width))
        if what in _BY_KIND:
            found[_BY_KIND[what]].append(f"{kind} {place}")
        else:
            found[name].append(place)
    return found


def molecule_profile(name: str, found: Sequence[MoleculeTraits], source: str = "") -> Profile:
    """Count the values of these molecules."""
    counts = {quantity: Counter(value for one in found for value in one[quantity]) for quantity in QUANTITIES}
    return Profile(name, source, len(found), {q: dict(sorted(c.items())) for q, c in counts.items()})


def molecule_distances(
    found: Sequence[MoleculeTraits],
    reference: Profile,
    requested: int | None = None,
    bootstrap: Bootstrap | None = None,
) -> list[Estimate]:
    """Return the Jensen–Shannon distance of each quantity over kinds and bins.

    Intervals resample the molecules, not the reference.

    Args:
        found: traits of the comparable molecules.
        reference: to compare with.
        requested: number of molecules requested, which is reported; as many as found if left out.
        bootstrap: of the intervals.
    """
    against = f"against {reference.n:,} of {reference.name}"
    estimates = []
    for quantity, counted in QUANTITIES.items():
        both = Comparison.of([one[quantity] for one in found], reference.counts[quantity])
        how = f"{against}, {counted}" if counted else against
        estimates.append(both.estimate(f"Jensen–Shannon: {quantity}", jensen_shannon, requested, bootstrap, "", how))
    return estimates


def _values(molecule: Chem.Mol) -> Iterator[tuple[str, str, float, float]]:
    """Yield name, unit, bin width and value of each quantity of a molecule."""
    symbols = [atom.GetSymbol() for atom in molecule.GetAtoms()]
    neighbors = [[other.GetIdx() for other in atom.GetNeighbors()] for atom in molecule.GetAtoms()]
    positions = molecule.GetConformer().GetPositions()
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    signs = [BOND_SIGNS.get(bond.GetBondType(), "~") for bond in molecule.GetBonds()]
    for (i, j), sign, length in zip(bonds, signs, _lengths(positions, bonds), strict=True):
        yield f"bond {sign.join(sorted((symbols[i], symbols[j])))}", "Å", BOND_WIDTH, length
    corners = [(a, centre, b) for centre, near in enumerate(neighbors) for a in near for b in near if a < b]
    for (a, centre, b), angle in zip(corners, _angles(positions, corners), strict=True):
        first, last = sorted((symbols[a], symbols[b]))
        yield f"angle {first}-{symbols[centre]}-{last}", "°", ANGLE_WIDTH, angle
    single = [bond for bond, sign in zip(bonds, signs, strict=True) if sign == "-"]
    heavy = [[other for other in near if symbols[other] != "H"] for near in neighbors]
    chains = [(a, i, j, b) for i, j in single for a in heavy[i] for b in heavy[j] if a != j and b not in (i, a)]
    for (_, i, j, _), dihedral in zip(chains, _dihedrals(positions, chains), strict=True):
        yield f"dihedral {'-'.join(sorted((symbols[i], symbols[j])))}", "°", DIHEDRAL_WIDTH, dihedral
    for atom in molecule.GetAtoms():
        yield "elements", "", 1.0, atom.GetAtomicNum()
    for ring in Chem.GetSymmSSSR(molecule):
        yield "ring sizes", "", 1.0, len(ring)


def _lengths(positions: np.ndarray, bonds: list[tuple[int, int]]) -> np.ndarray:
    """Return the length of each bond, Å."""
    i, j = np.array(bonds, dtype=int).reshape(-1, 2).T
    return np.linalg.norm(positions[i] - positions[j], axis=1)


def _angles(positions: np.ndarray, corners: list[tuple[int, int, int]]) -> np.ndarray:
    """Return the angle at the middle atom of each three, degrees."""
    a, centre, b = np.array(corners, dtype=int).reshape(-1, 3).T
    return _between(positions[a] - positions[centre], positions[b] - positions[centre])


def _dihedrals(positions: np.ndarray, chains: list[tuple[int, int, int, int]]) -> np.ndarray:
    """Return the unsigned dihedral about the middle bond of each four, degrees from 0 (cis) to 180 (trans)."""
    a, i, j, b = np.array(chains, dtype=int).reshape(-1, 4).T
    axis = positions[j] - positions[i]
    return _between(np.cross(axis, positions[a] - positions[i]), np.cross(axis, positions[b] - positions[j]))


def _between(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return angles between rows, degrees; the arc tangent is precise also for parallel vectors."""
    cross = np.linalg.norm(np.cross(u, v), axis=1)
    return np.minimum(np.degrees(np.arctan2(cross, (u * v).sum(axis=1))), STRAIGHT)
