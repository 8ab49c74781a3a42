"""Read crystals from the text of a CIF, a POSCAR or an extxyz frame."""

import io
import warnings

import numpy as np
from ase.io.extxyz import read_xyz
from pymatgen.core.structure import Structure
from pymatgen.io.cif import CifParser

from matgen.structures.broken import BrokenStructureError, one_line

SMALLEST_VOLUME = 0.1
"""Å³ per atom; cells below it count as flat. Hydrogen at the highest pressures reached so far has more."""


def read_cif(text: str) -> Structure:
    """Return the first crystal of a CIF."""
    found = CifParser.from_str(text).parse_structures(primitive=False, on_error="raise")
    return found[0]


def read_poscar(text: str) -> Structure:
    """Return the crystal of a POSCAR.

    Raises:
        BrokenStructureError: it does not name its elements.
    """
    from pymatgen.io.vasp.inputs import BadPoscarWarning, Poscar

    with warnings.catch_warnings():
        warnings.simplefilter("error", BadPoscarWarning)
        try:
            return Poscar.from_str(text, read_velocities=False).structure
        except BadPoscarWarning as error:
            raise BrokenStructureError(f"the POSCAR does not say which elements it holds: {one_line(error)}") from error


def read_extxyz(text: str) -> Structure:
    """Return the crystal of an extxyz frame that has a cell.

    Raises:
        BrokenStructureError: the cell does not repeat along three axes, or an element is unknown.
    """
    atoms = next(read_xyz(io.StringIO(text), 0))
    if atoms.cell.rank < 3 or not atoms.pbc.all():
        raise BrokenStructureError("no crystal: expected a cell (Lattice=...) that repeats along three axes")
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
    volume = abs(float(np.linalg.det(lattice)))
    if volume < SMALLEST_VOLUME * len(structure):
        raise BrokenStructureError(f"its cell has no volume: {volume:.2g} Å³ for {len(structure)} atoms")
    for site in structure:
        if not site.is_ordered:
            raise BrokenStructureError(
                f"disordered: a site is occupied by {site.species_string}; order it first, for instance with pymatgen"
            )
    symbols = [getattr(site.specie, "symbol", "") for site in structure]
    if not all(getattr(site.specie, "Z", 0) for site in structure):
        strange = next(site for site in structure if not getattr(site.specie, "Z", 0))
        raise BrokenStructureError(f"{strange.species_string} is no element")
    return Structure(lattice, symbols, coords)
