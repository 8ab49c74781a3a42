"""Molecules by GFN2-xTB: relaxed, and what their electrons do.

Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019), as tblite has it.
"""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.optimize import BFGS
from ase.units import Bohr, Debye, Hartree
from pymatgen.core.structure import Molecule
from tblite.ase import TBLite
from tblite.interface import Calculator

from matgen.relaxation.force_constants import model_hessian
from matgen.relaxation.pool import Relaxed, given_up
from matgen.relaxation.symmetric import CONVERGED, RELAXATION_ERRORS, failed
from matgen.runtime.config import check_least, check_positive
from matgen.runtime.processes import in_chunks, in_pool
from matgen.structures.candidate import Relaxation

METHOD = "GFN2-xTB"
POTENTIAL = f"{METHOD} (tblite {version('tblite')})"

# Fitted to the B3LYP gaps of 799 rows of QM9's validation split, judged on 399 of its test split, at random (seed 0),
# at their GFN2-xTB minima: `scripts/calibrate_xtb_gap.py --n 800`. Line: Pearson 0.900, mean error 0.43 eV; quadratic
# form: 0.954, 0.30 eV. The gaps there spread by 1.27 eV.
GAP_SLOPE, GAP_INTERCEPT = 0.5031, 4.2645
LEVELS = (0.7063, 0.0069, 0.0804, -0.0684, 0.0085, 7.2515)
"""Of HOMO, LUMO, their squares, their product, and 1."""

GAP_ERROR = 0.38
"""Root mean square error of the quadratic form, eV."""

MAX_STEP = 0.2
"""Longest step of an atom, Å, as ASE has it."""

LEAST_APART = 0.3
"""Atoms closer than that, in sums of covalent radii (0.46 Å between carbons), would cost hundreds of vain steps."""

TOGETHER = 8
"""Molecules that a process takes at a time; each takes some tenths of a second."""


@dataclass(frozen=True)
class XtbConfig:
    """When the relaxation of a molecule is done, and when it is given up.

    Attributes:
        fmax: largest force on an atom at convergence, eV/Å.
        max_steps: optimizer steps at most.
        max_seconds: wall time after which no step is begun: where electrons do not settle, one takes seconds.
    """

    fmax: float = 0.02
    max_steps: int = 200
    max_seconds: float = 20.0

    def __post_init__(self) -> None:
        """Check every number at the border.

        Raises:
            ConfigError: one is out of its range.
        """
        check_positive(self, "fmax", "max_seconds")
        check_least(self, 1, "max_steps")


@dataclass(frozen=True)
class XtbProperties:
    """What a single point says; NaN throughout where there is none.

    Attributes:
        energy: total energy, eV.
        homo: highest level that holds an electron, eV.
        lumo: the next one above, eV.
        dipole: length of the dipole moment, D.
        reason: why there is none; empty otherwise.
    """

    energy: float
    homo: float
    lumo: float
    dipole: float
    reason: str = ""

    @property
    def gap(self) -> float:
        """From HOMO to LUMO, eV."""
        return self.lumo - self.homo


def relax_molecule(molecule: Molecule, config: XtbConfig | None = None) -> tuple[Molecule, Relaxation]:
    """Relax a molecule to a minimum of GFN2-xTB.

    Whatever the molecule provokes becomes part of the report, never an exception: a failed relaxation returns the
    molecule it started from, one that ran out of steps the lowest that it saw.

    Args:
        molecule: start; its charge and spin multiplicity hold.
        config: thresholds; the defaults if left out.

    Returns:
        The final molecule, and how it went. Energies are those of tblite, eV/atom.
    """
    config = config or XtbConfig()
    started = time.perf_counter()
    failure = _unfit(molecule)
    if not failure:
        try:
            return _relaxed(molecule, config, started)
        except RELAXATION_ERRORS as error:
            failure = f"{type(error).__name__}: {error}"
    return molecule, failed(failure, POTENTIAL, time.perf_counter() - started)


