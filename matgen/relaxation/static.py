"""Energy of a crystal as it is, by any ASE calculator."""

from ase import Atoms
from ase.calculators.calculator import Calculator
from pymatgen.core.structure import Structure


def static_energy(structure: Structure, calculator: Calculator) -> float:
    """Return the energy of a structure at the given geometry, eV/atom."""
    numbers = [site.specie.Z for site in structure]
    atoms = Atoms(numbers, structure.cart_coords, cell=structure.lattice.matrix, pbc=True, calculator=calculator)
    return float(atoms.get_potential_energy()) / len(atoms)
