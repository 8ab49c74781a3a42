"""Fingerprint of a crystal: sorted neighbour distances for each pair of elements.

For an atom and an element B, sort the distances to all B atoms, keep the nearest `RANKS`, average them in pairs of
ranks, and then over all atoms of an element A. The logarithms of these mean distances, over (volume per atom)^(1/3),
are the `shells`. They do not depend on the choice of cell, its origin, orientation or chirality, nor on the order of
atoms. They are continuous: sorted distances change by no more than the atoms move, also where two neighbours exchange
their ranks. (Sorted distances as invariants: Widdowson et al., MATCH 87, 529, 2022.)

Two fingerprints are compared by their largest difference, which is about the largest relative difference between mean
distances, and by their volume per atom.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import vesin
from pymatgen.core.composition import Composition
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from matgen.errors import UserError

TOLERANCE = 0.025
"""Largest difference between the shells of two forms of one crystal. docs/novelty.md shows how it was chosen."""

VOLUME_WINDOW = 0.2
"""Largest relative difference in volume per atom that two forms of one crystal may have. Of 745 pairs of Materials
Project entries that `StructureMatcher` calls equal regardless of volume, 99.5 % are closer."""

RANKS = {1: 48, 2: 48, 3: 32}
"""Nearest neighbours of each element that count, by number of elements in the crystal. Polytypes differ in distant
neighbours only: the first eighteen neighbour distances of hcp and fcc are equal, and polytypes of ZnS repeat after four
layers and more. With more elements there are more pairs of elements, any of which can show the difference."""

RANKS_OTHERWISE = 24
RANKS_PER_SHELL = 2
SHORTEST = 0.05
"""Least distance in (volume per atom)^(1/3), to which shorter ones are raised, so that logarithms are finite."""

MARGIN = 1.15
"""First cutoff over the radius of a sphere that holds the required number of neighbours on average."""


MOST_PAIRS = 1_000_000
"""Largest neighbour list, in pairs of atoms. Neighbours of an element that is dilute in a large cell are far apart, and
are searched for this element alone, because a list of all atoms within that distance would be too long."""


class NoFingerprintError(UserError, ValueError):
    """A structure that has no fingerprint: disordered, not finite, or without volume."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Fingerprint of a crystal.

    Attributes:
        formula: reduced, as pymatgen writes it.
        volume: Å³ per atom.
        shells: logarithms of mean distances over (volume per atom)^(1/3) (n_shells(n_elements),), pair of elements by
            pair, each ascending.
    """

    formula: str
    volume: float
    shells: np.ndarray


def fingerprint(structure: Structure) -> Fingerprint:
    """Return the fingerprint of an ordered crystal.

    Raises:
        NoFingerprintError: some site is partly occupied, a coordinate is not finite, or the cell has no volume.
    """
    cell, frac, numbers = _plain(structure)
    elements, kind, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    volume = abs(float(np.linalg.det(cell))) / len(numbers)
    scale = volume ** (1 / 3)
    ranks = n_ranks(len(elements))
    pairs = _pairs(_reduced(counts))
    nearest = _nearest(cell, frac % 1.0 @ cell, kind, pairs, ranks)
    means = np.stack([nearest[kind == a, b].mean(axis=0) for a, b in pairs])  # (n_pairs, ranks)
    shells = means.reshape(len(pairs), -1, RANKS_PER_SHELL).mean(axis=2) / scale
    logarithms = np.log(np.maximum(shells, SHORTEST)).ravel().astype(np.float32)
    return Fingerprint(_formula(tuple(elements.tolist()), _reduced(counts)), volume, logarithms)


def difference(first: Fingerprint, second: Fingerprint) -> float:
    """Return the largest difference between shells; infinite for different formulas."""
    if first.formula != second.formula:
        return math.inf
    return float(np.abs(first.shells - second.shells).max())


def similar_volume(first: Fingerprint, second: Fingerprint) -> bool:
    """Return whether volumes per atom agree within `VOLUME_WINDOW`."""
    return abs(math.log(first.volume / second.volume)) <= math.log1p(VOLUME_WINDOW)


def same(first: Fingerprint, second: Fingerprint, tolerance: float = TOLERANCE) -> bool:
    """Return whether two fingerprints belong to the same crystal."""
    return difference(first, second) <= tolerance and similar_volume(first, second)


def n_ranks(n_elements: int) -> int:
    """Return the number of neighbours of each element that count in a crystal of this many elements."""
    return RANKS.get(n_elements, RANKS_OTHERWISE)


def n_shells(n_elements: int) -> int:
    """Return the length of `Fingerprint.shells` for a crystal of this many elements."""
    return n_elements * (n_elements + 1) // 2 * n_ranks(n_elements) // RANKS_PER_SHELL


def _plain(structure: Structure) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cell (3, 3) Å, fractional coordinates (n_atoms, 3) and atomic numbers (n_atoms,).

    Raises:
        NoFingerprintError: see `fingerprint`.
    """
    if not len(structure):
        raise NoFingerprintError("expected a crystal, got a cell without atoms; give its sites")
    if not structure.is_ordered:
        raise NoFingerprintError(
            "expected one element on each site, got partial occupations; order the structure first "
            "(pymatgen's OrderDisorderedStructureTransformation)"
        )
    cell, frac = structure.lattice.matrix, structure.frac_coords
    if not (np.isfinite(cell).all() and np.isfinite(frac).all()):
        raise NoFingerprintError("expected finite coordinates, got NaN or infinity; leave this structure out")
    if abs(np.linalg.det(cell)) < 1e-3:
        raise NoFingerprintError("expected three lattice vectors that span a volume, got a flat cell; mend the cell")
    return cell, frac, np.array(structure.atomic_numbers)


