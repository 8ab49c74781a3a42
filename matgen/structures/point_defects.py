"""Point defects of a host: one of each symmetry-distinct kind, in a supercell.

The same defect at a symmetry-equivalent place is the same defect. Single atoms are taken once for each site of the
host. Of several atoms, choices that an operation of the supercell maps onto each other are one. Atoms are inserted into
the voids of `matgen.structures.voids`. All is decided on the host as it was read, so that the list does not depend on a
relaxation.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from matgen.chemistry.elements import SYMBOLS
from matgen.structures.hosts import SYMPREC, Host, HostError, repeated, supercell_matrix
from matgen.structures.voids import voids

MOST_CHOICES = 20_000
"""Choices of several atoms of a supercell that are compared by symmetry."""

SAME_PLACE = 0.1
"""Distance up to which an operation maps an atom onto another, Å."""


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
        label: what was changed, in words; no two defects of a host share it.
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


@dataclass(frozen=True)
class _Cells:
    """Supercells of a host: as it was read, and as it is used.

    Attributes:
        host: the crystal.
        read: supercell of the host as it was read.
        used: the same of another geometry, such as the relaxed one.
        site_of: index of the host's site of each atom.
        repeats: primitive cells of the supercell.
    """

    host: Host
    read: Structure
    used: Structure
    site_of: tuple[int, ...]
    repeats: int

    @classmethod
    def of(cls, host: Host, least: float, primitive: Structure) -> "_Cells":
        matrix = supercell_matrix(host.structure, host.template.space_group, least)
        read, used = repeated(host.structure, matrix), repeated(primitive, matrix)
        site_of = tuple(host.site_of_atom[atom] for atom in read.site_properties["atom"])
        for whole in (read, used):
            whole.remove_site_property("atom")
        return cls(host, read, used, site_of, len(read) // len(host.structure))


def point_defects(
    host: Host, changes: Iterable[Change], least: float, primitive: Structure | None = None
) -> list[PointDefect]:
    """Return one defect of each symmetry-distinct kind.

    Args:
        host: the crystal.
        changes: what is changed, one after the other, each in a supercell of its own.
        least: distance of a defect from its images in the host as it was read, Å; 0 for the primitive cell.
        primitive: the primitive cell to use, such as the relaxed one; that of the host if left out.

    Raises:
        HostError: the supercell is too large, has fewer atoms than are to be replaced, has no void, or loses its only
            atom.
    """
    cells = _Cells.of(host, least, host.structure if primitive is None else primitive)
    found: list[PointDefect] = []
    for change in changes:
        match change:
            case Vacancy(element):
                found += [_vacancy(cells, site) for site in host.sites_of(element)]
            case Exchange():
                found += _exchanges(cells, change)
            case Insertion(element):
                found += _insertions(cells, element, host.structure if primitive is None else primitive)
    return found


@lru_cache(maxsize=16)
def count_of_defects(host: Host, changes: tuple[Change, ...], least: float) -> int:
    """Return the number of symmetry-distinct defects.

    Raises:
        HostError: as of `point_defects`.
    """
    return len(point_defects(host, changes, least))


def _vacancy(cells: _Cells, site: int) -> PointDefect:
    symbol = SYMBOLS[cells.host.template.sites[site][1]]
    if len(cells.used) == 1:
        raise HostError(f"expected an atom beside the {symbol} that is taken out, got none; give a larger --supercell")
    structure = cells.used.copy()
    structure.remove_sites([cells.site_of.index(site)])
    label = f"{symbol} missing at {cells.host.label(site)}"
    return PointDefect(label, structure, 1, cells.site_of.count(site), cells.repeats)


def _exchanges(cells: _Cells, change: Exchange) -> Iterator[PointDefect]:
    atoms = [i for i, site in enumerate(cells.site_of) if site in change.sites]
    symbol = SYMBOLS[change.element]
    choices = distinct_choices(cells.read, atoms, change.count, cells.site_of)
    for number, (choice, places) in enumerate(choices, start=1):
        structure = cells.used.copy()
        for atom in choice:
            structure.replace(atom, symbol)
        sites = dict.fromkeys(cells.host.label(cells.site_of[atom]) for atom in choice)
        label = f"{change.count} {symbol} at {' and '.join(sites)}"
        if change.count > 1:
            label += f", arrangement {number} of {len(choices)}"
        yield PointDefect(label, structure, change.count, places, cells.repeats)


def _insertions(cells: _Cells, element: int, primitive: Structure) -> Iterator[PointDefect]:
    for number, void in enumerate(voids(cells.host.structure, SYMPREC), start=1):
        structure = cells.used.copy()
        place = primitive.lattice.get_cartesian_coords(void.place)
        structure.append(SYMBOLS[element], place, coords_are_cartesian=True)
        structure.translate_sites([len(structure) - 1], [0, 0, 0], to_unit_cell=True)
        label = f"{SYMBOLS[element]} in void {number} of {cells.host.name}, {void.radius:.2f} Å from the nearest atom"
        yield PointDefect(label, structure, 1, void.places * cells.repeats, cells.repeats)


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
