"""Point defects of a host: one of each symmetry-distinct kind, in a supercell.

The same defect at a symmetry-equivalent place is the same defect. Single atoms are taken once for each site of the
host. Of several atoms, choices that an operation of the supercell maps onto each other are one. Interstitial places are
the Voronoi nodes that pymatgen-analysis-defects finds (J.-X. Shen et al., J. Open Source Softw. 9, 5941, 2024).
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from matgen.chemistry.elements import SYMBOLS
from matgen.structures.hosts import SYMPREC, Host, HostError, supercell

MOST_CHOICES = 20_000
"""Choices of several atoms of a supercell that are compared by symmetry."""

SAME_PLACE = 0.1
"""Distance up to which an operation maps an atom onto another, Å."""

CLOSEST = 0.9
"""Distance from an interstitial place to the nearest atom, Å, below which it is left out."""


@dataclass(frozen=True)
class Vacancy:
    """Atoms of an element are taken away, one at a time.

    Attributes:
        element: atomic number.
    """

    element: int


@dataclass(frozen=True)
class Exchange:
    """Some atoms are replaced by another element.

    Attributes:
        sites: indices of the sites of the host to which they belong.
        element: atomic number that replaces them.
        count: atoms in the supercell.
    """

    sites: tuple[int, ...]
    element: int
    count: int


@dataclass(frozen=True)
class Insertion:
    """An atom is put into a void.

    Attributes:
        element: atomic number.
    """

    element: int


Change = Vacancy | Exchange | Insertion


@dataclass(frozen=True)
class PointDefect:
    """One defect in a supercell.

    Attributes:
        label: what was changed, in words.
        structure: the supercell with the defect; the cell and all other atoms are those of the host.
        changed: number of atoms taken away, replaced or inserted.
        places: symmetry-equivalent places in the supercell.
        cells: primitive cells of the supercell.
    """

    label: str
    structure: Structure
    changed: int
    places: int
    cells: int


def point_defects(
    host: Host, changes: Iterable[Change], least: float, primitive: Structure | None = None
) -> list[PointDefect]:
    """Return one defect of each symmetry-distinct kind.

    Args:
        host: the crystal.
        changes: what is changed, one after the other, each in a supercell of its own.
        least: distance of a defect from its images, Å; 0 for the primitive cell.
        primitive: the primitive cell to use, such as the relaxed one; that of the host if left out.

    Raises:
        HostError: the supercell is too large, has fewer atoms than are to be replaced, or has no void.
    """
    cell = host.structure if primitive is None else primitive
    whole = supercell(cell, host.template.space_group, least)
    cells = len(whole) // len(cell)
    site_of = [host.site_of_atom[atom] for atom in whole.site_properties["atom"]]
    whole.remove_site_property("atom")
    found: list[PointDefect] = []
    for change in changes:
        match change:
            case Vacancy(element):
                found += [_vacancy(host, whole, site_of, site, cells) for site in host.sites_of(element)]
            case Exchange():
                found += _exchanges(host, whole, site_of, change, cells)
            case Insertion(element):
                found += _insertions(host, cell, whole, element)
    return found


def _vacancy(host: Host, whole: Structure, site_of: Sequence[int], site: int, cells: int) -> PointDefect:
    structure = whole.copy()
    structure.remove_sites([site_of.index(site)])
    symbol = SYMBOLS[host.template.sites[site][1]]
    return PointDefect(f"{symbol} missing at {host.label(site)}", structure, 1, site_of.count(site), cells)


def _exchanges(
    host: Host, whole: Structure, site_of: Sequence[int], change: Exchange, cells: int
) -> Iterator[PointDefect]:
    atoms = [i for i, site in enumerate(site_of) if site in change.sites]
    symbol = SYMBOLS[change.element]
    for choice, places in distinct_choices(whole, atoms, change.count, site_of):
        structure = whole.copy()
        for atom in choice:
            structure.replace(atom, symbol)
        sites = dict.fromkeys(host.label(site_of[atom]) for atom in choice)
        yield PointDefect(f"{change.count} {symbol} at {' and '.join(sites)}", structure, change.count, places, cells)


def _insertions(host: Host, cell: Structure, whole: Structure, element: int) -> Iterator[PointDefect]:
    for number, (place, places) in enumerate(voids(cell), start=1):
        structure = whole.copy()
        structure.append(SYMBOLS[element], cell.lattice.get_cartesian_coords(place), coords_are_cartesian=True)
        structure.translate_sites([len(structure) - 1], [0, 0, 0], to_unit_cell=True)
        contact = _nearest(structure)
        label = f"{SYMBOLS[element]} in void {number} of {host.name}, {contact:.2f} Å from the nearest atom"
        cells = len(whole) // len(cell)
        yield PointDefect(label, structure, 1, places * cells, cells)


def voids(cell: Structure) -> list[tuple[np.ndarray, int]]:
    """Return one place (3,), in fractional coordinates, of each kind of void of a cell, and the number of its kind.

    Raises:
        HostError: there is none.
    """
    from pymatgen.analysis.defects.generators import VoronoiInterstitialGenerator

    probe = next(symbol for symbol in ("H", "He", "Li") if Element(symbol) not in cell.composition)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tolerances of its own comparisons
        found = list(VoronoiInterstitialGenerator(min_dist=CLOSEST).generate(cell, {probe}))
    if not found:
        formula = cell.composition.reduced_formula
        raise HostError(f"expected a void for an inserted atom in {formula}, got none {CLOSEST:g} Å from every atom")
    return [(np.array(one.site.frac_coords), int(one.multiplicity)) for one in found]


def distinct_choices(
    whole: Structure, atoms: Sequence[int], count: int, kinds: Sequence[int]
) -> list[tuple[tuple[int, ...], int]]:
    """Return choices of some atoms of which none is equivalent to another, and the number of its equivalents.

    Args:
        whole: supercell.
        atoms: indices to choose from.
        count: atoms of a choice.
        kinds: symmetry-distinct site of each atom; of a single atom it alone counts.

    Raises:
        HostError: there are fewer atoms than are to be chosen, or too many choices.
    """
    if count > len(atoms):
        raise HostError(
            f"expected at most {len(atoms)} atoms to replace in a supercell of {len(whole)}, got {count}; give a "
            "smaller number, or a larger --supercell"
        )
    if count == 1:
        firsts = {kinds[atom]: atom for atom in reversed(atoms)}
        named = [kinds[atom] for atom in atoms]
        return [((atom,), named.count(kind)) for kind, atom in sorted(firsts.items())]
    if math.comb(len(atoms), count) > MOST_CHOICES:
        raise HostError(
            f"expected at most {MOST_CHOICES} choices of {count} atoms, got {math.comb(len(atoms), count)} in a "
            f"supercell of {len(whole)} atoms; replace fewer, or lower --supercell"
        )
    permutations = symmetry_permutations(whole)
    found: dict[tuple[int, ...], int] = {}
    for choice in combinations(atoms, count):
        images = np.sort(permutations[:, choice], axis=1)
        first = tuple(images[np.lexsort(images.T[::-1])[0]].tolist())
        found[first] = found.get(first, 0) + 1
    return list(found.items())


def symmetry_permutations(structure: Structure, symprec: float = SYMPREC) -> np.ndarray:
    """Return the atom onto which each operation of the space group maps each atom (n_operations, n_atoms).

    Raises:
        HostError: an operation maps an atom onto none.
    """
    operations = SpacegroupAnalyzer(structure, symprec=symprec).get_symmetry_operations()
    frac, lattice = structure.frac_coords, structure.lattice.matrix
    rows = []
    for operation in operations:
        apart = operation.operate_multi(frac)[:, None] - frac
        distance = np.linalg.norm((apart - np.rint(apart)) @ lattice, axis=2)
        if distance.min(1).max() > max(SAME_PLACE, symprec):
            raise HostError(
                "expected atoms that the symmetry of the supercell maps onto each other; symmetrise the host"
            )
        rows.append(distance.argmin(1))
    return np.unique(rows, axis=0)


def _nearest(structure: Structure) -> float:
    """Return the distance of the last atom from the nearest other one, Å."""
    last = len(structure) - 1
    distances = [structure.get_distance(last, other) for other in range(last)]
    return float(min(distances))