def _reduced(counts: np.ndarray) -> tuple[int, ...]:
    return tuple((counts // np.gcd.reduce(counts)).tolist())


@lru_cache(maxsize=4096)
def _formula(elements: tuple[int, ...], counts: tuple[int, ...]) -> str:
    return Composition({Element.from_Z(z): n for z, n in zip(elements, counts, strict=True)}).reduced_formula


@lru_cache(maxsize=4096)
def _pairs(counts: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Return pairs of elements, each once, with the more abundant one as centre, so that neighbours reach further."""
    n = range(len(counts))
    return tuple((a, b) for a in n for b in n if (counts[a], a) >= (counts[b], b))


def _nearest(
    cell: np.ndarray, positions: np.ndarray, kind: np.ndarray, pairs: tuple[tuple[int, int], ...], ranks: int
) -> np.ndarray:
    """Return distances to the nearest neighbours of each element (n_atoms, n_elements, ranks), Å, ascending.

    They are filled for the given pairs (element of the centre, element of the neighbours) only.
    """
    n_elements = int(kind.max()) + 1
    wanted = np.zeros((n_elements, n_elements), dtype=bool)
    wanted[tuple(zip(*pairs, strict=True))] = True
    density = np.bincount(kind) / abs(np.linalg.det(cell))
    cutoffs = MARGIN * (3.0 * ranks / (4.0 * np.pi * density)) ** (1 / 3)  # of each neighbour's element
    asked = np.flatnonzero(wanted[kind].ravel())
    for found in _lists(cell, positions, kind, wanted, cutoffs):
        keys, distances = found
        start = np.searchsorted(keys, np.arange(len(kind) * n_elements + 1))
        enough = np.diff(start)[asked] >= ranks
        if enough.all():
            break
    nearest = np.zeros((len(kind) * n_elements, ranks))
    nearest[asked] = distances[start[asked, None] + np.arange(ranks)]
    return nearest.reshape(len(kind), n_elements, ranks)


def _lists(
    cell: np.ndarray, positions: np.ndarray, kind: np.ndarray, wanted: np.ndarray, cutoffs: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield keys (centre · n_elements + element of the neighbour, ascending) and distances, within growing cutoffs."""
    per_volume = len(kind) ** 2 / abs(np.linalg.det(cell))
    while True:
        far = per_volume * 4.0 / 3.0 * np.pi * cutoffs**3 > MOST_PAIRS
        found = [_far(cell, positions, kind, wanted, int(b), float(cutoffs[b])) for b in np.flatnonzero(far)]
        if not far.all():
            calculator = vesin.NeighborList(cutoff=float(cutoffs[~far].max()), full_list=True)
            centre, other, distance = calculator.compute(points=positions, box=cell, periodic=True, quantities="ijd")
            element = kind[other.astype(np.int64)]
            keep = wanted[kind[centre.astype(np.int64)], element] & (distance <= cutoffs[element]) & ~far[element]
            found.append((centre[keep].astype(np.int64) * len(cutoffs) + element[keep], distance[keep]))
        keys, distances = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.lexsort((distances, keys))
        yield keys[order], distances[order]
        cutoffs = cutoffs * MARGIN


def _far(
    cell: np.ndarray, positions: np.ndarray, kind: np.ndarray, wanted: np.ndarray, element: int, cutoff: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return keys and distances of the neighbours of one element, unsorted, over all images within the cutoff."""
    short = Lattice(cell).get_lll_reduced_lattice().matrix
    frac = positions @ np.linalg.inv(short)
    reach = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(short), axis=0) + 0.5).astype(int)
    images = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    neighbours = np.flatnonzero(kind == element)
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for centre in np.flatnonzero(wanted[kind, element]):
        apart = frac[neighbours] - frac[centre]
        apart -= np.round(apart)  # so that no image out of reach is nearer
        distance = np.linalg.norm((apart[:, None] + images) @ short, axis=2)
        keep = distance <= cutoff
        keep[neighbours == centre, len(images) // 2] = False  # itself
        some = distance[keep]
        found.append((np.full(len(some), centre * len(wanted) + element), some))
    keys, distances = (np.concatenate(part) for part in zip(*found, strict=True))
    return keys, distances
