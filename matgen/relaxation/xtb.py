"""Relaxation of molecules by GFN2-xTB.

Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019), by tblite.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.optimize import BFGS
from pymatgen.core.structure import Molecule
from tblite.ase import TBLite

from matgen.relaxation.force_constants import model_hessian
from matgen.relaxation.outcome import CONVERGED, OUT_OF_STEPS, RELAXATION_ERRORS, failed
from matgen.relaxation.pool import Relaxed, given_up
from matgen.runtime.config import check_least, check_positive
from matgen.runtime.failures import each
from matgen.runtime.processes import in_chunks, in_pool
from matgen.structures.candidate import Relaxation

METHOD = "GFN2-xTB"
POTENTIAL = f"{METHOD} (tblite {version('tblite')})"

MAX_STEP = 0.2
"""Longest step of an atom, Å; the default of ASE."""

LEAST_APART = 0.3
"""Closest atoms that are relaxed, in sums of covalent radii (0.46 Å between carbons); closer ones cost hundreds of
useless steps."""

TOGETHER = 8
"""Molecules sent to a process at a time; each takes some tenths of a second."""


@dataclass(frozen=True)
class XtbConfig:
    """When the relaxation of a molecule is converged, and when it is given up.

    Attributes:
        fmax: largest force on an atom at convergence, eV/Å.
        max_steps: most steps of the optimizer.
        max_seconds: wall time after which no step begins; where the electrons do not converge, a step takes seconds.
    """

    fmax: float = 0.02
    max_steps: int = 200
    max_seconds: float = 20.0

    def __post_init__(self) -> None:
        """Raise ConfigError if a number is out of range."""
        check_positive(self, "fmax", "max_seconds")
        check_least(self, 1, "max_steps")


def relax_molecule(
    molecule: Molecule,
    config: XtbConfig | None = None,
    *,
    watch: Callable[[Molecule, float], None] = lambda _, __: None,
) -> tuple[Molecule, Relaxation]:
    """Relax a molecule to a minimum of GFN2-xTB.

    Errors that the molecule causes are reported, never raised. A failed relaxation returns the initial molecule, one
    that runs out of steps the geometry of lowest energy so far.

    Args:
        molecule: initial geometry, with charge and spin multiplicity.
        config: thresholds; the defaults if left out.
        watch: is called with each geometry, the initial one first, and its energy in eV/atom.

    Returns:
        The final molecule, and the report. Energies are those of tblite, eV/atom.
    """
    config = config or XtbConfig()
    started = time.perf_counter()
    failure = unfit(molecule)
    if not failure:
        try:
            return _relaxed(molecule, config, started, watch)
        except RELAXATION_ERRORS as error:
            failure = f"{type(error).__name__}: {error}"
    return molecule, failed(failure, POTENTIAL, time.perf_counter() - started)


def _relaxed(
    initial: Molecule, config: XtbConfig, started: float, watch: Callable[[Molecule, float], None]
) -> tuple[Molecule, Relaxation]:
    atoms = Atoms(list(initial.atomic_numbers), initial.cart_coords)
    atoms.calc = TBLite(
        method=METHOD, charge=float(initial.charge), multiplicity=int(initial.spin_multiplicity), verbosity=0
    )
    energy_before = float(atoms.get_potential_energy())
    optimizer = BFGS(atoms, logfile=None, maxstep=MAX_STEP)
    optimizer.H0 = model_hessian(atoms.numbers, atoms.positions)
    lowest, positions, force = math.inf, initial.cart_coords, math.inf
    for done in optimizer.irun(fmax=config.fmax, steps=config.max_steps):
        energy = float(atoms.get_potential_energy())
        watch(_moved(initial, atoms.positions), energy / len(atoms))
        if done or energy < lowest:
            lowest, positions = energy, atoms.positions.copy()
            force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        if done or not math.isfinite(energy) or time.perf_counter() - started > config.max_seconds:
            break
    if not math.isfinite(lowest):
        raise ArithmeticError("the energy is not finite")
    report = Relaxation(
        converged=bool(done),
        reason=CONVERGED if done else "out of time" if optimizer.nsteps < config.max_steps else OUT_OF_STEPS,
        steps=optimizer.nsteps,
        energy=lowest / len(atoms),
        energy_before=energy_before / len(atoms),
        max_force=force,
        max_stress=0.0,
        seconds=time.perf_counter() - started,
        potential=POTENTIAL,
    )
    return _moved(initial, positions), report


def _moved(molecule: Molecule, positions: np.ndarray) -> Molecule:
    spin = int(molecule.spin_multiplicity)
    return Molecule(list(molecule.species), positions, charge=molecule.charge, spin_multiplicity=spin)


def relax_molecules(
    molecules: Iterable[Molecule], config: XtbConfig | None = None, n_jobs: int = 1
) -> Iterator[Relaxed[Molecule]]:
    """Relax molecules in a pool of processes and yield each result soon after it is ready.

    Args:
        molecules: initial geometries, taken as workers become free.
        config: thresholds; the defaults if left out.
        n_jobs: processes; with 1, all happens in the current one.

    Yields:
        Results in the order in which they finish, one for each molecule, even if its worker died.
    """
    tasks = ((index, molecule, math.inf) for index, molecule in enumerate(molecules))
    work = partial(_each_relaxed, config=config)
    for results in in_pool(work, in_chunks(tasks, TOGETHER if n_jobs > 1 else 1), given_up, n_jobs):
        yield from results


def _each_relaxed(tasks: tuple[tuple[int, Molecule, float], ...], config: XtbConfig | None) -> list[Relaxed[Molecule]]:
    return each(
        lambda task: Relaxed(task[0], *relax_molecule(task[1], config)),
        tasks,
        lambda task, reason: Relaxed(task[0], task[1], failed(reason, POTENTIAL)),
    )


def unfit(molecule: Molecule) -> str:
    """Why a molecule cannot be calculated; empty if it can."""
    if not np.isfinite(molecule.cart_coords).all():
        return "coordinates are not finite"
    radii = covalent_radii[list(molecule.atomic_numbers)]
    apart = molecule.distance_matrix / (radii[:, None] + radii)
    if (apart + np.eye(len(molecule)) < LEAST_APART).any():
        return f"atoms overlap: two are closer than {LEAST_APART:g} of the covalent radii"
    return ""
