"""Read crystals from an extxyz frame, and refuse what is no ordered crystal of elements."""

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.periodic_table import Element
from pymatgen.core.structure import Structure

from matgen.structures.broken import BrokenStructureError
from matgen.structures.extxyz_frame import read_frame
from matgen.structures.periodic import check_near, check_periodic

SMALLEST_VOLUME = 0.1
"""Å³ per atom; cells below it count as flat. Hydrogen at the highest pressures reached so far has more."""

LONGEST, SHORTEST = 2e3, 0.3
"""Å; a vector of a cell beyond these is a wrong number. The neighbours of such atoms would take all memory."""


def read_extxyz(text: str) -> Structure:
    """Return the crystal of an extxyz frame that has a cell.

    Raises:
        BrokenStructureError: the cell does not repeat along three axes, an element is unknown, atoms are
            partly there, or it contradicts itself.
    """
    atoms = read_frame(text)
    if atoms.cell.rank < 3:
        raise BrokenStructureError("no crystal: expected a cell (Lattice=...) that repeats along three axes")
    check_periodic(atoms.pbc)
    if not atoms.numbers.all():
        raise BrokenStructureError(f"{atoms.symbols[int(np.argmin(atoms.numbers))]} is no element")
    return Structure(atoms.cell.array, atoms.numbers.tolist(), atoms.positions, coords_are_cartesian=True)


def clean(structure: Structure) -> Structure:
    """Return a structure with bare elements on its sites: no oxidation states, labels or moments.

    Raises:
        BrokenStructureError: it has no atoms, numbers that are not finite, no volume, disorder, or unknown elements.
    """
    if len(structure) == 0:
        raise BrokenStructureError("no atoms")
    lattice, coords = structure.lattice.matrix, structure.frac_coords
    if not (np.isfinite(lattice).all() and np.isfinite(coords).all()):
        raise BrokenStructureError("coordinates or cell are not finite")
    check_near(float(np.abs(coords).max()))
    volume = abs(float(np.linalg.det(lattice)))
    if volume < SMALLEST_VOLUME * len(structure):
        raise BrokenStructureError(f"its cell has no volume: {volume:.2g} Å³ for {len(structure)} atoms")
    _check_lengths(structure.lattice)
    check_periodic(structure.lattice.pbc)
    for site in structure:
        if not site.is_ordered:
            raise BrokenStructureError(
                f"disordered: a site is occupied by {site.species_string}; `matgen screen --order` orders it"
            )
    elements = [getattr(site.specie, "element", site.specie) for site in structure]
    for site, element in zip(structure, elements, strict=True):
        if not isinstance(element, Element):  # but a DummySpecies, whose number is none of an element
            raise BrokenStructureError(f"{site.species_string} is no element")
    return Structure(lattice, [element.symbol for element in elements], coords)


def _check_lengths(lattice: Lattice) -> None:
    """Refuse a cell with a vector that no crystal has, whatever vectors describe the lattice.

    Raises:
        BrokenStructureError: it has one.
    """
    if (longest := max(lattice.abc)) > LONGEST:
        raise BrokenStructureError(f"a vector of its cell is {longest:.3g} Å long; correct it")
    if (shortest := min(lattice.get_lll_reduced_lattice().abc)) < SHORTEST:
        raise BrokenStructureError(f"its cell repeats after {shortest:.2g} Å, closer than any two atoms; correct it")
