"""Energy, frontier levels and dipole of a molecule, by a GFN2-xTB single point, and the gap of B3LYP from them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import Bohr, Debye, Hartree
from pymatgen.core.structure import Molecule
from tblite.interface import Calculator

from matgen.relaxation.outcome import RELAXATION_ERRORS
from matgen.relaxation.xtb import METHOD, unfit

# Fitted to the B3LYP gaps of 799 random rows of QM9's validation split and assessed on 399 of its test split (seed 0),
# at their GFN2-xTB minima: `scripts/benchmarks/calibrate_xtb_gap.py --n 800`. Line: Pearson 0.900, mean error 0.43 eV;
# quadratic form: 0.954, 0.30 eV. The standard deviation of these gaps is 1.27 eV.
GAP_SLOPE, GAP_INTERCEPT = 0.5031, 4.2645
LEVELS = (0.7063, 0.0069, 0.0804, -0.0684, 0.0085, 7.2515)
"""Coefficients of HOMO, LUMO, their squares, their product, and 1."""

GAP_ERROR = 0.38
"""Root mean square error of the quadratic form, eV."""

CALIBRATED = frozenset({1, 6, 7, 8, 9})
"""Atomic numbers of the molecules of the fit."""

LINE_ERROR = 0.6
"""The same of the line, eV."""


@dataclass(frozen=True)
class XtbProperties:
    """Results of a single point; NaN if it failed.

    Attributes:
        energy: total energy, eV.
        homo: highest occupied level, eV.
        lumo: lowest unoccupied level, eV.
        dipole: length of the dipole moment, D.
        reason: why it failed; empty otherwise.
    """

    energy: float
    homo: float
    lumo: float
    dipole: float
    reason: str = ""

    @property
    def gap(self) -> float:
        """LUMO - HOMO, eV."""
        return self.lumo - self.homo


def electronic(molecule: Molecule) -> XtbProperties:
    """Energy, frontier levels and dipole of a molecule as given; errors are reported, never raised.

    The dipole of an ion is about the origin of its coordinates.
    """
    if failure := unfit(molecule):
        return _unknown(failure)
    try:
        found = _single_point(molecule)
        levels, occupied = found.get("orbital-energies"), found.get("orbital-occupations") > 0.5
        return XtbProperties(
            energy=float(found.get("energy")) * Hartree,
            homo=float(levels[occupied].max()) * Hartree,
            lumo=float(levels[~occupied].min(initial=math.inf)) * Hartree,
            dipole=float(np.linalg.norm(found.get("dipole"))) * Bohr / Debye,
        )
    except RELAXATION_ERRORS as error:
        return _unknown(f"{type(error).__name__}: {error}")


def estimated_gap(found: XtbProperties, molecule: Molecule) -> tuple[float, float]:
    """Return the estimate of the B3LYP gap that all commands report as `xtb_gap`, and its error, eV.

    The quadratic form holds for molecules like those of QM9, neutral, of H, C, N, O and F, and without unpaired
    electrons; for others, whose levels lie elsewhere, it is the line.
    """
    closed = int(molecule.charge) == 0 and int(molecule.spin_multiplicity) == 1
    if closed and CALIBRATED.issuperset(molecule.atomic_numbers):
        return gap_from_levels(found), GAP_ERROR
    return calibrated_gap(found), LINE_ERROR


def calibrated_gap(found: XtbProperties) -> float:
    """Linear estimate of the B3LYP gap, eV; NaN if the single point failed."""
    return GAP_SLOPE * found.gap + GAP_INTERCEPT


def gap_from_levels(found: XtbProperties) -> float:
    """Estimate of the B3LYP gap by a quadratic form of both levels, eV.

    It is more accurate than the line on molecules like those of QM9, and less certain beyond.
    """
    homo, lumo = found.homo, found.lumo
    return float(np.dot(LEVELS, (homo, lumo, homo**2, lumo**2, homo * lumo, 1.0)))


def _single_point(molecule: Molecule) -> Any:
    calculator = Calculator(
        METHOD,
        np.array(molecule.atomic_numbers),
        molecule.cart_coords / Bohr,
        charge=float(molecule.charge),
        uhf=int(molecule.spin_multiplicity) - 1,
    )
    calculator.set("verbosity", 0)
    return calculator.singlepoint()


def _unknown(reason: str) -> XtbProperties:
    return XtbProperties(math.nan, math.nan, math.nan, math.nan, f"failed: {reason}")
