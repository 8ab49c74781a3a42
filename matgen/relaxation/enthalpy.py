"""Enthalpies in place of energies: H = E + p V, for any ASE calculator."""

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa


class EnthalpyCalculator(Calculator):
    """E + p V of a calculator's energy E, with the same forces, and with the stress σ + p.

    Minimising it therefore minimises the enthalpy, and its stress vanishes where the pressure of the crystal is p.

    Args:
        calculator: gives energy, forces and stress.
        pressure: p, GPa.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]  # type: ignore[misc]

    def __init__(self, calculator: Calculator, pressure: float) -> None:
        super().__init__()
        self.inner, self.pressure = calculator, pressure

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Calculate energy, forces and stress of the atoms, eV and Å."""
        super().calculate(atoms, properties, system_changes)
        copied: Atoms = self.atoms.copy()  # type: ignore[union-attr]  # set by the call above
        copied.set_constraint()
        copied.calc = self.inner
        work = self.pressure * GPa * copied.get_volume()
        stress = np.asarray(copied.get_stress(voigt=False)) + self.pressure * GPa * np.eye(3)
        self.results = {
            "energy": float(copied.get_potential_energy()) + work,
            "forces": copied.get_forces(),
            "stress": full_3x3_to_voigt_6_stress(stress),
        }
