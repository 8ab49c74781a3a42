"""Crystals and molecules as arrays, which take a tenth of the memory of pymatgen's objects."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Molecule, Structure

from matgen.structures.candidate import Material
from matgen.structures.files import Entry
from matgen.structures.on_access import OnAccess


@dataclass(frozen=True, slots=True)
class Packed:
    """Elements and positions of a material with one species per site; `unpacked` returns them to the last digit.

    Attributes:
        species: of each atom, as pymatgen has them (n_atoms,).
        cell: row vectors (3, 3), Å; None for a molecule.
        coords: fractional coordinates of a crystal, Cartesian ones of a molecule, Å (n_atoms, 3).
        charge: of a molecule, e.
    """

    species: tuple[Any, ...]
    cell: np.ndarray | None
    coords: np.ndarray
    charge: float = 0.0

    def __len__(self) -> int:
        """Number of atoms."""
        return len(self.species)


def packed(material: Material) -> Packed:
    """Return the arrays of a material whose sites are occupied by one species each."""
    species = tuple(site.specie for site in material)
    if isinstance(material, Molecule):
        return Packed(species, None, np.array(material.cart_coords), material.charge)
    return Packed(species, np.array(material.lattice.matrix), np.array(material.frac_coords))


def unpacked(one: Packed) -> Material:
    """Return the material of `packed`; labels and properties of its sites are lost."""
    if one.cell is None:
        return Molecule(one.species, one.coords, charge=one.charge)
    return Structure(Lattice(one.cell), one.species, one.coords)


def unpacked_crystal(one: Packed) -> Structure:
    """Return a crystal.

    Raises:
        TypeError: it is a molecule.
    """
    found = unpacked(one)
    if not isinstance(found, Structure):
        raise TypeError(f"expected a crystal, got the molecule {found.formula}; use unpacked")
    return found


def packed_entries(entries: Iterable[Entry]) -> OnAccess[Entry]:
    """Keep entries of files in little memory; the structure of each is built anew on every access."""
    kept: list[tuple[Entry, Packed | None, Packed | None]] = []
    for entry in entries:
        structure = None if entry.structure is None else packed(entry.structure)
        atoms = None if entry.atoms is None else packed(entry.atoms)
        kept.append((replace(entry, structure=None, atoms=None), structure, atoms))

    def built(index: int) -> Entry:
        bare, structure, atoms = kept[index]
        molecule = None if atoms is None else unpacked(atoms)
        return replace(
            bare,
            structure=None if structure is None else unpacked(structure),
            atoms=molecule if isinstance(molecule, Molecule) else None,
        )

    return OnAccess(len(kept), built)
