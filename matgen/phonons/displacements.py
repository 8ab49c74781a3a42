"""Force constants by finite displacements, with any ASE calculator."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from pymatgen.core.structure import Structure

from matgen.phonons.asked import PHONONS, PhonopyMissingError, check_asked
from matgen.phonons.config import PhononConfig
from matgen.phonons.supercell import smallest_supercell
from matgen.runtime.recursion import recursion_limited

SAME = 1e-4
"""Å within which images of an atom are the same, after the cell was symmetrised."""


def force_constants(crystal: Structure, calculator: BaseCalculator, config: PhononConfig) -> Any:
    """Return a `phonopy.Phonopy` with symmetric force constants that obey the acoustic sum rule.

    Args:
        crystal: symmetrised primitive cell, relaxed by the calculator.
        calculator: any ASE calculator that gives forces.
        config: supercell and displacement.

    Raises:
        PhonopyMissingError: phonopy is not installed.
        SupercellError: the cell is above the limit of atoms.
    """
    found = displaced(crystal, config)
    found.forces = [forces(_atoms(cell), calculator) for cell in found.supercells_with_displacements]
    with _quiet():
        found.produce_force_constants(show_drift=False)
        found.symmetrize_force_constants(show_drift=False)
    return found


def displaced(crystal: Structure, config: PhononConfig) -> Any:
    """Return a `phonopy.Phonopy` with its displacements, forces not yet calculated."""
    package = phonopy()
    matrix = smallest_supercell(crystal, config.length, config.max_atoms, SAME)
    with _quiet():
        cell = package.structure.atoms.PhonopyAtoms(
            numbers=crystal.atomic_numbers, cell=crystal.lattice.matrix, scaled_positions=crystal.frac_coords
        )
        found = package.Phonopy(cell, supercell_matrix=matrix, primitive_matrix="P", symprec=SAME)
        found.generate_displacements(distance=config.displacement)
    return found


def phonopy() -> Any:
    """Return the package, with a plain error where it is missing.

    Raises:
        PhonopyMissingError: it is not installed.
    """
    check_asked([PHONONS])
    try:
        import phonopy as package
        import phonopy.structure.atoms
    except ImportError as error:
        raise PhonopyMissingError(f'phonopy cannot be imported: {error}; run: pip install "phonopy>=4.10"') from error
    return package


def forces(atoms: Atoms, calculator: BaseCalculator) -> np.ndarray:
    """Forces (n_atoms, 3), eV/Å, without their mean."""
    atoms.calc = calculator
    found = np.asarray(atoms.get_forces(), dtype=float)
    return found - found.mean(0)


def _atoms(cell: Any) -> Atoms:
    return Atoms(cell.numbers, cell.positions, cell=cell.cell, pbc=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about what a user cannot change, and keep the limit of recursion."""
    with warnings.catch_warnings(), recursion_limited():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
