"""Structures in the memory of a program, of pymatgen or ASE, as pieces of a file that can be read."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from ase import Atoms
from pymatgen.core.structure import IMolecule, IStructure, Molecule, Structure

from matgen.runtime.failures import guarded
from matgen.structures.candidate import KindName
from matgen.structures.extxyz_frame import disordered
from matgen.structures.formats import Piece
from matgen.structures.ids import id_among
from matgen.structures.labels import kept
from matgen.structures.told_charge import charge_of_atoms

InMemory = IStructure | IMolecule | Atoms
"""A crystal or a molecule of pymatgen or ASE."""


def kind_in_memory(one: InMemory) -> KindName:
    """Return whether it is a crystal or a molecule; atoms of ASE are a molecule if nothing repeats."""
    if isinstance(one, Atoms):
        return "crystal" if one.pbc.any() else "molecule"
    return "molecule" if isinstance(one, IMolecule) else "crystal"


def pieces_in_memory(several: Iterable[InMemory]) -> Iterator[Piece]:
    """Yield a piece for each; what cannot be told in full gives one with a reason."""
    for one in several:
        yield guarded(_piece, one, lambda _, reason: Piece("", None, None, f"not readable: {reason}"))


def _piece(one: InMemory) -> Piece:
    if not isinstance(one, Atoms):
        return Piece("", "json", one.as_dict())
    own_id = id_among({key: value for key, value in one.info.items() if isinstance(key, str)})
    given = kept(one.info.items(), own_id)
    if reason := _unfit(one):
        return Piece("", None, None, reason, own_id, given)
    return Piece("", "json", _of_atoms(one).as_dict(), id=own_id, given=given)


def _unfit(atoms: Atoms) -> str:
    """Say why atoms of ASE are neither a crystal nor a molecule; empty if they are."""
    if len(atoms) == 0:
        return "no atoms"
    if not atoms.numbers.all():
        return f"{atoms.symbols[int(np.argmin(atoms.numbers))]} is no element"
    if reason := disordered(atoms):
        return reason
    if atoms.pbc.any() and not atoms.pbc.all():
        return "no crystal: expected a cell that repeats along three axes"
    return "its cell has no volume" if atoms.pbc.all() and not atoms.cell.volume else ""


def _of_atoms(atoms: Atoms) -> Structure | Molecule:
    """Return elements and positions, and the charge of a molecule: `charge` in `info`, or the sum of those of atoms."""
    numbers: list[Any] = atoms.numbers.tolist()
    if atoms.pbc.all():
        return Structure(atoms.cell.array, numbers, atoms.positions, coords_are_cartesian=True)
    told = atoms.info.get("charge")
    charge = charge_of_atoms(atoms.get_initial_charges()) if told is None else round(float(told))
    return Molecule(numbers, atoms.positions, charge=charge)
