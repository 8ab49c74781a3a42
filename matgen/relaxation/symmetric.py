"""Relaxation of atoms and cell by any ASE calculator, the symmetry of the start kept."""

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixSymmetry
from ase.filters import FrechetCellFilter
from ase.optimize import CellAwareBFGS
from ase.units import GPa
from pymatgen.core.lattice import Lattice
from pymatgen.core.structure import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

from matgen.relaxation.calculators import potential_name
from matgen.runtime.config import ConfigError, check_least, check_positive
from matgen.structures.candidate import Relaxation

RELAXATION_ERRORS = (RuntimeError, ValueError, LookupError, ArithmeticError)
"""What a structure may provoke without speaking against the program.

CHGNet raises ValueError on isolated atoms and RuntimeError on elements it does not know, ASE kinds of RuntimeError,
tables of parameters LookupError, numpy LinAlgError (a ValueError).
"""

CONVERGED = "converged"

# Measured on 48 crystals of the MP-20 test set with up to 12 atoms, strained and displaced within their symmetry:
# 368 steps, against 1,319 of FIRE and 431 of BFGS with a uniform Hessian of 20 eV/Å². A guess at the stiffness
# of the cell (80 GPa) and of the atoms (20 eV/Å²) is what makes the difference. Longer steps than 0.12 (Å, or
# strain) leave the range in which FixSymmetry is accurate.
BULK_MODULUS = 80 * GPa
ATOM_STIFFNESS = 20.0
MAX_STEP = 0.12


@dataclass(frozen=True)
class RelaxConfig:
    """When a relaxation is done, and when it is given up.

    Attributes:
        fmax: largest force on an atom at convergence, eV/Å.
        smax: largest component of the stress at convergence, eV/Å³ (0.002 is 0.32 GPa).
        max_steps: optimizer steps at most.
        keep_symmetry: fix the space group that the start has.
        symprec: tolerance at which it is found, Å.
        patience: steps without progress after which a relaxation is given up as stalled.
        progress: what counts as progress, eV/atom.
        max_volume_change: factor in volume beyond which it is given up as exploded.
    """

    fmax: float = 0.05
    smax: float = 0.002
    max_steps: int = 120
    keep_symmetry: bool = True
    symprec: float = 0.01
    patience: int = 25
    progress: float = 1e-4
    max_volume_change: float = 3.0

    def __post_init__(self) -> None:
        """Check every number at the border.

        Raises:
            ConfigError: one is out of its range.
        """
        check_positive(self, "fmax", "smax", "symprec")
        check_least(self, 1, "max_steps", "patience")
        check_least(self, 0, "progress")
        if not self.max_volume_change > 1:
            raise ConfigError(f"expected max_volume_change above 1, got {self.max_volume_change}; it is a factor")


def primitive(structure: Structure, symprec: float) -> Structure:
    """The standard primitive cell, symmetrised; the structure itself where no symmetry is found."""
    try:
        found = SpacegroupAnalyzer(structure, symprec=symprec).find_primitive()
    except SymmetryUndeterminedError:
        return structure
    return structure if found is None else found


def relax(
    structure: Structure, calculator: Calculator, config: RelaxConfig | None = None
) -> tuple[Structure, Relaxation]:
    """Relax atoms and cell together, in the primitive cell.

    Whatever the structure provokes becomes part of the report, never an exception: a failed relaxation returns
    the structure it started from.

    Args:
        structure: start.
        calculator: any ASE calculator that gives forces and stress.
        config: thresholds; the defaults if left out.

    Returns:
        The final primitive cell, and how it went.
    """
    config = config or RelaxConfig()
    started = time.perf_counter()
    failure = _unfit(structure, calculator)
    if not failure:
        try:
            with _quiet():
                return _relaxed(primitive(structure, config.symprec), calculator, config, started)
        except RELAXATION_ERRORS as error:
            failure = f"{type(error).__name__}: {error}"
    return structure, failed(failure, potential_name(calculator), time.perf_counter() - started)


def failed(reason: str, potential: str, seconds: float = 0.0) -> Relaxation:
    """Report of a relaxation that led nowhere."""
    nan = math.nan
    return Relaxation(False, f"failed: {reason}", 0, nan, nan, nan, nan, seconds, potential)


def _relaxed(
    start: Structure, calculator: Calculator, config: RelaxConfig, started: float
) -> tuple[Structure, Relaxation]:
    atoms = Atoms(
        list(start.atomic_numbers), start.cart_coords, cell=start.lattice.matrix, pbc=True, calculator=calculator
    )
    if config.keep_symmetry:
        atoms.set_constraint(FixSymmetry(atoms, symprec=config.symprec))
    energy_before = _energy(atoms)
    reason, steps = _minimise(atoms, config)
    report = Relaxation(
        converged=reason == CONVERGED,
        reason=reason,
        steps=steps,
        energy=_energy(atoms),
        energy_before=energy_before,
        max_force=float(np.linalg.norm(atoms.get_forces(), axis=1).max()),
        max_stress=float(np.abs(atoms.get_stress()).max()),
        seconds=time.perf_counter() - started,
        potential=potential_name(calculator),
    )
    return Structure(Lattice(atoms.cell.array), list(atoms.numbers), atoms.get_scaled_positions()), report


def _energy(atoms: Atoms) -> float:
    """eV/atom."""
    return float(atoms.get_potential_energy()) / len(atoms)


def _minimise(atoms: Atoms, config: RelaxConfig) -> tuple[str, int]:
    """Walk downhill until one of the ends; returns which, and the steps taken."""
    optimizer = CellAwareBFGS(
        FrechetCellFilter(atoms, exp_cell_factor=1.0),  # type: ignore[arg-type]  # ASE's hints are narrower
        logfile=None,  # type: ignore[arg-type]
        bulk_modulus=BULK_MODULUS,
        alpha=ATOM_STIFFNESS,
        maxstep=MAX_STEP,
    )
    optimizer.smax = config.smax
    volume = atoms.get_volume()
    lowest, lowest_step = math.inf, 0
    for done in optimizer.irun(fmax=config.fmax, steps=config.max_steps):
        if done:
            return CONVERGED, optimizer.nsteps
        energy = _energy(atoms)
        swelling = atoms.get_volume() / volume
        if not math.isfinite(energy) or not 1 / config.max_volume_change < swelling < config.max_volume_change:
            return f"exploded: {swelling:.2f} of its first volume, {energy:.3g} eV/atom", optimizer.nsteps
        if energy < lowest - config.progress:
            lowest, lowest_step = energy, optimizer.nsteps
        elif optimizer.nsteps - lowest_step >= config.patience:
            return f"stalled: no {config.progress:g} eV/atom gained in {config.patience} steps", optimizer.nsteps
    return "out of steps", optimizer.nsteps


def _unfit(structure: Structure, calculator: Calculator) -> str:
    """Why the relaxation need not start; empty if it may."""
    if not (np.isfinite(structure.frac_coords).all() and np.isfinite(structure.lattice.matrix).all()):
        return "coordinates are not finite"
    if "stress" not in calculator.implemented_properties:
        return f"{potential_name(calculator)} gives no stress, which relaxing a cell needs"
    return ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about nothing that a user could change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only FixAtoms and FixCartesian is supported by Pymatgen")
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad=True")
        warnings.filterwarnings("ignore", message="FixSymmetry adjust_cell may be ill behaved")
        yield