def _relaxed(start: Molecule, config: XtbConfig, started: float) -> tuple[Molecule, Relaxation]:
    atoms = Atoms(list(start.atomic_numbers), start.cart_coords)
    atoms.calc = TBLite(
        method=METHOD, charge=float(start.charge), multiplicity=int(start.spin_multiplicity), verbosity=0
    )
    energy_before = float(atoms.get_potential_energy())
    optimizer = BFGS(atoms, logfile=None, maxstep=MAX_STEP)
    optimizer.H0 = model_hessian(atoms.numbers, atoms.positions)
    lowest, positions, force = math.inf, start.cart_coords, math.inf
    for done in optimizer.irun(fmax=config.fmax, steps=config.max_steps):
        energy = float(atoms.get_potential_energy())
        if done or energy < lowest:
            lowest, positions = energy, atoms.positions.copy()
            force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        if done or not math.isfinite(energy) or time.perf_counter() - started > config.max_seconds:
            break
    if not math.isfinite(lowest):
        raise ArithmeticError("the energy is not finite")
    report = Relaxation(
        converged=bool(done),
        reason=CONVERGED if done else "out of time" if optimizer.nsteps < config.max_steps else "out of steps",
        steps=optimizer.nsteps,
        energy=lowest / len(atoms),
        energy_before=energy_before / len(atoms),
        max_force=force,
        max_stress=0.0,
        seconds=time.perf_counter() - started,
        potential=POTENTIAL,
    )
    return _moved(start, positions), report


def _moved(molecule: Molecule, positions: np.ndarray) -> Molecule:
    spin = int(molecule.spin_multiplicity)
    return Molecule(list(molecule.species), positions, charge=molecule.charge, spin_multiplicity=spin)


def relax_molecules(
    molecules: Iterable[Molecule], config: XtbConfig | None = None, n_jobs: int = 1
) -> Iterator[Relaxed[Molecule]]:
    """Relax molecules in a pool of processes and yield each result soon after it is there.

    Args:
        molecules: starts, taken as workers get free.
        config: thresholds; the defaults if left out.
        n_jobs: processes; 1 stays in this one.

    Yields:
        Results in the order in which they finish. Every molecule yields one, also if its worker died.
    """
    initial_geometries = ((index, molecule, math.inf) for index, molecule in enumerate(molecules))
    work = partial(_each_relaxed, config=config)
    for results in in_pool(work, in_chunks(initial_geometries, TOGETHER if n_jobs > 1 else 1), given_up, n_jobs):
        yield from results


def _each_relaxed(
    initial_geometries: tuple[tuple[int, Molecule, float], ...], config: XtbConfig | None
) -> list[Relaxed[Molecule]]:
    return [Relaxed(index, *relax_molecule(molecule, config)) for index, molecule, _ in initial_geometries]


def electronic(molecule: Molecule) -> XtbProperties:
    """Energy, frontier levels and dipole of a molecule as it stands; never an exception.

    The dipole of an ion is the one about the origin of its coordinates.
    """
    if failure := _unfit(molecule):
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


def calibrated_gap(found: XtbProperties) -> float:
    """What B3LYP would say of the gap, by a line, eV; NaN where GFN2-xTB says nothing."""
    return GAP_SLOPE * found.gap + GAP_INTERCEPT


def gap_from_levels(found: XtbProperties) -> float:
    """The same by a quadratic form of both levels, eV: nearer on molecules like those of QM9, less sure beyond."""
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


def _unfit(molecule: Molecule) -> str:
    """Why a calculation need not start; empty if it may."""
    if not np.isfinite(molecule.cart_coords).all():
        return "coordinates are not finite"
    radii = covalent_radii[list(molecule.atomic_numbers)]
    apart = molecule.distance_matrix / (radii[:, None] + radii)
    if (apart + np.eye(len(molecule)) < LEAST_APART).any():
        return f"atoms overlap: two are closer than {LEAST_APART:g} of the covalent radii"
    return ""


def _unknown(reason: str) -> XtbProperties:
    return XtbProperties(math.nan, math.nan, math.nan, math.nan, f"failed: {reason}")
